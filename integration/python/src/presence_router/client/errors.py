"""Errors of the client."""

from __future__ import annotations

from presence_router.wire import UserID


class ClientError(Exception):
    """The base of all errors of the client but wire.QueryError and wire.InvalidUpdateError."""


class UnavailableError(ClientError):
    """Tell that no worker answered in time, that none is there, or that the connection is away."""


class PagesError(ClientError):
    """Tell that the next page of an answer does not begin behind this one."""


class PublishError(ClientError):
    """Tell that an update is not stored."""

    def __init__(self, user: UserID, update_id: str, message: str, *, is_final: bool = False) -> None:
        name = f"update {update_id}" if update_id else "update"
        super().__init__(f"publish {name} of {user}: {message}")
        self.user = user
        self.update_id = update_id
        self.is_final = is_final
        """The server refuses this very update, and will again."""


class UnknownOutcomeError(PublishError):
    """Tell that an update was published without an answer: it may be stored, or be stored later."""


class APIError(ClientError):
    """Tell what the server's JetStream API answered instead of an answer."""

    def __init__(self, what: str, code: int, err_code: int, description: str) -> None:
        super().__init__(f"{what}: {description} ({err_code or code})")
        self.code = code
        self.err_code = err_code

    @property
    def is_final(self) -> bool:
        """Report whether the same request gets the same answer again."""
        return self.code // 100 == 4 and self.code != 429


class ReadingError(ClientError):
    """Tell that reading deliveries ended for good."""


class InvalidDeliveryError(ClientError):
    """Tell that one message is no delivery; iterate again to read on behind it."""

    def __init__(self, subject: str, sequence: int, cause: Exception) -> None:
        super().__init__(f"message {sequence} on {subject} is no delivery: {cause}")
        self.subject = subject
        self.sequence = sequence


class ExpiredError(ClientError):
    """Tell that deliveries may have expired before they were read; iterate again to read on.

    Reading goes on with the oldest that there is. Whoever keeps the newest states of a recipient asks for
    send_online_presence now.
    """

    def __init__(self, since: str, max_age: float) -> None:
        super().__init__(f"deliveries after {since} may be missing: they are kept for {max_age:g} s")
        self.max_age = max_age
