"""Targets by their scopes, and what was learned of each: what they ask for is folded from it when progress is asked.

What counts towards them is not kept again: it is a sum of the postings of coalition_totals.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import BigInteger, Column, Index, MetaData, PrimaryKeyConstraint, Select, Table, Text, select
from sqlalchemy.ext.asyncio import AsyncConnection

from services.projections.columns import arrays, unnest
from services.projections.postings import learned
from services.projections.read_model import ReadModel, schema
from services.projections.transaction import Transaction
from shared.codec import decode, encode
from shared.events import Entry, stored_name
from shared.events.targets import TargetEntry
from shared.recorded import Recorded
from shared.timeline import Learned

NAME: Final = "target_progress"
VERSION: Final = 1
METADATA: Final = MetaData(schema=schema(NAME, VERSION))

LEARNED: Final = Table(
    "learned",
    METADATA,
    Column("target", Text, nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("amends", BigInteger),  # the position of the entry that this one corrects or retracts
    Column("type", Text),  # null: a retraction
    Column("payload", Text),
    PrimaryKeyConstraint("target", "position"),
)

SCOPES: Final = Table(
    "scopes",
    METADATA,
    Column("kind", Text, nullable=False),  # coalition or party
    Column("name", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("position", BigInteger, nullable=False),  # of the first entry that says so
    PrimaryKeyConstraint("kind", "name", "target"),
    Index("scopes_target", "target"),
)

FACT: Final = ("text", "bigint", "bigint", "text", "text")
INSERT_LEARNED: Final = f"""
    INSERT INTO {LEARNED.fullname} (target, position, amends, type, payload) SELECT * FROM {unnest(1, *FACT)}
"""  # noqa: S608  # names of ours

SCOPE: Final = ("text", "text", "text", "bigint")
INSERT_SCOPES: Final = f"""
    INSERT INTO {SCOPES.fullname} (kind, name, target, position)
    SELECT * FROM {unnest(1, *SCOPE)} ON CONFLICT (kind, name, target) DO NOTHING
"""  # noqa: S608  # names of ours


async def apply(transaction: Transaction, events: Sequence[Recorded]) -> None:
    """Keep what is learned of targets, and every scope that one of them ever said it was of."""
    rows: list[tuple[str, int, int | None, str | None, str | None]] = []
    scopes: dict[tuple[str, str, str], int] = {}
    for recorded in events:
        found = learned(recorded) if recorded.family == "target" else None
        if found is None:
            continue
        fact, amends = found
        stored = (None, None) if fact is None else (stored_name(fact), encode(fact).decode())
        rows.append((recorded.name, recorded.position, amends, *stored))
        if isinstance(fact, TargetEntry):
            for kind, name in (("coalition", fact.coalition), ("party", fact.party)):
                if name is not None:
                    scopes.setdefault((kind, name, recorded.name), recorded.position)
    if rows:
        await transaction.write(INSERT_LEARNED, *arrays(rows, *FACT))
    if scopes:
        said = [(*scope, scopes[scope]) for scope in sorted(scopes)]
        await transaction.write(INSERT_SCOPES, *arrays(said, *SCOPE))


TARGET_PROGRESS: Final = ReadModel(name=NAME, version=VERSION, metadata=METADATA, apply=apply)


async def target(conn: AsyncConnection, name: str, known: int) -> list[Learned[Entry]]:
    """Give what was learned of one target up to a position; nothing if it was never set."""
    found = await _of(conn, select(LEARNED).where(LEARNED.c.target == name), known)
    return found.get(name, [])


async def targets(
    conn: AsyncConnection, known: int, *, coalition: str | None = None, party: str | None = None
) -> dict[str, list[Learned[Entry]]]:
    """Give, by target, what was learned up to a position: of all, or of those that were ever in a scope."""
    query = select(LEARNED)
    for kind, name in (("coalition", coalition), ("party", party)):
        if name is not None:
            scope = select(SCOPES.c.target).where(
                SCOPES.c.kind == kind, SCOPES.c.name == name, SCOPES.c.position <= known
            )
            query = query.where(LEARNED.c.target.in_(scope))
    return await _of(conn, query, known)


async def _of(conn: AsyncConnection, query: Select[Any], known: int) -> dict[str, list[Learned[Entry]]]:
    rows = await conn.execute(query.where(LEARNED.c.position <= known).order_by(LEARNED.c.target, LEARNED.c.position))
    found: dict[str, list[Learned[Entry]]] = defaultdict(list)
    for row in rows:
        fact = None if row.type is None else decode(row.type, row.payload)
        found[row.target].append(Learned(row.position, fact, row.amends))
    return dict(found)
