"""Cores on a virtual network, clock and disk: every schedule is a function of its seed.

Links are FIFO and may be cut; frames in flight are then lost. The disk drops what was not synced when its node
crashes (power loss). PySyncObj reads its clock from a module variable, which `virtual_time` replaces.
"""

from __future__ import annotations

import os
import random
from collections import defaultdict, deque
from functools import partial
from pathlib import Path
from typing import Any

import pysyncobj.syncobj

from chaos.sim.clock import Clock
from chaos.sim.machines import Chain
from consensus import wire
from consensus.config import ReplicaConfig
from consensus.core import Core
from consensus.errors import ConsensusError
from consensus.journal import Journal
from consensus.ports import Member
from storage.wal import SyncJob

HEARTBEAT_MS, ELECTION_MIN_MS, ELECTION_MAX_MS = 30, 150, 300
SEGMENT_BYTES = 8192  # small, so that every schedule sees full segments


def lose_power(journal: Journal) -> None:
    """Let the log go with what was synced, and nothing else."""
    kept, segments = journal.durable_position, journal._wal.segments
    journal.abandon()
    for segment in segments:
        if segment.path.exists():  # else it still has its temporary name, and is dropped at the start
            os.truncate(segment.path, min(max(0, kept - segment.start), segment.path.stat().st_size))


class SimNode:
    """One core with its disk. `synced_bytes` is what a power loss leaves of the log."""

    def __init__(self, config: ReplicaConfig, clock: Clock, seed: int) -> None:
        self.name = config.node
        self.machine = Chain()
        self.journal = Journal(config.data_dir, f"{config.cluster}/{config.node}", segment_bytes=SEGMENT_BYTES)
        self.core = Core(
            config,
            self.journal,
            self.machine,
            clock_ns=lambda: int(clock() * 1e9),
            rng=random.Random(seed),
            now=clock,
            wake=lambda: None,
        )
        self.job: SyncJob | None = None

    def step(self) -> None:
        self.core.step()

    def start_sync(self) -> None:
        if self.job is None:
            self.job = self.core.begin_sync()

    def finish_sync(self) -> None:
        if self.job is not None:
            job, self.job = self.job, None
            job.run()
            self.core.synced(job)

    def power_off(self) -> None:
        lose_power(self.journal)


class Simulation:
    """A cluster of `names`, linked, under the seed `seed`."""

    def __init__(self, root: Path, seed: int, names: str = "abc", **settings: Any) -> None:
        self.rng = random.Random(seed)
        self.clock = Clock()
        self._root = root
        self._settings = settings
        self._members = tuple(Member(name, "127.0.0.1", 1, "") for name in names)
        self.nodes: dict[str, SimNode] = {}
        self.queues: dict[tuple[str, str], deque[bytes]] = defaultdict(deque)
        self.cut: set[frozenset[str]] = set()
        self._starts = seed * 1000
        pysyncobj.syncobj.monotonicTime = self.clock
        for name in names:
            self.nodes[name] = self._new(name)
        for pair in self.pairs():
            self.link(pair, True)

    def pairs(self) -> list[frozenset[str]]:
        names = [member.name for member in self._members]
        return [frozenset((x, y)) for x in names for y in names if x < y]

    def _new(self, name: str) -> SimNode:
        self._starts += 1
        config = ReplicaConfig(
            name,
            "sim",
            self._members,
            self._root / name,
            heartbeat_ms=HEARTBEAT_MS,
            election_min_ms=ELECTION_MIN_MS,
            election_max_ms=ELECTION_MAX_MS,
            **self._settings,
        )
        return SimNode(config, self.clock, self._starts)

    def link(self, pair: frozenset[str], up: bool) -> None:
        """Bring the links of a pair up, or close them with what is in flight."""
        x, y = sorted(pair)
        for here, there in ((x, y), (y, x)):
            transport = self.nodes[here].core.transport
            transport.link_changed(transport.peers[there], outgoing=up, incoming=up)
            self.queues[here, there].clear()

    def restart(self, name: str) -> None:
        """Power loss of one node, and its restart."""
        for pair in self.pairs():
            if name in pair:
                self.link(pair, False)
        self.nodes[name].power_off()
        self.nodes[name] = self._new(name)
        for pair in self.pairs():
            if name in pair and pair not in self.cut:
                self.link(pair, True)

    def collect(self) -> None:
        """Move what waits in the outboxes onto the network."""
        for name, node in self.nodes.items():
            for peer in node.core.transport.peers.values():
                if not peer.outbox:
                    continue
                data = peer.outbox.take()
                while data:
                    (length,) = wire.LENGTH.unpack_from(data)
                    self.queues[name, peer.member.name].append(data[4 : 4 + length])
                    data = data[4 + length :]
                node.core.transport.drained(peer)

    def deliver(self, source: str, target: str, count: int) -> None:
        queue = self.queues[source, target]
        transport = self.nodes[target].core.transport
        while count > 0 and queue:
            count -= 1
            transport.receive(transport.peers[source], queue.popleft())

    def leaders(self) -> list[SimNode]:
        return [node for node in self.nodes.values() if node.core.raft.is_leader]

    def run_calmly(self, seconds: float) -> None:
        """Let everything flow, all links up and the disks prompt."""
        end = self.clock.seconds + seconds
        while self.clock.seconds < end:
            self.clock.seconds += 0.005
            for node in self.nodes.values():
                node.step()
                node.start_sync()
                node.finish_sync()
            self.collect()
            for source, target in list(self.queues):
                self.deliver(source, target, 1 << 30)
            self.collect()

    def close(self) -> None:
        for node in self.nodes.values():
            node.journal.abandon()


