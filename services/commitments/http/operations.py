"""What whoever runs the service looks at, and the documents that describe it."""

from __future__ import annotations

from dataclasses import replace
from html import escape
from typing import Any, Final

from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from services.commitments.http.asyncapi import asyncapi
from services.commitments.http.endpoint import Handler, Service
from services.commitments.http.openapi import document
from services.commitments.http.problems import pages, problem
from services.commitments.http.schemas import schema_of
from shared.events import EVENT_TYPES

PAGE: Final = """<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width"><style>
body{{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color-scheme:light dark}}
code{{font-family:ui-monospace,monospace}} td{{padding:.25rem 1rem .25rem 0;vertical-align:top}}
</style><h1>{title}</h1>{body}</html>"""


async def healthz(_: Request, __: Service) -> Response:
    """Say that the process runs."""
    return JSONResponse({"status": "alive"})


async def readyz(_: Request, service: Service) -> Response:
    """Say whether commands can be recorded, and why not."""
    why = await service.ledger.not_ready()
    if why is None:
        return JSONResponse({"status": "ready", "problems": []})
    told = problem("unavailable", f"not ready: {why}", headers={"Retry-After": "1"}).told
    return replace(told, facts={"problems": [why]}).response()


async def metrics(_: Request, __: Service) -> Response:
    """Give this process's metrics to Prometheus."""
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


async def openapi(_: Request, __: Service) -> Response:
    """Give the OpenAPI document."""
    return JSONResponse(document())


async def asyncapi_document(_: Request, service: Service) -> Response:
    """Give the AsyncAPI document of the event stream."""
    return JSONResponse(asyncapi(service.name))


async def schema(request: Request, _: Service) -> Response:
    """Give the JSON Schema of one type of event."""
    name = request.path_params["type"]
    if name not in EVENT_TYPES:
        raise problem("not-found", f"there is no type of event {name[:80]}")
    return JSONResponse(schema_of(name), media_type="application/schema+json")


async def docs(_: Request, __: Service) -> Response:
    """List the operations, out of the OpenAPI document."""
    found: dict[str, Any] = document()["paths"]
    rows = "".join(
        f"<tr><td><code>{method.upper()}</code><td><code>{escape(path)}</code><td>{escape(operation['summary'])}"
        for path, methods in found.items()
        for method, operation in methods.items()
    )
    links = '<p><a href="/openapi.json">OpenAPI</a> · <a href="/asyncapi.json">AsyncAPI of the event stream</a></p>'
    return HTMLResponse(PAGE.format(title="Muster: commands", body=f"{links}<table>{rows}</table>"))


async def problem_page(request: Request, _: Service) -> Response:
    """Say what a problem is: its `type` leads here."""
    code = request.path_params["code"]
    found = pages().get(code)
    if found is None:
        raise problem("not-found", f"there is no problem {code[:80]}")
    status, title = found
    body = f"<p>{escape(title)}</p><p>Answered with status {status}.</p>"
    return HTMLResponse(PAGE.format(title=escape(code), body=body))


HANDLERS: Final[dict[str, Handler]] = {
    "/healthz": healthz,
    "/readyz": readyz,
    "/metrics": metrics,
    "/openapi.json": openapi,
    "/asyncapi.json": asyncapi_document,
    "/schemas/{type}.json": schema,
    "/docs": docs,
    "/problems/{code}": problem_page,
}
