"""Presence states, and updates as JSON."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .errors import InvalidUpdateError, InvalidUserIDError, Reason, WireError, quote
from .ids import UserID
from .strict_json import MAX_DEPTH, Members, Scanner, Value, check_depth, encode_text, whole

MAX_UPDATE_BYTES = 64 << 10
MAX_TIME = (1 << 63) - 1

_PLAIN_STATES = ("online", "unavailable", "offline", "busy")
_WANTED_STATE = "want online, unavailable, offline, busy or a namespaced value"
_TIMES = ("last_active_ts", "last_federation_update_ts", "last_user_sync_ts")


@dataclass(frozen=True)
class Published:
    """The update that a state was decoded from."""

    json: bytes
    sequence: int
    """Its number in the updates stream, in a request its place counted from 1, else 0."""
    content: tuple[object, ...]


@dataclass(frozen=True)
class UserState:
    """The presence of one user at one moment: Synapse's UserPresenceState.

    Times are milliseconds since the epoch, 0 if unknown. `dataclasses.replace` makes an altered one; one that
    says the same as the update it came from is written as that update, byte for byte. Making one with a field
    that no update may have raises InvalidUpdateError.
    """

    user_id: UserID
    state: str
    last_active_ts: int = 0
    last_federation_update_ts: int = 0
    last_user_sync_ts: int = 0
    status_msg: str | None = None
    currently_active: bool = False
    published: Published | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "user_id", _user_id(self.user_id))
        _check_state(self.state)
        for name in _TIMES:
            _check_time(name, getattr(self, name))
        if self.status_msg is not None and not isinstance(self.status_msg, str):
            raise InvalidUpdateError(Reason.MALFORMED, f"status_msg is {self.status_msg!r}, want a string or None")
        if not isinstance(self.currently_active, bool):
            raise InvalidUpdateError(Reason.MALFORMED, f"currently_active is {self.currently_active!r}, want a bool")

    @property
    def content(self) -> tuple[object, ...]:
        """Return what the state says, without the update that it came from."""
        times = (self.last_active_ts, self.last_federation_update_ts, self.last_user_sync_ts)
        return (self.user_id, self.state, *times, self.status_msg, self.currently_active)

    @property
    def altered(self) -> bool:
        """Report whether the state says something else than the update it came from, or came from none."""
        return self.published is None or self.published.content != self.content

    @property
    def sequence(self) -> int:
        """Return the number of the update that the state came from, 0 for none."""
        return self.published.sequence if self.published else 0


def _user_id(value: object) -> UserID:
    if not isinstance(value, str):
        raise InvalidUpdateError(Reason.INVALID_USER_ID, f"user_id is {value!r}, want a string")
    try:
        return UserID(value)
    except InvalidUserIDError as e:
        raise InvalidUpdateError(Reason.INVALID_USER_ID, f"user_id: {e}") from None


def _check_state(value: object) -> None:
    if not isinstance(value, str):
        raise InvalidUpdateError(Reason.INVALID_STATE, f"state is {value!r}, want a string")
    if value not in _PLAIN_STATES and "." not in value:
        raise InvalidUpdateError(Reason.INVALID_STATE, f"state is {quote(value)}, {_WANTED_STATE}")


def _check_time(name: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_TIME:
        raise InvalidUpdateError(Reason.MALFORMED, f"{name} is {value!r}, want an integer from 0 to {MAX_TIME}")


def decode_update(data: bytes, *, sequence: int = 0, max_bytes: int = MAX_UPDATE_BYTES) -> UserState:
    """Return the state that an update describes, with the update attached.

    Unknown fields are passed over. Raise InvalidUpdateError with the reason of the
    dead letter that a worker makes.
    """
    if len(data) > max_bytes:
        raise InvalidUpdateError(Reason.TOO_LARGE, f"update is {len(data)} bytes, at most {max_bytes} are allowed")
    try:
        scanner = Scanner(data, MAX_DEPTH)
        if not scanner.is_object():
            raise WireError("want a JSON object")
        value = scanner.value()
        scanner.end()
    except WireError as e:
        raise InvalidUpdateError(Reason.MALFORMED, f"update: {e}") from None
    return _state_of(value.parsed, data, sequence)


def state_in(value: Value, *, sequence: int = 0, max_bytes: int | None = None) -> UserState:
    """Return the state that a value within a larger JSON text describes, with the errors of decode_update."""
    data = value.raw.encode()
    if max_bytes is not None and len(data) > max_bytes:
        raise InvalidUpdateError(Reason.TOO_LARGE, f"update is {len(data)} bytes, at most {max_bytes} are allowed")
    if not isinstance(value.parsed, Members):
        raise InvalidUpdateError(Reason.MALFORMED, f"update: want a JSON object, got {value.show()}")
    try:
        check_depth(value, MAX_DEPTH)
    except WireError as e:
        raise InvalidUpdateError(Reason.MALFORMED, f"update: {e}") from None
    return _state_of(value.parsed, data, sequence)


_FIELDS = frozenset({"user_id", "state", *_TIMES, "status_msg", "currently_active"})


def _state_of(members: Members, data: bytes, sequence: int) -> UserState:
    found: dict[str, Any] = {}
    for key, value in members:
        if key not in _FIELDS:
            continue
        if key in found:
            raise InvalidUpdateError(Reason.MALFORMED, f"{key} is given twice, want it once")
        found[key] = value
    last_active, last_federation, last_sync = (_time_in(name, found.get(name)) for name in _TIMES)
    status_msg = found.get("status_msg")
    if status_msg is not None and type(status_msg) is not str:
        raise InvalidUpdateError(Reason.MALFORMED, f"status_msg is {_show(status_msg)}, want a string or null")
    active = found.get("currently_active")
    if active is not None and not isinstance(active, bool):
        raise InvalidUpdateError(Reason.MALFORMED, f"currently_active is {_show(active)}, want true, false or null")
    user_id = _user_id(_text_in(found, "user_id", Reason.INVALID_USER_ID))
    text = _text_in(found, "state", Reason.INVALID_STATE)
    state = UserState(user_id, text, last_active, last_federation, last_sync, status_msg, bool(active))
    object.__setattr__(state, "published", Published(data, sequence, state.content))
    return state


def _time_in(name: str, value: Any) -> int:
    if value is None:
        return 0
    number = whole(value, MAX_TIME)
    if number is None:
        raise InvalidUpdateError(Reason.MALFORMED, f"{name} is {_show(value)}, want an integer from 0 to {MAX_TIME}")
    return number


def _text_in(found: dict[str, Any], name: str, reason: Reason) -> str:
    if name not in found:
        raise InvalidUpdateError(reason, f"{name} is missing")
    value = found[name]
    if type(value) is not str:
        raise InvalidUpdateError(reason, f"{name} is {_show(value)}, want a string")
    return value


def _show(value: Any) -> str:
    if isinstance(value, Members):
        return "an object"
    if isinstance(value, list):
        return "an array"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return quote(value) if type(value) is str else str(value)[:64]


def encode_state(state: UserState) -> bytes:
    """Return a state as JSON: the update it came from if it says the same, else the seven known fields."""
    if state.published is not None and not state.altered:
        return state.published.json
    status_msg = "null" if state.status_msg is None else encode_text(state.status_msg)
    return (
        f'{{"user_id":{encode_text(state.user_id)},"state":{encode_text(state.state)},'
        f'"last_active_ts":{state.last_active_ts:d},'
        f'"last_federation_update_ts":{state.last_federation_update_ts:d},'
        f'"last_user_sync_ts":{state.last_user_sync_ts:d},'
        f'"status_msg":{status_msg},"currently_active":{"true" if state.currently_active else "false"}}}'
    ).encode()
