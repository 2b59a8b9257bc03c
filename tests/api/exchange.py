"""A real exchange for the tests of the front door: replicas over loopback, the machine, the hub, a served port each.

Composed of the parts that a node is made of; nothing is faked. `qaexchange` itself is tested end to end elsewhere.
"""

from __future__ import annotations

import random
import socket
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import trio

from api.ports import ApiContext, ApiSettings
from api.server import serve_api
from api.tokens import TokenKeys, Tokens
from api.ws.hub import Hub
from consensus.errors import NoQuorum, NotLeader
from consensus.ports import Member
from consensus.replica import Replica, ReplicaConfig
from node.exchange.codec import encode_command
from node.exchange.commands import Command, Deposit, ListInstrument, OpenAccount, RegisterUser
from node.exchange.events import Event
from node.exchange.machine import Machine
from node.exchange.types import Role
from node.market.tape import Tape
from tests.exchange.driver import YUAN, copper

COPPER = "SHFE.cu2701"
# bcrypt (cost 12) of "correct horse": registering over the API costs 0.4 s of CPU, so most users are made in the log.
PASSWORD = "correct horse"
PASSWORD_HASH = "$2b$12$abcdefghijklmnopqrstuuFDJRuYeKkCzo3Wy7h8SxhBSHBAHiPK2"
KEYS = TokenKeys("k1", {"k1": bytes(range(32)), "k0": bytes(range(32, 64))})


class TestClock:
    """The wall clock, which a test may move."""

    __test__ = False

    def __init__(self) -> None:
        self.offset_ns = 0

    def wall_ns(self) -> int:
        return time.time_ns() + self.offset_ns


INDEX_FUTURE = copper(
    instrument_id="CFFEX.IF2701",
    name="沪深300",
    product="IF",
    volume_multiple=300,
    tick_units=2_000,
    pre_settlement_ticks=19_000,
    limit_up_rate=100_000_000,
    limit_down_rate=100_000_000,
    volume_max=20,
)


class Applied:
    """The machine with everybody who watches it, as `node.app` composes them."""

    def __init__(self) -> None:
        self.machine = Machine()
        self.tape = Tape()
        self.hub = Hub(self.machine)

    def apply(self, index: int, term: int, time_ns: int, commands: Sequence[bytes]) -> list[list[Event]]:
        results = self.machine.apply(index, time_ns, commands)
        self.tape.observe(index, time_ns, results)
        self.hub.observe(index, time_ns, self.machine.digest(), results)
        return results

    def digest(self) -> bytes:
        return self.machine.digest()


def free_ports(count: int) -> list[int]:
    held = []
    for _ in range(count):
        sock = socket.socket()
        sock.bind(("127.0.0.1", 0))
        held.append(sock)
    ports = [sock.getsockname()[1] for sock in held]
    for sock in held:
        sock.close()
    return ports


class Node:
    """One running node."""

    def __init__(self, member: Member, replica: Replica, applied: Applied, context: ApiContext) -> None:
        self.name = member.name
        self.url = member.api_url
        self.replica = replica
        self.machine = applied.machine
        self.hub = applied.hub
        self.context = context
        self.clock: TestClock = context.clock  # type: ignore[assignment]
        self.scope = trio.CancelScope()
        self.ended = trio.Event()
        self._tokens = Tokens(
            context.keys,
            cluster=context.cluster,
            hours=context.settings.token_hours,
            now_s=lambda: context.clock.wall_ns() / 1e9,
            random_bytes=context.random_bytes,
        )

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    @property
    def ws_url(self) -> str:
        return self.url.replace("http", "ws") + "/ws"

    def token(self, user_id: str) -> str:
        """A token as a login would issue it."""
        return self._tokens.issue(self.machine.users[user_id])[0]

    def headers(self, user_id: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token(user_id)}"}

    async def apply(self, *commands: Command) -> list[list[Event]]:
        """Commands through the log, without the front door."""
        receipts = await self.replica.submit([encode_command(command) for command in commands])
        return [receipt.result for receipt in receipts]

    async def add_trader(self, name: str, cash: int = 10_000_000, role: Role = Role.TRADER) -> tuple[str, str]:
        """(user_id, account_id) of a new user with one funded account."""
        ((user, *_),) = await self.apply(RegisterUser(name, PASSWORD_HASH, int(role)))
        user_id = user.user_id  # type: ignore[attr-defined]
        ((account, *_),) = await self.apply(OpenAccount(user_id, f"{name}'s account", 0))
        account_id = account.account_id  # type: ignore[attr-defined]
        if cash:
            await self.apply(Deposit(account_id, cash * YUAN))
        return user_id, account_id


