"""Settlement of a trading day (domain.md 8): prices, mark to market, orders that survive, expiry, the next day."""

from __future__ import annotations

import dataclasses
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from api import render
from node.exchange import codec, commands, invariants, mark_to_market, queries, rejects, settlement
from node.exchange.events import (
    AccountSettled,
    AuctionIndicated,
    CommandRejected,
    ConditionalEnded,
    DaySettled,
    InstrumentSettled,
    OrderCancelled,
    PositionExpired,
    RequestRepeated,
    RiskAlerted,
    SessionChanged,
    SettlementStarted,
)
from node.exchange.machine import Machine
from node.exchange.types import ENCODABLE_MAX, CancelReason, InstrumentStatus, OrderState, Phase, RiskLevel
from tests.exchange.driver import (
    BUY,
    CLOSE,
    CLOSETODAY,
    MONDAY_NS,
    OPEN,
    SELL,
    YUAN,
    Driver,
    code,
    copper,
    index_future,
    of,
    trades,
)
from tests.exchange.refusals import refused

MONDAY, TUESDAY = 20261123, 20261124
GTC, GTD, GFS = 2, 3, 4
FRIDAY_NS = MONDAY_NS + 4 * 86_400 * 10**9
DAY_CALENDAR = [(32_400, 36_900, 5), (37_800, 41_400, 5), (48_600, 54_000, 5)]  # 09:00-10:15, 10:30-11:30, 13:30-15:00


@dataclasses.dataclass
class Market:
    """One contract, and two accounts that hold each other's lots."""

    exchange: Driver
    long: str
    short: str

    @property
    def machine(self) -> Any:
        return self.exchange.machine

    def trade(self, volume: int, price: int, **fields: Any) -> None:
        self.exchange.place(self.short, SELL, volume, price, **fields)
        assert trades(self.exchange.place(self.long, BUY, volume, price, **fields)) == [(price, volume)]

    def figures(self, account_id: str) -> queries.AccountFigures:
        return queries.account_figures(self.machine.accounts[account_id])


def market(*instruments: commands.ListInstrument, cash: float = 10_000_000) -> Market:
    exchange = Driver(*(instruments or (copper(),)))
    exchange.begin_day()
    return Market(exchange, exchange.account(cash), exchange.account(cash))


# Prices


@pytest.mark.parametrize(
    ("prices", "words"),
    [
        ([], "prices is empty"),
        ([("SHFE.cu9999", 7_000)], "SHFE.cu9999"),
        ([("cu2701", 0)], "cu2701: 0 ticks"),
        ([("cu2701", -1)], "cu2701: -1 ticks"),
        ([("cu2701", 10**9 + 1)], "cu2701: 1000000001 ticks"),
        ([("cu2701", 7_701)], "outside the limits [6300, 7700]"),
        ([("cu2701", 6_299)], "outside the limits [6300, 7700]"),
        ([("cu2701", 7_000), ("SHFE.cu2701", 7_001)], "two prices"),
        ([("SHFE.cu2702", 7_000), ("cu2701", 0)], "cu2701"),
    ],
)
def test_wrong_settlement_prices_are_refused_by_name_and_none_of_them_is_set(
    prices: list[tuple[str, int]], words: str
) -> None:
    exchange = Driver(copper(), copper("SHFE.cu2702"))
    exchange.begin_day()
    assert words in refused(exchange, commands.SetSettlementPrices(MONDAY, prices), rejects.BAD_SETTLEMENT_PRICE)


def test_a_later_settlement_price_replaces_an_earlier_one() -> None:
    there = market()
    there.trade(1, 7_000)
    there.exchange.do(commands.SetSettlementPrices(MONDAY, [("cu2701", 7_010)]))
    there.exchange.do(commands.SetSettlementPrices(MONDAY, [("cu2701", 7_020)]))
    (settled,) = of(InstrumentSettled, there.exchange.settle())
    assert settled.settlement_ticks == 7_020


@pytest.mark.parametrize("day", [0, 20261122, TUESDAY])
def test_prices_and_settlement_of_another_day_are_refused(day: int) -> None:
    exchange = Driver(copper())
    for opened in (False, True):
        if opened:
            exchange.begin_day()
        refused(exchange, commands.SetSettlementPrices(day, [("cu2701", 7_000)]), rejects.WRONG_TRADING_DAY)
        refused(exchange, commands.SettleDay(day), rejects.WRONG_TRADING_DAY)


def test_an_instrument_with_open_interest_and_no_trade_needs_a_price() -> None:
    there = market()
    there.trade(1, 7_000)
    there.exchange.settle()
    detail = refused(there.exchange, commands.SettleDay(TUESDAY), rejects.SETTLEMENT_PRICE_MISSING)
    assert "SHFE.cu2701" in detail
    assert of(DaySettled, there.exchange.settle({"cu2701": 7_010}))


def test_the_list_of_missing_prices_is_bounded_and_counts_the_others() -> None:
    names = [f"SHFE.cu27{month:02d}" for month in range(1, 10)]
    there = market(*(copper(name) for name in names), cash=50_000_000)
    for name in names:
        there.trade(1, 7_000, instrument=name)
    there.exchange.settle()
    (event,) = there.exchange.do(commands.SettleDay(TUESDAY))
    assert event.detail.endswith("SHFE.cu2705 and 4 others")


def test_without_a_price_set_the_volume_weighted_average_of_the_day_is_taken_half_to_even() -> None:
    there = market()
    there.trade(1, 7_000)
    there.trade(1, 7_001)  # 7 000.5
    (settled,) = of(InstrumentSettled, there.exchange.settle())
    assert settled.settlement_ticks == 7_000
    there.trade(1, 7_001)
    there.trade(1, 7_002)  # 7 001.5
    (settled,) = of(InstrumentSettled, there.exchange.settle())
    assert settled.settlement_ticks == 7_002


def test_the_rule_last_price_settles_at_the_last_trade() -> None:
    there = market(copper(settlement_rule=2))
    there.trade(5, 7_000)
    there.trade(1, 7_050)
    assert of(InstrumentSettled, there.exchange.settle())[0].settlement_ticks == 7_050


