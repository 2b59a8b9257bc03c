"""All nodes hold the same state at the same log index (reliability.md, promise 2)."""

from __future__ import annotations

from collections.abc import Iterable

from chaos.history import Replica


def check(seen: Iterable[Replica]) -> list[str]:
    """Any number of sightings of any nodes, at any indexes."""
    first: dict[int, Replica] = {}
    violations = []
    for replica in seen:
        known = first.setdefault(replica.applied_index, replica)
        if known.state_hash != replica.state_hash:
            violations.append(
                f"at {replica.applied_index}: {known.node} has {known.state_hash[:16]}, "
                f"{replica.node} has {replica.state_hash[:16]}"
            )
    return violations
