"""Publish to a real server."""

from __future__ import annotations

import asyncio

import pytest
from deployment import BOB, BOUND, Site, connect

from presence_router.client import Client, PublishError, UnknownOutcomeError
from presence_router.wire import InvalidUpdateError, Reason, UserID, UserState

KEY = b"sixteen bytes or more"


def online(user: str, number: int = 0) -> UserState:
    return UserState(UserID(user), "online", number)


async def test_update_with_the_same_id_and_key_is_stored_once(shared: Client) -> None:
    update = online("@ida:example.com")
    first = await shared.publisher(id_key=KEY).publish(update, update_id="sync-17")
    again = await shared.publisher(id_key=KEY).publish(update, update_id="sync-17")
    other = await shared.publisher().publish(update, update_id="sync-17")
    assert (first.duplicate, again.duplicate, other.duplicate) == (False, True, False)
    assert again.sequence == first.sequence < other.sequence


async def test_message_id_is_the_one_of_the_go_client(shared: Client) -> None:
    receipt = await shared.publisher(id_key=KEY).publish(online("@idb:example.com"), update_id="sync-1")
    message = await shared.nc.jetstream().get_msg("PRESENCE_UPDATES", receipt.sequence)
    assert message.headers is not None
    # HMAC-SHA-256 of sync-1, as package stream/client writes it.
    assert message.headers["Nats-Msg-Id"] == "sync-1.2CANJWDRJ6UA2BKD5RN6BGEVMA"


async def test_updates_of_a_user_are_stored_in_order(shared: Client) -> None:
    publisher = shared.publisher()
    receipts = await asyncio.gather(*(publisher.publish(online("@ord:example.com", i)) for i in range(200)))
    sequences = [receipt.sequence for receipt in receipts]
    assert sequences == sorted(set(sequences))


async def test_what_cannot_be_published(shared: Client) -> None:
    publisher = shared.publisher()
    with pytest.raises(InvalidUpdateError) as refused:
        await publisher.publish(UserState(BOB, "online", status_msg="x" * (64 << 10)))
    assert refused.value.reason is Reason.TOO_LARGE
    with pytest.raises(ValueError, match="update_id is"):
        await publisher.publish(online("@a:b"), update_id="a b")


@pytest.mark.parametrize(
    "settings", [{"max_pending": 0}, {"ack_timeout": 0.0}, {"retry_limit": 91.0}, {"id_key": b"short"}]
)
async def test_bounds_of_a_publisher(shared: Client, settings: dict[str, int | float | bytes]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(settings))} is .*want"):
        shared.publisher(**settings)  # type: ignore[arg-type]


async def test_missing_stream_is_an_error_and_not_a_wait(bare_site: Site) -> None:
    async with await connect(bare_site.url) as nc:
        with pytest.raises(PublishError, match="stream not found") as refused:
            await Client(nc).publisher(retry_limit=90).publish(online("@a:example.com"))
        assert not isinstance(refused.value, UnknownOutcomeError)
        assert not refused.value.is_final, "there may be a stream later"


async def test_updates_wait_for_the_server_in_order(own_site: Site) -> None:
    async with await connect(own_site.url) as nc:
        publisher = Client(nc).publisher(retry_limit=90)
        await publisher.publish(online("@a:example.com", 1))
        own_site.server.process.kill()
        while nc.is_connected:
            await asyncio.sleep(0.01)
        waiting = [asyncio.create_task(publisher.publish(online("@a:example.com", i))) for i in range(2, 22)]
        await asyncio.sleep(0.2)
        assert not any(task.done() for task in waiting)
        own_site.server.start()
        receipts = await asyncio.gather(*waiting)
        assert [receipt.sequence for receipt in receipts] == list(range(2, 22)), "in order, each sent again"


async def test_unknown_outcome(own_site: Site) -> None:
    async with await connect(own_site.url) as nc:
        publisher = Client(nc).publisher(ack_timeout=0.2, retry_limit=90)
        own_site.server.process.pause()
        with pytest.raises(UnknownOutcomeError, match=r"the server has not answered within 0\.2 s"):
            await asyncio.wait_for(publisher.publish(online("@b:example.com", 1)), BOUND)
        identified = asyncio.create_task(publisher.publish(online("@c:example.com", 1), update_id="one"))
        await asyncio.sleep(0.5)
        assert not identified.done(), "with an ID it is sent again"
        own_site.server.process.resume()
        receipt = await identified
        message = await nc.jetstream().get_msg("PRESENCE_UPDATES", receipt.sequence)
        assert message.subject is not None
        assert message.subject.endswith(".example%2Ecom.c")
        stored = await nc.jetstream().stream_info("PRESENCE_UPDATES", subjects_filter="presence.*.*.*.c")
        assert stored.state.subjects is not None
        assert list(stored.state.subjects.values()) == [1]
