"""The explanation of a number: every posting behind it, with its event, its day, the amount as said, its sources."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any, Final, Literal

import msgspec
from fastapi import APIRouter, Query, Request, Response
from pydantic import Field, field_validator
from sqlalchemy.ext.asyncio import AsyncConnection

from services.projections.http.asof import AsOf, reader
from services.projections.http.counted import NONE, Asked, joint_rows, reads, whole_rows
from services.projections.http.cursors import Pinned, read_cursor, write_cursor
from services.projections.http.parameters import (
    Account,
    Capability,
    Code,
    Id,
    Labels,
    Limit,
    Period,
    Unit,
    a_period,
    label,
)
from services.projections.http.problems import responses
from services.projections.http.shown import (
    Amended,
    AmountShown,
    Answer,
    Interval,
    SourceShown,
    When,
    amended,
    amount,
    event_link,
    figure,
    instant,
    interval,
    source,
)
from services.projections.http.standing import party_names
from services.projections.names import party
from services.projections.read_models import entries
from services.projections.read_models.coalition_totals import Cursor, Filter, Posting, postings
from services.projections.read_models.entries import Standing, standing
from services.projections.words import in_words
from shared.amounts import Amount, Vector
from shared.events import Amendment, Entry
from shared.events.amendments import EntryCorrected
from shared.events.pledges import Also
from shared.measures import FinanceType, Stage
from shared.recorded import Recorded

LABELLED: Final = r"^[^\x00=]+=\[[^\x00]*\]$"
CODES: Final = r"^(none|[A-Z0-9][A-Z0-9_-]{1,63}(,[A-Z0-9][A-Z0-9_-]{1,63})*)$"

router = APIRouter(prefix="/v1", tags=["explanations"])


class PostingsQuery(Pinned):
    """Which number is to be explained."""

    coalition: Id | Literal["none"] | None = Field(default=None, description="`none`: outside of all coalitions")
    donor: Code | None = Field(
        default=None, description="Its own postings; those of groups it is in count [0, whole], since no share was said"
    )
    donors: str | None = Field(
        default=None, max_length=2000, pattern=CODES, description="Exactly this party or group, by comma"
    )
    beneficiary: Code | None = Field(default=None, description="As donor")
    beneficiaries: str | None = Field(default=None, max_length=2000, pattern=CODES, description="As donors")
    capability: Capability | None = Field(default=None, description="With its descendants, unless `exactly`")
    exactly: bool = False
    unit: Unit | None = None
    stage: Stage | None = None
    finance_type: FinanceType | Literal["none"] | None = Field(default=None, description="`none`: not said")
    account: Account | None = None
    label: Labels = Field(default_factory=list)
    labelled: list[Annotated[str, Field(pattern=LABELLED, max_length=2000)]] = Field(
        default_factory=list,
        max_length=10,
        description="What carries exactly these values of a label, as rows by label say it; `[]`: none",
        examples=[['sector=["air","sea"]']],
    )
    period: Period | None = None
    at_most: bool = Field(default=False, description="Count all of it as [0, whole]")
    limit: Limit = 1000

    @field_validator("labelled")
    @classmethod
    def _sets(cls, said: list[str]) -> list[str]:
        for one in said:
            labelled(one)
        return said

    @classmethod
    def place(cls, cursor: str) -> tuple[Any, ...]:
        return read_cursor(cursor, int, str, str | None, int, Annotated[int, msgspec.Meta(lt=2**31)], date, str)

    @property
    def after(self) -> Cursor | None:
        """The posting after which this page begins."""
        return None if self.cursor is None else Cursor(*self.place(self.cursor)[3:])


class Change(Answer):
    """What a posting adds; it may be negative. Added up over all postings: the number, its high null while open > 0."""

    low: str
    high: str
    open: int = Field(description="Open highs")
    unknown: int
    about: int
    pledges: int
    parts: int
    surplus: str
    conditional: str


class PostingShown(Answer):
    """One posting: what one event changed in one row, from one day on."""

    position: int
    event_id: str
    type: str
    day: date
    account: str
    pledge: str | None
    stage: Stage
    coalition: str | None
    donors: list[str]
    beneficiaries: list[str]
    capability: str
    unit: str
    finance_type: str | None
    change: Change
    said: AmountShown | None = Field(description="The amount in this unit, as the event says it")
    words: str
    reason: str | None = Field(description="Why an entry was corrected, retracted, revised ...")
    recorded_at: str
    sources: list[SourceShown]
    amends: str | None = Field(description="The event that this one corrects or retracts")
    amendments: list[Amended] = Field(description="What was said about this event later")
    link: str


class Sum(Interval):
    """What the postings add up to, in one row."""

    capability: str
    unit: str
    stage: Stage
    finance_type: str | None


class Postings(When):
    """The explanation of a number."""

    sum: Interval | None = Field(description="The number itself, where one stage and one unit were asked for")
    sums: list[Sum] = Field(description="The disjoint rows that make it")
    postings: list[PostingShown]
    next: str | None = Field(description="Where the explanation goes on, if it does")


@router.get("/postings", response_model=Postings, responses=responses())
async def explanation(request: Request, query: Annotated[PostingsQuery, Query()]) -> Response:
    """List the postings behind a number: their changes add up to exactly that number."""

    async def make(conn: AsyncConnection, asof: AsOf) -> dict[str, Any]:
        return await explain(conn, asof, question(query), limit=query.limit, after=query.after)

    asked = question(query)
    return await reader(request).answer(request, query, reads(asked.where), make)


def question(query: PostingsQuery) -> Asked:
    """Read which number is asked about: what `Asked.link` writes."""
    where = Filter(
        coalition="" if query.coalition == NONE else query.coalition,
        donor=query.donor,
        donors=_codes(query.donors),
        beneficiary=query.beneficiary,
        beneficiaries=_codes(query.beneficiaries),
        capability=query.capability,
        exactly=query.exactly,
        unit=query.unit,
        stage=query.stage,
        finance_type="" if query.finance_type == NONE else query.finance_type,
        account=query.account,
        labels=tuple(label(one) for one in query.label),
        labelled=tuple(labelled(one) for one in query.labelled),
        period=None if query.period is None else a_period(query.period),
    )
    return Asked(where=where, at_most=query.at_most)


def labelled(said: str) -> tuple[str, tuple[str, ...]]:
    """Read `key=["value"]`. Raises ValueError."""
    key, values = label(said)
    try:
        return key, msgspec.json.decode(values, type=tuple[str, ...])
    except (msgspec.DecodeError, UnicodeEncodeError) as unreadable:
        raise ValueError('is a key and a JSON list of values: sector=["air"]') from unreadable


async def explain(
    conn: AsyncConnection, asof: AsOf, asked: Asked, *, limit: int, after: Cursor | None = None
) -> dict[str, Any]:
    """Give the sum, its rows, a page of postings, and where the next page begins."""
    found, following = await postings(
        conn,
        on=asof.on,
        known=asof.position,
        since=asof.since,
        where=asked.where,
        after=after,
        limit=limit,
    )
    events = await behind(conn, asof, {posting.position for posting in found})
    registered = await party_names(conn, asof)
    rows = [*await whole_rows(conn, asof, asked), *await joint_rows(conn, asof, asked)]
    sums: dict[tuple[str, str, Stage, str], Vector] = {}
    for row in rows:
        key = row.row[:4]
        value = asked.weighed_whole(row.value)
        sums[key] = sums[key] + value if key in sums else value
    total = sum(sums.values(), Vector())
    here = f"{asked.link(asof)}&limit={limit}&cursor="
    one_number = asked.where.stage is not None and asked.where.unit is not None
    return {
        "sum": interval(total, by_part=asked.by_part) if one_number else None,
        "sums": [
            {
                "capability": capability,
                "unit": unit,
                "stage": stage,
                "finance_type": finance_type or None,
                **interval(value, by_part=asked.by_part),
            }
            for (capability, unit, stage, finance_type), value in sorted(sums.items())
            if value
        ],
        "postings": [shown(posting, asked, events[posting.position], registered) for posting in found],
        "next": None if following is None else here + write_cursor(*asof.place, *following),
    }


@dataclass(frozen=True, slots=True)
class Behind:
    """The event behind a posting: itself, as it stands, and the entry that it amends."""

    standing: Standing
    original: Recorded | None


async def behind(conn: AsyncConnection, asof: AsOf, positions: Iterable[int]) -> dict[int, Behind]:
    """Give the events at these positions, with what was said about them by the position of the answer."""
    said = await entries.at_positions(conn, sorted(positions))
    amends = {
        event.position: event.event.entry_position for event in said.values() if isinstance(event.event, Amendment)
    }
    originals = await entries.at_positions(conn, sorted(set(amends.values())))
    about = await entries.amendments_of(conn, sorted({*said, *originals}), asof.position)
    return {
        position: Behind(
            standing(recorded, about.get(position, [])),
            originals.get(amends[position]) if position in amends else None,
        )
        for position, recorded in said.items()
    }


def shown(posting: Posting, asked: Asked, event: Behind, registered: Mapping[str, str]) -> dict[str, Any]:
    """Show a posting."""
    row, change = posting.row, asked.weighed(posting.row, posting.vector)
    recorded = event.standing.recorded
    says = _says(event)
    sources = tuple(dict.fromkeys((*event.standing.sources, *(event.original.event.sources if event.original else ()))))
    return {
        "position": posting.position,
        "event_id": posting.event_id,
        "type": recorded.type,
        "day": posting.day,
        "account": posting.account,
        "pledge": posting.account.removeprefix("pledge-") if posting.account.startswith("pledge-") else None,
        "stage": row.stage,
        "coalition": row.coalition or None,
        "donors": list(row.donors),
        "beneficiaries": list(row.beneficiaries),
        "capability": row.capability,
        "unit": row.unit,
        "finance_type": row.finance_type or None,
        "change": change_shown(change),
        "said": amount(as_said_in(says, row.unit)),
        "words": in_words(recorded.event, lambda code: party(code, registered)),
        "reason": getattr(recorded.event, "reason", None),
        "recorded_at": instant(recorded.recorded_at),
        "sources": [source(found) for found in sources],
        "amends": None if event.original is None else event_link(event.original.event_id),
        "amendments": [amended(found) for found in event.standing.amendments],
        "link": event_link(posting.event_id),
    }


def change_shown(change: Vector) -> dict[str, Any]:
    """Show what is added to a total, by component."""
    return {
        "low": figure(change.low),
        "high": figure(change.high),
        "open": change.open,
        "unknown": change.unknown,
        "about": change.about,
        "pledges": change.pledges,
        "parts": change.parts,
        "surplus": figure(change.surplus),
        "conditional": figure(change.conditional),
    }


def _says(event: Behind) -> Entry:
    """Give the entry whose amount a posting comes from: of a retraction, the one it takes out."""
    said = event.standing.recorded.event
    if isinstance(said, EntryCorrected):
        return said.now
    return said if event.original is None else event.original.event


def as_said_in(entry: Entry, unit: str) -> Amount | None:
    """Give the amount that an entry says in a unit; None if it says none."""
    also: Sequence[Also] = getattr(entry, "also", None) or ()
    said: list[Amount | None] = [getattr(entry, "amount", None), *(other.amount for other in also)]
    return next((found for found in said if found is not None and found.unit == unit), None)


def _codes(said: str | None) -> tuple[str, ...] | None:
    if said is None:
        return None
    return () if said == NONE else tuple(said.split(","))
