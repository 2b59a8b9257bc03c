"""Properties over seeded streams: totality, invariants after every entry, replay equality, reject catalogue."""

from __future__ import annotations

import random

import pytest

from node.exchange import codec, commands, invariants, rejects
from node.exchange.events import CommandRejected
from node.exchange.machine import Machine
from node.exchange.types import PRICE_TICKS_MAX
from tests.exchange.driver import BUY, SELL, Driver, copper
from tests.exchange.stream import run, wild_command


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


def test_no_command_whatever_its_values_makes_apply_raise() -> None:
    rng = random.Random(5)
    machine, _ = run(5, 500)
    for _ in range(300):
        batch = [codec.encode_command(wild_command(rng)) for _ in range(100)]
        machine.apply(machine.index + 1, machine.time_ns + 1, batch)
    invariants.check(machine)


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
    for attribute in ("deposit", "frozen_margin", "frozen_fee", "margin", "alive_orders"):
        setattr(account, attribute, getattr(account, attribute) + 1)
        with pytest.raises(invariants.InvariantError):
            invariants.check(exchange.machine)
        setattr(account, attribute, getattr(account, attribute) - 1)
    invariants.check(exchange.machine)


def test_every_reject_has_one_number_one_name_and_text_in_two_languages() -> None:
    listed = [value for value in vars(rejects).values() if isinstance(value, rejects.Reject)]
    assert sorted(rejects.BY_CODE) == sorted(reject.code for reject in listed)
    assert len({reject.name for reject in listed}) == len(listed) == len(rejects.BY_CODE)
    for reject in listed:
        assert reject.message
        assert any("\u4e00" <= letter <= "\u9fff" for letter in reject.message_zh), reject
        assert getattr(rejects, reject.name) is reject


@pytest.mark.parametrize(
    "changes",
    [
        {"instrument_id": "cu2701"},
        {"instrument_id": "shfe.cu2701"},
        {"instrument_id": "SHFE."},
        {"volume_multiple": 0},
        {"tick_units": 0},
        {"tick_units": 10**12, "volume_multiple": 10},
        {"pre_settlement_ticks": 0},
        {"pre_settlement_ticks": 8_000},
        {"upper_limit_ticks": PRICE_TICKS_MAX + 1},
        {"volume_min": 0},
        {"volume_max": 0},
        {"margin_long_rate": -1},
        {"margin_long_rate": 10**9 + 1},
        {"margin_rule": 2},
        {"name": ""},
    ],
)
def test_wrong_terms_of_an_instrument_are_refused_by_name(changes: dict[str, object]) -> None:
    exchange = Driver()
    (event,) = exchange.do(copper(**changes))
    assert isinstance(event, CommandRejected)
    assert event.code == rejects.BAD_INSTRUMENT.code
    assert any(field in event.detail for field in changes)
    assert not exchange.machine.instruments


def test_an_instrument_is_listed_once() -> None:
    exchange = Driver(copper())
    assert exchange.do(copper())[0].code == rejects.INSTRUMENT_EXISTS.code


def test_finished_orders_are_kept_up_to_their_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.exchange.matching.FINISHED_ORDERS_MAX", 3)
    exchange = Driver(copper())
    maker, taker = exchange.account(), exchange.account()
    resting = exchange.order_id(exchange.place(maker, BUY, 1, 6_900))
    for _ in range(5):
        exchange.place(maker, SELL, 1, 7_000)
        exchange.place(taker, BUY, 1, 7_000)
    assert len(exchange.machine.orders) == 4
    assert exchange.machine.orders[resting].alive


def test_a_foreign_password_hash_is_never_empty() -> None:
    exchange = Driver()
    assert exchange.do(commands.RegisterUser("a", ""))[0].code == rejects.BAD_USER_PARAMETERS.code
    assert exchange.do(commands.RegisterUser("a", "h" * 129))[0].code == rejects.BAD_USER_PARAMETERS.code
    assert exchange.do(commands.RegisterUser(" a", "h"))[0].code == rejects.BAD_USER_PARAMETERS.code
    assert exchange.do(commands.RegisterUser("a", "h", 0x20))[0].code == rejects.BAD_USER_PARAMETERS.code
