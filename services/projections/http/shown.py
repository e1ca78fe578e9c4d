"""How values are shown in answers: numbers as decimal strings, an open high as null, entries with their sources."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Final

import msgspec
from pydantic import BaseModel, ConfigDict, Field

from services.projections.names import party
from services.projections.read_models.entries import Standing
from services.projections.words import in_words
from shared.amounts import Amount, Vector, plain, spoken
from shared.codec import to_json
from shared.events.amendments import EntryCorrected, EntryRetracted
from shared.recorded import Recorded
from shared.sources import Source

WHOLE: Final = Decimal(1)
"""A number without decimals, nor an exponent: most are, and are plain as they stand."""


class Answer(BaseModel):
    """The shape of an answer, for the OpenAPI document and for tests; nothing else may be in it."""

    model_config = ConfigDict(extra="forbid")


class Interval(Answer):
    """A total as an honest interval, with what it leaves out."""

    low: str = Field(examples=["12000"], description="The least it can be")
    high: str | None = Field(examples=["15000"], description="The most it can be; null: open")
    about: bool = Field(description="Whether a number in it is approximate by its own words")
    unknown: int = Field(description="Undisclosed amounts, which are left out of low and high")
    pledges: int = Field(description="Pledges that contribute")


class AmountShown(Answer):
    """An amount as it was said, and the interval it means."""

    unit: str
    qualifier: str
    low: str
    high: str | None
    about: bool
    unknown: bool
    said: str
    words: str | None


class ShareShown(Answer):
    """A party, and its part where that is known."""

    party: str
    share: AmountShown | None


class SourceShown(Answer):
    """Where a fact comes from."""

    url: str | None
    publisher: str | None
    title: str | None
    kind: str | None
    published_on: str | None
    speaker: str | None
    quote: str | None
    archived_url: str | None


class Amended(Answer):
    """A later entry about this one: it corrects, retracts or sources it."""

    event_id: str
    type: str
    position: int
    recorded_at: str
    reason: str | None
    sources: list[SourceShown]
    link: str


class EntryShown(Answer):
    """An entry as it stands: as corrected, with the sources that were added; `live` is false once it is retracted."""

    event_id: str
    type: str
    stream: str
    version: int
    position: int
    happened_on: str = Field(description="The day it takes effect")
    happened: str | None = Field(description="When it happened, as said: a day, a month or a year")
    reported_on: str
    recorded_at: str
    recorded_by: str
    live: bool
    words: str
    data: dict[str, Any]
    sources: list[SourceShown]
    amendments: list[Amended]
    link: str


class When(Answer):
    """As of when every answer is."""

    position: int = Field(description="The position that this is an answer as known at")
    on: date = Field(description="Facts of days up to this one")
    known: int = Field(description="The same position, as `known` takes it")
    since: date | None = Field(default=None, alias="from")


class Cite(Answer):
    """How to refer to this answer for good."""

    text: str
    url: str = Field(description="Asks for exactly this state again, for ever")
    changes_since: str = Field(description="Which totals of these filters changed since, and what changed them")


def figure(number: Decimal) -> str:
    """Write a number as a plain decimal string."""
    return str(number) if number.same_quantum(WHOLE) else f"{plain(number):f}"


def bound(number: Decimal | None) -> str | None:
    """Write an upper bound; None stays None: open."""
    return None if number is None else figure(number)


def interval(vector: Vector, *, by_part: bool = False) -> dict[str, Any]:
    """Show a total. With `by_part` it counts each pledge that contributes a part."""
    return {
        "low": figure(vector.low),
        "high": bound(vector.bound),
        "about": vector.about > 0,
        "unknown": vector.unknown,
        "pledges": vector.parts if by_part else vector.pledges,
    }


def amount(value: Amount | None) -> dict[str, Any] | None:
    """Show an amount as it was said."""
    if value is None:
        return None
    return {
        "unit": value.unit,
        "qualifier": value.qualifier,
        "low": figure(value.low),
        "high": bound(value.high),
        "about": value.about,
        "unknown": value.unknown,
        "said": spoken(value),
        "words": value.words,
    }


def source(value: Source) -> dict[str, Any]:
    """Show a source."""
    return msgspec.structs.asdict(value)


def instant(at: datetime) -> str:
    """Write an instant in UTC, to the microsecond."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def event_link(event_id: str) -> str:
    """Give the address of an entry."""
    return f"/v1/events/{event_id}"


def amended(recorded: Recorded) -> dict[str, Any]:
    """Show what a later entry says about another."""
    event = recorded.event
    return {
        "event_id": recorded.event_id,
        "type": recorded.type,
        "position": recorded.position,
        "recorded_at": instant(recorded.recorded_at),
        "reason": event.reason if isinstance(event, EntryCorrected | EntryRetracted) else None,
        "sources": [source(found) for found in event.sources],
        "link": event_link(recorded.event_id),
    }


def entry(standing: Standing, registered: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Show an entry as it stands."""
    recorded = standing.recorded
    return {
        "event_id": recorded.event_id,
        "type": recorded.type,
        "stream": recorded.stream,
        "version": recorded.version,
        "position": recorded.position,
        "happened_on": standing.day.isoformat(),
        "happened": standing.entry.happened,
        "reported_on": recorded.reported_on.isoformat(),
        "recorded_at": instant(recorded.recorded_at),
        "recorded_by": recorded.recorded_by,
        "live": standing.live,
        "words": in_words(standing.entry, lambda code: party(code, registered)),
        "data": to_json(standing.entry),
        "sources": [source(found) for found in standing.sources],
        "amendments": [amended(found) for found in standing.amendments],
        "link": event_link(recorded.event_id),
    }
