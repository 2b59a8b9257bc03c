"""Forced liquidation (domain.md 7): an account's orders are cancelled, then its positions closed, step by step.

A liquidation is started by the risk monitor at the level LIQUIDATION, by the list of a settlement, or by an
administrator with a reason. The first two end as soon as the ratio is below the release level; the third closes
everything.

Each step looks at the account anew: it cancels the account's own orders (opening ones first), lets `closing_plan` say
what is to be closed, and brings its orders in line with that: limit orders, good for the day, at the opposite best
moved by `liquidation_step_ticks` towards the price limit, and by as much again with each retry, never beyond it. An
order that is right as it stands keeps its place in the queue: in a market locked at its limit that place is all that
counts, and a retry could not improve the price, so none is made. A step follows after `liquidation_retry_ns`, after
every fill of one of the orders, after a change of the account, and when an instrument that was halted trades again.

While it runs the account may close, not open, and may not touch the orders of the liquidation. A deficit is recorded
as what it is. Everything that one command does is bounded; the rest is due at once.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from node.exchange import closing_plan, rejects, risk, trading, triggers
from node.exchange.agenda import Agenda
from node.exchange.closing_plan import Closing
from node.exchange.commands import ForceLiquidate, PlaceOrder
from node.exchange.events import Event, LiquidationEnded, LiquidationStarted, LiquidationStepped, TradeExecuted
from node.exchange.ledger import Account
from node.exchange.orders import Order
from node.exchange.rejects import Refused
from node.exchange.requests import Once
from node.exchange.state import Handlers, State
from node.exchange.texts import REASON_MAX, is_label
from node.exchange.types import (
    LIQUIDATIONS_KEPT,
    CancelReason,
    LiquidationState,
    OrderSource,
    Phase,
    PriceType,
    SelfTrade,
    TimeCondition,
    saturate,
)

STEPS_PER_COMMAND: Final = 20  # of all liquidations ...
EVENTS_PER_COMMAND: Final = 500  # ... and no further one after so many events: about 5 ms
CANCELS_PER_STEP: Final = 200
ORDERS_PER_STEP: Final = 20
STARTS_PER_COMMAND: Final = 200  # of a settlement's list
ORDER_IDS_KEPT: Final = 1_000  # of one liquidation
# After it was exhausted an account is looked at again when a price moves, and at the latest after this log time.
EXHAUSTED_PAUSE_NS: Final = 60 * 10**9
OPEN: Final = 0
SOURCE: Final = int(OrderSource.LIQUIDATION)
REASON: Final = int(CancelReason.LIQUIDATION)
CANCEL_MAKER: Final = int(SelfTrade.CANCEL_MAKER)
LIMIT: Final = int(PriceType.LIMIT)
GFD: Final = int(TimeCondition.GFD)
CONTINUOUS: Final = int(Phase.CONTINUOUS)
RUNNING: Final = int(LiquidationState.RUNNING)
DONE: Final = int(LiquidationState.DONE)
DEFICIT: Final = int(LiquidationState.DEFICIT)
EXHAUSTED: Final = int(LiquidationState.EXHAUSTED)


class Liquidation:
    """One liquidation, running or ended. `loss` (units) is the close profit of its fills, negated, plus their fees."""

    __slots__ = (
        "account",
        "balance_after",
        "balance_before",
        "by",
        "ended_ns",
        "everything",
        "liquidation_id",
        "loss",
        "lots",
        "margin_after",
        "margin_before",
        "order_ids",
        "reason",
        "retries",
        "retry_ns",
        "started_ns",
        "state",
        "steps",
        "working",
    )

    def __init__(
        self, liquidation_id: int, account: Account, reason: str, by: str, everything: bool, started_ns: int
    ) -> None:
        self.liquidation_id = liquidation_id
        self.account = account
        self.reason = reason  # empty: the risk ratio
        self.by = by  # empty: the exchange itself
        self.everything = everything  # close all, whatever the ratio
        self.state = RUNNING
        self.started_ns = started_ns
        self.ended_ns = 0
        self.margin_before = self.margin_after = account.margin
        self.balance_before = self.balance_after = account.balance()
        self.order_ids: deque[int] = deque(maxlen=ORDER_IDS_KEPT)  # that it entered, the newest
        self.working: dict[int, Order] = {}  # those of them that are alive, by id
        self.lots = 0  # that its fills closed
        self.loss = 0
        self.steps = 0
        self.retries = 0
        self.retry_ns = 0  # when the next retry may be made; 0: it has not entered anything yet


class Working:
    """An order of a running liquidation, and how many of its lots were left when its fills were last counted."""

    __slots__ = ("left", "liquidation")

    def __init__(self, liquidation: Liquidation, left: int) -> None:
        self.liquidation = liquidation
        self.left = left


class Liquidations:
    """Running and finished liquidations."""

    __slots__ = ("agenda", "count", "finished", "listed_day", "listed_next", "orders", "running", "waiting", "watched")

    def __init__(self) -> None:
        self.count = 0  # ids given
        self.running: dict[str, Liquidation] = {}  # by account id
        self.finished: deque[Liquidation] = deque(maxlen=LIQUIDATIONS_KEPT)  # oldest first
        self.agenda: Agenda[str] = Agenda()  # account ids whose liquidation steps next; the others wait to be woken
        self.orders: dict[int, Working] = {}  # live orders of all liquidations
        self.watched: dict[str, int] = {}  # instrument id -> live orders of liquidations in it
        self.waiting: dict[str, dict[str, None]] = {}  # instrument id -> account ids that wait for it to trade again
        self.listed_day = 0  # the trading day whose opening list was begun ...
        self.listed_next = 0  # ... and how much of it is started

    def follow(self, trade: TradeExecuted) -> None:
        """Count a fill of one of the orders, once: what is left of an order only falls. Then a step is due."""
        self._count(
            trade.buy_order_id, trade.buy_left, trade.volume, trade.buy_fee_units - trade.buy_close_profit_units
        )
        self._count(
            trade.sell_order_id, trade.sell_left, trade.volume, trade.sell_fee_units - trade.sell_close_profit_units
        )

    def _count(self, order_id: int, left: int, lots: int, loss: int) -> None:
        working = self.orders.get(order_id)
        if working is not None and left < working.left:
            working.left = left
            liquidation = working.liquidation
            liquidation.lots += lots
            liquidation.loss += loss
            self.agenda.set(liquidation.account.account_id, liquidation.started_ns)


def start(state: State, account: Account, reason: str, by: str, everything: bool, events: list[Event]) -> None:
    """Begin to liquidate an account for which none runs; its first step is due at once."""
    liquidations = state.liquidations
    liquidations.count += 1
    liquidation = Liquidation(liquidations.count, account, reason, by, everything, state.time_ns)
    liquidations.running[account.account_id] = liquidation
    liquidations.agenda.set(account.account_id, state.time_ns)
    account.liquidating = True
    events.append(
        LiquidationStarted(
            liquidation.liquidation_id,
            account.account_id,
            reason,
            saturate(account.margin),
            saturate(liquidation.balance_before),
        )
    )


def wake(state: State, account: Account) -> None:
    """Something about an account that is being liquidated changed: let its liquidation look at it."""
    state.liquidations.agenda.set(account.account_id, state.time_ns)


def force_liquidate(state: State, command: ForceLiquidate, raw: bytes, events: list[Event]) -> None:
    """Close everything of an account, whatever its ratio."""
    account = state.account(command.account_id)
    with Once(state, account.requests, command.request_id, raw, events, account.account_id) as request:
        if request.repeated:
            return
        if not is_label(command.reason, REASON_MAX):
            raise Refused(rejects.LIQUIDATION_FAILED, f"reason must be 1 to {REASON_MAX} printable characters")
        running = state.liquidations.running.get(account.account_id)
        if running is not None:
            detail = f"liquidation {running.liquidation_id} of {account.account_id} runs already"
            raise Refused(rejects.LIQUIDATION_FAILED, detail)
        if not closing_plan.holds_lots(account) and not account.live:
            raise Refused(rejects.LIQUIDATION_FAILED, f"{account.account_id} has neither positions nor live orders")
        start(state, account, command.reason, command.by, True, events)
        request.ref = str(state.liquidations.count)


def due_ns(state: State) -> int:
    """When `advance` has something to do; 0: never."""
    liquidations = state.liquidations
    if _listed(state):
        return state.time_ns
    for name in liquidations.waiting:
        if state.instruments[name].phase == CONTINUOUS:
            return state.time_ns
    return liquidations.agenda.next_ns()


def advance(state: State, events: list[Event]) -> None:
    """Start what the last settlement listed; step what is due."""
    liquidations = state.liquidations
    _start_listed(state, events)
    for name in list(liquidations.waiting):
        if state.instruments[name].phase == CONTINUOUS:
            for account_id in liquidations.waiting.pop(name):
                liquidations.agenda.set(account_id, state.time_ns)
    until = len(events) + EVENTS_PER_COMMAND
    for _ in range(STEPS_PER_COMMAND):
        if len(events) > until:
            return
        for account_id in liquidations.agenda.take(state.time_ns, 1):
            _step(state, liquidations.running[account_id], events)


def _listed(state: State) -> bool:
    """Whether accounts that the last settlement listed are still to be started."""
    liquidations, listed = state.liquidations, state.settlements.listed
    if liquidations.listed_day != state.trading_day:
        return bool(listed)
    return liquidations.listed_next < len(listed)


def _start_listed(state: State, events: list[Event]) -> None:
    """Start the accounts that the last settlement listed, at the opening of the day that it opened. Bounded."""
    if not _listed(state):
        return
    liquidations, listed = state.liquidations, state.settlements.listed
    if liquidations.listed_day != state.trading_day:
        liquidations.listed_day = state.trading_day
        liquidations.listed_next = 0
    until = min(liquidations.listed_next + STARTS_PER_COMMAND, len(listed))
    for account_id in listed[liquidations.listed_next : until]:
        account = state.accounts[account_id]
        if account.liquidating:
            wake(state, account)
        elif account.live or closing_plan.holds_lots(account):  # a mere debt leaves nothing to be done
            start(state, account, "", "", False, events)
    liquidations.listed_next = until


def _step(state: State, liquidation: Liquidation, events: list[Event]) -> None:
    """Look at the account anew, and do the next thing; then it is on the agenda again, waits to be woken, or ends."""
    account, liquidations = liquidation.account, state.liquidations
    effects: list[Event] = []
    if not liquidation.steps:
        triggers.cancel_of_account(state, account, f"forced liquidation {liquidation.liquidation_id}", effects)
    _forget_ended(state, liquidation)
    left = _cancel_own_orders(state, account, effects)
    entered: list[int] = []
    if left:
        liquidations.agenda.set(account.account_id, state.time_ns)
    elif not _over(state, liquidation):
        if liquidation.retry_ns and state.time_ns >= liquidation.retry_ns:
            liquidation.retries += 1
            liquidation.retry_ns = 0
        if liquidation.retries <= state.risk.liquidation_retries_max:
            entered = _close(state, liquidation, effects)
    if effects:
        liquidation.steps += 1
        events.append(LiquidationStepped(liquidation.liquidation_id, account.account_id, liquidation.steps, entered))
        events += effects
    if left:
        return
    if _over(state, liquidation):
        _end(state, liquidation, DEFICIT if account.balance() < 0 else DONE, events)
    elif liquidation.retries > state.risk.liquidation_retries_max:
        _end(state, liquidation, EXHAUSTED, events)


def _over(state: State, liquidation: Liquidation) -> bool:
    """Whether nothing is left to be done: no lots, or a ratio below the release level."""
    account = liquidation.account
    if not closing_plan.holds_lots(account):
        return True
    return not liquidation.everything and closing_plan.released(state.risk, account.margin, account.balance())


def _forget_ended(state: State, liquidation: Liquidation) -> None:
    """Drop the orders that are no longer alive: filled, or ended by a settlement or a self-trade."""
    for order in list(liquidation.working.values()):
        if not order.alive:
            _forget(state, liquidation, order)


def _forget(state: State, liquidation: Liquidation, order: Order) -> None:
    liquidations, instrument = state.liquidations, order.instrument
    del liquidation.working[order.order_id]
    del liquidations.orders[order.order_id]
    count = liquidations.watched[instrument.instrument_id] - 1
    if count:
        liquidations.watched[instrument.instrument_id] = count
    else:
        del liquidations.watched[instrument.instrument_id]
        triggers.refresh_watched(state, instrument)


def _cancel_own_orders(state: State, account: Account, events: list[Event]) -> int:
    """Cancel what the account itself has in the books, opening orders first; returns how many are left to be cancelled.

    Orders in an auction that takes no cancels stay: they cannot be closed against now either.
    """
    own = [order for order in account.live.values() if order.source != SOURCE and risk.takes_cancels(order.instrument)]
    own.sort(key=_closes)
    for order in own[:CANCELS_PER_STEP]:
        _cancel(state, order, events)
    return max(0, len(own) - CANCELS_PER_STEP)


def _closes(order: Order) -> bool:
    return order.offset != OPEN


def _cancel(state: State, order: Order, events: list[Event]) -> None:
    state.matcher.cancel(order, REASON, state.time_ns, events)
    trading.indicate(order.instrument, events)


def _close(state: State, liquidation: Liquidation, events: list[Event]) -> list[int]:
    """Bring the liquidation's orders in line with what is to be closed now; returns the ids of the orders entered."""
    account, liquidations = liquidation.account, state.liquidations
    account_id = account.account_id
    closings, halted = closing_plan.closings(state.risk, account, liquidation.everything, liquidation.retries)
    for instrument in halted:
        liquidations.waiting.setdefault(instrument.instrument_id, {})[account_id] = None
    ordered: dict[tuple[str, int, int], list[Order]] = {}
    for order in liquidation.working.values():
        if order.instrument.phase == CONTINUOUS:
            ordered.setdefault((order.instrument.instrument_id, order.direction, order.offset), []).append(order)
    wanted: list[tuple[Closing, int]] = []  # with the lots that are to be ordered besides
    for closing in closings:
        standing = ordered.pop((closing.instrument.instrument_id, closing.direction, closing.offset), [])
        lots = sum(order.left for order in standing)
        if lots <= closing.lots and all(
            order.price_ticks * order.direction >= closing.price_ticks * order.direction for order in standing
        ):
            wanted.append((closing, closing.lots - lots))
        else:
            _withdraw(state, liquidation, standing, events)
            wanted.append((closing, closing.lots))
    for standing in ordered.values():
        _withdraw(state, liquidation, standing, events)
    entered: list[int] = []
    more = False
    for closing, lots in wanted:
        while lots:
            if len(entered) == ORDERS_PER_STEP or len(events) > EVENTS_PER_COMMAND:
                more = True
                break
            part = min(lots, closing.instrument.terms.volume_max)
            order_id = _enter(state, liquidation, closing, part, events)
            if not order_id:
                break
            entered.append(order_id)
            lots -= part
    _forget_ended(state, liquidation)  # filled at once, or ended by an order of the same step on the other side
    if more:
        liquidations.agenda.set(account_id, state.time_ns)
    elif _settled_in(liquidation, closings) and (closings or halted):
        liquidations.agenda.drop(account_id)
    else:
        if not liquidation.retry_ns:
            liquidation.retry_ns = state.time_ns + state.risk.liquidation_retry_ns
        liquidations.agenda.set(account_id, liquidation.retry_ns)
    return entered


