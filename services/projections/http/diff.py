"""What changed: every total that is another one now, by how much, and the events that made it so."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field, field_validator
from sqlalchemy.ext.asyncio import AsyncConnection

from services.projections import names
from services.projections.http.asof import AsOf, AsOfQuery, in_query, moment, position_of, reader
from services.projections.http.counted import (
    NONE,
    Asked,
    Counted,
    at_most_of,
    changed_rows,
    joint_rows,
    reads,
    whole_rows,
)
from services.projections.http.cursors import read_cursor, write_cursor
from services.projections.http.parameters import (
    Account,
    Capability,
    Code,
    Cursor,
    Id,
    Labels,
    Period,
    Unit,
    a_period,
    label,
)
from services.projections.http.postings import Behind, Change, behind, change_shown
from services.projections.http.problems import Problem, responses
from services.projections.http.shown import (
    Amended,
    Answer,
    Cite,
    Interval,
    SourceShown,
    When,
    amended,
    event_link,
    instant,
    interval,
    source,
)
from services.projections.http.standing import party_names
from services.projections.http.totals import cite, in_words, ordered
from services.projections.names import party
from services.projections.read_models import coalition_totals
from services.projections.read_models.coalition_totals import Filter, Posting, TotalRow
from services.projections.words import in_words as told
from shared.amounts import ZERO, Vector
from shared.days import Said, first_day, last_day
from shared.measures import FinanceType, Stage

PAGE: Final = 1_000
ONE_DAY: Final = timedelta(days=1)

router = APIRouter(prefix="/v1", tags=["totals"])


class DiffQuery(BaseModel):
    """Between which states of knowledge, for which days, of which rows."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    earlier: str = Field(
        alias="from",
        max_length=64,
        description="As the ledger knew it then: a position, an RFC 3339 instant, or `reported:` and a day",
        examples=["120", "2024-06-01T00:00:00Z", "reported:2024-04-24"],
    )
    to: str | None = Field(default=None, max_length=64, description="As `from`; default: now", examples=["240"])
    on: str | None = Field(
        default=None,
        max_length=24,
        description="The day that both totals are of, or two days, `2024-03-01..2024-06-01`, the first of the earlier "
        "one. Default: the day of `to` for both, so that only what was learned makes a difference",
    )
    since: str | None = Field(
        default=None, description="Count what came from this day on, as `from` of other questions"
    )
    min_position: int | None = Field(
        default=None, ge=0, le=2**63 - 1, description="Wait (up to 2 s) until it is applied"
    )
    coalition: Id | Literal["none"] | None = Field(default=None, description="`none`: outside of all coalitions")
    donor: Code | None = Field(default=None, description="Own rows; those of groups it is in are beside, as `joint`")
    beneficiary: Code | None = None
    capability: Capability | None = Field(default=None, description="This code and its descendants")
    unit: Unit | None = None
    stage: Stage | None = None
    account: Account | None = None
    finance_type: FinanceType | Literal["none"] | None = Field(default=None, description="`none`: not said")
    label: Labels = Field(default_factory=list)
    period: Period | None = None
    limit: Annotated[int, Field(ge=1, le=500, description="The most events of one answer")] = 100
    cursor: Cursor | None = None

    @field_validator("earlier", "to")
    @classmethod
    def _moments(cls, value: str | None) -> str | None:
        if value is not None:
            moment(value)
        return value

    @field_validator("on")
    @classmethod
    def _days(cls, value: str | None) -> str | None:
        if value is not None:
            days(value)
        return value

    @field_validator("since")
    @classmethod
    def _a_day(cls, value: str | None) -> str | None:
        if value is not None:
            first_day(Said(value))
        return value

    @field_validator("cursor")
    @classmethod
    def _ours(cls, value: str | None) -> str | None:
        if value is not None:
            where(value)
        return value


class Moved(Answer):
    """A total that is another one now. Intervals are not subtracted: the change is that of their components."""

    capability: str
    unit: str
    stage: Stage
    finance_type: str | None = Field(description="null: not said")
    words: str = Field(examples=["drone.fpv in pieces, pledged: at least 2,000 became 10,000"])
    before: Interval
    after: Interval
    change: Change
    explain_before: str
    explain_after: str


