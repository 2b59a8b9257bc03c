"""Orders: entering, modifying, cancelling. Every check comes before the first change."""

from __future__ import annotations

from typing import Final
from zlib import crc32

from node.exchange import clearing, rejects, risk
from node.exchange.commands import CancelAll, CancelOrder, ModifyOrder, PlaceOrder
from node.exchange.events import AllCancelled, Event, OrderAccepted, OrderModified, TradeExecuted
from node.exchange.matching import crosses, meets_own_order
from node.exchange.orders import Order
from node.exchange.rejects import Refused
from node.exchange.requests import Request, answer_repeated
from node.exchange.risk import Reserve
from node.exchange.state import Handlers, State
from node.exchange.types import DETAIL_MAX, REQUESTS_MAX, TEXT_MAX, CancelReason, OrderSource, SelfTrade

OPEN: Final = 0
CLIENT: Final = int(OrderSource.CLIENT)
BY_CLIENT: Final = int(CancelReason.BY_CLIENT)


def place_order(state: State, command: PlaceOrder, raw: bytes, events: list[Event]) -> None:
    """Enter a client's order, at most once per client id."""
    client_order_id = command.client_order_id
    if not client_order_id:
        enter_order(state, command, CLIENT, events)
        return
    account = state.account(command.account_id)
    fingerprint = crc32(raw)
    first = account.client_orders.get(client_order_id)
    if first is not None:
        answer_repeated(first, fingerprint, client_order_id, account.account_id, events)
        return
    if account.client_orders.full:
        raise Refused(rejects.REQUEST_MEMORY_FULL, f"{account.account_id} has used {REQUESTS_MAX} ids")
    try:
        order = enter_order(state, command, CLIENT, events)
    except Refused as refused:
        if len(client_order_id) <= TEXT_MAX:
            account.client_orders.remember(
                client_order_id,
                Request(fingerprint, state.index, state.time_ns, refused.reject.code, refused.detail[:DETAIL_MAX]),
            )
        raise
    account.client_orders.remember(client_order_id, first_result(state, order, fingerprint, events))


def first_result(state: State, order: Order, fingerprint: int, events: list[Event]) -> Request:
    """What a repeated request is told of the order that the first one entered, from the events of its command."""
    trades = [] if order.left == order.volume else [e.trade_id for e in events if type(e) is TradeExecuted]
    return Request(
        fingerprint,
        state.index,
        state.time_ns,
        0,
        "",
        "",
        order.order_id,
        order.state,
        order.volume - order.left,
        order.filled_cost,
        trades[0] if trades else 0,
        len(trades),
        order.cancel_reason,
    )


def enter_order(state: State, command: PlaceOrder, source: int, events: list[Event]) -> Order:
    """Check, accept and execute an order, whoever it comes from. Raises Refused with nothing changed."""
    account = state.account(command.account_id)
    instrument = state.instruments.get(command.instrument_id) or state.codes.get(command.instrument_id)
    reserve = risk.pre_trade(state.risk, command, account, instrument)
    assert instrument is not None
    position = account.position(instrument)
    side = position.side(command.direction if command.offset == OPEN else -command.direction)
    state.order_count = order_id = state.order_count + 1
    time_ns = state.time_ns
    order = Order(order_id, command, account, instrument, position, side, state.index, time_ns, source)
    state.matcher.accept(order)
    if order.offset != OPEN:
        clearing.freeze_lots(order, reserve.his, reserve.today)
    clearing.set_reservation(order, reserve.margin, reserve.fee)
    events.append(
        OrderAccepted(
            order_id,
            account.account_id,
            instrument.instrument_id,
            command.client_order_id,
            command.direction,
            command.offset,
            command.price_type,
            command.price_ticks,
            command.volume,
            command.time_condition,
            command.volume_condition,
            source,
        )
    )
    state.matcher.execute(order, time_ns, command.deadline_ns, events)
    return order


def live_order(state: State, account_id: str, order_id: int, finished: rejects.Reject) -> Order:
    """The account's own live order; somebody else's order does not exist."""
    account = state.account(account_id)
    order = account.orders.get(order_id)
    if order is None:
        raise Refused(rejects.ORDER_NOT_FOUND, f"order_id {order_id} is not an order of {account_id}")
    if not order.alive:
        raise Refused(finished, f"order_id {order_id} is finished")
    return order


