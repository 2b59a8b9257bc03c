"""One node as its machine runs it: the pump of `consensus.replica`, its sync thread, its pauses, its deaths."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal

from chaos.sim.judges import Judges
from chaos.sim.machines import SimulatedMachine
from chaos.sim.network import Network
from chaos.sim.node import SimNode
from chaos.sim.timeline import Timeline
from consensus import wire
from consensus.config import ReplicaConfig
from consensus.errors import Fatal
from consensus.ports import Role
from consensus.replica import STALL_S
from storage.errors import StorageError
from storage.wal import SyncJob

WALL_BASE_NS = 1_795_399_200 * 10**9  # Monday, 2026-11-23 10:00 in Shanghai
SEGMENT_BYTES = 64 * 1024  # small, so that runs of seconds see rotations
TURN_S = 20e-6  # the time between two turns of a pump that has something to do, at least

CrashPoint = Literal["before the sync", "before sending", "after the sync"]
Trace = Callable[[str, str], None]  # node, event


class Process:
    """What runs on one machine: nothing, or one node."""

    def __init__(
        self,
        config: ReplicaConfig,
        machine: Callable[[], SimulatedMachine],
        timeline: Timeline,
        network: Network,
        judges: Judges,
        rng: random.Random,
        trace: Trace | None,
    ) -> None:
        self.name = config.node
        self.node: SimNode | None = None
        self.run = 0  # counts the starts and ends: events of an earlier life are void
        self.paused = False
        self.ruined = False  # its disk is damaged: it must not come back
        self.wall_offset_ns = 0
        self.sync_s = 0.001  # how long a sync takes, about
        self.crash_point: CrashPoint | None = None
        self._config = config
        self._machine = machine
        self._timeline = timeline
        self._network = network
        self._judges = judges
        self._rng = rng
        self.trace = trace
        self._due = 0.0
        self._turn_at: float | None = None
        self._backlog: deque[Callable[[], None]] = deque()  # what waits in the kernel for a process that is paused
        self.on_death: Callable[[Process], None] = lambda process: None

    @property
    def root(self) -> Path:
        return self._config.data_dir

    @property
    def quorum(self) -> int:
        return self._config.quorum

    # Its life.

    def start(self) -> None:
        assert self.node is None
        self.run += 1
        self.paused = False
        clock = self._timeline.clock
        self._backlog.clear()
        self._turn_at = None
        try:
            node = SimNode(
                self._config,
                self._judges.observed(self.name, self._machine()),
                now=clock,
                clock_ns=lambda: WALL_BASE_NS + int(clock() * 1e9) + self.wall_offset_ns,
                rng=random.Random(self._rng.getrandbits(64)),
                wake=partial(self._wake, self.run),
                segment_bytes=SEGMENT_BYTES,
            )
        except (Fatal, StorageError) as error:
            self._say(f"does not start: {error}")
            self._judges.refused_to_start(self.name, str(error), self.ruined)
            return
        self.node = node
        self._say(f"starts: term {node.core.raft.term}, log to {node.journal.last_index}")
        self._judges.started(self.name, self.ruined)
        node.core.add_role_listener(self._on_role)
        self._due = clock()
        self._network.started(self.name)
        self._schedule(self._due)

    def kill(self) -> None:
        """SIGKILL: the page cache survives, and the kernel closes the connections."""
        if self.node is not None:
            self._say("is killed")
            self.node.crash()
            self._gone(silent=False)

    def power_off(self, rng: random.Random | None, *, flip_bit: bool = False) -> None:
        """The machine goes dark: what was not synced may be lost, and nobody is told."""
        if self.node is None:
            return
        if flip_bit and (where := self.node.flip_bit(self._rng)) is not None:
            self.ruined = True
            self._say(f"loses {where}")
        self._say(f"loses power: {self.node.power_off(rng)}")
        self._gone(silent=True)

    def _die(self, error: BaseException) -> None:
        """The node stopped itself."""
        assert self.node is not None
        self._say(f"stops: {error}")
        node = self.node
        node.core.stop()
        node.crash()
        self._gone(silent=False)
        self._judges.died(self.name, str(error))
        self.on_death(self)

    def _gone(self, silent: bool) -> None:
        self.node = None
        self.run += 1
        self.paused = False
        self.crash_point = None
        self._backlog.clear()
        self._network.stopped(self.name, silent)

    def pause(self) -> None:
        if self.node is not None and not self.paused:
            self.paused = True
            self._say("is paused")

    def resume(self) -> None:
        if self.node is None or not self.paused:
            return
        self.paused = False
        self._say(f"goes on, with {len(self._backlog)} things waiting")
        # The readers and the pump become runnable together, in any order.
        self._drain(self._rng.randint(0, len(self._backlog)))
        self._turn_at = None
        self._schedule(self._timeline.now)

    # The pump.

    def _wake(self, run: int) -> None:
        if run == self.run:
            self._schedule(self._timeline.now + TURN_S)

    def _schedule(self, when: float) -> None:
        when = max(when, self._timeline.now + TURN_S)
        if self._turn_at is None or when < self._turn_at:
            self._turn_at = when
            self._timeline.at(when, partial(self._turn, self.run, when))

    def _turn(self, run: int, when: float) -> None:
        if run != self.run or self.node is None or self.paused or when != self._turn_at:
            return
        self._turn_at = None
        late = self._timeline.clock() - self._due
        core = self.node.core
        if late > STALL_S:
            core.stalled(late)
        self._drain(len(self._backlog))
        self._guard(self._run_turn)

    def _run_turn(self) -> None:
        node = self.node
        if node is None:
            return
        node.step()
        if self._crashes("before the sync"):
            return
        self._kick()
        if self._crashes("before sending"):
            return
        self._network.collect(self)
        self._due = node.core.next_step()
        self._schedule(self._due)

    def _kick(self) -> None:
        if self.node is not None and self.node.start_sync():
            self._timeline.after(self._sync_time(), partial(self._synced, self.run))

    def _sync_time(self) -> float:
        return self.sync_s * (0.5 + self._rng.expovariate(2.0))

    def _synced(self, run: int) -> None:
        if run == self.run and self.node is not None:
            self._guard(self._complete_sync)

    def _complete_sync(self) -> None:
        assert self.node is not None
        job = self.node.complete_sync()
        if job is not None:
            self.post(partial(self._report, job))

    def _report(self, job: SyncJob) -> None:
        node = self.node
        assert node is not None
        if self._crashes("after the sync"):
            return
        node.core.synced(job)
        self._network.collect(self)
        self._kick()

    def _crashes(self, point: CrashPoint) -> bool:
        if self.crash_point != point:
            return False
        self._say(f"crashes {point}")
        self.kill()
        self.on_death(self)
        return True

    # What comes from outside.

    def post(self, happening: Callable[[], None]) -> None:
        """Now, or when the process goes on."""
        if self.paused:
            self._backlog.append(happening)
        elif self.node is not None:
            self._guard(happening)

    def frame_arrived(self, sender: str, frame: bytes) -> None:
        self.post(partial(self._receive, sender, frame))

    def _receive(self, sender: str, frame: bytes) -> None:
        assert self.node is not None
        if self.trace is not None:
            self._say(f"← {sender} {describe(frame)}")
        self.node.receive(sender, frame)

    def link_changed(self, other: str, *, outgoing: bool | None = None, incoming: bool | None = None) -> None:
        self.post(partial(self._link_changed, other, outgoing, incoming))

    def _link_changed(self, other: str, outgoing: bool | None, incoming: bool | None) -> None:
        assert self.node is not None
        if self.trace is not None:
            arrow, up = ("→", outgoing) if outgoing is not None else ("←", incoming)
            self._say(f"link {arrow} {other} {'up' if up else 'closed'}")
        transport = self.node.core.transport
        transport.link_changed(transport.peers[other], outgoing=outgoing, incoming=incoming)

    def flush_soon(self) -> None:
        """The link takes more: what waits is written without a turn, as `_Outgoing.write_rest` does."""
        if not self.paused:
            self._guard(partial(self._network.collect, self))

    def _drain(self, count: int) -> None:
        for _ in range(count):
            if self._backlog:
                self._guard(self._backlog.popleft())

    def _guard(self, action: Callable[[], None]) -> None:
        if self.node is None:
            return
        try:
            action()
        except (Fatal, StorageError) as error:
            self._die(error)
        except wire.MalformedFrame as error:
            self._judges.malformed(self.name, str(error))

    def _on_role(self, role: Role, leader: str | None, term: int) -> None:
        self._say(f"{role} of term {term}, leader {leader or 'unknown'}")
        if role == "leader":
            self._judges.leads(self.name, term)

    def _say(self, event: str) -> None:
        if self.trace is not None:
            self.trace(self.name, event)


def describe(frame: bytes) -> str:
    """One frame for the trace."""
    term, sequence, message = wire.decode(frame)
    kind = message.pop("type")
    if "entries" in message:
        message["entries"] = len(message["entries"])
    facts = " ".join(f"{key}={value}" for key, value in message.items() if key != "term" or value != term)
    return f"{kind} term={term} #{sequence} {facts}".rstrip()
