"""When this node may stand for election: timers, pre-vote, and the judgement whether the leader is gone.

PySyncObj campaigns whenever its timer fires, so that a node that was cut off for a while disrupts a healthy leader
on its return (hazard P9). Here its timer is a gate that only this module opens, after a majority agreed in a
pre-vote (Ongaro's thesis, section 9.6) that the leader is gone and that this log is recent enough to win.

It also keeps the vow that a leader's lease rests on (`lease`): a member that heard its leader a moment ago helps to
elect nobody, itself included, unless that leader asked for it (`transfer`).

No I/O and no clock: the time is an argument, in seconds of any monotonic clock.
"""

from __future__ import annotations

import random

from consensus import lease

LogPosition = tuple[int, int]  # term and index of the last entry; in Raft's order of recency

_CRASH_JITTER_S = 0.012  # spreads the candidacies of followers that see the leader's connections close together
_TIE_S = 0.03  # candidacies closer than this would split the vote
_VOWS_END_S = 0.003  # the vows of two followers end nearly together: whoever asks waits for the other's, too
_RETRY_S = (
    2 * _TIE_S
)  # between rounds while the leader's connection is closed: others saw that later, or heard it later


class Elections:
    """The election timer of one node and the pre-vote round that it may be running."""

    def __init__(self, me: str, quorum: int, min_s: float, max_s: float, rng: random.Random, now: float) -> None:
        self._me = me
        self._quorum = quorum
        self._min_s = min_s
        self._max_s = max_s
        self._vow_s = lease.vow_s(min_s)
        self._rng = rng
        self.leader: str | None = None  # whom this node hears as the leader
        self._heard = now
        # What this node vowed before its last crash it does not remember, so a start counts like hearing the leader.
        # Unlike `_heard` it is never moved: it is a promise to the leader, not a judgement about it.
        self._vowed_until = now + self._vow_s
        self._closed = False  # the connection from the leader was closed: it counts as dead at once
        self.deadline = now + self._timeout()
        self._forgiven_until: float | None = None  # set by the first stall since the leader was heard
        self._round: int | None = None  # the term that is being asked for
        self._asked = now  # when it was asked for
        self._granted: set[str] = set()
        self.gate_open = False

    def hear(self, leader: str, now: float) -> None:
        """An append_entries of the current term arrived."""
        self.leader = leader
        self._heard = now
        self._vowed_until = now + self._vow_s
        self._forgiven_until = None
        self._closed = False
        self._round = None
        self.gate_open = False
        self.deadline = now + self._timeout()

    def closed(self, peer: str, now: float) -> None:
        """The connection from `peer` was closed (not merely silent).

        Nearly always the leader is dead then, and there is no reason to wait for the election timeout. But a
        connection can be cut between two living members as well, so the vow stands.
        """
        if peer == self.leader and not self._closed:
            self._closed = True
            earliest = max(now, self._vowed_until + _VOWS_END_S)
            self.deadline = min(self.deadline, earliest + self._rng.random() * _CRASH_JITTER_S)

    def postpone(self, now: float) -> None:
        """Wait a full timeout again: a vote was given, or the role has just changed."""
        self.deadline = now + self._timeout()
        self._round = None
        self.gate_open = False

    def forgive(self, stall_s: float, now: float) -> None:
        """This node did not run for `stall_s`: the silence is its own, so do not blame the leader.

        What a living leader sent meanwhile is received right after. Therefore one stall is forgiven whatever its
        length, and more of them only for `max_s`: a node that stalls all the time must notice a dead leader, too.
        """
        if self._forgiven_until is None:
            self._forgiven_until = now + self._max_s
        if now > self._forgiven_until:
            return
        self._heard = min(now, self._heard + stall_s)
        if not self._closed:
            self.deadline = max(self.deadline, now + self._min_s / 2)

    def vowed(self, now: float) -> bool:
        """Whether a leader may count on it that this node votes for nobody now (`lease`)."""
        return now <= self._vowed_until

    def leader_gone(self, now: float) -> bool:
        """Whether this node would let somebody else lead."""
        if self.vowed(now):
            return False
        return self.leader is None or self._closed or now - self._heard > self._min_s

    def hears_leader(self, now: float) -> bool:
        return self.leader is not None and not self._closed and now - self._heard <= self._max_s

    def due(self, now: float) -> bool:
        return now >= self.deadline

    def start_round(self, term: int, now: float) -> None:
        """Begin to ask whether the others would vote for this node in `term`. What was granted before is void: a
        gate that could not be used in time (nobody is linked any more) must not open a campaign much later."""
        again = self._closed and now - self._heard <= self._max_s
        self.deadline = now + (_RETRY_S if again else self._timeout())
        self._round = term
        self._asked = now
        self._granted = {self._me}
        self.gate_open = len(self._granted) >= self._quorum

    def consider(self, asker: str, term: int, theirs: LogPosition, mine: LogPosition, now: float) -> bool:
        """Whether to grant `asker` its pre-vote. It binds nobody; the real vote is PySyncObj's."""
        if theirs < mine or not self.leader_gone(now):
            return False
        if self._round is not None and self._round >= term:
            # Two candidates at once would split the vote and lose a whole timeout. The better one goes on. Later the
            # round has failed, and whoever links only some of the members must not refuse the one who links all.
            if now - self._asked <= _TIE_S and (theirs, asker) < (mine, self._me):
                return False
            self._round = None
            self.gate_open = False
        self.deadline = max(self.deadline, now + self._min_s / 2)
        return True

    def granted(self, voter: str, term: int, current_term: int) -> None:
        """A pre-vote was granted. Opens the gate with a majority."""
        if term == self._round and term == current_term + 1:
            self._granted.add(voter)
            self.gate_open = len(self._granted) >= self._quorum

    def command(self) -> None:
        """The leader asked this node to take over: neither its vow nor a pre-vote stands against that."""
        self.gate_open = True

    def campaigned(self, now: float) -> None:
        """PySyncObj used the open gate."""
        self.leader = None
        self.postpone(now)

    def _timeout(self) -> float:
        return self._rng.uniform(self._min_s, self._max_s)
