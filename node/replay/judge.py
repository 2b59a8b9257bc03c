"""What the exchange said, held against what the recording says. Knows neither machine nor network.

The judge rebuilds the book from the exchange's own answers (what rests, what was hit, what was cancelled), one fact at
a time in log order, and compares every execution with the recorded resting order and every book with the recorded
levels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any, Final, NamedTuple

from sortedcontainers import SortedDict

from node.lobster import BUY, SELL, Cancel, CheckBook, Level, Place, Reduce

DIFFERENCES_MAX: Final = 20  # kept word by word; all are counted
LEVELS: Final = 10


OrderId = int | str  # as the exchange names orders; only equality matters


class Hit(NamedTuple):
    """One trade of an incoming order, as the exchange reports it."""

    maker_id: OrderId | None  # the resting order; None: the exchange did not say which
    price_ticks: int
    volume: int


@dataclass(slots=True)
class Tally:
    """What was compared, what was equal, and the first differences in words."""

    orders: int = 0
    cancels: int = 0
    reductions: int = 0
    trading_orders: int = 0
    trading_orders_equal: int = 0
    fills: int = 0
    fills_equal: int = 0
    books: int = 0
    books_equal: int = 0
    published: int = 0  # books that the exchange published
    published_equal: int = 0
    different: int = 0
    differences: list[str] = field(default_factory=list)

    def differ(self, text: str) -> None:
        self.different += 1
        if len(self.differences) < DIFFERENCES_MAX:
            self.differences.append(text)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


class RebuiltBook:
    """Lots by price and by order, from what the exchange answered. Refuses what cannot be (`ValueError`)."""

    def __init__(self) -> None:
        self._orders: dict[OrderId, list[int]] = {}  # order id -> [direction, price, left]
        self._volumes: dict[int, SortedDict] = {BUY: SortedDict(), SELL: SortedDict()}

    def __len__(self) -> int:
        return len(self._orders)

    def rest(self, order_id: OrderId, direction: int, price_ticks: int, volume: int) -> None:
        if order_id in self._orders:
            raise ValueError(f"order {order_id} rests already")
        self._orders[order_id] = [direction, price_ticks, volume]
        volumes = self._volumes[direction]
        volumes[price_ticks] = volumes.get(price_ticks, 0) + volume

    def take(self, order_id: OrderId | None, volume: int) -> None:
        """Lower what an order has left; at nothing it is gone."""
        order = None if order_id is None else self._orders.get(order_id)
        if order is None or order_id is None:
            raise ValueError(f"order {order_id} does not rest")
        direction, price_ticks, left = order
        if volume > left:
            raise ValueError(f"order {order_id} has {left} left, not {volume}")
        if volume == left:
            del self._orders[order_id]
        else:
            order[2] = left - volume
        volumes = self._volumes[direction]
        if volumes[price_ticks] == volume:
            del volumes[price_ticks]
        else:
            volumes[price_ticks] -= volume

    def left(self, order_id: OrderId | None) -> int:
        order = None if order_id is None else self._orders.get(order_id)
        return order[2] if order is not None else 0

    def levels(self, direction: int, levels: int = LEVELS) -> tuple[Level, ...]:
        volumes = self._volumes[direction]
        prices = reversed(volumes) if direction == BUY else iter(volumes)
        return tuple(Level(price, volumes[price]) for price in islice(prices, levels))


class Judge:
    """Takes the steps of a day with what the exchange answered to each, in the order of the day."""

    def __init__(self) -> None:
        self.tally = Tally()
        self.book = RebuiltBook()
        self._ids: dict[int, OrderId] = {}  # order of the recording -> order of the exchange

    def placed(self, step: Place, order_id: OrderId, hits: Sequence[Hit], resting: int) -> None:
        """The exchange accepted an order, traded it as `hits` say and left `resting` lots of it in the book."""
        tally = self.tally
        tally.orders += 1
        self._ids[step.order] = order_id
        problem = None
        try:
            for hit in hits:
                self.book.take(hit.maker_id, hit.volume)
            if resting:
                self.book.rest(order_id, step.direction, step.price_ticks, resting)
        except ValueError as error:
            problem = str(error)
        expected = [Hit(self._ids.get(fill.order), fill.price_ticks, fill.volume) for fill in step.fills]
        got = list(hits)
        tally.fills += len(expected)
        tally.fills_equal += sum(a == b for a, b in zip(expected, got, strict=False))
        rest = step.volume - sum(fill.volume for fill in step.fills)
        equal = problem is None and got == expected and resting == rest
        if expected:
            tally.trading_orders += 1
            tally.trading_orders_equal += equal
        if not equal:
            tally.differ(
                f"row {step.row}: order {order_id} traded {_words(got)} and rests with {resting}; "
                f"recorded {_words(expected)} and {rest}" + (f" ({problem})" if problem else "")
            )

    def reduced(self, step: Reduce, left: int) -> None:
        """The exchange lowered an order's volume so that `left` lots rest."""
        self.tally.reductions += 1
        self._lower(step.row, step.order, self.book.left(self._ids.get(step.order)) - left)
        if left != step.left:
            self.tally.differ(f"row {step.row}: {left} lots rest after the reduction; recorded {step.left}")

    def cancelled(self, step: Cancel, left: int) -> None:
        """The exchange cancelled an order that had `left` lots."""
        self.tally.cancels += 1
        self._lower(step.row, step.order, left)
        if left != step.left:
            self.tally.differ(f"row {step.row}: {left} lots were cancelled; recorded {step.left}")

    def refused(self, step: Place | Reduce | Cancel, reason: str) -> None:
        """The exchange refused what the recording says happened."""
        if isinstance(step, Place):
            self.tally.orders += 1
            self.tally.fills += len(step.fills)
            self.tally.trading_orders += bool(step.fills)
        self.tally.differ(f"row {step.row}: {type(step).__name__.lower()} of order {step.order} refused: {reason}")

    def check(self, step: CheckBook) -> None:
        """The book must now be the recorded one."""
        self.check_levels(step, self.book.levels(SELL), self.book.levels(BUY))

    def check_levels(self, step: CheckBook, asks: tuple[Level, ...], bids: tuple[Level, ...]) -> None:
        """The same for levels that the exchange itself shows."""
        self.tally.books += 1
        for side, shown, recorded in (("asks", asks, step.asks), ("bids", bids, step.bids)):
            if shown != recorded:
                self.tally.differ(f"row {step.row}: the {side} are {_words(shown)}; recorded {_words(recorded)}")
                return
        self.tally.books_equal += 1

    def _lower(self, row: int, order: int, volume: int) -> None:
        try:
            self.book.take(self._ids.get(order), volume)
        except ValueError as error:
            self.tally.differ(f"row {row}: {error}")


def _words(items: Sequence[tuple[Any, ...]]) -> str:
    """Levels as price x volume, hits as volume @ price of the resting order."""
    if not items:
        return "nothing"
    return ", ".join(
        f"{item[2]} @ {item[1]} of {item[0]}" if len(item) == 3 else f"{item[0]} x {item[1]}" for item in items
    )
