"""Bad input: a clear error with the documented code that names the thing, and a state that has not moved."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import jwt
import pytest
import trio
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.trio.client import connect

from tests.api.exchange import COPPER, KEYS, Node, client, order
from tests.api.sockets import Trader

SUBMIT = "/api/order/submit"


@pytest.fixture
async def account(node: Node) -> str:
    return (await node.add_trader("alice"))[1]


@pytest.fixture
async def unchanged(node: Node, account: str) -> AsyncIterator[None]:
    """Nothing that the test does may enter the log."""
    before = (node.machine.digest(), node.machine.index)
    yield
    assert (node.machine.digest(), node.machine.index) == before


MALFORMED = [
    (b"", "truncated"),
    (b"{", "truncated"),
    (b"nonsense", "malformed"),
    (b"[]", "object"),
    (b"\xff\xfe", "malformed"),
    (b'{"account_id":"\xff"}', "utf-8"),
]


@pytest.mark.parametrize(("body", "says"), MALFORMED)
async def test_malformed_json_is_a_400(node: Node, unchanged: None, body: bytes, says: str) -> None:
    async with client(node, "U00000001") as http:
        reply = await http.post(SUBMIT, content=body)
        assert (reply.status_code, reply.json()["error"]["code"]) == (400, 9003)
        assert says in reply.json()["error"]["message"].lower()


WRONG_FIELDS: list[tuple[dict[str, Any], str]] = [
    ({"leverage": 10}, "leverage"),
    ({"volume": "1"}, "volume"),
    ({"volume": 1.5}, "volume"),
    ({"volume": True}, "volume"),
    ({"volume": None}, "volume"),
    ({"volume": 10**30}, "volume"),
    ({"price": "70000"}, "price"),
    ({"price": True}, "price"),
    ({"price": 70_000.00001}, "four decimals"),
    ({"price": 1e30}, "price"),
    ({"direction": "buy"}, "direction"),
    ({"offset": 0}, "offset"),
    ({"price_type": "LIMITED"}, "price_type"),
    ({"order_type": "MARKET", "price_type": "LIMIT"}, "contradicts"),
    ({"account_id": ""}, "account_id"),
    ({"account_id": "x" * 65}, "account_id"),
    ({"client_order_id": "x" * 65}, "client_order_id"),
    ({"deadline_ns": -1}, "deadline_ns"),
    ({"deadline_ns": 2**63}, "deadline_ns"),
    ({"post_only": 1}, "post_only"),
    ({"gtd_day": "tomorrow"}, "gtd_day"),
]


@pytest.mark.parametrize(("change", "names"), WRONG_FIELDS)
async def test_a_wrong_field_is_named(
    node: Node, account: str, unchanged: None, change: dict[str, Any], names: str
) -> None:
    async with client(node, "U00000001") as http:
        reply = await http.post(SUBMIT, json=order(account) | change)
        assert (reply.status_code, reply.json()["error"]["code"]) == (400, 9003)
        assert names in reply.json()["error"]["message"]


@pytest.mark.parametrize("literal", ["NaN", "Infinity", "-Infinity"])
async def test_nan_and_infinity_are_no_numbers(node: Node, account: str, unchanged: None, literal: str) -> None:
    body = json.dumps(order(account, price=1)).replace('"price": 1', f'"price": {literal}').encode()
    async with client(node, "U00000001") as http:
        reply = await http.post(SUBMIT, content=body)
        assert (reply.status_code, reply.json()["error"]["code"]) == (400, 9003)


DENIED: list[tuple[dict[str, Any], int, str]] = [
    ({"price": 70_005}, 1009, "70000 and 70010"),
    ({"price": 70_000.0001}, 1009, "70000.0001"),
    ({"price": 0}, 1010, "price 0"),
    ({"price": -70_000}, 1010, "price -7000"),
    ({"volume": 0}, 1011, "volume 0"),
    ({"volume": -1}, 1011, "volume -1"),
    ({"volume": 2_000_000}, 1011, "volume 2000000"),
    ({"price_type": "MARKET"}, 1008, "price"),
    ({"price_type": "BEST"}, 1008, "price"),
    ({"time_condition": "GTD"}, 1008, "gtd_day"),
    ({"volume_condition": "ALL"}, 1008, "volume_condition"),
    ({"min_volume": 1}, 1008, "min_volume"),
    ({"post_only": True, "time_condition": "IOC"}, 1008, "post_only"),
    ({"gtd_day": "2027-01-01"}, 1008, "gtd_day"),
]


@pytest.mark.parametrize(("change", "code", "names"), DENIED)
async def test_an_impossible_order_is_denied_before_the_log(
    node: Node, account: str, unchanged: None, change: dict[str, Any], code: int, names: str
) -> None:
    async with client(node, "U00000001") as http:
        reply = await http.post(SUBMIT, json=order(account) | change)
        error = reply.json()["error"]
        assert (reply.status_code, error["code"]) == (422, code)
        assert names in error["message"] and error["message_zh"]
        assert (error["outcome"], error["retry"]) == ("not_executed", "no")


async def test_an_unknown_instrument_is_named(node: Node, account: str, unchanged: None) -> None:
    async with client(node, "U00000001") as http:
        reply = await http.post(SUBMIT, json=order(account, instrument_id="SHFE.xx9999"))
        assert (reply.status_code, reply.json()["error"]["code"]) == (404, 1007)
        assert "SHFE.xx9999" in reply.json()["error"]["message"]


async def test_a_modification_is_checked_like_an_order(node: Node, account: str) -> None:
    async with client(node, "U00000001") as http:
        order_id = (await http.post(SUBMIT, json=order(account))).json()["data"]["order_id"]
        before = node.machine.digest()
        for change, status, code in (
            ({"price": 70_005}, 422, 1009), ({"price": 0}, 422, 1010), ({"volume": 0}, 422, 1011), ({}, 400, 9003),
            ({"volume": -3}, 422, 1011), ({"order_id": "O0000000099", "volume": 2}, 400, 9003),
        ):  # fmt: skip
            reply = await http.put(f"/api/order/modify/{order_id}", json={"account_id": account, **change})
            assert (reply.status_code, reply.json()["error"]["code"]) == (status, code), change
        assert node.machine.digest() == before


async def test_order_ids_are_read_in_one_spelling_only(node: Node, account: str) -> None:
    async with client(node, "U00000001") as http:
        await http.post(SUBMIT, json=order(account))
        for spelling in ("O1", "o0000000001", "00000000001", "O00000000001", "O+000000001", "O000000000١", "x" * 64):
            assert (await http.get(f"/api/order/{spelling}")).status_code == 404, spelling
        assert (await http.get("/api/order/O0000000001")).status_code == 200


async def test_a_body_over_the_limit_is_a_413(node: Node, account: str, unchanged: None) -> None:
    async with client(node, "U00000001") as http:
        reply = await http.post(SUBMIT, content=b" " * 1_048_577)
        assert (reply.status_code, reply.json()["error"]["code"]) == (413, 9009)
        assert "1048576" in reply.json()["error"]["message"]
        assert (await http.get("/livez")).status_code == 200

        async def endless() -> AsyncIterator[bytes]:
            for _ in range(40):
                yield b" " * 65_536

        reply = await http.post(SUBMIT, content=endless())
        assert reply.status_code == 413


def forged(node: Node, **changes: Any) -> dict[str, str]:
    """Claims of a good token, changed and signed with the cluster's key."""
    good = jwt.decode(node.token("U00000001"), options={"verify_signature": False})
    good.update(changes)
    return good


