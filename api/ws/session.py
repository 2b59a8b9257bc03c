"""One client on `/ws`: authentication, requests in order, private events, subscriptions.

The commands of one read (all frames that had arrived) are proposed together, and reading goes on while they are being
committed. Replies leave in the order of the requests: a query or a subscription is carried out when everything before
it has its answer, so that a socket reads (at least) its own writes.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

import msgspec
import trio

from api import operations, reads, render
from api.errors import (
    OVERLOADED,
    TOKEN_REVOKED,
    ApiError,
    Forbidden,
    Internal,
    Malformed,
    Unauthenticated,
    Unavailable,
)
from api.permissions import Allow, P, Permission, any_of, permissions_of, role_names
from api.ports import Outcome
from api.principal import Principal
from api.services import Services
from api.ws import messages as ms
from api.ws.channels import BookStream
from api.ws.connection import (
    CLOSE_GOING_AWAY,
    CLOSE_INTERNAL,
    CLOSE_NOT_LEADER,
    CLOSE_REVOKED,
    CLOSE_SILENT,
    CLOSE_TRY_LATER,
    CLOSE_UNAUTHENTICATED,
    Connection,
)
from api.ws.frames import message_frame, text_frame
from consensus.errors import ConsensusError, NotLeader
from node.exchange.codec import encode_command
from node.exchange.commands import Command

log = logging.getLogger(__name__)

AUTH_TIMEOUT_S: Final = 5.0
IN_FLIGHT_MAX: Final = 4_096  # commands of one socket that wait for their commit
REPLIES_WAITING_MAX: Final = 10_000  # frames whose replies wait for the ones before them
SUBSCRIPTIONS_MAX: Final = 2_000  # of one socket
RESUME_CHUNK: Final = 500  # events sent again at a time
RESET_ORDERS_MAX: Final = 500  # live orders in a reset; the rest is asked for with query_orders
OVERLOAD_RETRY_MS: Final = 20

_ALLOWED: Final[dict[type, Allow]] = {
    ms.SubmitOrder: any_of(P.TRADE),
    ms.CancelOrder: any_of(P.CANCEL_ORDER),
    ms.ModifyOrder: any_of(P.MODIFY_ORDER),
    ms.CancelAll: any_of(P.CANCEL_ORDER),
    ms.QueryAccount: any_of(P.VIEW_OWN_ACCOUNT, P.VIEW_ALL_ACCOUNTS),
    ms.QueryPosition: any_of(P.VIEW_OWN_POSITIONS, P.VIEW_ALL_POSITIONS),
    ms.QueryOrder: any_of(P.VIEW_OWN_ORDERS, P.VIEW_ALL_ORDERS),
    ms.QueryOrders: any_of(P.VIEW_OWN_ORDERS, P.VIEW_ALL_ORDERS),
    ms.QueryTrades: any_of(P.VIEW_OWN_TRADES, P.VIEW_ALL_TRADES),
    ms.Subscribe: any_of(P.VIEW_MARKET_DATA),
    ms.Unsubscribe: any_of(P.VIEW_MARKET_DATA),
}


class Frame:
    """One frame of requests and its replies. A slot holds a reply, or the request that is to be carried out in turn."""

    __slots__ = ("is_array", "missing", "slots")

    def __init__(self, count: int, *, is_array: bool) -> None:
        self.slots: list[Any] = [None] * count
        self.missing = 0  # slots that wait for a commit
        self.is_array = is_array


class Unreadable(msgspec.Struct):
    """A message that is none of the known ones."""

    id: ms.MessageId
    error: ApiError


class Session:
    """Made for an accepted connection; `run` returns when it is closed."""

    def __init__(
        self, services: Services, connection: Connection, principal: Principal | None, *, misdirected: bool
    ) -> None:
        """`principal` is known already where the token came in the Authorization header; `misdirected` where it came so
        to a node that does not lead."""
        self._misdirected = misdirected
        self._services = services
        self._context = services.context
        self._connection = connection
        self._header_principal = principal
        self._principal: Principal | None = None
        self._permissions: frozenset[Permission] = frozenset()
        self._frames: deque[Frame] = deque()
        self._commands: list[bytes] = []
        self._pending: list[tuple[Frame, int, Any, Command]] = []
        self._in_flight = 0
        self._confirming = False  # a query waits until this node knows that it leads
        self._subscriptions: set[tuple[str, str]] = set()
        self._left_out: dict[BookStream, None] = {}
        self._speaks_arrays = False
        self._entered = trio.Event()
        self._nursery: trio.Nursery
        self._carry_out: dict[type, Callable[[Any], Any]] = {
            ms.QueryAccount: self._query_account,
            ms.QueryPosition: self._query_position,
            ms.QueryOrder: self._query_order,
            ms.QueryOrders: self._query_orders,
            ms.QueryTrades: self._query_trades,
        }
        self._to_command: dict[type, Callable[[Any], Command]] = {
            ms.SubmitOrder: self._place,
            ms.CancelOrder: self._cancel,
            ms.ModifyOrder: self._modify,
            ms.CancelAll: self._cancel_all,
        }

    # Life

    @property
    def user_id(self) -> str | None:
        return self._principal.user_id if self._principal is not None else None

    @property
    def congested(self) -> bool:
        return self._connection.congested

    async def run(self) -> None:
        """Serve until either side closes."""
        hub = self._context.hub
        connection = self._connection
        hub.sockets[self] = None
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                nursery.start_soon(connection.outbox.run)
                nursery.start_soon(self._watch)
                if self._misdirected:
                    self._send_to_leader()
                if self._header_principal is not None:
                    await self._enter(self._header_principal, None, None, None)
                while payloads := await connection.receive():
                    await self._take_burst(payloads)
                    if connection.closing:
                        break
                await connection.finish()
                nursery.cancel_scope.cancel()
        finally:
            self._leave()

    def _leave(self) -> None:
        """Nobody shall call this session any more."""
        context = self._context
        context.hub.sockets.pop(self, None)
        if self._principal is not None:
            stream = context.hub.private.of(self._principal.user_id)
            if self in stream.listeners:
                stream.listeners.remove(self)
        for channel, instrument_id in self._subscriptions:
            context.hub.market.unsubscribe(self, channel, instrument_id)
        self._subscriptions.clear()
        self._connection.outbox.close()

    async def _watch(self) -> None:
        """The clock of the session: the time to authenticate, pings, silence, the end of the token."""
        connection = self._connection
        heartbeat_s = self._context.settings.heartbeat_seconds
        with trio.move_on_after(AUTH_TIMEOUT_S):
            await self._entered.wait()
        if self._principal is None:
            self._say_error(None, Unauthenticated(f"no auth message within {AUTH_TIMEOUT_S:.0f} s"))
            connection.close(CLOSE_UNAUTHENTICATED, "NOT_AUTHENTICATED")
            return
        while True:
            if trio.current_time() - connection.heard_at > 2 * heartbeat_s:
                connection.close(CLOSE_SILENT, f"silent for {2 * heartbeat_s:g} s")
                return
            if self._principal.claims.expires_s <= self._context.clock.wall_ns() / 1e9:
                connection.close(CLOSE_UNAUTHENTICATED, "the token has expired")
                return
            connection.ping()
            await trio.sleep(heartbeat_s)

    def revoked(self) -> None:
        principal = self._principal
        if principal is not None and principal.user.generation != principal.claims.generation:
            self._connection.close(CLOSE_REVOKED, "TOKEN_REVOKED")

    def leadership_lost(self) -> None:
        self._send_to_leader()

    def going_away(self) -> None:
        self._connection.close(CLOSE_GOING_AWAY, "the node stops")

    def broken(self) -> None:
        self._connection.close(CLOSE_INTERNAL, "INTERNAL_ERROR")

    def _send_to_leader(self) -> None:
        leadership = self._services.leadership
        change = {"type": "leader_change", "leader": leadership.body(), "term": leadership.term}
        self._connection.send_frame(message_frame(change))
        self._connection.close(CLOSE_NOT_LEADER, "NOT_LEADER")

    def _say_error(self, message_id: ms.MessageId, error: ApiError) -> None:
        self._connection.send_frame(message_frame(_failed(ms.ErrorMessage, message_id, error)))

    # Authentication

    async def _authenticate(self, message: ms.Auth) -> None:
        services = self._services
        await services.leadership.known()
        if not services.leadership.leads:
            self._send_to_leader()
            return
        try:
            principal = Principal(*services.tokens.verify(message.token, self._context.machine.users))
            if self._principal is not None and self._principal.user is not principal.user:
                raise Malformed("auth: this socket belongs to another user; open a new one")
        except ApiError as error:
            self._refuse_auth(message, error)
            return
        if self._principal is not None:  # a fresh token for a socket that lives on
            self._principal = principal
            self._welcome(message.id, message.session, self._context.hub.private.of(principal.user_id).seq)
            return
        await self._enter(principal, message.id, message.session, message.resume_from)

    def _refuse_auth(self, message: ms.Auth, error: ApiError) -> None:
        reply = {"type": "auth_response", "id": message.id, "success": False, "error": error.body}
        self._connection.send_frame(message_frame(reply))
        if error.body.code == TOKEN_REVOKED.code:
            self._connection.close(CLOSE_REVOKED, "TOKEN_REVOKED")
        else:
            self._connection.close(CLOSE_UNAUTHENTICATED, "NOT_AUTHENTICATED")

    async def _enter(
        self, principal: Principal, message_id: ms.MessageId, name: str | None, resume_from: int | None
    ) -> None:
        """Let an authenticated client in, once this node knows everything that was committed before it asked."""
        try:
            await self._context.replica.read_now()
        except NotLeader:
            self._send_to_leader()
            return
        except ConsensusError as error:
            self._say_error(message_id, self._services.leadership.error(error))
            self._connection.close(CLOSE_TRY_LATER, "NO_QUORUM")
            return
        stream = self._context.hub.private.of(principal.user_id)
        self._principal = principal
        self._entered.set()
        self._permissions = permissions_of(principal.user.roles)
        self._welcome(message_id, name, stream.seq)
        if resume_from is not None:
            await self._resume(resume_from)
        if not self._connection.closing:
            stream.listeners.append(self)

    def _welcome(self, message_id: ms.MessageId, name: str | None, seq: int) -> None:
        principal = self._principal
        assert principal is not None
        self._connection.send_frame(
            message_frame(
                {
                    "type": "auth_response",
                    "id": message_id,
                    "success": True,
                    "user_id": principal.user_id,
                    "roles": role_names(principal.user.roles),
                    "session": name or self._context.random_bytes(8).hex(),
                    "event_seq": seq,
                    "leader": self._services.leadership.body(),
                    "error": None,
                }
            )
        )

    async def _resume(self, seq: int) -> None:
        """Send what came after `seq` until nothing is missing, at the speed of the client; or a reset."""
        principal = self._principal
        assert principal is not None
        stream = self._context.hub.private.of(principal.user_id)
        while seq != stream.seq and not self._connection.closing:
            chunk = stream.since(seq, RESUME_CHUNK)
            if chunk is None:
                self._reset(seq, stream.seq)
                return
            self._connection.send_frame(b"".join([text_frame(message) for message in chunk]))
            seq += len(chunk)
            await self._connection.outbox.drained()

    def _reset(self, asked: int, seq: int) -> None:
        """The client's place in the stream cannot be served: everything of its user, as it is now."""
        principal = self._principal
        assert principal is not None
        reset = {
            "type": "reset",
            "event_seq": seq,
            "log_index": self._context.machine.index,
            "reason": f"the events after {asked} are not kept any more"
            if asked < seq
            else f"event {asked} does not exist; the newest is {seq}",
        }
        self._connection.send_frame(message_frame(reset | reads.snapshot(principal.user, RESET_ORDERS_MAX)))

    # Requests

    async def _take_burst(self, payloads: Sequence[bytes | bytearray | memoryview]) -> None:
        for payload in payloads:
            message = _read(payload)
            if type(message) is ms.Auth:
                self._propose()
                await self._authenticate(message)
            elif self._principal is None:
                self._say_error(_id_of(message), Unauthenticated("send an auth message first"))
            else:
                self._take_frame(message)
            if self._connection.closing:
                return
        self._propose()
        self._flush()

    def _take_frame(self, message: Any) -> None:
        if type(message) is list:
            self._speaks_arrays = True
            frame = Frame(len(message), is_array=True)
            for slot, request in enumerate(message):
                self._take(request, frame, slot)
        else:
            frame = Frame(1, is_array=False)
            self._take(message, frame, 0)
        self._frames.append(frame)
        if len(self._frames) > REPLIES_WAITING_MAX:
            self._say_error(None, _overloaded(len(self._frames), REPLIES_WAITING_MAX))
            self._connection.close(CLOSE_TRY_LATER, "OVERLOADED")

    def _take(self, request: Any, frame: Frame, slot: int) -> None:
        """Make a command of a request that changes something; leave every other in its slot."""
        to_command = self._to_command.get(type(request))
        if to_command is None:
            frame.slots[slot] = request
            return
        try:
            self._require(request)
            command = to_command(request)
        except ApiError as error:
            frame.slots[slot] = _failed(ms.OrderResponse, request.id, error)
            return
        self._commands.append(encode_command(command))
        self._pending.append((frame, slot, request, command))
        frame.missing += 1

    def _require(self, request: Any) -> None:
        allow = _ALLOWED[type(request)]
        if allow.any_of.isdisjoint(self._permissions):
            raise Forbidden(f"your roles do not allow this; needed: {' or '.join(sorted(allow.any_of))}")

    def _propose(self) -> None:
        """Hand the commands gathered so far to consensus, as one submission."""
        if not self._commands:
            return
        commands, pending = self._commands, self._pending
        self._commands, self._pending = [], []
        count = len(commands)
        if self._in_flight + count > IN_FLIGHT_MAX:
            self._fail(pending, _overloaded(self._in_flight, IN_FLIGHT_MAX))
            return
        try:
            self._context.replica.propose(commands, partial(self._committed, pending))
        except ConsensusError as error:
            self._fail(pending, self._services.leadership.error(error))
            return
        self._in_flight += count

    def _committed(self, pending: list[tuple[Frame, int, Any, Command]], outcome: Outcome) -> None:
        """The outcome of a submission. Never raises: consensus would stop the node."""
        self._in_flight -= len(pending)
        try:
            if isinstance(outcome, ConsensusError):
                self._fail(pending, self._services.leadership.error(outcome))
            else:
                answers = self._services.answers
                for (frame, slot, request, command), receipt in zip(pending, outcome, strict=True):
                    answer = answers.of(command, receipt)
                    error = answer.error
                    frame.slots[slot] = ms.OrderResponse(
                        id=request.id,
                        success=error is None,
                        data=answer.data,
                        error=None if error is None else error.body,
                        receipt=answer.receipt,
                    )
                    frame.missing -= 1
            self._flush()
        except Exception:
            log.exception("replies to user %s failed", self.user_id)
            self._connection.close(CLOSE_INTERNAL, "INTERNAL_ERROR")

    def _fail(self, pending: list[tuple[Frame, int, Any, Command]], error: ApiError) -> None:
        for frame, slot, request, _ in pending:
            frame.slots[slot] = _failed(ms.OrderResponse, request.id, error)
            frame.missing -= 1

    def _flush(self, *, confirmed: bool = False, refusal: ApiError | None = None) -> None:
        """Send the replies of every frame that is complete, up to the first that is not.

        A query is answered while this node knows that nobody else leads; otherwise it waits for `_confirm`, which says
        that it may be answered, or why not.
        """
        frames = self._frames
        out: list[bytes] = []
        while frames and not frames[0].missing:
            frame = frames[0]
            if not confirmed and refusal is None and self._asks(frame) and not self._context.replica.holds_lease():
                if not self._confirming:
                    self._confirming = True
                    self._nursery.start_soon(self._confirm)
                break
            frames.popleft()
            follow_ups: list[bytes] = []
            slots = frame.slots
            for slot, request in enumerate(slots):
                if isinstance(request, ms.Reply):
                    continue
                if refusal is not None and type(request) in self._carry_out:
                    slots[slot] = _failed(ms.QueryResponse, _id_of(request), refusal)
                else:
                    slots[slot] = self._answer(request, follow_ups)
            out.append(message_frame(slots if frame.is_array else slots[0]))
            out += follow_ups
        if out:
            self._connection.send_frame(b"".join(out))

    def _asks(self, frame: Frame) -> bool:
        return any(type(request) in self._carry_out for request in frame.slots)

    async def _confirm(self) -> None:
        """The lease has lapsed: ask the others once for all queries that wait."""
        refusal: ApiError | None = None
        try:
            await self._context.replica.read_now()
        except ConsensusError as error:
            refusal = self._services.leadership.error(error)
        self._confirming = False
        self._flush(confirmed=refusal is None, refusal=refusal)

    def _answer(self, request: Any, follow_ups: list[bytes]) -> Any:
        """Carry out a request that changes no state of the exchange. `follow_ups` are frames to send behind."""
        kind = type(request)
        message_id = _id_of(request)
        try:
            if kind is Unreadable:
                raise request.error
            if kind is ms.Ping:
                return ms.Pong(id=message_id)
            if kind is ms.Auth:
                raise Malformed("auth must be a frame of its own")
            self._require(request)
            if kind is ms.Subscribe:
                return self._subscribe(request, follow_ups)
            if kind is ms.Unsubscribe:
                return self._unsubscribe(request)
            return ms.QueryResponse(id=message_id, success=True, data=self._carry_out[kind](request))
        except ApiError as error:
            return _failed(_REPLY_TO.get(kind, ms.QueryResponse), message_id, error)
        except Exception:
            log.exception("%s of user %s failed", kind.__name__, self.user_id)
            return _failed(_REPLY_TO.get(kind, ms.QueryResponse), message_id, Internal())

    # Commands

    def _place(self, request: ms.SubmitOrder) -> Command:
        assert self._principal is not None
        return operations.place_order(self._context.machine, self._principal, request.account_id, request)

    def _cancel(self, request: ms.CancelOrder) -> Command:
        assert self._principal is not None
        return operations.cancel_order(self._principal, request.account_id, request.order_id)

    def _modify(self, request: ms.ModifyOrder) -> Command:
        assert self._principal is not None
        return operations.modify_order(
            self._principal, request.account_id, request.order_id, request.price, request.volume
        )

    def _cancel_all(self, request: ms.CancelAll) -> Command:
        assert self._principal is not None
        return operations.cancel_all(self._context.machine, self._principal, request.account_id, request.instrument_id)

    # Queries

    def _account(self, request: ms.Query, view_all: Permission) -> Any:
        assert self._principal is not None
        return self._principal.account_of(self._context.machine, request.account_id, view_all)

    def _query_account(self, request: ms.QueryAccount) -> Any:
        return render.account_body(self._account(request, P.VIEW_ALL_ACCOUNTS))

    def _query_position(self, request: ms.QueryPosition) -> Any:
        account = self._account(request, P.VIEW_ALL_POSITIONS)
        only = reads.instrument(self._context.machine, request.instrument_id) if request.instrument_id else None
        return reads.positions([account], only)

    def _query_order(self, request: ms.QueryOrder) -> Any:
        account = self._account(request, P.VIEW_ALL_ORDERS)
        return render.order_body(reads.order_of(account, request.order_id))

    def _query_orders(self, request: ms.QueryOrders) -> Any:
        account = self._account(request, P.VIEW_ALL_ORDERS)
        return reads.orders(
            [account],
            self._context.machine,
            alive=request.alive,
            instrument_id=request.instrument_id,
            page=request.page,
            page_size=request.page_size,
        )

    def _query_trades(self, request: ms.QueryTrades) -> Any:
        account = self._account(request, P.VIEW_ALL_TRADES)
        return reads.trades(self._context, [account], page=request.page, page_size=request.page_size)

    # Subscriptions and streams

    def _subscribe(self, request: ms.Subscribe, follow_ups: list[bytes]) -> Any:
        """All or nothing: an unknown instrument subscribes none."""
        machine, market = self._context.machine, self._context.hub.market
        instruments = [reads.instrument(machine, instrument_id) for instrument_id in request.instruments]
        public = [channel for channel in request.channels if channel != "account"]
        if public and not instruments:
            raise Malformed(f"instruments: the channel {public[0]} needs at least one")
        wanted = {(channel, found.instrument_id) for channel in public for found in instruments}
        if len(self._subscriptions | wanted) > SUBSCRIPTIONS_MAX:
            raise Malformed(f"instruments: more than {SUBSCRIPTIONS_MAX} subscriptions on one socket")
        if "account" in request.channels:
            self._listen()
        for channel in public:
            for found in instruments:
                self._subscriptions.add((channel, found.instrument_id))
                first = market.subscribe(self, channel, found, request.depth)
                if first is not None:
                    follow_ups.append(first)
        return self._subscribed(request, [found.instrument_id for found in instruments])

    def _unsubscribe(self, request: ms.Unsubscribe) -> Any:
        """Without `instruments`, everything of the channels."""
        machine, market = self._context.machine, self._context.hub.market
        named = {reads.instrument(machine, instrument_id).instrument_id for instrument_id in request.instruments}
        for channel, instrument_id in list(self._subscriptions):
            if channel in request.channels and (not named or instrument_id in named):
                self._subscriptions.discard((channel, instrument_id))
                market.unsubscribe(self, channel, instrument_id)
        if "account" in request.channels:
            stream = self._stream()
            if self in stream.listeners:
                stream.listeners.remove(self)
        return self._subscribed(request, sorted(named))

    def _subscribed(self, request: ms.Subscribe | ms.Unsubscribe, instruments: list[str]) -> Any:
        data = {"channels": request.channels, "instruments": instruments, "event_seq": self._stream().seq}
        return ms.SubscribeResponse(id=request.id, success=True, data=data)

    def _stream(self) -> Any:
        assert self._principal is not None
        return self._context.hub.private.of(self._principal.user_id)

    def _listen(self) -> None:
        stream = self._stream()
        if self not in stream.listeners:
            stream.listeners.append(self)

    def private(self, messages: list[bytes]) -> None:
        """A client that speaks in arrays is told in arrays: one frame for all that one entry did."""
        if self._speaks_arrays and len(messages) > 1:
            self._connection.send_frame(text_frame(b"[" + b",".join(messages) + b"]"))
        else:
            self._connection.send_frame(b"".join([text_frame(message) for message in messages]))

    def send_frame(self, frame: bytes) -> None:
        self._connection.send_frame(frame)

    def left_out(self, stream: BookStream) -> None:
        if not self._left_out:
            self._nursery.start_soon(self._catch_up)
        self._left_out[stream] = None

    async def _catch_up(self) -> None:
        """Once the queue is empty, give every book that was left out a new beginning."""
        await self._connection.outbox.drained()
        streams, self._left_out = self._left_out, {}
        for stream in streams:
            if self in stream.subscribers:
                self._connection.send_frame(stream.snapshot(self._context.machine.index))


