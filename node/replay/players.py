"""The users of a replay on a real cluster: their accounts, their sockets, and whose order was hit in which trade."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import trio

from api.client import (
    CancelAll,
    ClientError,
    Forbidden,
    Reset,
    SocketSettings,
    Trade,
    TradeEvent,
    TradingSocket,
    TrioClient,
)
from node import entropy
from node.replay.cast import Cast, Player
from node.replay.errors import ReplayError
from node.replay.instrument import INSTRUMENT_ID

INIT_CASH: Final = 10_000_000_000  # the day turns over four hundred million
CALL_TIMEOUT_S: Final = 30.0
MAKER_TIMEOUT_S: Final = 5.0  # for the push that names the resting side of a trade; then we ask
TRADES_PAGE: Final = 200


@dataclass(slots=True)
class Actor:
    """One user with an open socket. `accounts` are the ids of its accounts, in the order of `player.accounts`."""

    player: Player
    client: TrioClient
    socket: TradingSocket
    accounts: list[str]


@dataclass(slots=True)
class Makers:
    """Which order rested in each trade, as the owners of the resting orders were told."""

    _orders: dict[str, str] = field(default_factory=dict)  # trade id -> order id
    _lot: trio.lowlevel.ParkingLot = field(default_factory=trio.lowlevel.ParkingLot)

    def learn(self, trade: Trade) -> None:
        if not trade.is_taker:
            self._orders[trade.trade_id] = trade.order_id
            self._lot.unpark_all()

    def known(self, trade_id: str) -> str | None:
        return self._orders.get(trade_id)

    async def wait(self, trade_id: str, timeout_s: float) -> str | None:
        """The resting order of a trade; None if nobody said so in time."""
        with trio.move_on_after(timeout_s):
            while trade_id not in self._orders:
                await self._lot.park()
        return self._orders.get(trade_id)


class Company:
    """All actors of one replay."""

    def __init__(self, actors: Sequence[Actor]) -> None:
        self.actors = actors
        self.makers = Makers()
        self._account_ids = [account for actor in actors for account in actor.accounts]

    def account(self, number: int) -> str:
        """The exchange's id of account `number` of the cast."""
        return self._account_ids[number]

    @property
    def reconnects(self) -> int:
        return sum(actor.socket.reconnects for actor in self.actors)

    async def listen(self, actor: Actor) -> None:
        """Learn from the private events of one user until its socket closes."""
        async for event in actor.socket.events:
            if isinstance(event, TradeEvent):
                self.makers.learn(event)
            elif isinstance(event, Reset):
                await self._ask(actor)  # the stream has a hole: what it hid is in the queries

    async def maker(self, trade_id: str) -> str | None:
        """The order that rested in a trade; None if the exchange does not say, by push or by query."""
        known = self.makers.known(trade_id) or await self.makers.wait(trade_id, MAKER_TIMEOUT_S)
        if known is None:
            for actor in self.actors:
                await self._ask(actor)
            known = self.makers.known(trade_id)
        return known

    async def _ask(self, actor: Actor) -> None:
        for account in actor.accounts:
            page = 1
            while True:
                found = await actor.socket.query_trades(
                    account, page=page, page_size=TRADES_PAGE, timeout_s=CALL_TIMEOUT_S
                )
                for trade in found.items:
                    self.makers.learn(trade)
                if page * TRADES_PAGE >= found.total:
                    break
                page += 1

    async def clear(self) -> None:
        """Cancel what rests, as far as the cluster lets us: a replay leaves the book as it found it."""
        for actor in self.actors:
            try:
                await actor.socket.send_many(
                    [CancelAll(account, INSTRUMENT_ID) for account in actor.accounts], timeout_s=CALL_TIMEOUT_S
                )
            except ClientError:
                return


@asynccontextmanager
async def assemble(urls: Sequence[str], cast: Cast) -> AsyncIterator[Company]:
    """Register the cast as fresh users with funded accounts and open a socket for each. Raises ReplayError."""
    run = entropy.random_bytes(4).hex()
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(TrioClient(urls, timeout_s=CALL_TIMEOUT_S)) for _ in cast.players]
        accounts: list[list[str]] = [[] for _ in cast.players]
        try:
            async with trio.open_nursery() as nursery:
                for player, client in zip(cast.players, clients, strict=True):
                    nursery.start_soon(_enrol, client, player, f"replay-{run}-{player.name}", accounts[player.number])
        except* Forbidden as group:
            raise ReplayError(
                f"the replay cannot fund its accounts ({group.exceptions[0]}); "
                "set self_service_funding = true under [accounts] in cluster.toml"
            ) from None
        except* ClientError as group:
            raise ReplayError(f"the accounts of the replay could not be opened: {group.exceptions[0]}") from None
        actors = []
        for player, client in zip(cast.players, clients, strict=True):
            settings = SocketSettings(events=player.rests)  # nobody asks what the takers' streams say
            socket = await stack.enter_async_context(client.open_socket(settings))
            actors.append(Actor(player, client, socket, accounts[player.number]))
        yield Company(actors)


async def _enrol(client: TrioClient, player: Player, username: str, accounts: list[str]) -> None:
    password = entropy.random_password()
    await client.register(username, password)
    await client.login(username, password)
    for number in player.accounts:
        account = await client.open_account(f"{player.name}-{number}", init_cash=INIT_CASH)
        accounts.append(account.account_id)
