"""Persist before promise (hazard P4): frames that wait until what they promise is on the disk.

A vote, and the request for one, depend on the hard state that was appended just before. They are parked here with
the WAL position that makes them true, and leave in order once the WAL is durable up to it. (Acknowledgements need
no parking: they are computed from what is durable, see `transport`.)
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

PARKED_MAX = 256  # the oldest is forgotten beyond it: a lost vote costs an election round, never safety


class Promises:
    """A queue of (position, send), positions ascending."""

    def __init__(self) -> None:
        self._parked: deque[tuple[int, Callable[[], None]]] = deque(maxlen=PARKED_MAX)

    def after(self, position: int, send: Callable[[], None]) -> None:
        """Call `send` once everything below `position` is durable."""
        self._parked.append((position, send))

    def release(self, durable_position: int) -> None:
        """Keep the promises that `durable_position` covers."""
        while self._parked and self._parked[0][0] <= durable_position:
            self._parked.popleft()[1]()

    def __len__(self) -> int:
        return len(self._parked)
