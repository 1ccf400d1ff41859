"""The part of Synapse's ModuleApi that presence routers use."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any, NoReturn

from presence_router.client import Client
from presence_router.wire import UserID

from .synapse_stub import run_in_background

log = logging.getLogger(__name__)


class ModuleApi:
    """Give a module what it would have in Synapse, as far as that exists without a homeserver.

    What needs a homeserver, such as its database, raises RuntimeError with a sentence that says so.
    """

    def __init__(self, server_name: str, client: Client) -> None:
        self.server_name = server_name
        self.worker_name: str | None = None
        self.worker_app: str | None = None
        self.get_users_for_states: Callable[..., Any] | None = None
        self.get_interested_users: Callable[..., Any] | None = None
        self._client = client
        self._timers: set[asyncio.Future[Any]] = set()
        clock = SimpleNamespace(looping_call=self._looping_call, sleep=self.sleep)
        worker = SimpleNamespace(worker_app=None, worker_name=None)
        self._hs = SimpleNamespace(
            hostname=server_name,
            get_clock=lambda: clock,
            config=SimpleNamespace(worker_app=None, worker=worker),
        )

    def register_presence_router_callbacks(
        self,
        *,
        get_users_for_states: Callable[..., Any] | None = None,
        get_interested_users: Callable[..., Any] | None = None,
    ) -> None:
        """Take the two callbacks of the module; one without the other is an error."""
        if get_users_for_states is None and get_interested_users is None:
            return
        if get_users_for_states is None or get_interested_users is None:
            raise RuntimeError("a presence router needs both get_users_for_states and get_interested_users")
        self.get_users_for_states = get_users_for_states
        self.get_interested_users = get_interested_users

    async def send_local_online_presence_to(self, users: Iterable[str]) -> None:
        """Have the workers of the deployment send these users what they may see."""
        async for sent in self._client.send_online_presence([UserID(user) for user in users]):
            log.debug("%s is sent %d states", sent.user_id, sent.states)

    def is_mine(self, id: str | Any) -> bool:  # noqa: A002 # It is named so in Synapse.
        """Report whether an ID is of this server."""
        text = id if isinstance(id, str) else id.to_string()
        return bool(text.partition(":")[2] == self.server_name)

    def get_qualified_user_id(self, username: str) -> str:
        """Return the user ID of a localpart of this server; what is one already stays."""
        return username if username.startswith("@") else f"@{username}:{self.server_name}"

    def should_run_background_tasks(self) -> bool:
        """Report that this process is the one for what runs once."""
        return True

    def looping_background_call(
        self,
        f: Callable[..., Any],
        msec: float,
        *args: Any,
        desc: str | None = None,
        run_on_all_instances: bool = False,
        **kwargs: Any,
    ) -> None:
        """Call a function again and again."""
        del desc, run_on_all_instances
        self._looping_call(f, msec, *args, **kwargs)

    def delayed_background_call(
        self, msec: float, f: Callable[..., Any], *args: Any, desc: str | None = None, **kwargs: Any
    ) -> Any:
        """Call a function once, later; `cancel()` of what is returned prevents it."""
        del desc
        return self._keep(self._later(f, msec, args, kwargs))

    def run_as_background_process(self, desc: str, func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call a function, and let what it awaits go on by itself."""
        del desc
        return run_in_background(func, *args, **kwargs)

    async def sleep(self, seconds: float) -> None:
        """Wait for so many seconds."""
        await asyncio.sleep(seconds)

    async def defer_to_thread(self, f: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call a function in a thread, and return what it returns."""
        return await asyncio.to_thread(f, *args, **kwargs)

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(name)
        raise RuntimeError(f"the module uses ModuleApi.{name}, which needs a homeserver: it runs in none here")

    def close(self) -> None:
        """End the timers."""
        for timer in self._timers:
            timer.cancel()

    def _looping_call(self, f: Callable[..., Any], msec: float, *args: Any, **kwargs: Any) -> Any:
        async def loop() -> None:
            while True:
                await self._later(f, msec, args, kwargs)

        return self._keep(loop())

    async def _later(self, f: Callable[..., Any], msec: float, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        await asyncio.sleep(msec / 1000)
        try:
            await run_in_background(f, *args, **kwargs)
        except Exception:
            log.exception("background call failed")

    def _keep(self, waiting: Any) -> asyncio.Future[Any]:
        timer: asyncio.Future[Any] = asyncio.ensure_future(waiting)
        self._timers.add(timer)
        timer.add_done_callback(self._timers.discard)
        return timer
