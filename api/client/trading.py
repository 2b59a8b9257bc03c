"""`TradingSocket`: orders, queries, private events and order books over `/ws`.

A request outlives its connection: it is sent again with the same id until it is answered or its deadline passes, in the
order in which the requests were begun. What the exchange does at most once therefore happens at most once here too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec
import trio

from api.client import errors
from api.client.book import BookMirror
from api.client.codec import decode
from api.client.conversation import Conversation
from api.client.models import (
    Account,
    Cancel,
    CancelAll,
    CancelAllResult,
    Modify,
    NewOrder,
    Order,
    OrderPage,
    OrderRequest,
    OrderResult,
    Position,
    TradePage,
)
from api.client.stream import PrivateEvents
from api.client.ticket import Question, Ticket

T = TypeVar("T")


class _Anything(msgspec.Struct):
    """Data of which nothing is needed."""


class _Subscribed(msgspec.Struct):
    instruments: list[str]


class _Positions(msgspec.Struct):
    positions: list[Position]


class TradingSocket:
    """Made by `TrioClient.open_socket`. Any number of tasks may use one socket.

        async with client.open_socket() as socket:
            result = await socket.submit(NewOrder(account_id, "SHFE.cu2701", "BUY", "OPEN", 1, Decimal(70000)))
            async for event in socket.events: ...

    Every request takes a `timeout_s` that replaces the client's, and raises (or, in a batch, answers) the errors of
    `api.client.errors`.
    """

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation
        self._desk = conversation.desk

    # ------------------------------------------------------------ orders

    async def submit(self, order: NewOrder, *, timeout_s: float | None = None) -> OrderResult:
        """Enter an order. Raises Rejected, NotFound, Unavailable, OutcomeUnknown … (see `errors`)."""
        return await self._one(order, timeout_s)

    async def submit_many(
        self, orders: Sequence[NewOrder], *, timeout_s: float | None = None
    ) -> list[OrderResult | errors.ClientError]:
        """Enter many orders in as few frames as fit: one result or error per order, in order."""
        return await self.send_many(orders, timeout_s=timeout_s)

    async def send_many(self, requests: Sequence[OrderRequest], *, timeout_s: float | None = None) -> list[Any]:
        """Orders, cancels and modifications mixed, executed in this order; one result or ClientError for each."""
        results: list[Any] = []
        for ticket in [await self.begin(part, timeout_s=timeout_s) for part in self._desk.split(requests)]:
            results += await ticket.wait()
        return results

    async def begin(self, requests: Sequence[OrderRequest], *, timeout_s: float | None = None) -> Ticket:
        """Send one frame of requests and return at once; `Ticket.wait` gives the results.

        Frames of one socket are executed in the order of `begin`, except that a request which the node refused as
        overloaded is repeated later. Waits only while `in_flight_max` requests are without an answer. Raises BadRequest
        if the frame would exceed `frame_bytes_max`.
        """
        return await self._desk.begin(requests, timeout_s, is_array=True)

    async def cancel(self, account_id: str, order_id: str, *, timeout_s: float | None = None) -> OrderResult:
        """Cancel a live order. Raises Rejected (3002) if it is finished, NotFound if it is not yours."""
        return await self._one(Cancel(account_id, order_id), timeout_s)

    async def modify(self, modify: Modify, *, timeout_s: float | None = None) -> OrderResult:
        """Change price or total volume of a live limit order; less volume alone keeps its priority."""
        return await self._one(modify, timeout_s)

    async def cancel_all(
        self, account_id: str, instrument_id: str | None = None, *, timeout_s: float | None = None
    ) -> CancelAllResult:
        """Cancel every live order of an account, or those of one instrument."""
        request = CancelAll(account_id, instrument_id) if instrument_id else CancelAll(account_id)
        result: CancelAllResult = await (await self._desk.begin([request], timeout_s, is_array=False)).one()
        return result

    # ------------------------------------------------------------ queries

    async def query_account(self, account_id: str, *, timeout_s: float | None = None) -> Account:
        """The funds of one account, after everything that this socket was answered before."""
        return await self._ask("query_account", Account, timeout_s, account_id=account_id)

    async def query_position(
        self, account_id: str, instrument_id: str | None = None, *, timeout_s: float | None = None
    ) -> list[Position]:
        """The positions of an account, or that of one instrument."""
        answer = await self._ask(
            "query_position", _Positions, timeout_s, account_id=account_id, instrument_id=instrument_id
        )
        return answer.positions

    async def query_order(self, account_id: str, order_id: str, *, timeout_s: float | None = None) -> Order:
        """One own order."""
        return await self._ask("query_order", Order, timeout_s, account_id=account_id, order_id=order_id)

    async def query_orders(
        self,
        account_id: str,
        *,
        alive: bool | None = None,
        page: int = 1,
        page_size: int = 50,
        timeout_s: float | None = None,
    ) -> OrderPage:
        """The orders of an account (all, the live ones, or the finished ones), newest first, one page."""
        return await self._ask(
            "query_orders", OrderPage, timeout_s, account_id=account_id, alive=alive, page=page, page_size=page_size
        )

    async def query_trades(
        self, account_id: str, *, page: int = 1, page_size: int = 50, timeout_s: float | None = None
    ) -> TradePage:
        """The own trades of an account, newest first, one page."""
        return await self._ask(
            "query_trades", TradePage, timeout_s, account_id=account_id, page=page, page_size=page_size
        )

    # ------------------------------------------------------------ streams

    @property
    def events(self) -> PrivateEvents:
        """The private events, each once and in order, across reconnects: `async for event in socket.events`."""
        return self._conversation.events

    async def subscribe_orderbook(
        self, instrument_id: str, *, depth: int = 10, timeout_s: float | None = None
    ) -> BookMirror:
        """Keep a copy of the book, across reconnects, until `unsubscribe_orderbook`; one copy per instrument.

        Takes the full id (EXCHANGE.code). Raises NotFound.
        """
        books = self._conversation.books
        mirror = books.get(instrument_id)
        if mirror is None or mirror.depth != depth:
            mirror = books[instrument_id] = BookMirror(instrument_id, depth)
        wanted = {"channels": ["orderbook"], "instruments": [instrument_id], "depth": depth}
        try:
            answer = await self._ask("subscribe", _Subscribed, timeout_s, **wanted)
            if answer.instruments != [instrument_id]:
                raise errors.BadRequest(f"{instrument_id} is {answer.instruments[0]} in full", asked="subscribe")
        except errors.ClientError:
            books.pop(instrument_id, None)
            raise
        return mirror

    async def unsubscribe_orderbook(self, instrument_id: str, *, timeout_s: float | None = None) -> None:
        """Stop keeping the copy."""
        if self._conversation.books.pop(instrument_id, None) is not None:
            wanted = {"channels": ["orderbook"], "instruments": [instrument_id]}
            await self._ask("unsubscribe", _Anything, timeout_s, **wanted)

    # ------------------------------------------------------------ state

    @property
    def url(self) -> str:
        """The node that it is (or was last) connected to."""
        return self._conversation.url

    @property
    def connected(self) -> bool:
        """Whether a leader is connected and has authenticated us."""
        return self._conversation.link is not None

    @property
    def reconnects(self) -> int:
        """Connections after the first."""
        return self._conversation.reconnects

    @property
    def resent(self) -> int:
        """Frames that were sent again with the same ids."""
        return self._desk.resent

    @property
    def in_flight(self) -> int:
        """Requests without an answer."""
        return self._desk.load

    @property
    def ignored(self) -> int:
        """Messages of types that this client does not know."""
        return self._conversation.decoder.ignored

    async def wait_connected(self) -> None:
        """Wait until the socket is connected and authenticated (again). Raises what ended it."""
        while not self.connected:
            if self._desk.ended is not None:
                raise self._desk.ended
            await self._conversation.ready.wait()
            await trio.lowlevel.checkpoint()

    # ------------------------------------------------------------ the shared parts

    async def _one(self, request: OrderRequest, timeout_s: float | None) -> OrderResult:
        result: OrderResult = await (await self._desk.begin([request], timeout_s, is_array=False)).one()
        return result

    async def _ask(self, kind: str, model: type[T], timeout_s: float | None, **fields: Any) -> T:
        question = Question(kind, fields, lambda data: decode(data, model, kind))
        answer: T = await (await self._desk.begin([question], timeout_s, is_array=False)).one()
        return answer
