"""Every refusal of the front door: its number, its HTTP status, and what people read.

    ApiError
    ├── Refused            a business code of `node.exchange.rejects`, from the machine or before the log
    ├── Malformed          the request cannot be read
    ├── Unauthenticated    who asks is not known
    ├── Forbidden          the roles do not allow it
    ├── NotServed          no such route or method, body or frame too large
    ├── Unavailable        this node cannot do it now (7000 family: says what was executed and when to retry)
    └── Internal           a bug of ours

Business codes (1000 to 4999) come from `node.exchange.rejects` alone; the 5000, 7000 and 9000 families are here.
"""

from __future__ import annotations

from typing import Any, Final, Literal, NamedTuple

import msgspec

from consensus import errors as consensus_errors
from node.exchange import rejects
from node.exchange.rejects import Reject

Outcome = Literal["not_executed", "unknown"]
Retry = Literal["same_id", "no", "after_ms"]


class ErrorCode(NamedTuple):
    """One entry of the catalogue."""

    code: int
    name: str
    status: int  # HTTP
    message: str
    message_zh: str


INTERNAL_ERROR: Final = ErrorCode(5000, "INTERNAL_ERROR", 500, "the node failed inside", "系统内部错误")

NOT_LEADER: Final = ErrorCode(7001, "NOT_LEADER", 421, "this node is not the leader", "本节点不是主节点")
NO_QUORUM: Final = ErrorCode(7002, "NO_QUORUM", 503, "no majority can be reached", "无法连接多数节点")
OUTCOME_UNKNOWN: Final = ErrorCode(
    7003, "OUTCOME_UNKNOWN", 503, "the request may or may not have been executed", "请求结果未知，请用相同编号重试"
)
OVERLOADED: Final = ErrorCode(7004, "OVERLOADED", 503, "too many requests are waiting", "等待处理的请求过多")
COMMAND_TOO_LARGE: Final = ErrorCode(
    7005, "COMMAND_TOO_LARGE", 413, "the command is larger than a log entry may be", "指令过大"
)

TRANSFER_REFUSED: Final = ErrorCode(
    7006, "TRANSFER_REFUSED", 409, "the leadership cannot be handed over like this", "无法移交主节点"
)
TRANSFER_FAILED: Final = ErrorCode(7007, "TRANSFER_FAILED", 503, "the leadership was not handed over", "主节点移交失败")

LOGIN_FAILED: Final = ErrorCode(9001, "LOGIN_FAILED", 401, "user name or password is wrong", "用户名或密码错误")
NOT_AUTHENTICATED: Final = ErrorCode(9002, "NOT_AUTHENTICATED", 401, "a valid token is needed", "未认证")
BAD_REQUEST: Final = ErrorCode(9003, "BAD_REQUEST", 400, "the request is malformed", "请求格式错误")
TOO_MANY_REQUESTS: Final = ErrorCode(9004, "TOO_MANY_REQUESTS", 429, "too many requests", "请求过于频繁")
SERVICE_UNAVAILABLE: Final = ErrorCode(
    9005, "SERVICE_UNAVAILABLE", 503, "the node cannot serve this now", "服务暂不可用"
)
PERMISSION_DENIED: Final = ErrorCode(9006, "PERMISSION_DENIED", 403, "your roles do not allow this", "没有权限")
ROUTE_NOT_FOUND: Final = ErrorCode(9007, "ROUTE_NOT_FOUND", 404, "no such route", "接口不存在")
METHOD_NOT_ALLOWED: Final = ErrorCode(
    9008, "METHOD_NOT_ALLOWED", 405, "the route does not know this method", "不支持的请求方法"
)
BODY_TOO_LARGE: Final = ErrorCode(9009, "BODY_TOO_LARGE", 413, "the request body is too large", "请求体过大")
ORIGIN_REFUSED: Final = ErrorCode(
    9010, "ORIGIN_REFUSED", 403, "this web origin may not open a socket here", "不允许的来源"
)
SLOW_CONSUMER: Final = ErrorCode(9011, "SLOW_CONSUMER", 503, "the client does not read fast enough", "客户端接收过慢")
RECORD_NOT_FOUND: Final = ErrorCode(9013, "RECORD_NOT_FOUND", 404, "no such record is kept", "记录不存在")
TOKEN_REVOKED: Final = ErrorCode(9012, "TOKEN_REVOKED", 401, "the token was revoked", "令牌已失效")

OWN: Final[tuple[ErrorCode, ...]] = (
    INTERNAL_ERROR, NOT_LEADER, NO_QUORUM, OUTCOME_UNKNOWN, OVERLOADED, COMMAND_TOO_LARGE,
    TRANSFER_REFUSED, TRANSFER_FAILED, LOGIN_FAILED,
    NOT_AUTHENTICATED, BAD_REQUEST, TOO_MANY_REQUESTS, SERVICE_UNAVAILABLE, PERMISSION_DENIED, ROUTE_NOT_FOUND,
    METHOD_NOT_ALLOWED, BODY_TOO_LARGE, ORIGIN_REFUSED, SLOW_CONSUMER, TOKEN_REVOKED,
    RECORD_NOT_FOUND,
)  # fmt: skip

