"""The call auction by domain.md 4, literally: try every tick inside the price limits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from node.exchange.types import AuctionRule


class Interest(NamedTuple):
    """One limit order as the auction sees it. `direction` +1 buys, -1 sells."""

    direction: int
    price: int
    volume: int


class Candidate(NamedTuple):
    """What would happen at one price. `surplus`: lots bid at or above it less lots offered at or below it."""

    price: int
    matched: int
    surplus: int


def candidates(orders: Sequence[Interest], lower: int, upper: int) -> list[Candidate]:
    """Every price inside the limits at which something trades and every better-priced order of both sides fills."""
    found = []
    for price in range(lower, upper + 1):
        bought = sum(o.volume for o in orders if o.direction > 0 and o.price >= price)
        sold = sum(o.volume for o in orders if o.direction < 0 and o.price <= price)
        matched = min(bought, sold)
        better_buys = sum(o.volume for o in orders if o.direction > 0 and o.price > price)
        better_sells = sum(o.volume for o in orders if o.direction < 0 and o.price < price)
        if matched and better_buys <= matched and better_sells <= matched:
            found.append(Candidate(price, matched, bought - sold))
    return found


def auction_price(
    orders: Sequence[Interest], lower: int, upper: int, reference: int, rule: int = AuctionRule.NEAREST_REFERENCE
) -> Candidate | None:
    """The price of the auction; None if nothing trades.

    (1) the largest matched volume; (2) among those the smallest imbalance; (3) among those the nearest to `reference`,
    or the middle one; (4) among two equally near the higher.
    """
    left = candidates(orders, lower, upper)
    if not left:
        return None
    left = [c for c in left if c.matched == max(other.matched for other in left)]
    left = [c for c in left if abs(c.surplus) == min(abs(other.surplus) for other in left)]
    if rule == AuctionRule.MIDDLE:
        return left[len(left) // 2]
    left = [c for c in left if abs(c.price - reference) == min(abs(other.price - reference) for other in left)]
    return left[-1]
