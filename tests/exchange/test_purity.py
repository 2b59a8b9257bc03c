"""`node/exchange` may not ask for time or randomness, use floats, iterate sets, or depend on `hash()`."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import node.exchange

SOURCES = sorted(Path(node.exchange.__file__).parent.glob("*.py"))
FORBIDDEN_NAMES = {"float", "set", "frozenset", "hash", "id", "open", "print", "input", "round"}
ALLOWED_MODULES = {
    "__future__", "bisect", "collections", "collections.abc", "enum", "hashlib", "itertools", "math", "msgspec",
    "operator", "sortedcontainers", "typing", "zlib",
}  # fmt: skip


def allowed(module: str) -> bool:
    return module in ALLOWED_MODULES or module == "node.exchange" or module.startswith("node.exchange.")


def impurities(source: str) -> list[str]:
    found = []
    for item in ast.walk(ast.parse(source)):
        line = getattr(item, "lineno", 0)
        if isinstance(item, ast.Call) and isinstance(item.func, ast.Name) and item.func.id in FORBIDDEN_NAMES:
            found.append(f"line {line}: calls {item.func.id}()")
        elif isinstance(item, ast.Constant) and isinstance(item.value, float):
            found.append(f"line {line}: float {item.value}")
        elif isinstance(item, ast.BinOp | ast.AugAssign) and isinstance(item.op, ast.Div):
            found.append(f"line {line}: true division")
        elif isinstance(item, ast.Set | ast.SetComp):
            found.append(f"line {line}: a set")
        elif isinstance(item, ast.Name) and item.id == "float":
            found.append(f"line {line}: float")
        elif isinstance(item, ast.Import):
            found += [f"line {line}: imports {a.name}" for a in item.names if not allowed(a.name)]
        elif isinstance(item, ast.ImportFrom) and not allowed(item.module or ""):
            found.append(f"line {line}: imports from {item.module}")
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.name)
def test_the_exchange_is_pure(path: Path) -> None:
    assert impurities(path.read_text()) == []


@pytest.mark.parametrize(
    "line",
    [
        "x = 0.5",
        "x = {1, 2}",
        "hash(x)",
        "x = a / b",
        "import time",
        "from random import random",
        "from node import app",
        "float(x)",
    ],
)
def test_the_lint_sees_an_impurity(line: str) -> None:
    assert impurities(line)


def test_one_log_gives_one_digest_whatever_the_hash_seed() -> None:
    script = "from tests.exchange.stream import run; machine = run(seed=11, commands=3000)[0]; " \
        "import sys; sys.stdout.write(machine.digest().hex())"  # fmt: skip
    root = Path(__file__).parents[2]
    digests = [
        subprocess.run(
            [sys.executable, "-c", script],
            env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": str(root)},
            cwd=root,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "4242")
    ]
    assert len(digests[0]) == 64
    assert digests[0] == digests[1] == digests[2]
