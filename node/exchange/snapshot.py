"""The whole state as a stream of bytes, and back.

The stream is canonical: machines that applied the same log write the same bytes, and so does a machine that was
restored from them. It is written row by row from the live state, without a second copy of it; nothing may be applied
meanwhile (`node.snapshotting` forks).

Rows are arrays whose first item is a tag: the header, the rows of `SECTIONS` in their order, the trailer with the
number of rows of each section.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

import msgspec

from node.exchange import frames, invariants
from node.exchange.frames import SnapshotError
from node.exchange.sections import SECTIONS, Rows, drop_emptied

if TYPE_CHECKING:
    from node.exchange.machine import Machine

HEADER: Final = 0
TRAILER: Final = len(SECTIONS) + 1
SCHEMA: Final = [[section.name, list(section.columns)] for section in SECTIONS]


class Summary(msgspec.Struct, frozen=True):
    """What a whole, undamaged snapshot says of itself."""

    index: int  # log index of the last applied entry
    time_ns: int
    digest: bytes  # the machine's, 32 bytes
    trading_day: int  # YYYYMMDD
    rows: int
    size_bytes: int
    seal: bytes  # the running hash over all of it, 16 bytes: equal states have equal seals


def take(machine: Machine) -> Iterator[bytes]:
    """The machine's whole state, in chunks of at most `frames.FRAME_MAX` bytes. Nothing may be applied until the end.

    Raises:
        SnapshotError: the state holds what no snapshot can; a bug.
    """
    assert not machine.matcher.moved, "a snapshot is taken between commands"
    return frames.write(_rows(machine))


def _rows(machine: Machine) -> Rows:
    yield (HEADER, machine.index, machine.time_ns, machine.digest(), machine.trading_day, SCHEMA)
    counts = []
    for tag, section in enumerate(SECTIONS, 1):
        count = 0
        for row in section.rows(machine):
            yield (tag, *row)
            count += 1
        counts.append(count)
    yield (TRAILER, counts)


def verify(chunks: Iterable[bytes]) -> Summary:
    """Read a stream to its end without building a machine. Raises SnapshotError if it is not whole and undamaged."""
    return _read(chunks, None)


def restore(machine: Machine, chunks: Iterable[bytes]) -> Summary:
    """Put a snapshot into a fresh machine, which then holds the same state as the one that wrote it.

    Raises:
        SnapshotError: the stream is damaged, not whole, of another version, or contradicts itself. The machine is then
            to be thrown away.
    """
    assert machine.index == 0, "a snapshot is restored into a fresh machine"
    summary = _read(chunks, machine)
    drop_emptied(machine)
    try:
        invariants.check(machine)
    except invariants.InvariantError as error:
        raise SnapshotError(f"the restored state contradicts itself: {error}") from error
    return summary


def _read(chunks: Iterable[bytes], machine: Machine | None) -> Summary:
    reader = frames.Reader(chunks)
    rows = reader.rows()
    header = _header(next(rows, None))
    counts = [0] * len(SECTIONS)
    tag = HEADER
    total = 1
    for row in rows:
        if tag == TRAILER:
            raise SnapshotError(f"{reader.where()}: more rows after the trailer")
        total += 1
        before, tag = tag, row[0]
        if type(tag) is not int or not max(before, 1) <= tag <= TRAILER:
            raise SnapshotError(f"{reader.where()}: a row with tag {tag!r} after tag {before}")
        if tag == TRAILER:
            if row[1:] != [counts]:
                raise SnapshotError(f"{reader.where()}: the trailer counts {row[1:]}, found were {counts}")
            continue
        section = SECTIONS[tag - 1]
        counts[tag - 1] += 1
        if machine is not None:
            try:
                section.load(machine, row[1:])
            except (LookupError, TypeError, ValueError, AttributeError, AssertionError) as error:
                raise SnapshotError(
                    f"{reader.where()}: row {counts[tag - 1]} of section {section.name}: "
                    f"{type(error).__name__}: {error}"
                ) from error
    if tag != TRAILER:
        raise SnapshotError(f"the stream ends at byte {reader.bytes_read}, before its trailer")
    if machine is not None:
        machine._digest = header[2]
        found = (machine.index, machine.time_ns, machine.trading_day)
        if found != (header[0], header[1], header[3]):
            raise SnapshotError(f"the header says {header[0], header[1], header[3]}, the state {found}")
    return Summary(*header, total, reader.bytes_read, reader.running)


def _header(row: list[Any] | None) -> tuple[int, int, bytes, int]:
    """(index, time_ns, digest, trading_day). Raises SnapshotError if this version cannot read what follows."""
    if row is None:
        raise SnapshotError("the stream ends before its header")
    if len(row) != 6 or row[0] != HEADER or not isinstance(row[3], bytes) or len(row[3]) != 32:
        raise SnapshotError(f"the first row is no header: {row!r:.200}")
    if row[5] != SCHEMA:
        raise SnapshotError(f"written by another version: {_difference(row[5])}")
    index, time_ns, digest, trading_day = row[1:5]
    return index, time_ns, digest, trading_day


def _difference(schema: Any) -> str:
    """The first section or column in which a foreign schema differs from ours."""
    try:
        theirs = dict(schema)
    except (TypeError, ValueError):
        return f"schema {schema!r:.200}"
    ours = {section.name: list(section.columns) for section in SECTIONS}
    for name in (*ours, *theirs):
        if name not in theirs:
            return f"it has no section {name}"
        if name not in ours:
            return f"section {name} is unknown here"
        if ours[name] != theirs[name]:
            mine, other = ours[name], theirs[name]
            missing = [column for column in mine if column not in other]
            extra = [column for column in other if column not in mine]
            return f"section {name}: missing {missing}, unknown {extra}, {len(other)} columns"
    return "the sections have another order"
