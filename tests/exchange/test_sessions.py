"""Sessions: days and nights by the calendars, in log time, and what every phase accepts."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.exchange import commands, rejects, sessions, settlement
from node.exchange.events import (
    AuctionIndicated,
    AuctionMatched,
    CalendarSet,
    ClockAdvanced,
    Event,
    OrderAccepted,
    OrderCancelled,
    OrderModified,
    SessionChanged,
)
from node.exchange.types import CancelReason, InstrumentStatus, OrderState, Phase, SettlementRule, TimeCondition
from tests.exchange.driver import BUY, SELL, Driver, code, copper, index_future, trades
from tests.exchange.refusals import refused
from tests.exchange.test_calendar import CFFEX_DAY, NATIONAL_DAY, SHFE_DAY, SHFE_NIGHT, local, phases

CU, IF = "SHFE.cu2701", "CFFEX.IF2701"
GFS, GFA, GTC = int(TimeCondition.GFS), int(TimeCondition.GFA), int(TimeCondition.GTC)
SHFE = commands.SetCalendar("SHFE.night", "SHFE", day=SHFE_DAY, night=SHFE_NIGHT, holidays=NATIONAL_DAY)
CFFEX = commands.SetCalendar("CFFEX.index", "CFFEX", day=CFFEX_DAY, holidays=NATIONAL_DAY)


class Exchange(Driver):
    """Copper with its night and the index future without, from a moment in Shanghai on."""

    def __init__(self, begin: str, *terms: commands.ListInstrument) -> None:
        super().__init__()
        self.do(SHFE, time_ns=local(begin))
        self.do(CFFEX)
        for each in terms or (copper(calendar="SHFE.night"), index_future(calendar="CFFEX.index")):
            self.do(each)
        self.first = self.do(commands.AdvanceClock())

    def at(self, text: str) -> list[Event]:
        """The clock is advanced at this moment, as the leader does when it is due."""
        assert 0 < sessions.due_ns(self.machine) <= local(text)
        answer, *effects = self.do(commands.AdvanceClock(), time_ns=local(text))
        assert answer == ClockAdvanced(self.machine.trading_day)
        return effects

    def phase(self, instrument_id: str) -> Phase:
        return Phase(self.machine.instruments[instrument_id].phase)

    def quiet_until(self, text: str) -> None:
        """Nothing is due before this moment, and something is at it."""
        assert sessions.due_ns(self.machine) == local(text)

    def settle_rest(self) -> None:
        """Go on with the settlement that runs, until it is done."""
        while self.machine.settlements.running is not None:
            self.do(commands.AdvanceClock())

    def force(self, target: str, phase: Phase) -> list[Event]:
        return self.do(commands.SetSession(target, int(phase)))


def changes(events: list[Event]) -> list[tuple[str, Phase]]:
    return [(e.calendar_id, Phase(e.phase)) for e in events if isinstance(e, SessionChanged)]


def ended(events: list[Event]) -> list[tuple[int, CancelReason]]:
    return [(e.order_id, CancelReason(e.reason)) for e in events if isinstance(e, OrderCancelled)]


def test_nothing_of_a_calendar_trades_before_the_first_trading_day_is_open() -> None:
    exchange = Driver()
    exchange.do(SHFE, time_ns=local("2027-01-04 10:00"))
    exchange.do(copper(calendar="SHFE.night"))
    exchange.do(copper("SHFE.al2701", product="al"))
    assert exchange.machine.trading_day == 0
    assert exchange.machine.instruments[CU].phase == Phase.CLOSED
    assert exchange.machine.instruments["SHFE.al2701"].phase == Phase.CONTINUOUS  # around the clock
    assert 0 < sessions.due_ns(exchange.machine) <= exchange.machine.time_ns
    assert exchange.do(commands.AdvanceClock()) == [
        ClockAdvanced(20270104), SessionChanged("SHFE.night", "SHFE", Phase.CONTINUOUS, 20270104),
    ]  # fmt: skip
    assert exchange.machine.instruments[CU].phase == Phase.CONTINUOUS


def test_a_whole_day_of_the_index_future() -> None:
    exchange = Exchange("2027-01-04 08:00", index_future(calendar="CFFEX.index"))
    exchange.do(commands.SetCalendar("SHFE.night", "SHFE", day=phases("03:00-03:01 BREAK")))  # only CFFEX from here on
    assert exchange.first[0] == ClockAdvanced(20270104)
    buyer, seller = exchange.account(), exchange.account()
    terms = {"instrument": IF}
    assert code(exchange.place(buyer, BUY, 1, 19_000, **terms)) == rejects.SESSION_CLOSED.code
    exchange.quiet_until("2027-01-04 09:25")
    assert changes(exchange.at("2027-01-04 09:25")) == [("CFFEX.index", Phase.AUCTION_ORDER)]
    exchange.place(buyer, BUY, 3, 19_100, **terms)
    exchange.place(buyer, BUY, 5, 19_000, time_condition=GFA, **terms)
    indicated = exchange.place(seller, SELL, 4, 18_900, **terms)[-1]
    assert indicated == AuctionIndicated(IF, 19_000, 4, 4)
    exchange.quiet_until("2027-01-04 09:29")
    matched = exchange.at("2027-01-04 09:29")
    assert matched[:2] == [
        SessionChanged("CFFEX.index", "CFFEX", Phase.AUCTION_MATCH, 20270104), AuctionMatched(IF, 19_000, 4),
    ]  # fmt: skip
    assert trades(matched) == [(19_000, 3), (19_000, 1)]
    assert ended(matched) == [(2, CancelReason.AUCTION_END)]
    assert code(exchange.place(buyer, BUY, 1, 19_000, **terms)) == rejects.SESSION_CLOSED.code
    assert exchange.at("2027-01-04 09:30") == [SessionChanged("CFFEX.index", "CFFEX", Phase.CONTINUOUS, 20270104)]
    session = exchange.order_id(exchange.place(buyer, BUY, 1, 18_000, time_condition=GFS, **terms))
    day = exchange.order_id(exchange.place(buyer, BUY, 1, 18_001, **terms))
    noon = exchange.at("2027-01-04 11:30")
    assert changes(noon) == [("CFFEX.index", Phase.BREAK)]
    assert ended(noon) == [(session, CancelReason.SESSION_END)]
    assert exchange.machine.orders[session].state == OrderState.EXPIRED
    assert code(exchange.place(buyer, BUY, 1, 19_000, **terms)) == rejects.SESSION_CLOSED.code
    assert changes(exchange.at("2027-01-04 13:00")) == [("CFFEX.index", Phase.CONTINUOUS)]
    assert trades(exchange.place(seller, SELL, 1, 18_001, **terms)) == [(18_001, 1)]
    assert exchange.machine.orders[day].state == OrderState.FILLED
    exchange.quiet_until("2027-01-04 14:00")
    assert exchange.at("2027-01-04 14:00") == []  # the last hour begins
    exchange.quiet_until("2027-01-04 15:00")
    assert changes(exchange.at("2027-01-04 15:00")) == [("CFFEX.index", Phase.CLOSED)]
    assert sessions.due_ns(exchange.machine) == 0  # until the day is settled
    exchange.settle()
    assert exchange.machine.trading_day == 20270105
    exchange.quiet_until("2027-01-05 03:00")


def test_the_night_of_friday_belongs_to_monday_and_ends_past_midnight() -> None:
    exchange = Exchange("2027-01-08 14:59")  # a Friday
    exchange.at("2027-01-08 15:00")
    exchange.settle()
    assert exchange.machine.trading_day == 20270111
    exchange.quiet_until("2027-01-08 20:55")
    for moment, phase in (
        ("2027-01-08 20:55", Phase.AUCTION_ORDER),
        ("2027-01-08 20:59", Phase.AUCTION_MATCH),
        ("2027-01-08 21:00", Phase.CONTINUOUS),
        ("2027-01-09 02:30", Phase.CLOSED),
        ("2027-01-11 08:55", Phase.AUCTION_ORDER),
    ):
        exchange.quiet_until(moment)
        assert exchange.at(moment)[0] == SessionChanged("SHFE.night", "SHFE", phase, 20270111)
    assert exchange.phase(IF) == Phase.CLOSED


def test_no_night_before_a_holiday() -> None:
    exchange = Exchange("2026-09-30 14:59")
    exchange.at("2026-09-30 15:00")
    exchange.settle()
    assert exchange.machine.trading_day == 20261008
    exchange.quiet_until("2026-10-08 08:55")


def test_the_night_does_not_open_before_the_day_is_settled() -> None:
    exchange = Exchange("2027-01-04 14:59")
    exchange.at("2027-01-04 15:00")
    assert sessions.due_ns(exchange.machine) == 0
    late = exchange.do(commands.AdvanceClock(), time_ns=local("2027-01-04 21:30"))
    assert late == [ClockAdvanced(20270104)]
    assert exchange.phase(CU) == Phase.CLOSED
    assert ("SHFE.night", Phase.CONTINUOUS) in changes(exchange.settle())  # it is half past nine
    assert exchange.machine.trading_day == 20270105
    assert exchange.phase(CU) == Phase.CONTINUOUS


def test_days_that_a_late_settlement_missed_are_not_opened() -> None:
    exchange = Exchange("2027-01-04 14:59")
    exchange.at("2027-01-04 15:00")
    exchange.do(commands.RegisterUser("wednesday", "$2b$hash"), time_ns=local("2027-01-06 10:00"))
    exchange.settle()
    assert exchange.machine.trading_day == 20270106
    assert exchange.phase(CU) == Phase.CONTINUOUS


def test_a_day_that_one_exchange_has_off_is_a_trading_day_of_the_other() -> None:
    exchange = Exchange("2027-01-04 08:00")
    exchange.do(commands.SetCalendar("CFFEX.index", "CFFEX", day=CFFEX_DAY, holidays=[20270104]))
    at_half_past_nine = exchange.at("2027-01-04 09:30")
    assert {calendar_id for calendar_id, _ in changes(at_half_past_nine)} == {"SHFE.night"}
    assert exchange.phase(IF) == Phase.CLOSED
    assert exchange.phase(CU) == Phase.CONTINUOUS


def test_what_was_slept_through_happens_in_the_order_of_time() -> None:
    exchange = Exchange("2027-01-04 08:56")
    buyer, seller = exchange.account(), exchange.account()
    exchange.place(buyer, BUY, 5, 7_000)
    exchange.place(seller, SELL, 3, 6_990)
    caught_up = exchange.at("2027-01-04 09:29")
    assert changes(caught_up) == [
        ("SHFE.night", Phase.AUCTION_MATCH), ("SHFE.night", Phase.CONTINUOUS),
        ("CFFEX.index", Phase.AUCTION_ORDER), ("CFFEX.index", Phase.AUCTION_MATCH),
    ]  # fmt: skip
    assert trades(caught_up) == [(7_000, 3)]
    names = [type(event).__name__ for event in caught_up]
    assert names.index("TradeExecuted") < names.index("SessionChanged", 1)  # matched before trading went on
    exchange.quiet_until("2027-01-04 09:30")


def test_of_two_calendars_at_one_moment_the_earlier_defined_one_comes_first() -> None:
    exchange = Exchange("2027-01-04 14:59")
    assert changes(exchange.at("2027-01-04 15:00")) == [("SHFE.night", Phase.CLOSED), ("CFFEX.index", Phase.CLOSED)]


def test_a_day_slept_through_ends_all_its_sessions() -> None:
    exchange = Exchange("2027-01-04 09:00")
    order = exchange.order_id(exchange.place(exchange.account(), BUY, 1, 7_000, time_condition=GFS))
    caught_up = exchange.at("2027-01-07 03:00")
    assert [phase for calendar_id, phase in changes(caught_up) if calendar_id == "SHFE.night"] == [
        Phase.BREAK, Phase.CONTINUOUS, Phase.BREAK, Phase.CONTINUOUS, Phase.CLOSED,
    ]  # fmt: skip
    assert ended(caught_up) == [(order, CancelReason.SESSION_END)]
    assert exchange.machine.trading_day == 20270104


def test_much_to_catch_up_is_cut_into_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, cut = Exchange("2027-01-04 08:00"), Exchange("2027-01-04 08:00")
    events = whole.at("2027-01-04 15:30")
    monkeypatch.setattr(sessions, "STEPS_PER_COMMAND", 1)
    pieces = []
    while 0 < sessions.due_ns(cut.machine) <= local("2027-01-04 15:30"):
        pieces.append(cut.do(commands.AdvanceClock(), time_ns=local("2027-01-04 15:30") + len(pieces))[1:])
    assert len(pieces) == 30  # 8 moments of SHFE and 6 of CFFEX, each with one instrument, and the last hour of both
    assert [event for piece in pieces for event in piece] == events


def test_instruments_follow_their_calendar_in_several_commands_if_their_auctions_are_large(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sessions, "STEPS_PER_COMMAND", 2)
    ids = [f"SHFE.cu270{month}" for month in (1, 2, 3)]
    exchange = Exchange("2027-01-04 08:56", *(copper(each, calendar="SHFE.night") for each in ids))
    buyer, seller = exchange.account(), exchange.account()
    for each in ids:
        for _ in range(3):
            exchange.place(buyer, BUY, 1, 7_000, instrument=each)
            exchange.place(seller, SELL, 1, 7_000, instrument=each)
    first = exchange.at("2027-01-04 08:59")
    assert changes(first) == [("SHFE.night", Phase.AUCTION_MATCH)]
    assert len(trades(first)) == 3  # an auction is never cut
    assert [exchange.phase(each) for each in ids] == [Phase.AUCTION_MATCH, Phase.AUCTION_ORDER, Phase.AUCTION_ORDER]
    assert sessions.due_ns(exchange.machine) < exchange.machine.time_ns  # the rest at once,
    second = exchange.do(commands.AdvanceClock(), time_ns=local("2027-01-04 09:00"))  # before what has come meanwhile
    assert (changes(second), len(trades(second))) == ([], 3)
    assert len(trades(exchange.do(commands.AdvanceClock()))) == 3
    assert changes(exchange.do(commands.AdvanceClock())) == [("SHFE.night", Phase.CONTINUOUS)]
    assert [exchange.phase(each) for each in ids] == [Phase.CONTINUOUS, Phase.AUCTION_MATCH, Phase.AUCTION_MATCH]
    exchange.do(commands.AdvanceClock())
    assert [exchange.phase(each) for each in ids] == [Phase.CONTINUOUS] * 3
    exchange.quiet_until("2027-01-04 09:25")


def test_looking_for_session_orders_in_many_books_is_cut_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "STEPS_PER_COMMAND", 3)
    monkeypatch.setattr(sessions, "ORDERS_PER_STEP", 1)
    exchange = Exchange("2027-01-04 09:00", *(copper(each, calendar="SHFE.night") for each in (CU, "SHFE.cu2702")))
    trader = exchange.account()
    for _ in range(3):
        exchange.place(trader, BUY, 1, 7_000)
    exchange.at("2027-01-04 09:30")
    exchange.at("2027-01-04 10:15")
    assert (exchange.phase(CU), exchange.phase("SHFE.cu2702")) == (Phase.BREAK, Phase.CONTINUOUS)
    exchange.do(commands.AdvanceClock())
    assert exchange.phase("SHFE.cu2702") == Phase.BREAK


def test_an_advance_with_nothing_due_changes_nothing() -> None:
    exchange = Exchange("2027-01-04 10:00")
    due = sessions.due_ns(exchange.machine)
    assert exchange.do(commands.AdvanceClock()) == [ClockAdvanced(20270104)]
    assert sessions.due_ns(exchange.machine) == due


ALLOWED: list[tuple[Phase, bool, bool, bool]] = [  # phase, orders, modifications, cancels
    (Phase.CLOSED, False, False, True),
    (Phase.PRE_OPEN, False, False, True),
    (Phase.AUCTION_ORDER, True, True, True),
    (Phase.AUCTION_NO_CANCEL, True, False, False),
    (Phase.AUCTION_MATCH, False, False, False),
    (Phase.CONTINUOUS, True, True, True),
    (Phase.BREAK, False, False, True),
]


@pytest.mark.parametrize(("phase", "orders", "modifications", "cancels"), ALLOWED)
def test_what_each_phase_accepts(phase: Phase, orders: bool, modifications: bool, cancels: bool) -> None:
    exchange = Exchange("2027-01-04 10:00")
    trader = exchange.account()
    order = exchange.order_id(exchange.place(trader, BUY, 2, 7_000))
    exchange.force("SHFE", phase)
    answer = exchange.place(trader, BUY, 1, 6_990)
    assert isinstance(answer[0], OrderAccepted) if orders else code(answer) == rejects.SESSION_CLOSED.code
    answer = exchange.do(commands.ModifyOrder(trader, order, volume=1))
    if modifications:
        assert isinstance(answer[0], OrderModified)
    else:  # where orders are taken and cancels are not, a modification would be one
        assert code(answer) == (rejects.CANCEL_NOT_ALLOWED if orders else rejects.SESSION_CLOSED).code
    answer = exchange.do(commands.CancelOrder(trader, order))
    assert isinstance(answer[0], OrderCancelled) if cancels else code(answer) == rejects.CANCEL_NOT_ALLOWED.code


def test_a_forced_session_holds_until_the_next_moment_of_the_timetable() -> None:
    exchange = Exchange("2027-01-04 10:00")
    order = exchange.order_id(exchange.place(exchange.account(), BUY, 2, 7_000, time_condition=GTC))
    assert exchange.force("SHFE", Phase.CLOSED) == [SessionChanged("SHFE.night", "SHFE", Phase.CLOSED, 20270104)]
    assert exchange.phase(CU) == Phase.CLOSED
    assert exchange.phase(IF) == Phase.CONTINUOUS
    assert exchange.machine.calendars["SHFE.night"].forced
    assert exchange.machine.orders[order].alive
    exchange.quiet_until("2027-01-04 10:15")
    assert changes(exchange.at("2027-01-04 10:15")) == [("SHFE.night", Phase.BREAK)]
    assert not exchange.machine.calendars["SHFE.night"].forced
    assert changes(exchange.at("2027-01-04 10:30")) == [("SHFE.night", Phase.CONTINUOUS)]


def test_a_session_is_forced_on_one_calendar_by_its_id_or_on_all_of_an_exchange() -> None:
    exchange = Exchange("2027-01-04 10:00")
    exchange.do(commands.SetCalendar("SHFE.day", "SHFE", day=SHFE_DAY))
    exchange.do(copper("SHFE.fu2701", product="fu", calendar="SHFE.day"))
    assert changes(exchange.force("SHFE.day", Phase.BREAK)) == [("SHFE.day", Phase.BREAK)]
    assert (exchange.phase(CU), exchange.phase("SHFE.fu2701")) == (Phase.CONTINUOUS, Phase.BREAK)
    both = exchange.force("SHFE", Phase.BREAK)
    assert changes(both) == [("SHFE.night", Phase.BREAK), ("SHFE.day", Phase.BREAK)]  # also where it was so
    assert exchange.phase(CU) == Phase.BREAK


@pytest.mark.parametrize(
    ("target", "phase", "reject"),
    [
        ("DCE", 5, rejects.CALENDAR_NOT_FOUND),
        ("", 5, rejects.CALENDAR_NOT_FOUND),
        ("SHFE", 7, rejects.BAD_CALENDAR),
        ("SHFE", -1, rejects.BAD_CALENDAR),
    ],
)
def test_a_wrong_session_is_refused_naming_the_value(target: str, phase: int, reject: rejects.Reject) -> None:
    exchange = Exchange("2027-01-04 10:00")
    detail = refused(exchange, commands.SetSession(target, phase), reject)
    assert (repr(target) if reject is rejects.CALENDAR_NOT_FOUND else str(phase)) in detail


def test_a_forced_continuous_session_matches_the_auction_first() -> None:
    exchange = Exchange("2027-01-04 08:56")
    exchange.place(exchange.account(), BUY, 2, 7_010)
    exchange.place(exchange.account(), SELL, 2, 6_990)
    forced = exchange.force("SHFE", Phase.CONTINUOUS)
    assert forced[1] == AuctionMatched(CU, 7_000, 2)
    assert trades(forced) == [(7_000, 2)]


def test_closing_an_auction_keeps_its_orders_for_the_next_one() -> None:
    exchange = Exchange("2027-01-04 08:56")
    exchange.place(exchange.account(), BUY, 2, 7_010)
    exchange.place(exchange.account(), SELL, 2, 6_990)
    assert exchange.force("SHFE", Phase.CLOSED)[1:] == [AuctionIndicated(CU, 0, 0, 0)]
    assert trades(exchange.at("2027-01-04 08:59")) == [(7_000, 2)]


def test_entering_the_no_cancel_minute_keeps_the_indication() -> None:
    exchange = Exchange("2027-01-04 08:56")
    exchange.place(exchange.account(), BUY, 2, 7_010)
    exchange.place(exchange.account(), SELL, 2, 6_990)
    assert exchange.force("SHFE", Phase.AUCTION_NO_CANCEL)[1:] == []
    assert exchange.machine.instruments[CU].auction_volume == 2


def test_a_suspended_instrument_stays_closed_while_its_exchange_trades() -> None:
    exchange = Exchange("2027-01-04 08:56")
    exchange.do(commands.SetInstrumentStatus(CU, int(InstrumentStatus.SUSPENDED)))
    exchange.at("2027-01-04 09:00")
    assert exchange.phase(CU) == Phase.CLOSED
    assert code(exchange.place(exchange.account(), BUY, 1, 7_000)) == rejects.INSTRUMENT_NOT_TRADING.code
    exchange.do(commands.SetInstrumentStatus(CU, int(InstrumentStatus.ACTIVE)))
    assert exchange.phase(CU) == Phase.CONTINUOUS


def test_an_instrument_trades_from_its_listing_day_on() -> None:
    exchange = Exchange("2027-01-04 14:59", copper(calendar="SHFE.night", listing_day=20270105))
    trader = exchange.account()
    assert exchange.phase(CU) == Phase.CLOSED
    assert code(exchange.place(trader, BUY, 1, 7_000)) == rejects.INSTRUMENT_NOT_LISTED.code
    exchange.at("2027-01-04 15:00")
    exchange.settle()
    exchange.at("2027-01-04 20:55")
    assert exchange.phase(CU) == Phase.AUCTION_ORDER


def test_what_trades_around_the_clock_is_listed_with_its_day_and_halts_for_every_settlement(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(settlement, "STEPS_PER_COMMAND", 1)
    exchange = Exchange("2027-01-04 15:00", copper(), copper("SHFE.cu2702", listing_day=20270106))
    exchange.account(), exchange.account()
    assert exchange.machine.trading_day == 20270105  # Monday is over
    assert (exchange.phase(CU), exchange.phase("SHFE.cu2702")) == (Phase.CONTINUOUS, Phase.CLOSED)
    exchange.at("2027-01-05 15:00")
    assert exchange.phase(CU) == Phase.CONTINUOUS
    exchange.do(commands.SettleDay(20270105))
    assert exchange.machine.settlements.running is not None
    assert exchange.phase(CU) == Phase.CLOSED  # and so the invariants find it after every step
    exchange.settle_rest()
    assert (exchange.phase(CU), exchange.phase("SHFE.cu2702")) == (Phase.CONTINUOUS, Phase.CONTINUOUS)


def test_a_new_definition_applies_at_once_and_ends_a_forced_phase() -> None:
    exchange = Exchange("2027-01-04 10:00")
    exchange.force("SHFE", Phase.PRE_OPEN)
    short = commands.SetCalendar("SHFE.night", "SHFE", day=phases("09:00-09:30 CONTINUOUS", "10:30-11:00 CONTINUOUS"))
    assert exchange.do(short) == [
        CalendarSet("SHFE.night", "SHFE"), SessionChanged("SHFE.night", "SHFE", Phase.CLOSED, 20270104),
    ]  # fmt: skip
    exchange.quiet_until("2027-01-04 10:30")
    assert exchange.phase(CU) == Phase.CLOSED


def test_the_same_definition_again_changes_nothing() -> None:
    exchange = Exchange("2027-01-04 10:00")
    assert exchange.do(SHFE) == [CalendarSet("SHFE.night", "SHFE")]
    exchange.quiet_until("2027-01-04 10:15")


def test_a_session_order_lives_through_the_auction_and_ends_with_the_trading_after_it() -> None:
    exchange = Exchange("2027-01-04 08:56")
    order = exchange.order_id(exchange.place(exchange.account(), BUY, 1, 7_000, time_condition=GFS))
    assert ended(exchange.at("2027-01-04 09:00")) == []
    assert ended(exchange.at("2027-01-04 10:15")) == [(order, CancelReason.SESSION_END)]


def test_the_last_hour_is_measured_from_its_beginning() -> None:
    rule = int(SettlementRule.LAST_HOUR_AVERAGE)
    exchange = Exchange("2027-01-04 13:59", copper(calendar="SHFE.night", settlement_rule=rule))
    buyer, seller = exchange.account(), exchange.account()

    def trade(lots: int, price: int) -> None:
        exchange.place(buyer, BUY, lots, price)
        exchange.place(seller, SELL, lots, price)

    trade(9, 6_900)
    exchange.at("2027-01-04 14:00")
    instrument: Any = exchange.machine.instruments[CU]
    assert (instrument.hour_volume, instrument.hour_turnover_ticks) == (9, 9 * 6_900)
    trade(1, 7_100)
    trade(3, 7_000)
    exchange.at("2027-01-04 15:00")
    exchange.settle()
    assert instrument.pre_settlement_ticks == 7_025  # (7100 + 3 * 7000) / 4: the nine lots of before do not count


quarters = st.integers(0, 95)  # of an hour, in a day of a calendar


@st.composite
def definitions(draw: st.DrawFn) -> commands.SetCalendar:
    cuts = sorted(draw(st.lists(quarters, min_size=2, max_size=16, unique=True)))
    spans = zip(cuts[::2], cuts[1::2], strict=False)
    day = [(a * 900, b * 900, draw(st.integers(0, int(Phase.BREAK)))) for a, b in spans]
    return commands.SetCalendar("SHFE.night", "SHFE", day=day)


@given(definitions(), st.lists(st.integers(1, 24 * 60), max_size=12))
def test_when_the_clock_is_advanced_changes_nothing_in_what_happens(
    calendar: commands.SetCalendar, minutes: list[int]
) -> None:
    """Punctually, late, or once in the evening: the same phases in the same order, and the same phase in between."""

    def day() -> Driver:
        driver = Driver()
        driver.do(calendar, time_ns=local("2027-01-04 00:00"))
        driver.do(copper(calendar="SHFE.night"))
        driver.do(commands.AdvanceClock())
        return driver

    often, once = day(), day()
    assert often.machine.trading_day == 20270104
    events = []
    for minute in sorted(minutes):
        now = local("2027-01-04 00:00") + minute * 60 * 10**9
        if now > often.machine.time_ns:
            events += often.do(commands.AdvanceClock(), time_ns=now)[1:]
            assert often.machine.instruments[CU].phase == often.machine.calendars["SHFE.night"].phase_at(20270104, now)
    evening = local("2027-01-05 00:01")
    events += often.do(commands.AdvanceClock(), time_ns=evening)[1:]
    assert once.do(commands.AdvanceClock(), time_ns=evening)[1:] == events
    timetable = once.machine.calendars["SHFE.night"].timetable(20270104)
    entered = [phase for moment_ns, phase in timetable if moment_ns > local("2027-01-04 00:00")]
    assert [e.phase for e in events if isinstance(e, SessionChanged)] == entered
