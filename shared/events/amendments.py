"""What is said about entries of the ledger itself: corrected, retracted, sourced again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from shared.days import Said
from shared.events.entry import Entry


@dataclass(frozen=True, slots=True, kw_only=True)
class Amendment(Entry):
    """Something about an earlier entry, in that entry's own stream; it is placed as that entry is."""

    DAY: ClassVar[str] = "entry_happened"

    thing: str  # the stream
    entry: str  # the entry's event id
    entry_position: int
    entry_type: str  # as stored: muster.pledge.announced.v1
    entry_happened: Said | None = None
    about_coalitions: tuple[str, ...] = ()
    about_parties: tuple[str, ...] = ()

    @property
    def stream(self) -> str:
        return self.thing

    @property
    def coalitions(self) -> tuple[str, ...]:
        return self.about_coalitions

    @property
    def parties(self) -> tuple[str, ...]:
        return self.about_parties


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryCorrected(Amendment):
    """It was never so: the entry says `now` instead, in its own place, known from here on."""

    TYPE: ClassVar[str] = "entry.corrected"

    now: Entry
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryRetracted(Amendment):
    """It never happened: the entry is taken out, known from here on, and stays visible."""

    TYPE: ClassVar[str] = "entry.retracted"

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SourcesAdded(Amendment):
    """The same was said elsewhere too."""

    TYPE: ClassVar[str] = "entry.sources_added"
