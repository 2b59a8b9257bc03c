"""What the client sends and returns: msgspec Structs with the field names of api.md.

Prices, money and ratios are `Decimal`, exactly as the exchange wrote them; volumes are ints (lots); `*_ns` are integer
nanoseconds since the epoch. A field that a newer node adds is ignored; one that it leaves out has its default here.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

Direction = Literal["BUY", "SELL"]
Offset = Literal["OPEN", "CLOSE", "CLOSETODAY", "CLOSEYESTERDAY"]
PriceType = Literal["LIMIT", "MARKET", "BEST", "FIVELEVEL"]
TimeCondition = Literal["GFD", "IOC", "GTC", "GTD", "GFS", "GFA"]
VolumeCondition = Literal["ANY", "MIN", "ALL"]
SelfTradeMode = Literal["cancel_taker", "cancel_maker", "cancel_both", "reject"]

Amount = Decimal | int  # money or a price going out: exact, hence never a float


class Receipt(msgspec.Struct, frozen=True):
    """Where the log holds the command: committed on a majority before it was answered."""

    log_index: int
    ts_ns: int
    state_hash: str | None = None  # of the state after that entry; None where the node no longer holds it


# ---------------------------------------------------------------- requests


class NewOrder(msgspec.Struct, frozen=True, gc=False):
    """An order to submit. Without a `client_order_id` the client makes one.

    >>> NewOrder("ACC_00000001", "SHFE.cu2701", "BUY", "OPEN", 1, Decimal("70010")).price_type
    'LIMIT'
    """

    account_id: str
    instrument_id: str
    direction: Direction
    offset: Offset
    volume: int  # lots
    price: Amount | UnsetType = UNSET
    price_type: PriceType = "LIMIT"
    time_condition: TimeCondition = "GFD"
    volume_condition: VolumeCondition = "ANY"
    client_order_id: str | UnsetType = UNSET
    min_volume: int | UnsetType = UNSET
    post_only: bool | UnsetType = UNSET
    self_trade: SelfTradeMode | UnsetType = UNSET
    gtd_day: str | UnsetType = UNSET
    deadline_ns: int | UnsetType = UNSET


class Cancel(msgspec.Struct, frozen=True, gc=False):
    """Cancel one live order."""

    account_id: str
    order_id: str


class Modify(msgspec.Struct, frozen=True, gc=False):
    """Change the price, the total volume (filled part included), or both, of a live limit order."""

    account_id: str
    order_id: str
    price: Amount | UnsetType = UNSET
    volume: int | UnsetType = UNSET


class CancelAll(msgspec.Struct, frozen=True, gc=False):
    """Cancel every live order of an account, or those of one instrument."""

    account_id: str
    instrument_id: str | UnsetType = UNSET


OrderRequest = NewOrder | Cancel | Modify | CancelAll

# ---------------------------------------------------------------- results


class Fill(msgspec.Struct, frozen=True):
    """One trade inside the answer to an order."""

    trade_id: str
    exchange_id: str
    price: Decimal
    volume: int


class OrderResult(msgspec.Struct):
    """The answer to submit, cancel and modify: the order as that command left it.

    `repeated` says that the id was known already: nothing was done, and this is the first result.
    """

    order_id: str
    account_id: str = ""
    instrument_id: str = ""
    client_order_id: str = ""
    status: str = ""  # Accepted, PartiallyFilled, Filled, Cancelled, Expired
    filled_volume: int = 0
    volume_left: int = 0
    average_price: Decimal | None = None
    cancel_reason: str | None = None
    trades: list[Fill] = []
    repeated: bool = False
    trade_count: int = 0  # of a repeated result: `trades` holds those that the node still has
    receipt: Receipt | None = None


class CancelAllResult(msgspec.Struct):
    """The answer to cancel_all: how many orders were live, and which."""

    account_id: str = ""
    count: int = 0
    order_ids: list[str] = []
    receipt: Receipt | None = None


class User(msgspec.Struct):
    user_id: str
    username: str = ""
    roles: list[str] = []


class Login(msgspec.Struct):
    """The answer to a login; the client keeps the token."""

    user_id: str
    token: str
    username: str = ""
    roles: list[str] = []

    def __repr__(self) -> str:
        return f"Login(user_id={self.user_id!r}, username={self.username!r}, roles={self.roles!r})"


class Account(msgspec.Struct):
    """The funds of one account (domain.md 6), in the account's currency."""

    account_id: str
    user_id: str
    account_name: str
    account_type: str
    currency: str
    pre_balance: Decimal
    deposit: Decimal
    withdraw: Decimal
    static_balance: Decimal
    close_profit: Decimal
    position_profit: Decimal
    float_profit: Decimal
    commission: Decimal
    premium: Decimal
    balance: Decimal
    margin: Decimal
    frozen_margin: Decimal
    frozen_commission: Decimal
    frozen_premium: Decimal
    available: Decimal
    withdraw_quota: Decimal
    risk_ratio: Decimal | None
    created_at_ns: int


