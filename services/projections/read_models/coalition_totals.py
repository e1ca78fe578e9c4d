# ruff: noqa: S608 - the names that stand in our SQL are our own, every value is a parameter
"""Totals: one journal of postings, from which every total, past or present, is a sum.

`facts` keeps what was learned of each account, so that the next entry can be compared with it. `postings` is the
journal: known at position P, a total on day D is the sum of its postings with position <= P and day <= D. `totals` and
`months` are the same summed over all positions, for what is known now. `month_blocks` and `year_blocks` are the same
summed over many positions, so that a question about the past need not read the whole journal. What keeps numbers apart
stands once, in `rows`.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, Final, Literal, NamedTuple, cast

from asyncpg import Record
from sqlalchemy import (
    ARRAY,
    BigInteger,
    Column,
    Date,
    Index,
    Integer,
    MetaData,
    Numeric,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from services.projections.columns import arrays, columns, unnest
from services.projections.database import answers, driver
from services.projections.postings import Account, Row, accounts, learned
from services.projections.read_model import Apply, ReadModel, schema
from services.projections.read_models import traits
from services.projections.transaction import Transaction
from shared.amounts import Vector, plain
from shared.codec import decode, encode
from shared.events import Entry, stored_name
from shared.measures import Stage
from shared.recorded import Recorded
from shared.timeline import Learned

NAME: Final = "coalition_totals"
VERSION: Final = 4
SCHEMA: Final = schema(NAME, VERSION)

METADATA: Final = MetaData(schema=SCHEMA)


def vector_columns() -> tuple[Column[Any], ...]:
    """Give a column for each component of a vector."""
    return (
        Column("low", Numeric, nullable=False),
        Column("high", Numeric, nullable=False),
        Column("open", Integer, nullable=False),
        Column("unknown", Integer, nullable=False),
        Column("about", Integer, nullable=False),
        Column("pledges", Integer, nullable=False),
        Column("parts", Integer, nullable=False),
        Column("surplus", Numeric, nullable=False),
        Column("conditional", Numeric, nullable=False),
    )


COMPONENTS: Final = tuple(column.name for column in vector_columns())
COUNTS: Final = tuple(column.name for column in vector_columns() if isinstance(column.type, Integer))

FACTS: Final = Table(
    "facts",
    METADATA,
    Column("position", BigInteger, nullable=False),
    Column("amends", BigInteger),  # the position of the entry that this one corrects or retracts
    Column("account", Text, nullable=False),
    Column("type", Text),  # null: a retraction
    Column("payload", Text),
    PrimaryKeyConstraint("account", "position"),
    Index("facts_position", "position"),
    Index("facts_amends", "amends", postgresql_where=text("amends IS NOT NULL")),
)

ROWS: Final = Table(
    "rows",
    METADATA,
    Column("row_id", Integer, nullable=False, autoincrement=False),  # 1, 2, 3 ... as they first appear in the log
    Column("stage", Text, nullable=False),
    Column("coalition", Text, nullable=False),
    Column("donors", ARRAY(Text), nullable=False),
    Column("beneficiaries", ARRAY(Text), nullable=False),
    Column("capability", Text, nullable=False),
    Column("unit", Text, nullable=False),
    Column("finance_type", Text, nullable=False),
    PrimaryKeyConstraint("row_id"),
    UniqueConstraint("coalition", "capability", "stage", "unit", "finance_type", "donors", "beneficiaries"),
)

POSTINGS: Final = Table(
    "postings",
    METADATA,
    Column("position", BigInteger, nullable=False),
    Column("event_id", Uuid, nullable=False),
    Column("day", Date, nullable=False),
    Column("row_id", Integer, nullable=False),
    Column("account", Text, nullable=False),
    *vector_columns(),
    PrimaryKeyConstraint("position", "row_id", "day", "account"),
    Index("postings_row_day", "row_id", "day"),
)

TOTALS: Final = Table(
    "totals",
    METADATA,
    Column("row_id", Integer, nullable=False, autoincrement=False),
    Column("day", Date, nullable=False),
    *vector_columns(),
    PrimaryKeyConstraint("row_id", "day"),
    postgresql_with={"fillfactor": "70"},
)

MONTHS: Final = Table(
    "months",
    METADATA,
    Column("row_id", Integer, nullable=False, autoincrement=False),
    Column("month", Date, nullable=False),  # its first day
    *vector_columns(),
    PrimaryKeyConstraint("row_id", "month"),
    postgresql_with={"fillfactor": "70"},
)

BLOCK: Final = 16_384
"""How many positions a block of level 0 sums up: block 0 those below BLOCK, block 1 those below twice that."""

FAN_BITS: Final = 2
FAN: Final = 1 << FAN_BITS
"""How many blocks of a level make one of the next."""

LEVELS: Final = 20
"""No log is so long that it has a block of this level."""


def blocks(of: str) -> Table:
    """Give a table of sums by row and month, or year, over the positions of a block: written once, when it is full."""
    return Table(
        f"{of}_blocks",
        METADATA,
        Column("level", SmallInteger, nullable=False, autoincrement=False),
        Column("block", BigInteger, nullable=False, autoincrement=False),
        Column("row_id", Integer, nullable=False, autoincrement=False),
        Column(of, Date, nullable=False),  # its first day
        *vector_columns(),
        PrimaryKeyConstraint("level", "block", "row_id", of),
    )


MONTH_BLOCKS: Final = blocks("month")
YEAR_BLOCKS: Final = blocks("year")

# ------------------------------------------------------------------------------------------------ how it learns

WRITTEN_AT_ONCE: Final = 250
"""So many notes make one statement: it is written while the next are computed."""

COMPUTED_AT_ONCE: Final = 50
"""After so many what was sent before has its turn."""

REMEMBERED_ENTRIES: Final = 10_000
REMEMBERED_ROWS: Final = 50_000


@dataclass(slots=True)
class Memory:
    """What was loaded or made in earlier batches, and still stands: accounts as they are, rows by their numbers.

    It is good for the transactions of one projector, in order, as long as every one of them was committed.
    """

    accounts: OrderedDict[str, Account] = field(default_factory=OrderedDict)  # the one not used for longest first
    entries: int = 0  # in all accounts
    rows: dict[Row, int] = field(default_factory=dict)
    last_row: int | None = None  # None: not asked yet
    full_blocks: int | None = None  # of level 0, those that are written; None: not asked yet

    def forget(self) -> None:
        """Let go of what was not used for longest."""
        while self.entries > REMEMBERED_ENTRIES and len(self.accounts) > 1:
            _, account = self.accounts.popitem(last=False)
            self.entries -= account.learned
        if len(self.rows) > REMEMBERED_ROWS:
            self.rows.clear()


class Note(NamedTuple):
    """An event as the accounts learn it; `amends` is the position of the entry it corrects or retracts."""

    event: Recorded
    fact: Entry | None
    amends: int | None


class Posting(NamedTuple):
    """What an event added to a row from a day on."""

    position: int
    event_id: str
    day: date
    account: str
    row: Row
    vector: Vector


class Batch(NamedTuple):
    """What a batch of events comes to: its notes, the accounts that each touches, the postings of all."""

    notes: Sequence[Note]
    touched: Sequence[tuple[str, ...]]
    postings: Sequence[Posting]


def notes(events: Iterable[Recorded]) -> list[Note]:
    """Give what of these events changes facts."""
    found = ((event, learned(event)) for event in events)
    return [Note(event, *said) for event, said in found if said is not None]


def touched(news: Sequence[Note], known: Mapping[int, Iterable[str]]) -> list[tuple[str, ...]]:
    """Give the accounts that each note touches.

    `known` has the accounts that entries before this batch, and their amendments, have touched, by the position of the
    entry. An amendment touches those of the entry, of its earlier amendments, and of what it says now.
    """
    about = {position: set(names) for position, names in known.items()}
    found = []
    for event, fact, amends in news:
        place = event.position if amends is None else amends
        names = about.setdefault(place, set())
        names.update(() if fact is None else accounts(fact))
        found.append(tuple(sorted(names)))
    return found


def post(news: Sequence[Note], names: Sequence[Iterable[str]], known: Mapping[str, Account]) -> list[Posting]:
    """Let the accounts learn the notes in order, and give all postings that they make."""
    return [
        Posting(event.position, event.event_id, day, name, row, vector)
        for (event, fact, amends), touches in zip(news, names, strict=True)
        for name in touches
        for (day, row), vector in known[name].learn(event.position, fact, amends).items()
    ]


async def learn(transaction: Transaction, events: Sequence[Recorded], memory: Memory) -> None:
    """Write the facts, postings and totals of a batch of events."""
    await take(transaction, events, memory)
    await fill_blocks(transaction, events[-1].position + 1, memory)


async def take(transaction: Transaction, events: Sequence[Recorded], memory: Memory) -> None:
    """Write what a batch of events changes, but for the blocks."""
    news = notes(events)
    amended = [note.amends for note in news if note.amends is not None]
    names = touched(news, await accounts_of_entries(transaction, amended))
    if not any(names):
        return
    await recall(transaction, {name for touches in names for name in touches}, memory)
    await transaction.flow()
    for first in range(0, len(news), WRITTEN_AT_ONCE):  # while a part is written, the next is computed
        part, touches = news[first : first + WRITTEN_AT_ONCE], names[first : first + WRITTEN_AT_ONCE]
        postings: list[Posting] = []
        for few in range(0, len(part), COMPUTED_AT_ONCE):
            some = slice(few, few + COMPUTED_AT_ONCE)
            postings += post(part[some], touches[some], memory.accounts)
            await asyncio.sleep(0)  # what was sent before is on its way, and has answers
        new_rows = await number(transaction, [posting.row for posting in postings], memory)
        await write(transaction, Batch(part, touches, postings), new_rows, memory.rows)
        await transaction.flow()
    memory.entries += sum(map(len, names))
    memory.forget()


def remembering() -> Apply:
    """Give an `apply` with a memory of its own."""
    memory = Memory()

    async def apply(transaction: Transaction, events: Sequence[Recorded]) -> None:
        await learn(transaction, events, memory)

    return apply


async def apply(transaction: Transaction, events: Sequence[Recorded]) -> None:
    """Take a batch knowing nothing but what is in the tables."""
    await learn(transaction, events, Memory())


COALITION_TOTALS: Final = ReadModel(name=NAME, version=VERSION, metadata=METADATA, apply=apply, remembering=remembering)

# ---------------------------------------------------------------------------------------------- what it loads

ACCOUNTS_OF_ENTRIES: Final = f"""
    SELECT position, account FROM {SCHEMA}.facts WHERE position = ANY($1::bigint[])
    UNION SELECT amends, account FROM {SCHEMA}.facts WHERE amends = ANY($1::bigint[])
