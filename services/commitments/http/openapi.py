"""The OpenAPI 3.1 document, made from the table of commands, the bodies' models and the handlers."""

from __future__ import annotations

import re
from functools import cache
from typing import Any, Final

from pydantic.json_schema import models_json_schema

from services.commitments.http.commands import COMMANDS, CORRECT, CORRECTIONS, NAMES, Route
from services.commitments.http.forms import Body
from services.commitments.http.problems import MEDIA_TYPE

REF: Final = "#/components/schemas/{model}"
PROBLEM: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "code"],
    "properties": {
        "type": {"type": "string", "description": "a url of this service that explains the problem"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string"},
        "errors": {"type": "array", "items": {"type": "object", "additionalProperties": {"type": "string"}}},
    },
}
OUTCOME: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["stream", "version", "position", "events", "flags"],
    "properties": {
        "stream": {"type": "string", "examples": ["pledge-gbr-fpv"]},
        "version": {"type": "integer"},
        "position": {"type": "integer"},
        "events": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "event_id": {"type": "string", "format": "uuid"},
                    "type": {"type": "string"},
                    "position": {"type": "integer"},
                },
            },
        },
        "flags": {"type": "array", "items": {"type": "string"}, "examples": [["not-a-member"]]},
    },
}
STATUSES: Final = {
    "400": "The body is not JSON, or the head cannot be read",
    "404": "There is nothing by a name in the path",
    "409": "A rule of the ledger stands against it; `code` says which",
    "412": "If-Match: the thing changed since",
    "413": "The body is above 256 KiB",
    "415": "The body is not sent as application/json",
    "422": "A field is wrong; `errors` points at it",
    "503": "Not now; Retry-After says when",
}
READS: Final[tuple[tuple[str, str, str], ...]] = (
    ("/v1/events", "readEvents", "The log from a position on: CloudEvents, a page or (as NDJSON) all of it."),
    ("/v1/events/{event_id}", "readEvent", "One event by its id."),
    ("/v1/streams/{stream}/events", "readStream", "The events of one stream."),
    ("/v1/stream", "followEvents", "The log live, as server-sent events."),
    ("/healthz", "isAlive", "Whether the process runs."),
    ("/readyz", "isReady", "Whether commands can be recorded, and why not."),
    ("/metrics", "readMetrics", "Metrics for Prometheus."),
    ("/asyncapi.json", "describeStream", "The AsyncAPI document of the event stream."),
    ("/schemas/{type}.json", "describeEvent", "The JSON Schema of a type of event."),
)
PARAMETERS: Final[dict[str, list[tuple[str, dict[str, Any], str]]]] = {
    "/v1/events": [
        ("after", {"type": "integer", "minimum": 0}, "give what comes after this position"),
        ("limit", {"type": "integer", "minimum": 1, "maximum": 1000}, "at most so many"),
        ("stream", {"type": "string"}, "only of this stream"),
        ("type", {"type": "string"}, "only of this type"),
        ("coalition", {"type": "string"}, "only about this coalition"),
        ("party", {"type": "string"}, "only about this party"),
    ],
}
PARAMETERS["/v1/stream"] = [parameter for parameter in PARAMETERS["/v1/events"] if parameter[0] != "limit"]
PARAMETERS["/v1/streams/{stream}/events"] = PARAMETERS["/v1/events"][:2]
MEDIA: Final = {
    "/v1/stream": "text/event-stream",
    "/metrics": "text/plain",
    "/v1/events/{event_id}": "application/cloudevents+json",
    "/schemas/{type}.json": "application/schema+json",
}


