"""The subjects and streams of a deployment."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from .errors import InvalidTokenError, Reason, WireError, quote
from .ids import ServerName, UserID

DEFAULT_PREFIX = "presence"

_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_=+/~@")
_EMPTY = "%"
_ESCAPED = re.compile(r"%([0-9A-F]{2})")
_PREFIX = re.compile(r"[a-z0-9_-]{1,32}")
_INDEX = re.compile(r"0|[1-9][0-9]{0,4}")
_MAX_INDEX = 65535


class Scope(str, Enum):
    """Say whether the recipient of a delivery is a user of this deployment's homeservers."""

    LOCAL = "local"
    REMOTE = "remote"


def encode_token(text: str) -> str:
    """Return a text as one token of a subject."""
    if not text:
        return _EMPTY
    return "".join(chr(c) if c in _PLAIN else f"%{c:02X}" for c in text.encode())


def decode_token(token: str) -> str:
    """Return the text that a token was made of; raise InvalidTokenError if it was made of none."""
    if token == _EMPTY:
        return ""
    try:
        text = _ESCAPED.sub(lambda m: chr(int(m[1], 16)), token).encode("latin-1").decode()
    except UnicodeError:
        raise InvalidTokenError(f"token is {quote(token)}, which stands for no UTF-8") from None
    if not token or encode_token(text) != token:
        raise InvalidTokenError(f"token is {quote(token)}, which encoding would not have produced")
    return text


def partition(user: UserID, partitions: int) -> int:
    """Return the partition, from 0 on, that the updates of a user are in."""
    return _fnv1a(encode_token(user.server) + encode_token(user.localpart)) % partitions


def shard(scope: Scope, recipient: UserID, shards: int) -> int:
    """Return the shard, from 0 on, that the deliveries to a recipient are in."""
    if scope is Scope.REMOTE:
        return _fnv1a(encode_token(recipient.server)) % shards
    return partition(recipient, shards)


def _fnv1a(token: str) -> int:
    value = 2166136261
    for c in token.encode():
        value = (value ^ c) * 16777619 & 0xFFFFFFFF
    return value


@dataclass(frozen=True)
class DeliverySubject:
    """What the subject of a delivery says."""

    scope: Scope
    shard: int
    recipient: UserID


@dataclass(frozen=True)
class Subjects:
    """Name the subjects and streams of one deployment, all of which begin with `prefix`."""

    prefix: str = DEFAULT_PREFIX

    def __post_init__(self) -> None:
        if not _PREFIX.fullmatch(self.prefix):
            raise WireError(f"subject prefix is {quote(self.prefix)}, want 1 to 32 of a-z, 0-9, _ and -")

    def update(self, user: UserID) -> str:
        """Return the subject that updates of a user are published to."""
        return f"{self.prefix}.update.{self._user(user)}"

    def parse_update(self, subject: str) -> UserID:
        """Return the user that the subject of a published update names; raise WireError for another one."""
        return self._parse_user(subject, self._after(subject, "update.", "<server>.<localpart>"))

    def delivery(self, scope: Scope, shard: int, recipient: UserID) -> str:
        """Return the subject of deliveries to a recipient."""
        return f"{self.prefix}.deliver.{scope.value}.{shard}.{self._user(recipient)}"

    def parse_delivery(self, subject: str) -> DeliverySubject:
        """Return what the subject of a delivery says; raise WireError for another subject."""
        want = "<scope>.<shard>.<server>.<localpart>"
        scope, _, rest = self._after(subject, "deliver.", want).partition(".")
        number, _, tokens = rest.partition(".")
        if scope not in ("local", "remote") or not _INDEX.fullmatch(number) or int(number) > _MAX_INDEX:
            raise self._unlike(subject, "deliver.", want)
        return DeliverySubject(Scope(scope), int(number), self._parse_user(subject, tokens))

    def dead(self, reason: Reason) -> str:
        """Return the subject of dead letters with one reason."""
        return f"{self.prefix}.dead.{reason.value}"

    def query(self, name: str) -> str:
        """Return the subject of a query."""
        return f"{self.prefix}.router.{name}"

    @property
    def updates_stream(self) -> str:
        """Return the name of the stream of updates."""
        return self.prefix.upper() + "_UPDATES"

    @property
    def deliveries_stream(self) -> str:
        """Return the name of the stream of deliveries."""
        return self.prefix.upper() + "_DELIVERIES"

    @property
    def dead_stream(self) -> str:
        """Return the name of the stream that keeps dead letters."""
        return self.prefix.upper() + "_DEAD"

    def _user(self, user: UserID) -> str:
        return f"{encode_token(user.server)}.{encode_token(user.localpart)}"

    def _after(self, subject: str, kind: str, want: str) -> str:
        begin = f"{self.prefix}.{kind}"
        if not subject.startswith(begin):
            raise self._unlike(subject, kind, want)
        return subject[len(begin) :]

    def _unlike(self, subject: str, kind: str, want: str) -> WireError:
        return WireError(f"subject is {quote(subject)}, want {self.prefix}.{kind}{want}")

    def _parse_user(self, subject: str, tokens: str) -> UserID:
        server, dot, localpart = tokens.partition(".")
        if not dot or "." in localpart:
            raise WireError(f"subject is {quote(subject)}, want it to end with <server>.<localpart>")
        name = decode_token(localpart)
        if ":" in name:
            raise WireError(f"subject is {quote(subject)}, whose localpart has a colon")
        return UserID(f"@{name}:{ServerName(decode_token(server))}")
