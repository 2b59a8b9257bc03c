"""State and events as the JSON objects of the wire contract. Decimals are exact; nothing here is a float.

Prices, money and ratios become an `int` where they are whole and a `Decimal` otherwise, and `encode` writes both as
JSON numbers.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

import msgspec

from api.permissions import role_names
from consensus.ports import Receipt
from node.exchange.events import AccountSettled, DaySettled, TradeExecuted
from node.exchange.flows import Flow
from node.exchange.instruments import Instrument
from node.exchange.ledger import Account
from node.exchange.orders import Order
from node.exchange.positions import Position
from node.exchange.queries import (
    AccountFigures,
    EquityCurve,
    MarginFigures,
    SideFigures,
    account_figures,
    position_figures,
)
from node.exchange.triggers import Conditional
from node.exchange.types import (
    MONEY_SCALE,
    RATE_SCALE,
    AccountType,
    CancelReason,
    Comparison,
    ConditionalState,
    ConditionType,
    FundsKind,
    InstrumentClass,
    InstrumentStatus,
    MarginRule,
    Offset,
    OrderSource,
    OrderState,
    Phase,
    PriceType,
    TimeCondition,
    VolumeCondition,
    half_even,
)
from node.exchange.users import User
from node.market.tape import Fill

CURRENCY: Final = "CNY"
RISK_RATIO_SCALE: Final = 10_000  # shown with four decimals
Number = int | Decimal

encode: Final = msgspec.json.Encoder(decimal_format="number").encode

DIRECTIONS: Final = {1: "BUY", -1: "SELL"}
OFFSETS: Final = tuple(offset.name for offset in Offset)
PRICE_TYPES: Final = tuple(kind.name for kind in PriceType)
TIME_CONDITIONS: Final = tuple(condition.name for condition in TimeCondition)
VOLUME_CONDITIONS: Final = tuple(condition.name for condition in VolumeCondition)
STATES: Final = ("Accepted", "PartiallyFilled", "Filled", "Cancelled", "Expired")
CANCEL_REASONS: Final = {int(reason): reason.name.lower() for reason in CancelReason}
ACCOUNT_TYPES: Final = {int(kind): kind.name.lower() for kind in AccountType}
INSTRUMENT_STATUSES: Final = {int(status): status.name.lower() for status in InstrumentStatus}
SOURCES: Final = tuple(source.name.lower() for source in OrderSource)
PHASES: Final = tuple(phase.name.lower() for phase in Phase)
INSTRUMENT_CLASSES: Final = tuple(kind.name.lower() for kind in InstrumentClass)
ALIVE_MAX: Final = int(OrderState.PARTIALLY_FILLED)
MARKET: Final = int(PriceType.MARKET)

_SCALE: Final = Decimal(MONEY_SCALE)


def money(units: int) -> Number:
    """Money units (or a price in money units) as a JSON number.

    >>> money(35_000_000), money(125_000)
    (3500, Decimal('12.5'))
    """
    return Decimal(units) / _SCALE if units % MONEY_SCALE else units // MONEY_SCALE


def rate(units: int) -> Number:
    return Decimal(units) / RATE_SCALE if units % RATE_SCALE else units // RATE_SCALE


def price(instrument: Instrument, ticks: int) -> Number:
    return money(ticks * instrument.terms.tick_units)


def average(instrument: Instrument, cost_ticks: int, lots: int) -> Number | None:
    """The mean price of `lots`, to 0.0001, half to even; None for no lots."""
    return money(half_even(cost_ticks * instrument.terms.tick_units, lots)) if lots else None


def day(number: int) -> str | None:
    """A day of the state as people write it; None for none.

    >>> day(20261123)
    '2026-11-23'
    """
    return f"{number // 10_000:04d}-{number // 100 % 100:02d}-{number % 100:02d}" if number else None


def order_id(number: int) -> str:
    return f"O{number:010d}"


def trade_id(number: int) -> str:
    return f"T{number:010d}"


class ReceiptBody(msgspec.Struct, frozen=True, gc=False):
    """Proof of commitment. `state_hash` is null where this node no longer holds it."""

    log_index: int
    state_hash: str | None
    ts_ns: int


def receipt_body(receipt: Receipt) -> ReceiptBody:
    return ReceiptBody(receipt.index, receipt.digest.hex(), receipt.time_ns)


class TradeBody(msgspec.Struct, frozen=True, gc=False):
    """One trade inside the answer to an order."""

    trade_id: str
    exchange_id: str
    price: Number
    volume: int


class OrderResult(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The answer to submit, cancel and modify."""

    order_id: str
    client_order_id: str
    account_id: str
    instrument_id: str
    status: str
    filled_volume: int
    volume_left: int
    average_price: Number | None
    cancel_reason: str | None
    trades: list[TradeBody]
    repeated: bool = False
    trade_count: int = 0  # only when repeated: `trades` holds those that this node still has


