"""The Quart application: every route of `api.rest`, each behind the same gate.

The gate of a route, in this order: room for one more request → does this node lead (or may it answer all the same) →
who asks → do the roles allow it → query string → body. Whatever goes wrong, the answer is the JSON envelope.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final
from urllib.parse import quote

import trio
from hypercorn.typing import ASGISendCallable
from quart import Response, request
from quart.ctx import RequestContext
from quart_trio import QuartTrio
from quart_trio.asgi import TrioASGIHTTPConnection
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from api import rest
from api.errors import (
    BAD_REQUEST,
    BODY_TOO_LARGE,
    METHOD_NOT_ALLOWED,
    ROUTE_NOT_FOUND,
    ApiError,
    ErrorCode,
    Internal,
    NotServed,
)
from api.health import staleness_ms
from api.limits import BODY_TIMEOUT_S
from api.principal import Principal, authenticate
from api.render import encode
from api.rest.route import Access, Call, Result, Route
from api.schemas import ReadQuery, WriteQuery, read_query
from api.services import Services
from consensus.errors import ConsensusError

log = logging.getLogger(__name__)

REQUEST_ID_MAX: Final = 64
JSON: Final = "application/json"
_HTTP_ERRORS: Final[dict[int, ErrorCode]] = {404: ROUTE_NOT_FOUND, 405: METHOD_NOT_ALLOWED, 413: BODY_TOO_LARGE}


class SafeHTTPConnection(TrioASGIHTTPConnection):
    """Cures B1 and B2 of stack.md: Hypercorn recycles or closes a connection inside the app's last `send`, tells the
    app of the disconnect first, and Quart-Trio then cancels the very task that is recycling."""

    async def handle_request(self, nursery: trio.Nursery, request: Any, send: ASGISendCallable) -> None:  # type: ignore[override]
        async def safe_send(message: Any) -> None:
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                with trio.CancelScope(shield=True):
                    await send(message)
            else:
                await send(message)

        await super().handle_request(nursery, request, safe_send)


class FrontDoor(QuartTrio):
    """The application object: the bound on requests in progress is around everything that it does for one."""

    asgi_http_class = SafeHTTPConnection

    def __init__(self, services: Services) -> None:
        super().__init__("qaexchange", static_folder=None)
        self._services = services

    async def full_dispatch_request(self, request_context: RequestContext | None = None) -> Any:
        try:
            with self._services.in_flight.enter():
                return await super().full_dispatch_request(request_context)
        except ApiError as error:
            return _refusal(self._services, error, _request_id(self._services))


def create_app(services: Services) -> QuartTrio:
    """The application of one node. Raises RuntimeError if a route of it does not say who may use it."""
    app = FrontDoor(services)
    app.config["MAX_CONTENT_LENGTH"] = services.context.settings.body_bytes_max
    app.config["BODY_TIMEOUT"] = BODY_TIMEOUT_S
    app.config["PROPAGATE_EXCEPTIONS"] = False
    for route in rest.ROUTES:
        app.add_url_rule(
            route.path,
            endpoint=f"{route.method} {route.path}",
            view_func=_gate(services, route),
            methods=[route.method],
            provide_automatic_options=False,
        )
    app.before_request(_read_body)
    app.register_error_handler(HTTPException, _http_error(services))
    app.register_error_handler(Exception, _bug(services))
    check_declared(app, rest.ROUTES)
    return app


async def _read_body() -> None:
    """Take in the whole body before anything is answered, also by the router: a response that overtakes the body costs
    the connection (B1)."""
    await request.get_data(as_text=False)


def check_declared(app: QuartTrio, routes: Sequence[Route]) -> None:
    """Deny by default: a rule of the router that no declared route stands behind must not be served."""
    declared = {f"{route.method} {route.path}" for route in routes}
    for rule in app.url_map.iter_rules():
        if rule.endpoint not in declared:
            raise RuntimeError(f"route {rule.rule} ({rule.endpoint}) does not declare who may use it")


def _gate(services: Services, route: Route) -> Callable[..., Awaitable[Response]]:
    async def serve(**path: str) -> Response:
        request_id = _request_id(services)
        try:
            result = await _serve(services, route, path)
        except ApiError as error:
            return _refusal(services, error, request_id)
        except ConsensusError as error:
            return _refusal(services, services.leadership.error(error), request_id)
        body: dict[str, Any] = {"success": True, "data": result.data, "error": None}
        if route.access is Access.WRITE:
            body["receipt"] = result.receipt
            body["request_id"] = request_id
        response = _response(services, result.status, encode(body), request_id)
        for name, value in result.headers.items():
            response.headers[name] = value
        return response

    return serve


async def _serve(services: Services, route: Route, path: dict[str, str]) -> Result:
    query: Any = None
    headers: dict[str, str] = {}
    if route.access is not Access.NODE:
        arguments = request.args.to_dict()
        try:
            query = read_query(route.query, arguments)
        except ApiError:
            if arguments.get("level") != "stale":  # a follower names the leader, whatever it was asked
                services.leadership.require()
            _principal(services, route)  # what is wrong with a question is for those who may ask it
            raise
        headers = await _check_level(services, query)
    principal = _principal(services, route)
    data = await request.get_data(
        as_text=False
    )  # also where none is wanted: a body left unread would stall the connection
    body = route.read_body(data) if route.read_body is not None else None
    result = await route.handler(Call(services, principal, path, query, body))
    result.headers.update(headers)
    return result


def _principal(services: Services, route: Route) -> Principal | None:
    """Who asks; None on a public route. Raises Unauthenticated, Forbidden."""
    if route.allow.public:
        return None
    principal = authenticate(services.tokens, services.context.machine, request.headers.get("Authorization"))
    principal.require(route.allow)
    return principal


async def _check_level(services: Services, query: ReadQuery | WriteQuery) -> dict[str, str]:
    """Whether this node may answer, at the level that is asked for; returns what the answer must say about it."""
    if isinstance(query, WriteQuery):
        try:
            services.leadership.require()
        except ApiError as error:
            if query.redirect and "leader" in error.body.details:
                error.status = 307 if error.body.details["leader"] else error.status
            raise
        return {}
    if query.level == "stale":
        staleness = staleness_ms(services.context.replica.status())
        staleness_text = "unknown" if staleness is None else f"{staleness:.0f}"
        return {"X-Staleness-Ms": staleness_text, "X-Read-Level": "stale"}
    services.leadership.require()
    # A leader that was cut off does not know it. So `leader` is linearizable, too: it costs nothing under the lease.
    return {"X-Read-Level": await services.context.replica.read_now()}


def _request_id(services: Services) -> str:
    given = request.headers.get("X-Request-Id", "")
    if 1 <= len(given) <= REQUEST_ID_MAX and given.isascii() and given.isprintable():
        return given
    return services.context.random_bytes(8).hex()


def _refusal(services: Services, error: ApiError, request_id: str) -> Response:
    body = {"success": False, "data": None, "error": error.body, "request_id": request_id}
    response = _response(services, error.status, encode(body), request_id)
    for name, value in error.headers.items():
        response.headers[name] = value
    leader = error.body.details.get("leader")
    if leader is not None:
        query = request.query_string.decode("latin-1")
        response.headers["Location"] = leader["url"] + quote(request.path) + (f"?{query}" if query else "")
    return response


def _response(services: Services, status: int, body: bytes, request_id: str) -> Response:
    response = Response(body, status, content_type=JSON)
    headers = response.headers
    headers["X-Request-Id"] = request_id
    headers["X-Applied-Index"] = str(services.context.machine.index)
    leader = services.leadership.leader
    if leader is not None:
        headers["X-Leader"] = leader
    headers["Cache-Control"] = "no-store"
    return response


def _http_error(services: Services) -> Callable[[HTTPException], Awaitable[Response]]:
    """What the router and the body reader refuse."""

    async def answer(error: HTTPException) -> Response:
        status = error.code or 500
        code = _HTTP_ERRORS.get(status)
        if code is None:
            code = BAD_REQUEST._replace(status=status)
        message = f"{request.method} {request.path}: {code.message}"
        if isinstance(error, RequestEntityTooLarge):
            message = f"the body is larger than {services.context.settings.body_bytes_max} bytes"
        refusal = NotServed(code, message)
        allowed = getattr(error, "valid_methods", None)
        if allowed:
            refusal.headers["Allow"] = ", ".join(sorted(allowed))
        return _refusal(services, refusal, _request_id(services))

    return answer


def _bug(services: Services) -> Callable[[Exception], Awaitable[Response]]:
    """A handler failed: the log gets the traceback, the client an id to report."""

    async def answer(error: Exception) -> Response:
        request_id = _request_id(services)
        log.error(
            "%s %s failed (request %s)",
            request.method,
            request.path,
            request_id,
            exc_info=(type(error), error, error.__traceback__),
        )
        return _refusal(services, Internal(), request_id)

    return answer
