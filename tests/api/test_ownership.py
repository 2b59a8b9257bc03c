"""Somebody else's object does not exist: every route that can name one answers like for one that is not there."""

from __future__ import annotations

from typing import Any

import pytest

from api import rest
from tests.api.exchange import COPPER, Node, client, conditional, order
from tests.api.sockets import Trader

UNKNOWN = {"user": "U00009999", "account": "ACC_00009999", "order": "O0000009999", "conditional": "C0000009999"}
TERMS = {key: value for key, value in order("").items() if key != "account_id"}

# (method, path, body) of every route that names an account, an order or a user, with the ids to fill in
NAMING: list[tuple[str, str, dict[str, Any] | None]] = [
    ("POST", "/api/account/open", {"account_name": "x", "user_id": "{user}"}),
    ("POST", "/api/account/deposit", {"account_id": "{account}", "amount": 1}),
    ("POST", "/api/account/withdraw", {"account_id": "{account}", "amount": 1}),
    ("GET", "/api/account/{account}", None),
    ("GET", "/api/user/{user}/accounts", None),
    ("POST", "/api/order/submit", order("{account}")),
    ("POST", "/api/order/cancel", {"account_id": "{account}", "order_id": "{order}"}),
    ("POST", "/api/order/cancel", {"account_id": "{own}", "order_id": "{order}"}),
    ("PUT", "/api/order/modify/{order}", {"account_id": "{account}", "volume": 1}),
    ("PUT", "/api/order/modify/{order}", {"account_id": "{own}", "price": 70_010}),
    ("POST", "/api/order/batch", {"account_id": "{account}", "orders": [TERMS]}),
    ("POST", "/api/order/batch-cancel", {"account_id": "{account}", "order_ids": ["{order}"]}),
    ("POST", "/api/order/cancel-all", {"account_id": "{account}"}),
    ("POST", "/api/order/cancel-all", {"account_id": "{account}", "instrument_id": COPPER}),
    ("GET", "/api/order/{order}", None),
    ("GET", "/api/order/by-client-id/{account}/theirs", None),
    ("GET", "/api/order/user/{user}", None),
    ("GET", "/api/order/account/{account}", None),
    ("POST", "/api/order/conditional", conditional("{account}")),
    ("GET", "/api/order/conditional/list?account_id={account}", None),
    ("DELETE", "/api/order/conditional/{conditional}", None),
    ("GET", "/api/account/{account}/qifi", None),
    ("GET", "/api/account/{account}/equity-curve", None),
    ("GET", "/api/account/{account}/statement/2026-11-23", None),
    ("GET", "/api/account/{account}/margin", None),
    ("GET", "/api/account/{account}/transactions", None),
    ("GET", "/api/account/{account}/transfers", None),
    ("GET", "/api/position/{user}", None),
    ("GET", "/api/position/account/{account}", None),
    ("GET", "/api/trades/user/{user}", None),
    ("GET", "/api/trades/account/{account}", None),
]
# routes that name nobody's object
NAMING_NOBODY = {
    "/api/auth/register", "/api/auth/login", "/api/auth/logout", "/api/auth/me", "/api/market/instruments",
    "/api/market/instrument/<instrument_id>", "/api/market/orderbook/<instrument_id>",
    "/api/market/tick/<instrument_id>", "/api/market/trades/<instrument_id>", "/livez", "/readyz", "/health",
    "/api/cluster", "/api/time", "/api/errors", "/api/order/conditional/statistics", "/admin/session",
    "/admin/settlement/set-price", "/admin/settlement/batch-set-prices", "/admin/settlement/execute",
    "/admin/settlement/history", "/admin/settlement/result/<date>", "/admin/cluster/transfer",
}  # fmt: skip
# messages of the socket that name an account or an order
MESSAGES: list[dict[str, Any]] = [
    {"type": "submit_order", **order("{account}")},
    {"type": "cancel_order", "account_id": "{account}", "order_id": "{order}"},
    {"type": "cancel_order", "account_id": "{own}", "order_id": "{order}"},
    {"type": "modify_order", "account_id": "{account}", "order_id": "{order}", "volume": 1},
    {"type": "modify_order", "account_id": "{own}", "order_id": "{order}", "volume": 1},
    {"type": "cancel_all", "account_id": "{account}"},
    {"type": "query_account", "account_id": "{account}"},
    {"type": "query_position", "account_id": "{account}"},
    {"type": "query_order", "account_id": "{account}", "order_id": "{order}"},
    {"type": "query_order", "account_id": "{own}", "order_id": "{order}"},
    {"type": "query_orders", "account_id": "{account}"},
    {"type": "query_trades", "account_id": "{account}"},
]


