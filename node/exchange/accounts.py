"""Accounts: opening and closing, their owner, freezes and limits, and money in and out."""

from __future__ import annotations

from typing import Final

from node.exchange import flows, monitor, rejects
from node.exchange.commands import (
    BindAccount,
    CloseAccount,
    Deposit,
    FreezeAccount,
    OpenAccount,
    SetAccountLimits,
    SetPositionLimit,
    Withdraw,
)
from node.exchange.events import (
    AccountBound,
    AccountClosed,
    AccountFrozen,
    AccountOpened,
    Event,
    FundsMoved,
    LimitsSet,
)
from node.exchange.ledger import Account
from node.exchange.rejects import Refused
from node.exchange.requests import Once
from node.exchange.state import Handlers, State
from node.exchange.texts import LABEL_RULE, check_note, is_label
from node.exchange.types import (
    ACCOUNTS_MAX,
    ACCOUNTS_PER_USER_MAX,
    BALANCE_UNITS_MAX,
    ENCODABLE_MAX,
    NOTIONAL_UNITS_MAX,
    ORDERS_ALIVE_PER_ACCOUNT_MAX,
    TEXT_MAX,
    TRANSFER_UNITS_MAX,
    VOLUME_MAX,
    AccountType,
    FreezeKind,
    FundsKind,
    UserStatus,
)
from node.exchange.users import User

FULL: Final = int(FreezeKind.FULL)
NO_WITHDRAWALS: Final = (int(FreezeKind.WITHDRAW), FULL)
LEFT_NAMED_MAX: Final = 3  # instruments that a refusal names; it counts the others


def open_account(state: State, command: OpenAccount, raw: bytes, events: list[Event]) -> None:
    user = state.user(command.user_id)
    with Once(state, user.requests, command.request_id, raw, events, "") as request:
        if request.repeated:
            return
        _check_owner(user)
        if not is_label(command.account_name):
            raise Refused(
                rejects.BAD_ACCOUNT_PARAMETERS, f"account_name must be 1 to {TEXT_MAX} characters{LABEL_RULE}"
            )
        if not 0 <= command.account_type <= AccountType.MARKET_MAKER:
            raise Refused(rejects.BAD_ACCOUNT_PARAMETERS, f"account_type {command.account_type} is unknown")
        if len(state.accounts) >= ACCOUNTS_MAX:
            raise Refused(rejects.TOO_MANY_ACCOUNTS, f"the exchange has {ACCOUNTS_MAX} accounts, its limit")
        account_id = f"ACC_{len(state.accounts) + 1:08d}"
        account = Account(account_id, user, command.account_name, command.account_type, state.time_ns)
        state.accounts[account_id] = account
        user.accounts[account_id] = account
        request.ref = account_id
        events.append(AccountOpened(account_id, user.user_id, command.account_name, command.account_type))


def close_account(state: State, command: CloseAccount, raw: bytes, events: list[Event]) -> None:
    account = _open_account(state, command.account_id)
    left = what_is_left(account)
    if left:
        raise Refused(rejects.ACCOUNT_NOT_EMPTY, f"{account.account_id}: {left}")
    close(account, events)


def close(account: Account, events: list[Event]) -> None:
    """Close an account of which nothing is left. It stays in the state, with its statements."""
    account.closed = True
    events.append(AccountClosed(account.account_id))


def what_is_left(account: Account) -> str:
    """What stands against closing an account, for people: lots, orders, money; empty if nothing does."""
    held = [
        f"{position.long.volume} long and {position.short.volume} short lots of {instrument_id}"
        for instrument_id, position in account.positions.items()
        if position.long.volume or position.short.volume
    ]
    left = held[:LEFT_NAMED_MAX]
    if len(held) > LEFT_NAMED_MAX:
        left.append(f"positions in {len(held) - LEFT_NAMED_MAX} more instruments")
    if account.live:
        left.append(f"{len(account.live)} live orders")
    waiting = account.pending_conditionals()
    if waiting:
        left.append(f"{waiting} pending conditional orders")
    balance = account.balance()
    if balance:
        left.append(f"a balance of {balance} units")
    return ", ".join(left)


def bind_account(state: State, command: BindAccount, raw: bytes, events: list[Event]) -> None:
    """Give an account to another user, with everything in it but orders: those belong to who entered them."""
    account = _open_account(state, command.account_id)
    user = state.user(command.user_id)
    previous = account.user
    if user is previous:
        raise Refused(rejects.BAD_ACCOUNT_PARAMETERS, f"{account.account_id} belongs to user_id {user.user_id} already")
    _check_owner(user)
    waiting = account.pending_conditionals()
    if account.live or waiting:
        raise Refused(
            rejects.ACCOUNT_HAS_ORDERS,
            f"{account.account_id}: {len(account.live)} live and {waiting} pending conditional orders",
        )
    del previous.accounts[account.account_id]
    user.accounts[account.account_id] = account
    account.user = user
    events.append(AccountBound(account.account_id, user.user_id, previous.user_id))


def freeze_account(state: State, command: FreezeAccount, raw: bytes, events: list[Event]) -> None:
    account = _open_account(state, command.account_id)
    kind = command.kind
    if not 0 <= kind <= FULL:
        raise Refused(rejects.BAD_ACCOUNT_PARAMETERS, f"kind {kind} of the freeze is unknown")
    check_note("reason", command.reason, rejects.BAD_ACCOUNT_PARAMETERS)
    account.freeze = kind
    account.allow_close = command.allow_close if kind else True
    account.freeze_reason = command.reason if kind else ""
    events.append(AccountFrozen(account.account_id, kind, account.allow_close, command.reason))


