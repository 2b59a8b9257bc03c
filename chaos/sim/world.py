"""One run: a cluster, its clients and its faults, all of it a function of the seed.

    prologue (calm) → faults → everything heals → the cluster must converge within `CONVERGE_S` → the judges look at it

`simulate` must be called inside `clock.virtual_time`.
"""

from __future__ import annotations

import random
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from chaos.sim import clock, disk
from chaos.sim.clock import Clock
from chaos.sim.judges import Judges, Violation
from chaos.sim.machines import Chain, Exchange, SimulatedMachine
from chaos.sim.nemesis import Nemesis
from chaos.sim.network import Network
from chaos.sim.process import Process
from chaos.sim.timeline import Timeline
from chaos.sim.workload import Auditor, Client, Orders, Requests, Texts
from consensus.config import ReplicaConfig
from consensus.ports import Member

Kind = Literal["exchange", "chain"]

PROLOGUE_S: Final = 20.0  # the first leader and the prologue must be there within this
CONVERGE_S: Final = 15.0  # after everything healed
CLIENTS: Final = 4
LOOK_S: Final = 0.05
TIMING: Final = {"heartbeat_ms": 30, "election_min_ms": 150, "election_max_ms": 300}
_MACHINES: Final[dict[Kind, tuple[Callable[[], SimulatedMachine], Callable[[], Requests]]]] = {
    "exchange": (Exchange, Orders),
    "chain": (Chain, Texts),
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one run showed."""

    seed: int
    violation: str | None
    simulated_s: float
    acknowledged: int
    reads: int
    terms: int
    faults: dict[str, int]


@dataclass(frozen=True, slots=True)
class Settings:
    """What is the same for all seeds."""

    nodes: int = 3
    seconds: float = 6.0  # of faults
    kind: Kind = "exchange"


def simulate(seed: int, settings: Settings, trace: Callable[[float, str, str], None] | None = None) -> Verdict:
    """Run one seed to its verdict. `trace` is called with the time, the node (`*` for all) and the event."""
    shared = Path("/dev/shm")  # noqa: S108 - memory, where there is some: the files live for seconds
    root = Path(tempfile.mkdtemp(prefix="qaexchange-sim-", dir=shared if shared.is_dir() else None))
    world = World(root, seed, settings, trace)
    violation = None
    try:
        world.run()
    except Violation as error:
        violation = world.shorten(str(error))
        world.say("*", f"VIOLATION {violation}")
    finally:
        world.close()
        shutil.rmtree(root)
    return world.verdict(violation)


class World:
    """The cluster of one run, and whatever acts on it."""

    def __init__(
        self, root: Path, seed: int, settings: Settings, trace: Callable[[float, str, str], None] | None
    ) -> None:
        self._seed = seed
        self._root = root
        self._settings = settings
        self._trace = trace
        self.timeline = Timeline(Clock())
        self._began = self.timeline.now
        self.judges = Judges()
        clock.use(self.timeline.clock)
        names = [f"n{number}" for number in range(1, settings.nodes + 1)]
        members = tuple(Member(name, "127.0.0.1", 1, "") for name in names)
        machine, requests = _MACHINES[settings.kind]
        self.network = Network(self.timeline, self._rng("network"))
        say = None if trace is None else self.say
        self.processes = [
            Process(
                ReplicaConfig(name, "sim", members, root / name, entry_commands_max=4, **TIMING),
                machine,
                self.timeline,
                self.network,
                self.judges,
                self._rng(name),
                say,
            )
            for name in names
        ]
        self.network.attach({process.name: process for process in self.processes})
        self.nemesis = Nemesis(
            self.processes, self.timeline, self.network, disk.installed(), self.judges, self._rng("nemesis"), say
        )
        pause_s = self._rng("pace").choice((0.01, 0.03, 0.1))
        self._requests = requests()
        self.clients = [
            Client(
                number,
                self._requests,
                self.processes,
                self.timeline,
                self.judges,
                self._rng(f"client{number}"),
                pause_s,
            )
            for number in range(CLIENTS)
        ]

        self.auditor = Auditor(self.processes, self.timeline, self.judges)

    def _rng(self, name: str) -> random.Random:
        """A stream of its own for each part, so that a change of one does not shift the others."""
        return random.Random(f"{self._seed}/{name}")

    def say(self, node: str, event: str) -> None:
        if self._trace is not None:
            self._trace(self.timeline.now - self._began, node, self.shorten(event))

    def shorten(self, text: str) -> str:
        """`text` without the name of the scratch directory, which is another one in each run."""
        return text.replace(f"{self._root}/", "")

    def run(self) -> None:
        """Raises Violation."""
        for process in self.processes:
            process.start()
        first, *others = self.clients
        first.begin(self._requests.prologue())
        self._until(lambda: first.idle, PROLOGUE_S, "the prologue was not committed")
        for client in others:
            client.begin()
        self.auditor.look()
        self.nemesis.begin()
        self.timeline.run_until(self.timeline.now + self._settings.seconds)
        self.nemesis.end()
        completed = [client.completed for client in self.clients]
        self._until(
            lambda: all(client.completed > count for client, count in zip(self.clients, completed, strict=True)),
            CONVERGE_S,
            "after everything healed, a client was never answered",
        )
        for client in self.clients:
            client.stopped = True
        self.auditor.stopped = True
        self._until(self._converged, CONVERGE_S, "after everything healed, the nodes did not come to one state")
        self.judges.final([process for process in self.processes if not process.ruined])

    def _until(self, condition: Callable[[], bool], within_s: float, otherwise: str) -> None:
        end = self.timeline.now + within_s
        while not condition():
            if self.timeline.now >= end:
                raise Violation(f"{otherwise} within {within_s:g} s")
            self.timeline.run_until(self.timeline.now + LOOK_S)

    def _converged(self) -> bool:
        nodes = [process.node for process in self.processes if not process.ruined]
        if any(client.idle is False for client in self.clients):
            return False
        seen = {None if node is None else (node.core.raft.raftLastApplied, node.journal.last_index) for node in nodes}
        return len(seen) == 1 and all(applied == last for applied, last in (pair or (0, -1) for pair in seen))

    def verdict(self, violation: str | None) -> Verdict:
        return Verdict(
            self._seed,
            violation,
            self.timeline.now - self._began,
            self.judges.acknowledgements,
            self.judges.reads,
            self.judges.terms,
            dict(self.nemesis.faults),
        )

    def close(self) -> None:
        for process in self.processes:
            if process.node is not None:
                process.node.crash()