class OrderBody(msgspec.Struct, frozen=True, gc=False):
    """An order as queries and `order_status` show it."""

    order_id: str
    client_order_id: str
    account_id: str
    user_id: str
    instrument_id: str
    direction: str
    offset: str
    price_type: str
    price: Number | None  # null: a market order
    volume: int
    volume_left: int
    filled_volume: int
    average_price: Number | None
    time_condition: str
    volume_condition: str
    min_volume: int
    gtd_day: str | None
    post_only: bool
    source: str
    status: str
    cancel_reason: str | None
    insert_time_ns: int
    update_time_ns: int
    qifi_status: str


class OrderView(msgspec.Struct, frozen=True, gc=False):
    """What changes in an order, taken at one log index."""

    order: Order
    state: int
    left: int
    filled_cost: int
    price_ticks: int
    volume: int
    cancel_reason: int
    update_ns: int


def view(order: Order) -> OrderView:
    return OrderView(
        order,
        order.state,
        order.left,
        order.filled_cost,
        order.price_ticks,
        order.volume,
        order.cancel_reason,
        order.update_ns,
    )


def order_fields(seen: OrderView) -> tuple[Any, ...]:
    """The values of `OrderBody`, in its order."""
    order = seen.order
    instrument = order.instrument
    account = order.account
    filled = seen.volume - seen.left
    return (
        order_id(order.order_id),
        order.client_order_id,
        account.account_id,
        account.user.user_id,
        instrument.instrument_id,
        "BUY" if order.direction > 0 else "SELL",
        OFFSETS[order.offset],
        PRICE_TYPES[order.price_type],
        None if order.price_type == MARKET else money(seen.price_ticks * instrument.terms.tick_units),
        seen.volume,
        seen.left,
        filled,
        average(instrument, seen.filled_cost, filled),
        TIME_CONDITIONS[order.time_condition],
        VOLUME_CONDITIONS[order.volume_condition],
        order.min_volume,
        day(order.gtd_day),
        order.post_only,
        SOURCES[order.source],
        STATES[seen.state],
        CANCEL_REASONS.get(seen.cancel_reason),
        order.insert_ns,
        seen.update_ns,
        "ALIVE" if seen.state <= ALIVE_MAX else "FINISHED",
    )


def order_body(order: Order) -> OrderBody:
    return OrderBody(*order_fields(view(order)))


def account_body(account: Account) -> dict[str, Any]:
    return figures_body(account, account_figures(account))


def figures_body(account: Account, figures: AccountFigures) -> dict[str, Any]:
    """An account at one log index."""
    body: dict[str, Any] = {
        "account_id": account.account_id,
        "user_id": account.user.user_id,
        "account_name": account.account_name,
        "account_type": ACCOUNT_TYPES[account.account_type],
        "currency": CURRENCY,
    }
    for key, units in zip(AccountFigures._fields, figures, strict=True):
        body[key] = money(units)
    body["risk_ratio"] = risk_ratio(figures.margin, figures.balance)
    body["created_at_ns"] = account.created_ns
    return body


def risk_ratio(margin: int, balance: int) -> Number | None:
    """margin / balance with four decimals, half to even; None (critical) for margin without a positive balance."""
    if margin == 0:
        return 0
    return money(half_even(margin * RISK_RATIO_SCALE, balance)) if balance > 0 else None


