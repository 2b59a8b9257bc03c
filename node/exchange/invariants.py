"""What must hold after every command, executable. Each check walks the whole state and raises InvariantError.

Always on in tests; O(orders + positions), so a running node checks at its own interval.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from node.exchange import auction, clearing, sessions
from node.exchange.instruments import Instrument
from node.exchange.types import (
    NOTIONAL_UNITS_MAX,
    ConditionalState,
    InstrumentStatus,
    MarginRule,
    OrderSource,
    Phase,
    PriceType,
    TimeCondition,
)

if TYPE_CHECKING:
    from node.exchange.machine import Machine

OPEN: Final = 0


class InvariantError(AssertionError):
    """The state contradicts itself: a bug."""


def check(machine: Machine) -> None:
    """Raises InvariantError naming what does not add up."""
    check_conservation(machine)
    check_settlement(machine)
    check_reservations(machine)
    for instrument in machine.instruments.values():
        check_book(machine, instrument)
        check_resting(instrument)
        check_session(machine, instrument)
    check_positions(machine)
    check_conditionals(machine)
    check_liquidations(machine)


def _demand(condition: bool, message: str) -> None:
    if not condition:
        raise InvariantError(message)


def check_conservation(machine: Machine) -> None:
    """Money is neither made nor lost.

    At every index, also between the commands of a settlement: the balances of all accounts, the commissions of their
    open day and those of all settled days sum to what came from outside, exactly. No rounding enters: a fee is a whole
    number of units before it is charged, what a close takes from the cost of its bucket is what stays away from it, and
    the profits of the two sides of every lot cancel. A cash-settled lot leaves at the price at which both of its sides
    are valued already.
    """
    total = machine.fees_units + sum(account.balance() + account.commission for account in machine.accounts.values())
    _demand(total == machine.external_units, f"balances + fees {total} != external flow {machine.external_units}")


def check_settlement(machine: Machine) -> None:
    """While a day is settled nothing trades, and the accounts that are done have begun their new day."""
    running = machine.settlements.running
    if running is None:
        return
    for instrument in machine.instruments.values():
        _demand(instrument.phase == Phase.CLOSED, f"{instrument.instrument_id} trades while the day is settled")
    done = running.accounts[: running.account_cursor + (running.marked is not None)]
    for account in done:
        day = (account.deposit, account.withdraw, account.close_profit, account.commission)
        _demand(day == (0, 0, 0, 0), f"{account.account_id} is settled, but its day holds {day}")
        _demand(account.position_profit() == 0, f"{account.account_id} is settled, but has a position profit")
        for instrument_id, position in account.positions.items():
            _demand(
                position.long.today == position.short.today == 0,
                f"{account.account_id} {instrument_id}: settled, but has lots of today",
            )


def check_reservations(machine: Machine) -> None:
    """What accounts and positions hold frozen is the sum over their live orders, and follows from what is left."""
    margin: dict[str, int] = {}
    fee: dict[str, int] = {}
    alive: dict[str, int] = {}
    lots: dict[tuple[str, str, int], tuple[int, int, int]] = {}
    for order in machine.orders.values():
        account_id = order.account.account_id
        if not order.alive:
            held = (order.frozen_margin, order.frozen_fee, order.frozen_his, order.frozen_today)
            _demand(held == (0, 0, 0, 0), f"finished order {order.order_id} holds {held}")
            continue
        instrument = order.instrument
        if order.offset != OPEN:
            _demand(order.frozen_his + order.frozen_today == order.left, f"order {order.order_id}: frozen lots")
        expected = clearing.reservation(order)
        _demand((order.frozen_margin, order.frozen_fee) == expected, f"order {order.order_id}: reserve {expected}")
        _demand(order.level is not None, f"live order {order.order_id} is in no book")
        margin[account_id] = margin.get(account_id, 0) + order.frozen_margin
        fee[account_id] = fee.get(account_id, 0) + order.frozen_fee
        alive[account_id] = alive.get(account_id, 0) + 1
        key = (account_id, instrument.instrument_id, order.side.direction)
        opening, his, today = lots.get(key, (0, 0, 0))
        opening += order.left if order.offset == OPEN else 0
        lots[key] = (opening, his + order.frozen_his, today + order.frozen_today)
    for account in machine.accounts.values():
        name = account.account_id
        _demand(account.frozen_margin == margin.get(name, 0), f"{name}: frozen margin {account.frozen_margin}")
        _demand(account.frozen_fee == fee.get(name, 0), f"{name}: frozen fee {account.frozen_fee}")
        _demand(len(account.live) == alive.get(name, 0), f"{name}: live orders {len(account.live)}")
        held_orders = len(account.live) + len(account.finished)
        _demand(len(account.orders) == held_orders, f"{name}: {len(account.orders)} orders, {held_orders} held")
        kept = all(machine.orders.get(order_id) is order for order_id, order in account.orders.items())
        _demand(kept, f"{name}: an order that the exchange does not know")
        for instrument_id, position in account.positions.items():
            for side in (position.long, position.short):
                held_lots = (side.opening, side.frozen_his, side.frozen_today)
                expected_lots = lots.get((name, instrument_id, side.direction), (0, 0, 0))
                _demand(held_lots == expected_lots, f"{name} {instrument_id}: {held_lots} != {expected_lots}")


def check_book(machine: Machine, instrument: Instrument) -> None:
    """The book is sorted, without empty levels, and its sums are those of its orders, oldest first."""
    name, book = instrument.instrument_id, instrument.book
    for side in (book.bids, book.asks):
        _demand(side.keys == sorted(side.levels), f"{name}: keys and levels differ")
        for key, level in side.levels.items():
            _demand(key == side.direction * level.price_ticks, f"{name}: level under a wrong key")
            volume = count = 0
            order = level.head
            while order is not None:
                _demand(order.level is level and order.alive and order.left > 0, f"{name}: dead order in the book")
                _demand(machine.orders.get(order.order_id) is order, f"{name}: order {order.order_id} is unknown")
                _demand(order.price_ticks == level.price_ticks, f"{name}: order {order.order_id} at a wrong level")
                volume += order.left
                count += 1
                if order.after is None:
                    _demand(level.tail is order, f"{name}: tail")
                order = order.after
            _demand(count > 0, f"{name}: empty level {level.price_ticks}")
            _demand((volume, count) == (level.volume, level.count), f"{name}: sums of level {level.price_ticks}")


def check_resting(instrument: Instrument) -> None:
    """Only what may rest does; orders of the auction end with it; no two orders of one user cross, whatever the phase.

    The price limits are those of the day while trading is continuous; a settlement moves them before it ends orders.
    """
    continuous = instrument.phase == Phase.CONTINUOUS
    lowest: dict[str, int] = {}  # ask of each user
    for side in (instrument.book.asks, instrument.book.bids):
        for order in side.orders():
            where = f"order {order.order_id} in {instrument.instrument_id}"
            condition, price = order.time_condition, order.price_ticks
            _demand(order.price_type != PriceType.MARKET and condition != TimeCondition.IOC, f"{where} never rests")
            if continuous:
                _demand(condition != TimeCondition.GFA, f"{where} outlived its auction")
                inside = instrument.lower_limit_ticks <= price <= instrument.upper_limit_ticks
                _demand(inside, f"{where}: {price} ticks is outside the price limits")
            user_id = order.account.user.user_id
            if side.direction < 0:
                lowest[user_id] = min(price, lowest.get(user_id, price))
            elif user_id in lowest:
                _demand(price < lowest[user_id], f"{where} crosses an ask of the same user at {lowest[user_id]}")


def check_session(machine: Machine, instrument: Instrument) -> None:
    """The phase is what calendar, status and trading day demand. Only an auction crosses a book, and it says where."""
    name, book, phase = instrument.instrument_id, instrument.book, instrument.phase
    calendar = machine.calendars.get(instrument.terms.calendar)
    follows = calendar is not None and calendar.following
    in_phase = phase == sessions.effective_phase(machine, instrument)
    _demand(in_phase or follows, f"{name}: is in phase {Phase(phase).name}")
    shown = (instrument.auction_price_ticks, instrument.auction_volume, instrument.auction_surplus)
    matches = (0, 0, 0)
    if Phase.AUCTION_ORDER <= phase <= Phase.AUCTION_NO_CANCEL:
        matches = auction.clearing_price(book, instrument.terms.auction_rule, instrument.pre_settlement_ticks)
    _demand(shown == matches, f"{name}: indicates {shown}, the auction would match {matches}")
    bid, ask = book.best(1), book.best(-1)
    if bid is not None and ask is not None and bid.price_ticks >= ask.price_ticks:
        halted = phase in (Phase.CLOSED, Phase.PRE_OPEN, Phase.BREAK)  # an auction that went no further
        _demand(halted or matches != (0, 0, 0), f"{name}: crossed {bid.price_ticks} >= {ask.price_ticks}")


def check_positions(machine: Machine) -> None:
    """Longs equal shorts equal open interest; no bucket is negative; margins follow from the costs; worth is bounded.

    In the midst of a settlement the lots of an expired instrument end account by account: then neither side exceeds the
    open interest.
    """
    longs: dict[str, int] = {}
    shorts: dict[str, int] = {}
    for account in machine.accounts.values():
        products: dict[str, list[int]] = {}
        for instrument_id, position in account.positions.items():
            instrument = position.instrument
            longs[instrument_id] = longs.get(instrument_id, 0) + position.long.volume
            shorts[instrument_id] = shorts.get(instrument_id, 0) + position.short.volume
            for side in (position.long, position.short):
                where = f"{account.account_id} {instrument_id} {side.direction:+d}"
                buckets_hold = 0 <= side.frozen_today <= side.today and 0 <= side.frozen_his <= side.his
                _demand(buckets_hold and side.opening >= 0, f"{where}: lots")
                charge = instrument.margin_long if side.direction > 0 else instrument.margin_short
                margin = charge.of(side.today_cost + side.his_cost, side.volume)
                _demand(side.margin == margin, f"{where}: margin {side.margin} != {margin}")
                notional = (side.volume + side.opening) * instrument.upper_limit_ticks * instrument.tick_value
                _demand(notional <= NOTIONAL_UNITS_MAX, f"{where}: worth {notional} units at the upper limit")
                if side.volume == 0:
                    _demand(side.today_cost == side.his_cost == side.his_open_cost == 0, f"{where}: cost without lots")
            sums = products.setdefault(instrument.product_key, [0, 0])
            sums[0] += position.long.margin
            sums[1] += position.short.margin
        total = 0
        for key, (long, short) in products.items():
            rule = account.products[key].rule
            total += long + short if rule == MarginRule.SUM else max(long, short)
        _demand(account.margin == total, f"{account.account_id}: margin {account.margin} != {total}")
        _demand(account.products.keys() == products.keys(), f"{account.account_id}: products {list(account.products)}")
    settling = machine.settlements.running is not None
    for instrument in machine.instruments.values():
        long, short = longs.get(instrument.instrument_id, 0), shorts.get(instrument.instrument_id, 0)
        ending = settling and instrument.status == InstrumentStatus.EXPIRED
        _demand(
            max(long, short) <= instrument.open_interest if ending else long == short == instrument.open_interest,
            f"{instrument.instrument_id}: longs {long}, shorts {short}, open interest {instrument.open_interest}",
        )


def check_conditionals(machine: Machine) -> None:
    """Each pending conditional order waits in one place, each ended one in none, and somebody looks at its trades."""
    triggers = machine.triggers
    waiting: dict[int, str] = {}  # by id: where
    for name, watch in triggers.watches.items():
        _demand(not watch.empty, f"{name}: an empty watch")
        for side in (watch.above, watch.below):
            _demand(side.keys == sorted(side.levels), f"{name}: keys and levels of conditional orders differ")
            for key, level in side.levels.items():
                for number, conditional in level.items():
                    _demand(conditional.key == key and not conditional.reached, f"conditional {number}: its level")
                    _demand(number not in waiting, f"conditional {number} waits twice")
                    waiting[number] = name
    for queue in (triggers.fired, *triggers.halted.values()):
        for number, conditional in queue.items():
            _demand(conditional.reached and number not in waiting, f"conditional {number} is queued and waits")
            waiting[number] = conditional.instrument.instrument_id
    ended = 0
    expiries = dict(triggers.expiries.items())
    for number, conditional in triggers.conditionals.items():
        kept = conditional.account.conditionals.get(number) is conditional
        _demand(kept, f"conditional {number} is not with its account")
        if conditional.state == ConditionalState.PENDING:
            name = conditional.instrument.instrument_id
            _demand(waiting.pop(number, "") == name, f"conditional {number} is pending and waits nowhere")
            until = conditional.valid_until_ns
            _demand(expiries.pop(number, 0) == (until + 1 if until else 0), f"conditional {number}: its expiry")
        else:
            ended += 1
    _demand(not waiting and not expiries, f"ended conditional orders wait: {list(waiting)}, {list(expiries)}")
    _demand(triggers.ended_count == ended, f"{ended} ended conditional orders, counted {triggers.ended_count}")
    for name, instrument in machine.instruments.items():
        watched = name in triggers.watches or name in triggers.halted or name in machine.liquidations.watched
        _demand(instrument.watched == watched, f"{name}: watched is {instrument.watched}")


def check_liquidations(machine: Machine) -> None:
    """Orders of liquidations belong to running ones, and every account knows whether it is being liquidated."""
    liquidations = machine.liquidations
    working: dict[int, str] = {}
    watched: dict[str, int] = {}
    for account_id, liquidation in liquidations.running.items():
        account = machine.accounts[account_id]
        _demand(liquidation.account is account and account.liquidating, f"{account_id} is being liquidated")
        for number, order in liquidation.working.items():
            working[number] = account_id
            name = order.instrument.instrument_id
            watched[name] = watched.get(name, 0) + 1
    for account in machine.accounts.values():
        running = account.account_id in liquidations.running
        _demand(account.liquidating == running, f"{account.account_id}: liquidating is {account.liquidating}")
        for number, order in account.live.items():
            forced = order.source == OrderSource.LIQUIDATION
            _demand(not forced or number in working, f"order {number} belongs to no running liquidation")
    _demand(list(liquidations.orders) == sorted(working), "the orders of liquidations and their register differ")
    _demand(liquidations.watched == watched, f"orders of liquidations: {watched}, counted {liquidations.watched}")
    looked_at = [account_id for account_id, _ in liquidations.agenda.items()]
    for accounts in liquidations.waiting.values():
        looked_at += accounts
    strays = [account_id for account_id in looked_at if account_id not in liquidations.running]
    _demand(not strays, f"on the agenda, or waiting, without a liquidation that runs: {strays}")
