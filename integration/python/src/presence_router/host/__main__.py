"""Serve an unmodified Synapse module: python -m presence_router.host --help."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nats
from nats.aio.client import Client as NATS

from presence_router.client import Client
from presence_router.router import Service
from presence_router.wire import DEFAULT_PREFIX, ServerName, WireError

from . import synapse_stub
from .hosted import HostError, load
from .module_api import ModuleApi

log = logging.getLogger("presence_router.host")


def main() -> None:
    """Run until SIGINT or SIGTERM."""
    arguments = _parse(sys.argv[1:])
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
    try:
        asyncio.run(_serve(arguments))
    except (HostError, WireError, ValueError, nats.errors.Error) as e:
        sys.exit(f"presence_router.host: {e}")


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m presence_router.host",
        description="Serve an unmodified Synapse module with presence router callbacks over NATS.",
    )
    parser.add_argument("--module", required=True, metavar="PACKAGE.CLASS", help="the module, importable from here")
    parser.add_argument("--config", type=Path, metavar="FILE", help="its configuration: JSON, or YAML with PyYAML")
    parser.add_argument("--prefix", required=True, help="what the subjects of its questions begin with: my.router")
    parser.add_argument("--url", default="nats://127.0.0.1:4222", help="NATS servers, separated by commas")
    parser.add_argument("--credentials", metavar="FILE", help="file of NATS credentials")
    parser.add_argument("--inbox-prefix", default="_INBOX", help="what the subjects of answers to it begin with")
    parser.add_argument(
        "--server-name", default="localhost", type=ServerName, help="the homeserver it takes itself for"
    )
    parser.add_argument(
        "--deployment", default=DEFAULT_PREFIX, help="streams.subject_prefix, for send_local_online_presence_to"
    )
    return parser.parse_args(arguments)


async def _serve(arguments: argparse.Namespace) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    synapse_stub.install(ModuleApi)
    config = _read(arguments.config) if arguments.config else {}
    closed = asyncio.Event()
    nc = await _connect(arguments, closed)
    api = ModuleApi(arguments.server_name, Client(nc, arguments.deployment))
    try:
        hosted = load(arguments.module, config, api)
        service = Service(
            nc,
            arguments.prefix,
            users_for_states=hosted.users_for_states,
            interested_users=hosted.interested_users,
        )
        async with service:
            log.info("module %s answers below %s", arguments.module, arguments.prefix)
            await _first_of(stop, closed)
        if not stop.is_set():
            raise HostError(f"NATS ended the connection: {nc.last_error}")
    finally:
        api.close()
        await nc.close()


async def _connect(arguments: argparse.Namespace, closed: asyncio.Event) -> NATS:
    async def ended() -> None:
        closed.set()

    async def say(error: Exception) -> None:
        log.warning("NATS: %s", str(error) or type(error).__name__)

    return await nats.connect(
        arguments.url.split(","),
        name="presence_router.host",
        max_reconnect_attempts=-1,
        user_credentials=arguments.credentials,
        inbox_prefix=arguments.inbox_prefix,
        error_cb=say,
        closed_cb=ended,
    )


async def _first_of(*events: asyncio.Event) -> None:
    waiting = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()


def _read(path: Path) -> Any:
    try:
        text = path.read_text()
    except OSError as e:
        raise HostError(f"read configuration: {e}") from e
    parse = _parser()
    try:
        return parse(text)
    except json.JSONDecodeError as e:
        raise HostError(f"{path} is no JSON ({e}); for YAML, install PyYAML") from e
    except Exception as e:
        raise HostError(f"{path} is no YAML: {e}") from e


def _parser() -> Callable[[str], Any]:
    try:
        import yaml  # noqa: PLC0415 # Who has JSON needs no YAML.
    except ImportError:
        return json.loads
    return yaml.safe_load


if __name__ == "__main__":
    main()
