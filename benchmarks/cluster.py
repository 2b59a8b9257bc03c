"""Three nodes on this machine, one client process: orders a second, and how long an acknowledgement takes.

    python -m benchmarks.cluster [--seconds S] [--only NAME ...] [--json]

The nodes are real processes (`node.local.LocalCluster`): every acknowledged order is on the disk of a majority. Client
and nodes share the cores of the machine, so the client's own work is in every figure; the CPU time of each process is
printed beside. The flow is alternating buyers and sellers around a price, of which one in seven trades.

Open loop ("offered"): orders are due by a schedule that does not wait for answers, and the latency counts from the
time at which an order was due, so that a stall is seen by every order that it delays. Closed loop (everything else):
the next order leaves when an answer comes.

The first figures say how busy the machine is without us: what one fdatasync costs, and how many processes want to run.
"""

from __future__ import annotations

import argparse
import gc
import math
import os
import random
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

import trio

from api.client import NewOrder, NotFound, OrderResult, SocketSettings, TradingSocket, TrioClient
from api.client.ticket import Ticket
from benchmarks.report import Figure, percentile, show
from node import entropy
from node.local import LocalCluster
from node.replay import instrument
from node.replay.instrument import INSTRUMENT_ID
from node.views import NodeView, Observer

SOCKETS = 50
USERS = 10  # bcrypt costs a quarter of a second for each registration and each login
ENROLLED_AT_A_TIME = 2  # more would wait for the cores of this machine until their clients repeat the question
PIPELINED_PER_SOCKET = 8
BATCH = 100
BATCH_SOCKETS = 4
BATCH_FRAMES_IN_FLIGHT = 4
INIT_CASH = 10_000_000_000
MID_TICKS = 57_774
SPREAD_TICKS = 8
WARM_UP_S = 0.5
PROBES = 200
OUTSTANDING_S = 10.0  # an offered order that is not acknowledged within this is an error
# With the defaults, a client with thousands of orders in flight collects garbage for a quarter of its time.
GC_THRESHOLDS = (50_000, 50, 1_000)


@dataclass(slots=True)
class Trader:
    """One account with its socket, and its endless flow of orders."""

    socket: TradingSocket
    account_id: str
    side: int
    rng: random.Random

    def order(self) -> NewOrder:
        """A limit order a few ticks around the middle; those of the two sides overlap a little."""
        ticks = MID_TICKS - self.side * self.rng.randint(-2, SPREAD_TICKS)
        return NewOrder(
            self.account_id,
            INSTRUMENT_ID,
            "BUY" if self.side > 0 else "SELL",
            "OPEN",
            self.rng.randint(1, 5),
            price=Decimal(ticks) / 100,
            # What does not trade at once leaves again for three orders in four: the book stays of a natural size.
            time_condition="GFD" if self.rng.random() < 0.25 else "IOC",
        )


@dataclass(slots=True)
class Measured:
    """Acknowledgements of one scenario; latencies in seconds."""

    latencies: list[float] = field(default_factory=list)
    seconds: float = 0.0
    refused: int = 0
    late: list[float] = field(default_factory=list)  # open loop: how long after an order was due it was sent

    def count(self, results: list[object], latency_s: float) -> None:
        good = sum(isinstance(result, OrderResult) for result in results)
        self.refused += len(results) - good
        self.latencies.extend([latency_s] * good)

    @property
    def per_second(self) -> float:
        return len(self.latencies) / self.seconds

    def ms(self, percent: float) -> float:
        return percentile(sorted(self.latencies), percent) * 1_000


async def one_at_a_time(traders: list[Trader], seconds: float) -> Measured:
    measured = Measured()
    trader = traders[0]

    async def place() -> None:
        ticket = await trader.socket.begin([trader.order()])
        measured.count(await ticket.wait(), ticket.latency_s or 0.0)

    await _closed(measured, seconds, [place])
    return measured


async def pipelined(traders: list[Trader], seconds: float) -> Measured:
    """Single orders, a few unanswered on every socket."""
    measured = Measured()

    def place(trader: Trader) -> Callable[[], Awaitable[None]]:
        async def once() -> None:
            ticket = await trader.socket.begin([trader.order()])
            measured.count(await ticket.wait(), ticket.latency_s or 0.0)

        return once

    await _closed(measured, seconds, [place(trader) for trader in traders for _ in range(PIPELINED_PER_SOCKET)])
    return measured


