"""The composition root: one node, from its configuration to its end.

    machine ← replica (commits, applies) → tape, hub, meter (observe) → front door

One root nursery holds the replica, the front door, the genesis task and the timekeeper; the first failure of any of
them ends the node. Start: state machine, replica (listens, replays its log), front door. End: a leader hands over
first, while its front door still sends everybody to the new one; then the front door closes,
which tells its sockets that the node goes away; then the replica, which answers whatever still waits, syncs and closes
its log.
"""

from __future__ import annotations

import logging
import random
import signal
from collections.abc import AsyncIterator, Iterable, Sequence
from functools import partial
from typing import Final

import trio

from api.ports import ApiContext, ApiSettings
from api.server import serve_api
from api.tokens import TokenKeys
from api.ws.hub import Hub
from consensus.errors import ConsensusError, Fatal
from consensus.ports import Role
from consensus.replica import Replica, ReplicaConfig
from node import entropy, genesis, view_snapshot
from node.clock import Clock, SystemClock
from node.collector import Collector
from node.config import ClusterConfig
from node.exchange import snapshot
from node.exchange.events import Event
from node.exchange.machine import Machine
from node.logs import RoleLog, fields
from node.market.tape import Tape
from node.meter import OrderMeter
from node.secrets import Administrator, load_administrator, load_signing_keys
from node.snapshotting import Snapshotter
from node.timekeeper import Timekeeper

log = logging.getLogger(__name__)

HAND_OVER_S: Final = 1.0  # for another node to take over when this one is told to stop
SNAPSHOT_STALL_S: Final = 30.0
SNAPSHOT_TOTAL_S: Final = 600.0
EXIT_FATAL: Final = 70  # EX_SOFTWARE: going on could lose or fork acknowledged data; the log says what to do


class ExchangeStateMachine:
    """The exchange as consensus applies it, with the views that watch it. Observers run in `apply`, and never wait."""

    def __init__(self, machine: Machine, tape: Tape, hub: Hub, meter: OrderMeter, collector: Collector) -> None:
        self._machine = machine
        self._tape = tape
        self._hub = hub
        self._meter = meter
        self._collector = collector
        self._snapshotter = Snapshotter(stall_s=SNAPSHOT_STALL_S, total_s=SNAPSHOT_TOTAL_S)

    def apply(self, index: int, term: int, time_ns: int, commands: Sequence[bytes]) -> list[list[Event]]:
        results = self._machine.apply(index, time_ns, commands)
        self._tape.observe(index, time_ns, results)
        self._hub.observe(index, time_ns, self._machine.digest(), results)
        self._meter.observe(time_ns, results)
        self._collector.applied(len(commands))
        return results

    def digest(self) -> bytes:
        return self._machine.digest()

    async def snapshot(self, fd: int) -> None:
        """By a forked child (`node.snapshotting`), which the state of this moment belongs to."""
        await self._snapshotter.write(self._machine, fd, partial(view_snapshot.write, self._hub, self._tape))

    def restore(self, chunks: Iterable[bytes]) -> None:
        """Into the machine and the views that everybody holds: they are as fresh as they were built."""
        snapshot.restore(self._machine, view_snapshot.restore(self._hub, self._tape, chunks))


