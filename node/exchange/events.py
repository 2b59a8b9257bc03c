"""Events: what applying a command did, in the past tense, one per transition.

The first event of a command is its answer. Everything that a person sees (replies, pushes, market data,
history) is made from events and the state they left. Units as in `commands`.
"""

from __future__ import annotations

import msgspec


class Event(msgspec.Struct, frozen=True, array_like=True, gc=False, forbid_unknown_fields=True):
    """Base of all events."""


class CommandRejected(Event, frozen=True, tag=1):
    """Nothing changed but the request record. `detail` names the field and the value."""

    code: int  # rejects.BY_CODE
    detail: str
    account_id: str = ""
    client_order_id: str = ""


class RequestRepeated(Event, frozen=True, tag=2):
    """The id was seen before: nothing was done, this is the first result."""

    first_index: int
    first_time_ns: int
    code: int  # 0: the first one succeeded
    detail: str
    ref: str  # account id of OpenAccount, announcement id of PublishAnnouncement; empty otherwise
    order_id: int  # 0 if the first request placed no order
    state: int  # of the order, at the end of its own command
    filled_volume: int
    filled_cost_ticks: int  # sum of price * lots
    first_trade_id: int  # its trades are [first_trade_id, first_trade_id + trade_count)
    trade_count: int
    account_id: str
    cancel_reason: int = 0  # types.CancelReason, if the order's own command cancelled it


class UserRegistered(Event, frozen=True, tag=3):
    user_id: str
    username: str
    roles: int


class TokensRevoked(Event, frozen=True, tag=4):
    """Every token of an older generation is dead; open sockets of the user close."""

    user_id: str
    generation: int


class AccountOpened(Event, frozen=True, tag=5):
    account_id: str
    user_id: str
    account_name: str
    account_type: int


class FundsMoved(Event, frozen=True, tag=6):
    account_id: str
    kind: int  # types.FundsKind
    amount_units: int
    balance_units: int  # after
    bank: str = ""
    remark: str = ""


class InstrumentListed(Event, frozen=True, tag=7):
    instrument_id: str


class OrderAccepted(Event, frozen=True, tag=8):
    order_id: int
    account_id: str
    instrument_id: str
    client_order_id: str
    direction: int
    offset: int
    price_type: int
    price_ticks: int  # as entered: 0 unless LIMIT
    volume: int
    time_condition: int
    volume_condition: int
    source: int = 0  # types.OrderSource


class TradeExecuted(Event, frozen=True, tag=9):
    """One trade, seen by both sides. `trade_id` is dense and increasing per exchange."""

    trade_id: int
    instrument_id: str
    price_ticks: int
    volume: int
    taker_direction: int
    buy_account_id: str
    buy_order_id: int
    buy_offset: int
    buy_left: int  # of the order, after this trade
    buy_fee_units: int
    buy_close_profit_units: int
    sell_account_id: str
    sell_order_id: int
    sell_offset: int
    sell_left: int
    sell_fee_units: int
    sell_close_profit_units: int


class OrderCancelled(Event, frozen=True, tag=10):
    """An order ended with lots left. Expired, if the reason is one of `types.EXPIRY_REASONS`."""

    order_id: int
    account_id: str
    instrument_id: str
    volume_left: int  # what was cancelled
    reason: int  # types.CancelReason


class OrderModified(Event, frozen=True, tag=11):
    order_id: int
    account_id: str
    instrument_id: str
    price_ticks: int
    volume: int
    volume_left: int
    kept_priority: bool


class AllCancelled(Event, frozen=True, tag=12):
    """The answer of CancelAll; one OrderCancelled per order follows."""

    account_id: str
    count: int


# Users


class RolesChanged(Event, frozen=True, tag=13):
    """Every token of an older generation is dead."""

    user_id: str
    roles: int
    generation: int


class UserStatusChanged(Event, frozen=True, tag=14):
    """Every token of an older generation is dead."""

    user_id: str
    status: int
    generation: int
    reason: str


class ProfileSet(Event, frozen=True, tag=15):
    user_id: str


class LoginRecorded(Event, frozen=True, tag=16):
    user_id: str
    failures: int  # in a row
    blocked_until_ns: int  # 0: not blocked


# Accounts


class AccountClosed(Event, frozen=True, tag=17):
    account_id: str


class AccountBound(Event, frozen=True, tag=18):
    account_id: str
    user_id: str
    previous_user_id: str


class AccountFrozen(Event, frozen=True, tag=19):
    """The freeze state changed; kind NONE: unfrozen."""

    account_id: str
    kind: int
    allow_close: bool
    reason: str


class LimitsSet(Event, frozen=True, tag=20):
    """An account's order limits, or its position limit in one instrument."""

    account_id: str
    instrument_id: str


# Instruments and sessions


class InstrumentModified(Event, frozen=True, tag=21):
    instrument_id: str
    version: int


class InstrumentStatusChanged(Event, frozen=True, tag=22):
    instrument_id: str
    status: int
    reason: str


class CalendarSet(Event, frozen=True, tag=23):
    calendar_id: str
    exchange: str


