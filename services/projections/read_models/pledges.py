"""Which pledges there are, and which names each ever had: the way to those that a list may show.

What a pledge is on a day, as known at a position, is folded from its entries when asked; so a name here only says that
it may fit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    MetaData,
    PrimaryKeyConstraint,
    Select,
    Table,
    Text,
    func,
    or_,
    select,
    text,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from services.projections.postings import learned
from services.projections.read_model import ReadModel, schema
from shared.amounts import Amount
from shared.events import Entry
from shared.events.pledges import (
    Also,
    DeliveryReported,
    PledgeAnnounced,
    PledgeReallocated,
    PledgeRevised,
    StageReached,
)
from shared.recorded import Recorded

NAME: Final = "pledges"
VERSION: Final = 1
METADATA: Final = MetaData(schema=schema(NAME, VERSION))

TABLE: Final = Table(
    "pledges",
    METADATA,
    Column("pledge", Text, primary_key=True),
    Column("position", BigInteger, nullable=False),  # of its announcement
)

NAMES: Final = Table(
    "names",
    METADATA,
    Column("kind", Text, nullable=False),  # coalition, donor, beneficiary, capability, unit, label
    Column("name", Text, nullable=False),
    Column("pledge", Text, nullable=False),
    Column("position", BigInteger, nullable=False),  # of the first entry that says so
    PrimaryKeyConstraint("kind", "name", "pledge"),
    Index("names_pledge", "pledge"),
)

INSERT_PLEDGES: Final = text(f"""
    INSERT INTO {TABLE.fullname} (pledge, position)
    SELECT * FROM unnest(CAST(:pledge AS text[]), CAST(:position AS bigint[]))
    ON CONFLICT (pledge) DO NOTHING
""")  # noqa: S608  # names of ours

INSERT_NAMES: Final = text(f"""
    INSERT INTO {NAMES.fullname} (kind, name, pledge, position)
    SELECT * FROM unnest(CAST(:kind AS text[]), CAST(:name AS text[]), CAST(:pledge AS text[]),
                         CAST(:position AS bigint[]))
    ON CONFLICT (kind, name, pledge) DO NOTHING
""")  # noqa: S608  # names of ours


async def apply(conn: AsyncConnection, events: Sequence[Recorded]) -> None:
    """Note new pledges, and every name that an entry gives one."""
    opened: dict[str, int] = {}
    names: dict[tuple[str, str, str], int] = {}
    for recorded in events:
        found = learned(recorded) if recorded.family == "pledge" else None
        if found is None or found[0] is None:
            continue
        fact = found[0]
        if isinstance(fact, PledgeAnnounced):
            opened.setdefault(recorded.name, recorded.position)
        for kind, name in _names(fact):
            names.setdefault((kind, name, recorded.name), recorded.position)
    if opened:
        await conn.execute(
            INSERT_PLEDGES, {"pledge": sorted(opened), "position": [opened[name] for name in sorted(opened)]}
        )
    if names:
        keys = sorted(names)
        columns = dict(zip(("kind", "name", "pledge"), map(list, zip(*keys, strict=True)), strict=True))
        await conn.execute(INSERT_NAMES, {**columns, "position": [names[key] for key in keys]})


PLEDGES: Final = ReadModel(name=NAME, version=VERSION, metadata=METADATA, apply=apply)


async def may_fit(  # one for each filter
    conn: AsyncConnection,
    known: int,
    *,
    coalition: str | None = None,
    donor: str | None = None,
    beneficiary: str | None = None,
    capability: str | None = None,
    unit: str | None = None,
    label: str | None = None,
    after: str | None = None,
    limit: int,
) -> list[str]:
    """Give pledges, by id, that were ever given all these names up to a position: at most `limit`, after an id."""
    query = select(TABLE.c.pledge).where(TABLE.c.position <= known)
    if after is not None:
        query = query.where(TABLE.c.pledge > after)
    exact = (("coalition", coalition), ("donor", donor), ("beneficiary", beneficiary), ("unit", unit), ("label", label))
    for kind, name in exact:
        if name is not None:
            query = query.where(TABLE.c.pledge.in_(_having(kind, known).where(NAMES.c.name == name)))
    if capability is not None:
        within = or_(NAMES.c.name == capability, func.starts_with(NAMES.c.name, f"{capability}."))
        query = query.where(TABLE.c.pledge.in_(_having("capability", known).where(within)))
    return list((await conn.execute(query.order_by(TABLE.c.pledge).limit(limit))).scalars())


async def count(conn: AsyncConnection, known: int, *, coalition: str) -> int:
    """Count the pledges that were ever towards a coalition."""
    having = _having("coalition", known).where(NAMES.c.name == coalition).subquery()
    return (await conn.execute(select(func.count()).select_from(having))).scalar_one()


def _having(kind: str, known: int) -> Select[tuple[str]]:
    return select(NAMES.c.pledge).where(NAMES.c.kind == kind, NAMES.c.position <= known)


def _names(fact: Entry) -> Iterator[tuple[str, str]]:
    yield from (("label", f"{key}={value}") for key, values in fact.labels.items() for value in values)
    match fact:
        case PledgeAnnounced():
            yield from (("donor", donor.party) for donor in fact.donors)
            yield from (("beneficiary", beneficiary.party) for beneficiary in fact.beneficiaries)
            yield from _coalition(fact.coalition)
            yield "capability", fact.capability
            yield from _measures(fact.amount, fact.also)
        case PledgeRevised():
            yield from (("donor", donor.party) for donor in fact.donors or ())
            yield from _measures(fact.amount, fact.also or ())
        case PledgeReallocated():
            yield from _coalition(fact.coalition)
        case StageReached():
            yield from _measures(fact.amount, fact.also)
        case DeliveryReported():
            if fact.capability is not None:
                yield "capability", fact.capability
            yield from _measures(fact.amount, fact.also)
        case _:
            pass


def _coalition(name: str | None) -> Iterator[tuple[str, str]]:
    if name is not None:
        yield "coalition", name


def _measures(amount: Amount | None, also: Iterable[Also]) -> Iterator[tuple[str, str]]:
    if amount is not None:
        yield "unit", amount.unit
    for other in also:
        yield "unit", other.amount.unit
        if other.capability is not None:
            yield "capability", other.capability
