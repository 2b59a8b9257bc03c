"""The write-ahead log: segments of records, appended in order, made durable in groups.

A *position* is the number of bytes ever appended before a record, over all segments. `append` only collects;
`write` puts what was collected into the page cache; a `SyncJob` makes it durable, in any thread. A promise that
depends on a record may leave once `durable_position` has reached the position that `append` returned.

    begin_sync (owner's thread) → SyncJob.run (any thread, blocks) → finish_sync (owner's thread)

Only the tail of the last segment may be torn: a segment is complete and durable before the next one is created.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

from storage import record
from storage.errors import Damaged, WriteFailed
from storage.files import AppendFile, DirectoryLock, make_directory, sync_directory
from storage.record import Record

SEGMENT_BYTES = 64 * 1024 * 1024
_SEGMENT_KIND = 0
_SEGMENT = struct.Struct("<8sQ")  # magic, number of the segment
_MAGIC = b"QAXWAL\x00\x01"


class SyncJob:
    """One fdatasync. `run` may be called in any thread, once."""

    __slots__ = ("file", "position")

    def __init__(self, file: AppendFile, position: int) -> None:
        self.file = file
        self.position = position

    def run(self) -> None:
        """Block until everything below `position` is on the disk. Raises WriteFailed: the node must stop."""
        self.file.datasync()


class Wal:
    """An open log. Owned by one thread; only `SyncJob.run` may run elsewhere."""

    def __init__(
        self, directory: Path, replay: Callable[[Record], None], *, segment_bytes: int = SEGMENT_BYTES
    ) -> None:
        """Open the log in `directory` (created if missing), lock it, and hand every record to `replay` in order.

        A torn tail of the last segment is cut. Raises DirectoryInUse; Damaged for anything else that is wrong.
        """
        make_directory(directory)
        self.directory = directory
        self._segment_bytes = segment_bytes
        self._buffer = bytearray()
        self._syncing = False
        self._retired: list[AppendFile] = []  # at most one per rotation during one sync
        self._lock = DirectoryLock(directory)
        try:
            self._file, self._number, self.end_position = self._load(replay)
        except BaseException:
            self._lock.release()
            raise
        self.durable_position = self.end_position

    def append(self, kind: int, payload: bytes) -> int:
        """Add a record (`kind` 1–255). Returns the position from which on `durable_position` covers it."""
        if self._file.size + len(self._buffer) >= self._segment_bytes:
            self._rotate()
        data = record.frame(self.end_position, kind, payload)
        self._buffer += data
        self.end_position += len(data)
        return self.end_position

    def write(self) -> None:
        """Hand everything appended so far to the page cache."""
        if self._buffer:
            self._file.write(self._buffer)
            self._buffer = bytearray()

    def begin_sync(self) -> SyncJob | None:
        """What is to be synced now; None if everything is durable or a job is on its way already."""
        if self._syncing or self.durable_position == self.end_position:
            return None
        self.write()
        self._syncing = True
        return SyncJob(self._file, self.end_position)

    def finish_sync(self, job: SyncJob) -> None:
        """Record that `job.run` returned."""
        self._syncing = False
        self.durable_position = max(self.durable_position, job.position)
        for file in self._retired:
            file.close()
        self._retired.clear()

    def sync(self) -> None:
        """Make everything durable, here and now."""
        self.write()
        self._file.datasync()
        self.durable_position = self.end_position

    def close(self) -> None:
        """Make everything durable and let the directory go."""
        try:
            self.sync()
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Let the directory go as a crash would: what was not written is lost."""
        for file in (*self._retired, self._file):
            file.close()
        self._retired.clear()
        self._lock.release()

    def _rotate(self) -> None:
        # Inline, once per segment: were the new segment written while the tail of the old one is not durable, a
        # power loss could tear a segment that is not the last, and that is indistinguishable from damage.
        self.sync()
        old = self._file
        self._number += 1
        self._file = self._create(self._number)
        if self._syncing:
            self._retired.append(old)  # its descriptor is in use by the sync thread
        else:
            old.close()

    def _create(self, number: int) -> AppendFile:
        file = AppendFile(self._path(number), create=True)
        data = record.frame(self.end_position, _SEGMENT_KIND, _SEGMENT.pack(_MAGIC, number))
        file.write(data)
        file.datasync()
        sync_directory(self.directory)
        self.end_position += len(data)
        self.durable_position = self.end_position
        return file

    def _path(self, number: int) -> Path:
        return self.directory / f"{number:08d}.wal"

    def _load(self, replay: Callable[[Record], None]) -> tuple[AppendFile, int, int]:
        paths = sorted(self.directory.glob("*.wal"))
        self.end_position = 0
        for number, path in enumerate(paths):
            if path != self._path(number):
                raise Damaged(self._path(number), 0, "the segment is missing")
            try:
                data = path.read_bytes()
            except OSError as error:
                raise WriteFailed(path, "read", error) from error
            last = number == len(paths) - 1
            records, fault = record.scan(data, self.end_position)
            if fault is not None and not (last and fault.torn):
                raise Damaged(path, fault.offset, fault.reason)
            if not records:
                if not last:
                    raise Damaged(path, 0, "the segment is empty, and it is not the last one")
                # A crash while the segment was being created: nothing was ever appended to it.
                path.unlink()
                sync_directory(self.directory)
                break
            head = records[0]
            if head.kind != _SEGMENT_KIND or head.payload != _SEGMENT.pack(_MAGIC, number):
                raise Damaged(path, 0, f"not segment {number} of a log that this version writes")
            for item in records[1:]:
                replay(item)
            self.end_position = records[-1].end
            if last:
                file = AppendFile(path, create=False)
                if fault is not None:
                    file.truncate(fault.offset)
                # A killed process leaves pages that nobody synced; what was replayed must be durable before
                # anything is promised on top of it.
                file.datasync()
                return file, number, self.end_position
        number = max(0, len(paths) - 1)
        return self._create(number), number, self.end_position
