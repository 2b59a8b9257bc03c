"""Pre-trade checks, in the order of domain.md 3, each with one code. They change nothing."""

from __future__ import annotations

from typing import Final

import msgspec

from node.exchange import clearing, rejects
from node.exchange.commands import PlaceOrder
from node.exchange.instruments import Instrument
from node.exchange.ledger import Account
from node.exchange.matching import meets_own_order
from node.exchange.positions import PositionSide
from node.exchange.rejects import Refused
from node.exchange.types import (
    NOTIONAL_UNITS_MAX,
    ORDERS_ALIVE_PER_ACCOUNT_MAX,
    PRICE_TICKS_MAX,
    TEXT_MAX,
    VOLUME_MAX,
    InstrumentStatus,
    PriceType,
    SelfTrade,
    TimeCondition,
    VolumeCondition,
)

OPEN: Final = 0
GFD: Final = int(TimeCondition.GFD)
IOC: Final = int(TimeCondition.IOC)
LIMIT: Final = int(PriceType.LIMIT)
ANY: Final = int(VolumeCondition.ANY)
MIN: Final = int(VolumeCondition.MIN)
ALL: Final = int(VolumeCondition.ALL)
REJECT: Final = int(SelfTrade.REJECT)
ACTIVE: Final = int(InstrumentStatus.ACTIVE)


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


class Reserve(msgspec.Struct, frozen=True, gc=False):
    """What an order that passed holds: money units, and lots of each bucket if it closes."""

    margin: int
    fee: int
    his: int
    today: int


def check_format(command: PlaceOrder) -> None:
    """Raises Refused if a field is out of its range or two fields contradict, whatever the state."""
    if command.direction not in (1, -1):
        raise Refused(rejects.BAD_ORDER_PARAMETERS, f"direction {command.direction} is neither 1 nor -1")
    if not 0 <= command.offset <= 3:
        raise Refused(rejects.BAD_ORDER_PARAMETERS, f"offset {command.offset} is unknown")
    if not 1 <= command.volume <= VOLUME_MAX:
        raise Refused(rejects.VOLUME_OUTSIDE_LIMITS, f"volume {command.volume} is not in [1, {VOLUME_MAX}]")
    if command.price_type != LIMIT:
        raise Refused(rejects.UNSUPPORTED_ORDER, f"price_type {command.price_type}: only LIMIT is offered yet")
    if not 1 <= command.price_ticks <= PRICE_TICKS_MAX:
        raise Refused(rejects.PRICE_OUTSIDE_LIMITS, f"price {command.price_ticks} ticks is not positive or too large")
    if command.time_condition not in (GFD, IOC):
        raise Refused(
            rejects.UNSUPPORTED_ORDER, f"time_condition {command.time_condition}: only GFD and IOC are offered yet"
        )
    if command.volume_condition != ANY:
        if command.volume_condition == ALL:
            if command.time_condition != IOC:
                raise Refused(rejects.BAD_ORDER_PARAMETERS, "volume_condition ALL needs time_condition IOC")
        elif command.volume_condition != MIN:
            raise Refused(rejects.BAD_ORDER_PARAMETERS, f"volume_condition {command.volume_condition} is unknown")
        elif not 1 <= command.min_volume <= command.volume:
            raise Refused(
                rejects.BAD_ORDER_PARAMETERS, f"min_volume {command.min_volume} is not in [1, {command.volume}]"
            )
        if command.post_only:
            raise Refused(rejects.BAD_ORDER_PARAMETERS, "post_only contradicts a volume_condition")
    elif command.min_volume:
        raise Refused(rejects.BAD_ORDER_PARAMETERS, "min_volume needs volume_condition MIN")
    if command.post_only and command.time_condition == IOC:
        raise Refused(rejects.BAD_ORDER_PARAMETERS, "post_only contradicts time_condition IOC")
    if not 0 <= command.self_trade <= REJECT:
        raise Refused(rejects.BAD_ORDER_PARAMETERS, f"self_trade {command.self_trade} is unknown")
    if len(command.client_order_id) > TEXT_MAX:
        raise Refused(rejects.BAD_ORDER_PARAMETERS, f"client_order_id is longer than {TEXT_MAX} characters")


def check_volume(instrument: Instrument, volume: int) -> None:
    terms = instrument.terms
    if not terms.volume_min <= volume <= terms.volume_max:
        raise Refused(
            rejects.VOLUME_OUTSIDE_LIMITS,
            f"volume {volume} is not in [{terms.volume_min}, {terms.volume_max}] of {instrument.instrument_id}",
        )


def check_trading(instrument: Instrument) -> None:
    if instrument.status != ACTIVE:
        raise Refused(rejects.INSTRUMENT_NOT_TRADING, f"{instrument.instrument_id} is suspended")


