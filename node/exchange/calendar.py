"""Session calendars: which phase an exchange is in at a moment, and on which trading day (domain.md 4).

Days are YYYYMMDD in commands and in the state, and numbers since 1970-01-01 in arithmetic. All of it is in
Asia/Shanghai, which is UTC+8 without daylight saving, so local time is integer arithmetic. Pure functions: the moment
is always an argument.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from node.exchange import rejects
from node.exchange.commands import SetCalendar
from node.exchange.rejects import Refused
from node.exchange.texts import is_exchange, is_label
from node.exchange.types import TEXT_MAX, Phase

SECOND_NS: Final = 10**9
HOUR_SECONDS: Final = 3_600
DAY_SECONDS: Final = 86_400
SHANGHAI_SECONDS: Final = 8 * HOUR_SECONDS  # local time minus UTC
NIGHT_BEGIN_SECONDS: Final = 16 * HOUR_SECONDS  # no night session begins earlier,
NIGHT_END_SECONDS: Final = 32 * HOUR_SECONDS  # or ends later than 08:00 of the next morning
DAY_MIN: Final = 1970_01_01
DAY_MAX: Final = 2999_12_31
PHASES_MAX: Final = 32  # of one calendar, day and night together
HOLIDAYS_MAX: Final = 1_000  # of one calendar: several decades
CLOSED: Final = int(Phase.CLOSED)
CONTINUOUS: Final = int(Phase.CONTINUOUS)

Phases = list[tuple[int, int, int]]  # (start, end, types.Phase), seconds of the local day


def day_number(day: int) -> int:
    """Days since 1970-01-01 of a YYYYMMDD (proleptic Gregorian; H. Hinnant's days_from_civil).

    >>> day_number(19700101), day_number(20000301)
    (0, 11017)
    """
    year, month, of_month = day // 10_000, day // 100 % 100, day % 100
    if month <= 2:
        year -= 1  # the year begins in March, so that the leap day is its last
    era, of_era = divmod(year, 400)
    of_year = (153 * ((month + 9) % 12) + 2) // 5 + of_month - 1
    return era * 146_097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719_468


def day_of(number: int) -> int:
    """The YYYYMMDD of a day number; the inverse of `day_number`.

    >>> day_of(0), day_of(11016)
    (19700101, 20000229)
    """
    era, of_era = divmod(number + 719_468, 146_097)
    year = (of_era - of_era // 1_460 + of_era // 36_524 - of_era // 146_096) // 365
    of_year = of_era - (365 * year + year // 4 - year // 100)
    shifted = (5 * of_year + 2) // 153  # the month, counted from March
    month = shifted + 3 if shifted < 10 else shifted - 9
    year += era * 400 + (1 if month <= 2 else 0)
    return year * 10_000 + month * 100 + of_year - (153 * shifted + 2) // 5 + 1


def is_day(day: int) -> bool:
    """Whether a number is a YYYYMMDD that exists."""
    return DAY_MIN <= day <= DAY_MAX and day_of(day_number(day)) == day


def is_weekday(number: int) -> bool:
    """Whether a day number is a Monday to Friday (1970-01-01 was a Thursday)."""
    return (number + 3) % 7 < 5


def local_second(moment_ns: int) -> int:
    """Seconds since 1970-01-01 00:00 in Shanghai."""
    return moment_ns // SECOND_NS + SHANGHAI_SECONDS


def moment(number: int, second: int) -> int:
    """The ns since the epoch of a second of a local day (which may lie beyond its midnight)."""
    return (number * DAY_SECONDS + second - SHANGHAI_SECONDS) * SECOND_NS


class Calendar:
    """One session calendar: its definition, and where it stands on the open trading day.

    `next_ns` is the next change of phase that has not happened, `hour_ns` the beginning of the day's last hour while it
    is still ahead; 0: none on this trading day. A `forced` phase holds until `next_ns`. While it is `following`, not
    all of its instruments have entered its phase yet.
    """

    __slots__ = (
        "calendar_id",
        "day",
        "exchange",
        "following",
        "forced",
        "holidays",
        "hour_ns",
        "next_ns",
        "night",
        "phase",
    )

    def __init__(self, calendar_id: str, exchange: str, day: Phases, night: Phases, holidays: list[int]) -> None:
        self.calendar_id = calendar_id
        self.exchange = exchange
        self.define(day, night, holidays)
        self.phase = CLOSED
        self.forced = False
        self.following = False
        self.next_ns = 0
        self.hour_ns = 0

    def define(self, day: Phases, night: Phases, holidays: list[int]) -> None:
        """Take a (new) definition, judged already by `check`."""
        self.day = day
        self.night = night
        self.holidays = dict.fromkeys(sorted(holidays))  # YYYYMMDD, for membership

    def trades_on(self, number: int) -> bool:
        """Whether a day number is a trading day here."""
        return is_weekday(number) and day_of(number) not in self.holidays

    def night_before(self, number: int) -> int:
        """The day on whose evening the night session of a trading day lies; -1: it has none.

        That is the trading day before, unless a holiday lies between the two (a weekend does not count).
        """
        evening = number - 1
        while not is_weekday(evening):
            evening -= 1
        return evening if day_of(evening) not in self.holidays else -1

    def timetable(self, trading_day: int) -> list[tuple[int, int]]:
        """The changes of phase of one trading day, ascending: (ns, the phase from then on), CLOSED at both ends."""
        number = day_number(trading_day)
        if not self.trades_on(number):
            return []
        sessions: Phases = []
        evening = self.night_before(number)
        if evening >= 0:
            sessions += [(moment(evening, start), moment(evening, end), phase) for start, end, phase in self.night]
        sessions += [(moment(number, start), moment(number, end), phase) for start, end, phase in self.day]
        changes: list[tuple[int, int]] = []
        now, until_ns = CLOSED, 0
        for start_ns, end_ns, phase in sessions:
            if now != CLOSED and start_ns > until_ns:
                now = CLOSED
                changes.append((until_ns, now))
            if now != phase:
                now = phase
                changes.append((start_ns, now))
            until_ns = end_ns
        if now != CLOSED:
            changes.append((until_ns, CLOSED))
        return changes

    def phase_at(self, trading_day: int, moment_ns: int) -> int:
        """The phase at a moment, while this trading day is the open one."""
        phase = CLOSED
        for change_ns, entered in self.timetable(trading_day):
            if change_ns > moment_ns:
                break
            phase = entered
        return phase

    def next_change(self, trading_day: int, moment_ns: int) -> int:
        """The first change of phase of a trading day after a moment, ns; 0: none is left."""
        for change_ns, _ in self.timetable(trading_day):
            if change_ns > moment_ns:
                return change_ns
        return 0

    def last_hour(self, trading_day: int) -> int:
        """When the last hour of a trading day's continuous trading begins, ns; 0: it has none."""
        number = day_number(trading_day)
        if self.trades_on(number):
            for _, end, phase in reversed(self.day):
                if phase == CONTINUOUS:
                    return moment(number, end - HOUR_SECONDS)
        return 0

    def end_of(self, number: int) -> int:
        """When the last phase of a trading day ends, ns."""
        return moment(number, self.day[-1][1])


def trading_day_at(calendars: Iterable[Calendar], moment_ns: int, after: int = 0) -> int:
    """The trading day (YYYYMMDD) that contains a moment or, if none does, follows it; never `after` or earlier.

    A trading day is one on which some calendar trades, and lasts from the end of the one before until the last phase
    of the last calendar: so a Friday's night belongs to the Monday. Without calendars every weekday is one, until its
    midnight.
    """
    known = list(calendars)
    number = local_second(moment_ns) // DAY_SECONDS
    if after:
        number = max(number, day_number(after) + 1)
    while True:  # at most HOLIDAYS_MAX weekdays are closed
        if is_weekday(number):
            ends = [calendar.end_of(number) for calendar in known if calendar.trades_on(number)]
            if not known or (ends and max(ends) > moment_ns):
                return day_of(number)
        number += 1


def check(command: SetCalendar) -> None:
    """Raises Refused (BAD_CALENDAR) naming the field and the value that is wrong with a definition."""
    if not is_label(command.calendar_id):
        raise bad(f"calendar_id {command.calendar_id!a} must have 1 to {TEXT_MAX} printable characters")
    exchange = command.exchange
    if not is_exchange(exchange):
        raise bad(f"exchange {exchange!a} must be 2 to 8 capital letters")
    day, night = command.day, command.night
    if not day:
        raise bad("day has no phase")
    if len(day) + len(night) > PHASES_MAX:
        raise bad(f"day and night have {len(day) + len(night)} phases, more than {PHASES_MAX}")
    _check_phases("day", day, 0, DAY_SECONDS)
    _check_phases("night", night, NIGHT_BEGIN_SECONDS, NIGHT_END_SECONDS)
    if night and day[-1][1] > night[0][0]:
        raise bad(f"day[{len(day) - 1}] ends at {day[-1][1]}, after night[0] begins at {night[0][0]}")
    if night and night[-1][1] - DAY_SECONDS > day[0][0]:
        raise bad(f"night[{len(night) - 1}] ends at {night[-1][1]}, after day[0] begins at {day[0][0]}")
    if len(command.holidays) > HOLIDAYS_MAX:
        raise bad(f"holidays has {len(command.holidays)} days, more than {HOLIDAYS_MAX}")
    for i, holiday in enumerate(command.holidays):
        if not is_day(holiday):
            raise bad(f"holidays[{i}] {holiday} is no day (YYYYMMDD)")


def _check_phases(field: str, phases: Phases, least: int, most: int) -> None:
    until = least
    for i, (start, end, phase) in enumerate(phases):
        if not CLOSED <= phase <= Phase.BREAK:
            raise bad(f"{field}[{i}] phase {phase} is not in [{CLOSED}, {int(Phase.BREAK)}]")
        if not least <= start < end <= most:
            raise bad(f"{field}[{i}] from {start} to {end} is not in [{least}, {most}]")
        if start < until:
            raise bad(f"{field}[{i}] begins at {start}, before {until} where the one before ends")
        until = end


def bad(detail: str) -> Refused:
    return Refused(rejects.BAD_CALENDAR, detail)
