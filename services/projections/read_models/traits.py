# ruff: noqa: S608 - the names that stand in our SQL are our own, every value is a parameter
"""What totals and lists are narrowed by beside their rows: labels, the periods that pledges are for, words to search.

Each row is what one entry says about one account, and was known from the position `since` up to, without, `until`
(null: it still is). A correction ends the rows of the entry it corrects and gives it new ones; so the labels as known
at any position are one condition.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    BigInteger,
    Column,
    Date,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    text,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from services.projections.columns import arrays, unnest
from services.projections.postings import learned
from services.projections.read_model import ReadModel, schema
from services.projections.transaction import Transaction
from shared.amounts import Amount
from shared.days import first_day, last_day
from shared.events import Entry
from shared.events.pledges import PledgeAnnounced, PledgeEntry
from shared.events.reports import ProductionReported
from shared.recorded import Recorded

NAME: Final = "traits"
VERSION: Final = 2
SCHEMA: Final = schema(NAME, VERSION)
METADATA: Final = MetaData(schema=SCHEMA)


def _said(name: str, *columns: Column[Any], indexes: Sequence[Index]) -> Table:
    """Make a table of what entries say: the n-th thing that the entry at `position` says of its account."""
    return Table(
        name,
        METADATA,
        Column("position", BigInteger, nullable=False),
        Column("n", Integer, nullable=False),
        Column("account", Text, nullable=False),
        Column("since", BigInteger, nullable=False),
        Column("until", BigInteger),
        *columns,
        PrimaryKeyConstraint("position", "since", "n"),
        *indexes,
    )


LABELS: Final = _said(
    "labels",
    Column("key", Text, nullable=False),
    Column("value", Text, nullable=False),
    indexes=[
        Index("labels_account", "account"),
        Index("labels_value", "value", postgresql_using="hash"),  # values may be too long for a tree
    ],
)
PERIODS: Final = _said(
    "periods",
    Column("first", Date),  # null: the pledge names no period
    Column("last", Date),
    indexes=[Index("periods_account", "account")],
)
TEXTS: Final = _said(
    "texts",
    Column("said", Text, nullable=False),  # folded; of a production report also if empty
    indexes=[Index("texts_productions", "account", postgresql_where=text("starts_with(account, 'production-')"))],
)


class Trait(NamedTuple):
    """A row to be: what the entry at `position` says, and from and until when it was known."""

    table: str
    position: int
    n: int
    account: str
    since: int
    until: int | None
    said: tuple[Any, ...]


def fold(said: str) -> str:
    """Give a text as it is searched: without regard to accents, case and spaces."""
    if said.isascii():
        return " ".join(said.casefold().split())
    plain = "".join(mark for mark in unicodedata.normalize("NFKD", said) if not unicodedata.combining(mark))
    return " ".join(plain.translate(STROKES).casefold().split())


STROKES: Final = str.maketrans("ØøŁłĐđĦħŦŧ", "OoLlDdHhTt")
"""Letters whose stroke Unicode does not take for an accent."""


def traits(entry: Entry) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Give (table, what stands in it) of everything that an entry says about its account."""
    for key, values in entry.labels.items():
        yield from (("labels", (key, value)) for value in dict.fromkeys(values))
    if isinstance(entry, PledgeAnnounced):
        period = entry.for_period
        yield "periods", (None, None) if period is None else (first_day(period.start), last_day(period.end))
    said = fold(" \n ".join(_words(entry)))
    if said or isinstance(entry, ProductionReported):
        yield "texts", (said,)


def _words(entry: Entry) -> Iterator[str]:
    if isinstance(entry, PledgeAnnounced):
        yield entry.pledge
        yield from filter(None, (entry.conditions, entry.capability))
    yield from filter(None, (entry.note, getattr(entry, "reason", None)))
    yield from (f"{key} {' '.join(values)}" for key, values in entry.labels.items())
    amounts: list[Amount | None] = [getattr(entry, "amount", None)]
    amounts += [other.amount for other in getattr(entry, "also", None) or ()]
    yield from (amount.words for amount in amounts if amount is not None and amount.words is not None)


def account_of(entry: Entry) -> str | None:
    """Name the account that an entry is an entry of; None if it has none."""
    match entry:
        case PledgeAnnounced() | PledgeEntry():
            return f"pledge-{entry.pledge}"
        case ProductionReported():
            return f"production-{entry.party}"
        case _:
            return None


