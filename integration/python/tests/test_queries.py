"""Queries of real workers."""

from __future__ import annotations

import asyncio
import time

import pytest
from deployment import ALICE, BOB, BOUND, CHARLIE, DAVE, GOBBLER, Site, connect

from presence_router.client import Client, PagesError, UnavailableError
from presence_router.client.asking import Patience
from presence_router.wire import (
    ERROR_CODE_HEADER,
    ERROR_HEADER,
    PlacedState,
    QueryError,
    UserID,
    UserState,
    decode_update,
    encode_state,
)

FAR_AWAY = UserID("@far_away_person:island.example")


async def test_interested_users_page_by_page(shared: Client) -> None:
    interest = await shared.interested_users(ALICE, limit=1)
    assert not interest.all_users
    assert [user async for user in interest.users()] == [BOB, CHARLIE]


async def test_interested_users_of_all_and_of_nobody(shared: Client) -> None:
    everybody = await shared.interested_users(GOBBLER)
    assert everybody.all_users
    assert [user async for user in everybody.users()] == []
    nobody = await shared.interested_users(UserID("@eve:example.com"))
    assert [user async for user in nobody.users()] == []


async def test_unaltered_states_come_back_byte_for_byte(shared: Client) -> None:
    states = [
        decode_update(b'{ "user_id": "@bob:example.com", "x": 1.0, "state": "online" }'),
        UserState(CHARLIE, "busy", status_msg="☕"),
    ]
    found = {user.user_id: user.states async for user in shared.users_for_states(states)}
    assert found == {ALICE: tuple(states), DAVE: (states[0],), FAR_AWAY: (states[0],), GOBBLER: tuple(states)}
    assert encode_state(found[DAVE][0]) == b'{ "user_id": "@bob:example.com", "x": 1.0, "state": "online" }'


async def test_states_beyond_one_message_are_asked_about_in_portions(shared: Client) -> None:
    states = [UserState(BOB, "online", i, status_msg="x" * 30_000) for i in range(90)]
    found: dict[UserID, list[UserState]] = {}
    async for user in shared.users_for_states(states):
        found.setdefault(user.user_id, []).extend(user.states)
    assert {user: len(of) for user, of in found.items()} == dict.fromkeys((ALICE, DAVE, FAR_AWAY, GOBBLER), 90)
    assert found[DAVE] == states


async def test_no_states_are_asked_about_with_no_request(shared: Client) -> None:
    assert [user async for user in shared.users_for_states([])] == []


async def test_newest_states_and_their_replay(shared: Client) -> None:
    state = UserState(BOB, "online", 1795378782366, status_msg="for test_newest_states")
    receipt = await shared.publisher().publish(state)
    placed = await asyncio.wait_for(_newest(shared, BOB, receipt.sequence), BOUND)
    assert placed.state == state
    assert placed.epoch > 1_700_000_000_000
    assert [placed.state.user_id async for placed in shared.current_states([BOB], ALICE)] == [BOB]
    assert [placed async for placed in shared.current_states([BOB], UserID("@eve:example.com"))] == []
    sent = {one.user_id: one.states async for one in shared.send_online_presence([ALICE, UserID("@eve:example.com")])}
    assert sent[ALICE] >= 1
    assert sent[UserID("@eve:example.com")] == 0


async def _newest(client: Client, user: UserID, sequence: int) -> PlacedState:
    while True:
        async for placed in client.current_states([user]):
            if placed.state.sequence == sequence:
                return placed
        await asyncio.sleep(0.01)


async def test_more_users_than_one_request_takes(shared: Client) -> None:
    users = [UserID(f"@u{i}:example.com") for i in range(1025)]
    assert len([one async for one in shared.send_online_presence(users)]) == 1025


async def test_error_of_a_worker(shared: Client) -> None:
    with pytest.raises(QueryError, match="for") as refused:
        _ = [placed async for placed in shared.current_states([BOB], CHARLIE)]
    assert refused.value.code == QueryError.NOT_LOCAL
    with pytest.raises(QueryError, match="limit is 100001, want an integer from 1 to 100000"):
        await shared.interested_users(ALICE, limit=100_001)


async def test_deadlines_are_checked(shared: Client) -> None:
    with pytest.raises(ValueError, match="timeout is 0, want a number of seconds above 0"):
        await shared.interested_users(ALICE, timeout=0)
    with pytest.raises(ValueError, match="attempt_timeout is -1, want a number of seconds above 0"):
        await shared.interested_users(ALICE, attempt_timeout=-1)


async def test_worker_that_hangs(own_site: Site) -> None:
    own_site.worker.pause()
    async with await connect(own_site.url) as nc:
        client = Client(nc)
        before = nc.stats["out_msgs"]
        with pytest.raises(UnavailableError, match="no worker has answered"):
            await client.interested_users(ALICE, timeout=0.6, attempt_timeout=0.1)
        assert nc.stats["out_msgs"] - before > 1, "another attempt, since the first one is shorter than the call"
        own_site.worker.resume()
        assert [user async for user in (await client.interested_users(ALICE)).users()] == [BOB, CHARLIE]


async def test_no_worker_and_no_server(bare_site: Site) -> None:
    async with await connect(bare_site.url) as nc:
        client = Client(nc)
        with pytest.raises(UnavailableError, match="no worker is there"):
            await client.interested_users(ALICE)
        bare_site.server.process.kill()
        while nc.is_connected:
            await asyncio.sleep(0.01)
        with pytest.raises(UnavailableError, match="the connection to NATS is away"):
            await client.interested_users(ALICE)


async def test_no_attempt_follows_a_pause_that_took_all_the_time() -> None:
    patience = Patience(0.05, 1)
    asyncio.get_running_loop().call_soon(time.sleep, 0.1)
    assert not await patience.pause(0.01)


async def test_busy_worker_is_asked_again(bare_site: Site) -> None:
    async with await connect(bare_site.url) as nc, await connect(bare_site.url) as worker:
        asked = 0

        async def answer(message: object) -> None:
            nonlocal asked
            asked += 1
            busy = {ERROR_CODE_HEADER: "503", ERROR_HEADER: "too busy"} if asked < 3 else None
            await worker.publish(message.reply, b'{"all_users":true}', headers=busy)  # type: ignore[attr-defined]

        await worker.subscribe("presence.router.interested_users", cb=answer)
        await worker.flush()
        assert (await Client(nc).interested_users(ALICE)).all_users
        assert asked == 3


@pytest.mark.parametrize("following", ["@bob:example.com", "@alice:example.com"])
async def test_pages_that_do_not_advance(bare_site: Site, following: str) -> None:
    async with await connect(bare_site.url) as nc, await connect(bare_site.url) as worker:
        pages = iter(["@bob:example.com", following])

        async def answer(message: object) -> None:
            reply = message.reply  # type: ignore[attr-defined]
            await worker.publish(reply, f'{{"all_users":false,"users":[],"next":"{next(pages)}"}}'.encode())

        await worker.subscribe("presence.router.interested_users", cb=answer)
        await worker.flush()
        interest = await Client(nc).interested_users(ALICE)
        with pytest.raises(PagesError):
            _ = [user async for user in interest.users()]
