"""Pre-trade checks, in the order of domain.md 3, each with one code. They change nothing.

The order: format; instrument (known, listed, in a phase that takes the order); price; volume; rights of the account;
lots to close; order limits; position limit; risk ratio and funds; self-trade where the mode is `reject`.
"""

from __future__ import annotations

from typing import Final

import msgspec

from node.exchange import clearing, rejects
from node.exchange.calendar import is_day
from node.exchange.commands import PlaceOrder
from node.exchange.instruments import Instrument
from node.exchange.ledger import Account
from node.exchange.matching import meets_own_order
from node.exchange.orders import Order
from node.exchange.positions import Position, PositionSide
from node.exchange.rejects import Refused
from node.exchange.types import (
    NOTIONAL_UNITS_MAX,
    ORDERS_ALIVE_PER_ACCOUNT_MAX,
    PRICE_TICKS_MAX,
    TEXT_MAX,
    VOLUME_MAX,
    FreezeKind,
    InstrumentStatus,
    OrderSource,
    Phase,
    PriceType,
    SelfTrade,
    TimeCondition,
    UserStatus,
    VolumeCondition,
)

OPEN: Final = 0
GFD: Final = int(TimeCondition.GFD)
IOC: Final = int(TimeCondition.IOC)
GTC: Final = int(TimeCondition.GTC)
GTD: Final = int(TimeCondition.GTD)
GFA: Final = int(TimeCondition.GFA)
LIMIT: Final = int(PriceType.LIMIT)
MARKET: Final = int(PriceType.MARKET)
BEST: Final = int(PriceType.BEST)
FIVELEVEL: Final = int(PriceType.FIVELEVEL)
ANY: Final = int(VolumeCondition.ANY)
MIN: Final = int(VolumeCondition.MIN)
ALL: Final = int(VolumeCondition.ALL)
REJECT: Final = int(SelfTrade.REJECT)
SUSPENDED: Final = int(InstrumentStatus.SUSPENDED)
STATUS_CLOSED: Final = int(InstrumentStatus.CLOSED)
DELISTED: Final = int(InstrumentStatus.DELISTED)
EXPIRED: Final = int(InstrumentStatus.EXPIRED)
AUCTION_ORDER: Final = int(Phase.AUCTION_ORDER)
AUCTION_NO_CANCEL: Final = int(Phase.AUCTION_NO_CANCEL)
AUCTION_MATCH: Final = int(Phase.AUCTION_MATCH)
CONTINUOUS: Final = int(Phase.CONTINUOUS)
FREEZE_TRADING: Final = int(FreezeKind.TRADING)
FREEZE_FULL: Final = int(FreezeKind.FULL)
USER_ACTIVE: Final = int(UserStatus.ACTIVE)
LIQUIDATION: Final = int(OrderSource.LIQUIDATION)
LEVELS_MAX: Final = 5  # FIVELEVEL
PHASES: Final = tuple(phase.name for phase in Phase)
PRICE_TYPES: Final = tuple(kind.name for kind in PriceType)
TIME_CONDITIONS: Final = tuple(condition.name for condition in TimeCondition)


class RiskParameters(msgspec.Struct, frozen=True, gc=False):
    """The exchange's risk rules (domain.md 7). Ratios are whole percents of margin / balance."""

    elevated_percent: int = 60
    high_percent: int = 80
    critical_percent: int = 95  # from here on opening is refused
    liquidation_percent: int = 100
    release_percent: int = 80  # forced liquidation ends below it
    liquidation_step_ticks: int = 2  # each retry moves this much further towards the limit
    liquidation_retry_ns: int = 1_000_000_000  # log time between the steps of one liquidation
    liquidation_retries_max: int = 100
    alert_interval_ns: int = 60_000_000_000  # one alert per account and level within it
    orders_alive_max: int = ORDERS_ALIVE_PER_ACCOUNT_MAX
    order_turnover_max_units: int = 0  # of one order; 0: none but the bounds of `types`


def check_format(command: PlaceOrder) -> bool:
    """Raises Refused if a field is out of its range or two fields contradict, whatever the state.

    Returns whether the order is plain: a limit order, GFD, IOC or GTC, without further conditions. No other field of a
    plain order needs a look at the state.
    """
    direction = command.direction
    if (
        (direction == 1 or direction == -1)
        and 0 <= command.offset <= 3
        and 1 <= command.volume <= VOLUME_MAX
        and command.price_type == LIMIT
        and 1 <= command.price_ticks <= PRICE_TICKS_MAX
        and 0 <= command.time_condition <= GTC
        and command.volume_condition == ANY
        and not command.min_volume
        and not command.post_only
        and 0 <= command.self_trade <= REJECT
        and command.deadline_ns >= 0
        and not command.gtd_day
        and len(command.client_order_id) <= TEXT_MAX
    ):
        return True
    _check_ranges(command)
    _check_contradictions(command)
    return False


