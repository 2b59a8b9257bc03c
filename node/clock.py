"""The one place in `node` that asks the system for time."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """What the process may ask about time. A test hands in its own."""

    def wall_ns(self) -> int:
        """Nanoseconds since the epoch, UTC. May jump, in both directions."""
        ...

    def monotonic_ns(self) -> int:
        """Nanoseconds since some fixed instant. Never goes back."""
        ...


class SystemClock:
    """The clock of this machine."""

    def wall_ns(self) -> int:
        return time.time_ns()

    def monotonic_ns(self) -> int:
        return time.monotonic_ns()
