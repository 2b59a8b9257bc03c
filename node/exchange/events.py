"""Events: what applying a command did, in the past tense, one per transition.

The first event of a command is its answer. Everything that a person sees (replies, pushes, market data,
history) is made from events and the state they left. Units as in `commands`.
"""

from __future__ import annotations

import msgspec


class Event(msgspec.Struct, frozen=True, array_like=True, gc=False, forbid_unknown_fields=True):
    """Base of all events."""


class CommandRejected(Event, frozen=True, tag=1):
    """Nothing changed but the request record. `detail` names the field and the value."""

    code: int  # rejects.BY_CODE
    detail: str
    account_id: str = ""
    client_order_id: str = ""


class RequestRepeated(Event, frozen=True, tag=2):
    """The id was seen before: nothing was done, this is the first result."""

    first_index: int
    first_time_ns: int
    code: int  # 0: the first one succeeded
    detail: str
    ref: str  # account id of OpenAccount; empty otherwise
    order_id: int  # 0 if the first request placed no order
    state: int  # of the order, at the end of its own command
    filled_volume: int
    filled_cost_ticks: int  # sum of price * lots
    first_trade_id: int  # its trades are [first_trade_id, first_trade_id + trade_count)
    trade_count: int
    account_id: str
    cancel_reason: int = 0  # types.CancelReason, if the order's own command cancelled it


class UserRegistered(Event, frozen=True, tag=3):
    user_id: str
    username: str
    roles: int


class TokensRevoked(Event, frozen=True, tag=4):
    """Every token of an older generation is dead; open sockets of the user close."""

    user_id: str
    generation: int


class AccountOpened(Event, frozen=True, tag=5):
    account_id: str
    user_id: str
    account_name: str
    account_type: int


class FundsMoved(Event, frozen=True, tag=6):
    account_id: str
    kind: int  # types.FundsKind
    amount_units: int
    balance_units: int  # after


class InstrumentListed(Event, frozen=True, tag=7):
    instrument_id: str


class OrderAccepted(Event, frozen=True, tag=8):
    order_id: int
    account_id: str
    instrument_id: str
    client_order_id: str
    direction: int
    offset: int
    price_type: int
    price_ticks: int
    volume: int
    time_condition: int
    volume_condition: int


class TradeExecuted(Event, frozen=True, tag=9):
    """One trade, seen by both sides. `trade_id` is dense and increasing per exchange."""

    trade_id: int
    instrument_id: str
    price_ticks: int
    volume: int
    taker_direction: int
    buy_account_id: str
    buy_order_id: int
    buy_offset: int
    buy_left: int  # of the order, after this trade
    buy_fee_units: int
    buy_close_profit_units: int
    sell_account_id: str
    sell_order_id: int
    sell_offset: int
    sell_left: int
    sell_fee_units: int
    sell_close_profit_units: int


class OrderCancelled(Event, frozen=True, tag=10):
    order_id: int
    account_id: str
    instrument_id: str
    volume_left: int  # what was cancelled
    reason: int  # types.CancelReason


class OrderModified(Event, frozen=True, tag=11):
    order_id: int
    account_id: str
    instrument_id: str
    price_ticks: int
    volume: int
    volume_left: int
    kept_priority: bool


class AllCancelled(Event, frozen=True, tag=12):
    """The answer of CancelAll; one OrderCancelled per order follows."""

    account_id: str
    count: int


AnyEvent = (
    CommandRejected
    | RequestRepeated
    | UserRegistered
    | TokensRevoked
    | AccountOpened
    | FundsMoved
    | InstrumentListed
    | OrderAccepted
    | TradeExecuted
    | OrderCancelled
    | OrderModified
    | AllCancelled
)