def _check_ranges(command: PlaceOrder) -> None:
    if command.direction not in (1, -1):
        raise Refused(rejects.BAD_ORDER_PARAMETERS, f"direction {command.direction} is neither 1 nor -1")
    if not 0 <= command.offset <= 3:
        raise Refused(rejects.BAD_ORDER_PARAMETERS, f"offset {command.offset} is unknown")
    if not 1 <= command.volume <= VOLUME_MAX:
        raise Refused(rejects.VOLUME_OUTSIDE_LIMITS, f"volume {command.volume} is not in [1, {VOLUME_MAX}]")
    if not LIMIT <= command.price_type <= FIVELEVEL:
        raise Refused(rejects.BAD_ORDER_PARAMETERS, f"price_type {command.price_type} is unknown")
    if command.price_type == LIMIT and not 1 <= command.price_ticks <= PRICE_TICKS_MAX:
        raise Refused(rejects.PRICE_OUTSIDE_LIMITS, f"price {command.price_ticks} ticks is not positive or too large")
    if not GFD <= command.time_condition <= GFA:
        raise Refused(rejects.BAD_ORDER_PARAMETERS, f"time_condition {command.time_condition} is unknown")
    if not ANY <= command.volume_condition <= ALL:
        raise Refused(rejects.BAD_ORDER_PARAMETERS, f"volume_condition {command.volume_condition} is unknown")
    if not 0 <= command.self_trade <= REJECT:
        raise Refused(rejects.BAD_ORDER_PARAMETERS, f"self_trade {command.self_trade} is unknown")
    if command.deadline_ns < 0:
        raise Refused(rejects.BAD_ORDER_PARAMETERS, f"deadline_ns {command.deadline_ns} is negative")
    if len(command.client_order_id) > TEXT_MAX:
        raise Refused(rejects.BAD_ORDER_PARAMETERS, f"client_order_id is longer than {TEXT_MAX} characters")


def _check_contradictions(command: PlaceOrder) -> None:
    price_type, condition = command.price_type, command.time_condition
    if price_type != LIMIT:
        name = PRICE_TYPES[price_type]
        if command.price_ticks:
            raise Refused(rejects.BAD_ORDER_PARAMETERS, f"price {command.price_ticks} ticks contradicts {name}")
        if condition == GFA or (price_type != MARKET and condition not in (GFD, IOC)):
            detail = f"time_condition {TIME_CONDITIONS[condition]} contradicts price_type {name}"
            raise Refused(rejects.BAD_ORDER_PARAMETERS, detail)
        if command.post_only:
            raise Refused(rejects.BAD_ORDER_PARAMETERS, f"post_only contradicts price_type {name}")
    if command.volume_condition == MIN:
        if not 1 <= command.min_volume <= command.volume:
            detail = f"min_volume {command.min_volume} is not in [1, {command.volume}]"
            raise Refused(rejects.BAD_ORDER_PARAMETERS, detail)
    elif command.min_volume:
        raise Refused(rejects.BAD_ORDER_PARAMETERS, f"min_volume {command.min_volume} needs volume_condition MIN")
    if command.volume_condition == ALL and condition != IOC:
        detail = f"volume_condition ALL needs time_condition IOC, not {TIME_CONDITIONS[condition]}"
        raise Refused(rejects.BAD_ORDER_PARAMETERS, detail)
    if command.post_only:
        if command.volume_condition != ANY:
            detail = f"post_only contradicts volume_condition {VolumeCondition(command.volume_condition).name}"
            raise Refused(rejects.BAD_ORDER_PARAMETERS, detail)
        if condition in (IOC, GFA):
            detail = f"post_only contradicts time_condition {TIME_CONDITIONS[condition]}"
            raise Refused(rejects.BAD_ORDER_PARAMETERS, detail)
    if condition == GTD:
        if not is_day(command.gtd_day):
            raise Refused(rejects.BAD_ORDER_PARAMETERS, f"gtd_day {command.gtd_day} is no day YYYYMMDD")
    elif command.gtd_day:
        detail = f"gtd_day {command.gtd_day} needs time_condition GTD, not {TIME_CONDITIONS[condition]}"
        raise Refused(rejects.BAD_ORDER_PARAMETERS, detail)


