"""What is written as TOML reads back equal."""

from __future__ import annotations

import tomllib
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.toml_text import to_toml

SCALARS = st.one_of(
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.text(st.characters(exclude_categories=["Cs"])),
    st.decimals(allow_nan=False, allow_infinity=False, places=9, min_value=-(10**12), max_value=10**12),
)
KEYS = st.from_regex(r"[A-Za-z0-9_-]{1,10}", fullmatch=True)
TABLES = st.dictionaries(KEYS, SCALARS | st.lists(SCALARS, max_size=3), max_size=4)
DOCUMENTS = st.dictionaries(KEYS, TABLES | st.lists(TABLES, min_size=1, max_size=3), max_size=4)


@given(DOCUMENTS)
def test_a_document_reads_back_equal(document):
    assert tomllib.loads(to_toml(document), parse_float=Decimal) == document


def test_a_value_that_has_no_place_there_is_refused():
    with pytest.raises(TypeError, match="bytes has no place"):
        to_toml({"a": {"b": b"c"}})
