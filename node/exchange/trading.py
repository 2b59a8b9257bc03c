"""Orders: entering, modifying, cancelling. Every check comes before the first change."""

from __future__ import annotations

from typing import Final
from zlib import crc32

from node.exchange import auction, clearing, rejects, risk
from node.exchange.commands import CancelAll, CancelOrder, ModifyOrder, PlaceOrder
from node.exchange.events import AllCancelled, Event, OrderAccepted, OrderModified, TradeExecuted
from node.exchange.instruments import Instrument
from node.exchange.ledger import Account
from node.exchange.matching import crosses, meets_own_order
from node.exchange.orders import Order
from node.exchange.rejects import Refused
from node.exchange.requests import Once, Request, answer_repeated
from node.exchange.state import Handlers, State
from node.exchange.types import DETAIL_MAX, REQUESTS_MAX, TEXT_MAX, CancelReason, OrderSource, Phase, SelfTrade

OPEN: Final = 0
CLIENT: Final = int(OrderSource.CLIENT)
LIQUIDATION: Final = int(OrderSource.LIQUIDATION)
BY_CLIENT: Final = int(CancelReason.BY_CLIENT)
CONTINUOUS: Final = int(Phase.CONTINUOUS)
REJECT: Final = int(SelfTrade.REJECT)


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
    account = state.accounts.get(command.account_id) or state.account(command.account_id)
    instrument = state.instruments.get(command.instrument_id) or state.codes.get(command.instrument_id)
    position = None if instrument is None else account.positions.get(instrument.instrument_id)
    price, margin, fee, his, today = risk.pre_trade(
        state.risk, state.trading_day, command, account, instrument, position, source
    )
    assert instrument is not None
    if position is None:
        position = account.position(instrument)
    opening = command.offset == OPEN
    side = position.long if (command.direction > 0) == opening else position.short
    state.order_count = order_id = state.order_count + 1
    time_ns = state.time_ns
    order = Order(order_id, command, account, instrument, position, side, price, state.index, time_ns, source)
    state.matcher.accept(order)
    if not opening:
        clearing.freeze_lots(order, his, today)
    account.frozen_margin += margin  # set_reservation of an order that holds nothing yet
    account.frozen_fee += fee
    order.frozen_margin = margin
    order.frozen_fee = fee
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
    if instrument.phase == CONTINUOUS:
        state.matcher.execute(order, time_ns, command.deadline_ns, events)
    else:
        state.matcher.enter_auction(order, time_ns, command.deadline_ns, events)
        auction.indicate(instrument, events)
    return order


def live_order(account: Account, order_id: int, client_order_id: str, finished: rejects.Reject) -> Order:
    """The account's own live order, by its id or by its client id; somebody else's order does not exist.

    Raises Refused: with `finished` for an order that is, ORDER_NOT_FOUND, or BAD_ORDER_PARAMETERS if two ids are given
    that name two orders.
    """
    named = f"order_id {order_id}"
    if client_order_id:
        named = f"client_order_id {client_order_id!a}"
        order_id = _order_id(account, order_id, client_order_id)
    order = account.live.get(order_id)
    if order is not None:
        if order.source == LIQUIDATION:
            raise Refused(finished, f"{named} belongs to a forced liquidation")
        return order
    if account.closed:
        raise Refused(rejects.ACCOUNT_CLOSED, f"account_id {account.account_id} is closed")
    if order_id in account.orders:
        raise Refused(finished, f"{named} is finished")
    raise Refused(rejects.ORDER_NOT_FOUND, f"{named} is not an order of {account.account_id}")


def _order_id(account: Account, order_id: int, client_order_id: str) -> int:
    """The id of the order that a client names by its own id; 0 if there is none."""
    if order_id:
        order = account.orders.get(order_id)
        if order is not None and order.client_order_id != client_order_id:
            detail = f"client_order_id {client_order_id!a} is not that of order_id {order_id}"
            raise Refused(rejects.BAD_ORDER_PARAMETERS, detail)
        return order_id
    first = account.client_orders.get(client_order_id)
    if first is not None and first.order_id:
        return first.order_id
    # Forgotten among many younger ids (requests), or entered by a conditional order of this name.
    return next((o.order_id for o in account.live.values() if o.client_order_id == client_order_id), 0)


def cancel_order(state: State, command: CancelOrder, raw: bytes, events: list[Event]) -> None:
    account = state.accounts.get(command.account_id) or state.account(command.account_id)
    order = account.live.get(command.order_id)
    if (
        order is not None
        and order.source != LIQUIDATION
        and order.instrument.phase == CONTINUOUS
        and not command.client_order_id
        and not command.request_id
    ):  # most of what an exchange does: no further questions
        state.matcher.cancel(order, BY_CLIENT, state.time_ns, events)
    elif not command.request_id:
        _cancel(state, account, command, events)
    else:
        with _once(state, account, command.request_id, raw, events) as request:
            if not request.repeated:
                order = _cancel(state, account, command, events)
                request.result = first_result(state, order, request.fingerprint, events)


