"""Three real processes, real traders on the public socket, and SIGKILL."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path

import httpx
import pytest
import trio

from api.client import NewOrder, TrioClient
from chaos.failover import kill_leader
from node.local import LocalCluster
from node.views import Observer

SUBMIT_BOUND_S = 2.0  # issue 2: without a majority, writes are refused with 503 within this time


@asynccontextmanager
async def trader(urls: list[str], name: str) -> AsyncIterator[tuple[TrioClient, str, str]]:
    """A client that is logged in, with the id and the token of its funded account."""
    async with TrioClient(urls) as client:
        await client.register(name, "a good password")
        login = await client.login(name, "a good password")
        account = await client.open_account(name)
        await client.deposit(account.account_id, Decimal(10_000_000))
        yield client, account.account_id, login.token


@pytest.mark.timeout(300)
async def test_a_killed_leader_is_replaced_nothing_acknowledged_is_lost_and_it_rejoins(
    tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    kills = pytestconfig.getoption("--kills")
    async with LocalCluster.temporary(tmp_path) as cluster:
        await cluster.wait_until_ready()
        verdict = await kill_leader(cluster, rounds=kills, traders=3, seed=20_261_122)
    assert verdict.violations == []
    assert len(verdict.gaps_s) == kills
    assert verdict.acknowledged > 50 * kills


async def test_without_a_majority_a_write_is_refused_and_told_the_arithmetic(tmp_path: Path) -> None:
    async with LocalCluster.temporary(tmp_path) as cluster:
        overview = await cluster.wait_until_ready()
        assert overview.leader is not None
        leader = cluster.config.node(overview.leader.node)
        followers = [node.name for node in cluster.config.nodes if node is not leader]
        order: dict[str, object] = {
            "instrument_id": "SHFE.cu2701",
            "direction": "BUY",
            "offset": "OPEN",
            "volume": 1,
            "price": 70_000,
            "client_order_id": "no-majority",
        }
        async with (
            trader([leader.api_url], "quorum") as (client, account_id, token),
            httpx.AsyncClient(base_url=leader.api_url, trust_env=False) as http,
        ):
            order["account_id"] = account_id
            for name in followers:
                cluster.kill(name)
            while (await http.get("/readyz")).status_code == 200:  # noqa: ASYNC110 (no event of a process tells it)
                await trio.sleep(0.02)
            # What the dead had acknowledged is committed by now (a tick of the clock, perhaps), and nothing follows it.
            before = (await http.get("/api/cluster")).json()["data"]
            for _ in range(2):
                with trio.fail_after(SUBMIT_BOUND_S):
                    answer = await http.post(
                        "/api/order/submit", json=order, headers={"Authorization": f"Bearer {token}"}
                    )
                error = answer.json()["error"]
                assert answer.status_code == 503
                assert "Retry-After" in answer.headers
                if error["code"] == 7003:  # it was proposed before the leader noticed: told as unknown
                    assert error["outcome"] == "unknown"
                    await trio.sleep(0.6)
            assert error["code"] == 7002
            assert error["outcome"] == "not_executed"
            assert "1 of 3" in error["message"]
            assert "2 needed" in error["message"]
            ready = await http.get("/readyz")
            assert ready.status_code == 503
            assert (await http.get("/livez")).status_code == 200
            after = (await http.get("/api/cluster")).json()["data"]
            assert after["state_hash"] == before["state_hash"]

            for name in followers:
                cluster.start(name)
            await cluster.wait_until_ready()
            result = await client.submit(
                NewOrder(account_id, "SHFE.cu2701", "BUY", "OPEN", 1, Decimal(70_000), client_order_id="no-majority")
            )
            assert len((await client.orders(account_id)).items) == 1
            assert (await client.order_by_client_id(account_id, "no-majority")).order_id == result.order_id


async def test_the_whole_cluster_restarts_from_its_disks(tmp_path: Path) -> None:
    async with LocalCluster.temporary(tmp_path) as cluster:
        await cluster.wait_until_ready()
        urls = [node.api_url for node in cluster.config.nodes]
        async with trader(urls, "restart") as (client, account_id, _):
            results = [
                await client.submit(NewOrder(account_id, "cu2701", "BUY", "OPEN", 1, Decimal(69_000 + 10 * n)))
                for n in range(20)
            ]
            for node in cluster.config.nodes:
                cluster.kill(node.name)
            cluster.start()
            await cluster.wait_until_ready()
            await client.login("restart", "a good password")
            held = {order.order_id for order in (await client.orders(account_id)).items}
            assert held == {result.order_id for result in results}
        async with Observer(cluster.config) as observer:
            with trio.fail_after(10):
                while True:
                    views = (await observer.look()).views
                    if len(views) == 3 and len({view.applied_index for view in views}) == 1:
                        break
                    await trio.sleep(0.05)
            assert len({view.state_hash for view in views}) == 1


async def test_the_cluster_restarts_from_its_snapshots_and_a_node_that_was_away_catches_up(tmp_path: Path) -> None:
    raft = {"snapshot_entries": 20, "log_entries_kept": 5}
    async with LocalCluster.temporary(tmp_path, raft=raft) as cluster:
        overview = await cluster.wait_until_ready()
        assert overview.leader is not None
        away = next(node.name for node in cluster.config.nodes if node.name != overview.leader.node)
        urls = [node.api_url for node in cluster.config.nodes]

        async def orders(client: TrioClient, account_id: str, count: int) -> set[int]:
            return {
                (await client.submit(NewOrder(account_id, "cu2701", "BUY", "OPEN", 1, Decimal(69_000)))).order_id
                for _ in range(count)
            }

        async with trader(urls, "snapshots") as (client, account_id, _):
            given = await orders(client, account_id, 60)
            cluster.kill(away)
            given |= await orders(client, account_id, 60)
            cluster.start(away)
            await cluster.wait_until_ready()
            with trio.fail_after(20):
                for node in cluster.config.nodes:
                    kept = cluster.config.node_dir(node.name) / "snapshots"
                    while len(list(kept.glob("*.snapshot"))) < 2:
                        given |= await orders(client, account_id, 10)
                        await trio.sleep(0.05)
            for node in cluster.config.nodes:
                cluster.kill(node.name)
            cluster.start()
            await cluster.wait_until_ready()
            await client.login("snapshots", "a good password")
            given |= await orders(client, account_id, 5)
            held = {order.order_id for order in (await client.orders(account_id)).items}
            assert held and held <= given and len(given) > 120
        async with Observer(cluster.config) as observer:
            with trio.fail_after(10):
                while True:
                    views = (await observer.look()).views
                    if len(views) == 3 and len({view.applied_index for view in views}) == 1:
                        break
                    await trio.sleep(0.05)
            assert len({view.state_hash for view in views}) == 1
