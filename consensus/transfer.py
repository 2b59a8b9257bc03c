"""The planned transfer of leadership (Ongaro's thesis, section 3.10).

    approach   the target is sent what it lacks; submissions go on as usual
    hold       it lacks next to nothing: submissions are admitted and wait, and what was logged gets its receipts
    hand over  everything is durable on the target: the lease is given up, and TIMEOUT_NOW sent until the target's
               campaign deposes this leader, or the time is up and it resumes

Whatever waited in `hold` and later was never logged: it is refused with the coming leader's name, or goes on here if
the transfer comes to nothing.

A TIMEOUT_NOW may be under way when this leader resumes. It is void for the target once that has heard a later append
(`Transport._on_timeout_now`), so the lease stays given up until the target answers one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from consensus.errors import ConsensusError, TransferFailed, TransferRefused
from consensus.transport import Peer, Transport

TransferDone = Callable[[str | ConsensusError], None]

BEHIND_MAX = 5_000  # entries; a target that lacks more is refused rather than waited for
_HOLD_BELOW = 64  # entries that the target lacks when submissions begin to wait
_ELECTION_S = 0.3  # after stepping down: how long those who wait here are kept until a new leader is heard


@dataclass(slots=True)
class _Running:
    target: Peer
    term: int  # of the leadership that is handed over
    deadline: float
    done: TransferDone
    repeat_at: float | None = None  # when TIMEOUT_NOW is sent (again); None before the hand-over
    phase: str = "its catching up"  # that would not have ended if the time were up now
    deposed_at: float | None = None


class Transfers:
    """The transfer that this node may be carrying out, one at a time."""

    def __init__(self, node: str, transport: Transport, repeat_s: float, heard_within_s: float) -> None:
        """TIMEOUT_NOW is repeated after `repeat_s`; a target must have been heard within `heard_within_s`."""
        self._node = node
        self._transport = transport
        self._repeat_s = repeat_s
        self._heard_within_s = heard_within_s
        self._running: _Running | None = None
        # Who was sent a TIMEOUT_NOW that may still be under way: in which term, and the newest request by then.
        self._asked: dict[str, tuple[int, int]] = {}
        self.holding = False  # nothing may be logged

    def begin(
        self, target: str | None, done: TransferDone, now: float, timeout_s: float, term: int, last_index: int
    ) -> None:
        """Start on a leader that can commit; `done` is called once, with the name of who leads then or the error.

        Raises TransferRefused with nothing changed.
        """
        if self._running is not None:
            raise TransferRefused(f"a transfer to {self._running.target.member.name} is under way; wait for its end")
        peer = self._choose(now) if target is None else self._named(target, now)
        behind = last_index - peer.progress.acked
        if behind > BEHIND_MAX:
            raise TransferRefused(
                f"{peer.member.name} lacks {behind} of {last_index} entries, more than {BEHIND_MAX}; let it catch up "
                "first (`qaexchange status` shows the lag)"
            )
        self._running = _Running(peer, term, now + timeout_s, done)

    def _named(self, target: str, now: float) -> Peer:
        if target == self._node:
            raise TransferRefused(f"{target} leads already")
        peer = self._transport.peers.get(target)
        if peer is None:
            raise TransferRefused(f"{target!r} is no member; the others are {', '.join(sorted(self._transport.peers))}")
        if not self._connected(peer, now):
            raise TransferRefused(f"{target} is not connected to this leader; see that it runs and can be reached")
        return peer

    def _choose(self, now: float) -> Peer:
        """The connected member with the most of the log."""
        connected = [peer for peer in self._transport.peers.values() if self._connected(peer, now)]
        if not connected:
            raise TransferRefused("no other member is connected to this leader")
        return max(connected, key=lambda peer: (peer.progress.acked, peer.progress.confirmed))

    def _connected(self, peer: Peer, now: float) -> bool:
        return peer.outgoing and peer.incoming and peer.heard is not None and now - peer.heard <= self._heard_within_s

    def lead(self, now: float, last_index: int, idle: bool) -> None:
        """One turn of the leader. `idle`: everything that was logged here has its receipt."""
        running = self._running
        if running is None:
            return
        target = running.target
        if not (target.outgoing and target.incoming):
            self._resume(f"the connection to {target.member.name} was lost")
            return
        if now >= running.deadline:
            self._resume(f"{target.member.name} did not take over in time ({running.phase} did not end)")
            return
        if running.repeat_at is None:
            behind = last_index - target.progress.acked
            if behind <= _HOLD_BELOW:
                self.holding = True
            if behind == 0 and idle:
                running.repeat_at, running.phase = now, "its election"
        if running.repeat_at is not None and now >= running.repeat_at:
            running.repeat_at = now + self._repeat_s
            self._asked[target.member.name] = (running.term, self._transport.sequence)
            self._transport.hand_over(target)

    def may_lease(self, term: int) -> bool:
        """Whether the leader of `term` may count on the vows of the others: nobody campaigns at its request."""
        for name, (asked_in, sequence) in list(self._asked.items()):
            running = self._running is not None and self._running.target.member.name == name
            if asked_in == term and (running or self._transport.peers[name].progress.echoed <= sequence):
                return False
            del self._asked[name]
        return True

    def next_time(self) -> float:
        """When `lead` has something to do even if nothing happens."""
        if self._running is None:
            return float("inf")
        return min(self._running.deadline, self._running.repeat_at or self._running.deadline)

    def successor(self, term: int) -> str | None:
        """Who is about to lead, as far as this node can tell: a hint for those whom it refuses."""
        running = self._running
        return running.target.member.name if running is not None and term == running.term + 1 else None

    def electing(self, now: float) -> bool:
        """Whether the transfer has deposed this node a moment ago, and who leads now is about to be known."""
        running = self._running
        return running is not None and running.deposed_at is not None and now - running.deposed_at <= _ELECTION_S

    def follow(self, now: float, leader: str | None, term: int) -> None:
        """One turn of a node that does not lead: what came of the transfer that deposed it."""
        running = self._running
        if running is None:
            return
        self.holding = False
        if running.deposed_at is None:
            running.deposed_at = now
        target = running.target.member.name
        if leader == target:
            self._end(leader)
        elif leader is not None:
            self._end(TransferFailed(f"{leader} leads term {term} now, not {target}"))
        elif now >= max(running.deadline, running.deposed_at + _ELECTION_S):
            self._end(TransferFailed(f"this node stepped down for {target}, and nobody is heard to lead yet"))

    def outlived(self, term: int) -> bool:
        """Whether the leadership that was to be handed over ended, and this node leads `term` again."""
        return self._running is not None and self._running.term != term

    def stop(self) -> None:
        """This node goes away, or leads again."""
        if self._running is not None:
            self._end(TransferFailed(f"the leadership of term {self._running.term} ended otherwise"))

    def _resume(self, why: str) -> None:
        assert self._running is not None
        name = self._running.target.member.name
        if name in self._asked:  # it is void as soon as the target hears what is sent from now on
            self._asked[name] = (self._running.term, self._transport.sequence)
        self._end(TransferFailed(f"{why}; this node goes on leading term {self._running.term}"))

    def _end(self, outcome: str | ConsensusError) -> None:
        running, self._running = self._running, None
        assert running is not None
        self.holding = False
        running.done(outcome)
