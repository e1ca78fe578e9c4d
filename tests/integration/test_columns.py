"""What is sent as the text of an array is what PostgreSQL reads back, whatever is in it."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import asyncpg
import pytest

from services.projections.columns import arrays, columns, unnest

TYPES = ("bigint", "text", "numeric", "date", "timestamptz")
ROWS = [
    (1, "plain", Decimal("0.5"), date(2024, 2, 29), datetime(2024, 2, 29, 23, 59, 59, 123456, UTC)),
    (-2, 'says "so", or \\ {so}', Decimal(10) ** 18, date(1, 1, 1), datetime(2024, 1, 1, tzinfo=UTC)),
    (3, "", Decimal("-0.000001"), date(9999, 12, 31), None),
    (None, "NULL", None, None, None),
    (5, None, Decimal(0), None, None),
    (6, "two\nlines,\ttabs, 'quotes' and Łódź", Decimal("1E+3"), None, None),
]


READINGS = (f"SELECT * FROM {unnest(1, *TYPES)}", columns(1, *TYPES))  # noqa: S608  # types of ours


@pytest.mark.parametrize("reading", READINGS, ids=["unnest", "columns"])
@pytest.mark.parametrize("rows", [ROWS, ROWS[3:4], []], ids=["rows", "one of nothing", "none"])
async def test_rows_come_back_as_they_were_sent(
    rows: list[tuple[object, ...]], reading: str, projections_url: str
) -> None:
    conn = await asyncpg.connect(projections_url)
    try:
        found = await conn.fetch(reading, *arrays(rows, *TYPES))
    finally:
        await conn.close()
    assert [tuple(row) for row in found] == rows
