"""From the recorded events to steps: what the recording leaves out is filled in from the recording alone.

`shared/data/README.md` gives the rules. The book before the first event and every level that becomes visible are
entered as orders: those that later rows refer to, by their own size and in the order of their ids (ids rise with time),
and the rest of the level as one anonymous order behind them; orders that vanished while their level was out of sight
are cancelled first. Nothing here matches orders: the steps follow what NASDAQ says that it did, so that the engine
under test is the only matching engine in the comparison.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from sortedcontainers import SortedDict

from node.lobster.recording import (
    DELETED,
    EXECUTED,
    EXECUTED_HIDDEN,
    LEVELS,
    NEW,
    REDUCED,
    Book,
    Message,
    find_files,
    read_books,
    read_messages,
)
from node.lobster.steps import BUY, SELL, Cancel, CheckBook, Fill, Level, LobsterError, Place, Reduce, Step

START_NS: Final = 34_210 * 10**9  # before, the opening is published in an order that is not its time priority

# The places (rows, from 0) in which NASDAQ itself executed a later order first, by the stem of the message file. The
# orders that it passed over are cancelled there and entered again behind. No rule could find these: a book that breaks
# priority looks the same, so they are named one by one.
PASSED_OVER: Final[dict[str, frozenset[int]]] = {
    "GOOG_2012-06-21_34200000_57600000_message_10": frozenset({69_772, 131_724, 131_726, 145_470}),
}


@dataclass(frozen=True, slots=True)
class Day:
    """A recorded day, opened: its first row, how many it has (of those asked for), its steps, to be taken once."""

    first_row: int
    rows: int
    steps: Iterator[Step]


def open_day(directory: Path, rows_max: int | None = None) -> Day:
    """Read the messages of a day, of its first `rows_max` events if given; the books are read as the steps are taken.

    Raises LobsterError, here or where the flaw stands.
    """
    files = find_files(directory)
    messages = read_messages(files.messages)
    converter = _Converter(files.messages.name, messages, PASSED_OVER.get(files.stem, frozenset()))
    rows = converter.rows if rows_max is None else min(converter.rows, rows_max)
    return Day(converter.first_row, rows, converter.steps(files.books, rows))


def read_day(directory: Path, rows_max: int | None = None) -> Iterator[Step]:
    """The steps alone."""
    yield from open_day(directory, rows_max).steps


@dataclass(slots=True)
class _Life:
    """One order as the rows tell it. An id that comes back after its deletion begins another life."""

    recorded_id: int
    direction: int
    price_ticks: int
    announced: bool  # it began with a row of its own; otherwise it was there before, unseen
    first_row: int
    last_row: int
    named: int  # lots that its later rows take away
    size: int  # announced size; 0 if never announced
    order: int = 0  # the number under which it rests now; 0 if it does not


@dataclass(slots=True)
class _Resting:
    """An order as the recording says that it stands."""

    order: int
    direction: int
    price_ticks: int
    total: int
    left: int
    life: _Life | None  # None: anonymous


class _Converter:
    """Walks the rows with the book that the recording implies: level by level, orders in time order."""

    def __init__(self, name: str, messages: list[Message], passed_over: frozenset[int]) -> None:
        self._name = name
        self._messages = messages
        self._passed_over = passed_over
        self._start = next((row for row, m in enumerate(messages) if m.time_ns >= START_NS), len(messages))
        if self._start == 0:
            raise LobsterError(f"{name}: no row before {START_NS // 10**9} s gives the book to begin with")
        self._lives: list[_Life | None] = []  # by row
        self._unannounced: dict[tuple[int, int], list[_Life]] = {}  # by direction and price
        self._trace_lives()
        self._orders: dict[int, _Resting] = {}
        # direction -> price -> orders in time order
        self._levels: dict[int, SortedDict] = {BUY: SortedDict(), SELL: SortedDict()}
        self._last_order = 0
        self._newest_ids = self._trace_ids()

    def _trace_ids(self) -> list[int]:
        """Row by row: the largest id that can have been given when the row was written, that of the next new order."""
        ids = []
        upcoming = max((m.order_id for m in self._messages), default=0)
        newest = 0
        for m in reversed(self._messages):
            ids.append(upcoming)
            if m.kind == NEW:
                upcoming = m.order_id
        ids.reverse()
        for row, m in enumerate(self._messages):  # a few ids are out of order
            newest = max(newest, m.order_id)
            ids[row] = max(newest, ids[row])
        return ids

    def _trace_lives(self) -> None:
        current: dict[int, _Life] = {}
        for row, m in enumerate(self._messages):
            if row < self._start or m.kind == EXECUTED_HIDDEN:
                self._lives.append(None)
                continue
            life = current.get(m.order_id)
            if m.kind == NEW:
                life = _Life(m.order_id, m.direction, m.price_ticks, True, row, row, 0, m.size)
                current[m.order_id] = life
            else:
                if life is None:
                    life = _Life(m.order_id, m.direction, m.price_ticks, False, row, row, 0, 0)
                    current[m.order_id] = life
                    self._unannounced.setdefault((m.direction, m.price_ticks), []).append(life)
                elif (life.direction, life.price_ticks) != (m.direction, m.price_ticks):
                    raise LobsterError(
                        f"{self._name} row {row} column 4: order {m.order_id} stands at {life.direction:+d} "
                        f"{life.price_ticks} ticks since row {life.first_row}, not at {m.direction:+d} {m.price_ticks}"
                    )
                life.named += m.size
                life.last_row = row
                if life.announced and life.named > life.size:
                    raise LobsterError(
                        f"{self._name} row {row} column 3: {m.size} is more than is left of order {m.order_id}"
                    )
                if m.kind == DELETED or life.named == life.size:
                    del current[m.order_id]
            self._lives.append(life)
        for lives in self._unannounced.values():
            lives.sort(key=lambda life: (life.recorded_id, life.first_row))

    @property
    def first_row(self) -> int:
        return self._start

    @property
    def rows(self) -> int:
        """Events from the first row on."""
        return len(self._messages) - self._start

    def steps(self, book_file: Path, rows: int) -> Iterator[Step]:
        messages = self._messages
        end = self._start + rows
        books = read_books(book_file)
        visible = Book((), ())
        for book in islice(books, self._start):
            visible = book
        yield from self._reveal(self._start - 1, Book((), ()), visible)
        row = self._start
        while row < end:
            m = messages[row]
            last = row
            if m.kind == EXECUTED:
                last, limit, remainder = self._aggressor(row)
                yield from self._trade(row, limit, remainder)
            elif m.kind == NEW:
                yield self._enter(row, m.direction, m.price_ticks, m.size, self._lives[row])
            elif m.kind == REDUCED:
                yield from self._reduce(row)
            elif m.kind == DELETED:
                yield self._delete(row)
            now = next(islice(books, last - row, None), None)
            if now is None:
                raise LobsterError(f"{book_file.name} ends before row {last}; {self._name} has {len(messages)} rows")
            yield from self._reveal(last, visible, now)
            yield CheckBook(last, now.asks, now.bids)
            visible = now
            row = last + 1
        if end == len(messages) and next(books, None) is not None:
            raise LobsterError(f"{book_file.name} goes on after row {len(messages) - 1}, where {self._name} ends")

    # events

    def _aggressor(self, first: int) -> tuple[int, list[int], int | None]:
        """The incoming order behind the execution in this row: its last row, its executions' rows, its remainder's row.

        Executions of one timestamp and one resting side are one order; hidden orders may have been hit in between.
        A new order of the other side that follows at once, at the same time and at a price that crosses, is what was
        left. Where NASDAQ passed orders over, one order ends and another begins, so that the book can be put right in
        between.
        """
        messages = self._messages
        head = messages[first]
        rows = [first]
        row = first + 1
        while row < len(messages):
            m = messages[row]
            if m.time_ns != head.time_ns or row in self._passed_over:
                break
            if m.kind == EXECUTED and m.direction == head.direction:
                rows.append(row)
            elif m.kind != EXECUTED_HIDDEN:
                break
            row += 1
        last = rows[-1]
        if last + 1 < len(messages):
            m = messages[last + 1]
            crosses = m.direction * m.price_ticks >= m.direction * messages[last].price_ticks
            if m.kind == NEW and m.time_ns == head.time_ns and m.direction == -head.direction and crosses:
                return last + 1, rows, last + 1
        return last, rows, None

    def _trade(self, first: int, rows: list[int], remainder: int | None) -> Iterator[Step]:
        if first in self._passed_over:
            yield from self._requeue(first)
        fills: list[Fill] = []
        for row in rows:
            m = self._messages[row]
            resting = self._resting(row)
            if m.size > resting.left:
                raise LobsterError(
                    f"{self._name} row {row} column 3: {m.size} more than the {resting.left} left of the order"
                )
            self._shrink(resting, m.size)
            if fills and fills[-1].order == resting.order:
                fills[-1] = fills[-1]._replace(volume=fills[-1].volume + m.size)
            else:
                fills.append(Fill(resting.order, m.price_ticks, m.size))
        direction = -self._messages[first].direction
        traded = sum(fill.volume for fill in fills)
        if remainder is None:
            self._last_order += 1
            price_ticks = self._messages[rows[-1]].price_ticks
            yield Place(first, self._last_order, 0, direction, price_ticks, traded, True, tuple(fills))
        else:
            m = self._messages[remainder]
            rest = self._enter(remainder, direction, m.price_ticks, m.size, self._lives[remainder])
            self._orders[rest.order].total += traded
            yield Place(first, rest.order, m.order_id, direction, m.price_ticks, traded + m.size, False, tuple(fills))

    def _requeue(self, row: int) -> Iterator[Step]:
        """Cancel the orders before the one that NASDAQ executed, and enter them again behind."""
        maker = self._resting(row)
        level: dict[int, _Resting] = self._levels[maker.direction][maker.price_ticks]
        ahead = []
        for resting in level.values():
            if resting is maker:
                break
            ahead.append(resting)
        for resting in ahead:
            left, life = resting.left, resting.life
            yield self._withdraw(row, resting)
            yield self._enter(row, resting.direction, resting.price_ticks, left, life)

    def _reduce(self, row: int) -> Iterator[Step]:
        m = self._messages[row]
        resting = self._resting(row)
        if m.size > resting.left:
            raise LobsterError(
                f"{self._name} row {row} column 3: {m.size} more than the {resting.left} left of the order"
            )
        if m.size == resting.left:
            yield self._withdraw(row, resting)
        else:
            yield self._cut(row, resting, m.size)

    def _delete(self, row: int) -> Cancel:
        m = self._messages[row]
        resting = self._resting(row)
        if m.size != resting.left:
            raise LobsterError(
                f"{self._name} row {row} column 3: {m.size}, but the deleted order has {resting.left} left"
            )
        return self._withdraw(row, resting)

    # what the recording leaves out

    def _reveal(self, row: int, before: Book, now: Book) -> Iterator[Step]:
        """Put right the levels that came into sight with this row."""
        for direction, old, new in ((SELL, before.asks, now.asks), (BUY, before.bids, now.bids)):
            known = {level.price_ticks for level in old}
            shown = {level.price_ticks for level in new}
            if known == shown:
                continue
            # Levels that we hold out of sight, and that the widened sight shows to be gone.
            if len(new) < LEVELS:
                gone = list(self._levels[direction])
            else:
                edge = new[-1].price_ticks
                low, high = (edge, None) if direction == BUY else (None, edge)
                gone = list(self._levels[direction].irange(low, high))
            for price in gone:
                if price not in shown:
                    for resting in list(self._levels[direction][price].values()):
                        yield self._withdraw(row, resting)
            for level in new:
                if level.price_ticks not in known:
                    yield from self._uncover(row, direction, level)

    def _uncover(self, row: int, direction: int, level: Level) -> Iterator[Step]:
        """Make our level equal to one that became visible: which orders it holds, and how much in all."""
        price = level.price_ticks
        held: list[_Resting] = list(self._levels[direction].get(price, {}).values())
        unseen = [
            life
            for life in self._unannounced.get((direction, price), ())
            if life.first_row > row and not life.order and life.recorded_id <= self._newest_ids[row]
        ]
        missing = level.volume - sum(resting.left for resting in held)
        if missing == 0 and not unseen:
            return
        for resting in held:
            if resting.life is None or resting.life.last_row <= row:  # no later row needs it: it may be gone
                missing += resting.left
                yield self._withdraw(row, resting)
        for life in unseen:
            if life.named > missing:
                break  # it came later, still unseen
            missing -= life.named
            yield self._enter(row, direction, price, life.named, life)
        if missing < 0:
            raise LobsterError(
                f"{self._name} row {row}: the level {price} that appears lacks {-missing} lots of its orders"
            )
        if missing:
            yield self._enter(row, direction, price, missing, None)

    # the implied book

    def _resting(self, row: int) -> _Resting:
        life = self._lives[row]
        resting = self._orders.get(life.order) if life is not None else None
        if resting is None:
            raise LobsterError(
                f"{self._name} row {row} column 2: order {self._messages[row].order_id} is not in the book"
            )
        return resting

    def _enter(self, row: int, direction: int, price_ticks: int, volume: int, life: _Life | None) -> Place:
        self._last_order += 1
        resting = _Resting(self._last_order, direction, price_ticks, volume, volume, life)
        self._orders[resting.order] = resting
        self._levels[direction].setdefault(price_ticks, {})[resting.order] = resting
        if life is not None:
            life.order = resting.order
        return Place(row, resting.order, life.recorded_id if life else 0, direction, price_ticks, volume)

    def _cut(self, row: int, resting: _Resting, volume: int) -> Reduce:
        resting.total -= volume
        resting.left -= volume
        return Reduce(row, resting.order, resting.total, resting.left)

    def _withdraw(self, row: int, resting: _Resting) -> Cancel:
        left = resting.left
        self._shrink(resting, left)
        return Cancel(row, resting.order, left)

    def _shrink(self, resting: _Resting, volume: int) -> None:
        resting.left -= volume
        if resting.left:
            return
        del self._orders[resting.order]
        if resting.life is not None:
            resting.life.order = 0
        levels = self._levels[resting.direction]
        level = levels[resting.price_ticks]
        del level[resting.order]
        if not level:
            del levels[resting.price_ticks]
