"""What the Synapse module does when all is well, and when it is not."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from deployment import ALICE, BOB, BOUND, CHARLIE, DAVE, GOBBLER, Site, connect
from nats.aio.client import Client as NATS
from synapse_in_asyncio import Api, Module, presence

from presence_router.client import Client, Publisher
from presence_router.host.synapse_stub import ConfigError
from presence_router.router import Service as Router
from presence_router.synapse import outbox
from presence_router.synapse.memory import Breaker, Remembered
from presence_router.synapse.settings import parse
from presence_router.synapse.states import clean
from presence_router.wire import UserID, UserState

FAR_AWAY = "@far_away_person:island.example"


class Bench:
    """A module, and what it is seen to do."""

    def __init__(self, module: Module, api: Api, client: Client) -> None:
        self.module = module
        self.api = api
        self.client = client
        self.queries: list[str] = []

    async def settled(self) -> int:
        """Return how many queries were seen, once all that were sent are."""
        await self.client.nc.flush()
        seen = -1
        while seen != len(self.queries):
            seen = len(self.queries)
            await asyncio.sleep(0.3)
        return seen

    async def stored_until(self, done: Callable[[list[str]], bool]) -> list[str]:
        """Return what is stored, once it is what a test waits for."""
        deadline = time.monotonic() + BOUND
        while not done(stored := await self.stored()):
            assert time.monotonic() < deadline, f"stored is {stored}"
            await asyncio.sleep(0.05)
        return stored

    async def stored(self) -> list[str]:
        """Return the states in the updates stream as <user> <last_active_ts>."""
        js = self.client.nc.jetstream()
        last = (await js.stream_info("PRESENCE_UPDATES")).state.last_seq
        messages = [await js.get_msg("PRESENCE_UPDATES", sequence) for sequence in range(1, last + 1)]
        states = [clean_of(message.data) for message in messages]
        return [f"{state['user_id']} {state['last_active_ts']}" for state in states]


def clean_of(data: bytes | None) -> dict[str, Any]:
    state: dict[str, Any] = json.loads(data or b"{}")
    return state


@asynccontextmanager
async def bench(site: Site, *, writer: bool = True, **config: Any) -> AsyncIterator[Bench]:
    async with await connect(site.url) as nc:
        client = Client(nc)
        api = Api(client, writer=writer)
        module = Module(Module.parse_config({"url": site.url, **config}), api)
        found = Bench(module, api, client)

        async def see(message: Any) -> None:
            found.queries.append(message.subject.rpartition(".")[2])

        await nc.subscribe("presence.router.*", cb=see)
        await nc.flush()
        try:
            await until("connection", lambda: module._service._client is not None)
            yield found
        finally:
            await asyncio.to_thread(module.stop)
            api.close()


async def until(what: str, done: Callable[[], Any]) -> None:
    deadline = time.monotonic() + BOUND
    while not done():
        assert time.monotonic() < deadline, f"no {what} within {BOUND:g} s"
        await asyncio.sleep(0.02)


async def routes(module: Module, *states: Any) -> dict[str, set[Any]]:
    return await asyncio.wait_for(module.get_users_for_states(states), BOUND)


async def interest(module: Module, user: str) -> Any:
    return await asyncio.wait_for(module.get_interested_users(user), BOUND)


async def answered(module: Module, user: str) -> set[str]:
    """Ask until workers answer, on a machine that may be slower than the deadlines."""
    deadline = time.monotonic() + BOUND
    while not (found := await interest(module, user)):
        assert time.monotonic() < deadline, f"{user} is answered nothing within {BOUND:g} s"
        await asyncio.sleep(0.05)
    return set(found)


SLOW: dict[str, Any] = {"timeout": "30s", "attempt_timeout": "10s"}


async def test_both_callbacks_answer_with_the_states_of_the_question(shared_site: Site) -> None:
    async with bench(shared_site, **SLOW) as b:
        bobs, carols = presence(BOB, 1), presence("@carol:example.com", 2)
        found = await routes(b.module, bobs, carols)
        assert found == {ALICE: {bobs}, FAR_AWAY: {bobs}, DAVE: {bobs}, GOBBLER: {bobs, carols}}
        assert next(iter(found[ALICE])) is bobs
        assert await interest(b.module, ALICE) == {BOB, CHARLIE}
        assert await interest(b.module, GOBBLER) == "ALL"
        assert await interest(b.module, "no user") == set()


async def test_question_that_synapse_asks_twice_is_asked_once(
    shared_site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("presence_router.synapse.service.MEMO_AGE", BOUND)  # However slow this machine is.
    async with bench(shared_site, **SLOW) as b:
        first, second = await asyncio.gather(routes(b.module, presence(BOB, 3)), routes(b.module, presence(BOB, 3)))
        assert first == second == await routes(b.module, presence(BOB, 3))
        await b.client.interested_users(DAVE)
        await until("sight of the query behind it", lambda: "interested_users" in b.queries)
        assert b.queries.count("users_for_states") == 1
        await routes(b.module, presence(BOB, 4))
        await until("next question", lambda: b.queries.count("users_for_states") == 2)


async def test_users_who_see_all_have_a_key_whatever_happens(own_site: Site) -> None:
    async with bench(own_site) as b:
        assert await answered(b.module, GOBBLER) == set("ALL")
        own_site.worker.kill()
        assert (await routes(b.module))[GOBBLER] == set()
        assert GOBBLER in await routes(b.module, presence("@carol:example.com"))


async def test_last_known_answers_while_the_workers_are_away(own_site: Site) -> None:
    async with bench(own_site, timeout="2s", attempt_timeout="400ms") as b:
        assert await answered(b.module, ALICE) == {BOB, CHARLIE}
        deadline = time.monotonic() + BOUND
        number = 0
        while ALICE not in await routes(b.module, presence(BOB, number)):
            number += 1
            assert time.monotonic() < deadline
        own_site.worker.pause()
        newer = presence(BOB, 1000)
        before = len(b.queries)
        found = await routes(b.module, newer)
        assert found[ALICE] == {newer}
        assert found[FAR_AWAY] == {newer}
        assert await interest(b.module, ALICE) == {BOB, CHARLIE}
        assert await interest(b.module, DAVE) == set()
        assert b.queries[before:].count("users_for_states") >= 2, "an attempt is shorter than the call"
        own_site.worker.resume()
        await until_catch_up(b)
        assert {ALICE, DAVE} <= set(b.api.sent)


async def test_last_known_recipients_are_those_of_unaltered_states(bare_site: Site) -> None:
    async def users_for_states(states: Sequence[UserState]) -> dict[UserID, list[UserState]]:
        altered = [replace(state, status_msg=None) for state in states]
        made_up = [UserState(CHARLIE, "online", 9)] if states[0].user_id == BOB else []
        return {ALICE: list(states), DAVE: altered, GOBBLER: made_up}

    async def interested_users(_: UserID) -> list[UserID]:
        return []

    bobs, charlies = (presence(user, 1, status_msg="secret") for user in (BOB, CHARLIE))
    async with await connect(bare_site.url) as nc, bench(bare_site, prefix="my", publish=False, **SLOW) as b:
        async with Router(nc, "my.router", users_for_states=users_for_states, interested_users=interested_users):
            assert await routes(b.module, charlies) == {
                ALICE: {charlies},
                DAVE: {charlies.copy_and_replace(status_msg=None)},
            }
            assert set(await routes(b.module, bobs)) == {ALICE, DAVE, GOBBLER}
        assert await routes(b.module, charlies, bobs) == {ALICE: {charlies, bobs}}


async def until_catch_up(b: Bench) -> None:
    deadline = time.monotonic() + BOUND
    while not b.api.sent:
        assert time.monotonic() < deadline, "nobody was sent what he missed"
        await interest(b.module, GOBBLER)
        await asyncio.sleep(0.05)


async def test_breaker_asks_no_more_until_it_is_connected_again(own_site: Site) -> None:
    async with bench(own_site) as b:
        b.module._service._breaker = Breaker(3, 3600)
        own_site.worker.kill()
        for user in (ALICE, BOB, DAVE):
            await interest(b.module, user)
        before = await b.settled()
        await interest(b.module, CHARLIE)
        await routes(b.module, presence(BOB, 5))
        assert await b.settled() == before
        own_site.server.process.kill()
        own_site.server.start()
        own_site.worker.start()
        assert await answered(b.module, ALICE) == {BOB, CHARLIE}


async def test_updates_of_local_users_are_published_once(own_site: Site) -> None:
    async with bench(own_site) as b:
        for number in (1, 1, 2, 2):
            await routes(b.module, presence(BOB, number), presence(CHARLIE, number))
        await routes(b.module, presence(ALICE, 3), presence(BOB, 2))
        stored = await b.stored_until(lambda stored: f"{ALICE} 3" in stored)
        assert stored in ([f"{BOB} 1", f"{BOB} 2", f"{ALICE} 3"], [f"{BOB} 2", f"{ALICE} 3"])


async def test_old_states_of_a_sync_are_not_published(own_site: Site) -> None:
    async with bench(own_site) as b:
        await routes(b.module, presence(BOB, 5))
        await routes(b.module, presence(BOB, 4), presence(ALICE, 1))
        await routes(b.module, presence(BOB, 5, last_active_ts=6), presence(ALICE, 2))
        await routes(b.module, presence(BOB, 5, last_active_ts=7, status_msg="news"), presence(ALICE, 3))
        stored = await b.stored_until(lambda stored: f"{ALICE} 3" in stored and f"{BOB} 7" in stored)
        assert [state for state in stored if BOB in state] in ([f"{BOB} 5", f"{BOB} 7"], [f"{BOB} 7"])


async def test_connection_that_the_server_ends_is_made_again(own_site: Site, caplog: pytest.LogCaptureFixture) -> None:
    async with bench(own_site) as b:
        await routes(b.module, presence(BOB, 1))
        await b.stored_until(bool)
        client = b.module._service._client
        assert client is not None
        assert client.nc._transport is not None
        b.module._service._loop.call_soon_threadsafe(client.nc._transport.write, b"NONSENSE\r\n")
        await until("end of the connection", lambda: client.nc.is_closed)
        await routes(b.module, presence(BOB, 2))
        assert await b.stored_until(lambda stored: len(stored) >= 2) == [f"{BOB} 1", f"{BOB} 2"]
        assert await answered(b.module, ALICE) == {BOB, CHARLIE}
    assert "NATS ended the connection, connecting again: nats: unknown protocol operation" in caplog.text


async def test_update_that_is_refused_for_good_holds_up_no_other(
    own_site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(outbox, "TOGETHER", 1)
    own_site.worker.kill()
    async with bench(own_site) as b:
        js = b.client.nc.jetstream()
        config = (await js.stream_info("PRESENCE_UPDATES")).config
        config.max_msg_size = 500
        await js.update_stream(config)
        await routes(b.module, presence(BOB, 1, status_msg="x" * 1000))
        await routes(b.module, presence(ALICE, 1))
        assert await b.stored_until(bool) == [f"{ALICE} 1"]
        await until("end of the wait", lambda: not b.module._service._outbox._waiting)
    assert warnings(caplog, "an update is dropped") == 1


async def test_update_that_fails_holds_up_no_other(
    own_site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(outbox, "TOGETHER", 1)
    publish = Publisher.publish

    async def fail(publisher: Publisher, update: UserState, *, update_id: str) -> Any:
        if update.user_id == BOB:
            raise RuntimeError("nobody expected it")
        return await publish(publisher, update, update_id=update_id)

    monkeypatch.setattr(Publisher, "publish", fail)
    async with bench(own_site) as b:
        b.module._service.publish(tuple(UserState(user, "online", 1) for user in (BOB, ALICE, DAVE)))
        await b.stored_until(lambda stored: len(stored) >= 2)
        monkeypatch.setattr(Publisher, "publish", publish)
        assert await b.stored_until(lambda stored: len(stored) >= 3) == [f"{ALICE} 1", f"{DAVE} 1", f"{BOB} 1"]
    assert warnings(caplog, "nobody expected it") == 1


def warnings(caplog: pytest.LogCaptureFixture, text: str) -> int:
    return sum(r.levelno == logging.WARNING and text in r.getMessage() for r in caplog.records)


async def test_trouble_is_a_warning_once_per_spell(bare_site: Site, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with bench(bare_site) as b:
        await routes(b.module, presence(BOB, 1))
        await until("second attempt", lambda: caplog.text.count("stream not found") >= 2)
        assert warnings(caplog, "stream not found") == 1
        bare_site.server.process.kill()
        await until("second attempt to connect", lambda: caplog.text.count("NATS: ") >= 2)
        assert warnings(caplog, "NATS: ") == 1


async def test_server_that_cannot_be_reached_is_a_warning_once(
    bare_site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    bare_site.server.process.kill()
    module = Module(Module.parse_config({"url": bare_site.url}), Api(Client(NATS())))
    try:
        await until("second attempt to connect", lambda: caplog.text.count("Connect call failed") >= 2)
        assert warnings(caplog, "Connect call failed") == 1
    finally:
        await asyncio.to_thread(module.stop)


async def test_module_that_stops_publishes_what_waits(own_site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("presence_router.synapse.service.STOP_TIMEOUT", BOUND)  # However slow this machine is.
    async with bench(own_site) as b:
        b.module._service.publish(tuple(UserState(UserID(f"@u{i}:example.com"), "online", i) for i in range(2000)))
        await asyncio.to_thread(b.module.stop)
        assert (await b.client.nc.jetstream().stream_info("PRESENCE_UPDATES")).state.messages == 2000


async def test_outbox_that_is_full_warns_once_and_takes_the_update_later(
    shared_site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(outbox, "MOST_WAITING", 2)
    states = [UserState(UserID(f"@full{i}:example.com"), "online") for i in range(5)]
    full = outbox.Outbox()
    for state in states:
        full.put(state)
    assert warnings(caplog, "updates are dropped") == 1
    async with await connect(shared_site.url) as nc:
        running = asyncio.create_task(full.run(Client(nc).publisher(id_key=full.id_key)))
        await asyncio.wait_for(full.emptied(), BOUND)
        full.put(states[4])
        assert len(full._waiting) == 1, "what was dropped is not taken for published"
        await asyncio.wait_for(full.emptied(), BOUND)
        running.cancel()


@pytest.mark.parametrize("settings", [{"writer": False}, {"publish": False}])
async def test_nobody_else_publishes(own_site: Site, settings: dict[str, Any]) -> None:
    async with bench(own_site, **settings) as b, bench(own_site) as writer:
        await routes(b.module, presence(BOB, 1))
        await routes(writer.module, presence(ALICE, 1))
        stored = await b.stored_until(bool)
        assert stored == [f"{ALICE} 1"]


async def test_newest_update_waits_for_the_server(own_site: Site) -> None:
    async with bench(own_site) as b:
        own_site.server.process.kill()
        await until("loss of the connection", lambda: not b.module._service._client.nc.is_connected)  # type: ignore[union-attr]
        for number in range(1, 6):
            await routes(b.module, presence(BOB, number), presence(ALICE, number))
        own_site.server.start()
        await until("connection", lambda: b.client.nc.is_connected)
        stored = await b.stored_until(lambda stored: len(stored) >= 2)
        assert sorted(stored) == [f"{ALICE} 5", f"{BOB} 5"]


async def test_module_that_starts_before_the_server(own_site: Site) -> None:
    own_site.server.process.kill()
    api = Api(Client(NATS()))
    module = Module(Module.parse_config({"url": own_site.url}), api)
    try:
        assert await routes(module, presence(BOB, 1)) == {}
        assert await interest(module, ALICE) == set()
        own_site.server.start()
        assert await answered(module, ALICE) == {BOB, CHARLIE}
        async with await connect(own_site.url) as nc:
            b = Bench(module, api, Client(nc))
            assert await b.stored_until(bool) == [f"{BOB} 1"]
    finally:
        await asyncio.to_thread(module.stop)


async def test_without_remote_recipients(shared_site: Site) -> None:
    async with bench(shared_site, remote=False, **SLOW) as b:
        assert set(await routes(b.module, presence(BOB, 6))) == {ALICE, DAVE, GOBBLER}
        assert await interest(b.module, FAR_AWAY) == set()
        assert await interest(b.module, ALICE) == {BOB, CHARLIE}


async def test_states_that_other_servers_sent_wrongly(shared_site: Site) -> None:
    poisoned = [
        presence("charlie"),
        presence("@no_server"),
        presence("@x:" + "y" * 300),
        presence(CHARLIE, state="away"),
        presence(CHARLIE, state=None),
        presence(CHARLIE, status_msg="x" * 70_000),
    ]
    mended = presence(CHARLIE, 1000.5, last_user_sync_ts=-4, status_msg="half \ud83d", currently_active=1)  # type: ignore[arg-type]
    async with bench(shared_site, **SLOW) as b:
        found = await routes(b.module, *poisoned, mended, presence(BOB, 7))
        assert found[ALICE] == {mended, presence(BOB, 7)}


def test_mended_state() -> None:
    mended = clean(presence(CHARLIE, float("nan"), last_user_sync_ts=1 << 80, status_msg=5))  # type: ignore[arg-type]
    assert mended is not None
    assert (mended.last_active_ts, mended.last_user_sync_ts, mended.status_msg) == (0, (1 << 63) - 1, None)
    half = clean(presence(CHARLIE, status_msg="half \ud83d and 😀"))
    assert half is not None
    assert half.status_msg == "half \ufffd and 😀"
    assert half.user_id == UserID(CHARLIE)


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"urls": "nats://a"}, "urls"),
        ({"url": "127.0.0.1"}, "url"),
        ({"prefix": "Presence"}, "prefix"),
        ({"remote": "no"}, "remote"),
        ({"timeout": 250}, "timeout"),
        ({"attempt_timeout": "1s"}, "attempt_timeout"),
        ({"inbox_prefix": "a..b"}, "inbox_prefix"),
        ({"credentials": ""}, "credentials"),
    ],
)
def test_fault_of_the_configuration_has_its_path(config: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as refused:
        Module.parse_config(config)
    assert refused.value.path == [says]
    assert "want" in refused.value.msg


@pytest.mark.parametrize("url", ["u:secret@a", ["nats://u:secret@a", "u:secret@b"], [["nats://u:secret@a"]]])
def test_password_is_never_told(url: object) -> None:
    with pytest.raises(ConfigError, match="URL") as refused:
        Module.parse_config({"url": url})
    assert "secret" not in refused.value.msg
    assert "secret" not in repr(parse({"url": "nats://u:secret@a"}))


def test_all_faults_at_once() -> None:
    with pytest.raises(ConfigError, match=r"prefix: .*; remote: .*"):
        Module.parse_config({"prefix": 3, "remote": 4})
    with pytest.raises(ConfigError, match="is list, want keys and values"):
        Module.parse_config([])


def test_defaults() -> None:
    settings = parse(None)
    assert (settings.timeout, settings.attempt_timeout, settings.remote) == (0.25, 0.1, True)
    assert parse({"url": "nats://a, nats://b"}).servers == ("nats://a", "nats://b")


def test_breaker_and_memory_by_the_clock() -> None:
    moments = [0.0]
    breaker = Breaker(3, 1.0, lambda: moments[-1])
    remembered: Remembered[str, int] = Remembered(2, 3600, lambda: moments[-1])

    def is_open() -> bool:
        return breaker.is_open

    for _ in range(2):
        breaker.failed()
    assert not is_open()
    breaker.failed()
    assert is_open()
    moments.append(1.5)
    assert not is_open(), "after the pause it tries again"
    breaker.failed()
    assert is_open(), "and pauses again if that fails"
    breaker.close()
    assert not is_open()
    for number, name in enumerate("abc"):
        remembered.put(name, number)
    assert [remembered.get(name) for name in "abc"] == [None, 1, 2]
    moments.append(9999)
    assert remembered.get("c") is None
    assert len(remembered) == 1
