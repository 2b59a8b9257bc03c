"""What a snapshot says of the state: one section per thing that there are many of, in an order that can be read.

A section knows its columns, how its rows are read off a live machine, and how one row is put into a fresh one; those
before it are there already, so a row names other objects by their keys. The sequence that a dictionary or a queue has
is kept, because it is part of the state: conditional orders fire in it, holders are assessed in it, the queue of a
price trades in it. What belongs to an object without a bound of a few kilobytes has rows of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import msgspec

from node.exchange.agenda import Agenda
from node.exchange.book import Book
from node.exchange.commands import ListInstrument, ModifyInstrument, PlaceConditional, PlaceOrder
from node.exchange.events import DaySettled
from node.exchange.frames import Row
from node.exchange.instruments import Instrument
from node.exchange.layouts import (
    ACCOUNT,
    ANNOUNCED,
    ANNOUNCEMENT,
    CALENDAR,
    CONDITIONAL,
    INSTRUMENT,
    LIQUIDATION,
    LIQUIDATIONS,
    MARKED,
    MATCHER,
    MONITOR,
    ORDER,
    POSITION_SIDE,
    PRODUCT_MARGIN,
    RUNNING,
    STATE,
    TRIGGERS,
    USER,
    VENUE,
    Layout,
)
from node.exchange.ledger import Account
from node.exchange.liquidation import Liquidation, Working
from node.exchange.monitor import Alert, Announced
from node.exchange.orders import Order
from node.exchange.positions import Position, ProductMargin
from node.exchange.requests import Request, Requests
from node.exchange.risk import RiskParameters
from node.exchange.triggers import Conditional, Watch
from node.exchange.users import User

if TYPE_CHECKING:
    from node.exchange.machine import Machine

BLOCK: Final = 256  # items of a row that carries a part of a list: ids, short pairs
TEXTS_BLOCK: Final = 32  # the same where an item may be a kilobyte
# What the constructors of orders are given; all that they take from it is overwritten by what is stored.
NO_ORDER: Final = PlaceOrder("", "", 1, 0, 0, 0, 0)
NO_CONDITIONAL: Final = PlaceConditional("", "", 1, 0, 0, 0, 0, 0, 0, 0)
Rows = Iterator[Row]
T = TypeVar("T")


class Section(NamedTuple):
    """The rows of one kind: what they are called, their columns, how they are read off a machine and put into one."""

    name: str
    columns: tuple[str, ...]
    rows: Callable[[Machine], Rows]
    load: Callable[[Machine, list[Any]], None]  # the columns of one row


def _blocks(items: Iterable[Any], size: int = BLOCK) -> Iterator[list[Any]]:
    """The items in lists of at most `size`; no list without items."""
    rest = iter(items)
    while block := list(islice(rest, size)):
        yield block


def _lists(items: Iterable[Any]) -> Iterator[list[Any]]:
    """The same for a container that exists also without items: an empty list says so."""
    blocks = _blocks(items)
    yield next(blocks, [])
    yield from blocks


def _single(name: str, layout: Layout[T], find: Callable[[Machine], T]) -> Section:
    """One row: an object of which a machine has one."""

    def rows(machine: Machine) -> Rows:
        yield layout.values(find(machine))

    def load(machine: Machine, row: list[Any]) -> None:
        layout.fill(find(machine), row)

    return Section(name, layout.stored, rows, load)


def _list(
    name: str,
    column: str,
    items: Callable[[Machine], Iterable[Any]],
    add: Callable[[Machine, list[Any]], None],
) -> Section:
    """A container of which a machine has one, in blocks of plain `items`; `add` puts a block back."""

    def rows(machine: Machine) -> Rows:
        for block in _blocks(items(machine)):
            yield (block,)

    def load(machine: Machine, row: list[Any]) -> None:
        (block,) = row
        add(machine, block)

    return Section(name, (column,), rows, load)


def _list_of_each(
    name: str,
    columns: tuple[str, str],
    owners: Callable[[Machine], Mapping[str, T]],
    items: Callable[[T], Iterable[Any]],
    add: Callable[[Machine, T, list[Any]], None],
    size: int = BLOCK,
) -> Section:
    """A container that each of some objects has, in blocks of at most `size` plain `items`; `add` puts a block back."""

    def rows(machine: Machine) -> Rows:
        for key, owner in owners(machine).items():
            for block in _blocks(items(owner), size):
                yield key, block

    def load(machine: Machine, row: list[Any]) -> None:
        key, block = row
        add(machine, owners(machine)[key], block)

    return Section(name, columns, rows, load)


def _requests_of_each(
    name: str, key_column: str, owners: Callable[[Machine], Mapping[str, T]], requests: Callable[[T], Requests]
) -> Section:
    """The first results that each of some objects remembers, oldest first, a row each."""

    def rows(machine: Machine) -> Rows:
        for key, owner in owners(machine).items():
            for request_id, request in requests(owner).items():
                yield key, request_id, *msgspec.structs.astuple(request)

    def load(machine: Machine, row: list[Any]) -> None:
        key, request_id, *fields = row
        requests(owners(machine)[key]).remember(request_id, Request(*fields))

    return Section(name, (key_column, "request_id", *Request.__struct_fields__), rows, load)


def _users_by(name: str, column: str, find: Callable[[Machine], dict[str, User]]) -> Section:
    """Users by what is unique about them."""

    def rows(machine: Machine) -> Rows:
        for text, user in find(machine).items():
            yield text, user.user_id

    def load(machine: Machine, row: list[Any]) -> None:
        text, user_id = row
        find(machine)[text] = machine.users[user_id]

    return Section(name, (column, "user_id"), rows, load)


def _agenda(name: str, find: Callable[[Machine], Agenda[Any]]) -> Section:
    """What is to be done when: pairs of a key and a moment."""

    def add(machine: Machine, block: list[Any]) -> None:
        for key, moment_ns in block:
            find(machine).set(key, moment_ns)

    return _list(name, "moments", lambda machine: find(machine).items(), add)


def _conditionals(machine: Machine, ids: list[int]) -> dict[int, Conditional]:
    return {conditional_id: machine.triggers.conditionals[conditional_id] for conditional_id in ids}


def _accounts(machine: Machine, ids: list[str]) -> dict[str, Account]:
    return {account_id: machine.accounts[account_id] for account_id in ids}


# Risk


def _risk_rows(machine: Machine) -> Rows:
    yield msgspec.structs.astuple(machine.risk)


def _load_risk(machine: Machine, row: list[Any]) -> None:
    machine.risk = RiskParameters(*row)


# Users


def _user_rows(machine: Machine) -> Rows:
    for user in machine.users.values():
        yield USER.values(user)


def _load_user(machine: Machine, row: list[Any]) -> None:
    user = USER.make(row, "", "", "", 0, "", 0, 0)
    machine.users[user.user_id] = user


# Calendars and instruments


def _calendar_rows(machine: Machine) -> Rows:
    for calendar in machine.calendars.values():
        yield calendar.day, calendar.night, list(calendar.holidays), *CALENDAR.values(calendar)


def _load_calendar(machine: Machine, row: list[Any]) -> None:
    day, night, holidays, *stored = row
    phases = list[tuple[int, int, int]]
    definition = msgspec.convert(day, phases), msgspec.convert(night, phases), holidays
    calendar = CALENDAR.make(stored, "", "", *definition)
    machine.calendars[calendar.calendar_id] = calendar


def _venue_rows(machine: Machine) -> Rows:
    for venue in machine.venues.values():
        yield VENUE.values(venue)


def _load_venue(machine: Machine, row: list[Any]) -> None:
    venue = VENUE.make(row, "")
    machine.venues[venue.name] = venue


def _instrument_rows(machine: Machine) -> Rows:
    for instrument in machine.instruments.values():
        yield instrument.venue.name, instrument.terms, *INSTRUMENT.values(instrument)


def _load_instrument(machine: Machine, row: list[Any]) -> None:
    venue, fields, *stored = row
    terms = msgspec.convert(fields, ListInstrument | ModifyInstrument)
    instrument = Instrument(terms, machine.venues[venue])
    INSTRUMENT.fill(instrument, stored)
    instrument.set_terms(terms)  # what follows from them, which moves the version and the price limits ...
    INSTRUMENT.fill(instrument, stored)  # ... and a settlement may have capped the limits
    machine.instruments[instrument.instrument_id] = instrument


def _code_rows(machine: Machine) -> Rows:
    for code, instrument in machine.codes.items():
        yield code, None if instrument is None else instrument.instrument_id


def _load_code(machine: Machine, row: list[Any]) -> None:
    code, instrument_id = row
    machine.codes[code] = None if instrument_id is None else machine.instruments[instrument_id]


# Accounts


def _account_rows(machine: Machine) -> Rows:
    for account in machine.accounts.values():
        yield account.user.user_id, *ACCOUNT.values(account)


def _load_account(machine: Machine, row: list[Any]) -> None:
    user_id, *stored = row
    account = ACCOUNT.make(stored, "", machine.users[user_id], "", 0, 0)
    machine.accounts[account.account_id] = account


# Positions


def _product_rows(machine: Machine) -> Rows:
    for account in machine.accounts.values():
        for key, product in account.products.items():
            yield account.account_id, key, *PRODUCT_MARGIN.values(product)


def _load_product(machine: Machine, row: list[Any]) -> None:
    account_id, key, *stored = row
    machine.accounts[account_id].products[key] = PRODUCT_MARGIN.make(stored, 0)


def _position_rows(machine: Machine) -> Rows:
    side = POSITION_SIDE.values
    for account in machine.accounts.values():
        for position in account.positions.values():
            key = position.instrument.product_key
            assert account.products[key] is position.product, (account.account_id, key)
            yield (
                account.account_id,
                position.instrument.instrument_id,
                key,
                *side(position.long),
                *side(position.short),
            )


def _load_position(machine: Machine, row: list[Any]) -> None:
    account_id, instrument_id, key, *stored = row
    account = machine.accounts[account_id]
    position = Position(machine.instruments[instrument_id], account.products[key])
    half = len(POSITION_SIDE.stored)
    POSITION_SIDE.fill(position.long, stored[:half])
    POSITION_SIDE.fill(position.short, stored[half:])
    account.positions[instrument_id] = position


# Orders


def _order_rows(machine: Machine) -> Rows:
    for order in machine.orders.values():
        yield _order_row(order)


def _order_row(order: Order) -> Row:
    return order.account.account_id, order.instrument.instrument_id, order.side.direction, *ORDER.values(order)


def _load_order(machine: Machine, row: list[Any]) -> None:
    order = _order(machine, row)
    account = order.account
    machine.orders[order.order_id] = order
    account.orders[order.order_id] = order
    if order.alive:
        account.live[order.order_id] = order


def _order(machine: Machine, row: list[Any]) -> Order:
    account_id, instrument_id, side, *stored = row
    account = machine.accounts[account_id]
    instrument = machine.instruments[instrument_id]
    position = account.positions.get(instrument_id)
    dropped = position is None
    if position is None:  # a settlement has dropped it, empty: only a finished order still refers to it
        position = Position(instrument, ProductMargin(instrument.terms.margin_rule))
        account.positions[instrument_id] = position  # for the next such order; `drop_emptied` takes it out
    order = ORDER.make(stored, 0, NO_ORDER, account, instrument, position, position.side(side), 0, 0, 0, 0)
    assert not (dropped and order.alive), (order.order_id, instrument_id)
    return order


def drop_emptied(machine: Machine) -> None:
    """Take out the positions that finished orders alone refer to: no product of the account counts their margin."""
    for account in machine.accounts.values():
        for instrument_id, position in list(account.positions.items()):
            if account.products.get(position.instrument.product_key) is not position.product:
                del account.positions[instrument_id]


def _enter_queued(machine: Machine, instrument: Instrument, ids: list[int]) -> None:
    for order_id in ids:
        instrument.book.enter(machine.orders[order_id])


def _add_finished(machine: Machine, account: Account, ids: list[int]) -> None:
    account.finished.extend(account.orders[order_id] for order_id in ids)


def _queued(book: Book) -> Iterator[int]:
    """The orders of each side level by level, the levels as the side's dictionary has them, each oldest first."""
    for side in (book.bids, book.asks):
        for order in side.orders():
            yield order.order_id


