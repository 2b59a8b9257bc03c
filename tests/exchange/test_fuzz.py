"""A million commands, valid and not, never make `apply` raise; the default run draws 120 000 of them.

pytest tests/exchange/test_fuzz.py --million
"""

from __future__ import annotations

import random
from collections import Counter
from typing import get_args

import pytest

from node.exchange import codec, invariants
from node.exchange.commands import AnyCommand
from node.exchange.events import AnyEvent
from node.exchange.machine import HANDLERS, Machine
from tests.exchange.stream import Stream, wild_command

SEEDS = 12
SHARE = 10_000  # commands per seed: 120 000 by default
MILLION_SHARE = 84_000  # commands per seed with --million
CHECK_EVERY = 200  # entries: the invariants walk the whole state


def share(request: pytest.FixtureRequest) -> int:
    return MILLION_SHARE if request.config.getoption("--million") else SHARE


@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_stream_of_everything_never_raises_and_breaks_no_invariant(seed: int, request: pytest.FixtureRequest) -> None:
    """From tame (one command in fifty is wild) to mad (every second one)."""
    entries = 0

    def after(machine: Machine) -> None:
        nonlocal entries
        entries += 1
        if entries % CHECK_EVERY == 0:
            invariants.check(machine)

    stream = Stream(1_000 + seed, wild=(0.02, 0.1, 0.5)[seed % 3], after=after)
    stream.run(share(request))
    invariants.check(stream.machine)


def test_the_streams_reach_every_command_and_every_event() -> None:
    """A fuzz whose commands are all refused would prove nothing."""
    told: Counter[str] = Counter()
    accepted: Counter[str] = Counter()
    count = 0
    for seed in range(6):
        stream = Stream(seed)
        stream.run(4_000)
        told += stream.told
        accepted += stream.accepted
        count += stream.count
    assert [event.__name__ for event in get_args(AnyEvent) if not told[event.__name__]] == []
    assert [command.__name__ for command in get_args(AnyCommand) if not accepted[command.__name__]] == []
    assert accepted.total() > 0.4 * count
    assert told["TradeExecuted"] > 500
    assert told["DaySettled"] > 10


def test_every_command_has_a_handler_and_every_handler_a_command() -> None:
    assert {kind.__name__ for kind in HANDLERS} == {kind.__name__ for kind in get_args(AnyCommand)}


def test_nothing_but_wild_commands_never_raises(request: pytest.FixtureRequest) -> None:
    rng = random.Random(5)
    stream = Stream(5)
    stream.run(500)
    machine = stream.machine
    for _ in range(share(request) // 50):
        batch = [codec.encode_command(wild_command(rng)) for _ in range(150)]
        machine.apply(machine.index + 1, machine.time_ns + rng.choice((1, 10**6, 10**12)), batch)
    invariants.check(machine)
