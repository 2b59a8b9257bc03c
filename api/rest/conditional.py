"""Conditional orders: stop-loss, take-profit, price touch."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

from api import operations, reads, render, schemas
from api.permissions import P, any_of
from api.rest.route import Call, Result, Route, read, write
from node.exchange.types import ConditionalState

USE: Final = any_of(P.CONDITIONAL_ORDER)
VIEW: Final = any_of(P.VIEW_OWN_ORDERS, P.VIEW_ALL_ORDERS)


async def place(call: Call) -> Result:
    return await call.submit(operations.place_conditional(call.context.machine, call.principal, call.body))


async def cancel(call: Call) -> Result:
    number = call.path["conditional_order_id"]
    return await call.submit(operations.cancel_conditional(call.context.machine, call.principal, number))


async def listed(call: Call) -> Result:
    """The pending and the newest ended ones of an account, the newest first."""
    query: schemas.ConditionalQuery = call.query
    account = call.principal.account_of(call.context.machine, query.account_id, P.VIEW_ALL_ORDERS)
    found = [
        conditional
        for conditional in reversed(account.conditionals.values())
        if query.start_ns <= conditional.insert_ns <= query.end_ns
        and query.status in ("", ConditionalState(conditional.state).name)
    ]
    return Result(reads.paged("orders", found, query.page, query.page_size, render.conditional_body))


async def statistics(call: Call) -> Result:
    """How many of the caller's are in which state."""
    states = Counter(
        conditional.state
        for account in call.principal.user.accounts.values()
        for conditional in account.conditionals.values()
    )
    data: dict[str, Any] = {"total": states.total()}
    return Result(data | {state.name.lower(): states[state] for state in ConditionalState})


ROUTES: Final[tuple[Route, ...]] = (
    write("POST", "/api/order/conditional", USE, place, schemas.PlaceConditional),
    read("/api/order/conditional/list", VIEW, listed, query=schemas.ConditionalQuery),
    read("/api/order/conditional/statistics", VIEW, statistics),
    write("DELETE", "/api/order/conditional/<conditional_order_id>", USE, cancel),
)
