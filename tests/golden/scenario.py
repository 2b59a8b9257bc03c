"""Runs one scenario file against the exchange's state machine (README.md says how a scenario is written).

Every line is either done (a command is one entry of the log, followed by all invariants) or checked (figures of the
state). Checks that fail are collected, each with its line; a line that cannot be understood stops the run.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

from node.exchange import codec, commands, invariants, timers
from node.exchange.events import (
    AccountOpened,
    CommandRejected,
    ConditionalPlaced,
    Event,
    OrderAccepted,
    RequestRepeated,
    TradeExecuted,
    UserRegistered,
)
from node.exchange.instruments import Instrument
from node.exchange.ledger import Account
from node.exchange.machine import Machine
from node.exchange.orders import Order
from node.exchange.queries import account_figures, position_figures
from node.exchange.types import (
    MONEY_SCALE,
    Comparison,
    ConditionType,
    FreezeKind,
    InstrumentStatus,
    OrderState,
    Phase,
    PriceType,
    RiskLevel,
    SelfTrade,
    TimeCondition,
    UserStatus,
    VolumeCondition,
)
from tests.golden.numbers import (
    Mistake,
    canonical,
    day,
    decimal,
    moment,
    number_named,
    scaled,
    shown,
    shown_day,
    whole,
)
from tests.golden.phrases import OFFSET_WORDS, OPTIONAL, Teller, Viewpoint
from tests.golden.terms import calendar_command, instrument_terms, list_command, pairs, risk_command

STEP_NS = 1_000  # log time between two entries, if the scenario says nothing
CLOCKS_MAX = 2_000  # AdvanceClocks of one line: more than any session of a few days needs
TIME = r"(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d(?:\.\d+)?)"
NAME = r"[a-z][a-z0-9_]*(?:/\d+)?"
OFFSETS = {word: offset for offset, word in OFFSET_WORDS.items()}


class Line(NamedTuple):
    """One statement: the number of its first line, what to do or check, and the phrases expected (None: no arrow)."""

    number: int
    text: str
    expected: list[str] | None


class Failure(NamedTuple):
    line: int
    text: str
    expected: str
    got: str


class Failed(Exception):
    """What a scenario did not get. Its text names the file, the lines, what was expected and what happened."""

    def __init__(self, path: Path, failures: list[Failure]) -> None:
        self.failures = failures
        blocks = (f"{path}:{f.line}: {f.text}\n    expected: {f.expected}\n    got:      {f.got}" for f in failures)
        super().__init__("\n".join(blocks))


def lines_of(source: str) -> Iterator[Line]:
    """The statements of a file. `#` begins a comment; an indented line continues the one above."""
    number = 0
    parts: list[str] = []
    for position, raw in enumerate(source.splitlines(), 1):
        text = re.split(r"(?:^|\s)#", raw, maxsplit=1)[0].rstrip()
        if not text:
            continue
        if text[0].isspace():
            if not parts:
                raise Mistake(f"line {position} continues nothing")
            parts.append(text.strip())
            continue
        if parts:
            yield _line(number, parts)
        number, parts = position, [text]
    if parts:
        yield _line(number, parts)


def _line(number: int, parts: list[str]) -> Line:
    text, *phrases = re.split(r"\s*->\s*", " ".join(parts))
    if not phrases:
        return Line(number, text.strip(), None)
    said = [canonical(phrase) for part in phrases for phrase in re.split(r",\s+", part) if phrase.strip()]
    return Line(number, text.strip(), [canonical(phrase) for many in said for phrase in repeated(many)])


_REPEAT = re.compile(r"repeat (\d+)(?: step (\S+))? (.+)")


def repeated(text: str) -> Iterator[str]:
    """`repeat 3 step 10 trade 1 @ 70,000` as three texts, each price (after the @) 10 above the one before."""
    match = _REPEAT.fullmatch(text)
    if match is None:
        yield text
        return
    step = decimal(match[2] or "0")
    for nth in range(int(match[1])):
        yield re.sub(r"@ ?(\S+)", lambda price: f"@ {decimal(price[1]) + nth * step}", match[3])  # noqa: B023


class _Order(NamedTuple):
    """What a PlaceOrder line says, besides who."""

    command: commands.PlaceOrder
    label: str


class Scenario:
    """The exchange that a file builds, and the names that the file gives to what is in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.machine = Machine()
        self.log: list[tuple[int, int, list[bytes]]] = []
        self._next_ns = 0
        self._users: dict[str, str] = {}  # name -> user_id
        self._accounts: dict[str, str] = {}  # name -> account_id
        self._orders: dict[str, int] = {}  # label -> order_id
        self._conditionals: dict[str, int] = {}
        self._failures: list[Failure] = []
        self._line = Line(0, "", None)
        self._batch: list[tuple[Line, str, commands.Command, str]] | None = None

    def run(self) -> None:
        """Raises Failed with everything that came out otherwise."""
        try:
            for line in lines_of(self.path.read_text("utf-8")):
                self._line = line
                self._do(line)
            if self._batch is not None:
                raise Mistake("the batch has no `end`")
            if not self.log:
                raise Mistake("the scenario does nothing")
        except Mistake as mistake:
            self._fail("a line as README.md describes it", str(mistake))
        except invariants.InvariantError as error:
            self._fail("all invariants hold", str(error))
        if self._failures:
            raise Failed(self.path, self._failures)
        self._replay()

    # Names, as `phrases.Names` asks for them

    def person(self, account_id: str) -> str:
        return next((name for name, known in self._accounts.items() if known == account_id), account_id)

    def user(self, user_id: str) -> str:
        return next((name for name, known in self._users.items() if known == user_id), user_id)

    def order(self, order_id: int) -> str:
        return next((label for label, known in self._orders.items() if known == order_id), f"order {order_id}")

    def conditional(self, conditional_id: int) -> str:
        labels = self._conditionals.items()
        return next((label for label, known in labels if known == conditional_id), f"conditional {conditional_id}")

    def labelled(self, order_id: int) -> bool:
        return order_id in self._orders.values()

    def code(self, instrument_id: str) -> str:
        return self.machine.instruments[instrument_id].code

    def price(self, instrument_id: str, ticks: int) -> str:
        return shown(Fraction(ticks * self.machine.instruments[instrument_id].terms.tick_units, MONEY_SCALE))

    # The log

    def _apply(self, batch: list[commands.Command], time_ns: int = 0) -> list[list[Event]]:
        """One entry; its events must survive the codec, and every invariant must hold after it."""
        time_ns = max(time_ns, self._next_ns, self.machine.time_ns + STEP_NS)
        index = self.machine.index + 1
        raw = [codec.encode_command(command) for command in batch]
        self.log.append((index, time_ns, raw))
        trade_counts = {name: venue.trade_count for name, venue in self.machine.venues.items()}
        results = self.machine.apply(index, time_ns, raw)
        invariants.check(self.machine)
        for events in results:
            assert codec.decode_events(codec.encode_events(events)) == events
            for event in events:
                if isinstance(event, TradeExecuted):
                    exchange = self.machine.instruments[event.instrument_id].exchange
                    trade_counts[exchange] = trade_counts.get(exchange, 0) + 1
                    assert event.trade_id == trade_counts[exchange], "trade ids are dense"
        return results

    def _replay(self) -> None:
        """The same log makes the same state again: from the beginning, and from a snapshot in its middle."""
        second = Machine()
        third: Machine | None = None
        for position, (index, time_ns, raw) in enumerate(self.log):
            if position == len(self.log) // 2:
                third = Machine.restore(second.snapshot())
            second.apply(index, time_ns, raw)
            if third is not None:
                third.apply(index, time_ns, raw)
        whole = b"".join(self.machine.snapshot())
        for name, machine in (("a replay of the log", second), ("a snapshot and the rest of the log", third)):
            assert machine is not None
            assert machine.digest() == self.machine.digest(), f"{name}: another digest"
            assert b"".join(machine.snapshot()) == whole, f"{name}: another state"

    # Expectations

    def _fail(self, expected: str, got: str) -> None:
        self._failures.append(Failure(self._line.number, self._line.text, expected, got))

    def _expect(self, told: list[tuple[type, str]]) -> None:
        """Compare the phrases of the line with those of the events, one by one."""
        if self._line.expected is None:
            if told and told[0][1].startswith("rejected"):
                self._fail("not rejected", told[0][1])
            return
        self._compare(self._line, told)

    def _compare(self, line: Line, told: list[tuple[type, str]]) -> None:
        wanted = line.expected or []
        left_out = tuple(
            kind for kind in OPTIONAL if not any(phrase in wanted for told_kind, phrase in told if told_kind is kind)
        )
        got = [phrase for kind, phrase in told if kind not in left_out]
        if [canonical(phrase) for phrase in got] != wanted:
            everything = ", ".join(phrase for _, phrase in told)
            self._failures.append(Failure(line.number, line.text, ", ".join(wanted), everything or "nothing"))

    def _check(self, figures: str, actual: dict[str, Fraction | str]) -> None:
        """`margin 105,000 commission 52.5`: every figure named must be exactly that."""
        for name, text in pairs(figures).items():
            value = actual.get(name)
            if value is None:
                raise Mistake(f"{name!r} is none of {', '.join(actual)}")
            if isinstance(value, str):
                if value != text:
                    self._fail(f"{name} {text}", f"{name} {value}")
            elif Fraction(decimal(text)) != value:
                self._fail(f"{name} {text}", f"{name} {shown(value)}")

    # Lines

    def _do(self, line: Line) -> None:
        text = line.text
        if text.startswith("repeat "):
            for once in repeated(" ".join(text.split())):
                if once == " ".join(text.split()):
                    raise Mistake("repeat TIMES [step PRICE] LINE")
                self._do(Line(line.number, once, line.expected))
            return
        if self._batch is not None and text != "end":
            self._into_batch(line)
            return
        for pattern, handler in _STATEMENTS:
            match = pattern.fullmatch(text)
            if match is not None:
                handler(self, *match.groups())
                return
        match = re.fullmatch(rf"({NAME}):\s+(.+)", text)
        if match is not None:
            self._act(match[1], match[2])
            return
        match = re.fullmatch(rf"({NAME})\s+(.+)", text)
        if match is not None and match[1] in self._accounts:
            self._no_arrow()
            self._check_account(match[1], match[2])
            return
        raise Mistake("nobody understands this line")

    def _no_arrow(self) -> None:
        if self._line.expected is not None:
            raise Mistake("a check expects no events")

    def _act(self, actor: str, text: str) -> None:
        """A command of a trader or of the administrator, and the events it must bring."""
        if self._line.expected is None:
            raise Mistake("a command needs `->` and what it must bring")
        command, label = self._command(actor, text)
        (events,) = self._apply([command])
        self._learn(label, command, events)
        told = Teller(self, self._view(actor, command, events)).tell(events)
        if isinstance(command, commands.SettleDay):
            told += self._finish_settlement()
        self._expect(told)

    def _into_batch(self, line: Line) -> None:
        assert self._batch is not None
        match = re.fullmatch(rf"({NAME}):\s+(.+)", line.text)
        if match is None or line.expected is None:
            raise Mistake("a batch holds commands with their `->`")
        command, label = self._command(match[1], match[2])
        self._batch.append((line, match[1], command, label))

    def _begin_batch(self) -> None:
        self._no_arrow()
        self._batch = []

    def _end_batch(self) -> None:
        if not self._batch:
            raise Mistake("`end` without a batch, or with an empty one")
        batch, self._batch = self._batch, None
        results = self._apply([command for _, _, command, _ in batch])
        for (_, _, command, label), events in zip(batch, results, strict=True):
            self._learn(label, command, events)
        for (line, actor, command, _), events in zip(batch, results, strict=True):
            self._compare(line, Teller(self, self._view(actor, command, events)).tell(events))

    def _learn(self, label: str, command: commands.Command, events: list[Event]) -> None:
        """Give the label of a line to what its command made."""
        if not label:
            return
        first = events[0]
        match first:
            case OrderAccepted():
                self._orders[label] = first.order_id
            case ConditionalPlaced():
                self._conditionals[label] = first.conditional_id
            case RequestRepeated() | CommandRejected():
                raise Mistake(f"{label} names nothing: {type(first).__name__}")
            case _:
                raise Mistake(f"{type(command).__name__} makes nothing that could be {label}")

    def _view(self, actor: str, command: commands.Command, events: list[Event]) -> Viewpoint:
        """What the phrases of this command need not say."""
        order_id = 0
        if isinstance(command, (commands.CancelOrder, commands.ModifyOrder)):
            order_id = self._targeted(command)
        elif isinstance(command, commands.PlaceOrder) and isinstance(events[0], OrderAccepted):
            order_id = events[0].order_id
        named = getattr(command, "instrument_id", "")
        if order_id:
            order = self.machine.orders.get(order_id)
            named = order.instrument.instrument_id if order is not None else named
        instrument = self.machine.resolve(named) if named else None
        account_id = getattr(command, "account_id", "")
        return Viewpoint(account_id, order_id, "" if instrument is None else instrument.instrument_id)

    def _targeted(self, command: commands.CancelOrder | commands.ModifyOrder) -> int:
        if command.order_id:
            return command.order_id
        account = self.machine.accounts.get(command.account_id)
        orders = account.orders.values() if account is not None else ()
        return next((o.order_id for o in orders if o.client_order_id == command.client_order_id), 0)

    # Setting up

    def _declare_instrument(self, instrument_id: str, text: str) -> None:
        self._declare(list_command(instrument_id, text))

    def _declare_calendar(self, calendar_id: str, exchange: str, text: str) -> None:
        parts = [" ".join(part.split()) for part in text.split(",") if part.strip()]
        self._declare(calendar_command(calendar_id, exchange, parts))

    def _declare_risk(self, text: str) -> None:
        self._declare(risk_command(text))

    def _declare(self, command: commands.Command) -> None:
        (events,) = self._apply([command])
        self._expect(Teller(self, Viewpoint(instrument_id=getattr(command, "instrument_id", ""))).tell(events))

    def _declare_account(self, name: str, funds: str) -> None:
        """`account alice 10,000,000`: the user, unless it is there, an account of it, and a first deposit."""
        self._no_arrow()
        if name in self._accounts:
            raise Mistake(f"{name} has an account already")
        user = name.partition("/")[0]
        if user not in self._users:
            (first, *_) = self._apply([commands.RegisterUser(user, "$2b$12$scenario")])[0]
            if not isinstance(first, UserRegistered):
                raise Mistake(f"{user} was not registered: {first}")
            self._users[user] = first.user_id
        (first, *_) = self._apply([commands.OpenAccount(self._users[user], name, 0)])[0]
        if not isinstance(first, AccountOpened):
            raise Mistake(f"{name} was not opened: {first}")
        self._accounts[name] = first.account_id
        if decimal(funds):
            (first, *_) = self._apply([commands.Deposit(first.account_id, scaled(funds, MONEY_SCALE))])[0]
            if isinstance(first, CommandRejected):
                raise Mistake(f"{funds} were not deposited: {first.detail}")

    # Time

    def _at(self, day_text: str, time_text: str) -> None:
        self._no_arrow()
        self._next_ns = self._later(day_text, time_text)

    def _later(self, day_text: str, time_text: str) -> int:
        time_ns = moment(day_text, time_text)
        if time_ns <= self.machine.time_ns:
            raise Mistake("log time does not go back")
        return time_ns

    def _clock_to(self, day_text: str, time_text: str) -> None:
        """Propose AdvanceClock whenever it is due, as the leader does, until this moment."""
        target = self._later(day_text, time_text)
        told: list[tuple[type, str]] = []
        for _ in range(CLOCKS_MAX):
            due = timers.due_ns(self.machine)
            if not due or due > target:
                break
            told += self._advance_clock(due)
        else:
            raise Mistake(f"more than {CLOCKS_MAX} AdvanceClocks are due")
        self._next_ns = target
        if self._line.expected is not None or told:
            self._compare(self._line, told)

    def _advance_clock(self, due_ns: int) -> list[tuple[type, str]]:
        (events,) = self._apply([commands.AdvanceClock()], due_ns)
        return Teller(self, Viewpoint(time_ns=self.machine.time_ns)).tell(events)

    def _finish_settlement(self) -> list[tuple[type, str]]:
        """The AdvanceClocks after SettleDay, as long as the settlement runs."""
        told: list[tuple[type, str]] = []
        for _ in range(CLOCKS_MAX):
            if self.machine.settlements.running is None:
                return told
            told += self._advance_clock(0)
        raise Mistake("the settlement does not end")

    # Commands

    def _account_id(self, name: str) -> str:
        try:
            return self._accounts[name]
        except KeyError as error:
            raise Mistake(f"{name!r} has no account") from error

    def _user_id(self, name: str) -> str:
        try:
            return self._users[name]
        except KeyError as error:
            raise Mistake(f"{name!r} is no user") from error

    def _instrument(self, code: str) -> Instrument:
        """One that the exchange still resolves, or that it had under this code."""
        instrument = self.machine.resolve(code)
        if instrument is None:
            instrument = next((i for i in self.machine.instruments.values() if i.code == code), None)
        if instrument is None:
            raise Mistake(f"{code!r} was never listed")
        return instrument

    def _ticks(self, instrument: Instrument, text: str) -> int:
        ticks, rest = divmod(scaled(text, MONEY_SCALE), instrument.terms.tick_units)
        if rest:
            raise Mistake(f"{text} is off the tick of {instrument.code}: the edge refuses it, no command carries it")
        return ticks

    def _order_id(self, label: str) -> int:
        if label.isdigit():
            return int(label)
        try:
            return self._orders[label]
        except KeyError as error:
            raise Mistake(f"{label!r} is no order") from error

    def _command(self, actor: str, text: str) -> tuple[commands.Command, str]:
        """The command of a line, and the label that it gives to what the command makes."""
        text = " ".join(text.split())
        table = _ADMINISTRATION if actor == "admin" else _TRADING
        for pattern, build in table:
            match = pattern.fullmatch(text)
            if match is not None:
                result = build(self, *(() if actor == "admin" else (self._account_id(actor),)), *match.groups())
                return result if isinstance(result, tuple) else (result, "")
        raise Mistake(f"{actor} has no command {text!r}")

    def _place(
        self, account_id: str, side: str, offset: str, lots: str, code: str, price: str, options: str
    ) -> tuple[commands.PlaceOrder, str]:
        instrument = self.machine.resolve(code)
        fields: dict[str, Any] = {}
        if price.startswith("@"):
            fields["price_type"] = int(PriceType.LIMIT)
            fields["price_ticks"] = self._ticks(self._instrument(code), price[1:].strip())
        else:
            fields["price_type"] = number_named(PriceType, price.upper().replace("-", ""))
            fields["price_ticks"] = 0
        label = self._options(options.split(), fields)
        instrument_id = code if instrument is None else instrument.instrument_id
        direction = 1 if side == "buy" else -1
        command = commands.PlaceOrder(account_id, instrument_id, direction, OFFSETS[offset], whole(lots), **fields)
        return command, label

    def _options(self, words: list[str], fields: dict[str, Any]) -> str:
        """What follows the price of an order; returns its label."""
        label = ""
        said: list[str] = []
        while words:
            word = words.pop(0)
            kind = word
            match word:
                case "FOK":
                    fields["time_condition"] = int(TimeCondition.IOC)
                    fields["volume_condition"] = int(VolumeCondition.ALL)
                    kind = "time"
                case "GFD" | "IOC" | "GTC" | "GTD" | "GFS" | "GFA":
                    fields["time_condition"] = number_named(TimeCondition, word)
                    if word == "GTD":
                        fields["gtd_day"] = day(_next(words, word))
                    kind = "time"
                case "min":
                    fields["volume_condition"] = int(VolumeCondition.MIN)
                    fields["min_volume"] = whole(_next(words, word))
                case "post-only":
                    fields["post_only"] = True
                case "self-trade":
                    fields["self_trade"] = number_named(SelfTrade, _next(words, word).upper().replace("-", "_"))
                case "id":
                    fields["client_order_id"] = _next(words, word)
                case "deadline":
                    fields["deadline_ns"] = moment(_next(words, word), _next(words, word))
                case "as":
                    label = _next(words, word)
                case _:
                    raise Mistake(f"{word!r} is no option of an order")
            if kind in said:
                raise Mistake(f"{word!r}: said twice")
            said.append(kind)
        if label in self._orders or label in self._conditionals:
            raise Mistake(f"{label!r} names something already")
        return label

    def _cancel(self, account_id: str, label: str) -> commands.CancelOrder:
        if label.startswith("id "):
            return commands.CancelOrder(account_id, 0, label.removeprefix("id "))
        return commands.CancelOrder(account_id, self._order_id(label))

    def _modify(self, account_id: str, label: str, text: str) -> commands.ModifyOrder:
        order_id = self._order_id(label)
        given = pairs(text.replace("@", "price").replace("to ", "lots "))
        fields: dict[str, Any] = {}
        for name, value in given.items():
            if name == "price":
                fields["price_ticks"] = self._ticks(self._known_order(order_id).instrument, value)
            elif name == "lots":
                fields["volume"] = whole(value)
            elif name == "request":
                fields["request_id"] = value
            else:
                raise Mistake(f"{name!r} cannot be modified")
        return commands.ModifyOrder(account_id, order_id, **fields)

    def _known_order(self, order_id: int) -> Order:
        order = self.machine.orders.get(order_id)
        if order is None:
            raise Mistake(f"order {order_id} is not kept any more")
        return order

    def _cancel_all(self, account_id: str, code: str | None) -> commands.CancelAll:
        return commands.CancelAll(account_id, self._instrument(code).instrument_id if code else "")

    def _move_funds(
        self, account_id: str, verb: str, amount: str, bank: str | None, request: str | None
    ) -> commands.Deposit | commands.Withdraw:
        kind = commands.Deposit if verb == "deposit" else commands.Withdraw
        return kind(account_id, scaled(amount, MONEY_SCALE), request_id=request or "", bank=bank or "")

    def _conditional(
        self, account_id: str, kind: str, code: str, sign: str, trigger: str, side: str, offset: str, lots: str,
        price: str, until_day: str | None, until_time: str | None, label: str | None,
    ) -> tuple[commands.PlaceConditional, str]:  # fmt: skip
        instrument = self._instrument(code)
        limit = price.startswith("@")
        name = label or ""
        if name in self._orders or name in self._conditionals:
            raise Mistake(f"{name!r} names something already")
        command = commands.PlaceConditional(
            account_id,
            instrument.instrument_id,
            1 if side == "buy" else -1,
            OFFSETS[offset],
            whole(lots),
            number_named(PriceType, "LIMIT" if limit else price.upper().replace("-", "")),
            self._ticks(instrument, price[1:].strip()) if limit else 0,
            number_named(ConditionType, kind.upper().replace("-", "_")),
            int(Comparison.AT_OR_ABOVE if sign == ">=" else Comparison.AT_OR_BELOW),
            self._ticks(instrument, trigger),
            moment(until_day, until_time) if until_day and until_time else 0,
        )
        return command, name

    def _cancel_conditional(self, account_id: str, label: str) -> commands.CancelConditional:
        if label.isdigit():
            return commands.CancelConditional(account_id, int(label))
        if label not in self._conditionals:
            raise Mistake(f"{label!r} is no conditional order")
        return commands.CancelConditional(account_id, self._conditionals[label])

    # Commands of the administrator

    def _freeze(self, name: str, kind: str, no_close: str | None, reason: str | None) -> commands.FreezeAccount:
        freeze = number_named(FreezeKind, kind)
        return commands.FreezeAccount(self._account_id(name), freeze, no_close is None, reason or "")

    def _user_status(self, name: str, status: str) -> commands.SetUserStatus:
        return commands.SetUserStatus(self._user_id(name), number_named(UserStatus, status))

    def _close_account(self, name: str) -> commands.CloseAccount:
        return commands.CloseAccount(self._account_id(name))

    def _bind(self, name: str, user: str) -> commands.BindAccount:
        return commands.BindAccount(self._account_id(name), self._user_id(user))

    def _limit_orders(self, name: str, text: str) -> commands.SetAccountLimits:
        given = pairs(text)
        orders, turnover = whole(given.pop("orders", "0")), scaled(given.pop("turnover", "0"), MONEY_SCALE)
        lots = whole(given.pop("lots", "0"))
        if given:
            raise Mistake(f"{', '.join(given)}: an account has limits of orders, turnover and lots")
        return commands.SetAccountLimits(self._account_id(name), orders, turnover, lots)

    def _limit_position(self, name: str, code: str, lots: str) -> commands.SetPositionLimit:
        return commands.SetPositionLimit(self._account_id(name), self._instrument(code).instrument_id, whole(lots))

    def _status(self, code: str, status: str) -> commands.SetInstrumentStatus:
        names = {"suspend": "SUSPENDED", "resume": "ACTIVE", "hold in auction": "AUCTION", "close": "CLOSED"}
        return commands.SetInstrumentStatus(
            self._instrument(code).instrument_id, number_named(InstrumentStatus, names.get(status, status))
        )

    def _suspend(self, verb: str, code: str) -> commands.SetInstrumentStatus:
        return self._status(code, verb)

    def _delist(self, code: str) -> commands.DelistInstrument:
        return commands.DelistInstrument(self._instrument(code).instrument_id)

    def _list(self, instrument_id: str, text: str) -> commands.ListInstrument:
        return list_command(instrument_id, text)

    def _modify_instrument(self, code: str, text: str) -> commands.ModifyInstrument:
        instrument = self._instrument(code)
        base = {field: getattr(instrument.terms, field) for field in commands.Terms.__struct_fields__}
        return commands.ModifyInstrument(**instrument_terms(instrument.instrument_id, text, base))

    def _session(self, target: str, phase: str) -> commands.SetSession:
        return commands.SetSession(target, number_named(Phase, phase))

    def _liquidate(self, name: str, reason: str) -> commands.ForceLiquidate:
        return commands.ForceLiquidate(self._account_id(name), reason)

    def _settlement_prices(self, day_text: str, text: str) -> commands.SetSettlementPrices:
        prices: list[tuple[str, int]] = []
        for code, price in pairs(text.replace(", ", " ")).items():
            instrument = self._instrument(code)
            prices.append((instrument.instrument_id, self._ticks(instrument, price)))
        return commands.SetSettlementPrices(day(day_text), prices)

    def _settle(self, day_text: str) -> commands.SettleDay:
        return commands.SettleDay(day(day_text))

    # Checks

    def _check_account(self, name: str, figures: str) -> None:
        account = self.machine.accounts[self._account_id(name)]
        numbers: dict[str, Fraction | str] = {
            field: Fraction(value, MONEY_SCALE) for field, value in account_figures(account)._asdict().items()
        }
        numbers["withdrawable"] = numbers["withdraw_quota"]
        numbers["risk_level"] = RiskLevel(account.risk_level).name
        self._check(figures, numbers)

    def _check_position(self, name: str, code: str, side_name: str, figures: str) -> None:
        self._no_arrow()
        instrument = self._instrument(code)
        account: Account = self.machine.accounts[self._account_id(name)]
        position = account.positions.get(instrument.instrument_id)
        side = None if position is None else getattr(position_figures(position), side_name)
        if figures.strip() == "none":
            if side is not None and side.volume:
                self._fail("none", f"{side.volume} lots")
            return
        if side is None or not side.volume:
            self._fail(figures, "none")
            return
        tick = Fraction(instrument.terms.tick_units, MONEY_SCALE)
        self._check(
            _listed(figures),
            {
                "today": Fraction(side.volume_today),
                "history": Fraction(side.volume_his),
                "volume": Fraction(side.volume),
                "frozen": Fraction(side.frozen_today + side.frozen_his),
                "frozen_today": Fraction(side.frozen_today),
                "frozen_history": Fraction(side.frozen_his),
                "open_price": tick * side.open_cost_ticks / side.volume,
                "position_price": tick * side.position_cost_ticks / side.volume,
                "float_profit": Fraction(side.float_profit, MONEY_SCALE),
                "position_profit": Fraction(side.position_profit, MONEY_SCALE),
                "margin": Fraction(side.margin, MONEY_SCALE),
            },
        )

    def _check_book(self, code: str, text: str) -> None:
        """Every level of both sides, best first: `asks 5 @ 70,100 | bids 2 @ 69,900, 1 @ 69,880`."""
        self._no_arrow()
        instrument = self._instrument(code)
        sides = []
        for name, direction in (("asks", -1), ("bids", 1)):
            levels = instrument.book.depth(direction, 1_000_000)
            shown_levels = ", ".join(
                f"{shown(volume)} @ {self.price(instrument.instrument_id, ticks)}" for ticks, volume, _ in levels
            )
            sides.append(f"{name} {shown_levels or 'none'}")
        got = " | ".join(sides)
        if canonical_list(text) != canonical_list(got):
            self._fail(text, got)

    def _check_order(self, label: str, text: str) -> None:
        """`order b1: PARTIALLY_FILLED left 2 of 3 @ 70,000`."""
        self._no_arrow()
        order = self._known_order(self._order_id(label))
        got = f"{OrderState(order.state).name} left {order.left} of {order.volume}"
        price = f" @ {self.price(order.instrument.instrument_id, order.price_ticks)}"
        if canonical(text) not in (canonical(got), canonical(got + price)):
            self._fail(text, got + price)

    def _check_market(self, code: str, figures: str) -> None:
        self._no_arrow()
        i = self._instrument(code)
        tick = Fraction(i.terms.tick_units, MONEY_SCALE)
        turnover = Fraction(i.day_turnover_ticks * i.tick_value, MONEY_SCALE)
        actual: dict[str, Fraction | str] = {
            "last": tick * i.last_ticks,
            "open": tick * i.day_open_ticks,
            "high": tick * i.day_high_ticks,
            "low": tick * i.day_low_ticks,
            "upper": tick * i.upper_limit_ticks,
            "lower": tick * i.lower_limit_ticks,
            "pre_settlement": tick * i.pre_settlement_ticks,
            "pre_close": tick * i.pre_close_ticks,
            "volume": Fraction(i.day_volume),
            "turnover": turnover,
            "open_interest": Fraction(i.open_interest),
            "phase": Phase(i.phase).name,
            "status": InstrumentStatus(i.status).name,
        }
        if i.day_volume:
            actual["average"] = tick * i.day_turnover_ticks / i.day_volume
        self._check(_listed(figures), actual)

    def _check_day(self, text: str) -> None:
        self._no_arrow()
        got = shown_day(self.machine.trading_day)
        if got != text:
            self._fail(text, got)


