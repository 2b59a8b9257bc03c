"""The order as the state keeps it: live, and for a while after its end (`types.FINISHED_ORDERS_MAX`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from node.exchange.types import OrderState

if TYPE_CHECKING:
    from node.exchange.book import Level
    from node.exchange.commands import PlaceOrder
    from node.exchange.instruments import Instrument
    from node.exchange.ledger import Account
    from node.exchange.positions import Position, PositionSide

ACCEPTED: Final = int(OrderState.ACCEPTED)


class Order:
    """A mutable, slotted order. While it rests, `level`, `before` and `after` link it into its price level.

    Reservations: an opening order holds `frozen_margin` and `frozen_fee`; a closing one holds lots of `side`
    (`frozen_his`, `frozen_today`) and `frozen_fee`. Money follows from what is left of the order and its limit price;
    how a close splits over the buckets is decided when it is accepted.
    """

    __slots__ = (
        "account",
        "after",
        "before",
        "cancel_reason",
        "client_order_id",
        "direction",
        "filled_cost",
        "frozen_fee",
        "frozen_his",
        "frozen_margin",
        "frozen_today",
        "gtd_day",
        "insert_index",
        "insert_ns",
        "instrument",
        "left",
        "level",
        "min_volume",
        "offset",
        "order_id",
        "position",
        "post_only",
        "price_ticks",
        "price_type",
        "self_trade",
        "side",
        "source",
        "state",
        "time_condition",
        "update_ns",
        "volume",
        "volume_condition",
    )

    def __init__(
        self,
        order_id: int,
        command: PlaceOrder,
        account: Account,
        instrument: Instrument,
        position: Position,
        side: PositionSide,
        price_ticks: int,
        index: int,
        time_ns: int,
        source: int,
    ) -> None:
        self.order_id = order_id
        self.client_order_id = command.client_order_id
        self.account = account
        self.instrument = instrument
        self.position = position
        self.side = side  # the side of the position that a fill opens or closes
        self.direction = command.direction
        self.offset = command.offset
        self.price_type = command.price_type
        self.price_ticks = price_ticks  # its limit; for the other price types what they came to on arrival
        self.volume = command.volume
        self.left = command.volume
        self.filled_cost = 0  # sum of price * lots over the fills
        self.time_condition = command.time_condition
        self.volume_condition = command.volume_condition
        self.min_volume = command.min_volume
        self.post_only = command.post_only
        self.self_trade = command.self_trade
        self.gtd_day = command.gtd_day
        self.source = source  # types.OrderSource
        self.state = ACCEPTED
        self.cancel_reason = 0  # types.CancelReason once cancelled
        self.frozen_margin = 0
        self.frozen_fee = 0
        self.frozen_his = 0
        self.frozen_today = 0
        self.insert_index = index
        self.insert_ns = time_ns
        self.update_ns = time_ns
        self.level: Level | None = None
        self.before: Order | None = None
        self.after: Order | None = None

    @property
    def alive(self) -> bool:
        return self.state <= 1  # ACCEPTED or PARTIALLY_FILLED
