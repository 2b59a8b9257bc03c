"""Real replicas that are misconfigured, attacked, or whose disk fails: loud, and with advice."""

from __future__ import annotations

import errno
import os
import random
import socket
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from chaos.sim.machines import Chain
from consensus import wire
from consensus.config import ReplicaConfig
from consensus.errors import CommandTooLarge, Fatal, OutcomeUnknown
from consensus.ports import Member
from consensus.replica import Replica
from consensus.wire import Hello
from storage.files import AppendFile
from tests.consensus.cluster import cluster, members, until


def replica(root: Path, machine: Chain | None = None, **changes: Any) -> Replica:
    settings = {"node": "a", "cluster": "test", "members": members(1), "data_dir": root} | changes
    config = ReplicaConfig(**settings)
    return Replica(config, machine or Chain(), clock_ns=time.time_ns, rng=random.Random(1))


async def test_a_port_that_is_not_on_loopback_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Fatal, match=r"0\.0\.0\.0 is not a loopback address.*TLS links come"):
        await replica(tmp_path, members=(Member("a", "0.0.0.0", 1, ""),)).run()


async def test_a_peer_that_is_not_on_loopback_is_not_dialled(tmp_path: Path) -> None:
    there = (*members(1), Member("b", "192.0.2.1", 7, ""))
    with pytest.raises(Fatal, match=r"192\.0\.2\.1 is not a loopback address"):
        await replica(tmp_path, members=there).run()


async def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    (me,) = members(1)
    with socket.socket() as taken:
        taken.bind((me.host, me.port))
        taken.listen()
        with pytest.raises(Fatal, match=f"cannot listen on 127.0.0.1:{me.port}.*in use"):
            await replica(tmp_path, members=(me,)).run()


async def test_a_data_directory_of_another_node_is_refused(tmp_path: Path) -> None:
    async with cluster(tmp_path, 1) as nodes:
        await nodes.start()
        await nodes.submit(b"x")
        await nodes.stop("a")
    with pytest.raises(Fatal, match="holds the log of test/a, and this node is other/a"):
        await replica(tmp_path / "a", cluster="other").run()


async def test_a_data_directory_in_use_is_refused(tmp_path: Path) -> None:
    async with cluster(tmp_path, 1) as nodes:
        await nodes.start()
        with pytest.raises(Fatal, match="in use by another process"):
            await replica(tmp_path / "a").run()


async def test_a_damaged_log_stops_the_node_and_names_the_place(tmp_path: Path) -> None:
    async with cluster(tmp_path, 1) as nodes:
        await nodes.start()
        await nodes.submit(b"x" * 100)
        await nodes.submit(b"y" * 100)
        await nodes.stop("a")
    path = tmp_path / "a" / "raft" / "00000000.wal"
    data = bytearray(path.read_bytes())
    data[data.index(b"xxxx")] ^= 1
    path.write_bytes(data)
    with pytest.raises(Fatal, match=r"00000000\.wal, offset \d+: .*Keep a copy"):
        await replica(tmp_path / "a").run()


