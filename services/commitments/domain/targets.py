"""Rules for targets."""

from __future__ import annotations

from services.commitments.domain.history import History
from services.commitments.domain.refusals import Ended, ProducedByAParty, UpsideDown, WrongUnit
from shared.days import Said, last_day
from shared.events.targets import TargetClosed, TargetRevised, TargetSet


def set_target(entry: TargetSet) -> TargetSet:
    """A target ends after it begins; what is produced is the producer's own."""
    if entry.counts == "produced" and entry.party is None:
        raise ProducedByAParty(entry.target)
    _in_order(entry, entry.due_by)
    return entry


def revise(target: History, entry: TargetRevised) -> TargetRevised:
    """A revision keeps the unit and the scope; a closed target is not revised."""
    opening = opening_of(target)
    _still_open(target, entry.target)
    if entry.amount is not None and entry.amount.unit != opening.amount.unit:
        raise WrongUnit(f"target {entry.target}", expected=[opening.amount.unit], got=entry.amount.unit)
    _in_order(opening, entry.due_by)
    return entry.having(coalition=opening.coalition, party=opening.party)


def close(target: History, entry: TargetClosed) -> TargetClosed:
    """A target is closed once."""
    opening = opening_of(target)
    _still_open(target, entry.target)
    return entry.having(coalition=opening.coalition, party=opening.party)


def opening_of(target: History) -> TargetSet:
    """Give the opening entry of a target that stands, as corrected."""
    opening = target.opening()
    if opening is None or not isinstance(opening.entry, TargetSet):
        raise TypeError(target.stream)
    return opening.entry


def _still_open(target: History, name: str) -> None:
    if any(isinstance(placed.entry, TargetClosed) for placed in target.entries()):
        raise Ended(f"target {name}", "was closed")


def _in_order(opening: TargetSet, due_by: Said | None) -> None:
    starts_on = opening.starts_on or opening.set_on
    if due_by is not None and last_day(due_by) < last_day(starts_on):
        raise UpsideDown(f"target {opening.target}", begins=starts_on, ends=due_by, pointer="/due_by")
