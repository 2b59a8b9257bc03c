"""The messages of `/ws` (api.md): what a client may send, and the shapes of what it is sent."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from api import schemas
from api.errors import ErrorBody
from api.render import OrderBody, OwnTrade, ReceiptBody
from api.schemas import BodyReader, Id, Lots, Text, Units
from api.ws.book import DEPTH_MAX

MessageId = int | Annotated[str, Meta(max_length=64)] | None  # echoed in the reply
Channel = Literal["account", "last_price", "orderbook", "trades"]
INSTRUMENTS_PER_MESSAGE_MAX = 500


class Request(msgspec.Struct, frozen=True, kw_only=True, gc=False, forbid_unknown_fields=True, tag_field="type"):
    """Base of what a client sends."""

    id: MessageId = None


class Auth(Request, frozen=True, kw_only=True, tag="auth"):
    """`resume_from` is the last `event_seq` that the client has; what came after it is sent again."""

    token: Annotated[str, Meta(max_length=4_096)]
    session: Text | None = None
    resume_from: Annotated[int, Meta(ge=0, le=2**53)] | None = None


class Subscribe(Request, frozen=True, kw_only=True, tag="subscribe"):
    """Without `instruments` a market channel covers none: there is no "everything"."""

    channels: Annotated[list[Channel], Meta(min_length=1, max_length=8)]
    instruments: Annotated[list[Id], Meta(max_length=INSTRUMENTS_PER_MESSAGE_MAX)] = []
    depth: Annotated[int, Meta(ge=1, le=DEPTH_MAX)] = 10


class Unsubscribe(Request, frozen=True, kw_only=True, tag="unsubscribe"):
    channels: Annotated[list[Channel], Meta(min_length=1, max_length=8)]
    instruments: Annotated[list[Id], Meta(max_length=INSTRUMENTS_PER_MESSAGE_MAX)] = []


class Ping(Request, frozen=True, kw_only=True, tag="ping"):
    pass


class SubmitOrder(schemas.SubmitOrder, frozen=True, kw_only=True, tag_field="type", tag="submit_order"):
    id: MessageId = None


class CancelOrder(Request, frozen=True, kw_only=True, tag="cancel_order"):
    account_id: Id
    order_id: Id


class ModifyOrder(Request, frozen=True, kw_only=True, tag="modify_order"):
    account_id: Id
    order_id: Id
    price: Units | None = None
    volume: Lots | None = None


class CancelAll(Request, frozen=True, kw_only=True, tag="cancel_all"):
    account_id: Id
    instrument_id: Text = ""


class Query(Request, frozen=True, kw_only=True):
    account_id: Id


class PagedQuery(Query, frozen=True, kw_only=True):
    page: Annotated[int, Meta(ge=1, le=schemas.PAGE_MAX)] = 1
    page_size: Annotated[int, Meta(ge=1, le=200)] = 50


class QueryAccount(Query, frozen=True, kw_only=True, tag="query_account"):
    pass


class QueryPosition(Query, frozen=True, kw_only=True, tag="query_position"):
    instrument_id: Text = ""


class QueryOrder(Query, frozen=True, kw_only=True, tag="query_order"):
    order_id: Id


class QueryOrders(PagedQuery, frozen=True, kw_only=True, tag="query_orders"):
    alive: bool | None = None
    instrument_id: Text = ""


class QueryTrades(PagedQuery, frozen=True, kw_only=True, tag="query_trades"):
    pass


AnyRequest = (
    Auth
    | Subscribe
    | Unsubscribe
    | Ping
    | SubmitOrder
    | CancelOrder
    | ModifyOrder
    | CancelAll
    | QueryAccount
    | QueryPosition
    | QueryOrder
    | QueryOrders
    | QueryTrades
)

read_one = BodyReader(AnyRequest)
read_many = BodyReader(list[AnyRequest])


class Envelope(msgspec.Struct):
    """As much of a message that cannot be read as is needed to answer it."""

    id: MessageId = None


read_parts = msgspec.json.Decoder(list[msgspec.Raw]).decode
read_envelope = msgspec.json.Decoder(Envelope).decode


# What a client is sent


class Reply(msgspec.Struct, frozen=True, gc=False, kw_only=True, tag_field="type"):
    """Base of the replies."""

    id: MessageId
    success: bool
    data: Any = None
    error: ErrorBody | None = None


class OrderResponse(Reply, frozen=True, kw_only=True, gc=False, tag="order_response"):
    receipt: ReceiptBody | None = None


class QueryResponse(Reply, frozen=True, kw_only=True, gc=False, tag="query_response"):
    pass


class SubscribeResponse(Reply, frozen=True, kw_only=True, gc=False, tag="subscribe_response"):
    pass


class ErrorMessage(Reply, frozen=True, kw_only=True, gc=False, tag="error"):
    """The answer to a message that is none of the known ones."""


class Pong(msgspec.Struct, frozen=True, kw_only=True, gc=False, tag_field="type", tag="pong"):
    id: MessageId


class TradeEvent(OwnTrade, frozen=True, kw_only=True, gc=False, tag_field="type", tag="trade"):
    """An own execution. `event_seq` is dense per user."""

    event_seq: int
    prev_seq: int


class OrderEvent(OrderBody, frozen=True, kw_only=True, gc=False, tag_field="type", tag="order_status"):
    """The state of an own order after the entry `log_index`."""

    event_seq: int
    prev_seq: int
    log_index: int
