"""Price types, time conditions and volume conditions, and what contradicts (domain.md 3)."""

from __future__ import annotations

import pytest

from node.exchange import commands, rejects, risk
from node.exchange.events import Event, OrderAccepted, OrderCancelled, TradeExecuted
from node.exchange.rejects import Refused
from node.exchange.types import (
    CancelReason,
    InstrumentStatus,
    OrderState,
    Phase,
    PriceType,
    SelfTrade,
    TimeCondition,
)
from tests.exchange.driver import (
    ALL,
    BUY,
    CLOSETODAY,
    GFD,
    IOC,
    MIN,
    SELL,
    Driver,
    copper,
    index_future,
    trades,
)
from tests.exchange.refusals import refused

LIMIT, MARKET, BEST, FIVELEVEL = PriceType
GTC, GTD, GFS, GFA = TimeCondition.GTC, TimeCondition.GTD, TimeCondition.GFS, TimeCondition.GFA
CU = "SHFE.cu2701"
IF = "CFFEX.IF2701"
FAR_DAY = 2099_12_31


@pytest.fixture
def exchange() -> Driver:
    return Driver(copper(), index_future())


def order(account_id: str, direction: int = BUY, volume: int = 3, **fields: object) -> commands.PlaceOrder:
    """A limit order of copper at 7 000, with these fields changed."""
    terms: dict[str, object] = {
        "account_id": account_id,
        "instrument_id": CU,
        "direction": direction,
        "offset": 0,
        "volume": volume,
        "price_type": LIMIT,
        "price_ticks": 0 if fields.get("price_type") else 7_000,
    }
    return commands.PlaceOrder(**(terms | fields))  # type: ignore[arg-type]


def asks(exchange: Driver, *levels: tuple[int, int], direction: int = SELL) -> str:
    """An account with resting orders at (price, lots)."""
    maker = exchange.account()
    for price, lots in levels:
        exchange.place(maker, direction, lots, price)
    return maker


def ended(events: list[Event]) -> tuple[int, int]:
    """(lots left, reason) of the last cancellation of a command."""
    last = [event for event in events if isinstance(event, OrderCancelled)][-1]
    return last.volume_left, last.reason


def entered(exchange: Driver, events: list[Event]) -> tuple[int, int, int]:
    """(state, price, left) of the order that a command entered."""
    seen = exchange.machine.orders[exchange.order_id(events)]
    return seen.state, seen.price_ticks, seen.left


# MARKET


@pytest.mark.parametrize("condition", [{}, *({"time_condition": c} for c in (IOC, GTC, GFS))])
def test_a_market_order_trades_up_to_the_price_limit_and_never_rests(
    exchange: Driver, condition: dict[str, int]
) -> None:
    asks(exchange, (7_000, 1), (7_700, 1))  # 7 700 is the upper limit
    taker = exchange.account()
    events = exchange.do(order(taker, volume=5, price_type=MARKET, **condition))
    assert trades(events) == [(7_000, 1), (7_700, 1)]
    assert ended(events) == (3, CancelReason.MARKET_REMAINDER)
    assert exchange.machine.instruments[CU].book.depth(BUY, 5) == []
    assert exchange.machine.accounts[taker].frozen_margin == exchange.machine.accounts[taker].frozen_fee == 0


def test_a_market_order_with_a_day_ends_like_any_other(exchange: Driver) -> None:
    events = exchange.do(order(exchange.account(), price_type=MARKET, time_condition=GTD, gtd_day=FAR_DAY))
    assert ended(events) == (3, CancelReason.MARKET_REMAINDER)


def test_a_market_sell_trades_down_to_the_lower_limit(exchange: Driver) -> None:
    asks(exchange, (7_000, 1), (6_300, 2), direction=BUY)
    events = exchange.do(order(exchange.account(), SELL, price_type=MARKET))
    assert trades(events) == [(7_000, 1), (6_300, 2)]
    assert entered(exchange, events) == (OrderState.FILLED, 6_300, 0)


