"""PySyncObj's journal on our WAL: the Raft log, the hard state, and how much of both is durable.

PySyncObj's own `FileJournal` writes through mmap, never syncs and carries no checksum (hazard P3). This one keeps
the entries in memory as PySyncObj expects, as `(command, index, term)`, and every change as a record of the WAL.
Nothing is rewritten in place: a truncation is a record, and so is the removal of a prefix (reserved for snapshots;
hazard P10).
"""

from __future__ import annotations

import struct
from collections import deque
from pathlib import Path
from typing import Any

from pysyncobj.journal import Journal as PySyncObjJournal

from consensus import entry, hard_state
from consensus.errors import Fatal
from consensus.hard_state import HardState
from storage import wal
from storage.errors import Damaged
from storage.record import Record
from storage.wal import SyncJob, Wal

IDENTITY, ENTRY, TRUNCATE_FROM, DROP_PREFIX, HARD_STATE, COMMIT = range(1, 7)
_ENTRY = struct.Struct("<QQ")  # index, term
_INDEX = struct.Struct("<Q")

LogEntry = tuple[bytes, int, int]  # command, index, term: the shape that PySyncObj reads


class Journal(PySyncObjJournal):  # type: ignore[misc]
    """The log of one node. Everything but `SyncJob.run` belongs to the consensus thread."""

    def __init__(self, directory: Path, identity: str, *, segment_bytes: int = wal.SEGMENT_BYTES) -> None:
        """Open the log of the node `identity` ("cluster/node") in `directory`, replaying it; blocks.

        Raises storage.errors.DirectoryInUse or Damaged; Fatal if the log belongs to another node.
        """
        self._directory = directory
        self._identity: str | None = None
        self._entries: list[LogEntry] = []
        self._hard_state = HardState(0, None)
        self._commit_index = 0
        self._pending: deque[tuple[int, int]] = deque()  # (index, position), not durable yet; as long as the WAL's tail
        self._wal = Wal(directory, self._replay, segment_bytes=segment_bytes)
        try:
            self._claim(identity)
            if self._commit_index > self.last_index:
                raise Damaged(
                    directory, 0, f"entry {self._commit_index} was committed; the log ends at {self.last_index}"
                )
        except BaseException:
            self._wal.abandon()
            raise
        self._commit_recorded = self._commit_index
        self.durable_index = self.last_index
        self._hard_state_position = self._wal.durable_position

    # What PySyncObj calls; its names are not ours.

    def add(self, command: bytes, idx: int, term: int) -> None:
        if self._entries and idx != self._entries[-1][1] + 1:
            raise Fatal(f"entry {idx} was to follow entry {self._entries[-1][1]} in the log; this is a bug, report it")
        self._entries.append((command, idx, term))
        self._pending.append((idx, self._wal.append(ENTRY, _ENTRY.pack(idx, term) + command)))

    def clear(self) -> None:
        raise Fatal("the log was to be cleared; this is a bug, report it")  # hazard P11

    def deleteEntriesFrom(self, entryFrom: int) -> None:  # noqa: N802, N803
        if entryFrom >= len(self._entries):
            return
        index = self._entries[entryFrom][1]
        if index <= self._commit_index:
            raise Fatal(
                f"entry {index} was to be cut from the log, and {self._commit_index} entries are committed: two nodes "
                "disagree about committed data. Stop the cluster and keep the data directories of all nodes"
            )
        del self._entries[entryFrom:]
        self._wal.append(TRUNCATE_FROM, _INDEX.pack(index))
        while self._pending and self._pending[-1][0] >= index:
            self._pending.pop()
        self.durable_index = min(self.durable_index, index - 1)

    def deleteEntriesTo(self, entryTo: int) -> None:  # noqa: N802, N803
        raise Fatal("a prefix of the log was to be dropped, and there are no snapshots; this is a bug, report it")

    def __getitem__(self, item: Any) -> Any:
        return self._entries[item]

    def __len__(self) -> int:
        return len(self._entries)

    def setRaftCommitIndex(self, raftCommitIndex: int) -> None:  # noqa: N802, N803
        self._commit_index = max(self._commit_index, raftCommitIndex)

    def getRaftCommitIndex(self) -> int:  # noqa: N802
        """What is known to be committed: after a restart it is applied again without waiting for a leader."""
        return max(1, self._commit_index)

    def setCurrentTerm(self, term: int, votedForNodeId: str | None) -> None:  # noqa: N802, N803
        state = HardState(term, votedForNodeId)
        if state == self._hard_state:
            return
        if term < self._hard_state.term:
            raise Fatal(f"the term was to go back from {self._hard_state.term} to {term}; this is a bug, report it")
        self._hard_state = state
        self._hard_state_position = self._wal.append(HARD_STATE, hard_state.encode(state))

    def getCurrentTerm(self) -> int:  # noqa: N802
        return self._hard_state.term

    def getVotedForNodeId(self) -> str | None:  # noqa: N802
        return self._hard_state.vote

    def onOneSecondTimer(self) -> None:  # noqa: N802
        """Note the commit index once a second. It is a hint for the next start, so nothing waits for its sync."""
        if self._commit_index > self._commit_recorded:
            self._commit_recorded = self._commit_index
            self._wal.append(COMMIT, _INDEX.pack(self._commit_index))

    def _destroy(self) -> None:
        raise Fatal("PySyncObj was asked to close the log; its owner does that")

    # What the rest of this package calls.

    @property
    def last_index(self) -> int:
        return self._entries[-1][1] if self._entries else 0

    @property
    def last_term(self) -> int:
        return self._entries[-1][2] if self._entries else 0

    @property
    def first_index(self) -> int:
        return self._entries[0][1]

    @property
    def end_position(self) -> int:
        """Where the WAL ends: what is promised now must wait until `durable_position` gets here."""
        return self._wal.end_position

    @property
    def durable_position(self) -> int:
        return self._wal.durable_position

    @property
    def hard_state_durable(self) -> bool:
        return self._wal.durable_position >= self._hard_state_position

    def at(self, index: int) -> LogEntry:
        """The entry `index`, which must be in the log."""
        return self._entries[index - self._entries[0][1]]

    def term_at(self, index: int) -> int | None:
        """The term of entry `index`; None where the log has no such entry."""
        offset = index - self._entries[0][1]
        return self._entries[offset][2] if 0 <= offset < len(self._entries) else None

    def last_time_ns(self) -> int:
        """The leader's time of the newest entry that has one; 0 in a log without."""
        for command, _, _ in reversed(self._entries):
            time_ns = entry.time_of(command)
            if time_ns is not None:
                return time_ns
        return 0

    def write(self) -> None:
        self._wal.write()

    def begin_sync(self) -> SyncJob | None:
        return self._wal.begin_sync()

    def finish_sync(self, job: SyncJob) -> None:
        self._wal.finish_sync(job)
        durable = self._wal.durable_position
        while self._pending and self._pending[0][1] <= durable:
            self.durable_index = self._pending.popleft()[0]

    def close(self) -> None:
        """Make everything durable and release the directory."""
        self._wal.close()

    def abandon(self) -> None:
        """Release the directory as a crash would."""
        self._wal.abandon()

    # Replay.

    def _replay(self, record: Record) -> None:
        try:
            self._restore(record.kind, record.payload)
        except (ValueError, struct.error) as error:
            raise Damaged(self._directory, record.position, f"record kind {record.kind}: {error}") from error

    def _restore(self, kind: int, payload: bytes) -> None:
        if kind == ENTRY:
            index, term = _ENTRY.unpack_from(payload)
            if index != self.last_index + 1 or term < self.last_term:
                raise ValueError(f"entry {index} of term {term} after {self.last_index} of {self.last_term}")
            command = payload[_ENTRY.size :]
            entry.verify(command)
            self._entries.append((command, index, term))
        elif kind == TRUNCATE_FROM:
            (index,) = _INDEX.unpack(payload)
            if not self._commit_index < index <= self.last_index:
                raise ValueError(f"truncation from {index}; committed {self._commit_index}, last {self.last_index}")
            del self._entries[index - self._entries[0][1] :]
        elif kind == HARD_STATE:
            self._hard_state = hard_state.decode(payload)
        elif kind == COMMIT:
            (self._commit_index,) = _INDEX.unpack(payload)
        elif kind == IDENTITY:
            self._identity = payload.decode()
        else:
            raise ValueError("written by a newer version of this program; start that one")

    def _claim(self, identity: str) -> None:
        if self._identity is None:
            if self._entries:
                raise Damaged(self._directory, 0, "the log does not say whose it is")
            self._identity = identity
            self._wal.append(IDENTITY, identity.encode())
        elif self._identity != identity:
            raise Fatal(
                f"{self._directory} holds the log of {self._identity}, and this node is {identity}: two nodes with one "
                "log could vote twice. Correct the name, the cluster or the data directory in the configuration"
            )
