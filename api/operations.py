"""From a request to commands, and from what they did to an answer. REST and WebSocket share every line of it.

A request becomes commands only here, with the caller's own account and the instrument's tick; what is wrong with it
whatever the state (a price off the tick, a volume of zero, somebody else's account) is denied before the log, with the
code that the machine would use. An answer is made from the events of the applied command.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, Final

import msgspec

from api import render, schemas
from api.errors import ApiError, Forbidden, Malformed, Refused
from api.permissions import Permission, role_names
from api.ports import ApiContext
from api.principal import Principal, numbered, order_number
from api.render import OrderResult, ReceiptBody, TradeBody
from consensus.ports import Receipt
from node.exchange import commands, rejects, risk
from node.exchange.commands import Command
from node.exchange.events import (
    AccountOpened,
    AllCancelled,
    CommandRejected,
    ConditionalEnded,
    ConditionalPlaced,
    DaySettled,
    Event,
    FundsMoved,
    OrderAccepted,
    OrderCancelled,
    OrderModified,
    RequestRepeated,
    SettlementPricesSet,
    SettlementStarted,
    TokensRevoked,
    TradeExecuted,
    UserRegistered,
)
from node.exchange.instruments import Instrument
from node.exchange.machine import Machine
from node.exchange.types import (
    TRANSFER_UNITS_MAX,
    AccountType,
    Comparison,
    ConditionType,
    FundsKind,
    Offset,
    OrderState,
    PriceType,
    SelfTrade,
    TimeCondition,
    VolumeCondition,
)

DIRECTION: Final = {"BUY": 1, "SELL": -1}
OFFSET: Final = {offset.name: int(offset) for offset in Offset}
PRICE_TYPE: Final = {kind.name: int(kind) for kind in PriceType}
TIME_CONDITION: Final = {condition.name: int(condition) for condition in TimeCondition}
VOLUME_CONDITION: Final = {condition.name: int(condition) for condition in VolumeCondition}
SELF_TRADE: Final = {mode.name.lower(): int(mode) for mode in SelfTrade}
ACCOUNT_TYPE: Final = {kind.name.lower(): int(kind) for kind in AccountType}
CANCELLED: Final = int(OrderState.CANCELLED)


class Answer(msgspec.Struct, gc=False):
    """What a command came to: `data` with its receipt, or `error`."""

    data: Any = None
    receipt: ReceiptBody | None = None
    error: ApiError | None = None


# Requests to commands


def place_order(machine: Machine, principal: Principal, account_id: str, terms: schemas.OrderTerms) -> Command:
    """Raises ApiError if the order is denied before the log."""
    account = principal.user.accounts.get(account_id)
    if account is None:
        raise Refused(rejects.ACCOUNT_NOT_FOUND, f"account_id {account_id!r}")
    instrument = machine.resolve(terms.instrument_id)
    if instrument is None:
        raise Refused(rejects.INSTRUMENT_NOT_FOUND, f"instrument_id {terms.instrument_id!r} is not listed")
    price_type = terms.price_type or terms.order_type or "LIMIT"
    if terms.price_type is not None and terms.order_type is not None and terms.price_type != terms.order_type:
        raise Malformed(f"order_type {terms.order_type} contradicts price_type {terms.price_type}")
    if terms.price is None:
        if price_type == "LIMIT":
            raise Malformed("price: a LIMIT order needs one")
        ticks = 0
    else:
        ticks = price_ticks(instrument, terms.price)
    if terms.gtd_day is not None and terms.time_condition != "GTD":
        raise Refused(rejects.BAD_ORDER_PARAMETERS, "gtd_day needs time_condition GTD")
    command = commands.PlaceOrder(
        account.account_id,
        instrument.instrument_id,
        DIRECTION[terms.direction],
        OFFSET[terms.offset],
        terms.volume,
        PRICE_TYPE[price_type],
        ticks,
        TIME_CONDITION[terms.time_condition],
        VOLUME_CONDITION[terms.volume_condition],
        terms.min_volume,
        terms.post_only,
        SELF_TRADE[terms.self_trade],
        terms.client_order_id,
        terms.deadline_ns,
        day_number(terms.gtd_day) if terms.gtd_day else 0,
    )
    try:
        risk.check_format(command)
    except rejects.Refused as refused:
        raise Refused(refused.reject, refused.detail) from None
    return command


def day_number(day: str) -> int:
    """`2026-11-23` as 20261123; the pattern of the field is checked already."""
    return int(day.replace("-", ""))


def price_ticks(instrument: Instrument, units: int) -> int:
    """A price as ticks. Raises Refused for one that is off the tick, naming its neighbours."""
    tick = instrument.terms.tick_units
    ticks, rest = divmod(units, tick)
    if rest:
        below, above = render.money(ticks * tick), render.money((ticks + 1) * tick)
        raise Refused(
            rejects.PRICE_OFF_TICK,
            f"price {render.money(units)} of {instrument.instrument_id}, tick {render.money(tick)}; "
            f"its neighbours are {below} and {above}",
        )
    return ticks


def cancel_order(principal: Principal, account_id: str, order_id: str) -> Command:
    """Raises Refused if the account or the order is not the caller's."""
    account = principal.own_account(account_id)
    return commands.CancelOrder(account.account_id, _own_order(account.orders, order_id))


