"""What a forced liquidation closes: the largest margin first, and no more lots than the release level needs.

Positions that share a margin are judged together. Of a product that counts its larger side alone, closing the smaller
side frees nothing, and closing one side of a hedge frees margin down to the other side only: so both sides are cut to
the same margin, and the hedge stays. A product that counts the sum gives up its sides one after the other.

How many lots are needed is found on the account as it would be: margins exactly as clearing will compute them, fills
at the opposite best, with their fees. What the market then takes is looked at anew in the next step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from node.exchange import clearing
from node.exchange.instruments import Instrument
from node.exchange.ledger import Account
from node.exchange.positions import PositionSide
from node.exchange.risk import RiskParameters
from node.exchange.types import MarginRule, Offset, Phase, half_even

SUM: Final = int(MarginRule.SUM)
CONTINUOUS: Final = int(Phase.CONTINUOUS)
CLOSE: Final = int(Offset.CLOSE)
CLOSETODAY: Final = int(Offset.CLOSETODAY)


class Closing(NamedTuple):
    """Lots to be closed, and the limit price at which. `at_limit`: no order could be more aggressive today."""

    instrument: Instrument
    direction: int  # of the order
    offset: int
    lots: int
    price_ticks: int
    at_limit: bool


class Holding:
    """One side of one position that can be closed now."""

    __slots__ = ("instrument", "lots", "opposite_ticks", "side")

    def __init__(self, instrument: Instrument, side: PositionSide) -> None:
        self.instrument = instrument
        self.side = side
        self.lots = side.volume
        best = instrument.book.best(side.direction)  # a long is sold to the bids
        self.opposite_ticks = 0 if best is None else best.price_ticks  # 0: nobody is there

    def after(self, lots: int) -> tuple[int, int]:
        """(margin of the side, change of the account's balance) once so many lots are closed, history first."""
        side, instrument = self.side, self.instrument
        his = min(lots, side.his)
        today = lots - his
        cost = side.his_cost + side.today_cost
        if his:
            cost -= side.his_cost if his == side.his else half_even(side.his_cost * his, side.his)
        if today:
            cost -= side.today_cost if today == side.today else half_even(side.today_cost * today, side.today)
        charge = instrument.margin_long if side.direction > 0 else instrument.margin_short
        price = self.opposite_ticks or instrument.last_ticks
        moved = side.direction * (price - instrument.last_ticks) * lots * instrument.tick_value
        return charge.of(cost, self.lots - lots), moved - clearing.closing_fee(instrument, price, his, today)


Chosen = list[tuple[Holding, int]]  # with the lots to be closed


class Group:
    """Sides whose margins count as one: both sides of a product, or one of them where the sum counts."""

    __slots__ = ("holdings", "totals")

    def __init__(self, totals: Sequence[int]) -> None:
        self.totals = totals  # margin of each side, with what cannot be closed now
        self.holdings: list[list[Holding]] = [[] for _ in totals]

    @property
    def counted(self) -> int:
        return max(self.totals)

    @property
    def liquid(self) -> bool:
        """Whether somebody is there to take any of it."""
        return all(holding.opposite_ticks for holdings in self.holdings for holding in holdings)

    def cut(self, part: int, whole: int) -> tuple[Chosen, int, int]:
        """Close until no side has more than what is left of the counted margin without `part` of `whole`.

        Returns what to close, the margin that then counts, and the change of the balance.
        """
        most = -(-self.counted * (whole - part) // whole)
        chosen: Chosen = []
        counted = change = 0
        for total, holdings in zip(self.totals, self.holdings, strict=True):
            for holding in holdings:
                excess, margin = total - most, holding.side.margin
                if excess <= 0 or margin == 0:
                    break
                lots = holding.lots if margin <= excess else -(-excess * holding.lots // margin)
                rest, money = holding.after(lots)
                total -= margin - rest
                change += money
                chosen.append((holding, lots))
            counted = max(counted, total)
        return chosen, counted, change


def holds_lots(account: Account) -> bool:
    return any(position.long.volume or position.short.volume for position in account.positions.values())


def released(parameters: RiskParameters, margin: int, balance: int) -> bool:
    """Whether margin / balance is below the release level; exact, units."""
    return margin * 100 < balance * parameters.release_percent


def closings(
    parameters: RiskParameters, account: Account, everything: bool, retries: int
) -> tuple[list[Closing], list[Instrument]]:
    """What to close now, and the instruments that have to trade again before the rest can be.

    The first try takes the largest margin first. In a retry, what nobody takes (no opposite side) comes after what
    somebody does: a market locked at its limit must not keep the account from closing elsewhere.
    """
    groups, halted = _groups(account)
    groups.sort(key=lambda group: (retries > 0 and not group.liquid, -group.counted))
    chosen: Chosen = []
    if not everything:
        chosen, everything = _needed(parameters, account, groups)
    if everything:
        chosen = [(holding, holding.lots) for group in groups for holdings in group.holdings for holding in holdings]
    found: list[Closing] = []
    for holding, lots in chosen:
        found += _orders(holding, lots, parameters.liquidation_step_ticks * (retries + 1))
    return found, halted


def _groups(account: Account) -> tuple[list[Group], list[Instrument]]:
    """The account's positions by what their margins count as, each side's largest first; and what is halted."""
    groups: dict[tuple[str, int], Group] = {}
    halted: list[Instrument] = []
    for position in account.positions.values():
        instrument, product = position.instrument, position.product
        if not position.long.volume and not position.short.volume:
            continue
        if instrument.phase != CONTINUOUS:
            halted.append(instrument)
            continue
        name = instrument.product_key
        for index, side in enumerate((position.long, position.short)):
            if not side.volume:
                continue
            if product.rule == SUM:
                key, place = (name, index), 0
                totals: Sequence[int] = (product.short if index else product.long,)
            else:
                key, place = (name, 0), index
                totals = (product.long, product.short)
            group = groups.get(key)
            if group is None:
                group = groups[key] = Group(totals)
            group.holdings[place].append(Holding(instrument, side))
    for group in groups.values():
        for holdings in group.holdings:
            holdings.sort(key=lambda holding: -holding.side.margin)
    return list(groups.values()), halted


def _needed(parameters: RiskParameters, account: Account, groups: list[Group]) -> tuple[Chosen, bool]:
    """The fewest lots, group by group, that bring the account below the release level; whether all are not enough."""
    margin, balance = account.margin, account.balance()
    needed: Chosen = []
    for group in groups:
        whole = max(sum(holding.lots for holding in holdings) for holdings in group.holdings)
        chosen, counted, change = group.cut(whole, whole)
        others = margin - group.counted
        if not released(parameters, others + counted, balance + change):
            needed += chosen
            margin, balance = others + counted, balance + change
            continue
        too_few, enough = 0, whole
        while enough - too_few > 1:
            part = (too_few + enough) // 2
            tried, counted, change = group.cut(part, whole)
            if released(parameters, others + counted, balance + change):
                enough, chosen = part, tried
            else:
                too_few = part
        return needed + chosen, False
    return needed, True


def _orders(holding: Holding, lots: int, towards_limit_ticks: int) -> list[Closing]:
    """The lots of one side by the offsets that close them: where today's are split off, they must be said."""
    instrument, side = holding.instrument, holding.side
    direction = -side.direction
    limit = instrument.upper_limit_ticks if direction > 0 else instrument.lower_limit_ticks
    price = (holding.opposite_ticks or instrument.last_ticks) + direction * towards_limit_ticks
    price = max(instrument.lower_limit_ticks, min(price, instrument.upper_limit_ticks))
    if not instrument.splits_today:
        return [Closing(instrument, direction, CLOSE, lots, price, price == limit)]
    his = min(lots, side.his)
    buckets = ((CLOSE, his), (CLOSETODAY, lots - his))
    return [Closing(instrument, direction, offset, part, price, price == limit) for offset, part in buckets if part]