"""


async def accounts_of_entries(transaction: Transaction, positions: Sequence[int]) -> dict[int, list[str]]:
    """Give the accounts that the entries at these positions, or amendments of them, have touched."""
    found: dict[int, list[str]] = defaultdict(list)
    if positions:
        for position, account in await transaction.rows(ACCOUNTS_OF_ENTRIES, list(positions)):
            found[position].append(account)
    return found


RECALL: Final = f"""
    SELECT account, position, amends, type, payload FROM {SCHEMA}.facts
    WHERE account = ANY($1::text[]) ORDER BY account, position
"""


async def recall(transaction: Transaction, names: Iterable[str], memory: Memory) -> None:
    """Bring accounts to mind as they stand in the tables, those that are not in memory."""
    missing = []
    for name in sorted(names):
        if name in memory.accounts:
            memory.accounts.move_to_end(name)
        else:
            missing.append(name)
    if not missing:
        return
    found: dict[str, list[Learned[Entry]]] = {name: [] for name in missing}
    for account, position, amends, name, payload in await transaction.rows(RECALL, missing):
        found[account].append(Learned(position, None if name is None else decode(name, payload), amends))
    for account, entries in found.items():
        memory.accounts[account] = Account.of(account, entries)
        memory.entries += len(entries)


NAMED_ROW: Final = ("text",) * len(Row._fields)
KNOWN_ROWS: Final = f"""
    SELECT w.n, r.row_id
    FROM {unnest(1, "int", *NAMED_ROW)} w (n, stage, coalition, donors, beneficiaries, capability, unit, finance_type)
    JOIN {SCHEMA}.rows r ON r.coalition = w.coalition AND r.capability = w.capability AND r.stage = w.stage
      AND r.unit = w.unit AND r.finance_type = w.finance_type AND r.donors = string_to_array(w.donors, ',')
      AND r.beneficiaries = string_to_array(w.beneficiaries, ',')
