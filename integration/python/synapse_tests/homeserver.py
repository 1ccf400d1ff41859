"""A real Synapse on a database of its own, and clients of it."""

from __future__ import annotations

import json
import socket
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from deployment import BOUND, Process

EVERYTHING = {"per_second": 10000, "burst_count": 10000}


class Homeserver:
    """A Synapse of server name example.com; `config` is its `modules`."""

    def __init__(self, directory: Path, modules: list[dict[str, Any]], **environment: str) -> None:
        directory.mkdir()
        self.directory = directory
        self.port = _free_port()
        self._log = directory / "synapse.out"
        self._homeserver_log = directory / "homeserver.log"
        config = directory / "homeserver.yaml"
        config.write_text(json.dumps(self._config(directory, modules)))
        command = [sys.executable, "-m", "synapse.app.homeserver", "-c", str(config)]
        generate = Process([*command, "--generate-keys"], self._log)
        generate.start()
        generate.wait(BOUND)
        self.process = Process(command, self._log, **environment)

    def _config(self, directory: Path, modules: list[dict[str, Any]]) -> dict[str, Any]:
        resources = [{"names": ["client"], "compress": False}]
        log = directory / "log.yaml"
        log.write_text(
            json.dumps(
                {
                    "version": 1,
                    "formatters": {"line": {"format": "%(asctime)s %(name)s %(levelname)s %(message)s"}},
                    "handlers": {
                        "file": {
                            "class": "logging.FileHandler",
                            "filename": str(self._homeserver_log),
                            "formatter": "line",
                        }
                    },
                    "root": {"level": "INFO", "handlers": ["file"]},
                }
            )
        )
        return {
            "server_name": "example.com",
            "pid_file": str(directory / "homeserver.pid"),
            "listeners": [{"port": self.port, "type": "http", "bind_addresses": ["127.0.0.1"], "resources": resources}],
            "database": {"name": "sqlite3", "args": {"database": str(directory / "homeserver.db")}},
            "log_config": str(log),
            "media_store_path": str(directory / "media"),
            "signing_key_path": str(directory / "signing.key"),
            "macaroon_secret_key": "macaroon",
            "registration_shared_secret": "registration",
            "enable_registration": True,
            "enable_registration_without_verification": True,
            "trusted_key_servers": [],
            "report_stats": False,
            "rc_presence": {"per_user": EVERYTHING},
            "rc_registration": EVERYTHING,
            "rc_message": EVERYTHING,
            "modules": modules,
        }

    def start(self) -> None:
        self.process.start()
        deadline = time.monotonic() + 2 * BOUND
        while True:
            self.process.check()
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/_matrix/client/versions", timeout=5):
                    return
            except (OSError, urllib.error.URLError):
                if time.monotonic() > deadline:
                    pytest.fail(f"Synapse does not answer: {self.log()[-3000:]}")
                time.sleep(0.1)

    def log(self) -> str:
        files = [path for path in (self._log, self._homeserver_log) if path.exists()]
        return "\n".join(path.read_text() for path in files)

    def close(self) -> None:
        self.process.kill()

    def register(self, name: str) -> User:
        answer = call(
            self.port,
            "POST",
            "/_matrix/client/v3/register",
            {"username": name, "password": "password", "auth": {"type": "m.login.dummy"}},
        )
        return User(self.port, answer["user_id"], answer["access_token"])


class User:
    """A client of one user."""

    def __init__(self, port: int, user_id: str, token: str) -> None:
        self.user_id = user_id
        self._port = port
        self._token = token
        self._since = ""
        self._syncs = 0

    def put(self, message: str) -> float:
        """Set the presence, and return how many seconds that took."""
        before = time.monotonic()
        path = f"/_matrix/client/v3/presence/{urllib.parse.quote(self.user_id)}/status"
        call(self._port, "PUT", path, {"presence": "online", "status_msg": message}, self._token)
        return time.monotonic() - before

    def sync(self, timeout: float = 0.0, *, initial: bool = False) -> dict[str, str]:
        """Sync on, or from the beginning, and return the status messages of those whose presence came."""
        self._syncs += 1  # An initial sync like the one before it is answered from a cache.
        arguments = {"timeout": str(int(timeout * 1000)), "set_presence": "offline", "filter": self._filter()}
        if self._since and not initial:
            arguments["since"] = self._since
        path = f"/_matrix/client/v3/sync?{urllib.parse.urlencode(arguments)}"
        answer = call(self._port, "GET", path, None, self._token, wait=timeout + BOUND)
        self._since = answer["next_batch"]
        events = answer.get("presence", {}).get("events", [])
        return {event["sender"]: event["content"].get("status_msg", "") for event in events}

    def _filter(self) -> str:
        return json.dumps({"room": {"timeline": {"limit": 10 + self._syncs if not self._since else 10}}})

    def sync_until(self, user: str, message: str) -> None:
        """Sync on until a user's presence came with a message."""
        deadline = time.monotonic() + BOUND
        while self.sync(1.0).get(user) != message:
            if time.monotonic() > deadline:
                pytest.fail(f"{self.user_id} has not seen {message!r} of {user} within {BOUND:g} s")


def call(
    port: int, method: str, path: str, body: Any = None, token: str = "", *, wait: float = BOUND
) -> dict[str, Any]:
    """Make a request of the client API, and return its answer; fail if it is an error."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", method=method)
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    data = None if body is None else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(request, data, timeout=wait) as answer:  # noqa: S310 # It is http.
            found: dict[str, Any] = json.load(answer)
            return found
    except urllib.error.HTTPError as e:
        pytest.fail(f"{method} {path.partition('?')[0]} is answered {e.code}: {e.read()[:1000]!r}")


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port: int = s.getsockname()[1]
        return port
