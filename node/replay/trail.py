"""The books that the exchange publishes, held against the book that its own answers rebuild, log index by log index."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from typing import Final

from node.lobster import Level
from node.replay.judge import Tally

Sides = tuple[tuple[Level, ...], tuple[Level, ...]]  # asks, bids

INDEXES_KEPT_MAX: Final = 50_000  # a published book comes milliseconds after its answers; this is hours of them
PUBLISHED_WAITING_MAX: Final = 50_000


class Trail:
    """The rebuilt book after every log index that changed it, and the published ones that are still to be compared.

    The book at a log index holds until the next one that changed it. An answer that does not know its index (a cancel
    whose outcome was found out after a lost connection) lies somewhere between its neighbours: until the next known
    index, the book before and the book after it are both right.
    """

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._indexes: list[int] = [0]
        self._books: list[list[Sides]] = [[((), ())]]
        self._first = 0  # of the two lists that is still kept
        self._waiting: deque[tuple[int, Sides]] = deque()

    def rebuilt(self, log_index: int | None, book: Sides) -> None:
        """The book after one answer, in log order; called again for the same index it replaces what was said."""
        if log_index is None:
            self._books[-1].append(book)
            return
        if log_index < self._indexes[-1]:
            self._tally.differ(
                f"log index {log_index}: answered after {self._indexes[-1]}, out of the order of the day"
            )
        if log_index <= self._indexes[-1]:
            self._books[-1] = [book]
        else:
            self._indexes.append(log_index)
            self._books.append([book])
            self._compare(upto=log_index)
            if len(self._indexes) - self._first > INDEXES_KEPT_MAX:
                self._books[self._first] = []
                self._first += 1

    def published(self, log_index: int, book: Sides) -> None:
        """The exchange says that this is the book as of `log_index`."""
        self._tally.published += 1
        if len(self._waiting) >= PUBLISHED_WAITING_MAX:
            self._tally.differ(f"log index {log_index}: published, but nothing was answered for so long")
            return
        self._waiting.append((log_index, book))
        self._compare(upto=self._indexes[-1])

    def finish(self) -> None:
        """No more answers will come: the last book holds from here on."""
        self._compare(upto=None)

    def _compare(self, upto: int | None) -> None:
        """Judge the published books before the index `upto`, at which answers may still come in."""
        waiting = self._waiting
        while waiting and (upto is None or waiting[0][0] < upto):
            log_index, book = waiting.popleft()
            place = bisect_right(self._indexes, log_index) - 1
            if place < self._first:
                self._tally.differ(f"log index {log_index}: published too late to be compared")
            elif book in self._books[place]:
                self._tally.published_equal += 1
            else:
                self._tally.differ(
                    f"log index {log_index}: published asks {_best(book[0])}, bids {_best(book[1])}; "
                    f"rebuilt asks {_best(self._books[place][0][0])}, bids {_best(self._books[place][0][1])}"
                )


def _best(levels: tuple[Level, ...]) -> str:
    return ", ".join(f"{level.price_ticks} x {level.volume}" for level in levels) or "nothing"
