"""What one replica needs to know. Times in milliseconds, sizes in bytes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from consensus.ports import Member


@dataclass(frozen=True, slots=True)
class ReplicaConfig:
    """One replica of one cluster. Every member must be given the same `cluster` and `members`.

    The timing defaults are for a process that also runs the front door and shares its cores: at 40 ms a follower
    that is healthy misses seven heartbeats before it may even ask for an election. They do not decide how fast a
    killed leader is replaced: its connections close, and that counts at once. They decide it for a leader that
    is paused or cut off.
    """

    node: str
    cluster: str
    members: tuple[Member, ...]
    data_dir: Path
    heartbeat_ms: int = 40
    election_min_ms: int = 300
    election_max_ms: int = 600
    entry_commands_max: int = 512
    entry_bytes_max: int = 64 * 1024
    command_bytes_max: int = 256 * 1024  # a command above entry_bytes_max stands alone in its entry
    entries_in_flight_max: int = 8
    waiting_max: int = 20_000  # commands admitted and not resolved; beyond it Overloaded
    submit_timeout_ms: int = 2000
    snapshot_entries: int = 100_000  # a snapshot is taken when the log has grown by so many entries
    snapshot_bytes: int = 128 * 1024 * 1024  # or by so many bytes
    log_entries_kept: int = 20_000  # before the older of the two kept snapshots, for members that lag
    log_entries_max: int = 2_000_000  # kept for members that lack them; beyond it the operator is told

    def __post_init__(self) -> None:
        names = [member.name for member in self.members]
        if len(set(names)) != len(names):
            raise ValueError(f"members: a name appears twice in {names}")
        if self.node not in names:
            raise ValueError(f"node: {self.node!r} is not one of the members {names}")
        for name in (*names, self.cluster):
            if not name or len(name.encode()) > 64 or not name.isprintable() or "/" in name:
                raise ValueError(f"a name of 1–64 printable bytes without '/' is needed, not {name!r}")
        if not 0 < self.heartbeat_ms * 4 <= self.election_min_ms < self.election_max_ms:
            raise ValueError(
                f"needed: 4 × heartbeat_ms ({self.heartbeat_ms}) <= election_min_ms ({self.election_min_ms}) "
                f"< election_max_ms ({self.election_max_ms})"
            )
        if not 0 < self.entry_bytes_max <= self.command_bytes_max <= 256 * 1024:
            raise ValueError("needed: 0 < entry_bytes_max <= command_bytes_max <= 262144")
        if not 0 < self.entry_commands_max <= 8192:
            raise ValueError(f"entry_commands_max: 1–8192, not {self.entry_commands_max}")
        if self.log_entries_kept < 0:
            raise ValueError("log_entries_kept must not be negative")
        for name in (
            "entries_in_flight_max",
            "waiting_max",
            "submit_timeout_ms",
            "snapshot_entries",
            "snapshot_bytes",
            "log_entries_max",
        ):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive")

    @property
    def quorum(self) -> int:
        """Members needed for a majority."""
        return len(self.members) // 2 + 1

    @property
    def me(self) -> Member:
        return next(member for member in self.members if member.name == self.node)

    @property
    def others(self) -> tuple[Member, ...]:
        return tuple(member for member in self.members if member.name != self.node)
