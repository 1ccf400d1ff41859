"""Serve a router of two async functions over the query protocol."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from enum import Enum
from types import TracebackType
from typing import Literal

from nats.aio.client import Client as NATS
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from presence_router.wire import (
    ERROR_CODE_HEADER,
    ERROR_HEADER,
    INTERESTED_USERS,
    MAX_UPDATE_BYTES,
    SERVICE_NAME,
    USERS_FOR_STATES,
    InterestedUsersAnswer,
    InterestedUsersRequest,
    QueryError,
    UserID,
    UsersForStatesRequest,
    UserState,
    UserStates,
    WireError,
)

from .paging import page_of_states, page_of_users

HOPS_HEADER = "Presence-Hops"
MAX_HOPS = 4
CONCURRENCY = 32
WAITING = 1024
TIMEOUT = 5.0
STOP_TIMEOUT = 10.0

_SUBJECT_PREFIX = re.compile(r"[A-Za-z0-9_-]{1,64}(\.[A-Za-z0-9_-]{1,64}){0,7}")

log = logging.getLogger(__name__)


class AllUsers(Enum):
    """Say that a user may see the presence of everybody."""

    ALL = "ALL"


ALL_USERS: Literal[AllUsers.ALL] = AllUsers.ALL

UsersForStates = Callable[[Sequence[UserState]], Awaitable[Mapping[UserID, Iterable[UserState]]]]
"""Return who else receives these states, and which of them. Altered ones are made by dataclasses.replace."""
InterestedUsers = Callable[[UserID], Awaitable[Iterable[UserID] | Literal[AllUsers.ALL]]]
"""Return whose presence a user may see."""


class Service:
    """Answer `<subject_prefix>.users_for_states` and `.interested_users` with two functions.

    The two must fit each other: if a state of Bob goes to Alice, then Alice's interest holds Bob. Each page of an
    answer is a question of its own. Processes with the same prefix share the questions.

    At most `concurrency` questions are worked on, and as many as `waiting` wait for that; more are refused with
    503, as is one that takes longer than `timeout` seconds. Only reply subjects below `reply_prefixes` are answered:
    else whoever may ask could have this process publish anywhere.
    """

    def __init__(
        self,
        nc: NATS,
        subject_prefix: str,
        *,
        users_for_states: UsersForStates,
        interested_users: InterestedUsers,
        concurrency: int = CONCURRENCY,
        waiting: int = WAITING,
        timeout: float = TIMEOUT,
        max_update_bytes: int = MAX_UPDATE_BYTES,
        reply_prefixes: Sequence[str] = ("_INBOX", "_R_"),
    ) -> None:
        if not _SUBJECT_PREFIX.fullmatch(subject_prefix):
            raise ValueError(f"subject_prefix is {subject_prefix!r}, want 1 to 8 tokens of A-Z, a-z, 0-9, _ and -")
        if concurrency < 1 or waiting < 0 or not timeout > 0:
            bounds = "want concurrency from 1, waiting from 0 and timeout above 0"
            raise ValueError(f"concurrency is {concurrency}, waiting {waiting} and timeout {timeout:g}, {bounds}")
        self._nc = nc
        self._prefix = subject_prefix
        self._users_for_states = users_for_states
        self._interested_users = interested_users
        self._room = asyncio.Semaphore(concurrency)
        self._most = concurrency + waiting
        self._timeout = timeout
        self._max_update_bytes = max_update_bytes
        self._reply_prefixes = tuple(prefix + "." for prefix in reply_prefixes)
        self._tasks: set[asyncio.Task[None]] = set()
        self._subscriptions: list[Subscription] = []

    async def __aenter__(self) -> Service:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Begin to answer."""
        for name, answer in ((USERS_FOR_STATES, self._answer_states), (INTERESTED_USERS, self._answer_users)):
            subject = f"{self._prefix}.{name}"
            taken = await self._nc.subscribe(subject, queue=SERVICE_NAME, cb=self._taking(answer))
            self._subscriptions.append(taken)
        await self._nc.flush()

    async def stop(self, timeout: float = STOP_TIMEOUT) -> None:
        """Take no more questions, and finish those that are being worked on, within so many seconds."""
        for subscription in self._subscriptions:
            if not self._nc.is_closed:
                await subscription.unsubscribe()
        self._subscriptions.clear()
        if not self._tasks:
            return
        _, late = await asyncio.wait(self._tasks, timeout=timeout)
        for task in late:
            task.cancel()

    def _taking(self, answer: Callable[[bytes], Awaitable[bytes]]) -> Callable[[Msg], Awaitable[None]]:
        async def take(message: Msg) -> None:
            if message.reply and not message.reply.startswith(self._reply_prefixes):
                log.warning("query is not answered: its reply subject is below none of reply_prefixes")
                return
            if len(self._tasks) >= self._most:
                await self._reply(message, error=QueryError(QueryError.UNAVAILABLE, "too many queries are waiting"))
                return
            task = asyncio.create_task(self._work(message, answer))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        return take

    async def _work(self, message: Msg, answer: Callable[[bytes], Awaitable[bytes]]) -> None:
        try:
            _check_hops(message)
            reply = await asyncio.wait_for(self._in_turn(answer, message.data), self._timeout)
        except QueryError as e:
            await self._reply(message, error=e)
        except asyncio.TimeoutError:
            await self._reply(message, error=QueryError(QueryError.UNAVAILABLE, f"out of time ({self._timeout:g} s)"))
        except Exception as e:
            log.exception("router failed")
            await self._reply(message, error=QueryError(QueryError.ROUTERS_FAILED, f"{type(e).__name__}: {e}"))
        else:
            await self._reply(message, reply)

    async def _in_turn(self, answer: Callable[[bytes], Awaitable[bytes]], request: bytes) -> bytes:
        async with self._room:
            return await answer(request)

    async def _reply(self, message: Msg, answer: bytes = b"", *, error: QueryError | None = None) -> None:
        if not message.reply or self._nc.is_closed:
            return
        headers = None
        if error is not None:
            headers = {ERROR_CODE_HEADER: str(error.code), ERROR_HEADER: error.message[:1000]}
        await self._nc.publish(message.reply, answer, headers=headers)

    async def _answer_states(self, data: bytes) -> bytes:
        request = UsersForStatesRequest.decode(data, max_update_bytes=self._max_update_bytes)
        found = await self._users_for_states(request.states)
        placed = [UserStates(_user(user), _ordered(states, request.states)) for user, states in found.items()]
        placed.sort(key=lambda user: user.user_id)
        return page_of_states(request, placed, self._nc.max_payload).encode()

    async def _answer_users(self, data: bytes) -> bytes:
        request = InterestedUsersRequest.decode(data)
        found = await self._interested_users(request.user_id)
        if found is ALL_USERS:
            return InterestedUsersAnswer(True).encode()
        return page_of_users(request, sorted({_user(user) for user in found}), self._nc.max_payload).encode()


