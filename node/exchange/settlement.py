"""Settlement of a trading day (domain.md 8)."""

from __future__ import annotations

from typing import Any, Final

from node.exchange.events import Event
from node.exchange.state import Handlers, State


class Settlements:
    """Settlement prices of the open day, the settlement that runs, and the results of past days."""

    def __init__(self) -> None:
        self.running: Any = None


def due_ns(state: State) -> int:
    """When `advance` has something to do; 0: never."""
    return 0


def advance(state: State, events: list[Event]) -> None:
    """Do what is due at the log time of this entry."""


HANDLERS: Final[Handlers] = {}
