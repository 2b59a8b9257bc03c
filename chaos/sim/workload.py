"""Clients that trade: one submission or read at a time each, repeated with the same ids until the answer is known."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from chaos.sim.judges import Judges
from chaos.sim.process import Process
from chaos.sim.timeline import Timeline
from consensus.errors import ConsensusError, NotLeader, OutcomeUnknown
from node.exchange import commands
from node.exchange.codec import encode_command

ACCOUNTS = 3
TIMEOUT_S = 0.5  # of one attempt
PATIENCE_S = 0.7  # after which a client gives up on an attempt that nobody answers: the node is gone or paused
PRICE_TICKS = 7_000
AUDIT_S = 0.02


class Requests(Protocol):
    """What clients ask for."""

    repeatable: bool  # whether the state machine knows a request that it has seen

    def prologue(self) -> list[bytes]:
        """What must stand in the log before anything else; to be entered one after the other."""
        ...

    def draw(self, client: int, number: int, rng: random.Random) -> bytes:
        """The `number`th request of a client."""
        ...


class Texts:
    """For the chain of hashes: every request is another text, and none may be repeated."""

    repeatable = False

    def prologue(self) -> list[bytes]:
        return []

    def draw(self, client: int, number: int, rng: random.Random) -> bytes:
        return b"%d/%d " % (client, number) + b"." * rng.randint(0, 200)


class Orders:
    """For the exchange: orders that meet, cancellations, deposits and withdrawals, each with a request id."""

    repeatable = True

    def prologue(self) -> list[bytes]:
        listing = commands.ListInstrument(
            "SHFE.cu2701", "沪铜2701", "cu", 5, 100_000, PRICE_TICKS, 100_000_000, 100_000_000, 1, 500,
            0, 350_000_000, 0, 350_000_000, 0, 175_000, 0, 175_000, 0, 175_000,
        )  # fmt: skip
        steps: list[commands.Command] = [listing, commands.AdvanceClock()]
        for number in range(1, ACCOUNTS + 1):
            user_id, account_id = f"U{number:08d}", f"ACC_{number:08d}"
            steps.append(commands.RegisterUser(f"user{number}", "$2b$hash", request_id=f"user{number}"))
            steps.append(commands.OpenAccount(user_id, "simulated", 0, f"account{number}"))
            steps.append(commands.Deposit(account_id, 10**12, f"first{number}"))
        return [encode_command(step) for step in steps]

    def draw(self, client: int, number: int, rng: random.Random) -> bytes:
        account_id, request_id = f"ACC_{client % ACCOUNTS + 1:08d}", f"{client}-{number}"
        dice = rng.random()
        command: commands.Command
        if dice < 0.7:
            price = PRICE_TICKS + rng.randint(-3, 3)
            command = commands.PlaceOrder(
                account_id, "SHFE.cu2701", rng.choice((1, -1)), 0, rng.randint(1, 5), 0, price,
                rng.choice((0, 0, 0, 1)), client_order_id=request_id,
            )  # fmt: skip
        elif dice < 0.85:
            other = f"{client}-{rng.randint(0, number)}"
            command = commands.CancelOrder(account_id, 0, other, f"c{request_id}")
        elif dice < 0.95:
            command = commands.Deposit(account_id, rng.randint(1, 10**9), f"d{request_id}")
        else:
            command = commands.Withdraw(account_id, rng.randint(1, 10**9), f"w{request_id}")
        return encode_command(command)


@dataclass(slots=True)
class _Attempt:
    """One try of a submission or a read, on one node."""

    over: bool = False


class Client:
    """One client. It follows hints to the leader, and asks somebody else when nobody answers."""

    def __init__(
        self,
        number: int,
        requests: Requests,
        processes: Sequence[Process],
        timeline: Timeline,
        judges: Judges,
        rng: random.Random,
        pause_s: float,
    ) -> None:
        self._number = number
        self._name = f"c{number}"
        self._requests = requests
        self._processes = processes
        self._timeline = timeline
        self._judges = judges
        self._rng = rng
        self._pause_s = pause_s
        self._leader: str | None = None
        self._drawn = 0
        self._waiting: list[bytes] = []  # what is being submitted
        self._maybe_logged = False
        self._queue: list[bytes] = []  # the prologue, if this client enters it
        self.stopped = False
        self.completed = 0

    def begin(self, prologue: Sequence[bytes] = ()) -> None:
        self._queue = list(prologue)
        self._next()

    @property
    def idle(self) -> bool:
        """Whether it is done with what it was given first."""
        return not self._queue and not self._waiting

    # One operation after the other.

    def _next(self) -> None:
        self._waiting = []
        if self.stopped:
            return
        if self._queue:
            self._submit([self._queue.pop(0)])
        elif self._rng.random() < 0.4:
            # Half of the reads go to anybody: whoever believes that it leads must not answer for the one who does.
            self._read(self._target() if self._rng.random() < 0.5 else self._rng.choice(self._processes))
        else:
            count = self._rng.choice((1, 1, 1, 2, 5))
            self._submit([self._requests.draw(self._number, self._drawn + n, self._rng) for n in range(count)])
            self._drawn += count

    def _later(self, factor: float = 1.0) -> None:
        self._timeline.after(self._pause_s * factor * (0.1 + self._rng.expovariate(1.0)), self._next)

    def _submit(self, batch: list[bytes]) -> None:
        self._waiting = batch
        self._maybe_logged = False
        self._try(self._target())

    def _try(self, process: Process) -> None:
        attempt = _Attempt()
        self._timeline.after(PATIENCE_S, partial(self._no_answer, attempt))
        process.post(partial(self._propose, process, attempt, self._waiting))
        if process.node is None:
            self._retry(attempt, None)

    def _propose(self, process: Process, attempt: _Attempt, batch: list[bytes]) -> None:
        # It may have been on its way when its client gave up: it is executed all the same.
        node = process.node
        assert node is not None
        try:
            node.core.propose(batch, partial(self._done, process.name, attempt, batch), TIMEOUT_S)
        except ConsensusError as error:
            self._retry(attempt, error.leader if isinstance(error, NotLeader) else None)
        else:
            if process.trace is not None:
                process.trace(self._name, f"→ {process.name} {len(batch)} commands")

    def _done(self, node: str, attempt: _Attempt, batch: list[bytes], outcome: Any) -> None:
        if isinstance(outcome, ConsensusError):
            if batch is self._waiting and isinstance(outcome, OutcomeUnknown):
                self._maybe_logged = True
            self._retry(attempt, outcome.leader if isinstance(outcome, NotLeader) else None)
            return
        for command, receipt in zip(batch, outcome, strict=True):
            self._judges.acknowledge(node, command, receipt)
        if not attempt.over:
            attempt.over = True
            self._leader = node
            self.completed += 1
            self._later()

    def _no_answer(self, attempt: _Attempt) -> None:
        if not attempt.over:
            self._maybe_logged = True
            self._retry(attempt, None)

    def _retry(self, attempt: _Attempt, leader: str | None) -> None:
        if attempt.over:
            return
        attempt.over = True
        self._leader = leader
        if self.stopped or (self._maybe_logged and not self._requests.repeatable):
            if not self._maybe_logged:
                for command in self._waiting:
                    self._judges.refused(command)
            self._later()
        else:
            self._timeline.after(0.01 + self._rng.random() * 0.05, lambda: self._try(self._target()))

    def _target(self) -> Process:
        for process in self._processes:
            if process.name == self._leader and self._rng.random() < 0.95:
                return process
        return self._rng.choice(self._processes)

    # Reads.

    def _read(self, process: Process) -> None:
        attempt = _Attempt()
        self._timeline.after(PATIENCE_S, partial(self._read_over, attempt))
        process.post(partial(self._begin_read, process, attempt))
        if process.node is None:
            self._read_over(attempt)

    def _begin_read(self, process: Process, attempt: _Attempt) -> None:
        node = process.node
        assert node is not None
        floor = self._judges.acknowledged_index
        if self._rng.random() < 0.5 and (applied := node.core.read_by_lease()) is not None:
            self._read_done(process.name, attempt, floor, applied)
            return
        try:
            node.core.read(partial(self._read_done, process.name, attempt, floor))
        except ConsensusError:
            self._read_over(attempt)

    def _read_done(self, node: str, attempt: _Attempt, floor: int, outcome: int | ConsensusError) -> None:
        if isinstance(outcome, int):
            self._judges.read(node, outcome, floor)
        self._read_over(attempt)

    def _read_over(self, attempt: _Attempt) -> None:
        if not attempt.over:
            attempt.over = True
            self._leader = None if self._rng.random() < 0.2 else self._leader
            self._later()


class Auditor:
    """Asks everybody who believes that it leads, all the time: two leaders are one too many only if one answers."""

    def __init__(self, processes: Sequence[Process], timeline: Timeline, judges: Judges) -> None:
        self._processes = processes
        self._timeline = timeline
        self._judges = judges
        self.stopped = False

    def look(self) -> None:
        for process in self._processes:
            if process.node is not None and process.node.core.raft.is_leader:
                process.post(partial(self._read, process))
        if not self.stopped:
            self._timeline.after(AUDIT_S, self.look)

    def _read(self, process: Process) -> None:
        node, floor = process.node, self._judges.acknowledged_index
        assert node is not None
        if (applied := node.core.read_by_lease()) is not None:
            self._judges.read(process.name, applied, floor)
        try:
            node.core.read(partial(self._answered, process.name, floor))
        except ConsensusError:
            pass

    def _answered(self, node: str, floor: int, outcome: int | ConsensusError) -> None:
        if isinstance(outcome, int):
            self._judges.read(node, outcome, floor)
