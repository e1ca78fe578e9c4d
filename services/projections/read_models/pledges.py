"""Which pledges there are, and which names each ever had: the way to those that a list may show.

What a pledge is on a day, as known at a position, is folded from its entries when asked; so a name here only says that
it may fit. Its deadlines are kept as they were learned, so that those overdue are found among a hundred thousand
without folding every pledge.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from typing import Final

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Date,
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

from services.projections.columns import arrays, unnest
from services.projections.database import among
from services.projections.postings import learned
from services.projections.read_model import ReadModel, schema
from services.projections.transaction import Transaction
from shared.amounts import Amount
from shared.days import last_day
from shared.events import Entry, stored_name
from shared.events.amendments import EntryCorrected, EntryRetracted
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
VERSION: Final = 4
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
)

DEADLINES: Final = Table(
    "deadlines",
    METADATA,
    Column("pledge", Text, nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("place", BigInteger, nullable=False),  # the position of the entry that says it, or that this one amends
    Column("day", Date, nullable=False),  # since when; an announcement's holds from the beginning
    Column("due", Date),  # null: the entry says no deadline any more
    PrimaryKeyConstraint("pledge", "position"),
)

DELIVERIES: Final = Table(
    "deliveries",
    METADATA,
    Column("pledge", Text, nullable=False),
    Column("delivery", Text, nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("text", Text, nullable=False),  # what a search looks at, folded
    PrimaryKeyConstraint("pledge", "delivery", "position"),
)

KNOWN_ALREADY: Final = " ON CONFLICT DO NOTHING"
"""Ends what inserts rows that may be there. It doubles what a row costs; of a pledge that is new, none is there."""

PLEDGE: Final = ("text", "bigint")
INSERT_PLEDGES: Final = f"""
    INSERT INTO {TABLE.fullname} (pledge, position) SELECT * FROM {unnest(1, *PLEDGE)}
"""  # noqa: S608  # names of ours

NAMED: Final = ("text", "text", "text", "text")  # a name, the pledges that have it, and since which positions
INSERT_NAMES: Final = f"""
    INSERT INTO {NAMES.fullname} (kind, name, pledge, position)
    SELECT kind, name, pledge, position FROM {unnest(1, *NAMED)} AS said (kind, name, pledges, positions),
      unnest(string_to_array(pledges, ' '), string_to_array(positions, ' ')::bigint[]) AS given (pledge, position)
"""  # noqa: S608  # names of ours

DEADLINE: Final = ("text", "bigint", "bigint", "date", "date")
INSERT_DEADLINES: Final = f"""
    INSERT INTO {DEADLINES.fullname} (pledge, position, place, day, due) SELECT * FROM {unnest(1, *DEADLINE)}
"""  # noqa: S608  # names of ours

DELIVERY: Final = ("text", "text", "bigint", "text")
INSERT_DELIVERIES: Final = f"""
    INSERT INTO {DELIVERIES.fullname} (pledge, delivery, position, text) SELECT * FROM {unnest(1, *DELIVERY)}
