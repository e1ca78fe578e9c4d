"""The processes of the commitments service: `python -m services.commitments api | relay`."""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import structlog
import uvicorn
import uvloop
from pydantic import ValidationError

from services.commitments.health import app
from services.commitments.log.store import PostgresLog
from services.commitments.relay import Relay
from services.commitments.settings import Settings

DRAIN_S: Final = 15  # requests that were accepted are answered before the process ends
SILENT_READER_S: Final = 20
USAGE: Final = "usage: python -m services.commitments api | relay"


def api(settings: Settings) -> None:
    """Serve commands and the feed until SIGTERM."""
    from services.commitments.http.app import create_app

    config = uvicorn.Config(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http="httptools",
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,  # nothing here asks who called, or how
        timeout_graceful_shutdown=DRAIN_S,
    )
    tidy()
    uvicorn.Server(config).run(sockets=[listening(config)])


def listening(config: uvicorn.Config) -> socket.socket:
    """Give the socket of a server, which lets go of whoever takes nothing for SILENT_READER_S.

    A response that is cancelled closes its connection only when what it wrote was taken; the kernel need not wait.
    """
    bound = config.bind_socket()
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux; the connections inherit it
        bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, SILENT_READER_S * 1_000)
    return bound


class HealthServer(uvicorn.Server):
    """Serves beside the process's work, and leaves its signals to it."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take none."""
        yield


async def relay(settings: Settings) -> None:
    """Copy the log to the stream until SIGTERM."""
    store = PostgresLog(settings.database_url, pooled=settings.pgbouncer)
    copying = Relay(store, ledger=settings.ledger, nats_url=settings.nats_url, replicas=settings.stream_replicas)
    config = uvicorn.Config(
        app(lambda: copying.why_not),
        host=settings.relay_host,
        port=settings.relay_port,
        log_level="warning",
        access_log=False,
        lifespan="off",
    )
    told_to_end = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told_to_end.set)
    tasks = [
        asyncio.create_task(copying.run(), name="relay"),
        asyncio.create_task(HealthServer(config).serve(), name="health"),
        asyncio.create_task(told_to_end.wait(), name="signals"),
    ]
    tidy()
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await store.close()


def tidy() -> None:
    """Let the collector leave alone what stays for good: its full runs were the longest pauses of the process."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 10, 10)


def main() -> None:
    """Run what the command line names, as the environment says."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    match sys.argv[1:]:
        case ["api"]:
            api(settings_or_exit())
        case ["relay"]:
            uvloop.run(relay(settings_or_exit()))
        case _:
            sys.exit(USAGE)


def settings_or_exit() -> Settings:
    """Read the environment; where it is wrong, say how and end."""
    try:
        return Settings.model_validate({})  # all comes from the environment
    except ValidationError as wrong:
        sys.exit("\n".join(f"{error['loc'][0]}: {error['msg']}" for error in wrong.errors()))


if __name__ == "__main__":
    main()
