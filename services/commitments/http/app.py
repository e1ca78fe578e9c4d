"""The write side over HTTP: commands, the things they made, and the log as a feed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from services.commitments.handling import ledger
from services.commitments.http import feed, imports, operations, things
from services.commitments.http.commands import COMMANDS, match
from services.commitments.http.endpoint import Endpoint, Handler, Service, told
from services.commitments.http.openapi import document
from services.commitments.http.problems import http_error
from services.commitments.http.recording import taking
from services.commitments.settings import Settings


class Application(FastAPI):
    """Takes commands to their endpoints by itself: what FastAPI does on the way is a quarter of a command's time.

    Everything else, and a command's path with another method, goes the usual way. Endpoints answer their own failures,
    so no middleware is missed on the short way.
    """

    endpoints: Mapping[str, Endpoint]  # by their paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        found = match(scope["method"], scope["path"]) if scope["type"] == "http" else None
        if found is None:
            await super().__call__(scope, receive, send)
        else:
            route, names = found
            scope["app"], scope["path_params"] = self, names
            await self.endpoints[route.path](scope, receive, send)


def create_app(settings: Settings) -> FastAPI:
    """Make the application of one process; the log is reached when the first command comes."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with ledger(settings) as opened:
            app.state.service = Service(opened, settings.ledger)
            yield

    app = Application(
        title="Muster: commands",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
    )
    app.endpoints = {path: Endpoint(path, handlers) for path, handlers in paths().items()}
    for path, endpoint in app.endpoints.items():
        app.router.routes.append(Route(path, endpoint))

    @app.exception_handler(HTTPException)
    async def framework(_: Request, error: HTTPException) -> Response:
        return http_error(error).response()

    @app.exception_handler(Exception)
    async def unforeseen(_: Request, error: Exception) -> Response:
        return told(error).response()

    app.openapi = document  # type: ignore[method-assign]  # the way that FastAPI documents
    return app


def paths() -> dict[str, Mapping[str, Handler]]:
    """Give every path with the handlers of its methods."""
    found: dict[str, dict[str, Handler]] = {}
    for route in COMMANDS:
        found.setdefault(route.path, {})[route.method] = taking(route)
    for path, handler in things.HANDLERS.items():
        found.setdefault(path, {})["GET"] = handler
    found["/v1/imports"] = {"POST": imports.take}
    gets: dict[str, Handler] = {
        "/v1/events": feed.events,
        "/v1/events/{event_id}": feed.event,
        "/v1/streams/{stream}/events": feed.stream_events,
        "/v1/stream": feed.stream,
        **operations.HANDLERS,
    }
    for path, handler in gets.items():
        found.setdefault(path, {})["GET"] = handler
    return dict(found)
