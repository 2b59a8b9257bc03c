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
RISK_CRITICAL_PERCENT: Final = 95  # from this risk ratio on, opening is refused (domain.md 7)
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


class InstrumentStatus(IntEnum):
    ACTIVE = 0
    SUSPENDED = 1


class MarginRule(IntEnum):
    """How the two sides of one product make the margin of an account (domain.md 5)."""

    LARGER_SIDE = 0
    SUM = 1


class FundsKind(IntEnum):
    DEPOSIT = 0
    WITHDRAW = 1


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
