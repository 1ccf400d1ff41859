"""Read deliveries from a position on."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any

import nats.errors
from nats.aio.client import Client as NATS
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from presence_router.wire import REPLAY_HEADER, SOURCE_HEADER, Delivery, Subjects, WireError, decode_delivery

from .asking import pauses
from .errors import APIError, ExpiredError, InvalidDeliveryError, ReadingError, UnavailableError
from .jetstream import SECOND, JetStream, Metadata, StreamInfo, format_time
from .position import Position
from .selection import Selection

HEARTBEAT = 2.0
CONNECTION_CHECKS = 1.0
EXPIRY = 20.0
INACTIVE = 30.0
READ_AHEAD = 500
LOOK_UPS = 60.0


@dataclass(frozen=True, kw_only=True)
class ReceivedDelivery(Delivery):
    """A delivery that was read."""

    data: bytes
    """The JSON that it was decoded from."""
    subject: str
    position: Position
    """Behind it, to go on from; its time says when the delivery was committed."""
    pending: int
    """How many of the same selection were stored behind it."""
    is_replay: bool
    """send_online_presence asked for it: its states may have been delivered before."""
    source: str
    """The stored updates that it was made of, see wire.Source; empty for a replay."""
    traceparent: str
    """W3C trace context of an update in it, empty for none."""


_Item = ReceivedDelivery | InvalidDeliveryError | ExpiredError


class _Ended(Exception):  # noqa: N818 # It is no error: another session reads on.
    """The consumer is gone, or what it sends has a gap."""


class Deliveries:
    """All deliveries of a selection behind a position, in the order of their commit, each once and without a gap.

    Use it as an asynchronous context manager and iterate over it. InvalidDeliveryError and ExpiredError tell of
    something, and reading goes on if you iterate again. Any other error is the last, such as ReadingError. While
    the server is away, it waits.

    `position` moves with the deliveries and, each minute while everything is read, to where the stream ended a
    minute before: store it from time to time if deliveries are rare.
    """

    def __init__(
        self,
        nc: NATS,
        js: JetStream,
        subjects: Subjects,
        selection: Selection,
        *,
        after: Position,
        consumer_name: str,
    ) -> None:
        self.position = after
        self._nc = nc
        self._js = js
        self._stream = subjects.deliveries_stream
        self._filter = selection.filter(subjects)
        self._consumer_name = consumer_name
        self._items = self._read()

    async def __aenter__(self) -> Deliveries:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Stop reading, and delete the consumer."""
        await self._items.aclose()

    def __aiter__(self) -> Deliveries:
        return self

    async def __anext__(self) -> ReceivedDelivery:
        try:
            item = await anext(self._items)
        except asyncio.CancelledError:
            self._items = self._read()  # whoever iterates again reads on
            raise
        if isinstance(item, Exception):
            raise item
        return item

    async def _read(self) -> AsyncGenerator[_Item, None]:
        """Read through one consumer after the other; what one breaks off, the next one continues."""
        pause = pauses()
        while True:
            before = self.position.sequence
            try:
                async with aclosing(self._session()) as items:
                    async for item in items:
                        yield item
            except (_Ended, UnavailableError):
                pass
            except APIError as e:
                if e.is_final:
                    raise ReadingError(str(e)) from e
            except (nats.errors.ConnectionClosedError, nats.errors.ConnectionDrainingError) as e:
                raise ReadingError(f"read stream {self._stream}: {e}") from e
            except nats.errors.Error:
                pass
            if self.position.sequence > before:
                pause = pauses()
            await asyncio.sleep(next(pause))

    async def _session(self) -> AsyncGenerator[_Item, None]:
        info = await self._js.stream_info(self._stream)
        start = self._start(same=await self._is_same(info))
        if await self._has_expired(info):
            yield ExpiredError(format_time(self.position.time), info.max_age / SECOND)
        reconnects = self._nc.stats["reconnects"]
        inbox = self._nc.new_inbox()
        subscription = await self._nc.subscribe(inbox)
        consumer = None
        try:
            consumer = await self._make_consumer(start)
            end = Position.behind(info)
            if consumer["num_pending"] == 0:
                self.position = end
            reading = _Reading(consumer["name"], inbox, subscription, reconnects, end)
            async with aclosing(self._receive(reading)) as items:
                async for item in items:
                    yield item
        finally:
            with suppress(nats.errors.Error):
                await subscription.unsubscribe()
            if consumer:
                await self._js.delete_consumer(self._stream, consumer["name"])

    async def _receive(self, reading: _Reading) -> AsyncGenerator[_Item, None]:
        look_up = asyncio.get_running_loop().time() + LOOK_UPS
        while True:
            await self._pull(reading)
            message = await self._next(reading)
            if message.reply:
                yield self._received(reading, message)
            else:
                reading.told(message)
            if asyncio.get_running_loop().time() >= look_up:
                await self._look_up(reading)
                look_up = asyncio.get_running_loop().time() + LOOK_UPS

    async def _pull(self, reading: _Reading) -> None:
        missing = READ_AHEAD - reading.asked_for
        if missing < READ_AHEAD // 2:
            return
        request = {
            "batch": missing,
            "expires": int(EXPIRY * SECOND),
            "idle_heartbeat": int(HEARTBEAT * SECOND),
        }
        await self._js.pull(self._stream, reading.name, reading.inbox, request)
        reading.asked_for += missing

    async def _next(self, reading: _Reading) -> Msg:
        loop = asyncio.get_running_loop()
        silent = loop.time() + 3 * HEARTBEAT
        while True:
            try:
                message = await reading.subscription.next_msg(timeout=CONNECTION_CHECKS)
            except nats.errors.TimeoutError:
                message = None
            if self._nc.stats["reconnects"] != reading.reconnects:
                raise _Ended  # the server that it is connected to now may not know the consumer
            if message is not None:
                return message
            if loop.time() > silent:
                raise _Ended

    def _received(self, reading: _Reading, message: Msg) -> _Item:
        meta = Metadata.of(message)
        reading.count += 1
        reading.asked_for -= 1
        if meta.consumer_sequence != reading.count:
            raise _Ended  # messages are missing between two that arrived
        position = Position(meta.stream_sequence, meta.time, reading.end.created)
        self.position = position
        headers = message.headers or {}
        try:
            delivery = decode_delivery(message.data)
        except WireError as e:
            return InvalidDeliveryError(message.subject, meta.stream_sequence, e)
        return ReceivedDelivery(
            delivery.recipient,
            delivery.epoch,
            delivery.states,
            data=message.data,
            subject=message.subject,
            position=position,
            pending=meta.pending,
            is_replay=REPLAY_HEADER in headers,
            source=headers.get(SOURCE_HEADER, ""),
            traceparent=headers.get("traceparent", ""),
        )

    async def _look_up(self, reading: _Reading) -> None:
        """Move the position to the end that the stream had at the look-up before, if all of it has arrived.

        A reader of few deliveries would have an old position otherwise, which nobody can tell from one with
        deliveries behind it that have expired.
        """
        try:
            consumer = await self._js.consumer_info(self._stream, reading.name)
            arrived = consumer["num_pending"] == 0 and consumer["delivered"]["consumer_seq"] == reading.count
            if arrived and reading.end.sequence > self.position.sequence:
                self.position = reading.end
            end = Position.behind(await self._js.stream_info(self._stream))
        except (APIError, UnavailableError, nats.errors.Error):
            return
        if end.created == reading.end.created:
            reading.end = replace(end, fresh=False)

    def _start(self, *, same: bool) -> dict[str, Any]:
        """Return where a consumer starts: by time, if the stream is not the one of the position."""
        if same:
            return {"deliver_policy": "by_start_sequence", "opt_start_seq": self.position.sequence + 1}
        return {"deliver_policy": "by_start_time", "opt_start_time": format_time(self.position.time + 1)}

    async def _make_consumer(self, start: dict[str, Any]) -> dict[str, Any]:
        """Make a consumer; one of the same name, which a killed reader left behind, makes room for it."""
        name = self._consumer_name or secrets.token_hex(8)
        if self._consumer_name:
            await self._js.delete_consumer(self._stream, name)
        config = {
            "name": name,
            "description": "reads deliveries",
            "filter_subject": self._filter,
            "ack_policy": "none",
            "mem_storage": True,
            "num_replicas": 1,
            "inactive_threshold": int(INACTIVE * SECOND),
            **start,
        }
        return await self._js.create_consumer(self._stream, config)

    async def _is_same(self, info: StreamInfo) -> bool:
        """Report whether the sequence of the position means the same message in the stream as it is."""
        after = self.position
        if after.is_beginning:
            return True
        if info.created != after.created or info.last_sequence < after.sequence:
            return False
        if after.fresh or after.sequence == 0:
            self.position = replace(after, fresh=False)
            return True
        if self._consumer_name:
            return await self._first_behind() > after.sequence
        time = await self._js.message_time(self._stream, after.sequence)
        return time is None or time == after.time  # one that expired is taken for the same

    async def _has_expired(self, info: StreamInfo) -> bool:
        """Report whether deliveries behind the position may have expired unread."""
        after = self.position
        is_young = info.max_age == 0 or info.now - after.time <= info.max_age
        if after.is_beginning or is_young or info.last_sequence <= after.sequence:
            return False
        if self._consumer_name:
            return await self._first_behind() != after.sequence + 1
        return await self._js.message_time(self._stream, after.sequence + 1) is None

    async def _first_behind(self) -> int:
        """Return the sequence of the first message that was stored after the time of the position.

        A consumer is asked for it, since reading a message by its sequence is permitted for all or none.
        """
        consumer = await self._make_consumer(self._start(same=False))
        sequence: int = consumer["delivered"]["stream_seq"]
        return sequence + 1


@dataclass
class _Reading:
    """What a session knows of its consumer."""

    name: str
    inbox: str
    subscription: Subscription
    reconnects: int
    end: Position
    """Of the stream at the last look-up."""
    count: int = 0
    """Of the messages that arrived."""
    asked_for: int = 0
    """Messages that pulls may still bring."""

    def told(self, message: Msg) -> None:
        """Take a message of the server about a pull."""
        headers = message.headers or {}
        status = headers.get("Status", "")
        if status in ("404", "408"):
            unused = headers.get("Nats-Pending-Messages", "")
            self.asked_for -= int(unused) if unused.isdigit() else self.asked_for
            self.asked_for = max(0, self.asked_for)
        elif status != "100":
            raise _Ended
