"""A snapshot as a stream of bytes: frames of bounded size, each vouched for by a running hash.

    stream  = MAGIC format frame*
    frame   = payload length (4 bytes, big-endian) · h[n] (16 bytes) · payload
    h[n]    = BLAKE2b-128(h[n-1] · payload), h[-1] = MAGIC format
    payload = MessagePack array32 of rows; a row is an array whose first item is its tag

A frame is believed only after its hash, and its hash covers everything before it: a flipped bit, a lost, repeated or
exchanged frame is found where it stands, before anything in it is read. That the stream is whole is for the rows to say
(`snapshot`: the last one is the trailer). How the stream is cut into chunks on its way does not matter.

Integers are MessagePack's where 64 bits hold them; the others are extension 1: big-endian two's complement in
bit_length // 8 + 1 bytes. So one value has one encoding, and equal states have equal bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from hashlib import blake2b
from typing import Any, Final

import msgspec

MAGIC: Final = b"QAXSNAP\x00"
FORMAT: Final = 1
FORMAT_BYTES: Final = 2
PREFIX: Final = MAGIC + FORMAT.to_bytes(FORMAT_BYTES, "big")
LENGTH_BYTES: Final = 4
HASH_BYTES: Final = 16
HEAD_BYTES: Final = LENGTH_BYTES + HASH_BYTES
FRAME_MAX: Final = 256 * 1024  # bytes of a frame, head included
FRAME_FULL: Final = 128 * 1024  # a payload that has reached this is sent
ARRAY32: Final = 0xDD
ARRAY_HEAD_BYTES: Final = 5
BIG_INTEGER: Final = 1  # MessagePack extension

Row = tuple[object, ...]

_encoder: Final = msgspec.msgpack.Encoder()


class SnapshotError(ValueError):
    """A stream that is no whole and undamaged snapshot for this version; says what is wrong, and where."""


def write(rows: Iterable[Row]) -> Iterator[bytes]:
    """The stream of some rows, in chunks of at most `FRAME_MAX` bytes.

    Raises:
        SnapshotError: a row is larger than a frame (its section should have cut it), or holds what is no plain value.
    """
    running = PREFIX
    yield PREFIX
    payload = bytearray(ARRAY_HEAD_BYTES)
    count = 0
    for row in rows:
        began = len(payload)
        try:
            _encoder.encode_into(row, payload, -1)
        except OverflowError:
            del payload[began:]
            _encoder.encode_into(_widened(row), payload, -1)
        except TypeError as error:
            raise SnapshotError(f"row {row!r:.200} holds what is no plain value: {error}") from error
        count += 1
        if len(payload) >= FRAME_FULL:
            if len(payload) > FRAME_MAX - HEAD_BYTES:
                raise SnapshotError(f"a row of {len(payload) - began} bytes does not fit a frame: {row!r:.200}")
            running, frame = _frame(running, payload, count)
            yield frame
            payload = bytearray(ARRAY_HEAD_BYTES)
            count = 0
    if count:
        yield _frame(running, payload, count)[1]


def _frame(running: bytes, payload: bytearray, count: int) -> tuple[bytes, bytes]:
    payload[0] = ARRAY32
    payload[1:ARRAY_HEAD_BYTES] = count.to_bytes(ARRAY_HEAD_BYTES - 1, "big")
    running = blake2b(running + payload, digest_size=HASH_BYTES).digest()
    return running, len(payload).to_bytes(LENGTH_BYTES, "big") + running + payload


def _widened(value: object) -> object:
    """The same value, with every integer that 64 bits do not hold as an extension.

    Not inside of a struct: that is a command or what became of one, and such integers never passed its codec.
    """
    if isinstance(value, int):
        if -(2**63) <= value < 2**64:
            return value
        return msgspec.msgpack.Ext(BIG_INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))
    if isinstance(value, tuple | list):
        return [_widened(item) for item in value]
    return value


def _extension(code: int, data: memoryview) -> int:
    value = int.from_bytes(data, "big", signed=True)
    if code != BIG_INTEGER or -(2**63) <= value < 2**64 or len(data) != value.bit_length() // 8 + 1:
        raise SnapshotError(f"extension {code} of {len(data)} bytes is no integer beyond 64 bits in its only form")
    return value


_decoder: Final[msgspec.msgpack.Decoder[list[list[Any]]]] = msgspec.msgpack.Decoder(
    list[list[Any]], ext_hook=_extension
)


class Reader:
    """The rows of a stream, each frame checked before it is read. `frame` and `offset` say where the reader is."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self.frame = -1  # the one whose rows are being handed out; -1: before the first
        self.offset = 0  # its first byte in the stream
        self.bytes_read = 0  # of frames that were checked
        self.running = PREFIX  # the hash after `frame`
        self._chunks = iter(chunks)
        self._buffer = bytearray()

    def where(self) -> str:
        return f"frame {self.frame} at byte {self.offset}"

    def rows(self) -> Iterator[list[Any]]:
        """Raises SnapshotError."""
        prefix = self._take(len(PREFIX), "its beginning")
        if not prefix.startswith(MAGIC):
            raise SnapshotError(f"no snapshot: it begins with {prefix!r}")
        if prefix != PREFIX:
            found = int.from_bytes(prefix[len(MAGIC) :], "big")
            raise SnapshotError(f"format {found}; this version reads format {FORMAT}")
        while self._more():
            self.frame += 1
            self.offset = self.bytes_read
            head = self._take(HEAD_BYTES, "the head of a frame")
            length = int.from_bytes(head[:LENGTH_BYTES], "big")
            if not ARRAY_HEAD_BYTES < length <= FRAME_MAX - HEAD_BYTES:
                raise SnapshotError(f"{self.where()}: a length of {length} bytes is impossible")
            payload = self._take(length, "a frame")
            self.running = blake2b(self.running + payload, digest_size=HASH_BYTES).digest()
            if self.running != head[LENGTH_BYTES:]:
                raise SnapshotError(f"{self.where()}: the hash differs: bytes were changed, lost or exchanged")
            try:
                rows = _decoder.decode(payload)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                raise SnapshotError(f"{self.where()}: {error}") from error
            yield from rows

    def _more(self) -> bool:
        """Whether a byte follows."""
        while not self._buffer:
            chunk = next(self._chunks, None)
            if chunk is None:
                return False
            self._buffer += chunk
        return True

    def _take(self, count: int, what: str) -> bytes:
        buffer = self._buffer
        while len(buffer) < count:
            chunk = next(self._chunks, None)
            if chunk is None:
                raise SnapshotError(f"the stream ends at byte {self.bytes_read + len(buffer)}, inside {what}")
            buffer += chunk
        taken = bytes(buffer[:count])
        del buffer[:count]
        self.bytes_read += count
        return taken
