"""Leadership with real processes under load: transfers, orderly stops, pauses, and a node that keeps coming back."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from chaos.failover import Fault, Pause, Stop, Transfer, strike_leader
from node.cli import main
from node.local import LocalCluster
from node.secrets import ADMIN_USERNAME
from node.views import Observer


@pytest.mark.timeout(180)
@pytest.mark.parametrize("fault", [Transfer(), Stop(), Pause()], ids=lambda fault: fault.name)
async def test_nothing_is_lost_or_done_twice_and_no_request_fails_after_its_retries(
    tmp_path: Path, fault: Fault
) -> None:
    async with LocalCluster.temporary(tmp_path) as cluster:
        await cluster.wait_until_ready()
        verdict = await strike_leader(cluster, fault, rounds=3, traders=3, seed=20_261_122, load_s=0.5)
    assert verdict.violations == []
    assert verdict.failed == []
    assert verdict.acknowledged > 100


async def test_a_leader_that_is_told_to_stop_hands_over_first(tmp_path: Path) -> None:
    async with LocalCluster.temporary(tmp_path) as cluster:
        overview = await cluster.wait_until_ready()
        assert overview.leader is not None
        name = overview.leader.node
        await cluster.stop(name)
        assert cluster.exit_status(name) == 0
        assert "handed over" in cluster.log_path(name).read_text()
        after = await cluster.wait_until_ready()
        assert after.leader is not None
        assert after.leader.term == overview.leader.term + 1, "one election, and the one that was asked for"


async def test_the_verb_hands_over_for_the_administrator_and_says_who_leads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with LocalCluster.temporary(tmp_path) as cluster:
        overview = await cluster.wait_until_ready()
        assert overview.leader is not None
        target = next(node.name for node in cluster.config.nodes if node.name != overview.leader.node)
        said = [ADMIN_USERNAME, cluster.administrator_password]
        monkeypatch.setattr("typer.prompt", lambda *_args, **_options: said.pop(0))
        words = ["transfer", target, "--config", str(cluster.config.path)]
        assert await trio.to_thread.run_sync(main, words) == 0
        assert f"{target} leads now" in capsys.readouterr().out
        monkeypatch.setenv("QAEXCHANGE_TOKEN", "no token")
        assert await trio.to_thread.run_sync(main, words) == 1
        assert "qaexchange: " in capsys.readouterr().err
        assert await trio.to_thread.run_sync(main, ["transfer", "zed", "--config", str(cluster.config.path)]) == 2


async def test_a_follower_that_dies_and_returns_again_and_again_never_raises_the_term(tmp_path: Path) -> None:
    async with LocalCluster.temporary(tmp_path) as cluster:
        before = (await cluster.wait_until_ready()).leader
        assert before is not None
        restless = next(node.name for node in cluster.config.nodes if node.name != before.node)
        async with Observer(cluster.config) as observer:
            for number in range(5):
                cluster.kill(restless)
                await trio.sleep(0.1)
                cluster.start(restless)
                await trio.sleep(0.3 * number)
                leader = (await observer.look()).leader
                assert leader is not None
                assert (leader.node, leader.term, leader.can_commit) == (before.node, before.term, True)
        after = (await cluster.wait_until_ready()).leader
        assert after is not None
        assert (after.node, after.term) == (before.node, before.term)
