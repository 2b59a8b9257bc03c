"""A local copy of one order book, kept from a snapshot and deltas, and proved by the node's checksum."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from decimal import Decimal
from typing import Final

import trio

from api.client.models import Level, Orderbook
from api.client.wire import BookDelta, BookSnapshot

CHECKSUM_LEVELS: Final = 10


class BookBroken(Exception):
    """The copy is not the node's book any more: a new snapshot is needed."""


class BookMirror:
    """The book of one instrument as the node last told it.

    `bids` and `asks` are best first. `await changed()` returns after the next message about it. While `ready` is False
    (before the first snapshot, and after a broken sequence until the next one) the sides are empty.
    """

    def __init__(self, instrument_id: str, depth: int) -> None:
        self.instrument_id = instrument_id
        self.depth = depth
        self.ready = False
        self.seq = 0
        self.log_index = 0
        self.last_price: Decimal | None = None
        self.snapshots = 0
        self.deltas = 0
        self.breaks = 0  # wrong sequence or checksum
        self._bids: dict[Decimal, Level] = {}
        self._asks: dict[Decimal, Level] = {}
        self._changed = trio.Event()

    @property
    def bids(self) -> list[Level]:
        return [self._bids[price] for price in sorted(self._bids, reverse=True)[: self.depth]]

    @property
    def asks(self) -> list[Level]:
        return [self._asks[price] for price in sorted(self._asks)[: self.depth]]

    @property
    def best_bid(self) -> Level | None:
        return self._bids[max(self._bids)] if self._bids else None

    @property
    def best_ask(self) -> Level | None:
        return self._asks[min(self._asks)] if self._asks else None

    @property
    def book(self) -> Orderbook:
        """Both sides as one value."""
        return Orderbook(
            self.instrument_id, self.seq, self.log_index, self.bids, self.asks, self.last_price, self.checksum()
        )

    async def changed(self) -> None:
        """Wait for the next snapshot or delta."""
        await self._changed.wait()

    def snapshot(self, message: BookSnapshot) -> None:
        """Start from here. Raises BookBroken if the checksum does not fit."""
        self._bids = {level.price: level for level in message.bids}
        self._asks = {level.price: level for level in message.asks}
        self.snapshots += 1
        self.ready = True
        self._advance(message)

    def delta(self, message: BookDelta) -> None:
        """Change levels. Raises BookBroken if it does not follow, or if the checksum does not fit."""
        if not self.ready or message.seq <= self.seq:
            return  # the tail of a stream that a newer snapshot has replaced
        if message.prev_seq != self.seq:
            self.lose()
            raise BookBroken(f"{self.instrument_id}: delta {message.seq} follows {message.prev_seq}, not {self.seq}")
        _change(self._bids, message.bids)
        _change(self._asks, message.asks)
        self.deltas += 1
        self._advance(message)

    def lose(self) -> None:
        """Forget the levels until the next snapshot."""
        self.ready = False
        self.breaks += 1
        self._bids.clear()
        self._asks.clear()

    def disconnected(self) -> None:
        """The connection is gone: what is here may be old."""
        self.ready = False
        self._bids.clear()
        self._asks.clear()

    def checksum(self) -> int:
        """CRC-32 of the best ten levels; see `book_checksum`."""
        return book_checksum(self._bids, self._asks)

    def _advance(self, message: BookSnapshot | BookDelta) -> None:
        self.seq = message.seq
        self.log_index = message.log_index
        self.last_price = message.last_price if message.last_price is not None else self.last_price
        computed = self.checksum()
        if computed != message.checksum:
            self.lose()
            raise BookBroken(
                f"{self.instrument_id}: checksum {computed} at seq {message.seq}, the node says {message.checksum}"
            )
        done, self._changed = self._changed, trio.Event()
        done.set()


def _change(side: dict[Decimal, Level], levels: list[Level]) -> None:
    for level in levels:
        if level.volume:
            side[level.price] = level
        else:
            side.pop(level.price, None)


def book_checksum(bids: Mapping[Decimal, Level], asks: Mapping[Decimal, Level]) -> int:
    """CRC-32 over `price:volume` of the best ten bids, then asks, best first, joined by `|`.

    Prices are written in full without trailing zeros (`70010`, `3800.2`).

    >>> book_checksum({Decimal("70000"): Level(Decimal("70000"), 3)}, {}) == zlib.crc32(b"70000:3")
    True
    """
    best = [bids[price] for price in sorted(bids, reverse=True)[:CHECKSUM_LEVELS]]
    best += [asks[price] for price in sorted(asks)[:CHECKSUM_LEVELS]]
    return zlib.crc32("|".join(f"{price_text(level.price)}:{level.volume}" for level in best).encode())


def price_text(price: Decimal) -> str:
    """
    >>> price_text(Decimal("3800.20")), price_text(Decimal("7E+4"))
    ('3800.2', '70000')
    """
    text = format(price, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