@pytest.mark.parametrize(("before", "within", "expected"), [(5, 3, 7_100), (5, 0, 7_000)])
def test_the_rule_last_hour_averages_its_trades_or_without_any_the_whole_day(
    before: int, within: int, expected: int
) -> None:
    exchange = Driver()
    exchange.do(commands.SetCalendar("SHFE.day", "SHFE", DAY_CALENDAR))
    exchange.do(copper(calendar="SHFE.day", settlement_rule=1))
    exchange.begin_day()  # 10:00
    there = Market(exchange, exchange.account(), exchange.account())
    there.trade(before, 7_000)
    exchange.do(commands.AdvanceClock(), time_ns=exchange.machine.time_ns + 4 * 3_600 * 10**9 + 60 * 10**9)  # 14:01
    if within:
        there.trade(within, 7_100)
    exchange.do(commands.AdvanceClock(), time_ns=exchange.machine.time_ns + 3_600 * 10**9)
    instrument = there.machine.instruments["SHFE.cu2701"]
    assert instrument.hour_volume == before
    assert of(InstrumentSettled, exchange.settle())[0].settlement_ticks == expected
    assert (instrument.hour_volume, instrument.hour_turnover_ticks) == (0, 0)


def test_an_instrument_that_nobody_holds_and_nobody_traded_needs_no_price() -> None:
    there = market(copper(), copper("SHFE.cu2702"))
    there.trade(1, 7_000)
    events = there.exchange.settle()
    assert [e.instrument_id for e in of(InstrumentSettled, events)] == ["SHFE.cu2701"]
    assert of(DaySettled, events)


def test_a_price_that_the_limits_of_the_day_no_longer_allow_is_refused_and_nothing_has_changed() -> None:
    there = market()
    there.trade(1, 7_600)
    terms = msgspec.structs.asdict(copper(limit_up_rate=50_000_000))
    (event,) = there.exchange.do(commands.ModifyInstrument(**terms))
    assert not isinstance(event, CommandRejected), event
    detail = refused(there.exchange, commands.SettleDay(MONDAY), rejects.BAD_SETTLEMENT_PRICE)
    assert "SHFE.cu2701: 7600 ticks is outside the limits [6300, 7350]" in detail
    assert of(DaySettled, there.exchange.settle({"cu2701": 7_350}))


# When


def test_a_day_whose_sessions_are_not_over_is_not_settled_and_the_reject_names_calendar_and_phase() -> None:
    exchange = Driver()
    exchange.do(commands.SetCalendar("SHFE.day", "SHFE", DAY_CALENDAR))
    exchange.do(copper(calendar="SHFE.day"))
    exchange.begin_day()  # 10:00: CONTINUOUS
    detail = refused(exchange, commands.SettleDay(MONDAY), rejects.SETTLEMENT_FAILED)
    assert "SHFE.day" in detail
    assert "CONTINUOUS" in detail
    exchange.do(commands.AdvanceClock(), time_ns=exchange.machine.time_ns + 20 * 60 * 10**9)  # 10:20, between sessions
    assert "its day is not over" in refused(exchange, commands.SettleDay(MONDAY), rejects.SETTLEMENT_FAILED)
    exchange.do(commands.AdvanceClock(), time_ns=exchange.machine.time_ns + 6 * 3_600 * 10**9)  # 16:20
    events = exchange.do(commands.SettleDay(MONDAY))
    assert of(DaySettled, events)[0].next_trading_day == TUESDAY
    assert exchange.machine.trading_day == TUESDAY


def test_a_day_that_is_forced_closed_is_over_and_the_next_opens_at_its_hour() -> None:
    exchange = Driver()
    exchange.do(commands.SetCalendar("SHFE.day", "SHFE", DAY_CALENDAR))
    exchange.do(copper(calendar="SHFE.day"))
    exchange.begin_day()  # 10:00: CONTINUOUS
    exchange.do(commands.SetSession("SHFE", int(Phase.CLOSED)))
    assert of(DaySettled, exchange.do(commands.SettleDay(MONDAY)))[0].next_trading_day == TUESDAY
    exchange.do(commands.AdvanceClock(), time_ns=MONDAY_NS + 12_600 * 10**9)  # 13:30 of the settled day
    assert exchange.machine.instruments["SHFE.cu2701"].phase == Phase.CLOSED
    exchange.do(commands.AdvanceClock(), time_ns=MONDAY_NS + 23 * 3_600 * 10**9)  # 09:00 of the next
    assert exchange.machine.instruments["SHFE.cu2701"].phase == Phase.CONTINUOUS


def test_a_settled_day_answers_its_first_result_and_changes_nothing() -> None:
    there = market()
    there.trade(2, 7_000)
    (first,) = of(DaySettled, there.exchange.settle({"cu2701": 7_020}))
    before = [a.balance() for a in there.machine.accounts.values()]
    (again,) = there.exchange.do(commands.SettleDay(MONDAY))
    assert again.repeated and not first.repeated
    assert (again.trading_day, again.next_trading_day, again.accounts) == (MONDAY, TUESDAY, 2)
    assert again.commission_units == first.commission_units == 2 * 350_000
    assert [a.balance() for a in there.machine.accounts.values()] == before
    assert there.machine.trading_day == TUESDAY


def test_the_results_of_the_newest_days_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settlement, "SETTLEMENTS_KEPT", 3)
    monkeypatch.setattr(mark_to_market, "STATEMENTS_KEPT", 2)
    there = market()
    days = []
    for _ in range(5):
        days.append(there.machine.trading_day)
        there.exchange.settle()
    assert list(there.machine.settlements.results) == days[2:]
    assert [s.trading_day for s in queries.statements(there.machine.accounts[there.long])] == days[3:]


# Accounts


def test_the_position_profit_becomes_balance_and_the_day_begins_again() -> None:
    there = market()
    there.trade(2, 7_000)
    there.exchange.do(commands.Deposit(there.long, 500 * YUAN))
    there.exchange.do(commands.Withdraw(there.long, 200 * YUAN))
    before = there.figures(there.long)
    events = there.exchange.settle({"cu2701": 7_020})
    (statement,) = [e for e in of(AccountSettled, events) if e.account_id == there.long]
    after = there.figures(there.long)
    assert statement.pre_balance == 0  # the day began without money
    assert statement.deposit == 10_000_500 * YUAN
    assert statement.withdraw == 200 * YUAN
    assert statement.position_profit == 2_000 * YUAN
    assert statement.commission == 350_000
    assert after.pre_balance == after.balance == statement.balance == before.balance + 2_000 * YUAN
    assert (after.deposit, after.withdraw, after.close_profit, after.commission) == (0, 0, 0, 0)
    assert (after.position_profit, after.float_profit) == (0, 2_000 * YUAN)
    assert statement.available == after.available == after.balance - after.margin
    assert queries.statements(there.machine.accounts[there.long]) == [statement]


