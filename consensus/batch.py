"""Group commit: submissions wait here, are packed into entries, and get their receipts when the entries apply.

A submission is a list of commands with one callback; it may span entries. Its callback is called exactly once,
with one receipt per command or with the error. The life of a submission:

    queue (nothing logged: NotLeader, NoQuorum, Overloaded mean "not executed")
      → logged in one or more entries (an error is OutcomeUnknown from here on)
      → applied with the index and the term under which it was logged (P21): receipts

A lone submission does not wait for company; company gathers by itself while `entries_in_flight_max` entries are on
their way.
"""

from __future__ import annotations

from bisect import insort_right
from collections import deque
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any

from consensus.config import ReplicaConfig
from consensus.errors import CommandTooLarge, ConsensusError, OutcomeUnknown, Overloaded
from consensus.latency import Latency
from consensus.ports import Receipt

Outcome = list[Receipt] | ConsensusError
Done = Callable[[Outcome], None]
RETRY_AFTER_MS = 50
_deadline_of = attrgetter("deadline")


class Submission:
    """One call of `propose`."""

    __slots__ = ("commands", "deadline", "done", "logged", "packed", "receipts", "resolved", "started")

    def __init__(self, commands: Sequence[bytes], done: Done, started: float, deadline: float) -> None:
        self.commands = commands
        self.done = done
        self.started = started
        self.deadline = deadline
        self.packed = 0  # commands that were put into entries
        self.logged = False
        self.receipts: list[Receipt] = []
        self.resolved = False


Parts = list[tuple[Submission, int]]  # whose commands an entry holds, in order, and how many of each


class Batch:
    """The waiting submissions of one leader. Bound: `waiting_max` commands, beyond it Overloaded."""

    def __init__(self, config: ReplicaConfig) -> None:
        self._config = config
        self._queue: deque[Submission] = deque()  # each holds commands that are in no entry yet
        # Every unresolved submission by deadline. Resolved ones stay, emptied, while one before them is unresolved.
        self._deadlines: deque[Submission] = deque()
        self._in_flight: dict[int, tuple[int, Parts]] = {}  # index → term and parts; at most entries_in_flight_max
        self._outcomes: list[tuple[Done, Outcome]] = []  # resolved, callbacks not called yet
        self.waiting = 0  # commands admitted and not resolved
        self.latency = Latency()

    def admit(self, commands: Sequence[bytes], done: Done, now: float, timeout_s: float) -> None:
        """Queue a submission, or raise Overloaded or CommandTooLarge with nothing queued."""
        config, count = self._config, len(commands)
        if count == 0:
            raise ValueError("a submission needs at least one command")
        if self.waiting + count > config.waiting_max:
            raise Overloaded(self.waiting, config.waiting_max, RETRY_AFTER_MS)
        for command in commands:
            if len(command) > config.command_bytes_max:
                raise CommandTooLarge(f"a command of {len(command)} bytes; the limit is {config.command_bytes_max}")
        self.waiting += count
        submission = Submission(commands, done, now, now + timeout_s)
        self._queue.append(submission)
        deadlines = self._deadlines
        if not deadlines or deadlines[-1].deadline <= submission.deadline:
            deadlines.append(submission)
        else:  # rare: nearly every submission is given the same time
            insort_right(deadlines, submission, key=_deadline_of)

    def pack(self) -> tuple[list[bytes], Parts] | None:
        """The commands of the next entry; None if nothing waits or enough entries are in flight."""
        if not self._queue or len(self._in_flight) >= self._config.entries_in_flight_max:
            return None
        commands: list[bytes] = []
        parts: Parts = []
        room, size = self._config.entry_commands_max, self._config.entry_bytes_max
        while self._queue and room > 0:
            submission = self._queue[0]
            if submission.resolved:
                self._queue.popleft()
                continue
            first = submission.packed
            for command in submission.commands[first : first + room]:
                if len(command) > size and commands:
                    break  # it opens the next entry, alone if it is larger than an ordinary one
                commands.append(command)
                size -= len(command)
                submission.packed += 1
            taken = submission.packed - first
            if taken:
                room -= taken
                parts.append((submission, taken))
            if submission.packed < len(submission.commands):
                break
            self._queue.popleft()
        return (commands, parts) if commands else None

    def logged(self, index: int, term: int, parts: Parts) -> None:
        """The commands of `pack` became the entry `index` of `term`."""
        for submission, _ in parts:
            submission.logged = True
        self._in_flight[index] = (term, parts)

    @property
    def in_flight(self) -> int:
        """Entries that were logged here and are not applied yet."""
        return len(self._in_flight)

    def awaits(self, index: int) -> bool:
        return index in self._in_flight

    def applied(self, index: int, term: int, time_ns: int, digest: bytes, results: Sequence[Any], now: float) -> None:
        """The entry `index` was applied. Receipts are given only if it is the one that was logged here."""
        logged_term, parts = self._in_flight.pop(index)
        if logged_term != term:
            self._fail(parts, OutcomeUnknown(f"entry {index} of term {logged_term} was replaced by one of term {term}"))
            return
        start = 0
        for submission, count in parts:
            if not submission.resolved:
                receipts = submission.receipts
                receipts += [Receipt(index, term, time_ns, digest, result) for result in results[start : start + count]]
                if len(receipts) == len(submission.commands):
                    self.latency.add(now - submission.started)
                    self._resolve(submission, receipts)
            start += count

    def expire(self, now: float, not_logged: ConsensusError) -> None:
        """Give up on every submission whose deadline has passed; `not_logged` is for those still in the queue."""
        deadlines = self._deadlines
        while deadlines and (deadlines[0].resolved or deadlines[0].deadline <= now):
            submission = deadlines.popleft()
            if not submission.resolved:
                unknown = OutcomeUnknown("the deadline passed before the commands were seen to be committed")
                self._resolve(submission, unknown if submission.logged else not_logged)

    def refuse_queued(self, error: ConsensusError) -> None:
        """Resolve every submission of which nothing was logged."""
        for submission in self._queue:
            if not (submission.resolved or submission.logged):
                self._resolve(submission, error)

    def fail_all(self, not_logged: ConsensusError, why: str) -> None:
        """The leadership is over: nothing here will be seen to commit under it."""
        for submission in self._deadlines:
            if not submission.resolved:
                self._resolve(submission, OutcomeUnknown(why) if submission.logged else not_logged)
        self._deadlines.clear()
        self._queue.clear()
        self._in_flight.clear()

    def deliver(self) -> None:
        """Call the callbacks of what was resolved. They must not raise; an exception stops the node."""
        while self._outcomes:
            outcomes, self._outcomes = self._outcomes, []
            for done, outcome in outcomes:
                done(outcome)

    def _fail(self, parts: Parts, error: ConsensusError) -> None:
        for submission, _ in parts:
            if not submission.resolved:
                self._resolve(submission, error)

    def _resolve(self, submission: Submission, outcome: Outcome) -> None:
        submission.resolved = True
        self.waiting -= len(submission.commands)
        self._outcomes.append((submission.done, outcome))
        submission.commands, submission.receipts = (), []  # they may be large, and the deadline may be far