def _user(user: object) -> UserID:
    if not isinstance(user, str):
        raise WireError(f"the router answered {user!r}, want a user ID")
    return UserID(user)


def _check_hops(message: Msg) -> None:
    hops = (message.headers or {}).get(HOPS_HEADER, "0")
    if not (hops.isascii() and hops.isdigit()) or len(hops) > 9 or int(hops) > MAX_HOPS:
        raise QueryError(QueryError.INVALID, f"{HOPS_HEADER} is {hops[:100]!r}, want a number up to {MAX_HOPS}")


def _ordered(states: Iterable[UserState], asked: Sequence[UserState]) -> tuple[UserState, ...]:
    """Return what a router chose in the order of the question, each once, what it made up last.

    A state that says what one of the question says is that one, so that it goes back byte for byte.
    """
    same = {state: state for state in reversed(asked)}
    chosen: dict[int, UserState] = {}
    made_up: list[UserState] = []
    altered: list[UserState] = []
    for state in states:
        if not isinstance(state, UserState):
            raise WireError(f"the router answered {state!r}, want states")
        original = state if state.published and not state.altered else same.get(state)
        if original is not None:
            chosen[original.sequence] = original
        elif state.sequence:
            altered.append(state)
        else:
            made_up.append(state)
    placed = sorted([*chosen.values(), *altered], key=lambda state: state.sequence)
    return (*placed, *made_up)
