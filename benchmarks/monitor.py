"""The risk monitor and forced liquidation: how long they stop a node when all prices move.

    python -m benchmarks.monitor [--accounts N] [--positions N] [--json]

Every account holds `--positions` positions, half of the accounts long and half short, over 100 instruments. Three
moves of all prices, each followed by the AdvanceClocks that the leader proposes until nothing is due at once, one per
entry: a small one (a round that finds nothing), one that lifts half of the accounts over a level (alerts), and a crash
that liquidates them (every order finds its opposite side). Decoding, hashing and the collector of a node are in the
times, consensus is not.

The last figures are of conditional orders: a trade in an instrument in which thousands wait, beside one in which none
does, and a cascade.
"""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Sequence

from benchmarks.machine import Pauses
from benchmarks.market import LOTS, MIDDLE_TICKS, apply, opened, order, take_positions
from benchmarks.report import Figure, percentile, show
from node.collector import Collector
from node.exchange import timers
from node.exchange.codec import encode_command
from node.exchange.commands import (
    AdvanceClock,
    Command,
    PlaceConditional,
)
from node.exchange.events import (
    ConditionalEnded,
    Event,
    LiquidationEnded,
    LiquidationStepped,
    OrderAccepted,
    RiskAlerted,
)
from node.exchange.machine import Machine
from node.exchange.types import MONEY_SCALE, Comparison, ConditionType, Direction, Offset, PriceType

INSTRUMENTS = 100
COMMAND_GATE_MS, COMMAND_AIM_MS = 50, 20  # the loop lag of a node
SECOND_NS = 10**9
WAITING_EACH = 100  # conditional orders of one account
CASCADE = 5_000


