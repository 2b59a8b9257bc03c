"""Bytes on their way to one socket: written at once where the kernel takes them, else queued, never awaited.

Whoever publishes calls `write` and goes on. The queue is bounded: a client that does not read is given up, not waited
for (`overflowed`).
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from typing import Final

import trio

OUTBOX_BYTES_MAX: Final = 1_048_576
WRITE_MAX: Final = 262_144  # bytes joined into one system call


class Outbox:
    """`run` must run in a task while the socket is open. `on_overflow` is called once, from inside `write`."""

    def __init__(self, stream: trio.SocketStream, *, limit: int, on_overflow: Callable[[], None]) -> None:
        self._socket = stream.socket
        self._fd = stream.socket.fileno()
        self._limit = limit
        self._on_overflow = on_overflow
        self._queue: deque[bytes] = deque()
        self._wake = trio.Event()
        self._drained: trio.Event | None = None
        self.queued_bytes = 0
        self.closed = False  # the file descriptor may not be touched any more
        self.overflowed = False
        self._begun = False  # the first of the queue was sent in part

    def write(self, data: bytes) -> None:
        """Send `data` after everything before it. Does nothing once the socket is closed or given up."""
        if self.closed or self.overflowed:
            return
        if not self._queue:
            sent = self._send(data)
            if sent == len(data) or self.closed:
                return
            data = data[sent:]
            self._begun = sent > 0
            self._wake.set()
        self._queue.append(data)
        self.queued_bytes += len(data)
        if self.queued_bytes > self._limit:
            self.overflowed = True
            self._on_overflow()

    def give_up(self, last: bytes) -> None:
        """Drop what waits, except a frame whose beginning was sent, and end with `last`."""
        self.overflowed = True
        rest = self._queue.popleft() if self._begun and self._queue else b""
        self._queue.clear()
        self._queue.append(rest + last)
        self.queued_bytes = len(rest) + len(last)
        self._wake.set()

    def close(self) -> None:
        """No write from now on; call it before the socket is closed."""
        self.closed = True
        self._queue.clear()
        self.queued_bytes = 0
        self._wake.set()
        self._notice_drained()

    async def drained(self) -> None:
        """Wait until nothing is queued."""
        while self._queue:
            if self._drained is None:
                self._drained = trio.Event()
            await self._drained.wait()

    async def run(self) -> None:
        """Write what was queued whenever the kernel takes more; returns after `close`."""
        while not self.closed:
            if not self._queue:
                self._wake = trio.Event()
                await self._wake.wait()
                continue
            try:
                await trio.lowlevel.wait_writable(self._socket)
            except trio.ClosedResourceError:
                return
            self._write_queued()

    def _write_queued(self) -> None:
        queue = self._queue
        while queue and not self.closed:
            chunk = queue.popleft()
            if queue and len(chunk) < WRITE_MAX:
                parts, size = [chunk], len(chunk)
                while queue and size < WRITE_MAX:
                    parts.append(queue.popleft())
                    size += len(parts[-1])
                chunk = b"".join(parts)
            sent = self._send(chunk)
            if self.closed:
                return
            self.queued_bytes -= sent
            if sent < len(chunk):
                self._begun = self._begun or sent > 0
                queue.appendleft(chunk[sent:])
                return
            self._begun = False
        self._notice_drained()

    def _notice_drained(self) -> None:
        if self._drained is not None:
            self._drained.set()
            self._drained = None

    def _send(self, data: bytes) -> int:
        """How many bytes the kernel took. A broken connection counts as closed: the reader sees its end, too."""
        try:
            return os.write(self._fd, data)
        except BlockingIOError:
            return 0
        except OSError:
            self.close()
            return 0
