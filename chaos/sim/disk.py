"""The virtual disk: real files in a scratch directory, and a record of what of them would survive a power loss.

`storage.files` is the one place that writes; `Disk` stands in for its `os`. Reading, locking and listing stay real.

* a crash of the process keeps everything that was written: nothing to do here;
* a power loss keeps what was synced. Of the rest it keeps any sectors, or any length, and a name that was made,
  replaced or removed since its directory was synced may be there or not;
* a sync that fails leaves the pages clean, so that a later sync of the same bytes succeeds without writing them
  ("fsyncgate"); they are gone with the next power loss.
"""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from storage import files

SECTOR_BYTES = 512
_SHADOW = ".shadow"  # beside the files of a directory: hard links to what its last sync made durable


@dataclass(slots=True)
class _Inode:
    """The bytes of one file, which is written from its beginning to its end. It may be longer: preallocated."""

    written: int = 0
    synced: int = 0  # everything below is on the disk
    holes: list[tuple[int, int]] = field(default_factory=list)  # what a failed sync left in the page cache only


@dataclass(slots=True)
class _Open:
    path: Path
    number: int  # of the inode; 0 for a directory


@dataclass(slots=True)
class Marks:
    """How much of each file had been written when a sync began: all that it will have made durable."""

    written: dict[int, int] = field(default_factory=dict)


class Disk:
    """Stands in for the module `os` inside `storage.files`. One for all nodes: each writes below a root of its own."""

    def __init__(self) -> None:
        self._inodes: dict[int, _Inode] = {}
        self._open: dict[int, _Open] = {}
        self._names: dict[Path, dict[str, int]] = {}  # directory → name → inode, as of its last sync
        self._marks: Marks | None = None
        self.failing: set[Path] = set()  # roots whose syncs fail

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    # What `storage.files` calls.

    def open(self, path: Path, flags: int, mode: int = 0o777) -> int:
        fd = os.open(path, flags, mode)
        number = 0 if flags & os.O_DIRECTORY else os.fstat(fd).st_ino
        self._open[fd] = _Open(Path(path), number)
        if number:
            if os.fstat(fd).st_size == 0:
                self._inodes[number] = _Inode()  # new, or an inode number that is used again
            else:
                self._inodes.setdefault(number, _Inode(os.fstat(fd).st_size, os.fstat(fd).st_size))
        return fd

    def close(self, fd: int) -> None:
        self._open.pop(fd, None)
        os.close(fd)

    def fdatasync(self, fd: int) -> None:
        self._sync(fd)

    def fsync(self, fd: int) -> None:
        self._sync(fd)

    def ftruncate(self, fd: int, size: int) -> None:
        os.ftruncate(fd, size)
        inode = self._inodes[self._open[fd].number]
        inode.written, inode.synced = min(inode.written, size), min(inode.synced, size)

    def pwrite(self, fd: int, data: memoryview, offset: int) -> int:
        """What is written again is one more time on its way, also what a failed sync had dropped."""
        count = os.pwrite(fd, data, offset)
        inode = self._inodes[self._open[fd].number]
        inode.written = offset + count  # nothing is ever written but at the end, which a start may move back
        inode.synced = min(inode.synced, offset)
        inode.holes = [hole for hole in inode.holes if hole[0] < offset]
        return count

    def _sync(self, fd: int) -> None:
        handle = self._open[fd]
        if not handle.number:
            self._sync_names(handle.path)
            return
        inode = self._inodes[handle.number]
        if any(root in handle.path.parents for root in self.failing):
            inode.holes.append((inode.synced, inode.written))
            inode.synced = inode.written
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        written = inode.written
        if self._marks is not None:
            written = min(written, self._marks.written.get(handle.number, written))
        inode.synced = max(inode.synced, written)

    def _sync_names(self, directory: Path) -> None:
        shadow = directory / _SHADOW
        shadow.mkdir(exist_ok=True)
        names = _listing(directory)
        self._names[directory] = names
        for number in set(names.values()):
            link = shadow / str(number)
            if not link.exists():
                os.link(next(directory / name for name, other in names.items() if other == number), link)
        for link in shadow.iterdir():
            if int(link.name) not in names.values():
                link.unlink()

    # What happens to it.

    def marks(self, root: Path) -> Marks:
        """What has been written below `root` by now."""
        return Marks(
            {
                handle.number: self._inodes[handle.number].written
                for handle in self._open.values()
                if handle.number and root in handle.path.parents
            }
        )

    @contextmanager
    def as_of(self, marks: Marks) -> Iterator[None]:
        """Syncs inside cover only what had been written at `marks`: it is then that they began."""
        self._marks = marks
        try:
            yield
        finally:
            self._marks = None

    def power_loss(self, root: Path, rng: random.Random | None = None) -> str:
        """Everything below `root` loses what was not synced; `rng` decides what of it survives by chance, None:
        nothing does. The files are closed. Returns what was lost, for the trace."""
        lost = []
        for directory in _directories(root):
            self._lose_names(directory, rng)
            for name, number in _listing(directory).items():
                inode, path = self._inodes.get(number), directory / name
                if inode is None:
                    continue
                for start, end in inode.holes:
                    _zero(path, start, end)
                    lost.append(f"{name}: {end - start} bytes whose sync had failed")
                if inode.synced < inode.written:
                    kept = _lose_bytes(path, inode.synced, inode.written, rng)
                    lost.append(f"{name}: of {inode.written - inode.synced} unsynced bytes {kept}")
                written = min(inode.written, path.stat().st_size)
                self._inodes[number] = _Inode(written, written)
        return "; ".join(lost) or "everything was synced"

    def _lose_names(self, directory: Path, rng: random.Random | None) -> None:
        durable = self._names.get(directory)
        if durable is None:
            return
        present = _listing(directory)
        for name in sorted(durable.keys() | present.keys()):
            before, after = durable.get(name), present.get(name)
            if before == after or (rng is not None and rng.random() < 0.5):
                continue
            if after is not None:
                (directory / name).unlink()
            if before is not None:
                os.link(directory / _SHADOW / str(before), directory / name)

    def flip_bit(self, root: Path, rng: random.Random) -> str | None:
        """Flip one bit of the log below `root`, somewhere that is synced. None if nothing is."""
        choice = [
            (directory / name, self._inodes[number].synced)
            for directory in _directories(root)
            for name, number in _listing(directory).items()
            if number in self._inodes and self._inodes[number].synced > 0
        ]
        if not choice:
            return None
        path, size = rng.choice(choice)
        offset, bit = rng.randrange(size), rng.randrange(8)
        with path.open("r+b") as file:
            file.seek(offset)
            byte = file.read(1)[0] ^ (1 << bit)
            file.seek(offset)
            file.write(bytes([byte]))
        return f"bit {bit} of byte {offset} of {path.name}"


