"""A ledger in memory, as the read side folds it."""

from __future__ import annotations

from datetime import date

from services.projections.coalitions import Coalition
from services.projections.pledges import Flag, KnownPledge
from services.projections.postings import learned
from services.projections.progress import Terms, terms_of
from shared.events import Amendment, Entry
from shared.events.targets import TargetEntry
from shared.recorded import Recorded
from shared.timeline import Learned, Steps
from tests.given import TODAY, Ledger
from tests.integration.streams import recorded


def log(ledger: Ledger) -> list[Recorded]:
    """The ledger as the log holds it: position n is the n-th entry."""
    return recorded(ledger.log)


def learned_by(ledger: Ledger, stream: str, known: int | None) -> list[Learned[Entry]]:
    """What was said in one stream up to a position."""
    found = ((event.position, learned(event)) for event in log(ledger) if event.stream == stream)
    return [
        Learned(position, fact[0], fact[1])
        for position, fact in found
        if fact is not None and (known is None or position <= known)
    ]


def pledge(ledger: Ledger, name: str = "x", *, known: int | None = None) -> KnownPledge:
    """One pledge as known at a position: its own entries, and those of the pledges that replace it."""
    said = [one for event in log(ledger) if (one := _about(event, name, known)) is not None]
    found = KnownPledge.of(name, said)
    assert found is not None
    return found


def _about(event: Recorded, name: str, known: int | None) -> Learned[Entry] | None:
    says = event.event.now if isinstance(event.event, Amendment) and hasattr(event.event, "now") else event.event
    relation = getattr(says, "relation", None)
    replaces = relation is not None and relation.kind == "replaces" and name in relation.of
    fact = learned(event)
    if fact is None or (known is not None and event.position > known):
        return None
    return Learned(event.position, fact[0], fact[1]) if event.stream == f"pledge-{name}" or replaces else None


def flags(ledger: Ledger, *, on: str | date = TODAY, today: date = TODAY, known: int | None = None) -> list[Flag]:
    """What is unusual about pledge x, as seen on a day."""
    coalitions: dict[str, Coalition | None] = {}

    def is_member(coalition: str, party: str, day: date) -> bool:
        if coalition not in coalitions:
            coalitions[coalition] = Coalition.of(learned_by(ledger, f"coalition-{coalition}", known))
        found = coalitions[coalition]
        return found is not None and party in found.members and found.members[party].on(day) is not None

    day = on if isinstance(on, date) else date.fromisoformat(on)
    return pledge(ledger, known=known).flags(day, today, is_member)


def coalition(ledger: Ledger, name: str = "drones", *, known: int | None = None) -> Coalition:
    """A coalition as known at a position."""
    found = Coalition.of(learned_by(ledger, f"coalition-{name}", known))
    assert found is not None
    return found


def terms(ledger: Ledger, name: str = "million", *, known: int | None = None) -> Steps[Terms | None]:
    """What a target asks for, from each day on."""
    said = learned_by(ledger, f"target-{name}", known)
    return terms_of([one for one in said if one.fact is None or isinstance(one.fact, TargetEntry)])  # type: ignore[misc]  # all are about the target
