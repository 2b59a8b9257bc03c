"""The risk monitor: levels to the unit, alerts once per entry, rounds that are cut up and resumed."""

from __future__ import annotations

from typing import Any

import pytest

from node.exchange import commands, monitor, rejects
from node.exchange.events import Event, LiquidationStarted, RiskAlerted, RiskParametersSet
from node.exchange.ledger import Account
from node.exchange.machine import Machine
from node.exchange.monitor import level_of
from node.exchange.risk import RiskParameters
from node.exchange.types import ALERTS_KEPT, RiskLevel
from tests.exchange.driver import BUY, SELL, YUAN, Driver, code, copper, risk_parameters
from tests.exchange.refusals import refused

NORMAL, ELEVATED, HIGH, CRITICAL, LIQUIDATION = RiskLevel
CU = "SHFE.cu2701"


class Market(Driver):
    """Copper with a margin of 35 000 per lot and no fees; a tick of a lot is worth 50."""

    def __init__(self) -> None:
        super().__init__(copper(open_amount=0, close_amount=0, close_today_amount=0))
        self.begin_day()
        self.rich = self.account(1_000_000_000)
        self.richer = self.account(1_000_000_000)

    def holder(self, cash: float, lots: int = 1) -> str:
        """An account that is long some lots at 7 000, and has this cash."""
        account = self.account(cash)
        self.place(self.rich, SELL, lots, 7_000)
        self.place(account, BUY, lots, 7_000)
        return account

    def price(self, ticks: int) -> None:
        """Move the last price by one trade between the two rich accounts."""
        self.place(self.rich, SELL, 1, ticks)
        self.place(self.richer, BUY, 1, ticks)
        assert self.machine.instruments[CU].last_ticks == ticks

    def level(self, account_id: str) -> RiskLevel:
        return RiskLevel(self.machine.accounts[account_id].risk_level)


def alerts(events: list[Event], account_id: str) -> list[tuple[RiskLevel, RiskLevel]]:
    """(previous, level) of an account's alerts."""
    return [
        (RiskLevel(e.previous_level), RiskLevel(e.level))
        for e in events
        if isinstance(e, RiskAlerted) and e.account_id == account_id
    ]


# Levels


@pytest.mark.parametrize(
    ("percent", "below", "at"),
    [(60, NORMAL, ELEVATED), (80, ELEVATED, HIGH), (95, HIGH, CRITICAL), (100, CRITICAL, LIQUIDATION)],
)
def test_a_level_begins_exactly_at_its_ratio(percent: int, below: RiskLevel, at: RiskLevel) -> None:
    rules = RiskParameters()
    balance = 100 * 10**15 + 700  # where a float would not tell the two apart
    margin = balance // 100 * percent
    assert level_of(rules, margin, balance) == at
    assert level_of(rules, margin - 1, balance) == below
    assert level_of(rules, margin, balance + 100) == below


@pytest.mark.parametrize(
    ("margin", "balance", "level"),
    [(0, 0, NORMAL), (0, -5, NORMAL), (1, 0, LIQUIDATION), (1, -5, LIQUIDATION), (1, 1, LIQUIDATION), (0, 1, NORMAL)],
)
def test_margin_without_balance_is_to_be_liquidated_and_no_margin_is_no_risk(
    margin: int, balance: int, level: RiskLevel
) -> None:
    assert level_of(RiskParameters(), margin, balance) == level


@pytest.mark.parametrize(
    ("cash", "level"), [(58_400, NORMAL), (58_333, ELEVATED), (43_750, HIGH), (36_842, CRITICAL), (35_000, LIQUIDATION)]
)
def test_the_ratio_of_a_holder_is_rated_at_the_edges(cash: float, level: RiskLevel) -> None:
    """35 000 of margin are 60 % of 58 333.33, 80 % of 43 750, 95 % of 36 842.105."""
    market = Market()
    account = market.holder(60_000)
    market.do(commands.Withdraw(account, int((60_000 - cash) * YUAN)))
    assert market.machine.accounts[account].balance() == cash * YUAN
    market.let_pass(1)
    assert market.level(account) == level


