"""The messages of the trading socket."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest

from api import schemas
from api.client import wire
from api.client.models import Cancel, CancelAll, Modify, NewOrder
from tests.client.samples import account_update, frame

FULL = NewOrder(
    "ACC_00000001", "SHFE.cu2701", "SELL", "CLOSETODAY", 3, Decimal("70000.0001"), "LIMIT", "IOC", "MIN",
    min_volume=1, post_only=False, self_trade="reject", deadline_ns=2**62, client_order_id="c-1",
)  # fmt: skip


@pytest.mark.parametrize(
    ("request_", "schema"),
    [
        (FULL, schemas.SubmitOrder),
        (NewOrder("ACC_00000001", "cu2701", "BUY", "OPEN", 1, price_type="MARKET"), schemas.SubmitOrder),
        (Cancel("ACC_00000001", "O0000000001"), schemas.CancelOrder),
        (Modify("ACC_00000001", "O0000000001", volume=2), schemas.ModifyOrder),
        (CancelAll("ACC_00000001", "SHFE.cu2701"), schemas.CancelAll),
    ],
)
def test_a_request_is_what_the_node_validates_plus_type_and_id(request_, schema):
    message = msgspec.json.decode(wire.order_message(request_, 7, lambda: "made"))
    assert message.pop("id") == 7
    assert message.pop("type") in ("submit_order", "cancel_order", "modify_order", "cancel_all")
    read = schemas.BodyReader(schema)(msgspec.json.encode(message))
    assert read.account_id == "ACC_00000001"


def test_an_order_without_an_id_gets_one_and_one_with_an_id_keeps_it():
    bare = msgspec.structs.replace(FULL, client_order_id=msgspec.UNSET)
    assert msgspec.json.decode(wire.order_message(bare, 1, lambda: "made"))["client_order_id"] == "made"
    assert msgspec.json.decode(wire.order_message(FULL, 1, lambda: "made"))["client_order_id"] == "c-1"


def test_a_price_is_written_exactly():
    assert b'"price":70000.0001,' in wire.order_message(FULL, 1, str)


def test_what_is_no_request_is_refused():
    with pytest.raises(TypeError, match="not an order request"):
        wire.order_message("buy", 1, str)


def test_an_array_is_read_as_its_messages_in_order():
    decoder = wire.MessageDecoder(events=True)
    reply = {"type": "order_response", "id": 1, "success": True, "data": {}, "error": None, "receipt": None}
    first, second = decoder.decode(frame(reply, reply | {"id": 2}))
    assert (first.id, second.id) == (1, 2)


def test_a_reader_of_no_events_is_not_disturbed_by_one():
    (message,) = wire.MessageDecoder(events=False).decode(frame(account_update(9, 8)))
    assert isinstance(message, wire.SkippedAccount)


def test_a_message_of_an_unknown_type_is_counted_and_the_others_are_read():
    decoder = wire.MessageDecoder(events=True)
    messages = decoder.decode(frame({"type": "weather", "sun": 1}, account_update(9, 8)))
    assert [type(message) for message in messages] == [wire.AccountEvent]
    assert decoder.ignored == 1
    assert decoder.decode(frame({"type": "weather"})) == []
    assert decoder.ignored == 2


@pytest.mark.parametrize("bad", [b"", b"{", b"[1]", b'{"id":1}', b'{"type":"auth_response"}', b'{"type":7}'])
def test_what_is_not_of_the_contract_is_an_error(bad):
    with pytest.raises(msgspec.DecodeError):
        wire.MessageDecoder(events=True).decode(bad)
