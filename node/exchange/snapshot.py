"""The whole state as a stream of bytes, and back.

The stream is canonical: machines that applied the same log write the same bytes, and so does a machine that was
restored from them. It is written row by row from the live state, without a second copy of it; nothing may be applied
meanwhile (`node.snapshotting` forks). The sequence that a dictionary or a queue has is kept, because it is part of the
state: conditional orders fire in it, holders are assessed in it, the queue of a price trades in it.

Rows are arrays whose first item is a tag: the header, the rows of `SECTIONS` in their order, the trailer with the
number of rows of each section. What belongs to an object without a bound of a few kilobytes has rows of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from node.exchange import frames, invariants
from node.exchange.book import Book
from node.exchange.commands import ListInstrument, ModifyInstrument, PlaceConditional, PlaceOrder
from node.exchange.events import DaySettled
from node.exchange.frames import Row, SnapshotError
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
)
from node.exchange.liquidation import Liquidation, Working
from node.exchange.monitor import Alert, Announced
from node.exchange.orders import Order
from node.exchange.positions import Position, ProductMargin
from node.exchange.requests import Request, Requests
from node.exchange.risk import RiskParameters
from node.exchange.triggers import Watch

if TYPE_CHECKING:
    from node.exchange.machine import Machine

BLOCK: Final = 256  # items of a row that carries a part of a list: ids, short pairs
TEXTS_BLOCK: Final = 32  # the same where an item may be a kilobyte
# What the constructors of orders are given; all that they take from it is overwritten by what is stored.
NO_ORDER: Final = PlaceOrder("", "", 1, 0, 0, 0, 0)
NO_CONDITIONAL: Final = PlaceConditional("", "", 1, 0, 0, 0, 0, 0, 0, 0)
Rows = Iterator[Row]


class Section(NamedTuple):
    """The rows of one kind: what they are called, their columns, how they are read off a machine and put into one."""

    name: str
    columns: tuple[str, ...]
    rows: Callable[[Machine], Rows]
    load: Callable[[Machine, list[Any]], None]  # the columns of one row


class Summary(msgspec.Struct, frozen=True):
    """What a whole, undamaged snapshot says of itself."""

    index: int  # log index of the last applied entry
    time_ns: int
    digest: bytes  # the machine's, 32 bytes
    trading_day: int  # YYYYMMDD
    rows: int
    size_bytes: int
    seal: bytes  # the running hash over all of it, 16 bytes: equal states have equal seals


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


# The exchange itself


def _state_rows(machine: Machine) -> Rows:
    yield STATE.values(machine)


def _load_state(machine: Machine, row: list[Any]) -> None:
    STATE.fill(machine, row)


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


def _username_rows(machine: Machine) -> Rows:
    for name, user in machine.usernames.items():
        yield name, user.user_id


def _load_username(machine: Machine, row: list[Any]) -> None:
    name, user_id = row
    machine.usernames[name] = machine.users[user_id]


def _contact_rows(machine: Machine) -> Rows:
    for contact, user in machine.contacts.items():
        yield contact, user.user_id


def _load_contact(machine: Machine, row: list[Any]) -> None:
    contact, user_id = row
    machine.contacts[contact] = machine.users[user_id]


def _user_request_rows(machine: Machine) -> Rows:
    for user in machine.users.values():
        yield from _request_rows(user.user_id, user.requests)


def _load_user_request(machine: Machine, row: list[Any]) -> None:
    _load_request(machine.users[row[0]].requests, row)


def _request_rows(owner: str, requests: Requests) -> Rows:
    for request_id, request in requests._by_id.items():
        yield owner, request_id, *msgspec.structs.astuple(request)


def _load_request(requests: Requests, row: list[Any]) -> None:
    _, request_id, *fields = row
    requests._by_id[request_id] = Request(*fields)
    requests._ages.append(request_id)


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


def _margin_rule_rows(machine: Machine) -> Rows:
    for venue in machine.venues.values():
        for block in _blocks(venue.margin_rules.items()):
            yield venue.name, block


def _load_margin_rules(machine: Machine, row: list[Any]) -> None:
    name, block = row
    machine.venues[name].margin_rules.update(block)


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


def _ownership_rows(machine: Machine) -> Rows:
    for user in machine.users.values():
        for block in _blocks(user.accounts):
            yield user.user_id, block


def _load_ownership(machine: Machine, row: list[Any]) -> None:
    user_id, block = row
    machine.users[user_id].accounts.update((account_id, machine.accounts[account_id]) for account_id in block)


def _position_limit_rows(machine: Machine) -> Rows:
    for account in machine.accounts.values():
        for block in _blocks(account.position_limits.items()):
            yield account.account_id, block


def _load_position_limits(machine: Machine, row: list[Any]) -> None:
    account_id, block = row
    machine.accounts[account_id].position_limits.update(block)


def _statement_rows(machine: Machine) -> Rows:
    for account in machine.accounts.values():
        for block in _blocks(account.statements, TEXTS_BLOCK):
            yield account.account_id, block


def _load_statements(machine: Machine, row: list[Any]) -> None:
    account_id, block = row
    machine.accounts[account_id].statements.extend(block)


def _flow_rows(machine: Machine) -> Rows:
    for account in machine.accounts.values():
        for block in _blocks(account.flows, TEXTS_BLOCK):
            yield account.account_id, block


def _load_flows(machine: Machine, row: list[Any]) -> None:
    account_id, block = row
    machine.accounts[account_id].flows.extend(block)


def _account_request_rows(machine: Machine) -> Rows:
    for account in machine.accounts.values():
        yield from _request_rows(account.account_id, account.requests)


def _load_account_request(machine: Machine, row: list[Any]) -> None:
    _load_request(machine.accounts[row[0]].requests, row)


def _client_order_rows(machine: Machine) -> Rows:
    for account in machine.accounts.values():
        yield from _request_rows(account.account_id, account.client_orders)


def _load_client_order(machine: Machine, row: list[Any]) -> None:
    _load_request(machine.accounts[row[0]].client_orders, row)


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
            key = f"{position.instrument.exchange}.{position.instrument.terms.product}"
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


def _holder_rows(machine: Machine) -> Rows:
    for instrument in machine.instruments.values():
        for block in _blocks(instrument.holders):
            yield instrument.instrument_id, block


def _load_holders(machine: Machine, row: list[Any]) -> None:
    instrument_id, block = row
    machine.instruments[instrument_id].holders.update((name, machine.accounts[name]) for name in block)


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
        account.positions[instrument_id] = position  # for the next such order; `_drop_emptied` takes it out
    order = ORDER.make(stored, 0, NO_ORDER, account, instrument, position, position.side(side), 0, 0, 0, 0)
    assert not (dropped and order.alive), (order.order_id, instrument_id)
    return order


def _drop_emptied(machine: Machine) -> None:
    """Take out the positions that finished orders alone refer to: no product of the account counts their margin."""
    for account in machine.accounts.values():
        for instrument_id, position in list(account.positions.items()):
            terms = position.instrument.terms
            if account.products.get(f"{position.instrument.exchange}.{terms.product}") is not position.product:
                del account.positions[instrument_id]


def _finished_rows(machine: Machine) -> Rows:
    for account in machine.accounts.values():
        for block in _blocks(order.order_id for order in account.finished):
            yield account.account_id, block


def _load_finished(machine: Machine, row: list[Any]) -> None:
    account_id, block = row
    account = machine.accounts[account_id]
    account.finished.extend(account.orders[order_id] for order_id in block)


def _queue_rows(machine: Machine) -> Rows:
    """The orders of each side level by level, the levels as the side's dictionary has them, each oldest first."""
    for instrument in machine.instruments.values():
        for block in _blocks(_queued(instrument.book)):
            yield instrument.instrument_id, block


