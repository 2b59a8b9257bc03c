"""One simulated process: a core over its journal on the virtual disk, called in the order of `consensus.replica`."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from chaos.sim import disk
from chaos.sim.disk import Marks
from consensus import wire
from consensus.config import ReplicaConfig
from consensus.core import Core
from consensus.journal import Journal
from consensus.transport import Peer
from storage.wal import SEGMENT_BYTES, SyncJob


class SimNode:
    """The core of one node from its start to its end. Whoever drives it decides when anything happens."""

    def __init__(
        self,
        config: ReplicaConfig,
        machine: Any,
        *,
        now: Callable[[], float],
        clock_ns: Callable[[], int],
        rng: random.Random,
        wake: Callable[[], None] = lambda: None,
        segment_bytes: int = SEGMENT_BYTES,
    ) -> None:
        """Opens the log and replays it. Raises what `Journal` raises; Fatal."""
        self.name = config.node
        self.machine = machine
        self.config = config
        self._disk = disk.installed()
        self.journal = Journal(config.data_dir / "raft", f"{config.cluster}/{config.node}", segment_bytes=segment_bytes)
        try:
            self.core = Core(config, self.journal, machine, clock_ns=clock_ns, rng=rng, now=now, wake=wake)
        except BaseException:
            self.journal.abandon()
            raise
        self._sync: tuple[SyncJob, Marks] | None = None  # at most one is on its way, as in `Flusher`

    def step(self) -> None:
        self.core.step()

    def start_sync(self) -> bool:
        """Returns whether a sync was begun now."""
        if self._sync is not None or (job := self.core.begin_sync()) is None:
            return False
        self._sync = (job, self._disk.marks(self.config.data_dir))
        return True

    def complete_sync(self) -> SyncJob | None:
        """The disk is done with what was begun; the process does not know yet. Raises WriteFailed."""
        if self._sync is None:
            return None
        job, marks = self._sync
        with self._disk.as_of(marks):
            job.run()
        self._sync = None
        return job

    def finish_sync(self) -> None:
        """The sync that was begun is done, and the process is told."""
        if (job := self.complete_sync()) is not None:
            self.core.synced(job)

    def receive(self, sender: str, frame: bytes) -> None:
        transport = self.core.transport
        transport.receive(transport.peers[sender], frame)

    def take_frames(self, peer: Peer) -> list[bytes]:
        """What waits for one peer, without the lengths in front."""
        data, frames = peer.outbox.take(), []
        start = 0
        while start < len(data):
            (length,) = wire.LENGTH.unpack_from(data, start)
            start += wire.LENGTH.size
            frames.append(data[start : start + length])
            start += length
        return frames

    def crash(self) -> None:
        """The process is killed: what it had handed to the kernel stays."""
        self.journal.abandon()

    def power_off(self, rng: random.Random | None = None) -> str:
        """The machine loses power. Returns what was lost (`Disk.power_loss`)."""
        self.journal.abandon()
        return self._disk.power_loss(self.config.data_dir, rng)

    def flip_bit(self, rng: random.Random) -> str | None:
        """Damage what is durable. Returns what was damaged; None if nothing is durable yet."""
        return self._disk.flip_bit(self.config.data_dir, rng)
