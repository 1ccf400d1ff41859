"""Translate between Synapse's states and those of the wire protocol."""

from __future__ import annotations

from typing import Any

from presence_router.wire import MAX_UPDATE_BYTES, InvalidUpdateError, UserID, UserState, WireError, encode_state

MAX_TIME = (1 << 63) - 1


def clean(state: Any) -> UserState | None:
    """Return a state that a query takes, None if it can be made none.

    Other servers send what they like, and Synapse keeps much of it: a state that no worker takes would have the
    whole question refused. Times and messages are mended; a user ID or presence state that is none is left out.
    """
    try:
        cleaned = UserState(
            UserID(state.user_id),
            state.state,
            _time(state.last_active_ts),
            _time(state.last_federation_update_ts),
            _time(state.last_user_sync_ts),
            _text(state.status_msg),
            bool(state.currently_active),
        )
        data = encode_state(cleaned)
    except (AttributeError, TypeError, UnicodeError, InvalidUpdateError, WireError):
        return None
    return cleaned if len(data) <= MAX_UPDATE_BYTES else None


def _time(value: object) -> int:
    if not isinstance(value, (int, float)) or value != value:  # noqa: PLR0124 # NaN alone is none of its own.
        return 0
    return int(max(0, min(value, MAX_TIME))) if value < MAX_TIME else MAX_TIME


def _text(value: object) -> str | None:
    if not isinstance(value, str):
        return None
    return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
