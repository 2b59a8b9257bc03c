"""Settlement of a trading day, for administrators."""

from __future__ import annotations

from typing import Final

from api import operations, render, schemas
from api.errors import RECORD_NOT_FOUND, NotServed
from api.permissions import P, any_of
from api.reads import paged
from api.rest.route import Call, Result, Route, read, write

PRICE: Final = any_of(P.SET_SETTLEMENT_PRICE)
EXECUTE: Final = any_of(P.EXECUTE_SETTLEMENT)
VIEW: Final = any_of(P.VIEW_SETTLEMENT_HISTORY)


async def set_price(call: Call) -> Result:
    body: schemas.SetSettlementPrice = call.body
    return await call.submit(
        operations.set_settlement_prices(call.context.machine, call.principal, body.trading_day, [body])
    )


async def set_prices(call: Call) -> Result:
    """All of them or none."""
    body: schemas.SetSettlementPrices = call.body
    return await call.submit(
        operations.set_settlement_prices(call.context.machine, call.principal, body.trading_day, body.prices)
    )


async def execute(call: Call) -> Result:
    """`status` is `settled`, or `running` for a large exchange: then ask for the result."""
    return await call.submit(operations.settle_day(call.principal, call.body))


async def history(call: Call) -> Result:
    """The settled days, the newest first."""
    query: schemas.PageQuery = call.query
    settled = list(reversed(call.context.machine.settlements.results.values()))
    return Result(paged("settlements", settled, query.page, query.page_size, render.settlement_body))


async def result(call: Call) -> Result:
    machine, asked = call.context.machine, call.path["date"]
    for day, settled in machine.settlements.results.items():
        if render.day(day) == asked:
            return Result(render.settlement_body(settled))
    running = machine.settlements.running
    if running is not None and render.day(running.trading_day) == asked:
        done = {"settled_accounts": running.settled, "total_accounts": len(running.accounts)}
        return Result({"settlement_date": asked, "status": "running", **done})
    raise NotServed(RECORD_NOT_FOUND, f"date {asked!r} is not a settled trading day")


ROUTES: Final[tuple[Route, ...]] = (
    write("POST", "/admin/settlement/set-price", PRICE, set_price, schemas.SetSettlementPrice),
    write("POST", "/admin/settlement/batch-set-prices", PRICE, set_prices, schemas.SetSettlementPrices),
    write("POST", "/admin/settlement/execute", EXECUTE, execute, schemas.ExecuteSettlement),
    read("/admin/settlement/history", VIEW, history, query=schemas.PageQuery),
    read("/admin/settlement/result/<date>", VIEW, result),
)
