"""Everything that is made from applied entries for people who listen.

`node.app` calls `observe` right after each apply, on every node and from the start of the log, also while nobody
listens: the numbers of the streams are functions of the log. It costs O(events) then.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from api.ws.channels import Market
from api.ws.private import PrivateStreams
from node.exchange.events import Event, RolesChanged, TokensRevoked, UserStatusChanged
from node.exchange.machine import Machine

log = logging.getLogger(__name__)

DIGESTS_KEPT_MAX: Final = 16_384  # state hashes by log index, for the receipts of repeated requests


class Socket(Protocol):
    """An open WebSocket, as the hub sees it."""

    @property
    def user_id(self) -> str | None: ...

    def revoked(self) -> None:
        """The user's tokens of before are dead."""
        ...

    def leadership_lost(self) -> None: ...

    def going_away(self) -> None: ...

    def broken(self) -> None:
        """What it was told may have a hole."""
        ...


# The events after which every older token of the user is dead.
REVOKING: Final = frozenset((TokensRevoked, RolesChanged, UserStatusChanged))


class Hub:
    """The fan-out of one node."""

    def __init__(self, machine: Machine) -> None:
        self.private = PrivateStreams(machine)
        self.market = Market(machine)
        self.sockets: dict[Socket, None] = {}
        self._digests: dict[int, bytes] = {}

    def observe(self, index: int, time_ns: int, digest: bytes, results: Sequence[Sequence[Event]]) -> None:
        """One applied entry: its index, time, the state hash after it, and the events of each command."""
        digests = self._digests
        digests[index] = digest
        if len(digests) > DIGESTS_KEPT_MAX:
            del digests[next(iter(digests))]
        events = [event for events in results for event in events]
        try:
            self.private.observe(index, time_ns, events)
            self.market.observe(index, time_ns, events)
            for event in events:
                if type(event) in REVOKING:
                    self._revoke(event.user_id)  # type: ignore[attr-defined]
        except Exception:  # this runs inside `apply`, where an error would stop every node of the cluster
            log.exception("entry %d was not published in full; its streams have a hole", index)
            self._abandon_sockets()

    def digests(self) -> dict[int, bytes]:
        """The state hashes that are kept, by log index, the oldest first."""
        return dict(self._digests)

    def restore(self, event_seqs: Mapping[str, int], versions: Mapping[str, int], digests: Mapping[int, bytes]) -> None:
        """Go on where another hub was, before anybody listens and anything is observed."""
        self.private.restore(event_seqs)
        self.market.restore(versions)
        self._digests = dict(digests)

    def digest_at(self, index: int) -> bytes | None:
        """The state hash after an entry, if it is recent enough."""
        return self._digests.get(index)

    def leadership_lost(self) -> None:
        """Send every socket to the new leader."""
        for socket in tuple(self.sockets):
            socket.leadership_lost()

    def close(self) -> None:
        """The node stops: say so to every socket."""
        for socket in tuple(self.sockets):
            socket.going_away()

    def _abandon_sockets(self) -> None:
        for socket in tuple(self.sockets):
            socket.broken()

    def _revoke(self, user_id: str) -> None:
        for socket in tuple(self.sockets):
            if socket.user_id == user_id:
                socket.revoked()
