"""The 39 permissions of reference-system.md 2.2, one of our own, and what each role may do. Deny by default."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum, auto
from functools import lru_cache
from typing import Final

from node.exchange.types import Role


class Permission(StrEnum):
    """The spelling is that of the API."""

    @staticmethod
    def _generate_next_value_(name: str, start: int, count: int, last_values: list[str]) -> str:
        return "".join(word.capitalize() for word in name.split("_"))

    TRADE = auto()
    CANCEL_ORDER = auto()
    MODIFY_ORDER = auto()
    BATCH_ORDER = auto()
    CONDITIONAL_ORDER = auto()
    TRANSFER = auto()
    VIEW_OWN_ACCOUNT = auto()
    VIEW_ALL_ACCOUNTS = auto()
    OPEN_ACCOUNT = auto()
    CLOSE_ACCOUNT = auto()
    FREEZE_ACCOUNT = auto()
    DEPOSIT_WITHDRAW = auto()
    VIEW_OWN_ORDERS = auto()
    VIEW_ALL_ORDERS = auto()
    VIEW_OWN_POSITIONS = auto()
    VIEW_ALL_POSITIONS = auto()
    VIEW_OWN_TRADES = auto()
    VIEW_ALL_TRADES = auto()
    VIEW_MARKET_DATA = auto()
    VIEW_KLINE = auto()
    VIEW_ORDERBOOK = auto()
    VIEW_RISK = auto()
    FORCE_LIQUIDATE = auto()
    EXECUTE_SETTLEMENT = auto()
    SET_SETTLEMENT_PRICE = auto()
    VIEW_SETTLEMENT_HISTORY = auto()
    VIEW_INSTRUMENTS = auto()
    CREATE_INSTRUMENT = auto()
    MODIFY_INSTRUMENT = auto()
    SUSPEND_RESUME_INSTRUMENT = auto()
    VIEW_USERS = auto()
    CREATE_USER = auto()
    MODIFY_USER_ROLE = auto()
    FREEZE_USER = auto()
    VIEW_MONITORING = auto()
    VIEW_AUDIT_LOGS = auto()
    MANAGE_ANNOUNCEMENTS = auto()
    VIEW_STATISTICS = auto()
    EXPORT_DATA = auto()
    MANAGE_CLUSTER = auto()  # ours: which node leads is no business of the reference system


P = Permission  # short, for the tables of who may do what
_OWN_VIEWS: Final = frozenset(
    {P.VIEW_OWN_ACCOUNT, P.VIEW_OWN_ORDERS, P.VIEW_OWN_POSITIONS, P.VIEW_OWN_TRADES, P.VIEW_MARKET_DATA}
)
OF_ROLE: Final[dict[Role, frozenset[Permission]]] = {
    Role.ADMIN: frozenset(Permission),
    Role.TRADER: _OWN_VIEWS
    | {P.TRADE, P.CANCEL_ORDER, P.MODIFY_ORDER, P.BATCH_ORDER, P.CONDITIONAL_ORDER, P.TRANSFER, P.VIEW_KLINE},
    Role.ANALYST: _OWN_VIEWS | {P.VIEW_KLINE, P.VIEW_STATISTICS, P.EXPORT_DATA},
    Role.READ_ONLY: _OWN_VIEWS,
    Role.RISK_MANAGER: frozenset(
        {
            P.VIEW_ALL_ACCOUNTS, P.VIEW_ALL_ORDERS, P.VIEW_ALL_POSITIONS, P.VIEW_RISK, P.FORCE_LIQUIDATE,
            P.FREEZE_ACCOUNT, P.VIEW_AUDIT_LOGS, P.VIEW_MARKET_DATA, P.VIEW_KLINE, P.VIEW_STATISTICS,
        }
    ),
    Role.SETTLEMENT: frozenset(
        {
            P.EXECUTE_SETTLEMENT, P.SET_SETTLEMENT_PRICE, P.VIEW_SETTLEMENT_HISTORY, P.VIEW_ALL_ACCOUNTS,
            P.VIEW_ALL_POSITIONS, P.VIEW_MARKET_DATA,
        }
    ),
}  # fmt: skip

ROLE_NAMES: Final[dict[Role, str]] = {
    Role.ADMIN: "Admin",
    Role.RISK_MANAGER: "RiskManager",
    Role.SETTLEMENT: "Settlement",
    Role.TRADER: "Trader",
    Role.ANALYST: "Analyst",
    Role.READ_ONLY: "ReadOnly",
}  # in the order of their priority: the first one is the primary role


def role_names(mask: int) -> list[str]:
    """The roles in a mask, the primary one first.

    >>> role_names(0x81)
    ['Admin', 'Trader']
    """
    return [name for role, name in ROLE_NAMES.items() if mask & role]


@lru_cache(maxsize=256)
def permissions_of(mask: int) -> frozenset[Permission]:
    """Everything that a mask of roles allows."""
    allowed: set[Permission] = set()
    for role, permissions in OF_ROLE.items():
        if mask & role:
            allowed |= permissions
    return frozenset(allowed)


class Allow:
    """Who may use a route: everybody (`PUBLIC`), or the holder of any one of some permissions."""

    __slots__ = ("any_of", "public")

    def __init__(self, any_of: Iterable[Permission] = (), *, public: bool = False) -> None:
        self.any_of = frozenset(any_of)
        self.public = public
        if public == bool(self.any_of):
            raise ValueError("a route is either public or names its permissions")


PUBLIC: Final = Allow(public=True)


def any_of(*permissions: Permission) -> Allow:
    return Allow(permissions)