def _directories(root: Path) -> list[Path]:
    if not root.is_dir():
        return []
    return sorted(Path(path) for path, _, _ in os.walk(root) if Path(path).name != _SHADOW)


def _listing(directory: Path) -> dict[str, int]:
    """The files of a directory and their inodes, in the order of their names."""
    with os.scandir(directory) as entries:
        return dict(sorted((entry.name, entry.inode()) for entry in entries if entry.is_file(follow_symlinks=False)))


def _lose_bytes(path: Path, synced: int, written: int, rng: random.Random | None) -> str:
    """Drop what stands between `synced` and `written`, or a part of it."""
    dice = 0.0 if rng is None else rng.random()
    if rng is None or dice < 0.6:
        kept = synced if rng is None or dice < 0.3 else rng.randint(synced, written)
        if dice * 10 % 1 < 0.5:
            os.truncate(path, kept)  # its new length was not on the disk either
        else:
            _zero(path, kept, written)
        return f"{kept - synced} survived"
    # Of the new sectors only some hold what was written; the rest reads as zeros.
    zeroed, start = 0, synced
    while start < written:
        end = min(written, (start // SECTOR_BYTES + 1) * SECTOR_BYTES)
        if rng.random() < 0.5:
            _zero(path, start, end)
            zeroed += end - start
        start = end
    return f"{zeroed} became zeros"


def _zero(path: Path, start: int, end: int) -> None:
    with path.open("r+b") as file:
        file.seek(start)
        file.write(bytes(max(0, end - start)))


@contextmanager
def recording() -> Iterator[Disk]:
    """`storage.files` writes through a virtual disk inside."""
    disk = Disk()
    with mock.patch.object(files, "os", disk):
        yield disk


def installed() -> Disk:
    """The disk of the `recording` (or `virtual_time`) around the caller."""
    disk = vars(files)["os"]
    if not isinstance(disk, Disk):
        raise RuntimeError("a simulated node needs a virtual disk: use it inside chaos.sim.clock.virtual_time")  # noqa: TRY004
    return disk
