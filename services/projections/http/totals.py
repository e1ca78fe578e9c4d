"""Totals: disjoint rows of what was promised and what came, by scope; each row explains itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from itertools import groupby
from operator import itemgetter
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import AfterValidator, Field
from sqlalchemy.ext.asyncio import AsyncConnection

from services.projections import names
from services.projections.http.asof import AsOf, in_query, reader
from services.projections.http.converted import Converted, InCurrency, View, converted, view
from services.projections.http.converted import own as own_question
from services.projections.http.counted import (
    NONE,
    Asked,
    Counted,
    Step,
    added,
    grouped_rows,
    joint_rows,
    merged,
    own_rows,
    reads,
    rolled_up,
    steps,
)
from services.projections.http.parameters import Capability, Code, Id, Labels, Period, Unit, a_period, label
from services.projections.http.problems import responses
from services.projections.http.shown import Cite, Interval, When, figure, interval
from services.projections.http.standing import coalition_known, party_known
from services.projections.read_models.coalition_totals import (
    Dimension,
    Filter,
    Group,
    MonthOrYear,
    TotalRow,
    periodic,
)
from shared.amounts import Vector
from shared.days import Said, last_day
from shared.measures import PIECE, STAGES, FinanceType, Stage, contains

DIMENSIONS: Final[Mapping[str, Dimension | None]] = {
    "donor": "donors",
    "beneficiary": "beneficiaries",
    "coalition": "coalition",
    # always apart
    "capability": None,
    "unit": None,
    "stage": None,
    "finance_type": None,
}
LABEL_OF: Final = "label:"


def grouping(said: str | None) -> str | None:
    """See that rows can be grouped so. Raises ValueError."""
    if said is not None:
        dimensions(said)
    return said


def dimensions(said: str) -> tuple[list[Dimension], list[str]]:
    """Read what rows are to be grouped by: dimensions, and keys of labels. Raises ValueError."""
    found: dict[Dimension, None] = {}
    labels: dict[str, None] = {}
    for name in said.split(","):
        key = name.removeprefix(LABEL_OF)
        if name.startswith(LABEL_OF) and key and "=" not in key and "\0" not in key:
            labels[key] = None
        elif name not in DIMENSIONS:
            raise ValueError(f"{name[:40]!r} is none of {', '.join(DIMENSIONS)} or {LABEL_OF}<key>")
        elif (dimension := DIMENSIONS[name]) is not None:
            found[dimension] = None
    if len(labels) > MOST_LABELS:
        raise ValueError(f"at most {MOST_LABELS} labels at once")
    return list(found), list(labels)


MOST_LABELS: Final = 3
"""By how many labels rows may be grouped at once."""


class TotalsQuery(InCurrency):
    """Which rows of a scope."""

    capability: Capability | None = Field(default=None, description="This code and its descendants")
    unit: Unit | None = None
    stage: Stage | None = None
    finance_type: FinanceType | Literal["none"] | None = Field(default=None, description="`none`: not said")
    rollup: bool = Field(default=False, description="Merge the capabilities below the one that was asked for")
    label: Labels = Field(default_factory=list)
    period: Period | None = None
    group_by: Annotated[
        str | None,
        AfterValidator(grouping),
        Field(
            max_length=400,
            description="Also give rows apart by these, by comma: donor, beneficiary, coalition, `label:` and a key; "
            "capability, unit, stage and finance_type always are apart. The rows are disjoint and add up to `totals`",
            examples=["donor", "coalition,label:sector"],
        ),
    ] = None
    by: MonthOrYear | None = Field(default=None, description="Also give a series by period")


class OfCoalition(TotalsQuery):
    """Rows of a coalition."""

    donor: Code | None = Field(default=None, description="Own rows; those of groups it is in are beside, as `joint`")
    beneficiary: Code | None = None


class OfDonor(TotalsQuery):
    """Rows of a party as a donor."""

    coalition: Id | None = None
    beneficiary: Code | None = None


class OfBeneficiary(TotalsQuery):
    """Rows of a party as a beneficiary."""

    coalition: Id | None = None
    donor: Code | None = None


class OfAll(TotalsQuery):
    """Rows of the whole ledger."""

    coalition: Id | None = None
    donor: Code | None = None
    beneficiary: Code | None = None


class TotalRowShown(Interval):
    """One disjoint row: rows may be summed by anyone without counting twice, within a stage, unit and finance type."""

    capability: str
    unit: str
    stage: Stage
    finance_type: str | None = Field(description="null: not said")
    surplus: str = Field(description="Delivered above what was pledged, pledge by pledge")
    conditional: str = Field(description="The part of low that hangs on conditions")
    explain: str = Field(description="The postings behind this row; their sum is this row")


class DonorRow(TotalRowShown):
    """The row of one donor, or of a group whose shares nobody said."""

    parties: list[str]


class JointRow(DonorRow):
    """[0, whole] of a group that the party asked for is in: of donors, or of beneficiaries."""

    beneficiaries: list[str]


class GroupRow(TotalRowShown):
    """A row apart by what was asked for in `group_by`; what was not is absent."""

    donors: list[str] | None = None
    beneficiaries: list[str] | None = None
    coalition: str | None = Field(default=None, description="null: outside of all coalitions")
    labels: dict[str, list[str]] | None = Field(
        default=None, description="All values of each label that was asked for; none where it carries none"
    )


class PeriodRow(TotalRowShown):
    """A row at the end of a period in which something changed."""

    period: str = Field(examples=["2024-02"])


class Totals(When):
    """Totals of a scope."""

    complete_to: date | None = Field(description="The ledger is believed complete to this day; null: nobody said")
    headline: str
    totals: list[TotalRowShown]
    by_donor: list[DonorRow]
    joint: list[JointRow]
    groups: list[GroupRow] | None = None
    series: list[PeriodRow] | None = None
    converted: Converted | None = Field(default=None, description="With `in`: money in one currency, beside")
    cite: Cite


router = APIRouter(prefix="/v1", tags=["totals"])


@router.get("/totals", response_model=Totals, responses=responses())
async def all_totals(request: Request, query: Annotated[OfAll, Query()]) -> Response:
    """Give the totals of the whole ledger."""
    which = asked(query, coalition=query.coalition, donor=query.donor, beneficiary=query.beneficiary)

    async def make(conn: AsyncConnection, asof: AsOf) -> dict[str, Any]:
        return await totals(conn, asof, which, query, view(request, query), path=request.url.path)

    return await reader(request).answer(request, query, reads(which.where), make)


@router.get("/coalitions/{coalition}/totals", response_model=Totals, responses=responses(404))
async def coalition_totals_of(
    request: Request, coalition: Annotated[Id, Path()], query: Annotated[OfCoalition, Query()]
) -> Response:
    """Give the totals of a coalition."""
    which = asked(query, coalition=coalition, donor=query.donor, beneficiary=query.beneficiary)

    async def make(conn: AsyncConnection, asof: AsOf) -> dict[str, Any]:
        found = await coalition_known(conn, coalition, asof)
        return await totals(
            conn,
            asof,
            which,
            query,
            view(request, query),
            path=request.url.path,
            complete_to=found.complete_to(asof.on),
        )

    return await reader(request).answer(request, query, reads(which.where), make)


@router.get("/parties/{party}/totals", response_model=Totals, responses=responses(404))
async def party_totals(
    request: Request, party: Annotated[Code, Path()], query: Annotated[OfDonor, Query()]
) -> Response:
    """Give what a party promised and gave: its own rows, and beside them [0, rest] of the groups it is in."""
    which = asked(query, coalition=query.coalition, donor=party, beneficiary=query.beneficiary)

    async def make(conn: AsyncConnection, asof: AsOf) -> dict[str, Any]:
        await party_known(conn, party, asof)
        return await totals(conn, asof, which, query, view(request, query), path=request.url.path)

    return await reader(request).answer(request, query, reads(which.where), make)


@router.get("/beneficiaries/{party}/totals", response_model=Totals, responses=responses(404))
async def beneficiary_totals(
    request: Request, party: Annotated[Code, Path()], query: Annotated[OfBeneficiary, Query()]
) -> Response:
    """Give what a party was promised and got: for it alone, and beside it [0, whole] of what it shares with others."""
    which = asked(query, coalition=query.coalition, donor=query.donor, beneficiary=party)

    async def make(conn: AsyncConnection, asof: AsOf) -> dict[str, Any]:
        await party_known(conn, party, asof)
        return await totals(conn, asof, which, query, view(request, query), path=request.url.path)

    return await reader(request).answer(request, query, reads(which.where), make)


def asked(
    query: TotalsQuery, *, coalition: str | None, donor: str | None = None, beneficiary: str | None = None
) -> Asked:
    """Give the numbers that a question is about."""
    where = Filter(
        coalition=coalition,
        donor=donor,
        beneficiary=beneficiary,
        capability=query.capability,
        unit=query.unit,
        stage=query.stage,
        finance_type="" if query.finance_type == NONE else query.finance_type,
        labels=tuple(label(one) for one in query.label),
        period=None if query.period is None else a_period(query.period),
    )
    return Asked(where=where)


async def totals(
    conn: AsyncConnection,
    asof: AsOf,
    which: Asked,
    query: TotalsQuery,
    money: View | None = None,
    *,
    path: str,
    complete_to: date | None = None,
) -> dict[str, Any]:
    """Give the totals of a scope, by row and by donor, with a headline and how to cite them."""
    own = await own_rows(conn, asof, which)
    joint = await joint_rows(conn, asof, which)
    all_rows = merged(own, which)
    capability = which.where.capability
    if query.rollup and capability is not None:
        own, joint, all_rows = rolled_up(own, capability), rolled_up(joint, capability), rolled_up(all_rows, capability)
    answer: dict[str, Any] = {
        "complete_to": complete_to,
        "headline": headline(all_rows),
        "totals": [total_row(asof, row) for row in ordered(all_rows)],
        "by_donor": [{"parties": list(row.donors), **total_row(asof, row)} for row in ordered(own)],
        "joint": [
            {"parties": list(row.donors), "beneficiaries": list(row.beneficiaries), **total_row(asof, row)}
            for row in ordered(joint)
        ],
        "cite": cite(asof, path, **spelled(query)),
    }
    if query.group_by is not None:
        answer["groups"] = await _groups(conn, asof, which, query)
    if money is not None:
        answer["converted"] = await converted(conn, asof, own_question(which), money)
    if query.by is not None:
        answer["series"] = await _series(conn, asof, which, query, query.by)
    return answer


async def _groups(conn: AsyncConnection, asof: AsOf, which: Asked, query: TotalsQuery) -> list[dict[str, Any]]:
    """Give the rows apart by what was asked for."""
    by, labels = dimensions(query.group_by or "")
    found = await grouped_rows(conn, asof, which, by, labels)
    if query.rollup and which.where.capability is not None:
        found = rolled_up(found, which.where.capability)
    return [group_shown(row.group) | total_row(asof, row) for row in ordered(found)]


def group_shown(group: Group) -> dict[str, Any]:
    """Show what a row is apart by."""
    shown: dict[str, Any] = {}
    if group.coalition is not None:
        shown["coalition"] = group.coalition or None
    if group.donors is not None:
        shown["donors"] = list(group.donors)
    if group.beneficiaries is not None:
        shown["beneficiaries"] = list(group.beneficiaries)
    if group.labels:
        shown["labels"] = {key: list(values) for key, values in group.labels}
    return shown


def spelled(query: InCurrency) -> dict[str, str | bool | Sequence[str] | None]:
    """Write the filters of a question as they were asked."""
    said = query.model_dump(by_alias=True, exclude={"on", "since", "known", "min_position"}, exclude_defaults=True)
    return {name: value for name, value in said.items() if isinstance(value, str | bool | list)}


def cite(asof: AsOf, path: str, **filters: str | bool | Sequence[str] | None) -> dict[str, str]:
    """Say how to refer to this answer for good."""
    text = f"Muster ledger {asof.ledger!r}, position {asof.position}, on {asof.on.isoformat()}"
    return {
        "text": text,
        "url": f"{path}?{asof.pinned(**filters)}",
        "changes_since": changes_since(asof, path, filters),
    }


SCOPES: Final = {"coalitions": "coalition", "parties": "donor", "beneficiaries": "beneficiary", "pledges": "account"}
COMPARED: Final = (
    "coalition",
    "donor",
    "beneficiary",
    "capability",
    "unit",
    "stage",
    "finance_type",
    "label",
    "period",
)


def changes_since(asof: AsOf, path: str, filters: Mapping[str, str | bool | Sequence[str] | None]) -> str:
    """Give the link to what changed from the position of an answer to now, in its scope, for its day."""
    said = {name: filters.get(name) for name in COMPARED}
    scope, _, name = path.removeprefix("/v1/").partition("/")
    if scope in SCOPES and name:
        name = name.partition("/")[0]
        said[SCOPES[scope]] = f"pledge-{name}" if scope == "pledges" else name
    since = None if asof.since is None else asof.since.isoformat()
    return "/v1/diff?" + in_query(**{"from": str(asof.position), "on": asof.on.isoformat(), "since": since}, **said)


def total_row(asof: AsOf, found: Counted) -> dict[str, Any]:
    """Show one row, with the link to the postings that make it."""
    row, value = found.row, found.value
    return {
        "capability": row.capability,
        "unit": row.unit,
        "stage": row.stage,
        "finance_type": row.finance_type or None,
        **interval(value, by_part=found.by_part),
        "surplus": figure(value.surplus),
        "conditional": figure(value.conditional),
        "explain": found.link(asof),
    }


def ordered(rows: Iterable[Counted]) -> list[Counted]:
    """Put rows in the order of capability, unit (pieces first), stage, and who gives."""
    return sorted(
        rows, key=lambda found: (*_place(found.row), found.donors, found.beneficiaries, _of_group(found.group))
    )


def _of_group(group: Group) -> tuple[object, ...]:
    return group.coalition or "", group.donors or (), group.beneficiaries or (), group.labels


def _place(row: TotalRow) -> tuple[str, bool, str, int, str]:
    return row.capability, row.unit != PIECE, row.unit, STAGES.index(row.stage), row.finance_type


async def _series(
    conn: AsyncConnection, asof: AsOf, which: Asked, query: TotalsQuery, period: MonthOrYear
) -> list[dict[str, Any]]:
    """Give the rows at the end of each period in which something changed; one that came to nothing once more, as 0."""

    async def added_by(where: Filter) -> list[Step[TotalRow]]:
        return await periodic(conn, period, on=asof.on, known=asof.known, since=asof.since, where=where)

    written = len("2024") if period == "year" else len("2024-02")
    series: list[dict[str, Any]] = []
    before: dict[TotalRow, Vector] = {}
    for first, changes in groupby(await steps(which, added_by), itemgetter(0)):
        name = first.isoformat()[:written]
        end = replace(asof, on=min(asof.on, last_day(Said(name))))
        changed = [
            (row._replace(capability=query.capability) if query.rollup and query.capability else row, change)
            for _, row, change in changes
        ]
        rows = added([*before.items(), *changed])
        series += [
            {"period": name} | total_row(end, Counted(row, vector, which, exactly=not query.rollup))
            for row, vector in sorted(rows.items(), key=lambda item: _place(item[0]))
            if vector or before.get(row)
        ]
        before = rows
    return series


def headline(rows: Iterable[Counted]) -> str:
    """Say the totals in a line: what was promised and what came, never as one number."""
    found = list(rows)
    root = _common([row.row.capability for row in found])
    measured: dict[tuple[str, str], dict[Stage, Vector]] = {}
    for row in found:
        stages = measured.setdefault((root or row.row.capability, row.row.unit), {})
        stages[row.row.stage] = stages[row.row.stage] + row.value if row.row.stage in stages else row.value
    return "; ".join(
        f"{capability} in {names.unit(unit)}: "
        + ", ".join(f"{in_words(stages[stage])} {stage}" for stage in STAGES if stage in stages)
        for (capability, unit), stages in sorted(measured.items(), key=lambda item: (item[0][1] != PIECE, item[0]))
    )


def in_words(vector: Vector) -> str:
    """Say a total: `at least 2,000`, `450 to 500`, with what it leaves out."""
    low, high = f"{vector.low:,f}", vector.bound
    if high is None:
        said = f"at least {low}"
    elif high == vector.low:
        said = f"about {low}" if vector.about else low
    else:
        said = f"{low} to {high:,f}"
    return f"{said} (plus {vector.unknown} without a number)" if vector.unknown > 0 else said


def _common(capabilities: Sequence[str]) -> str | None:
    """Give the code that contains all of them, if there is one."""
    if not capabilities:
        return None
    root = capabilities[0].split(".")
    while root and not all(contains(".".join(root), other) for other in capabilities):
        root = root[:-1]
    return ".".join(root) or None