class Exchange:
    """The nodes of one cluster."""

    def __init__(self, nursery: trio.Nursery, root: Path, count: int, settings: ApiSettings) -> None:
        ports = free_ports(2 * count)
        self._nursery = nursery
        self._root = root
        self._settings = settings
        self.members = tuple(
            Member(f"n{n + 1}", "127.0.0.1", ports[n], f"http://127.0.0.1:{ports[count + n]}") for n in range(count)
        )
        self.nodes: dict[str, Node] = {}

    async def start(self, name: str) -> Node:
        member = next(member for member in self.members if member.name == name)
        applied = Applied()
        clock = TestClock()
        alone = len(self.members) == 1  # nobody to miss: elect at once
        config = ReplicaConfig(
            name,
            "test",
            self.members,
            self._root / name,
            heartbeat_ms=5 if alone else 40,
            election_min_ms=20 if alone else 300,
            election_max_ms=40 if alone else 600,
            submit_timeout_ms=1_500,
        )
        replica = Replica(config, applied, clock_ns=clock.wall_ns, rng=random.Random(name))
        context = ApiContext(
            node=name,
            cluster="test",
            machine=applied.machine,
            tape=applied.tape,
            hub=applied.hub,
            replica=replica,
            settings=self._settings,
            keys=KEYS,
            clock=clock,
        )
        node = Node(member, replica, applied, context)
        await self._nursery.start(self._run, node)
        self.nodes[name] = node
        return node

    async def _run(self, node: Node, task_status: trio.TaskStatus[None]) -> None:
        try:
            with node.scope:
                async with trio.open_nursery() as nursery:
                    await nursery.start(node.replica.run)
                    await nursery.start(partial(serve_api, node.context, host="127.0.0.1", port=node.port))
                    task_status.started()
        finally:
            node.ended.set()

    async def stop(self, name: str) -> None:
        node = self.nodes.pop(name)
        node.scope.cancel()
        await node.ended.wait()

    async def leader(self) -> Node:
        """The node that can commit."""
        while True:
            for node in self.nodes.values():
                if node.replica.status().can_commit:
                    return node
            await trio.sleep(0.005)

    async def followers(self) -> list[Node]:
        """The nodes that follow the leader and know it."""
        leader = await self.leader()
        others = [node for node in self.nodes.values() if node is not leader]
        for node in others:
            while node.replica.status().leader != leader.name:  # noqa: ASYNC110 (no event tells it)
                await trio.sleep(0.005)
        return others

    async def begin(self, *instruments: ListInstrument) -> Node:
        """List instruments; returns the leader."""
        while True:
            leader = await self.leader()
            try:
                await leader.apply(*(instruments or (copper(), INDEX_FUTURE)))
                return leader
            except (NotLeader, NoQuorum):
                await trio.sleep(0.01)


@asynccontextmanager
async def exchange(root: Path, count: int = 1, **settings: Any) -> AsyncIterator[Exchange]:
    """A started cluster with two instruments listed."""
    async with trio.open_nursery() as nursery:
        cluster = Exchange(nursery, root, count, ApiSettings(**({"self_service_funding": True} | settings)))
        for member in cluster.members:
            await cluster.start(member.name)
        await cluster.begin()
        yield cluster
        nursery.cancel_scope.cancel()


def client(node: Node, user_id: str | None = None) -> httpx.AsyncClient:
    """An independent HTTP client, authenticated if a user is given."""
    headers = node.headers(user_id) if user_id is not None else {}
    return httpx.AsyncClient(base_url=node.url, headers=headers, timeout=10.0, trust_env=False, verify=False)


def order(account_id: str, **changes: Any) -> dict[str, Any]:
    """A limit order of one lot of copper at 70 000."""
    body: dict[str, Any] = {
        "account_id": account_id,
        "instrument_id": COPPER,
        "direction": "BUY",
        "offset": "OPEN",
        "volume": 1,
        "price": 70_000,
    }
    return body | changes


def conditional(account_id: str, **changes: Any) -> dict[str, Any]:
    """Buy one lot of copper at 70 200 once somebody pays 70 100."""
    body: dict[str, Any] = {
        "account_id": account_id,
        "instrument_id": COPPER,
        "direction": "BUY",
        "offset": "OPEN",
        "volume": 1,
        "limit_price": 70_200,
        "condition_type": "PRICE_TOUCH",
        "trigger_price": 70_100,
        "trigger_condition": "GE",
    }
    return body | changes
