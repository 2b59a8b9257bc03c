"""Instruments come, change and go (domain.md 2)."""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from node.exchange import auction, clearing, monitor, rejects, sessions, triggers
from node.exchange.commands import DelistInstrument, ListInstrument, ModifyInstrument, SetInstrumentStatus, Terms
from node.exchange.events import Event, InstrumentListed, InstrumentModified, InstrumentStatusChanged
from node.exchange.instruments import Instrument, Venue, day_limits, terms_fault
from node.exchange.orders import Order
from node.exchange.rejects import Refused
from node.exchange.state import Handlers, State
from node.exchange.texts import check_note
from node.exchange.types import (
    INSTRUMENTS_MAX,
    PRICE_TICKS_MAX,
    CancelReason,
    InstrumentStatus,
    Phase,
)

OPEN: Final = 0
OUTSIDE_LIMITS: Final = int(CancelReason.OUTSIDE_LIMITS)
NO_LONGER_RESERVED: Final = int(CancelReason.NO_LONGER_RESERVED)
ACTIVE: Final = int(InstrumentStatus.ACTIVE)
AUCTION: Final = int(InstrumentStatus.AUCTION)
DELISTED: Final = int(InstrumentStatus.DELISTED)
ENDED: Final = (DELISTED, int(InstrumentStatus.EXPIRED))
SETTABLE: Final = (ACTIVE, int(InstrumentStatus.SUSPENDED), AUCTION, int(InstrumentStatus.CLOSED))
AUCTION_ORDER: Final = int(Phase.AUCTION_ORDER)
AUCTION_NO_CANCEL: Final = int(Phase.AUCTION_NO_CANCEL)
AUCTION_MATCH: Final = int(Phase.AUCTION_MATCH)
HOLDERS_NAMED_MAX: Final = 5  # accounts that a refusal names; it counts the others


def list_instrument(state: State, command: ListInstrument, raw: bytes, events: list[Event]) -> None:
    known = state.instruments.get(command.instrument_id)
    if known is not None:
        status = InstrumentStatus(known.status).name
        raise Refused(rejects.INSTRUMENT_EXISTS, f"instrument_id {command.instrument_id!a} is listed ({status})")
    _check_terms(state, command)
    if len(state.instruments) >= INSTRUMENTS_MAX:
        raise Refused(rejects.BAD_INSTRUMENT, f"the exchange lists {INSTRUMENTS_MAX} instruments, its limit")
    exchange = command.instrument_id.partition(".")[0]
    venue = state.venues.get(exchange)
    if venue is not None and venue.margin_rules.get(command.product, command.margin_rule) != command.margin_rule:
        raise _other_margin_rule(command)
    if venue is None:
        venue = state.venues[exchange] = Venue(exchange)
    venue.margin_rules[command.product] = command.margin_rule
    instrument = Instrument(command, venue)
    state.instruments[command.instrument_id] = instrument
    state.codes[instrument.code] = None if instrument.code in state.codes else instrument
    events.append(InstrumentListed(command.instrument_id))
    sessions.refresh(state, instrument, events)


def modify_instrument(state: State, command: ModifyInstrument, raw: bytes, events: list[Event]) -> None:
    """Take new terms at once: orders, reservations and margins follow. O(holders and resting orders)."""
    instrument = _listed(state, command.instrument_id)
    if command.expected_version not in (0, instrument.version):
        raise Refused(
            rejects.INSTRUMENT_CHANGED, f"expected_version {command.expected_version}, it is at {instrument.version}"
        )
    old = instrument.terms
    prices = _rescaled_prices(instrument, command.tick_units)
    terms = replace(command, pre_settlement_ticks=prices[0])
    _check_terms(state, terms)
    changed = identity_changes(old, terms)
    if changed:
        _check_unused(state, instrument, changed)
        if terms.margin_rule != instrument.venue.margin_rules.get(terms.product, terms.margin_rule) and _siblings(
            state, instrument, terms.product
        ):
            raise _other_margin_rule(terms)
    _check_listing_day(state, instrument, terms)
    if changed:
        _change_identity(state, instrument, terms, prices)
    limits = (instrument.lower_limit_ticks, instrument.upper_limit_ticks)
    instrument.set_terms(terms)
    instrument.lower_limit_ticks, instrument.upper_limit_ticks = day_limits(instrument)
    events.append(InstrumentModified(instrument.instrument_id, instrument.version))
    if charges(old) != charges(terms) or limits != (instrument.lower_limit_ticks, instrument.upper_limit_ticks):
        _follow_terms(state, instrument, events)
    if AUCTION_ORDER <= instrument.phase <= AUCTION_NO_CANCEL:
        auction.review(instrument, events)
    sessions.refresh(state, instrument, events)


