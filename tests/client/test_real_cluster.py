"""The client against clusters of real node processes."""

from __future__ import annotations

import random
from collections import Counter
from decimal import Decimal

import pytest
import trio

from api.client import (
    BadRequest,
    Cancel,
    ClientError,
    Conflict,
    NotFound,
    OrderEvent,
    OrderResult,
    OutcomeUnknown,
    Rejected,
    Reset,
    SocketClosed,
    SocketSettings,
    SyncClient,
    TradeEvent,
    TradingSocket,
    TrioClient,
    Unauthenticated,
    Unavailable,
)
from tests.client.real import CU, PASSWORD, all_orders, order, running, trader, until

pytestmark = pytest.mark.timeout(90)


async def test_every_call_of_the_rest_surface_answers_typed_and_exact(tmp_path):
    async with running(tmp_path, 1) as cluster, TrioClient(cluster.urls) as client:
        user = await client.register("alice", PASSWORD)
        with pytest.raises(Conflict):
            await client.register("alice", "another password")
        assert (await client.login("alice", PASSWORD)).user_id == user.user_id == (await client.me()).user_id
        account = await client.open_account("main", init_cash=Decimal("1000000.5"))
        assert account.balance == Decimal("1000000.5")
        first = await client.deposit(account.account_id, Decimal("0.0001"), request_id="d-1")
        again = await client.deposit(account.account_id, Decimal("0.0001"), request_id="d-1")
        assert first.log_index == again.log_index
        await client.withdraw(account.account_id, 1)
        assert (await client.account(account.account_id)).balance == Decimal("999999.5001")
        assert [each.account_id for each in await client.accounts()] == [account.account_id]
        assert (await client.instrument(CU)).price_tick == 10
        assert CU in [each.instrument_id for each in await client.instruments()]
        placed = await client.submit(order(account.account_id, lots=3))
        assert placed.status == "Accepted" and placed.receipt.log_index > first.log_index
        assert (await client.order(placed.order_id)).client_order_id == placed.client_order_id
        by_client_id = await client.order_by_client_id(account.account_id, placed.client_order_id)
        assert by_client_id.order_id == placed.order_id
        assert (await client.orders(account.account_id, alive=True)).total == 1
        assert [(each.price, each.volume) for each in (await client.orderbook(CU)).bids] == [(69_000, 3)]
        good, bad = await client.submit_many([order(account.account_id), order(account.account_id, lots=0)])
        assert good.status == "Accepted" and isinstance(bad, Rejected)
        cancelled = await client.cancel(account.account_id, placed.order_id)
        assert cancelled.status == "Cancelled"
        with pytest.raises(Rejected, match="3002"):
            await client.cancel(account.account_id, placed.order_id)
        assert (await client.cancel_all(account.account_id)).order_ids == [good.order_id]
        assert (await client.trades(account.account_id)).total == 0
        assert (await client.livez(cluster.urls[0]))[0] and (await client.readyz(cluster.urls[0]))[0]
        assert (await client.cluster())["leader"]
        with pytest.raises(NotFound):
            await client.account("ACC_99999999")
        await client.logout()
        with pytest.raises(Unauthenticated):
            await client.me()


async def test_a_client_of_a_follower_finds_the_leader_on_rest_and_on_the_socket(tmp_path):
    async with running(tmp_path) as cluster:
        async with TrioClient([cluster.url(cluster.followers[0])]) as client:
            account_id = await trader(client)
            assert client.leader_url == cluster.leader_url
        async with TrioClient([cluster.url(cluster.followers[1])]) as client:
            await client.login("alice", PASSWORD)
            client.route.current = cluster.url(cluster.followers[1])
            async with client.open_socket() as socket:
                assert (await socket.submit(order(account_id))).status == "Accepted"
                assert socket.url == cluster.leader_url

        def synchronous() -> None:
            with SyncClient([cluster.url(cluster.followers[0])]) as sync:
                sync.login("alice", PASSWORD)
                assert sync.submit(order(account_id)).status == "Accepted"
                assert sync.leader_url == cluster.leader_url

        await trio.to_thread.run_sync(synchronous)


