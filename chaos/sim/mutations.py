"""Planted bugs: each takes one guard of the product away, and some seed must show it.

A mutation is a context manager that patches the real code. It proves two things: that the judges see, and that the
guard is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

from chaos.sim.world import Settings, Verdict, simulate
from consensus import entry, guards
from consensus.batch import Batch
from consensus.core import Core
from consensus.guards import Progress
from consensus.hard_state import HardState
from consensus.journal import Journal
from consensus.promises import Promises
from consensus.raft import Raft
from consensus.reads import Reads
from consensus.wire import Message
from node.exchange import requests
from storage.files import AppendFile

SEEDS_MAX = 200


@dataclass(frozen=True, slots=True)
class Mutation:
    """One planted bug. `quick`: found within the first few seeds, so that the ordinary test run plants it, too."""

    name: str
    what: str
    plant: Callable[[], AbstractContextManager[Any]]
    quick: bool = False
    nodes: int = 3


def _replaced(owner: Any, name: str, value: Any) -> Callable[[], AbstractContextManager[Any]]:
    return lambda: mock.patch.object(owner, name, value, create=not hasattr(owner, name))


def _forget_hard_state(self: Journal, term: int, vote: str | None) -> None:
    """The term and the vote live in memory only."""
    self._hard_state = HardState(term, vote)


def _truncating(journal: Journal, message: Message) -> int | None:
    if journal.term_at(message["prevLogIdx"]) != message["prevLogTerm"]:
        return None
    return int(message["entries"][-1][1] if message["entries"] else message["prevLogIdx"])


@contextmanager
def _moved(_self: Raft, _node: Any) -> Iterator[None]:
    yield


@contextmanager
def _no_rebasing() -> Iterator[None]:
    with mock.patch.object(Raft, "next_index_kept", _moved), mock.patch.object(guards, "rebase", _truncating):
        yield


def _at_once(self: Core) -> bool:
    """Whatever is logged is acknowledged: a receipt that nothing stands behind."""
    any_logged = False
    while (packed := self.batch.pack()) is not None:
        commands, parts = packed
        self._logged_time_ns = max(self._logged_time_ns + 1, self._clock_ns())
        index = self.raft.append(entry.encode(self._logged_time_ns, commands))
        self.batch.logged(index, self.raft.term, parts)
        results = [None] * len(commands)
        digest = self._machine.digest()
        self.batch.applied(index, self.raft.term, self._logged_time_ns, digest, results, self._now())
        any_logged = True
    return any_logged


def _early_apply(self: Raft) -> bool:
    """Everything in the log is applied, committed or not."""
    applied = self.raftLastApplied
    while applied < self._journal.last_index:
        applied += 1
        command, index, term = self._journal.at(applied)
        self._SyncObj__raftLastApplied = applied
        if command != entry.NO_OP:
            self._apply(index, term, command)
    self._apply_backlog = False
    return False


def _twice(self: Raft) -> bool:
    """The last entry of the log is applied again after a restart."""
    limit = min(self._SyncObj__raftCommitIndex, self._journal.durable_index)
    applied = self.raftLastApplied
    while applied < limit:
        applied += 1
        command, index, term = self._journal.at(applied)
        self._SyncObj__raftLastApplied = applied
        if command != entry.NO_OP:
            self._apply(index, term, command)
            if index == self._journal.last_index and not self.is_leader:
                self._apply(index, term, command)
    self._apply_backlog = False
    return False


def _unconfirmed(self: Reads, confirmed: Any, commit_index: int | None, applied_index: int) -> None:
    """Reads are answered by whoever believes that it leads."""
    waiting, self._waiting = self._waiting, []
    for read in waiting:
        read.done(applied_index)


@contextmanager
def _wrong_receipts() -> Iterator[None]:
    applied = Batch.applied

    def trusting(self: Batch, index: int, term: int, *rest: Any) -> None:
        _, parts = self._in_flight[index]
        self._in_flight[index] = (term, parts)
        applied(self, index, term, *rest)

    with mock.patch.object(Batch, "applied", trusting), mock.patch.object(Batch, "fail_all", lambda *_: None):
        yield


MUTATIONS: tuple[Mutation, ...] = (
    Mutation(
        "no-fsync",
        "syncs return without syncing",
        _replaced(AppendFile, "datasync", lambda self: None),
        quick=True,
    ),
    Mutation(
        "promise-before-fsync",
        "acknowledgements cover what is written, durable or not",
        _replaced(Journal, "durable_index", property(lambda self: self.last_index, lambda self, value: None)),
        quick=True,
    ),
    Mutation(
        "vote-before-fsync",
        "votes and candidacies leave before they are durable",
        _replaced(Promises, "after", lambda self, position, send: send()),
    ),
    Mutation(
        "forgotten-term-and-vote",
        "term and vote are not in the log",
        _replaced(Journal, "setCurrentTerm", _forget_hard_state),
        quick=True,
    ),
    Mutation(
        "leader-counts-itself-early",
        "a follower's copy counts although the leader's own is not durable",
        _replaced(Progress, "countable", lambda self, durable_index: self.acked),
    ),
    Mutation(
        "acknowledged-before-commit",
        "receipts are given when an entry is logged",
        _replaced(Core, "_log_entries", _at_once),
        quick=True,
    ),
    Mutation(
        "applied-before-commit",
        "everything in the log is applied",
        _replaced(Raft, "_SyncObj__applyLogEntries", _early_apply),
        quick=True,
    ),
    Mutation(
        "applied-twice",
        "a follower applies the newest entry twice",
        _replaced(Raft, "_SyncObj__applyLogEntries", _twice),
        quick=True,
    ),
    Mutation(
        "unconditional-truncation",
        "P5: an append cuts the log after its previous entry, whatever stands there",
        _no_rebasing,
    ),
    Mutation(
        "skipped-request-record",
        "the exchange does not remember its requests",
        _replaced(requests.Requests, "remember", lambda self, request_id, request: None),
        quick=True,
    ),
    Mutation(
        "unconfirmed-read",
        "a read is answered without asking a majority",
        _replaced(Reads, "advance", _unconfirmed),
        quick=True,
    ),
    Mutation(
        "endless-lease",
        "a leader that hears nobody goes on reading by its lease",
        _replaced(Core, "holds_lease", lambda self, now: self.raft.is_leader),
    ),
    Mutation(
        "time-not-monotonic",
        "P24: the leader's clock is stamped as it is",
        _replaced(Journal, "last_time_ns", lambda self: 0),
        quick=True,
    ),
    Mutation(
        "undelivered-outcome",
        "P21: a leadership ends, and who waits is not told, but later given whatever stands at the index",
        _wrong_receipts,
    ),
)


def hunt(mutation: Mutation, seeds: range = range(SEEDS_MAX)) -> Verdict | None:
    """The first seed that shows the bug; None if none of them does. Inside `virtual_time`."""
    with mutation.plant():
        for seed in seeds:
            verdict = simulate(seed, Settings(nodes=mutation.nodes))
            if verdict.violation is not None:
                return verdict
    return None
