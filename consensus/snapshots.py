"""When a node writes a snapshot, how one and the log are brought together at start, and how far the log is trimmed.

Every node takes its own, of what it has applied. The log is trimmed behind the *older* of the two kept ones, so that a
damaged newest one costs a longer replay and nothing else; and never behind what a member still lacks (`held`), because
entries are all that a member can be given.
"""

from __future__ import annotations

import logging

from consensus.config import ReplicaConfig
from consensus.errors import Fatal
from consensus.journal import Base, Journal
from storage.snapshot_store import Header, Snapshot

log = logging.getLogger(__name__)


def line_up(journal: Journal, snapshot: Snapshot | None, cluster: str) -> None:
    """Make the log continue where the state ends that is about to be restored (P11); blocks.

    Raises Fatal if the two together are not all that was acknowledged.
    """
    base = journal.base
    if snapshot is None:
        if base.index:
            raise Fatal(
                f"the log begins behind entry {base.index}, and there is no sound snapshot up to there: the state "
                "cannot be built. Keep the data directory and bring this node back as a new member"
            )
        return
    header = snapshot.header
    if header.cluster != cluster:
        raise Fatal(f"{snapshot.path} is of cluster {header.cluster}, and this node belongs to {cluster}")
    if journal.last_index == 0:
        raise Fatal(
            f"there is {snapshot.path.name} and no log: the log was removed, and with it the votes of this node. Put "
            "it back, or bring this node back as a new member"
        )
    if header.index < base.index:
        raise Fatal(
            f"the newest sound snapshot ends with entry {header.index}, the log begins behind {base.index}: entries in "
            "between are missing. Keep the data directory and bring this node back as a new member"
        )
    if journal.term_at(header.index) != header.term:
        # The log ends before it, or has something else there that never was committed.
        log.warning("the log begins anew behind the snapshot of entry %d", header.index)
        journal.reset_to(Base(header.index, header.term, header.time_ns))
    # It was applied, so it is committed, whatever the last note of the commit index says; nothing may cut it.
    journal.setRaftCommitIndex(header.index)


class Snapshots:
    """The rhythm of one node: what was taken last, whether one is due, where the log may begin."""

    def __init__(self, config: ReplicaConfig, journal: Journal, sound: list[Snapshot]) -> None:
        """`sound`: what is kept, the newest first."""
        self._config = config
        self._journal = journal
        self._indexes = [snapshot.header.index for snapshot in sound]
        self._position = journal.end_position  # of the log when the newest one was taken, as far as this process knows
        self._told = False

    def due(self, applied: int) -> bool:
        """Whether the log has grown enough since the last one."""
        grown = applied - max(self._indexes, default=0)
        size = self._journal.end_position - self._position
        return grown > 0 and (grown >= self._config.snapshot_entries or size >= self._config.snapshot_bytes)

    def begun(self) -> None:
        """One is being written; also if it fails, the next one waits for as much growth in bytes."""
        self._position = self._journal.end_position

    def stored(self, snapshot: Snapshot) -> None:
        """One more is durable and was read back."""
        self._indexes = [snapshot.header.index, *self._indexes[:1]]

    def trim_to(self, held: int) -> int:
        """The index up to which the log may be dropped; `held`: up to which every member has it on its disk."""
        if len(self._indexes) < 2:
            return 0
        covered = self._indexes[1] - self._config.log_entries_kept
        lacking = covered - held
        if lacking > self._config.log_entries_max:
            if not self._told:
                log.error(
                    "%d entries of the log are kept only because a member lacks them (or was not heard since this "
                    "leader leads); start it, or remove it from the cluster before the disk is full",
                    lacking,
                )
            self._told = True
        else:
            self._told = False
        return min(covered, held)


def header_of(config: ReplicaConfig, index: int, term: int, time_ns: int, digest: bytes) -> Header:
    """What a snapshot of this node that is taken now says of itself."""
    return Header(config.cluster, index, term, time_ns, digest.hex(), tuple(sorted(m.name for m in config.members)))
