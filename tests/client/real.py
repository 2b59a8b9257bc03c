"""Clusters of real node processes, and traders on them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import trio

from api.client import Direction, NewOrder, Order, TimeCondition, TrioClient
from node.local import LocalCluster

CU = "SHFE.cu2701"
PASSWORD = "correct horse battery"


@dataclass
class Cluster:
    """A running cluster. `leader` is the one that led when it became ready."""

    nodes: LocalCluster
    leader: str

    @property
    def urls(self) -> list[str]:
        return [node.api_url for node in self.nodes.config.nodes]

    @property
    def leader_url(self) -> str:
        return self.nodes.config.node(self.leader).api_url

    @property
    def followers(self) -> list[str]:
        return [node.name for node in self.nodes.config.nodes if node.name != self.leader]

    def url(self, name: str) -> str:
        return self.nodes.config.node(name).api_url


@asynccontextmanager
async def running(directory: Path, nodes: int = 3, **overrides: Any) -> AsyncIterator[Cluster]:
    async with LocalCluster.temporary(directory / "cluster", nodes, **overrides) as cluster:
        overview = await cluster.wait_until_ready()
        assert overview.leader is not None
        yield Cluster(cluster, overview.leader.node)


async def trader(client: TrioClient, name: str = "alice") -> str:
    """Register, log in, open a rich account; returns its id."""
    await client.register(name, PASSWORD)
    await client.login(name, PASSWORD)
    account = await client.open_account(name, init_cash=Decimal(1_000_000_000))
    return account.account_id


def order(
    account_id: str, side: Direction = "BUY", price: int = 69_000, lots: int = 1, condition: TimeCondition = "GFD"
) -> NewOrder:
    return NewOrder(account_id, CU, side, "OPEN", lots, Decimal(price), time_condition=condition)


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something that another task or process does has happened; the test's timeout bounds it."""
    while not condition():  # noqa: ASYNC110 (what is waited for has no trio.Event)
        await trio.sleep(0.01)


async def all_orders(client: TrioClient, account_id: str) -> list[Order]:
    found: list[Order] = []
    for page in range(1, 1_000):
        answer = await client.orders(account_id, page=page, page_size=200)
        found += answer.items
        if len(found) >= answer.total:
            break
    return found