def test_every_price_moves_the_ratio_of_everybody_who_holds() -> None:
    """Defect 14.3.5 of the reference system: its ratios were frozen at the account's own last trade."""
    market = Market()
    account = market.holder(60_000)
    market.let_pass(2)
    assert market.level(account) == NORMAL  # 58.3 %
    market.price(6_960)  # 40 ticks * 50 = 2 000: 35 000 / 58 000 = 60.3 %
    events = market.let_pass(2)
    assert alerts(events, account) == [(NORMAL, ELEVATED)]
    (alert,) = [e for e in events if isinstance(e, RiskAlerted)]
    assert (alert.margin_units, alert.balance_units) == (35_000 * YUAN, 58_000 * YUAN)
    market.price(7_000)
    assert alerts(market.let_pass(2), account) == [(ELEVATED, NORMAL)]


def test_a_withdrawal_raises_the_ratio_and_a_deposit_lowers_it() -> None:
    market = Market()
    account = market.holder(60_000)
    market.let_pass(2)
    market.do(commands.Withdraw(account, 10_000 * YUAN))
    assert alerts(market.let_pass(2), account) == [(NORMAL, ELEVATED)]
    market.do(commands.Deposit(account, 100_000 * YUAN))
    assert alerts(market.let_pass(2), account) == [(ELEVATED, NORMAL)]


def test_a_higher_margin_raises_the_ratio() -> None:
    market = Market()
    account = market.holder(60_000)
    market.let_pass(2)
    terms = copper(open_amount=0, close_amount=0, close_today_amount=0, margin_long_amount=50_000 * YUAN)
    fields = {name: getattr(terms, name) for name in commands.Terms.__struct_fields__}
    market.do(commands.ModifyInstrument(**fields))
    assert alerts(market.let_pass(2), account) == [(NORMAL, HIGH)]  # 50 000 / 60 000


def test_new_levels_rate_everybody_anew() -> None:
    market = Market()
    account = market.holder(60_000)
    market.let_pass(2)
    assert isinstance(market.do(risk_parameters(elevated_percent=50))[0], RiskParametersSet)
    assert alerts(market.let_pass(2), account) == [(NORMAL, ELEVATED)]


def test_a_settlement_that_changes_the_margin_rates_everybody_anew() -> None:
    market = Market()
    account = market.holder(60_000)
    market.let_pass(2)
    market.settle({CU: 6_960})
    assert alerts(market.let_pass(2), account) == [(NORMAL, ELEVATED)]


# Alerts


def test_an_alert_is_given_on_entering_a_level_not_on_every_tick() -> None:
    market = Market()
    account = market.holder(60_000)
    found = []
    for ticks in (6_960, 6_950, 6_940, 6_930, 6_920):
        market.price(ticks)
        found += alerts(market.let_pass(2), account)
    assert found == [(NORMAL, ELEVATED)]


def test_one_trade_that_skips_levels_gives_one_alert() -> None:
    market = Market()
    account = market.holder(60_000)
    market.let_pass(2)
    market.price(6_550)  # 60 000 - 22 500 = 37 500: 93.3 %
    assert alerts(market.let_pass(2), account) == [(NORMAL, HIGH)]


def test_the_same_level_is_not_announced_twice_within_the_interval() -> None:
    market = Market()
    account = market.holder(60_000)
    found = []
    for ticks in (6_960, 7_000, 6_960, 7_000, 6_960, 7_000):
        market.price(ticks)
        found += alerts(market.let_pass(2), account)
    assert found == [(NORMAL, ELEVATED), (ELEVATED, NORMAL)]