async def batches(traders: list[Trader], seconds: float) -> Measured:
    """Frames of a hundred orders on a few sockets."""
    measured = Measured()

    def place(trader: Trader) -> Callable[[], Awaitable[None]]:
        async def once() -> None:
            ticket = await trader.socket.begin([trader.order() for _ in range(BATCH)])
            measured.count(await ticket.wait(), ticket.latency_s or 0.0)

        return once

    chosen = traders[:BATCH_SOCKETS]
    await _closed(measured, seconds, [place(trader) for trader in chosen for _ in range(BATCH_FRAMES_IN_FLIGHT)])
    return measured


async def _closed(measured: Measured, seconds: float, loops: list[Callable[[], Awaitable[None]]]) -> None:
    """Run every loop again and again; what was acknowledged in the warm-up does not count."""
    end = trio.current_time() + WARM_UP_S + seconds

    async def repeat(once: Callable[[], Awaitable[None]]) -> None:
        while trio.current_time() < end:
            await once()

    async with trio.open_nursery() as nursery:
        for once in loops:
            nursery.start_soon(repeat, once)
        await trio.sleep(WARM_UP_S)
        measured.latencies.clear()
        began = trio.current_time()
        await trio.sleep(seconds)
        measured.seconds = trio.current_time() - began
        counted = len(measured.latencies)
    del measured.latencies[counted:]


async def offered(traders: list[Trader], per_second: float, seconds: float) -> Measured:
    """Orders at a fixed rate, round robin over the sockets, whatever comes back."""
    measured = Measured()
    total = int(per_second * (seconds + WARM_UP_S))
    began = trio.current_time()

    async def collect(sent: trio.MemoryReceiveChannel[tuple[float, Ticket]]) -> None:
        async for due, ticket in sent:
            results = await ticket.wait()
            assert ticket.latency_s is not None
            if due - began >= WARM_UP_S:
                # When the answer came, not when this task had its turn: answers of one socket come in order.
                measured.count(results, ticket.asked_at + ticket.latency_s - due)
                measured.late.append(ticket.asked_at - due)

    outgoing: list[tuple[Trader, trio.MemorySendChannel[tuple[float, Ticket]]]] = []
    async with trio.open_nursery() as nursery:
        for trader in traders:
            send, receive = trio.open_memory_channel[tuple[float, Ticket]](math.inf)
            outgoing.append((trader, send))
            nursery.start_soon(collect, receive)
        number = 0
        while number < total:
            now = trio.current_time()
            while number < total and (due := began + number / per_second) <= now:
                trader, send = outgoing[number % len(outgoing)]
                ticket = await trader.socket.begin([trader.order()], timeout_s=OUTSTANDING_S)
                send.send_nowait((due, ticket))
                number += 1
            await trio.sleep(max(0.0, began + number / per_second - trio.current_time()))
        for _, send in outgoing:
            send.close()
    measured.seconds = trio.current_time() - began - WARM_UP_S
    return measured


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def busy_seconds() -> float:
    """CPU time that this machine has spent on anything, all cores together."""
    user, nice, system, _idle, _iowait, *rest = map(int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9])
    return (user + nice + system + sum(rest)) / os.sysconf("SC_CLK_TCK")


def surroundings(folder: Path) -> list[Figure]:
    """What the disk and the neighbours do to every figure below."""
    times = []
    with (folder / "probe").open("wb", buffering=0) as file:
        for _ in range(PROBES):
            file.write(bytes(4_096))
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append((time.perf_counter() - began) * 1_000)
    times.sort()
    return [
        Figure("this disk: fdatasync of 4 kB p50", percentile(times, 50), "ms", less_is_better=True),
        Figure("this disk: fdatasync of 4 kB p99", percentile(times, 99), "ms", less_is_better=True),
        Figure("this machine: load before we began", os.getloadavg()[0], "processes", less_is_better=True),
    ]


@dataclass(slots=True)
class Lab:
    """A running cluster with funded traders on open sockets."""

    cluster: LocalCluster
    traders: list[Trader]
    observer: Observer

    async def leader(self) -> NodeView:
        overview = await self.observer.look()
        if overview.leader is None:
            raise SystemExit("the cluster lost its leader during the benchmark")
        return overview.leader

    def cpu(self) -> dict[str, float]:
        """Seconds that the client, each node and everybody else on this machine have used."""
        ours = {node.name: cpu_seconds(self.cluster.pid(node.name)) for node in self.cluster.config.nodes}
        ours["client"] = cpu_seconds(os.getpid())
        return {**ours, "others": busy_seconds() - sum(ours.values())}