def test_the_margin_follows_the_settlement_price() -> None:
    there = market(index_future())
    there.trade(1, 19_000, instrument="CFFEX.IF2701")
    assert there.figures(there.long).margin == 136_800 * YUAN
    there.exchange.settle({"IF2701": 19_100})
    assert there.figures(there.long).margin == 137_520 * YUAN  # 3 820 * 300 * 12 %


def test_what_was_profit_of_the_day_may_be_withdrawn_after_settlement() -> None:
    there = market()
    there.trade(2, 7_000)
    free = there.figures(there.long).withdraw_quota
    there.exchange.settle({"cu2701": 7_020})
    assert there.figures(there.long).withdraw_quota == free + 2_000 * YUAN


def test_a_position_that_is_gone_leaves_the_account_and_the_instrument() -> None:
    there = market()
    there.trade(2, 7_000)
    there.exchange.place(there.short, BUY, 2, 7_000, offset=CLOSETODAY)
    there.exchange.place(there.long, SELL, 2, 7_000, offset=CLOSETODAY)
    assert there.machine.instruments["SHFE.cu2701"].holders
    there.exchange.settle()
    for account in there.machine.accounts.values():
        assert not account.positions
        assert not account.products
    assert not there.machine.instruments["SHFE.cu2701"].holders


def test_a_position_with_a_surviving_opening_order_stays() -> None:
    there = market()
    kept = there.exchange.order_id(there.exchange.place(there.long, BUY, 1, 6_900, time_condition=GTC))
    there.exchange.settle()
    assert there.machine.accounts[there.long].positions["SHFE.cu2701"].long.opening == 1
    assert trades(there.exchange.place(there.short, SELL, 1, 6_900)) == [(6_900, 1)]
    assert not there.machine.orders[kept].alive


def test_the_profits_of_all_accounts_cancel_exactly_and_the_fees_are_kept() -> None:
    there = market()
    there.trade(3, 7_000)
    there.trade(2, 7_007)
    there.exchange.place(there.short, BUY, 1, 7_013, offset=CLOSETODAY)
    there.exchange.place(there.long, SELL, 1, 7_013, offset=CLOSETODAY)
    (settled,) = of(DaySettled, there.exchange.settle({"cu2701": 7_011}))
    assert settled.profit_units == 0
    assert settled.commission_units == there.machine.fees_units == 12 * 175_000
    balances = sum(account.balance() for account in there.machine.accounts.values())
    assert balances + there.machine.fees_units == there.machine.external_units


def test_an_account_without_enough_left_is_listed_for_liquidation_and_the_others_are_not() -> None:
    there = market(cash=72_000)
    there.exchange.do(commands.Deposit(there.short, 10**12))
    there.trade(2, 7_000)  # 70 000 margin
    (settled,) = of(DaySettled, there.exchange.settle({"cu2701": 6_950}))  # loses 5 000
    assert there.machine.settlements.listed == [there.long]
    assert settled.liquidations == 1


def test_the_list_for_liquidation_is_that_of_the_newest_settlement() -> None:
    there = market(cash=72_000)
    there.trade(2, 7_000)
    there.exchange.settle({"cu2701": 6_950})
    assert there.machine.settlements.listed == [there.long]
    there.exchange.do(commands.Deposit(there.long, 10**6 * YUAN))
    there.exchange.settle({"cu2701": 6_950})
    assert there.machine.settlements.listed == []


@pytest.mark.parametrize(("left", "listed"), [(0, True), (1, False)])
def test_an_account_whose_margin_is_its_whole_balance_is_listed(left: int, listed: bool) -> None:
    there = market(cash=80_000)
    there.trade(2, 7_000)
    loss = -(80_000 - 70_000 - 35) * YUAN
    there.exchange.do(commands.Withdraw(there.long, -loss - left))
    there.exchange.settle({"cu2701": 7_000})
    figures = there.figures(there.long)
    assert (figures.balance, figures.margin) == (70_000 * YUAN + left, 70_000 * YUAN)
    assert (there.long in there.machine.settlements.listed) is listed


def test_an_account_whose_working_closes_take_the_last_of_its_funds_is_listed_and_keeps_no_opening_order() -> None:
    """Closing orders are never refused for their fees: these are what drives available below zero here."""
    there = market(copper(close_amount=1_000 * YUAN), cash=107_000)
    there.exchange.do(commands.Deposit(there.short, 10**12))
    there.trade(2, 7_000)
    opening = there.exchange.order_id(there.exchange.place(there.long, BUY, 1, 6_900, time_condition=GTC))
    there.exchange.settle({"cu2701": 7_000})
    assert there.machine.orders[opening].alive  # 36 965 - 35 017.5
    there.exchange.place(there.long, SELL, 2, 7_100, offset=CLOSE, time_condition=GTC)
    (ended,) = of(OrderCancelled, there.exchange.settle({"cu2701": 7_000}))
    assert (ended.order_id, ended.reason) == (opening, CancelReason.NO_LONGER_RESERVED)
    there.exchange.settle({"cu2701": 6_648})
    figures = there.figures(there.long)
    assert 0 < figures.margin < figures.balance
    assert figures.available < 0
    assert there.machine.settlements.listed == [there.long]


def test_the_risk_monitor_looks_at_what_settlement_left_of_every_account() -> None:
    there = market(cash=72_000)
    there.exchange.do(commands.AdvanceClock(), time_ns=there.machine.time_ns + 2 * 10**9)
    there.trade(2, 7_000)
    there.exchange.settle({"cu2701": 7_000})  # at the price that the monitor knows, and with an empty day
    events = there.exchange.do(commands.AdvanceClock(), time_ns=there.machine.time_ns + 2 * 10**9)
    assert sorted(e.account_id for e in of(RiskAlerted, events)) == [there.long, there.short]


