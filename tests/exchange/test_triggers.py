"""Conditional orders: they trigger from trades, in the order in which they were placed, and become orders."""

from __future__ import annotations

from typing import Any

import pytest

from node.exchange import codec, commands, rejects, timers, triggers
from node.exchange.events import (
    CommandRejected,
    ConditionalEnded,
    ConditionalPlaced,
    Event,
    OrderAccepted,
    OrderCancelled,
    RequestRepeated,
    TradeExecuted,
)
from node.exchange.machine import Machine
from node.exchange.types import (
    CONDITIONALS_ALIVE_PER_ACCOUNT_MAX,
    CONDITIONALS_ENDED_PER_ACCOUNT_MAX,
    REQUEST_MEMORY_NS,
    REQUESTS_KEPT,
    CancelReason,
    Comparison,
    ConditionalState,
    ConditionType,
    InstrumentStatus,
    OrderSource,
    PriceType,
)
from tests.exchange.driver import BUY, CLOSE, CLOSETODAY, OPEN, SELL, Driver, code, copper, index_future, trades
from tests.exchange.refusals import refused

STOP, PROFIT, TOUCH = ConditionType.STOP_LOSS, ConditionType.TAKE_PROFIT, ConditionType.PRICE_TOUCH
ABOVE, BELOW = Comparison.AT_OR_ABOVE, Comparison.AT_OR_BELOW
LIMIT, MARKET = PriceType.LIMIT, PriceType.MARKET
CU = "SHFE.cu2701"


class Market(Driver):
    """Copper, and two accounts whose trades move its last price."""

    def __init__(self, *instruments: commands.ListInstrument) -> None:
        super().__init__(*(instruments or (copper(),)))
        self.begin_day()
        self.maker, self.taker = self.account(), self.account()

    def trade(self, price: int, volume: int = 1, instrument: str = CU) -> list[Event]:
        """A trade at a price; returns the events of the command that brought it."""
        self.place(self.maker, SELL, volume, price, instrument=instrument)
        events = self.place(self.taker, BUY, volume, price, instrument=instrument)
        assert (price, volume) in trades(events)
        return events

    def wait_for(
        self,
        account_id: str,
        comparison: int,
        trigger: int,
        direction: int = BUY,
        volume: int = 1,
        *,
        price: int = 0,
        offset: int = OPEN,
        condition: int = TOUCH,
        instrument: str = CU,
        **fields: Any,
    ) -> list[Event]:
        return self.do(
            commands.PlaceConditional(
                account_id,
                instrument,
                direction,
                offset,
                volume,
                LIMIT if price else MARKET,
                price,
                condition,
                comparison,
                trigger,
                **fields,
            )
        )

    def state_of(self, conditional_id: int) -> ConditionalState:
        return ConditionalState(self.machine.triggers.conditionals[conditional_id].state)


def placed(events: list[Event]) -> int:
    assert isinstance(events[0], ConditionalPlaced), events
    return events[0].conditional_id


def ended(events: list[Event]) -> list[tuple[int, ConditionalState]]:
    return [(e.conditional_id, ConditionalState(e.state)) for e in events if isinstance(e, ConditionalEnded)]


# Triggering


@pytest.mark.parametrize(
    ("comparison", "trigger", "before", "at"),
    [
        (ABOVE, 7_010, 7_009, 7_010),
        (ABOVE, 7_010, 7_009, 7_015),
        (BELOW, 6_990, 6_991, 6_990),
        (BELOW, 6_990, 6_991, 6_980),
    ],
)
def test_a_conditional_order_triggers_on_the_first_trade_at_or_beyond_its_price(
    comparison: int, trigger: int, before: int, at: int
) -> None:
    market = Market()
    account = market.account()
    conditional = placed(market.wait_for(account, comparison, trigger, price=7_000))
    assert ended(market.trade(before)) == []
    events = market.trade(at)
    assert ended(events) == [(conditional, ConditionalState.TRIGGERED)]
    accepted = events[-1]
    assert isinstance(accepted, OrderAccepted)
    assert (accepted.account_id, accepted.price_ticks, accepted.source) == (account, 7_000, OrderSource.CONDITIONAL)
    record = market.machine.triggers.conditionals[conditional]
    assert record.order_id == accepted.order_id


