"""The local copy of an order book."""

from __future__ import annotations

import random
from decimal import Decimal

import pytest
import trio

from api.client.book import BookBroken, BookMirror, book_checksum, price_text
from api.client.models import Level
from api.client.wire import BookDelta, BookSnapshot


def level(price: object, volume: int, count: int = 1) -> Level:
    return Level(Decimal(str(price)), volume, count)


def side(*levels: Level) -> dict[Decimal, Level]:
    return {each.price: each for each in levels}


def snapshot(seq: int, bids: dict[Decimal, Level], asks: dict[Decimal, Level]) -> BookSnapshot:
    return BookSnapshot(
        "SHFE.cu2701", seq, list(bids.values()), list(asks.values()), seq, None, book_checksum(bids, asks)
    )


def mirror() -> BookMirror:
    return BookMirror("SHFE.cu2701", 10)


@pytest.mark.parametrize(
    ("bids", "asks", "value"),
    [
        ([], [], 0),
        ([level(70010, 3), level(70000, 5)], [level(70020, 1)], 3330188158),
        ([level("12.5", 100)], [level(13, 7)], 3864280827),
        ([level("12.50", 100)], [level("13.0", 7)], 3864280827),
    ],
)
def test_the_checksum_is_that_of_the_published_vectors(bids, asks, value):
    assert book_checksum(side(*bids), side(*asks)) == value


def test_prices_are_written_without_exponent_and_without_idle_zeros():
    assert [price_text(Decimal(text)) for text in ("70010", "7E+4", "0.50", "100", "3800.2000")] == [
        "70010",
        "70000",
        "0.5",
        "100",
        "3800.2",
    ]


def test_a_snapshot_and_its_deltas_make_the_book():
    book = mirror()
    book.snapshot(snapshot(5, side(level(10, 1), level(9, 2)), side(level(11, 3))))
    after = (side(level(10, 4), level(8, 1)), side(level(11, 3), level(12, 2)))
    book.delta(
        BookDelta(
            "SHFE.cu2701",
            6,
            5,
            [level(10, 4), level(9, 0), level(8, 1)],
            [level(12, 2)],
            checksum=book_checksum(*after),
        )
    )
    assert [(each.price, each.volume) for each in book.bids] == [(10, 4), (8, 1)]
    assert [(each.price, each.volume) for each in book.asks] == [(11, 3), (12, 2)]
    assert book.best_bid.volume == 4 and book.best_ask.price == 11
    assert book.book.checksum == book_checksum(*after)


def test_a_delta_that_does_not_follow_breaks_the_book():
    book = mirror()
    book.snapshot(snapshot(5, {}, {}))
    with pytest.raises(BookBroken, match="delta 8 follows 7, not 5"):
        book.delta(BookDelta("SHFE.cu2701", 8, 7, [], []))
    assert not book.ready and book.bids == []


def test_a_wrong_checksum_breaks_the_book_and_the_next_snapshot_heals_it():
    book = mirror()
    book.snapshot(snapshot(5, {}, {}))
    with pytest.raises(BookBroken, match="checksum"):
        book.delta(BookDelta("SHFE.cu2701", 6, 5, [level(10, 1)], [], checksum=1))
    assert book.breaks == 1
    book.delta(BookDelta("SHFE.cu2701", 7, 6, [], [], checksum=0))  # still under way when the break was seen
    assert not book.ready
    book.snapshot(snapshot(8, side(level(10, 1)), {}))
    assert book.ready and book.best_bid.volume == 1


async def test_whoever_waits_for_a_change_wakes_at_the_next_message(nursery):
    book = mirror()
    seen = []

    async def wait():
        await book.changed()
        seen.append(book.seq)

    nursery.start_soon(wait)
    await trio.testing.wait_all_tasks_blocked()
    book.snapshot(snapshot(5, {}, {}))
    await trio.testing.wait_all_tasks_blocked()
    assert seen == [5]


def test_random_books_are_followed_through_random_changes():
    rng = random.Random(11)
    book = mirror()
    truth = (side(), side())
    book.snapshot(snapshot(0, *truth))
    for seq in range(1, 300):
        changes = []
        for one in truth:
            price = Decimal(rng.randrange(1, 8))
            change = Level(price, rng.choice((0, 1, 2, 3)), 1)
            changes.append([change])
            one.pop(price, None)
            if change.volume:
                one[price] = change
        book.delta(BookDelta("SHFE.cu2701", seq, seq - 1, changes[0], changes[1], checksum=book_checksum(*truth)))
        assert {each.price: each for each in book.bids} == truth[0]
        assert {each.price: each for each in book.asks} == truth[1]
