"""What callers may ask for. A command states what shall be: the entry as it should stand in the ledger."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from shared.days import Said
from shared.events import Entry
from shared.sources import Reference, Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """Record this entry (PUT of a thing, POST of what happened to it); its context is filled in when it is decided.

    `stream` and `mentions` are the entry's own, asked for once: everything that becomes of a command asks again.
    """

    entry: Entry
    stream: str = field(init=False, repr=False, compare=False)
    mentions: Mapping[str, str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Ask the entry."""
        object.__setattr__(self, "stream", self.entry.stream)
        object.__setattr__(self, "mentions", self.entry.mentions)


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


def needs(command: Command) -> frozenset[str]:
    """Give the streams whose history the decision looks at: its own, and those that the entry names."""
    match command:
        case Record():
            return frozenset((command.stream, *command.mentions.values()))
        case Correct():
            return frozenset((command.stream, *command.now.mentions.values()))
        case Retract() | Cite():
            return frozenset((command.stream,))
