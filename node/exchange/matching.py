"""Matching: price-time priority at the maker's price, and the life of an order from acceptance to its end."""

from __future__ import annotations

from typing import Final

from node.exchange import clearing
from node.exchange.book import Book
from node.exchange.events import Event, OrderCancelled, TradeExecuted
from node.exchange.instruments import Instrument
from node.exchange.orders import Order
from node.exchange.types import (
    EXPIRY_REASONS,
    FINISHED_ORDERS_MAX,
    FINISHED_ORDERS_PER_ACCOUNT_MAX,
    CancelReason,
    OrderSource,
    OrderState,
    Phase,
    PriceType,
    SelfTrade,
    VolumeCondition,
)
from node.exchange.users import User

BUY: Final = 1
IOC: Final = 1
OPEN: Final = 0
ACCEPTED: Final = int(OrderState.ACCEPTED)
PARTIALLY_FILLED: Final = int(OrderState.PARTIALLY_FILLED)
FILLED: Final = int(OrderState.FILLED)
CANCELLED: Final = int(OrderState.CANCELLED)
EXPIRED: Final = int(OrderState.EXPIRED)
STATE_OF_REASON: Final = tuple(
    EXPIRED if reason in EXPIRY_REASONS else CANCELLED for reason in range(max(CancelReason) + 1)
)
AUCTION_NO_CANCEL: Final = int(Phase.AUCTION_NO_CANCEL)
CONTINUOUS: Final = int(Phase.CONTINUOUS)
LIQUIDATION: Final = int(OrderSource.LIQUIDATION)
MARKET: Final = int(PriceType.MARKET)
FIVELEVEL: Final = int(PriceType.FIVELEVEL)
DEADLINE_PASSED: Final = int(CancelReason.DEADLINE_PASSED)
FOK_UNFILLABLE: Final = int(CancelReason.FOK_UNFILLABLE)
MIN_VOLUME_UNFILLABLE: Final = int(CancelReason.MIN_VOLUME_UNFILLABLE)
NO_OPPOSITE: Final = int(CancelReason.NO_OPPOSITE)
POST_ONLY_WOULD_MATCH: Final = int(CancelReason.POST_ONLY_WOULD_MATCH)
SELF_TRADE: Final = int(CancelReason.SELF_TRADE)
IOC_REMAINDER: Final = int(CancelReason.IOC_REMAINDER)
MARKET_REMAINDER: Final = int(CancelReason.MARKET_REMAINDER)
ANY: Final = int(VolumeCondition.ANY)
MIN: Final = int(VolumeCondition.MIN)
CANCEL_TAKER: Final = int(SelfTrade.CANCEL_TAKER)
CANCEL_MAKER: Final = int(SelfTrade.CANCEL_MAKER)
CANCEL_BOTH: Final = int(SelfTrade.CANCEL_BOTH)