async def settle(lab: Lab, stack: AsyncExitStack) -> None:
    """Register the users, open an account and a socket per trader."""
    urls = [node.api_url for node in lab.cluster.config.nodes]
    clients = [await stack.enter_async_context(TrioClient(urls, timeout_s=30.0)) for _ in range(USERS)]

    async def enrol(number: int, client: TrioClient) -> None:
        password = entropy.random_password()
        async with turns:
            await client.register(f"bench{number}", password)
            await client.login(f"bench{number}", password)

    turns = trio.Semaphore(ENROLLED_AT_A_TIME)
    async with trio.open_nursery() as nursery:
        for number, client in enumerate(clients):
            nursery.start_soon(enrol, number, client)
    while True:  # the instruments are listed a moment after the cluster can commit
        try:
            await clients[0].instrument(INSTRUMENT_ID)
            break
        except NotFound:
            await trio.sleep(0.05)
    for number in range(SOCKETS):
        # Users buy or sell, never both: nobody meets himself.
        client = clients[number % USERS]
        account = await client.open_account(f"bench-{number}", init_cash=INIT_CASH)
        socket = await stack.enter_async_context(client.open_socket(SocketSettings(events=False)))
        side = 1 if number % USERS % 2 else -1
        lab.traders.append(Trader(socket, account.account_id, side, random.Random(number)))


def figures_of(name: str, measured: Measured, targets: dict[str, tuple[float, float]], note: str) -> list[Figure]:
    rate, p50, p99 = (targets.get(key, (None, None)) for key in ("rate", "p50", "p99"))
    if measured.refused:
        note += f"; {measured.refused} REFUSED"
    if measured.late:
        late = sorted(measured.late)
        note += f"; sent after due p50 {percentile(late, 50) * 1_000:.1f}, p99 {percentile(late, 99) * 1_000:.1f} ms"
    return [
        Figure(f"{name}: acknowledged", measured.per_second, "orders/s", rate[0], rate[1], note=note),
        Figure(f"{name}: acknowledgement p50", measured.ms(50), "ms", p50[0], p50[1], True),
        Figure(f"{name}: acknowledgement p99", measured.ms(99), "ms", p99[0], p99[1], True),
    ]


SCENARIOS: dict[
    str, tuple[str, Callable[[list[Trader], float], Awaitable[Measured]], dict[str, tuple[float, float]]]
] = {
    "one": ("one order at a time", one_at_a_time, {"p50": (4, 1.5), "p99": (12, 5)}),
    "200": ("200 commands/s offered", lambda traders, s: offered(traders, 200, s), {}),
    "5000": (
        "5 000 orders/s offered",
        lambda traders, s: offered(traders, 5_000, s),
        {"p50": (8, 5), "p99": (40, 20)},
    ),
    "pipelined": (f"singles pipelined on {SOCKETS} sockets", pipelined, {"rate": (5_000, 12_000)}),
    "batches": (f"batches of {BATCH} on {BATCH_SOCKETS} sockets", batches, {"rate": (15_000, 40_000)}),
}


async def measure(seconds: float, names: list[str]) -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="qaexchange-bench-") as folder:
        figures = surroundings(Path(folder))
        cluster = LocalCluster.temporary(Path(folder), instruments=[instrument.table()])
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(cluster)
            await cluster.wait_until_ready()
            lab = Lab(cluster, [], await stack.enter_async_context(Observer(cluster.config)))
            await settle(lab, stack)
            for name in names:
                title, scenario, targets = SCENARIOS[name]
                first, before, began = await lab.leader(), lab.cpu(), trio.current_time()
                measured = await scenario(lab.traders, seconds)
                last, after, took = await lab.leader(), lab.cpu(), trio.current_time() - began
                cores = ", ".join(f"{who} {(after[who] - before[who]) / took:.2f}" for who in after)
                note = f"cores: {cores}; {last.node} leads"
                if last.term != first.term:
                    note += f" SINCE {last.term - first.term} ELECTION(S) IN THIS RUN"
                figures += figures_of(title, measured, targets, note)
                if name == "200":
                    figures += commit_figures(await lab.leader())
    return figures


def commit_figures(leader: NodeView) -> Iterator[Figure]:
    """From submission on the leader to its apply, of the last few thousand commands, as the leader measures it."""
    for percent, value, gate, aim in ((50, leader.commit_p50_ms, 5, 2), (99, leader.commit_p99_ms, 15, 6)):
        if value is not None:
            yield Figure(f"200 commands/s offered: commit p{percent}", value, "ms", gate, aim, True, "the leader's own")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=6.0, help="of each scenario")
    parser.add_argument("--only", choices=tuple(SCENARIOS), action="append", help="default: all, in this order")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    gc.set_threshold(*GC_THRESHOLDS)
    figures = trio.run(measure, options.seconds, options.only or list(SCENARIOS))
    show("A cluster of three nodes on this machine, durable, one client process", figures, options.json)


if __name__ == "__main__":
    main()
