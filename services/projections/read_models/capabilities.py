"""Capabilities: which codes the ledger's entries speak of, how many of each kind, since when.

A table of changes, as the journal of postings is: known at position P, on day D, an entry speaks of a code if its
changes with position <= P and day <= D come to one. A correction takes off what the entry said before and adds what it
says now; a retraction only takes off.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

from sqlalchemy import (
    BigInteger,
    Column,
    Date,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    func,
    select,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from services.projections.columns import arrays, unnest
from services.projections.read_model import ReadModel, schema
from services.projections.transaction import Transaction
from shared.days import last_day
from shared.events import Amendment, Entry
from shared.events.amendments import EntryCorrected, EntryRetracted
from shared.recorded import Recorded

NAME: Final = "capabilities"
VERSION: Final = 2
METADATA: Final = MetaData(schema=schema(NAME, VERSION))

SPOKEN: Final = Table(
    "spoken",
    METADATA,
    Column("entry", BigInteger, nullable=False),  # the position of the entry that speaks of the code
    Column("position", BigInteger, nullable=False),  # from which on it is known so
    Column("code", Text, nullable=False),
    Column("day", Date, nullable=False),
    Column("family", Text, nullable=False),  # of the entry's stream: pledge, target ...
    Column("change", SmallInteger, nullable=False),  # 1: it speaks of it, -1: it does not any more
    PrimaryKeyConstraint("entry", "position", "code", "day"),
)

CHANGE: Final = ("bigint", "bigint", "text", "date", "text", "smallint")
INSERT: Final = f"""
    INSERT INTO {SPOKEN.fullname} (entry, position, code, day, family, change) SELECT * FROM {unnest(1, *CHANGE)}
"""  # noqa: S608  # names of ours

Spoken = tuple[str, date]
"""A code, and the day from which on an entry speaks of it."""


async def apply(transaction: Transaction, events: Sequence[Recorded]) -> None:
    """Write what a batch of events changes in what entries speak of."""
    amended = {event.event.entry_position for event in events if isinstance(event.event, Amendment)}
    standing = await _standing(transaction, amended - {event.position for event in events})
    rows = []
    for event in events:
        if not isinstance(event.event, Amendment):
            says = _spoken(event.event, event.happened_on)
            rows += [(event.position, event.position, code, day, event.family, 1) for code, day in sorted(says)]
            if event.position in amended:
                standing[event.position] = says
            continue
        entry = event.event.entry_position
        before = standing[entry]
        now = _now(event, before)
        changes = [(spoken, 1) for spoken in now - before] + [(spoken, -1) for spoken in before - now]
        rows += [(entry, event.position, code, day, event.family, change) for (code, day), change in sorted(changes)]
        standing[entry] = now
    if rows:
        await transaction.write(INSERT, *arrays(rows, *CHANGE))


CAPABILITIES: Final = ReadModel(name=NAME, version=VERSION, metadata=METADATA, apply=apply)


STANDING: Final = f"""
    SELECT entry, code, day FROM {SPOKEN.fullname} WHERE entry = ANY($1::bigint[])
    GROUP BY entry, code, day HAVING sum(change) > 0
"""  # noqa: S608  # names of ours


async def _standing(transaction: Transaction, entries: Iterable[int]) -> defaultdict[int, frozenset[Spoken]]:
    """Give what these entries, written in earlier batches, speak of as known now."""
    found: defaultdict[int, frozenset[Spoken]] = defaultdict(frozenset)
    asked = sorted(entries)
    if asked:
        for entry, code, day in await transaction.rows(STANDING, asked):
            found[entry] |= {(code, day)}
    return found


def _now(event: Recorded, before: frozenset[Spoken]) -> frozenset[Spoken]:
    """Give what an entry speaks of, once an event is known that amends it. Pure."""
    match event.event:
        case EntryRetracted():
            return frozenset()
        case EntryCorrected(now=now):
            day = min((day for _, day in before), default=event.happened_on)  # its own, if it says none now
            return _spoken(now, last_day(now.happened) if now.happened else day)
        case _:
            return before


def _spoken(entry: Entry, day: date) -> frozenset[Spoken]:
    codes = [getattr(entry, "capability", None)]
    codes += [measure.capability for measure in getattr(entry, "also", None) or ()]
    return frozenset((code, day) for code in codes if code)


# ------------------------------------------------------------------------------------------------- questions


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """How many entries of a family speak of a code, and the first and last day on which one does."""

    code: str
    family: str
    entries: int
    first_on: date
    last_on: date


async def uses(conn: AsyncConnection, *, on: date, known: int) -> list[Use]:
    """Give which codes entries speak of on a day, as known at a position, by code and family."""
    key = (SPOKEN.c.entry, SPOKEN.c.code, SPOKEN.c.day, SPOKEN.c.family)
    live = (
        select(*key)
        .where(SPOKEN.c.position <= known, SPOKEN.c.day <= on)
        .group_by(*key)
        .having(func.sum(SPOKEN.c.change) > 0)
        .subquery()
    )
    query = (
        select(live.c.code, live.c.family, func.count(), func.min(live.c.day), func.max(live.c.day))
        .group_by(live.c.code, live.c.family)
        .order_by(live.c.code, live.c.family)
    )
    return [
        Use(code=code, family=family, entries=entries, first_on=first, last_on=last)
        for code, family, entries, first, last in await conn.execute(query)
    ]