def test_an_account_at_risk_whose_last_position_expires_is_at_no_risk_any_more() -> None:
    there = market(copper(expiry_day=MONDAY), cash=72_000)
    there.trade(2, 7_000)
    there.exchange.do(commands.AdvanceClock(), time_ns=there.machine.time_ns + 2 * 10**9)
    account = there.machine.accounts[there.long]
    assert account.risk_level == RiskLevel.CRITICAL
    there.exchange.settle({"cu2701": 7_000})
    there.exchange.do(commands.AdvanceClock(), time_ns=there.machine.time_ns + 2 * 10**9)
    assert account.risk_level == RiskLevel.NORMAL


def test_a_liquidation_whose_position_expires_ends() -> None:
    there = market(copper(expiry_day=MONDAY), cash=72_000)
    there.trade(2, 7_000)
    there.exchange.do(commands.ForceLiquidate(there.long, "test"))
    there.exchange.do(commands.AdvanceClock(), time_ns=there.machine.time_ns + 2 * 10**9)
    assert there.machine.accounts[there.long].liquidating
    there.exchange.settle({"cu2701": 7_000})
    for _ in range(3):
        there.exchange.do(commands.AdvanceClock(), time_ns=there.machine.time_ns + 2 * 10**9)
    assert not there.machine.accounts[there.long].liquidating
    assert not there.machine.liquidations.running


def test_a_closed_account_gets_the_statement_of_its_last_day_and_none_after() -> None:
    exchange = Driver(copper())
    exchange.begin_day()
    gone = exchange.account(100)
    exchange.do(commands.Withdraw(gone, 100 * YUAN))
    if isinstance(exchange.do(commands.CloseAccount(gone))[0], CommandRejected):
        pytest.fail("an empty account was not closed")
    assert [e.account_id for e in of(AccountSettled, exchange.settle())] == [gone]
    assert of(AccountSettled, exchange.settle()) == []


# Orders


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, CancelReason.DAY_END),
        ({"time_condition": GFS}, CancelReason.SESSION_END),
        ({"time_condition": GTD, "gtd_day": MONDAY}, CancelReason.GTD_END),
    ],
)
def test_an_order_whose_time_is_over_expires_and_gives_everything_back(
    fields: dict[str, Any], reason: CancelReason
) -> None:
    there = market()
    number = there.exchange.order_id(there.exchange.place(there.long, BUY, 2, 6_900, **fields))
    events = there.exchange.settle()
    assert [(e.order_id, e.reason) for e in of(OrderCancelled, events)] == [(number, reason)]
    assert there.machine.orders[number].state == OrderState.EXPIRED
    figures = there.figures(there.long)
    assert (figures.frozen_margin, figures.frozen_commission) == (0, 0)


@pytest.mark.parametrize("fields", [{"time_condition": GTC}, {"time_condition": GTD, "gtd_day": TUESDAY}])
def test_an_order_that_outlives_the_day_keeps_its_reservation_and_its_place(fields: dict[str, Any]) -> None:
    there = market()
    number = there.exchange.order_id(there.exchange.place(there.long, BUY, 2, 6_900, **fields))
    before = there.figures(there.long)
    assert not of(OrderCancelled, there.exchange.settle())
    after = there.figures(there.long)
    assert (after.frozen_margin, after.frozen_commission) == (before.frozen_margin, before.frozen_commission)
    assert trades(there.exchange.place(there.short, SELL, 3, 6_900)) == [(6_900, 2)]
    assert there.machine.orders[number].state == OrderState.FILLED


def test_a_good_till_date_order_ends_with_its_day_and_not_before() -> None:
    there = market()
    number = there.exchange.order_id(
        there.exchange.place(there.long, BUY, 2, 6_900, time_condition=GTD, gtd_day=TUESDAY)
    )
    there.exchange.settle()
    assert there.machine.orders[number].alive
    (ended,) = of(OrderCancelled, there.exchange.settle())
    assert (ended.order_id, ended.reason) == (number, CancelReason.GTD_END)


@pytest.mark.parametrize(
    ("gtd_day", "settled_ns"),
    [
        (20261128, FRIDAY_NS),  # a Saturday
        (20261130, FRIDAY_NS + 4 * 86_400 * 10**9),  # the Monday, which a settlement on Tuesday passes over
    ],
)
def test_a_good_till_date_order_never_sees_a_day_after_its_own(gtd_day: int, settled_ns: int) -> None:
    exchange = Driver(copper())
    exchange.begin_day(FRIDAY_NS)
    number = exchange.order_id(exchange.place(exchange.account(), BUY, 1, 6_900, time_condition=GTD, gtd_day=gtd_day))
    exchange.do(commands.AdvanceClock(), time_ns=settled_ns + 10**9)
    (ended,) = of(OrderCancelled, exchange.settle())
    assert exchange.machine.trading_day > gtd_day
    assert (ended.order_id, ended.reason) == (number, CancelReason.GTD_END)


def test_a_survivor_that_the_new_price_limits_exclude_is_cancelled() -> None:
    there = market()
    there.trade(1, 7_000)
    far = there.exchange.order_id(there.exchange.place(there.long, BUY, 1, 6_300, time_condition=GTC))
    near = there.exchange.order_id(there.exchange.place(there.long, BUY, 1, 6_500, time_condition=GTC))
    (ended,) = of(OrderCancelled, there.exchange.settle({"cu2701": 7_100}))  # limits 6 390 to 7 810
    assert (ended.order_id, ended.reason) == (far, CancelReason.OUTSIDE_LIMITS)
    assert there.machine.orders[far].state == OrderState.CANCELLED
    assert there.machine.orders[near].alive


def test_survivors_are_kept_oldest_first_while_the_available_funds_cover_them() -> None:
    there = market(cash=145_000)  # each lot: 35 000 margin and 17.5 fee
    there.exchange.do(commands.Deposit(there.short, 10**12))
    there.trade(1, 7_000)
    buys = [
        there.exchange.order_id(there.exchange.place(there.long, BUY, lots, 6_900, time_condition=GTC))
        for lots in (1, 2)
    ]
    events = there.exchange.settle({"cu2701": 6_900})  # loses 5 000: 104 982.5 - 35 017.5 do not cover two lots
    assert [(e.order_id, e.reason) for e in of(OrderCancelled, events)] == [(buys[1], CancelReason.NO_LONGER_RESERVED)]
    assert there.machine.orders[buys[0]].alive
    assert there.figures(there.long).available == (139_982_5000 - 35_000_0000 - 35_017_5000)
    assert there.machine.settlements.listed == []


