"""Accounts: closing, owners, freezes, limits, and money in and out (domain.md 6)."""

from __future__ import annotations

import pytest

from node.exchange import flows, rejects
from node.exchange.commands import (
    BindAccount,
    CancelOrder,
    CloseAccount,
    Deposit,
    FreezeAccount,
    OpenAccount,
    PlaceConditional,
    SetAccountLimits,
    SetPositionLimit,
    Withdraw,
)
from node.exchange.events import (
    AccountBound,
    AccountClosed,
    AccountFrozen,
    FundsMoved,
    LimitsSet,
    OrderAccepted,
    RequestRepeated,
)
from node.exchange.types import (
    ACCOUNTS_PER_USER_MAX,
    BALANCE_UNITS_MAX,
    FUNDS_FLOWS_KEPT,
    NOTIONAL_UNITS_MAX,
    ORDERS_ALIVE_PER_ACCOUNT_MAX,
    TRANSFER_UNITS_MAX,
    VOLUME_MAX,
    FreezeKind,
    FundsKind,
)
from tests.exchange.driver import BUY, CLOSETODAY, SELL, YUAN, Driver, code, copper
from tests.exchange.refusals import refused

NONE, TRADING, WITHDRAW, FULL = (int(kind) for kind in FreezeKind)


@pytest.fixture
def driver() -> Driver:
    return Driver(copper())


def owner(driver: Driver, account_id: str) -> str:
    return driver.machine.accounts[account_id].user.user_id


# --- closing --------------------------------------------------------------------------------------------------------


def test_an_empty_account_closes_for_good(driver):
    account_id = driver.account(0)
    assert driver.do(CloseAccount(account_id)) == [AccountClosed(account_id)]
    user_id = driver.do(OpenAccount(owner(driver, account_id), "next", 0))[0].user_id
    for command in (
        CloseAccount(account_id),
        Deposit(account_id, 1),
        Withdraw(account_id, 1),
        BindAccount(account_id, user_id),
        FreezeAccount(account_id, FULL),
        SetAccountLimits(account_id, 1, 0),
        SetPositionLimit(account_id, "SHFE.cu2701", 1),
    ):
        assert refused(driver, command, rejects.ACCOUNT_CLOSED) == f"{account_id} is closed"
    assert code(driver.place(account_id, BUY, 1, 7_000)) == rejects.ACCOUNT_CLOSED.code


def test_an_account_that_is_not_empty_is_kept_and_says_what_is_left(driver):
    account_id, other = driver.account(), driver.account()
    driver.place(other, SELL, 3, 7_000)
    driver.place(account_id, BUY, 3, 7_000)
    driver.place(account_id, BUY, 1, 6_999)
    detail = refused(driver, CloseAccount(account_id), rejects.ACCOUNT_NOT_EMPTY)
    assert detail == (
        f"{account_id}: 3 long and 0 short lots of SHFE.cu2701, 1 live orders, a balance of 99999475000 units"
    )


def test_an_account_that_owes_money_cannot_be_closed(driver):
    account_id, other = driver.account(35_020), driver.account()
    driver.place(other, SELL, 1, 7_000)
    driver.place(account_id, BUY, 1, 7_000)
    driver.place(other, BUY, 1, 6_300)
    driver.place(account_id, SELL, 1, 6_300, offset=CLOSETODAY)
    balance = driver.machine.accounts[account_id].balance()
    assert balance == (35_020 - 35) * YUAN - 700 * 10 * 5 * YUAN
    detail = refused(driver, CloseAccount(account_id), rejects.ACCOUNT_NOT_EMPTY)
    assert detail == f"{account_id}: a balance of {balance} units"


def test_a_pending_conditional_order_keeps_an_account_open_and_bound(driver):
    account_id = driver.account(0)
    driver.do(PlaceConditional(account_id, "SHFE.cu2701", SELL, CLOSETODAY, 1, 0, 6_900, 0, 1, 6_900))
    assert "1 pending conditional orders" in refused(driver, CloseAccount(account_id), rejects.ACCOUNT_NOT_EMPTY)
    user_id = owner(driver, driver.account(0))
    refused(driver, BindAccount(account_id, user_id), rejects.ACCOUNT_HAS_ORDERS)


# --- owners ---------------------------------------------------------------------------------------------------------


def test_an_account_moves_to_another_user_with_everything_in_it(driver):
    account_id = driver.account()
    before, after = owner(driver, account_id), owner(driver, driver.account())
    assert driver.do(BindAccount(account_id, after)) == [AccountBound(account_id, after, before)]
    assert owner(driver, account_id) == after
    assert account_id not in driver.machine.users[before].accounts
    assert account_id in driver.machine.users[after].accounts
    assert driver.machine.accounts[account_id].balance() == 10_000_000 * YUAN


