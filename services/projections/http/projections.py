"""The read models themselves: how far each is, how old what it lacks may be, why it stopped, and its rebuild."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from services.projections import checkpoints
from services.projections.checkpoints import Checkpoint, Rebuild, silent_s
from services.projections.figures import age_s, head_of
from services.projections.http.asof import matches, reader
from services.projections.http.problems import responses
from services.projections.http.shown import Answer
from services.projections.read_model import ReadModel
from services.projections.read_models import READ_MODELS

router = APIRouter(prefix="/v1", tags=["operations"])


class NoParameters(BaseModel):
    """This question takes none."""

    model_config = ConfigDict(extra="forbid")


class RebuildShown(Answer):
    """The rebuild of a read model that runs, was interrupted, or was the last."""

    stage: Literal["filling", "comparing", "switching", "switched", "failed"]
    running: bool = Field(description="Whether a process works at it now; if not, and not ended, it was interrupted")
    position: int | None = Field(description="Where the new build is; null once it has ended")
    percent: float | None = Field(description="Of the events up to the head")
    seconds_left: float | None = Field(description="At the speed it has had so far")
    began_at: str
    ended_at: str | None
    said: str | None = Field(description="What the comparison with the old one found, or why it failed")


class Projection(Answer):
    """One read model."""

    name: str
    version: int
    status: Literal["running", "stopped", "missing"] = Field(
        description="`stopped`: before an event it cannot take; `missing`: the worker has not made it yet"
    )
    position: int = Field(description="Everything up to here is applied")
    head: int = Field(description="The stream's last position, as far as known")
    lag: int = Field(description="Events not applied yet, as far as known")
    lag_seconds: float | None = Field(
        description="How old the oldest event may be that is not applied; 0 when caught up. Where no worker is heard "
        "of, the time since it was heard of last"
    )
    error: str | None = Field(description="Why it stopped")
    build: int = Field(description="Raised when a rebuild takes its place")
    rebuild: RebuildShown | None


class Worker(Answer):
    """The process that moves the read models."""

    heard_of: bool = Field(description="Whether it said something in the last few seconds")
    silent_seconds: float


class Projections(Answer):
    """The read models, by name."""

    head: int
    worker: Worker
    projections: list[Projection]


@router.get("/projections", response_model=Projections, responses=responses())
async def list_projections(request: Request, _query: Annotated[NoParameters, Query()]) -> Response:
    """Say of every read model how far it is, and whether it moves."""
    async with reader(request).transaction() as conn:
        found = await checkpoints.load(conn, [(model.name, model.version) for model in READ_MODELS])
        rebuilds = await checkpoints.rebuilds(conn)
    now, there = datetime.now(UTC), list(found.values())
    head, silence_s = head_of(there), silent_s(there)
    shown = [
        _projection(model, found.get(key), rebuilds.get(key), head, silence_s, now)
        for model in READ_MODELS
        for key in [(model.name, model.version)]
    ]
    content = msgspec.json.encode(
        {
            "head": head,
            "worker": {"heard_of": bool(there) and not silence_s, "silent_seconds": round(silence_s, 3)},
            "projections": shown,
        }
    )
    lags = [one["lag_seconds"] for one in shown if one["lag_seconds"] is not None]
    tag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
    headers = {
        "ETag": tag,
        "Ledger-Position": str(min((checkpoint.position for checkpoint in there), default=0)),
        "Lag-Seconds": f"{max(lags, default=0.0):.3f}".rstrip("0").rstrip("."),
        "Cache-Control": "no-cache",
    }
    if matches(request.headers.get("If-None-Match"), tag):
        return Response(status_code=304, headers=headers)
    return Response(content, headers=headers, media_type="application/json")


def _projection(  # noqa: PLR0917  # called in one place
    model: ReadModel, at: Checkpoint | None, rebuild: Rebuild | None, head: int, silence_s: float, now: datetime
) -> dict[str, Any]:
    position = 0 if at is None else at.position
    return {
        "name": model.name,
        "version": model.version,
        "status": "missing" if at is None else at.status,
        "position": position,
        "head": head,
        "lag": max(0, head - position),
        "lag_seconds": None if at is None else round(age_s(at, head, silence_s, now), 3),
        "error": None if at is None else at.reason,
        "build": 0 if at is None else at.build,
        "rebuild": None if rebuild is None else _rebuild(rebuild),
    }


def _rebuild(found: Rebuild) -> dict[str, Any]:
    working = found.position is not None and found.ended_at is None
    return {
        "stage": found.stage,
        "running": found.running,
        "position": found.position if working else None,
        "percent": round(100 * found.position / found.head, 1) if working and found.position and found.head else None,
        "seconds_left": found.seconds_left if working and found.running else None,
        "began_at": found.began_at.isoformat(),
        "ended_at": None if found.ended_at is None else found.ended_at.isoformat(),
        "said": found.said,
    }
