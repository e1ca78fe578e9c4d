"""From a command and the world to the entries it adds: pure, no IO, no framework, no clock."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import NamedTuple, TypedDict

from services.commitments.domain import coalitions, parties, pledges, targets
from services.commitments.domain.commands import Amend, Cite, Command, Correct, Record, Retract
from services.commitments.domain.history import History, Placed, World, subject_of
from services.commitments.domain.refusals import (
    AlreadyRecorded,
    NameRetracted,
    NotCorrectable,
    OtherEntry,
    Refused,
    StaleVersion,
    StillStands,
    Unknown,
    UnknownName,
)
from shared.days import Said
from shared.events import Entry, stored_name
from shared.events.amendments import EntryCorrected, EntryRetracted, SourcesAdded
from shared.events.coalitions import CoalitionDissolved, MemberJoined, MemberLeft
from shared.events.parties import PartyRegistered
from shared.events.pledges import (
    DeliveryConfirmed,
    DeliveryDisputed,
    DeliveryReported,
    DeliveryReversed,
    PledgeAnnounced,
    PledgeEntry,
    PledgeLapsed,
    PledgeReallocated,
    PledgeRelated,
    PledgeRevised,
    PledgeWithdrawn,
    StageReached,
)
from shared.events.targets import TargetClosed, TargetRevised, TargetSet
from shared.sources import Reference, Source


class Decision(NamedTuple):
    """What to add to the stream (nothing: it is so already), and what a reader should know about it."""

    entries: tuple[Entry, ...]
    flags: tuple[str, ...] = ()
    of: str | None = None  # the event id of the entry that says it already


def decide(world: World, command: Command, if_match: int | None = None) -> Decision:
    """Decide a command: names first, then the version it was made for, then the rules. Raises Refused."""
    history = world.stream(command.stream)
    match command:
        case Record(entry=entry):
            _names(world, history, entry, command.mentions, opens=entry.OPENS)
        case Correct(now=entry):
            _names(world, world.stream(entry.stream), entry, entry.mentions, opens=False)
        case Retract() | Cite():
            pass
    if if_match is not None and if_match != history.version:
        raise StaleVersion(history.stream, if_match, history.version)
    match command:
        case Record(entry=entry):
            return record(world, history, entry)
        case Correct():
            return correct(world, history, command)
        case Retract():
            return retract(world, history, command)
        case Cite():
            return cite(history, command)


def record(world: World, history: History, entry: Entry) -> Decision:
    """Record an entry in the history of its stream, unless it stands already."""
    already = _opened(history, entry) if entry.OPENS else _said(history, entry)
    if already is not None:
        return Decision(entries=(), of=already.event_id)
    return Decision(entries=(rules(history, entry),), flags=_flags(world, entry))


def correct(world: World, history: History, command: Correct) -> Decision:
    """Put another entry in the place of one; refused only if what follows could not stand on it."""
    placed = _amendable(history, command.entry_id)
    now = command.now
    if (type(now), now.stream, subject_of(now)) != (type(placed.entry), history.stream, subject_of(placed.entry)):
        raise OtherEntry(command.entry_id, _named(placed.entry), _named(now))
    now = rules(history.before(placed.position), now)
    if now == placed.entry:
        return Decision(entries=(), of=placed.event_id)
    if isinstance(now, PledgeAnnounced):
        pledges.announce(history, now)
    _must_stand(history.with_entry(placed.event_id, now), placed)
    place = _place(history, placed, now, command)
    place["about_coalitions"] = _both(placed.entry.coalitions, now.coalitions)  # who followed the old one hears of it
    place["about_parties"] = _both(placed.entry.parties, now.parties)
    corrected = EntryCorrected(**place, now=now, reason=command.reason)
    return Decision(entries=(corrected,), flags=_flags(world, now))


def retract(world: World, history: History, command: Retract) -> Decision:
    """Take an entry out; an opening one only when nothing live stands on it, in its stream or in others."""
    if command.entry_id in history.placed and not history.placed[command.entry_id].live:
        return Decision(entries=(), of=command.entry_id)
    placed = _amendable(history, command.entry_id)
    if placed.entry.OPENS:
        subject = subject_of(placed.entry)
        in_stream = history.all() if subject is None else history.entries(subject)
        on_it = [f"{other.type} {other.event_id}" for other in in_stream if other.event_id != placed.event_id]
        on_it += world.referrers if subject is None else ()
        if on_it:
            raise StillStands(_named(placed.entry), on_it)
    else:
        _must_stand(history.with_entry(placed.event_id, None), placed)
    retracted = EntryRetracted(**_place(history, placed, placed.entry, command), reason=command.reason)
    return Decision(entries=(retracted,))


def cite(history: History, command: Cite) -> Decision:
    """Add the sources that an entry does not have yet."""
    placed = _amendable(history, command.entry_id)
    there = (*placed.entry.sources, *placed.more_sources)
    new = tuple(source for source in command.sources if source not in there)
    if not new:
        return Decision(entries=(), of=placed.event_id)
    added = SourcesAdded(**_place(history, placed, placed.entry, replace(command, sources=new)))
    return Decision(entries=(added,))


def rules(history: History, entry: Entry) -> Entry:
    """Give the entry as it is recorded, in its context. Raises Refused where a rule of the ledger says no.

    `history` is that of its stream: whatever else it names was looked at before.
    """
    match entry:
        case PartyRegistered():
            return parties.register(entry)
        case MemberJoined():
            return coalitions.join(history, entry)
        case MemberLeft():
            return coalitions.leave(history, entry)
        case CoalitionDissolved():
            return coalitions.dissolve(history, entry)
        case TargetSet():
            return targets.set_target(entry)
        case TargetRevised():
            return targets.revise(history, entry)
        case TargetClosed():
            return targets.close(history, entry)
        case PledgeAnnounced() | PledgeEntry():
            return pledge_rules(history, entry)
        case _:
            return entry  # nothing about it is refused


def pledge_rules(pledge: History, entry: PledgeAnnounced | PledgeEntry) -> Entry:
    """The rules of one pledge."""
    match entry:
        case PledgeAnnounced():
            return pledges.announce(pledge, entry)
        case PledgeRevised():
            return pledges.revise(pledge, entry)
        case StageReached():
            return pledges.reach(pledge, entry)
        case PledgeRelated():
            return pledges.relate(pledge, entry)
        case PledgeWithdrawn() | PledgeLapsed():
            return pledges.end(pledge, entry)
        case DeliveryReported():
            return pledges.report_delivery(pledge, entry)
        case DeliveryConfirmed() | DeliveryDisputed() | DeliveryReversed():
            return pledges.settle_delivery(pledge, entry)
        case PledgeReallocated():
            return pledges.placed(pledge, entry)
        case _:
            raise TypeError(entry)


def _flags(world: World, entry: Entry) -> tuple[str, ...]:
    return tuple(pledges.flags(world, entry)) if isinstance(entry, PledgeAnnounced | PledgeEntry) else ()


def _names(world: World, history: History, entry: Entry, mentions: Mapping[str, str], *, opens: bool) -> None:
    """Raise Unknown for a thing in the path, UnknownName for one in the body, that does not stand."""
    own = history.stream
    if (not opens or subject_of(entry) is not None) and not history.stands:
        if history.version:
            raise NameRetracted(own.replace("-", " ", 1))
        raise Unknown(own)
    for pointer, stream in mentions.items():
        if stream != own and not world.knows(stream):
            raise UnknownName(stream, pointer, ())


def _opened(history: History, entry: Entry) -> Placed | None:
    """Give the opening entry if this says the same. Raises where the name is taken or was retracted."""
    opening = history.opening(subject_of(entry))
    if opening is None:
        return None
    if not opening.live:
        raise NameRetracted(_named(entry))
    differing = _differences(opening.entry, entry)
    if differing:
        raise AlreadyRecorded(_named(entry), differing)
    return opening


def _said(history: History, entry: Entry) -> Placed | None:
    """Give a live entry that says the same, from the same sources."""
    if isinstance(entry, MemberJoined):
        return coalitions.already_member(history, entry)
    for placed in history.entries(subject_of(entry)):
        if type(placed.entry) is type(entry) and not _differences(placed.entry, entry):
            return placed
    return None


def _differences(recorded: Entry, said: Entry) -> list[str]:
    """Name the fields in which two entries of a kind differ; what the ledger filled in itself does not count."""
    filled_in = {"context"} if isinstance(recorded, PledgeEntry) else set()
    if isinstance(recorded, TargetRevised | TargetClosed):
        filled_in = {"coalition", "party"}
    names = (name for name in recorded.__struct_fields__ if name not in filled_in)
    return [name for name in names if getattr(recorded, name) != getattr(said, name)]


def _amendable(history: History, event_id: str) -> Placed:
    placed = history.placed.get(event_id)
    if placed is None:
        if event_id in history.amendments:
            raise NotCorrectable(event_id, f"is {history.amendments[event_id]}")
        raise Unknown(f"entry-{event_id}")
    if not placed.live:
        raise NotCorrectable(event_id, "was retracted")
    return placed


def _must_stand(history: History, changed: Placed) -> None:
    """Raise StillStands if an entry after a changed one would have been refused."""
    subject = subject_of(changed.entry)
    after = _members(history) if subject is None else history.entries(subject)
    falling = []
    for placed in (*after, *(history.entries() if subject is None else ())):
        if placed.event_id == changed.event_id or placed.position < changed.position:
            continue
        try:
            rules(history.before(placed.position), placed.entry)
        except Refused:
            falling.append(f"{placed.type} {placed.event_id}")
    if falling:
        raise StillStands(_named(changed.entry), falling)


def _members(history: History) -> Iterable[Placed]:
    return (placed for placed in history.all() if (subject := subject_of(placed.entry)) and subject[0] == "member")


class _Place(TypedDict):
    thing: str
    entry: str
    entry_position: int
    entry_type: str
    entry_happened: Said | None
    about_coalitions: tuple[str, ...]
    about_parties: tuple[str, ...]
    sources: tuple[Source, ...]
    reported_on: Said | None
    labels: dict[str, tuple[str, ...]]
    refs: tuple[Reference, ...]
    note: str | None


def _place(history: History, placed: Placed, shown: Entry, command: Amend) -> _Place:
    """What an amendment says of the entry it is about, and what comes with it."""
    return {
        "thing": history.stream,
        "entry": placed.event_id,
        "entry_position": placed.position,
        "entry_type": placed.type,
        "entry_happened": shown.happened,
        "about_coalitions": shown.coalitions,
        "about_parties": shown.parties,
        "sources": command.sources,
        "reported_on": command.reported_on,
        "labels": command.labels,
        "refs": command.refs,
        "note": command.note,
    }


def _both(before: tuple[str, ...], now: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*before, *now)))


def _named(entry: Entry) -> str:
    subject = subject_of(entry)
    thing = entry.stream.replace("-", " ", 1)
    return f"{stored_name(entry)} of {thing}" + ("" if subject is None else f", {' '.join(subject)}")