"""
LAST_ROW: Final = f"SELECT coalesce(max(row_id), 0) FROM {SCHEMA}.rows"


async def number(transaction: Transaction, rows: Iterable[Row], memory: Memory) -> list[Row]:
    """See that memory has the numbers of these rows; give those that are new, in the order of their numbers."""
    missing = [row for row in dict.fromkeys(rows) if row not in memory.rows]
    if not missing:
        return []
    named = [(n, *joined(row)) for n, row in enumerate(missing)]
    for n, row_id in await transaction.rows(KNOWN_ROWS, *arrays(named, "int", *NAMED_ROW)):
        memory.rows[missing[n]] = row_id
    if memory.last_row is None:
        memory.last_row = (await transaction.rows(LAST_ROW))[0][0]
    new = [row for row in missing if row not in memory.rows]
    for row in new:
        memory.last_row += 1
        memory.rows[row] = memory.last_row
    return new


# --------------------------------------------------------------------------------------------- what it writes

VECTOR: Final = ", ".join(COMPONENTS)
VECTOR_TYPES: Final = ("numeric", "numeric", "int", "int", "int", "int", "int", "numeric", "numeric")
FACT: Final = ("bigint", "bigint", "text", "text", "text")
CHANGE: Final = ("int", "date", *VECTOR_TYPES)
POSTING: Final = (*CHANGE, "bigint", "uuid", "text")

WRITE_FACTS: Final = f"""
    INSERT INTO {SCHEMA}.facts (position, amends, account, type, payload) {columns(1, *FACT)}
"""
WRITE_POSTINGS: Final = f"""
    INSERT INTO {SCHEMA}.postings (row_id, day, {VECTOR}, position, event_id, account)
    {columns(1, *POSTING)}
"""
SUMS: Final = ", ".join(f"sum({name})" for name in COMPONENTS)
ADD: Final = f"DO UPDATE SET {', '.join(f'{name} = t.{name} + excluded.{name}' for name in COMPONENTS)}"
MONTH: Final = "CAST(date_trunc('month', CAST(day AS timestamp)) AS date)"
YEAR: Final = "CAST(date_trunc('year', CAST(month AS timestamp)) AS date)"
# in one order, so that neighbours in the index come together; a cell that comes to nothing is kept: which cells there
# are must not depend on where a batch ends
WRITE_TOTALS: Final = f"""
    INSERT INTO {SCHEMA}.totals AS t (row_id, day, {VECTOR})
    SELECT row_id, day, {SUMS} FROM ({columns(1, *CHANGE)}) c (row_id, day, {VECTOR}) GROUP BY 1, 2 ORDER BY 1, 2
    ON CONFLICT (row_id, day) {ADD}
"""
WRITE_MONTHS: Final = f"""
    INSERT INTO {SCHEMA}.months AS t (row_id, month, {VECTOR})
    SELECT row_id, {MONTH}, {SUMS} FROM ({columns(1, *CHANGE)}) c (row_id, day, {VECTOR}) GROUP BY 1, 2 ORDER BY 1, 2
    ON CONFLICT (row_id, month) {ADD}
"""
NEW_ROW: Final = ("int", *NAMED_ROW)
WRITE_ROWS: Final = f"""
    INSERT INTO {SCHEMA}.rows (row_id, stage, coalition, donors, beneficiaries, capability, unit, finance_type)
    SELECT row_id, stage, coalition, string_to_array(donors, ','), string_to_array(beneficiaries, ','), capability,
           unit, finance_type
    FROM {unnest(1, *NEW_ROW)} w (row_id, stage, coalition, donors, beneficiaries, capability, unit, finance_type)
"""


async def write(transaction: Transaction, batch: Batch, new_rows: Sequence[Row], numbers: Mapping[Row, int]) -> None:
    """Write a batch: facts for each account that a note touches, postings, what they add to the totals."""
    facts = [
        (event.position, amends, name, *_stored(event, fact, amends))
        for (event, fact, amends), touches in zip(batch.notes, batch.touched, strict=True)
        for name in touches
    ]
    journal = [
        (numbers[row], day, *vector, position, event_id, account)
        for position, event_id, day, account, row, vector in batch.postings
    ]
    if new_rows:
        named = [(numbers[row], *joined(row)) for row in new_rows]
        await transaction.write(WRITE_ROWS, *arrays(named, *NEW_ROW))
    await transaction.write(WRITE_FACTS, *arrays(facts, *FACT))
    sent = arrays(journal, *POSTING)
    changes = sent[: len(CHANGE)]
    await transaction.write(WRITE_POSTINGS, *sent)
    await transaction.write(WRITE_TOTALS, *changes)
    await transaction.write(WRITE_MONTHS, *changes)


def _stored(event: Recorded, fact: Entry | None, amends: int | None) -> tuple[str | None, str | None]:
    """Give the type and payload that a fact is kept by: of a correction, those of what the entry says now."""
    if fact is None:
        return None, None
    return (event.type, event.payload.decode()) if amends is None else (stored_name(fact), encode(fact).decode())


def joined(row: Row) -> tuple[str, ...]:
    """Give a row with its parties as one text each; their codes have no comma in them."""
    return row._replace(donors=",".join(row.donors), beneficiaries=",".join(row.beneficiaries))  # type: ignore[arg-type, return-value]  # as the tables' statements want them


FULL_BLOCKS: Final = f"""
    SELECT coalesce(max((SELECT max(block) + 1 FROM {SCHEMA}.month_blocks b WHERE b.level = l) << {FAN_BITS} * l), 0)
    FROM generate_series(0, {LEVELS - 1}) l
