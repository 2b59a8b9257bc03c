"""Reading LOBSTER's two files of one day, strictly: the messages and the ten levels after each of them.

Formats: https://lobsterdata.com/info/DataStructure.php
"""

from __future__ import annotations

import lzma
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from node.lobster.steps import BUY, SELL, Level, LobsterError

PRICE_UNITS_PER_TICK: Final = 100  # LOBSTER's prices are dollars * 10 000, NASDAQ's tick is a cent
LEVELS: Final = 10
EMPTY_PRICE: Final = 9_999_999_999  # of an empty level; negative on the bid side
LINE_BYTES_MAX: Final = 2_000

NEW: Final = 1
REDUCED: Final = 2
DELETED: Final = 3
EXECUTED: Final = 4
EXECUTED_HIDDEN: Final = 5


class Message(NamedTuple):
    time_ns: int  # after midnight
    kind: int
    order_id: int
    size: int
    price_ticks: int
    direction: int  # of the resting order


class Book(NamedTuple):
    """The visible levels of both sides, best first."""

    asks: tuple[Level, ...]
    bids: tuple[Level, ...]


@dataclass(frozen=True, slots=True)
class Files:
    """The two files of one day, `.csv` or `.csv.xz`."""

    messages: Path
    books: Path

    @property
    def stem(self) -> str:
        return self.messages.name.removesuffix(".xz").removesuffix(".csv")


def find_files(directory: Path) -> Files:
    """The message and order-book files of a folder. Raises LobsterError unless there is exactly one pair of one day."""
    if not directory.is_dir():
        raise LobsterError(f"{directory} is not a folder")
    found = sorted(path for path in directory.iterdir() if path.name.endswith((".csv", ".csv.xz")))
    messages = [path for path in found if f"_message_{LEVELS}.csv" in path.name]
    books = [path for path in found if f"_orderbook_{LEVELS}.csv" in path.name]
    for kind, paths in (("message", messages), ("orderbook", books)):
        if len(paths) != 1:
            names = ", ".join(path.name for path in paths) or "none"
            raise LobsterError(f"{directory} must hold one *_{kind}_{LEVELS}.csv[.xz], found: {names}")
    files = Files(messages[0], books[0])
    if files.stem.replace("_message_", "_orderbook_") != files.books.name.removesuffix(".xz").removesuffix(".csv"):
        raise LobsterError(f"{files.messages.name} and {files.books.name} are not of the same day")
    return files


def _lines(path: Path) -> Iterator[str]:
    row = 0
    try:
        with lzma.open(path, "rt", encoding="ascii") if path.suffix == ".xz" else path.open(encoding="ascii") as file:
            while line := file.readline(LINE_BYTES_MAX):
                if not line.endswith("\n") and len(line) == LINE_BYTES_MAX:
                    raise LobsterError(f"{path.name} row {row}: longer than {LINE_BYTES_MAX} characters")
                yield line
                row += 1
    except (OSError, EOFError, lzma.LZMAError, UnicodeDecodeError) as error:
        raise LobsterError(f"{path.name} row {row}: cannot be read: {error}") from error


def _integers(path: Path, row: int, columns: Sequence[str], first_column: int) -> list[int]:
    """The slow way, which names the column."""
    values = []
    for column, text in enumerate(columns, first_column):
        try:
            values.append(int(text))
        except ValueError:
            raise LobsterError(f"{path.name} row {row} column {column}: {text.strip()!r} is not an integer") from None
    return values


def _time_ns(path: Path, row: int, text: str) -> int:
    seconds, _, fraction = text.partition(".")
    decimal = seconds.isdecimal() and (fraction.isdecimal() or not fraction)
    if not decimal or len(seconds) > 6 or len(fraction) > 9:
        raise LobsterError(f"{path.name} row {row} column 0: {text!r} is not a time in seconds after midnight")
    return int(seconds) * 10**9 + int(fraction.ljust(9, "0"))


def read_messages(path: Path) -> list[Message]:
    """All messages of the day. Raises LobsterError."""

    def flaw(column: int, value: object, what: str) -> LobsterError:
        return LobsterError(f"{path.name} row {row} column {column}: {value!r} {what}")

    messages: list[Message] = []
    before = 0
    for row, line in enumerate(_lines(path)):
        columns = line.split(",")
        if len(columns) != 6:
            raise LobsterError(f"{path.name} row {row}: {len(columns)} columns instead of 6")
        time_ns = _time_ns(path, row, columns[0])
        kind, order_id, size, price, direction = _integers(path, row, columns[1:], 1)
        if time_ns < before:
            raise flaw(0, columns[0], "is before the row above")
        if not NEW <= kind <= EXECUTED_HIDDEN:
            raise flaw(1, kind, "is not an event type that a continuous book can replay (1 to 5)")
        if order_id < 0 or (order_id == 0) != (kind == EXECUTED_HIDDEN):
            raise flaw(2, order_id, f"is not an order id of a type {kind} event")
        if size <= 0:
            raise flaw(3, size, "is not a size")
        off_tick = price % PRICE_UNITS_PER_TICK and kind != EXECUTED_HIDDEN  # hidden orders trade at mid prices too
        if price <= 0 or off_tick:
            raise flaw(4, price, f"is not a positive multiple of {PRICE_UNITS_PER_TICK}")
        if direction not in (BUY, SELL):
            raise flaw(5, direction, "is neither 1 nor -1")
        before = time_ns
        messages.append(Message(time_ns, kind, order_id, size, price // PRICE_UNITS_PER_TICK, direction))
    return messages


def read_books(path: Path) -> Iterator[Book]:
    """The ten levels after each message. Raises LobsterError."""
    width = 4 * LEVELS
    for row, line in enumerate(_lines(path)):
        columns = line.split(",")
        if len(columns) != width:
            raise LobsterError(f"{path.name} row {row}: {len(columns)} columns instead of {width}")
        try:
            values = list(map(int, columns))
        except ValueError:
            values = _integers(path, row, columns, 0)
        asks = _side(path, row, values, SELL)
        bids = _side(path, row, values, BUY)
        if asks and bids and asks[0].price_ticks <= bids[0].price_ticks:
            raise LobsterError(
                f"{path.name} row {row} column 2: the best bid {values[2]} crosses the best ask {values[0]}"
            )
        yield Book(asks, bids)


def _side(path: Path, row: int, values: list[int], side: int) -> tuple[Level, ...]:
    first = 0 if side == SELL else 2
    levels = []
    before = 0
    for column in range(first, len(values), 4):
        price, size = values[column], values[column + 1]
        if size == 0 and price == -side * EMPTY_PRICE:
            if any(values[column + 1 :: 4]):
                raise LobsterError(f"{path.name} row {row} column {column}: an empty level stands before a filled one")
            break
        if size <= 0:
            raise LobsterError(f"{path.name} row {row} column {column + 1}: {size} is not a size")
        if price <= 0 or price % PRICE_UNITS_PER_TICK:
            raise LobsterError(
                f"{path.name} row {row} column {column}: {price} is not a positive multiple of {PRICE_UNITS_PER_TICK}"
            )
        if before and side * (price - before) >= 0:
            raise LobsterError(
                f"{path.name} row {row} column {column}: {price} is not worse than the level above, {before}"
            )
        before = price
        levels.append(Level(price // PRICE_UNITS_PER_TICK, size))
    return tuple(levels)
