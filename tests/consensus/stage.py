"""A cluster driven by hand, for tests of one situation: every step, sync and delivery is the caller's.

Links are FIFO and may be cut; frames in flight are then lost. A restart is a power loss that keeps nothing but what was
synced. `world` runs whole schedules.
"""

from __future__ import annotations

import random
from collections import defaultdict, deque
from pathlib import Path
from typing import Any

from chaos.sim.clock import Clock, use
from chaos.sim.machines import Chain
from chaos.sim.node import SimNode
from consensus.config import ReplicaConfig
from consensus.ports import Member

HEARTBEAT_MS, ELECTION_MIN_MS, ELECTION_MAX_MS = 30, 150, 300
SEGMENT_BYTES = 8192  # small, so that every schedule sees full segments


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
        use(self.clock)
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
        clock = self.clock
        return SimNode(
            config,
            Chain(),
            now=clock,
            clock_ns=lambda: int(clock() * 1e9),
            rng=random.Random(self._starts),
            segment_bytes=SEGMENT_BYTES,
        )

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
                self.queues[name, peer.member.name].extend(node.take_frames(peer))
                node.core.transport.drained(peer)

    def deliver(self, source: str, target: str, count: int) -> None:
        queue = self.queues[source, target]
        transport = self.nodes[target].core.transport
        while count > 0 and queue:
            count -= 1
            transport.receive(transport.peers[source], queue.popleft())

    def leaders(self) -> list[SimNode]:
        return [node for node in self.nodes.values() if node.core.raft.is_leader]

    def turn(self, seconds: float, *, without: SimNode | None = None) -> None:
        """Let time pass, and every node (but one) take a turn with a prompt disk; what they send waits in `queues`."""
        self.clock.seconds += seconds
        for node in self.nodes.values():
            if node is not without:
                node.step()
                node.start_sync()
                node.finish_sync()
        self.collect()

    def run_calmly(self, seconds: float) -> None:
        """Let everything flow, all links up and the disks prompt."""
        end = self.clock.seconds + seconds
        while self.clock.seconds < end:
            self.turn(0.005)
            for source, target in list(self.queues):
                self.deliver(source, target, 1 << 30)
            self.collect()

    def close(self) -> None:
        for node in self.nodes.values():
            node.journal.abandon()
