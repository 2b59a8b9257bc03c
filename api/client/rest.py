"""The two REST clients: `TrioClient` and `SyncClient`, the same calls over httpx.

    with SyncClient(["http://127.0.0.1:8101", "http://127.0.0.1:8102"]) as client:
        client.login("alice", password)
        result = client.submit(NewOrder(account_id, "SHFE.cu2701", "BUY", "OPEN", 1, Decimal(70000)))

    async with TrioClient(urls) as client:
        await client.login("alice", password)
        async with client.open_socket() as socket:
            await socket.submit_many(orders)

Every call finds and follows the leader, and repeats what got no answer with the same id until `timeout_s` (see `flow`);
what it raises is drawn in `errors`. httpx costs about a millisecond of CPU per request: trade over `open_socket()`.
"""

from __future__ import annotations

import os
import random
import ssl
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, TypeVar

import httpx
import trio

from api.client.conversation import Conversation, SocketSettings
from api.client.errors import ClientError
from api.client.flow import Flow, Lost, Outcome, Pause, Reply, Send
from api.client.models import (
    Account,
    Amount,
    Cancel,
    CancelAll,
    CancelAllResult,
    Instrument,
    Login,
    Modify,
    NewOrder,
    Order,
    Orderbook,
    OrderPage,
    OrderResult,
    Position,
    Receipt,
    TradePage,
    User,
)
from api.client.route import Route
from api.client.session import Session
from api.client.trading import TradingSocket

T = TypeVar("T")

CONNECTIONS_MAX = 64
CONNECT_TIMEOUT_S = 1.0  # a node that does not accept within this is passed over


def random_id() -> str:
    """A fresh id of 128 random bits, in hex: what uuid4 gives, at a third of its cost (it is made per order)."""
    return os.urandom(16).hex()


def _tls(urls: Sequence[str]) -> ssl.SSLContext:
    """One context for all connections of a client: making one per httpx client costs 44 ms (stack.md, 2).

    Without an https url it trusts nobody, which is cheap and cannot be misused.
    """
    if any(url.startswith("https:") for url in urls):
        return ssl.create_default_context()
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class _Client:
    """What both clients are made of."""

    def __init__(
        self,
        urls: Sequence[str],
        *,
        clock: Callable[[], float],
        timeout_s: float,
        attempt_timeout_s: float,
        new_id: Callable[[], str],
        rng: random.Random | None,
        ssl_context: ssl.SSLContext | None,
    ) -> None:
        self.route = Route(urls, rng=rng or random.Random())  # noqa: S311 (jitter, not a secret)
        self.session = Session(
            self.route, clock=clock, new_id=new_id, timeout_s=timeout_s, attempt_timeout_s=attempt_timeout_s
        )
        self._ssl_context = ssl_context or _tls(self.route.urls)

    @property
    def user_id(self) -> str | None:
        """Who is logged in, None before."""
        return self.session.user_id

    @property
    def leader_url(self) -> str:
        """The node that the next call asks: the leader's, as far as this client knows."""
        return self.route.current


def _timeout(step: Send) -> httpx.Timeout:
    return httpx.Timeout(step.timeout_s, connect=min(step.timeout_s, CONNECT_TIMEOUT_S))


def _limits() -> httpx.Limits:
    return httpx.Limits(max_connections=CONNECTIONS_MAX, max_keepalive_connections=CONNECTIONS_MAX)


def _reply(response: httpx.Response) -> Reply:
    return Reply(response.status_code, response.headers, response.content)


def _lost(error: httpx.TransportError) -> Lost:
    """Only a connection that was never made proves that nothing was sent."""
    never_sent = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)
    return Lost(sent=not never_sent, reason=f"{type(error).__name__} {error}".strip())


def _cancel_all(account_id: str, instrument_id: str | None) -> CancelAll:
    return CancelAll(account_id, instrument_id) if instrument_id else CancelAll(account_id)


