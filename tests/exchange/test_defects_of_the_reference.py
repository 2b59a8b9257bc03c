"""The defects of the reference system that must not come back, one test each, named after its number in
reference-system.md, Part 14."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from node.exchange import codec, commands, invariants, rejects
from node.exchange.events import (
    CommandRejected,
    ConditionalEnded,
    ConditionalPlaced,
    Event,
    FundsMoved,
    LiquidationEnded,
    LiquidationStarted,
    OrderAccepted,
    OrderCancelled,
    RiskAlerted,
    TradeExecuted,
)
from node.exchange.machine import Machine
from node.exchange.queries import AccountFigures, account_figures
from node.exchange.types import (
    CancelReason,
    ConditionalState,
    InstrumentStatus,
    LiquidationState,
    Offset,
    OrderSource,
    OrderState,
    PriceType,
    TimeCondition,
)
from tests.exchange.driver import ALL, BUY, IOC, SELL, YUAN, Driver, code, copper, index_future, trades
from tests.exchange.object_graph import differences
from tests.exchange.refusals import refused

CU, AL = "SHFE.cu2701", "SHFE.al2701"


@pytest.fixture
def exchange() -> Driver:
    return Driver(copper(), copper(AL, product="al", open_amount=0))


def together(exchange: Driver, *batch: commands.Command) -> list[list[Event]]:
    """Several commands in one entry of the log: one index, one time."""
    raws = [codec.encode_command(command) for command in batch]
    machine = exchange.machine
    results = machine.apply(machine.index + 1, machine.time_ns + 1_000, raws)
    invariants.check(machine)
    return results


def buy(account_id: str, volume: int, price: int, **fields: object) -> commands.PlaceOrder:
    return commands.PlaceOrder(account_id, CU, BUY, 0, volume, 0, price, **fields)  # type: ignore[arg-type]


# 14.4 Matching and orders


def test_14_4_1_makers_of_different_instruments_are_never_confused(exchange: Driver) -> None:
    """The reference kept one map of ids for all books, while ids were per book: the wrong account was debited."""
    copper_maker, aluminium_maker, taker = (exchange.account() for _ in range(3))
    first = exchange.order_id(exchange.place(copper_maker, SELL, 1, 7_000))
    second = exchange.order_id(exchange.place(aluminium_maker, SELL, 1, 7_000, instrument=AL))
    assert first != second
    (trade,) = [e for e in exchange.place(taker, BUY, 1, 7_000, instrument=AL) if isinstance(e, TradeExecuted)]
    assert (trade.sell_account_id, trade.sell_order_id, trade.instrument_id) == (aluminium_maker, second, AL)
    accounts = exchange.machine.accounts
    assert accounts[copper_maker].commission == 0
    assert accounts[copper_maker].positions[CU].short.volume == 0
    assert accounts[aluminium_maker].positions[AL].short.volume == 1
    assert exchange.machine.orders[first].alive


def test_14_4_2_every_fill_of_a_sweep_is_recorded(exchange: Driver) -> None:
    """The reference recorded a taker's first fill only, and overwrote its filled volume by the last."""
    maker, taker = exchange.account(), exchange.account()
    makers = [exchange.order_id(exchange.place(maker, SELL, 2, 7_000 + n)) for n in range(3)]
    events = exchange.place(taker, BUY, 5, 7_002)
    number = exchange.order_id(events)
    fills = [e for e in events if isinstance(e, TradeExecuted)]
    assert [(e.trade_id, e.price_ticks, e.volume, e.sell_order_id, e.buy_order_id, e.buy_left) for e in fills] == [
        (1, 7_000, 2, makers[0], number, 3),
        (2, 7_001, 2, makers[1], number, 1),
        (3, 7_002, 1, makers[2], number, 0),
    ]
    order = exchange.machine.orders[number]
    assert order.volume - order.left == 5
    assert order.filled_cost == 2 * 7_000 + 2 * 7_001 + 7_002
    assert exchange.machine.instruments[CU].day_volume == 5


