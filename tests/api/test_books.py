"""Public channels: snapshot and deltas are the book, the checksum proves it, trades and last prices follow."""

from __future__ import annotations

import random
from decimal import Decimal
from typing import Any
from zlib import crc32

import pytest

from api.ws import book, session
from tests.api.exchange import COPPER, Node, client, order
from tests.api.sockets import Trader


class Copy:
    """A client's copy of a book, kept by the letter of the documentation and nothing of our code."""

    def __init__(self, snapshot: dict[str, Any]) -> None:
        self.seq = snapshot["seq"]
        self.sides = {side: {row["price"]: row for row in snapshot[side]} for side in ("bids", "asks")}
        assert self.checksum() == snapshot["checksum"]

    def apply(self, delta: dict[str, Any]) -> None:
        assert delta["prev_seq"] == self.seq, (delta, self.seq)
        self.seq = delta["seq"]
        for side, levels in self.sides.items():
            for row in delta[side]:
                if row["volume"]:
                    levels[row["price"]] = row
                else:
                    del levels[row["price"]]
        assert self.checksum() == delta["checksum"]

    def rows(self, side: str) -> list[dict[str, Any]]:
        return [self.sides[side][at] for at in sorted(self.sides[side], reverse=side == "bids")]

    def checksum(self) -> int:
        best = self.rows("bids")[:10] + self.rows("asks")[:10]
        return crc32("|".join(f"{row['price']}:{row['volume']}" for row in best).encode())


def test_the_documented_checksum_vectors() -> None:
    assert book.checksum([], []) == 0
    assert book.checksum([(70_010, 3, 1), (70_000, 5, 2)], [(70_020, 1, 1)]) == crc32(b"70010:3|70000:5|70020:1")
    assert book.checksum([(Decimal("12.5"), 100, 4)], [(13, 7, 1)]) == crc32(b"12.5:100|13:7")


@pytest.mark.parametrize("depth", [1, 3, 10, 20])
async def test_snapshot_and_deltas_are_the_book(node: Node, depth: int) -> None:
    """A random market through one socket, its book followed by another at some depth, compared with REST at the end."""
    rng = random.Random(depth)
    alice, ours = await node.add_trader("alice", cash=10**9)
    bob, _ = await node.add_trader("bob", cash=10**9)
    async with Trader.connect(node, alice) as maker, Trader.connect(node, bob) as reader, client(node, bob) as http:
        await maker.ask(type="submit_order", **order(ours, price=69_900))
        answer = await reader.ask(type="subscribe", channels=["orderbook"], instruments=[COPPER], depth=depth)
        assert answer["success"]
        copy = Copy(await reader.next("orderbook"))
        for _ in range(40):
            batch: list[dict[str, Any]] = []
            for _ in range(rng.randint(1, 6)):
                side = rng.choice(["BUY", "SELL"])
                price = 70_000 + rng.randint(-15, 12) * 10 * (1 if side == "BUY" else -1)
                batch.append(
                    {"type": "submit_order", **order(ours, direction=side, price=price, volume=rng.randint(1, 3))}
                )
            if rng.random() < 0.2:
                batch.append({"type": "cancel_all", "account_id": ours})
            await maker.send(batch)
            await maker.reply()
        await reader.ask(type="unsubscribe", channels=["orderbook"], instruments=[COPPER])
        final = (await http.get(f"/api/market/orderbook/{COPPER}", params={"depth": depth})).json()["data"]
        for delta in reader.others("orderbook_delta"):
            copy.apply(delta)
        assert copy.rows("bids") == final["bids"] and copy.rows("asks") == final["asks"]
        assert copy.checksum() == final["checksum"]


async def test_trades_and_last_prices_are_told_once_per_entry(node: Node) -> None:
    alice, ours = await node.add_trader("alice")
    bob, theirs = await node.add_trader("bob")
    async with Trader.connect(node, alice) as reader, Trader.connect(node, bob) as trader:
        await reader.ask(type="subscribe", channels=["trades", "last_price"], instruments=[COPPER])
        assert (await reader.next("last_price"))["last_price"] == 70_000
        await reader.ask(type="submit_order", **order(ours, volume=2, price=70_010))
        await reader.ask(type="submit_order", **order(ours, volume=2, price=70_000))
        await trader.ask(type="submit_order", **order(theirs, direction="SELL", volume=3, price=70_000))
        told = await reader.next("trades")
        assert [(t["price"], t["volume"], t["direction"]) for t in told["trades"]] == [
            (70_010, 2, "SELL"), (70_000, 1, "SELL"),
        ]  # fmt: skip
        last = await reader.next("last_price")
        assert (last["last_price"], last["volume"], last["log_index"]) == (70_000, 3, told["log_index"])
        assert ours not in str(told) and "order_id" not in str(told)


async def test_subscribing_again_answers_a_fresh_snapshot(node: Node) -> None:
    alice, account = await node.add_trader("alice")
    async with Trader.connect(node, alice) as trader:
        for depth in (10, 10, 5):
            await trader.ask(type="subscribe", channels=["orderbook"], instruments=[COPPER], depth=depth)
            assert (await trader.next("orderbook"))["instrument_id"] == COPPER
        await trader.ask(type="submit_order", **order(account))
        assert len(trader.others("orderbook_delta")) == 1


async def test_a_reader_that_falls_behind_gets_a_snapshot_later(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    alice, account = await node.add_trader("alice")
    bob, _ = await node.add_trader("bob")
    async with Trader.connect(node, alice) as maker, Trader.connect(node, bob) as reader:
        await reader.ask(type="subscribe", channels=["orderbook"], instruments=[COPPER])
        copy = Copy(await reader.next("orderbook"))
        monkeypatch.setattr(session.Session, "congested", property(lambda self: self.user_id == bob))
        await maker.ask(type="submit_order", **order(account))
        monkeypatch.undo()
        fresh = Copy(await reader.next("orderbook"))
        assert fresh.seq > copy.seq and fresh.rows("bids")[0]["price"] == 70_000
        await maker.ask(type="submit_order", **order(account, price=70_010))
        fresh.apply(await reader.next("orderbook_delta"))
