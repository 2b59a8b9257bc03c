"""Forced liquidation: orders first, then positions, step by step, no more than needed, every step on record."""

from __future__ import annotations

import pytest

from node.exchange import closing_plan, commands, liquidation, rejects, timers
from node.exchange.events import (
    ConditionalEnded,
    Event,
    LiquidationEnded,
    LiquidationStarted,
    LiquidationStepped,
    OrderAccepted,
    OrderCancelled,
    RequestRepeated,
    TradeExecuted,
)
from node.exchange.ledger import Account
from node.exchange.liquidation import Liquidation
from node.exchange.machine import Machine
from node.exchange.types import (
    CancelReason,
    InstrumentStatus,
    LiquidationState,
    MarginRule,
    OrderSource,
    SelfTrade,
)
from tests.exchange.driver import (
    ALL,
    BUY,
    CLOSE,
    CLOSETODAY,
    IOC,
    OPEN,
    SELL,
    YUAN,
    Driver,
    code,
    copper,
    of,
    risk_parameters,
    trades,
)
from tests.exchange.refusals import refused

DONE, DEFICIT, EXHAUSTED = LiquidationState.DONE, LiquidationState.DEFICIT, LiquidationState.EXHAUSTED
CU, CU2, M1 = "SHFE.cu2701", "SHFE.cu2702", "DCE.m2701"
FREE = {"open_amount": 0, "close_amount": 0, "close_today_amount": 0}
LOWER, UPPER = 6_300, 7_700


class Market(Driver):
    """Copper with a margin of 35 000 per lot and no fees; a tick of a lot is worth 50. Limits 6 300 and 7 700."""

    def __init__(self, *instruments: commands.ListInstrument) -> None:
        super().__init__(*(instruments or (copper(**FREE),)))
        self.begin_day()
        self.rich = self.account(1_000_000_000)
        self.richer = self.account(1_000_000_000)

    def of(self, account_id: str) -> Account:
        return self.machine.accounts[account_id]

    def holder(self, cash: float, lots: int = 10, *, instrument: str = CU, direction: int = BUY) -> str:
        account = self.account(cash)
        self.hold(account, lots, instrument=instrument, direction=direction)
        return account

    def hold(self, account_id: str, lots: int, *, instrument: str = CU, direction: int = BUY) -> None:
        """Open lots at 7 000."""
        self.place(self.rich, -direction, lots, 7_000, instrument=instrument)
        assert trades(self.place(account_id, direction, lots, 7_000, instrument=instrument)) == [(7_000, lots)]

    def price(self, ticks: int, instrument: str = CU) -> None:
        """Move the last price by one trade between the two rich accounts."""
        self.place(self.rich, SELL, 1, ticks, instrument=instrument)
        self.place(self.richer, BUY, 1, ticks, instrument=instrument)
        assert self.machine.instruments[instrument].last_ticks == ticks

    def lots(self, account_id: str, direction: int = BUY, instrument: str = CU) -> int:
        return self.of(account_id).positions[instrument].side(direction).volume

    def running(self, account_id: str) -> Liquidation:
        return self.machine.liquidations.running[account_id]

    @property
    def last(self) -> Liquidation:
        return self.machine.liquidations.finished[-1]

    def ratio_percent(self, account_id: str) -> int:
        """Rounded down."""
        account = self.of(account_id)
        return account.margin * 100 // account.balance()


def entered(events: list[Event]) -> list[tuple[int, int, int, int]]:
    """(direction, offset, volume, price) of the orders of liquidations."""
    return [
        (e.direction, e.offset, e.volume, e.price_ticks)
        for e in events
        if isinstance(e, OrderAccepted) and e.source == OrderSource.LIQUIDATION
    ]


def worked(events: list[Event]) -> list[Event]:
    """All but the answers of the clock."""
    return [event for event in events if type(event).__name__ != "ClockAdvanced"]


# How much is closed


def test_only_as_many_lots_are_closed_as_bring_the_ratio_below_the_release_level() -> None:
    """350 000 of 350 000: at 8 lots the ratio would be exactly 80 %, which is not below it; so 7 remain."""
    market = Market()
    account = market.holder(380_000)
    market.price(6_940)
    market.place(market.richer, BUY, 50, 6_940)
    events = market.let_pass(2)
    assert entered(events) == [(SELL, CLOSETODAY, 3, 6_938)]
    assert (6_940, 3) in trades(events)
    assert market.lots(account) == 7
    assert market.ratio_percent(account) == 70
    (end,) = of(LiquidationEnded, events)
    assert (end.state, end.margin_units, end.balance_units) == (DONE, 245_000 * YUAN, 350_000 * YUAN)
    assert end.loss_units == 3 * 60 * 50 * YUAN