class SessionChanged(Event, frozen=True, tag=24):
    calendar_id: str
    exchange: str
    phase: int
    trading_day: int


class ClockAdvanced(Event, frozen=True, tag=25):
    """The answer of AdvanceClock; what was due follows."""

    trading_day: int


class AuctionIndicated(Event, frozen=True, tag=26):
    """Where the auction would match now. Price 0: nowhere. `surplus` lots remain at the price, bids positive."""

    instrument_id: str
    price_ticks: int
    volume: int
    surplus: int


class AuctionMatched(Event, frozen=True, tag=27):
    """The auction is over; its trades follow. Price 0: nothing matched."""

    instrument_id: str
    price_ticks: int
    volume: int


# Conditional orders


class ConditionalPlaced(Event, frozen=True, tag=28):
    conditional_id: int
    account_id: str
    instrument_id: str
    client_order_id: str


class ConditionalEnded(Event, frozen=True, tag=29):
    """TRIGGERED: `order_id` is the order that it became. FAILED: `code` and `detail` say why it was refused."""

    conditional_id: int
    account_id: str
    instrument_id: str
    state: int  # types.ConditionalState
    order_id: int
    code: int
    detail: str


# Risk


class RiskParametersSet(Event, frozen=True, tag=30):
    pass


class RiskAlerted(Event, frozen=True, tag=31):
    """An account entered a risk level (from below or above)."""

    alert_id: int
    account_id: str
    level: int  # types.RiskLevel
    previous_level: int
    margin_units: int
    balance_units: int  # saturated


class LiquidationStarted(Event, frozen=True, tag=32):
    liquidation_id: int
    account_id: str
    reason: str  # empty: the risk ratio
    margin_units: int
    balance_units: int  # saturated


class LiquidationStepped(Event, frozen=True, tag=33):
    """One step: the orders named follow or were entered with it."""

    liquidation_id: int
    account_id: str
    step: int
    order_ids: list[int]


class LiquidationEnded(Event, frozen=True, tag=34):
    liquidation_id: int
    account_id: str
    state: int  # types.LiquidationState
    margin_units: int
    balance_units: int  # saturated
    loss_units: int  # close profit of its fills, negated, and their fees


# Settlement


class SettlementPricesSet(Event, frozen=True, tag=35):
    trading_day: int
    count: int


class SettlementStarted(Event, frozen=True, tag=36):
    """Trading halts; the accounts follow, in this command and the AdvanceClocks after it."""

    trading_day: int
    accounts: int


class InstrumentSettled(Event, frozen=True, tag=37):
    """One instrument's day, and the next day's price limits."""

    instrument_id: str
    trading_day: int
    settlement_ticks: int
    open_ticks: int
    high_ticks: int
    low_ticks: int
    close_ticks: int
    volume: int
    turnover_ticks: int  # saturated
    open_interest: int
    upper_limit_ticks: int
    lower_limit_ticks: int


class AccountSettled(Event, frozen=True, tag=38):
    """The statement of one account for one trading day. All money saturated to 64 bits."""

    account_id: str
    trading_day: int
    pre_balance: int
    deposit: int
    withdraw: int
    close_profit: int
    position_profit: int  # realised into the balance
    commission: int
    balance: int  # the next day's pre_balance
    margin: int  # at the settlement prices
    available: int


class PositionExpired(Event, frozen=True, tag=39):
    """An expired instrument was settled in cash: one side of one position ended."""

    account_id: str
    instrument_id: str
    direction: int
    volume: int
    settlement_ticks: int
    profit_units: int


class DaySettled(Event, frozen=True, tag=40):
    """The day is settled and the next is open. `repeated`: it was settled before, and this is that result."""

    trading_day: int
    next_trading_day: int
    accounts: int
    commission_units: int
    profit_units: int  # close and position profit of all accounts: zero, but for remainders of shared costs
    liquidations: int  # accounts to be liquidated at the next opening
    repeated: bool


# Announcements


class AnnouncementPublished(Event, frozen=True, tag=41):
    announcement_id: int


class AnnouncementWithdrawn(Event, frozen=True, tag=42):
    announcement_id: int


AnyEvent = (
    CommandRejected
    | RequestRepeated
    | UserRegistered
    | TokensRevoked
    | AccountOpened
    | FundsMoved
    | InstrumentListed
    | OrderAccepted
    | TradeExecuted
    | OrderCancelled
    | OrderModified
    | AllCancelled
    | RolesChanged
    | UserStatusChanged
    | ProfileSet
    | LoginRecorded
    | AccountClosed
    | AccountBound
    | AccountFrozen
    | LimitsSet
    | InstrumentModified
    | InstrumentStatusChanged
    | CalendarSet
    | SessionChanged
    | ClockAdvanced
    | AuctionIndicated
    | AuctionMatched
    | ConditionalPlaced
    | ConditionalEnded
    | RiskParametersSet
    | RiskAlerted
    | LiquidationStarted
    | LiquidationStepped
    | LiquidationEnded
    | SettlementPricesSet
    | SettlementStarted
    | InstrumentSettled
    | AccountSettled
    | PositionExpired
    | DaySettled
    | AnnouncementPublished
    | AnnouncementWithdrawn
)