async def _submit(socket: TradingSocket, account_id: str, count: int, results: list[OrderResult], seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(count):
        results.append(await socket.submit(order(account_id, price=rng.randrange(68_000, 69_000, 10)), timeout_s=30))


async def _collect(socket: TradingSocket, events: list) -> None:
    async for event in socket.events:
        events.append(event)


def _assert_gap_free(events: list) -> None:
    assert not any(isinstance(event, Reset) for event in events)
    assert [event.event_seq - events[0].event_seq for event in events] == list(range(len(events)))


@pytest.mark.parametrize("fault", ["kill", "pause"])
async def test_orders_in_flight_outlive_their_leader_each_executed_once_and_seen_once(tmp_path, fault):
    async with running(tmp_path) as cluster, TrioClient(cluster.urls) as client:
        account_id = await trader(client)
        singles: list[OrderResult] = []
        batches: list[OrderResult | ClientError] = []
        events: list = []
        async with client.open_socket() as socket, trio.open_nursery() as readers:
            readers.start_soon(_collect, socket, events)
            async with trio.open_nursery() as nursery:
                for seed in range(8):
                    nursery.start_soon(_submit, socket, account_id, 60, singles, seed)

                async def batch() -> None:
                    for _ in range(6):
                        batches.extend(await socket.submit_many([order(account_id)] * 50, timeout_s=30))

                nursery.start_soon(batch)
                await until(lambda: len(singles) >= 100)
                if fault == "kill":
                    cluster.nodes.kill(cluster.leader)
                else:
                    cluster.nodes.pause(cluster.leader)
            assert socket.reconnects >= 1 and socket.url != cluster.leader_url
            placed = {each.client_order_id for each in singles}
            assert len(placed) == 480
            assert len(batches) == 300 and all(isinstance(each, OrderResult) for each in batches)
            placed |= {each.client_order_id for each in batches}
            held = await all_orders(client, account_id)
            assert Counter(each.client_order_id for each in held) == Counter(placed)  # all of them, and none twice
            await until(lambda: {e.client_order_id for e in events if isinstance(e, OrderEvent)} == placed)
            readers.cancel_scope.cancel()
        _assert_gap_free(events)
        seen = Counter(event.client_order_id for event in events if isinstance(event, OrderEvent))
        assert seen == Counter(placed)  # one state each: accepted


async def test_without_a_majority_every_surface_says_so_and_with_one_it_goes_on(tmp_path):
    async with running(tmp_path) as cluster, TrioClient(cluster.urls) as client:
        account_id = await trader(client)
        async with client.open_socket() as socket:
            for name in cluster.followers:
                cluster.nodes.kill(name)
            with pytest.raises((Unavailable, OutcomeUnknown)) as caught:
                await socket.submit(order(account_id), timeout_s=2.5)
            assert caught.value.sent_id
            with pytest.raises(Unavailable, match="1 of 3 members reachable, 2 needed"):
                await client.submit(order(account_id), timeout_s=2)
            (refused,) = await client.submit_many([order(account_id)], timeout_s=1)
            assert isinstance(refused, Unavailable) and refused.code == 7002
            cluster.nodes.start(cluster.followers[0])
            assert (await socket.submit(order(account_id), timeout_s=30)).status == "Accepted"


async def test_the_copy_of_a_book_is_the_book_through_random_trading(tmp_path):
    rng = random.Random(5)
    async with running(tmp_path, 1) as cluster, TrioClient(cluster.urls) as one, TrioClient(cluster.urls) as two:
        accounts = [await trader(one, "alice"), await trader(two, "bob")]
        async with one.open_socket() as first, two.open_socket() as second:
            deep = await first.subscribe_orderbook(CU, depth=50)
            shallow = await second.subscribe_orderbook(CU, depth=3)
            live: list[tuple[int, str]] = []
            for _ in range(40):
                for number, socket in enumerate((first, second)):
                    batch = [
                        order(
                            accounts[number],
                            rng.choice(("BUY", "SELL")),
                            70_000 + 10 * rng.randint(-8, 8),
                            rng.randint(1, 4),
                            rng.choice(("GFD", "GFD", "IOC")),
                        )
                        for _ in range(8)
                    ]
                    for result in await socket.submit_many(batch):
                        assert isinstance(result, OrderResult)
                        if result.status in ("Accepted", "PartiallyFilled"):
                            live.append((number, result.order_id))
                rng.shuffle(live)
                gone, live = live[:4], live[4:]
                for number, order_id in gone:
                    (await (first, second)[number].send_many([Cancel(accounts[number], order_id)])).clear()
            truth = await one.orderbook(CU, depth=50)
            with trio.fail_after(10):
                while deep.log_index < truth.log_index and deep.book.bids != truth.bids:
                    await deep.changed()
                while shallow.bids != truth.bids[:3] or shallow.asks != truth.asks[:3]:
                    await shallow.changed()
            assert (deep.bids, deep.asks) == (truth.bids, truth.asks)
            assert deep.checksum() == truth.checksum
            assert deep.deltas > 50 and deep.breaks == shallow.breaks == 0
            assert len(truth.bids) > 3 and len(truth.asks) > 3


async def test_private_events_tell_both_sides_of_a_trade_and_no_more(tmp_path):
    async with running(tmp_path, 1) as cluster, TrioClient(cluster.urls) as one, TrioClient(cluster.urls) as two:
        accounts = [await trader(one, "alice"), await trader(two, "bob")]
        async with one.open_socket() as first, two.open_socket() as second:
            await first.submit(order(accounts[0], "BUY", 70_000, 2))
            taken = await second.submit(order(accounts[1], "SELL", 70_000, 1))
            assert taken.status == "Filled" and taken.average_price == 70_000
            seen = []
            async for event in first.events:
                seen.append(event)
                if isinstance(event, TradeEvent):
                    break
            assert {event.account_id for event in seen} == {accounts[0]}
            assert not seen[-1].is_taker and seen[-1].trade_id == taken.trades[0].trade_id


async def test_a_stream_is_resumed_from_the_event_that_the_caller_names(tmp_path):
    async with running(tmp_path, 1) as cluster, TrioClient(cluster.urls) as client:
        account_id = await trader(client)
        async with client.open_socket() as socket:
            start = socket.events.seq
            await socket.submit_many([order(account_id)] * 20)
        async with client.open_socket(SocketSettings(resume_from=start)) as socket:
            orders = []
            while len(orders) < 20:
                event = await anext(socket.events)
                assert event.event_seq > start
                if isinstance(event, OrderEvent):
                    orders.append(event.order_id)
        assert orders == sorted(set(orders))


async def test_a_stream_that_the_node_cannot_resume_begins_with_a_reset(tmp_path):
    async with running(tmp_path, 1) as cluster, TrioClient(cluster.urls) as client:
        account_id = await trader(client)
        async with client.open_socket(SocketSettings(resume_from=10**9)) as socket:
            await socket.submit(order(account_id))
            reset = await anext(socket.events)
            assert isinstance(reset, Reset) and [each.account_id for each in reset.accounts] == [account_id]
            following = await anext(socket.events)
            assert following.prev_seq == reset.event_seq


async def test_a_socket_whose_token_dies_logs_in_again_if_it_knows_the_password(tmp_path):
    async with running(tmp_path, 1) as cluster, TrioClient(cluster.urls) as client, TrioClient(cluster.urls) as other:
        account_id = await trader(client)
        await other.login("alice", PASSWORD)
        async with client.open_socket() as socket:
            await other.logout()
            await until(lambda: socket.reconnects > 0)
            assert (await socket.submit(order(account_id))).status == "Accepted"


async def test_a_socket_whose_user_logged_out_ends_with_that_reason(tmp_path):
    async with running(tmp_path, 1) as cluster, TrioClient(cluster.urls) as client:
        account_id = await trader(client)
        async with client.open_socket() as socket:
            await client.logout()
            with pytest.raises(Unauthenticated):
                async for _ in socket.events:
                    pass
            with pytest.raises(Unauthenticated):
                await socket.submit(order(account_id))


async def test_a_socket_cannot_be_opened_without_a_login_or_without_a_node(tmp_path):
    async with running(tmp_path, 1) as cluster, TrioClient(cluster.urls) as client:
        with pytest.raises(Unauthenticated):
            async with client.open_socket():
                pass
        await trader(client)
        cluster.nodes.kill(cluster.leader)
        client.session.timeout_s = 1
        with pytest.raises(Unavailable, match="no node leads"):
            async with client.open_socket():
                pass


async def test_an_error_in_the_callers_block_comes_out_as_it_is(tmp_path):
    async with running(tmp_path, 1) as cluster, TrioClient(cluster.urls) as client:
        account_id = await trader(client)
        with pytest.raises(LookupError):
            async with client.open_socket() as socket:
                raise LookupError
        with pytest.raises(SocketClosed):
            await socket.submit(order(account_id))


async def test_a_frame_over_the_nodes_limit_is_refused_and_the_others_go_on(tmp_path):
    async with running(tmp_path, 1, api={"frame_bytes_max": 8192}) as cluster, TrioClient(cluster.urls) as client:
        account_id = await trader(client)
        async with client.open_socket(SocketSettings(frame_bytes_max=8192)) as socket:
            results = await socket.submit_many([order(account_id)] * 200)  # cut into frames that fit
            assert all(isinstance(each, OrderResult) for each in results)
            with pytest.raises(BadRequest, match="exceeds frame_bytes_max 8192"):
                await socket.begin([order(account_id)] * 200)
        async with client.open_socket(SocketSettings(frame_bytes_max=200_000)) as socket:
            large = await socket.begin([order(account_id)] * 200)
            small = await socket.submit(order(account_id))
            assert small.status == "Accepted"
            assert all(isinstance(each, BadRequest) for each in await large.wait())


async def test_each_order_of_a_batch_has_its_own_answer_and_a_refusal_names_the_id(tmp_path):
    async with running(tmp_path, 1) as cluster, TrioClient(cluster.urls) as client:
        account_id = await trader(client)
        async with client.open_socket(SocketSettings(events=False)) as socket:
            good, bad, foreign = await socket.submit_many(
                [order(account_id), order(account_id, lots=0), order("ACC_99999999")]
            )
            assert isinstance(good, OrderResult)
            assert isinstance(bad, Rejected) and bad.sent_id and bad.code == 1011
            assert isinstance(foreign, NotFound) and foreign.code == 1006
            cancelled, refused = await socket.send_many([Cancel(account_id, good.order_id)] * 2)
            assert cancelled.status == "Cancelled"
            assert isinstance(refused, Rejected) and refused.code == 3002
            assert len(socket.events) == 0
