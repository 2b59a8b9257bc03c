"""Accounts: opening, and money in and out."""

from __future__ import annotations

from typing import Final

from node.exchange import rejects
from node.exchange.commands import Deposit, OpenAccount, Withdraw
from node.exchange.events import AccountOpened, Event, FundsMoved
from node.exchange.ledger import Account
from node.exchange.rejects import Refused
from node.exchange.requests import Once
from node.exchange.state import Handlers, State
from node.exchange.texts import LABEL_RULE, is_label
from node.exchange.types import (
    ACCOUNTS_MAX,
    ACCOUNTS_PER_USER_MAX,
    BALANCE_UNITS_MAX,
    ENCODABLE_MAX,
    TEXT_MAX,
    TRANSFER_UNITS_MAX,
    AccountType,
    FundsKind,
)


def open_account(state: State, command: OpenAccount, raw: bytes, events: list[Event]) -> None:
    user = state.user(command.user_id)
    with Once(state, user.requests, command.request_id, raw, events, "") as request:
        if request.repeated:
            return
        if not is_label(command.account_name):
            raise Refused(
                rejects.BAD_ACCOUNT_PARAMETERS, f"account_name must be 1 to {TEXT_MAX} characters{LABEL_RULE}"
            )
        if not 0 <= command.account_type <= AccountType.MARKET_MAKER:
            raise Refused(rejects.BAD_ACCOUNT_PARAMETERS, f"account_type {command.account_type} is unknown")
        if len(user.accounts) >= ACCOUNTS_PER_USER_MAX:
            raise Refused(rejects.TOO_MANY_ACCOUNTS, f"{user.user_id} has {ACCOUNTS_PER_USER_MAX} accounts")
        if len(state.accounts) >= ACCOUNTS_MAX:
            raise Refused(rejects.TOO_MANY_ACCOUNTS, f"the exchange has {ACCOUNTS_MAX} accounts, its limit")
        account_id = f"ACC_{len(state.accounts) + 1:08d}"
        account = Account(account_id, user, command.account_name, command.account_type, state.time_ns)
        state.accounts[account_id] = account
        user.accounts[account_id] = account
        request.ref = account_id
        events.append(AccountOpened(account_id, user.user_id, command.account_name, command.account_type))


def deposit(state: State, command: Deposit, raw: bytes, events: list[Event]) -> None:
    account = state.account(command.account_id)
    with Once(state, account.requests, command.request_id, raw, events, account.account_id) as request:
        if request.repeated:
            return
        amount = command.amount_units
        _check_amount(amount)
        balance = account.balance() + amount
        if not -ENCODABLE_MAX <= balance <= BALANCE_UNITS_MAX:
            raise Refused(rejects.DEPOSIT_FAILED, f"a balance of {balance} units is out of bounds")
        account.deposit += amount
        state.external_units += amount
        events.append(FundsMoved(account.account_id, int(FundsKind.DEPOSIT), amount, balance))


def withdraw(state: State, command: Withdraw, raw: bytes, events: list[Event]) -> None:
    account = state.account(command.account_id)
    with Once(state, account.requests, command.request_id, raw, events, account.account_id) as request:
        if request.repeated:
            return
        amount = command.amount_units
        _check_amount(amount)
        free = account.withdrawable()
        balance = account.balance() - amount
        if amount > free or balance > ENCODABLE_MAX:
            raise Refused(rejects.WITHDRAWAL_FAILED, f"amount {amount} units, withdrawable {free}")
        account.withdraw += amount
        state.external_units -= amount
        events.append(FundsMoved(account.account_id, int(FundsKind.WITHDRAW), amount, balance))


def _check_amount(amount: int) -> None:
    if not 1 <= amount <= TRANSFER_UNITS_MAX:
        raise Refused(rejects.BAD_AMOUNT, f"amount {amount} units is not in [1, {TRANSFER_UNITS_MAX}]")


HANDLERS: Final[Handlers] = {OpenAccount: open_account, Deposit: deposit, Withdraw: withdraw}
