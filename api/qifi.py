"""The QIFI document of an account (reference-system.md 2.3 to 2.6): funds, positions, orders, trades and transfers.

QIFI is what the tools around this market read and write for one account. It is made from the state and the tape at one
log index, and holds numbers only where QIFI has numbers: an average of no lots is 0, never null. All of them are exact
(`render.encode` writes them); money has four decimals at most, prices are on the tick. Ids that QIFI calls `user_id`
are the account's. No secret is in it: the password fields exist and are empty.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

from api import render
from api.render import Number, average, money, price
from node.exchange.flows import Flow, flows
from node.exchange.instruments import Instrument
from node.exchange.ledger import Account
from node.exchange.machine import Machine
from node.exchange.orders import Order
from node.exchange.positions import Position
from node.exchange.queries import SideFigures, account_figures, position_figures
from node.exchange.types import FundsKind, OrderState, PriceType
from node.market.tape import Fill, Tape

BROKER_NAME: Final = "QAEXCHANGE"
STATUS_OK: Final = 200
PING_GAP_SECONDS: Final = 5
FINISHED_ORDERS_MAX: Final = 1_000  # the newest ones; every live one is in the document
RATIO_WITHOUT_BALANCE: Final = 999  # QIFI's figure for margin without a positive balance: the field is a number
SHANGHAI: Final = timedelta(hours=8)
EPOCH: Final = datetime(1970, 1, 1)

PRICE_TYPES: Final = tuple("ANY" if kind is PriceType.MARKET else kind.name for kind in PriceType)
MESSAGES: Final = {
    int(OrderState.ACCEPTED): "已报",
    int(OrderState.PARTIALLY_FILLED): "部分成交",
    int(OrderState.FILLED): "全部成交",
    int(OrderState.CANCELLED): "已撤单",
    int(OrderState.EXPIRED): "已过期",
}
OUT: Final = (int(FundsKind.WITHDRAW), int(FundsKind.BANK_OUT))


def document(
    machine: Machine, tape: Tape, account: Account, *, orders_max: int = FINISHED_ORDERS_MAX
) -> dict[str, Any]:
    """The whole document of one account, as of the machine's last log index.

    `orders` has every live order and the newest `orders_max` finished ones, `trades` what the tape still holds, and
    `transfers` the newest bank transfers.
    """
    moves = [flow for flow in flows(account) if flow.moved.bank]
    funds = account_body(account)
    return {
        "databaseip": "",
        "account_cookie": account.account_id,
        "password": "",
        "portfolio": account.user.user_id,
        "broker_name": BROKER_NAME,
        "capital_password": "",
        "bank_password": "",
        "bankid": "",
        "investor_name": account.account_name,
        "money": funds["available"],
        "pub_host": "",
        "settlement": {},
        "taskid": "",
        "trade_host": "",
        "updatetime": local_time(machine.time_ns),
        "wsuri": "",
        "bankname": "",
        "trading_day": str(machine.trading_day) if machine.trading_day else "",
        "status": STATUS_OK,
        "accounts": funds,
        "banks": banks(moves),
        "event": {},
        "orders": {render.order_id(order.order_id): order_body(order) for order in _newest(account, orders_max)},
        "positions": {
            instrument_id: position_body(account, position)
            for instrument_id, position in account.positions.items()
            if not position.empty
        },
        "trades": trades(machine, tape, account),
        "transfers": transfers(moves),
        "ping_gap": PING_GAP_SECONDS,
        "eventmq_ip": "",
    }


def account_body(account: Account) -> dict[str, Any]:
    """The `Account` of QIFI 2.3.1 at the last prices."""
    figures = account_figures(account)
    ratio = render.risk_ratio(figures.margin, figures.balance)
    return {
        "user_id": account.account_id,
        "currency": render.CURRENCY,
        "pre_balance": money(figures.pre_balance),
        "deposit": money(figures.deposit),
        "withdraw": money(figures.withdraw),
        "WithdrawQuota": money(figures.withdraw_quota),
        "close_profit": money(figures.close_profit),
        "commission": money(figures.commission),
        "premium": money(figures.premium),
        "static_balance": money(figures.static_balance),
        "position_profit": money(figures.position_profit),
        "float_profit": money(figures.float_profit),
        "balance": money(figures.balance),
        "margin": money(figures.margin),
        "frozen_margin": money(figures.frozen_margin),
        "frozen_commission": money(figures.frozen_commission),
        "frozen_premium": money(figures.frozen_premium),
        "available": money(figures.available),
        "risk_ratio": RATIO_WITHOUT_BALANCE if ratio is None else ratio,
    }


def position_body(account: Account, position: Position) -> dict[str, Any]:
    """The `Position` of QIFI 2.4: both sides of one instrument. Frozen lots are part of the volume (domain.md 5)."""
    figures = position_figures(position)
    instrument = position.instrument
    body: dict[str, Any] = {
        "user_id": account.account_id,
        "exchange_id": instrument.exchange,
        "instrument_id": instrument.code,
        "last_price": price(instrument, figures.last_ticks),
    }
    for name, side in (("long", figures.long), ("short", figures.short)):
        _add_side(body, name, side, instrument)
    for key, sum_units in (
        ("float_profit", figures.long.float_profit + figures.short.float_profit),
        ("position_profit", figures.long.position_profit + figures.short.position_profit),
        ("margin", figures.long.margin + figures.short.margin),
    ):
        body[key] = money(sum_units)
    return body


def _add_side(body: dict[str, Any], name: str, side: SideFigures, instrument: Instrument) -> None:
    volume = side.volume
    body[f"volume_{name}"] = volume
    body[f"volume_{name}_today"] = body[f"pos_{name}_today"] = side.volume_today
    body[f"volume_{name}_his"] = body[f"pos_{name}_his"] = body[f"volume_{name}_yd"] = side.volume_his
    body[f"volume_{name}_frozen"] = side.frozen_today + side.frozen_his
    body[f"volume_{name}_frozen_today"] = side.frozen_today
    body[f"volume_{name}_frozen_his"] = side.frozen_his
    body[f"open_price_{name}"] = average(instrument, side.open_cost_ticks, volume) or 0
    body[f"open_cost_{name}"] = money(side.open_cost_ticks * instrument.tick_value)
    body[f"position_price_{name}"] = average(instrument, side.position_cost_ticks, volume) or 0
    body[f"position_cost_{name}"] = money(side.position_cost_ticks * instrument.tick_value)
    body[f"float_profit_{name}"] = money(side.float_profit)
    body[f"position_profit_{name}"] = money(side.position_profit)
    body[f"margin_{name}"] = money(side.margin)


def order_body(order: Order) -> dict[str, Any]:
    """The `Order` of QIFI 2.5. `limit_price` is 0 unless the order has one; `MARKET` is QIFI's `ANY`."""
    instrument = order.instrument
    limit: Number = price(instrument, order.price_ticks) if order.price_type == PriceType.LIMIT else 0
    number = render.order_id(order.order_id)
    return {
        "seqno": order.order_id,
        "user_id": order.account.account_id,
        "order_id": number,
        "exchange_id": instrument.exchange,
        "instrument_id": instrument.code,
        "direction": render.DIRECTIONS[order.direction],
        "offset": render.OFFSETS[order.offset],
        "volume_orign": order.volume,
        "price_type": PRICE_TYPES[order.price_type],
        "limit_price": limit,
        "time_condition": render.TIME_CONDITIONS[order.time_condition],
        "volume_condition": render.VOLUME_CONDITIONS[order.volume_condition],
        "insert_date_time": order.insert_ns,
        "exchange_order_id": number,
        "status": "ALIVE" if order.alive else "FINISHED",
        "volume_left": order.left,
        "last_msg": message(order),
    }


