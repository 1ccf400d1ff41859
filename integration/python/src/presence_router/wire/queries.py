"""The requests and answers of queries as JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .delivery import numbers_in, sequences_in, states_in, user_in
from .errors import InvalidUpdateError, QueryError, Reason, WireError, quote
from .ids import UserID
from .state import MAX_TIME, MAX_UPDATE_BYTES, UserState, encode_state, state_in
from .strict_json import MAX_DEPTH, Scanner, Value, encode_text, whole

INTERESTED_USERS = "interested_users"
USERS_FOR_STATES = "users_for_states"
SEND_ONLINE_PRESENCE = "send_online_presence"
CURRENT_STATES = "current_states"
QUERIES = (INTERESTED_USERS, USERS_FOR_STATES, SEND_ONLINE_PRESENCE, CURRENT_STATES)

SERVICE_NAME = "presence-router"
SERVICE_VERSION = "1.0.0"
ERROR_HEADER = "Nats-Service-Error"
ERROR_CODE_HEADER = "Nats-Service-Error-Code"

DEFAULT_LIMIT = 1000
MAX_LIMIT = 100_000
MAX_QUERY_USERS = 1024
_MAX_COUNT = (1 << 31) - 1

_Reader = Callable[[Scanner, str], object]


def decode_query_error(headers: Mapping[str, str] | None) -> QueryError | None:
    """Return the error that the headers of an answer tell, None if the answer is no error."""
    code = (headers or {}).get(ERROR_CODE_HEADER, "")
    if not code:
        return None
    sentence = (headers or {}).get(ERROR_HEADER, "")
    if not (code.isascii() and code.isdigit() and len(code) < 9):
        return QueryError(QueryError.ROUTERS_FAILED, f"error code {quote(code)}: {sentence}")
    return QueryError(int(code), sentence)


@dataclass(frozen=True)
class InterestedUsersRequest:
    """Ask whose presence a user may see, behind the user `after`."""

    user_id: UserID
    limit: int | None = None
    after: UserID | None = None

    def encode(self) -> bytes:
        """Return the request as JSON."""
        limit = "" if self.limit is None else f',"limit":{self.limit}'
        return f'{{"user_id":{encode_text(self.user_id)}{limit}{_user_member("after", self.after)}}}'.encode()

    @classmethod
    def decode(cls, data: bytes) -> InterestedUsersRequest:
        """Return the request that encode wrote; raise QueryError for anything else."""
        found = _decode_request(data, {"user_id": _user, "limit": _limit, "after": _user}, ("user_id",))
        return cls(**found)


@dataclass(frozen=True)
class InterestedUsersAnswer:
    """Say whose presence a user may see: that of all users, or of some."""

    all_users: bool
    users: tuple[UserID, ...] = ()
    next: UserID | None = None
    """`after` of the next page, None on the last one."""

    def encode(self) -> bytes:
        """Return the answer as JSON."""
        if self.all_users:
            return b'{"all_users":true}'
        users = _users_text(self.users)
        return f'{{"all_users":false,"users":{users}{_user_member("next", self.next)}}}'.encode()

    @classmethod
    def decode(cls, data: bytes) -> InterestedUsersAnswer:
        """Return the answer that encode wrote; unknown fields are passed over. Raise WireError."""
        return cls(**_decode_answer(data, {"all_users": _flag, "users": _users, "next": _user}, ("all_users",)))


@dataclass(frozen=True)
class UsersForStatesRequest:
    """Ask who receives states, behind the recipient `after`, or behind so many of that one's states."""

    states: tuple[UserState, ...]
    after: UserID | None = None
    after_states: int | None = None

    def encode(self) -> bytes:
        """Return the request as JSON."""
        count = f',"after_states":{self.after_states}' if self.after_states else ""
        end = f"]{_user_member('after', self.after)}{count}}}"
        return b'{"states":[' + b",".join(map(encode_state, self.states)) + end.encode()

    @classmethod
    def decode(cls, data: bytes, *, max_update_bytes: int = MAX_UPDATE_BYTES) -> UsersForStatesRequest:
        """Return the request that encode wrote; raise QueryError for anything else.

        `sequence` of each state is its place in the request, counted from 1.
        """

        def states(scanner: Scanner, name: str) -> object:
            return tuple(_request_states(_array(scanner, name), max_update_bytes))

        readers: dict[str, _Reader] = {"states": states, "after": _user, "after_states": _positive}
        request = cls(**_decode_request(data, readers, ("states",)))
        if request.after_states and request.after is None:
            raise QueryError(QueryError.INVALID, f"after_states is {request.after_states} without after")
        return request


