"""The exchange as one state machine: `apply` takes a committed entry and returns what happened.

`apply` is a function of (state, entry). It is total: a business refusal is a CommandRejected event; an exception is a
bug or a damaged log, and the node stops with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from typing import Final

from node.exchange import (
    accounts,
    administration,
    announcements,
    liquidation,
    listing,
    monitor,
    sessions,
    settlement,
    snapshot,
    timers,
    trading,
    triggers,
)
from node.exchange.codec import decode_command, encode_applied
from node.exchange.events import CommandRejected, Event
from node.exchange.rejects import Refused
from node.exchange.state import Handlers, State
from node.exchange.types import DETAIL_MAX

HANDLERS: Final[Handlers] = {
    **administration.HANDLERS,
    **accounts.HANDLERS,
    **listing.HANDLERS,
    **sessions.HANDLERS,
    **timers.HANDLERS,
    **trading.HANDLERS,
    **triggers.HANDLERS,
    **monitor.HANDLERS,
    **liquidation.HANDLERS,
    **settlement.HANDLERS,
    **announcements.HANDLERS,
}


class Machine(State):
    """The state, and the one way to change it."""

    def __init__(self) -> None:
        super().__init__(triggers.Triggers(), monitor.Monitor(), liquidation.Liquidations(), settlement.Settlements())
        self._digest = bytes(32)

    def apply(self, index: int, time_ns: int, commands: Sequence[bytes]) -> list[list[Event]]:
        """Apply one committed entry; returns one list of events per command, the first of each being its answer.

        `index` and `time_ns` (leader-stamped) are above those of the entry before. Raises CodecError on bytes that are
        no command of this version: a damaged log or a wrong version, for which the node must stop.
        """
        assert index > self.index, (index, self.index)
        assert time_ns > self.time_ns, (time_ns, self.time_ns)
        self.index = index
        self.time_ns = time_ns
        handlers = HANDLERS
        moved = self.matcher.moved
        settlements = self.settlements
        results: list[list[Event]] = []
        for raw in commands:
            events: list[Event] = []
            command = decode_command(raw)
            try:
                if settlements.running is not None:
                    settlement.check_halted(self, command)
                handlers[type(command)](self, command, raw, events)
            except Refused as refused:
                assert not events, "a refused command must not have happened"
                events.append(
                    CommandRejected(
                        refused.reject.code,
                        refused.detail[:DETAIL_MAX],
                        getattr(command, "account_id", ""),
                        getattr(command, "client_order_id", ""),
                    )
                )
            if moved:
                triggers.fire(self, events)
            results.append(events)
        applied = encode_applied(index, time_ns, commands, results)
        self._digest = blake2b(self._digest + applied, digest_size=32).digest()
        return results

    def digest(self) -> bytes:
        """The chained state hash: h[n] = H(h[n-1], entry, events), 32 bytes."""
        return self._digest

    def snapshot(self) -> Iterator[bytes]:
        """The whole state in chunks of bounded size; nothing may be applied before the last one (`snapshot`)."""
        return snapshot.take(self)

    @classmethod
    def restore(cls, chunks: Iterable[bytes]) -> Machine:
        """The machine whose `snapshot` this is. Raises SnapshotError, and then there is none."""
        machine = cls()
        snapshot.restore(machine, chunks)
        return machine
