"""What accounts that are frozen or closed, and those of users who are, may still do (domain.md 6)."""

from __future__ import annotations

import pytest

from node.exchange import commands, rejects
from node.exchange.events import OrderAccepted, OrderCancelled, RequestRepeated
from node.exchange.types import FreezeKind, UserStatus
from tests.exchange.driver import BUY, CLOSETODAY, SELL, Driver, copper
from tests.exchange.refusals import refused

CU = "SHFE.cu2701"
TRADING = (int(FreezeKind.TRADING), int(FreezeKind.FULL))


@pytest.fixture
def exchange() -> Driver:
    return Driver(copper())


def order(account_id: str, direction: int = BUY, price: int = 7_000, **fields: object) -> commands.PlaceOrder:
    terms: dict[str, object] = {"offset": 0, "volume": 1, "price_type": 0, "price_ticks": price}
    return commands.PlaceOrder(account_id, CU, direction, **(terms | fields))  # type: ignore[arg-type]


def holder(exchange: Driver) -> tuple[str, int]:
    """An account that is long of two lots, and its resting order to buy another one."""
    trader = exchange.account()
    exchange.do(order(exchange.account(), SELL, volume=2))
    exchange.do(order(trader, volume=2))
    return trader, exchange.order_id(exchange.do(order(trader, price=6_990)))


@pytest.mark.parametrize("kind", TRADING)
def test_a_frozen_account_cannot_open_or_modify_but_close_and_cancel(exchange: Driver, kind: int) -> None:
    trader, resting = holder(exchange)
    exchange.do(commands.FreezeAccount(trader, kind, reason="margin call unanswered"))
    detail = refused(exchange, order(trader), rejects.ACCOUNT_FROZEN)
    assert trader in detail
    assert "margin call unanswered" in detail
    refused(exchange, commands.ModifyOrder(trader, resting, volume=2), rejects.ACCOUNT_FROZEN)
    closing = exchange.do(order(trader, SELL, 7_010, offset=CLOSETODAY))
    assert isinstance(closing[0], OrderAccepted)
    refused(exchange, commands.ModifyOrder(trader, exchange.order_id(closing), 7_005), rejects.ACCOUNT_FROZEN)
    assert isinstance(exchange.do(commands.CancelOrder(trader, resting))[0], OrderCancelled)


@pytest.mark.parametrize("kind", TRADING)
def test_a_freeze_may_forbid_closing_too_but_never_a_cancel(exchange: Driver, kind: int) -> None:
    trader, resting = holder(exchange)
    exchange.do(commands.FreezeAccount(trader, kind, allow_close=False))
    refused(exchange, order(trader, SELL, 7_010, offset=CLOSETODAY), rejects.ACCOUNT_FROZEN)
    refused(exchange, order(trader), rejects.ACCOUNT_FROZEN)
    assert exchange.do(commands.CancelAll(trader))[0].count == 1
    assert not exchange.machine.orders[resting].alive


def test_a_freeze_of_withdrawals_does_not_concern_trading(exchange: Driver) -> None:
    trader, resting = holder(exchange)
    exchange.do(commands.FreezeAccount(trader, int(FreezeKind.WITHDRAW), allow_close=False))
    assert isinstance(exchange.do(order(trader))[0], OrderAccepted)
    exchange.do(commands.ModifyOrder(trader, resting, 6_980))
    assert exchange.machine.orders[resting].price_ticks == 6_980


def test_an_unfrozen_account_trades_again(exchange: Driver) -> None:
    trader, _ = holder(exchange)
    exchange.do(commands.FreezeAccount(trader, int(FreezeKind.FULL)))
    exchange.do(commands.FreezeAccount(trader, int(FreezeKind.NONE)))
    assert isinstance(exchange.do(order(trader))[0], OrderAccepted)


def test_the_accounts_of_a_frozen_user_may_close_and_cancel_only(exchange: Driver) -> None:
    trader, resting = holder(exchange)
    user_id = exchange.machine.accounts[trader].user.user_id
    exchange.do(commands.SetUserStatus(user_id, int(UserStatus.FROZEN), "left the firm"))
    assert user_id in refused(exchange, order(trader), rejects.USER_FROZEN)
    refused(exchange, commands.ModifyOrder(trader, resting, 6_991), rejects.USER_FROZEN)
    assert isinstance(exchange.do(order(trader, SELL, 7_010, offset=CLOSETODAY))[0], OrderAccepted)
    exchange.do(commands.CancelOrder(trader, resting))
    exchange.do(commands.SetUserStatus(user_id, int(UserStatus.ACTIVE)))
    assert isinstance(exchange.do(order(trader))[0], OrderAccepted)


def test_a_resting_order_of_a_frozen_account_still_trades(exchange: Driver) -> None:
    """It was accepted; who does not want it cancels it."""
    trader, resting = holder(exchange)
    exchange.do(commands.FreezeAccount(trader, int(FreezeKind.FULL), allow_close=False))
    exchange.do(order(exchange.account(), SELL, 6_990))
    assert exchange.machine.orders[resting].left == 0


def test_a_closed_account_does_nothing_but_repeat_its_answers(exchange: Driver) -> None:
    trader = exchange.account(0)
    exchange.do(commands.Deposit(trader, 10_000 * 10_000))
    first = order(trader, client_order_id="a")
    refused(exchange, first, rejects.INSUFFICIENT_FUNDS)
    exchange.do(commands.Withdraw(trader, 10_000 * 10_000))
    exchange.do(commands.CloseAccount(trader))
    assert exchange.machine.accounts[trader].closed
    for command in (
        order(trader),
        order(trader, client_order_id="b"),
        commands.CancelOrder(trader, 7),
        commands.ModifyOrder(trader, 7, 7_000),
        commands.CancelAll(trader),
    ):
        assert trader in refused(exchange, command, rejects.ACCOUNT_CLOSED)
    assert isinstance(exchange.do(first)[0], RequestRepeated)
