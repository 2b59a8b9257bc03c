"""Properties over seeded streams: totality, invariants after every entry, replay equality."""

from __future__ import annotations

import random

import msgspec
import pytest

from node.exchange import codec, commands, invariants, rejects
from node.exchange.events import CommandRejected
from node.exchange.machine import Machine
from tests.exchange.driver import BUY, SELL, Driver, copper, trades
from tests.exchange.stream import run


@pytest.mark.parametrize("seed", range(6))
def test_all_invariants_hold_after_every_entry(seed: int) -> None:
    run(seed, 1_500, after=invariants.check)


def test_the_same_log_gives_the_same_state_and_digest() -> None:
    machine, log = run(99, 4_000)
    replayed = Machine()
    for index, time_ns, raws in log:
        replayed.apply(index, time_ns, raws)
    assert replayed.digest() == machine.digest()
    assert [a.balance() for a in replayed.accounts.values()] == [a.balance() for a in machine.accounts.values()]


def test_a_different_entry_gives_a_different_digest() -> None:
    one, two, later = Machine(), Machine(), Machine()
    one.apply(1, 1, [codec.encode_command(copper())])
    two.apply(1, 1, [codec.encode_command(copper(name="x"))])
    later.apply(1, 2, [codec.encode_command(copper())])
    assert len({one.digest(), two.digest(), later.digest()}) == 3


def test_bytes_that_are_no_command_raise_the_codecs_error_and_nothing_else() -> None:
    rng = random.Random(6)
    for _ in range(20_000):
        with pytest.raises(codec.CodecError):
            codec.decode_command(b"\xc1" + rng.randbytes(rng.randint(0, 40)))
        try:
            codec.decode_command(rng.randbytes(rng.randint(0, 40)))
        except codec.CodecError:
            continue


def test_a_broken_invariant_is_seen() -> None:
    exchange = Driver(copper())
    trader = exchange.account()
    exchange.place(trader, BUY, 1, 7_000)
    account = exchange.machine.accounts[trader]
    for attribute in ("deposit", "frozen_margin", "frozen_fee", "margin"):
        setattr(account, attribute, getattr(account, attribute) + 1)
        with pytest.raises(invariants.InvariantError):
            invariants.check(exchange.machine)
        setattr(account, attribute, getattr(account, attribute) - 1)
    invariants.check(exchange.machine)


def test_finished_orders_are_kept_up_to_their_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.exchange.matching.FINISHED_ORDERS_PER_ACCOUNT_MAX", 3)
    exchange = Driver(copper())
    maker, taker = exchange.account(), exchange.account()
    resting = exchange.order_id(exchange.place(maker, BUY, 1, 6_900))
    for _ in range(5):
        exchange.place(maker, SELL, 1, 7_000)
        exchange.place(taker, BUY, 1, 7_000)
    assert len(exchange.machine.orders) == 7
    assert exchange.machine.orders[resting].alive


def test_a_full_exchange_forgets_an_accounts_own_orders_never_a_strangers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.exchange.matching.FINISHED_ORDERS_MAX", 4)
    exchange = Driver(copper())
    quiet, busy = exchange.account(), exchange.account()
    kept = exchange.order_id(exchange.place(quiet, BUY, 1, 6_900, time_condition=1))
    newest = [exchange.order_id(exchange.place(busy, BUY, 1, 6_900, time_condition=1)) for _ in range(20)][-3:]
    assert list(exchange.machine.orders) == [kept, *newest]


def extreme_terms(rng: random.Random) -> commands.ListInstrument:
    """An instrument that may be listed, at the edges of what its terms may be."""
    tick_units, multiple = rng.choice(((1, 1), (10_000, 10**8), (10**6, 10**6), (1, 10**12), (2_000, 300)))
    pre = rng.choice((1, 7_000, 10**7, 10**9))
    return copper(
        "SIM.x" + str(rng.randint(0, 9)),
        tick_units=tick_units,
        volume_multiple=multiple,
        pre_settlement_ticks=pre,
        limit_up_rate=rng.choice((0, 1, 10**8, 10**11)),
        limit_down_rate=rng.choice((0, 1, 10**8, 10**9)),
        volume_max=10**6,
        margin_long_rate=rng.choice((0, 10**9)),
        margin_short_rate=rng.choice((0, 1, 10**9)),
        margin_long_amount=rng.choice((0, 10**11)),
        margin_short_amount=rng.choice((0, 1)),
        open_rate=rng.choice((0, 10**9)),
        open_amount=rng.choice((0, 10**11)),
        close_rate=rng.choice((0, 10**9)),
        close_amount=rng.choice((0, 10**11)),
        close_today_rate=rng.choice((0, 10**9)),
        close_today_amount=rng.choice((0, 10**11)),
    )