class MovedJoint(Moved):
    """[0, whole] of a group that the party asked for is in."""

    parties: list[str]
    beneficiaries: list[str]


class RowChange(Answer):
    """What an event changed in one row."""

    capability: str
    unit: str
    stage: Stage
    finance_type: str | None
    change: Change


class Cause(Answer):
    """An event that made a difference."""

    position: int
    event_id: str
    type: str
    why: Literal["recorded", "came", "not_yet", "rescoped"] = Field(
        description="It was recorded in between; or it was known, and its day lies between the two days asked for; or "
        "its pledge is among those asked for at one of the two only, since its labels or its period were amended"
    )
    words: str
    reason: str | None
    recorded_at: str
    recorded_by: str
    changes: list[RowChange]
    sources: list[SourceShown]
    amends: str | None
    amendments: list[Amended]
    link: str


class Side(Answer):
    """One of the two states."""

    position: int
    on: date


class Diff(When):
    """What changed between two states, and why."""

    before: Side
    after: Side
    totals: list[Moved] = Field(description="Totals that changed; those that did not are left out")
    joint: list[MovedJoint]
    events: list[Cause] = Field(description="By position; what they change adds up to what changed above")
    next: str | None
    cite: Cite


@dataclass(frozen=True, slots=True)
class Sides:
    """The two states that are compared."""

    before: AsOf
    after: AsOf


@router.get("/diff", response_model=Diff, responses=responses())
async def difference(request: Request, query: Annotated[DiffQuery, Query()]) -> Response:
    """Say which totals changed between two positions or times, by how much, and which events did it."""

    async def make(conn: AsyncConnection, asof: AsOf) -> dict[str, Any]:
        return await since(conn, asof, query, request.url.path)

    return await reader(request).answer(request, later(query), reads(question(query).where), make)


def later(query: DiffQuery) -> AsOfQuery:
    """Give the later of the two states as a question."""
    last = None if query.on is None else days(query.on)[1]
    return AsOfQuery.model_validate(
        {"on": None if last is None else last.isoformat(), "known": query.to, "min_position": query.min_position}
        | {"from": query.since}
    )


async def since(conn: AsyncConnection, asof: AsOf, query: DiffQuery, path: str) -> dict[str, Any]:
    """Compare the later state with the earlier one. Raises Problem `invalid` where they are the other way round."""
    position, _ = await position_of(conn, asof, query.earlier, pointer="/query/from")
    if position > asof.position:
        detail = f"`from` is position {position}, after `to`, which is {asof.position}"
        raise Problem("invalid", detail, errors=[("/query/from", "is after `to`")])
    first = asof.on if query.on is None else days(query.on)[0]
    earlier = replace(asof, position=position, past=asof.past or position != asof.applied, on=first)
    return await compared(conn, Sides(earlier, asof), question(query), query, path)


def question(query: DiffQuery) -> Asked:
    """Give the numbers that are compared."""
    return Asked(
        where=Filter(
            coalition="" if query.coalition == NONE else query.coalition,
            donor=query.donor,
            beneficiary=query.beneficiary,
            capability=query.capability,
            unit=query.unit,
            stage=query.stage,
            account=query.account,
            finance_type="" if query.finance_type == NONE else query.finance_type,
            labels=tuple(label(one) for one in query.label),
            period=None if query.period is None else a_period(query.period),
        )
    )


def days(said: str) -> tuple[date, date]:
    """Read one day, or two. Raises ValueError."""
    first, dots, last = said.partition("..")
    return last_day(Said(first)), last_day(Said(last if dots else first))


