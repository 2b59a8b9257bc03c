"""The face of consensus: what the rest of the system submits to, reads through and looks at."""

from __future__ import annotations

import logging
import random
import socket
from collections.abc import Callable, Sequence
from typing import NamedTuple

import trio

from consensus import links, raft, snapshots
from consensus.batch import Done, Outcome
from consensus.config import ReplicaConfig
from consensus.core import Core, RoleListener
from consensus.errors import ConsensusError, Fatal, NoQuorum, NotLeader
from consensus.flusher import Flusher
from consensus.journal import Journal
from consensus.links import Links
from consensus.ports import PeerStatus, ReadBasis, Receipt, ReplicaStatus, StateMachine
from storage.errors import StorageError
from storage.snapshot_store import Snapshot, SnapshotStore
from storage.wal import SyncJob

__all__ = ["Replica", "ReplicaConfig"]

log = logging.getLogger(__name__)

STALL_S = 0.06  # a turn that began later than this after its time: frames that came meanwhile are read first
_LAG_WINDOW_S = 10.0
_SNAPSHOT_POLL_S = 0.1
_SNAPSHOT_RETRY_S = 30.0


class _Opened(NamedTuple):
    """What a node finds on its disk."""

    journal: Journal
    store: SnapshotStore
    sound: list[Snapshot]  # the newest first


