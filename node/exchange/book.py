"""One price-time book: prices in ticks, orders in the sequence of the log. It knows no account and no money.

Each side keeps its occupied prices as a sorted list of keys whose last element is the best (key = price for bids,
-price for asks), and per price a doubly linked queue. Entering is O(log levels), cancelling and filling are O(1).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from typing import Final

from node.exchange.orders import Order

BUY: Final = 1


class Level:
    """All orders resting at one price, oldest first."""

    __slots__ = ("count", "head", "key", "price_ticks", "side", "tail", "volume")

    def __init__(self, side: Side, key: int, price_ticks: int) -> None:
        self.side = side
        self.key = key
        self.price_ticks = price_ticks
        self.volume = 0
        self.count = 0
        self.head: Order | None = None
        self.tail: Order | None = None


class Side:
    """The bids (direction +1) or the asks (-1) of a book."""

    __slots__ = ("direction", "keys", "levels")

    def __init__(self, direction: int) -> None:
        self.direction = direction
        self.keys: list[int] = []
        self.levels: dict[int, Level] = {}

    def orders(self) -> Iterator[Order]:
        """Level by level, as they came to be occupied, the orders of each oldest first. Nothing may end meanwhile."""
        for level in self.levels.values():
            order = level.head
            while order is not None:
                yield order
                order = order.after


class Book:
    __slots__ = ("asks", "bids")

    def __init__(self) -> None:
        self.bids = Side(1)
        self.asks = Side(-1)

    def side(self, direction: int) -> Side:
        return self.bids if direction == BUY else self.asks

    def opposite(self, direction: int) -> Side:
        return self.asks if direction == BUY else self.bids

    def enter(self, order: Order) -> None:
        """Put what is left of an order behind all others at its price."""
        direction = order.direction
        side = self.bids if direction == BUY else self.asks
        key = direction * order.price_ticks
        level = side.levels.get(key)
        if level is None:
            level = side.levels[key] = Level(side, key, order.price_ticks)
            keys = side.keys
            if not keys or key > keys[-1]:
                keys.append(key)
            else:
                keys.insert(bisect_left(keys, key), key)
        tail = level.tail
        if tail is None:
            level.head = order
        else:
            tail.after = order
            order.before = tail
        level.tail = order
        order.level = level
        level.volume += order.left
        level.count += 1

    def leave(self, order: Order) -> None:
        """Take a resting order out, wherever it stands. Its references are cleared, so that no cycle is left."""
        level = order.level
        assert level is not None
        before, after = order.before, order.after
        if before is None:
            level.head = after
        else:
            before.after = after
        if after is None:
            level.tail = before
        else:
            after.before = before
        order.level = order.before = order.after = None
        level.volume -= order.left
        level.count -= 1
        if level.head is None:
            side = level.side
            del side.levels[level.key]
            keys = side.keys
            if keys[-1] == level.key:
                keys.pop()
            else:
                del keys[bisect_left(keys, level.key)]

    def best(self, direction: int) -> Level | None:
        """The best level of the bids (+1) or the asks (-1); None if that side is empty."""
        side = self.bids if direction == BUY else self.asks
        return side.levels[side.keys[-1]] if side.keys else None

    def depth(self, direction: int, levels: int) -> list[tuple[int, int, int]]:
        """(price in ticks, lots, orders) of the best `levels` levels of one side, best first."""
        side = self.side(direction)
        return [
            (level.price_ticks, level.volume, level.count)
            for level in (side.levels[key] for key in reversed(side.keys[-levels:] if levels else ()))
        ]