def test_one_unit_more_leaves_one_more_lot() -> None:
    """With 350 000.0001 left, 8 lots are below 80 %. Liquidated from 99 % on, as the ratio is just below 100 %."""
    market = Market()
    account = market.holder(380_000)
    market.do(commands.Deposit(account, 1))
    market.do(risk_parameters(liquidation_percent=99))
    market.price(6_940)
    market.place(market.richer, BUY, 50, 6_940)
    market.let_pass(2)
    assert market.lots(account) == 8
    assert closing_plan.released(market.machine.risk, 280_000 * YUAN, 350_000 * YUAN + 1)
    assert not closing_plan.released(market.machine.risk, 280_000 * YUAN, 350_000 * YUAN)


def test_the_fees_of_closing_count_when_lots_are_counted() -> None:
    """7 lots are 245 000; at 350 005 they are below 70 %, but not once 3 closes have cost 6 more."""
    market = Market(copper(open_amount=0, close_amount=0, close_today_amount=2 * YUAN))
    account = market.holder(380_005)
    market.do(risk_parameters(release_percent=70, liquidation_percent=99))
    market.price(6_940)
    market.place(market.richer, BUY, 50, 6_940)
    assert closing_plan.released(market.machine.risk, 245_000 * YUAN, 350_005 * YUAN)
    events = market.let_pass(2)
    assert entered(events) == [(SELL, CLOSETODAY, 4, 6_938)]
    assert market.lots(account) == 6


def test_a_deficit_is_recorded_not_hidden() -> None:
    market = Market(copper(**FREE, margin_long_amount=10_000 * YUAN, margin_short_amount=10_000 * YUAN))
    account = market.holder(110_000)  # 100 000 margin
    market.price(6_700)  # 300 * 50 * 10 = 150 000 lost: -40 000
    market.place(market.richer, BUY, 50, 6_650)
    events = market.let_pass(2)
    assert market.lots(account) == 0
    (end,) = of(LiquidationEnded, events)
    assert end.state == DEFICIT
    assert end.balance_units == (110_000 - 350 * 50 * 10) * YUAN == market.of(account).balance()
    record = market.last
    assert (record.state, record.lots, record.loss) == (DEFICIT, 10, 350 * 50 * 10 * YUAN)
    assert (record.balance_before, record.balance_after) == (-40_000 * YUAN, -65_000 * YUAN)
    assert (record.margin_before, record.margin_after) == (100_000 * YUAN, 0)
    assert not worked(market.let_pass(300)), "a debt without positions is not liquidated again"


def test_the_largest_margin_is_closed_first() -> None:
    market = Market(copper(**FREE), copper(CU2, **FREE, product="zn"))
    account = market.account(380_000)
    market.hold(account, 3, instrument=CU2)
    market.hold(account, 7)
    market.price(6_920)  # 80 * 50 * 7 = 28 000: 350 000 of 352 000 = 99 %
    market.do(commands.Withdraw(account, 2_000 * YUAN))
    market.price(6_915)
    for name in (CU, CU2):
        market.place(market.richer, BUY, 50, 6_915, instrument=name)
    events = market.let_pass(2)
    (order,) = [e for e in of(OrderAccepted, events) if e.source == OrderSource.LIQUIDATION]
    assert (order.instrument_id, order.volume) == (CU, 3)


def test_the_next_position_follows_when_the_largest_is_not_enough() -> None:
    market = Market(copper(**FREE), copper(CU2, **FREE, product="zn"))
    account = market.account(380_000)
    market.hold(account, 4, instrument=CU2)
    market.hold(account, 6)
    market.price(6_310)  # 690 * 50 * 6 = 207 000: 173 000 are left; below 80 % of them are 3 lots
    market.place(market.richer, BUY, 50, 6_310)
    market.place(market.richer, BUY, 50, 7_000, instrument=CU2)
    events = market.let_pass(2)
    orders = [(e.instrument_id, e.volume) for e in of(OrderAccepted, events) if e.source == OrderSource.LIQUIDATION]
    assert orders == [(CU, 6), (CU2, 1)]
    assert market.ratio_percent(account) == 60


def test_of_a_hedge_both_sides_are_cut_because_the_larger_one_counts() -> None:
    """10 long and 10 short count once. Closing one side alone would free nothing, and leave the other naked."""
    market = Market()
    account = market.account(800_000)
    market.hold(account, 10)
    market.hold(account, 10, direction=SELL)
    market.do(commands.Withdraw(account, 450_000 * YUAN))
    market.place(market.richer, BUY, 50, 6_999)
    market.place(market.richer, SELL, 50, 7_001)
    events = market.let_pass(2)
    assert entered(events) == [(SELL, CLOSETODAY, 3, 6_997), (BUY, CLOSETODAY, 3, 7_003)]
    assert (market.lots(account), market.lots(account, SELL)) == (7, 7)
    assert market.last.state == DONE


