"""Instruments: the one master of terms that drives matching, margin, fees and limits (domain.md 2)."""

from __future__ import annotations

from math import gcd
from typing import TYPE_CHECKING, Final

from node.exchange.book import Book
from node.exchange.calendar import is_day
from node.exchange.commands import Terms
from node.exchange.texts import LABEL_RULE, is_exchange, is_label
from node.exchange.types import (
    AMOUNT_PER_LOT_MAX,
    BALANCE_UNITS_MAX,
    LIMIT_MULTIPLE,
    NOTIONAL_UNITS_MAX,
    PRICE_TICKS_MAX,
    RATE_SCALE,
    TEXT_MAX,
    VOLUME_MAX,
    AuctionRule,
    InstrumentClass,
    InstrumentStatus,
    MarginRule,
    Phase,
    SettlementRule,
)

if TYPE_CHECKING:
    from node.exchange.ledger import Account

TICK_VALUE_MAX: Final = 10**12  # money units that one tick of one lot is worth
SPLITS_TODAY: Final = ("SHFE", "INE")  # CLOSE takes history only there; CLOSETODAY must be said (domain.md 5)


class Charge:
    """A rate of the turnover plus an amount per lot: a margin or a commission, in money units.

    The rate and the tick value are reduced to one fraction, so that the usual rates need no rounding at all.
    """

    __slots__ = ("amount", "denominator", "numerator")

    def __init__(self, rate: int, amount: int, tick_value: int) -> None:
        numerator = rate * tick_value
        divisor = gcd(numerator, RATE_SCALE)
        self.numerator = numerator // divisor
        self.denominator = RATE_SCALE // divisor
        self.amount = amount

    def of(self, cost_ticks: int, lots: int) -> int:
        """The charge for `lots` whose prices times lots sum to `cost_ticks`, rounded half to even."""
        if self.numerator == 0:
            return self.amount * lots
        if self.denominator == 1:
            return cost_ticks * self.numerator + self.amount * lots
        quotient, remainder = divmod(cost_ticks * self.numerator, self.denominator)  # half_even, inlined: it is hot
        twice = remainder * 2
        if twice > self.denominator or (twice == self.denominator and quotient & 1):
            quotient += 1
        return quotient + self.amount * lots


class Venue:
    """One exchange, as its instruments share it: trades are numbered densely, one margin rule holds per product."""

    __slots__ = ("margin_rules", "name", "trade_count")

    def __init__(self, name: str) -> None:
        self.name = name
        self.margin_rules: dict[str, int] = {}  # product -> types.MarginRule
        self.trade_count = 0


