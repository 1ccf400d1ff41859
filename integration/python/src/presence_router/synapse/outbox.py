"""Publish the newest state of each user, once."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import OrderedDict

from presence_router.client import Publisher, PublishError
from presence_router.wire import InvalidUpdateError, UserID, UserState

from .memory import Remembered, Spell

MOST_WAITING = 100_000
MOST_PUBLISHED = 200_000
TOGETHER = 256
LONGEST_PAUSE = 1.0

log = logging.getLogger(__name__)


class Outbox:
    """States that wait to be published: of each user the newest, so that an outage costs no more than that.

    Synapse asks about an update several times, and about old states of users whom a reader's /sync is to show: a
    state that is the last one of its user again, or an older one, is no update.
    """

    def __init__(self) -> None:
        self.id_key = secrets.token_bytes(32)
        """That of its publishers, so that the next one sends an update again under the same ID."""
        self._waiting: OrderedDict[UserID, tuple[UserState, str]] = OrderedDict()
        self._last: Remembered[UserID, UserState] = Remembered(MOST_PUBLISHED, float("inf"))
        self._something = asyncio.Event()
        self._nothing = asyncio.Event()
        self._nothing.set()
        self._id = secrets.token_hex(8)
        self._count = 0
        self._full = Spell(log)
        self._delayed = Spell(log)
        self._refused = Spell(log)

    def put(self, state: UserState) -> None:
        """Have a state published; one of the same user that waits is superseded."""
        last = self._last.get(state.user_id)
        if last is not None and not _is_news(state, last):
            return
        if state.user_id not in self._waiting and len(self._waiting) >= MOST_WAITING:
            self._full.trouble("updates are dropped: %d users wait for one to be published", MOST_WAITING)
            return
        self._last.put(state.user_id, state)
        self._count += 1
        self._waiting[state.user_id] = (state, f"{self._id}-{self._count}")
        self._nothing.clear()
        self._something.set()

    async def emptied(self) -> None:
        """Wait until nothing waits."""
        await self._nothing.wait()

    async def run(self, publisher: Publisher) -> None:
        """Publish until cancelled; what is not stored then waits for the next run."""
        pause = 0.05
        self._something.set()
        while True:
            await self._something.wait()
            self._something.clear()
            if await self._publish(publisher):
                pause = 0.05
                continue
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
            self._something.set()

    async def _publish(self, publisher: Publisher) -> bool:
        """Publish what waits, and report whether none of it waits any longer."""
        while self._waiting:
            some = list(self._waiting.items())[:TOGETHER]
            done = await asyncio.gather(*(self._publish_one(publisher, user, *entry) for user, entry in some))
            if not all(done):
                return False
        return True

    async def _publish_one(self, publisher: Publisher, user: UserID, state: UserState, update_id: str) -> bool:
        try:
            await publisher.publish(state, update_id=update_id)
        except InvalidUpdateError as e:
            self._refused.trouble("an update is dropped: %s", e)
        except PublishError as e:
            if not e.is_final:
                self._delayed.trouble("updates wait: %s", e)
                self._waiting.move_to_end(user)
                return False
            self._refused.trouble("an update is dropped: %s", e)
        except Exception as e:  # Whatever it is, the others are published.
            self._delayed.trouble("updates wait: %s", e, exc_info=True)
            self._waiting.move_to_end(user)
            return False
        else:
            self._refused.end()
        if self._waiting.get(user) == (state, update_id):
            del self._waiting[user]
            if not self._waiting:
                self._nothing.set()
                self._delayed.end()
                self._full.end()
        return True


def _is_news(state: UserState, last: UserState) -> bool:
    if state.last_federation_update_ts != last.last_federation_update_ts:
        return state.last_federation_update_ts > last.last_federation_update_ts
    return _shown(state) != _shown(last)


def _shown(state: UserState) -> tuple[object, ...]:
    """Return what Synapse tells others of a state, and stamps with last_federation_update_ts if it changes."""
    return state.state, state.status_msg, state.currently_active