async def compared(conn: AsyncConnection, sides: Sides, asked: Asked, query: DiffQuery, path: str) -> dict[str, Any]:
    """Compare two states."""
    joint = [await joint_rows(conn, side, asked) for side in (sides.before, sides.after)]
    if sides.before.on == sides.after.on and not asked.where.of_accounts:
        before, own = await changed_rows(conn, sides.after, asked, sides.before.position)
    else:
        before, own = [await whole_rows(conn, side, asked) for side in (sides.before, sides.after)]
    after = 0 if query.cursor is None else where(query.cursor)
    causes, following = await postings_between(conn, sides, asked, after=after, limit=query.limit)
    events = await behind(conn, sides.after, causes)
    registered = await party_names(conn, sides.after)
    filters = query.model_dump(
        include={
            "coalition",
            "donor",
            "beneficiary",
            "capability",
            "unit",
            "stage",
            "account",
            "finance_type",
            "label",
            "period",
        },
        exclude_defaults=True,
    )
    filters |= {"from": str(sides.before.position), "to": str(sides.after.position), "since": query.since}
    on = f"{sides.before.on.isoformat()}..{sides.after.on.isoformat()}"
    url = f"{path}?{in_query(**filters, on=on)}"
    return {
        "before": {"position": sides.before.position, "on": sides.before.on},
        "after": {"position": sides.after.position, "on": sides.after.on},
        "totals": [moved(sides, *pair) for pair in pairs(before, own)],
        "joint": [
            moved(sides, *pair) | {"parties": list(pair[0].donors), "beneficiaries": list(pair[0].beneficiaries)}
            for pair in pairs(joint[0], joint[1])
        ],
        "events": [cause(sides, events[position], found, asked, registered) for position, found in causes.items()],
        "next": None if following is None else f"{url}&limit={query.limit}&cursor={write_cursor(following)}",
        "cite": cite(sides.after, path, **filters) | {"url": url},
    }


def pairs(before: Iterable[Counted], after: Iterable[Counted]) -> list[tuple[Counted, Vector, Vector]]:
    """Give the rows that differ, with what they were and are."""
    rows: dict[tuple[TotalRow, tuple[str, ...], tuple[str, ...]], Counted] = {}
    values: list[dict[tuple[TotalRow, tuple[str, ...], tuple[str, ...]], Vector]] = []
    for side in (before, after):
        found = {(row.row, row.donors, row.beneficiaries): row for row in side}
        rows |= found
        values.append({place: row.value for place, row in found.items()})
    old, new = values
    places = {(row.row, row.donors, row.beneficiaries): row for row in ordered(rows.values())}
    both = ((row, old.get(place, ZERO), new.get(place, ZERO)) for place, row in places.items())
    return [(row, was, now) for row, was, now in both if now - was]


async def postings_between(
    conn: AsyncConnection, sides: Sides, asked: Asked, *, after: int, limit: int
) -> tuple[dict[int, list[tuple[int, Posting]]], int | None]:
    """Give the postings that are in one of the two states only, by position, each with its sign (-1: it was in before).

    At most `limit` positions after `after` are given, then the last of them; None if there are no more.
    """
    was, now = sides.before, sides.after
    found: dict[int, list[tuple[int, Posting]]] = {}
    moved = await rescoped(conn, sides, asked) if asked.where.needs_traits else {}
    earlier = [item for scope in moved.values() for item in scope]
    if was.on != now.on:
        sign = 1 if was.on < now.on else -1
        first, last = sorted((was.on, now.on))
        since = first + ONE_DAY if was.since is None else max(first + ONE_DAY, was.since)
        between = await enough(conn, asked, (after, was.position), (since, last), None if moved else limit)
        earlier += [(sign, one) for one in between if one.account not in moved]
    for sign, posting in sorted(earlier, key=lambda item: (item[1].position, item[1].day)):
        if posting.position > after:
            found.setdefault(posting.position, []).append((sign, posting))
    if len(found) <= limit:
        rest = limit - len(found)
        for one in await enough(conn, asked, (max(after, was.position), now.position), (now.since, now.on), rest):
            found.setdefault(one.position, []).append((1, one))
    if len(found) <= limit:
        return found, None
    kept = dict(list(found.items())[:limit])
    return kept, max(kept)


async def enough(
    conn: AsyncConnection,
    asked: Asked,
    positions: tuple[int, int],
    days: tuple[date | None, date],
    limit: int | None,
) -> list[Posting]:
    """Give the postings above the first position, up to the second: those of more than `limit` positions, or all."""
    found: list[Posting] = []
    seen: set[int] = set()
    place: coalition_totals.Cursor | None = after_position(positions[0])
    while place is not None and place.position < positions[1] and (limit is None or len(seen) <= limit + 1):
        page, place = await coalition_totals.postings(
            conn, on=days[1], known=positions[1], since=days[0], where=asked.where, after=place, limit=PAGE
        )
        found += page
        seen |= {posting.position for posting in page}
    if limit is None or len(seen) <= limit + 1:
        return found
    cut = sorted(seen)[limit + 1]  # all of the positions before this one is here
    return [posting for posting in found if posting.position < cut]