"""  # noqa: S608  # names of ours

SAYS_DEADLINES: Final = (stored_name(PledgeAnnounced), stored_name(PledgeRevised))


async def apply(transaction: Transaction, events: Sequence[Recorded]) -> None:
    """Note new pledges, every name that an entry gives one, their deadlines and deliveries."""
    of_pledges = [recorded for recorded in events if recorded.family == "pledge"]
    new = {recorded.stream for recorded in of_pledges if recorded.version == 1}
    await _note_names(transaction, [recorded for recorded in of_pledges if recorded.stream in new])
    await _note_names(transaction, [recorded for recorded in of_pledges if recorded.stream not in new], KNOWN_ALREADY)
    deadlines = [found for recorded in of_pledges if (found := deadline(recorded)) is not None]
    if deadlines:
        await transaction.write(INSERT_DEADLINES, *arrays(deadlines, *DEADLINE))
    reports = [report for recorded in of_pledges if (report := _report(recorded)) is not None]
    if reports:
        await transaction.write(INSERT_DELIVERIES, *arrays(reports, *DELIVERY))


async def _note_names(transaction: Transaction, events: Sequence[Recorded], end: str = "") -> None:
    opened: dict[str, int] = {}
    names: dict[tuple[str, str], dict[str, int]] = {}
    for recorded in events:
        found = learned(recorded)
        if found is None or found[0] is None:
            continue
        fact, pledge, position = found[0], recorded.name, recorded.position
        if isinstance(fact, PledgeAnnounced):
            opened.setdefault(pledge, position)
        for name in _names(fact):
            names.setdefault(name, {}).setdefault(pledge, position)
    if opened:
        await transaction.write(INSERT_PLEDGES + end, *arrays(sorted(opened.items()), *PLEDGE))
    if names:  # in one order, so that neighbours in the index come together
        rows = [(*name, *_joined(names[name])) for name in sorted(names)]
        await transaction.write(INSERT_NAMES + end, *arrays(rows, *NAMED))


def _joined(pledges: Mapping[str, int]) -> tuple[str, str]:
    """Write pledges, which hold no spaces, and the position of each."""
    ordered = sorted(pledges)
    return " ".join(ordered), " ".join([str(pledges[pledge]) for pledge in ordered])


def deadline(recorded: Recorded) -> tuple[str, int, int, date, date | None] | None:
    """Give what an entry says of its pledge's deadline: (pledge, position, place, since when, due); None: nothing."""
    event = recorded.event
    place = recorded.position
    if isinstance(event, EntryCorrected | EntryRetracted):
        if event.entry_type not in SAYS_DEADLINES:
            return None
        place = event.entry_position
        if isinstance(event, EntryRetracted):
            return recorded.name, recorded.position, place, date.min, None
        event = event.now
    if not isinstance(event, PledgeAnnounced | PledgeRevised):
        return None
    if event.due_by is None and place == recorded.position:
        return None
    since = date.min if isinstance(event, PledgeAnnounced) else last_day(event.on)
    return recorded.name, recorded.position, place, since, None if event.due_by is None else last_day(event.due_by)


def _report(recorded: Recorded) -> tuple[str, str, int, str] | None:
    event = recorded.event.now if isinstance(recorded.event, EntryCorrected) else recorded.event
    if not isinstance(event, DeliveryReported):
        return None
    return recorded.name, event.delivery, recorded.position, searched(event)


def searched(report: DeliveryReported) -> str:
    """Give what a search for a delivery looks at, folded."""
    said = (
        report.pledge,
        report.delivery,
        report.reported_by,
        report.capability,
        report.note,
        report.amount.words,
        *(value for values in report.labels.values() for value in values),
        *(ref.id for ref in report.refs),
        *(words for source in report.sources for words in (source.publisher, source.title, source.quote)),
    )
    return folded("\n".join(one for one in said if one is not None))


def folded(words: str) -> str:
    """Give words without regard to case and accents, as a search compares them."""
    if words.isascii():
        return words.casefold()
    letters = unicodedata.normalize("NFKD", words)
    return "".join(letter for letter in letters if not unicodedata.combining(letter)).casefold()


PLEDGES: Final = ReadModel(name=NAME, version=VERSION, metadata=METADATA, apply=apply)


async def may_fit(
    conn: AsyncConnection,
    known: int,
    *,
    coalition: str | None = None,
    donor: str | None = None,
    beneficiary: str | None = None,
    capability: str | None = None,
    unit: str | None = None,
    label: str | None = None,
    only: Sequence[str] | None = None,
    after: str | None = None,
    limit: int,
) -> list[str]:
    """Give pledges, by id, that were ever given all these names up to a position: at most `limit`, after an id."""
    query = select(TABLE.c.pledge).where(TABLE.c.position <= known)
    if after is not None:
        query = query.where(TABLE.c.pledge > after)
    if only is not None:
        query = query.where(among(TABLE.c.pledge, only))
    exact = {"coalition": coalition, "donor": donor, "beneficiary": beneficiary, "unit": unit, "label": label}
    query = query.where(*_named(TABLE.c.pledge, known, exact, capability))
    return list((await conn.execute(query.order_by(TABLE.c.pledge).limit(limit))).scalars())


