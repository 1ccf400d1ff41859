"""Errors about what does not follow the wire protocol."""

from __future__ import annotations

import json
from enum import Enum

SHOWN_BYTES = 64


class Reason(str, Enum):
    """Say why an update became a dead letter; the last token of the letter's subject."""

    MALFORMED = "malformed"
    INVALID_USER_ID = "invalid_user_id"
    INVALID_STATE = "invalid_state"
    SUBJECT_MISMATCH = "subject_mismatch"
    TOO_LARGE = "too_large"
    ROUTER_FAILED = "router_failed"


class WireError(ValueError):
    """Tell that something is not what the protocol allows: the field, its value and the bound."""


class InvalidUserIDError(WireError):
    """Tell that a text is no Matrix user ID."""


class InvalidServerNameError(WireError):
    """Tell that a text is no Matrix server name."""


class InvalidTokenError(WireError):
    """Tell that a token of a subject is none that encoding would have produced."""


class InvalidUpdateError(WireError):
    """Tell that an update is one that workers make a dead letter of."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(f"{reason.value}: {message}")
        self.reason = reason


class QueryError(Exception):
    """Tell what a query is answered with instead of an answer.

    `code` is 400 if the request is at fault, 403 if the user asked for is of another homeserver, 413 if the
    request or one entry of its answer is too large, 500 if all routers failed, and 503 if the worker cannot
    answer now.
    """

    INVALID = 400
    NOT_LOCAL = 403
    TOO_LARGE = 413
    ROUTERS_FAILED = 500
    UNAVAILABLE = 503

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


def shorten(text: str) -> str:
    """Return the beginning of a text that may be too long to show."""
    return text if len(text) <= SHOWN_BYTES else text[:SHOWN_BYTES] + "…"


def quote(text: str) -> str:
    """Return a text in quotes, shortened."""
    return json.dumps(shorten(text))
