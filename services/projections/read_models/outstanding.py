# ruff: noqa: S608 - the names that stand in our SQL are our own, every value is a parameter
"""What is still to come, pledge by pledge: a question to the journal of coalition_totals.

Outstanding is max(0, pledged.low - delivered.low) of each pledge, summed; never a difference of totals, where what one
pledge brought too much would hide what another did not bring.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Final, Literal

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.projections.read_models.coalition_totals import SCHEMA

Side = Literal["donors", "beneficiaries"]
"""Whose page it is: of who gives, or of who is given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outstanding:
    """What the pledges of a party (its own rows) come to in one capability, unit and kind of finance.

    `pledged` counts those that promise something on the day; `fulfilled` is how many of them have at least their low.
    `missing` is what is outstanding; `kept_low` is what came of the pledged lows, each pledge counted up to its own;
    `kept_high` the most that may have come, None while that is open.
    """

    capability: str
    unit: str
    finance_type: str
    pledged: int
    fulfilled: int
    missing: Decimal
    kept_low: Decimal
    kept_high: Decimal | None


BY_PLEDGE: Final = f"""
    WITH own AS MATERIALIZED (
      SELECT row_id, capability, unit, finance_type, stage FROM {SCHEMA}.rows
      WHERE stage IN ('pledged', 'delivered') AND {{side}} = ARRAY[CAST(:party AS text)]
    ), sums AS MATERIALIZED (
      SELECT p.account, r.capability, r.unit, r.finance_type, r.stage,
             sum(p.low) AS low, sum(p.high) AS high, sum(p.open) AS open, sum(p.unknown) AS unknown
      FROM {SCHEMA}.postings p JOIN own r USING (row_id)
      WHERE p.day <= :on AND p.position <= :known
      GROUP BY 1, 2, 3, 4, 5
    ), promised AS (
      SELECT *, count(*) OVER (PARTITION BY account, unit) AS measures FROM sums WHERE stage = 'pledged' AND low > 0
    ), came AS (
      SELECT account, unit, capability, low, high, open, unknown FROM sums WHERE stage = 'delivered'
    ), pledges AS (
      SELECT p.account, p.capability, p.unit, p.finance_type, p.low, p.high, p.open,
             coalesce(sum(d.low), 0) AS came, coalesce(sum(d.high), 0) AS may_have_come,
             coalesce(bool_or(d.open > 0 OR d.unknown > 0), false) AS may_be_more
      FROM promised p LEFT JOIN came d ON d.account = p.account AND d.unit = p.unit
        AND (p.measures = 1 OR d.capability = p.capability OR starts_with(d.capability, p.capability || '.'))
      GROUP BY 1, 2, 3, 4, 5, 6, 7
    )
"""
"""A pledge in several measures of one unit has each delivery in the measure that contains it; in one, all of them."""

SUMMED: Final = f"""
    {BY_PLEDGE}
    SELECT capability, unit, finance_type, count(*) AS pledged, count(*) FILTER (WHERE came >= low) AS fulfilled,
           sum(greatest(0, low - came)) AS missing, sum(greatest(0, least(low, came))) AS kept_low,
           sum(CASE WHEN may_be_more THEN CASE WHEN open > 0 THEN NULL ELSE high END
                    WHEN open > 0 THEN may_have_come ELSE least(high, may_have_come) END) AS kept_high,
           bool_or(may_be_more AND open > 0) AS open
    FROM pledges GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
"""


async def outstanding(
    conn: AsyncConnection, *, on: date, known: int, party: str, side: Side = "donors"
) -> list[Outstanding]:
    """Give what the pledges of a party come to, on a day, as known at a position.

    It reads every posting of the party's own rows once.
    """
    found = await conn.execute(text(SUMMED.format(side=side)), {"on": on, "known": known, "party": party})
    return [
        Outstanding(
            capability=row["capability"],
            unit=row["unit"],
            finance_type=row["finance_type"],
            pledged=row["pledged"],
            fulfilled=row["fulfilled"],
            missing=row["missing"],
            kept_low=row["kept_low"],
            kept_high=None if row["open"] else row["kept_high"],
        )
        for row in found.mappings()
    ]


SETTLED: Final = f"""
    WITH asked AS MATERIALIZED (
      SELECT account, position FROM {SCHEMA}.facts WHERE account = ANY(CAST(:accounts AS text[])) AND position <= :known
    ), sums AS (
      SELECT p.account, r.unit, coalesce(sum(p.low) FILTER (WHERE r.stage = 'pledged'), 0) AS low,
             coalesce(sum(p.low) FILTER (WHERE r.stage = 'delivered'), 0) AS came
      FROM {SCHEMA}.postings p JOIN asked a ON a.position = p.position AND a.account = p.account
      JOIN {SCHEMA}.rows r USING (row_id)
      WHERE p.day <= :on AND r.stage IN ('pledged', 'delivered') GROUP BY 1, 2
    )
    SELECT account FROM sums WHERE low > 0 GROUP BY account HAVING bool_and(came >= low)
"""


async def settled(conn: AsyncConnection, *, on: date, known: int, pledges: Sequence[str]) -> set[str]:
    """Give those of these pledges that promise something, and of which the least that was promised came."""
    if not pledges:
        return set()
    values = {"on": on, "known": known, "accounts": [f"pledge-{name}" for name in pledges]}
    return {row.account.removeprefix("pledge-") for row in await conn.execute(text(SETTLED), values)}