def modify_order(
    principal: Principal, account_id: str, order_id: str, price: int | None, volume: int | None
) -> Command:
    """Raises ApiError if the change is denied before the log."""
    account = principal.own_account(account_id)
    number = _own_order(account.orders, order_id)
    if price is None and volume is None:
        raise Malformed("price or volume (or both) must be given")
    if volume is not None and volume < 1:
        raise Refused(rejects.VOLUME_OUTSIDE_LIMITS, f"volume {volume} is not positive")
    ticks = 0
    if price is not None:
        ticks = price_ticks(account.orders[number].instrument, price)
        if ticks < 1:
            raise Refused(rejects.PRICE_OUTSIDE_LIMITS, f"price {render.money(price)} is not positive")
    return commands.ModifyOrder(account.account_id, number, ticks, volume or 0)


def _own_order(orders: dict[int, Any], order_id: str) -> int:
    number = order_number(order_id)
    if number not in orders:
        raise Refused(rejects.ORDER_NOT_FOUND, f"order_id {order_id!r}")
    return number


def cancel_all(machine: Machine, principal: Principal, account_id: str, instrument_id: str) -> Command:
    """Raises Refused if the account is not the caller's or the instrument is not listed."""
    account = principal.own_account(account_id)
    if not instrument_id:
        return commands.CancelAll(account.account_id)
    instrument = machine.resolve(instrument_id)
    if instrument is None:
        raise Refused(rejects.INSTRUMENT_NOT_FOUND, f"instrument_id {instrument_id!r} is not listed")
    return commands.CancelAll(account.account_id, instrument.instrument_id)


def register(username: str, password_hash: str, request_id: str) -> Command:
    """A new Trader. The machine refuses a name that is taken."""
    return commands.RegisterUser(username, password_hash, request_id=request_id)


def open_account(context: ApiContext, principal: Principal, body: schemas.OpenAccount) -> Command:
    """For the caller, or for somebody else with the permission OpenAccount. Raises ApiError."""
    user_id = body.user_id or principal.user_id
    if user_id != principal.user_id:
        principal.user_of(context.machine, user_id, Permission.OPEN_ACCOUNT)
    if body.init_cash:
        require_funding(context, principal, "init_cash")
        _check_amount("init_cash", body.init_cash)
    return commands.OpenAccount(user_id, body.account_name, ACCOUNT_TYPE[body.account_type], body.request_id)


def initial_deposit(account_id: str, body: schemas.OpenAccount) -> Command:
    """The second command of opening with `init_cash`; its own id follows from the request's, for at-most-once."""
    request_id = ""
    if body.request_id:
        request_id = "init:" + blake2b(body.request_id.encode(), digest_size=16).hexdigest()
    return commands.Deposit(account_id, int(body.init_cash), request_id)


def deposit(context: ApiContext, principal: Principal, body: schemas.MoveFunds) -> Command:
    """Into the caller's account; into anybody's with the permission DepositWithdraw. Raises ApiError."""
    account = principal.account_of(context.machine, body.account_id, Permission.DEPOSIT_WITHDRAW)
    require_funding(context, principal, "deposit")
    _check_amount("amount", body.amount)
    return commands.Deposit(account.account_id, int(body.amount), body.request_id)


def withdraw(context: ApiContext, principal: Principal, body: schemas.MoveFunds) -> Command:
    """From the caller's account; from anybody's with the permission DepositWithdraw. Raises ApiError."""
    account = principal.account_of(context.machine, body.account_id, Permission.DEPOSIT_WITHDRAW)
    _check_amount("amount", body.amount)
    return commands.Withdraw(account.account_id, int(body.amount), body.request_id)