async def rescoped(conn: AsyncConnection, sides: Sides, asked: Asked) -> dict[str, list[tuple[int, Posting]]]:
    """Give, by account, the postings known before of what is asked for in one of the two states only.

    Labels and periods may be corrected: then what was posted long ago counts otherwise.
    """
    was, now = sides.before, sides.after
    before = await coalition_totals.chosen(conn, asked.where, was.position)
    after = await coalition_totals.chosen(conn, asked.where, now.position)
    found: dict[str, list[tuple[int, Posting]]] = {}
    for account in sorted(name for name in {*before, *after} if before.get(name) != after.get(name)):
        where = replace(asked.where, account=account, labels=(), labelled=(), period=None)
        found[account] = []
        for sign, side, partly in ((-1, was, before.get(account)), (1, now, after.get(account))):
            if partly is None:
                continue
            days = side.since, side.on
            for posting in await enough(conn, replace(asked, where=where), (0, was.position), days, None):
                vector = at_most_of(posting.vector) if partly else posting.vector
                found[account].append((sign, posting._replace(vector=vector)))
    return found


def after_position(position: int) -> coalition_totals.Cursor:
    """Give the place after all postings of a position."""
    return coalition_totals.Cursor(position, 2**31 - 1, date.max, "")


def moved(sides: Sides, row: Counted, was: Vector, now: Vector) -> dict[str, Any]:
    """Show a total that changed."""
    by_part = row.by_part
    measured = f"{row.row.capability} in {names.unit(row.row.unit)}, {row.row.stage}"
    return {
        **of_row(row.row),
        "words": f"{measured}: {in_words(was)} became {in_words(now)}",
        "before": interval(was, by_part=by_part),
        "after": interval(now, by_part=by_part),
        "change": change_shown(now - was),
        "explain_before": row.link(sides.before),
        "explain_after": row.link(sides.after),
    }


def of_row(row: TotalRow) -> dict[str, Any]:
    """Show what a row is about."""
    return {
        "capability": row.capability,
        "unit": row.unit,
        "stage": row.stage,
        "finance_type": row.finance_type or None,
    }


def cause(
    sides: Sides, event: Behind, found: Iterable[tuple[int, Posting]], asked: Asked, registered: Mapping[str, str]
) -> dict[str, Any]:
    """Show an event with what it changed, row by row."""
    recorded = event.standing.recorded
    changes: dict[TotalRow, Vector] = {}
    signs = set()
    for sign, posting in found:
        signs.add((sign, posting.day > min(sides.before.on, sides.after.on)))
        place = posting.row
        row = TotalRow(place.capability, place.unit, place.stage, place.finance_type)
        change = asked.weighed(place, posting.vector)
        changes[row] = changes.get(row, ZERO) + (change if sign > 0 else -change)
    known_before = recorded.position <= sides.before.position
    sources = tuple(dict.fromkeys((*event.standing.sources, *(event.original.event.sources if event.original else ()))))
    return {
        "position": recorded.position,
        "event_id": recorded.event_id,
        "type": recorded.type,
        "why": WHY.get(frozenset(signs), "rescoped") if known_before else "recorded",
        "words": told(recorded.event, lambda code: party(code, registered)),
        "reason": getattr(recorded.event, "reason", None),
        "recorded_at": instant(recorded.recorded_at),
        "recorded_by": recorded.recorded_by,
        "changes": [of_row(row) | {"change": change_shown(change)} for row, change in changes.items() if change],
        "sources": [source(one) for one in sources],
        "amends": None if event.original is None else event_link(event.original.event_id),
        "amendments": [amended(one) for one in event.standing.amendments],
        "link": event_link(recorded.event_id),
    }


WHY: Final = {frozenset({(1, True)}): "came", frozenset({(-1, True)}): "not_yet"}
"""What postings known before are there for, by their signs and whether their days lie between those asked for."""


def where(cursor: str) -> int:
    """Read the position that a page ended with. Raises ValueError."""
    position: int = read_cursor(cursor, int)[0]
    return position
