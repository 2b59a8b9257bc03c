"""Figures that people ask for, computed from the state (domain.md 5 and 6). Read only; integers in money units."""

from __future__ import annotations

from typing import NamedTuple

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
