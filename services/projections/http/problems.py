"""Every 4xx and 5xx as a problem document (RFC 9457): one table of codes, one handler for each kind of exception."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

import asyncpg
import msgspec
import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.exc import TimeoutError as NoConnectionFree
from starlette.exceptions import HTTPException

from services.projections.dashboard.rendering import render
from services.projections.database import is_away

MEDIA_TYPE: Final = "application/problem+json"
LOG: Final = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of problem: its status, and its title, the same whenever it occurs."""

    status: int
    title: str


KINDS: Final[Mapping[str, Kind]] = {
    "bad-request": Kind(400, "The request could not be read."),
    "not-found": Kind(404, "There is no such page."),
    "unknown": Kind(404, "The ledger does not know this name, at the position asked for."),
    "not-yet-set": Kind(404, "The target was not set by the day asked for."),
    "method-not-allowed": Kind(405, "This address answers other methods."),
    "invalid": Kind(422, "A field is wrong."),
    "not-yet": Kind(422, "The ledger has not come to the position or the moment asked for."),
    "behind": Kind(503, "The read side has not applied that position yet."),
    "filling": Kind(503, "The read models are being made."),
    "busy": Kind(503, "There is too much to do at the moment."),
    "unavailable": Kind(503, "The database cannot be reached."),
    "internal": Kind(500, "Something is broken on our side."),
}
"""All codes of this service; a status that has none of its own is named by HTTP."""

RETRY_AFTER_S: Final = 1


class Pointed(BaseModel):
    """One field that is wrong, by its place."""

    model_config = ConfigDict(extra="forbid")

    pointer: str = Field(description="Where it is: `/query/on`, `/path/coalition`")
    detail: str


class ProblemDocument(BaseModel):
    """What every 4xx and 5xx says (RFC 9457)."""

    model_config = ConfigDict(extra="forbid")

    type: str = Field(examples=["/problems/not-yet"])
    title: str
    status: int
    detail: str
    code: str
    errors: list[Pointed] = []
    position: int | None = Field(default=None, description="Where the read side is, when that helps")


class Problem(Exception):  # it is a document, not a failure of ours
    """Answers the request with a problem document.

    `errors` are (pointer, detail); `position` is where the read side is, when that helps.
    """

    def __init__(
        self, code: str, detail: str, *, errors: Iterable[tuple[str, str]] = (), position: int | None = None
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.errors = tuple(errors)
        self.position = position

    @property
    def status(self) -> int:
        """The HTTP status."""
        return KINDS[self.code].status


def unknown(kind: str, name: str) -> Problem:
    """Say that a name in the path is not known."""
    return Problem("unknown", f"there is no {kind} {name!r} as known at this position")


def document(
    code: str,
    detail: str,
    *,
    kind: Kind,
    errors: Iterable[tuple[str, str]] = (),
    position: int | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Write a problem document."""
    body: dict[str, Any] = {
        "type": f"/problems/{code}",
        "title": kind.title,
        "status": kind.status,
        "detail": detail,
        "code": code,
        "errors": [{"pointer": pointer, "detail": why} for pointer, why in errors],
    }
    if position is not None:
        body["position"] = position
    known = dict(headers or {}) | {"Cache-Control": "no-store"}
    if kind.status == HTTPStatus.SERVICE_UNAVAILABLE:
        known.setdefault("Retry-After", str(RETRY_AFTER_S))
    return Response(msgspec.json.encode(body), kind.status, known, MEDIA_TYPE)


def of_problem(problem: Problem) -> Response:
    """Answer with a problem of ours."""
    kind = KINDS[problem.code]
    return document(problem.code, problem.detail, kind=kind, errors=problem.errors, position=problem.position)


def handle_problems(app: FastAPI) -> None:
    """Let an app answer every refusal and failure with a problem document."""

    @app.exception_handler(Problem)
    async def ours(request: Request, problem: Problem) -> Response:
        if _is_page(request):
            page = render("problem.html", code=problem.code, kind=KINDS[problem.code], title="", detail=problem.detail)
            return HTMLResponse(page, problem.status, {"Cache-Control": "no-store"})
        return of_problem(problem)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, refused: RequestValidationError) -> Response:
        errors = [("/" + "/".join(map(str, error["loc"])), _what(error)) for error in refused.errors()]
        detail = "; ".join(f"{pointer.removeprefix('/query/')}: {why}" for pointer, why in errors)
        return document("invalid", detail, kind=KINDS["invalid"], errors=errors)

    @app.exception_handler(HTTPException)
    async def framework(request: Request, refused: HTTPException) -> Response:
        code = {400: "bad-request", 404: "not-found", 405: "method-not-allowed"}.get(refused.status_code)
        if code is None:
            status = HTTPStatus(refused.status_code)
            code, kind = status.phrase.lower().replace(" ", "-"), Kind(status, f"{status.phrase}.")
        else:
            kind = KINDS[code]
        detail = f"{request.method} {request.url.path}: {refused.detail}"
        return document(code, detail, kind=kind, headers=refused.headers)

    @app.exception_handler(NoConnectionFree)
    async def crowded(_: Request, __: NoConnectionFree) -> Response:
        return document("busy", "more is asked than can be answered at once; ask again soon", kind=KINDS["busy"])

    @app.exception_handler(SQLAlchemyError)
    async def database(request: Request, error: SQLAlchemyError) -> Response:
        return _failed(request, error)

    @app.exception_handler(asyncpg.PostgresError)
    @app.exception_handler(asyncpg.InterfaceError)
    async def driver(request: Request, error: Exception) -> Response:
        return _failed(request, error)

    @app.exception_handler(OSError)
    async def network(request: Request, error: OSError) -> Response:
        return _failed(request, error)

    @app.exception_handler(Exception)
    async def anything(request: Request, error: Exception) -> Response:
        return _failed(request, error)


def _is_page(request: Request) -> bool:
    """Whether a person reads the answer: pages say in HTML what is wrong, to whoever asks for HTML."""
    return not request.url.path.startswith("/v1/") and "text/html" in request.headers.get("Accept", "")


def _failed(request: Request, error: Exception) -> Response:
    if is_away(error):
        LOG.warning("database_away", path=request.url.path, error=repr(error)[:300])
        return document("unavailable", "the read side's database does not answer", kind=KINDS["unavailable"])
    LOG.error("request_failed", path=request.url.path, exc_info=error)
    return document("internal", "the request was fine; it failed here and was logged", kind=KINDS["internal"])


def _what(error: Mapping[str, Any]) -> str:
    match error["type"]:
        case "extra_forbidden":
            return "there is no such parameter here"
        case "value_error":
            return str(error["ctx"]["error"])
        case _:
            return str(error["msg"])


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Document the problems that a route answers with; 422, 500 and 503 every route can."""
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "model": ProblemDocument,
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}},
        }
        for status in sorted({*statuses, 422, 500, 503})
    }
