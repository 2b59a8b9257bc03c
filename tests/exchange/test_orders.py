"""Orders: checks and their codes, conditions, cancel, modify, self-trade prevention, closing by bucket."""

from __future__ import annotations

import pytest

from node.exchange import commands, rejects
from node.exchange.events import OrderCancelled, OrderModified, TradeExecuted
from node.exchange.types import CancelReason, OrderState
from tests.exchange.driver import (
    ALL,
    BUY,
    CLOSE,
    CLOSETODAY,
    CLOSEYESTERDAY,
    IOC,
    MIN,
    SELL,
    YUAN,
    Driver,
    code,
    copper,
    index_future,
    trades,
)
from tests.exchange.refusals import refused


@pytest.fixture
def exchange() -> Driver:
    return Driver(copper(), copper("DCE.m2701", product="m"))


@pytest.mark.parametrize(
    ("fields", "reject"),
    [
        ({"direction": 0}, rejects.BAD_ORDER_PARAMETERS),
        ({"offset": 4}, rejects.BAD_ORDER_PARAMETERS),
        ({"volume": 0}, rejects.VOLUME_OUTSIDE_LIMITS),
        ({"volume": -1}, rejects.VOLUME_OUTSIDE_LIMITS),
        ({"volume": 501}, rejects.VOLUME_OUTSIDE_LIMITS),
        ({"price_type": 1}, rejects.BAD_ORDER_PARAMETERS),
        ({"time_condition": 6}, rejects.BAD_ORDER_PARAMETERS),
        ({"price_ticks": 0}, rejects.PRICE_OUTSIDE_LIMITS),
        ({"price_ticks": 7_701}, rejects.PRICE_OUTSIDE_LIMITS),
        ({"price_ticks": 6_299}, rejects.PRICE_OUTSIDE_LIMITS),
        ({"instrument_id": "SHFE.xx"}, rejects.INSTRUMENT_NOT_FOUND),
        ({"volume_condition": ALL}, rejects.BAD_ORDER_PARAMETERS),
        ({"volume_condition": 3}, rejects.BAD_ORDER_PARAMETERS),
        ({"volume_condition": MIN, "min_volume": 4}, rejects.BAD_ORDER_PARAMETERS),
        ({"min_volume": 1}, rejects.BAD_ORDER_PARAMETERS),
        ({"post_only": True, "time_condition": IOC}, rejects.BAD_ORDER_PARAMETERS),
        ({"self_trade": 9}, rejects.BAD_ORDER_PARAMETERS),
        ({"client_order_id": "x" * 65}, rejects.BAD_ORDER_PARAMETERS),
        ({"volume": 286}, rejects.INSUFFICIENT_FUNDS),
        ({"offset": CLOSE}, rejects.INSUFFICIENT_POSITION),
        ({"account_id": "ACC_99999999"}, rejects.ACCOUNT_NOT_FOUND),
    ],
)
def test_a_wrong_order_is_refused_with_its_code_and_nothing_changes(
    exchange: Driver, fields: dict[str, object], reject: rejects.Reject
) -> None:
    trader = exchange.account()
    order = {
        "account_id": trader, "instrument_id": "SHFE.cu2701", "direction": BUY, "offset": 0, "volume": 3,
        "price_type": 0, "price_ticks": 7_000,
    }  # fmt: skip
    refused(exchange, commands.PlaceOrder(**(order | fields)), reject)


def test_available_exactly_equal_to_the_reserve_is_enough(exchange: Driver) -> None:
    trader = exchange.account(35_017.5)
    exchange.place(trader, BUY, 1, 7_000)
    assert exchange.machine.accounts[trader].available() == 0
    assert code(exchange.place(trader, BUY, 1, 7_000)) == rejects.INSUFFICIENT_FUNDS.code