def require_funding(context: ApiContext, principal: Principal, what: str) -> None:
    """Raises Forbidden unless the caller may create money, or the cluster lets everybody fund himself."""
    if not (context.settings.self_service_funding or principal.may(Permission.DEPOSIT_WITHDRAW)):
        raise Forbidden(f"{what} needs the permission DepositWithdraw on this cluster")


def _check_amount(field: str, units: int) -> None:
    if not 1 <= units <= TRANSFER_UNITS_MAX:
        most = render.money(TRANSFER_UNITS_MAX)
        raise Refused(rejects.BAD_AMOUNT, f"{field} {render.money(units)} is not positive, or above {most}")


def place_conditional(machine: Machine, principal: Principal, body: schemas.PlaceConditional) -> Command:
    """Raises ApiError if the order is denied before the log."""
    account = principal.own_account(body.account_id)
    instrument = machine.resolve(body.instrument_id)
    if instrument is None:
        raise Refused(rejects.INSTRUMENT_NOT_FOUND, f"instrument_id {body.instrument_id!r} is not listed")
    if body.order_type == "LIMIT" and body.limit_price is None:
        raise Malformed("limit_price: a LIMIT order needs one")
    return commands.PlaceConditional(
        account.account_id,
        instrument.instrument_id,
        DIRECTION[body.direction],
        OFFSET[body.offset],
        body.volume,
        PRICE_TYPE[body.order_type],
        price_ticks(instrument, body.limit_price) if body.limit_price is not None else 0,
        ConditionType[body.condition_type],
        Comparison.AT_OR_ABOVE if body.trigger_condition == "GE" else Comparison.AT_OR_BELOW,
        price_ticks(instrument, body.trigger_price),
        body.valid_until_ns,
        body.client_order_id,
    )


def cancel_conditional(machine: Machine, principal: Principal, conditional_id: str) -> Command:
    """Raises Refused if the conditional order is not the caller's."""
    number = numbered("C", conditional_id)
    conditional = machine.triggers.conditionals.get(number)
    if conditional is None or conditional.account.user is not principal.user:
        raise Refused(rejects.CONDITIONAL_NOT_FOUND, f"conditional_order_id {conditional_id!r}")
    return commands.CancelConditional(conditional.account.account_id, number)


def set_settlement_prices(
    machine: Machine, principal: Principal, trading_day: str | None, prices: Sequence[schemas.SettlementPrice]
) -> Command:
    """Raises Refused for an unknown instrument or a price off the tick."""
    ticks = []
    for price in prices:
        instrument = machine.resolve(price.instrument_id)
        if instrument is None:
            raise Refused(rejects.INSTRUMENT_NOT_FOUND, f"instrument_id {price.instrument_id!r} is not listed")
        ticks.append((instrument.instrument_id, price_ticks(instrument, price.settlement_price)))
    day = day_number(trading_day) if trading_day else machine.trading_day
    return commands.SetSettlementPrices(day, ticks, principal.user_id)


def settle_day(principal: Principal, body: schemas.ExecuteSettlement) -> Command:
    return commands.SettleDay(day_number(body.trading_day), principal.user_id)


# Results to answers


