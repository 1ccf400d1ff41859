"""The client of one deployment."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

from nats.aio.client import Client as NATS

from presence_router.wire import (
    CURRENT_STATES,
    DEFAULT_PREFIX,
    INTERESTED_USERS,
    MAX_QUERY_USERS,
    SEND_ONLINE_PRESENCE,
    USERS_FOR_STATES,
    CurrentStatesAnswer,
    CurrentStatesRequest,
    InterestedUsersAnswer,
    InterestedUsersRequest,
    PlacedState,
    SendOnlinePresenceAnswer,
    SendOnlinePresenceRequest,
    SentStates,
    Subjects,
    UserID,
    UsersForStatesAnswer,
    UsersForStatesRequest,
    UserState,
    UserStates,
    encode_state,
)

from .asking import Patience, ask
from .deliveries import Deliveries
from .errors import PagesError
from .jetstream import API_PREFIX, JetStream
from .position import Position
from .publisher import Publisher
from .selection import Selection

ATTEMPT_TIMEOUT = 10.0
REPLAY_ATTEMPT_TIMEOUT = 90.0
ENVELOPE_BYTES = 2048
"""What a request with states has room for beside them: the user behind whom an answer begins."""

_API_PREFIX = re.compile(r"[A-Za-z0-9$_-]{1,64}(\.[A-Za-z0-9$_-]{1,64}){0,7}")
_CONSUMER_NAME = re.compile(r"[!-)+,\-0-=?-\[\]-~]{0,255}")  # what is visible, but . * > / and \

E = TypeVar("E")


class _Question(Protocol):
    def encode(self) -> bytes: ...


class Client:
    """Publish to, ask and read from one deployment, over a connection of yours.

    `attempt_timeout` and `replay_attempt_timeout` are the seconds that one attempt waits for an answer, the latter
    that of send_online_presence. They are to be longer than worker.queries.timeout (5 s) and
    worker.queries.replay_timeout (1 min) of the workers. Every query takes a `timeout` for the whole call, pages
    included, and an `attempt_timeout` of its own.

    `api_prefix` is what the subjects of the JetStream API begin with, for readers in an account that imports it.
    `consumer_name` names the consumer that deliveries are read through, for a NATS user who is permitted this one
    alone; one reader at a time uses it.
    """

    def __init__(
        self,
        nc: NATS,
        prefix: str = DEFAULT_PREFIX,
        *,
        attempt_timeout: float = ATTEMPT_TIMEOUT,
        replay_attempt_timeout: float = REPLAY_ATTEMPT_TIMEOUT,
        api_prefix: str = API_PREFIX,
        consumer_name: str = "",
    ) -> None:
        if not _API_PREFIX.fullmatch(api_prefix):
            raise ValueError(f"api_prefix is {api_prefix!r}, want 1 to 8 tokens of A-Z, a-z, 0-9, $, _ and -")
        if not _CONSUMER_NAME.fullmatch(consumer_name):
            raise ValueError(f"consumer_name is {consumer_name!r}, want at most 255 visible ASCII but .*>/\\")
        self.nc = nc
        self.subjects = Subjects(prefix)
        self._attempt_timeout = attempt_timeout
        self._replay_attempt_timeout = replay_attempt_timeout
        self._js = JetStream(nc, api_prefix)
        self._consumer_name = consumer_name

    async def interested_users(
        self,
        user: UserID,
        *,
        limit: int | None = None,
        timeout: float | None = None,
        attempt_timeout: float | None = None,
    ) -> Interest:
        """Ask whose presence a user may see. `limit` is the most users of a page, 1 to 100,000."""
        patience = self._patience(timeout, attempt_timeout)
        request = InterestedUsersRequest(user, limit)
        return Interest(self, request, patience, await self._interested_users(request, patience))

    async def _interested_users(self, request: InterestedUsersRequest, patience: Patience) -> InterestedUsersAnswer:
        return InterestedUsersAnswer.decode(await self._ask(INTERESTED_USERS, request, patience))

    async def users_for_states(
        self,
        states: Iterable[UserState],
        *,
        timeout: float | None = None,
        attempt_timeout: float | None = None,
    ) -> AsyncIterator[UserStates]:
        """Ask who receives states, and yield each recipient with theirs.

        States that fit no message of the server together are asked about in several requests, in their order. A
        recipient whose states are in several answers comes several times.
        """
        patience = self._patience(timeout, attempt_timeout)
        for portion in self._portions(list(states)):
            request: UsersForStatesRequest | None = UsersForStatesRequest(tuple(portion))
            while request is not None:
                answer = UsersForStatesAnswer.decode(await self._ask(USERS_FOR_STATES, request, patience))
                for user in answer.users:
                    yield user
                request = _next_states(request, answer)

    def _portions(self, states: list[UserState]) -> Iterable[list[UserState]]:
        room = self.nc.max_payload - ENVELOPE_BYTES
        portion: list[UserState] = []
        used = 0
        for state in states:
            size = len(encode_state(state)) + len(",")
            if portion and used + size > room:
                yield portion
                portion, used = [], 0
            portion.append(state)
            used += size
        if portion:
            yield portion

    async def send_online_presence(
        self,
        users: Iterable[UserID],
        *,
        timeout: float | None = None,
        attempt_timeout: float | None = None,
    ) -> AsyncIterator[SentStates]:
        """Have the newest states of those whose presence each user may see delivered to that user.

        Yield how many states each was sent. What is delivered when an error comes stays delivered.
        """
        patience = self._patience(timeout, attempt_timeout or self._replay_attempt_timeout)
        for portion in _chunks(list(users)):
            request = SendOnlinePresenceRequest(portion)
            while True:
                answer = SendOnlinePresenceAnswer.decode(await self._ask(SEND_ONLINE_PRESENCE, request, patience))
                for sent in answer.users:
                    yield sent
                if answer.next is None:
                    break
                request = replace(request, after=_turned(request.after, answer.next))

    async def current_states(
        self,
        users: Iterable[UserID],
        for_user: UserID | None = None,
        *,
        timeout: float | None = None,
        attempt_timeout: float | None = None,
    ) -> AsyncIterator[PlacedState]:
        """Yield the newest state of each user that is known, offline ones too.

        With `for_user`, a local user, yield what that user may see.
        """
        patience = self._patience(timeout, attempt_timeout)
        for portion in _chunks(list(users)):
            request = CurrentStatesRequest(portion, for_user)
            while True:
                answer = CurrentStatesAnswer.decode(await self._ask(CURRENT_STATES, request, patience))
                for placed in answer.states:
                    yield placed
                if answer.next is None:
                    break
                request = replace(request, after=_turned(request.after, answer.next))

    def publisher(
        self,
        *,
        max_pending: int = 4000,
        ack_timeout: float = 5.0,
        retry_limit: float = 30.0,
        id_key: bytes = b"",
    ) -> Publisher:
        """Return a publisher of updates; see Publisher for its bounds."""
        return Publisher(
            self.nc,
            self.subjects,
            max_pending=max_pending,
            ack_timeout=ack_timeout,
            retry_limit=retry_limit,
            id_key=id_key,
        )

    def deliveries(self, selection: Selection, after: Position | None = None) -> Deliveries:
        """Return a reader of the deliveries of a selection behind a position, stored ones and those to come."""
        return Deliveries(
            self.nc,
            self._js,
            self.subjects,
            selection,
            after=after or Position(),
            consumer_name=self._consumer_name,
        )

    async def end(self) -> Position:
        """Return the position behind what is stored now."""
        return Position.behind(await self._js.stream_info(self.subjects.deliveries_stream))

    def _patience(self, timeout: float | None, attempt_timeout: float | None) -> Patience:
        return Patience(timeout, self._attempt_timeout if attempt_timeout is None else attempt_timeout)

    async def _ask(self, query: str, request: _Question, patience: Patience) -> bytes:
        return await ask(self.nc, self.subjects.query(query), request.encode(), patience)


@dataclass(frozen=True)
class Interest:
    """Whose presence a user may see: that of all users, or of those in `users()`."""

    _client: Client
    _request: InterestedUsersRequest
    _patience: Patience
    _first: InterestedUsersAnswer

    @property
    def all_users(self) -> bool:
        """Report whether it is that of all users."""
        return self._first.all_users

    async def users(self) -> AsyncIterator[UserID]:
        """Yield the users in the order of their IDs, page by page; none if it is that of all users."""
        request, page = self._request, self._first
        while True:
            for user in page.users:
                yield user
            if page.next is None:
                return
            request = replace(request, after=_turned(request.after, page.next))
            page = await self._client._interested_users(request, self._patience)


def _chunks(users: Sequence[UserID]) -> Iterable[tuple[UserID, ...]]:
    for first in range(0, len(users), MAX_QUERY_USERS):
        yield tuple(users[first : first + MAX_QUERY_USERS])


def _turned(after: UserID | None, following: UserID) -> UserID:
    if after is not None and following <= after:
        raise PagesError(f"the page behind {after} ends at {following}, want a user behind that")
    return following


def _next_states(request: UsersForStatesRequest, answer: UsersForStatesAnswer) -> UsersForStatesRequest | None:
    if answer.next is None:
        return None
    before, behind = request.after_states or 0, answer.next_states or 0
    within = request.after == answer.next and before > 0 and (behind == 0 or behind > before)
    following = answer.next if within else _turned(request.after, answer.next)
    return replace(request, after=following, after_states=answer.next_states)
