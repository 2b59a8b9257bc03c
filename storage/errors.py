"""What can go wrong with bytes on disk.

StorageError
├── DirectoryInUse   another process holds the data directory
├── Damaged          bytes on disk are not what was written; says which file, where, and what to do
└── WriteFailed      a write or a sync failed; nothing after it may be promised: fail-stop
"""

from __future__ import annotations

from pathlib import Path


class StorageError(Exception):
    """Base of everything that storage raises."""


class DirectoryInUse(StorageError):
    """Another process holds the lock of this data directory."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} is in use by another process; stop that one, or give this node its own directory")
        self.path = path


class Damaged(StorageError):
    """A file does not hold what was written to it, and this is not a torn tail."""

    def __init__(self, path: Path, offset: int, reason: str) -> None:
        super().__init__(
            f"{path}, offset {offset}: {reason}. Do not edit or delete the file: records after this place may be "
            "acknowledged ones. Keep a copy, move the data directory away and bring the node back as a new member."
        )
        self.path = path
        self.offset = offset
        self.reason = reason


class WriteFailed(StorageError):
    """The operating system refused a write or a sync.

    Fail-stop: after a failed fsync the kernel may have dropped the dirty pages and report success the next time
    ("fsyncgate", 2018), so it is never retried.
    """

    def __init__(self, path: Path, action: str, cause: OSError) -> None:
        super().__init__(f"{path}: {action} failed: {cause.strerror or cause}; check the disk, then restart this node")
        self.path = path
        self.action = action