def set_instrument_status(state: State, command: SetInstrumentStatus, raw: bytes, events: list[Event]) -> None:
    """Suspend, resume, close, or hold in an auction; making it ACTIVE again matches that auction first."""
    instrument = _listed(state, command.instrument_id)
    if command.status not in SETTABLE:
        raise Refused(rejects.BAD_INSTRUMENT, f"status {command.status} is none of {', '.join(map(str, SETTABLE))}")
    check_note("reason", command.reason, rejects.BAD_INSTRUMENT)
    held_in_auction = instrument.status == AUCTION and instrument.phase == AUCTION_ORDER
    instrument.status = command.status
    instrument.status_reason = command.reason
    events.append(InstrumentStatusChanged(instrument.instrument_id, command.status, command.reason))
    if held_in_auction and command.status == ACTIVE:
        sessions.change_phase(state, instrument, AUCTION_MATCH, events)
    sessions.refresh(state, instrument, events)


def delist_instrument(state: State, command: DelistInstrument, raw: bytes, events: list[Event]) -> None:
    """Take an instrument that nobody holds off the market. Its object stays: past trades keep their terms."""
    instrument = _listed(state, command.instrument_id)
    if holders(instrument):
        raise Refused(rejects.INSTRUMENT_HELD, name_holders(instrument))
    instrument.status = DELISTED
    instrument.status_reason = ""
    free_code(state, instrument)
    events.append(InstrumentStatusChanged(instrument.instrument_id, DELISTED, ""))
    sessions.refresh(state, instrument, events)
    triggers.cancel_of_instrument(state, instrument, events)


def holders(instrument: Instrument) -> list[str]:
    """The ids of the accounts that hold lots or live orders of an instrument, by who came first. O(holders)."""
    held = []
    for account_id, account in instrument.holders.items():
        if not account.positions[instrument.instrument_id].empty:  # an order that closes needs lots to close
            held.append(account_id)
    return held


def name_holders(instrument: Instrument) -> str:
    """Who holds an instrument, for people: the first few, and how many more."""
    held = holders(instrument)
    more = len(held) - HOLDERS_NAMED_MAX
    named = ", ".join(held[:HOLDERS_NAMED_MAX]) + (f" and {more} more" if more > 0 else "")
    return f"{instrument.instrument_id} is held by {named}"


def free_code(state: State, instrument: Instrument) -> None:
    """An instrument has ended: its bare code may mean another one now. Call it once its status says so."""
    code = instrument.code
    others = [
        other
        for other in state.instruments.values()
        if other.code == code and other is not instrument and other.status not in ENDED
    ]
    if not others:
        state.codes.pop(code, None)
    else:
        state.codes[code] = others[0] if len(others) == 1 else None


def identity_changes(old: Terms, new: Terms) -> str:
    """What would make another contract of it, for people; empty if nothing does."""
    fields = (
        ("volume_multiple", old.volume_multiple, new.volume_multiple),
        ("tick_units", old.tick_units, new.tick_units),
        ("product", old.product, new.product),
        ("margin_rule", old.margin_rule, new.margin_rule),
    )
    return ", ".join(f"{field} {was!a} -> {will!a}" for field, was, will in fields if was != will)


def charges(terms: Terms) -> tuple[int, ...]:
    """The terms that decide what positions and orders hold of their accounts' money."""
    return (
        terms.margin_long_rate,
        terms.margin_long_amount,
        terms.margin_short_rate,
        terms.margin_short_amount,
        terms.open_rate,
        terms.open_amount,
        terms.close_rate,
        terms.close_amount,
        terms.close_today_rate,
        terms.close_today_amount,
    )


def _listed(state: State, instrument_id: str) -> Instrument:
    """An instrument that is on the market. Raises Refused."""
    instrument = state.instrument(instrument_id)
    if instrument.status in ENDED:
        status = InstrumentStatus(instrument.status).name
        raise Refused(rejects.INSTRUMENT_NOT_LISTED, f"{instrument.instrument_id} is {status}")
    return instrument


def _check_terms(state: State, terms: Terms) -> None:
    """Raises Refused for terms that are wrong by themselves, or with the calendars and the day of the exchange."""
    fault = terms_fault(terms)
    if fault:
        raise Refused(rejects.BAD_INSTRUMENT, fault)
    if terms.calendar:
        calendar = state.calendars.get(terms.calendar)
        exchange = terms.instrument_id.partition(".")[0]
        if calendar is None or calendar.exchange != exchange:
            raise Refused(rejects.CALENDAR_NOT_FOUND, f"calendar {terms.calendar!a} is none of {exchange}")
    if 0 < terms.expiry_day < state.trading_day:
        raise Refused(
            rejects.BAD_INSTRUMENT, f"expiry_day {terms.expiry_day} is before the trading day {state.trading_day}"
        )


def _other_margin_rule(terms: Terms) -> Refused:
    return Refused(rejects.BAD_INSTRUMENT, f"margin_rule {terms.margin_rule}: product {terms.product} has another one")


def _siblings(state: State, instrument: Instrument, product: str) -> bool:
    """Whether other instruments of a product share its margins: they trade, or somebody has a record in them."""
    for other in state.instruments.values():
        alike = other.venue is instrument.venue and other.terms.product == product and other is not instrument
        if alike and (other.holders or other.status not in ENDED):
            return True
    return False