def check_entry(instrument: Instrument, command: PlaceOrder, trading_day: int) -> None:
    """Whether an instrument that is not trading continuously takes this order now."""
    phase = instrument.phase
    if phase not in (AUCTION_ORDER, AUCTION_NO_CANCEL):
        refuse_closed(instrument, trading_day)
    if command.price_type != LIMIT:
        raise Refused(rejects.NOT_IN_AUCTION, f"price_type {PRICE_TYPES[command.price_type]} in a call auction")
    if command.time_condition == IOC:
        raise Refused(rejects.NOT_IN_AUCTION, "time_condition IOC in a call auction")
    if command.volume_condition != ANY:
        detail = f"volume_condition {VolumeCondition(command.volume_condition).name} in a call auction"
        raise Refused(rejects.NOT_IN_AUCTION, detail)
    if command.post_only:
        raise Refused(rejects.NOT_IN_AUCTION, "post_only in a call auction")


def check_change(instrument: Instrument, trading_day: int) -> None:
    """Whether an instrument that is not trading continuously lets orders be modified now."""
    if instrument.phase == AUCTION_NO_CANCEL:
        detail = f"{instrument.instrument_id}: no order can be modified or cancelled before the auction has matched"
        raise Refused(rejects.CANCEL_NOT_ALLOWED, detail)
    if instrument.phase != AUCTION_ORDER:
        refuse_closed(instrument, trading_day)


def refuse_closed(instrument: Instrument, trading_day: int) -> None:
    """Raises the reason why no orders are accepted: what the instrument is, else the phase of its session."""
    name, status, terms = instrument.instrument_id, instrument.status, instrument.terms
    if status in (DELISTED, EXPIRED):
        raise Refused(rejects.INSTRUMENT_NOT_LISTED, f"{name} is {'delisted' if status == DELISTED else 'expired'}")
    if terms.listing_day > trading_day:
        raise Refused(rejects.INSTRUMENT_NOT_LISTED, f"{name} is listed from {terms.listing_day}")
    if status in (SUSPENDED, STATUS_CLOSED):
        what = "suspended" if status == SUSPENDED else "closed"
        raise Refused(rejects.INSTRUMENT_NOT_TRADING, f"{name} is {what}")
    raise Refused(rejects.SESSION_CLOSED, f"{name}: the session is in {PHASES[instrument.phase]}")


def takes_cancels(instrument: Instrument) -> bool:
    """Not from the last minute of a call auction until it has matched; always otherwise: a cancel reduces risk."""
    return instrument.phase not in (AUCTION_NO_CANCEL, AUCTION_MATCH)


def check_price(instrument: Instrument, price_ticks: int) -> None:
    if not instrument.lower_limit_ticks <= price_ticks <= instrument.upper_limit_ticks:
        raise Refused(
            rejects.PRICE_OUTSIDE_LIMITS,
            f"price {price_ticks} ticks is outside "
            f"[{instrument.lower_limit_ticks}, {instrument.upper_limit_ticks}] of {instrument.instrument_id}",
        )


def effective_price(instrument: Instrument, direction: int, price_type: int) -> int:
    """The limit, in ticks, of an order that names none; 0 if it takes it from an opposite side that is empty."""
    if price_type == MARKET:
        return instrument.upper_limit_ticks if direction > 0 else instrument.lower_limit_ticks
    keys = instrument.book.opposite(direction).keys
    if not keys:
        return 0
    if price_type == BEST:
        return -direction * keys[-1]
    return -direction * keys[-min(LEVELS_MAX, len(keys))]


def check_volume(instrument: Instrument, account: Account, volume: int, price_type: int, source: int) -> None:
    """The lot limits of the instrument for this price type, and the account's own.

    A forced close may be smaller than the least volume: what is left of a position must be closable.
    """
    terms = instrument.terms
    least, most = terms.volume_min, terms.volume_max
    if price_type != LIMIT and terms.market_volume_max:
        most = terms.market_volume_max
    if source == LIQUIDATION:
        least = 1
    if not least <= volume <= most:
        kind = PRICE_TYPES[price_type]
        detail = f"volume {volume} is not in [{least}, {most}] of {instrument.instrument_id} for {kind} orders"
        raise Refused(rejects.VOLUME_OUTSIDE_LIMITS, detail)
    if account.order_volume_max and volume > account.order_volume_max and source != LIQUIDATION:
        detail = f"volume {volume} is above the {account.order_volume_max} lots per order of {account.account_id}"
        raise Refused(rejects.VOLUME_OUTSIDE_LIMITS, detail)


