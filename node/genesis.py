"""What a new cluster begins with: the instruments of `cluster.toml` and the administrator, entered through the log.

Whoever leads proposes what the state lacks, so that it happens once, at one log index, on every node. A restart or a
failover proposes nothing that is there already; a command that comes twice is refused by the machine.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from consensus.errors import ConsensusError
from consensus.replica import Replica
from node.exchange.codec import encode_command
from node.exchange.commands import Command, ListInstrument, RegisterUser
from node.exchange.events import CommandRejected, Event
from node.exchange.machine import Machine
from node.exchange.types import Role
from node.logs import fields
from node.secrets import Administrator

log = logging.getLogger(__name__)


def missing(machine: Machine, instruments: Sequence[ListInstrument], administrator: Administrator) -> list[Command]:
    """The commands that bring the state to what the configuration asks for."""
    commands: list[Command] = [terms for terms in instruments if terms.instrument_id not in machine.instruments]
    if administrator.username not in machine.usernames:
        commands.append(RegisterUser(administrator.username, administrator.password_hash, int(Role.ADMIN)))
    return commands


async def propose(
    replica: Replica, machine: Machine, instruments: Sequence[ListInstrument], administrator: Administrator
) -> bool:
    """Enter what is missing; call it on the leader once it can commit. False if the leadership went meanwhile."""
    commands = missing(machine, instruments, administrator)
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
