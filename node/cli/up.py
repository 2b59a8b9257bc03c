"""`qaexchange up`: the whole cluster on this machine, with demo traders, shown live until it is told to stop."""

from __future__ import annotations

import math
import os
import shlex
import shutil
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Final, Protocol, Self

import trio
from rich.console import Console
from rich.live import Live

from node import logs, secrets
from node.cli import init
from node.clock import SystemClock
from node.config import ENVIRONMENT, ClusterConfig, find_config, load_config
from node.demo import DemoTraders
from node.local import LocalCluster, describe_exit
from node.table import live_panel, plain_line
from node.views import Observer, Overview

READY_TIMEOUT_S: Final = 30.0
LOOK_EVERY_S: Final = 1.0
_STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run(path: Path | None, *, demo: bool, plain: bool, seconds: float | None) -> int:
    """Run the cluster until a signal, or until `seconds` after it was ready (0: show it once). The exit status.

    Raises:
        ConfigError, SecretsError: nothing was started.
        LocalClusterError: it did not start; what did was stopped again.
    """
    config = load_config(path)
    logs.configure("up", "WARNING")
    if not secrets.initialised(config):
        init.make(config)
    # Broken secrets are said once and here, not by every node in its log.
    secrets.load_signing_keys(config)
    secrets.load_administrator(config)
    console = Console()
    screen = PlainScreen(console) if plain or not console.is_terminal else TableScreen(console)
    return trio.run(_run, config, console, screen, demo, seconds)


class Screen(Protocol):
    """Where `up` shows the cluster, as a context while it does."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def show(self, overview: Overview, dead: dict[str, str], below: list[str]) -> None:
        """`dead`: per node that does not run, what ended it and how to bring it back; `below`: further lines."""
        ...


class TableScreen:
    """A table that is drawn over itself, for terminals."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, auto_refresh=False)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, overview: Overview, dead: dict[str, str], below: list[str]) -> None:
        self._live.update(live_panel(overview, dead, [*below, _hint(overview)]), refresh=True)


class PlainScreen:
    """One line per look, for pipes and logs; how to bring a dead node back is said once, when it dies."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._clock = SystemClock()
        self._said: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, overview: Overview, dead: dict[str, str], below: list[str]) -> None:
        for name in self._said - dead.keys():
            self._said.remove(name)
        for name, text in dead.items():
            if name not in self._said:
                self._said.add(name)
                say(self._console, text)
        now = datetime.fromtimestamp(self._clock.wall_ns() // 10**9, UTC)
        say(self._console, plain_line(overview, f"{now:%H:%M:%S}Z", below))


def say(console: Console, text: str) -> None:
    """One line as it is: nothing in it is markup, and nothing is wrapped."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


async def _run(config: ClusterConfig, console: Console, screen: Screen, demo: bool, seconds: float | None) -> int:
    async with trio.open_nursery() as nursery:
        await nursery.start(_cancel_on_signal, nursery.cancel_scope)
        say(
            console, f"Starting {', '.join(node.name for node in config.nodes)}; logs: {config.data_dir}/*/log/node.log"
        )
        cluster = LocalCluster(config)
        try:
            async with cluster:
                await cluster.wait_until_ready(READY_TIMEOUT_S)
                await _trade_and_show(cluster, console, screen, demo, seconds)
        finally:
            say(console, "Stopped.")
        nursery.cancel_scope.cancel()
    return 0


async def _cancel_on_signal(
    scope: trio.CancelScope, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """The first signal to stop cancels `scope`; more of them change nothing, for stopping is bounded anyway."""
    with trio.open_signal_receiver(*_STOP_SIGNALS) as signals:
        task_status.started()
        async for _ in signals:
            scope.cancel()


async def _trade_and_show(
    cluster: LocalCluster, console: Console, screen: Screen, demo: bool, seconds: float | None
) -> None:
    """Let the demo traders trade, and show the cluster every second, for `seconds` or until cancelled.

    The traders leave before the nodes do, so that the end of the cluster is no error of theirs.
    """
    until = trio.current_time() + (math.inf if seconds is None else seconds)
    traders: DemoTraders | None = None
    foreign: list[str] = []
    try:
        async with trio.open_nursery() as nursery, Observer(cluster.config) as observer:
            if demo and cluster.config.demo.traders:
                traders = DemoTraders(cluster.config)
                nursery.start_soon(traders.run)
            with screen:
                while True:
                    overview = await observer.look()
                    foreign = [view.node for view in overview.views if not cluster.is_running(view.node)]
                    screen.show(overview, _dead(cluster, overview), traders.lines() if traders is not None else [])
                    due = trio.current_time() + LOOK_EVERY_S
                    if due > until:
                        break
                    await trio.sleep_until(due)
            nursery.cancel_scope.cancel()
    finally:
        for name in foreign:
            say(console, f"{name} was started by another `qaexchange serve`, and goes on running.")


def _hint(overview: Overview) -> str:
    """Where to send requests, and how this ends."""
    leader = overview.leader
    if leader is None:
        return "no node takes orders now; Ctrl-C stops everything"
    return (
        f"REST and WebSocket at {overview.sighting(leader.node).node.api_url} ({leader.node}); Ctrl-C stops everything"
    )


def _dead(cluster: LocalCluster, overview: Overview) -> dict[str, str]:
    """Per node that runs neither here nor elsewhere: what ended it, and the command that brings it back."""
    return {
        name: f"{name} ended with {describe_exit(cluster.exit_status(name))}; "
        f"bring it back from another terminal: {serve_command(cluster.config, name)}"
        for name in (sighting.node.name for sighting in overview.sightings if sighting.view is None)
        if not cluster.is_running(name)
    }


def serve_command(config: ClusterConfig, name: str) -> str:
    """What to type in another terminal, in this directory, to run node `name` of this cluster."""
    program = "qaexchange"
    if shutil.which(program) is None and Path(sys.argv[0]).name == program:
        program = sys.argv[0]  # the virtual environment is not activated: repeat what was typed
    words = [program, "serve", "--node", name]
    if config.path != find_config().absolute():
        words += ["--config", str(config.path)]
    settings = [f"{key}={shlex.quote(value)}" for key in ENVIRONMENT if (value := os.environ.get(key))]
    return " ".join([*settings, shlex.join(words)])
