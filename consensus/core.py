"""One replica without I/O: PySyncObj, its guards, the elections and the waiting clients, driven by calls.

`replica` drives it with sockets, a sync thread and trio's clock; a simulator can drive it with a virtual network,
disk and clock. The contract, per turn:

    receive / link_changed / propose / read    whenever something happens; they only take note
    step                                       the turn: propose, tick, apply, resolve
    begin_sync → (disk) → synced               makes durable what the turn appended
    the outboxes                               are to be sent in order, or the link reset

Everything runs in one thread, and nothing here blocks, awaits or asks the system for time or randomness.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from consensus import entry, lease
from consensus.batch import Batch, Done
from consensus.config import ReplicaConfig
from consensus.elections import Elections
from consensus.errors import ConsensusError, Fatal, NoQuorum, NotLeader, Overloaded
from consensus.journal import Journal
from consensus.ports import PeerStatus, ReplicaStatus, Role, StateMachine
from consensus.raft import Raft
from consensus.reads import ReadDone, Reads
from consensus.snapshots import Snapshots, header_of
from consensus.transfer import TransferDone, Transfers
from consensus.transport import Transport
from storage.snapshot_store import Header, Snapshot
from storage.wal import SyncJob

RoleListener = Callable[[Role, str | None, int], None]

_ROUNDS_MAX = 4  # of proposing and ticking per step; more waits for the next step
_COMMIT_NOTICE_S = 0.005  # followers hear of a new commit index within this, if no entry tells them earlier
_EXPIRY_S = 0.05  # how often deadlines of submissions are looked at
_IDLE_S = 0.05  # the longest time between two steps
_PING_S = 0.1  # a link that carried nothing for this long carries a ping
_HELD_S = 0.5  # how often the members are told what all of them have on their disks
_UNNOTICED = float("inf")
_REPLAY_ENTRIES = 1000  # a node that has more to apply does not stand for election,
_REPLAY_PATIENCE_S = 10.0  # for so long after its start; beyond it a late leader is better than none


class Core:
    """The replica `config.node` over an open `journal`. `now` is a monotonic clock in seconds."""

    def __init__(
        self,
        config: ReplicaConfig,
        journal: Journal,
        machine: StateMachine,
        *,
        clock_ns: Callable[[], int],
        rng: random.Random,
        now: Callable[[], float],
        wake: Callable[[], None],
        sound: Sequence[Snapshot] = (),
    ) -> None:
        """`sound`: the kept snapshots, the newest first; `machine` was restored from that and `journal` lined up."""
        self._config = config
        self._journal = journal
        self._machine = machine
        self._clock_ns = clock_ns
        self._now = now
        self._wake = wake
        self._heartbeat_s = config.heartbeat_ms / 1000
        self._patience_s = config.election_max_ms / 1000
        self._min_s = config.election_min_ms / 1000
        started = now()
        self.elections = Elections(config.node, config.quorum, self._min_s, self._patience_s, rng, started)
        self._lease_s = lease.lease_s(self._min_s)
        self.transport = Transport(config.others, journal, self.elections, now, wake, self._lease_s)
        self.transfers = Transfers(config.node, self.transport, self._heartbeat_s, self._min_s)
        self.batch = Batch(config)
        self.reads = Reads()
        self._replayed_to = journal.last_index  # entries up to here are of an earlier run of this node
        self._applied_time_ns = sound[0].header.time_ns if sound else 0
        self.snapshots = Snapshots(config, journal, list(sound))
        self._held_at = started
        self._logged_time_ns = 0
        self._leads_term: int | None = None
        self._role: tuple[Role, str | None, int] = ("follower", None, journal.getCurrentTerm())
        self._role_listeners: list[RoleListener] = []
        self._heartbeat_at = started
        self._notice_at = _UNNOTICED
        self._expiry_at = started
        self._replay_patience_ends = started + _REPLAY_PATIENCE_S
        self._caught_up_once = False
        self._may_propose = False  # leads and hears a majority, as of this turn
        self._lapsed_since: float | None = None  # since when no majority answers this leader within the lease
        self.commands_applied = 0
        self.raft = Raft(
            config, journal, self.transport, self.elections, self._apply, now, sound[0].header.index if sound else 0
        )

    # What happens to it.

    def propose(self, commands: Sequence[bytes], done: Done, timeout_s: float) -> None:
        """Admit a submission. Raises NotLeader, NoQuorum, Overloaded or CommandTooLarge with nothing logged."""
        now = self._now()
        if not (self._may_propose and self.raft.is_leader):
            self._check_leads(now)
            if self._journal.last_index - self.raft.raftLastApplied > _REPLAY_ENTRIES and not self._applied_own_term():
                raise NotLeader(None, self.raft.term)  # it is still replaying: no answer could be given in time
            self._may_propose = True
        self.batch.admit(commands, done, now, timeout_s)
        self._wake()

    def read(self, done: ReadDone) -> None:
        """Call `done` with the applied index once a linearizable read may be served. Raises NotLeader, NoQuorum."""
        self._check_leads(self._now())
        self.reads.add(self.transport.sequence, done)
        self.raft.send_soon()
        self._wake()

    def read_by_lease(self) -> int | None:
        """The applied index if a linearizable read may be served here and now (`lease`), else None.

        The state never goes back, so it may as well be read a little later, however long this process pauses.
        """
        applied: int = self.raft.raftLastApplied
        current = applied == self.raft.raftCommitIndex and self._applied_own_term()
        return applied if current and self.holds_lease(self._now()) else None

    def transfer(self, target: str | None, done: TransferDone, timeout_s: float) -> None:
        """Begin to hand the leadership to `target` (None: to the member with the most of the log).

        Raises NotLeader, NoQuorum or TransferRefused with nothing begun. Otherwise `done` is called once, with the
        name of the new leader or with the error.
        """
        now = self._now()
        self._check_leads(now)
        if not self._applied_own_term():
            raise NotLeader(None, self.raft.term)
        self.transfers.begin(target, done, now, timeout_s, self.raft.term, self._journal.last_index)
        self._wake()

    def add_role_listener(self, listener: RoleListener) -> None:
        self._role_listeners.append(listener)

    def begin_sync(self) -> SyncJob | None:
        return self._journal.begin_sync()

    def synced(self, job: SyncJob) -> None:
        """`job` is on the disk."""
        self._journal.finish_sync(job)
        self.transport.on_durable()
        self._wake()

    def snapshot_due(self) -> bool:
        return self.snapshots.due(self.raft.raftLastApplied)

    def begin_snapshot(self) -> Header:
        """What a snapshot that the machine is asked for right now, without a checkpoint in between, is of."""
        self.snapshots.begun()
        index = self.raft.raftLastApplied
        term = self._journal.term_at(index)
        assert term is not None
        return header_of(self._config, index, term, self._applied_time_ns, self._machine.digest())

    def snapshot_stored(self, snapshot: Snapshot) -> None:
        """`snapshot` is durable and was read back."""
        self.snapshots.stored(snapshot)
        self.trim()

    def trim(self) -> None:
        """Drop what nobody needs of the log any more."""
        self.raft.drop_prefix(self.snapshots.trim_to(self.transport.held))

    def stalled(self, stall_s: float) -> None:
        """This process did not run for `stall_s` seconds. Frames that arrived meanwhile are to be received before
        the next step; the silence must not be blamed on the others."""
        now = self._now()
        self.elections.forgive(stall_s, now)
        self.raft.forgive(stall_s, self.transport.forgive(stall_s, now, self._patience_s))

    # The turn.

    def step(self) -> None:
        """Do whatever can be done now. Raises Fatal when this node must stop."""
        now = self._now()
        self._may_propose = False
        if self.raft.is_leader:
            self._lead(now)
        elif self._replaying(now):
            self.elections.postpone(now)
        elif self.elections.due(now):
            self.elections.start_round(self.raft.term + 1, now)
            self.transport.ask_prevote(self.raft.term + 1)
        commit_index = self.raft.raftCommitIndex
        for _ in range(_ROUNDS_MAX):
            self.raft.doTick(0)
            if not (self.raft.is_leader and self._log_entries()):
                break
        if self.raft.raftCommitIndex > commit_index:
            self._notice_at = min(self._notice_at, now + _COMMIT_NOTICE_S)
        self.transport.ping_silent(now, _PING_S)
        self._journal.write()
        self._settle(now)

    def next_step(self) -> float:
        """When `step` is due at the latest, if nothing happens before."""
        if self.raft.unfinished:
            return self._now()
        due = self._now() + _IDLE_S
        if self.raft.is_leader:
            return min(due, self._heartbeat_at, self._notice_at, self.transfers.next_time())
        return min(due, self.elections.deadline)

    def _lead(self, now: float) -> None:
        if self._leads_term != self.raft.term:
            self._leads_term = self.raft.term
            self._logged_time_ns = self._journal.last_time_ns()
        if now >= self._heartbeat_at or now >= self._notice_at:
            self.raft.send_soon()
            self._heartbeat_at = now + self._heartbeat_s
            self._notice_at = _UNNOTICED
        self._watch_majority(now)
        self.transfers.lead(now, self._journal.last_index, self.batch.in_flight == 0)
        if now >= self._held_at:
            self._held_at = now + _HELD_S
            self.transport.tell_held()
        self._log_entries()

    def _watch_majority(self, now: float) -> None:
        """P8: what a leader that is cut off logs may be lost or done, and nobody could say which. So nothing is logged
        while no majority answers within the lease; what waits is refused if that does not change soon."""
        if self._hears_majority(now):
            self._lapsed_since = None
        elif self._lapsed_since is None:
            self._lapsed_since = now
            self.raft.send_soon()
        elif self._cut_off(now):
            self.batch.refuse_queued(self._no_quorum(now))

    def _log_entries(self) -> bool:
        """Turn what waits into entries of the log. Returns whether there was any."""
        any_logged = False
        if self.transfers.holding or self._lapsed_since is not None:
            return False
        while (packed := self.batch.pack()) is not None:
            commands, parts = packed
            # P24: the leader's clock, but never behind what the log has shown already, whoever wrote it.
            self._logged_time_ns = max(self._logged_time_ns + 1, self._clock_ns())
            index = self.raft.append(entry.encode(self._logged_time_ns, commands))
            self.batch.logged(index, self.raft.term, parts)
            any_logged = True
        return any_logged

    def _apply(self, index: int, term: int, command: bytes) -> int:
        try:
            time_ns, commands = entry.decode(command)
        except entry.MalformedEntry as error:
            raise Fatal(f"entry {index} was damaged in memory ({error}); test the memory of this machine") from error
        if time_ns <= self._applied_time_ns:
            raise Fatal(f"entry {index} is not later than the one before it; this is a bug of its leader, report it")
        self._applied_time_ns = time_ns
        try:
            results = self._machine.apply(index, term, time_ns, commands)
        except Exception as error:  # P13
            raise Fatal(
                f"the state machine failed on entry {index} of term {term} ({error!r}). Every node will fail on it: "
                "keep the data directories and report the traceback"
            ) from error
        if len(results) != len(commands):
            raise Fatal(f"the state machine answered {len(results)} of {len(commands)} commands in entry {index}")
        if index > self._replayed_to:
            self.commands_applied += len(commands)
        if self.batch.awaits(index):
            self.batch.applied(index, term, time_ns, self._machine.digest(), results, self._now())
        return len(commands)

    def _settle(self, now: float) -> None:
        """Tell everybody who waits what came of this turn."""
        if self.raft.is_leader:
            ended = self._leads_term is not None and self.raft.term != self._leads_term
        else:
            # A leadership may also end before its first turn, with what was admitted in between.
            ended = self._leads_term is not None or self.batch.waiting > 0 or len(self.reads) > 0
        if not self.raft.is_leader:
            self.transfers.follow(now, self.leader(now), self.raft.term)
            self._lapsed_since = None
        elif self.transfers.outlived(self.raft.term):
            self.transfers.stop()
        if ended and not self.transfers.electing(now):  # else whom to ask is known in a moment
            lost = NotLeader(self.leader(now) or self.transfers.successor(self.raft.term), self.raft.term)
            led = "a term" if self._leads_term is None else f"term {self._leads_term}"
            self.batch.fail_all(lost, f"the leadership of {led} ended before the outcome was seen")
            self.reads.fail_all(lost)
            self._leads_term = None
        if now >= self._expiry_at:
            self._expiry_at = now + _EXPIRY_S
            self.batch.expire(now, self._no_progress(now))
        if len(self.reads):
            own_term = self._journal.term_at(self.raft.raftCommitIndex) == self.raft.term
            self.reads.advance(
                lambda after: self.transport.contacted(after) >= self._config.quorum,
                self.raft.raftCommitIndex if own_term else None,
                self.raft.raftLastApplied,
            )
        following = self.transport.following
        if (
            following is not None
            and following.commit_index <= self.raft.raftLastApplied
            and self._journal.term_at(following.commit_index) == following.term  # else the leader does not know it yet
        ):
            self._caught_up_once = True
        self.batch.deliver()
        if not self.transfers.electing(now):
            self._announce_role(now)

    def stop(self) -> None:
        """Resolve everything that waits: this node is going away."""
        self.transfers.stop()
        gone = NotLeader(None, self.raft.term)
        self.batch.fail_all(gone, "this node stopped before the outcome was seen")
        self.reads.fail_all(gone)
        self.batch.deliver()

    # What it says about itself.

    def role(self) -> Role:
        """`candidate` also means: no leader is known, and the election timer runs."""
        if self.raft.is_leader:
            return "leader"
        return "follower" if self.elections.leader is not None else "candidate"

    def leader(self, now: float) -> str | None:
        if self.raft.is_leader:
            return self._config.node
        return self.elections.leader if self.elections.hears_leader(now) else None

    def holds_lease(self, now: float) -> bool:
        """Whether this node leads and nobody else can."""
        return (
            self.raft.is_leader
            and self._hears_majority(now)
            and self.reachable(now) >= self._config.quorum  # known to be alone: say so rather than use up the lease
            and self.transfers.may_lease(self.raft.term)
        )

    def _hears_majority(self, now: float) -> bool:
        """Whether a majority answered something that was sent within the last lease."""
        return now - self.transport.confirmed(self._config.quorum) < self._lease_s

    def _cut_off(self, now: float) -> bool:
        return self._lapsed_since is not None and now - self._lapsed_since > self._min_s

    def reachable(self, now: float) -> int:
        return self.transport.reachable(now, self._patience_s)

    def can_commit(self, now: float) -> bool:
        """Leads, hears a majority, and has applied an entry of its own term."""
        return self.raft.is_leader and self.reachable(now) >= self._config.quorum and self._applied_own_term()

    def _applied_own_term(self) -> bool:
        return self._journal.term_at(self.raft.raftLastApplied) == self.raft.term

    def _replaying(self, now: float) -> bool:
        """Whether another should rather lead: so much is left to apply that this node could answer nobody yet."""
        return (
            self.raft.raftCommitIndex - self.raft.raftLastApplied > _REPLAY_ENTRIES and now < self._replay_patience_ends
        )

    def ready(self) -> bool:
        """Can commit, or follows a leader that it hears and has once applied all that one had committed."""
        now = self._now()
        if self.raft.is_leader:
            return self.can_commit(now)
        return self._caught_up_once and self.elections.hears_leader(now)

    def status(self, loop_lag_ms: float | None) -> ReplicaStatus:
        now = self._now()
        latencies = self.batch.latency.percentiles_ms()
        leading = self.raft.is_leader
        peers = tuple(
            PeerStatus(
                name=peer.member.name,
                connected=peer.outgoing,
                heard_ms=None if peer.heard is None else (now - peer.heard) * 1000,
                match_index=peer.progress.acked if leading else None,
            )
            for peer in self.transport.peers.values()
        )
        return ReplicaStatus(
            node=self._config.node,
            role=self.role(),
            term=self.raft.term,
            leader=self.leader(now),
            last_index=self._journal.last_index,
            durable_index=self._journal.durable_index,
            commit_index=self.raft.raftCommitIndex,
            applied_index=self.raft.raftLastApplied,
            digest=self._machine.digest(),
            members=self._config.members,
            peers=peers,
            quorum=self._config.quorum,
            reachable=self.reachable(now),
            can_commit=self.can_commit(now),
            waiting=self.batch.waiting,
            commands_applied=self.commands_applied,
            commit_p50_ms=latencies[0] if latencies and leading else None,
            commit_p99_ms=latencies[1] if latencies and leading else None,
            loop_lag_ms=loop_lag_ms,
        )

    def _check_leads(self, now: float) -> None:
        reachable = self.reachable(now)
        leader = self.leader(now)
        if reachable < self._config.quorum and leader in (None, self._config.node):
            raise NoQuorum(reachable, len(self._config.members), self._config.quorum)
        if not self.raft.is_leader:
            raise NotLeader(leader or self.transfers.successor(self.raft.term), self.raft.term)
        if self._cut_off(now):
            raise self._no_quorum(now)

    def _no_quorum(self, now: float) -> NoQuorum:
        """On a leader whose requests are not answered: perhaps it hears the others, and they do not hear it."""
        answering = self.transport.answering(now - self._min_s)
        return NoQuorum(min(answering, self.reachable(now)), len(self._config.members), self._config.quorum)

    def _no_progress(self, now: float) -> ConsensusError:
        if self.reachable(now) < self._config.quorum or self._lapsed_since is not None:
            return self._no_quorum(now)
        return Overloaded(self.batch.waiting, self._config.waiting_max, self._config.heartbeat_ms)

    def _announce_role(self, now: float) -> None:
        role = (self.role(), self.leader(now), self.raft.term)
        if role != self._role:
            self._role = role
            for listener in self._role_listeners:
                listener(*role)