def test_a_market_buy_needs_the_funds_of_the_price_limit(exchange: Driver) -> None:
    """At 20 900 ticks (4 180.0) one IF lot takes 150 480 of margin and 28.842 of fee."""
    exchange.place(exchange.account(), SELL, 1, 19_000, instrument=IF)
    poor, rich = exchange.account(150_508.84), exchange.account(150_508.85)
    detail = refused(exchange, order(poor, volume=1, instrument_id=IF, price_type=MARKET), rejects.INSUFFICIENT_FUNDS)
    assert "1505088400" in detail
    assert trades(exchange.do(order(rich, volume=1, instrument_id=IF, price_type=MARKET))) == [(19_000, 1)]


def test_a_market_order_may_close(exchange: Driver) -> None:
    maker = asks(exchange, (7_000, 2))
    trader = exchange.account()
    exchange.do(order(trader, volume=2))
    exchange.place(maker, BUY, 1, 6_990)
    events = exchange.do(order(trader, SELL, 2, offset=CLOSETODAY, price_type=MARKET))
    assert trades(events) == [(6_990, 1)]
    side = exchange.machine.accounts[trader].positions[CU].long
    assert (side.today, side.frozen_today) == (1, 0)


def test_the_answer_shows_the_price_as_it_was_entered(exchange: Driver) -> None:
    answer = exchange.do(order(exchange.account(), price_type=MARKET))[0]
    assert isinstance(answer, OrderAccepted)
    assert (answer.price_type, answer.price_ticks) == (MARKET, 0)


# BEST and FIVELEVEL


def test_a_best_order_takes_one_level_and_rests_at_its_price(exchange: Driver) -> None:
    asks(exchange, (7_000, 1), (7_001, 5))
    events = exchange.do(order(exchange.account(), price_type=BEST))
    assert trades(events) == [(7_000, 1)]
    assert entered(exchange, events) == (OrderState.PARTIALLY_FILLED, 7_000, 2)
    assert exchange.machine.instruments[CU].book.depth(BUY, 5) == [(7_000, 2, 1)]


def test_an_ioc_best_order_cancels_what_the_best_level_does_not_give(exchange: Driver) -> None:
    asks(exchange, (7_000, 1), (7_001, 5))
    events = exchange.do(order(exchange.account(), price_type=BEST, time_condition=IOC))
    assert trades(events) == [(7_000, 1)]
    assert ended(events) == (2, CancelReason.IOC_REMAINDER)


@pytest.mark.parametrize("price_type", [BEST, FIVELEVEL])
@pytest.mark.parametrize("condition", [{}, {"time_condition": IOC}, {"volume_condition": MIN, "min_volume": 1}])
def test_without_an_opposite_side_there_is_no_price_and_the_order_ends(
    exchange: Driver, price_type: int, condition: dict[str, int]
) -> None:
    trader = asks(exchange, (6_990, 4), direction=BUY)
    before = exchange.machine.accounts[trader].available()
    events = exchange.do(order(trader, price_type=price_type, **condition))
    assert ended(events) == (3, CancelReason.NO_OPPOSITE)
    assert entered(exchange, events) == (OrderState.CANCELLED, 0, 3)
    assert exchange.machine.accounts[trader].available() == before


FIVE = tuple((7_000 + 2 * n, 1) for n in range(7))


def test_a_fivelevel_order_takes_five_levels_and_rests_at_its_last_fill(exchange: Driver) -> None:
    asks(exchange, *FIVE)
    events = exchange.do(order(exchange.account(), volume=8, price_type=FIVELEVEL))
    assert trades(events) == list(FIVE[:5])
    assert entered(exchange, events) == (OrderState.PARTIALLY_FILLED, 7_008, 3)
    assert exchange.machine.instruments[CU].book.depth(BUY, 5) == [(7_008, 3, 1)]


def test_an_ioc_fivelevel_order_cancels_what_five_levels_do_not_give(exchange: Driver) -> None:
    asks(exchange, *FIVE)
    events = exchange.do(order(exchange.account(), volume=8, price_type=FIVELEVEL, time_condition=IOC))
    assert ended(events) == (3, CancelReason.IOC_REMAINDER)


