"""A refused command changes nothing: the whole state is compared, object by object."""

from __future__ import annotations

import copy

from node.exchange import commands
from node.exchange.events import CommandRejected
from tests.exchange.driver import Driver
from tests.exchange.object_graph import differences


def refused(driver: Driver, command: commands.Command) -> CommandRejected:
    """Apply a command that must be refused; returns the refusal once nothing but the log position has moved."""
    before = copy.deepcopy(driver.machine)
    events = driver.do(command)
    (refusal,) = events
    assert isinstance(refusal, CommandRejected), events
    after = driver.machine
    before.index, before.time_ns, before._digest = after.index, after.time_ns, after._digest
    assert differences(before, after) == []
    return refusal
