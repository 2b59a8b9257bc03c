"""Lets the time of the log pass: the leader proposes AdvanceClock whenever the state waits for a moment that has come.

The state machine has no clock. It says when it wants to be told (`timers.due_ns`); whoever leads looks at the clock
that also stamps the entries, and enters one AdvanceClock. A second one that a new leader enters does nothing, so
nothing has to be remembered over a failover, and what a cluster slept through is caught up with the first one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Final, Protocol

import trio

from consensus.errors import ConsensusError
from consensus.ports import Receipt, ReplicaStatus
from node.clock import Clock
from node.exchange import timers
from node.exchange.codec import encode_command
from node.exchange.commands import AdvanceClock
from node.exchange.machine import Machine
from node.logs import fields

log = logging.getLogger(__name__)

LOOK_S: Final = 0.25  # how often it looks: commands move the moment that the state waits for
NEAR_S: Final = 0.02  # how often while that moment is nearer than LOOK_S, or an entry brought nothing
BACK_OFF_S: Final = 1.0  # longest pause after refused proposals; the first is NEAR_S, and each doubles


class Proposer(Protocol):
    """The part of `consensus.replica.Replica` that is needed here."""

    def status(self) -> ReplicaStatus: ...

    async def submit(self, commands: Sequence[bytes], *, timeout_s: float | None = None) -> list[Receipt]: ...


class Timekeeper:
    """One task per node; it acts while its node leads, and has at most one proposal under way."""

    def __init__(self, replica: Proposer, machine: Machine, clock: Clock, begun: Callable[[], bool]) -> None:
        """`begun`: the exchange has what it begins with. Before, no trading day is opened: the calendars decide it."""
        self._replica = replica
        self._machine = machine
        self._clock = clock
        self._begun = begun
        self._command = encode_command(AdvanceClock())
        self._back_off_s = NEAR_S

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            wait_s = self._wait_s()
            if wait_s <= 0:
                wait_s = await self._propose()
            if wait_s > 0:
                await trio.sleep(wait_s)

    def _wait_s(self) -> float:
        """How long to sleep before looking again; 0: an AdvanceClock is due, and this node may propose it."""
        machine = self._machine
        due_ns = timers.due_ns(machine)
        if due_ns == 0:
            return LOOK_S
        left_ns = due_ns - max(self._clock.wall_ns(), machine.time_ns + 1)  # an entry is stamped no earlier than that
        left_s = left_ns / 1e9
        if left_s > 0:
            return LOOK_S if left_s > LOOK_S else min(left_s, NEAR_S)
        status = self._replica.status()
        if status.role != "leader" or not status.can_commit or (machine.trading_day == 0 and not self._begun()):
            return LOOK_S
        return 0

    async def _propose(self) -> float:
        """Enter one AdvanceClock and wait for what it did; returns how long to sleep before the next."""
        trading_day = self._machine.trading_day
        try:
            (receipt,) = await self._replica.submit([self._command])
        except ConsensusError as error:  # also where the outcome is unknown: a second one does no harm
            log.debug("the clock was not advanced", extra=fields(why=error))
            wait_s, self._back_off_s = self._back_off_s, min(self._back_off_s * 2, BACK_OFF_S)
            return wait_s
        self._back_off_s = NEAR_S
        if self._machine.trading_day != trading_day:
            log.info("a trading day opened", extra=fields(trading_day=self._machine.trading_day, index=receipt.index))
        return 0 if len(receipt.result) > 1 else NEAR_S  # nothing came of it: do not ask at once again
