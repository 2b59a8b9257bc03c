"""At most once: a client's request id and the first result it got (architecture.md 4).

Each account (for orders, and for funds) and each user (for accounts) remembers its ids longer than any client retries
(`types.REQUEST_MEMORY_NS`). The same id with the same bytes answers the first result; with other bytes it is refused. A
CRC tells the bytes apart: only requests with one id of one account are ever compared, and only their sender could be
hurt by a collision.
"""

from __future__ import annotations

from collections import deque

import msgspec

from node.exchange.types import REQUEST_MEMORY_NS, REQUESTS_KEPT, REQUESTS_MAX


class Request(msgspec.Struct, frozen=True, gc=False):
    """The first result of one request; the fields are those of `events.RequestRepeated`."""

    fingerprint: int  # CRC-32 of the command's bytes
    index: int
    time_ns: int
    code: int = 0
    detail: str = ""
    ref: str = ""
    order_id: int = 0
    state: int = 0
    filled_volume: int = 0
    filled_cost_ticks: int = 0
    first_trade_id: int = 0
    trade_count: int = 0
    cancel_reason: int = 0


class Requests:
    """The remembered requests of one scope."""

    __slots__ = ("_ages", "_by_id")

    def __init__(self) -> None:
        self._by_id: dict[str, Request] = {}
        self._ages: deque[str] = deque()  # oldest first

    @property
    def full(self) -> bool:
        return len(self._by_id) >= REQUESTS_MAX

    def get(self, request_id: str) -> Request | None:
        return self._by_id.get(request_id)

    def remember(self, request_id: str, request: Request) -> None:
        """Keep a first result; forget what is old enough to be forgotten. Not to be called when `full`."""
        by_id, ages = self._by_id, self._ages
        by_id[request_id] = request
        ages.append(request_id)
        if len(ages) > REQUESTS_KEPT:
            forgotten_before = request.time_ns - REQUEST_MEMORY_NS
            while len(ages) > REQUESTS_KEPT and by_id[ages[0]].time_ns < forgotten_before:
                del by_id[ages.popleft()]

    def __len__(self) -> int:
        return len(self._by_id)
