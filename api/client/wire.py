"""The messages of `/ws`: how the client writes them and which of the node's it reads (api.md, WebSocket `/ws`).

A request is the fields of its REST body at top level beside `type` and `id`. It is encoded once; the id and a missing
`client_order_id` are put in front of the Struct's own bytes, so that no second object is built per order.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

import msgspec

from api.client.codec import encode
from api.client.errors import ErrorBody
from api.client.models import Account, Cancel, CancelAll, Level, Modify, NewOrder, Order, OrderRequest, Receipt, Trade

_TYPES: Final[dict[type, bytes]] = {
    NewOrder: b"submit_order",
    Cancel: b"cancel_order",
    Modify: b"modify_order",
    CancelAll: b"cancel_all",
}


def order_message(request: OrderRequest, number: int, new_id: Callable[[], str]) -> bytes:
    """The JSON of one order request with its id.

    >>> order_message(Cancel("ACC_00000001", "O0000000007"), 3, lambda: "")
    b'{"type":"cancel_order","id":3,"account_id":"ACC_00000001","order_id":"O0000000007"}'
    """
    try:
        kind = _TYPES[type(request)]
    except KeyError:
        raise TypeError(f"not an order request: {request!r}") from None
    if kind is _SUBMIT and not request.client_order_id:  # type: ignore[union-attr]
        return b'{"type":"%b","id":%d,"client_order_id":"%b",%b' % (
            kind,
            number,
            new_id().encode(),
            encode(request)[1:],
        )
    return b'{"type":"%b","id":%d,%b' % (kind, number, encode(request)[1:])


_SUBMIT: Final = _TYPES[NewOrder]


def message(kind: str, number: int | None, **fields: Any) -> bytes:
    """Any other message; fields that are None are left out."""
    head: dict[str, Any] = {"type": kind} if number is None else {"type": kind, "id": number}
    return encode(head | {key: value for key, value in fields.items() if value is not None})


# ---------------------------------------------------------------- node -> client


class Message(msgspec.Struct, tag_field="type"):
    """Base of everything that a node sends."""


class LeaderHint(msgspec.Struct):
    id: str
    url: str


class AuthResponse(Message, tag="auth_response"):
    success: bool
    user_id: str = ""
    session: str | None = None
    event_seq: int = 0
    leader: LeaderHint | None = None
    error: ErrorBody | None = None


class LeaderChange(Message, tag="leader_change"):
    leader: LeaderHint | None = None
    term: int = 0


class Response(Message):
    """Base of the replies that echo an id."""

    id: int | None = None
    success: bool = False
    data: msgspec.Raw = msgspec.Raw(b"null")
    error: ErrorBody | None = None
    receipt: Receipt | None = None


class OrderResponse(Response, tag="order_response"):
    pass


class QueryResponse(Response, tag="query_response"):
    pass


class SubscribeResponse(Response, tag="subscribe_response"):
    pass


class Failure(Response, tag="error"):
    """A message that the node could not even take for a request. Without an id it concerns the whole frame."""


class Pong(Message, tag="pong"):
    id: int | None = None


class TradeEvent(Trade, tag="trade", tag_field="type", kw_only=True):
    """One own execution."""

    event_seq: int
    prev_seq: int


class OrderEvent(Order, tag="order_status", tag_field="type", kw_only=True):
    """The new state of one own order."""

    event_seq: int
    prev_seq: int
    log_index: int


class AccountEvent(Account, tag="account_update", tag_field="type", kw_only=True):
    """The new funds of one own account."""

    event_seq: int
    prev_seq: int
    log_index: int


class SkippedTrade(Message, tag="trade"):
    """A private event for somebody who does not want them: one that was on its way while he said so."""


class SkippedOrder(Message, tag="order_status"):
    """Likewise."""


class SkippedAccount(Message, tag="account_update"):
    """Likewise."""


class Reset(Message, tag="reset"):
    """The stream of private events has a hole before this point: start again from a snapshot.

    `accounts`, `orders` and `positions` are the node's snapshot as of `event_seq`, where the node made the reset. A
    reset that the client made itself (its own buffer was full) has None there: query what you need.
    """

    event_seq: int
    log_index: int = 0
    reason: str = ""
    accounts: list[Account] | None = None
    orders: list[Order] | None = None


class BookSnapshot(Message, tag="orderbook"):
    instrument_id: str
    seq: int
    bids: list[Level]
    asks: list[Level]
    log_index: int = 0
    last_price: Decimal | None = None
    checksum: int = 0


class BookDelta(Message, tag="orderbook_delta"):
    """Changed levels; a volume of 0 removes the level."""

    instrument_id: str
    seq: int
    prev_seq: int
    bids: list[Level]
    asks: list[Level]
    log_index: int = 0
    last_price: Decimal | None = None
    checksum: int = 0


Event = TradeEvent | OrderEvent | AccountEvent | Reset
Skipped = SkippedTrade | SkippedOrder | SkippedAccount

_Common = (
    AuthResponse
    | LeaderChange
    | OrderResponse
    | QueryResponse
    | SubscribeResponse
    | Failure
    | Pong
    | Reset
    | BookSnapshot
    | BookDelta
)
Incoming = _Common | TradeEvent | OrderEvent | AccountEvent | Skipped


class MessageDecoder:
    """Reads text frames, one message or an array of them. `events` False leaves private events undecoded."""

    def __init__(self, *, events: bool) -> None:
        union: Any = _Common | TradeEvent | OrderEvent | AccountEvent if events else _Common | Skipped
        self._one = msgspec.json.Decoder(union).decode
        self._many = msgspec.json.Decoder(list[union]).decode
        self.ignored = 0  # messages of a type that this client does not know

    def decode(self, frame: bytes) -> list[Incoming]:
        """The messages of one frame, in order. Raises msgspec.DecodeError for what is not of the contract."""
        try:
            if frame[:1] == b"[":
                many: list[Incoming] = self._many(frame)
                return many
            return [self._one(frame)]
        except msgspec.ValidationError as error:
            if "Invalid value" not in str(error) or "$" not in str(error):
                raise
            return self._known(frame, error)

    def _known(self, frame: bytes, error: msgspec.ValidationError) -> list[Incoming]:
        """The messages that are known, for a frame with one of a type that a newer node added."""
        items = msgspec.json.decode(frame, type=list[msgspec.Raw]) if frame[:1] == b"[" else [msgspec.Raw(frame)]
        messages: list[Incoming] = []
        for item in items:
            kind = msgspec.json.decode(item, type=dict[str, msgspec.Raw]).get("type")
            if kind is None:
                raise error
            if bytes(kind).strip(b'"').decode() in _KNOWN:
                messages.append(self._one(item))
            else:
                self.ignored += 1
        return messages


_KNOWN: Final = frozenset(
    str(kind.__struct_config__.tag)
    for kind in (
        AuthResponse, LeaderChange, OrderResponse, QueryResponse, SubscribeResponse, Failure, Pong, Reset,
        BookSnapshot, BookDelta, TradeEvent, OrderEvent, AccountEvent,
    )
)  # fmt: skip
