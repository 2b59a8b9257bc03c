"""Snapshots: the whole state as bytes and back, canonical, and refused when anything is wrong with them."""

from __future__ import annotations

import importlib
import pkgutil
import random
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from typing import Any, NamedTuple

import msgspec
import pytest

import node.exchange
from node.exchange import codec, commands, events, frames, layouts, snapshot
from node.exchange.frames import SnapshotError
from node.exchange.machine import Machine
from node.exchange.matching import crosses
from node.exchange.types import InstrumentStatus, Phase
from tests.exchange.driver import BUY, CLOSE, SELL, Driver, copper, index_future
from tests.exchange.object_graph import attribute_names, attributes, differences, objects
from tests.exchange.stream import run

Log = list[tuple[int, int, list[bytes]]]

# Classes of node.exchange that are no part of the state: they live for one command, one answer or one stream.
NOT_STATE = {
    "closing_plan.Closing", "closing_plan.Group", "closing_plan.Holding", "flows.Flow", "frames.Reader",
    "layouts.Layout", "mark_to_market.Budget", "queries.AccountFigures", "queries.EquityCurve",
    "queries.EquityPoint", "queries.MarginFigures", "queries.PositionFigures", "queries.SideFigures", "rejects.Reject",
    "requests.Once", "sections.Section", "snapshot.Summary",
}  # fmt: skip


def taken(machine: Machine) -> bytes:
    return b"".join(machine.snapshot())


def restored(data: bytes) -> Machine:
    return Machine.restore([data])


def replayed(log: Log) -> Machine:
    machine = Machine()
    for entry in log:
        machine.apply(*entry)
    return machine


def check_round_trip(machine: Machine) -> Machine:
    """A restored machine has the same bytes and the same object graph."""
    data = taken(machine)
    again = restored(data)
    assert differences(machine, again) == []
    assert taken(again) == data
    return again


# Nothing is forgotten


def state_classes() -> Iterator[tuple[str, type]]:
    """Every class that node.exchange defines and that could be a part of the state."""
    for found in pkgutil.iter_modules(node.exchange.__path__):
        module = importlib.import_module(f"node.exchange.{found.name}")
        for name, kind in vars(module).items():
            if not isinstance(kind, type) or kind.__module__ != module.__name__:
                continue
            if issubclass(kind, commands.Command | events.Event | Enum | BaseException):
                continue
            yield f"{found.name}.{name}", kind


def test_every_class_of_the_exchange_has_a_table_or_is_no_state() -> None:
    kept = {layout.kind for layout in layouts.LAYOUTS} | set(layouts.RECORDS)
    assert dict(state_classes()).keys() >= NOT_STATE, "a class that is gone"
    forgotten = [
        name for name, kind in state_classes() if kind not in kept and name not in NOT_STATE and kind is not Machine
    ]
    assert forgotten == [], "name them in node/exchange/layouts.py, and write and load them in sections.py"


def named(layout: layouts.Layout[Any]) -> list[str]:
    return [*layout.stored, *layout.linked, *layout.derived]


@pytest.mark.parametrize("layout", layouts.LAYOUTS, ids=lambda layout: layout.kind.__name__)
def test_a_table_names_every_attribute_of_its_class_once(layout: layouts.Layout[Any]) -> None:
    names = named(layout)
    assert len(names) == len(set(names))
    declared = attribute_names(layout.kind)
    if declared:
        assert sorted(names) == sorted(declared), "stored, linked or derived? See node/exchange/layouts.py"


def test_a_live_machine_has_no_attribute_that_no_table_names(busy: Machine) -> None:
    tables = {layout.kind: layout for layout in layouts.LAYOUTS}
    for item in objects(busy):
        kind = type(item)
        if kind is Machine:
            assert sorted(attributes(item)) == sorted([*named(layouts.STATE), layouts.DIGEST])
        elif issubclass(kind, msgspec.Struct):
            assert kind in layouts.RECORDS or issubclass(kind, commands.Terms), kind
        else:
            assert kind in tables, f"{kind} is part of the state, and no table of node/exchange/layouts.py is about it"
            assert sorted(attributes(item)) == sorted(named(tables[kind])), kind


