"""The OpenAPI 3.1 document, made from the table of commands, the models of the bodies and the classes of the events.

The bodies' schemas say what the models check, as far as a schema can: what it cannot say (that a name is known, that a
29 February exists) is answered 422 all the same.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any, Final

import msgspec
from pydantic.json_schema import models_json_schema

from services.commitments.http import parameters
from services.commitments.http.commands import COMMANDS, CORRECT, CORRECTIONS, NAMES, ROUTES, Route
from services.commitments.http.examples import CLOUD_EVENT, OUTCOME, PROBLEMS
from services.commitments.http.forms import Body
from services.commitments.http.problems import MEDIA_TYPE
from services.commitments.http.schemas import components
from shared.events.pledges import PledgeAnnounced

Schema = dict[str, Any]

JSON: Final = "application/json"
NDJSON: Final = "application/x-ndjson"
REF: Final = "#/components/schemas/{model}"

STATUSES: Final = {
    "400": "The body is not JSON, or the head cannot be read",
    "404": "There is nothing by a name in the path",
    "409": "A rule of the ledger stands against it; `code` says which",
    "412": "If-Match: the thing changed since",
    "413": "The body is too large",
    "415": "The body is sent in another form",
    "422": "A field or a parameter is wrong; `errors` points at it",
    "500": "Something went wrong here",
    "503": "Not now; Retry-After says when",
}
COMMAND_PROBLEMS: Final = ("400", "404", "409", "412", "413", "415", "422", "500", "503")

PROBLEM: Final[Schema] = {
    "title": "Problem",
    "description": "What went wrong (RFC 9457). A program looks at `code`; other members depend on it.",
    "type": "object",
    "required": ["type", "title", "status", "detail", "code"],
    "properties": {
        "type": {"type": "string", "format": "uri-reference", "description": "leads to a page about the problem"},
        "title": {"type": "string"},
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": {"type": "string"},
        "code": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["detail"],
                "properties": {
                    "pointer": {"type": "string", "description": "the field, as a JSON pointer into the body"},
                    "parameter": {"type": "string", "description": "the parameter of the path, the query or the head"},
                    "detail": {"type": "string"},
                },
            },
        },
    },
}
ENTERED: Final[Schema] = {
    "type": "object",
    "required": ["event_id", "type", "position"],
    "properties": {
        "event_id": {"type": "string", "format": "uuid"},
        "type": {"type": "string", "description": "as stored: muster.pledge.announced.v1"},
        "position": {"type": "integer", "minimum": 1},
    },
}
OUTCOMES: Final[Schema] = {
    "title": "Outcome",
    "description": "What came of a command: where its stream stands, and the entries that say it.",
    "type": "object",
    "required": ["stream", "version", "position", "events", "flags"],
    "properties": {
        "stream": {"type": "string"},
        "version": {"type": "integer", "minimum": 0},
        "position": {"type": "integer", "minimum": 0},
        "events": {"type": "array", "items": ENTERED},
        "flags": {"type": "array", "items": {"type": "string"}, "description": "what is unusual about it: advice"},
    },
    "examples": [OUTCOME],
}
EVENT: Final[Schema] = {
    "title": "Event",
    "description": "A CloudEvent 1.0. Its data are described by `/schemas/<type>.json`.",
    "type": "object",
    "required": [*(name for name in CLOUD_EVENT if name != "traceparent")],
    "properties": {
        name: {"type": "object"} if name == "data" else {"type": "string", "examples": [value]}
        for name, value in CLOUD_EVENT.items()
    },
    "examples": [CLOUD_EVENT],
}
PAGE: Final[Schema] = {
    "title": "Page",
    "type": "object",
    "required": ["events", "next_after", "head"],
    "properties": {
        "events": {"type": "array", "items": {"$ref": REF.format(model="Event")}},
        "next_after": {"type": "integer", "minimum": 0, "description": "the last position looked at: ask after it"},
        "head": {"type": "integer", "minimum": 0, "description": "the log's last position"},
    },
    "examples": [{"events": [CLOUD_EVENT], "next_after": 7, "head": 7}],
}
HEADERS: Final[dict[str, Schema]] = {
    "ETag": {"description": "the version of the stream, in quotes", "schema": {"type": "string"}},
    "Ledger-Position": {"description": "the position that this answer knows of", "schema": {"type": "integer"}},
    "Location": {"description": "the thing; for what happened to it, the event", "schema": {"type": "string"}},
    "Idempotent-Replayed": {
        "description": "true, where a key came again: this is the answer it was given first",
        "schema": {"const": "true"},
    },
    "Retry-After": {"description": "seconds", "schema": {"type": "integer"}},
    "Allow": {"description": "the methods that there are", "schema": {"type": "string"}},
}


@cache
def document() -> Schema:
    """Give the whole document."""
    corrections = tuple(dict.fromkeys(CORRECTIONS.values()))
    bodies: tuple[type[Body], ...] = tuple(dict.fromkeys(route.body for route in COMMANDS if route is not CORRECT))
    _, parts = models_json_schema([(body, "validation") for body in (*bodies, *corrections)], ref_template=REF)
    schemas: Schema = without_null_defaults(parts["$defs"])
    schemas |= components() | {"Problem": PROBLEM, "Outcome": OUTCOMES, "Event": EVENT, "Page": PAGE}
    schemas["Correction"] = {
        "description": "The body of the entry anew, whole, with the reason.",
        "anyOf": [{"$ref": REF.format(model=body.__name__)} for body in corrections],
    }
    paths: dict[str, Schema] = {}
    for route in COMMANDS:
        paths.setdefault(route.path, {})[route.method.lower()] = command(route)
    for route in ROUTES:
        if route.method == "PUT":
            paths[route.path]["get"] = thing(route)
    paths |= {path: {"get": read} | paths.get(path, {}) for path, read in READS.items()}
    paths["/v1/imports"] = {"post": IMPORT}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Muster: commands",
            "version": "1",
            "summary": "Facts about coalitions, targets and pledges are recorded here, each with its sources.",
            "description": DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": said} for name, said in TAGS.items()],
        "paths": paths,
        "components": {"schemas": schemas, "responses": every_problem()},
    }


DESCRIPTION: Final = """\
Things are PUT under a name that the caller chooses; what happens to them is POSTed, with the day it happened. Every
command may be said twice: it is recorded once. The log is append-only: an entry is corrected or retracted by a later
one, and stays visible. Everything that goes wrong is answered as `application/problem+json`.
"""
TAGS: Final = {
    "pledges": "What was promised, how firm it became, what arrived.",
    "coalitions": "Parties acting together.",
    "targets": "How much of a capability, in whose scope, by when.",
    "parties": "States, organisations and funds.",
    "capabilities": "Names for what is pledged.",
    "production": "What parties made themselves.",
    "statements": "Totals that somebody stated.",
    "events": "The log, and what is said about its entries.",
    "imports": "Many commands at once.",
    "operating": "For whoever runs the service.",
}


def without_null_defaults(schema: Any) -> Any:  # noqa: ANN401  # any part of a schema
    """Leave away the defaults that say nothing: what is absent is absent."""
    if isinstance(schema, dict):
        return {
            name: without_null_defaults(part)
            for name, part in schema.items()
            if not (name == "default" and (part is None or part == []))
        }
    if isinstance(schema, list):
        return [without_null_defaults(part) for part in schema]
    return schema


def command(route: Route) -> Schema:
    """Describe a command."""
    model = "Correction" if route is CORRECT else route.body.__name__
    example = _example(CORRECTIONS[PledgeAnnounced] if route is CORRECT else route.body)
    headers = {name: HEADERS[name] for name in ("ETag", "Ledger-Position", "Location", "Idempotent-Replayed")}
    answer = {
        "headers": headers,
        "content": {JSON: {"schema": {"$ref": REF.format(model="Outcome")}, "example": OUTCOME}},
    }
    return {
        "operationId": route.operation,
        "summary": route.summary,
        "tags": [route.path.split("/")[2]],
        "parameters": [
            *in_path(route.path),
            parameters.idempotency_key(f"{route.operation}-17"),
            parameters.IF_MATCH,
            parameters.TRACEPARENT,
        ],
        "requestBody": {
            "required": True,
            "content": {JSON: {"schema": {"$ref": REF.format(model=model)}, "example": example}},
        },
        "responses": {
            "200": {"description": "It was so already", **answer},
            "201": {"description": "Recorded", **answer, "links": links(route)},
            **problems(*COMMAND_PROBLEMS),
        },
    }


def links(route: Route) -> Schema:
    """Say where a caller goes on from a command: to what else there is about the thing, and to its event."""
    names = {name: f"$request.path.{name}" for name in re.findall(r"{(\w+)}", route.path)}
    onward = [other for other in ROUTES if other is not route and other.path.startswith(f"{route.path}/")]
    own = {
        other.operation: {"operationId": other.operation, "parameters": names}
        for other in onward
        if len(re.findall(r"{(\w+)}", other.path)) == len(names) and route.method == "PUT"
    }
    event = {"event_id": "$response.body#/events/0/event_id"}
    about = {name: {"operationId": name, "parameters": event} for name in ("readEvent", *AMENDMENTS)}
    stream = {"operationId": "readStream", "parameters": {"stream": "$response.body#/stream"}}
    shown = {reading(route): {"operationId": reading(route), "parameters": names}} if route.method == "PUT" else {}
    return own | about | {"readStream": stream} | shown


AMENDMENTS: Final = tuple(route.operation for route in COMMANDS if route.entry is None)


def reading(route: Route) -> str:
    """Give the id of the operation that shows what a command made."""
    return f"read{singular(route).capitalize()}"


def singular(route: Route) -> str:
    """Say what a command makes, in one word."""
    noun = route.path.rsplit("/", 2)[1]
    return {"parties": "party", "capabilities": "capability", "deliveries": "delivery"}.get(noun, noun.rstrip("s"))


def thing(route: Route) -> Schema:
    """Describe the GET of what a command made."""
    what = singular(route)
    kinds = ["CoalitionFormed", "MemberJoined"] if what == "member" else [route.entry.__name__ if route.entry else ""]
    entry = (
        {"anyOf": [{"$ref": REF.format(model=kind)} for kind in kinds]}
        if len(kinds) > 1
        else {"$ref": REF.format(model=kinds[0])}
    )
    about = ENTERED | {"properties": ENTERED["properties"] | {"live": {"type": "boolean"}}}
    shown: Schema = {
        "type": "object",
        "required": ["stream", "version", "position", "retracted", "entry", "events"],
        "properties": {
            "stream": {"type": "string"},
            "version": {"type": "integer", "minimum": 0},
            "position": {"type": "integer", "minimum": 0},
            "retracted": {"type": "boolean", "description": "it was taken out again, and stays visible"},
            "entry": entry,
            "events": {"type": "array", "items": about},
        },
    }
    return {
        "operationId": reading(route),
        "summary": f"The {what}: its opening entry as corrected, and what was recorded about it.",
        "tags": [route.path.split("/")[2]],
        "parameters": [*in_path(route.path), parameters.IF_NONE_MATCH],
        "responses": {
            "200": {
                "description": "Here it is",
                "headers": {name: HEADERS[name] for name in ("ETag", "Ledger-Position")},
                "content": {JSON: {"schema": shown}},
            },
            "304": {"description": "It has not changed", "headers": {"ETag": HEADERS["ETag"]}},
            **problems("404", "422", "500", "503"),
        },
    }


def problems(*statuses: str) -> dict[str, Schema]:
    """Refer to the problems that may be answered."""
    return {status: {"$ref": f"#/components/responses/Problem{status}"} for status in statuses}


def every_problem() -> dict[str, Schema]:
    """Describe a problem of each status, with an example."""
    schema = {"$ref": REF.format(model="Problem")}
    return {
        f"Problem{status}": {
            "description": said,
            "headers": {"Retry-After": HEADERS["Retry-After"]} if status == "503" else {},
            "content": {MEDIA_TYPE: {"schema": schema, "example": PROBLEMS[status]}},
        }
        for status, said in STATUSES.items()
    }


def in_path(path: str) -> list[Schema]:
    """Describe the names in a path."""
    return [
        {"name": name, "in": "path", "required": True, **_spelling(name)} for name in re.findall(r"\{(\w+)\}", path)
    ]


def _spelling(name: str) -> Schema:
    spelt = NAMES.get(name)
    if spelt is None:
        return parameters.IN_PATH[name]
    return {"schema": {"type": "string", "pattern": spelt.pattern, "maxLength": spelt.most}, "example": spelt.example}


def _example(body: type[Body]) -> Any:  # noqa: ANN401  # the JSON of a body
    extra: Any = body.model_config["json_schema_extra"]
    return extra["examples"][0]


def _read(
    operation: str,
    summary: str,
    content: Mapping[str, Schema],
    *said: Schema,
    tag: str = "events",
    statuses: tuple[str, ...] = ("422", "500", "503"),
    headers: tuple[str, ...] = (),
) -> Schema:
    """Describe a GET that is no thing's."""
    return {
        "operationId": operation,
        "summary": summary,
        "tags": [tag],
        "parameters": list(said),
        "responses": {
            "200": {
                "description": "Here it is",
                "headers": {name: HEADERS[name] for name in headers},
                "content": {media: {"schema": schema} for media, schema in content.items()},
            },
            **problems(*statuses),
        },
    }


