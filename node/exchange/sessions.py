"""Trading sessions: what the calendars do to the exchanges as log time passes (domain.md 4).

A calendar changes its phase at the moments of the open trading day; its instruments follow, each to the phase that its
own status and listing allow. The trading day itself begins with the first AdvanceClock and moves on with settlement
alone: an exchange whose day is over stays CLOSED until that day is settled.
"""

from __future__ import annotations

from typing import Final

from node.exchange import auction, rejects
from node.exchange.calendar import Calendar, bad, check, trading_day_at
from node.exchange.commands import SetCalendar, SetSession
from node.exchange.events import CalendarSet, Event, SessionChanged
from node.exchange.instruments import Instrument
from node.exchange.rejects import Refused
from node.exchange.state import Handlers, State
from node.exchange.types import CALENDARS_MAX, CancelReason, InstrumentStatus, Phase, TimeCondition

AT_ONCE: Final = 1  # a due time that has always passed
# What one command may cost before the rest waits for the next one: instruments that follow their calendar, and what
# happens to each (the trades of its auction, orders that end). Some 10 to 20 ms.
STEPS_PER_COMMAND: Final = 500
ORDERS_PER_STEP: Final = 64  # looking at a resting order costs that much less
ACTIVE: Final = int(InstrumentStatus.ACTIVE)
AUCTION: Final = int(InstrumentStatus.AUCTION)
GFS: Final = int(TimeCondition.GFS)
GFA: Final = int(TimeCondition.GFA)
CLOSED: Final = int(Phase.CLOSED)
AUCTION_ORDER: Final = int(Phase.AUCTION_ORDER)
AUCTION_NO_CANCEL: Final = int(Phase.AUCTION_NO_CANCEL)
AUCTION_MATCH: Final = int(Phase.AUCTION_MATCH)
CONTINUOUS: Final = int(Phase.CONTINUOUS)


def due_ns(state: State) -> int:
    """When the next calendar changes its phase or begins its last hour; 0: never on the open trading day."""
    if state.trading_day == 0:
        return AT_ONCE
    first_ns = 0
    for calendar in state.calendars.values():
        if calendar.following:
            return AT_ONCE
        for ns in (calendar.next_ns, calendar.hour_ns):
            if ns and (ns < first_ns or not first_ns):
                first_ns = ns
    return first_ns


def advance(state: State, events: list[Event]) -> None:
    """Walk every moment of the open trading day that has come, in the order of time. The first call opens a day.

    Bounded by STEPS_PER_COMMAND, but for the auction of one instrument, which is never cut. Nothing later happens
    before all instruments have followed their calendar.
    """
    if state.trading_day == 0:
        open_next_day(state, trading_day_at(state.calendars.values(), state.time_ns), events)
        return
    steps = STEPS_PER_COMMAND
    while steps > 0:
        calendar = _first_due(state)
        if calendar is None:
            return
        if calendar.following:
            steps = _follow(state, calendar, steps, events)
        elif calendar.hour_ns and not 0 < calendar.next_ns < calendar.hour_ns:
            calendar.hour_ns = 0
            steps -= _begin_last_hour(state, calendar)
        else:
            moment_ns = calendar.next_ns
            calendar.forced = False
            calendar.next_ns = calendar.next_change(state.trading_day, moment_ns)
            _enter(state, calendar, calendar.phase_at(state.trading_day, moment_ns), events)
            steps -= 1


def _first_due(state: State) -> Calendar | None:
    """The calendar that is followed still, or else whose moment came first; the earlier defined one of two."""
    first, first_ns = None, state.time_ns + 1
    for calendar in state.calendars.values():
        if calendar.following:
            return calendar
        for ns in (calendar.next_ns, calendar.hour_ns):
            if 0 < ns < first_ns:
                first, first_ns = calendar, ns
    return first


def _enter(state: State, calendar: Calendar, phase: int, events: list[Event]) -> None:
    """Move a calendar to a phase; `_follow` has to come."""
    if phase != calendar.phase:
        calendar.phase = phase
        calendar.following = True
        events.append(SessionChanged(calendar.calendar_id, calendar.exchange, phase, state.trading_day))


def _follow(state: State, calendar: Calendar, steps: int, events: list[Event]) -> int:
    """Let instruments enter the phase of their calendar, as many as there are steps for; returns the steps left."""
    for instrument in state.instruments.values():
        if instrument.terms.calendar == calendar.calendar_id and instrument.phase != effective_phase(state, instrument):
            if steps <= 0:
                return 0
            count = len(events)
            looked_at = refresh(state, instrument, events)
            steps -= 1 + looked_at // ORDERS_PER_STEP + len(events) - count
    calendar.following = False
    return steps


def _begin_last_hour(state: State, calendar: Calendar) -> int:
    """Remember where the day's statistics stood (SettlementRule.LAST_HOUR_AVERAGE)."""
    count = 0
    for instrument in state.instruments.values():
        if instrument.terms.calendar == calendar.calendar_id:
            instrument.hour_volume = instrument.day_volume
            instrument.hour_turnover_ticks = instrument.day_turnover_ticks
            count += 1
    return count


def _place(state: State, calendar: Calendar, events: list[Event]) -> None:
    """Put a calendar where it belongs at the log time, whatever it was in before; a forced phase ends."""
    day, now_ns = state.trading_day, state.time_ns
    calendar.forced = False
    if day == 0:
        return  # the first AdvanceClock opens a day
    hour_ns = calendar.last_hour(day)
    calendar.hour_ns = hour_ns if hour_ns > now_ns else 0
    calendar.next_ns = calendar.next_change(day, now_ns)
    _enter(state, calendar, calendar.phase_at(day, now_ns), events)