# Conditional orders


def _conditional_rows(machine: Machine) -> Rows:
    for conditional in machine.triggers.conditionals.values():
        yield (
            conditional.account.account_id,
            conditional.instrument.instrument_id,
            *CONDITIONAL.values(conditional),
        )


def _load_conditional(machine: Machine, row: list[Any]) -> None:
    account_id, instrument_id, *stored = row
    account, instrument = machine.accounts[account_id], machine.instruments[instrument_id]
    conditional = CONDITIONAL.make(stored, 0, NO_CONDITIONAL, account, instrument, 0, 0, 0)
    machine.triggers.conditionals[conditional.conditional_id] = conditional


def _watch_rows(machine: Machine) -> Rows:
    for instrument_id, watch in machine.triggers.watches.items():
        levels = (level for queue in (watch.above, watch.below) for level in queue.levels.values())
        for block in _lists(conditional_id for level in levels for conditional_id in level):
            yield instrument_id, block


def _load_watch(machine: Machine, row: list[Any]) -> None:
    instrument_id, block = row
    watch = machine.triggers.watches.setdefault(instrument_id, Watch())
    for conditional_id in block:
        conditional = machine.triggers.conditionals[conditional_id]
        watch.side(conditional.comparison).enter(conditional)


def _halted_rows(machine: Machine) -> Rows:
    for instrument_id, queue in machine.triggers.halted.items():
        for block in _lists(queue):
            yield instrument_id, block


