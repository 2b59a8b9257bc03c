"""What the views know of the whole log, as bytes in front of the machine's own snapshot, and back.

    length u32 | MessagePack        a block; the first holds the counters, the others trades; an empty one is the end

The numbers of private streams and books, the newest trades and the newest state hashes are functions of the log, equal
on every node. A node that starts from a snapshot never sees the beginning of the log, so they travel with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from api.ws.hub import Hub
from node.market.tape import Fill, Tape

FILLS_BLOCK: Final = 1_000
BLOCK_BYTES_MAX: Final = 64 * 1024 * 1024
_LENGTH_BYTES: Final = 4


class Counters(msgspec.Struct, frozen=True):
    """Of the hub."""

    event_seqs: dict[str, int]  # user -> number of the newest private event
    versions: dict[str, int]  # instrument -> entries that touched its book
    digests: list[tuple[int, bytes]]  # (log index, state hash), the oldest first


class ViewsError(ValueError):
    """These bytes are not what `write` wrote; the text says where."""


_encode: Final = msgspec.msgpack.Encoder().encode
_decode_counters: Final = msgspec.msgpack.Decoder(Counters).decode
_decode_fills: Final = msgspec.msgpack.Decoder(list[Fill]).decode


def write(hub: Hub, tape: Tape) -> Iterator[bytes]:
    """The views as they are now, in chunks."""
    yield _block(_encode(Counters(hub.private.numbers(), hub.market.versions(), list(hub.digests().items()))))
    fills = tape.held()
    for first in range(0, len(fills), FILLS_BLOCK):
        yield _block(_encode(fills[first : first + FILLS_BLOCK]))
    yield _block(b"")


def restore(hub: Hub, tape: Tape, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Put what `write` wrote into fresh views; returns the chunks behind it. Raises ViewsError."""
    source = _Source(chunks)
    try:
        counters = _decode_counters(source.block())
        hub.restore(counters.event_seqs, counters.versions, dict(counters.digests))
        while data := source.block():
            tape.restore(_decode_fills(data))
    except msgspec.MsgspecError as error:
        raise ViewsError(f"the views in the snapshot cannot be read: {error}") from error
    return source.rest()


def _block(data: bytes) -> bytes:
    return len(data).to_bytes(_LENGTH_BYTES, "big") + data


class _Source:
    """Blocks off a stream of chunks of any size."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._buffer = bytearray()

    def block(self) -> bytes:
        length = int.from_bytes(self._take(_LENGTH_BYTES), "big")
        if length > BLOCK_BYTES_MAX:
            raise ViewsError(f"a block of {length} bytes in the views of the snapshot is impossible")
        return self._take(length)

    def rest(self) -> Iterator[bytes]:
        if self._buffer:
            yield bytes(self._buffer)
        yield from self._chunks

    def _take(self, count: int) -> bytes:
        while len(self._buffer) < count:
            chunk = next(self._chunks, None)
            if chunk is None:
                raise ViewsError("the snapshot ends inside its views")
            self._buffer += chunk
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken
