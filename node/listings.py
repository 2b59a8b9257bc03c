"""Instruments as people write them in `cluster.toml`, and the exact `ListInstrument` command that they mean.

What an entry leaves out comes from the product table (`products`), if its product is there. Prices and money are
decimals that must be exact in the state: a price is a multiple of the tick, money a multiple of 0.0001, a rate has at
most nine decimals. Nothing is rounded.
"""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Final, Literal

import msgspec

from node.exact import EXACT, Exact, TermError, money_units, rate_units
from node.exchange.commands import ListInstrument
from node.exchange.instruments import terms_fault
from node.exchange.types import (
    MONEY_SCALE,
    NOTIONAL_UNITS_MAX,
    PRICE_TICKS_MAX,
    TEXT_MAX,
    VOLUME_MAX,
    AuctionRule,
    InstrumentClass,
    MarginRule,
    SettlementRule,
)
from node.products import PRODUCT_PATTERN, ClassName, MarginRuleName, Product, shipped

__all__ = ["INSTRUMENT_ID_PATTERN", "PRODUCT_PATTERN", "Exact", "InstrumentConfig", "TermError", "state_day"]

INSTRUMENT_ID_PATTERN: Final = r"^[A-Z]{2,8}\.[A-Za-z0-9]{1,32}$"
ALWAYS: Final = "always"  # sessions: around the clock
BY_PRODUCT: Final = "product"  # sessions: the calendar of the product table


def state_day(day: date) -> int:
    """A date as the state writes it: YYYYMMDD."""
    return day.year * 10_000 + day.month * 100 + day.day


class InstrumentConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One `[[instruments]]` table. Rates are fractions of turnover, amounts are money per lot; both add up.

    Where the product table knows the product, its name, multiplier, tick, class, margin rule, margins and fees need
    not be given. A margin or a fee that is given, by rate or by amount, replaces both of the table's. Without the table
    margins have no default (an instrument that is free to hold says so with a 0), and fees are 0.
    """

    instrument_id: Annotated[str, msgspec.Meta(pattern=INSTRUMENT_ID_PATTERN)]
    product: Annotated[str, msgspec.Meta(pattern=PRODUCT_PATTERN)]
    pre_settlement: Exact
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=TEXT_MAX)] | None = None
    volume_multiple: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] | None = None
    price_tick: Exact | None = None
    instrument_class: ClassName | None = None
    sessions: Annotated[str, msgspec.Meta(min_length=1, max_length=TEXT_MAX)] = ALWAYS
    listing_day: date | None = None
    expiry_day: date | None = None
    limit_rate: Exact | None = None
    volume_min: Annotated[int, msgspec.Meta(ge=1, le=VOLUME_MAX)] = 1
    volume_max: Annotated[int, msgspec.Meta(ge=1, le=VOLUME_MAX)] = 500
    market_volume_max: Annotated[int, msgspec.Meta(ge=0, le=VOLUME_MAX)] = 0
    margin_long_rate: Exact | None = None
    margin_long_amount: Exact | None = None
    margin_short_rate: Exact | None = None
    margin_short_amount: Exact | None = None
    open_rate: Exact | None = None
    open_amount: Exact | None = None
    close_rate: Exact | None = None
    close_amount: Exact | None = None
    close_today_rate: Exact | None = None
    close_today_amount: Exact | None = None
    position_limit: Annotated[int, msgspec.Meta(ge=0, le=10**9)] = 0
    margin_rule: MarginRuleName | None = None
    auction_rule: Literal["nearest_reference", "middle"] = "nearest_reference"
    settlement_rule: Literal["day_average", "last_hour_average", "last_price"] = "day_average"

    @property
    def exchange(self) -> str:
        return self.instrument_id.partition(".")[0]

    @property
    def known_product(self) -> Product | None:
        """What the product table says of its product; None if the table does not have it."""
        return shipped().products.get(f"{self.exchange}.{self.product}")

    @property
    def calendar(self) -> str:
        """The id of the session calendar; empty: around the clock. Raises TermError for one that is not there."""
        if self.sessions == ALWAYS:
            return ""
        if self.sessions == BY_PRODUCT:
            product = self.known_product
            if product is None:
                problem = f"{self._unknown_product()}; use always or the id of a calendar"
                raise TermError("sessions", repr(self.sessions), problem)
            return product.calendar
        known = shipped().calendars_of(self.exchange)
        if self.sessions not in known:
            problem = f"is no calendar of {self.exchange}; use {', '.join((ALWAYS, BY_PRODUCT, *known))}"
            raise TermError("sessions", repr(self.sessions), problem)
        return self.sessions

    def command(self) -> ListInstrument:
        """The command that lists it, all integers. Raises TermError for the first term that is wrong."""
        price_tick: Exact = self._term("price_tick")
        volume_multiple: int = self._term("volume_multiple")
        tick_units = money_units("price_tick", price_tick)
        if tick_units < 1:
            raise TermError("price_tick", price_tick, "must be above 0")
        pre_settlement_ticks = _ticks("pre_settlement", self.pre_settlement, price_tick)
        if self.limit_rate is not None and not 0 < self.limit_rate < 1:
            raise TermError("limit_rate", self.limit_rate, "must be above 0 and below 1 (0.1 is 10 %)")
        limit_rate = rate_units("limit_rate", self.limit_rate or Exact(0))
        if self.volume_max < self.volume_min:
            raise TermError("volume_max", self.volume_max, f"below volume_min = {self.volume_min}")
        if self.market_volume_max and not self.volume_min <= self.market_volume_max <= self.volume_max:
            problem = f"must be 0 or volume_min = {self.volume_min} to volume_max = {self.volume_max}"
            raise TermError("market_volume_max", self.market_volume_max, problem)
        if self.listing_day and self.expiry_day and self.expiry_day < self.listing_day:
            raise TermError("expiry_day", self.expiry_day, f"before listing_day = {self.listing_day}")
        if tick_units * volume_multiple * pre_settlement_ticks > NOTIONAL_UNITS_MAX:
            limit = Decimal(NOTIONAL_UNITS_MAX) / MONEY_SCALE
            raise TermError(
                "volume_multiple", volume_multiple, f"one lot is worth more than an order may be ({limit:f})"
            )
        margin_long_rate, margin_long_amount = self._charge("margin_long")
        margin_short_rate, margin_short_amount = self._charge("margin_short")
        open_rate, open_amount = self._charge("open")
        close_rate, close_amount = self._charge("close")
        close_today_rate, close_today_amount = self._charge("close_today")
        terms = ListInstrument(
            instrument_id=self.instrument_id,
            name=self._name(),
            product=self.product,
            volume_multiple=volume_multiple,
            tick_units=tick_units,
            pre_settlement_ticks=pre_settlement_ticks,
            limit_up_rate=limit_rate,
            limit_down_rate=limit_rate,
            volume_min=self.volume_min,
            volume_max=self.volume_max,
            margin_long_rate=margin_long_rate,
            margin_long_amount=margin_long_amount,
            margin_short_rate=margin_short_rate,
            margin_short_amount=margin_short_amount,
            open_rate=open_rate,
            open_amount=open_amount,
            close_rate=close_rate,
            close_amount=close_amount,
            close_today_rate=close_today_rate,
            close_today_amount=close_today_amount,
            position_limit=self.position_limit,
            margin_rule=int(MarginRule[self._term("margin_rule", "larger_side").upper()]),
            market_volume_max=self.market_volume_max,
            instrument_class=int(InstrumentClass[self._term("instrument_class", "commodity_future").upper()]),
            calendar=self.calendar,
            listing_day=state_day(self.listing_day) if self.listing_day else 0,
            expiry_day=state_day(self.expiry_day) if self.expiry_day else 0,
            auction_rule=int(AuctionRule[self.auction_rule.upper()]),
            settlement_rule=int(SettlementRule[self.settlement_rule.upper()]),
        )
        fault = terms_fault(terms)  # the machine's own judgement: what passes here is never refused there
        if fault:
            field = fault.partition(" ")[0]
            key = field if field in self.__struct_fields__ else "price_tick"
            raise TermError(key, getattr(self, key), fault)
        return terms

    def _term(self, key: str, default: Any = None) -> Any:
        """A term as given here, else by the product table, else the default. Raises TermError if nobody says it."""
        value = getattr(self, key)
        product = self.known_product
        if value is None:
            value = default if product is None else getattr(product, key)
        if value is None:
            raise TermError(key, "(missing)", f"{self._unknown_product()}, so say it here")
        return value

    def _unknown_product(self) -> str:
        return f"the product table has no {self.product} of {self.exchange}"

    def _name(self) -> str:
        """The name; by default that of the product and what its code adds to it, like 沪铜2701."""
        if self.name is not None:
            return self.name
        code = self.instrument_id.partition(".")[2]
        return f"{self._term('name')}{code.removeprefix(self.product)}"

    def _charge(self, of: str) -> tuple[int, int]:
        """(rate, amount) of a margin or a fee: both as given here if one is, else both of the product table."""
        rate: Exact | None = getattr(self, f"{of}_rate")
        amount: Exact | None = getattr(self, f"{of}_amount")
        product = self.known_product
        if rate is None and amount is None:
            if product is not None:
                rate, amount = getattr(product, f"{of}_rate"), getattr(product, f"{of}_amount")
            elif of.startswith("margin"):
                side = of.removeprefix("margin_")
                problem = f"say what a {side} lot costs: {of}_rate or {of}_amount (0 if it is meant)"
                raise TermError(f"{of}_rate", "(missing)", problem)
        return rate_units(f"{of}_rate", rate or Exact(0)), money_units(f"{of}_amount", amount or Exact(0))


def _ticks(key: str, price: Decimal, price_tick: Decimal) -> int:
    """A price as ticks. Raises TermError for one off the tick, with its two neighbours."""
    ticks, rest = EXACT.divmod(price, price_tick)
    if rest:
        below = EXACT.multiply(ticks, price_tick)
        above = EXACT.add(below, price_tick)
        problem = f"not a multiple of price_tick = {price_tick}; its neighbours are {below} and {above}"
        raise TermError(key, price, problem)
    if not 1 <= ticks <= PRICE_TICKS_MAX:
        raise TermError(key, price, f"must be 1 to {PRICE_TICKS_MAX} ticks of {price_tick}")
    return int(ticks)