def _load_halted(machine: Machine, row: list[Any]) -> None:
    instrument_id, block = row
    triggers = machine.triggers
    triggers.halted.setdefault(instrument_id, {}).update(_conditionals(machine, block))


# Risk monitor


def _announced_rows(machine: Machine) -> Rows:
    for account_id, announced in machine.monitor.announced.items():
        yield account_id, *ANNOUNCED.values(announced)


def _load_announced(machine: Machine, row: list[Any]) -> None:
    account_id, *stored = row
    machine.monitor.announced[account_id] = ANNOUNCED.fill(Announced(), stored)


def _alert_rows(machine: Machine) -> Rows:
    for alert in machine.monitor.alerts:
        yield msgspec.structs.astuple(alert)


def _load_alert(machine: Machine, row: list[Any]) -> None:
    machine.monitor.alerts.append(Alert(*row))


# Forced liquidation


def _liquidating_rows(machine: Machine) -> Rows:
    for account_id, liquidation in machine.liquidations.running.items():
        yield account_id, *LIQUIDATION.values(liquidation)


def _load_liquidating(machine: Machine, row: list[Any]) -> None:
    machine.liquidations.running[row[0]] = _liquidation(machine, row)


def _liquidated_rows(machine: Machine) -> Rows:
    for liquidation in machine.liquidations.finished:
        assert not liquidation.working, liquidation.liquidation_id
        yield liquidation.account.account_id, *LIQUIDATION.values(liquidation)


