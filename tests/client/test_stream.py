"""Private events: each one once, in order, and every hole said aloud."""

from __future__ import annotations

import pytest
import trio

from api.client.stream import Gap, PrivateEvents
from api.client.wire import Reset
from tests.client.samples import account_event


def event(seq: int, prev: int | None = None):
    return account_event(seq, seq - 1 if prev is None else prev)


async def drain(events: PrivateEvents) -> list[int]:
    return [(await anext(events)).event_seq for _ in range(len(events))]


async def test_events_come_out_once_and_in_order():
    events = PrivateEvents(10)
    events.start(4)
    for seq in (5, 6, 6, 5, 7):
        events.take(event(seq))
    assert await drain(events) == [5, 6, 7]
    assert events.duplicates == 2


async def test_a_hole_asks_to_resume_from_the_last_event():
    events = PrivateEvents(10)
    events.start(4)
    events.take(event(5))
    with pytest.raises(Gap):
        events.take(event(8))
    assert events.seq == 5
    for seq in (6, 7, 8):
        events.take(event(seq))
    assert await drain(events) == [5, 6, 7, 8]
    assert events.resets == 0


async def test_a_hole_that_resuming_does_not_fill_becomes_a_reset():
    events = PrivateEvents(10)
    events.start(4)
    with pytest.raises(Gap):
        events.take(event(8))
    events.take(event(8))
    first, second = await anext(events), await anext(events)
    assert isinstance(first, Reset) and first.event_seq == 7 and "5 to 7" in first.reason
    assert second.event_seq == 8


async def test_a_reset_of_the_node_is_handed_on_and_counting_goes_on_from_it():
    events = PrivateEvents(10)
    events.start(4)
    events.take(Reset(100))
    events.take(event(101))
    assert await drain(events) == [100, 101]


async def test_a_reader_that_falls_behind_gets_a_reset_in_place_of_what_was_dropped():
    events = PrivateEvents(3)
    events.start(0)
    for seq in range(1, 6):
        events.take(event(seq))
    assert len(events) <= 3
    first = await anext(events)
    assert isinstance(first, Reset) and first.event_seq == 3 and "1 to 3" in first.reason
    assert await drain(events) == [4, 5]


async def test_a_waiting_reader_wakes_for_an_event_and_ends_with_the_stream(nursery):
    events = PrivateEvents(3)
    events.start(0)
    seen = []

    async def read():
        async for item in events:
            seen.append(item.event_seq)
        seen.append("end")

    nursery.start_soon(read)
    await trio.testing.wait_all_tasks_blocked()
    events.take(event(1))
    await trio.testing.wait_all_tasks_blocked()
    events.close(StopAsyncIteration())
    await trio.testing.wait_all_tasks_blocked()
    assert seen == [1, "end"]


def test_a_buffer_without_room_is_refused():
    with pytest.raises(ValueError, match="0"):
        PrivateEvents(0)
