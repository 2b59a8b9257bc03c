"""Leaders that are cut off, elections in partial partitions, leaderships that begin or end between two turns."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from chaos.sim.clock import virtual_time
from chaos.sim.node import SimNode
from consensus import core, entry
from consensus.errors import NotLeader
from consensus.journal import Journal
from tests.consensus.stage import ELECTION_MAX_MS, Simulation
from tests.consensus.test_guards import deliver


@contextmanager
def calm(root: Path, names: str = "abc") -> Iterator[tuple[Simulation, SimNode, list[SimNode]]]:
    """A cluster in virtual time, its leader and its followers."""
    with virtual_time():
        simulation = Simulation(root, 1, names)
        try:
            simulation.run_calmly(1.0)
            (leader,) = simulation.leaders()
            yield simulation, leader, [node for node in simulation.nodes.values() if node is not leader]
        finally:
            simulation.close()


def cut(simulation: Simulation, pair: frozenset[str]) -> None:
    simulation.cut.add(pair)
    simulation.link(pair, False)


def heal(simulation: Simulation) -> None:
    for pair in simulation.cut:
        simulation.link(pair, True)
    simulation.cut.clear()


def granted_and_alone(simulation: Simulation, leader: SimNode, node: SimNode, voter: SimNode) -> None:
    """`node` is granted its pre-vote by `voter`, and loses its last link before its next turn."""
    for pair in simulation.pairs():
        if leader.name in pair:
            cut(simulation, pair)
    while not node.core.elections.due(simulation.clock()):
        simulation.clock.seconds += 0.001
    node.step()
    simulation.collect()
    simulation.deliver(node.name, voter.name, 99)
    simulation.collect()
    simulation.deliver(voter.name, node.name, 99)
    assert node.core.elections.gate_open
    cut(simulation, frozenset((node.name, voter.name)))


def test_a_pre_vote_that_cannot_be_used_does_not_make_the_pump_spin(tmp_path: Path) -> None:
    with calm(tmp_path) as (simulation, leader, (node, voter)):
        granted_and_alone(simulation, leader, node, voter)
        turns, end = 0, simulation.clock.seconds + 2.0
        while simulation.clock.seconds < end:
            node.step()
            turns += 1
            simulation.clock.seconds = max(simulation.clock.seconds + 50e-6, node.core.next_step())
        assert turns < 100


def test_a_node_that_held_an_unused_pre_vote_does_not_disturb_on_its_return(tmp_path: Path) -> None:
    with calm(tmp_path) as (simulation, leader, (node, voter)):
        granted_and_alone(simulation, leader, node, voter)
        simulation.cut.remove(frozenset((leader.name, voter.name)))
        simulation.link(frozenset((leader.name, voter.name)), True)
        simulation.run_calmly(5.0)
        (leading,) = simulation.leaders()
        term = leading.core.raft.term
        heal(simulation)
        simulation.run_calmly(1.0)
        assert simulation.leaders() == [leading]
        assert leading.core.raft.term == term


@pytest.mark.parametrize("center", "ace")
def test_a_member_that_alone_links_the_others_leads_them(tmp_path: Path, center: str) -> None:
    with calm(tmp_path, "abcde") as (simulation, _, _):
        for pair in simulation.pairs():
            if center not in pair:
                cut(simulation, pair)
        simulation.run_calmly(5.0)
        leading = [node.name for node in simulation.leaders() if node.core.can_commit(simulation.clock())]
        assert leading == [center]


def test_a_leader_that_was_replaced_without_noticing_answers_no_read(tmp_path: Path) -> None:
    with calm(tmp_path) as (simulation, old, rest):
        for node in rest:  # they see the old leader's connections close; it does not
            transport = node.core.transport
            transport.link_changed(transport.peers[old.name], outgoing=False, incoming=False)

        def turn() -> None:
            simulation.turn(0.002, without=old)
            for pair in list(simulation.queues):
                if old.name in pair:
                    simulation.queues[pair].clear()
                else:
                    simulation.deliver(*pair, 99)
            simulation.collect()

        acknowledged: list[Any] = []
        answers: list[Any] = []
        for _ in range(50):
            turn()
            old.step()
            simulation.collect()
            new = next((node for node in rest if node.core.can_commit(simulation.clock())), None)
            if new is not None:
                break
        assert new is not None
        new.core.propose([b"new"], acknowledged.append, 5.0)
        while not acknowledged:
            turn()
        old.core.read(answers.append)
        for _ in range(5):
            old.step()
        assert old.core.raft.is_leader, "it has not noticed"
        assert answers == []


def elected(simulation: Simulation, old: SimNode, candidate: SimNode, voter: SimNode) -> None:
    """`candidate` wins a vote and has had no turn since."""
    for pair in simulation.pairs():
        if old.name in pair:
            cut(simulation, pair)
    candidate.core.elections.gate_open = True
    candidate.step()
    term = candidate.core.raft.term
    deliver(candidate, voter.name, {"type": "response_vote", "term": term}, term)
    assert candidate.core.raft.is_leader


def test_a_read_of_a_leadership_that_ends_before_its_first_turn_is_refused(tmp_path: Path) -> None:
    with calm(tmp_path) as (simulation, old, (candidate, voter)):
        elected(simulation, old, candidate, voter)
        answers: list[Any] = []
        candidate.core.read(answers.append)
        term = candidate.core.raft.term + 1
        deliver(candidate, voter.name, {"type": "higher_term", "term": term}, term)
        candidate.step()
        assert [type(answer) for answer in answers] == [NotLeader]
        assert len(candidate.core.reads) == 0


def test_a_new_leader_keeps_submissions_until_it_can_answer_them(tmp_path: Path) -> None:
    with calm(tmp_path) as (simulation, old, (candidate, voter)):
        elected(simulation, old, candidate, voter)
        outcomes: list[Any] = []
        last = candidate.journal.last_index
        candidate.core.propose([b"early"], outcomes.append, 5.0)
        candidate.step()
        assert candidate.journal.last_index == last, "nothing is logged before a majority answered"
        simulation.run_calmly(0.05)
        assert candidate.core.can_commit(simulation.clock())
        assert [outcome[0].result for outcome in outcomes] == [0]


def test_nothing_that_was_learned_about_peers_outlives_a_leadership(tmp_path: Path) -> None:
    with calm(tmp_path) as (simulation, leader, (peer, _other)):
        simulation.run_calmly(0.2)
        assert {status.match_index for status in leader.core.status(None).peers} == {leader.journal.last_index}
        simulation.clock.seconds += ELECTION_MAX_MS / 1000 + 0.01
        leader.step()
        assert not leader.core.raft.is_leader
        leader.core.elections.gate_open = True
        leader.step()
        term = leader.core.raft.term
        deliver(leader, peer.name, {"type": "response_vote", "term": term}, term)
        assert leader.core.raft.is_leader
        assert {status.match_index for status in leader.core.status(None).peers} == {0}
        assert leader.core.transport.contacted(0) == 1


def test_stalls_without_end_do_not_hide_a_lost_majority_from_the_leader(tmp_path: Path) -> None:
    with calm(tmp_path) as (simulation, leader, _):
        for _ in range(15):
            simulation.clock.seconds += 0.1
            leader.core.stalled(0.095)
            leader.step()
        assert leader.core.reachable(simulation.clock()) == 1
        assert not leader.core.raft.is_leader


def test_a_node_with_much_to_replay_does_not_stand_for_election_for_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = 5000
    journal = Journal(tmp_path / "a" / "raft", "sim/a")
    journal.setCurrentTerm(1, None)
    for index in range(1, count + 1):
        journal.add(entry.encode(index, [b"x"]), index, 1)
    journal.setRaftCommitIndex(count)
    journal.onOneSecondTimer()
    journal.close()
    with virtual_time():
        simulation = Simulation(tmp_path, 1)
        try:
            node = simulation.nodes["a"]
            monkeypatch.setattr(node.core.raft, "_SyncObj__applyLogEntries", lambda: False)  # however slow it is
            for _ in range(90):
                simulation.clock.seconds += 0.1
                node.step()
            assert node.core.raft.raftCommitIndex == count
            assert node.core.elections._round is None
            simulation.clock.seconds += core._REPLAY_PATIENCE_S
            node.step()
            assert node.core.elections._round == 2, "a late leader is better than none"
        finally:
            simulation.close()
