"""Linearizable reads without a log write (Ongaro's thesis, section 6.4).

A read waits until (1) this leader has committed an entry of its own term, so that its commit index is current,
(2) a majority answered a request that was sent after the read began, so that nobody else can have led since, and
(3) everything that was committed then is applied here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from consensus.errors import ConsensusError, Overloaded

WAITING_MAX = 10_000  # reads; beyond it Overloaded
ReadDone = Callable[[int | ConsensusError], None]


@dataclass(slots=True)
class _Read:
    after: int  # the newest request that was sent before the read began
    done: ReadDone
    index: int | None = None  # what must be applied; known once the majority answered


class Reads:
    """The reads that wait on one leader."""

    def __init__(self) -> None:
        self._waiting: list[_Read] = []

    def add(self, sequence: int, done: ReadDone) -> None:
        """Begin a read after request number `sequence`. Raises Overloaded."""
        if len(self._waiting) >= WAITING_MAX:
            raise Overloaded(len(self._waiting), WAITING_MAX, 10)
        self._waiting.append(_Read(sequence, done))

    def forget(self, done: ReadDone) -> None:
        self._waiting = [read for read in self._waiting if read.done is not done]

    def advance(self, confirmed: Callable[[int], bool], commit_index: int | None, applied_index: int) -> None:
        """Finish the reads that may be answered. `commit_index` is None before an entry of this term is committed."""
        if commit_index is None or not self._waiting:
            return
        waiting, self._waiting = self._waiting, []
        for read in waiting:
            if read.index is None and confirmed(read.after):
                # At least what was committed when the read began, which is all that is needed.
                read.index = commit_index
            if read.index is not None and applied_index >= read.index:
                read.done(applied_index)
            else:
                self._waiting.append(read)

    def fail_all(self, error: ConsensusError) -> None:
        waiting, self._waiting = self._waiting, []
        for read in waiting:
            read.done(error)

    def __len__(self) -> int:
        return len(self._waiting)
