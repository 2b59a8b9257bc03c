"""The demo traders on a real cluster."""

from __future__ import annotations

import random
import stat

import pytest
import trio

from api.client import TrioClient
from node.config import DemoConfig
from node.demo import LATENCIES_KEPT, LOTS_HELD_MAX, DemoFigures, DemoTraders, demo_secret, password_of, run_demo
from node.errors import SecretsError
from tests.client.real import running, until

pytestmark = pytest.mark.timeout(90)
SETTINGS = DemoConfig(traders=3, orders_per_second=300, seed=3)


def test_the_secret_is_made_once_for_its_owner_alone(tmp_path):
    secret = demo_secret(tmp_path / "demo.json")
    assert demo_secret(tmp_path / "demo.json") == secret
    assert stat.S_IMODE((tmp_path / "demo.json").stat().st_mode) == 0o600
    assert demo_secret(tmp_path / "other.json") != secret


def test_passwords_differ_by_trader_and_by_cluster_and_fit_bcrypt():
    made = [password_of(secret, name) for secret in (b"one", b"two") for name in ("demo1", "demo2")]
    assert len(set(made)) == 4
    assert all(8 <= len(password) <= 72 for password in made)


@pytest.mark.parametrize("content", [b"", b"{}", b'{"secret": 1}', b"\xff"])
def test_a_secret_that_cannot_be_read_names_its_file(tmp_path, content):
    path = tmp_path / "demo.json"
    path.write_bytes(content)
    with pytest.raises(SecretsError, match=str(path)):
        demo_secret(path)


def test_figures_are_bounded_and_say_rate_and_latency():
    figures = DemoFigures()
    assert figures.latency_ms(0.5) is None and figures.rate(0.0) == 0
    for n in range(3 * LATENCIES_KEPT):
        figures.note(n / 100, 0.002)
    assert figures.acknowledged == 3 * LATENCIES_KEPT
    assert len(figures.latencies_s) == LATENCIES_KEPT
    assert figures.latency_ms(0.99) == 2.0
    assert 95 < figures.rate(3 * LATENCIES_KEPT / 100) < 105


async def test_traders_trade_in_bounds_and_log_in_again_to_the_same_accounts(tmp_path):
    async with running(tmp_path, 1) as cluster:
        secret = demo_secret(tmp_path / "demo.json")
        accounts = set()
        for _ in range(2):
            figures = DemoFigures()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_run, cluster.urls, secret, figures)
                await until(lambda: figures.trading == SETTINGS.traders and figures.acknowledged > 400)  # noqa: B023
                nursery.cancel_scope.cancel()
            assert figures.errors == 0, figures.last_error
            assert figures.latency_ms(0.5) is not None
            async with TrioClient(cluster.urls) as client:
                traded = 0
                for number in range(1, SETTINGS.traders + 1):
                    await client.login(f"demo{number}", password_of(secret, f"demo{number}"))
                    (account,) = await client.accounts()
                    accounts.add(account.account_id)
                    assert account.available > 0
                    traded += (await client.trades(account.account_id)).total
                    for position in await client.positions(account.account_id):
                        assert position.volume_long <= 10 * LOTS_HELD_MAX
                        assert position.volume_short <= 10 * LOTS_HELD_MAX
                assert traded > 0
        assert len(accounts) == SETTINGS.traders


async def _run(urls: list[str], secret: bytes, figures: DemoFigures) -> None:
    await run_demo(urls, SETTINGS, secret, figures, rng=random.Random(SETTINGS.seed))


async def test_a_cluster_where_nobody_may_fund_himself_is_an_error_that_is_said_and_tried_again(tmp_path):
    async with running(tmp_path, 1, accounts={"self_service_funding": False}, demo={"traders": 1}) as cluster:
        traders = DemoTraders(cluster.nodes.config)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(traders.run)
            await until(lambda: traders.figures.errors >= 2)
            nursery.cancel_scope.cancel()
        assert "permission DepositWithdraw" in traders.lines()[-1]


async def test_a_trader_outlives_a_restart_of_the_only_node(tmp_path):
    async with running(tmp_path, 1, demo={"traders": 1, "orders_per_second": 100}) as cluster:
        traders = DemoTraders(cluster.nodes.config)
        figures = traders.figures
        async with trio.open_nursery() as nursery:
            nursery.start_soon(traders.run)
            await until(lambda: figures.acknowledged > 10)
            cluster.nodes.kill(cluster.leader)
            cluster.nodes.start(cluster.leader)
            before = figures.acknowledged
            await until(lambda: figures.acknowledged > before + 10)
            nursery.cancel_scope.cancel()


async def test_traders_follow_the_leader_and_say_so(tmp_path):
    async with running(tmp_path, 3, demo={"traders": 2, "orders_per_second": 100}) as cluster:
        traders = DemoTraders(cluster.nodes.config)
        figures = traders.figures
        async with trio.open_nursery() as nursery:
            nursery.start_soon(traders.run)
            await until(lambda: figures.trading == 2 and figures.acknowledged > 50)
            cluster.nodes.kill(cluster.leader)
            before = figures.acknowledged
            await until(lambda: figures.reconnects >= 2 and figures.acknowledged > before + 50)
            assert figures.errors == 0, figures.last_error
            (line,) = traders.lines()
            assert line.startswith("demo traders: 2 trading") and "0 errors" in line
            nursery.cancel_scope.cancel()