def test_of_an_uneven_hedge_only_the_larger_side_is_cut_while_it_counts() -> None:
    market = Market()
    account = market.account(800_000)
    market.hold(account, 10)
    market.hold(account, 2, direction=SELL)
    market.do(commands.Withdraw(account, 450_000 * YUAN))
    market.place(market.richer, BUY, 50, 6_999)
    market.place(market.richer, SELL, 50, 7_001)
    events = market.let_pass(2)
    assert entered(events) == [(SELL, CLOSETODAY, 3, 6_997)]


def test_where_the_sum_counts_the_sides_are_closed_one_after_the_other() -> None:
    market = Market(copper(**FREE, margin_rule=MarginRule.SUM))
    account = market.account(380_000)
    market.hold(account, 6)
    market.hold(account, 4, direction=SELL)
    market.do(commands.Withdraw(account, 30_000 * YUAN))
    market.place(market.richer, BUY, 50, 7_000)
    market.place(market.richer, SELL, 50, 7_001)
    events = market.let_pass(2)
    assert entered(events) == [(SELL, CLOSETODAY, 3, 6_998)]


@pytest.mark.parametrize(
    ("name", "orders"),
    [
        (CU, [(SELL, CLOSE, 6, 6_998), (SELL, CLOSETODAY, 2, 6_998)]),
        (M1, [(SELL, CLOSE, 8, 6_998)]),
    ],
)
def test_history_goes_first_and_the_bucket_is_named_where_it_must_be(
    name: str, orders: list[tuple[int, int, int, int]]
) -> None:
    market = Market(copper(name, **FREE, product="x"))
    account = market.account(420_000)
    market.hold(account, 6, instrument=name)
    market.settle({name: 7_000})
    market.hold(account, 4, instrument=name)
    market.do(commands.Withdraw(account, market.of(account).withdrawable()))
    market.do(risk_parameters(release_percent=20))  # 350 000 of 350 000: 2 lots may remain, less than 2: 70 000 = 20 %
    market.place(market.richer, BUY, 50, 7_000, instrument=name)
    events = market.let_pass(2)
    expected = [*orders]
    direction, offset, volume, price = expected[-1]
    expected[-1] = (direction, offset, volume + 1, price)  # exactly 20 % is not below it
    assert entered(events) == expected
    assert market.lots(account, instrument=name) == 1


def test_orders_are_no_larger_than_the_instrument_allows() -> None:
    market = Market(copper(**FREE, volume_max=2))
    account = market.account(380_000)
    for _ in range(5):
        market.hold(account, 2)
    market.do(commands.Withdraw(account, 30_000 * YUAN))
    for _ in range(5):
        market.place(market.richer, BUY, 2, 7_000)
    events = market.let_pass(2)
    assert entered(events) == [(SELL, CLOSETODAY, 2, 6_998), (SELL, CLOSETODAY, 1, 6_998)]
    (step,) = of(LiquidationStepped, events)
    assert len(step.order_ids) == 2


def test_more_orders_than_a_step_enters_follow_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(liquidation, "ORDERS_PER_STEP", 2)
    market = Market(copper(**FREE, volume_max=1))
    account = market.account(380_000)
    for _ in range(10):
        market.hold(account, 1)
    for _ in range(10):
        market.place(market.richer, BUY, 1, 7_000)
    market.do(commands.ForceLiquidate(account, "default"))
    events = market.let_pass()
    assert [len(step.order_ids) for step in of(LiquidationStepped, events)] == [2, 2, 2, 2, 2]
    assert market.lots(account) == 0


# Orders first


def test_the_accounts_orders_are_cancelled_first_opening_before_closing_and_conditional_ones_too() -> None:
    market = Market()
    account = market.holder(450_000)
    closing = market.order_id(market.place(account, SELL, 1, 7_600, offset=CLOSETODAY))
    opening = market.order_id(market.place(account, BUY, 1, 6_310))
    market.do(commands.PlaceConditional(account, CU, SELL, CLOSETODAY, 1, 0, 6_400, 0, 1, 6_400))
    market.price(6_790)  # 105 000 lost: 350 000 of 345 000
    market.place(market.richer, BUY, 50, 6_790)
    events = market.let_pass(2)
    kinds = [type(event) for event in worked(events)]
    first = kinds.index(LiquidationStepped)
    assert kinds[first : first + 5] == [
        LiquidationStepped,
        ConditionalEnded,
        OrderCancelled,
        OrderCancelled,
        OrderAccepted,
    ]
    cancelled = of(OrderCancelled, events)
    assert [(e.order_id, e.reason) for e in cancelled] == [
        (opening, CancelReason.LIQUIDATION),
        (closing, CancelReason.LIQUIDATION),
    ]
    assert market.last.state == DONE


