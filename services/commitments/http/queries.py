"""Reading what is asked in the query of a GET: known parameters only, each once, each in its form."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from starlette.requests import Request

from services.commitments.handling import Filter
from services.commitments.http.forms import ID, PARTY, SPELLINGS
from services.commitments.http.problems import parameter
from shared.events import EVENT_TYPES

FILTERS: Final = ("stream", "type", "coalition", "party")
STREAM: Final = r"^[a-z]+-[A-Za-z0-9._-]{1,100}$"
MOST_POSITION: Final = 2**63 - 1
MOST_EVENTS: Final = 1_000


@dataclass(frozen=True, slots=True)
class Asking:
    """What part of the log somebody wants: from where, how much (None: all there is), and which entries."""

    after: int
    limit: int | None
    where: Filter


def asking(request: Request, *, beside: Collection[str] = ("after", "limit")) -> Asking:
    """Read the parameters of the feed. Raises Problem."""
    only_known(request, (*beside, *FILTERS))
    return Asking(
        after=whole_number(request, "after", 0, least=0, most=MOST_POSITION),
        limit=whole_number(request, "limit", 0, least=1, most=MOST_POSITION) or None,
        where=Filter(
            stream=spelt(request, "stream", STREAM, "the name of a stream, such as pledge-gbr-fpv"),
            types=types(request),
            about=tuple(
                f"{family}-{name}"
                for family, pattern in (("coalition", ID), ("party", PARTY))
                if (name := spelt(request, family, pattern, SPELLINGS[pattern])) is not None
            ),
        ),
    )


def only_known(request: Request, known: Collection[str]) -> None:
    """Raise the problem of a parameter that means nothing here, or stands twice."""
    seen: set[str] = set()
    for name, _ in request.query_params.multi_items():
        if name not in known:
            raise parameter(name[:80], f"is no parameter here; there are {', '.join(sorted(known)) or 'none'}")
        if name in seen and name != "type":
            raise parameter(name, "stands more than once")
        seen.add(name)


def whole_number(request: Request, name: str, default: int, *, least: int, most: int) -> int:
    """Read a whole number. Raises Problem."""
    text = request.query_params.get(name)
    if text is None:
        return default
    if not re.fullmatch(r"[0-9]{1,19}", text) or not least <= int(text) <= most:
        raise parameter(name, f"is a whole number from {least} to {most}, not {text[:40]!r}")
    return int(text)


def spelt(request: Request, name: str, pattern: str, said: str) -> str | None:
    """Read a name. Raises Problem."""
    text = request.query_params.get(name)
    if text is not None and not re.fullmatch(pattern, text):
        raise parameter(name, f"{text[:80]!r} is not {said}")
    return text


def types(request: Request) -> tuple[str, ...]:
    """Read the types of events, as stored. Raises Problem."""
    wanted = tuple(request.query_params.getlist("type"))
    for name in wanted:
        if name not in EVENT_TYPES:
            raise parameter("type", f"{name[:80]!r} is no type of event, such as muster.pledge.announced.v1")
    return wanted
