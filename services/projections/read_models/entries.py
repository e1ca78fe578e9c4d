"""The read side's own copy of what was said: it explains numbers, and small streams are folded from it when asked.

Folding at the moment of the question gives both times for nothing: a stream is read up to a position (known), and what
stands is looked at on a day (on).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Column,
    Date,
    DateTime,
    Index,
    Integer,
    MetaData,
    Row,
    Select,
    Table,
    Text,
    Uuid,
    func,
    or_,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection

from services.projections.columns import arrays, unnest
from services.projections.database import among, rows
from services.projections.postings import accounts, learned
from services.projections.read_model import Apply, ReadModel, schema
from services.projections.transaction import Transaction
from shared.codec import decode
from shared.days import last_day
from shared.events import Amendment, Entry
from shared.events.amendments import EntryCorrected, EntryRetracted
from shared.events.parties import CapabilityNamed
from shared.recorded import Recorded
from shared.sources import Source
from shared.timeline import Learned

NAME: Final = "entries"
VERSION: Final = 2
METADATA: Final = MetaData(schema=schema(NAME, VERSION))

TABLE: Final = Table(
    "entries",
    METADATA,
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    Column("event_id", Uuid(as_uuid=False), nullable=False, unique=True),
    Column("stream", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("type", Text, nullable=False),
    Column("amends", BigInteger),  # the position of the entry that this one corrects, retracts or sources
    Column("happened_on", Date, nullable=False),
    Column("reported_on", Date, nullable=False),
    Column("recorded_at", DateTime(timezone=True), nullable=False),
    Column("recorded_by", Text, nullable=False),
    Column("coalitions", ARRAY(Text), nullable=False),
    Column("parties", ARRAY(Text), nullable=False),
    Column("accounts", ARRAY(Text)),  # whose postings it makes or made, beside its own pledge's
    Column("payload", Text, nullable=False),
    Column("traceparent", Text),
    Index("entries_stream", "stream", "position"),
    Index("entries_type", "type", "position"),
    Index("entries_amends", "amends", postgresql_where=text("amends IS NOT NULL")),
    Index("entries_day", "happened_on", "position"),
    Index("entries_reported", "reported_on", "position"),
    Index("entries_recorded", "recorded_at", "position"),
    Index("entries_coalitions", "coalitions", postgresql_using="gin"),
    Index("entries_parties", "parties", postgresql_using="gin"),
    Index("entries_accounts", "accounts", postgresql_using="gin", postgresql_where=text("accounts IS NOT NULL")),
)

NAMED: Final = Table(
    "named",
    METADATA,
    Column("kind", Text, primary_key=True),  # party, coalition, capability
    Column("name", Text, primary_key=True),
    Column("position", BigInteger, nullable=False),  # of the first entry that names it
)

ENTRY: Final = (
    *("bigint", "uuid", "text", "int", "text", "bigint", "date", "date", "timestamptz", "text"),
    *("text", "text", "text", "text"),
)
BETWEEN_PAYLOADS: Final = "\x1e"  # stands in no JSON; so they need no quotes, which both sides would look for
INSERT_ENTRIES: Final = f"""
    INSERT INTO {TABLE.fullname}
    SELECT position, event_id, stream, version, type, amends, happened_on, reported_on, recorded_at, recorded_by,
           string_to_array(coalitions, ' '), string_to_array(parties, ' '), string_to_array(accounts, ' '),
           payload, traceparent
    FROM ROWS FROM ({unnest(1, *ENTRY)}, unnest(string_to_array(${len(ENTRY) + 1}, E'\\x1e')))
      AS said (position, event_id, stream, version, type, amends, happened_on, reported_on, recorded_at, recorded_by,
               coalitions, parties, accounts, traceparent, payload)
"""  # noqa: S608  # names of ours

NAMING: Final = ("text", "text", "bigint")
INSERT_NAMED: Final = f"""
    INSERT INTO {NAMED.fullname} SELECT * FROM {unnest(1, *NAMING)} ON CONFLICT (kind, name) DO NOTHING
