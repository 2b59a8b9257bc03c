"""Sending a recorded day through the public client, and judging what the exchange says about it.

**Order.** The day is one sequence; its orders belong to several users (`cast`), hence to several sockets, and frames of
different sockets have no order among themselves. So one frame is under way at a time: the longest run of commands of
one user, at most `batch`, in which no command refers to an order of the same frame (its id is not known before it is
answered). The next frame leaves when every command of it is answered. A leader change therefore meets at most one
frame; its unanswered commands are sent again with the same ids, in order.

**Books.** No client can read the book right after each of the commands that one log entry carries: the order-book
stream speaks once per applied entry. So every intermediate book is rebuilt from the exchange's own answers, in log
order: what an order's answer says was filled and rests, which resting orders were hit (the trades that their owners
were told), what was cancelled. A book counts as equal when this rebuilt book shows exactly the recorded ten levels.
What the exchange publishes on its stream is held against the same rebuilt book, message by message, at the log index
that it names, with its sequence and checksum: the rebuilt book is thus proved to be the exchange's book wherever the
exchange shows it.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from math import ceil
from typing import Any, Final

import trio

from api.client import Cancel as CancelRequest
from api.client import ClientError, Modify, NewOrder, NotFound, OrderResult, Rejected
from node.lobster import BUY, SELL, Cancel, CheckBook, Place, Reduce, Step
from node.replay.cast import Cast, Seat
from node.replay.errors import ReplayError
from node.replay.instrument import INSTRUMENT_ID
from node.replay.judge import Hit, Judge, Tally
from node.replay.players import Company
from node.replay.trail import Trail
from node.replay.watch import BookWatch

TICK: Final = Decimal("0.01")
FRAME_TIMEOUT_S: Final = 60.0  # with all attempts: a failover takes seconds
FRAMES_UNJUDGED_MAX: Final = 200
DIFFERENCES_STOP: Final = 1_000  # the rest of the day would only repeat them
LAST_BOOK_TIMEOUT_S: Final = 10.0
STREAM_END_S: Final = 0.5

Action = Place | Reduce | Cancel


@dataclass(slots=True)
class Frame:
    """Commands of one user, and the books to check between them."""

    player: int
    steps: list[Step] = field(default_factory=list)
    actions: list[Action] = field(default_factory=list)
    accounts: list[int] = field(default_factory=list)  # of the actions


def frames(steps: Iterator[Step], cast: Cast, batch: int) -> Iterator[Frame]:
    """Cut the day into frames (see the module). Raises NoSeatError, LobsterError."""
    seats: dict[int, Seat] = {}
    frame = Frame(-1)
    entered: set[int] = set()  # orders of this frame
    for step in steps:
        if isinstance(step, CheckBook):
            frame.steps.append(step)
            continue
        if isinstance(step, Place):
            seat = seats[step.order] = cast.seat(step)
            refers = False
        else:
            seat = seats[step.order]
            refers = step.order in entered
        if seat.player != frame.player or refers or len(frame.actions) >= batch:
            if frame.steps:
                yield frame
            frame = Frame(seat.player)
            entered = set()
        frame.steps.append(step)
        frame.actions.append(step)
        frame.accounts.append(seat.account)
        if isinstance(step, Place):
            entered.add(step.order)
    if frame.steps:
        yield frame


@dataclass(slots=True)
class Outcome:
    """What the replay measured. Times in seconds."""

    tally: Tally
    rows: int = 0
    accounts: int = 0
    users: int = 0
    elapsed_s: float = 0.0
    frames: int = 0
    latencies_s: array[float] = field(default_factory=lambda: array("d"))  # one per command, as its client saw it
    reconnects: int = 0
    book_messages: int = 0
    book_breaks: int = 0

    @property
    def commands(self) -> int:
        return len(self.latencies_s)

    def latency_ms(self, percent: float) -> float | None:
        """Nearest rank; None if nothing was acknowledged."""
        if not self.latencies_s:
            return None
        ordered = sorted(self.latencies_s)
        return round(ordered[max(0, ceil(len(ordered) * percent / 100) - 1)] * 1_000, 3)

    def per_second(self, count: int) -> float | None:
        return round(count / self.elapsed_s, 1) if self.elapsed_s else None

    @property
    def zero(self) -> bool:
        """Whether everything that was compared is equal, and something was."""
        tally = self.tally
        return tally.different == 0 and self.book_breaks == 0 and tally.books == tally.books_equal > 0

    def as_dict(self) -> dict[str, Any]:
        return {
            "zero_differences": self.zero,
            "rows": self.rows,
            "accounts": self.accounts,
            "users": self.users,
            "elapsed_s": round(self.elapsed_s, 3),
            "frames": self.frames,
            "commands": self.commands,
            "commands_per_s": self.per_second(self.commands),
            "orders_per_s": self.per_second(self.tally.orders),
            "acknowledgement_p50_ms": self.latency_ms(50),
            "acknowledgement_p99_ms": self.latency_ms(99),
            "reconnects": self.reconnects,
            "book_messages": self.book_messages,
            "book_breaks": self.book_breaks,
            **self.tally.as_dict(),
        }


class Replay:
    """One replay with an assembled company. `progress(row)` is called as the judge goes on."""

    def __init__(self, company: Company, cast: Cast, batch: int, progress: Callable[[int], None]) -> None:
        self._company = company
        self._cast = cast
        self._batch = batch
        self._progress = progress
        self._judge = Judge()
        self._trail = Trail(self._judge.tally)
        self._ids: dict[int, str] = {}  # order of the recording -> order id, from its answer
        self._last_index = 0
        self.outcome = Outcome(self._judge.tally, accounts=cast.accounts, users=len(cast.players))

    async def run(self, steps: Iterator[Step]) -> Outcome:
        """Send and judge everything. Raises ReplayError where an outcome stays unknown, LobsterError."""
        company = self._company
        watch = BookWatch(company.actors[0].client, INSTRUMENT_ID, TICK, self._trail.published)
        async with trio.open_nursery() as nursery:
            for actor in company.actors:
                if actor.player.rests:
                    nursery.start_soon(company.listen, actor)
            await nursery.start(watch.run)
            send, receive = trio.open_memory_channel[tuple[Frame, list[Any]]](FRAMES_UNJUDGED_MAX)
            async with trio.open_nursery() as work:
                work.start_soon(self._send, steps, send)
                work.start_soon(self._judge_all, receive)
            await self._last_book(watch)
            nursery.cancel_scope.cancel()
        self._trail.finish()
        self.outcome.reconnects = company.reconnects + watch.reconnects
        self.outcome.book_messages = watch.messages
        self.outcome.book_breaks = watch.breaks
        return self.outcome

    # sending

    async def _send(self, steps: Iterator[Step], judged: trio.MemorySendChannel[tuple[Frame, list[Any]]]) -> None:
        outcome = self.outcome
        began = trio.current_time()
        async with judged:
            for frame in frames(steps, self._cast, self._batch):
                results = await self._exchange(frame)
                outcome.frames += 1
                outcome.elapsed_s = trio.current_time() - began
                await judged.send((frame, results))
                if self._judge.tally.different >= DIFFERENCES_STOP:
                    return

    async def _exchange(self, frame: Frame) -> list[Any]:
        """Send one frame and wait for all of its answers; one OrderResult or ClientError per action."""
        requests = []
        sent = []
        results: list[Any] = [None] * len(frame.actions)
        for place, (action, number) in enumerate(zip(frame.actions, frame.accounts, strict=True)):
            request = self._request(action, self._company.account(number))
            if request is None:
                results[place] = NotFound("the exchange never accepted this order", asked=repr(action))
            else:
                requests.append(request)
                sent.append(place)
        if requests:
            socket = self._company.actors[frame.player].socket
            ticket = await socket.begin(requests, timeout_s=FRAME_TIMEOUT_S)
            for place, result in zip(sent, await ticket.wait(), strict=True):
                results[place] = result
                action = frame.actions[place]
                if isinstance(action, Place) and isinstance(result, OrderResult):
                    self._ids[action.order] = result.order_id
            assert ticket.latency_s is not None
            self.outcome.latencies_s.extend([ticket.latency_s] * len(requests))
        return results

    def _request(self, action: Action, account_id: str) -> NewOrder | CancelRequest | Modify | None:
        if isinstance(action, Place):
            return NewOrder(
                account_id,
                INSTRUMENT_ID,
                "BUY" if action.direction == BUY else "SELL",
                "OPEN",
                action.volume,
                price=action.price_ticks * TICK,
                time_condition="IOC" if action.immediate else "GFD",
                client_order_id=f"lobster-{action.order}",
            )
        order_id = self._ids.get(action.order)
        if order_id is None:
            return None
        if isinstance(action, Cancel):
            return CancelRequest(account_id, order_id)
        return Modify(account_id, order_id, volume=action.volume)

    # judging

    async def _judge_all(self, judged: trio.MemoryReceiveChannel[tuple[Frame, list[Any]]]) -> None:
        judge = self._judge
        async for frame, results in judged:
            answers = iter(results)
            at: int | None = None
            for step in frame.steps:
                if isinstance(step, CheckBook):
                    judge.check(step)
                    self.outcome.rows += 1
                    continue
                result = next(answers)
                if not isinstance(result, OrderResult):
                    self._refused(step, result)
                    continue
                index = result.receipt.log_index if result.receipt is not None else None
                if at is not None and index != at:
                    self._trail.rebuilt(at, self._sides())
                await self._answered(step, result)
                if index is None:
                    self._trail.rebuilt(None, self._sides())
                at = index
            if at is not None:
                self._trail.rebuilt(at, self._sides())
                self._last_index = at
            self._progress(frame.steps[-1].row)

    async def _answered(self, step: Action, result: OrderResult) -> None:
        judge = self._judge
        if isinstance(step, Cancel):
            judge.cancelled(step, result.volume_left)
        elif isinstance(step, Reduce):
            judge.reduced(step, result.volume_left)
        else:
            hits = [
                Hit(await self._company.maker(fill.trade_id), int(fill.price / TICK), fill.volume)
                for fill in result.trades
            ]
            resting = result.volume_left if result.status in ("Accepted", "PartiallyFilled") else 0
            judge.placed(step, result.order_id, hits, resting)

    def _refused(self, step: Action, error: ClientError) -> None:
        if not isinstance(error, Rejected | NotFound):
            raise ReplayError(f"row {step.row}: the replay cannot go on, since one command has no outcome: {error}")
        self._judge.refused(step, str(error))

    def _sides(self) -> tuple[Any, Any]:
        return self._judge.book.levels(SELL), self._judge.book.levels(BUY)

    async def _last_book(self, watch: BookWatch) -> None:
        """Ask for the book that the day ends with, and let the stream come to its end."""
        with trio.move_on_after(LAST_BOOK_TIMEOUT_S):
            while True:
                book = await self._company.actors[0].client.orderbook(INSTRUMENT_ID, depth=10)
                if book.log_index >= self._last_index:
                    break
                await trio.sleep(0.02)
            self._trail.published(book.log_index, (watch.levels(book.asks), watch.levels(book.bids)))
            # A last entry that changed nothing in sight is not on the stream, so this may wait in vain.
            with trio.move_on_after(STREAM_END_S):
                while watch.log_index < self._last_index:  # noqa: ASYNC110 (a view of another task, once)
                    await trio.sleep(0.02)
            return
        self._judge.tally.differ(f"the exchange shows no book as of log index {self._last_index}")