A_PAGE: Final = {JSON: {"$ref": REF.format(model="Page")}}
LINES: Final = {NDJSON: {"type": "string", "description": "an event a line"}}
TEXT: Final[Schema] = {"type": "string"}
AN_OBJECT: Final[Schema] = {"type": "object"}

READS: Final[dict[str, Schema]] = {
    "/v1/events": _read(
        "readEvents",
        "The log from a position on: a page of CloudEvents, or as NDJSON all of it.",
        A_PAGE | LINES,
        parameters.AFTER,
        parameters.LIMIT,
        *parameters.FILTERS,
        headers=("Ledger-Position",),
    ),
    "/v1/events/{event_id}": _read(
        "readEvent",
        "One event by its id.",
        {"application/cloudevents+json": {"$ref": REF.format(model="Event")}},
        *in_path("/v1/events/{event_id}"),
        statuses=("404", "500", "503"),
        headers=("ETag", "Ledger-Position"),
    ),
    "/v1/streams/{stream}/events": _read(
        "readStream",
        "The events of one stream.",
        A_PAGE,
        *in_path("/v1/streams/{stream}/events"),
        parameters.AFTER,
        parameters.LIMIT,
        statuses=("404", "422", "500", "503"),
        headers=("Ledger-Position",),
    ),
    "/v1/stream": _read(
        "followEvents",
        "The log live: server-sent events from a position on, with the position as their id.",
        {"text/event-stream": TEXT | {"description": "`event: caught-up` comes when the past is done"}},
        parameters.AFTER,
        parameters.LAST_EVENT_ID,
        *parameters.FILTERS,
        statuses=("422", "500"),
    ),
    "/healthz": _read("isAlive", "Whether the process runs.", {JSON: AN_OBJECT}, tag="operating", statuses=("500",)),
    "/readyz": _read(
        "isReady",
        "Whether commands can be recorded, and why not.",
        {JSON: AN_OBJECT},
        tag="operating",
        statuses=("500", "503"),
    ),
    "/metrics": _read(
        "readMetrics", "Metrics for Prometheus.", {"text/plain": TEXT}, tag="operating", statuses=("500",)
    ),
    "/openapi.json": _read("describeCommands", "This document.", {JSON: AN_OBJECT}, tag="operating", statuses=("500",)),
    "/asyncapi.json": _read(
        "describeStream",
        "The AsyncAPI document of the event stream.",
        {JSON: AN_OBJECT},
        tag="operating",
        statuses=("500",),
    ),
    "/schemas/{type}.json": _read(
        "describeEvent",
        "The JSON Schema of a type of event.",
        {"application/schema+json": AN_OBJECT},
        *in_path("/schemas/{type}.json"),
        tag="operating",
        statuses=("404", "500"),
    ),
    "/docs": _read(
        "readDocs", "A page that lists all of this.", {"text/html": TEXT}, tag="operating", statuses=("500",)
    ),
    "/problems/{code}": _read(
        "readProblem",
        "A page about a problem: its `type` leads there.",
        {"text/html": TEXT},
        *in_path("/problems/{code}"),
        tag="operating",
        statuses=("404", "500"),
    ),
}

IMPORT: Final[Schema] = {
    "operationId": "importCommands",
    "summary": "Many commands, a line each; one bad line stops nothing else.",
    "description": "Up to 5,000 lines of up to 256 KiB. Lines are taken in their order, and answered in it.",
    "tags": ["imports"],
    "requestBody": {
        "required": True,
        "content": {
            NDJSON: {
                "schema": TEXT,
                "example": msgspec.json.encode(
                    {"do": "PUT /v1/pledges/gbr-fpv", "body": _example(ROUTES[0].body)}
                ).decode()
                + "\n",
            }
        },
    },
    "responses": {
        "200": {
            "description": "A line for each command: `line`, `do`, `status`, and its `outcome` or `problem`",
            "content": {
                NDJSON: {
                    "schema": TEXT,
                    "example": msgspec.json.encode(
                        {"line": 1, "do": "PUT /v1/pledges/gbr-fpv", "status": 201, "outcome": OUTCOME}
                    ).decode()
                    + "\n",
                }
            },
        },
        **problems("415", "500", "503"),
    },
}
