"""domain.md 9: the account figures of the worked examples, to the last unit."""

from __future__ import annotations

from node.exchange.queries import account_figures, position_figures, statements
from tests.exchange.driver import BUY, CLOSE, CLOSETODAY, SELL, YUAN, Driver, copper, index_future, trades


def test_copper_open_three_and_close_two_of_today() -> None:
    exchange = Driver(copper())
    trader, other = exchange.account(), exchange.account()
    exchange.place(other, SELL, 3, 7_000)
    assert trades(exchange.place(trader, BUY, 3, 7_000)) == [(7_000, 3)]
    account = exchange.machine.accounts[trader]
    figures = account_figures(account)
    assert figures.margin == 105_000 * YUAN
    assert figures.commission == 525_000
    assert figures.balance == 99_999_475_000
    assert figures.available == 98_949_475_000

    exchange.place(other, BUY, 2, 7_010)
    third = exchange.account()
    exchange.place(third, SELL, 1, 7_010)  # moves the last price to 70 100
    assert account_figures(account).position_profit == 1_500 * YUAN
    exchange.place(third, BUY, 1, 7_010)
    exchange.place(trader, SELL, 2, 7_010, offset=CLOSETODAY)
    figures = account_figures(account)
    assert figures.close_profit == 1_000 * YUAN
    assert figures.commission == 875_000
    assert figures.position_profit == 500 * YUAN
    assert figures.balance == 100_014_125_000
    assert figures.margin == 35_000 * YUAN
    assert figures.available == 99_664_125_000


def test_copper_held_over_a_settlement_is_history_at_the_settlement_price() -> None:
    exchange = Driver(copper())
    exchange.begin_day()
    trader, other = exchange.account(), exchange.account()
    exchange.place(other, SELL, 2, 7_000)
    exchange.place(trader, BUY, 2, 7_000)
    exchange.settle({"SHFE.cu2701": 7_020})
    account = exchange.machine.accounts[trader]
    figures = account_figures(account)
    assert figures.pre_balance == figures.balance == 100_019_650_000  # 10 000 000 - 35 + 2 000
    assert (figures.float_profit, figures.position_profit) == (2_000 * YUAN, 0)
    (statement,) = statements(account)
    assert (statement.pre_balance, statement.deposit, statement.withdraw) == (0, 10_000_000 * YUAN, 0)
    assert (statement.close_profit, statement.position_profit, statement.commission) == (0, 2_000 * YUAN, 35 * YUAN)
    assert (statement.balance, statement.margin, statement.available) == (
        100_019_650_000,
        70_000 * YUAN,
        100_019_650_000 - 70_000 * YUAN,
    )

    exchange.place(other, SELL, 1, 7_030)
    exchange.place(trader, BUY, 1, 7_030)
    exchange.place(other, BUY, 1, 7_040, offset=CLOSE)
    exchange.place(trader, SELL, 1, 7_040, offset=CLOSE)  # SHFE: history alone
    figures = account_figures(account)
    assert figures.close_profit == 1_000 * YUAN
    assert figures.position_profit == 1_500 * YUAN
    side = position_figures(account.positions["SHFE.cu2701"]).long
    assert (side.volume_today, side.volume_his) == (1, 1)
    assert side.position_cost_ticks == 7_020 + 7_030
    assert side.open_cost_ticks == 7_000 + 7_030
    assert figures.commission == 2 * 175_000
    assert figures.balance == 100_019_650_000 + 2_500 * YUAN - 350_000


def test_index_future_with_margin_by_money_and_a_dear_close_today() -> None:
    exchange = Driver(index_future())
    trader, other = exchange.account(), exchange.account()
    name = "CFFEX.IF2701"
    exchange.place(other, SELL, 1, 19_000, instrument=name)
    exchange.place(trader, BUY, 1, 19_000, instrument=name)
    figures = account_figures(exchange.machine.accounts[trader])
    assert figures.margin == 136_800 * YUAN
    assert figures.commission == 262_200
    exchange.place(other, BUY, 1, 19_005, instrument=name)
    exchange.place(trader, SELL, 1, 19_005, instrument=name, offset=CLOSE)  # today's lots: the close-today fee
    figures = account_figures(exchange.machine.accounts[trader])
    assert figures.close_profit == 300 * YUAN
    assert figures.commission == 262_200 + 3_934_035
    assert figures.margin == 0


def test_the_larger_side_of_a_product_makes_the_margin() -> None:
    exchange = Driver(copper(), copper("SHFE.cu2702"))
    trader, other = exchange.account(), exchange.account()
    exchange.place(other, SELL, 2, 7_000)
    exchange.place(trader, BUY, 2, 7_000)
    exchange.place(other, BUY, 1, 7_000, instrument="SHFE.cu2702")
    exchange.place(trader, SELL, 1, 7_000, instrument="SHFE.cu2702")
    account = exchange.machine.accounts[trader]
    assert account_figures(account).margin == 70_000 * YUAN
    assert position_figures(account.positions["SHFE.cu2702"]).short.margin == 35_000 * YUAN


def test_margin_rule_sum_counts_both_sides() -> None:
    exchange = Driver(copper(margin_rule=1))
    trader, other = exchange.account(), exchange.account()
    exchange.place(other, SELL, 2, 7_000)
    exchange.place(trader, BUY, 2, 7_000)
    exchange.place(other, BUY, 1, 7_000)
    exchange.place(trader, SELL, 1, 7_000)
    assert account_figures(exchange.machine.accounts[trader]).margin == 105_000 * YUAN
