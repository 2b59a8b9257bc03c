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


def test_a_closed_connection_from_the_leader_counts_as_soon_as_its_lease_is_over() -> None:
    timer = elections()
    timer.hear("a", 1.0)
    timer.closed("c", 1.01)
    assert not timer.due(1.29)
    timer.closed("a", 1.01)
    assert not timer.due(1.1)
    assert not timer.leader_gone(1.1), "it may be alive, and then it counts on this node"
    assert timer.due(1.12)
    assert timer.leader_gone(1.101)
    timer.hear("a", 1.13)
    assert not timer.leader_gone(1.3)


def test_a_node_that_has_just_started_helps_to_elect_nobody_for_it_forgot_whom_it_heard() -> None:
    timer = elections()
    assert timer.vowed(0.09)
    assert not timer.consider("c", 4, (3, 99), MINE, 0.09)
    assert timer.consider("c", 4, (3, 99), MINE, 0.11)


def test_an_own_stall_does_not_lengthen_or_shorten_the_vow() -> None:
    timer = elections()
    timer.hear("a", 1.0)
    timer.forgive(5.0, 6.0)
    assert not timer.vowed(6.0)
    timer.hear("a", 6.0)
    timer.forgive(0.05, 6.05)
    assert timer.vowed(6.09)
    assert not timer.vowed(6.11)


def test_where_the_vows_of_two_followers_end_apart_the_refused_one_asks_again_soon() -> None:
    timer = elections()
    timer.hear("a", 1.0)
    timer.closed("a", 1.01)
    timer.start_round(5, 1.105)
    assert timer.deadline < 1.2
    timer.start_round(5, 1.7)
    assert timer.deadline >= 2.0, "not for ever: a member that is cut off would ask all the time"


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
