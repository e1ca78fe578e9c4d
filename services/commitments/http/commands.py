"""Every command there is: one table for the routes, for the lines of an import, and for the OpenAPI document.

A recording route makes an entry of the names in its path and the fields of its body. The three amendments are about an
entry that is in the log already: its stream is looked up by the entry's id first.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, Protocol

import msgspec
from pydantic import ValidationError

from services.commitments.domain.commands import Cite, Command, Correct, Record, Retract
from services.commitments.domain.history import History
from services.commitments.domain.refusals import NotCorrectable, Unknown
from services.commitments.http import coalitions, deliveries, entries, parties, pledges, reports, targets
from services.commitments.http.forms import CAPABILITY, ID, PARTY, SPELLINGS, Body
from services.commitments.http.problems import not_valid, parameter, wrong_field
from shared.codec import encode, to_json
from shared.events import Entry
from shared.events.coalitions import (
    CoalitionDissolved,
    CoalitionFormed,
    CoalitionRenamed,
    CoalitionReviewed,
    MemberChanged,
    MemberJoined,
    MemberLeft,
)
from shared.events.parties import CapabilityNamed, PartyRegistered
from shared.events.pledges import (
    DeliveryConfirmed,
    DeliveryDisputed,
    DeliveryReported,
    DeliveryReversed,
    PledgeAllocated,
    PledgeAnnounced,
    PledgeCommitted,
    PledgeContracted,
    PledgeLapsed,
    PledgePaid,
    PledgeReallocated,
    PledgeRelated,
    PledgeRevised,
    PledgeWithdrawn,
)
from shared.events.reports import ProductionReported, StatementRecorded
from shared.events.targets import TargetClosed, TargetRevised, TargetSet

Method = Literal["PUT", "POST"]
Names = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Name:
    """A name in a path: how it is spelt, with an example."""

    pattern: str
    example: str
    most: int = 64


NAMES: Final[Mapping[str, Name]] = {
    "party": Name(PARTY, "GBR"),
    "capability": Name(CAPABILITY, "drone.fpv", most=100),
    "coalition": Name(ID, "drone-coalition"),
    "target": Name(ID, "million-drones"),
    "pledge": Name(ID, "gbr-fpv"),
    "delivery": Name(ID, "first-batch"),
    "production": Name(ID, "ukr-2024"),
    "statement": Name(ID, "lva-2024"),
}
PATTERNS: Final = {kind: re.compile(name.pattern) for kind, name in NAMES.items()}
"""Those of the names, compiled: every command has one in its path."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A command: where it is sent, with which body, and what it records."""

    method: Method
    path: str  # /v1/pledges/{pledge}
    body: type[Body]
    operation: str  # the operation's id in the OpenAPI document
    summary: str
    entry: type[Entry] | None = None  # what it records; None for the amendments


def recording(method: Method, path: str, body: type[Body], entry: type[Entry], operation: str) -> Route:
    """Make the route that records an entry; the entry's own first line says what it is."""
    summary = (entry.__doc__ or "").strip().splitlines()[0]
    return Route(method=method, path=path, body=body, entry=entry, operation=operation, summary=summary)


PLEDGE: Final = "/v1/pledges/{pledge}"
DELIVERY: Final = "/v1/pledges/{pledge}/deliveries/{delivery}"
COALITION: Final = "/v1/coalitions/{coalition}"
MEMBER: Final = "/v1/coalitions/{coalition}/members/{party}"
TARGET: Final = "/v1/targets/{target}"
EVENT: Final = "/v1/events/{event_id}"

