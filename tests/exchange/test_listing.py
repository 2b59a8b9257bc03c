"""Instruments come, change and go, and everything that hangs on them follows."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest

from node.exchange import commands, rejects, triggers
from node.exchange.commands import (
    DelistInstrument,
    ListInstrument,
    ModifyInstrument,
    PlaceConditional,
    SetCalendar,
    SetInstrumentStatus,
)
from node.exchange.events import (
    AuctionIndicated,
    AuctionMatched,
    ConditionalEnded,
    Event,
    InstrumentListed,
    InstrumentModified,
    InstrumentStatusChanged,
    OrderAccepted,
    OrderCancelled,
)
from node.exchange.instruments import Instrument
from node.exchange.types import NOTIONAL_UNITS_MAX, CancelReason, InstrumentStatus, Phase
from tests.exchange.driver import (
    BUY,
    CLOSETODAY,
    MONDAY_NS,
    OPEN,
    SELL,
    YUAN,
    Driver,
    code,
    copper,
    index_future,
    trades,
)
from tests.exchange.refusals import refused

ID = "SHFE.cu2701"
ACTIVE, SUSPENDED, AUCTION, CLOSED, DELISTED, EXPIRED = (int(status) for status in InstrumentStatus)
DAY = [(9 * 3_600, 15 * 3_600, int(Phase.CONTINUOUS))]


@pytest.fixture
def driver() -> Driver:
    return Driver(copper())


def master(driver: Driver) -> Instrument:
    return driver.machine.instruments[ID]


def modification(driver: Driver, expected_version: int = 0, **changes: Any) -> ModifyInstrument:
    """The terms that the instrument has, with some changes."""
    terms = {field: getattr(master(driver).terms, field) for field in commands.Terms.__struct_fields__}
    return ModifyInstrument(**(terms | changes), expected_version=expected_version)


def modify(driver: Driver, **changes: Any) -> list[Event]:
    events = driver.do(modification(driver, **changes))
    assert isinstance(events[0], InstrumentModified), events
    return events


def cancels(events: list[Event]) -> list[tuple[int, int]]:
    """(order id, reason) of the cancelled orders among some events."""
    return [(event.order_id, event.reason) for event in events if isinstance(event, OrderCancelled)]


# --- listing --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"instrument_id": "cu2701"}, "instrument_id 'cu2701' is not EXCHANGE.code"),
        ({"instrument_id": "shfe.cu2701"}, "instrument_id 'shfe.cu2701' is not EXCHANGE.code"),
        ({"instrument_id": "SHFE."}, "instrument_id 'SHFE.': the code must be 1 to 32 letters and digits"),
        ({"name": ""}, "name '' must be 1 to 64 characters"),
        ({"name": "a\nb"}, "name 'a\\nb' must be"),
        ({"product": ""}, "product '' must be"),
        ({"product": "c\0"}, "product 'c\\x00' must be"),
        ({"volume_multiple": 0}, "volume_multiple 0 is not in"),
        ({"tick_units": 0}, "tick_units 0 is not in"),
        ({"pre_settlement_ticks": 0}, "pre_settlement_ticks 0 is not in"),
        ({"limit_down_rate": 1_000_000_001}, "limit_down_rate 1000000001 is not in"),
        ({"volume_min": 0}, "volume_min 0 is not in"),
        ({"volume_min": 10, "volume_max": 9}, "volume_max 9 is not in [10, 1000000]"),
        ({"market_volume_max": 501}, "market_volume_max 501 is not in [0, 500]"),
        ({"volume_min": 10, "market_volume_max": 9}, "market_volume_max 9 is below volume_min 10"),
        ({"margin_long_rate": -1}, "margin_long_rate -1 is not in"),
        ({"margin_long_rate": 10**9 + 1}, "margin_long_rate 1000000001 is not in"),
        ({"open_amount": 10**11 + 1}, "open_amount 100000000001 is not in"),
        ({"tick_units": 10**12, "volume_multiple": 10}, "tick_units * volume_multiple 10000000000000 is not in"),
        ({"limit_up_rate": 10**11, "volume_multiple": 10**6, "tick_units": 10**6}, "limit_up_rate 100000000000: a lot"),
        ({"close_today_amount": 10**12}, "close_today_amount 1000000000000 is not in"),
        ({"position_limit": -1}, "position_limit -1 is not in"),
        ({"margin_rule": 2}, "margin_rule 2 is not in [0, 1]"),
        ({"instrument_class": 3}, "instrument_class 3 is not in [0, 2]"),
        ({"auction_rule": 2}, "auction_rule 2 is not in [0, 1]"),
        ({"settlement_rule": 3}, "settlement_rule 3 is not in [0, 2]"),
        ({"listing_day": 20260230}, "listing_day 20260230 is no day (YYYYMMDD)"),
        ({"expiry_day": 1}, "expiry_day 1 is no day (YYYYMMDD)"),
        ({"listing_day": 20270115, "expiry_day": 20270114}, "expiry_day 20270114 is before listing_day 20270115"),
        ({"volume_multiple": 10**6, "tick_units": 10**6, "pre_settlement_ticks": 10**9}, "limit_up_rate 100000000: "),
    ],
)
def test_terms_that_are_wrong_by_themselves_are_refused(changes, said):
    driver = Driver()
    detail = refused(driver, copper(**changes), rejects.BAD_INSTRUMENT)
    assert said in detail


def test_an_instrument_is_listed_once(driver):
    detail = refused(driver, copper(), rejects.INSTRUMENT_EXISTS)
    assert detail == f"instrument_id '{ID}' is listed (ACTIVE)"


def test_one_margin_rule_holds_for_a_product(driver):
    refused(driver, copper("SHFE.cu2702", margin_rule=1), rejects.BAD_INSTRUMENT)
    assert isinstance(driver.do(copper("INE.cu2702", margin_rule=1))[0], InstrumentListed)


def test_the_exchange_lists_no_more_than_its_limit(driver, monkeypatch):
    monkeypatch.setattr("node.exchange.listing.INSTRUMENTS_MAX", 1)
    refused(driver, copper("SHFE.cu2702"), rejects.BAD_INSTRUMENT)


def test_a_calendar_must_exist_and_be_of_the_same_exchange():
    driver = Driver()
    driver.do(SetCalendar("DCE.day", "DCE", DAY))
    for calendar in ("SHFE.day", "DCE.day"):
        detail = refused(driver, copper(calendar=calendar), rejects.CALENDAR_NOT_FOUND)
        assert detail == f"calendar '{calendar}' is none of SHFE"
    driver.do(SetCalendar("SHFE.day", "SHFE", DAY))
    assert driver.do(copper(calendar="SHFE.day")) == [InstrumentListed(ID)]
    assert master(driver).phase == Phase.CLOSED


def test_an_instrument_that_has_expired_cannot_be_listed():
    driver = Driver()
    today = driver.begin_day()
    detail = refused(driver, copper(expiry_day=today - 1), rejects.BAD_INSTRUMENT)
    assert detail == f"expiry_day {today - 1} is before the trading day {today}"
    assert isinstance(driver.do(copper(expiry_day=today))[0], InstrumentListed)


def test_an_instrument_is_closed_before_its_listing_day():
    driver = Driver()
    today = driver.begin_day()
    driver.do(copper(listing_day=today + 1))
    assert master(driver).phase == Phase.CLOSED
    account_id = driver.account()
    assert code(driver.place(account_id, BUY, 1, 7_000)) == rejects.INSTRUMENT_NOT_LISTED.code


# --- modifying ------------------------------------------------------------------------------------------------------


def test_a_modification_counts_the_version_and_keeps_the_settlement_price(driver):
    assert modify(driver, name="copper", pre_settlement_ticks=1) == [InstrumentModified(ID, 2)]
    assert (master(driver).version, master(driver).terms.name) == (2, "copper")
    assert master(driver).pre_settlement_ticks == master(driver).terms.pre_settlement_ticks == 7_000


def test_a_modification_of_an_older_version_is_refused(driver):
    modify(driver, name="copper")
    detail = refused(driver, modification(driver, expected_version=1, name="late"), rejects.INSTRUMENT_CHANGED)
    assert detail == "expected_version 1, it is at 2"
    assert isinstance(driver.do(modification(driver, expected_version=2, name="in time"))[0], InstrumentModified)


@pytest.mark.parametrize(
    ("changes", "reject"),
    [
        ({"instrument_id": "SHFE.cu9999"}, rejects.INSTRUMENT_NOT_FOUND),
        ({"volume_min": 0}, rejects.BAD_INSTRUMENT),
        ({"calendar": "SHFE.none"}, rejects.CALENDAR_NOT_FOUND),
        ({"expiry_day": 20250101}, rejects.BAD_INSTRUMENT),
        ({"tick_units": 0}, rejects.BAD_INSTRUMENT),
        ({"tick_units": 30_000 * YUAN}, rejects.BAD_INSTRUMENT),
    ],
)
def test_a_modification_to_wrong_terms_is_refused(driver, changes, reject):
    driver.begin_day()
    refused(driver, modification(driver, **changes), reject)


def test_new_limits_cancel_the_orders_outside_them(driver):
    account_id = driver.account()
    ids = [driver.order_id(driver.place(account_id, BUY, 1, price)) for price in (6_300, 6_650, 6_900)]
    ids += [driver.order_id(driver.place(account_id, SELL, 1, price)) for price in (7_350, 7_700)]
    events = modify(driver, limit_up_rate=50_000_000, limit_down_rate=50_000_000)
    assert (master(driver).lower_limit_ticks, master(driver).upper_limit_ticks) == (6_650, 7_350)
    outside = int(CancelReason.OUTSIDE_LIMITS)
    assert cancels(events) == [(ids[0], outside), (ids[4], outside)]
    assert code(driver.place(account_id, BUY, 1, 6_649)) == rejects.PRICE_OUTSIDE_LIMITS.code


def test_new_margins_move_all_holders_and_reservations(driver):
    buyer, seller = driver.account(), driver.account()
    driver.place(seller, SELL, 2, 7_000)
    driver.place(buyer, BUY, 3, 7_000)
    modify(driver, margin_long_amount=40_000 * YUAN, open_amount=200_000)
    long, short = driver.machine.accounts[buyer], driver.machine.accounts[seller]
    assert (long.margin, long.frozen_margin, long.frozen_fee) == (80_000 * YUAN, 40_000 * YUAN, 200_000)
    assert (short.margin, short.frozen_margin) == (70_000 * YUAN, 0)
    modify(driver, margin_long_amount=0, margin_long_rate=100_000_000)  # 10 % of 350 000 a lot
    assert (long.margin, long.frozen_margin) == (70_000 * YUAN, 35_000 * YUAN)


def test_an_opening_order_that_can_no_longer_be_reserved_is_cancelled_the_younger_first(driver):
    account_id = driver.account(80_000)
    older, younger = (driver.order_id(driver.place(account_id, BUY, 1, price)) for price in (6_990, 7_000))
    events = modify(driver, margin_long_amount=45_000 * YUAN)
    assert cancels(events) == [(younger, int(CancelReason.NO_LONGER_RESERVED))]
    account = driver.machine.accounts[account_id]
    assert list(account.live) == [older]
    assert account.available() == 80_000 * YUAN - 45_000 * YUAN - 175_000


def test_the_older_order_stays_whatever_its_side(driver):
    account_id = driver.account(80_000)
    older = driver.order_id(driver.place(account_id, SELL, 1, 7_010))
    younger = driver.order_id(driver.place(account_id, BUY, 1, 6_990))
    events = modify(driver, margin_long_amount=45_000 * YUAN, margin_short_amount=45_000 * YUAN)
    assert cancels(events) == [(younger, int(CancelReason.NO_LONGER_RESERVED))]
    assert list(driver.machine.accounts[account_id].live) == [older]


def test_exactly_enough_is_enough_to_keep_a_reservation(driver):
    account_id = driver.account(80_035)
    for price in (6_990, 7_000):
        driver.place(account_id, BUY, 1, price)
    assert cancels(modify(driver, margin_long_amount=40_000 * YUAN)) == []
    assert driver.machine.accounts[account_id].available() == 0


def test_a_cancelled_order_leaves_its_reserve_to_a_younger_one(driver):
    account_id = driver.account(250_000)
    large = driver.order_id(driver.place(account_id, BUY, 5, 7_000))
    small = driver.order_id(driver.place(account_id, BUY, 1, 7_000))
    events = modify(driver, margin_long_amount=60_000 * YUAN)
    assert cancels(events) == [(large, int(CancelReason.NO_LONGER_RESERVED))]
    assert list(driver.machine.accounts[account_id].live) == [small]


def test_a_closing_order_is_never_cancelled_for_its_fee(driver):
    buyer, seller = driver.account(35_040), driver.account()
    driver.place(seller, SELL, 1, 7_000)
    driver.place(buyer, BUY, 1, 7_000)
    driver.place(buyer, SELL, 1, 7_100, offset=CLOSETODAY)
    assert cancels(modify(driver, close_today_amount=100 * YUAN)) == []
    assert driver.machine.accounts[buyer].frozen_fee == 100 * YUAN
    assert driver.machine.accounts[buyer].available() < 0


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"volume_multiple": 10}, "volume_multiple 5 -> 10"),
        ({"tick_units": 5 * YUAN}, "tick_units 100000 -> 50000"),
        ({"product": "bc"}, "product 'cu' -> 'bc'"),
        ({"margin_rule": 1}, "margin_rule 0 -> 1"),
    ],
)
def test_the_identity_of_a_held_instrument_is_fixed(driver, changes, said):
    buyer, seller = driver.account(), driver.account()
    order_id = driver.order_id(driver.place(seller, SELL, 1, 7_000))
    detail = refused(driver, modification(driver, **changes), rejects.INSTRUMENT_HELD)
    assert detail == f"{said}: {ID} is held by {seller}"
    driver.place(buyer, BUY, 1, 7_000)
    assert f"{ID} is held by {seller}, {buyer}" in refused(
        driver, modification(driver, **changes), rejects.INSTRUMENT_HELD
    )
    driver.place(buyer, SELL, 1, 7_000, offset=CLOSETODAY)
    driver.place(seller, BUY, 1, 7_000, offset=CLOSETODAY)
    assert order_id
    # Today's statistics are of the contract as it is.
    detail = refused(driver, modification(driver, **changes), rejects.INSTRUMENT_HELD)
    assert detail == f"{said}: 2 lots were traded today"


def test_the_identity_of_an_instrument_is_fixed_while_reached_conditional_orders_queue(driver, monkeypatch):
    """Their price came on the day before; a new tick would double or halve the price that they carry."""
    monkeypatch.setattr(triggers, "FIRED_PER_COMMAND", 1)
    driver.begin_day()
    holder, other = driver.account(), driver.account()
    for _ in range(3):
        driver.do(commands.PlaceConditional(holder, ID, BUY, OPEN, 1, 0, 6_400, 2, 0, 7_100))
    for offset, direction, price in ((OPEN, BUY, 7_100), (CLOSETODAY, SELL, 7_000)):
        driver.place(holder, direction, 1, price, offset=offset)
        assert trades(driver.place(other, -direction, 1, price, offset=offset)) == [(price, 1)]
    driver.settle()
    assert len(driver.machine.triggers.fired) == 2
    detail = refused(driver, modification(driver, tick_units=5 * YUAN), rejects.INSTRUMENT_HELD)
    assert "conditional orders wait" in detail


def test_the_identity_of_a_watched_instrument_is_fixed(driver):
    driver.do(PlaceConditional(driver.account(), ID, BUY, 0, 1, 0, 7_000, 2, 0, 7_100))
    detail = refused(driver, modification(driver, tick_units=5 * YUAN), rejects.INSTRUMENT_HELD)
    assert "conditional orders wait" in detail


def test_an_instrument_that_nobody_holds_may_become_another_contract(driver):
    account_id = driver.account()
    order_id = driver.order_id(driver.place(account_id, BUY, 1, 7_000))
    driver.do(commands.CancelOrder(account_id, order_id))
    modify(driver, tick_units=5 * YUAN, product="bc", margin_rule=1, volume_multiple=10)
    instrument = master(driver)
    assert (instrument.pre_settlement_ticks, instrument.last_ticks, instrument.pre_close_ticks) == (14_000,) * 3
    assert (instrument.lower_limit_ticks, instrument.upper_limit_ticks) == (12_600, 15_400)
    assert instrument.venue.margin_rules == {"bc": 1}
    for direction in (BUY, SELL):
        driver.place(account_id, direction, 1, 14_000 - 10 * direction)
    other = driver.account()
    driver.place(other, SELL, 1, 13_990)
    driver.place(other, BUY, 1, 14_010)
    assert driver.machine.accounts[account_id].products["SHFE.bc"].rule == 1
    assert driver.machine.accounts[account_id].margin == 70_000 * YUAN  # the sum of both sides


def test_a_margin_rule_that_other_contracts_share_stays(driver):
    driver.do(copper("SHFE.cu2702"))
    detail = refused(driver, modification(driver, margin_rule=1), rejects.BAD_INSTRUMENT)
    assert detail == "margin_rule 1: product cu has another one"


def test_a_limit_that_would_make_a_position_worth_too_much_stays_below(driver):
    huge = {"volume_multiple": 10**6, "tick_units": 10**5, "margin_long_amount": 0, "margin_short_amount": 0}
    driver = Driver(copper(**huge, volume_max=100))
    buyer, seller = driver.account(), driver.account()
    driver.place(seller, SELL, 100, 7_000)
    driver.place(buyer, BUY, 100, 7_000)
    modify(driver, limit_up_rate=10**9)  # 14 000 ticks
    assert master(driver).upper_limit_ticks == NOTIONAL_UNITS_MAX // (100 * 10**11) == 10_000
    modify(driver, name="again")
    assert master(driver).upper_limit_ticks == 10_000


def test_the_listing_day_of_a_held_instrument_is_not_put_off(driver):
    today = driver.begin_day()
    driver.place(driver.account(), BUY, 1, 7_000)
    detail = refused(driver, modification(driver, listing_day=today + 1), rejects.INSTRUMENT_HELD)
    assert f"listing_day {today + 1} is after the trading day {today}" in detail


def test_the_expiry_day_may_move(driver):
    today = driver.begin_day()
    modify(driver, expiry_day=today)
    modify(driver, expiry_day=0)
    assert master(driver).terms.expiry_day == 0


def test_a_new_calendar_takes_effect_at_once(driver):
    driver.begin_day(MONDAY_NS)
    driver.do(SetCalendar("SHFE.day", "SHFE", [(0, 1, int(Phase.CONTINUOUS))]))
    assert master(driver).phase == Phase.CONTINUOUS
    modify(driver, calendar="SHFE.day")
    assert master(driver).phase == driver.machine.calendars["SHFE.day"].phase == Phase.CLOSED
    modify(driver, calendar="")
    assert master(driver).phase == Phase.CONTINUOUS


def test_the_risk_monitor_looks_again_at_holders_whose_margin_rose(driver):
    driver.begin_day()
    buyer, seller = driver.account(72_000), driver.account()
    driver.place(seller, SELL, 2, 7_000)
    driver.place(buyer, BUY, 2, 7_000)
    for _ in range(3):
        driver.do(commands.AdvanceClock(), time_ns=driver.machine.time_ns + 2 * 10**9)
    before = driver.machine.accounts[buyer].risk_level
    modify(driver, margin_long_amount=20_000 * YUAN)
    for _ in range(3):
        driver.do(commands.AdvanceClock(), time_ns=driver.machine.time_ns + 2 * 10**9)
    assert driver.machine.accounts[buyer].risk_level < before


# --- status ---------------------------------------------------------------------------------------------------------


def test_a_suspended_instrument_keeps_its_orders_and_trades_on_when_it_is_resumed(driver):
    account_id, other = driver.account(), driver.account()
    order_id = driver.order_id(driver.place(account_id, BUY, 1, 7_000))
    assert driver.do(SetInstrumentStatus(ID, SUSPENDED, "news")) == [InstrumentStatusChanged(ID, SUSPENDED, "news")]
    assert (master(driver).phase, master(driver).status_reason) == (Phase.CLOSED, "news")
    assert code(driver.place(other, SELL, 1, 7_000)) == rejects.INSTRUMENT_NOT_TRADING.code
    driver.do(SetInstrumentStatus(ID, ACTIVE))
    assert trades(driver.place(other, SELL, 1, 7_000)) == [(7_000, 1)]
    assert driver.machine.orders[order_id].left == 0


def test_an_instrument_held_in_an_auction_matches_when_it_is_made_active(driver):
    buyer, seller = driver.account(), driver.account()
    driver.do(SetInstrumentStatus(ID, AUCTION))
    driver.place(buyer, BUY, 5, 7_010)
    events = driver.place(seller, SELL, 3, 6_990)
    assert trades(events) == []
    assert any(isinstance(event, AuctionIndicated) for event in events)
    events = driver.do(SetInstrumentStatus(ID, ACTIVE))
    assert events[:2] == [InstrumentStatusChanged(ID, ACTIVE, ""), AuctionMatched(ID, 7_010, 3)]
    assert trades(events) == [(7_010, 3)]
    assert master(driver).phase == Phase.CONTINUOUS


def test_an_auction_matches_when_it_is_ended_outside_the_hours_of_the_calendar(driver):
    buyer, seller = driver.account(), driver.account()
    driver.begin_day(MONDAY_NS)
    driver.do(SetCalendar("SHFE.day", "SHFE", [(0, 1, int(Phase.CONTINUOUS))]))
    modify(driver, calendar="SHFE.day")
    driver.do(SetInstrumentStatus(ID, AUCTION))
    driver.place(buyer, BUY, 1, 7_000)
    driver.place(seller, SELL, 1, 7_000)
    assert trades(driver.do(SetInstrumentStatus(ID, ACTIVE))) == [(7_000, 1)]
    assert master(driver).phase == Phase.CLOSED


def test_an_auction_that_was_halted_is_matched_before_trading_goes_on(driver):
    buyer, seller = driver.account(), driver.account()
    driver.do(SetInstrumentStatus(ID, AUCTION))
    driver.place(buyer, BUY, 1, 7_000)
    driver.place(seller, SELL, 1, 7_000)
    driver.do(SetInstrumentStatus(ID, SUSPENDED))
    assert trades(driver.do(SetInstrumentStatus(ID, ACTIVE))) == [(7_000, 1)]


def test_new_limits_in_an_auction_show_where_it_would_match_now(driver):
    buyer, seller = driver.account(), driver.account()
    driver.do(SetInstrumentStatus(ID, AUCTION))
    driver.place(buyer, BUY, 5, 7_700)
    driver.place(seller, SELL, 5, 7_000)
    events = modify(driver, limit_up_rate=50_000_000)
    assert events[-1] == AuctionIndicated(ID, 0, 0, 0)


@pytest.mark.parametrize("status", [DELISTED, EXPIRED, 6, -1])
def test_a_status_that_is_not_set_this_way_is_refused(driver, status):
    detail = refused(driver, SetInstrumentStatus(ID, status), rejects.BAD_INSTRUMENT)
    assert detail == f"status {status} is none of 0, 1, 2, 3"


def test_a_reason_that_is_too_long_is_refused(driver):
    refused(driver, SetInstrumentStatus(ID, SUSPENDED, "x" * 201), rejects.BAD_INSTRUMENT)


# --- delisting ------------------------------------------------------------------------------------------------------


def test_a_held_instrument_is_not_delisted_and_says_by_whom(driver):
    accounts = [driver.account() for _ in range(8)]
    for n, account_id in enumerate(accounts):
        driver.place(account_id, BUY, 1, 6_990 - n)
    detail = refused(driver, DelistInstrument(ID), rejects.INSTRUMENT_HELD)
    assert detail == f"{ID} is held by {', '.join(accounts[:5])} and 3 more"


def test_frozen_lots_hold_an_instrument(driver):
    buyer, seller = driver.account(), driver.account()
    driver.place(seller, SELL, 1, 7_000)
    driver.place(buyer, BUY, 1, 7_000)
    driver.place(buyer, SELL, 1, 7_100, offset=CLOSETODAY)
    assert refused(driver, DelistInstrument(ID), rejects.INSTRUMENT_HELD) == f"{ID} is held by {seller}, {buyer}"


def test_a_delisted_instrument_ends_and_keeps_its_terms(driver):
    buyer, seller = driver.account(), driver.account()
    driver.place(seller, SELL, 1, 7_000)
    driver.place(buyer, BUY, 1, 7_000)
    driver.place(buyer, SELL, 1, 7_000, offset=CLOSETODAY)
    driver.place(seller, BUY, 1, 7_000, offset=CLOSETODAY)
    assert driver.do(DelistInstrument("cu2701")) == [InstrumentStatusChanged(ID, DELISTED, "")]
    assert (master(driver).phase, master(driver).terms.volume_multiple) == (Phase.CLOSED, 5)
    assert driver.machine.resolve("cu2701") is None
    for command in (
        DelistInstrument(ID),
        SetInstrumentStatus(ID, ACTIVE),
        modification(driver, name="again"),
    ):
        detail = refused(driver, command, rejects.INSTRUMENT_NOT_LISTED)
        assert detail == f"{ID} is DELISTED"
    assert refused(driver, copper(), rejects.INSTRUMENT_EXISTS) == f"instrument_id '{ID}' is listed (DELISTED)"


def test_a_bare_code_means_what_is_left_of_its_bearers(driver):
    driver.do(copper("INE.cu2701"))
    driver.do(copper("DCE.cu2701"))
    assert driver.machine.resolve("cu2701") is None
    driver.do(DelistInstrument(ID))
    assert driver.machine.resolve("cu2701") is None
    driver.do(DelistInstrument("DCE.cu2701"))
    assert driver.machine.resolve("cu2701").instrument_id == "INE.cu2701"
    driver.do(index_future(instrument_id="CFFEX.cu2701", product="cu"))
    assert driver.machine.resolve("cu2701") is None


def test_conditional_orders_end_with_their_instrument(driver):
    driver.do(PlaceConditional(driver.account(), ID, BUY, 0, 1, 0, 7_000, 2, 0, 7_100))
    ended = [event for event in driver.do(DelistInstrument(ID)) if isinstance(event, ConditionalEnded)]
    assert len(ended) == 1


@pytest.mark.parametrize(
    "command",
    [DelistInstrument("SHFE.cu9999"), SetInstrumentStatus("SHFE.cu9999", 1)],
)
def test_a_command_about_no_instrument_is_refused(driver, command):
    refused(driver, command, rejects.INSTRUMENT_NOT_FOUND)


def test_terms_are_copied_whole(driver):
    changed = modification(driver, name="x", position_limit=7)
    driver.do(changed)
    listed = {field: getattr(master(driver).terms, field) for field in commands.Terms.__struct_fields__}
    assert listed == {field: getattr(changed, field) for field in commands.Terms.__struct_fields__}
    assert msgspec.structs.asdict(ListInstrument(**listed))["position_limit"] == 7


def test_a_modified_instrument_trades_at_its_new_fee(driver):
    buyer, seller = driver.account(), driver.account()
    driver.place(seller, SELL, 1, 7_000)
    modify(driver, open_amount=100 * YUAN)
    assert isinstance(driver.place(buyer, BUY, 1, 7_000)[0], OrderAccepted)
    assert [driver.machine.accounts[a].commission for a in (buyer, seller)] == [100 * YUAN] * 2


# --- all of it together ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
def test_no_order_of_changes_and_trades_unbalances_the_books(seed):
    """Every `do` checks all invariants: reservations, margins, positions and money follow from what is there."""
    rng = random.Random(seed)
    driver = Driver(copper(), copper("SHFE.cu2702"))
    driver.begin_day()
    accounts = [driver.account(rng.choice((150_000, 400_000, 10_000_000))) for _ in range(5)]
    done = {"changed": 0, "cancelled": 0, "traded": 0}
    for _ in range(1_000):
        draw = rng.random()
        instrument_id = rng.choice((ID, ID, "SHFE.cu2702"))
        instrument = driver.machine.instruments[instrument_id]
        if draw < 0.7:
            offset = rng.choice((0, 0, 0, 2))
            price = instrument.pre_settlement_ticks + rng.randint(-30, 30)
            events = driver.place(
                rng.choice(accounts),
                rng.choice((BUY, SELL)),
                rng.randint(1, 4),
                price,
                instrument=instrument_id,
                offset=offset,
            )
            done["traded"] += len(trades(events))
        elif draw < 0.93:
            terms = {field: getattr(instrument.terms, field) for field in commands.Terms.__struct_fields__}
            terms |= rng.choice(
                (
                    {"margin_long_amount": rng.randint(1, 60_000) * YUAN, "margin_long_rate": 0},
                    {"margin_short_rate": rng.randint(0, 10**8), "margin_short_amount": rng.randint(0, 10**8)},
                    {"open_amount": rng.randint(0, 10**6), "close_today_rate": rng.randint(0, 10**6)},
                    {"limit_up_rate": rng.randint(10**6, 10**8), "limit_down_rate": rng.randint(10**6, 10**8)},
                    {"volume_multiple": rng.choice((5, 10))},
                    {"tick_units": rng.choice((5, 10, 20)) * YUAN},
                    {"product": rng.choice(("cu", "bc")), "margin_rule": rng.choice((0, 1))},
                )
            )
            events = driver.do(ModifyInstrument(**terms))
            done["changed"] += isinstance(events[0], InstrumentModified)
            done["cancelled"] += len(cancels(events))
        elif draw < 0.97:
            driver.do(SetInstrumentStatus(instrument_id, rng.choice((ACTIVE, ACTIVE, SUSPENDED, AUCTION))))
        elif draw < 0.98:
            driver.do(commands.FreezeAccount(rng.choice(accounts), rng.choice((0, 0, 1, 3)), rng.random() < 0.5))
        else:
            driver.do(commands.AdvanceClock(), time_ns=driver.machine.time_ns + 2 * 10**9)
    assert min(done.values()) > 3, done


def test_a_settlement_in_between_changes_nothing_about_that(driver):
    driver.begin_day()
    buyer, seller = driver.account(), driver.account()
    driver.place(seller, SELL, 2, 7_000)
    driver.place(buyer, BUY, 2, 7_000)
    driver.settle({ID: 7_100})
    modify(driver, margin_long_rate=100_000_000, margin_long_amount=0)
    assert driver.machine.accounts[buyer].margin == 2 * 35_500 * YUAN  # 10 % of the settlement price
    assert master(driver).terms.pre_settlement_ticks == master(driver).pre_settlement_ticks == 7_100
    assert (master(driver).lower_limit_ticks, master(driver).upper_limit_ticks) == (6_390, 7_810)
    driver.place(buyer, SELL, 2, 7_100, offset=1)
    driver.place(seller, BUY, 2, 7_100, offset=1)
    driver.settle()
    modify(driver, volume_multiple=10)  # the records of the old contract are gone
    assert master(driver).tick_value == 100 * YUAN


def test_a_delisted_instrument_with_trades_of_the_day_does_not_hold_up_its_settlement(driver):
    driver.begin_day()
    buyer, seller = driver.account(), driver.account()
    driver.place(seller, SELL, 1, 7_000)
    driver.place(buyer, BUY, 1, 7_000)
    driver.place(buyer, SELL, 1, 7_010, offset=CLOSETODAY)
    driver.place(seller, BUY, 1, 7_010, offset=CLOSETODAY)
    driver.do(DelistInstrument(ID))
    day = driver.machine.trading_day
    driver.settle()
    assert driver.machine.trading_day > day
    assert driver.machine.accounts[buyer].pre_balance == 10_000_000 * YUAN + 100 * 5 * YUAN - 2 * 175_000
