"""What happens next: events in virtual time, in one order."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush

from chaos.sim.clock import Clock


class Timeline:
    """Events by time, and by the order of their making where the time is equal."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._made = 0

    @property
    def now(self) -> float:
        return self.clock.seconds

    def after(self, delay_s: float, event: Callable[[], None]) -> None:
        self.at(self.clock.seconds + delay_s, event)

    def at(self, when: float, event: Callable[[], None]) -> None:
        self._made += 1
        heappush(self._events, (when, self._made, event))

    def run_until(self, end: float) -> None:
        """Let everything happen that is due before `end` (seconds of the clock)."""
        events, clock = self._events, self.clock
        while events and events[0][0] <= end:
            when, _, event = heappop(events)
            clock.seconds = max(clock.seconds, when)
            event()
        clock.seconds = max(clock.seconds, end)
