"""Two books behind one door: the machine's, driven through commands and events, and the model's.

A test that is given a `Venue` says what a book must do; both must do it (exchange-core keeps its two books honest in
the same way).
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from node.exchange import commands
from node.exchange.events import (
    AuctionIndicated,
    AuctionMatched,
    CommandRejected,
    Event,
    OrderAccepted,
    OrderCancelled,
    TradeExecuted,
)
from node.exchange.types import AuctionRule, InstrumentStatus, TimeCondition
from tests.exchange.driver import Driver, copper
from tests.exchange.model.auction import Candidate
from tests.exchange.model.book import Book, Ended, Entry, Outcome, Trade

INSTRUMENT = "SHFE.cu2701"
REFERENCE, LOWER, UPPER = 100, 90, 110
USERS, ACCOUNTS_EACH = 5, 2
FAR_DAY = 20991231


class Shown(NamedTuple):
    """An order as anybody may ask for it."""

    state: int
    reason: int
    price: int
    volume: int
    left: int


class Venue(Protocol):
    def place(self, entry: Entry) -> Outcome: ...
    def modify(self, order_id: int, price: int = 0, volume: int = 0) -> Outcome: ...
    def cancel(self, order_id: int) -> Outcome: ...
    def cancel_all(self, user: int, account: int) -> Outcome: ...
    def call_auction(self) -> Outcome: ...
    def open_continuous(self) -> tuple[Candidate | None, Outcome]: ...
    def indication(self) -> Candidate | None: ...
    def shown(self, order_id: int) -> Shown: ...
    def depth(self, direction: int) -> list[tuple[int, int, int]]: ...


class ModelVenue:
    """The model's book."""

    def __init__(self, rule: int = AuctionRule.NEAREST_REFERENCE) -> None:
        self.book = Book(LOWER, UPPER, REFERENCE, rule)

    def place(self, entry: Entry) -> Outcome:
        return self.book.place(entry)

    def modify(self, order_id: int, price: int = 0, volume: int = 0) -> Outcome:
        return self.book.modify(order_id, price, volume)

    def cancel(self, order_id: int) -> Outcome:
        return self.book.cancel(order_id)

    def cancel_all(self, user: int, account: int) -> Outcome:
        return self.book.cancel_all(user, account)

    def call_auction(self) -> Outcome:
        return self.book.call_auction()

    def open_continuous(self) -> tuple[Candidate | None, Outcome]:
        return self.book.uncross()

    def indication(self) -> Candidate | None:
        return self.book.indication()

    def shown(self, order_id: int) -> Shown:
        order = self.book.orders[order_id]
        return Shown(order.state, order.reason, order.price, order.volume, order.left)

    def depth(self, direction: int) -> list[tuple[int, int, int]]:
        return self.book.depth(direction)


class MachineVenue:
    """The machine's book: by default of accounts so rich that funds never refuse. Invariants after every command.

    `price_ticks` of an order that ended without resting is nobody's promise, so `shown` asks for it while it lives.
    """

    def __init__(self, rule: int = AuctionRule.NEAREST_REFERENCE, cash: int = 10**9) -> None:
        self.exchange = Driver(
            copper(
                INSTRUMENT,
                pre_settlement_ticks=REFERENCE,
                margin_long_amount=1,
                margin_short_amount=1,
                volume_max=10_000,
                auction_rule=int(rule),
            )
        )
        self.accounts: list[list[str]] = []
        for user in range(USERS):
            user_id = self.exchange.do(commands.RegisterUser(f"user{user}", "hash"))[0].user_id
            self.accounts.append([self.exchange.account(cash, user=user_id) for _ in range(ACCOUNTS_EACH)])
        self.instrument = self.exchange.machine.instruments[INSTRUMENT]
        assert (self.instrument.lower_limit_ticks, self.instrument.upper_limit_ticks) == (LOWER, UPPER)
        self.indicated: Candidate | None = None

    def place(self, entry: Entry) -> Outcome:
        command = commands.PlaceOrder(
            self.accounts[entry.user][entry.account],
            INSTRUMENT,
            entry.direction,
            entry.offset,
            entry.volume,
            entry.price_type,
            entry.price,
            entry.time_condition,
            entry.volume_condition,
            entry.min_volume,
            entry.post_only,
            entry.self_trade,
            deadline_ns=1 if entry.late else 0,
            gtd_day=FAR_DAY if entry.time_condition == TimeCondition.GTD else 0,
        )
        return self._outcome(self._do(command))

    def modify(self, order_id: int, price: int = 0, volume: int = 0) -> Outcome:
        return self._outcome(self._do(commands.ModifyOrder(self._owner(order_id), order_id, price, volume)))

    def cancel(self, order_id: int) -> Outcome:
        return self._outcome(self._do(commands.CancelOrder(self._owner(order_id), order_id)))

    def cancel_all(self, user: int, account: int) -> Outcome:
        return self._outcome(self._do(commands.CancelAll(self.accounts[user][account])))

    def call_auction(self) -> Outcome:
        return self._outcome(self._do(commands.SetInstrumentStatus(INSTRUMENT, InstrumentStatus.AUCTION)))

    def open_continuous(self) -> tuple[Candidate | None, Outcome]:
        before = self.indicated
        events = self._do(commands.SetInstrumentStatus(INSTRUMENT, InstrumentStatus.ACTIVE))
        (matched,) = (e for e in events if isinstance(e, AuctionMatched))
        told = (matched.price_ticks, matched.volume)
        assert told == ((before.price, before.matched) if before else (0, 0)), (told, before)
        self.indicated = None
        return before, self._outcome(events)

    def indication(self) -> Candidate | None:
        return self.indicated

    def shown(self, order_id: int) -> Shown:
        order = self.exchange.machine.orders[order_id]
        return Shown(order.state, order.cancel_reason, order.price_ticks, order.volume, order.left)

    def depth(self, direction: int) -> list[tuple[int, int, int]]:
        return self.instrument.book.depth(direction, 1_000)

    def _owner(self, order_id: int) -> str:
        return self.exchange.machine.orders[order_id].account.account_id

    def _do(self, command: commands.Command) -> list[Event]:
        events = self.exchange.do(command)
        for event in events:
            if isinstance(event, AuctionIndicated):
                found = Candidate(event.price_ticks, event.volume, event.surplus)
                self.indicated = found if event.price_ticks else None
        return events

    @staticmethod
    def _outcome(events: list[Event]) -> Outcome:
        outcome = Outcome()
        for event in events:
            if isinstance(event, CommandRejected):
                outcome.code = event.code
            elif isinstance(event, OrderAccepted):
                outcome.order_id = event.order_id
            elif isinstance(event, OrderCancelled):
                outcome.ended.append(Ended(event.order_id, event.volume_left, event.reason))
            elif isinstance(event, TradeExecuted):
                sides = (event.sell_order_id, event.buy_order_id)
                maker, taker = sides if event.taker_direction > 0 else sides[::-1]
                outcome.trades.append(Trade(event.price_ticks, event.volume, maker, taker))
        return outcome