def test_the_event_that_says_so_comes_before_the_order_that_it_became() -> None:
    market = Market()
    account = market.account()
    market.place(market.maker, SELL, 3, 7_020)
    market.wait_for(account, ABOVE, 7_010, volume=2, price=7_020)
    kinds = [type(event) for event in market.trade(7_010)]
    assert kinds == [OrderAccepted, TradeExecuted, ConditionalEnded, OrderAccepted, TradeExecuted]


def test_every_trade_of_a_sweep_counts_not_only_the_last() -> None:
    """A buyer sweeps from 6 990 up to 7 005: the first of the trades reached 6 990 from above."""
    market = Market()
    market.trade(7_000)
    account = market.account()
    low = placed(market.wait_for(account, BELOW, 6_990, SELL, price=7_030))
    high = placed(market.wait_for(account, ABOVE, 7_005, BUY, price=6_980))
    market.place(market.maker, SELL, 1, 6_990)
    market.place(market.maker, SELL, 1, 7_005)
    events = market.place(market.taker, BUY, 2, 7_005)
    assert trades(events) == [(6_990, 1), (7_005, 1)]
    assert ended(events) == [(low, ConditionalState.TRIGGERED), (high, ConditionalState.TRIGGERED)]


def test_equal_triggers_become_orders_in_the_order_in_which_they_were_placed() -> None:
    market = Market()
    accounts = [market.account() for _ in range(4)]
    # Different prices, both comparisons: one trade reaches them all.
    waiting = [
        placed(market.wait_for(accounts[0], ABOVE, 7_005, price=6_990)),
        placed(market.wait_for(accounts[1], BELOW, 7_020, price=6_990)),
        placed(market.wait_for(accounts[2], ABOVE, 7_001, price=6_990)),
        placed(market.wait_for(accounts[3], ABOVE, 7_005, price=6_990)),
    ]
    events = market.trade(7_010)
    assert [conditional for conditional, _ in ended(events)] == waiting
    entered = [e.account_id for e in events if isinstance(e, OrderAccepted) and e.source == OrderSource.CONDITIONAL]
    assert entered == accounts


def test_an_order_that_triggers_trades_and_triggers_the_next() -> None:
    market = Market()
    first, second, third = (market.account() for _ in range(3))
    for price in (7_010, 7_020, 7_030):
        market.place(market.maker, SELL, 1, price)
    ids = [
        placed(market.wait_for(first, ABOVE, 7_005, condition=STOP)),
        placed(market.wait_for(second, ABOVE, 7_010, condition=STOP)),
        placed(market.wait_for(third, ABOVE, 7_020, condition=STOP)),
    ]
    market.place(market.maker, SELL, 1, 7_005)
    events = market.place(market.taker, BUY, 1, 7_005)
    assert trades(events) == [(7_005, 1), (7_010, 1), (7_020, 1), (7_030, 1)]
    assert [conditional for conditional, _ in ended(events)] == ids


def test_a_long_cascade_is_cut_up_and_goes_on_in_the_clock_of_the_log() -> None:
    market = Market()
    accounts = [market.account() for _ in range(2)]
    count = triggers.FIRED_PER_COMMAND + 30
    ids = [placed(market.wait_for(accounts[n % 2], ABOVE, 7_005, price=6_990)) for n in range(count)]
    events = market.trade(7_005)
    assert [conditional for conditional, _ in ended(events)] == ids[: triggers.FIRED_PER_COMMAND]
    assert timers.due_ns(market.machine) <= market.machine.time_ns
    assert [conditional for conditional, _ in ended(market.let_pass())] == ids[triggers.FIRED_PER_COMMAND :]
    assert not market.machine.triggers.fired


