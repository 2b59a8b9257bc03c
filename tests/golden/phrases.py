"""Events as the phrases that a scenario expects, one per event, from the point of view of one command (README.md).

A phrase names what its command does not: the person, the order or the instrument only where they differ from the
command's own.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any, NamedTuple, Protocol

import msgspec

from node.exchange import events as e
from node.exchange.rejects import BY_CODE
from node.exchange.types import (
    EXPIRY_REASONS,
    MONEY_SCALE,
    CancelReason,
    ConditionalState,
    FreezeKind,
    FundsKind,
    InstrumentStatus,
    LiquidationState,
    Offset,
    OrderSource,
    OrderState,
    Phase,
    PriceType,
    RiskLevel,
    TimeCondition,
    UserStatus,
    VolumeCondition,
)
from tests.golden.numbers import shown, shown_day, shown_time

OFFSET_WORDS = {
    int(Offset.OPEN): "open",
    int(Offset.CLOSE): "close",
    int(Offset.CLOSETODAY): "close-today",
    int(Offset.CLOSEYESTERDAY): "close-yesterday",
}
# A kind of event that a step may leave out as a whole: if one of its phrases stands there, all must.
OPTIONAL = (e.AuctionIndicated, e.InstrumentSettled, e.AccountSettled)


class Names(Protocol):
    """What the scenario calls things."""

    def person(self, account_id: str) -> str: ...
    def user(self, user_id: str) -> str: ...
    def order(self, order_id: int) -> str:
        """Its label; `order 7` without one."""

    def conditional(self, conditional_id: int) -> str: ...
    def labelled(self, order_id: int) -> bool: ...
    def code(self, instrument_id: str) -> str: ...
    def price(self, instrument_id: str, ticks: int) -> str: ...


class Viewpoint(NamedTuple):
    """What the command itself names."""

    account_id: str = ""
    order_id: int = 0
    instrument_id: str = ""
    time_ns: int = 0  # of the entry; 0: the command's own line says enough


def money(units: int) -> str:
    return shown(Fraction(units, MONEY_SCALE))


def ordered(direction: int, offset: int) -> str:
    return f"{'buy' if direction > 0 else 'sell'} {OFFSET_WORDS[offset]}"


class Teller:
    """Tells the events of one command."""

    def __init__(self, names: Names, view: Viewpoint) -> None:
        self._names = names
        self._view = view
        self._left: int | None = None  # of the command's own order, while it may still rest

    def tell(self, events: list[e.Event]) -> list[tuple[type, str]]:
        """(class of the event, phrase) of each; `rests` and `filled` say how the command's own order came out."""
        told: list[tuple[type, str]] = []
        for event in events:
            phrase = self._phrase(event)
            if phrase:
                told.append((type(event), phrase))
        if self._left is not None:
            told.append((e.OrderAccepted, f"rests {shown(self._left)}" if self._left else "filled"))
        return told

    def _phrase(self, event: e.Event) -> str:
        teller: Callable[[Any], str] | None = getattr(self, f"_{type(event).__name__}", None)
        if teller is not None:
            return teller(event)
        fields = " ".join(f"{name}={value}" for name, value in msgspec.structs.asdict(event).items())
        return f"{type(event).__name__} {fields}".strip()

    # Names

    def _code(self, instrument_id: str) -> str:
        """The instrument, if the command did not name it, with a space after it."""
        return "" if instrument_id == self._view.instrument_id else f"{self._names.code(instrument_id)} "

    def _party(self, account_id: str, order_id: int) -> str:
        person = self._names.person(account_id)
        return f"{person}'s {self._names.order(order_id)}" if self._names.labelled(order_id) else person

    def _subject(self, order_id: int) -> str:
        """The order, if it is not the command's own, with a space after it."""
        return "" if order_id == self._view.order_id else f"{self._names.order(order_id)} "

    def _person(self, account_id: str) -> str:
        return "" if account_id == self._view.account_id else f"{self._names.person(account_id)} "

    # Orders and trades. The names below are those of the events, as `_phrase` looks them up.

    def _CommandRejected(self, event: e.CommandRejected) -> str:
        return f"rejected {BY_CODE[event.code].name}"

    def _RequestRepeated(self, event: e.RequestRepeated) -> str:
        if event.code:
            return f"repeated rejected {BY_CODE[event.code].name}"
        if not event.order_id:
            return f"repeated {self._names.person(event.ref)}" if event.ref else "repeated"
        name = self._names.order(event.order_id)
        phrase = f"repeated {name} {OrderState(event.state).name} {shown(event.filled_volume)} filled"
        return phrase + (f" ({CancelReason(event.cancel_reason).name})" if event.cancel_reason else "")

    def _OrderAccepted(self, event: e.OrderAccepted) -> str:
        if event.order_id == self._view.order_id:
            self._left = event.volume
            return "accepted"
        words = [ordered(event.direction, event.offset), shown(event.volume), self._names.code(event.instrument_id)]
        if event.price_type == PriceType.LIMIT:
            words.append(f"@ {self._names.price(event.instrument_id, event.price_ticks)}")
        else:
            words.append(PriceType(event.price_type).name)
        words.append(TimeCondition(event.time_condition).name)
        if event.volume_condition:
            words.append(VolumeCondition(event.volume_condition).name)
        name = self._names.order(event.order_id)
        source = OrderSource(event.source).name
        return f"{name} of {self._names.person(event.account_id)} accepted ({source}): {' '.join(words)}"

    def _TradeExecuted(self, event: e.TradeExecuted) -> str:
        sides = [(event.buy_account_id, event.buy_order_id), (event.sell_account_id, event.sell_order_id)]
        taker, maker = sides if event.taker_direction > 0 else sides[::-1]
        if self._view.order_id == event.buy_order_id:
            self._left = event.buy_left
        elif self._view.order_id == event.sell_order_id:
            self._left = event.sell_left
        price = self._names.price(event.instrument_id, event.price_ticks)
        phrase = f"{self._code(event.instrument_id)}trade {shown(event.volume)} @ {price}"
        if taker[1] == self._view.order_id:
            return f"{phrase} with {self._party(*maker)}"
        verb = "buys" if event.taker_direction > 0 else "sells"
        preposition = "from" if event.taker_direction > 0 else "to"
        return f"{phrase} {self._party(*taker)} {verb} {preposition} {self._party(*maker)}"

    def _OrderCancelled(self, event: e.OrderCancelled) -> str:
        if event.order_id == self._view.order_id:
            self._left = None
        word = "expired" if event.reason in EXPIRY_REASONS else "cancelled"
        reason = CancelReason(event.reason).name
        return f"{self._subject(event.order_id)}{word} {shown(event.volume_left)} ({reason})"

    def _OrderModified(self, event: e.OrderModified) -> str:
        price = self._names.price(event.instrument_id, event.price_ticks)
        if event.order_id == self._view.order_id and not event.kept_priority:
            self._left = event.volume_left
        priority = "keeps" if event.kept_priority else "loses"
        return (
            f"{self._subject(event.order_id)}modified to {shown(event.volume)} @ {price} "
            f"{shown(event.volume_left)} left {priority} priority"
        )

    def _AllCancelled(self, event: e.AllCancelled) -> str:
        return f"all cancelled {event.count}"

    # Users, accounts, money

    def _FundsMoved(self, event: e.FundsMoved) -> str:
        kind = FundsKind(event.kind).name.lower()
        return f"{kind} {money(event.amount_units)} balance {money(event.balance_units)}"

    def _AccountOpened(self, event: e.AccountOpened) -> str:
        return "opened"

    def _AccountClosed(self, event: e.AccountClosed) -> str:
        return f"{self._person(event.account_id)}closed"

    def _AccountFrozen(self, event: e.AccountFrozen) -> str:
        close = "may close" if event.allow_close else "may not close"
        return f"{self._person(event.account_id)}freeze {FreezeKind(event.kind).name} {close}"

    def _AccountBound(self, event: e.AccountBound) -> str:
        user, previous = self._names.user(event.user_id), self._names.user(event.previous_user_id)
        return f"{self._person(event.account_id)}bound to {user} from {previous}"

    def _LimitsSet(self, event: e.LimitsSet) -> str:
        return "limits set"

    def _UserStatusChanged(self, event: e.UserStatusChanged) -> str:
        return f"user {self._names.user(event.user_id)} {UserStatus(event.status).name}"

    # Instruments and sessions

    def _InstrumentListed(self, event: e.InstrumentListed) -> str:
        return f"{self._code(event.instrument_id)}listed"

    def _InstrumentModified(self, event: e.InstrumentModified) -> str:
        return f"{self._code(event.instrument_id)}modified version {event.version}"

    def _InstrumentStatusChanged(self, event: e.InstrumentStatusChanged) -> str:
        return f"{self._code(event.instrument_id)}{InstrumentStatus(event.status).name}"

    def _CalendarSet(self, event: e.CalendarSet) -> str:
        return f"calendar {event.calendar_id} set"

    def _SessionChanged(self, event: e.SessionChanged) -> str:
        time = f"{shown_time(self._view.time_ns)} " if self._view.time_ns else ""
        return f"{time}session {event.calendar_id} {Phase(event.phase).name} {shown_day(event.trading_day)}"

    def _ClockAdvanced(self, event: e.ClockAdvanced) -> str:
        return ""  # the line is `clock to`: what was due follows

    def _AuctionIndicated(self, event: e.AuctionIndicated) -> str:
        code = self._code(event.instrument_id)
        if not event.price_ticks:
            return f"{code}indicated nothing"
        price = self._names.price(event.instrument_id, event.price_ticks)
        return f"{code}indicated {shown(event.volume)} @ {price} surplus {shown(event.surplus)}"

    def _AuctionMatched(self, event: e.AuctionMatched) -> str:
        code = self._code(event.instrument_id)
        if not event.price_ticks:
            return f"{code}auction matched nothing"
        price = self._names.price(event.instrument_id, event.price_ticks)
        return f"{code}auction matched {shown(event.volume)} @ {price}"

    # Conditional orders

    def _ConditionalPlaced(self, event: e.ConditionalPlaced) -> str:
        return "conditional placed"

    def _ConditionalEnded(self, event: e.ConditionalEnded) -> str:
        phrase = f"{self._names.conditional(event.conditional_id)} {ConditionalState(event.state).name}"
        if event.order_id:
            phrase += f" {self._names.order(event.order_id)}"
        return phrase + (f" {BY_CODE[event.code].name}" if event.code else "")

    # Risk and settlement

    def _RiskParametersSet(self, event: e.RiskParametersSet) -> str:
        return "risk parameters set"

    def _RiskAlerted(self, event: e.RiskAlerted) -> str:
        levels = f"{RiskLevel(event.previous_level).name} to {RiskLevel(event.level).name}"
        who = self._names.person(event.account_id)
        return f"alert {who} {levels} margin {money(event.margin_units)} of {money(event.balance_units)}"

    def _LiquidationStarted(self, event: e.LiquidationStarted) -> str:
        because = f" because {event.reason}" if event.reason else ""
        who = self._names.person(event.account_id)
        return (
            f"liquidation of {who} started margin {money(event.margin_units)} of {money(event.balance_units)}{because}"
        )

    def _LiquidationStepped(self, event: e.LiquidationStepped) -> str:
        orders = " ".join(self._names.order(order_id) for order_id in event.order_ids)
        return f"liquidation of {self._names.person(event.account_id)} step {event.step} {orders or 'nothing'}"

    def _LiquidationEnded(self, event: e.LiquidationEnded) -> str:
        who, state = self._names.person(event.account_id), LiquidationState(event.state).name
        sums = f"margin {money(event.margin_units)} of {money(event.balance_units)} loss {money(event.loss_units)}"
        return f"liquidation of {who} {state} {sums}"

    def _SettlementPricesSet(self, event: e.SettlementPricesSet) -> str:
        return f"settlement prices set {event.count}"

    def _SettlementStarted(self, event: e.SettlementStarted) -> str:
        return f"settlement started {shown_day(event.trading_day)} accounts {event.accounts}"

    def _InstrumentSettled(self, event: e.InstrumentSettled) -> str:
        prices = " ".join(
            f"{name} {self._names.price(event.instrument_id, ticks)}"
            for name, ticks in (
                ("settlement", event.settlement_ticks),
                ("open", event.open_ticks),
                ("high", event.high_ticks),
                ("low", event.low_ticks),
                ("close", event.close_ticks),
            )
        )
        lower, upper = (
            self._names.price(event.instrument_id, ticks)
            for ticks in (event.lower_limit_ticks, event.upper_limit_ticks)
        )
        return (
            f"{self._names.code(event.instrument_id)} {prices} volume {shown(event.volume)} "
            f"open_interest {shown(event.open_interest)} next limits {lower} to {upper}"
        )

    def _AccountSettled(self, event: e.AccountSettled) -> str:
        sums = " ".join(
            f"{name} {money(getattr(event, name))}"
            for name in (
                "pre_balance", "deposit", "withdraw", "close_profit", "position_profit", "commission", "balance",
                "margin", "available",
            )
        )  # fmt: skip
        return f"statement of {self._names.person(event.account_id)} {sums}"

    def _PositionExpired(self, event: e.PositionExpired) -> str:
        side = "long" if event.direction > 0 else "short"
        price = self._names.price(event.instrument_id, event.settlement_ticks)
        return (
            f"{self._names.person(event.account_id)} {self._names.code(event.instrument_id)} {side} "
            f"{shown(event.volume)} expired @ {price} profit {money(event.profit_units)}"
        )

    def _DaySettled(self, event: e.DaySettled) -> str:
        phrase = (
            f"settled {shown_day(event.trading_day)} next {shown_day(event.next_trading_day)} "
            f"accounts {event.accounts} commission {money(event.commission_units)} profit {money(event.profit_units)} "
            f"liquidations {event.liquidations}"
        )
        return phrase + (" repeated" if event.repeated else "")
