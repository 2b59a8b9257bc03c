"""Real replicas over loopback TCP in one process."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from chaos.sim.machines import Chain
from consensus.config import ReplicaConfig
from consensus.errors import NoQuorum, NotLeader
from consensus.ports import Member
from consensus.replica import Replica


def free_ports(count: int) -> list[int]:
    """Ports that are free now. Another run may take one before it is bound, which then fails loudly."""
    held = []
    for _ in range(count):
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", 0))
        held.append(sock)
    ports = [sock.getsockname()[1] for sock in held]
    for sock in held:
        sock.close()
    return ports


def members(count: int) -> tuple[Member, ...]:
    return tuple(
        Member(name, "127.0.0.1", port, f"http://127.0.0.1/{name}")
        for name, port in zip("abcdefg"[:count], free_ports(count), strict=True)
    )


async def until(condition: Callable[[], object], timeout_s: float = 2.0) -> None:
    """Wait until `condition` holds; TooSlowError if it does not in time."""
    with trio.fail_after(timeout_s):
        while not condition():  # noqa: ASYNC110 - a condition over several replicas has no event
            await trio.sleep(0.002)


class Cluster:
    """Members that can be started, stopped and asked, each in its own directory."""

    def __init__(self, root: Path, nursery: trio.Nursery, count: int = 3, **settings: Any) -> None:
        self._root = root
        self._nursery = nursery
        self._settings = settings
        self.members = members(count)
        self.replicas: dict[str, Replica] = {}
        self.machines: dict[str, Chain] = {}
        self._scopes: dict[str, tuple[trio.CancelScope, trio.Event]] = {}

    def config(self, name: str) -> ReplicaConfig:
        return ReplicaConfig(name, "test", self.members, self._root / name, **self._settings)

    async def start(self, *names: str) -> None:
        for name in names or [member.name for member in self.members]:
            machine = self.machines[name] = Chain()
            replica = self.replicas[name] = Replica(
                self.config(name), machine, clock_ns=time.time_ns, rng=random.Random(name)
            )
            await self._nursery.start(self._run, name, replica)

    async def _run(
        self, name: str, replica: Replica, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        ended = trio.Event()
        with trio.CancelScope() as scope:
            self._scopes[name] = (scope, ended)
            try:
                await replica.run(task_status=task_status)
            finally:
                ended.set()

    async def stop(self, *names: str) -> None:
        for name in names:
            scope, ended = self._scopes.pop(name)
            scope.cancel()
            await ended.wait()
            del self.replicas[name]

    async def leader(self, timeout_s: float = 5.0) -> str:
        """The name of a member that can commit."""
        with trio.fail_after(timeout_s):
            while True:
                for name, replica in self.replicas.items():
                    if replica.status().can_commit:
                        return name
                await trio.sleep(0.005)

    async def submit(self, *commands: bytes, timeout_s: float = 5.0) -> list[Any]:
        """Submit to whoever leads, as often as nothing was logged."""
        with trio.fail_after(timeout_s):
            while True:
                leader = self.replicas[await self.leader()]
                try:
                    return await leader.submit(commands)
                except (NotLeader, NoQuorum):
                    await trio.sleep(0.01)

    async def agree(self, timeout_s: float = 5.0) -> None:
        """Wait until all running members have applied the same, and have nothing left to apply."""
        await until(lambda: len({(s.applied_index, s.last_index, s.digest) for s in self.statuses()}) == 1, timeout_s)

    def statuses(self) -> list[Any]:
        return [replica.status() for replica in self.replicas.values()]


@asynccontextmanager
async def cluster(root: Path, count: int = 3, **settings: Any) -> AsyncIterator[Cluster]:
    """A cluster of `count` members, none started yet; all are stopped at the end."""
    async with trio.open_nursery() as nursery:
        yield Cluster(root, nursery, count, **settings)
        nursery.cancel_scope.cancel()
