"""A frame of requests on its way: what was asked, what was answered, and who waits for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import trio

from api.client.errors import ClientError


class Ticket:
    """What `TradingSocket.begin` returns: `await ticket.wait()` gives one result per request, in order.

    A result is what the request returns, or the `ClientError` that it raises: one refused order of a batch does not
    hide the others. `latency_s` is the time from `begin` to the last answer.
    """

    __slots__ = (
        "_done",
        "asked_at",
        "deadline",
        "is_array",
        "latency_s",
        "messages",
        "number",
        "open",
        "requests",
        "results",
        "sent_at",
        "todo",
        "unknown",
    )

    def __init__(
        self,
        requests: Sequence[Any],
        messages: list[bytes],
        number: int,
        *,
        is_array: bool,
        asked_at: float,
        deadline: float,
    ) -> None:
        self.requests = requests
        self.messages = messages  # one per request, the same bytes at every attempt
        self.number = number  # the id of messages[0]; the others follow
        self.is_array = is_array
        self.asked_at = asked_at
        self.deadline = deadline
        self.sent_at: float | None = None  # on the present connection
        self.todo: Sequence[int] = range(len(messages))  # to send, or sent and not answered
        self.open = len(messages)  # results still missing
        self.unknown: set[int] = set()  # sent at least once without an answer
        self.results: list[Any] = [None] * len(messages)
        self.latency_s: float | None = None
        self._done: trio.Event | None = None

    @property
    def key(self) -> int:
        """The id of the first message that the next frame carries."""
        return self.number + self.todo[0]

    @property
    def finished(self) -> bool:
        return self.latency_s is not None

    @property
    def load(self) -> int:
        """How much of the socket's bound it uses."""
        return len(self.messages)

    def frame(self) -> bytes:
        """The text frame with everything that has no answer yet."""
        if not self.is_array:
            return self.messages[0]
        if len(self.todo) == len(self.messages):
            return b"[" + b",".join(self.messages) + b"]"
        return b"[" + b",".join([self.messages[index] for index in self.todo]) + b"]"

    def interrupted(self) -> None:
        """The connection was lost, or an answer left the outcome open."""
        if self.sent_at is not None:
            self.unknown.update(self.todo)
            self.sent_at = None

    def finish(self, now: float) -> None:
        self.latency_s = now - self.asked_at
        self.todo = ()
        self.open = 0
        if self._done is not None:
            self._done.set()

    async def wait(self) -> list[Any]:
        """All results, in the order of the requests. The ticket may be awaited by many tasks."""
        if self.latency_s is None:
            if self._done is None:
                self._done = trio.Event()
            await self._done.wait()
        return self.results

    async def one(self) -> Any:
        """The result of the only request; raises its ClientError."""
        results = await self.wait()
        result = results[0]
        if isinstance(result, ClientError):
            raise result
        return result
