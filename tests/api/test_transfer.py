"""The leadership: handing it over through the front door, and what a leader says while it is not sure of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from consensus.errors import NoQuorum, TransferFailed
from node.exchange.types import Role
from tests.api.exchange import Exchange, Node, client, exchange
from tests.api.sockets import Trader

TRANSFER = "/admin/cluster/transfer"


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Exchange]:
    async with exchange(tmp_path, count=3) as cluster:
        yield cluster


async def test_an_administrator_hands_the_leadership_to_the_node_that_he_names(cluster: Exchange) -> None:
    leader = await cluster.leader()
    admin, _ = await leader.add_trader("root", role=Role.ADMIN)
    target = (await cluster.followers())[1]
    async with client(leader, admin) as http:
        reply = await http.post(TRANSFER, json={"target": target.name})
        assert (reply.status_code, reply.json()["data"]) == (200, {"leader": target.name, "url": target.url})
        assert (await cluster.leader()) is target
        again = await http.post(TRANSFER, json={})
        assert (again.status_code, again.json()["error"]["details"]["leader"]["id"]) == (421, target.name)
    async with client(target, admin) as http:
        assert (await http.post(TRANSFER, json={})).status_code == 200
    assert (await cluster.leader()) is not target


async def test_nobody_but_an_administrator_may(cluster: Exchange) -> None:
    leader = await cluster.leader()
    for number, role in enumerate((Role.TRADER, Role.RISK_MANAGER, Role.SETTLEMENT, Role.ANALYST)):
        user, _ = await leader.add_trader(f"user{number}", role=role)
        async with client(leader, user) as http:
            reply = await http.post(TRANSFER, json={})
            assert (reply.status_code, reply.json()["error"]["code"]) == (403, 9006)
            assert "ManageCluster" in reply.json()["error"]["message"]
    assert (await cluster.leader()) is leader


async def test_a_transfer_that_cannot_be_is_refused_with_the_reason(cluster: Exchange) -> None:
    leader = await cluster.leader()
    admin, _ = await leader.add_trader("root", role=Role.ADMIN)
    async with client(leader, admin) as http:
        for target, reason in (("zed", "'zed' is no member"), (leader.name, f"{leader.name} leads already")):
            reply = await http.post(TRANSFER, json={"target": target})
            error = reply.json()["error"]
            assert (reply.status_code, error["code"], error["outcome"]) == (409, 7006, "not_executed")
            assert reason in error["message"]
        assert (await http.post(TRANSFER, json={"to": "n2"})).status_code == 400


async def test_a_transfer_that_came_to_nothing_says_who_leads(
    cluster: Exchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    leader = await cluster.leader()
    admin, _ = await leader.add_trader("root", role=Role.ADMIN)

    async def fail(target: str | None = None, *, timeout_s: float = 0) -> str:
        raise TransferFailed("n2 did not take over in time; this node goes on leading term 1")

    monkeypatch.setattr(leader.replica, "transfer", fail)
    async with client(leader, admin) as http:
        reply = await http.post(TRANSFER, json={})
        assert (reply.status_code, reply.json()["error"]["code"]) == (503, 7007)
        assert "goes on leading term 1" in reply.json()["error"]["message"]


def lose_the_lease(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    core = node.replica._core
    assert core is not None
    monkeypatch.setattr(core, "holds_lease", lambda now: False)


async def test_an_answer_says_what_makes_it_current(cluster: Exchange, monkeypatch: pytest.MonkeyPatch) -> None:
    leader = await cluster.leader()
    alice, account = await leader.add_trader("alice")
    async with client(leader, alice) as http:
        for level in ("leader", "linearizable"):
            reply = await http.get(f"/api/account/{account}", params={"level": level})
            assert reply.headers["X-Read-Level"] in ("lease", "barrier")
        lose_the_lease(leader, monkeypatch)
        for level in ("leader", "linearizable"):
            reply = await http.get(f"/api/account/{account}", params={"level": level})
            assert (reply.status_code, reply.headers["X-Read-Level"]) == (200, "barrier")
        reply = await http.get(f"/api/account/{account}", params={"level": "stale"})
        assert reply.headers["X-Read-Level"] == "stale"


async def test_a_query_on_a_socket_waits_until_the_node_is_sure_that_it_leads(
    cluster: Exchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    leader = await cluster.leader()
    alice, account = await leader.add_trader("alice")
    async with Trader.connect(leader, alice) as trader:
        lose_the_lease(leader, monkeypatch)
        for _ in range(3):
            reply = await trader.ask(type="query_account", account_id=account)
            assert reply["success"], reply


async def test_a_query_on_a_socket_is_refused_where_no_majority_confirms_it(
    cluster: Exchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    leader = await cluster.leader()
    alice, account = await leader.add_trader("alice")

    async def refuse(*, timeout_s: float = 1.0) -> int:
        await trio.sleep(0.01)
        raise NoQuorum(1, 3, 2)

    async with Trader.connect(leader, alice) as trader:
        lose_the_lease(leader, monkeypatch)
        monkeypatch.setattr(leader.replica, "read_barrier", refuse)
        reply = await trader.ask(type="query_account", account_id=account)
        assert (reply["success"], reply["error"]["code"]) == (False, 7002)
