"""The requests of one trading socket that have no answer yet, whichever connection they travel on.

The desk posts a ticket on the present connection, reads the replies, repeats what may end differently elsewhere or
later, and gives up at the deadline. It makes no connection: the conversation lends it a link and takes it away.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import trio

from api.client import errors, settle, wire
from api.client.codec import decode
from api.client.link import Link, LinkLost
from api.client.models import Cancel, Modify, Order, OrderRequest
from api.client.session import Session
from api.client.ticket import Question, Ticket

CLOSE_NOT_LEADER: Final = 4421
REQUEST_BYTES_MAX: Final = 640  # of one order request: ids and names have at most 64 characters


class Desk:
    """`connect` lends it a link, `disconnect` takes it back, `end` is the end; any task may `begin` a ticket.

    `leave` is called with the reason when a reply shows that the present connection should be left.
    """

    def __init__(
        self, session: Session, *, in_flight_max: int, frame_bytes_max: int, leave: Callable[[LinkLost], None]
    ) -> None:
        if in_flight_max < 1 or frame_bytes_max < REQUEST_BYTES_MAX:
            raise ValueError(
                f"in_flight_max must be at least 1 and frame_bytes_max {REQUEST_BYTES_MAX}, "
                f"not {in_flight_max} and {frame_bytes_max}"
            )
        self._session = session
        self._in_flight_max = in_flight_max
        self._frame_bytes_max = frame_bytes_max
        self._leave = leave
        self._nursery: trio.Nursery | None = None
        self._link: Link | None = None
        self._number = 0
        self._tickets: dict[int, Ticket] = {}  # every unfinished one, in the order of `begin`
        self._sent: dict[int, Ticket] = {}  # on the present connection, by the id of the first message
        self._space = trio.lowlevel.ParkingLot()
        self.ended: errors.ClientError | None = None
        self.load = 0  # requests without an answer
        self.resent = 0  # frames sent again
        self.trouble: dict[str, str] = {}  # per node, why it was of no use since the last good connection

    # ------------------------------------------------------------ asking

    async def begin(self, requests: Sequence[Any], timeout_s: float | None, *, is_array: bool) -> Ticket:
        """Send one frame of requests, now or when there is a connection.

        Raises BadRequest for a frame that is too large, and what ended the socket once it has ended.
        """
        count = len(requests)
        if not 0 < count <= self._in_flight_max:
            raise ValueError(f"{count} requests in one frame; 1 to {self._in_flight_max} are allowed")
        while self.ended is None and self.load and self.load + count > self._in_flight_max:
            await self._space.park()
        if self.ended is not None:
            raise self.ended
        number = self.next_number(count)
        new_id = self._session.new_id
        messages = [_message(request, number + index, new_id) for index, request in enumerate(requests)]
        now = trio.current_time()
        deadline = now + (self._session.timeout_s if timeout_s is None else timeout_s)
        ticket = Ticket(requests, messages, number, is_array=is_array, asked_at=now, deadline=deadline)
        size = sum(map(len, messages)) + count + 1
        if size > self._frame_bytes_max:
            why = f"a frame of {size} bytes exceeds frame_bytes_max {self._frame_bytes_max}; `split` cuts a long list"
            raise ticket.failure(0, errors.BadRequest, why)
        self._tickets[number] = ticket
        self.load += count
        self._post(ticket)
        return ticket

    def split(self, requests: Sequence[OrderRequest]) -> list[Sequence[OrderRequest]]:
        """Cut requests into parts of which each fits one frame, whatever its ids and names."""
        count = max(1, min((self._frame_bytes_max - 2) // (REQUEST_BYTES_MAX + 1), self._in_flight_max))
        return [requests[start : start + count] for start in range(0, len(requests), count)]

    def next_number(self, count: int = 1) -> int:
        """The first of `count` fresh message ids."""
        number = self._number
        self._number += count
        return number

    # ------------------------------------------------------------ the connection

    def run_in(self, nursery: trio.Nursery) -> None:
        """Where the desk may start tasks."""
        self._nursery = nursery

    def connect(self, link: Link) -> None:
        """Send everything that has no answer, in the order of `begin`."""
        self._link = link
        self.trouble.clear()
        for ticket in list(self._tickets.values()):
            self._post(ticket)

    def disconnect(self) -> None:
        """What was sent and not answered may have been executed."""
        self._link = None
        self._sent.clear()
        for ticket in self._tickets.values():
            ticket.interrupted()

    def refuse_largest(self) -> None:
        """The node closed over a frame that it finds too large: to repeat that one for ever would help nobody."""
        if self._sent:
            ticket = max(self._sent.values(), key=lambda each: len(each.frame()))
            why = f"the node refused a frame of {len(ticket.frame())} bytes as too large; lower frame_bytes_max"
            self._resolve_all(ticket, lambda index: ticket.failure(index, errors.BadRequest, why))

    def overdue(self, now: float) -> float:
        """Give up what is past its deadline. Returns when the oldest frame in flight was sent, else `now`."""
        oldest = now
        for ticket in list(self._tickets.values()):
            if now >= ticket.deadline:
                said = "".join(f"; {url}: {reason}" for url, reason in self.trouble.items())
                self._give_up(ticket, errors.Unavailable, f"no answer before the deadline{said}")
            elif ticket.sent_at is not None:
                oldest = min(oldest, ticket.sent_at)
        return oldest

    def end(self, error: errors.ClientError) -> None:
        """No more connections: everybody who waits learns what is known."""
        if self.ended is None:
            self.ended = error
            for ticket in list(self._tickets.values()):
                self._give_up(ticket, type(error), error.message)
            self._space.unpark_all()

    # ------------------------------------------------------------ answers

    def answered(self, responses: Sequence[wire.Incoming]) -> bool:
        """Take one frame of replies; False if it belongs to no ticket. Raises LinkLost if it is not what was asked."""
        first = responses[0]
        if not isinstance(first, wire.Response) or first.id is None:
            return False
        ticket = self._sent.pop(first.id, None)
        if ticket is None:
            return False
        if len(responses) != len(ticket.todo):
            raise LinkLost(f"{len(responses)} replies to a frame of {len(ticket.todo)} messages")
        again: list[int] = []
        pause_s: float | None = 0.0
        ticket.sent_at = None
        for index, response in zip(ticket.todo, responses, strict=True):
            if not isinstance(response, wire.Response):
                raise LinkLost(f"a {type(response).__name__} among the replies")
            if response.success:
                try:
                    ticket.resolve(index, ticket.read(index, response))
                except errors.ProtocolError as error:
                    ticket.resolve(index, error)
                continue
            body = response.error or errors.ErrorBody(0, "", "refused without an error object")
            if body.transient:
                again.append(index)
                wait_s = self._heed(ticket, index, body)
                pause_s = None if pause_s is None or wait_s is None else max(pause_s, wait_s)
                continue
            refusal = ticket.refusal(index, body)
            if refusal.after_unknown and settle.worth_asking(ticket.requests[index], refusal):
                self._start(self._settle, ticket, index, refusal)
            else:
                ticket.resolve(index, refusal)
        ticket.todo = again
        if not ticket.open:
            self._finish(ticket)
        elif again and pause_s is not None:
            self._start(self._post_later, ticket, pause_s)
        return True

    def failed_frame(self, message: wire.Failure) -> None:
        """The node refuses a frame without saying which. Raises LinkLost unless only one can be meant."""
        body = message.error or errors.ErrorBody(9003, "BAD_MESSAGE", "the node refused a frame")
        if len(self._sent) != 1:
            raise LinkLost(f"the node refused a frame: {body.message}")
        _, ticket = self._sent.popitem()
        self._resolve_all(ticket, lambda index: ticket.refusal(index, body))

    def _heed(self, ticket: Ticket, index: int, body: errors.ErrorBody) -> float | None:
        """A refusal that another attempt may not get: how many seconds to wait before it.

        None where this connection is being left: the next one begins with everything that has no answer.
        """
        route = self._session.route
        self.trouble[route.current] = body.message
        if body.outcome == "unknown":
            ticket.unknown.add(index)
        if body.code == errors.NOT_LEADER:
            leader = body.detail("leader")
            followed = route.follow(leader.get("url")) if isinstance(leader, dict) else False
            self._leave(LinkLost(body.message, CLOSE_NOT_LEADER, move_on=not followed))
            return None
        if body.code == errors.NO_QUORUM:
            self._leave(LinkLost(body.message))  # another node may have the majority that this one lost
            return None
        return route.pause_s(body.detail("retry_after_ms"))

    async def _settle(self, ticket: Ticket, index: int, refusal: errors.ClientError) -> None:
        """The repetition of a lost attempt found nothing to do: ask the order whether the attempt did it."""
        goal: Cancel | Modify = ticket.requests[index]
        fields = {"account_id": goal.account_id, "order_id": goal.order_id}
        question = Question("query_order", fields, lambda data: decode(data, Order, "query_order"))
        result: Any
        try:
            order = await (await self.begin([question], None, is_array=False)).one()
            result = settle.settled(goal, order) or refusal
        except errors.ClientError:
            why = "the order could not be asked what became of it"
            result = ticket.failure(index, errors.OutcomeUnknown, why)
        if not ticket.finished:
            ticket.resolve(index, result)
            if not ticket.open:
                self._finish(ticket)

    # ------------------------------------------------------------ the shared parts

    def _post(self, ticket: Ticket) -> None:
        """Send what the ticket still has to send, if there is a connection; else the next one will."""
        if self._link is None or ticket.sent_at is not None or not ticket.todo:
            return
        try:
            self._link.send(ticket.frame())
        except LinkLost:
            return  # the reader is about to find out
        if ticket.unknown:
            self.resent += 1
        ticket.sent_at = trio.current_time()
        self._sent[ticket.key] = ticket

    async def _post_later(self, ticket: Ticket, pause_s: float) -> None:
        await trio.sleep(pause_s)
        if not ticket.finished:
            self._post(ticket)

    def _start(self, task: Any, *arguments: Any) -> None:
        assert self._nursery is not None, "the socket does not run"
        self._nursery.start_soon(task, *arguments)

    def _give_up(self, ticket: Ticket, kind: type[errors.ClientError], why: str) -> None:
        """What was ever sent and changes something may have been executed; the rest is `kind`."""

        def verdict(index: int) -> errors.ClientError:
            sent = ticket.sent_at is not None or index in ticket.unknown
            unknown = sent and not isinstance(ticket.requests[index], Question)
            return ticket.failure(index, errors.OutcomeUnknown if unknown else kind, why)

        self._resolve_all(ticket, verdict)

    def _resolve_all(self, ticket: Ticket, verdict: Callable[[int], errors.ClientError]) -> None:
        for index in sorted(ticket.open):
            ticket.resolve(index, verdict(index))
        self._finish(ticket)

    def _finish(self, ticket: Ticket) -> None:
        if ticket.todo:
            self._sent.pop(ticket.key, None)
        self._tickets.pop(ticket.number, None)
        self.load -= len(ticket.messages)
        ticket.finish(trio.current_time())
        if self._space:
            self._space.unpark_all()


def _message(request: Any, number: int, new_id: Callable[[], str]) -> bytes:
    if isinstance(request, Question):
        return wire.message(request.kind, number, **request.fields)
    return wire.order_message(request, number, new_id)
