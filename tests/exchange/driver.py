"""A small driver for tests of the machine: one command per entry, invariants checked after each."""

from __future__ import annotations

from typing import Any

import msgspec

from node.exchange import codec, commands, invariants, timers
from node.exchange.events import CommandRejected, Event, OrderAccepted, TradeExecuted
from node.exchange.machine import Machine
from node.exchange.risk import RiskParameters

BUY, SELL = 1, -1
OPEN, CLOSE, CLOSETODAY, CLOSEYESTERDAY = 0, 1, 2, 3
GFD, IOC = 0, 1
ANY, MIN, ALL = 0, 1, 2
YUAN = 10_000
MONDAY_NS = 1_795_399_200 * 10**9  # 2026-11-23 10:00 in Shanghai


def copper(instrument_id: str = "SHFE.cu2701", **changes: Any) -> commands.ListInstrument:
    """domain.md's first example: m = 5, tick 10, margin 35 000 and fee 17.5 per lot."""
    terms: dict[str, Any] = {
        "instrument_id": instrument_id,
        "name": "沪铜2701",
        "product": "cu",
        "volume_multiple": 5,
        "tick_units": 10 * YUAN,
        "pre_settlement_ticks": 7_000,
        "limit_up_rate": 100_000_000,
        "limit_down_rate": 100_000_000,
        "volume_min": 1,
        "volume_max": 500,
        "margin_long_rate": 0,
        "margin_long_amount": 35_000 * YUAN,
        "margin_short_rate": 0,
        "margin_short_amount": 35_000 * YUAN,
        "open_rate": 0,
        "open_amount": 175_000,
        "close_rate": 0,
        "close_amount": 175_000,
        "close_today_rate": 0,
        "close_today_amount": 175_000,
    }
    return commands.ListInstrument(**(terms | changes))


def index_future(**changes: Any) -> commands.ListInstrument:
    """domain.md's third example: m = 300, tick 0.2, margin 12 %, fee 0.000023, close-today 0.000345."""
    terms: dict[str, Any] = {
        "instrument_id": "CFFEX.IF2701",
        "name": "沪深300",
        "product": "IF",
        "volume_multiple": 300,
        "tick_units": 2_000,
        "pre_settlement_ticks": 19_000,
        "limit_up_rate": 100_000_000,
        "limit_down_rate": 100_000_000,
        "volume_min": 1,
        "volume_max": 20,
        "margin_long_rate": 120_000_000,
        "margin_long_amount": 0,
        "margin_short_rate": 120_000_000,
        "margin_short_amount": 0,
        "open_rate": 23_000,
        "open_amount": 0,
        "close_rate": 23_000,
        "close_amount": 0,
        "close_today_rate": 345_000,
        "close_today_amount": 0,
    }
    return commands.ListInstrument(**(terms | changes))


def risk_parameters(**changes: int) -> commands.SetRiskParameters:
    """The exchange's own parameters with some replaced."""
    return commands.SetRiskParameters(**(msgspec.structs.asdict(RiskParameters()) | changes))


class Driver:
    """Owns a Machine; every `do` is one entry, followed by all invariants."""

    def __init__(self, *instruments: commands.ListInstrument) -> None:
        self.machine = Machine()
        self.log: list[tuple[int, int, bytes]] = []
        for terms in instruments:
            self.do(terms)

    def do(self, command: commands.Command, *, time_ns: int | None = None) -> list[Event]:
        index = self.machine.index + 1
        time_ns = self.machine.time_ns + 1_000 if time_ns is None else time_ns
        raw = codec.encode_command(command)
        self.log.append((index, time_ns, raw))
        (events,) = self.machine.apply(index, time_ns, [raw])
        invariants.check(self.machine)
        assert codec.decode_events(codec.encode_events(events)) == events
        return events

    def account(self, cash: float = 10_000_000, *, user: str | None = None) -> str:
        """A funded account, of a user of its own unless one is named."""
        if user is None:
            user = self.do(commands.RegisterUser(f"user{len(self.machine.users)}", "$2b$hash"))[0].user_id
        account_id = self.do(commands.OpenAccount(user, "test", 0))[0].account_id
        if cash:
            self.do(commands.Deposit(account_id, int(cash * YUAN)))
        return account_id

    def place(
        self,
        account_id: str,
        direction: int,
        volume: int,
        price: int,
        *,
        instrument: str = "SHFE.cu2701",
        offset: int = OPEN,
        **fields: Any,
    ) -> list[Event]:
        return self.do(commands.PlaceOrder(account_id, instrument, direction, offset, volume, 0, price, **fields))

    def begin_day(self, time_ns: int = MONDAY_NS) -> int:
        """Open the first trading day; returns it (YYYYMMDD)."""
        self.do(commands.AdvanceClock(), time_ns=time_ns)
        return self.machine.trading_day

    def let_pass(self, seconds: float = 0) -> list[Event]:
        """Let log time pass: one AdvanceClock at each moment that the state waits for, and one at the end."""
        until_ns = self.machine.time_ns + 10_000 + int(seconds * 10**9)
        events: list[Event] = []
        for _ in range(10_000):
            due_ns = timers.due_ns(self.machine)
            moment_ns = min(max(due_ns, self.machine.time_ns + 1), until_ns) if due_ns else until_ns
            events += self.do(commands.AdvanceClock(), time_ns=moment_ns)
            if moment_ns == until_ns:
                return events
        raise AssertionError("the state is due at once for ever")

    def settle(self, prices: dict[str, int] | None = None) -> list[Event]:
        """Settle the open day, at these prices where given; all events until the next day is open."""
        day = self.machine.trading_day
        if prices:
            assert not isinstance(self.do(commands.SetSettlementPrices(day, list(prices.items())))[0], CommandRejected)
        events = self.do(commands.SettleDay(day))
        while self.machine.settlements.running is not None:
            events += self.do(commands.AdvanceClock())
        return events

    def order_id(self, events: list[Event]) -> int:
        assert isinstance(events[0], OrderAccepted), events
        return events[0].order_id


def of(kind: type, events: list[Event]) -> list[Any]:
    """The events of one kind among some."""
    return [event for event in events if type(event) is kind]


def trades(events: list[Event]) -> list[tuple[int, int]]:
    """(price, volume) of the trades among some events."""
    return [(e.price_ticks, e.volume) for e in events if isinstance(e, TradeExecuted)]


def code(events: list[Event]) -> int:
    """The reject code of a refused command."""
    assert isinstance(events[0], CommandRejected), events
    assert len(events) == 1
    return events[0].code
