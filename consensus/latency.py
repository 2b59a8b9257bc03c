"""A ring of the newest durations, and their percentiles."""

from __future__ import annotations

from collections import deque

SAMPLES_MAX = 4096  # the oldest is forgotten beyond it


class Latency:
    def __init__(self) -> None:
        self._samples: deque[float] = deque(maxlen=SAMPLES_MAX)
        self.add = self._samples.append  # seconds; bound once, it is called for every submission

    def percentiles_ms(self) -> tuple[float, float] | None:
        """p50 and p99 in milliseconds; None before the first sample."""
        if not self._samples:
            return None
        ordered = sorted(self._samples)
        last = len(ordered) - 1
        return ordered[last // 2] * 1000, ordered[last * 99 // 100] * 1000
