"""The examples of the README run."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest
from deployment import ALICE, BOB, BOUND, Site

from presence_router.wire import UserState

README = Path(__file__).parents[1] / "README.md"


async def test_examples_run(shared_site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    example: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL):
        exec(block, example)  # noqa: S102 # It is what readers copy.
    client = await example["connect"](shared_site.url)
    try:
        assert await example["publish"](client) > 0
        saved = await asyncio.wait_for(example["read"](client, ""), BOUND)
        assert await asyncio.wait_for(example["read"](client, saved), BOUND) != saved
        await example["ask"](client, ALICE, [UserState(BOB, "online")])
        await example["serve"](client)
    finally:
        await client.nc.close()
    printed = capsys.readouterr().out
    assert "receives 1 states" in printed
    assert "@alice:example.com would receive 1 state" in printed
