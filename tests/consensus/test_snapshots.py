"""Snapshots and trimming: at start, of real replicas, and what is refused."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest
import trio

from chaos.sim.clock import virtual_time
from chaos.sim.machines import Chain
from consensus import entry
from consensus.core import Core
from consensus.errors import Fatal
from consensus.journal import Base, Journal
from consensus.replica import Replica
from consensus.snapshots import line_up
from storage.snapshot_store import Header, Snapshot, SnapshotStore
from tests.consensus.cluster import Cluster, cluster, until
from tests.consensus.stage import Simulation

SETTINGS = {"snapshot_entries": 20, "log_entries_kept": 5}


def filled(directory: Path, count: int, committed: int) -> Journal:
    log = Journal(directory, "test/a", segment_bytes=4096)
    log.add(entry.NO_OP, 1, 0)
    for index in range(2, count + 1):
        log.add(entry.encode(index, [b"%d" % index]), index, 1)
    log.setRaftCommitIndex(committed)
    return log


def snapshot(index: int, term: int = 1, name: str = "test") -> Snapshot:
    return Snapshot(Path("x.snapshot"), Header(name, index, term, 77, "", ("a",)), 0, 0)


def test_a_snapshot_inside_the_log_leaves_the_log_alone(tmp_path: Path) -> None:
    log = filled(tmp_path, 30, 20)
    line_up(log, snapshot(20), "test")
    assert (log.base.index, log.last_index) == (0, 30)


def test_what_a_snapshot_contains_is_committed_though_the_log_does_not_say_so(tmp_path: Path) -> None:
    log = filled(tmp_path, 30, 3)
    line_up(log, snapshot(20), "test")
    assert log.getRaftCommitIndex() == 20
    with pytest.raises(Fatal, match="entry 20 was to be cut"):
        log.deleteEntriesFrom(19)


def test_a_log_that_ends_before_the_snapshot_begins_anew_behind_it(tmp_path: Path) -> None:
    log = filled(tmp_path, 30, 20)
    line_up(log, snapshot(50, 4), "test")
    log.abandon()
    again = Journal(tmp_path, "test/a", segment_bytes=4096)
    assert (again.base, again.last_index) == (Base(50, 4, 77), 50)


def test_entries_that_contradict_the_snapshot_and_were_never_committed_are_dropped(tmp_path: Path) -> None:
    log = filled(tmp_path, 30, 20)
    line_up(log, snapshot(25, 2), "test")
    assert (log.base.index, log.last_index, log.last_term) == (25, 25, 2)


def test_committed_entries_that_contradict_the_snapshot_stop_the_node(tmp_path: Path) -> None:
    with pytest.raises(Fatal, match="25 entries are committed"):
        line_up(filled(tmp_path, 30, 25), snapshot(20, 2), "test")


def test_a_gap_between_snapshot_and_log_is_refused(tmp_path: Path) -> None:
    log = filled(tmp_path, 30, 30)
    log.drop_prefix(20)
    with pytest.raises(Fatal, match="ends with entry 15, the log begins behind 20"):
        line_up(log, snapshot(15), "test")
    with pytest.raises(Fatal, match="begins behind entry 20, and there is no sound snapshot"):
        line_up(log, None, "test")
    assert log.base.index == 20, "nothing was changed"


def test_a_snapshot_without_its_log_is_refused_because_votes_are_forgotten(tmp_path: Path) -> None:
    with pytest.raises(Fatal, match="the log was removed, and with it the votes"):
        line_up(Journal(tmp_path, "test/a"), snapshot(20), "test")


def test_a_snapshot_of_another_cluster_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Fatal, match="of cluster other"):
        line_up(filled(tmp_path, 30, 30), snapshot(20, name="other"), "test")


def core_of(nodes: Cluster, name: str) -> Core:
    core = nodes.replicas[name]._core
    assert core is not None
    return core


def held(nodes: Cluster, name: str) -> Journal:
    return core_of(nodes, name)._journal


async def trade(nodes: Cluster, count: int) -> None:
    for number in range(count):
        await nodes.submit(b"command %d" % number)


async def trade_until_trimmed(nodes: Cluster, names: str, index: int) -> None:
    """Trade until those have dropped their log at least up to `index`."""
    with trio.fail_after(20):
        while any(held(nodes, name).base.index < index for name in names):
            await trade(nodes, 10)
            await trio.sleep(0.02)


async def test_a_node_restarts_from_its_snapshot_with_the_same_state_and_a_short_log(tmp_path: Path) -> None:
    async with cluster(tmp_path, **SETTINGS) as nodes:
        await nodes.start()
        await trade_until_trimmed(nodes, "abc", 40)
        await nodes.agree()
        expected = nodes.machines["a"].commands
        await nodes.stop("a", "b", "c")
        assert all(len(list((tmp_path / name / "snapshots").glob("*.snapshot"))) == 2 for name in "abc")
        await nodes.start()
        for name in "abc":
            assert nodes.machines[name].commands, "restored before anybody led"
        await trade(nodes, 5)
        await nodes.agree()
        for name in "abc":
            assert nodes.machines[name].commands[: len(expected)] == expected
            assert len(nodes.machines[name].commands) == len(expected) + 5
            assert held(nodes, name).base.index >= 40


async def test_a_damaged_newest_snapshot_costs_a_longer_replay_and_nothing_else(tmp_path: Path) -> None:
    async with cluster(tmp_path, 1, **SETTINGS) as nodes:
        await nodes.start()
        await trade_until_trimmed(nodes, "a", 40)
        expected = list(nodes.machines["a"].commands)
        await nodes.stop("a")
        newest = max((tmp_path / "a" / "snapshots").glob("*.snapshot"))
        data = bytearray(newest.read_bytes())
        data[len(data) // 2] ^= 1
        newest.write_bytes(data)
        await nodes.start()
        await nodes.leader()
        assert nodes.machines["a"].commands == expected


async def test_what_a_member_lacks_is_kept_for_it_while_the_others_trade_past_snapshots(tmp_path: Path) -> None:
    async with cluster(tmp_path, log_entries_max=30, **SETTINGS) as nodes:
        await nodes.start()
        await trade(nodes, 10)
        await nodes.agree()
        await nodes.stop("c")
        with trio.fail_after(20):
            while any(core_of(nodes, name).snapshots.trim_to(1 << 60) < 60 for name in "ab"):
                await trade(nodes, 10)
                await trio.sleep(0.02)
        await trio.sleep(0.7)  # the members are told what all have
        lacked = max(held(nodes, name).base.index for name in "ab")
        await nodes.start("c")
        await nodes.agree()
        assert lacked < 15
        await trade_until_trimmed(nodes, "abc", 60)


async def test_the_operator_is_told_when_a_member_holds_up_too_much(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with cluster(tmp_path, log_entries_max=30, **SETTINGS) as nodes:
        await nodes.start("a", "b")
        await trade(nodes, 150)
        await until(lambda: "kept only because a member lacks them" in caplog.text, 5)


async def test_a_machine_that_does_not_take_its_snapshot_stops_the_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with cluster(tmp_path, 1, **SETTINGS) as nodes:
        await nodes.start()
        await trade(nodes, 40)
        store = tmp_path / "a" / "snapshots"
        await until(lambda: list(store.glob("*.snapshot")))
        await nodes.stop("a")
        with monkeypatch.context() as patch:
            patch.setattr("chaos.sim.machines.Chain.restore", lambda _self, _chunks: None)
            with pytest.raises(Fatal, match="another state hash"):
                await fresh(nodes).run()
        assert SnapshotStore(store).sound(), "and nothing was touched"


def fresh(nodes: Cluster) -> Replica:
    return Replica(nodes.config("a"), Chain(), clock_ns=time.time_ns, rng=random.Random(1))


async def test_a_snapshot_that_fails_is_told_and_the_node_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fails(_self: object, _fd: int) -> None:
        raise OSError("no process can be made")

    monkeypatch.setattr("chaos.sim.machines.Chain.snapshot", fails)
    async with cluster(tmp_path, 1, **SETTINGS) as nodes:
        await nodes.start()
        await trade(nodes, 40)
        await until(lambda: "no snapshot was written" in caplog.text)
        await trade(nodes, 5)
        assert list((tmp_path / "a" / "snapshots").iterdir()) == []
        assert held(nodes, "a").base.index == 0


def test_a_leader_never_reaches_for_what_it_has_dropped(tmp_path: Path) -> None:
    with virtual_time():
        simulation = Simulation(tmp_path, 3)
        simulation.run_calmly(1.0)
        (leader,) = simulation.leaders()
        for number in range(10):
            leader.core.propose([b"%d" % number], lambda _outcome: None, 2.0)
            simulation.run_calmly(0.1)
        raft = leader.core.raft
        for node in raft.otherNodes:
            raft._SyncObj__raftNextIndex[node] = 3
        raft.drop_prefix(8)
        simulation.run_calmly(0.5)  # the library would look for a dump of its own, and the wire has no form for one
        assert leader.core.raft.is_leader
        simulation.close()