def test_what_is_cut_off_a_cascade_keeps_its_place_before_what_triggers_later() -> None:
    market = Market()
    account, late = market.account(), market.account()
    count = triggers.FIRED_PER_COMMAND + 1
    ids = [placed(market.wait_for(account, ABOVE, 7_005, price=6_990)) for _ in range(count)]
    after = placed(market.wait_for(late, ABOVE, 7_006, price=6_990))
    market.trade(7_005)
    assert [conditional for conditional, _ in ended(market.trade(7_006))] == [ids[-1], after]


@pytest.mark.parametrize(("price_type", "price", "rests"), [(LIMIT, 7_000, True), (MARKET, 0, False)])
def test_it_becomes_a_day_order_with_a_limit_price_and_an_immediate_one_without(
    price_type: int, price: int, rests: bool
) -> None:
    market = Market()
    account = market.account()
    market.wait_for(account, ABOVE, 7_005, price=price)
    events = market.trade(7_005)
    (accepted,) = [e for e in events if isinstance(e, OrderAccepted) and e.account_id == account]
    assert (accepted.price_type, accepted.time_condition) == (price_type, 0 if rests else 1)
    assert (accepted.order_id in market.machine.accounts[account].live) is rests
    if not rests:
        assert events[-1].reason in (
            CancelReason.MARKET_REMAINDER,
            CancelReason.IOC_REMAINDER,
            CancelReason.NO_OPPOSITE,
        )


def test_a_condition_that_the_last_price_meets_already_triggers_at_once() -> None:
    market = Market()
    market.trade(7_010)
    events = market.wait_for(market.account(), ABOVE, 7_010, price=6_990)
    assert isinstance(events[0], ConditionalPlaced)
    assert ended(events) == [(events[0].conditional_id, ConditionalState.TRIGGERED)]


def test_a_settlement_price_triggers_nothing_before_the_first_trade_of_the_day() -> None:
    market = Market()
    account = market.account()
    conditional = placed(market.wait_for(account, ABOVE, 7_000, price=6_990))  # 7 000 is the previous settlement
    assert market.state_of(conditional) == ConditionalState.PENDING
    market.trade(6_999)
    assert market.state_of(conditional) == ConditionalState.PENDING
    market.settle({CU: 7_003})
    assert market.state_of(conditional) == ConditionalState.PENDING
    assert ended(market.trade(7_000)) == [(conditional, ConditionalState.TRIGGERED)]


def test_another_instrument_triggers_nothing() -> None:
    market = Market(copper(), copper("SHFE.cu2702"))
    market.wait_for(market.account(), ABOVE, 7_000, price=6_990)
    assert ended(market.trade(7_010, instrument="SHFE.cu2702")) == []
    assert market.machine.instruments[CU].watched
    assert not market.machine.instruments["SHFE.cu2702"].watched


def test_nobody_looks_at_the_trades_of_an_instrument_once_nothing_waits_for_it() -> None:
    market = Market()
    account = market.account()
    conditional = placed(market.wait_for(account, ABOVE, 7_010))
    assert market.machine.instruments[CU].watched
    market.do(commands.CancelConditional(account, conditional))
    assert not market.machine.instruments[CU].watched
    market.wait_for(account, ABOVE, 7_010, price=6_990)
    market.trade(7_010)
    assert not market.machine.instruments[CU].watched
    assert not market.machine.triggers.watches


def test_a_stop_loss_closes_the_position() -> None:
    market = Market()
    account = market.account()
    market.place(market.maker, SELL, 2, 7_000)
    market.place(account, BUY, 2, 7_000)
    conditional = placed(market.wait_for(account, BELOW, 6_980, SELL, 2, offset=CLOSETODAY, condition=STOP))
    market.place(market.maker, BUY, 5, 6_979)
    events = market.trade(6_980)
    assert (6_979, 2) in trades(events)
    assert market.machine.accounts[account].positions[CU].long.volume == 0
    assert market.state_of(conditional) == ConditionalState.TRIGGERED


