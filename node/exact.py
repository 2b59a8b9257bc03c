"""Exact decimals, as people write them in TOML, and the integers of the state that they mean. Nothing is rounded."""

from __future__ import annotations

from decimal import Context, Decimal
from typing import Final

from node.exchange.types import MONEY_SCALE, NOTIONAL_UNITS_MAX, RATE_SCALE

DECIMAL_MAGNITUDE_MAX: Final = 20  # digits before or after the point; keeps every product below the precision
RATE_DECIMALS_MAX: Final = 9

EXACT: Final = Context(prec=200)  # enough for any product of three numbers of 40 digits: nothing here is inexact


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


def money_units(key: str, amount: Decimal) -> int:
    """Money as units of 0.0001. Raises TermError for a finer or a negative amount, or one beyond the bound."""
    units = EXACT.multiply(amount, Decimal(MONEY_SCALE))
    if units < 0:
        raise TermError(key, amount, "must not be negative")
    if units != units.to_integral_value():
        raise TermError(key, amount, "must be a multiple of 0.0001, the unit of money")
    if units > NOTIONAL_UNITS_MAX:
        raise TermError(key, amount, f"must be at most {Decimal(NOTIONAL_UNITS_MAX) / MONEY_SCALE:f}")
    return int(units)


def rate_units(key: str, rate: Decimal) -> int:
    """A rate as units of 1e-9. Raises TermError for one outside 0 to 1, or finer than nine decimals."""
    if not 0 <= rate <= 1:
        raise TermError(key, rate, "must be between 0 and 1 (0.12 is 12 %)")
    units = EXACT.multiply(rate, Decimal(RATE_SCALE))
    if units != units.to_integral_value():
        raise TermError(key, rate, f"has more than {RATE_DECIMALS_MAX} decimals, which the state cannot hold")
    return int(units)
