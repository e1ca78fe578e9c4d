"""From the commands of a batch to rows: in order, in memory, so that the second command sees the first. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from typing import Final, Protocol

from services.commitments.domain.commands import Command, Correct, Record, needs
from services.commitments.domain.decider import Decision
from services.commitments.domain.history import History, World
from services.commitments.domain.refusals import KeyReused
from services.commitments.log.contract import Look, Receipt, Row
from services.commitments.log.outcome import Entered, Identity, Outcome, Unpublishable, receipt, replay
from shared.codec import encode
from shared.days import last_day
from shared.events import Entry, stored_name
from shared.events.amendments import EntryCorrected

PAYLOAD_BYTES: Final = 900_000
"""What an entry may take; a message of NATS has room for 1 MiB, its headers included."""

SIZE_OF_OTHERS: Final = 2_000  # bytes; a retraction, some sources
NAME_LENGTH: Final = 200
NAME: Final = re.compile(r"[^\s.*>\x00]+(\.[^\s.*>\x00]+)*")
"""What can stand in a subject: tokens with dots between them."""

NUL: Final = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


class Decide(Protocol):
    """The decider of the domain."""

    def __call__(self, world: World, command: Command, if_match: int | None = None) -> Decision:
        """Decide a command. Raises Refused."""
        ...


@dataclass(slots=True)
class Proposal:
    """A command that waits to be settled.

    `encoded` is its entry as it would be stored, if somebody encoded it already. `unsure`: an earlier try may have been
    recorded, so a receipt may be its own.
    """

    command: Command
    identity: Identity
    if_match: int | None = None
    encoded: bytes | None = None
    unsure: bool = False
    streams: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        """Know what it needs."""
        self.streams = needs(self.command)

    @property
    def size(self) -> int:
        """About how many bytes it takes."""
        return SIZE_OF_OTHERS if self.encoded is None else len(self.encoded)

    @property
    def entry(self) -> Entry | None:
        """The entry that it wants to see recorded, if it says one."""
        return self.command.entry if isinstance(self.command, Record) else None


@dataclass(slots=True)
class Settled:
    """What a batch came to: `answers` are in the order of its proposals, an exception for what is not recorded.

    `histories` are those that it looked at, as it leaves them.
    """

    at: datetime
    histories: dict[str, History]
    answers: list[Outcome | Exception] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    receipts: dict[str, Receipt] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settling:
    """All that settling a batch needs to know.

    `histories` are those of every stream the batch needs, as `look` found them; `now` is the clock, in UTC;
    `new_id` gives a UUIDv7.
    """

    decide: Decide
    look: Look
    histories: Mapping[str, History]
    referrers: tuple[str, ...]  # of what the first command retracts
    states: frozenset[str]
    now: datetime
    new_id: Callable[[], str]


def settle(settling: Settling, proposals: Iterable[Proposal]) -> Settled:
    """Settle proposals in order: receipt, then names, If-Match and rules; positions are consecutive over all rows."""
    last = settling.look.recorded_at
    settled = Settled(settling.now if last is None else max(settling.now, last), dict(settling.histories))
    world = World(histories=settled.histories, states=settling.states, today=settled.at.date())
    first = replace(world, referrers=settling.referrers)
    for number, proposal in enumerate(proposals):
        answer: Outcome | Exception
        try:
            answer = _repeated(settling, settled, proposal) or _decided(
                settling, settled, proposal, world if number else first
            )
        except Exception as refusal:  # noqa: BLE001  # whatever one command meets is its own answer, never its neighbours'
            answer = refusal
        settled.answers.append(answer)
    return settled


def _repeated(settling: Settling, settled: Settled, proposal: Proposal) -> Outcome | None:
    """Give the answer that the same command got before. Raises KeyReused if its id stood for another one."""
    command_id = proposal.identity.command_id
    found = settled.receipts.get(command_id) or settling.look.receipts.get(command_id)
    if found is None:
        return None
    if found.fingerprint != proposal.identity.fingerprint:
        raise KeyReused
    of_an_earlier_try = proposal.unsure and command_id not in settled.receipts
    return replay(found.outcome, replayed=not of_an_earlier_try)


def _decided(settling: Settling, settled: Settled, proposal: Proposal, world: World) -> Outcome:
    """Decide a proposal and add what comes of it. Raises what the decider refuses it with."""
    command, identity = proposal.command, proposal.identity
    stream = command.stream
    decision = settling.decide(world, command, proposal.if_match)
    history = world.stream(stream)
    if not decision.entries:
        outcome = _already_so(history, decision)
    else:
        position = settling.look.position + len(settled.rows)
        rows = [
            row_of(
                entry,
                stream=stream,
                position=position + number,
                version=history.version + number,
                event_id=settling.new_id(),
                at=settled.at,
                identity=identity,
                said=proposal if entry is proposal.entry else None,
            )
            for number, entry in enumerate(decision.entries, 1)
        ]
        entered = tuple(Entered(row.event_id, row.type, row.position) for row in rows)
        outcome = Outcome(
            stream=stream,
            version=rows[-1].version,
            position=rows[-1].position,
            events=entered,
            flags=decision.flags,
            new=True,
        )
        settled.histories[stream] = history.extended(
            (row.event_id, row.position, row.version, entry) for row, entry in zip(rows, decision.entries, strict=True)
        )
        settled.rows.extend(rows)
    settled.receipts[identity.command_id] = Receipt(identity.command_id, identity.fingerprint, receipt(outcome))
    return outcome


def _already_so(history: History, decision: Decision) -> Outcome:
    said = () if decision.of is None else (history.placed[decision.of],)
    return Outcome(
        stream=history.stream,
        version=history.version,
        position=history.position,
        events=tuple(Entered(placed.event_id, placed.type, placed.position) for placed in said),
        flags=decision.flags,
    )


def row_of(
    entry: Entry,
    *,
    stream: str,
    position: int,
    version: int,
    event_id: str,
    at: datetime,
    identity: Identity,
    said: Proposal | None,
) -> Row:
    """Give the row of an entry; `said` is the proposal that said it just so, if one did. Raises Unpublishable."""
    encoded, named = (None, None) if said is None else (said.encoded, said.streams)
    happened, reported = entry.happened, reported_on(entry, at.date())
    return Row(
        position=position,
        recorded_at=at,
        event_id=event_id,
        version=version,
        happened_on=reported if happened is None else last_day(happened),
        reported_on=reported,
        stream=stream,
        type=stored_name(entry),
        recorded_by=identity.caller,
        command_id=identity.command_id,
        traceparent=identity.traceparent,
        coalitions=entry.coalitions,
        about=about(entry, stream, named),
        payload=publishable(encode(entry)) if encoded is None else encoded,
    )


def about(entry: Entry, stream: str, named: Collection[str] | None = None) -> tuple[str, ...]:
    """Give the streams that an entry concerns: its own, its coalitions and parties, and all that it names (`named`)."""
    found = {stream}
    for said in (entry, entry.now) if isinstance(entry, EntryCorrected) else (entry,):
        found.update(said.mentions.values() if named is None else named)
        found.update([f"coalition-{coalition}" for coalition in said.coalitions])
        found.update([f"party-{party}" for party in said.parties])
    return tuple(sorted(found))


def reported_on(entry: Entry, today: date) -> date:
    """Give the day on which the world could know: as said, else the earliest of its sources, else today."""
    if entry.reported_on is not None:
        return last_day(entry.reported_on)
    published = [last_day(source.published_on) for source in entry.sources if source.published_on is not None]
    return min(published, default=today)


def publishable(payload: bytes) -> bytes:
    """Give the payload back. Raises Unpublishable for one that the event stream could not carry."""
    if len(payload) > PAYLOAD_BYTES:
        raise Unpublishable(f"the entry takes {len(payload):,} bytes, the event stream carries {PAYLOAD_BYTES:,}")
    if b"\\u0000" in payload and NUL.search(payload):
        raise Unpublishable("a text in the entry holds a NUL character")
    return payload


def publishable_name(stream: str) -> str:
    """Give the name of a stream back. Raises Unpublishable for one that could not stand in a subject."""
    if len(stream) > NAME_LENGTH or not NAME.fullmatch(stream):
        raise Unpublishable(f"{stream[:NAME_LENGTH]!r} cannot be the name of anything here")
    return stream


def proposed(
    command: Command, identity: Identity, if_match: int | None = None, *, entry: bytes | None = None
) -> Proposal:
    """Propose a command; `entry` is its entry by `shared.codec.encode`, if that is at hand. Raises Unpublishable."""
    match command:
        case Record(entry=said) | Correct(now=said):
            publishable_name(command.stream)
            return Proposal(command, identity, if_match, publishable(encode(said) if entry is None else entry))
        case _:
            return Proposal(command, identity, if_match)


def clock() -> datetime:
    """Give the time, in UTC."""
    return datetime.now(UTC)


def streams_of(proposals: Iterable[Proposal]) -> Collection[str]:
    """Give every stream that a batch needs."""
    return frozenset().union(*(proposal.streams for proposal in proposals))
