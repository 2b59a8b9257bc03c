"""Figures that people ask for, computed from the state (domain.md 5 and 6). Read only; integers in money units."""

from __future__ import annotations

from typing import NamedTuple

from node.exchange.codec import decode_events
from node.exchange.events import AccountSettled
from node.exchange.ledger import Account
from node.exchange.positions import Position, PositionSide


class AccountFigures(NamedTuple):
    """An account at the last prices. `risk_ratio = margin / balance` is computed at the edge."""

    pre_balance: int
    deposit: int
    withdraw: int
    static_balance: int
    close_profit: int
    position_profit: int
    float_profit: int
    commission: int
    premium: int
    balance: int
    margin: int
    frozen_margin: int
    frozen_commission: int
    frozen_premium: int
    available: int
    withdraw_quota: int


class SideFigures(NamedTuple):
    """One side of a position: volumes in lots, costs in ticks * lots, money in units. Volume includes frozen lots."""

    volume_today: int
    volume_his: int
    frozen_today: int
    frozen_his: int
    open_cost_ticks: int
    position_cost_ticks: int
    float_profit: int
    position_profit: int
    margin: int

    @property
    def volume(self) -> int:
        return self.volume_today + self.volume_his


class PositionFigures(NamedTuple):
    """Both sides of one instrument in one account, at the last price."""

    instrument_id: str
    last_ticks: int
    long: SideFigures
    short: SideFigures


def account_figures(account: Account) -> AccountFigures:
    """The funds of an account. O(positions)."""
    float_profit = 0
    for position in account.positions.values():
        figures = position_figures(position)
        float_profit += figures.long.float_profit + figures.short.float_profit
    static = account.pre_balance + account.deposit - account.withdraw
    return AccountFigures(
        pre_balance=account.pre_balance,
        deposit=account.deposit,
        withdraw=account.withdraw,
        static_balance=static,
        close_profit=account.close_profit,
        position_profit=account.position_profit(),
        float_profit=float_profit,
        commission=account.commission,
        premium=0,  # futures only: options bring premiums
        balance=account.balance(),
        margin=account.margin,
        frozen_margin=account.frozen_margin,
        frozen_commission=account.frozen_fee,
        frozen_premium=0,
        available=account.available(),
        withdraw_quota=account.withdrawable(),
    )


def position_figures(position: Position) -> PositionFigures:
    instrument = position.instrument
    last, value = instrument.last_ticks, instrument.tick_value
    return PositionFigures(
        instrument.instrument_id,
        last,
        _side_figures(position.long, last, value),
        _side_figures(position.short, last, value),
    )


def _side_figures(side: PositionSide, last: int, value: int) -> SideFigures:
    volume = side.today + side.his
    open_cost = side.today_cost + side.his_open_cost
    cost = side.today_cost + side.his_cost
    return SideFigures(
        side.today,
        side.his,
        side.frozen_today,
        side.frozen_his,
        open_cost,
        cost,
        side.direction * (last * volume - open_cost) * value,
        side.direction * (last * volume - cost) * value,
        side.margin,
    )


class MarginFigures(NamedTuple):
    """What an account's position in one instrument asks for, in money units.

    Sides of one product may be offset against each other: `product_units` is what counts of the product as a whole
    (domain.md 5), and the account's margin is their sum over the products.
    """

    instrument_id: str
    product: str  # EXCHANGE.product
    long_units: int
    short_units: int
    product_units: int


def margin_figures(account: Account) -> list[MarginFigures]:
    """One row per instrument of an account, in the order in which its positions were opened."""
    return [
        MarginFigures(
            instrument_id,
            position.instrument.product_key,
            position.long.margin,
            position.short.margin,
            position.product.counted,
        )
        for instrument_id, position in account.positions.items()
    ]


def statements(account: Account) -> list[AccountSettled]:
    """The kept daily statements of an account, oldest first."""
    kept = [event for encoded in account.statements for event in decode_events(encoded)]
    return [event for event in kept if isinstance(event, AccountSettled)]


class EquityPoint(NamedTuple):
    """One settled day. `profit` is what trading brought, fees paid; money in and out is no profit.

    `base` is what it was earned on (the balance before it, with the day's flows): profit / base is the day's return.
    """

    trading_day: int
    balance: int
    profit: int
    base: int


class EquityCurve(NamedTuple):
    """The settled days of an account, oldest first, and their sums, in money units (reference-system.md 5.6).

    `drawdown` is the deepest fall of the sum of profits below its highest point before, `drawdown_peak` the balance
    that the account would have had at the bottom without that fall: their ratio is the maximum drawdown rate.
    """

    points: list[EquityPoint]
    start_balance: int  # before the first point
    end_balance: int
    profit: int
    profit_days: int
    loss_days: int  # the other days brought nothing
    drawdown: int
    drawdown_peak: int


def equity_curve(account: Account) -> EquityCurve:
    """From the kept statements; without any, the account as it is now. O(statements)."""
    points: list[EquityPoint] = []
    total = highest = drawdown = drawdown_peak = profit_days = loss_days = 0
    for day in statements(account):
        profit = day.close_profit + day.position_profit - day.commission
        points.append(EquityPoint(day.trading_day, day.balance, profit, day.pre_balance + day.deposit - day.withdraw))
        profit_days += profit > 0
        loss_days += profit < 0
        total += profit
        highest = max(highest, total)
        if highest - total > drawdown:
            drawdown = highest - total
            drawdown_peak = day.balance + drawdown
    return EquityCurve(
        points,
        points[0].base if points else account.pre_balance,
        points[-1].balance if points else account.pre_balance,
        total,
        profit_days,
        loss_days,
        drawdown,
        drawdown_peak,
    )
