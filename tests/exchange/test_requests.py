"""At most once: the same id answers the first result, whatever happened since."""

from __future__ import annotations

import pytest

from node.exchange import commands, rejects
from node.exchange.events import RequestRepeated
from node.exchange.types import REQUEST_MEMORY_NS, CancelReason, OrderState
from tests.exchange.driver import BUY, SELL, YUAN, Driver, code, copper
from tests.exchange.refusals import refused


@pytest.fixture
def exchange() -> Driver:
    return Driver(copper())


def test_a_repeated_order_is_not_placed_again_and_answers_its_first_result(exchange: Driver) -> None:
    maker, taker = exchange.account(), exchange.account()
    exchange.place(maker, SELL, 2, 7_000)
    exchange.place(taker, BUY, 3, 7_000, client_order_id="a")
    first_index = exchange.machine.index
    exchange.place(maker, SELL, 1, 7_000)  # fills the rest: the first result does not change by it
    (again,) = exchange.place(taker, BUY, 3, 7_000, client_order_id="a")
    assert isinstance(again, RequestRepeated)
    assert (again.first_index, again.filled_volume, again.state) == (first_index, 2, OrderState.PARTIALLY_FILLED)
    assert (again.first_trade_id, again.trade_count, again.filled_cost_ticks) == (1, 1, 14_000)
    assert len(exchange.machine.accounts[taker].orders) == 1


def test_a_repeated_refusal_is_refused_again_even_if_it_would_pass_now(exchange: Driver) -> None:
    trader = exchange.account(1)
    assert code(exchange.place(trader, BUY, 1, 7_000, client_order_id="a")) == rejects.INSUFFICIENT_FUNDS.code
    exchange.do(commands.Deposit(trader, 1_000_000 * YUAN))
    (again,) = exchange.place(trader, BUY, 1, 7_000, client_order_id="a")
    assert isinstance(again, RequestRepeated)
    assert again.code == rejects.INSUFFICIENT_FUNDS.code


def test_an_id_with_other_content_is_refused(exchange: Driver) -> None:
    trader = exchange.account()
    exchange.place(trader, BUY, 1, 7_000, client_order_id="a")
    assert code(exchange.place(trader, BUY, 2, 7_000, client_order_id="a")) == rejects.REQUEST_ID_REUSED.code


def test_ids_are_unique_per_account_not_per_exchange(exchange: Driver) -> None:
    one, two = exchange.account(), exchange.account()
    exchange.place(one, BUY, 1, 6_990, client_order_id="a")
    exchange.place(two, BUY, 1, 6_990, client_order_id="a")
    assert len(exchange.machine.orders) == 2


def test_deposits_withdrawals_accounts_and_users_happen_once(exchange: Driver) -> None:
    account_id = exchange.account(0)
    user_id = exchange.machine.accounts[account_id].user.user_id
    for _ in range(2):
        exchange.do(commands.Deposit(account_id, 5 * YUAN, "d"))
        exchange.do(commands.Withdraw(account_id, 2 * YUAN, "w"))
    assert exchange.machine.accounts[account_id].balance() == 3 * YUAN
    opened = [exchange.do(commands.OpenAccount(user_id, "second", 0, "o"))[0] for _ in range(2)]
    assert isinstance(opened[1], RequestRepeated)
    assert opened[1].ref == opened[0].account_id
    registered = [exchange.do(commands.RegisterUser("eve", f"hash{n}", 1, "r"))[0] for n in range(2)]
    assert registered[1].ref == registered[0].user_id
    refused(exchange, commands.RegisterUser("eve", "hash", 1, "other"), rejects.USERNAME_TAKEN)


def test_a_failed_withdrawal_is_remembered_too(exchange: Driver) -> None:
    account_id = exchange.account(1)
    refused(exchange, commands.Withdraw(account_id, 2 * YUAN, "w"), rejects.WITHDRAWAL_FAILED)
    exchange.do(commands.Deposit(account_id, 5 * YUAN))
    assert exchange.do(commands.Withdraw(account_id, 2 * YUAN, "w"))[0].code == rejects.WITHDRAWAL_FAILED.code
    assert exchange.machine.accounts[account_id].balance() == 6 * YUAN


