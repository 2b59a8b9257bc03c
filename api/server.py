"""Hypercorn on trio, with `/ws` on the same port, and the cures of stack.md 1.2 for what Hypercorn does wrong.

* B1, B2: `SafeHTTPConnection` (in `api.app`) lets the last byte of a response leave before its request is cancelled.
* B3: `FrontServer.protocol_send` gives a client that does not read `SEND_TIMEOUT_S`, then drops it. Hypercorn would
  wait for ever, also during shutdown and cancellation. It also sends each response in one write instead of three.
* B7: every limit is explicit.
* 3.4: `FrontServer.run` hands `GET /ws` to `api.ws` before Hypercorn sees a byte.

Relies on internals of hypercorn 0.18.0, to which pyproject.toml pins it; tests/api/test_server.py holds it to them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData
from hypercorn.trio.lifespan import Lifespan
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState

from api.app import create_app
from api.errors import SERVICE_UNAVAILABLE, Unavailable
from api.limits import HEAD_BYTES_MAX, HEAD_TIMEOUT_S, SEND_TIMEOUT_S
from api.ports import ApiContext
from api.render import encode
from api.services import Services, services_for
from api.ws.door import serve_socket

BACKLOG: Final = 4_096
KEEP_ALIVE_S: Final = 30.0
KEEP_ALIVE_REQUESTS_MAX: Final = 1_000_000
GRACE_S: Final = 1.0  # for requests and sockets to end when the node stops
LINGER_S: Final = 1.0  # for a client to stop sending what is not read any more
LINGER_BYTES: Final = 65_536
SOCKET_PATHS: Final = (b"GET /ws ", b"GET /ws?")
HELD_BYTES_MAX: Final = 65_536
_HEAD_OF_RESPONSE: Final = b"HTTP/1.1 "
_HEAD_OF_INTERIM: Final = b"HTTP/1.1 1"
_PREFIX_BYTES: Final = len(SOCKET_PATHS[0])

log = logging.getLogger(__name__)


async def serve_api(
    context: ApiContext,
    *,
    host: str,
    port: int,
    task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve REST and `/ws` until cancelled; `started(port)` with the port that is bound (for `port=0`).

    When it is cancelled, open WebSockets are told that the node goes away. Raises OSError if the port cannot be bound.
    """
    services = services_for(context)
    config = _config(context)
    app = ASGIWrapper(create_app(services))
    worker = WorkerContext(None)
    state: dict[str, Any] = {}
    lifespan = Lifespan(app, config, state)
    door = _Door(context.settings.connections_max)
    listeners = await trio.open_tcp_listeners(port, host=host, backlog=BACKLOG)
    bound: int = listeners[0].socket.getsockname()[1]
    async with trio.open_nursery() as nursery:
        await nursery.start(lifespan.handle_lifespan)
        await lifespan.wait_for_startup()
        connections: trio.Nursery = await nursery.start(_hold_connections)
        handler = partial(_serve_connection, services, app, config, worker, state, door)
        task_status.started(bound)
        try:
            await trio.serve_listeners(handler, listeners, handler_nursery=connections)
        finally:
            with trio.CancelScope(shield=True):
                await _say_goodbye(context, worker, door)
            nursery.cancel_scope.cancel()
            connections.cancel_scope.cancel()


async def _hold_connections(task_status: trio.TaskStatus[trio.Nursery]) -> None:
    """A nursery that outlives the cancellation of the server, so that sockets can be told of it."""
    async with trio.open_nursery() as connections:
        connections.cancel_scope.shield = True
        task_status.started(connections)
        await trio.sleep_forever()


async def _say_goodbye(context: ApiContext, worker: WorkerContext, door: _Door) -> None:
    """Idle REST connections close, requests in progress finish, sockets take leave; all within `GRACE_S`."""
    await worker.terminated.set()
    context.hub.close()
    with trio.move_on_after(GRACE_S):
        await door.empty()


def _config(context: ApiContext) -> Config:
    config = Config()
    config.accesslog = None
    config.errorlog = logging.getLogger("qaexchange.api.hypercorn")
    config.backlog = BACKLOG
    config.keep_alive_timeout = KEEP_ALIVE_S
    config.keep_alive_max_requests = KEEP_ALIVE_REQUESTS_MAX
    config.h11_max_incomplete_size = HEAD_BYTES_MAX
    config.websocket_max_message_size = context.settings.frame_bytes_max
    config.include_server_header = False
    return config


