"""The ledger recomputed from the beginning, every time somebody asks (domain.md 5, 6 and 8).

`recompute` folds the whole history, commands and their events, into positions and orders, and derives every figure from
them with fractions. Nothing is kept up to date and nothing is summed in advance. What the events say of money (fees,
close profits, statements) is not believed but recomputed, and a difference raises `Disagreement`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from fractions import Fraction

from node.exchange import commands, events
from node.exchange.queries import AccountFigures, SideFigures
from node.exchange.types import FundsKind, MarginRule, Offset, PriceType, SettlementRule

History = list[tuple[commands.Command, list[events.Event]]]
LONG, SHORT = 1, -1


class Disagreement(AssertionError):
    """An event tells another figure than the rules."""


def demand(told: object, expected: object, what: object) -> None:
    if told != expected:
        raise Disagreement(f"{what}: told {told}, by the rules {expected}")


def charge(rate: int, amount: int, terms: commands.Terms, cost_ticks: int, lots: int) -> int:
    """turnover * rate + lots * amount, rounded half to even."""
    turnover = cost_ticks * terms.tick_units * terms.volume_multiple
    return round(Fraction(rate, 10**9) * turnover) + amount * lots


@dataclass
class Side:
    """The two buckets of one side of one position. Costs in ticks * lots."""

    today: int = 0
    today_cost: int = 0
    his: int = 0
    his_open_cost: int = 0
    his_cost: int = 0

    @property
    def volume(self) -> int:
        return self.today + self.his

    def take_history(self, lots: int) -> int:
        """Close lots of the history bucket at its average cost; the last lot takes the remainder."""
        if not lots:
            return 0
        opened = round(Fraction(self.his_open_cost * lots, self.his))
        cost = round(Fraction(self.his_cost * lots, self.his))
        self.his, self.his_open_cost, self.his_cost = self.his - lots, self.his_open_cost - opened, self.his_cost - cost
        return cost

    def take_today(self, lots: int) -> int:
        if not lots:
            return 0
        cost = round(Fraction(self.today_cost * lots, self.today))
        self.today, self.today_cost = self.today - lots, self.today_cost - cost
        return cost


@dataclass
class LiveOrder:
    """An order that rests or may come to rest. `his` and `today`: which lots a close will take."""

    order_id: int
    instrument_id: str
    direction: int
    offset: int
    price: int | None  # None: the exchange chose it (BEST, FIVELEVEL)
    left: int
    his: int = 0
    today: int = 0

    @property
    def opens(self) -> bool:
        return self.offset == Offset.OPEN

    @property
    def side(self) -> int:
        """The side of the position that a fill changes."""
        return self.direction if self.opens else -self.direction


@dataclass
class AccountBook:
    """One account: its money since the last settlement, its sides and its live orders."""

    pre_balance: int = 0
    deposit: int = 0
    withdraw: int = 0
    close_profit: int = 0
    commission: int = 0
    sides: dict[tuple[str, int], Side] = field(default_factory=dict)  # (instrument_id, LONG or SHORT)
    orders: dict[int, LiveOrder] = field(default_factory=dict)

    def side(self, instrument_id: str, direction: int) -> Side:
        return self.sides.setdefault((instrument_id, direction), Side())

    def frozen(self, instrument_id: str, direction: int) -> tuple[int, int]:
        """(history, today) lots that live closing orders hold of a side."""
        closing = [
            o for o in self.orders.values() if not o.opens and o.instrument_id == instrument_id and o.side == direction
        ]
        return sum(o.his for o in closing), sum(o.today for o in closing)

    def split(self, order: LiveOrder, splits_today: bool) -> None:
        """Decide which lots a closing order takes (domain.md 5); its own are free for the decision."""
        order.his = order.today = 0
        side = self.side(order.instrument_id, order.side)
        frozen_his, frozen_today = self.frozen(order.instrument_id, order.side)
        free_his, free_today = side.his - frozen_his, side.today - frozen_today
        if order.offset == Offset.CLOSETODAY:
            order.today = order.left
        elif order.offset == Offset.CLOSEYESTERDAY or splits_today:
            order.his = order.left
        else:
            order.his = min(free_his, order.left)
            order.today = order.left - order.his
        demand(order.his <= free_his and order.today <= free_today, True, f"free lots of close {order}")


@dataclass
class InstrumentBook:
    terms: commands.Terms
    last: int
    volume: int = 0  # of the day
    turnover: int = 0
    settlement: int = 0  # set by somebody for the open day; 0: nobody did

    @property
    def splits_today(self) -> bool:
        return self.terms.instrument_id.partition(".")[0] in ("SHFE", "INE")

    @property
    def product(self) -> tuple[str, str]:
        return self.terms.instrument_id.partition(".")[0], self.terms.product

    @property
    def tick_value(self) -> int:
        return self.terms.tick_units * self.terms.volume_multiple

    def margin(self, direction: int, cost: int, lots: int) -> int:
        terms = self.terms
        if direction == LONG:
            return charge(terms.margin_long_rate, terms.margin_long_amount, terms, cost, lots)
        return charge(terms.margin_short_rate, terms.margin_short_amount, terms, cost, lots)

    def open_fee(self, price: int, lots: int) -> int:
        return charge(self.terms.open_rate, self.terms.open_amount, self.terms, price * lots, lots)

    def close_fee(self, price: int, his: int, today: int) -> int:
        """Close-today for the lots of today, close for those of history: two fees, each rounded."""
        terms = self.terms
        history = charge(terms.close_rate, terms.close_amount, terms, price * his, his)
        return history + charge(terms.close_today_rate, terms.close_today_amount, terms, price * today, today)

    def default_settlement(self) -> int | None:
        """The settlement price of the day that nobody set; None where the model does not follow the rule."""
        if self.settlement:
            return self.settlement
        if self.volume and self.terms.settlement_rule == SettlementRule.DAY_AVERAGE:
            return round(Fraction(self.turnover, self.volume))
        if self.volume and self.terms.settlement_rule == SettlementRule.LAST_PRICE:
            return self.last
        return None


class Books:
    """All accounts and instruments, as the events so far leave them."""

    def __init__(self, chosen_price: Callable[[int], int]) -> None:
        self.accounts: dict[str, AccountBook] = {}
        self.instruments: dict[str, InstrumentBook] = {}
        self.chosen_price = chosen_price

    # The fold

    def apply(self, command: commands.Command, told: Iterable[events.Event]) -> None:
        for number, event in enumerate(told):
            if isinstance(event, events.CommandRejected | events.RequestRepeated):
                return
            if number == 0:
                self.follow_command(command)
            handler = getattr(self, type(event).__name__, None)
            if handler is not None:
                handler(event)

    def follow_command(self, command: commands.Command) -> None:
        """What an accepted command says that its events do not repeat."""
        if isinstance(command, commands.ListInstrument):
            self.instruments[command.instrument_id] = InstrumentBook(command, command.pre_settlement_ticks)
        elif isinstance(command, commands.ModifyInstrument):
            self.find(command.instrument_id).terms = command
        elif isinstance(command, commands.SetSettlementPrices):
            for text, ticks in command.prices:
                self.find(text).settlement = ticks

    def find(self, text: str) -> InstrumentBook:
        """By EXCHANGE.code, or by the bare code."""
        found = self.instruments.get(text)
        if found is None:
            (found,) = (i for name, i in self.instruments.items() if name.partition(".")[2] == text)
        return found

    def AccountOpened(self, event: events.AccountOpened) -> None:
        self.accounts[event.account_id] = AccountBook()

    def FundsMoved(self, event: events.FundsMoved) -> None:
        account = self.accounts[event.account_id]
        if event.kind in (FundsKind.DEPOSIT, FundsKind.BANK_IN):
            account.deposit += event.amount_units
        else:
            account.withdraw += event.amount_units
        demand(event.balance_units, self.figures(event.account_id).balance, event)

    def OrderAccepted(self, event: events.OrderAccepted) -> None:
        price = event.price_ticks if event.price_type == PriceType.LIMIT else None
        account = self.accounts[event.account_id]
        order = LiveOrder(event.order_id, event.instrument_id, event.direction, event.offset, price, event.volume)
        if not order.opens:
            account.split(order, self.instruments[event.instrument_id].splits_today)
        account.orders[event.order_id] = order

    def OrderModified(self, event: events.OrderModified) -> None:
        account = self.accounts[event.account_id]
        order = account.orders[event.order_id]
        order.price, order.left = event.price_ticks, event.volume_left
        if not order.opens:
            account.split(order, self.instruments[event.instrument_id].splits_today)

    def OrderCancelled(self, event: events.OrderCancelled) -> None:
        order = self.accounts[event.account_id].orders.pop(event.order_id)
        demand(event.volume_left, order.left, event)

    def TradeExecuted(self, event: events.TradeExecuted) -> None:
        instrument = self.instruments[event.instrument_id]
        told = (event.buy_left, event.buy_fee_units, event.buy_close_profit_units)
        demand(told, self.fill(event.buy_account_id, event.buy_order_id, event, instrument), event)
        told = (event.sell_left, event.sell_fee_units, event.sell_close_profit_units)
        demand(told, self.fill(event.sell_account_id, event.sell_order_id, event, instrument), event)
        instrument.last = event.price_ticks
        instrument.volume += event.volume
        instrument.turnover += event.price_ticks * event.volume

    def fill(
        self, account_id: str, order_id: int, event: events.TradeExecuted, instrument: InstrumentBook
    ) -> tuple[int, int, int]:
        """One side of a trade; returns (lots left of the order, fee, close profit)."""
        account, price, lots = self.accounts[account_id], event.price_ticks, event.volume
        order = account.orders[order_id]
        side = account.side(event.instrument_id, order.side)
        profit = 0
        if order.opens:
            side.today += lots
            side.today_cost += price * lots
            fee = instrument.open_fee(price, lots)
        else:
            his = min(order.his, lots)
            today = lots - his
            order.his, order.today = order.his - his, order.today - today
            cost = side.take_history(his) + side.take_today(today)
            profit = order.side * (price * lots - cost) * instrument.tick_value
            fee = instrument.close_fee(price, his, today)
        account.commission += fee
        account.close_profit += profit
        order.left -= lots
        if not order.left:
            del account.orders[order_id]
        return order.left, fee, profit

    # Settlement

    def InstrumentSettled(self, event: events.InstrumentSettled) -> None:
        """All instruments come before the first account, so every account is settled at the settlement prices."""
        instrument = self.instruments[event.instrument_id]
        price = instrument.default_settlement()
        if price is not None:
            demand(event.settlement_ticks, price, event)
        demand((event.volume, event.turnover_ticks), (instrument.volume, instrument.turnover), event)
        instrument.last = event.settlement_ticks
        instrument.volume = instrument.turnover = instrument.settlement = 0

    def PositionExpired(self, event: events.PositionExpired) -> None:
        """Cash settlement at the settlement price: the side ends, its profit is realised (and no fee is taken)."""
        account, instrument = self.accounts[event.account_id], self.instruments[event.instrument_id]
        side = account.sides.pop((event.instrument_id, event.direction))
        profit = self.position_profit(event.instrument_id, event.direction, side)
        demand(
            (event.volume, event.settlement_ticks, event.profit_units), (side.volume, instrument.last, profit), event
        )
        account.close_profit += profit

    def AccountSettled(self, event: events.AccountSettled) -> None:
        account, figures = self.accounts[event.account_id], self.figures(event.account_id)
        told = (event.pre_balance, event.deposit, event.withdraw, event.commission, event.balance)
        by_rule = (figures.pre_balance, figures.deposit, figures.withdraw, figures.commission, figures.balance)
        demand(told, by_rule, event)
        profit = figures.close_profit + figures.position_profit
        demand(event.close_profit + event.position_profit, profit, event)
        account.pre_balance = figures.balance
        account.deposit = account.withdraw = account.close_profit = account.commission = 0
        for (instrument_id, _), side in account.sides.items():
            side.his += side.today
            side.his_open_cost += side.today_cost
            side.today = side.today_cost = 0
            side.his_cost = self.instruments[instrument_id].last * side.his
        for order in account.orders.values():
            order.his, order.today = order.his + order.today, 0
        after = self.figures(event.account_id)
        demand((event.margin, event.available), (after.margin, after.available), event)

    # The figures

    def position_profit(self, instrument_id: str, direction: int, side: Side) -> int:
        instrument = self.instruments[instrument_id]
        return direction * (instrument.last * side.volume - side.today_cost - side.his_cost) * instrument.tick_value

    def float_profit(self, instrument_id: str, direction: int, side: Side) -> int:
        instrument = self.instruments[instrument_id]
        opened = side.today_cost + side.his_open_cost
        return direction * (instrument.last * side.volume - opened) * instrument.tick_value

    def margin_of(self, account: AccountBook) -> int:
        """Per product of an exchange the larger side, or the sum of both."""
        total = 0
        for product in {instrument.product for instrument in self.instruments.values()}:
            instruments = {name: i for name, i in self.instruments.items() if i.product == product}
            sides = {LONG: 0, SHORT: 0}
            for (name, direction), side in account.sides.items():
                if name in instruments:
                    cost = side.today_cost + side.his_cost
                    sides[direction] += instruments[name].margin(direction, cost, side.volume)
            rules = {i.terms.margin_rule for i in instruments.values()}
            demand(len(rules), 1, f"margin rules of {product}")
            total += sum(sides.values()) if rules == {MarginRule.SUM} else max(sides.values())
        return total

    def reserved(self, account: AccountBook) -> tuple[int, int]:
        """(margin, fee) that live orders hold."""
        margin = fee = 0
        for order in account.orders.values():
            instrument = self.instruments[order.instrument_id]
            price = self.chosen_price(order.order_id) if order.price is None else order.price
            if order.opens:
                margin += instrument.margin(order.direction, price * order.left, order.left)
                fee += instrument.open_fee(price, order.left)
            else:
                fee += instrument.close_fee(price, order.his, order.today)
        return margin, fee

    def figures(self, account_id: str) -> AccountFigures:
        """domain.md 6, line by line."""
        account = self.accounts[account_id]
        sides = [(name, direction, side) for (name, direction), side in account.sides.items()]
        position_profit = sum(self.position_profit(*side) for side in sides)
        static = account.pre_balance + account.deposit - account.withdraw
        balance = static + account.close_profit + position_profit - account.commission
        margin = self.margin_of(account)
        frozen_margin, frozen_fee = self.reserved(account)
        available = balance - margin - frozen_margin - frozen_fee
        return AccountFigures(
            pre_balance=account.pre_balance,
            deposit=account.deposit,
            withdraw=account.withdraw,
            static_balance=static,
            close_profit=account.close_profit,
            position_profit=position_profit,
            float_profit=sum(self.float_profit(*side) for side in sides),
            commission=account.commission,
            premium=0,
            balance=balance,
            margin=margin,
            frozen_margin=frozen_margin,
            frozen_commission=frozen_fee,
            frozen_premium=0,
            available=available,
            withdraw_quota=max(0, available - max(0, account.close_profit) - max(0, position_profit)),
        )

    def side_figures(self, account_id: str, instrument_id: str, direction: int) -> SideFigures:
        account, instrument = self.accounts[account_id], self.instruments[instrument_id]
        side = account.side(instrument_id, direction)
        frozen_his, frozen_today = account.frozen(instrument_id, direction)
        cost = side.today_cost + side.his_cost
        return SideFigures(
            volume_today=side.today,
            volume_his=side.his,
            frozen_today=frozen_today,
            frozen_his=frozen_his,
            open_cost_ticks=side.today_cost + side.his_open_cost,
            position_cost_ticks=cost,
            float_profit=self.float_profit(instrument_id, direction, side),
            position_profit=self.position_profit(instrument_id, direction, side),
            margin=instrument.margin(direction, cost, side.volume),
        )


def recompute(history: History, chosen_price: Callable[[int], int]) -> Books:
    """Everything from the first command on. `chosen_price`: the price of a live order that the exchange chose."""
    books = Books(chosen_price)
    for command, told in history:
        books.apply(command, told)
    return books
