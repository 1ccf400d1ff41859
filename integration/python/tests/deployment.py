"""A deployment of a real nats-server and a real worker, to be broken by tests."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import nats
import pytest
from nats.aio.client import Client as NATS

from presence_router.client import Client, UnavailableError
from presence_router.wire import UserID

REPOSITORY = Path(__file__).parents[3]
BOUND = 60.0
"""Seconds that anything that is waited for may take."""

ALICE = UserID("@alice:example.com")
BOB = UserID("@bob:example.com")
CHARLIE = UserID("@charlie:somewhere.org")
DAVE = UserID("@dave:example.com")
GOBBLER = UserID("@presence_gobbler:example.com")

MODULES = """
modules:
  - module: static
    config:
      routes:
        - recipients: ["@alice:example.com", "@far_away_person:island.example"]
          users: ["@bob:example.com", "@charlie:somewhere.org"]
        - recipients: ["@dave:example.com"]
          users: ["@bob:example.com"]
  - module: broadcast
    config:
      users_who_should_receive_all_presence: ["@presence_gobbler:example.com"]
"""


def wait_for(what: str, done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + BOUND
    while not done():
        if time.monotonic() > deadline:
            pytest.fail(f"no {what} within {BOUND:g} s")
        time.sleep(0.02)


class Process:
    """A process that a test starts, stops for a while, kills and starts again."""

    def __init__(self, command: list[str], log: Path, **environment: str) -> None:
        self._command = command
        self._environment = os.environ | environment
        self._log = log
        self._popen: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._popen = subprocess.Popen(self._command, stdout=log, stderr=log, env=self._environment)

    def check(self) -> None:
        assert self._popen is not None
        if self._popen.poll() is not None:
            pytest.fail(f"{self._command[0]} ended: {self._log.read_text()[-2000:]}")

    def pause(self) -> None:
        self._signal(signal.SIGSTOP)
        assert self._popen is not None
        os.waitid(os.P_PID, self._popen.pid, os.WSTOPPED)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def wait(self, seconds: float) -> int:
        """Return the exit code of the process, which ends by itself."""
        assert self._popen is not None
        return self._popen.wait(seconds)

    def kill(self) -> None:
        if self._popen is not None:
            self._popen.kill()
            self._popen.wait()
            self._popen = None

    def _signal(self, number: signal.Signals) -> None:
        assert self._popen is not None
        self._popen.send_signal(number)


class NatsServer:
    """A nats-server that keeps its port when it is started again."""

    def __init__(self, binary: Path, directory: Path) -> None:
        self._directory = directory
        self._binary = binary
        self.port = -1
        self.process = self._process()

    def _process(self) -> Process:
        command = [str(self._binary), "-a", "127.0.0.1", "-p", str(self.port), "-js", "-sd", str(self._directory)]
        return Process([*command, "--ports_file_dir", str(self._directory)], self._directory / "nats-server.log")

    def start(self) -> None:
        self.process.start()
        if self.port > 0:
            return

        def is_written() -> bool:
            self.process.check()
            return any(path.read_text() for path in self._directory.glob("*.ports"))

        wait_for("port of nats-server", is_written)
        [path] = self._directory.glob("*.ports")
        [url] = json.loads(path.read_text())["nats"]
        self.port = int(url.rpartition(":")[2])
        killed = self.process
        self.process = self._process()
        self.process._popen = killed._popen

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"


class Site:
    """One deployment: a server and a worker."""

    def __init__(self, binaries: Path, directory: Path, modules: str = MODULES) -> None:
        directory.mkdir(exist_ok=True)
        self.directory = directory
        self.server = NatsServer(binaries / "nats-server", directory)
        self.server.start()
        config = directory / "config.yaml"
        config.write_text(
            f"server_names: [example.com]\nnats: {{url: {self.server.url}}}\nhttp: {{listen: ''}}\n"
            f"streams: {{partitions: 4, updates: {{max_bytes: -1}}}}\n{modules}"
        )
        command = [str(binaries / "router-worker"), "run", "--config", str(config)]
        self.worker = Process(command, directory / "worker.log")

    def start_worker(self) -> None:
        self.worker.start()
        asyncio.run(asyncio.wait_for(self._ready(), BOUND))

    async def _ready(self) -> None:
        async with await nats.connect(self.url) as nc:
            while True:
                self.worker.check()
                try:
                    await Client(nc).interested_users(ALICE, attempt_timeout=1)
                except UnavailableError:
                    await asyncio.sleep(0.05)
                else:
                    return

    @property
    def url(self) -> str:
        return self.server.url

    def close(self) -> None:
        self.worker.kill()
        self.server.process.kill()


async def connect(url: str) -> NATS:
    async def quiet(_: Exception) -> None:
        """Say nothing of a server that the test has killed."""

    return await nats.connect(url, max_reconnect_attempts=-1, reconnect_time_wait=0.05, error_cb=quiet)
