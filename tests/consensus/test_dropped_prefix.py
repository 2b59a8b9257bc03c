"""Messages about entries that this node has dropped, because they are committed and in a snapshot."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from consensus import entry, guards
from consensus.errors import Fatal
from consensus.journal import Base, Journal


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Journal]:
    """Entries 21 to 30 of term 2, behind a base."""
    log = Journal(tmp_path, "test/a", segment_bytes=4096)
    log.add(entry.NO_OP, 1, 0)
    for index in range(2, 31):
        log.add(command(index), index, 2)
    log.setRaftCommitIndex(25)
    log.drop_prefix(20)
    assert log.base == Base(20, 2, 20)
    yield log
    log.abandon()


def command(index: int) -> bytes:
    return entry.encode(index, [b"%d" % index])


def message(previous: int, last: int, term: int = 2, commit_index: int = 30) -> dict[str, Any]:
    entries = [(command(index), index, term) for index in range(previous + 1, last + 1)]
    return {"prevLogIdx": previous, "prevLogTerm": 2, "entries": entries, "commit_index": commit_index}


def test_a_resend_that_reaches_over_the_base_is_moved_forward_to_what_is_new(log: Journal) -> None:
    resent = message(10, 32)
    assert guards.rebase(log, resent) == 32
    assert (resent["prevLogIdx"], [index for _, index, _ in resent["entries"]]) == (30, [31, 32])


def test_a_resend_of_dropped_entries_alone_is_acknowledged_and_cuts_and_commits_nothing(log: Journal) -> None:
    resent = message(10, 15)
    assert guards.rebase(log, resent) == 15
    assert (resent["prevLogIdx"], resent["prevLogTerm"], resent["entries"]) == (30, 2, [])
    assert resent["commit_index"] == 0


def test_a_resend_that_ends_at_the_base_verifies_the_base(log: Journal) -> None:
    assert guards.rebase(log, message(10, 20)) == 20


def test_entries_behind_the_base_are_taken(log: Journal) -> None:
    resent = message(20, 31)
    assert guards.rebase(log, resent) == 31
    assert [index for _, index, _ in resent["entries"]] == [31]


def test_a_leader_with_another_entry_at_the_base_stops_the_node(log: Journal) -> None:
    with pytest.raises(Fatal, match="entry 20 is committed here in term 2, and the leader has it in term 3"):
        guards.rebase(log, message(10, 25, term=3))


def test_a_leader_is_never_asked_for_what_was_dropped(log: Journal) -> None:
    assert guards.next_index_hint(log, 30, 20) > log.base.index
