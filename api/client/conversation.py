"""One unbroken conversation with the exchange over `/ws`, whichever node leads.

A supervisor connects to the leader, authenticates, serves the connection until it is lost, and begins again. What
survives a connection is kept elsewhere: requests by the `Desk`, the place in the private stream by `PrivateEvents`,
books by their `BookMirror`s.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec
import trio

from api.client import errors, wire
from api.client.book import BookBroken, BookMirror
from api.client.desk import CLOSE_NOT_LEADER, Desk
from api.client.link import Link, LinkLost, open_link
from api.client.stream import BUFFER_MAX, Gap, PrivateEvents

if TYPE_CHECKING:
    from api.client.rest import TrioClient

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
    * `events_max`: private events that wait for the reader before they are dropped with a `Reset`.
    * `reply_timeout_s`: a node that owes an answer and sends nothing for so long is left for another.
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


class Conversation:
    """`run` it in a task; `close` ends it. The rest is for `TradingSocket`."""

    def __init__(self, client: TrioClient, settings: SocketSettings, ssl_context: ssl.SSLContext) -> None:
        self.settings = settings
        self.events = PrivateEvents(settings.events_max)
        self.events.seq = settings.resume_from
        self.desk = Desk(
            client.session,
            in_flight_max=settings.in_flight_max,
            frame_bytes_max=settings.frame_bytes_max,
            leave=self._leave,
        )
        self.books: dict[str, BookMirror] = {}
        self.decoder = wire.MessageDecoder(events=settings.events)
        self.url = ""  # of the node that it is (or was last) connected to
        self.reconnects = 0
        self.link: Link | None = None  # authenticated
        self.ready = trio.Event()  # set while `link` is there, and at the end
        self._client = client
        self._route = client.route
        self._ssl_context = ssl_context
        self._name = settings.session or client.session.new_id()
        self._failures = 0  # connections in a row that came to nothing
        self._lost: LinkLost | None = None  # why the present connection is being left
        self._scope: trio.CancelScope | None = None  # of the present connection
        self._stop: trio.CancelScope | None = None  # of everything

    def close(self) -> None:
        """End it; what has no answer ends as OutcomeUnknown (if it was sent) or SocketClosed."""
        self._end(errors.SocketClosed("the socket was closed"))
        if self._stop is not None:
            self._stop.cancel()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep a connection to the leader until `close`; started when the first one stands.

        Raises what prevents the first connection: Unauthenticated, or Unavailable after the client's `timeout_s`.
        """
        give_up_at = trio.current_time() + self._client.session.timeout_s
        started = False
        failure: errors.ClientError | None = None

        def connected() -> None:
            nonlocal started
            if not started:
                started = True
                task_status.started()

        try:
            async with trio.open_nursery() as nursery:
                self.desk.run_in(nursery)
                self._stop = nursery.cancel_scope
                nursery.start_soon(self._watch)
                while True:
                    url = self._route.current
                    lost = await self._converse(url, connected)
                    self._disconnected(url, lost)
                    if lost.code in (CLOSE_UNAUTHENTICATED, CLOSE_REVOKED):
                        await self._log_in_again(lost)
                    if not started and trio.current_time() > give_up_at:
                        said = "; ".join(f"{node}: {why}" for node, why in self.desk.trouble.items())
                        raise errors.Unavailable(f"no node leads: {said}", asked="open a trading socket")
                    if lost.move_on:
                        self._route.next(url)
                    self._failures += 1
                    await trio.sleep(self._route.pause_s(failures=self._failures))
        except* errors.ClientError as group:
            failure = _first(group)
            self._end(failure)
        finally:
            self._end(errors.SocketClosed("the socket was closed"))
        if failure is not None and not started:
            raise failure

    # ------------------------------------------------------------ one connection

    async def _converse(self, url: str, connected: Callable[[], None]) -> LinkLost:
        """Connect, authenticate and serve until the connection is of no more use."""
        self._lost = None
        link: Link | None = None
        try:
            with trio.move_on_after(self.settings.connect_timeout_s):
                link = await open_link(url, "/ws", self._ssl_context)
            if link is None:
                return LinkLost(f"no handshake within {self.settings.connect_timeout_s} s")
            async with trio.open_nursery() as nursery:
                self._scope = nursery.cancel_scope
                nursery.start_soon(self._until_lost, link.write_loop)
                nursery.start_soon(self._until_lost, self._read, link, url, connected)
        except LinkLost as lost:
            return lost
        finally:
            self.link = self._scope = None
            if link is not None:
                await link.aclose()
        return self._lost or LinkLost("the connection was lost")

    async def _until_lost(self, task: Callable[..., object], *arguments: object) -> None:
        """Run one direction of the connection; its end is the end of both."""
        try:
            await task(*arguments)  # type: ignore[misc]
        except LinkLost as lost:
            self._leave(lost)

    async def _read(self, link: Link, url: str, connected: Callable[[], None]) -> None:
        with trio.move_on_after(self.settings.auth_timeout_s) as patience:
            rest = await self._authenticate(link)
        if patience.cancelled_caught:
            raise LinkLost(f"no auth_response within {self.settings.auth_timeout_s} s")
        self._connected(link, url)
        connected()
        self._dispatch(rest)
        while True:
            for frame in await link.receive():
                self._dispatch(self._decode(frame))

    def _decode(self, frame: bytes) -> list[wire.Incoming]:
        try:
            return self.decoder.decode(frame)
        except msgspec.DecodeError as error:
            raise LinkLost(f"the node sent what is not of the contract: {error}") from None

    async def _authenticate(self, link: Link) -> list[wire.Incoming]:
        """Say who we are. Returns what came in the same burst after the answer. Raises LinkLost."""
        if self._client.session.token is None:
            raise LinkLost("nobody is logged in", CLOSE_UNAUTHENTICATED)
        link.send(
            wire.message(
                "auth",
                None,
                token=self._client.session.token,
                session=self._name,
                resume_from=self.events.seq if self.settings.events else None,
            )
        )
        while True:
            messages = [message for frame in await link.receive() for message in self._decode(frame)]
            for position, message in enumerate(messages):
                if isinstance(message, wire.AuthResponse):
                    if not message.success:
                        body = message.error or errors.ErrorBody(0, "", "authentication failed")
                        raise LinkLost(body.message, CLOSE_UNAUTHENTICATED)
                    self.events.start(message.event_seq)
                    return messages[position + 1 :]
                if isinstance(message, wire.LeaderChange):
                    raise self._follow(message)
                if isinstance(message, wire.Failure) and message.error is not None:
                    raise LinkLost(message.error.message)  # a leader without a majority, for one

    def _connected(self, link: Link, url: str) -> None:
        """Ready for requests: subscribe again, then send what has no answer."""
        if self.url:
            self.reconnects += 1
        self.url = url
        self.link = link
        self._route.good()
        self._failures = 0
        if not self.settings.events:
            self._tell("unsubscribe", channels=["account"])
        for mirror in self.books.values():
            self._subscribe(mirror)
        self.desk.connect(link)
        self.ready.set()

    def _disconnected(self, url: str, lost: LinkLost) -> None:
        if self.ready.is_set():
            self.ready = trio.Event()
        if lost.code == CLOSE_TOO_BIG:
            self.desk.refuse_largest()
        self.desk.disconnect()
        self.desk.trouble[url] = str(lost)
        for mirror in self.books.values():
            mirror.disconnected()

    async def _log_in_again(self, lost: LinkLost) -> None:
        if not self._client.session.can_log_in:
            raise errors.Unauthenticated(str(lost), asked="authenticate on the trading socket")
        try:
            await self._client.relogin()
        except errors.Unavailable:
            pass  # the next round tries again

    def _leave(self, lost: LinkLost) -> None:
        """Stop using the present connection; the first reason counts."""
        if self._lost is None:
            self._lost = lost
        if self._scope is not None:
            self._scope.cancel()

    def _follow(self, message: wire.LeaderChange) -> LinkLost:
        url = message.leader.url if message.leader is not None else None
        followed = self._route.follow(url)
        return LinkLost(f"the leader is {url or 'not known'}", CLOSE_NOT_LEADER, move_on=not followed)

    # ------------------------------------------------------------ messages

    def _dispatch(self, messages: Sequence[wire.Incoming]) -> None:
        """What one frame brought. Raises LinkLost where the connection cannot go on."""
        if not messages or self.desk.answered(messages):
            return
        for message in messages:
            if isinstance(message, wire.Event):
                self._private(message)
            elif isinstance(message, wire.BookDelta | wire.BookSnapshot):
                self._book(message)
            elif isinstance(message, wire.LeaderChange):
                self._leave(self._follow(message))
            elif isinstance(message, wire.Failure):
                self.desk.failed_frame(message)

    def _private(self, event: wire.Event) -> None:
        try:
            self.events.take(event)
        except Gap as gap:
            raise LinkLost(str(gap), move_on=False) from None

    def _book(self, message: wire.BookSnapshot | wire.BookDelta) -> None:
        mirror = self.books.get(message.instrument_id)
        if mirror is None:
            return  # unsubscribed meanwhile
        try:
            if isinstance(message, wire.BookSnapshot):
                mirror.snapshot(message)
            else:
                mirror.delta(message)
        except BookBroken:
            self._subscribe(mirror)

    def _subscribe(self, mirror: BookMirror) -> None:
        """Ask for a fresh snapshot, whose deltas follow."""
        self._tell("subscribe", channels=["orderbook"], instruments=[mirror.instrument_id], depth=mirror.depth)

    def _tell(self, kind: str, **fields: object) -> None:
        """Send what belongs to this connection alone, and whose answer changes nothing."""
        assert self.link is not None
        try:
            self.link.send(wire.message(kind, self.desk.next_number(), **fields))
        except LinkLost:
            pass  # the reader is about to find out

    # ------------------------------------------------------------ time and end

    async def _watch(self) -> None:
        """Deadlines, nodes that stand still, connections that went silent."""
        while True:
            await trio.sleep(_WATCH_S)
            now = trio.current_time()
            oldest = self.desk.overdue(now)
            if self.link is None:
                continue
            if now - max(oldest, self.link.received_at) > self.settings.reply_timeout_s:
                self._leave(LinkLost(f"owes a reply and said nothing for {self.settings.reply_timeout_s} s"))
            elif now - self.link.received_at > self.settings.silence_s:
                self._leave(LinkLost(f"silent for {self.settings.silence_s} s"))

    def _end(self, error: errors.ClientError) -> None:
        """No more connections: every waiter learns what is known."""
        if self.desk.ended is None:
            self.desk.end(error)
            self.events.close(StopAsyncIteration() if isinstance(error, errors.SocketClosed) else error)
            self.ready.set()


def _first(group: BaseExceptionGroup[errors.ClientError]) -> errors.ClientError:
    """The first error of a group, however deep."""
    first = group.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first
