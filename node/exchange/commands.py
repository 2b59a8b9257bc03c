"""Commands: what the log carries, in the imperative. Frozen, positional, tagged by a number that never changes meaning.

Fields are integers and text only (units: `types`). A new optional field goes to the end with a default, so that old
logs still decode. Random or secret-derived values (password hashes) are made before the log and carried here. `by` is
the user who asked (empty: the node itself): the log is the audit trail.
"""

from __future__ import annotations

import msgspec


class Command(msgspec.Struct, frozen=True, array_like=True, gc=False, forbid_unknown_fields=True):
    """Base of all commands."""


# Users


class RegisterUser(Command, frozen=True, tag=1):
    """Make a user. The name is unique; repeated with the same `request_id` it answers the first result."""

    username: str
    password_hash: str  # bcrypt, made before the log
    roles: int = 1  # mask of types.Role
    request_id: str = ""
    phone: str = ""  # unique if given
    email: str = ""  # unique if given
    real_name: str = ""
    by: str = ""


class SetPassword(Command, frozen=True, tag=2):
    """Replace a password hash; every token issued before dies (the generation rises)."""

    user_id: str
    password_hash: str
    by: str = ""


class RevokeTokens(Command, frozen=True, tag=3):
    """Log out everywhere: the user's token generation rises."""

    user_id: str
    by: str = ""


class SetRoles(Command, frozen=True, tag=4):
    """Replace a user's roles; every token issued before dies."""

    user_id: str
    roles: int  # mask of types.Role
    by: str = ""


class SetUserStatus(Command, frozen=True, tag=5):
    """Freeze, unfreeze or delete a user. A frozen user's tokens die; DELETED is final and needs empty accounts."""

    user_id: str
    status: int  # types.UserStatus
    reason: str = ""
    by: str = ""


class SetProfile(Command, frozen=True, tag=6):
    """Replace a user's contact data. Phone and e-mail are unique where given."""

    user_id: str
    phone: str
    email: str
    real_name: str
    by: str = ""


class RecordLogin(Command, frozen=True, tag=7):
    """The outcome of a login attempt; failures in a row delay the next ones, in log time, on every node."""

    user_id: str
    success: bool


# Accounts and money


class OpenAccount(Command, frozen=True, tag=8):
    """Open a trading account for a user. `request_id` is unique per user; empty: not remembered."""

    user_id: str
    account_name: str
    account_type: int
    request_id: str = ""
    by: str = ""


class CloseAccount(Command, frozen=True, tag=9):
    """Close an account for good: no positions, no live orders, no money."""

    account_id: str
    by: str = ""


class BindAccount(Command, frozen=True, tag=10):
    """Give an account to another user. Refused while it has live orders: self-trade prevention knows the user."""

    account_id: str
    user_id: str
    by: str = ""


class FreezeAccount(Command, frozen=True, tag=11):
    """Set an account's freeze state; `kind` NONE unfreezes. `allow_close`: closing stays possible."""

    account_id: str
    kind: int  # types.FreezeKind
    allow_close: bool = True
    reason: str = ""
    by: str = ""


class SetAccountLimits(Command, frozen=True, tag=12):
    """Override the exchange's order limits for one account; 0: the exchange's own."""

    account_id: str
    orders_alive: int  # live orders
    order_turnover_units: int  # turnover of one order, money units
    order_volume: int = 0  # lots of one order
    by: str = ""


class SetPositionLimit(Command, frozen=True, tag=13):
    """Override the position limit of one account in one instrument, lots per side; 0: the instrument's own."""

    account_id: str
    instrument_id: str
    lots: int
    by: str = ""


class Deposit(Command, frozen=True, tag=14):
    """External money into an account. `bank` names the bank of a bank transfer; empty: cash of an administrator."""

    account_id: str
    amount_units: int
    request_id: str = ""
    bank: str = ""
    remark: str = ""
    by: str = ""