def _queued(book: Book) -> Iterator[int]:
    for side in (book.bids, book.asks):
        for level in side.levels.values():
            order = level.head
            while order is not None:
                yield order.order_id
                order = order.after


def _load_queue(machine: Machine, row: list[Any]) -> None:
    instrument_id, block = row
    book = machine.instruments[instrument_id].book
    for order_id in block:
        book.enter(machine.orders[order_id])


def _matcher_rows(machine: Machine) -> Rows:
    assert not machine.matcher.moved, "a snapshot is taken between commands"
    yield MATCHER.values(machine.matcher)


def _load_matcher(machine: Machine, row: list[Any]) -> None:
    MATCHER.fill(machine.matcher, row)


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


def _owned_conditional_rows(machine: Machine) -> Rows:
    for account in machine.accounts.values():
        for block in _blocks(account.conditionals):
            yield account.account_id, block


def _load_owned_conditionals(machine: Machine, row: list[Any]) -> None:
    account_id, block = row
    conditionals = machine.triggers.conditionals
    machine.accounts[account_id].conditionals.update((name, conditionals[name]) for name in block)


def _triggers_rows(machine: Machine) -> Rows:
    yield TRIGGERS.values(machine.triggers)


def _load_triggers(machine: Machine, row: list[Any]) -> None:
    TRIGGERS.fill(machine.triggers, row)


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


