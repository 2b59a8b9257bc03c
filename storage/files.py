"""The one place that opens files for writing.

Everything durable goes through here, so that the rules stand in one file: a new or renamed name is durable only
after its directory was synced; a file that failed once is never written again.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from storage.errors import DirectoryInUse, WriteFailed


class AppendFile:
    """A file that only grows. Not thread-safe, except that `datasync`, `finish` and `rename` may run in another thread.

    `size` is where the next byte goes. The file itself may be longer: `preallocate` gives it its blocks and its length
    beforehand, so that a sync has no metadata to write, and a full disk is noticed at the beginning.
    """

    def __init__(self, path: Path, *, create: bool) -> None:
        """Open `path` for appending; `create` demands that it does not exist yet."""
        flags = os.O_WRONLY | os.O_CLOEXEC | (os.O_CREAT | os.O_EXCL if create else 0)
        self.path = path
        self._failed: WriteFailed | None = None
        try:
            self._fd = os.open(path, flags, 0o600)
            self.size = os.fstat(self._fd).st_size
        except OSError as error:
            raise WriteFailed(path, "open", error) from error

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append `data` to the page cache. Raises WriteFailed (disk full, I/O error), then and ever after."""
        self._check()
        view = memoryview(data)
        try:
            while view:
                written = os.pwrite(self._fd, view, self.size)
                self.size += written
                view = view[written:]
        except OSError as error:
            raise self._fail("write", error) from error

    def preallocate(self, size: int) -> None:
        """Make the file `size` bytes long, zeros behind what was written. Not synced."""
        self._check()
        try:
            if size > self.size:
                os.posix_fallocate(self._fd, 0, size)
        except OSError as error:
            raise self._fail("preallocate", error) from error

    def datasync(self) -> None:
        """Return once everything written is on the disk. Raises WriteFailed, then and ever after."""
        self._check()
        try:
            os.fdatasync(self._fd)
        except OSError as error:
            raise self._fail("fdatasync", error) from error

    def finish(self, size: int) -> None:
        """Nothing is written any more: give back what was preallocated behind `size`, and sync."""
        self._check()
        try:
            os.ftruncate(self._fd, size)
            os.fdatasync(self._fd)
        except OSError as error:
            raise self._fail("finish", error) from error

    def truncate(self, size: int) -> None:
        """Cut the file to `size` bytes, whatever was preallocated, and sync it."""
        self._check()
        try:
            os.ftruncate(self._fd, size)
            os.fsync(self._fd)
        except OSError as error:
            raise self._fail("truncate", error) from error
        self.size = size

    def rename(self, path: Path) -> None:
        """Give the file another name in the same directory, durably."""
        self._check()
        try:
            if self.path != path:
                self.path.rename(path)
        except OSError as error:
            raise self._fail("rename", error) from error
        self.path = path
        sync_directory(path.parent)

    def close(self) -> None:
        os.close(self._fd)

    def _check(self) -> None:
        if self._failed is not None:
            raise self._failed

    def _fail(self, action: str, error: OSError) -> WriteFailed:
        self._failed = WriteFailed(self.path, action, error)
        return self._failed


def sync_directory(path: Path) -> None:
    """Make the names in `path` durable."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
    except OSError as error:
        raise WriteFailed(path, "fsync of the directory", error) from error


def make_directory(path: Path) -> None:
    """Create `path` and its missing parents, durably."""
    missing = []
    while not path.is_dir():
        missing.append(path)
        path = path.parent
    for directory in reversed(missing):
        try:
            directory.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise WriteFailed(directory, "mkdir", error) from error
        sync_directory(directory.parent)


def remove(path: Path) -> None:
    """Delete the file `path`, durably."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise WriteFailed(path, "unlink", error) from error
    sync_directory(path.parent)


def replace(path: Path, data: bytes) -> None:
    """Write `data` as the whole content of `path`: after a crash the file holds the old or the new bytes."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        temporary.unlink(missing_ok=True)
        file = AppendFile(temporary, create=True)
        try:
            file.write(data)
            file.datasync()
        finally:
            file.close()
        temporary.replace(path)
    except OSError as error:
        raise WriteFailed(path, "replace", error) from error
    sync_directory(path.parent)


class DirectoryLock:
    """An exclusive lock on a data directory, held until `release` or the end of the process."""

    def __init__(self, directory: Path) -> None:
        """Take the lock. Raises DirectoryInUse."""
        path = directory / "lock"
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise WriteFailed(path, "open", error) from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._fd)
            raise DirectoryInUse(directory) from error

    def release(self) -> None:
        os.close(self._fd)