class Replica:
    """One member of a replicated state machine.

    Create it, `run` it in a nursery, use the rest from the same trio thread. Before `run` has started and after it
    has ended every call is refused with NotLeader.
    """

    def __init__(
        self, config: ReplicaConfig, machine: StateMachine, *, clock_ns: Callable[[], int], rng: random.Random
    ) -> None:
        """`machine` is in its initial state; `run` restores the newest snapshot and replays the log into it.

        `clock_ns` is the wall clock.
        """
        self._config = config
        self._machine = machine
        self._clock_ns = clock_ns
        self._rng = rng
        self._core: Core | None = None
        self._flusher: Flusher
        self._links: Links
        self._wake = trio.Event()
        self._ready = trio.Event()
        self._role_listeners: list[RoleListener] = []
        self._lag_s = 0.0
        self._lag_since = 0.0

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Listen, replay the log and take part in the cluster until cancelled; `started()` once it listens.

        Raises Fatal when this node must stop, and nothing else. Whatever waits is resolved before it returns.
        """
        raft.check_library()
        listener = links.listen(self._config.me.host, self._config.me.port)
        try:
            try:
                with trio.CancelScope(shield=True):  # a journal that was opened must not be lost to a cancellation
                    opened = await trio.to_thread.run_sync(self._open)
                await self._run_with(opened, listener, task_status)
            except StorageError as error:
                raise Fatal(str(error)) from error
            except BaseExceptionGroup as group:
                fatal = _fatal_in(group)
                if fatal is None:
                    raise
                raise fatal from group
        finally:
            listener.close()

    def _open(self) -> _Opened:
        """The log, and the state machine as of the newest sound snapshot. Blocks; raises Fatal, StorageError."""
        config = self._config
        journal = Journal(config.data_dir / "raft", f"{config.cluster}/{config.node}")
        try:
            store = SnapshotStore(config.data_dir / "snapshots")
            sound = store.sound()
            newest = sound[0] if sound else None
            snapshots.line_up(journal, newest, config.cluster)
            if newest is not None:
                self._restore(newest)
        except BaseException:
            journal.abandon()
            raise
        return _Opened(journal, store, sound)

    def _restore(self, snapshot: Snapshot) -> None:
        try:
            self._machine.restore(snapshot.body())
        except StorageError:
            raise
        except Exception as error:  # P12: its bytes are those that were written, so another one would not do better
            raise Fatal(
                f"{snapshot.path}: the state machine does not take its own snapshot ({error}). Start the version of "
                "this program that wrote it, or report this"
            ) from error
        if self._machine.digest().hex() != snapshot.header.digest:
            raise Fatal(
                f"{snapshot.path}: what was restored has another state hash than what was written; this is a bug, "
                "report it"
            )
        log.info("restored the state of entry %d from a snapshot", snapshot.header.index)

    async def _run_with(self, opened: _Opened, listener: socket.socket, task_status: trio.TaskStatus[None]) -> None:
        journal = opened.journal
        try:
            core = Core(
                self._config,
                journal,
                self._machine,
                clock_ns=self._clock_ns,
                rng=self._rng,
                now=trio.current_time,
                wake=self._wake_up,
                sound=opened.sound,
            )
        except BaseException:
            journal.abandon()
            raise
        for listen in self._role_listeners:
            core.add_role_listener(listen)
        self._links = Links(self._config, core.transport, self._rng, self._wake_up)
        self._flusher = Flusher(core.begin_sync, self._synced, self._wake_up)
        self._core = core
        failed = True
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._links.run, listener)
                nursery.start_soon(self._pump, core)
                nursery.start_soon(self._take_snapshots, core, opened.store)
                task_status.started()
        except BaseException as error:
            failed = not all(isinstance(leaf, trio.Cancelled) for leaf in _leaves(error))
            raise
        finally:
            self._core = None
            self._ready = trio.Event()
            idle = await self._flusher.stop()
            core.stop()
            if failed:
                journal.abandon()  # what is on the disk is what was promised; add nothing to it
            elif idle:
                journal.close()

    def propose(self, commands: Sequence[bytes], done: Done, *, timeout_s: float | None = None) -> None:
        """Submit without a task: admission now, the outcome later.

        Raises NotLeader, Overloaded, NoQuorum or CommandTooLarge, and then nothing was logged and `done` is never
        called. Otherwise `done` is called exactly once, on the trio thread, never from inside this call: with one
        Receipt per command, or with the error (see `submit`). It must not raise; an exception stops the node.
        """
        if self._core is None:
            raise NotLeader(None, 0)
        if timeout_s is None:
            timeout_s = self._config.submit_timeout_ms / 1000
        self._core.propose(commands, done, timeout_s)

    async def submit(self, commands: Sequence[bytes], *, timeout_s: float | None = None) -> list[Receipt]:
        """Replicate `commands` in order; returns once all of them are committed and applied here.

        Raises with nothing logged: NotLeader, Overloaded, NoQuorum, CommandTooLarge. Raises OutcomeUnknown when the
        commands were logged and the deadline passed or the leadership ended: they may or may not be executed, also
        some of them and not the others if they needed several entries. Cancelling does not withdraw them.
        """
        outcomes: list[Outcome] = []
        resolved = trio.Event()

        def done(outcome: Outcome) -> None:
            outcomes.append(outcome)
            resolved.set()

        self.propose(commands, done, timeout_s=timeout_s)
        await resolved.wait()
        outcome = outcomes[0]
        if isinstance(outcome, ConsensusError):
            raise outcome
        return outcome

    async def read_barrier(self, *, timeout_s: float = 1.0) -> int:
        """Returns the applied index once everything that was committed when the call began is applied here.

        A read of the state machine right after it is linearizable. It costs a round of messages and no log write.
        Raises NotLeader, NoQuorum (also when `timeout_s` passed), Overloaded.
        """
        core = self._core
        if core is None:
            raise NotLeader(None, 0)
        outcomes: list[int | ConsensusError] = []
        finished = trio.Event()

        def done(outcome: int | ConsensusError) -> None:
            outcomes.append(outcome)
            finished.set()

        core.read(done)
        try:
            with trio.move_on_after(timeout_s):
                await finished.wait()
        finally:
            core.reads.forget(done)
        if not outcomes:
            reachable = core.reachable(trio.current_time())
            raise NoQuorum(reachable, len(self._config.members), self._config.quorum)
        if isinstance(outcomes[0], ConsensusError):
            raise outcomes[0]
        return outcomes[0]

    async def read_now(self, *, timeout_s: float = 1.0) -> ReadBasis:
        """Returns once a read of the state machine, now or later in the same request, is linearizable.

        "lease": at once, without a message; "barrier": where the lease does not hold, after `read_barrier`, and with
        what that raises.
        """
        if self._core is not None and self._core.read_by_lease() is not None:
            return "lease"
        await self.read_barrier(timeout_s=timeout_s)
        return "barrier"

    def holds_lease(self) -> bool:
        """Whether this node leads and nobody else can, now (`consensus.lease`)."""
        return self._core is not None and self._core.holds_lease(trio.current_time())

    async def transfer(self, target: str | None = None, *, timeout_s: float = 2.0) -> str:
        """Hand the leadership to `target`, or to the member with the most of the log; returns who leads then.

        While it lasts submissions wait; they go on here if it fails, or are refused with NotLeader and the name of
        the new leader, with nothing logged. Raises NotLeader, NoQuorum and TransferRefused with nothing begun, and
        TransferFailed, which says who leads. Cancelling does not stop a transfer that has begun.
        """
        core = self._core
        if core is None:
            raise NotLeader(None, 0)
        outcomes: list[str | ConsensusError] = []
        ended = trio.Event()

        def done(outcome: str | ConsensusError) -> None:
            outcomes.append(outcome)
            ended.set()

        core.transfer(target, done, timeout_s)
        await ended.wait()
        outcome = outcomes[0]
        if isinstance(outcome, ConsensusError):
            raise outcome
        return outcome

    async def wait_ready(self) -> None:
        """Wait until this node can commit, or follows a leader that it hears and has caught up with once."""
        while True:
            await self._ready.wait()
            if self._core is not None and self._core.ready():
                return
            await trio.sleep(0.005)

    def add_role_listener(self, listener: RoleListener) -> None:
        """Call `listener(role, leader, term)` on the trio thread whenever one of the three changes."""
        self._role_listeners.append(listener)
        if self._core is not None:
            self._core.add_role_listener(listener)

    def status(self) -> ReplicaStatus:
        """What this replica knows of itself and of the others, now."""
        if self._core is not None:
            return self._core.status(self._lag_s * 1000)
        return ReplicaStatus(
            node=self._config.node,
            role="follower",
            term=0,
            leader=None,
            last_index=0,
            durable_index=0,
            commit_index=0,
            applied_index=0,
            digest=self._machine.digest(),
            members=self._config.members,
            peers=tuple(PeerStatus(member.name, False, None, None) for member in self._config.others),
            quorum=self._config.quorum,
            reachable=1,
            can_commit=False,
            waiting=0,
            commands_applied=0,
            commit_p50_ms=None,
            commit_p99_ms=None,
            loop_lag_ms=None,
        )

    async def _pump(self, core: Core) -> None:
        """The one place where PySyncObj runs: a turn whenever something happened or a time has come."""
        while True:
            core.step()
            self._flusher.kick()
            self._links.flush()
            self._note_readiness(core)
            due = core.next_step()
            if due <= trio.current_time():
                await trio.lowlevel.checkpoint()
            else:
                with trio.move_on_at(due):
                    await self._wake.wait()
            if self._wake.is_set():
                self._wake = trio.Event()
            late = trio.current_time() - due
            self._note_lag(late)
            if late > STALL_S:
                core.stalled(late)
                # The readers became runnable together with this task: let them hand over what had arrived.
                await trio.lowlevel.checkpoint()
                await trio.lowlevel.checkpoint()

    async def _take_snapshots(self, core: Core, store: SnapshotStore) -> None:
        """Write a snapshot whenever the log has grown enough, one at a time, and let the log be trimmed."""
        pause_s = _SNAPSHOT_POLL_S
        while True:
            await trio.sleep(pause_s)
            pause_s = _SNAPSHOT_POLL_S
            core.trim()
            if not core.snapshot_due():
                continue
            draft = store.begin(core.begin_snapshot())
            try:
                await self._machine.snapshot(draft.fd)  # right after: the header is of the state that is written
                snapshot = await trio.to_thread.run_sync(store.complete, draft)
            except Exception:
                log.exception("no snapshot was written; the log is kept, and it is tried again")
                pause_s = _SNAPSHOT_RETRY_S
            else:
                log.info("wrote a snapshot of entry %d", snapshot.header.index)
                core.snapshot_stored(snapshot)
            finally:
                draft.abort()

    def _synced(self, job: SyncJob) -> None:
        core = self._core
        if core is not None:
            core.synced(job)
            self._links.flush()  # acknowledgements leave now, not after the next turn

    def _wake_up(self) -> None:
        self._wake.set()

    def _note_readiness(self, core: Core) -> None:
        if core.ready() != self._ready.is_set():
            if self._ready.is_set():
                self._ready = trio.Event()
            else:
                self._ready.set()

    def _note_lag(self, late_s: float) -> None:
        now = trio.current_time()
        if now - self._lag_since > _LAG_WINDOW_S:
            self._lag_since, self._lag_s = now, 0.0
        self._lag_s = max(self._lag_s, late_s)


def _fatal_in(group: BaseExceptionGroup[BaseException]) -> Fatal | None:
    """The one error that an operator should see, if there is one; a failure of the disk is Fatal, too."""
    for error in _leaves(group):
        if isinstance(error, Fatal):
            return error
        if isinstance(error, StorageError):
            return Fatal(str(error))
    return None


def _leaves(error: BaseException) -> list[BaseException]:
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    return [leaf for inner in error.exceptions for leaf in _leaves(inner)]
