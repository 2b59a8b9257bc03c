"""Positions: per account, instrument and side two buckets, today's lots and history (domain.md 5).

Costs are in ticks * lots, exact. Today's position cost is its open cost; history's is at the last settlement price.
"""

from __future__ import annotations

from node.exchange.instruments import Instrument
from node.exchange.types import MarginRule, half_even


class ProductMargin:
    """What one product contributes to the margin of one account: the larger side, or the sum (domain.md 5)."""

    __slots__ = ("counted", "long", "rule", "short")

    def __init__(self, rule: int) -> None:
        self.rule = rule
        self.long = 0
        self.short = 0
        self.counted = 0

    def move(self, direction: int, change: int) -> int:
        """Move one side by `change` units; returns by how much the counted margin moved."""
        if direction > 0:
            self.long += change
        else:
            self.short += change
        if self.rule == MarginRule.SUM:
            counted = self.long + self.short
        else:
            counted = self.long if self.long >= self.short else self.short
        moved = counted - self.counted
        self.counted = counted
        return moved


class PositionSide:
    """The long (+1) or the short (-1) side of a position.

    `today_cost` and `his_cost` are position costs, `his_open_cost` is what history's lots were opened at. Frozen lots
    are part of the volume, not beside it. `opening` counts the lots of live opening orders.
    """

    __slots__ = (
        "direction",
        "frozen_his",
        "frozen_today",
        "his",
        "his_cost",
        "his_open_cost",
        "margin",
        "opening",
        "today",
        "today_cost",
    )

    def __init__(self, direction: int) -> None:
        self.direction = direction
        self.today = 0
        self.today_cost = 0
        self.his = 0
        self.his_cost = 0
        self.his_open_cost = 0
        self.frozen_today = 0
        self.frozen_his = 0
        self.opening = 0
        self.margin = 0

    @property
    def volume(self) -> int:
        return self.today + self.his

    def take_today(self, lots: int) -> int:
        """Remove `lots` of today's bucket; returns the position cost that leaves (the last lot takes the remainder)."""
        cost = self.today_cost if lots == self.today else half_even(self.today_cost * lots, self.today)
        self.today -= lots
        self.today_cost -= cost
        return cost

    def take_his(self, lots: int) -> int:
        """Remove `lots` of history; returns the position cost that leaves (the last lot takes the remainder)."""
        if lots == self.his:
            cost, open_cost = self.his_cost, self.his_open_cost
        else:
            cost = half_even(self.his_cost * lots, self.his)
            open_cost = half_even(self.his_open_cost * lots, self.his)
        self.his -= lots
        self.his_cost -= cost
        self.his_open_cost -= open_cost
        return cost

    def roll(self, settlement_ticks: int) -> None:
        """Settle the day: today's lots join history, whose position cost is the settlement price from now on."""
        self.his += self.today
        self.his_open_cost += self.today_cost
        self.his_cost = settlement_ticks * self.his
        self.frozen_his += self.frozen_today
        self.today = self.today_cost = self.frozen_today = 0

    def end(self) -> None:
        """All lots are gone, for the instrument is; no order holds any of them."""
        self.today = self.today_cost = 0
        self.his = self.his_cost = self.his_open_cost = 0


class Position:
    """Both sides of one instrument in one account."""

    __slots__ = ("instrument", "long", "product", "short")

    def __init__(self, instrument: Instrument, product: ProductMargin) -> None:
        self.instrument = instrument
        self.product = product  # shared by the account's positions of the same product
        self.long = PositionSide(1)
        self.short = PositionSide(-1)

    def side(self, direction: int) -> PositionSide:
        return self.long if direction > 0 else self.short

    @property
    def empty(self) -> bool:
        """No lots, and no live order that may bring any."""
        long, short = self.long, self.short
        return not (long.today or long.his or long.opening or short.today or short.his or short.opening)

    def reprice(self, side: PositionSide) -> int:
        """Make the margin of one side follow its lots and position cost; by how much the account's margin moves."""
        charge = self.instrument.margin_long if side.direction > 0 else self.instrument.margin_short
        margin = charge.of(side.today_cost + side.his_cost, side.today + side.his)
        moved = self.product.move(side.direction, margin - side.margin)
        side.margin = margin
        return moved
