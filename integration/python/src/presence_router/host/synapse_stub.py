"""What Synapse modules with presence router callbacks import, without Synapse.

`install` puts packages named synapse.* into this process. They hold names and signatures that such modules use, and
nothing of Synapse itself.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import sys
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from types import ModuleType
from typing import Any, TypeVar

from presence_router import wire

ALL_USERS = "ALL"
CACHE_ENTRIES = 1000

T = TypeVar("T")


class ConfigError(Exception):
    """Tell what is wrong with a configuration, and where."""

    def __init__(self, msg: str, path: object = None) -> None:
        super().__init__(msg)
        self.msg = msg
        self.path = path


@dataclass(frozen=True)
class UserPresenceState:
    """The presence of one user, as modules of Synapse know it."""

    user_id: str
    state: str
    last_active_ts: int
    last_federation_update_ts: int
    last_user_sync_ts: int
    status_msg: str | None
    currently_active: bool

    def as_dict(self) -> dict[str, Any]:
        """Return the fields by name."""
        return dataclasses.asdict(self)

    def copy_and_replace(self, **changes: Any) -> UserPresenceState:
        """Return a copy with other values in some fields."""
        return dataclasses.replace(self, **changes)

    @classmethod
    def default(cls, user_id: str) -> UserPresenceState:
        """Return the state of a user of whom nothing is known."""
        return cls(user_id, "offline", 0, 0, 0, None, False)


@dataclass(frozen=True)
class UserID:
    """A user ID in two parts."""

    localpart: str
    domain: str

    SIGIL = "@"

    @classmethod
    def from_string(cls, text: str) -> UserID:
        """Return the parts of a user ID; raise ValueError if it is none."""
        user = wire.UserID(text)
        return cls(user.localpart, user.server)

    @classmethod
    def is_valid(cls, text: str) -> bool:
        """Report whether a text is a user ID."""
        try:
            wire.UserID(text)
        except ValueError:
            return False
        return True

    def to_string(self) -> str:
        """Return the user ID as text."""
        return f"@{self.localpart}:{self.domain}"

    def __str__(self) -> str:
        return self.to_string()


class PresenceRouter:
    """The name of the answer that stands for all users."""

    ALL_USERS = ALL_USERS


def get_domain_from_id(text: str) -> str:
    """Return what stands behind the first colon."""
    _, colon, domain = text.partition(":")
    if not colon:
        raise ValueError(f"ID is {text[:100]!r}, want a colon in it")
    return domain


_background: set[asyncio.Future[Any]] = set()


def run_in_background(function: Callable[..., Any], *args: Any, **kwargs: Any) -> asyncio.Future[Any]:
    """Call a function, and let what it awaits go on while the caller does."""
    result = function(*args, **kwargs)
    if asyncio.isfuture(result):
        return result
    future: asyncio.Future[Any]
    if asyncio.iscoroutine(result):
        future = asyncio.ensure_future(result)
    else:
        future = asyncio.get_running_loop().create_future()
        future.set_result(result)
    _background.add(future)
    future.add_done_callback(_background.discard)
    return future


def run_as_background_process(
    _description: str, function: Callable[..., Any], *args: Any, **kwargs: Any
) -> asyncio.Future[Any]:
    """Do what run_in_background does; the description is for metrics that there are none of."""
    return run_in_background(function, *args, **kwargs)


def make_deferred_yieldable(awaitable: Awaitable[T]) -> Awaitable[T]:
    """Return what was given: asyncio's futures can be awaited as they are."""
    return awaitable


def cached(
    *, max_entries: int = CACHE_ENTRIES, **_: Any
) -> Callable[[Callable[..., Coroutine[Any, Any, T]]], Callable[..., Awaitable[T]]]:
    """Keep the answers of an async method, at most so many."""

    def decorate(function: Callable[..., Coroutine[Any, Any, T]]) -> Callable[..., Awaitable[T]]:
        entries: dict[tuple[Any, ...], asyncio.Future[T]] = {}

        @functools.wraps(function)
        async def answer(self: Any, *args: Any) -> T:
            key = (id(self), *args)
            entry = entries.get(key)
            if entry is None:
                while len(entries) >= max_entries:
                    del entries[next(iter(entries))]
                entry = entries[key] = asyncio.ensure_future(function(self, *args))
            try:
                return await asyncio.shield(entry)
            except Exception:
                entries.pop(key, None)
                raise

        def invalidate_all() -> None:
            entries.clear()

        answer.invalidate_all = invalidate_all  # type: ignore[attr-defined]
        return answer

    return decorate


def install(module_api: type) -> None:
    """Make the packages importable; `module_api` is the class that modules know as ModuleApi."""
    for name, members in _packages(module_api).items():
        package = sys.modules.get(name) or ModuleType(name)
        package.__path__ = []
        for member, value in members.items():
            setattr(package, member, value)
        sys.modules[name] = package
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, package)


def _packages(module_api: type) -> dict[str, dict[str, Any]]:
    state = {"UserPresenceState": UserPresenceState}
    error = {"ConfigError": ConfigError}
    background = {
        "run_in_background": run_in_background,
        "make_deferred_yieldable": make_deferred_yieldable,
        "run_as_background_process": run_as_background_process,
    }
    return {
        "synapse": {},
        "synapse.api": state,
        "synapse.api.presence": state,
        "synapse.handlers": {},
        "synapse.handlers.presence": state,
        "synapse.events": {},
        "synapse.events.presence_router": {"PresenceRouter": PresenceRouter},
        "synapse.config": error,
        "synapse.config._base": error,
        "synapse.logging": {},
        "synapse.logging.context": background,
        "synapse.types": {"UserID": UserID, "JsonDict": dict[str, Any], "get_domain_from_id": get_domain_from_id},
        "synapse.module_api": {
            "ModuleApi": module_api,
            "PRESENCE_ALL_USERS": ALL_USERS,
            "UserID": UserID,
            "JsonDict": dict[str, Any],
            "cached": cached,
            **state,
            **background,
        },
        "synapse.module_api.errors": error,
    }
