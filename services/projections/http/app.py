"""The queries of the read side, over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import DEFAULT_EXCLUDED_CONTENT_TYPES, GZipMiddleware

from services.projections.charts.renderer import Renderer
from services.projections.database import engine
from services.projections.hearing import hearing
from services.projections.http import (
    archive,
    beneficiaries,
    capabilities,
    changes,
    charts,
    coalitions,
    deliveries,
    diff,
    export,
    facts,
    operations,
    pages,
    parties,
    pledges,
    postings,
    projections,
    statements,
    targets,
    timeline,
    totals,
)
from services.projections.http.asof import Reader
from services.projections.http.export import MEDIA_TYPES, Files
from services.projections.http.operations import Measured, Metrics
from services.projections.http.problems import MEDIA_TYPE, handle_problems
from services.projections.http.remembered import Latest, Remembered
from services.projections.rates import load
from services.projections.settings import Settings

CONNECTIONS = 10
SEEN_BY_SCRIPTS = ("ETag", "Ledger-Position", "Lag-Seconds", "Link", "Retry-After", "Content-Disposition")


def create_app(settings: Settings) -> FastAPI:
    """Make the application of one process; its database is reached when the first question comes."""
    database = engine(
        settings.database_url,
        process="queries",
        connections=CONNECTIONS,
        pgbouncer=settings.pgbouncer,
        begins=False,
    )

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with hearing(settings.nats_url, settings.ledger, app.state.latest.hear):
            yield
        await app.state.changes.close()
        await app.state.renderer.close()
        await database.dispose()

    app = FastAPI(
        title="Muster: queries",
        version=_version(),
        summary="What coalitions promised and what came, as of any day and any position of the ledger.",
        description=(
            "Every answer says its position, its day and how to cite it; every number carries a link to the postings "
            "that make it. Numbers are decimal strings; a `high` of null is open."
        ),
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        separate_input_output_schemas=False,
    )
    app.state.reader = Reader(database, settings.ledger)
    app.state.rates = load(settings.rates)
    app.state.files = Files(app.router, routes=app.routes, ledger=settings.ledger, licence=settings.data_licence)
    app.state.metrics = Metrics()
    app.state.renderer = Renderer()
    app.state.bundle = charts.Bundle()
    app.state.changes = changes.Changes(app.state.reader)
    app.add_middleware(Files, routes=app.routes, ledger=settings.ledger, licence=settings.data_licence)
    app.add_middleware(
        GZipMiddleware,
        minimum_size=1024,
        compresslevel=5,
        exclude_content_types=(*DEFAULT_EXCLUDED_CONTENT_TYPES, MEDIA_TYPES["xlsx"]),
    )
    app.state.latest = Latest(app.state.reader)
    app.add_middleware(Remembered, look=app.state.latest)
    app.add_middleware(
        CORSMiddleware,
        allow_origins=["*"],
        allow_methods=["GET", "HEAD"],
        allow_headers=["*"],
        expose_headers=list(SEEN_BY_SCRIPTS),
    )
    app.add_middleware(Measured, metrics=app.state.metrics)
    handle_problems(app)
    for noun in (
        coalitions,
        totals,
        diff,
        targets,
        pledges,
        postings,
        statements,
        timeline,
        facts,
        export,
        archive,
        parties,
        beneficiaries,
        deliveries,
        capabilities,
        changes,
        charts,
        projections,
        operations,
        pages,
    ):
        app.include_router(noun.router)
    _document(app)
    return app


def _document(app: FastAPI) -> None:
    """Make the OpenAPI document say what every answer carries: problems by their media type, the headers of a 200."""
    made = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = made()
            for path, methods in document["paths"].items():
                for operation in methods.values():
                    answers = operation["responses"]
                    for answer in answers.values():
                        if MEDIA_TYPE in answer.get("content", {}):
                            answer["content"].pop("application/json", None)
                    if path.startswith("/v1/"):
                        answers["200"]["headers"] = HEADERS
                        answers["304"] = {"description": "Not modified: If-None-Match has its ETag"}
            export.document(document["paths"], app.routes)
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # the way that FastAPI documents


HEADERS = {
    "ETag": {"description": "Names this answer", "schema": {"type": "string"}},
    "Ledger-Position": {"description": "Where the read models are", "schema": {"type": "integer"}},
    "Lag-Seconds": {
        "description": "Age of the oldest event that is not applied yet; 0 when caught up",
        "schema": {"type": "number"},
    },
}


def _version() -> str:
    try:
        return version("muster")
    except PackageNotFoundError:
        return "0.0.1"
