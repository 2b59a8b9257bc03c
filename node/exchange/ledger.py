"""Accounts and their money (domain.md 6), in integer units. Nothing here rounds."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from node.exchange.instruments import Instrument
from node.exchange.orders import Order
from node.exchange.positions import Position, ProductMargin
from node.exchange.requests import Requests
from node.exchange.types import ConditionalState, FreezeKind, RiskLevel
from node.exchange.users import User

if TYPE_CHECKING:
    from node.exchange.triggers import Conditional

PENDING: Final = int(ConditionalState.PENDING)


class Account:
    """One trading account. `margin`, `frozen_margin` and `frozen_fee` are sums kept up to date by every fill and order;
    the position profit follows the last prices and is computed when somebody asks (`position_profit`)."""

    __slots__ = (
        "account_id",
        "account_name",
        "account_type",
        "allow_close",
        "assessed_round",
        "client_orders",
        "close_profit",
        "closed",
        "commission",
        "conditionals",
        "created_ns",
        "deposit",
        "finished",
        "flows",
        "freeze",
        "freeze_reason",
        "frozen_fee",
        "frozen_margin",
        "liquidating",
        "live",
        "margin",
        "order_turnover_max",
        "order_volume_max",
        "orders",
        "orders_alive_max",
        "position_limits",
        "positions",
        "pre_balance",
        "products",
        "requests",
        "risk_level",
        "statements",
        "user",
        "withdraw",
    )

    def __init__(self, account_id: str, user: User, account_name: str, account_type: int, created_ns: int) -> None:
        self.account_id = account_id
        self.user = user
        self.account_name = account_name
        self.account_type = account_type
        self.created_ns = created_ns
        self.closed = False
        self.freeze = int(FreezeKind.NONE)
        self.allow_close = True  # whether a freeze of trading still lets positions be closed
        self.freeze_reason = ""
        self.orders_alive_max = 0  # limits of this account; 0: the exchange's own
        self.order_turnover_max = 0  # money units
        self.order_volume_max = 0  # lots
        self.position_limits: dict[str, int] = {}  # instrument_id -> lots per side
        self.risk_level = int(RiskLevel.NORMAL)  # as last assessed by the monitor
        self.assessed_round = 0  # of the monitor, the last that looked at it
        self.liquidating = False  # a forced liquidation runs: it may not open
        self.conditionals: dict[int, Conditional] = {}  # pending and newest ended ones
        self.statements: deque[bytes] = deque()  # encoded AccountSettled, oldest first
        self.flows: deque[bytes] = deque()  # encoded FundsMoved with their log index and time, oldest first
        self.pre_balance = 0
        self.deposit = 0
        self.withdraw = 0
        self.close_profit = 0
        self.commission = 0
        self.margin = 0
        self.frozen_margin = 0
        self.frozen_fee = 0
        self.orders: dict[int, Order] = {}  # live and finished
        self.live: dict[int, Order] = {}
        self.finished: deque[Order] = deque()  # oldest first
        self.positions: dict[str, Position] = {}
        self.products: dict[str, ProductMargin] = {}  # by EXCHANGE.product
        self.client_orders = Requests()  # by client_order_id
        self.requests = Requests()  # by request_id: deposits and withdrawals

    def position(self, instrument: Instrument) -> Position:
        """The position in an instrument, made empty at first touch."""
        position = self.positions.get(instrument.instrument_id)
        if position is None:
            key = instrument.product_key
            product = self.products.get(key)
            if product is None:
                product = self.products[key] = ProductMargin(instrument.terms.margin_rule)
            position = self.positions[instrument.instrument_id] = Position(instrument, product)
            instrument.holders[self.account_id] = self
        return position

    @property
    def idle(self) -> bool:
        """Nothing happened since the last settlement: no flow, no commission, no closed profit."""
        return not (self.deposit or self.withdraw or self.commission or self.close_profit)

    def forget_unused_products(self) -> None:
        """Drop the margins of products in which no position is left."""
        kept: dict[str, ProductMargin] = {}
        for position in self.positions.values():
            kept[position.instrument.product_key] = position.product
        self.products = kept

    def pending_conditionals(self) -> int:
        """How many conditional orders still wait for their price. O(conditional orders that are kept)."""
        return sum(1 for conditional in self.conditionals.values() if conditional.state == PENDING)

    def position_profit(self) -> int:
        """Profit of all positions against their position costs at the last prices. O(positions)."""
        profit = 0
        for position in self.positions.values():
            long, short, instrument = position.long, position.short, position.instrument
            lots = long.today + long.his - short.today - short.his
            cost = long.today_cost + long.his_cost - short.today_cost - short.his_cost
            profit += (instrument.last_ticks * lots - cost) * instrument.tick_value
        return profit

    def balance(self) -> int:
        return (
            self.pre_balance
            + self.deposit
            - self.withdraw
            + self.close_profit
            - self.commission
            + self.position_profit()
        )

    def available(self) -> int:
        return self.balance() - self.margin - self.frozen_margin - self.frozen_fee

    def withdrawable(self) -> int:
        """What may leave: not the profit of the day, which has not been settled. Never negative."""
        free = self.available() - max(0, self.close_profit) - max(0, self.position_profit())
        return max(0, free)
