"""The vocabulary of numbers: what an integer in a command, an event or the state means, and how large it may be.

Prices are integer ticks, volumes integer lots, money integer units of 0.0001 of the currency, time integer
nanoseconds since the epoch (domain.md 1). The bounds keep every sum that is ever encoded inside 64 bits.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

MONEY_SCALE: Final = 10_000  # units per currency unit
RATE_SCALE: Final = 10**9  # rates (margin, commission, price limits) are integers of 1e-9

PRICE_TICKS_MAX: Final = 10**9
VOLUME_MAX: Final = 10**6  # lots of one order, whatever the instrument says
NOTIONAL_UNITS_MAX: Final = 10**17  # of one side of one position, live opening orders included, at the upper limit
AMOUNT_PER_LOT_MAX: Final = NOTIONAL_UNITS_MAX // VOLUME_MAX  # of a fee or a margin by lot
LIMIT_MULTIPLE: Final = 100  # an instrument without an upper price limit has this multiple of its pre-settlement
TRANSFER_UNITS_MAX: Final = 10**17  # of one deposit or withdrawal
BALANCE_UNITS_MAX: Final = 10**18  # no deposit lifts an account above this
ENCODABLE_MAX: Final = 2**63 - 1  # what one integer of an event may hold

TEXT_MAX: Final = 64  # characters of an id or a name that a client chooses
USERS_MAX: Final = 1_000_000
ACCOUNTS_PER_USER_MAX: Final = 1_000
INSTRUMENTS_MAX: Final = 10_000
ACCOUNTS_MAX: Final = 100_000
ORDERS_ALIVE_PER_ACCOUNT_MAX: Final = 10_000
# Finished orders stay in the state for queries. Each account keeps its own newest ones: when the exchange as a whole is
# full, an order that finishes displaces the oldest of its own account, never a stranger's.
FINISHED_ORDERS_PER_ACCOUNT_MAX: Final = 10_000
FINISHED_ORDERS_MAX: Final = 500_000
FUNDS_FLOWS_KEPT: Final = 200  # deposits and withdrawals per account; older ones are history
STATEMENTS_KEPT: Final = 180  # daily statements per account; older ones are history
SETTLEMENTS_KEPT: Final = 260  # results of settled days: about one year
CONDITIONALS_ALIVE_PER_ACCOUNT_MAX: Final = 100
CONDITIONALS_ENDED_PER_ACCOUNT_MAX: Final = 100
ALERTS_KEPT: Final = 1_000  # risk alerts of the whole exchange
LIQUIDATIONS_KEPT: Final = 1_000  # finished ones
ANNOUNCEMENTS_MAX: Final = 1_000
CALENDARS_MAX: Final = 100
DETAIL_MAX: Final = 200  # characters of a reject's detail: it may quote what a client sent
# First results kept per account (or user): at least the newest REQUESTS_KEPT, and everything younger than
# REQUEST_MEMORY_NS of log time; at REQUESTS_MAX a new id is refused rather than an old one forgotten.
REQUESTS_KEPT: Final = 16_384
REQUEST_MEMORY_NS: Final = 60 * 10**9
REQUESTS_MAX: Final = 1_048_576


class Direction(IntEnum):
    """The sign of a position side: +1 buys and longs, -1 sells and shorts."""

    BUY = 1
    SELL = -1


class Offset(IntEnum):
    """开平: what the order does to the position of its account."""

    OPEN = 0
    CLOSE = 1
    CLOSETODAY = 2
    CLOSEYESTERDAY = 3


class PriceType(IntEnum):
    LIMIT = 0
    MARKET = 1
    BEST = 2
    FIVELEVEL = 3


class TimeCondition(IntEnum):
    GFD = 0  # good for the day
    IOC = 1
    GTC = 2
    GTD = 3
    GFS = 4  # good for this session
    GFA = 5  # good for the auction


class VolumeCondition(IntEnum):
    ANY = 0
    MIN = 1
    ALL = 2  # with IOC: fill or kill


class OrderState(IntEnum):
    ACCEPTED = 0
    PARTIALLY_FILLED = 1
    FILLED = 2
    CANCELLED = 3
    EXPIRED = 4


class CancelReason(IntEnum):
    BY_CLIENT = 1
    IOC_REMAINDER = 2
    FOK_UNFILLABLE = 3
    MIN_VOLUME_UNFILLABLE = 4
    POST_ONLY_WOULD_MATCH = 5
    DEADLINE_PASSED = 6
    SELF_TRADE = 7
    MARKET_REMAINDER = 8  # a market order never rests
    NO_OPPOSITE = 9  # BEST, FIVELEVEL: nothing to take a price from
    DAY_END = 10
    SESSION_END = 11
    AUCTION_END = 12
    GTD_END = 13
    NO_LONGER_RESERVED = 14  # it outlived a settlement and its account no longer covers it
    OUTSIDE_LIMITS = 15  # the price limits moved past it
    BY_ADMINISTRATOR = 16
    LIQUIDATION = 17
    INSTRUMENT_ENDED = 18  # expired or delisted


# The reasons that end an order as Expired rather than Cancelled: its time was over.
EXPIRY_REASONS: Final = (
    int(CancelReason.DAY_END),
    int(CancelReason.SESSION_END),
    int(CancelReason.AUCTION_END),
    int(CancelReason.GTD_END),
)


class OrderSource(IntEnum):
    """Who entered an order."""

    CLIENT = 0
    CONDITIONAL = 1
    LIQUIDATION = 2


class SelfTrade(IntEnum):
    """Self-trade prevention between all accounts of one user, chosen per order (domain.md 3)."""

    CANCEL_TAKER = 0
    CANCEL_MAKER = 1
    CANCEL_BOTH = 2
    REJECT = 3


class AccountType(IntEnum):
    INDIVIDUAL = 0
    INSTITUTIONAL = 1
    MARKET_MAKER = 2


class InstrumentClass(IntEnum):
    INDEX_FUTURE = 0
    COMMODITY_FUTURE = 1
    BOND_FUTURE = 2


class InstrumentStatus(IntEnum):
    """What an administrator says of an instrument; ACTIVE follows its calendar."""

    ACTIVE = 0
    SUSPENDED = 1
    AUCTION = 2  # held in a call auction until it is made active, which matches it
    CLOSED = 3
    DELISTED = 4
    EXPIRED = 5  # settled for the last time


class Phase(IntEnum):
    """The state of a session calendar (domain.md 4)."""

    CLOSED = 0
    PRE_OPEN = 1
    AUCTION_ORDER = 2  # orders and cancels, nothing matches
    AUCTION_NO_CANCEL = 3
    AUCTION_MATCH = 4  # entered by matching once; nothing is accepted until trading goes on
    CONTINUOUS = 5
    BREAK = 6


class AuctionRule(IntEnum):
    """The third rule of the call auction, among prices that are equal so far (domain.md 4)."""

    NEAREST_REFERENCE = 0  # nearest to the previous settlement price
    MIDDLE = 1  # the middle of the remaining prices


class SettlementRule(IntEnum):
    """Where the settlement price comes from if nobody sets it (domain.md 8)."""

    DAY_AVERAGE = 0  # volume-weighted, whole day
    LAST_HOUR_AVERAGE = 1
    LAST_PRICE = 2


class FreezeKind(IntEnum):
    NONE = 0
    TRADING = 1  # no opening, no modification; closing if the freeze allows it
    WITHDRAW = 2
    FULL = 3


class UserStatus(IntEnum):
    ACTIVE = 0
    FROZEN = 1
    DELETED = 2


class RiskLevel(IntEnum):
    """Bands of the risk ratio; where they begin is `risk.RiskParameters` (domain.md 7)."""

    NORMAL = 0
    ELEVATED = 1
    HIGH = 2
    CRITICAL = 3
    LIQUIDATION = 4


class LiquidationState(IntEnum):
    RUNNING = 0
    DONE = 1  # the ratio is below the release level
    DEFICIT = 2  # nothing is left to close, and the balance is negative
    EXHAUSTED = 3  # nothing more can be closed now: no counterparty within the retries


class ConditionType(IntEnum):
    STOP_LOSS = 0
    TAKE_PROFIT = 1
    PRICE_TOUCH = 2


class Comparison(IntEnum):
    AT_OR_ABOVE = 0
    AT_OR_BELOW = 1


class ConditionalState(IntEnum):
    PENDING = 0
    TRIGGERED = 1
    CANCELLED = 2
    EXPIRED = 3
    FAILED = 4  # triggered, and the order was refused


class AnnouncementKind(IntEnum):
    SYSTEM = 0
    MAINTENANCE = 1
    TRADING = 2
    RISK = 3
    PROMOTION = 4


class AnnouncementPriority(IntEnum):
    LOW = 0
    NORMAL = 1
    HIGH = 2
    URGENT = 3


class MarginRule(IntEnum):
    """How the two sides of one product make the margin of an account (domain.md 5)."""

    LARGER_SIDE = 0
    SUM = 1


class FundsKind(IntEnum):
    DEPOSIT = 0
    WITHDRAW = 1
    BANK_IN = 2  # bank transfer, bank to exchange
    BANK_OUT = 3


class Role(IntEnum):
    """Users' roles, as bits of the mask that the state keeps (reference-system.md 2.2)."""

    TRADER = 0x01
    ANALYST = 0x02
    READ_ONLY = 0x04
    RISK_MANAGER = 0x08
    SETTLEMENT = 0x10
    ADMIN = 0x80


ROLES_MASK: Final = 0x9F


def half_even(numerator: int, denominator: int) -> int:
    """`numerator / denominator` rounded half to even; the only rounding of the exchange (domain.md 1).

    >>> half_even(5, 2), half_even(7, 2), half_even(-5, 2)
    (2, 4, -2)
    """
    quotient, remainder = divmod(numerator, denominator)
    twice = remainder * 2
    if twice > denominator or (twice == denominator and quotient & 1):
        return quotient + 1
    return quotient


def saturate(units: int) -> int:
    """What an event shows of a sum that no bound keeps inside 64 bits (the state keeps the exact one)."""
    return min(max(units, -ENCODABLE_MAX), ENCODABLE_MAX)