def _next(words: list[str], after: str) -> str:
    if not words:
        raise Mistake(f"nothing follows {after!r}")
    return words.pop(0)


def _listed(figures: str) -> str:
    """`today 1, history 0` as `today 1 history 0`: a comma between figures is punctuation."""
    return re.sub(r",(\s)", r"\1", figures)


def canonical_list(text: str) -> str:
    return canonical(re.sub(r",(\s)", r" ,\1", text))


_ORDER = r"(buy|sell) (open|close|close-today|close-yesterday) ([\d,]+) (\S+) (@ ?\S+|market|best|five-level)"
Build = Callable[..., Any]

_TRADING: list[tuple[re.Pattern[str], Build]] = [
    (re.compile(rf"{_ORDER}((?: .+)?)"), Scenario._place),
    (re.compile(r"cancel (id \S+|\S+)"), Scenario._cancel),
    (re.compile(r"cancel-all(?: (\S+))?"), Scenario._cancel_all),
    (re.compile(r"modify (\S+) (.+)"), Scenario._modify),
    (re.compile(r"(deposit|withdraw) (\S+)(?: bank (\S+))?(?: request (\S+))?"), Scenario._move_funds),
    (
        re.compile(
            rf"(stop-loss|take-profit|price-touch) when (\S+) (<=|>=) (\S+): (buy|sell) "
            rf"(open|close|close-today|close-yesterday) ([\d,]+) (@ ?\S+|market|best|five-level)"
            rf"(?: until {TIME})?(?: as (\S+))?"
        ),
        Scenario._conditional,
    ),
    (re.compile(r"cancel-conditional (\S+)"), Scenario._cancel_conditional),
]

