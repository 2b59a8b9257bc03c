"""The recorded day as the machine's own commands: for the test that judges the machine alone, and for the benchmark."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from node.exchange.commands import (
    CancelOrder,
    Command,
    Deposit,
    ModifyOrder,
    OpenAccount,
    PlaceOrder,
    RegisterUser,
)
from node.exchange.types import AccountType, Offset, PriceType, TimeCondition
from node.lobster import Cancel, Place, Reduce
from node.replay.cast import Cast
from node.replay.instrument import INSTRUMENT_ID, listing

DEPOSIT_UNITS: Final = 10**14  # ten thousand million: the day turns over four hundred million dollars
UNUSABLE_HASH: Final = "!"  # a password hash that no password has


def account_id(number: int) -> str:
    """The id that a machine gives to its account `number`, from 0."""
    return f"ACC_{number + 1:08d}"


def prologue(cast: Cast) -> Iterator[Command]:
    """List the instrument, register the cast and fund its accounts, on a fresh machine."""
    yield listing()
    for player in cast.players:
        yield RegisterUser(player.name, UNUSABLE_HASH)
        for number in player.accounts:
            yield OpenAccount(f"U{player.number + 1:08d}", f"{player.name}-{number}", AccountType.INDIVIDUAL)
            yield Deposit(account_id(number), DEPOSIT_UNITS)


class Script:
    """Turns steps into commands for a fresh machine, whose order ids are known in advance: 1, 2, 3, …"""

    def __init__(self, cast: Cast) -> None:
        self._cast = cast
        self._owners: list[str] = [""]  # account by order

    def command(self, step: Place | Reduce | Cancel) -> Command:
        if isinstance(step, Place):
            assert step.order == len(self._owners), "orders are numbered as they are entered"
            owner = account_id(self._cast.seat(step).account)
            self._owners.append(owner)
            return PlaceOrder(
                account_id=owner,
                instrument_id=INSTRUMENT_ID,
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
