"""Private streams: dense numbers that are a function of the log, resumed without a gap, or reset with a snapshot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.ws import private
from api.ws.hub import Hub
from node.exchange.codec import encode_command
from node.exchange.commands import CancelAll, Command, Deposit, OpenAccount, PlaceOrder, RegisterUser
from node.exchange.machine import Machine
from tests.api.exchange import COPPER, Node, exchange, order
from tests.api.sockets import Trader
from tests.exchange.driver import YUAN, copper


def dense(events: list[dict[str, Any]], after: int) -> None:
    """Asserts that events follow `after` without a hole."""
    assert [event["event_seq"] for event in events] == list(range(after + 1, after + 1 + len(events)))
    assert all(event["prev_seq"] == event["event_seq"] - 1 for event in events)
    indexes = [event["log_index"] for event in events]
    assert indexes == sorted(indexes)


async def test_a_trade_is_told_as_trade_order_and_account(node: Node) -> None:
    alice, ours = await node.add_trader("alice")
    bob, theirs = await node.add_trader("bob")
    async with Trader.connect(node, alice) as hers, Trader.connect(node, bob) as his:
        await hers.ask(type="submit_order", **order(ours, volume=2))
        dense(events := await hers.events(2), hers.welcome["event_seq"])
        assert [event["type"] for event in events] == ["order_status", "account_update"]
        assert events[0]["status"] == "Accepted" and events[1]["frozen_margin"] == 70_000
        await his.ask(type="submit_order", **order(theirs, direction="SELL", price=69_000))
        last = events[-1]["event_seq"]
        dense(events := await hers.events(3), last)
        assert [event["type"] for event in events] == ["trade", "order_status", "account_update"]
        assert events[0]["price"] == 70_000 and events[0]["is_taker"] is False
        assert events[1]["status"] == "PartiallyFilled" and events[1]["volume_left"] == 1
        assert events[2]["margin"] == 35_000
        dense(told := await his.events(3), his.welcome["event_seq"])
        assert told[1]["status"] == "Filled" and "volume_left" in told[1]
        assert ours not in str(told) and alice not in str(told)


async def test_what_was_missed_is_sent_again_exactly(node: Node) -> None:
    alice, account = await node.add_trader("alice")
    async with Trader.connect(node, alice) as first:
        start = first.welcome["event_seq"]
        for _ in range(5):
            await first.ask(type="submit_order", **order(account))
        seen = await first.events(10)
    async with Trader.connect(node, alice, resume_from=start + 3) as second:
        assert second.welcome["event_seq"] == start + 10
        again = await second.events(7)
        assert again == seen[3:]
        await second.ask(type="cancel_all", account_id=account)
        dense(await second.events(6), start + 10)


async def test_a_long_absence_is_made_up_in_pieces(node: Node) -> None:
    alice, account = await node.add_trader("alice", cash=10**8)
    async with Trader.connect(node, alice) as trader:
        start = trader.welcome["event_seq"]
        await trader.ask(type="unsubscribe", channels=["account"])
        for _ in range(8):
            await trader.send([{"type": "submit_order", **order(account)} for _ in range(200)])
            await trader.reply()
    async with Trader.connect(node, alice, resume_from=start) as trader:
        missed = trader.welcome["event_seq"] - start
        assert missed > 1_600
        dense(await trader.events(missed), start)


async def test_a_place_that_is_not_held_is_reset_with_a_snapshot(node: Node) -> None:
    alice, account = await node.add_trader("alice")
    async with Trader.connect(node, alice) as trader:
        placed = await trader.ask(type="submit_order", **order(account))
        last = trader.welcome["event_seq"] + 2
    stream = node.hub.private.of(alice)
    stream.kept.clear()  # as when newer events of others had pushed them out
    for place in (0, last + 100):
        async with Trader.connect(node, alice, resume_from=place) as trader:
            reset = (await trader.events(1))[0]
            assert (reset["type"], reset["event_seq"]) == ("reset", last)
            assert reset["orders"][0]["order_id"] == placed["data"]["order_id"]
            assert reset["accounts"][0]["account_id"] == account and reset["positions"]
            placed = await trader.ask(type="submit_order", **order(account))
            dense(await trader.events(2), last)
            last += 2
            stream.kept.clear()


async def test_who_leaves_the_account_channel_is_told_nothing_and_loses_no_number(node: Node) -> None:
    alice, account = await node.add_trader("alice")
    async with Trader.connect(node, alice) as trader:
        await trader.ask(type="unsubscribe", channels=["account"])
        await trader.ask(type="submit_order", **order(account))
        assert trader.pushed == []
        back = await trader.ask(type="subscribe", channels=["account"])
        await trader.ask(type="submit_order", **order(account))
        dense(await trader.events(2), back["data"]["event_seq"])


async def test_only_a_client_that_speaks_in_arrays_is_told_in_arrays(node: Node) -> None:
    alice, account = await node.add_trader("alice")
    async with Trader.connect(node, alice) as single, Trader.connect(node, alice) as batcher:
        await batcher.send([{"type": "submit_order", "id": 1, **order(account)}])
        frames = [await batcher.frame(), await batcher.frame()]
        assert all(isinstance(frame, list) for frame in frames)
        frames = [await single.frame(), await single.frame()]
        assert [frame["type"] for frame in frames] == ["order_status", "account_update"]


async def test_all_nodes_number_alike_and_a_new_leader_goes_on(tmp_path: Path) -> None:
    async with exchange(tmp_path, count=3) as cluster:
        leader = await cluster.leader()
        alice, account = await leader.add_trader("alice")
        async with Trader.connect(leader, alice) as trader:
            start = trader.welcome["event_seq"]
            for _ in range(3):
                await trader.ask(type="submit_order", **order(account))
            seen = await trader.events(6)
        await cluster.stop(leader.name)
        successor = await cluster.leader()
        async with Trader.connect(successor, alice, resume_from=start) as trader:
            assert await trader.events(6) == seen
            assert (await trader.ask(type="submit_order", **order(account)))["success"]
            dense(await trader.events(2), start + 6)


PLACE = st.builds(
    PlaceOrder,
    st.sampled_from(["ACC_00000001", "ACC_00000002", "ACC_00000003"]),
    st.just(COPPER),
    st.sampled_from([1, -1]),
    st.sampled_from([0, 2]),
    st.integers(1, 5),
    st.just(0),
    st.integers(6_990, 7_010),
    st.sampled_from([0, 1]),
)
ENTRIES = st.lists(st.lists(PLACE | st.builds(CancelAll, st.just("ACC_00000002")), min_size=1, max_size=8), max_size=25)


async def test_a_bug_of_a_stream_closes_sockets_and_not_the_exchange(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice, account = await node.add_trader("alice")

    def fails(*_: object) -> bytes:
        raise ZeroDivisionError

    async with Trader.connect(node, alice) as trader:
        monkeypatch.setattr(private, "message", fails)
        await trader.send({"type": "submit_order", **order(account)})
        assert await trader.closed() == 1011
    monkeypatch.undo()
    async with Trader.connect(node, alice) as trader:
        assert (await trader.ask(type="submit_order", **order(account)))["success"]


class Reader:
    def __init__(self) -> None:
        self.messages: list[bytes] = []

    def private(self, messages: list[bytes]) -> None:
        self.messages += messages


@given(ENTRIES)
@settings(max_examples=40, deadline=None)
def test_numbers_and_bytes_depend_on_the_log_alone(entries: list[list[Command]]) -> None:
    """A node that listens, one that does not, and one that is asked afterwards tell the same bytes."""
    begin: list[list[Command]] = [
        [copper(), RegisterUser("a", "h"), RegisterUser("b", "h")],
        [OpenAccount("U00000001", "x", 0), OpenAccount("U00000002", "y", 0), OpenAccount("U00000001", "z", 0)],
        [Deposit(f"ACC_0000000{n}", 10**6 * YUAN) for n in (1, 2, 3)],
    ]
    readers = {user: Reader() for user in ("U00000001", "U00000002")}
    hubs = []
    for listens in (True, False):
        machine = Machine()
        hub = Hub(machine)
        hubs.append(hub)
        if listens:
            for user, reader in readers.items():
                hub.private.of(user).listeners.append(reader)
        for index, commands in enumerate([*begin, *entries], start=1):
            results = machine.apply(index, index * 1_000, [encode_command(command) for command in commands])
            hub.observe(index, index * 1_000, machine.digest(), results)
    for user, reader in readers.items():
        streams = [hub.private.of(user) for hub in hubs]
        assert streams[0].seq == streams[1].seq == len(reader.messages)
        assert streams[1].since(0, 10**6) == reader.messages


def test_the_oldest_events_leave_first_and_only_their_users_notice() -> None:
    machine = Machine()
    streams = private.PrivateStreams(machine, kept_max=4)
    index = 0

    def apply(*commands: Command) -> None:
        nonlocal index
        index += 1
        results = machine.apply(index, index, [encode_command(command) for command in commands])
        streams.observe(index, index, [event for events in results for event in events])

    apply(RegisterUser("a", "h"), RegisterUser("b", "h"))
    apply(OpenAccount("U00000001", "x", 0), OpenAccount("U00000002", "y", 0))
    for _ in range(3):
        apply(Deposit("ACC_00000001", 1))
    a, b = streams.of("U00000001"), streams.of("U00000002")
    assert (a.seq, len(a.kept), b.seq, len(b.kept)) == (4, 3, 1, 1)
    assert a.since(0, 9) is None and len(a.since(1, 9) or []) == 3 and b.since(0, 9) is not None
    apply(Deposit("ACC_00000001", 1))
    assert b.since(0, 9) is None and b.since(1, 9) == [] and len(a.since(1, 9) or []) == 4
    apply(Deposit("ACC_00000001", 1))
    assert a.since(1, 9) is None and len(a.since(2, 9) or []) == 4
    assert a.since(7, 9) is None, "an event that does not exist yet"
