"""Which numbers are asked for, what they add up to, and the link that explains them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal
from functools import lru_cache
from typing import Final, NamedTuple, TypeAlias, TypeVar

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from services.projections.http.asof import AsOf, in_query
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
)
from services.projections.read_models.entries import ENTRIES
from services.projections.read_models.traits import TRAITS
from shared.amounts import ZERO, Vector
from shared.measures import Stage

K = TypeVar("K")
Step: TypeAlias = tuple[date, K, Vector]
"""A day, what changed on it, by how much."""

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
        return _link(
            _whose(where.coalition, where.donor, where.donors, where.beneficiary, where.beneficiaries),
            _what(where.capability, where.exactly, where.unit, where.stage, where.finance_type),
            _which(where.account, where.labels, where.labelled, where.period, self.at_most),
            asof,
        )


def _link(whose: str, what: str, which: str, asof: AsOf) -> str:
    return f"/v1/postings?{whose}{what}{which}{asof.pinned()}"


# A large answer has a link for each of its numbers, and few different parts of links.

PARTS: Final = 2_500
"""How many of each part are remembered: in a large ledger a few hundred recur, and each takes half a kilobyte."""


@lru_cache(maxsize=PARTS)
def _whose(
    coalition: str | None,
    donor: str | None,
    donors: tuple[str, ...] | None,
    beneficiary: str | None,
    beneficiaries: tuple[str, ...] | None,
) -> str:
    return _part(
        coalition=_or_none(coalition),
        donor=donor,
        donors=_codes(donors),
        beneficiary=beneficiary,
        beneficiaries=_codes(beneficiaries),
    )


@lru_cache(maxsize=PARTS)
def _what(
    capability: str | None,
    exactly: bool,  # noqa: FBT001  # as the filter has it
    unit: str | None,
    stage: str | None,
    finance_type: str | None,
) -> str:
    return _part(
        capability=capability,
        exactly=True if capability is not None and exactly else None,
        unit=unit,
        stage=stage,
        finance_type=_or_none(finance_type),
    )


@lru_cache(maxsize=PARTS)
def _which(
    account: str | None,
    labels: tuple[tuple[str, str], ...],
    labelled: tuple[tuple[str, tuple[str, ...]], ...],
    period: tuple[date, date] | None,
    at_most: bool,  # noqa: FBT001  # as the question has it
) -> str:
    return _part(
        account=account,
        label=[f"{key}={value}" for key, value in labels] or None,
        labelled=[f"{key}={msgspec.json.encode(values).decode()}" for key, values in labelled] or None,
        period=None if period is None else "..".join(day.isoformat() for day in period),
        at_most=True if at_most else None,
    )


def _part(**filters: str | bool | Sequence[str] | None) -> str:
    said = in_query(**filters)
    return f"{said}&" if said else ""


class Counted(NamedTuple):
    """One row of an answer: what it is about, its value, and the question that it is one of the rows of.

    `by` says whose group `row.parties` is, where rows are kept apart by it. `exactly` is False where the row is about
    its capability with all that it contains.

    It is a tuple because an answer may have thousands.
    """

    row: TotalRow
    value: Vector
    of: Asked
    by: By | None = None
    group: Group = UNGROUPED
    exactly: bool = True

    @property
    def donors(self) -> tuple[str, ...]:
        """Who gives, where rows are kept apart by it."""
        return self.row.parties if self.by == "donors" else ()

    @property
    def beneficiaries(self) -> tuple[str, ...]:
        """For whom, where rows are kept apart by it."""
        return self.row.parties if self.by == "beneficiaries" else ()

    @property
    def by_part(self) -> bool:
        """Whether a pledge may be in it with a part only."""
        apart = self.by is not None or self.group.donors is not None or self.group.beneficiaries is not None
        return apart or self.of.by_part

    def link(self, asof: AsOf) -> str:
        """Give the link to the postings that make this row alone, as known at the position of the answer."""
        where, group, row = self.of.where, self.group, self.row
        donors = row.parties if self.by == "donors" else group.donors
        beneficiaries = row.parties if self.by == "beneficiaries" else group.beneficiaries
        return _link(
            _whose(
                where.coalition if group.coalition is None else group.coalition,
                where.donor if donors is None else None,
                where.donors if donors is None else donors,
                where.beneficiary if beneficiaries is None else None,
                where.beneficiaries if beneficiaries is None else beneficiaries,
            ),
            _what(row.capability, self.exactly, row.unit, row.stage, row.finance_type),
            _which(where.account, where.labels, (*where.labelled, *group.labels), where.period, self.of.at_most),
            asof,
        )


async def own_rows(conn: AsyncConnection, asof: AsOf, asked: Asked) -> list[Counted]:
    """Give the rows of a question by donors: of a party that was asked for, its own ones only."""
    where = _own(asked.where)
    found = await coalition_totals.totals(
        conn, on=asof.on, known=asof.known, since=asof.since, where=where, by="donors"
    )
    own = Asked(where=where, at_most=asked.at_most)
    return [Counted(row, value, own, "donors") for row, value in found]


async def whole_rows(conn: AsyncConnection, asof: AsOf, asked: Asked) -> list[Counted]:
    """Give the rows of a question, whoever gives: of a party that was asked for, its own ones added up."""
    own = Asked(where=_own(asked.where), at_most=asked.at_most)
    found = await coalition_totals.totals(conn, on=asof.on, known=asof.known, since=asof.since, where=own.where)
    return [Counted(row, value, own) for row, value in found]


async def changed_rows(
    conn: AsyncConnection, asof: AsOf, asked: Asked, position: int
) -> tuple[list[Counted], list[Counted]]:
    """Give the rows of `whole_rows` that changed since an earlier position, as they were known there and as they are.

    Only these are added up, however many rows there are; what was learned since is taken off.
    """
    own = Asked(where=_own(asked.where), at_most=asked.at_most)
    learned = await coalition_totals.learned_since(
        conn, position, on=asof.on, known=asof.position, since=asof.since, where=own.where
    )
    changes = [(row, change) for row, change in learned if change]
    if not changes:
        return [], []
    only = replace(own.where, rows=tuple(row for row, _ in changes))
    now = await coalition_totals.totals(conn, on=asof.on, known=asof.known, since=asof.since, where=only)
    then = added([*now, *((row, -change) for row, change in changes)])
    return (
        [Counted(row, value, own) for row, value in then.items() if value],
        [Counted(row, value, own) for row, value in now],
    )


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
        joint = Asked(where=question, at_most=True)
        counted += [Counted(row, at_most_of(value), joint, by) for row, value in found if row.parties != itself]
    return counted


async def grouped_rows(
    conn: AsyncConnection, asof: AsOf, asked: Asked, by: Sequence[Dimension], labels: Sequence[str]
) -> list[Counted]:
    """Give the rows of a question apart by these dimensions; of a party that was asked for, its own ones only."""
    own = replace(asked, where=_own(asked.where))
    found = await coalition_totals.grouped(
        conn, on=asof.on, known=asof.known, since=asof.since, where=own.where, by=by, labels=labels
    )
    return [Counted(row, value, own, group=group) for row, group, value in found]


async def steps(asked: Asked, added_by: Callable[[Filter], Awaitable[list[Step[K]]]]) -> list[Step[K]]:
    """Give what is added from day to day as this question counts it; `added_by` gives that of what a filter takes."""
    everything = await added_by(asked.where)
    if asked.at_most:
        return [(day, key, at_most_of(change)) for day, key, change in everything]
    if asked.where.donor is None and asked.where.beneficiary is None:
        return everything
    own = [((day, key), change) for day, key, change in await added_by(_own(asked.where))]
    groups = added([*(((day, key), change) for day, key, change in everything), *((at, -change) for at, change in own)])
    both = added([*own, *((at, at_most_of(change)) for at, change in groups.items())])
    return sorted((day, key, change) for (day, key), change in both.items() if change)


def merged(rows: Iterable[Counted], asked: Asked) -> list[Counted]:
    """Add up rows that differ only in who gives; each is then a question about all that was asked for."""
    sums = added((row.row[:4], row.value) for row in rows)
    own = Asked(where=_own(asked.where), at_most=asked.at_most)
    return [Counted(TotalRow(*place), value, own) for place, value in sums.items() if value]


def rolled_up(rows: Iterable[Counted], capability: str) -> list[Counted]:
    """Let rows be about one capability, with all that it contains."""
    result: dict[tuple[TotalRow, By | None, Group], Counted] = {}
    for found in rows:
        row = found.row._replace(capability=capability)
        key = row, found.by, found.group
        before = result[key].value if key in result else ZERO
        result[key] = found._replace(row=row, value=before + found.value, exactly=False)
    return [row for row in result.values() if row.value]


def at_most_of(whole: Vector) -> Vector:
    """Give what a part of a whole may be when nobody said which: [0, whole]."""
    return whole._replace(low=Decimal(0), surplus=Decimal(0), conditional=Decimal(0))


def added(values: Iterable[tuple[K, Vector]]) -> dict[K, Vector]:
    """Add vectors of the same key, in the order in which keys appear."""
    found: dict[K, Vector] = {}
    for key, vector in values:
        found[key] = found[key] + vector if key in found else vector
    return found


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
