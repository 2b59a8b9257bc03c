"""The verbs of `qaexchange`, and how an error leaves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from node.errors import OperatorError


class _Verbs(TyperGroup):
    """The verbs below, and `replay`, whose module is imported only when it is named or listed."""

    def list_commands(self, ctx: Any) -> list[str]:
        return sorted([*super().list_commands(ctx), "replay"])

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name != "replay":
            return super().get_command(ctx, cmd_name)
        from node import replay

        command = typer.main.get_group(replay.app)
        command.name = "replay"
        return command


app = typer.Typer(
    cls=_Verbs,
    help="A futures exchange, replicated through Raft.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config", metavar="FILE", help="The cluster's file; default $QAEXCHANGE_CONFIG, then ./cluster.toml."
    ),
]


@app.command()
def init(config: ConfigOption = None) -> None:
    """Make the cluster's secrets and its administrator, whose password is printed once."""
    from node.cli.init import run

    run(config)


@app.command()
def serve(
    node: Annotated[str, typer.Option("--node", metavar="NAME", help="Which [[nodes]] entry of the file to be.")],
    config: ConfigOption = None,
    lifeline: Annotated[bool, typer.Option("--lifeline", hidden=True)] = False,
) -> None:
    """Run one node in the foreground until SIGINT or SIGTERM."""
    from node.cli.serve import run

    raise typer.Exit(run(config, node, lifeline=lifeline))


@app.command()
def up(
    config: ConfigOption = None,
    no_demo: Annotated[bool, typer.Option("--no-demo", help="Start no demo traders.")] = False,
    plain: Annotated[bool, typer.Option("--plain", help="One line per second instead of the live table.")] = False,
    once: Annotated[bool, typer.Option("--once", help="Show the cluster once when it is ready, and stop it.")] = False,
    seconds: Annotated[
        float | None, typer.Option("--seconds", min=0.1, metavar="N", help="Stop N seconds after it is ready.")
    ] = None,
) -> None:
    """Start the whole cluster on this machine, with demo traders, and show it until Ctrl-C."""
    from node.cli.up import run

    raise typer.Exit(run(config, demo=not no_demo, plain=plain, seconds=0.0 if once else seconds))


@app.command()
def status(
    config: ConfigOption = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    timeout: Annotated[float, typer.Option("--timeout", min=0.1, max=60.0, metavar="S", help="For every node.")] = 1.0,
) -> None:
    """Ask every node; exit status 0 only if the cluster can commit and no state differs."""
    from node.cli.status import run

    raise typer.Exit(run(config, as_json=json, timeout_s=timeout))


@app.command()
def transfer(
    node: Annotated[
        str | None, typer.Argument(metavar="[NODE]", help="Who is to lead; default: the best follower.")
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Hand the leadership to another node, as an administrator ($QAEXCHANGE_TOKEN, or name and password)."""
    from node.cli.transfer import run

    run(config, node)


@app.command()
def version() -> None:
    """Print the versions of qaexchange and of what its safety depends on."""
    from node.cli.version import run

    run()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb and return its exit status. `arguments` without the program's name; None: this process's own."""
    try:
        app(args=None if arguments is None else list(arguments), prog_name="qaexchange")
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    except KeyboardInterrupt:
        return 130
    except BaseException as error:
        expected = _only_cause(error)
        if not isinstance(expected, OperatorError):
            raise
        typer.echo(f"qaexchange: {expected}", err=True)
        return expected.exit_status
    return 0


def _only_cause(error: BaseException) -> BaseException:
    """The one exception inside the groups that nurseries wrap around it."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
