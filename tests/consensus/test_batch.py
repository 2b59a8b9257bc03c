from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from consensus.batch import Batch
from consensus.config import ReplicaConfig
from consensus.errors import NotLeader, OutcomeUnknown, Overloaded
from consensus.ports import Member

NOT_LOGGED = NotLeader("b", 2)


def batch(**settings: Any) -> Batch:
    return Batch(ReplicaConfig("a", "test", (Member("a", "127.0.0.1", 1, ""),), Path("unused"), **settings))


def admit(waiting: Batch, *commands: bytes, timeout_s: float = 1.0) -> list[Any]:
    outcomes: list[Any] = []
    waiting.admit(commands, outcomes.append, 0.0, timeout_s)
    return outcomes


def log(waiting: Batch, index: int, term: int = 1) -> list[bytes]:
    packed = waiting.pack()
    assert packed is not None
    waiting.logged(index, term, packed[1])
    return packed[0]


def apply(waiting: Batch, index: int, results: list[Any], term: int = 1) -> None:
    waiting.applied(index, term, 7, bytes(32), results, 0.5)
    waiting.deliver()


def test_what_waits_together_goes_into_one_entry_and_each_gets_its_own_receipts() -> None:
    waiting = batch()
    first, second = admit(waiting, b"a", b"b"), admit(waiting, b"c")
    assert log(waiting, 5) == [b"a", b"b", b"c"]
    apply(waiting, 5, ["A", "B", "C"])
    assert [receipt.result for receipt in first[0]] == ["A", "B"]
    assert [receipt.result for receipt in second[0]] == ["C"]
    assert waiting.waiting == 0


def test_a_lone_command_does_not_wait() -> None:
    waiting = batch()
    admit(waiting, b"a")
    assert log(waiting, 5) == [b"a"]


def test_no_more_entries_are_in_flight_than_allowed() -> None:
    waiting = batch(entries_in_flight_max=2)
    for number in range(3):
        admit(waiting, b"%d" % number)
        if number < 2:
            log(waiting, number)
    assert waiting.pack() is None
    apply(waiting, 0, [0])
    assert log(waiting, 2) == [b"2"]


def test_a_large_command_stands_alone_in_its_entry() -> None:
    waiting = batch(entry_bytes_max=10, command_bytes_max=100)
    outcome = admit(waiting, b"1", b"2" * 50, b"3", b"")
    assert [log(waiting, index) for index in (1, 2, 3)] == [[b"1"], [b"2" * 50], [b"3", b""]]
    apply(waiting, 1, ["one"])
    apply(waiting, 2, ["two"])
    assert outcome == []
    apply(waiting, 3, ["three", "four"])
    assert [receipt.result for receipt in outcome[0]] == ["one", "two", "three", "four"]
    assert [receipt.index for receipt in outcome[0]] == [1, 2, 3, 3]


def test_another_term_at_the_same_index_is_never_a_success() -> None:
    waiting = batch()
    outcome = admit(waiting, b"a")
    log(waiting, 5, term=1)
    apply(waiting, 5, ["somebody else's"], term=2)
    assert isinstance(outcome[0], OutcomeUnknown)


def test_the_end_of_a_leadership_tells_what_was_logged_from_what_was_not() -> None:
    waiting = batch(entries_in_flight_max=1)
    logged, queued = admit(waiting, b"a"), admit(waiting, b"b")
    waiting._config = batch(entry_commands_max=1, entries_in_flight_max=1)._config
    log(waiting, 5)
    waiting.fail_all(NOT_LOGGED, "ended")
    waiting.deliver()
    assert isinstance(logged[0], OutcomeUnknown)
    assert queued == [NOT_LOGGED]
    assert waiting.waiting == 0
    assert waiting.pack() is None


def test_deadlines_pass_in_their_own_order_and_free_their_places() -> None:
    waiting = batch(entry_commands_max=1, entries_in_flight_max=1, waiting_max=3)
    late, soon, queued = (admit(waiting, b"x", timeout_s=seconds) for seconds in (9.0, 2.0, 1.0))
    log(waiting, 5)
    with pytest.raises(Overloaded):
        admit(waiting, b"y")
    waiting.expire(2.5, NOT_LOGGED)
    waiting.deliver()
    assert (late, soon, queued) == ([], [NOT_LOGGED], [NOT_LOGGED])
    assert waiting.waiting == 1
    apply(waiting, 5, [0])
    assert len(late) == 1
    assert waiting.pack() is None, "what expired in the queue is never logged"


def test_a_submission_that_expired_after_it_was_logged_is_unknown_and_told_once() -> None:
    waiting = batch()
    outcome = admit(waiting, b"x")
    log(waiting, 5)
    waiting.expire(3.0, NOT_LOGGED)
    apply(waiting, 5, [0])
    assert len(outcome) == 1
    assert isinstance(outcome[0], OutcomeUnknown)


def test_an_empty_submission_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="at least one command"):
        admit(batch())
