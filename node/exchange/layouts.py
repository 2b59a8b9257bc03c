"""How a snapshot keeps each class of the state: one table per class, which names every attribute.

* stored: plain values (integers of any size, text, bytes, None, lists of these), written as they are, in this order;
* linked: references to other objects and containers, written as keys by `sections`;
* derived: rebuilt from the rest when a snapshot is restored.

Whoever gives a class of the state a new attribute names it here; tests/exchange/test_snapshot.py walks the classes and
live machines, and fails on a class or an attribute that no table names.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import Any, Final, Generic, TypeVar

from node.exchange.agenda import Agenda
from node.exchange.announcements import Announcement
from node.exchange.book import Book, Level, Side
from node.exchange.calendar import Calendar
from node.exchange.events import DaySettled
from node.exchange.instruments import Charge, Instrument, Venue
from node.exchange.ledger import Account
from node.exchange.liquidation import Liquidation, Liquidations, Working
from node.exchange.mark_to_market import Marked
from node.exchange.matching import Matcher
from node.exchange.monitor import Alert, Announced, Monitor
from node.exchange.orders import Order
from node.exchange.positions import Position, PositionSide, ProductMargin
from node.exchange.requests import Request, Requests
from node.exchange.risk import RiskParameters
from node.exchange.settlement import Running, Settlements
from node.exchange.state import State
from node.exchange.triggers import Conditional, Queue, Triggers, Watch
from node.exchange.users import User

T = TypeVar("T")


class Layout(Generic[T]):
    """The table of one class. Each of the three is a text of names separated by blanks."""

    def __init__(self, kind: type[T], *, stored: str = "", linked: str = "", derived: str = "") -> None:
        self.kind = kind
        self.stored = tuple(stored.split())
        self.linked = tuple(linked.split())
        self.derived = tuple(derived.split())
        self._get: Any = attrgetter(*self.stored) if self.stored else None

    def values(self, item: T) -> tuple[object, ...]:
        """The stored attributes of an object, as `fill` takes them."""
        found = self._get(item)
        return found if len(self.stored) > 1 else (found,)

    def fill(self, item: T, values: Sequence[object]) -> T:
        """Set the stored attributes of an object; the same object is returned. Raises ValueError on another number."""
        for name, value in zip(self.stored, values, strict=True):
            setattr(item, name, value)
        return item

    def make(self, values: Sequence[object], *arguments: object) -> T:
        """A new object of these constructor arguments, with its stored attributes; the linked ones are the caller's.

        The constructor is not left out (`__new__`): a class that mypyc compiled cannot be made without it.
        """
        return self.fill(self.kind(*arguments), values)


STATE: Final = Layout(
    State,
    stored="index time_ns trading_day order_count external_units fees_units announcement_count",
    linked="users usernames contacts accounts venues instruments codes calendars matcher risk triggers monitor "
    "liquidations settlements announcements",
    derived="orders",
)
DIGEST: Final = "_digest"  # what Machine adds to State; the header carries it

USER: Final = Layout(
    User,
    stored="user_id username password_hash roles registration_id generation created_index created_ns status "
    "status_reason phone email real_name login_failures blocked_until_ns",
    linked="accounts requests",
)
REQUESTS: Final = Layout(Requests, linked="_by_id", derived="_ages")

CALENDAR: Final = Layout(
    Calendar, stored="calendar_id exchange phase forced following next_ns hour_ns", linked="day night holidays"
)
VENUE: Final = Layout(Venue, stored="name trade_count", linked="margin_rules")
INSTRUMENT: Final = Layout(
    Instrument,
    stored="version status status_reason phase watched pre_settlement_ticks pre_close_ticks pre_open_interest "
    "settlement_ticks last_ticks open_interest day_volume day_turnover_ticks day_open_ticks day_high_ticks "
    "day_low_ticks hour_volume hour_turnover_ticks auction_price_ticks auction_volume auction_surplus "
    "assessed_ticks assessed_volume lower_limit_ticks upper_limit_ticks",
    linked="terms venue holders book",
    derived="instrument_id exchange code splits_today tick_value margin_long margin_short open_fee close_fee "
    "close_today_fee",
)
CHARGE: Final = Layout(Charge, derived="numerator denominator amount")
BOOK: Final = Layout(Book, linked="bids asks")
SIDE: Final = Layout(Side, linked="levels", derived="direction keys")
LEVEL: Final = Layout(Level, linked="head", derived="side key price_ticks tail volume count")

ACCOUNT: Final = Layout(
    Account,
    stored="account_id account_name account_type created_ns closed freeze allow_close freeze_reason orders_alive_max "
    "order_turnover_max order_volume_max risk_level assessed_round liquidating pre_balance deposit withdraw "
    "close_profit commission margin frozen_margin frozen_fee",
    linked="user position_limits conditionals statements flows finished positions products client_orders requests",
    derived="orders live",
)
PRODUCT_MARGIN: Final = Layout(ProductMargin, stored="rule long short counted")
POSITION: Final = Layout(Position, linked="instrument product long short")
POSITION_SIDE: Final = Layout(
    PositionSide,
    stored="today today_cost his his_cost his_open_cost frozen_today frozen_his opening margin",
    derived="direction",
)
ORDER: Final = Layout(
    Order,
    stored="order_id client_order_id direction offset price_type price_ticks volume left filled_cost time_condition "
    "volume_condition min_volume post_only self_trade gtd_day source state cancel_reason frozen_margin frozen_fee "
    "frozen_his frozen_today insert_index insert_ns update_ns",
    linked="account instrument side",
    derived="position level before after",
)
MATCHER: Final = Layout(Matcher, stored="finished_count", linked="orders", derived="moved")

CONDITIONAL: Final = Layout(
    Conditional,
    stored="conditional_id direction offset volume price_type price_ticks condition comparison trigger_ticks "
    "valid_until_ns client_order_id fingerprint insert_index insert_ns ended_ns reached state order_id code detail",
    linked="account instrument",
)
QUEUE: Final = Layout(Queue, linked="levels", derived="sign keys")
WATCH: Final = Layout(Watch, linked="above below")
TRIGGERS: Final = Layout(
    Triggers,
    stored="count ended_count",
    linked="conditionals watches fired halted expiries ending",
)
AGENDA: Final = Layout(Agenda, linked="_moments", derived="_order")

MONITOR: Final = Layout(
    Monitor,
    stored="round round_ns trades assessed_day everything next_holder alert_count",
    linked="instruments holders touched deferred announced alerts",
)
ANNOUNCED: Final = Layout(Announced, stored="level alerted_ns")
LIQUIDATION: Final = Layout(
    Liquidation,
    stored="liquidation_id reason by everything state started_ns ended_ns margin_before margin_after balance_before "
    "balance_after lots loss steps retries retry_ns",
    linked="account order_ids working",
)
WORKING: Final = Layout(Working, stored="left", linked="liquidation")
LIQUIDATIONS: Final = Layout(
    Liquidations,
    stored="count listed_day listed_next",
    linked="running finished agenda orders watched waiting",
)

MARKED: Final = Layout(Marked, stored="pre_balance deposit withdraw close_profit position_profit commission")
RUNNING: Final = Layout(
    Running,
    stored="trading_day instrument_cursor account_cursor settled commission_units profit_units",
    linked="marked",
    derived="instruments accounts",
)
SETTLEMENTS: Final = Layout(Settlements, linked="running listed results")

ANNOUNCEMENT: Final = Layout(
    Announcement,
    stored="announcement_id title content kind priority author published_ns expires_ns withdrawn_ns",
)

LAYOUTS: Final[tuple[Layout[Any], ...]] = (
    STATE,
    USER,
    REQUESTS,
    CALENDAR,
    VENUE,
    INSTRUMENT,
    CHARGE,
    BOOK,
    SIDE,
    LEVEL,
    ACCOUNT,
    PRODUCT_MARGIN,
    POSITION,
    POSITION_SIDE,
    ORDER,
    MATCHER,
    CONDITIONAL,
    QUEUE,
    WATCH,
    TRIGGERS,
    AGENDA,
    MONITOR,
    ANNOUNCED,
    LIQUIDATION,
    WORKING,
    LIQUIDATIONS,
    MARKED,
    RUNNING,
    SETTLEMENTS,
    ANNOUNCEMENT,
)
# Immutable records, written with all their fields as the class lists them.
RECORDS: Final = (Request, RiskParameters, Alert, DaySettled)