REJECTED_STATUS: Final = 422
_STATUS_OF_REJECT: Final[dict[int, int]] = {
    **{r.code: 404 for r in (rejects.ACCOUNT_NOT_FOUND, rejects.INSTRUMENT_NOT_FOUND)},
    **{r.code: 404 for r in (rejects.USER_NOT_FOUND, rejects.ORDER_NOT_FOUND, rejects.CONDITIONAL_NOT_FOUND)},
    **{r.code: 404 for r in (rejects.ANNOUNCEMENT_NOT_FOUND, rejects.CALENDAR_NOT_FOUND)},
    **{r.code: 409 for r in (rejects.CONTACT_TAKEN, rejects.ACCOUNT_NOT_EMPTY, rejects.ACCOUNT_HAS_ORDERS)},
    **{r.code: 409 for r in (rejects.INSTRUMENT_HELD, rejects.INSTRUMENT_CHANGED, rejects.WRONG_TRADING_DAY)},
    rejects.SETTLEMENT_IN_PROGRESS.code: 503,
    **{r.code: 409 for r in (rejects.USERNAME_TAKEN, rejects.REQUEST_ID_REUSED, rejects.INSTRUMENT_EXISTS)},
}
_BUSINESS: Final[dict[int, ErrorCode]] = {
    r.code: ErrorCode(r.code, r.name, _STATUS_OF_REJECT.get(r.code, REJECTED_STATUS), r.message, r.message_zh)
    for r in rejects.BY_CODE.values()
}

CATALOGUE: Final[tuple[ErrorCode, ...]] = tuple(sorted((*_BUSINESS.values(), *OWN)))


class ErrorBody(msgspec.Struct, frozen=True):
    """The `error` object of every surface."""

    code: int
    name: str
    message: str
    message_zh: str
    outcome: Outcome
    retry: Retry
    details: dict[str, Any]


class ApiError(Exception):
    """One refusal. `body` is what the client gets; `status` and `headers` are for REST."""

    def __init__(
        self,
        code: ErrorCode,
        message: str = "",
        *,
        outcome: Outcome = "not_executed",
        retry: Retry = "no",
        retry_after_ms: int | None = None,
        details: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        text = message or code.message
        super().__init__(text)
        self.status = code.status
        self.headers = headers or {}
        details = details or {}
        if retry_after_ms is not None:
            details["retry_after_ms"] = retry_after_ms
            self.headers["Retry-After"] = str(-(-retry_after_ms // 1000))
        self.body = ErrorBody(code.code, code.name, text, code.message_zh, outcome, retry, details)


class Refused(ApiError):
    """The exchange refuses. `detail` names the field and the value."""

    def __init__(self, reject: Reject | int, detail: str = "", details: dict[str, Any] | None = None) -> None:
        code = _BUSINESS[reject if isinstance(reject, int) else reject.code]
        text = f"{code.message}: {detail}" if detail else ""
        if code.code == rejects.SETTLEMENT_IN_PROGRESS.code:
            super().__init__(code, text, retry="after_ms", retry_after_ms=SETTLEMENT_RETRY_MS, details=details)
        else:
            super().__init__(code, text, details=details)


class Malformed(ApiError):
    def __init__(self, message: str) -> None:
        super().__init__(BAD_REQUEST, message)


class Unauthenticated(ApiError):
    def __init__(self, message: str = "", code: ErrorCode = NOT_AUTHENTICATED) -> None:
        super().__init__(code, message, headers={"WWW-Authenticate": "Bearer"})


class Forbidden(ApiError):
    def __init__(self, message: str = "", code: ErrorCode = PERMISSION_DENIED) -> None:
        super().__init__(code, message)


class NotServed(ApiError):
    """404 and 405 of the router, 413."""


class Unavailable(ApiError):
    """The 7000 family, and 9005."""


class Internal(ApiError):
    """A handler failed. The client may repeat with the same id: what it did not log it did not do."""

    def __init__(self) -> None:
        super().__init__(INTERNAL_ERROR, outcome="unknown", retry="same_id")


def not_leader(leader: dict[str, str] | None, term: int, retry_after_ms: int) -> Unavailable:
    """421: `leader` is {id, url} of the node to ask, None while nobody is known to lead."""
    message = f"the leader is {leader['id']} at {leader['url']}" if leader else "no leader is known yet"
    return Unavailable(
        NOT_LEADER,
        f"this node is not the leader of term {term}; {message}",
        retry="after_ms",
        retry_after_ms=retry_after_ms,
        details={"leader": leader, "term": term},
    )


def from_consensus(error: consensus_errors.ConsensusError, leader: dict[str, str] | None) -> ApiError:
    """What a client is told when consensus did not answer with a receipt."""
    if isinstance(error, consensus_errors.NotLeader):
        return not_leader(leader, error.term, LEADER_RETRY_MS if leader is None else 0)
    if isinstance(error, consensus_errors.NoQuorum):
        return Unavailable(
            NO_QUORUM,
            str(error),
            retry="after_ms",
            retry_after_ms=QUORUM_RETRY_MS,
            details={"reachable": error.reachable, "members": error.members, "quorum": error.quorum},
        )
    if isinstance(error, consensus_errors.Overloaded):
        return Unavailable(
            OVERLOADED,
            str(error),
            retry="after_ms",
            retry_after_ms=error.retry_after_ms,
            details={"waiting": error.waiting, "limit": error.limit},
        )
    if isinstance(error, consensus_errors.CommandTooLarge):
        return ApiError(COMMAND_TOO_LARGE, str(error))
    if isinstance(error, consensus_errors.TransferRefused):
        return ApiError(TRANSFER_REFUSED, str(error))
    if isinstance(error, consensus_errors.TransferFailed):
        # Not to be repeated by a client on its own: who leads may have changed.
        return ApiError(TRANSFER_FAILED, str(error), outcome="unknown")
    return Unavailable(
        OUTCOME_UNKNOWN, f"{error}; repeat with the same id to learn the outcome", outcome="unknown", retry="same_id"
    )


SETTLEMENT_RETRY_MS: Final = 500  # ten thousand accounts settle in about a second
LEADER_RETRY_MS: Final = 100  # an election takes about this long
QUORUM_RETRY_MS: Final = 500
