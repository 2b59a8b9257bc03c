"""Every book that the exchange publishes, one by one.

`TradingSocket` keeps a copy of the newest book and lets messages that arrive together pass as one change. A judge wants
each of them, so this is a connection of its own, made of the client's parts: sequence and checksum are verified by the
client's `BookMirror`, and the levels are handed on after every single message.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Final

import trio

from api.client import TrioClient
from api.client.book import BookBroken, BookMirror
from api.client.link import Link, LinkLost, open_link
from api.client.models import Level as PriceLevel
from api.client.wire import AuthResponse, BookDelta, BookSnapshot, LeaderChange, MessageDecoder, message
from node.lobster import Level
from node.replay.trail import Sides

DEPTH: Final = 10
CONNECT_TIMEOUT_S: Final = 2.0
PAUSE_S: Final = 0.2


class BookWatch:
    """The published books of one instrument, across reconnects.

    `took(log_index, (asks, bids))` is called for every snapshot and delta. `breaks` counts the messages that did not
    follow or whose checksum was wrong (a new snapshot is asked for); `reconnects` the connections after the first.
    """

    def __init__(
        self, client: TrioClient, instrument_id: str, tick: Decimal, took: Callable[[int, Sides], None]
    ) -> None:
        self._client = client
        self._instrument_id = instrument_id
        self._tick = tick
        self._took = took
        self._tls = ssl.create_default_context()
        self.log_index = 0  # of the newest book
        self.messages = 0
        self.breaks = 0
        self.reconnects = -1

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Watch until cancelled; started when the first snapshot is here."""
        started = False

        def first() -> None:
            nonlocal started
            if not started:
                started = True
                task_status.started()

        while True:
            url = self._client.leader_url
            try:
                await self._watch(url, first)
            except* (LinkLost, trio.TooSlowError):
                self._client.route.next(url)
            await trio.sleep(PAUSE_S)

    async def _watch(self, url: str, first: Callable[[], None]) -> None:
        with trio.fail_after(CONNECT_TIMEOUT_S):
            link = await open_link(url, "/ws", self._tls)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_write, link, nursery.cancel_scope)
                await self._read(link, first)
                nursery.cancel_scope.cancel()
        finally:
            await link.aclose()

    async def _read(self, link: Link, first: Callable[[], None]) -> None:
        """Serve one connection until the node says that it does not lead. Raises LinkLost."""
        decoder = MessageDecoder(events=False)
        mirror = BookMirror(self._instrument_id, DEPTH)
        link.send(message("auth", None, token=self._client.session.token))
        while True:
            for frame in await _receive(link):
                for item in decoder.decode(frame):
                    if isinstance(item, AuthResponse):
                        if not item.success:
                            raise LinkLost("the node refused our token")
                        self.reconnects += 1
                        self._subscribe(link)
                    elif isinstance(item, LeaderChange):
                        if item.leader is None or not self._client.route.follow(item.leader.url):
                            raise LinkLost("the node does not lead")
                        return
                    elif isinstance(item, BookSnapshot | BookDelta):
                        self._take(link, mirror, item)
                        first()

    def _take(self, link: Link, mirror: BookMirror, item: BookSnapshot | BookDelta) -> None:
        self.messages += 1
        before = mirror.seq if mirror.ready else -1
        try:
            if isinstance(item, BookSnapshot):
                mirror.snapshot(item)
            else:
                mirror.delta(item)
        except BookBroken:
            self.breaks += 1
            self._subscribe(link)
            return
        if mirror.ready and (mirror.seq != before or isinstance(item, BookSnapshot)):
            self.log_index = mirror.log_index
            self._took(mirror.log_index, (self.levels(mirror.asks), self.levels(mirror.bids)))

    def _subscribe(self, link: Link) -> None:
        link.send(message("subscribe", 0, channels=["orderbook"], instruments=[self._instrument_id], depth=DEPTH))

    def levels(self, side: Sequence[PriceLevel]) -> tuple[Level, ...]:
        """Levels as the client reads them, in ticks."""
        return tuple(Level(int(level.price / self._tick), level.volume) for level in side)


async def _write(link: Link, scope: trio.CancelScope) -> None:
    try:
        await link.write_loop()
    except LinkLost:
        scope.cancel()  # the reader would wait for what never comes


async def _receive(link: Link) -> list[bytes]:
    """The next burst; a node that is silent for longer than two of its heartbeats is gone."""
    with trio.fail_after(12.0):
        return await link.receive()
