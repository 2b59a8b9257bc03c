"""Seeded streams of commands, valid and not, for fuzz, determinism and model tests.

A stream is a market in small: few accounts, few instruments, prices that meet, log time that mostly creeps and
sometimes leaps over a session or a night. Every command of the exchange comes up, with values that have a good chance
to pass (`likely_command`) or with any that the codec can carry (`wild_command`).
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import get_args

import msgspec

from node.exchange import codec, commands, timers
from node.exchange.events import CommandRejected, Event
from node.exchange.instruments import Instrument
from node.exchange.ledger import Account
from node.exchange.machine import HANDLERS, Machine
from node.exchange.types import ConditionalState, InstrumentStatus, Phase, UserStatus
from tests.exchange.driver import MONDAY_NS, copper, index_future

MINUTE_NS = 60 * 10**9
HOUR_NS = 60 * MINUTE_NS
USERS = 4
Entries = list[tuple[int, int, list[bytes]]]  # (index, time_ns, commands)

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


def setup() -> list[commands.Command]:
    """Five instruments: two of one product, one by money, one that keeps the hours of an exchange, one that expires."""
    hours = 3_600
    day = [
        (9 * hours - 300, 9 * hours - 60, int(Phase.AUCTION_ORDER)),
        (9 * hours - 60, 9 * hours - 30, int(Phase.AUCTION_NO_CANCEL)),
        (9 * hours - 30, 9 * hours, int(Phase.AUCTION_MATCH)),
        (9 * hours, 11 * hours, int(Phase.CONTINUOUS)),
        (11 * hours, 13 * hours, int(Phase.BREAK)),
        (13 * hours, 15 * hours, int(Phase.CONTINUOUS)),
    ]
    night = [(21 * hours - 60, 21 * hours, int(Phase.AUCTION_ORDER)), (21 * hours, 25 * hours, int(Phase.CONTINUOUS))]
    return [
        commands.SetCalendar("DCE.day", "DCE", day, night, [20261127]),
        copper(),
        copper("SHFE.cu2702", position_limit=40, auction_rule=1),
        index_future(settlement_rule=2),
        copper("DCE.m2701", product="m", calendar="DCE.day", margin_rule=1),
        copper("CZCE.x2612", product="x", expiry_day=20261125, close_rate=33_333, market_volume_max=3),
    ]


# What is drawn, and how often (of 1 000 draws); whoever has nothing to draw from draws an order instead.
ODDS = {
    commands.PlaceOrder: 470, commands.CancelOrder: 110, commands.ModifyOrder: 110, commands.CancelAll: 8,
    commands.PlaceConditional: 40, commands.CancelConditional: 8, commands.AdvanceClock: 30,
    commands.Deposit: 25, commands.Withdraw: 30, commands.FreezeAccount: 8, commands.SetAccountLimits: 6,
    commands.SetPositionLimit: 6, commands.OpenAccount: 2, commands.CloseAccount: 2, commands.BindAccount: 4,
    commands.RegisterUser: 1, commands.SetPassword: 2, commands.RevokeTokens: 2, commands.SetRoles: 2,
    commands.SetUserStatus: 8, commands.SetProfile: 3, commands.RecordLogin: 5, commands.ListInstrument: 1,
    commands.ModifyInstrument: 10, commands.SetInstrumentStatus: 30, commands.DelistInstrument: 1,
    commands.SetCalendar: 2, commands.SetSession: 6, commands.SetRiskParameters: 4, commands.ForceLiquidate: 4,
    commands.SetSettlementPrices: 4, commands.SettleDay: 2, commands.PublishAnnouncement: 4,
    commands.WithdrawAnnouncement: 4,
}  # fmt: skip
KINDS, WEIGHTS = tuple(ODDS), tuple(ODDS.values())


def likely_command(rng: random.Random, machine: Machine) -> commands.Command:
    """A command that has a good chance to pass: few accounts, few prices, much closing, cancelling and modifying."""
    kind = rng.choices(KINDS, WEIGHTS)[0]
    accounts = [account for account in machine.accounts.values() if not account.closed]
    if rng.random() < 0.8:
        accounts = [account for account in accounts if can_trade(account)] or accounts
    account = rng.choice(accounts)
    if kind in ABOUT_ORDERS:
        return about_orders(rng, machine, kind, account)
    if kind in ABOUT_INSTRUMENTS:
        return about_instruments(rng, machine, kind)
    if kind in ABOUT_ACCOUNTS:
        return about_accounts(rng, machine, kind, account)
    if kind in ABOUT_USERS:
        return about_users(rng, machine, kind)
    return about_the_exchange(rng, machine, kind, account)


def can_trade(account: Account) -> bool:
    return not account.freeze and not account.user.status and account.available() > 0


def tradable(rng: random.Random, machine: Machine) -> Instrument:
    return rng.choice([i for i in machine.instruments.values() if i.status < InstrumentStatus.DELISTED])


def near(rng: random.Random, instrument: Instrument, ticks: int = 4) -> int:
    return instrument.last_ticks + rng.randint(-ticks, ticks)


def order(rng: random.Random, machine: Machine, account: Account) -> commands.PlaceOrder:
    instrument = tradable(rng, machine)
    direction, offset, volume = rng.choice((1, -1)), int(rng.random() < 0.04), rng.randint(1, 6)
    held = [
        (position.instrument, side)
        for position in account.positions.values()
        for side in (position.long, position.short)
        if side.volume
    ]
    if held and rng.random() < 0.4:
        instrument, side = rng.choice(held)
        direction, volume = -side.direction, rng.randint(1, min(6, side.volume))
        offset = rng.choice((1, 3)) if side.his > side.frozen_his else 2
    auction = Phase.AUCTION_ORDER <= instrument.phase <= Phase.AUCTION_NO_CANCEL
    price_type = 0 if auction else rng.choice((0, 0, 0, 0, 0, 1, 2, 3))
    volume_condition = 0 if auction else rng.choice((0, 0, 0, 0, 1, 2))
    times = (0, 2, 3, 4, 5) if auction else (0, 0, 0, 0, 1, 2, 3, 4) if price_type == 0 else (0, 1)
    time_condition = 1 if volume_condition == 2 else rng.choice(times)
    gtd_day = max(machine.trading_day, 20261123) + rng.randint(-1, 3) if time_condition == 3 else 0
    return commands.PlaceOrder(
        account.account_id,
        instrument.instrument_id,
        direction,
        offset,
        volume,
        price_type,
        instrument.last_ticks + direction * rng.randint(-2, 2) if price_type == 0 else 0,
        time_condition,
        volume_condition,
        1 if volume_condition == 1 else 0,
        volume_condition == price_type == 0 and time_condition in (0, 2) and rng.random() < 0.1,
        rng.randint(0, 3),
        rng.choice(("", "", str(rng.randint(0, 9_999)))),
        0 if rng.random() < 0.95 else machine.time_ns,
        gtd_day,
    )


ABOUT_ORDERS = (
    commands.PlaceOrder, commands.CancelOrder, commands.ModifyOrder, commands.CancelAll, commands.PlaceConditional,
    commands.CancelConditional,
)  # fmt: skip


def about_orders(rng: random.Random, machine: Machine, kind: type, account: Account) -> commands.Command:
    account_id = account.account_id
    mine = list(account.live.values()) if rng.random() < 0.9 else list(account.orders.values())
    if kind is commands.CancelOrder and mine:
        return commands.CancelOrder(account_id, rng.choice(mine).order_id)
    if kind is commands.ModifyOrder and mine:
        picked = rng.choice(mine)
        price = rng.choice((0, picked.price_ticks + rng.randint(-2, 2)))
        return commands.ModifyOrder(account_id, picked.order_id, price, rng.choice((0, rng.randint(1, 8))))
    if kind is commands.CancelAll:
        return commands.CancelAll(account_id, rng.choice(("", "cu2701")))
    if kind is commands.PlaceConditional:
        entered = order(rng, machine, account)
        instrument = machine.instruments[entered.instrument_id]
        return commands.PlaceConditional(
            account_id, entered.instrument_id, entered.direction, entered.offset, entered.volume, entered.price_type,
            entered.price_ticks, rng.randint(0, 2), rng.randint(0, 1), near(rng, instrument),
            rng.choice((0, 0, machine.time_ns + rng.randint(0, MINUTE_NS))),
            rng.choice(("", str(rng.randint(0, 9_999)))),
        )  # fmt: skip
    if kind is commands.CancelConditional:
        pending = [c for c in machine.triggers.conditionals.values() if c.state == ConditionalState.PENDING]
        if pending:
            picked = rng.choice(pending)
            return commands.CancelConditional(picked.account.account_id, picked.conditional_id)
        return commands.CancelConditional(account_id, rng.randint(1, 30))
    return order(rng, machine, account)


ABOUT_ACCOUNTS = (
    commands.Deposit, commands.Withdraw, commands.FreezeAccount, commands.SetAccountLimits, commands.SetPositionLimit,
    commands.CloseAccount, commands.BindAccount, commands.OpenAccount,
)  # fmt: skip


def about_accounts(rng: random.Random, machine: Machine, kind: type, account: Account) -> commands.Command:
    account_id, user_id = account.account_id, rng.choice(list(machine.users))
    request_id = rng.choice(("", str(rng.randint(0, 9))))
    if kind is commands.Deposit:
        return commands.Deposit(account_id, rng.choice((1, 10**9, 10**11)), request_id, rng.choice(("", "ICBC")))
    if kind is commands.Withdraw:
        amount = rng.choice((rng.randint(1, 10**9), max(1, account.withdrawable() // 4)))
        return commands.Withdraw(account_id, amount, request_id, rng.choice(("", "ICBC")))
    if kind is commands.FreezeAccount:
        return commands.FreezeAccount(account_id, rng.choice((0, 0, 0, 0, 0, 1, 2, 3)), rng.random() < 0.5)
    if kind is commands.SetAccountLimits:
        return commands.SetAccountLimits(
            account_id, rng.choice((0, 50)), rng.choice((0, 10**11)), rng.choice((0, 0, 0, 5))
        )
    if kind is commands.SetPositionLimit:
        return commands.SetPositionLimit(account_id, tradable(rng, machine).instrument_id, rng.choice((0, 0, 30)))
    if kind is commands.CloseAccount:
        empty = [a for a in machine.accounts.values() if not a.live and not a.balance()]
        return commands.CloseAccount(rng.choice(empty).account_id if empty else account_id)
    if kind is commands.BindAccount:
        idle = [a for a in machine.accounts.values() if not a.live]
        return commands.BindAccount(rng.choice(idle).account_id if idle else account_id, user_id)
    return commands.OpenAccount(user_id, "more", rng.randint(0, 2), request_id)


ABOUT_USERS = (
    commands.RegisterUser, commands.SetPassword, commands.RevokeTokens, commands.SetRoles, commands.SetUserStatus,
    commands.SetProfile, commands.RecordLogin,
)  # fmt: skip


def about_users(rng: random.Random, machine: Machine, kind: type) -> commands.Command:
    user_id, some = rng.choice(list(machine.users)), str(rng.randint(0, 5))
    if kind is commands.SetPassword:
        return commands.SetPassword(user_id, "another hash")
    if kind is commands.RevokeTokens:
        return commands.RevokeTokens(user_id)
    if kind is commands.SetRoles:
        return commands.SetRoles(user_id, rng.choice((1, 3, 0x11, 0x80)))
    if kind is commands.SetUserStatus:
        frozen = [user.user_id for user in machine.users.values() if user.status == UserStatus.FROZEN]
        if frozen and rng.random() < 0.7:
            return commands.SetUserStatus(rng.choice(frozen), UserStatus.ACTIVE)
        return commands.SetUserStatus(user_id, UserStatus.FROZEN if rng.random() < 0.8 else UserStatus.DELETED)
    if kind is commands.SetProfile:
        return commands.SetProfile(user_id, rng.choice(("", "1380000" + some)), f"{some}@example.com", "Wang")
    if kind is commands.RecordLogin:
        return commands.RecordLogin(user_id, rng.random() < 0.3)
    return commands.RegisterUser("new" + some, "hash", request_id=some)


ABOUT_INSTRUMENTS = (
    commands.ListInstrument, commands.ModifyInstrument, commands.SetInstrumentStatus, commands.DelistInstrument,
    commands.SetCalendar, commands.SetSession,
)  # fmt: skip


def about_instruments(rng: random.Random, machine: Machine, kind: type) -> commands.Command:
    instrument = tradable(rng, machine)
    if kind is commands.ListInstrument:
        return copper(f"SHFE.al{rng.randint(2701, 2705)}", product="al", listing_day=rng.choice((0, 20261124)))
    if kind is commands.ModifyInstrument:
        terms = {field: getattr(instrument.terms, field) for field in commands.Terms.__struct_fields__}
        changes = rng.choice(
            (
                {"margin_long_amount": rng.randint(1, 10**9)},
                {"margin_short_rate": rng.randint(0, 2 * 10**8)},
                {"open_rate": rng.randint(0, 10**5), "close_today_amount": rng.randint(0, 10**6)},
                {"limit_up_rate": rng.randint(10**6, 2 * 10**8)},
                {"position_limit": rng.choice((0, 60))},
                {"name": "another name"},
            )
        )
        return commands.ModifyInstrument(**(terms | changes))
    if kind is commands.SetInstrumentStatus:
        stopped = [i for i in machine.instruments.values() if 0 < i.status < InstrumentStatus.DELISTED]
        if stopped and rng.random() < 0.8:
            return commands.SetInstrumentStatus(rng.choice(stopped).instrument_id, InstrumentStatus.ACTIVE)
        return commands.SetInstrumentStatus(instrument.instrument_id, rng.choice((1, 2, 2, 2, 3)))
    if kind is commands.DelistInstrument:
        free = [i for i in machine.instruments.values() if i.instrument_id.startswith("SHFE.al")]
        return commands.DelistInstrument(rng.choice(free or [instrument]).instrument_id)
    if kind is commands.SetCalendar:
        return commands.SetCalendar("SHFE.day", "SHFE", [(32_400, 54_000, int(Phase.CONTINUOUS))])
    return commands.SetSession("DCE", rng.choice((0, 2, 3, 4, 5, 5, 5, 6)))


def about_the_exchange(rng: random.Random, machine: Machine, kind: type, account: Account) -> commands.Command:
    """Risk, settlement, announcements, the clock."""
    if kind is commands.SetRiskParameters:
        retry_ns, step = rng.choice((10**9, 10**10)), rng.randint(1, 5)
        return commands.SetRiskParameters(60, 80, 95, 100, 80, step, retry_ns, rng.randint(1, 20), 10**10, 10_000, 0)
    if kind is commands.ForceLiquidate:
        return commands.ForceLiquidate(account.account_id, "by order of the desk")
    if kind is commands.SetSettlementPrices:
        live = [i for i in machine.instruments.values() if i.status < InstrumentStatus.DELISTED]
        away = rng.choice((3, 30, 300))
        return commands.SetSettlementPrices(machine.trading_day, [(i.instrument_id, near(rng, i, away)) for i in live])
    if kind is commands.SettleDay:
        return commands.SettleDay(machine.trading_day)
    if kind is commands.PublishAnnouncement:
        expires_ns = rng.choice((0, machine.time_ns + rng.randint(1, HOUR_NS)))
        return commands.PublishAnnouncement("title", "text", rng.randint(0, 4), rng.randint(0, 3), expires_ns)
    if kind is commands.WithdrawAnnouncement:
        return commands.WithdrawAnnouncement(rng.choice(list(machine.announcements) or [1]))
    return commands.AdvanceClock()


def local_ns(day: int, hour: int) -> int:
    """The moment of a local hour (Asia/Shanghai) of a day YYYYMMDD."""
    moment = datetime(day // 10_000, day // 100 % 100, day % 100, hour, tzinfo=timezone(timedelta(hours=8)))
    return int(moment.timestamp()) * 10**9


class Stream:
    """A machine and the seeded commands that it is given. `log` are its entries; `told` counts its events by type."""

    def __init__(self, seed: int, *, wild: float = 0.05, after: Callable[[Machine], None] | None = None) -> None:
        self.rng = random.Random(seed)
        self.wild = wild
        self.after = after
        self.machine = Machine()
        self.log: Entries = []
        self.count = 0  # commands so far
        self.told: Counter[str] = Counter()
        self.accepted: Counter[str] = Counter()
        self._entry(setup())
        for n in range(USERS):
            self._entry([commands.RegisterUser(f"u{n}", "hash")])
            for _ in range(2):
                self._entry([commands.OpenAccount(f"U{n + 1:08d}", "a", 0)])
        for account_id, cash in zip(
            self.machine.accounts, (30_000_000, 10_000_000, 1_000_000, 200_000) * 2, strict=True
        ):
            self._entry([commands.Deposit(account_id, cash * 10_000)])
        self._entry([commands.AdvanceClock()], time_ns=MONDAY_NS)

    def run(self, count: int) -> None:
        """Apply so many commands (and a few more, to end the entry), in entries of one to five."""
        goal = self.count + count
        while self.count < goal:
            due = 0 < timers.due_ns(self.machine) <= self.machine.time_ns
            if self.rng.random() < 0.003:
                self._end_of_day()
            elif due and self.rng.random() < 0.3:
                self._entry([commands.AdvanceClock()])
            else:
                self._entry([self._draw() for _ in range(self.rng.randint(1, 5))])

    def _end_of_day(self) -> None:
        """Leap past the last session, settle the day (some of its accounts in commands of their own), open the next."""
        machine, rng = self.machine, self.rng
        evening_ns = local_ns(machine.trading_day, 16)
        self._entry([commands.AdvanceClock()], time_ns=max(evening_ns, machine.time_ns + 1))
        live = [i for i in machine.instruments.values() if i.status < InstrumentStatus.DELISTED]
        away = rng.choice((3, 30, 300))
        prices = [(i.instrument_id, max(1, near(rng, i, away))) for i in live]
        day = machine.trading_day
        self._entry([commands.SetSettlementPrices(day, prices), commands.SettleDay(day), self._draw()])
        while machine.settlements.running is not None:
            self._entry([self._draw(), commands.AdvanceClock()])
        morning_ns = local_ns(machine.trading_day, 8) + rng.choice((54, 59, 61, 200)) * MINUTE_NS
        if morning_ns > machine.time_ns and rng.random() < 0.8:
            self._entry([commands.AdvanceClock()], time_ns=morning_ns)

    def _draw(self) -> commands.Command:
        if self.rng.random() < self.wild:
            return wild_command(self.rng)
        return likely_command(self.rng, self.machine)

    def _entry(self, batch: list[commands.Command], *, time_ns: int = 0) -> list[list[Event]]:
        machine, rng = self.machine, self.rng
        leap = rng.random()
        step_ns = rng.randint(1, 10**8) if leap < 0.99 else rng.randint(1, MINUTE_NS if leap < 0.998 else 6 * HOUR_NS)
        index, time_ns = machine.index + rng.randint(1, 2), time_ns or machine.time_ns + step_ns
        raws = [codec.encode_command(command) for command in batch]
        self.log.append((index, time_ns, raws))
        self.count += len(raws)
        results = machine.apply(index, time_ns, raws)
        for command, events in zip(batch, results, strict=True):
            self.told.update(type(event).__name__ for event in events)
            self.accepted[type(command).__name__] += not isinstance(events[0], CommandRejected)
        if self.after is not None:
            self.after(machine)
        return results


def run(
    seed: int, commands: int, *, wild: float = 0.05, after: Callable[[Machine], None] | None = None
) -> tuple[Machine, Entries]:
    """Apply a seeded stream of so many commands; returns the machine and the log. `after` sees it after each entry."""
    stream = Stream(seed, wild=wild, after=after)
    stream.run(commands)
    return stream.machine, stream.log
