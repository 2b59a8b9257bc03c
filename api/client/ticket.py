"""A frame of requests on its way: what was asked, what was answered, and who waits for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import trio

from api.client.codec import decode
from api.client.errors import ClientError, ErrorBody, from_body
from api.client.models import CancelAll, CancelAllResult, OrderResult
from api.client.wire import Response

_NAMES: Final = ("account_id", "instrument_id", "order_id", "instruments")


@dataclass(frozen=True, slots=True)
class Question:
    """A request that changes nothing: what is sent, and how its data is read."""

    kind: str
    fields: dict[str, Any]
    read: Callable[[msgspec.Raw], Any]


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
        self.open = set(self.todo)  # without a result
        self.unknown: set[int] = set()  # sent at least once without an answer
        self.results: list[Any] = [None] * len(messages)
        self.latency_s: float | None = None
        self._done: trio.Event | None = None

    async def wait(self) -> list[Any]:
        """All results, in the order of the requests. Any number of tasks may wait."""
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

    # What follows is the desk's.

    @property
    def finished(self) -> bool:
        return self.latency_s is not None

    @property
    def key(self) -> int:
        """The id of the first message that the next frame carries."""
        return self.number + self.todo[0]

    def frame(self) -> bytes:
        """The text frame with everything that has no answer yet."""
        if not self.is_array:
            return self.messages[0]
        if len(self.todo) == len(self.messages):
            return b"[" + b",".join(self.messages) + b"]"
        return b"[" + b",".join([self.messages[index] for index in self.todo]) + b"]"

    def interrupted(self) -> None:
        """The connection that carried it was lost."""
        if self.sent_at is not None:
            self.unknown.update(self.todo)
            self.sent_at = None

    def resolve(self, index: int, result: Any) -> None:
        self.results[index] = result
        self.open.discard(index)

    def read(self, index: int, response: Response) -> Any:
        """The result of a request from the data of its reply. Raises ProtocolError."""
        request = self.requests[index]
        if isinstance(request, Question):
            return request.read(response.data)
        kind: type[CancelAllResult | OrderResult] = CancelAllResult if isinstance(request, CancelAll) else OrderResult
        result = decode(response.data, kind, "order")
        result.receipt = response.receipt
        return result

    def refusal(self, index: int, body: ErrorBody) -> ClientError:
        """The exception for the error object of a reply."""
        asked, sent_id = self._asked(index)
        error = from_body(body, asked=asked, sent_id=sent_id)
        error.after_unknown = index in self.unknown
        return error

    def failure(self, index: int, kind: type[ClientError], why: str) -> ClientError:
        """An exception of the client's own."""
        asked, sent_id = self._asked(index)
        return kind(why, asked=asked, sent_id=sent_id)

    def finish(self, now: float) -> None:
        self.latency_s = now - self.asked_at
        self.todo = ()
        if self._done is not None:
            self._done.set()

    def _asked(self, index: int) -> tuple[str, str]:
        """What a request is, and the id that was sent with it (only its message has the ones that the client made)."""
        fields = msgspec.json.decode(self.messages[index], type=dict[str, Any])
        names = [fields["type"], *(str(fields[key]) for key in _NAMES if key in fields)]
        return " ".join(names), fields.get("client_order_id", "")
