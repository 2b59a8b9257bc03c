"""The product table that ships with the exchange (`products.toml`): what a contract is, costs, and when it trades."""

from __future__ import annotations

import functools
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from importlib.resources import files
from typing import Annotated, Any, Final, Literal

import msgspec

from node.exact import Exact
from node.exchange.commands import SetCalendar
from node.exchange.types import Phase

PRODUCT_PATTERN: Final = r"^[A-Za-z0-9]{1,16}$"
EXCHANGE_PATTERN: Final = r"^[A-Z]{2,8}$"
_TIME: Final = re.compile(r"([0-3][0-9]):([0-5][0-9])")

MarginRuleName = Literal["larger_side", "sum"]
ClassName = Literal["index_future", "commodity_future", "bond_future"]
PhaseName = Literal["pre_open", "auction_order", "auction_no_cancel", "auction_match", "continuous", "break"]
Pattern = tuple[tuple[str, str, PhaseName], ...]  # (begin, end, phase), "HH:MM"


class Product(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One product of one exchange. Rates are fractions of turnover, amounts are money per lot; both add up."""

    exchange: Annotated[str, msgspec.Meta(pattern=EXCHANGE_PATTERN)]
    product: Annotated[str, msgspec.Meta(pattern=PRODUCT_PATTERN)]
    name: str
    volume_multiple: int
    price_tick: Exact
    instrument_class: ClassName = "commodity_future"
    margin_long_rate: Exact = Exact(0)
    margin_long_amount: Exact = Exact(0)
    margin_short_rate: Exact = Exact(0)
    margin_short_amount: Exact = Exact(0)
    open_rate: Exact = Exact(0)
    open_amount: Exact = Exact(0)
    close_rate: Exact = Exact(0)
    close_amount: Exact = Exact(0)
    close_today_rate: Exact = Exact(0)
    close_today_amount: Exact = Exact(0)
    margin_rule: MarginRuleName = "larger_side"
    calendar: str = ""  # id; empty: around the clock


class _CalendarTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    id: str
    exchange: Annotated[str, msgspec.Meta(pattern=EXCHANGE_PATTERN)]
    day: str  # name of a pattern
    night: str = ""


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    patterns: dict[str, Pattern]
    calendars: tuple[_CalendarTable, ...]
    products: tuple[Product, ...]


@dataclass(frozen=True, slots=True)
class ProductTable:
    """Products by EXCHANGE.product, and the calendars that they trade by (without holidays) by id."""

    products: Mapping[str, Product]
    calendars: Mapping[str, SetCalendar]

    def calendars_of(self, exchange: str) -> list[str]:
        return [calendar.calendar_id for calendar in self.calendars.values() if calendar.exchange == exchange]


@functools.cache
def shipped() -> ProductTable:
    """The table of this version of the exchange."""
    return parse(files("node").joinpath("products.toml").read_text(encoding="utf-8"))


def parse(text: str) -> ProductTable:
    """Read a product table. Raises ValueError naming what is wrong with it."""
    raw = tomllib.loads(text, parse_float=Decimal)
    file = msgspec.convert(raw, _File, dec_hook=_exact)
    patterns = {name: [_phase(*row) for row in pattern] for name, pattern in file.patterns.items()}
    calendars: dict[str, SetCalendar] = {}
    for table in file.calendars:
        if table.id in calendars:
            raise ValueError(f"calendar {table.id} is there twice")
        for pattern in (table.day, table.night):
            if pattern and pattern not in patterns:
                raise ValueError(f"calendar {table.id}: there is no pattern {pattern}")
        night = patterns[table.night] if table.night else []
        calendars[table.id] = SetCalendar(table.id, table.exchange, patterns[table.day], night)
    products: dict[str, Product] = {}
    for product in file.products:
        key = f"{product.exchange}.{product.product}"
        if key in products:
            raise ValueError(f"product {key} is there twice")
        calendar = calendars.get(product.calendar)
        if product.calendar and (calendar is None or calendar.exchange != product.exchange):
            raise ValueError(f"product {key}: {product.calendar} is no calendar of {product.exchange}")
        products[key] = product
    return ProductTable(products, calendars)


def _phase(begin: str, end: str, phase: str) -> tuple[int, int, int]:
    return _seconds(begin), _seconds(end), int(Phase[phase.upper()])


def _seconds(time: str) -> int:
    """`HH:MM` as seconds of the day; from 24:00 on of the day after. Raises ValueError."""
    match = _TIME.fullmatch(time)
    if match is None:
        raise ValueError(f"{time!r} is no time HH:MM")
    return int(match[1]) * 3_600 + int(match[2]) * 60


def _exact(kind: type, value: Any) -> Exact:
    assert kind is Exact, kind
    return Exact.of(value)