def test_14_4_3_the_log_alone_decides_ids_and_order() -> None:
    """The reference took ids from UUIDs and clocks, and reports could overtake each other: no replay."""
    exchange = Driver(copper())
    one, other = exchange.account(), exchange.account()
    events = [
        exchange.place(one, SELL, 3, 7_000),
        exchange.place(other, BUY, 2, 7_000),
        exchange.place(other, BUY, 2, 7_001),
    ]
    again = Machine()
    replayed = [again.apply(index, time_ns, [raw])[0] for index, time_ns, raw in exchange.log]
    assert replayed[-3:] == events
    assert again.digest() == exchange.machine.digest()
    assert [e.order_id for e in (events[0][0], events[1][0], events[2][0])] == [1, 2, 3]


def test_14_4_4_fill_or_kill_and_immediate_or_cancel_are_atomic(exchange: Driver) -> None:
    """In the reference a FOK could fill in part, and between match and cancel others hit the remainder of an IOC."""
    maker, taker, other = (exchange.account() for _ in range(3))
    exchange.place(maker, SELL, 2, 7_000)
    before = exchange.machine.instruments[CU].book.depth(SELL, 5)
    killed = exchange.do(buy(taker, 3, 7_000, time_condition=IOC, volume_condition=ALL))
    assert [type(e) for e in killed] == [OrderAccepted, OrderCancelled]
    assert exchange.machine.instruments[CU].book.depth(SELL, 5) == before
    sell = commands.PlaceOrder(other, CU, SELL, 0, 1, 0, 7_000)
    immediate, after = together(exchange, buy(taker, 3, 7_000, time_condition=IOC), sell)
    assert trades(immediate) == [(7_000, 2)]
    assert isinstance(immediate[-1], OrderCancelled)
    assert (immediate[-1].volume_left, immediate[-1].reason) == (1, CancelReason.IOC_REMAINDER)
    assert trades(after) == []


@pytest.mark.parametrize(
    ("fields", "reject"),
    [
        ({"price_ticks": 0}, rejects.PRICE_OUTSIDE_LIMITS),
        ({"price_ticks": -7_000}, rejects.PRICE_OUTSIDE_LIMITS),
        ({"price_ticks": 7_701}, rejects.PRICE_OUTSIDE_LIMITS),
        ({"price_ticks": 6_299}, rejects.PRICE_OUTSIDE_LIMITS),
        ({"volume": 0}, rejects.VOLUME_OUTSIDE_LIMITS),
        ({"volume": -1}, rejects.VOLUME_OUTSIDE_LIMITS),
        ({"volume": 501}, rejects.VOLUME_OUTSIDE_LIMITS),
        ({"volume": 2**62}, rejects.VOLUME_OUTSIDE_LIMITS),
        ({"offset": 9}, rejects.BAD_ORDER_PARAMETERS),
        ({"direction": 0}, rejects.BAD_ORDER_PARAMETERS),
        ({"time_condition": 9}, rejects.BAD_ORDER_PARAMETERS),
        ({"instrument_id": "SHFE.zz"}, rejects.INSTRUMENT_NOT_FOUND),
        ({"instrument_id": AL}, rejects.INSTRUMENT_NOT_TRADING),  # suspended below
        ({"time_condition": int(TimeCondition.GFA)}, rejects.AUCTION_ONLY),
    ],
)
def test_14_4_5_nothing_senseless_is_accepted(
    exchange: Driver, fields: dict[str, object], reject: rejects.Reject
) -> None:
    """The reference checked neither limits, lots, status nor session, and took an unknown offset for an opening buy.

    (Prices are whole ticks here; the edge refuses one that is off the tick.)
    """
    trader = exchange.account()
    exchange.do(commands.SetInstrumentStatus(AL, int(InstrumentStatus.SUSPENDED)))
    terms: dict[str, object] = {
        "account_id": trader, "instrument_id": CU, "direction": BUY, "offset": int(Offset.OPEN), "volume": 1,
        "price_type": 0, "price_ticks": 7_000,
    }  # fmt: skip
    refused(exchange, commands.PlaceOrder(**(terms | fields)), reject)  # type: ignore[arg-type]


@pytest.mark.parametrize("price", [[], [(7_000, 1)]])
def test_14_4_6_a_market_order_never_rests(exchange: Driver, price: list[tuple[int, int]]) -> None:
    """The reference turned it into a limit order and let that rest."""
    for ticks, lots in price:
        exchange.place(exchange.account(), SELL, lots, ticks)
    trader = exchange.account()
    events = exchange.do(commands.PlaceOrder(trader, CU, BUY, 0, 2, int(PriceType.MARKET), 0))
    assert isinstance(events[-1], OrderCancelled)
    assert events[-1].reason == CancelReason.MARKET_REMAINDER
    assert exchange.machine.instruments[CU].book.best(BUY) is None
    assert not exchange.machine.accounts[trader].live


