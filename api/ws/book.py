"""Order books on the wire: levels, differences, and the checksum.

**Checksum.** CRC-32 (IEEE, as zlib and gzip use it) over the ASCII text of the best ten levels of each side: one
`price:volume` per level, first the bids, best first, then the asks, best first, all joined by `|`, nothing before or
behind. `price` is written in full, without exponent, without zeros at the end of the decimals and without a point that
nothing follows (70010, 12.5). A side with fewer levels, or a subscription with a smaller depth than ten, contributes as
many as there are. An empty book is the CRC-32 of no bytes, 0.

>>> from decimal import Decimal
>>> checksum([], [])
0
>>> checksum([(70010, 3, 1), (70000, 5, 2)], [(70020, 1, 1)])  # 70010:3|70000:5|70020:1
3330188158
>>> checksum([(Decimal("12.5"), 100, 4)], [(13, 7, 1)])  # 12.5:100|13:7
3864280827
"""

from __future__ import annotations

from typing import Any, Final
from zlib import crc32

from api.render import Number, money, price
from node.exchange.instruments import Instrument

CHECKED_LEVELS: Final = 10
DEPTH_MAX: Final = 50  # of a subscription

Level = tuple[Number, int, int]  # price, lots, orders


def levels(instrument: Instrument, direction: int, depth: int) -> list[Level]:
    """The best levels of the bids (+1) or the asks (-1), best first."""
    tick = instrument.terms.tick_units
    return [(money(ticks * tick), volume, count) for ticks, volume, count in instrument.book.depth(direction, depth)]


def checksum(bids: list[Level], asks: list[Level]) -> int:
    """The checksum of a book (see the module)."""
    best = bids[:CHECKED_LEVELS] + asks[:CHECKED_LEVELS]
    return crc32("|".join([f"{at}:{volume}" for at, volume, _ in best]).encode("ascii"))


def difference(old: list[Level], new: list[Level]) -> list[Level]:
    """What turns `old` into `new`: the levels that are new or changed, and volume 0 for those that left."""
    if old == new:
        return []
    before = {level[0]: level for level in old}
    changed = [level for level in new if before.pop(level[0], None) != level]
    return changed + [(gone, 0, 0) for gone in before]


def level_bodies(side: list[Level]) -> list[dict[str, Any]]:
    return [{"price": at, "volume": volume, "order_count": count} for at, volume, count in side]


def snapshot_body(instrument: Instrument, depth: int, seq: int, log_index: int) -> dict[str, Any]:
    """A whole book down to `depth` levels, as of `log_index`. `seq` counts the entries that touched this book."""
    bids, asks = levels(instrument, 1, depth), levels(instrument, -1, depth)
    return {
        "instrument_id": instrument.instrument_id,
        "seq": seq,
        "log_index": log_index,
        "last_price": price(instrument, instrument.last_ticks),
        "bids": level_bodies(bids),
        "asks": level_bodies(asks),
        "checksum": checksum(bids, asks),
    }