_REPLY_TO: Final[dict[type, type[ms.Reply]]] = {
    Unreadable: ms.ErrorMessage,
    ms.Auth: ms.ErrorMessage,
    ms.Ping: ms.ErrorMessage,
    ms.Subscribe: ms.SubscribeResponse,
    ms.Unsubscribe: ms.SubscribeResponse,
}


def _failed(kind: type[ms.Reply], message_id: ms.MessageId, error: ApiError) -> ms.Reply:
    return kind(id=message_id, success=False, error=error.body)


def _overloaded(waiting: int, limit: int) -> ApiError:
    return Unavailable(
        OVERLOADED,
        f"{waiting} requests of this socket are waiting, the limit is {limit}",
        retry="after_ms",
        retry_after_ms=OVERLOAD_RETRY_MS,
        details={"waiting": waiting, "limit": limit},
    )


def _read(payload: bytes | bytearray | memoryview) -> Any:
    """A request, a list of requests, or what is wrong with it."""
    is_array = bytes(payload[:64]).lstrip()[:1] == b"["
    try:
        return ms.read_many(payload) if is_array else ms.read_one(payload)
    except Malformed as error:
        if not is_array:
            return Unreadable(_read_id(payload), error)
    try:
        parts = ms.read_parts(payload)
    except (msgspec.DecodeError, RecursionError) as error:
        return Unreadable(None, Malformed(str(error)))
    return [_read_part(part) for part in parts]


def _read_part(part: msgspec.Raw) -> Any:
    """One message of an array in which some cannot be read."""
    try:
        return ms.read_one(part)
    except Malformed as error:
        return Unreadable(_read_id(part), error)


def _read_id(payload: bytes | bytearray | memoryview | msgspec.Raw) -> ms.MessageId:
    try:
        return ms.read_envelope(payload).id
    except (msgspec.DecodeError, RecursionError):
        return None


def _id_of(message: Any) -> ms.MessageId:
    return None if type(message) is list else message.id
