"""What PySyncObj 0.3.17 does not check, checked before it sees a message.

Each guard closes one hazard of `pysyncobj.md`; the tests take every one of them away and show what then happens.
"""

from __future__ import annotations

from dataclasses import dataclass

from consensus import lease
from consensus.errors import Fatal
from consensus.journal import Journal
from consensus.wire import MalformedFrame, Message


def rebase(journal: Journal, message: Message) -> int | None:
    """P5, P2: turn an append_entries into one that PySyncObj can only handle rightly.

    PySyncObj cuts its log after `prevLogIdx` whatever stands there, so that a resend from further back removes
    entries that were acknowledged already; Raft (section 5.3) cuts only where an entry conflicts. It also commits up
    to its own last entry, verified or not. So the message is moved forward over everything that matches, and its
    commit index is lowered to what it proves.

    Returns the index up to which this log is now known to equal the leader's; None if the entry before the first
    one does not match, and then PySyncObj asks for earlier ones.
    """
    _skip_dropped(journal, message)
    previous = message["prevLogIdx"]
    if previous < journal.base.index:  # all of it was dropped here, because it is committed and in a snapshot
        verified = previous + len(message["entries"])
        message["prevLogIdx"], message["prevLogTerm"] = journal.last_index, journal.last_term
        message["entries"], message["commit_index"] = [], 0
        return int(verified)
    if journal.term_at(previous) != message["prevLogTerm"]:
        return None
    entries = message["entries"]
    matching = previous
    for command, index, term in entries:
        if journal.term_at(index) != term:
            break
        if journal.at(index)[0] != command:
            raise Fatal(
                f"entry {index} of term {term} differs between this node and its leader: two leaders in one term, or "
                "a damaged log. Stop the cluster and keep the data directories of all nodes"
            )
        matching = index
    rest = entries[matching - previous :]
    if rest:
        message["prevLogIdx"], message["prevLogTerm"] = matching, journal.term_at(matching)
        verified = rest[-1][1]
    else:
        message["prevLogIdx"], message["prevLogTerm"] = journal.last_index, journal.last_term
        verified = matching
    message["entries"] = rest
    message["commit_index"] = min(message["commit_index"], verified)
    return int(verified)


def _skip_dropped(journal: Journal, message: Message) -> None:
    """Move a message that reaches over the base of this log forward to it.

    What was dropped is committed, so every leader has the same there; the base shows that this one does.
    """
    base = journal.base
    dropped = base.index - message["prevLogIdx"]
    if not 0 < dropped <= len(message["entries"]):
        return
    _, index, term = message["entries"][dropped - 1]
    if term != base.term:
        raise Fatal(
            f"entry {index} is committed here in term {base.term}, and the leader has it in term {term}: two nodes "
            "disagree about committed data. Stop the cluster and keep the data directories of all nodes"
        )
    message["entries"] = message["entries"][dropped:]
    message["prevLogIdx"], message["prevLogTerm"] = base.index, base.term


def next_index_hint(journal: Journal, refused: int, commit_index: int) -> int:
    """Where a leader should try again after `refused` did not match: before the whole conflicting term.

    PySyncObj goes back one entry per round trip. Committed entries match by definition, so never below them.
    """
    term = journal.term_at(refused)
    if term is None:
        return refused
    while refused > 2 and journal.term_at(refused - 1) == term:
        refused -= 1
    return max(refused, commit_index + 1)


class Votes:
    """P7: PySyncObj counts every vote that arrives; this admits one per member and term."""

    def __init__(self) -> None:
        self._term = 0
        self._seen: set[str] = set()

    def admit(self, voter: str, term: int) -> bool:
        if term != self._term:
            self._term, self._seen = term, set()
        if voter in self._seen:
            return False
        self._seen.add(voter)
        return True


@dataclass(slots=True)
class Progress:
    """What a leader knows of one follower, in one term."""

    acked: int = 0  # durable there
    counted: int = 0  # what PySyncObj was told: never more than is durable here (P4)
    echoed: int = 0  # newest request that it answered: proof of contact after that request was sent
    confirmed: float = lease.NEVER  # and when that was sent, at the earliest: what the lease counts from
    gap_told: bool = False  # it was logged that this one asks for entries that were dropped here
    refusals_after: int = 0  # refusals of requests up to this one are old

    def admit_refusal(self, sequence: int, newest: int) -> bool:
        """P6: of a burst of refusals only the first counts; each would otherwise start the whole resend again."""
        if sequence <= self.refusals_after:
            return False
        self.refusals_after = newest
        return True

    def answered(self, sequence: int, sent: float) -> None:
        """It answered request `sequence`, which was sent at `sent` (or later)."""
        self.echoed = max(self.echoed, sequence)
        self.confirmed = max(self.confirmed, sent)

    def acknowledge(self, index: int, last_index: int) -> None:
        """Note that the follower holds everything up to `index`. Raises MalformedFrame for more than was sent."""
        if index > last_index:
            raise MalformedFrame(f"entry {index} was acknowledged; this leader's log ends at {last_index}")
        self.acked = max(self.acked, index)

    def countable(self, durable_index: int) -> int:
        """P4: PySyncObj counts its own copy at once; so a follower's copy counts only once ours is durable too."""
        self.counted = max(self.counted, min(self.acked, durable_index))
        return self.counted
