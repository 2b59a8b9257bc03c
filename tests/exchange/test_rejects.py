"""Every reason for a refusal is raised somewhere, asserted somewhere, and changes nothing."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from node.exchange import codec, rejects
from node.exchange.commands import Command
from node.exchange.events import CommandRejected
from node.exchange.layouts import STATE
from node.exchange.machine import Machine
from node.exchange.rejects import Reject
from node.exchange.sections import SECTIONS
from tests.exchange.stream import run

ROOT: Final = Path(__file__).parents[2]
FAMILIES: Final = (1, 2, 3, 4, 6)  # thousands: risk, accounts, orders, matching and sessions, settlement
REASONS: Final = tuple(rejects.BY_CODE.values())


def named(item: ast.AST) -> Iterator[str]:
    """The names X of every `rejects.X` in a piece of code."""
    for inner in ast.walk(item):
        if isinstance(inner, ast.Attribute) and isinstance(inner.value, ast.Name) and inner.value.id == "rejects":
            yield inner.attr


def handed_on(source: str) -> Iterator[str]:
    """The reasons that some code raises, or gives to a function that does: a status code in a table is neither."""
    for item in ast.walk(ast.parse(source)):
        if isinstance(item, ast.Call):
            for argument in (*item.args, *(keyword.value for keyword in item.keywords)):
                yield from named(argument)


def asserted(source: str) -> Iterator[str]:
    """The reasons in the tests of a module and their parameters, also in tables that the parameters name."""
    tree = ast.parse(source)
    tables = {
        target.id: item.value
        for item in tree.body
        if isinstance(item, ast.Assign)
        for target in item.targets
        if isinstance(target, ast.Name)
    }
    for item in ast.walk(tree):
        if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef) and item.name.startswith("test_"):
            yield from named(item)
            for inner in ast.walk(item):
                if isinstance(inner, ast.Name) and inner.id in tables:
                    yield from named(tables[inner.id])
                elif isinstance(inner, ast.Constant) and inner.value in rejects.BY_CODE:
                    yield rejects.BY_CODE[inner.value].name


def sources(*folders: str, pattern: str) -> Iterator[str]:
    for folder in folders:
        for path in sorted((ROOT / folder).rglob(pattern)):
            if path != Path(__file__):
                yield path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def raised() -> dict[str, None]:
    return dict.fromkeys(
        name for source in sources("node/exchange", "api", pattern="*.py") for name in handed_on(source)
    )


@pytest.fixture(scope="module")
def tested() -> dict[str, None]:
    names = dict.fromkeys(name for source in sources("tests", pattern="test_*.py") for name in asserted(source))
    for scenario in sources("tests/golden", pattern="*.txt"):
        names |= dict.fromkeys(re.findall(r"\brejected ([A-Z_]+)", scenario))
    return names


@pytest.mark.parametrize("reject", REASONS, ids=lambda reject: reject.name)
def test_a_reason_is_raised_and_tested(reject: Reject, raised: dict[str, None], tested: dict[str, None]) -> None:
    assert reject.name in raised, "nothing raises it: delete it"
    assert reject.name in tested, "no test asserts it"


def test_every_reason_has_one_number_of_its_family_one_name_and_text_in_two_languages() -> None:
    listed = {name: value for name, value in vars(rejects).items() if isinstance(value, Reject)}
    codes = [reject.code for reject in listed.values()]
    assert codes == sorted(rejects.BY_CODE), "in ascending order, each once, all of them in BY_CODE"
    for name, reject in listed.items():
        assert rejects.BY_CODE[reject.code] is reject
        assert reject.name == name
        assert reject.code // 1_000 in FAMILIES
        assert reject.message.isascii()
        assert reject.message.strip()
        assert any("\u4e00" <= letter <= "\u9fff" for letter in reject.message_zh), reject


def state_of(machine: Machine, command: Command) -> list[tuple[str, object]]:
    """All rows of a snapshot but the log position and, for a command with an id, the remembered first results."""
    has_id = getattr(command, "request_id", "") or getattr(command, "client_order_id", "")
    remembered = ("user_requests", "account_requests", "client_orders") if has_id else ()
    position = [STATE.stored.index(name) for name in ("index", "time_ns")]
    return [
        (section.name, [value for n, value in enumerate(row) if section.name != "state" or n not in position])
        for section in SECTIONS
        if section.name not in remembered
        for row in section.rows(machine)
    ]


@pytest.mark.parametrize("seed", range(4))
def test_a_refused_command_changes_nothing_but_the_request_record(seed: int) -> None:
    """Each command of a random stream is tried on one machine and, if it is refused there, compared on another."""
    machine, ahead = Machine(), Machine()
    refusals: dict[int, int] = {}
    for index, (_, entry_ns, raws) in enumerate(run(300 + seed, 1_500, wild=0.4)[1]):
        for n, raw in enumerate(raws):
            log = (10 * index + n + 1, max(entry_ns, machine.time_ns + 1), [raw])
            ((answer, *_),) = ahead.apply(*log)
            if isinstance(answer, CommandRejected):
                command = codec.decode_command(raw)
                before = state_of(machine, command)
                machine.apply(*log)
                assert state_of(machine, command) == before, (command, answer)
                refusals[answer.code] = refusals.get(answer.code, 0) + 1
            else:
                machine.apply(*log)
    assert len(refusals) > 30, refusals
