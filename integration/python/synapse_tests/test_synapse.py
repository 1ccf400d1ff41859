"""bob's presence reaches alice, with whom he shares no room, by the module alone."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from deployment import Site, connect
from homeserver import Homeserver, User

from presence_router.wire import decode_update

SLOW_MACHINE = 20.0
"""Seconds that a PUT may take here: much more than both deadlines of the module, and less than one of nats-py."""
OUTAGE = 4.0


@contextmanager
def synapse(directory: Path, url: str = "", **environment: str) -> Iterator[Homeserver]:
    module: dict[str, Any] = {"module": "presence_router.synapse.PresenceRouter", "config": {"url": url}}
    homeserver = Homeserver(directory / "synapse", [module] if url else [], **environment)
    try:
        homeserver.start()
        yield homeserver
        assert "Traceback" not in homeserver.log(), homeserver.log()
    finally:
        homeserver.close()


def test_presence_reaches_who_shares_no_room(own_site: Site, tmp_path: Path) -> None:
    with synapse(tmp_path, own_site.url) as homeserver:
        alice, bob, carol = (homeserver.register(name) for name in ("alice", "bob", "carol"))
        gobbler = homeserver.register("presence_gobbler")
        for user in (alice, carol, gobbler):
            user.sync()
        bob.put("lunch")
        alice.sync_until(bob.user_id, "lunch")
        gobbler.sync_until(bob.user_id, "lunch")
        assert bob.user_id not in carol.sync(1.0)
        assert published(own_site).count("lunch") == 1
        assert gobbler.sync(initial=True)[bob.user_id] == "lunch"
        check_outages(own_site, alice, bob, gobbler)
        assert bob.user_id not in carol.sync(1.0)


def published(site: Site) -> list[str | None]:
    """Return the status messages of the updates that are stored, once there are any."""

    async def read() -> list[str | None]:
        async with await connect(site.url) as nc:
            js = nc.jetstream()
            while not (last := (await js.stream_info("PRESENCE_UPDATES")).state.last_seq):
                await asyncio.sleep(0.05)
            messages = [await js.get_msg("PRESENCE_UPDATES", sequence) for sequence in range(1, last + 1)]
            return [decode_update(message.data or b"").status_msg for message in messages]

    return asyncio.run(read())


def check_outages(site: Site, alice: User, bob: User, gobbler: User) -> None:
    """Have bob put while something is away: no client sees an error, and everything is routed again at the end."""
    for name, begin, end in (
        ("worker stopped", site.worker.pause, site.worker.resume),
        ("worker killed", site.worker.kill, site.worker.start),
        ("NATS stopped", site.server.process.pause, site.server.process.resume),
        ("NATS killed", site.server.process.kill, site.server.start),
    ):
        begin()
        slowest = puts(bob, name, gobbler.sync)
        end()
        assert slowest < SLOW_MACHINE, f"{name}: a PUT took {slowest:.1f} s"
        again(alice, bob, f"after {name}")


def puts(bob: User, name: str, sync: Callable[[], object]) -> float:
    """Put every 100 ms while another user syncs, and return the seconds that the slowest took."""
    took: list[float] = []
    ends = time.monotonic() + OUTAGE
    syncing = threading.Thread(target=sync)
    syncing.start()
    while time.monotonic() < ends:
        took.append(bob.put(f"{name} {len(took)}"))
        time.sleep(0.1)
    syncing.join()
    return max(took)


def again(alice: User, bob: User, message: str) -> None:
    """Put until alice sees it: the first ones may come before the connection is back."""
    for number in range(60):
        bob.put(f"{message} {number}")
        if f"{message} {number}" == alice.sync(1.0).get(bob.user_id):
            return
    pytest.fail(f"alice does not see bob's presence {message}")


def test_presence_does_not_reach_him_without_the_module(tmp_path: Path) -> None:
    with synapse(tmp_path) as homeserver:
        alice, bob = homeserver.register("alice"), homeserver.register("bob")
        alice.sync()
        bob.put("lunch")
        assert bob.user_id not in alice.sync(3.0)


def test_synapse_that_starts_before_nats_on_the_other_reactor(own_site: Site, tmp_path: Path) -> None:
    own_site.server.process.kill()
    with synapse(tmp_path, own_site.url, SYNAPSE_ASYNC_IO_REACTOR="1") as homeserver:
        alice, bob = homeserver.register("alice"), homeserver.register("bob")
        alice.sync()
        assert bob.put("alone") < SLOW_MACHINE
        own_site.server.start()
        again(alice, bob, "together")


def test_fault_of_the_configuration_stops_synapse(tmp_path: Path) -> None:
    homeserver = Homeserver(tmp_path / "synapse", [])
    bad = {"module": "presence_router.synapse.PresenceRouter", "config": {"prefix": "No"}}
    config = homeserver.directory / "homeserver.yaml"
    config.write_text(config.read_text().replace('"modules": []', f'"modules": [{str(bad).replace(chr(39), chr(34))}]'))
    homeserver.process.start()
    assert homeserver.process.wait(60) != 0
    assert "modules.<item 0>.config.prefix" in homeserver.log()
