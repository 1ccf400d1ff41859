"""Read deliveries of a real worker."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from deployment import ALICE, BOB, BOUND, GOBBLER, Site, connect

from presence_router.client import (
    Client,
    Deliveries,
    ExpiredError,
    InvalidDeliveryError,
    Position,
    ReadingError,
    ReceivedDelivery,
    Selection,
)
from presence_router.wire import Scope, ServerName, Source, UserID, UserState, decode_update, encode_state

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def bobs(number: int) -> UserState:
    return UserState(BOB, "online", number, status_msg=f"update {number}")


async def some(deliveries: Deliveries, number: int) -> list[ReceivedDelivery]:
    async def read() -> list[ReceivedDelivery]:
        return [await anext(deliveries) for _ in range(number)]

    return await asyncio.wait_for(read(), BOUND)


async def states(deliveries: Deliveries, number: int) -> list[UserState]:
    found: list[UserState] = []
    while len(found) < number:
        found.extend((await some(deliveries, 1))[0].states)
    return found


async def test_update_comes_byte_for_byte_and_position_goes_on(shared: Client) -> None:
    after = await shared.end()
    update = decode_update(b'{"user_id":"@bob:example.com", "state":"online", "x":1}')
    receipt = await shared.publisher().publish(update, traceparent=TRACE)
    async with shared.deliveries(Selection.to_user(ALICE), after) as deliveries:
        [delivery] = await some(deliveries, 1)
    assert delivery.recipient == ALICE
    assert delivery.sequences == (receipt.sequence,)
    assert encode_state(delivery.states[0]) == encode_state(update)
    assert delivery.data.endswith(encode_state(update) + b"]}")
    assert Source.parse(delivery.source).last >= receipt.sequence
    assert not delivery.is_replay
    assert delivery.traceparent[:35] == TRACE[:35]
    assert shared.subjects.parse_delivery(delivery.subject).recipient == ALICE
    stored = Position.parse(str(delivery.position))
    assert stored == delivery.position
    second = await shared.publisher().publish(bobs(2))
    async with shared.deliveries(Selection.to_user(ALICE), stored) as deliveries:
        assert (await some(deliveries, 1))[0].sequences == (second.sequence,)


async def test_selections(shared: Client) -> None:
    after = await shared.end()
    await shared.publisher().publish(bobs(3))
    island = UserID("@far_away_person:island.example")
    for selection, recipients in (
        (Selection.all(), {ALICE, GOBBLER, UserID("@dave:example.com"), island}),
        (Selection.in_scope(Scope.REMOTE), {island}),
        (Selection.to_server(ServerName("island.example")), {island}),
    ):
        async with shared.deliveries(selection, after) as deliveries:
            found = {delivery.recipient for delivery in await some(deliveries, len(recipients))}
        assert found == recipients
    shard = shared.subjects.parse_delivery((await _one(shared, after, ALICE)).subject).shard
    async with shared.deliveries(Selection.in_shard(Scope.LOCAL, shard), after) as deliveries:
        assert (await some(deliveries, 1))[0].states == (bobs(3),)


async def _one(client: Client, after: Position, user: UserID) -> ReceivedDelivery:
    async with client.deliveries(Selection.to_user(user), after) as deliveries:
        return (await some(deliveries, 1))[0]


async def test_reader_whose_wait_was_cancelled_reads_on(shared: Client) -> None:
    async with shared.deliveries(Selection.to_user(ALICE), await shared.end()) as deliveries:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(anext(deliveries), 0.3)
        await shared.publisher().publish(bobs(4))
        assert (await some(deliveries, 1))[0].states == (bobs(4),)


async def test_named_consumer_and_its_end(shared: Client) -> None:
    client = Client(shared.nc, consumer_name="archive")
    after = await client.end()
    js = shared.nc.jetstream()
    for number in (5, 6):
        await shared.publisher().publish(bobs(number))
        async with client.deliveries(Selection.to_user(ALICE), after) as deliveries:
            [delivery] = await some(deliveries, 1)
            assert (await js.consumer_info("PRESENCE_DELIVERIES", "archive")).num_pending == 0
        assert delivery.states == (bobs(number),)
        after = replace(delivery.position)
    assert "archive" not in [consumer.name for consumer in await js.consumers_info("PRESENCE_DELIVERIES")]


async def test_what_is_no_delivery_is_told_and_passed_over(own_site: Site) -> None:
    async with await connect(own_site.url) as nc:
        client = Client(nc)
        async with client.deliveries(Selection.to_user(ALICE)) as deliveries:
            await nc.jetstream().publish(client.subjects.delivery(Scope.LOCAL, 0, ALICE), b"{}")
            await client.publisher().publish(bobs(1))
            with pytest.raises(InvalidDeliveryError, match="is no delivery: decode delivery: recipient is missing"):
                await some(deliveries, 1)
            assert (await some(deliveries, 1))[0].states == (bobs(1),)


async def test_expired_deliveries_are_told(own_site: Site) -> None:
    async with await connect(own_site.url) as nc:
        client = Client(nc)
        end = await client.end()
        for number in (1, 2):
            await client.publisher().publish(bobs(number))
            await _one(client, end, ALICE)
        last = (await client.end()).sequence
        await nc.jetstream().purge_stream("PRESENCE_DELIVERIES", seq=last)
        old = Position(end.sequence, end.time - 3600 * 10**9, end.created)
        # Another stream, as the clock says: what was stored behind that time is read, and nothing is said to be sure.
        async with client.deliveries(Selection.to_user(ALICE), old) as deliveries:
            with pytest.raises(ExpiredError, match=r"deliveries after .* may be missing: they are kept for 900 s"):
                await some(deliveries, 1)
            await client.publisher().publish(bobs(3))
            assert bobs(3) in await states(deliveries, 1)


async def test_stream_that_was_made_again(own_site: Site) -> None:
    async with await connect(own_site.url) as nc:
        client = Client(nc)
        await client.publisher().publish(bobs(1))
        first = await _one(client, Position(), ALICE)
        await client.publisher().publish(bobs(2))
        second = await _one(client, first.position, ALICE)
        elsewhere = replace(first.position, sequence=second.position.sequence + 1000, created=1)
        async with client.deliveries(Selection.to_user(ALICE), elsewhere) as deliveries:
            assert (await some(deliveries, 1))[0].states == (bobs(2),)


async def test_server_that_was_killed(own_site: Site) -> None:
    async with await connect(own_site.url) as nc:
        client = Client(nc)
        async with client.deliveries(Selection.to_user(ALICE)) as deliveries:
            await client.publisher().publish(bobs(1))
            found = await states(deliveries, 1)
            own_site.server.process.kill()
            own_site.server.start()
            publisher = client.publisher(retry_limit=90)
            for number in range(2, 6):
                await publisher.publish(bobs(number), update_id=f"u-{number}")
            found += await states(deliveries, 4)
        assert found == [bobs(number) for number in range(1, 6)]


async def test_missing_stream_is_the_end(bare_site: Site) -> None:
    async with await connect(bare_site.url) as nc, Client(nc).deliveries(Selection.all()) as deliveries:
        with pytest.raises(ReadingError, match="stream not found"):
            await some(deliveries, 1)


@pytest.mark.parametrize(
    "text", ["1", "1/2/3", "x/2026-01-01T00:00:00Z/2026-01-01T00:00:00Z", "1/2026-13-01T00:00:00Z/"]
)
def test_position_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="want <sequence>/<time>/<created>"):
        Position.parse(text)


def test_position_is_the_text_of_the_go_client() -> None:
    text = "42/2026-11-22T18:39:42.366999999Z/2026-11-22T16:13:20Z"
    assert str(Position.parse(text)) == text
    assert Position.parse("") == Position()
    assert str(Position()) == ""
