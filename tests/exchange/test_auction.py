"""The call auction: its price against trying every tick, its matching, its indications."""

from __future__ import annotations

from bisect import insort

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from node.exchange import commands, rejects
from node.exchange.auction import clearing_price
from node.exchange.book import Book, Level
from node.exchange.events import (
    AuctionIndicated,
    AuctionMatched,
    InstrumentStatusChanged,
    OrderCancelled,
    TradeExecuted,
)
from node.exchange.queries import account_figures
from node.exchange.types import AuctionRule, CancelReason, InstrumentStatus, OrderState, SelfTrade, TimeCondition
from tests.exchange.driver import BUY, CLOSETODAY, OPEN, SELL, YUAN, Driver, code, copper, trades

NEAREST, MIDDLE = int(AuctionRule.NEAREST_REFERENCE), int(AuctionRule.MIDDLE)
GFA, GTC = int(TimeCondition.GFA), int(TimeCondition.GTC)
LOWER, UPPER = 80, 120
CU = "SHFE.cu2701"

Lots = dict[int, int]  # price -> lots


def book_of(bids: Lots, asks: Lots) -> Book:
    book = Book()
    for side, lots in ((book.bids, bids), (book.asks, asks)):
        for price, volume in lots.items():
            key = side.direction * price
            level = side.levels[key] = Level(side, key, price)
            level.volume = volume
            insort(side.keys, key)
    return book