"""  # noqa: S608  # names of ours


NAMES_REMEMBERED: Final = 10_000

Name = tuple[str, str]
"""A kind of thing (party, coalition, capability), and its name."""


async def apply(transaction: Transaction, events: Sequence[Recorded]) -> None:
    """Copy entries, each with the accounts it touches; an amendment also touches those of the entry it amends."""
    await _copy(transaction, events, set())


def remembering() -> Apply:
    """Give what applies and remembers which names stand already: nearly all that an entry names do."""
    remembered: set[Name] = set()

    async def apply(transaction: Transaction, events: Sequence[Recorded]) -> None:
        await _copy(transaction, events, remembered)
        if len(remembered) > NAMES_REMEMBERED:
            remembered.clear()

    return apply


async def _copy(transaction: Transaction, events: Sequence[Recorded], remembered: set[Name]) -> None:
    """Copy entries, and note their names but for those remembered, to which they are added."""
    touched = await _accounts_of_amended(transaction, events)
    rows = []
    named: dict[Name, int] = {}
    for recorded in events:
        position, event = recorded.position, recorded.event
        touched[position] = accounts = _accounts(recorded, touched)
        coalitions, parties = _about(event)
        rows.append(_row(recorded, coalitions, parties, accounts))
        for name in (
            *(("coalition", name) for name in coalitions),
            *(("party", code) for code in parties),
            *_mentioned(event),
        ):
            if name not in remembered:
                named.setdefault(name, position)
    payloads = BETWEEN_PAYLOADS.join([recorded.payload.decode() for recorded in events])
    await transaction.write(INSERT_ENTRIES, *arrays(rows, *ENTRY), payloads)
    if named:
        names = [(*name, named[name]) for name in sorted(named)]  # in one order, whoever writes
        await transaction.write(INSERT_NAMED, *arrays(names, *NAMING))
        remembered.update(named)


ENTRIES: Final = ReadModel(name=NAME, version=VERSION, metadata=METADATA, apply=apply, remembering=remembering)


ACCOUNTS_OF: Final = f"SELECT position, accounts FROM {TABLE.fullname} WHERE position = ANY($1::bigint[])"  # noqa: S608  # names of ours


async def _accounts_of_amended(transaction: Transaction, events: Sequence[Recorded]) -> dict[int, tuple[str, ...]]:
    here = {recorded.position for recorded in events}
    amended = {
        recorded.event.entry_position
        for recorded in events
        if isinstance(recorded.event, Amendment) and recorded.event.entry_position not in here
    }
    if not amended:
        return {}
    return {position: tuple(found or ()) for position, found in await transaction.rows(ACCOUNTS_OF, list(amended))}


def _accounts(recorded: Recorded, touched: Mapping[int, tuple[str, ...]]) -> tuple[str, ...]:
    """Name the accounts that an entry touches, or touched before an amendment, beside that of its own stream."""
    found = learned(recorded)
    says = () if found is None or found[0] is None else accounts(found[0])
    event = recorded.event
    before = touched.get(event.entry_position, ()) if isinstance(event, Amendment) else ()
    own = recorded.stream if recorded.family == "pledge" else None
    return tuple(dict.fromkeys(account for account in (*before, *says) if account != own))


def _about(event: Entry) -> tuple[Collection[str], Collection[str]]:
    """Name the coalitions and the parties that an entry is about, each once; of a correction also those it says now."""
    if isinstance(event, EntryCorrected):
        now = event.now
        return (
            dict.fromkeys((*event.coalitions, *now.coalitions)),
            dict.fromkeys((*event.parties, *now.parties)),
        )
    return dict.fromkeys(event.coalitions), dict.fromkeys(event.parties)


def _row(
    recorded: Recorded, coalitions: Iterable[str], parties: Iterable[str], touched: Collection[str]
) -> tuple[Any, ...]:
    """Give an entry's columns, in the order of ENTRY."""
    event = recorded.event
    return (
        recorded.position,
        recorded.event_id,
        recorded.stream,
        recorded.version,
        recorded.type,
        event.entry_position if isinstance(event, Amendment) else None,
        recorded.happened_on,
        recorded.reported_on,
        recorded.recorded_at,
        recorded.recorded_by,
        " ".join(coalitions),  # names hold no spaces, and unnest would flatten arrays of arrays
        " ".join(parties),
        " ".join(touched) if touched else None,
        recorded.traceparent,
    )