def _rescaled_prices(instrument: Instrument, tick_units: int) -> tuple[int, int, int, int]:
    """(previous settlement, previous close, last, settlement if set) in ticks of a new size. Raises Refused."""
    old = instrument.terms.tick_units
    prices = (
        instrument.pre_settlement_ticks,
        instrument.pre_close_ticks,
        instrument.last_ticks,
        instrument.settlement_ticks,
    )
    if tick_units == old:
        return prices
    for ticks in prices:
        if tick_units < 1 or ticks * old % tick_units or ticks * old // tick_units > PRICE_TICKS_MAX:
            raise Refused(
                rejects.BAD_INSTRUMENT,
                f"tick_units {tick_units}: the price {ticks * old} units of {instrument.instrument_id} is off it",
            )
    first, second, third, fourth = (ticks * old // tick_units for ticks in prices)
    return first, second, third, fourth


def _check_unused(state: State, instrument: Instrument, changed: str) -> None:
    """Raises Refused while positions, orders or today's statistics mean the contract as it is."""
    if holders(instrument):
        raise Refused(rejects.INSTRUMENT_HELD, f"{changed}: {name_holders(instrument)}")
    if instrument.day_volume:
        raise Refused(rejects.INSTRUMENT_HELD, f"{changed}: {instrument.day_volume} lots were traded today")
    if instrument.watched or any(waiting.instrument is instrument for waiting in state.triggers.fired.values()):
        raise Refused(rejects.INSTRUMENT_HELD, f"{changed}: conditional orders wait for a price in its ticks")


def _check_listing_day(state: State, instrument: Instrument, terms: Terms) -> None:
    """Raises Refused if an instrument that accounts hold would not be listed yet."""
    if terms.listing_day > state.trading_day and holders(instrument):
        raise Refused(
            rejects.INSTRUMENT_HELD,
            f"listing_day {terms.listing_day} is after the trading day {state.trading_day}: {name_holders(instrument)}",
        )


def _change_identity(state: State, instrument: Instrument, terms: Terms, prices: tuple[int, int, int, int]) -> None:
    """Make another contract of an instrument that nobody holds: empty positions and the prices' unit go with it."""
    for account in instrument.holders.values():
        del account.positions[instrument.instrument_id]
        account.forget_unused_products()
    instrument.holders.clear()
    rules = instrument.venue.margin_rules
    if not _siblings(state, instrument, instrument.terms.product):
        del rules[instrument.terms.product]
    rules[terms.product] = terms.margin_rule
    (
        instrument.pre_settlement_ticks,
        instrument.pre_close_ticks,
        instrument.last_ticks,
        instrument.settlement_ticks,
    ) = prices
    instrument.assessed_ticks = instrument.last_ticks


def _follow_terms(state: State, instrument: Instrument, events: list[Event]) -> None:
    """Let orders, margins and reservations follow the terms that an instrument has now.

    Orders outside the price limits end. Then margins move. Then reservations: those that shrink give back; those that
    grow are made anew, the oldest first, and an opening order that what is available does not cover ends.
    """
    lower, upper = instrument.lower_limit_ticks, instrument.upper_limit_ticks
    staying = []
    for order in _resting(instrument):
        if lower <= order.price_ticks <= upper:
            staying.append(order)
        else:
            state.matcher.cancel(order, OUTSIDE_LIMITS, state.time_ns, events)
    for account in instrument.holders.values():
        position = account.positions[instrument.instrument_id]
        account.margin += position.reprice(position.long) + position.reprice(position.short)
    growing = []
    for order in staying:
        margin, fee = clearing.reservation(order)
        if order.offset == OPEN and margin + fee > order.frozen_margin + order.frozen_fee:
            growing.append(order)
        else:
            clearing.set_reservation(order, margin, fee)
    free: dict[str, int] = {}  # by account: what is available without these orders; once, for it is O(positions)
    for order in growing:
        account = order.account
        before = free.get(account.account_id)
        if before is None:
            before = account.available()
        free[account.account_id] = before + order.frozen_margin + order.frozen_fee
    for order in growing:
        margin, fee = clearing.reservation(order)
        account_id = order.account.account_id
        if margin + fee <= free[account_id]:
            free[account_id] -= margin + fee
            clearing.set_reservation(order, margin, fee)
        else:
            state.matcher.cancel(order, NO_LONGER_RESERVED, state.time_ns, events)
    monitor.touch_holders(state, instrument)


def _resting(instrument: Instrument) -> list[Order]:
    """All orders in the book of an instrument, the oldest first."""
    orders = [*instrument.book.bids.orders(), *instrument.book.asks.orders()]
    orders.sort(key=_age)
    return orders


def _age(order: Order) -> int:
    return order.order_id


HANDLERS: Final[Handlers] = {
    ListInstrument: list_instrument,
    ModifyInstrument: modify_instrument,
    SetInstrumentStatus: set_instrument_status,
    DelistInstrument: delist_instrument,
}
