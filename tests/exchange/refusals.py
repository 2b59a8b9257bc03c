"""A refused command changes nothing: the whole state is compared, object by object."""

from __future__ import annotations

import copy

from node.exchange import commands
from node.exchange.events import CommandRejected
from node.exchange.rejects import Reject
from node.exchange.requests import Requests
from tests.exchange.driver import Driver
from tests.exchange.object_graph import differences


def refused(exchange: Driver, command: commands.Command, reject: Reject) -> str:
    """Do a command that must be refused for this reason; returns the detail once nothing else is found changed.

    The log position moves, and of a command with an id of its client the first result is remembered.
    """
    before = copy.deepcopy(exchange.machine)
    (event,) = exchange.do(command)
    assert isinstance(event, CommandRejected), event
    assert event.code == reject.code, (event, reject)
    after = exchange.machine
    before.index, before.time_ns, before._digest = after.index, after.time_ns, after._digest
    has_id = getattr(command, "request_id", "") or getattr(command, "client_order_id", "")
    assert differences(before, after, ignored=(Requests,) if has_id else ()) == []
    return event.detail