async def test_expired_forged_and_unsigned_tokens_are_a_401(node: Node, account: str, unchanged: None) -> None:
    key = KEYS.keys["k1"]
    tokens = {
        "expired": jwt.encode(forged(node, exp=1_600_000_000), key, "HS256", headers={"kid": "k1"}),
        "forged": jwt.encode(forged(node), b"x" * 32, "HS256", headers={"kid": "k1"}),
        "unsigned": jwt.encode(forged(node), "", "none", headers={"kid": "k1"}),
        "of another user": jwt.encode(forged(node, sub="U00009999"), key, "HS256", headers={"kid": "k1"}),
        "nonsense": "nonsense",
    }
    for kind, token in tokens.items():
        async with client(node) as http:
            reply = await http.post(SUBMIT, json=order(account), headers={"Authorization": f"Bearer {token}"})
            assert reply.status_code == 401, kind
            assert reply.json()["error"]["code"] in (9002, 9012), kind
        async with connect(node.ws_url, proxy=None) as socket:
            await socket.send(json.dumps({"type": "auth", "token": token}))
            answer = json.loads(await socket.recv())
            assert (answer["type"], answer["success"]) == ("auth_response", False), kind
            assert await Trader(socket).closed() in (4401, 4403), kind
        with pytest.raises(InvalidStatus) as refusal:
            async with connect(node.ws_url, proxy=None, additional_headers={"Authorization": f"Bearer {token}"}):
                pass
        assert refusal.value.response.status_code == 401, kind
    async with client(node) as http:
        for header in ("", "Bearer", "Basic YTpi", "Bearer  x y"):
            reply = await http.post(SUBMIT, json=order(account), headers={"Authorization": header})
            assert reply.status_code == 401


