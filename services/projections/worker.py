"""The worker's process: the projector, and beside it a few pages for whoever supervises it."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Iterator

import uvicorn
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from services.projections.consumer import Stream
from services.projections.database import WRITER_SETTINGS, engine
from services.projections.figures import families
from services.projections.garbage import collect_seldom
from services.projections.projector import Projector
from services.projections.read_models import READ_MODELS
from services.projections.settings import Settings


async def work(settings: Settings) -> None:
    """Move the read models until SIGTERM or SIGINT, or until the projector fails in a way that it does not know."""
    database = engine(
        settings.database_url,
        process="worker",
        connections=2,
        pgbouncer=settings.pgbouncer,
        settings=WRITER_SETTINGS,
    )
    stream = Stream(settings.nats_url, settings.ledger, most=settings.worker_batch)
    projector = Projector(database, READ_MODELS, stream, most=settings.worker_batch, tells=True)
    server = Server(
        uvicorn.Config(
            pages(projector), host=settings.worker_host, port=settings.worker_port, log_level="warning", lifespan="off"
        )
    )
    loop = asyncio.get_running_loop()
    working = asyncio.create_task(projector.run(), name="projector")
    serving = asyncio.create_task(server.serve(), name="pages")
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, working.cancel)
    collect_seldom()
    try:
        await asyncio.wait((working, serving), return_when=asyncio.FIRST_COMPLETED)
    finally:
        server.should_exit = True
        working.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await working
        await serving
        await stream.close()
        await database.dispose()


class Server(uvicorn.Server):
    """Uvicorn beside other work: signals are for whoever runs both."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave them alone."""
        yield


def pages(projector: Projector) -> Starlette:
    """`/healthz`: it runs. `/readyz`: every read model moves, or why not. `/metrics`: for Prometheus."""
    registry = CollectorRegistry()
    registry.register(Progress(projector))

    async def healthz(_: Request) -> Response:  # a plain function would be sent to a thread
        return JSONResponse({"status": "alive"})

    async def readyz(_: Request) -> Response:
        problems = projector.problems
        return JSONResponse(
            {"status": "not ready" if problems else "ready", "problems": problems}, status_code=503 if problems else 200
        )

    async def metrics(_: Request) -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return Starlette(routes=[Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", metrics)])


class Progress(Collector):
    """How far each read model is, at the moment of asking."""

    def __init__(self, projector: Projector) -> None:
        """Look at one projector."""
        self._projector = projector

    def collect(self) -> Iterator[Metric]:
        """Give the figures of every read model, and of the worker itself."""
        yield from families(list(self._projector.checkpoints.values()))
        yield GaugeMetricFamily(
            "muster_worker_ready", "1 when nothing is wrong.", value=int(not self._projector.problems)
        )
        yield CounterMetricFamily("muster_events_applied", "Events applied.", value=self._projector.applied)
