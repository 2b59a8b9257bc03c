"""The framing of one record in an append-only file, and the judgement of a bad one.

    header CRC u32 | payload length u32 | payload CRC u32 | kind u8 | payload | end mark u8     (little endian)

Both checksums are CRC-32C. The header CRC also covers the record's position in the log, so that a block that
turns up at another place is not taken for a record. The header has its own CRC so that a damaged length is never
believed: it would turn one flipped bit into "the file ends here".

A file may be longer than its records: a preallocated one ends in zeros. The end mark is never zero, and no flipped bit
makes it zero, so the last byte that is not zero is the end of a record, or a place inside one that was not written to
its end. Without it, a payload that ends in zeros could not be told from one that a crash cut short.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import NamedTuple

import google_crc32c

HEADER = struct.Struct("<IIIB")
_COVERED = struct.Struct("<QIIB")  # position, length, payload CRC, kind
PAYLOAD_BYTES_MAX = 16 * 1024 * 1024
END_MARK = b"\xa5"
_SECTOR = 512


class Record(NamedTuple):
    position: int  # of its first byte in the log
    kind: int
    payload: bytes
    end: int  # position behind its last byte


@dataclass(frozen=True, slots=True)
class Fault:
    """The first place of a file where no valid record begins."""

    offset: int
    torn: bool  # the bytes look like a write that a crash cut short
    reason: str


def frame(position: int, kind: int, payload: bytes) -> bytes:
    """The bytes of one record that will stand at `position`. `kind` is 0–255."""
    length = len(payload)
    if length > PAYLOAD_BYTES_MAX:
        raise ValueError(f"a record of {length} bytes; the limit is {PAYLOAD_BYTES_MAX}")
    checksum = google_crc32c.value(payload)
    header_checksum = google_crc32c.value(_COVERED.pack(position, length, checksum, kind))
    return HEADER.pack(header_checksum, length, checksum, kind) + payload + END_MARK


def scan(data: bytes, base: int) -> tuple[list[Record], Fault | None]:
    """All records of a file whose first byte has position `base`, and why the scan stopped before the end.

    Zeros behind the last record are no fault.
    """
    records: list[Record] = []
    offset, size = 0, len(data)
    written = len(data.rstrip(b"\0"))  # everything from here on is zeros, or the end of the file
    while offset < written:
        start = offset + HEADER.size
        if start > size:
            return records, Fault(offset, True, "the file ends inside a record header")
        header_checksum, length, checksum, kind = HEADER.unpack_from(data, offset)
        if not _header_valid(header_checksum, base + offset, length, checksum, kind):
            # A record that was written to its end has its mark behind the header.
            torn = written <= start or _header_never_written(data, offset, base)
            return records, Fault(offset, torn, "the checksum of a record header is wrong")
        end = start + length + len(END_MARK)
        if end > size:
            return records, Fault(offset, True, "the file ends inside a record")
        if end > written:
            return records, Fault(offset, True, "nothing is written from inside a record on")
        payload = data[start : start + length]
        if google_crc32c.value(payload) != checksum or data[end - 1 : end] != END_MARK:
            torn = _payload_never_written(data, offset, end)
            return records, Fault(offset, torn, f"the checksum of a record of {length} bytes is wrong")
        records.append(Record(base + offset, kind, payload, base + end))
        offset = end
    return records, None


# A killed process leaves a shorter file. A power loss leaves a shorter file, or zeros from some place to the end of a
# sector (or of several, as a file system writes pages) where the data had not reached the disk. A flipped bit leaves
# neither, and must never be mistaken for a torn write: the record may have been acknowledged.


def _header_valid(header_checksum: int, position: int, length: int, checksum: int, kind: int) -> bool:
    computed: int = google_crc32c.value(_COVERED.pack(position, length, checksum, kind))
    return computed == header_checksum


def _header_never_written(data: bytes, start: int, base: int) -> bool:
    """Whether a crash can have left this invalid header: a sector that holds a part of it was not written.

    Only the sectors of the header itself are looked at. Zeros further on prove nothing: they may be the payload of
    a later record, and its being there would hide every record behind a flipped bit.
    """
    size, end = len(data), start + HEADER.size
    boundary = (start // _SECTOR + 1) * _SECTOR
    parts = [(start, min(boundary, size))]
    if boundary < end:
        parts.append((boundary, min(boundary + _SECTOR, size)))
    if all(any(data[first:last]) for first, last in parts):
        return False
    return not _one_bit_off(data[start:end], base + start)


def _one_bit_off(header: bytes, position: int) -> bool:
    """Whether one flipped bit made the header invalid: a short piece of it may be zeros because of that."""
    for bit in range(len(header) * 8):
        flipped = bytearray(header)
        flipped[bit // 8] ^= 1 << bit % 8
        header_checksum, length, checksum, kind = HEADER.unpack(flipped)
        if _header_valid(header_checksum, position, length, checksum, kind):
            return True
    return False


def _payload_never_written(data: bytes, start: int, end: int) -> bool:
    """Whether a crash can have left the payload of this record, whose header is valid: a sector was not written.

    The last piece ends with the mark, so zeros there prove it however short they are.
    """
    sector = (start // _SECTOR + 1) * _SECTOR
    while sector < end:
        piece = data[sector : min(sector + _SECTOR, end)]
        if not any(piece):
            return True
        sector += _SECTOR
    return False
