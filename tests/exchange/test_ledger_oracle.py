"""The ledger against the model that recomputes every account from the first event on (domain.md 5, 6 and 8).

After every command all figures of all accounts and all sides of all positions must be equal, to the last unit; what
trades and statements tell of fees and profits is recomputed on the way.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.exchange import commands
from node.exchange.events import DaySettled, Event, TradeExecuted
from node.exchange.machine import Machine
from node.exchange.queries import account_figures, position_figures
from node.exchange.types import InstrumentStatus, Offset, PriceType, SelfTrade, TimeCondition, VolumeCondition
from tests.exchange.driver import BUY, MONDAY_NS, SELL, YUAN, Driver, copper, index_future
from tests.exchange.model.ledger import LONG, SHORT, Books, History, recompute
from tests.exchange.stream import Stream

INSTRUMENTS = (
    copper(close_amount=100_000, close_today_amount=250_000),  # SHFE: CLOSE takes history alone; by lot
    copper("SHFE.cu2702", expiry_day=20261126, margin_long_rate=70_000_001, margin_short_rate=90_000_003,
           open_rate=33_333),
    index_future(),  # by money; CLOSE takes history, then today
    copper("DCE.m2701", product="m", margin_rule=1, tick_units=3, margin_long_amount=7, margin_short_rate=123_456_789,
           open_rate=5_555_555, close_rate=7_777_777, close_today_rate=1, settlement_rule=2),
)  # fmt: skip
CASH = (100_000_000, 2_000_000, 300_000, 50_000)


class Place(NamedTuple):
    account: int
    instrument: int
    direction: int
    offset: int
    volume: int
    away: int  # ticks beyond the last price
    price_type: int
    time_condition: int
    volume_condition: int
    self_trade: int


class Close(NamedTuple):
    """A close of one of the sides that are held."""

    pick: int
    offset: int
    volume: int
    away: int
    time_condition: int


class Modify(NamedTuple):
    pick: int
    move: int
    volume: int


class Cancel(NamedTuple):
    pick: int


class Move(NamedTuple):
    account: int
    amount: int  # negative: withdraw


class Reprice(NamedTuple):
    """New rates for an instrument, at once."""

    instrument: int
    rate: int
    amount: int


class Settle(NamedTuple):
    """Settle the day, every instrument so many ticks away from its last price; None: by the instrument's own rule."""

    moves: tuple[int, int, int, int] | None


Step = Place | Close | Modify | Cancel | Move | Reprice | Settle