def check_rights(account: Account, closing: bool) -> None:
    """Whether an account that is frozen, closed or of a user who is, may enter this order all the same.

    Only called where one of them holds. Modifying counts as opening: it is not needed to get out.
    """
    if account.closed:
        raise Refused(rejects.ACCOUNT_CLOSED, f"account_id {account.account_id} is closed")
    if account.freeze in (FREEZE_TRADING, FREEZE_FULL) and not (closing and account.allow_close):
        held = "opening and modifying" if account.allow_close else "trading"
        detail = f"account_id {account.account_id} is frozen for {held}"
        raise Refused(rejects.ACCOUNT_FROZEN, f"{detail}: {account.freeze_reason}" if account.freeze_reason else detail)
    if account.user.status != USER_ACTIVE and not closing:
        raise Refused(rejects.USER_FROZEN, f"user_id {account.user.user_id} is frozen or deleted: closing only")


def check_turnover(
    parameters: RiskParameters, account: Account, instrument: Instrument, price_ticks: int, volume: int
) -> None:
    """The turnover of one order, at the worst price it may trade at."""
    most = account.order_turnover_max or parameters.order_turnover_max_units
    if most and price_ticks * volume * instrument.tick_value > most:
        turnover = price_ticks * volume * instrument.tick_value
        detail = f"turnover {turnover} units ({volume} lots at {price_ticks} ticks), the limit is {most}"
        raise Refused(rejects.ORDER_AMOUNT_TOO_LARGE, detail)


def check_opening(
    parameters: RiskParameters,
    account: Account,
    instrument: Instrument,
    side: PositionSide | None,
    direction: int,
    price_ticks: int,
    volume: int,
    held: int,
    held_lots: int,
) -> tuple[int, int]:
    """Limits and funds of opening `volume` lots; returns the (margin, fee) to be reserved.

    `held` (money units) and `held_lots` are what an order under modification reserves already and gives back (zeros
    otherwise). A sell may trade above its limit, at the best bid, and then needs the margin and the fee of that price:
    it is tested there, and reserves at its limit (a buy never trades above its limit).
    """
    margin, fee = clearing.opening_reserve(instrument, direction, price_ticks, volume)
    if volume <= held_lots and margin + fee <= held:
        return margin, fee  # it gives back: no reason to refuse
    lots = volume if side is None else side.today + side.his + side.opening - held_lots + volume
    most = instrument.terms.position_limit
    if account.position_limits:
        most = account.position_limits.get(instrument.instrument_id) or most
    if most and lots > most:
        raise Refused(rejects.POSITION_LIMIT, f"{lots} lots with this order, the limit of the side is {most}")
    if lots * instrument.upper_limit_ticks * instrument.tick_value > NOTIONAL_UNITS_MAX:
        raise Refused(
            rejects.ORDER_AMOUNT_TOO_LARGE,
            f"{lots} lots on this side with this order: at the upper limit worth more than {NOTIONAL_UNITS_MAX} units",
        )
    needed = margin + fee
    if direction < 0:
        best = instrument.book.best(1)
        if best is not None and best.price_ticks > price_ticks:
            margin_there, fee_there = clearing.opening_reserve(instrument, direction, best.price_ticks, volume)
            needed = margin_there + fee_there
    if account.liquidating:
        raise Refused(rejects.RISK_RATIO_TOO_HIGH, f"{account.account_id} is being liquidated: closing only")
    balance = account.balance()
    if account.margin and account.margin * 100 >= balance * parameters.critical_percent:
        raise Refused(
            rejects.RISK_RATIO_TOO_HIGH,
            f"margin {account.margin} of balance {balance} units is at or above {parameters.critical_percent} %",
        )
    available = balance - account.margin - account.frozen_margin - account.frozen_fee + held
    if available < needed:
        raise Refused(rejects.INSUFFICIENT_FUNDS, f"available {available} units, needed {needed} for margin and fee")
    return margin, fee


def check_closing(instrument: Instrument, side: PositionSide | None, offset: int, volume: int) -> tuple[int, int]:
    """The lots of a close must be free in the buckets that it takes: (history, today). Funds are not asked for."""
    split = None if side is None else clearing.closable(offset, side, instrument.splits_today, volume)
    if split is None:
        free = "0" if side is None else f"{side.his - side.frozen_his} history, {side.today - side.frozen_today} today"
        raise Refused(rejects.INSUFFICIENT_POSITION, f"volume {volume}, free lots: {free}")
    return split


