"""The REST surface as flows: who is logged in, every operation once, and the retry loop around `judge`.

Both clients own one `Session` and carry its flows out. It holds no socket and reads no clock of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from api.client import errors, settle
from api.client.batch import submit_batches
from api.client.codec import decode, encode, fields
from api.client.flow import Again, Done, Flow, Lost, Pause, Request, Send, judge
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

T = TypeVar("T")


class _Accounts(msgspec.Struct):
    accounts: list[Account]


class _Positions(msgspec.Struct):
    positions: list[Position]


class _Instruments(msgspec.Struct):
    instruments: list[Instrument]


class _Transfer(msgspec.Struct):
    account_id: str


class Session:
    """One client's identity, route and operations.

    `clock` gives seconds, `new_id` the ids of mutating requests. `timeout_s` bounds a whole call with all its
    attempts, `attempt_timeout_s` one attempt (a node that stands still must not use up the call).
    """

    def __init__(
        self,
        route: Route,
        *,
        clock: Callable[[], float],
        new_id: Callable[[], str],
        timeout_s: float,
        attempt_timeout_s: float,
    ) -> None:
        if timeout_s <= 0 or attempt_timeout_s <= 0:
            raise ValueError(f"timeouts must be positive, not {timeout_s} and {attempt_timeout_s}")
        self.route = route
        self.new_id = new_id
        self.timeout_s = timeout_s
        self.token: str | None = None
        self.user_id: str | None = None
        self.clock = clock
        self._attempt_timeout_s = attempt_timeout_s
        self._credentials: tuple[str, str] | None = None

    # ------------------------------------------------------------ identity

    @property
    def can_log_in(self) -> bool:
        return self._credentials is not None

    def register(self, username: str, password: str, timeout_s: float | None) -> Flow[User]:
        deadline = self._deadline(timeout_s)
        body = encode({"username": username, "password": password, "request_id": self.new_id()})
        asked = f"register {username}"
        request = Request("POST", "/api/auth/register", asked, body, mutating=True, authenticated=False)
        try:
            done = yield from self.call(request, deadline)
        except errors.Conflict as error:
            if not (error.code == errors.USERNAME_TAKEN and error.after_unknown):
                raise
            # The lost attempt may have made the user: it was ours if our password opens it.
            try:
                login = yield from self._log_in((username, password), deadline)
            except errors.Unauthenticated:
                raise error from None
            return User(login.user_id, username, login.roles)
        return decode(done.data, User, asked)

    def login(self, username: str, password: str, timeout_s: float | None) -> Flow[Login]:
        return (yield from self._log_in((username, password), self._deadline(timeout_s)))

    def relogin(self, timeout_s: float | None) -> Flow[Login]:
        """Log in again with what the last login used."""
        if self._credentials is None:
            raise errors.Unauthenticated("no password is known to this client", asked="log in again")
        return (yield from self._log_in(self._credentials, self._deadline(timeout_s)))

    def logout(self, timeout_s: float | None) -> Flow[None]:
        """Every token of the user dies, on all nodes."""
        self._credentials, credentials = None, self._credentials  # a 401 must not log in again
        request = Request("POST", "/api/auth/logout", "logout", b"{}", mutating=True)
        try:
            yield from self.call(request, self._deadline(timeout_s))
        except errors.Unauthenticated as error:
            if not error.after_unknown:
                raise
        except errors.ClientError:
            self._credentials = credentials
            raise
        self.token = self.user_id = None

    def me(self, timeout_s: float | None) -> Flow[User]:
        return (yield from self._get("/api/auth/me", User, "me", timeout_s))

    # ------------------------------------------------------------ accounts

    def open_account(
        self, account_name: str, account_type: str, init_cash: Amount, request_id: str | None, timeout_s: float | None
    ) -> Flow[Account]:
        deadline = self._deadline(timeout_s)
        request_id = request_id or self.new_id()
        asked = f"open account {account_name!r}"
        body = encode(
            {
                "account_name": account_name,
                "account_type": account_type,
                "init_cash": init_cash,
                "request_id": request_id,
            }
        )
        request = Request("POST", "/api/account/open", asked, body, sent_id=request_id, mutating=True)
        done = yield from self.call(request, deadline)
        opened = decode(done.data, _Transfer, asked)
        return (yield from self._account(opened.account_id, deadline))

    def transfer(
        self, verb: str, account_id: str, amount: Amount, request_id: str | None, timeout_s: float | None
    ) -> Flow[Receipt]:
        """`verb` is "deposit" or "withdraw"."""
        request_id = request_id or self.new_id()
        asked = f"{verb} {amount} {account_id}"
        body = encode({"account_id": account_id, "amount": amount, "request_id": request_id})
        request = Request("POST", f"/api/account/{verb}", asked, body, sent_id=request_id, mutating=True)
        done = yield from self.call(request, self._deadline(timeout_s))
        if done.receipt is None:
            raise errors.ProtocolError("a mutating call was answered without a receipt", asked=asked)
        return done.receipt

    def accounts(self, user_id: str | None, timeout_s: float | None) -> Flow[list[Account]]:
        deadline = self._deadline(timeout_s)
        owner = yield from self._owner(user_id, deadline)
        asked = f"accounts of {owner}"
        request = Request("GET", f"/api/user/{quote(owner, safe='')}/accounts", asked)
        done = yield from self.call(request, deadline)
        listed = decode(done.data, _Accounts, asked)
        return listed.accounts

    def account(self, account_id: str, timeout_s: float | None) -> Flow[Account]:
        return (yield from self._account(account_id, self._deadline(timeout_s)))

    # ------------------------------------------------------------ orders

    def submit(self, order: NewOrder, timeout_s: float | None) -> Flow[OrderResult]:
        sent_id = order.client_order_id or self.new_id()
        if not order.client_order_id:
            order = msgspec.structs.replace(order, client_order_id=sent_id)
        asked = f"submit {order.account_id} {order.instrument_id}"
        request = Request("POST", "/api/order/submit", asked, encode(order), sent_id=sent_id, mutating=True)
        return (yield from self._order_call(request, self._deadline(timeout_s)))

    def submit_many(
        self, orders: Sequence[NewOrder], timeout_s: float | None
    ) -> Flow[list[OrderResult | errors.ClientError]]:
        return (yield from submit_batches(self, orders, self._deadline(timeout_s)))

    def cancel(self, cancel: Cancel, timeout_s: float | None) -> Flow[OrderResult]:
        asked = f"cancel {cancel.account_id} {cancel.order_id}"
        request = Request("POST", "/api/order/cancel", asked, encode(cancel), mutating=True)
        return (yield from self._settling(cancel, request, timeout_s))

    def modify(self, modify: Modify, timeout_s: float | None) -> Flow[OrderResult]:
        asked = f"modify {modify.account_id} {modify.order_id}"
        body = encode({key: value for key, value in fields(modify).items() if key != "order_id"})
        path = f"/api/order/modify/{quote(modify.order_id, safe='')}"
        return (yield from self._settling(modify, Request("PUT", path, asked, body, mutating=True), timeout_s))

    def cancel_all(self, cancel: CancelAll, timeout_s: float | None) -> Flow[CancelAllResult]:
        asked = f"cancel all of {cancel.account_id}"
        request = Request("POST", "/api/order/cancel-all", asked, encode(cancel), mutating=True)
        done = yield from self.call(request, self._deadline(timeout_s))
        result = decode(done.data, CancelAllResult, asked)
        result.receipt = done.receipt
        return result

    def order(self, order_id: str, timeout_s: float | None) -> Flow[Order]:
        return (yield from self._get(f"/api/order/{quote(order_id, safe='')}", Order, f"order {order_id}", timeout_s))

    def order_by_client_id(self, account_id: str, client_order_id: str, timeout_s: float | None) -> Flow[Order]:
        path = f"/api/order/by-client-id/{quote(account_id, safe='')}/{quote(client_order_id, safe='')}"
        return (yield from self._get(path, Order, f"order {account_id} {client_order_id}", timeout_s))

    def orders(
        self, account_id: str, alive: bool | None, page: int, page_size: int, timeout_s: float | None
    ) -> Flow[OrderPage]:
        query = {"page": str(page), "page_size": str(page_size)}
        if alive is not None:
            query["alive"] = "true" if alive else "false"
        path = f"/api/order/account/{quote(account_id, safe='')}?" + urlencode(query)
        return (yield from self._get(path, OrderPage, f"orders of {account_id}", timeout_s))

    def positions(self, account_id: str, timeout_s: float | None) -> Flow[list[Position]]:
        path = f"/api/position/account/{quote(account_id, safe='')}"
        listed = yield from self._get(path, _Positions, f"positions of {account_id}", timeout_s)
        return listed.positions

    def trades(self, account_id: str, page: int, page_size: int, timeout_s: float | None) -> Flow[TradePage]:
        path = f"/api/trades/account/{quote(account_id, safe='')}?" + urlencode({"page": page, "page_size": page_size})
        return (yield from self._get(path, TradePage, f"trades of {account_id}", timeout_s))

    # ------------------------------------------------------------ market and cluster

    def instruments(self, timeout_s: float | None) -> Flow[list[Instrument]]:
        listed = yield from self._get("/api/market/instruments", _Instruments, "instruments", timeout_s)
        return listed.instruments

    def instrument(self, instrument_id: str, timeout_s: float | None) -> Flow[Instrument]:
        path = f"/api/market/instrument/{quote(instrument_id, safe='')}"
        return (yield from self._get(path, Instrument, f"instrument {instrument_id}", timeout_s))

    def orderbook(self, instrument_id: str, depth: int, timeout_s: float | None) -> Flow[Orderbook]:
        path = f"/api/market/orderbook/{quote(instrument_id, safe='')}?" + urlencode({"depth": depth})
        return (yield from self._get(path, Orderbook, f"orderbook {instrument_id}", timeout_s))

    def cluster(self, timeout_s: float | None) -> Flow[dict[str, Any]]:
        """The status of the cluster as one node sees it."""
        return (yield from self._get("/api/cluster", dict[str, Any], "cluster", timeout_s, authenticated=False))

    def probe(self, url: str, path: str) -> Flow[tuple[bool, dict[str, Any]]]:
        """Ask exactly this node for `/livez` or `/readyz`: its verdict and what it says about it. Never retried."""
        outcome = yield Send("GET", url + path, {}, None, self._attempt_timeout_s)
        if isinstance(outcome, Lost) or outcome is None:
            reason = outcome.reason if outcome is not None else "no answer"
            raise errors.Unavailable(reason, asked=f"GET {url}{path}")
        return outcome.status == 200, decode(outcome.body, dict[str, Any], f"GET {url}{path}")

    # ------------------------------------------------------------ the shared parts

    def _deadline(self, timeout_s: float | None) -> float:
        return self.clock() + (self.timeout_s if timeout_s is None else timeout_s)

    def _owner(self, user_id: str | None, deadline: float) -> Flow[str]:
        if user_id is None and self.user_id is None:
            done = yield from self.call(Request("GET", "/api/auth/me", "me"), deadline)
            user = decode(done.data, User, "me")
            self.user_id = user.user_id
        return user_id or self.user_id or ""

    def _log_in(self, credentials: tuple[str, str], deadline: float) -> Flow[Login]:
        username, password = credentials
        body = encode({"username": username, "password": password})
        asked = f"login {username}"
        request = Request("POST", "/api/auth/login", asked, body, authenticated=False)
        done = yield from self.call(request, deadline)
        login = decode(done.data, Login, asked)
        self.token, self.user_id, self._credentials = login.token, login.user_id, credentials
        return login

    def _account(self, account_id: str, deadline: float) -> Flow[Account]:
        asked = f"account {account_id}"
        done = yield from self.call(Request("GET", f"/api/account/{quote(account_id, safe='')}", asked), deadline)
        return decode(done.data, Account, asked)

    def _get(
        self, path: str, kind: type[T], asked: str, timeout_s: float | None, *, authenticated: bool = True
    ) -> Flow[T]:
        request = Request("GET", path, asked, authenticated=authenticated)
        done = yield from self.call(request, self._deadline(timeout_s))
        return decode(done.data, kind, asked)

    def _order_call(self, request: Request, deadline: float) -> Flow[OrderResult]:
        done = yield from self.call(request, deadline)
        result = decode(done.data, OrderResult, request.asked)
        result.receipt = done.receipt
        return result

    def _settling(self, goal: Cancel | Modify, request: Request, timeout_s: float | None) -> Flow[OrderResult]:
        deadline = self._deadline(timeout_s)
        try:
            return (yield from self._order_call(request, deadline))
        except errors.ClientError as error:
            if not (error.after_unknown and settle.worth_asking(goal, error)):
                raise
            path = f"/api/order/{quote(goal.order_id, safe='')}"
            done = yield from self.call(Request("GET", path, request.asked), deadline)
            result = settle.settled(goal, decode(done.data, Order, request.asked))
            if result is None:
                raise error from None
            return result

    def call(self, request: Request, deadline: float) -> Flow[Done]:
        """Attempts until there is an answer or the deadline passed; the same bytes every time."""
        unknown = False  # an attempt may have been executed
        logged_in = False
        said: dict[str, str] = {}  # per node, the last reason why it was of no use
        refusal = errors.ErrorBody(0)
        while (left := deadline - self.clock()) > 0:
            url = self.route.current
            headers = {"accept": "application/json"}
            if request.body is not None:
                headers["content-type"] = "application/json"
            if request.authenticated and self.token is not None:
                headers["authorization"] = f"Bearer {self.token}"
            outcome = yield Send(
                request.method, url + request.path, headers, request.body, min(left, self._attempt_timeout_s)
            )
            assert outcome is not None
            if isinstance(outcome, Lost):
                unknown |= outcome.sent and request.mutating
                said[url] = outcome.reason
                self.route.next(url)
                yield Pause(min(self.route.pause_s(), left))
                continue
            verdict = judge(outcome, request)
            if isinstance(verdict, Done):
                self.route.good()
                return verdict
            if isinstance(verdict, Again):
                unknown |= verdict.unsure and request.mutating
                said[url] = verdict.reason
                refusal = verdict.refusal or refusal
                yield from self._before_next(url, verdict, deadline)
                continue
            error = verdict.error
            expired = isinstance(error, errors.Unauthenticated) and request.authenticated and not logged_in
            if expired and self._credentials is not None:
                logged_in = True
                yield from self._log_in(self._credentials, deadline)
                continue
            error.after_unknown = unknown
            raise error
        kind = errors.OutcomeUnknown if unknown else errors.Unavailable
        raise kind(
            "no answer before the deadline" + "".join(f"; {url}: {reason}" for url, reason in said.items()),
            asked=request.asked,
            sent_id=request.sent_id,
            code=refusal.code,
            name=refusal.name,
            message_zh=refusal.message_zh,
            details=refusal.details,
        )

    def _before_next(self, url: str, verdict: Again, deadline: float) -> Flow[None]:
        """Turn to the node to ask next, and wait as long as is right."""
        left = deadline - self.clock()
        if verdict.limited is not None:
            wait_s = 1.0 if verdict.after_ms is None else verdict.after_ms / 1000
            if wait_s >= left:
                raise verdict.limited
            yield Pause(wait_s)
            return
        followed = self.route.follow(verdict.leader)
        if verdict.move_on and not followed:
            self.route.next(url)
        # Two nodes may name each other while they elect: following costs no wait only a few times in a row.
        yield Pause(min(self.route.pause_s(None if followed else verdict.after_ms), max(left, 0.0)))
