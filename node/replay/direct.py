"""The recorded day as the machine's own commands: for the test that judges the machine alone, and for the benchmark."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from node.exchange.commands import (
    CancelOrder,
    Command,
    Deposit,
    ListInstrument,
    ModifyOrder,
    OpenAccount,
    PlaceOrder,
    RegisterUser,
)
from node.exchange.types import AccountType, Offset, PriceType, TimeCondition
from node.lobster import Cancel, Place, Reduce
from node.replay.cast import Cast

INSTRUMENT_ID: Final = "SIM.GOOG"
DEPOSIT_UNITS: Final = 10**14  # ten thousand million: the day turns over four hundred million dollars
UNUSABLE_HASH: Final = "!"  # a password hash that no password has

GOOG: Final = ListInstrument(
    instrument_id=INSTRUMENT_ID,
    name="GOOG 2012-06-21",
    product="GOOG",
    volume_multiple=1,
    tick_units=100,  # a cent
    pre_settlement_ticks=57_774,
    upper_limit_ticks=115_548,
    lower_limit_ticks=1,
    volume_min=1,
    volume_max=1_000_000,
    margin_long_rate=100_000_000,  # 10 %
    margin_long_amount=0,
    margin_short_rate=100_000_000,
    margin_short_amount=0,
    open_rate=10_000,  # 0.001 %
    open_amount=0,
    close_rate=10_000,
    close_amount=0,
    close_today_rate=10_000,
    close_today_amount=0,
)


def account_id(number: int) -> str:
    """The id that a machine gives to its account `number`, from 0."""
    return f"ACC_{number + 1:08d}"


def prologue(cast: Cast, instrument: ListInstrument = GOOG) -> Iterator[Command]:
    """List the instrument, register the cast and fund its accounts, on a fresh machine."""
    yield instrument
    for player in cast.players:
        yield RegisterUser(player.name, UNUSABLE_HASH)
        for number in player.accounts:
            yield OpenAccount(f"U{player.number + 1:08d}", f"{player.name}-{number}", AccountType.INDIVIDUAL)
            yield Deposit(account_id(number), DEPOSIT_UNITS)


class Script:
    """Turns steps into commands for a fresh machine, whose order ids are known in advance: 1, 2, 3, …"""

    def __init__(self, cast: Cast, instrument_id: str = INSTRUMENT_ID) -> None:
        self._cast = cast
        self._instrument_id = instrument_id
        self._owners: list[str] = [""]  # account by order

    def command(self, step: Place | Reduce | Cancel) -> Command:
        if isinstance(step, Place):
            assert step.order == len(self._owners), "orders are numbered as they are entered"
            owner = account_id(self._cast.seat(step).account)
            self._owners.append(owner)
            return PlaceOrder(
                account_id=owner,
                instrument_id=self._instrument_id,
                direction=step.direction,
                offset=Offset.OPEN,
                volume=step.volume,
                price_type=PriceType.LIMIT,
                price_ticks=step.price_ticks,
                time_condition=TimeCondition.IOC if step.immediate else TimeCondition.GFD,
                client_order_id=f"goog-{step.order}",
            )
        owner = self._owners[step.order]
        if isinstance(step, Cancel):
            return CancelOrder(owner, step.order)
        return ModifyOrder(owner, step.order, volume=step.volume)