"""
FILL_FROM_JOURNAL: Final = f"""
    SELECT row_id, {MONTH} AS month, {SUMS} FROM {SCHEMA}.postings WHERE position BETWEEN $3 AND $4 GROUP BY 1, 2
"""
FILL_FROM_BLOCKS: Final = f"""
    SELECT row_id, month, {SUMS} FROM {SCHEMA}.month_blocks
    WHERE level = $1::smallint - 1 AND block BETWEEN $3 AND $4 GROUP BY 1, 2
"""
FILL: Final = f"""
    WITH months AS (
        INSERT INTO {SCHEMA}.month_blocks (level, block, row_id, month, {VECTOR})
        SELECT $1::smallint, $2::bigint, s.* FROM ({{source}}) s ORDER BY row_id, month RETURNING *
    )
    INSERT INTO {SCHEMA}.year_blocks (level, block, row_id, year, {VECTOR})
    SELECT level, block, row_id, {YEAR}, {SUMS} FROM months GROUP BY 1, 2, 3, 4 ORDER BY 3, 4
"""


async def fill_blocks(transaction: Transaction, positions: int, memory: Memory) -> None:
    """Write the blocks that are full once so many positions are taken, each level from the one below it.

    Positions decide which blocks there are, not batches. Those without postings have no rows, and are looked at again.
    """
    if positions < BLOCK:
        return
    if memory.full_blocks is None:
        ((memory.full_blocks,),) = await transaction.rows(FULL_BLOCKS)
    for block in range(memory.full_blocks, positions // BLOCK):
        source = FILL.format(source=FILL_FROM_JOURNAL)
        await transaction.carry_out(source, 0, block, block * BLOCK, (block + 1) * BLOCK - 1)
        level, above = 0, block + 1
        while above % FAN == 0 and level + 1 < LEVELS:
            level, above = level + 1, above // FAN
            source = FILL.format(source=FILL_FROM_BLOCKS)
            await transaction.carry_out(source, level, above - 1, (above - 1) * FAN, above * FAN - 1)
    memory.full_blocks = positions // BLOCK


# ------------------------------------------------------------------------------------------ what it is asked


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which rows are asked for; None: all.

    `donor` and `beneficiary` take every row that names the party, alone or in a group; `donors` and `beneficiaries`
    the rows of exactly that group. `capability` takes its descendants too, by dots, unless `exactly`. An empty
    `coalition` or `finance_type` asks for what has none. `account` is one pledge (`pledge-x`) or one party's
    production (`production-UKR`): it narrows `postings` and `totals` alike.

    `labels` (key, value) are carried by the accounts that are asked for, all of them; `labelled` (key, values) are all
    the values that they carry of a key. `period` (first day, last day) takes the pledges that say they are for days in
    it; one that is for other days too counts [0, whole]. `rows` takes what adds up to these rows of an answer.
    """

    coalition: str | None = None
    donor: str | None = None
    beneficiary: str | None = None
    donors: tuple[str, ...] | None = None
    beneficiaries: tuple[str, ...] | None = None
    capability: str | None = None
    exactly: bool = False
    unit: str | None = None
    stage: Stage | None = None
    finance_type: str | None = None
    account: str | None = None
    labels: tuple[tuple[str, str], ...] = ()
    labelled: tuple[tuple[str, tuple[str, ...]], ...] = ()
    period: tuple[date, date] | None = None
    rows: tuple[TotalRow, ...] | None = None

    @property
    def needs_traits(self) -> bool:
        """Whether the answer depends on what entries say beside their rows."""
        return bool(self.labels or self.labelled or self.period)

    @property
    def of_accounts(self) -> bool:
        """Whether accounts are chosen among, which only the journal tells apart."""
        return self.account is not None or self.needs_traits


class TotalRow(NamedTuple):
    """What one number of an answer is about; `parties` are the donors or beneficiaries, where it is grouped by them."""

    capability: str
    unit: str
    stage: Stage
    finance_type: str
    parties: tuple[str, ...] = ()


By = Literal["donors", "beneficiaries"]


class Group(NamedTuple):
    """What a row is kept apart by; None where it was not asked to be.

    `labels` has (key, all values that are carried) for each key that was asked for.
    """

    coalition: str | None = None
    donors: tuple[str, ...] | None = None
    beneficiaries: tuple[str, ...] | None = None
    labels: tuple[tuple[str, tuple[str, ...]], ...] = ()


Dimension = Literal["coalition", "donors", "beneficiaries"]


async def totals(
    conn: AsyncConnection,
    *,
    on: date,
    known: int | None = None,
    since: date | None = None,
    where: Filter = Filter(),
    by: By | None = None,
) -> list[tuple[TotalRow, Vector]]:
    """Give the totals on the day `on`, as known at the position `known` (None: now), in the order of their rows.

    With `since`, only what came from that day on: the value on `on` minus the value before `since`. With `by`, each row
    apart for every group of donors, or of beneficiaries; those add up to the rows without. A pledge whose shares are
    known has several such rows: `pledges` counts it on one of them, `parts` on each. Rows that come to nothing are
    left out.
    """
    parts, values = await _parts(conn, on, known, since, where)
    parties = "" if by is None else f", r.{by}"
    keys = f"r.capability, r.unit, r.stage, r.finance_type{parties}"
    query = f"""
        SELECT {keys}, {_sums("s")}
        FROM ({" UNION ALL ".join(parts)}) s
        JOIN {SCHEMA}.rows r USING (row_id) GROUP BY {keys} ORDER BY {keys}
    """
    rows = ((_total_row(row, by), _vector(row)) for row in await answers(conn, query, values))
    return [(row, vector) for row, vector in rows if vector]


