"""One WebSocket connection: the `websockets` sans-IO protocol on a trio stream.

Everything that is written between two turns of the writer leaves in one `send_all`, and everything that one
`receive_some` brought is handed on together: one task switch per burst, not per message (stack.md, 3.2).
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

import trio
from websockets.client import ClientProtocol
from websockets.exceptions import InvalidHandshake, InvalidMessage
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.protocol import State
from websockets.uri import parse_uri

RECEIVE_BYTES: Final = 32_768  # each read makes a buffer of this size
MESSAGE_BYTES_MAX: Final = 16 * 2**20  # of one incoming message; a full snapshot is far smaller
_CLOSE_TIMEOUT_S: Final = 0.5

_logger = logging.getLogger("qaexchange.client.link")


class LinkLost(Exception):
    """The connection is of no use any more.

    `code` is the close code if there is one; `move_on` is False where the route points to the node to ask next.
    """

    def __init__(self, reason: str, code: int | None = None, *, move_on: bool = True) -> None:
        super().__init__(f"{reason} (close code {code})" if code is not None else reason)
        self.code = code
        self.move_on = move_on


class Link:
    """Made by `open_link`. One task calls `receive`, one runs `write_loop`, anybody calls `send`."""

    def __init__(self, stream: trio.abc.Stream, protocol: ClientProtocol) -> None:
        self._stream = stream
        self._protocol = protocol
        self._outbox: list[bytes] = []
        self._wake = trio.Event()
        self._fragments: list[bytes] = []
        self.received_at = trio.current_time()

    def send(self, message: bytes) -> None:
        """Queue one text message. Raises LinkLost if the connection is closing."""
        if self._protocol.state is not State.OPEN:
            raise LinkLost("the connection is closing")
        self._protocol.send_text(message)
        self._flush()

    async def write_loop(self) -> None:
        """Send what is queued, for ever. Raises LinkLost."""
        outbox = self._outbox
        while True:
            if not outbox:
                self._wake = trio.Event()
                await self._wake.wait()
            data = b"".join(outbox)
            outbox.clear()
            try:
                await self._stream.send_all(data)
            except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                raise LinkLost(f"write failed: {error}") from None

    async def receive(self) -> list[bytes]:
        """The complete messages of the next burst, at least one. Raises LinkLost at the end of the connection."""
        protocol = self._protocol
        while True:
            try:
                data = await self._stream.receive_some(RECEIVE_BYTES)
            except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                raise LinkLost(f"read failed: {error}") from None
            self.received_at = trio.current_time()
            if data:
                protocol.receive_data(data)
            else:
                protocol.receive_eof()
            messages = self._messages(protocol.events_received())
            self._flush()  # pongs and the echo of a close
            if messages:
                return messages
            if protocol.state is not State.OPEN:
                code = protocol.close_rcvd.code if protocol.close_rcvd is not None else None
                reason = protocol.close_rcvd.reason if protocol.close_rcvd is not None else ""
                raise LinkLost(reason or str(protocol.parser_exc or "closed by the node"), code)

    async def aclose(self, code: int = 1000) -> None:
        """Say goodbye if that is possible, and close."""
        with trio.move_on_after(_CLOSE_TIMEOUT_S) as scope:
            scope.shield = True
            if self._protocol.state is State.OPEN:
                self._protocol.send_close(code)
                try:
                    await self._stream.send_all(b"".join(self._outbox) + b"".join(self._protocol.data_to_send()))
                except (trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError):
                    pass
        await trio.aclose_forcefully(self._stream)

    def _flush(self) -> None:
        writes = self._protocol.data_to_send()
        if writes:
            self._outbox += writes
            self._wake.set()

    def _messages(self, events: Sequence[object]) -> list[bytes]:
        """Text messages, fragments joined."""
        messages = []
        for event in events:
            if not isinstance(event, Frame):
                continue
            if event.opcode is Opcode.TEXT and event.fin:
                messages.append(bytes(event.data))
            elif event.opcode is Opcode.TEXT or event.opcode is Opcode.CONT:
                self._fragments.append(bytes(event.data))
                if event.fin:
                    messages.append(b"".join(self._fragments))
                    self._fragments.clear()
        return messages


async def open_link(url: str, path: str, ssl_context: ssl.SSLContext) -> Link:
    """Connect to `url` (http or https, as in `Route`) and shake hands. Raises LinkLost; the caller bounds the time."""
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    host = parts.hostname or ""
    port = parts.port or (443 if secure else 80)
    try:
        stream: trio.abc.Stream = await trio.open_tcp_stream(host, port)
    except OSError as error:
        raise LinkLost(f"cannot connect: {error}") from None
    try:
        if secure:
            tls = trio.SSLStream(stream, ssl_context, server_hostname=host, https_compatible=True)
            stream = tls
            await tls.do_handshake()
        return Link(stream, await _shake_hands(stream, url, path))
    except BaseException as error:
        await trio.aclose_forcefully(stream)
        if isinstance(error, InvalidHandshake | InvalidMessage | trio.BrokenResourceError | EOFError):
            raise LinkLost(f"handshake failed: {type(error).__name__} {error}") from None
        raise


async def _shake_hands(stream: trio.abc.Stream, url: str, path: str) -> ClientProtocol:
    uri = parse_uri(url.replace("http", "ws", 1) + path)
    protocol = ClientProtocol(uri, max_size=MESSAGE_BYTES_MAX, logger=_logger)
    protocol.send_request(protocol.connect())
    await stream.send_all(b"".join(protocol.data_to_send()))
    while True:
        data = await stream.receive_some(RECEIVE_BYTES)
        if data:
            protocol.receive_data(data)
        else:
            protocol.receive_eof()
        if protocol.handshake_exc is not None:
            raise protocol.handshake_exc
        if protocol.state is State.OPEN:
            # The node speaks only after our `auth`, so the response is the only event here.
            assert all(isinstance(event, Response) for event in protocol.events_received())
            return protocol