def test_a_trigger_whose_order_is_refused_has_failed_and_says_why() -> None:
    market = Market()
    account = market.account()
    conditional = placed(market.wait_for(account, BELOW, 6_980, SELL, 2, offset=CLOSE, condition=STOP))
    events = market.trade(6_980)
    (failure,) = [e for e in events if isinstance(e, ConditionalEnded)]
    assert (failure.conditional_id, failure.state) == (conditional, ConditionalState.FAILED)
    assert (failure.code, failure.order_id) == (rejects.INSUFFICIENT_POSITION.code, 0)
    assert "volume 2" in failure.detail
    record = market.machine.triggers.conditionals[conditional]
    assert (record.code, record.detail) == (failure.code, failure.detail)


def test_an_account_frozen_meanwhile_fails_its_trigger() -> None:
    market = Market()
    account = market.account()
    market.wait_for(account, ABOVE, 7_010)
    market.do(commands.FreezeAccount(account, 1, False, "inquiry"))
    (failure,) = [e for e in market.trade(7_010) if isinstance(e, ConditionalEnded)]
    assert (failure.state, failure.code) == (ConditionalState.FAILED, rejects.ACCOUNT_FROZEN.code)


def test_one_log_triggers_the_same_orders_at_the_same_index_everywhere() -> None:
    market = Market()
    account = market.account()
    for n in range(20):
        market.wait_for(account, (ABOVE, BELOW)[n % 2], 7_000 + n - 10, price=6_950 + n)
    for price in (7_003, 6_995, 7_008, 6_991):
        market.trade(price)
    market.let_pass(2)
    other = Machine()
    for index, time_ns, raw in market.log:
        other.apply(index, time_ns, [raw])
    assert other.digest() == market.machine.digest()
    assert [c.order_id for c in other.triggers.conditionals.values()] == [
        c.order_id for c in market.machine.triggers.conditionals.values()
    ]


# Interrupted trading


def test_a_trigger_of_the_auction_becomes_an_order_when_continuous_trading_begins() -> None:
    market = Market()
    account = market.account()
    conditional = placed(market.wait_for(account, ABOVE, 7_005, price=6_990))
    market.do(commands.SetInstrumentStatus(CU, InstrumentStatus.AUCTION))
    market.place(market.maker, SELL, 1, 7_005)
    market.place(market.taker, BUY, 1, 7_005)
    assert market.state_of(conditional) == ConditionalState.PENDING
    events = market.do(commands.SetInstrumentStatus(CU, InstrumentStatus.ACTIVE))
    assert trades(events) == [(7_005, 1)]
    assert ended(events) == [(conditional, ConditionalState.TRIGGERED)]


def test_a_trigger_that_comes_while_trading_is_interrupted_waits_without_spinning() -> None:
    market = Market()
    market.trade(7_010)
    market.do(commands.SetInstrumentStatus(CU, InstrumentStatus.SUSPENDED))
    account = market.account()
    conditional = placed(market.wait_for(account, ABOVE, 7_005, price=6_990))
    assert market.state_of(conditional) == ConditionalState.PENDING
    market.let_pass(5)
    assert triggers.due_ns(market.machine) == 0
    assert market.machine.instruments[CU].watched, "its prices may not change their unit"
    market.do(commands.SetInstrumentStatus(CU, InstrumentStatus.ACTIVE))
    assert triggers.due_ns(market.machine) <= market.machine.time_ns
    assert ended(market.let_pass()) == [(conditional, ConditionalState.TRIGGERED)]
    assert not market.machine.instruments[CU].watched


def test_one_that_waits_for_trading_to_go_on_can_be_cancelled() -> None:
    market = Market()
    market.trade(7_010)
    market.do(commands.SetInstrumentStatus(CU, InstrumentStatus.SUSPENDED))
    account = market.account()
    conditional = placed(market.wait_for(account, ABOVE, 7_005, price=6_990))
    assert ended(market.do(commands.CancelConditional(account, conditional))) == [
        (conditional, ConditionalState.CANCELLED)
    ]
    assert not market.machine.triggers.halted
    market.do(commands.SetInstrumentStatus(CU, InstrumentStatus.ACTIVE))
    assert ended(market.let_pass()) == []


# Validity