def test_the_walk_sees_an_attribute_that_was_forgotten(busy: Machine) -> None:
    again = restored(taken(busy))
    again.extra = 1  # type: ignore[attr-defined]
    assert differences(busy, again) == [": attributes differ by ['extra']"]
    del again.extra  # type: ignore[attr-defined]
    order = next(iter(again.orders.values()))
    order.insert_ns += 1
    assert len(differences(busy, again)) == 1


# The same machine


@pytest.fixture(scope="module")
def busy() -> Machine:
    """A machine with everything that a stream of valid and wild commands leaves behind."""
    return run(42, 4_000)[0]


def test_an_empty_machine_round_trips() -> None:
    check_round_trip(Machine())


@pytest.mark.parametrize("seed", range(4))
def test_a_restored_machine_is_the_same_object_for_object(seed: int) -> None:
    check_round_trip(run(seed, 2_500, wild=0.2)[0])


def test_machines_that_applied_the_same_log_write_the_same_bytes() -> None:
    machine, log = run(7, 2_000)
    assert taken(replayed(log)) == taken(machine)


@pytest.mark.parametrize("seed", range(8))
def test_a_machine_restored_anywhere_in_a_log_goes_on_like_the_one_that_never_stopped(seed: int) -> None:
    _, log = run(1_000 + seed, 1_500, wild=0.1)
    rng = random.Random(seed)
    cuts = sorted(rng.sample(range(len(log)), 4))
    going = Machine()
    twins: list[Machine] = []
    for position, entry in enumerate(log):
        if position in cuts:
            twins.append(check_round_trip(going))
        results = going.apply(*entry)
        for twin in twins:
            assert twin.apply(*entry) == results
            assert twin.digest() == going.digest()
    final = taken(going)
    assert all(taken(twin) == final for twin in twins)


# Scenarios: states that a stream of random commands reaches rarely. Each leaves its machine in the middle of something.


def quiet() -> Driver:
    """Positions of both sides, history and today, resting opens and closes, a modified order behind a later one."""
    exchange = Driver(copper(), copper("SHFE.cu2702"), index_future())
    maker, taker = exchange.account(), exchange.account()
    exchange.place(maker, SELL, 5, 7_000)
    exchange.place(taker, BUY, 3, 7_000, client_order_id="mine")
    first = exchange.order_id(exchange.place(taker, BUY, 4, 6_990))
    exchange.place(maker, BUY, 4, 6_990)
    exchange.do(commands.ModifyOrder(taker, first, volume=6))
    exchange.place(taker, SELL, 2, 7_020, offset=2)
    exchange.place(taker, SELL, 2, 7_010, offset=CLOSE)
    exchange.do(commands.Deposit(maker, 5, "once"))
    return exchange


def beyond_64_bits() -> Driver:
    """A balance that no 64-bit integer holds, and one below zero."""
    exchange = quiet()
    rich, poor = list(exchange.machine.accounts.values())[:2]
    rich.pre_balance += 10**30
    poor.pre_balance -= 2**63 + 10**20
    exchange.machine.external_units += 10**30 - 2**63 - 10**20
    return exchange


def crossed() -> Driver:
    """A call auction with a crossed book, of which a part of the orders lasts only for it."""
    exchange = quiet()
    names = list(exchange.machine.accounts)
    exchange.do(commands.SetInstrumentStatus("SHFE.cu2702", int(InstrumentStatus.AUCTION)))
    for n in range(6):
        exchange.place(names[n % 2], BUY, 1 + n, 6_998 + n, instrument="SHFE.cu2702", time_condition=5 * (n % 2))
        exchange.place(exchange.account(), SELL, 2, 7_001 - n % 3, instrument="SHFE.cu2702")
    machine = exchange.machine
    book = machine.instruments["SHFE.cu2702"].book
    assert crosses(book, BUY, book.best(BUY).price_ticks)  # type: ignore[union-attr]
    return exchange


