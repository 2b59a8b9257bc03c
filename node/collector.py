"""Garbage collection in steps that nobody notices.

The state is millions of objects that live long and form no cycles. Python's own rule collects when *net* allocations
reach a threshold: once the state forgets as many orders as it takes new ones, the count stands still while the young
generation grows, and the collection that comes at last takes 50 to 200 ms (benchmarks/README.md). So the rule is
replaced: the young generation after a fixed number of applied commands or a second, everything else only while nobody
waits for this node.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Final

import trio

YOUNG_COMMANDS: Final = 1_000  # applied commands between two looks at the young generation: about 1 ms each
YOUNG_S: Final = 1.0  # and at least this often: sockets and requests make garbage without any command
FULL_S: Final = 60.0


class Collector:
    """Takes over from the automatic collector of this process."""

    def __init__(self) -> None:
        gc.disable()
        self._commands = 0

    def applied(self, commands: int) -> None:
        """The state machine applied that many commands."""
        self._commands += commands
        if self._commands >= YOUNG_COMMANDS:
            self._commands = 0
            gc.collect(0)

    async def run(self, nobody_waits: Callable[[], bool]) -> None:
        """Collect the young every second, and everything every minute while `nobody_waits()`.

        What survives a full collection lives long, and is never looked at again (`gc.freeze`), so that the next one
        looks at the newer objects only.
        """
        while True:
            if nobody_waits():
                gc.collect()
                gc.freeze()
            for _ in range(int(FULL_S / YOUNG_S)):
                await trio.sleep(YOUNG_S)
                gc.collect(0)
