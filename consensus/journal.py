"""PySyncObj's journal on our WAL: the Raft log, the hard state, and how much of both is durable.

PySyncObj's own `FileJournal` writes through mmap, never syncs and carries no checksum (hazard P3). This one keeps
the entries in memory as PySyncObj expects, as `(command, index, term)`, and every change as a record of the WAL.
Nothing is rewritten in place: a truncation is a record, and so are the removal of a prefix and a new beginning after a
snapshot (P10, P11). PySyncObj needs an entry at the beginning of its log; once a prefix is gone that is a stub of the
last entry dropped, the *base*: its index and term without its command.

Every segment of the WAL begins with all that is not entries (whose log, term and vote, commit index) and with the base
of what follows, so that older segments may be deleted.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from pysyncobj.journal import Journal as PySyncObjJournal

from consensus import entry, hard_state
from consensus.errors import Fatal
from consensus.hard_state import HardState
from storage import wal
from storage.errors import Damaged
from storage.record import Record
from storage.wal import Segment, SyncJob, Wal

IDENTITY, ENTRY, TRUNCATE_FROM, DROP_PREFIX, HARD_STATE, COMMIT, BASE, RESET = range(1, 9)
_ENTRY = struct.Struct("<QQ")  # index, term
_BASE = struct.Struct("<QQQ")  # index, term, time
_INDEX = struct.Struct("<Q")

LogEntry = tuple[bytes, int, int]  # command, index, term: the shape that PySyncObj reads


@dataclass(frozen=True, slots=True)
class Base:
    """The entry before the first one of a log, which the log holds no more."""

    index: int
    term: int
    time_ns: int  # the leader's time of the newest entry up to it


class Journal(PySyncObjJournal):  # type: ignore[misc]
    """The log of one node. Everything but `SyncJob.run` belongs to the consensus thread."""

    def __init__(self, directory: Path, identity: str, *, segment_bytes: int = wal.SEGMENT_BYTES) -> None:
        """Open the log of the node `identity` ("cluster/node") in `directory`, replaying it; blocks.

        Raises storage.errors.DirectoryInUse or Damaged; Fatal if the log belongs to another node.
        """
        self._directory = directory
        self._identity = identity
        self._base = Base(0, 0, 0)
        self._entries: list[LogEntry] = []  # the first is the stub of the base, if that has an index
        self._hard_state = HardState(0, None)
        self._commit_index = 0
        self._pending: deque[tuple[int, int]] = deque()  # (index, position), not durable yet; as long as the WAL's tail
        self._starts: list[tuple[int, int]] = []  # segments that a log may begin with: position, index of their base
        self._replayed = False  # a record was read: the log is not a new one
        self._wal = Wal(directory, self._replay, self._preamble, segment_bytes=segment_bytes)
        if self._commit_index > self.last_index:
            self._wal.abandon()
            raise Damaged(directory, 0, f"entry {self._commit_index} was committed; the log ends at {self.last_index}")
        self._commit_recorded = self._commit_index
        self.durable_index = self.last_index
        self._hard_state_position = self._wal.durable_position

    # What PySyncObj calls; its names are not ours.

    def add(self, command: bytes, idx: int, term: int) -> None:
        if self._entries and idx != self._entries[-1][1] + 1:
            raise Fatal(f"entry {idx} was to follow entry {self._entries[-1][1]} in the log; this is a bug, report it")
        # The WAL first, here and below: if a segment begins with this record, its preamble says what was before it.
        position = self._wal.append(ENTRY, _ENTRY.pack(idx, term) + command)
        self._entries.append((command, idx, term))
        self._pending.append((idx, position))

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
        self._wal.append(TRUNCATE_FROM, _INDEX.pack(index))
        self._cut(index)
        while self._pending and self._pending[-1][0] >= index:
            self._pending.pop()
        self.durable_index = min(self.durable_index, index - 1)

    def deleteEntriesTo(self, entryTo: int) -> None:  # noqa: N802, N803
        raise Fatal(
            "PySyncObj was to drop a prefix of the log, which only `drop_prefix` does; this is a bug, report it"
        )

    def __getitem__(self, item: Any) -> Any:
        return self._entries[item]

    def __len__(self) -> int:
        return len(self._entries)

    def setRaftCommitIndex(self, raftCommitIndex: int) -> None:  # noqa: N802, N803
        self._commit_index = max(self._commit_index, raftCommitIndex)

    def getRaftCommitIndex(self) -> int:  # noqa: N802
        """What is known to be committed: after a restart it is applied again without waiting for a leader."""
        return max(1, self._commit_index, self._base.index)

    def setCurrentTerm(self, term: int, votedForNodeId: str | None) -> None:  # noqa: N802, N803
        state = HardState(term, votedForNodeId)
        if state == self._hard_state:
            return
        if term < self._hard_state.term:
            raise Fatal(f"the term was to go back from {self._hard_state.term} to {term}; this is a bug, report it")
        self._hard_state_position = self._wal.append(HARD_STATE, hard_state.encode(state))
        self._hard_state = state

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
    def base(self) -> Base:
        """The entry before the first one; index 0 in a log that begins with its first entry."""
        return self._base

    @property
    def first_index(self) -> int:
        """The index of the first entry that the log holds, or will hold."""
        return self._base.index + 1

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
        """The entry `index`. Raises Fatal if the log does not hold it (any more)."""
        if not self.first_index <= index <= self.last_index:
            raise Fatal(
                f"entry {index} was asked for, and the log holds {self.first_index} to {self.last_index}; this is a "
                "bug, report it"
            )
        return self._entries[index - self._entries[0][1]]

    def term_at(self, index: int) -> int | None:
        """The term of entry `index`, which may be the base; None where the log has no such entry."""
        if not self._entries:
            return None
        offset = index - self._entries[0][1]
        return self._entries[offset][2] if 0 <= offset < len(self._entries) else None

    def last_time_ns(self) -> int:
        """The leader's time of the newest entry that has one; 0 in a log without."""
        return self._time_up_to(self.last_index)

    def drop_prefix(self, index: int) -> None:
        """Forget the entries up to `index`, which is committed, and let the segments go that hold nothing else.

        The caller has them in a snapshot that is durable and verified. Raises Fatal for what is not committed.
        """
        if index <= self._base.index:
            return
        if index > self._commit_index:
            raise Fatal(
                f"the log was to be dropped up to {index}, and {self._commit_index} entries are committed; this is a "
                "bug, report it"
            )
        self._wal.append(DROP_PREFIX, _INDEX.pack(index))
        self._drop(index)
        # Deleted are whole segments, in front of the newest one that begins before what is kept.
        start = max((position for position, before in self._starts if before <= index), default=0)
        self._starts = [item for item in self._starts if item[0] >= start]
        self._wal.prune(start)

    def reset_to(self, base: Base) -> None:
        """Begin anew behind `base`, which a snapshot covers; durable on return, blocks. Not while a sync is on its way.

        Raises Fatal if a committed entry would be lost that the snapshot does not cover.
        """
        if base.index < self._commit_index:
            raise Fatal(
                f"the log was to begin behind entry {base.index}, and {self._commit_index} entries are committed; this "
                "is a bug, report it"
            )
        self._wal.append(RESET, _BASE.pack(*astuple(base)))
        self._begin_behind(base)
        self._pending.clear()
        self._wal.sync()
        self.durable_index = base.index

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

    # The log in memory.

    def _begin_behind(self, base: Base) -> None:
        self._base = base
        self._entries = [(b"", base.index, base.term)] if base.index else []
        self._commit_index = max(self._commit_index, base.index)

    def _drop(self, index: int) -> None:
        term = self.term_at(index)
        assert term is not None
        rest = self._entries[index + 1 - self._entries[0][1] :]
        self._begin_behind(Base(index, term, self._time_up_to(index)))
        self._entries += rest

    def _cut(self, index: int) -> None:
        del self._entries[index - self._entries[0][1] :]
        # A segment that was begun behind an entry that is gone now does not tell what stands there instead.
        self._starts = [item for item in self._starts if item[1] < index]

    def _time_up_to(self, index: int) -> int:
        for held in range(index, self._base.index, -1):
            time_ns = entry.time_of(self.at(held)[0])
            if time_ns is not None:
                return time_ns
        return self._base.time_ns

    # Replay.

    def _preamble(self, segment: Segment) -> Iterator[tuple[int, bytes]]:
        base = Base(self.last_index, self.last_term, self.last_time_ns())
        self._starts.append((segment.start, base.index))
        yield IDENTITY, self._identity.encode()
        yield HARD_STATE, hard_state.encode(self._hard_state)
        yield COMMIT, _INDEX.pack(self._commit_index)
        yield BASE, _BASE.pack(*astuple(base))

    def _replay(self, record: Record, segment: Segment) -> None:
        try:
            self._restore(record.kind, record.payload, segment)
        except (ValueError, struct.error) as error:
            raise Damaged(segment.path, record.position - segment.start, f"kind {record.kind}: {error}") from error
        self._replayed = True

    def _restore(self, kind: int, payload: bytes, segment: Segment) -> None:
        if kind == IDENTITY:
            self._check_identity(payload.decode())
        elif not self._replayed:
            raise ValueError("the log does not say whose it is")
        elif kind == ENTRY:
            index, term = _ENTRY.unpack_from(payload)
            if index != self.last_index + 1 or term < self.last_term:
                raise ValueError(f"entry {index} of term {term} after {self.last_index} of {self.last_term}")
            command = payload[_ENTRY.size :]
            entry.verify(command)
            self._entries.append((command, index, term))
        elif kind == TRUNCATE_FROM:
            (index,) = _INDEX.unpack(payload)
            if not max(self._commit_index, self._base.index) < index <= self.last_index:
                raise ValueError(f"truncation from {index}; committed {self._commit_index}, last {self.last_index}")
            self._cut(index)
        elif kind == DROP_PREFIX:
            (index,) = _INDEX.unpack(payload)
            if index > self.last_index:
                raise ValueError(f"a prefix up to {index} was dropped; the log ends at {self.last_index}")
            if index > self._base.index:
                self._drop(index)
        elif kind == HARD_STATE:
            self._hard_state = hard_state.decode(payload)
        elif kind == COMMIT:
            self._commit_index = max(self._commit_index, *_INDEX.unpack(payload))
        elif kind == BASE:
            self._restore_base(Base(*_BASE.unpack(payload)), segment)
        elif kind == RESET:
            base = Base(*_BASE.unpack(payload))
            if base.index < self._commit_index:
                raise ValueError(f"a beginning behind {base.index}; committed {self._commit_index}")
            self._begin_behind(base)
        else:
            raise ValueError("written by a newer version of this program; start that one")

    def _restore_base(self, base: Base, segment: Segment) -> None:
        """Where a segment says that it begins: the first one is believed, the others must fit."""
        if not self._entries and self._base.index == 0:
            self._begin_behind(base)  # what was before it is committed, or it would not have been deleted
        elif (base.index, base.term) != (self.last_index, self.last_term):
            raise ValueError(
                f"the segment begins behind entry {base.index} of term {base.term}; the one before ends with "
                f"{self.last_index} of {self.last_term}"
            )
        self._starts.append((segment.start, base.index))

    def _check_identity(self, found: str) -> None:
        if found != self._identity:
            raise Fatal(
                f"{self._directory} holds the log of {found}, and this node is {self._identity}: two nodes with one "
                "log could vote twice. Correct the name, the cluster or the data directory in the configuration"
            )
