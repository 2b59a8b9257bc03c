"""Calendars: dates, trading days, timetables, and what SetCalendar refuses."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.exchange import commands, rejects
from node.exchange.calendar import (
    HOLIDAYS_MAX,
    PHASES_MAX,
    Calendar,
    day_number,
    day_of,
    is_day,
    is_weekday,
    moment,
    trading_day_at,
)
from node.exchange.events import CalendarSet
from node.exchange.types import CALENDARS_MAX, Phase
from tests.exchange.driver import Driver
from tests.exchange.refusals import refused

ORDER, NO_CANCEL, MATCH, CONTINUOUS, BREAK = (
    int(Phase.AUCTION_ORDER), int(Phase.AUCTION_NO_CANCEL), int(Phase.AUCTION_MATCH), int(Phase.CONTINUOUS),
    int(Phase.BREAK),
)  # fmt: skip
CLOSED = int(Phase.CLOSED)
SHANGHAI = timezone(timedelta(hours=8))


def clock(text: str) -> int:
    """ "25:30" -> seconds of the local day."""
    hours, minutes = text.split(":")
    return int(hours) * 3_600 + int(minutes) * 60


def phases(*texts: str) -> list[tuple[int, int, int]]:
    """ "09:00-10:15 CONTINUOUS" as the command has it."""
    found = []
    for text in texts:
        span, phase = text.split()
        start, end = span.split("-")
        found.append((clock(start), clock(end), int(Phase[phase])))
    return found


CFFEX_DAY = phases(
    "09:25-09:29 AUCTION_ORDER", "09:29-09:30 AUCTION_MATCH", "09:30-11:30 CONTINUOUS", "11:30-13:00 BREAK",
    "13:00-15:00 CONTINUOUS",
)  # fmt: skip
SHFE_DAY = phases(
    "08:55-08:59 AUCTION_ORDER", "08:59-09:00 AUCTION_MATCH", "09:00-10:15 CONTINUOUS", "10:15-10:30 BREAK",
    "10:30-11:30 CONTINUOUS", "11:30-13:30 BREAK", "13:30-15:00 CONTINUOUS",
)  # fmt: skip
SHFE_NIGHT = phases("20:55-20:59 AUCTION_ORDER", "20:59-21:00 AUCTION_MATCH", "21:00-26:30 CONTINUOUS")
NATIONAL_DAY = [20261001, 20261002, 20261005, 20261006, 20261007]


def local(text: str) -> int:
    """ "2026-09-30 21:00" in Shanghai, as ns since the epoch, by the standard library."""
    at = datetime.strptime(text, "%Y-%m-%d %H:%M").replace(tzinfo=SHANGHAI)
    return int((at - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()) * 10**9


def shfe(holidays: list[int] | None = None) -> Calendar:
    return Calendar("SHFE.night", "SHFE", SHFE_DAY, SHFE_NIGHT, holidays or [])


def cffex(holidays: list[int] | None = None) -> Calendar:
    return Calendar("CFFEX", "CFFEX", CFFEX_DAY, [], holidays or [])


@given(st.dates(min_value=date(1970, 1, 1), max_value=date(2999, 12, 31)))
def test_dates_are_those_of_the_gregorian_calendar(day: date) -> None:
    text = day.year * 10_000 + day.month * 100 + day.day
    number = (day - date(1970, 1, 1)).days
    assert day_number(text) == number
    assert day_of(number) == text
    assert is_day(text)
    assert is_weekday(number) == (day.weekday() < 5)


def test_every_day_of_four_centuries_follows_the_one_before() -> None:
    day = date(1970, 1, 1)
    for number in range(146_097):
        assert day_of(number) == day.year * 10_000 + day.month * 100 + day.day
        assert day_number(day_of(number)) == number
        day += timedelta(days=1)


@given(st.integers(min_value=-(10**9), max_value=10**9))
def test_a_number_that_is_no_date_is_no_day(text: int) -> None:
    try:
        known = text >= 19700101 and bool(date(text // 10_000, text // 100 % 100, text % 100))
    except ValueError:
        known = False
    assert is_day(text) == (known and text <= 29991231)


@pytest.mark.parametrize("text", [0, 20270229, 20270431, 20271301, 20270100, 20270001, 30000101, 19691231, -20270101])
def test_dates_that_do_not_exist(text: int) -> None:
    assert not is_day(text)


def test_local_time_is_eight_hours_ahead() -> None:
    assert moment(day_number(20270104), clock("09:30")) == local("2027-01-04 09:30")
    assert moment(day_number(20270108), clock("26:30")) == local("2027-01-09 02:30")


@pytest.mark.parametrize(
    ("now", "trading_day"),
    [
        ("2027-01-04 00:00", 20270104),  # a Monday
        ("2027-01-04 14:59", 20270104),
        ("2027-01-04 15:00", 20270105),  # its last phase is over
        ("2027-01-04 21:00", 20270105),  # the night belongs to the next trading day
        ("2027-01-05 02:29", 20270105),  # also past midnight
        ("2027-01-08 21:00", 20270111),  # Friday night belongs to Monday
        ("2027-01-09 02:00", 20270111),
        ("2027-01-10 12:00", 20270111),
        ("2026-09-30 14:00", 20260930),
        ("2026-09-30 21:00", 20261008),  # over the holidays
        ("2026-10-03 12:00", 20261008),
    ],
)
def test_the_trading_day_of_a_moment(now: str, trading_day: int) -> None:
    assert trading_day_at([shfe(NATIONAL_DAY)], local(now)) == trading_day


def test_a_day_is_a_trading_day_while_any_exchange_trades() -> None:
    closed = cffex([20270104])
    assert trading_day_at([closed], local("2027-01-04 10:00")) == 20270105
    assert trading_day_at([closed, shfe()], local("2027-01-04 10:00")) == 20270104


def test_the_day_lasts_until_the_last_exchange_has_closed() -> None:
    late = Calendar("late", "DCE", phases("09:00-15:15 CONTINUOUS"), [], [])
    assert trading_day_at([cffex(), late], local("2027-01-04 15:10")) == 20270104
    assert trading_day_at([cffex(), late], local("2027-01-04 15:15")) == 20270105


def test_without_calendars_every_weekday_is_a_trading_day_until_midnight() -> None:
    assert trading_day_at([], local("2027-01-04 23:59")) == 20270104
    assert trading_day_at([], local("2027-01-05 00:00")) == 20270105
    assert trading_day_at([], local("2027-01-09 00:00")) == 20270111


def test_the_day_after_a_settled_one_is_the_first_whose_sessions_are_not_over() -> None:
    calendars = [shfe(NATIONAL_DAY)]
    assert trading_day_at(calendars, local("2027-01-04 10:00"), 20270104) == 20270105
    assert trading_day_at(calendars, local("2027-01-04 15:30"), 20270104) == 20270105
    assert trading_day_at(calendars, local("2027-01-06 10:00"), 20270104) == 20270106  # the 5th was slept through
    assert trading_day_at(calendars, local("2026-09-30 16:00"), 20260930) == 20261008


def test_the_timetable_of_a_cffex_day() -> None:
    assert cffex().timetable(20270104) == [
        (local("2027-01-04 09:25"), ORDER),
        (local("2027-01-04 09:29"), MATCH),
        (local("2027-01-04 09:30"), CONTINUOUS),
        (local("2027-01-04 11:30"), BREAK),
        (local("2027-01-04 13:00"), CONTINUOUS),
        (local("2027-01-04 15:00"), CLOSED),
    ]


def test_the_night_of_monday_is_on_friday_and_ends_on_saturday() -> None:
    night = shfe().timetable(20270111)[:4]
    assert night == [
        (local("2027-01-08 20:55"), ORDER),
        (local("2027-01-08 20:59"), MATCH),
        (local("2027-01-08 21:00"), CONTINUOUS),
        (local("2027-01-09 02:30"), CLOSED),
    ]


def test_before_a_holiday_there_is_no_night_and_after_it_the_day_begins_with_the_morning() -> None:
    calendar = shfe(NATIONAL_DAY)
    assert calendar.timetable(20261008)[0] == (local("2026-10-08 08:55"), ORDER)
    assert calendar.timetable(20261009)[0] == (local("2026-10-08 20:55"), ORDER)
    assert calendar.timetable(20261001) == []
    one_monday = shfe([20270104])
    assert one_monday.timetable(20270105)[0] == (local("2027-01-05 08:55"), ORDER)  # no night on the Friday before


def test_a_weekend_has_no_timetable() -> None:
    assert shfe().timetable(20270109) == []
    assert shfe().phase_at(20270109, local("2027-01-09 10:00")) == CLOSED
    assert shfe().next_change(20270109, local("2027-01-09 10:00")) == 0
    assert shfe().last_hour(20270109) == 0


@pytest.mark.parametrize(
    ("now", "phase", "then"),
    [
        ("2027-01-08 20:00", CLOSED, "2027-01-08 20:55"),
        ("2027-01-08 20:55", ORDER, "2027-01-08 20:59"),
        ("2027-01-09 02:29", CONTINUOUS, "2027-01-09 02:30"),
        ("2027-01-09 02:30", CLOSED, "2027-01-11 08:55"),
        ("2027-01-11 10:15", BREAK, "2027-01-11 10:30"),
        ("2027-01-11 14:59", CONTINUOUS, "2027-01-11 15:00"),
        ("2027-01-11 15:00", CLOSED, ""),
    ],
)
def test_the_phase_of_a_moment_and_the_next_change(now: str, phase: int, then: str) -> None:
    assert shfe().phase_at(20270111, local(now)) == phase
    assert shfe().next_change(20270111, local(now)) == (local(then) if then else 0)


def test_a_gap_is_closed_and_phases_that_touch_and_agree_are_one() -> None:
    calendar = Calendar(
        "c", "DCE", phases("09:00-10:00 CONTINUOUS", "10:00-11:00 CONTINUOUS", "13:00-14:00 CONTINUOUS"), [], []
    )
    assert calendar.timetable(20270104) == [
        (local("2027-01-04 09:00"), CONTINUOUS),
        (local("2027-01-04 11:00"), CLOSED),
        (local("2027-01-04 13:00"), CONTINUOUS),
        (local("2027-01-04 14:00"), CLOSED),
    ]


def test_the_last_hour_is_that_of_the_last_continuous_phase() -> None:
    assert shfe().last_hour(20270104) == local("2027-01-04 14:00")
    assert Calendar("c", "DCE", phases("09:00-10:00 AUCTION_ORDER"), [], []).last_hour(20270104) == 0


@given(
    st.lists(st.integers(0, 96), min_size=2, max_size=20, unique=True).map(sorted),
    st.lists(st.integers(0, 6), min_size=10, max_size=10),
    st.integers(-96, 3 * 96),
)
def test_the_phase_is_that_of_the_span_that_holds_the_moment(cuts: list[int], kinds: list[int], quarter: int) -> None:
    """Against asking every span; a day has 96 quarters of an hour."""
    spans = [(a * 900, b * 900, kind) for a, b, kind in zip(cuts[::2], cuts[1::2], kinds, strict=False)]
    calendar = Calendar("c", "DCE", spans, [], [])
    now = local("2027-01-05 00:00") + quarter * 900 * 10**9
    second = quarter * 900
    held = [kind for start, end, kind in spans if start <= second < end]
    assert calendar.phase_at(20270105, now) == (held[0] if held else CLOSED)
    then = calendar.next_change(20270105, now)
    if then:
        assert then > now
        assert (
            calendar.phase_at(20270105, then)
            != calendar.phase_at(20270105, now)
            == calendar.phase_at(20270105, then - 1)
        )


def definition(**changes: Any) -> commands.SetCalendar:
    fields: dict[str, Any] = {"calendar_id": "night", "exchange": "SHFE", "day": SHFE_DAY, "night": SHFE_NIGHT}
    return commands.SetCalendar(**(fields | changes))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"calendar_id": ""}, "calendar_id ''"),
        ({"calendar_id": "night\x1b"}, "calendar_id 'night\\x1b'"),
        ({"calendar_id": "x" * 65}, "calendar_id"),
        ({"exchange": "shfe"}, "exchange 'shfe'"),
        ({"exchange": "S"}, "exchange 'S'"),
        ({"exchange": "ÄÖ"}, "exchange '\\xc4\\xd6'"),
        ({"day": []}, "day has no phase"),
        ({"day": [(i, i + 1, 5) for i in range(PHASES_MAX - 2)]}, "day and night have 33 phases"),
        ({"day": [(-1, 5, 5)]}, "day[0] from -1 to 5"),
        ({"day": [(0, 86_401, 5)]}, "day[0] from 0 to 86401"),
        ({"day": [(5, 5, 5)]}, "day[0] from 5 to 5"),
        ({"day": [(9, 5, 5)]}, "day[0] from 9 to 5"),
        ({"day": [(0, 9, 5), (8, 10, 6)]}, "day[1] begins at 8"),
        ({"day": [(8, 10, 5), (0, 5, 6)]}, "day[1] begins at 0"),
        ({"day": [(0, 9, 7)]}, "day[0] phase 7"),
        ({"day": [(0, 9, -1)]}, "day[0] phase -1"),
        ({"night": [(57_599, 60_000, 5)]}, "night[0] from 57599"),
        ({"night": [(60_000, 115_201, 5)]}, "night[0] from 60000 to 115201"),
        ({"day": phases("09:00-17:00 CONTINUOUS"), "night": phases("16:30-23:00 CONTINUOUS")}, "day[0] ends at 61200"),
        ({"day": phases("01:00-02:00 CONTINUOUS"), "night": phases("21:00-26:30 CONTINUOUS")}, "night[0] ends at"),
        ({"holidays": [20270101, 20270230]}, "holidays[1] 20270230"),
        ({"holidays": [20270101] * (HOLIDAYS_MAX + 1)}, "holidays has 1001 days"),
    ],
)
def test_a_wrong_calendar_is_refused_naming_field_and_value(changes: dict[str, Any], said: str) -> None:
    assert said in refused(Driver(), definition(**changes), rejects.BAD_CALENDAR)


def test_the_extremes_of_a_calendar_are_accepted() -> None:
    exchange = Driver()
    full = definition(
        day=[(86_400 - i, 86_401 - i, 5) for i in range(PHASES_MAX - 1, 0, -1)],
        night=[],
        holidays=[20270101] * HOLIDAYS_MAX,
    )
    assert exchange.do(full) == [CalendarSet("night", "SHFE")]
    late = definition(calendar_id="late", day=[(28_800, 57_600, 5)], night=[(57_600, 115_200, 5)])
    assert exchange.do(late) == [CalendarSet("late", "SHFE")]


def test_a_calendar_keeps_its_exchange() -> None:
    exchange = Driver()
    exchange.do(definition())
    other = definition(exchange="INE", day=phases("10:00-11:00 CONTINUOUS"))
    assert "exchange 'INE'" in refused(exchange, other, rejects.BAD_CALENDAR)


def test_there_is_room_for_a_number_of_calendars_and_no_more() -> None:
    exchange = Driver()
    for i in range(CALENDARS_MAX):
        assert exchange.do(definition(calendar_id=f"c{i}")) == [CalendarSet(f"c{i}", "SHFE")]
    refused(exchange, definition(calendar_id="one more"), rejects.BAD_CALENDAR)
    assert exchange.do(definition(calendar_id="c7", night=[])) == [CalendarSet("c7", "SHFE")]  # replacing goes on
    assert exchange.machine.calendars["c7"].night == []