def test_the_older_order_at_the_better_price_trades_first_at_its_own_price(exchange: Driver) -> None:
    a, b, c, taker = (exchange.account() for _ in range(4))
    exchange.place(a, SELL, 2, 7_002)
    first = exchange.order_id(exchange.place(b, SELL, 2, 7_001))
    second = exchange.order_id(exchange.place(c, SELL, 2, 7_001))
    events = exchange.place(taker, BUY, 5, 7_002)
    assert trades(events) == [(7_001, 2), (7_001, 2), (7_002, 1)]
    assert [e.sell_order_id for e in events if isinstance(e, TradeExecuted)][:2] == [first, second]
    assert [e.trade_id for e in events if isinstance(e, TradeExecuted)] == [1, 2, 3]


def test_cancel_releases_the_reserve_exactly(exchange: Driver) -> None:
    trader = exchange.account()
    order = exchange.order_id(exchange.place(trader, BUY, 3, 7_000))
    assert exchange.machine.accounts[trader].frozen_margin == 105_000 * YUAN
    (event,) = exchange.do(commands.CancelOrder(trader, order))
    assert event == OrderCancelled(order, trader, "SHFE.cu2701", 3, CancelReason.BY_CLIENT)
    assert exchange.machine.accounts[trader].available() == 10_000_000 * YUAN
    refused(exchange, commands.CancelOrder(trader, order), rejects.ORDER_NOT_CANCELLABLE)


def test_another_accounts_order_does_not_exist(exchange: Driver) -> None:
    trader, stranger = exchange.account(), exchange.account()
    order = exchange.order_id(exchange.place(trader, BUY, 3, 7_000))
    refused(exchange, commands.CancelOrder(stranger, order), rejects.ORDER_NOT_FOUND)
    refused(exchange, commands.ModifyOrder(stranger, order, 7_001), rejects.ORDER_NOT_FOUND)


def test_ioc_cancels_what_cannot_match_at_once(exchange: Driver) -> None:
    maker, taker = exchange.account(), exchange.account()
    exchange.place(maker, SELL, 2, 7_000)
    events = exchange.place(taker, BUY, 5, 7_000, time_condition=IOC)
    assert trades(events) == [(7_000, 2)]
    assert (events[-1].volume_left, events[-1].reason) == (3, CancelReason.IOC_REMAINDER)
    assert exchange.machine.accounts[taker].frozen_margin == 0


def test_fill_or_kill_is_all_or_nothing(exchange: Driver) -> None:
    maker, taker = exchange.account(), exchange.account()
    exchange.place(maker, SELL, 2, 7_000)
    exchange.place(maker, SELL, 2, 7_001)
    killed = exchange.place(taker, BUY, 5, 7_001, time_condition=IOC, volume_condition=ALL)
    assert trades(killed) == []
    assert killed[-1].reason == CancelReason.FOK_UNFILLABLE
    assert trades(exchange.place(taker, BUY, 4, 7_001, time_condition=IOC, volume_condition=ALL)) == [
        (7_000, 2),
        (7_001, 2),
    ]


def test_min_volume_trades_at_least_that_much_or_nothing(exchange: Driver) -> None:
    maker, taker = exchange.account(), exchange.account()
    exchange.place(maker, SELL, 2, 7_000)
    ended = exchange.place(taker, BUY, 5, 7_000, volume_condition=MIN, min_volume=3)
    assert ended[-1].reason == CancelReason.MIN_VOLUME_UNFILLABLE
    rested = exchange.place(taker, BUY, 5, 7_000, volume_condition=MIN, min_volume=2)
    assert trades(rested) == [(7_000, 2)]
    assert exchange.machine.instruments["SHFE.cu2701"].book.depth(BUY, 5) == [(7_000, 3, 1)]


def test_post_only_never_takes(exchange: Driver) -> None:
    maker, other = exchange.account(), exchange.account()
    exchange.place(maker, SELL, 2, 7_000)
    assert exchange.place(other, BUY, 1, 7_000, post_only=True)[-1].reason == CancelReason.POST_ONLY_WOULD_MATCH
    rested = exchange.order_id(exchange.place(other, BUY, 1, 6_999, post_only=True))
    refused(exchange, commands.ModifyOrder(other, rested, 7_000), rejects.ORDER_NOT_MODIFIABLE)


