"""Real replicas over loopback TCP, with real files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio

from consensus.errors import ConsensusError, NoQuorum, NotLeader, OutcomeUnknown, Overloaded
from consensus.ports import Receipt
from tests.consensus.cluster import cluster, until


async def test_three_nodes_commit_in_order_exactly_once_with_one_digest(tmp_path: Path) -> None:
    async with cluster(tmp_path) as nodes:
        await nodes.start()
        receipts = []
        for number in range(50):
            receipts += await nodes.submit(*(b"%d.%d" % (number, part) for part in range(5)))
        await nodes.agree()
        expected = [b"%d.%d" % (number, part) for number in range(50) for part in range(5)]
        for machine in nodes.machines.values():
            assert machine.commands == expected
            assert machine.indexes == sorted(set(machine.indexes))
            assert machine.times == sorted(set(machine.times))
        assert [receipt.result for receipt in receipts] == list(range(250))
        assert receipts[-1].digest == nodes.machines["a"].digest()


async def test_when_the_leader_goes_another_leads_and_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    async with cluster(tmp_path) as nodes:
        await nodes.start()
        for number in range(20):
            await nodes.submit(b"%d" % number)
        old = await nodes.leader()
        await nodes.stop(old)
        with trio.fail_after(2):
            await nodes.submit(b"after")
        assert await nodes.leader() != old
        await nodes.start(old)
        await nodes.agree()
        for machine in nodes.machines.values():
            assert machine.commands == [*(b"%d" % number for number in range(20)), b"after"]


async def test_a_restart_of_all_restores_the_same_state_from_disk(tmp_path: Path) -> None:
    async with cluster(tmp_path) as nodes:
        await nodes.start()
        for number in range(30):
            await nodes.submit(b"%d" % number)
        await nodes.agree()
        digest = nodes.machines["a"].digest()
        await nodes.stop("a", "b", "c")
        await nodes.start()
        await nodes.leader()
        await nodes.agree()
        assert {machine.digest() for machine in nodes.machines.values()} == {digest}
        assert all(status.commands_applied == 0 for status in nodes.statuses()), "replay is not counted"


async def test_a_restarted_follower_catches_up_with_five_thousand_entries(tmp_path: Path) -> None:
    async with cluster(tmp_path, entry_commands_max=1) as nodes:
        await nodes.start()
        leader = await nodes.leader()
        (away,) = {"a", "b", "c"} - {leader, "a" if leader != "a" else "b"}
        await nodes.stop(away)
        for part in range(5):
            await nodes.submit(*(b"%d.%d" % (part, number) for number in range(1000)), timeout_s=20)
        await nodes.start(away)
        await nodes.agree(20)
        assert len(nodes.machines[away].commands) == 5000
        with trio.fail_after(2):
            await nodes.replicas[away].wait_ready()


async def test_one_node_alone_commits_and_restarts(tmp_path: Path) -> None:
    async with cluster(tmp_path, 1) as nodes:
        await nodes.start()
        (receipt,) = await nodes.submit(b"x")
        assert await nodes.replicas["a"].read_barrier() >= receipt.index
        await nodes.stop("a")
        await nodes.start()
        await nodes.submit(b"y")
        assert nodes.machines["a"].commands == [b"x", b"y"]


async def test_without_a_majority_every_submission_ends_with_an_error_in_two_seconds(tmp_path: Path) -> None:
    async with cluster(tmp_path) as nodes:
        await nodes.start()
        leader = await nodes.leader()
        outcomes: list[Any] = []
        replica = nodes.replicas[leader]
        await nodes.stop(*({"a", "b", "c"} - {leader}))
        for _ in range(100):
            with trio.fail_after(2.2):
                with pytest.raises((NoQuorum, NotLeader, OutcomeUnknown)):
                    await replica.submit([b"x"])
            await trio.sleep(0.01)
        with pytest.raises(NoQuorum, match="1 of 3 members reachable, 2 needed"):
            replica.propose([b"x"], outcomes.append)
        assert outcomes == []
        status = replica.status()
        assert (status.role, status.can_commit, status.reachable) != ("leader", True, 3)
        assert status.leader is None


async def test_a_leader_that_is_cut_off_resolves_what_it_had_logged(tmp_path: Path) -> None:
    async with cluster(tmp_path) as nodes:
        await nodes.start()
        leader = await nodes.leader()
        outcomes: list[Any] = []
        replica = nodes.replicas[leader]
        others = {"a", "b", "c"} - {leader}
        replica.propose([b"seen", b"by"], outcomes.append)
        await nodes.stop(*others)
        await until(lambda: outcomes, 2.2)
        (outcome,) = outcomes
        assert isinstance(outcome, (ConsensusError, list))
        if isinstance(outcome, list):
            await nodes.start(*others)
            await nodes.agree()
            assert all(machine.commands[:2] == [b"seen", b"by"] for machine in nodes.machines.values())


async def test_a_follower_refuses_and_names_the_leader(tmp_path: Path) -> None:
    async with cluster(tmp_path) as nodes:
        await nodes.start()
        leader = await nodes.leader()
        for name in {"a", "b", "c"} - {leader}:
            await nodes.replicas[name].wait_ready()
            for attempt in (nodes.replicas[name].submit([b"x"]), nodes.replicas[name].read_barrier()):
                with pytest.raises(NotLeader) as refused:
                    await attempt
                assert refused.value.leader == leader


async def test_a_read_barrier_covers_everything_that_was_acknowledged_before(tmp_path: Path) -> None:
    async with cluster(tmp_path) as nodes:
        await nodes.start()
        for number in range(20):
            (receipt,) = await nodes.submit(b"%d" % number)
            assert await nodes.replicas[await nodes.leader()].read_barrier() >= receipt.index


async def test_a_read_barrier_without_a_majority_is_refused(tmp_path: Path) -> None:
    async with cluster(tmp_path) as nodes:
        await nodes.start()
        leader = await nodes.leader()
        await nodes.stop(*({"a", "b", "c"} - {leader}))
        with trio.fail_after(1.5), pytest.raises((NoQuorum, NotLeader)):
            await nodes.replicas[leader].read_barrier()


async def test_submissions_beyond_the_bound_are_refused_at_once(tmp_path: Path) -> None:
    async with cluster(tmp_path, waiting_max=10) as nodes:
        await nodes.start()
        replica = nodes.replicas[await nodes.leader()]
        outcomes: list[Any] = []
        replica.propose([b"x"] * 10, outcomes.append)
        with pytest.raises(Overloaded, match="10 commands are waiting, the limit is 10"):
            replica.propose([b"y"], outcomes.append)
        assert outcomes == [], "never from inside propose"
        await until(lambda: outcomes)
        assert len(outcomes[0]) == 10
        await replica.submit([b"y"])


async def test_a_submission_larger_than_an_entry_spans_several(tmp_path: Path) -> None:
    async with cluster(tmp_path, entry_commands_max=7) as nodes:
        await nodes.start()
        commands = [b"%d" % number for number in range(50)]
        receipts: list[Receipt] = await nodes.submit(*commands)
        assert nodes.machines[await nodes.leader()].commands == commands
        assert len({receipt.index for receipt in receipts}) == 8


async def test_roles_are_announced(tmp_path: Path) -> None:
    async with cluster(tmp_path) as nodes:
        await nodes.start()
        leader = await nodes.leader()
        seen: list[tuple[str, str | None, int]] = []
        follower = min({"a", "b", "c"} - {leader})
        await nodes.replicas[follower].wait_ready()
        nodes.replicas[follower].add_role_listener(lambda *role: seen.append(role))
        await nodes.stop(leader)
        new = await nodes.leader()
        await until(lambda: seen and seen[-1][1] == new)
        assert seen[-1][0] == ("leader" if new == follower else "follower")


async def test_no_election_disturbs_an_idle_cluster(tmp_path: Path) -> None:
    async with cluster(tmp_path) as nodes:
        await nodes.start()
        leader = await nodes.leader()
        term = nodes.replicas[leader].status().term
        await trio.sleep(1.5)
        assert [(status.leader, status.term) for status in nodes.statuses()] == [(leader, term)] * 3


async def test_after_run_has_ended_every_call_is_refused(tmp_path: Path) -> None:
    async with cluster(tmp_path, 1) as nodes:
        await nodes.start()
        await nodes.leader()
        replica = nodes.replicas["a"]
        outcomes: list[Any] = []
        replica.propose([b"x"], outcomes.append)
        await nodes.stop("a")
        assert len(outcomes) == 1
        with pytest.raises(NotLeader):
            await replica.submit([b"y"])
        with pytest.raises(NotLeader):
            await replica.read_barrier()
        assert replica.status().reachable == 1
