"""Queries of the state, with their owner check and their pages. REST and WebSocket share them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from api import render
from api.errors import Refused
from api.ports import ApiContext
from api.principal import order_number
from api.schemas import INT64_MAX
from api.ws import book
from node.exchange import rejects
from node.exchange.instruments import Instrument
from node.exchange.ledger import Account
from node.exchange.machine import Machine
from node.exchange.orders import Order
from node.exchange.users import User

T = TypeVar("T")


def paged(key: str, items: Sequence[T], page: int, page_size: int, body: Any) -> dict[str, Any]:
    """One page of a list in stable order, rendered by `body`."""
    start = (page - 1) * page_size
    shown = [body(item) for item in items[start : start + page_size]]
    return {key: shown, "total": len(items), "page": page, "page_size": page_size}


def instrument(machine: Machine, instrument_id: str) -> Instrument:
    """By EXCHANGE.code or an unambiguous bare code. Raises Refused (404)."""
    found = machine.resolve(instrument_id)
    if found is None:
        raise Refused(rejects.INSTRUMENT_NOT_FOUND, f"instrument_id {instrument_id!r} is not listed")
    return found


def orders(
    accounts: Iterable[Account],
    machine: Machine,
    *,
    alive: bool | None,
    instrument_id: str,
    page: int,
    page_size: int,
    start_ns: int = 0,
    end_ns: int = INT64_MAX,
) -> dict[str, Any]:
    """The orders that the state holds, the newest first."""
    only = instrument(machine, instrument_id) if instrument_id else None
    found = [
        order
        for account in accounts
        for order in account.orders.values()
        if (alive is None or order.alive is alive)
        and (only is None or order.instrument is only)
        and start_ns <= order.insert_ns <= end_ns
    ]
    found.sort(key=_order_number, reverse=True)
    return paged("orders", found, page, page_size, render.order_body)


def _order_number(order: Order) -> int:
    return order.order_id


def order_of(account: Account, order_id: str) -> Order:
    """Raises Refused (404)."""
    order = account.orders.get(order_number(order_id))
    if order is None:
        raise Refused(rejects.ORDER_NOT_FOUND, f"order_id {order_id!r}")
    return order


def by_client_id(account: Account, client_order_id: str, machine: Machine) -> Order:
    """The order that an account gave this id: what turns an unknown outcome into a known one.

    Raises Refused: with the first refusal if there was one; with 404 if the id was never seen, and also if it was
    executed and its order is not held any more, which `details.executed` then says.
    """
    request = account.client_orders.get(client_order_id)
    if request is None:
        raise Refused(rejects.ORDER_NOT_FOUND, f"client_order_id {client_order_id!r}")
    if request.code:
        raise Refused(request.code, request.detail, {"repeated": True})
    order = machine.orders.get(request.order_id)
    if order is None:
        name = render.order_id(request.order_id)
        raise Refused(
            rejects.ORDER_NOT_FOUND,
            f"client_order_id {client_order_id!r} was executed at log index {request.index} as {name}, with "
            f"{request.filled_volume} lots filled at once; the order is finished and no longer held",
            {"executed": True, "order_id": name, "log_index": request.index},
        )
    return order


def positions(accounts: Iterable[Account], only: Instrument | None = None) -> dict[str, Any]:
    """Every position that holds lots, or that ever did since the state began."""
    return {
        "positions": [
            render.position_body(account, position)
            for account in accounts
            for position in account.positions.values()
            if only is None or position.instrument is only
        ]
    }


def trades(
    context: ApiContext,
    accounts: Iterable[Account],
    *,
    page: int,
    page_size: int,
    start_ns: int = 0,
    end_ns: int = INT64_MAX,
) -> dict[str, Any]:
    """The own trades that the tape still holds, the newest first."""
    instruments = context.machine.instruments
    found = [
        trade
        for account in accounts
        for fill in context.tape.fills(account.account_id)
        if start_ns <= fill.time_ns <= end_ns
        for trade in render.own_trades(fill, account.account_id, instruments[fill.trade.instrument_id])
    ]
    found.sort(key=lambda trade: trade.log_index, reverse=True)  # stable: within an entry as the tape has them
    return paged("trades", found, page, page_size, lambda trade: trade)


def orderbook(context: ApiContext, found: Instrument, depth: int) -> dict[str, Any]:
    """The best `depth` levels of both sides, as the `orderbook` channel sends them."""
    seq = context.hub.market.version(found.instrument_id)
    return book.snapshot_body(found, depth, seq, context.machine.index)


def snapshot(user: User, orders_max: int) -> dict[str, Any]:
    """Everything of a user for a `reset`: accounts, live orders (the newest `orders_max`) and positions."""
    accounts = user.accounts.values()
    alive = [order for account in accounts for order in account.orders.values() if order.alive]
    alive.sort(key=_order_number, reverse=True)
    return {
        "accounts": [render.account_body(account) for account in accounts],
        "orders": [render.order_body(order) for order in alive[:orders_max]],
        "orders_total": len(alive),
        **positions(accounts),
    }