def test_a_fivelevel_sell_reserves_at_the_price_at_which_it_comes_to_rest(exchange: Driver) -> None:
    """Its limit is the fifth bid, 18 600; two levels fill by what is left of them, and it rests at the second."""
    maker = exchange.account()
    for price, lots in ((19_000, 1), (18_900, 1), (18_800, 1), (18_700, 1), (18_600, 1)):
        exchange.place(maker, BUY, lots, price, instrument=IF)
    seller = exchange.account()
    own = exchange.account(user=exchange.machine.accounts[seller].user.user_id)
    exchange.do(commands.CancelAll(maker))
    exchange.place(maker, BUY, 1, 19_000, instrument=IF)
    exchange.place(maker, BUY, 1, 18_900, instrument=IF)
    exchange.place(own, BUY, 1, 18_600, instrument=IF)
    command = order(seller, SELL, 4, instrument_id=IF, price_type=FIVELEVEL, self_trade=int(SelfTrade.CANCEL_MAKER))
    events = exchange.do(command)
    assert trades(events) == [(19_000, 1), (18_900, 1)]
    assert entered(exchange, events) == (OrderState.PARTIALLY_FILLED, 18_900, 2)
    # 2 lots at 18 900 ticks (3 780.0): turnover 2 268 000, margin 272 160, fee 52.164
    account = exchange.machine.accounts[seller]
    assert (account.frozen_margin, account.frozen_fee) == (2_721_600_000, 521_640)


@pytest.mark.parametrize("condition", [GFD, IOC])
def test_a_fivelevel_order_that_only_found_its_own_orders_has_no_price_to_rest_at(
    exchange: Driver, condition: int
) -> None:
    own = asks(exchange, (7_000, 1), (7_001, 1))
    command = order(own, price_type=FIVELEVEL, time_condition=condition, self_trade=int(SelfTrade.CANCEL_MAKER))
    left, reason = ended(exchange.do(command))
    assert (left, reason) == (3, CancelReason.NO_OPPOSITE if condition == GFD else CancelReason.IOC_REMAINDER)
    assert exchange.machine.accounts[own].frozen_margin == 0


@pytest.mark.parametrize("price_type", [BEST, FIVELEVEL])
def test_what_rests_of_an_order_without_a_price_is_modified_like_a_limit_order(
    exchange: Driver, price_type: int
) -> None:
    asks(exchange, (7_000, 1), (7_010, 1))
    taker = exchange.account()
    events = exchange.do(order(taker, volume=4, price_type=price_type))
    number = exchange.order_id(events)
    exchange.do(commands.ModifyOrder(taker, number, 7_020))
    assert exchange.machine.orders[number].price_ticks == 7_020
    assert exchange.machine.instruments[CU].book.depth(BUY, 5) == [(7_020, 2, 1)]


# Volume conditions


@pytest.mark.parametrize("price_type", list(PriceType))
@pytest.mark.parametrize(
    "condition",
    [
        {"volume_condition": ALL, "time_condition": IOC},
        {"volume_condition": MIN, "min_volume": 5, "time_condition": IOC},
        {"volume_condition": MIN, "min_volume": 5},
    ],
    ids=["FOK", "MIN IOC", "MIN GFD"],
)
def test_all_or_enough_or_nothing_at_every_price_type(
    exchange: Driver, price_type: int, condition: dict[str, int]
) -> None:
    maker = asks(exchange, (7_000, 4))
    taker = exchange.account()
    command = order(taker, volume=5, price_type=price_type, **condition)
    events = exchange.do(command)
    assert trades(events) == []
    reason = CancelReason.FOK_UNFILLABLE if "min_volume" not in condition else CancelReason.MIN_VOLUME_UNFILLABLE
    assert ended(events) == (5, reason)
    assert exchange.machine.instruments[CU].book.depth(SELL, 5) == [(7_000, 4, 1)]
    exchange.place(maker, SELL, 1, 7_000)
    assert trades(exchange.do(command)) == [(7_000, 4), (7_000, 1)]


