"""Seeded streams of commands, valid and not, for fuzz, determinism and model tests."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import get_args

import msgspec

from node.exchange import codec, commands
from node.exchange.machine import HANDLERS, Machine
from tests.exchange.driver import copper, index_future

WILD = (0, 1, -1, 2, 3, 7, 10**6, 10**9, 10**17, -(2**63), 2**63 - 1)
TEXTS = ("", "a", "ACC_00000001", "U00000001", "SHFE.cu2701", "cu2701", "沪铜", "x" * 70, "SHFE.", ".", "a.b")


def wild_value(rng: random.Random, hint: object) -> object:
    """A value of a command field's type, whatever it means."""
    if hint is str:
        return rng.choice(TEXTS)
    if hint is bool:
        return rng.random() < 0.5
    if hint is int:
        return rng.choice(WILD)
    (item,) = get_args(hint)
    count = rng.choice((0, 1, 2))
    return [tuple(wild_value(rng, part) for part in get_args(item)) or wild_value(rng, item) for _ in range(count)]


def wild_command(rng: random.Random) -> commands.Command:
    """Any command with any values that the codec can carry."""
    kind = rng.choice(tuple(HANDLERS))
    return kind(*(wild_value(rng, field.type) for field in msgspec.structs.fields(kind)))


def likely_command(rng: random.Random, machine: Machine) -> commands.Command:
    """A command that has a good chance to pass: few accounts, few prices, much closing, cancelling and modifying."""
    accounts = list(machine.accounts)
    account_id = rng.choice(accounts)
    account = machine.accounts[account_id]
    draw = rng.random()
    if draw < 0.62:
        name, middle = rng.choice((("SHFE.cu2701", 7_000), ("CFFEX.IF2701", 19_000), ("SHFE.cu2702", 7_010)))
        direction = rng.choice((1, -1))
        volume_condition = rng.choice((0, 0, 0, 0, 1, 2))
        return commands.PlaceOrder(
            account_id,
            name,
            direction,
            rng.choice((0, 0, 0, 1, 2, 3)),
            rng.randint(1, 6),
            0,
            middle + rng.randint(-4, 4),
            rng.choice((0, 0, 1)) if volume_condition != 2 else 1,
            volume_condition,
            rng.randint(1, 3) if volume_condition == 1 else 0,
            volume_condition == 0 and rng.random() < 0.1,
            rng.randint(0, 3),
            rng.choice(("", "", str(rng.randint(0, 500)))),
            rng.choice((0, 0, 0, machine.time_ns)),
        )
    if draw < 0.8 and account.orders:
        return commands.CancelOrder(account_id, rng.choice(list(account.orders)))
    if draw < 0.92 and account.orders:
        order = account.orders[rng.choice(list(account.orders))]
        price = rng.choice((0, order.price_ticks + rng.randint(-2, 2)))
        return commands.ModifyOrder(account_id, order.order_id, price, rng.choice((0, rng.randint(1, 8))))
    if draw < 0.93:
        return commands.CancelAll(account_id, rng.choice(("", "cu2701")))
    if draw < 0.97:
        return commands.Withdraw(account_id, rng.randint(1, 10**9), rng.choice(("", str(rng.randint(0, 9)))))
    return commands.Deposit(account_id, rng.randint(1, 10**9), rng.choice(("", str(rng.randint(0, 9)))))


def run(
    seed: int, commands: int, *, wild: float = 0.05, after: Callable[[Machine], None] | None = None
) -> tuple[Machine, list[tuple[int, int, list[bytes]]]]:
    """Apply a seeded stream in entries of one to five commands; returns the machine and the log."""
    rng = random.Random(seed)
    machine = Machine()
    log: list[tuple[int, int, list[bytes]]] = []

    def entry(batch: list) -> None:
        index, time_ns = machine.index + rng.randint(1, 2), machine.time_ns + rng.randint(1, 1_000)
        raws = [codec.encode_command(command) for command in batch]
        log.append((index, time_ns, raws))
        machine.apply(index, time_ns, raws)
        if after is not None:
            after(machine)

    entry([copper(), copper("SHFE.cu2702"), index_future()])
    from node.exchange.commands import Deposit, OpenAccount, RegisterUser

    for n in range(4):
        entry([RegisterUser(f"u{n}", "hash")])
        for _ in range(2):
            entry([OpenAccount(f"U{n + 1:08d}", "a", 0)])
    entry([Deposit(account_id, 3_000_000_0000) for account_id in machine.accounts])
    done = 0
    while done < commands:
        size = rng.randint(1, 5)
        entry([wild_command(rng) if rng.random() < wild else likely_command(rng, machine) for _ in range(size)])
        done += size
    return machine, log
