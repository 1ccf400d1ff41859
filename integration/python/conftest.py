"""Fixtures: deployments whose programs are built from this repository."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from deployment import REPOSITORY, Site, connect

from presence_router.client import Client


@pytest.fixture(scope="session")
def binaries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("binaries")
    for name, package in (
        ("router-worker", "./cmd/router-worker"),
        ("nats-server", "github.com/nats-io/nats-server/v2"),
    ):
        subprocess.run(["go", "build", "-o", str(directory / name), package], cwd=REPOSITORY, check=True)
    return directory


@pytest.fixture(scope="session")
def shared_site(binaries: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Yield a deployment for tests that break nothing."""
    site = Site(binaries, tmp_path_factory.mktemp("site"))
    try:
        site.start_worker()
        yield site
    finally:
        site.close()


@pytest.fixture
def own_site(binaries: Path, tmp_path: Path) -> Iterator[Site]:
    """Yield a deployment that the test may break."""
    site = Site(binaries, tmp_path / "site")
    try:
        site.start_worker()
        yield site
    finally:
        site.close()


@pytest.fixture
def bare_site(binaries: Path, tmp_path: Path) -> Iterator[Site]:
    """Yield a server without streams and without a worker, until the test starts one."""
    site = Site(binaries, tmp_path / "site")
    try:
        yield site
    finally:
        site.close()


@pytest.fixture
async def shared(shared_site: Site) -> AsyncIterator[Client]:
    async with await connect(shared_site.url) as nc:
        yield Client(nc)