def test_the_memory_of_requests_is_bounded_and_forgets_the_oldest(
    exchange: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.exchange.requests.REQUESTS_KEPT", 2)
    trader = exchange.account()
    for name in "abc":
        exchange.place(trader, BUY, 1, 6_990, client_order_id=name)
    assert len(exchange.machine.accounts[trader].client_orders) == 3  # all of them are younger than a retry may be
    later = exchange.machine.time_ns + REQUEST_MEMORY_NS + 10**6
    order = commands.PlaceOrder(trader, "SHFE.cu2701", BUY, 0, 1, 0, 6_990, client_order_id="d")
    exchange.do(order, time_ns=later)
    assert len(exchange.machine.accounts[trader].client_orders) == 2
    assert isinstance(exchange.place(trader, BUY, 1, 6_990, client_order_id="c")[0], RequestRepeated)


def test_a_full_memory_refuses_new_ids_rather_than_forget_one(
    exchange: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.exchange.requests.REQUESTS_MAX", 2)
    trader = exchange.account()
    for name in "ab":
        exchange.place(trader, BUY, 1, 6_990, client_order_id=name)
    assert code(exchange.place(trader, BUY, 1, 6_990, client_order_id="c")) == rejects.REQUEST_MEMORY_FULL.code
    assert isinstance(exchange.place(trader, BUY, 1, 6_990, client_order_id="a")[0], RequestRepeated)
    exchange.place(trader, BUY, 1, 6_990)
    for name in "xy":
        exchange.do(commands.Deposit(trader, 1, name))
    refused(exchange, commands.Deposit(trader, 1, "z"), rejects.REQUEST_MEMORY_FULL)


# Cancels and modifications: by client id, and at most once


def test_an_order_is_cancelled_and_modified_by_its_client_id(exchange: Driver) -> None:
    trader, stranger = exchange.account(), exchange.account()
    number = exchange.order_id(exchange.place(trader, BUY, 2, 6_990, client_order_id="a"))
    for command in (commands.CancelOrder(stranger, 0, "a"), commands.CancelOrder(trader, 0, "b")):
        assert "client_order_id" in refused(exchange, command, rejects.ORDER_NOT_FOUND)
    exchange.do(commands.ModifyOrder(trader, 0, 6_980, client_order_id="a"))
    assert exchange.machine.orders[number].price_ticks == 6_980
    exchange.do(commands.CancelOrder(trader, 0, "a"))
    assert exchange.machine.orders[number].state == OrderState.CANCELLED
    refused(exchange, commands.CancelOrder(trader, 0, "a"), rejects.ORDER_NOT_CANCELLABLE)
    refused(exchange, commands.ModifyOrder(trader, 0, 6_980, client_order_id="a"), rejects.ORDER_NOT_MODIFIABLE)


def test_a_cancel_that_names_nothing_or_two_orders_is_refused(exchange: Driver) -> None:
    trader = exchange.account()
    one = exchange.order_id(exchange.place(trader, BUY, 1, 6_990, client_order_id="a"))
    exchange.place(trader, BUY, 1, 6_990, client_order_id="b")
    refused(exchange, commands.CancelOrder(trader, 0), rejects.ORDER_NOT_FOUND)
    detail = refused(exchange, commands.CancelOrder(trader, one, "b"), rejects.BAD_ORDER_PARAMETERS)
    assert f"'b' is not that of order_id {one}" in detail
    exchange.do(commands.CancelOrder(trader, one, "a"))
    assert not exchange.machine.orders[one].alive


def test_the_id_of_a_refused_order_names_no_order(exchange: Driver) -> None:
    trader = exchange.account(1)
    exchange.place(trader, BUY, 1, 7_000, client_order_id="a")
    refused(exchange, commands.CancelOrder(trader, 0, "a"), rejects.ORDER_NOT_FOUND)


def test_a_live_order_is_found_by_its_client_id_however_many_ids_came_later(
    exchange: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.exchange.requests.REQUESTS_KEPT", 1)
    trader = exchange.account()
    number = exchange.order_id(exchange.place(trader, BUY, 1, 6_990, client_order_id="a"))
    later = exchange.machine.time_ns + REQUEST_MEMORY_NS + 10**6
    exchange.do(commands.PlaceOrder(trader, "SHFE.cu2701", BUY, 0, 1, 0, 6_990, client_order_id="b"), time_ns=later)
    assert exchange.machine.accounts[trader].client_orders.get("a") is None
    exchange.do(commands.CancelOrder(trader, 0, "a"))
    assert not exchange.machine.orders[number].alive


def test_a_repeated_cancel_answers_its_first_result(exchange: Driver) -> None:
    trader = exchange.account()
    number = exchange.order_id(exchange.place(trader, BUY, 2, 6_990))
    command = commands.CancelOrder(trader, number, request_id="r")
    exchange.do(command)
    first_index = exchange.machine.index
    (again,) = exchange.do(command)
    assert isinstance(again, RequestRepeated)
    assert (again.first_index, again.code, again.order_id, again.state) == (first_index, 0, number, 3)
    assert again.cancel_reason == CancelReason.BY_CLIENT
    other = commands.CancelOrder(trader, number + 1, request_id="r")
    refused(exchange, other, rejects.REQUEST_ID_REUSED)


def test_a_repeated_modification_changes_nothing_again(exchange: Driver) -> None:
    """Without the id the second one would be refused: neither price nor volume changes."""
    maker, trader = exchange.account(), exchange.account()
    exchange.place(maker, SELL, 1, 7_000)
    number = exchange.order_id(exchange.place(trader, BUY, 3, 6_990))
    command = commands.ModifyOrder(trader, number, 7_000, request_id="m")
    assert exchange.do(command)[0].price_ticks == 7_000
    exchange.do(commands.ModifyOrder(trader, number, 6_980))
    (again,) = exchange.do(command)
    assert isinstance(again, RequestRepeated)
    assert (again.order_id, again.filled_volume, again.trade_count, again.first_trade_id) == (number, 1, 1, 1)
    assert exchange.machine.orders[number].price_ticks == 6_980


def test_a_repeated_cancel_all_spares_what_was_placed_since(exchange: Driver) -> None:
    trader = exchange.account()
    exchange.place(trader, BUY, 1, 6_990)
    command = commands.CancelAll(trader, request_id="all")
    assert exchange.do(command)[0].count == 1
    since = exchange.order_id(exchange.place(trader, BUY, 1, 6_990))
    assert isinstance(exchange.do(command)[0], RequestRepeated)
    assert exchange.machine.orders[since].alive


def test_a_refused_cancel_is_remembered_with_its_reason(exchange: Driver) -> None:
    trader = exchange.account()
    for command in (
        commands.CancelOrder(trader, 1, request_id="c"),
        commands.ModifyOrder(trader, 1, 7_000, request_id="m"),
    ):
        refused(exchange, command, rejects.ORDER_NOT_FOUND)
    exchange.place(trader, BUY, 1, 6_990)
    for command in (
        commands.CancelOrder(trader, 1, request_id="c"),
        commands.ModifyOrder(trader, 1, 7_000, request_id="m"),
    ):
        (again,) = exchange.do(command)
        assert isinstance(again, RequestRepeated)
        assert again.code == rejects.ORDER_NOT_FOUND.code
    assert exchange.machine.orders[1].alive


def test_an_id_that_is_too_long_is_refused_as_a_wrong_parameter_of_the_order(exchange: Driver) -> None:
    trader = exchange.account()
    number = exchange.order_id(exchange.place(trader, BUY, 1, 6_990))
    for command in (
        commands.CancelOrder(trader, number, request_id="x" * 65),
        commands.ModifyOrder(trader, number, 7_000, request_id="x" * 65),
        commands.CancelAll(trader, request_id="x" * 65),
    ):
        assert "request_id" in refused(exchange, command, rejects.BAD_ORDER_PARAMETERS)
    assert len(exchange.machine.accounts[trader].requests) == 0


def test_requests_without_an_id_are_not_remembered(exchange: Driver) -> None:
    trader = exchange.account()
    number = exchange.order_id(exchange.place(trader, BUY, 1, 6_990))
    exchange.do(commands.ModifyOrder(trader, number, 6_980))
    exchange.do(commands.CancelOrder(trader, number))
    exchange.do(commands.CancelAll(trader))
    assert len(exchange.machine.accounts[trader].requests) == 0
