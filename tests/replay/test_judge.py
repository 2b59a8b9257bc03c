"""The judge finds what differs, and the cast never lets a user meet itself."""

from __future__ import annotations

import pytest

from node.lobster import BUY, SELL, Cancel, CheckBook, Fill, Level, Place, Reduce
from node.replay.cast import ACCOUNTS_MAX, Cast, NoSeatError
from node.replay.judge import DIFFERENCES_MAX, Hit, Judge

FIRST = Place(1, 1, 11, SELL, 100, 5)
SECOND = Place(2, 2, 12, SELL, 100, 5)
TAKER = Place(3, 3, 0, BUY, 100, 7, True, (Fill(1, 100, 5), Fill(2, 100, 2)))


def judge_with_two_asks() -> Judge:
    judge = Judge()
    judge.placed(FIRST, 901, [], 5)
    judge.placed(SECOND, 902, [], 5)
    return judge


def test_equal_fills_and_books_leave_no_difference() -> None:
    judge = judge_with_two_asks()
    judge.placed(TAKER, 903, [Hit(901, 100, 5), Hit(902, 100, 2)], 0)
    judge.check(CheckBook(3, (Level(100, 3),), ()))
    judge.reduced(Reduce(4, 2, volume=4, left=2), 2)
    judge.cancelled(Cancel(5, 2, left=2), 2)
    judge.check(CheckBook(5, (), ()))
    tally = judge.tally
    assert tally.differences == []
    assert (tally.fills, tally.fills_equal, tally.trading_orders_equal, tally.books_equal) == (2, 2, 1, 2)
    assert len(judge.book) == 0


def test_a_fill_against_another_order_of_the_same_level_is_a_difference() -> None:
    judge = judge_with_two_asks()
    judge.placed(TAKER, 903, [Hit(902, 100, 5), Hit(901, 100, 2)], 0)
    judge.check(CheckBook(3, (Level(100, 3),), ()))
    assert judge.tally.books_equal == 1, "the levels alone do not show it"
    assert (judge.tally.fills, judge.tally.fills_equal, judge.tally.different) == (2, 0, 1)
    assert "row 3: order 903 traded 5 @ 100 of 902" in judge.tally.differences[0]


def test_a_missing_fill_an_extra_rest_and_a_wrong_level_are_differences() -> None:
    judge = judge_with_two_asks()
    judge.placed(TAKER, 903, [Hit(901, 100, 5)], 2)
    judge.check(CheckBook(3, (Level(100, 3),), ()))
    assert judge.tally.different == 2
    assert judge.tally.differences[1] == "row 3: the asks are 100 x 5; recorded 100 x 3"


def test_a_refused_command_and_an_impossible_answer_are_differences() -> None:
    judge = judge_with_two_asks()
    judge.refused(TAKER, "INSUFFICIENT_FUNDS")
    judge.cancelled(Cancel(5, 1, left=5), 6)
    judge.cancelled(Cancel(6, 9, left=5), 5)
    assert "refused: INSUFFICIENT_FUNDS" in judge.tally.differences[0]
    assert "order 901 has 5 left, not 6" in judge.tally.differences[1]
    assert "order None does not rest" in judge.tally.differences[3]
    assert (judge.tally.fills, judge.tally.fills_equal) == (2, 0)


def test_all_differences_are_counted_and_the_first_are_kept() -> None:
    judge = Judge()
    for row in range(DIFFERENCES_MAX + 5):
        judge.check(CheckBook(row, (Level(1, 1),), ()))
    assert judge.tally.different == DIFFERENCES_MAX + 5
    assert len(judge.tally.differences) == DIFFERENCES_MAX


def test_the_cast_uses_every_account_and_parts_makers_from_takers() -> None:
    cast = Cast(100)
    makers = {cast.seat(Place(0, n, 0, BUY, 1, 1)) for n in range(200)}
    takers = {cast.seat(Place(0, n, 0, BUY, 1, 1, True, (Fill(1, 1, 1),))) for n in range(200)}
    posters = {cast.seat(Place(0, n, 0, BUY, 1, 2, False, (Fill(-1, 1, 1),))) for n in range(200)}
    assert len(makers | takers | posters) == 100
    groups = [{seat.player for seat in seats} for seats in (makers, takers, posters)]
    assert sum(map(len, groups)) == len(set().union(*groups)) == len(cast.players)


def test_a_poster_never_hits_its_own_order_and_a_hopeless_order_is_refused() -> None:
    cast = Cast(20)
    owners = [cast.seat(Place(0, order, 0, BUY, 1, 2, False, (Fill(-1, 1, 1),))).player for order in range(4)]
    assert len(set(owners)) == 4
    hits = tuple(Fill(order, 1, 1) for order in range(3))
    assert cast.seat(Place(0, 4, 0, SELL, 1, 9, False, hits)).player == owners[3]
    with pytest.raises(NoSeatError, match="row 7: every poster"):
        cast.seat(Place(7, 5, 0, SELL, 1, 9, False, (*hits, Fill(3, 1, 1))))


@pytest.mark.parametrize("accounts", [0, 9, ACCOUNTS_MAX + 1])
def test_a_cast_of_impossible_size_is_refused(accounts: int) -> None:
    with pytest.raises(ValueError, match=f"accounts = {accounts}"):
        Cast(accounts)


def test_a_large_cast_keeps_within_the_accounts_of_a_user() -> None:
    cast = Cast(10_000)
    assert max(len(player.accounts) for player in cast.players) <= 1_000
    assert sum(len(player.accounts) for player in cast.players) == 10_000
