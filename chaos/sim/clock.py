"""Virtual time, and what else must be replaced so that a run is a function of its seed.

PySyncObj reads its clock from a module variable, and iterates sets of its nodes: their hash is that of a string, which
Python randomises per process. Inside `virtual_time` both are deterministic, whatever PYTHONHASHSEED is.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import pysyncobj.syncobj
from pysyncobj.node import Node


class Clock:
    """Seconds; every reading advances it a little, so that nothing happens at the same time."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        self.seconds += 2e-6
        return self.seconds


@contextmanager
def virtual_time() -> Iterator[None]:
    """PySyncObj's clock may be replaced inside; and syncing is free, since the simulated disk decides what is kept."""
    with (
        mock.patch.object(pysyncobj.syncobj, "monotonicTime", pysyncobj.syncobj.monotonicTime),
        mock.patch.object(Node, "__hash__", lambda node: zlib.crc32(node.id.encode())),
        mock.patch.object(os, "fdatasync", lambda _fd: None),
        mock.patch.object(os, "fsync", lambda _fd: None),
    ):
        yield
