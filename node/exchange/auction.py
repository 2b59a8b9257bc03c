"""The call auction: many orders, one price (domain.md 4).

Over every tick inside the price limits the auction looks for the price (1) at which all better-priced orders of both
sides fill, with the largest volume; (2) with the smallest imbalance; (3) nearest to the reference, or in the middle of
what remains. No tick but those of a short run has to be tried: with B(p) the lots bid at p or above and A(p) the lots
asked at p or below, B falls and A rises, so

* the largest volume V = max min(B, A) is what pairing the best levels of both sides gives, and it is reached exactly
  from `lowest` (where A comes to V) to `highest` (where B comes to V);
* in there the imbalance is B - V > 0 up to `bids_over`, zero after it, and A - V > 0 from `asks_over` on. So the
  smallest one is zero in the gap between the two or, without a gap, at the one or the other of two neighbouring ticks.

The remaining prices are therefore always one run of ticks, and finding them costs O(crossed levels).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from node.exchange.book import Book
from node.exchange.events import AuctionIndicated, AuctionMatched, Event
from node.exchange.instruments import Instrument
from node.exchange.types import AuctionRule, CancelReason, TimeCondition

if TYPE_CHECKING:
    from node.exchange.state import State

GFA: Final = int(TimeCondition.GFA)
MIDDLE: Final = int(AuctionRule.MIDDLE)


def clearing_price(book: Book, rule: int, reference_ticks: int) -> tuple[int, int, int]:
    """(price in ticks, volume, surplus) at which the auction would match; zeros if the book is not crossed.

    `surplus` is B - A at the price: lots that stay unmatched there, bids positive. `rule` is a types.AuctionRule.
    """
    bids, asks = book.bids.levels, book.asks.levels
    bid_keys, ask_keys = book.bids.keys, book.asks.keys  # best last; an ask's key is its price, negated
    i, j = len(bid_keys) - 1, len(ask_keys) - 1
    bid_before = ask_before = 0  # lots of the levels better than i and j
    volume = bid_lots = ask_lots = highest = lowest = 0
    while i >= 0 and j >= 0 and bid_keys[i] >= -ask_keys[j]:
        highest, lowest = bid_keys[i], -ask_keys[j]
        bid_lots = bid_before + bids[bid_keys[i]].volume
        ask_lots = ask_before + asks[ask_keys[j]].volume
        volume = bid_lots if bid_lots <= ask_lots else ask_lots
        if bid_lots == volume:
            bid_before = bid_lots
            i -= 1
        if ask_lots == volume:
            ask_before = ask_lots
            j -= 1
    if volume == 0:
        return 0, 0, 0
    # The tick up to which more than V is bid, and the lots over V there; the tick from which more than V is asked.
    bids_over, bid_surplus = highest, bid_lots - volume
    if bid_surplus == 0:
        bids_over = lowest - 1
        if i >= 0 and bid_keys[i] >= lowest:
            bids_over, bid_surplus = bid_keys[i], bids[bid_keys[i]].volume
    asks_over, ask_surplus = lowest, ask_lots - volume
    if ask_surplus == 0:
        asks_over = highest + 1
        if j >= 0 and -ask_keys[j] <= highest:
            asks_over, ask_surplus = -ask_keys[j], asks[ask_keys[j]].volume
    first, last = bids_over + 1, asks_over - 1
    if first > last:  # no tick without an imbalance
        first, last = bids_over, asks_over
        if bid_surplus == 0 or (ask_surplus and ask_surplus < bid_surplus):
            first = asks_over
        elif ask_surplus == 0 or bid_surplus < ask_surplus:
            last = bids_over
    if rule == MIDDLE:
        price = first + (last - first + 1) // 2
    else:
        price = min(max(reference_ticks, first), last)
    if price <= bids_over:
        return price, volume, bid_surplus
    return price, volume, -ask_surplus if price >= asks_over else 0


def crossed(book: Book) -> bool:
    """Whether the best bid reaches the best ask: only in an auction, or in a halt that came upon one."""
    bids, asks = book.bids.keys, book.asks.keys
    return bool(bids) and bool(asks) and bids[-1] >= -asks[-1]


def indicate(instrument: Instrument, events: list[Event]) -> None:
    """Publish where the auction would match now: after every order, cancel and modification of it (domain.md 4)."""
    _publish(instrument, _matches_at(instrument), events)


def review(instrument: Instrument, events: list[Event]) -> None:
    """Publish where the auction would match, if something else than an order changed that."""
    where = _matches_at(instrument)
    if where != (instrument.auction_price_ticks, instrument.auction_volume, instrument.auction_surplus):
        _publish(instrument, where, events)


def withdraw(instrument: Instrument, events: list[Event]) -> None:
    """The auction is halted: take back what was published, if there was something."""
    if instrument.auction_volume:
        _publish(instrument, (0, 0, 0), events)


def _matches_at(instrument: Instrument) -> tuple[int, int, int]:
    return clearing_price(instrument.book, instrument.terms.auction_rule, instrument.pre_settlement_ticks)


def _publish(instrument: Instrument, where: tuple[int, int, int], events: list[Event]) -> None:
    price_ticks, volume, surplus = where
    instrument.auction_price_ticks = price_ticks
    instrument.auction_volume = volume
    instrument.auction_surplus = surplus
    events.append(AuctionIndicated(instrument.instrument_id, price_ticks, volume, surplus))


def match(state: State, instrument: Instrument, events: list[Event]) -> int:
    """End the auction: everything that crosses trades at one price, by price then time; then its GFA orders expire.

    No two orders of one user can cross here: that was prevented when the later one entered. What is left of the other
    orders stays in the book with its time. Returns how many orders were looked at, apart from the trades.
    """
    book = instrument.book
    price, volume, _ = clearing_price(book, instrument.terms.auction_rule, instrument.pre_settlement_ticks)
    instrument.auction_price_ticks = instrument.auction_volume = instrument.auction_surplus = 0
    events.append(AuctionMatched(instrument.instrument_id, price, volume))
    while volume:
        bid_level, ask_level = book.best(1), book.best(-1)
        assert bid_level is not None and ask_level is not None
        bid, ask = bid_level.head, ask_level.head
        assert bid is not None and ask is not None
        volume -= bid.left if bid.left <= ask.left else ask.left
        taker, maker = (bid, ask) if bid.order_id > ask.order_id else (ask, bid)
        state.matcher.trade_at(taker, maker, price, state.time_ns, events)
    return expire(state, instrument, GFA, CancelReason.AUCTION_END, events)


def expire(state: State, instrument: Instrument, time_condition: int, reason: int, events: list[Event]) -> int:
    """End the resting orders of one time condition: bids, then asks, worst price first, oldest first.

    Returns how many orders rested: it looks at all of them.
    """
    ended = []
    count = 0
    for side in (instrument.book.bids, instrument.book.asks):
        for key in side.keys:
            level = side.levels[key]
            count += level.count
            order = level.head
            while order is not None:
                if order.time_condition == time_condition:
                    ended.append(order)
                order = order.after
    for order in ended:
        state.matcher.cancel(order, reason, state.time_ns, events)
    return count
