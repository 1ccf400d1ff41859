"""Routers of two async functions, asked by the client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Literal

import nats.errors
import pytest
from deployment import ALICE, BOB, BOUND, CHARLIE, DAVE, Site, connect

from presence_router.client import Client
from presence_router.router import ALL_USERS, AllUsers, Service
from presence_router.wire import (
    ERROR_CODE_HEADER,
    ERROR_HEADER,
    QueryError,
    UserID,
    UserState,
    decode_update,
    encode_state,
)

RAW = b'{ "user_id": "@bob:example.com", "x": 1.0, "state": "online" }'


async def nobody(_: Sequence[UserState]) -> Mapping[UserID, Iterable[UserState]]:
    return {}


async def everybody(_: UserID) -> Literal[AllUsers.ALL]:
    return ALL_USERS


@asynccontextmanager
async def serving(site: Site, prefix: str, **settings: Any) -> AsyncIterator[Client]:
    """Serve a router under <prefix>.router, and yield a client that asks it."""
    functions: dict[str, Any] = {"users_for_states": nobody, "interested_users": everybody, **settings}
    async with (
        await connect(site.url) as nc,
        Service(nc, f"{prefix}.router", **functions),
        await connect(site.url) as asking,
    ):
        yield Client(asking, prefix)


async def test_states_go_back_in_order_and_unaltered_ones_byte_for_byte(shared_site: Site) -> None:
    async def route(states: Sequence[UserState]) -> Mapping[UserID, Iterable[UserState]]:
        copy = UserState(states[0].user_id, states[0].state)  # says the same, and came from no update
        made_up = UserState(CHARLIE, "busy")
        return {
            ALICE: {made_up, states[2], replace(states[1], status_msg="altered"), copy},
            DAVE: [states[2], states[0], states[2]],
            BOB: [],
        }

    async with serving(shared_site, "ordered", users_for_states=route) as client:
        asked = [decode_update(RAW), UserState(CHARLIE, "online"), UserState(BOB, "offline")]
        found = {user.user_id: user.states async for user in client.users_for_states(asked)}
    assert list(found) == [ALICE, DAVE]
    altered = replace(asked[1], status_msg="altered")
    assert found[ALICE] == (asked[0], altered, asked[2], UserState(CHARLIE, "busy"))
    assert encode_state(found[ALICE][0]) == RAW
    assert found[DAVE] == (asked[0], asked[2])


async def test_pages(shared_site: Site) -> None:
    users = [UserID(f"@u{i:04}:example.com") for i in range(2500)]

    async def route(states: Sequence[UserState]) -> Mapping[UserID, Iterable[UserState]]:
        return {user: [replace(state, status_msg="x" * 60_000) for state in states] for user in (DAVE, ALICE, BOB)}

    async def see(_: UserID) -> list[UserID]:
        return users[::-1]

    async with serving(shared_site, "pages", users_for_states=route, interested_users=see) as client:
        assert [user async for user in (await client.interested_users(ALICE)).users()] == users
        asked = [UserState(CHARLIE, "online", i) for i in range(1, 40)]
        parts = [user async for user in client.users_for_states(asked)]
    assert [user.user_id for user in parts] == sorted(user.user_id for user in parts)
    assert len(parts) > 3, "39 states of 60 kB for one recipient fit no message"
    for recipient in (ALICE, BOB, DAVE):
        times = [state.last_active_ts for user in parts if user.user_id == recipient for state in user.states]
        assert times == list(range(1, 40))


async def test_all_users(shared_site: Site) -> None:
    async with serving(shared_site, "all") as client:
        assert (await client.interested_users(ALICE)).all_users


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (ValueError("no directory"), "ValueError: no directory"),
        ({"alice": []}, "want @localpart:server"),
        ({ALICE: ["online"]}, "the router answered 'online', want states"),
    ],
)
async def test_router_that_fails(shared_site: Site, answer: Any, says: str) -> None:
    async def route(_: Sequence[UserState]) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    async with serving(shared_site, "failing", users_for_states=route) as client:
        with pytest.raises(QueryError, match=says) as refused:
            _ = [user async for user in client.users_for_states([UserState(BOB, "online")])]
    assert refused.value.code == QueryError.ROUTERS_FAILED


async def asked_raw(client: Client, query: str, data: bytes, hops: str = "") -> str:
    headers = {"Presence-Hops": hops} if hops else None
    answer = await client.nc.request(client.subjects.query(query), data, timeout=BOUND, headers=headers)
    said = answer.headers or {}
    return f"{said.get(ERROR_CODE_HEADER, '')} {said.get(ERROR_HEADER, '')}"


async def test_requests_that_are_refused(shared_site: Site) -> None:
    async with serving(shared_site, "refusing", max_update_bytes=100) as client:
        assert '400 field "x" is unknown' in await asked_raw(client, "interested_users", b'{"user_id":"@a:b","x":1}')
        large = b'{"states":[{"user_id":"@a:b","state":"busy","x":"' + b"x" * 100 + b'"}]}'
        assert "413 states[0]: too_large" in await asked_raw(client, "users_for_states", large)
        question = b'{"user_id":"@a:b"}'
        assert "400 Presence-Hops is '5'" in await asked_raw(client, "interested_users", question, hops="5")
        assert await asked_raw(client, "interested_users", question, hops="4") == " "


async def test_answers_go_to_inboxes_alone(shared_site: Site) -> None:
    async with serving(shared_site, "guarded") as client:
        elsewhere = await client.nc.subscribe("presence.>")
        await client.nc.publish("guarded.router.interested_users", b'{"user_id":"@a:b"}', reply="presence.stolen")
        assert (await client.interested_users(ALICE)).all_users  # it has seen the one before by now
        await client.nc.flush()
        with pytest.raises(nats.errors.TimeoutError):
            await elsewhere.next_msg(timeout=0.1)


async def test_busy_and_slow_router(shared_site: Site) -> None:
    entered, release = asyncio.Event(), asyncio.Event()

    async def see(user: UserID) -> set[UserID]:
        entered.set()
        await release.wait()
        return {user}

    settings = {"interested_users": see, "concurrency": 1, "waiting": 0, "timeout": 60.0}
    async with serving(shared_site, "busy", **settings) as client:
        first = asyncio.create_task(client.interested_users(ALICE))
        await asyncio.wait_for(entered.wait(), BOUND)
        with pytest.raises(QueryError, match="too many queries are waiting") as refused:
            await client.interested_users(BOB)
        assert refused.value.code == QueryError.UNAVAILABLE
        release.set()
        assert [user async for user in (await first).users()] == [ALICE]
    release.clear()
    async with serving(shared_site, "slow", **(settings | {"timeout": 0.05})) as client:
        assert "503 out of time (0.05 s)" in await asked_raw(client, "interested_users", b'{"user_id":"@a:b"}')


async def test_questions_under_way_are_answered_at_the_end(shared_site: Site) -> None:
    entered, release = asyncio.Event(), asyncio.Event()

    async def see(user: UserID) -> set[UserID]:
        entered.set()
        await release.wait()
        return {user}

    async with await connect(shared_site.url) as nc, await connect(shared_site.url) as asking:
        service = Service(nc, "ending.router", users_for_states=nobody, interested_users=see)
        await service.start()
        question = asyncio.create_task(Client(asking, "ending").interested_users(ALICE))
        await asyncio.wait_for(entered.wait(), BOUND)
        stopping = asyncio.create_task(service.stop(BOUND))
        await asyncio.sleep(0.05)
        release.set()
        await stopping
        assert not (await question).all_users


@pytest.mark.parametrize("settings", [{"concurrency": 0}, {"waiting": -1}, {"timeout": 0.0}])
async def test_bounds_of_a_service(shared_site: Site, settings: dict[str, Any]) -> None:
    async with await connect(shared_site.url) as nc:
        with pytest.raises(ValueError, match="want concurrency from 1"):
            Service(nc, "my.router", users_for_states=nobody, interested_users=everybody, **settings)
        with pytest.raises(ValueError, match=r"subject_prefix is 'my\.>'"):
            Service(nc, "my.>", users_for_states=nobody, interested_users=everybody)
