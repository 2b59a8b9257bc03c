"""Settlement of a trading day (domain.md 8): prices, the halt, and the way through all accounts to the next day.

`SettleDay` checks everything that could refuse it, and halts trading. From then on nothing can fail, and the work is
done in steps: first the instruments (settlement price, end of their day, the next day's limits), then the accounts in
the order of their opening (`mark_to_market`), then the next day is opened. One command takes `STEPS_PER_COMMAND` steps,
so that a node never stops for long; the rest follows in AdvanceClocks, which are due at once. A small exchange is done
in the command itself.

Money is conserved at every step. An instrument gets its settlement price as its last price before any account is
settled: all accounts, settled or not, have the same balance before and after their own step, and only the commissions
leave (`State.fees_units`).
"""

from __future__ import annotations

from typing import Final

import msgspec

from node.exchange import auction, listing, monitor, rejects, sessions, triggers
from node.exchange.commands import (
    AdvanceClock,
    Command,
    PlaceConditional,
    PlaceOrder,
    PublishAnnouncement,
    RecordLogin,
    RegisterUser,
    RevokeTokens,
    SetPassword,
    SetProfile,
    SetRoles,
    SetSettlementPrices,
    SettleDay,
    SetUserStatus,
    WithdrawAnnouncement,
)
from node.exchange.events import DaySettled, Event, InstrumentSettled, SettlementPricesSet, SettlementStarted
from node.exchange.instruments import Instrument, day_limits
from node.exchange.ledger import Account
from node.exchange.mark_to_market import Budget, Marked, end_orders, keep_covered_orders, mark, state_account
from node.exchange.rejects import Refused
from node.exchange.state import Handlers, State
from node.exchange.types import (
    SETTLEMENTS_KEPT,
    InstrumentStatus,
    Phase,
    SettlementRule,
    half_even,
    saturate,
)

STEPS_PER_COMMAND: Final = 800  # about 10 ms: see benchmarks/settlement.py
NAMED_MAX: Final = 5  # instruments that a reject names; it counts the others
CLOSED: Final = int(Phase.CLOSED)
EXPIRED: Final = int(InstrumentStatus.EXPIRED)
GONE: Final = (int(InstrumentStatus.DELISTED), EXPIRED)
LAST_HOUR_AVERAGE: Final = int(SettlementRule.LAST_HOUR_AVERAGE)
LAST_PRICE: Final = int(SettlementRule.LAST_PRICE)

# What goes on while a day is settled: users, announcements, and the clock that settles. SettleDay judges by itself.
ALLOWED_WHILE_RUNNING: Final = (
    AdvanceClock,
    SettleDay,
    RegisterUser,
    SetPassword,
    RevokeTokens,
    SetRoles,
    SetUserStatus,
    SetProfile,
    RecordLogin,
    PublishAnnouncement,
    WithdrawAnnouncement,
)


class Running:
    """A settlement between its commands: how far it is, and what it has summed up."""

    __slots__ = (
        "account_cursor",
        "accounts",
        "commission_units",
        "instrument_cursor",
        "instruments",
        "marked",
        "profit_units",
        "settled",
        "trading_day",
    )

    def __init__(self, state: State, trading_day: int) -> None:
        self.trading_day = trading_day
        self.instruments = list(state.instruments.values())  # none is listed while it runs
        self.instrument_cursor = 0
        self.accounts = list(state.accounts.values())  # none is opened while it runs
        self.account_cursor = 0
        self.marked: Marked | None = None  # of the account at the cursor, if its positions are marked already
        self.settled = 0
        self.commission_units = 0
        self.profit_units = 0


class Settlements:
    """The settlement that runs, the accounts it listed for liquidation, and the results of past days.

    Settlement prices that somebody set wait in `Instrument.settlement_ticks`.
    """

    __slots__ = ("listed", "results", "running")

    def __init__(self) -> None:
        self.running: Running | None = None
        self.listed: list[str] = []  # account ids of the last settled day, to be liquidated at the next opening
        self.results: dict[int, DaySettled] = {}  # by trading day, oldest first, up to SETTLEMENTS_KEPT


def check_halted(state: State, command: Command) -> None:
    """What a running settlement keeps out. Raises Refused.

    A repeated request still gets its first result: told "refused", its sender would take it for not executed.
    """
    if isinstance(command, ALLOWED_WHILE_RUNNING) or _was_answered(state, command):
        return
    raise Refused(rejects.SETTLEMENT_IN_PROGRESS, f"trading day {state.trading_day} is being settled")


def _was_answered(state: State, command: Command) -> bool:
    if isinstance(command, PlaceOrder | PlaceConditional):
        account = state.accounts.get(command.account_id)
        return account is not None and account.client_orders.get(command.client_order_id) is not None
    request_id = getattr(command, "request_id", "")
    if not request_id:
        return False
    account = state.accounts.get(getattr(command, "account_id", ""))
    if account is not None:
        return account.requests.get(request_id) is not None
    user = state.users.get(getattr(command, "user_id", ""))
    return user is not None and user.requests.get(request_id) is not None