def _load_liquidated(machine: Machine, row: list[Any]) -> None:
    machine.liquidations.finished.append(_liquidation(machine, row))


def _liquidation(machine: Machine, row: list[Any]) -> Liquidation:
    account_id, *stored = row
    return LIQUIDATION.make(stored, 0, machine.accounts[account_id], "", "", False, 0)


def _liquidated_order_rows(machine: Machine) -> Rows:
    for position, liquidation in enumerate(machine.liquidations.finished):
        for block in _blocks(liquidation.order_ids):
            yield position, block


def _load_liquidated_orders(machine: Machine, row: list[Any]) -> None:
    position, block = row
    machine.liquidations.finished[position].order_ids.extend(block)


def _working_rows(machine: Machine) -> Rows:
    """An order that ended may be gone from the exchange before its liquidation looks: then it is written here whole."""
    for order_id, working in machine.liquidations.orders.items():
        order = working.liquidation.working[order_id]
        known = machine.orders.get(order_id) is order
        yield working.liquidation.account.account_id, order_id, working.left, None if known else _order_row(order)


def _load_working(machine: Machine, row: list[Any]) -> None:
    account_id, order_id, left, gone = row
    liquidation = machine.liquidations.running[account_id]
    liquidation.working[order_id] = machine.orders[order_id] if gone is None else _order(machine, gone)
    machine.liquidations.orders[order_id] = Working(liquidation, left)


def _waiting_rows(machine: Machine) -> Rows:
    for instrument_id, accounts in machine.liquidations.waiting.items():
        for block in _lists(accounts):
            yield instrument_id, block


def _load_waiting(machine: Machine, row: list[Any]) -> None:
    instrument_id, block = row
    machine.liquidations.waiting.setdefault(instrument_id, {}).update(dict.fromkeys(block))


