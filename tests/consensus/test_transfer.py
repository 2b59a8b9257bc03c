"""The planned transfer of leadership: on the virtual clock, with every message in hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from chaos.sim.node import SimNode
from consensus import transfer, wire
from consensus.errors import NotLeader, TransferFailed, TransferRefused
from tests.consensus.stage import ELECTION_MAX_MS, Simulation
from tests.consensus.test_guards import deliver, sent
from tests.consensus.test_lease import turn
from tests.consensus.test_partitions import calm, cut


def start(leader: SimNode, target: str | None, timeout_s: float = 1.0) -> list[Any]:
    outcomes: list[Any] = []
    leader.core.transfer(target, outcomes.append, timeout_s)
    return outcomes


def handed_over(simulation: Simulation, leader: SimNode, target: SimNode) -> list[bytes]:
    """Run until the leader has sent TIMEOUT_NOW; returns the frames under way to the target, which has seen none."""
    for _ in range(100):
        simulation.turn(0.001)
        queue = simulation.queues[leader.name, target.name]
        if any(wire.decode(frame).message["type"] == "timeout_now" for frame in queue):
            frames = list(queue)
            queue.clear()
            return frames
        for pair in list(simulation.queues):
            simulation.deliver(*pair, 1 << 30)
    raise AssertionError("no TIMEOUT_NOW was sent")


@pytest.mark.parametrize("names", ["abc", "abcde"])
def test_a_transfer_makes_the_target_lead_within_a_few_round_trips(tmp_path: Path, names: str) -> None:
    with calm(tmp_path, names) as (simulation, leader, (*_, target)):
        term = leader.core.raft.term
        began = simulation.clock.seconds
        outcomes = start(leader, target.name)
        while not outcomes:
            turn(simulation, set())
        assert outcomes == [target.name]
        assert simulation.clock.seconds - began < 0.03
        assert [node.name for node in simulation.leaders()] == [target.name]
        assert target.core.raft.term == term + 1


def test_without_a_target_the_connected_member_with_the_most_of_the_log_takes_over(tmp_path: Path) -> None:
    with calm(tmp_path) as (simulation, leader, (one, other)):
        for node in (one, other):
            node_transport = leader.core.transport.peers[node.name]
            node_transport.progress.acked -= node is one
        assert leader.core.transfers._choose(simulation.clock()).member.name == other.name
        cut(simulation, frozenset((leader.name, other.name)))
        assert leader.core.transfers._choose(simulation.clock()).member.name == one.name
        cut(simulation, frozenset((leader.name, one.name)))
        with pytest.raises(TransferRefused, match="no other member is connected"):
            leader.core.transfers._choose(simulation.clock())


def test_each_transfer_that_cannot_succeed_is_refused_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with calm(tmp_path) as (simulation, leader, (follower, other)):
        with pytest.raises(NotLeader) as refused:
            start(follower, other.name)
        assert refused.value.leader == leader.name
        with pytest.raises(TransferRefused, match=f"{leader.name} leads already"):
            start(leader, leader.name)
        with pytest.raises(TransferRefused, match="'zed' is no member; the others are"):
            start(leader, "zed")
        cut(simulation, frozenset((leader.name, other.name)))
        with pytest.raises(TransferRefused, match=f"{other.name} is not connected to this leader"):
            start(leader, other.name)
        monkeypatch.setattr(transfer, "BEHIND_MAX", 10)
        leader.core.transport.peers[follower.name].progress.acked = 0
        for _ in range(20):
            leader.core.raft.append(b"")
        with pytest.raises(TransferRefused, match=f"{follower.name} lacks .* entries, more than 10"):
            start(leader, follower.name)
        assert not leader.core.transfers.holding


def test_of_two_transfers_at_once_the_second_is_refused(tmp_path: Path) -> None:
    with calm(tmp_path) as (simulation, leader, (target, other)):
        outcomes = start(leader, target.name)
        with pytest.raises(TransferRefused, match=f"a transfer to {target.name} is under way"):
            start(leader, other.name)
        simulation.run_calmly(0.1)
        assert outcomes == [target.name]


def test_a_transfer_waits_for_a_lagging_target_while_submissions_go_on(tmp_path: Path) -> None:
    with calm(tmp_path) as (simulation, leader, (target, _)):
        receipts: list[Any] = []
        late = (leader.name, target.name)
        for _ in range(100):
            leader.core.propose([b"x"], receipts.append, 5.0)
            turn(simulation, set(), late=late)
        assert leader.journal.last_index - leader.core.transport.peers[target.name].progress.acked > 64
        outcomes = start(leader, target.name)
        for _ in range(5):
            leader.core.propose([b"y"], receipts.append, 5.0)
            turn(simulation, set(), late=late)
        assert outcomes == []
        assert len(receipts) > 100, "nobody waits for the target"
        while not outcomes:
            turn(simulation, set())
        assert outcomes == [target.name]
        simulation.run_calmly(0.2)
        assert all(len(outcome) == 1 for outcome in receipts if isinstance(outcome, list))
        assert {len(node.machine.commands) for node in simulation.nodes.values()} == {105}


def test_what_was_logged_gets_its_receipts_and_what_waited_is_refused_with_the_new_leader(tmp_path: Path) -> None:
    with calm(tmp_path) as (simulation, leader, (target, _)):
        before: list[Any] = []
        held: list[Any] = []
        leader.core.propose([b"before"], before.append, 5.0)
        leader.step()
        outcomes = start(leader, target.name)
        leader.step()
        leader.core.propose([b"held"], held.append, 5.0)
        while not (outcomes and held):
            turn(simulation, set())
        assert [receipts[0].result for receipts in before] == [0]
        (refused,) = held
        assert isinstance(refused, NotLeader)
        assert refused.leader == target.name
        simulation.run_calmly(0.2)
        assert all(node.machine.commands == [b"before"] for node in simulation.nodes.values())


def test_roles_are_announced_once_the_new_leader_is_known_so_that_nobody_is_sent_into_the_dark(tmp_path: Path) -> None:
    with calm(tmp_path) as (simulation, leader, (target, _)):
        seen: list[Any] = []
        leader.core.add_role_listener(lambda role, leads, term: seen.append((role, leads)))
        start(leader, target.name)
        simulation.run_calmly(0.2)
        assert seen == [("follower", target.name)]


def test_a_lost_timeout_now_is_sent_again(tmp_path: Path) -> None:
    with calm(tmp_path) as (simulation, leader, (target, _)):
        outcomes = start(leader, target.name)
        handed_over(simulation, leader, target)
        simulation.run_calmly(0.2)
        assert outcomes == [target.name]


def test_if_the_target_never_hears_it_the_leader_resumes_and_says_so(tmp_path: Path) -> None:
    with calm(tmp_path) as (simulation, leader, (target, _)):
        held: list[Any] = []
        term = leader.core.raft.term
        outcomes = start(leader, target.name, 0.1)
        handed_over(simulation, leader, target)
        leader.core.propose([b"held"], held.append, 5.0)
        while not outcomes:
            turn(simulation, {(leader.name, target.name)})
        assert isinstance(outcomes[0], TransferFailed)
        assert f"{target.name} did not take over in time (its election did not end)" in str(outcomes[0])
        assert f"goes on leading term {term}" in str(outcomes[0])
        simulation.run_calmly(0.1)
        assert [receipts[0].result for receipts in held] == [0], "what waited goes on here"
        assert leader.core.raft.term == term


def test_the_lease_is_given_up_before_the_target_is_asked_and_comes_back_when_it_answered_later(tmp_path: Path) -> None:
    with calm(tmp_path) as (simulation, leader, (target, _)):
        outcomes = start(leader, target.name, 0.05)
        late = handed_over(simulation, leader, target)
        assert leader.core.read_by_lease() is None
        while not outcomes:
            turn(simulation, {(leader.name, target.name)})
        for _ in range(20):
            turn(simulation, {(leader.name, target.name)})
        assert leader.core.can_commit(simulation.clock())
        assert leader.core.read_by_lease() is None, "the target may be about to campaign"
        simulation.run_calmly(0.1)
        assert leader.core.read_by_lease() is not None
        term = leader.core.raft.term
        transport = target.core.transport
        for frame in late:
            transport.receive(transport.peers[leader.name], frame)
        simulation.run_calmly(0.1)
        assert target.core.raft.term == term, "the old request is void"


def test_without_that_rule_a_late_timeout_now_elects_while_the_lease_is_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer.Transfers, "may_lease", lambda self, term: True)
    with calm(tmp_path) as (simulation, leader, (target, voter)):
        outcomes = start(leader, target.name, 0.05)
        late = handed_over(simulation, leader, target)
        blocked = {(leader.name, target.name), (target.name, leader.name)}
        while not outcomes:
            turn(simulation, blocked)
        transport = target.core.transport
        for frame in late:
            transport.receive(transport.peers[leader.name], frame)
        both = False
        for _ in range(10):
            turn(simulation, blocked | {(voter.name, leader.name)}, 0.0005)
            both |= leader.core.read_by_lease() is not None and target.core.raft.is_leader
        assert both, "this test would not notice the missing rule"


@pytest.mark.parametrize("change", ["term", "sender", "sequence"])
def test_a_timeout_now_of_another_term_another_sender_or_an_earlier_moment_is_void(tmp_path: Path, change: str) -> None:
    with calm(tmp_path) as (simulation, leader, (target, other)):
        term = leader.core.raft.term
        named = term - 1 if change == "term" else term
        source = other.name if change == "sender" else leader.name
        sequence = 1 if change == "sequence" else 1 << 40
        deliver(target, source, {"type": "timeout_now", "term": named}, named, sequence)
        simulation.run_calmly(0.1)
        assert target.core.raft.term == term
        deliver(target, leader.name, {"type": "timeout_now", "term": term}, term)
        assert target.core.raft.term == term + 1, "it campaigns at once, not in its next turn"


def test_voters_break_their_vow_only_for_whom_the_leader_asked(tmp_path: Path) -> None:
    with calm(tmp_path) as (_, leader, (target, voter)):
        sent(target, voter.name)
        term = leader.core.raft.term
        deliver(target, leader.name, {"type": "timeout_now", "term": term}, term)
        target.step()
        assert "request_vote" not in [message["type"] for message in sent(target, voter.name)], "not durable yet"
        target.start_sync()
        target.finish_sync()
        (request,) = [message for message in sent(target, voter.name) if message["type"] == "request_vote"]
        assert request["agreed"]
        deliver(voter, target.name, request | {"agreed": False}, term + 1)
        assert voter.journal.getVotedForNodeId() != target.name
        deliver(voter, target.name, request, term + 1)
        assert voter.journal.getVotedForNodeId() == target.name


def test_the_death_of_the_target_right_after_it_took_over_loses_nothing(tmp_path: Path) -> None:
    with calm(tmp_path) as (simulation, leader, (target, _)):
        acknowledged: list[Any] = []
        leader.core.propose([b"before"], acknowledged.append, 5.0)
        outcomes = start(leader, target.name)
        while not target.core.raft.is_leader:
            turn(simulation, set())
        for pair in simulation.pairs():
            if target.name in pair:
                cut(simulation, pair)
        target.power_off()
        rest = {name: node for name, node in simulation.nodes.items() if node is not target}
        simulation.nodes = rest
        simulation.queues.clear()
        end = simulation.clock.seconds + 1.5
        while simulation.clock.seconds < end:
            turn(simulation, set())
        (new,) = [node for node in rest.values() if node.core.raft.is_leader]
        assert new.core.can_commit(simulation.clock())
        assert len(outcomes) == 1
        assert len(acknowledged) == 1
        if isinstance(acknowledged[0], list):
            assert all(node.machine.commands == [b"before"] for node in rest.values())


def test_a_target_whose_connection_closes_fails_the_transfer_at_once(tmp_path: Path) -> None:
    with calm(tmp_path) as (simulation, leader, (target, _)):
        outcomes = start(leader, target.name, 60.0)
        cut(simulation, frozenset((leader.name, target.name)))
        leader.step()
        assert isinstance(outcomes[0], TransferFailed)
        assert "was lost; this node goes on leading" in str(outcomes[0])


def test_a_leader_that_stops_ends_the_transfer_too(tmp_path: Path) -> None:
    with calm(tmp_path) as (_, leader, (target, _other)):
        outcomes = start(leader, target.name)
        leader.core.stop()
        assert isinstance(outcomes[0], TransferFailed)


def healthy(simulation: Simulation) -> tuple[str, int]:
    (leading,) = simulation.leaders()
    assert leading.core.can_commit(simulation.clock())
    return leading.name, leading.core.raft.term


@pytest.mark.parametrize("inward", [True, False], ids=["deaf", "mute"])
def test_a_node_behind_a_one_way_partition_never_raises_the_term(tmp_path: Path, inward: bool) -> None:
    with calm(tmp_path) as (simulation, leader, (apart, other)):
        before = healthy(simulation)
        others = [leader.name, other.name]
        blocked = {(name, apart.name) if inward else (apart.name, name) for name in others}
        for _ in range(int(ELECTION_MAX_MS * 10)):
            turn(simulation, blocked)
            assert healthy(simulation) == before
        simulation.run_calmly(1.0)
        assert healthy(simulation) == before


def test_a_node_that_restarts_again_and_again_never_raises_the_term(tmp_path: Path) -> None:
    with calm(tmp_path) as (simulation, _leader, (restless, _other)):
        before = healthy(simulation)
        for number in range(20):
            simulation.restart(restless.name)
            simulation.run_calmly(0.02 * (number % 5))
        simulation.run_calmly(1.0)
        assert healthy(simulation) == before
