"""What callers may ask for. A command states what shall be: the entry as it should stand in the ledger."""

from __future__ import annotations

from dataclasses import dataclass, field

from shared.days import Said
from shared.events import Entry
from shared.sources import Reference, Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """Record this entry (PUT of a thing, POST of what happened to it); its context is filled in when it is decided."""

    entry: Entry


@dataclass(frozen=True, slots=True, kw_only=True)
class Amend:
    """Something about entry `entry_id` of `stream`, and what comes with every entry."""

    stream: str
    entry_id: str
    sources: tuple[Source, ...] = ()
    reported_on: Said | None = None
    labels: dict[str, tuple[str, ...]] = field(default_factory=dict)
    refs: tuple[Reference, ...] = ()
    note: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Correct(Amend):
    """It was never so: the entry says `now` instead."""

    now: Entry
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Retract(Amend):
    """It never happened: the entry is taken out, visibly."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cite(Amend):
    """The same is said elsewhere: the entry has more sources."""


Command = Record | Correct | Retract | Cite


def stream_of(command: Command) -> str:
    """Give the stream that a command writes to."""
    return command.entry.stream if isinstance(command, Record) else command.stream


def needs(command: Command) -> frozenset[str]:
    """Give the streams whose history the decision looks at: its own, and those that the entry names."""
    match command:
        case Record(entry=entry) | Correct(now=entry):
            return frozenset({stream_of(command), *entry.mentions.values()})
        case Retract() | Cite():
            return frozenset({stream_of(command)})