# Settlement


def _settlement_rows(machine: Machine) -> Rows:
    running = machine.settlements.running
    if running is not None:
        marked = running.marked
        yield None if marked is None else MARKED.values(marked), *RUNNING.values(running)


def _load_settlement(machine: Machine, row: list[Any]) -> None:
    marked, *stored = row
    running = RUNNING.make(stored, machine, 0)  # the instruments and accounts are those of the machine, all of them
    if marked is not None:
        running.marked = MARKED.make(marked, running.accounts[running.account_cursor], 0)
    machine.settlements.running = running


def _settled_day_rows(machine: Machine) -> Rows:
    yield from machine.settlements.results.items()


def _load_settled_day(machine: Machine, row: list[Any]) -> None:
    trading_day, fields = row
    machine.settlements.results[trading_day] = msgspec.convert(fields, DaySettled)


# Announcements


def _announcement_rows(machine: Machine) -> Rows:
    for announcement in machine.announcements.values():
        yield ANNOUNCEMENT.values(announcement)


def _load_announcement(machine: Machine, row: list[Any]) -> None:
    announcement = ANNOUNCEMENT.make(row, 0, "", "", 0, 0, "", 0, 0)
    machine.announcements[announcement.announcement_id] = announcement


SECTIONS: Final = (
    _single("state", STATE, lambda machine: machine),
    Section("risk", RiskParameters.__struct_fields__, _risk_rows, _load_risk),
    Section("users", USER.stored, _user_rows, _load_user),
    _users_by("usernames", "username", lambda machine: machine.usernames),
    _users_by("contacts", "contact", lambda machine: machine.contacts),
    _requests_of_each("user_requests", "user_id", lambda machine: machine.users, lambda user: user.requests),
    Section("calendars", ("day", "night", "holidays", *CALENDAR.stored), _calendar_rows, _load_calendar),
    Section("venues", VENUE.stored, _venue_rows, _load_venue),
    _list_of_each(
        "margin_rules",
        ("venue", "rules"),
        lambda machine: machine.venues,
        lambda venue: venue.margin_rules.items(),
        lambda _, venue, rules: venue.margin_rules.update(rules),
    ),
    Section("instruments", ("venue", "terms", *INSTRUMENT.stored), _instrument_rows, _load_instrument),
    Section("codes", ("code", "instrument_id"), _code_rows, _load_code),
    Section("accounts", ("user_id", *ACCOUNT.stored), _account_rows, _load_account),
    _list_of_each(
        "ownership",
        ("user_id", "account_ids"),
        lambda machine: machine.users,
        lambda user: user.accounts,
        lambda machine, user, ids: user.accounts.update(_accounts(machine, ids)),
    ),
    _list_of_each(
        "position_limits",
        ("account_id", "lots"),
        lambda machine: machine.accounts,
        lambda account: account.position_limits.items(),
        lambda _, account, lots: account.position_limits.update(lots),
    ),
    _list_of_each(
        "statements",
        ("account_id", "statements"),
        lambda machine: machine.accounts,
        lambda account: account.statements,
        lambda _, account, block: account.statements.extend(block),
        TEXTS_BLOCK,
    ),
    _list_of_each(
        "flows",
        ("account_id", "flows"),
        lambda machine: machine.accounts,
        lambda account: account.flows,
        lambda _, account, block: account.flows.extend(block),
        TEXTS_BLOCK,
    ),
    _requests_of_each(
        "account_requests", "account_id", lambda machine: machine.accounts, lambda account: account.requests
    ),
    _requests_of_each(
        "client_orders", "account_id", lambda machine: machine.accounts, lambda account: account.client_orders
    ),
    Section("products", ("account_id", "product", *PRODUCT_MARGIN.stored), _product_rows, _load_product),
    Section(
        "positions",
        ("account_id", "instrument_id", "product", *POSITION_SIDE.stored, *POSITION_SIDE.stored),
        _position_rows,
        _load_position,
    ),
    _list_of_each(
        "holders",
        ("instrument_id", "account_ids"),
        lambda machine: machine.instruments,
        lambda instrument: instrument.holders,
        lambda machine, instrument, ids: instrument.holders.update(_accounts(machine, ids)),
    ),
    Section("orders", ("account_id", "instrument_id", "side", *ORDER.stored), _order_rows, _load_order),
    _list_of_each(
        "finished",
        ("account_id", "order_ids"),
        lambda machine: machine.accounts,
        lambda account: (order.order_id for order in account.finished),
        _add_finished,
    ),
    _list_of_each(
        "queues",
        ("instrument_id", "order_ids"),
        lambda machine: machine.instruments,
        lambda instrument: _queued(instrument.book),
        _enter_queued,
    ),
    _single("matcher", MATCHER, lambda machine: machine.matcher),
    Section("conditionals", ("account_id", "instrument_id", *CONDITIONAL.stored), _conditional_rows, _load_conditional),
    _list_of_each(
        "owned_conditionals",
        ("account_id", "ids"),
        lambda machine: machine.accounts,
        lambda account: account.conditionals,
        lambda machine, account, ids: account.conditionals.update(_conditionals(machine, ids)),
    ),
    _single("triggers", TRIGGERS, lambda machine: machine.triggers),
    Section("watches", ("instrument_id", "conditional_ids"), _watch_rows, _load_watch),
    _list(
        "fired",
        "conditional_ids",
        lambda machine: machine.triggers.fired,
        lambda machine, ids: machine.triggers.fired.update(_conditionals(machine, ids)),
    ),
    Section("halted", ("instrument_id", "conditional_ids"), _halted_rows, _load_halted),
    _agenda("expiries", lambda machine: machine.triggers.expiries),
    _list(
        "ending",
        "instrument_ids",
        lambda machine: (instrument.instrument_id for instrument in machine.triggers.ending),
        lambda machine, ids: machine.triggers.ending.extend(machine.instruments[name] for name in ids),
    ),
    _single("monitor", MONITOR, lambda machine: machine.monitor),
    _list(
        "stirred",
        "instrument_ids",
        lambda machine: (instrument.instrument_id for instrument in machine.monitor.instruments),
        lambda machine, ids: machine.monitor.instruments.extend(machine.instruments[name] for name in ids),
    ),
    _list(
        "walked",
        "account_ids",
        lambda machine: (account.account_id for account in machine.monitor.holders),
        lambda machine, ids: machine.monitor.holders.extend(machine.accounts[name] for name in ids),
    ),
    _list(
        "touched",
        "account_ids",
        lambda machine: machine.monitor.touched,
        lambda machine, ids: machine.monitor.touched.update(_accounts(machine, ids)),
    ),
    _agenda("deferred", lambda machine: machine.monitor.deferred),
    Section("announced", ("account_id", *ANNOUNCED.stored), _announced_rows, _load_announced),
    Section("alerts", Alert.__struct_fields__, _alert_rows, _load_alert),
    _single("liquidations", LIQUIDATIONS, lambda machine: machine.liquidations),
    Section("liquidating", ("account_id", *LIQUIDATION.stored), _liquidating_rows, _load_liquidating),
    Section("liquidated", ("account_id", *LIQUIDATION.stored), _liquidated_rows, _load_liquidated),
    _list_of_each(
        "liquidating_orders",
        ("account_id", "order_ids"),
        lambda machine: machine.liquidations.running,
        lambda liquidation: liquidation.order_ids,
        lambda _, liquidation, ids: liquidation.order_ids.extend(ids),
    ),
    Section("liquidated_orders", ("position", "order_ids"), _liquidated_order_rows, _load_liquidated_orders),
    Section("working", ("account_id", "order_id", "left", "gone"), _working_rows, _load_working),
    _agenda("steps_due", lambda machine: machine.liquidations.agenda),
    _list(
        "watched",
        "orders",
        lambda machine: machine.liquidations.watched.items(),
        lambda machine, counts: machine.liquidations.watched.update(counts),
    ),
    Section("waiting", ("instrument_id", "account_ids"), _waiting_rows, _load_waiting),
    Section("settlement", ("marked", *RUNNING.stored), _settlement_rows, _load_settlement),
    _list(
        "listed",
        "account_ids",
        lambda machine: machine.settlements.listed,
        lambda machine, ids: machine.settlements.listed.extend(ids),
    ),
    Section("settled_days", ("trading_day", "result"), _settled_day_rows, _load_settled_day),
    Section("announcements", ANNOUNCEMENT.stored, _announcement_rows, _load_announcement),
)
