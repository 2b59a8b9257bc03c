"""At most once: a client's request id and the first result it got (architecture.md 4).

Each account (for orders and funds) and each user (for accounts) remembers the last `REQUESTS_PER_SCOPE_MAX` ids. The
same id with the same bytes answers the first result; with other bytes it is refused.
"""

from __future__ import annotations

from collections import deque

import msgspec

from node.exchange.types import REQUESTS_PER_SCOPE_MAX


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


class Requests:
    """The remembered requests of one scope, oldest forgotten first."""

    __slots__ = ("_ages", "_by_id")

    def __init__(self) -> None:
        self._by_id: dict[str, Request] = {}
        self._ages: deque[str] = deque()

    def get(self, request_id: str) -> Request | None:
        return self._by_id.get(request_id)

    def remember(self, request_id: str, request: Request) -> None:
        self._by_id[request_id] = request
        self._ages.append(request_id)
        if len(self._ages) > REQUESTS_PER_SCOPE_MAX:
            del self._by_id[self._ages.popleft()]

    def __len__(self) -> int:
        return len(self._by_id)