def conditional() -> Driver:
    """Conditional orders that wait on both sides of the price, one that expires soon."""
    exchange = quiet()
    name = next(iter(exchange.machine.accounts))
    for n in range(5):
        exchange.do(commands.PlaceConditional(name, "SHFE.cu2701", BUY, 0, 1, 0, 7_001, 2, 0, 7_001 + n % 2))
        exchange.do(commands.PlaceConditional(name, "SHFE.cu2701", SELL, 0, 1, 1, 0, 2, 1, 6_999 - n % 2))
    exchange.do(commands.CancelConditional(name, 3))  # from now on the account has it behind all others
    soon_ns = exchange.machine.time_ns + 10**9
    exchange.do(commands.PlaceConditional(name, "CFFEX.IF2701", BUY, 0, 1, 0, 19_000, 2, 0, 19_100, soon_ns))
    assert exchange.machine.triggers.watches
    assert len(exchange.machine.triggers.expiries) == 1
    return exchange


def liquidating() -> Driver:
    """A forced liquidation of which one order rests; alerts; accounts that are still to be looked at."""
    exchange = quiet()
    exchange.begin_day()
    poor, other = exchange.account(80_000), exchange.account()
    exchange.place(other, SELL, 2, 7_000, instrument="SHFE.cu2702")
    exchange.place(poor, BUY, 2, 7_000, instrument="SHFE.cu2702")
    exchange.do(commands.ForceLiquidate(poor, "test"))
    exchange.let_pass(3)  # nobody bids: its order stands in the book
    exchange.place(other, BUY, 1, 6_300, instrument="SHFE.cu2702")
    assert exchange.machine.liquidations.running
    assert exchange.machine.liquidations.orders
    return exchange


def settling() -> Driver:
    """A settlement that is cut in the midst of its accounts (the fixture `cut_up` makes its commands short)."""
    exchange = quiet()
    for _ in range(4):
        exchange.account()
    day = exchange.begin_day()
    exchange.do(commands.SetSettlementPrices(day, [("SHFE.cu2701", 7_003)]))
    exchange.do(commands.SettleDay(day))
    for _ in range(5):
        exchange.do(commands.AdvanceClock())
    running = exchange.machine.settlements.running
    assert running is not None
    assert running.settled
    return exchange


def settled() -> Driver:
    """Two settled days, statements and flows, history lots, an order that survived, a finished one without position."""
    exchange = quiet()
    trader = next(iter(exchange.machine.accounts))
    exchange.place(trader, BUY, 1, 18_990, instrument="CFFEX.IF2701", time_condition=2)
    exchange.place(trader, BUY, 1, 6_990, instrument="SHFE.cu2702")
    exchange.begin_day()
    for price in (7_003, 7_001):
        exchange.settle({"SHFE.cu2701": price})
    assert len(exchange.machine.settlements.results) == 2
    return exchange


def by_calendar() -> Driver:
    """An exchange between two sessions, with a forced phase, holidays, and announcements."""
    day = [(32_100, 32_340, int(Phase.AUCTION_ORDER)), (32_340, 32_400, int(Phase.AUCTION_MATCH)),
           (32_400, 36_900, int(Phase.CONTINUOUS)), (36_900, 37_800, int(Phase.BREAK)),
           (37_800, 54_000, int(Phase.CONTINUOUS))]  # fmt: skip
    exchange = Driver()
    exchange.do(commands.SetCalendar("cu", "SHFE", day, [(75_600, 90_000, int(Phase.CONTINUOUS))], [20270101]))
    exchange.do(copper(calendar="cu"))
    exchange.do(copper("SHFE.cu2702"))
    exchange.account(user=None)
    exchange.account()
    exchange.begin_day()
    exchange.let_pass(20_000)
    exchange.do(commands.SetSession("cu", int(Phase.CONTINUOUS)))
    exchange.do(commands.PublishAnnouncement("假期", "x" * 10_000, 0, 1))
    assert exchange.machine.calendars["cu"].forced
    return exchange


