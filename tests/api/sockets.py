"""An independent client of `/ws` for tests: the `websockets` library on trio, and plain JSON."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio
from websockets.exceptions import ConnectionClosed
from websockets.trio.client import ClientConnection, connect

from tests.api.exchange import Node

PUSHED = ("trade", "order_status", "account_update", "reset")


class Trader:
    """One authenticated socket. What is not the answer to a question is kept in `pushed`."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.pushed: list[dict[str, Any]] = []
        self._others: list[dict[str, Any]] = []  # public messages that came while a reply was awaited
        self.welcome: dict[str, Any] = {}
        self._number = 0

    @classmethod
    @asynccontextmanager
    async def connect(cls, node: Node, user_id: str, **auth: Any) -> AsyncIterator[Trader]:
        async with connect(node.ws_url, compression=None, proxy=None) as connection:
            trader = cls(connection)
            await trader.send({"type": "auth", "token": node.token(user_id), **auth})
            trader.welcome = await trader.next("auth_response")
            assert trader.welcome["success"], trader.welcome
            yield trader

    async def send(self, message: Any) -> None:
        await self.connection.send(message if isinstance(message, str) else json.dumps(message))

    async def frame(self) -> Any:
        with trio.fail_after(10):
            return json.loads(await self.connection.recv())

    async def next(self, *kinds: str) -> Any:
        """The next message of one of these types; private events that come before it are kept."""
        while True:
            frame = await self.frame()
            messages = frame if isinstance(frame, list) else [frame]
            if messages and messages[0]["type"] in kinds:
                return frame
            self.pushed += [message for message in messages if message["type"] in PUSHED]
            self._others += [message for message in messages if message["type"] not in PUSHED]

    async def reply(self) -> Any:
        """The next reply: one, or the array for an array."""
        return await self.next("order_response", "query_response", "subscribe_response", "error", "pong")

    async def ask(self, **message: Any) -> Any:
        """Send one request and return its reply."""
        self._number += 1
        await self.send({"id": self._number, **message})
        reply = await self.reply()
        assert reply["id"] == self._number
        return reply

    async def events(self, count: int) -> list[dict[str, Any]]:
        """The next `count` private events, the kept ones first."""
        while len(self.pushed) < count:
            frame = await self.frame()
            messages = frame if isinstance(frame, list) else [frame]
            self.pushed += [message for message in messages if message["type"] in PUSHED]
        events, self.pushed = self.pushed[:count], self.pushed[count:]
        return events

    def others(self, kind: str) -> list[dict[str, Any]]:
        """The public messages of one type that came before the last reply."""
        return [message for message in self._others if message["type"] == kind]

    async def closed(self) -> int:
        """The code with which the node closes."""
        try:
            while True:
                await self.frame()
        except ConnectionClosed as end:
            assert end.rcvd is not None
            return end.rcvd.code
