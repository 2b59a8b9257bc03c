"""The codec of everything that crosses a link between two members. Explicit, bounded, without pickle (P14).

A frame is `length u32 | kind u8 | sender's term u64 | sequence u64 | body`, little endian; `length` counts what
follows it. The term and the sequence are the envelope that PySyncObj's own messages lack: an acknowledgement of an
earlier leadership must be told from a current one (P6), and a reader must know which request was answered.

Messages are dicts as PySyncObj builds them. Whatever does not decode exactly raises MalformedFrame, and the link
that it came from is dropped. Entries are verified here, before anything else sees them.
"""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

from consensus import entry

PROTOCOL = 1
FRAME_BYTES_MAX = 2 * 1024 * 1024
LENGTH = struct.Struct("<I")
_ENVELOPE = struct.Struct("<IBQQ")
_AFTER_LENGTH = struct.Struct("<BQQ")
_APPEND = struct.Struct("<QQQI")  # commit index, previous index, previous term, number of entries
_ENTRY = struct.Struct("<QI")  # term, bytes
_ACK = struct.Struct("<QBB")  # next index, reset, success
_CANDIDACY = struct.Struct("<QQQ")  # term, last log index, last log term
_TERM = struct.Struct("<Q")
_LIMIT = 1 << 62  # no index, term or sequence of a sane cluster comes near

_KINDS = {
    "append_entries": 1,
    "next_node_idx": 2,
    "request_vote": 3,
    "response_vote": 4,
    "prevote": 5,
    "prevote_ok": 6,
    "higher_term": 7,
    "ping": 8,
    "timeout_now": 20,
    "request_vote_agreed": 21,  # a request_vote of the member that its leader asked to take over
    "held": 9,
}
_NAMES = {kind: name for name, kind in _KINDS.items()}

HELLO_MAGIC = b"QAXRAFT\x00"
_HELLO = struct.Struct("<8sHQQBBB")  # magic, protocol, incarnation, number of the link, three lengths of names
HELLO_HEAD_BYTES = _HELLO.size

Message = dict[str, Any]


class MalformedFrame(ValueError):
    """The peer sent bytes that no node of this version sends."""


class Frame(NamedTuple):
    term: int  # of the sender when it sent this
    sequence: int
    message: Message


class Hello(NamedTuple):
    """How the two ends of a link introduce themselves."""

    cluster: str
    sender: str
    receiver: str
    incarnation: int  # random per process, so that a restart is told from a delayed old link
    link: int  # counts the links that this process opened to this peer


def encode(message: Message, term: int, sequence: int) -> bytes:
    """One frame, its length included. Raises ValueError for a message that must never be sent."""
    kind = message["type"]
    if kind == "request_vote" and message.get("agreed"):
        kind = "request_vote_agreed"
    if kind == "append_entries":
        body = _encode_append(message)
    elif kind == "next_node_idx":
        body = _ACK.pack(message["next_node_idx"], message["reset"], message["success"])
    elif kind in ("request_vote", "request_vote_agreed", "prevote"):
        body = _CANDIDACY.pack(message["term"], message["last_log_index"], message["last_log_term"])
    elif kind in ("response_vote", "prevote_ok", "higher_term", "timeout_now"):
        body = _TERM.pack(message["term"])
    elif kind == "held":
        body = _TERM.pack(message["index"])
    elif kind == "ping":
        body = b""
    else:
        raise ValueError(f"a message of type {kind!r} has no place on the wire")
    return _ENVELOPE.pack(_AFTER_LENGTH.size + len(body), _KINDS[kind], term, sequence) + body


def decode(data: bytes) -> Frame:
    """The frame in `data`, which does not include the length. Raises MalformedFrame."""
    try:
        return _decode(data)
    except (struct.error, entry.MalformedEntry) as error:
        raise MalformedFrame(str(error)) from error


