"""What a refused command must leave as it was: the whole state but the log position and the remembered requests."""

from __future__ import annotations

from node.exchange import commands
from node.exchange.events import CommandRejected
from node.exchange.machine import Machine
from node.exchange.rejects import Reject
from tests.exchange.driver import Driver


def _plain(thing: object) -> tuple[object, ...]:
    """The numbers and texts among the slots of an object."""
    values = [getattr(thing, slot) for slot in thing.__slots__]  # type: ignore[attr-defined]
    return tuple(value for value in values if isinstance(value, int | str))


def fingerprint(machine: Machine) -> tuple[object, ...]:
    """A value that differs if anything of a machine does that an order could change."""
    return (
        machine.order_count,
        machine.trading_day,
        machine.external_units,
        machine.risk,
        [
            (
                _plain(account),
                list(account.live),
                list(account.orders),
                account.position_limits,
                [
                    (name, _plain(position.long), _plain(position.short), _plain(position.product))
                    for name, position in account.positions.items()
                ],
            )
            for account in machine.accounts.values()
        ],
        [_plain(order) for order in machine.orders.values()],
        [
            (
                _plain(instrument),
                instrument.venue.trade_count,
                instrument.book.depth(1, 100),
                instrument.book.depth(-1, 100),
                list(instrument.holders),
            )
            for instrument in machine.instruments.values()
        ],
    )


def refused(exchange: Driver, command: commands.Command, reject: Reject) -> str:
    """Do a command that must be refused with this code and change nothing; returns the detail."""
    before = fingerprint(exchange.machine)
    events = exchange.do(command)
    assert len(events) == 1
    (event,) = events
    assert isinstance(event, CommandRejected), event
    assert event.code == reject.code, (event, reject)
    assert fingerprint(exchange.machine) == before
    return event.detail
