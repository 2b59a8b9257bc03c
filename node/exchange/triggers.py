"""Conditional orders: stop-loss, take-profit, price touch.

A conditional order waits in the state for a trade of its instrument at or beyond its trigger price, and becomes an
order in the very command that brought that trade: at one log index everywhere. It reserves nothing while it waits; what
it becomes passes all checks of an order, and may be refused (FAILED).

Whether it triggers is decided by every trade, not by the last one of a command, and once by the last price of the day
when it is placed. Those that one trade triggers become orders as they were placed; their trades may trigger others
(a cascade), which queue behind them. `FIRED_PER_COMMAND` bounds what one command enters: the rest keeps its place in
the queue, and an AdvanceClock is due at once. What cannot be entered now, because the instrument does not trade
continuously, waits until it does.

The waiting ones of an instrument stand sorted by trigger price, like the two sides of a book: a trade that triggers
nothing costs two comparisons, and nothing at all in an instrument that nobody watches.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from itertools import islice
from typing import Final
from zlib import crc32

import msgspec

from node.exchange import rejects, risk, trading
from node.exchange.agenda import Agenda
from node.exchange.commands import CancelConditional, PlaceConditional, PlaceOrder
from node.exchange.events import ConditionalEnded, ConditionalPlaced, Event, TradeExecuted
from node.exchange.instruments import Instrument
from node.exchange.ledger import Account
from node.exchange.orders import Order
from node.exchange.rejects import Refused
from node.exchange.requests import Once
from node.exchange.state import Handlers, State
from node.exchange.texts import check_length
from node.exchange.types import (
    CONDITIONALS_ALIVE_PER_ACCOUNT_MAX,
    CONDITIONALS_ENDED_PER_ACCOUNT_MAX,
    DETAIL_MAX,
    PRICE_TICKS_MAX,
    Comparison,
    ConditionalState,
    ConditionType,
    InstrumentStatus,
    OrderSource,
    Phase,
    PriceType,
    TimeCondition,
)

FIRED_PER_COMMAND: Final = 64  # conditional orders that become orders before the rest waits for the next command ...
EVENTS_PER_COMMAND: Final = 500  # ... and no further one after so many events
ENDED_PER_COMMAND: Final = 500  # that expire, or whose instrument ended
# Of the whole exchange: above it, one that ends displaces the oldest ended one of its own account.
CONDITIONALS_ENDED_MAX: Final = 200_000
CONDITIONALS_WAITING_MAX: Final = 500_000
ABOVE: Final = int(Comparison.AT_OR_ABOVE)
STOP_LOSS: Final = int(ConditionType.STOP_LOSS)
TAKE_PROFIT: Final = int(ConditionType.TAKE_PROFIT)
PENDING: Final = int(ConditionalState.PENDING)
TRIGGERED: Final = int(ConditionalState.TRIGGERED)
CANCELLED: Final = int(ConditionalState.CANCELLED)
EXPIRED: Final = int(ConditionalState.EXPIRED)
FAILED: Final = int(ConditionalState.FAILED)
LIMIT: Final = int(PriceType.LIMIT)
GFD: Final = int(TimeCondition.GFD)
IOC: Final = int(TimeCondition.IOC)
CONTINUOUS: Final = int(Phase.CONTINUOUS)
ENDED_STATUSES: Final = (int(InstrumentStatus.DELISTED), int(InstrumentStatus.EXPIRED))
SOURCE: Final = int(OrderSource.CONDITIONAL)
COMPARISONS: Final = tuple(comparison.name for comparison in Comparison)


class Conditional:
    """One conditional order, pending or ended. `order_id` is the order that it became; `code` why it did not."""

    __slots__ = (
        "account",
        "client_order_id",
        "code",
        "comparison",
        "condition",
        "conditional_id",
        "detail",
        "direction",
        "ended_ns",
        "fingerprint",
        "insert_index",
        "insert_ns",
        "instrument",
        "offset",
        "order_id",
        "price_ticks",
        "price_type",
        "reached",
        "state",
        "trigger_ticks",
        "valid_until_ns",
        "volume",
    )

    def __init__(
        self,
        conditional_id: int,
        command: PlaceConditional,
        account: Account,
        instrument: Instrument,
        fingerprint: int,
        index: int,
        time_ns: int,
    ) -> None:
        self.conditional_id = conditional_id
        self.account = account
        self.instrument = instrument
        self.direction = command.direction
        self.offset = command.offset
        self.volume = command.volume
        self.price_type = command.price_type
        self.price_ticks = command.price_ticks
        self.condition = command.condition
        self.comparison = command.comparison
        self.trigger_ticks = command.trigger_ticks
        self.valid_until_ns = command.valid_until_ns
        self.client_order_id = command.client_order_id
        self.fingerprint = fingerprint  # CRC-32 of the command's bytes
        self.insert_index = index
        self.insert_ns = time_ns
        self.ended_ns = 0
        self.reached = False  # its price came, and it waits for its turn to be entered
        self.state = PENDING
        self.order_id = 0
        self.code = 0  # rejects.BY_CODE
        self.detail = ""

    @property
    def key(self) -> int:
        """What its queue is sorted by: the key that is reached first is the greatest."""
        return -self.trigger_ticks if self.comparison == ABOVE else self.trigger_ticks


class Queue:
    """The conditional orders of one instrument that wait for one comparison, by trigger price, then as placed."""

    __slots__ = ("keys", "levels", "sign")

    def __init__(self, comparison: int) -> None:
        self.sign = -1 if comparison == ABOVE else 1
        self.keys: list[int] = []  # ascending: the one that is reached first is the last
        self.levels: dict[int, dict[int, Conditional]] = {}

    def enter(self, conditional: Conditional) -> None:
        key = conditional.key
        level = self.levels.get(key)
        if level is None:
            level = self.levels[key] = {}
            self.keys.insert(bisect_left(self.keys, key), key)
        level[conditional.conditional_id] = conditional

    def leave(self, conditional: Conditional) -> None:
        key = conditional.key
        level = self.levels[key]
        del level[conditional.conditional_id]
        if not level:
            del self.levels[key]
            del self.keys[bisect_left(self.keys, key)]

    def reached(self, price_ticks: int) -> list[Conditional]:
        """Take out everything that a trade at this price triggers."""
        keys = self.keys
        found: list[Conditional] = []
        while keys and keys[-1] >= self.sign * price_ticks:
            found += self.levels.pop(keys.pop()).values()
        return found


class Watch:
    """The conditional orders that wait for the price of one instrument."""

    __slots__ = ("above", "below")

    def __init__(self) -> None:
        self.above = Queue(ABOVE)
        self.below = Queue(int(Comparison.AT_OR_BELOW))

    def side(self, comparison: int) -> Queue:
        return self.above if comparison == ABOVE else self.below

    @property
    def empty(self) -> bool:
        return not self.above.keys and not self.below.keys


class Triggers:
    """All conditional orders of the exchange: the pending ones, and the newest ended ones of each account."""

    __slots__ = ("conditionals", "count", "ended_count", "ending", "expiries", "fired", "halted", "watches")

    def __init__(self) -> None:
        self.count = 0  # ids given
        self.ended_count = 0  # ended ones that are kept
        self.conditionals: dict[int, Conditional] = {}  # by id, pending and ended
        self.watches: dict[str, Watch] = {}  # by instrument id: what waits for its price
        self.fired: dict[int, Conditional] = {}  # reached, by id: a queue, entered from its head
        self.halted: dict[str, dict[int, Conditional]] = {}  # reached, by instrument that does not trade continuously
        self.expiries: Agenda[int] = Agenda()  # the first moment at which an id is no longer valid
        self.ending: deque[Instrument] = deque()  # of which pending ones are still to be ended


def place_conditional(state: State, command: PlaceConditional, raw: bytes, events: list[Event]) -> None:
    """Let an order wait for a price; at most once per client id. It triggers at once if the day's last price is there.

    Before the first trade of a day there is no price of that day, only the settlement price of the one before: that
    triggers nothing.
    """
    account = state.account(command.account_id)
    check_length("client_order_id", command.client_order_id, rejects.BAD_ORDER_PARAMETERS)
    with Once(state, account.client_orders, command.client_order_id, raw, events, account.account_id) as request:
        if request.repeated:
            return
        instrument = _check(state, command, account)
        triggers = state.triggers
        triggers.count += 1
        conditional = Conditional(triggers.count, command, account, instrument, crc32(raw), state.index, state.time_ns)
        request.ref = str(conditional.conditional_id)
        triggers.conditionals[conditional.conditional_id] = conditional
        account.conditionals[conditional.conditional_id] = conditional
        if conditional.valid_until_ns:
            triggers.expiries.set(conditional.conditional_id, conditional.valid_until_ns + 1)
        events.append(
            ConditionalPlaced(
                conditional.conditional_id, account.account_id, instrument.instrument_id, command.client_order_id
            )
        )
    watch = triggers.watches.get(instrument.instrument_id)
    if watch is None:
        watch = triggers.watches[instrument.instrument_id] = Watch()
    watch.side(conditional.comparison).enter(conditional)
    refresh_watched(state, instrument)
    if instrument.day_volume:
        _reach(state, instrument, instrument.last_ticks)
        _enter_fired(state, events, len(events))


def _check(state: State, command: PlaceConditional, account: Account) -> Instrument:
    """Everything that can be judged before the price comes; the rest is judged when the order is entered."""
    risk.check_format(_as_order(command))
    instrument = state.instrument(command.instrument_id)
    name = instrument.instrument_id
    if instrument.status in ENDED_STATUSES:
        raise Refused(rejects.INSTRUMENT_NOT_LISTED, f"{name} is {InstrumentStatus(instrument.status).name}")
    bounds = (
        ("condition", command.condition, STOP_LOSS, int(ConditionType.PRICE_TOUCH)),
        ("comparison", command.comparison, ABOVE, int(Comparison.AT_OR_BELOW)),
        ("trigger_ticks", command.trigger_ticks, 1, PRICE_TICKS_MAX),
    )
    for field, value, least, most in bounds:
        if not least <= value <= most:
            raise Refused(rejects.BAD_CONDITION, f"{field} {value} is not in [{least}, {most}]")
    if command.condition in (STOP_LOSS, TAKE_PROFIT):
        rising = (command.direction > 0) == (command.condition == STOP_LOSS)
        if rising != (command.comparison == ABOVE):
            what = f"{ConditionType(command.condition).name} of a {'buy' if command.direction > 0 else 'sell'}"
            raise Refused(rejects.BAD_CONDITION, f"comparison {COMPARISONS[command.comparison]} contradicts a {what}")
    if command.valid_until_ns < 0 or 0 < command.valid_until_ns <= state.time_ns:
        raise Refused(rejects.BAD_CONDITION, f"valid_until_ns {command.valid_until_ns} is past")
    risk.check_volume(instrument, account, command.volume, command.price_type, SOURCE)
    if account.freeze or account.closed or account.user.status:
        risk.check_rights(account, command.offset != 0)
    pending = account.pending_conditionals()
    if pending >= CONDITIONALS_ALIVE_PER_ACCOUNT_MAX:
        raise Refused(rejects.TOO_MANY_CONDITIONALS, f"{pending} pending conditional orders on {account.account_id}")
    triggers = state.triggers
    if len(triggers.conditionals) - triggers.ended_count >= CONDITIONALS_WAITING_MAX:
        raise Refused(rejects.TOO_MANY_CONDITIONALS, f"{CONDITIONALS_WAITING_MAX} wait on the exchange, its limit")
    return instrument


def _as_order(source: PlaceConditional | Conditional) -> PlaceOrder:
    """The order that a conditional order becomes: good for the day with a limit price, else immediate or cancel."""
    if isinstance(source, Conditional):
        account_id, instrument_id = source.account.account_id, source.instrument.instrument_id
    else:
        account_id, instrument_id = source.account_id, source.instrument_id
    return PlaceOrder(
        account_id,
        instrument_id,
        source.direction,
        source.offset,
        source.volume,
        source.price_type,
        source.price_ticks,
        GFD if source.price_type == LIMIT else IOC,
        client_order_id=source.client_order_id,
    )


def cancel_conditional(state: State, command: CancelConditional, raw: bytes, events: list[Event]) -> None:
    """Always possible while it waits, also once its price has come, until it is entered."""
    account = state.account(command.account_id)
    conditional = account.conditionals.get(command.conditional_id)
    if conditional is None:
        detail = f"conditional_id {command.conditional_id} is not a conditional order of {account.account_id}"
        raise Refused(rejects.CONDITIONAL_NOT_FOUND, detail)
    if conditional.state != PENDING:
        name = ConditionalState(conditional.state).name
        raise Refused(rejects.CONDITIONAL_ENDED, f"conditional_id {command.conditional_id} is {name}")
    _withdraw(state, conditional, CANCELLED, 0, "", events)


def cancel_of_account(state: State, account: Account, detail: str, events: list[Event]) -> None:
    """End everything that waits for an account, saying why. At most CONDITIONALS_ALIVE_PER_ACCOUNT_MAX."""
    for conditional in list(account.conditionals.values()):
        if conditional.state == PENDING:
            _withdraw(state, conditional, CANCELLED, 0, detail, events)


def cancel_of_instrument(state: State, instrument: Instrument, events: list[Event]) -> None:
    """End everything that waits for an instrument which has ended; what is too much for a command follows at once."""
    triggers = state.triggers
    if triggers.fired or instrument.instrument_id in triggers.watches or instrument.instrument_id in triggers.halted:
        triggers.ending.append(instrument)
        _end_instruments(state, events)


def _end_instruments(state: State, events: list[Event]) -> None:
    """Bounded: ENDED_PER_COMMAND at most."""
    triggers = state.triggers
    left = ENDED_PER_COMMAND
    while triggers.ending:
        instrument = triggers.ending[0]
        waiting = [conditional for conditional in triggers.fired.values() if conditional.instrument is instrument]
        waiting += triggers.halted.get(instrument.instrument_id, {}).values()
        watch = triggers.watches.get(instrument.instrument_id)
        if watch is not None:
            for side in (watch.above, watch.below):
                for key in side.keys:
                    waiting += side.levels[key].values()
        detail = f"{instrument.instrument_id} is no longer listed"
        for conditional in waiting[:left]:
            _withdraw(state, conditional, CANCELLED, rejects.INSTRUMENT_NOT_LISTED.code, detail, events)
        left -= len(waiting)
        if left < 0:
            return
        triggers.ending.popleft()


def fire(state: State, events: list[Event]) -> None:
    """After a command in which watched instruments traded: enter what its trades triggered, and what those trigger.

    Also tells forced liquidation of the fills of its orders.
    """
    _enter_fired(state, events, 0)


def refresh_watched(state: State, instrument: Instrument) -> None:
    """Whether the trades of an instrument have to be looked at; after anything that waits for them came or went."""
    name, triggers = instrument.instrument_id, state.triggers
    instrument.watched = name in triggers.watches or name in triggers.halted or name in state.liquidations.watched


def _look(state: State, events: list[Event], start: int) -> int:
    """Look at the trades among `events[start:]`; returns up to where it looked."""
    triggers, follow = state.triggers, state.liquidations.follow
    for event in events[start:]:
        if type(event) is TradeExecuted:
            if event.instrument_id in triggers.watches:
                _reach(state, state.instruments[event.instrument_id], event.price_ticks)
            follow(event)
    return len(events)


def _reach(state: State, instrument: Instrument, price_ticks: int) -> None:
    """Queue what a trade at this price triggers."""
    triggers = state.triggers
    watch = triggers.watches[instrument.instrument_id]
    found = watch.above.reached(price_ticks) + watch.below.reached(price_ticks)
    if not found:
        return
    if watch.empty:
        del triggers.watches[instrument.instrument_id]
        refresh_watched(state, instrument)
    found.sort(key=_placed)
    for conditional in found:
        conditional.reached = True
        triggers.fired[conditional.conditional_id] = conditional


def _placed(conditional: Conditional) -> int:
    return conditional.conditional_id


def _enter_fired(state: State, events: list[Event], start: int) -> None:
    """Look at the trades of this command from `start` on, and enter what is reached, in its order. Bounded."""
    triggers = state.triggers
    moved = state.matcher.moved
    looked = _look(state, events, start)
    until = len(events) + EVENTS_PER_COMMAND
    head: list[Conditional] = []  # of the queue, the next one last: a dict finds its first one behind all that left it
    for _ in range(FIRED_PER_COMMAND):
        if not triggers.fired or len(events) > until:
            break
        if not head:
            head = list(islice(triggers.fired.values(), FIRED_PER_COMMAND))
            head.reverse()
        conditional = head.pop()
        del triggers.fired[conditional.conditional_id]
        instrument = conditional.instrument
        if 0 < conditional.valid_until_ns < state.time_ns:
            _end(state, conditional, EXPIRED, 0, 0, "", events)
        elif instrument.phase != CONTINUOUS:
            triggers.halted.setdefault(instrument.instrument_id, {})[conditional.conditional_id] = conditional
            refresh_watched(state, instrument)
        else:
            _enter(state, conditional, events)
        looked = _look(state, events, looked)
    moved.clear()


def _enter(state: State, conditional: Conditional, events: list[Event]) -> None:
    """Make it an order. The event that says so comes before the order's own."""
    position = len(events)
    try:
        order = trading.enter_order(state, _as_order(conditional), SOURCE, events)
    except Refused as refused:
        _end(state, conditional, FAILED, 0, refused.reject.code, refused.detail[:DETAIL_MAX], events)
        return
    _name_order(state, conditional, order, events[position:])
    ended: list[Event] = []
    _end(state, conditional, TRIGGERED, order.order_id, 0, "", ended)
    events[position:position] = ended