class Answers:
    """Makes answers from receipts. One per front door; the receipt of the newest entry is kept for the next command."""

    def __init__(self, context: ApiContext) -> None:
        self._context = context
        self._receipt = ReceiptBody(0, None, 0)
        self._digest = b""
        self._by_event: dict[type[Event], Any] = {
            OrderAccepted: self._accepted,
            OrderCancelled: self._cancelled,
            OrderModified: self._modified,
            AllCancelled: _all_cancelled,
            UserRegistered: _registered,
            AccountOpened: _opened,
            FundsMoved: _moved,
            TokensRevoked: _revoked,
            ConditionalPlaced: self._conditional,
            ConditionalEnded: self._conditional,
            SettlementPricesSet: _prices_set,
            SettlementStarted: _settling,
            DaySettled: _settled,
        }

    def of(self, command: Command, receipt: Receipt) -> Answer:
        """What `command` came to. Never raises for anything that a machine answers."""
        events: list[Event] = receipt.result
        first = events[0]
        kind = type(first)
        if kind is CommandRejected:
            assert isinstance(first, CommandRejected)
            return Answer(receipt=self._receipt_of(receipt), error=Refused(first.code, first.detail))
        if kind is RequestRepeated:
            assert isinstance(first, RequestRepeated)
            return self._repeated(command, first)
        return Answer(self._by_event[kind](events), self._receipt_of(receipt))

    def _receipt_of(self, receipt: Receipt) -> ReceiptBody:
        """Commands of one entry share one receipt."""
        if receipt.digest is not self._digest:
            self._digest = receipt.digest
            self._receipt = render.receipt_body(receipt)
        return self._receipt

    def _accepted(self, events: list[Event]) -> OrderResult:
        accepted = events[0]
        assert isinstance(accepted, OrderAccepted)
        number = accepted.order_id
        if len(events) == 1:
            return OrderResult(
                render.order_id(number),
                accepted.client_order_id,
                accepted.account_id,
                accepted.instrument_id,
                "Accepted",
                0,
                accepted.volume,
                None,
                None,
                [],
            )
        instrument = self._context.machine.instruments[accepted.instrument_id]
        filled, cost, trades, reason = _effects(number, instrument, events)
        left = accepted.volume - filled
        return OrderResult(
            render.order_id(number),
            accepted.client_order_id,
            accepted.account_id,
            accepted.instrument_id,
            _status(filled, left, reason),
            filled,
            left,
            render.average(instrument, cost, filled),
            reason,
            trades,
        )

    def _cancelled(self, events: list[Event]) -> OrderResult:
        cancelled = events[0]
        assert isinstance(cancelled, OrderCancelled)
        order = self._context.machine.orders.get(cancelled.order_id)
        instrument = self._context.machine.instruments[cancelled.instrument_id]
        filled = order.volume - cancelled.volume_left if order is not None else 0
        return OrderResult(
            render.order_id(cancelled.order_id),
            order.client_order_id if order is not None else "",
            cancelled.account_id,
            cancelled.instrument_id,
            "Cancelled",
            filled,
            cancelled.volume_left,
            render.average(instrument, order.filled_cost, filled) if order is not None else None,
            render.CANCEL_REASONS[cancelled.reason],
            [],
        )

    def _modified(self, events: list[Event]) -> OrderResult:
        """`average_price` is null in the rare case that later entries, applied meanwhile, have moved it."""
        modified = events[0]
        assert isinstance(modified, OrderModified)
        number = modified.order_id
        instrument = self._context.machine.instruments[modified.instrument_id]
        now_filled, _, trades, reason = _effects(number, instrument, events)
        left = modified.volume_left - now_filled
        filled = modified.volume - left
        order = self._context.machine.orders.get(number)
        average = None
        if order is not None and order.volume - order.left == filled:
            average = render.average(instrument, order.filled_cost, filled)
        return OrderResult(
            render.order_id(number),
            order.client_order_id if order is not None else "",
            modified.account_id,
            modified.instrument_id,
            _status(filled, left, reason),
            filled,
            left,
            average,
            reason,
            trades,
        )

    def _conditional(self, events: list[Event]) -> dict[str, Any]:
        """The conditional order as it is now; its number alone, if the state holds it no more."""
        event = events[0]
        assert isinstance(event, ConditionalPlaced | ConditionalEnded)
        return self._conditional_of(event.conditional_id, event.account_id)

    def _conditional_of(self, number: int, account_id: str) -> dict[str, Any]:
        conditional = self._context.machine.triggers.conditionals.get(number)
        if conditional is None:
            return {"conditional_order_id": render.conditional_id(number), "account_id": account_id}
        return render.conditional_body(conditional)

    def _repeated(self, command: Command, first: RequestRepeated) -> Answer:
        """The first result again, with the receipt of the entry that made it."""
        digest = self._context.hub.digest_at(first.first_index)
        receipt = ReceiptBody(first.first_index, digest.hex() if digest is not None else None, first.first_time_ns)
        if first.code:
            return Answer(receipt=receipt, error=Refused(first.code, first.detail, {"repeated": True}))
        if isinstance(command, commands.PlaceOrder):
            return Answer(self._repeated_order(command, first), receipt)
        if isinstance(command, commands.RegisterUser):
            user = self._context.machine.users[first.ref]
            return Answer({**render.user_body(user), "repeated": True}, receipt)
        if isinstance(command, commands.OpenAccount):
            account = self._context.machine.accounts[first.ref]
            data = _account_data(account.account_id, account.user.user_id, account.account_name, account.account_type)
            return Answer({**data, "repeated": True}, receipt)
        if isinstance(command, commands.PlaceConditional):
            conditional = self._context.machine.triggers.conditionals.get(int(first.ref))
            data = render.conditional_body(conditional) if conditional is not None else {}
            return Answer(
                {**data, "conditional_order_id": render.conditional_id(int(first.ref)), "repeated": True}, receipt
            )
        assert isinstance(command, commands.Deposit | commands.Withdraw)
        data = {"account_id": command.account_id, "amount": render.money(command.amount_units), "repeated": True}
        return Answer(data, receipt)

    def _repeated_order(self, command: commands.PlaceOrder, first: RequestRepeated) -> OrderResult:
        context = self._context
        instrument = context.machine.instruments[command.instrument_id]
        last = first.first_trade_id + first.trade_count
        fills = [context.tape.trade(instrument.exchange, number) for number in range(first.first_trade_id, last)]
        return OrderResult(
            render.order_id(first.order_id),
            command.client_order_id,
            command.account_id,
            command.instrument_id,
            render.STATES[first.state],
            first.filled_volume,
            command.volume - first.filled_volume,
            render.average(instrument, first.filled_cost_ticks, first.filled_volume),
            render.CANCEL_REASONS.get(first.cancel_reason),
            [render.trade_body(fill.trade, instrument) for fill in fills if fill is not None],
            True,
            first.trade_count,
        )