def test_an_order_past_its_deadline_is_cancelled_on_arrival(exchange: Driver) -> None:
    trader = exchange.account()
    late = exchange.place(trader, BUY, 1, 7_000, deadline_ns=exchange.machine.time_ns)
    assert late[-1].reason == CancelReason.DEADLINE_PASSED
    assert exchange.machine.accounts[trader].frozen_margin == 0


@pytest.mark.parametrize(("mode", "left_in_book"), [(0, 2), (1, 0), (2, 0)])
def test_one_user_never_trades_with_itself(exchange: Driver, mode: int, left_in_book: int) -> None:
    first = exchange.account()
    second = exchange.account(user=exchange.machine.accounts[first].user.user_id)
    resting = exchange.order_id(exchange.place(first, SELL, 2, 7_000))
    events = exchange.place(second, BUY, 1, 7_000, self_trade=mode)
    assert trades(events) == []
    assert exchange.machine.orders[resting].left == 2
    depth = exchange.machine.instruments["SHFE.cu2701"].book.depth(SELL, 1)
    assert sum(volume for _, volume, _ in depth) == left_in_book
    assert exchange.machine.orders[resting].alive == (mode == 0)
    assert exchange.machine.orders[exchange.order_id(events)].alive == (mode == 1)


def test_self_trade_mode_reject_refuses_before_the_book(exchange: Driver) -> None:
    first = exchange.account()
    second = exchange.account(user=exchange.machine.accounts[first].user.user_id)
    exchange.place(first, SELL, 2, 7_000)
    assert code(exchange.place(second, BUY, 1, 7_000, self_trade=3)) == rejects.SELF_TRADE.code


def test_less_volume_keeps_priority_and_more_volume_loses_it(exchange: Driver) -> None:
    a, b, taker = exchange.account(), exchange.account(), exchange.account()
    first = exchange.order_id(exchange.place(a, SELL, 5, 7_000))
    second = exchange.order_id(exchange.place(b, SELL, 5, 7_000))
    (event,) = exchange.do(commands.ModifyOrder(a, first, volume=3))
    assert isinstance(event, OrderModified)
    assert event.kept_priority
    assert exchange.place(taker, BUY, 1, 7_000)[1].sell_order_id == first
    exchange.do(commands.ModifyOrder(a, first, volume=6))
    assert exchange.place(taker, BUY, 1, 7_000)[1].sell_order_id == second
    assert exchange.machine.orders[first].left == 5


def test_a_modified_price_may_trade_and_a_change_that_cannot_be_reserved_changes_nothing(exchange: Driver) -> None:
    maker, taker = exchange.account(), exchange.account(40_000)
    exchange.place(maker, SELL, 5, 7_000)
    order = exchange.order_id(exchange.place(taker, BUY, 1, 6_990))
    before = exchange.machine.instruments["SHFE.cu2701"].book.depth(BUY, 5)
    refused(exchange, commands.ModifyOrder(taker, order, volume=2), rejects.INSUFFICIENT_FUNDS)
    refused(exchange, commands.ModifyOrder(taker, order), rejects.ORDER_NOT_MODIFIABLE)
    assert exchange.machine.instruments["SHFE.cu2701"].book.depth(BUY, 5) == before
    assert trades(exchange.do(commands.ModifyOrder(taker, order, 7_000))) == [(7_000, 1)]


def test_a_sell_that_would_trade_at_a_better_price_is_tested_at_that_price(exchange: Driver) -> None:
    buyer, poor = exchange.account(), exchange.account(100_000)
    terms = index_future()
    exchange.do(terms)
    name = terms.instrument_id
    exchange.place(buyer, BUY, 1, 20_000, instrument=name)
    # at the limit the margin is 123 120, at the bid 144 000
    rich = exchange.account(130_000)
    assert code(exchange.place(rich, SELL, 1, 17_100, instrument=name)) == rejects.INSUFFICIENT_FUNDS.code
    assert code(exchange.place(poor, SELL, 1, 17_100, instrument=name)) == rejects.INSUFFICIENT_FUNDS.code
    enough = exchange.account(145_000)
    assert trades(exchange.place(enough, SELL, 1, 17_100, instrument=name)) == [(20_000, 1)]
    assert exchange.machine.accounts[enough].available() >= 0