SCENARIOS: tuple[Callable[[], Driver], ...] = (
    quiet, beyond_64_bits, crossed, conditional, liquidating, settling, settled, by_calendar
)  # fmt: skip


@pytest.fixture
def cut_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.exchange.settlement.STEPS_PER_COMMAND", 1)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_a_scenario_goes_on_after_a_restore(scenario: Callable[[], Driver], cut_up: None) -> None:
    exchange = scenario()
    going = exchange.machine
    twin = check_round_trip(going)
    names = list(going.accounts)
    rng = random.Random(1)
    for step in range(200):
        index, time_ns = going.index + 1, going.time_ns + 250_000_000
        command: commands.Command = commands.AdvanceClock()
        if step % 3:
            name = rng.choice(list(going.instruments))
            middle = going.instruments[name].last_ticks
            command = commands.PlaceOrder(
                rng.choice(names), name, rng.choice((BUY, SELL)), rng.choice((0, 0, 1, 2)), rng.randint(1, 4), 0,
                max(1, middle + rng.randint(-3, 3)),
            )  # fmt: skip
        elif step == 99 and "SHFE.cu2702" in going.instruments:
            command = commands.SetInstrumentStatus("SHFE.cu2702", int(InstrumentStatus.ACTIVE))
        raw = [codec.encode_command(command)]
        assert twin.apply(index, time_ns, raw) == going.apply(index, time_ns, raw)
    assert twin.digest() == going.digest()
    assert differences(going, twin) == []
    assert taken(twin) == taken(going)


# The stream


def test_chunks_are_bounded_and_hold_no_second_copy_of_the_state() -> None:
    exchange = Driver(copper())
    account = exchange.machine.accounts[exchange.account()]
    account.statements.extend(bytes([n % 256]) * 1_000 for n in range(20_000))  # 20 MB of state
    sizes = []
    tracemalloc.start()
    for chunk in exchange.machine.snapshot():
        sizes.append(len(chunk))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sum(sizes) > 20_000_000
    assert max(sizes) <= frames.FRAME_MAX
    assert peak < 2_000_000


@pytest.mark.parametrize("size", [1, 7, 4_096])
def test_how_the_stream_is_cut_on_its_way_does_not_matter(size: int) -> None:
    machine = quiet().machine
    data = taken(machine)
    again = Machine.restore(data[at : at + size] for at in range(0, len(data), size))
    assert taken(again) == data


def test_a_row_that_fits_no_frame_is_an_error_and_no_stream() -> None:
    with pytest.raises(SnapshotError, match="does not fit a frame"):
        list(frames.write([(1, b"x" * frames.FRAME_MAX)]))


def test_a_value_that_is_not_plain_is_an_error_that_shows_it() -> None:
    with pytest.raises(SnapshotError, match="no plain value"):
        list(frames.write([(1, object())]))


@pytest.mark.parametrize("value", [2**64, -(2**63) - 1, 10**40, -(10**40), 2**127, -(2**127), 2**64 - 1, -(2**63), 0])
def test_integers_of_any_size_survive_in_one_form(value: int) -> None:
    data = b"".join(frames.write([(1, value, [value, None])]))
    ((_, one, (two, _)),) = frames.Reader([data]).rows()
    assert one == two == value


def test_a_small_integer_in_the_large_form_is_refused() -> None:
    data = b"".join(frames.write([(1, msgspec.msgpack.Ext(frames.BIG_INTEGER, b"\x05"))]))
    with pytest.raises(SnapshotError, match="only form"):
        list(frames.Reader([data]).rows())


