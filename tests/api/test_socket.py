"""The `/ws` socket: authentication, requests, replies in order, heartbeat, bounds."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest
import trio
import trio_websocket
from websockets.trio.client import connect

from api.ws import connection, session
from node.exchange.commands import RevokeTokens
from tests.api.exchange import COPPER, Node, client, exchange, order
from tests.api.sockets import Trader


async def test_a_trader_submits_modifies_cancels_and_asks(node: Node) -> None:
    alice, account = await node.add_trader("alice")
    async with Trader.connect(node, alice, session="desk-1") as trader:
        assert trader.welcome["user_id"] == alice and trader.welcome["session"] == "desk-1"
        assert trader.welcome["leader"] == {"id": "n1", "url": node.url} and trader.welcome["roles"] == ["Trader"]
        placed = await trader.ask(type="submit_order", **order(account, volume=3, client_order_id="c"))
        assert placed["success"] and placed["data"]["status"] == "Accepted" and placed["error"] is None
        assert placed["receipt"]["log_index"] == node.machine.index
        order_id = placed["data"]["order_id"]
        changed = await trader.ask(type="modify_order", account_id=account, order_id=order_id, volume=2)
        assert changed["data"]["volume_left"] == 2
        shown = await trader.ask(type="query_order", account_id=account, order_id=order_id)
        assert shown["type"] == "query_response" and shown["data"]["volume"] == 2
        gone = await trader.ask(type="cancel_order", account_id=account, order_id=order_id)
        assert gone["data"]["status"] == "Cancelled"
        late = await trader.ask(type="cancel_order", account_id=account, order_id=order_id)
        assert late["error"]["code"] == 3002 and late["receipt"]["log_index"] == node.machine.index
        assert (await trader.ask(type="cancel_all", account_id=account))["data"]["count"] == 0
        assert (await trader.ask(type="query_account", account_id=account))["data"]["frozen_margin"] == 0
        assert (await trader.ask(type="query_orders", account_id=account, alive=False))["data"]["total"] == 1
        assert (await trader.ask(type="query_position", account_id=account))["data"]["positions"]
        assert (await trader.ask(type="query_trades", account_id=account))["data"]["trades"] == []
        assert await trader.ask(type="ping") == {"type": "pong", "id": 11}


async def test_rest_and_the_socket_give_the_same_answer(node: Node) -> None:
    alice, account = await node.add_trader("alice")
    async with Trader.connect(node, alice) as trader, client(node, alice) as http:
        body = order(account, client_order_id="same")
        over_socket = await trader.ask(type="submit_order", **body)
        over_rest = (await http.post("/api/order/submit", json=body)).json()
        repeated = over_rest["data"]
        assert repeated.pop("repeated") is True
        repeated.pop("trade_count", None)
        assert repeated == over_socket["data"]
        assert over_rest["receipt"] == over_socket["receipt"]
        bad = order(account, price=70_005)
        error = (await trader.ask(type="submit_order", **bad))["error"]
        assert error == (await http.post("/api/order/submit", json=bad)).json()["error"]


async def test_a_token_in_the_header_authenticates_at_once(node: Node) -> None:
    alice, _ = await node.add_trader("alice")
    async with trio_websocket.open_websocket_url(
        node.ws_url, extra_headers=[(b"Authorization", f"Bearer {node.token(alice)}".encode())]
    ) as ws:
        with trio.fail_after(5):
            welcome = json.loads(await ws.get_message())
            assert (welcome["type"], welcome["success"], welcome["user_id"]) == ("auth_response", True, alice)
            await ws.send_message('{"type":"ping","id":"x"}')
            assert json.loads(await ws.get_message()) == {"type": "pong", "id": "x"}


async def test_replies_keep_the_order_of_the_requests(node: Node) -> None:
    """Also of those that need no commit, behind those that do: a query sees what was sent before it."""
    alice, account = await node.add_trader("alice")
    async with Trader.connect(node, alice) as trader:
        for round_ in range(20):
            base = round_ * 10
            submit = {"type": "submit_order", **order(account)}
            await trader.send(submit | {"id": base})
            await trader.send({"type": "query_orders", "id": base + 1, "account_id": account, "alive": True})
            await trader.send([submit | {"id": base + 2}, {"type": "ping", "id": base + 3}])
            await trader.send({"type": "nonsense", "id": base + 4})
        for round_ in range(20):
            base = round_ * 10
            assert (await trader.reply())["id"] == base
            listed = await trader.reply()
            assert listed["id"] == base + 1 and listed["data"]["total"] > round_ * 2
            batch = await trader.reply()
            assert [reply["id"] for reply in batch] == [base + 2, base + 3]
            assert (await trader.reply())["id"] == base + 4


async def test_requests_that_arrive_together_share_entries(node: Node) -> None:
    alice, account = await node.add_trader("alice")
    async with Trader.connect(node, alice) as trader:
        before = node.machine.index
        submit = {"type": "submit_order", **order(account)}
        await trader.send([submit | {"id": n} for n in range(200)])
        replies = await trader.reply()
        assert [reply["id"] for reply in replies] == list(range(200))
        assert all(reply["success"] for reply in replies)
        assert len({reply["data"]["order_id"] for reply in replies}) == 200
        assert node.machine.index - before <= 2


async def test_a_socket_with_too_much_in_flight_is_told(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "IN_FLIGHT_MAX", 10)
    alice, account = await node.add_trader("alice")
    async with Trader.connect(node, alice) as trader:
        submit = {"type": "submit_order", **order(account)}
        await trader.send([submit | {"id": n} for n in range(11)])
        replies = await trader.reply()
        assert {reply["error"]["code"] for reply in replies} == {7004}
        assert replies[0]["error"]["retry"] == "after_ms" and replies[0]["error"]["outcome"] == "not_executed"
        await trader.send([submit | {"id": n} for n in range(10)])
        assert all(reply["success"] for reply in await trader.reply())


async def test_who_does_not_authenticate_is_closed(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "AUTH_TIMEOUT_S", 0.1)
    async with connect(node.ws_url, proxy=None) as raw:
        assert await Trader(raw).closed() == 4401


async def test_a_silent_client_is_closed_and_one_that_answers_pings_is_not(tmp_path: Path) -> None:
    async with exchange(tmp_path, heartbeat_seconds=0.1) as cluster:
        node = await cluster.leader()
        alice, _ = await node.add_trader("alice")
        async with Trader.connect(node, alice) as trader, await trio.open_tcp_stream("127.0.0.1", node.port) as mute:
            await mute.send_all(
                b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Version: 13\r\nAuthorization: Bearer %b\r\n"
                b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n" % node.token(alice).encode()
            )
            with trio.fail_after(5):
                data = b""
                while part := await mute.receive_some():
                    data += part
            assert (4410).to_bytes(2, "big") in data
            assert (await trader.ask(type="ping"))["type"] == "pong"


async def test_a_socket_ends_with_its_token(tmp_path: Path) -> None:
    async with exchange(tmp_path, heartbeat_seconds=0.05, token_hours=1) as cluster:
        node = await cluster.leader()
        alice, _ = await node.add_trader("alice")
        async with Trader.connect(node, alice) as trader:
            fresh = node.token(alice)
            node.clock.offset_ns = 3_700 * 10**9
            assert await trader.closed() == 4401
            async with connect(node.ws_url, proxy=None) as raw:
                await raw.send(json.dumps({"type": "auth", "token": fresh}))
                assert await Trader(raw).closed() == 4401


async def test_revoking_closes_the_sockets_of_that_user_only(node: Node) -> None:
    alice, _ = await node.add_trader("alice")
    bob, _ = await node.add_trader("bob")
    async with Trader.connect(node, alice) as hers, Trader.connect(node, bob) as his:
        await node.apply(RevokeTokens(alice))
        assert await hers.closed() == 4403
        assert (await his.ask(type="ping"))["type"] == "pong"


async def test_a_socket_cannot_change_its_user_but_renew_its_token(node: Node) -> None:
    alice, _ = await node.add_trader("alice")
    bob, _ = await node.add_trader("bob")
    async with Trader.connect(node, alice) as trader:
        await trader.send({"type": "auth", "id": 1, "token": node.token(alice)})
        assert (await trader.next("auth_response"))["success"] is True
        await trader.send([{"type": "auth", "id": 2, "token": node.token(alice)}])
        assert (await trader.reply())[0]["error"]["code"] == 9003
        await trader.send({"type": "auth", "id": 3, "token": node.token(bob)})
        refused = await trader.next("auth_response")
        assert refused["success"] is False and "another user" in refused["error"]["message"]


async def test_a_client_that_does_not_read_is_closed_as_a_slow_consumer(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nobody waits for it: another client's orders go through meanwhile."""
    alice, ours = await node.add_trader("alice", cash=10**9)
    bob, theirs = await node.add_trader("bob")
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    raw.setblocking(False)
    stream = trio.SocketStream(trio.socket.from_stdlib_socket(raw))
    await stream.socket.connect(("127.0.0.1", node.port))
    async with stream, Trader.connect(node, alice) as hers, Trader.connect(node, bob) as his:
        await stream.send_all(
            b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            b"Authorization: Bearer %b\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            % node.token(alice).encode()
        )
        while len(node.hub.sockets) < 3:  # noqa: ASYNC110 (no event tells it)
            await trio.sleep(0.005)
        batch = [{"type": "submit_order", **order(ours)} for _ in range(200)]
        with trio.fail_after(30):
            while len(node.hub.sockets) == 3:
                await hers.send(batch)
                assert (await hers.reply())[0]["success"]
                assert all(s.outbox_bytes <= connection.OUTBOX_BYTES_MAX + 200_000 for s in sessions(node))
                if any(s.given_up for s in sessions(node)):
                    break
        assert (await his.ask(type="submit_order", **order(theirs)))["success"]
        data = b""
        with trio.fail_after(20):
            while True:
                try:
                    part = await stream.receive_some(1_000_000)
                except trio.BrokenResourceError:
                    break
                if not part:
                    break
                data += part
        assert (4408).to_bytes(2, "big") + b"SLOW_CONSUMER" in data[-40:]


