"""Requests to the server's JetStream API, with times in nanoseconds."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

import nats.errors
from nats.aio.client import Client as NATS
from nats.aio.msg import Msg

from .errors import APIError, UnavailableError

API_PREFIX = "$JS.API"
API_TIMEOUT = 5.0
SECOND = 1_000_000_000
NOT_FOUND = 404

_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)")
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def parse_time(text: str) -> int:
    """Return the nanoseconds since the epoch that a time in RFC 3339 stands for; raise ValueError."""
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError(f"time is {text[:100]!r}, want one in RFC 3339")
    moment = datetime.fromisoformat(match[1] + match[3].replace("Z", "+00:00"))
    seconds = (moment - _EPOCH) // timedelta(seconds=1)
    return seconds * SECOND + int((match[2] or "").ljust(9, "0"))


def format_time(nanoseconds: int) -> str:
    """Return a time in RFC 3339, UTC, with as many digits as it takes."""
    seconds, rest = divmod(nanoseconds, SECOND)
    moment = (_EPOCH + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S")
    fraction = f".{rest:09d}".rstrip("0").rstrip(".")
    return f"{moment}{fraction}Z"


def decode_answer(what: str, data: bytes) -> dict[str, Any]:
    """Return what the server answered; raise APIError if that is an error."""
    answer: dict[str, Any] = json.loads(data)
    error: Mapping[str, Any] | None = answer.get("error")
    if error:
        raise APIError(what, error.get("code", 0), error.get("err_code", 0), error.get("description", ""))
    return answer


@dataclass(frozen=True)
class StreamInfo:
    """What a reader needs to know of a stream; times are nanoseconds since the epoch."""

    created: int
    last_sequence: int
    last_time: int
    """When the last message was stored, the present if there is none."""
    now: int
    max_age: int


class JetStream:
    """The JetStream API of one account."""

    def __init__(self, nc: NATS, prefix: str = API_PREFIX) -> None:
        self._nc = nc
        self._prefix = prefix

    async def stream_info(self, stream: str) -> StreamInfo:
        """Look a stream up."""
        answer = await self._request(f"look up stream {stream}", f"STREAM.INFO.{stream}", {})
        now = parse_time(answer["ts"])
        state = answer["state"]
        last_time = parse_time(state["last_ts"])
        return StreamInfo(
            created=parse_time(answer["created"]),
            last_sequence=state["last_seq"],
            last_time=last_time if last_time > 0 else now,
            now=now,
            max_age=answer["config"].get("max_age", 0),
        )

    async def message_time(self, stream: str, sequence: int) -> int | None:
        """Return when a message was stored, None if there is none with that sequence."""
        what = f"read message {sequence} of stream {stream}"
        try:
            answer = await self._request(what, f"STREAM.MSG.GET.{stream}", {"seq": sequence})
        except APIError as e:
            if e.code == NOT_FOUND and e.err_code == 10037:
                return None
            raise
        return parse_time(answer["message"]["time"])

    async def create_consumer(self, stream: str, config: Mapping[str, Any]) -> dict[str, Any]:
        """Make a consumer with one filter, and return what is known of it."""
        subject = f"CONSUMER.CREATE.{stream}.{config['name']}.{config['filter_subject']}"
        return await self._request(f"read stream {stream}", subject, {"stream_name": stream, "config": config})

    async def consumer_info(self, stream: str, name: str) -> dict[str, Any]:
        """Look a consumer up."""
        return await self._request(f"look up consumer {name}", f"CONSUMER.INFO.{stream}.{name}", {})

    async def delete_consumer(self, stream: str, name: str) -> None:
        """Spare the server the wait for a consumer's inactivity threshold, if it can be asked now."""
        try:
            await self._request(f"delete consumer {name}", f"CONSUMER.DELETE.{stream}.{name}", {}, timeout=1.0)
        except (APIError, UnavailableError, nats.errors.Error):
            return

    async def pull(self, stream: str, name: str, inbox: str, request: Mapping[str, Any]) -> None:
        """Ask for messages of a consumer, to come to an inbox."""
        subject = f"{self._prefix}.CONSUMER.MSG.NEXT.{stream}.{name}"
        await self._nc.publish(subject, json.dumps(request).encode(), reply=inbox)

    async def _request(
        self, what: str, subject: str, body: Mapping[str, Any], *, timeout: float = API_TIMEOUT
    ) -> dict[str, Any]:
        if not self._nc.is_connected and not self._nc.is_closed:
            raise UnavailableError(f"{what}: the connection to NATS is away")
        data = json.dumps(body).encode() if body else b""
        try:
            answer = await self._nc.request(f"{self._prefix}.{subject}", data, timeout=timeout)
        except nats.errors.TimeoutError:
            raise UnavailableError(f"{what}: the server has not answered within {timeout:g} s") from None
        except nats.errors.NoRespondersError:
            raise UnavailableError(f"{what}: no JetStream API answers below {self._prefix}") from None
        return decode_answer(what, answer.data)


@dataclass(frozen=True)
class Metadata:
    """What the reply subject of a message of a consumer says; the time is nanoseconds since the epoch."""

    stream_sequence: int
    consumer_sequence: int
    time: int
    pending: int

    @classmethod
    def of(cls, message: Msg) -> Metadata:
        """Return the metadata of a message; raise ValueError if it is of no consumer."""
        tokens = message.reply.split(".")
        if tokens[:2] != ["$JS", "ACK"] or len(tokens) < 9:
            raise ValueError(f"reply subject is {message.reply[:200]!r}, want $JS.ACK.<stream>.<consumer>...")
        first = 5 if len(tokens) == 9 else 7  # with a domain and an account in front
        _, stream, consumer, time, pending = map(int, tokens[first - 1 : first + 4])
        return cls(stream, consumer, time, pending)
