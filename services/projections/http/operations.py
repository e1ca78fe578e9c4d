"""What whoever runs the service looks at: is it alive, can it serve, how much it does; and the list of operations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from time import perf_counter
from typing import Any, Final

import structlog
from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.projections import checkpoints
from services.projections.checkpoints import Checkpoint, silent_s
from services.projections.dashboard.rendering import render
from services.projections.database import is_away
from services.projections.figures import age_s, families, head_of
from services.projections.http.asof import reader
from services.projections.http.problems import KINDS, Problem
from services.projections.read_models import READ_MODELS

LOG: Final = structlog.get_logger(__name__)
BEHIND_TOO_LONG_S: Final = 60.0
"""How far behind the read models may be before readiness says so."""

router = APIRouter(include_in_schema=False)


@router.get("/healthz")
async def healthz() -> Response:
    """Say that the process runs."""
    return JSONResponse({"status": "alive"})


@router.get("/readyz")
async def readyz(request: Request) -> Response:
    """Say whether questions can be answered, and why not; `degraded` where the answers may be older than they say."""
    reasons, doubts = await why_not(request)
    status = "not ready" if reasons else "degraded" if doubts else "ready"
    return JSONResponse({"status": status, "problems": [*reasons, *doubts]}, status_code=503 if reasons else 200)


async def why_not(request: Request) -> tuple[list[str], list[str]]:
    """Give the reasons for which questions cannot be answered now, and what else is not as it should be."""
    try:
        async with reader(request).transaction() as conn:
            found = await checkpoints.load(conn, [(model.name, model.version) for model in READ_MODELS])
    except Exception as error:
        if not is_away(error):
            LOG.exception("readiness_failed")
        return [f"the database cannot be read: {type(error).__name__}"], []
    missing = [f"{model.schema} is not made yet" for model in READ_MODELS if (model.name, model.version) not in found]
    there = list(found.values())
    doubts = []
    silence_s = silent_s(there)
    if there and silence_s:
        doubts = [f"the worker was not heard of for {silence_s:.0f} s: what came since is not known"]
    reasons = [*missing, *_stuck(there, silence_s)]
    return (reasons + doubts, []) if silence_s > BEHIND_TOO_LONG_S else (reasons, doubts)


def _stuck(found: Sequence[Checkpoint], silence_s: float) -> Iterator[str]:
    now, head = datetime.now(UTC), head_of(found)
    for checkpoint in found:
        if checkpoint.status == "stopped":
            yield f"{checkpoint.name} stopped at position {checkpoint.position}: {checkpoint.reason}"
        elif not silence_s and (lag := age_s(checkpoint, head, 0.0, now)) > BEHIND_TOO_LONG_S:
            yield f"{checkpoint.name} is {lag:.0f} s behind, at position {checkpoint.position} of {head}"


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    """Give this process's metrics to Prometheus, and how far the read models are that it answers from."""
    found: Metrics = request.app.state.metrics
    content = generate_latest(found.registry)
    try:
        async with reader(request).transaction() as conn:
            there = await checkpoints.load(conn, [(model.name, model.version) for model in READ_MODELS])
            rebuilds = await checkpoints.rebuilds(conn)
        content += generate_latest(Now(list(families(list(there.values()), list(rebuilds.values())))))
    except Exception as error:
        if not is_away(error):
            raise
    return Response(content, media_type=CONTENT_TYPE_LATEST)


@dataclass(frozen=True)
class Now(Collector):
    """What was found at the moment of asking."""

    found: list[Metric]

    def collect(self) -> Iterator[Metric]:
        """Give it."""
        yield from self.found


@router.get("/docs", response_class=HTMLResponse)
async def docs(request: Request) -> Response:
    """List the operations, out of the OpenAPI document."""
    document: dict[str, Any] = request.app.openapi()
    operations = [
        {"method": method.upper(), "path": path, **operation}
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    return HTMLResponse(render("docs.html", operations=operations, title="Queries"))


@router.get("/problems/{code}", response_class=HTMLResponse)
async def problem(code: str) -> Response:
    """Say what a problem is: its `type` leads here."""
    if code not in KINDS:
        raise Problem("not-found", f"there is no problem {code!r}")
    return HTMLResponse(render("problem.html", code=code, kind=KINDS[code], title=code))


class Metrics:
    """What this process counts."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "muster_http_requests", "Requests answered.", ["route", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "muster_http_request_seconds",
            "Time to answer.",
            ["route"],
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
            registry=self.registry,
        )


class Measured:
    """Counts and times every request by its route, and answers HEAD as GET without the body."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        head = scope["method"] == "HEAD"
        if head:
            scope["method"] = "GET"
        began, status = perf_counter(), 500

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            elif head and message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        try:
            await self.app(scope, receive, answer)
        finally:
            route = getattr(scope.get("route"), "path", "none")
            self.metrics.requests.labels(route, str(status)).inc()
            self.metrics.seconds.labels(route).observe(perf_counter() - began)