class Matcher:
    """All orders of the exchange that the state still holds, and what happens between them.

    `orders` maps id to order: the live ones, and the newest finished ones of each account for queries.
    """

    __slots__ = ("finished_count", "moved", "orders")

    def __init__(self) -> None:
        self.orders: dict[int, Order] = {}
        self.finished_count = 0
        self.moved: list[Instrument] = []  # traded in this command, and watched by conditional orders

    def accept(self, order: Order) -> None:
        self.orders[order.order_id] = order
        account = order.account
        account.orders[order.order_id] = order
        account.live[order.order_id] = order
        if order.offset == OPEN:
            order.side.opening += order.volume

    def execute(self, order: Order, time_ns: int, deadline_ns: int, events: list[Event]) -> None:
        """Run an accepted order, reservations made, against the book; what may rest, rests.

        An order that its own conditions end (deadline, post-only, volume) never reaches the book, and nobody else sees
        it: also with self-trade mode `cancel_both`, the order of the same user that made it unfillable stays.
        """
        if deadline_ns or order.price_type or order.post_only or order.volume_condition != ANY:
            if self._ends_at_once(order, time_ns, deadline_ns, events):
                return
            if order.price_type:
                self._trade_unpriced(order, time_ns, events)
                return
        self.trade_or_rest(order, time_ns, events)

    def _ends_at_once(self, order: Order, time_ns: int, deadline_ns: int, events: list[Event]) -> bool:
        """Whether an order's own conditions ended it on arrival."""
        reason = 0
        if deadline_ns and time_ns > deadline_ns:
            reason = DEADLINE_PASSED
        elif order.price_type and not order.price_ticks:
            reason = NO_OPPOSITE
        elif order.post_only:
            if crosses(order.instrument.book, order.direction, order.price_ticks):
                reason = POST_ONLY_WOULD_MATCH
        elif order.volume_condition == MIN:
            if fillable(order, order.min_volume) < order.min_volume:
                reason = MIN_VOLUME_UNFILLABLE
        elif order.volume_condition != ANY and fillable(order, order.volume) < order.volume:
            reason = FOK_UNFILLABLE
        if reason:
            self.cancel(order, reason, time_ns, events)
        return reason != 0

    def enter_auction(self, order: Order, time_ns: int, deadline_ns: int, events: list[Event]) -> None:
        """Let an accepted or modified order rest for the auction: nothing matches before it ends.

        The auction trades whatever crosses then, so self-trade prevention comes now, on every order of the same user
        that this one crosses: `cancel_maker` ends them all, `cancel_both` the first of them by price and time. Where no
        order may be cancelled any more, crossing one's own would be a way around that: then this one ends alone.
        """
        if deadline_ns and time_ns > deadline_ns:
            self.cancel(order, DEADLINE_PASSED, time_ns, events)
            return
        own = crossed_own_orders(order.account.user, order.instrument, order.direction, order.price_ticks)
        if own:
            mode = order.self_trade
            if order.instrument.phase == AUCTION_NO_CANCEL or not all(gives_way(resting, order) for resting in own):
                mode = CANCEL_TAKER
            if mode == CANCEL_MAKER:
                for resting in own:
                    self.cancel(resting, SELF_TRADE, time_ns, events)
            elif mode == CANCEL_BOTH:
                self.cancel(first_in_queue(own), SELF_TRADE, time_ns, events)
            if mode != CANCEL_MAKER:
                self.cancel(order, SELF_TRADE, time_ns, events)
                return
        order.instrument.book.enter(order)

    def trade_or_rest(self, order: Order, time_ns: int, events: list[Event]) -> None:
        """Match what crosses; cancel or rest what is left, as the order's conditions say."""
        stopped = self._match(order, time_ns, events)
        if order.left:
            if stopped:
                self.cancel(order, SELF_TRADE, time_ns, events)
            elif order.time_condition == IOC:
                self.cancel(order, IOC_REMAINDER, time_ns, events)
            else:
                order.instrument.book.enter(order)

    def _trade_unpriced(self, order: Order, time_ns: int, events: list[Event]) -> None:
        """Match an order that came without a price, up to its effective one. What is left of a MARKET order ends; of a
        BEST order it rests there, of a FIVELEVEL order at the price of its last fill."""
        stopped = self._match(order, time_ns, events)
        if not order.left:
            return
        if stopped:
            self.cancel(order, SELF_TRADE, time_ns, events)
        elif order.price_type == MARKET:
            self.cancel(order, MARKET_REMAINDER, time_ns, events)
        elif order.time_condition == IOC:
            self.cancel(order, IOC_REMAINDER, time_ns, events)
        elif order.price_type != FIVELEVEL:
            order.instrument.book.enter(order)
        elif order.left == order.volume:  # all five levels were of the same user, and are cancelled
            self.cancel(order, NO_OPPOSITE, time_ns, events)
        else:
            order.price_ticks = order.instrument.last_ticks
            margin, fee = clearing.reservation(order)
            clearing.set_reservation(order, margin, fee)
            order.instrument.book.enter(order)

    def cancel(self, order: Order, reason: int, time_ns: int, events: list[Event]) -> None:
        """End a live order and release what it still holds. In an auction, `auction.indicate` must follow."""
        if order.level is not None:
            order.instrument.book.leave(order)
        clearing.release(order)
        order.state = STATE_OF_REASON[reason]
        order.cancel_reason = reason = int(reason)
        order.update_ns = time_ns
        events.append(
            OrderCancelled(order.order_id, order.account.account_id, order.instrument.instrument_id, order.left, reason)
        )
        self._finish(order)

    def _finish(self, order: Order) -> None:
        account = order.account
        del account.live[order.order_id]
        finished = account.finished
        finished.append(order)
        if len(finished) > FINISHED_ORDERS_PER_ACCOUNT_MAX or self.finished_count >= FINISHED_ORDERS_MAX:
            oldest = finished.popleft()
            del self.orders[oldest.order_id]
            del account.orders[oldest.order_id]
        else:
            self.finished_count += 1

    def _match(self, taker: Order, time_ns: int, events: list[Event]) -> bool:
        """Trade while the best opposite price crosses; True if self-trade prevention stopped the taker."""
        direction = taker.direction
        book = taker.instrument.book
        opposite = book.asks if direction == BUY else book.bids
        keys, levels = opposite.keys, opposite.levels
        limit_key = -direction * taker.price_ticks
        user = taker.account.user
        while taker.left and keys and keys[-1] >= limit_key:
            level = levels[keys[-1]]
            maker = level.head
            assert maker is not None
            if maker.account.user is user:
                if not gives_way(maker, taker):
                    return True
                if taker.self_trade == CANCEL_MAKER:
                    self.cancel(maker, SELF_TRADE, time_ns, events)
                    continue
                if taker.self_trade == CANCEL_BOTH:
                    self.cancel(maker, SELF_TRADE, time_ns, events)
                return True
            self._trade(taker, maker, level.price_ticks, time_ns, events)
        return False

    def trade_at(self, taker: Order, maker: Order, price: int, time_ns: int, events: list[Event]) -> None:
        """One trade of a call auction: both orders rest, and the price need be neither's."""
        level = taker.level
        assert level is not None
        level.volume -= taker.left if taker.left <= maker.left else maker.left
        self._trade(taker, maker, price, time_ns, events)
        if not taker.left:
            taker.instrument.book.leave(taker)

    def _trade(self, taker: Order, maker: Order, price: int, time_ns: int, events: list[Event]) -> None:
        instrument = taker.instrument
        lots = taker.left if taker.left <= maker.left else maker.left
        level = maker.level
        assert level is not None
        level.volume -= lots
        taker.left -= lots
        maker.left -= lots
        taker_fee, taker_profit = clearing.fill(taker, price, lots)
        maker_fee, maker_profit = clearing.fill(maker, price, lots)
        taker.update_ns = maker.update_ns = time_ns
        if maker.left:
            maker.state = PARTIALLY_FILLED
        else:
            instrument.book.leave(maker)
            maker.state = FILLED
            self._finish(maker)
        if taker.left:
            taker.state = PARTIALLY_FILLED
        else:
            taker.state = FILLED
            self._finish(taker)
        instrument.record_trade(price, lots)
        if instrument.watched:
            self.moved.append(instrument)
        venue = instrument.venue
        venue.trade_count += 1
        if taker.direction == BUY:
            buy, sell = taker, maker
            buy_fee, buy_profit, sell_fee, sell_profit = taker_fee, taker_profit, maker_fee, maker_profit
        else:
            buy, sell = maker, taker
            buy_fee, buy_profit, sell_fee, sell_profit = maker_fee, maker_profit, taker_fee, taker_profit
        if buy.offset == OPEN:
            instrument.open_interest += lots
        if sell.offset != OPEN:
            instrument.open_interest -= lots
        events.append(
            TradeExecuted(
                venue.trade_count,
                instrument.instrument_id,
                price,
                lots,
                taker.direction,
                buy.account.account_id,
                buy.order_id,
                buy.offset,
                buy.left,
                buy_fee,
                buy_profit,
                sell.account.account_id,
                sell.order_id,
                sell.offset,
                sell.left,
                sell_fee,
                sell_profit,
            )
        )