def test_many_orders_are_cancelled_in_bounded_steps_before_anything_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(liquidation, "CANCELS_PER_STEP", 3)
    market = Market()
    account = market.holder(1_000_000)
    for n in range(7):
        market.place(account, BUY, 1, 6_310 + n)
    market.place(market.richer, BUY, 10, 6_990)
    market.do(commands.ForceLiquidate(account, "default"))
    events = worked(market.let_pass())
    counts = [0]
    for event in events:
        if isinstance(event, LiquidationStepped):
            counts.append(0)
        counts[-1] += isinstance(event, OrderCancelled)
    assert counts == [0, 3, 3, 1]
    assert [e.account_id for e in of(OrderAccepted, events)] == [account]
    assert market.lots(account) == 0


def test_lots_that_the_accounts_own_orders_froze_are_closed_too() -> None:
    """Defect 14.3.8 of the reference system: frozen lots were left out of liquidation."""
    market = Market()
    account = market.holder(380_000)
    market.place(account, SELL, 10, 7_600, offset=CLOSETODAY)
    market.place(market.richer, BUY, 50, 6_999)
    market.do(commands.ForceLiquidate(account, "default"))
    market.let_pass()
    assert market.lots(account) == 0


def test_while_it_runs_the_account_may_close_but_not_open() -> None:
    market = Market()
    account = market.holder(3_800_000)  # 9 %: only the liquidation stands against opening
    market.do(commands.ForceLiquidate(account, "default"))
    market.let_pass(0.5)  # nobody is there: its order rests
    assert code(market.place(account, BUY, 1, 6_990)) == rejects.RISK_RATIO_TOO_HIGH.code
    assert code(market.place(account, SELL, 1, 7_100, offset=CLOSETODAY)) == rejects.INSUFFICIENT_POSITION.code
    market.place(market.richer, BUY, 10, 7_000)
    market.let_pass(2)
    assert market.last.state == DONE
    assert isinstance(market.place(account, BUY, 1, 6_990)[0], OrderAccepted)


def test_the_account_cannot_touch_the_orders_of_its_liquidation() -> None:
    market = Market()
    account = market.holder(380_000)
    market.do(commands.ForceLiquidate(account, "default"))
    market.let_pass(0.5)
    (order_id,) = market.of(account).live
    cancelled = market.do(commands.CancelOrder(account, order_id))
    assert code(cancelled) == rejects.ORDER_NOT_CANCELLABLE.code
    assert "forced liquidation" in cancelled[0].detail
    refused(market, commands.ModifyOrder(account, order_id, 7_600), rejects.ORDER_NOT_MODIFIABLE)
    assert market.do(commands.CancelAll(account))[0].count == 0
    assert list(market.of(account).live) == [order_id]


# Prices and retries


def test_each_retry_moves_the_price_further_and_never_beyond_the_limit() -> None:
    market = Market()
    market.do(risk_parameters(liquidation_step_ticks=150))
    account = market.holder(380_000)
    market.price(6_940)
    events = market.let_pass(10)
    assert entered(events) == [(SELL, CLOSETODAY, 3, price) for price in (6_790, 6_640, 6_490, 6_340, LOWER)]
    cancels = [e.reason for e in of(OrderCancelled, events)]
    assert cancels == [CancelReason.LIQUIDATION] * 4
    moments = [step.step for step in of(LiquidationStepped, events)]
    assert moments == [1, 2, 3, 4, 5]
    assert market.running(account).retries == 4


def test_a_short_is_bought_back_up_to_the_upper_limit() -> None:
    market = Market()
    market.do(risk_parameters(liquidation_step_ticks=300))
    market.holder(380_000, direction=SELL)
    market.price(7_060)
    assert entered(market.let_pass(10)) == [
        (BUY, CLOSETODAY, 3, 7_360),
        (BUY, CLOSETODAY, 3, 7_660),
        (BUY, CLOSETODAY, 3, UPPER),
    ]


def test_a_retry_comes_after_its_log_time_not_before() -> None:
    market = Market()
    market.do(risk_parameters(liquidation_retry_ns=3 * 10**9))
    market.holder(380_000)
    market.price(6_940)
    first = market.let_pass(1)
    assert len(entered(first)) == 1
    assert entered(market.let_pass(1.5)) == []
    assert len(entered(market.let_pass(1.5))) == 1


def test_in_a_market_locked_at_its_limit_the_order_keeps_its_place_and_nothing_spins() -> None:
    market = Market()
    market.do(risk_parameters(liquidation_step_ticks=1_000))
    account = market.holder(380_000)
    market.price(LOWER + 600)
    market.let_pass(2)
    (order,) = market.of(account).live.values()
    assert order.price_ticks == LOWER
    later = market.place(market.rich, SELL, 5, LOWER)  # behind it
    assert worked(market.let_pass(3_600)) == []
    assert timers.due_ns(market.machine) == 0
    assert list(market.of(account).live.values()) == [order]
    events = market.place(market.richer, BUY, 4, LOWER)
    assert of(TradeExecuted, events)[0].sell_account_id == account
    assert market.machine.orders[market.order_id(later)].left >= 1


