"""The codec of commands and events: encode and decode one, beside json and pickle on the same values in the same run.

    python -m benchmarks.codec [--rounds N] [--json]

What json and pickle get is the same fields as a plain list with the tag in front, so that they carry no more than we
do; what they return is no more than that list, unchecked, where our decoder returns a typed, validated struct. Pickle
is here as a yardstick only: no byte from outside is ever unpickled.
"""

from __future__ import annotations

import argparse
import json
import pickle
import time
from collections.abc import Callable
from typing import Any

import msgspec

from benchmarks.report import Figure, show
from node.exchange.codec import decode_command, decode_events, encode_command, encode_events
from node.exchange.commands import CancelOrder, PlaceOrder
from node.exchange.events import OrderAccepted, TradeExecuted
from node.exchange.types import Offset, PriceType, TimeCondition

REPEATS = 5

ORDER = PlaceOrder(
    account_id="ACC_00000042",
    instrument_id="SHFE.cu2701",
    direction=1,
    offset=Offset.OPEN,
    volume=3,
    price_type=PriceType.LIMIT,
    price_ticks=7_012,
    time_condition=TimeCondition.GFD,
    client_order_id="9f0c1c52-order-17",
)
CANCEL = CancelOrder("ACC_00000042", 123_456_789)
EVENTS = [
    OrderAccepted(
        123_456_790, "ACC_00000042", "SHFE.cu2701", "9f0c1c52-order-17", 1, 0, 0, 7_012, 3, TimeCondition.GFD, 0
    ),
    TradeExecuted(
        55_123, "SHFE.cu2701", 7_011, 3, 1,
        "ACC_00000042", 123_456_790, 0, 0, 175_000, 0,
        "ACC_00000007", 123_456_700, 0, 2, 175_000, 0,
    ),
]  # fmt: skip


def best_us(work: Callable[[Any], Any], value: Any, rounds: int) -> float:
    """Microseconds of one call, the best of several runs: what the code costs, not what the neighbours do."""
    best = float("inf")
    for _ in range(REPEATS):
        began = time.perf_counter_ns()
        for _ in range(rounds):
            work(value)
        best = min(best, (time.perf_counter_ns() - began) / rounds / 1_000)
    return best


def plain(struct: msgspec.Struct) -> list[Any]:
    """The fields with the tag in front, as json and pickle get them."""
    return [type(struct).__struct_config__.tag, *msgspec.structs.astuple(struct)]


def compare(
    name: str, encode: Callable[[Any], bytes], decode: Callable[[bytes], Any], value: Any, rounds: int
) -> list[Figure]:
    """Ours, json and pickle on one value; lengths in the notes."""
    values = [plain(item) for item in value] if isinstance(value, list) else plain(value)
    ours, as_json, pickled = encode(value), json.dumps(values).encode(), pickle.dumps(values, pickle.HIGHEST_PROTOCOL)
    assert decode(ours) == value
    rows = (
        ("ours", encode, decode, value, ours),
        ("json", lambda item: json.dumps(item).encode(), json.loads, values, as_json),
        ("pickle", lambda item: pickle.dumps(item, pickle.HIGHEST_PROTOCOL), pickle.loads, values, pickled),
    )
    figures = []
    for who, write, read, item, data in rows:
        note = f"{len(data)} bytes"
        figures.append(
            Figure(f"{name}: encode, {who}", best_us(write, item, rounds), "µs", less_is_better=True, note=note)
        )
        figures.append(Figure(f"{name}: decode, {who}", best_us(read, data, rounds), "µs", less_is_better=True))
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=100_000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    figures = [
        *compare("PlaceOrder", encode_command, decode_command, ORDER, options.rounds),
        *compare("CancelOrder", encode_command, decode_command, CANCEL, options.rounds),
        *compare("OrderAccepted + TradeExecuted", encode_events, decode_events, EVENTS, options.rounds),
    ]
    show("The codec of commands and events", figures, options.json)


if __name__ == "__main__":
    main()