ROUTES: Final[tuple[Route, ...]] = (
    recording("PUT", PLEDGE, pledges.PledgeBody, PledgeAnnounced, "announcePledge"),
    recording("PUT", DELIVERY, deliveries.DeliveryBody, DeliveryReported, "reportDelivery"),
    recording("POST", f"{DELIVERY}/confirm", deliveries.ConfirmationBody, DeliveryConfirmed, "confirmDelivery"),
    recording("POST", f"{DELIVERY}/dispute", deliveries.DisputeBody, DeliveryDisputed, "disputeDelivery"),
    recording("POST", f"{DELIVERY}/reverse", deliveries.ReversalBody, DeliveryReversed, "reverseDelivery"),
    recording("POST", f"{PLEDGE}/commit", pledges.StageBody, PledgeCommitted, "commitPledge"),
    recording("POST", f"{PLEDGE}/pay", pledges.StageBody, PledgePaid, "payPledge"),
    recording("POST", f"{PLEDGE}/allocate", pledges.StageBody, PledgeAllocated, "allocatePledge"),
    recording("POST", f"{PLEDGE}/contract", pledges.StageBody, PledgeContracted, "contractPledge"),
    recording("POST", f"{PLEDGE}/revise", pledges.RevisionBody, PledgeRevised, "revisePledge"),
    recording("POST", f"{PLEDGE}/relate", pledges.RelateBody, PledgeRelated, "relatePledge"),
    recording("POST", f"{PLEDGE}/reallocate", pledges.ReallocateBody, PledgeReallocated, "reallocatePledge"),
    recording("POST", f"{PLEDGE}/withdraw", pledges.EndBody, PledgeWithdrawn, "withdrawPledge"),
    recording("POST", f"{PLEDGE}/lapse", pledges.EndBody, PledgeLapsed, "lapsePledge"),
    recording("PUT", "/v1/parties/{party}", parties.PartyBody, PartyRegistered, "registerParty"),
    recording("PUT", "/v1/capabilities/{capability}", parties.CapabilityBody, CapabilityNamed, "nameCapability"),
    recording("PUT", COALITION, coalitions.CoalitionBody, CoalitionFormed, "formCoalition"),
    recording("PUT", MEMBER, coalitions.MemberBody, MemberJoined, "joinCoalition"),
    recording("POST", f"{MEMBER}/leave", coalitions.OnBody, MemberLeft, "leaveCoalition"),
    recording("POST", f"{COALITION}/rename", coalitions.RenameBody, CoalitionRenamed, "renameCoalition"),
    recording("POST", f"{COALITION}/dissolve", coalitions.OnBody, CoalitionDissolved, "dissolveCoalition"),
    recording("POST", f"{COALITION}/reviewed", coalitions.ReviewedBody, CoalitionReviewed, "reviewCoalition"),
    recording("PUT", TARGET, targets.TargetBody, TargetSet, "setTarget"),
    recording("POST", f"{TARGET}/revise", targets.TargetRevisionBody, TargetRevised, "reviseTarget"),
    recording("POST", f"{TARGET}/close", targets.TargetClosureBody, TargetClosed, "closeTarget"),
    recording("PUT", "/v1/production/{production}", reports.ProductionBody, ProductionReported, "reportProduction"),
    recording("PUT", "/v1/statements/{statement}", reports.StatementBody, StatementRecorded, "recordStatement"),
)

RETRACT: Final = Route(
    method="POST",
    path=f"{EVENT}/retract",
    body=entries.RetractionBody,
    operation="retractEntry",
    summary="It never happened: the entry is taken out, known from now on, and stays visible.",
)
CORRECT: Final = Route(
    method="POST",
    path=f"{EVENT}/correct",
    body=Body,
    operation="correctEntry",
    summary="It was never so: the entry says something else, in its own place, known from now on.",
)
CITE: Final = Route(
    method="POST",
    path=f"{EVENT}/sources",
    body=entries.CitationBody,
    operation="citeEntry",
    summary="The same was said elsewhere too.",
)
COMMANDS: Final = (*ROUTES, RETRACT, CORRECT, CITE)

_BODIES: Final = {body: entries.correction_of(body) for body in dict.fromkeys(route.body for route in ROUTES)}
CORRECTIONS: Final[Mapping[type[Entry], type[Body]]] = {
    kind: _BODIES[route.body]
    for route in ROUTES
    if route.entry is not None
    for kind in ((MemberJoined, MemberChanged) if route.entry is MemberJoined else (route.entry,))
}
"""The body that corrects each kind of entry; a change of role is sent as joining is."""

NAMED: Final[Mapping[type[Entry], tuple[str, ...]]] = {
    kind: tuple(re.findall(r"{(\w+)}", route.path))
    for route in ROUTES
    if route.entry is not None
    for kind in ((MemberJoined, MemberChanged) if route.entry is MemberJoined else (route.entry,))
}
"""The fields of each kind of entry that its path gave it."""


class Lookup(Protocol):
    """What an amendment has to know of the log before it can be asked for."""

    async def place_of(self, event_id: str) -> tuple[str, str] | None:
        """Give the stream that an event is in, and its id as it is written there."""
        ...

    async def history(self, stream: str) -> History:
        """Give a stream as it stands."""
        ...


class Asked(NamedTuple):
    """What somebody asks for.

    `normal` is the body in its normal form: what means the same is written the same. `pointer` leads back from a field
    of the entry to the field of the body.
    """

    command: Command
    normal: bytes
    pointer: Callable[[str], str]


