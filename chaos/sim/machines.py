"""What the simulated nodes replicate: the exchange itself, or a chain of hashes for long runs and small tests."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from typing import Any, Literal, Protocol

from consensus.ports import StateMachine
from node.exchange import invariants, snapshot
from node.exchange.events import CommandRejected, RequestRepeated
from node.exchange.machine import Machine

INVARIANTS_EVERY = 64  # entries: they walk the whole state

Effect = Literal["done", "refused", "repeated"]


class SimulatedMachine(StateMachine, Protocol):
    """A state machine whose answers the judges can read."""

    def effect(self, result: Any) -> Effect:
        """What a result of `apply` says: it was done, it was refused, or it had been answered before."""
        ...


class Chain:
    """Appends every command to a list and chains a hash over (index, time, commands)."""

    def __init__(self) -> None:
        self.commands: list[bytes] = []
        self.indexes: list[int] = []
        self.times: list[int] = []
        self._digest = bytes(32)

    def apply(self, index: int, term: int, time_ns: int, commands: Sequence[bytes]) -> list[Any]:
        first = len(self.commands)
        self.commands += commands
        self.indexes.append(index)
        self.times.append(time_ns)
        chained = hashlib.blake2b(self._digest + index.to_bytes(8, "little"), digest_size=32)
        chained.update(time_ns.to_bytes(8, "little"))
        for command in commands:
            chained.update(len(command).to_bytes(4, "little") + command)
        self._digest = chained.digest()
        return [first + offset for offset in range(len(commands))]

    def digest(self) -> bytes:
        return self._digest

    async def snapshot(self, fd: int) -> None:
        """Everything at once, without a checkpoint."""
        state = {
            "commands": [command.hex() for command in self.commands],
            "indexes": self.indexes,
            "times": self.times,
            "digest": self._digest.hex(),
        }
        _write(fd, json.dumps(state).encode())

    def restore(self, chunks: Iterable[bytes]) -> None:
        state = json.loads(b"".join(chunks))
        self.commands = [bytes.fromhex(command) for command in state["commands"]]
        self.indexes, self.times = state["indexes"], state["times"]
        self._digest = bytes.fromhex(state["digest"])

    def effect(self, result: Any) -> Effect:
        return "done"


class Exchange:
    """The exchange of `node.exchange`, its invariants checked now and then."""

    def __init__(self) -> None:
        self.machine = Machine()

    def apply(self, index: int, term: int, time_ns: int, commands: Sequence[bytes]) -> list[Any]:
        results = self.machine.apply(index, time_ns, commands)
        if index % INVARIANTS_EVERY == 0:
            invariants.check(self.machine)
        return results

    def digest(self) -> bytes:
        return self.machine.digest()

    async def snapshot(self, fd: int) -> None:
        """Everything at once, without a checkpoint."""
        for chunk in self.machine.snapshot():
            _write(fd, chunk)

    def restore(self, chunks: Iterable[bytes]) -> None:
        snapshot.restore(self.machine, chunks)

    def effect(self, result: Any) -> Effect:
        answer = result[0]
        if isinstance(answer, RequestRepeated):
            return "repeated"
        return "refused" if isinstance(answer, CommandRejected) else "done"


def _write(fd: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]