def test_an_account_with_live_orders_stays_where_self_trade_prevention_knows_it(driver):
    account_id, user_id = driver.account(), owner(driver, driver.account())
    order_id = driver.order_id(driver.place(account_id, BUY, 1, 7_000))
    detail = refused(driver, BindAccount(account_id, user_id), rejects.ACCOUNT_HAS_ORDERS)
    assert detail == f"{account_id}: 1 live and 0 pending conditional orders"
    driver.do(CancelOrder(account_id, order_id))
    assert isinstance(driver.do(BindAccount(account_id, user_id))[0], AccountBound)


def test_binding_to_the_owner_or_to_nobody_is_refused(driver):
    account_id = driver.account()
    refused(driver, BindAccount(account_id, owner(driver, account_id)), rejects.BAD_ACCOUNT_PARAMETERS)
    refused(driver, BindAccount(account_id, "U00000099"), rejects.USER_NOT_FOUND)
    refused(driver, BindAccount("ACC_00000099", "U00000001"), rejects.ACCOUNT_NOT_FOUND)


def test_no_user_has_more_accounts_than_the_limit(driver, monkeypatch):
    monkeypatch.setattr("node.exchange.accounts.ACCOUNTS_PER_USER_MAX", 2)
    assert ACCOUNTS_PER_USER_MAX == 1_000
    user_id = owner(driver, driver.account(0))
    driver.account(0, user=user_id)
    stray = driver.account(0)
    refused(driver, OpenAccount(user_id, "third", 0), rejects.TOO_MANY_ACCOUNTS)
    refused(driver, BindAccount(stray, user_id), rejects.TOO_MANY_ACCOUNTS)


# --- freezes --------------------------------------------------------------------------------------------------------


def test_a_frozen_account_cannot_open_and_closes_only_if_the_freeze_allows_it(driver):
    account_id, other = driver.account(), driver.account()
    driver.place(other, SELL, 2, 7_000)
    driver.place(account_id, BUY, 2, 7_000)
    assert driver.do(FreezeAccount(account_id, TRADING, True, "court order")) == [
        AccountFrozen(account_id, TRADING, True, "court order")
    ]
    assert code(driver.place(account_id, BUY, 1, 7_000)) == rejects.ACCOUNT_FROZEN.code
    assert isinstance(driver.place(account_id, SELL, 1, 7_100, offset=CLOSETODAY)[0], OrderAccepted)
    driver.do(FreezeAccount(account_id, TRADING, False))
    assert code(driver.place(account_id, SELL, 1, 7_100, offset=CLOSETODAY)) == rejects.ACCOUNT_FROZEN.code
    driver.do(FreezeAccount(account_id, NONE, False))
    assert driver.machine.accounts[account_id].allow_close
    assert isinstance(driver.place(account_id, BUY, 1, 7_000)[0], OrderAccepted)


@pytest.mark.parametrize(
    ("kind", "deposits", "withdraws"),
    [(NONE, True, True), (TRADING, True, True), (WITHDRAW, True, False), (FULL, False, False)],
)
def test_a_freeze_stops_the_money_that_it_names(driver, kind, deposits, withdraws):
    account_id = driver.account(100)
    driver.do(FreezeAccount(account_id, kind, True, "why"))
    for command, passes in ((Deposit(account_id, 1), deposits), (Withdraw(account_id, 1), withdraws)):
        if passes:
            assert isinstance(driver.do(command)[0], FundsMoved)
        else:
            detail = refused(driver, command, rejects.ACCOUNT_FROZEN)
            name = FreezeKind(kind).name
            assert detail == f"{account_id} is frozen ({name}): why"


@pytest.mark.parametrize(("kind", "reason"), [(4, ""), (-1, ""), (FULL, "x" * 201), (FULL, "a\x1b")])
def test_a_freeze_that_does_not_exist_or_a_bad_reason_is_refused(driver, kind, reason):
    account_id = driver.account(0)
    refused(driver, FreezeAccount(account_id, kind, True, reason), rejects.BAD_ACCOUNT_PARAMETERS)


# --- limits ---------------------------------------------------------------------------------------------------------


def test_the_limits_of_an_account_are_set_and_taken_away(driver):
    account_id = driver.account()
    assert driver.do(SetAccountLimits(account_id, 10, 5 * YUAN, 3)) == [LimitsSet(account_id, "")]
    account = driver.machine.accounts[account_id]
    assert (account.orders_alive_max, account.order_turnover_max, account.order_volume_max) == (10, 5 * YUAN, 3)
    assert driver.do(SetPositionLimit(account_id, "cu2701", 7)) == [LimitsSet(account_id, "SHFE.cu2701")]
    assert account.position_limits == {"SHFE.cu2701": 7}
    driver.do(SetPositionLimit(account_id, "SHFE.cu2701", 0))
    assert account.position_limits == {}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("orders_alive", -1),
        ("orders_alive", ORDERS_ALIVE_PER_ACCOUNT_MAX + 1),
        ("order_turnover_units", -1),
        ("order_turnover_units", NOTIONAL_UNITS_MAX + 1),
        ("order_volume", -1),
        ("order_volume", VOLUME_MAX + 1),
    ],
)
def test_a_limit_out_of_bounds_is_refused_by_its_name(driver, field, value):
    account_id = driver.account(0)
    limits = {"orders_alive": 0, "order_turnover_units": 0, "order_volume": 0} | {field: value}
    detail = refused(driver, SetAccountLimits(account_id, **limits), rejects.BAD_ACCOUNT_PARAMETERS)
    assert detail.startswith(f"{field} {value} is not in [0, ")