def test_14_4_8_a_restart_matches_nothing_again_and_renames_nothing(exchange: Driver) -> None:
    """The reference entered restored orders anew: in any order, ignoring what that traded, under other ids."""
    one, other = exchange.account(), exchange.account()
    kept = exchange.order_id(exchange.place(one, SELL, 5, 7_000, client_order_id="a"))
    exchange.place(other, BUY, 2, 7_000)
    second = exchange.order_id(exchange.place(other, SELL, 5, 7_000))
    restarted = Machine()
    for index, time_ns, raw in exchange.log:
        restarted.apply(index, time_ns, [raw])
    assert differences(restarted, exchange.machine) == []
    exchange.machine = restarted
    assert restarted.orders[kept].left == 3
    exchange.do(commands.CancelOrder(one, 0, "a"))
    (trade,) = [e for e in exchange.place(one, BUY, 1, 7_000) if isinstance(e, TradeExecuted)]
    assert (trade.trade_id, trade.sell_order_id) == (2, second)


def test_14_4_9_an_accepted_order_can_be_cancelled_at_once_and_every_refusal_is_told(exchange: Driver) -> None:
    """In the reference a cancel failed while its order was routed, refused cancels were silent, rejects froze."""
    trader = exchange.account(100_000)
    place, cancel, late, poor = together(
        exchange,
        buy(trader, 1, 7_000, client_order_id="a"),
        commands.CancelOrder(trader, 0, "a"),
        commands.CancelOrder(trader, 0, "a"),
        buy(trader, 3, 7_000),
    )
    assert [type(e) for e in place] == [OrderAccepted]
    assert isinstance(cancel[0], OrderCancelled)
    assert [(type(e), e.code) for e in late] == [(CommandRejected, rejects.ORDER_NOT_CANCELLABLE.code)]  # type: ignore[attr-defined]
    assert [(type(e), e.code) for e in poor] == [(CommandRejected, rejects.INSUFFICIENT_FUNDS.code)]  # type: ignore[attr-defined]
    account = exchange.machine.accounts[trader]
    assert account.available() == 100_000 * YUAN
    assert [order.state for order in account.orders.values()] == [OrderState.CANCELLED]


def test_14_4_12_time_priority_is_the_position_in_the_log_not_a_timestamp(exchange: Driver) -> None:
    """Two orders of one entry have the same time; the reference left their sequence to chance."""
    one, other, taker = (exchange.account() for _ in range(3))
    sells = [commands.PlaceOrder(who, CU, SELL, 0, 1, 0, 7_000) for who in (other, one, other)]
    numbers = [events[0].order_id for events in together(exchange, *sells)]  # type: ignore[attr-defined]
    assert len({exchange.machine.orders[number].insert_ns for number in numbers}) == 1
    fills = [e.sell_order_id for e in exchange.do(buy(taker, 3, 7_000)) if isinstance(e, TradeExecuted)]
    assert fills == numbers


# 14.3.14 and 14.4.7 Accounts and instruments


@pytest.mark.parametrize("held", ["money", "an order", "a position"])
def test_14_3_14_closing_an_account_checks_before_it_removes(exchange: Driver, held: str) -> None:
    """The reference removed the account first and validated then: an account that could not be closed was lost."""
    account_id, other = exchange.account(), exchange.account()
    if held == "an order":
        exchange.place(account_id, BUY, 1, 7_000)
    elif held == "a position":
        exchange.place(account_id, BUY, 1, 7_000)
        exchange.place(other, SELL, 1, 7_000)
    refused(exchange, commands.CloseAccount(account_id), rejects.ACCOUNT_NOT_EMPTY)
    assert exchange.machine.accounts[account_id].balance() > 0
    assert isinstance(exchange.do(commands.Deposit(account_id, 1))[0], FundsMoved)


