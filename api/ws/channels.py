"""The public channels of `/ws`: order books, trades and last prices, made once per applied entry and encoded once.

A message is made only for what somebody has subscribed, and is the same bytes for every subscriber. An order-book
subscriber whose queue is long is left out (`Subscriber.congested`) and gets a fresh snapshot when it has caught up.

`seq` of a book counts the applied entries that touched it, on every node alike. `prev_seq` of a delta is the `seq` of
the message before it on the same subscription.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from api.render import money, price, public_trade
from api.ws import book
from api.ws.frames import message_frame
from node.exchange.events import Event, OrderAccepted, OrderCancelled, OrderModified, TradeExecuted
from node.exchange.instruments import Instrument
from node.exchange.machine import Machine


class Subscriber(Protocol):
    """A socket, as the channels see it."""

    @property
    def congested(self) -> bool:
        """Whether so much waits for it that market data should be left out."""
        ...

    def send_frame(self, frame: bytes) -> None: ...

    def left_out(self, stream: BookStream) -> None:
        """It missed a delta: ask for `stream.snapshot` when it has caught up."""
        ...


class BookStream:
    """The book of one instrument down to one depth, as its subscribers know it."""

    def __init__(self, instrument: Instrument, depth: int, seq: int) -> None:
        self.instrument = instrument
        self.depth = depth
        self.seq = seq  # of the last message
        self.subscribers: dict[Subscriber, None] = {}
        self._bids = book.levels(instrument, 1, depth)
        self._asks = book.levels(instrument, -1, depth)

    def snapshot(self, log_index: int) -> bytes:
        """The book as the last message left it."""
        return message_frame(
            {
                "type": "orderbook",
                "instrument_id": self.instrument.instrument_id,
                "seq": self.seq,
                "log_index": log_index,
                "last_price": price(self.instrument, self.instrument.last_ticks),
                "bids": book.level_bodies(self._bids),
                "asks": book.level_bodies(self._asks),
                "checksum": book.checksum(self._bids, self._asks),
            }
        )

    def publish(self, seq: int, log_index: int) -> None:
        """The book was touched: send what has changed, if anything can be seen of it."""
        bids = book.levels(self.instrument, 1, self.depth)
        asks = book.levels(self.instrument, -1, self.depth)
        changed_bids, changed_asks = book.difference(self._bids, bids), book.difference(self._asks, asks)
        if not (changed_bids or changed_asks):
            return
        self._bids, self._asks = bids, asks
        delta = message_frame(
            {
                "type": "orderbook_delta",
                "instrument_id": self.instrument.instrument_id,
                "seq": seq,
                "prev_seq": self.seq,
                "log_index": log_index,
                "last_price": price(self.instrument, self.instrument.last_ticks),
                "bids": book.level_bodies(changed_bids),
                "asks": book.level_bodies(changed_asks),
                "checksum": book.checksum(bids, asks),
            }
        )
        self.seq = seq
        for subscriber in tuple(self.subscribers):
            if subscriber.congested:
                subscriber.left_out(self)
            else:
                subscriber.send_frame(delta)


class Market:
    """All public subscriptions of one front door."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._versions: dict[str, int] = {}  # instrument -> entries that touched its book
        self._books: dict[str, dict[int, BookStream]] = {}  # instrument -> depth -> stream
        self._listeners: dict[tuple[str, str], dict[Subscriber, None]] = {}  # (channel, instrument)

    def version(self, instrument_id: str) -> int:
        """How many applied entries have touched the book of an instrument."""
        return self._versions.get(instrument_id, 0)

    def versions(self) -> dict[str, int]:
        """How many entries have touched each book."""
        return dict(self._versions)

    def restore(self, versions: Mapping[str, int]) -> None:
        """Go on counting there."""
        self._versions = dict(versions)

    def observe(self, index: int, time_ns: int, events: list[Event]) -> None:
        """The events of one applied entry, right after it was applied."""
        touched: dict[str, list[TradeExecuted]] = {}
        for event in events:
            kind = type(event)
            if kind is TradeExecuted:
                touched.setdefault(event.instrument_id, []).append(event)  # type: ignore[attr-defined,arg-type]
            elif kind is OrderAccepted or kind is OrderCancelled or kind is OrderModified:
                instrument_id = event.instrument_id  # type: ignore[attr-defined]
                if instrument_id not in touched:
                    touched[instrument_id] = []
        for instrument_id, trades in touched.items():
            seq = self._versions[instrument_id] = self._versions.get(instrument_id, 0) + 1
            streams = self._books.get(instrument_id)
            if streams:
                for stream in tuple(streams.values()):
                    stream.publish(seq, index)
            if trades and self._listeners:
                self._publish_trades(instrument_id, trades, index, time_ns)

    def _publish_trades(self, instrument_id: str, trades: list[TradeExecuted], index: int, time_ns: int) -> None:
        instrument = self._machine.instruments[instrument_id]
        readers = self._listeners.get(("trades", instrument_id))
        if readers:
            bodies = [public_trade(trade, instrument, time_ns, index) for trade in trades]
            message = {"type": "trades", "instrument_id": instrument_id, "log_index": index, "trades": bodies}
            _send(readers, message_frame(message))
        readers = self._listeners.get(("last_price", instrument_id))
        if readers:
            _send(readers, self._last_price(instrument, index, time_ns))

    def _last_price(self, instrument: Instrument, index: int, time_ns: int) -> bytes:
        return message_frame(
            {
                "type": "last_price",
                "instrument_id": instrument.instrument_id,
                "last_price": price(instrument, instrument.last_ticks),
                "volume": instrument.day_volume,
                "turnover": money(instrument.day_turnover_units),
                "open_interest": instrument.open_interest,
                "log_index": index,
                "time_ns": time_ns,
            }
        )

    def subscribe(self, subscriber: Subscriber, channel: str, instrument: Instrument, depth: int) -> bytes | None:
        """Enter a subscriber; returns the frame that it starts with, if the channel has one.

        Subscribing a book again answers a fresh snapshot, and replaces the depth.
        """
        machine, instrument_id = self._machine, instrument.instrument_id
        if channel == "orderbook":
            self.unsubscribe(subscriber, channel, instrument_id)
            streams = self._books.setdefault(instrument_id, {})
            stream = streams.get(depth)
            if stream is None:
                stream = streams[depth] = BookStream(instrument, depth, self.version(instrument_id))
            stream.subscribers[subscriber] = None
            return stream.snapshot(machine.index)
        self._listeners.setdefault((channel, instrument_id), {})[subscriber] = None
        if channel == "last_price":
            return self._last_price(instrument, machine.index, machine.time_ns)
        return None

    def unsubscribe(self, subscriber: Subscriber, channel: str, instrument_id: str) -> None:
        """Take a subscriber out; not being in is no error."""
        if channel == "orderbook":
            streams = self._books.get(instrument_id, {})
            for depth, stream in list(streams.items()):
                stream.subscribers.pop(subscriber, None)
                if not stream.subscribers:
                    del streams[depth]
            if not streams:
                self._books.pop(instrument_id, None)
            return
        readers = self._listeners.get((channel, instrument_id))
        if readers is not None:
            readers.pop(subscriber, None)
            if not readers:
                del self._listeners[(channel, instrument_id)]


def _send(readers: dict[Subscriber, None], message: bytes) -> None:
    for reader in tuple(readers):
        reader.send_frame(message)
