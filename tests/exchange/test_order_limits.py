"""Lot, turnover, order and position limits of the exchange, an instrument and an account (domain.md 3 and 7)."""

from __future__ import annotations

import pytest

from node.exchange import commands, rejects, trading
from node.exchange.events import OrderAccepted
from node.exchange.types import OrderSource, PriceType
from tests.exchange.driver import BUY, CLOSETODAY, SELL, YUAN, Driver, copper, risk_parameters
from tests.exchange.refusals import refused

CU = "SHFE.cu2701"
MARKET, BEST, FIVELEVEL = PriceType.MARKET, PriceType.BEST, PriceType.FIVELEVEL


@pytest.fixture
def exchange() -> Driver:
    return Driver(copper(market_volume_max=10, position_limit=100))


def order(
    account_id: str, volume: int, direction: int = BUY, price: int = 7_000, offset: int = 0
) -> commands.PlaceOrder:
    return commands.PlaceOrder(account_id, CU, direction, offset, volume, 0, price)


def with_position(exchange: Driver, lots: int) -> str:
    """An account that is long, bought today at 7 000; nothing rests."""
    trader = exchange.account()
    exchange.do(order(exchange.account(), lots, SELL))
    exchange.do(order(trader, lots))
    return trader


# Lots of one order


@pytest.mark.parametrize("price_type", [MARKET, BEST, FIVELEVEL])
def test_an_order_without_a_price_has_its_own_lot_limit(exchange: Driver, price_type: int) -> None:
    exchange.do(order(exchange.account(), 20, SELL))
    trader = exchange.account()
    command = commands.PlaceOrder(trader, CU, BUY, 0, 11, price_type, 0)
    assert "volume 11 is not in [1, 10]" in refused(exchange, command, rejects.VOLUME_OUTSIDE_LIMITS)
    assert isinstance(exchange.do(commands.PlaceOrder(trader, CU, BUY, 0, 10, price_type, 0))[0], OrderAccepted)
    assert isinstance(exchange.do(order(trader, 11))[0], OrderAccepted)


def test_an_account_may_have_a_lot_limit_of_its_own(exchange: Driver) -> None:
    trader = exchange.account()
    exchange.do(commands.SetAccountLimits(trader, 0, 0, 4))
    assert "above the 4 lots per order" in refused(exchange, order(trader, 5), rejects.VOLUME_OUTSIDE_LIMITS)
    number = exchange.order_id(exchange.do(order(trader, 4)))
    refused(exchange, commands.ModifyOrder(trader, number, volume=5), rejects.VOLUME_OUTSIDE_LIMITS)
    exchange.do(commands.SetAccountLimits(trader, 0, 0, 1))
    exchange.do(commands.ModifyOrder(trader, number, volume=3))  # less is less, whatever the limit is now
    assert exchange.machine.orders[number].left == 3


def test_less_volume_than_the_least_is_refused_and_what_does_not_change_is_not_asked(exchange: Driver) -> None:
    exchange = Driver(copper(volume_min=5))
    trader = exchange.account()
    number = exchange.order_id(exchange.do(order(trader, 10)))
    refused(exchange, commands.ModifyOrder(trader, number, volume=4), rejects.VOLUME_OUTSIDE_LIMITS)
    exchange.do(copper_terms(exchange, volume_min=20))
    exchange.do(commands.ModifyOrder(trader, number, 7_001))
    assert exchange.machine.orders[number].price_ticks == 7_001


def copper_terms(exchange: Driver, **changes: int) -> commands.ModifyInstrument:
    """A modification of copper's terms."""
    terms = copper(**changes)
    fields = {name: getattr(terms, name) for name in terms.__struct_fields__ if name != "by"}
    return commands.ModifyInstrument(**fields)


# Orders alive


