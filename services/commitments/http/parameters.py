"""The parameters of the API as the OpenAPI document describes them; what is checked stands where it is read."""

from __future__ import annotations

from typing import Any, Final

from services.commitments.http.forms import ID, PARTY
from services.commitments.http.problems import pages
from services.commitments.http.queries import MOST_EVENTS, MOST_POSITION, STREAM
from shared.events import EVENT_TYPES

Parameter = dict[str, Any]


def _query(name: str, schema: Parameter, said: str) -> Parameter:
    return {"name": name, "in": "query", "schema": schema, "description": said}


def _head(name: str, schema: Parameter, said: str, example: str | None = None) -> Parameter:
    described = {"name": name, "in": "header", "schema": schema, "description": said}
    return described if example is None else described | {"example": example}


AFTER: Final = _query(
    "after",
    {"type": "integer", "minimum": 0, "maximum": MOST_POSITION, "default": 0},
    "give what comes after this position",
)
LIMIT: Final = _query(
    "limit",
    {"type": "integer", "minimum": 1, "maximum": MOST_EVENTS},
    "at most so many; without it a page has up to 1,000, and NDJSON goes on to the end of the log",
)
FILTERS: Final = (
    _query("stream", {"type": "string", "pattern": STREAM}, "only of this stream"),
    _query(
        "type", {"type": "array", "items": {"enum": list(EVENT_TYPES)}}, "only of this type; may stand several times"
    ),
    _query("coalition", {"type": "string", "pattern": ID}, "only about this coalition"),
    _query("party", {"type": "string", "pattern": PARTY}, "only about this party"),
)
LAST_EVENT_ID: Final = _head(
    "Last-Event-ID",
    {"type": "string", "pattern": "^[0-9]{1,18}$"},
    "the last id that was received; it goes before `after`",
    "7",
)


def idempotency_key(example: str) -> Parameter:
    """Describe the key of a command; each has an example of its own, for a key stands for one request."""
    return _head(
        "Idempotency-Key",
        {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]([ -~]*[!-~])?$"},
        "names this request: the same key with the same body gets the same answer, also years later",
        example,
    )


IF_MATCH: Final = _head(
    "If-Match",
    {"type": "string", "pattern": r'^(\*|"[0-9]{1,9}"(, ?"[0-9]{1,9}")*)$'},
    'the version (the ETag) that the stream must have, as "1", or several; `*`: there must be one',
)
IF_NONE_MATCH: Final = _head(
    "If-None-Match", {"type": "string", "pattern": '^"[0-9]{1,9}"$'}, "the version that the caller has already", '"1"'
)
TRACEPARENT: Final = _head(
    "traceparent",
    {"type": "string"},
    "W3C trace context; it travels on with the events",
    "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
)
IN_PATH: Final[dict[str, Parameter]] = {
    "event_id": {
        "schema": {"type": "string", "format": "uuid"},
        "example": "019a0f6e-7c1b-7d3a-9e55-0f4c2b8a1d10",
    },
    "stream": {"schema": {"type": "string", "pattern": STREAM}, "example": "pledge-gbr-fpv"},
    "type": {"schema": {"enum": list(EVENT_TYPES)}, "example": "muster.pledge.announced.v1"},
    "code": {"schema": {"enum": list(pages())}, "example": "unknown-name"},
}