class Violation(AssertionError):
    """The cluster broke a promise."""


class Judge:
    """Watches a simulation: agreement, exactly once, acknowledged survives, one leader per term, fresh reads."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self._agreed: list[bytes] = []
        self._leaders: dict[int, str] = {}
        self.acknowledged: dict[bytes, int] = {}
        self.unknown = 0
        self.reads = 0
        self.lease_reads = 0
        self.transfers = 0
        self._submitted = 0

    def check(self) -> None:
        for name, node in self._simulation.nodes.items():
            commands = node.machine.commands
            common = min(len(commands), len(self._agreed))
            if commands[:common] != self._agreed[:common]:
                raise Violation(f"{name} applied something else than the others")
            self._agreed += commands[common:]
            if node.core.raft.is_leader:
                other = self._leaders.setdefault(node.core.raft.term, name)
                if other != name:
                    raise Violation(f"{name} and {other} both led term {node.core.raft.term}")

    def submit(self, node: SimNode, count: int) -> None:
        for _ in range(count):
            self._submitted += 1
            command = b"%06d" % self._submitted + b"." * 60
            try:
                node.core.propose([command], partial(self._done, command), 2.0)
            except ConsensusError:
                pass

    def _done(self, command: bytes, outcome: Any) -> None:
        if isinstance(outcome, ConsensusError):
            self.unknown += 1
        else:
            self.acknowledged[command] = outcome[0].index

    def read(self, node: SimNode) -> None:
        floor = max(self.acknowledged.values(), default=0)
        at = node.core.read_by_lease()
        if at is not None:
            self.lease_reads += 1
            if at < floor:
                raise Violation(f"a read by lease at {at} missed an acknowledged command at {floor}")

        def done(outcome: int | ConsensusError) -> None:
            if isinstance(outcome, int):
                self.reads += 1
                if outcome < floor:
                    raise Violation(f"a read at {outcome} missed an acknowledged command at {floor}")

        try:
            node.core.read(done)
        except ConsensusError:
            pass

    def transfer(self, node: SimNode) -> None:
        def done(outcome: str | ConsensusError) -> None:
            self.transfers += isinstance(outcome, str)

        try:
            node.core.transfer(None, done, 0.5)
        except ConsensusError:
            pass

    def final(self) -> None:
        """After everything was healed."""
        self.check()
        states = {name: node.machine.commands for name, node in self._simulation.nodes.items()}
        if len({tuple(commands) for commands in states.values()}) != 1:
            raise Violation(f"not converged: { ({name: len(commands) for name, commands in states.items()}) }")
        commands = next(iter(states.values()))
        lost = set(self.acknowledged) - set(commands)
        if lost:
            raise Violation(f"{len(lost)} acknowledged commands are lost")
        if len(set(commands)) != len(commands):
            raise Violation("a command was executed twice")


def fuzz(root: Path, seed: int, names: str = "abc", steps: int = 1200) -> Judge:
    """One random schedule of partial delivery, late syncs, partitions, resets, power losses. Raises Violation."""
    simulation = Simulation(root, seed, names, entry_commands_max=3)
    rng, clock = simulation.rng, simulation.clock
    judge = Judge(simulation)
    try:
        simulation.run_calmly(1.0)
        for _ in range(steps):
            dice = rng.random()
            node = simulation.nodes[rng.choice(names)]
            if dice < 0.30:
                node.step()
            elif dice < 0.62:
                if waiting := [pair for pair, queue in simulation.queues.items() if queue]:
                    simulation.deliver(*rng.choice(waiting), rng.choice((1, 1, 2, 99)))
            elif dice < 0.70:
                node.start_sync()
            elif dice < 0.78:
                node.finish_sync()
            elif dice < 0.84:
                clock.seconds += rng.choice((0.002, 0.01, 0.035, 0.06))
            elif dice < 0.93:
                if leaders := simulation.leaders():
                    judge.submit(rng.choice(leaders), rng.choice((1, 1, 4, 8)))
            elif dice < 0.95:
                if leaders := simulation.leaders():
                    judge.read(rng.choice(leaders))
            elif dice < 0.965:
                pair = rng.choice(simulation.pairs())
                simulation.cut ^= {pair}
                simulation.link(pair, pair not in simulation.cut)
            elif dice < 0.975:
                pair = rng.choice(simulation.pairs())
                if pair not in simulation.cut:
                    simulation.link(pair, False)
                    simulation.link(pair, True)
            elif dice < 0.985:
                simulation.restart(node.name)
            elif dice < 0.99:  # noqa: SIM102 (as its siblings)
                if leaders := simulation.leaders():
                    judge.transfer(rng.choice(leaders))
                    simulation.run_calmly(rng.choice((0.0, 0.01, 0.03)))  # else hardly one comes to its end
            simulation.collect()
            judge.check()
        for pair in list(simulation.cut):
            simulation.link(pair, True)
        simulation.cut.clear()
        simulation.run_calmly(2.5)
        judge.final()
    finally:
        simulation.close()
    return judge