async def test_a_token_in_the_query_string_is_not_read(node: Node, account: str) -> None:
    async with connect(f"{node.ws_url}?token={node.token('U00000001')}", proxy=None) as socket:
        await socket.send(json.dumps({"type": "query_account", "id": 1, "account_id": account}))
        answer = json.loads(await socket.recv())
        assert (answer["type"], answer["error"]["code"]) == ("error", 9002)


SOCKET_NONSENSE: list[tuple[str, str]] = [
    ("", "truncated"),
    ("nonsense", "malformed"),
    ("7", "object"),
    ('{"type":"launch_rocket","id":1}', "launch_rocket"),
    ('{"id":1}', "type"),
    ('{"type":"ping","id":1,"extra":2}', "extra"),
    ('{"type":"submit_order","id":1}', "instrument_id"),
    ('{"type":"submit_order","id":{"a":1}}', "id"),
    ('{"type":"subscribe","id":1,"channels":["everything"]}', "everything"),
    ('{"type":"query_orders","id":1,"account_id":"A","page":0}', "page"),
    ("[" * 60_000, "recursion"),
]


@pytest.mark.parametrize(("text", "says"), SOCKET_NONSENSE)
async def test_an_unreadable_message_is_answered_and_the_socket_lives_on(
    node: Node, account: str, unchanged: None, text: str, says: str
) -> None:
    async with Trader.connect(node, "U00000001") as trader:
        await trader.send(text)
        answer = await trader.reply()
        assert (answer["type"], answer["success"], answer["error"]["code"]) == ("error", False, 9003)
        assert says in answer["error"]["message"]
        assert (await trader.ask(type="ping"))["type"] == "pong"


async def test_one_unreadable_message_does_not_spoil_its_batch(node: Node, account: str) -> None:
    async with Trader.connect(node, "U00000001") as trader:
        good = {"type": "submit_order", **order(account)}
        batch = [good | {"id": 1}, good | {"id": 2, "leverage": 3}, 7, good | {"id": 4, "volume": 0}, good | {"id": 5}]
        await trader.send(batch)
        replies = await trader.reply()
        assert [reply["id"] for reply in replies] == [1, 2, None, 4, 5]
        assert [reply["success"] for reply in replies] == [True, False, False, False, True]
        assert [reply["type"] for reply in replies] == [
            "order_response", "error", "error", "order_response", "order_response",
        ]  # fmt: skip
        assert [reply["error"] and reply["error"]["code"] for reply in replies] == [None, 9003, 9003, 1011, None]
        await trader.send("[]")
        assert await trader.frame() == []


async def test_a_message_over_the_limit_closes_with_1009(node: Node, account: str, unchanged: None) -> None:
    async def in_fragments() -> AsyncIterator[str]:
        for _ in range(20):
            yield " " * 4_000

    for message in ("x" * 70_000, in_fragments()):
        async with Trader.connect(node, "U00000001") as trader:
            with trio.fail_after(5):
                try:
                    await trader.connection.send(message)
                except ConnectionClosed:
                    pass
            assert await trader.closed() == 1009


async def test_binary_frames_are_not_understood(node: Node, account: str) -> None:
    async with Trader.connect(node, "U00000001") as trader:
        await trader.connection.send(b"\x00\x01")
        assert await trader.closed() == 1003


async def test_a_foreign_origin_is_a_403(node: Node) -> None:
    with pytest.raises(InvalidStatus) as refusal:
        async with connect(node.ws_url, origin="https://evil.example", proxy=None):  # type: ignore[arg-type]
            pass
    assert refusal.value.response.status_code == 403
    assert json.loads(refusal.value.response.body)["error"]["name"] == "ORIGIN_REFUSED"
    async with connect(node.ws_url, origin=node.url, proxy=None):  # type: ignore[arg-type]
        pass


async def test_a_request_that_is_no_websocket_is_refused_on_its_path(node: Node) -> None:
    async with client(node) as http:
        reply = await http.get("/ws")
        assert reply.status_code == 426


async def test_the_book_of_nothing_is_a_404(node: Node, account: str) -> None:
    async with client(node, "U00000001") as http:
        for path in ("instrument", "orderbook", "tick", "trades"):
            reply = await http.get(f"/api/market/{path}/SHFE.zz1")
            assert (reply.status_code, reply.json()["error"]["code"]) == (404, 1007)
        for depth in ("0", "1001", "-1", "ten"):
            assert (await http.get(f"/api/market/orderbook/{COPPER}?depth={depth}")).status_code == 400
