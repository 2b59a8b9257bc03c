"""A cluster of real node processes on this machine, for `up`, the replay, tests, benchmarks and chaos.

    async with LocalCluster(config) as cluster:
        await cluster.wait_until_ready()
        cluster.kill("n1")
        await cluster.restart("n1")

Each node is `python -m node serve --node NAME --config FILE` with its own log file. A `LocalCluster` ends only
processes that it started, by their pid: a node that somebody else started in the place of a dead one is none of its
business.

**No orphans.** Each child holds the read end of a pipe as its standard input (`serve --lifeline`) and ends when that
reaches end of file, which the kernel brings about however the parent dies. PR_SET_PDEATHSIG would be no substitute: it
fires when the *thread* that started the child ends, and worker threads come and go. Each child leads a process group
of its own, so that Ctrl-C in a terminal reaches the parent alone, which then stops the nodes in order; and so that a
node which was stopped (SIGSTOP) when its parent died gets SIGHUP and SIGCONT from the kernel, and does not stay.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import trio

from node import entropy, secrets
from node.config import ClusterConfig, NodeConfig, load_config
from node.errors import LocalClusterError
from node.toml_text import to_toml
from node.views import Observer, Overview, explain, problems

STOP_GRACE_S: Final = 5.0  # a node that has not left this long after SIGTERM is killed
POLL_S: Final = 0.1
LOG_BYTES_KEPT: Final = 16 * 1024 * 1024  # of a log when its node starts; a larger one becomes node.log.1
LOG_TAIL_LINES: Final = 8
# Below the ports that Linux hands to outgoing connections (32768 on), so that none of those takes the port of a node
# while it is down.
_PORTS: Final = range(12_000, 32_000)
_CHECKOUT_CONFIG: Final = Path(__file__).resolve().parents[1] / "cluster.toml"


@dataclass(slots=True)
class _Child:
    process: subprocess.Popen[bytes]
    paused: bool = False
    dismissed: bool = False  # we ended it: that it is gone is no failure


class LocalCluster:
    """The node processes of one configuration. Not thread-safe; one trio task at a time drives it."""

    def __init__(self, config: ClusterConfig) -> None:
        self.config = config
        self.administrator_password: str | None = None  # of a temporary cluster, which made it
        self._children: dict[str, _Child] = {}

    @classmethod
    def temporary(
        cls,
        directory: Path,
        nodes: int = 3,
        *,
        base: Path | None = None,
        **overrides: Mapping[str, Any] | Sequence[Any],
    ) -> Self:
        """A cluster in `directory` on free ports of 127.0.0.1, with secrets, not started.

        All but nodes and directories comes from `base` (the checkout's `cluster.toml`); `overrides` change single keys
        of a table (`raft={"heartbeat_ms": 20}`) or replace an array (`instruments=[…]`, tables as mappings).
        """
        raw = tomllib.loads((base or _CHECKOUT_CONFIG).read_text("utf-8"), parse_float=Decimal)
        ports = free_ports(2 * nodes)
        raw["cluster"] = {**raw["cluster"], "data_dir": "data"}
        raw["nodes"] = [
            {"name": f"n{i + 1}", "raft": f"127.0.0.1:{ports[2 * i]}", "api": f"127.0.0.1:{ports[2 * i + 1]}"}
            for i in range(nodes)
        ]
        for table, change in overrides.items():
            raw[table] = {**raw.get(table, {}), **change} if isinstance(change, Mapping) else list(change)
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / "cluster.toml"
        path.write_text(to_toml(raw), "utf-8")
        # What the caller's environment says about its own cluster must not reach this one.
        config = load_config(path, environ={})
        password = secrets.initialise(config)
        cluster = cls(config)
        cluster.administrator_password = password
        return cluster

    async def __aenter__(self) -> Self:
        """Start every node. Raises LocalClusterError."""
        try:
            self.start()
        except BaseException:
            with trio.CancelScope(shield=True):
                await self.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with trio.CancelScope(shield=True):
            await self.stop()

    # --- starting and ending -----------------------------------------------------------------------------------------

    def start(self, *names: str) -> None:
        """Start the named nodes, or all. Raises LocalClusterError where an address is taken or a node runs already."""
        for node in self._select(names):
            if self.is_running(node.name):
                raise LocalClusterError(f"{node.name} runs already (pid {self.pid(node.name)})")
            _check_free(node)
            self._children[node.name] = _Child(self._spawn(node))

    async def stop(self, *names: str) -> None:
        """End the named nodes, or all, that this object started: SIGTERM, `STOP_GRACE_S`, then SIGKILL."""
        chosen = [name for name in self._names(names) if self.is_running(name)]
        for name in chosen:
            self.resume(name)
            self._children[name].dismissed = True
            self._signal(name, signal.SIGTERM)
        with trio.move_on_after(STOP_GRACE_S):
            while any(self.is_running(name) for name in chosen):  # noqa: ASYNC110 (a process has no trio.Event)
                await trio.sleep(POLL_S / 4)
        for name in chosen:
            if self.is_running(name):
                self.kill(name)
        for name in self._names(names):
            self._release(name)

    def kill(self, name: str) -> None:
        """SIGKILL: what a crash of the process leaves behind. Raises LocalClusterError if it does not run."""
        child = self._running(name)
        child.dismissed = True
        self._signal(name, signal.SIGKILL)
        child.process.wait()  # SIGKILL cannot be refused; reaping keeps the pid ours until it is gone
        self._release(name)

    def pause(self, name: str) -> None:
        """SIGSTOP: the process stands still, its connections stay open."""
        child = self._running(name)
        self._signal(name, signal.SIGSTOP)
        child.paused = True

    def resume(self, name: str) -> None:
        """SIGCONT. Does nothing to a node that is not paused."""
        child = self._running(name)
        if child.paused:
            self._signal(name, signal.SIGCONT)
            child.paused = False

    async def restart(self, name: str) -> None:
        """Stop the node if it runs, and start it on what it left on disk."""
        if self.is_running(name):
            await self.stop(name)
        self.start(name)

    # --- looking -----------------------------------------------------------------------------------------------------

    def is_running(self, name: str) -> bool:
        """Whether the process that this object started for the node is alive (paused ones are)."""
        self.config.node(name)
        child = self._children.get(name)
        return child is not None and child.process.poll() is None

    def pid(self, name: str) -> int:
        """Raises LocalClusterError if it does not run."""
        return self._running(name).process.pid

    def exit_status(self, name: str) -> int | None:
        """Of the last process that this object started for the node; negative: the signal that ended it."""
        child = self._children.get(name)
        return None if child is None else child.process.poll()

    def log_path(self, name: str) -> Path:
        return self.config.node_dir(name) / "log" / "node.log"

    def log_tail(self, name: str) -> str:
        """The last lines of the node's log, indented for a message."""
        try:
            with self.log_path(name).open("rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - 8_192))
                lines = file.read().decode(errors="replace").splitlines()
        except OSError:
            return "    (no log)"
        return "\n".join(f"    {line}" for line in lines[-LOG_TAIL_LINES:]) or "    (empty log)"

    async def wait_until_ready(self, timeout_s: float = 20.0) -> Overview:
        """Wait until every node that runs answers, follows one leader, and that leader can commit.

        Raises:
            LocalClusterError: one of them died by itself (SIGKILL is somebody's doing), or the time is up; says what
                each node said last.
        """
        overview: Overview | None = None
        async with Observer(self.config) as observer:
            with trio.move_on_after(timeout_s):
                while True:
                    self._check_alive()
                    overview = await observer.look()
                    leader = overview.leader
                    if leader is not None and self._all_follow(leader.node, overview):
                        node = self.config.node(leader.node)
                        if overview.can_commit and await observer.is_ready(node):
                            return overview
                    await trio.sleep(POLL_S)
        said = "nothing was asked" if overview is None else explain(overview)
        trouble = "" if overview is None else problems(overview.sightings)
        logs = "".join(f"\n  {name}, {self.log_path(name)}:\n{self.log_tail(name)}" for name in self._children)
        raise LocalClusterError(f"not ready after {timeout_s:g} s: {said}{'; ' if trouble else ''}{trouble}{logs}")

    def _all_follow(self, leader: str, overview: Overview) -> bool:
        for name, child in self._children.items():
            if child.process.poll() is None and not child.paused:
                view = overview.sighting(name).view
                if view is None or view.leader != leader:
                    return False
        return True

    def _check_alive(self) -> None:
        for name, child in self._children.items():
            status = child.process.poll()
            if status is not None and not child.dismissed and status != -signal.SIGKILL:
                where = self.log_path(name)
                raise LocalClusterError(
                    f"{name} ended with {describe_exit(status)}; the end of {where}:\n{self.log_tail(name)}"
                )

    # --- processes ---------------------------------------------------------------------------------------------------

    def _spawn(self, node: NodeConfig) -> subprocess.Popen[bytes]:
        log = self.log_path(node.name)
        environ = {
            **os.environ,
            "QAEXCHANGE_DATA_DIR": str(self.config.data_dir),
            "QAEXCHANGE_JWT_KEYS": str(self.config.jwt_keys_path),
            "QAEXCHANGE_LOG_LEVEL": self.config.log_level,
        }
        # -P: the working directory is not a place to import from.
        command = [sys.executable, "-P", "-m", "node", "serve", "--node", node.name, "--config", str(self.config.path)]
        try:
            log.parent.mkdir(parents=True, exist_ok=True)
            if log.exists() and log.stat().st_size > LOG_BYTES_KEPT:
                log.replace(log.with_suffix(".log.1"))
            with log.open("ab") as output:
                return subprocess.Popen(  # noqa: S603 (our own interpreter and module)
                    [*command, "--lifeline"],
                    stdin=subprocess.PIPE,
                    stdout=output,
                    stderr=output,
                    env=environ,
                    process_group=0,
                )
        except OSError as error:
            raise LocalClusterError(f"{node.name} cannot be started: {error}") from error

    def _running(self, name: str) -> _Child:
        if not self.is_running(name):
            raise LocalClusterError(f"{name} does not run here")
        return self._children[name]

    def _signal(self, name: str, number: signal.Signals) -> None:
        # Popen checks that the process was not reaped yet, so the pid cannot belong to anybody else.
        self._children[name].process.send_signal(number)

    def _release(self, name: str) -> None:
        """Close our end of the lifeline of a process that has ended."""
        child = self._children.get(name)
        if child is not None and child.process.stdin is not None:
            child.process.stdin.close()

    def _names(self, names: Sequence[str]) -> list[str]:
        return [node.name for node in self._select(names)]

    def _select(self, names: Sequence[str]) -> list[NodeConfig]:
        return [self.config.node(name) for name in names] if names else list(self.config.nodes)


def describe_exit(status: int | None) -> str:
    """An exit status as people say it: `exit status 1`, `signal SIGKILL`."""
    if status is None:
        return "no exit status"
    if status < 0:
        try:
            return f"signal {signal.Signals(-status).name}"
        except ValueError:
            return f"signal {-status}"
    return f"exit status {status}"


def free_ports(count: int) -> list[int]:
    """`count` different TCP ports of 127.0.0.1 that nobody listens on now, outside the ephemeral range."""
    with ExitStack() as held:
        ports: list[int] = []
        for _ in range(100 * count):
            if len(ports) == count:
                return ports
            port = _PORTS[entropy.random_below(len(_PORTS))]
            probe = held.enter_context(socket.socket())
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            ports.append(port)
        raise LocalClusterError(f"no {count} free ports between {_PORTS.start} and {_PORTS.stop}")


def _check_free(node: NodeConfig) -> None:
    """Raises LocalClusterError where one of a node's addresses is taken, before a process dies of it."""
    for key, address in (("raft", node.raft), ("api", node.api)):
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the node itself will
            try:
                probe.bind((address.host, address.port))
            except OSError as error:
                raise LocalClusterError(
                    f"{node.name}: {key} address {address} cannot be used: {error.strerror or error}; "
                    "is another `qaexchange up` or `serve` running?"
                ) from None
