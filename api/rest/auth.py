"""Registration, login, logout, and who am I."""

from __future__ import annotations

from typing import Final

from api import operations, render, schemas
from api.errors import LOGIN_FAILED, Refused, Unauthenticated
from api.permissions import PUBLIC, Permission, any_of, permissions_of
from api.rest.route import Call, Result, Route, read, write
from node.exchange import rejects
from node.exchange.commands import RevokeTokens

EVERYBODY: Final = any_of(*Permission)  # any role at all, for what concerns only oneself


async def register(call: Call) -> Result:
    """Make a Trader. No account is opened with it."""
    body: schemas.Register = call.body
    taken = call.context.machine.usernames.get(body.username)
    if taken is not None and not body.request_id:
        raise Refused(rejects.USERNAME_TAKEN, f"username {body.username!r}")  # spares a hash and a log entry
    password_hash = await call.services.passwords.hash(body.password)
    return await call.submit(operations.register(body.username, password_hash, body.request_id))


async def login(call: Call) -> Result:
    """A token for a name and a password. An unknown name costs the same time and gets the same answer."""
    body: schemas.Login = call.body
    context = call.context
    await context.replica.read_now()  # a password that was changed elsewhere must not work here
    user = context.machine.usernames.get(body.username)
    fits = await call.services.passwords.matches(body.password, user.password_hash if user is not None else None)
    if user is None or not fits:
        raise Unauthenticated("user name or password is wrong", LOGIN_FAILED)
    token, expires_s = call.services.tokens.issue(user)
    return Result(
        {
            "token": token,
            **render.user_body(user),
            "permissions": sorted(permissions_of(user.roles)),
            "expires_at": expires_s,
        }
    )


async def logout(call: Call) -> Result:
    """Every token of the caller dies, on all nodes; his sockets close."""
    return await call.submit(RevokeTokens(call.principal.user_id))


async def me(call: Call) -> Result:
    user = call.principal.user
    return Result(
        {
            **render.user_body(user),
            "permissions": sorted(permissions_of(user.roles)),
            "accounts": list(user.accounts),
            "expires_at": call.principal.claims.expires_s,
            "created_at_ns": user.created_ns,
        }
    )


ROUTES: Final[tuple[Route, ...]] = (
    write("POST", "/api/auth/register", PUBLIC, register, schemas.Register),
    write("POST", "/api/auth/login", PUBLIC, login, schemas.Login),
    write("POST", "/api/auth/logout", EVERYBODY, logout),
    read("/api/auth/me", EVERYBODY, me),
)
