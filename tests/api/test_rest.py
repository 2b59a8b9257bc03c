"""Every route, over real sockets, against a real exchange of one node."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import trio

from tests.api.exchange import COPPER, PASSWORD, Node, client, order


def exact(text: bytes) -> Any:
    """JSON with its decimals as they were written."""
    return msgspec.json.Decoder(float_hook=Decimal).decode(text)


async def test_a_newcomer_registers_logs_in_opens_funds_and_logs_out(node: Node) -> None:
    async with client(node) as http:
        reply = await http.post("/api/auth/register", json={"username": "carol", "password": PASSWORD})
        assert reply.status_code == 200, reply.text
        body = reply.json()
        assert body["data"]["roles"] == ["Trader"]
        assert "no account was opened" in body["data"]["message"]
        assert body["receipt"]["log_index"] == node.machine.index
        assert body["receipt"]["state_hash"] == node.machine.digest().hex()

        wrong = await http.post("/api/auth/login", json={"username": "carol", "password": "something else"})
        unknown = await http.post("/api/auth/login", json={"username": "nobody", "password": "something else"})
        assert wrong.status_code == unknown.status_code == 401
        assert wrong.json()["error"] == unknown.json()["error"]
        assert wrong.json()["error"]["code"] == 9001

        login = (await http.post("/api/auth/login", json={"username": "carol", "password": PASSWORD})).json()["data"]
        assert set(login) == {"token", "user_id", "username", "roles", "permissions", "expires_at"}
        http.headers["Authorization"] = f"Bearer {login['token']}"
        me = (await http.get("/api/auth/me")).json()["data"]
        assert (me["user_id"], me["accounts"]) == (login["user_id"], [])

        opening = {"account_name": "first", "init_cash": 1000.5, "request_id": "open-1"}
        opened = (await http.post("/api/account/open", json=opening)).json()
        account_id = opened["data"]["account_id"]
        again = (await http.post("/api/account/open", json=opening)).json()
        assert again["data"]["account_id"] == account_id
        assert again["receipt"]["log_index"] == opened["receipt"]["log_index"]
        account = exact((await http.get(f"/api/account/{account_id}")).content)["data"]
        assert account["balance"] == Decimal("1000.5")

        assert (await http.post("/api/auth/logout")).status_code == 200
        dead = await http.get("/api/auth/me")
        assert (dead.status_code, dead.json()["error"]["name"]) == (401, "TOKEN_REVOKED")


async def test_a_taken_name_is_a_conflict_and_a_repeated_registration_is_not(node: Node) -> None:
    async with client(node) as http:
        body = {"username": "dave", "password": PASSWORD, "request_id": "r1"}
        first = await http.post("/api/auth/register", json=body)
        again = await http.post("/api/auth/register", json=body)
        assert first.json()["data"]["user_id"] == again.json()["data"]["user_id"]
        assert again.json()["data"]["repeated"] is True
        other = await http.post("/api/auth/register", json=body | {"request_id": ""})
        assert (other.status_code, other.json()["error"]["code"]) == (409, 2008)


async def test_bad_passwords_are_refused_before_they_are_hashed(node: Node) -> None:
    async with client(node) as http:
        for password in ("short", "x" * 73, "汉" * 25, "nul\0nul\0nul"):
            reply = await http.post("/api/auth/register", json={"username": "eve", "password": password})
            assert reply.status_code == 400, password
            assert "password" in reply.json()["error"]["message"]


async def test_a_log_in_does_not_stop_the_exchange(node: Node) -> None:
    async with client(node) as http, trio.open_nursery() as nursery:
        finished = trio.Event()

        async def log_in() -> None:
            await http.post("/api/auth/login", json={"username": "nobody", "password": "x" * 20})
            finished.set()

        nursery.start_soon(log_in)
        answered = 0
        while not finished.is_set():
            assert (await http.get("/livez")).status_code == 200
            answered += 1
        assert answered >= 3


async def test_deposit_and_withdraw_move_exact_amounts_once(node: Node) -> None:
    alice, account_id = await node.add_trader("alice", cash=0)
    async with client(node, alice) as http:
        money = {"account_id": account_id, "amount": 100.0001, "request_id": "d1"}
        first = (await http.post("/api/account/deposit", json=money)).json()
        again = (await http.post("/api/account/deposit", json=money)).json()
        assert first["data"] == {
            "account_id": account_id, "kind": "deposit", "amount": 100.0001, "balance": 100.0001,
        }  # fmt: skip
        assert again["data"]["repeated"] is True
        assert again["receipt"] == first["receipt"]
        reused = await http.post("/api/account/deposit", json=money | {"amount": 1})
        assert (reused.status_code, reused.json()["error"]["code"]) == (409, 3004)
        too_much = await http.post("/api/account/withdraw", json={"account_id": account_id, "amount": 100.0002})
        assert (too_much.status_code, too_much.json()["error"]["code"]) == (422, 2004)
        assert too_much.json()["error"]["outcome"] == "not_executed"
        assert (await http.post("/api/account/withdraw", json=money | {"request_id": "w1"})).status_code == 200
        for amount in (0, -1):
            reply = await http.post("/api/account/deposit", json={"account_id": account_id, "amount": amount})
            assert (reply.status_code, reply.json()["error"]["code"]) == (422, 2006)


async def test_an_order_lives_and_every_query_shows_it(node: Node) -> None:
    alice, account_id = await node.add_trader("alice")
    async with client(node, alice) as http:
        submitted = (
            await http.post("/api/order/submit", json=order(account_id, volume=5, client_order_id="c1"))
        ).json()
        order_id = submitted["data"]["order_id"]
        assert (order_id, submitted["data"]["status"]) == ("O0000000001", "Accepted")
        for path in (f"/api/order/{order_id}", f"/api/order/by-client-id/{account_id}/c1"):
            shown = (await http.get(path)).json()["data"]
            assert (shown["order_id"], shown["qifi_status"], shown["price"], shown["volume_left"]) == (
                order_id, "ALIVE", 70_000, 5,
            )  # fmt: skip
        for path in (f"/api/order/user/{alice}", f"/api/order/account/{account_id}"):
            page = (await http.get(path, params={"alive": "true", "instrument_id": "cu2701"})).json()["data"]
            assert (page["total"], page["page"], page["page_size"]) == (1, 1, 50)
            assert page["orders"][0]["order_id"] == order_id
            assert (await http.get(path, params={"end_ns": "1"})).json()["data"]["total"] == 0

        change = {"account_id": account_id, "price": 70_010, "volume": 4}
        modified = (await http.put(f"/api/order/modify/{order_id}", json=change)).json()["data"]
        assert (modified["status"], modified["volume_left"]) == ("Accepted", 4)
        gone = (await http.post("/api/order/cancel", json={"account_id": account_id, "order_id": order_id})).json()
        assert (gone["data"]["status"], gone["data"]["cancel_reason"]) == ("Cancelled", "by_client")
        late = await http.post("/api/order/cancel", json={"account_id": account_id, "order_id": order_id})
        assert (late.status_code, late.json()["error"]["code"]) == (422, 3002)
        assert (await http.get(f"/api/order/{order_id}")).json()["data"]["qifi_status"] == "FINISHED"


async def test_a_trade_shows_everywhere_and_nothing_of_the_other_side(node: Node) -> None:
    alice, ours = await node.add_trader("alice")
    bob, theirs = await node.add_trader("bob")
    async with client(node, alice) as http, client(node, bob) as other:
        await other.post("/api/order/submit", json=order(theirs, direction="SELL", volume=2))
        taken = (await http.post("/api/order/submit", json=order(ours, volume=3, price=70_100))).json()["data"]
        assert (taken["status"], taken["filled_volume"], taken["volume_left"]) == ("PartiallyFilled", 2, 1)
        assert (taken["average_price"], len(taken["trades"])) == (70_000, 1)
        trades = (await http.get(f"/api/trades/account/{ours}")).json()["data"]
        assert trades["total"] == 1
        trade = trades["trades"][0]
        assert trade["commission"] == 35 and trade["is_taker"] is True and trade["order_id"] == taken["order_id"]
        assert theirs not in str(trade) and "O0000000001" not in str(trade)
        assert (await http.get(f"/api/trades/user/{alice}")).json()["data"]["total"] == 1
        for path in (f"/api/position/{alice}", f"/api/position/account/{ours}"):
            (position,) = (await http.get(path)).json()["data"]["positions"]
            assert (position["volume_long"], position["volume_long_today"], position["margin"]) == (2, 2, 70_000)
            assert (position["open_price_long"], position["open_price_short"]) == (70_000, None)
        public = (await http.get(f"/api/market/trades/{COPPER}")).json()["data"]["trades"]
        assert [(t["price"], t["volume"], t["direction"]) for t in public] == [(70_000, 2, "BUY")]
        tick = (await http.get("/api/market/tick/cu2701")).json()["data"]
        assert (tick["last_price"], tick["bid_price"], tick["ask_price"]) == (70_000, 70_100, None)
        book = (await http.get(f"/api/market/orderbook/{COPPER}", params={"depth": 3})).json()["data"]
        assert book["bids"] == [{"price": 70_100, "volume": 1, "order_count": 1}] and book["asks"] == []
        assert book["seq"] == 2
        listed = (await http.get("/api/market/instruments")).json()["data"]["instruments"]
        assert [i["instrument_id"] for i in listed] == [COPPER, "CFFEX.IF2701"]
        terms = exact((await http.get("/api/market/instrument/IF2701")).content)["data"]
        assert (terms["price_tick"], terms["upper_limit"]) == (Decimal("0.2"), 4180)


async def test_a_batch_answers_for_each_order(node: Node) -> None:
    alice, account_id = await node.add_trader("alice")
    async with client(node, alice) as http:
        orders = [order("", price=price) for price in (70_000, 70_005, 99_990)]
        for row in orders:
            del row["account_id"]
        reply = (await http.post("/api/order/batch", json={"account_id": account_id, "orders": orders})).json()
        data = reply["data"]
        assert (data["total"], data["success_count"], data["failed_count"]) == (3, 1, 2)
        assert [row["success"] for row in data["results"]] == [True, False, False]
        assert [row["error"] and row["error"]["code"] for row in data["results"]] == [None, 1009, 1010]
        cancel = {"account_id": account_id, "order_ids": ["O0000000001", "O0000000099"]}
        data = (await http.post("/api/order/batch-cancel", json=cancel)).json()["data"]
        assert [row["error"] and row["error"]["code"] for row in data["results"]] == [None, 3001]
        await http.post("/api/order/submit", json=order(account_id))
        both = (await http.post("/api/order/cancel-all", json={"account_id": account_id})).json()["data"]
        assert both == {"account_id": account_id, "count": 1, "order_ids": ["O0000000002"]}


async def test_a_repeated_order_answers_its_first_result_with_its_trades(node: Node) -> None:
    alice, ours = await node.add_trader("alice")
    _, theirs = await node.add_trader("bob")
    async with client(node, alice) as http, client(node, "U00000002") as other:
        await other.post("/api/order/submit", json=order(theirs, direction="SELL", volume=2))
        body = order(ours, volume=3, client_order_id="once", time_condition="IOC")
        first = (await http.post("/api/order/submit", json=body)).json()
        again = (await http.post("/api/order/submit", json=body)).json()
        assert again["receipt"] == first["receipt"]
        assert again["data"] == first["data"] | {"repeated": True, "trade_count": 1}
        assert first["data"]["cancel_reason"] == "ioc_remainder"
        refused = order(ours, volume=499, client_order_id="no money")
        one, two = [await http.post("/api/order/submit", json=refused) for _ in range(2)]
        assert one.status_code == two.status_code == 422
        assert (one.json()["error"]["code"], two.json()["error"]["details"]) == (1001, {"repeated": True})
        reused = await http.post("/api/order/submit", json=body | {"volume": 2})
        assert (reused.status_code, reused.json()["error"]["code"]) == (409, 3004)


async def test_every_answer_says_who_leads_and_how_far_this_node_is(node: Node) -> None:
    async with client(node) as http:
        for path in ("/livez", "/api/cluster", "/api/nowhere", "/api/auth/me"):
            reply = await http.get(path, headers={"X-Request-Id": "mine-7"})
            assert reply.headers["X-Applied-Index"] == str(node.machine.index)
            assert reply.headers["X-Leader"] == "n1"
            assert reply.headers["X-Request-Id"] == "mine-7"
            assert reply.headers["Content-Type"] == "application/json"
        odd = await http.get("/livez", headers={"X-Request-Id": "x" * 65})
        assert len(odd.headers["X-Request-Id"]) == 16


async def test_the_router_refuses_in_the_envelope(node: Node) -> None:
    async with client(node) as http:
        missing = await http.get("/api/nowhere")
        assert (missing.status_code, missing.json()["error"]["code"]) == (404, 9007)
        wrong = await http.delete("/api/order/submit")
        assert (wrong.status_code, wrong.json()["error"]["code"]) == (405, 9008)
        assert "POST" in wrong.headers["Allow"]
        for envelope in (missing.json(), wrong.json()):
            assert envelope["success"] is False and envelope["data"] is None and envelope["request_id"]


async def test_a_bug_is_an_envelope_without_internals(node: Node) -> None:
    alice, account_id = await node.add_trader("alice")
    node.machine.accounts[account_id].positions["broken"] = None  # type: ignore[assignment]
    async with client(node, alice) as http:
        reply = await http.get(f"/api/position/account/{account_id}")
        assert (reply.status_code, reply.json()["error"]["code"]) == (500, 5000)
        assert "NoneType" not in reply.text and "Traceback" not in reply.text


async def test_a_node_tells_its_health_and_its_cluster(node: Node) -> None:
    async with client(node) as http:
        for path in ("/livez", "/readyz", "/health"):
            assert (await http.get(path)).status_code == 200, path
        data = (await http.get("/api/cluster")).json()["data"]
        assert (data["role"], data["leader"], data["can_commit"]) == ("leader", "n1", True)
        assert data["quorum_text"] == "1 of 1 needed, 1 reachable; can lose 0 more"
        assert data["state_hash"] == node.machine.digest().hex()
        assert data["members"][0]["api_url"] == node.url
        assert (await http.get("/api/time")).json()["data"]["time_ns"] > 1.7e18


async def test_pages_are_stable_and_bounded(node: Node) -> None:
    alice, account_id = await node.add_trader("alice")
    async with client(node, alice) as http:
        orders = [{k: v for k, v in order("").items() if k != "account_id"}] * 5
        await http.post("/api/order/batch", json={"account_id": account_id, "orders": orders})
        seen = []
        for page in (1, 2, 3):
            query = {"page": page, "page_size": 2}
            data = (await http.get(f"/api/order/account/{account_id}", params=query)).json()["data"]
            assert data["total"] == 5
            seen += [row["order_id"] for row in data["orders"]]
        assert seen == [f"O{n:010d}" for n in (5, 4, 3, 2, 1)]
        for query in ({"page": 0}, {"page_size": 201}, {"page": "x"}, {"nonsense": 1}, {"level": "maybe"}):
            reply = await http.get(f"/api/order/account/{account_id}", params=query)
            assert (reply.status_code, reply.json()["error"]["code"]) == (400, 9003), query


async def test_reads_are_linearizable_on_request(node: Node) -> None:
    alice, account_id = await node.add_trader("alice")
    async with client(node, alice) as http:
        for level in ("linearizable", "leader", "stale"):
            reply = await http.get(f"/api/account/{account_id}", params={"level": level})
            assert reply.status_code == 200
        assert reply.headers["X-Staleness-Ms"] == "0"
