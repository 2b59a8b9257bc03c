"""From a replica's status to a verdict with reasons. Pure.

`/livez`: the process turns; no verdict is asked.
`/readyz`: this node can commit now. A healthy follower is not ready in this sense (503, "follower of n1"): a client, a
load balancer or a script that looks for a node to write to must pass it over.
`/health`: this node does its part: it leads with a majority, or follows a leader that it hears.
"""

from __future__ import annotations

from consensus.ports import ReplicaStatus


def readiness(status: ReplicaStatus) -> list[str]:
    """Why this node cannot commit now; empty if it can."""
    if status.can_commit:
        return []
    reasons = quorum_reasons(status)
    if status.role == "leader":
        if not reasons:
            reasons.append(f"leads term {status.term}, but has not applied an entry of this term yet")
    elif status.leader is not None:
        reasons.append(f"follower of {status.leader}")
    else:
        reasons.append(f"no leader is known in term {status.term}")
    return reasons


def faults(status: ReplicaStatus) -> list[str]:
    """Why this node does not do its part; empty if it does."""
    if status.role == "leader":
        return readiness(status)
    if status.leader is None:
        return [*quorum_reasons(status), f"no leader is known in term {status.term}"]
    return []


def quorum_reasons(status: ReplicaStatus) -> list[str]:
    if status.reachable >= status.quorum:
        return []
    return [f"{status.reachable} of {len(status.members)} members reachable, {status.quorum} needed"]


def quorum_in_words(status: ReplicaStatus) -> str:
    """How much the cluster can lose, as this node sees it.

    "2 of 3 needed, 3 reachable; can lose 1 more"
    """
    spare = status.reachable - status.quorum
    rest = f"can lose {spare} more" if spare >= 0 else f"cannot commit, {-spare} missing"
    return f"{status.quorum} of {len(status.members)} needed, {status.reachable} reachable; {rest}"


def staleness_ms(status: ReplicaStatus) -> float | None:
    """Since when this node may have missed something: 0 on a leader with a majority, None if no leader was heard."""
    if status.can_commit:
        return 0.0
    for peer in status.peers:
        if peer.name == status.leader:
            return peer.heard_ms
    return None