def test_the_largest_values_that_are_accepted_never_make_apply_raise() -> None:
    """Money in an event must fit 64 bits whatever is listed, traded at the limits, won and lost."""
    placed = sum(trade_at_the_extremes(random.Random(seed)) for seed in range(30))
    assert placed > 500


def trade_at_the_extremes(rng: random.Random) -> int:
    """How many orders were accepted."""
    exchange = Driver()
    while not exchange.machine.instruments:
        exchange.do(extreme_terms(rng))
    instrument = next(iter(exchange.machine.instruments.values()))
    accounts = [exchange.account(0) for _ in range(4)]
    for account_id in accounts:
        for _ in range(10):
            exchange.do(commands.Deposit(account_id, 10**17))
    prices = (instrument.lower_limit_ticks, instrument.terms.pre_settlement_ticks, instrument.upper_limit_ticks)
    placed = 0
    for _ in range(200):
        events = exchange.place(
            rng.choice(accounts),
            rng.choice((BUY, SELL)),
            rng.choice((1, 2, 1_000, 10**5, 10**6)),
            rng.choice(prices),
            instrument=instrument.instrument_id,
            offset=rng.choice((0, 0, 2)),
        )
        placed += not isinstance(events[0], CommandRejected)
        exchange.do(rng.choice((commands.Deposit, commands.Withdraw))(rng.choice(accounts), rng.choice((1, 10**17))))
    return placed


def test_the_extremes_of_the_test_above_are_accepted_and_traded() -> None:
    """The fuzz would be hollow if everything were refused: one trade of the largest notional, and its close."""
    limits = {"pre_settlement_ticks": 10**7, "limit_up_rate": 0, "limit_down_rate": 0, "volume_max": 10**6}
    no_margin = {"margin_long_amount": 0, "margin_short_amount": 0}
    exchange = Driver(copper("SIM.big", tick_units=1, volume_multiple=1, **limits, **no_margin))
    loser, winner = exchange.account(10**9), exchange.account(10**9)
    exchange.place(loser, SELL, 10**6, 1, instrument="SIM.big")
    assert trades(exchange.place(winner, BUY, 10**6, 1, instrument="SIM.big")) == [(1, 10**6)]
    exchange.place(winner, SELL, 10**6, 10**9, instrument="SIM.big", offset=2)
    assert trades(exchange.place(loser, BUY, 10**6, 10**9, instrument="SIM.big", offset=2)) == [(10**9, 10**6)]
    assert exchange.machine.accounts[winner].close_profit == 10**15 - 10**6


def test_a_foreign_password_hash_is_never_empty() -> None:
    exchange = Driver()
    assert exchange.do(commands.RegisterUser("a", ""))[0].code == rejects.BAD_USER_PARAMETERS.code
    assert exchange.do(commands.RegisterUser("a", "h" * 129))[0].code == rejects.BAD_USER_PARAMETERS.code
    assert exchange.do(commands.RegisterUser(" a", "h"))[0].code == rejects.BAD_USER_PARAMETERS.code
    assert exchange.do(commands.RegisterUser("a", "h", 0x20))[0].code == rejects.BAD_USER_PARAMETERS.code


def test_one_product_of_an_exchange_has_one_margin_rule() -> None:
    exchange = Driver(copper())
    assert exchange.do(copper("SHFE.cu2702", margin_rule=1))[0].code == rejects.BAD_INSTRUMENT.code
    exchange.do(copper("SHFE.al2701", product="al", margin_rule=1))
    exchange.do(copper("INE.cu2701", margin_rule=1))
    assert len(exchange.machine.instruments) == 3


def test_a_command_with_a_field_too_many_is_of_another_version_and_no_command() -> None:
    with pytest.raises(codec.CodecError):
        codec.decode_command(msgspec.msgpack.encode([24, "ACC_00000001", 5, "", "", "new"]))