_ADMINISTRATION: list[tuple[re.Pattern[str], Build]] = [
    (re.compile(rf"freeze ({NAME}) ([A-Z]+)( no-close)?(?: because (.+))?"), Scenario._freeze),
    (re.compile(rf"user ({NAME}) ([A-Z]+)"), Scenario._user_status),
    (re.compile(rf"close-account ({NAME})"), Scenario._close_account),
    (re.compile(rf"bind ({NAME}) to ({NAME})"), Scenario._bind),
    (re.compile(rf"limit ({NAME}) ((?:(?:orders|turnover|lots) \S+ ?)+)"), Scenario._limit_orders),
    (re.compile(rf"limit ({NAME}) (\S+) to (\S+) lots"), Scenario._limit_position),
    (re.compile(r"(suspend|resume|hold in auction|close) (\S+)"), Scenario._suspend),
    (re.compile(r"delist (\S+)"), Scenario._delist),
    (re.compile(r"list (\S+) (.+)"), Scenario._list),
    (re.compile(r"modify (\S+) (.+)"), Scenario._modify_instrument),
    (re.compile(r"session (\S+) ([A-Z_]+)"), Scenario._session),
    (re.compile(rf"liquidate ({NAME}) because (.+)"), Scenario._liquidate),
    (re.compile(r"settlement prices (\S+) (.+)"), Scenario._settlement_prices),
    (re.compile(r"settle (\S+)"), Scenario._settle),
    (re.compile(r"risk (.+)"), lambda _scenario, text: risk_command(text)),
]