def test_fills_of_a_resting_order_are_followed_and_end_the_liquidation_in_time() -> None:
    market = Market()
    account = market.holder(380_000)
    market.price(6_940)
    market.let_pass(0.1)
    market.let_pass(0.9)
    running = market.running(account)
    (order,) = market.of(account).live.values()
    market.place(market.richer, BUY, 2, order.price_ticks)
    assert (running.lots, running.loss) == (2, 2 * (7_000 - order.price_ticks) * 50 * YUAN)
    assert timers.due_ns(market.machine) <= market.machine.time_ns, "a fill is looked at at once"
    market.place(market.richer, BUY, order.left, order.price_ticks)
    events = market.let_pass()
    (end,) = of(LiquidationEnded, events)
    assert (end.state, end.loss_units) == (DONE, running.loss)
    assert running.lots == 10 - market.lots(account)


def test_what_it_lost_is_its_own_fills_and_their_fees_alone() -> None:
    market = Market(copper(open_amount=0, close_amount=0, close_today_amount=7 * YUAN))
    account = market.holder(500_000)
    market.do(
        commands.PlaceConditional(market.rich, CU, BUY, 0, 1, 0, 6_400, 2, 1, 6_301)
    )  # it has the trades looked at
    market.place(market.richer, BUY, 4, 6_990)
    market.place(account, SELL, 4, 6_990, offset=CLOSETODAY)  # the account's own close
    market.place(market.richer, BUY, 2, 6_980)
    market.do(commands.ForceLiquidate(account, "default"))
    market.let_pass(0.5)
    market.place(market.richer, BUY, 4, 6_970)
    market.let_pass(2)
    record = market.last
    assert (record.state, record.lots) == (DONE, 6)
    assert record.loss == (2 * 20 * 50 + 4 * 30 * 50 + 6 * 7) * YUAN


def test_a_deposit_ends_it_and_its_orders() -> None:
    market = Market()
    account = market.holder(380_000)
    market.price(6_940)
    market.let_pass(0.1)
    market.let_pass(0.9)
    assert market.of(account).live
    market.do(commands.Deposit(account, 1_000_000 * YUAN))
    events = market.let_pass(1.5)
    (end,) = of(LiquidationEnded, events)
    assert (end.state, end.loss_units) == (DONE, 0)
    assert not market.of(account).live
    assert market.lots(account) == 10
    assert not market.machine.instruments[CU].watched
    assert not market.machine.liquidations.orders


def test_a_recovery_shrinks_what_is_still_ordered() -> None:
    market = Market()
    account = market.holder(380_000)
    market.price(6_940)
    market.let_pass(1.5)
    (order,) = market.of(account).live.values()
    assert order.left == 3
    market.do(commands.Deposit(account, 50_000 * YUAN))  # 350 000 of 400 000: below 80 % from 9 lots
    market.let_pass(2)
    (order,) = market.of(account).live.values()
    assert order.left == 1


def test_what_stands_at_the_limit_shrinks_with_what_is_needed_and_grows_without_losing_its_place() -> None:
    market = Market()
    market.do(risk_parameters(liquidation_step_ticks=1_000))
    account = market.holder(380_000)
    market.price(6_940)
    market.let_pass(2)
    market.do(commands.Deposit(account, 50_000 * YUAN))
    events = market.let_pass(2)
    assert entered(events) == [(SELL, CLOSETODAY, 1, LOWER)]
    (first,) = market.of(account).live.values()
    market.do(commands.Withdraw(account, 50_000 * YUAN))
    assert entered(market.let_pass(2)) == [(SELL, CLOSETODAY, 2, LOWER)]
    assert first.alive, "what stands keeps its place in the queue"


def test_after_its_retries_it_is_exhausted_and_starts_again_later() -> None:
    market = Market()
    market.do(risk_parameters(liquidation_retries_max=3))
    account = market.holder(380_000)
    market.price(6_940)
    events = market.let_pass(10)
    (end,) = of(LiquidationEnded, events)
    assert end.state == EXHAUSTED
    assert len(entered(events)) == 4
    assert not market.of(account).live
    assert not of(LiquidationStarted, market.let_pass(50))
    (again,) = of(LiquidationStarted, market.let_pass(10))
    assert (again.account_id, again.liquidation_id) == (account, end.liquidation_id + 1)


def test_an_exhausted_one_starts_again_as_soon_as_the_price_moves() -> None:
    market = Market()
    market.do(risk_parameters(liquidation_retries_max=1))
    market.holder(380_000)
    market.price(6_940)
    assert of(LiquidationEnded, market.let_pass(5))
    market.price(6_930)
    assert of(LiquidationStarted, market.let_pass(1))


