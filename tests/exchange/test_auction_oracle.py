"""The call auction against the model that tries every tick (domain.md 4; example 4)."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.exchange import rejects
from node.exchange.types import AuctionRule, CancelReason, OrderState, SelfTrade, TimeCondition
from tests.exchange.model.auction import Candidate, Interest, auction_price
from tests.exchange.model.book import Ended, Entry, Trade
from tests.exchange.model.venues import MachineVenue, ModelVenue, Venue
from tests.exchange.test_against_the_model import (
    BUY,
    SELL,
    SHRINKING,
    STEPS,
    Step,
    ToggleAuction,
    random_step,
    same_books,
    step_both,
)

NEAREST, MIDDLE = AuctionRule
GFA = TimeCondition.GFA


def book(*orders: str) -> list[Interest]:
    """Orders as domain.md writes them: "+5@101" buys five lots, "-4@99" sells four."""
    found = []
    for text in orders:
        volume, price = text[1:].split("@")
        found.append(Interest(1 if text[0] == "+" else -1, int(price), int(volume)))
    return found


@pytest.mark.parametrize(
    ("orders", "reference", "rule", "expected"),
    [
        # domain.md 9, example 4: 10 lots at 100
        (("+5@101", "+10@100", "-4@99", "-6@100", "-5@102"), 99, NEAREST, (100, 10, 5)),
        # nothing crosses, or one side is empty
        (("+5@99", "-5@100"), 100, NEAREST, None),
        (("+5@99",), 100, NEAREST, None),
        ((), 100, NEAREST, None),
        # (1) the larger volume wins over the smaller imbalance and over the reference
        (("+1@102", "+9@101", "-1@99", "-4@101"), 99, NEAREST, (101, 5, 5)),
        # (2) volume 5 from 98 to 103: only at 98 and 99 nothing is left over
        (("+5@103", "-5@98", "-3@100"), 105, NEAREST, (99, 5, 0)),
        # (3) everything between 98 and 103 is equal: nearest to the reference, inside and outside the run
        (("+5@103", "-5@98"), 101, NEAREST, (101, 5, 0)),
        (("+5@103", "-5@98"), 95, NEAREST, (98, 5, 0)),
        (("+5@103", "-5@98"), 109, NEAREST, (103, 5, 0)),
        # 2 lots are left over at both prices, bids at 99 and offers at 100: the reference decides, or the middle
        (("+5@101", "+2@99", "-5@99", "-2@100"), 95, NEAREST, (99, 5, 2)),
        (("+5@101", "+2@99", "-5@99", "-2@100"), 105, NEAREST, (100, 5, -2)),
        (("+5@101", "+2@99", "-5@99", "-2@100"), 95, MIDDLE, (100, 5, -2)),
        # the middle of six prices is the fourth, of five the third
        (("+5@103", "-5@98"), 98, MIDDLE, (101, 5, 0)),
        (("+5@102", "-5@98"), 98, MIDDLE, (100, 5, 0)),
        # a price between two orders' prices, where no order stands
        (("+3@104", "-3@96"), 100, NEAREST, (100, 3, 0)),
    ],
)
def test_the_model_follows_the_sentence_of_the_rules(
    orders: tuple[str, ...], reference: int, rule: AuctionRule, expected: tuple[int, int, int] | None
) -> None:
    assert auction_price(book(*orders), 90, 110, reference, rule) == expected


INTERESTS = st.lists(
    st.builds(Interest, st.sampled_from((BUY, SELL)), st.integers(96, 104), st.integers(1, 4)), max_size=12
)


@settings(max_examples=300, deadline=None)
@given(orders=INTERESTS, reference=st.integers(92, 108))
def test_the_prices_that_remain_are_one_run_so_that_two_are_never_equally_near(
    orders: list[Interest], reference: int
) -> None:
    """Rule (4) never has to decide between ticks: it holds because the better of two rules before it already has."""
    nearest = [auction_price(orders, 90, 110, at) for at in range(90, 111)]
    if nearest[0] is None:
        return
    chosen = sorted({found.price for found in nearest if found is not None})
    assert chosen == list(range(chosen[0], chosen[-1] + 1))
    assert nearest[reference - 90] is not None
    assert nearest[reference - 90].price == min(max(reference, chosen[0]), chosen[-1])


@settings(max_examples=300, deadline=None)
@given(orders=INTERESTS)
def test_where_the_book_crosses_some_price_always_matches(orders: list[Interest]) -> None:
    bids = [o.price for o in orders if o.direction > 0]
    asks = [o.price for o in orders if o.direction < 0]
    crossed = bool(bids and asks) and max(bids) >= min(asks)
    assert (auction_price(orders, 90, 110, 100) is not None) == crossed


# Both books


@pytest.fixture(params=[MachineVenue, ModelVenue], ids=["machine", "model"])
def venue(request: pytest.FixtureRequest) -> Venue:
    venue = request.param()
    venue.call_auction()
    return venue


def test_example_4_of_the_rules(venue: Venue) -> None:
    ids = [
        venue.place(Entry(n % 2, direction, volume, price)).order_id
        for n, (direction, volume, price) in enumerate(
            ((BUY, 5, 101), (SELL, 4, 99), (BUY, 10, 100), (SELL, 6, 100), (BUY, 1, 90), (SELL, 5, 102))
        )
    ]
    assert venue.indication() == Candidate(100, 10, 5)
    found, did = venue.open_continuous()
    assert found == Candidate(100, 10, 5)
    high, cheap, low, dear = ids[:4]
    assert did.trades == [Trade(100, 4, high, cheap), Trade(100, 1, high, dear), Trade(100, 5, low, dear)]
    assert did.ended == []
    assert venue.depth(BUY) == [(100, 5, 1), (90, 1, 1)]
    assert venue.depth(SELL) == [(102, 5, 1)]


def test_nothing_matches_before_the_auction_is_over(venue: Venue) -> None:
    assert venue.place(Entry(0, BUY, 5, 105)).trades == []
    assert venue.place(Entry(1, SELL, 5, 95)).trades == []
    assert (venue.depth(BUY), venue.depth(SELL)) == ([(105, 5, 1)], [(95, 5, 1)])
    assert venue.indication() == Candidate(100, 5, 0)


def test_the_indication_follows_cancels_and_modifications(venue: Venue) -> None:
    buy = venue.place(Entry(0, BUY, 5, 101)).order_id
    venue.place(Entry(1, SELL, 3, 99))
    venue.modify(buy, volume=4)
    assert venue.indication() == Candidate(101, 3, 1)
    venue.modify(buy, price=99)
    assert venue.indication() == Candidate(99, 3, 1)
    venue.cancel(buy)
    assert venue.indication() is None


def test_orders_for_the_auction_end_with_it_and_are_for_it_alone(venue: Venue) -> None:
    order = venue.place(Entry(0, BUY, 5, 101, time_condition=GFA)).order_id
    venue.place(Entry(1, SELL, 3, 99))
    assert venue.open_continuous()[1].ended == [Ended(order, 2, CancelReason.AUCTION_END)]
    assert venue.shown(order).state == OrderState.EXPIRED
    assert venue.place(Entry(0, BUY, 5, 101, time_condition=GFA)).code == rejects.AUCTION_ONLY.code


@pytest.mark.parametrize(
    ("mode", "ended"),
    [(SelfTrade.CANCEL_TAKER, [2]), (SelfTrade.CANCEL_MAKER, [1]), (SelfTrade.CANCEL_BOTH, [1, 2])],
)
def test_no_user_crosses_its_own_order_in_an_auction(venue: Venue, mode: SelfTrade, ended: list[int]) -> None:
    venue.place(Entry(0, BUY, 2, 100))
    did = venue.place(Entry(0, SELL, 2, 100, self_trade=mode, account=1))
    assert [e.order_id for e in sorted(did.ended)] == ended
    assert {e.reason for e in did.ended} == {CancelReason.SELF_TRADE}
    assert venue.place(Entry(0, BUY, 2, 110, self_trade=SelfTrade.REJECT)).code == (
        rejects.SELF_TRADE.code if mode == SelfTrade.CANCEL_MAKER else 0
    )


AUCTION_STEPS = st.lists(st.builds(random_step, SHRINKING, auction=st.just(True)), min_size=10, max_size=25)
CONTINUOUS_STEPS = st.lists(STEPS, max_size=10)


@settings(max_examples=100, deadline=None)
@given(
    rule=st.sampled_from(AuctionRule),
    before=CONTINUOUS_STEPS,
    auction=AUCTION_STEPS,
    after=CONTINUOUS_STEPS,
    again=AUCTION_STEPS,
)
def test_both_books_agree_on_every_auction(
    rule: AuctionRule, before: list[Step], auction: list[Step], after: list[Step], again: list[Step]
) -> None:
    machine, model = MachineVenue(rule), ModelVenue(rule)
    toggle = [ToggleAuction()]
    for step in (*before, *toggle, *auction, *toggle, *after, *toggle, *again, *toggle):
        step_both(step, machine, model)
    same_books(machine, model)