def _fired_rows(machine: Machine) -> Rows:
    for block in _blocks(machine.triggers.fired):
        yield (block,)


def _load_fired(machine: Machine, row: list[Any]) -> None:
    (block,) = row
    triggers = machine.triggers
    triggers.fired.update((conditional_id, triggers.conditionals[conditional_id]) for conditional_id in block)


def _halted_rows(machine: Machine) -> Rows:
    for instrument_id, queue in machine.triggers.halted.items():
        for block in _lists(queue):
            yield instrument_id, block


def _load_halted(machine: Machine, row: list[Any]) -> None:
    instrument_id, block = row
    triggers = machine.triggers
    queue = triggers.halted.setdefault(instrument_id, {})
    queue.update((conditional_id, triggers.conditionals[conditional_id]) for conditional_id in block)


def _expiry_rows(machine: Machine) -> Rows:
    for block in _blocks(machine.triggers.expiries._moments.items()):
        yield (block,)


def _load_expiries(machine: Machine, row: list[Any]) -> None:
    (block,) = row
    for conditional_id, moment_ns in block:
        machine.triggers.expiries.set(conditional_id, moment_ns)


def _ending_rows(machine: Machine) -> Rows:
    for block in _blocks(instrument.instrument_id for instrument in machine.triggers.ending):
        yield (block,)


def _load_ending(machine: Machine, row: list[Any]) -> None:
    (block,) = row
    machine.triggers.ending.extend(machine.instruments[instrument_id] for instrument_id in block)


# Risk monitor


def _monitor_rows(machine: Machine) -> Rows:
    yield MONITOR.values(machine.monitor)


def _load_monitor(machine: Machine, row: list[Any]) -> None:
    MONITOR.fill(machine.monitor, row)


def _stirred_rows(machine: Machine) -> Rows:
    for block in _blocks(instrument.instrument_id for instrument in machine.monitor.instruments):
        yield (block,)


def _load_stirred(machine: Machine, row: list[Any]) -> None:
    (block,) = row
    machine.monitor.instruments.extend(machine.instruments[instrument_id] for instrument_id in block)


def _walked_rows(machine: Machine) -> Rows:
    for block in _blocks(account.account_id for account in machine.monitor.holders):
        yield (block,)


def _load_walked(machine: Machine, row: list[Any]) -> None:
    (block,) = row
    machine.monitor.holders.extend(machine.accounts[account_id] for account_id in block)


def _touched_rows(machine: Machine) -> Rows:
    for block in _blocks(machine.monitor.touched):
        yield (block,)


