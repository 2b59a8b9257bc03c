"""The oracles see bugs: each is planted in the machine, whose invariants are silenced, and some stream must fail."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from node.exchange import auction, book, clearing, ledger, matching, positions
from node.exchange.orders import Order
from tests.exchange import test_against_the_model as books
from tests.exchange import test_ledger_oracle as accounts

pytestmark = pytest.mark.skipif(not str(book.__file__).endswith(".py"), reason="compiled functions cannot be replaced")
SEEDS = range(4)


def enter_first(self: book.Book, order: Order) -> None:
    """LIFO: the new order goes to the head of its level."""
    enter_last(self, order)
    level = order.level
    assert level is not None
    if level.head is not order:
        before, head = order.before, level.head
        assert before is not None and head is not None
        before.after, level.tail = None, before
        order.before, order.after, head.before, level.head = None, head, order, order


enter_last = book.Book.enter
trade = matching.Matcher._trade


def at_the_takers_price(self: Any, taker: Order, maker: Order, price: int, *rest: Any) -> None:
    trade(self, taker, maker, taker.price_ticks, *rest)


def lowest_price(*arguments: Any) -> tuple[int, int, int]:
    """The auction ignores its reference."""
    return clearing_price(arguments[0], 0, 1)


clearing_price = auction.clearing_price
closing_fee = clearing.closing_fee


@pytest.mark.parametrize(
    ("place", "name", "bug"),
    [
        (book.Book, "enter", enter_first),
        (matching.Matcher, "_trade", at_the_takers_price),
        (matching, "fillable", lambda order, enough: enough),
        (matching, "crosses", lambda *_: False),
        (matching, "crossed_own_orders", lambda *_: []),
        (auction, "clearing_price", lowest_price),
        (auction, "expire", lambda *_: 0),
    ],
)
def test_a_bug_of_the_book_is_found(monkeypatch: pytest.MonkeyPatch, place: Any, name: str, bug: object) -> None:
    monkeypatch.setattr(place, name, bug)
    assert_found(monkeypatch, books.test_both_books_agree_on_long_streams_with_auctions)


@pytest.mark.parametrize(
    ("place", "name", "bug"),
    [
        (clearing, "closing_fee", lambda instrument, price, his, today: closing_fee(instrument, price, today, his)),
        (clearing, "closing_fee", lambda instrument, price, his, today: closing_fee(instrument, price, his + today, 0)),
        (positions, "half_even", lambda numerator, denominator: numerator // denominator),
        (positions.ProductMargin, "move", lambda self, direction, change: change),
        (ledger.Account, "withdrawable", lambda self: max(0, self.available())),
        (positions.PositionSide, "roll", lambda self, settlement_ticks: None),
    ],
)
def test_a_bug_of_the_ledger_is_found(monkeypatch: pytest.MonkeyPatch, place: Any, name: str, bug: object) -> None:
    monkeypatch.setattr(place, name, bug)
    assert_found(monkeypatch, accounts.test_the_ledger_is_what_its_events_say_over_many_days)


def assert_found(monkeypatch: pytest.MonkeyPatch, suite: Callable[[int], None]) -> None:
    monkeypatch.setattr("tests.exchange.driver.invariants.check", lambda machine: None)
    blamed = [seed for seed in SEEDS if blame(suite, seed).startswith("tests.")]
    assert blamed, "no stream saw the bug"


def blame(suite: Callable[[int], None], seed: int) -> str:
    """The module whose assertion failed, so that one of the machine's own does not count; empty if none did."""
    try:
        suite(seed)
    except AssertionError as error:
        frame = error.__traceback__
        while frame is not None and frame.tb_next is not None:
            frame = frame.tb_next
        assert frame is not None
        return str(frame.tb_frame.f_globals["__name__"])
    return ""