def noted(events: Sequence[Recorded]) -> tuple[list[Trait], dict[int, int]]:
    """Give the rows that events make, and by which position rows made before end, by the position of their entry."""
    rows: list[Trait] = []
    open_rows: dict[int, list[int]] = {}
    ended: dict[int, int] = {}
    for event in events:
        found = learned(event)
        if found is None:
            continue
        fact, amends = found
        entry_position = event.position if amends is None else amends
        if amends is not None:
            ended.setdefault(amends, event.position)
            for index in open_rows.pop(amends, ()):
                rows[index] = rows[index]._replace(until=event.position)
        account = None if fact is None else account_of(fact)
        if fact is None or account is None:
            continue
        open_rows[entry_position] = []
        for n, (table, said) in enumerate(traits(fact)):
            open_rows[entry_position].append(len(rows))
            rows.append(Trait(table, entry_position, n, account, event.position, None, said))
    return rows, ended


ENDED: Final = ("bigint", "bigint")
END: Final = {
    table.name: f"""
        UPDATE {table.fullname} t SET until = ended.at FROM {unnest(1, *ENDED)} ended (position, at)
        WHERE t.position = ended.position AND t.until IS NULL
    """
    for table in (LABELS, PERIODS, TEXTS)
}
TRAIT: Final = ("bigint", "int", "text", "bigint", "bigint")
OWN: Final = {"labels": ("text", "text"), "periods": ("date", "date"), "texts": ("text",)}
INSERT: Final = {
    table.name: f"""
        INSERT INTO {table.fullname} ({", ".join(table.columns.keys())})
        SELECT * FROM {unnest(1, *TRAIT, *OWN[table.name])}
    """
    for table in (LABELS, PERIODS, TEXTS)
}


async def apply(transaction: Transaction, events: Sequence[Recorded]) -> None:
    """Note what entries say; of those that are corrected or retracted, that they said it until then."""
    rows, ended = noted(events)
    for table in (LABELS, PERIODS, TEXTS):
        if ended:
            await transaction.write(END[table.name], *arrays(list(ended.items()), *ENDED))
        own = [row for row in rows if row.table == table.name]
        if own:
            said = [(row.position, row.n, row.account, row.since, row.until, *row.said) for row in own]
            await transaction.write(INSERT[table.name], *arrays(said, *TRAIT, *OWN[table.name]))


TRAITS: Final = ReadModel(name=NAME, version=VERSION, metadata=METADATA, apply=apply)

# ------------------------------------------------------------------------------------------------- questions


def as_known(table: str, known: int | None) -> str:
    """Give the condition that a row was known at the position `:known` (None: that it still is)."""
    if known is None:
        return f"{table}.until IS NULL"
    return f"{table}.since <= :known AND ({table}.until IS NULL OR {table}.until > :known)"


def carried(key: str, known: int | None, value: str | None = None) -> str:
    """Give the query (account, value) of who carries a label, by the names of the parameters of its key and value.

    A pledge carries what any of its entries says. What a party produced is one account; it carries what all of its
    reports say, since it cannot be taken apart.
    """
    one = "" if value is None else f"AND l.value = :{value}"
    return f"""
        SELECT l.account, l.value FROM {LABELS.fullname} l
        WHERE l.key = :{key} {one} AND {as_known("l", known)}
        GROUP BY l.account, l.value
        HAVING starts_with(l.account, 'pledge-') OR count(DISTINCT l.position) = (
            SELECT count(*) FROM {TEXTS.fullname} s
            WHERE s.account = l.account AND starts_with(s.account, 'production-') AND {as_known("s", known)})
    """


def label_sets(key: str, known: int | None) -> str:
    """Give the query (account, values) of all the values of a label that each account carries, in order."""
    return f"""
        SELECT c.account, array_agg(c.value ORDER BY c.value COLLATE "C") AS values
        FROM ({carried(key, known)}) c GROUP BY c.account
    """


def periods(known: int | None) -> str:
    """Give the query (account, first, last) of what pledges are for; those that do not say are left out."""
    return f"""
        SELECT account, first, last
        FROM (SELECT DISTINCT ON (t.account) t.account, t.first, t.last FROM {PERIODS.fullname} t
              WHERE {as_known("t", known)} ORDER BY t.account, t.position) z
        WHERE first IS NOT NULL
    """


SAYING: Final = f"""
    SELECT DISTINCT t.account FROM {TEXTS.fullname} t
    WHERE t.since <= :known AND (t.until IS NULL OR t.until > :known) AND strpos(t.said, :word) > 0
"""


async def saying(conn: AsyncConnection, word: str, known: int) -> set[str]:
    """Give the accounts whose entries say a word or a part of one (folded) as known at a position."""
    return set((await conn.execute(text(SAYING), {"word": word, "known": known})).scalars())
