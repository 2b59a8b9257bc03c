"""The exchange as one state machine: `apply` takes a committed entry and returns what happened.

`apply` is a function of (state, entry). It is total: a business refusal is a CommandRejected event; an exception is a
bug or a damaged log, and the node stops with it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Any, Final
from zlib import crc32

from node.exchange import clearing, rejects, risk
from node.exchange.codec import decode_command, encode_applied
from node.exchange.commands import (
    CancelAll,
    CancelOrder,
    Command,
    Deposit,
    ListInstrument,
    ModifyOrder,
    OpenAccount,
    PlaceOrder,
    RegisterUser,
    RevokeTokens,
    SetPassword,
    Withdraw,
)
from node.exchange.events import (
    AccountOpened,
    AllCancelled,
    CommandRejected,
    Event,
    FundsMoved,
    InstrumentListed,
    OrderAccepted,
    OrderModified,
    RequestRepeated,
    TokensRevoked,
    UserRegistered,
)
from node.exchange.instruments import Instrument, Venue, terms_fault
from node.exchange.ledger import Account
from node.exchange.matching import Matcher, crosses, meets_own_order
from node.exchange.orders import Order
from node.exchange.requests import Request, Requests
from node.exchange.risk import Refused, Reserve
from node.exchange.types import (
    ACCOUNTS_MAX,
    ACCOUNTS_PER_USER_MAX,
    BALANCE_UNITS_MAX,
    ENCODABLE_MAX,
    INSTRUMENTS_MAX,
    REQUESTS_MAX,
    ROLES_MASK,
    TEXT_MAX,
    TRANSFER_UNITS_MAX,
    USERS_MAX,
    AccountType,
    CancelReason,
    FundsKind,
    SelfTrade,
)
from node.exchange.users import User

OPEN: Final = 0
DETAIL_MAX: Final = 200  # characters of a reject's detail: it may quote what a client sent
PASSWORD_HASH_MAX: Final = 128  # characters; bcrypt needs 60
BY_CLIENT: Final = int(CancelReason.BY_CLIENT)


class Machine:
    """The replicated state. Read its public attributes freely; only `apply` changes them."""

    def __init__(self) -> None:
        self.index = 0  # log index of the last applied entry
        self.time_ns = 0  # its leader-stamped time
        self.users: dict[str, User] = {}
        self.usernames: dict[str, User] = {}
        self.accounts: dict[str, Account] = {}
        self.venues: dict[str, Venue] = {}
        self.instruments: dict[str, Instrument] = {}
        self.external_units = 0  # deposits minus withdrawals of all accounts, ever (conservation)
        self._codes: dict[str, Instrument | None] = {}  # bare code -> instrument; None: ambiguous
        self._matcher = Matcher()
        self.orders = self._matcher.orders
        self._order_count = 0
        self._digest = bytes(32)
        self._handlers: dict[type[Command], Callable[[Any, bytes, list[Event]], None]] = {
            RegisterUser: self._register_user,
            SetPassword: self._set_password,
            RevokeTokens: self._revoke_tokens,
            OpenAccount: self._open_account,
            Deposit: self._deposit,
            Withdraw: self._withdraw,
            ListInstrument: self._list_instrument,
            PlaceOrder: self._place_order,
            CancelOrder: self._cancel_order,
            ModifyOrder: self._modify_order,
            CancelAll: self._cancel_all,
        }

    def apply(self, index: int, time_ns: int, commands: Sequence[bytes]) -> list[list[Event]]:
        """Apply one committed entry; returns one list of events per command, the first of each being its answer.

        `index` and `time_ns` (leader-stamped) are above those of the entry before. Raises CodecError on bytes that are
        no command of this version: a damaged log or a wrong version, for which the node must stop.
        """
        assert index > self.index, (index, self.index)
        assert time_ns > self.time_ns, (time_ns, self.time_ns)
        self.index = index
        self.time_ns = time_ns
        handlers = self._handlers
        results: list[list[Event]] = []
        for raw in commands:
            events: list[Event] = []
            command = decode_command(raw)
            try:
                handlers[type(command)](command, raw, events)
            except Refused as refused:
                assert not events, "a refused command must not have happened"
                events.append(
                    CommandRejected(
                        refused.reject.code,
                        refused.detail[:DETAIL_MAX],
                        getattr(command, "account_id", ""),
                        getattr(command, "client_order_id", ""),
                    )
                )
            results.append(events)
        applied = encode_applied(index, time_ns, commands, results)
        self._digest = blake2b(self._digest + applied, digest_size=32).digest()
        return results

    def digest(self) -> bytes:
        """The chained state hash: h[n] = H(h[n-1], entry, events), 32 bytes."""
        return self._digest

    def resolve(self, text: str) -> Instrument | None:
        """An instrument by EXCHANGE.code, or by its bare code where that is unambiguous."""
        return self.instruments.get(text) or self._codes.get(text)

    # Users and accounts

    def _user(self, user_id: str) -> User:
        user = self.users.get(user_id)
        if user is None:
            raise Refused(rejects.USER_NOT_FOUND, f"user_id {user_id!a} does not exist")
        return user

    def _account(self, account_id: str) -> Account:
        account = self.accounts.get(account_id)
        if account is None:
            raise Refused(rejects.ACCOUNT_NOT_FOUND, f"account_id {account_id!a} does not exist")
        return account

    def _register_user(self, command: RegisterUser, raw: bytes, events: list[Event]) -> None:
        name = command.username
        taken = self.usernames.get(name)
        if taken is not None:
            if command.request_id and command.request_id == taken.registration_id:
                events.append(_repeated(Request(0, taken.created_index, taken.created_ns, ref=taken.user_id), ""))
                return
            raise Refused(rejects.USERNAME_TAKEN, f"username {name!a} is taken")
        if not _is_label(name):
            raise Refused(rejects.BAD_USER_PARAMETERS, f"username must be 1 to {TEXT_MAX} characters{_LABEL_RULE}")
        _check_text("request_id", command.request_id, rejects.BAD_USER_PARAMETERS)
        _check_hash(command.password_hash)
        if command.roles <= 0 or command.roles & ~ROLES_MASK:
            raise Refused(rejects.BAD_USER_PARAMETERS, f"roles mask {command.roles} names no role or an unknown one")
        if len(self.users) >= USERS_MAX:
            raise Refused(rejects.BAD_USER_PARAMETERS, f"the exchange has {USERS_MAX} users, its limit")
        user_id = f"U{len(self.users) + 1:08d}"
        user = User(user_id, name, command.password_hash, command.roles, command.request_id, self.index, self.time_ns)
        self.users[user_id] = user
        self.usernames[name] = user
        events.append(UserRegistered(user_id, name, command.roles))

    def _set_password(self, command: SetPassword, raw: bytes, events: list[Event]) -> None:
        user = self._user(command.user_id)
        _check_hash(command.password_hash)
        user.password_hash = command.password_hash
        user.generation += 1
        events.append(TokensRevoked(user.user_id, user.generation))

    def _revoke_tokens(self, command: RevokeTokens, raw: bytes, events: list[Event]) -> None:
        user = self._user(command.user_id)
        user.generation += 1
        events.append(TokensRevoked(user.user_id, user.generation))

    def _open_account(self, command: OpenAccount, raw: bytes, events: list[Event]) -> None:
        user = self._user(command.user_id)
        with _AtMostOnce(self, user.requests, command.request_id, raw, events, "") as request:
            if request.repeated:
                return
            if not _is_label(command.account_name):
                raise Refused(
                    rejects.BAD_ACCOUNT_PARAMETERS, f"account_name must be 1 to {TEXT_MAX} characters{_LABEL_RULE}"
                )
            if not 0 <= command.account_type <= AccountType.MARKET_MAKER:
                raise Refused(rejects.BAD_ACCOUNT_PARAMETERS, f"account_type {command.account_type} is unknown")
            if len(user.accounts) >= ACCOUNTS_PER_USER_MAX:
                raise Refused(rejects.TOO_MANY_ACCOUNTS, f"{user.user_id} has {ACCOUNTS_PER_USER_MAX} accounts")
            if len(self.accounts) >= ACCOUNTS_MAX:
                raise Refused(rejects.TOO_MANY_ACCOUNTS, f"the exchange has {ACCOUNTS_MAX} accounts, its limit")
            account_id = f"ACC_{len(self.accounts) + 1:08d}"
            account = Account(account_id, user, command.account_name, command.account_type, self.time_ns)
            self.accounts[account_id] = account
            user.accounts[account_id] = account
            request.ref = account_id
            events.append(AccountOpened(account_id, user.user_id, command.account_name, command.account_type))

    # Money

    def _deposit(self, command: Deposit, raw: bytes, events: list[Event]) -> None:
        account = self._account(command.account_id)
        with _AtMostOnce(self, account.requests, command.request_id, raw, events, account.account_id) as request:
            if request.repeated:
                return
            amount = command.amount_units
            _check_amount(amount)
            balance = account.balance() + amount
            if not -ENCODABLE_MAX <= balance <= BALANCE_UNITS_MAX:
                raise Refused(rejects.DEPOSIT_FAILED, f"a balance of {balance} units is out of bounds")
            account.deposit += amount
            self.external_units += amount
            events.append(FundsMoved(account.account_id, int(FundsKind.DEPOSIT), amount, balance))

    def _withdraw(self, command: Withdraw, raw: bytes, events: list[Event]) -> None:
        account = self._account(command.account_id)
        with _AtMostOnce(self, account.requests, command.request_id, raw, events, account.account_id) as request:
            if request.repeated:
                return
            amount = command.amount_units
            _check_amount(amount)
            free = account.withdrawable()
            balance = account.balance() - amount
            if amount > free or balance > ENCODABLE_MAX:
                raise Refused(rejects.WITHDRAWAL_FAILED, f"amount {amount} units, withdrawable {free}")
            account.withdraw += amount
            self.external_units -= amount
            events.append(FundsMoved(account.account_id, int(FundsKind.WITHDRAW), amount, balance))

    # Instruments

    def _list_instrument(self, command: ListInstrument, raw: bytes, events: list[Event]) -> None:
        if command.instrument_id in self.instruments:
            raise Refused(rejects.INSTRUMENT_EXISTS, f"instrument_id {command.instrument_id!a} is listed")
        fault = terms_fault(command)
        if fault:
            raise Refused(rejects.BAD_INSTRUMENT, fault)
        if len(self.instruments) >= INSTRUMENTS_MAX:
            raise Refused(rejects.BAD_INSTRUMENT, f"the exchange lists {INSTRUMENTS_MAX} instruments, its limit")
        exchange = command.instrument_id.partition(".")[0]
        venue = self.venues.get(exchange)
        if venue is not None and venue.margin_rules.get(command.product, command.margin_rule) != command.margin_rule:
            raise Refused(
                rejects.BAD_INSTRUMENT, f"margin_rule {command.margin_rule}: product {command.product} has another one"
            )
        if venue is None:
            venue = self.venues[exchange] = Venue(exchange)
        venue.margin_rules[command.product] = command.margin_rule
        instrument = Instrument(command, venue)
        self.instruments[command.instrument_id] = instrument
        self._codes[instrument.code] = None if instrument.code in self._codes else instrument
        events.append(InstrumentListed(command.instrument_id))

    # Orders

    def _place_order(self, command: PlaceOrder, raw: bytes, events: list[Event]) -> None:
        account = self._account(command.account_id)
        client_order_id = command.client_order_id
        fingerprint = 0
        if client_order_id:
            fingerprint = crc32(raw)
            first = account.client_orders.get(client_order_id)
            if first is not None:
                _answer_repeated(first, fingerprint, client_order_id, account.account_id, events)
                return
            if account.client_orders.full:
                raise Refused(rejects.REQUEST_MEMORY_FULL, f"{account.account_id} has used {REQUESTS_MAX} ids")
        instrument = self.instruments.get(command.instrument_id) or self._codes.get(command.instrument_id)
        try:
            reserve = risk.pre_trade(command, account, instrument)
        except Refused as refused:
            if client_order_id and len(client_order_id) <= TEXT_MAX:
                account.client_orders.remember(
                    client_order_id,
                    Request(fingerprint, self.index, self.time_ns, refused.reject.code, refused.detail[:DETAIL_MAX]),
                )
            raise
        assert instrument is not None
        position = account.position(instrument)
        side = position.side(command.direction if command.offset == OPEN else -command.direction)
        self._order_count = order_id = self._order_count + 1
        time_ns = self.time_ns
        order = Order(order_id, command, account, instrument, position, side, self.index, time_ns)
        self._matcher.accept(order)
        if order.offset != OPEN:
            clearing.freeze_lots(order, reserve.his, reserve.today)
        clearing.set_reservation(order, reserve.margin, reserve.fee)
        events.append(
            OrderAccepted(
                order_id,
                account.account_id,
                instrument.instrument_id,
                client_order_id,
                command.direction,
                command.offset,
                command.price_type,
                command.price_ticks,
                command.volume,
                command.time_condition,
                command.volume_condition,
            )
        )
        trades_before = instrument.venue.trade_count
        self._matcher.execute(order, time_ns, command.deadline_ns, events)
        if client_order_id:
            trades = instrument.venue.trade_count - trades_before
            account.client_orders.remember(
                client_order_id,
                Request(
                    fingerprint,
                    self.index,
                    time_ns,
                    0,
                    "",
                    "",
                    order_id,
                    order.state,
                    order.volume - order.left,
                    order.filled_cost,
                    trades_before + 1 if trades else 0,
                    trades,
                    order.cancel_reason,
                ),
            )

    def _live_order(self, account_id: str, order_id: int, finished: rejects.Reject) -> Order:
        """The account's own live order; somebody else's order does not exist."""
        account = self._account(account_id)
        order = account.orders.get(order_id)
        if order is None:
            raise Refused(rejects.ORDER_NOT_FOUND, f"order_id {order_id} is not an order of {account_id}")
        if not order.alive:
            raise Refused(finished, f"order_id {order_id} is finished")
        return order

    def _cancel_order(self, command: CancelOrder, raw: bytes, events: list[Event]) -> None:
        order = self._live_order(command.account_id, command.order_id, rejects.ORDER_NOT_CANCELLABLE)
        self._matcher.cancel(order, BY_CLIENT, self.time_ns, events)

    def _cancel_all(self, command: CancelAll, raw: bytes, events: list[Event]) -> None:
        account = self._account(command.account_id)
        instrument = None
        if command.instrument_id:
            instrument = self.resolve(command.instrument_id)
            if instrument is None:
                raise Refused(rejects.INSTRUMENT_NOT_FOUND, f"instrument_id {command.instrument_id!a} is not listed")
        live = [o for o in account.live.values() if instrument is None or o.instrument is instrument]
        events.append(AllCancelled(account.account_id, len(live)))
        for order in live:
            self._matcher.cancel(order, BY_CLIENT, self.time_ns, events)

    def _modify_order(self, command: ModifyOrder, raw: bytes, events: list[Event]) -> None:
        """All or nothing. Less volume alone keeps the priority; a new price or more volume loses it (domain.md 3)."""
        order = self._live_order(command.account_id, command.order_id, rejects.ORDER_NOT_MODIFIABLE)
        instrument = order.instrument
        price = command.price_ticks or order.price_ticks
        volume = command.volume or order.volume
        filled = order.volume - order.left
        if price == order.price_ticks and volume == order.volume:
            raise Refused(rejects.ORDER_NOT_MODIFIABLE, "neither price nor volume changes")
        risk.check_trading(instrument)
        risk.check_price(instrument, price)
        risk.check_volume(instrument, volume)
        if volume <= filled:
            raise Refused(rejects.ORDER_NOT_MODIFIABLE, f"volume {volume} is not above the {filled} filled lots")
        keeps_priority = price == order.price_ticks and volume < order.volume
        if order.post_only and crosses(instrument.book, order.direction, price):
            raise Refused(rejects.ORDER_NOT_MODIFIABLE, f"post_only: price {price} ticks would match")
        left = volume - filled
        reserve = self._modified_reserve(order, price, left)
        if (
            order.self_trade == SelfTrade.REJECT
            and not keeps_priority
            and meets_own_order(order.account.user, instrument.book, order.direction, price, left)
        ):
            raise Refused(rejects.SELF_TRADE, "the order would meet an order of the same user")
        book = instrument.book
        if keeps_priority:
            level = order.level
            assert level is not None
            level.volume -= order.left - left
        else:
            book.leave(order)
        if order.offset == OPEN:
            order.side.opening += left - order.left
        else:
            clearing.freeze_lots(order, reserve.his, reserve.today)
        order.price_ticks = price
        order.volume = volume
        order.left = left
        order.update_ns = self.time_ns
        clearing.set_reservation(order, reserve.margin, reserve.fee)
        events.append(
            OrderModified(
                order.order_id,
                order.account.account_id,
                instrument.instrument_id,
                price,
                volume,
                left,
                keeps_priority,
            )
        )
        if not keeps_priority:
            self._matcher.trade_or_rest(order, self.time_ns, events)

    def _modified_reserve(self, order: Order, price: int, left: int) -> Reserve:
        """What the order will hold after the change. Raises Refused, with nothing changed, if it cannot."""
        account, instrument, side = order.account, order.instrument, order.side
        if order.offset == OPEN:
            held = Reserve(order.frozen_margin, order.frozen_fee, 0, 0)
            return risk.check_opening(account, instrument, side, order.direction, price, left, held, order.left)
        held_his, held_today = order.frozen_his, order.frozen_today
        clearing.freeze_lots(order, 0, 0)  # its own lots are free for the check, and taken again whatever it says
        try:
            return risk.check_closing(instrument, side, order.offset, price, left)
        finally:
            clearing.freeze_lots(order, held_his, held_today)


class _AtMostOnce:
    """The first result of a request other than an order: answered again when repeated, remembered when new."""

    __slots__ = ("_events", "_fingerprint", "_machine", "_request_id", "_requests", "_scope", "ref", "repeated")

    def __init__(
        self, machine: Machine, requests: Requests, request_id: str, raw: bytes, events: list[Event], scope: str
    ) -> None:
        self._machine = machine
        self._requests = requests
        self._request_id = request_id
        self._events = events
        self._scope = scope
        self._fingerprint = crc32(raw)
        self.ref = ""
        self.repeated = False

    def __enter__(self) -> _AtMostOnce:
        if self._request_id:
            _check_text("request_id", self._request_id, rejects.BAD_ACCOUNT_PARAMETERS)
            first = self._requests.get(self._request_id)
            if first is None and self._requests.full:
                raise Refused(rejects.REQUEST_MEMORY_FULL, f"{self._scope or 'the user'} has used {REQUESTS_MAX} ids")
            if first is not None:
                _answer_repeated(first, self._fingerprint, self._request_id, self._scope, self._events)
                self.repeated = True
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if self._request_id and not self.repeated and (error is None or isinstance(error, Refused)):
            code, detail = (error.reject.code, error.detail[:DETAIL_MAX]) if isinstance(error, Refused) else (0, "")
            machine = self._machine
            self._requests.remember(
                self._request_id,
                Request(self._fingerprint, machine.index, machine.time_ns, code, detail, self.ref),
            )


def _answer_repeated(first: Request, fingerprint: int, request_id: str, scope: str, events: list[Event]) -> None:
    if first.fingerprint != fingerprint:
        raise Refused(rejects.REQUEST_ID_REUSED, f"id {request_id!a} was used for a different request")
    events.append(_repeated(first, scope))


def _repeated(first: Request, account_id: str) -> RequestRepeated:
    return RequestRepeated(
        first.index,
        first.time_ns,
        first.code,
        first.detail,
        first.ref,
        first.order_id,
        first.state,
        first.filled_volume,
        first.filled_cost_ticks,
        first.first_trade_id,
        first.trade_count,
        account_id,
        first.cancel_reason,
    )


_LABEL_RULE: Final = ", none of them a control character, no blank at either end"


def _is_label(text: str) -> bool:
    """Whether a name may be shown: judged without Python's Unicode tables, which change with its version."""
    if not 1 <= len(text) <= TEXT_MAX or text[0] == " " or text[-1] == " ":
        return False
    return all(letter >= " " and not "\x7f" <= letter <= "\x9f" for letter in text)


def _check_text(field: str, text: str, reject: rejects.Reject) -> None:
    if len(text) > TEXT_MAX:
        raise Refused(reject, f"{field} is longer than {TEXT_MAX} characters")


def _check_hash(password_hash: str) -> None:
    if not 1 <= len(password_hash) <= PASSWORD_HASH_MAX:
        raise Refused(rejects.BAD_USER_PARAMETERS, "password_hash is empty or too long")


def _check_amount(amount: int) -> None:
    if not 1 <= amount <= TRANSFER_UNITS_MAX:
        raise Refused(rejects.BAD_AMOUNT, f"amount {amount} units is not in [1, {TRANSFER_UNITS_MAX}]")
