"""Money over settlements: conserved at every index, and explained by trades, flows and settlement prices alone.

The check knows no buckets, no reservations and no remainders. What a day brings to an account in one contract is
variation margin: the value of its net lots at the new settlement price, less their value at the old one, less what it
paid for lots and plus what it got for them; less the commissions that its trades name.
"""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.exchange import commands, invariants, settlement
from node.exchange.events import (
    AccountSettled,
    CommandRejected,
    DaySettled,
    Event,
    FundsMoved,
    InstrumentSettled,
    PositionExpired,
    SettlementStarted,
    TradeExecuted,
)
from node.exchange.types import FundsKind, Phase
from tests.exchange.driver import BUY, SELL, YUAN, Driver, copper, index_future, trades
from tests.exchange.stream import likely_command, wild_command

SIGNS = {FundsKind.DEPOSIT: 1, FundsKind.BANK_IN: 1, FundsKind.WITHDRAW: -1, FundsKind.BANK_OUT: -1}


class Auditor:
    """Recomputes every account's balance at settlement from the events alone."""

    def __init__(self, exchange: Driver) -> None:
        self.exchange = exchange
        self.balances: Counter[str] = Counter()
        self.lots: Counter[tuple[str, str]] = Counter()  # net, by (account, instrument)
        self.marks: dict[str, int] = {}  # newest settlement price
        self.cash: Counter[tuple[str, str]] = Counter()  # ticks * lots, got less paid, since then
        self.started: Counter[tuple[str, str]] = Counter()  # net lots at the beginning of the day
        self.trades = 0
        self.days = 0
        self.compared = 0

    def see(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, FundsMoved):
                self.balances[event.account_id] += SIGNS[FundsKind(event.kind)] * event.amount_units
            elif isinstance(event, TradeExecuted):
                self.trades += 1
                name, cost = event.instrument_id, event.price_ticks * event.volume
                for account_id, sign, fee in (
                    (event.buy_account_id, 1, event.buy_fee_units),
                    (event.sell_account_id, -1, event.sell_fee_units),
                ):
                    self.lots[account_id, name] += sign * event.volume
                    self.cash[account_id, name] -= sign * cost
                    self.balances[account_id] -= fee
            elif isinstance(event, InstrumentSettled):
                self.mark(event.instrument_id, event.settlement_ticks)
            elif isinstance(event, PositionExpired):
                self.lots[event.account_id, event.instrument_id] -= event.direction * event.volume
                self.started[event.account_id, event.instrument_id] = self.lots[event.account_id, event.instrument_id]
            elif isinstance(event, AccountSettled):
                self.compared += 1
                assert event.balance == self.balances[event.account_id], event
            elif isinstance(event, DaySettled) and not event.repeated:
                self.days += 1
                assert event.profit_units == 0

    def mark(self, name: str, ticks: int) -> None:
        value = self.exchange.machine.instruments[name].tick_value
        before = self.marks.get(name, 0)
        for key in [key for key in self.lots if key[1] == name]:
            gained = self.lots[key] * ticks - self.started[key] * before + self.cash[key]
            self.balances[key[0]] += gained * value
            self.started[key] = self.lots[key]
            self.cash[key] = 0
        self.marks[name] = ticks


class Audited(Driver):
    """A driver whose auditor sees every event."""

    def __init__(self, *instruments: commands.ListInstrument) -> None:
        self.auditor = Auditor(self)
        super().__init__(*instruments)

    def do(self, command: commands.Command, *, time_ns: int | None = None) -> list[Event]:
        events = super().do(command, time_ns=time_ns)
        self.auditor.see(events)
        return events

    def settle(self, prices: dict[str, int] | None = None) -> list[Event]:
        events = super().settle(prices)
        assert isinstance(events[0], SettlementStarted), events
        return events


def plain_order(rng: random.Random, exchange: Driver) -> commands.PlaceOrder:
    """An order near the last price, of whom and for what it may be: most of the trades come from these."""
    name, instrument = rng.choice(list(exchange.machine.instruments.items()))
    return commands.PlaceOrder(
        rng.choice(list(exchange.machine.accounts)),
        name,
        rng.choice((BUY, SELL)),
        rng.choice((0, 0, 0, 1, 2)),
        rng.randint(1, 6),
        0,
        instrument.last_ticks + rng.randint(-3, 3),
        rng.choice((0, 0, 2)),
    )


def some_prices(rng: random.Random, exchange: Driver) -> dict[str, int]:
    """Settlement prices for those that need one, near the market; some others are left to their default."""
    prices = {}
    for name, instrument in exchange.machine.instruments.items():
        if instrument.status in settlement.GONE:
            continue
        lower, upper = instrument.lower_limit_ticks, instrument.upper_limit_ticks
        if not lower <= settlement.default_price(instrument) <= upper or rng.random() < 0.5:
            prices[name] = min(max(instrument.last_ticks + rng.randint(-30, 30), lower), upper)
    return prices


