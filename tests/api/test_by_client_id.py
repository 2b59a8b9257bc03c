"""What turns an unknown outcome into a known one must never say that an executed order was not."""

from __future__ import annotations

import pytest

from api import reads
from api.errors import ApiError
from node.exchange import commands, rejects
from tests.exchange.driver import BUY, IOC, Driver, copper


def ask(exchange: Driver, account_id: str, client_order_id: str) -> ApiError:
    with pytest.raises(ApiError) as refusal:
        reads.by_client_id(exchange.machine.accounts[account_id], client_order_id, exchange.machine)
    return refusal.value


def test_an_order_that_is_held_is_answered() -> None:
    exchange = Driver(copper())
    account_id = exchange.account()
    order_id = exchange.order_id(exchange.place(account_id, BUY, 1, 7_000, client_order_id="a"))
    assert reads.by_client_id(exchange.machine.accounts[account_id], "a", exchange.machine).order_id == order_id


def test_an_id_that_was_never_seen_is_not_found() -> None:
    exchange = Driver(copper())
    error = ask(exchange, exchange.account(), "a")
    assert (error.status, error.body.code, error.body.details) == (404, rejects.ORDER_NOT_FOUND.code, {})


def test_a_refused_order_answers_its_refusal() -> None:
    exchange = Driver(copper())
    account_id = exchange.account(1)
    exchange.place(account_id, BUY, 1, 7_000, client_order_id="a")
    exchange.do(commands.Deposit(account_id, 10**12))
    error = ask(exchange, account_id, "a")
    assert (error.status, error.body.code) == (422, rejects.INSUFFICIENT_FUNDS.code)
    assert error.body.details == {"repeated": True}


def test_a_finished_order_that_is_held_no_more_is_told_as_executed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.exchange.matching.FINISHED_ORDERS_PER_ACCOUNT_MAX", 1)
    exchange = Driver(copper())
    account_id = exchange.account()
    for name in "ab":
        exchange.place(account_id, BUY, 1, 7_000, time_condition=IOC, client_order_id=name)
    error = ask(exchange, account_id, "a")
    assert error.status == 404
    assert error.body.details["executed"] is True
    assert error.body.details["order_id"] == "O0000000001"
    assert "executed" in error.body.message