def try_every_tick(bids: Lots, asks: Lots, rule: int, reference: int) -> tuple[int, int, int]:
    """domain.md 4 word for word: over all ticks inside the limits, then the three rules and the tie."""
    candidates = []
    for price in range(LOWER, UPPER + 1):
        bought = sum(lots for at, lots in bids.items() if at >= price)
        sold = sum(lots for at, lots in asks.items() if at <= price)
        volume = min(bought, sold)
        better_bids = sum(lots for at, lots in bids.items() if at > price)
        better_asks = sum(lots for at, lots in asks.items() if at < price)
        if volume and better_bids <= volume and better_asks <= volume:
            candidates.append((price, volume, bought - sold))
    if not candidates:
        return 0, 0, 0
    most = max(volume for _, volume, _ in candidates)
    candidates = [c for c in candidates if c[1] == most]
    least = min(abs(surplus) for _, _, surplus in candidates)
    candidates = [c for c in candidates if abs(c[2]) == least]
    if rule == MIDDLE:
        return candidates[len(candidates) // 2]
    nearest = min(abs(price - reference) for price, _, _ in candidates)
    return max(c for c in candidates if abs(c[0] - reference) == nearest)


prices = st.integers(LOWER, UPPER)
sides = st.dictionaries(prices, st.integers(1, 6), max_size=12)
close_prices = st.integers(97, 103)
close_sides = st.dictionaries(close_prices, st.integers(1, 3), max_size=7)


@given(sides | close_sides, sides | close_sides, st.sampled_from([NEAREST, MIDDLE]), prices)
@example({101: 5, 100: 10}, {99: 4, 100: 6, 102: 5}, NEAREST, 99)
@example({101: 3, 100: 2}, {100: 3, 101: 2}, NEAREST, 90)  # two neighbouring ticks, equal imbalances of either sign
@example({UPPER: 1}, {LOWER: 1}, MIDDLE, 100)
def test_the_price_is_that_of_trying_every_tick(bids: Lots, asks: Lots, rule: int, reference: int) -> None:
    assert clearing_price(book_of(bids, asks), rule, reference) == try_every_tick(bids, asks, rule, reference)


@pytest.mark.parametrize(
    ("bids", "asks", "reference", "expected"),
    [
        ({101: 5, 100: 10}, {99: 4, 100: 6, 102: 5}, 99, (100, 10, 5)),  # domain.md 9, example 4
        ({100: 5}, {101: 5}, 99, (0, 0, 0)),  # nothing crosses
        ({100: 5}, {}, 99, (0, 0, 0)),
        ({105: 5}, {95: 5}, 99, (99, 5, 0)),  # the reference itself, where nobody has an order
        ({105: 5}, {95: 5}, 110, (105, 5, 0)),  # the nearest there is
        ({105: 5}, {95: 5}, 80, (95, 5, 0)),
        ({105: 5}, {95: 8}, 80, (95, 5, -3)),  # more is sold: three lots stay at 95
        ({105: 8}, {95: 5}, 80, (105, 5, 3)),  # more is bought: the price is where only three lots stay
        ({101: 3, 100: 2}, {100: 3, 101: 2}, 90, (100, 3, 2)),  # equal imbalances at 100 and 101
        ({101: 3, 100: 2}, {100: 3, 101: 2}, 110, (101, 3, -2)),
        ({101: 3, 100: 1}, {100: 3, 101: 2}, 110, (100, 3, 1)),  # the smaller imbalance wins over the reference
    ],
)
def test_volume_then_imbalance_then_the_reference(
    bids: Lots, asks: Lots, reference: int, expected: tuple[int, int, int]
) -> None:
    assert clearing_price(book_of(bids, asks), NEAREST, reference) == expected


@pytest.mark.parametrize(("best_bid", "expected"), [(99, 97), (100, 98), (101, 98), (102, 99)])
def test_the_middle_of_the_remaining_prices_is_the_upper_of_two(best_bid: int, expected: int) -> None:
    assert clearing_price(book_of({best_bid: 5}, {95: 5}), MIDDLE, 200) == (expected, 5, 0)


class Auction(Driver):
    """Copper held in an auction, reference 99 ticks; every tick is worth 50 yuan a lot."""

    def __init__(self, **terms: object) -> None:
        super().__init__(
            copper(pre_settlement_ticks=99, limit_up_rate=500_000_000, limit_down_rate=500_000_000, **terms)
        )
        self.set_status(InstrumentStatus.AUCTION)

    def set_status(self, status: InstrumentStatus) -> list[object]:
        return list(self.do(commands.SetInstrumentStatus(CU, int(status), "a test")))

    def open(self) -> list[object]:
        """End the auction; what happened after the answer."""
        answer, *effects = self.set_status(InstrumentStatus.ACTIVE)
        assert isinstance(answer, InstrumentStatusChanged)
        return effects

    def resting(self) -> list[tuple[int, int, int]]:
        """(direction, price, lots) of the book, best first."""
        book = self.machine.instruments[CU].book
        return [(d, price, lots) for d in (1, -1) for price, lots, _ in book.depth(d, 100)]


def test_the_fourth_worked_example_to_the_lot() -> None:
    exchange = Auction()
    buyer, seller = exchange.account(), exchange.account()
    for direction, volume, price in ((BUY, 5, 101), (BUY, 10, 100), (SELL, 4, 99), (SELL, 6, 100), (SELL, 5, 102)):
        events = exchange.place(buyer if direction == BUY else seller, direction, volume, price)
        assert trades(events) == []
    effects = exchange.open()
    assert effects[0] == AuctionMatched(CU, 100, 10)
    assert trades(effects) == [(100, 4), (100, 1), (100, 5)]
    assert exchange.resting() == [(1, 100, 5), (-1, 102, 5)]
    bought = {e.buy_order_id: e.volume for e in effects if isinstance(e, TradeExecuted)}
    assert list(bought) == [1, 2]  # 5@101 in full, 5 of the 10@100
    instrument = exchange.machine.instruments[CU]
    assert (instrument.last_ticks, instrument.day_volume, instrument.open_interest) == (100, 10, 10)
    assert (instrument.day_open_ticks, instrument.day_high_ticks, instrument.day_low_ticks) == (100, 100, 100)
    assert account_figures(exchange.machine.accounts[buyer]).commission == 10 * 175_000


def test_every_order_and_cancel_is_followed_by_where_the_auction_would_match_now() -> None:
    exchange = Auction()
    buyer, seller = exchange.account(), exchange.account()
    first = exchange.place(buyer, BUY, 5, 101)
    assert first[1:] == [AuctionIndicated(CU, 0, 0, 0)]  # nowhere yet
    assert exchange.place(seller, SELL, 4, 99)[1:] == [AuctionIndicated(CU, 101, 4, 1)]
    assert exchange.place(buyer, BUY, 10, 100)[1:] == [AuctionIndicated(CU, 101, 4, 1)]  # where it did
    assert exchange.place(seller, SELL, 6, 100)[1:] == [AuctionIndicated(CU, 100, 10, 5)]
    modified = exchange.do(commands.ModifyOrder(buyer, 3, volume=5))
    assert modified[1:] == [AuctionIndicated(CU, 100, 10, 0)]
    cancelled = exchange.do(commands.CancelOrder(buyer, 1))
    assert cancelled[1:] == [AuctionIndicated(CU, 100, 5, -5)]
    everything = exchange.do(commands.CancelAll(seller))
    assert everything[-1] == AuctionIndicated(CU, 0, 0, 0)


def test_at_the_price_the_earlier_order_trades_first_on_both_sides() -> None:
    exchange = Auction()
    buyer, seller = exchange.account(), exchange.account()
    early = exchange.order_id(exchange.place(buyer, BUY, 3, 100))
    late = exchange.order_id(exchange.place(buyer, BUY, 3, 100))
    exchange.place(seller, SELL, 4, 100)
    exchange.open()
    orders = exchange.machine.orders
    assert (orders[early].left, orders[late].left) == (0, 2)
    assert orders[late].state == OrderState.PARTIALLY_FILLED
    more = exchange.place(seller, SELL, 1, 100)
    assert more[1].buy_order_id == late  # it kept its time into continuous trading


def test_the_side_of_the_later_order_takes_and_trade_ids_go_on() -> None:
    exchange = Auction()
    buyer, seller = exchange.account(), exchange.account()
    exchange.place(buyer, BUY, 2, 100)
    exchange.place(seller, SELL, 5, 100)
    exchange.place(buyer, BUY, 3, 100)
    matched = [e for e in exchange.open() if isinstance(e, TradeExecuted)]
    assert [(e.trade_id, e.taker_direction) for e in matched] == [(1, SELL), (2, BUY)]


def test_a_better_price_than_the_limit_gives_back_the_whole_reservation() -> None:
    exchange = Auction(
        margin_long_rate=100_000_000, margin_long_amount=0, margin_short_rate=100_000_000, margin_short_amount=0
    )
    buyer, seller = exchange.account(), exchange.account()
    exchange.place(buyer, BUY, 2, 120)
    exchange.place(seller, SELL, 2, 99)
    exchange.open()
    for trader in (buyer, seller):
        figures = account_figures(exchange.machine.accounts[trader])
        assert (figures.frozen_margin, figures.frozen_commission) == (0, 0)
        assert figures.margin == 2 * 99 * 50 * YUAN // 10  # at the price of the trade: the nearest to 99 of 99 to 120


def test_closing_in_an_auction_realises_its_profit() -> None:
    exchange = Driver(copper(pre_settlement_ticks=100, limit_up_rate=500_000_000, limit_down_rate=500_000_000))
    long, short, other = exchange.account(), exchange.account(), exchange.account()
    exchange.place(long, BUY, 2, 100)
    exchange.place(short, SELL, 2, 100)
    exchange.do(commands.SetInstrumentStatus(CU, int(InstrumentStatus.AUCTION)))
    exchange.place(long, SELL, 2, 105, offset=CLOSETODAY)
    exchange.place(other, BUY, 2, 105, offset=OPEN)
    effects = exchange.do(commands.SetInstrumentStatus(CU, int(InstrumentStatus.ACTIVE)))
    assert trades(effects) == [(105, 2)]
    assert account_figures(exchange.machine.accounts[long]).close_profit == 2 * 5 * 50 * YUAN
    assert exchange.machine.instruments[CU].open_interest == 2


def test_what_is_left_of_an_auction_only_order_expires_with_it() -> None:
    exchange = Auction()
    buyer, seller = exchange.account(), exchange.account()
    partly = exchange.order_id(exchange.place(buyer, BUY, 5, 100, time_condition=GFA))
    never = exchange.order_id(exchange.place(seller, SELL, 1, 130, time_condition=GFA))
    stays = exchange.order_id(exchange.place(seller, SELL, 2, 100))
    also = exchange.order_id(exchange.place(seller, SELL, 1, 131, time_condition=GTC))
    effects = exchange.open()
    ended = [(e.order_id, e.volume_left, e.reason) for e in effects if isinstance(e, OrderCancelled)]
    assert ended == [(partly, 3, CancelReason.AUCTION_END), (never, 1, CancelReason.AUCTION_END)]
    orders = exchange.machine.orders
    assert orders[partly].state == orders[never].state == OrderState.EXPIRED
    assert orders[stays].state == OrderState.FILLED
    assert orders[also].alive


def test_an_auction_in_which_nothing_crosses_matches_nothing_and_says_so() -> None:
    exchange = Auction()
    exchange.place(exchange.account(), BUY, 5, 100)
    assert exchange.open() == [AuctionMatched(CU, 0, 0)]


def test_an_auction_only_order_is_refused_outside_an_auction() -> None:
    exchange = Auction()
    trader = exchange.account()
    exchange.open()
    assert code(exchange.place(trader, BUY, 1, 100, time_condition=GFA)) == rejects.AUCTION_ONLY.code


def test_a_crossed_book_that_a_halt_left_behind_is_matched_before_trading_goes_on() -> None:
    exchange = Auction()
    buyer, seller = exchange.account(), exchange.account()
    exchange.place(buyer, BUY, 5, 101)
    exchange.place(seller, SELL, 3, 99)
    assert AuctionIndicated(CU, 0, 0, 0) in exchange.set_status(InstrumentStatus.SUSPENDED)
    assert exchange.resting() == [(1, 101, 5), (-1, 99, 3)]  # crossed, and nothing trades
    effects = exchange.open()
    assert effects[0] == AuctionMatched(CU, 101, 3)
    assert trades(effects) == [(101, 3)]
    assert exchange.resting() == [(1, 101, 2)]


def test_an_order_of_a_halted_auction_does_not_outlive_it_into_trading() -> None:
    exchange = Auction()
    order = exchange.order_id(exchange.place(exchange.account(), BUY, 5, 101, time_condition=GFA))
    exchange.set_status(InstrumentStatus.SUSPENDED)
    assert exchange.machine.orders[order].alive
    exchange.open()
    assert exchange.machine.orders[order].cancel_reason == CancelReason.AUCTION_END


def test_the_indication_comes_back_with_the_auction() -> None:
    exchange = Auction()
    exchange.place(exchange.account(), BUY, 5, 101)
    exchange.place(exchange.account(), SELL, 3, 99)
    exchange.set_status(InstrumentStatus.SUSPENDED)
    assert exchange.set_status(InstrumentStatus.AUCTION)[1:] == [AuctionIndicated(CU, 101, 3, 2)]


orders = st.lists(
    st.tuples(
        st.sampled_from([BUY, SELL]), st.integers(1, 5), st.integers(94, 104), st.sampled_from([0, GTC, GFA]),
        st.sampled_from(list(SelfTrade)), st.integers(0, 3),
    ),
    max_size=20,
)  # fmt: skip


@given(orders, st.sampled_from([NEAREST, MIDDLE]))
def test_a_whole_auction_trades_what_every_tick_says_and_leaves_an_uncrossed_book(
    entered: list[tuple[int, int, int, int, SelfTrade, int]], rule: int
) -> None:
    exchange = Auction(auction_rule=rule)
    first = exchange.account()
    same_user = exchange.account(user=exchange.machine.accounts[first].user.user_id)
    traders = [first, same_user, exchange.account(), exchange.account()]
    for direction, volume, price, condition, self_trade, trader in entered:
        exchange.place(traders[trader], direction, volume, price, time_condition=condition, self_trade=int(self_trade))
    live = [o for o in exchange.machine.orders.values() if o.alive]
    held: dict[int, Lots] = {BUY: {}, SELL: {}}
    for order in live:
        lots = held[order.direction]
        lots[order.price_ticks] = lots.get(order.price_ticks, 0) + order.left
    price, volume, _ = try_every_tick(held[BUY], held[SELL], rule, 99)
    before = {order.order_id: order.left for order in live}
    effects = exchange.open()
    assert effects[0] == AuctionMatched(CU, price, volume)
    assert sum(lots for _, lots in trades(effects)) == volume
    assert all(at == price for at, _ in trades(effects))
    for direction in (BUY, SELL):  # each side by price, then time
        queue = sorted(
            (o for o in live if o.direction == direction), key=lambda o: (-direction * o.price_ticks, o.order_id)
        )
        left = volume
        for order in queue:
            filled = min(left, before[order.order_id])
            left -= filled
            assert before[order.order_id] - order.left == filled
    assert not any(o.alive and o.time_condition == GFA for o in live)
    for trade in (e for e in effects if isinstance(e, TradeExecuted)):
        accounts = exchange.machine.accounts
        assert accounts[trade.buy_account_id].user is not accounts[trade.sell_account_id].user
