"""From what went wrong to `application/problem+json`: the one table from refusals to statuses.

A problem has a type (a url of this service that explains it), title, status, detail and code; `errors` name the fields
that are wrong by JSON pointer (or the parameter of the path, the query or the head); a program may use what else it
says.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final

import msgspec
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from services.commitments.domain import refusals
from services.commitments.domain.refusals import Refused
from services.commitments.handling import Unpublishable
from services.commitments.http.forms import SPELLINGS

MEDIA_TYPE: Final = "application/problem+json"
MOST_ERRORS: Final = 50

REFUSALS: Final[Mapping[type[Refused], int]] = {
    refusals.Unknown: 404,
    refusals.UnknownName: 422,
    refusals.StaleVersion: 412,
    refusals.KeyReused: 422,
    refusals.SharesExceed: 422,
    refusals.WrongUnit: 422,
    refusals.UpsideDown: 422,
    refusals.RelatesToItself: 422,
    refusals.ProducedByAParty: 422,
    Unpublishable: 422,
}
"""Every other refusal is a rule of the ledger that stands against what was asked: 409."""

FORMS: Final[Mapping[str, tuple[int, str]]] = {
    "not-json": (400, "The body is not JSON."),
    "malformed": (400, "The request cannot be read."),
    "not-found": (404, "There is nothing under this path."),
    "method-not-allowed": (405, "This path does not take this method."),
    "not-acceptable": (406, "This path has no such representation."),
    "too-large": (413, "The body is too large."),
    "not-json-type": (415, "Bodies are sent as application/json."),
    "invalid": (422, "A field is wrong."),
    "invalid-parameter": (422, "A parameter is wrong."),
    "internal": (500, "Something went wrong here."),
    "overloaded": (503, "There is more to record than can be taken in now."),
    "unavailable": (503, "The log cannot be reached."),
}
"""What can be wrong before the ledger is asked, or with the ledger itself: status and title by code."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A problem as it is answered."""

    status: int
    code: str
    title: str
    detail: str
    errors: Sequence[Mapping[str, str]] = ()
    facts: Mapping[str, object] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)

    def json(self) -> dict[str, object]:
        """Give the members of the problem."""
        members: dict[str, object] = {
            "type": f"/problems/{self.code}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
        }
        if self.errors:
            members["errors"] = list(self.errors)
        return {**members, **self.facts}

    def response(self) -> Response:
        """Give the problem as an answer."""
        content = msgspec.json.encode(self.json())
        return Response(content, self.status, headers=dict(self.headers), media_type=MEDIA_TYPE)


class Problem(Exception):
    """Something about a request that this service says no to before the ledger is asked."""

    def __init__(self, told: Told) -> None:
        super().__init__(told.detail)
        self.told = told


def problem(
    code: str,
    detail: str,
    *,
    errors: Sequence[Mapping[str, str]] = (),
    headers: Mapping[str, str] | None = None,
) -> Problem:
    """Make a problem of FORMS."""
    status, title = FORMS[code]
    return Problem(Told(status=status, code=code, title=title, detail=detail, errors=errors, headers=headers or {}))


def too_long(what: str) -> Problem:
    """Make the problem of an import, or a line of one, that is above its size."""
    return problem("too-large", f"{what} was not read")


def parameter(name: str, detail: str) -> Problem:
    """Make the problem of a wrong parameter of the path, the query or the head."""
    return problem("invalid-parameter", f"{name}: {detail}", errors=[{"parameter": name, "detail": detail}])


def title(refusal: type[Refused]) -> str:
    """Give the first line of a refusal's docstring: its title."""
    return (refusal.__doc__ or "").strip().splitlines()[0]


def refused(refusal: Refused) -> Told:
    """Tell a refusal of the ledger."""
    pointer = refusal.pointer
    return Told(
        status=REFUSALS.get(type(refusal), HTTPStatus.CONFLICT),
        code=refusal.code,
        title=title(type(refusal)),
        detail=str(refusal),
        errors=[] if pointer is None else [{"pointer": pointer, "detail": str(refusal)}],
        facts=refusal.facts,
    )


def not_valid(error: ValidationError) -> Problem:
    """Tell which fields of a body are wrong."""
    wrongs = error.errors(include_url=False)
    inside = {wrong["loc"][:-1] for wrong in wrongs}
    told = [
        {"pointer": pointer(wrong["loc"]), "detail": detail(wrong)}
        for wrong in wrongs
        if wrong["type"] != "too_short" or wrong["loc"] not in around(inside)  # its items are told already
    ][:MOST_ERRORS]
    first, others = told[0], len(told) - 1
    more = f" (and {others} more)" if others else ""
    return problem("invalid", f"{first['pointer'] or 'the body'}: {first['detail']}{more}", errors=told)


def around(places: Iterable[tuple[str | int, ...]]) -> set[tuple[str | int, ...]]:
    """Give places, and all that they lie in."""
    return {place[:depth] for place in places for depth in range(len(place) + 1)}


def wrong_field(where: Iterable[str | int], said: str) -> Problem:
    """Make the problem of one field that is wrong."""
    at = pointer(where)
    return problem("invalid", f"{at or 'the body'}: {said}", errors=[{"pointer": at, "detail": said}])


def pointer(where: Iterable[str | int]) -> str:
    """Write a JSON pointer (RFC 6901)."""
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in where if part != "[key]")


IN_OUR_WORDS: Final[Mapping[str, str]] = {
    "missing": "is needed",
    "extra_forbidden": "is no field of this body",
    "value_error": "{error}",
    "string_pattern_mismatch": "{input!r} is not {spelling}",
    "literal_error": "is one of {expected}",
    "string_type": "is a text",
    "model_type": "is an object",
    "dict_type": "is an object",
    "tuple_type": "is a list",
    "bool_type": "is true or false",
    "string_too_long": "has at most {max_length} characters",
    "string_too_short": "is not empty",
    "too_short": "has at least {min_length}",
    "too_long": "has at most {max_length}",
}
"""What pydantic finds wrong, by its type; anything else is said in its own words."""


def detail(wrong: Mapping[str, Any]) -> str:
    """Say what is wrong with a field."""
    said = IN_OUR_WORDS.get(wrong["type"])
    if said is None:
        return str(wrong["msg"])
    context = wrong.get("ctx", {})
    spelling = SPELLINGS.get(context.get("pattern", ""), "")
    return said.format(**context, input=str(wrong["input"])[:40], spelling=spelling)


def http_error(error: HTTPException) -> Told:
    """Tell what the framework refused."""
    code = {404: "not-found", 405: "method-not-allowed", 413: "too-large"}.get(error.status_code, "malformed")
    status, said = FORMS[code]
    told = str(error.detail) if code == "malformed" else said
    return Told(
        status=error.status_code if code != "malformed" else status,
        code=code,
        title=said,
        detail=told,
        headers=dict(error.headers or {}),
    )


def pages() -> dict[str, tuple[int, str]]:
    """Give every code there is, with its status and title: what /problems/<code> explains."""
    return dict(FORMS) | {
        refusal.code: (REFUSALS.get(refusal, HTTPStatus.CONFLICT), title(refusal)) for refusal in every_refusal()
    }


def every_refusal() -> list[type[Refused]]:
    """Give every refusal of the domain, and that of the log."""
    found = [*vars(refusals).values(), Unpublishable]
    return [kind for kind in found if isinstance(kind, type) and issubclass(kind, Refused) and kind is not Refused]
