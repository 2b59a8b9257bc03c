"""One REST call as a conversation without I/O: what to send, how to read the answer, when to try again.

A `Flow` is a generator: it yields `Send` or `Pause`, is sent back the `Outcome` (nothing after a pause), and returns
the result or raises a `ClientError`. `SyncClient` and `TrioClient` differ only in how they carry out the two steps, so
there is one place where retries are decided: `judge`.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

import msgspec

from api.client import errors
from api.client.models import Receipt

T = TypeVar("T")

STATUSES_OF_GATEWAYS: Final = (502, 503, 504)  # answers of something between us and a node


@dataclass(frozen=True, slots=True)
class Request:
    """What a call asks, the same bytes at every attempt."""

    method: str
    path: str  # with the query string
    asked: str  # for error messages: the operation and its objects, never a secret
    body: bytes | None = None
    sent_id: str = ""  # what makes it happen at most once: its client_order_id or request_id
    mutating: bool = False
    authenticated: bool = True


@dataclass(frozen=True, slots=True)
class Send:
    """Carry out one HTTP request within `timeout_s`."""

    method: str
    url: str
    headers: dict[str, str]
    body: bytes | None
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Pause:
    seconds: float


@dataclass(frozen=True, slots=True)
class Reply:
    """A complete HTTP answer. Header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Lost:
    """No complete answer. `sent` is False only when the request cannot have reached the node."""

    sent: bool
    reason: str


Step = Send | Pause
Outcome = Reply | Lost | None
Flow = Generator[Step, Outcome, T]


class Envelope(msgspec.Struct):
    """The JSON envelope of every route (api.md, conventions)."""

    success: bool
    data: msgspec.Raw = msgspec.Raw(b"null")
    error: errors.ErrorBody | None = None
    receipt: Receipt | None = None
    request_id: str | None = None


_decode_envelope = msgspec.json.Decoder(Envelope).decode


@dataclass(frozen=True, slots=True)
class Done:
    """The call succeeded."""

    data: msgspec.Raw
    receipt: Receipt | None


@dataclass(frozen=True, slots=True)
class Again:
    """Try again. `unsure`: this attempt may have been executed. `leader`: who leads, if the node knows."""

    reason: str
    unsure: bool
    move_on: bool  # to another node
    leader: str | None = None
    after_ms: float | None = None
    refusal: errors.ErrorBody | None = None  # what the node said
    limited: errors.ClientError | None = None  # a rate limit: wait exactly `after_ms`, or give up with this


@dataclass(frozen=True, slots=True)
class Failed:
    """The call failed for good."""

    error: errors.ClientError


Verdict = Done | Again | Failed


def judge(reply: Reply, request: Request) -> Verdict:
    """What a reply means for the call: the one decision function of both clients.

    Follows the node's own `outcome` and `retry`. A read that failed inside the node is not repeated: nothing is at
    stake, and the next one would most likely fail the same way.
    """
    asked, mutating = request.asked, request.mutating
    try:
        envelope = _decode_envelope(reply.body)
    except msgspec.DecodeError as error:
        return _judge_stranger(reply, asked, str(error))
    if envelope.success and reply.status < 300:
        return Done(envelope.data, envelope.receipt)
    body = envelope.error
    if body is None:
        return Failed(errors.ProtocolError(f"HTTP {reply.status} without an error object", asked=asked))
    leader = body.detail("leader")
    after_ms = _after_ms(body, reply)
    failure = errors.from_body(
        body,
        asked=asked,
        sent_id=request.sent_id,
        status=reply.status,
        request_id=envelope.request_id,
        retry_after_s=None if after_ms is None else after_ms / 1000,
    )
    if reply.status == 421 or body.code == errors.NOT_LEADER:
        url = leader.get("url") if isinstance(leader, dict) else _origin(reply.headers.get("location"))
        return Again(body.message or "not the leader", unsure=False, move_on=True, leader=url, after_ms=after_ms)
    if reply.status == 429:
        return Again(body.message, unsure=False, move_on=False, after_ms=after_ms, limited=failure)
    if reply.status == 503 or (body.transient and (mutating or reply.status != 500)):
        unsure = body.outcome == "unknown"
        # An overloaded leader still leads; without a majority, or without an answer of it, another node may do.
        return Again(
            body.message, unsure=unsure, move_on=body.code != errors.OVERLOADED, after_ms=after_ms, refusal=body
        )
    return Failed(failure)


def _judge_stranger(reply: Reply, asked: str, why: str) -> Verdict:
    """An answer without our envelope: a gateway's, or of something that is no node of ours."""
    if reply.status == 421 and (leader := _origin(reply.headers.get("location"))):
        return Again("not the leader", unsure=False, move_on=True, leader=leader)
    if reply.status in STATUSES_OF_GATEWAYS:
        return Again(f"HTTP {reply.status} from a gateway", unsure=True, move_on=True)
    return Failed(errors.ProtocolError(f"HTTP {reply.status} with a body that is not our envelope: {why}", asked=asked))


def _origin(location: str | None) -> str | None:
    """`scheme://host:port` of an absolute Location, or None."""
    if location is None or "://" not in location:
        return None
    scheme, _, rest = location.partition("://")
    return f"{scheme}://{rest.partition('/')[0]}"


def _after_ms(body: errors.ErrorBody, reply: Reply) -> float | None:
    """The wait that the node asks for: `retry_after_ms` of the details, else the Retry-After header (seconds)."""
    asked = body.detail("retry_after_ms")
    if isinstance(asked, int | float) and not isinstance(asked, bool):
        return float(asked)
    header = reply.headers.get("retry-after", "")
    return float(header) * 1000 if header.isdecimal() else None
