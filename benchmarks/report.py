"""Figures beside their targets: one table for people, one JSON document for machines."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value. Of `gate` and `aim` (design/performance.md) more is better unless `less_is_better`."""

    name: str
    value: float
    unit: str
    gate: float | None = None
    aim: float | None = None
    less_is_better: bool = False
    note: str = ""

    @property
    def verdict(self) -> str:
        if self.gate is None:
            return ""
        sign = -1 if self.less_is_better else 1
        if self.aim is not None and sign * self.value >= sign * self.aim:
            return "aim"
        return "gate" if sign * self.value >= sign * self.gate else "below"


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Nearest rank of an ordered, non-empty sequence."""
    rank = -(-len(ordered) * percent // 100)
    return ordered[max(0, min(len(ordered) - 1, int(rank) - 1))]


def machine_line() -> str:
    """What these figures were measured on."""
    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    cores = len(os.sched_getaffinity(0))
    return f"{datetime.now(UTC):%Y-%m-%d}, {cores} x {model}, Python {platform.python_version()}"


def show(title: str, figures: Sequence[Figure], as_json: bool, **facts: Any) -> None:
    """Print the table, or the same as one JSON object."""
    if as_json:
        rows = [{**asdict(figure), "verdict": figure.verdict} for figure in figures]
        json.dump({"title": title, "measured": machine_line(), **facts, "figures": rows}, sys.stdout, indent=1)
        print()
        return
    table = Table(title=title, caption=machine_line(), title_justify="left", caption_justify="left")
    for column, justify in (("", "left"), ("value", "right"), ("unit", "left"), ("gate", "right"), ("aim", "right")):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    table.add_column("reached")
    table.add_column("note", style="dim")
    colours = {"aim": "[green]aim", "gate": "[yellow]gate", "below": "[red]below", "": ""}
    for figure in figures:
        table.add_row(
            figure.name,
            _number(figure.value),
            figure.unit,
            "" if figure.gate is None else _number(figure.gate),
            "" if figure.aim is None else _number(figure.aim),
            colours[figure.verdict],
            figure.note,
        )
    Console(width=None if sys.stdout.isatty() else 140).print(table)


def _number(value: float) -> str:
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.2f}".rstrip("0").rstrip(".") if value < 10 else f"{value:.1f}"