def _settled_in(liquidation: Liquidation, closings: list[Closing]) -> bool:
    """Whether all that is to be closed stands in the books at the price limits: a retry could not do better.

    Then the liquidation waits to be woken: by a fill, by a change of the account, or by an instrument that opens.
    """
    standing = sum(order.left for order in liquidation.working.values() if order.instrument.phase == CONTINUOUS)
    return all(closing.at_limit for closing in closings) and standing == sum(closing.lots for closing in closings)


def _withdraw(state: State, liquidation: Liquidation, orders: list[Order], events: list[Event]) -> None:
    for order in orders:
        _cancel(state, order, events)
        _forget(state, liquidation, order)


def _enter(state: State, liquidation: Liquidation, closing: Closing, lots: int, events: list[Event]) -> int:
    """Enter one order, and count what it fills at once; returns its id, 0 if it is refused."""
    account, instrument = liquidation.account, closing.instrument
    liquidations = state.liquidations
    command = PlaceOrder(
        account.account_id,
        instrument.instrument_id,
        closing.direction,
        closing.offset,
        lots,
        LIMIT,
        closing.price_ticks,
        GFD,
        self_trade=CANCEL_MAKER,
    )
    position = len(events)
    try:
        order = trading.enter_order(state, command, SOURCE, events)
    except Refused:
        return 0  # the lots are frozen by an order that nothing can cancel now: the next step sees
    liquidation.order_ids.append(order.order_id)
    liquidations.orders[order.order_id] = Working(liquidation, lots)
    liquidations.watched[instrument.instrument_id] = liquidations.watched.get(instrument.instrument_id, 0) + 1
    liquidation.working[order.order_id] = order
    triggers.refresh_watched(state, instrument)
    for event in events[position:]:
        if type(event) is TradeExecuted:
            liquidations.follow(event)
    return order.order_id


