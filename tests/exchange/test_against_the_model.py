"""Two books, one suite (domain.md 3 and 4): the machine's and the obviously right one of `model.book`.

First what each of them must do, sentence by sentence; then random command streams through both, which must end in the
same trades, the same queues and the same orders.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.exchange import rejects
from node.exchange.types import (
    AuctionRule,
    CancelReason,
    OrderState,
    PriceType,
    SelfTrade,
    TimeCondition,
    VolumeCondition,
)
from tests.exchange.driver import CLOSETODAY
from tests.exchange.model.book import Ended, Entry, Outcome, Trade
from tests.exchange.model.venues import (
    ACCOUNTS_EACH,
    LOWER,
    REFERENCE,
    UPPER,
    USERS,
    MachineVenue,
    ModelVenue,
    Venue,
)

BUY, SELL = 1, -1
LIMIT, MARKET, BEST, FIVELEVEL = PriceType
GFD, IOC, GTC, GTD, GFS, GFA = TimeCondition
ANY, MIN, ALL = VolumeCondition


@pytest.fixture(params=[MachineVenue, ModelVenue], ids=["machine", "model"])
def venue(request: pytest.FixtureRequest) -> Venue:
    return request.param()


def ladder(venue: Venue, direction: int, *levels: tuple[int, int], user: int = 1) -> list[int]:
    """Resting limit orders at (price, volume); returns their ids."""
    return [venue.place(Entry(user, direction, volume, price)).order_id for price, volume in levels]


def test_the_better_price_trades_first_and_then_the_earlier_at_the_makers_price(venue: Venue) -> None:
    worse, first, second = ladder(venue, SELL, (102, 2), (101, 2), (101, 2))
    taken = venue.place(Entry(0, BUY, 5, 103))
    taker = taken.order_id
    assert taken.trades == [Trade(101, 2, first, taker), Trade(101, 2, second, taker), Trade(102, 1, worse, taker)]
    assert venue.depth(SELL) == [(102, 1, 1)]
    assert venue.shown(worse).state == OrderState.PARTIALLY_FILLED


def test_a_market_order_trades_up_to_the_price_limit_and_never_rests(venue: Venue) -> None:
    ladder(venue, SELL, (101, 1), (UPPER, 1))
    taken = venue.place(Entry(0, BUY, 5, 0, MARKET))
    assert [(t.price, t.volume) for t in taken.trades] == [(101, 1), (UPPER, 1)]
    assert taken.ended == [Ended(taken.order_id, 3, CancelReason.MARKET_REMAINDER)]
    assert venue.depth(BUY) == []


def test_best_takes_the_opposite_best_level_and_rests_at_its_price(venue: Venue) -> None:
    ladder(venue, SELL, (101, 1), (102, 1))
    taken = venue.place(Entry(0, BUY, 3, 0, BEST))
    assert [(t.price, t.volume) for t in taken.trades] == [(101, 1)]
    assert venue.depth(BUY) == [(101, 2, 1)]
    ioc = venue.place(Entry(2, BUY, 3, 0, BEST, IOC))
    assert [(t.price, t.volume) for t in ioc.trades] == [(102, 1)]
    assert ioc.ended == [Ended(ioc.order_id, 2, CancelReason.IOC_REMAINDER)]


@pytest.mark.parametrize("price_type", [BEST, FIVELEVEL])
def test_without_an_opposite_side_there_is_no_price_to_take(venue: Venue, price_type: PriceType) -> None:
    ladder(venue, BUY, (99, 1))
    alone = venue.place(Entry(0, BUY, 3, 0, price_type))
    assert alone.ended == [Ended(alone.order_id, 3, CancelReason.NO_OPPOSITE)]


def test_five_levels_are_taken_and_the_rest_rests_at_the_last_fill(venue: Venue) -> None:
    ladder(venue, SELL, *((101 + n, 1) for n in range(7)))
    taken = venue.place(Entry(0, BUY, 8, 0, FIVELEVEL))
    assert [t.price for t in taken.trades] == [101, 102, 103, 104, 105]
    assert venue.depth(BUY) == [(105, 3, 1)]
    assert venue.depth(SELL) == [(106, 1, 1), (107, 1, 1)]


def test_fill_or_kill_and_minimum_volume_trade_enough_or_nothing(venue: Venue) -> None:
    ladder(venue, SELL, (101, 2), (102, 2))
    killed = venue.place(Entry(0, BUY, 5, 102, LIMIT, IOC, ALL))
    assert (killed.trades, killed.ended[0].reason) == ([], CancelReason.FOK_UNFILLABLE)
    assert venue.place(Entry(0, BUY, 5, 101, min_volume=3, volume_condition=MIN)).trades == []
    assert len(venue.place(Entry(0, BUY, 4, 102, LIMIT, IOC, ALL)).trades) == 2


def test_fill_or_kill_does_not_count_what_self_trade_prevention_takes_away(venue: Venue) -> None:
    ladder(venue, SELL, (101, 2))
    (own,) = ladder(venue, SELL, (101, 2), user=0)
    ladder(venue, SELL, (102, 2))
    for mode in (SelfTrade.CANCEL_TAKER, SelfTrade.CANCEL_BOTH):
        killed = venue.place(Entry(0, BUY, 3, 102, LIMIT, IOC, ALL, self_trade=mode))
        assert killed.ended == [Ended(killed.order_id, 3, CancelReason.FOK_UNFILLABLE)]
    filled = venue.place(Entry(0, BUY, 4, 102, LIMIT, IOC, ALL, self_trade=SelfTrade.CANCEL_MAKER))
    assert [(t.price, t.volume) for t in filled.trades] == [(101, 2), (102, 2)]
    assert filled.ended == [Ended(own, 2, CancelReason.SELF_TRADE)]


def test_self_trade_prevention_follows_the_mode_of_the_taker(venue: Venue) -> None:
    (strange,) = ladder(venue, SELL, (101, 1))
    own, _ = ladder(venue, SELL, (101, 1), (102, 1), user=0)
    refused = venue.place(Entry(0, BUY, 2, 101, self_trade=SelfTrade.REJECT))
    assert refused.code == rejects.SELF_TRADE.code
    assert venue.place(Entry(0, BUY, 1, 101, LIMIT, IOC, self_trade=SelfTrade.REJECT)).trades[0].maker == strange
    ladder(venue, SELL, (101, 5))
    both = venue.place(Entry(0, BUY, 2, 101, self_trade=SelfTrade.CANCEL_BOTH, account=1))
    assert sorted(both.ended) == [
        Ended(own, 1, CancelReason.SELF_TRADE),
        Ended(both.order_id, 2, CancelReason.SELF_TRADE),
    ]
    assert both.trades == []


def test_a_post_only_order_that_would_match_is_cancelled(venue: Venue) -> None:
    ladder(venue, SELL, (101, 1))
    crossing = venue.place(Entry(0, BUY, 1, 101, post_only=True))
    assert crossing.ended == [Ended(crossing.order_id, 1, CancelReason.POST_ONLY_WOULD_MATCH)]
    resting = venue.place(Entry(0, BUY, 1, 100, post_only=True)).order_id
    assert venue.modify(resting, 101).code == rejects.ORDER_NOT_MODIFIABLE.code


def test_less_volume_keeps_priority_and_a_new_price_or_more_volume_loses_it(venue: Venue) -> None:
    less, more, moved, still = ladder(venue, SELL, (101, 2), (101, 2), (101, 2), (101, 2))
    venue.modify(less, volume=1)
    venue.modify(more, volume=3)
    venue.modify(moved, price=102)
    venue.modify(moved, price=101)
    taken = venue.place(Entry(0, BUY, 8, 101))
    assert [t.maker for t in taken.trades] == [less, still, more, moved]


def test_a_modified_order_takes_what_its_new_price_crosses(venue: Venue) -> None:
    (resting,) = ladder(venue, SELL, (101, 2))
    order = venue.place(Entry(0, BUY, 3, 99)).order_id
    assert venue.modify(order, price=101).trades == [Trade(101, 2, resting, order)]
    assert venue.depth(BUY) == [(101, 1, 1)]
    assert venue.modify(order, volume=2).code == rejects.ORDER_NOT_MODIFIABLE.code
    assert venue.modify(order, volume=4).code == 0
    assert venue.shown(order) == (OrderState.PARTIALLY_FILLED, 0, 101, 4, 2)


def test_an_order_for_this_session_ends_when_continuous_trading_does(venue: Venue) -> None:
    session = venue.place(Entry(0, BUY, 1, 100, time_condition=GFS)).order_id
    day = venue.place(Entry(0, BUY, 1, 100)).order_id
    assert venue.call_auction().ended == [Ended(session, 1, CancelReason.SESSION_END)]
    assert (venue.shown(session).state, venue.shown(day).state) == (OrderState.EXPIRED, OrderState.ACCEPTED)


# Random streams


class Modify(NamedTuple):
    pick: int
    price: int
    volume: int


class Cancel(NamedTuple):
    pick: int


class CancelAll(NamedTuple):
    user: int
    account: int


class ToggleAuction(NamedTuple):
    pass


Step = Entry | Modify | Cancel | CancelAll | ToggleAuction


def random_entry(rng: random.Random, *, auction: bool = False) -> Entry:
    """A well-formed order of any kind; in an auction mostly one that it accepts."""
    price_type = rng.choice((LIMIT, LIMIT, LIMIT, LIMIT, MARKET, BEST, FIVELEVEL))
    condition = rng.choice((ANY, ANY, ANY, MIN, ALL))
    if auction and rng.randint(0, 9):
        price_type, condition = LIMIT, ANY
    times = [GFD, IOC]
    if price_type == LIMIT:
        times += [GTC, GTD, GFS] if condition != ANY else [GTC, GTD, GFS, GFA, GFD, GFD]
    time_condition = IOC if condition == ALL else rng.choice(times)
    volume = rng.randint(1, 8)
    may_post = price_type == LIMIT and condition == ANY and time_condition not in (IOC, GFA)
    return Entry(
        user=rng.randint(0, USERS - 1),
        direction=rng.choice((BUY, SELL)),
        volume=volume,
        price=random_price(rng) if price_type == LIMIT else 0,
        price_type=price_type,
        time_condition=time_condition,
        volume_condition=condition,
        min_volume=rng.randint(1, volume) if condition == MIN else 0,
        post_only=may_post and rng.randint(0, 7) == 7,
        self_trade=rng.choice(tuple(SelfTrade)),
        late=rng.randint(0, 40) == 40,
        account=rng.randint(0, ACCOUNTS_EACH - 1),
    )


def random_price(rng: random.Random) -> int:
    return REFERENCE + rng.randint(-4, 4) if rng.randint(0, 9) else rng.randint(LOWER, UPPER)


def random_step(rng: random.Random, *, auction: bool = False) -> Step:
    draw = rng.randint(0, 99)
    if draw < 70:
        return random_entry(rng, auction=auction)
    if draw < 90:
        price = random_price(rng) if rng.randint(0, 1) else 0
        return Modify(rng.randint(0, 63), price, rng.randint(1, 10) if rng.randint(0, 1) else 0)
    if draw < 99:
        return Cancel(rng.randint(0, 63))
    return CancelAll(rng.randint(0, USERS - 1), rng.randint(0, ACCOUNTS_EACH - 1))


# A generator of random steps serves twice: drawn by hypothesis, which shrinks what fails, and seeded, for long streams.
SHRINKING = st.randoms(use_true_random=False)
STEPS = st.builds(random_step, SHRINKING)


def step_both(step: Step, machine: MachineVenue, model: ModelVenue, excuses: tuple[rejects.Reject, ...] = ()) -> None:
    """One command through both books; everything that it did must be the same.

    The model knows no money: what the machine refuses for one of the `excuses` it is not told.
    """
    if isinstance(step, ToggleAuction):
        if not model.book.in_auction:
            assert machine.call_auction().told() == model.call_auction().told()
            return
        (found, did), (expected, must) = machine.open_continuous(), model.open_continuous()
        assert (found, did.told()) == (expected, must.told())
        return
    act = action(step, list(model.book.orders))
    if act is None:
        return
    did = act(machine)
    if did.code in [reject.code for reject in excuses]:
        return
    must = act(model)
    assert did.told() == must.told(), step
    if model.book.in_auction:
        assert machine.indication() == model.indication(), step


def action(step: Step, known: list[int]) -> Callable[[Venue], Outcome] | None:
    """What a step asks of a book, whichever it is; None if there is no order yet that it could name."""
    if isinstance(step, Entry):
        return lambda venue: venue.place(step)
    if isinstance(step, CancelAll):
        return lambda venue: venue.cancel_all(step.user, step.account)
    if not known:
        return None
    order_id = known[-1 - step.pick % len(known)]
    if isinstance(step, Modify):
        return lambda venue: venue.modify(order_id, step.price, step.volume)
    return lambda venue: venue.cancel(order_id)


def same_orders(machine: MachineVenue, model: ModelVenue) -> None:
    for direction in (BUY, SELL):
        assert machine.depth(direction) == model.depth(direction)
    for order_id in model.book.orders:
        shown, expected = machine.shown(order_id), model.shown(order_id)
        if expected.state > OrderState.PARTIALLY_FILLED:
            expected = expected._replace(price=shown.price)
        assert shown == expected, order_id


def same_books(machine: MachineVenue, model: ModelVenue) -> None:
    """Equal depth, equal orders; then somebody buys and sells everything, which tells the queues by their trades."""
    same_orders(machine, model)
    for direction in (BUY, SELL):
        for user in range(USERS):
            price = UPPER if direction > 0 else LOWER
            sweep = Entry(user, direction, 1_000, price, LIMIT, IOC, self_trade=SelfTrade.CANCEL_MAKER)
            assert machine.place(sweep).told() == model.place(sweep).told()


@settings(max_examples=100, deadline=None)
@given(steps=st.lists(STEPS, min_size=30, max_size=60))
def test_both_books_agree_on_every_stream_of_continuous_trading(steps: list[Step]) -> None:
    machine, model = MachineVenue(), ModelVenue()
    for step in steps:
        step_both(step, machine, model)
    same_books(machine, model)


@pytest.mark.parametrize("seed", range(4))
def test_both_books_agree_on_long_streams_with_auctions(seed: int) -> None:
    rng = random.Random(seed)
    rule = AuctionRule(seed % 2)
    machine, model = MachineVenue(rule), ModelVenue(rule)
    for _ in range(1_500):
        if rng.randint(0, 49) == 0:
            step_both(ToggleAuction(), machine, model)
        step_both(random_step(rng, auction=model.book.in_auction), machine, model)
    if model.book.in_auction:
        step_both(ToggleAuction(), machine, model)
    reached = {order.reason for order in model.book.orders.values()}
    assert reached >= set(range(10)) | {CancelReason.AUCTION_END}
    ended = {OrderState.FILLED, OrderState.CANCELLED, OrderState.EXPIRED}
    assert {order.state for order in model.book.orders.values()} >= ended
    same_books(machine, model)


@pytest.mark.parametrize("seed", range(4))
def test_both_books_agree_where_funds_and_positions_refuse(seed: int) -> None:
    """Poor accounts that open and close: what is accepted trades as the model says, whatever else was refused."""
    excuses = (rejects.INSUFFICIENT_FUNDS, rejects.INSUFFICIENT_POSITION, rejects.RISK_RATIO_TOO_HIGH)
    rng = random.Random(seed)
    machine, model = MachineVenue(cash=2_000), ModelVenue()
    refused = closed = 0
    for _ in range(1_000):
        if rng.randint(0, 49) == 0:
            step_both(ToggleAuction(), machine, model)
        step = random_step(rng, auction=model.book.in_auction)
        if isinstance(step, Entry) and rng.randint(0, 2) == 0:
            step = step._replace(offset=CLOSETODAY)
        before = len(model.book.orders)
        step_both(step, machine, model, excuses)
        accepted = len(model.book.orders) - before
        refused += isinstance(step, Entry) and not accepted
        closed += isinstance(step, Entry) and step.offset == CLOSETODAY and accepted
    assert refused > 100
    assert closed > 20
    same_orders(machine, model)