@pytest.mark.parametrize("mode", [SelfTrade.CANCEL_TAKER, SelfTrade.CANCEL_BOTH])
def test_a_killed_order_touches_nobody_not_even_the_own_order_that_killed_it(exchange: Driver, mode: int) -> None:
    asks(exchange, (7_000, 2))
    own = asks(exchange, (7_000, 2))
    asks(exchange, (7_001, 9))
    second = exchange.account(user=exchange.machine.accounts[own].user.user_id)
    before = exchange.machine.instruments[CU].book.depth(SELL, 5)
    command = order(second, price_ticks=7_001, time_condition=IOC, volume_condition=ALL, self_trade=int(mode))
    assert ended(exchange.do(command)) == (3, CancelReason.FOK_UNFILLABLE)
    assert exchange.machine.instruments[CU].book.depth(SELL, 5) == before
    assert trades(exchange.do(order(second, volume=2, time_condition=IOC, volume_condition=ALL))) == [(7_000, 2)]


def test_fill_or_kill_trades_around_own_orders_in_mode_cancel_maker(exchange: Driver) -> None:
    own = asks(exchange, (7_000, 2))
    asks(exchange, (7_001, 3))
    command = order(
        own, price_ticks=7_001, time_condition=IOC, volume_condition=ALL, self_trade=int(SelfTrade.CANCEL_MAKER)
    )
    events = exchange.do(command)
    assert trades(events) == [(7_001, 3)]
    assert [e.reason for e in events if isinstance(e, OrderCancelled)] == [CancelReason.SELF_TRADE]


def test_after_its_minimum_an_order_that_meets_an_own_one_ends_by_its_mode(exchange: Driver) -> None:
    asks(exchange, (7_000, 2))
    own = asks(exchange, (7_001, 2))
    events = exchange.do(order(own, price_ticks=7_001, volume_condition=MIN, min_volume=2))
    assert trades(events) == [(7_000, 2)]
    assert ended(events) == (1, CancelReason.SELF_TRADE)


def test_an_own_order_on_the_same_side_is_no_reason_to_kill(exchange: Driver) -> None:
    asks(exchange, (7_000, 3))
    taker = asks(exchange, (6_900, 2), direction=BUY)
    assert trades(exchange.do(order(taker, time_condition=IOC, volume_condition=ALL))) == [(7_000, 3)]


def test_own_closing_orders_count_as_own(exchange: Driver) -> None:
    """Their lots are held on the other side of the position."""
    asks(exchange, (7_000, 2))
    trader = exchange.account()
    exchange.do(order(trader, volume=2))
    exchange.place(trader, SELL, 2, 7_010, offset=CLOSETODAY)
    command = order(trader, volume=2, price_ticks=7_010, time_condition=IOC, volume_condition=ALL)
    assert ended(exchange.do(command)) == (2, CancelReason.FOK_UNFILLABLE)
    refused(exchange, order(trader, price_ticks=7_010, self_trade=int(SelfTrade.REJECT)), rejects.SELF_TRADE)


