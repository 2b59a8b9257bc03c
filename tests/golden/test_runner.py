"""The runner of the scenarios is strict: whatever a file does not say rightly makes it fail, at its line."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from node.exchange import invariants
from node.exchange.machine import Machine
from tests.golden.numbers import Mistake, canonical, decimal, moment, scaled, shown
from tests.golden.scenario import Failed, Scenario

MARKET = """instrument SHFE.cu2701  multiple 5  tick 10  pre_settlement 70,000
            limit 10%  margin 35,000/lot  fee 17.5/lot
account alice 10,000,000
account bob   10,000,000
"""
TRADE = """bob:   sell open 3 cu2701 @ 70,000 as b1 -> accepted, rests 3
alice: buy open 2 cu2701 @ 70,000 -> accepted, trade 2 @ 70,000 with bob's b1, filled
"""


def run(directory: Path, text: str) -> list[tuple[int, str, str]]:
    """(line, expected, got) of everything that failed."""
    path = directory / "scenario.txt"
    path.write_text(MARKET + text, "utf-8")
    try:
        Scenario(path).run()
    except Failed as failed:
        assert str(path) in str(failed)
        return [(failure.line, failure.expected, failure.got) for failure in failed.failures]
    return []


def test_a_scenario_that_says_what_happens_passes(tmp_path: Path) -> None:
    assert run(tmp_path, TRADE + "alice  margin 70,000  commission 35\n") == []


@pytest.mark.parametrize(
    ("expected", "got"),
    [
        ("accepted, filled", "accepted, trade 2 @ 70,000 with bob's b1, filled"),
        ("accepted, trade 2 @ 70,000 with bob's b1", "accepted, trade 2 @ 70,000 with bob's b1, filled"),
        ("accepted, trade 2 @ 70,010 with bob's b1, filled", "accepted, trade 2 @ 70,000 with bob's b1, filled"),
        ("accepted, trade 2 @ 70,000 with alice, filled", "accepted, trade 2 @ 70,000 with bob's b1, filled"),
        ("rejected INSUFFICIENT_FUNDS", "accepted, trade 2 @ 70,000 with bob's b1, filled"),
        ("", "accepted, trade 2 @ 70,000 with bob's b1, filled"),
    ],
)
def test_an_event_that_is_missing_or_other_fails_with_both_versions(tmp_path: Path, expected: str, got: str) -> None:
    line = f"alice: buy open 2 cu2701 @ 70,000 -> {expected}\n"
    assert run(tmp_path, TRADE.splitlines()[0] + "\n" + line) == [(6, expected, got)]


@pytest.mark.parametrize(
    ("check", "expected", "got"),
    [
        ("alice  commission 35.0001", "commission 35.0001", "commission 35"),
        ("alice  risk_level HIGH", "risk_level HIGH", "risk_level NORMAL"),
        ("position alice cu2701 long: today 1", "today 1", "today 2"),
        ("position alice cu2701 long: none", "none", "2 lots"),
        ("position alice cu2701 short: today 1", "today 1", "none"),
        ("book cu2701: asks 2 @ 70,000 | bids none", "asks 2 @ 70,000 | bids none", "asks 1 @ 70,000 | bids none"),
        ("order b1: FILLED left 0 of 3", "FILLED left 0 of 3", "PARTIALLY_FILLED left 1 of 3 @ 70,000"),
        ("market cu2701: last 70,010, volume 2", "last 70,010", "last 70,000"),
        ("market cu2701: phase CLOSED", "phase CLOSED", "phase CONTINUOUS"),
        ("trading day 2026-11-23", "2026-11-23", "0000-00-00"),
    ],
)
def test_a_wrong_figure_fails(tmp_path: Path, check: str, expected: str, got: str) -> None:
    assert run(tmp_path, TRADE + check + "\n") == [(7, expected, got)]


@pytest.mark.parametrize(
    "line",
    [
        "alice buys three lots",
        "alice: buy open 2 cu2701 @ 70,000",  # a command without what it brings
        "alice: buy open 2 cu2701 @ 70,005 -> accepted",  # off the tick
        "alice: buy open 2 cu2701 @ 70,000 quickly -> accepted",
        "alice: buy open 2 cu2701 @ 70,000 IOC GTC -> accepted",
        "alice: buy open 2 cu2701 @ 70,000 as b1 -> accepted",  # a name that is taken
        "alice: buy open 2,00 cu2701 @ 70,000 -> accepted",
        "dora: buy open 2 cu2701 @ 70,000 -> accepted",
        "alice: cancel b9 -> cancelled",
        "admin: freeze alice SLIGHTLY -> freeze",
        "alice  wealth 5",
        "alice  margin 1 -> accepted",
        "market cu2701: mood 5",
        "instrument SHFE.cu2702  multiple 5  colour red",
        "account alice 5",
        "repeat twice bob: cancel b1 -> accepted",
        "at 1969-01-01 00:00:00",
        "at 2026-11-31 00:00:00",
        "end",
        "batch",
    ],
)
def test_a_line_that_nobody_described_is_an_error(tmp_path: Path, line: str) -> None:
    ((number, expected, got),) = run(tmp_path, TRADE + line + "\n")
    assert (number, expected) == (7, "a line as README.md describes it")
    assert got


def test_a_mistake_in_the_exchange_breaks_the_invariants(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check = invariants.check

    def lose_a_cent(machine: Machine) -> None:
        if machine.orders and not machine.accounts["ACC_00000002"].live:
            machine.accounts["ACC_00000002"].frozen_margin += 100
        check(machine)

    monkeypatch.setattr(invariants, "check", lose_a_cent)
    failures = run(tmp_path, TRADE + "bob: cancel b1 -> cancelled 1 (BY_CLIENT)\n")
    assert [failure[:2] for failure in failures] == [(7, "all invariants hold")]


class Forgetful(Scenario):
    """Loses the last entry of its log before it is replayed."""

    def _replay(self) -> None:
        self.log.pop()
        super()._replay()


def test_a_replay_that_comes_out_otherwise_fails(tmp_path: Path) -> None:
    path = tmp_path / "scenario.txt"
    path.write_text(MARKET + TRADE, "utf-8")
    with pytest.raises(AssertionError, match="another digest"):
        Forgetful(path).run()


def test_optional_events_are_checked_once_one_of_them_is_named(tmp_path: Path) -> None:
    auction = "admin: hold in auction cu2701 -> AUCTION\nbob: sell open 2 cu2701 @ 70,000 -> accepted, rests 2\n"
    order = "alice: buy open 1 cu2701 @ 70,000 -> accepted, "
    assert run(tmp_path, auction + order + "rests 1\n") == []
    assert run(tmp_path, auction + order + "indicated 1 @ 70,000 surplus -1, rests 1\n") == []
    assert run(tmp_path, auction + order + "indicated 2 @ 70,000 surplus -1, rests 1\n") == [
        (
            7,
            "accepted, indicated 2 @ 70,000 surplus -1, rests 1",
            "accepted, indicated 1 @ 70,000 surplus -1, rests 1",
        )
    ]


def test_a_batch_is_one_entry_of_the_log_and_each_of_its_commands_is_checked(tmp_path: Path) -> None:
    two = "repeat 2 step 10 bob: sell open 1 cu2701 @ 70,000 -> accepted, rests 1\n"
    assert run(tmp_path, f"batch\n{two}bob: cancel 9 -> accepted\nend\n") == [
        (7, "accepted", "rejected ORDER_NOT_FOUND")
    ]
    scenario = Scenario(tmp_path / "scenario.txt")
    with pytest.raises(Failed):
        scenario.run()
    assert [len(raw) for _, _, raw in scenario.log][-1] == 3


def test_numbers_are_exact() -> None:
    assert shown(Fraction(99_999_475, 10)) == "9,999,947.5"
    assert shown(Fraction(-1, 3)) == "-1/3"
    assert canonical("trade  3 @ 70000.0 (x)") == "trade 3 @ 70,000 (x)"
    assert scaled("26.3028", 10_000) == 263_028
    for text in ("1,00", "1e3", "", "--1", "1.", "NaN"):
        with pytest.raises(Mistake):
            decimal(text)
    with pytest.raises(Mistake):
        scaled("0.00001", 10_000)


def test_times_are_of_shanghai() -> None:
    assert moment("1970-01-01", "08:00:00.000001") == 1_000