class Instrument:
    """One listed contract: its terms, its book and the statistics of its trading day.

    `phase` says what may happen in the book now: the phase of its calendar while its status is ACTIVE, and what the
    status demands otherwise (`sessions`).
    """

    __slots__ = (
        "assessed_ticks",
        "assessed_volume",
        "auction_price_ticks",
        "auction_surplus",
        "auction_volume",
        "book",
        "close_fee",
        "close_today_fee",
        "code",
        "day_high_ticks",
        "day_low_ticks",
        "day_open_ticks",
        "day_turnover_ticks",
        "day_volume",
        "exchange",
        "holders",
        "hour_turnover_ticks",
        "hour_volume",
        "instrument_id",
        "last_ticks",
        "lower_limit_ticks",
        "margin_long",
        "margin_short",
        "open_fee",
        "open_interest",
        "phase",
        "pre_close_ticks",
        "pre_open_interest",
        "pre_settlement_ticks",
        "settlement_ticks",
        "splits_today",
        "status",
        "status_reason",
        "terms",
        "tick_value",
        "upper_limit_ticks",
        "venue",
        "version",
        "watched",
    )

    def __init__(self, terms: Terms, venue: Venue) -> None:
        self.venue = venue
        self.instrument_id = terms.instrument_id
        self.exchange = venue.name
        self.code = terms.instrument_id.partition(".")[2]
        self.splits_today = self.exchange in SPLITS_TODAY
        self.status = int(InstrumentStatus.ACTIVE)
        self.status_reason = ""
        self.phase = int(Phase.CLOSED if terms.calendar else Phase.CONTINUOUS)
        self.version = 0
        self.pre_settlement_ticks = terms.pre_settlement_ticks
        self.pre_close_ticks = terms.pre_settlement_ticks
        self.pre_open_interest = 0
        self.settlement_ticks = 0  # of the open day, if somebody set it
        self.set_terms(terms)
        self.book = Book()
        self.holders: dict[str, Account] = {}  # accounts with a position record, by account id
        self.last_ticks = terms.pre_settlement_ticks
        self.open_interest = 0
        self.day_volume = 0
        self.day_turnover_ticks = 0
        self.day_open_ticks = 0
        self.day_high_ticks = 0
        self.day_low_ticks = 0
        self.hour_volume = 0  # day_volume and day_turnover_ticks when the last hour of the day began
        self.hour_turnover_ticks = 0
        self.auction_price_ticks = 0  # where the running auction would match now; 0: nowhere
        self.auction_volume = 0
        self.auction_surplus = 0
        self.assessed_ticks = terms.pre_settlement_ticks  # last price and volume that the risk monitor has seen
        self.assessed_volume = 0
        self.watched = False  # pending conditional orders wait for its price

    @property
    def product_key(self) -> str:
        """EXCHANGE.product: the instruments that share it share the margins of an account."""
        return f"{self.exchange}.{self.terms.product}"

    def set_terms(self, terms: Terms) -> None:
        """Take new terms, judged already; what follows from them is the caller's business. Counts the version."""
        self.terms = terms
        self.version += 1
        value = terms.tick_units * terms.volume_multiple
        self.tick_value = value
        self.margin_long = Charge(terms.margin_long_rate, terms.margin_long_amount, value)
        self.margin_short = Charge(terms.margin_short_rate, terms.margin_short_amount, value)
        self.open_fee = Charge(terms.open_rate, terms.open_amount, value)
        self.close_fee = Charge(terms.close_rate, terms.close_amount, value)
        self.close_today_fee = Charge(terms.close_today_rate, terms.close_today_amount, value)
        self.lower_limit_ticks, self.upper_limit_ticks = price_limits(terms, self.pre_settlement_ticks)

    @property
    def day_turnover_units(self) -> int:
        """The turnover of the day in money units."""
        return self.day_turnover_ticks * self.tick_value

    def record_trade(self, price_ticks: int, volume: int) -> None:
        """Move the last price and the statistics of the day by one trade."""
        self.last_ticks = price_ticks
        self.day_volume += volume
        self.day_turnover_ticks += price_ticks * volume
        if self.day_open_ticks == 0:
            self.day_open_ticks = self.day_high_ticks = self.day_low_ticks = price_ticks
        elif price_ticks > self.day_high_ticks:
            self.day_high_ticks = price_ticks
        elif price_ticks < self.day_low_ticks:
            self.day_low_ticks = price_ticks