@pytest.mark.parametrize("status", [InstrumentStatus.SUSPENDED, InstrumentStatus.CLOSED, InstrumentStatus.DELISTED])
def test_14_4_7_an_instrument_off_the_market_does_not_trade(exchange: Driver, status: InstrumentStatus) -> None:
    """In the reference the status was a label: orders in suspended and delisted instruments matched as ever."""
    account_id = exchange.account()
    reject = rejects.INSTRUMENT_NOT_TRADING
    if status == InstrumentStatus.DELISTED:
        exchange.do(commands.DelistInstrument(CU))
        reject = rejects.INSTRUMENT_NOT_LISTED
    else:
        maker = exchange.account()
        order_id = exchange.order_id(exchange.place(maker, SELL, 1, 7_000))
        exchange.do(commands.SetInstrumentStatus(CU, int(status)))
        refused(exchange, commands.ModifyOrder(maker, order_id, 7_001), reject)
        assert exchange.machine.orders[order_id].alive
    refused(exchange, buy(account_id, 1, 7_000), reject)


def test_14_4_7_a_new_instrument_trades_at_once(exchange: Driver) -> None:
    """In the reference an instrument that was listed at run time had no book until the next start."""
    buyer, seller = exchange.account(), exchange.account()
    exchange.do(copper("SHFE.zn2701", product="zn"))
    exchange.place(seller, SELL, 1, 7_000, instrument="SHFE.zn2701")
    assert trades(exchange.place(buyer, BUY, 1, 7_000, instrument="zn2701")) == [(7_000, 1)]


# 14.3 Correctness of money and positions

IF = "CFFEX.IF2701"
CRITICAL_PERCENT = 95


def pair(*instruments: commands.ListInstrument, cash: float = 10_000_000) -> tuple[Driver, str, str]:
    """An exchange on its first trading day, and two funded accounts."""
    exchange = Driver(*instruments)
    exchange.begin_day()
    return exchange, exchange.account(cash), exchange.account(cash)


def deal(exchange: Driver, buyer: str, seller: str, volume: int, price: int, **fields: Any) -> None:
    exchange.place(seller, SELL, volume, price, **fields)
    assert trades(exchange.place(buyer, BUY, volume, price, **fields)) == [(price, volume)]


def funds(exchange: Driver, account_id: str) -> AccountFigures:
    return account_figures(exchange.machine.accounts[account_id])


def seconds_later(exchange: Driver, seconds: int) -> list[Event]:
    return exchange.do(commands.AdvanceClock(), time_ns=exchange.machine.time_ns + seconds * 10**9)


def test_14_3_1_money_is_whole_units_and_sums_without_a_remainder() -> None:
    """The reference summed doubles: ten fees of 0.1 were not 1, and a rest of volume was compared with 0.0."""
    exchange, buyer, seller = pair(copper(open_amount=1_000))
    for _ in range(10):
        deal(exchange, buyer, seller, 1, 7_000)
    figures = funds(exchange, buyer)
    assert figures.commission == 10_000
    assert all(type(value) is int for value in figures)
    assert figures.balance == 10_000_000 * YUAN - 10_000


def test_14_3_2_the_multiplier_is_in_funds_limits_profit_settlement_and_turnover() -> None:
    """The reference multiplied none of these by the contract's size."""
    exchange, buyer, seller = pair(index_future())
    poor = exchange.account(136_800)  # the margin of one lot, and nothing for its fee
    assert code(exchange.place(poor, BUY, 1, 19_000, instrument=IF)) == rejects.INSUFFICIENT_FUNDS.code
    exchange.do(commands.SetAccountLimits(seller, 0, 1_140_000 * YUAN))
    assert code(exchange.place(seller, SELL, 1, 19_001, instrument=IF)) == rejects.ORDER_AMOUNT_TOO_LARGE.code
    deal(exchange, buyer, seller, 1, 19_000, instrument=IF)  # 3 800.0 * 300
    assert exchange.machine.instruments[IF].day_turnover_units == 1_140_000 * YUAN
    before = funds(exchange, buyer)
    exchange.settle({"IF2701": 19_005})
    after = funds(exchange, buyer)
    assert after.pre_balance - before.balance == 300 * YUAN
    assert after.margin == 19_005 * 2_000 * 300 * 12 // 100