def test_equal_funds_are_enough_for_a_survivor() -> None:
    there = market(cash=70_035)
    there.exchange.do(commands.Deposit(there.short, 10**12))
    there.trade(1, 7_000)
    number = there.exchange.order_id(there.exchange.place(there.long, BUY, 1, 6_900, time_condition=GTC))
    assert there.figures(there.long).available == 0
    there.exchange.settle({"cu2701": 7_000})
    assert there.machine.orders[number].alive
    there.exchange.settle({"cu2701": 6_999})
    assert there.machine.orders[number].cancel_reason == CancelReason.NO_LONGER_RESERVED


def test_a_surviving_close_holds_history_where_it_held_lots_of_today_at_the_fee_of_history() -> None:
    name = "CFFEX.IF2701"
    there = market(index_future())
    there.trade(2, 19_000, instrument=name)
    number = there.exchange.order_id(
        there.exchange.place(there.long, SELL, 2, 19_100, instrument=name, offset=CLOSE, time_condition=GTC)
    )
    order = there.machine.orders[number]
    assert (order.frozen_his, order.frozen_today, order.frozen_fee) == (0, 2, 790_7400)  # 0.000345 of the turnover
    there.exchange.settle({"IF2701": 19_000})
    assert (order.frozen_his, order.frozen_today, order.frozen_fee) == (2, 0, 52_7160)  # 0.000023
    assert trades(there.exchange.place(there.short, BUY, 2, 19_100, instrument=name, offset=CLOSE)) == [(19_100, 2)]
    assert there.figures(there.long).close_profit == 12_000 * YUAN


def test_a_surviving_close_of_today_has_nothing_left_to_close() -> None:
    there = market()
    there.trade(2, 7_000)
    number = there.exchange.order_id(
        there.exchange.place(there.long, SELL, 2, 7_100, offset=CLOSETODAY, time_condition=GTC)
    )
    (ended,) = of(OrderCancelled, there.exchange.settle())
    assert (ended.order_id, ended.reason) == (number, CancelReason.NO_LONGER_RESERVED)
    side = there.machine.accounts[there.long].positions["SHFE.cu2701"].long
    assert (side.his, side.today, side.frozen_his, side.frozen_today) == (2, 0, 0, 0)


# Instruments


def test_the_next_day_has_new_limits_and_empty_statistics() -> None:
    there = market()
    there.trade(2, 7_000)
    there.trade(1, 7_030)
    (settled,) = of(InstrumentSettled, there.exchange.settle({"cu2701": 7_100}))
    assert (settled.open_ticks, settled.high_ticks, settled.low_ticks, settled.close_ticks) == (7000, 7030, 7000, 7030)
    assert (settled.volume, settled.turnover_ticks, settled.open_interest) == (3, 21_030, 3)
    assert (settled.lower_limit_ticks, settled.upper_limit_ticks) == (6_390, 7_810)
    instrument = there.machine.instruments["SHFE.cu2701"]
    assert (instrument.lower_limit_ticks, instrument.upper_limit_ticks) == (6_390, 7_810)
    assert (instrument.pre_settlement_ticks, instrument.last_ticks, instrument.pre_close_ticks) == (7100, 7100, 7030)
    assert (instrument.pre_open_interest, instrument.open_interest) == (3, 3)
    assert (instrument.day_open_ticks, instrument.day_high_ticks, instrument.day_low_ticks) == (0, 0, 0)
    assert (instrument.day_volume, instrument.day_turnover_units) == (0, 0)
    assert code(there.exchange.place(there.long, BUY, 1, 7_811)) == rejects.PRICE_OUTSIDE_LIMITS.code


def test_the_previous_close_stays_through_a_day_without_a_trade() -> None:
    there = market()
    there.trade(1, 7_030)
    there.exchange.settle({"cu2701": 7_100})
    (settled,) = of(InstrumentSettled, there.exchange.settle({"cu2701": 7_110}))
    assert settled.close_ticks == 0
    assert there.machine.instruments["SHFE.cu2701"].pre_close_ticks == 7_030


def test_the_upper_limit_never_lets_the_worth_of_a_position_leave_its_bound() -> None:
    """Prices that rise by the day would, with the lots that are held, carry a fill's profit out of 64 bits."""
    free = {"margin_long_amount": 0, "margin_short_amount": 0}
    there = market(copper("SIM.big", tick_units=10**6, volume_multiple=100, volume_max=10**6, **free), cash=10**12)
    for account_id in (there.long, there.short):
        for _ in range(8):
            there.exchange.do(commands.Deposit(account_id, 10**17))
    there.trade(100_000, 7_000, instrument="SIM.big")  # 7.7e16 units at the upper limit
    price = 7_000
    for _ in range(6):
        price = there.machine.instruments["SIM.big"].upper_limit_ticks
        there.exchange.settle({"SIM.big": price})
    instrument = there.machine.instruments["SIM.big"]
    assert instrument.upper_limit_ticks == price == 10_000  # 100 000 lots * 10 000 ticks * 1e8 units = 1e17
    assert instrument.lower_limit_ticks == 9_000
    restored = Machine.restore(there.machine.snapshot()).instruments["SIM.big"]
    assert (restored.lower_limit_ticks, restored.upper_limit_ticks) == (9_000, 10_000)


def test_the_lots_of_a_surviving_order_count_for_that_bound_as_well() -> None:
    free = {"margin_long_amount": 0, "margin_short_amount": 0}
    there = market(copper("SIM.big", tick_units=10**6, volume_multiple=100, volume_max=10**6, **free))
    number = there.exchange.order_id(
        there.exchange.place(there.long, BUY, 125_000, 7_000, instrument="SIM.big", time_condition=GTC)
    )
    there.exchange.settle({"SIM.big": 7_700})
    assert there.machine.orders[number].alive
    instrument = there.machine.instruments["SIM.big"]
    assert (instrument.lower_limit_ticks, instrument.upper_limit_ticks) == (6_930, 8_000)  # not 8 470


