"""The private events of one user, in order, without a gap: a bounded buffer behind the sequence check."""

from __future__ import annotations

from collections import deque
from typing import Final

import trio

from api.client.wire import Event, Reset

BUFFER_MAX: Final = 10_000


class Gap(Exception):
    """An event does not follow the last one: the connection has to resume from `seq`."""


class PrivateEvents:
    """Takes events as they arrive and gives each one out once: `async for event in socket.events`.

    The node numbers the events of a user densely (`event_seq`), as a function of the log, so that any leader can resume
    the stream. What cannot be had any more is said with a `Reset`; after it, events follow `Reset.event_seq`.
    A reader that falls `buffer_max` events behind loses the buffered ones and gets a `Reset` in their place.
    """

    def __init__(self, buffer_max: int) -> None:
        if buffer_max < 1:
            raise ValueError(f"buffer_max must be at least 1, not {buffer_max}")
        self._buffer: deque[Event] = deque()
        self._buffer_max = buffer_max
        self._wake = trio.Event()
        self._closed: BaseException | None = None
        self._gap_seen_at: int | None = None
        self.seq: int | None = None  # of the last event taken
        self.duplicates = 0
        self.resets = 0

    def start(self, event_seq: int) -> None:
        """The node authenticated us and is at `event_seq`; a stream that has begun goes on from its own place."""
        if self.seq is None:
            self.seq = event_seq

    def take(self, event: Event) -> None:
        """The next event from the connection. Raises Gap where it does not follow."""
        if isinstance(event, Reset):
            self.seq = event.event_seq
            self.resets += 1
            self._push(event)
            return
        seq = self.seq if self.seq is not None else event.prev_seq
        if event.event_seq <= seq:
            self.duplicates += 1
            return
        if event.prev_seq != seq:
            if self._gap_seen_at != seq:
                self._gap_seen_at = seq
                raise Gap(f"event {event.event_seq} follows {event.prev_seq}, the last one here is {seq}")
            # Resuming from `seq` brought the same hole again: the node does not have these events.
            self._reset(event.prev_seq, f"events {seq + 1} to {event.prev_seq} are lost")
        self.seq = event.event_seq
        self._push(event)

    def close(self, reason: BaseException) -> None:
        """Nothing more will come: readers drain the buffer, then get `reason`."""
        self._closed = reason
        self._wake.set()

    def __len__(self) -> int:
        return len(self._buffer)

    def __aiter__(self) -> PrivateEvents:
        return self

    async def __anext__(self) -> Event:
        while not self._buffer:
            if self._closed is not None:
                raise self._closed
            if self._wake.is_set():
                self._wake = trio.Event()
            await self._wake.wait()
        return self._buffer.popleft()

    def _push(self, event: Event) -> None:
        if len(self._buffer) >= self._buffer_max:
            first = self._buffer[0].event_seq
            self._buffer.clear()
            self._reset(
                event.event_seq - 1, f"the reader is slow: events {first} to {event.event_seq - 1} were dropped"
            )
        self._buffer.append(event)
        self._wake.set()

    def _reset(self, event_seq: int, reason: str) -> None:
        self.resets += 1
        self._buffer.append(Reset(event_seq, reason=reason))
        self._wake.set()
