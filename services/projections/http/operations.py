"""What whoever runs the service looks at: is it alive, can it serve, how much it does; and the list of operations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from time import perf_counter
from typing import Any, Final

import structlog
from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.projections import checkpoints
from services.projections.checkpoints import Checkpoint
from services.projections.dashboard.rendering import render
from services.projections.database import is_away
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
    """Say whether questions can be answered, and why not."""
    reasons = await why_not(request)
    body = {"status": "not ready" if reasons else "ready", "problems": reasons}
    return JSONResponse(body, status_code=503 if reasons else 200)


async def why_not(request: Request) -> list[str]:
    """Give the reasons for which questions cannot be answered now."""
    try:
        async with reader(request).transaction() as conn:
            found = await checkpoints.load(conn, [(model.name, model.version) for model in READ_MODELS])
    except Exception as error:
        if not is_away(error):
            LOG.exception("readiness_failed")
        return [f"the database cannot be read: {type(error).__name__}"]
    missing = [f"{model.schema} is not made yet" for model in READ_MODELS if (model.name, model.version) not in found]
    return [*missing, *_stuck(list(found.values()))]


def _stuck(found: Sequence[Checkpoint]) -> Iterator[str]:
    now = datetime.now(UTC)
    for checkpoint in found:
        if checkpoint.status == "stopped":
            yield f"{checkpoint.name} stopped at position {checkpoint.position}: {checkpoint.reason}"
        elif (lag := checkpoint.lag_s(now)) > BEHIND_TOO_LONG_S:
            yield f"{checkpoint.name} is {lag:.0f} s behind, at position {checkpoint.position} of {checkpoint.head}"


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    """Give this process's metrics to Prometheus."""
    found: Metrics = request.app.state.metrics
    return Response(generate_latest(found.registry), media_type=CONTENT_TYPE_LATEST)


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