@cache
def document() -> dict[str, Any]:
    """Give the whole document."""
    corrections = tuple(dict.fromkeys(CORRECTIONS.values()))
    bodies: tuple[type[Body], ...] = tuple(dict.fromkeys(route.body for route in COMMANDS if route is not CORRECT))
    references, parts = models_json_schema([(body, "validation") for body in (*bodies, *corrections)], ref_template=REF)
    schemas = parts["$defs"] | {"Problem": PROBLEM, "Outcome": OUTCOME}
    paths: dict[str, dict[str, Any]] = {}
    for route in COMMANDS:
        schema: dict[str, Any] = (
            {"anyOf": [references[body, "validation"] for body in corrections]}
            if route is CORRECT
            else references[route.body, "validation"]
        )
        paths.setdefault(route.path, {})[route.method.lower()] = _command(route, schema)
    for path in [path for path, methods in paths.items() if "put" in methods]:
        paths[path]["get"] = _read(
            path, f"read{paths[path]['put']['operationId'][0].upper()}{_rest(paths[path])}", "It, as it stands."
        )
    for path, operation, summary in READS:
        paths.setdefault(path, {})["get"] = _read(path, operation, summary)
    paths["/v1/imports"] = {"post": _imports()}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Muster: commands",
            "version": "1",
            "description": "Facts about coalitions, targets and pledges are recorded here, each with its sources.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {"schemas": schemas},
    }


def _rest(methods: dict[str, Any]) -> str:
    operation: str = methods["put"]["operationId"]
    return operation[1:]


def _command(route: Route, schema: dict[str, Any]) -> dict[str, Any]:
    headers = {
        "ETag": {"description": "the version of the stream, in quotes", "schema": {"type": "string"}},
        "Ledger-Position": {"schema": {"type": "integer"}},
        "Location": {"schema": {"type": "string"}},
    }
    answer = {"content": {"application/json": {"schema": {"$ref": REF.format(model="Outcome")}}}, "headers": headers}
    return {
        "operationId": route.operation,
        "summary": route.summary,
        "tags": [route.path.split("/")[2]],
        "parameters": [
            *_in_path(route.path),
            {
                "name": "Idempotency-Key",
                "in": "header",
                "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
                "description": "the same key with the same body gets the same answer, also years later",
            },
            {
                "name": "If-Match",
                "in": "header",
                "schema": {"type": "string", "pattern": '^"[0-9]{1,9}"$'},
                "description": "the version that the stream must have",
            },
        ],
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
        "responses": {
            "200": {"description": "It was so already", **answer},
            "201": {"description": "Recorded", **answer},
            **_problems(*STATUSES),
        },
    }


def _read(path: str, operation: str, summary: str) -> dict[str, Any]:
    media = MEDIA.get(path, "application/json")
    statuses = ["404", "503"] if "{" in path else ["503"]
    statuses += ["422"] if path.startswith("/v1/") else []
    return {
        "operationId": operation,
        "summary": summary,
        "tags": ["reading" if path.startswith("/v1/") else "operating"],
        "parameters": [
            *_in_path(path),
            *(
                {"name": name, "in": "query", "schema": schema, "description": said}
                for name, schema, said in PARAMETERS.get(path, [])
            ),
        ],
        "responses": {"200": {"description": "Here it is", "content": {media: {}}}, **_problems(*statuses)},
    }


def _imports() -> dict[str, Any]:
    return {
        "operationId": "importCommands",
        "summary": "Many commands, a line each; one bad line stops nothing else.",
        "tags": ["imports"],
        "requestBody": {
            "required": True,
            "content": {"application/x-ndjson": {"schema": {"type": "string"}}},
        },
        "responses": {
            "200": {
                "description": "A line of JSON for each command: line, do, status, and outcome or problem",
                "content": {"application/x-ndjson": {"schema": {"type": "string"}}},
            },
            **_problems("415", "503"),
        },
    }


def _problems(*statuses: str) -> dict[str, Any]:
    content = {MEDIA_TYPE: {"schema": {"$ref": REF.format(model="Problem")}}}
    return {status: {"description": STATUSES[status], "content": content} for status in statuses}


def _in_path(path: str) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": _spelling(name)}
        for name in re.findall(r"\{(\w+)\}", path)
    ]


def _spelling(name: str) -> dict[str, Any]:
    spelt = NAMES.get(name)
    if spelt is None:
        return {"type": "string", "minLength": 1}
    return {"type": "string", "pattern": spelt.pattern, "maxLength": spelt.most, "examples": [spelt.example]}
