"""What must hold in every run, looked at from outside: what nodes apply, what clients are told, what the disks hold.

* agreement: at one index all nodes, in all their lives, apply the same entry and come to the same digest;
* order: a node applies upward, and time rises with the index;
* one leader per term;
* acknowledgements: a receipt names an entry that was applied, with this command, this digest, and this answer;
* at most once: no request is done under two indexes;
* reads: none misses what was acknowledged, or read, before it began;
* no node stops or refuses to start without an injected reason, and none starts on a damaged disk;
* at the end: every acknowledged command stands at its index in the logs of a majority, and all nodes are equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chaos.sim.machines import SimulatedMachine
from consensus import entry
from consensus.ports import Receipt

if TYPE_CHECKING:
    from chaos.sim.process import Process


class Violation(BaseException):
    """The cluster broke a promise.

    Not an `Exception`, so that no handler takes it for a bug of the state machine in whose `apply` it may be raised.
    """


@dataclass(frozen=True, slots=True)
class Applied:
    """The first sighting of one entry."""

    term: int
    time_ns: int
    commands: tuple[bytes, ...]
    digest: bytes
    node: str


class Judges:
    """Everything that is known of one run. Raises Violation wherever a promise is seen broken."""

    def __init__(self) -> None:
        self.applied: dict[int, Applied] = {}
        self.acknowledged: dict[int, list[bytes]] = {}  # index → commands
        self.acknowledged_index = 0  # the highest that a client was told of, by a receipt or a read
        self.acknowledgements = 0
        self.reads = 0
        self.deaths = 0
        self._done: dict[bytes, int] = {}  # request → where it was done
        self._leaders: dict[int, str] = {}
        self._excused: set[str] = set()  # nodes whose disks fail, for which stopping is right

    @property
    def terms(self) -> int:
        """How many terms had a leader."""
        return len(self._leaders)

    # Nodes.

    def observed(self, node: str, machine: SimulatedMachine) -> Observed:
        """`machine`, every entry that it applies being judged."""
        return Observed(node, machine, self)

    def apply(self, node: str, index: int, seen: Applied, effects: Sequence[str]) -> None:
        first = self.applied.setdefault(index, seen)
        if first is not seen:
            if (first.term, first.time_ns, first.commands) != (seen.term, seen.time_ns, seen.commands):
                raise Violation(
                    f"{node} applied another entry {index} (term {seen.term}) than {first.node} (term {first.term})"
                )
            if first.digest != seen.digest:
                raise Violation(f"the state of {node} differs from that of {first.node} at index {index}")
            return
        for command, effect in zip(seen.commands, effects, strict=True):
            if effect != "repeated":
                before = self._done.setdefault(command, index)
                if before != index:
                    raise Violation(f"a request was executed at index {before} and again at {index}")

    def leads(self, node: str, term: int) -> None:
        other = self._leaders.setdefault(term, node)
        if other != node:
            raise Violation(f"{node} and {other} both led term {term}")

    def excuse(self, node: str) -> None:
        """The disk of a node is about to fail: it must stop, and may."""
        self._excused.add(node)

    def died(self, node: str, why: str) -> None:
        self.deaths += 1
        if node not in self._excused:
            raise Violation(f"{node} stopped itself: {why}")
        self._excused.discard(node)

    def started(self, node: str, ruined: bool) -> None:
        self._excused.discard(node)
        if ruined:
            raise Violation(f"{node} started on a log with a flipped bit")

    def refused_to_start(self, node: str, why: str, ruined: bool) -> None:
        if not ruined:
            raise Violation(f"{node} does not start: {why}")

    def malformed(self, node: str, why: str) -> None:
        raise Violation(f"{node} was sent a malformed frame by another member: {why}")

    # Clients.

    def acknowledge(self, node: str, command: bytes, receipt: Receipt) -> None:
        self.acknowledgements += 1
        seen = self.applied.get(receipt.index)
        if seen is None:
            raise Violation(f"{node} acknowledged index {receipt.index}, which nobody has applied")
        if command not in seen.commands or (seen.term, seen.digest) != (receipt.term, receipt.digest):
            raise Violation(f"{node} acknowledged a command at index {receipt.index}, and it is not what stands there")
        self.acknowledged.setdefault(receipt.index, []).append(command)
        self.acknowledged_index = max(self.acknowledged_index, receipt.index)

    def refused(self, command: bytes) -> None:
        """A client was told that nothing was logged, and gave up."""
        if command in self._done:
            raise Violation("a command was executed, and its client was told that nothing was logged")

    def read(self, node: str, index: int, floor: int) -> None:
        """A read that began when `floor` was acknowledged was answered at `index`."""
        self.reads += 1
        if index < floor:
            raise Violation(f"a read on {node} was answered at index {index}, and {floor} was acknowledged before it")
        self.acknowledged_index = max(self.acknowledged_index, index)

    # The end.

    def final(self, processes: Sequence[Process]) -> None:
        """After everything was healed and came to rest: `processes` are the ones whose disks were not ruined."""
        nodes = [process.node for process in processes if process.node is not None]
        if len({(node.core.raft.raftLastApplied, node.machine.digest()) for node in nodes}) != 1:
            raise Violation(f"not equal at the end: {[(n.name, n.core.raft.raftLastApplied) for n in nodes]}")
        last = nodes[0].core.raft.raftLastApplied
        for index in self.applied:
            if index > last:
                raise Violation(f"entry {index} was applied, and the logs end at {last}")
        for index, commands in self.acknowledged.items():
            holding = 0
            for node in nodes:
                if index < node.journal.first_index:  # under a snapshot: the equal digests cover it
                    holding += 1
                    continue
                data = node.journal.at(index)[0]
                held = () if data == entry.NO_OP else entry.decode(data).commands
                holding += all(command in held for command in commands)
            if holding < processes[0].quorum:
                raise Violation(f"what was acknowledged at index {index} stands in {holding} logs")


class Observed:
    """A state machine that shows the judges what it applies."""

    def __init__(self, node: str, machine: SimulatedMachine, judges: Judges) -> None:
        self._node = node
        self._machine = machine
        self._judges = judges
        self._index = self._time_ns = 0

    def apply(self, index: int, term: int, time_ns: int, commands: Sequence[bytes]) -> Sequence[Any]:
        if index <= self._index or time_ns <= self._time_ns:
            raise Violation(
                f"{self._node} applied index {index} (time {time_ns}) after index {self._index} (time {self._time_ns})"
            )
        self._index, self._time_ns = index, time_ns
        results = self._machine.apply(index, term, time_ns, commands)
        seen = Applied(term, time_ns, tuple(commands), self._machine.digest(), self._node)
        self._judges.apply(self._node, index, seen, [self._machine.effect(result) for result in results])
        return results

    def digest(self) -> bytes:
        return self._machine.digest()

    def effect(self, result: Any) -> str:
        return self._machine.effect(result)
