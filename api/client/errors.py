"""Why a call of the client did not end in a result.

    ClientError
    ├── Rejected              the exchange refused the command; nothing changed
    │   └── Conflict          the name or the id is taken
    ├── NotFound              no such object, or not yours (the exchange does not say which)
    ├── BadRequest            the request is malformed; `message` names the field and the value
    ├── Unauthenticated       no token, or one that is expired, revoked or forged; or a wrong password
    ├── Forbidden             the user's roles do not allow it
    ├── RateLimited           too many requests; `retry_after_s` says when
    ├── Unavailable           no node could commit (or answer) in time; nothing was executed
    ├── OutcomeUnknown        it may have been executed; repeat it with the same id to know
    ├── ServerError           a node failed inside; a bug report with `request_id` is welcome
    ├── ProtocolError         the answer is not one of a qaexchange node
    └── SocketClosed          the TradingSocket was closed by this program

Every error carries `code` and `name` of the exchange's catalogue (0 and "" where the client itself gave up), `asked`
(what was asked), `sent_id` (the client_order_id or request_id that it was asked with) and `advice` (what to do next);
`str(error)` shows all of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

import msgspec

NOT_LEADER: Final = 7001
NO_QUORUM: Final = 7002
OUTCOME_UNKNOWN: Final = 7003
OVERLOADED: Final = 7004

# The client reacts to these business codes when it has to find out what an unanswered attempt did.
USERNAME_TAKEN: Final = 2008
ORDER_NOT_CANCELLABLE: Final = 3002
ORDER_NOT_MODIFIABLE: Final = 3003


class ErrorBody(msgspec.Struct, frozen=True):
    """The `error` object of every surface (api.md, conventions)."""

    code: int
    name: str = ""
    message: str = ""
    message_zh: str = ""
    outcome: str = "not_executed"  # or "unknown"
    retry: str = "no"  # or "same_id", "after_ms"
    details: dict[str, Any] | None = None

    def detail(self, key: str) -> Any:
        """`details[key]`, or None."""
        return self.details.get(key) if self.details else None

    @property
    def transient(self) -> bool:
        """Whether another attempt (elsewhere, later, or with the same id) may end differently."""
        return self.retry != "no" or self.code in TRANSIENT


TRANSIENT: Final = frozenset({NOT_LEADER, NO_QUORUM, OUTCOME_UNKNOWN, OVERLOADED})


class ClientError(Exception):
    """Base of everything that a call of the client raises on purpose."""

    advice: ClassVar[str] = ""

    def __init__(
        self,
        message: str,
        *,
        asked: str = "",
        sent_id: str = "",
        code: int = 0,
        name: str = "",
        message_zh: str = "",
        details: Mapping[str, Any] | None = None,
        request_id: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        label = f"{code} {name}: " if code else ""
        what = f"{asked} id={sent_id}" if sent_id else asked
        context = f" [{what}]" if what else ""
        hint = f"; {self.advice}" if self.advice else ""
        super().__init__(f"{label}{message}{context}{hint}")
        self.message = message
        self.asked = asked
        self.sent_id = sent_id
        self.code = code
        self.name = name
        self.message_zh = message_zh
        self.details: Mapping[str, Any] = details or {}
        self.request_id = request_id
        self.retry_after_s = retry_after_s
        self.after_unknown = False  # an earlier attempt of the same call got no answer


class Rejected(ClientError):
    """The exchange refused the command, with a number of its catalogue. Nothing changed."""


class Conflict(Rejected):
    """The name or the id is already taken (by something else)."""


class NotFound(ClientError):
    """No such object, or it belongs to someone else."""


class BadRequest(ClientError):
    """The request is malformed; repeating it cannot help."""


class Unauthenticated(ClientError):
    """Who asks is not known (any more)."""

    advice = "log in again"


class Forbidden(ClientError):
    """The user's roles do not allow this."""

    advice = "ask an administrator for the permission"


class RateLimited(ClientError):
    """Too many requests. `retry_after_s` is the node's advice in seconds, if it gave one."""

    advice = "wait and repeat with the same id"


class Unavailable(ClientError):
    """No node could commit or answer before the deadline. Nothing was executed."""

    advice = "repeat when the cluster has a leader (`qaexchange status` shows it)"


class OutcomeUnknown(ClientError):
    """The command was sent, and no answer came before the deadline: it may have been executed, at most once."""

    advice = "repeat with the same id: the exchange then answers the first result and does nothing twice"


class ServerError(ClientError):
    """The node failed inside. The envelope's outcome decides whether a repetition with the same id is useful."""


class ProtocolError(ClientError):
    """The answer cannot be read as one of a qaexchange node."""

    advice = "check the url and that client and node are of one version"


class SocketClosed(ClientError):
    """This program closed the TradingSocket while (or before) the call ran."""


_BY_STATUS: Final[dict[int, type[ClientError]]] = {
    400: BadRequest, 401: Unauthenticated, 403: Forbidden, 404: NotFound, 405: BadRequest, 409: Conflict,
    413: BadRequest, 415: BadRequest, 422: Rejected, 429: RateLimited, 500: ServerError,
}  # fmt: skip
# A WebSocket reply has no HTTP status, so its code alone decides. REST follows its status, which says the same.
_BY_CODE: Final[dict[int, type[ClientError]]] = {
    1006: NotFound, 1007: NotFound, 2007: NotFound, USERNAME_TAKEN: Conflict, 2013: Conflict, 2015: Conflict,
    2016: Conflict, 2017: NotFound, 3001: NotFound, 3004: Conflict, 3006: NotFound, 4002: Conflict, 4008: Conflict,
    4009: NotFound, 4011: Conflict, 6004: Conflict, 6005: Unavailable, NOT_LEADER: Unavailable,
    NO_QUORUM: Unavailable, OUTCOME_UNKNOWN: OutcomeUnknown, OVERLOADED: Unavailable, 7005: BadRequest,
    7006: Conflict, 7007: Unavailable, 9001: Unauthenticated, 9002: Unauthenticated, 9003: BadRequest,
    9004: RateLimited, 9005: Unavailable, 9006: Forbidden, 9007: NotFound, 9008: BadRequest, 9009: BadRequest,
    9010: Forbidden, 9011: Unavailable, 9012: Unauthenticated, 9013: NotFound,
}  # fmt: skip


def from_body(
    body: ErrorBody,
    *,
    asked: str,
    sent_id: str = "",
    status: int | None = None,
    request_id: str | None = None,
    retry_after_s: float | None = None,
) -> ClientError:
    """The exception for an error object; `status` is the HTTP status where there is one.

    >>> type(from_body(ErrorBody(1001, "INSUFFICIENT_FUNDS", "…"), asked="submit")).__name__
    'Rejected'
    """
    kind = _BY_STATUS.get(status) if status is not None else None
    if kind is None:
        kind = _BY_CODE.get(body.code)
    if kind is None:
        kind = (
            Rejected
            if 1000 <= body.code < 5000 or 6000 <= body.code < 7000
            else (BadRequest if body.code >= 9000 else ServerError)
        )
    return kind(
        body.message or body.name or f"error {body.code}",
        asked=asked,
        sent_id=sent_id,
        code=body.code,
        name=body.name,
        message_zh=body.message_zh,
        details=body.details,
        request_id=request_id,
        retry_after_s=retry_after_s,
    )
