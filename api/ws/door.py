"""The opening of a WebSocket: origin, identity where it is in the header; then its session."""

from __future__ import annotations

import trio

from api.errors import ORIGIN_REFUSED, ApiError, Forbidden
from api.principal import Principal, authenticate
from api.services import Services
from api.ws.connection import Connection
from api.ws.session import Session


async def serve_socket(services: Services, stream: trio.SocketStream, head: bytes) -> None:
    """Serve one WebSocket whose request head (and perhaps more) was read already; returns when it is closed.

    A web page may connect if it comes from this node itself or from `allowed_origins`; programs send no Origin. A token
    in the Authorization header authenticates at once, without an `auth` message; in a query string it is not read.
    """
    context = services.context
    own_url = services.leadership.url(context.node)
    origins = [*context.settings.allowed_origins, *([own_url] if own_url is not None else [])]
    connection = Connection(stream, frame_bytes_max=context.settings.frame_bytes_max, origins=origins)
    request = connection.read_request(head)
    if request is None:
        return  # not HTTP, or no end of the head within the limit
    principal: Principal | None = None
    refusal: ApiError | None = None
    authorization = request.headers.get("Authorization")
    misdirected = authorization is not None and not services.leadership.leads
    if authorization is not None and not misdirected:
        try:
            principal = authenticate(services.tokens, context.machine, authorization)
        except ApiError as error:
            refusal = error
    origin_refused = Forbidden(f"origin {request.headers.get('Origin')!r} may not open a socket", ORIGIN_REFUSED)
    try:
        if connection.accept(request, refusal, origin_refused):
            await Session(services, connection, principal, misdirected=misdirected).run()
        else:
            await connection.finish()
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass
    finally:
        connection.outbox.close()
