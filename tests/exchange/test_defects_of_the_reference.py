"""The defects of the reference system that must not come back, one test each, named after its number in
reference-system.md, Part 14."""

from __future__ import annotations

import pytest

from node.exchange import codec, commands, invariants, rejects
from node.exchange.events import CommandRejected, Event, FundsMoved, OrderAccepted, OrderCancelled, TradeExecuted
from node.exchange.machine import Machine
from node.exchange.types import CancelReason, InstrumentStatus, Offset, OrderState, PriceType, TimeCondition
from tests.exchange.driver import ALL, BUY, IOC, SELL, YUAN, Driver, copper, trades
from tests.exchange.fingerprint import fingerprint, refused

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
    assert fingerprint(restarted) == fingerprint(exchange.machine)
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
