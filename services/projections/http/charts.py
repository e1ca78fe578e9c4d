"""Charts to look at and to embed: SVG, PNG, the definition itself, and the script that makes it live."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import date
from importlib.metadata import version
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

import msgspec
from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from services.projections import names
from services.projections import progress as rules
from services.projections.charts.badge import badge
from services.projections.charts.look import SMALLEST, USUAL, WIDEST, Look, Spec, ThemeName
from services.projections.charts.progress import COMPARED, progress_chart
from services.projections.charts.renderer import Busy, Renderer
from services.projections.charts.totals import totals_chart
from services.projections.http import targets, totals
from services.projections.http.asof import AsOf, AsOfQuery, Make, matches, reader
from services.projections.http.counted import Asked
from services.projections.http.parameters import Id
from services.projections.http.problems import Problem, responses
from services.projections.http.shown import bound, figure
from services.projections.http.standing import coalition_known, party_names
from services.projections.progress import Terms
from services.projections.read_models import entries, target_progress
from services.projections.read_models.coalition_totals import Filter
from shared.days import last_day
from shared.events import stored_name
from shared.events.parties import CapabilityNamed
from shared.events.targets import TargetEntry, TargetRevised, TargetSet
from shared.measures import PIECE, contains
from shared.sources import Source
from shared.timeline import live

Kind = Literal["svg", "png", "vl.json"]
Define = Callable[[Mapping[str, Any], Look], Spec]

MEDIA_TYPES: Final[Mapping[str, str]] = {"svg": "image/svg+xml", "png": "image/png", "vl.json": "application/json"}
ALONE: Final = "default-src 'none'; style-src 'unsafe-inline'; sandbox"
"""The policy of an image that is looked at by itself; an image in a page runs and fetches nothing anyway."""

PINNED: Final = "public, max-age=3600"
"""How long a chart of a named day and position may be kept without asking: its facts never change, its looks may."""

BUNDLE_WITHIN_S: Final = 60.0
"""How long making the script may take: it is parsed and printed anew, a second or several."""

BADGE: Final = "public, max-age=60"
IMMUTABLE: Final = "public, max-age=31536000, immutable"

router = APIRouter(tags=["charts"])


class ChartQuery(AsOfQuery):
    """As of when, in which colours, how wide."""

    theme: ThemeName = "light"
    width: int = Field(default=USUAL, ge=SMALLEST, le=WIDEST, description="In pixels; the height follows")

    @property
    def look(self) -> Look:
        """How it is drawn."""
        return Look(theme=self.theme, width=self.width)


def images(*kinds: str) -> dict[int | str, dict[str, Any]]:
    """Document what a chart may be answered as."""
    found: dict[str, Any] = {MEDIA_TYPES[kind]: {} for kind in kinds}
    return {200: {"content": found, "description": "The chart"}, **responses(404)}


@router.get("/targets/{target}/progress.{kind}", response_class=Response, responses=images("svg", "png", "vl.json"))
async def target_chart(
    request: Request,
    target: Annotated[Id, Path()],
    kind: Annotated[Kind, Path()],
    query: Annotated[ChartQuery, Query()],
) -> Response:
    """Draw how far a target came, day by day, beside what was pledged and confirmed, with its deadlines."""

    async def make(conn: AsyncConnection, asof: AsOf) -> dict[str, Any]:
        return await progress_seen(conn, asof, target)

    def define(answer: Mapping[str, Any], look: Look) -> Spec:
        return progress_chart(answer, look, of=answer["of"])

    return await drawn(request, query, kind, make, define, named=f"{target}-progress")


@router.get("/coalitions/{coalition}/totals.{kind}", response_class=Response, responses=images("svg", "png", "vl.json"))
async def totals_chart_of(
    request: Request,
    coalition: Annotated[Id, Path()],
    kind: Annotated[Kind, Path()],
    query: Annotated[ChartQuery, Query()],
) -> Response:
    """Draw what a coalition promised and what came: by unit, stage beside stage."""

    async def make(conn: AsyncConnection, asof: AsOf) -> dict[str, Any]:
        found = await coalition_known(conn, coalition, asof)
        asked = Asked(where=Filter(coalition=coalition))
        whole = totals.TotalsQuery.model_construct(rollup=False, by=None)
        path = f"/v1/coalitions/{coalition}/totals"
        answer = await totals.totals(conn, asof, asked, whole, path=path, complete_to=found.complete_to(asof.on))
        of = {"scope": found.name(asof.on)}
        whole_capability = found.opening.capability
        pieces = [row["capability"] for row in answer["totals"] if row["unit"] == PIECE]
        if whole_capability is not None and all(contains(whole_capability, one) for one in pieces):
            of["pieces"] = await capability_name(conn, asof, whole_capability)
        return answer | {"of": of}

    def define(answer: Mapping[str, Any], look: Look) -> Spec:
        return totals_chart(answer, look, of=answer["of"])

    return await drawn(request, query, kind, make, define, named=f"{coalition}-totals")


@router.get("/badge/targets/{target}.svg", response_class=Response, responses=images("svg"))
async def target_badge(
    request: Request, target: Annotated[Id, Path()], query: Annotated[AsOfQuery, Query()]
) -> Response:
    """Draw one line about a target, for a README or a footer."""

    async def make(conn: AsyncConnection, asof: AsOf) -> dict[str, Any]:
        found = await targets.target_known(conn, target, asof)
        return targets.shown(asof, found, f"/v1/targets/{target}/progress")

    def render(body: Mapping[str, Any], _: AsOf) -> tuple[bytes, str]:
        return badge(body).encode(), MEDIA_TYPES["svg"]

    response = await reader(request).answer(request, query, targets.READS, make, render)
    response.headers["Cache-Control"] = BADGE
    return guarded(response)


@router.get("/charts.js", include_in_schema=False)
async def charts_script(request: Request) -> Response:
    """Give Vega-Embed with all it needs, for charts that answer to the pointer; made once a process, then kept."""
    headers = {"Cache-Control": IMMUTABLE, "ETag": f'"{Bundle.version()}"', "Vary": "Accept-Encoding"}
    if matches(request.headers.get("If-None-Match"), headers["ETag"]):
        return Response(status_code=304, headers=headers)
    bundle: Bundle = request.app.state.bundle
    packed = await bundle.packed()
    if "gzip" in request.headers.get("Accept-Encoding", ""):
        return Response(packed, headers=headers | {"Content-Encoding": "gzip"}, media_type="text/javascript")
    return Response(gzip.decompress(packed), headers=headers, media_type="text/javascript")


class Bundle:
    """The script that draws charts in a browser, gzipped, once somebody asked for it."""

    def __init__(self) -> None:
        self._packed: bytes | None = None
        self._making = asyncio.Lock()

    @staticmethod
    def version() -> str:
        """Name it: another version of its maker makes another script."""
        return f"charts-{version('vl-convert-python')}"

    async def packed(self) -> bytes:
        """Give it gzipped, made in a process that ends then: charts need not wait for it. Raises Problem `busy`."""
        async with self._making:
            if self._packed is None:
                maker = Renderer(within_s=BUNDLE_WITHIN_S)
                try:
                    script = await maker.ask("bundle")
                except Busy as busy:
                    raise Problem("busy", str(busy)) from busy
                finally:
                    await maker.close()
                self._packed = await asyncio.to_thread(gzip.compress, script, 9, mtime=0)
        return self._packed


def renderer(request: Request) -> Renderer:
    """Give what draws in this process."""
    found: Renderer = request.app.state.renderer
    return found


async def drawn(request: Request, query: ChartQuery, kind: Kind, make: Make, define: Define, *, named: str) -> Response:
    """Answer with a chart. Raises Problem `busy` beside what the question raises."""

    def render(body: Mapping[str, Any], asof: AsOf) -> tuple[bytes, str]:
        # as JSON says it: days as text, and nothing that only Python knows
        answer = msgspec.to_builtins({"position": asof.position, "on": asof.on, **body})
        return msgspec.json.encode(define(answer, query.look)), MEDIA_TYPES["vl.json"]

    response = await reader(request).answer(request, query, targets.READS, make, render)
    if response.status_code == 200 and kind != "vl.json":  # noqa: PLR2004  # there is something to draw
        try:
            image = await renderer(request).draw(kind, bytes(response.body))
        except Busy as busy:
            raise Problem("busy", str(busy)) from busy
        kept = {
            name: value for name, value in response.headers.items() if name not in ("content-length", "content-type")
        }
        response = Response(image, headers=kept, media_type=MEDIA_TYPES[kind])
    if query.on is not None and query.known is not None and query.known.isdecimal():
        response.headers["Cache-Control"] = PINNED
    response.headers["Content-Disposition"] = f'inline; filename="{named}.{kind}"'
    return guarded(response)


def guarded(response: Response) -> Response:
    """Let an image be nothing but an image, on any page."""
    response.headers["Content-Security-Policy"] = ALONE
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
    return response


# ------------------------------------------------------------------------------------------- what charts show


async def progress_seen(conn: AsyncConnection, asof: AsOf, target: str) -> dict[str, Any]:
    """Give the progress of a target with the series of other stages, who said its deadlines, and names."""
    found = await targets.target_known(conn, target, asof)
    terms = found.progress.terms
    values = await targets.values_of(conn, asof, terms, terms.measure)
    to = asof.on if found.complete_to is None else min(asof.on, found.complete_to)
    compare = {
        stage: [
            {"on": day, "low": figure(x.low), "high": bound(x.bound), "unknown": x.unknown}
            for day, x in rules.series(replace(terms, counts=stage), values[stage], to)
        ]
        for stage in values
        if stage in COMPARED and stage != terms.counts
    }
    learned = live(targets.about_targets(await target_progress.target(conn, target, asof.position)))
    return {
        **targets.shown(asof, found, f"/v1/targets/{target}/progress"),
        "compare": compare,
        "said_by": {due.isoformat(): who for due, who in said_by(learned.values()).items()},
        "of": await named(conn, asof, terms),
    }


def said_by(about: Iterable[TargetEntry]) -> dict[date, str]:
    """Give who published a deadline, by its day: the first source of the entry that brought it."""
    found: dict[date, str] = {}
    for entry in about:
        if isinstance(entry, TargetSet | TargetRevised) and entry.due_by is not None and entry.sources:
            found[last_day(entry.due_by)] = _publisher(entry.sources[0])
    return found


def _publisher(source: Source) -> str:
    return source.publisher or source.speaker or urlsplit(source.url or "").hostname or "unnamed source"


async def named(conn: AsyncConnection, asof: AsOf, terms: Terms) -> dict[str, str]:
    """Give the words for what a target counts, whose it is, and who stated it."""
    registered = await party_names(conn, asof)
    if terms.coalition is not None:
        scope = (await coalition_known(conn, terms.coalition, asof)).name(asof.on)
    else:
        scope = names.party(terms.party or "", registered)
    return {
        "scope": scope,
        "stated": names.party(terms.stated_by, registered) if terms.stated_by else "",
        "capability": await capability_name(conn, asof, terms.capability),
    }


async def capability_name(conn: AsyncConnection, asof: AsOf, code: str) -> str:
    """Give a capability's name: its own, else that of the nearest that contains it, else its code."""
    said = await entries.of_types(conn, [stored_name(CapabilityNamed)], asof.position)
    standing = (found for about in said.values() for found in entries.as_it_stands(about))
    called = {
        found.entry.capability: found.entry.name
        for found in standing
        if found.live and isinstance(found.entry, CapabilityNamed) and contains(found.entry.capability, code)
    }
    return called[max(called, key=len)] if called else code