def test_verify_tells_what_a_snapshot_is_of_without_building_it(busy: Machine) -> None:
    data = taken(busy)
    summary = snapshot.verify([data])
    assert (summary.index, summary.time_ns, summary.digest) == (busy.index, busy.time_ns, busy.digest())
    assert summary.size_bytes == len(data)
    assert summary.trading_day == busy.trading_day
    assert summary.seal == snapshot.verify([taken(busy)]).seal
    assert summary.seal != snapshot.verify([taken(Machine())]).seal


# Damage


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """A snapshot in many frames: the prefix, then one chunk per frame."""
    monkeypatch.setattr(frames, "FRAME_FULL", 200)
    chunks = list(quiet().machine.snapshot())
    assert len(chunks) > 7
    return chunks


def refused(chunks: Iterable[bytes], message: str) -> str:
    """The error of `verify` or, if the damage is in what rows mean, of `restore`; they are handed out by nobody."""
    with pytest.raises(SnapshotError, match=message) as caught:
        Machine.restore(chunks)
    return str(caught.value)


def test_a_stream_that_ends_anywhere_too_early_is_refused(small: list[bytes]) -> None:
    data = b"".join(small)
    for end in range(0, len(data), 7):
        with pytest.raises(SnapshotError, match="ends"):
            snapshot.verify([data[:end]])
    for frame in range(len(small)):
        refused(small[:frame], "ends")


def test_a_bit_that_flipped_anywhere_is_refused(small: list[bytes]) -> None:
    data = b"".join(small)
    for at in range(len(data)):
        damaged = bytearray(data)
        damaged[at] ^= 1 << at % 8
        with pytest.raises(SnapshotError):
            snapshot.verify([bytes(damaged)])


def test_a_flipped_bit_is_located(small: list[bytes]) -> None:
    damaged = [*small]
    damaged[4] = damaged[4][:-1] + bytes([damaged[4][-1] ^ 1])
    where = sum(map(len, small[:4]))
    assert refused(damaged, "hash differs").startswith(f"frame 3 at byte {where}:")


def test_lost_repeated_and_exchanged_frames_are_refused(small: list[bytes]) -> None:
    refused([*small[:5], *small[6:]], "frame 4 .* hash differs")
    refused([*small[:5], small[4], *small[5:]], "frame 4 .* hash differs")
    refused([*small[:5], small[6], small[5], *small[7:]], "frame 4 .* hash differs")
    refused([small[0], *small[2:]], "frame 0 .* hash differs")


def test_bytes_after_the_end_are_refused(small: list[bytes]) -> None:
    refused([*small, b"\x00"], "ends at byte .* inside the head of a frame")
    refused([*small, *small], "impossible|differs")


def test_an_impossible_length_is_refused_before_anything_is_read(small: list[bytes]) -> None:
    refused([small[0], b"\xff\xff\xff\xff" + bytes(16)], "a length of 4294967295 bytes is impossible")


def test_something_else_and_another_format_are_refused(small: list[bytes]) -> None:
    refused([], "ends")
    refused([b"PK\x03\x04 is no snapshot"], "no snapshot: it begins with")
    refused([frames.MAGIC + b"\x00\x02", *small[1:]], "format 2; this version reads format 1")


def rows_of(chunks: Iterable[bytes]) -> list[list[Any]]:
    return list(frames.Reader(chunks).rows())


def sealed(rows: Iterable[list[Any]]) -> list[bytes]:
    """The rows as a stream whose hashes are right."""
    return list(frames.write(tuple(row) for row in rows))


def tag_of(section: str) -> int:
    return 1 + [each.name for each in snapshot.SECTIONS].index(section)


def test_the_doctors_own_hand_changes_nothing(small: list[bytes]) -> None:
    assert b"".join(sealed(rows_of(small))) == b"".join(small)


