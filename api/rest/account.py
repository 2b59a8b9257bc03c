"""Trading accounts and the money in them."""

from __future__ import annotations

from typing import Final

from api import operations, render, schemas
from api.permissions import P, any_of
from api.rest.route import Call, Result, Route, read, write

VIEW: Final = any_of(P.VIEW_OWN_ACCOUNT, P.VIEW_ALL_ACCOUNTS)
OPEN: Final = any_of(P.TRADE, P.OPEN_ACCOUNT)
FUND: Final = any_of(P.TRANSFER, P.DEPOSIT_WITHDRAW)


async def open_account(call: Call) -> Result:
    """Open an account, and put `init_cash` into it with a second command.

    If the answer to that is lost, the same `request_id` finishes the work and does nothing twice.
    """
    body: schemas.OpenAccount = call.body
    opened = await call.submit(operations.open_account(call.context, call.principal, body))
    if not body.init_cash:
        return opened
    funded = await call.submit(operations.initial_deposit(opened.data["account_id"], body))
    return Result({**opened.data, "init_cash": render.money(body.init_cash)}, funded.receipt)


async def deposit(call: Call) -> Result:
    return await call.submit(operations.deposit(call.context, call.principal, call.body))


async def withdraw(call: Call) -> Result:
    return await call.submit(operations.withdraw(call.context, call.principal, call.body))


async def account(call: Call) -> Result:
    found = call.principal.account_of(call.context.machine, call.path["account_id"], P.VIEW_ALL_ACCOUNTS)
    return Result(render.account_body(found))


async def accounts(call: Call) -> Result:
    user = call.principal.user_of(call.context.machine, call.path["user_id"], P.VIEW_ALL_ACCOUNTS)
    bodies = [render.account_body(found) for found in user.accounts.values()]
    return Result({"accounts": bodies, "total": len(bodies)})


ROUTES: Final[tuple[Route, ...]] = (
    write("POST", "/api/account/open", OPEN, open_account, schemas.OpenAccount),
    write("POST", "/api/account/deposit", FUND, deposit, schemas.MoveFunds),
    write("POST", "/api/account/withdraw", FUND, withdraw, schemas.MoveFunds),
    read("/api/account/<account_id>", VIEW, account),
    read("/api/user/<user_id>/accounts", VIEW, accounts),
)
