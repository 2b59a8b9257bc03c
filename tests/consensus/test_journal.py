from __future__ import annotations

from pathlib import Path

import pytest

from consensus import entry, journal
from consensus.errors import Fatal
from consensus.journal import Base, Journal
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
    log._wal.append(99, bytes(8))
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


# A prefix that is gone


def synced(log: Journal) -> None:
    job = log.begin_sync()
    if job is not None:
        job.run()
        log.finish_sync(job)


def test_after_a_prefix_was_dropped_the_rest_is_as_before_and_the_base_remembers_index_term_and_time(
    tmp_path: Path,
) -> None:
    log = filled(tmp_path, 100, term=3)
    log.setRaftCommitIndex(90)
    log.drop_prefix(60)
    log.drop_prefix(60)
    log.close()
    for found in (log, opened(tmp_path)):
        assert found.base == Base(60, 3, 60)
        assert (found.first_index, found.last_index, len(found)) == (61, 100, 41)
        assert found.term_at(60) == 3 and found.term_at(59) is None
        assert found.at(61)[1] == 61
        assert found[0][1:] == (60, 3), "what PySyncObj reads as the entry before"
        assert found.getRaftCommitIndex() >= 60
        with pytest.raises(Fatal, match="entry 60 was asked for, and the log holds 61 to 100"):
            found.at(60)


def test_a_log_that_holds_nothing_but_its_base_goes_on(tmp_path: Path) -> None:
    log = filled(tmp_path, 9, term=3)
    log.setRaftCommitIndex(9)
    log.drop_prefix(9)
    assert (log.last_index, log.last_term, log.last_time_ns()) == (9, 3, 9)
    log.add(entry.NO_OP, 10, 4)
    log.close()
    again = opened(tmp_path)
    assert (again.base, again.last_index, again.last_time_ns()) == (Base(9, 3, 9), 10, 9)


def test_what_is_not_committed_is_never_dropped(tmp_path: Path) -> None:
    log = filled(tmp_path)
    log.setRaftCommitIndex(3)
    with pytest.raises(Fatal, match="dropped up to 4, and 3 entries are committed"):
        log.drop_prefix(4)


def test_segments_without_a_kept_entry_are_deleted_and_every_suffix_is_a_whole_log(tmp_path: Path) -> None:
    log = filled(tmp_path, 1000, term=2)
    log.setCurrentTerm(5, "b")
    log.setRaftCommitIndex(990)
    log.onOneSecondTimer()
    before = len(list(tmp_path.glob("*.wal*")))
    for dropped in (100, 500, 900):
        log.drop_prefix(dropped)
        synced(log)
        log.close()
        log = opened(tmp_path)
        assert (log.base.index, log.last_index) == (dropped, 1000)
        assert (log.getCurrentTerm(), log.getVotedForNodeId(), log.getRaftCommitIndex()) == (5, "b", 990)
    assert len(list(tmp_path.glob("*.wal"))) < before / 4


def test_a_segment_begun_behind_an_entry_that_was_cut_is_not_what_a_log_begins_with(tmp_path: Path) -> None:
    log = opened(tmp_path)
    log.add(entry.NO_OP, 1, 0)
    while len(log._starts) < 3:
        log.add(entry.encode(log.last_index + 1, [b"old"]), log.last_index + 1, 1)
    behind = log.last_index - 1  # the entry that the newest segment begins behind
    log.deleteEntriesFrom(behind - 3)  # an offset: that entry goes, and two before it
    for index in range(behind - 2, behind + 5):
        log.add(entry.encode(1_000 + index, [b"new"]), index, 2)
    log.setRaftCommitIndex(behind + 4)
    log.drop_prefix(behind + 2)
    log.close()
    again = opened(tmp_path)
    assert (again.base.index, again.base.term, again.last_index) == (behind + 2, 2, behind + 4)
    assert again[:] == log[:]


def test_a_power_loss_between_any_two_deletions_leaves_the_same_log(tmp_path: Path) -> None:
    log = filled(tmp_path, 1000)
    log.setRaftCommitIndex(1000)
    synced(log)
    log.drop_prefix(900)
    log.close()
    whole = sorted(tmp_path.glob("*.wal"))
    assert len(whole) < 6
    expected = log[:]
    for path in whole[:-1]:
        again = opened(tmp_path)
        assert again[:] == expected
        starts = again._starts
        again.close()
        if not any(position > 0 and before <= 900 for position, before in starts[1:]):
            break
        path.unlink()


def test_a_log_begins_anew_behind_a_snapshot_that_is_ahead_of_it(tmp_path: Path) -> None:
    log = filled(tmp_path, 50, term=3)
    log.setCurrentTerm(8, "c")
    log.reset_to(Base(200, 7, 12345))
    assert log.durable_index == 200
    log.abandon()  # nothing is written any more, and all of it must be there
    log = opened(tmp_path)
    assert (log.base, log.last_index, log.last_term, log.last_time_ns()) == (Base(200, 7, 12345), 200, 7, 12345)
    assert (log.getCurrentTerm(), log.getVotedForNodeId(), log.getRaftCommitIndex()) == (8, "c", 200)
    for index in range(201, 500):
        log.add(entry.encode(20_000 + index, [b"after"]), index, 8)
    log.setRaftCommitIndex(480)
    log.drop_prefix(450)
    log.close()
    again = opened(tmp_path)
    assert (again.base.index, again.last_index) == (450, 499)
    assert min(tmp_path.glob("*.wal")).name > "00000000.wal"


def test_a_new_beginning_never_loses_a_committed_entry(tmp_path: Path) -> None:
    log = filled(tmp_path, 50)
    log.setRaftCommitIndex(40)
    with pytest.raises(Fatal, match="behind entry 39, and 40 entries are committed"):
        log.reset_to(Base(39, 1, 1))
