"""The write-ahead log: segments of records, appended in order, made durable in groups, dropped from the front.

A *position* is the number of bytes ever appended before a record, over all segments. `append` only collects;
`write` puts what was collected into the page cache; a `SyncJob` makes it durable, in any thread. A promise that
depends on a record may leave once `durable_position` has reached the position that `append` returned.

    begin_sync (owner's thread) → SyncJob.run (any thread, blocks) → finish_sync (owner's thread)

**Segments.** `00000007.wal` is preallocated and ends in zeros while it is the last one. A new segment begins under a
temporary name, `00000008.wal.new`, so that nobody waits for a disk when one is full: the sync that first covers it
makes the segments before it durable, then itself, then renames it. So a segment with its final name proves that
those before it are complete; only the last may be torn, anything else is damage. What stands under a temporary name
was never promised, and is dropped at start.

**Self-sufficiency.** Every segment begins with the records of `preamble`, so that a log whose older segments were
deleted (`prune`) can be read from its first remaining one.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from storage import record
from storage.errors import Damaged, WriteFailed
from storage.files import AppendFile, DirectoryLock, make_directory, remove, sync_directory
from storage.record import Record

SEGMENT_BYTES = 16 * 1024 * 1024
_SEGMENT_KIND = 0
_SEGMENT = struct.Struct("<8sQQ")  # magic, number of the segment, position of its first byte
_MAGIC = b"QAXWAL\x00\x02"
_UNPUBLISHED = ".new"


@dataclass(slots=True)
class Segment:
    """One file of the log."""

    number: int
    start: int  # position of its first byte
    path: Path  # under its final name


Replay = Callable[[Record, Segment], None]
Preamble = Callable[[Segment], Iterable[tuple[int, bytes]]]


@dataclass(slots=True)
class _Open:
    """A segment that may still have to be synced."""

    segment: Segment
    file: AppendFile
    published: bool  # it has its final name, and the directory knows
    end: int | None = None  # its size, once nothing is appended any more


class SyncJob:
    """Makes the log durable up to `position`. `run` may be called in any thread, once."""

    __slots__ = ("_doomed", "_files", "position")

    def __init__(self, files: list[tuple[_Open, int | None]], doomed: list[Path], position: int) -> None:
        self._files = files
        self._doomed = doomed
        self.position = position

    def run(self) -> None:
        """Block until everything below `position` is on the disk. Raises WriteFailed: the node must stop."""
        for item, end in self._files:
            if end is None:
                item.file.datasync()
            else:
                item.file.finish(end)
            if not item.published:
                item.file.rename(item.segment.path)  # everything before it is durable by now
        # One by one, the oldest first: a crash in between must leave the newest segments without a gap.
        for path in self._doomed:
            remove(path)


class Wal:
    """An open log. Owned by one thread; only `SyncJob.run` may run elsewhere."""

    def __init__(
        self,
        directory: Path,
        replay: Replay,
        preamble: Preamble,
        *,
        segment_bytes: int = SEGMENT_BYTES,
    ) -> None:
        """Open the log in `directory` (created if missing), lock it, and hand every record to `replay` in order, each
        with its segment.

        `preamble` is asked for the first records of every segment that is created: never before the replay is over,
        and before the record that did not fit the last one. A torn tail of the last segment is cut. Raises
        DirectoryInUse; Damaged for anything else that is wrong.
        """
        make_directory(directory)
        self.directory = directory
        self._segment_bytes = segment_bytes
        self._preamble = preamble
        self._buffer = bytearray()
        self._syncing: SyncJob | None = None
        self._doomed: list[Path] = []
        self.segments: list[Segment] = []  # what exists and was not pruned, the oldest first
        self._open: list[_Open] = []  # the last one is appended to; the others wait for the sync that completes them
        self.end_position = self.durable_position = 0
        self._lock = DirectoryLock(directory)
        try:
            self._load(replay)
            self.sync()
        except BaseException:
            self.abandon()
            raise

    def append(self, kind: int, payload: bytes) -> int:
        """Add a record (`kind` 1–255). Returns the position from which on `durable_position` covers it."""
        size = record.HEADER.size + len(payload) + len(record.END_MARK)
        if self._filled() + size > self._segment_bytes and self._filled() > self._preamble_bytes:
            self._rotate()
        return self._append(kind, payload)

    def write(self) -> None:
        """Hand everything appended so far to the page cache."""
        if self._buffer:
            self._open[-1].file.write(self._buffer)
            self._buffer = bytearray()

    def begin_sync(self) -> SyncJob | None:
        """What is to be synced now; None if everything is durable or a job is on its way already."""
        if self._syncing is not None or (self.durable_position == self.end_position and not self._doomed):
            return None
        self.write()
        doomed, self._doomed = self._doomed, []
        self._syncing = SyncJob([(item, item.end) for item in self._open], doomed, self.end_position)
        return self._syncing

    def finish_sync(self, job: SyncJob) -> None:
        """Record that `job.run` returned."""
        self._syncing = None
        self.durable_position = max(self.durable_position, job.position)
        for item, end in job._files:
            item.published = True
            if end is not None:
                item.file.close()
                self._open.remove(item)

    def sync(self) -> None:
        """Make everything durable, here and now. Not while a job runs in another thread.

        A job that was begun and never reported is run (again): a failed one fails again, and no step is done twice.
        """
        while (job := self._syncing or self.begin_sync()) is not None:
            job.run()
            self.finish_sync(job)

    def prune(self, position: int) -> None:
        """Let the next sync delete the segments that end at or before `position`; the last one always stays.

        They go only after everything that was appended before this call is durable.
        """
        while len(self.segments) > 1 and self.segments[1].start <= position:
            self._doomed.append(self.segments.pop(0).path)

    def close(self) -> None:
        """Make everything durable and let the directory go."""
        try:
            self.sync()
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Let the directory go as a crash would: what was not written is lost."""
        for item in self._open:
            item.file.close()
        self._open.clear()
        self._lock.release()

    def _append(self, kind: int, payload: bytes) -> int:
        data = record.frame(self.end_position, kind, payload)
        self._buffer += data
        self.end_position += len(data)
        return self.end_position

    def _filled(self) -> int:
        return self._open[-1].file.size + len(self._buffer)

    def _rotate(self) -> None:
        self.write()
        last = self._open[-1]
        last.end = last.file.size
        self._create(last.segment.number + 1)

    def _create(self, number: int) -> None:
        path = self.directory / f"{number:08d}.wal"
        segment = Segment(number, self.end_position, path)
        file = AppendFile(path.with_name(path.name + _UNPUBLISHED), create=True)
        self._open.append(_Open(segment, file, published=False))
        file.preallocate(self._segment_bytes)
        self.segments.append(segment)
        self._append(_SEGMENT_KIND, _SEGMENT.pack(_MAGIC, number, segment.start))
        for kind, payload in self._preamble(segment):
            self._append(kind, payload)
        self._preamble_bytes = len(self._buffer)
        self.write()

    def _load(self, replay: Replay) -> None:
        for path in self.directory.glob(f"*.wal{_UNPUBLISHED}"):
            remove(path)
        self._preamble_bytes = 0
        paths = sorted(self.directory.glob("*.wal"))
        if not paths:
            self._create(0)
            return
        for path in paths:
            last = path == paths[-1]
            number = self._number_of(path)
            data = _read(path)
            segment = self._segment(path, number, data)
            records, fault = record.scan(data, segment.start)
            if fault is not None and not (last and fault.torn):
                raise Damaged(path, fault.offset, fault.reason)
            if not records or records[0].payload != _SEGMENT.pack(_MAGIC, number, segment.start):
                raise Damaged(path, 0, f"not segment {number} of a log that this version writes")
            self.segments.append(segment)
            for item in records[1:]:
                replay(item, segment)
            self.end_position = records[-1].end
        self._reopen(segment, fault, data)

    def _number_of(self, path: Path) -> int:
        """The number of the segment `path`, which must follow the one before it. The oldest may have any."""
        if self.segments:
            number = self.segments[-1].number + 1
        elif path.stem.isdecimal():
            number = int(path.stem)
        else:
            raise Damaged(path, 0, "not the name of a segment")
        expected = self.directory / f"{number:08d}.wal"
        if path != expected:
            raise Damaged(expected, 0, "the segment is missing")
        return number

    def _segment(self, path: Path, number: int, data: bytes) -> Segment:
        """Where the segment says that it begins; the checksum of its first record covers that."""
        if len(data) < record.HEADER.size + _SEGMENT.size:
            raise Damaged(path, 0, "the segment is too short to be one")
        magic, _, start = _SEGMENT.unpack_from(data, record.HEADER.size)
        if magic != _MAGIC:
            raise Damaged(path, 0, f"not segment {number} of a log that this version writes")
        if self.segments and start != self.end_position:
            raise Damaged(
                path, 0, f"the segment begins at position {start}; the one before ends at {self.end_position}"
            )
        return Segment(number, start, path)

    def _reopen(self, segment: Segment, fault: record.Fault | None, data: bytes) -> None:
        """Go on in the last segment, of which `data` was read.

        What was replayed must be durable before anything is promised on top of it. A killed process leaves pages that
        nobody synced. One that a failed sync has stopped leaves pages that are clean and not on the disk ("fsyncgate"):
        the next sync succeeds without writing them. So all of it is written again.
        """
        file = AppendFile(segment.path, create=False)
        self._open.append(_Open(segment, file, published=True))
        size = self.end_position - segment.start
        if fault is not None:
            file.truncate(size)
        file.size = 0
        file.write(memoryview(data)[:size])
        file.preallocate(self._segment_bytes)
        file.datasync()
        sync_directory(self.directory)
        self.durable_position = self.end_position


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise WriteFailed(path, "read", error) from error
