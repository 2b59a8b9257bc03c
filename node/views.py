"""What the nodes of a cluster say about themselves over `GET /api/cluster`, and what follows from it.

A cluster can commit where one node leads and says that it can; nodes agree where equal applied indexes carry equal
state hashes. Used by `up`, `status` and `LocalCluster`.
"""

from __future__ import annotations

import ssl
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import httpx
import msgspec
import trio

from node.config import ClusterConfig, NodeConfig

ANSWER_BYTES_MAX: Final = 1_048_576
INDEXES_REMEMBERED_MAX: Final = 4_096


class MemberView(msgspec.Struct, frozen=True, kw_only=True):
    """One member as the asked node sees it. `match_index`: durable there, known to a leader only."""

    name: str
    raft: str
    api_url: str
    connected: bool
    heard_ms: float | None = None
    match_index: int | None = None


class NodeView(msgspec.Struct, frozen=True, kw_only=True):
    """The data of `GET /api/cluster`: one node's word about itself."""

    cluster_id: str
    node: str
    role: Literal["leader", "follower", "candidate"]
    term: int
    leader: str | None
    quorum_text: str
    can_commit: bool
    commit_index: int
    applied_index: int
    state_hash: str
    orders_per_second: float | None = None
    commit_p50_ms: float | None = None
    commit_p99_ms: float | None = None
    loop_lag_ms: float | None = None
    members: tuple[MemberView, ...] = ()


class _Answer(msgspec.Struct, frozen=True):
    data: NodeView


_decode: Final = msgspec.json.Decoder(_Answer).decode


@dataclass(frozen=True, slots=True)
class Sighting:
    """One node at one moment: its view, or why there is none."""

    node: NodeConfig
    view: NodeView | None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Disagreement:
    """Two nodes with different state at the same log index: the exchange has forked."""

    index: int
    hashes: tuple[tuple[str, str], ...]  # (node, state hash), two or more

    def __str__(self) -> str:
        said = ", ".join(f"{node} has {state[:12]}" for node, state in self.hashes)
        return f"state hashes differ at index {self.index}: {said}"


@dataclass(frozen=True, slots=True)
class Overview:
    """All nodes of a cluster, asked at about the same time, in the order of the configuration."""

    sightings: tuple[Sighting, ...]
    disagreements: tuple[Disagreement, ...] = ()

    @property
    def views(self) -> list[NodeView]:
        return [sighting.view for sighting in self.sightings if sighting.view is not None]

    @property
    def leader(self) -> NodeView | None:
        """The leader of the highest term: a deposed one may not know it yet."""
        return max((view for view in self.views if view.role == "leader"), key=lambda view: view.term, default=None)

    @property
    def can_commit(self) -> bool:
        leader = self.leader
        return leader is not None and leader.can_commit

    def sighting(self, name: str) -> Sighting:
        return next(sighting for sighting in self.sightings if sighting.node.name == name)


class HashWitness:
    """Remembers which hash each node showed at which index, and so sees a fork also between nodes that never show
    the same index at the same moment. Keeps the newest `INDEXES_REMEMBERED_MAX` indexes.
    """

    def __init__(self) -> None:
        self._seen: OrderedDict[int, dict[str, str]] = OrderedDict()

    def observe(self, views: Iterable[NodeView]) -> tuple[Disagreement, ...]:
        """Add what the nodes show now; the disagreements at the indexes that they show."""
        touched: dict[int, dict[str, str]] = {}
        for view in views:
            shown = self._seen.setdefault(view.applied_index, {})
            shown[view.node] = view.state_hash
            touched[view.applied_index] = shown
        while len(self._seen) > INDEXES_REMEMBERED_MAX:
            self._seen.popitem(last=False)
        return tuple(
            Disagreement(index, tuple(sorted(shown.items())))
            for index, shown in sorted(touched.items())
            if len(set(shown.values())) > 1
        )


