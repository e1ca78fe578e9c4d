"""Where a request arrives: by path and method to its handler, and whatever goes wrong to a problem document.

These are plain Starlette routes on the application: FastAPI's own routing takes half of a command's time.
Each path has one endpoint for all of its methods, so that a 405 can say which ones there are.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

import structlog
from prometheus_client import Counter, Histogram
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from services.commitments.domain.refusals import Refused
from services.commitments.handling import Ledger, Overloaded, Unavailable
from services.commitments.http.problems import Problem, Told, problem, refused

log = structlog.get_logger()

REQUESTS: Final = Counter("muster_http_requests", "Requests by route and status", ["method", "route", "status"])
DURATION: Final = Histogram(
    "muster_http_request_seconds",
    "From the head of a request to the head of its answer",
    ["method", "route"],
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5),
)


@dataclass(frozen=True, slots=True)
class Service:
    """What handlers work with."""

    ledger: Ledger
    name: str  # of the ledger


Handler = Callable[[Request, Service], Awaitable[Response]]


class Endpoint:
    """All methods of one path."""

    def __init__(self, path: str, handlers: Mapping[str, Handler]) -> None:
        self.path = path
        self._handlers = dict(handlers)
        if "GET" in handlers:
            self._handlers["HEAD"] = handlers["GET"]
        self._requests: dict[tuple[str, int], Counter] = {}
        self._durations: dict[str, Histogram] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; count it, and how long it took."""
        method: str = scope["method"]
        begun = time.perf_counter()

        response = await self._respond(Request(scope, receive), method)
        self._count(method, response.status_code, time.perf_counter() - begun)
        await response(scope, receive, send)

    async def _respond(self, request: Request, method: str) -> Response:
        handler = self._handlers.get(method)
        if handler is None:
            allowed = ", ".join(sorted(self._handlers))
            return problem(
                "method-not-allowed", f"this path takes {allowed}", headers={"Allow": allowed}
            ).told.response()
        try:
            return await handler(request, request.app.state.service)
        except Exception as error:  # noqa: BLE001  # every failure of a handler becomes its problem document
            return told(error).response()

    def _count(self, method: str, status: int, seconds: float) -> None:
        known = method if method in self._handlers else "other"
        requests = self._requests.get((known, status))
        if requests is None:
            requests = self._requests[known, status] = REQUESTS.labels(known, self.path, status)
        durations = self._durations.get(known)
        if durations is None:
            durations = self._durations[known] = DURATION.labels(known, self.path)
        requests.inc()
        durations.observe(seconds)


def told(error: Exception) -> Told:
    """Tell what went wrong; what nobody foresaw is logged, and answered without its details."""
    match error:
        case Problem():
            return error.told
        case Refused():
            return refused(error)
        case Unavailable():
            code = "overloaded" if isinstance(error, Overloaded) else "unavailable"
            return problem(code, str(error), headers={"Retry-After": str(error.retry_after_s)}).told
        case ClientDisconnect():
            return problem("malformed", "the request ended before its body did").told
        case asyncio.CancelledError():
            raise error
        case _:
            log.error("a request failed", exc_info=error)
            return problem("internal", "the request could not be answered; what happened is in this service's log").told
