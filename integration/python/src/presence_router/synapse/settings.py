"""The configuration of the module in homeserver.yaml."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from presence_router.wire import DEFAULT_PREFIX, Subjects, WireError

_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0}
_URLS = "URLs such as nats://127.0.0.1:4222"
_INBOX_PREFIX = re.compile(r"[A-Za-z0-9_-]{1,64}(\.[A-Za-z0-9_-]{1,64}){0,7}")


@dataclass(frozen=True)
class Settings:
    """What the module is configured with; times are seconds."""

    servers: tuple[str, ...] = field(default=("nats://127.0.0.1:4222",), repr=False)
    """URLs, which may hold passwords."""
    credentials: str | None = None
    prefix: str = DEFAULT_PREFIX
    inbox_prefix: str = "_INBOX"
    remote: bool = True
    """Name recipients of other servers, to whom Synapse sends then."""
    publish: bool = True
    """Publish updates, in the process that is the presence writer."""
    timeout: float = 0.25
    attempt_timeout: float = 0.1


class SettingsError(ValueError):
    """Tell each fault of a configuration with its path."""

    def __init__(self, faults: Mapping[str, str]) -> None:
        super().__init__("; ".join(f"{path}: {fault}" for path, fault in faults.items()))
        self.faults = dict(faults)


def parse(config: object) -> Settings:
    """Return the settings that a configuration holds. Raise SettingsError, which has all faults."""
    if config is None:
        config = {}
    if not isinstance(config, dict):
        raise SettingsError({"config": f"is {type(config).__name__}, want keys and values"})
    found: dict[str, Any] = {}
    faults: dict[str, str] = {}
    for key, value in config.items():
        if key not in _READERS:
            faults[str(key)] = f"is unknown, want {', '.join(_READERS)}"
            continue
        name, read = _READERS[key]
        try:
            found[name] = read(value)
        except (WireError, ValueError) as e:
            faults[key] = str(e)
    settings = Settings(**found)
    if not faults and settings.attempt_timeout > settings.timeout:
        faults["attempt_timeout"] = f"is {settings.attempt_timeout:g} s, want at most timeout, {settings.timeout:g} s"
    if faults:
        raise SettingsError(faults)
    return settings


def _urls(value: object) -> tuple[str, ...]:
    """Return URLs; a fault does not show them, since they may hold passwords."""
    urls = value.split(",") if isinstance(value, str) else value
    if not isinstance(urls, list) or not urls:
        raise ValueError(f"is {type(urls).__name__}, want one or more {_URLS}")
    for number, url in enumerate(urls, 1):
        if not isinstance(url, str):
            raise ValueError(f"URL {number} is {type(url).__name__}, want {_URLS}")  # noqa: TRY004 # One kind of error for all faults.
        if "://" not in url:
            raise ValueError(f"URL {number} has no ://, want {_URLS}")
    return tuple(url.strip() for url in urls)


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"is {value!r}, want a text")
    return value


def _prefix(value: object) -> str:
    return Subjects(_text(value)).prefix


def _inbox_prefix(value: object) -> str:
    if not _INBOX_PREFIX.fullmatch(_text(value)):
        raise ValueError(f"is {value!r}, want tokens of A-Z, a-z, 0-9, _ and -, such as _INBOX.hs")
    return _text(value)


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"is {value!r}, want true or false")  # noqa: TRY004 # One kind of error for all faults.
    return value


def _duration(value: object) -> float:
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    seconds = float(match[1]) * _SECONDS[match[2]] if match else 0.0
    if not 0.01 <= seconds <= 60:
        raise ValueError(f"is {value!r}, want 10ms to 1m")
    return seconds


_READERS: dict[str, tuple[str, Callable[[object], Any]]] = {
    "url": ("servers", _urls),
    "credentials": ("credentials", _text),
    "prefix": ("prefix", _prefix),
    "inbox_prefix": ("inbox_prefix", _inbox_prefix),
    "remote": ("remote", _flag),
    "publish": ("publish", _flag),
    "timeout": ("timeout", _duration),
    "attempt_timeout": ("attempt_timeout", _duration),
}