def _request_states(values: list[Value], max_bytes: int) -> Iterator[UserState]:
    for i, value in enumerate(values):
        try:
            yield state_in(value, sequence=i + 1, max_bytes=max_bytes)
        except InvalidUpdateError as e:
            code = QueryError.TOO_LARGE if e.reason is Reason.TOO_LARGE else QueryError.INVALID
            raise QueryError(code, f"states[{i}]: {e}") from None


@dataclass(frozen=True)
class UserStates:
    """A recipient and the states for them, in the order of their publishing."""

    user_id: UserID
    states: tuple[UserState, ...]


@dataclass(frozen=True)
class UsersForStatesAnswer:
    """Say who receives which states."""

    users: tuple[UserStates, ...] = ()
    next: UserID | None = None
    next_states: int | None = None

    def encode(self) -> bytes:
        """Return the answer as JSON."""
        users = b",".join(
            encode_text(user.user_id).encode() + b":[" + b",".join(map(encode_state, user.states)) + b"]"
            for user in self.users
        )
        count = f',"next_states":{self.next_states}' if self.next_states else ""
        return b'{"users":{' + users + f"}}{_user_member('next', self.next)}{count}}}".encode()

    @classmethod
    def decode(cls, data: bytes) -> UsersForStatesAnswer:
        """Return the answer that encode wrote; unknown fields are passed over. Raise WireError."""
        readers: dict[str, _Reader] = {"users": _user_states, "next": _user, "next_states": _positive}
        return cls(**_decode_answer(data, readers, ("users",)))


def _user_states(scanner: Scanner, name: str) -> tuple[UserStates, ...]:
    def states(user: UserID) -> UserStates:
        values = _array(scanner, f"{name}[{quote(user)}]")
        return UserStates(user, tuple(states_in(values, [0] * len(values))))

    return tuple(map(states, _user_keys(scanner, name)))


@dataclass(frozen=True)
class SendOnlinePresenceRequest:
    """Ask that users be sent the present states of those whose presence they may see."""

    users: tuple[UserID, ...]
    after: UserID | None = None

    def encode(self) -> bytes:
        """Return the request as JSON."""
        return f'{{"users":{_users_text(self.users)}{_user_member("after", self.after)}}}'.encode()

    @classmethod
    def decode(cls, data: bytes) -> SendOnlinePresenceRequest:
        """Return the request that encode wrote; raise QueryError for anything else."""
        return cls(**_decode_request(data, {"users": _query_users, "after": _user}, ("users",)))


@dataclass(frozen=True)
class SentStates:
    """How many states one user was sent."""

    user_id: UserID
    states: int


@dataclass(frozen=True)
class SendOnlinePresenceAnswer:
    """Say what was sent."""

    users: tuple[SentStates, ...] = ()
    next: UserID | None = None

    def encode(self) -> bytes:
        """Return the answer as JSON."""
        users = ",".join(f'{encode_text(sent.user_id)}:{{"states":{sent.states}}}' for sent in self.users)
        return f'{{"users":{{{users}}}{_user_member("next", self.next)}}}'.encode()

    @classmethod
    def decode(cls, data: bytes) -> SendOnlinePresenceAnswer:
        """Return the answer that encode wrote; unknown fields are passed over. Raise WireError."""
        return cls(**_decode_answer(data, {"users": _sent_states, "next": _user}, ("users",)))


def _sent_states(scanner: Scanner, name: str) -> tuple[SentStates, ...]:
    def sent(user: UserID) -> SentStates:
        return SentStates(user, _members(scanner, {"states": _count}, ("states",), strict=False)["states"])

    return tuple(map(sent, _user_keys(scanner, name)))


@dataclass(frozen=True)
class CurrentStatesRequest:
    """Ask for the newest states of users: all that is known, or what the local user `for_user` may see."""

    users: tuple[UserID, ...]
    for_user: UserID | None = None
    after: UserID | None = None

    def encode(self) -> bytes:
        """Return the request as JSON."""
        rest = _user_member("for", self.for_user) + _user_member("after", self.after)
        return f'{{"users":{_users_text(self.users)}{rest}}}'.encode()

    @classmethod
    def decode(cls, data: bytes) -> CurrentStatesRequest:
        """Return the request that encode wrote; raise QueryError for anything else."""
        found = _decode_request(data, {"users": _query_users, "for": _user, "after": _user}, ("users",))
        return cls(found["users"], found.get("for"), found.get("after"))


@dataclass(frozen=True)
class PlacedState:
    """A state and its place in the history of its user; `state.sequence` is the other half of it."""

    epoch: int
    state: UserState


