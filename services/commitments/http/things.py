"""GET of any thing on this side: its stream, its opening entry as it stands, and what was recorded about it."""

from __future__ import annotations

from typing import Any, Final

import msgspec
import pycountry
from starlette.requests import Request
from starlette.responses import Response

from services.commitments.domain.history import History, Placed, Subject
from services.commitments.domain.refusals import Unknown
from services.commitments.handling import Row
from services.commitments.http.commands import COALITION, DELIVERY, MEMBER, PLEDGE, TARGET, spelt
from services.commitments.http.endpoint import Handler, Service
from services.commitments.http.queries import only_known
from services.commitments.http.recording import history_of
from shared.amounts import Amount
from shared.codec import to_json
from shared.events import Entry
from shared.events.coalitions import CoalitionFormed, MemberJoined
from shared.events.parties import PartyRegistered

PAGE: Final = 1_000


def showing(family: str, part: str | None = None) -> Handler:
    """Give the handler that shows a thing of a family, or a part of one: a delivery, a member."""

    async def show(request: Request, service: Service) -> Response:
        only_known(request, ())
        names: dict[str, str] = request.path_params
        spelt(names)
        stream = f"{family}-{names[family]}"
        rows: list[Row] = []
        while page := await service.ledger.read_stream(stream, rows[-1].version if rows else 0, PAGE):
            rows += page
        history = history_of(stream, rows)
        subject: Subject = None if part is None else (part, names["party" if part == "member" else part])
        answer = shown(history, subject)
        headers = {"ETag": f'"{history.version}"', "Ledger-Position": str(history.position)}
        if request.headers.get("if-none-match") == headers["ETag"]:
            return Response(status_code=304, headers=headers)
        return Response(msgspec.json.encode(answer), headers=headers, media_type="application/json")

    return show


def shown(history: History, subject: Subject) -> dict[str, Any]:
    """Give a thing as it is answered. Raises Unknown for one that was never recorded."""
    opening = (_founding(history, subject) if subject else None) or history.opening(subject) or _state(history)
    if opening is None:
        raise Unknown(history.stream if subject is None else "-".join(subject))
    about = history.placed.values() if subject is None else [history.placed[i] for i in history.about.get(subject, ())]
    if opening.event_id in history.placed and opening.event_id not in (placed.event_id for placed in about):
        about = [opening, *about]
    return {
        "stream": history.stream,
        "version": history.version,
        "position": history.position,
        "retracted": not opening.live,
        "entry": entry(opening.entry) | more(opening),
        "events": [
            {"event_id": placed.event_id, "type": placed.type, "position": placed.position, "live": placed.live}
            for placed in about
        ],
    }


def _founding(coalition: History, subject: tuple[str, str]) -> Placed | None:
    """Give the entry that formed the coalition as it speaks of a member who was there from the beginning."""
    formed = coalition.opening()
    if formed is None or not isinstance(formed.entry, CoalitionFormed):
        return None
    said = formed.entry
    for member in said.members:
        if subject == ("member", member.party):
            joined = MemberJoined(
                coalition=said.coalition,
                party=member.party,
                role=member.role,
                instrument=member.instrument,
                on=member.on or said.formed_on,
                sources=said.sources,
                reported_on=said.reported_on,
            )
            return formed._replace(entry=joined)
    return None


def _state(party: History) -> Placed | None:
    """Give a state that nobody registered: it is known all the same, and no event says so."""
    family, _, code = party.stream.partition("-")
    country = pycountry.countries.get(alpha_3=code) if family == "party" else None
    if country is None:
        return None
    known = PartyRegistered(party=code, name=getattr(country, "common_name", country.name), kind="state")
    return Placed(event_id="", position=0, version=0, type="", entry=known)


def more(placed: Placed) -> dict[str, Any]:
    """Give every source of an entry, those that were added since with them; nothing where there are none."""
    sources = [*placed.entry.sources, *placed.more_sources]
    return {"sources": [to_json(source) for source in sources]} if sources else {}


def entry(said: Entry) -> dict[str, Any]:
    """Give an entry as JSON; its amounts say whether they are about."""
    fields: dict[str, Any] = to_json(said)
    _add_about(fields)
    return fields


def _add_about(value: Any) -> None:  # noqa: ANN401  # plain JSON values, whatever they hold
    if isinstance(value, dict):
        if "qualifier" in value and "low" in value:
            amount = msgspec.convert(value, Amount, strict=False)
            value |= {"about": amount.about, "unknown": amount.unknown}
        for item in value.values():
            _add_about(item)
    elif isinstance(value, list):
        for item in value:
            _add_about(item)


HANDLERS: Final[dict[str, Handler]] = {
    "/v1/parties/{party}": showing("party"),
    "/v1/capabilities/{capability}": showing("capability"),
    COALITION: showing("coalition"),
    MEMBER: showing("coalition", "member"),
    TARGET: showing("target"),
    PLEDGE: showing("pledge"),
    DELIVERY: showing("pledge", "delivery"),
    "/v1/production/{production}": showing("production"),
    "/v1/statements/{statement}": showing("statement"),
}
