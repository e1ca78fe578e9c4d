"""Given / When / Then: what is recorded, what is asked for, what comes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

import pytest

from services.commitments.domain.commands import Command, Record
from services.commitments.domain.decider import Decision, decide
from services.commitments.domain.history import History, World
from services.commitments.domain.refusals import Refused
from services.projections.postings import Account, Row, accounts
from shared.amounts import ZERO, Vector
from shared.events import Entry
from shared.events.amendments import EntryCorrected, EntryRetracted
from shared.measures import Stage

STATES = frozenset({"GBR", "LVA", "UKR", "DNK", "NLD", "LTU", "CAN", "UNKNOWN"})
TODAY = date(2024, 12, 31)


def event_id(position: int) -> str:
    """The id of what is recorded at a position, in these tests."""
    return f"entry-{position}"


@dataclass(frozen=True)
class Ledger:
    """A ledger in memory: the entries in the order of the log."""

    log: tuple[Entry, ...] = ()

    @property
    def world(self) -> World:
        histories: dict[str, History] = {}
        for position, entry in enumerate(self.log, start=1):
            history = histories.get(entry.stream, History(stream=entry.stream))
            placed = (event_id(position), position, history.version + 1, entry)
            histories[entry.stream] = history.extended([placed])
        return World(histories=histories, states=STATES, today=TODAY)

    def when(self, command: Command | Entry, *, if_match: int | None = None) -> When:
        return When(self, Record(entry=command) if isinstance(command, Entry) else command, if_match)

    def and_given(self, *entries: Entry) -> Ledger:
        """Record more; each must be accepted as one new entry."""
        ledger = self
        for entry in entries:
            decision = decide(ledger.world, Record(entry=entry))
            assert len(decision.entries) == 1, f"already so: {entry}"
            ledger = Ledger((*ledger.log, *decision.entries))
        return ledger

    def after(self, command: Command) -> Ledger:
        """The ledger after a command that is accepted."""
        return Ledger((*self.log, *decide(self.world, command).entries))


def given(*entries: Entry) -> Ledger:
    """A ledger in which these entries are recorded, one after the other."""
    return Ledger().and_given(*entries)


@dataclass(frozen=True)
class When:
    """A command put to a ledger."""

    ledger: Ledger
    command: Command
    if_match: int | None = None

    def decision(self) -> Decision:
        return decide(self.ledger.world, self.command, self.if_match)

    def then(self, *expected: type[Entry]) -> tuple[Entry, ...]:
        """These kinds of entries are recorded; without any: it was so already."""
        entries = self.decision().entries
        assert tuple(type(entry) for entry in entries) == expected
        return entries

    def flagged(self, *flags: str) -> None:
        """It is accepted, with exactly these flags."""
        decision = self.decision()
        assert decision.entries
        assert set(decision.flags) == set(flags)

    def refused(self, refusal: type[Refused]) -> Refused:
        with pytest.raises(refusal) as caught:
            self.decision()
        assert type(caught.value) is refusal
        return caught.value


class Totals:
    """What the postings of a ledger sum to."""

    def __init__(self, ledger: Ledger) -> None:
        self.postings: list[tuple[int, date, Row, Vector]] = []
        books: dict[str, Account] = {}
        touched: dict[int, tuple[str, ...]] = {}
        for position, entry in enumerate(ledger.log, start=1):
            fact: Entry | None = entry
            amends = None
            names = accounts(entry)
            if isinstance(entry, EntryCorrected | EntryRetracted):
                fact, amends = (entry.now if isinstance(entry, EntryCorrected) else None), entry.entry_position
                names = tuple(dict.fromkeys((*touched.get(amends, ()), *(accounts(fact) if fact else ()))))
                touched[amends] = names
            touched[position] = names
            for name in names:
                account = books.setdefault(name, Account(name))
                for (day, row), vector in account.learn(position, fact, amends).items():
                    self.postings.append((position, day, row, vector))

    def rows(self, *, on: date | str = TODAY, known: int | None = None) -> dict[Row, Vector]:
        day = on if isinstance(on, date) else date.fromisoformat(on)
        rows: dict[Row, Vector] = {}
        for position, posted_on, row, vector in self.postings:
            if posted_on <= day and (known is None or position <= known):
                rows[row] = rows.get(row, ZERO) + vector
        return {row: vector for row, vector in rows.items() if vector}

    def total(
        self, stage: Stage, unit: str = "piece", *, on: date | str = TODAY, known: int | None = None, **where: object
    ) -> Vector:
        """The sum over the rows of a stage and a unit, and of whatever else is asked for."""
        wanted: Mapping[str, object] = {"stage": stage, "unit": unit, **where}
        found = self.rows(on=on, known=known).items()
        matching = (
            vector for row, vector in found if all(getattr(row, name) == value for name, value in wanted.items())
        )
        return sum(matching, ZERO)

    def interval(
        self, stage: Stage, unit: str = "piece", *, on: date | str = TODAY, known: int | None = None, **where: object
    ) -> tuple[Decimal, Decimal | None]:
        """The low and the high (None: open) of a total."""
        vector = self.total(stage, unit, on=on, known=known, **where)
        return vector.low, vector.bound


def totals(ledger: Ledger) -> Totals:
    """What the postings of a ledger sum to."""
    return Totals(ledger)
