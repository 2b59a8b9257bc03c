"""The fixed workloads of design/performance.md as the machine's own commands, and for the small reference book.

`synth` is made by ../shared/data/synthetic/workload.py, which checks its own digest; `goog` is the recorded day. Both
come as encoded commands for a fresh machine and as plain tuples for the reference book.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from node.exchange.codec import encode_command
from node.exchange.commands import CancelOrder, PlaceOrder
from node.exchange.types import Offset, PriceType, TimeCondition
from node.lobster import Cancel, CheckBook, Place, Reduce, read_day
from node.replay.cast import Cast
from node.replay.direct import Script, account_id, prologue
from node.replay.instrument import INSTRUMENT_ID

ADD: Final = 0
CANCEL: Final = 1
MARKETABLE: Final = 2
REDUCE: Final = 3
SYNTH_COMMANDS: Final = 1_000_000

Op = tuple[int, int, int, int, int]  # what, order id, side, price in ticks, lots


def data_folder() -> Path:
    """$QAEXCHANGE_DATA, or ../shared/data beside the checkout. Exits with the reason if it is not there."""
    configured = os.environ.get("QAEXCHANGE_DATA")
    data = Path(configured) if configured else Path(__file__).resolve().parents[1].parent / "shared" / "data"
    if not data.is_dir():
        sys.exit(f"{data} does not exist; set QAEXCHANGE_DATA to the data folder")
    return data


@dataclass(frozen=True, slots=True)
class Workload:
    name: str
    setup: list[bytes]  # commands that make users, accounts and the instrument
    commands: list[bytes]
    ops: list[Op]  # the same flow for a book without accounts


def reference_book() -> Any:
    """A fresh ReferenceBook of ../shared/data/synthetic."""
    folder = str(data_folder() / "synthetic")
    if folder not in sys.path:
        sys.path.insert(0, folder)
    from reference_book import ReferenceBook

    return ReferenceBook()


def _synth_ops(commands: int) -> list[Op]:
    script = data_folder() / "synthetic" / "workload.py"
    folder = Path(tempfile.gettempdir()) / f"qaexchange-bench-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / f"synth-{SYNTH_COMMANDS}.csv"
    sys.path.insert(0, str(script.parent))
    from workload import DIGEST_1M

    if not path.exists() or sha256(path.read_bytes()).hexdigest() != DIGEST_1M:
        partial = path.with_suffix(f".{os.getpid()}")
        subprocess.run([sys.executable, script, partial], check=True, stdout=subprocess.DEVNULL)
        partial.replace(path)
    ops: list[Op] = []
    with path.open() as file:
        for line in file:
            op, order, side, price, quantity = map(int, line.split(","))
            ops.append((op, order, side, price, quantity))
            if len(ops) == commands:
                break
    return ops


def synth(accounts: int, commands: int = SYNTH_COMMANDS) -> Workload:
    """60 % limit orders around a moving mid, 30 % cancels, 10 % marketable (IOC)."""
    cast = Cast(accounts)
    ops = _synth_ops(commands)
    owners: dict[int, str] = {}
    raw = []
    for op, order, side, price, quantity in ops:
        if op == CANCEL:
            raw.append(encode_command(CancelOrder(owners[order], order)))
            continue
        immediate = op == MARKETABLE
        # The cast only asks whether an order takes or rests.
        owner = owners[order] = account_id(cast.seat(Place(0, order, 0, side, price, quantity, immediate)).account)
        raw.append(
            encode_command(
                PlaceOrder(
                    account_id=owner,
                    instrument_id=INSTRUMENT_ID,
                    direction=side,
                    offset=Offset.OPEN,
                    volume=quantity,
                    price_type=PriceType.LIMIT,
                    price_ticks=price,
                    time_condition=TimeCondition.IOC if immediate else TimeCondition.GFD,
                    client_order_id=f"synth-{order}",
                )
            )
        )
    return Workload("synth", [encode_command(command) for command in prologue(cast)], raw, ops)


def goog(accounts: int) -> Workload:
    """The recorded NASDAQ day."""
    cast = Cast(accounts)
    script = Script(cast)
    raw, ops = [], []
    for step in read_day(data_folder() / "lobster_GOOG_2012-06-21"):
        if isinstance(step, CheckBook):
            continue
        raw.append(encode_command(script.command(step)))
        ops.append(_op(step))
    return Workload("goog", [encode_command(command) for command in prologue(cast)], raw, ops)


def _op(step: Place | Reduce | Cancel) -> Op:
    if isinstance(step, Place):
        return (MARKETABLE if step.immediate else ADD, step.order, step.direction, step.price_ticks, step.volume)
    return (CANCEL, step.order, 0, 0, 0) if isinstance(step, Cancel) else (REDUCE, step.order, 0, 0, step.left)


def run_reference(ops: list[Op]) -> int:
    """All of them through the reference book; returns the number of fills."""
    book = reference_book()
    add, take, cancel = book.add, book.take, book.cancel
    fills = 0
    for op, order, side, price, quantity in ops:
        if op == ADD:
            fills += len(add(order, side, price, quantity))
        elif op == CANCEL:
            cancel(order)
        elif op == MARKETABLE:
            fills += len(take(side, price, quantity))
        else:
            side, price = book.orders[order]
            book.reduce(order, book.queues[side][price][order] - quantity)
    return fills


def entries(commands: list[bytes], size: int) -> Iterator[list[bytes]]:
    for first in range(0, len(commands), size):
        yield commands[first : first + size]