def _name_order(state: State, conditional: Conditional, order: Order, events: list[Event]) -> None:
    """Let the client id name the order from now on, as if it had placed it; `ref` still names the conditional order.

    A repeated PlaceConditional learns what has become of it, and the order is found by its client id.
    """
    client_order_id = conditional.client_order_id
    if not client_order_id:
        return
    requests = conditional.account.client_orders
    first = requests.get(client_order_id)
    if first is not None and first.index != conditional.insert_index:
        return  # it was forgotten, and used again: it names something newer
    result = trading.first_result(state, order, conditional.fingerprint, events)
    ref = str(conditional.conditional_id)
    if first is not None:
        requests.amend(
            client_order_id, msgspec.structs.replace(result, index=first.index, time_ns=first.time_ns, ref=ref)
        )
    elif not requests.full:
        requests.remember(client_order_id, msgspec.structs.replace(result, ref=ref))


def _withdraw(state: State, conditional: Conditional, ended: int, code: int, detail: str, events: list[Event]) -> None:
    """End one that has not been entered, wherever it waits."""
    triggers, name = state.triggers, conditional.instrument.instrument_id
    if not conditional.reached:
        watch = triggers.watches[name]
        watch.side(conditional.comparison).leave(conditional)
        if watch.empty:
            del triggers.watches[name]
            refresh_watched(state, conditional.instrument)
    elif triggers.fired.pop(conditional.conditional_id, None) is None:
        halted = triggers.halted[name]
        del halted[conditional.conditional_id]
        if not halted:
            del triggers.halted[name]
            refresh_watched(state, conditional.instrument)
    _end(state, conditional, ended, 0, code, detail, events)


