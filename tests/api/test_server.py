"""The server below the routes: what Hypercorn 0.18.0 does wrong on trio (stack.md 1.2), and the bounds of connections.

Raw sockets, because a well-behaved client hides these faults.
"""

from __future__ import annotations

import socket
from functools import partial
from pathlib import Path

import pytest
import trio
from websockets.trio.client import connect

from api import limits, server
from api.errors import Unavailable
from tests.api.exchange import Node, client, exchange
from tests.api.sockets import Trader

HEAD = b"HTTP/1.1\r\nHost: localhost\r\n"


async def opened(node: Node) -> trio.SocketStream:
    return await trio.open_tcp_stream("127.0.0.1", node.port)


async def answer(stream: trio.SocketStream) -> bytes:
    """One response, head and body."""
    data = b""
    with trio.fail_after(5):
        while b"\r\n\r\n" not in data:
            part = await stream.receive_some()
            if not part:
                return data
            data += part
        head, _, body = data.partition(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        while len(body) < length:
            body += await stream.receive_some()
    return head + b"\r\n\r\n" + body


@pytest.mark.parametrize("path", [b"/api/order/submit", b"/livez", b"/api/nowhere"])
async def test_an_early_refusal_does_not_wedge_the_connection(node: Node, path: bytes) -> None:
    """B1: the response is complete before the body arrives; the next request was never answered."""
    async with await opened(node) as stream:
        for _ in range(5):
            await stream.send_all(b"POST " + path + b" " + HEAD + b"Content-Length: 10\r\n\r\n")
            await trio.sleep(0.01)
            await stream.send_all(b"0123456789")
            first = await answer(stream)
            assert first.split(b" ")[1] in (b"401", b"404", b"405")
            await stream.send_all(b"GET /livez " + HEAD + b"\r\n")
            assert (await answer(stream)).startswith(b"HTTP/1.1 200")


async def test_a_refusal_that_overtakes_its_body_arrives(node: Node) -> None:
    """A 413 is known from the head alone; closing over the body that still comes must not lose it."""
    for _ in range(5):
        async with await opened(node) as stream:
            await stream.send_all(b"POST /api/order/submit " + HEAD + b"Content-Length: 9000000\r\n\r\n")
            for _ in range(10):
                await stream.send_all(b"x" * 65_536)
            assert (await answer(stream)).startswith(b"HTTP/1.1 413")


async def test_an_idle_connection_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """B2: the keep-alive timeout never fired."""
    monkeypatch.setattr(server, "KEEP_ALIVE_S", 0.2)
    async with exchange(tmp_path) as cluster:
        node = await cluster.leader()
        async with await opened(node) as stream:
            await stream.send_all(b"GET /livez " + HEAD + b"\r\n")
            assert (await answer(stream)).startswith(b"HTTP/1.1 200")
            with trio.fail_after(5):
                assert await stream.receive_some() == b""


async def test_a_connection_that_says_nothing_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "HEAD_TIMEOUT_S", 0.1)
    async with exchange(tmp_path) as cluster:
        node = await cluster.leader()
        for start in (b"", b"G", b"GET /w", b"GET /ws HTTP/1.1\r\nHost:"):
            async with await opened(node) as stream:
                await stream.send_all(start) if start else None
                with trio.fail_after(5):
                    while await stream.receive_some():
                        pass


async def test_a_client_that_does_not_read_does_not_hold_up_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """B3: cancelling the server waited for as long as the client did."""
    monkeypatch.setattr(server, "SEND_TIMEOUT_S", 0.3)
    async with exchange(tmp_path) as cluster:
        node = await cluster.leader()
        raw = socket.socket()
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        raw.connect(("127.0.0.1", node.port))
        raw.setblocking(False)
        request = b"GET /api/errors " + HEAD + b"\r\n"
        try:
            for _ in range(5_000):
                raw.send(request)
        except BlockingIOError:
            pass
        await trio.sleep(0.1)
        with trio.fail_after(5):
            await cluster.stop(node.name)
        raw.close()