def test_a_throttled_entry_into_a_level_that_persists_is_announced_when_the_interval_is_over() -> None:
    market = Market()
    account = market.holder(60_000)
    for ticks in (6_960, 7_000, 6_960):
        market.price(ticks)
        market.let_pass(2)
    assert market.level(account) == ELEVATED
    assert alerts(market.let_pass(50), account) == []
    assert alerts(market.let_pass(10), account) == [(NORMAL, ELEVATED)]
    assert alerts(market.let_pass(600), account) == []


def test_a_throttled_entry_that_did_not_persist_is_not_announced() -> None:
    market = Market()
    account = market.holder(60_000)
    for ticks in (6_960, 7_000, 6_960, 7_000):
        market.price(ticks)
        market.let_pass(2)
    assert alerts(market.let_pass(600), account) == []
    assert monitor.due_ns(market.machine) == 0


def test_another_level_is_announced_within_the_interval_of_the_first() -> None:
    market = Market()
    account = market.holder(60_000)
    found = []
    for ticks in (6_960, 6_600, 6_530):
        market.price(ticks)
        found += alerts(market.let_pass(2), account)
    assert found == [(NORMAL, ELEVATED), (ELEVATED, HIGH), (HIGH, CRITICAL)]


def test_alerts_are_kept_for_queries_the_newest_up_to_a_number() -> None:
    market = Market()
    market.do(risk_parameters(alert_interval_ns=0))
    account = market.holder(60_000)
    market.price(6_960)
    market.let_pass(2)
    (alert,) = market.machine.monitor.alerts
    assert (alert.alert_id, alert.account_id, alert.previous_level, alert.level) == (1, account, NORMAL, ELEVATED)
    assert alert.time_ns == market.machine.monitor.round_ns
    assert market.machine.monitor.alerts.maxlen == ALERTS_KEPT


# Rounds


def test_a_round_begins_at_most_once_a_second_and_only_if_something_moved() -> None:
    market = Market()
    market.holder(60_000)
    market.let_pass(2)
    assert monitor.due_ns(market.machine) == 0
    begun_ns = market.machine.monitor.round_ns
    market.price(6_990)
    assert monitor.due_ns(market.machine) == begun_ns + monitor.ROUND_NS
    market.let_pass(5)
    first = market.machine.monitor.round
    market.price(6_980)
    market.let_pass()
    assert market.machine.monitor.round == first + 1
    market.price(6_981)
    market.let_pass(0.5)
    assert market.machine.monitor.round == first + 1, "the second change waits for its second"
    market.let_pass(1)
    assert market.machine.monitor.round == first + 2
    assert monitor.due_ns(market.machine) == 0


def test_a_trade_at_the_same_price_counts_too_because_positions_changed() -> None:
    market = Market()
    market.let_pass(2)
    account = market.holder(35_000)  # the last price is 7 000 already
    market.let_pass(2)
    assert market.level(account) != NORMAL


def test_a_round_is_cut_up_and_goes_on_where_it_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitor, "WORK_PER_COMMAND", 3)
    market = Market()
    accounts = [market.holder(60_000) for _ in range(8)]
    market.let_pass(2)
    market.price(6_960)
    found = []
    rounds = 0
    while monitor.due_ns(market.machine):
        due_ns = max(monitor.due_ns(market.machine), market.machine.time_ns + 1)
        events = market.do(commands.AdvanceClock(), time_ns=due_ns)
        alerted = [e.account_id for e in events if isinstance(e, RiskAlerted)]
        assert len(alerted) <= 3
        found += alerted
        rounds += 1
    assert found == accounts, "in the order in which they came to hold it"
    assert rounds >= 4


def test_a_trade_during_a_round_is_seen_by_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitor, "WORK_PER_COMMAND", 2)
    market = Market()
    accounts = [market.holder(60_000) for _ in range(4)]
    market.let_pass(5)
    market.price(6_990)
    due_ns = max(monitor.due_ns(market.machine), market.machine.time_ns + 1)
    market.do(commands.AdvanceClock(), time_ns=due_ns)  # a part of the round
    market.price(6_960)
    market.let_pass(3)
    assert [market.level(account) for account in accounts] == [ELEVATED] * 4