def test_a_modify_in_mode_reject_never_meets_an_own_order(exchange: Driver) -> None:
    first = exchange.account()
    second = exchange.account(user=exchange.machine.accounts[first].user.user_id)
    exchange.place(first, SELL, 2, 7_000)
    order = exchange.order_id(exchange.place(second, BUY, 1, 6_990, self_trade=3))
    refused(exchange, commands.ModifyOrder(second, order, 7_000), rejects.SELF_TRADE)
    assert exchange.machine.orders[order].price_ticks == 6_990


def test_a_modify_is_checked_like_an_order_price_before_volume() -> None:
    exchange = Driver(copper(volume_min=5))
    trader = exchange.account()
    order = exchange.order_id(exchange.place(trader, BUY, 10, 6_990))
    for price, volume, reject in (
        (0, 1, rejects.VOLUME_OUTSIDE_LIMITS),
        (0, 501, rejects.VOLUME_OUTSIDE_LIMITS),
        (7_701, 501, rejects.PRICE_OUTSIDE_LIMITS),
    ):
        assert code(exchange.do(commands.ModifyOrder(trader, order, price, volume))) == reject.code


def test_a_modify_that_gives_back_is_never_refused_for_want_of_funds() -> None:
    exchange = Driver(index_future())
    trader, other, third = exchange.account(290_000), exchange.account(), exchange.account()
    name = "CFFEX.IF2701"
    exchange.place(other, SELL, 1, 19_000, instrument=name)
    exchange.place(trader, BUY, 1, 19_000, instrument=name)
    order = exchange.order_id(exchange.place(trader, BUY, 1, 18_500, instrument=name))
    exchange.place(other, SELL, 1, 17_200, instrument=name)  # takes it
    order = exchange.order_id(exchange.place(third, BUY, 1, 17_150, instrument=name))
    exchange.do(commands.Withdraw(third, exchange.machine.accounts[third].withdrawable()))
    assert exchange.do(commands.ModifyOrder(third, order, 17_100))[0].price_ticks == 17_100


def _hold(exchange: Driver, instrument: str, his: int, today: int) -> str:
    """An account that holds history and today lots (settlement comes with its own issue: the roll is made by hand)."""
    trader, other = exchange.account(), exchange.account()
    for lots in (his, today):
        exchange.place(other, SELL, lots, 7_000, instrument=instrument)
        exchange.place(trader, BUY, lots, 7_000, instrument=instrument)
        if lots is his:
            side = exchange.machine.accounts[trader].positions[instrument].long
            side.his, side.his_cost, side.his_open_cost = side.today, side.today_cost, side.today_cost
            side.today = side.today_cost = 0
    return trader


def test_shfe_close_takes_history_only_and_close_today_takes_today(exchange: Driver) -> None:
    trader = _hold(exchange, "SHFE.cu2701", 2, 3)
    assert code(exchange.place(trader, SELL, 3, 7_000, offset=CLOSE)) == rejects.INSUFFICIENT_POSITION.code
    assert code(exchange.place(trader, SELL, 4, 7_000, offset=CLOSETODAY)) == rejects.INSUFFICIENT_POSITION.code
    exchange.place(trader, SELL, 2, 7_000, offset=CLOSEYESTERDAY)
    exchange.place(trader, SELL, 3, 7_000, offset=CLOSETODAY)
    side = exchange.machine.accounts[trader].positions["SHFE.cu2701"].long
    assert (side.frozen_his, side.frozen_today) == (2, 3)
    assert code(exchange.place(trader, SELL, 1, 7_000, offset=CLOSE)) == rejects.INSUFFICIENT_POSITION.code