def _load_touched(machine: Machine, row: list[Any]) -> None:
    (block,) = row
    machine.monitor.touched.update((account_id, machine.accounts[account_id]) for account_id in block)


def _deferred_rows(machine: Machine) -> Rows:
    for block in _blocks(machine.monitor.deferred._moments.items()):
        yield (block,)


def _load_deferred(machine: Machine, row: list[Any]) -> None:
    (block,) = row
    for account_id, moment_ns in block:
        machine.monitor.deferred.set(account_id, moment_ns)


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


def _liquidations_rows(machine: Machine) -> Rows:
    yield LIQUIDATIONS.values(machine.liquidations)


def _load_liquidations(machine: Machine, row: list[Any]) -> None:
    LIQUIDATIONS.fill(machine.liquidations, row)


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


def _liquidating_order_rows(machine: Machine) -> Rows:
    for account_id, liquidation in machine.liquidations.running.items():
        for block in _blocks(liquidation.order_ids):
            yield account_id, block


def _load_liquidating_orders(machine: Machine, row: list[Any]) -> None:
    account_id, block = row
    machine.liquidations.running[account_id].order_ids.extend(block)


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


def _steps_due_rows(machine: Machine) -> Rows:
    for block in _blocks(machine.liquidations.agenda._moments.items()):
        yield (block,)


def _load_steps_due(machine: Machine, row: list[Any]) -> None:
    (block,) = row
    for account_id, moment_ns in block:
        machine.liquidations.agenda.set(account_id, moment_ns)


def _watched_rows(machine: Machine) -> Rows:
    for block in _blocks(machine.liquidations.watched.items()):
        yield (block,)


def _load_watched(machine: Machine, row: list[Any]) -> None:
    (block,) = row
    machine.liquidations.watched.update(block)


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


def _listed_rows(machine: Machine) -> Rows:
    for block in _blocks(machine.settlements.listed):
        yield (block,)


def _load_listed(machine: Machine, row: list[Any]) -> None:
    (block,) = row
    machine.settlements.listed.extend(block)


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