def test_14_3_3_margin_and_fees_come_from_the_instrument_and_follow_its_terms() -> None:
    """The reference showed one table, computed with another, and let an administrator edit a third."""
    exchange, buyer, seller = pair(copper())
    deal(exchange, buyer, seller, 1, 7_000)
    number = exchange.order_id(exchange.place(buyer, BUY, 2, 6_900))
    terms = msgspec.structs.asdict(copper(margin_long_amount=40_000 * YUAN, open_amount=200_000))
    (event,) = exchange.do(commands.ModifyInstrument(**terms))
    assert not isinstance(event, CommandRejected), event
    figures = funds(exchange, buyer)
    assert (figures.margin, figures.frozen_margin, figures.frozen_commission) == (
        40_000 * YUAN,
        80_000 * YUAN,
        400_000,
    )
    exchange.place(seller, SELL, 2, 6_900)
    assert not exchange.machine.orders[number].alive
    figures = funds(exchange, buyer)
    assert (figures.margin, figures.commission) == (120_000 * YUAN, 175_000 + 400_000)


def test_14_3_4_settlement_marks_to_market() -> None:
    """The reference realised nothing, lost the day's deposits, counted others twice, settled a day again and again, and
    left working orders alive whose reservations it had erased."""
    exchange, buyer, seller = pair(copper())
    deal(exchange, buyer, seller, 2, 7_000)
    exchange.do(commands.Deposit(buyer, 1_000 * YUAN))
    exchange.do(commands.Withdraw(buyer, 400 * YUAN))
    day_order = exchange.order_id(exchange.place(buyer, BUY, 1, 6_900))
    lasting = exchange.order_id(exchange.place(buyer, BUY, 1, 6_901, time_condition=TimeCondition.GTC))
    day = exchange.machine.trading_day
    exchange.settle({"cu2701": 7_020})
    figures = funds(exchange, buyer)
    assert figures.pre_balance == (10_000_000 + 1_000 - 400 + 2_000 - 35) * YUAN
    assert figures.balance == figures.static_balance == figures.pre_balance
    assert exchange.machine.orders[day_order].state == OrderState.EXPIRED
    assert exchange.machine.orders[lasting].alive
    assert (figures.frozen_margin, figures.frozen_commission) == (35_000 * YUAN, 175_000)
    (again,) = exchange.do(commands.SettleDay(day))
    assert again.repeated
    assert funds(exchange, buyer) == figures


def test_14_3_5_every_price_reaches_every_account_that_holds_the_instrument() -> None:
    """In the reference profit and ratio stood still until the account itself traded again."""
    exchange, buyer, seller = pair(copper(), cash=100_000)
    deal(exchange, buyer, seller, 2, 7_000)
    seconds_later(exchange, 2)
    others = exchange.account(), exchange.account()
    deal(exchange, others[0], others[1], 1, 6_700)
    figures = funds(exchange, buyer)
    assert (figures.position_profit, figures.float_profit) == (-30_000 * YUAN, -30_000 * YUAN)
    assert figures.margin * 100 >= figures.balance * 100
    events = seconds_later(exchange, 2)
    assert buyer in [e.account_id for e in events if isinstance(e, RiskAlerted)]
    assert [e.account_id for e in events if isinstance(e, LiquidationStarted)] == [buyer]


def test_14_3_6_a_partial_fill_keeps_what_the_rest_needs_reserved() -> None:
    """The reference released everything at the first fill; the rest then traded unreserved."""
    exchange, buyer, seller = pair(copper())
    exchange.place(buyer, BUY, 5, 7_000)
    for sold in range(1, 5):
        exchange.place(seller, SELL, 1, 7_000)
        figures = funds(exchange, buyer)
        assert figures.margin == sold * 35_000 * YUAN
        assert figures.frozen_margin == (5 - sold) * 35_000 * YUAN
        assert figures.frozen_commission == (5 - sold) * 175_000
    exchange.place(seller, SELL, 1, 7_000)
    figures = funds(exchange, buyer)
    assert (figures.frozen_margin, figures.frozen_commission) == (0, 0)


