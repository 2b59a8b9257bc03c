"""`qaexchange status`."""

from __future__ import annotations

from pathlib import Path

import msgspec
import trio
import typer

from node.config import ClusterConfig, load_config
from node.views import NodeView, Observer, Overview, explain


class NodeStatus(msgspec.Struct, frozen=True):
    """One node in the JSON output; `view` is its own `/api/cluster` data, null where it did not answer."""

    name: str
    api_url: str
    problem: str | None
    view: NodeView | None


class DisagreementStatus(msgspec.Struct, frozen=True):
    applied_index: int
    state_hashes: dict[str, str]


class ClusterStatus(msgspec.Struct, frozen=True):
    """The JSON output."""

    cluster_id: str
    can_commit: bool
    summary: str
    leader: str | None
    nodes: list[NodeStatus]
    disagreements: list[DisagreementStatus]


def run(path: Path | None, *, as_json: bool, timeout_s: float) -> int:
    """Show the cluster; 0 if it can commit and no state differs, else 1. Raises ConfigError."""
    config = load_config(path)
    overview = trio.run(_look, config, timeout_s)
    if as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode(describe(config, overview)), indent=2).decode())
    else:
        from rich.console import Console

        from node.table import status_panel

        Console().print(status_panel(overview))
    return 0 if overview.can_commit and not overview.disagreements else 1


def describe(config: ClusterConfig, overview: Overview) -> ClusterStatus:
    """What `status --json` prints."""
    return ClusterStatus(
        cluster_id=config.id,
        can_commit=overview.can_commit,
        summary=explain(overview),
        leader=overview.leader.node if overview.leader is not None else None,
        nodes=[
            NodeStatus(sighting.node.name, sighting.node.api_url, sighting.problem or None, sighting.view)
            for sighting in overview.sightings
        ],
        disagreements=[DisagreementStatus(one.index, dict(one.hashes)) for one in overview.disagreements],
    )


async def _look(config: ClusterConfig, timeout_s: float) -> Overview:
    async with Observer(config, timeout_s=timeout_s) as observer:
        return await observer.look()