def position_body(account: Account, position: Position) -> dict[str, Any]:
    """Both sides of one instrument, with the keys of QIFI (reference-system.md 2.4)."""
    figures = position_figures(position)
    instrument = position.instrument
    body: dict[str, Any] = {
        "account_id": account.account_id,
        "user_id": account.user.user_id,
        "exchange_id": instrument.exchange,
        "instrument_id": instrument.instrument_id,
        "last_price": price(instrument, figures.last_ticks),
    }
    for name, side in (("long", figures.long), ("short", figures.short)):
        _add_side(body, name, side, instrument)
    for key in ("float_profit", "position_profit", "margin"):
        body[key] = money(getattr(figures.long, key) + getattr(figures.short, key))
    return body


def _add_side(body: dict[str, Any], name: str, side: SideFigures, instrument: Instrument) -> None:
    volume = side.volume
    body[f"volume_{name}_today"] = body[f"pos_{name}_today"] = side.volume_today
    body[f"volume_{name}_his"] = body[f"pos_{name}_his"] = body[f"volume_{name}_yd"] = side.volume_his
    body[f"volume_{name}"] = volume
    body[f"volume_{name}_frozen_today"] = side.frozen_today
    body[f"volume_{name}_frozen_his"] = side.frozen_his
    body[f"volume_{name}_frozen"] = side.frozen_today + side.frozen_his
    body[f"open_price_{name}"] = average(instrument, side.open_cost_ticks, volume)
    body[f"open_cost_{name}"] = money(side.open_cost_ticks * instrument.tick_value)
    body[f"position_price_{name}"] = average(instrument, side.position_cost_ticks, volume)
    body[f"position_cost_{name}"] = money(side.position_cost_ticks * instrument.tick_value)
    body[f"float_profit_{name}"] = money(side.float_profit)
    body[f"position_profit_{name}"] = money(side.position_profit)
    body[f"margin_{name}"] = money(side.margin)


class OwnTrade(msgspec.Struct, frozen=True, gc=False):
    """One side of an execution, as its owner sees it. Nothing of the other side is in it."""

    trade_id: str
    exchange_id: str
    order_id: str
    account_id: str
    instrument_id: str
    direction: str
    offset: str
    price: Number
    volume: int
    commission: Number
    close_profit: Number
    is_taker: bool
    trade_time_ns: int
    log_index: int


def own_trade_fields(
    trade: TradeExecuted, direction: int, instrument: Instrument, time_ns: int, log_index: int
) -> tuple[Any, ...]:
    """The values of `OwnTrade`, in its order, for the side that bought (+1) or sold (-1)."""
    if direction > 0:
        number, account_id, offset = trade.buy_order_id, trade.buy_account_id, trade.buy_offset
        fee, profit = trade.buy_fee_units, trade.buy_close_profit_units
    else:
        number, account_id, offset = trade.sell_order_id, trade.sell_account_id, trade.sell_offset
        fee, profit = trade.sell_fee_units, trade.sell_close_profit_units
    return (
        trade_id(trade.trade_id),
        instrument.exchange,
        order_id(number),
        account_id,
        trade.instrument_id,
        "BUY" if direction > 0 else "SELL",
        OFFSETS[offset],
        price(instrument, trade.price_ticks),
        trade.volume,
        money(fee),
        money(profit),
        trade.taker_direction == direction,
        time_ns,
        log_index,
    )


def own_trades(fill: Fill, account_id: str, instrument: Instrument) -> list[OwnTrade]:
    """The side (or both sides) of a trade that an account was on."""
    trade = fill.trade
    sides = [d for d, owner in ((1, trade.buy_account_id), (-1, trade.sell_account_id)) if owner == account_id]
    return [OwnTrade(*own_trade_fields(trade, d, instrument, fill.time_ns, fill.log_index)) for d in sides]


def public_trade(trade: TradeExecuted, instrument: Instrument, time_ns: int, log_index: int) -> dict[str, Any]:
    """A trade as everybody sees it. `direction` is the taker's."""
    return {
        "trade_id": trade_id(trade.trade_id),
        "exchange_id": instrument.exchange,
        "instrument_id": trade.instrument_id,
        "price": price(instrument, trade.price_ticks),
        "volume": trade.volume,
        "direction": DIRECTIONS[trade.taker_direction],
        "trade_time_ns": time_ns,
        "log_index": log_index,
    }


