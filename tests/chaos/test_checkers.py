"""Every judge accepts a good history and rejects at least three doctored ones."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from chaos import history
from chaos.checkers import presence, realtime, replicas
from chaos.history import Operation, Placed, Replica


def ok(number: int, invoked_s: float, completed_s: float, log_index: int) -> Operation:
    return Operation("c", "ACC_1", f"id{number}", invoked_s, completed_s, "ok", f"O{number}", log_index)


def refused(number: int) -> Operation:
    return Operation("c", "ACC_1", f"id{number}", 0.0, 1.0, "fail", why="1001 INSUFFICIENT_FUNDS")


def unknown(number: int) -> Operation:
    return Operation("c", "ACC_1", f"id{number}", 0.0, 1.0, "unknown")


def placed(number: int, order: int | None = None, account_id: str = "ACC_1") -> Placed:
    return Placed(account_id, f"id{number}", f"O{number if order is None else order}")


def test_a_history_whose_orders_are_all_there_once_is_accepted() -> None:
    assert presence.check([ok(1, 0, 1, 5), refused(2), unknown(3), unknown(4)], [placed(1), placed(4)]) == []


@pytest.mark.parametrize(
    ("operations", "orders"),
    [
        ([ok(1, 0, 1, 5)], []),
        ([ok(1, 0, 1, 5)], [placed(1), placed(1, 7)]),
        ([ok(1, 0, 1, 5)], [placed(1, 7)]),
        ([ok(1, 0, 1, 5)], [placed(1, account_id="ACC_2")]),
        ([refused(1)], [placed(1)]),
        ([unknown(1)], [placed(1), placed(1, 2)]),
    ],
    ids=["lost", "twice", "another order", "another account", "refused but there", "unknown but twice"],
)
def test_presence_rejects(operations: list[Operation], orders: list[Placed]) -> None:
    assert presence.check(operations, orders)


def test_overlapping_operations_may_stand_in_any_order() -> None:
    assert realtime.check([ok(1, 0, 3, 9), ok(2, 1, 2, 5), ok(3, 4, 5, 10), unknown(4)]) == []


@pytest.mark.parametrize(
    "operations",
    [
        [ok(1, 0, 1, 9), ok(2, 2, 3, 5)],
        [ok(1, 0, 1, 5), ok(2, 0, 1, 9), ok(3, 2, 3, 7)],
        [ok(3, 2, 9, 4), ok(1, 0, 1, 5)],
    ],
    ids=["backwards", "before the newest of two", "a long one"],
)
def test_realtime_rejects(operations: list[Operation]) -> None:
    assert realtime.check(operations)


def test_replicas_with_equal_hashes_at_equal_indexes_are_accepted() -> None:
    assert replicas.check([Replica("n1", 5, "aa"), Replica("n2", 5, "aa"), Replica("n3", 4, "bb")]) == []


@pytest.mark.parametrize(
    "seen",
    [
        [Replica("n1", 5, "aa"), Replica("n2", 5, "bb")],
        [Replica("n1", 5, "aa"), Replica("n1", 6, "bb"), Replica("n1", 5, "cc")],
        [Replica("n1", 0, "00"), Replica("n2", 0, "00"), Replica("n3", 0, "01")],
    ],
    ids=["two nodes", "one node that went back", "at the start"],
)
def test_replicas_rejects(seen: list[Replica]) -> None:
    assert replicas.check(seen)


def test_a_history_survives_the_disk_and_a_damaged_one_is_refused(tmp_path: Path) -> None:
    operations = [ok(1, 0, 1, 5), refused(2), unknown(3)]
    history.save(tmp_path / "h.jsonl", operations)
    assert history.load(tmp_path / "h.jsonl") == operations
    (tmp_path / "h.jsonl").write_bytes(b'{"client": 1}\n')
    with pytest.raises(msgspec.DecodeError):
        history.load(tmp_path / "h.jsonl")