def crosses(book: Book, direction: int, price_ticks: int) -> bool:
    """Whether an order of this direction and price would trade at once."""
    best = book.best(-direction)
    return best is not None and direction * price_ticks >= direction * best.price_ticks


def gives_way(maker: Order, taker: Order) -> bool:
    """Whether self-trade prevention may end a resting order of the same user, if the taker's mode says so.

    An order of a forced liquidation gives way to that liquidation alone: with `cancel_maker` its account's user could
    take it back otherwise.
    """
    if maker.source != LIQUIDATION:
        return True
    return taker.source == LIQUIDATION and taker.account is maker.account


def fillable(order: Order, enough: int) -> int:
    """How many lots the book would give this order now, self-trade prevention counted; stops at `enough`.

    The volumes of the levels say it, unless an order of the same user may be among them.
    """
    instrument = order.instrument
    opposite = instrument.book.opposite(order.direction)
    limit_key = -order.direction * order.price_ticks
    lots = 0
    for key in reversed(opposite.keys):
        if key < limit_key:
            break
        lots += opposite.levels[key].volume
        if lots >= enough:
            break
    user = order.account.user
    if lots < enough or not has_live_orders(user, instrument, -order.direction):
        return lots
    lots = 0
    for key in reversed(opposite.keys):
        if key < limit_key:
            break
        maker = opposite.levels[key].head
        while maker is not None:
            if maker.account.user is not user:
                lots += maker.left
                if lots >= enough:
                    return lots
            elif order.self_trade != CANCEL_MAKER or not gives_way(maker, order):
                return lots
            maker = maker.after
    return lots


