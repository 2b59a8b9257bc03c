"""What is to be done at which moment of log time: one moment per key, the earliest first."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import ItemsView
from typing import Generic, TypeVar

K = TypeVar("K", int, str)


class Agenda(Generic[K]):
    """Moments (ns) by key. Keys of equal moments come in their own order, so that every replica takes the same."""

    __slots__ = ("_moments", "_order")

    def __init__(self) -> None:
        self._moments: dict[K, int] = {}
        self._order: list[tuple[int, K]] = []  # ascending

    def set(self, key: K, moment_ns: int) -> None:
        """Put a key on the agenda, or move it. O(log n), and a shift of memory."""
        if self._moments.get(key) == moment_ns:
            return
        self.drop(key)
        self._moments[key] = moment_ns
        insort(self._order, (moment_ns, key))

    def drop(self, key: K) -> None:
        """Take a key off the agenda; one that is not on it is not there afterwards either."""
        moment_ns = self._moments.pop(key, None)
        if moment_ns is not None:
            del self._order[bisect_left(self._order, (moment_ns, key))]

    def next_ns(self) -> int:
        """The earliest moment; 0 if there is none."""
        return self._order[0][0] if self._order else 0

    def take(self, now_ns: int, most: int) -> list[K]:
        """Take the keys whose moment has come off the agenda, earliest first, at most so many."""
        count = 0
        for moment_ns, _ in self._order[:most]:
            if moment_ns > now_ns:
                break
            count += 1
        keys = [key for _, key in self._order[:count]]
        del self._order[:count]
        for key in keys:
            del self._moments[key]
        return keys

    def items(self) -> ItemsView[K, int]:
        """(key, moment) of everything, in the order in which the keys were put: what a snapshot keeps."""
        return self._moments.items()

    def __len__(self) -> int:
        return len(self._order)
