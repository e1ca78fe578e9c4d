"""Coalitions: which there are, and one with its members over time, its targets, its counts."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from services.projections.coalitions import Coalition, Membership
from services.projections.http.asof import AsOf, AsOfQuery, reader
from services.projections.http.parameters import Code, Id
from services.projections.http.problems import responses
from services.projections.http.shown import Answer, Cite, EntryShown, When, entry
from services.projections.http.standing import coalition_known, coalitions_known, party_names
from services.projections.http.targets import READS as TARGET_READS
from services.projections.http.targets import TargetInList, in_list, targets
from services.projections.http.totals import cite
from services.projections.names import party
from services.projections.read_model import ReadModel
from services.projections.read_models import entries, pledges
from services.projections.read_models.entries import ENTRIES, as_it_stands
from services.projections.read_models.pledges import PLEDGES
from shared.days import last_day

READS: Final[tuple[ReadModel, ...]] = (ENTRIES,)
DETAIL_READS: Final[tuple[ReadModel, ...]] = (*TARGET_READS, PLEDGES)

router = APIRouter(prefix="/v1", tags=["coalitions"])


class CoalitionsQuery(AsOfQuery):
    """Which coalitions."""

    party: Code | None = Field(default=None, description="Those it is in, in any role, on the day asked for")
    beneficiary: Code | None = None


class CoalitionInList(Answer):
    """A coalition on the day asked for."""

    id: str
    name: str
    formed_on: date
    dissolved_on: date | None
    purpose: str | None
    capability: str | None
    beneficiary: str | None
    leads: list[str]
    members: int = Field(description="Leads and members; observers and applicants are not counted")
    complete_to: date | None
    link: str


class Coalitions(When):
    """Coalitions, by id."""

    coalitions: list[CoalitionInList]
    cite: Cite


class MemberNow(Answer):
    """A party in a coalition on the day asked for."""

    party: str
    name: str
    role: str
    instrument: str | None
    since: date = Field(description="In this role, under this instrument")
    joined_on: date


class MemberChange(Answer):
    """A change of who is in it, and how; a role of null: left."""

    party: str
    on: date
    role: str | None
    instrument: str | None


class CoalitionDetail(When):
    """One coalition."""

    coalition: CoalitionInList
    members: list[MemberNow]
    membership: list[MemberChange] = Field(description="Members over time; with `from`, from that day on")
    targets: list[TargetInList]
    complete_to: date | None
    counts: dict[str, int]
    entries: list[EntryShown]
    cite: Cite


@router.get("/coalitions", response_model=Coalitions, responses=responses())
async def list_coalitions(request: Request, query: Annotated[CoalitionsQuery, Query()]) -> Response:
    """List coalitions."""

    async def make(conn: AsyncConnection, asof: AsOf) -> dict[str, Any]:
        found = [
            coalition
            for coalition in await coalitions_known(conn, asof)
            if (query.party is None or query.party in coalition.present(asof.on))
            and (query.beneficiary is None or coalition.opening.beneficiary == query.beneficiary)
        ]
        filters = query.model_dump(include={"party", "beneficiary"})
        return {
            "coalitions": [summary(asof, coalition) for coalition in found],
            "cite": cite(asof, request.url.path, **filters),
        }

    return await reader(request).answer(request, query, READS, make)


@router.get("/coalitions/{coalition}", response_model=CoalitionDetail, responses=responses(404))
async def one_coalition(
    request: Request, coalition: Annotated[Id, Path()], query: Annotated[AsOfQuery, Query()]
) -> Response:
    """Show a coalition: members over time, targets, up to where the ledger is believed complete."""

    async def make(conn: AsyncConnection, asof: AsOf) -> dict[str, Any]:
        return await detail(conn, asof, coalition, request.url.path)

    return await reader(request).answer(request, query, DETAIL_READS, make)


async def detail(conn: AsyncConnection, asof: AsOf, name: str, path: str) -> dict[str, Any]:
    """Show one coalition. Raises Problem `unknown`."""
    found = await coalition_known(conn, name, asof)
    of_it = await targets(conn, asof, coalition=name)
    said = as_it_stands(await entries.stream(conn, f"coalition-{name}", asof.position))
    registered = await party_names(conn, asof)
    return {
        "coalition": summary(asof, found),
        "members": [
            {"party": code, "name": party(code, registered), **_present(found, code, membership, asof.on)}
            for code, membership in found.present(asof.on).items()
        ],
        "membership": membership_over_time(found, since=asof.since),
        "targets": [in_list(asof, target) for target in of_it],
        "complete_to": found.complete_to(asof.on),
        "counts": {
            "members": found.member_count(asof.on),
            "targets": len(of_it),
            "pledges": await pledges.count(conn, asof.position, coalition=name),
            "entries": sum(entry.live for entry in said),
        },
        "entries": [entry(one, registered) for one in said],
        "cite": cite(asof, path),
    }


def summary(asof: AsOf, coalition: Coalition) -> dict[str, Any]:
    """Show a coalition at a glance."""
    opening = coalition.opening
    dissolved = coalition.dissolved_on
    return {
        "id": coalition.id,
        "name": coalition.name(asof.on),
        "formed_on": last_day(opening.formed_on),
        "dissolved_on": dissolved if dissolved is not None and dissolved <= asof.on else None,
        "purpose": opening.purpose,
        "capability": opening.capability,
        "beneficiary": opening.beneficiary,
        "leads": [code for code, member in coalition.present(asof.on).items() if member.role == "lead"],
        "members": coalition.member_count(asof.on),
        "complete_to": coalition.complete_to(asof.on),
        "link": f"/v1/coalitions/{coalition.id}",
    }


def membership_over_time(coalition: Coalition, *, since: date | None = None) -> list[dict[str, Any]]:
    """Show every change of who is in it, by day; with `since`, those from that day on."""
    changes = [
        {
            "party": code,
            "on": day,
            "role": None if membership is None else membership.role,
            "instrument": None if membership is None else membership.instrument,
        }
        for code, timeline in coalition.members.items()
        for day, membership in timeline
        if since is None or day >= since
    ]
    return sorted(changes, key=lambda change: (change["on"], change["party"]))


def _present(coalition: Coalition, code: str, membership: Membership, on: date) -> dict[str, Any]:
    days = [(day, value) for day, value in coalition.members[code] if day <= on]
    left = max((n for n, (_, value) in enumerate(days) if value is None), default=-1)
    return {
        "role": membership.role,
        "instrument": membership.instrument,
        "since": days[-1][0],
        "joined_on": days[left + 1][0],
    }