def test_an_expired_instrument_is_settled_in_cash_and_is_gone() -> None:
    there = market(copper(expiry_day=MONDAY), copper("SHFE.cu2702"))
    there.trade(2, 7_000)
    there.trade(1, 7_000, instrument="SHFE.cu2702")
    opening = there.exchange.order_id(there.exchange.place(there.long, BUY, 1, 6_900, time_condition=GTC))
    closing = there.exchange.order_id(
        there.exchange.place(there.long, SELL, 1, 7_100, offset=CLOSETODAY, time_condition=GTC)
    )
    before = there.figures(there.long)
    events = there.exchange.settle({"cu2701": 7_050})
    assert [(e.order_id, e.reason) for e in of(OrderCancelled, events)] == [
        (opening, CancelReason.INSTRUMENT_ENDED),
        (closing, CancelReason.INSTRUMENT_ENDED),
    ]
    expired = of(PositionExpired, events)
    assert [(e.account_id, e.direction, e.volume, e.settlement_ticks, e.profit_units) for e in expired] == [
        (there.long, BUY, 2, 7_050, 5_000 * YUAN),
        (there.short, SELL, 2, 7_050, -5_000 * YUAN),
    ]
    instrument = there.machine.instruments["SHFE.cu2701"]
    assert (instrument.status, instrument.open_interest, instrument.holders) == (InstrumentStatus.EXPIRED, 0, {})
    figures = there.figures(there.long)
    assert figures.balance == before.balance + 5_000 * YUAN
    assert figures.margin == 35_000 * YUAN  # of the contract that goes on
    order = commands.PlaceOrder(there.long, "SHFE.cu2701", BUY, 0, 1, 0, 7_000)
    refused(there.exchange, order, rejects.INSTRUMENT_NOT_LISTED)
    assert of(DaySettled, there.exchange.settle({"SHFE.cu2702": 7_000}))  # and needs no price any more


def test_the_code_of_an_expired_instrument_is_free_for_another_one() -> None:
    there = market(copper(expiry_day=MONDAY), copper("INE.cu2701"))
    assert there.machine.resolve("cu2701") is None  # two have it
    there.exchange.settle()
    assert there.machine.resolve("cu2701") is there.machine.instruments["INE.cu2701"]


def test_conditional_orders_of_an_expired_instrument_end_with_it() -> None:
    there = market(copper(expiry_day=MONDAY))
    (placed,) = there.exchange.do(commands.PlaceConditional(there.long, "cu2701", BUY, 0, 1, 0, 7_100, 2, 0, 7_050))
    events = there.exchange.settle()
    assert [(e.conditional_id, e.order_id) for e in of(ConditionalEnded, events)] == [(placed.conditional_id, 0)]


def test_an_instrument_expires_on_its_day_and_not_before() -> None:
    there = market(copper(expiry_day=TUESDAY))
    there.trade(1, 7_000)
    there.exchange.settle()
    assert there.machine.instruments["SHFE.cu2701"].open_interest == 1
    there.trade(1, 7_000)
    there.exchange.settle()
    assert there.machine.instruments["SHFE.cu2701"].status == InstrumentStatus.EXPIRED


# Cut up