REQUEST_COLUMNS: Final = ("request_id", *Request.__struct_fields__)
SECTIONS: Final = (
    Section("state", STATE.stored, _state_rows, _load_state),
    Section("risk", RiskParameters.__struct_fields__, _risk_rows, _load_risk),
    Section("users", USER.stored, _user_rows, _load_user),
    Section("usernames", ("username", "user_id"), _username_rows, _load_username),
    Section("contacts", ("contact", "user_id"), _contact_rows, _load_contact),
    Section("user_requests", ("user_id", *REQUEST_COLUMNS), _user_request_rows, _load_user_request),
    Section("calendars", ("day", "night", "holidays", *CALENDAR.stored), _calendar_rows, _load_calendar),
    Section("venues", VENUE.stored, _venue_rows, _load_venue),
    Section("margin_rules", ("venue", "rules"), _margin_rule_rows, _load_margin_rules),
    Section("instruments", ("venue", "terms", *INSTRUMENT.stored), _instrument_rows, _load_instrument),
    Section("codes", ("code", "instrument_id"), _code_rows, _load_code),
    Section("accounts", ("user_id", *ACCOUNT.stored), _account_rows, _load_account),
    Section("ownership", ("user_id", "account_ids"), _ownership_rows, _load_ownership),
    Section("position_limits", ("account_id", "lots"), _position_limit_rows, _load_position_limits),
    Section("statements", ("account_id", "statements"), _statement_rows, _load_statements),
    Section("flows", ("account_id", "flows"), _flow_rows, _load_flows),
    Section("account_requests", ("account_id", *REQUEST_COLUMNS), _account_request_rows, _load_account_request),
    Section("client_orders", ("account_id", *REQUEST_COLUMNS), _client_order_rows, _load_client_order),
    Section("products", ("account_id", "product", *PRODUCT_MARGIN.stored), _product_rows, _load_product),
    Section(
        "positions",
        ("account_id", "instrument_id", "product", *POSITION_SIDE.stored, *POSITION_SIDE.stored),
        _position_rows,
        _load_position,
    ),
    Section("holders", ("instrument_id", "account_ids"), _holder_rows, _load_holders),
    Section("orders", ("account_id", "instrument_id", "side", *ORDER.stored), _order_rows, _load_order),
    Section("finished", ("account_id", "order_ids"), _finished_rows, _load_finished),
    Section("queues", ("instrument_id", "order_ids"), _queue_rows, _load_queue),
    Section("matcher", MATCHER.stored, _matcher_rows, _load_matcher),
    Section("conditionals", ("account_id", "instrument_id", *CONDITIONAL.stored), _conditional_rows, _load_conditional),
    Section("owned_conditionals", ("account_id", "ids"), _owned_conditional_rows, _load_owned_conditionals),
    Section("triggers", TRIGGERS.stored, _triggers_rows, _load_triggers),
    Section("watches", ("instrument_id", "conditional_ids"), _watch_rows, _load_watch),
    Section("fired", ("conditional_ids",), _fired_rows, _load_fired),
    Section("halted", ("instrument_id", "conditional_ids"), _halted_rows, _load_halted),
    Section("expiries", ("moments",), _expiry_rows, _load_expiries),
    Section("ending", ("instrument_ids",), _ending_rows, _load_ending),
    Section("monitor", MONITOR.stored, _monitor_rows, _load_monitor),
    Section("stirred", ("instrument_ids",), _stirred_rows, _load_stirred),
    Section("walked", ("account_ids",), _walked_rows, _load_walked),
    Section("touched", ("account_ids",), _touched_rows, _load_touched),
    Section("deferred", ("moments",), _deferred_rows, _load_deferred),
    Section("announced", ("account_id", *ANNOUNCED.stored), _announced_rows, _load_announced),
    Section("alerts", Alert.__struct_fields__, _alert_rows, _load_alert),
    Section("liquidations", LIQUIDATIONS.stored, _liquidations_rows, _load_liquidations),
    Section("liquidating", ("account_id", *LIQUIDATION.stored), _liquidating_rows, _load_liquidating),
    Section("liquidated", ("account_id", *LIQUIDATION.stored), _liquidated_rows, _load_liquidated),
    Section("liquidating_orders", ("account_id", "order_ids"), _liquidating_order_rows, _load_liquidating_orders),
    Section("liquidated_orders", ("position", "order_ids"), _liquidated_order_rows, _load_liquidated_orders),
    Section("working", ("account_id", "order_id", "left", "gone"), _working_rows, _load_working),
    Section("steps_due", ("moments",), _steps_due_rows, _load_steps_due),
    Section("watched", ("orders",), _watched_rows, _load_watched),
    Section("waiting", ("instrument_id", "account_ids"), _waiting_rows, _load_waiting),
    Section("settlement", ("marked", *RUNNING.stored), _settlement_rows, _load_settlement),
    Section("listed", ("account_ids",), _listed_rows, _load_listed),
    Section("settled_days", ("trading_day", "result"), _settled_day_rows, _load_settled_day),
    Section("announcements", ANNOUNCEMENT.stored, _announcement_rows, _load_announcement),
)
HEADER: Final = 0
TRAILER: Final = len(SECTIONS) + 1
SCHEMA: Final = [[section.name, list(section.columns)] for section in SECTIONS]


def take(machine: Machine) -> Iterator[bytes]:
    """The machine's whole state, in chunks of at most `frames.FRAME_MAX` bytes. Nothing may be applied until the end.

    Raises:
        SnapshotError: the state holds what no snapshot can; a bug.
    """
    return frames.write(_rows(machine))


def _rows(machine: Machine) -> Rows:
    yield (HEADER, machine.index, machine.time_ns, machine.digest(), machine.trading_day, SCHEMA)
    counts = []
    for tag, section in enumerate(SECTIONS, 1):
        count = 0
        for row in section.rows(machine):
            yield (tag, *row)
            count += 1
        counts.append(count)
    yield (TRAILER, counts)


