"""The Synapse module without Synapse: over the host's stub, with futures of asyncio in place of Deferreds."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Awaitable, Iterable
from typing import Any, TypeVar

from presence_router.client import Client
from presence_router.host import ModuleApi
from presence_router.host.synapse_stub import UserPresenceState, install

install(ModuleApi)

from presence_router.synapse.module import PresenceRouter  # noqa: E402 # It imports what was installed.

T = TypeVar("T")


class Api(ModuleApi):
    """Note who is to be sent presence."""

    def __init__(self, client: Client, *, writer: bool = True) -> None:
        super().__init__("example.com", client)
        self.worker_name = None if writer else "generic_worker1"
        self.sent: list[str] = []

    async def send_local_online_presence_to(self, users: Iterable[str]) -> None:
        self.sent.extend(users)


class Module(PresenceRouter):
    """Wait with asyncio."""

    def _wait(self, future: concurrent.futures.Future[T]) -> Awaitable[T]:
        return asyncio.wrap_future(future)

    def _call_from_thread(self, function: Any, *args: Any) -> None:
        self._asyncio.call_soon_threadsafe(function, *args)

    def _at_end(self) -> None:
        self._asyncio = asyncio.get_running_loop()


def presence(user: str, number: int = 0, **changes: Any) -> UserPresenceState:
    state = UserPresenceState(user, "online", number, number, 0, None, True)
    return state.copy_and_replace(**changes)
