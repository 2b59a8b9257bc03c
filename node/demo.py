"""The demo traders of `qaexchange up`: seeded programs that trade through the public API like anybody else.

Each trader is a user of its own (demo1, demo2, …) with one account. It quotes around the reference price, takes,
cancels, and closes what it holds before it holds much, over one trading socket that follows the leader. Prices and
decisions come from the seed; what the others do to its orders does not, so two runs are alike and not equal.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
import os
import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Final, Literal

import msgspec
import trio

from api.client import (
    BookMirror,
    ClientError,
    Conflict,
    Direction,
    Instrument,
    NewOrder,
    NotFound,
    Offset,
    OrderEvent,
    OutcomeUnknown,
    Position,
    Rejected,
    Reset,
    TimeCondition,
    TradingSocket,
    TrioClient,
    Unavailable,
)
from node import entropy
from node.config import ClusterConfig, DemoConfig
from node.errors import SecretsError

CASH: Final = Decimal(10_000_000)  # what an account is filled up to
CASH_LOW: Final = Decimal(2_000_000)  # ... when it has less than this available
INSTRUMENTS_MAX: Final = 4  # traded at a time
REPLAY_EXCHANGE: Final = "SIM"  # where `qaexchange replay` wants the book to itself
ORDERS_LIVE_MAX: Final = 6  # per trader and instrument
LOTS_HELD_MAX: Final = 4  # per trader, instrument and side, before it closes
LOTS_PER_ORDER_MAX: Final = 3
TICKS_AROUND: Final = 6  # how far from its idea of the price a trader quotes
TICKS_OF_DRIFT: Final = 40  # how far that idea wanders from the reference price
LATENCIES_KEPT: Final = 2_048
RATE_WINDOW_S: Final = 10.0
PAUSE_AFTER_ERROR_S: Final = 1.0
PAGE_SIZE: Final = 200
CANCEL_SHARE: Final = 0.25  # of decisions while orders are live
TAKE_SHARE: Final = 0.3  # of orders that open
CLOSE_EVERY: Final = 5  # decisions between two looks at the positions
INSUFFICIENT_FUNDS: Final = 1001
CLOSED_BY_DAY: Final = frozenset({"SHFE", "INE"})  # exchanges where today's lots need CLOSETODAY (domain.md 5)


class _DemoFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    secret: str


@dataclass(slots=True)
class DemoFigures:
    """What all demo traders together saw. Bounded, whatever the length of the run."""

    acknowledged: int = 0  # orders, cancels and closes that the exchange answered with a receipt
    rejected: int = 0  # refused by the exchange: part of trading
    errors: int = 0  # anything else: no answer in time, no leader, connection lost for good
    reconnects: int = 0
    trading: int = 0  # traders that have their account and their socket
    last_error: str = ""
    latencies_s: deque[float] = field(default_factory=lambda: deque(maxlen=LATENCIES_KEPT))
    acknowledged_at_s: deque[float] = field(default_factory=lambda: deque(maxlen=LATENCIES_KEPT))

    def note(self, now_s: float, latency_s: float) -> None:
        self.acknowledged += 1
        self.latencies_s.append(latency_s)
        self.acknowledged_at_s.append(now_s)

    def rate(self, now_s: float) -> float:
        """Acknowledgements per second over the last `RATE_WINDOW_S`."""
        times = self.acknowledged_at_s
        recent = sum(at > now_s - RATE_WINDOW_S for at in times)
        full = len(times) == times.maxlen and recent == len(times)
        return recent / (max(now_s - times[0], 1e-3) if full else RATE_WINDOW_S)

    def latency_ms(self, quantile: float) -> float | None:
        """A quantile of the last acknowledgement latencies, in ms; None before the first."""
        if not self.latencies_s:
            return None
        ordered = sorted(self.latencies_s)
        return 1000 * ordered[min(len(ordered) - 1, int(quantile * len(ordered)))]


class DemoTraders:
    """The demo traders of one configuration, and what the table of `qaexchange up` says about them."""

    def __init__(self, config: ClusterConfig) -> None:
        self._config = config
        self.figures = DemoFigures()

    async def run(self) -> None:
        """Trade until cancelled. Raises SecretsError if the file with their secret cannot be used."""
        config = self._config
        await run_demo(
            [node.api_url for node in config.nodes],
            config.demo,
            demo_secret(config.secrets_dir / "demo.json"),
            self.figures,
            rng=random.Random(config.demo.seed),  # noqa: S311 (a seeded demo)
        )

    def lines(self) -> list[str]:
        """What there is to say, for people."""
        figures = self.figures
        p50, p99 = figures.latency_ms(0.5), figures.latency_ms(0.99)
        latency = "" if p50 is None or p99 is None else f", acknowledged in {p50:.1f} ms (p50), {p99:.1f} ms (p99)"
        text = (
            f"demo traders: {figures.trading} trading, {figures.rate(trio.current_time()):.1f} orders/s{latency}; "
            f"{figures.acknowledged} acknowledged, {figures.rejected} rejected, {figures.errors} errors, "
            f"{figures.reconnects} reconnects"
        )
        return [text, f"last error: {figures.last_error}"] if figures.last_error else [text]


def demo_secret(path: Path) -> bytes:
    """The secret that the traders' passwords are derived from; made once per cluster, mode 0600.

    Raises SecretsError.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        try:
            return msgspec.json.decode(path.read_bytes(), type=_DemoFile).secret.encode()
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            raise SecretsError(f"{path}: cannot be used: {error}; remove it with the cluster's data") from None
    except OSError as error:
        raise SecretsError(f"{path}: cannot be made: {error.strerror or error}") from error
    made = _DemoFile(secret=entropy.random_bytes(32).hex())
    with os.fdopen(descriptor, "wb") as file:
        file.write(msgspec.json.encode(made) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    return made.secret.encode()


def password_of(secret: bytes, username: str) -> str:
    """A trader's password: the same on every start of this cluster, and on no other."""
    return base64.urlsafe_b64encode(hmac.digest(secret, username.encode(), hashlib.sha256))[:32].decode()


async def run_demo(
    urls: Sequence[str], settings: DemoConfig, secret: bytes, figures: DemoFigures, *, rng: random.Random
) -> None:
    """Run `settings.traders` traders at `settings.orders_per_second` in all until cancelled.

    The users are registered, or logged in to if they exist. Nothing that the cluster does ends a trader: what goes
    wrong is counted in `figures`, and it starts again.
    """
    if not settings.traders:
        return
    period_s = settings.traders / settings.orders_per_second
    async with trio.open_nursery() as nursery:
        for number in range(1, settings.traders + 1):
            name = f"demo{number}"
            own = random.Random(rng.getrandbits(64))  # noqa: S311
            trader = _Trader(urls, name, password_of(secret, name), period_s, figures, own)
            nursery.start_soon(trader.run)


@dataclass(slots=True)
class _Market:
    """One instrument as one trader sees it."""

    instrument: Instrument
    reference: Decimal
    book: BookMirror
    drift: int = 0  # ticks that its idea of the price is away from the reference
    live: dict[str, None] = field(default_factory=dict)  # ids of its live orders, oldest first


class _Trader:
    def __init__(
        self,
        urls: Sequence[str],
        name: str,
        password: str,
        period_s: float,
        figures: DemoFigures,
        rng: random.Random,
    ) -> None:
        self._urls = urls
        self._name = name
        self._password = password
        self._period_s = period_s
        self._figures = figures
        self._rng = rng
        self._account_id = ""
        self._markets: dict[str, _Market] = {}

    # Being there

    async def run(self) -> None:
        while True:
            try:
                async with TrioClient(self._urls, rng=random.Random(self._rng.getrandbits(64))) as client:  # noqa: S311
                    await self._log_in(client)
                    await self._find_account(client)
                    async with client.open_socket() as socket:
                        await self._trade(client, socket)
            except ClientError as error:
                self._failed(error)
            await trio.sleep(PAUSE_AFTER_ERROR_S)

    async def _log_in(self, client: TrioClient) -> None:
        try:
            await client.register(self._name, self._password)
        except Conflict:
            pass  # from an earlier run of this cluster
        await client.login(self._name, self._password)

    async def _find_account(self, client: TrioClient) -> None:
        """The trader's account, opened if it has none, with money to trade."""
        accounts = await client.accounts()
        if accounts:
            account = accounts[0]
        else:
            # The same id at every attempt, also after a crash before the answer: one account per trader.
            account = await client.open_account(self._name, init_cash=CASH, request_id=f"{self._name}-account")
        self._account_id = account.account_id
        if account.available < CASH_LOW:
            await client.deposit(account.account_id, CASH)

    def _failed(self, error: ClientError) -> None:
        self._figures.errors += 1
        self._figures.last_error = f"{self._name}: {error}"

    # Trading

    async def _trade(self, client: TrioClient, socket: TradingSocket) -> None:
        """Trade until the socket ends. Raises the ClientError that ended it."""
        await self._look_around(client, socket)
        figures = self._figures
        figures.trading += 1
        reconnects = 0
        failure: ClientError | None = None
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._follow_events, socket)
                due = trio.current_time() + self._rng.uniform(0, self._period_s)
                for count in itertools.count():
                    await trio.sleep_until(due)
                    if not socket.connected:
                        await socket.wait_connected()
                    await self._act(client, socket, count)
                    figures.reconnects += socket.reconnects - reconnects
                    reconnects = socket.reconnects
                    # A trader that was held up (nobody led for a while) does not make up for it in a burst.
                    due = max(due + self._period_s, trio.current_time())
        except* ClientError as group:
            failure = _first(group)
        finally:
            figures.trading -= 1
        if failure is not None:
            raise failure

    async def _look_around(self, client: TrioClient, socket: TradingSocket) -> None:
        """Learn the instruments, subscribe their books, and learn which orders are live from before."""
        listed = [
            each
            for each in await client.instruments()
            if each.phase == "continuous" and each.pre_settlement and each.exchange_id != REPLAY_EXCHANGE
        ]
        self._markets = {}
        for instrument in listed[:INSTRUMENTS_MAX]:
            assert instrument.pre_settlement is not None
            book = await socket.subscribe_orderbook(instrument.instrument_id, depth=5)
            self._markets[instrument.instrument_id] = _Market(instrument, instrument.pre_settlement, book)
        if not self._markets:
            raise NotFound("no instrument with a reference price is in continuous trading", asked="demo traders")
        await self._find_live_orders(socket)

    async def _find_live_orders(self, socket: TradingSocket) -> None:
        page = await socket.query_orders(self._account_id, alive=True, page_size=PAGE_SIZE)
        for market in self._markets.values():
            market.live.clear()
        for order in reversed(page.items):
            if traded := self._markets.get(order.instrument_id):
                traded.live[order.order_id] = None

    async def _follow_events(self, socket: TradingSocket) -> None:
        """Keep the sets of live orders. An order_status is the whole state, so an old one does no harm."""
        async for event in socket.events:
            if isinstance(event, Reset):
                await self._find_live_orders(socket)
            elif isinstance(event, OrderEvent) and (market := self._markets.get(event.instrument_id)):
                if event.alive:
                    market.live[event.order_id] = None
                else:
                    market.live.pop(event.order_id, None)

    async def _act(self, client: TrioClient, socket: TradingSocket, count: int) -> None:
        """One order, cancel or close, and what became of it."""
        market = self._markets[self._rng.choice(list(self._markets))]
        try:
            order = await self._close(socket) if count % CLOSE_EVERY == 0 else None
            asked_at = trio.current_time()
            if order is not None:
                await socket.submit(order)
            elif market.live and (len(market.live) >= ORDERS_LIVE_MAX or self._rng.random() < CANCEL_SHARE):
                await socket.cancel(self._account_id, next(iter(market.live)))
            else:
                await socket.submit(self._open(market))
            now = trio.current_time()
            self._figures.note(now, now - asked_at)
        except (Rejected, NotFound) as error:
            self._figures.rejected += 1
            if error.code == INSUFFICIENT_FUNDS:
                await client.deposit(self._account_id, CASH)
        except (Unavailable, OutcomeUnknown) as error:
            self._failed(error)

    def _open(self, market: _Market) -> NewOrder:
        """A quote around the trader's idea of the price, or an order at the other side's best."""
        rng = self._rng
        market.drift = max(-TICKS_OF_DRIFT, min(TICKS_OF_DRIFT, market.drift + rng.choice((-1, 0, 0, 1))))
        side: Direction = rng.choice(("BUY", "SELL"))
        other = market.book.best_ask if side == "BUY" else market.book.best_bid
        if other is not None and rng.random() < TAKE_SHARE:
            return self._order(market, side, "OPEN", other.price, rng.randint(1, LOTS_PER_ORDER_MAX), "IOC")
        away = rng.randint(0, TICKS_AROUND)
        ticks = market.drift + (-away if side == "BUY" else away)
        price = market.reference + ticks * market.instrument.price_tick
        return self._order(market, side, "OPEN", price, rng.randint(1, LOTS_PER_ORDER_MAX), "GFD")

    async def _close(self, socket: TradingSocket) -> NewOrder | None:
        """An order that reduces the largest holding, if that is too large."""
        held: list[tuple[int, Offset, Direction, _Market]] = []
        for position in await socket.query_position(self._account_id):
            if known := self._markets.get(position.instrument_id):
                held.append((*_closable(position, "long"), "SELL", known))
                held.append((*_closable(position, "short"), "BUY", known))
        if not held:
            return None
        lots, offset, direction, market = max(held, key=lambda each: each[0])
        if lots <= LOTS_HELD_MAX:
            return None
        other = market.book.best_bid if direction == "SELL" else market.book.best_ask
        price = other.price if other is not None else market.reference + market.drift * market.instrument.price_tick
        return self._order(market, direction, offset, price, lots // 2, "IOC")

    def _order(
        self, market: _Market, side: Direction, offset: Offset, price: Decimal, lots: int, condition: TimeCondition
    ) -> NewOrder:
        """An order inside the instrument's price limits."""
        terms = market.instrument
        if terms.upper_limit is not None:
            price = min(price, terms.upper_limit)
        if terms.lower_limit is not None:
            price = max(price, terms.lower_limit)
        return NewOrder(self._account_id, terms.instrument_id, side, offset, lots, price, time_condition=condition)


def _closable(position: Position, side: Literal["long", "short"]) -> tuple[int, Offset]:
    """Free lots of one side that one close order can take, and its offset."""
    if side == "long":
        lots, frozen = position.volume_long, position.volume_long_frozen
        today, frozen_today = position.volume_long_today, position.volume_long_frozen_today
    else:
        lots, frozen = position.volume_short, position.volume_short_frozen
        today, frozen_today = position.volume_short_today, position.volume_short_frozen_today
    if position.exchange_id not in CLOSED_BY_DAY:
        return lots - frozen, "CLOSE"
    of_today, of_history = today - frozen_today, (lots - today) - (frozen - frozen_today)
    return (of_today, "CLOSETODAY") if of_today >= of_history else (of_history, "CLOSE")


def _first(group: BaseExceptionGroup[ClientError]) -> ClientError:
    """The first error of a group, however deep."""
    first = group.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first