class Observer:
    """Asks nodes over HTTP; keeps its connections. Use as an async context manager."""

    def __init__(self, config: ClusterConfig, *, timeout_s: float = 1.0) -> None:
        self._config = config
        self._timeout_s = timeout_s
        self._witness = HashWitness()
        # Loopback or a named node, never through a proxy; plain HTTP, so no certificates are read from disk.
        self._client = httpx.AsyncClient(
            timeout=timeout_s,
            trust_env=False,
            verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
            limits=httpx.Limits(max_connections=2 * len(config.nodes), max_keepalive_connections=len(config.nodes)),
        )

    async def __aenter__(self) -> Observer:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def look(self) -> Overview:
        """Ask every node in parallel. Never raises for a node that is down or talks nonsense."""
        seen: dict[str, Sighting] = {}

        async def ask(node: NodeConfig) -> None:
            seen[node.name] = await self.ask(node)

        async with trio.open_nursery() as nursery:
            for node in self._config.nodes:
                nursery.start_soon(ask, node)
        sightings = tuple(seen[node.name] for node in self._config.nodes)
        views = [sighting.view for sighting in sightings if sighting.view is not None]
        return Overview(sightings, self._witness.observe(views))

    async def ask(self, node: NodeConfig) -> Sighting:
        """One node's view, or what is wrong with it."""
        status, body, problem = await self._get(node, "/api/cluster")
        if problem:
            return Sighting(node, None, problem)
        if status != 200:
            return Sighting(node, None, f"GET /api/cluster answers {status}")
        try:
            view = _decode(body).data
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return Sighting(node, None, f"not a node's answer: {error}")
        if view.cluster_id != self._config.id:
            return Sighting(node, None, f"belongs to another cluster, {view.cluster_id!r}")
        if view.node != node.name:
            return Sighting(node, None, f"node {view.node!r} answers here; two configurations are in use")
        return Sighting(node, view)

    async def is_ready(self, node: NodeConfig) -> bool:
        """Whether `GET /readyz` answers 200: the node can commit now."""
        status, _, problem = await self._get(node, "/readyz")
        return not problem and status == 200

    async def _get(self, node: NodeConfig, path: str) -> tuple[int, bytes, str]:
        """Status and body, or the problem in words. Bounded in time as a whole and in size."""
        problem = f"no answer within {self._timeout_s:g} s"
        with trio.move_on_after(self._timeout_s):
            try:
                async with self._client.stream("GET", f"{node.api_url}{path}") as answer:
                    body = bytearray()
                    async for chunk in answer.aiter_bytes():
                        body += chunk
                        if len(body) > ANSWER_BYTES_MAX:
                            return 0, b"", f"answers more than {ANSWER_BYTES_MAX} bytes"
                    return answer.status_code, bytes(body), ""
            except httpx.ConnectError:
                problem = "not running"
            except httpx.TimeoutException:
                pass
            except httpx.HTTPError as error:
                problem = f"{type(error).__name__}: {error}"
        return 0, b"", problem


def explain(overview: Overview) -> str:
    """Why the cluster cannot commit, or that it can, in one sentence with the arithmetic."""
    total = len(overview.sightings)
    need = total // 2 + 1
    up = len(overview.views)
    leader = overview.leader
    if leader is not None and leader.can_commit:
        return f"{leader.node} leads term {leader.term}; {leader.quorum_text}"
    if up < need:
        return f"cannot commit: {up} of {total} nodes answer, {need} needed"
    if leader is None:
        return f"cannot commit: no leader yet; {up} of {total} nodes answer, {need} needed"
    return f"cannot commit: {leader.node} leads term {leader.term}, but {leader.quorum_text}"


def problems(sightings: Sequence[Sighting]) -> str:
    """What each silent node's trouble is: `n2: not running; n3: no answer within 1 s`."""
    return "; ".join(f"{sighting.node.name}: {sighting.problem}" for sighting in sightings if sighting.problem)
