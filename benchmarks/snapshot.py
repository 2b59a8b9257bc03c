"""Snapshot and restore of a full exchange, and what they cost the node that goes on trading meanwhile.

    python -m benchmarks.snapshot [--accounts N] [--orders N] [--json]

The state has 10 000 accounts of as many users, 100 instruments, 200 000 resting orders with remembered client ids, and
positions of every account. The loop applies single commands (orders, cancels, trades) and yields after each, as in a
node; first alone, then while a forked child writes the snapshot to a file. What a snapshot costs is the difference: the
fork, and the pages that the parent copies because the child still shares them. A process of its own restores the file.
Garbage is collected as in a node, by `node.collector`.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import trio

from benchmarks.report import Figure, percentile, show
from benchmarks.workloads import entries
from node.collector import Collector
from node.exchange.codec import encode_command
from node.exchange.commands import CancelOrder, Command, Deposit, ListInstrument, OpenAccount, PlaceOrder, RegisterUser
from node.exchange.events import CommandRejected, OrderAccepted
from node.exchange.machine import Machine
from node.exchange.snapshot import Summary
from node.snapshotting import Snapshotter

INSTRUMENTS = 100
POSITIONS_PER_ACCOUNT = 4
MIDDLE = 7_000  # ticks
BUY, SELL = 1, -1
WARM_S, ALONE_S = 1.0, 5.0
READ_BYTES = 1 << 20


@dataclass(slots=True)
class Turns:
    """What the loop did in one phase of the measurement."""

    commands_ns: list[int] = field(default_factory=list)
    cpu_ns: list[int] = field(
        default_factory=list
    )  # of the same commands: page faults count, waiting for a core does not
    longest_ns: int = 0  # between two turns of the loop
    last_ns: int = 0

    def turned(self, now_ns: int) -> None:
        if self.last_ns:
            self.longest_ns = max(self.longest_ns, now_ns - self.last_ns)
        self.last_ns = now_ns


class TimedSnapshotter(Snapshotter):
    """Knows how long its forks took in the parent."""

    fork_ns = 0

    def _fork(self, *arguments: object) -> int:
        began = time.perf_counter_ns()
        pid = super()._fork(*arguments)  # type: ignore[arg-type]
        self.fork_ns = time.perf_counter_ns() - began
        return pid


def account_id(n: int) -> str:
    return f"ACC_{n + 1:08d}"


def instrument_id(n: int) -> str:
    return f"SHFE.cu{2701 + n}"


def listing(n: int) -> ListInstrument:
    """Copper, with a margin by money."""
    return ListInstrument(
        instrument_id(n), f"沪铜{2701 + n}", "cu", 5, 100_000, MIDDLE, 100_000_000, 100_000_000, 1, 500,
        50_000_000, 0, 50_000_000, 0, 0, 30_000, 0, 30_000, 0, 30_000,
    )  # fmt: skip


def order(account: int, instrument: int, direction: int, volume: int, price: int, name: str) -> PlaceOrder:
    return PlaceOrder(
        account_id(account), instrument_id(instrument), direction, 0, volume, 0, price, client_order_id=name
    )


def setup(accounts: int, orders: int) -> Iterator[Command]:
    """The commands that build the state: every account buys from its neighbour, then rests orders on both sides."""
    for n in range(INSTRUMENTS):
        yield listing(n)
    for n in range(accounts):
        yield RegisterUser(f"trader-{n}", "$2b$12$" + "x" * 53)
        yield OpenAccount(f"U{n + 1:08d}", "main", 0)
        yield Deposit(account_id(n), 10**13, "first")
    for n in range(accounts):
        for k in range(POSITIONS_PER_ACCOUNT // 2):
            instrument = (n * 7 + k * 31) % INSTRUMENTS
            yield order(n, instrument, SELL, 2, MIDDLE, f"s{k}")
            yield order((n + 1) % accounts, instrument, BUY, 2, MIDDLE, f"b{k}")
    for k in range(orders):
        direction = BUY if k % 2 else SELL
        distance = 5 + k // 2 % 200
        yield order(
            k % accounts, k * 13 % INSTRUMENTS, direction, 1 + k % 5, MIDDLE - direction * distance, f"resting-{k}"
        )


def build(accounts: int, orders: int) -> Machine:
    machine = Machine()
    for batch in entries([encode_command(command) for command in setup(accounts, orders)], 512):
        for events in machine.apply(machine.index + 1, machine.time_ns + 1_000_000, batch):
            assert not isinstance(events[0], CommandRejected), events[0]
    return machine


def trading(machine: Machine, accounts: int) -> Iterator[tuple[int, int]]:
    """Endless single commands: orders, cancels of older ones, trades. Yields what each took, in ns: (wall, CPU)."""
    open_orders: list[tuple[int, int]] = []
    step = 0

    def apply(command: Command) -> tuple[tuple[int, int], int]:
        raw = encode_command(command)
        began, began_cpu = time.perf_counter_ns(), time.thread_time_ns()
        ((first, *_),) = machine.apply(machine.index + 1, machine.time_ns + 100_000, [raw])
        took = time.perf_counter_ns() - began, time.thread_time_ns() - began_cpu
        assert not isinstance(first, CommandRejected), first
        return took, first.order_id if isinstance(first, OrderAccepted) else 0

    while True:
        step += 1
        account, instrument = step * 7_919 % accounts, step * 31 % INSTRUMENTS
        direction = BUY if step % 2 else SELL
        price = MIDDLE - direction * (5 + step % 200)
        timed, order_id = apply(order(account, instrument, direction, 1, price, f"n{step}"))
        open_orders.append((account, order_id))
        yield timed
        if len(open_orders) > 1_000:
            account, order_id = open_orders.pop(0)
            yield apply(CancelOrder(account_id(account), order_id))[0]
        if step % 4 == 0:
            yield apply(order(account, instrument, SELL, 1, MIDDLE, f"t{step}"))[0]
            yield apply(order((account + 1) % accounts, instrument, BUY, 1, MIDDLE, f"u{step}"))[0]


def memory_mb(pid: int | str, key: str) -> float:
    """One line of smaps_rollup in megabytes; 0 if the process has gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1_000 for line in lines if line.startswith(key + ":")), 0.0)