async def learned_since(
    conn: AsyncConnection, position: int, *, on: date, known: int, since: date | None, where: Filter
) -> list[tuple[TotalRow, Vector]]:
    """Give what was posted after a position: `totals` known at `known` minus those known at `position`.

    `where` does not choose among accounts: which of them are asked for may have changed too.
    """
    _, conditions, values = _asked(on, known, since, where)
    keys = "r.capability, r.unit, r.stage, r.finance_type"
    query = f"""
        SELECT {keys}, {_sums("p")} FROM {SCHEMA}.postings p JOIN {SCHEMA}.rows r USING (row_id)
        WHERE {conditions} AND p.position > :position GROUP BY {keys} ORDER BY {keys}
    """
    return [
        (_total_row(row, None), _vector(row)) for row in await answers(conn, query, values | {"position": position})
    ]


async def grouped(
    conn: AsyncConnection,
    *,
    on: date,
    known: int | None = None,
    since: date | None = None,
    where: Filter = Filter(),
    by: Sequence[Dimension],
    labels: Sequence[str] = (),
) -> list[tuple[TotalRow, Group, Vector]]:
    """Give the totals with each row apart by these dimensions, and by the values of these labels.

    The arguments are those of `totals`; the rows are disjoint, and add up to what it answers.
    """
    keys = ["r.capability", "r.unit", "r.stage", "r.finance_type", *(f"r.{name}" for name in by)]
    if labels:
        source, conditions, values = _asked(on, known, since, where, journal=True)
        names = [f"label_{n}" for n in range(len(labels))]
        sets = "".join(
            f" LEFT JOIN ({traits.label_sets(f'key_{name}', known)}) {name} ON {name}.account = p.account"
            for name in names
        )
        values |= {f"key_{name}": key for name, key in zip(names, labels, strict=True)}
        keys += [f"{name}.values" for name in names]
        chosen = [*keys[: -len(names)], *(f"{name}.values AS {name}" for name in names)]
        query = f"""
            SELECT {", ".join(chosen)}, {_sums("p")} FROM {source} p JOIN {SCHEMA}.rows r USING (row_id){sets}
            WHERE {conditions} GROUP BY {", ".join(keys)} ORDER BY {", ".join(keys)}
        """
    else:
        parts, values = await _parts(conn, on, known, since, where)
        query = f"""
            SELECT {", ".join(keys)}, {_sums("s")} FROM ({" UNION ALL ".join(parts)}) s
            JOIN {SCHEMA}.rows r USING (row_id) GROUP BY {", ".join(keys)} ORDER BY {", ".join(keys)}
        """
    if labels:  # else the planner may make the sets of labels anew for each posting
        await driver(conn).execute("SET LOCAL enable_nestloop = off")
    found = await answers(conn, query, values)
    if labels:
        await driver(conn).execute("SET LOCAL enable_nestloop = on")
    rows = ((_total_row(row, None), _group(row, by, labels), _vector(row)) for row in found)
    return [(row, group, vector) for row, group, vector in rows if vector]


def _group(row: Record, by: Sequence[Dimension], labels: Sequence[str]) -> Group:
    return Group(
        coalition=row["coalition"] if "coalition" in by else None,
        donors=tuple(row["donors"]) if "donors" in by else None,
        beneficiaries=tuple(row["beneficiaries"]) if "beneficiaries" in by else None,
        labels=tuple((key, tuple(row[f"label_{n}"] or ())) for n, key in enumerate(labels)),
    )


async def daily(
    conn: AsyncConnection,
    *,
    on: date,
    known: int | None = None,
    since: date | None = None,
    where: Filter = Filter(),
) -> list[tuple[date, Stage, Vector]]:
    """Give what each day up to `on` added to each stage, by day, as known at `known`."""
    found = await _steps(conn, "r.stage", "p.day", on=on, known=known, since=since, where=where)
    return [(day, row[0], vector) for day, row, vector in found]


async def periodic(
    conn: AsyncConnection,
    period: MonthOrYear,
    *,
    on: date,
    known: int | None = None,
    since: date | None = None,
    where: Filter = Filter(),
) -> list[tuple[date, TotalRow, Vector]]:
    """Give what each month or year (by its first day) up to `on` added to each row, in order, as known at `known`."""
    first = f"CAST(date_trunc('{period}', CAST(p.day AS timestamp)) AS date)"
    keys = "r.capability, r.unit, r.stage, r.finance_type"
    found = await _steps(conn, keys, first, on=on, known=known, since=since, where=where)
    return [(day, _total_row(row, None), vector) for day, row, vector in found]


MonthOrYear = Literal["month", "year"]


async def _steps(
    conn: AsyncConnection, keys: str, first: str, *, on: date, known: int | None, since: date | None, where: Filter
) -> list[tuple[date, Record, Vector]]:
    """Give (first day, keys, what was added) of every stretch of days that begins with `first`, by day."""
    # of each row its own stretch of the index: joined, the planner would read the whole journal
    source, conditions, values = _asked(on, known, since, where, among=EACH_OF)
    query = f"""
        SELECT {keys}, {first} AS first, {_sums("p")}
        FROM {source} p JOIN {SCHEMA}.rows r USING (row_id)
        WHERE {conditions} GROUP BY {first}, {keys} ORDER BY first, {keys}
    """
    found = ((row["first"], row, _vector(row)) for row in await answers(conn, query, values))
    return [(day, row, vector) for day, row, vector in found if vector]