def check_price(instrument: Instrument, price_ticks: int) -> None:
    if not instrument.lower_limit_ticks <= price_ticks <= instrument.upper_limit_ticks:
        raise Refused(
            rejects.PRICE_OUTSIDE_LIMITS,
            f"price {price_ticks} ticks is outside "
            f"[{instrument.lower_limit_ticks}, {instrument.upper_limit_ticks}] of {instrument.instrument_id}",
        )


def check_opening(
    parameters: RiskParameters,
    account: Account,
    instrument: Instrument,
    side: PositionSide | None,
    direction: int,
    price_ticks: int,
    volume: int,
    held: Reserve,
    held_lots: int,
) -> Reserve:
    """Limits and funds of opening `volume` lots; returns what is to be reserved.

    `held` and `held_lots` are what an order under modification reserves already and gives back (zeros otherwise). A
    sell may trade above its limit, at the best bid, and then needs the margin and the fee of that price: it is tested
    there, and reserves at its limit (a buy never trades above its limit).
    """
    terms = instrument.terms
    margin, fee = clearing.opening_reserve(instrument, direction, price_ticks, volume)
    reserve = Reserve(margin, fee, 0, 0)
    if margin + fee <= held.margin + held.fee and volume <= held_lots:
        return reserve  # it gives back: no reason to refuse
    lots = volume if side is None else side.today + side.his + side.opening - held_lots + volume
    if terms.position_limit and lots > terms.position_limit:
        raise Refused(
            rejects.POSITION_LIMIT, f"{lots} lots with this order, the limit of the side is {terms.position_limit}"
        )
    if lots * instrument.upper_limit_ticks * instrument.tick_value > NOTIONAL_UNITS_MAX:
        raise Refused(
            rejects.ORDER_AMOUNT_TOO_LARGE,
            f"{lots} lots on this side with this order: at the upper limit worth more than {NOTIONAL_UNITS_MAX} units",
        )
    if direction < 0:
        best = instrument.book.best(1)
        if best is not None and best.price_ticks > price_ticks:
            margin, fee = clearing.opening_reserve(instrument, direction, best.price_ticks, volume)
    balance = account.balance()
    if account.margin and account.margin * 100 >= balance * parameters.critical_percent:
        raise Refused(
            rejects.RISK_RATIO_TOO_HIGH,
            f"margin {account.margin} of balance {balance} units is at or above {parameters.critical_percent} %",
        )
    available = balance - account.margin - account.frozen_margin - account.frozen_fee + held.margin + held.fee
    if available < margin + fee:
        raise Refused(rejects.INSUFFICIENT_FUNDS, f"available {available} units, needed {margin} margin and {fee} fee")
    return reserve


def check_closing(
    instrument: Instrument, side: PositionSide | None, offset: int, price_ticks: int, volume: int
) -> Reserve:
    """The lots of a close must be free in the buckets that it takes; funds are not asked for."""
    split = None if side is None else clearing.closable(offset, side, instrument.splits_today, volume)
    if split is None or side is None:
        free = "0" if side is None else f"{side.his - side.frozen_his} history, {side.today - side.frozen_today} today"
        raise Refused(rejects.INSUFFICIENT_POSITION, f"volume {volume}, free lots: {free}")
    his, today = split
    return Reserve(0, clearing.closing_fee(instrument, price_ticks, his, today), his, today)


NOTHING_HELD: Final = Reserve(0, 0, 0, 0)


def pre_trade(
    parameters: RiskParameters, command: PlaceOrder, account: Account, instrument: Instrument | None
) -> Reserve:
    """Check a new order; returns what it must reserve. Raises Refused with the first check that fails."""
    check_format(command)
    if instrument is None:
        raise Refused(rejects.INSTRUMENT_NOT_FOUND, f"instrument_id {command.instrument_id!a} is not listed")
    price, volume = command.price_ticks, command.volume
    check_trading(instrument)
    check_price(instrument, price)
    check_volume(instrument, volume)
    position = account.positions.get(instrument.instrument_id)
    opening = command.offset == OPEN
    side = None
    if position is not None:
        side = position.side(command.direction if opening else -command.direction)
    reserve = NOTHING_HELD
    if not opening:
        reserve = check_closing(instrument, side, command.offset, price, volume)
    if len(account.live) >= ORDERS_ALIVE_PER_ACCOUNT_MAX:
        raise Refused(rejects.TOO_MANY_ORDERS, f"{len(account.live)} live orders on {account.account_id}")
    if opening:
        reserve = check_opening(
            parameters, account, instrument, side, command.direction, price, volume, NOTHING_HELD, 0
        )
    if command.self_trade == REJECT and meets_own_order(
        account.user, instrument.book, command.direction, price, volume
    ):
        raise Refused(rejects.SELF_TRADE, "the order would meet an order of the same user")
    return reserve
