"""Which numbers are asked for, what they add up to, and the link that explains them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal
from typing import Final, TypeVar

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from services.projections.http.asof import AsOf
from services.projections.postings import Row
from services.projections.read_model import ReadModel
from services.projections.read_models import coalition_totals
from services.projections.read_models.coalition_totals import (
    COALITION_TOTALS,
    By,
    Dimension,
    Filter,
    Group,
    TotalRow,
    daily,
)
from services.projections.read_models.entries import ENTRIES
from services.projections.read_models.traits import TRAITS
from shared.amounts import ZERO, Vector
from shared.measures import Stage

K = TypeVar("K")

READS: Final[tuple[ReadModel, ...]] = (COALITION_TOTALS, ENTRIES)

UNGROUPED: Final = Group()

NONE: Final = "none"
"""How a query asks for what has no coalition, or whose finance type was not said."""


def reads(where: Filter) -> tuple[ReadModel, ...]:
    """Give the read models that a question reads: that of labels and periods only where it names one."""
    return (*READS, TRAITS) if where.needs_traits else READS


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Which numbers a question is about.

    Of the party in `where.donor` (or `where.beneficiary`) its own rows count as they are, those of the groups it is in
    count [0, whole], since nobody said its share. `at_most` counts all of them so: a group's row, seen from one of it.
    """

    where: Filter = field(default_factory=Filter)
    at_most: bool = False

    @property
    def by_part(self) -> bool:
        """Whether a pledge may be in it with a part only, so that it is counted with each."""
        where = self.where
        return any(who is not None for who in (where.donor, where.donors, where.beneficiary, where.beneficiaries))

    def weighed(self, row: Row, vector: Vector) -> Vector:
        """Count a posting as this question does."""
        where = self.where
        other_donors = where.donor is not None and row.donors != (where.donor,)
        other_beneficiaries = where.beneficiary is not None and row.beneficiaries != (where.beneficiary,)
        return at_most_of(vector) if self.at_most or other_donors or other_beneficiaries else vector

    def weighed_whole(self, value: Vector) -> Vector:
        """Count a sum of whole rows as this question does."""
        return at_most_of(value) if self.at_most else value

    def of_stage(self, stage: Stage) -> Asked:
        """Ask the same of one stage."""
        return replace(self, where=replace(self.where, stage=stage))

    def link(self, asof: AsOf) -> str:
        """Give the link to the postings that make these numbers, as known at the position of the answer."""
        where = self.where
        return "/v1/postings?" + asof.pinned(
            coalition=_or_none(where.coalition),
            donor=where.donor,
            donors=_codes(where.donors),
            beneficiary=where.beneficiary,
            beneficiaries=_codes(where.beneficiaries),
            capability=where.capability,
            exactly=True if where.capability is not None and where.exactly else None,
            unit=where.unit,
            stage=where.stage,
            finance_type=_or_none(where.finance_type),
            account=where.account,
            label=[f"{key}={value}" for key, value in where.labels] or None,
            labelled=[f"{key}={msgspec.json.encode(values).decode()}" for key, values in where.labelled] or None,
            period=None if where.period is None else "..".join(day.isoformat() for day in where.period),
            at_most=True if self.at_most else None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """One row of an answer: what it is about, its value, and the question that is about it alone.

    `donors` and `beneficiaries` name the group where the rows are kept apart by it.
    """

    row: TotalRow
    value: Vector
    asked: Asked
    donors: tuple[str, ...] = ()
    beneficiaries: tuple[str, ...] = ()
    group: Group = UNGROUPED


async def own_rows(conn: AsyncConnection, asof: AsOf, asked: Asked) -> list[Counted]:
    """Give the rows of a question by donors: of a party that was asked for, its own ones only."""
    where = _own(asked.where)
    found = await coalition_totals.totals(
        conn, on=asof.on, known=asof.known, since=asof.since, where=where, by="donors"
    )
    return [_row(Asked(where=where, at_most=asked.at_most), row, value, "donors") for row, value in found]


async def joint_rows(conn: AsyncConnection, asof: AsOf, asked: Asked) -> list[Counted]:
    """Give, as [0, whole], the rows of the groups that the party asked for is in; none where no party was asked for."""
    where = asked.where
    questions: list[tuple[Filter, By, tuple[str, ...]]] = []
    if where.donor is not None:
        questions.append((where, "donors", (where.donor,)))
    if where.beneficiary is not None:
        alone = where if where.donor is None else replace(where, donor=None, donors=(where.donor,))
        questions.append((alone, "beneficiaries", (where.beneficiary,)))
    counted = []
    for question, by, itself in questions:
        found = await coalition_totals.totals(
            conn, on=asof.on, known=asof.known, since=asof.since, where=question, by=by
        )
        counted += [
            _row(Asked(where=question, at_most=True), row, at_most_of(value), by)
            for row, value in found
            if row.parties != itself
        ]
    return counted


async def grouped_rows(
    conn: AsyncConnection, asof: AsOf, asked: Asked, by: Sequence[Dimension], labels: Sequence[str]
) -> list[Counted]:
    """Give the rows of a question apart by these dimensions; of a party that was asked for, its own ones only."""
    own = _own(asked.where)
    found = await coalition_totals.grouped(
        conn, on=asof.on, known=asof.known, since=asof.since, where=own, by=by, labels=labels
    )
    counted = []
    for row, group, value in found:
        where = _narrowed(own, row)
        if group.coalition is not None:
            where = replace(where, coalition=group.coalition)
        if group.donors is not None:
            where = replace(where, donor=None, donors=group.donors)
        if group.beneficiaries is not None:
            where = replace(where, beneficiary=None, beneficiaries=group.beneficiaries)
        where = replace(where, labelled=(*where.labelled, *group.labels))
        counted.append(Counted(row=row, value=value, asked=replace(asked, where=where), group=group))
    return counted


async def steps_by_day(
    conn: AsyncConnection, asof: AsOf, asked: Asked, *, on: date | None = None
) -> list[tuple[date, TotalRow, Vector]]:
    """Give what each day up to `on` (default: the answer's) adds to the rows, as this question counts it."""
    until = on or asof.on
    everything = await daily(conn, on=until, known=asof.known, since=asof.since, where=asked.where)
    if asked.at_most:
        return [(day, row, at_most_of(change)) for day, row, change in everything]
    if asked.where.donor is None and asked.where.beneficiary is None:
        return everything
    own = await daily(conn, on=until, known=asof.known, since=asof.since, where=_own(asked.where))
    groups = added([*(((day, row), change) for day, row, change in everything), *(((d, r), -c) for d, r, c in own)])
    both = added([*(((d, r), c) for d, r, c in own), *((key, at_most_of(change)) for key, change in groups.items())])
    return sorted((day, row, change) for (day, row), change in both.items() if change)


def merged(rows: Iterable[Counted], asked: Asked) -> list[Counted]:
    """Add up rows that differ only in who gives; each is then a question about all that was asked for."""
    sums = added((row.row._replace(parties=()), row.value) for row in rows)
    where = _own(asked.where)
    return [
        Counted(row=row, value=value, asked=Asked(where=_narrowed(where, row), at_most=asked.at_most))
        for row, value in sums.items()
        if value
    ]


def rolled_up(rows: Iterable[Counted], capability: str) -> list[Counted]:
    """Let rows be about one capability, with all that it contains."""
    result: dict[tuple[TotalRow, tuple[str, ...], tuple[str, ...], Group], Counted] = {}
    for found in rows:
        row = found.row._replace(capability=capability)
        where = replace(found.asked.where, capability=capability, exactly=False)
        key = row, found.donors, found.beneficiaries, found.group
        before = result[key].value if key in result else ZERO
        result[key] = replace(found, row=row, value=before + found.value, asked=replace(found.asked, where=where))
    return [row for row in result.values() if row.value]


def narrowed(asked: Asked, row: TotalRow, *, exactly: bool = True) -> Asked:
    """Narrow a question down to one of its rows."""
    where = _narrowed(asked.where, row)
    return replace(asked, where=where if exactly else replace(where, exactly=False))


def at_most_of(whole: Vector) -> Vector:
    """Give what a part of a whole may be when nobody said which: [0, whole]."""
    return whole._replace(low=Decimal(0), surplus=Decimal(0), conditional=Decimal(0))


def added(values: Iterable[tuple[K, Vector]]) -> dict[K, Vector]:
    """Add vectors of the same key, in the order in which keys appear."""
    found: dict[K, Vector] = {}
    for key, vector in values:
        found[key] = found.get(key, ZERO) + vector
    return found


def _row(asked: Asked, row: TotalRow, value: Vector, by: By) -> Counted:
    where = _narrowed(asked.where, row)
    if by == "donors":
        where = replace(where, donor=None, donors=row.parties)
        about = replace(asked, where=where)
        return Counted(row=row._replace(parties=()), value=value, asked=about, donors=row.parties)
    where = replace(where, beneficiary=None, beneficiaries=row.parties)
    about = replace(asked, where=where)
    return Counted(row=row._replace(parties=()), value=value, asked=about, beneficiaries=row.parties)


def _narrowed(where: Filter, row: TotalRow) -> Filter:
    return replace(
        where,
        capability=row.capability,
        exactly=True,
        unit=row.unit,
        stage=row.stage,
        finance_type=row.finance_type,
    )


def _own(where: Filter) -> Filter:
    """Narrow a party down to what is its own."""
    if where.donor is not None:
        where = replace(where, donor=None, donors=(where.donor,))
    if where.beneficiary is not None:
        where = replace(where, beneficiary=None, beneficiaries=(where.beneficiary,))
    return where


def _or_none(value: str | None) -> str | None:
    return NONE if value == "" else value


def _codes(parties: tuple[str, ...] | None) -> str | None:
    return None if parties is None else ",".join(parties) or NONE