def cut_up(monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    monkeypatch.setattr(settlement, "STEPS_PER_COMMAND", steps)


def busy_market() -> Market:
    """Positions, an expiring contract, day orders and survivors, some of which the settlement cannot keep."""
    there = market(copper(expiry_day=MONDAY), copper("SHFE.cu2702"), index_future(), cash=1_000_000)
    for name, price in (("SHFE.cu2701", 7_000), ("SHFE.cu2702", 7_000), ("CFFEX.IF2701", 19_000)):
        there.trade(2, price, instrument=name)
        for n in range(4):
            there.exchange.place(there.long, BUY, 1, price - 60 - n, instrument=name, time_condition=(0, GTC)[n % 2])
        there.exchange.place(there.long, SELL, 1, price + 50, instrument=name, offset=CLOSETODAY, time_condition=GTC)
    third = there.exchange.account(400_000)
    for n in range(10):
        there.exchange.place(third, BUY, 1, 6_900 - n, instrument="SHFE.cu2702", time_condition=GTC)
    return there


def outcome(there: Market) -> list[object]:
    machine = there.machine
    accounts = [
        (queries.account_figures(a), list(a.live), queries.statements(a), list(a.positions))
        for a in machine.accounts.values()
    ]
    return [accounts, machine.fees_units, machine.settlements.results, machine.settlements.listed, machine.trading_day]


def test_a_settlement_gives_the_same_whether_it_runs_in_one_command_or_in_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = busy_market()
    whole.exchange.settle({"cu2701": 6_800, "cu2702": 6_850, "IF2701": 18_800})
    for steps in (1, 2, 3, 7):
        cut_up(monkeypatch, steps)
        parts = busy_market()
        entries = parts.machine.index
        parts.exchange.settle({"cu2701": 6_800, "cu2702": 6_850, "IF2701": 18_800})
        assert parts.machine.index > entries + 3
        assert outcome(parts) == outcome(whole)


def test_a_machine_restored_in_the_midst_of_a_settlement_finishes_it_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    cut_up(monkeypatch, 2)
    there = busy_market()
    there.exchange.do(commands.SetSettlementPrices(MONDAY, [("cu2701", 6_800), ("IF2701", 18_800)]))
    there.exchange.do(commands.SettleDay(MONDAY))
    clock = codec.encode_command(commands.AdvanceClock())
    while there.machine.settlements.running is not None:
        restored = Machine.restore(there.machine.snapshot())
        invariants.check(restored)
        there.exchange.do(commands.AdvanceClock())
        restored.apply(there.machine.index, there.machine.time_ns, [clock])
        assert restored.digest() == there.machine.digest()
    assert b"".join(restored.snapshot()) == b"".join(there.machine.snapshot())


def test_a_settlement_that_forgets_something_is_seen_by_the_invariants(monkeypatch: pytest.MonkeyPatch) -> None:
    cut_up(monkeypatch, 3)
    there = market(copper(expiry_day=MONDAY), copper("SHFE.cu2702"))
    there.trade(1, 7_000)
    there.trade(1, 7_000, instrument="SHFE.cu2702")
    there.exchange.do(commands.SettleDay(MONDAY))
    while there.machine.settlements.running.account_cursor == 0:
        there.exchange.do(commands.AdvanceClock())
    settled = there.machine.accounts[there.long]
    cu2701, cu2702 = there.machine.instruments.values()
    for item, attribute, value, words in (
        (cu2702, "phase", Phase.CONTINUOUS, "trades while"),
        (settled.positions["SHFE.cu2702"].long, "his_cost", 6_999, "has a position profit"),
        (cu2701, "open_interest", 0, "open interest 0"),
    ):
        kept = getattr(item, attribute)
        setattr(item, attribute, value)
        if attribute == "his_cost":
            there.machine.external_units += 5 * 10 * YUAN
        with pytest.raises(invariants.InvariantError, match=words):
            invariants.check(there.machine)
        if attribute == "his_cost":
            there.machine.external_units -= 5 * 10 * YUAN
        setattr(item, attribute, kept)
    invariants.check(there.machine)


def test_while_a_day_is_settled_trading_and_money_wait_and_users_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    cut_up(monkeypatch, 1)
    there = market()
    exchange = there.exchange
    exchange.do(commands.Deposit(there.long, 5, "paid"))
    exchange.place(there.long, BUY, 1, 6_900, client_order_id="first")
    there.trade(1, 7_000)
    events = exchange.do(commands.SettleDay(MONDAY))
    assert isinstance(events[0], SettlementStarted)
    assert there.machine.settlements.running is not None
    assert there.machine.instruments["SHFE.cu2701"].phase == Phase.CLOSED
    for command in (
        commands.PlaceOrder(there.long, "SHFE.cu2701", BUY, 0, 1, 0, 7_000),
        commands.CancelAll(there.long),
        commands.Deposit(there.long, 1),
        commands.Withdraw(there.long, 1),
        commands.OpenAccount("U00000001", "late", 0),
        copper("SHFE.cu2705"),
        commands.SettleDay(MONDAY),
        commands.SetSettlementPrices(MONDAY, [("cu2701", 7_000)]),
    ):
        refused(exchange, command, rejects.SETTLEMENT_IN_PROGRESS)
    assert not isinstance(exchange.do(commands.SetPassword("U00000001", "$2b$new"))[0], CommandRejected)
    assert not isinstance(exchange.do(commands.RevokeTokens("U00000001"))[0], CommandRejected)
    # a request that was executed still answers so: "refused" would be taken for "not executed"
    (again,) = exchange.place(there.long, BUY, 1, 6_900, client_order_id="first")
    assert isinstance(again, RequestRepeated)
    (again,) = exchange.do(commands.Deposit(there.long, 5, "paid"))
    assert isinstance(again, RequestRepeated)
    while there.machine.settlements.running is not None:
        exchange.do(commands.AdvanceClock())
    assert not isinstance(exchange.place(there.long, BUY, 1, 7_000)[0], CommandRejected)


def test_a_halted_auction_shows_nothing_while_the_day_is_settled_and_its_survivors_after(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cut_up(monkeypatch, 1)
    there = market()
    there.exchange.do(commands.SetInstrumentStatus("cu2701", InstrumentStatus.AUCTION))
    there.exchange.place(there.long, BUY, 2, 7_010, time_condition=GTC)
    there.exchange.place(there.short, SELL, 1, 7_000, time_condition=GTC)
    instrument = there.machine.instruments["SHFE.cu2701"]
    assert instrument.auction_volume == 1
    events = there.exchange.do(commands.SettleDay(MONDAY))
    assert [(e.price_ticks, e.volume) for e in of(AuctionIndicated, events)] == [(0, 0)]
    assert (instrument.phase, instrument.auction_volume) == (Phase.CLOSED, 0)
    while there.machine.settlements.running is not None:
        events = there.exchange.do(commands.AdvanceClock())
    assert [e.volume for e in of(AuctionIndicated, events)] == [1]
    assert (instrument.phase, instrument.auction_volume) == (Phase.AUCTION_ORDER, 1)


def test_a_request_refused_during_settlement_may_be_sent_again_with_its_id(monkeypatch: pytest.MonkeyPatch) -> None:
    cut_up(monkeypatch, 1)
    there = market()
    there.exchange.do(commands.SettleDay(MONDAY))
    assert code(there.exchange.place(there.long, BUY, 1, 7_000, client_order_id="a")) == 6005
    while there.machine.settlements.running is not None:
        there.exchange.do(commands.AdvanceClock())
    assert there.exchange.order_id(there.exchange.place(there.long, BUY, 1, 7_000, client_order_id="a"))


def test_a_running_settlement_is_due_at_once_and_a_finished_one_never(monkeypatch: pytest.MonkeyPatch) -> None:
    cut_up(monkeypatch, 1)
    there = market()
    assert settlement.due_ns(there.machine) == 0
    there.exchange.do(commands.SettleDay(MONDAY))
    assert 0 < settlement.due_ns(there.machine) <= there.machine.time_ns
    while there.machine.settlements.running is not None:
        there.exchange.do(commands.AdvanceClock())
    assert settlement.due_ns(there.machine) == 0


def test_one_command_ends_no_more_orders_than_its_steps_allow(monkeypatch: pytest.MonkeyPatch) -> None:
    cut_up(monkeypatch, 10)
    there = market()
    for n in range(35):
        there.exchange.place(there.long, BUY, 1, 6_900 - n % 5)
    batches = [there.exchange.do(commands.SettleDay(MONDAY))]
    while there.machine.settlements.running is not None:
        batches.append(there.exchange.do(commands.AdvanceClock()))
    assert len(batches) >= 4
    assert max(len(of(OrderCancelled, events)) for events in batches) <= 10


def test_orders_that_live_on_count_into_what_one_command_may_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    cut_up(monkeypatch, 10)
    exchange = Driver(copper())
    exchange.begin_day()
    accounts = [exchange.account() for _ in range(6)]
    for account in accounts:
        for _ in range(5 * mark_to_market.ORDERS_PER_STEP):
            exchange.machine.apply(
                exchange.machine.index + 1,
                exchange.machine.time_ns + 1,
                [codec.encode_command(commands.PlaceOrder(account, "SHFE.cu2701", BUY, OPEN, 1, 0, 6_900, GTC))],
            )
    batches = [exchange.do(commands.SettleDay(MONDAY))]
    while exchange.machine.settlements.running is not None:
        batches.append(exchange.do(commands.AdvanceClock()))
    assert max(len(of(AccountSettled, events)) for events in batches) == 2
    assert (
        sum(len(account.live) for account in exchange.machine.accounts.values()) == 30 * mark_to_market.ORDERS_PER_STEP
    )


def test_conditional_orders_of_expiring_instruments_count_into_what_one_command_may_cost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cut_up(monkeypatch, 10)
    names = [f"SHFE.cu27{month:02d}" for month in range(1, 6)]
    there = market(*(copper(name, expiry_day=MONDAY) for name in names))
    for name in names:
        for _ in range(12):
            there.exchange.do(commands.PlaceConditional(there.long, name, BUY, OPEN, 1, 0, 7_000, 2, 0, 7_100))
    batches = [there.exchange.do(commands.SettleDay(MONDAY))]
    while there.machine.settlements.running is not None:
        batches.append(there.exchange.do(commands.AdvanceClock()))
    assert max(len(of(ConditionalEnded, events)) for events in batches) == 12


def test_a_turnover_beyond_64_bits_is_settled_and_kept_exactly() -> None:
    there = market()
    there.trade(1, 7_000)
    instrument = there.machine.instruments["SHFE.cu2701"]
    instrument.day_volume, instrument.day_turnover_ticks = 2**53, 2**53 * 7_000 + 1  # 18 447 of the largest trades
    restored = Machine.restore(there.machine.snapshot())
    assert restored.instruments["SHFE.cu2701"].day_turnover_ticks == 2**53 * 7_000 + 1
    (settled,) = of(InstrumentSettled, there.exchange.settle())
    assert settled.turnover_ticks == ENCODABLE_MAX
    assert settled.settlement_ticks == 7_000


def test_trading_goes_on_after_settlement_by_itself() -> None:
    there = market()
    events = there.exchange.settle()
    assert of(SessionChanged, events) == []  # it has no calendar
    assert there.machine.instruments["SHFE.cu2701"].phase == Phase.CONTINUOUS
    there.trade(1, 7_000)


# What people ask for


def test_the_equity_curve_counts_profit_and_no_deposit_or_withdrawal() -> None:
    there = market()
    there.trade(2, 7_000)
    there.exchange.settle({"cu2701": 7_020})  # +2 000 - 35
    there.exchange.do(commands.Deposit(there.long, 5_000 * YUAN))
    there.exchange.settle({"cu2701": 6_990})  # -3 000
    there.exchange.settle({"cu2701": 6_980})  # -1 000
    there.exchange.do(commands.Withdraw(there.long, 1_000_000 * YUAN))
    there.exchange.settle({"cu2701": 6_980})  # nothing
    there.exchange.settle({"cu2701": 6_990})  # +1 000
    curve = queries.equity_curve(there.machine.accounts[there.long])
    assert [point.profit for point in curve.points] == [units * YUAN for units in (1_965, -3_000, -1_000, 0, 1_000)]
    assert [point.trading_day for point in curve.points] == [20261123, 20261124, 20261125, 20261126, 20261127]
    assert curve.points[0].base == 10_000_000 * YUAN
    assert curve.points[1].base == 10_006_965 * YUAN
    assert (curve.start_balance, curve.end_balance) == (10_000_000 * YUAN, 9_003_965 * YUAN)
    assert (curve.profit, curve.profit_days, curve.loss_days) == (-1_035 * YUAN, 2, 2)
    assert (curve.drawdown, curve.drawdown_peak) == (4_000 * YUAN, 10_006_965 * YUAN)


def test_an_account_that_lived_through_no_settlement_has_an_empty_equity_curve() -> None:
    there = market(cash=0)
    assert queries.equity_curve(there.machine.accounts[there.long]) == ([], 0, 0, 0, 0, 0, 0, 0)


def test_the_figures_of_the_day_follow_every_trade() -> None:
    there = market()
    there.trade(1, 7_000)
    there.exchange.settle({"cu2701": 7_000})
    for volume, price in ((2, 7_010), (1, 6_990), (3, 7_005)):
        there.trade(volume, price)
    there.exchange.do(commands.SetSettlementPrices(TUESDAY, [("cu2701", 7_002)]))
    day = there.machine.instruments["SHFE.cu2701"]
    assert (day.day_open_ticks, day.day_high_ticks, day.day_low_ticks, day.last_ticks) == (7_010, 7_010, 6_990, 7_005)
    assert (day.day_volume, day.open_interest, day.pre_open_interest) == (6, 7, 1)
    assert day.day_turnover_units == (2 * 70_100 + 69_900 + 3 * 70_050) * 5 * YUAN
    assert render.average(day, day.day_turnover_ticks, day.day_volume) == Decimal("70041.6667")
    assert (day.settlement_ticks, day.pre_settlement_ticks, day.pre_close_ticks) == (7_002, 7_000, 7_000)
    assert (day.lower_limit_ticks, day.upper_limit_ticks) == (6_300, 7_700)


def test_the_margin_is_told_by_instrument_and_by_product() -> None:
    there = market(copper(), copper("SHFE.cu2702"), index_future())
    there.trade(2, 7_000)
    there.exchange.place(there.long, SELL, 1, 7_000, instrument="SHFE.cu2702")
    there.exchange.place(there.short, BUY, 1, 7_000, instrument="SHFE.cu2702")
    there.trade(1, 19_000, instrument="CFFEX.IF2701")
    account = there.machine.accounts[there.long]
    rows = queries.margin_figures(account)
    assert [(row.instrument_id, row.product, row.long_units, row.short_units, row.product_units) for row in rows] == [
        ("SHFE.cu2701", "SHFE.cu", 70_000 * YUAN, 0, 70_000 * YUAN),
        ("SHFE.cu2702", "SHFE.cu", 0, 35_000 * YUAN, 70_000 * YUAN),
        ("CFFEX.IF2701", "CFFEX.IF", 136_800 * YUAN, 0, 136_800 * YUAN),
    ]
    assert account.margin == sum({row.product: row.product_units for row in rows}.values())