async def with_deliveries(
    conn: AsyncConnection,
    known: int,
    *,
    coalition: str | None = None,
    donor: str | None = None,
    beneficiary: str | None = None,
    capability: str | None = None,
    pledge: str | None = None,
    q: str | None = None,
    since: str | None = None,
    after: str | None = None,
    limit: int,
) -> list[str]:
    """Give pledges, by id, that ever had deliveries and these names up to a position: at most `limit`.

    They begin with the id `since`, or beyond the id `after`. `q` is folded text that a report of theirs holds.
    """
    query = select(DELIVERIES.c.pledge).where(DELIVERIES.c.position <= known)
    if since is not None:
        query = query.where(DELIVERIES.c.pledge >= since)
    if after is not None:
        query = query.where(DELIVERIES.c.pledge > after)
    if pledge is not None:
        query = query.where(DELIVERIES.c.pledge == pledge)
    if q is not None:
        query = query.where(func.strpos(DELIVERIES.c.text, q) > 0)
    exact = {"coalition": coalition, "donor": donor, "beneficiary": beneficiary}
    query = query.where(*_named(DELIVERIES.c.pledge, known, exact, capability))
    query = query.distinct().order_by(DELIVERIES.c.pledge).limit(limit)
    return list((await conn.execute(query)).scalars())


OVERDUE: Final = text(f"""
    SELECT pledge, due FROM (
      SELECT DISTINCT ON (pledge) pledge, due FROM (
        SELECT DISTINCT ON (d.pledge, d.place) d.pledge, d.place, d.day, d.due FROM {DEADLINES.fullname} d
        JOIN {NAMES.fullname} n ON n.pledge = d.pledge AND n.kind = :kind AND n.name = :name
        WHERE d.position <= :known AND n.position <= :known
        ORDER BY d.pledge, d.place, d.position DESC
      ) standing WHERE due IS NOT NULL AND day <= :on ORDER BY pledge, day DESC, place DESC
    ) last WHERE due < :on
""")  # noqa: S608  # names of ours


async def past_due(conn: AsyncConnection, *, known: int, on: date, kind: str, name: str) -> dict[str, date]:
    """Give the pledges that ever named a donor (or a beneficiary) and were due before a day, each with its deadline.

    One row a deadline that was ever said for them is read: 10^5 pledges are some tenths of a second.
    """
    values = {"known": known, "on": on, "kind": kind, "name": name}
    return {row.pledge: row.due for row in await conn.execute(OVERDUE, values)}


async def named(conn: AsyncConnection, known: int, kind: str) -> list[str]:
    """Give every name of a kind (donor, beneficiary, coalition, ...) that a pledge was given up to a position."""
    query = select(NAMES.c.name).where(NAMES.c.kind == kind, NAMES.c.position <= known).distinct()
    return list((await conn.execute(query.order_by(NAMES.c.name))).scalars())


async def ever_naming(conn: AsyncConnection, known: int, parties: Sequence[str]) -> set[str]:
    """Give the pledges that ever named one of these parties, as donor or beneficiary, up to a position."""
    if not parties:
        return set()
    names = NAMES.c
    wanted = among(names.name, parties)
    query = select(names.pledge).where(names.kind.in_(("donor", "beneficiary")), names.position <= known, wanted)
    return set((await conn.execute(query)).scalars())


async def count(conn: AsyncConnection, known: int, *, coalition: str) -> int:
    """Count the pledges that were ever towards a coalition."""
    having = _having("coalition", known).where(NAMES.c.name == coalition).subquery()
    return (await conn.execute(select(func.count()).select_from(having))).scalar_one()


def _named(
    pledge: Column[str], known: int, exact: Mapping[str, str | None], capability: str | None
) -> Iterator[ColumnElement[bool]]:
    """Give the conditions that a pledge was ever given these names; a capability's descendants will do as well."""
    for kind, name in exact.items():
        if name is not None:
            yield pledge.in_(_having(kind, known).where(NAMES.c.name == name))
    if capability is not None:
        within = or_(NAMES.c.name == capability, func.starts_with(NAMES.c.name, f"{capability}."))
        yield pledge.in_(_having("capability", known).where(within))


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
