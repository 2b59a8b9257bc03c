"""Roles and permissions, and the rule that every route declares who may use it."""

from __future__ import annotations

from pathlib import Path

import pytest

from api import rest
from api.app import check_declared, create_app
from api.errors import CATALOGUE, OWN
from api.permissions import OF_ROLE, PUBLIC, Allow, Permission, permissions_of, role_names
from api.services import services_for
from node.exchange import rejects
from node.exchange.types import Role
from tests.api.exchange import Node, client, exchange


def test_there_are_the_39_permissions_of_the_reference_and_ours_and_admin_has_all() -> None:
    assert len(set(Permission) - {Permission.MANAGE_CLUSTER}) == 39
    assert [role for role, allowed in OF_ROLE.items() if Permission.MANAGE_CLUSTER in allowed] == [Role.ADMIN]
    assert OF_ROLE[Role.ADMIN] == frozenset(Permission)
    assert [len(OF_ROLE[role]) for role in (Role.TRADER, Role.ANALYST, Role.READ_ONLY)] == [12, 8, 5]
    assert [len(OF_ROLE[role]) for role in (Role.RISK_MANAGER, Role.SETTLEMENT)] == [10, 6]


def test_permissions_are_spelled_as_in_the_reference_system() -> None:
    assert Permission.SUSPEND_RESUME_INSTRUMENT == "SuspendResumeInstrument"
    assert Permission.VIEW_KLINE == "ViewKline"


def test_roles_add_up() -> None:
    mask = Role.TRADER | Role.SETTLEMENT
    assert permissions_of(mask) == OF_ROLE[Role.TRADER] | OF_ROLE[Role.SETTLEMENT]
    assert permissions_of(0) == frozenset()
    assert role_names(mask) == ["Settlement", "Trader"]


def test_a_route_must_be_public_or_name_permissions() -> None:
    with pytest.raises(ValueError, match="public or names"):
        Allow()
    with pytest.raises(ValueError, match="public or names"):
        Allow([Permission.TRADE], public=True)


def test_only_these_routes_are_public() -> None:
    assert sorted(route.path for route in rest.ROUTES if route.allow.public) == [
        "/api/auth/login", "/api/auth/register", "/api/cluster", "/api/errors", "/api/time", "/health",
        "/livez", "/readyz",
    ]  # fmt: skip
    assert PUBLIC.public


async def test_an_undeclared_route_fails_the_start(node: Node) -> None:
    app = create_app(services_for(node.context))

    @app.get("/api/back-door")
    async def back_door() -> str:
        return "hello"

    with pytest.raises(RuntimeError, match="/api/back-door"):
        check_declared(app, rest.ROUTES)


async def test_every_closed_route_refuses_without_a_token(node: Node) -> None:
    async with client(node) as http:
        for route in rest.ROUTES:
            if route.allow.public:
                continue
            path = route.path.replace("<", "").replace(">", "")
            reply = await http.request(route.method, path, headers={"Content-Type": "application/json"}, content=b"{}")
            assert (reply.status_code, reply.json()["error"]["code"]) == (401, 9002), route.path
            assert reply.headers["WWW-Authenticate"] == "Bearer"


async def test_a_reader_may_look_and_not_trade(node: Node) -> None:
    user_id, account_id = await node.add_trader("reader", role=Role.READ_ONLY)
    async with client(node, user_id) as http:
        assert (await http.get(f"/api/account/{account_id}")).status_code == 200
        reply = await http.post("/api/order/cancel-all", json={"account_id": account_id})
        assert (reply.status_code, reply.json()["error"]["code"]) == (403, 9006)
        assert "CancelOrder" in reply.json()["error"]["message"]


async def test_a_risk_manager_sees_every_account_and_trades_on_none(node: Node) -> None:
    _, account_id = await node.add_trader("alice")
    manager, _ = await node.add_trader("manager", role=Role.RISK_MANAGER)
    async with client(node, manager) as http:
        for path in (f"/api/account/{account_id}", f"/api/order/account/{account_id}", "/api/user/U00000001/accounts"):
            assert (await http.get(path)).status_code == 200, path
        assert (await http.post("/api/order/cancel-all", json={"account_id": account_id})).status_code == 403


async def test_an_administrator_cannot_trade_for_others(node: Node) -> None:
    _, account_id = await node.add_trader("alice")
    admin, _ = await node.add_trader("root", role=Role.ADMIN)
    async with client(node, admin) as http:
        reply = await http.post("/api/order/cancel-all", json={"account_id": account_id})
        assert (reply.status_code, reply.json()["error"]["code"]) == (404, 1006)


async def test_money_is_created_by_administrators_only_unless_the_cluster_says_otherwise(tmp_path: Path) -> None:
    async with exchange(tmp_path, self_service_funding=False) as cluster:
        node = await cluster.leader()
        alice, account_id = await node.add_trader("alice", cash=100)
        admin, _ = await node.add_trader("root", role=Role.ADMIN)
        async with client(node, alice) as http, client(node, admin) as office:
            money = {"account_id": account_id, "amount": 5}
            assert (await http.post("/api/account/deposit", json=money)).status_code == 403
            opening = {"account_name": "second", "init_cash": 1}
            assert (await http.post("/api/account/open", json=opening)).status_code == 403
            assert (await http.post("/api/account/open", json={"account_name": "second"})).status_code == 200
            assert (await http.post("/api/account/withdraw", json=money)).status_code == 200
            assert (await office.post("/api/account/deposit", json=money)).status_code == 200
            assert (await http.get(f"/api/account/{account_id}")).json()["data"]["balance"] == 100


async def test_the_catalogue_is_complete_and_served(node: Node) -> None:
    codes = [entry.code for entry in CATALOGUE]
    assert len(codes) == len(set(codes)) == len(rejects.BY_CODE) + len(OWN)
    assert all(entry.message and entry.message_zh and 400 <= entry.status < 600 for entry in CATALOGUE)
    assert all(entry.code >= 5000 for entry in OWN)
    async with client(node) as http:
        listed = (await http.get("/api/errors")).json()["data"]["errors"]
        assert [entry["code"] for entry in listed] == codes