class Seen:
    def __init__(self, opened: Any) -> None:
        outbox = opened._connection.outbox
        self.outbox_bytes: int = outbox.queued_bytes
        self.given_up: bool = outbox.overflowed


def sessions(node: Node) -> list[Seen]:
    return [Seen(opened) for opened in node.hub.sockets]


async def test_a_thousand_pings_in_one_write_are_answered_in_order(node: Node) -> None:
    alice, _ = await node.add_trader("alice")
    async with Trader.connect(node, alice) as trader:
        for n in range(1_000):
            await trader.send(json.dumps({"type": "ping", "id": n}))
        assert [(await trader.reply())["id"] for _ in range(1_000)] == list(range(1_000))


async def test_an_unknown_instrument_subscribes_nothing(node: Node) -> None:
    alice, _ = await node.add_trader("alice")
    async with Trader.connect(node, alice) as trader:
        refused = await trader.ask(type="subscribe", channels=["orderbook"], instruments=[COPPER, "SHFE.zz1"])
        assert (refused["type"], refused["error"]["code"]) == ("subscribe_response", 1007)
        none = await trader.ask(type="subscribe", channels=["trades"])
        assert none["error"]["code"] == 9003
        good = await trader.ask(type="subscribe", channels=["trades"], instruments=["cu2701"])
        assert good["data"]["instruments"] == [COPPER]