# Prices


def set_prices(state: State, command: SetSettlementPrices, raw: bytes, events: list[Event]) -> None:
    """All of them or none."""
    _check_day(state, command.trading_day)
    if not command.prices:
        raise Refused(rejects.BAD_SETTLEMENT_PRICE, "prices is empty")
    chosen: dict[str, int] = {}
    for name, ticks in command.prices:
        instrument = state.resolve(name)
        if instrument is None or instrument.status in GONE:
            raise Refused(rejects.BAD_SETTLEMENT_PRICE, f"instrument_id {name!a} is not listed")
        if instrument.instrument_id in chosen:
            raise Refused(rejects.BAD_SETTLEMENT_PRICE, f"instrument_id {name!a} has two prices")
        _check_price(instrument, ticks)
        chosen[instrument.instrument_id] = ticks
    for instrument_id, ticks in chosen.items():
        state.instruments[instrument_id].settlement_ticks = ticks
    events.append(SettlementPricesSet(command.trading_day, len(chosen)))


def _check_day(state: State, trading_day: int) -> None:
    if trading_day != state.trading_day or not trading_day:
        open_day = f"the open one is {state.trading_day}" if state.trading_day else "none is open yet"
        raise Refused(rejects.WRONG_TRADING_DAY, f"trading_day {trading_day}: {open_day}")


def _check_price(instrument: Instrument, ticks: int) -> None:
    """A settlement price lies where the day's trades may: positions can lose no more at it than was reckoned with."""
    name, lower, upper = instrument.instrument_id, instrument.lower_limit_ticks, instrument.upper_limit_ticks
    if not lower <= ticks <= upper:
        raise Refused(rejects.BAD_SETTLEMENT_PRICE, f"{name}: {ticks} ticks is outside the limits [{lower}, {upper}]")


def default_price(instrument: Instrument) -> int:
    """The settlement price in ticks that the trades of the day give by the instrument's rule; 0 without a trade."""
    volume, turnover = instrument.day_volume, instrument.day_turnover_ticks
    if not volume:
        return 0
    rule = instrument.terms.settlement_rule
    if rule == LAST_PRICE:
        return instrument.last_ticks
    if rule == LAST_HOUR_AVERAGE and volume > instrument.hour_volume:
        return half_even(turnover - instrument.hour_turnover_ticks, volume - instrument.hour_volume)
    return half_even(turnover, volume)


def _chosen_prices(state: State) -> dict[str, int]:
    """The settlement price of every instrument that has one. Raises Refused naming those that need one."""
    chosen: dict[str, int] = {}
    missing: list[str] = []
    for instrument_id, instrument in state.instruments.items():
        if instrument.status in GONE:
            continue
        ticks = instrument.settlement_ticks or default_price(instrument)
        if ticks:
            _check_price(instrument, ticks)  # the limits may have been changed during the day
            chosen[instrument_id] = ticks
        elif instrument.open_interest:
            missing.append(instrument_id)
    if missing:
        others = f" and {len(missing) - NAMED_MAX} others" if len(missing) > NAMED_MAX else ""
        raise Refused(rejects.SETTLEMENT_PRICE_MISSING, f"no price for {', '.join(missing[:NAMED_MAX])}{others}")
    return chosen


# The day


def settle_day(state: State, command: SettleDay, raw: bytes, events: list[Event]) -> None:
    settlements = state.settlements
    first = settlements.results.get(command.trading_day)
    if first is not None:
        events.append(msgspec.structs.replace(first, repeated=True))
        return
    if settlements.running is not None:
        raise Refused(rejects.SETTLEMENT_IN_PROGRESS, f"trading day {state.trading_day} is being settled")
    _check_day(state, command.trading_day)
    _check_sessions_over(state)
    for instrument_id, ticks in _chosen_prices(state).items():
        state.instruments[instrument_id].settlement_ticks = ticks
    settlements.listed.clear()
    settlements.running = Running(state, command.trading_day)
    events.append(SettlementStarted(command.trading_day, len(state.accounts)))
    _halt(state, events)
    _go_on(state, settlements.running, events)


def _check_sessions_over(state: State) -> None:
    """Every calendar must have left the last session of the day behind; what trades around the clock does not wait.

    An administrator who forces a calendar CLOSED ends its day early: a typhoon, a failure of the exchange.
    """
    for calendar in state.calendars.values():
        if calendar.phase != CLOSED or (calendar.next_ns and not calendar.forced):
            raise Refused(
                rejects.SETTLEMENT_FAILED,
                f"calendar {calendar.calendar_id!a} of {calendar.exchange} is in phase {Phase(calendar.phase).name}"
                + (", and its day is not over; force it CLOSED to end it early" if calendar.next_ns else ""),
            )


def _halt(state: State, events: list[Event]) -> None:
    """Close everything. Orders of the session that this ends wait for the step of their account: that is bounded."""
    for instrument in state.instruments.values():
        if Phase.AUCTION_ORDER <= instrument.phase <= Phase.AUCTION_NO_CANCEL:
            auction.withdraw(instrument, events)
        instrument.phase = CLOSED


