"""What the front door asks of the node that it belongs to.

`node.app` builds one `ApiContext` per process and hands it to `api.server.serve_api`. Nothing in `api` reaches further.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from consensus.errors import ConsensusError
from consensus.ports import ReadBasis, Receipt, ReplicaStatus, Role
from node.exchange.machine import Machine
from node.market.tape import Tape

if TYPE_CHECKING:
    from api.tokens import TokenKeys
    from api.ws.hub import Hub

Outcome = list[Receipt] | ConsensusError


class ReplicaPort(Protocol):
    """The part of `consensus.replica.Replica` that the front door uses; its docstrings are there."""

    def propose(
        self, commands: Sequence[bytes], done: Callable[[Outcome], None], *, timeout_s: float | None = None
    ) -> None: ...

    async def submit(self, commands: Sequence[bytes], *, timeout_s: float | None = None) -> list[Receipt]: ...

    async def read_barrier(self, *, timeout_s: float = 1.0) -> int: ...

    async def read_now(self, *, timeout_s: float = 1.0) -> ReadBasis: ...

    def holds_lease(self) -> bool: ...

    async def transfer(self, target: str | None = None, *, timeout_s: float = 2.0) -> str: ...

    def status(self) -> ReplicaStatus: ...

    def add_role_listener(self, listener: Callable[[Role, str | None, int], None]) -> None: ...


class Clock(Protocol):
    """Wall-clock time, for the life of tokens only: nothing here stamps a command."""

    def wall_ns(self) -> int: ...


@dataclass(frozen=True, slots=True)
class ApiSettings:
    """The `[api]` and `[accounts]` tables of `cluster.toml`."""

    token_hours: int = 24
    body_bytes_max: int = 1_048_576
    frame_bytes_max: int = 65_536
    heartbeat_seconds: float = 5.0
    connections_max: int = 2_000
    allowed_origins: tuple[str, ...] = ()
    self_service_funding: bool = False


@dataclass(frozen=True, slots=True)
class ApiContext:
    """Everything that one front door works with.

    `hub` must be given every entry that `machine` applies, from the start of the log (`Hub.observe`).
    """

    node: str
    cluster: str
    machine: Machine
    tape: Tape
    hub: Hub
    replica: ReplicaPort
    settings: ApiSettings
    keys: TokenKeys
    clock: Clock
    random_bytes: Callable[[int], bytes] = field(default=secrets.token_bytes)
    orders_per_second: Callable[[], float | None] = field(default=lambda: None)  # shown by /api/cluster
    begun: Callable[[], bool] = field(default=lambda: True)  # whether the exchange has its beginning (node.genesis)