async def test_a_stuck_rest_client_is_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "SEND_TIMEOUT_S", 0.2)
    async with exchange(tmp_path) as cluster:
        node = await cluster.leader()
        raw = socket.socket()
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        raw.connect(("127.0.0.1", node.port))
        raw.setblocking(False)
        request = b"GET /api/errors " + HEAD + b"\r\n"
        with trio.fail_after(20):
            while True:  # until the node has thrown us out
                try:
                    raw.send(request)
                except BlockingIOError:
                    await trio.sleep(0.01)
                except (BrokenPipeError, ConnectionResetError):
                    break
        raw.close()
        async with client(node) as http:
            assert (await http.get("/livez")).status_code == 200


async def test_more_connections_than_allowed_are_turned_away_and_room_comes_back(tmp_path: Path) -> None:
    async with exchange(tmp_path, connections_max=3) as cluster:
        node = await cluster.leader()
        streams = [await opened(node) for _ in range(3)]
        async with await opened(node) as stream:
            await stream.send_all(b"GET /livez " + HEAD + b"\r\n")
            data = await answer(stream)
            assert data.startswith(b"HTTP/1.1 503") and b"SERVICE_UNAVAILABLE" in data
        for stream in streams:
            await stream.aclose()
        with trio.fail_after(5):
            async with client(node) as http:
                while (await http.get("/livez")).status_code != 200:  # noqa: ASYNC110 (no event tells it)
                    await trio.sleep(0.01)


async def test_too_many_requests_at_once_are_refused_with_a_time_to_come_back() -> None:
    gate = limits.InFlight(1)
    with gate.enter():
        with pytest.raises(Unavailable, match="1 requests are in progress") as refusal, gate.enter():
            pass
        assert refusal.value.headers["Retry-After"] == "1"
    with gate.enter():
        pass


async def test_rest_and_sockets_share_a_port_and_a_head_may_come_in_pieces(node: Node) -> None:
    async with client(node) as http, connect(node.ws_url, proxy=None):
        assert (await http.get("/livez")).status_code == 200
    head = (
        b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
    )
    async with await opened(node) as stream:
        for start in range(0, len(head), 7):
            await stream.send_all(head[start : start + 7])
            await trio.sleep(0.0005)
        reply = await stream.receive_some()
        assert reply.startswith(b"HTTP/1.1 101")
        assert b"deflate" not in reply  # B4
    async with await opened(node) as stream:
        for piece in (b"GE", b"T /li", b"vez " + HEAD, b"\r\n"):
            await stream.send_all(piece)
            await trio.sleep(0.001)
        assert (await answer(stream)).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("head", [b"GET /ws " + HEAD + b"X: " + b"x" * 20_000, b"GET /ws nonsense\r\n\r\n"])
async def test_a_malformed_opening_ends_the_connection_and_nothing_else(node: Node, head: bytes) -> None:
    async with await opened(node) as stream:
        await stream.send_all(head)
        with trio.fail_after(5):
            try:
                while await stream.receive_some():
                    pass
            except trio.BrokenResourceError:
                pass
    async with client(node) as http:
        assert (await http.get("/livez")).status_code == 200


async def test_the_end_of_a_node_says_goodbye_to_its_sockets(tmp_path: Path) -> None:
    async with exchange(tmp_path) as cluster:
        node = await cluster.leader()
        await node.add_trader("alice")
        async with Trader.connect(node, "U00000001") as trader, trio.open_nursery() as nursery:
            nursery.start_soon(cluster.stop, node.name)
            assert await trader.closed() == 1001


async def test_a_port_that_is_taken_is_an_os_error(node: Node) -> None:
    with pytest.raises(OSError, match="use"):
        await trio.lowlevel.checkpoint()
        await partial(server.serve_api, node.context, host="127.0.0.1", port=node.port)()
