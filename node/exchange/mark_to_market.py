"""Mark to market: what the settlement of a trading day does to one account (domain.md 8, 2 to 4).

First the orders end whose time is over. Then, in one piece, the profit of all positions at the settlement prices
becomes balance, today's lots become history, and the day's sums begin again. Last, the opening orders that survive the
day are counted against what is available now. Between any two of its steps the books of the exchange balance, so a
settlement may be cut there and go on in a later command.
"""

from __future__ import annotations

from typing import Final

from node.exchange import clearing
from node.exchange.codec import encode_events
from node.exchange.events import AccountSettled, Event, PositionExpired
from node.exchange.ledger import Account
from node.exchange.orders import Order
from node.exchange.positions import Position
from node.exchange.state import State
from node.exchange.types import STATEMENTS_KEPT, CancelReason, InstrumentStatus, TimeCondition, saturate

OPEN: Final = 0
CLOSETODAY: Final = 2
GTC: Final = int(TimeCondition.GTC)
GTD: Final = int(TimeCondition.GTD)
EXPIRED: Final = int(InstrumentStatus.EXPIRED)
DAY_END: Final = int(CancelReason.DAY_END)
GTD_END: Final = int(CancelReason.GTD_END)
OUTSIDE_LIMITS: Final = int(CancelReason.OUTSIDE_LIMITS)
NO_LONGER_RESERVED: Final = int(CancelReason.NO_LONGER_RESERVED)
INSTRUMENT_ENDED: Final = int(CancelReason.INSTRUMENT_ENDED)
END_REASONS: Final = {
    int(TimeCondition.GFS): int(CancelReason.SESSION_END),
    int(TimeCondition.GFA): int(CancelReason.AUCTION_END),
}
ORDERS_PER_STEP: Final = 32  # looking at an order that lives on costs that much less


class Budget:
    """How many more steps this command may take: an account, a position, an instrument, an order that ends."""

    __slots__ = ("left",)

    def __init__(self, steps: int) -> None:
        self.left = steps


class Marked:
    """The figures of an account's day, taken when its positions were marked; its statement is made of them."""

    __slots__ = ("close_profit", "commission", "deposit", "position_profit", "pre_balance", "withdraw")

    def __init__(self, account: Account, position_profit: int) -> None:
        self.pre_balance = account.pre_balance
        self.deposit = account.deposit
        self.withdraw = account.withdraw
        self.close_profit = account.close_profit
        self.position_profit = position_profit
        self.commission = account.commission


def end_reason(order: Order, next_day: int) -> int:
    """Why a live order ends with the trading day (types.CancelReason); 0 if it lives on into the next one.

    A GTD order whose day is no trading day, or is passed over by a late settlement, ends with the last day before it.

    The instrument has the next day's price limits already, and is EXPIRED if this was its last day.
    """
    instrument = order.instrument
    if instrument.status == EXPIRED:
        return INSTRUMENT_ENDED
    condition = order.time_condition
    if condition == GTD:
        if order.gtd_day < next_day:
            return GTD_END
    elif condition != GTC:
        return END_REASONS.get(condition, DAY_END)
    if not instrument.lower_limit_ticks <= order.price_ticks <= instrument.upper_limit_ticks:
        return OUTSIDE_LIMITS
    if order.offset == CLOSETODAY:
        return NO_LONGER_RESERVED  # tomorrow its lots are history
    return 0


def end_orders(state: State, account: Account, next_day: int, budget: Budget, events: list[Event]) -> bool:
    """End the orders whose time is over; False if the budget ended first, and the rest is to be called for again."""
    for order in list(account.live.values()):
        reason = end_reason(order, next_day)
        if reason:
            if budget.left <= 0:
                return False
            budget.left -= 1
            state.matcher.cancel(order, reason, state.time_ns, events)
    return True


def mark(state: State, account: Account, budget: Budget, events: list[Event]) -> Marked:
    """Realise the profit at the settlement prices (they are the last prices now), roll the positions, begin a new day.

    The commissions leave the account for good here: `fees_units` takes them, so that money stays conserved.
    """
    marked = Marked(account, account.position_profit())
    account.pre_balance = account.balance()
    account.close_profit = account.commission = account.deposit = account.withdraw = 0
    state.fees_units += marked.commission
    budget.left -= len(account.positions) + len(account.live) // ORDERS_PER_STEP
    emptied = 0
    for position in list(account.positions.values()):
        if position.instrument.status == EXPIRED:
            _expire(account, position, events)
        else:
            _roll(account, position)
        if position.empty:
            del account.positions[position.instrument.instrument_id]
            del position.instrument.holders[account.account_id]
            emptied += 1
    if emptied:
        account.forget_unused_products()
    for order in account.live.values():
        if order.frozen_today:  # its lots are history now, and close at that fee
            order.frozen_his += order.frozen_today
            order.frozen_today = 0
            fee = clearing.closing_fee(order.instrument, order.price_ticks, order.frozen_his, 0)
            clearing.set_reservation(order, 0, fee)
    return marked


def _roll(account: Account, position: Position) -> None:
    settlement_ticks = position.instrument.last_ticks
    for side in (position.long, position.short):
        if side.today or side.his:
            side.roll(settlement_ticks)
            account.margin += position.reprice(side)


def _expire(account: Account, position: Position, events: list[Event]) -> None:
    """Cash settlement: the lots end, their profit is realised already. No order holds them any more."""
    instrument = position.instrument
    settlement_ticks = instrument.last_ticks
    for side in (position.long, position.short):
        lots = side.volume
        if lots:
            profit = side.direction * (settlement_ticks * lots - side.today_cost - side.his_cost)
            side.end()
            account.margin += position.reprice(side)
            events.append(
                PositionExpired(
                    account.account_id,
                    instrument.instrument_id,
                    side.direction,
                    lots,
                    settlement_ticks,
                    profit * instrument.tick_value,
                )
            )


def keep_covered_orders(state: State, account: Account, budget: Budget, events: list[Event]) -> bool:
    """Keep the surviving opening orders, oldest first, that what is available covers; end the others.

    False if the budget ended first. Called again, it keeps the same ones: what it ended took nothing from the rest.
    """
    if not account.live:
        return True
    live = list(account.live.values())
    free = account.balance() - account.margin
    for order in live:
        if order.offset != OPEN:
            free -= order.frozen_fee
    for order in live:
        if order.offset == OPEN:
            held = order.frozen_margin + order.frozen_fee
            if held <= free:
                free -= held
                continue
            if budget.left <= 0:
                return False
            budget.left -= 1
            state.matcher.cancel(order, NO_LONGER_RESERVED, state.time_ns, events)
    return True


def state_account(account: Account, trading_day: int, marked: Marked, events: list[Event]) -> None:
    """Publish the statement of the day, and keep a copy of it (up to STATEMENTS_KEPT)."""
    statement = AccountSettled(
        account.account_id,
        trading_day,
        saturate(marked.pre_balance),
        saturate(marked.deposit),
        saturate(marked.withdraw),
        saturate(marked.close_profit),
        saturate(marked.position_profit),
        saturate(marked.commission),
        saturate(account.pre_balance),
        saturate(account.margin),
        saturate(account.available()),
    )
    events.append(statement)
    account.statements.append(encode_events((statement,)))
    if len(account.statements) > STATEMENTS_KEPT:
        account.statements.popleft()