# What contradicts


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"direction": 2}, "direction 2"),
        ({"offset": -1}, "offset -1"),
        ({"price_type": 4}, "price_type 4"),
        ({"price_type": -1}, "price_type -1"),
        ({"time_condition": 6}, "time_condition 6"),
        ({"time_condition": -1}, "time_condition -1"),
        ({"volume_condition": 3}, "volume_condition 3"),
        ({"volume_condition": -1}, "volume_condition -1"),
        ({"self_trade": 4}, "self_trade 4"),
        ({"deadline_ns": -1}, "deadline_ns -1"),
        ({"client_order_id": "x" * 65}, "client_order_id"),
        ({"price_type": MARKET, "price_ticks": 7_000}, "price 7000 ticks contradicts MARKET"),
        ({"price_type": BEST, "price_ticks": 7_000}, "price 7000 ticks contradicts BEST"),
        ({"price_type": FIVELEVEL, "price_ticks": -1}, "price -1 ticks contradicts FIVELEVEL"),
        ({"price_type": BEST, "time_condition": GTC}, "time_condition GTC contradicts price_type BEST"),
        ({"price_type": FIVELEVEL, "time_condition": GFS}, "time_condition GFS contradicts price_type FIVELEVEL"),
        (
            {"price_type": BEST, "time_condition": GTD, "gtd_day": FAR_DAY},
            "time_condition GTD contradicts price_type BEST",
        ),
        ({"price_type": MARKET, "time_condition": GFA}, "time_condition GFA contradicts price_type MARKET"),
        ({"price_type": MARKET, "post_only": True}, "post_only contradicts price_type MARKET"),
        ({"price_type": BEST, "post_only": True}, "post_only contradicts price_type BEST"),
        ({"post_only": True, "time_condition": IOC}, "post_only contradicts time_condition IOC"),
        ({"post_only": True, "time_condition": GFA}, "post_only contradicts time_condition GFA"),
        ({"post_only": True, "volume_condition": MIN, "min_volume": 1}, "post_only contradicts volume_condition MIN"),
        ({"volume_condition": ALL}, "volume_condition ALL needs time_condition IOC, not GFD"),
        ({"volume_condition": ALL, "time_condition": GTC}, "volume_condition ALL needs time_condition IOC, not GTC"),
        ({"volume_condition": MIN}, "min_volume 0"),
        ({"volume_condition": MIN, "min_volume": 4}, "min_volume 4"),
        ({"min_volume": 2}, "min_volume 2 needs volume_condition MIN"),
        ({"min_volume": 2, "volume_condition": ALL, "time_condition": IOC}, "min_volume 2"),
        ({"time_condition": GTD}, "gtd_day 0"),
        ({"time_condition": GTD, "gtd_day": 2027_02_29}, "gtd_day 20270229"),
        ({"time_condition": GTD, "gtd_day": -1}, "gtd_day -1"),
        ({"gtd_day": FAR_DAY}, f"gtd_day {FAR_DAY} needs time_condition GTD, not GFD"),
        ({"gtd_day": FAR_DAY, "time_condition": GTC}, f"gtd_day {FAR_DAY} needs time_condition GTD, not GTC"),
    ],
)
def test_a_contradiction_is_refused_naming_its_field_and_value(
    exchange: Driver, fields: dict[str, object], named: str
) -> None:
    command = order(exchange.account(), **fields)
    assert named in refused(exchange, command, rejects.BAD_ORDER_PARAMETERS)
    with pytest.raises(Refused, match=named):
        risk.check_format(command)  # the edge asks before the log, without a state


def test_only_a_plain_order_skips_the_questions_to_the_state() -> None:
    assert risk.check_format(order("ACC_00000001"))
    assert risk.check_format(order("ACC_00000001", time_condition=GTC))
    for fields in ({"price_type": MARKET}, {"time_condition": GFA}, {"time_condition": GTD, "gtd_day": FAR_DAY}):
        assert not risk.check_format(order("ACC_00000001", **fields))


# Time conditions


def test_a_gtd_day_before_the_trading_day_is_refused_and_the_trading_day_itself_is_not(exchange: Driver) -> None:
    trader = exchange.account()
    today = exchange.begin_day()
    detail = refused(exchange, order(trader, time_condition=GTD, gtd_day=today - 1), rejects.BAD_ORDER_PARAMETERS)
    assert f"gtd_day {today - 1} is before the trading day {today}" in detail
    events = exchange.do(order(trader, time_condition=GTD, gtd_day=today))
    assert exchange.machine.orders[exchange.order_id(events)].gtd_day == today


@pytest.mark.parametrize(
    ("condition", "reason"), [(GFD, CancelReason.DAY_END), (GFS, CancelReason.SESSION_END), (GTC, None)]
)
def test_an_order_whose_time_is_over_is_expired_and_not_cancelled(
    exchange: Driver, condition: int, reason: int | None
) -> None:
    trader = exchange.account()
    exchange.begin_day()
    number = exchange.order_id(exchange.do(order(trader, price_ticks=6_990, time_condition=condition)))
    exchange.settle()
    seen = exchange.machine.orders[number]
    assert (seen.state, seen.cancel_reason) == ((OrderState.EXPIRED, reason) if reason else (OrderState.ACCEPTED, 0))
    assert exchange.machine.accounts[trader].frozen_margin == (0 if reason else 3 * 350_000_000)


