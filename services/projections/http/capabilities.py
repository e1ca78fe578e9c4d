"""Capabilities: which codes are spoken of, under which name, and what contains what."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from services.projections.http.asof import AsOf, AsOfQuery, reader
from services.projections.http.problems import responses
from services.projections.http.shown import Answer, Cite, When
from services.projections.http.totals import cite
from services.projections.read_model import ReadModel
from services.projections.read_models import capabilities, entries
from services.projections.read_models.capabilities import CAPABILITIES, Use
from services.projections.read_models.entries import ENTRIES
from shared.events import stored_name
from shared.events.parties import CapabilityNamed
from shared.measures import contains

READS: Final[tuple[ReadModel, ...]] = (CAPABILITIES, ENTRIES)

router = APIRouter(prefix="/v1", tags=["capabilities"])


class CapabilityShown(Answer):
    """A code that an entry speaks of, or that contains one."""

    code: str = Field(examples=["drone.fpv"])
    name: str | None = Field(description="As named last; null where nobody named it")
    within: str | None = Field(description="The nearest code of this list that contains it")
    contains: list[str] = Field(description="The codes of this list that it contains")
    entries: dict[str, int] = Field(
        description="How many entries speak of this very code, by what they are about",
        examples=[{"pledge": 12, "target": 1}],
    )
    first_on: str | None = Field(description="The first day on which one does; null where only a name is known")
    last_on: str | None
    totals: str


class Capabilities(When):
    """Capabilities, by code."""

    capabilities: list[CapabilityShown]
    cite: Cite


@router.get("/capabilities", response_model=Capabilities, responses=responses())
async def list_capabilities(request: Request, query: Annotated[AsOfQuery, Query()]) -> Response:
    """List every capability that an entry speaks of, with its name and what it contains."""

    async def make(conn: AsyncConnection, asof: AsOf) -> dict[str, Any]:
        found = await capabilities.uses(conn, on=asof.on, known=asof.position)
        return {"capabilities": shown(found, await called(conn, asof)), "cite": cite(asof, request.url.path)}

    return await reader(request).answer(request, query, READS, make)


async def called(conn: AsyncConnection, asof: AsOf) -> dict[str, str]:
    """Give the names of capabilities, by their codes, as known."""
    said = await entries.of_types(conn, [stored_name(CapabilityNamed)], asof.position)
    standing = (found for about in said.values() for found in entries.as_it_stands(about))
    return {
        found.entry.capability: found.entry.name
        for found in standing
        if found.live and isinstance(found.entry, CapabilityNamed)
    }


def shown(uses: Iterable[Use], names: Mapping[str, str]) -> list[dict[str, Any]]:
    """Show codes with what is said of them. Pure."""
    by_code: dict[str, list[Use]] = defaultdict(list)
    for use in uses:
        by_code[use.code].append(use)
    codes = sorted({*by_code, *names})
    return [
        {
            "code": code,
            "name": names.get(code),
            "within": max((one for one in codes if one != code and contains(one, code)), key=len, default=None),
            "contains": [one for one in codes if one != code and contains(code, one)],
            # to name a code is not to speak of the thing
            "entries": {use.family: use.entries for use in by_code[code] if use.family != "capability"},
            "first_on": min((use.first_on for use in by_code[code] if use.family != "capability"), default=None),
            "last_on": max((use.last_on for use in by_code[code] if use.family != "capability"), default=None),
            "totals": f"/v1/totals?capability={code}",
        }
        for code in codes
    ]
