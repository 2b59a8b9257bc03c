"""The risk monitor: the level of every account at current prices, and alerts when it changes (domain.md 7).

A trade costs the monitor nothing. At most once per `ROUND_NS` of log time an AdvanceClock begins a round: it walks the
accounts that hold an instrument whose price or volume moved since the round before, then those that were touched
otherwise (`touch`: funds, margins), in the order in which they came to hold it: the same on every replica. A round is
cut up: `WORK_PER_COMMAND` bounds one command, and a cursor in the state says where the next goes on.

An alert says that an account entered a level, from below or from above; the same level is not announced twice within
`alert_interval_ns`. An entry that falls into the interval is looked at again when it is over, and announced if the
account is still at another level than the last announced one: so a level that persists is never lost.

An account at the level LIQUIDATION is handed to `liquidation`.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import msgspec

from node.exchange import liquidation, rejects
from node.exchange.agenda import Agenda
from node.exchange.commands import SetRiskParameters
from node.exchange.events import Event, RiskAlerted, RiskParametersSet
from node.exchange.instruments import Instrument
from node.exchange.ledger import Account
from node.exchange.rejects import Refused
from node.exchange.risk import RiskParameters
from node.exchange.state import Handlers, State
from node.exchange.types import (
    ALERTS_KEPT,
    NOTIONAL_UNITS_MAX,
    ORDERS_ALIVE_PER_ACCOUNT_MAX,
    PRICE_TICKS_MAX,
    RiskLevel,
    saturate,
)

ROUND_NS: Final = 1_000_000_000  # log time between the beginnings of two rounds
WORK_PER_COMMAND: Final = 4_000  # accounts that one command walks past, and positions that it rates: 2 to 4 ms
START_COST: Final = 8  # of starting a liquidation, in the same measure
DEFERRED_PER_COMMAND: Final = 200
PERCENT_MAX: Final = 1_000  # of a level
RETRY_NS_MIN: Final = 10_000_000  # log time; more often would only fill the log
DAY_NS: Final = 86_400 * 10**9
RETRIES_MAX: Final = 100_000
NORMAL: Final = int(RiskLevel.NORMAL)
ELEVATED: Final = int(RiskLevel.ELEVATED)
HIGH: Final = int(RiskLevel.HIGH)
CRITICAL: Final = int(RiskLevel.CRITICAL)
LIQUIDATION: Final = int(RiskLevel.LIQUIDATION)


class Alert(msgspec.Struct, frozen=True, gc=False):
    """A kept alert, for queries; the fields are those of `events.RiskAlerted`, and when it was."""

    alert_id: int
    time_ns: int
    account_id: str
    level: int
    previous_level: int
    margin_units: int
    balance_units: int  # saturated


class Announced:
    """What was last announced of an account: its level, and when each level was (ns, by types.RiskLevel)."""

    __slots__ = ("alerted_ns", "level")

    def __init__(self) -> None:
        self.level = NORMAL
        self.alerted_ns = [0] * len(RiskLevel)


class Monitor:
    """The round that runs, what the next one has to look at, and what was announced."""

    __slots__ = (
        "alert_count",
        "alerts",
        "announced",
        "assessed_day",
        "deferred",
        "everything",
        "holders",
        "instruments",
        "next_holder",
        "round",
        "round_ns",
        "touched",
        "trades",
    )

    def __init__(self) -> None:
        self.round = 0  # number of the running or the last round
        self.round_ns = 0  # when it began
        self.trades = 0  # of all venues, when it began
        self.assessed_day = 0  # the trading day on which it began
        self.everything = False  # the next round walks the holders of every instrument
        self.instruments: deque[Instrument] = deque()  # of this round, whose holders are still to be walked
        self.holders: list[Account] = []  # those that are walked now
        self.next_holder = 0
        self.touched: dict[str, Account] = {}  # to be looked at besides
        self.deferred: Agenda[str] = Agenda()  # account ids to be looked at again
        self.announced: dict[str, Announced] = {}  # accounts of which something was announced
        self.alerts: deque[Alert] = deque(maxlen=ALERTS_KEPT)  # oldest first
        self.alert_count = 0


def touch(state: State, account: Account) -> None:
    """The ratio of an account may have changed without a trade: look at it in the next round."""
    state.monitor.touched[account.account_id] = account


def touch_holders(state: State, instrument: Instrument) -> None:
    """The margins of an instrument changed: look at everybody who holds it in the next round."""
    instrument.assessed_volume = -1
    state.monitor.trades = -1


def level_of(parameters: RiskParameters, margin: int, balance: int) -> int:
    """The types.RiskLevel of margin / balance, both in units; exact. Without margin there is no risk to rate.

    Margin that no balance stands behind (zero or less) is at or above every level.
    """
    if margin <= 0:
        return NORMAL
    if margin * 100 >= balance * parameters.liquidation_percent:
        return LIQUIDATION
    if margin * 100 >= balance * parameters.critical_percent:
        return CRITICAL
    if margin * 100 >= balance * parameters.high_percent:
        return HIGH
    if margin * 100 >= balance * parameters.elevated_percent:
        return ELEVATED
    return NORMAL


def set_risk_parameters(state: State, command: SetRiskParameters, raw: bytes, events: list[Event]) -> None:
    """Replace the risk parameters; every account is looked at by them in the next round."""
    elevated, high, critical = command.elevated_percent, command.high_percent, command.critical_percent
    limit = command.liquidation_percent
    bounds = (
        ("elevated_percent", elevated, 1, PERCENT_MAX),
        ("high_percent", high, elevated + 1, PERCENT_MAX),
        ("critical_percent", critical, high + 1, PERCENT_MAX),
        ("liquidation_percent", limit, critical, PERCENT_MAX),
        ("release_percent", command.release_percent, 1, limit - 1),
        ("liquidation_step_ticks", command.liquidation_step_ticks, 1, PRICE_TICKS_MAX),
        ("liquidation_retry_ns", command.liquidation_retry_ns, RETRY_NS_MIN, DAY_NS),
        ("liquidation_retries_max", command.liquidation_retries_max, 1, RETRIES_MAX),
        ("alert_interval_ns", command.alert_interval_ns, 0, DAY_NS),
        ("orders_alive_max", command.orders_alive_max, 1, ORDERS_ALIVE_PER_ACCOUNT_MAX),
        ("order_turnover_max_units", command.order_turnover_max_units, 0, NOTIONAL_UNITS_MAX),
    )
    for field, value, least, most in bounds:
        if not least <= value <= most:
            raise Refused(rejects.BAD_RISK_PARAMETERS, f"{field} {value} is not in [{least}, {most}]")
    state.risk = RiskParameters(
        elevated,
        high,
        critical,
        limit,
        command.release_percent,
        command.liquidation_step_ticks,
        command.liquidation_retry_ns,
        command.liquidation_retries_max,
        command.alert_interval_ns,
        command.orders_alive_max,
        command.order_turnover_max_units,
    )
    state.monitor.everything = True
    events.append(RiskParametersSet())


def due_ns(state: State) -> int:
    """When `advance` has something to do; 0: never."""
    monitor = state.monitor
    if _walking(monitor):
        return state.time_ns
    due = monitor.deferred.next_ns()
    if _stirred(state):
        begin_ns = monitor.round_ns + ROUND_NS
        due = begin_ns if due == 0 or begin_ns < due else due
    return due


def _walking(monitor: Monitor) -> bool:
    return monitor.next_holder < len(monitor.holders) or bool(monitor.instruments)


def _stirred(state: State) -> bool:
    """Whether a round would have something to look at."""
    monitor = state.monitor
    return (
        bool(monitor.touched)
        or monitor.everything
        or monitor.trades != _trades(state)
        or monitor.assessed_day != state.trading_day
    )


def _trades(state: State) -> int:
    return sum(venue.trade_count for venue in state.venues.values())


def advance(state: State, events: list[Event]) -> None:
    """Go on with the round, or begin one if it is time."""
    monitor = state.monitor
    if not _walking(monitor) and state.time_ns >= monitor.round_ns + ROUND_NS and _stirred(state):
        _begin_round(state)
    left = WORK_PER_COMMAND
    for account_id in monitor.deferred.take(state.time_ns, DEFERRED_PER_COMMAND):
        left -= _assess(state, state.accounts[account_id], events)
    this_round = monitor.round
    while left > 0 and _walking(monitor):
        left -= 1
        if monitor.next_holder >= len(monitor.holders):
            monitor.holders = list(monitor.instruments.popleft().holders.values())
            monitor.next_holder = 0
            continue
        account = monitor.holders[monitor.next_holder]
        monitor.next_holder += 1
        if account.assessed_round != this_round:
            account.assessed_round = this_round
            left -= _assess(state, account, events)
    if not _walking(monitor):
        monitor.holders = []
        monitor.next_holder = 0


def _begin_round(state: State) -> None:
    """Note what moved since the last round, and who holds it. O(instruments)."""
    monitor = state.monitor
    everything = monitor.everything or monitor.assessed_day != state.trading_day
    monitor.round += 1
    monitor.round_ns = state.time_ns
    monitor.trades = _trades(state)
    monitor.assessed_day = state.trading_day
    monitor.everything = False
    for instrument in state.instruments.values():
        last, volume = instrument.last_ticks, instrument.day_volume
        if everything or last != instrument.assessed_ticks or volume != instrument.assessed_volume:
            instrument.assessed_ticks = last
            instrument.assessed_volume = volume
            monitor.instruments.append(instrument)
    monitor.holders = list(monitor.touched.values())
    monitor.next_holder = 0
    monitor.touched = {}


def _assess(state: State, account: Account, events: list[Event]) -> int:
    """Rate one account; say what changed, and do what its level demands. Returns what it cost, in positions."""
    margin, cost = account.margin, len(account.positions)
    if margin or account.risk_level != NORMAL:
        balance = account.balance()
        level = level_of(state.risk, margin, balance)
        account.risk_level = level
        if level or account.account_id in state.monitor.announced:
            _announce(state, account, level, margin, balance, events)
        if level == LIQUIDATION and not account.liquidating:
            liquidation.start(state, account, "", "", False, events)
            cost += START_COST
    if account.liquidating:
        liquidation.wake(state, account)
    return cost


def _announce(state: State, account: Account, level: int, margin: int, balance: int, events: list[Event]) -> None:
    """Alert if the account is at another level than the last announced one, at most once per interval and level."""
    monitor, account_id, now_ns = state.monitor, account.account_id, state.time_ns
    announced = monitor.announced.get(account_id)
    if announced is None:
        announced = monitor.announced[account_id] = Announced()
    previous = announced.level
    if level == previous:
        monitor.deferred.drop(account_id)
        return
    alerted_ns = announced.alerted_ns[level]
    if alerted_ns and now_ns < alerted_ns + state.risk.alert_interval_ns:
        monitor.deferred.set(account_id, alerted_ns + state.risk.alert_interval_ns)
        return
    monitor.deferred.drop(account_id)
    announced.level = level
    announced.alerted_ns[level] = now_ns
    monitor.alert_count += 1
    alert = Alert(monitor.alert_count, now_ns, account_id, level, previous, saturate(margin), saturate(balance))
    monitor.alerts.append(alert)
    events.append(RiskAlerted(alert.alert_id, account_id, level, previous, alert.margin_units, alert.balance_units))


HANDLERS: Final[Handlers] = {SetRiskParameters: set_risk_parameters}