class TrioClient(_Client):
    """REST for trio programs, and the door to the trading socket. Use as an async context manager.

    * `timeout_s`: bound of every call with all its attempts; each method takes another one for itself.
    * `attempt_timeout_s`: bound of one attempt, so that a node which stands still does not use up the call.
    * `new_id`: makes the ids of mutating calls (default: 128 random bits), `rng`: the jitter of the pauses.
    * `ssl_context`: for https urls with their own authority.

    Proxy settings of the environment are ignored.
    """

    def __init__(
        self,
        urls: Sequence[str],
        *,
        timeout_s: float = 10.0,
        attempt_timeout_s: float = 2.5,
        new_id: Callable[[], str] = random_id,
        rng: random.Random | None = None,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(
            urls,
            clock=trio.current_time,
            timeout_s=timeout_s,
            attempt_timeout_s=attempt_timeout_s,
            new_id=new_id,
            rng=rng,
            ssl_context=ssl_context,
        )
        self._http = httpx.AsyncClient(verify=self._ssl_context, limits=_limits(), trust_env=False)

    async def __aenter__(self) -> TrioClient:
        await self._http.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.__aexit__(kind, value, trace)

    @asynccontextmanager
    async def open_socket(self, settings: SocketSettings | None = None) -> AsyncIterator[TradingSocket]:
        """A `TradingSocket` of the user who is logged in; it is connected and authenticated when this returns.

        Raises Unauthenticated without a login, Unavailable if no node leads within the client's `timeout_s`.
        """
        conversation = Conversation(self, settings or SocketSettings(), self._ssl_context)
        failure: BaseException | None = None
        async with trio.open_nursery() as nursery:
            try:
                await nursery.start(conversation.run)
                yield TradingSocket(conversation)
            except trio.Cancelled:
                raise
            except BaseException as error:
                failure = error  # raised outside: the nursery would wrap it in a group, and it is not the nursery's
            finally:
                conversation.close()
        if failure is not None:
            raise failure

    async def register(self, username: str, password: str, *, timeout_s: float | None = None) -> User:
        """Make a user; registering does not log in. Raises Conflict if the name is taken."""
        return await self._run(self.session.register(username, password, timeout_s))

    async def login(self, username: str, password: str, *, timeout_s: float | None = None) -> Login:
        """Log in and keep the token; the password is kept in memory to log in again after a 401."""
        return await self._run(self.session.login(username, password, timeout_s))

    async def logout(self, *, timeout_s: float | None = None) -> None:
        """Kill every token of this user, on all nodes."""
        await self._run(self.session.logout(timeout_s))

    async def me(self, *, timeout_s: float | None = None) -> User:
        """Who the token belongs to."""
        return await self._run(self.session.me(timeout_s))

    async def open_account(
        self,
        account_name: str,
        *,
        account_type: str = "individual",
        init_cash: Amount = 0,
        request_id: str | None = None,
        timeout_s: float | None = None,
    ) -> Account:
        """Open a trading account of this user and return it."""
        return await self._run(self.session.open_account(account_name, account_type, init_cash, request_id, timeout_s))

    async def deposit(
        self, account_id: str, amount: Amount, *, request_id: str | None = None, timeout_s: float | None = None
    ) -> Receipt:
        """Move money into an account."""
        return await self._run(self.session.transfer("deposit", account_id, amount, request_id, timeout_s))

    async def withdraw(
        self, account_id: str, amount: Amount, *, request_id: str | None = None, timeout_s: float | None = None
    ) -> Receipt:
        """Move money out of an account: at most its `withdraw_quota`."""
        return await self._run(self.session.transfer("withdraw", account_id, amount, request_id, timeout_s))

    async def accounts(self, user_id: str | None = None, *, timeout_s: float | None = None) -> list[Account]:
        """The accounts of a user (default: this one)."""
        return await self._run(self.session.accounts(user_id, timeout_s))

    async def account(self, account_id: str, *, timeout_s: float | None = None) -> Account:
        """The funds of one account."""
        return await self._run(self.session.account(account_id, timeout_s))

    async def submit(self, order: NewOrder, *, timeout_s: float | None = None) -> OrderResult:
        """Enter an order. Raises Rejected with the exchange's code and reason."""
        return await self._run(self.session.submit(order, timeout_s))

    async def submit_many(
        self, orders: Sequence[NewOrder], *, timeout_s: float | None = None
    ) -> list[OrderResult | ClientError]:
        """Enter orders of one account, in order: one result or error for each; one refusal does not stop the others."""
        return await self._run(self.session.submit_many(orders, timeout_s))

    async def cancel(self, account_id: str, order_id: str, *, timeout_s: float | None = None) -> OrderResult:
        """Cancel a live order."""
        return await self._run(self.session.cancel(Cancel(account_id, order_id), timeout_s))

    async def modify(self, modify: Modify, *, timeout_s: float | None = None) -> OrderResult:
        """Change price or total volume of a live limit order; less volume alone keeps its priority."""
        return await self._run(self.session.modify(modify, timeout_s))

    async def cancel_all(
        self, account_id: str, instrument_id: str | None = None, *, timeout_s: float | None = None
    ) -> CancelAllResult:
        """Cancel every live order of an account, or those of one instrument."""
        return await self._run(self.session.cancel_all(_cancel_all(account_id, instrument_id), timeout_s))

    async def order(self, order_id: str, *, timeout_s: float | None = None) -> Order:
        """One own order."""
        return await self._run(self.session.order(order_id, timeout_s))

    async def order_by_client_id(
        self, account_id: str, client_order_id: str, *, timeout_s: float | None = None
    ) -> Order:
        """One own order by the id that the client gave it: makes an unknown outcome known."""
        return await self._run(self.session.order_by_client_id(account_id, client_order_id, timeout_s))

    async def orders(
        self,
        account_id: str,
        *,
        alive: bool | None = None,
        page: int = 1,
        page_size: int = 50,
        timeout_s: float | None = None,
    ) -> OrderPage:
        """The orders of an account (all, the live ones, or the finished ones), one page."""
        return await self._run(self.session.orders(account_id, alive, page, page_size, timeout_s))

    async def positions(self, account_id: str, *, timeout_s: float | None = None) -> list[Position]:
        """The positions of an account."""
        return await self._run(self.session.positions(account_id, timeout_s))

    async def trades(
        self, account_id: str, *, page: int = 1, page_size: int = 50, timeout_s: float | None = None
    ) -> TradePage:
        """The own trades of an account, one page."""
        return await self._run(self.session.trades(account_id, page, page_size, timeout_s))

    async def instruments(self, *, timeout_s: float | None = None) -> list[Instrument]:
        """Everything that is listed."""
        return await self._run(self.session.instruments(timeout_s))

    async def instrument(self, instrument_id: str, *, timeout_s: float | None = None) -> Instrument:
        """The terms of one instrument."""
        return await self._run(self.session.instrument(instrument_id, timeout_s))

    async def orderbook(self, instrument_id: str, *, depth: int = 10, timeout_s: float | None = None) -> Orderbook:
        """The best `depth` levels of both sides."""
        return await self._run(self.session.orderbook(instrument_id, depth, timeout_s))

    async def cluster(self, *, timeout_s: float | None = None) -> dict[str, Any]:
        """The cluster's status as the node sees it: members, roles, terms, indexes, hashes, quorum in words."""
        return await self._run(self.session.cluster(timeout_s))

    async def livez(self, url: str) -> tuple[bool, dict[str, Any]]:
        """Whether the process of exactly this node turns, and what it says. Raises Unavailable without an answer."""
        return await self._run(self.session.probe(url, "/livez"))

    async def readyz(self, url: str) -> tuple[bool, dict[str, Any]]:
        """Whether exactly this node can commit now, and its reasons. Raises Unavailable without an answer."""
        return await self._run(self.session.probe(url, "/readyz"))

    async def relogin(self, *, timeout_s: float | None = None) -> Login:
        """Log in again with the name and password of the last login."""
        return await self._run(self.session.relogin(timeout_s))

    async def _run(self, flow: Flow[T]) -> T:
        outcome: Outcome = None
        while True:
            try:
                step = flow.send(outcome)
            except StopIteration as done:
                result: T = done.value
                return result
            if isinstance(step, Pause):
                outcome = None
                await trio.sleep(step.seconds)
            else:
                outcome = await self._attempt(step)

    async def _attempt(self, step: Send) -> Outcome:
        # httpx bounds each read, not the whole answer; the scope does.
        with trio.move_on_after(step.timeout_s) as scope:
            try:
                return _reply(
                    await self._http.request(
                        step.method, step.url, headers=step.headers, content=step.body, timeout=_timeout(step)
                    )
                )
            except httpx.TransportError as error:
                return _lost(error)
        assert scope.cancelled_caught
        return Lost(sent=True, reason=f"no answer within {step.timeout_s:.1f} s")


class SyncClient(_Client):
    """REST for scripts and the command line: the calls of `TrioClient` without `await`, one at a time.

    with SyncClient(["127.0.0.1:8101"]) as client: print(client.cluster())
    """

    def __init__(
        self,
        urls: Sequence[str],
        *,
        timeout_s: float = 10.0,
        attempt_timeout_s: float = 2.5,
        new_id: Callable[[], str] = random_id,
        rng: random.Random | None = None,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(
            urls,
            clock=time.monotonic,
            timeout_s=timeout_s,
            attempt_timeout_s=attempt_timeout_s,
            new_id=new_id,
            rng=rng,
            ssl_context=ssl_context,
        )
        self._http = httpx.Client(verify=self._ssl_context, limits=_limits(), trust_env=False)

    def __enter__(self) -> SyncClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def register(self, username: str, password: str, *, timeout_s: float | None = None) -> User:
        """Make a user; registering does not log in. Raises Conflict if the name is taken."""
        return self._run(self.session.register(username, password, timeout_s))

    def login(self, username: str, password: str, *, timeout_s: float | None = None) -> Login:
        """Log in and keep the token; the password is kept in memory to log in again after a 401."""
        return self._run(self.session.login(username, password, timeout_s))

    def logout(self, *, timeout_s: float | None = None) -> None:
        """Kill every token of this user, on all nodes."""
        self._run(self.session.logout(timeout_s))

    def me(self, *, timeout_s: float | None = None) -> User:
        """Who the token belongs to."""
        return self._run(self.session.me(timeout_s))

    def open_account(
        self,
        account_name: str,
        *,
        account_type: str = "individual",
        init_cash: Amount = 0,
        request_id: str | None = None,
        timeout_s: float | None = None,
    ) -> Account:
        """Open a trading account of this user and return it."""
        return self._run(self.session.open_account(account_name, account_type, init_cash, request_id, timeout_s))

    def deposit(
        self, account_id: str, amount: Amount, *, request_id: str | None = None, timeout_s: float | None = None
    ) -> Receipt:
        """Move money into an account."""
        return self._run(self.session.transfer("deposit", account_id, amount, request_id, timeout_s))

    def withdraw(
        self, account_id: str, amount: Amount, *, request_id: str | None = None, timeout_s: float | None = None
    ) -> Receipt:
        """Move money out of an account: at most its `withdraw_quota`."""
        return self._run(self.session.transfer("withdraw", account_id, amount, request_id, timeout_s))

    def accounts(self, user_id: str | None = None, *, timeout_s: float | None = None) -> list[Account]:
        """The accounts of a user (default: this one)."""
        return self._run(self.session.accounts(user_id, timeout_s))

    def account(self, account_id: str, *, timeout_s: float | None = None) -> Account:
        """The funds of one account."""
        return self._run(self.session.account(account_id, timeout_s))

    def submit(self, order: NewOrder, *, timeout_s: float | None = None) -> OrderResult:
        """Enter an order. Raises Rejected with the exchange's code and reason."""
        return self._run(self.session.submit(order, timeout_s))

    def submit_many(
        self, orders: Sequence[NewOrder], *, timeout_s: float | None = None
    ) -> list[OrderResult | ClientError]:
        """Enter orders of one account, in order: one result or error for each; one refusal does not stop the others."""
        return self._run(self.session.submit_many(orders, timeout_s))

    def cancel(self, account_id: str, order_id: str, *, timeout_s: float | None = None) -> OrderResult:
        """Cancel a live order."""
        return self._run(self.session.cancel(Cancel(account_id, order_id), timeout_s))

    def modify(self, modify: Modify, *, timeout_s: float | None = None) -> OrderResult:
        """Change price or total volume of a live limit order; less volume alone keeps its priority."""
        return self._run(self.session.modify(modify, timeout_s))

    def cancel_all(
        self, account_id: str, instrument_id: str | None = None, *, timeout_s: float | None = None
    ) -> CancelAllResult:
        """Cancel every live order of an account, or those of one instrument."""
        return self._run(self.session.cancel_all(_cancel_all(account_id, instrument_id), timeout_s))

    def order(self, order_id: str, *, timeout_s: float | None = None) -> Order:
        """One own order."""
        return self._run(self.session.order(order_id, timeout_s))

    def order_by_client_id(self, account_id: str, client_order_id: str, *, timeout_s: float | None = None) -> Order:
        """One own order by the id that the client gave it: makes an unknown outcome known."""
        return self._run(self.session.order_by_client_id(account_id, client_order_id, timeout_s))

    def orders(
        self,
        account_id: str,
        *,
        alive: bool | None = None,
        page: int = 1,
        page_size: int = 50,
        timeout_s: float | None = None,
    ) -> OrderPage:
        """The orders of an account (all, the live ones, or the finished ones), one page."""
        return self._run(self.session.orders(account_id, alive, page, page_size, timeout_s))

    def positions(self, account_id: str, *, timeout_s: float | None = None) -> list[Position]:
        """The positions of an account."""
        return self._run(self.session.positions(account_id, timeout_s))

    def trades(
        self, account_id: str, *, page: int = 1, page_size: int = 50, timeout_s: float | None = None
    ) -> TradePage:
        """The own trades of an account, one page."""
        return self._run(self.session.trades(account_id, page, page_size, timeout_s))

    def instruments(self, *, timeout_s: float | None = None) -> list[Instrument]:
        """Everything that is listed."""
        return self._run(self.session.instruments(timeout_s))

    def instrument(self, instrument_id: str, *, timeout_s: float | None = None) -> Instrument:
        """The terms of one instrument."""
        return self._run(self.session.instrument(instrument_id, timeout_s))

    def orderbook(self, instrument_id: str, *, depth: int = 10, timeout_s: float | None = None) -> Orderbook:
        """The best `depth` levels of both sides."""
        return self._run(self.session.orderbook(instrument_id, depth, timeout_s))

    def cluster(self, *, timeout_s: float | None = None) -> dict[str, Any]:
        """The cluster's status as the node sees it: members, roles, terms, indexes, hashes, quorum in words."""
        return self._run(self.session.cluster(timeout_s))

    def livez(self, url: str) -> tuple[bool, dict[str, Any]]:
        """Whether the process of exactly this node turns, and what it says. Raises Unavailable without an answer."""
        return self._run(self.session.probe(url, "/livez"))

    def readyz(self, url: str) -> tuple[bool, dict[str, Any]]:
        """Whether exactly this node can commit now, and its reasons. Raises Unavailable without an answer."""
        return self._run(self.session.probe(url, "/readyz"))

    def _run(self, flow: Flow[T]) -> T:
        outcome: Outcome = None
        while True:
            try:
                step = flow.send(outcome)
            except StopIteration as done:
                result: T = done.value
                return result
            if isinstance(step, Pause):
                outcome = None
                time.sleep(step.seconds)
            else:
                outcome = self._attempt(step)

    def _attempt(self, step: Send) -> Outcome:
        try:
            return _reply(
                self._http.request(
                    step.method, step.url, headers=step.headers, content=step.body, timeout=_timeout(step)
                )
            )
        except httpx.TransportError as error:
            return _lost(error)