def test_what_nobody_takes_does_not_keep_it_from_closing_elsewhere() -> None:
    market = Market(copper(**FREE), copper(CU2, **FREE, product="zn"))
    account = market.account(380_000)
    market.hold(account, 4, instrument=CU2)
    market.hold(account, 6)
    market.price(6_890)  # 110 * 50 * 6 = 33 000: 350 000 of 347 000
    market.place(market.richer, BUY, 50, 7_000, instrument=CU2)
    events = market.let_pass(1)
    assert [e.instrument_id for e in of(OrderAccepted, events)] == [CU]
    events = market.let_pass(1)
    assert [e.instrument_id for e in of(OrderAccepted, events)] == [CU2]
    assert market.last.state == DONE
    assert (market.lots(account), market.lots(account, instrument=CU2)) == (6, 1)


def test_an_instrument_that_is_halted_is_waited_for_without_spinning() -> None:
    market = Market()
    account = market.holder(380_000)
    market.price(6_940)
    market.do(commands.SetInstrumentStatus(CU, InstrumentStatus.SUSPENDED))
    market.place(market.rich, BUY, 1, 6_900)
    events = market.let_pass(3_600)
    assert len(of(LiquidationStarted, events)) == 1
    assert entered(events) == []
    assert timers.due_ns(market.machine) == 0
    assert market.running(account).retries == 0
    market.do(commands.SetInstrumentStatus(CU, InstrumentStatus.ACTIVE))
    assert timers.due_ns(market.machine) <= market.machine.time_ns
    assert entered(market.let_pass()) == [(SELL, CLOSETODAY, 3, 6_938)]


def test_what_can_be_traded_is_closed_while_the_rest_is_halted() -> None:
    market = Market(copper(**FREE), copper(CU2, **FREE, product="zn"))
    account = market.account(380_000)
    market.hold(account, 4, instrument=CU2)
    market.hold(account, 6)
    market.do(commands.Withdraw(account, 30_000 * YUAN))
    market.do(commands.SetInstrumentStatus(CU, InstrumentStatus.SUSPENDED))
    market.place(market.richer, BUY, 50, 7_000, instrument=CU2)
    market.let_pass(3)
    assert (market.lots(account), market.lots(account, instrument=CU2)) == (6, 1)
    assert market.last.state == DONE


def test_a_resting_order_of_the_same_user_is_cancelled_not_traded_with() -> None:
    market = Market()
    user = market.do(commands.RegisterUser("both", "$2b$hash"))[0].user_id
    account, sibling = market.account(380_000, user=user), market.account(user=user)
    market.hold(account, 10)
    market.price(6_940)
    own = market.order_id(market.place(sibling, BUY, 50, 6_940))
    market.place(market.richer, BUY, 50, 6_939)
    events = market.let_pass(2)
    assert [(e.order_id, e.reason) for e in of(OrderCancelled, events)] == [(own, CancelReason.SELF_TRADE)]
    assert (6_939, 3) in trades(events)


# By an administrator, by a settlement


def test_an_administrator_closes_everything_with_a_reason_on_record() -> None:
    market = Market()
    account = market.holder(10_000_000)
    market.hold(account, 3, direction=SELL)
    market.place(market.richer, BUY, 50, 6_999)
    market.place(market.richer, SELL, 50, 7_001)
    (started,) = market.do(commands.ForceLiquidate(account, "court order 7", "U00000001"))
    assert isinstance(started, LiquidationStarted) and started.reason == "court order 7"
    market.let_pass()
    record = market.last
    assert (record.reason, record.by, record.everything, record.state) == ("court order 7", "U00000001", True, DONE)
    assert (record.lots, record.loss) == (13, 13 * 50 * YUAN)
    assert (market.lots(account), market.lots(account, SELL)) == (0, 0)
    assert list(record.order_ids) == [o.order_id for o in market.of(account).orders.values() if o.source]


def test_an_administrator_liquidates_at_most_once_per_request() -> None:
    market = Market()
    account = market.holder(10_000_000)
    command = commands.ForceLiquidate(account, "court order 7", "U00000001", "r1")
    market.do(command)
    (again,) = market.do(command)
    assert isinstance(again, RequestRepeated) and (again.code, again.ref) == (0, "1")
    other = market.do(commands.ForceLiquidate(account, "again", "U00000001", "r2"))
    assert code(other) == rejects.LIQUIDATION_FAILED.code
    assert "liquidation 1" in other[0].detail


@pytest.mark.parametrize("reason", ["", "x" * 201, "bell \x07"])
def test_a_liquidation_by_hand_needs_a_reason(reason: str) -> None:
    market = Market()
    account = market.holder(10_000_000)
    events = market.do(commands.ForceLiquidate(account, reason))
    assert code(events) == rejects.LIQUIDATION_FAILED.code
    assert "reason" in events[0].detail
    assert not market.machine.liquidations.running


