"""The machine alone: commands per CPU second and the time of one command, beside a book without accounts.

    python -m benchmarks.machine [--workload synth|goog|all] [--accounts N ...] [--commands N] [--compiled] [--json]

Every command is decoded from its bytes, checked against funds and positions, matched, cleared, remembered for
at-most-once and hashed, as in a node. Throughput is measured over entries of 100 commands, the time of one command
over entries of one. The reference book of ../shared/data/synthetic runs the same flow in the same process: on a noisy
machine the ratio is the figure to watch.

Garbage is collected as in a node, by `node.collector`.
"""

from __future__ import annotations

import argparse
import gc
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.compiled import ROOT, build
from benchmarks.report import Figure, percentile, show
from benchmarks.workloads import SYNTH_COMMANDS, Workload, entries, goog, run_reference, synth
from node.collector import Collector
from node.exchange.events import CommandRejected, TradeExecuted
from node.exchange.machine import Machine

ENTRY_COMMANDS = 100
TIMED_COMMANDS_MAX = 200_000
GATE_AIM = {"synth": (150_000, 200_000), "goog": (250_000, 300_000)}  # interpreted, per CPU second
COMPILED = type(Machine.apply).__name__ != "function"  # mypyc's methods are method descriptors
GATE_AIM_COMPILED = {"synth": (350_000, 450_000), "goog": (500_000, 700_000)}


@dataclass(slots=True)
class Pauses:
    """The garbage collector's pauses inside a `with` block, through its own callbacks."""

    longest_ns: int = 0
    runs: int = 0
    _began_ns: int = field(default=0, repr=False)

    def __enter__(self) -> Pauses:
        gc.callbacks.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        gc.callbacks.remove(self)

    def __call__(self, phase: str, info: dict[str, int]) -> None:
        now = time.perf_counter_ns()
        if phase == "start":
            self._began_ns = now
        else:
            self.runs += 1
            self.longest_ns = max(self.longest_ns, now - self._began_ns)


def prepared(workload: Workload) -> Machine:
    """A machine with the workload's users and accounts, which the collector does not look at again, as in a node."""
    gc.unfreeze()
    machine = Machine()
    for batch in entries(workload.setup, 512):
        for events in machine.apply(machine.index + 1, machine.time_ns + 1, batch):
            assert not isinstance(events[0], CommandRejected), events[0]
    gc.collect()
    gc.freeze()
    return machine


def throughput(workload: Workload, pauses: Pauses, collector: Collector) -> tuple[float, int]:
    """(CPU seconds, trades) of the whole workload in entries of `ENTRY_COMMANDS`."""
    machine = prepared(workload)
    apply = machine.apply
    index, now_ns = machine.index, machine.time_ns
    trades = rejected = 0
    cpu_s = 0.0
    with pauses:
        for batch in entries(workload.commands, ENTRY_COMMANDS):
            index += 1
            now_ns += 1_000_000
            began = time.process_time_ns()
            results = apply(index, now_ns, batch)
            collector.applied(len(batch))
            cpu_s += (time.process_time_ns() - began) / 1e9
            for events in results:
                trades += sum(type(event) is TradeExecuted for event in events)
                rejected += type(events[0]) is CommandRejected
    assert not rejected, f"{rejected} commands of {workload.name} were rejected"
    return cpu_s, trades


def latencies_us(workload: Workload, collector: Collector) -> list[float]:
    """The ordered times of single commands, each in an entry of its own, wall clock."""
    machine = prepared(workload)
    apply = machine.apply
    index, now_ns = machine.index, machine.time_ns
    clock = time.perf_counter_ns
    times = []
    for raw in workload.commands[:TIMED_COMMANDS_MAX]:
        index += 1
        now_ns += 1_000
        batch = [raw]
        began = clock()
        apply(index, now_ns, batch)
        collector.applied(1)
        times.append((clock() - began) / 1_000)
    times.sort()
    return times


def measure(workload: Workload, accounts: int, collector: Collector) -> list[Figure]:
    pauses = Pauses()
    label = f"{workload.name}, {accounts:,} accounts"
    gate, aim = (GATE_AIM_COMPILED if COMPILED else GATE_AIM)[workload.name]
    began = time.process_time()
    fills = run_reference(workload.ops)
    reference = len(workload.ops) / (time.process_time() - began)
    cpu_s, trades = throughput(workload, pauses, collector)
    times = latencies_us(workload, collector)
    assert trades == fills, f"{trades} trades, the reference book has {fills}"
    speed = len(workload.commands) / cpu_s
    ratio_note = f"{trades:,} trades; reference book {reference:,.0f}/s"
    return [
        Figure(f"{label}: throughput", speed, "commands/CPU s", gate, aim, note=ratio_note),
        Figure(f"{label}: of the reference book's speed", speed / reference, "ratio"),
        Figure(f"{label}: one command p50", percentile(times, 50), "µs", less_is_better=True),
        Figure(f"{label}: one command p99", percentile(times, 99), "µs", 20, 10, True, "target is for compiled"),
        Figure(f"{label}: one command p99.9", percentile(times, 99.9), "µs", 50, 30, True, "target is for compiled"),
        Figure(f"{label}: one command max", times[-1], "µs", less_is_better=True),
        Figure(f"{label}: longest GC pause", pauses.longest_ns / 1e6, "ms", 5, 3, True, f"{pauses.runs} collections"),
    ]


def measure_compiled() -> int:
    """Run the same command on a compiled build; returns its exit status."""
    with tempfile.TemporaryDirectory() as folder:
        path = build(Path(folder))
        environment = os.environ | {"PYTHONPATH": os.pathsep.join((str(path), str(ROOT)))}
        command = [sys.executable, "-P", "-m", "benchmarks.machine", *sys.argv[1:]]
        return subprocess.run(command, env=environment, check=False).returncode


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workload", choices=("synth", "goog", "all"), default="all")
    parser.add_argument("--accounts", type=int, action="append", help="default: 100 and 10000")
    parser.add_argument("--commands", type=int, default=SYNTH_COMMANDS, help="of synth")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--compiled", action="store_true", help="build with mypyc first, and measure that")
    options = parser.parse_args()
    if options.compiled and not COMPILED:
        sys.exit(measure_compiled())
    collector = Collector()
    figures = []
    for accounts in options.accounts or [100, 10_000]:
        if options.workload in ("goog", "all"):
            figures += measure(goog(accounts), accounts, collector)
        if options.workload in ("synth", "all"):
            figures += measure(synth(accounts, options.commands), accounts, collector)
    show("The machine alone, compiled by mypyc" if COMPILED else "The machine alone", figures, options.json)


if __name__ == "__main__":
    main()
