"""`qaexchange replay lobster DIR`: a recorded NASDAQ day through the public client, with a verdict.

Exit status: 0 zero differences; 1 differences, or the replay could not be carried out; 2 the configuration is wrong.
"""

from __future__ import annotations

import json as json_text
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Annotated

import trio
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from api.client import ClientError, NotFound, TrioClient
from node.config import find_config, load_config
from node.lobster import Day, LobsterError, open_day
from node.local import LocalCluster
from node.replay import instrument
from node.replay.cast import ACCOUNTS_MAX, ACCOUNTS_MIN, Cast, NoSeatError
from node.replay.errors import ReplayError
from node.replay.instrument import INSTRUMENT_ID
from node.replay.players import assemble
from node.replay.run import Outcome, Replay

BATCH_MAX = 100
CLUSTER_TIMEOUT_S = 5.0
CLEAR_TIMEOUT_S = 30.0
DIFFERENCES_SHOWN = 10

app = typer.Typer(help="Replay recorded order flow against a cluster, and judge it.", no_args_is_help=True)


@app.callback()
def _replay() -> None:
    """Replay recorded order flow against a cluster, and judge it."""


@app.command()
def lobster(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The folder with the two files of the day.")],
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, metavar="N", help="Replay the first N recorded events only.")
    ] = None,
    start_cluster: Annotated[
        bool, typer.Option("--start-cluster", help="Start three nodes for the replay, and stop them.")
    ] = False,
    config: Annotated[
        Path | None,
        typer.Option("--config", metavar="FILE", help="The cluster's file (its settings, with --start-cluster)."),
    ] = None,
    accounts: Annotated[
        int, typer.Option("--accounts", min=ACCOUNTS_MIN, max=ACCOUNTS_MAX, metavar="N", help="Spread over N accounts.")
    ] = 100,
    batch: Annotated[
        int, typer.Option("--batch", min=1, max=BATCH_MAX, metavar="N", help="Commands in one frame, at most.")
    ] = BATCH_MAX,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Send a day in LOBSTER's format as orders of many accounts; exit status 0 only with zero differences.

    Every execution must hit exactly the recorded resting order, and the book must show exactly the recorded ten levels
    after every event.
    """
    outcome = trio.run(_run, directory, limit, start_cluster, config, accounts, batch, json)
    if json:
        typer.echo(json_text.dumps(outcome.as_dict(), indent=1))
    else:
        _show(outcome)
    raise typer.Exit(0 if outcome.zero else 1)


async def _run(
    directory: Path, limit: int | None, start_cluster: bool, config: Path | None, accounts: int, batch: int, quiet: bool
) -> Outcome:
    cast = Cast(accounts)
    try:
        day = await trio.to_thread.run_sync(open_day, directory, limit)
        async with _cluster(start_cluster, config) as urls:
            await _check_market(urls, start_cluster)
            async with assemble(urls, cast) as company:
                with _progress(day, quiet) as progress:
                    replay = Replay(company, cast, batch, progress)
                    try:
                        return await replay.run(day.steps)
                    finally:
                        with trio.move_on_after(CLEAR_TIMEOUT_S, shield=True):
                            await company.clear()
    except* (LobsterError, NoSeatError) as group:
        raise ReplayError(str(_first(group))) from None
    except* ClientError as group:
        raise ReplayError(f"the cluster does not answer the replay: {_first(group)}") from None


def _first(group: BaseExceptionGroup[Exception]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


@asynccontextmanager
async def _cluster(start: bool, config: Path | None) -> AsyncIterator[list[str]]:
    """The URLs of the nodes that run, or of three that run for as long as this does."""
    if not start:
        loaded = load_config(find_config(config))
        yield [node.api_url for node in loaded.nodes]
        return
    with tempfile.TemporaryDirectory(prefix="qaexchange-replay-") as folder:
        cluster = LocalCluster.temporary(Path(folder), base=config, instruments=[instrument.table()])
        async with cluster:
            await cluster.wait_until_ready()
            yield [node.api_url for node in cluster.config.nodes]


async def _check_market(urls: list[str], fresh: bool) -> None:
    """The instrument must be listed and its book empty. Raises ReplayError.

    The routes need somebody who is logged in, so this asks with a user of its own that owns nothing.
    """
    deadline = trio.current_time() + CLUSTER_TIMEOUT_S
    async with TrioClient(urls, timeout_s=CLUSTER_TIMEOUT_S) as client:
        try:
            await _log_in(client)
            while True:
                try:
                    await client.instrument(INSTRUMENT_ID)
                    break
                except NotFound:
                    # A cluster that was just made lists its instruments a moment after it can commit.
                    if not fresh or trio.current_time() > deadline:
                        raise
                    await trio.sleep(0.05)
            book = await client.orderbook(INSTRUMENT_ID, depth=1)
        except NotFound:
            raise ReplayError(
                f"{INSTRUMENT_ID} is not listed on this cluster; add this to its cluster.toml, or use --start-cluster:"
                f"\n\n{instrument.TOML}"
            ) from None
        except ClientError as error:
            raise ReplayError(
                f"no cluster answers at {', '.join(urls)} ({error}); "
                "start one with `qaexchange up`, or use --start-cluster"
            ) from None
    if book.bids or book.asks:
        raise ReplayError(
            f"the book of {INSTRUMENT_ID} is not empty; somebody trades it, or a replay was cut off: "
            "cancel those orders, or use --start-cluster"
        )


async def _log_in(client: TrioClient) -> None:
    from node import entropy

    username, password = f"replay-{entropy.random_bytes(4).hex()}-observer", entropy.random_password()
    await client.register(username, password)
    await client.login(username, password)


@contextmanager
def _progress(day: Day, quiet: bool) -> Iterator[Callable[[int], None]]:
    """A bar of the judged events on stderr; silent if `quiet` or where nobody watches."""
    console = Console(stderr=True)
    columns = (
        TextColumn("replaying"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console, disable=quiet or not console.is_terminal) as bar:
        task = bar.add_task("events", total=day.rows)
        yield lambda row: bar.update(task, completed=row - day.first_row + 1)


def _show(outcome: Outcome) -> None:
    tally = outcome.tally
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(justify="left")
    table.add_column(justify="right")

    def row(name: str, value: str) -> None:
        table.add_row(name, value)

    p50, p99 = outcome.latency_ms(50), outcome.latency_ms(99)
    row("recorded events", f"{outcome.rows:,} books judged in {outcome.elapsed_s:,.1f} s")
    row("sent", f"{tally.orders:,} orders, {tally.cancels:,} cancels, {tally.reductions:,} reductions")
    row("by", f"{outcome.accounts:,} accounts of {outcome.users:,} users in {outcome.frames:,} frames")
    row("rate", f"{outcome.per_second(outcome.commands) or 0:,.0f} commands/s, "
                f"{outcome.per_second(tally.orders) or 0:,.0f} orders/s")  # fmt: skip
    row("acknowledged after", "-" if p50 is None else f"p50 {p50:.2f} ms, p99 {p99:.2f} ms")
    row("executions against the recorded order", f"{tally.fills_equal:,} of {tally.fills:,}")
    row("trading orders as recorded", f"{tally.trading_orders_equal:,} of {tally.trading_orders:,}")
    row("ten-level books as recorded", f"{tally.books_equal:,} of {tally.books:,}")
    row("published books as rebuilt", f"{tally.published_equal:,} of {tally.published:,}")
    if outcome.reconnects or outcome.book_breaks:
        row("reconnects, broken book messages", f"{outcome.reconnects}, {outcome.book_breaks}")
    console = Console()
    console.print(table)
    console.print("zero differences" if outcome.zero else f"{tally.different:,} differences", style="bold")
    for text in tally.differences[:DIFFERENCES_SHOWN]:
        console.print(f"  {text}", markup=False, highlight=False, soft_wrap=True)