def end_sessions(exchange: Driver) -> None:
    """Live through what the calendars still have before them on the open day."""
    for _ in range(100):
        waiting = [c for c in exchange.machine.calendars.values() if c.phase != Phase.CLOSED or c.next_ns]
        if not waiting:
            return
        next_ns = max(calendar.next_ns for calendar in waiting)
        if next_ns:
            exchange.do(commands.AdvanceClock(), time_ns=max(next_ns, exchange.machine.time_ns) + 1)
        else:  # forced, with nothing after it
            exchange.do(commands.SetSession(waiting[0].calendar_id, Phase.CLOSED))
    raise AssertionError("the day does not end")


@pytest.mark.parametrize("seed", range(5))
def test_a_random_market_over_many_days_is_explained_by_its_trades_and_prices(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All invariants after every command, also in the midst of the settlements, which are cut into small pieces."""
    rng = random.Random(seed)
    monkeypatch.setattr(settlement, "STEPS_PER_COMMAND", rng.choice((1, 4, 50)))
    exchange = Audited(copper(), copper("SHFE.cu2702", expiry_day=20261125), index_future())
    exchange.begin_day()
    for _ in range(3):
        user = exchange.do(commands.RegisterUser(f"u{len(exchange.machine.users)}", "hash"))[0].user_id
        for _ in range(2):
            exchange.account(3_000_000, user=user)
    for _ in range(6):
        for _ in range(100):
            draw = rng.random()
            if draw < 0.05:
                exchange.do(wild_command(rng))
            elif draw < 0.4:
                exchange.do(likely_command(rng, exchange.machine))
            else:
                exchange.do(plain_order(rng, exchange))
            while exchange.machine.settlements.running is not None:  # a wild SettleDay
                exchange.do(commands.AdvanceClock())
        end_sessions(exchange)
        exchange.settle(some_prices(rng, exchange))
    assert exchange.auditor.days >= 6
    assert exchange.auditor.compared >= 36
    assert exchange.auditor.trades >= 30
    assert exchange.machine.fees_units > 0


lots = st.integers(1, 3)
ticks = st.integers(6_990, 7_010)
deal = st.tuples(st.booleans(), st.sampled_from((0, 1, 2, 3)), st.sampled_from((0, 1, 2, 3)), lots, ticks)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.lists(deal, max_size=8), ticks), min_size=1, max_size=4))
def test_any_deals_between_two_accounts_over_any_settlement_prices_are_explained(
    days: list[tuple[list[tuple[bool, int, int, int, int]], int]],
) -> None:
    exchange = Audited(copper("DCE.m2701", close_rate=1_234_567, open_rate=7_654_321, close_today_rate=3_333_333))
    exchange.begin_day()
    one, two = exchange.account(50_000_000), exchange.account(50_000_000)
    for deals, settlement_ticks in days:
        for first_buys, maker_offset, taker_offset, volume, price in deals:
            direction = BUY if first_buys else SELL
            maker = exchange.place(one, direction, volume, price, instrument="DCE.m2701", offset=maker_offset)
            if isinstance(maker[0], CommandRejected):
                continue
            exchange.place(two, -direction, volume, price, instrument="DCE.m2701", offset=taker_offset)
            exchange.do(commands.CancelAll(one))
            exchange.do(commands.CancelAll(two))
        exchange.settle({"DCE.m2701": settlement_ticks})
    assert exchange.auditor.days == len(days)


def test_a_doctored_balance_is_seen_by_the_conservation_law() -> None:
    exchange = Driver(copper())
    exchange.begin_day()
    long, short = exchange.account(), exchange.account()
    exchange.place(short, SELL, 1, 7_000)
    exchange.place(long, BUY, 1, 7_000)
    exchange.settle({"cu2701": 7_010})
    machine = exchange.machine
    for item, attribute in ((machine, "fees_units"), (machine.accounts[long], "pre_balance")):
        kept = getattr(item, attribute)
        setattr(item, attribute, kept + 1)
        with pytest.raises(invariants.InvariantError, match="external flow"):
            invariants.check(machine)
        setattr(item, attribute, kept)
    invariants.check(machine)


def test_money_is_conserved_at_every_index_of_a_settlement(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settled and not yet settled accounts together, an expiring contract among what they hold."""
    monkeypatch.setattr(settlement, "STEPS_PER_COMMAND", 1)
    exchange = Driver(copper(expiry_day=20261123), index_future())
    exchange.begin_day()
    accounts = [exchange.account() for _ in range(6)]
    for n, account_id in enumerate(accounts[1:], start=1):
        for name, price in (("SHFE.cu2701", 7_000), ("CFFEX.IF2701", 19_000)):
            exchange.place(accounts[0], SELL, n, price, instrument=name)
            assert trades(exchange.place(account_id, BUY, n, price, instrument=name))
    machine = exchange.machine
    exchange.do(commands.SetSettlementPrices(20261123, [("cu2701", 7_123), ("IF2701", 18_765)]))
    exchange.do(commands.SettleDay(20261123))
    seen = 0
    while machine.settlements.running is not None:
        seen += 1
        held = sum(account.balance() + account.commission for account in machine.accounts.values())
        assert held + machine.fees_units == machine.external_units == 6 * 10_000_000 * YUAN
        exchange.do(commands.AdvanceClock())
    assert seen >= 6
