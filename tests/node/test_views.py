"""What follows from the nodes' own words, and how it is shown."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from node.config import Address, NodeConfig
from node.table import live_panel, plain_line, status_panel
from node.views import INDEXES_REMEMBERED_MAX, Disagreement, HashWitness, NodeView, Overview, Sighting, explain

NODES = [
    NodeConfig(name=f"n{i}", raft=Address(f"127.0.0.1:710{i}"), api=Address(f"127.0.0.1:810{i}")) for i in (1, 2, 3)
]


def view(name: str, **changes: Any) -> NodeView:
    values: dict[str, Any] = {
        "cluster_id": "t",
        "node": name,
        "role": "follower",
        "term": 3,
        "leader": "n1",
        "quorum_text": "2 of 3 needed; can lose 1 more",
        "can_commit": False,
        "commit_index": 10,
        "applied_index": 10,
        "state_hash": "ab" * 32,
    }
    return NodeView(**{**values, **changes})


def overview(*views: NodeView | str) -> Overview:
    """Of n1, n2, n3 in order; a string is a node's problem."""
    sightings = tuple(
        Sighting(node, None, one) if isinstance(one, str) else Sighting(node, one)
        for node, one in zip(NODES, views, strict=True)
    )
    return Overview(sightings, HashWitness().observe(one for one in views if not isinstance(one, str)))


LEADER = view("n1", role="leader", can_commit=True, orders_per_second=1234.56, commit_p50_ms=2.25, commit_p99_ms=9.0)


def shown(renderable: object, width: int = 80) -> list[str]:
    console = Console(width=width, no_color=True, record=True, file=None, force_terminal=False)
    with console.capture() as captured:
        console.print(renderable)
    return [line.rstrip() for line in captured.get().splitlines()]


def test_a_leader_that_can_commit_makes_a_cluster_that_can():
    assert overview(LEADER, view("n2"), "not running").can_commit
    assert explain(overview(LEADER, view("n2"), view("n3"))) == "n1 leads term 3; 2 of 3 needed; can lose 1 more"


def test_a_deposed_leader_that_does_not_know_it_yet_does_not_count():
    seen = overview(LEADER, view("n2", role="leader", term=4, can_commit=False), view("n3", term=4))
    assert seen.leader is not None
    assert seen.leader.node == "n2"
    assert not seen.can_commit


def test_why_it_cannot_commit_is_said_with_the_arithmetic():
    assert explain(overview("x", "x", view("n3"))) == "cannot commit: 1 of 3 nodes answer, 2 needed"
    assert (
        explain(overview(view("n1"), view("n2"), "x")) == "cannot commit: no leader yet; 2 of 3 nodes answer, 2 needed"
    )
    alone = view("n1", role="leader", quorum_text="1 of 3 members reachable, 2 needed")
    assert explain(overview(alone, view("n2"), "x")).startswith("cannot commit: n1 leads term 3, but 1 of 3 members")


def test_different_hashes_at_one_index_are_a_disagreement_and_at_different_indexes_are_not():
    other = view("n2", state_hash="cd" * 32)
    assert overview(LEADER, other, "x").disagreements == (Disagreement(10, (("n1", "ab" * 32), ("n2", "cd" * 32))),)
    assert overview(LEADER, view("n2", state_hash="cd" * 32, applied_index=9), "x").disagreements == ()


def test_a_fork_is_seen_also_between_moments():
    witness = HashWitness()
    assert witness.observe([view("n1", applied_index=5)]) == ()
    assert witness.observe([view("n1", applied_index=6)]) == ()
    (found,) = witness.observe([view("n2", applied_index=5, state_hash="cd" * 32)])
    assert found.index == 5
    assert str(found) == "state hashes differ at index 5: n1 has abababababab, n2 has cdcdcdcdcdcd"


def test_the_witness_forgets_the_oldest_indexes():
    witness = HashWitness()
    for index in range(INDEXES_REMEMBERED_MAX + 1):
        witness.observe([view("n1", applied_index=index)])
    assert witness.observe([view("n2", applied_index=0, state_hash="cd" * 32)]) == ()
    assert witness.observe([view("n2", applied_index=2, state_hash="cd" * 32)]) != ()


def test_the_table_shows_every_node_in_80_columns():
    lines = shown(status_panel(overview(LEADER, view("n2", commit_index=1_234_567, applied_index=1_234_567), "x")))
    assert any(
        line.split() == ["n1", "leader", "3", "10", "10", "abababababab", "1,234.6", "2.2/9.0"] for line in lines
    )
    assert any(line.split()[:5] == ["n2", "follower", "3", "1234567", "1234567"] for line in lines)
    assert any(line.split()[:3] == ["n3", "down", "–"] for line in lines)
    assert "n3 (http://127.0.0.1:8103): x" in lines
    assert not any("…" in line for line in lines)


def test_a_dead_node_is_shown_with_the_command_that_brings_it_back():
    dead = {"n2": "n2 ended with signal SIGKILL; bring it back from another terminal: qaexchange serve --node n2"}
    lines = shown(live_panel(overview(LEADER, "not running", view("n3")), dead, ["[not markup] below"]), width=120)
    assert dead["n2"] in lines
    assert not any("(http://127.0.0.1:8102)" in line for line in lines)
    assert lines[-1] == "[not markup] below"


def test_the_plain_line_is_one_line_with_everything():
    line = plain_line(overview(LEADER, view("n2", state_hash="cd" * 32), "not running"), "18:46:03Z", ["4 traders"])
    assert line == (
        "18:46:03Z n1 leader term=3 commit=10 applied=10 hash=abababababab orders/s=1,234.6 commit_ms=2.2/9.0; "
        "n2 follower term=3 commit=10 applied=10 hash=cdcdcdcdcdcd; n3 down (not running); "
        "ALARM: state hashes differ at index 10: n1 has abababababab, n2 has cdcdcdcdcdcd; 4 traders"
    )
