"""The envelope of one Raft entry: what stands in the log, on the wire and in front of the state machine.

    type u8 (0) | version u8 | leader time ns u64 | count u32 | lengths u32 × count | commands | CRC-32C u32

Little endian, canonical: one value has one encoding, and every other byte string is refused. The leading byte is
PySyncObj's own command type (0 regular, 1 no-op); the rest is ours. PySyncObj would put a pickle there; this is
none, and nothing in this package unpickles anything (hazard P14).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

import google_crc32c

VERSION = 1
NO_OP = b"\x01"  # PySyncObj appends one at the start of every leadership, and as entry 1 of every log
REGULAR = 0
COMMANDS_MAX = 65_536  # of the format; the configured limits of a leader are far below
ENTRY_BYTES_MAX = 512 * 1024
_HEAD = struct.Struct("<BBQI")
_CHECKSUM = struct.Struct("<I")


class MalformedEntry(ValueError):
    """These bytes are not an entry: damaged, foreign, or written by a newer version."""


class Entry(NamedTuple):
    time_ns: int
    commands: tuple[bytes, ...]


def encode(time_ns: int, commands: Sequence[bytes]) -> bytes:
    """The one encoding of an entry stamped `time_ns` by its leader."""
    count = len(commands)
    body = b"".join(
        (
            _HEAD.pack(REGULAR, VERSION, time_ns, count),
            struct.pack(f"<{count}I", *map(len, commands)),
            *commands,
        )
    )
    return body + _CHECKSUM.pack(google_crc32c.value(body))


def decode(data: bytes) -> Entry:
    """The entry in `data`. Raises MalformedEntry for anything that `encode` would not have written."""
    time_ns, lengths = _check(data)
    commands = []
    start = _HEAD.size + 4 * len(lengths)
    for length in lengths:
        commands.append(data[start : start + length])
        start += length
    return Entry(time_ns, tuple(commands))


def verify(data: bytes) -> None:
    """Raise MalformedEntry unless `data` is a no-op or an intact entry."""
    if data != NO_OP:
        _check(data)


def time_of(data: bytes) -> int | None:
    """The leader's time of an entry that was verified before; None for a no-op, which carries none."""
    return None if data == NO_OP else _HEAD.unpack_from(data)[2]


def _check(data: bytes) -> tuple[int, tuple[int, ...]]:
    size = len(data)
    if size < _HEAD.size + _CHECKSUM.size or size > ENTRY_BYTES_MAX:
        raise MalformedEntry(f"an entry of {size} bytes")
    kind, version, time_ns, count = _HEAD.unpack_from(data)
    if kind != REGULAR or version != VERSION:
        raise MalformedEntry(f"entry type {kind}, version {version}; this node knows type 0, version {VERSION}")
    if not 1 <= count <= COMMANDS_MAX or time_ns >= 1 << 63:
        raise MalformedEntry(f"an entry of {count} commands, time {time_ns}")
    fixed = _HEAD.size + 4 * count + _CHECKSUM.size
    if size < fixed:
        raise MalformedEntry("the entry ends inside its table of lengths")
    lengths: tuple[int, ...] = struct.unpack_from(f"<{count}I", data, _HEAD.size)
    if fixed + sum(lengths) != size:
        raise MalformedEntry("the lengths of the commands do not add up to the entry")
    if google_crc32c.value(data[: -_CHECKSUM.size]) != _CHECKSUM.unpack_from(data, size - _CHECKSUM.size)[0]:
        raise MalformedEntry("the checksum of the entry is wrong")
    return time_ns, lengths
