"""The lease of a leader, on the virtual clock: when it is trusted, and that nobody leads before it has ended."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from chaos.sim.node import SimNode
from consensus import lease
from consensus.elections import Elections
from consensus.errors import NoQuorum, NotLeader
from consensus.lease import NEVER, SentTimes
from tests.consensus.stage import ELECTION_MIN_MS, Simulation
from tests.consensus.test_guards import deliver
from tests.consensus.test_partitions import calm, cut

LEASE_S = lease.lease_s(ELECTION_MIN_MS / 1000)


def test_the_time_of_a_request_is_rounded_down_and_forgotten_after_a_while() -> None:
    times = SentTimes(0.1)
    times.sent(1, 1.0)
    times.sent(2, 1.001)
    times.sent(3, 1.004)
    assert [times.at(number) for number in (1, 2, 3)] == [1.0, 1.0, 1.004]
    assert times.at(4) == NEVER, "it was not sent"
    times.sent(4, 1.2)
    assert times.at(3) == NEVER, "too old to matter"
    assert times.at(4) == 1.2


def test_what_is_remembered_of_requests_is_bounded() -> None:
    times = SentTimes(0.1)
    for number in range(1, 100_000):
        times.sent(number, number * 1e-5)
    assert len(times._marks) <= 52


def test_a_lease_is_shorter_than_the_vow_that_it_rests_on_and_the_vow_than_an_election_timeout() -> None:
    assert lease.lease_s(0.3) < lease.vow_s(0.3) < 0.3


def turn(
    simulation: Simulation, blocked: set[tuple[str, str]], seconds: float = 0.001, late: tuple[str, str] = ("", "")
) -> None:
    """A turn of every node; what is sent over a `blocked` direction is lost in silence, over `late` it waits."""
    simulation.turn(seconds)
    for pair in list(simulation.queues):
        if pair in blocked:
            simulation.queues[pair].clear()
        elif pair != late:
            simulation.deliver(*pair, 1 << 30)
    simulation.collect()


def away_from(simulation: Simulation, old: SimNode, inward: bool, outward: bool) -> set[tuple[str, str]]:
    others = [name for name in simulation.nodes if name != old.name]
    return {(old.name, other) for other in others if outward} | {(other, old.name) for other in others if inward}


@pytest.mark.parametrize("names", ["abc", "abcde"])
@pytest.mark.parametrize("closed", [False, True], ids=["silent", "closed"])
@pytest.mark.parametrize(
    "inward, outward", [(True, True), (True, False), (False, True)], ids=["both ways", "deaf", "mute"]
)
def test_a_leader_that_is_cut_off_serves_and_acknowledges_nothing_before_another_can_lead(
    tmp_path: Path, names: str, closed: bool, inward: bool, outward: bool
) -> None:
    with calm(tmp_path, names) as (simulation, old, rest):
        if closed:  # the others see its connections close at once; it does not
            for node in rest:
                transport = node.core.transport
                transport.link_changed(transport.peers[old.name], outgoing=False, incoming=False)
        acknowledged: list[tuple[float, Any]] = []
        served_until = led_from = 0.0
        blocked = away_from(simulation, old, inward, outward)
        began = simulation.clock.seconds
        while simulation.clock.seconds < began + 1.5:
            turn(simulation, blocked)
            now = simulation.clock()
            if old.core.read_by_lease() is not None:
                served_until = now
            try:
                old.core.propose([b"x"], lambda outcome: acknowledged.append((simulation.clock(), outcome)), 5.0)
            except (NotLeader, NoQuorum):
                pass
            if led_from == 0 and any(node.core.raft.is_leader for node in rest):
                led_from = now
        assert served_until > began, "it had a lease when it was cut off"
        if outward or closed:
            assert led_from > 0
            assert served_until < led_from
            assert all(at < led_from for at, outcome in acknowledged if isinstance(outcome, list))
        else:  # the others hear it and follow it: it steps down by itself, for nobody answers
            assert served_until <= began + LEASE_S
        assert served_until <= began + LEASE_S


def test_without_the_vow_another_leads_while_the_lease_is_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Elections, "vowed", lambda self, now: False)
    hear = Elections.hear

    def hear_without_vow(self: Elections, leader: str, now: float) -> None:
        hear(self, leader, now)
        self._vowed_until = now - 1

    monkeypatch.setattr(Elections, "hear", hear_without_vow)
    with calm(tmp_path) as (simulation, old, rest):
        for node in rest:
            transport = node.core.transport
            transport.link_changed(transport.peers[old.name], outgoing=False, incoming=False)
        blocked = away_from(simulation, old, True, True)
        both = False
        for _ in range(100):
            turn(simulation, blocked)
            both |= old.core.read_by_lease() is not None and any(node.core.raft.is_leader for node in rest)
        assert both, "this test would not notice a missing vow"


def test_a_vote_that_a_pre_vote_allowed_is_refused_if_the_leader_was_heard_since(tmp_path: Path) -> None:
    with calm(tmp_path) as (_, leader, (voter, candidate)):
        term = leader.core.raft.term + 1
        log = voter.journal
        position = {"last_log_index": log.last_index, "last_log_term": log.last_term}
        deliver(voter, candidate.name, {"type": "request_vote", "term": term} | position, term)
        assert log.getVotedForNodeId() != candidate.name
        assert voter.core.raft.term == term - 1


def test_a_follower_that_restarts_at_once_elects_nobody_while_the_lease_lasts(tmp_path: Path) -> None:
    with calm(tmp_path) as (simulation, old, (follower, candidate)):
        simulation.restart(follower.name)
        restarted = simulation.nodes[follower.name]
        assert old.core.read_by_lease() is not None
        cut(simulation, frozenset((old.name, candidate.name)))
        cut(simulation, frozenset((old.name, follower.name)))
        term = old.core.raft.term + 1
        log = candidate.journal
        position = {"last_log_index": log.last_index, "last_log_term": log.last_term}
        deliver(restarted, candidate.name, {"type": "request_vote", "term": term} | position, term)
        deliver(restarted, candidate.name, {"type": "prevote", "term": term} | position, term - 1)
        assert restarted.core.raft.term < term
        assert not restarted.core.transport.peers[candidate.name].outbox or old.core.read_by_lease() is None


def test_a_pause_of_the_leader_ends_its_lease_before_it_answers_anything(tmp_path: Path) -> None:
    with calm(tmp_path) as (simulation, leader, _):
        assert leader.core.read_by_lease() is not None
        simulation.clock.seconds += 2.0  # SIGSTOP, SIGCONT
        assert leader.core.read_by_lease() is None, "also before its next turn"
        leader.core.stalled(2.0)
        assert leader.core.read_by_lease() is None, "what is forgiven to the others is no lease"


def test_what_is_submitted_while_the_lease_is_lapsed_is_not_logged_and_goes_on_when_it_is_renewed(
    tmp_path: Path,
) -> None:
    with calm(tmp_path) as (simulation, leader, _):
        outcomes: list[Any] = []
        simulation.clock.seconds += LEASE_S + 0.01
        last = leader.journal.last_index
        leader.core.propose([b"x"], outcomes.append, 5.0)
        leader.step()
        assert leader.journal.last_index == last
        simulation.run_calmly(0.05)
        assert [outcome[0].result for outcome in outcomes] == [0]


def test_what_a_leader_without_answers_did_not_log_is_refused_as_not_executed(tmp_path: Path) -> None:
    with calm(tmp_path) as (simulation, old, _):
        blocked = away_from(simulation, old, True, False)
        outcomes: list[Any] = []
        began = simulation.clock.seconds
        while simulation.clock.seconds < began + LEASE_S:
            turn(simulation, blocked)
        assert old.core.read_by_lease() is None
        last = old.journal.last_index
        old.core.propose([b"x"], outcomes.append, 5.0)
        while not outcomes:
            turn(simulation, blocked)
            assert simulation.clock.seconds < began + 1.0
        assert isinstance(outcomes[0], (NoQuorum, NotLeader))
        assert old.journal.last_index == last


def test_one_member_alone_always_has_its_lease(tmp_path: Path) -> None:
    with calm(tmp_path, "a") as (simulation, leader, _):
        simulation.clock.seconds += 5
        assert leader.core.read_by_lease() is not None
