"""At most once: a client's request id and the first result it got (architecture.md 4).

Each account (for orders, and for funds) and each user (for accounts) remembers its ids longer than any client retries
(`types.REQUEST_MEMORY_NS`). The same id with the same bytes answers the first result; with other bytes it is refused. A
CRC tells the bytes apart: only requests with one id of one account are ever compared, and only their sender could be
hurt by a collision.
"""

from __future__ import annotations

from collections import deque
from collections.abc import ItemsView
from typing import TYPE_CHECKING
from zlib import crc32

import msgspec

from node.exchange import rejects
from node.exchange.events import Event, RequestRepeated
from node.exchange.rejects import Refused, Reject
from node.exchange.types import DETAIL_MAX, REQUEST_MEMORY_NS, REQUESTS_KEPT, REQUESTS_MAX, TEXT_MAX

if TYPE_CHECKING:
    from node.exchange.state import State


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

    def amend(self, request_id: str, request: Request) -> None:
        """Replace what is remembered of a request; it is forgotten when it would have been (keep its `time_ns`)."""
        self._by_id[request_id] = request

    def items(self) -> ItemsView[str, Request]:
        """(id, first result), oldest first. Remembered again in this order, the same ones are kept."""
        return self._by_id.items()

    def __len__(self) -> int:
        return len(self._by_id)


class Once:
    """The first result of a request other than placing an order: answered again when repeated, remembered when new.

    A request that is about an order sets `result`; others may set `ref`. `malformed` refuses an id that is too long.
    """

    __slots__ = (
        "_events",
        "_malformed",
        "_request_id",
        "_requests",
        "_scope",
        "_state",
        "fingerprint",
        "ref",
        "repeated",
        "result",
    )

    def __init__(
        self,
        state: State,
        requests: Requests,
        request_id: str,
        raw: bytes,
        events: list[Event],
        scope: str,
        malformed: Reject = rejects.BAD_ACCOUNT_PARAMETERS,
    ) -> None:
        self._state = state
        self._requests = requests
        self._request_id = request_id
        self._events = events
        self._scope = scope
        self._malformed = malformed
        self.fingerprint = crc32(raw)
        self.ref = ""
        self.result: Request | None = None
        self.repeated = False

    def __enter__(self) -> Once:
        if self._request_id:
            if len(self._request_id) > TEXT_MAX:
                raise Refused(self._malformed, f"request_id is longer than {TEXT_MAX} characters")
            first = self._requests.get(self._request_id)
            if first is None and self._requests.full:
                raise Refused(rejects.REQUEST_MEMORY_FULL, f"{self._scope or 'the user'} has used {REQUESTS_MAX} ids")
            if first is not None:
                answer_repeated(first, self.fingerprint, self._request_id, self._scope, self._events)
                self.repeated = True
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if self._request_id and not self.repeated and (error is None or isinstance(error, Refused)):
            code, detail = (error.reject.code, error.detail[:DETAIL_MAX]) if isinstance(error, Refused) else (0, "")
            state = self._state
            self._requests.remember(
                self._request_id,
                self.result or Request(self.fingerprint, state.index, state.time_ns, code, detail, self.ref),
            )


def answer_repeated(first: Request, fingerprint: int, request_id: str, scope: str, events: list[Event]) -> None:
    if first.fingerprint != fingerprint:
        raise Refused(rejects.REQUEST_ID_REUSED, f"id {request_id!a} was used for a different request")
    events.append(repeated(first, scope))


def repeated(first: Request, account_id: str) -> RequestRepeated:
    return RequestRepeated(
        first.index,
        first.time_ns,
        first.code,
        first.detail,
        first.ref,
        first.order_id,
        first.state,
        first.filled_volume,
        first.filled_cost_ticks,
        first.first_trade_id,
        first.trade_count,
        account_id,
        first.cancel_reason,
    )