def test_a_stream_without_its_trailer_or_header_is_refused(small: list[bytes]) -> None:
    rows = rows_of(small)
    refused(sealed(rows[:-1]), "before its trailer")
    refused(sealed(rows[1:]), "the first row is no header")
    refused(sealed([*rows, rows[-2]]), "more rows after the trailer")
    refused([frames.PREFIX], "before its header")


def test_sections_out_of_order_and_missing_rows_are_refused(small: list[bytes]) -> None:
    rows = rows_of(small)
    refused(sealed([rows[0], *rows[2:4], rows[1], *rows[4:]]), "a row with tag 1 after tag")
    refused(sealed([row for row in rows if row[0] != tag_of("matcher")]), "the trailer counts")
    refused(sealed([*rows[:-1], [99], rows[-1]]), "a row with tag 99")
    refused(sealed([*rows[:-1], ["x"], rows[-1]]), "a row with tag 'x'")


def test_a_snapshot_of_another_version_is_refused_naming_the_column(small: list[bytes]) -> None:
    rows = rows_of(small)
    schema = rows[0][5]
    section, columns = schema[2]
    schema[2] = [section, columns[:-1]]
    assert columns[-1] in refused(sealed(rows), f"written by another version: section {section}: missing")
    schema[2] = [section, [*columns, "hat_size"]]
    refused(sealed(rows), r"unknown \['hat_size'\]")
    rows[0][5] = schema[1:]
    refused(sealed(rows), f"no section {schema[0][0]}")
    rows[0][5] = 5
    refused(sealed(rows), "schema 5")


class Change(NamedTuple):
    section: str
    column: str
    value: Any
    message: str


@pytest.mark.parametrize(
    "change",
    [
        Change("orders", "account_id", "ACC_99999999", "section orders: KeyError: 'ACC_99999999'"),
        Change("orders", "left", 77, "contradicts itself"),
        Change("accounts", "frozen_margin", 1, "contradicts itself"),
        Change("accounts", "user_id", None, "section accounts: KeyError"),
        Change("queues", "order_ids", [], "contradicts itself"),
        Change("queues", "order_ids", [10**6], "section queues: KeyError"),
        Change("instruments", "open_interest", 5, "contradicts itself"),
        Change("instruments", "terms", [16, "SHFE.cu2701"], "section instruments: ValidationError"),
        Change("state", "index", 3, "the header says"),
    ],
    ids=lambda change: f"{change.section}.{change.column}",
)
def test_rows_that_make_no_sense_are_refused_naming_the_section(change: Change, small: list[bytes]) -> None:
    rows = rows_of(small)
    tag = tag_of(change.section)
    at = next(n for n, row in enumerate(rows) if row[0] == tag)
    rows[at][1 + snapshot.SECTIONS[tag - 1].columns.index(change.column)] = change.value
    refused(sealed(rows), change.message)


def test_a_row_with_a_column_too_many_is_refused(small: list[bytes]) -> None:
    rows = rows_of(small)
    rows[1].append(0)
    refused(sealed(rows), "row 1 of section state: ValueError")


def test_a_digest_that_is_none_is_refused(small: list[bytes]) -> None:
    rows = rows_of(small)
    rows[0][3] = b"short"
    refused(sealed(rows), "the first row is no header")


def test_a_snapshot_is_restored_into_a_fresh_machine_only() -> None:
    with pytest.raises(AssertionError, match="fresh"):
        snapshot.restore(quiet().machine, quiet().machine.snapshot())


def test_balances_beyond_64_bits_are_exact() -> None:
    machine = beyond_64_bits().machine
    again = check_round_trip(machine)
    assert [a.balance() for a in again.accounts.values()] == [a.balance() for a in machine.accounts.values()]
    assert max(a.balance() for a in again.accounts.values()) > 10**29