async def test_a_failed_sync_stops_the_node_and_nothing_was_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = replica(tmp_path)
    outcomes: list[Any] = []

    def fail(_fd: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    async def submit() -> None:
        await one.wait_ready()
        monkeypatch.setattr(os, "fdatasync", fail)
        one.propose([b"x"], outcomes.append)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(submit)
        with pytest.raises(Fatal, match="fdatasync failed: Input/output error; check the disk"), trio.fail_after(3):
            await one.run()
    assert len(outcomes) == 1
    assert isinstance(outcomes[0], OutcomeUnknown)
    assert threading.active_count() < 20


async def test_a_sync_that_fails_in_any_way_stops_the_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = replica(tmp_path)
    outcomes: list[Any] = []
    datasync = AppendFile.datasync

    def fail(self: AppendFile) -> None:
        if threading.current_thread().name == "wal-sync":
            raise MemoryError
        datasync(self)

    async def submit() -> None:
        await one.wait_ready()
        monkeypatch.setattr(AppendFile, "datasync", fail)
        one.propose([b"x"], outcomes.append)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(submit)
        with pytest.raises(Fatal, match=r"syncing the log failed \(MemoryError\(\)\).*Nothing"), trio.fail_after(3):
            await one.run()
    assert [type(outcome) for outcome in outcomes] == [OutcomeUnknown]


async def test_nothing_is_acknowledged_while_the_disk_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Persist before promise, end to end: while no sync returns, no node acknowledges and nothing commits."""
    held = threading.Event()
    held.set()
    datasync = AppendFile.datasync

    def slow(self: AppendFile) -> None:
        if threading.current_thread().name == "wal-sync":
            held.wait(5)
        datasync(self)

    monkeypatch.setattr(AppendFile, "datasync", slow)
    async with cluster(tmp_path, election_min_ms=2000, election_max_ms=3000, submit_timeout_ms=5000) as nodes:
        await nodes.start()
        leader = nodes.replicas[await nodes.leader(10)]
        await nodes.agree()
        before = leader.status()
        held.clear()
        outcomes: list[Any] = []
        leader.propose([b"x"], outcomes.append)
        await trio.sleep(0.5)
        during = leader.status()
        assert outcomes == []
        assert during.last_index == before.last_index + 1
        assert (during.commit_index, during.durable_index) == (before.commit_index, before.durable_index)
        assert {peer.match_index for peer in during.peers} == {before.last_index}
        assert during.reachable == 3, "a slow disk is not a dead node"
        held.set()
        await until(lambda: outcomes)
        assert outcomes[0][0].index == before.last_index + 1


async def test_strangers_are_hung_up_on_and_the_cluster_goes_on(tmp_path: Path) -> None:
    async with cluster(tmp_path) as nodes:
        await nodes.start()
        await nodes.leader()
        port = nodes.members[0].port
        hello = wire.encode_hello(Hello("test", "b", "a", 1, 1))
        callers = {
            "noise": b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" + bytes(50),
            "another cluster": wire.encode_hello(Hello("prod", "b", "a", 1, 1)),
            "not a member": wire.encode_hello(Hello("test", "mallory", "a", 1, 1)),
            "misdirected": wire.encode_hello(Hello("test", "b", "c", 1, 1)),
            "a member that sends noise": hello + os.urandom(100),
            "a huge frame": hello + b"\xff\xff\xff\x7f" + bytes(100),
        }
        for what, data in callers.items():
            stream = await trio.open_tcp_stream("127.0.0.1", port)
            await stream.send_all(data)
            with trio.fail_after(3):
                try:
                    while await stream.receive_some(1000):
                        pass
                except trio.BrokenResourceError:
                    pass
            await stream.aclose()
            await nodes.submit(what.encode())
        await nodes.agree()


@pytest.mark.parametrize("how", ["closed", "overfull"])
async def test_a_link_that_is_reset_on_this_side_is_dialled_again(tmp_path: Path, how: str) -> None:
    there = members(2)
    one = replica(tmp_path, members=there)
    calls = []

    async def peer(stream: trio.SocketStream) -> None:
        calls.append(stream)
        await stream.receive_some(1000)
        await stream.send_all(wire.encode_hello(Hello("test", "b", "a", 7, 1)))
        await trio.sleep_forever()  # and never reads again

    async with trio.open_nursery() as nursery:
        await nursery.start(partial(trio.serve_tcp, peer, there[1].port, host="127.0.0.1"))
        await nursery.start(one.run)
        await until(lambda: one.status().peers[0].connected)
        if how == "closed":
            one._links._outgoing["b"].close()
        else:
            box = one._core.transport.peers["b"].outbox  # type: ignore[union-attr]
            for _ in range(400):
                box.put(bytes(100_000))
            assert box.overfull
        await until(lambda: len(calls) == 2 and one.status().peers[0].connected)
        nursery.cancel_scope.cancel()


async def test_a_command_beyond_the_limit_is_refused_and_one_at_the_limit_goes_alone(tmp_path: Path) -> None:
    async with cluster(tmp_path) as nodes:
        await nodes.start()
        leader = nodes.replicas[await nodes.leader()]
        with pytest.raises(CommandTooLarge, match="262145 bytes; the limit is 262144"):
            await leader.submit([b"x", bytes(262_145)])
        receipts = await nodes.submit(b"x", bytes(262_144), b"y")
        assert len({receipt.index for receipt in receipts}) == 3
        await nodes.agree()


async def test_a_bug_in_the_state_machine_stops_the_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Chain()
    one = replica(tmp_path, machine)
    monkeypatch.setattr(machine, "apply", lambda *_: [])

    async def submit() -> None:
        await one.wait_ready()
        one.propose([b"x"], lambda outcome: None)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(submit)
        with pytest.raises(Fatal, match="answered 0 of 1 commands"), trio.fail_after(3):
            await one.run()


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"node": "z"}, "'z' is not one of the members"),
        ({"election_min_ms": 100}, "needed: 4 × heartbeat_ms"),
        ({"waiting_max": 0}, "waiting_max must be positive"),
        ({"cluster": "a/b"}, "printable bytes without '/'"),
        ({"command_bytes_max": 300_000}, "262144"),
    ],
)
def test_a_configuration_that_cannot_work_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replica(tmp_path, **changes)
