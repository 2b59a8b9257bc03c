"""Own trades: the newest that this node still holds."""

from __future__ import annotations

from typing import Final

from api import reads, schemas
from api.permissions import P, any_of
from api.rest.route import Call, Result, Route, read
from node.exchange.ledger import Account

VIEW: Final = any_of(P.VIEW_OWN_TRADES, P.VIEW_ALL_TRADES)


async def of_user(call: Call) -> Result:
    user = call.principal.user_of(call.context.machine, call.path["user_id"], P.VIEW_ALL_TRADES)
    return _listed(call, list(user.accounts.values()))


async def of_account(call: Call) -> Result:
    account = call.principal.account_of(call.context.machine, call.path["account_id"], P.VIEW_ALL_TRADES)
    return _listed(call, [account])


def _listed(call: Call, accounts: list[Account]) -> Result:
    query: schemas.PageQuery = call.query
    return Result(
        reads.trades(
            call.context,
            accounts,
            page=query.page,
            page_size=query.page_size,
            start_ns=query.start_ns,
            end_ns=query.end_ns,
        )
    )


ROUTES: Final[tuple[Route, ...]] = (
    read("/api/trades/user/<user_id>", VIEW, of_user, query=schemas.PageQuery),
    read("/api/trades/account/<account_id>", VIEW, of_account, query=schemas.PageQuery),
)