class AccountStep(NamedTuple):
    """What a day added to one account's part of one row."""

    account: str
    row: Row
    day: date
    change: Vector


async def steps_of_accounts(
    conn: AsyncConnection, *, on: date, known: int | None = None, where: Filter = Filter()
) -> list[AccountStep]:
    """Give what each day up to `on` added to each account's part of each row, by day: what sums to nothing is left out.

    It reads every posting of the rows asked for.
    """
    source, conditions, values = _asked(on, known, None, where, journal=True)
    query = f"""
        SELECT p.account, p.row_id, p.day, {_sums("p")} FROM {source} p JOIN {SCHEMA}.rows r USING (row_id)
        WHERE {conditions} GROUP BY p.account, p.day, p.row_id ORDER BY p.day, p.row_id, p.account
    """
    steps = [(*step[:3], _vector(step)) for step in await answers(conn, query, values)]
    ids = sorted({row_id for _, row_id, _, _ in steps})
    named = await answers(conn, f"SELECT * FROM {SCHEMA}.rows WHERE row_id = ANY(:ids)", {"ids": ids})
    rows = {row["row_id"]: _row(row) for row in named}
    return [AccountStep(account, rows[row_id], day, change) for account, row_id, day, change in steps if change]


class Cursor(NamedTuple):
    """Where a page of postings ended."""

    position: int
    row_id: int
    day: date
    account: str


async def postings(
    conn: AsyncConnection,
    *,
    on: date,
    known: int | None = None,
    since: date | None = None,
    where: Filter = Filter(),
    after: Cursor | None = None,
    limit: int = 1_000,
) -> tuple[list[Posting], Cursor | None]:
    """Give the postings behind a number, in the order of the log, and where the next page begins (None: no more).

    The same arguments given to `totals` answer their sum.
    """
    source, conditions, values = _asked(on, known, since, where, journal=True)
    if after is not None:
        conditions += " AND (p.position, p.row_id, p.day, p.account) > (:position, :row_id, :day, :after_account)"
        values |= {"position": after.position, "row_id": after.row_id, "day": after.day, "after_account": after.account}
    columns = ", ".join(f"p.{name}" for name in COMPONENTS)
    query = f"""
        SELECT r.*, p.position, p.event_id::text AS event, p.day, p.account, {columns}
        FROM {source} p JOIN {SCHEMA}.rows r USING (row_id)
        WHERE {conditions} ORDER BY p.position, p.row_id, p.day, p.account LIMIT :limit
    """
    rows = await answers(conn, query, values | {"limit": limit + 1})
    page = [
        Posting(row["position"], row["event"], row["day"], row["account"], _row(row), _vector(row))
        for row in rows[:limit]
    ]
    last = rows[limit - 1] if len(rows) > limit else None
    return page, None if last is None else Cursor(last["position"], last["row_id"], last["day"], last["account"])


ONE_OF: Final = "p.row_id IN ({rows})"
"""That a row is among those asked for, to be joined as the planner sees fit."""

EACH_OF: Final = "p.row_id = ANY(ARRAY({rows}))"
"""The same, where each row has a stretch of an index that is to be gone through."""


def _asked(
    on: date,
    known: int | None,
    since: date | None,
    where: Filter,
    *,
    journal: bool = False,
    among: str = ONE_OF,
) -> tuple[str, str, dict[str, Any]]:
    """Give (what to read as `p`, conditions on it, values).

    It is the journal where a past or accounts are asked for, else the totals. `among` is the condition that a row is
    among those asked for.
    """
    conditions, asked = ["p.day <= :on"], {"on": on} | _of_rows(where)[1]
    if since is not None:
        conditions.append("p.day >= :since")
        asked["since"] = since
    if known is not None:
        conditions.append("p.position <= :known")
        asked["known"] = known
    source = f"{SCHEMA}.postings" if journal or known is not None else f"{SCHEMA}.totals"
    if where.of_accounts:
        source, of_accounts = _of_accounts(where, known)
        asked |= of_accounts
    conditions += _among(where, among)
    return source, " AND ".join(conditions), asked


def _of_accounts(where: Filter, known: int | None) -> tuple[str, dict[str, Any]]:
    """Give the journal of the accounts that are asked for, and values: what is for other days too is [0, whole] in it.

    The facts of an account lead to its postings, which are not indexed by account. That the accounts are looked up (a
    CASE keeps it from becoming a join) is for the planner's sake: it takes account and position for independent, counts
    on one row where there are thousands, and would go through the accounts again for each posting.
    """
    chosen, values = _chosen(where, known)
    vector = "q.*"
    if where.period is not None:
        partly = "CASE WHEN q.account IN (SELECT account FROM n WHERE partly) THEN 0 ELSE q.{name} END AS {name}"
        parts = (partly.format(name=name) if name in OF_THE_WHOLE else f"q.{name}" for name in COMPONENTS)
        vector = f"q.position, q.event_id, q.day, q.row_id, q.account, {', '.join(parts)}"
    journal = f"""(
        WITH n AS MATERIALIZED ({chosen})
        SELECT {vector} FROM {SCHEMA}.postings q
        WHERE q.position = ANY(ARRAY(SELECT f.position FROM {SCHEMA}.facts f JOIN n USING (account)))
        AND CASE WHEN q.account IN (SELECT account FROM n) THEN true ELSE false END
    )"""
    return journal, values


