"""Ask workers: requests with a deadline per call and per attempt."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator

import nats.errors
from nats.aio.client import Client as NATS

from presence_router.wire import QueryError, decode_query_error

from .errors import UnavailableError

ATTEMPTS = 5
FIRST_PAUSE = 0.05
LONGEST_PAUSE = 1.0


def pauses() -> Iterator[float]:
    """Yield pauses between attempts, in seconds, longer and longer."""
    longest = FIRST_PAUSE
    while True:
        yield longest * random.uniform(0.5, 1.0)  # noqa: S311 # Nothing secret.
        longest = min(longest * 1.5, LONGEST_PAUSE)


class Patience:
    """How long one call waits for all of its answers, and for each attempt to get one, in seconds.

    A deadline of the call is a moment of the event loop's clock; without one, attempts alone are bounded.
    """

    def __init__(self, timeout: float | None, attempt_timeout: float) -> None:
        for name, value in (("timeout", timeout), ("attempt_timeout", attempt_timeout)):
            if value is not None and not value > 0:
                raise ValueError(f"{name} is {value:g}, want a number of seconds above 0")
        self._loop = asyncio.get_running_loop()
        self._deadline = None if timeout is None else self._loop.time() + timeout
        self._attempt = attempt_timeout

    def left(self) -> float:
        """Return how long the next attempt may take; 0 if the deadline is over."""
        if self._deadline is None:
            return self._attempt
        return max(0.0, min(self._attempt, self._deadline - self._loop.time()))

    async def pause(self, seconds: float) -> bool:
        """Pause before another attempt; report whether there is time for one."""
        if self._deadline is not None and self._deadline - self._loop.time() <= seconds:
            return False
        await asyncio.sleep(seconds)
        return self.left() > 0


async def ask(nc: NATS, subject: str, request: bytes, patience: Patience) -> bytes:
    """Send a request and return its answer.

    If a worker cannot answer, or is gone with the request, another one is asked: the server chooses which one
    gets a request. Raise QueryError if the answer is an error, UnavailableError if there is none.
    """
    for tries, pause in enumerate(pauses(), 1):
        try:
            return await _ask_once(nc, subject, request, patience.left())
        except QueryError as e:
            if e.code != QueryError.UNAVAILABLE or tries == ATTEMPTS or not await patience.pause(pause):
                raise
        except UnavailableError:
            if tries == ATTEMPTS or not await patience.pause(pause):
                raise
    raise AssertionError("pauses do not end")


async def _ask_once(nc: NATS, subject: str, request: bytes, timeout: float) -> bytes:
    if timeout <= 0:
        raise UnavailableError(f"ask {subject}: no worker has answered in time")
    if not nc.is_connected and not nc.is_closed:
        raise UnavailableError(f"ask {subject}: the connection to NATS is away")
    try:
        answer = await nc.request(subject, request, timeout=timeout)
    except nats.errors.NoRespondersError:
        raise UnavailableError(f"ask {subject}: no worker is there") from None
    except nats.errors.TimeoutError:
        raise UnavailableError(f"ask {subject}: no worker has answered within {timeout:.3g} s") from None
    except nats.errors.OutboundBufferLimitError:
        raise UnavailableError(f"ask {subject}: the connection to NATS is away") from None
    error = decode_query_error(answer.headers)
    if error is not None:
        raise error
    return answer.data
