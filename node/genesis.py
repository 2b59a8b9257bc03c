"""What a new cluster begins with: the market of `cluster.toml` and the administrator, entered through the log.

Whoever leads proposes what the state lacks, so that it happens once, at one log index, on every node. A restart or a
failover proposes nothing that is there already, whatever has become of it since: from then on commands change the
market, and the file does not. A command that comes twice is refused by the machine, or changes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from consensus.errors import ConsensusError
from consensus.replica import Replica
from node.exchange.codec import encode_command
from node.exchange.commands import Command, ListInstrument, RegisterUser, SetCalendar
from node.exchange.events import CommandRejected, Event
from node.exchange.machine import Machine
from node.exchange.types import Role
from node.logs import fields
from node.secrets import Administrator

log = logging.getLogger(__name__)

Market = Sequence[SetCalendar | ListInstrument]  # in the order in which they are entered


def missing(machine: Machine, market: Market, administrator: Administrator) -> list[Command]:
    """The commands that bring the state to what the configuration asks for."""
    commands: list[Command] = [command for command in market if not _is_known(machine, command)]
    if administrator.username not in machine.usernames:
        commands.append(RegisterUser(administrator.username, administrator.password_hash, int(Role.ADMIN)))
    return commands


def _is_known(machine: Machine, command: SetCalendar | ListInstrument) -> bool:
    if isinstance(command, SetCalendar):
        return command.calendar_id in machine.calendars
    return command.instrument_id in machine.instruments


async def propose(replica: Replica, machine: Machine, market: Market, administrator: Administrator) -> bool:
    """Enter what is missing; call it on the leader once it can commit. False if the leadership went meanwhile."""
    commands = missing(machine, market, administrator)
    if not commands:
        return True
    try:
        receipts = await replica.submit([encode_command(command) for command in commands])
    except ConsensusError as error:
        log.warning("the start of the exchange was not entered", extra=fields(commands=len(commands), why=error))
        return False
    for command, receipt in zip(commands, receipts, strict=True):
        events: list[Event] = receipt.result
        answer = events[0]
        if isinstance(answer, CommandRejected):
            log.error("refused at the start", extra=fields(command=type(command).__name__, why=answer.detail))
    log.info("the exchange begins", extra=fields(commands=len(commands), index=receipts[-1].index))
    return True