def test_14_3_7_no_refused_or_ended_order_leaves_anything_frozen() -> None:
    """The reference kept funds frozen after routing errors, failed matches and prevented self-trades."""
    exchange, buyer, _ = pair(copper())
    own = exchange.account(user=exchange.machine.accounts[buyer].user.user_id)
    exchange.place(own, SELL, 1, 7_000)
    before = funds(exchange, buyer)
    refused_or_ended = [
        exchange.place(buyer, BUY, 1, 7_701),  # outside the limits
        exchange.place(buyer, BUY, 501, 7_000),  # too many lots
        exchange.place(buyer, SELL, 1, 7_000, offset=Offset.CLOSE),  # nothing to close
        exchange.place(buyer, BUY, 1, 6_900, time_condition=IOC),
        exchange.place(buyer, BUY, 2, 7_000, time_condition=IOC, volume_condition=ALL),
        exchange.place(buyer, BUY, 1, 7_000, post_only=True),
        exchange.place(buyer, BUY, 1, 7_000),  # meets the same user's order
        exchange.place(buyer, BUY, 1, 7_000, self_trade=3),
        exchange.place(buyer, BUY, 1, 7_000, deadline_ns=1),
    ]
    for events in refused_or_ended:
        assert isinstance(events[-1], CommandRejected | OrderCancelled), events
        assert not trades(events)
    assert funds(exchange, buyer) == before
    assert not exchange.machine.accounts[buyer].live
    assert exchange.machine.accounts[own].live


def test_14_3_8_a_close_freezes_the_bucket_it_takes_and_frozen_lots_are_lots() -> None:
    """The reference froze today's lots for a close of history, and left frozen lots out of settlement, liquidation and
    the check before a delisting."""
    exchange, buyer, seller = pair(copper())
    deal(exchange, buyer, seller, 2, 7_000)
    exchange.settle({"cu2701": 7_000})
    deal(exchange, buyer, seller, 1, 7_000)
    exchange.place(buyer, SELL, 2, 7_100, offset=Offset.CLOSE, time_condition=TimeCondition.GTC)
    side = exchange.machine.accounts[buyer].positions[CU].long
    assert (side.his, side.frozen_his, side.today, side.frozen_today) == (2, 2, 1, 0)
    (event,) = exchange.do(commands.DelistInstrument(CU))
    assert isinstance(event, CommandRejected)
    assert event.code == rejects.INSTRUMENT_HELD.code
    assert buyer in event.detail
    before = funds(exchange, buyer)
    exchange.settle({"cu2701": 7_010})
    assert funds(exchange, buyer).pre_balance == before.balance + 3 * 10 * 10 * 5 * YUAN  # of all three lots
    side = exchange.machine.accounts[buyer].positions[CU].long
    assert (side.his, side.frozen_his) == (3, 2)
    exchange.place(seller, BUY, 3, 7_010, offset=Offset.CLOSE)
    exchange.do(commands.ForceLiquidate(buyer, "test"))
    for _ in range(4):
        seconds_later(exchange, 2)
    assert side.volume == side.frozen_his == 0


@pytest.mark.parametrize("direction", [BUY, SELL])
@pytest.mark.parametrize(("short_of", "accepted"), [(0, True), (1, False)])
def test_14_3_9_opening_either_way_reserves_margin_and_fee_and_equal_is_enough(
    direction: int, short_of: int, accepted: bool
) -> None:
    """In the reference a sell reserved by another coefficient, equality was refused, and no fee was reserved: money
    could fall below zero."""
    exchange = Driver(copper())
    account_id = exchange.account(0)
    needed = 35_000 * YUAN + 175_000
    exchange.do(commands.Deposit(account_id, needed - short_of))
    events = exchange.place(account_id, direction, 1, 7_000)
    if not accepted:
        assert code(events) == rejects.INSUFFICIENT_FUNDS.code
        return
    figures = funds(exchange, account_id)
    assert (figures.frozen_margin, figures.frozen_commission, figures.available) == (35_000 * YUAN, 175_000, 0)
    exchange.place(exchange.account(), -direction, 1, 7_000)
    figures = funds(exchange, account_id)
    assert (figures.margin, figures.commission, figures.available) == (35_000 * YUAN, 175_000, 0)


def test_14_3_10_closing_today_costs_its_own_fee_and_the_event_tells_the_fee_that_is_booked() -> None:
    """The reference never applied the fee, and told another one than it booked."""
    exchange, buyer, seller = pair(index_future())
    deal(exchange, buyer, seller, 1, 19_000, instrument=IF)
    exchange.place(seller, BUY, 1, 19_005, instrument=IF, offset=Offset.CLOSETODAY)
    before = funds(exchange, buyer).commission
    events = exchange.place(buyer, SELL, 1, 19_005, instrument=IF, offset=Offset.CLOSETODAY)
    (trade,) = [e for e in events if isinstance(e, TradeExecuted)]
    assert trade.sell_fee_units == 393_4035
    assert funds(exchange, buyer).commission - before == trade.sell_fee_units


