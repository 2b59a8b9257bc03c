"""The product table that ships with the exchange, and what instruments take from it."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from hatchling.builders.wheel import WheelBuilder

from node.exchange import codec
from node.exchange.calendar import check
from node.exchange.events import CalendarSet, InstrumentListed
from node.exchange.machine import Machine
from node.exchange.types import Phase
from node.listings import InstrumentConfig, TermError
from node.products import parse, shipped

CALENDAR = '[[calendars]]\nid = "A.day"\nexchange = "AB"\nday = "day"\n'
PATTERN = '[patterns]\nday = [["09:00", "15:00", "continuous"]]\n'
PRODUCT = '[[products]]\nexchange = "AB"\nproduct = "x"\nname = "X"\nvolume_multiple = 1\nprice_tick = 0.2\n'


def config(**terms: object) -> InstrumentConfig:
    return msgspec.convert(terms, InstrumentConfig, dec_hook=lambda kind, value: kind.of(value))


# --- what ships -----------------------------------------------------------------------------------------------------


def test_every_product_of_the_reference_table_ships_once():
    products = shipped().products
    counts: dict[str, int] = {}
    for product in products.values():
        counts[product.exchange] = counts.get(product.exchange, 0) + 1
    assert counts == {"CFFEX": 6, "SHFE": 16, "INE": 4, "DCE": 21, "CZCE": 22, "SIM": 3}


@pytest.mark.parametrize(
    ("key", "multiple", "tick", "margin", "rate", "amount", "today_rate", "today_amount"),
    [
        ("CFFEX.IF", 300, "0.2", "0.1", "0.00002301", "0", "0.0001", "0"),
        ("CFFEX.TS", 20_000, "0.005", "0.005", "0.0001", "0", "0.0001", "0"),
        ("SHFE.cu", 5, "10", "0.1", "0.00005", "0", "0", "0"),
        ("SHFE.au", 1_000, "0.02", "0.08", "0", "10", "0", "0"),
        ("SHFE.ni", 1, "10", "0.1", "0", "6", "0", "6"),
        ("INE.sc", 1_000, "0.1", "0.1", "0", "20", "0", "0"),
        ("DCE.pp", 5, "1", "0.05", "0.00006", "0", "0.00003", "0"),
        ("DCE.fb", 500, "0.05", "0.2", "0.0001", "0", "0.00005", "0"),
        ("CZCE.SF", 5, "2", "0.07", "0", "3", "0", "9"),
        ("CZCE.LR", 20, "1", "0.05", "0", "3", "0", "3"),
        ("SIM.HU", 1, "1", "0.06", "0.002", "0", "0.002", "0"),
    ],
)
def test_the_values_are_those_of_the_reference_table(
    key, multiple, tick, margin, rate, amount, today_rate, today_amount
):
    product = shipped().products[key]
    assert (product.volume_multiple, product.price_tick) == (multiple, Decimal(tick))
    assert product.margin_long_rate == product.margin_short_rate == Decimal(margin)
    assert product.open_rate == product.close_rate == Decimal(rate)
    assert product.open_amount == product.close_amount == Decimal(amount)
    assert (product.close_today_rate, product.close_today_amount) == (Decimal(today_rate), Decimal(today_amount))


@pytest.mark.parametrize(
    ("key", "calendar"),
    [
        ("CFFEX.IF", "CFFEX.index"),
        ("CFFEX.T", "CFFEX.bond"),
        ("SHFE.au", "SHFE.0230"),
        ("SHFE.cu", "SHFE.01"),
        ("SHFE.rb", "SHFE.23"),
        ("SHFE.wr", "SHFE.day"),
        ("INE.sc", "INE.0230"),
        ("INE.bc", "INE.01"),
        ("DCE.m", "DCE.23"),
        ("DCE.jd", "DCE.day"),
        ("CZCE.TA", "CZCE.23"),
        ("CZCE.AP", "CZCE.day"),
        ("SIM.HU", ""),
    ],
)
def test_a_product_trades_as_long_into_the_night_as_its_exchange_lets_it(key, calendar):
    assert shipped().products[key].calendar == calendar


def test_the_calendars_are_those_of_the_rules():
    calendars = shipped().calendars
    index, gold = calendars["CFFEX.index"], calendars["SHFE.0230"]
    order, match, continuous, pause = Phase.AUCTION_ORDER, Phase.AUCTION_MATCH, Phase.CONTINUOUS, Phase.BREAK
    assert index.night == []
    assert index.day == [
        (hours(9, 25), hours(9, 29), order),
        (hours(9, 29), hours(9, 30), match),
        (hours(9, 30), hours(11, 30), continuous),
        (hours(11, 30), hours(13), pause),
        (hours(13), hours(15), continuous),
    ]
    assert gold.night == [
        (hours(20, 55), hours(20, 59), order),
        (hours(20, 59), hours(21), match),
        (hours(21), hours(26, 30), continuous),
    ]
    assert [row for row in gold.day if row[2] == continuous] == [
        (hours(9), hours(10, 15), continuous),
        (hours(10, 30), hours(11, 30), continuous),
        (hours(13, 30), hours(15), continuous),
    ]
    for calendar in calendars.values():
        check(calendar)


def hours(hour: int, minute: int = 0) -> int:
    return hour * 3_600 + minute * 60


def test_the_machine_lists_every_product_on_its_calendar():
    machine = Machine()
    entered: list = list(shipped().calendars.values())
    for product in shipped().products.values():
        terms = config(
            instrument_id=f"{product.exchange}.{product.product}2701",
            product=product.product,
            pre_settlement=product.price_tick * 1_000,
            sessions="product",
        ).command()
        assert terms.name == f"{product.name}2701"
        entered.append(terms)
    results = machine.apply(1, 1, [codec.encode_command(command) for command in entered])
    assert {type(events[0]) for events in results} == {CalendarSet, InstrumentListed}
    assert len(machine.instruments) == 72


def test_the_wheel_ships_the_table():
    builder = WheelBuilder(str(Path(__file__).parents[2]))
    assert "node/products.toml" in [file.distribution_path for file in builder.recurse_included_files()]


# --- a table that is wrong ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (PATTERN + CALENDAR + CALENDAR + PRODUCT, "calendar A.day is there twice"),
        (PATTERN + CALENDAR + PRODUCT + PRODUCT, "product AB.x is there twice"),
        (PATTERN + CALENDAR.replace('"day"', '"night"') + PRODUCT, "calendar A.day: there is no pattern night"),
        (PATTERN + CALENDAR + PRODUCT + 'calendar = "B.day"\n', "product AB.x: B.day is no calendar of AB"),
        (PATTERN + CALENDAR.replace('"AB"', '"CD"') + PRODUCT + 'calendar = "A.day"\n', "is no calendar of AB"),
        (PATTERN.replace("09:00", "9:00") + CALENDAR + PRODUCT, "'9:00' is no time HH:MM"),
        (PATTERN + CALENDAR + PRODUCT + "tick = 1\n", "unknown field `tick`"),
    ],
)
def test_a_table_that_contradicts_itself_is_refused(text, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        parse(text)


# --- what an instrument takes from it -------------------------------------------------------------------------------


def test_an_instrument_takes_what_it_does_not_say():
    terms = config(instrument_id="SHFE.ni2703", product="ni", pre_settlement=120_000).command()
    assert (terms.name, terms.volume_multiple, terms.tick_units) == ("沪镍2703", 1, 100_000)
    assert (terms.margin_long_rate, terms.margin_long_amount) == (100_000_000, 0)
    assert (terms.open_amount, terms.close_amount, terms.close_today_amount) == (60_000, 60_000, 60_000)
    assert (terms.instrument_class, terms.margin_rule, terms.calendar) == (1, 0, "")


def test_a_charge_that_is_given_in_part_replaces_the_whole_one_of_the_table():
    given = {"margin_long_amount": 35_000, "close_today_rate": Decimal("0.0001")}
    terms = config(instrument_id="SHFE.ni2703", product="ni", pre_settlement=120_000, **given).command()
    assert (terms.margin_long_rate, terms.margin_long_amount) == (0, 350_000_000)
    assert (terms.margin_short_rate, terms.margin_short_amount) == (100_000_000, 0)
    assert (terms.close_today_rate, terms.close_today_amount) == (100_000, 0)
    assert terms.close_amount == 60_000


def test_a_product_is_known_by_its_exchange():
    with pytest.raises(TermError) as caught:
        config(instrument_id="DCE.cu2701", product="cu", pre_settlement=1).command()
    assert str(caught.value) == "price_tick = (missing): the product table has no cu of DCE, so say it here"


@pytest.mark.parametrize(("sessions", "calendar"), [("always", ""), ("product", "SHFE.0230"), ("SHFE.day", "SHFE.day")])
def test_an_instrument_says_when_it_trades(sessions, calendar):
    terms = config(instrument_id="SHFE.au2706", product="au", pre_settlement=500, sessions=sessions).command()
    assert terms.calendar == calendar


@pytest.mark.parametrize(
    ("instrument_id", "product", "sessions", "said"),
    [
        ("SHFE.au2706", "au", "DCE.day", "sessions = 'DCE.day': is no calendar of SHFE; use always, product, SHFE.day"),
        ("SIM.X", "X", "product", "sessions = 'product': the product table has no X of SIM"),
    ],
)
def test_sessions_that_do_not_exist_are_refused_with_those_that_do(instrument_id, product, sessions, said):
    given = {"volume_multiple": 1, "price_tick": 1, "name": "x", "margin_long_rate": 0, "margin_short_rate": 0}
    entry = config(instrument_id=instrument_id, product=product, pre_settlement=500, sessions=sessions, **given)
    with pytest.raises(TermError) as caught:
        entry.command()
    assert str(caught.value).startswith(said)
