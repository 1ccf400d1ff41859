"""The deployment as the module sees it: answers within deadlines, whatever state the deployment is in."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import threading
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import nats
import nats.errors
from nats.aio.client import Client as NATS

from presence_router.client import Client, UnavailableError
from presence_router.router import ALL_USERS, AllUsers
from presence_router.wire import QueryError, UserID, UserState

from .memory import Breaker, Remembered, Spell
from .outbox import Outbox
from .settings import Settings

MEMO_AGE = 1.0
LAST_KNOWN_AGE = 3600.0
LAST_KNOWN_USERS = 20_000
FAILED_USERS = 10_000
MOST_USERS = 100_000
"""Of one page: the most that a worker gives, since each page costs time."""
BREAKER_FAILURES = 3
BREAKER_PAUSE = 1.0
SECONDS_PER_STATE = 0.0005
"""What each state adds to a deadline: an initial sync asks about thousands."""
CONNECT_PAUSE = 1.0
STOP_TIMEOUT = 2.0

T = TypeVar("T")
Interest = frozenset[UserID] | Literal[AllUsers.ALL]
Routes = Mapping[UserID, tuple[UserState, ...]]

log = logging.getLogger(__name__)


@dataclass
class _Memo:
    states: tuple[UserState, ...]
    routes: asyncio.Task[Routes]
    until: float


class Service:
    """Ask and publish from a thread of its own, whose event loop is that of nats-py.

    What other threads call are `ask_routes`, `ask_interest`, `publish` and `stop`. The first two return futures that
    never fail: without an answer in time they hold the last known one.
    """

    def __init__(self, settings: Settings, recovered: Callable[[list[UserID]], None]) -> None:
        self._settings = settings
        self._recovered = recovered
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="presence-router", daemon=True)
        self._breaker = Breaker(BREAKER_FAILURES, BREAKER_PAUSE)
        self._memo: _Memo | None = None
        self._recipients: Remembered[UserID, frozenset[UserID]] = Remembered(LAST_KNOWN_USERS, LAST_KNOWN_AGE)
        self._interests: Remembered[UserID, Interest] = Remembered(LAST_KNOWN_USERS, LAST_KNOWN_AGE)
        self._failed: dict[UserID, None] = {}
        self._is_away = False
        self._client: Client | None = None
        self._outbox = Outbox()
        self._connection = Spell(log)
        self._connecting: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start the thread, which connects as soon as it can."""
        self._thread.start()

    def stop(self) -> None:
        """Publish what waits, if NATS takes it in time; end the connection and the thread."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(3 * STOP_TIMEOUT)

    def ask_routes(self, states: tuple[UserState, ...]) -> concurrent.futures.Future[Routes]:
        """Ask who receives states."""
        return self._submit(self._routes(states))

    def ask_interest(self, user: UserID) -> concurrent.futures.Future[Interest]:
        """Ask whose presence a user may see."""
        return self._submit(self._interest(user))

    def publish(self, states: tuple[UserState, ...]) -> None:
        """Have updates published."""
        self._loop.call_soon_threadsafe(self._put, states)

    def _submit(self, question: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        return asyncio.run_coroutine_threadsafe(question, self._loop)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._connecting = self._loop.create_task(self._stay_connected())
        try:
            self._loop.run_forever()
        finally:
            self._loop.run_until_complete(self._end())
            self._loop.close()

    async def _end(self) -> None:
        client = self._client
        if client is not None and client.nc.is_connected:
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._outbox.emptied(), STOP_TIMEOUT)
        running = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        if self._connecting is not None:
            self._connecting.cancel()
        if client is not None:
            with suppress(asyncio.TimeoutError, nats.errors.Error, OSError):
                await asyncio.wait_for(client.nc.close(), STOP_TIMEOUT)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def _stay_connected(self) -> None:
        """Connect, and publish until nats-py closes the connection, as it does at most errors that a server tells."""
        while True:
            closed = asyncio.Event()
            nc = await self._connect(closed)
            log.info("connected to NATS")
            self._connected()
            self._client = Client(nc, self._settings.prefix, attempt_timeout=self._settings.attempt_timeout)
            # A newer state is better than another attempt.
            publisher = self._client.publisher(retry_limit=0, id_key=self._outbox.id_key)
            publishing = asyncio.create_task(self._outbox.run(publisher))
            try:
                await closed.wait()
            finally:
                publishing.cancel()
            self._connection.end()
            self._connection.trouble("NATS ended the connection, connecting again: %s", nc.last_error)
            await asyncio.sleep(CONNECT_PAUSE)

    async def _connect(self, closed: asyncio.Event) -> NATS:
        """Connect; what nats-py gives up at is tried again."""
        while True:
            try:
                return await self._connect_once(closed)
            except Exception as e:
                self._connection.trouble("NATS cannot be reached, trying again: %s", str(e) or type(e).__name__)
                await asyncio.sleep(CONNECT_PAUSE)

    async def _connect_once(self, closed: asyncio.Event) -> NATS:
        async def reconnected() -> None:
            log.info("connected to NATS again")
            self._connected()

        async def disconnected() -> None:
            log.warning("the connection to NATS is away")

        async def failed(error: Exception) -> None:
            self._connection.trouble("NATS: %s", str(error) or type(error).__name__)

        async def ended() -> None:
            closed.set()

        return await nats.connect(
            list(self._settings.servers),
            name="synapse presence router",
            user_credentials=self._settings.credentials,
            inbox_prefix=self._settings.inbox_prefix,
            allow_reconnect=True,
            max_reconnect_attempts=-1,
            reconnect_time_wait=0.2,
            ping_interval=5,
            max_outstanding_pings=2,
            reconnected_cb=reconnected,
            disconnected_cb=disconnected,
            error_cb=failed,
            closed_cb=ended,
        )

    def _connected(self) -> None:
        self._connection.end()
        self._breaker.close()

    def _put(self, states: tuple[UserState, ...]) -> None:
        for state in states:
            self._outbox.put(state)

    async def _routes(self, states: tuple[UserState, ...]) -> Routes:
        """Answer the same question asked again at once, as Synapse does, from memory."""
        now = self._loop.time()
        if self._memo is None or self._memo.states != states or now > self._memo.until:
            self._memo = _Memo(states, self._loop.create_task(self._routes_of(states)), now + MEMO_AGE)
        return await asyncio.shield(self._memo.routes)

    async def _routes_of(self, states: tuple[UserState, ...]) -> Routes:
        extra = SECONDS_PER_STATE * len(states)

        async def ask(client: Client) -> dict[UserID, tuple[UserState, ...]]:
            found: dict[UserID, tuple[UserState, ...]] = {}
            async for user in client.users_for_states(
                states,
                timeout=self._settings.timeout + extra,
                attempt_timeout=self._settings.attempt_timeout + extra,
            ):
                found[user.user_id] = found.get(user.user_id, ()) + user.states
            return found

        found = await self._try(ask)
        if found is None:
            return self._last_known_routes(states)
        asked = frozenset(states)
        recipients: dict[UserID, set[UserID]] = {state.user_id: set() for state in states}
        for recipient, received in found.items():
            for state in received:
                if state in asked:  # What a router alters or makes up, it would withhold from the recipient as it is.
                    recipients[state.user_id].add(recipient)
        for user, of in recipients.items():
            self._recipients.put(user, frozenset(of))
        return found

    def _last_known_routes(self, states: tuple[UserState, ...]) -> Routes:
        routes: dict[UserID, tuple[UserState, ...]] = {}
        for state in states:
            for recipient in self._recipients.get(state.user_id) or ():
                routes[recipient] = (*routes.get(recipient, ()), state)
        return routes

    async def _interest(self, user: UserID) -> Interest:
        async def ask(client: Client) -> Interest:
            interest = await client.interested_users(user, limit=MOST_USERS, timeout=self._settings.timeout)
            return ALL_USERS if interest.all_users else frozenset([one async for one in interest.users()])

        found = await self._try(ask)
        if found is not None:
            self._interests.put(user, found)
            return found
        if len(self._failed) < FAILED_USERS:
            self._failed[user] = None
        return self._interests.get(user) or frozenset()

    async def _try(self, ask: Callable[[Client], Coroutine[Any, Any, T]]) -> T | None:
        """Return an answer, None if there is none now."""
        if self._client is None or not self._client.nc.is_connected or self._breaker.is_open:
            return None
        try:
            answer = await ask(self._client)
        except QueryError as e:
            if e.code in (QueryError.UNAVAILABLE, QueryError.ROUTERS_FAILED):
                self._lost(e)
            else:
                log.warning("a query is refused: %s", e)
            return None
        except Exception as e:  # Whatever it is, Synapse goes on with what was last known.
            self._lost(e)
            return None
        self._found()
        return answer

    def _lost(self, error: Exception) -> None:
        self._breaker.failed()
        if not self._is_away:
            self._is_away = True
            level = logging.WARNING if isinstance(error, (UnavailableError, QueryError)) else logging.ERROR
            log.log(level, "presence is routed as it was last known: %s", error)

    def _found(self) -> None:
        self._breaker.close()
        if self._is_away:
            self._is_away = False
            log.info("presence is routed by the workers again")
        if self._failed:
            failed = list(self._failed)
            self._failed.clear()
            self._recovered(failed)