def _mentioned(event: Entry) -> Iterator[Name]:
    """Name what else an entry names, beside what it is about."""
    says = (event, event.now) if isinstance(event, EntryCorrected) else (event,)
    for said in says:
        for stream in said.mentions.values():
            kind, _, name = stream.partition("-")
            if kind in ("party", "coalition"):
                yield kind, name
        capability = getattr(said, "capability", None)
        if isinstance(capability, str) and (isinstance(said, CapabilityNamed) or capability):
            yield "capability", capability


# ------------------------------------------------------------------------------------------------- questions


async def stream(conn: AsyncConnection, name: str, known: int) -> list[Recorded]:
    """Give what was said in one stream up to a position, in order."""
    query = _said().where(TABLE.c.stream == name, TABLE.c.position <= known).order_by(TABLE.c.position)
    return _read(await conn.execute(query))


async def of_streams(conn: AsyncConnection, names: Sequence[str], known: int) -> dict[str, list[Recorded]]:
    """Give, by stream, what was said in these streams up to a position, in order."""
    if not names:
        return {}
    query = _said().where(among(TABLE.c.stream, names), TABLE.c.position <= known).order_by(TABLE.c.position)
    return by_stream(_read(await conn.execute(query)))


async def of_types(conn: AsyncConnection, types: Sequence[str], known: int) -> dict[str, list[Recorded]]:
    """Give, by stream, what was said in every stream that has an entry of one of these types, up to a position."""
    having = select(TABLE.c.stream).where(among(TABLE.c.type, types), TABLE.c.position <= known).distinct()
    query = _said().where(TABLE.c.stream.in_(having), TABLE.c.position <= known).order_by(TABLE.c.position)
    return by_stream(_read(await conn.execute(query)))


async def of_accounts(conn: AsyncConnection, names: Sequence[str], known: int) -> dict[str, list[Recorded]]:
    """Give, by account, what was said about it up to a position: for what folds like the postings do."""
    pledges = {name for name in names if name.startswith("pledge-")}
    wanted = or_(among(TABLE.c.stream, pledges), TABLE.c.accounts.overlap(list(names)))
    query = _said(TABLE.c.accounts).where(wanted, TABLE.c.position <= known).order_by(TABLE.c.position)
    found: dict[str, list[Recorded]] = {name: [] for name in names}
    for row in await conn.execute(query):
        recorded = _recorded(row)
        for account in (row.stream, *(row.accounts or ())):
            if account in found and (account != row.stream or account in pledges):
                found[account].append(recorded)
    return found


async def by_id(conn: AsyncConnection, event_id: str) -> Recorded | None:
    """Give one entry by its event id."""
    row = (await conn.execute(_said().where(TABLE.c.event_id == event_id))).one_or_none()
    return None if row is None else _recorded(row)


async def amendments_of(conn: AsyncConnection, positions: Sequence[int], known: int) -> dict[int, list[Recorded]]:
    """Give what was said about entries, by their positions: corrections, retractions, sources."""
    query = _said().where(among(TABLE.c.amends, positions), TABLE.c.position <= known).order_by(TABLE.c.position)
    found: dict[int, list[Recorded]] = defaultdict(list)
    for recorded in _read(await conn.execute(query)):
        assert isinstance(recorded.event, Amendment)  # noqa: S101  # only these have `amends`
        found[recorded.event.entry_position].append(recorded)
    return found