def verify(chunks: Iterable[bytes]) -> Summary:
    """Read a stream to its end without building a machine. Raises SnapshotError if it is not whole and undamaged."""
    return _read(chunks, None)


def restore(machine: Machine, chunks: Iterable[bytes]) -> Summary:
    """Put a snapshot into a fresh machine, which then holds the same state as the one that wrote it.

    Raises:
        SnapshotError: the stream is damaged, not whole, of another version, or contradicts itself. The machine is then
            to be thrown away.
    """
    assert machine.index == 0, "a snapshot is restored into a fresh machine"
    summary = _read(chunks, machine)
    _drop_emptied(machine)
    try:
        invariants.check(machine)
    except invariants.InvariantError as error:
        raise SnapshotError(f"the restored state contradicts itself: {error}") from error
    return summary


def _read(chunks: Iterable[bytes], machine: Machine | None) -> Summary:
    reader = frames.Reader(chunks)
    rows = reader.rows()
    header = _header(next(rows, None))
    counts = [0] * len(SECTIONS)
    tag = HEADER
    total = 1
    for row in rows:
        if tag == TRAILER:
            raise SnapshotError(f"{reader.where()}: more rows after the trailer")
        total += 1
        before, tag = tag, row[0]
        if type(tag) is not int or not max(before, 1) <= tag <= TRAILER:
            raise SnapshotError(f"{reader.where()}: a row with tag {tag!r} after tag {before}")
        if tag == TRAILER:
            if row[1:] != [counts]:
                raise SnapshotError(f"{reader.where()}: the trailer counts {row[1:]}, found were {counts}")
            continue
        section = SECTIONS[tag - 1]
        counts[tag - 1] += 1
        if machine is not None:
            try:
                section.load(machine, row[1:])
            except (LookupError, TypeError, ValueError, AttributeError, AssertionError) as error:
                raise SnapshotError(
                    f"{reader.where()}: row {counts[tag - 1]} of section {section.name}: "
                    f"{type(error).__name__}: {error}"
                ) from error
    if tag != TRAILER:
        raise SnapshotError(f"the stream ends at byte {reader.bytes_read}, before its trailer")
    if machine is not None:
        machine._digest = header[2]
        found = (machine.index, machine.time_ns, machine.trading_day)
        if found != (header[0], header[1], header[3]):
            raise SnapshotError(f"the header says {header[0], header[1], header[3]}, the state {found}")
    return Summary(*header, total, reader.bytes_read, reader.running)


def _header(row: list[Any] | None) -> tuple[int, int, bytes, int]:
    """(index, time_ns, digest, trading_day). Raises SnapshotError if this version cannot read what follows."""
    if row is None:
        raise SnapshotError("the stream ends before its header")
    if len(row) != 6 or row[0] != HEADER or not isinstance(row[3], bytes) or len(row[3]) != 32:
        raise SnapshotError(f"the first row is no header: {row!r:.200}")
    if row[5] != SCHEMA:
        raise SnapshotError(f"written by another version: {_difference(row[5])}")
    index, time_ns, digest, trading_day = row[1:5]
    return index, time_ns, digest, trading_day


def _difference(schema: Any) -> str:
    """The first section or column in which a foreign schema differs from ours."""
    try:
        theirs = dict(schema)
    except (TypeError, ValueError):
        return f"schema {schema!r:.200}"
    ours = {section.name: list(section.columns) for section in SECTIONS}
    for name in (*ours, *theirs):
        if name not in theirs:
            return f"it has no section {name}"
        if name not in ours:
            return f"section {name} is unknown here"
        if ours[name] != theirs[name]:
            mine, other = ours[name], theirs[name]
            missing = [column for column in mine if column not in other]
            extra = [column for column in other if column not in mine]
            return f"section {name}: missing {missing}, unknown {extra}, {len(other)} columns"
    return "the sections have another order"
