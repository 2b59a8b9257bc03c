"""Random schedules with power losses: the guards together, and proof that the judge sees when some are missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from chaos.sim.clock import virtual_time
from chaos.sim.stage import Violation, fuzz
from consensus import guards
from consensus.errors import Fatal
from consensus.journal import Journal
from consensus.promises import Promises
from consensus.raft import Raft
from tests.consensus.test_guards import unguarded_rebase


@pytest.mark.parametrize("names, seeds", [("abc", range(60)), ("abcde", range(25))])
def test_no_schedule_loses_forks_or_repeats_an_acknowledged_command(tmp_path: Path, names: str, seeds: range) -> None:
    acknowledged = reads = lease_reads = transfers = 0
    with virtual_time():
        for seed in seeds:
            judge = fuzz(tmp_path / str(seed), seed, names)
            acknowledged += len(judge.acknowledged)
            reads += judge.reads
            lease_reads += judge.lease_reads
            transfers += judge.transfers
    assert acknowledged > 10 * len(seeds)
    assert reads > len(seeds)
    assert lease_reads > len(seeds)
    assert transfers > 0


def test_the_same_seed_gives_the_same_run(tmp_path: Path) -> None:
    with virtual_time():
        first, second = (fuzz(tmp_path / name, 11) for name in ("first", "second"))
    assert first.acknowledged == second.acknowledged
    assert (first.unknown, first.reads) == (second.unknown, second.reads)


def without_sync_before_acknowledging(patch: pytest.MonkeyPatch) -> None:
    everything = property(lambda self: self.last_index, lambda self, value: None)
    patch.setattr(Journal, "durable_index", everything, raising=False)


def without_sync_before_voting(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Promises, "after", lambda self, position, send: send())


def without_rebasing(patch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def moved(_self: Raft, _node: Any) -> Iterator[None]:
        yield

    patch.setattr(Raft, "next_index_kept", moved)
    patch.setattr(guards, "rebase", unguarded_rebase)


@pytest.mark.parametrize("remove", [without_sync_before_acknowledging, without_sync_before_voting, without_rebasing])
def test_the_judge_notices_when_a_guard_is_missing(tmp_path: Path, remove: Any) -> None:
    with virtual_time(), pytest.MonkeyPatch.context() as patch:
        remove(patch)
        for seed in range(300):
            try:
                fuzz(tmp_path / str(seed), seed)
            except (Violation, Fatal):
                return
    pytest.fail("300 schedules without the guard, and nothing was noticed")