def cancel_order(state: State, command: CancelOrder, raw: bytes, events: list[Event]) -> None:
    order = live_order(state, command.account_id, command.order_id, rejects.ORDER_NOT_CANCELLABLE)
    state.matcher.cancel(order, BY_CLIENT, state.time_ns, events)


def cancel_all(state: State, command: CancelAll, raw: bytes, events: list[Event]) -> None:
    account = state.account(command.account_id)
    instrument = None
    if command.instrument_id:
        instrument = state.resolve(command.instrument_id)
        if instrument is None:
            raise Refused(rejects.INSTRUMENT_NOT_FOUND, f"instrument_id {command.instrument_id!a} is not listed")
    live = [o for o in account.live.values() if instrument is None or o.instrument is instrument]
    events.append(AllCancelled(account.account_id, len(live)))
    for order in live:
        state.matcher.cancel(order, BY_CLIENT, state.time_ns, events)


def modify_order(state: State, command: ModifyOrder, raw: bytes, events: list[Event]) -> None:
    """All or nothing. Less volume alone keeps the priority; a new price or more volume loses it (domain.md 3)."""
    order = live_order(state, command.account_id, command.order_id, rejects.ORDER_NOT_MODIFIABLE)
    instrument = order.instrument
    price = command.price_ticks or order.price_ticks
    volume = command.volume or order.volume
    filled = order.volume - order.left
    if price == order.price_ticks and volume == order.volume:
        raise Refused(rejects.ORDER_NOT_MODIFIABLE, "neither price nor volume changes")
    risk.check_trading(instrument)
    risk.check_price(instrument, price)
    risk.check_volume(instrument, volume)
    if volume <= filled:
        raise Refused(rejects.ORDER_NOT_MODIFIABLE, f"volume {volume} is not above the {filled} filled lots")
    keeps_priority = price == order.price_ticks and volume < order.volume
    if order.post_only and crosses(instrument.book, order.direction, price):
        raise Refused(rejects.ORDER_NOT_MODIFIABLE, f"post_only: price {price} ticks would match")
    left = volume - filled
    reserve = _modified_reserve(state, order, price, left)
    if (
        order.self_trade == SelfTrade.REJECT
        and not keeps_priority
        and meets_own_order(order.account.user, instrument.book, order.direction, price, left)
    ):
        raise Refused(rejects.SELF_TRADE, "the order would meet an order of the same user")
    book = instrument.book
    if keeps_priority:
        level = order.level
        assert level is not None
        level.volume -= order.left - left
    else:
        book.leave(order)
    if order.offset == OPEN:
        order.side.opening += left - order.left
    else:
        clearing.freeze_lots(order, reserve.his, reserve.today)
    order.price_ticks = price
    order.volume = volume
    order.left = left
    order.update_ns = state.time_ns
    clearing.set_reservation(order, reserve.margin, reserve.fee)
    events.append(
        OrderModified(
            order.order_id,
            order.account.account_id,
            instrument.instrument_id,
            price,
            volume,
            left,
            keeps_priority,
        )
    )
    if not keeps_priority:
        state.matcher.trade_or_rest(order, state.time_ns, events)


def _modified_reserve(state: State, order: Order, price: int, left: int) -> Reserve:
    """What the order will hold after the change. Raises Refused, with nothing changed, if it cannot."""
    account, instrument, side = order.account, order.instrument, order.side
    if order.offset == OPEN:
        held = Reserve(order.frozen_margin, order.frozen_fee, 0, 0)
        return risk.check_opening(state.risk, account, instrument, side, order.direction, price, left, held, order.left)
    held_his, held_today = order.frozen_his, order.frozen_today
    clearing.freeze_lots(order, 0, 0)  # its own lots are free for the check, and taken again whatever it says
    try:
        return risk.check_closing(instrument, side, order.offset, price, left)
    finally:
        clearing.freeze_lots(order, held_his, held_today)


HANDLERS: Final[Handlers] = {
    PlaceOrder: place_order,
    CancelOrder: cancel_order,
    ModifyOrder: modify_order,
    CancelAll: cancel_all,
}
