"""Snapshots on disk: one file each, whole or not there, checked before it is used.

    magic 8 | header length u32 | header (JSON) | body, opaque | length of all that u64 | BLAKE2b-256 of all that

A file is written under a temporary name, synced, renamed, its directory synced, and read back. What fails the check is
renamed to `*.damaged` and never deleted: the log behind it may be gone. The newest two that are sound are kept.
"""

from __future__ import annotations

import json
import logging
import os
import struct
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

from storage.errors import StorageError, WriteFailed
from storage.files import make_directory, remove, sync_directory

log = logging.getLogger(__name__)

FORMAT = 1
KEPT = 2
CHUNK_BYTES = 256 * 1024
HEADER_BYTES_MAX = 64 * 1024
_MAGIC = b"QAXSNAP\x01"
_LENGTH = struct.Struct("<I")
_TRAILER = struct.Struct("<Q32s")
_SUFFIX, _TEMPORARY, _DAMAGED = ".snapshot", ".tmp", ".damaged"


class DamagedSnapshot(StorageError):
    """A snapshot file is not whole, not what was written, or of a format that this version does not read."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path


@dataclass(frozen=True, slots=True)
class Header:
    """What a snapshot is of; nothing in it depends on the node."""

    cluster: str
    index: int  # of the last entry that it contains
    term: int  # of that entry
    time_ns: int  # the leader's time of the newest entry that has one
    digest: str  # of the state, hexadecimal
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A file that was found whole and undamaged."""

    path: Path
    header: Header
    body_start: int
    body_end: int

    def body(self) -> Iterator[bytes]:
        """The body in chunks. Raises WriteFailed if the disk does."""
        try:
            with self.path.open("rb") as file:
                file.seek(self.body_start)
                left = self.body_end - self.body_start
                while left and (chunk := file.read(min(CHUNK_BYTES, left))):
                    left -= len(chunk)
                    yield chunk
        except OSError as error:
            raise WriteFailed(self.path, "read", error) from error


class Draft:
    """A snapshot that is being written. `fd` stands where the body goes; end it with `finish` or `abort`."""

    def __init__(self, path: Path, header: Header) -> None:
        """Raises WriteFailed."""
        self._path = path
        self._temporary = path.with_name(path.name + _TEMPORARY)
        text = json.dumps({"format": FORMAT, **asdict(header)}, sort_keys=True).encode()
        try:
            self._temporary.unlink(missing_ok=True)
            self.fd = os.open(self._temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            os.write(self.fd, _MAGIC + _LENGTH.pack(len(text)) + text)
        except OSError as error:
            raise WriteFailed(self._temporary, "write", error) from error

    def finish(self) -> Path:
        """Make it durable under its name; blocks. Raises WriteFailed."""
        try:
            digest, size = blake2b(digest_size=32), 0
            while chunk := os.pread(self.fd, CHUNK_BYTES, size):
                digest.update(chunk)
                size += len(chunk)
            os.pwrite(self.fd, _TRAILER.pack(size, digest.digest()), size)
            os.fsync(self.fd)
            os.close(self.fd)
            self.fd = -1
            self._temporary.rename(self._path)
        except OSError as error:
            raise WriteFailed(self._temporary, "write", error) from error
        sync_directory(self._path.parent)
        return self._path

    def abort(self) -> None:
        """Throw it away. Nothing happens after `finish`."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
        self._temporary.unlink(missing_ok=True)


class SnapshotStore:
    """The snapshots of one node, in one directory."""

    def __init__(self, directory: Path) -> None:
        """Create `directory` if it is missing; what was never finished is deleted. Raises WriteFailed."""
        make_directory(directory)
        self._directory = directory
        for path in directory.glob(f"*{_SUFFIX}{_TEMPORARY}"):
            remove(path)

    def sound(self) -> list[Snapshot]:
        """The kept snapshots that are whole and undamaged, the newest first; reads all of each. Damaged ones are put
        aside with a warning. Raises WriteFailed."""
        found = []
        for path in sorted(self._directory.glob(f"*{_SUFFIX}"), reverse=True):
            try:
                found.append(verify(path))
            except DamagedSnapshot as error:
                log.error("%s; an older snapshot is used if there is one. Keep the file, check the disk", error)  # noqa: TRY400
                self.put_aside(path)
        return found

    def begin(self, header: Header) -> Draft:
        return Draft(self._directory / f"{header.index:020d}-{header.term}{_SUFFIX}", header)

    def complete(self, draft: Draft) -> Snapshot:
        """Make a draft durable, read it back, and let the older ones go that it makes superfluous; blocks.

        Raises WriteFailed; DamagedSnapshot if the disk gives back something else, and then no other one is touched.
        """
        path = draft.finish()
        try:
            snapshot = verify(path)
        except DamagedSnapshot:
            self.put_aside(path)
            raise
        for older in sorted(self._directory.glob(f"*{_SUFFIX}"), reverse=True)[KEPT:]:
            remove(older)
        return snapshot

    def put_aside(self, path: Path) -> None:
        """Rename a damaged snapshot, so that it is kept and never used."""
        try:
            path.rename(path.with_name(path.name + _DAMAGED))
        except OSError as error:
            raise WriteFailed(path, "rename", error) from error
        sync_directory(self._directory)


def verify(path: Path) -> Snapshot:
    """Read a whole file and check it. Raises DamagedSnapshot, WriteFailed."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size - _TRAILER.size
            prefix = file.read(len(_MAGIC) + _LENGTH.size)
            if len(prefix) < len(_MAGIC) + _LENGTH.size or size < len(prefix):
                raise DamagedSnapshot(path, "too short for a snapshot")
            if not prefix.startswith(_MAGIC):
                raise DamagedSnapshot(path, f"no snapshot of this program: it begins with {prefix!r}")
            (length,) = _LENGTH.unpack_from(prefix, len(_MAGIC))
            if length > min(HEADER_BYTES_MAX, size - len(prefix)):
                raise DamagedSnapshot(path, f"a header of {length} bytes is impossible")
            text = file.read(length)
            digest, left = blake2b(prefix + text, digest_size=32), size - len(prefix) - length
            while left and (chunk := file.read(min(CHUNK_BYTES, left))):
                digest.update(chunk)
                left -= len(chunk)
            trailer = file.read(_TRAILER.size)
    except OSError as error:
        raise WriteFailed(path, "read", error) from error
    if trailer != _TRAILER.pack(size, digest.digest()):
        raise DamagedSnapshot(path, "its length or its checksum is wrong: bytes were changed or lost")
    header = _header(path, text)
    if path.name != f"{header.index:020d}-{header.term}{_SUFFIX}":
        raise DamagedSnapshot(path, f"it is of entry {header.index} of term {header.term}: the file was renamed")
    return Snapshot(path, header, len(prefix) + length, size)


def _header(path: Path, text: bytes) -> Header:
    try:
        fields: dict[str, Any] = json.loads(text)
        found = fields.pop("format")
        if found != FORMAT:
            raise DamagedSnapshot(path, f"format {found!r}; this version reads {FORMAT}")
        return Header(**{**fields, "members": tuple(fields["members"])})
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DamagedSnapshot(path, f"its header cannot be read: {error}") from error
