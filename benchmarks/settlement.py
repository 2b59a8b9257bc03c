"""Settlement of a trading day: how long it takes in all, and how long its longest single command stops a node.

    python -m benchmarks.settlement [--accounts N] [--positions N] [--orders N] [--json]

Every account holds `--positions` positions, half of the accounts long and half short, and has `--orders` working
orders: half end with the day, half outlive it. SettleDay and the AdvanceClocks after it are applied one per entry, as
the leader proposes them; decoding, hashing and the collector of a node are in the times, consensus is not.
"""

from __future__ import annotations

import argparse
import gc
import time

from benchmarks.machine import Pauses
from benchmarks.market import LOTS, MIDDLE_TICKS, apply, opened, order, take_positions
from benchmarks.report import Figure, percentile, show
from node.collector import Collector
from node.exchange.codec import encode_command
from node.exchange.commands import AdvanceClock, SettleDay
from node.exchange.events import CommandRejected, DaySettled
from node.exchange.machine import Machine
from node.exchange.types import MONEY_SCALE, Direction, TimeCondition

GATE_S, AIM_S = 10, 2  # design/performance.md, for 10 000 accounts
COMMAND_GATE_MS, COMMAND_AIM_MS = 50, 20  # the loop lag of a node


def prepared(accounts: int, positions: int, orders: int) -> Machine:
    """An exchange at the end of its trading day."""
    instruments = max(positions, 100)
    machine = opened(instruments, [10**7 * MONEY_SCALE] * accounts)
    names = list(machine.accounts)
    take_positions(machine, names, positions)
    apply(
        machine,
        [
            order(name, (n + k) % instruments, Direction.BUY, LOTS, MIDDLE_TICKS - 50 - n % 40, condition)
            for n, name in enumerate(names)
            for k in range(orders)
            for condition in ((TimeCondition.GFD, TimeCondition.GTC)[k % 2],)
        ],
    )
    return machine


def settle(machine: Machine, collector: Collector) -> tuple[list[float], DaySettled]:
    """The ordered wall-clock seconds of each command of the settlement, and its result."""
    times = []
    raw = encode_command(SettleDay(machine.trading_day))
    while True:
        began = time.perf_counter()
        (events,) = machine.apply(machine.index + 1, machine.time_ns + 1_000, [raw])
        collector.applied(len(events))
        times.append(time.perf_counter() - began)
        assert not isinstance(events[0], CommandRejected), events[0]
        for event in events:
            if isinstance(event, DaySettled):
                times.sort()
                return times, event
        raw = encode_command(AdvanceClock())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--accounts", type=int, default=10_000)
    parser.add_argument("--positions", type=int, default=3, help="of each account")
    parser.add_argument("--orders", type=int, default=4, help="working orders of each account")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    machine = prepared(options.accounts, options.positions, options.orders)
    gc.collect()
    gc.freeze()
    pauses = Pauses()
    with pauses:
        times, result = settle(machine, Collector())
    assert result.profit_units == 0, result
    total_s = sum(times)
    ended = f"{result.accounts:,} accounts settled in {len(times)} commands"
    longest = f"longest GC pause {pauses.longest_ns / 1e6:.1f} ms"
    show(
        f"Settlement of {options.accounts:,} accounts, {options.positions} positions and {options.orders} orders each",
        [
            Figure("whole settlement", total_s, "s", GATE_S, AIM_S, True, ended),
            Figure("one account", total_s / result.accounts * 1e6, "µs", less_is_better=True),
            Figure("one command p50", percentile(times, 50) * 1e3, "ms", less_is_better=True),
            Figure("longest command", times[-1] * 1e3, "ms", COMMAND_GATE_MS, COMMAND_AIM_MS, True, longest),
        ],
        options.json,
    )


if __name__ == "__main__":
    main()
