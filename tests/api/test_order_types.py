"""The kinds of orders and what the log does to them, as a client of the front door sees it."""

from __future__ import annotations

from typing import Any

from node.exchange.commands import AdvanceClock, SetRoles, SetSettlementPrices, SettleDay
from node.exchange.types import Role
from tests.api.exchange import COPPER, Node, client, order
from tests.api.sockets import Trader


async def submit(http: Any, account: str, **changes: Any) -> dict[str, Any]:
    body = {key: value for key, value in order(account, **changes).items() if value is not None}
    reply = await http.post("/api/order/submit", json=body)
    assert reply.status_code == 200, reply.text
    data: dict[str, Any] = reply.json()["data"]
    return data


async def test_every_price_type_trades_over_rest(node: Node) -> None:
    alice, maker = await node.add_trader("alice")
    bob, taker = await node.add_trader("bob")
    async with client(node, alice) as resting, client(node, bob) as http:
        for price in (70_000, 70_010, 70_020):
            await submit(resting, maker, direction="SELL", price=price, volume=2)
        market = await submit(http, taker, price_type="MARKET", price=None, volume=3)
        assert (market["status"], market["filled_volume"]) == ("Filled", 3)
        assert [trade["price"] for trade in market["trades"]] == [70_000, 70_010]
        best = await submit(http, taker, price_type="BEST", price=None, volume=2)
        assert (best["status"], best["filled_volume"], best["volume_left"]) == ("PartiallyFilled", 1, 1)
        shown = (await http.get(f"/api/order/{best['order_id']}")).json()["data"]
        assert (shown["price_type"], shown["price"], shown["source"]) == ("BEST", 70_010, "client")
        five = await submit(http, taker, price_type="FIVELEVEL", price=None, volume=9, time_condition="IOC")
        assert (five["status"], five["filled_volume"], five["cancel_reason"]) == ("Cancelled", 2, "ioc_remainder")
        nothing = await submit(http, taker, price_type="MARKET", price=None, volume=1)
        assert (nothing["status"], nothing["filled_volume"]) == ("Cancelled", 0)
        shown = (await http.get(f"/api/order/{nothing['order_id']}")).json()["data"]
        assert shown["price"] is None


async def test_a_settlement_ends_the_orders_of_the_day_and_tells_their_owner(node: Node) -> None:
    alice, account = await node.add_trader("alice")
    await node.apply(AdvanceClock())
    today = node.machine.trading_day
    async with Trader.connect(node, alice) as trader:
        day = (await trader.ask(type="submit_order", **order(account)))["data"]["order_id"]
        kept = (await trader.ask(type="submit_order", **order(account, time_condition="GTC")))["data"]["order_id"]
        await node.apply(SetSettlementPrices(today, [(COPPER, 7_010)]), SettleDay(today))
        assert node.machine.trading_day > today
        ended = (await trader.ask(type="query_order", account_id=account, order_id=day))["data"]
        assert (ended["status"], ended["cancel_reason"], ended["qifi_status"]) == ("Expired", "day_end", "FINISHED")
        alive = (await trader.ask(type="query_order", account_id=account, order_id=kept))["data"]
        assert (alive["status"], alive["time_condition"]) == ("Accepted", "GTC")
        funds = (await trader.ask(type="query_account", account_id=account))["data"]
        assert funds["deposit"] == 0 and funds["pre_balance"] == 10_000_000
        pushed = [message for message in trader.pushed if message["type"] == "order_status"]
        assert any(message["order_id"] == day and message["status"] == "Expired" for message in pushed)


async def test_new_roles_close_the_sockets_of_their_user(node: Node) -> None:
    alice, _ = await node.add_trader("alice")
    async with Trader.connect(node, alice) as trader:
        await node.apply(SetRoles(alice, int(Role.ANALYST)))
        assert await trader.closed() == 4403