def test_an_order_for_the_auction_needs_an_auction_and_ends_with_it(exchange: Driver) -> None:
    trader = exchange.account()
    assert "GFA" in refused(exchange, order(trader, time_condition=GFA), rejects.AUCTION_ONLY)
    exchange.do(commands.SetInstrumentStatus(CU, int(InstrumentStatus.AUCTION)))
    number = exchange.order_id(exchange.do(order(trader, time_condition=GFA)))
    exchange.do(commands.SetInstrumentStatus(CU, int(InstrumentStatus.ACTIVE)))
    seen = exchange.machine.orders[number]
    assert (seen.state, seen.cancel_reason) == (OrderState.EXPIRED, CancelReason.AUCTION_END)


# Phases


def session(phase: int) -> Driver:
    """An exchange whose copper follows a calendar that is in this phase now."""
    exchange = Driver()
    hours = [(0, 1, int(Phase.CONTINUOUS))]
    exchange.do(commands.SetCalendar("shfe", "SHFE", hours))
    exchange.do(copper(calendar="shfe"))
    exchange.begin_day()
    exchange.do(commands.SetSession("shfe", phase))
    assert exchange.machine.instruments[CU].phase == phase
    return exchange


AUCTIONS = (Phase.AUCTION_ORDER, Phase.AUCTION_NO_CANCEL)


@pytest.mark.parametrize("phase", [Phase.CLOSED, Phase.PRE_OPEN, Phase.AUCTION_MATCH, Phase.BREAK])
def test_no_order_is_accepted_outside_auction_and_continuous_trading(phase: Phase) -> None:
    exchange = session(Phase.CONTINUOUS)
    trader = exchange.account()
    number = exchange.order_id(exchange.do(order(trader, price_ticks=6_990)))
    exchange.do(commands.SetSession("shfe", int(phase)))
    assert phase.name in refused(exchange, order(trader), rejects.SESSION_CLOSED)
    assert phase.name in refused(exchange, commands.ModifyOrder(trader, number, 6_991), rejects.SESSION_CLOSED)
    if phase == Phase.AUCTION_MATCH:
        refused(exchange, commands.CancelOrder(trader, number), rejects.CANCEL_NOT_ALLOWED)
        refused(exchange, commands.CancelAll(trader), rejects.CANCEL_NOT_ALLOWED)
    else:
        assert exchange.do(commands.CancelOrder(trader, number))[0].reason == CancelReason.BY_CLIENT


def test_before_the_match_of_an_auction_nothing_is_modified_or_cancelled() -> None:
    exchange = session(Phase.AUCTION_ORDER)
    trader = exchange.account()
    number = exchange.order_id(exchange.do(order(trader)))
    exchange.do(commands.SetSession("shfe", int(Phase.AUCTION_NO_CANCEL)))
    assert isinstance(exchange.do(order(trader))[0], OrderAccepted)
    for command in (
        commands.CancelOrder(trader, number),
        commands.CancelAll(trader),
        commands.CancelAll(trader, CU),
        commands.ModifyOrder(trader, number, volume=1),
    ):
        refused(exchange, command, rejects.CANCEL_NOT_ALLOWED)


def test_cancel_all_leaves_what_cannot_be_cancelled_now_and_says_how_many_it_cancelled() -> None:
    exchange = session(Phase.AUCTION_ORDER)
    exchange.do(index_future())
    trader = exchange.account()
    kept = exchange.order_id(exchange.do(order(trader)))
    gone = exchange.order_id(exchange.place(trader, BUY, 1, 19_000, instrument=IF))
    exchange.do(commands.SetSession("shfe", int(Phase.AUCTION_NO_CANCEL)))
    events = exchange.do(commands.CancelAll(trader))
    assert events[0].count == 1
    assert [e.order_id for e in events[1:]] == [gone]
    assert exchange.machine.orders[kept].alive
    assert exchange.do(commands.CancelAll(exchange.account()))[0].count == 0


@pytest.mark.parametrize("phase", AUCTIONS)
@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"price_type": MARKET}, "MARKET"),
        ({"price_type": BEST}, "BEST"),
        ({"price_type": FIVELEVEL}, "FIVELEVEL"),
        ({"time_condition": IOC}, "IOC"),
        ({"time_condition": IOC, "volume_condition": ALL}, "IOC"),
        ({"volume_condition": MIN, "min_volume": 1}, "MIN"),
        ({"post_only": True}, "post_only"),
    ],
)
def test_an_auction_takes_nothing_but_limit_orders_that_may_wait(
    phase: Phase, fields: dict[str, object], named: str
) -> None:
    exchange = session(phase)
    assert named in refused(exchange, order(exchange.account(), **fields), rejects.NOT_IN_AUCTION)


