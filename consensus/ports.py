"""What consensus asks of its user, and what it shows of itself.

The rest of the system sees consensus through these types and `consensus.replica` only. Consensus never looks
inside a command: it carries bytes, in order, once, and hands back whatever the state machine answered.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

Role = Literal["leader", "follower", "candidate"]
ReadBasis = Literal["lease", "barrier"]  # why a read was linearizable: `consensus.lease`, `consensus.reads`


class StateMachine(Protocol):
    """The replicated state machine. `apply` is deterministic, synchronous and total."""

    def apply(self, index: int, term: int, time_ns: int, commands: Sequence[bytes]) -> Sequence[Any]:
        """Apply one committed entry and return one result per command, in order.

        `index` strictly increases, `time_ns` strictly increases (leader-stamped). An exception is a bug: the node
        stops with it (an entry that failed half-way must never be retried).
        """
        ...

    def digest(self) -> bytes:
        """The chained state hash (32 bytes) after the last applied entry."""
        ...

    async def snapshot(self, fd: int) -> None:
        """Write the whole state to `fd`, as it was when this was called: entries are applied while it is written.

        What it needs of the state it takes before its first checkpoint. An exception means that there is no snapshot,
        and is no reason to stop.
        """
        ...

    def restore(self, chunks: Iterable[bytes]) -> None:
        """Take the state that `snapshot` wrote. Called at most once, before the first `apply`, in another thread.

        An exception stops the node: what was read was checked before.
        """
        ...


@dataclass(frozen=True, slots=True)
class Receipt:
    """Proof that a command was committed on a majority and applied here."""

    index: int
    term: int
    time_ns: int
    digest: bytes  # the chained hash after the whole entry
    result: Any  # what `StateMachine.apply` returned for this command


@dataclass(frozen=True, slots=True)
class Member:
    """One voting node of the cluster: its name, its Raft address and the URL of its front door."""

    name: str
    host: str
    port: int
    api_url: str


@dataclass(frozen=True, slots=True)
class PeerStatus:
    """How this node sees one other member."""

    name: str
    connected: bool  # our outgoing link is up
    heard_ms: float | None  # since its last frame; None: never heard
    match_index: int | None  # leader only: durable there


@dataclass(frozen=True, slots=True)
class ReplicaStatus:
    """A snapshot of one replica. Latencies are None until something was measured."""

    node: str
    role: Role
    term: int
    leader: str | None
    last_index: int
    durable_index: int
    commit_index: int
    applied_index: int
    digest: bytes
    members: tuple[Member, ...]
    peers: tuple[PeerStatus, ...]
    quorum: int  # members needed for a majority
    reachable: int  # members (this one included) heard from within an election timeout
    can_commit: bool  # leader with a live majority, own-term entry applied
    waiting: int  # commands accepted and not yet resolved
    commands_applied: int  # since this process started, the replay of the log not counted
    commit_p50_ms: float | None  # submission to apply, last few thousand commands, leader only
    commit_p99_ms: float | None
    loop_lag_ms: float | None  # longest recent delay of the pump timer
