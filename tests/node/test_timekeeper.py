"""The timekeeper: one AdvanceClock when the state waits for a moment that has come, and never a storm of them."""

# ruff: noqa: ASYNC110 (processes have no trio.Event)

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import trio
import trio.testing

from consensus.errors import ConsensusError, NotLeader, OutcomeUnknown
from consensus.ports import Receipt, ReplicaStatus, Role
from node.exchange import commands
from node.exchange.calendar import SECOND_NS, day_number, moment
from node.exchange.codec import encode_command
from node.exchange.events import ClockAdvanced, SessionChanged
from node.exchange.machine import Machine
from node.exchange.types import Phase
from node.local import LocalCluster
from node.timekeeper import BACK_OFF_S, LOOK_S, NEAR_S, Timekeeper

TUESDAY = 20270105
NINE = 9 * 3_600
CALENDAR = commands.SetCalendar(
    "morning", "SHFE", day=[(NINE, NINE + 60, int(Phase.CONTINUOUS)), (NINE + 60, NINE + 120, int(Phase.BREAK))]
)
STATUS = ReplicaStatus(
    node="n1", role="leader", term=1, leader="n1", last_index=0, durable_index=0, commit_index=0, applied_index=0,
    digest=b"", members=(), peers=(), quorum=1, reachable=1, can_commit=True, waiting=0, commands_applied=0,
    commit_p50_ms=None, commit_p99_ms=None, loop_lag_ms=None,
)  # fmt: skip


class Wall:
    """The wall clock as the virtual time of trio, from a local moment on."""

    def __init__(self, begin_ns: int) -> None:
        self._begin_ns = begin_ns

    def wall_ns(self) -> int:
        return self._begin_ns + round(trio.current_time() * 1e9)

    def monotonic_ns(self) -> int:
        return self.wall_ns()


class Alone:
    """A cluster of one without disk or network: it stamps entries as the leader does and applies them to a Machine."""

    def __init__(self, wall: Wall, *, commit_s: float = 0.001) -> None:
        self.machine = Machine()
        self.wall = wall
        self.commit_s = commit_s
        self.current = STATUS
        self.fails: list[ConsensusError] = []
        self.under_way = 0
        self.submitted_at: list[float] = []
        self.entries: list[tuple[int, list[Any]]] = []  # (time_ns, events) of the AdvanceClocks

    def status(self) -> ReplicaStatus:
        return self.current

    def become(self, role: Role, *, can_commit: bool = True) -> None:
        self.current = replace(STATUS, role=role, can_commit=can_commit)

    def enter(self, command: commands.Command) -> list[Any]:
        machine = self.machine
        time_ns = max(machine.time_ns + 1, self.wall.wall_ns())
        (events,) = machine.apply(machine.index + 1, time_ns, [encode_command(command)])
        return events

    async def submit(self, raws: Sequence[bytes], *, timeout_s: float | None = None) -> list[Receipt]:
        assert len(raws) == 1
        self.under_way += 1
        assert self.under_way == 1, "two proposals at once"
        try:
            self.submitted_at.append(trio.current_time())
            await trio.sleep(self.commit_s)
            if self.fails:
                raise self.fails.pop(0)
            events = self.enter(commands.AdvanceClock())
            self.entries.append((self.machine.time_ns, events))
            return [Receipt(self.machine.index, 1, self.machine.time_ns, self.machine.digest(), events)]
        finally:
            self.under_way -= 1


def at(second: float) -> int:
    """A moment of the Tuesday, in ns."""
    return moment(day_number(TUESDAY), 0) + round(second * SECOND_NS)


def phases(alone: Alone) -> list[tuple[int, int]]:
    """(time_ns, phase) of the phases that the calendar entered."""
    return [(time_ns, e.phase) for time_ns, events in alone.entries for e in events if isinstance(e, SessionChanged)]


async def keep(alone: Alone, seconds: float, begun: bool = True) -> None:
    keeper = Timekeeper(alone, alone.machine, alone.wall, lambda: begun)
    with trio.move_on_after(seconds):
        await keeper.run()


async def test_the_first_leader_opens_the_trading_day_at_once(autojump_clock: trio.testing.MockClock) -> None:
    alone = Alone(Wall(at(NINE - 100)))
    await keep(alone, 1)
    assert [events[0] for _, events in alone.entries] == [ClockAdvanced(TUESDAY)]
    assert alone.submitted_at[0] < LOOK_S


async def test_no_day_is_opened_before_the_exchange_has_begun(autojump_clock: trio.testing.MockClock) -> None:
    alone = Alone(Wall(at(NINE)))
    await keep(alone, 5, begun=False)
    assert alone.submitted_at == []


async def test_each_change_of_session_comes_within_twenty_milliseconds_and_costs_one_entry(
    autojump_clock: trio.testing.MockClock,
) -> None:
    alone = Alone(Wall(at(NINE - 30)))
    alone.enter(CALENDAR)
    await keep(alone, 200)
    assert [phase for _, phase in phases(alone)] == [Phase.CONTINUOUS, Phase.BREAK, Phase.CLOSED]
    for (time_ns, _), due in zip(phases(alone), (NINE, NINE + 60, NINE + 120), strict=True):
        assert 0 <= time_ns - at(due) <= (NEAR_S + alone.commit_s) * 1e9
    assert len(alone.entries) == 4  # and the one that opened the day