def next_trading_day(state: State) -> int:
    """The trading day that settlement opens after the open one: the first whose sessions are not over by now."""
    return trading_day_at(state.calendars.values(), state.time_ns, state.trading_day)


def open_next_day(state: State, trading_day: int, events: list[Event]) -> None:
    """Make `trading_day` the open one: every calendar and every instrument goes to where it is on that day now.

    Settlement calls it once nothing of the day before is left to do. Phases whose time is over are not lived through.
    """
    state.trading_day = trading_day
    for calendar in state.calendars.values():
        _place(state, calendar, events)
        calendar.following = False
    for instrument in state.instruments.values():
        refresh(state, instrument, events)


def refresh(state: State, instrument: Instrument, events: list[Event]) -> int:
    """Move an instrument to its effective phase; after a change of its calendar, status, terms or trading day.

    Returns what `change_phase` does.
    """
    return change_phase(state, instrument, effective_phase(state, instrument), events)


def effective_phase(state: State, instrument: Instrument) -> int:
    """The types.Phase that an instrument has to be in now."""
    terms, day = instrument.terms, state.trading_day
    if state.settlements.running is not None or terms.listing_day > day or 0 < terms.expiry_day < day:
        return CLOSED
    if instrument.status == AUCTION:
        return AUCTION_ORDER
    if instrument.status != ACTIVE:
        return CLOSED
    if not terms.calendar:
        return CONTINUOUS
    return state.calendars[terms.calendar].phase


def change_phase(state: State, instrument: Instrument, phase: int, events: list[Event]) -> int:
    """Let an instrument enter a phase, with what leaving the one and entering the other brings.

    Entering AUCTION_MATCH runs the auction, and so does leaving an auction for continuous trading without it: that must
    never see a crossed book, so one that a halt left behind is matched too. To end the auction of a single instrument
    (its status AUCTION becomes ACTIVE), let it enter AUCTION_MATCH and then `refresh` it. Returns how many resting
    orders had to be looked at.
    """
    before = instrument.phase
    if before == phase:
        return 0
    instrument.phase = phase
    looked_at = 0
    if before == CONTINUOUS:
        looked_at = auction.expire(state, instrument, GFS, CancelReason.SESSION_END, events)
    in_auction = AUCTION_ORDER <= before <= AUCTION_NO_CANCEL
    if phase == AUCTION_MATCH:
        looked_at += auction.match(state, instrument, events)
    elif phase == CONTINUOUS:
        if in_auction or auction.crossed(instrument.book):
            looked_at += auction.match(state, instrument, events)
        elif before != AUCTION_MATCH:  # their auction was halted
            looked_at += auction.expire(state, instrument, GFA, CancelReason.AUCTION_END, events)
    elif AUCTION_ORDER <= phase <= AUCTION_NO_CANCEL:
        auction.review(instrument, events)
    elif in_auction:
        auction.withdraw(instrument, events)
    return looked_at


def set_calendar(state: State, command: SetCalendar, raw: bytes, events: list[Event]) -> None:
    """Define or replace a calendar; its instruments follow at once, and a forced phase ends."""
    check(command)
    calendar = state.calendars.get(command.calendar_id)
    if calendar is None:
        if len(state.calendars) >= CALENDARS_MAX:
            raise bad(f"calendar_id {command.calendar_id!a}: there are {CALENDARS_MAX} calendars, the limit")
        calendar = state.calendars[command.calendar_id] = Calendar(
            command.calendar_id, command.exchange, command.day, command.night, command.holidays
        )
    elif calendar.exchange != command.exchange:
        raise bad(f"exchange {command.exchange!a}: calendar {command.calendar_id!a} is of {calendar.exchange}")
    else:
        calendar.define(command.day, command.night, command.holidays)
    events.append(CalendarSet(command.calendar_id, command.exchange))
    _place(state, calendar, events)
    _follow(state, calendar, STEPS_PER_COMMAND, events)


def set_session(state: State, command: SetSession, raw: bytes, events: list[Event]) -> None:
    """Force calendars into a phase until the next moment of their timetables. An exchange's name means the exchange.

    The answer is the SessionChanged of the first calendar, which comes also where the phase is the one it was in.
    """
    if not CLOSED <= command.phase <= Phase.BREAK:
        raise bad(f"phase {command.phase} is not in [{CLOSED}, {int(Phase.BREAK)}]")
    target = command.target
    calendars = [calendar for calendar in state.calendars.values() if calendar.exchange == target]
    if not calendars and target in state.calendars:
        calendars = [state.calendars[target]]
    if not calendars:
        raise Refused(
            rejects.CALENDAR_NOT_FOUND, f"target {target!a} is no exchange with calendars, and no calendar_id"
        )
    steps = STEPS_PER_COMMAND
    for calendar in calendars:
        calendar.forced = True
        if calendar.phase == command.phase:
            events.append(SessionChanged(calendar.calendar_id, calendar.exchange, calendar.phase, state.trading_day))
        else:
            _enter(state, calendar, command.phase, events)
            steps = _follow(state, calendar, steps, events)


HANDLERS: Final[Handlers] = {SetCalendar: set_calendar, SetSession: set_session}
