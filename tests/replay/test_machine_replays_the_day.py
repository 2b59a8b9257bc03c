"""The recorded NASDAQ day against the machine alone: every execution, every ten-level book, no difference."""

from __future__ import annotations

from pathlib import Path

from node.exchange import invariants
from node.exchange.codec import encode_command
from node.exchange.events import (
    CommandRejected,
    Event,
    OrderAccepted,
    OrderCancelled,
    OrderModified,
    TradeExecuted,
)
from node.exchange.machine import Machine
from node.exchange.types import CancelReason, Direction
from node.lobster import BUY, SELL, Cancel, CheckBook, Level, Place, Reduce, Step, read_day
from node.replay.cast import Cast
from node.replay.direct import Script, prologue
from node.replay.instrument import INSTRUMENT_ID
from node.replay.judge import Hit, Judge, RebuiltBook, Tally

ENTRY_COMMANDS = 512


class Bench:
    """One machine, fed with the steps of a day entry by entry; an entry ends where a book is to be checked."""

    def __init__(self, accounts: int) -> None:
        self.cast = Cast(accounts)
        self.machine = Machine()
        self.judge = Judge()
        self._script = Script(self.cast)
        self._pending: list[Place | Reduce | Cancel] = []
        commands = list(prologue(self.cast))
        for first in range(0, len(commands), ENTRY_COMMANDS):
            raw = [encode_command(command) for command in commands[first : first + ENTRY_COMMANDS]]
            for events in self._apply(raw):
                assert not isinstance(events[0], CommandRejected), events[0]

    def _apply(self, raw: list[bytes]) -> list[list[Event]]:
        machine = self.machine
        return machine.apply(machine.index + 1, machine.time_ns + 1_000, raw)

    def take(self, step: Step) -> None:
        if not isinstance(step, CheckBook):
            self._pending.append(step)
            return
        steps, self._pending = self._pending, []
        if steps:
            raw = [encode_command(self._script.command(done)) for done in steps]
            for done, events in zip(steps, self._apply(raw), strict=True):
                self._judge_events(done, events)
        book = self.machine.instruments[INSTRUMENT_ID].book
        asks, bids = book.depth(Direction.SELL, 10), book.depth(Direction.BUY, 10)
        shown = tuple(tuple(Level(price, volume) for price, volume, _ in side) for side in (asks, bids))
        self.judge.check_levels(step, *shown)

    def _judge_events(self, step: Place | Reduce | Cancel, events: list[Event]) -> None:
        first = events[0]
        if isinstance(first, CommandRejected):
            self.judge.refused(step, first.detail)
        elif isinstance(step, Cancel):
            assert isinstance(first, OrderCancelled)
            assert first.reason == CancelReason.BY_CLIENT
            self.judge.cancelled(step, first.volume_left)
        elif isinstance(step, Reduce):
            assert isinstance(first, OrderModified)
            assert first.kept_priority
            self.judge.reduced(step, first.volume_left)
        else:
            assert isinstance(first, OrderAccepted)
            hits, left, cancelled = [], step.volume, 0
            for event in events[1:]:
                if isinstance(event, TradeExecuted):
                    maker = event.sell_order_id if step.direction == BUY else event.buy_order_id
                    hits.append(Hit(maker, event.price_ticks, event.volume))
                    left -= event.volume
                elif isinstance(event, OrderCancelled):
                    cancelled += event.volume_left
            self.judge.placed(step, first.order_id, hits, left - cancelled)


def replay(day: Path, accounts: int, rows_max: int | None = None) -> Bench:
    bench = Bench(accounts)
    for step in read_day(day, rows_max):
        bench.take(step)
    return bench


def shown(book: RebuiltBook) -> tuple[tuple[Level, ...], tuple[Level, ...]]:
    return book.levels(SELL, 1_000), book.levels(BUY, 1_000)


def test_the_whole_day_replays_with_zero_differences(goog_day: Path) -> None:
    bench = replay(goog_day, accounts=100)
    tally = bench.judge.tally
    assert tally.differences == []
    assert tally == Tally(
        orders=82_455,
        cancels=70_481,
        reductions=19,
        trading_orders=5_920,
        trading_orders_equal=5_920,
        fills=7_741,
        fills_equal=7_741,
        books=145_677,
        books_equal=145_677,
    )
    book = bench.machine.instruments[INSTRUMENT_ID].book
    machine_levels = tuple(
        tuple(Level(price, volume) for price, volume, _ in book.depth(side, 1_000))
        for side in (Direction.SELL, Direction.BUY)
    )
    assert shown(bench.judge.book) == machine_levels, (
        "the book rebuilt from the answers is the machine's own, to the end"
    )
    invariants.check(bench.machine)


def test_the_number_of_accounts_changes_nothing_in_the_book(goog_day: Path) -> None:
    few, many = (replay(goog_day, accounts, rows_max=3_000) for accounts in (10, 1_500))
    assert few.judge.tally == many.judge.tally
    assert few.judge.tally.different == 0
    assert few.judge.tally.books > 2_500
    assert shown(few.judge.book) == shown(many.judge.book)
    for bench in (few, many):
        invariants.check(bench.machine)


def test_the_same_day_gives_the_same_state_hash(goog_day: Path) -> None:
    first, second = (replay(goog_day, accounts=20, rows_max=2_000) for _ in range(2))
    assert first.machine.digest() == second.machine.digest()


def test_no_user_of_the_replay_ever_trades_with_itself(goog_day: Path) -> None:
    bench = replay(goog_day, accounts=10, rows_max=20_000)
    assert bench.judge.tally.trading_orders > 500
    assert not any(order.cancel_reason == CancelReason.SELF_TRADE for order in bench.machine.orders.values())
