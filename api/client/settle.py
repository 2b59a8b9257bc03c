"""Making *unknown* known for the commands that carry no id of their own.

An order has its `client_order_id` and a transfer its `request_id`: repeating them returns the first result. A cancel or
a modification states a goal instead. When an attempt got no answer and its repetition is refused because there is
nothing left to do, the order itself says whether the goal was reached by the lost attempt.
"""

from __future__ import annotations

from typing import Final

from api.client.errors import ORDER_NOT_CANCELLABLE, ORDER_NOT_MODIFIABLE, ClientError
from api.client.models import Cancel, Modify, Order, OrderResult

_NOTHING_LEFT: Final[dict[type, int]] = {Cancel: ORDER_NOT_CANCELLABLE, Modify: ORDER_NOT_MODIFIABLE}


def worth_asking(request: object, error: ClientError) -> bool:
    """Whether this refusal, coming after an attempt without an answer, may mean that the lost attempt worked."""
    return _NOTHING_LEFT.get(type(request), 0) == error.code and error.code != 0


def settled(request: Cancel | Modify, order: Order) -> OrderResult | None:
    """The result of the lost attempt if `order` shows that its goal is reached, else None: the refusal stands."""
    if isinstance(request, Cancel):
        reached = order.status == "Cancelled"
    else:
        same_price = not request.price or order.price == request.price
        same_volume = not request.volume or order.volume == request.volume
        reached = same_price and same_volume and order.status != "Cancelled"
    return as_result(order) if reached else None


def as_result(order: Order) -> OrderResult:
    """An order as the answer that its last command would have given (without trades and receipt)."""
    return OrderResult(
        order_id=order.order_id,
        account_id=order.account_id,
        instrument_id=order.instrument_id,
        client_order_id=order.client_order_id,
        status=order.status,
        filled_volume=order.filled_volume,
        volume_left=order.volume_left,
        average_price=order.average_price,
        cancel_reason=order.cancel_reason,
        repeated=True,
    )