def test_14_3_11_closing_is_never_refused_for_the_risk_ratio() -> None:
    """The reference refused closing at 95 %: nobody could get out."""
    exchange, buyer, seller = pair(copper(), cash=72_000)
    exchange.do(commands.Deposit(seller, 10_000_000 * YUAN))
    deal(exchange, buyer, seller, 2, 7_000)
    figures = funds(exchange, buyer)
    assert figures.margin * 100 >= figures.balance * CRITICAL_PERCENT
    assert code(exchange.place(buyer, BUY, 1, 7_000)) == rejects.RISK_RATIO_TOO_HIGH.code
    exchange.place(seller, BUY, 2, 6_990, offset=Offset.CLOSETODAY)
    assert trades(exchange.place(buyer, SELL, 2, 6_990, offset=Offset.CLOSETODAY)) == [(6_990, 2)]


def test_14_3_12_the_position_limit_counts_one_side_with_its_working_orders() -> None:
    """The reference added both sides up, and measured them by a balance that could be stale or zero."""
    exchange, buyer, seller = pair(copper(position_limit=3))
    deal(exchange, buyer, seller, 2, 7_000)
    deal(exchange, seller, buyer, 3, 7_000)  # the other side of each has its own limit
    assert code(exchange.place(buyer, SELL, 1, 7_100)) == rejects.POSITION_LIMIT.code
    exchange.place(buyer, BUY, 1, 6_900)
    assert code(exchange.place(buyer, BUY, 1, 6_900)) == rejects.POSITION_LIMIT.code


def test_14_3_13_forced_orders_are_on_the_tick_inside_the_limits_and_followed_until_they_fill() -> None:
    """The reference multiplied a price by 0.995: off the tick, beyond the limits, entered once and forgotten."""
    exchange, buyer, seller = pair(copper())
    deal(exchange, buyer, seller, 3, 7_000)
    bidder = exchange.account()
    exchange.place(bidder, BUY, 1, 6_301)  # a tick above the lower limit
    exchange.do(commands.ForceLiquidate(buyer, "test"))
    entered: list[OrderAccepted] = []
    for _ in range(5):
        entered += [e for e in seconds_later(exchange, 2) if isinstance(e, OrderAccepted)]
    instrument = exchange.machine.instruments[CU]
    assert entered
    for order in entered:
        assert (order.account_id, order.direction, order.source) == (buyer, SELL, OrderSource.LIQUIDATION)
        assert instrument.lower_limit_ticks <= order.price_ticks <= instrument.upper_limit_ticks
    side = exchange.machine.accounts[buyer].positions[CU].long
    assert side.volume == 2  # the bid took one lot
    exchange.place(bidder, BUY, 2, 6_400)
    events = [event for _ in range(3) for event in seconds_later(exchange, 2)]
    assert side.volume == 0
    (ended,) = [e for e in events if isinstance(e, LiquidationEnded)]
    assert (ended.account_id, ended.state) == (buyer, LiquidationState.DONE)
    assert ended.loss_units > 0


def test_14_3_15_only_what_is_free_and_settled_leaves_an_account() -> None:
    """The reference looked at money alone, not at the risk that it covered."""
    exchange, buyer, seller = pair(copper(), cash=100_000)
    exchange.do(commands.Deposit(seller, 10_000_000 * YUAN))
    deal(exchange, buyer, seller, 2, 7_000)
    exchange.place(buyer, BUY, 1, 7_000 - 600, time_condition=IOC)
    free = funds(exchange, buyer).withdraw_quota
    assert free == (100_000 - 70_000 - 35) * YUAN
    others = exchange.account(), exchange.account()
    deal(exchange, others[0], others[1], 1, 7_100)  # 10 000 of profit that is not settled
    assert funds(exchange, buyer).withdraw_quota == free
    refused(exchange, commands.Withdraw(buyer, free + 1), rejects.WITHDRAWAL_FAILED)
    assert isinstance(exchange.do(commands.Withdraw(buyer, free))[0], FundsMoved)
    figures = funds(exchange, buyer)
    assert figures.withdraw_quota == 0
    assert figures.available == figures.position_profit == 10_000 * YUAN
    assert figures.balance >= figures.margin


# 14.4.7 and 14.8 Conditional orders, risk and settlement


