"""Publish the newest state of each user, once."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import OrderedDict

from presence_router.client import Publisher, PublishError
from presence_router.wire import InvalidUpdateError, UserID, UserState

from .memory import Remembered

MOST_WAITING = 100_000
MOST_PUBLISHED = 200_000
TOGETHER = 256
LONGEST_PAUSE = 1.0

log = logging.getLogger(__name__)


class Outbox:
    """States that wait to be published: of each user the newest, so that an outage costs no more than that.

    A state that says what the one before it said is the same update, which Synapse asks about several times.
    """

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self._waiting: OrderedDict[UserID, tuple[UserState, str]] = OrderedDict()
        self._last: Remembered[UserID, UserState] = Remembered(MOST_PUBLISHED, float("inf"))
        self._something = asyncio.Event()
        self._id = secrets.token_hex(8)
        self._count = 0

    def put(self, state: UserState) -> None:
        """Have a state published; one of the same user that waits is superseded."""
        if self._last.get(state.user_id) == state:
            return
        self._last.put(state.user_id, state)
        self._count += 1
        self._waiting[state.user_id] = (state, f"{self._id}-{self._count}")
        if len(self._waiting) > MOST_WAITING:
            self._waiting.popitem(last=False)
            log.warning("an update is dropped: %d users wait for one to be published", MOST_WAITING)
        self._something.set()

    async def run(self) -> None:
        """Publish until cancelled."""
        pause = 0.05
        while True:
            await self._something.wait()
            self._something.clear()
            if await self._publish():
                pause = 0.05
                continue
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
            self._something.set()

    async def _publish(self) -> bool:
        """Publish what waits, and report whether all of it is stored."""
        while self._waiting:
            some = list(self._waiting.items())[:TOGETHER]
            stored = await asyncio.gather(*(self._publish_one(user, *entry) for user, entry in some))
            if not all(stored):
                return False
        return True

    async def _publish_one(self, user: UserID, state: UserState, update_id: str) -> bool:
        try:
            await self._publisher.publish(state, update_id=update_id)
        except InvalidUpdateError as e:
            log.warning("an update is not published: %s", e)
        except PublishError as e:
            log.debug("an update waits: %s", e)
            return False
        if self._waiting.get(user) == (state, update_id):
            del self._waiting[user]
        return True