def _end(
    state: State, conditional: Conditional, ended: int, order_id: int, code: int, detail: str, events: list[Event]
) -> None:
    """Record how it ended. It waits nowhere any more."""
    triggers, account = state.triggers, conditional.account
    triggers.expiries.drop(conditional.conditional_id)
    conditional.state = ended
    conditional.ended_ns = state.time_ns
    conditional.order_id = order_id
    conditional.code = code
    conditional.detail = detail
    # Kept for queries behind all others of its account that ended before it.
    del account.conditionals[conditional.conditional_id]
    account.conditionals[conditional.conditional_id] = conditional
    kept = [item for item in account.conditionals.values() if item.state != PENDING]
    triggers.ended_count += 1
    if len(kept) > CONDITIONALS_ENDED_PER_ACCOUNT_MAX or triggers.ended_count > CONDITIONALS_ENDED_MAX:
        oldest = kept[0]
        del account.conditionals[oldest.conditional_id]
        del triggers.conditionals[oldest.conditional_id]
        triggers.ended_count -= 1
    events.append(
        ConditionalEnded(
            conditional.conditional_id,
            account.account_id,
            conditional.instrument.instrument_id,
            ended,
            order_id,
            code,
            detail,
        )
    )


def due_ns(state: State) -> int:
    """When `advance` has something to do; 0: never."""
    triggers = state.triggers
    if triggers.fired or triggers.ending:
        return state.time_ns
    for name in triggers.halted:
        if state.instruments[name].phase == CONTINUOUS:
            return state.time_ns
    return triggers.expiries.next_ns()


def advance(state: State, events: list[Event]) -> None:
    """End what is no longer valid; enter what waited for its turn, or for its instrument to trade again."""
    triggers = state.triggers
    for conditional_id in triggers.expiries.take(state.time_ns, ENDED_PER_COMMAND):
        _withdraw(state, triggers.conditionals[conditional_id], EXPIRED, 0, "", events)
    _end_instruments(state, events)
    for name in list(triggers.halted):
        if state.instruments[name].phase == CONTINUOUS:
            triggers.fired.update(triggers.halted.pop(name))
            refresh_watched(state, state.instruments[name])
    if triggers.fired:
        _enter_fired(state, events, 0)


HANDLERS: Final[Handlers] = {PlaceConditional: place_conditional, CancelConditional: cancel_conditional}