def _chosen(where: Filter, known: int | None) -> tuple[str, dict[str, Any]]:
    """Give the query (account, partly) of the accounts that are asked for, and values."""
    values: dict[str, Any] = {}
    chosen: list[str] = []
    if where.account is not None:
        chosen.append("SELECT CAST(:account AS text) AS account")
        values["account"] = where.account
    for n, (key, value) in enumerate(where.labels):
        chosen.append(f"SELECT account FROM ({traits.carried(f'key_{n}', known, f'value_{n}')}) c")
        values |= {f"key_{n}": key, f"value_{n}": value}
    for n, (key, carried) in enumerate(where.labelled):
        sets = f"({traits.label_sets(f'set_key_{n}', known)}) s"
        if carried:
            chosen.append(f"SELECT s.account FROM {sets} WHERE s.values = CAST(:set_{n} AS text[])")
            values |= {f"set_key_{n}": key, f"set_{n}": list(carried)}
        else:  # who carries none is not among the sets
            everybody = f"SELECT DISTINCT account FROM {SCHEMA}.facts"
            chosen.append(f"SELECT account FROM ({everybody}) f WHERE account NOT IN (SELECT s.account FROM {sets})")
            values |= {f"set_key_{n}": key}
    if where.period is None:
        return f"SELECT account, false AS partly FROM ({' INTERSECT '.join(chosen)}) a", values
    periods = f"({traits.periods(known)}) z"
    among = f"AND z.account IN ({' INTERSECT '.join(chosen)})" if chosen else ""
    query = f"""
        SELECT z.account, NOT (z.first >= :period_first AND z.last <= :period_last) AS partly
        FROM {periods} WHERE z.first <= :period_last AND z.last >= :period_first {among}
    """
    return query, values | dict(zip(("period_first", "period_last"), where.period, strict=True))


async def chosen(conn: AsyncConnection, where: Filter, known: int) -> dict[str, bool]:
    """Give the accounts that are asked for, as known at a position; True: of each [0, whole] counts."""
    query, values = _chosen(where, known)
    return dict(await answers(conn, query, values | {"known": known}))  # type: ignore[arg-type]  # rows of two columns


OF_THE_WHOLE: Final = ("low", "surplus", "conditional")
"""The components that a part of a whole need not have: of a part that nobody said they are 0."""


class Strip(NamedTuple):
    """Days, or positions, to be added to what is summed beforehand, or (-1) to be taken off it; both ends included."""

    first: Any
    last: Any
    sign: Literal[1, -1] = 1


def days_of(since: date | None, on: date) -> tuple[date, date, list[Strip]]:
    """Give (first month, month after the last, strips of days) that together are the days from `since` to `on`.

    Of a month that is asked in part either its days are added, or it is taken whole and the others are taken off,
    whichever are fewer.
    """
    month = on.replace(day=1)
    if since is not None and since >= month:
        return month, month, [Strip(since, on)]
    strips: list[Strip] = []
    end = _next(month) if on.day > HALF_A_MONTH and month < LAST_MONTH else month
    if end == month:
        strips.append(Strip(month, on))
    elif on + ONE_DAY < end:
        strips.append(Strip(on + ONE_DAY, end - ONE_DAY, -1))
    if since is None:
        return date.min, end, strips
    start = since.replace(day=1)
    if since.day > HALF_A_MONTH:
        start = _next(start)
        strips.append(Strip(since, start - ONE_DAY))
    elif since > start:
        strips.append(Strip(start, since - ONE_DAY, -1))
    return start, end, strips


def years_of(start: date, end: date) -> tuple[date, date, list[Strip]]:
    """Give (first year, year after the last, strips of months) that together are the months from `start` up to `end`.

    As with days, the months of a part of a year are added, or the others are taken off the whole.
    """
    first, last = start.replace(month=1), end.replace(month=1)
    if start >= last:
        return last, last, [Strip(start, end - ONE_DAY)] if start < end else []
    strips: list[Strip] = []
    if end.month > HALF_A_YEAR and last < LAST_YEAR:
        last = last.replace(year=last.year + 1)
        strips.append(Strip(end, last - ONE_DAY, -1))
    elif end > last:
        strips.append(Strip(last, end - ONE_DAY))
    if start.month > HALF_A_YEAR:
        first = first.replace(year=first.year + 1)
        strips.append(Strip(start, first - ONE_DAY))
    elif start > first:
        strips.append(Strip(first, start - ONE_DAY, -1))
    return first, last, strips


def blocks_of(full: int) -> list[tuple[int, int]]:
    """Give (level, block) of those that together sum up the first so many blocks of level 0: as few as there can be."""
    found = []
    for level in range(LEVELS):
        found += [(level, block) for block in range(full & -FAN, full)]
        full //= FAN
    return found


HALF_A_MONTH: Final = 15
HALF_A_YEAR: Final = 7
ONE_DAY: Final = timedelta(days=1)
LAST_MONTH: Final = date.max.replace(day=1)
LAST_YEAR: Final = LAST_MONTH.replace(month=1)


def _next(month: date) -> date:
    return (month + timedelta(days=31)).replace(day=1)