def test_an_account_that_holds_several_instruments_is_rated_once_a_round(monkeypatch: pytest.MonkeyPatch) -> None:
    market = Market()
    market.do(copper("SHFE.cu2702", open_amount=0))
    account = market.holder(200_000)
    market.place(market.rich, SELL, 1, 7_000, instrument="SHFE.cu2702")
    market.place(account, BUY, 1, 7_000, instrument="SHFE.cu2702")
    rated: list[str] = []
    rate = monitor._assess

    def noted(state: Machine, rated_account: Account, events: list[Event]) -> int:
        rated.append(rated_account.account_id)
        return rate(state, rated_account, events)

    monkeypatch.setattr(monitor, "_assess", noted)
    market.let_pass(2)
    assert rated.count(account) == 1


def test_the_monitor_walks_the_same_way_on_every_replica() -> None:
    market = Market()
    for cash in (60_000, 50_000, 45_000, 40_000):
        market.holder(cash)
    for ticks in (6_960, 6_900, 6_800):
        market.price(ticks)
        market.let_pass(2)
    other = Machine()
    for index, time_ns, raw in market.log:
        other.apply(index, time_ns, [raw])
    assert other.digest() == market.machine.digest()
    assert list(other.monitor.alerts) == list(market.machine.monitor.alerts)
    assert market.machine.monitor.alert_count > 4


def test_the_liquidation_level_starts_a_liquidation_once() -> None:
    market = Market()
    account = market.holder(60_000)
    market.let_pass(2)
    market.price(6_500)  # 35 000 of 35 000
    events = market.let_pass(1)
    (started,) = [e for e in events if isinstance(e, LiquidationStarted)]
    assert (started.account_id, started.reason) == (account, "")
    assert (started.margin_units, started.balance_units) == (35_000 * YUAN, 35_000 * YUAN)
    market.price(6_490)
    assert not [e for e in market.let_pass(2) if isinstance(e, LiquidationStarted)]


# Parameters


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"elevated_percent": 0}, "elevated_percent 0"),
        ({"high_percent": 60}, "high_percent 60"),
        ({"critical_percent": 80}, "critical_percent 80"),
        ({"critical_percent": 101}, "liquidation_percent 100"),
        ({"liquidation_percent": 94}, "liquidation_percent 94"),
        ({"liquidation_percent": 1_001}, "liquidation_percent 1001"),
        ({"release_percent": 100}, "release_percent 100"),
        ({"release_percent": 0}, "release_percent 0"),
        ({"liquidation_step_ticks": 0}, "liquidation_step_ticks 0"),
        ({"liquidation_retry_ns": 1}, "liquidation_retry_ns 1"),
        ({"liquidation_retries_max": 0}, "liquidation_retries_max 0"),
        ({"alert_interval_ns": -1}, "alert_interval_ns -1"),
        ({"orders_alive_max": 0}, "orders_alive_max 0"),
        ({"orders_alive_max": 10_001}, "orders_alive_max 10001"),
        ({"order_turnover_max_units": -1}, "order_turnover_max_units -1"),
    ],
)
def test_contradicting_risk_parameters_are_refused_and_nothing_changes(changes: dict[str, Any], words: str) -> None:
    assert words in refused(Market(), risk_parameters(**changes), rejects.BAD_RISK_PARAMETERS)


def test_risk_parameters_take_effect() -> None:
    market = Market()
    market.do(risk_parameters(critical_percent=100, liquidation_percent=120, release_percent=119, orders_alive_max=1))
    rules = market.machine.risk
    assert (rules.critical_percent, rules.liquidation_percent, rules.release_percent) == (100, 120, 119)
    account = market.account()
    market.place(account, BUY, 1, 6_990)
    assert code(market.place(account, BUY, 1, 6_990)) == rejects.TOO_MANY_ORDERS.code
