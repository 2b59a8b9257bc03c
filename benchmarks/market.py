"""A market of copper futures for the benchmarks of whole exchanges: its instruments, accounts, orders and positions."""

from __future__ import annotations

from collections.abc import Sequence

from node.exchange.codec import encode_command
from node.exchange.commands import AdvanceClock, Command, Deposit, ListInstrument, OpenAccount, PlaceOrder, RegisterUser
from node.exchange.events import CommandRejected
from node.exchange.machine import Machine
from node.exchange.types import MONEY_SCALE, Direction, Offset, PriceType, TimeCondition

MONDAY_NS = 1_795_399_200 * 10**9  # 2026-11-23 10:00 in Shanghai
MIDDLE_TICKS = 7_000
LOTS = 2  # of one position
ENTRY_COMMANDS = 500


def instrument(number: int) -> ListInstrument:
    """Copper without a calendar, in one of five products; margin and fee by money."""
    return ListInstrument(
        instrument_id=f"SHFE.cu{number:04d}",
        name=f"cu{number:04d}",
        product=f"cu{number % 5}",
        volume_multiple=5,
        tick_units=10 * MONEY_SCALE,
        pre_settlement_ticks=MIDDLE_TICKS,
        limit_up_rate=10**8,
        limit_down_rate=10**8,
        volume_min=1,
        volume_max=500,
        margin_long_rate=10**8,
        margin_long_amount=0,
        margin_short_rate=10**8,
        margin_short_amount=0,
        open_rate=50_000,
        open_amount=0,
        close_rate=50_000,
        close_amount=0,
        close_today_rate=0,
        close_today_amount=0,
    )


def apply(machine: Machine, commands: Sequence[Command], time_ns: int = 0) -> None:
    """Commands that must not be refused, in entries of `ENTRY_COMMANDS`, the first not before `time_ns`."""
    for first in range(0, len(commands), ENTRY_COMMANDS):
        batch = [encode_command(command) for command in commands[first : first + ENTRY_COMMANDS]]
        for events in machine.apply(machine.index + 1, max(machine.time_ns + 1_000, time_ns), batch):
            assert not isinstance(events[0], CommandRejected), events[0]


def order(
    account_id: str, number: int, direction: int, lots: int, ticks: int, condition: TimeCondition = TimeCondition.GFD
) -> PlaceOrder:
    return PlaceOrder(
        account_id=account_id,
        instrument_id=f"SHFE.cu{number:04d}",
        direction=direction,
        offset=Offset.OPEN,
        volume=lots,
        price_type=PriceType.LIMIT,
        price_ticks=ticks,
        time_condition=condition,
    )


def opened(instruments: int, units: Sequence[int]) -> Machine:
    """A trading day with so many instruments, and an account of a user of its own per sum of money units."""
    machine = Machine()
    apply(machine, [AdvanceClock()], MONDAY_NS)
    apply(machine, [instrument(number) for number in range(instruments)])
    apply(machine, [RegisterUser(f"user{n}", "$2b$hash") for n in range(len(units))])
    apply(machine, [OpenAccount(f"U{n + 1:08d}", "benchmark", 0) for n in range(len(units))])
    apply(machine, [Deposit(name, sum_) for name, sum_ in zip(machine.accounts, units, strict=True)])
    return machine


def take_positions(machine: Machine, names: Sequence[str], positions: int) -> None:
    """Give every account `positions` positions of `LOTS`: the even ones are short, each its successor long."""
    instruments = len(machine.instruments)
    trading = []
    for n in range(0, len(names) - 1, 2):
        for k in range(positions):
            held = (n // 2 + k) % instruments
            trading.append(order(names[n], held, Direction.SELL, LOTS, MIDDLE_TICKS))
            trading.append(order(names[n + 1], held, Direction.BUY, LOTS, MIDDLE_TICKS))
    apply(machine, trading)
