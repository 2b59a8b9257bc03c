from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus import entry
from consensus.entry import MalformedEntry

COMMANDS = st.lists(st.binary(max_size=200), min_size=1, max_size=20)
TIMES = st.integers(0, (1 << 63) - 1)


@given(TIMES, COMMANDS)
def test_an_entry_is_decoded_as_it_was_encoded(time_ns: int, commands: list[bytes]) -> None:
    data = entry.encode(time_ns, commands)
    entry.verify(data)
    assert entry.decode(data) == (time_ns, tuple(commands))
    assert entry.time_of(data) == time_ns


@given(TIMES, COMMANDS, st.data())
def test_no_single_flipped_bit_passes(time_ns: int, commands: list[bytes], data: st.DataObject) -> None:
    encoded = bytearray(entry.encode(time_ns, commands))
    bit = data.draw(st.integers(0, len(encoded) * 8 - 1))
    encoded[bit // 8] ^= 1 << bit % 8
    with pytest.raises(MalformedEntry):
        entry.decode(bytes(encoded))


@given(st.binary(max_size=300))
def test_random_bytes_are_refused_and_nothing_else_happens(data: bytes) -> None:
    try:
        decoded = entry.decode(data)
    except MalformedEntry:
        return
    assert entry.encode(*decoded) == data


@given(TIMES, COMMANDS, st.binary(min_size=1, max_size=3))
def test_nothing_may_follow_an_entry(time_ns: int, commands: list[bytes], rest: bytes) -> None:
    with pytest.raises(MalformedEntry):
        entry.decode(entry.encode(time_ns, commands) + rest)


def test_a_no_op_is_verified_and_has_no_time() -> None:
    entry.verify(entry.NO_OP)
    assert entry.time_of(entry.NO_OP) is None
    with pytest.raises(MalformedEntry):
        entry.verify(entry.NO_OP + b"\x00")


@pytest.mark.parametrize("kind", [2, 3, 255])
def test_membership_and_version_commands_of_the_library_are_refused(kind: int) -> None:
    with pytest.raises(MalformedEntry):
        entry.verify(bytes([kind]) + entry.encode(1, [b"x"])[1:])


def test_an_entry_without_commands_is_refused() -> None:
    with pytest.raises(MalformedEntry):
        entry.decode(entry.encode(1, []))