def test_14_4_7_a_conditional_order_triggers(exchange: Driver) -> None:
    """In the reference nothing ever looked at the prices: a stop-loss was stored, listed, and never entered."""
    exchange.begin_day()
    owner, maker, taker = (exchange.account() for _ in range(3))
    deal(exchange, owner, maker, 2, 7_000)
    exchange.place(taker, BUY, 5, 6_980)
    stop = commands.PlaceConditional(owner, CU, SELL, Offset.CLOSETODAY, 2, PriceType.MARKET, 0, 0, 1, 6_990)
    assert isinstance(exchange.do(stop)[0], ConditionalPlaced)
    exchange.place(taker, BUY, 1, 6_990)
    events = exchange.place(maker, SELL, 1, 6_990)
    (triggered,) = [e for e in events if isinstance(e, ConditionalEnded)]
    assert triggered.state == ConditionalState.TRIGGERED
    assert trades(events) == [(6_990, 1), (6_980, 2)]
    assert exchange.machine.orders[triggered.order_id].source == OrderSource.CONDITIONAL
    assert exchange.machine.accounts[owner].positions[CU].long.volume == 0


def test_14_8_1_the_monitor_runs_by_itself_alerts_and_liquidates() -> None:
    """The reference never started its monitor, showed its alerts to nobody, and would have locked itself out.

    Here the clock of the log is all it needs, and the liquidation that it starts trades in the account that it rates.
    """
    exchange, buyer, seller = pair(copper(), cash=100_000)
    exchange.do(commands.Deposit(seller, 10_000_000 * YUAN))
    deal(exchange, buyer, seller, 2, 7_000)  # 70 000 of 100 000
    others = exchange.account(), exchange.account()
    found: list[Event] = []
    for ticks in (6_990, 6_870, 6_690):
        deal(exchange, others[0], others[1], 1, ticks)
        if ticks == 6_690:
            exchange.place(others[0], BUY, 3, ticks)
        found += exchange.let_pass(2)
    levels = [e.level for e in found if isinstance(e, RiskAlerted) and e.account_id == buyer]
    assert levels[:3] == [1, 2, 4]
    assert [alert.level for alert in exchange.machine.monitor.alerts][:3] == [1, 2, 4]
    (started,) = [e for e in found if isinstance(e, LiquidationStarted)]
    (ended,) = [e for e in found if isinstance(e, LiquidationEnded)]
    assert (started.account_id, ended.account_id, ended.state) == (buyer, buyer, LiquidationState.DONE)
    assert ended.margin_units * 100 < ended.balance_units * 80


def test_14_8_2_a_day_is_settled_once_completely_and_liquidates_in_one_order() -> None:
    """The reference settled accounts in parallel: who was closed out first, and at which price, was chance. It checked
    no prices, and kept one result per UTC date, which the next run overwrote."""
    exchange, *_ = pair(copper(), copper(AL, product="al"))
    day = exchange.machine.trading_day
    rich = exchange.account(100_000_000)
    weak = [exchange.account(80_000) for _ in range(4)]
    for account_id in weak:
        deal(exchange, account_id, rich, 2, 7_000)
    exchange.do(commands.SetInstrumentStatus(CU, InstrumentStatus.SUSPENDED))
    exchange.settle({CU: 6_800, AL: 7_000})
    first = exchange.machine.settlements.results[day]
    assert exchange.machine.settlements.listed == weak
    exchange.do(commands.SettleDay(day))
    assert exchange.machine.settlements.results[day] == first
    missing = exchange.do(commands.SettleDay(exchange.machine.trading_day))  # lots are open, and nothing traded
    assert code(missing) == rejects.SETTLEMENT_PRICE_MISSING.code
    assert CU in missing[0].detail
    exchange.do(commands.SetInstrumentStatus(CU, InstrumentStatus.ACTIVE))
    exchange.place(rich, BUY, 20, 6_800, offset=Offset.CLOSE)
    exchange.place(rich, BUY, 20, 6_799)
    events = exchange.let_pass(5)
    assert [e.account_id for e in events if isinstance(e, LiquidationStarted)] == weak
    sellers = [e.sell_account_id for e in events if isinstance(e, TradeExecuted)]
    assert sellers == sorted(sellers, key=weak.index), "the first listed is closed first"
    again = Machine()
    for index, time_ns, raw in exchange.log:
        again.apply(index, time_ns, [raw])
    assert again.digest() == exchange.machine.digest()
