"""What the passing of log time brings. The leader asks `due_ns`, and proposes AdvanceClock when it has come.

Nothing here asks a clock: `due_ns` is a function of the state, and `advance` uses the entry's own time.
"""

from __future__ import annotations

from typing import Final

from node.exchange import liquidation, monitor, sessions, settlement, triggers
from node.exchange.commands import AdvanceClock
from node.exchange.events import ClockAdvanced, Event
from node.exchange.state import Handlers, State


def due_ns(state: State) -> int:
    """The log time from which an AdvanceClock has something to do; 0 if nothing is waiting for time to pass."""
    due = [
        moment
        for moment in (
            sessions.due_ns(state),
            settlement.due_ns(state),
            triggers.due_ns(state),
            monitor.due_ns(state),
            liquidation.due_ns(state),
        )
        if moment
    ]
    return min(due, default=0)


def advance_clock(state: State, command: AdvanceClock, raw: bytes, events: list[Event]) -> None:
    """Do what is due, in this order. Each part bounds what it does in one command; the rest is due at once again."""
    effects: list[Event] = []
    settlement.advance(state, effects)
    if state.settlements.running is None:  # otherwise nothing else moves until the day is settled
        sessions.advance(state, effects)
        triggers.advance(state, effects)
        monitor.advance(state, effects)
        liquidation.advance(state, effects)
    events.append(ClockAdvanced(state.trading_day))  # the answer names the day that is open now
    events += effects


HANDLERS: Final[Handlers] = {AdvanceClock: advance_clock}