def _end(state: State, liquidation: Liquidation, ended: int, events: list[Event]) -> None:
    """Cancel what is still ordered, and keep the record."""
    account, liquidations = liquidation.account, state.liquidations
    _withdraw(state, liquidation, list(liquidation.working.values()), events)
    liquidation.state = ended
    liquidation.ended_ns = state.time_ns
    liquidation.margin_after = account.margin
    liquidation.balance_after = account.balance()
    account.liquidating = False
    del liquidations.running[account.account_id]
    liquidations.agenda.drop(account.account_id)
    for name in list(liquidations.waiting):  # one that has expired never trades again
        liquidations.waiting[name].pop(account.account_id, None)
        if not liquidations.waiting[name]:
            del liquidations.waiting[name]
    liquidations.finished.append(liquidation)
    if ended == EXHAUSTED:
        state.monitor.deferred.set(account.account_id, state.time_ns + EXHAUSTED_PAUSE_NS)
    else:
        state.monitor.touched[account.account_id] = account
    events.append(
        LiquidationEnded(
            liquidation.liquidation_id,
            account.account_id,
            ended,
            saturate(liquidation.margin_after),
            saturate(liquidation.balance_after),
            saturate(liquidation.loss),
        )
    )


HANDLERS: Final[Handlers] = {ForceLiquidate: force_liquidate}