async def _parts(
    conn: AsyncConnection, on: date, known: int | None, since: date | None, where: Filter
) -> tuple[list[str], dict[str, Any]]:
    """Give the queries whose rows (row_id and sums) add up to what is asked, and their values."""
    if where.of_accounts:
        source, conditions, values = _asked(on, known, since, where)
        return [f"SELECT p.row_id, {_sums('p')} FROM {source} p WHERE {conditions} GROUP BY p.row_id"], values
    if known is None:
        return _parts_now(on, since, where)
    ((full,),) = await answers(conn, FULL_BLOCKS, {})
    return _parts_then(on, known, since, where, min((known + 1) // BLOCK, full))


def _parts_now(on: date, since: date | None, where: Filter) -> tuple[list[str], dict[str, Any]]:
    """Whole months come from `months`, the days of months that are asked in part from `totals`."""
    start, end, days = days_of(since, on)
    values = {"start": start, "end": end} | _of_rows(where)[1]
    parts = [_summing("months", ["p.month >= :start", "p.month < :end", *_among(where)])]
    for n, strip in enumerate(days):
        values |= {f"first_{n}": strip.first, f"last_{n}": strip.last}
        parts.append(_summing("totals", [f"p.day BETWEEN :first_{n} AND :last_{n}", _each(where)], strip))
    return parts, values


def _parts_then(on: date, known: int, since: date | None, where: Filter, full: int) -> tuple[list[str], dict[str, Any]]:
    """Whole years in blocks that are full come from `year_blocks`, whole months from `month_blocks`.

    What is left are strips of the journal: the days of months that are asked in part, and the positions after the
    blocks. `full` is how many blocks of level 0 to make use of.
    """
    start, end, days = days_of(since, on)
    first, last, months = years_of(start, end)
    levels, blocks = zip(*blocks_of(full), strict=True) if full else ((), ())
    values = {"levels": list(levels), "blocks": list(blocks), "edge": full * BLOCK, "known": known}
    values |= {"start": first, "end": last, "on": on, "since": since or date.min} | _of_rows(where)[1]
    # joined, or the planner takes every posting of the rows asked for to be fewer than those after the blocks
    strip = ["p.position BETWEEN :edge AND :known", "p.day BETWEEN :since AND :on", *_among(where, ONE_OF)]
    parts = [_summing("postings", strip)]
    if full:
        whole = ["p.year >= :start", "p.year < :end", *_among(where)]
        parts.append(_in_blocks("year_blocks", whole))
        for n, part in enumerate(months):
            values |= {f"first_month_{n}": part.first, f"last_month_{n}": part.last}
            some = [f"p.month BETWEEN :first_month_{n} AND :last_month_{n}", *_among(where)]
            parts.append(_in_blocks("month_blocks", some, part))
        for n, part in enumerate(days):
            values |= {f"first_day_{n}": part.first, f"last_day_{n}": part.last}
            some = [f"p.day BETWEEN :first_day_{n} AND :last_day_{n}", "p.position < :edge", _each(where)]
            parts.append(_summing("postings", some, part))
    return parts, values


def _in_blocks(table: str, conditions: Sequence[str], strip: Strip | None = None) -> str:
    """Sum block by block: each is one stretch of the index, which the planner would not find out by itself."""
    within = _summing(table, ["p.level = b.level", "p.block = b.block", *conditions], strip)
    return f"""
        SELECT s.* FROM unnest(CAST(:levels AS smallint[]), CAST(:blocks AS bigint[])) b (level, block),
            LATERAL ({within}) s
    """


def _summing(table: str, conditions: Sequence[str], strip: Strip | None = None) -> str:
    sums = _sums("p", "-" if strip is not None and strip.sign < 0 else "")
    return f"SELECT p.row_id, {sums} FROM {SCHEMA}.{table} p WHERE {' AND '.join(conditions)} GROUP BY p.row_id"


def _among(where: Filter, condition: str = EACH_OF) -> list[str]:
    """Give the condition that a row is among those asked for, if not all are."""
    return [condition.format(rows=_rows(where))] if _of_rows(where)[0] else []


def _each(where: Filter) -> str:
    """Name all rows, also where all are asked for: each has its days together in the index."""
    return EACH_OF.format(rows=_rows(where))


def _rows(where: Filter) -> str:
    return f"SELECT r.row_id FROM {SCHEMA}.rows r WHERE {' AND '.join(_of_rows(where)[0]) or 'true'}"


CONDITIONS: Final = {
    "coalition": "r.coalition = :coalition",
    "donor": ":donor = ANY(r.donors)",
    "beneficiary": ":beneficiary = ANY(r.beneficiaries)",
    "donors": "r.donors = CAST(:donors AS text[])",
    "beneficiaries": "r.beneficiaries = CAST(:beneficiaries AS text[])",
    "unit": "r.unit = :unit",
    "stage": "r.stage = :stage",
    "finance_type": "r.finance_type = :finance_type",
}


def _of_rows(where: Filter) -> tuple[list[str], dict[str, Any]]:
    given = {name: value for name in CONDITIONS if (value := getattr(where, name)) is not None}
    conditions = [CONDITIONS[name] for name in given]
    values = {name: list(value) if isinstance(value, tuple) else value for name, value in given.items()}
    if where.capability is not None:
        within = "" if where.exactly else " OR starts_with(r.capability, :capability || '.')"
        conditions.append(f"(r.capability = :capability{within})")
        values["capability"] = where.capability
    if where.rows is not None:
        asked = [f"rows_{n}" for n in range(len(MEASURE))]
        conditions.append(f"({', '.join(MEASURE)}) IN (SELECT * FROM unnest({', '.join(map(TEXTS.format, asked))}))")
        values |= {name: [row[n] for row in where.rows] for n, name in enumerate(asked)}
    return conditions, values


MEASURE: Final = ("r.capability", "r.unit", "r.stage", "r.finance_type")
TEXTS: Final = "CAST(:{} AS text[])"


def _sums(table: str, sign: str = "") -> str:
    counts = dict.fromkeys(COUNTS, "::bigint")  # a sum of sums of integers is numeric else
    return ", ".join(f"({sign}sum({table}.{name})){counts.get(name, '')} AS {name}" for name in COMPONENTS)


def _total_row(row: Record, by: By | None) -> TotalRow:
    capability, unit, stage, finance_type = row[:4]
    return TotalRow(capability, unit, stage, finance_type, () if by is None else tuple(row[by]))


def _row(row: Record) -> Row:
    return Row(
        cast("Stage", row["stage"]),
        row["coalition"],
        tuple(row["donors"]),
        tuple(row["beneficiaries"]),
        row["capability"],
        row["unit"],
        row["finance_type"],
    )


def _vector(row: Record) -> Vector:
    """Read a vector out of the last columns of a row."""
    low, high, open_, unknown, about, pledges, parts, surplus, conditional = row[-len(COMPONENTS) :]
    return Vector(
        _plain(low), _plain(high), open_, unknown, about, pledges, parts, _plain(surplus), _plain(conditional)
    )


def _plain(number: Decimal) -> Decimal:
    return number if number.same_quantum(WHOLE) else plain(number)


WHOLE: Final = Decimal(1)
"""A number without decimals, nor an exponent: most are, and are plain as they stand."""
