"""`POST /api/order/batch` as a flow: one result or error per order, whatever happens to the request as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from api.client import errors
from api.client.codec import decode, encode, fields
from api.client.flow import Flow, Pause, Request
from api.client.models import NewOrder, OrderResult, Receipt

if TYPE_CHECKING:
    from api.client.session import Session

BATCH_MAX: Final = 1_000  # orders that a node takes in one request

Result = OrderResult | errors.ClientError


class _Row(msgspec.Struct):
    success: bool
    data: msgspec.Raw = msgspec.Raw(b"null")
    error: errors.ErrorBody | None = None
    receipt: Receipt | None = None


class _Rows(msgspec.Struct):
    results: list[_Row]


def submit_batches(session: Session, orders: Sequence[NewOrder], deadline: float) -> Flow[list[Result]]:
    """Orders of one account, in order. Raises ValueError for more than one account, before anything is sent."""
    accounts = {order.account_id for order in orders}
    if len(accounts) > 1:
        raise ValueError(f"the orders of one batch are of one account, not of {', '.join(sorted(accounts))}")
    results: list[Result] = []
    for start in range(0, len(orders), BATCH_MAX):
        results += yield from _Batch(session, orders[start : start + BATCH_MAX]).run(deadline)
    return results


class _Batch:
    """The orders of one request. What a row cannot say yet is asked again with the same ids."""

    def __init__(self, session: Session, orders: Sequence[NewOrder]) -> None:
        self._session = session
        self._account_id = orders[0].account_id
        self._terms = [_terms(order, session) for order in orders]
        self._results: dict[int, Result] = {}
        self._unknown: set[int] = set()
        self._todo = list(range(len(orders)))

    def run(self, deadline: float) -> Flow[list[Result]]:
        session = self._session
        while self._todo:
            terms = [self._terms[index] for index in self._todo]
            asked = f"submit {len(terms)} orders of {self._account_id}"
            body = encode({"account_id": self._account_id, "orders": terms})
            try:
                done = yield from session.call(
                    Request("POST", "/api/order/batch", asked, body, mutating=True), deadline
                )
                self._take(decode(done.data, _Rows, asked).results, asked)
            except errors.ClientError as failure:
                for index in self._todo:
                    self._results[index] = self._failed(index, failure)
                break
            left = deadline - session.clock()
            if left <= 0:
                break
            if self._todo:
                yield Pause(min(session.route.pause_s(), left))
        return [self._results[index] for index in range(len(self._terms))]

    def _take(self, rows: Sequence[_Row], asked: str) -> None:
        if len(rows) != len(self._todo):
            raise errors.ProtocolError(f"{len(rows)} results for {len(self._todo)} orders", asked=asked)
        again: list[int] = []
        for index, row in zip(self._todo, rows, strict=True):
            if row.success:
                result = decode(row.data, OrderResult, asked)
                result.receipt = row.receipt
                self._results[index] = result
                continue
            body = row.error or errors.ErrorBody(0, "", "refused without an error object")
            if body.transient:
                again.append(index)
            if body.outcome == "unknown":
                self._unknown.add(index)
            self._results[index] = self._failed(index, errors.from_body(body, asked=asked), final=not body.transient)
        self._todo = again

    def _failed(self, index: int, failure: errors.ClientError, *, final: bool = False) -> errors.ClientError:
        """The failure of one order; unless it is the exchange's last word, an earlier attempt may have worked."""
        unknown = index in self._unknown or failure.after_unknown
        error = (type(failure) if final or not unknown else errors.OutcomeUnknown)(
            failure.message,
            asked=f"submit {self._account_id} {self._terms[index]['instrument_id']}",
            sent_id=self._terms[index]["client_order_id"],
            code=failure.code,
            name=failure.name,
            message_zh=failure.message_zh,
            details=failure.details,
            request_id=failure.request_id,
            retry_after_s=failure.retry_after_s,
        )
        error.after_unknown = unknown
        return error


def _terms(order: NewOrder, session: Session) -> dict[str, Any]:
    """The fields of an order inside a batch: without its account, with an id."""
    terms = fields(order)
    del terms["account_id"]
    terms["client_order_id"] = terms.get("client_order_id") or session.new_id()
    return terms