def test_elsewhere_close_takes_history_first_and_then_today(exchange: Driver) -> None:
    trader = _hold(exchange, "DCE.m2701", 2, 3)
    order = exchange.order_id(exchange.place(trader, SELL, 4, 7_000, instrument="DCE.m2701", offset=CLOSE))
    side = exchange.machine.accounts[trader].positions["DCE.m2701"].long
    assert (side.frozen_his, side.frozen_today) == (2, 2)
    taker = exchange.account()
    exchange.place(taker, BUY, 3, 7_000, instrument="DCE.m2701")
    assert (side.his, side.today, side.frozen_his, side.frozen_today) == (0, 2, 0, 1)
    exchange.do(commands.CancelOrder(trader, order))
    assert (side.his, side.today, side.frozen_his, side.frozen_today) == (0, 2, 0, 0)


def test_closing_is_never_refused_for_want_of_funds(exchange: Driver) -> None:
    poor, other = exchange.account(35_017.5), exchange.account()
    exchange.place(other, SELL, 1, 7_000)
    exchange.place(poor, BUY, 1, 7_000)
    exchange.place(other, BUY, 1, 6_900)
    third = exchange.account()
    exchange.place(third, SELL, 1, 6_900)  # the last price falls: `poor` is under water
    assert exchange.machine.accounts[poor].available() < 0
    exchange.place(other, BUY, 1, 6_900)
    assert trades(exchange.place(poor, SELL, 1, 6_900, offset=CLOSETODAY)) == [(6_900, 1)]


def test_opening_is_refused_at_a_critical_risk_ratio(exchange: Driver) -> None:
    trader, other = exchange.account(36_000), exchange.account()
    exchange.place(other, SELL, 1, 7_000)
    exchange.place(trader, BUY, 1, 7_000)
    order = commands.PlaceOrder(trader, "SHFE.cu2701", BUY, 0, 1, 0, 7_000)
    assert "95 %" in refused(exchange, order, rejects.RISK_RATIO_TOO_HIGH)


def test_a_position_limit_counts_live_orders(exchange: Driver) -> None:
    limited = Driver(copper(position_limit=3))
    trader = limited.account()
    limited.place(trader, BUY, 2, 7_000)
    assert code(limited.place(trader, BUY, 2, 7_000)) == rejects.POSITION_LIMIT.code
    limited.place(trader, BUY, 1, 7_000)


def test_cancel_all_spares_other_instruments_and_other_accounts(exchange: Driver) -> None:
    trader, other = exchange.account(), exchange.account()
    ids = [exchange.order_id(exchange.place(trader, BUY, 1, 6_900 + k)) for k in range(3)]
    kept = exchange.order_id(exchange.place(trader, BUY, 1, 6_900, instrument="DCE.m2701"))
    foreign = exchange.order_id(exchange.place(other, BUY, 1, 6_900))
    events = exchange.do(commands.CancelAll(trader, "cu2701"))
    assert [event.order_id for event in events[1:]] == ids
    assert exchange.machine.orders[kept].alive
    assert exchange.machine.orders[foreign].alive
    assert exchange.do(commands.CancelAll(trader))[0].count == 1


def test_a_bare_code_is_accepted_where_it_is_unambiguous() -> None:
    exchange = Driver(copper(), copper("INE.cu2701"), copper("DCE.m2701"))
    trader = exchange.account()
    assert code(exchange.place(trader, BUY, 1, 7_000, instrument="cu2701")) == rejects.INSTRUMENT_NOT_FOUND.code
    assert exchange.place(trader, BUY, 1, 7_000, instrument="m2701")[0].instrument_id == "DCE.m2701"


def test_states_tell_the_life_of_an_order(exchange: Driver) -> None:
    maker, taker = exchange.account(), exchange.account()
    order = exchange.machine.orders[exchange.order_id(exchange.place(maker, SELL, 2, 7_000))]
    assert order.state == OrderState.ACCEPTED
    exchange.place(taker, BUY, 1, 7_000)
    assert order.state == OrderState.PARTIALLY_FILLED
    exchange.place(taker, BUY, 1, 7_000)
    assert order.state == OrderState.FILLED
    assert order.level is order.before is order.after is None