def due_ns(state: State) -> int:
    """A running settlement goes on at once; otherwise nothing waits (0)."""
    return state.time_ns if state.settlements.running is not None else 0


def advance(state: State, events: list[Event]) -> None:
    """Go on with the settlement that runs."""
    if state.settlements.running is not None:
        _go_on(state, state.settlements.running, events)


def _go_on(state: State, running: Running, events: list[Event]) -> None:
    budget = Budget(STEPS_PER_COMMAND)
    while running.instrument_cursor < len(running.instruments):
        if budget.left <= 0:
            return
        instrument = running.instruments[running.instrument_cursor]
        budget.left -= 1
        if instrument.status not in GONE:
            _end_day(state, instrument, running.trading_day, events)
            if 0 < instrument.terms.expiry_day <= running.trading_day:
                count = len(events)
                _end_instrument(state, instrument, events)
                budget.left -= len(events) - count  # conditional orders that ended with it
                budget.left -= len(running.instruments) // 50  # its code may be free for another of them
        running.instrument_cursor += 1
    next_day = sessions.next_trading_day(state)
    while running.account_cursor < len(running.accounts):
        if budget.left <= 0:
            return
        account = running.accounts[running.account_cursor]
        if not (account.closed and account.idle) and not _settle(state, running, account, next_day, budget, events):
            return
        running.account_cursor += 1
    _open_next_day(state, running, events)


def _end_day(state: State, instrument: Instrument, trading_day: int, events: list[Event]) -> None:
    """Give an instrument its settlement price, the next day's limits, and an empty day."""
    ticks = instrument.settlement_ticks
    close = 0
    if instrument.day_volume:
        close = instrument.pre_close_ticks = instrument.last_ticks
    if ticks:
        instrument.last_ticks = instrument.pre_settlement_ticks = ticks
    instrument.lower_limit_ticks, instrument.upper_limit_ticks = day_limits(instrument)
    instrument.pre_open_interest = instrument.open_interest
    if ticks:
        events.append(
            InstrumentSettled(
                instrument.instrument_id,
                trading_day,
                ticks,
                instrument.day_open_ticks,
                instrument.day_high_ticks,
                instrument.day_low_ticks,
                close,
                instrument.day_volume,
                saturate(instrument.day_turnover_ticks),
                instrument.open_interest,
                instrument.upper_limit_ticks,
                instrument.lower_limit_ticks,
            )
        )
    instrument.settlement_ticks = 0
    instrument.day_volume = instrument.day_turnover_ticks = 0
    instrument.day_open_ticks = instrument.day_high_ticks = instrument.day_low_ticks = 0
    instrument.hour_volume = instrument.hour_turnover_ticks = 0


def _end_instrument(state: State, instrument: Instrument, events: list[Event]) -> None:
    """This was its last day. Its orders and positions end with their accounts' steps."""
    instrument.status = EXPIRED
    instrument.status_reason = f"expired on {instrument.terms.expiry_day}"
    listing.free_code(state, instrument)
    triggers.cancel_of_instrument(state, instrument, events)


def _settle(
    state: State, running: Running, account: Account, next_day: int, budget: Budget, events: list[Event]
) -> bool:
    """One account's day; False if the budget ended before it did."""
    marked = running.marked
    if marked is None:
        if not end_orders(state, account, next_day, budget, events):
            return False
        marked = running.marked = mark(state, account, budget, events)
    if not keep_covered_orders(state, account, budget, events):
        return False
    running.marked = None
    if account.risk_level or account.liquidating:
        monitor.touch(state, account)  # it may hold nothing any more, and then no price leads the monitor to it
    state_account(account, running.trading_day, marked, events)
    running.settled += 1
    running.commission_units += marked.commission
    running.profit_units += marked.close_profit + marked.position_profit
    margin, balance = account.margin, account.pre_balance
    over = margin > 0 and margin * 100 >= balance * state.risk.liquidation_percent
    if over or account.available() < 0:
        state.settlements.listed.append(account.account_id)
    budget.left -= 1
    return True


def _open_next_day(state: State, running: Running, events: list[Event]) -> None:
    settlements = state.settlements
    for instrument in running.instruments:
        if instrument.status == EXPIRED:
            instrument.open_interest = 0
    next_day = sessions.next_trading_day(state)
    result = DaySettled(
        running.trading_day,
        next_day,
        running.settled,
        saturate(running.commission_units),
        saturate(running.profit_units),
        len(settlements.listed),
        False,
    )
    settlements.results[running.trading_day] = result
    if len(settlements.results) > SETTLEMENTS_KEPT:
        del settlements.results[next(iter(settlements.results))]
    settlements.running = None
    events.append(result)
    sessions.open_next_day(state, next_day, events)


HANDLERS: Final[Handlers] = {SetSettlementPrices: set_prices, SettleDay: settle_day}
