"""The QIFI document of an account: its keys, its own arithmetic, and exact numbers."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from api import qifi, render
from node.exchange import commands
from node.market.tape import Tape
from tests.exchange.driver import BUY, CLOSE, CLOSETODAY, SELL, YUAN, Driver, copper, index_future

# reference-system.md 2.3.1, 2.3.2, 2.4, 2.5, 2.6, word for word
ACCOUNT = """user_id currency pre_balance deposit withdraw WithdrawQuota close_profit commission premium static_balance
position_profit float_profit balance margin frozen_margin frozen_commission frozen_premium available risk_ratio"""
DOCUMENT = """databaseip account_cookie password portfolio broker_name capital_password bank_password bankid
investor_name money pub_host settlement taskid trade_host updatetime wsuri bankname trading_day status accounts banks
event orders positions trades transfers ping_gap eventmq_ip"""
POSITION = """user_id exchange_id instrument_id
volume_long_today volume_long_his volume_long volume_long_frozen_today volume_long_frozen_his volume_long_frozen
volume_short_today volume_short_his volume_short volume_short_frozen_today volume_short_frozen_his volume_short_frozen
volume_long_yd volume_short_yd pos_long_his pos_long_today pos_short_his pos_short_today
open_price_long open_price_short open_cost_long open_cost_short
position_price_long position_price_short position_cost_long position_cost_short
last_price float_profit_long float_profit_short float_profit
position_profit_long position_profit_short position_profit margin_long margin_short margin"""
ORDER = """seqno user_id order_id exchange_id instrument_id direction offset volume_orign price_type limit_price
time_condition volume_condition insert_date_time exchange_order_id status volume_left last_msg"""
TRADE = """seqno user_id trade_id exchange_id instrument_id order_id exchange_trade_id direction offset volume price
trade_date_time commission"""
TRANSFER = "datetime currency amount error_id error_msg"
BANK = "id name bank_account fetch_amount qry_count"
TEXTS = {"user_id", "currency", "exchange_id", "instrument_id", "order_id", "trade_id", "direction", "offset", "status"}


class Exchange(Driver):
    """A driver whose tape sees every entry, as in a node."""

    def __init__(self, *instruments: commands.ListInstrument) -> None:
        self.tape = Tape()
        super().__init__(*instruments)

    def do(self, command: commands.Command, *, time_ns: int | None = None) -> list[Any]:
        events = super().do(command, time_ns=time_ns)
        self.tape.observe(self.machine.index, self.machine.time_ns, [events])
        return events

    def document(self, account_id: str, **limits: int) -> dict[str, Any]:
        return qifi.document(self.machine, self.tape, self.machine.accounts[account_id], **limits)


def busy() -> tuple[Exchange, str]:
    """A trader with history, lots of today, a working opening order and a working close, and bank transfers."""
    exchange = Exchange(copper(), index_future())
    exchange.begin_day()
    trader, other = exchange.account(), exchange.account()
    for name, price in (("SHFE.cu2701", 7_000), ("CFFEX.IF2701", 19_000)):
        exchange.place(other, SELL, 3, price, instrument=name)
        exchange.place(trader, BUY, 3, price, instrument=name)
    exchange.settle({"cu2701": 7_020, "IF2701": 19_001})
    exchange.do(commands.Deposit(trader, 1_000 * YUAN, bank="ICBC"))
    exchange.do(commands.Withdraw(trader, 123_4567, bank="ICBC"))
    exchange.place(other, SELL, 1, 7_030)
    exchange.place(trader, BUY, 1, 7_030)
    exchange.place(other, BUY, 1, 7_040, offset=CLOSE)
    exchange.place(trader, SELL, 1, 7_040, offset=CLOSE)
    exchange.place(trader, SELL, 1, 7_100, offset=CLOSETODAY)
    exchange.place(trader, BUY, 2, 6_950)
    exchange.place(trader, BUY, 1, 18_900, instrument="CFFEX.IF2701", time_condition=1)
    return exchange, trader


def test_the_document_and_its_parts_have_exactly_the_keys_of_qifi() -> None:
    exchange, trader = busy()
    document = exchange.document(trader)
    assert sorted(document) == sorted(DOCUMENT.split())
    assert sorted(document["accounts"]) == sorted(ACCOUNT.split())
    for part, keys in (
        ("positions", POSITION),
        ("orders", ORDER),
        ("trades", TRADE),
        ("transfers", TRANSFER),
        ("banks", BANK),
    ):
        assert document[part], part
        for body in document[part].values():
            assert sorted(body) == sorted(keys.split()), part


def test_the_funds_of_the_document_add_up() -> None:
    """QIFI's own formulas, on the numbers of the document."""
    exchange, trader = busy()
    funds = exchange.document(trader)["accounts"]
    assert funds["static_balance"] == funds["pre_balance"] + funds["deposit"] - funds["withdraw"]
    assert funds["balance"] == (
        funds["static_balance"] + funds["close_profit"] + funds["position_profit"] - funds["commission"]
    )
    frozen = funds["frozen_margin"] + funds["frozen_commission"] + funds["frozen_premium"]
    assert frozen > 0
    assert funds["available"] == funds["balance"] - funds["margin"] - frozen
    assert abs(funds["risk_ratio"] - Decimal(funds["margin"]) / Decimal(funds["balance"])) <= Decimal("0.00005")
    assert funds["deposit"] == 1_000
    assert funds["withdraw"] == Decimal("123.4567")


