"""Strike the leader of a real cluster under load, again and again, and judge what the clients were told.

Each round: traders trade through the public socket; the leader's process gets SIGKILL (or SIGSTOP, SIGTERM, the order
to hand over); the longest time in which no client has an acknowledgement is the client-observed failover; the fault is
mended (a killed node is started again); all nodes must come to equal
state hashes at an equal index. At the end every acknowledged order must be there exactly once.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import pairwise
from typing import Final

import httpx
import trio

from api.client import ClientError, NewOrder, OutcomeUnknown, TradingSocket, TrioClient
from chaos.checkers import presence, realtime, replicas
from chaos.history import Operation, Outcome, Placed, Replica
from node import entropy
from node.exchange.types import MONEY_SCALE
from node.local import LocalCluster
from node.secrets import ADMIN_USERNAME
from node.views import Observer

CALL_TIMEOUT_S: Final = 20.0  # of one order with all its retries: far above any failover that would pass
CONVERGE_TIMEOUT_S: Final = 30.0
PRICE_TICKS_AROUND: Final = 5
PAGE_SIZE: Final = 200


class ChaosError(Exception):
    """The run itself failed: no verdict."""


@dataclass(slots=True)
class Verdict:
    """What a run showed. It passed if there are no violations and every fault was verified."""

    seed: int
    operations: list[Operation]
    violations: list[str]
    gaps_s: list[float]  # client-observed: the longest time without an acknowledged order around each strike
    rejoins_s: list[float]  # from the mending to a cluster in which all nodes follow one leader
    killed: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        return not self.violations

    @property
    def failed(self) -> list[str]:
        """Why orders were not acknowledged, for all the retries of their clients."""
        return [operation.why for operation in self.operations if operation.outcome != "ok"]

    @property
    def acknowledged(self) -> int:
        return sum(operation.outcome == "ok" for operation in self.operations)


class _Workload:
    """Traders that submit small limit orders around one price for as long as they run, one at a time each."""

    def __init__(self, urls: Sequence[str], instrument_id: str, price: Decimal, tick: Decimal, seed: int) -> None:
        self._urls = urls
        self._instrument_id = instrument_id
        self._price = price
        self._tick = tick
        self._seed = seed
        self.operations: list[Operation] = []
        self.acknowledged = trio.Event()  # replaced at every acknowledgement
        self.accounts: list[tuple[str, str, str]] = []  # user name, password, account id

    async def prepare(self, traders: int) -> None:
        """Register the traders, open and fund their accounts."""
        run = entropy.random_bytes(4).hex()
        async with TrioClient(self._urls) as client:
            for number in range(traders):
                name, password = f"chaos-{run}-{number}", entropy.random_password()
                await client.register(name, password)
                await client.login(name, password)
                account = await client.open_account(name)
                await client.deposit(account.account_id, Decimal(1_000_000_000))
                self.accounts.append((name, password, account.account_id))

    async def trade(self, number: int, pause_s: float) -> None:
        rng = random.Random(f"{self._seed}/{number}")  # noqa: S311 (a seeded workload)
        name, password, account_id = self.accounts[number]
        async with TrioClient(self._urls, timeout_s=CALL_TIMEOUT_S, rng=rng) as client:
            await client.login(name, password)
            async with client.open_socket() as socket:
                for count in range(10**9):
                    await self._one(socket, account_id, f"{self._seed}-{number}-{count}", rng)
                    await trio.sleep(pause_s)

    async def _one(self, socket: TradingSocket, account_id: str, client_order_id: str, rng: random.Random) -> None:
        order = NewOrder(
            account_id,
            self._instrument_id,
            rng.choice(("BUY", "SELL")),
            "OPEN",
            1,
            self._price + self._tick * rng.randint(-PRICE_TICKS_AROUND, PRICE_TICKS_AROUND),
            client_order_id=client_order_id,
            time_condition=rng.choice(("GFD", "IOC")),
        )
        invoked = trio.current_time()
        try:
            result = await socket.submit(order, timeout_s=CALL_TIMEOUT_S)
        except OutcomeUnknown as error:
            self._record(account_id, client_order_id, invoked, "unknown", why=str(error))
        except ClientError as error:
            outcome: Outcome = "unknown" if error.after_unknown else "fail"
            self._record(account_id, client_order_id, invoked, outcome, why=str(error))
        else:
            assert result.receipt is not None
            self._record(account_id, client_order_id, invoked, "ok", result.order_id, result.receipt.log_index)
            self.acknowledged.set()
            self.acknowledged = trio.Event()

    def _record(
        self,
        account_id: str,
        client_order_id: str,
        invoked_s: float,
        outcome: Outcome,
        order_id: str = "",
        log_index: int = 0,
        why: str = "",
    ) -> None:
        self.operations.append(
            Operation(
                account_id,
                account_id,
                client_order_id,
                invoked_s,
                trio.current_time(),
                outcome,
                order_id,
                log_index,
                why,
            )
        )

    async def placed(self) -> list[Placed]:
        """Every order that the cluster holds of these traders, asked for over REST."""
        orders: list[Placed] = []
        async with TrioClient(self._urls, timeout_s=CALL_TIMEOUT_S) as client:
            for name, password, account_id in self.accounts:
                await client.login(name, password)
                page = 1
                while True:
                    answer = await client.orders(account_id, page=page, page_size=PAGE_SIZE)
                    orders += [Placed(o.account_id, o.client_order_id, o.order_id) for o in answer.items]
                    if page * PAGE_SIZE >= answer.total:
                        break
                    page += 1
        return orders


class Fault:
    """What is done to the leader of a cluster. `strike` returns when it is done, `mend` undoes it."""

    name = "SIGKILL"

    async def strike(self, cluster: LocalCluster, leader: str) -> None:
        cluster.kill(leader)

    async def mend(self, cluster: LocalCluster, leader: str) -> None:
        await cluster.restart(leader)


class Pause(Fault):
    """SIGSTOP, until it is mended with SIGCONT."""

    name = "SIGSTOP"

    async def strike(self, cluster: LocalCluster, leader: str) -> None:
        cluster.pause(leader)

    async def mend(self, cluster: LocalCluster, leader: str) -> None:
        cluster.resume(leader)


class Stop(Fault):
    """SIGTERM, and the wait for its end: what a rolling restart does to each node."""

    name = "SIGTERM"

    async def strike(self, cluster: LocalCluster, leader: str) -> None:
        await cluster.stop(leader)


class Transfer(Fault):
    """A planned transfer, as an administrator asks for it."""

    name = "transfer"

    async def strike(self, cluster: LocalCluster, leader: str) -> None:
        assert cluster.administrator_password is not None
        url = cluster.config.node(leader).api_url
        async with httpx.AsyncClient(base_url=url, timeout=CALL_TIMEOUT_S, trust_env=False) as http:
            login = {"username": ADMIN_USERNAME, "password": cluster.administrator_password}
            token = (await http.post("/api/auth/login", json=login)).json()["data"]["token"]
            answer = await http.post("/admin/cluster/transfer", json={}, headers={"Authorization": f"Bearer {token}"})
        if answer.status_code != 200:
            raise ChaosError(f"{leader} did not hand over: {answer.json()['error']['message']}")

    async def mend(self, cluster: LocalCluster, leader: str) -> None:
        pass


async def kill_leader(
    cluster: LocalCluster, *, rounds: int, traders: int = 4, pause_s: float = 0.005, seed: int = 1, load_s: float = 1.0
) -> Verdict:
    """`strike_leader` with SIGKILL."""
    return await strike_leader(
        cluster, Fault(), rounds=rounds, traders=traders, pause_s=pause_s, seed=seed, load_s=load_s
    )


async def strike_leader(
    cluster: LocalCluster,
    fault: Fault,
    *,
    rounds: int,
    traders: int = 4,
    pause_s: float = 0.005,
    seed: int = 1,
    load_s: float = 1.0,
) -> Verdict:
    """Do `fault` to the leader `rounds` times under load, `load_s` seconds of trading before each.

    A gap is the longest time without an acknowledgement around the strike. The cluster is started and ready. Raises
    ChaosError where the run cannot be judged (no leader, no acknowledgement, no convergence within its bound, a fault
    after which the same term goes on).
    """
    async with Observer(cluster.config) as observer:
        config = cluster.config
        instrument = config.instruments[0]
        tick_units = instrument.command().tick_units  # from the product table, where the configuration leans on it
        workload = _Workload(
            [node.api_url for node in config.nodes],
            instrument.instrument_id,
            Decimal(instrument.pre_settlement),
            Decimal(tick_units) / MONEY_SCALE,
            seed,
        )
        await workload.prepare(traders)
        gaps: list[float] = []
        rejoins: list[float] = []
        struck: list[str] = []
        sightings: list[Replica] = []
        async with trio.open_nursery() as nursery:
            for number in range(traders):
                nursery.start_soon(workload.trade, number, pause_s)
            for _ in range(rounds):
                await _next_acknowledgement(workload)
                await trio.sleep(load_s)
                leader = (await observer.look()).leader
                if leader is None:
                    raise ChaosError("no node leads")
                struck.append(leader.node)
                at = trio.current_time()
                await fault.strike(cluster, leader.node)
                await _answered_since(workload, at)
                await trio.sleep(load_s / 2)
                gaps.append(longest_silence(workload.operations, at))
                await fault.mend(cluster, leader.node)
                at = trio.current_time()
                overview = await cluster.wait_until_ready(CONVERGE_TIMEOUT_S)
                rejoins.append(trio.current_time() - at)
                if overview.leader is None or overview.leader.term == leader.term:
                    raise ChaosError(f"{leader.node} still leads term {leader.term}: {fault.name} did not fire")
            nursery.cancel_scope.cancel()
        sightings += await _converged(observer)
        violations = [
            *presence.check(workload.operations, await workload.placed()),
            *realtime.check(workload.operations),
            *replicas.check(sightings),
        ]
        return Verdict(seed, workload.operations, violations, gaps, rejoins, struck)


def longest_silence(operations: Sequence[Operation], since_s: float) -> float:
    """The longest time without an acknowledgement that ended after `since_s`."""
    answered = sorted(operation.completed_s for operation in operations if operation.outcome == "ok")
    return max((later - earlier for earlier, later in pairwise(answered) if later > since_s), default=0.0)


async def _next_acknowledgement(workload: _Workload) -> None:
    with trio.move_on_after(CALL_TIMEOUT_S) as scope:
        await workload.acknowledged.wait()
    if scope.cancelled_caught:
        last = workload.operations[-1].why if workload.operations else "nothing was submitted"
        raise ChaosError(f"no order was acknowledged within {CALL_TIMEOUT_S:g} s; last: {last}")


async def _answered_since(workload: _Workload, since_s: float) -> None:
    """Wait for an order that was submitted after `since_s`: what the struck leader had acknowledged may still come."""
    seen = len(workload.operations)
    while not any(one.outcome == "ok" and one.invoked_s > since_s for one in workload.operations[seen:]):
        await _next_acknowledgement(workload)


async def _converged(observer: Observer) -> list[Replica]:
    """Wait until all nodes have applied the same index; the sightings of that moment are for the judge."""
    seen: list[Replica] = []
    with trio.move_on_after(CONVERGE_TIMEOUT_S):
        while True:
            views = [sighting.view for sighting in (await observer.look()).sightings]
            seen = [Replica(view.node, view.applied_index, view.state_hash) for view in views if view is not None]
            if len(seen) == len(views) and len({replica.applied_index for replica in seen}) == 1:
                return seen
            await trio.sleep(0.05)
    raise ChaosError(f"the nodes did not come to one index: {seen}")
