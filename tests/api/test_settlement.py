"""A trading day over REST: conditional orders, settlement prices, settlement, statements."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import httpx
import pytest

from node.exchange.commands import AdvanceClock
from node.exchange.types import Role
from tests.api.exchange import COPPER, INDEX_FUTURE, Node, client, conditional, order
from tests.api.test_rest import exact

SUBMIT = "/api/order/submit"


@pytest.fixture
async def clerk(node: Node) -> str:
    """The user id of somebody who settles; the trading day is open."""
    user_id, _ = await node.add_trader("clerk", role=Role.SETTLEMENT, cash=0)
    await node.apply(AdvanceClock())
    return user_id


async def data_of(http: httpx.AsyncClient, path: str) -> Any:
    reply = await http.get(path)
    assert reply.status_code == 200, reply.text
    return exact(reply.content)["data"]


async def test_a_conditional_order_triggers_and_links_its_order(node: Node) -> None:
    alice, hers = await node.add_trader("alice")
    bob, his = await node.add_trader("bob")
    async with client(node, alice) as http, client(node, bob) as other:
        placed = (await http.post("/api/order/conditional", json=conditional(hers, client_order_id="c-1"))).json()
        number = placed["data"]["conditional_order_id"]
        assert (placed["data"]["status"], placed["data"]["trigger_price"]) == ("PENDING", 70_100)
        again = (await http.post("/api/order/conditional", json=conditional(hers, client_order_id="c-1"))).json()
        assert (again["data"]["conditional_order_id"], again["data"]["repeated"]) == (number, True)
        assert (await data_of(http, "/api/order/conditional/statistics"))["pending"] == 1
        assert (await other.post(SUBMIT, json=order(his, direction="SELL", price=70_100, volume=3))).status_code == 200
        await http.post(SUBMIT, json=order(hers, price=70_100))
        (shown,) = (await data_of(http, f"/api/order/conditional/list?account_id={hers}"))["orders"]
        assert shown["status"] == "TRIGGERED"
        result = await data_of(http, f"/api/order/{shown['result_order_id']}")
        assert (result["status"], result["source"], result["client_order_id"]) == ("Filled", "conditional", "c-1")


async def test_a_conditional_order_can_be_cancelled_once(node: Node) -> None:
    alice, hers = await node.add_trader("alice")
    async with client(node, alice) as http:
        placed = (await http.post("/api/order/conditional", json=conditional(hers))).json()["data"]
        path = f"/api/order/conditional/{placed['conditional_order_id']}"
        gone = await http.delete(path)
        assert (gone.status_code, gone.json()["data"]["status"]) == (200, "CANCELLED")
        late = await http.delete(path)
        assert (late.status_code, late.json()["error"]["code"]) == (422, 3007)


async def test_a_conditional_order_against_its_own_sense_is_refused_by_name(node: Node) -> None:
    alice, hers = await node.add_trader("alice")
    async with client(node, alice) as http:
        for change, says in (
            ({"limit_price": None}, "limit_price"),
            ({"trigger_price": 70_005}, "70000 and 70010"),
            ({"condition_type": "STOP_LOSS", "trigger_condition": "LE"}, "STOP_LOSS"),
            ({"volume": 0}, "volume"),
        ):
            body = {key: value for key, value in conditional(hers, **change).items() if value is not None}
            reply = await http.post("/api/order/conditional", json=body)
            assert reply.status_code in (400, 422) and says in reply.json()["error"]["message"], reply.text


async def test_a_day_is_settled_and_every_account_has_its_statement(node: Node, clerk: str) -> None:
    alice, hers = await node.add_trader("alice")
    bob, his = await node.add_trader("bob")
    async with client(node, alice) as http, client(node, bob) as other, client(node, clerk) as office:
        assert (await other.post(SUBMIT, json=order(his, direction="SELL", volume=2))).status_code == 200
        assert (await http.post(SUBMIT, json=order(hers, volume=2))).json()["data"]["status"] == "Filled"
        margin = await data_of(http, f"/api/account/{hers}/margin")
        assert (margin["margin"], margin["positions"][0]["product_margin"]) == (70_000, 70_000)
        shown = await data_of(http, f"/api/market/instrument/{COPPER}")
        assert (shown["average_price"], shown["turnover"], shown["settlement"]) == (70_000, 700_000, None)
        session = await data_of(office, "/admin/session")
        today = session["trading_day"]
        prices = {"prices": [{"instrument_id": COPPER, "settlement_price": 70_200}], "trading_day": today}
        assert (await office.post("/admin/settlement/batch-set-prices", json=prices)).json()["data"]["count"] == 1
        assert (await data_of(http, f"/api/market/instrument/{COPPER}"))["settlement"] == 70_200
        settled = (await office.post("/admin/settlement/execute", json={"trading_day": today})).json()["data"]
        assert (settled["status"], settled["total_accounts"]) == ("settled", len(node.machine.accounts))
        again = (await office.post("/admin/settlement/execute", json={"trading_day": today})).json()["data"]
        assert again == settled | {"repeated": True}
        assert (await data_of(office, "/admin/session"))["trading_day"] == settled["next_trading_day"]
        assert (await data_of(office, f"/admin/settlement/result/{today}"))["total_profit"] == 0
        assert (await data_of(office, "/admin/settlement/history"))["total"] == 1

        statement = await data_of(http, f"/api/account/{hers}/statement/{today}")
        assert (statement["position_profit"], statement["commission"]) == (2_000, 35)  # domain.md 9, example 2
        assert statement["balance"] == 10_001_965
        curve = await data_of(http, f"/api/account/{hers}/equity-curve")
        assert curve["points"] == [
            {"date": today, "balance": 10_001_965, "daily_profit": 1_965, "daily_profit_rate": Decimal("0.0002")}
        ]
        assert (curve["statistics"]["win_rate"], curve["statistics"]["max_drawdown"]) == (1, 0)
        assert (await data_of(http, f"/api/account/{hers}/transactions"))["records"][0]["amount"] == 10_000_000
        assert (await data_of(http, f"/api/account/{hers}/transfers"))["total"] == 0
        document = await data_of(http, f"/api/account/{hers}/qifi")
        assert document["accounts"]["pre_balance"] == 10_001_965
        missing = await http.get(f"/api/account/{hers}/statement/2020-01-01")
        assert (missing.status_code, missing.json()["error"]["code"]) == (404, 9013)


async def test_a_wrong_settlement_names_what_is_wrong(node: Node, clerk: str) -> None:
    async with client(node, clerk) as office:
        for path, body, status, code in (
            ("set-price", {"instrument_id": COPPER, "settlement_price": 70_005}, 422, 1009),
            ("set-price", {"instrument_id": COPPER, "settlement_price": 99_000}, 422, 6006),
            ("set-price", {"instrument_id": "SHFE.xx2701", "settlement_price": 1}, 404, 1007),
            ("set-price", {"instrument_id": INDEX_FUTURE.instrument_id, "settlement_price": -1}, 422, 6006),
            ("execute", {"trading_day": "2020-01-02"}, 409, 6004),
            ("execute", {"trading_day": "tomorrow"}, 400, 9003),
            ("execute", {}, 400, 9003),
        ):
            reply = await office.post(f"/admin/settlement/{path}", json=body)
            assert (reply.status_code, reply.json()["error"]["code"]) == (status, code), reply.text


async def test_a_trader_settles_nothing(node: Node, clerk: str) -> None:
    alice, _ = await node.add_trader("alice")
    async with client(node, alice) as http:
        for path in ("set-price", "batch-set-prices", "execute"):
            assert (await http.post(f"/admin/settlement/{path}", json={})).status_code == 403
        for path in ("settlement/history", "settlement/result/2026-11-23", "session"):
            assert (await http.get(f"/admin/{path}")).status_code == 403