@dataclass(slots=True)
class Measured:
    alone: Turns
    meanwhile: Turns
    summary: Summary
    write_s: float
    fork_ns: int
    child_mb: float  # at most, of its own
    parent_mb: float


async def measure(machine: Machine, accounts: int, path: Path) -> Measured:
    warm, alone, meanwhile = Turns(), Turns(), Turns()
    phase = warm
    child_mb = 0.0
    writer = TimedSnapshotter(stall_s=60, total_s=600)
    collector = Collector()
    gc.collect()
    gc.freeze()

    async def trade() -> None:
        for wall, cpu in trading(machine, accounts):
            phase.commands_ns.append(wall)
            phase.cpu_ns.append(cpu)
            phase.turned(time.perf_counter_ns())
            collector.applied(1)
            await trio.lowlevel.checkpoint()

    async def watch() -> None:
        nonlocal child_mb
        while True:
            await trio.sleep(0.1)
            if writer.pid is not None:  # read in a thread: it takes a lock of the child's memory
                own = await trio.to_thread.run_sync(memory_mb, writer.pid, "Private_Dirty")
                child_mb = max(child_mb, own)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trade)
        await trio.sleep(WARM_S)
        phase = alone
        await trio.sleep(ALONE_S)
        nursery.start_soon(watch)
        with path.open("wb") as file:
            phase = meanwhile
            phase.last_ns = time.perf_counter_ns()  # the fork is part of the first turn
            began = time.perf_counter()
            summary = await writer.write(machine, file.fileno())
            write_s = time.perf_counter() - began
        phase = warm
        nursery.cancel_scope.cancel()
    return Measured(alone, meanwhile, summary, write_s, writer.fork_ns, child_mb, memory_mb("self", "Rss"))


def restore(path: Path) -> None:
    """Restore a file, and print the seconds and the megabytes of this process as JSON."""
    gc.disable()
    began = time.perf_counter()
    with path.open("rb") as file:
        machine = Machine.restore(iter(lambda: file.read(READ_BYTES), b""))
    seconds = time.perf_counter() - began
    json.dump({"restore_s": seconds, "rss_mb": memory_mb("self", "Rss"), "orders": len(machine.orders)}, sys.stdout)


def latency(name: str, turns: Turns) -> list[Figure]:
    wall, cpu = sorted(turns.commands_ns), sorted(turns.cpu_ns)
    figures = []
    for percent in (50, 99, 99.9, 100):
        note = f"CPU {percentile(cpu, percent) / 1e3:,.0f} µs"
        figures.append(Figure(f"one command, {name}, p{percent:g}", percentile(wall, percent) / 1e3, "µs", note=note))
    figures.append(
        Figure(f"loop, {name}, longest stop", turns.longest_ns / 1e6, "ms", 50, 20, True, f"{len(wall):,} commands")
    )
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--accounts", type=int, default=10_000)
    parser.add_argument("--orders", type=int, default=200_000)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--restore", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.restore is not None:
        restore(arguments.restore)
        return
    gc.disable()
    began = time.perf_counter()
    machine = build(arguments.accounts, arguments.orders)
    built_s = time.perf_counter() - began
    gc.collect()
    resting = sum(len(account.live) for account in machine.accounts.values())
    positions = sum(len(account.positions) for account in machine.accounts.values())
    with tempfile.TemporaryDirectory(prefix="qaexchange-bench-") as folder:
        path = Path(folder) / "snapshot"
        measured = trio.run(measure, machine, arguments.accounts, path)
        restored = json.loads(
            subprocess.run(
                [sys.executable, "-m", "benchmarks.snapshot", "--restore", path],
                check=True, capture_output=True, text=True, env=os.environ,
            ).stdout
        )  # fmt: skip
    summary = measured.summary
    show(
        "snapshot",
        [
            Figure("size", summary.size_bytes / 1e6, "MB", note=f"{summary.rows:,} rows"),
            Figure("written by the child in", measured.write_s, "s", note="verified while it is written"),
            Figure("fork, the parent stands still", measured.fork_ns / 1e6, "ms", 50, 20, True),
            *latency("alone", measured.alone),
            *latency("meanwhile", measured.meanwhile),
            Figure("restore", restored["restore_s"], "s", note="invariants checked"),
            Figure("memory of the parent", measured.parent_mb, "MB", 1_500, 600, True, f"built in {built_s:.0f} s"),
            Figure("memory of the child, its own", measured.child_mb, "MB", note="pages that it does not share"),
            Figure("memory of a restored process", restored["rss_mb"], "MB", 1_500, 600, True),
        ],
        arguments.json,
        accounts=len(machine.accounts), instruments=len(machine.instruments), resting=resting, positions=positions,
    )  # fmt: skip


if __name__ == "__main__":
    main()