@dataclass(frozen=True)
class CurrentStatesAnswer:
    """Hold the newest states of users, in the order of the users."""

    states: tuple[PlacedState, ...] = ()
    next: UserID | None = None

    def encode(self) -> bytes:
        """Return the answer as JSON."""
        epochs = ",".join(str(placed.epoch) for placed in self.states)
        sequences = ",".join(str(placed.state.sequence) for placed in self.states)
        states = b",".join(encode_state(placed.state) for placed in self.states)
        begin = f'{{"epochs":[{epochs}],"sequences":[{sequences}],"states":['
        return begin.encode() + states + f"]{_user_member('next', self.next)}}}".encode()

    @classmethod
    def decode(cls, data: bytes) -> CurrentStatesAnswer:
        """Return the answer that encode wrote; unknown fields are passed over. Raise WireError."""
        readers: dict[str, _Reader] = {"epochs": _array, "sequences": _array, "states": _array, "next": _user}
        found = _decode_answer(data, readers, ("epochs", "sequences", "states"))
        epochs = numbers_in("epochs", found["epochs"], MAX_TIME)
        states = states_in(found["states"], sequences_in(found["sequences"]))
        if len(epochs) != len(states):
            raise WireError(f"decode answer: epochs has {len(epochs)} elements, want {len(states)} as in states")
        return cls(tuple(map(PlacedState, epochs, states)), found.get("next"))


def _user_member(name: str, user: UserID | None) -> str:
    return "" if user is None else f',"{name}":{encode_text(user)}'


def _users_text(users: Iterable[UserID]) -> str:
    return f"[{','.join(map(encode_text, users))}]"


def _decode_request(data: bytes, readers: Mapping[str, _Reader], required: Iterable[str]) -> dict[str, Any]:
    try:
        return _decode(data, readers, required, strict=True)
    except WireError as e:
        raise QueryError(QueryError.INVALID, str(e)) from None


def _decode_answer(data: bytes, readers: Mapping[str, _Reader], required: Iterable[str]) -> dict[str, Any]:
    try:
        return _decode(data, readers, required, strict=False)
    except WireError as e:
        raise WireError(f"decode answer: {e}") from None


def _decode(data: bytes, readers: Mapping[str, _Reader], required: Iterable[str], *, strict: bool) -> dict[str, Any]:
    scanner = Scanner(data, MAX_DEPTH + 3)
    found = _members(scanner, readers, required, strict=strict)
    scanner.end()
    return found


def _members(
    scanner: Scanner, readers: Mapping[str, _Reader], required: Iterable[str], *, strict: bool
) -> dict[str, Any]:
    """Read an object; null stands for an optional member that is missing."""
    found: dict[str, Any] = {}
    seen = set()
    for key in scanner.members():
        if key not in readers:
            if strict:
                raise WireError(f"field {quote(key)} is unknown, want {', '.join(readers)}")
            scanner.value()
            continue
        if key in seen:
            raise WireError(f"{key} is given twice, want it once")
        seen.add(key)
        if key not in required and scanner.is_null():
            scanner.value()
        else:
            found[key] = readers[key](scanner, key)
    for name in required:
        if name not in found:
            raise WireError(f"{name} is missing")
    return found


def _user(scanner: Scanner, name: str) -> UserID:
    return user_in(name, scanner.value())


def _array(scanner: Scanner, name: str) -> list[Value]:
    if not scanner.is_array():
        raise WireError(f"{name} is {scanner.value().show()}, want an array")
    return [scanner.value() for _ in scanner.elements()]


def _users(scanner: Scanner, name: str) -> tuple[UserID, ...]:
    return tuple(user_in(f"{name}[{i}]", value) for i, value in enumerate(_array(scanner, name)))


def _query_users(scanner: Scanner, name: str) -> tuple[UserID, ...]:
    users = _users(scanner, name)
    if len(users) > MAX_QUERY_USERS:
        message = f"{name} has {len(users)} elements, at most {MAX_QUERY_USERS} are allowed"
        raise QueryError(QueryError.TOO_LARGE, message)
    return users


def _user_keys(scanner: Scanner, name: str) -> Iterator[UserID]:
    if not scanner.is_object():
        raise WireError(f"{name} is {scanner.value().show()}, want an object")
    for key in scanner.members():
        try:
            yield UserID(key)
        except WireError as e:
            raise WireError(f"{name}: {e}") from None


def _flag(scanner: Scanner, name: str) -> bool:
    value = scanner.value()
    if not isinstance(value.parsed, bool):
        raise WireError(f"{name} is {value.show()}, want true or false")
    return value.parsed


def _integer(least: int, most: int) -> _Reader:
    def read(scanner: Scanner, name: str) -> int:
        value = scanner.value()
        number = whole(value.parsed, most, exactly=True)
        if number is None or number < least:
            raise WireError(f"{name} is {value.show()}, want an integer from {least} to {most}")
        return number

    return read


_limit = _integer(1, MAX_LIMIT)
_positive = _integer(1, _MAX_COUNT)
_count = _integer(0, _MAX_COUNT)
