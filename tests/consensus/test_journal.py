from __future__ import annotations

from pathlib import Path

import pytest

from consensus import entry, journal
from consensus.errors import Fatal
from consensus.journal import Journal
from storage.errors import Damaged


def opened(directory: Path, identity: str = "test/a") -> Journal:
    return Journal(directory, identity, segment_bytes=4096)


def filled(directory: Path, count: int = 5, term: int = 1) -> Journal:
    log = opened(directory)
    log.add(entry.NO_OP, 1, 0)
    for index in range(2, count + 1):
        log.add(entry.encode(index, [b"%d" % index]), index, term)
    return log


def test_entries_term_and_vote_survive_a_restart(tmp_path: Path) -> None:
    log = filled(tmp_path, 100)
    log.setCurrentTerm(7, "b")
    log.close()
    again = opened(tmp_path)
    assert again[:] == log[:]
    assert (again.getCurrentTerm(), again.getVotedForNodeId()) == (7, "b")
    assert again.durable_index == again.last_index == 100


def test_a_truncation_survives_a_restart(tmp_path: Path) -> None:
    log = filled(tmp_path)
    log.deleteEntriesFrom(3)
    log.add(entry.encode(9, [b"other"]), 4, 2)
    log.close()
    again = opened(tmp_path)
    assert [(index, term) for _, index, term in again[:]] == [(1, 0), (2, 1), (3, 1), (4, 2)]
    assert again.last_time_ns() == 9


def test_durable_is_what_a_finished_sync_covers(tmp_path: Path) -> None:
    log = filled(tmp_path, 3)
    assert log.durable_index == 0
    job = log.begin_sync()
    assert job is not None
    log.add(entry.NO_OP, 4, 1)
    job.run()
    log.finish_sync(job)
    assert log.durable_index == 3
    log.deleteEntriesFrom(1)
    assert log.durable_index == 1, "what was cut is not durable, nor is what replaces it"
    log.add(entry.NO_OP, 2, 2)
    log.add(entry.NO_OP, 3, 2)
    assert log.durable_index == 1
    job = log.begin_sync()
    assert job is not None
    job.run()
    log.finish_sync(job)
    assert log.durable_index == 3


def test_a_vote_is_not_durable_before_its_sync(tmp_path: Path) -> None:
    log = filled(tmp_path)
    log.setCurrentTerm(2, "a")
    assert not log.hard_state_durable
    job = log.begin_sync()
    assert job is not None
    job.run()
    log.finish_sync(job)
    assert log.hard_state_durable


def test_committed_entries_are_never_cut(tmp_path: Path) -> None:
    log = filled(tmp_path)
    log.setRaftCommitIndex(4)
    with pytest.raises(Fatal, match="entry 4 was to be cut from the log, and 4 entries are committed"):
        log.deleteEntriesFrom(3)
    log.deleteEntriesFrom(4)
    assert log.last_index == 4


def test_the_commit_index_is_noted_once_a_second_and_found_again(tmp_path: Path) -> None:
    log = filled(tmp_path)
    log.setRaftCommitIndex(4)
    assert opened_commit_index(log, tmp_path) == 1, "not noted yet"
    log = opened(tmp_path)
    log.setRaftCommitIndex(4)
    log.onOneSecondTimer()
    assert opened_commit_index(log, tmp_path) == 4


def opened_commit_index(log: Journal, directory: Path) -> int:
    log.close()
    again = opened(directory)
    again.close()
    return again.getRaftCommitIndex()


def test_a_log_of_another_node_is_refused(tmp_path: Path) -> None:
    filled(tmp_path).close()
    with pytest.raises(Fatal, match="holds the log of test/a, and this node is test/b"):
        opened(tmp_path, "test/b")


def test_a_log_that_lost_committed_entries_is_refused(tmp_path: Path) -> None:
    log = filled(tmp_path)
    log._wal.append(journal.COMMIT, (9).to_bytes(8, "little"))
    log.close()
    with pytest.raises(Damaged, match="entry 9 was committed; the log ends at 5"):
        opened(tmp_path)


def test_a_record_kind_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    log = filled(tmp_path)
    log._wal.append(journal.DROP_PREFIX, bytes(8))
    log.close()
    with pytest.raises(Damaged, match="newer version"):
        opened(tmp_path)


def test_an_entry_out_of_order_is_a_bug_and_stops_the_node(tmp_path: Path) -> None:
    with pytest.raises(Fatal, match="entry 7 was to follow entry 5"):
        filled(tmp_path).add(entry.NO_OP, 7, 1)


def test_the_term_never_goes_back(tmp_path: Path) -> None:
    log = filled(tmp_path)
    log.setCurrentTerm(3, None)
    with pytest.raises(Fatal, match="back from 3 to 2"):
        log.setCurrentTerm(2, None)