def test_it_is_valid_until_its_moment_and_expires_after_it() -> None:
    market = Market()
    account = market.account()
    until_ns = market.machine.time_ns + 5_000_000_000
    conditional = placed(market.wait_for(account, ABOVE, 7_010, valid_until_ns=until_ns))
    market.do(commands.AdvanceClock(), time_ns=until_ns)
    assert market.state_of(conditional) == ConditionalState.PENDING
    assert triggers.due_ns(market.machine) == until_ns + 1
    assert ended(market.do(commands.AdvanceClock(), time_ns=until_ns + 1)) == [(conditional, ConditionalState.EXPIRED)]
    assert triggers.due_ns(market.machine) == 0
    assert not market.machine.instruments[CU].watched


def test_past_its_moment_a_trade_does_not_trigger_it_even_before_the_clock_has_come() -> None:
    market = Market()
    account = market.account()
    until_ns = market.machine.time_ns + 5_000_000
    conditional = placed(market.wait_for(account, ABOVE, 7_010, valid_until_ns=until_ns))
    market.place(market.maker, SELL, 1, 7_010)
    market.do(commands.PlaceOrder(market.taker, CU, BUY, OPEN, 1, 0, 7_010), time_ns=until_ns + 1)
    assert market.state_of(conditional) == ConditionalState.EXPIRED


def test_at_its_last_moment_a_trade_triggers_it() -> None:
    market = Market()
    until_ns = market.machine.time_ns + 5_000_000
    conditional = placed(market.wait_for(market.taker, ABOVE, 7_010, price=6_990, valid_until_ns=until_ns))
    market.place(market.maker, SELL, 1, 7_010)
    market.do(commands.PlaceOrder(market.taker, CU, BUY, OPEN, 1, 0, 7_010), time_ns=until_ns)
    assert market.state_of(conditional) == ConditionalState.TRIGGERED


