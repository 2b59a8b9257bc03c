from __future__ import annotations

import json

import trio
from websockets.trio.client import connect

from tests.api.exchange import Node, client, order


async def test_a_trader_trades_over_rest_and_the_socket(node: Node) -> None:
    with trio.fail_after(20):
        alice, account = await node.add_trader("alice")
        bob, other = await node.add_trader("bob")
        async with client(node, alice) as http:
            reply = await http.post("/api/order/submit", json=order(account, client_order_id="a1"))
            assert reply.status_code == 200
        async with connect(node.ws_url) as ws:
            await ws.send(json.dumps({"type": "auth", "token": node.token(bob)}))
            assert await ws.recv()
            await ws.send(
                json.dumps(
                    [
                        {"type": "submit_order", "id": 1, **order(other, direction="SELL")},
                        {"type": "query_account", "id": 2, "account_id": other},
                    ]
                )
            )
            for _ in range(2):
                assert await ws.recv()
