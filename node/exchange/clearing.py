"""Clearing: what an order reserves, and what one fill does to its account, position and reservations.

The money that an order reserves follows from what is left of it, at its limit price, so releasing is exact by
construction: the new reservation replaces the old one.
"""

from __future__ import annotations

from typing import Final

from node.exchange.instruments import Instrument
from node.exchange.orders import Order
from node.exchange.positions import PositionSide

OPEN: Final = 0
CLOSETODAY: Final = 2
CLOSEYESTERDAY: Final = 3


def closable(order_offset: int, side: PositionSide, splits_today: bool, lots: int) -> tuple[int, int] | None:
    """How many (history, today) lots a close of `lots` takes by the exchange's rule; None if they are not free."""
    free_his = side.his - side.frozen_his
    free_today = side.today - side.frozen_today
    if order_offset == CLOSETODAY:
        return (0, lots) if lots <= free_today else None
    if splits_today or order_offset == CLOSEYESTERDAY:
        return (lots, 0) if lots <= free_his else None
    from_his = lots if lots <= free_his else free_his
    return (from_his, lots - from_his) if lots - from_his <= free_today else None


def opening_reserve(instrument: Instrument, direction: int, price_ticks: int, lots: int) -> tuple[int, int]:
    """(margin, fee) that `lots` of an opening order reserve at a price, in money units."""
    cost = price_ticks * lots
    charge = instrument.margin_long if direction > 0 else instrument.margin_short
    return charge.of(cost, lots), instrument.open_fee.of(cost, lots)


def closing_fee(instrument: Instrument, price_ticks: int, his: int, today: int) -> int:
    """The fee of closing `his` and `today` lots at a price, in money units."""
    fee = 0
    if his:
        fee = instrument.close_fee.of(price_ticks * his, his)
    if today:
        fee += instrument.close_today_fee.of(price_ticks * today, today)
    return fee


def set_reservation(order: Order, margin: int, fee: int) -> None:
    """Replace what an order holds of its account's money."""
    account = order.account
    account.frozen_margin += margin - order.frozen_margin
    account.frozen_fee += fee - order.frozen_fee
    order.frozen_margin = margin
    order.frozen_fee = fee


def freeze_lots(order: Order, his: int, today: int) -> None:
    """Replace the lots that a closing order holds of its position side."""
    side = order.side
    side.frozen_his += his - order.frozen_his
    side.frozen_today += today - order.frozen_today
    order.frozen_his = his
    order.frozen_today = today


def reservation(order: Order) -> tuple[int, int]:
    """(margin, fee) in money units that what is left of an order reserves at its price and its instrument's terms."""
    if order.offset == OPEN:
        return opening_reserve(order.instrument, order.direction, order.price_ticks, order.left)
    return 0, closing_fee(order.instrument, order.price_ticks, order.frozen_his, order.frozen_today)


def release(order: Order) -> None:
    """Give back everything that an order still reserves (cancel, expiry, end)."""
    account = order.account
    account.frozen_margin -= order.frozen_margin
    account.frozen_fee -= order.frozen_fee
    order.frozen_margin = order.frozen_fee = 0
    if order.offset == OPEN:
        order.side.opening -= order.left
    else:
        freeze_lots(order, 0, 0)


def fill(order: Order, price_ticks: int, lots: int) -> tuple[int, int]:
    """Book one fill of an order whose `left` is already reduced; returns (fee, close profit) in money units."""
    account = order.account
    instrument = order.instrument
    side = order.side
    cost = price_ticks * lots
    order.filled_cost += cost
    left = order.left
    profit = 0
    if order.offset == OPEN:
        side.today += lots
        side.today_cost += cost
        side.opening -= lots
        fee = instrument.open_fee.of(cost, lots)
        margin = frozen_fee = 0
        if left:
            margin, frozen_fee = opening_reserve(instrument, order.direction, order.price_ticks, left)
        account.frozen_margin += margin - order.frozen_margin  # set_reservation, inlined: every fill passes here
        account.frozen_fee += frozen_fee - order.frozen_fee
        order.frozen_margin = margin
        order.frozen_fee = frozen_fee
    else:
        his = lots if lots <= order.frozen_his else order.frozen_his
        today = lots - his
        cost_out = 0
        if his:
            cost_out = side.take_his(his)
        if today:
            cost_out += side.take_today(today)
        profit = side.direction * (cost - cost_out) * instrument.tick_value
        fee = closing_fee(instrument, price_ticks, his, today)
        freeze_lots(order, order.frozen_his - his, order.frozen_today - today)
        set_reservation(order, 0, closing_fee(instrument, order.price_ticks, order.frozen_his, order.frozen_today))
        account.close_profit += profit
    account.commission += fee
    margin_charge = instrument.margin_long if side.direction > 0 else instrument.margin_short
    side_margin = margin_charge.of(side.today_cost + side.his_cost, side.today + side.his)
    account.margin += order.position.product.move(side.direction, side_margin - side.margin)
    side.margin = side_margin
    return fee, profit