async def test_a_moment_that_a_command_brings_nearer_is_seen(autojump_clock: trio.testing.MockClock) -> None:
    alone = Alone(Wall(at(NINE - 3_600)))
    alone.enter(CALENDAR)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keep, alone, 40)
        await trio.sleep(10)
        begin = NINE - 3_590 + 5
        alone.enter(commands.SetCalendar("morning", "SHFE", day=[(begin, begin + 60, int(Phase.CONTINUOUS))]))
    assert [phase for _, phase in phases(alone)] == [Phase.CONTINUOUS]
    assert 0 <= phases(alone)[0][0] - at(begin) <= (NEAR_S + alone.commit_s) * 1e9


async def test_a_follower_and_a_leader_without_a_majority_propose_nothing(
    autojump_clock: trio.testing.MockClock,
) -> None:
    alone = Alone(Wall(at(NINE)))
    alone.become("follower")
    await keep(alone, 5)
    alone.become("leader", can_commit=False)
    await keep(alone, 5)
    assert alone.submitted_at == []
    alone.become("leader")
    await keep(alone, 1)
    assert len(alone.entries) == 1


async def test_a_new_leader_catches_up_with_one_entry_in_the_order_of_time(
    autojump_clock: trio.testing.MockClock,
) -> None:
    alone = Alone(Wall(at(NINE - 30)))
    alone.enter(CALENDAR)
    await keep(alone, 1)
    alone.become("follower")
    await keep(alone, 200)  # three boundaries go by
    alone.become("leader")
    await keep(alone, 1)
    assert len(alone.entries) == 2
    assert [e.phase for e in alone.entries[1][1][1:]] == [Phase.CONTINUOUS, Phase.BREAK, Phase.CLOSED]


async def test_refused_proposals_are_repeated_ever_more_slowly_and_forgotten_after_a_success(
    autojump_clock: trio.testing.MockClock,
) -> None:
    alone = Alone(Wall(at(NINE - 40)))
    alone.enter(CALENDAR)
    alone.fails = [NotLeader(None, 1), *(OutcomeUnknown() for _ in range(9))]
    keeper = Timekeeper(alone, alone.machine, alone.wall, lambda: True)
    with trio.move_on_after(30):
        await keeper.run()
    assert len(alone.submitted_at) == 11
    pauses = [b - a - alone.commit_s for a, b in zip(alone.submitted_at, alone.submitted_at[1:], strict=False)]
    expected = [min(NEAR_S * 2**i, BACK_OFF_S) for i in range(10)]
    assert all(abs(pause - wanted) < 1e-6 for pause, wanted in zip(pauses, expected, strict=True))
    assert len(alone.entries) == 1
    alone.fails = [OutcomeUnknown()]
    with trio.move_on_after(30):
        await keeper.run()
    assert abs(alone.submitted_at[12] - alone.submitted_at[11] - alone.commit_s - NEAR_S) < 1e-6
    assert phases(alone)[0][1] == Phase.CONTINUOUS


async def test_a_slow_commit_never_has_a_second_proposal_beside_it(autojump_clock: trio.testing.MockClock) -> None:
    alone = Alone(Wall(at(NINE - 1)), commit_s=10)
    alone.enter(CALENDAR)
    await keep(alone, 85)  # Alone itself refuses two at once
    assert len(alone.entries) == 2  # the day, in which nine o'clock had passed, and one minute later
    assert phases(alone)[-1][1] == Phase.BREAK


async def test_a_wall_clock_behind_the_log_does_not_hold_up_what_the_log_has_reached(
    autojump_clock: trio.testing.MockClock,
) -> None:
    alone = Alone(Wall(at(NINE - 600)))
    alone.enter(CALENDAR)
    await keep(alone, 1)
    machine = alone.machine
    machine.apply(machine.index + 1, at(NINE) + 1, [encode_command(CALENDAR)])  # stamped by a leader that was ahead
    machine.apply(machine.index + 1, at(NINE + 60) + 1, [encode_command(commands.RegisterUser("eve", "$2b$hash"))])
    await keep(alone, 1)
    assert phases(alone) == [(at(NINE + 60) + 2, int(Phase.BREAK))]


async def test_an_entry_that_brought_nothing_is_not_followed_by_the_next_at_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A part of the exchange that stays due without doing anything would fill the log."""
    alone = Alone(Wall(at(NINE - 600)))
    alone.enter(CALENDAR)

    class Stuck(Alone):
        async def submit(self, raws: Sequence[bytes], *, timeout_s: float | None = None) -> list[Receipt]:
            self.submitted_at.append(trio.current_time())
            await trio.sleep(self.commit_s)
            return [Receipt(1, 1, 1, b"", [ClockAdvanced(0)])]

    stuck = Stuck(alone.wall)
    await keep(stuck, 1)
    assert 40 <= len(stuck.submitted_at) <= 50


async def test_a_real_cluster_opens_its_first_trading_day_once_also_when_its_leader_dies(tmp_path: Path) -> None:
    def opened(cluster: LocalCluster) -> list[str]:
        lines = [line for node in cluster.config.nodes for line in cluster.log_path(node.name).read_text().splitlines()]
        return [line for line in lines if "a trading day opened" in line]

    async with LocalCluster.temporary(tmp_path, instruments=[]) as cluster:
        overview = await cluster.wait_until_ready()
        with trio.fail_after(10):
            while not opened(cluster):
                await trio.sleep(0.05)
        assert overview.leader is not None
        cluster.kill(overview.leader.node)
        await cluster.restart(overview.leader.node)
        await cluster.wait_until_ready()
        await trio.sleep(2 * LOOK_S)
        assert len(opened(cluster)) == 1
