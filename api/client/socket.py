"""`TradingSocket`: the exchange's `/ws` as one unbroken conversation, whichever node leads.

One supervisor task connects to the leader, authenticates, serves the connection until it is lost, and begins again. A
request outlives its connection: it is sent again with the same id until it is answered or its deadline passes, in the
order in which the requests were begun. What the exchange does at most once therefore happens at most once here too.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec
import trio

from api.client import errors, settle, wire
from api.client.book import BookBroken, BookMirror
from api.client.link import Link, LinkLost, open_link
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
from api.client.session import decode
from api.client.stream import BUFFER_MAX, Gap, PrivateEvents
from api.client.ticket import Ticket

if TYPE_CHECKING:
    from api.client.rest import TrioClient

T = TypeVar("T")

CLOSE_NOT_LEADER: Final = 4421
CLOSE_UNAUTHENTICATED: Final = 4401
CLOSE_REVOKED: Final = 4403
CLOSE_TOO_BIG: Final = 1009

_WATCH_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class SocketSettings:
    """How a `TradingSocket` behaves.

    * `events`: receive the private events, for `socket.events`; without them order entry is leaner on both sides.
    * `session`: a name that the node knows the stream by; default: a fresh one.
    * `resume_from`: the `event_seq` after which private events are wanted (default: from now on).
    * `frame_bytes_max`: of one outgoing frame; the node's own limit is `[api] frame_bytes_max`.
    * `in_flight_max`: requests that may be without an answer (a node refuses more than 4096 commands of one socket);
      `begin` waits while there are as many.
    * `reply_timeout_s`: a node that leaves a frame unanswered for so long is left for another.
    * `silence_s`: a node that sends nothing at all for so long is gone (it pings every 5 s).
    """

    events: bool = True
    session: str | None = None
    resume_from: int | None = None
    frame_bytes_max: int = 65_536
    in_flight_max: int = 4_096
    events_max: int = BUFFER_MAX
    reply_timeout_s: float = 2.0
    silence_s: float = 10.0
    connect_timeout_s: float = 1.0
    auth_timeout_s: float = 2.0


@dataclass(frozen=True, slots=True)
class _Query:
    """A question: what is sent, and how its data is read."""

    kind: str
    fields: dict[str, Any]
    read: Callable[[msgspec.Raw], Any]


class _Anything(msgspec.Struct):
    """Data of which nothing is needed."""


class _Positions(msgspec.Struct):
    positions: list[Position]


class _Lost(Exception):
    """The present connection is to be left. `move_on`: not for a node that was named as the leader."""

    def __init__(self, reason: str, code: int | None = None, *, move_on: bool = True) -> None:
        super().__init__(reason)
        self.code = code
        self.move_on = move_on


class TradingSocket:
    """Made by `TrioClient.open_socket`. Any number of tasks may use one socket.

    Counters for people: `reconnects`, `resent` (frames sent again), `ignored` (unknown message types).

        async with client.open_socket() as socket:
            result = await socket.submit(NewOrder(account_id, "SHFE.cu2701", "BUY", "OPEN", 1, Decimal(70000)))
            async for event in socket.events: ...
    """

    def __init__(self, client: TrioClient, settings: SocketSettings, ssl_context: ssl.SSLContext) -> None:
        self.settings = settings
        self.events = PrivateEvents(settings.events_max)
        self.events.seq = settings.resume_from
        self.url = ""  # of the node that it is connected to
        self.reconnects = 0
        self.resent = 0
        self._client = client
        self._ssl_context = ssl_context
        self._session_name = settings.session or client.session.new_id()
        self._decoder = wire.MessageDecoder(events=settings.events)
        self._number = 0
        self._tickets: dict[int, Ticket] = {}  # every unfinished one, in the order of `begin`
        self._in_flight: dict[int, Ticket] = {}  # sent on the present connection, by the id of the first message
        self._load = 0
        self._space = trio.lowlevel.ParkingLot()
        self._books: dict[str, BookMirror] = {}
        self._link: Link | None = None  # authenticated and ready for requests
        self._lost: _Lost | None = None  # why the present connection is being left
        self._ready = trio.Event()
        self._scope: trio.CancelScope | None = None  # of the present connection
        self._stop: trio.CancelScope | None = None  # of everything
        self._nursery: trio.Nursery | None = None
        self._ended: errors.ClientError | None = None

    # ------------------------------------------------------------ orders

    async def submit(self, order: NewOrder, *, timeout_s: float | None = None) -> OrderResult:
        """Enter an order. Raises Rejected, NotFound, Unavailable, OutcomeUnknown … (see `errors`)."""
        result: OrderResult = await (await self._begin([order], timeout_s, is_array=False)).one()
        return result

    async def submit_many(
        self, orders: Sequence[NewOrder], *, timeout_s: float | None = None
    ) -> list[OrderResult | errors.ClientError]:
        """Enter many orders in as few frames as fit: one result or error per order, in order."""
        return await self.send_many(orders, timeout_s=timeout_s)

    async def send_many(self, requests: Sequence[OrderRequest], *, timeout_s: float | None = None) -> list[Any]:
        """Orders, cancels and modifications mixed, executed in this order; one result or ClientError for each."""
        results: list[Any] = []
        for ticket in [await self.begin(part, timeout_s=timeout_s) for part in self.split(requests)]:
            results += await ticket.wait()
        return results

    async def begin(self, requests: Sequence[OrderRequest], *, timeout_s: float | None = None) -> Ticket:
        """Send one frame of requests and return at once; `Ticket.wait` gives the results.

        Frames of one socket are executed in the order of `begin`, except that a request which the node refused as
        overloaded is repeated later. Waits only while `in_flight_max` requests are without an answer. Raises BadRequest
        if the frame would exceed `frame_bytes_max`; `split` cuts a long list.
        """
        return await self._begin(requests, timeout_s, is_array=True)

    def split(self, requests: Sequence[OrderRequest]) -> list[Sequence[OrderRequest]]:
        """Cut requests into parts of which each fits one frame."""
        count = max(1, min(self.settings.frame_bytes_max // _REQUEST_BYTES_MAX, self.settings.in_flight_max))
        return [requests[start : start + count] for start in range(0, len(requests), count)]

    async def cancel(self, account_id: str, order_id: str, *, timeout_s: float | None = None) -> OrderResult:
        """Cancel a live order. Raises Rejected (3002) if it is finished, NotFound if it is not yours."""
        result: OrderResult = await (await self._begin([Cancel(account_id, order_id)], timeout_s, is_array=False)).one()
        return result

    async def modify(self, modify: Modify, *, timeout_s: float | None = None) -> OrderResult:
        """Change price or total volume of a live limit order; less volume alone keeps its priority."""
        result: OrderResult = await (await self._begin([modify], timeout_s, is_array=False)).one()
        return result

    async def cancel_all(
        self, account_id: str, instrument_id: str | None = None, *, timeout_s: float | None = None
    ) -> CancelAllResult:
        """Cancel every live order of an account, or those of one instrument."""
        request = CancelAll(account_id, instrument_id) if instrument_id else CancelAll(account_id)
        result: CancelAllResult = await (await self._begin([request], timeout_s, is_array=False)).one()
        return result

    # ------------------------------------------------------------ queries

    async def query_account(self, account_id: str, *, timeout_s: float | None = None) -> Account:
        return await self._ask("query_account", Account, timeout_s, account_id=account_id)

    async def query_position(
        self, account_id: str, instrument_id: str | None = None, *, timeout_s: float | None = None
    ) -> list[Position]:
        answer = await self._ask(
            "query_position", _Positions, timeout_s, account_id=account_id, instrument_id=instrument_id
        )
        return answer.positions

    async def query_order(self, account_id: str, order_id: str, *, timeout_s: float | None = None) -> Order:
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
        return await self._ask(
            "query_orders", OrderPage, timeout_s, account_id=account_id, alive=alive, page=page, page_size=page_size
        )

    async def query_trades(
        self, account_id: str, *, page: int = 1, page_size: int = 50, timeout_s: float | None = None
    ) -> TradePage:
        return await self._ask(
            "query_trades", TradePage, timeout_s, account_id=account_id, page=page, page_size=page_size
        )

    # ------------------------------------------------------------ market data

    async def subscribe_orderbook(
        self, instrument_id: str, *, depth: int = 10, timeout_s: float | None = None
    ) -> BookMirror:
        """Keep a copy of the book, across reconnects, until `unsubscribe_orderbook`. Raises NotFound."""
        mirror = self._books.get(instrument_id)
        if mirror is None:
            mirror = self._books[instrument_id] = BookMirror(instrument_id, depth)
        try:
            await self._ask(
                "subscribe", _Anything, timeout_s, channels=["orderbook"], instruments=[instrument_id], depth=depth
            )
        except errors.ClientError:
            self._books.pop(instrument_id, None)
            raise
        return mirror

    async def unsubscribe_orderbook(self, instrument_id: str, *, timeout_s: float | None = None) -> None:
        """Stop keeping the copy."""
        if self._books.pop(instrument_id, None) is not None:
            await self._ask("unsubscribe", _Anything, timeout_s, channels=["orderbook"], instruments=[instrument_id])

    # ------------------------------------------------------------ state

    @property
    def connected(self) -> bool:
        """Whether a leader is connected and has authenticated us."""
        return self._link is not None

    @property
    def in_flight(self) -> int:
        """Requests without an answer."""
        return self._load

    @property
    def ignored(self) -> int:
        """Messages of types that this client does not know."""
        return self._decoder.ignored

    async def wait_connected(self) -> None:
        """Wait until the socket is connected and authenticated (again). Raises what ended it."""
        while self._link is None:
            if self._ended is not None:
                raise self._ended
            await self._ready.wait()

    def close(self) -> None:
        """Close the connection; what has no answer yet ends as OutcomeUnknown (sent) or SocketClosed (not sent)."""
        if self._ended is None:
            self._end(errors.SocketClosed("the socket was closed"))
        if self._stop is not None:
            self._stop.cancel()

    # ------------------------------------------------------------ requests

    async def _begin(self, requests: Sequence[Any], timeout_s: float | None, *, is_array: bool) -> Ticket:
        count = len(requests)
        if not 0 < count <= self.settings.in_flight_max:
            raise ValueError(f"{count} requests in one frame, allowed are 1 to {self.settings.in_flight_max}")
        while self._ended is None and self._load and self._load + count > self.settings.in_flight_max:
            await self._space.park()
        if self._ended is not None:
            raise self._ended
        number = self._number
        self._number += count
        new_id = self._client.session.new_id
        messages = [_message(request, number + index, new_id) for index, request in enumerate(requests)]
        now = trio.current_time()
        ticket = Ticket(
            requests,
            messages,
            number,
            is_array=is_array,
            asked_at=now,
            deadline=now + (self._client.session.timeout_s if timeout_s is None else timeout_s),
        )
        if sum(map(len, messages)) + count + 1 > self.settings.frame_bytes_max:
            raise errors.BadRequest(
                f"a frame of {len(ticket.frame())} bytes exceeds frame_bytes_max {self.settings.frame_bytes_max}",
                asked=_asked(requests[0]),
            )
        self._tickets[number] = ticket
        self._load += count
        self._post(ticket)
        return ticket

    async def _ask(self, kind: str, model: type[T], timeout_s: float | None, **fields: Any) -> T:
        query = _Query(kind, fields, lambda data: decode(data, model, kind))
        answer: T = await (await self._begin([query], timeout_s, is_array=False)).one()
        return answer

    def _post(self, ticket: Ticket) -> None:
        """Send what the ticket still has to send, if there is a connection; else the next one will."""
        if self._link is None or ticket.sent_at is not None or not ticket.todo:
            return
        try:
            self._link.send(ticket.frame())
        except LinkLost:
            return  # the reader is about to find out
        if ticket.unknown:
            self.resent += 1
        ticket.sent_at = trio.current_time()
        self._in_flight[ticket.key] = ticket

    def _finish(self, ticket: Ticket) -> None:
        self._tickets.pop(ticket.number, None)
        self._load -= ticket.load
        ticket.finish(trio.current_time())
        if self._space:
            self._space.unpark_all()

    def _give_up(self, ticket: Ticket, indexes: Sequence[int], why: str, unsent: type[errors.ClientError]) -> None:
        """Resolve what has no answer: unknown if it was ever sent, else `unsent`."""
        for index in indexes:
            request = ticket.requests[index]
            sent = ticket.sent_at is not None or index in ticket.unknown
            kind = errors.OutcomeUnknown if sent and not isinstance(request, _Query) else unsent
            ticket.results[index] = kind(why, asked=_asked(request))

    # ------------------------------------------------------------ answers

    def _answered(self, ticket: Ticket, responses: Sequence[wire.Response]) -> None:
        """One reply per message of the ticket's frame, in order."""
        again: list[int] = []
        pause_s = 0.0
        results = ticket.results
        ticket.sent_at = None
        for index, response in zip(ticket.todo, responses, strict=True):
            if response.success:
                try:
                    results[index] = _read(ticket.requests[index], response)
                except errors.ProtocolError as error:
                    results[index] = error
                ticket.open -= 1
                continue
            body = response.error or errors.ErrorBody(0, "", "refused without an error object")
            if body.transient:
                again.append(index)
                pause_s = max(pause_s, self._heed(ticket, index, body))
                continue
            refusal = errors.from_body(body, asked=_asked(ticket.requests[index]))
            if index in ticket.unknown and settle.worth_asking(ticket.requests[index], refusal):
                assert self._nursery is not None
                self._nursery.start_soon(self._settle, ticket, index, refusal)
                continue
            refusal.after_unknown = index in ticket.unknown
            results[index] = refusal
            ticket.open -= 1
        ticket.todo = again
        if not ticket.open:
            self._finish(ticket)
        elif again:
            assert self._nursery is not None
            self._nursery.start_soon(self._post_later, ticket, pause_s)

    def _heed(self, ticket: Ticket, index: int, body: errors.ErrorBody) -> float:
        """A refusal that another attempt may not get: where to go, and how many seconds to wait."""
        route = self._client.route
        after_ms = body.detail("retry_after_ms")
        if body.outcome == "unknown":
            ticket.unknown.add(index)
        if body.code == errors.NOT_LEADER:
            leader = body.detail("leader")
            followed = route.follow(leader.get("url")) if isinstance(leader, dict) else False
            self._leave(_Lost(body.message or "not the leader", CLOSE_NOT_LEADER, move_on=not followed))
        elif body.code == errors.NO_QUORUM:
            self._leave(_Lost(body.message))  # another node may have the majority that this one lost
        return route.pause_s(after_ms)

    async def _post_later(self, ticket: Ticket, pause_s: float) -> None:
        await trio.sleep(pause_s)
        if not ticket.finished:
            self._post(ticket)

    async def _settle(self, ticket: Ticket, index: int, error: errors.ClientError) -> None:
        """The repetition of a lost attempt found nothing to do: ask the order whether the attempt did it."""
        goal: Cancel | Modify = ticket.requests[index]
        result: Any = error
        try:
            order = await self.query_order(goal.account_id, goal.order_id)
            result = settle.settled(goal, order) or error
        except errors.ClientError:
            result = errors.OutcomeUnknown("the order could not be asked what became of it", asked=_asked(goal))
        if ticket.finished:
            return
        ticket.results[index] = result
        ticket.open -= 1
        if not ticket.open:
            self._finish(ticket)

    # ------------------------------------------------------------ the connection

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep a connection to the leader until `close`; `open_socket` runs this.

        Raises what prevents the first connection: Unauthenticated, or Unavailable after the client's `timeout_s`.
        """
        give_up_at = trio.current_time() + self._client.session.timeout_s
        started = False

        def connected() -> None:
            nonlocal started
            if not started:
                started = True
                task_status.started()

        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                self._stop = nursery.cancel_scope
                nursery.start_soon(self._watch)
                while True:
                    url = self._client.route.current
                    lost = await self._converse(url, connected)
                    self._disconnected(lost)
                    if lost.code in (CLOSE_UNAUTHENTICATED, CLOSE_REVOKED):
                        await self._log_in_again(lost)
                    if not started and trio.current_time() > give_up_at:
                        raise errors.Unavailable(f"no node leads; {url}: {lost}", asked="open a trading socket")
                    if lost.move_on:
                        self._client.route.next(url)
                    await trio.sleep(self._client.route.pause_s())
        except* errors.ClientError as group:
            failure = _only(group)
            self._end(failure)
            if not started:
                raise failure from None
        finally:
            self._end(errors.SocketClosed("the socket was closed"))

    async def _converse(self, url: str, connected: Callable[[], None]) -> _Lost:
        """Connect, authenticate and serve until the connection is of no more use."""
        self._lost = None
        link: Link | None = None
        try:
            with trio.move_on_after(self.settings.connect_timeout_s) as patience:
                link = await open_link(url, "/ws", self._ssl_context)
            if link is None:
                assert patience.cancelled_caught
                return _Lost(f"no handshake within {self.settings.connect_timeout_s} s")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write, link, nursery.cancel_scope)
                nursery.start_soon(self._read, link, url, connected, nursery.cancel_scope)
        except LinkLost as error:
            return _Lost(str(error), error.code)
        finally:
            self._link = None
            if link is not None:
                await link.aclose()
        return self._lost or _Lost("the connection was lost")

    async def _write(self, link: Link, scope: trio.CancelScope) -> None:
        try:
            await link.write_loop()
        except LinkLost as error:
            self._lost = self._lost or _Lost(str(error), error.code)
        scope.cancel()

    async def _read(self, link: Link, url: str, connected: Callable[[], None], scope: trio.CancelScope) -> None:
        try:
            with trio.move_on_after(self.settings.auth_timeout_s) as patience:
                rest = await self._authenticate(link)
            if patience.cancelled_caught:
                raise _Lost(f"no auth_response within {self.settings.auth_timeout_s} s")
            self._scope = scope
            self._connected(link, url)
            connected()
            self._dispatch(rest)
            while self._lost is None:
                for frame in await link.receive():
                    self._dispatch(self._decoder.decode(frame))
        except _Lost as lost:
            self._lost = self._lost or lost
        except LinkLost as error:
            self._lost = self._lost or _Lost(str(error), error.code)
        except Gap as gap:
            self._lost = _Lost(str(gap), move_on=False)
        except msgspec.DecodeError as error:
            self._lost = _Lost(f"the node sent what is not of the contract: {error}")
        scope.cancel()

    async def _authenticate(self, link: Link) -> list[wire.Incoming]:
        """Say who we are. Returns what came in the same burst after the answer."""
        if self._client.session.token is None:
            raise _Lost("nobody is logged in", CLOSE_UNAUTHENTICATED)
        link.send(
            wire.message(
                "auth",
                None,
                token=self._client.session.token,
                session=self._session_name,
                resume_from=self.events.seq if self.settings.events else None,
            )
        )
        while True:
            messages = [message for frame in await link.receive() for message in self._decoder.decode(frame)]
            for position, message in enumerate(messages):
                if isinstance(message, wire.AuthResponse):
                    if not message.success:
                        body = message.error or errors.ErrorBody(0)
                        raise _Lost(body.message or "authentication failed", CLOSE_UNAUTHENTICATED)
                    self.events.start(message.event_seq)
                    return messages[position + 1 :]
                if isinstance(message, wire.LeaderChange):
                    raise self._follow(message)

    def _follow(self, message: wire.LeaderChange) -> _Lost:
        url = message.leader.url if message.leader is not None else None
        followed = self._client.route.follow(url)
        return _Lost(f"the leader is {url or 'not known'}", CLOSE_NOT_LEADER, move_on=not followed)

    def _connected(self, link: Link, url: str) -> None:
        """Ready for requests: subscribe again, then send what has no answer, in the order of `begin`."""
        if self.url:
            self.reconnects += 1
        self.url = url
        self._client.route.good()
        self._link = link
        if not self.settings.events:
            self._tell(wire.message("unsubscribe", self._next_number(), channels=["account"]))
        for mirror in self._books.values():
            self._subscribe_again(mirror)
        for ticket in list(self._tickets.values()):
            self._post(ticket)
        self._ready.set()

    def _disconnected(self, lost: _Lost) -> None:
        self._link = None
        if self._ready.is_set():
            self._ready = trio.Event()
        self._in_flight.clear()
        for mirror in self._books.values():
            mirror.disconnected()
        if lost.code == CLOSE_TOO_BIG:
            self._refuse_largest()
        for ticket in self._tickets.values():
            ticket.interrupted()

    def _refuse_largest(self) -> None:
        """The node closed over a frame that it finds too large: repeating that one for ever would help nobody."""
        sent = [ticket for ticket in self._tickets.values() if ticket.sent_at is not None]
        if sent:
            ticket = max(sent, key=lambda each: len(each.frame()))
            why = f"the node refused a frame of {len(ticket.frame())} bytes as too large; lower frame_bytes_max"
            for index in ticket.todo:
                ticket.results[index] = errors.BadRequest(why, asked=_asked(ticket.requests[index]))
            self._finish(ticket)

    async def _log_in_again(self, lost: _Lost) -> None:
        if not self._client.session.can_log_in:
            raise errors.Unauthenticated(str(lost), asked="authenticate on the trading socket")
        try:
            await self._client.relogin()
        except errors.Unavailable:
            pass  # the next round tries again

    def _leave(self, lost: _Lost) -> None:
        """Stop using the present connection."""
        if self._lost is None:
            self._lost = lost
            if self._scope is not None:
                self._scope.cancel()

    def _dispatch(self, messages: Sequence[wire.Incoming]) -> None:
        if not messages:
            return
        first = messages[0]
        if isinstance(first, wire.Response):
            ticket = self._in_flight.pop(first.id, None) if first.id is not None else None
            if ticket is not None and len(messages) == len(ticket.todo):
                self._answered(ticket, messages)  # type: ignore[arg-type]
                return
            if ticket is not None:
                raise _Lost(f"{len(messages)} replies to a frame of {len(ticket.todo)} messages")
        for message in messages:
            if isinstance(message, wire.Event):
                if self.settings.events:
                    self.events.take(message)
            elif isinstance(message, wire.BookDelta | wire.BookSnapshot):
                self._book(message)
            elif isinstance(message, wire.LeaderChange):
                self._leave(self._follow(message))
            elif isinstance(message, wire.Failure):
                self._failed_frame(message)

    def _failed_frame(self, message: wire.Failure) -> None:
        """The node refuses a whole frame without saying which: with one in flight it is that one."""
        body = message.error or errors.ErrorBody(9003, "BAD_MESSAGE", "the node refused a frame")
        if len(self._in_flight) != 1:
            raise _Lost(f"the node refused a frame: {body.message}", move_on=False)
        _, ticket = self._in_flight.popitem()
        for index in ticket.todo:
            ticket.results[index] = errors.from_body(body, asked=_asked(ticket.requests[index]))
        self._finish(ticket)

    def _book(self, message: wire.BookSnapshot | wire.BookDelta) -> None:
        mirror = self._books.get(message.instrument_id)
        if mirror is None:
            return  # unsubscribed meanwhile
        try:
            if isinstance(message, wire.BookSnapshot):
                mirror.snapshot(message)
            else:
                mirror.delta(message)
        except BookBroken:
            self._subscribe_again(mirror)

    def _subscribe_again(self, mirror: BookMirror) -> None:
        """Ask for a fresh snapshot, whose deltas follow."""
        instruments = [mirror.instrument_id]
        number = self._next_number()
        self._tell(
            wire.message("subscribe", number, channels=["orderbook"], instruments=instruments, depth=mirror.depth)
        )

    def _tell(self, message: bytes) -> None:
        """Send what belongs to this connection alone."""
        assert self._link is not None
        try:
            self._link.send(message)
        except LinkLost:
            pass  # the reader is about to find out

    def _next_number(self) -> int:
        self._number += 1
        return self._number - 1

    # ------------------------------------------------------------ time

    async def _watch(self) -> None:
        """Deadlines, nodes that stand still, connections that went silent."""
        while True:
            await trio.sleep(_WATCH_S)
            now = trio.current_time()
            oldest = now
            for ticket in list(self._tickets.values()):
                if now >= ticket.deadline:
                    self._in_flight.pop(ticket.key if ticket.todo else -1, None)
                    open_indexes = [index for index, result in enumerate(ticket.results) if result is None]
                    self._give_up(ticket, open_indexes, "no answer before the deadline", errors.Unavailable)
                    self._finish(ticket)
                elif ticket.sent_at is not None:
                    oldest = min(oldest, ticket.sent_at)
            if self._link is not None:
                if now - oldest > self.settings.reply_timeout_s:
                    self._leave(_Lost(f"no reply within {self.settings.reply_timeout_s} s"))
                elif now - self._link.received_at > self.settings.silence_s:
                    self._leave(_Lost(f"silent for {self.settings.silence_s} s"))

    def _end(self, error: errors.ClientError) -> None:
        """No more connections: every waiter learns what is known."""
        if self._ended is not None:
            return
        self._ended = error
        for ticket in list(self._tickets.values()):
            open_indexes = [index for index, result in enumerate(ticket.results) if result is None]
            self._give_up(ticket, open_indexes, str(error), type(error))
            self._finish(ticket)
        closed = isinstance(error, errors.SocketClosed)
        self.events.close(StopAsyncIteration() if closed else error)
        self._ready.set()
        self._space.unpark_all()


_REQUEST_BYTES_MAX: Final = 640  # of one order request: ids and names are at most 64 characters


def _message(request: Any, number: int, new_id: Callable[[], str]) -> bytes:
    if isinstance(request, _Query):
        return wire.message(request.kind, number, **request.fields)
    return wire.order_message(request, number, new_id)


def _read(request: Any, response: wire.Response) -> Any:
    """The result of a request from the data of its reply."""
    if isinstance(request, _Query):
        return request.read(response.data)
    kind: type[CancelAllResult | OrderResult] = CancelAllResult if isinstance(request, CancelAll) else OrderResult
    result = decode(response.data, kind, "order")
    result.receipt = response.receipt
    return result


def _asked(request: Any) -> str:
    if isinstance(request, _Query):
        return f"{request.kind} {request.fields}"
    return repr(request)


def _only(group: BaseExceptionGroup[errors.ClientError]) -> errors.ClientError:
    """The first error of a group, however deep."""
    first = group.exceptions[0]
    return _only(first) if isinstance(first, BaseExceptionGroup) else first