class Withdraw(Command, frozen=True, tag=15):
    """Money out of an account: only what is withdrawable (domain.md 6)."""

    account_id: str
    amount_units: int
    request_id: str = ""
    bank: str = ""
    remark: str = ""
    by: str = ""


# Instruments and sessions


class Terms(Command, frozen=True):
    """The terms of an instrument. Rates are integers of 1e-9, amounts are money units per lot, days are YYYYMMDD.

    `tick_units` is the price tick in money units (0.2 -> 2000); the value of one tick of one lot is
    `tick_units * volume_multiple`. Price limits are rates of the previous settlement price; 0: none but the bounds
    of `types`. An empty `calendar` trades around the clock.
    """

    instrument_id: str  # EXCHANGE.code
    name: str
    product: str
    volume_multiple: int
    tick_units: int
    pre_settlement_ticks: int  # of the first day; the state's own follows every settlement
    limit_up_rate: int
    limit_down_rate: int
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
    market_volume_max: int = 0  # lots of one MARKET, BEST or FIVELEVEL order; 0: volume_max
    instrument_class: int = 1  # types.InstrumentClass
    calendar: str = ""
    listing_day: int = 0  # first trading day; 0: at once
    expiry_day: int = 0  # last trading day; 0: none
    auction_rule: int = 0  # types.AuctionRule
    settlement_rule: int = 0  # types.SettlementRule


class ListInstrument(Terms, frozen=True, tag=16):
    """Put an instrument on the market."""

    by: str = ""


class ModifyInstrument(Terms, frozen=True, tag=17):
    """Replace an instrument's terms, at once: limits, margins and reservations follow.

    The multiplier, the tick, the product and the margin rule may change only while nobody holds positions or orders.
    `pre_settlement_ticks` is ignored. `expected_version` guards a read-modify-write; 0: any.
    """

    expected_version: int = 0
    by: str = ""


class SetInstrumentStatus(Command, frozen=True, tag=18):
    """Suspend, resume (ACTIVE), hold in an auction, or close an instrument. DELISTED has its own command."""

    instrument_id: str
    status: int  # types.InstrumentStatus
    reason: str = ""
    by: str = ""


class DelistInstrument(Command, frozen=True, tag=19):
    """Take an instrument off the market; refused, naming the holders, while positions or orders remain."""

    instrument_id: str
    by: str = ""


class SetCalendar(Command, frozen=True, tag=20):
    """Define or replace a session calendar of one exchange. Times are seconds of the day in Asia/Shanghai.

    `day` phases lie on the trading day itself; `night` phases lie on the evening before it and may pass midnight
    (25:00 is 90000). Each is (start, end, types.Phase), ordered, not overlapping; outside them the calendar is CLOSED.
    Saturdays and Sundays are no trading days, nor are `holidays` (YYYYMMDD); before a holiday there is no night.
    """

    calendar_id: str
    exchange: str
    day: list[tuple[int, int, int]]
    night: list[tuple[int, int, int]] = []
    holidays: list[int] = []
    by: str = ""


class SetSession(Command, frozen=True, tag=21):
    """Force every calendar of an exchange (or one, by its id) into a phase, until its next boundary."""

    target: str  # exchange or calendar_id
    phase: int  # types.Phase
    by: str = ""


class AdvanceClock(Command, frozen=True, tag=22):
    """Do everything that is due at the log time of this entry. The leader proposes it (`timers.due_ns`)."""


# Orders


class PlaceOrder(Command, frozen=True, tag=23):
    """Enter an order. `client_order_id` is unique per account; empty: not remembered.

    `price_ticks` is 0 unless `price_type` is LIMIT. `gtd_day` (YYYYMMDD) belongs to GTD alone.
    """

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
    gtd_day: int = 0


class CancelOrder(Command, frozen=True, tag=24):
    """Cancel a live order, named by its id or (with `order_id` 0) by its client id."""

    account_id: str
    order_id: int
    client_order_id: str = ""
    request_id: str = ""


