"""`python -m chaos`: `failover` kills the leader of a real cluster under load, `sim` runs simulated ones from seeds.

The console script `qaexchange` has no verb for them: nothing of the product may depend on chaos (import contracts).
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import trio
import typer

from chaos import history
from chaos.failover import Verdict, kill_leader
from chaos.sim.cli import sim
from node.local import LocalCluster

app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__)


@app.callback()
def chaos() -> None:
    """Break real clusters, and judge what happened."""


@app.command()
def failover(
    rounds: Annotated[int, typer.Option(min=1, max=1_000, help="how often the leader is killed")] = 10,
    traders: Annotated[int, typer.Option(min=1, max=50)] = 4,
    seed: Annotated[int, typer.Option(help="of the traders' orders")] = 1,
    save: Annotated[Path | None, typer.Option(help="write the history to this file")] = None,
) -> None:
    """Kill the leader ROUNDS times; exit status 0 only if nothing acknowledged was lost or done twice."""

    async def run(directory: Path) -> Verdict:
        async with LocalCluster.temporary(directory) as cluster:
            await cluster.wait_until_ready()
            return await kill_leader(cluster, rounds=rounds, traders=traders, seed=seed)

    with tempfile.TemporaryDirectory(prefix="qaexchange-chaos-") as directory:
        verdict = trio.run(run, Path(directory))
    if save is not None:
        history.save(save, verdict.operations)
    gaps = sorted(verdict.gaps_s)
    typer.echo(
        f"seed {verdict.seed}: {rounds} kills ({', '.join(verdict.killed)}), {verdict.acknowledged} acknowledged"
    )
    typer.echo(
        f"longest silence around the SIGKILL of a leader: p50 {gaps[len(gaps) // 2]:.3f} s, "
        f"p99 {gaps[-1 - len(gaps) // 100]:.3f} s, max {gaps[-1]:.3f} s   (gate 0.5 / 1.0 / 1.5, aim 0.3 / 0.5 / 0.8)"
    )
    typer.echo(f"killed node back at equal hashes: max {max(verdict.rejoins_s):.3f} s")
    for violation in verdict.violations:
        typer.echo(f"VIOLATION {violation}", err=True)
    typer.echo("PASSED" if verdict.passed else f"FAILED: {len(verdict.violations)} violations")
    raise typer.Exit(0 if verdict.passed else 1)


app.command()(sim)

if __name__ == "__main__":
    app()