def set_account_limits(state: State, command: SetAccountLimits, raw: bytes, events: list[Event]) -> None:
    account = _open_account(state, command.account_id)
    bounds = (
        ("orders_alive", command.orders_alive, ORDERS_ALIVE_PER_ACCOUNT_MAX),
        ("order_turnover_units", command.order_turnover_units, NOTIONAL_UNITS_MAX),
        ("order_volume", command.order_volume, VOLUME_MAX),
    )
    for field, value, most in bounds:
        if not 0 <= value <= most:
            raise Refused(rejects.BAD_ACCOUNT_PARAMETERS, f"{field} {value} is not in [0, {most}]")
    account.orders_alive_max = command.orders_alive
    account.order_turnover_max = command.order_turnover_units
    account.order_volume_max = command.order_volume
    events.append(LimitsSet(account.account_id, ""))


def set_position_limit(state: State, command: SetPositionLimit, raw: bytes, events: list[Event]) -> None:
    account = _open_account(state, command.account_id)
    instrument_id = state.instrument(command.instrument_id).instrument_id
    lots = command.lots
    if not 0 <= lots <= NOTIONAL_UNITS_MAX:  # no position is larger: a lot is worth a unit at least
        raise Refused(rejects.BAD_ACCOUNT_PARAMETERS, f"lots {lots} is not in [0, {NOTIONAL_UNITS_MAX}]")
    if lots:
        account.position_limits[instrument_id] = lots
    else:
        account.position_limits.pop(instrument_id, None)
    events.append(LimitsSet(account.account_id, instrument_id))


def deposit(state: State, command: Deposit, raw: bytes, events: list[Event]) -> None:
    account = state.account(command.account_id)
    with Once(state, account.requests, command.request_id, raw, events, account.account_id) as request:
        if request.repeated:
            return
        amount = command.amount_units
        _check_transfer(amount, command.bank, command.remark)
        _check_open(account)
        if account.freeze == FULL:
            raise _frozen(account)
        balance = account.balance() + amount
        if not -ENCODABLE_MAX <= balance <= BALANCE_UNITS_MAX:
            raise Refused(rejects.DEPOSIT_FAILED, f"a balance of {balance} units is out of bounds")
        account.deposit += amount
        state.external_units += amount
        kind = FundsKind.BANK_IN if command.bank else FundsKind.DEPOSIT
        _moved(state, account, kind, amount, balance, command.bank, command.remark, events)


def withdraw(state: State, command: Withdraw, raw: bytes, events: list[Event]) -> None:
    account = state.account(command.account_id)
    with Once(state, account.requests, command.request_id, raw, events, account.account_id) as request:
        if request.repeated:
            return
        amount = command.amount_units
        _check_transfer(amount, command.bank, command.remark)
        _check_open(account)
        if account.freeze in NO_WITHDRAWALS:
            raise _frozen(account)
        free = account.withdrawable()
        balance = account.balance() - amount
        if amount > free or balance > ENCODABLE_MAX:
            raise Refused(rejects.WITHDRAWAL_FAILED, f"amount {amount} units, withdrawable {free}")
        account.withdraw += amount
        state.external_units -= amount
        kind = FundsKind.BANK_OUT if command.bank else FundsKind.WITHDRAW
        _moved(state, account, kind, amount, balance, command.bank, command.remark, events)


def _moved(
    state: State,
    account: Account,
    kind: FundsKind,
    amount: int,
    balance: int,
    bank: str,
    remark: str,
    events: list[Event],
) -> None:
    moved = FundsMoved(account.account_id, int(kind), amount, balance, bank, remark)
    flows.keep(account, state.index, state.time_ns, moved)
    monitor.touch(state, account)
    events.append(moved)


def _check_transfer(amount: int, bank: str, remark: str) -> None:
    if not 1 <= amount <= TRANSFER_UNITS_MAX:
        raise Refused(rejects.BAD_AMOUNT, f"amount {amount} units is not in [1, {TRANSFER_UNITS_MAX}]")
    if bank and not is_label(bank):
        raise Refused(rejects.BAD_ACCOUNT_PARAMETERS, f"bank must be at most {TEXT_MAX} characters{LABEL_RULE}")
    check_note("remark", remark, rejects.BAD_ACCOUNT_PARAMETERS, TEXT_MAX)


def _check_open(account: Account) -> None:
    if account.closed:
        raise Refused(rejects.ACCOUNT_CLOSED, f"{account.account_id} is closed")


def _frozen(account: Account) -> Refused:
    kind = FreezeKind(account.freeze).name
    return Refused(rejects.ACCOUNT_FROZEN, f"{account.account_id} is frozen ({kind}): {account.freeze_reason}")


def _open_account(state: State, account_id: str) -> Account:
    """An account that is not closed. Raises Refused."""
    account = state.account(account_id)
    _check_open(account)
    return account


def _check_owner(user: User) -> None:
    """Raises Refused unless a user may get one more account. Closed ones count: their statements are kept."""
    if user.status != UserStatus.ACTIVE:
        raise Refused(rejects.USER_FROZEN, f"user_id {user.user_id} is {UserStatus(user.status).name}")
    if len(user.accounts) >= ACCOUNTS_PER_USER_MAX:
        raise Refused(rejects.TOO_MANY_ACCOUNTS, f"{user.user_id} has {ACCOUNTS_PER_USER_MAX} accounts")


HANDLERS: Final[Handlers] = {
    OpenAccount: open_account,
    CloseAccount: close_account,
    BindAccount: bind_account,
    FreezeAccount: freeze_account,
    SetAccountLimits: set_account_limits,
    SetPositionLimit: set_position_limit,
    Deposit: deposit,
    Withdraw: withdraw,
}
