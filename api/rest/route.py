"""How a route is declared: its method and path, who may use it, what it reads, and who carries it out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

from api.errors import Unauthenticated
from api.permissions import Allow
from api.ports import ApiContext
from api.principal import Principal
from api.render import ReceiptBody
from api.schemas import BodyReader, ReadQuery, WriteQuery
from api.services import Services
from node.exchange.codec import encode_command
from node.exchange.commands import Command


class Access(Enum):
    """Which node may answer."""

    WRITE = auto()  # the leader
    READ = auto()  # as `?level=` says: the leader, or any node that says how stale it is
    NODE = auto()  # this node, about itself


@dataclass(slots=True)
class Result:
    """What a handler answers with success."""

    data: Any
    receipt: ReceiptBody | None = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Call:
    """One request that has passed the gate."""

    services: Services
    maybe_principal: Principal | None
    path: dict[str, str]
    query: Any
    body: Any

    @property
    def principal(self) -> Principal:
        """Who asks. Raises Unauthenticated on a public route."""
        if self.maybe_principal is None:
            raise Unauthenticated
        return self.maybe_principal

    @property
    def context(self) -> ApiContext:
        return self.services.context

    async def submit(self, command: Command) -> Result:
        """Replicate one command and answer with what it came to. Raises ApiError, ConsensusError."""
        results = await self.submit_all([command])
        result = results[0]
        if isinstance(result, Exception):
            raise result
        return result

    async def submit_all(self, commands: list[Command]) -> list[Result | Exception]:
        """Replicate commands in order, in one submission; per command its result or the ApiError that it came to.

        Raises ConsensusError for all of them together.
        """
        receipts = await self.context.replica.submit([encode_command(command) for command in commands])
        results: list[Result | Exception] = []
        for command, receipt in zip(commands, receipts, strict=True):
            answer = self.services.answers.of(command, receipt)
            results.append(answer.error if answer.error is not None else Result(answer.data, answer.receipt))
        return results


Handler = Callable[[Call], Awaitable[Result]]


@dataclass(frozen=True, slots=True)
class Route:
    method: str
    path: str
    allow: Allow
    access: Access
    handler: Handler
    query: type = ReadQuery
    read_body: BodyReader | None = None


def read(path: str, allow: Allow, handler: Handler, *, query: type = ReadQuery) -> Route:
    """A GET that the leader answers, or any node at `level=stale`."""
    return Route("GET", path, allow, Access.READ, handler, query)


def write(method: str, path: str, allow: Allow, handler: Handler, body: Any = None) -> Route:
    """A request that changes something."""
    return Route(method, path, allow, Access.WRITE, handler, WriteQuery, BodyReader(body) if body is not None else None)


def about_node(path: str, handler: Handler) -> Route:
    """A GET that every node answers about itself, to everybody."""
    return Route("GET", path, Allow(public=True), Access.NODE, handler)
