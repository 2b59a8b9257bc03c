"""The machine beside the matching engines of PyPI, on the same flow in the same run.

    python -m benchmarks.peers [--commands N] [--json]

The peers (benchmarks/peers.txt; those that are not installed are named) match and no more: no accounts, no margin, no
fees, no bytes, no hash, no request ids. Each gets the same operations as prepared calls, and must make as many fills as
the reference book. The recorded day is used whole, the synthetic flow in part (the peers are slow).
"""

from __future__ import annotations

import argparse
import importlib
import logging
import time
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, Protocol

from benchmarks.machine import COMPILED, Pauses, throughput
from benchmarks.report import Figure, show
from benchmarks.workloads import ADD, CANCEL, MARKETABLE, Op, Workload, goog, run_reference, synth
from node.collector import Collector

PEER_COMMANDS = 100_000
SYMBOL = "X"


class Peer(Protocol):
    """One engine: each call returns the number of fills."""

    def add(self, order: int, side: int, price: int, quantity: int) -> int: ...

    def take(self, order: int, side: int, price: int, quantity: int) -> int: ...

    def cancel(self, order: int) -> int: ...

    def reduce(self, order: int, left: int) -> int: ...


class LightMatchingEngine:
    """One dict of lists per side; a trade for the taker per level, and one per maker."""

    def __init__(self, module: Any) -> None:
        self._engine = module.LightMatchingEngine()
        self._ids: dict[int, int] = {}

    def add(self, order: int, side: int, price: int, quantity: int) -> int:
        entered, trades = self._engine.add_order(SYMBOL, price, quantity, 1 if side > 0 else 2)
        self._ids[order] = entered.order_id
        return sum(trade.order_id != entered.order_id for trade in trades)

    def take(self, order: int, side: int, price: int, quantity: int) -> int:
        fills = self.add(order, side, price, quantity)
        self.cancel(order)
        return fills

    def cancel(self, order: int) -> int:
        self._engine.cancel_order(self._ids.pop(order), SYMBOL)
        return 0

    def reduce(self, order: int, left: int) -> int:
        self._engine.order_books[SYMBOL].order_id_map[self._ids[order]].leaves_qty = left
        return 0


class PyOrderBook:
    """Heaps of levels, Decimal prices, UUID order ids."""

    def __init__(self, module: Any) -> None:
        self._order, self._bid, self._ask = module.Order, module.Side.BID, module.Side.ASK
        self._book = module.Book()
        self._orders: dict[int, Any] = {}

    def add(self, order: int, side: int, price: int, quantity: int) -> int:
        entered = self._orders[order] = self._order(self._bid if side > 0 else self._ask, SYMBOL, price, quantity)
        return len(self._book.match(entered).trades)

    def take(self, order: int, side: int, price: int, quantity: int) -> int:
        fills = self.add(order, side, price, quantity)
        self.cancel(order)
        return fills

    def cancel(self, order: int) -> int:
        entered = self._orders.pop(order)
        if entered.quantity:
            self._book.cancel(entered)
        return 0

    def reduce(self, order: int, left: int) -> int:
        self._orders[order].quantity = left
        return 0


class FastLob:
    """Sorted containers of limits, Decimal quantities, validated parameters."""

    def __init__(self, module: Any) -> None:
        self._params, self._bid, self._ask = module.OrderParams, module.OrderSide.BID, module.OrderSide.ASK
        self._book = module.Orderbook(start=True)
        self._ids: dict[int, str] = {}

    def add(self, order: int, side: int, price: int, quantity: int) -> int:
        result = self._book.process(self._params(self._bid if side > 0 else self._ask, Decimal(price), quantity))
        self._ids[order] = result.orderid()
        return int(result.n_orders_matched())

    def take(self, order: int, side: int, price: int, quantity: int) -> int:
        fills = self.add(order, side, price, quantity)
        self.cancel(order)
        return fills

    def cancel(self, order: int) -> int:
        self._book.cancel(self._ids.pop(order))
        return 0

    def reduce(self, order: int, left: int) -> int:
        self._book.update(self._ids[order], left)
        return 0


PEERS: dict[str, tuple[str, Callable[[Any], Peer]]] = {
    "lightmatchingengine": ("lightmatchingengine.lightmatchingengine", LightMatchingEngine),
    "pyorderbook": ("pyorderbook", PyOrderBook),
    "fastlob": ("fastlob", FastLob),
}


def run(peer: Peer, ops: Sequence[Op]) -> int:
    """All operations through one engine; returns the fills."""
    fills = 0
    for op, order, side, price, quantity in ops:
        if op == ADD:
            fills += peer.add(order, side, price, quantity)
        elif op == CANCEL:
            peer.cancel(order)
        elif op == MARKETABLE:
            fills += peer.take(order, side, price, quantity)
        else:
            peer.reduce(order, quantity)
    return fills


def compare(workload: Workload) -> list[Figure]:
    count = len(workload.ops)
    began = time.process_time()
    fills = run_reference(workload.ops)
    reference = count / (time.process_time() - began)
    cpu_s, trades = throughput(workload, Pauses(), Collector())
    assert trades == fills, (trades, fills)
    ours = count / cpu_s
    kind = "compiled" if COMPILED else "interpreted"
    figures = [
        Figure(f"{workload.name}: this machine, {kind}", ours, "commands/CPU s", note="100 accounts, all rules on"),
        Figure(f"{workload.name}: the reference book", reference, "commands/CPU s", note="no accounts, no events"),
    ]
    for name, (module, make) in PEERS.items():
        try:
            peer = make(importlib.import_module(module))
        except ImportError:
            figures.append(Figure(f"{workload.name}: {name}", 0, "", note="not installed (benchmarks/peers.txt)"))
            continue
        began = time.process_time()
        made = run(peer, workload.ops)
        speed = count / (time.process_time() - began)
        note = f"this machine is {ours / speed:.1f} times as fast"
        if made != fills:
            note += f"; it counts {made:,} fills, the reference book {fills:,}"
        figures.append(Figure(f"{workload.name}: {name}", speed, "commands/CPU s", note=note))
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--commands", type=int, default=PEER_COMMANDS, help="of synth")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    show("The machine and its peers", compare(goog(100)) + compare(synth(100, options.commands)), options.json)


if __name__ == "__main__":
    main()