def filled(template: Any, ids: dict[str, str]) -> Any:
    if isinstance(template, dict):
        return {key: filled(value, ids) for key, value in template.items()}
    if isinstance(template, list):
        return [filled(value, ids) for value in template]
    return template.format(**ids) if isinstance(template, str) else template


def shape(path: str) -> str:
    """A declared path with its parameters made equal to those of the table."""
    for kind in ("account", "order", "user"):
        path = path.replace(f"<{kind}_id>", "{" + kind + "}")
    path = path.replace("<conditional_order_id>", "{conditional}").replace("<trading_day>", "2026-11-23")
    return path.replace("<client_order_id>", "theirs")


def test_the_table_names_every_route() -> None:
    named = {(method, path.partition("?")[0]) for method, path, _ in NAMING}
    for route in rest.ROUTES:
        if route.path not in NAMING_NOBODY:
            assert (route.method, shape(route.path)) in named, f"{route.method} {route.path} has no ownership test"


@pytest.fixture
async def ids(node: Node) -> dict[str, dict[str, str]]:
    """A caller, and somebody else with an account and a live order."""
    _, own = await node.add_trader("alice")
    bob, theirs = await node.add_trader("bob")
    async with client(node, bob) as http:
        placed = (await http.post("/api/order/submit", json=order(theirs, client_order_id="theirs"))).json()["data"]
        waiting = (await http.post("/api/order/conditional", json=conditional(theirs))).json()["data"]
    foreign = {
        "user": bob,
        "account": theirs,
        "order": placed["order_id"],
        "conditional": waiting["conditional_order_id"],
        "own": own,
    }
    return {"foreign": foreign, "unknown": UNKNOWN | {"own": own}}


async def test_a_foreign_object_answers_like_an_unknown_one_on_every_route(
    node: Node, ids: dict[str, dict[str, str]]
) -> None:
    async with client(node, "U00000001") as http:
        for method, path, body in NAMING:
            before = node.machine.digest()
            answers = []
            for kind, names in ids.items():
                reply = await http.request(method, filled(path, names), json=filled(body, names))
                text = reply.text
                for key in ("user", "account", "order", "conditional"):
                    text = text.replace(names[key], key)
                answers.append((kind, reply.status_code, text.replace(reply.headers["X-Request-Id"], "")))
            (_, status, foreign), (_, _, unknown) = answers
            assert status == 404, (method, path, foreign)
            assert foreign == unknown, (method, path)
            assert node.machine.digest() == before, (method, path)


async def test_a_foreign_object_answers_like_an_unknown_one_in_every_message(
    node: Node, ids: dict[str, dict[str, str]]
) -> None:
    async with Trader.connect(node, "U00000001") as trader:
        before = node.machine.digest()
        for message in MESSAGES:
            answers = []
            for names in ids.values():
                reply = await trader.ask(**filled(message, names))
                assert reply["success"] is False, message
                text = str({key: value for key, value in reply.items() if key != "id"})
                for key in ("user", "account", "order"):
                    text = text.replace(names[key], key)
                answers.append(text)
                assert reply["error"]["code"] in (1006, 3001), message
            assert answers[0] == answers[1], message
        assert node.machine.digest() == before
