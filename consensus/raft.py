"""The one subclass of PySyncObj's `SyncObj`: the consensus core, and nothing of the exchange.

PySyncObj keeps the Raft state and decides about terms, votes, the log and the commit index. What it lacks is put
in through its public seams (`transport`, `autoTick=False`, the journal object) and through the private names listed
here, which are checked against the pinned version at start. Nothing of the library is patched or copied.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pysyncobj import SyncObj, SyncObjConf
from pysyncobj.node import Node
from pysyncobj.version import VERSION

from consensus import entry
from consensus.config import ReplicaConfig
from consensus.elections import Elections
from consensus.errors import Fatal
from consensus.journal import Journal
from consensus.transport import Transport

PYSYNCOBJ_VERSION = "0.3.17"

# Attributes of SyncObj that this module replaces by properties, reads or writes.
PRIVATE_ATTRIBUTES = (
    "_SyncObj__raftLog",  # property: our journal instead of the library's (P3)
    "_SyncObj__raftElectionDeadline",  # property: a gate that pre-vote opens, instead of a timer (P9)
    "_SyncObj__newAppendEntriesTime",  # property: the pump says when to send, instead of a timer
    "_SyncObj__raftCommitIndex",  # read where the library applies
    "_SyncObj__raftLastApplied",  # written where the library applies
    "_SyncObj__raftNextIndex",  # kept from going back when an acknowledgement arrives (P5), or before the log begins
    "_SyncObj__lastResponseTime",  # corrected after a stall of this process
)
# The first is overridden, the others are called.
PRIVATE_METHODS = ("_SyncObj__applyLogEntries", "_checkCommandsToApply", "_applyCommand", "_isLeader")

APPEND_BYTES = 512 * 1024  # one append_entries: ends after the entry that crosses this
APPLY_COMMANDS_MAX = 1000  # per tick, so that the replay of a long log leaves the loop free in between
_NEVER = float("inf")


def check_library() -> None:
    """Refuse to run on any PySyncObj but the one whose inside was read. Raises Fatal."""
    if VERSION != PYSYNCOBJ_VERSION:
        raise Fatal(
            f"PySyncObj {VERSION} is installed, and this program is safe with {PYSYNCOBJ_VERSION} only (0.3.14 and "
            "earlier forget their votes). Install the dependencies from constraints.txt"
        )
    assigned = SyncObj.__init__.__code__.co_names
    missing = [name for name in PRIVATE_ATTRIBUTES if name not in assigned]
    missing += [name for name in PRIVATE_METHODS if name not in vars(SyncObj)]
    if missing:
        raise Fatal(f"PySyncObj {VERSION} lacks {', '.join(missing)}: it was modified. Install it afresh")


class Raft(SyncObj):  # type: ignore[misc]
    """PySyncObj, ticked by hand. `apply(index, term, command)` returns how many commands the entry held.

    It holds no state of the exchange, so the library's own dumps (P19, P20) have nothing to save and are off.
    """

    def __init__(
        self,
        config: ReplicaConfig,
        journal: Journal,
        transport: Transport,
        elections: Elections,
        apply: Callable[[int, int, bytes], int],
        now: Callable[[], float],
        applied: int,
    ) -> None:
        """`applied`: the index up to which the state machine was restored; 0 for one in its initial state."""
        self._journal = journal
        self._elections = elections
        self._apply = apply
        self._now = now
        self._send_wanted = False
        self._apply_backlog = False  # committed, durable entries were left for the next tick
        transport.attach(self)
        forever = 10**9
        super().__init__(
            Node(config.node),
            [peer.node for peer in transport.peers.values()],
            SyncObjConf(
                autoTick=False,
                appendEntriesUseBatch=True,  # no pipe to wake a poller that nobody polls; `_send_wanted` paces
                appendEntriesPeriod=config.heartbeat_ms / 1000,
                raftMinTimeout=config.election_min_ms / 1000,
                raftMaxTimeout=config.election_max_ms / 1000,
                connectionTimeout=config.election_max_ms / 1000,
                leaderFallbackTimeout=config.election_max_ms / 1000,  # P8
                appendEntriesBatchSizeBytes=APPEND_BYTES,
                commandsWaitLeader=False,  # P18, P21: nothing may linger in the library's queue
                dynamicMembershipChange=False,
                logCompactionMinEntries=forever,
                logCompactionMinTime=forever,
                useFork=False,  # P19
                onStateChanged=lambda _old, _new: transport.role_changed(),
            ),
            nodeClass=Node,
            transport=transport,
        )
        if applied > 1:
            self._SyncObj__raftLastApplied = applied

    @property
    def term(self) -> int:
        term: int = self.raftCurrentTerm
        return term

    @property
    def is_leader(self) -> bool:
        leading: bool = self._isLeader()
        return leading

    @property
    def unfinished(self) -> bool:
        """Whether the next tick has something to do already."""
        return self._apply_backlog or (self._send_wanted and self.is_leader)

    def append(self, command: bytes) -> int:
        """Add an entry to the log of this leader. Returns its index."""
        assert self.is_leader
        index = self._journal.last_index + 1
        self._applyCommand(command, None)
        while self._journal.last_index < index:  # the library gives up early when its thread was preempted
            self._checkCommandsToApply()
        self.send_soon()
        return index

    def drop_prefix(self, index: int) -> None:
        """Drop the log up to `index`. Whoever is to be sent what was dropped is sent what follows instead: the library
        would reach for its own dumps (P2); a member that lacks more refuses, and is told about (`Transport`)."""
        self._journal.drop_prefix(index)
        for node, next_index in self._SyncObj__raftNextIndex.items():
            self._SyncObj__raftNextIndex[node] = max(next_index, self._journal.first_index)

    def send_soon(self) -> None:
        """Let the next tick send append_entries: new entries, a new commit index, or a heartbeat."""
        self._send_wanted = True

    @contextmanager
    def next_index_kept(self, node: Node) -> Iterator[None]:
        """P5: an acknowledgement moves the library's next index back to what it says, and so everything that was
        sent since is sent again. Only a refusal may move it back."""
        before = self._SyncObj__raftNextIndex[node]
        yield
        self._SyncObj__raftNextIndex[node] = max(before, self._SyncObj__raftNextIndex[node])

    def forgive(self, stall_s: float, nodes: list[Node]) -> None:
        """This process did not run for `stall_s`: of `nodes`, those that answered before are not silent for it."""
        for node in nodes:
            if node in self._SyncObj__lastResponseTime:
                self._SyncObj__lastResponseTime[node] += stall_s

    @property
    def _SyncObj__raftLog(self) -> Journal:  # noqa: N802
        return self._journal

    @_SyncObj__raftLog.setter
    def _SyncObj__raftLog(self, _value: object) -> None:  # noqa: N802
        """The library assigns a journal of its own in its constructor; it is dropped."""

    @property
    def _SyncObj__raftElectionDeadline(self) -> float:  # noqa: N802
        return 0.0 if self._elections.gate_open else _NEVER

    @_SyncObj__raftElectionDeadline.setter
    def _SyncObj__raftElectionDeadline(self, _value: float) -> None:  # noqa: N802
        if self._elections.gate_open:
            self._elections.campaigned(self._now())

    @property
    def _SyncObj__newAppendEntriesTime(self) -> float:  # noqa: N802
        return 0.0 if self._send_wanted else _NEVER

    @_SyncObj__newAppendEntriesTime.setter
    def _SyncObj__newAppendEntriesTime(self, _value: float) -> None:  # noqa: N802
        self._send_wanted = False

    def _SyncObj__applyLogEntries(self) -> bool:  # noqa: N802
        """Apply what is committed and durable here, a bounded piece per tick.

        The library would apply everything at once, unpickle it, and retry an entry whose handler raised for ever
        (P13). Here an entry counts as applied before it is, and an exception leaves through `doTick`. Only what is
        durable here is applied, so that nothing derived from the state can ever be ahead of the log on this disk.
        """
        limit = min(self._SyncObj__raftCommitIndex, self._journal.durable_index)
        budget = APPLY_COMMANDS_MAX
        applied = self.raftLastApplied
        while applied < limit and budget > 0:
            applied += 1
            command, index, term = self._journal.at(applied)
            self._SyncObj__raftLastApplied = applied
            budget -= 1 if command == entry.NO_OP else self._apply(index, term, command)
        self._apply_backlog = applied < limit
        return False