def _effects(number: int, instrument: Instrument, events: list[Event]) -> tuple[int, int, list[TradeBody], str | None]:
    """(filled lots, their cost in ticks * lots, trades, reason of its cancellation) of one order in its own command."""
    filled = cost = 0
    trades: list[TradeBody] = []
    reason = None
    for event in events:
        if type(event) is TradeExecuted:
            if number not in (event.buy_order_id, event.sell_order_id):
                continue  # of a conditional order that this one triggered
            filled += event.volume
            cost += event.price_ticks * event.volume
            trades.append(render.trade_body(event, instrument))
        elif type(event) is OrderCancelled and event.order_id == number:
            reason = render.CANCEL_REASONS[event.reason]
    return filled, cost, trades, reason


def _status(filled: int, left: int, reason: str | None) -> str:
    if reason is not None:
        return "Cancelled"
    if left == 0:
        return "Filled"
    return "PartiallyFilled" if filled else "Accepted"


def _all_cancelled(events: list[Event]) -> dict[str, Any]:
    answer = events[0]
    assert isinstance(answer, AllCancelled)
    order_ids = [render.order_id(event.order_id) for event in events if type(event) is OrderCancelled]
    return {"account_id": answer.account_id, "count": answer.count, "order_ids": order_ids}


def _registered(events: list[Event]) -> dict[str, Any]:
    event = events[0]
    assert isinstance(event, UserRegistered)
    return {
        "user_id": event.user_id,
        "username": event.username,
        "roles": role_names(event.roles),
        "message": "registered; no account was opened: POST /api/account/open opens one",
    }


def _account_data(account_id: str, user_id: str, name: str, kind: int) -> dict[str, Any]:
    return {
        "account_id": account_id,
        "user_id": user_id,
        "account_name": name,
        "account_type": render.ACCOUNT_TYPES[kind],
    }


def _opened(events: list[Event]) -> dict[str, Any]:
    event = events[0]
    assert isinstance(event, AccountOpened)
    return _account_data(event.account_id, event.user_id, event.account_name, event.account_type)


def _moved(events: list[Event]) -> dict[str, Any]:
    event = events[0]
    assert isinstance(event, FundsMoved)
    return {
        "account_id": event.account_id,
        "kind": FundsKind(event.kind).name.lower(),
        "amount": render.money(event.amount_units),
        "balance": render.money(event.balance_units),
    }


def _revoked(events: list[Event]) -> dict[str, Any]:
    event = events[0]
    assert isinstance(event, TokensRevoked)
    return {"user_id": event.user_id, "message": "every token of this user is revoked"}


def _prices_set(events: list[Event]) -> dict[str, Any]:
    event = events[0]
    assert isinstance(event, SettlementPricesSet)
    return {"trading_day": render.day(event.trading_day), "count": event.count}


def _settling(events: list[Event]) -> dict[str, Any]:
    """A small exchange is settled within the command; otherwise `status` is `running`, and the result follows."""
    event = events[0]
    assert isinstance(event, SettlementStarted)
    for last in reversed(events):
        if isinstance(last, DaySettled):
            return render.settlement_body(last)
    return {"settlement_date": render.day(event.trading_day), "status": "running", "total_accounts": event.accounts}


def _settled(events: list[Event]) -> dict[str, Any]:
    event = events[0]
    assert isinstance(event, DaySettled)
    return render.settlement_body(event)
