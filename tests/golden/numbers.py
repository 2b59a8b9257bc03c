"""How a scenario writes numbers, days and moments; exact both ways (README.md)."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction

SHANGHAI = timezone(timedelta(hours=8))
_PLAIN = re.compile(r"-?\d+(\.\d+)?")
_GROUPED = re.compile(r"-?\d{1,3}(,\d{3})+(\.\d+)?")
_LIKE_A_NUMBER = re.compile(r"-?[\d][\d,]*(\.\d*)?")


class Mistake(Exception):
    """The scenario itself is wrong: an unknown word, a number that cannot be, a name that was never declared."""


def decimal(text: str) -> Decimal:
    """`9,999,947.5` or `9999947.5`; groups of three, or none."""
    if not (_PLAIN.fullmatch(text) or _GROUPED.fullmatch(text)):
        raise Mistake(f"{text!r} is no number")
    return Decimal(text.replace(",", ""))


def whole(text: str) -> int:
    value = decimal(text)
    if value != int(value):
        raise Mistake(f"{text!r} is no whole number")
    return int(value)


def scaled(text: str, scale: int) -> int:
    """A decimal as integer units of 1/scale. A finer decimal than that is a mistake, never rounded."""
    value = decimal(text) * scale
    if value != int(value):
        raise Mistake(f"{text!r} is finer than 1/{scale}")
    return int(value)


def shown(value: Fraction | int) -> str:
    """A number as text: grouped, without trailing zeros. What has no finite decimal is shown as a fraction."""
    value = Fraction(value)
    rest = value.denominator
    for prime in (2, 5):
        while rest % prime == 0:
            rest //= prime
    if rest != 1:
        return str(value)
    exact = Decimal(value.numerator) / Decimal(value.denominator)
    text = f"{exact:,f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def canonical(text: str) -> str:
    """One spelling for a phrase: single spaces, and every number as `shown`."""
    return " ".join(_canonical_word(word) for word in text.split())


def _canonical_word(word: str) -> str:
    head, tail = word, ""
    while head and head[-1] in ":)":
        head, tail = head[:-1], head[-1] + tail
    if not _LIKE_A_NUMBER.fullmatch(head):
        return word
    return shown(Fraction(decimal(head))) + tail


def day(text: str) -> int:
    """2026-11-23 -> 20261123."""
    try:
        return int(date.fromisoformat(text).strftime("%Y%m%d"))
    except ValueError as error:
        raise Mistake(f"{text!r} is no day") from error


def shown_day(value: int) -> str:
    return f"{value // 10_000:04d}-{value // 100 % 100:02d}-{value % 100:02d}"


def moment(day_text: str, time_text: str) -> int:
    """2026-11-23 09:30:00[.123456] in Asia/Shanghai, as nanoseconds since the epoch."""
    try:
        local = datetime.fromisoformat(f"{day_text} {time_text}").replace(tzinfo=SHANGHAI)
    except ValueError as error:
        raise Mistake(f"{day_text} {time_text} is no moment") from error
    delta = local - datetime(1970, 1, 1, tzinfo=UTC)
    return ((delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds) * 1_000


def shown_time(time_ns: int) -> str:
    """The time of day in Asia/Shanghai: 09:30:00, with a fraction only if there is one."""
    seconds, fraction = divmod(time_ns, 10**9)
    text = datetime.fromtimestamp(seconds, SHANGHAI).strftime("%H:%M:%S")
    return f"{text}.{fraction:09d}".rstrip("0") if fraction else text


def seconds_of_day(text: str) -> int:
    """09:25 -> 33900; the night may pass midnight: 26:30."""
    match = re.fullmatch(r"(\d\d):(\d\d)", text)
    if match is None:
        raise Mistake(f"{text!r} is no time of day")
    return int(match[1]) * 3_600 + int(match[2]) * 60


def number_named(enumeration: type, text: str) -> int:
    """The value of a name of one of the exchange's enumerations."""
    try:
        return int(enumeration[text])  # type: ignore[index]
    except KeyError as error:
        raise Mistake(f"{text!r} is none of {', '.join(m.name for m in enumeration)}") from error  # type: ignore[attr-defined]
