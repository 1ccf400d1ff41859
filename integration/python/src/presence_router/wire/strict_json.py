"""Read JSON strictly, and keep where each value stands, so that it can be handed on byte for byte."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

from .errors import WireError, shorten

MAX_DEPTH = 64

_SPACE = re.compile(r"[ \t\n\r]*")
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|.)", re.DOTALL)
_WHOLE = re.compile(r"(-?)([0-9]+)(?:\.([0-9]+))?(?:[eE]([+-]?[0-9]+))?")
_NOT_ASCII_JSON = str.maketrans({"\u2028": "\\u2028", "\u2029": "\\u2029"})


class Number(str):
    """A JSON number as it is written, so that nothing of it is lost."""

    __slots__ = ()


class Members(list[tuple[str, Any]]):
    """The members of a JSON object in their order, repeated keys included."""

    __slots__ = ()


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


_DECODER = json.JSONDecoder(
    parse_float=Number, parse_int=Number, parse_constant=_refuse_constant, object_pairs_hook=Members
)


@dataclass(frozen=True)
class Value:
    """A JSON value and the text that it was read from."""

    parsed: Any
    raw: str

    def show(self) -> str:
        """Return the value on one line, shortened, for an error."""
        return shorten(" ".join(self.raw.split()))


class Scanner:
    """Walk over one JSON text.

    The caller reads the value behind each key, and each element, before it goes on.
    """

    def __init__(self, data: bytes, depth: int) -> None:
        try:
            self._text = data.decode()
        except UnicodeDecodeError as e:
            raise WireError(f"byte {e.start}: want valid UTF-8, got {e.object[e.start]:#04x}") from None
        if not _has_whole_pairs(self._text):
            raise WireError("want both halves of a surrogate pair in escapes")
        self._depth = depth
        self._at = 0

    def members(self) -> Iterator[str]:
        """Yield the keys of the object that comes next."""
        if self._next() != "{":
            self._fail("a JSON object")
        self._at += 1
        if self._next() == "}":
            self._at += 1
            return
        while True:
            if self._next() != '"':
                self._fail("a key in quotes")
            key = self.value().parsed
            if self._next() != ":":
                self._fail("a colon after the key")
            self._at += 1
            yield key
            if self._ends("}"):
                return

    def elements(self) -> Iterator[None]:
        """Stop before each element of the array that comes next."""
        self._at += 1
        if self._next() == "]":
            self._at += 1
            return
        while True:
            yield
            if self._ends("]"):
                return

    def is_array(self) -> bool:
        """Report whether an array comes next."""
        return self._next() == "["

    def is_object(self) -> bool:
        """Report whether an object comes next."""
        return self._next() == "{"

    def is_null(self) -> bool:
        """Report whether null comes next."""
        return self._next() == "n"

    def value(self) -> Value:
        """Return the value that comes next."""
        self._next()
        start = self._at
        try:
            parsed, self._at = _DECODER.raw_decode(self._text, start)
        except RecursionError:
            raise WireError(f"nested deeper than {self._depth} objects and arrays") from None
        except ValueError as e:
            at, why = (e.pos, e.msg) if isinstance(e, json.JSONDecodeError) else (start, str(e))
            raise WireError(f"byte {self._bytes(at)}: want a JSON value: {why}") from None
        value = Value(parsed, self._text[start : self._at])
        check_depth(value, self._depth)
        return value

    def end(self) -> None:
        """Raise unless nothing comes any more."""
        self._next()
        if self._at < len(self._text):
            self._fail("nothing after the object")

    def _next(self) -> str:
        match = _SPACE.match(self._text, self._at)
        assert match is not None  # noqa: S101 # It matches nothing, too.
        self._at = match.end()
        return self._text[self._at : self._at + 1]

    def _ends(self, bracket: str) -> bool:
        found = self._next()
        if found not in (",", bracket):
            self._fail(f"a comma or {bracket}")
        self._at += 1
        return found == bracket

    def _bytes(self, at: int) -> int:
        return len(self._text[:at].encode())

    def _fail(self, want: str) -> NoReturn:
        found = self._text[self._at : self._at + 1]
        got = repr(found) if found else "the end"
        raise WireError(f"byte {self._bytes(self._at)}: want {want}, got {got}")


def _has_whole_pairs(text: str) -> bool:
    if "\\u" not in text:
        return True
    after_high = -1  # where the escape of the other half begins
    for escape in _ESCAPE.finditer(text):
        unit = int(escape[1], 16) if escape[1] else 0
        is_low = unit >> 10 == 0b110111  # DC00 to DFFF
        if is_low != (escape.start() == after_high):
            return False
        if after_high >= 0 and not is_low:
            return False
        after_high = escape.end() if unit >> 10 == 0b110110 else -1
    return after_high < 0


def check_depth(value: Value, limit: int) -> None:
    """Raise if objects and arrays are nested deeper than `limit`."""
    if value.raw.count("[") + value.raw.count("{") <= limit:
        return
    level, depth = _containers([value.parsed]), 0
    while level:
        depth += 1
        if depth > limit:
            raise WireError(f"nested deeper than {limit} objects and arrays")
        level = [inner for outer in level for inner in _containers(_children(outer))]


def _containers(values: list[Any]) -> list[Any]:
    return [value for value in values if isinstance(value, list)]


def _children(value: list[Any]) -> list[Any]:
    return [child for _, child in value] if isinstance(value, Members) else value


def whole(value: Any, most: int, *, exactly: bool = False) -> int | None:
    """Return the integer from 0 to most that a JSON number is, None for anything else.

    1000.0 and 1e3 are whole, too, unless `exactly` is set.
    """
    match = _WHOLE.fullmatch(value) if isinstance(value, Number) else None
    if match is None or (exactly and (match[3] or match[4])):
        return None
    sign, integer, fraction, exponent = match[1], match[2], match[3] or "", match[4] or "0"
    digits = (integer + fraction).lstrip("0")
    if not digits:
        return 0
    if sign or len(exponent.lstrip("+-0")) > len("1000000"):
        return None
    stripped = digits.rstrip("0")
    zeros = int(exponent) - len(fraction) + len(digits) - len(stripped)
    if zeros < 0 or len(stripped) + zeros > len(str(most)):
        return None
    number = int(stripped) * 10**zeros
    return number if number <= most else None


def encode_text(text: str) -> str:
    r"""Return a text as a JSON string, with what is no Unicode, such as half a surrogate pair, as \ufffd."""
    encoded = json.dumps(text, ensure_ascii=False).translate(_NOT_ASCII_JSON)
    try:
        encoded.encode()
    except UnicodeEncodeError:
        return "".join("\\ufffd" if "\ud800" <= c <= "\udfff" else c for c in encoded)
    return encoded