def test_many_expire_in_bounded_commands() -> None:
    market = Market()
    until_ns = market.machine.time_ns + 10**9
    ids = []
    for _ in range(triggers.ENDED_PER_COMMAND // CONDITIONALS_ALIVE_PER_ACCOUNT_MAX + 1):
        account = market.account()
        ids += [
            placed(market.wait_for(account, ABOVE, 7_010, valid_until_ns=until_ns))
            for _ in range(CONDITIONALS_ALIVE_PER_ACCOUNT_MAX)
        ]
    first = ended(market.do(commands.AdvanceClock(), time_ns=until_ns + 1))
    assert len(first) == triggers.ENDED_PER_COMMAND
    rest = ended(market.let_pass())
    assert [conditional for conditional, _ in first + rest] == ids


# Ending


def test_a_cancelled_one_does_not_trigger() -> None:
    market = Market()
    account = market.account()
    conditional = placed(market.wait_for(account, ABOVE, 7_010))
    market.do(commands.CancelConditional(account, conditional))
    assert ended(market.trade(7_010)) == []
    refused(market, commands.CancelConditional(account, conditional), rejects.CONDITIONAL_ENDED)


def test_somebody_elses_conditional_order_does_not_exist() -> None:
    market = Market()
    conditional = placed(market.wait_for(market.account(), ABOVE, 7_010))
    command = commands.CancelConditional(market.maker, conditional)
    assert f"conditional_id {conditional} " in refused(market, command, rejects.CONDITIONAL_NOT_FOUND)


def test_what_waits_for_a_delisted_instrument_ends_with_it_in_bounded_commands() -> None:
    market = Market(copper(), copper("SHFE.cu2702"))
    ids = []
    for _ in range(triggers.ENDED_PER_COMMAND // CONDITIONALS_ALIVE_PER_ACCOUNT_MAX + 1):
        account = market.account()
        ids += [
            placed(market.wait_for(account, (ABOVE, BELOW)[n % 2], 7_000, instrument="SHFE.cu2702"))
            for n in range(CONDITIONALS_ALIVE_PER_ACCOUNT_MAX)
        ]
    other = placed(market.wait_for(market.taker, ABOVE, 7_010))
    events = market.do(commands.DelistInstrument("SHFE.cu2702"))
    assert len(ended(events)) == triggers.ENDED_PER_COMMAND
    events += market.let_pass()
    assert sorted(conditional for conditional, _ in ended(events)) == ids
    assert {e.code for e in events if isinstance(e, ConditionalEnded)} == {rejects.INSTRUMENT_NOT_LISTED.code}
    assert market.state_of(other) == ConditionalState.PENDING
    assert not market.machine.triggers.ending


def test_what_waits_for_an_expired_instrument_ends_at_its_last_settlement() -> None:
    market = Market(copper(expiry_day=20261123))
    assert market.machine.trading_day == 20261123
    conditional = placed(market.wait_for(market.taker, ABOVE, 7_010))
    events = market.settle({CU: 7_000})
    assert ended(events) == [(conditional, ConditionalState.CANCELLED)]


def test_ended_ones_are_kept_up_to_a_number_the_newest() -> None:
    market = Market()
    account = market.account()
    first = placed(market.wait_for(account, ABOVE, 7_010))
    for _ in range(CONDITIONALS_ENDED_PER_ACCOUNT_MAX + 5):
        market.do(commands.CancelConditional(account, placed(market.wait_for(account, ABOVE, 7_010))))
    kept = market.machine.accounts[account].conditionals
    assert len(kept) == CONDITIONALS_ENDED_PER_ACCOUNT_MAX + 1
    assert list(kept)[:2] == [first, first + 6], "the pending one stays, and the newest ended ones"
    assert len(market.machine.triggers.conditionals) == len(kept)
    assert market.machine.triggers.ended_count == CONDITIONALS_ENDED_PER_ACCOUNT_MAX


# Client ids


def test_a_repeated_request_places_nothing_and_names_the_conditional_order() -> None:
    market = Market()
    account = market.account()
    conditional = placed(market.wait_for(account, ABOVE, 7_010, price=6_990, client_order_id="stop-1"))
    (repeated,) = market.wait_for(account, ABOVE, 7_010, price=6_990, client_order_id="stop-1")
    assert isinstance(repeated, RequestRepeated)
    assert (repeated.ref, repeated.order_id, repeated.code) == (str(conditional), 0, 0)
    assert code(market.wait_for(account, ABOVE, 7_011, client_order_id="stop-1")) == rejects.REQUEST_ID_REUSED.code
    assert code(market.place(account, BUY, 1, 6_990, client_order_id="stop-1")) == rejects.REQUEST_ID_REUSED.code


def test_once_triggered_the_client_id_names_the_order() -> None:
    market = Market()
    account = market.account()
    conditional = placed(market.wait_for(account, ABOVE, 7_010, volume=3, price=7_020, client_order_id="stop-1"))
    index = market.machine.index
    market.place(market.maker, SELL, 1, 7_015)
    events = market.trade(7_010)
    (accepted,) = [e for e in events if isinstance(e, OrderAccepted) and e.account_id == account]
    assert accepted.client_order_id == "stop-1"
    (repeated,) = market.wait_for(account, ABOVE, 7_010, volume=3, price=7_020, client_order_id="stop-1")
    assert (repeated.ref, repeated.order_id, repeated.first_index) == (str(conditional), accepted.order_id, index)
    assert (repeated.filled_volume, repeated.filled_cost_ticks, repeated.trade_count) == (1, 7_015, 1)
    (cancelled,) = market.do(commands.CancelOrder(account, 0, "stop-1"))
    assert isinstance(cancelled, OrderCancelled) and cancelled.order_id == accepted.order_id


def forget_older(market: Market, account: str) -> None:
    """Use so many younger client ids that the older ones are forgotten."""
    machine = market.machine
    market.let_pass(REQUEST_MEMORY_NS // 10**9 + 1)
    senseless = [commands.PlaceOrder(account, CU, 0, 0, 1, 0, 1, client_order_id=f"n{n}") for n in range(REQUESTS_KEPT)]
    raws = [codec.encode_command(command) for command in senseless]
    machine.apply(machine.index + 1, machine.time_ns + 1_000, raws)


def test_a_client_id_that_was_forgotten_while_it_waited_names_the_order_all_the_same() -> None:
    market = Market()
    account = market.account()
    conditional = placed(market.wait_for(account, ABOVE, 7_010, price=7_020, client_order_id="stop-1"))
    forget_older(market, account)
    assert market.machine.accounts[account].client_orders.get("stop-1") is None
    market.trade(7_010)
    order_id = market.machine.triggers.conditionals[conditional].order_id
    remembered = market.machine.accounts[account].client_orders.get("stop-1")
    assert remembered is not None
    assert (remembered.order_id, remembered.ref) == (order_id, str(conditional))


def test_a_client_id_that_was_forgotten_and_used_again_keeps_its_newer_meaning() -> None:
    market = Market()
    account = market.account()
    market.wait_for(account, ABOVE, 7_010, price=7_020, client_order_id="stop-1")
    forget_older(market, account)
    newer = market.order_id(market.place(account, BUY, 1, 6_500, client_order_id="stop-1"))
    market.trade(7_010)
    remembered = market.machine.accounts[account].client_orders.get("stop-1")
    assert remembered is not None and remembered.order_id == newer


def test_a_refused_conditional_order_is_refused_again_with_the_same_words() -> None:
    market = Market()
    first = market.wait_for(market.taker, ABOVE, 0, client_order_id="x")
    again = market.wait_for(market.taker, ABOVE, 0, client_order_id="x")
    assert code(first) == rejects.BAD_CONDITION.code
    assert isinstance(again[0], RequestRepeated)
    assert (again[0].code, again[0].detail) == (first[0].code, first[0].detail)


# Refusals

GOOD: dict[str, Any] = {
    "instrument_id": CU, "direction": SELL, "offset": CLOSE, "volume": 1, "price_type": LIMIT, "price_ticks": 6_990,
    "condition": STOP, "comparison": BELOW, "trigger_ticks": 6_995, "valid_until_ns": 0, "client_order_id": "",
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "reject", "words"),
    [
        ({"condition": 3}, rejects.BAD_CONDITION, "condition 3"),
        ({"comparison": 2}, rejects.BAD_CONDITION, "comparison 2"),
        ({"trigger_ticks": 0}, rejects.BAD_CONDITION, "trigger_ticks 0"),
        ({"trigger_ticks": 10**9 + 1}, rejects.BAD_CONDITION, "trigger_ticks 1000000001"),
        ({"valid_until_ns": 1}, rejects.BAD_CONDITION, "valid_until_ns 1"),
        ({"valid_until_ns": -1}, rejects.BAD_CONDITION, "valid_until_ns -1"),
        ({"comparison": ABOVE}, rejects.BAD_CONDITION, "AT_OR_ABOVE contradicts a STOP_LOSS of a sell"),
        ({"condition": PROFIT}, rejects.BAD_CONDITION, "AT_OR_BELOW contradicts a TAKE_PROFIT of a sell"),
        ({"condition": PROFIT, "direction": BUY, "comparison": ABOVE}, rejects.BAD_CONDITION, "TAKE_PROFIT of a buy"),
        ({"direction": 0}, rejects.BAD_ORDER_PARAMETERS, "direction 0"),
        ({"offset": 4}, rejects.BAD_ORDER_PARAMETERS, "offset 4"),
        ({"volume": 0}, rejects.VOLUME_OUTSIDE_LIMITS, "volume 0"),
        ({"volume": 501}, rejects.VOLUME_OUTSIDE_LIMITS, "volume 501"),
        ({"price_type": 4}, rejects.BAD_ORDER_PARAMETERS, "price_type 4"),
        ({"price_ticks": 0}, rejects.PRICE_OUTSIDE_LIMITS, "price 0"),
        ({"price_type": MARKET}, rejects.BAD_ORDER_PARAMETERS, "price 6990"),
        ({"instrument_id": "SHFE.zn9999"}, rejects.INSTRUMENT_NOT_FOUND, "SHFE.zn9999"),
        ({"client_order_id": "x" * 65}, rejects.BAD_ORDER_PARAMETERS, "client_order_id"),
        ({"account_id": "nobody"}, rejects.ACCOUNT_NOT_FOUND, "nobody"),
    ],
)
def test_a_wrong_conditional_order_is_refused_and_nothing_changes(
    changes: dict[str, Any], reject: rejects.Reject, words: str
) -> None:
    market = Market()
    fields = {"account_id": market.taker} | GOOD | changes
    assert words in refused(market, commands.PlaceConditional(**fields), reject)
    assert isinstance(
        market.do(commands.PlaceConditional(**({"account_id": market.taker} | GOOD)))[0], ConditionalPlaced
    )


def test_an_account_that_may_not_trade_places_no_conditional_order() -> None:
    market = Market()
    account = market.account()
    market.do(commands.FreezeAccount(account, 1, True, "inquiry"))
    assert code(market.wait_for(account, ABOVE, 7_010)) == rejects.ACCOUNT_FROZEN.code
    placed(market.wait_for(account, ABOVE, 7_010, offset=CLOSE))
    market.do(commands.FreezeAccount(account, 1, False, "inquiry"))
    assert code(market.wait_for(account, ABOVE, 7_010, offset=CLOSE)) == rejects.ACCOUNT_FROZEN.code
    empty = market.account(0)
    market.do(commands.CloseAccount(empty))
    assert code(market.wait_for(empty, ABOVE, 7_010)) == rejects.ACCOUNT_CLOSED.code


def test_a_delisted_instrument_takes_no_conditional_order() -> None:
    market = Market(copper(), index_future())
    market.do(commands.DelistInstrument("CFFEX.IF2701"))
    events = market.wait_for(market.taker, ABOVE, 19_000, instrument="CFFEX.IF2701")
    assert code(events) == rejects.INSTRUMENT_NOT_LISTED.code


def test_an_account_has_a_limit_of_pending_conditional_orders() -> None:
    market = Market()
    account = market.account()
    for _ in range(CONDITIONALS_ALIVE_PER_ACCOUNT_MAX):
        last = placed(market.wait_for(account, ABOVE, 7_010))
    another = commands.PlaceConditional(account, CU, BUY, OPEN, 1, MARKET, 0, TOUCH, ABOVE, 7_010)
    assert str(CONDITIONALS_ALIVE_PER_ACCOUNT_MAX) in refused(market, another, rejects.TOO_MANY_CONDITIONALS)
    market.do(commands.CancelConditional(account, last))
    placed(market.wait_for(account, ABOVE, 7_010))


def test_the_exchange_has_a_limit_of_them_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triggers, "CONDITIONALS_WAITING_MAX", 2)
    market = Market()
    market.wait_for(market.taker, ABOVE, 7_010)
    market.wait_for(market.taker, ABOVE, 7_010)
    assert code(market.wait_for(market.maker, ABOVE, 7_010)) == rejects.TOO_MANY_CONDITIONALS.code


def test_an_ended_one_displaces_its_own_accounts_oldest_when_the_exchange_is_full(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(triggers, "CONDITIONALS_ENDED_MAX", 2)
    market = Market()
    mine = [placed(market.wait_for(market.taker, ABOVE, 7_010)) for _ in range(2)]
    theirs = placed(market.wait_for(market.maker, ABOVE, 7_010))
    market.do(commands.CancelConditional(market.taker, mine[0]))
    market.do(commands.CancelConditional(market.maker, theirs))
    market.do(commands.CancelConditional(market.taker, mine[1]))
    assert list(market.machine.triggers.conditionals) == [mine[1], theirs]


def test_the_events_of_a_cascade_survive_the_codec_and_the_answer_is_first() -> None:
    market = Market()
    market.wait_for(market.account(), ABOVE, 7_005)
    events = market.trade(7_005)
    assert isinstance(events[0], OrderAccepted) and events[0].account_id == market.taker
    assert not any(isinstance(event, CommandRejected) for event in events)
    assert codec.decode_events(codec.encode_events(events)) == events
