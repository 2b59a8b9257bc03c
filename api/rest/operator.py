"""What a node says about itself, to everybody: liveness, readiness, health, the cluster, the time, the error codes.

And the one thing that an administrator may tell it: to hand over the leadership."""

from __future__ import annotations

import logging
from typing import Any, Final

from api.errors import CATALOGUE, SERVICE_UNAVAILABLE, Unavailable
from api.health import faults, quorum_in_words, readiness
from api.permissions import P, any_of
from api.rest.route import Call, Result, Route, about_node, write
from api.schemas import TransferLeadership
from consensus.ports import ReplicaStatus

log = logging.getLogger(__name__)

READY_RETRY_MS: Final = 1_000


async def livez(call: Call) -> Result:
    return Result({"status": "alive", "node": call.context.node})


async def readyz(call: Call) -> Result:
    """200 only if this node can commit now (see `api.health`); 503 with the reasons otherwise."""
    status = call.context.replica.status()
    reasons = readiness(status)
    if not reasons and not call.context.begun():
        reasons.append("the instruments and the administrator of this cluster are being entered")
    return _verdict(status, reasons, "ready")


async def health(call: Call) -> Result:
    """200 if this node leads with a majority or follows a leader; 503 with the reasons otherwise."""
    status = call.context.replica.status()
    return _verdict(status, faults(status), "ok")


def _verdict(status: ReplicaStatus, reasons: list[str], word: str) -> Result:
    if reasons:
        raise Unavailable(
            SERVICE_UNAVAILABLE,
            "; ".join(reasons),
            retry="after_ms",
            retry_after_ms=READY_RETRY_MS,
            details={"reasons": reasons, "node": status.node, "role": status.role, "term": status.term},
        )
    return Result({"status": word, "node": status.node, "role": status.role, "term": status.term, "reasons": []})


async def cluster(call: Call) -> Result:
    """The cluster as this node sees it. `lag` is in log entries, known for a member to its leader only."""
    context = call.context
    status = context.replica.status()
    peers = {peer.name: peer for peer in status.peers}
    members: list[dict[str, Any]] = []
    for member in status.members:
        row: dict[str, Any] = {
            "name": member.name,
            "raft": f"{member.host}:{member.port}",
            "api_url": member.api_url,
            "leads": member.name == status.leader,
        }
        peer = peers.get(member.name)
        if peer is None:
            row |= {"connected": True, "heard_ms": 0.0, "match_index": status.durable_index}
        else:
            row |= {"connected": peer.connected, "heard_ms": peer.heard_ms, "match_index": peer.match_index}
        known = row["match_index"]
        row["lag"] = status.last_index - known if known is not None else None
        members.append(row)
    return Result(
        {
            "cluster_id": context.cluster,
            "node": status.node,
            "role": status.role,
            "term": status.term,
            "leader": status.leader,
            "quorum": status.quorum,
            "reachable": status.reachable,
            "quorum_text": quorum_in_words(status),
            "can_commit": status.can_commit,
            "last_index": status.last_index,
            "durable_index": status.durable_index,
            "commit_index": status.commit_index,
            "applied_index": context.machine.index,
            "state_hash": context.machine.digest().hex(),
            "state_time_ns": context.machine.time_ns,
            "waiting": status.waiting,
            "commands_applied": status.commands_applied,
            "orders_per_second": context.orders_per_second(),
            "commit_p50_ms": status.commit_p50_ms,
            "commit_p99_ms": status.commit_p99_ms,
            "loop_lag_ms": status.loop_lag_ms,
            "sockets": len(context.hub.sockets),
            "members": members,
        }
    )


async def time(call: Call) -> Result:
    """The clock of this node, and the time of the newest entry that it applied."""
    context = call.context
    return Result({"time_ns": context.clock.wall_ns(), "state_time_ns": context.machine.time_ns})


async def errors(call: Call) -> Result:
    """The catalogue: every code that any surface answers with."""
    return Result({"errors": [entry._asdict() for entry in CATALOGUE], "total": len(CATALOGUE)})


async def transfer(call: Call) -> Result:
    """Hand the leadership over; answers once the new leader is heard. Requests wait or are redirected meanwhile."""
    body: TransferLeadership = call.body
    context = call.context
    leader = await context.replica.transfer(body.target)
    log.info("handed the leadership to %s, asked by user %s", leader, call.principal.user_id)
    return Result({"leader": leader, "url": call.services.leadership.url(leader)})


ROUTES: Final[tuple[Route, ...]] = (
    about_node("/livez", livez),
    about_node("/readyz", readyz),
    about_node("/health", health),
    about_node("/api/cluster", cluster),
    about_node("/api/time", time),
    about_node("/api/errors", errors),
    write("POST", "/admin/cluster/transfer", any_of(P.MANAGE_CLUSTER), transfer, TransferLeadership),
)