async def asked(route: Route, names: Names, body: object, log: Lookup) -> Asked:
    """Make the command of a request. Raises Problem for what is wrong with its form, Unknown for an entry not there."""
    if route.entry is not None:
        spelt(names)
        return recorded(route.entry, names, checked(route.body, body))
    if route is CORRECT:
        return await corrected(names["event_id"], body, log)
    fields = checked(route.body, body).fields()
    stream, entry_id = await place(names["event_id"], log)
    said = {name: value for name, value in fields.items() if value}
    command = (Retract if route is RETRACT else Cite)(stream=stream, entry_id=entry_id, **fields)
    return Asked(command=command, normal=msgspec.json.encode(said), pointer=str)


async def place(event_id: str, log: Lookup) -> tuple[str, str]:
    """Give the stream and the id of the entry that an amendment is about. Raises Unknown."""
    found = await log.place_of(event_id)
    if found is None:
        raise Unknown(f"entry-{event_id[:80]}")
    return found


def spelt(names: Names) -> None:
    """Raise the problem of a name that cannot be one."""
    for kind, name in names.items():
        spelling = NAMES[kind]
        if len(name) > spelling.most or not PATTERNS[kind].fullmatch(name):
            raise parameter(kind, f"{name[:80]!r} is not {SPELLINGS[spelling.pattern]}")


def checked(form: type[Body], body: object) -> Body:
    """Check a body. Raises the problem that names each field that is wrong."""
    if not isinstance(body, dict):
        raise wrong_field((), "is an object")
    try:
        return form.model_validate(body)
    except ValidationError as wrong:
        raise not_valid(wrong) from None


def recorded(entry: type[Entry], names: Names, body: Body) -> Asked:
    """Ask to record an entry."""
    fields: dict[str, Any] = {**names, **body.fields()}
    said = entry(**fields)
    return Asked(command=Record(entry=said), normal=encode(said), pointer=body.pointer)


async def corrected(event_id: str, body: object, log: Lookup) -> Asked:
    """Ask to correct an entry. What the body leaves out of its citation and its own reason stays as it was recorded."""
    stream, event_id = await place(event_id, log)
    history = await log.history(stream)
    placed = history.placed.get(event_id)
    if placed is None:
        raise NotCorrectable(event_id, f"is {history.amendments[event_id]}")
    kind, was = type(placed.entry), placed.entry
    form = checked(CORRECTIONS[kind], body)
    fields = form.fields()
    reason = fields.pop("reason")
    if "entry_reason" in fields:
        fields["reason"] = fields.pop("entry_reason")
    names = {name: getattr(was, name) for name in NAMED[kind]}
    said = kind(**names, **fields)
    normal = msgspec.json.encode([to_json(said), reason])
    kept: dict[str, Any] = {} if said.sources else {"sources": was.sources}
    if fields.get("reason", reason) is None:
        kept["reason"] = getattr(was, "reason")  # noqa: B009  # only entries that have one have it in their body
    command = Correct(stream=stream, entry_id=event_id, now=said.having(**kept), reason=reason, sources=said.sources)
    return Asked(command=command, normal=normal, pointer=form.pointer)


def match(method: str, path: str) -> tuple[Route, Names] | None:
    """Find the command of a method and a path, with the names in it."""
    parts = path.split("/")
    for route, words, names in _TABLE.get((method, len(parts)), ()):
        for at, word in words:
            if parts[at] != word:
                break
        else:
            return route, {name: parts[at] for at, name in names}
    return None


def takes(path: str) -> list[str]:
    """Give the methods with which a path is a command."""
    return sorted({route.method for route in COMMANDS if match(route.method, path) is not None})


Parts = tuple[tuple[int, str], ...]
"""Parts of a path, each with its place in it."""


def _table() -> dict[tuple[str, int], list[tuple[Route, Parts, Parts]]]:
    """Sort the commands by method and number of parts; of each, the words that stand in its path, and the names."""
    found: dict[tuple[str, int], list[tuple[Route, Parts, Parts]]] = {}
    for route in COMMANDS:
        parts = list(enumerate(route.path.split("/")))
        words = tuple((at, part) for at, part in parts if not part.startswith("{"))
        names = tuple((at, part[1:-1]) for at, part in parts if part.startswith("{"))
        found.setdefault((route.method, len(parts)), []).append((route, words, names))
    return found


_TABLE: Final = _table()
