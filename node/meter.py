"""How many orders this node applies per second, counted where they are applied. Nothing here is part of the state."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

from node.clock import Clock
from node.exchange.events import Event, OrderAccepted

WINDOW_S: Final = 5  # the rate is the mean over this many whole seconds


class OrderMeter:
    """Feed it every applied entry (`observe`); ask it for the rate."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._started_wall_ns = clock.wall_ns()
        self._started_s = clock.monotonic_ns() // 10**9
        self._seconds: deque[tuple[int, int]] = deque(maxlen=WINDOW_S + 1)  # (second, orders accepted in it)
        self.total = 0

    def observe(self, time_ns: int, results: Sequence[Sequence[Event]]) -> None:
        """One applied entry, stamped `time_ns`. Entries from before this process started are a replay: not counted."""
        if time_ns < self._started_wall_ns:
            return
        orders = 0
        for events in results:
            if type(events[0]) is OrderAccepted:
                orders += 1
        if orders == 0:
            return
        self.total += orders
        second = self._clock.monotonic_ns() // 10**9
        if self._seconds and self._seconds[-1][0] == second:
            orders += self._seconds.pop()[1]
        self._seconds.append((second, orders))

    def per_second(self) -> float | None:
        """Orders per second over the last `WINDOW_S` whole seconds; None until one whole second has passed."""
        now = self._clock.monotonic_ns() // 10**9
        seconds = min(WINDOW_S, now - self._started_s)
        if seconds < 1:
            return None
        return sum(count for second, count in self._seconds if now - seconds <= second < now) / seconds
