"""Virtual time, and what else must be replaced so that a run is a function of its seed.

PySyncObj reads its clock from a module variable, and iterates sets of its nodes: their hash is that of a string, which
Python randomises per process. Inside `virtual_time` both are deterministic, whatever PYTHONHASHSEED is.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import pysyncobj.syncobj
from pysyncobj.node import Node

from chaos.sim.disk import recording


class Clock:
    """Seconds; every reading advances it a little, so that nothing happens at the same time."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        self.seconds += 2e-6
        return self.seconds


@contextmanager
def virtual_time() -> Iterator[None]:
    """Simulated nodes may run inside: with a clock that `use` sets, and a disk that records what is durable."""
    with (
        mock.patch.object(pysyncobj.syncobj, "monotonicTime", pysyncobj.syncobj.monotonicTime),
        mock.patch.object(Node, "__hash__", lambda node: zlib.crc32(node.id.encode())),
        recording(),
    ):
        yield


def use(clock: Clock) -> None:
    """Let PySyncObj read this clock, until the `virtual_time` around the caller ends."""
    pysyncobj.syncobj.monotonicTime = clock