def price_limits(terms: Terms, pre_settlement_ticks: int) -> tuple[int, int]:
    """(lower, upper) price limit of a day, in ticks: the rates of the previous settlement price, rounded inwards.

    There always is an upper one: it bounds what a position can win or lose.
    """
    if terms.limit_up_rate:
        upper = pre_settlement_ticks + pre_settlement_ticks * terms.limit_up_rate // RATE_SCALE
    else:
        upper = pre_settlement_ticks * LIMIT_MULTIPLE
    lower = 1
    if terms.limit_down_rate:
        lower = max(1, pre_settlement_ticks - pre_settlement_ticks * terms.limit_down_rate // RATE_SCALE)
    return lower, min(upper, PRICE_TICKS_MAX)


def day_limits(instrument: Instrument) -> tuple[int, int]:
    """(lower, upper) price limit in ticks, by the terms and the previous settlement price that an instrument has now.

    The upper one is capped so that the largest side of a position, at that price, stays within NOTIONAL_UNITS_MAX. An
    order was only accepted within that bound at the limit of its own time; when prices or limits rise, positions that
    are held could leave it, and the profit of a fill could leave the 64 bits of an event. No price that was possible
    before is cut off. Few instruments of this world come near: only they cost a walk.
    """
    lower, upper = price_limits(instrument.terms, instrument.pre_settlement_ticks)
    lots_max = NOTIONAL_UNITS_MAX // (upper * instrument.tick_value)
    book = instrument.book
    resting = sum(level.volume for side in (book.bids, book.asks) for level in side.levels.values())
    if max(1, instrument.open_interest + resting) > lots_max:
        lots = 1
        for account in instrument.holders.values():
            position = account.positions[instrument.instrument_id]
            for held in (position.long, position.short):
                lots = max(lots, held.today + held.his + held.opening)
        capped = NOTIONAL_UNITS_MAX // (lots * instrument.tick_value)
        upper = max(instrument.pre_settlement_ticks, min(upper, capped))
    return min(lower, upper), upper


def terms_fault(terms: Terms) -> str:
    """What is wrong with an instrument's terms, naming the field and the value; empty if nothing is."""
    exchange, dot, code = terms.instrument_id.partition(".")
    if not (dot and is_exchange(exchange)):
        return f"instrument_id {terms.instrument_id!a} is not EXCHANGE.code"
    if not (code.isascii() and code.isalnum() and len(code) <= 32):
        return f"instrument_id {terms.instrument_id!a}: the code must be 1 to 32 letters and digits"
    for field, text in (("name", terms.name), ("product", terms.product)):
        if not is_label(text):
            return f"{field} {text!a} must be 1 to {TEXT_MAX} characters{LABEL_RULE}"
    bounds = (
        ("volume_multiple", terms.volume_multiple, 1, TICK_VALUE_MAX),
        ("tick_units", terms.tick_units, 1, TICK_VALUE_MAX),
        ("tick_units * volume_multiple", terms.tick_units * terms.volume_multiple, 1, TICK_VALUE_MAX),
        ("pre_settlement_ticks", terms.pre_settlement_ticks, 1, PRICE_TICKS_MAX),
        ("limit_up_rate", terms.limit_up_rate, 0, RATE_SCALE * LIMIT_MULTIPLE),
        ("limit_down_rate", terms.limit_down_rate, 0, RATE_SCALE),
        ("volume_min", terms.volume_min, 1, VOLUME_MAX),
        ("volume_max", terms.volume_max, terms.volume_min, VOLUME_MAX),
        ("margin_long_rate", terms.margin_long_rate, 0, RATE_SCALE),
        ("margin_long_amount", terms.margin_long_amount, 0, AMOUNT_PER_LOT_MAX),
        ("margin_short_rate", terms.margin_short_rate, 0, RATE_SCALE),
        ("margin_short_amount", terms.margin_short_amount, 0, AMOUNT_PER_LOT_MAX),
        ("open_rate", terms.open_rate, 0, RATE_SCALE),
        ("open_amount", terms.open_amount, 0, AMOUNT_PER_LOT_MAX),
        ("close_rate", terms.close_rate, 0, RATE_SCALE),
        ("close_amount", terms.close_amount, 0, AMOUNT_PER_LOT_MAX),
        ("close_today_rate", terms.close_today_rate, 0, RATE_SCALE),
        ("close_today_amount", terms.close_today_amount, 0, AMOUNT_PER_LOT_MAX),
        ("position_limit", terms.position_limit, 0, BALANCE_UNITS_MAX),
        ("margin_rule", terms.margin_rule, int(MarginRule.LARGER_SIDE), int(MarginRule.SUM)),
        ("market_volume_max", terms.market_volume_max, 0, terms.volume_max),
        ("instrument_class", terms.instrument_class, 0, int(InstrumentClass.BOND_FUTURE)),
        ("auction_rule", terms.auction_rule, 0, int(AuctionRule.MIDDLE)),
        ("settlement_rule", terms.settlement_rule, 0, int(SettlementRule.LAST_PRICE)),
    )
    for field, value, least, most in bounds:
        if not least <= value <= most:
            return f"{field} {value} is not in [{least}, {most}]"
    if 0 < terms.market_volume_max < terms.volume_min:
        return f"market_volume_max {terms.market_volume_max} is below volume_min {terms.volume_min}"
    if len(terms.calendar) > TEXT_MAX:
        return f"calendar is longer than {TEXT_MAX} characters"
    for field, day in (("listing_day", terms.listing_day), ("expiry_day", terms.expiry_day)):
        if day and not is_day(day):
            return f"{field} {day} is no day (YYYYMMDD)"
    if terms.expiry_day and terms.expiry_day < terms.listing_day:
        return f"expiry_day {terms.expiry_day} is before listing_day {terms.listing_day}"
    upper = price_limits(terms, terms.pre_settlement_ticks)[1]
    if upper * terms.tick_units * terms.volume_multiple > NOTIONAL_UNITS_MAX:
        return f"limit_up_rate {terms.limit_up_rate}: a lot at {upper} ticks exceeds {NOTIONAL_UNITS_MAX} units"
    return ""
