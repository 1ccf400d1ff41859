"""Publish updates, each acknowledged, in order per user."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import re
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import nats.errors
from nats.aio.client import Client as NATS

from presence_router.wire import (
    MAX_UPDATE_BYTES,
    InvalidUpdateError,
    Reason,
    Subjects,
    UserID,
    UserState,
    encode_state,
)

from .asking import pauses
from .errors import APIError, PublishError, UnavailableError, UnknownOutcomeError
from .jetstream import NOT_FOUND, JetStream, decode_answer

_HEADER_TEXT = re.compile(r"[!-~]{0,256}")
_SEAL_BYTES = 16


@dataclass(frozen=True)
class Receipt:
    """Say where an update is stored."""

    sequence: int
    duplicate: bool
    """An update with the same ID was stored before."""


class _NotNowError(Exception):
    """Not stored; another attempt may be."""


class _NeverError(Exception):
    """Not stored, and no other attempt will be."""


class _RefusedError(_NeverError):
    """Not stored: the server refuses this very update."""


class _UnknownError(Exception):
    """Stored or not."""


@dataclass
class _Turn:
    lock: asyncio.Lock
    users: int = 0


class Publisher:
    """Publish updates and check that each is stored.

    Those of one user are stored in the order in which `publish` was called: the next one is sent when the one
    before it has an outcome. Those of different users do not wait for each other: publish them in tasks.

    At most `max_pending` updates are under way at a time, `ack_timeout` bounds the wait for one answer of the server,
    and for `retry_limit`, at most 90 s, an update is published again. Times are seconds. `id_key`, a secret of 16
    to 256 bytes, has several publishers make the same message ID of the same ID, such as one process and the
    next; without one, a random key is used.
    """

    def __init__(
        self,
        nc: NATS,
        subjects: Subjects,
        *,
        max_pending: int,
        ack_timeout: float,
        retry_limit: float,
        id_key: bytes,
    ) -> None:
        if not 1 <= max_pending <= 1 << 16:
            raise ValueError(f"max_pending is {max_pending}, want 1 to {1 << 16}")
        if not 0.01 <= ack_timeout <= 30:
            raise ValueError(f"ack_timeout is {ack_timeout:g}, want 0.01 to 30 s")
        if not 0 <= retry_limit <= 90:
            raise ValueError(f"retry_limit is {retry_limit:g}, want 0 to 90 s")
        if id_key and not 16 <= len(id_key) <= 256:
            raise ValueError("id_key is too short or too long, want 16 to 256 bytes, or none")
        self._nc = nc
        self._js = JetStream(nc)
        self._subjects = subjects
        self._room = asyncio.Semaphore(max_pending)
        self._turns: dict[UserID, _Turn] = {}
        self._ack_timeout = ack_timeout
        self._retry_limit = retry_limit
        self._id_key = id_key or secrets.token_bytes(32)

    async def publish(self, update: UserState, *, update_id: str = "", traceparent: str = "") -> Receipt:
        """Publish an update and return where it is stored.

        With an ID, such as sync-17, an attempt without an answer is repeated: the server stores one update with the
        same ID within its duplicate window (2 minutes). Without an ID it raises UnknownOutcomeError. Raise
        PublishError if the update is not stored, InvalidUpdateError if it is larger than any worker takes.
        """
        data = encode_state(update)
        if len(data) > MAX_UPDATE_BYTES:
            fault = f"update is {len(data)} bytes, at most {MAX_UPDATE_BYTES} are allowed"
            raise InvalidUpdateError(Reason.TOO_LARGE, fault)
        message = _Message(self._subjects.update(update.user_id), data, self._headers(update_id, traceparent))
        async with self._turn(update.user_id), self._room:
            return await self._store(update.user_id, update_id, message)

    def _headers(self, update_id: str, traceparent: str) -> dict[str, str] | None:
        for name, value in (("update_id", update_id), ("traceparent", traceparent)):
            if not _HEADER_TEXT.fullmatch(value):
                raise ValueError(f"{name} is {value[:300]!r}, want at most 256 visible characters of ASCII")
        headers = {}
        if update_id:
            seal = hmac.new(self._id_key, update_id.encode(), hashlib.sha256).digest()[:_SEAL_BYTES]
            headers["Nats-Msg-Id"] = f"{update_id}.{base64.b32encode(seal).decode().rstrip('=')}"
        if traceparent:
            headers["traceparent"] = traceparent
        return headers or None

    @asynccontextmanager
    async def _turn(self, user: UserID) -> AsyncIterator[None]:
        turn = self._turns.setdefault(user, _Turn(asyncio.Lock()))
        turn.users += 1
        try:
            async with turn.lock:
                yield
        finally:
            turn.users -= 1
            if turn.users == 0:
                del self._turns[user]

    async def _store(self, user: UserID, update_id: str, message: _Message) -> Receipt:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._retry_limit
        unknown = is_final = False
        for pause in pauses():
            try:
                return await self._attempt(message)
            except _NeverError as e:
                fault = str(e)
                is_last = True
                is_final = isinstance(e, _RefusedError)
            except _UnknownError as e:
                fault = str(e)
                unknown = True
                is_last = not update_id
            except _NotNowError as e:
                fault = str(e)
                is_last = False
            if is_last or loop.time() + pause > deadline:
                raise (UnknownOutcomeError if unknown else PublishError)(user, update_id, fault, is_final=is_final)
            await asyncio.sleep(pause)
        raise AssertionError("pauses do not end")

    async def _attempt(self, message: _Message) -> Receipt:
        """Try to store an update once; every error says whether it may be stored."""
        if not self._nc.is_connected and not self._nc.is_closed:
            raise _NotNowError("the connection to NATS is away")
        try:
            answer = await self._nc.request(
                message.subject, message.data, timeout=self._ack_timeout, headers=message.headers
            )
            ack = decode_answer("store it", answer.data)
        except nats.errors.TimeoutError:
            raise _UnknownError(f"the server has not answered within {self._ack_timeout:g} s") from None
        except nats.errors.NoRespondersError:
            raise await self._without_stream() from None
        except nats.errors.OutboundBufferLimitError:
            raise _NotNowError("the connection to NATS is away") from None
        except APIError as e:
            raise (_RefusedError if e.is_final else _NotNowError)(str(e)) from None
        except json.JSONDecodeError as e:
            raise _UnknownError(f"decode acknowledgement: {e}") from None
        except nats.errors.MaxPayloadError as e:
            raise _RefusedError(str(e)) from None
        except nats.errors.Error as e:
            raise _NeverError(str(e)) from None
        if ack.get("stream") != self._subjects.updates_stream:
            raise _RefusedError(f"stream {ack.get('stream')} stored it, want {self._subjects.updates_stream}")
        return Receipt(ack["seq"], ack.get("duplicate", False))

    async def _without_stream(self) -> Exception:
        """Return the error about an update that no stream took: it is missing, or has no leader for a moment."""
        try:
            await self._js.stream_info(self._subjects.updates_stream)
        except APIError as e:
            if e.code == NOT_FOUND:
                return _NeverError(str(e))
        except UnavailableError:
            pass
        return _NotNowError(f"no stream takes {self._subjects.prefix}.update.*.*")


@dataclass(frozen=True)
class _Message:
    subject: str
    data: bytes
    headers: dict[str, str] | None
