"""Positions."""

from __future__ import annotations

from typing import Final

from api import reads
from api.permissions import P, any_of
from api.rest.route import Call, Result, Route, read

VIEW: Final = any_of(P.VIEW_OWN_POSITIONS, P.VIEW_ALL_POSITIONS)


async def of_user(call: Call) -> Result:
    user = call.principal.user_of(call.context.machine, call.path["user_id"], P.VIEW_ALL_POSITIONS)
    return Result(reads.positions(user.accounts.values()))


async def of_account(call: Call) -> Result:
    account = call.principal.account_of(call.context.machine, call.path["account_id"], P.VIEW_ALL_POSITIONS)
    return Result(reads.positions([account]))


ROUTES: Final[tuple[Route, ...]] = (
    read("/api/position/<user_id>", VIEW, of_user),
    read("/api/position/account/<account_id>", VIEW, of_account),
)
