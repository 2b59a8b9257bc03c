"""The private stream of each user: every trade, order state and account change of his, numbered without a gap.

`event_seq` is a function of the log: each applied entry gives a user first one `trade` per side of an execution that is
his, in order of execution; then one `order_status` per order of his that the entry touched, with its state after the
whole entry, in order of first touch; then one `account_update` per account of his that it touched. Every node counts
alike, so that whoever leads can go on where another stopped.

The newest events of all users together are kept (`EVENTS_KEPT_MAX`) for clients that come back; they are kept as plain
values and become JSON only when somebody reads them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from itertools import islice
from typing import Any, Final, NamedTuple, Protocol

from api.render import OrderView, encode, figures_body, order_fields, own_trade_fields, view
from api.ws.messages import OrderEvent, TradeEvent
from node.exchange.events import (
    AccountBound,
    AccountClosed,
    AccountFrozen,
    AccountOpened,
    AccountSettled,
    Event,
    FundsMoved,
    OrderAccepted,
    OrderCancelled,
    OrderModified,
    PositionExpired,
    TradeExecuted,
)
from node.exchange.instruments import Instrument
from node.exchange.ledger import Account
from node.exchange.machine import Machine
from node.exchange.orders import Order
from node.exchange.queries import AccountFigures, account_figures

# The events, besides those of orders and trades, after which an account's figures or states are others.
ACCOUNT_EVENTS: Final = frozenset(
    (AccountOpened, AccountClosed, AccountBound, AccountFrozen, FundsMoved, AccountSettled, PositionExpired)
)
EVENTS_KEPT_MAX: Final = 131_072  # over all users; the oldest leave first


class Listener(Protocol):
    """A socket of the user."""

    def private(self, messages: list[bytes]) -> None:
        """The user's next events, encoded, in order."""
        ...


class TradeSide(NamedTuple):
    """One side of an execution."""

    trade: TradeExecuted
    direction: int
    instrument: Instrument
    time_ns: int
    log_index: int


class OrderChange(NamedTuple):
    view: OrderView
    log_index: int


class AccountChange(NamedTuple):
    account: Account
    figures: AccountFigures
    log_index: int


PrivateEvent = TradeSide | OrderChange | AccountChange


class UserStream:
    """The events of one user. `seq` numbers the newest; `kept` holds the newest ones, without a hole."""

    __slots__ = ("kept", "listeners", "seq")

    def __init__(self) -> None:
        self.seq = 0
        self.kept: deque[PrivateEvent] = deque()
        self.listeners: list[Listener] = []

    def since(self, seq: int, count: int) -> list[bytes] | None:
        """Up to `count` events after `seq`, encoded; None if the next one is not kept any more, or not there yet."""
        missing = self.seq - seq
        if not 0 <= missing <= len(self.kept):
            return None
        first = len(self.kept) - missing
        chosen = islice(self.kept, first, first + count)
        return [message(event, seq + 1 + n) for n, event in enumerate(chosen)]


class PrivateStreams:
    """The streams of all users, fed with every applied entry."""

    def __init__(self, machine: Machine, kept_max: int = EVENTS_KEPT_MAX) -> None:
        self._machine = machine
        self._streams: dict[str, UserStream] = {}
        self._ages: deque[UserStream] = deque()  # whose event is the oldest kept, the next oldest, ...
        self._kept_max = kept_max

    def of(self, user_id: str) -> UserStream:
        stream = self._streams.get(user_id)
        if stream is None:
            stream = self._streams[user_id] = UserStream()
        return stream

    def numbers(self) -> dict[str, int]:
        """The number of the newest event of every user."""
        return {user_id: stream.seq for user_id, stream in self._streams.items() if stream.seq}

    def restore(self, numbers: Mapping[str, int]) -> None:
        """Go on counting there. The events themselves are gone: who comes back for them is told to start afresh."""
        for user_id, seq in numbers.items():
            self.of(user_id).seq = seq

    def observe(self, index: int, time_ns: int, events: list[Event]) -> None:
        """The events of one applied entry, right after it was applied."""
        touched: dict[str, list[PrivateEvent]] = {}
        orders: dict[int, Order] = {}
        accounts: dict[str, Account] = {}
        machine = self._machine
        for event in events:
            kind = type(event)
            if kind is OrderAccepted or kind is OrderCancelled or kind is OrderModified:
                self._touch(orders, accounts, event.order_id, event.account_id)  # type: ignore[attr-defined]
            elif kind is TradeExecuted:
                assert isinstance(event, TradeExecuted)
                self._touch(orders, accounts, event.buy_order_id, event.buy_account_id)
                self._touch(orders, accounts, event.sell_order_id, event.sell_account_id)
                instrument = machine.instruments[event.instrument_id]
                for direction, account_id in ((1, event.buy_account_id), (-1, event.sell_account_id)):
                    side = TradeSide(event, direction, instrument, time_ns, index)
                    _append(touched, accounts[account_id].user.user_id, side)
            elif kind in ACCOUNT_EVENTS:
                account_id = event.account_id  # type: ignore[attr-defined]
                accounts[account_id] = machine.accounts[account_id]
        for order in orders.values():
            _append(touched, order.account.user.user_id, OrderChange(view(order), index))
        for account in accounts.values():
            _append(touched, account.user.user_id, AccountChange(account, account_figures(account), index))
        for user_id, news in touched.items():
            self._publish(self.of(user_id), news)

    def _touch(self, orders: dict[int, Order], accounts: dict[str, Account], number: int, account_id: str) -> None:
        if account_id not in accounts:
            accounts[account_id] = self._machine.accounts[account_id]
        if number not in orders:
            order = self._machine.orders.get(number)
            if order is not None:  # else one entry ended more orders than the state keeps: see FINISHED_ORDERS_MAX
                orders[number] = order

    def _publish(self, stream: UserStream, news: list[PrivateEvent]) -> None:
        first = stream.seq + 1
        stream.seq += len(news)
        stream.kept.extend(news)
        ages = self._ages
        ages.extend([stream] * len(news))
        while len(ages) > self._kept_max:
            ages.popleft().kept.popleft()
        if stream.listeners:
            messages = [message(event, first + n) for n, event in enumerate(news)]
            for listener in tuple(stream.listeners):
                listener.private(messages)


def _append(touched: dict[str, list[PrivateEvent]], user_id: str, event: PrivateEvent) -> None:
    news = touched.get(user_id)
    if news is None:
        touched[user_id] = [event]
    else:
        news.append(event)


def message(event: PrivateEvent, seq: int) -> bytes:
    """An event as the JSON that its user is sent."""
    body: Any
    if type(event) is TradeSide:
        body = TradeEvent(*own_trade_fields(*event), event_seq=seq, prev_seq=seq - 1)
    elif type(event) is OrderChange:
        fields = order_fields(event.view)
        body = OrderEvent(*fields, event_seq=seq, prev_seq=seq - 1, log_index=event.log_index)
    else:
        assert isinstance(event, AccountChange)
        body = {"type": "account_update", **figures_body(event.account, event.figures)}
        body |= {"event_seq": seq, "prev_seq": seq - 1, "log_index": event.log_index}
    return encode(body)