class Order(msgspec.Struct):
    """An order as a query or an `order_status` shows it."""

    order_id: str
    client_order_id: str
    account_id: str
    user_id: str
    instrument_id: str
    direction: str
    offset: str
    price_type: str
    price: Decimal | None
    volume: int
    volume_left: int
    filled_volume: int
    average_price: Decimal | None
    time_condition: str
    volume_condition: str
    min_volume: int
    post_only: bool
    status: str
    cancel_reason: str | None
    insert_time_ns: int
    update_time_ns: int
    qifi_status: str  # ALIVE or FINISHED
    gtd_day: str | None = None  # YYYY-MM-DD, of a GTD order
    source: str = "client"  # client, conditional or liquidation

    @property
    def alive(self) -> bool:
        return self.qifi_status == "ALIVE"


class Position(msgspec.Struct):
    """Both sides of one instrument in one account (QIFI, reference-system.md 2.4)."""

    account_id: str
    instrument_id: str
    user_id: str = ""
    exchange_id: str = ""
    volume_long_today: int = 0
    volume_long_his: int = 0
    volume_long: int = 0
    volume_long_frozen_today: int = 0
    volume_long_frozen_his: int = 0
    volume_long_frozen: int = 0
    volume_short_today: int = 0
    volume_short_his: int = 0
    volume_short: int = 0
    volume_short_frozen_today: int = 0
    volume_short_frozen_his: int = 0
    volume_short_frozen: int = 0
    open_price_long: Decimal | None = None
    open_price_short: Decimal | None = None
    open_cost_long: Decimal | None = None
    open_cost_short: Decimal | None = None
    position_price_long: Decimal | None = None
    position_price_short: Decimal | None = None
    position_cost_long: Decimal | None = None
    position_cost_short: Decimal | None = None
    last_price: Decimal | None = None
    float_profit_long: Decimal | None = None
    float_profit_short: Decimal | None = None
    float_profit: Decimal | None = None
    position_profit_long: Decimal | None = None
    position_profit_short: Decimal | None = None
    position_profit: Decimal | None = None
    margin_long: Decimal | None = None
    margin_short: Decimal | None = None
    margin: Decimal | None = None


class Trade(msgspec.Struct):
    """One own trade: one side of an execution."""

    trade_id: str
    exchange_id: str
    order_id: str
    account_id: str
    instrument_id: str
    direction: str
    offset: str
    price: Decimal
    volume: int
    commission: Decimal
    close_profit: Decimal
    is_taker: bool
    trade_time_ns: int
    log_index: int


class Instrument(msgspec.Struct):
    """The terms of one instrument that a trader needs."""

    instrument_id: str
    price_tick: Decimal
    volume_multiple: int
    name: str = ""
    exchange_id: str = ""
    status: str = ""
    phase: str = ""  # of its session: continuous, closed, auction_order, ...
    last_price: Decimal | None = None
    pre_settlement: Decimal | None = None
    upper_limit: Decimal | None = None
    lower_limit: Decimal | None = None
    volume_min: int = 1
    volume_max: int = 0


class Level(msgspec.Struct, frozen=True):
    """One price of one side of a book."""

    price: Decimal
    volume: int
    order_count: int = 0


class Orderbook(msgspec.Struct):
    """The best levels of both sides, best first."""

    instrument_id: str
    seq: int
    log_index: int
    bids: list[Level]
    asks: list[Level]
    last_price: Decimal | None = None
    checksum: int | None = None


class OrderPage(msgspec.Struct):
    """One page of orders; `total` counts all of them."""

    items: list[Order] = msgspec.field(name="orders")
    total: int = 0
    page: int = 1
    page_size: int = 0


class TradePage(msgspec.Struct):
    """One page of own trades; `total` counts all of them."""

    items: list[Trade] = msgspec.field(name="trades")
    total: int = 0
    page: int = 1
    page_size: int = 0