async def at_positions(conn: AsyncConnection, positions: Sequence[int]) -> dict[int, Recorded]:
    """Give entries by their positions."""
    found = _read(await conn.execute(_said().where(among(TABLE.c.position, positions))))
    return {recorded.position: recorded for recorded in found}


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """Which entries of the timeline are asked for; None and () ask for all."""

    coalition: str | None = None
    party: str | None = None
    stream: str | None = None
    types: tuple[str, ...] = ()


async def happened(
    conn: AsyncConnection,
    *,
    on: date,
    since: date | None,
    known: int,
    where: Where,
    before: tuple[date, int] | None,
    limit: int,
) -> list[Recorded]:
    """Give what happened by a day, as known at a position, the latest first: at most `limit`, after a place in it."""
    table = TABLE.c
    query = _said().where(table.position <= known, table.happened_on <= on)
    if since is not None:
        query = query.where(table.happened_on >= since)
    if where.coalition is not None:
        query = query.where(table.coalitions.contains([where.coalition]))
    if where.party is not None:
        query = query.where(table.parties.contains([where.party]))
    if where.stream is not None:
        query = query.where(table.stream == where.stream)
    if where.types:
        query = query.where(among(table.type, where.types))
    if before is not None:
        query = query.where(func.row(table.happened_on, table.position) < func.row(*before))
    return _read(await conn.execute(query.order_by(table.happened_on.desc(), table.position.desc()).limit(limit)))


async def facts(
    conn: AsyncConnection,
    known: int,
    *,
    coalition: str | None = None,
    party: str | None = None,
    types: Sequence[str] = (),
    after: int,
    limit: int,
) -> list[Recorded]:
    """Give entries that are no amendments, by position: at most `limit`, after a position, up to `known`.

    Of a coalition or a party those that are about it, or that an amendment says are.
    """
    table = TABLE.c
    query = _said().where(table.position > after, table.position <= known, table.amends.is_(None))
    for column, name in ((table.coalitions, coalition), (table.parties, party)):
        if name is not None:
            about = select(func.coalesce(table.amends, table.position)).where(column.contains([name]))
            query = query.where(table.position.in_(about))
    if types:
        query = query.where(among(table.type, types))
    return _read(await conn.execute(query.order_by(table.position).limit(limit)))


async def following(conn: AsyncConnection, *, after: int, known: int, limit: int) -> list[Recorded]:
    """Give events by position, amendments among them: at most `limit`, after a position, up to `known`."""
    query = _said().where(TABLE.c.position > after, TABLE.c.position <= known).order_by(TABLE.c.position).limit(limit)
    return _read(await conn.execute(query))


async def last_recorded_by(conn: AsyncConnection, instant: datetime) -> int:
    """Give the last position recorded by an instant; 0 if there was none."""
    query = (
        select(TABLE.c.position)
        .where(TABLE.c.recorded_at <= instant)
        .order_by(TABLE.c.recorded_at.desc(), TABLE.c.position.desc())
        .limit(1)
    )
    return (await conn.execute(query)).scalar() or 0


async def first_reported_after(conn: AsyncConnection, day: date) -> int | None:
    """Give the position of the first entry that was reported after a day; None if there is none."""
    after = TABLE.c.reported_on > day
    query = select(TABLE.c.position).where(after).order_by(TABLE.c.position).limit(1)
    return (await conn.execute(query)).scalar()


async def first_day(conn: AsyncConnection) -> date | None:
    """Give the first day on which something happened; None while nothing did."""
    found: date | None = (await conn.execute(select(func.min(TABLE.c.happened_on)))).scalar()
    return found


RECORDED_AT: Final = f"SELECT recorded_at FROM {TABLE.fullname} WHERE position = $1"  # noqa: S608  # names of ours


async def recorded_at(conn: AsyncConnection, position: int) -> datetime | None:
    """Give when a position was recorded; None for one that is not there."""
    found = await rows(conn, RECORDED_AT, position)
    return found[0][0] if found else None


