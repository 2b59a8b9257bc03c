"""`python -m chaos sim`: run seeds, show one, or hunt the planted bugs."""

from __future__ import annotations

import re
import time
from typing import Annotated

import typer

from chaos.sim.clock import virtual_time
from chaos.sim.mutations import MUTATIONS, SEEDS_MAX, hunt
from chaos.sim.world import Kind, Settings, simulate

_PROGRESS_S = 5.0


def sim(
    seeds: Annotated[str, typer.Option(metavar="A-B", help="Run these seeds, both ends included.")] = "0-99",
    seed: Annotated[int | None, typer.Option(min=0, help="Run one seed.")] = None,
    trace: Annotated[bool, typer.Option("--trace", help="With --seed: one line per node and event.")] = False,
    nodes: Annotated[int, typer.Option(min=1, max=9)] = 3,
    seconds: Annotated[float, typer.Option(min=0.5, max=3600, help="Simulated seconds of faults per seed.")] = 6.0,
    machine: Annotated[str, typer.Option(help="exchange, or chain: a chain of hashes, faster.")] = "exchange",
    mutations: Annotated[bool, typer.Option("--mutations", help="Plant bugs; each must be found.")] = False,
) -> None:
    """Simulate clusters with faults, each run a function of its seed; exit status 0 only if no promise was broken."""
    if machine not in ("exchange", "chain"):
        raise typer.BadParameter(f"--machine: exchange or chain, not {machine!r}")
    kind: Kind = "exchange" if machine == "exchange" else "chain"
    settings = Settings(nodes, seconds, kind)
    with virtual_time():
        if mutations:
            passed = _hunt_all()
        elif seed is not None:
            passed = _run([seed], settings, trace)
        else:
            passed = _run(_range(seeds), settings, trace=False)
    raise typer.Exit(0 if passed else 1)


def _range(text: str) -> range:
    match = re.fullmatch(r"(\d+)-(\d+)", text)
    if match is None or int(match[1]) > int(match[2]):
        raise typer.BadParameter(f"--seeds: two numbers A-B with A <= B, not {text!r}")
    return range(int(match[1]), int(match[2]) + 1)


def _run(seeds: range | list[int], settings: Settings, trace: bool) -> bool:
    began = said = time.monotonic()
    simulated_s, acknowledged, reads, failed = 0.0, 0, 0, 0
    faults: dict[str, int] = {}
    for done, seed in enumerate(seeds, 1):
        verdict = simulate(seed, settings, _print_event if trace else None)
        simulated_s += verdict.simulated_s
        acknowledged += verdict.acknowledged
        reads += verdict.reads
        for name, count in verdict.faults.items():
            faults[name] = faults.get(name, 0) + count
        if verdict.violation is not None:
            failed += 1
            typer.echo(f"seed {seed} FAILED: {verdict.violation}")
            again = f"python -m chaos sim --seed {seed} --nodes {settings.nodes} --seconds {settings.seconds:g}"
            typer.echo(f"  repeat it with: {again} --machine {settings.kind} --trace")
        if time.monotonic() - said > _PROGRESS_S:
            said = time.monotonic()
            typer.echo(f"{done} of {len(seeds)} seeds, {failed} failed, {acknowledged} commands acknowledged", err=True)
    wall_s = time.monotonic() - began
    typer.echo(
        f"{len(seeds)} seeds, {failed} failed: {simulated_s:.0f} simulated seconds in {wall_s:.1f} s, "
        f"{acknowledged} commands acknowledged, {reads} linearizable reads"
    )
    typer.echo("faults: " + ", ".join(f"{count} × {name}" for name, count in sorted(faults.items())))
    return failed == 0


def _print_event(at_s: float, node: str, event: str) -> None:
    typer.echo(f"{at_s:11.6f}  {node:<3} {event}")


def _hunt_all() -> bool:
    missed = 0
    for mutation in MUTATIONS:
        verdict = hunt(mutation)
        if verdict is None:
            missed += 1
            typer.echo(f"{mutation.name:28} NOT FOUND in {SEEDS_MAX} seeds ({mutation.what})")
        else:
            typer.echo(f"{mutation.name:28} seed {verdict.seed:3}, {mutation.nodes} nodes: {verdict.violation}")
    typer.echo(f"{len(MUTATIONS) - missed} of {len(MUTATIONS)} planted bugs were found")
    return missed == 0
