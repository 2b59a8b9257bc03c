"""Conditional orders: stop-loss, take-profit, price touch."""

from __future__ import annotations

from typing import Final

from node.exchange.events import Event
from node.exchange.state import Handlers, State


class Conditional:
    """One conditional order."""


class Triggers:
    """All conditional orders."""


def fire(state: State, events: list[Event]) -> None:
    """Enter the conditional orders whose price was reached by the trades of this command."""
    state.matcher.moved.clear()


def due_ns(state: State) -> int:
    """When `advance` has something to do; 0: never."""
    return 0


def advance(state: State, events: list[Event]) -> None:
    """Do what is due at the log time of this entry."""


HANDLERS: Final[Handlers] = {}
