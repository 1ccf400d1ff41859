"""Positions in the stream of deliveries."""

from __future__ import annotations

from dataclasses import dataclass, field

from .jetstream import StreamInfo, format_time, parse_time


@dataclass(frozen=True)
class Position:
    """A place between two deliveries, to go on from. The default is the beginning.

    It says which message is the last before it and of which stream, so that it is noticed if that stream was made
    again, restored or rolled back. Store it as text: `str(position)` and `Position.parse(text)`, which is the text
    of the Go client.
    """

    sequence: int = 0
    """Of the last message before it."""
    time: int = 0
    """When that message was stored, in nanoseconds since the epoch."""
    created: int = 0
    """When the stream was created, in nanoseconds since the epoch."""
    fresh: bool = field(default=False, compare=False, repr=False)
    """Read from the stream just now."""

    @property
    def is_beginning(self) -> bool:
        """Report whether it is the beginning of the stream."""
        return self.sequence == 0 and self.created == 0

    def __str__(self) -> str:
        if self.is_beginning:
            return ""
        return f"{self.sequence}/{format_time(self.time)}/{format_time(self.created)}"

    @classmethod
    def parse(cls, text: str) -> Position:
        """Return the position that str wrote; raise ValueError for another text."""
        if not text:
            return cls()
        sequence, _, times = text.partition("/")
        time, _, created = times.partition("/")
        try:
            if not (sequence.isascii() and sequence.isdigit() and len(sequence) <= 20):
                raise ValueError("sequence is no number")
            return cls(int(sequence), parse_time(time), parse_time(created))
        except ValueError as e:
            message = f"position is {text[:100]!r}, want <sequence>/<time>/<created>: {e}"
            raise ValueError(message) from None

    @classmethod
    def behind(cls, info: StreamInfo) -> Position:
        """Return the position behind the last message of a stream."""
        return cls(info.last_sequence, info.last_time, info.created, fresh=True)
