"""The declarations of a scenario that are long: instruments, calendars, risk parameters."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

import msgspec

from node.exchange.commands import ListInstrument, SetCalendar, SetRiskParameters
from node.exchange.risk import RiskParameters
from node.exchange.types import (
    MONEY_SCALE,
    RATE_SCALE,
    AuctionRule,
    InstrumentClass,
    MarginRule,
    Phase,
    SettlementRule,
)
from tests.golden.numbers import Mistake, day, decimal, number_named, scaled, seconds_of_day, whole

# What an instrument line may leave out.
DEFAULTS: dict[str, Any] = {
    "volume_min": 1,
    "volume_max": 500,
    "limit_up_rate": 0,
    "limit_down_rate": 0,
    "margin_long_rate": 0,
    "margin_long_amount": 0,
    "margin_short_rate": 0,
    "margin_short_amount": 0,
    "open_rate": 0,
    "open_amount": 0,
    "close_rate": 0,
    "close_amount": 0,
    "close_today_rate": 0,
    "close_today_amount": 0,
}
REQUIRED = ("volume_multiple", "tick_units", "pre_settlement_ticks")


def pairs(text: str) -> dict[str, str]:
    """`multiple 5  tick 10` as a mapping; each word once."""
    words = text.split()
    if len(words) % 2:
        raise Mistake(f"{words[-1]!r} has no value, or a value has no name: {text!r}")
    found: dict[str, str] = {}
    for name, value in zip(words[::2], words[1::2], strict=True):
        if name in found:
            raise Mistake(f"{name!r} is said twice")
        found[name] = value
    return found


def instrument_terms(instrument_id: str, text: str, base: dict[str, Any] | None = None) -> dict[str, Any]:
    """The fields of ListInstrument from `multiple 5 tick 10 pre_settlement 70,000 limit 10% margin 35,000/lot ...`.

    `base` holds the terms that a modification starts from.
    """
    code = instrument_id.partition(".")[2]
    fields: dict[str, Any] = dict(base) if base else {
        **DEFAULTS, "instrument_id": instrument_id, "name": code, "product": code.rstrip("0123456789")
    }  # fmt: skip
    given = pairs(text)
    if "tick" in given:
        fields["tick_units"] = scaled(given.pop("tick"), MONEY_SCALE)
    for name, value in given.items():
        _set_term(fields, name, value)
    missing = [name for name in REQUIRED if name not in fields]
    if missing:
        raise Mistake(f"{instrument_id} has no {', '.join(missing)}")
    return fields


def _set_term(fields: dict[str, Any], name: str, value: str) -> None:
    match name:
        case "multiple":
            fields["volume_multiple"] = whole(value)
        case "pre_settlement":
            fields["pre_settlement_ticks"] = _ticks(value, fields.get("tick_units", 0))
        case "limit":
            fields["limit_up_rate"] = fields["limit_down_rate"] = 0 if value == "none" else _rate(value)
        case "margin" | "margin_long" | "margin_short":
            rate, amount = _charge(value)
            for side in ("long", "short") if name == "margin" else (name.removeprefix("margin_"),):
                fields[f"margin_{side}_rate"], fields[f"margin_{side}_amount"] = rate, amount
        case "fee" | "fee_open" | "fee_close" | "fee_close_today":
            rate, amount = _charge(value)
            for kind in ("open", "close", "close_today") if name == "fee" else (name.removeprefix("fee_"),):
                fields[f"{kind}_rate"], fields[f"{kind}_amount"] = rate, amount
        case "lots":
            least, _, most = value.partition("-")
            fields["volume_min"], fields["volume_max"] = whole(least), whole(most)
        case "market_lots":
            fields["market_volume_max"] = whole(value)
        case "position_limit":
            fields["position_limit"] = whole(value)
        case "product" | "name" | "calendar":
            fields[name] = value
        case "listing" | "expiry":
            fields[f"{name}_day"] = day(value)
        case "margin_rule":
            fields["margin_rule"] = number_named(MarginRule, value)
        case "auction_rule":
            fields["auction_rule"] = number_named(AuctionRule, value)
        case "settlement_rule":
            fields["settlement_rule"] = number_named(SettlementRule, value)
        case "class":
            fields["instrument_class"] = number_named(InstrumentClass, value)
        case _:
            raise Mistake(f"{name!r} is no term of an instrument")


def _ticks(text: str, tick_units: int) -> int:
    if not tick_units:
        raise Mistake("the price needs a tick")
    ticks, rest = divmod(scaled(text, MONEY_SCALE), tick_units)
    if rest:
        raise Mistake(f"{text!r} is off the tick")
    return ticks


def _rate(text: str) -> int:
    if text.endswith("%"):
        value = decimal(text[:-1]) / Decimal(100) * RATE_SCALE
    else:
        value = decimal(text) * RATE_SCALE
    if value != int(value):
        raise Mistake(f"{text!r} is finer than 1e-9")
    return int(value)


def _charge(text: str) -> tuple[int, int]:
    """(rate, amount per lot) of `12%`, `0.000023`, `35,000/lot` or `0.01%+2/lot`."""
    rate = amount = 0
    for part in text.split("+"):
        if part.endswith("/lot"):
            amount = scaled(part.removesuffix("/lot"), MONEY_SCALE)
        else:
            rate = _rate(part)
    return rate, amount


def list_command(instrument_id: str, text: str) -> ListInstrument:
    return ListInstrument(**instrument_terms(instrument_id, text))


_PHASE = re.compile(r"(\d\d:\d\d)-(\d\d:\d\d) ([A-Z_]+)")


def calendar_command(calendar_id: str, exchange: str, parts: list[str]) -> SetCalendar:
    """From parts like `day 09:25-09:29 AUCTION_ORDER`, `night 21:00-25:00 CONTINUOUS`, `holiday 2026-12-25`."""
    phases: dict[str, list[tuple[int, int, int]]] = {"day": [], "night": []}
    holidays: list[int] = []
    for part in parts:
        kind, _, rest = part.partition(" ")
        if kind == "holiday":
            holidays.append(day(rest))
            continue
        match = _PHASE.fullmatch(rest)
        if kind not in phases or match is None:
            raise Mistake(f"{part!r} is neither `day|night HH:MM-HH:MM PHASE` nor `holiday DAY`")
        phases[kind].append((seconds_of_day(match[1]), seconds_of_day(match[2]), number_named(Phase, match[3])))
    return SetCalendar(calendar_id, exchange, phases["day"], phases["night"], holidays)


def risk_command(text: str) -> SetRiskParameters:
    """The defaults of the exchange with some replaced: `critical_percent 90  liquidation_step_ticks 5`."""
    fields: dict[str, Any] = msgspec.structs.asdict(RiskParameters())
    for name, value in pairs(text).items():
        if name not in fields:
            raise Mistake(f"{name!r} is no risk parameter: {', '.join(fields)}")
        fields[name] = whole(value)
    return SetRiskParameters(**fields)
