"""Who leads, as this node knows it, and what a node that does not lead answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import trio

from api.errors import ApiError, from_consensus
from api.ports import ReplicaPort
from consensus.errors import ConsensusError, NoQuorum, NotLeader
from consensus.ports import Role

ELECTION_S: Final = (
    0.3  # how long a socket is kept waiting while nobody is known to lead: most elections are over by then
)


class Leadership:
    """Follows the replica's role. `on_lost` callbacks run on the trio thread when this node stops leading."""

    def __init__(self, node: str, replica: ReplicaPort) -> None:
        self._node = node
        self._replica = replica
        status = replica.status()
        self.role: Role = status.role
        self.leader: str | None = status.leader
        self.term = status.term
        self._on_lost: list[Callable[[], None]] = []
        self._elected = trio.Event()  # set, and replaced, when somebody is known to lead
        replica.add_role_listener(self._changed)

    @property
    def leads(self) -> bool:
        return self.role == "leader"

    def on_lost(self, callback: Callable[[], None]) -> None:
        self._on_lost.append(callback)

    def _changed(self, role: Role, leader: str | None, term: int) -> None:
        led, lead_term = self.leads, self.term
        self.role, self.leader, self.term = role, leader, term
        if leader is not None:
            self._elected.set()
            self._elected = trio.Event()
        if led and (role != "leader" or term != lead_term):
            for callback in self._on_lost:
                callback()

    def url(self, node: str) -> str | None:
        """Where a member's front door is."""
        for member in self._replica.status().members:
            if member.name == node:
                return member.api_url
        return None

    def body(self) -> dict[str, str] | None:
        """{id, url} of the leader; None while nobody is known to lead."""
        return self._hint(self.leader)

    def _hint(self, leader: str | None) -> dict[str, str] | None:
        url = None if leader is None else self.url(leader)
        return {"id": leader, "url": url} if leader is not None and url is not None else None

    def error(self, error: ConsensusError) -> ApiError:
        """What a client is told. A refusal names the leader of its own moment: it may be newer than what was heard."""
        return from_consensus(error, self._hint(error.leader) if isinstance(error, NotLeader) else self.body())

    async def known(self) -> None:
        """Wait a moment if an election may be going on: a client that is refused now comes back long after its end."""
        if self.leader is None:
            with trio.move_on_after(ELECTION_S):
                await self._elected.wait()

    def require(self) -> None:
        """Raises Unavailable: NOT_LEADER, or NO_QUORUM where this node hears no majority to have a leader with."""
        if self.leads:
            return
        status = self._replica.status()
        if self.leader is None and status.reachable < status.quorum:
            raise self.error(NoQuorum(status.reachable, len(status.members), status.quorum))
        raise self.error(NotLeader(self.leader, self.term))
