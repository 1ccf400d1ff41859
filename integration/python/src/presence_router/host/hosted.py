"""A Synapse module as a router."""

from __future__ import annotations

import importlib
import inspect
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from presence_router.router import ALL_USERS, AllUsers
from presence_router.wire import UserID, UserState, WireError

from .module_api import ModuleApi
from .synapse_stub import ALL_USERS as SYNAPSE_ALL_USERS
from .synapse_stub import UserPresenceState

log = logging.getLogger(__name__)


class HostError(Exception):
    """Tell why a module cannot be hosted."""


class Hosted:
    """Ask a module's callbacks, as a router."""

    def __init__(self, api: ModuleApi, module: object) -> None:
        self.module = module
        if api.get_users_for_states is None:
            _register_by_name(api, module)
        self._get_users_for_states = api.get_users_for_states
        self._get_interested_users = api.get_interested_users

    async def users_for_states(self, states: Sequence[UserState]) -> Mapping[UserID, list[UserState]]:
        """Ask who receives states.

        A value that is no set ends the entries, as in Synapse; those before it stay.
        """
        asked = [_to_synapse(state) for state in states]
        found = await _call(self._get_users_for_states, asked)
        if not isinstance(found, dict):
            raise TypeError(f"get_users_for_states returned {type(found).__name__}, want a dict")
        origin = {state: i for i, state in reversed(list(enumerate(asked)))}
        answer: dict[UserID, list[UserState]] = {}
        for user, chosen in found.items():
            if not isinstance(chosen, (set, frozenset)):
                log.warning("get_users_for_states returned %s for a user, want a set", type(chosen).__name__)
                break
            try:
                answer[UserID(user)] = [_from_synapse(state, states, origin) for state in chosen]
            except (TypeError, WireError) as e:
                log.warning("get_users_for_states returned what cannot be routed: %s", e)
        return answer

    async def interested_users(self, user: UserID) -> set[UserID] | Literal[AllUsers.ALL]:
        """Ask whose presence a user may see."""
        found = await _call(self._get_interested_users, str(user))
        if found == SYNAPSE_ALL_USERS:
            return ALL_USERS
        if not isinstance(found, (set, frozenset)):
            raise TypeError(f"get_interested_users returned {type(found).__name__}, want a set or PRESENCE_ALL_USERS")
        return {UserID(one) for one in found}


def _register_by_name(api: ModuleApi, module: object) -> None:
    """Find the callbacks of a module of the old style, which registers none."""
    users_for_states = getattr(module, "get_users_for_states", None)
    interested_users = getattr(module, "get_interested_users", None)
    if users_for_states is None or interested_users is None:
        raise HostError(f"{type(module).__name__} registers no presence router callbacks, and has none by name")
    api.register_presence_router_callbacks(get_users_for_states=users_for_states, get_interested_users=interested_users)


async def _call(callback: Any, *args: Any) -> Any:
    result = callback(*args)
    return await result if inspect.isawaitable(result) else result


def _to_synapse(state: UserState) -> UserPresenceState:
    return UserPresenceState(
        str(state.user_id),
        state.state,
        state.last_active_ts,
        state.last_federation_update_ts,
        state.last_user_sync_ts,
        state.status_msg,
        state.currently_active,
    )


def _from_synapse(
    state: UserPresenceState, asked: Sequence[UserState], origin: Mapping[UserPresenceState, int]
) -> UserState:
    """Return the state of the question that this one is, so that it goes back byte for byte, or else a new one."""
    if not isinstance(state, UserPresenceState):
        raise TypeError(f"a state is {type(state).__name__}, want UserPresenceState")
    place = origin.get(state)
    if place is not None:
        return asked[place]
    made = UserState(**{**state.as_dict(), "user_id": UserID(state.user_id)})
    same_user = [one for one in asked if one.user_id == made.user_id and one.published]
    if same_user:  # It takes the place of the user's newest state.
        object.__setattr__(made, "published", same_user[-1].published)
    return made


def load(name: str, config: Any, api: ModuleApi) -> Hosted:
    """Make the module `package.Class`, as Synapse does. Raise HostError, which says what is wrong."""
    package, _, class_name = name.rpartition(".")
    if not package:
        raise HostError(f"module is {name!r}, want package.Class")
    try:
        kind = getattr(importlib.import_module(package), class_name)
    except (ImportError, AttributeError) as e:
        raise HostError(f"module is {name!r}, which cannot be imported: {e}") from e
    try:
        parsed = kind.parse_config(config) if hasattr(kind, "parse_config") else config
    except Exception as e:
        raise HostError(f"configuration of {name}: {type(e).__name__}: {e}") from e
    if "module_api" in inspect.signature(kind).parameters:
        return Hosted(api, kind(config=parsed, module_api=api))
    return Hosted(api, kind(parsed, api))