@pytest.mark.parametrize("phase", AUCTIONS)
@pytest.mark.parametrize("condition", [GFD, GTC, GFS, GFA])
def test_an_order_of_an_auction_rests_without_matching_and_moves_the_indication(phase: Phase, condition: int) -> None:
    exchange = session(phase)
    exchange.do(order(exchange.account(), SELL, 2, price_ticks=6_990))
    events = exchange.do(order(exchange.account(), BUY, 3, price_ticks=7_010, time_condition=condition))
    assert trades(events) == []
    assert [type(e).__name__ for e in events] == ["OrderAccepted", "AuctionIndicated"]
    assert (events[1].volume, events[1].surplus) == (2, 1)
    assert exchange.machine.instruments[CU].book.depth(BUY, 5) == [(7_010, 3, 1)]


def test_cancels_and_modifications_in_an_auction_move_the_indication() -> None:
    exchange = session(Phase.AUCTION_ORDER)
    seller, buyer = exchange.account(), exchange.account()
    exchange.do(order(seller, SELL, 5, price_ticks=6_990))
    number = exchange.order_id(exchange.do(order(buyer, BUY, 3, price_ticks=7_010)))
    instrument = exchange.machine.instruments[CU]
    for command, volume in (
        (commands.ModifyOrder(buyer, number, volume=2), 2),
        (commands.ModifyOrder(buyer, number, volume=4), 4),
        (commands.ModifyOrder(buyer, number, 6_980), 0),
        (commands.ModifyOrder(buyer, number, 7_000), 4),
        (commands.CancelOrder(buyer, number), 0),
    ):
        events = exchange.do(command)
        assert (type(events[-1]).__name__, instrument.auction_volume) == ("AuctionIndicated", volume)
    exchange.do(order(buyer, BUY, 3, price_ticks=7_010))
    assert type(exchange.do(commands.CancelAll(buyer))[-1]).__name__ == "AuctionIndicated"
    assert instrument.auction_volume == 0


def test_a_deadline_counts_in_an_auction_too() -> None:
    exchange = session(Phase.AUCTION_ORDER)
    events = exchange.do(order(exchange.account(), deadline_ns=exchange.machine.time_ns))
    assert ended(events) == (3, CancelReason.DEADLINE_PASSED)


@pytest.mark.parametrize(
    ("mode", "alive"),
    [
        (SelfTrade.CANCEL_TAKER, (True, True, True, False)),
        (SelfTrade.CANCEL_MAKER, (False, False, True, True)),
        (SelfTrade.CANCEL_BOTH, (True, False, True, False)),  # the first that it would meet is the cheaper one
    ],
)
@pytest.mark.parametrize("modified", [False, True])
def test_self_trade_in_an_auction_is_prevented_on_entry(
    mode: SelfTrade, alive: tuple[bool, ...], modified: bool
) -> None:
    exchange = session(Phase.AUCTION_ORDER)
    first = exchange.account()
    second = exchange.account(user=exchange.machine.accounts[first].user.user_id)
    resting = [
        exchange.order_id(exchange.do(order(first, SELL, 1, price_ticks=price))) for price in (6_995, 6_990, 7_005)
    ]
    exchange.do(order(exchange.account(), SELL, 9, price_ticks=6_980))  # a stranger before them changes nothing
    if modified:
        number = exchange.order_id(exchange.do(order(second, price_ticks=6_900, self_trade=int(mode))))
        exchange.do(commands.ModifyOrder(second, number, 7_000))
    else:
        number = exchange.order_id(exchange.do(order(second, self_trade=int(mode))))
    assert tuple(exchange.machine.orders[n].alive for n in (*resting, number)) == alive


