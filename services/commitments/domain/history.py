"""What decisions look at: the entries of a stream as they stand, and the streams of a decision together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple

from shared.events import Amendment, Entry, stored_name
from shared.events.amendments import EntryCorrected, EntryRetracted, SourcesAdded
from shared.events.coalitions import MemberEntry
from shared.events.pledges import DeliveryEntry
from shared.sources import Source

Subject = tuple[str, str] | None
"""What in a stream an entry is about: ("delivery", id), ("member", code), or the whole thing."""


def subject_of(entry: Entry) -> Subject:
    """Give what in its stream an entry is about."""
    match entry:
        case DeliveryEntry():
            return ("delivery", entry.delivery)
        case MemberEntry():
            return ("member", entry.party)
        case _:
            return None


class Placed(NamedTuple):
    """An entry in its place: as corrected, with every source that was added; `live` is False once it is retracted.

    This and History are tuples because every command makes one of each: a frozen dataclass takes three times as long.
    """

    event_id: str
    position: int
    version: int
    type: str
    entry: Entry
    live: bool = True
    more_sources: tuple[Source, ...] = ()


class History(NamedTuple):
    """One stream: its version (0: never used), its entries by id, and by what they are about, in order."""

    stream: str
    version: int = 0
    position: int = 0  # of the last event
    placed: Mapping[str, Placed] = {}
    about: Mapping[Subject, tuple[str, ...]] = {}
    amendments: Mapping[str, str] = {}  # event id of an amendment -> its stored type

    def entries(self, subject: Subject = None) -> list[Placed]:
        """Give the live entries about a subject (None: about the whole thing), in the order of the log."""
        found = (self.placed[event_id] for event_id in self.about.get(subject, ()))
        return [placed for placed in found if placed.live]

    def all(self) -> list[Placed]:
        """Give every live entry, in the order of the log."""
        return [placed for placed in self.placed.values() if placed.live]

    def before(self, position: int) -> History:
        """Give the history without what was recorded at a position or later; its entries read as they do now."""
        earlier = {event_id: placed for event_id, placed in self.placed.items() if placed.position < position}
        return self._replace(placed=earlier, about=_kept(self.about, earlier))

    def with_entry(self, event_id: str, now: Entry | None) -> History:
        """Give the history as it would be with another entry (None: none) in the place of one."""
        placed = self.placed[event_id]
        changed = placed._replace(live=False) if now is None else placed._replace(entry=now)
        return self._replace(placed={**self.placed, event_id: changed})

    def opening(self, subject: Subject = None) -> Placed | None:
        """Give the first entry ever made about a subject, live or not."""
        first = self.about.get(subject, ())
        return self.placed[first[0]] if first else None

    @property
    def stands(self) -> bool:
        """Whether the thing exists: it was opened, and not retracted."""
        opening = self.opening()
        return opening is not None and opening.live

    def extended(self, events: Iterable[tuple[str, int, int, Entry]]) -> History:
        """Add (event id, position, version, entry), in order. Never judges."""
        version, position = self.version, self.position
        placed, about, amendments = dict(self.placed), dict(self.about), dict(self.amendments)
        for event_id, position, version, entry in events:
            match entry:
                case Amendment():
                    amendments[event_id] = stored_name(entry)
                    placed[entry.entry] = _amended(placed[entry.entry], entry)
                case _:
                    subject = subject_of(entry)
                    about[subject] = (*about.get(subject, ()), event_id)
                    placed[event_id] = Placed(
                        event_id=event_id, position=position, version=version, type=stored_name(entry), entry=entry
                    )
        return History(
            stream=self.stream,
            version=version,
            position=position,
            placed=placed,
            about=about,
            amendments=amendments,
        )


def _kept(about: Mapping[Subject, tuple[str, ...]], placed: Mapping[str, Placed]) -> dict[Subject, tuple[str, ...]]:
    kept = {subject: tuple(event_id for event_id in ids if event_id in placed) for subject, ids in about.items()}
    return {subject: ids for subject, ids in kept.items() if ids}


def _amended(placed: Placed, amendment: Amendment) -> Placed:
    match amendment:
        case EntryCorrected():
            return placed._replace(entry=amendment.now)
        case EntryRetracted():
            return placed._replace(live=False)
        case SourcesAdded():
            return placed._replace(more_sources=(*placed.more_sources, *amendment.sources))
        case _:
            raise TypeError(amendment)


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """All that a decision may look at.

    `histories` holds every stream the command needs (commands.needs), and those of its batch; `states` the party codes
    that need no registration, `referrers` the event ids of live entries in other streams that name this one (only
    loaded for a retraction), `today` the day in UTC.
    """

    histories: Mapping[str, History]
    states: frozenset[str]
    today: date
    referrers: tuple[str, ...] = ()

    def stream(self, name: str) -> History:
        """Give the history of a stream; one that was never used is empty."""
        return self.histories.get(name) or History(stream=name)

    def knows(self, stream: str) -> bool:
        """Whether a stream that an entry names stands (states need no registration)."""
        family, _, name = stream.partition("-")
        return (family == "party" and name in self.states) or self.stream(stream).stands