async def named(conn: AsyncConnection, kind: str, known: int) -> list[str]:
    """Give every party, coalition or capability that an entry up to a position names, in the order of the alphabet."""
    query = select(NAMED.c.name).where(NAMED.c.kind == kind, NAMED.c.position <= known).order_by(NAMED.c.name)
    return list((await conn.execute(query)).scalars())


async def is_named(conn: AsyncConnection, kind: str, name: str, known: int) -> bool:
    """Say whether an entry up to a position names it."""
    query = select(NAMED.c.name).where(NAMED.c.kind == kind, NAMED.c.name == name, NAMED.c.position <= known)
    return (await conn.execute(query)).first() is not None


def _said(*more: Column[Any]) -> Select[Any]:
    table = TABLE.c
    return select(
        table.position,
        table.event_id,
        table.stream,
        table.version,
        table.type,
        table.happened_on,
        table.reported_on,
        table.recorded_at,
        table.recorded_by,
        table.payload,
        table.traceparent,
        *more,
    )


def _read(rows: Iterable[Row[Any]]) -> list[Recorded]:
    return [_recorded(row) for row in rows]


def _recorded(row: Row[Any]) -> Recorded:
    return Recorded(
        position=row.position,
        stream=row.stream,
        version=row.version,
        event_id=str(row.event_id),
        type=row.type,
        happened_on=row.happened_on,
        reported_on=row.reported_on,
        recorded_at=row.recorded_at,
        recorded_by=row.recorded_by,
        event=decode(row.type, row.payload),
        payload=row.payload.encode(),
        traceparent=row.traceparent,
    )


# ------------------------------------------------------------------------------------------------------ pure


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """An entry as it stands: as corrected, with every source that was added to it; and what was said about it."""

    recorded: Recorded
    entry: Entry
    live: bool = True
    amendments: tuple[Recorded, ...] = ()

    @property
    def sources(self) -> tuple[Source, ...]:
        """Where the entry is from: what it says itself, then what was added."""
        added = (
            source
            for amendment in self.amendments
            if not isinstance(amendment.event, EntryRetracted | EntryCorrected)
            for source in amendment.event.sources
        )
        return tuple(dict.fromkeys((*self.entry.sources, *added)))

    @property
    def day(self) -> date:
        """The day it takes effect."""
        said = self.entry.happened
        return self.recorded.happened_on if said is None else last_day(said)


def standing(recorded: Recorded, amendments: Iterable[Recorded]) -> Standing:
    """Give an entry as its amendments, in the order of the log, leave it."""
    about = tuple(amendments)
    entry, live = recorded.event, True
    for amendment in about:
        match amendment.event:
            case EntryCorrected(now=now):
                entry, live = now, True
            case EntryRetracted():
                live = False
            case _:
                pass
    return Standing(recorded=recorded, entry=entry, live=live, amendments=about)


def as_it_stands(said: Sequence[Recorded]) -> list[Standing]:
    """Give the entries of one stream or account as they stand, those that were retracted among them."""
    about: dict[int, list[Recorded]] = defaultdict(list)
    for recorded in said:
        if isinstance(recorded.event, Amendment):
            about[recorded.event.entry_position].append(recorded)
    return [
        standing(recorded, about[recorded.position]) for recorded in said if not isinstance(recorded.event, Amendment)
    ]


def as_learned(said: Iterable[Recorded]) -> list[Learned[Entry]]:
    """Give what was learned, for folding with shared.timeline."""
    found = ((recorded.position, learned(recorded)) for recorded in said)
    return [Learned(position, fact[0], fact[1]) for position, fact in found if fact is not None]


def by_stream(said: Iterable[Recorded]) -> dict[str, list[Recorded]]:
    """Sort entries by their streams, keeping their order."""
    found: dict[str, list[Recorded]] = defaultdict(list)
    for recorded in said:
        found[recorded.stream].append(recorded)
    return dict(found)