def test_live_orders_are_limited_by_the_exchange_and_overridden_per_account(exchange: Driver) -> None:
    exchange.do(risk_parameters(orders_alive_max=2))
    one, other = exchange.account(), exchange.account()
    exchange.do(commands.SetAccountLimits(other, 3, 0))
    for trader, most in ((one, 2), (other, 3)):
        numbers = [exchange.order_id(exchange.do(order(trader, 1, price=6_900 + n))) for n in range(most)]
        assert f"{most} live orders on {trader}" in refused(exchange, order(trader, 1), rejects.TOO_MANY_ORDERS)
        exchange.do(commands.CancelOrder(trader, numbers[0]))
        assert isinstance(exchange.do(order(trader, 1))[0], OrderAccepted)


def test_an_order_that_closes_counts_among_the_live_orders(exchange: Driver) -> None:
    trader = with_position(exchange, 2)
    exchange.do(commands.SetAccountLimits(trader, 1, 0))
    exchange.do(order(trader, 1, SELL, 7_100, CLOSETODAY))
    refused(exchange, order(trader, 1, SELL, 7_100, CLOSETODAY), rejects.TOO_MANY_ORDERS)


# Turnover


def test_the_turnover_of_one_order_is_limited_and_overridden_per_account(exchange: Driver) -> None:
    """One lot at 7 000 ticks of 10 yuan, times 5, is 350 000 yuan."""
    exchange.do(risk_parameters(order_turnover_max_units=700_000 * YUAN))
    one, other = exchange.account(), exchange.account()
    exchange.do(commands.SetAccountLimits(other, 0, 1_050_000 * YUAN))
    for trader, most in ((one, 2), (other, 3)):
        detail = refused(exchange, order(trader, most + 1), rejects.ORDER_AMOUNT_TOO_LARGE)
        assert f"turnover {350_000 * YUAN * (most + 1)} units" in detail
        refused(exchange, order(trader, most, price=7_001), rejects.ORDER_AMOUNT_TOO_LARGE)
        number = exchange.order_id(exchange.do(order(trader, most)))
        refused(exchange, commands.ModifyOrder(trader, number, 7_001), rejects.ORDER_AMOUNT_TOO_LARGE)
        exchange.do(commands.ModifyOrder(trader, number, 6_999))


def test_a_limit_that_was_lowered_does_not_keep_an_order_from_becoming_smaller(exchange: Driver) -> None:
    trader = exchange.account()
    number = exchange.order_id(exchange.do(order(trader, 5)))
    exchange.do(risk_parameters(order_turnover_max_units=1))
    exchange.do(commands.ModifyOrder(trader, number, volume=4))
    assert exchange.machine.orders[number].volume == 4


def test_a_market_order_has_the_turnover_of_the_price_limit(exchange: Driver) -> None:
    trader = exchange.account()
    exchange.do(commands.SetAccountLimits(trader, 0, 350_000 * YUAN))
    exchange.do(order(exchange.account(), 5, SELL))
    refused(exchange, commands.PlaceOrder(trader, CU, BUY, 0, 1, MARKET, 0), rejects.ORDER_AMOUNT_TOO_LARGE)
    assert isinstance(exchange.do(commands.PlaceOrder(trader, CU, BUY, 0, 1, BEST, 0))[0], OrderAccepted)


# Positions


def test_a_position_limit_holds_per_side_and_counts_live_orders(exchange: Driver) -> None:
    trader = with_position(exchange, 60)
    exchange.do(order(trader, 40, price=6_900))
    assert "101 lots with this order, the limit of the side is 100" in refused(
        exchange, order(trader, 1, price=6_900), rejects.POSITION_LIMIT
    )
    assert isinstance(exchange.do(order(trader, 100, SELL, 7_100))[0], OrderAccepted)  # the other side


