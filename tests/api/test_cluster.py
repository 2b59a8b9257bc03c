"""Three nodes: what a node that does not lead answers, what is said without a majority, how sockets move on."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio
from websockets.exceptions import ConnectionClosed
from websockets.trio.client import connect

from api import rest
from api.rest.route import Access
from tests.api.exchange import Exchange, client, exchange, order
from tests.api.sockets import Trader


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Exchange]:
    async with exchange(tmp_path, count=3) as cluster:
        yield cluster


async def test_every_route_of_a_follower_names_the_leader(cluster: Exchange) -> None:
    leader = await cluster.leader()
    follower = (await cluster.followers())[0]
    async with client(follower) as http:
        for route in rest.ROUTES:
            if route.access is Access.NODE:
                continue
            path = route.path.replace("<", "").replace(">", "")
            reply = await http.request(route.method, path, content=b"not even JSON")
            assert reply.status_code == 421, path
            error = reply.json()["error"]
            assert (error["code"], error["name"], error["outcome"]) == (7001, "NOT_LEADER", "not_executed")
            assert error["details"]["leader"] == {"id": leader.name, "url": leader.url}
            assert error["details"]["term"] == leader.replica.status().term
            assert error["details"]["retry_after_ms"] == 0
            assert reply.headers["Location"] == leader.url + path
            assert reply.headers["X-Leader"] == leader.name


async def test_a_path_cannot_write_into_the_location_header(cluster: Exchange) -> None:
    follower = (await cluster.followers())[0]
    async with client(follower) as http:
        reply = await http.get("/api/account/a%0d%0aSet-Cookie:%20x")
        assert reply.status_code == 421 and "Set-Cookie" not in reply.headers
        assert reply.headers["Location"].endswith("/api/account/a%0D%0ASet-Cookie%3A%20x")


async def test_a_write_is_redirected_on_request(cluster: Exchange) -> None:
    leader = await cluster.leader()
    alice, account = await leader.add_trader("alice")
    follower = (await cluster.followers())[0]
    async with client(follower, None) as http:
        http.headers.update(leader.headers(alice))
        reply = await http.post("/api/order/submit?redirect=1", json=order(account))
        assert reply.status_code == 307
        assert reply.headers["Location"] == f"{leader.url}/api/order/submit?redirect=1"
        http.follow_redirects = True
        assert (await http.post("/api/order/cancel-all?redirect=1", json={"account_id": account})).is_redirect is False


async def test_a_follower_answers_stale_reads_and_says_how_stale(cluster: Exchange) -> None:
    leader = await cluster.leader()
    alice, account = await leader.add_trader("alice")
    follower = (await cluster.followers())[0]
    with trio.fail_after(5):
        while follower.machine.index < leader.machine.index:  # noqa: ASYNC110 (no event tells it)
            await trio.sleep(0.005)
    async with client(follower, None) as http:
        http.headers.update(leader.headers(alice))
        reply = await http.get(f"/api/account/{account}?level=stale")
        assert reply.status_code == 200
        assert int(reply.headers["X-Applied-Index"]) >= 1
        assert 0 <= float(reply.headers["X-Staleness-Ms"]) < 5_000
        for level in ("leader", "linearizable"):
            assert (await http.get(f"/api/account/{account}?level={level}")).status_code == 421
        ready = await http.get("/readyz")
        assert ready.status_code == 503
        assert ready.json()["error"]["details"]["reasons"] == [f"follower of {leader.name}"]
        assert (await http.get("/health")).status_code == 200
        assert (await http.get("/livez")).status_code == 200
        seen = (await http.get("/api/cluster")).json()["data"]
        assert (seen["role"], seen["leader"], len(seen["members"])) == ("follower", leader.name, 3)
    async with client(leader) as http:
        assert (await http.get("/readyz")).status_code == 200
        seen = (await http.get("/api/cluster")).json()["data"]
        assert seen["quorum_text"] == "2 of 3 needed, 3 reachable; can lose 1 more"
        assert all(member["lag"] is not None for member in seen["members"])


async def test_without_a_majority_a_write_is_refused_in_time_with_the_arithmetic(cluster: Exchange) -> None:
    leader = await cluster.leader()
    alice, account = await leader.add_trader("alice")
    headers = leader.headers(alice)
    for follower in await cluster.followers():
        await cluster.stop(follower.name)
    async with client(leader) as http:
        http.headers.update(headers)
        codes = set()
        for _ in range(4):
            with trio.fail_after(2):
                reply = await http.post("/api/order/submit", json=order(account, client_order_id="x"))
            error = reply.json()["error"]
            assert reply.status_code == 503
            codes.add(error["code"])
            if error["code"] == 7002:
                assert "1 of 3 members reachable, 2 needed" in error["message"]
                assert (error["outcome"], error["retry"]) == ("not_executed", "after_ms")
                assert int(reply.headers["Retry-After"]) >= 1
            else:
                assert (error["code"], error["outcome"], error["retry"]) == (7003, "unknown", "same_id")
        assert 7002 in codes
        assert (await http.get("/readyz")).json()["error"]["details"]["reasons"][0].startswith("1 of 3 members")
        assert (await http.get("/livez")).status_code == 200
        read = await http.get(f"/api/account/{account}?level=linearizable")
        assert read.status_code in (421, 503)
        assert (await http.get(f"/api/account/{account}?level=stale")).status_code == 200


async def test_a_follower_sends_sockets_to_the_leader(cluster: Exchange) -> None:
    leader = await cluster.leader()
    alice, _ = await leader.add_trader("alice")
    follower = (await cluster.followers())[0]
    for headers in ({}, leader.headers(alice)):
        async with connect(follower.ws_url, proxy=None, additional_headers=headers) as socket:
            if not headers:
                await socket.send(json.dumps({"type": "auth", "token": leader.token(alice)}))
            moved = json.loads(await socket.recv())
            assert moved["type"] == "leader_change"
            assert moved["leader"] == {"id": leader.name, "url": leader.url}
            assert await Trader(socket).closed() == 4421


async def test_a_deposed_leader_closes_its_sockets(cluster: Exchange) -> None:
    """Its followers are gone long enough for it to give up, or another one leads: nobody stays on a dead line."""
    leader = await cluster.leader()
    alice, account = await leader.add_trader("alice")
    async with Trader.connect(leader, alice) as trader:
        for follower in await cluster.followers():
            await cluster.stop(follower.name)
        submit = {"type": "submit_order", "id": 1, **order(account, client_order_id="late")}
        await trader.send(submit)
        try:
            reply = await trader.reply()
        except ConnectionClosed as end:
            assert end.rcvd is not None and end.rcvd.code == 4421
            return
        assert reply["success"] is False
        assert reply["error"]["code"] in (7001, 7002, 7003)


async def test_acknowledged_orders_survive_the_leader(cluster: Exchange) -> None:
    leader = await cluster.leader()
    alice, account = await leader.add_trader("alice")
    async with Trader.connect(leader, alice) as trader:
        await trader.send([{"type": "submit_order", "id": n, **order(account)} for n in range(50)])
        acknowledged = [reply["data"]["order_id"] for reply in await trader.reply()]
    await cluster.stop(leader.name)
    successor = await cluster.leader()
    async with client(successor, alice) as http:
        page = (await http.get(f"/api/order/account/{account}?page_size=200&level=linearizable")).json()["data"]
        assert {row["order_id"] for row in page["orders"]} == set(acknowledged)