@pytest.fixture(autouse=True, scope="module")
def settlements_are_cut_up() -> Iterator[None]:
    """A few accounts per command, so that figures are compared between settled and unsettled ones."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("node.exchange.settlement.STEPS_PER_COMMAND", 2)
        yield


def recomputed(machine: Machine, history: History) -> Books:
    return recompute(history, lambda order_id: machine.orders[order_id].price_ticks)


def compare(machine: Machine, history: History) -> None:
    """Every figure of every account and every position, asked and recomputed."""
    books = recomputed(machine, history)
    assert list(books.accounts) == list(machine.accounts)
    for account_id, account in machine.accounts.items():
        assert account_figures(account) == books.figures(account_id), account_id
        for instrument_id, position in account.positions.items():
            told = position_figures(position)
            assert told.long == books.side_figures(account_id, instrument_id, LONG), (account_id, instrument_id)
            assert told.short == books.side_figures(account_id, instrument_id, SHORT), (account_id, instrument_id)
        held = {name for (name, _), side in books.accounts[account_id].sides.items() if side.volume}
        assert held <= set(account.positions)


class Exchange:
    """The machine, the history of what it was told and told, and the comparison with the model."""

    def __init__(self) -> None:
        self.driver = Driver()
        self.machine = self.driver.machine
        self.history: History = []
        self.do(commands.AdvanceClock(), time_ns=MONDAY_NS)
        for terms in INSTRUMENTS:
            self.do(terms)
        self.accounts: list[str] = []
        for n, cash in enumerate(CASH):
            user_id = self.do(commands.RegisterUser(f"user{n}", "hash"))[0].user_id
            self.accounts.append(self.do(commands.OpenAccount(user_id, "a", 0))[0].account_id)
            self.do(commands.Deposit(self.accounts[-1], cash * YUAN))

    def do(self, command: commands.Command, *, time_ns: int | None = None) -> list[Event]:
        events = self.driver.do(command, time_ns=time_ns)
        self.history.append((command, events))
        return events

    def take(self, step: Step) -> None:
        """One step, compared after each of its commands."""
        for command in self.commands_of(step):
            self.do(command)
            compare(self.machine, self.history)
        while self.machine.settlements.running is not None:
            self.do(commands.AdvanceClock())
            compare(self.machine, self.history)

    def commands_of(self, step: Step) -> list[commands.Command]:
        if isinstance(step, Place):
            return [self.order(step)]
        if isinstance(step, Close):
            return self.close(step)
        if isinstance(step, Move):
            kind = commands.Deposit if step.amount > 0 else commands.Withdraw
            return [kind(self.accounts[step.account], abs(step.amount))]
        if isinstance(step, Reprice):
            terms = INSTRUMENTS[step.instrument]
            old = {field: getattr(terms, field) for field in commands.Terms.__struct_fields__}
            new = {"margin_long_rate": step.rate, "margin_short_amount": step.amount, "close_rate": step.rate // 1_000}
            return [commands.ModifyInstrument(**(old | new))]
        if isinstance(step, Settle):
            return self.settlement(step)
        alive = [order for order in self.machine.orders.values() if order.alive]
        if not alive:
            return []
        order = alive[step.pick % len(alive)]
        if isinstance(step, Cancel):
            return [commands.CancelOrder(order.account.account_id, order.order_id)]
        price = order.price_ticks + step.move if step.move else 0
        return [commands.ModifyOrder(order.account.account_id, order.order_id, price, step.volume)]

    def order(self, step: Place) -> commands.PlaceOrder:
        instrument = self.machine.instruments[INSTRUMENTS[step.instrument].instrument_id]
        return commands.PlaceOrder(
            self.accounts[step.account],
            instrument.instrument_id,
            step.direction,
            step.offset,
            step.volume,
            step.price_type,
            instrument.last_ticks + step.direction * step.away if step.price_type == PriceType.LIMIT else 0,
            step.time_condition,
            step.volume_condition,
            1 if step.volume_condition == VolumeCondition.MIN else 0,
            self_trade=step.self_trade,
        )

    def close(self, step: Close) -> list[commands.Command]:
        held = [
            (account_id, position.instrument, side)
            for account_id, account in self.machine.accounts.items()
            for position in account.positions.values()
            for side in (position.long, position.short)
            if side.volume
        ]
        if not held:
            return []
        account_id, instrument, side = held[step.pick % len(held)]
        price = instrument.last_ticks - side.direction * step.away
        name = instrument.instrument_id
        volume = min(step.volume, side.volume)
        return [
            commands.PlaceOrder(
                account_id, name, -side.direction, step.offset, volume, 0, price, time_condition=step.time_condition
            )
        ]

    def settlement(self, step: Settle) -> list[commands.Command]:
        day = self.machine.trading_day
        if step.moves is None:
            return [commands.SettleDay(day)]
        prices = [
            (name, instrument.last_ticks + move)
            for (name, instrument), move in zip(self.machine.instruments.items(), step.moves, strict=True)
            if instrument.status != InstrumentStatus.EXPIRED
        ]
        return [commands.SetSettlementPrices(day, prices), commands.SettleDay(day)]


def random_step(rng: random.Random) -> Step:
    draw = rng.randint(0, 99)
    if draw < 45:
        return Place(
            rng.randint(0, len(CASH) - 1),
            rng.choice((0, 0, 1, 1, 2, 2, 3)),
            rng.choice((BUY, SELL)),
            Offset.OPEN,
            rng.randint(1, 5),
            rng.randint(-1, 2),
            rng.choice((PriceType.LIMIT, PriceType.LIMIT, PriceType.LIMIT, *PriceType)),
            rng.choice((TimeCondition.GFD, TimeCondition.GFD, TimeCondition.GTC, TimeCondition.IOC)),
            rng.choice((VolumeCondition.ANY, VolumeCondition.ANY, VolumeCondition.ANY, VolumeCondition.MIN)),
            rng.choice(tuple(SelfTrade)),
        )
    if draw < 78:
        return Close(
            rng.randint(0, 30),
            rng.choice((Offset.CLOSE, Offset.CLOSETODAY, Offset.CLOSEYESTERDAY)),
            rng.choice((1, 2, 4, 6)),
            rng.randint(-1, 2),
            rng.choice((TimeCondition.GFD, TimeCondition.GFD, TimeCondition.GTC, TimeCondition.IOC)),
        )
    if draw < 84:
        return Modify(rng.randint(0, 30), rng.randint(-2, 2), rng.randint(0, 6))
    if draw < 88:
        return Cancel(rng.randint(0, 30))
    if draw < 91:
        return Move(rng.randint(0, len(CASH) - 1), rng.choice((1, -1)) * rng.randint(1, 10**9))
    if draw < 98:
        return Reprice(rng.randint(0, len(INSTRUMENTS) - 1), rng.randint(0, 2 * 10**8), rng.randint(0, 10**8))
    moves = tuple(rng.randint(-50, 50) for _ in INSTRUMENTS)
    return Settle(moves if rng.randint(0, 2) else None)


SHRINKING = st.randoms(use_true_random=False)


@settings(max_examples=60, deadline=None)
@given(steps=st.lists(st.builds(random_step, SHRINKING), min_size=30, max_size=60))
def test_the_ledger_is_what_its_events_say(steps: list[Step]) -> None:
    exchange = Exchange()
    for step in steps:
        exchange.take(step)


@pytest.mark.parametrize("seed", range(4))
def test_the_ledger_is_what_its_events_say_over_many_days(seed: int) -> None:
    rng = random.Random(seed)
    exchange = Exchange()
    for _ in range(500):
        exchange.take(random_step(rng))
    told = [event for _, told in exchange.history for event in told]
    fills = [event for event in told if isinstance(event, TradeExecuted)]
    assert len(fills) > 30
    assert {fill.buy_offset for fill in fills} | {fill.sell_offset for fill in fills} == set(Offset)
    assert sum(isinstance(event, DaySettled) for event in told) >= 3
    books = recomputed(exchange.machine, exchange.history)
    assert any(side.volume for account in books.accounts.values() for side in account.sides.values())


def test_a_close_over_both_buckets_that_fills_in_parts_takes_history_first() -> None:
    """The fees tell the buckets apart: close for the first two lots, close-today for the others."""
    exchange = Exchange()
    buyer, seller = exchange.accounts[:2]

    def trade(account: str, direction: int, offset: Offset, volume: int, price: int = 19_000) -> list[Event]:
        events = exchange.do(
            commands.PlaceOrder(account, "CFFEX.IF2701", direction, offset, volume, 0, price, time_condition=2)
        )
        compare(exchange.machine, exchange.history)
        return events

    def both(volume: int) -> None:
        trade(seller, SELL, Offset.OPEN, volume)
        trade(buyer, BUY, Offset.OPEN, volume)

    both(2)
    exchange.take(Settle((0, 0, 1, 0)))
    both(3)
    trade(buyer, SELL, Offset.CLOSE, 4)
    fees = []
    for _ in range(4):
        (fill,) = (e for e in trade(seller, BUY, Offset.OPEN, 1) if isinstance(e, TradeExecuted))
        fees.append(fill.sell_fee_units)
    turnover = 19_000 * 2_000 * 300
    assert fees == [turnover * rate // 10**9 for rate in (23_000, 23_000, 345_000, 345_000)]


class WatchedStream(Stream):
    """A stream of every command there is, whose history is kept and now and then compared."""

    COMPARE_EVERY = 7  # entries: a comparison recomputes everything from the beginning

    def __init__(self, seed: int) -> None:
        self.history: History = []
        super().__init__(seed)

    def _entry(self, batch: list[commands.Command], *, time_ns: int = 0) -> list[list[Event]]:
        results = super()._entry(batch, time_ns=time_ns)
        self.history += zip(batch, results, strict=True)
        if len(self.log) % self.COMPARE_EVERY == 0:
            compare(self.machine, self.history)
        return results


@pytest.mark.parametrize("seed", range(4))
def test_the_ledger_is_what_its_events_say_whatever_happens(seed: int) -> None:
    """Liquidations, conditional orders, auctions, expiries, frozen accounts, changed terms, wild values."""
    stream = WatchedStream(seed)
    stream.run(1_500)
    compare(stream.machine, stream.history)
    assert stream.told["TradeExecuted"] > 30