def trade_body(trade: TradeExecuted, instrument: Instrument) -> TradeBody:
    return TradeBody(trade_id(trade.trade_id), instrument.exchange, price(instrument, trade.price_ticks), trade.volume)


def instrument_body(instrument: Instrument) -> dict[str, Any]:
    """Terms and day statistics. A limit of the whole tick range is no limit and shown as null."""
    terms = instrument.terms
    body: dict[str, Any] = {
        "instrument_id": instrument.instrument_id,
        "exchange_id": instrument.exchange,
        "name": terms.name,
        "product": terms.product,
        "instrument_type": INSTRUMENT_CLASSES[terms.instrument_class],
        "status": INSTRUMENT_STATUSES[instrument.status],
        "phase": PHASES[instrument.phase],
        "calendar": terms.calendar or None,
        "listing_day": day(terms.listing_day),
        "expiry_day": day(terms.expiry_day),
        "volume_multiple": terms.volume_multiple,
        "price_tick": money(terms.tick_units),
        "pre_settlement": price(instrument, instrument.pre_settlement_ticks),
        "upper_limit": price(instrument, instrument.upper_limit_ticks) if terms.limit_up_rate else None,
        "lower_limit": price(instrument, instrument.lower_limit_ticks) if terms.limit_down_rate else None,
        "volume_min": terms.volume_min,
        "volume_max": terms.volume_max,
        "market_volume_max": terms.market_volume_max or terms.volume_max,
        "position_limit": terms.position_limit or None,
        "margin_rule": MarginRule(terms.margin_rule).name.lower(),
    }
    for side in ("margin_long", "margin_short", "open", "close", "close_today"):
        body[f"{side}_rate"] = rate(getattr(terms, f"{side}_rate"))
        body[f"{side}_amount"] = money(getattr(terms, f"{side}_amount"))
    body.update(day_body(instrument))
    return body


def day_body(instrument: Instrument) -> dict[str, Any]:
    """The statistics of the trading day; prices of a day without a trade are null, `settlement` until it is set."""
    traded = instrument.day_volume > 0
    return {
        "last_price": price(instrument, instrument.last_ticks),
        "pre_close": price(instrument, instrument.pre_close_ticks),
        "open": price(instrument, instrument.day_open_ticks) if traded else None,
        "high": price(instrument, instrument.day_high_ticks) if traded else None,
        "low": price(instrument, instrument.day_low_ticks) if traded else None,
        "volume": instrument.day_volume,
        "average_price": average(instrument, instrument.day_turnover_ticks, instrument.day_volume),
        "turnover": money(instrument.day_turnover_units),
        "open_interest": instrument.open_interest,
        "pre_open_interest": instrument.pre_open_interest,
        "settlement": price(instrument, instrument.settlement_ticks) if instrument.settlement_ticks else None,
    }


def tick_body(instrument: Instrument, time_ns: int, log_index: int) -> dict[str, Any]:
    """Level 1: the best of both sides and the day, at one log index."""
    bids, asks = instrument.book.depth(1, 1), instrument.book.depth(-1, 1)
    body: dict[str, Any] = {"instrument_id": instrument.instrument_id, "log_index": log_index, "time_ns": time_ns}
    for name, levels in (("bid", bids), ("ask", asks)):
        body[f"{name}_price"] = price(instrument, levels[0][0]) if levels else None
        body[f"{name}_volume"] = levels[0][1] if levels else 0
    return body | day_body(instrument)


def conditional_id(number: int) -> str:
    return f"C{number:010d}"