class ModifyOrder(Command, frozen=True, tag=25):
    """Change price or total volume (or both) of a live limit order; less volume alone keeps its priority.

    `volume` is the new total volume (filled part included). 0 leaves a value as it is.
    """

    account_id: str
    order_id: int
    price_ticks: int = 0
    volume: int = 0
    client_order_id: str = ""  # names the order if order_id is 0
    request_id: str = ""


class CancelAll(Command, frozen=True, tag=26):
    """Cancel every live order of an account, of one instrument if named."""

    account_id: str
    instrument_id: str = ""
    request_id: str = ""


class PlaceConditional(Command, frozen=True, tag=27):
    """An order that is entered when the last price reaches `trigger_ticks`.

    `client_order_id` names the conditional order (at most once per account) and is taken over by the order that it
    becomes, which is GFD, or IOC where it has no limit price.
    """

    account_id: str
    instrument_id: str
    direction: int
    offset: int
    volume: int
    price_type: int  # types.PriceType
    price_ticks: int  # 0 unless LIMIT
    condition: int  # types.ConditionType
    comparison: int  # types.Comparison
    trigger_ticks: int
    valid_until_ns: int = 0  # log time; 0: until cancelled
    client_order_id: str = ""


class CancelConditional(Command, frozen=True, tag=28):
    account_id: str
    conditional_id: int


# Risk and settlement


class SetRiskParameters(Command, frozen=True, tag=29):
    """Replace the exchange's risk parameters. Ratios are whole percents of margin / balance."""

    elevated_percent: int
    high_percent: int
    critical_percent: int  # from here on opening is refused
    liquidation_percent: int
    release_percent: int  # forced liquidation ends below it
    liquidation_step_ticks: int  # each retry moves this much further towards the limit
    liquidation_retry_ns: int  # log time between the steps of one liquidation
    liquidation_retries_max: int
    alert_interval_ns: int  # one alert per account and level within it
    orders_alive_max: int  # per account
    order_turnover_max_units: int  # of one order; 0: none but the bounds of `types`
    by: str = ""


class ForceLiquidate(Command, frozen=True, tag=30):
    """Liquidate an account whatever its ratio, with a reason."""

    account_id: str
    reason: str
    by: str = ""
    request_id: str = ""


class SetSettlementPrices(Command, frozen=True, tag=31):
    """Set settlement prices of the open trading day, all or none of them. A later one replaces an earlier one."""

    trading_day: int  # YYYYMMDD
    prices: list[tuple[str, int]]  # (instrument_id, ticks)
    by: str = ""


class SettleDay(Command, frozen=True, tag=32):
    """Settle the open trading day and open the next. A settled day answers its first result again."""

    trading_day: int  # YYYYMMDD
    by: str = ""


# Announcements


class PublishAnnouncement(Command, frozen=True, tag=33):
    title: str
    content: str
    kind: int  # types.AnnouncementKind
    priority: int  # types.AnnouncementPriority
    expires_ns: int = 0  # 0: never
    by: str = ""
    request_id: str = ""


class WithdrawAnnouncement(Command, frozen=True, tag=34):
    announcement_id: int
    by: str = ""


AnyCommand = (
    RegisterUser
    | SetPassword
    | RevokeTokens
    | SetRoles
    | SetUserStatus
    | SetProfile
    | RecordLogin
    | OpenAccount
    | CloseAccount
    | BindAccount
    | FreezeAccount
    | SetAccountLimits
    | SetPositionLimit
    | Deposit
    | Withdraw
    | ListInstrument
    | ModifyInstrument
    | SetInstrumentStatus
    | DelistInstrument
    | SetCalendar
    | SetSession
    | AdvanceClock
    | PlaceOrder
    | CancelOrder
    | ModifyOrder
    | CancelAll
    | PlaceConditional
    | CancelConditional
    | SetRiskParameters
    | ForceLiquidate
    | SetSettlementPrices
    | SettleDay
    | PublishAnnouncement
    | WithdrawAnnouncement
)
