"""Who gives which order: a recording names orders, an exchange wants accounts.

A user never trades with itself (domain.md 3 keeps all accounts of one user apart), so who takes must never be who made.
Three kinds of users make that certain without knowing the day in advance:

* makers give the orders that only rest;
* takers give the IOC orders, which never rest;
* posters give the few orders that trade first and rest with what is left. There are several, so that one can always be
  found that owns none of the orders that are about to be hit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from node.exchange.types import ACCOUNTS_PER_USER_MAX
from node.lobster import Place

POSTERS: Final = 4
ACCOUNTS_MIN: Final = 10
ACCOUNTS_MAX: Final = 20_000


@dataclass(frozen=True, slots=True)
class Player:
    """A user of the replay and its accounts, as numbers from 0 over the whole cast."""

    number: int
    name: str  # the kind and a number: "maker1"
    accounts: range
    rests: bool  # whether its orders may rest, and be hit


@dataclass(frozen=True, slots=True)
class Seat:
    """One account of one user."""

    player: int
    account: int


class NoSeatError(ValueError):
    """Every poster owns one of the orders that this order will hit."""


class Cast:
    """Gives out the orders of one replay, each kind of user's accounts in turn.

    Half of the accounts make, three in ten take, the rest post. Raises ValueError for fewer than `ACCOUNTS_MIN` or
    more than `ACCOUNTS_MAX` accounts.
    """

    def __init__(self, accounts: int) -> None:
        if not ACCOUNTS_MIN <= accounts <= ACCOUNTS_MAX:
            raise ValueError(f"accounts = {accounts}: a replay needs {ACCOUNTS_MIN} to {ACCOUNTS_MAX}")
        self.accounts = accounts
        self.players: list[Player] = []
        taking = accounts * 3 // 10
        posting = max(POSTERS, accounts // 5)
        self._makers = self._seats("maker", accounts - taking - posting, 1)
        self._takers = self._seats("taker", taking, 1)
        self._posters = self._seats("poster", posting, POSTERS)
        self._posting: dict[int, int] = {}  # orders of posters that may rest -> player
        self._turns = [0, 0, 0]

    def _seats(self, kind: str, accounts: int, users_min: int) -> list[Seat]:
        users = max(users_min, -(-accounts // ACCOUNTS_PER_USER_MAX))
        seats: list[Seat] = []
        for share in range(users):
            first = self.players[-1].accounts.stop if self.players else 0
            size = accounts // users + (share < accounts % users)
            player = Player(len(self.players), f"{kind}{share + 1}", range(first, first + size), kind != "taker")
            self.players.append(player)
            seats.extend(Seat(player.number, account) for account in player.accounts)
        return seats

    def seat(self, place: Place) -> Seat:
        """The account for one order of the recording. Raises NoSeatError."""
        if place.immediate:
            return self._next(1, self._takers)
        if not place.fills:
            return self._next(0, self._makers)
        barred = {self._posting[fill.order] for fill in place.fills if fill.order in self._posting}
        for _ in self._posters:
            seat = self._next(2, self._posters)
            if seat.player not in barred:
                self._posting[place.order] = seat.player
                return seat
        raise NoSeatError(f"row {place.row}: every poster owns an order that this one will hit")

    def _next(self, kind: int, seats: list[Seat]) -> Seat:
        turn = self._turns[kind]
        self._turns[kind] = (turn + 1) % len(seats)
        return seats[turn]
