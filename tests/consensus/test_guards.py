"""Every guard twice: as it is, and taken away, to see that the test would notice (the numbers are of pysyncobj.md)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pysyncobj.pickle
import pysyncobj.syncobj
import pytest

from chaos.sim.clock import virtual_time
from chaos.sim.node import SimNode
from consensus import entry, guards, raft, wire
from consensus.elections import Elections
from consensus.errors import Fatal, OutcomeUnknown
from consensus.guards import Progress, Votes
from consensus.promises import Promises
from consensus.raft import Raft, check_library
from consensus.transport import Peer, Transport
from consensus.wire import MalformedFrame
from tests.consensus.stage import ELECTION_MAX_MS, Simulation

ON_AND_OFF = pytest.mark.parametrize("guarded", [True, False], ids=["guarded", "unguarded"])


@pytest.fixture
def patch() -> Iterator[pytest.MonkeyPatch]:
    with virtual_time(), pytest.MonkeyPatch.context() as patch:
        yield patch


@contextmanager
def running(root: Path, names: str = "abc") -> Iterator[tuple[Simulation, SimNode, list[SimNode]]]:
    """A calm cluster that has committed ten entries, its leader and its followers."""
    simulation = Simulation(root, 1, names, entry_commands_max=1)
    try:
        simulation.run_calmly(1.0)
        (leader,) = simulation.leaders()
        leader.core.propose([b"%d" % number for number in range(10)], lambda outcome: None, 5.0)
        simulation.run_calmly(0.2)
        yield simulation, leader, [node for node in simulation.nodes.values() if node is not leader]
    finally:
        simulation.close()


def deliver(target: SimNode, source: str, message: dict[str, Any], term: int, sequence: int = 1 << 40) -> None:
    transport = target.core.transport
    transport.receive(transport.peers[source], wire.encode(message, term, sequence)[4:])


def appended(leader: SimNode, previous: int, last: int, **changes: Any) -> dict[str, Any]:
    log = leader.journal
    entries = [log.at(index) for index in range(previous + 1, last + 1)]
    return {
        "type": "append_entries",
        "term": leader.core.raft.term,
        "commit_index": leader.core.raft.raftCommitIndex,
        "prevLogIdx": previous,
        "prevLogTerm": log.term_at(previous),
        "entries": entries,
    } | changes


def acknowledgement(index: int) -> dict[str, Any]:
    return {"type": "next_node_idx", "next_node_idx": index + 1, "reset": False, "success": True}


def sent(node: SimNode, to: str) -> list[dict[str, Any]]:
    """The messages that wait in one outbox; takes them."""
    box = node.core.transport.peers[to].outbox
    data, messages = box.take() if box else b"", []
    while data:
        (length,) = wire.LENGTH.unpack_from(data)
        messages.append(wire.decode(data[4 : 4 + length]).message)
        data = data[4 + length :]
    return messages


def unguarded_rebase(journal: Any, message: Any) -> int | None:
    if journal.term_at(message["prevLogIdx"]) != message["prevLogTerm"]:
        return None
    return int(message["entries"][-1][1] if message["entries"] else message["prevLogIdx"])


@ON_AND_OFF
def test_p5_a_resend_from_further_back_cuts_nothing_that_matches(
    tmp_path: Path, patch: pytest.MonkeyPatch, guarded: bool
) -> None:
    with running(tmp_path) as (_, leader, (follower, _other)):
        follower.journal._commit_index = 1  # the second guard, in the journal, would stop the node
        last = follower.journal.last_index
        if not guarded:
            patch.setattr(guards, "rebase", unguarded_rebase)
        deliver(follower, leader.name, appended(leader, 3, 5, commit_index=1), leader.core.raft.term)
        assert (follower.journal.last_index == last) is guarded


def test_p5_a_cut_at_or_below_the_commit_index_stops_the_node(tmp_path: Path, patch: pytest.MonkeyPatch) -> None:
    with running(tmp_path) as (_, leader, (follower, _other)):
        patch.setattr(guards, "rebase", unguarded_rebase)
        with pytest.raises(Fatal, match="disagree about committed data"):
            deliver(follower, leader.name, appended(leader, 3, 5), leader.core.raft.term)


def test_p5_two_different_entries_of_one_index_and_term_stop_the_node(
    tmp_path: Path, patch: pytest.MonkeyPatch
) -> None:
    with running(tmp_path) as (_, leader, (follower, _other)):
        message = appended(leader, 3, 5)
        _command, index, term = message["entries"][0]
        message["entries"][0] = (entry.encode(1, [b"forged"]), index, term)
        with pytest.raises(Fatal, match=f"entry {index} of term {term} differs"):
            deliver(follower, leader.name, message, leader.core.raft.term)


@ON_AND_OFF
def test_p5_an_acknowledgement_does_not_make_the_leader_send_again(
    tmp_path: Path, patch: pytest.MonkeyPatch, guarded: bool
) -> None:
    if not guarded:

        @contextmanager
        def moved(_self: Raft, _node: Any) -> Iterator[None]:
            yield

        patch.setattr(Raft, "next_index_kept", moved)
    with running(tmp_path) as (_, leader, (follower, _other)):
        leader.core.propose([b"x", b"y"], lambda outcome: None, 5.0)
        leader.step()
        sent(leader, follower.name)
        leader.start_sync()
        leader.finish_sync()
        deliver(leader, follower.name, acknowledgement(leader.journal.last_index - 1), leader.core.raft.term)
        leader.core.raft.send_soon()
        leader.step()
        again = [message["entries"] for message in sent(leader, follower.name) if message["type"] == "append_entries"]
        assert (again == [[]]) is guarded


@ON_AND_OFF
def test_p2_nothing_is_committed_that_was_not_verified(
    tmp_path: Path, patch: pytest.MonkeyPatch, guarded: bool
) -> None:
    if not guarded:
        rebase = guards.rebase

        def keep_commit_index(journal: Any, message: Any) -> int | None:
            commit_index = message["commit_index"]
            verified = rebase(journal, message)
            message["commit_index"] = commit_index
            return verified

        patch.setattr(guards, "rebase", keep_commit_index)
    with running(tmp_path) as (_, leader, (follower, _other)):
        log, term = follower.journal, leader.core.raft.term
        verified = log.last_index
        log.add(entry.encode(1 << 62, [b"of a deposed leader"]), verified + 1, term)
        deliver(follower, leader.name, appended(leader, verified, verified, commit_index=verified + 5), term)
        assert (follower.core.raft.raftCommitIndex == verified) is guarded


@ON_AND_OFF
def test_p6_an_acknowledgement_of_an_earlier_leadership_is_not_counted(
    tmp_path: Path, patch: pytest.MonkeyPatch, guarded: bool
) -> None:
    if not guarded:
        handle = Transport._on_acknowledgement

        def believe(self: Transport, peer: Peer, frame: wire.Frame) -> None:
            handle(self, peer, frame._replace(term=self._raft.term))

        patch.setattr(Transport, "_on_acknowledgement", believe)
    with running(tmp_path) as (_, leader, (follower, _other)):
        before = leader.core.raft.raftCommitIndex
        leader.core.propose([b"x"], lambda outcome: None, 5.0)
        leader.step()
        leader.start_sync()
        leader.finish_sync()
        late = acknowledgement(leader.journal.last_index)
        deliver(leader, follower.name, late, leader.core.raft.term - 1)
        leader.step()
        assert (leader.core.raft.raftCommitIndex == before) is guarded


def test_p6_of_a_burst_of_refusals_only_the_first_counts() -> None:
    progress = Progress()
    assert progress.admit_refusal(5, newest=9)
    assert not progress.admit_refusal(6, newest=12)
    assert not progress.admit_refusal(9, newest=12)
    assert progress.admit_refusal(10, newest=12)


def test_an_acknowledgement_of_what_was_never_sent_drops_the_link(tmp_path: Path, patch: pytest.MonkeyPatch) -> None:
    beyond = pytest.raises(MalformedFrame, match="was acknowledged; this leader's log ends at")
    with running(tmp_path) as (_, leader, (follower, _other)), beyond:
        deliver(leader, follower.name, acknowledgement(leader.journal.last_index + 1), leader.core.raft.term)


@ON_AND_OFF
def test_p7_a_vote_that_arrives_twice_counts_once(tmp_path: Path, patch: pytest.MonkeyPatch, guarded: bool) -> None:
    if not guarded:
        patch.setattr(Votes, "admit", lambda self, voter, term: True)
    with running(tmp_path, "abcde") as (_, _leader, followers):
        candidate, voter = followers[0], followers[1]
        candidate.core.elections.gate_open = True
        candidate.step()
        term = candidate.core.raft.term
        assert candidate.core.role() == "candidate"
        for _ in range(2):
            deliver(candidate, voter.name, {"type": "response_vote", "term": term}, term)
        assert candidate.core.raft.is_leader is not guarded


@ON_AND_OFF
def test_p4_a_vote_leaves_only_after_it_is_durable(tmp_path: Path, patch: pytest.MonkeyPatch, guarded: bool) -> None:
    with running(tmp_path) as (simulation, leader, (voter, candidate)):
        simulation.clock.seconds += ELECTION_MAX_MS / 1000  # its vow to the leader has ended
        if not guarded:
            patch.setattr(Promises, "after", lambda self, position, send: send())
        sent(voter, candidate.name)
        term = leader.core.raft.term + 1
        log = voter.journal
        request = {"term": term, "last_log_index": log.last_index, "last_log_term": log.last_term}
        deliver(voter, candidate.name, {"type": "request_vote"} | request, term)
        voter.step()
        voter.start_sync()
        before = [message["type"] for message in sent(voter, candidate.name)]
        assert ("response_vote" not in before) is guarded
        voter.finish_sync()
        after = [message["type"] for message in sent(voter, candidate.name)]
        assert ("response_vote" in after) is guarded
        assert log.getVotedForNodeId() == candidate.name


def test_p4_an_acknowledgement_covers_only_what_is_durable(tmp_path: Path, patch: pytest.MonkeyPatch) -> None:
    with running(tmp_path) as (_, leader, (follower, _other)):
        durable = follower.journal.last_index
        leader.core.propose([b"x"], lambda outcome: None, 5.0)
        leader.step()
        sent(follower, leader.name)
        term = leader.core.raft.term
        deliver(follower, leader.name, appended(leader, durable, durable + 1), term)
        follower.step()
        follower.start_sync()
        assert sent(follower, leader.name) == []
        deliver(follower, leader.name, appended(leader, durable + 1, durable + 1), term)
        assert sent(follower, leader.name) == [acknowledgement(durable)], "a heartbeat is answered meanwhile"
        follower.finish_sync()
        assert sent(follower, leader.name) == [acknowledgement(durable + 1)]


def test_p4_an_acknowledgement_waits_until_its_term_is_durable(tmp_path: Path, patch: pytest.MonkeyPatch) -> None:
    with running(tmp_path) as (_, leader, (follower, other)):
        last, term = follower.journal.last_index, leader.core.raft.term + 1
        sent(follower, other.name)
        deliver(follower, other.name, appended(leader, last, last, term=term), term)
        follower.step()
        follower.start_sync()
        assert sent(follower, other.name) == [], "a crash could still take it back to the term before"
        follower.finish_sync()
        assert sent(follower, other.name) == [acknowledgement(last)]


@ON_AND_OFF
def test_p4_a_leader_does_not_count_itself_before_its_own_sync(
    tmp_path: Path, patch: pytest.MonkeyPatch, guarded: bool
) -> None:
    if not guarded:
        patch.setattr(Progress, "countable", lambda self, durable_index: self.acked)
    with running(tmp_path) as (_, leader, (follower, _other)):
        before = leader.core.raft.raftCommitIndex
        leader.core.propose([b"x"], lambda outcome: None, 5.0)
        leader.step()
        deliver(leader, follower.name, acknowledgement(before + 1), leader.core.raft.term)
        leader.step()
        assert (leader.core.raft.raftCommitIndex == before) is guarded
        leader.start_sync()
        leader.finish_sync()
        leader.step()
        assert leader.core.raft.raftCommitIndex == before + 1


@ON_AND_OFF
def test_p8_a_deposed_leader_is_told(tmp_path: Path, patch: pytest.MonkeyPatch, guarded: bool) -> None:
    if not guarded:
        patch.setattr(Transport, "tell_term", lambda self, peer: None)
    with running(tmp_path) as (simulation, old, _):
        term = old.core.raft.term
        for pair in simulation.pairs():
            if old.name in pair:
                simulation.link(pair, False)
        old.core.elections._rng.seed(1)
        for _ in range(40):  # the others elect; the old leader does not run
            simulation.turn(0.01, without=old)
            for source, target in list(simulation.queues):
                if old.name not in (source, target):
                    simulation.deliver(source, target, 99)
        (new,) = [node for node in simulation.leaders() if node is not old]
        follower = next(node for node in simulation.nodes.values() if node not in (old, new))
        sent(follower, old.name)
        for pair in simulation.pairs():
            simulation.link(pair, True)
        deliver(follower, old.name, appended(old, 1, 1), term)
        assert (sent(follower, old.name) == [{"type": "higher_term", "term": new.core.raft.term}]) is guarded


def test_p8_a_leader_that_hears_nobody_steps_down(tmp_path: Path, patch: pytest.MonkeyPatch) -> None:
    with running(tmp_path) as (simulation, leader, _):
        simulation.clock.seconds += ELECTION_MAX_MS / 1000 + 0.01
        leader.step()
        assert not leader.core.raft.is_leader


@ON_AND_OFF
def test_p9_a_node_that_was_cut_off_does_not_disturb_on_its_return(
    tmp_path: Path, patch: pytest.MonkeyPatch, guarded: bool
) -> None:
    if not guarded:
        start_round = Elections.start_round

        def campaign_at_once(self: Elections, term: int, now: float) -> None:
            start_round(self, term, now)
            self.gate_open = True

        patch.setattr(Elections, "start_round", campaign_at_once)
    with running(tmp_path) as (simulation, leader, (away, _other)):
        term = leader.core.raft.term
        pairs = [pair for pair in simulation.pairs() if away.name in pair]
        for pair in pairs:
            simulation.link(pair, False)
            x, y = sorted(pair)
            for here, there in ((x, y), (y, x)):  # half open: it may send, and nothing arrives
                simulation.nodes[here].core.transport.peers[there].outgoing = True
        for _ in range(300):
            simulation.turn(0.01)
            for source, target in list(simulation.queues):
                if away.name in (source, target):
                    simulation.queues[source, target].clear()
                simulation.deliver(source, target, 99)
        for pair in pairs:
            simulation.link(pair, True)
        simulation.run_calmly(0.5)
        assert (leader.core.raft.is_leader and leader.core.raft.term == term) is guarded


def test_p13_an_exception_in_the_state_machine_stops_the_node_and_is_never_retried(
    tmp_path: Path, patch: pytest.MonkeyPatch
) -> None:
    with running(tmp_path) as (simulation, leader, _):
        calls = []

        def fail(index: int, *_: Any) -> Any:
            calls.append(index)
            raise ZeroDivisionError("a bug")

        patch.setattr(leader.machine, "apply", fail)
        leader.core.propose([b"x"], lambda outcome: None, 5.0)
        with pytest.raises(Fatal, match=r"state machine failed on entry \d+ of term \d+ \(ZeroDivisionError"):
            simulation.run_calmly(0.2)
        leader.step()
        assert len(calls) == 1


def test_p14_nothing_is_ever_unpickled(tmp_path: Path, patch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: Any) -> None:
        raise AssertionError("pickle was used")

    for name in ("loads", "load", "dumps", "dump"):
        patch.setattr(pysyncobj.pickle, name, forbidden)
    with running(tmp_path) as (simulation, _leader, followers):
        simulation.restart(followers[0].name)
        simulation.run_calmly(1.0)
        assert all(len(node.machine.commands) == 10 for node in simulation.nodes.values())


def test_p18_a_follower_never_forwards(tmp_path: Path, patch: pytest.MonkeyPatch) -> None:
    with running(tmp_path) as (_, _leader, (follower, _other)):
        follower.core.raft._applyCommand(entry.encode(1, [b"x"]), None)
        with pytest.raises(Fatal, match="PySyncObj wanted to send 'apply_command'"):
            follower.step()


def test_p21_a_submission_whose_entry_was_replaced_is_unknown_and_told_once(
    tmp_path: Path, patch: pytest.MonkeyPatch
) -> None:
    with running(tmp_path) as (simulation, old, _others):
        outcomes: list[Any] = []
        for pair in simulation.pairs():
            if old.name in pair:
                simulation.cut.add(pair)
                simulation.link(pair, False)
        old.core.transport.forgive(0, simulation.clock(), 1.0)
        patch.setattr(Transport, "reachable", lambda self, now, within_s: 3)
        old.core.propose([b"lost"], outcomes.append, 30.0)
        simulation.run_calmly(1.5)
        (new,) = [node for node in simulation.leaders() if node is not old]
        new.core.propose([b"kept"], lambda outcome: None, 5.0)
        for pair in simulation.cut:
            simulation.link(pair, True)
        simulation.run_calmly(1.0)
        (outcome,) = outcomes
        assert isinstance(outcome, OutcomeUnknown)
        assert all(node.machine.commands[10:] == [b"kept"] for node in simulation.nodes.values())


def test_p24_time_increases_also_when_a_leader_has_a_slow_clock(tmp_path: Path, patch: pytest.MonkeyPatch) -> None:
    with running(tmp_path) as (simulation, leader, _followers):
        last = leader.machine.times[-1]
        for node in simulation.nodes.values():
            patch.setattr(node.core, "_clock_ns", lambda: 5)
        simulation.restart(leader.name)
        simulation.run_calmly(1.0)
        (new,) = simulation.leaders()
        new.core._clock_ns = lambda: 7
        new.core.propose([b"x", b"y"], lambda outcome: None, 5.0)
        simulation.run_calmly(0.2)
        assert new.machine.times[-2:] == [last + 1, last + 2]


def test_p1_any_other_version_of_the_library_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    check_library()
    monkeypatch.setattr(raft, "VERSION", "0.3.14")
    with pytest.raises(Fatal, match=r"PySyncObj 0\.3\.14 is installed.*constraints\.txt"):
        check_library()


def test_p1_a_modified_library_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raft, "PRIVATE_METHODS", ("_SyncObj__somethingElse",))
    with pytest.raises(Fatal, match="lacks _SyncObj__somethingElse"):
        check_library()


def test_a_refusal_skips_the_whole_conflicting_term_but_nothing_committed(tmp_path: Path) -> None:
    with virtual_time(), running(tmp_path) as (_, leader, _followers):
        log = leader.journal
        last, term = log.last_index, log.last_term
        for offset in range(1, 6):
            log.add(entry.encode(1, [b"x"]), last + offset, term + 3)
        assert guards.next_index_hint(log, last + 5, 1) == last + 1
        assert guards.next_index_hint(log, last + 5, last + 3) == last + 4
        assert guards.next_index_hint(log, last + 9, 1) == last + 9
