"""What `up` and `status` show: the cluster as a table for people, or as one line for logs and pipes. Pure rendering."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from node.views import NodeView, Overview, Sighting, explain

HASH_DIGITS: Final = 12
NOTHING: Final = "–"  # nothing was measured
_ROLE_STYLES: Final = {"leader": "bold green", "follower": "default", "candidate": "yellow"}


def status_panel(overview: Overview) -> RenderableType:
    """The table, then what is wrong, then whether the cluster can commit."""
    return live_panel(overview, {}, [])


def live_panel(overview: Overview, dead: Mapping[str, str], below: Sequence[str]) -> RenderableType:
    """As `status_panel`; `dead` has better words for nodes that do not run, `below` lines to stand at the end."""
    return Group(cluster_table(overview), *_troubles(overview, dead), _verdict(overview), *map(Text, below))


def cluster_table(overview: Overview) -> Table:
    """One row per node."""
    forked = {node for disagreement in overview.disagreements for node, _ in disagreement.hashes}
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    for title in ("node", "role"):
        table.add_column(title, no_wrap=True)
    for title in ("term", "commit", "applied"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("state hash", no_wrap=True)
    for title in ("orders/s", "commit ms\np50/p99"):
        table.add_column(title, justify="right", no_wrap=True)
    for sighting in overview.sightings:
        view = sighting.view
        if view is None:
            table.add_row(sighting.node.name, "down", *[NOTHING] * 6, style="red")
        else:
            table.add_row(
                view.node,
                Text(view.role, style=_ROLE_STYLES[view.role]),
                str(view.term),
                str(view.commit_index),
                str(view.applied_index),
                Text(view.state_hash[:HASH_DIGITS], style="bold red" if view.node in forked else "cyan"),
                figure(view.orders_per_second),
                _latencies(view),
            )
    return table


def plain_line(overview: Overview, when: str, below: Sequence[str]) -> str:
    """Everything in one line: `18:46:03Z n1 leader term=3 …; n2 follower …; n3 down (not running); <below>`."""
    parts = [_plain_node(sighting) for sighting in overview.sightings]
    parts += [f"ALARM: {disagreement}" for disagreement in overview.disagreements]
    if not overview.can_commit:
        parts.append(explain(overview))
    return f"{when} " + "; ".join([*parts, *below])


def figure(value: float | None) -> str:
    """A measured figure with one decimal, or a dash where nothing was measured."""
    return NOTHING if value is None else f"{value:,.1f}"


def _plain_node(sighting: Sighting) -> str:
    view = sighting.view
    if view is None:
        return f"{sighting.node.name} down ({sighting.problem})"
    text = (
        f"{view.node} {view.role} term={view.term} commit={view.commit_index} applied={view.applied_index} "
        f"hash={view.state_hash[:HASH_DIGITS]}"
    )
    if view.role == "leader":
        text += f" orders/s={figure(view.orders_per_second)} commit_ms={_latencies(view)}"
    return text


def _latencies(view: NodeView) -> str:
    if view.commit_p50_ms is None and view.commit_p99_ms is None:
        return NOTHING
    return f"{figure(view.commit_p50_ms)}/{figure(view.commit_p99_ms)}"


def _troubles(overview: Overview, dead: Mapping[str, str]) -> list[Text]:
    lines = [Text(str(disagreement), style="bold red") for disagreement in overview.disagreements]
    for sighting in overview.sightings:
        if sighting.view is None:
            name = sighting.node.name
            lines.append(Text(dead.get(name, f"{name} ({sighting.node.api_url}): {sighting.problem}"), style="red"))
    return lines


def _verdict(overview: Overview) -> Text:
    return Text(explain(overview), style="green" if overview.can_commit else "bold red")
