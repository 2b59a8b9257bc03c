from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest
import trio
import trio.testing

from node.collector import FULL_S, YOUNG_COMMANDS, Collector


class Knot:
    """A cycle that only the collector can free."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture
def collector() -> Iterator[Collector]:
    yield Collector()
    gc.unfreeze()
    gc.enable()


def knot() -> weakref.ref[Knot]:
    return weakref.ref(Knot())


def test_the_automatic_collector_is_off_and_a_number_of_commands_collects_the_young(collector: Collector) -> None:
    assert not gc.isenabled()
    garbage = knot()
    collector.applied(YOUNG_COMMANDS - 1)
    assert garbage() is not None
    collector.applied(1)
    assert garbage() is None


async def test_an_idle_node_collects_the_young_and_everything_while_nobody_waits(
    collector: Collector, autojump_clock: trio.testing.MockClock
) -> None:
    waits = True
    async with trio.open_nursery() as nursery:
        nursery.start_soon(collector.run, lambda: not waits)
        await trio.sleep(0.5)
        garbage = knot()
        await trio.sleep(1)
        assert garbage() is None
        old = knot()
        survivor = old()
        assert survivor is not None
        await trio.sleep(5)  # it is old now
        del survivor
        await trio.sleep(5)
        assert old() is not None
        waits = False
        await trio.sleep(FULL_S)
        assert old() is None
        nursery.cancel_scope.cancel()
