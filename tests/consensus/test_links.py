"""The sockets themselves: peers that reset, that never read, that leave in the middle of a call."""

from __future__ import annotations

import errno
import os
import random
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from consensus import links, wire
from consensus.links import Links
from consensus.transport import Peer
from consensus.wire import Hello
from tests.consensus.cluster import members, until
from tests.consensus.test_failures import replica


class Interposed:
    """A socket of which some methods are replaced."""

    def __init__(self, inner: socket.socket, **methods: Callable[..., Any]) -> None:
        self._inner = inner
        self._methods = methods

    def __getattr__(self, name: str) -> Any:
        return self._methods.get(name) or getattr(self._inner, name)


class Recorded:
    """What the links tell the transport."""

    def __init__(self, *peers: Peer) -> None:
        self.peers = {peer.member.name: peer for peer in peers}
        self.changes: list[dict[str, bool]] = []

    def link_changed(self, _peer: Peer, **change: bool) -> None:
        self.changes.append(change)

    def drained(self, _peer: Peer) -> None:
        pass


def linked(tmp_path: Path) -> tuple[Links, Recorded, Peer]:
    """The links of member `a`, not running, and its peer `b`."""
    there = members(2)
    config = replica(tmp_path, members=there)._config
    peer = Peer(there[1], object())
    transport = Recorded(peer)
    return Links(config, transport, random.Random(1), lambda: None), transport, peer  # type: ignore[arg-type]


def pair() -> tuple[socket.socket, socket.socket]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    return ours, theirs


@pytest.mark.parametrize("readable_first", range(8))  # which task trio wakes first is random
async def test_a_reset_while_unsent_bytes_wait_ends_the_link_and_not_the_node(
    tmp_path: Path, readable_first: int
) -> None:
    ours, theirs = pair()
    broken = False

    def send(data: bytes) -> int:
        if broken:
            raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
        return ours.send(data)

    side, transport, peer = linked(tmp_path)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(side._serve_outgoing, peer, Interposed(ours, send=send))
        await trio.testing.wait_all_tasks_blocked()
        peer.outbox.put(bytes(4_000_000))
        side.flush()
        await trio.testing.wait_all_tasks_blocked()
        broken = True
        with theirs:
            while True:
                try:
                    theirs.recv(1 << 20)
                except BlockingIOError:
                    break
            with trio.fail_after(2):
                while side._outgoing:  # noqa: ASYNC110 - it ends by itself
                    await trio.sleep(0.001)
    assert transport.changes == [{"outgoing": True}, {"outgoing": False}]


async def test_a_link_closed_before_its_writer_woke_ends_quietly(tmp_path: Path) -> None:
    ours, theirs = pair()
    side, transport, peer = linked(tmp_path)
    with theirs:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(side._serve_outgoing, peer, ours)
            await trio.testing.wait_all_tasks_blocked()
            peer.outbox.put(bytes(4_000_000))
            side.flush()
            side._outgoing["b"].close()
    assert transport.changes[-1] == {"outgoing": False}


async def test_a_peer_that_never_reads_is_dropped_and_dialled_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(links, "STUCK_S", 0.2)
    there = members(2)
    one = replica(tmp_path, members=there)
    calls = []

    async def peer(stream: trio.SocketStream) -> None:
        calls.append(stream)
        await stream.receive_some(1000)
        await stream.send_all(wire.encode_hello(Hello("test", "b", "a", 7, 1)))
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        await nursery.start(partial(trio.serve_tcp, peer, there[1].port, host="127.0.0.1"))
        await nursery.start(one.run)
        await until(lambda: one.status().peers[0].connected)
        box = one._core.transport.peers["b"].outbox  # type: ignore[union-attr]
        for _ in range(70):
            box.put(bytes(100_000))
        assert not box.overfull, "what waits is within the bound"
        await until(lambda: len(calls) == 2 and one.status().peers[0].connected, 5.0)
        nursery.cancel_scope.cancel()


async def test_a_caller_that_cannot_be_answered_replaces_nothing(tmp_path: Path) -> None:
    side, transport, _ = linked(tmp_path)
    first, caller = pair()
    second, late_caller = pair()
    names = (side._config.cluster, "b", "a", 7)

    def sendall(_data: bytes) -> None:
        raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))

    with caller, late_caller:
        async with trio.open_nursery() as nursery:
            caller.sendall(wire.encode_hello(Hello(*names, 1)))
            nursery.start_soon(side._serve_incoming, first)
            await trio.testing.wait_all_tasks_blocked()
            late_caller.sendall(wire.encode_hello(Hello(*names, 2)))
            await side._serve_incoming(Interposed(second, sendall=sendall))  # type: ignore[arg-type]
            assert side._incoming["b"].socket is first
            assert transport.changes == [{"incoming": True}]
            caller.close()
    assert side._incoming == {}
    assert transport.changes == [{"incoming": True}, {"incoming": False}]


async def test_a_listener_out_of_descriptors_waits_a_while_and_says_so_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, autojump_clock: trio.testing.MockClock
) -> None:
    side, _, _ = linked(tmp_path)
    tries = 0

    def accept() -> Any:
        nonlocal tries
        tries += 1
        assert tries < 100, "it spins"
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with links.listen("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(side._accept, Interposed(listener, accept=accept), nursery)
            await trio.sleep(1.01)
            nursery.cancel_scope.cancel()
    assert 2 <= tries <= 22
    assert [record.message for record in caplog.records if "cannot accept" in record.message] == [
        "cannot accept the calls of other members: Too many open files; raise `ulimit -n`"
    ]
