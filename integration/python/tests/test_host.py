"""Synapse modules, unmodified, in the host.

The documented example and the modules of Synapse's own test are taken from the source archive of matrix-synapse
1.98.0 when the tests run.
"""

from __future__ import annotations

import ast
import asyncio
import os
import re
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from deployment import ALICE, BOB, BOUND, CHARLIE, DAVE, GOBBLER, REPOSITORY, Site, connect

from presence_router.client import Client, UnavailableError
from presence_router.wire import QueryError, UserID, UserState, decode_update, encode_state

SYNAPSE = "1.98.0"
EXAMPLE = "docs/modules/presence_router_callbacks.md"
TEST = "tests/events/test_presence_router.py"
RAW = b'{ "user_id": "@bob:example.com", "x": 1.0, "state": "online" }'


@pytest.fixture(scope="session")
def synapse_modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with the modules documented.CustomPresenceRouter and tested.*."""
    archive = REPOSITORY / ".bin" / f"matrix_synapse-{SYNAPSE}.tar.gz"
    if not archive.exists():
        command = [
            "-m",
            "pip",
            "download",
            "-q",
            "--no-deps",
            "--no-binary",
            "matrix-synapse",
            "-d",
            str(archive.parent),
        ]
        download = subprocess.run([sys.executable, *command, f"matrix-synapse=={SYNAPSE}"], check=False)
        if download.returncode != 0:
            pytest.fail(f"COULD NOT GET the source archive of matrix-synapse {SYNAPSE}: its modules were not hosted")
    directory = tmp_path_factory.mktemp("modules")
    with tarfile.open(archive) as tar:
        example, test = (_read(tar, f"matrix_synapse-{SYNAPSE}/{name}") for name in (EXAMPLE, TEST))
    [documented] = [block for block in re.findall(r"```python\n(.*?)```", example, re.DOTALL) if "class " in block]
    (directory / "documented.py").write_text(documented)
    (directory / "tested.py").write_text(_without_tests(test))
    return directory


def _read(tar: tarfile.TarFile, name: str) -> str:
    file = tar.extractfile(name)
    assert file is not None
    return file.read().decode()


def _without_tests(source: str) -> str:
    """Return the modules of a test with those imports that they use."""
    tree = ast.parse(source)
    kinds = [node for node in tree.body if isinstance(node, ast.ClassDef) and "TestCase" not in node.name]
    used = {name.id for kind in kinds for name in ast.walk(kind) if isinstance(name, ast.Name)}
    parts = []
    for node in tree.body:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            node.names = [alias for alias in node.names if (alias.asname or alias.name) in used]
            if node.names:
                parts.append(ast.unparse(node))
        elif node in kinds and isinstance(node, ast.ClassDef) and not _is_test_case(node):
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            parts.append("\n".join(source.splitlines()[first - 1 : node.end_lineno]))
    return "\n\n\n".join(parts) + "\n"


def _is_test_case(node: ast.ClassDef) -> bool:
    return any(isinstance(base, ast.Name) and base.id.endswith("TestCase") for base in node.bases)


@asynccontextmanager
async def hosting(site: Site, path: Path, module: str, config: str = "") -> AsyncIterator[Client]:
    """Run the host, and yield a client that asks it."""
    file = site.directory / f"{module}.yaml"
    file.write_text(config)
    prefix = module.lower().rpartition(".")[2]
    command = [sys.executable, "-m", "presence_router.host", "--module", module, "--config", str(file)]
    command += ["--prefix", f"{prefix}.router", "--url", site.url, "--server-name", "example.com"]
    log = site.directory / f"{module}.log"
    with log.open("wb") as output:
        host = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(path)}, stderr=output)
    try:
        async with await connect(site.url) as nc:
            client = Client(nc, prefix)
            await _ready(client, host, log)
            yield client
        host.send_signal(signal.SIGTERM)
        assert host.wait(BOUND) == 0, log.read_text()
    finally:
        host.kill()
        host.wait()


async def _ready(client: Client, host: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + BOUND
    while True:
        assert host.poll() is None, log.read_text()
        try:
            await client.interested_users(ALICE, timeout=1)
        except UnavailableError:
            assert time.monotonic() < deadline, log.read_text()
        else:
            return


async def routes(client: Client, states: list[UserState]) -> dict[UserID, tuple[UserState, ...]]:
    return {user.user_id: user.states async for user in client.users_for_states(states)}


async def sees(client: Client, user: UserID) -> list[UserID]:
    return [one async for one in (await client.interested_users(user)).users()]


async def test_documented_example(shared_site: Site, synapse_modules: Path) -> None:
    async with hosting(shared_site, synapse_modules, "documented.CustomPresenceRouter") as client:
        states = [
            UserState(CHARLIE, "busy", 1),
            UserState(DAVE, "online"),
            decode_update(RAW),
            UserState(BOB, "offline"),
        ]
        found = await routes(client, states)
        assert found == {ALICE: (states[0], states[2], states[3])}
        assert encode_state(found[ALICE][1]) == RAW
        assert await sees(client, ALICE) == [BOB, CHARLIE]
        assert await sees(client, BOB) == []


@pytest.mark.parametrize("module", ["PresenceRouterTestModule", "LegacyPresenceRouterTestModule"])
async def test_modules_of_the_test_of_synapse(shared_site: Site, synapse_modules: Path, module: str) -> None:
    config = f'users_who_should_receive_all_presence: ["{GOBBLER}", "@other:example.com"]'
    async with hosting(shared_site, synapse_modules, f"tested.{module}", config) as client:
        states = [UserState(UserID(f"@u{i}:example.com"), "online", i) for i in range(50)]
        found = await routes(client, states)
        assert found == {GOBBLER: tuple(states), UserID("@other:example.com"): tuple(states)}
        assert (await client.interested_users(GOBBLER)).all_users
        assert await sees(client, ALICE) == []


async def test_module_that_uses_all_of_the_host(shared_site: Site) -> None:
    async with hosting(shared_site, Path(__file__).parent, "hosted_modules.Busy", "mode: altered") as client:
        states = [UserState(BOB, "online", 1), UserState(CHARLIE, "online", 2)]
        found = await routes(client, states)
        altered = tuple(UserState(s.user_id, s.state, s.last_active_ts, status_msg="altered") for s in states)
        made_up = UserState(UserID("@made_up:example.com"), "offline")
        assert found == {ALICE: altered, DAVE: (*states, made_up)}, "what is no set ends the entries"
        deadline = time.monotonic() + BOUND
        while UserID("@ticked:example.com") not in (seen := await sees(client, UserID("@send:example.com"))):
            assert time.monotonic() < deadline
        assert UserID("@watcher:example.com") in seen
        assert UserID("@mine:example.com") in seen
        assert UserID("@called_1:example.com") in seen
        assert (await client.interested_users(UserID("@everybody:example.com"))).all_users
        with pytest.raises(
            QueryError, match=r"the module uses ModuleApi\.run_db_interaction, which needs a homeserver"
        ):
            await client.interested_users(UserID("@database:example.com"))


async def test_module_of_the_old_style(shared_site: Site) -> None:
    config = f'users: ["{GOBBLER}"]'
    async with hosting(shared_site, Path(__file__).parent, "hosted_modules.Legacy", config) as client:
        assert await routes(client, [UserState(BOB, "online")]) == {GOBBLER: (UserState(BOB, "online"),)}
        assert (await client.interested_users(GOBBLER)).all_users


async def test_host_ends_if_the_server_ends_its_connection(shared_site: Site, tmp_path: Path) -> None:
    log, module = tmp_path / "host.log", tmp_path / "module.yaml"
    module.write_text("mode: altered")
    async with between(shared_site) as (url, clients):
        command = [sys.executable, "-m", "presence_router.host", "--module", "hosted_modules.Busy", "--url", url]
        command += ["--prefix", "ended.router", "--config", str(module)]
        with log.open("wb") as output:
            host = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(Path(__file__).parent)}, stderr=output)
        try:
            deadline = time.monotonic() + BOUND
            while "answers below ended.router" not in log.read_text():
                assert time.monotonic() < deadline, log.read_text()
                await asyncio.sleep(0.02)
            clients[0].write(b"-ERR 'maximum connections exceeded'\r\n")
            assert await asyncio.to_thread(host.wait, BOUND) == 1
            assert "NATS ended the connection: nats: maximum connections exceeded" in log.read_text()
        finally:
            host.kill()
            host.wait()


@asynccontextmanager
async def between(site: Site) -> AsyncIterator[tuple[str, list[asyncio.StreamWriter]]]:
    """Stand between a server and a client; yield the URL of that place, and the ways to the clients."""
    clients: list[asyncio.StreamWriter] = []

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            writer.write(data)
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection("127.0.0.1", site.server.port)
        clients.append(writer)
        await asyncio.gather(pass_on(reader, to_server), pass_on(from_server, writer), return_exceptions=True)

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        yield f"nats://127.0.0.1:{port}", clients


@pytest.mark.parametrize(
    ("module", "config", "says"),
    [
        ("hosted_modules.Busy", "{}", "configuration of hosted_modules.Busy: ConfigError: mode is missing"),
        ("hosted_modules.Busy", "{", "is no YAML"),
        ("hosted_modules.Nothing", "{}", "Nothing registers no presence router callbacks"),
        ("hosted_modules.Missing", "{}", "cannot be imported"),
        ("nowhere.Missing", "{}", "cannot be imported"),
        ("Missing", "{}", "want package.Class"),
    ],
)
def test_what_cannot_be_hosted(shared_site: Site, tmp_path: Path, module: str, config: str, says: str) -> None:
    file = tmp_path / "module.yaml"
    file.write_text(config)
    command = [sys.executable, "-m", "presence_router.host", "--module", module, "--config", str(file)]
    host = subprocess.run(
        [*command, "--prefix", "my.router", "--url", shared_site.url],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parent)},
        capture_output=True,
        text=True,
        timeout=BOUND,
        check=False,
    )
    assert host.returncode == 1
    assert says in host.stderr
