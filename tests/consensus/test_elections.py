from __future__ import annotations

import random

import pytest

from consensus.elections import Elections

MINE = (3, 10)  # term and index of the last entry


def elections(quorum: int = 2, me: str = "b") -> Elections:
    return Elections(me, quorum, 0.3, 0.6, random.Random(1), 0.0)


def test_a_leader_that_is_heard_is_never_voted_out() -> None:
    timer = elections()
    timer.hear("a", 1.0)
    assert not timer.due(1.29)
    assert not timer.consider("c", 4, (3, 99), MINE, 1.2)
    assert timer.consider("c", 4, (3, 99), MINE, 1.4)


def test_a_closed_connection_from_the_leader_counts_at_once() -> None:
    timer = elections()
    timer.hear("a", 1.0)
    timer.closed("c", 1.01)
    assert not timer.due(1.03)
    timer.closed("a", 1.01)
    assert timer.due(1.03)
    assert timer.leader_gone(1.01)
    timer.hear("a", 1.02)
    assert not timer.leader_gone(1.02)


def test_the_gate_opens_with_a_majority_and_closes_with_use() -> None:
    timer = elections(quorum=3)
    timer.start_round(5, 1.0)
    timer.granted("c", 5, 4)
    timer.granted("c", 5, 4)
    assert not timer.gate_open, "one voice per member"
    timer.granted("d", 4, 4)
    assert not timer.gate_open, "another round"
    timer.granted("d", 5, 4)
    assert timer.gate_open
    timer.campaigned(1.1)
    assert not timer.gate_open
    assert not timer.due(1.3)


def test_a_granted_round_is_void_once_the_term_moved_on() -> None:
    timer = elections()
    timer.start_round(5, 1.0)
    timer.granted("c", 5, 5)
    assert not timer.gate_open


def test_one_member_alone_needs_nobody() -> None:
    timer = elections(quorum=1)
    timer.start_round(1, 1.0)
    assert timer.gate_open


def test_a_log_that_is_behind_gets_no_prevote() -> None:
    timer = elections()
    assert not timer.consider("a", 4, (3, 9), MINE, 1.0)
    assert not timer.consider("a", 4, (2, 99), MINE, 1.0)
    assert timer.consider("a", 4, (4, 1), MINE, 1.0)


@pytest.mark.parametrize("asker, granted", [("a", False), ("c", True)])
def test_of_two_candidates_at_once_only_one_goes_on(asker: str, granted: bool) -> None:
    timer = elections(me="b")
    timer.start_round(5, 1.0)
    assert timer.consider(asker, 5, MINE, MINE, 1.0) is granted
    timer.granted("a", 5, 4)
    assert timer.gate_open is not granted


def test_the_own_stall_is_not_blamed_on_the_leader() -> None:
    timer = elections()
    timer.hear("a", 1.0)
    timer.forgive(5.0, 6.0)
    assert not timer.due(6.1)
    assert not timer.leader_gone(6.1)
    assert timer.due(6.7)


def test_after_a_stall_a_closed_connection_still_counts() -> None:
    timer = elections()
    timer.hear("a", 1.0)
    timer.closed("a", 1.1)
    timer.forgive(5.0, 6.0)
    assert timer.due(6.0)


def test_a_granted_gate_that_nobody_could_use_closes_with_the_timeout() -> None:
    timer = elections()
    timer.start_round(5, 1.0)
    timer.granted("c", 5, 4)
    assert timer.gate_open
    assert timer.due(timer.deadline), "an open gate does not stop the timer"
    timer.start_round(5, timer.deadline)
    assert not timer.gate_open, "the next campaign needs a fresh pre-vote"


def test_a_tie_is_broken_for_a_moment_and_never_holds_up_another_candidate() -> None:
    timer = elections(me="b")
    timer.start_round(5, 1.0)
    assert not timer.consider("a", 5, MINE, MINE, 1.02)
    assert timer.consider("a", 5, MINE, MINE, 1.04)
    assert not timer.consider("a", 5, (3, 9), MINE, 1.05), "its log is behind"


def test_stalls_without_end_do_not_hide_a_silent_leader() -> None:
    timer = elections()
    timer.hear("a", 0.0)
    now = 0.0
    while not timer.due(now):
        now += 0.1
        timer.forgive(0.09, now)
        assert now < 2.0
    assert timer.leader_gone(now + 0.1)
