"""How long clients have no leader: kills, pauses, orderly stops and planned transfers of the leader under load.

    python -m benchmarks.failover [--rounds N] [--traders N] [--only SIGKILL|SIGSTOP|SIGTERM|transfer ...] [--json]

Three node processes on loopback, traders on their public sockets, the workload and the judges of `chaos.failover`. A
gap is the longest time in which no client had an acknowledged order around a strike. A run that breaks a promise, or
whose fault did not fire, ends with an error and no figures.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import trio

from benchmarks.report import Figure, percentile, show
from chaos.failover import Fault, Pause, Stop, Transfer, Verdict, strike_leader
from node.local import LocalCluster

# Of ../shared/spec/reliability.md: p50, p99 and max in seconds, each as (gate, aim). What has no figure there has None.
FIGURES: dict[str, tuple[tuple[float | None, float | None], ...]] = {
    "SIGKILL": ((0.5, 0.3), (1.0, 0.5), (1.5, 0.8)),
    "SIGSTOP": ((1.0, 0.5), (2.0, 1.0), (3.0, 1.5)),
    "transfer": ((0.3, 0.1), (0.8, 0.3), (1.0, None)),
    "SIGTERM": ((None, None), (None, None), (1.0, None)),
}
FAULTS = (Fault(), Pause(), Transfer(), Stop())


async def measure(fault: Fault, rounds: int, traders: int) -> Verdict:
    with tempfile.TemporaryDirectory(prefix="qaexchange-failover-") as directory:
        async with LocalCluster.temporary(Path(directory)) as cluster:
            await cluster.wait_until_ready()
            return await strike_leader(cluster, fault, rounds=rounds, traders=traders)


def figures(fault: Fault, verdict: Verdict) -> list[Figure]:
    gaps = sorted(verdict.gaps_s)
    values = (percentile(gaps, 50), percentile(gaps, 99), gaps[-1])
    rows = [
        Figure(f"{fault.name}, {name}", value, "s", gate, aim, less_is_better=True)
        for name, value, (gate, aim) in zip(("p50", "p99", "max"), values, FIGURES[fault.name], strict=True)
    ]
    note = f"of {len(verdict.operations)}, {len(gaps)} strikes" + (f"; {verdict.failed[0]}" if verdict.failed else "")
    rows.append(
        Figure(f"{fault.name}, orders failed after retry", len(verdict.failed), "", 0, less_is_better=True, note=note)
    )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20, help="strikes of each kind")
    parser.add_argument("--traders", type=int, default=4)
    parser.add_argument("--only", action="append", choices=sorted(FIGURES), help="may be given several times")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    rows: list[Figure] = []
    for fault in FAULTS:
        if arguments.only and fault.name not in arguments.only:
            continue
        verdict = trio.run(measure, fault, arguments.rounds, arguments.traders)
        if verdict.violations:
            raise SystemExit(f"{fault.name}: {len(verdict.violations)} violations, first: {verdict.violations[0]}")
        rows += figures(fault, verdict)
    show("Without a leader, as clients see it", rows, arguments.json)


if __name__ == "__main__":
    main()
