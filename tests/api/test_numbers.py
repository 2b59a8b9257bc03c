"""Prices and money from JSON: exact, bounded, and nothing but numbers."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api import render
from api.errors import Malformed
from api.schemas import BodyReader, MoveFunds, SubmitOrder, Units

read = BodyReader(MoveFunds)


def amount(text: str) -> int:
    body: MoveFunds = read(b'{"account_id":"A","amount":%b}' % text.encode())
    return body.amount


@pytest.mark.parametrize(
    ("text", "units"),
    [("1", 10_000), ("12.5", 125_000), ("0.0001", 1), ("1e3", 10_000_000), ("1.50000", 15_000), ("-3", -30_000)],
)
def test_a_number_is_read_exactly(text: str, units: int) -> None:
    assert amount(text) == units
    assert type(amount(text)) is Units


@pytest.mark.parametrize(
    "text",
    [
        "NaN", "Infinity", "-Infinity", "nan", '"1"', "true", "null", "[1]", "{}", "0.00001", "1e999999999",
        "1e-999999999", "1e30", "123456789012345678901234567890", "0." + "0" * 60 + "1", "01", "+1", "1.", ".5", "",
    ],
)  # fmt: skip
def test_everything_else_is_refused(text: str) -> None:
    with pytest.raises(Malformed):
        amount(text)


def test_a_wrong_type_names_the_field_and_the_type() -> None:
    with pytest.raises(Malformed, match=r"Expected `number`, got `str` - at `\$.amount`"):
        amount('"12"')
    with pytest.raises(Malformed, match=r"0\.00001 has more than four decimals"):
        amount("0.00001")


def test_an_unknown_field_is_named() -> None:
    with pytest.raises(Malformed, match="unknown field `leverage`"):
        read(b'{"account_id":"A","amount":1,"leverage":2}')


def test_deep_nesting_is_refused_and_not_an_accident() -> None:
    with pytest.raises(Malformed):
        read(b'{"account_id":' + b"[" * 100_000 + b"]" * 100_000 + b',"amount":1}')


@given(st.integers(-(10**18), 10**18))
def test_money_survives_the_way_out_and_in(units: int) -> None:
    assert amount(render.encode(render.money(units)).decode()) == units


@given(st.decimals(allow_nan=True, allow_infinity=True))
def test_no_decimal_crashes_the_reader(number: Decimal) -> None:
    try:
        units = amount(str(number))
    except Malformed:
        return
    assert Decimal(units) == number * 10_000


@given(st.binary(max_size=200))
def test_no_bytes_crash_the_reader(data: bytes) -> None:
    with pytest.raises(Malformed):
        BodyReader(SubmitOrder)(data)


def test_volumes_are_integers_only() -> None:
    body = {"account_id": "A", "instrument_id": "I", "direction": "BUY", "offset": "OPEN", "price": 1}
    for volume in (1.0, "1", True, None, 2**60):
        with pytest.raises(Malformed, match="volume"):
            BodyReader(SubmitOrder)(msgspec.json.encode(body | {"volume": volume}))