def _decode(data: bytes) -> Frame:
    kind, term, sequence = _AFTER_LENGTH.unpack_from(data)
    body = data[_AFTER_LENGTH.size :]
    name = _NAMES.get(kind)
    _bounded(term, sequence)
    message: Message = {"type": name}
    if name == "append_entries":
        _decode_append(body, term, message)
    elif name == "next_node_idx":
        index, reset, success = _ACK.unpack(body)
        _bounded(index)
        # Entry 1 is the same no-op everywhere, so index 2 is the lowest that anybody can lack.
        if index < 2 or reset > 1 or success > 1 or reset == success:
            raise MalformedFrame(f"next index {index}, reset {reset}, success {success}")
        message |= {"next_node_idx": index, "reset": bool(reset), "success": bool(success)}
    elif name in ("request_vote", "request_vote_agreed", "prevote"):
        candidacy, last_index, last_term = _CANDIDACY.unpack(body)
        _bounded(candidacy, last_index, last_term)
        message |= {"term": candidacy, "last_log_index": last_index, "last_log_term": last_term}
        if name == "request_vote_agreed":
            message |= {"type": "request_vote", "agreed": True}
    elif name in ("response_vote", "prevote_ok", "higher_term", "timeout_now"):
        (answered,) = _TERM.unpack(body)
        _bounded(answered)
        message["term"] = answered
    elif name == "held":
        (message["index"],) = _TERM.unpack(body)
        _bounded(message["index"])
    elif name == "ping":
        if body:
            raise MalformedFrame(f"a ping with {len(body)} bytes")
    else:
        raise MalformedFrame(f"unknown kind {kind}")
    return Frame(term, sequence, message)


def _encode_append(message: Message) -> bytes:
    # P2, P16: a snapshot or a piece of an entry has no form on this wire.
    if message.get("prevLogIdx") is None or "transmission" in message or "serialized" in message:
        raise ValueError(f"append_entries with {sorted(message)}: neither snapshots nor pieces of entries are sent")
    entries = message["entries"]
    parts = [_APPEND.pack(message["commit_index"], message["prevLogIdx"], message["prevLogTerm"], len(entries))]
    for command, _, term in entries:
        parts.append(_ENTRY.pack(term, len(command)))
        parts.append(command)
    return b"".join(parts)


def _decode_append(body: bytes, term: int, message: Message) -> None:
    commit_index, index, previous_term, count = _APPEND.unpack_from(body)
    _bounded(commit_index, index, previous_term)
    if index < 1 or previous_term > term:
        raise MalformedFrame(f"entries of a leader of term {term} after entry {index} of term {previous_term}")
    message |= {"term": term, "commit_index": commit_index, "prevLogIdx": index, "prevLogTerm": previous_term}
    offset, entries = _APPEND.size, []
    for _ in range(count):
        entry_term, length = _ENTRY.unpack_from(body, offset)
        if not previous_term <= entry_term <= term:
            raise MalformedFrame(f"an entry of term {entry_term} between terms {previous_term} and {term}")
        previous_term = entry_term
        offset += _ENTRY.size
        command = body[offset : offset + length]
        if len(command) != length:
            raise MalformedFrame("the frame ends inside an entry")
        entry.verify(command)
        offset += length
        index += 1
        entries.append((command, index, entry_term))
    if offset != len(body):
        raise MalformedFrame(f"{len(body) - offset} bytes behind the last entry")
    message["entries"] = entries


def _bounded(*numbers: int) -> None:
    for number in numbers:
        if number >= _LIMIT:
            raise MalformedFrame(f"the number {number} is out of range")


def encode_hello(hello: Hello) -> bytes:
    names = [name.encode() for name in (hello.cluster, hello.sender, hello.receiver)]
    head = _HELLO.pack(HELLO_MAGIC, PROTOCOL, hello.incarnation, hello.link, *map(len, names))
    return head + b"".join(names)


def hello_names_bytes(head: bytes) -> int:
    """How many bytes follow the fixed head of a hello. Raises MalformedFrame for a stranger's."""
    magic, protocol, _, _, *lengths = _HELLO.unpack(head)
    if magic != HELLO_MAGIC:
        raise MalformedFrame(f"not a member of a cluster of this program: {magic!r}")
    if protocol != PROTOCOL:
        raise MalformedFrame(f"peer protocol {protocol}; this node speaks {PROTOCOL}")
    return sum(lengths)


def decode_hello(head: bytes, names: bytes) -> Hello:
    """The hello whose `head` passed `hello_names_bytes`. Raises MalformedFrame."""
    _, _, incarnation, link, *lengths = _HELLO.unpack(head)
    texts, start = [], 0
    try:
        for length in lengths:
            texts.append(names[start : start + length].decode())
            start += length
    except UnicodeDecodeError as error:
        raise MalformedFrame(f"a name in a hello is not text: {error}") from error
    return Hello(texts[0], texts[1], texts[2], incarnation, link)