def pre_trade(
    parameters: RiskParameters,
    trading_day: int,
    command: PlaceOrder,
    account: Account,
    instrument: Instrument | None,
    position: Position | None,
    source: int,
) -> tuple[int, int, int, int, int]:
    """Check a new order. Raises Refused with the first check that fails.

    Returns its limit price in ticks, the margin and the fee to reserve in money units, and the lots that it closes of
    history and of today. An order of a forced liquidation is not asked for the account's rights and order limits.
    """
    plain = check_format(command)
    if not plain and command.gtd_day and command.gtd_day < trading_day:
        detail = f"gtd_day {command.gtd_day} is before the trading day {trading_day}"
        raise Refused(rejects.BAD_ORDER_PARAMETERS, detail)
    if instrument is None:
        raise Refused(rejects.INSTRUMENT_NOT_FOUND, f"instrument_id {command.instrument_id!a} is not listed")
    price, volume, direction = command.price_ticks, command.volume, command.direction
    if instrument.phase != CONTINUOUS:
        check_entry(instrument, command, trading_day)
    elif not plain and command.time_condition == GFA:
        raise Refused(rejects.AUCTION_ONLY, f"time_condition GFA outside a call auction of {instrument.instrument_id}")
    if plain or command.price_type == LIMIT:
        if not instrument.lower_limit_ticks <= price <= instrument.upper_limit_ticks:
            check_price(instrument, price)
    else:
        price = effective_price(instrument, direction, command.price_type)
    terms = instrument.terms
    if not (plain and terms.volume_min <= volume <= terms.volume_max) or account.order_volume_max:
        check_volume(instrument, account, volume, command.price_type, source)
    opening = command.offset == OPEN
    if source != LIQUIDATION and (account.freeze or account.closed or account.user.status):
        check_rights(account, not opening)
    side = None
    if position is not None:
        side = position.long if (direction > 0) == opening else position.short
    his = today = 0
    if not opening:
        his, today = check_closing(instrument, side, command.offset, volume)
    if source != LIQUIDATION:
        alive_max = account.orders_alive_max or parameters.orders_alive_max
        if len(account.live) >= alive_max:
            raise Refused(rejects.TOO_MANY_ORDERS, f"{len(account.live)} live orders on {account.account_id}")
        if account.order_turnover_max or parameters.order_turnover_max_units:
            check_turnover(parameters, account, instrument, price, volume)
    if opening:
        margin, fee = check_opening(parameters, account, instrument, side, direction, price, volume, 0, 0)
    else:
        margin, fee = 0, clearing.closing_fee(instrument, price, his, today)
    if command.self_trade == REJECT and meets_own_order(account.user, instrument, direction, price, volume):
        raise Refused(rejects.SELF_TRADE, "the order would meet an order of the same user")
    return price, margin, fee, his, today


def pre_change(
    parameters: RiskParameters, trading_day: int, order: Order, price_ticks: int, volume: int
) -> tuple[int, int, int, int]:
    """Check a modification of a live order to this price and total volume, in the order of `pre_trade`.

    Returns what it will reserve: margin and fee in money units, lots of history and of today. What it gives back, or
    leaves as it is, is no reason to refuse. Raises Refused with the first check that fails.
    """
    account, instrument, side, direction = order.account, order.instrument, order.side, order.direction
    if instrument.phase != CONTINUOUS:
        check_change(instrument, trading_day)
    check_price(instrument, price_ticks)
    if volume > order.volume:
        check_volume(instrument, account, volume, LIMIT, order.source)
    elif volume < instrument.terms.volume_min and volume != order.volume:
        detail = f"volume {volume} is below the {instrument.terms.volume_min} lots of {instrument.instrument_id}"
        raise Refused(rejects.VOLUME_OUTSIDE_LIMITS, detail)
    left = volume - (order.volume - order.left)
    if left <= 0:
        detail = f"volume {volume} is not above the {order.volume - order.left} filled lots"
        raise Refused(rejects.ORDER_NOT_MODIFIABLE, detail)
    if account.freeze or account.closed or account.user.status:
        check_rights(account, False)
    opening = order.offset == OPEN
    his, today = order.frozen_his, order.frozen_today
    if not opening:
        clearing.freeze_lots(order, 0, 0)  # its own lots are free for the check, and taken again whatever it says
        held_his, held_today = his, today
        try:
            his, today = check_closing(instrument, side, order.offset, left)
        finally:
            clearing.freeze_lots(order, held_his, held_today)
    if price_ticks * volume > order.price_ticks * order.volume:
        check_turnover(parameters, account, instrument, price_ticks, volume)
    if opening:
        held = order.frozen_margin + order.frozen_fee
        margin, fee = check_opening(
            parameters, account, instrument, side, direction, price_ticks, left, held, order.left
        )
    else:
        margin, fee = 0, clearing.closing_fee(instrument, price_ticks, his, today)
    return margin, fee, his, today
