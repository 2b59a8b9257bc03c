"""Trading accounts and the money in them."""

from __future__ import annotations

from typing import Final

from api import operations, qifi, reads, render, schemas
from api.errors import RECORD_NOT_FOUND, NotServed
from api.permissions import P, any_of
from api.rest.route import Call, Result, Route, read, write
from node.exchange import queries
from node.exchange.flows import Flow, flows
from node.exchange.ledger import Account

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


def _viewed(call: Call) -> Account:
    return call.principal.account_of(call.context.machine, call.path["account_id"], P.VIEW_ALL_ACCOUNTS)


async def qifi_document(call: Call) -> Result:
    return Result(qifi.document(call.context.machine, call.context.tape, _viewed(call)))


async def equity_curve(call: Call) -> Result:
    found = _viewed(call)
    return Result(render.equity_curve_body(found, queries.equity_curve(found)))


async def statement(call: Call) -> Result:
    """The statement of one settled trading day."""
    found, asked = _viewed(call), call.path["trading_day"]
    for kept in queries.statements(found):
        if render.day(kept.trading_day) == asked:
            return Result(render.statement_body(kept))
    raise NotServed(RECORD_NOT_FOUND, f"trading_day {asked!r}: {found.account_id} has no statement of that day")


async def margin(call: Call) -> Result:
    """The margin of an account by instrument and by product; its sum over the products is the account's."""
    found = _viewed(call)
    rows = [render.margin_body(row) for row in queries.margin_figures(found)]
    return Result({"account_id": found.account_id, "margin": render.money(found.margin), "positions": rows})


async def transactions(call: Call) -> Result:
    """All money in and out, the newest first."""
    return _flows(call, flows(_viewed(call)))


async def transfers(call: Call) -> Result:
    """Bank transfers, the newest first."""
    return _flows(call, [flow for flow in flows(_viewed(call)) if flow.moved.bank])


def _flows(call: Call, found: list[Flow]) -> Result:
    query: schemas.PageQuery = call.query
    inside = [flow for flow in reversed(found) if query.start_ns <= flow.time_ns <= query.end_ns]
    return Result(reads.paged("records", inside, query.page, query.page_size, render.flow_body))


ROUTES: Final[tuple[Route, ...]] = (
    write("POST", "/api/account/open", OPEN, open_account, schemas.OpenAccount),
    write("POST", "/api/account/deposit", FUND, deposit, schemas.MoveFunds),
    write("POST", "/api/account/withdraw", FUND, withdraw, schemas.MoveFunds),
    read("/api/account/<account_id>", VIEW, account),
    read("/api/account/<account_id>/qifi", VIEW, qifi_document),
    read("/api/account/<account_id>/equity-curve", VIEW, equity_curve),
    read("/api/account/<account_id>/statement/<trading_day>", VIEW, statement),
    read("/api/account/<account_id>/margin", VIEW, margin),
    read("/api/account/<account_id>/transactions", VIEW, transactions, query=schemas.PageQuery),
    read("/api/account/<account_id>/transfers", VIEW, transfers, query=schemas.PageQuery),
    read("/api/user/<user_id>/accounts", VIEW, accounts),
)
