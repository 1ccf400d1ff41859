"""The module that Synapse loads."""

from __future__ import annotations

import concurrent.futures
import logging
from collections.abc import Awaitable, Iterable
from typing import Any, TypeVar

from synapse.module_api import (
    PRESENCE_ALL_USERS,
    ModuleApi,
    UserPresenceState,
    make_deferred_yieldable,
)
from synapse.module_api.errors import ConfigError

from presence_router.router import ALL_USERS
from presence_router.wire import UserID, UserState, WireError

from .service import Service
from .settings import Settings, SettingsError, parse
from .states import clean

SENT_TOGETHER = 100

T = TypeVar("T")

log = logging.getLogger(__name__)


class PresenceRouter:
    """Route the presence of a Synapse by the workers of a presence router.

    It answers both presence router callbacks in every process, and publishes the updates of local users from the one
    that is the presence writer.
    """

    def __init__(self, config: Settings, api: ModuleApi) -> None:
        self._api = api
        self._settings = config
        self._everybody: set[str] = set()
        """Users who were answered that they see all: Synapse then wants a key for them in every answer."""
        self._is_writer = _is_presence_writer(api)
        self._service = Service(config, self._recovered)
        self._service.start()
        self._at_end()
        api.register_presence_router_callbacks(
            get_users_for_states=self.get_users_for_states,
            get_interested_users=self.get_interested_users,
        )

    @staticmethod
    def parse_config(config: Any) -> Settings:
        """Return the settings in `config` of the module; raise ConfigError, which names the paths of all faults."""
        try:
            return parse(config)
        except SettingsError as e:
            if len(e.faults) == 1:
                [(path, fault)] = e.faults.items()
                raise ConfigError(fault, [path]) from e
            raise ConfigError(str(e)) from e

    async def get_users_for_states(self, state_updates: Iterable[Any]) -> dict[str, set[Any]]:
        """Return who else receives states. It never raises."""
        original: dict[UserState, Any] = {}
        for update in state_updates:
            cleaned = clean(update)
            if cleaned is not None:
                original[cleaned] = update
        states = tuple(original)
        self._publish(states)
        found: dict[str, set[Any]] = {}
        if states:
            routes = await self._wait(self._service.ask_routes(states))
            for user, received in routes.items():
                if self._settings.remote or self._api.is_mine(user):
                    found[str(user)] = {original.get(state) or _to_synapse(state) for state in received}
        for everybody in self._everybody:
            found.setdefault(everybody, set())
        return found

    async def get_interested_users(self, user_id: str) -> Any:
        """Return whose presence a user may see. It never raises."""
        try:
            user = UserID(user_id)
        except WireError:
            return set()
        if not self._settings.remote and not self._api.is_mine(user_id):
            return set()
        interest = await self._wait(self._service.ask_interest(user))
        if interest is ALL_USERS:
            self._everybody.add(user_id)
            return PRESENCE_ALL_USERS
        return {str(one) for one in interest}

    def stop(self) -> None:
        """End the connection."""
        self._service.stop()

    def _publish(self, states: tuple[UserState, ...]) -> None:
        if self._is_writer and self._settings.publish:
            mine = tuple(state for state in states if self._api.is_mine(state.user_id))
            if mine:
                self._service.publish(mine)

    def _recovered(self, users: list[UserID]) -> None:
        """Have those catch up whose questions failed; it is called in the thread of the service."""
        if self._is_writer:
            self._call_from_thread(self._send_to, [str(user) for user in users])

    def _send_to(self, users: list[str]) -> None:
        self._api.run_as_background_process("presence_router_catch_up", self._send_online_presence, users)

    async def _send_online_presence(self, users: list[str]) -> None:
        for first in range(0, len(users), SENT_TOGETHER):
            try:
                await self._api.send_local_online_presence_to(users[first : first + SENT_TOGETHER])
            except Exception:
                log.exception("users who missed presence could not be sent it")
                return

    # What follows is Twisted's: nothing else knows which reactor runs.

    def _wait(self, future: concurrent.futures.Future[T]) -> Awaitable[T]:
        from twisted.internet import defer, reactor  # noqa: PLC0415 # It chooses the reactor.

        deferred: defer.Deferred[T] = defer.Deferred(lambda _: future.cancel())

        def fire(done: concurrent.futures.Future[T]) -> None:
            error = done.exception()
            if deferred.called:
                return
            if error is not None:
                deferred.errback(error)
            else:
                deferred.callback(done.result())

        def done(_: concurrent.futures.Future[T]) -> None:
            if not future.cancelled():
                reactor.callFromThread(fire, future)

        future.add_done_callback(done)
        waiting: Awaitable[T] = make_deferred_yieldable(deferred)
        return waiting

    def _call_from_thread(self, function: Any, *args: Any) -> None:
        from twisted.internet import reactor  # noqa: PLC0415 # It chooses the reactor.

        reactor.callFromThread(function, *args)

    def _at_end(self) -> None:
        from twisted.internet import reactor  # noqa: PLC0415 # It chooses the reactor.

        reactor.addSystemEventTrigger("during", "shutdown", self.stop)


def _to_synapse(state: UserState) -> Any:
    return UserPresenceState(
        user_id=str(state.user_id),
        state=state.state,
        last_active_ts=state.last_active_ts,
        last_federation_update_ts=state.last_federation_update_ts,
        last_user_sync_ts=state.last_user_sync_ts,
        status_msg=state.status_msg,
        currently_active=state.currently_active,
    )


def _is_presence_writer(api: ModuleApi) -> bool:
    """Report whether this process is the one that changes presence; Synapse has no public way to ask."""
    homeserver = api._hs
    writers = getattr(getattr(homeserver.config.worker, "writers", None), "presence", None)
    if writers is None:
        return api.worker_name is None
    return homeserver.get_instance_name() in writers