def test_an_account_may_have_a_position_limit_of_its_own_wider_or_narrower(exchange: Driver) -> None:
    narrow, wide = exchange.account(), exchange.account()
    exchange.do(commands.SetPositionLimit(narrow, CU, 5))
    exchange.do(commands.SetPositionLimit(wide, CU, 150))
    assert "limit of the side is 5" in refused(exchange, order(narrow, 6), rejects.POSITION_LIMIT)
    number = exchange.order_id(exchange.do(order(narrow, 5)))
    refused(exchange, commands.ModifyOrder(narrow, number, volume=6), rejects.POSITION_LIMIT)
    assert isinstance(exchange.do(order(wide, 150))[0], OrderAccepted)
    exchange.do(commands.SetPositionLimit(narrow, CU, 0))
    assert isinstance(exchange.do(order(narrow, 95))[0], OrderAccepted)
    assert "limit of the side is 100" in refused(exchange, order(narrow, 1), rejects.POSITION_LIMIT)


def test_a_limit_below_what_is_held_keeps_nobody_from_closing(exchange: Driver) -> None:
    trader = with_position(exchange, 10)
    exchange.do(commands.SetPositionLimit(trader, CU, 1))
    assert isinstance(exchange.do(order(trader, 10, SELL, 7_100, CLOSETODAY))[0], OrderAccepted)


# The order of the checks


def test_each_check_hides_those_behind_it() -> None:
    """Format, instrument, price, volume, rights, lots, order limits, position limit, funds, self-trade."""
    exchange = Driver(copper(position_limit=3))
    trader = exchange.account(100)
    exchange.do(commands.FreezeAccount(trader, 1))
    exchange.do(order(exchange.account(), 1))
    wrong = {
        "self_trade": 3,
        "volume": 501,
        "price_ticks": 7_701,
        "instrument_id": "SHFE.xx",
        "direction": 9,
        "offset": 0,
    }
    base = {"account_id": trader, "price_type": 0}
    steps = [
        ({"direction": SELL}, rejects.BAD_ORDER_PARAMETERS),
        ({"instrument_id": CU}, rejects.INSTRUMENT_NOT_FOUND),
        ({"price_ticks": 7_000}, rejects.PRICE_OUTSIDE_LIMITS),
        ({"volume": 4}, rejects.VOLUME_OUTSIDE_LIMITS),
        ({}, rejects.ACCOUNT_FROZEN),
    ]
    for mended, reject in steps:
        refused(exchange, commands.PlaceOrder(**(base | wrong)), reject)
        wrong |= mended
    exchange.do(commands.FreezeAccount(trader, 0))
    exchange.do(commands.SetAccountLimits(trader, 0, 1))
    refused(exchange, commands.PlaceOrder(**(base | wrong | {"offset": CLOSETODAY})), rejects.INSUFFICIENT_POSITION)
    refused(exchange, commands.PlaceOrder(**(base | wrong)), rejects.ORDER_AMOUNT_TOO_LARGE)
    exchange.do(commands.SetAccountLimits(trader, 0, 0))
    refused(exchange, commands.PlaceOrder(**(base | wrong)), rejects.POSITION_LIMIT)
    wrong |= {"volume": 1}
    refused(exchange, commands.PlaceOrder(**(base | wrong)), rejects.INSUFFICIENT_FUNDS)


# Forced liquidation


def test_an_order_of_a_forced_liquidation_is_not_asked_for_rights_and_order_limits(exchange: Driver) -> None:
    trader = with_position(exchange, 10)
    exchange.do(commands.SetAccountLimits(trader, 1, 1, 1))
    exchange.do(commands.FreezeAccount(trader, 3, allow_close=False))
    close = order(trader, 10, SELL, 7_100, CLOSETODAY)
    refused(exchange, close, rejects.VOLUME_OUTSIDE_LIMITS)
    entered = trading.enter_order(exchange.machine, close, int(OrderSource.LIQUIDATION), [])
    assert entered.alive


def test_a_forced_close_may_be_smaller_than_the_least_volume() -> None:
    """What is left of a position must be closable."""
    exchange = Driver(copper(volume_min=5))
    trader = with_position(exchange, 6)
    close = order(trader, 3, SELL, 7_100, CLOSETODAY)
    refused(exchange, close, rejects.VOLUME_OUTSIDE_LIMITS)
    assert trading.enter_order(exchange.machine, close, int(OrderSource.LIQUIDATION), []).alive
