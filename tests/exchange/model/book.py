"""The price-time book, obviously right: one list of resting orders, oldest first, sorted by price on every question.

The rules are those of domain.md 3 and 4. Funds, positions and lot limits are somebody else's business: orders come here
well-formed. `Book` answers every command with an `Outcome`, which the machine's events are compared with.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from node.exchange import rejects
from node.exchange.types import (
    EXPIRY_REASONS,
    AuctionRule,
    CancelReason,
    OrderState,
    PriceType,
    SelfTrade,
    TimeCondition,
    VolumeCondition,
)
from tests.exchange.model.auction import Candidate, Interest, auction_price

FIVE_LEVELS = 5


class Entry(NamedTuple):
    """An order as somebody enters it. `price` is 0 unless LIMIT; `late`: its deadline is over on arrival."""

    user: int
    direction: int
    volume: int
    price: int
    price_type: int = PriceType.LIMIT
    time_condition: int = TimeCondition.GFD
    volume_condition: int = VolumeCondition.ANY
    min_volume: int = 0
    post_only: bool = False
    self_trade: int = SelfTrade.CANCEL_TAKER
    late: bool = False
    account: int = 0  # of the user
    offset: int = 0  # the book does not care


class Trade(NamedTuple):
    price: int
    volume: int
    maker: int  # order ids
    taker: int


class Ended(NamedTuple):
    """An order that ended with lots left."""

    order_id: int
    left: int
    reason: int


@dataclass
class Outcome:
    """What a command did. `code` 0: accepted. Nobody promises in which order cancelled orders are told."""

    code: int = 0
    order_id: int = 0  # of a new order
    trades: list[Trade] = field(default_factory=list)
    ended: list[Ended] = field(default_factory=list)

    def told(self) -> tuple[object, ...]:
        return self.code, self.order_id, self.trades, sorted(self.ended)


@dataclass
class Order:
    order_id: int
    entry: Entry
    price: int  # the effective one
    volume: int
    left: int
    state: int = OrderState.ACCEPTED
    reason: int = 0

    @property
    def alive(self) -> bool:
        return self.state in (OrderState.ACCEPTED, OrderState.PARTIALLY_FILLED)


class Book:
    """One instrument. `orders` by id, live and ended; `resting` by time, oldest first."""

    def __init__(self, lower: int, upper: int, reference: int, rule: int = AuctionRule.NEAREST_REFERENCE) -> None:
        self.lower = lower
        self.upper = upper
        self.reference = reference
        self.rule = rule
        self.orders: dict[int, Order] = {}
        self.resting: list[Order] = []
        self.in_auction = False

    # Questions

    def queue(self, direction: int) -> list[Order]:
        """One side of the book, best price first, then the earlier (sorting is stable)."""
        return sorted((o for o in self.resting if o.entry.direction == direction), key=lambda o: -direction * o.price)

    def reachable(self, direction: int, price: int) -> list[Order]:
        """What an order of that direction and price crosses, in the order in which it would trade."""
        return [o for o in self.queue(-direction) if direction * o.price <= direction * price]

    def depth(self, direction: int) -> list[tuple[int, int, int]]:
        """(price, volume, orders) per level, best first."""
        levels: dict[int, list[Order]] = {}
        for order in self.queue(direction):
            levels.setdefault(order.price, []).append(order)
        return [(price, sum(o.left for o in orders), len(orders)) for price, orders in levels.items()]

    def indication(self) -> Candidate | None:
        """Where the auction would match now."""
        interests = [Interest(o.entry.direction, o.price, o.left) for o in self.resting]
        return auction_price(interests, self.lower, self.upper, self.reference, self.rule)

    def effective_price(self, entry: Entry) -> int | None:
        """None: BEST or FIVELEVEL with nothing to take a price from."""
        if entry.price_type == PriceType.LIMIT:
            return entry.price
        if entry.price_type == PriceType.MARKET:
            return self.upper if entry.direction > 0 else self.lower
        levels = [price for price, _, _ in self.depth(-entry.direction)]
        if not levels:
            return None
        return levels[0] if entry.price_type == PriceType.BEST else levels[:FIVE_LEVELS][-1]

    def meets_own(self, user: int, direction: int, price: int, volume: int) -> bool:
        """Whether trading `volume` lots down the queue reaches an order of the same user (an auction: any crossing)."""
        for maker in self.reachable(direction, price):
            if maker.entry.user == user:
                return True
            if not self.in_auction:
                volume -= maker.left
                if volume <= 0:
                    return False
        return False

    def fillable(self, order: Order) -> int:
        """Lots that would trade at once, self-trade prevention included."""
        lots = 0
        for maker in self.reachable(order.entry.direction, order.price):
            if maker.entry.user == order.entry.user:
                if order.entry.self_trade == SelfTrade.CANCEL_MAKER:
                    continue
                break
            lots += maker.left
        return lots

    # Commands

    def place(self, entry: Entry) -> Outcome:
        outcome = Outcome()
        if self.in_auction:
            plain = entry.price_type == PriceType.LIMIT and entry.volume_condition == VolumeCondition.ANY
            if not plain or entry.post_only or entry.time_condition == TimeCondition.IOC:
                return Outcome(rejects.NOT_IN_AUCTION.code)
        elif entry.time_condition == TimeCondition.GFA:
            return Outcome(rejects.AUCTION_ONLY.code)
        price = self.effective_price(entry)
        if (
            price is not None
            and entry.self_trade == SelfTrade.REJECT
            and self.meets_own(entry.user, entry.direction, price, entry.volume)
        ):
            return Outcome(rejects.SELF_TRADE.code)
        order = Order(len(self.orders) + 1, entry, price or 0, entry.volume, entry.volume)
        self.orders[order.order_id] = order
        outcome.order_id = order.order_id
        if entry.late:
            self.end(order, CancelReason.DEADLINE_PASSED, outcome)
        elif price is None:
            self.end(order, CancelReason.NO_OPPOSITE, outcome)
        elif entry.post_only and self.reachable(entry.direction, price):
            self.end(order, CancelReason.POST_ONLY_WOULD_MATCH, outcome)
        elif entry.volume_condition == VolumeCondition.ALL and self.fillable(order) < order.left:
            self.end(order, CancelReason.FOK_UNFILLABLE, outcome)
        elif entry.volume_condition == VolumeCondition.MIN and self.fillable(order) < entry.min_volume:
            self.end(order, CancelReason.MIN_VOLUME_UNFILLABLE, outcome)
        else:
            self.take(order, outcome)
        return outcome

    def modify(self, order_id: int, price: int, volume: int) -> Outcome:
        """`volume` is the new total, the filled part included; 0 leaves a value as it is."""
        order = self.orders[order_id]
        if not order.alive:
            return Outcome(rejects.ORDER_NOT_MODIFIABLE.code)
        price = price or order.price
        volume = volume or order.volume
        filled = order.volume - order.left
        if (price, volume) == (order.price, order.volume) or volume <= filled:
            return Outcome(rejects.ORDER_NOT_MODIFIABLE.code)
        if not self.lower <= price <= self.upper:
            return Outcome(rejects.PRICE_OUTSIDE_LIMITS.code)
        entry, left = order.entry, volume - filled
        outcome = Outcome()
        if price == order.price and volume < order.volume:
            order.volume, order.left = volume, left
            return outcome
        if entry.post_only and self.reachable(entry.direction, price):
            return Outcome(rejects.ORDER_NOT_MODIFIABLE.code)
        if entry.self_trade == SelfTrade.REJECT and self.meets_own(entry.user, entry.direction, price, left):
            return Outcome(rejects.SELF_TRADE.code)
        self.resting.remove(order)
        order.price, order.volume, order.left = price, volume, left
        self.take(order, outcome)
        return outcome

    def cancel(self, order_id: int) -> Outcome:
        order = self.orders[order_id]
        if not order.alive:
            return Outcome(rejects.ORDER_NOT_CANCELLABLE.code)
        outcome = Outcome()
        self.end(order, CancelReason.BY_CLIENT, outcome)
        return outcome

    def cancel_all(self, user: int, account: int) -> Outcome:
        outcome = Outcome()
        for order in list(self.resting):
            if (order.entry.user, order.entry.account) == (user, account):
                self.end(order, CancelReason.BY_CLIENT, outcome)
        return outcome

    def call_auction(self) -> Outcome:
        """Continuous trading ends, and with it the orders for this session."""
        outcome = Outcome()
        self.in_auction = True
        for order in list(self.resting):
            if order.entry.time_condition == TimeCondition.GFS:
                self.end(order, CancelReason.SESSION_END, outcome)
        return outcome

    def uncross(self) -> tuple[Candidate | None, Outcome]:
        """End the auction: match at one price, buys and sells each by price then time; GFA remainders end.

        Nobody takes in an auction; the order that was entered later counts as the taker, however it was modified.
        """
        found, outcome = self.indication(), Outcome()
        if found is not None:
            buys = [o for o in self.queue(1) if o.price >= found.price]
            sells = [o for o in self.queue(-1) if o.price <= found.price]
            to_match = found.matched
            while to_match:
                buy, sell = buys[0], sells[0]
                earlier, later = sorted((buy, sell), key=lambda o: o.order_id)
                lots = min(buy.left, sell.left, to_match)
                self.trade(earlier, later, found.price, lots, outcome)
                to_match -= lots
                buys = [o for o in buys if o.left]
                sells = [o for o in sells if o.left]
        self.in_auction = False
        for order in list(self.resting):
            if order.entry.time_condition == TimeCondition.GFA:
                self.end(order, CancelReason.AUCTION_END, outcome)
        return found, outcome

    # What happens to orders

    def end(self, order: Order, reason: int, outcome: Outcome) -> None:
        order.state = OrderState.EXPIRED if reason in EXPIRY_REASONS else OrderState.CANCELLED
        order.reason = reason
        self.resting = [o for o in self.resting if o is not order]
        outcome.ended.append(Ended(order.order_id, order.left, reason))

    def trade(self, maker: Order, taker: Order, price: int, lots: int, outcome: Outcome) -> None:
        for order in (maker, taker):
            order.left -= lots
            order.state = OrderState.PARTIALLY_FILLED if order.left else OrderState.FILLED
        self.resting = [o for o in self.resting if o.left]
        outcome.trades.append(Trade(price, lots, maker.order_id, taker.order_id))

    def take(self, order: Order, outcome: Outcome) -> None:
        """Trade what can be traded now; what becomes of the rest is for the conditions of the order to say."""
        own_mode = order.entry.self_trade
        for maker in self.reachable(order.entry.direction, order.price):
            if maker.entry.user == order.entry.user:
                if own_mode in (SelfTrade.CANCEL_MAKER, SelfTrade.CANCEL_BOTH):
                    self.end(maker, CancelReason.SELF_TRADE, outcome)
                if own_mode != SelfTrade.CANCEL_MAKER:
                    self.end(order, CancelReason.SELF_TRADE, outcome)
                    return
            elif not self.in_auction:
                self.trade(maker, order, maker.price, min(maker.left, order.left), outcome)
                if order.left == 0:
                    return
        self.rest(order, outcome)

    def rest(self, order: Order, outcome: Outcome) -> None:
        entry = order.entry
        if entry.price_type == PriceType.MARKET:
            self.end(order, CancelReason.MARKET_REMAINDER, outcome)
        elif entry.time_condition == TimeCondition.IOC:
            self.end(order, CancelReason.IOC_REMAINDER, outcome)
        elif entry.price_type == PriceType.FIVELEVEL and not outcome.trades:
            self.end(order, CancelReason.NO_OPPOSITE, outcome)  # no fill whose price it could rest at
        else:
            if entry.price_type == PriceType.FIVELEVEL:
                order.price = outcome.trades[-1].price
            order.entry = entry._replace(price_type=PriceType.LIMIT)  # what rests has a price of its own
            self.resting.append(order)
