"""One WebSocket connection: the sans-IO protocol of `websockets` on a trio stream. It knows frames, not messages.

All frames that one read brought are handed on together; what is sent leaves at once through the `Outbox`. No extension
is offered: compression would cost 150 KiB per connection (stack.md, B4).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from http import HTTPStatus
from typing import Final

import trio
from websockets.exceptions import InvalidOrigin
from websockets.frames import Frame, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import OPEN
from websockets.server import ServerProtocol

from api.errors import ApiError
from api.render import encode
from api.ws.outbox import OUTBOX_BYTES_MAX, Outbox

RECEIVE_BYTES: Final = 16_384  # each read makes a buffer of this size; from 128 KiB on that is a system call of its own
CLOSE_GRACE_S: Final = 1.0  # for the other side's half of the closing handshake
REASON_MAX: Final = 120  # bytes; a close frame carries 123
SLOW_GRACE_S: Final = 5.0  # for a slow client to read up to the close frame
CONGESTED_BYTES: Final = OUTBOX_BYTES_MAX // 4

CLOSE_GOING_AWAY: Final = 1001
CLOSE_UNSUPPORTED: Final = 1003
CLOSE_INTERNAL: Final = 1011
CLOSE_TRY_LATER: Final = 1013
CLOSE_UNAUTHENTICATED: Final = 4401
CLOSE_REVOKED: Final = 4403
CLOSE_SLOW_CONSUMER: Final = 4408
CLOSE_SILENT: Final = 4410
CLOSE_NOT_LEADER: Final = 4421

TEXT, CONT, BINARY = Opcode.TEXT, Opcode.CONT, Opcode.BINARY

_logger = logging.getLogger("qaexchange.api.ws.protocol")
_logger.setLevel(logging.WARNING)  # the library tells of every opening and closing at INFO


class Connection:
    """`shake_hands` first; then one task calls `receive`, one runs `outbox.run`, anybody sends."""

    def __init__(self, stream: trio.SocketStream, *, frame_bytes_max: int, origins: Sequence[str]) -> None:
        self._stream = stream
        self._protocol = ServerProtocol(
            origins=[None, *origins],  # type: ignore[list-item]
            max_size=frame_bytes_max,
            logger=_logger,
        )
        self._fragments: list[bytes | bytearray | memoryview] = []
        self._reading: trio.CancelScope | None = None
        self.outbox = Outbox(stream, limit=OUTBOX_BYTES_MAX, on_overflow=self._overflow)
        self.heard_at = trio.current_time()
        self.closing = False

    def read_request(self, head: bytes) -> Request | None:
        """The opening request, from the bytes of its head and whatever came behind; None if it is not one."""
        self._protocol.receive_data(head)
        events = self._protocol.events_received()
        return events[0] if events and isinstance(events[0], Request) else None

    def accept(self, request: Request, refusal: ApiError | None, origin_refused: ApiError) -> bool:
        """Answer the opening request, with `refusal` if there is one. Returns whether the socket is open."""
        protocol = self._protocol
        if refusal is not None:
            response = self._refuse(refusal)
        else:
            response = protocol.accept(request)
            if isinstance(protocol.handshake_exc, InvalidOrigin):
                response = self._refuse(origin_refused)
        protocol.send_response(response)
        self._flush()
        return protocol.state is OPEN

    def _refuse(self, error: ApiError) -> Response:
        """An HTTP refusal with the envelope of every JSON route."""
        response = self._protocol.reject(
            HTTPStatus(error.status), encode({"success": False, "data": None, "error": error.body}).decode()
        )
        del response.headers["Content-Type"]
        response.headers["Content-Type"] = "application/json"
        for name, value in error.headers.items():
            response.headers[name] = value
        return response

    @property
    def congested(self) -> bool:
        return self.outbox.queued_bytes > CONGESTED_BYTES

    async def receive(self) -> list[bytes | bytearray | memoryview]:
        """The complete text messages of the next burst; empty once either side is closing."""
        protocol = self._protocol
        while not self.closing:
            data = b""
            with trio.CancelScope() as self._reading:
                try:
                    data = bytes(await self._stream.receive_some(RECEIVE_BYTES))
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    pass
            if self.closing:
                break
            self.heard_at = trio.current_time()
            if data:
                protocol.receive_data(data)
            else:
                protocol.receive_eof()
            messages = self._messages()
            self._flush()
            if protocol.state is not OPEN:
                self.closing = True
            if messages:
                return messages
        return []

    def _messages(self) -> list[bytes | bytearray | memoryview]:
        messages: list[bytes | bytearray | memoryview] = []
        for frame in self._protocol.events_received():
            assert isinstance(frame, Frame)
            if frame.opcode is TEXT:
                if frame.fin:
                    messages.append(frame.data)
                else:
                    self._fragments = [frame.data]
            elif frame.opcode is CONT:
                self._fragments.append(frame.data)
                if frame.fin:
                    messages.append(b"".join(self._fragments))
                    self._fragments = []
            elif frame.opcode is BINARY:
                self.close(CLOSE_UNSUPPORTED, "send JSON in text frames")
                return messages
        return messages

    def send_frame(self, frame: bytes) -> None:
        """One or more whole text frames (`frames.text_frame`)."""
        if not self.closing:
            self.outbox.write(frame)

    def ping(self) -> None:
        if self._protocol.state is OPEN:
            self._protocol.send_ping(b"")
            self._flush()

    def close(self, code: int, reason: str) -> None:
        """Begin the closing handshake; `receive` ends, and `finish` waits for the other side."""
        if self._protocol.state is OPEN:
            self._protocol.send_close(code, reason[:REASON_MAX])
            self._flush()
        self._stop_reading()

    async def finish(self) -> None:
        """Let what is queued leave, then read on until the other side has closed, all within a grace.

        Closing over unread data would reset the connection, and the reset could overtake the close frame.
        """
        with trio.move_on_after(SLOW_GRACE_S if self.outbox.queued_bytes else CLOSE_GRACE_S):
            await self.outbox.drained()
            try:
                await self._stream.send_eof()
                while await self._stream.receive_some(RECEIVE_BYTES):
                    pass
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass

    def _stop_reading(self) -> None:
        self.closing = True
        if self._reading is not None:
            self._reading.cancel()

    def _overflow(self) -> None:
        """The client does not read: drop what it has not begun to read, and let the close frame come next."""
        if self._protocol.state is OPEN:
            self._protocol.send_close(CLOSE_SLOW_CONSUMER, "SLOW_CONSUMER")
        self.outbox.give_up(b"".join(self._protocol.data_to_send()))
        self._stop_reading()

    def _flush(self) -> None:
        for data in self._protocol.data_to_send():
            if data:
                self.outbox.write(data)
