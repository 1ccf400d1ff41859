"""What a process remembers, within bounds of age and number."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Remembered(Generic[K, V]):
    """Values by key, each for so many seconds, at most so many; the oldest go first."""

    def __init__(self, most: int, max_age: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._max_age = max_age
        self._clock = clock
        self._entries: OrderedDict[K, tuple[float, V]] = OrderedDict()

    def put(self, key: K, value: V) -> None:
        """Remember a value from now on."""
        self._entries[key] = (self._clock(), value)
        self._entries.move_to_end(key)
        while len(self._entries) > self._most:
            self._entries.popitem(last=False)

    def get(self, key: K) -> V | None:
        """Return the value of a key, None if there is none that is young enough."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if self._clock() - entry[0] > self._max_age:
            del self._entries[key]
            return None
        return entry[1]

    def __len__(self) -> int:
        return len(self._entries)


class Breaker:
    """Say whether to ask a service that failed: after some failures in a row, for a while no more."""

    def __init__(self, failures: int, pause: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._failures = failures
        self._pause = pause
        self._clock = clock
        self._count = 0
        self._open_until = 0.0

    @property
    def is_open(self) -> bool:
        """Report whether not to ask now."""
        return self._count >= self._failures and self._clock() < self._open_until

    def failed(self) -> None:
        """Count a failure; one that follows a pause begins the next pause."""
        self._count += 1
        self._open_until = self._clock() + self._pause

    def close(self) -> None:
        """Forget the failures: the service answered, or is connected to again."""
        self._count = 0


class Spell:
    """Log the first trouble of a spell as a warning, the others for debugging."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._is_on = False

    def trouble(self, message: str, *values: object, exc_info: bool = False) -> None:
        """Log a trouble, which begins a spell unless there is one."""
        level = logging.DEBUG if self._is_on else logging.WARNING
        self._is_on = True
        self._log.log(level, message, *values, exc_info=exc_info)

    def end(self) -> None:
        """Have the next trouble begin another spell."""
        self._is_on = False
