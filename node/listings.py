"""Instruments as people write them in `cluster.toml`, and the exact `ListInstrument` command that they mean.

Prices and money are decimals that must be exact in the state: a price is a multiple of the tick, money a multiple of
0.0001, a rate has at most nine decimals. Nothing is rounded.
"""

from __future__ import annotations

from decimal import Context, Decimal
from typing import Annotated, Final, Literal

import msgspec

from node.exchange.commands import ListInstrument
from node.exchange.instruments import terms_fault
from node.exchange.types import (
    MONEY_SCALE,
    NOTIONAL_UNITS_MAX,
    PRICE_TICKS_MAX,
    RATE_SCALE,
    TEXT_MAX,
    VOLUME_MAX,
    MarginRule,
)

INSTRUMENT_ID_PATTERN: Final = r"^[A-Z]{2,8}\.[A-Za-z0-9]{1,32}$"
PRODUCT_PATTERN: Final = r"^[A-Za-z0-9]{1,16}$"
DECIMAL_MAGNITUDE_MAX: Final = 20  # digits before or after the point; keeps every product below the precision
RATE_DECIMALS_MAX: Final = 9

_EXACT: Final = Context(prec=200)  # enough for any product of three numbers of 40 digits: nothing here is inexact


class TermError(ValueError):
    """One term of an instrument is wrong: which key, its value, and what to do about it."""

    def __init__(self, key: str, value: object, problem: str) -> None:
        super().__init__(f"{key} = {value:f}: {problem}" if isinstance(value, Exact) else f"{key} = {value}: {problem}")
        self.key = key
        self.value = value
        self.problem = problem


class Exact(Decimal):
    """A finite decimal of at most twenty digits before and after the point, read from a TOML number."""

    @classmethod
    def of(cls, value: object) -> Exact:
        """Raises ValueError for anything but an int or a finite Decimal of bounded size."""
        if isinstance(value, bool) or not isinstance(value, int | Decimal):
            raise ValueError(f"expected a number, got {type(value).__name__}")  # noqa: TRY004 (msgspec adds the path)
        number = Decimal(value)
        if not number.is_finite():
            raise ValueError("expected a finite number")
        exponent = number.as_tuple().exponent
        assert isinstance(exponent, int)  # finite
        if number.adjusted() > DECIMAL_MAGNITUDE_MAX or exponent < -DECIMAL_MAGNITUDE_MAX:
            raise ValueError(f"more than {DECIMAL_MAGNITUDE_MAX} digits before or after the point")
        return cls(number)


class InstrumentConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One `[[instruments]]` table. Rates are fractions of turnover, amounts are money per lot; both add up.

    Margins have no default: an instrument that is free to hold says so with a 0.
    """

    instrument_id: Annotated[str, msgspec.Meta(pattern=INSTRUMENT_ID_PATTERN)]
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=TEXT_MAX)]
    product: Annotated[str, msgspec.Meta(pattern=PRODUCT_PATTERN)]
    volume_multiple: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
    price_tick: Exact
    pre_settlement: Exact
    limit_rate: Exact | None = None
    volume_min: Annotated[int, msgspec.Meta(ge=1, le=VOLUME_MAX)] = 1
    volume_max: Annotated[int, msgspec.Meta(ge=1, le=VOLUME_MAX)] = 500
    margin_long_rate: Exact | None = None
    margin_long_amount: Exact | None = None
    margin_short_rate: Exact | None = None
    margin_short_amount: Exact | None = None
    open_rate: Exact = Exact(0)
    open_amount: Exact = Exact(0)
    close_rate: Exact = Exact(0)
    close_amount: Exact = Exact(0)
    close_today_rate: Exact = Exact(0)
    close_today_amount: Exact = Exact(0)
    position_limit: Annotated[int, msgspec.Meta(ge=0, le=10**9)] = 0
    margin_rule: Literal["larger_side", "sum"] = "larger_side"

    def command(self) -> ListInstrument:
        """The command that lists it, all integers. Raises TermError for the first term that is wrong."""
        tick_units = _units("price_tick", self.price_tick)
        if tick_units < 1:
            raise TermError("price_tick", self.price_tick, "must be above 0")
        pre_settlement_ticks = self._ticks("pre_settlement", self.pre_settlement)
        if self.limit_rate is not None and not 0 < self.limit_rate < 1:
            raise TermError("limit_rate", self.limit_rate, "must be above 0 and below 1 (0.1 is 10 %)")
        limit_rate = _rate("limit_rate", self.limit_rate or Exact(0))
        if self.volume_max < self.volume_min:
            raise TermError("volume_max", self.volume_max, f"below volume_min = {self.volume_min}")
        if tick_units * self.volume_multiple * pre_settlement_ticks > NOTIONAL_UNITS_MAX:
            limit = Decimal(NOTIONAL_UNITS_MAX) / MONEY_SCALE
            raise TermError(
                "volume_multiple", self.volume_multiple, f"one lot is worth more than an order may be ({limit:f})"
            )
        terms = ListInstrument(
            instrument_id=self.instrument_id,
            name=self.name,
            product=self.product,
            volume_multiple=self.volume_multiple,
            tick_units=tick_units,
            pre_settlement_ticks=pre_settlement_ticks,
            limit_up_rate=limit_rate,
            limit_down_rate=limit_rate,
            volume_min=self.volume_min,
            volume_max=self.volume_max,
            margin_long_rate=self._margin("long", "rate"),
            margin_long_amount=self._margin("long", "amount"),
            margin_short_rate=self._margin("short", "rate"),
            margin_short_amount=self._margin("short", "amount"),
            open_rate=_rate("open_rate", self.open_rate),
            open_amount=_units("open_amount", self.open_amount),
            close_rate=_rate("close_rate", self.close_rate),
            close_amount=_units("close_amount", self.close_amount),
            close_today_rate=_rate("close_today_rate", self.close_today_rate),
            close_today_amount=_units("close_today_amount", self.close_today_amount),
            position_limit=self.position_limit,
            margin_rule=int(MarginRule[self.margin_rule.upper()]),
        )
        fault = terms_fault(terms)  # the machine's own judgement: what passes here is never refused there
        if fault:
            raise TermError("price_tick", self.price_tick, fault)
        return terms

    def _ticks(self, key: str, price: Decimal) -> int:
        """A price as ticks. Raises TermError for one off the tick, with its two neighbours."""
        ticks, rest = _EXACT.divmod(price, self.price_tick)
        if rest:
            below = _EXACT.multiply(ticks, self.price_tick)
            above = _EXACT.add(below, self.price_tick)
            problem = f"not a multiple of price_tick = {self.price_tick}; its neighbours are {below} and {above}"
            raise TermError(key, price, problem)
        if not 1 <= ticks <= PRICE_TICKS_MAX:
            raise TermError(key, price, f"must be 1 to {PRICE_TICKS_MAX} ticks of {self.price_tick}")
        return int(ticks)

    def _margin(self, side: str, kind: str) -> int:
        """One of the four margin terms; 0 where only the other kind of this side is given."""
        rate: Exact | None = getattr(self, f"margin_{side}_rate")
        amount: Exact | None = getattr(self, f"margin_{side}_amount")
        if rate is None and amount is None:
            problem = f"say what a {side} lot costs: margin_{side}_rate or margin_{side}_amount (0 if it is meant)"
            raise TermError(f"margin_{side}_rate", "(missing)", problem)
        if kind == "rate":
            return _rate(f"margin_{side}_rate", rate or Exact(0))
        return _units(f"margin_{side}_amount", amount or Exact(0))


def _units(key: str, amount: Decimal) -> int:
    """Money as units of 0.0001. Raises TermError for a finer or a negative amount, or one beyond the bound."""
    units = _EXACT.multiply(amount, Decimal(MONEY_SCALE))
    if units < 0:
        raise TermError(key, amount, "must not be negative")
    if units != units.to_integral_value():
        raise TermError(key, amount, "must be a multiple of 0.0001, the unit of money")
    if units > NOTIONAL_UNITS_MAX:
        raise TermError(key, amount, f"must be at most {Decimal(NOTIONAL_UNITS_MAX) / MONEY_SCALE:f}")
    return int(units)


def _rate(key: str, rate: Decimal) -> int:
    """A rate as units of 1e-9. Raises TermError for one outside 0 to 1, or finer than nine decimals."""
    if not 0 <= rate <= 1:
        raise TermError(key, rate, "must be between 0 and 1 (0.12 is 12 %)")
    units = _EXACT.multiply(rate, Decimal(RATE_SCALE))
    if units != units.to_integral_value():
        raise TermError(key, rate, f"has more than {RATE_DECIMALS_MAX} decimals, which the state cannot hold")
    return int(units)
