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
# Anything that asks the interpreter, the system or the address space: called, passed on or subclassed.
FORBIDDEN_NAMES = {
    "float", "complex", "set", "frozenset", "hash", "id", "open", "print", "input", "round", "vars", "globals",
    "locals", "dir", "eval", "exec", "compile", "__import__", "breakpoint",
}  # fmt: skip
# Whatever they are called on: what makes a set, a float or a hash.
FORBIDDEN_ATTRIBUTES = {
    "union", "intersection", "difference", "symmetric_difference", "__hash__", "__truediv__", "truediv", "__dict__",
    "fromhex", "as_integer_ratio", "total_seconds",
}  # fmt: skip
ALLOWED_MODULES = {
    "__future__", "bisect", "collections", "collections.abc", "enum", "hashlib", "itertools", "math", "msgspec",
    "msgspec.structs", "operator", "sortedcontainers", "typing", "zlib",
}  # fmt: skip
ALLOWED_OF_MATH = {"comb", "gcd", "isqrt", "lcm", "prod"}  # the integers' part of it
SET_OPERATORS = (ast.BitAnd, ast.BitOr, ast.BitXor, ast.Sub)


def allowed(module: str) -> bool:
    return module in ALLOWED_MODULES or module == "node.exchange" or module.startswith("node.exchange.")


def is_view(item: ast.expr) -> bool:
    """`d.keys()` or `d.items()`: an operator between two of them makes a set, whose order is that of hashes."""
    if isinstance(item, ast.Call) and isinstance(item.func, ast.Attribute):
        return item.func.attr in ("keys", "items") and not item.args
    return False


def impurities(source: str) -> list[str]:
    """What in a module's text could make two nodes differ, by line. Sorting, dict order and integers are pure."""
    found = []
    for item in ast.walk(ast.parse(source)):
        line = getattr(item, "lineno", 0)
        if isinstance(item, ast.Name) and isinstance(item.ctx, ast.Load) and item.id in FORBIDDEN_NAMES:
            found.append(f"line {line}: names {item.id}")
        elif isinstance(item, ast.Constant) and isinstance(item.value, float | complex):
            found.append(f"line {line}: float {item.value}")
        elif isinstance(item, ast.BinOp | ast.AugAssign) and isinstance(item.op, ast.Div):
            found.append(f"line {line}: true division")
        elif isinstance(item, ast.BinOp) and isinstance(item.op, SET_OPERATORS):
            if is_view(item.left) or is_view(item.right):
                found.append(f"line {line}: a set of dict views")
        elif isinstance(item, ast.Set | ast.SetComp):
            found.append(f"line {line}: a set")
        elif isinstance(item, ast.Attribute):
            if item.attr in FORBIDDEN_ATTRIBUTES:
                found.append(f"line {line}: .{item.attr}")
            elif isinstance(item.value, ast.Name) and item.value.id == "math" and item.attr not in ALLOWED_OF_MATH:
                found.append(f"line {line}: math.{item.attr}")
        elif isinstance(item, ast.Import):
            found += [f"line {line}: imports {a.name}" for a in item.names if not allowed(a.name)]
        elif isinstance(item, ast.ImportFrom):
            module = "." * item.level + (item.module or "")
            if not allowed(module):
                found.append(f"line {line}: imports from {module}")
            banned = [a.name for a in item.names if module == "math" and a.name not in ALLOWED_OF_MATH]
            banned += [a.name for a in item.names if module == "operator" and a.name in FORBIDDEN_ATTRIBUTES]
            found += [f"line {line}: {module}.{name}" for name in banned]
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.name)
def test_the_exchange_is_pure(path: Path) -> None:
    assert impurities(path.read_text()) == []


@pytest.mark.parametrize(
    "line",
    [
        "import time",
        "from time import time_ns",
        "import datetime",
        "import random",
        "from random import random",
        "import secrets, uuid",
        "import os",
        "from os import environ",
        "import sys",
        "from node import app",
        "from . import book",
        "x = 0.5",
        "x = 1e3",
        "x = 2j",
        "float(x)",
        "x: float = y",
        "x = a / b",
        "x /= 2",
        "round(x)",
        "import math; y = math.sqrt(x)",
        "from math import sqrt",
        "from math import inf",
        "import operator; y = operator.truediv(a, b)",
        "from operator import truediv",
        "x = {1, 2}",
        "x = {y for y in z}",
        "for x in {1, 2}: pass",
        "for x in set(y): pass",
        "x: set[int] = y",
        "x = frozenset()",
        "for x in a.keys() & b.keys(): pass",
        "for x in a.keys() - b: pass",
        "for x in a | b.keys(): pass",
        "x = sum(y for _, y in a.items() ^ b.items())",
        "x = sum(set(d.values()))",
        "for x in a.union(b): pass",
        "x = first.intersection(second)",
        "hash(x)",
        "sorted(x, key=hash)",
        "y = x.__hash__()",
        "sorted(x, key=id)",
        "vars(x)",
        "x = globals()",
        "x = y.__dict__",
        "eval(x)",
        "__import__(x)",
        "open(x)",
        "print(x)",
    ],
)
def test_the_lint_sees_an_impurity(line: str) -> None:
    assert impurities(line)


@pytest.mark.parametrize(
    "line",
    [
        "x = sorted(d)",
        "for x in sorted(d.keys()): pass",
        "for k, v in d.items(): pass",
        "x = sum(d.values())",
        "x = a // b + a % b - (a & b) | c",
        "from math import gcd",
        "x = [y for y in d if y in e]",
        "self.time_ns = time_ns",
        "from node.exchange import book",
    ],
)
def test_the_lint_lets_the_pure_pass(line: str) -> None:
    assert impurities(line) == []


def test_one_log_gives_one_digest_whatever_the_hash_seed() -> None:
    script = "from tests.exchange.stream import run; machine = run(seed=11, commands=6000)[0]; " \
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
