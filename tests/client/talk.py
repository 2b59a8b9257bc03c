"""Drives one flow by hand: the test plays the network and the clock."""

from __future__ import annotations

import random
from typing import Any

import msgspec

from api.client.flow import Flow, Lost, Outcome, Pause, Reply, Send
from api.client.route import Route
from api.client.session import Session

A, B, C = "http://a:1", "http://b:2", "http://c:3"


class Time:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Talk:
    """`session` with urls A, B, C, ids "id-1", "id-2", …, and a clock that only pauses (and `late`) move."""

    def __init__(self, urls: tuple[str, ...] = (A, B, C), *, timeout_s: float = 10.0) -> None:
        self.time = Time()
        self.ids = 0
        self.route = Route(urls, rng=random.Random(1))
        self.session = Session(
            self.route, clock=self.time, new_id=self.new_id, timeout_s=timeout_s, attempt_timeout_s=2.5
        )
        self.session.token = "token-1"
        self.paused_s = 0.0
        self.pauses: list[float] = []

    def new_id(self) -> str:
        self.ids += 1
        return f"id-{self.ids}"

    def start(self, flow: Flow[Any]) -> Send:
        self.flow = flow
        return self._until_send(None)

    def give(self, outcome: Outcome) -> Send:
        """Answer the last request; returns the next one. The end of the flow comes as StopIteration or ClientError."""
        return self._until_send(outcome)

    def result(self, outcome: Outcome) -> Any:
        """Answer the last request, which must end the flow."""
        try:
            step = self._until_send(outcome)
        except StopIteration as done:
            return done.value
        raise AssertionError(f"the call went on with {step}")

    def _until_send(self, outcome: Outcome) -> Send:
        step = self.flow.send(outcome)
        while isinstance(step, Pause):
            self.pauses.append(step.seconds)
            self.time.now += step.seconds
            step = self.flow.send(None)
        return step


def success(data: Any, *, log_index: int = 7) -> Reply:
    body = {
        "success": True,
        "data": data,
        "error": None,
        "receipt": {"log_index": log_index, "state_hash": "ab", "ts_ns": 5},
    }
    return Reply(200, {}, msgspec.json.encode(body))


def failure(
    status: int, code: int, *, outcome: str = "not_executed", retry: str = "no", headers: Any = None, **details: Any
) -> Reply:
    error = {
        "code": code,
        "name": f"E{code}",
        "message": f"message {code}",
        "message_zh": "",
        "outcome": outcome,
        "retry": retry,
        "details": details,
    }
    body = {"success": False, "data": None, "error": error, "request_id": "r1"}
    return Reply(status, headers or {}, msgspec.json.encode(body))


def not_leader(leader: str | None) -> Reply:
    hint = {"id": "n", "url": leader} if leader else None
    return failure(421, 7001, retry="after_ms", leader=hint, term=3, retry_after_ms=0 if leader else 100)


REFUSED = Lost(sent=False, reason="refused")
BROKEN = Lost(sent=True, reason="broken")

ORDER = {"order_id": "O0000000001", "status": "Accepted", "filled_volume": 0, "volume_left": 1}
FULL_ORDER = {
    **ORDER,
    "client_order_id": "c",
    "account_id": "ACC_00000001",
    "user_id": "U00000001",
    "instrument_id": "SHFE.cu2701",
    "direction": "BUY",
    "offset": "OPEN",
    "price_type": "LIMIT",
    "price": 70000,
    "volume": 1,
    "average_price": None,
    "time_condition": "GFD",
    "volume_condition": "ANY",
    "min_volume": 0,
    "post_only": False,
    "cancel_reason": None,
    "insert_time_ns": 1,
    "update_time_ns": 2,
    "qifi_status": "ALIVE",
}
