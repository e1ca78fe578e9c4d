"""What callers may ask for. A command states what shall be: the entry as it should stand in the ledger."""

from __future__ import annotations

from dataclasses import dataclass

from shared.events import Entry
from shared.sources import Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """Record this entry (PUT of a thing, POST of what happened to it); its context is filled in when it is decided."""

    entry: Entry


@dataclass(frozen=True, slots=True, kw_only=True)
class Correct:
    """It was never so: entry `entry_id` of `stream` says `now` instead."""

    stream: str
    entry_id: str
    now: Entry
    reason: str
    sources: tuple[Source, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Retract:
    """It never happened: take entry `entry_id` of `stream` out, visibly."""

    stream: str
    entry_id: str
    reason: str
    sources: tuple[Source, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Cite:
    """The same is said elsewhere: add sources to entry `entry_id` of `stream`."""

    stream: str
    entry_id: str
    sources: tuple[Source, ...]


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
