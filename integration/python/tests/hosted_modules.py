"""Synapse modules that use more of what the host has than the documented ones."""

from __future__ import annotations

from typing import Any

from synapse.config import ConfigError
from synapse.module_api import (
    PRESENCE_ALL_USERS,
    ModuleApi,
    UserID,
    cached,
    make_deferred_yieldable,
    run_as_background_process,
    run_in_background,
)
from synapse.types import get_domain_from_id


class Busy:
    """Alter states, make one up, and use timers, threads and background calls on the way."""

    def __init__(self, config: dict[str, Any], api: ModuleApi) -> None:
        self.api = api
        self.ticks = 0
        self.calls = 0
        api._hs.get_clock().looping_call(self.tick, 5)
        api.looping_background_call(self.tick_later, 5)
        api.delayed_background_call(1, self.tick)
        run_as_background_process("start", self.tick)
        api.register_presence_router_callbacks(
            get_users_for_states=self.get_users_for_states, get_interested_users=self.get_interested_users
        )

    @staticmethod
    def parse_config(config: dict[str, Any]) -> dict[str, Any]:
        if config.get("mode") != "altered":
            raise ConfigError("mode is missing, want altered", ["mode"])
        return config

    def tick(self) -> None:
        self.ticks += 1

    async def tick_later(self) -> None:
        self.ticks += 1

    @cached()
    async def watcher(self, domain: str) -> str:
        self.calls += 1
        return f"@watcher:{domain}"

    def get_users_for_states(self, states: list[Any]) -> Any:
        """Answer without async, as modules may."""
        altered = {state.copy_and_replace(status_msg="altered") for state in states}
        return {
            self.api.get_qualified_user_id("alice"): altered,
            "@dave:example.com": set(states) | {type(states[0]).default("@made_up:example.com")},
            "no user": set(states),
            "@broken:example.com": list(states),
            "@never:example.com": set(states),
        }

    async def get_interested_users(self, user_id: str) -> Any:
        if user_id == "@everybody:example.com":
            return PRESENCE_ALL_USERS
        if user_id == "@database:example.com":
            return await self.api.run_db_interaction("read", print)
        if user_id == "@send:example.com":
            await self.api.send_local_online_presence_to(["@alice:example.com"])
        domain = get_domain_from_id(user_id)
        await self.api.sleep(0.02)
        found = await make_deferred_yieldable(run_in_background(self.watcher, domain))
        assert await self.watcher(domain) == found
        assert await self.api.defer_to_thread(sum, [1, 2]) == 3
        assert UserID.from_string(found).domain == domain
        ticks = "ticked" if self.ticks > 2 else "not_ticked"
        mine = "mine" if self.api.is_mine(user_id) else "other"
        return {found, f"@{ticks}:example.com", f"@{mine}:example.com", f"@called_{self.calls}:example.com"}


class Nothing:
    """Have no callbacks."""

    def __init__(self, config: dict[str, Any], api: ModuleApi) -> None:
        del config, api


class Legacy:
    """Take keywords alone, register nothing, and have callbacks by name."""

    def __init__(self, *, module_api: ModuleApi, config: dict[str, Any]) -> None:
        self.users = set(config["users"])
        self.api = module_api

    async def get_users_for_states(self, states: list[Any]) -> Any:
        return {user: set(states) for user in self.users}

    async def get_interested_users(self, user_id: str) -> Any:
        return PRESENCE_ALL_USERS if user_id in self.users else set()
