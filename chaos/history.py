"""What clients asked and what they were told, complete enough to judge without the cluster: one JSON object a line."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import msgspec

Outcome = Literal["ok", "fail", "unknown"]


class Operation(msgspec.Struct, frozen=True):
    """One order that a client submitted. Times are monotonic seconds of the one recording process.

    `ok`: acknowledged at `log_index` as `order_id`. `fail`: the client was told that nothing happened. `unknown`: it
    was told neither.
    """

    client: str
    account_id: str
    client_order_id: str
    invoked_s: float
    completed_s: float
    outcome: Outcome
    order_id: str = ""
    log_index: int = 0
    why: str = ""


class Placed(msgspec.Struct, frozen=True):
    """One order that a node holds at the end."""

    account_id: str
    client_order_id: str
    order_id: str


class Replica(msgspec.Struct, frozen=True):
    """What one node said of its state."""

    node: str
    applied_index: int
    state_hash: str


def save(path: Path, operations: Iterable[Operation]) -> None:
    encoder = msgspec.json.Encoder()
    path.write_bytes(b"".join(encoder.encode(operation) + b"\n" for operation in operations))


def load(path: Path) -> list[Operation]:
    """Raises msgspec.DecodeError for a line that is no operation."""
    decoder = msgspec.json.Decoder(Operation)
    return [decoder.decode(line) for line in path.read_bytes().splitlines() if line]