_STATEMENTS: list[tuple[re.Pattern[str], Build]] = [
    (re.compile(r"instrument\s+(\S+)\s+(.+)"), Scenario._declare_instrument),
    (re.compile(r"calendar\s+(\S+)\s+of\s+([A-Z]+):\s+(.+)"), Scenario._declare_calendar),
    (re.compile(r"risk\s+(.+)"), Scenario._declare_risk),
    (re.compile(rf"account\s+({NAME})\s+(\S+)"), Scenario._declare_account),
    (re.compile(rf"at\s+{TIME}"), Scenario._at),
    (re.compile(rf"clock\s+to\s+{TIME}"), Scenario._clock_to),
    (re.compile(r"batch"), Scenario._begin_batch),
    (re.compile(r"end"), Scenario._end_batch),
    (re.compile(rf"position\s+({NAME})\s+(\S+)\s+(long|short):\s+(.+)"), Scenario._check_position),
    (re.compile(r"book\s+(\S+):\s+(.+)"), Scenario._check_book),
    (re.compile(r"order\s+(\S+):\s+(.+)"), Scenario._check_order),
    (re.compile(r"market\s+(\S+):\s+(.+)"), Scenario._check_market),
    (re.compile(r"trading day\s+(\S+)"), Scenario._check_day),
]