def has_live_orders(user: User, instrument: Instrument, direction: int) -> bool:
    """Whether any account of a user may have a live order of this direction: live orders hold lots of their position,
    opening ones of the side that they open, closing ones of the other. O(accounts of the user)."""
    for account in user.accounts.values():
        position = account.positions.get(instrument.instrument_id)
        if position is not None:
            opened, closed = (position.long, position.short) if direction > 0 else (position.short, position.long)
            if opened.opening or closed.frozen_today or closed.frozen_his:
                return True
    return False


def crossed_own_orders(user: User, instrument: Instrument, direction: int, price_ticks: int) -> list[Order]:
    """All resting orders of a user that an order of this direction and price crosses, by account and age."""
    if not has_live_orders(user, instrument, -direction):
        return []
    return [
        order
        for account in user.accounts.values()
        for order in account.live.values()
        if order.instrument is instrument
        and order.direction != direction
        and direction * price_ticks >= direction * order.price_ticks
    ]


def first_in_queue(orders: list[Order]) -> Order:
    """Which of some resting orders of one user and side would trade first: the best price, then the queue there."""
    best = orders[0]
    for order in orders:
        if order.direction * order.price_ticks > best.direction * best.price_ticks:
            best = order
    level = best.level
    assert level is not None
    user, head = best.account.user, level.head
    while head is not None and head.account.user is not user:
        head = head.after
    assert head is not None
    return head


def meets_own_order(user: User, instrument: Instrument, direction: int, price_ticks: int, volume: int) -> bool:
    """Whether an order would reach one of the same user's orders, now or in the auction (self-trade mode `reject`)."""
    if instrument.phase != CONTINUOUS:
        return bool(crossed_own_orders(user, instrument, direction, price_ticks))
    if not has_live_orders(user, instrument, -direction):
        return False
    opposite = instrument.book.opposite(direction)
    limit_key = -direction * price_ticks
    for key in reversed(opposite.keys):
        if key < limit_key or volume <= 0:
            break
        maker = opposite.levels[key].head
        while maker is not None and volume > 0:
            if maker.account.user is user:
                return True
            volume -= maker.left
            maker = maker.after
    return False