def test_there_must_be_something_to_liquidate() -> None:
    market = Market()
    account = market.account()
    refused(market, commands.ForceLiquidate(account, "default"), rejects.LIQUIDATION_FAILED)
    refused(market, commands.ForceLiquidate("nobody", "default"), rejects.ACCOUNT_NOT_FOUND)
    market.place(account, BUY, 1, 6_500)
    market.do(commands.ForceLiquidate(account, "default"))
    events = market.let_pass()
    assert [e.reason for e in of(OrderCancelled, events)] == [CancelReason.LIQUIDATION]
    assert market.last.state == DONE


def test_a_frozen_account_is_liquidated_all_the_same() -> None:
    market = Market()
    account = market.holder(380_000)
    market.do(commands.FreezeAccount(account, 3, False, "inquiry"))
    market.place(market.richer, BUY, 50, 7_000)
    market.do(commands.ForceLiquidate(account, "default"))
    market.let_pass()
    assert market.lots(account) == 0


def test_accounts_that_a_settlement_lists_are_liquidated_at_the_next_opening() -> None:
    market = Market()
    account = market.holder(380_000)
    market.do(commands.SetInstrumentStatus(CU, InstrumentStatus.SUSPENDED))
    market.settle({CU: 6_940})
    assert market.machine.settlements.listed == [account]
    events = market.let_pass(10)
    (started,) = of(LiquidationStarted, events)
    assert (started.account_id, entered(events)) == (account, [])
    market.do(commands.SetInstrumentStatus(CU, InstrumentStatus.ACTIVE))
    market.place(market.richer, BUY, 50, 6_940)
    assert entered(market.let_pass(1))[0][:2] == (SELL, CLOSE), "its lots are history"
    assert market.last.state == DONE
    assert not of(LiquidationStarted, market.let_pass(100))


def test_an_order_that_settlement_ended_is_entered_again_the_next_day() -> None:
    market = Market()
    market.do(risk_parameters(liquidation_step_ticks=1_000))
    account = market.holder(380_000)
    market.price(6_940)
    market.let_pass(3)
    (order,) = market.of(account).live.values()
    market.settle({CU: 6_900})
    assert not order.alive
    events = market.let_pass(3)
    lower = market.machine.instruments[CU].lower_limit_ticks
    assert lower < LOWER
    assert entered(events) == [(SELL, CLOSE, 3, lower)]
    assert market.running(account).liquidation_id == 1


# Many at once, and everywhere the same


def test_a_crash_liquidates_many_accounts_in_bounded_commands() -> None:
    market = Market()
    accounts = [market.holder(380_000) for _ in range(25)]
    market.place(market.richer, BUY, 500, 6_940)
    market.price(6_940)
    done = 0
    for _ in range(100):
        due_ns = timers.due_ns(market.machine)
        if not due_ns:
            break
        events = market.do(commands.AdvanceClock(), time_ns=max(due_ns, market.machine.time_ns + 1))
        steps = of(LiquidationStepped, events)
        assert len(steps) <= liquidation.STEPS_PER_COMMAND
        done += len(of(LiquidationEnded, events))
    assert done == 25
    assert [market.lots(account) for account in accounts] == [7] * 25


def test_one_log_liquidates_the_same_way_everywhere() -> None:
    market = Market()
    for cash in (380_000, 400_000, 420_000):
        market.holder(cash)
    for ticks in (6_940, 6_900, 6_850, 6_800):
        market.price(ticks)
        market.place(market.richer, BUY, 2, ticks)
        market.let_pass(2)
    market.let_pass(20)
    other = Machine()
    for index, time_ns, raw in market.log:
        other.apply(index, time_ns, [raw])
    assert other.digest() == market.machine.digest()
    assert market.machine.liquidations.count >= 3


def test_ended_liquidations_are_kept_up_to_a_number() -> None:
    market = Market()
    account = market.account()
    for _ in range(3):
        market.place(account, BUY, 1, 6_500)
        market.do(commands.ForceLiquidate(account, "default"))
        market.let_pass()
    finished = market.machine.liquidations.finished
    assert [record.liquidation_id for record in finished] == [1, 2, 3]
    assert finished.maxlen == 1_000
    assert not market.machine.liquidations.running
    assert not market.of(account).liquidating


def test_a_price_that_gaps_through_everything_is_a_deficit_of_the_round_the_clock_market_too() -> None:
    """An instrument without limits can lose more than an account has, in one trade."""
    market = Market(copper("SIM.x", **FREE, limit_up_rate=0, limit_down_rate=0))
    account = market.holder(380_000, instrument="SIM.x")
    market.price(1_000, "SIM.x")
    market.place(market.richer, BUY, 50, 990, instrument="SIM.x")
    events = market.let_pass(2)
    (end,) = of(LiquidationEnded, events)
    assert end.state == DEFICIT
    assert end.balance_units == (380_000 - 6_010 * 50 * 10) * YUAN
    assert market.lots(account, instrument="SIM.x") == 0