def message(order: Order) -> str:
    """What an order's state is called, with the reason if it was ended early."""
    text = MESSAGES[order.state]
    reason = render.CANCEL_REASONS.get(order.cancel_reason)
    return f"{text}: {reason}" if reason else text


def _newest(account: Account, finished_max: int) -> list[Order]:
    """All live orders and the newest finished ones, in the order of their ids."""
    finished = list(account.finished)[-finished_max:] if finished_max else []
    return sorted([*account.live.values(), *finished], key=lambda order: order.order_id)


def trades(machine: Machine, tape: Tape, account: Account) -> dict[str, Any]:
    """The fills that the tape still holds, oldest first, by EXCHANGE.trade_id: ids are dense per exchange alone."""
    bodies: dict[str, Any] = {}
    for fill in reversed(tape.fills(account.account_id)):
        instrument = machine.instruments[fill.trade.instrument_id]
        bodies[f"{instrument.exchange}.{render.trade_id(fill.trade.trade_id)}"] = trade_body(fill, account, instrument)
    return bodies


def trade_body(fill: Fill, account: Account, instrument: Instrument) -> dict[str, Any]:
    """The `Trade` of QIFI 2.6, of the side that the account was on. A trade has one id for both sides."""
    trade = fill.trade
    bought = trade.buy_account_id == account.account_id
    number = render.trade_id(trade.trade_id)
    return {
        "seqno": trade.trade_id,
        "user_id": account.account_id,
        "trade_id": number,
        "exchange_id": instrument.exchange,
        "instrument_id": instrument.code,
        "order_id": render.order_id(trade.buy_order_id if bought else trade.sell_order_id),
        "exchange_trade_id": number,
        "direction": render.DIRECTIONS[1 if bought else -1],
        "offset": render.OFFSETS[trade.buy_offset if bought else trade.sell_offset],
        "volume": trade.volume,
        "price": price(instrument, trade.price_ticks),
        "trade_date_time": fill.time_ns,
        "commission": money(trade.buy_fee_units if bought else trade.sell_fee_units),
    }


def banks(moves: list[Flow]) -> dict[str, Any]:
    """The banks that the account's kept transfers name. Balances there are the bank's to know."""
    names = dict.fromkeys(flow.moved.bank for flow in moves)
    return {name: {"id": name, "name": name, "bank_account": "", "fetch_amount": 0, "qry_count": 0} for name in names}


def transfers(moves: list[Flow]) -> dict[str, Any]:
    """Bank transfers by log index, and by their place among the account's own ones at that index."""
    bodies: dict[str, Any] = {}
    place, index = 0, -1
    for flow in moves:
        place = place + 1 if flow.index == index else 0
        index = flow.index
        bodies[f"{index}.{place}"] = transfer_body(flow)
    return bodies


def transfer_body(flow: Flow) -> dict[str, Any]:
    """One bank transfer that happened: into the exchange positive, out of it negative."""
    amount = flow.moved.amount_units
    return {
        "datetime": flow.time_ns,
        "currency": render.CURRENCY,
        "amount": money(-amount if flow.moved.kind in OUT else amount),
        "error_id": 0,
        "error_msg": "",
    }


def local_time(time_ns: int) -> str:
    """A moment in Asia/Shanghai as QIFI writes it.

    >>> local_time(1_795_399_200_123_456_789)
    '2026-11-23 10:00:00.123456'
    """
    moment = EPOCH + timedelta(microseconds=time_ns // 1_000) + SHANGHAI
    return moment.isoformat(" ", "microseconds")