def prepared(accounts: int, positions: int) -> tuple[Machine, list[str]]:
    """An exchange whose accounts have a ratio of 70 %, and two rich ones that make its prices."""
    margin = MIDDLE_TICKS * 50 // 10 * LOTS * positions  # of an account; the rate is 10 %, a tick of a lot is worth 50
    rich = 10**12 * MONEY_SCALE
    machine = opened(INSTRUMENTS, [margin * 10 // 7 * MONEY_SCALE] * accounts + [rich, rich])
    *names, seller, buyer = machine.accounts
    take_positions(machine, names, positions)
    drain(machine, Collector())
    return machine, [seller, buyer]


def move(machine: Machine, makers: Sequence[str], ticks: int) -> None:
    """Trade every instrument at a price, once."""
    seller, buyer = makers
    trading: list[Command] = []
    for number in range(INSTRUMENTS):
        trading.append(order(seller, number, Direction.SELL, 1, ticks))
        trading.append(order(buyer, number, Direction.BUY, 1, ticks))
    apply(machine, trading)


class Times:
    """What each command of one phase took, in seconds: on the wall clock, and of this process alone."""

    def __init__(self) -> None:
        self.wall_s: list[float] = []
        self.cpu_s: list[float] = []

    def apply(self, machine: Machine, time_ns: int, raw: bytes) -> list[Event]:
        began, cpu_began = time.perf_counter(), time.process_time()
        (events,) = machine.apply(machine.index + 1, time_ns, [raw])
        self.cpu_s.append(time.process_time() - cpu_began)
        self.wall_s.append(time.perf_counter() - began)
        return events


def drain(machine: Machine, collector: Collector) -> tuple[Times, list[Event]]:
    """Wait a second, then let the clock do all that is due; what each command took, and all events."""
    raw = encode_command(AdvanceClock())
    times = Times()
    found: list[Event] = []
    until_ns = machine.time_ns + SECOND_NS + SECOND_NS // 2
    while 0 < (due_ns := timers.due_ns(machine)) <= until_ns:
        found += times.apply(machine, max(machine.time_ns + 1, due_ns), raw)
        collector.applied(1)
    return times, found


def count(events: Sequence[Event], kind: type[Event]) -> int:
    return sum(type(event) is kind for event in events)


def figures(label: str, times: Times, note: str) -> list[Figure]:
    wall = sorted(times.wall_s)
    count_note = f"{len(wall)} commands, {note}"
    cpu_note = f"{max(times.cpu_s) * 1e3:.1f} ms of CPU"
    return [
        Figure(f"{label}: in all", sum(wall) * 1e3, "ms", less_is_better=True, note=count_note),
        Figure(f"{label}: one command p50", percentile(wall, 50) * 1e3, "ms", less_is_better=True),
        Figure(f"{label}: longest command", wall[-1] * 1e3, "ms", COMMAND_GATE_MS, COMMAND_AIM_MS, True, cpu_note),
    ]


def monitored(accounts: int, positions: int, collector: Collector) -> list[Figure]:
    machine, makers = prepared(accounts, positions)
    gc.collect()
    gc.freeze()
    rows: list[Figure] = []
    move(machine, makers, MIDDLE_TICKS + 1)
    times, events = drain(machine, collector)
    rows += figures("quiet round", times, f"{count(events, RiskAlerted)} alerts")
    move(machine, makers, MIDDLE_TICKS - MIDDLE_TICKS * 2 // 100)  # longs: 70 % -> 81 %
    times, events = drain(machine, collector)
    rows += figures("round with alerts", times, f"{count(events, RiskAlerted):,} alerts")
    crash = MIDDLE_TICKS - MIDDLE_TICKS * 5 // 100
    move(machine, makers, crash)
    buyer = makers[1]
    apply(machine, [order(buyer, number, Direction.BUY, 500, crash) for number in range(INSTRUMENTS)] * 2)
    times, events = drain(machine, collector)
    ended, steps = count(events, LiquidationEnded), count(events, LiquidationStepped)
    trades = count(events, OrderAccepted)
    rows += figures("crash", times, f"{ended:,} accounts liquidated in {steps:,} steps, {trades:,} orders")
    return rows


def conditional(accounts: int, collector: Collector) -> list[Figure]:
    """Trades beside waiting conditional orders, and a price that reaches `CASCADE` of them at once."""
    machine, makers = prepared(max(accounts, CASCADE // WAITING_EACH), 1)
    seller, buyer = makers
    waiting: list[Command] = []
    for name in list(machine.accounts)[: CASCADE // WAITING_EACH]:
        for n in range(WAITING_EACH):
            # Half waits for one price, the others stand around it.
            trigger = MIDDLE_TICKS + 50 if n % 2 else MIDDLE_TICKS + 100 + n
            waiting.append(
                PlaceConditional(
                    account_id=name,
                    instrument_id="SHFE.cu0000",
                    direction=Direction.BUY,
                    offset=Offset.OPEN,
                    volume=1,
                    price_type=PriceType.LIMIT,
                    price_ticks=MIDDLE_TICKS - 100,
                    condition=ConditionType.PRICE_TOUCH,
                    comparison=Comparison.AT_OR_ABOVE,
                    trigger_ticks=trigger,
                )
            )
    apply(machine, waiting)
    costs = (Times(), Times())  # of trades in a watched instrument, and in one that is not

    def trade(times: Times, number: int, ticks: int) -> list[Event]:
        apply(machine, [order(seller, number, Direction.SELL, 1, ticks)])
        return times.apply(
            machine, machine.time_ns + 1_000, encode_command(order(buyer, number, Direction.BUY, 1, ticks))
        )

    for n in range(2_000):
        trade(costs[n % 2], n % 2, MIDDLE_TICKS + n % 7)
    first = Times()
    events = trade(first, 0, MIDDLE_TICKS + 50)
    times, more = drain(machine, collector)
    ended = count(events, ConditionalEnded) + count(more, ConditionalEnded)
    times.wall_s += first.wall_s
    times.cpu_s += first.cpu_s
    watched, free = (percentile(sorted(cost.wall_s), 50) * 1e6 for cost in costs)
    return [
        Figure("trade where none waits, p50", free, "µs", less_is_better=True),
        Figure(f"trade where {CASCADE:,} conditional orders wait, p50", watched, "µs", less_is_better=True),
        *figures("cascade", times, f"{ended:,} conditional orders triggered by one trade"),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--accounts", type=int, default=10_000)
    parser.add_argument("--positions", type=int, default=3, help="of each account")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    collector = Collector()
    pauses = Pauses()
    with pauses:
        rows = monitored(options.accounts, options.positions, collector)
        rows += conditional(1_000, collector)
    title = f"Risk monitor over {options.accounts:,} accounts with {options.positions} positions each"
    show(title, rows, options.json)


if __name__ == "__main__":
    main()