def locked(cash: float, longs: int, shorts: int) -> tuple[Market, str]:
    """A market of an account that holds both sides of copper at 7 000."""
    market = Market()
    account = market.account(10_000_000)
    market.hold(account, longs)
    market.hold(account, shorts, direction=SELL)
    market.do(commands.Withdraw(account, (10_000_000 - int(cash)) * YUAN))
    return market, account


def test_a_liquidation_may_end_in_the_step_that_cancels_its_own_order_on_the_other_side() -> None:
    market, account = locked(350_000, 10, 6)
    market.price(LOWER)
    market.place(market.rich, SELL, 20, 7_600)  # the only offer: who buys there lifts the last price
    events = market.let_pass(2)
    sold, bought = of(OrderAccepted, events)
    assert (sold.direction, bought.direction) == (SELL, BUY)
    assert [(e.order_id, e.reason) for e in of(OrderCancelled, events)] == [(sold.order_id, CancelReason.SELF_TRADE)]
    (end,) = of(LiquidationEnded, events)
    assert end.state == DONE
    assert market.lots(account) == 10


def test_a_liquidation_of_both_sides_does_not_take_a_cancelled_order_for_a_standing_one() -> None:
    """At both price limits its own orders cross: one side stands, and the other waits for the next retry."""
    market, account = locked(1_000_000, 4, 2)
    market.do(risk_parameters(liquidation_step_ticks=100_000, liquidation_retries_max=5))
    market.do(commands.ForceLiquidate(account, "default"))
    market.let_pass(2)
    assert market.machine.liquidations.agenda.next_ns() > 0
    market.place(market.rich, BUY, 4, 6_400)
    market.let_pass(2)
    assert market.lots(account) == 0
    market.place(market.rich, SELL, 2, 7_600)
    market.let_pass(2)
    assert market.lots(account, SELL) == 0
    assert market.last.state == DONE


@pytest.mark.parametrize("mode", [SelfTrade.CANCEL_TAKER, SelfTrade.CANCEL_MAKER, SelfTrade.CANCEL_BOTH])
@pytest.mark.parametrize("other_account", [False, True])
@pytest.mark.parametrize("auction", [False, True])
def test_a_user_cannot_take_an_order_of_a_liquidation_back_by_crossing_it(
    mode: SelfTrade, other_account: bool, auction: bool
) -> None:
    market, account = locked(1_000_000, 4, 2)
    market.do(risk_parameters(liquidation_step_ticks=100_000))
    rescuer = market.account(user=market.of(account).user.user_id) if other_account else account
    market.place(market.richer, BUY, 3, 6_200)
    market.do(commands.ForceLiquidate(account, "default"))
    market.let_pass()
    (number,) = [n for n, order in market.of(account).live.items() if order.source == OrderSource.LIQUIDATION]
    standing = market.machine.orders[number]
    if auction:
        market.do(commands.SetInstrumentStatus(CU, int(InstrumentStatus.AUCTION)))
    events = market.place(
        rescuer,
        -standing.direction,
        1,
        standing.price_ticks,
        offset=OPEN if other_account else CLOSETODAY,
        self_trade=int(mode),
    )
    assert [(e.order_id, e.reason) for e in of(OrderCancelled, events)] == [
        (market.order_id(events), CancelReason.SELF_TRADE)
    ]
    assert standing.alive


def test_fill_or_kill_does_not_count_on_an_order_of_a_liquidation_giving_way() -> None:
    market = Market()
    account = market.holder(1_000_000, 4)
    other = market.account(user=market.of(account).user.user_id)
    market.do(risk_parameters(liquidation_step_ticks=100_000))
    market.do(commands.ForceLiquidate(account, "default"))
    market.let_pass(2)
    market.place(market.rich, SELL, 5, 6_400)
    events = market.place(
        other, BUY, 5, 6_400, time_condition=IOC, volume_condition=ALL, self_trade=int(SelfTrade.CANCEL_MAKER)
    )
    (ended,) = of(OrderCancelled, events)
    assert ended.reason == CancelReason.FOK_UNFILLABLE


def test_an_ended_liquidation_waits_for_no_instrument_any_more() -> None:
    """Its instrument expired while it was suspended: it never trades again."""
    market = Market(copper(**FREE, expiry_day=20261123))
    account = market.holder(1_000_000, 4)
    market.do(commands.SetInstrumentStatus(CU, int(InstrumentStatus.SUSPENDED)))
    market.do(commands.ForceLiquidate(account, "default"))
    market.let_pass(2)
    assert market.machine.liquidations.waiting == {CU: {account: None}}
    market.settle({CU: 7_000})
    market.let_pass(5)
    assert market.last.state == DONE
    assert not market.machine.liquidations.waiting
