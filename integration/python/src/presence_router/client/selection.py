"""Selections of deliveries."""

from __future__ import annotations

from dataclasses import dataclass

from presence_router.wire import Scope, ServerName, Subjects, UserID, encode_token

MAX_SHARDS = 4096


@dataclass(frozen=True)
class Selection:
    """A part of the deliveries that one reader takes: one filter of a consumer, since several are very slow."""

    tokens: str = ">"
    """Of the subject behind presence.deliver."""

    @classmethod
    def all(cls) -> Selection:
        """Select every delivery."""
        return cls()

    @classmethod
    def in_scope(cls, scope: Scope) -> Selection:
        """Select the deliveries to local users, or to others."""
        return cls(f"{scope.value}.>")

    @classmethod
    def in_shard(cls, scope: Scope, shard: int) -> Selection:
        """Select one of streams.deliveries.shards (16) equal shares of a scope."""
        if not 0 <= shard < MAX_SHARDS:
            raise ValueError(f"shard is {shard}, want 0 to {MAX_SHARDS - 1}")
        return cls(f"{scope.value}.{shard}.>")

    @classmethod
    def to_server(cls, server: ServerName) -> Selection:
        """Select the deliveries to users of one server."""
        return cls(f"*.*.{encode_token(server)}.*")

    @classmethod
    def to_user(cls, user: UserID) -> Selection:
        """Select the deliveries to one user."""
        return cls(f"*.*.{encode_token(user.server)}.{encode_token(user.localpart)}")

    def filter(self, subjects: Subjects) -> str:
        """Return the filter for a consumer."""
        return f"{subjects.prefix}.deliver.{self.tokens}"
