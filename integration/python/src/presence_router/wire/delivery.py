"""Deliveries and dead letters as JSON."""

from __future__ import annotations

import base64
import binascii
import json
import re
from dataclasses import dataclass
from typing import Any

from .errors import InvalidUpdateError, Reason, WireError, quote
from .ids import UserID
from .state import MAX_TIME, UserState, encode_state, state_in
from .strict_json import MAX_DEPTH, Scanner, Value, encode_text, whole

SOURCE_HEADER = "Presence-Source"
REPLAY_HEADER = "Presence-Replay"
MAX_SEQUENCE = (1 << 64) - 1


@dataclass(frozen=True)
class Delivery:
    """One message for one recipient.

    The sequence of a state is the number of the update that it came from, 0 if a router made it up. For one
    user, (epoch, sequence) only grows: whoever keeps the highest per user may drop what is not above it.
    """

    recipient: UserID
    epoch: int
    """Milliseconds; sequences are comparable within one epoch."""
    states: tuple[UserState, ...] = ()

    @property
    def sequences(self) -> tuple[int, ...]:
        """Return the sequence of each state."""
        return tuple(state.sequence for state in self.states)


def encode_delivery(delivery: Delivery) -> bytes:
    """Return a delivery as JSON."""
    sequences = ",".join(map(str, delivery.sequences))
    states = b",".join(map(encode_state, delivery.states))
    begin = f'{{"recipient":{encode_text(delivery.recipient)},"epoch":{delivery.epoch},"sequences":[{sequences}]'
    return begin.encode() + b',"states":[' + states + b"]}"


def decode_delivery(data: bytes) -> Delivery:
    """Return the delivery that encode_delivery wrote; unknown fields are passed over.

    Raise WireError, which names the field.
    """
    try:
        return _decode_delivery(data)
    except WireError as e:
        raise WireError(f"decode delivery: {e}") from None


def _decode_delivery(data: bytes) -> Delivery:
    scanner = Scanner(data, MAX_DEPTH + 2)
    found: dict[str, Value | list[Value]] = {}
    for key in scanner.members():
        is_known = key in ("recipient", "epoch", "sequences", "states")
        if is_known and key in found:
            raise WireError(f"{key} is given twice")
        is_list = key in ("sequences", "states") and scanner.is_array()
        value = [scanner.value() for _ in scanner.elements()] if is_list else scanner.value()
        if is_known:
            found[key] = value
    scanner.end()
    recipient = user_in("recipient", _single(found, "recipient"))
    epoch = whole(_single(found, "epoch").parsed, MAX_TIME)
    if epoch is None:
        raise WireError(f"epoch is {_single(found, 'epoch').show()}, want an integer from 0 to {MAX_TIME}")
    sequences = sequences_in(_several(found, "sequences"))
    return Delivery(recipient, epoch, tuple(states_in(_several(found, "states"), sequences)))


def _single(found: dict[str, Value | list[Value]], name: str) -> Value:
    value = found.get(name)
    if not isinstance(value, Value):
        raise WireError(f"{name} is missing")
    return value


def _several(found: dict[str, Value | list[Value]], name: str) -> list[Value]:
    value = found.get(name)
    if value is None:
        raise WireError(f"{name} is missing")
    if isinstance(value, Value):
        raise WireError(f"{name} is {value.show()}, want an array")
    return value


def user_in(name: str, value: Value) -> UserID:
    """Return the user ID in the named field."""
    if type(value.parsed) is not str:
        raise WireError(f"{name} is {value.show()}, want a string")
    try:
        return UserID(value.parsed)
    except WireError as e:
        raise WireError(f"{name}: {e}") from None


def sequences_in(values: list[Value]) -> list[int]:
    """Return the numbers in a field sequences."""
    return numbers_in("sequences", values, MAX_SEQUENCE)


def numbers_in(name: str, values: list[Value], most: int) -> list[int]:
    """Return the integers from 0 to most in the named field."""
    numbers = []
    for i, value in enumerate(values):
        number = whole(value.parsed, most, exactly=True)
        if number is None:
            raise WireError(f"{name}[{i}] is {value.show()}, want an integer from 0 to {most}")
        numbers.append(number)
    return numbers


def states_in(values: list[Value], sequences: list[int]) -> list[UserState]:
    """Return the states in a field states, which came from the updates with these sequences."""
    if len(sequences) != len(values):
        raise WireError(f"sequences has {len(sequences)} elements, want {len(values)} as in states")
    states = []
    for i, (value, sequence) in enumerate(zip(values, sequences, strict=True)):
        try:
            states.append(state_in(value, sequence=sequence))
        except InvalidUpdateError as e:
            raise InvalidUpdateError(e.reason, f"states[{i}]: {e}") from None
    return states


_SOURCE = re.compile(r"(0|[1-9][0-9]{0,4})/([0-9]{1,20})-([0-9]{1,20})")


@dataclass(frozen=True)
class Source:
    """Say which stored updates a delivery was made of: the value of the header Presence-Source."""

    partition: int
    first: int
    last: int

    def __str__(self) -> str:
        return f"{self.partition}/{self.first}-{self.last}"

    @classmethod
    def parse(cls, value: str) -> Source:
        """Return the source that str wrote; raise WireError for another text."""
        match = _SOURCE.fullmatch(value)
        if match is None or int(match[2]) > int(match[3]):
            raise WireError(f"{SOURCE_HEADER} is {quote(value)}, want <partition>/<first>-<last>")
        return cls(int(match[1]), int(match[2]), int(match[3]))


@dataclass(frozen=True)
class DeadLetter:
    """An update that could not be routed, and why."""

    reason: Reason
    error: str
    router: str
    """The router that failed, empty if none did."""
    subject: str
    """As the update was published."""
    sequence: int
    time: str
    """When the update was stored, in RFC 3339 with milliseconds, UTC."""
    headers: dict[str, list[str]]
    payload: bytes
    truncated: bool = False
    """Something was cut off to make the letter fit."""


def decode_dead_letter(data: bytes) -> DeadLetter:
    """Return the dead letter in a message; unknown fields are passed over. Raise WireError."""
    try:
        found: dict[str, Any] = json.loads(data)
        return DeadLetter(
            Reason(found["reason"]),
            found["error"],
            found["router"],
            found["subject"],
            found["sequence"],
            found["time"],
            found["headers"],
            base64.b64decode(found["payload"], validate=True),
            found.get("truncated", False),
        )
    except KeyError as e:
        raise WireError(f"decode dead letter: {e.args[0]} is missing") from None
    except (TypeError, ValueError, binascii.Error) as e:
        raise WireError(f"decode dead letter: {e}") from None
