"""The term and the vote: the two facts that a node must never forget (Raft, section 5; hazard P1).

They are records of the one WAL, so that one fdatasync covers them together with the entries around them. No vote,
vote request or acknowledgement leaves before the record that it depends on is durable (`promises`, `transport`).
"""

from __future__ import annotations

import struct
from typing import NamedTuple

_TERM = struct.Struct("<Q")


class HardState(NamedTuple):
    term: int
    vote: str | None  # the name of the node that this one voted for in `term`


def encode(state: HardState) -> bytes:
    return _TERM.pack(state.term) + (state.vote or "").encode()


def decode(payload: bytes) -> HardState:
    """Raises ValueError for bytes that `encode` did not write."""
    if len(payload) < _TERM.size:
        raise ValueError(f"a hard state of {len(payload)} bytes")
    return HardState(_TERM.unpack_from(payload)[0], payload[_TERM.size :].decode() or None)
