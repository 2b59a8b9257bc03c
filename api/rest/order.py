"""Orders: submit, cancel, modify, batches, and queries."""

from __future__ import annotations

from typing import Any, Final

from api import operations, reads, render, schemas
from api.errors import ApiError, Malformed
from api.permissions import P, any_of
from api.rest.route import Call, Result, Route, read, write
from node.exchange.commands import Command

VIEW: Final = any_of(P.VIEW_OWN_ORDERS, P.VIEW_ALL_ORDERS)


async def submit(call: Call) -> Result:
    body: schemas.SubmitOrder = call.body
    return await call.submit(operations.place_order(call.context.machine, call.principal, body.account_id, body))


async def cancel(call: Call) -> Result:
    body: schemas.CancelOrder = call.body
    return await call.submit(operations.cancel_order(call.principal, body.account_id, body.order_id))


async def modify(call: Call) -> Result:
    body: schemas.ModifyOrder = call.body
    order_id = call.path["order_id"]
    if body.order_id and body.order_id != order_id:
        raise Malformed(f"order_id {body.order_id!r} is not that of the path, {order_id!r}")
    return await call.submit(
        operations.modify_order(call.principal, body.account_id, order_id, body.price, body.volume)
    )


async def cancel_all(call: Call) -> Result:
    body: schemas.CancelAll = call.body
    command = operations.cancel_all(call.context.machine, call.principal, body.account_id, body.instrument_id)
    return await call.submit(command)


async def batch(call: Call) -> Result:
    """Orders of one account, executed in order, each for itself: one refusal does not stop the others."""
    body: schemas.Batch = call.body
    call.principal.own_account(body.account_id)
    machine, principal = call.context.machine, call.principal
    return await _batch(
        call, [lambda o=order: operations.place_order(machine, principal, body.account_id, o) for order in body.orders]
    )


async def batch_cancel(call: Call) -> Result:
    body: schemas.BatchCancel = call.body
    call.principal.own_account(body.account_id)
    principal = call.principal
    return await _batch(
        call, [lambda i=number: operations.cancel_order(principal, body.account_id, i) for number in body.order_ids]
    )


async def _batch(call: Call, makers: list[Any]) -> Result:
    """Make the commands, submit those that are not denied, and answer for each at its index."""
    rows: list[dict[str, Any]] = []
    commands: list[Command] = []
    places: list[int] = []
    for index, make in enumerate(makers):
        row: dict[str, Any] = {"index": index, "success": False, "data": None, "error": None, "receipt": None}
        rows.append(row)
        try:
            command = make()
        except ApiError as error:
            row["error"] = error.body
        else:
            commands.append(command)
            places.append(index)
    last = None
    for place, result in zip(places, await call.submit_all(commands) if commands else [], strict=True):
        row = rows[place]
        if isinstance(result, ApiError):
            row["error"] = result.body
        else:
            assert isinstance(result, Result)
            row["success"], row["data"], row["receipt"] = True, result.data, result.receipt
            last = result.receipt
    done = sum(row["success"] for row in rows)
    data = {"total": len(rows), "success_count": done, "failed_count": len(rows) - done, "results": rows}
    return Result(data, last)


async def order(call: Call) -> Result:
    found = call.principal.order_of(call.context.machine, call.path["order_id"], P.VIEW_ALL_ORDERS)
    return Result(render.order_body(found))


async def by_client_id(call: Call) -> Result:
    """Turns an unknown outcome into a known one."""
    machine = call.context.machine
    account = call.principal.account_of(machine, call.path["account_id"], P.VIEW_ALL_ORDERS)
    return Result(render.order_body(reads.by_client_id(account, call.path["client_order_id"], machine)))


async def of_user(call: Call) -> Result:
    user = call.principal.user_of(call.context.machine, call.path["user_id"], P.VIEW_ALL_ORDERS)
    return Result(_listed(call, list(user.accounts.values())))


async def of_account(call: Call) -> Result:
    account = call.principal.account_of(call.context.machine, call.path["account_id"], P.VIEW_ALL_ORDERS)
    return Result(_listed(call, [account]))


def _listed(call: Call, accounts: list[Any]) -> dict[str, Any]:
    query: schemas.OrderQuery = call.query
    return reads.orders(
        accounts,
        call.context.machine,
        alive=query.alive,
        instrument_id=query.instrument_id,
        page=query.page,
        page_size=query.page_size,
        start_ns=query.start_ns,
        end_ns=query.end_ns,
    )


ROUTES: Final[tuple[Route, ...]] = (
    write("POST", "/api/order/submit", any_of(P.TRADE), submit, schemas.SubmitOrder),
    write("POST", "/api/order/cancel", any_of(P.CANCEL_ORDER), cancel, schemas.CancelOrder),
    write("PUT", "/api/order/modify/<order_id>", any_of(P.MODIFY_ORDER), modify, schemas.ModifyOrder),
    write("POST", "/api/order/batch", any_of(P.BATCH_ORDER), batch, schemas.Batch),
    write("POST", "/api/order/batch-cancel", any_of(P.CANCEL_ORDER), batch_cancel, schemas.BatchCancel),
    write("POST", "/api/order/cancel-all", any_of(P.CANCEL_ORDER), cancel_all, schemas.CancelAll),
    read("/api/order/<order_id>", VIEW, order),
    read("/api/order/by-client-id/<account_id>/<client_order_id>", VIEW, by_client_id),
    read("/api/order/user/<user_id>", VIEW, of_user, query=schemas.OrderQuery),
    read("/api/order/account/<account_id>", VIEW, of_account, query=schemas.OrderQuery),
)
