"""The leader's lease: until when nobody else can lead, so that this node may answer from its own state (P8).

A member that hears the leader takes a vow: for `vow_s` it helps to elect nobody (`Elections.vowed`), also not where
the leader's connections closed, and not after a restart. A leader whose request was answered by a majority therefore
knows that no other leader exists before `vow_s` after the moment at which it *sent* that request: any other majority
has a member in common with the one that answered. It trusts this for `lease_s`, which is shorter.

What is assumed: every member's monotonic clock advances, also while its process stands still, and no two of them
differ in rate by more than `1 - LEASE_OF_VOW`. (A machine that is suspended as a whole, clock included, breaks that.)
A pause of this process breaks nothing: the clock is read after the question came, so what is answered was true at a
moment between the question and the answer, however late the answer leaves.

The lease is given up before another member is asked to take over (`transfer`).
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque

VOW_OF_ELECTION_MIN = 1 / 3  # short, because a killed leader cannot be replaced before its followers' vows end
LEASE_OF_VOW = 0.9  # clocks may differ in rate by a tenth; real ones differ by a thousandth of that
NEVER = float("-inf")
_GRAIN_S = 0.002  # requests that left within this of each other count as sent when the first of them was


def vow_s(election_min_s: float) -> float:
    """For how long after hearing its leader a member helps to elect nobody."""
    return election_min_s * VOW_OF_ELECTION_MIN


def lease_s(election_min_s: float) -> float:
    """For how long after sending what a majority answered a leader is alone."""
    return vow_s(election_min_s) * LEASE_OF_VOW


class SentTimes:
    """When the numbered requests of the last `kept_s` seconds were sent, rounded down. One mark per 2 ms at most."""

    def __init__(self, kept_s: float) -> None:
        self._kept_s = kept_s
        self._newest = 0
        self._marks: deque[tuple[int, float]] = deque()  # the first number of each grain, and when it was sent

    def sent(self, sequence: int, now: float) -> None:
        self._newest = sequence
        marks = self._marks
        if not marks or now - marks[-1][1] >= _GRAIN_S:
            marks.append((sequence, now))
            while now - marks[0][1] > self._kept_s:
                marks.popleft()

    def at(self, sequence: int) -> float:
        """A moment not later than the one at which request `sequence` was sent; NEVER if it is older than what is
        kept, or was not sent at all."""
        if sequence > self._newest:
            return NEVER
        position = bisect_right(self._marks, sequence, key=_number) - 1
        return self._marks[position][1] if position >= 0 else NEVER


def _number(mark: tuple[int, float]) -> int:
    return mark[0]
