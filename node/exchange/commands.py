"""Commands: what the log carries, in the imperative. Frozen, positional, tagged by a number that never changes meaning.

Fields are integers and text only (units: `types`). A new optional field goes to the end with a default, so that old
logs still decode. Random or secret-derived values (password hashes) are made before the log and carried here.
"""

from __future__ import annotations

import msgspec


class Command(msgspec.Struct, frozen=True, array_like=True, gc=False, forbid_unknown_fields=True):
    """Base of all commands."""


class RegisterUser(Command, frozen=True, tag=1):
    """Make a user. The name is unique; repeated with the same `request_id` it answers the first result."""

    username: str
    password_hash: str  # bcrypt, made before the log
    roles: int = 1  # mask of types.Role
    request_id: str = ""


class SetPassword(Command, frozen=True, tag=2):
    """Replace a password hash; every token issued before dies (the generation rises)."""

    user_id: str
    password_hash: str


class RevokeTokens(Command, frozen=True, tag=3):
    """Log out everywhere: the user's token generation rises."""

    user_id: str


class OpenAccount(Command, frozen=True, tag=4):
    """Open a trading account for a user. `request_id` is unique per user; empty: not remembered."""

    user_id: str
    account_name: str
    account_type: int
    request_id: str = ""


class Deposit(Command, frozen=True, tag=5):
    """External money into an account."""

    account_id: str
    amount_units: int
    request_id: str = ""


class Withdraw(Command, frozen=True, tag=6):
    """Money out of an account: only what is withdrawable (domain.md 6)."""

    account_id: str
    amount_units: int
    request_id: str = ""


class ListInstrument(Command, frozen=True, tag=7):
    """Put an instrument on the market. Rates are integers of 1e-9, amounts are money units per lot.

    `tick_units` is the price tick in money units (0.2 -> 2000); the value of one tick of one lot is
    `tick_units * volume_multiple`. Limits of 0 mean: none but the bounds of `types`.
    """

    instrument_id: str  # EXCHANGE.code
    name: str
    product: str
    volume_multiple: int
    tick_units: int
    pre_settlement_ticks: int
    upper_limit_ticks: int
    lower_limit_ticks: int
    volume_min: int
    volume_max: int
    margin_long_rate: int
    margin_long_amount: int
    margin_short_rate: int
    margin_short_amount: int
    open_rate: int
    open_amount: int
    close_rate: int
    close_amount: int
    close_today_rate: int
    close_today_amount: int
    position_limit: int = 0  # lots per account and side
    margin_rule: int = 0  # types.MarginRule


class PlaceOrder(Command, frozen=True, tag=8):
    """Enter an order. `client_order_id` is unique per account; empty: not remembered."""

    account_id: str
    instrument_id: str
    direction: int
    offset: int
    volume: int
    price_type: int
    price_ticks: int
    time_condition: int = 0
    volume_condition: int = 0
    min_volume: int = 0
    post_only: bool = False
    self_trade: int = 0
    client_order_id: str = ""
    deadline_ns: int = 0  # 0: none


class CancelOrder(Command, frozen=True, tag=9):
    account_id: str
    order_id: int


class ModifyOrder(Command, frozen=True, tag=10):
    """Change price or total volume (or both) of a live limit order; less volume alone keeps its priority.

    `volume` is the new total volume (filled part included). 0 leaves a value as it is.
    """

    account_id: str
    order_id: int
    price_ticks: int = 0
    volume: int = 0


class CancelAll(Command, frozen=True, tag=11):
    """Cancel every live order of an account, of one instrument if named."""

    account_id: str
    instrument_id: str = ""


AnyCommand = (
    RegisterUser
    | SetPassword
    | RevokeTokens
    | OpenAccount
    | Deposit
    | Withdraw
    | ListInstrument
    | PlaceOrder
    | CancelOrder
    | ModifyOrder
    | CancelAll
)
