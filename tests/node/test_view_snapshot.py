"""Views that start from a snapshot go on exactly as those that saw the whole log."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.ws.hub import Hub
from node import view_snapshot
from node.app import ExchangeStateMachine
from node.clock import SystemClock
from node.collector import Collector
from node.exchange.machine import Machine
from node.market.tape import Tape
from node.meter import OrderMeter
from node.view_snapshot import ViewsError
from tests.exchange.stream import Entries, run

COMMANDS = 3_000


class Exchange:
    """What `node.app` composes."""

    def __init__(self) -> None:
        self.machine = Machine()
        self.tape = Tape()
        self.hub = Hub(self.machine)
        self.applied = ExchangeStateMachine(self.machine, self.tape, self.hub, OrderMeter(SystemClock()), Collector())

    def apply(self, log: Entries) -> None:
        for index, time_ns, commands in log:
            self.applied.apply(index, 1, time_ns, commands)

    def views(self) -> bytes:
        return b"".join(view_snapshot.write(self.hub, self.tape))


@pytest.fixture(scope="module")
def log() -> Entries:
    return run(11, COMMANDS)[1]


def pieces(path: Path, size: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(size):
            yield piece


async def test_a_node_from_a_snapshot_counts_hashes_and_remembers_as_one_that_saw_the_whole_log(
    tmp_path: Path, log: Entries
) -> None:
    whole, half = Exchange(), len(log) // 2
    whole.apply(log[:half])
    path = tmp_path / "state"
    with path.open("wb") as file:
        await whole.applied.snapshot(file.fileno())
    restored = Exchange()
    restored.applied.restore(pieces(path, 777))
    assert restored.views() == whole.views()
    for exchange in (whole, restored):
        exchange.apply(log[half:])
    assert restored.machine.digest() == whole.machine.digest()
    assert restored.views() == whole.views()
    assert len(whole.tape.held()) > 20
    for instrument_id in whole.machine.instruments:
        assert restored.tape.public(instrument_id, 50) == whole.tape.public(instrument_id, 50)
        assert restored.hub.market.version(instrument_id) == whole.hub.market.version(instrument_id)
    for account_id in whole.machine.accounts:
        assert restored.tape.fills(account_id) == whole.tape.fills(account_id)
    assert restored.hub.digest_at(log[half - 1][0]) == whole.hub.digest_at(log[half - 1][0]) is not None


async def test_who_comes_back_for_private_events_from_before_the_snapshot_is_told_to_start_afresh(
    tmp_path: Path, log: Entries
) -> None:
    whole = Exchange()
    whole.apply(log)
    path = tmp_path / "state"
    with path.open("wb") as file:
        await whole.applied.snapshot(file.fileno())
    restored = Exchange()
    restored.applied.restore(pieces(path, 1 << 16))
    user_id, seq = max(whole.hub.private.numbers().items(), key=lambda item: item[1])
    assert seq > 10
    assert restored.hub.private.of(user_id).seq == seq
    assert whole.hub.private.of(user_id).since(seq - 3, 10) is not None
    assert restored.hub.private.of(user_id).since(seq - 3, 10) is None
    assert restored.hub.private.of(user_id).since(seq, 10) == []


def test_views_that_are_cut_short_or_garbled_are_refused(log: Entries) -> None:
    exchange = Exchange()
    exchange.apply(log[:200])
    data = exchange.views()
    for bad in (b"", data[:3], data[:-5], b"\xff" * 20, b"\0\0\0\1\xc1" + data):
        fresh = Exchange()
        with pytest.raises(ViewsError):
            list(view_snapshot.restore(fresh.hub, fresh.tape, iter([bad])))


def test_the_stream_behind_the_views_is_handed_on_whole() -> None:
    exchange, fresh = Exchange(), Exchange()
    behind = os.urandom(5_000)
    data = exchange.views() + behind
    chunks = (data[start : start + 64] for start in range(0, len(data), 64))
    assert b"".join(view_snapshot.restore(fresh.hub, fresh.tape, chunks)) == behind
