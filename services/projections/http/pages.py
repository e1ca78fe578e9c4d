"""The pages for people: the same answers as the API's, as HTML that needs no script."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Annotated, Any, Final, get_args
from urllib.parse import urlencode
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import FileResponse, RedirectResponse
from sqlalchemy.ext.asyncio import AsyncConnection

from services.projections.coalitions import Coalition
from services.projections.dashboard.rendering import SCRIPT, STYLE, render
from services.projections.http import coalitions, diff, parties, pledges, statements, targets, timeline
from services.projections.http.asof import AsOf, AsOfQuery, Make, Render, reader
from services.projections.http.counted import Asked, Counted, own_rows, whole_rows
from services.projections.http.cursors import write_cursor
from services.projections.http.parameters import Code, Id
from services.projections.http.postings import PostingsQuery, explain, question
from services.projections.http.standing import (
    all_names,
    coalition_known,
    coalitions_known,
    party_known,
    registered_parties,
)
from services.projections.http.totals import ordered, total_row
from services.projections.pledges import Flag, PledgeStatus
from services.projections.read_model import ReadModel
from services.projections.read_models import READ_MODELS, entries
from services.projections.read_models.coalition_totals import Filter
from services.projections.read_models.entries import Where
from shared.measures import STAGES

READS: Final[tuple[ReadModel, ...]] = READ_MODELS
RECENT: Final = 12

router = APIRouter(include_in_schema=False)


@router.get("/")
async def home(request: Request, query: Annotated[AsOfQuery, Query()]) -> Response:
    """Show coalitions and targets at a glance, and what happened last."""

    async def make(conn: AsyncConnection, asof: AsOf) -> dict[str, Any]:
        found = await targets.targets(conn, asof)
        return {
            "coalitions": [
                {
                    **coalitions.summary(asof, coalition),
                    "measures": await measures(conn, asof, Filter(coalition=coalition.id)),
                    "targets": [
                        targets.in_list(asof, target)
                        for target in found
                        if target.progress.terms.coalition == coalition.id
                    ],
                }
                for coalition in await coalitions_known(conn, asof)
            ],
            "targets": [targets.in_list(asof, target) for target in found if target.progress.terms.party is not None],
            "outside": await measures(conn, asof, Filter(coalition="")),
            "recent": await recent(conn, asof, Where()),
            "names": await all_names(conn, asof),
        }

    return await answer(request, query, "home.html", make)


@router.get("/coalitions/{coalition}")
async def coalition_page(
    request: Request, coalition: Annotated[Id, Path()], query: Annotated[AsOfQuery, Query()]
) -> Response:
    """Show one coalition: its totals by stage and by donor, members, targets, statements."""

    async def make(conn: AsyncConnection, asof: AsOf) -> dict[str, Any]:
        detail = await coalitions.detail(conn, asof, coalition, request.url.path)
        about = statements.StatementsQuery(coalition=coalition)
        return {
            **detail,
            "first_day": detail["coalition"]["formed_on"],
            "membership": members_over_time(await coalition_known(conn, coalition, asof), asof.on),
            "measures": await measures(conn, asof, Filter(coalition=coalition)),
            "by_donor": await by_donor(conn, asof, Filter(coalition=coalition)),
            "statements": await statements.stated(conn, asof, about, request.app.state.rates),
            "recent": await recent(conn, asof, Where(coalition=coalition)),
            "names": await all_names(conn, asof),
        }

    return await answer(request, query, "coalition.html", make)


@router.get("/targets/{target}")
async def target_page(
    request: Request, target: Annotated[Id, Path()], query: Annotated[AsOfQuery, Query()]
) -> Response:
    """Show one target: what counts, its pace, its past deadlines."""

    async def make(conn: AsyncConnection, asof: AsOf) -> dict[str, Any]:
        found = await targets.target_known(conn, target, asof)
        shown = targets.shown(asof, found, request.url.path)
        said = await recent(conn, asof, Where(stream=f"target-{target}"))
        return {**shown, "first_day": shown["target"]["set_on"], "recent": said, "names": await all_names(conn, asof)}

    return await answer(request, query, "target.html", make)


@router.get("/pledges")
async def pledges_page(request: Request, query: Annotated[pledges.PledgesQuery, Query()]) -> Response:
    """Show the pledges that fit a search."""

    async def make(conn: AsyncConnection, asof: AsOf) -> dict[str, Any]:
        found, following = await pledges.listed(conn, asof, query)
        is_member = await pledges.membership(conn, asof, found)
        asked = {name: value for name, value in request.query_params.items() if value and name != "cursor"}
        after = None if following is None else asked | {"cursor": write_cursor(*asof.place, following)}
        return {
            "pledges": [pledges.in_list(asof, pledge, is_member) for pledge in found],
            "next": None if after is None else f"{request.url.path}?{urlencode(after)}",
            "asked": asked,
            "statuses": get_args(PledgeStatus),
            "flags": get_args(Flag),
            "known_coalitions": [(one.id, one.name(asof.on)) for one in await coalitions_known(conn, asof)],
            "names": await all_names(conn, asof),
        }

    return await answer(request, query, "pledges.html", make)


@router.get("/parties")
async def parties_page(request: Request, query: Annotated[AsOfQuery, Query()]) -> Response:
    """Show everybody who gives or gets something."""

    async def make(conn: AsyncConnection, asof: AsOf) -> dict[str, Any]:
        registered = await registered_parties(conn, asof)
        codes = {*await entries.named(conn, "party", asof.position), *registered}
        shown = [parties.party_shown(code, registered) for code in codes]
        return {"parties": sorted(shown, key=lambda party: str(party["name"])), "names": await all_names(conn, asof)}

    return await answer(request, query, "parties.html", make)


@router.get("/parties/{party}")
async def party_page(
    request: Request, party: Annotated[Code, Path()], query: Annotated[AsOfQuery, Query()]
) -> Response:
    """Show what a party promised and what came, and what it was promised."""

    async def make(conn: AsyncConnection, asof: AsOf) -> dict[str, Any]:
        await party_known(conn, party, asof)
        registered = await registered_parties(conn, asof)
        return {
            "party": parties.party_shown(party, registered),
            "given": await parties.scored(conn, asof, party, "donors"),
            "got": await parties.scored(conn, asof, party, "beneficiaries"),
            "coalitions": [
                {"id": one.id, "name": one.name(asof.on), "role": one.present(asof.on)[party].role}
                for one in await coalitions_known(conn, asof)
                if party in one.present(asof.on)
            ],
            "recent": await recent(conn, asof, Where(party=party)),
            "names": await all_names(conn, asof),
        }

    return await answer(request, query, "party.html", make)


@router.get("/beneficiaries/{party}")
async def beneficiary_page(request: Request, party: Annotated[Code, Path()]) -> Response:
    """Lead to the page of the party."""
    asked = f"?{request.url.query}" if request.url.query else ""
    return RedirectResponse(f"/parties/{party}{asked}#got")


@router.get("/pledges/{pledge}")
async def pledge_page(
    request: Request, pledge: Annotated[Id, Path()], query: Annotated[AsOfQuery, Query()]
) -> Response:
    """Show one pledge: its timelines, its deliveries, all that was said about it."""

    async def make(conn: AsyncConnection, asof: AsOf) -> dict[str, Any]:
        shown = await pledges.detail(conn, asof, pledge, request.url.path)
        return {**shown, "first_day": shown["pledge"]["announced_on"], "names": await all_names(conn, asof)}

    return await answer(request, query, "pledge.html", make)


@router.get("/diff")
async def diff_page(request: Request, query: Annotated[diff.DiffQuery, Query()]) -> Response:
    """Show what changed between two states, and which entries did it."""

    async def make(conn: AsyncConnection, asof: AsOf) -> dict[str, Any]:
        found = await diff.since(conn, asof, query, request.url.path)
        asked = query.model_dump(include={"coalition", "donor", "beneficiary", "capability", "unit", "stage"})
        return {
            **found,
            "asked": {name: value for name, value in asked.items() if value},
            "names": await all_names(conn, asof),
        }

    return await answer(request, diff.later(query), "diff.html", make)


@router.get("/explain")
async def explain_page(request: Request, query: Annotated[PostingsQuery, Query()]) -> Response:
    """Show the postings behind a number."""
    asked = question(query)

    async def make(conn: AsyncConnection, asof: AsOf) -> dict[str, Any]:
        shown = await explain(conn, asof, asked, limit=min(query.limit, 200), after=query.after)
        filters = query.model_dump(exclude={"on", "since", "known", "min_position", "limit", "cursor"})
        return {
            **shown,
            "asked": {name: value for name, value in filters.items() if value},
            "names": await all_names(conn, asof),
        }

    return await answer(request, query, "explain.html", make)


@router.get("/events/{event_id}")
async def event_page(
    request: Request, event_id: Annotated[UUID, Path()], query: Annotated[AsOfQuery, Query()]
) -> Response:
    """Show one entry, with its sources and what was said about it."""

    async def make(conn: AsyncConnection, asof: AsOf) -> dict[str, Any]:
        return await timeline.of_event(conn, asof, str(event_id))

    return await answer(request, query, "event.html", make)


@router.get("/live.js")
async def script() -> Response:
    """Give the one script of our own."""
    return FileResponse(SCRIPT, media_type="text/javascript", headers={"Cache-Control": "public, max-age=300"})


@router.get("/muster.css")
async def style() -> Response:
    """Give the one style sheet."""
    return FileResponse(STYLE, media_type="text/css", headers={"Cache-Control": "public, max-age=300"})


async def answer(request: Request, query: AsOfQuery, template: str, make: Make) -> Response:
    """Answer with a page; it says as of when it is, and how far behind."""

    async def and_since_when(conn: AsyncConnection, asof: AsOf) -> dict[str, Any]:
        return {"first_day": await entries.first_day(conn) or asof.today, **await make(conn, asof)}

    response = await reader(request).answer(request, query, READS, and_since_when, rendered(request, template))
    response.headers["Content-Security-Policy"] = (
        "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'self'; img-src 'self' data:; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'self'"
    )
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "no-referrer"
    return response


def rendered(request: Request, template: str) -> Render:
    """Give how a page is written."""
    asked = {name: request.query_params.get(name, "") for name in ("on", "known")}
    others = [
        (name, value) for name, value in request.query_params.multi_items() if name not in {*asked, "min_position"}
    ]
    # whoever looks at the past stays in it from page to page
    travelled = {name: value for name, value in asked.items() if value}
    suffix = f"?{urlencode(travelled, safe=':')}" if travelled else ""

    def write(body: Mapping[str, Any], asof: AsOf) -> tuple[bytes, str]:
        html = render(template, **body, asof=asof, when=asked, others=others, suffix=suffix, path=request.url.path)
        return html.encode(), "text/html"

    return write


def members_over_time(coalition: Coalition, until: date) -> list[dict[str, Any]]:
    """Lay out who was in a coalition and when: places of its spans are percents of the time that it exists."""
    spans = coalition.spans(until)
    first = min((span.start for found in spans.values() for span in found), default=until)
    whole = max((until - first).days, 1)
    return [
        {
            "party": party,
            "role": found[-1].membership.role,
            "instrument": found[-1].membership.instrument,
            "joined_on": found[0].start,
            "left_on": found[-1].end if party not in coalition.present(until) else None,
            "spans": [
                {
                    "role": span.membership.role,
                    "start": span.start,
                    "end": span.end,
                    "x": round(100 * (span.start - first).days / whole, 2),
                    "width": round(100 * max((span.end - span.start).days, 1) / whole, 2),
                }
                for span in found
            ],
        }
        for party, found in sorted(spans.items(), key=lambda item: (item[1][0].start, item[0]))
    ]


async def measures(conn: AsyncConnection, asof: AsOf, where: Filter) -> dict[str, Any]:
    """Give the totals of a scope as a table."""
    asked = Asked(where=where)
    return table(asof, await whole_rows(conn, asof, asked))


async def by_donor(conn: AsyncConnection, asof: AsOf, where: Filter) -> dict[str, Any]:
    """Give the same with a line for each donor, or group without shares."""
    return table(asof, await own_rows(conn, asof, Asked(where=where)))


def table(asof: AsOf, rows: Iterable[Counted]) -> dict[str, Any]:
    """Lay rows out: a line for each capability, unit, finance type and who gives; a cell for each stage there is."""
    lines: dict[tuple[Any, ...], dict[str, Any]] = {}
    for found in ordered(rows):
        row = found.row
        key = (row.capability, row.unit, row.finance_type, found.donors)
        line = lines.setdefault(
            key,
            {
                "capability": row.capability,
                "unit": row.unit,
                "finance_type": row.finance_type,
                "donors": found.donors,
                "cells": {},
            },
        )
        line["cells"][row.stage] = total_row(asof, found)
    used = [stage for stage in STAGES if any(stage in line["cells"] for line in lines.values())]
    return {"stages": used, "lines": list(lines.values())}


async def recent(conn: AsyncConnection, asof: AsOf, where: Where) -> list[dict[str, Any]]:
    """Give what happened last."""
    found = await entries.happened(
        conn, on=asof.on, since=asof.since, known=asof.position, where=where, before=None, limit=RECENT
    )
    return await timeline.shown(conn, asof, found)