class Node:
    """All parts of one node, built and not yet running."""

    def __init__(self, config: ClusterConfig, name: str, *, clock: Clock, rng: random.Random) -> None:
        """Raises SecretsError if `qaexchange init` has not been run."""
        self._config = config
        self._node = config.node(name)
        self._administrator: Administrator = load_administrator(config)
        self._market = config.market_commands()
        self._alone = len(config.nodes) == 1
        keys = load_signing_keys(config)
        self.machine = Machine()
        self._collector = Collector()
        tape, hub, meter = Tape(), Hub(self.machine), OrderMeter(clock)
        raft = config.raft
        self.replica = Replica(
            ReplicaConfig(
                node=name,
                cluster=config.id,
                members=config.members(),
                data_dir=config.node_dir(name),
                heartbeat_ms=raft.heartbeat_ms,
                election_min_ms=raft.election_min_ms,
                election_max_ms=raft.election_max_ms,
                entry_commands_max=raft.entry_commands_max,
                entry_bytes_max=raft.entry_bytes_max,
                entries_in_flight_max=raft.entries_in_flight_max,
                waiting_max=raft.waiting_commands_max,
                submit_timeout_ms=raft.submit_timeout_ms,
                snapshot_entries=raft.snapshot_entries,
                snapshot_bytes=raft.snapshot_bytes,
                log_entries_kept=raft.log_entries_kept,
                log_entries_max=raft.log_entries_max,
            ),
            ExchangeStateMachine(self.machine, tape, hub, meter, self._collector),
            clock_ns=clock.wall_ns,
            rng=rng,
        )
        self.context = ApiContext(
            node=name,
            cluster=config.id,
            machine=self.machine,
            tape=tape,
            hub=hub,
            replica=self.replica,
            settings=ApiSettings(
                token_hours=config.api.token_hours,
                body_bytes_max=config.api.body_bytes_max,
                frame_bytes_max=config.api.frame_bytes_max,
                heartbeat_seconds=config.api.heartbeat_seconds,
                connections_max=config.api.connections_max,
                allowed_origins=config.api.allowed_origins,
                self_service_funding=config.accounts.self_service_funding,
            ),
            keys=TokenKeys(keys.active, keys.keys),
            clock=clock,
            random_bytes=entropy.random_bytes,
            orders_per_second=meter.per_second,
            begun=self._begun,
        )
        self._timekeeper = Timekeeper(self.replica, self.machine, clock, self._begun)
        self._role_changed = trio.Event()
        self.replica.add_role_listener(RoleLog(name).changed)
        self.replica.add_role_listener(self._on_role)

    def _on_role(self, role: Role, leader: str | None, term: int) -> None:
        self._role_changed.set()

    async def run(self, stop: trio.Event, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run until `stop`; started once it listens for peers and clients. Raises Fatal, OSError."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self.replica.run)
            nursery.start_soon(self._collect)
            nursery.start_soon(self._genesis)
            nursery.start_soon(self._timekeeper.run)
            async with trio.open_nursery() as door:  # ends first: no request meets a replica that has gone
                await door.start(partial(serve_api, self.context, host=self._node.api.host, port=self._node.api.port))
                log.info(
                    "listens",
                    extra=fields(
                        api=self._node.api_url, raft=self._node.raft, data=self._config.node_dir(self._node.name)
                    ),
                )
                task_status.started()
                await stop.wait()
                await self._hand_over()
                door.cancel_scope.cancel()
            nursery.cancel_scope.cancel()

    async def _hand_over(self) -> None:
        """Let another node lead before this one goes: an election after its end would interrupt for longer."""
        if self.replica.status().role != "leader" or self._alone:
            return
        try:
            leader = await self.replica.transfer(timeout_s=HAND_OVER_S)
        except ConsensusError as error:
            log.warning("stops as the leader", extra=fields(why=error))
        else:
            log.info("handed over", extra=fields(leader=leader))

    async def _collect(self) -> None:
        await self.replica.wait_ready()  # the replay of the log is behind us
        await self._collector.run(lambda: self.replica.status().role != "leader")

    def _begun(self) -> bool:
        return not genesis.missing(self.machine, self._market, self._administrator)

    async def _genesis(self) -> None:
        """Whenever this node leads, see to it that the exchange has its beginning."""
        while True:
            await self._role_changed.wait()
            self._role_changed = trio.Event()
            while self.replica.status().role == "leader":
                if self.replica.status().can_commit and await genesis.propose(
                    self.replica, self.machine, self._market, self._administrator
                ):
                    break
                await trio.sleep(0.05)


def run_node(config: ClusterConfig, name: str) -> int:
    """Be the node `name` until SIGTERM or SIGINT; returns the exit status. Raises SecretsError."""
    node = Node(config, name, clock=SystemClock(), rng=random.SystemRandom())
    try:
        trio.run(_until_signalled, node)
    except BaseException as error:
        failure = _first(error, Fatal) or _first(error, OSError)
        if failure is None:
            raise
        log.critical("stops", extra=fields(why=failure))
        return EXIT_FATAL if isinstance(failure, Fatal) else 1
    log.info("stopped")
    return 0


async def _until_signalled(node: Node) -> None:
    stop = trio.Event()
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(node.run, stop)
            nursery.start_soon(_announce, signals, stop)


async def _announce(signals: AsyncIterator[int], stop: trio.Event) -> None:
    async for number in signals:
        log.info("asked to stop", extra=fields(signal=signal.Signals(number).name))
        stop.set()
        return


def _first(error: BaseException, kind: type[BaseException]) -> BaseException | None:
    """The first error of a kind in a tree of exception groups."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            found = _first(inner, kind)
            if found is not None:
                return found
        return None
    return error if isinstance(error, kind) else None