class _Door:
    """Counts the open connections."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.count = 0
        self._empty: trio.Event | None = None

    async def empty(self) -> None:
        """Wait until nobody is connected."""
        while self.count:
            self._empty = trio.Event()
            await self._empty.wait()

    @contextmanager
    def enter(self) -> Iterator[bool]:
        """Whether there is room."""
        self.count += 1
        try:
            yield self.count <= self.limit
        finally:
            self.count -= 1
            if self.count == 0 and self._empty is not None:
                self._empty.set()


async def _serve_connection(
    services: Services,
    app: ASGIWrapper,
    config: Config,
    worker: WorkerContext,
    state: dict[str, Any],
    door: _Door,
    stream: trio.SocketStream,
) -> None:
    """One connection, to its end. A failure ends it and nothing else."""
    with door.enter() as welcome:
        try:
            if welcome:
                server = FrontServer(services, app, config, worker, ConnectionState(state.copy()), stream)
                await server.run()
            else:
                await _turn_away(stream, door.limit)
        except Exception:
            log.exception("a connection failed")
        finally:
            await trio.aclose_forcefully(stream)


async def _turn_away(stream: trio.SocketStream, limit: int) -> None:
    error = Unavailable(SERVICE_UNAVAILABLE, f"{limit} connections are open, the limit", retry="after_ms")
    body = encode({"success": False, "data": None, "error": error.body})
    head = (
        f"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\n"
        f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
    )
    with trio.move_on_after(SEND_TIMEOUT_S):
        try:
            await stream.send_all(head.encode("ascii") + body)
            await stream.send_eof()
            while await stream.receive_some():  # an unread request would turn our answer into a reset
                pass
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass


class Replayed:
    """A stream whose first bytes were read already. What Hypercorn uses of a `trio.SocketStream`, and no more."""

    def __init__(self, stream: trio.SocketStream, first: bytes) -> None:
        self._stream = stream
        self._first = first
        self.socket = stream.socket

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        if self._first:
            await trio.lowlevel.checkpoint()
            first, self._first = self._first, b""
            return first
        return await self._stream.receive_some(max_bytes)

    async def send_all(self, data: bytes) -> None:
        await self._stream.send_all(data)

    async def send_eof(self) -> None:
        await self._stream.send_eof()

    async def aclose(self) -> None:
        await self._stream.aclose()


class FrontServer(TCPServer):
    """One connection: `/ws` goes to our own sockets, everything else to Hypercorn."""

    def __init__(
        self,
        services: Services,
        app: ASGIWrapper,
        config: Config,
        worker: WorkerContext,
        state: ConnectionState,
        stream: trio.SocketStream,
    ) -> None:
        super().__init__(app, config, worker, state, stream)  # type: ignore[arg-type]
        self._services = services
        self._socket_stream = stream
        self._held = b""  # of a response whose end has not come
        self._reader: trio.lowlevel.Task | None = None
        self._read_all = trio.Event()

    async def run(self) -> None:
        stream = self._socket_stream
        first = b""
        try:
            with trio.move_on_after(HEAD_TIMEOUT_S) as timer:
                first = await self._read_start(stream)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return
        if timer.cancelled_caught or not first:
            return
        if first.startswith(SOCKET_PATHS):
            await serve_socket(self._services, stream, first)
            return
        self.stream = Replayed(stream, first)  # type: ignore[assignment]
        await super().run()

    async def _read_start(self, stream: trio.SocketStream) -> bytes:
        """Enough to know whose request it is: the whole head for `/ws`, else whatever came first."""
        first = bytearray()
        while True:
            data = await stream.receive_some(HEAD_BYTES_MAX)
            first += data
            if not data or len(first) >= HEAD_BYTES_MAX:
                return bytes(first)
            if len(first) < _PREFIX_BYTES:
                if any(path.startswith(bytes(first)) for path in SOCKET_PATHS):
                    continue
                return bytes(first)
            if not first.startswith(SOCKET_PATHS) or b"\r\n\r\n" in first:
                return bytes(first)

    async def _read_data(self) -> None:
        self._reader = trio.lowlevel.current_task()
        try:
            await super()._read_data()
        finally:
            self._read_all.set()

    async def _close(self) -> None:
        """Read on for a moment after our last byte: closing over unread data resets the connection, and the reset can
        overtake the answer (a 413 whose body is still coming)."""
        with trio.move_on_after(LINGER_S):
            try:
                await self.stream.send_eof()
                if trio.lowlevel.current_task() is self._reader:
                    while await self.stream.receive_some(LINGER_BYTES):
                        pass
                elif self._reader is not None:
                    await self._read_all.wait()
            except (trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError):
                pass
        await super()._close()

    async def protocol_send(self, event: Event) -> None:
        """Hypercorn gives the head, the body and the end of a response one by one: they leave in one write."""
        if not isinstance(event, RawData):
            await self._send_held()
            await super().protocol_send(event)
            return
        if event.data.startswith(_HEAD_OF_RESPONSE) and not event.data.startswith(_HEAD_OF_INTERIM):
            await self._send_held()
            self._held = event.data
        elif self._held and event.data:
            self._held += event.data
        else:  # the end of a response, or nothing that was held back
            self._held += event.data
            await self._send_held()
        if len(self._held) > HELD_BYTES_MAX:
            await self._send_held()

    async def _send_held(self) -> None:
        held, self._held = self._held, b""
        if not held:
            return
        async with self.send_lock:
            try:
                with trio.fail_after(SEND_TIMEOUT_S) as scope:
                    scope.shield = True
                    await self.stream.send_all(held)
            except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError):
                await trio.aclose_forcefully(self._socket_stream)
                await self.protocol.handle(Closed())