def conditional_body(conditional: Conditional) -> dict[str, Any]:
    """A conditional order, pending or ended (reference-system.md 2.9)."""
    instrument = conditional.instrument
    limit = price(instrument, conditional.price_ticks) if conditional.price_ticks else None
    return {
        "conditional_order_id": conditional_id(conditional.conditional_id),
        "account_id": conditional.account.account_id,
        "instrument_id": instrument.instrument_id,
        "direction": DIRECTIONS[conditional.direction],
        "offset": OFFSETS[conditional.offset],
        "volume": conditional.volume,
        "order_type": PRICE_TYPES[conditional.price_type],
        "limit_price": limit,
        "condition_type": ConditionType(conditional.condition).name,
        "trigger_price": price(instrument, conditional.trigger_ticks),
        "trigger_condition": "GE" if conditional.comparison == Comparison.AT_OR_ABOVE else "LE",
        "valid_until_ns": conditional.valid_until_ns or None,
        "client_order_id": conditional.client_order_id,
        "status": ConditionalState(conditional.state).name,
        "created_at_ns": conditional.insert_ns,
        "ended_at_ns": conditional.ended_ns or None,
        "result_order_id": order_id(conditional.order_id) if conditional.order_id else None,
        "error_code": conditional.code or None,
        "error_detail": conditional.detail or None,
    }


def settlement_body(result: DaySettled) -> dict[str, Any]:
    """A settled trading day. `total_profit` is zero: what one side of a market wins the other loses."""
    body: dict[str, Any] = {
        "settlement_date": day(result.trading_day),
        "status": "settled",
        "next_trading_day": day(result.next_trading_day),
        "total_accounts": result.accounts,
        "total_commission": money(result.commission_units),
        "total_profit": money(result.profit_units),
        "liquidations": result.liquidations,
    }
    return body | {"repeated": True} if result.repeated else body


def statement_body(statement: AccountSettled) -> dict[str, Any]:
    """One account's settled day, in money."""
    body: dict[str, Any] = {"account_id": statement.account_id, "trading_day": day(statement.trading_day)}
    for key in (
        "pre_balance", "deposit", "withdraw", "close_profit", "position_profit", "commission", "balance", "margin",
        "available",
    ):  # fmt: skip
        body[key] = money(getattr(statement, key))
    return body | {"risk_ratio": risk_ratio(statement.margin, statement.balance)}


def margin_body(margin: MarginFigures) -> dict[str, Any]:
    """What the position in one instrument asks for; `product_margin` is what counts of its product as a whole."""
    return {
        "instrument_id": margin.instrument_id,
        "product": margin.product,
        "margin_long": money(margin.long_units),
        "margin_short": money(margin.short_units),
        "product_margin": money(margin.product_units),
    }


def flow_body(flow: Flow) -> dict[str, Any]:
    """Money in or out of an account."""
    moved = flow.moved
    return {
        "account_id": moved.account_id,
        "transaction_type": FundsKind(moved.kind).name.lower(),
        "amount": money(moved.amount_units),
        "balance_after": money(moved.balance_units),
        "bank": moved.bank or None,
        "remark": moved.remark or None,
        "time_ns": flow.time_ns,
        "log_index": flow.index,
    }


def equity_curve_body(account: Account, curve: EquityCurve) -> dict[str, Any]:
    """The settled days of an account and what they come to; rates with four decimals, null without a base."""
    days = curve.profit_days + curve.loss_days
    return {
        "account_id": account.account_id,
        "points": [
            {
                "date": day(point.trading_day),
                "balance": money(point.balance),
                "daily_profit": money(point.profit),
                "daily_profit_rate": ratio(point.profit, point.base),
            }
            for point in curve.points
        ],
        "statistics": {
            "start_balance": money(curve.start_balance),
            "end_balance": money(curve.end_balance),
            "total_profit": money(curve.profit),
            "total_profit_rate": ratio(curve.profit, curve.start_balance),
            "max_drawdown": money(curve.drawdown),
            "max_drawdown_rate": ratio(curve.drawdown, curve.drawdown_peak),
            "profit_days": curve.profit_days,
            "loss_days": curve.loss_days,
            "win_rate": ratio(curve.profit_days, days),
        },
    }


def ratio(part: int, whole: int) -> Number | None:
    """part / whole with four decimals, half to even; None without a positive whole."""
    return money(half_even(part * RISK_RATIO_SCALE, whole)) if whole > 0 else None


def user_body(user: User) -> dict[str, Any]:
    return {"user_id": user.user_id, "username": user.username, "roles": role_names(user.roles)}