def test_cancel_both_in_an_auction_ends_the_older_of_two_equally_good_own_orders() -> None:
    exchange = session(Phase.AUCTION_ORDER)
    first = exchange.account()
    second = exchange.account(user=exchange.machine.accounts[first].user.user_id)
    exchange.do(order(exchange.account(), SELL, 1, price_ticks=6_990))
    early, late = (exchange.order_id(exchange.do(order(who, SELL, 1, price_ticks=6_990))) for who in (second, first))
    exchange.do(order(first, self_trade=int(SelfTrade.CANCEL_BOTH)))
    assert (exchange.machine.orders[early].alive, exchange.machine.orders[late].alive) == (False, True)


@pytest.mark.parametrize("mode", [SelfTrade.CANCEL_MAKER, SelfTrade.CANCEL_BOTH])
def test_crossing_an_own_order_is_no_way_around_the_end_of_cancelling(mode: SelfTrade) -> None:
    exchange = session(Phase.AUCTION_ORDER)
    trader = exchange.account()
    kept = exchange.order_id(exchange.do(order(trader)))
    exchange.do(commands.SetSession("shfe", int(Phase.AUCTION_NO_CANCEL)))
    events = exchange.do(order(trader, SELL, self_trade=int(mode)))
    ended = [(e.order_id, e.reason) for e in events if isinstance(e, OrderCancelled)]
    assert ended == [(exchange.order_id(events), CancelReason.SELF_TRADE)]
    assert exchange.machine.orders[kept].alive


def test_mode_reject_in_an_auction_refuses_whatever_volume_lies_before_the_own_order() -> None:
    exchange = session(Phase.AUCTION_ORDER)
    trader = exchange.account()
    exchange.do(order(exchange.account(), SELL, 9, price_ticks=6_980))
    exchange.do(order(trader, SELL, 1, price_ticks=7_000))
    low = exchange.order_id(exchange.do(order(trader, price_ticks=6_999, self_trade=int(SelfTrade.REJECT))))
    refused(exchange, order(trader, self_trade=int(SelfTrade.REJECT)), rejects.SELF_TRADE)
    refused(exchange, commands.ModifyOrder(trader, low, 7_000), rejects.SELF_TRADE)


@pytest.mark.parametrize(
    ("status", "reject"),
    [
        (InstrumentStatus.SUSPENDED, rejects.INSTRUMENT_NOT_TRADING),
        (InstrumentStatus.CLOSED, rejects.INSTRUMENT_NOT_TRADING),
    ],
)
def test_an_instrument_that_does_not_trade_takes_cancels_only(
    exchange: Driver, status: InstrumentStatus, reject: rejects.Reject
) -> None:
    trader = exchange.account()
    number = exchange.order_id(exchange.do(order(trader)))
    exchange.do(commands.SetInstrumentStatus(CU, int(status)))
    assert CU in refused(exchange, order(trader), reject)
    assert CU in refused(exchange, commands.ModifyOrder(trader, number, 7_001), reject)
    exchange.do(commands.CancelOrder(trader, number))
    exchange.do(commands.SetInstrumentStatus(CU, int(InstrumentStatus.ACTIVE)))
    assert isinstance(exchange.do(order(trader))[0], OrderAccepted)


def test_an_instrument_that_is_delisted_or_not_listed_yet_takes_nothing(exchange: Driver) -> None:
    trader = exchange.account()
    today = exchange.begin_day()
    exchange.do(commands.DelistInstrument(CU))
    assert "delisted" in refused(exchange, order(trader), rejects.INSTRUMENT_NOT_LISTED)
    exchange.do(copper("SHFE.cu2712", listing_day=today + 1))
    early = order(trader, instrument_id="SHFE.cu2712")
    assert str(today + 1) in refused(exchange, early, rejects.INSTRUMENT_NOT_LISTED)
    exchange.settle()
    assert isinstance(exchange.do(early)[0], OrderAccepted)


def test_every_trade_of_an_order_without_a_price_names_it_on_its_side(exchange: Driver) -> None:
    asks(exchange, (7_000, 1), (7_001, 1))
    events = exchange.do(order(exchange.account(), volume=2, price_type=MARKET))
    number = exchange.order_id(events)
    fills = [e for e in events if isinstance(e, TradeExecuted)]
    assert [(e.buy_order_id, e.buy_left, e.taker_direction) for e in fills] == [(number, 1, BUY), (number, 0, BUY)]