def test_a_position_limit_out_of_bounds_or_of_no_instrument_is_refused(driver):
    account_id = driver.account(0)
    for lots in (-1, NOTIONAL_UNITS_MAX + 1):
        refused(driver, SetPositionLimit(account_id, "cu2701", lots), rejects.BAD_ACCOUNT_PARAMETERS)
    refused(driver, SetPositionLimit(account_id, "cu9999", 1), rejects.INSTRUMENT_NOT_FOUND)


# --- money ----------------------------------------------------------------------------------------------------------


def test_money_of_a_bank_is_told_from_cash(driver):
    account_id = driver.account(0)
    moves = [
        (Deposit(account_id, 500), FundsKind.DEPOSIT, 500),
        (Deposit(account_id, 300, "", "ICBC", "工资"), FundsKind.BANK_IN, 800),
        (Withdraw(account_id, 200, "", "CCB"), FundsKind.BANK_OUT, 600),
        (Withdraw(account_id, 100, "", "", "cash"), FundsKind.WITHDRAW, 500),
    ]
    for command, kind, balance in moves:
        assert driver.do(command) == [
            FundsMoved(account_id, int(kind), command.amount_units, balance, command.bank, command.remark)
        ]


def test_the_newest_flows_are_kept_with_index_and_time(driver, monkeypatch):
    assert FUNDS_FLOWS_KEPT == 200
    monkeypatch.setattr("node.exchange.flows.FUNDS_FLOWS_KEPT", 3)
    account_id = driver.account(0)
    events = [driver.do(Deposit(account_id, amount, "", "ICBC"))[0] for amount in (1, 2, 3, 4)]
    kept = flows.flows(driver.machine.accounts[account_id])
    assert [flow.moved for flow in kept] == events[1:]
    assert (kept[-1].index, kept[-1].time_ns) == (driver.machine.index, driver.machine.time_ns)
    refused(driver, Deposit(account_id, 0), rejects.BAD_AMOUNT)
    assert len(driver.machine.accounts[account_id].flows) == 3


@pytest.mark.parametrize("amount", [0, -1, TRANSFER_UNITS_MAX + 1])
@pytest.mark.parametrize("command", [Deposit, Withdraw])
def test_an_amount_that_is_not_positive_or_too_large_is_refused(driver, command, amount):
    account_id = driver.account(100)
    refused(driver, command(account_id, amount), rejects.BAD_AMOUNT)


@pytest.mark.parametrize(("bank", "remark"), [("x" * 65, ""), (" ICBC", ""), ("a\nb", ""), ("", "x" * 65), ("", "\t")])
@pytest.mark.parametrize("command", [Deposit, Withdraw])
def test_a_bank_or_a_remark_that_cannot_be_shown_is_refused(driver, command, bank, remark):
    account_id = driver.account(100)
    refused(driver, command(account_id, 1, "", bank, remark), rejects.BAD_ACCOUNT_PARAMETERS)


def test_a_balance_has_a_bound(driver):
    account_id = driver.account(0)
    for _ in range(BALANCE_UNITS_MAX // TRANSFER_UNITS_MAX):
        driver.do(Deposit(account_id, TRANSFER_UNITS_MAX))
    refused(driver, Deposit(account_id, 1), rejects.DEPOSIT_FAILED)


def test_only_what_is_free_and_settled_may_leave(driver):
    account_id, other = driver.account(100_000), driver.account()
    driver.place(other, SELL, 2, 7_000)
    driver.place(account_id, BUY, 2, 7_000)
    driver.place(other, BUY, 1, 7_010)
    driver.place(account_id, SELL, 1, 7_010, offset=CLOSETODAY)
    account = driver.machine.accounts[account_id]
    profit = 10 * 10 * 5 * YUAN  # of the lot that is closed, and of the one that is held
    assert (account.close_profit, account.position_profit()) == (profit, profit)
    free = 100_000 * YUAN - 3 * 175_000 - 35_000 * YUAN
    assert account.withdrawable() == free
    detail = refused(driver, Withdraw(account_id, free + 1), rejects.WITHDRAWAL_FAILED)
    assert detail == f"amount {free + 1} units, withdrawable {free}"
    assert isinstance(driver.do(Withdraw(account_id, free))[0], FundsMoved)


def test_a_repeated_deposit_is_booked_once_even_if_the_account_was_frozen_since(driver):
    account_id = driver.account(0)
    driver.do(Deposit(account_id, 100, "r1"))
    driver.do(FreezeAccount(account_id, FULL))
    (event,) = driver.do(Deposit(account_id, 100, "r1"))
    assert isinstance(event, RequestRepeated)
    assert event.code == 0
    assert driver.machine.accounts[account_id].deposit == 100
