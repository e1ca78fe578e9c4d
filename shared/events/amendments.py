"""What is said about entries of the ledger itself: corrected, retracted, sourced again."""

from __future__ import annotations

from typing import ClassVar

from shared.days import Said
from shared.events.entry import Entry


class Amendment(Entry, frozen=True, kw_only=True):
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


class EntryCorrected(Amendment, frozen=True, kw_only=True):
    """It was never so: the entry says `now` instead, in its own place, known from here on."""

    TYPE: ClassVar[str] = "entry.corrected"

    now: Entry
    reason: str


class EntryRetracted(Amendment, frozen=True, kw_only=True):
    """It never happened: the entry is taken out, known from here on, and stays visible."""

    TYPE: ClassVar[str] = "entry.retracted"

    reason: str


class SourcesAdded(Amendment, frozen=True, kw_only=True):
    """The same was said elsewhere too."""

    TYPE: ClassVar[str] = "entry.sources_added"
