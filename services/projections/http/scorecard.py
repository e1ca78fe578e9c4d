"""Scorecards: what a party promised (or was promised) and what of it came, pledge by pledge; and what is overdue."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any, Final

from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from services.projections.http.asof import AsOf
from services.projections.http.counted import Counted, added
from services.projections.http.pledges import membership, pledges_known
from services.projections.http.shown import Answer, Interval, figure, interval
from services.projections.pledges import KnownPledge
from services.projections.read_models import outstanding, pledges
from services.projections.read_models.outstanding import Outstanding, Side
from shared.amounts import ZERO, Vector
from shared.measures import PIECE, Stage

SHOWN: Final[tuple[Stage, ...]] = ("pledged", "committed", "delivered", "confirmed")
KINDS: Final[dict[Side, str]] = {"donors": "donor", "beneficiaries": "beneficiary"}

LOOKED_AT: Final = 1_000
"""The most pledges past their deadline that one answer judges."""
LISTED: Final = 100
"""The most overdue pledges that one answer lists."""

TENTH: Final = Decimal("0.1")
ZERO_PERCENT: Final = Decimal(0)


class StageOfScore(Interval):
    """What came to a stage, with the link to its postings."""

    explain: str


class Score(Answer):
    """One capability, unit and kind of finance: what was promised, and what of it came. Stages never add up."""

    capability: str
    unit: str
    finance_type: str | None
    pledged: StageOfScore | None = Field(description="null: nothing in this stage")
    committed: StageOfScore | None
    delivered: StageOfScore | None
    confirmed: StageOfScore | None
    outstanding: str = Field(description="max(0, pledged.low - delivered.low) of each pledge, summed")
    kept: str = Field(description="What came of the pledged lows, each pledge counted up to its own")
    fulfilled: int = Field(description="Pledges of which at least the low came")
    of: int = Field(description="Pledges that promise a number in this row on the day")
    percent_low: str | None = Field(description="The least share of what is pledged that came; null: open")
    percent_high: str | None = Field(description="The most; null: open")


class OverduePledge(Answer):
    """A pledge that was due before the day, of which less came than its low."""

    id: str
    parties: list[str] = Field(description="Its donors")
    capability: str
    unit: str
    due_by: date
    pledged: str
    delivered: str
    missing: str
    link: str


class Overdue(Answer):
    """Pledges that are overdue on the day."""

    count: int
    complete: bool = Field(description=f"false: more than {LOOKED_AT} are past due, and only those were judged")
    pledges: list[OverduePledge] = Field(description=f"Those due first, at most {LISTED}")
    link: str = Field(description="All of them, page by page")


def scores(rows: Iterable[Counted], came: Iterable[Outstanding], asof: AsOf) -> list[dict[str, Any]]:
    """Lay a party's own rows and what its pledges still lack side by side."""
    rows = list(rows)
    sums = added(((row.row.capability, row.row.unit, row.row.finance_type, row.row.stage), row.value) for row in rows)
    links = {(row.row.capability, row.row.unit, row.row.finance_type, row.row.stage): row.link(asof) for row in rows}
    lacking = {(found.capability, found.unit, found.finance_type): found for found in came}
    keys = {key[:3] for key in sums if key[3] in SHOWN} | lacking.keys()
    result = []
    for capability, unit, finance_type in sorted(keys, key=lambda key: (key[0], key[1] != PIECE, key[1], key[2])):
        found = lacking.get((capability, unit, finance_type))
        stages = {stage: sums.get((capability, unit, finance_type, stage)) for stage in SHOWN}
        low, high = (None, None) if found is None else share(stages["pledged"] or ZERO, found)
        shown: dict[str, dict[str, Any] | None] = {
            stage: None
            if value is None
            else {**interval(value, by_part=True), "explain": links[capability, unit, finance_type, stage]}
            for stage, value in stages.items()
        }
        result.append(
            {
                "capability": capability,
                "unit": unit,
                "finance_type": finance_type or None,
                **shown,
                "outstanding": "0" if found is None else figure(found.missing),
                "kept": "0" if found is None else figure(found.kept_low),
                "fulfilled": 0 if found is None else found.fulfilled,
                "of": 0 if found is None else found.pledged,
                "percent_low": low,
                "percent_high": high,
            }
        )
    return result


def share(pledged: Vector, found: Outstanding) -> tuple[str | None, str | None]:
    """Give the least and the most that came of what is pledged, in percent, rounded outwards to 0.1; None: open.

    Each pledge counts up to its own amount, so what one brought too much does not make up for another. An open or
    undisclosed pledge leaves the least open, unless nothing came; an open or undisclosed delivery the most.
    """
    low = high = None
    if not found.kept_low:
        low = ZERO_PERCENT
    elif pledged.bound and not pledged.unknown:
        low = (100 * found.kept_low / pledged.bound).quantize(TENTH, ROUND_FLOOR)
    if pledged.low > 0 and found.kept_high is not None:
        high = min(Decimal(100), (100 * found.kept_high / pledged.low).quantize(TENTH, ROUND_CEILING))
    return _or_null(low), _or_null(high)


async def overdue(conn: AsyncConnection, asof: AsOf, party: str, side: Side) -> dict[str, Any]:
    """Give what is overdue of a party's pledges, joint ones included: the same that `flag=overdue` finds."""
    kind = KINDS[side]
    due = await pledges.past_due(conn, known=asof.position, on=asof.on, kind=kind, name=party)
    came = await outstanding.settled(conn, on=asof.on, known=asof.position, pledges=sorted(due))
    suspect = sorted(due.keys() - came, key=lambda name: (due[name], name))
    known = await pledges_known(conn, asof, suspect[:LOOKED_AT])
    is_member = await membership(conn, asof, known)
    late = [
        pledge
        for pledge in known
        if party in _named(pledge, side, asof.on) and "overdue" in pledge.flags(asof.on, asof.today, is_member)
    ]
    return {
        "count": len(late),
        "complete": len(suspect) <= LOOKED_AT,
        "pledges": [_late(pledge, asof.on) for pledge in late[:LISTED]],
        "link": f"/v1/pledges?{asof.between(None, asof.on).pinned(**{kind: party, 'flag': 'overdue'})}",
    }


def _named(pledge: KnownPledge, side: Side, day: date) -> Sequence[str]:
    shares = pledge.donors(day) if side == "donors" else pledge.opening.beneficiaries
    return [one.party for one in shares]


def _late(pledge: KnownPledge, day: date) -> dict[str, Any]:
    promised, came = pledge.promised(day), pledge.came(day)
    assert promised is not None  # noqa: S101  # what is overdue promised something
    assert pledge.opening.amount is not None  # noqa: S101  # and has a number
    return {
        "id": pledge.id,
        "parties": [one.party for one in pledge.donors(day)],
        "capability": pledge.opening.capability,
        "unit": pledge.opening.amount.unit,
        "due_by": pledge.due_by(day),
        "pledged": figure(promised.low),
        "delivered": figure(came),
        "missing": figure(promised.low - came),
        "link": f"/v1/pledges/{pledge.id}",
    }


def _or_null(percent: Decimal | None) -> str | None:
    return None if percent is None else figure(percent)
