from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage import record
from storage.record import HEADER, frame, scan

PAYLOADS = [b"", b"a", b"x" * 300, bytes(range(256))]


def log(payloads: list[bytes], base: int = 0) -> bytes:
    data = b""
    for payload in payloads:
        data += frame(base + len(data), 7, payload)
    return data


@given(st.lists(st.binary(max_size=2000), max_size=8), st.integers(0, 1 << 60))
def test_what_was_framed_is_scanned_back(payloads: list[bytes], base: int) -> None:
    records, fault = scan(log(payloads, base), base)
    assert [item.payload for item in records] == payloads
    assert fault is None


def test_every_cut_inside_the_last_record_is_a_torn_tail() -> None:
    whole = log(PAYLOADS)
    start = len(log(PAYLOADS[:-1]))
    for size in range(start + 1, len(whole)):
        records, fault = scan(whole[:size], 0)
        assert [item.payload for item in records] == PAYLOADS[:-1]
        assert fault is not None and fault.torn and fault.offset == start


def test_a_sector_that_was_never_written_is_a_torn_tail() -> None:
    whole = bytearray(log([b"a" * 100, b"b" * 3000]))
    whole[1024:1536] = bytes(512)
    records, fault = scan(bytes(whole), 0)
    assert len(records) == 1
    assert fault is not None and fault.torn


def test_zeros_behind_the_last_record_are_the_end_of_a_preallocated_file() -> None:
    whole = log(PAYLOADS)
    for zeros in (1, HEADER.size - 1, HEADER.size, 700, 5000):
        records, fault = scan(whole + bytes(zeros), 0)
        assert len(records) == len(PAYLOADS)
        assert fault is None


@pytest.mark.parametrize("last", [b"", b"x" * 300, bytes(300), b"ends in zeros" + bytes(40)])
def test_zeros_from_any_byte_of_the_last_record_on_are_a_torn_tail(last: bytes) -> None:
    whole = log([*PAYLOADS, last])
    start = len(log(PAYLOADS))
    for kept in range(start + 1, len(whole)):
        records, fault = scan(whole[:kept] + bytes(2000), 0)
        assert [item.payload for item in records] == PAYLOADS
        assert fault is not None and fault.torn and fault.offset == start, kept


def test_every_single_flipped_bit_is_damage_and_never_a_torn_tail() -> None:
    whole = log([b"first" * 20, b"last" * 10])
    for preallocated in (0, 3, 1000):
        for bit in range(len(whole) * 8):
            flipped = bytearray(whole)
            flipped[bit // 8] ^= 1 << bit % 8
            _, fault = scan(bytes(flipped) + bytes(preallocated), 0)
            assert fault is not None and not fault.torn, bit


def test_a_record_at_another_position_is_refused() -> None:
    records, fault = scan(frame(0, 7, b"moved"), 4096)
    assert records == []
    assert fault is not None and not fault.torn


def test_a_record_above_the_limit_is_not_framed() -> None:
    with pytest.raises(ValueError, match="limit"):
        frame(0, 1, bytes(record.PAYLOAD_BYTES_MAX + 1))


@given(st.integers(1, 1600), st.integers(0, 3000), st.sampled_from([512, 4096]))
def test_a_page_that_was_not_rewritten_is_a_torn_tail_though_later_ones_were(
    first: int, second: int, page: int
) -> None:
    durable = log([b"a" * first])
    whole = bytearray(log([b"a" * first, b"b" * second, b"c" * 6000]))
    start = len(durable)
    boundary = (start // page + 1) * page
    whole[start:boundary] = bytes(boundary - start)
    records, fault = scan(bytes(whole), 0)
    assert len(records) == 1
    assert fault is not None and fault.offset == start
    if boundary - start >= HEADER.size:
        assert fault.torn


@given(st.integers(450, 520))
def test_a_header_of_which_one_sector_was_not_written_is_a_torn_tail(first: int) -> None:
    start = len(log([b"a" * first]))
    whole = bytearray(log([b"a" * first, b"b" * 3000]))
    boundary = (start // 512 + 1) * 512
    whole[boundary : boundary + 512] = bytes(512)
    records, fault = scan(bytes(whole), 0)
    assert len(records) == 1
    assert fault is not None and fault.torn


@pytest.mark.parametrize("first", range(480, 500))  # the header of the second record crosses a sector
def test_a_flipped_bit_in_a_header_is_damage_whatever_zeros_follow(first: int) -> None:
    payloads = [b"a" * first, b"x" * 100, bytes(1500), b"y" * 100]
    whole = log(payloads)
    start = len(log(payloads[:1]))
    for bit in range(HEADER.size * 8):
        flipped = bytearray(whole)
        flipped[start + bit // 8] ^= 1 << bit % 8
        records, fault = scan(bytes(flipped), 0)
        assert len(records) == 1
        assert fault is not None and not fault.torn, bit


@pytest.mark.parametrize("piece", [1, 20, 63, 64])
def test_a_short_piece_of_a_record_that_was_not_written_is_a_torn_tail_whatever_follows(piece: int) -> None:
    first = frame(0, 1, b"x" * (512 + piece - HEADER.size - 1))
    data = bytearray(first + frame(len(first), 1, b"y" * 1000))
    data[512:1024] = bytes(512)
    records, fault = scan(bytes(data), 0)
    assert records == []
    assert fault is not None
    assert fault.torn
