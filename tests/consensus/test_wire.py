from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus import entry, wire
from consensus.wire import Hello, MalformedFrame

NUMBER = st.integers(0, 1 << 61)
INDEX = st.integers(2, 1 << 61)
ENTRIES = st.lists(st.lists(st.binary(max_size=50), min_size=1, max_size=4), max_size=5)


def appended(commit: int, index: int, previous_term: int, term: int, batches: list[list[bytes]]) -> dict[str, Any]:
    entries = [(entry.encode(7, commands), index + offset, term) for offset, commands in enumerate(batches, start=1)]
    return {
        "type": "append_entries",
        "term": term,
        "commit_index": commit,
        "prevLogIdx": index,
        "prevLogTerm": previous_term,
        "entries": entries,
    }


TERMS = st.tuples(NUMBER, NUMBER).map(sorted)
MESSAGES = st.one_of(
    st.builds(lambda c, i, t, e: appended(c, i, t[0], t[1], e), NUMBER, INDEX, TERMS, ENTRIES),
    st.builds(
        lambda index, success: {
            "type": "next_node_idx",
            "next_node_idx": index,
            "reset": not success,
            "success": success,
        },
        INDEX,
        st.booleans(),
    ),
    st.builds(
        lambda kind, term, index, last: {"type": kind, "term": term, "last_log_index": index, "last_log_term": last},
        st.sampled_from(["request_vote", "prevote"]),
        NUMBER,
        NUMBER,
        NUMBER,
    ),
    st.builds(
        lambda kind, term: {"type": kind, "term": term},
        st.sampled_from(["response_vote", "prevote_ok", "higher_term"]),
        NUMBER,
    ),
    st.just({"type": "ping"}),
)


@given(MESSAGES, NUMBER, NUMBER)
def test_every_message_is_decoded_as_it_was_encoded(message: dict[str, Any], term: int, sequence: int) -> None:
    term = message.get("term", term)  # entries carry the term of their sender
    data = wire.encode(message, term, sequence)
    (length,) = wire.LENGTH.unpack_from(data)
    assert length == len(data) - wire.LENGTH.size
    assert wire.decode(data[wire.LENGTH.size :]) == (term, sequence, message)


@given(st.binary(max_size=400))
def test_random_bytes_are_malformed_and_nothing_else_happens(data: bytes) -> None:
    try:
        wire.decode(data)
    except MalformedFrame:
        pass


@pytest.mark.parametrize("agreed", [True, False])
def test_a_vote_request_says_whether_the_leader_agreed(agreed: bool) -> None:
    request = {"type": "request_vote", "term": 6, "last_log_index": 3, "last_log_term": 2}
    frame = wire.decode(wire.encode(request | {"agreed": agreed}, 6, 0)[4:])
    assert frame.message == (request | {"agreed": True} if agreed else request)


def test_a_timeout_now_has_its_term_and_the_number_of_the_request_before_it() -> None:
    message = {"type": "timeout_now", "term": 6}
    assert wire.decode(wire.encode(message, 6, 77)[4:]) == (6, 77, message)


def test_mutated_frames_are_malformed_or_sound_and_nothing_else_happens() -> None:
    rng = random.Random(1)
    frames = [
        wire.encode(message, 5, 9)[4:]
        for message in (
            appended(3, 4, 2, 5, [[b"a", b"bc"], [b"d" * 40]]),
            {"type": "next_node_idx", "next_node_idx": 4, "reset": True, "success": False},
            {"type": "prevote", "term": 6, "last_log_index": 3, "last_log_term": 2},
            {"type": "request_vote", "agreed": True, "term": 6, "last_log_index": 3, "last_log_term": 2},
            {"type": "timeout_now", "term": 6},
        )
    ]
    for _ in range(30_000):
        data = bytearray(rng.choice(frames))
        for _ in range(rng.randint(1, 4)):
            match rng.randrange(3):
                case 0:
                    data[rng.randrange(len(data))] = rng.randrange(256)
                case 1:
                    del data[rng.randrange(len(data)) :]
                case 2:
                    data += rng.randbytes(rng.randint(1, 9))
            if not data:
                break
        try:
            _, _, message = wire.decode(bytes(data))
        except MalformedFrame:
            continue
        for command, _, _ in message.get("entries", ()):
            entry.verify(command)


def test_an_entry_that_is_not_ours_is_refused_before_anything_sees_it() -> None:
    message = appended(1, 1, 1, 1, [[b"x"]])
    message["entries"] = [(b"\x00" + b"cos\nsystem\n(S'true'\ntR.", 2, 1)]
    with pytest.raises(MalformedFrame):
        wire.decode(wire.encode(message, 1, 1)[4:])


@pytest.mark.parametrize(
    "message",
    [
        {"type": "apply_command", "command": b""},
        {"type": "append_entries", "term": 1, "commit_index": 1, "serialized": None},
        {"type": "append_entries", "term": 1, "commit_index": 1, "prevLogIdx": 1, "transmission": "start", "data": b""},
        {"type": "apply_command_response", "request_id": 1},
    ],
)
def test_what_has_no_form_on_the_wire_is_never_sent(message: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"has no place|neither snapshots"):
        wire.encode(message, 1, 1)


def test_terms_that_fall_within_a_message_are_refused() -> None:
    message = appended(1, 1, 3, 5, [[b"x"], [b"y"]])
    first, second = message["entries"]
    message["entries"] = [first, (second[0], second[1], 4)]
    with pytest.raises(MalformedFrame, match="term 4"):
        wire.decode(wire.encode(message, 5, 1)[4:])


@given(st.text(max_size=20), st.text(max_size=20), st.text(max_size=20), NUMBER, NUMBER)
def test_a_hello_is_decoded_as_it_was_encoded(cluster: str, sender: str, to: str, number: int, link: int) -> None:
    hello = Hello(cluster, sender, to, number, link)
    data = wire.encode_hello(hello)
    head, names = data[: wire.HELLO_HEAD_BYTES], data[wire.HELLO_HEAD_BYTES :]
    assert wire.hello_names_bytes(head) == len(names)
    assert wire.decode_hello(head, names) == hello


@given(st.binary(min_size=wire.HELLO_HEAD_BYTES, max_size=wire.HELLO_HEAD_BYTES))
def test_a_stranger_is_refused_by_its_first_bytes(head: bytes) -> None:
    with pytest.raises(MalformedFrame):
        wire.hello_names_bytes(head)


def test_another_protocol_version_is_named() -> None:
    data = bytearray(wire.encode_hello(Hello("c", "a", "b", 1, 1)))
    data[8] = 9
    with pytest.raises(MalformedFrame, match="protocol 9; this node speaks 1"):
        wire.hello_names_bytes(bytes(data[: wire.HELLO_HEAD_BYTES]))