def test_the_positions_of_the_document_add_up_to_its_funds() -> None:
    exchange, trader = busy()
    document = exchange.document(trader)
    positions = document["positions"]
    assert list(positions) == ["SHFE.cu2701", "CFFEX.IF2701"]
    for key in ("position_profit", "float_profit"):
        assert sum(body[key] for body in positions.values()) == document["accounts"][key]
    assert sum(body["margin"] for body in positions.values()) == document["accounts"]["margin"]
    for body in positions.values():
        for side in ("long", "short"):
            assert body[f"volume_{side}"] == body[f"volume_{side}_today"] + body[f"volume_{side}_his"]
            assert body[f"volume_{side}_frozen"] <= body[f"volume_{side}"]
    copper_body = positions["SHFE.cu2701"]
    assert (copper_body["exchange_id"], copper_body["instrument_id"]) == ("SHFE", "cu2701")
    assert (copper_body["volume_long_his"], copper_body["volume_long_today"]) == (2, 1)
    assert copper_body["volume_long_frozen_today"] == 1
    assert copper_body["position_cost_long"] == (2 * 70_200 + 70_300) * 5
    assert copper_body["open_cost_long"] == (2 * 70_000 + 70_300) * 5
    assert copper_body["open_price_long"] == 70_100
    assert copper_body["open_price_short"] == 0


def test_every_figure_is_an_exact_json_number() -> None:
    exchange, trader = busy()
    encoded = render.encode(exchange.document(trader))
    plain = msgspec.json.decode(encoded)
    for key, value in plain["accounts"].items():
        assert isinstance(value, str if key in ("user_id", "currency") else int | float), key
    for body in plain["positions"].values():
        for key, value in body.items():
            assert isinstance(value, str if key in TEXTS else int | float), key
    assert b'"withdraw":123.4567,' in encoded


def test_the_orders_are_live_ones_and_the_newest_finished_ones() -> None:
    exchange, trader = busy()
    orders = exchange.document(trader)["orders"]
    assert list(orders) == sorted(orders)
    alive = [body for body in orders.values() if body["status"] == "ALIVE"]
    assert [(body["direction"], body["offset"], body["volume_left"]) for body in alive] == [
        ("SELL", "CLOSETODAY", 1),
        ("BUY", "OPEN", 2),
    ]
    assert alive[0]["limit_price"] == 71_000
    assert alive[0]["last_msg"] == "已报"
    ended = list(orders.values())[-1]
    assert (ended["status"], ended["time_condition"], ended["last_msg"]) == (
        "FINISHED",
        "IOC",
        "已撤单: ioc_remainder",
    )
    assert len(exchange.document(trader, orders_max=0)["orders"]) == 2
    assert len(exchange.document(trader, orders_max=1)["orders"]) == 3


def test_a_trade_shows_the_accounts_own_side_and_nothing_of_the_other() -> None:
    exchange, trader = busy()
    trades = exchange.document(trader)["trades"]
    assert [(body["exchange_id"], body["direction"], body["offset"], body["price"]) for body in trades.values()] == [
        ("SHFE", "BUY", "OPEN", 70_000),
        ("CFFEX", "BUY", "OPEN", 3_800),
        ("SHFE", "BUY", "OPEN", 70_300),
        ("SHFE", "SELL", "CLOSE", 70_400),
    ]
    assert "SHFE.T0000000001" in trades
    assert "CFFEX.T0000000001" in trades  # ids are dense per exchange: the exchange is part of the key
    assert list(trades.values())[1]["commission"] == Decimal("78.66")
    other = next(a for a in exchange.machine.accounts if a != trader)
    encoded = render.encode(trades)
    assert other.encode() not in encoded


def test_the_document_holds_no_secret() -> None:
    exchange, trader = busy()
    document = exchange.document(trader)
    for key in ("password", "capital_password", "bank_password"):
        assert document[key] == ""
    assert b"$2b$" not in render.encode(document)


def test_identity_day_and_time_are_those_of_the_state() -> None:
    exchange, trader = busy()
    document = exchange.document(trader)
    assert document["account_cookie"] == document["accounts"]["user_id"] == trader
    assert document["portfolio"] == exchange.machine.accounts[trader].user.user_id
    assert document["trading_day"] == "20261124"
    assert document["updatetime"].startswith("2026-11-23 10:00:00.")
    assert document["money"] == document["accounts"]["available"]
    assert [body["amount"] for body in document["transfers"].values()] == [1_000, Decimal("-123.4567")]
    assert list(document["banks"]) == ["ICBC"]


@pytest.mark.parametrize("cash", [0, 100_000])
def test_an_account_without_trades_has_a_whole_document(cash: int) -> None:
    exchange = Exchange(copper())
    account_id = exchange.account(cash)
    document = exchange.document(account_id)
    assert sorted(document) == sorted(DOCUMENT.split())
    assert document["accounts"]["balance"] == document["accounts"]["WithdrawQuota"] == cash
    assert document["accounts"]["risk_ratio"] == 0
    assert document["positions"] == document["orders"] == document["trades"] == document["transfers"] == {}
    assert document["trading_day"] == ""


def test_margin_without_a_balance_is_a_number_far_above_every_threshold() -> None:
    exchange = Exchange(copper(margin_long_amount=100 * YUAN))
    exchange.begin_day()
    trader, other = exchange.account(1_000), exchange.account()
    exchange.place(other, SELL, 3, 7_000)
    exchange.place(trader, BUY, 3, 7_000)
    exchange.settle({"cu2701": 6_900})
    funds = exchange.document(trader)["accounts"]
    assert funds["balance"] < 0 < funds["margin"]
    assert funds["risk_ratio"] == 999
