"""User IDs and server names."""

from __future__ import annotations

import ipaddress
import re

from .errors import InvalidServerNameError, InvalidUserIDError, quote

MAX_USER_ID_BYTES = 255
MAX_HOST_BYTES = 255

_SERVER_NAME = re.compile(r"(\[[^\]]*\]|[A-Za-z0-9.-]+)(?::[0-9]{1,5})?")
_WANTED_USER_ID = f"want @localpart:server of at most {MAX_USER_ID_BYTES} bytes"


class ServerName(str):
    """A Matrix server name: a host with an optional port. Holding one proves that it is valid.

    Server names are case-sensitive. Making one of anything else raises InvalidServerNameError.
    """

    __slots__ = ()

    def __new__(cls, name: str) -> ServerName:
        """Return the server name that a text spells."""
        if isinstance(name, cls):
            return name
        match = _SERVER_NAME.fullmatch(name)
        if match is None or not _is_host(match[1]):
            raise InvalidServerNameError(f"server name is {quote(name)}, want a host with an optional port")
        return super().__new__(cls, name)


def _is_host(host: str) -> bool:
    if not host.startswith("["):
        return len(host) <= MAX_HOST_BYTES
    try:
        ipaddress.IPv6Address(host[1:-1])
    except ValueError:
        return False
    return "%" not in host


class UserID(str):
    """A Matrix user ID such as @alice:example.com. Holding one proves that it is valid.

    The first colon splits localpart and server name. Historical localparts are allowed: anything but a colon
    and NUL, also nothing. Making one of anything else raises InvalidUserIDError.
    """

    __slots__ = ()

    def __new__(cls, text: str) -> UserID:
        """Return the user ID that a text spells."""
        if isinstance(text, cls):
            return text
        fault = _fault_of_user_id(text)
        if fault:
            raise InvalidUserIDError(f"user ID is {quote(text)}, which {fault}; {_WANTED_USER_ID}")
        return super().__new__(cls, text)

    @property
    def localpart(self) -> str:
        """Return what stands between @ and the first colon; it may be empty."""
        return self[1 : self.index(":")]

    @property
    def server(self) -> ServerName:
        """Return the name of the user's server."""
        return str.__new__(ServerName, self[self.index(":") + 1 :])


def _fault_of_user_id(text: str) -> str:
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        return "has half a surrogate pair"
    localpart, colon, server = text[1:].partition(":")
    if not text.startswith("@"):
        return "does not start with @"
    if not colon:
        return "has no colon before the server name"
    if size > MAX_USER_ID_BYTES:
        return f"has {size} bytes"
    if "\0" in localpart:
        return "has a NUL"
    try:
        ServerName(server)
    except InvalidServerNameError:
        return "has no valid server name"
    return ""
