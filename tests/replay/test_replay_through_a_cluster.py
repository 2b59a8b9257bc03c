"""The recorded day through the public client, to three real processes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import trio

from node.cli import main
from node.lobster import open_day
from node.local import LocalCluster
from node.replay import instrument
from node.replay.cast import Cast
from node.replay.players import assemble
from node.replay.run import Outcome, Replay

EVENTS = 6_000
KILL_AT = (600, 1_500)  # events judged


async def replay_with_kills(cluster: LocalCluster, day: Path) -> tuple[Outcome, int]:
    """Replay, and kill the leader at the given places, bringing the one before back. Returns the kills too."""
    opened = open_day(day, EVENTS)
    cast = Cast(20)
    wanted = list(KILL_AT)
    reached = trio.Event()
    kills = 0

    def progress(row: int) -> None:
        if wanted and row - opened.first_row >= wanted[0]:
            wanted.pop(0)
            reached.set()

    async def assassin() -> None:
        nonlocal kills, reached
        victim: str | None = None
        while True:
            await reached.wait()
            reached = trio.Event()
            if victim is not None:
                await cluster.restart(victim)
            overview = await cluster.wait_until_ready()
            assert overview.leader is not None
            victim = overview.leader.node
            cluster.kill(victim)
            kills += 1

    urls = [node.api_url for node in cluster.config.nodes]
    async with assemble(urls, cast) as company, trio.open_nursery() as nursery:
        nursery.start_soon(assassin)
        outcome = await Replay(company, cast, 100, progress).run(opened.steps)
        nursery.cancel_scope.cancel()
    return outcome, kills


@pytest.mark.timeout(180)
async def test_killing_the_leader_twice_does_not_spoil_a_replay(tmp_path: Path, goog_day: Path) -> None:
    async with LocalCluster.temporary(tmp_path, instruments=[instrument.table()]) as cluster:
        await cluster.wait_until_ready()
        outcome, kills = await replay_with_kills(cluster, goog_day)
    assert kills == len(KILL_AT)
    assert outcome.reconnects >= len(KILL_AT), "every socket had to find the new leader"
    assert outcome.tally.differences == []
    assert outcome.zero
    assert outcome.tally.books == outcome.tally.books_equal > EVENTS * 0.9
    assert outcome.tally.fills == outcome.tally.fills_equal > 50
    assert outcome.tally.published == outcome.tally.published_equal > 100


@pytest.mark.timeout(120)
def test_the_command_replays_to_its_own_cluster_and_says_so_in_json(
    goog_day: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = main(
        ["replay", "lobster", str(goog_day), "--limit", "300", "--start-cluster", "--accounts", "10", "--json"]
    )
    said = json.loads(capsys.readouterr().out)
    assert (status, said["zero_differences"], said["accounts"]) == (0, True, 10)
    assert said["books"] == said["books_equal"] > 250
    assert said["acknowledgement_p50_ms"] > 0


@pytest.mark.timeout(120)
async def test_a_cluster_without_the_instrument_is_refused_with_the_block_to_add(
    tmp_path: Path, goog_day: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    other = {**instrument.table(), "instrument_id": "SIM.OTHER", "product": "OTHER"}
    async with LocalCluster.temporary(tmp_path, instruments=[other]) as cluster:
        await cluster.wait_until_ready()
        arguments = ["replay", "lobster", str(goog_day), "--limit", "10", "--config", str(cluster.config.path)]
        status = await trio.to_thread.run_sync(main, arguments)
    assert status == 1
    said = capfd.readouterr().err
    assert "SIM.GOOG is not listed on this cluster" in said
    assert "[[instruments]]" in said


def test_a_folder_without_a_day_is_refused_before_anything_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["replay", "lobster", str(tmp_path), "--start-cluster"]) == 1
    assert "must hold one *_message_10.csv[.xz], found: none" in capsys.readouterr().err


def test_the_block_for_cluster_toml_is_what_the_replay_lists() -> None:
    terms = instrument.listing()
    assert (terms.instrument_id, terms.tick_units, terms.volume_multiple) == (instrument.INSTRUMENT_ID, 100, 1)
    assert terms.position_limit == 0
