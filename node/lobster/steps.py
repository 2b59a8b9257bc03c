"""What a replay does and checks: the steps that a recorded day becomes, free of any engine and of the file format."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

BUY: Final = 1
SELL: Final = -1


class LobsterError(ValueError):
    """The recording is missing, malformed or contradicts itself; names the file, row and column (from 0) and value."""


class Level(NamedTuple):
    price_ticks: int
    volume: int


class Fill(NamedTuple):
    """One execution that must happen: against exactly this resting order."""

    order: int
    price_ticks: int
    volume: int


@dataclass(frozen=True, slots=True)
class Place:
    """Enter a limit order. `fills` are all the trades that it must make at once, in this order.

    `immediate`: an IOC order, which never rests (its fills use it up). Otherwise what the fills leave must rest.
    """

    row: int
    order: int  # our own number, dense from 1, never reused
    recorded_id: int  # NASDAQ's; 0 for an anonymous order and for one that was never named
    direction: int
    price_ticks: int
    volume: int
    immediate: bool = False
    fills: tuple[Fill, ...] = ()


@dataclass(frozen=True, slots=True)
class Reduce:
    """Lower the volume of a resting order; it keeps its place."""

    row: int
    order: int
    volume: int  # the new total of the order, what was filled included
    left: int  # what must rest afterwards


@dataclass(frozen=True, slots=True)
class Cancel:
    row: int
    order: int
    left: int  # what must have rested until now


@dataclass(frozen=True, slots=True)
class CheckBook:
    """The book must now show exactly these levels, best first."""

    row: int
    asks: tuple[Level, ...]
    bids: tuple[Level, ...]


Step = Place | Reduce | Cancel | CheckBook
