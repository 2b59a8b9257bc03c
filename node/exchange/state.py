"""The replicated state, and how its parts are found. Whoever changes it is a handler of `machine`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from node.exchange import rejects
from node.exchange.commands import Command
from node.exchange.events import Event
from node.exchange.matching import Matcher
from node.exchange.rejects import Refused
from node.exchange.risk import RiskParameters

if TYPE_CHECKING:
    from node.exchange.announcements import Announcement
    from node.exchange.calendar import Calendar
    from node.exchange.instruments import Instrument, Venue
    from node.exchange.ledger import Account
    from node.exchange.liquidation import Liquidations
    from node.exchange.monitor import Monitor
    from node.exchange.settlement import Settlements
    from node.exchange.triggers import Triggers
    from node.exchange.users import User


class State:
    """All of the exchange. Read its public attributes freely; only `Machine.apply` changes them."""

    def __init__(
        self, triggers: Triggers, monitor: Monitor, liquidations: Liquidations, settlements: Settlements
    ) -> None:
        self.index = 0  # log index of the last applied entry
        self.time_ns = 0  # its leader-stamped time
        self.trading_day = 0  # the open one, YYYYMMDD; 0 before the first AdvanceClock
        self.users: dict[str, User] = {}
        self.usernames: dict[str, User] = {}
        self.contacts: dict[str, User] = {}  # phone numbers and e-mail addresses in use
        self.accounts: dict[str, Account] = {}
        self.venues: dict[str, Venue] = {}
        self.instruments: dict[str, Instrument] = {}
        self.codes: dict[str, Instrument | None] = {}  # bare code -> instrument; None: ambiguous
        self.calendars: dict[str, Calendar] = {}
        self.matcher = Matcher()
        self.orders = self.matcher.orders
        self.order_count = 0
        self.external_units = 0  # deposits minus withdrawals of all accounts, ever (conservation)
        self.fees_units = 0  # commissions of all settled days (conservation)
        self.risk = RiskParameters()
        self.triggers = triggers
        self.monitor = monitor
        self.liquidations = liquidations
        self.settlements = settlements
        self.announcements: dict[int, Announcement] = {}
        self.announcement_count = 0

    def resolve(self, text: str) -> Instrument | None:
        """An instrument by EXCHANGE.code, or by its bare code where that is unambiguous."""
        return self.instruments.get(text) or self.codes.get(text)

    def user(self, user_id: str) -> User:
        """Raises Refused if there is no such user."""
        user = self.users.get(user_id)
        if user is None:
            raise Refused(rejects.USER_NOT_FOUND, f"user_id {user_id!a} does not exist")
        return user

    def account(self, account_id: str) -> Account:
        """Raises Refused if there is no such account."""
        account = self.accounts.get(account_id)
        if account is None:
            raise Refused(rejects.ACCOUNT_NOT_FOUND, f"account_id {account_id!a} does not exist")
        return account

    def instrument(self, text: str) -> Instrument:
        """Raises Refused if there is no such instrument."""
        instrument = self.resolve(text)
        if instrument is None:
            raise Refused(rejects.INSTRUMENT_NOT_FOUND, f"instrument_id {text!a} is not listed")
        return instrument


# What a module of the exchange does with its commands: (state, command, its bytes, events to append to). The first
# event is the answer; Refused may be raised only before anything has changed.
Handlers = dict[type[Command], Callable[[State, Any, bytes, list[Event]], None]]
