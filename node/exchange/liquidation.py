"""Forced liquidation."""

from __future__ import annotations

from typing import Final

from node.exchange.events import Event
from node.exchange.state import Handlers, State


class Liquidations:
    """Running and finished liquidations."""


def due_ns(state: State) -> int:
    """When `advance` has something to do; 0: never."""
    return 0


def advance(state: State, events: list[Event]) -> None:
    """Do what is due at the log time of this entry."""


HANDLERS: Final[Handlers] = {}