def _once(state: State, account: Account, request_id: str, raw: bytes, events: list[Event]) -> Once:
    return Once(state, account.requests, request_id, raw, events, account.account_id, rejects.BAD_ORDER_PARAMETERS)


def _cancel(state: State, account: Account, command: CancelOrder, events: list[Event]) -> Order:
    order = live_order(account, command.order_id, command.client_order_id, rejects.ORDER_NOT_CANCELLABLE)
    instrument = order.instrument
    if instrument.phase == CONTINUOUS:
        state.matcher.cancel(order, BY_CLIENT, state.time_ns, events)
        return order
    if not risk.takes_cancels(instrument):
        raise Refused(
            rejects.CANCEL_NOT_ALLOWED, f"{instrument.instrument_id}: no cancels until the auction has matched"
        )
    state.matcher.cancel(order, BY_CLIENT, state.time_ns, events)
    indicate(instrument, events)
    return order


def indicate(instrument: Instrument, events: list[Event]) -> None:
    """After the book of an instrument that may be in a call auction changed."""
    if instrument.phase in (risk.AUCTION_ORDER, risk.AUCTION_NO_CANCEL):
        auction.indicate(instrument, events)


def cancel_all(state: State, command: CancelAll, raw: bytes, events: list[Event]) -> None:
    account = state.account(command.account_id)
    if not command.request_id:
        _cancel_all(state, account, command, events)
        return
    with _once(state, account, command.request_id, raw, events) as request:
        if not request.repeated:
            _cancel_all(state, account, command, events)


def _cancel_all(state: State, account: Account, command: CancelAll, events: list[Event]) -> None:
    """Orders that no cancel can reach now (their auction is about to match) stay; refused if only such ones exist."""
    if account.closed:
        raise Refused(rejects.ACCOUNT_CLOSED, f"account_id {account.account_id} is closed")
    instrument = state.instrument(command.instrument_id) if command.instrument_id else None
    own = [o for o in account.live.values() if o.source != LIQUIDATION]
    live = [o for o in own if instrument is None or o.instrument is instrument]
    free = [o for o in live if risk.takes_cancels(o.instrument)]
    if live and not free:
        raise Refused(rejects.CANCEL_NOT_ALLOWED, f"none of {len(live)} orders: their auction is about to match")
    events.append(AllCancelled(account.account_id, len(free)))
    touched: dict[str, Instrument] = {}
    for order in free:
        touched[order.instrument.instrument_id] = order.instrument
        state.matcher.cancel(order, BY_CLIENT, state.time_ns, events)
    for instrument in touched.values():
        indicate(instrument, events)


def modify_order(state: State, command: ModifyOrder, raw: bytes, events: list[Event]) -> None:
    account = state.account(command.account_id)
    if not command.request_id:
        _modify(state, account, command, events)
        return
    with _once(state, account, command.request_id, raw, events) as request:
        if not request.repeated:
            order = _modify(state, account, command, events)
            request.result = first_result(state, order, request.fingerprint, events)


def _modify(state: State, account: Account, command: ModifyOrder, events: list[Event]) -> Order:
    """All or nothing. Less volume alone keeps the priority; a new price or more volume loses it (domain.md 3)."""
    order = live_order(account, command.order_id, command.client_order_id, rejects.ORDER_NOT_MODIFIABLE)
    instrument = order.instrument
    price = command.price_ticks or order.price_ticks
    volume = command.volume or order.volume
    if price == order.price_ticks and volume == order.volume:
        raise Refused(rejects.ORDER_NOT_MODIFIABLE, "neither price nor volume changes")
    margin, fee, his, today = risk.pre_change(state.risk, state.trading_day, order, price, volume)
    keeps_priority = price == order.price_ticks and volume < order.volume
    left = volume - (order.volume - order.left)
    book = instrument.book
    if not keeps_priority:
        if order.post_only and crosses(book, order.direction, price):
            raise Refused(rejects.ORDER_NOT_MODIFIABLE, f"post_only: price {price} ticks would match")
        if order.self_trade == REJECT and meets_own_order(account.user, instrument, order.direction, price, left):
            raise Refused(rejects.SELF_TRADE, "the order would meet an order of the same user")
        book.leave(order)
    else:
        level = order.level
        assert level is not None
        level.volume -= order.left - left
    if order.offset == OPEN:
        order.side.opening += left - order.left
    else:
        clearing.freeze_lots(order, his, today)
    order.price_ticks = price
    order.volume = volume
    order.left = left
    order.update_ns = state.time_ns
    clearing.set_reservation(order, margin, fee)
    events.append(
        OrderModified(
            order.order_id,
            account.account_id,
            instrument.instrument_id,
            price,
            volume,
            left,
            keeps_priority,
        )
    )
    if instrument.phase != CONTINUOUS:
        if not keeps_priority:
            state.matcher.enter_auction(order, state.time_ns, 0, events)
        auction.indicate(instrument, events)
    elif not keeps_priority:
        state.matcher.trade_or_rest(order, state.time_ns, events)
    return order


HANDLERS: Final[Handlers] = {
    PlaceOrder: place_order,
    CancelOrder: cancel_order,
    ModifyOrder: modify_order,
    CancelAll: cancel_all,
}
