"""JSON Schemas of the events, made from their classes: what is published fits them."""

from __future__ import annotations

from functools import cache
from inspect import cleandoc
from typing import Any, Final

import msgspec

from shared.cloudevent import schema
from shared.events import EVENT_TYPES, Amendment, Entry, stored_name
from shared.events.amendments import EntryCorrected

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
COMPONENT: Final = "#/components/schemas/{name}"
DEFINITION: Final = "#/$defs/{name}"

Schema = dict[str, Any]


@cache
def schema_of(name: str) -> Schema:
    """Give the JSON Schema of an event's data, by its stored name."""
    event = EVENT_TYPES[name]
    events = tuple(EVENT_TYPES.values()) if event is EntryCorrected else (event,)
    parts = _parts(events, DEFINITION)
    described = parts.pop(event.__name__)
    if event is EntryCorrected:
        for other in (other for other in events if issubclass(other, Amendment) and other is not event):
            parts.pop(other.__name__)
    return {"$schema": DIALECT, "$id": schema(name), **described, "$defs": parts}


@cache
def components() -> dict[str, Schema]:
    """Give the schemas of all events and of what they are made of, as components of one document."""
    return _parts(tuple(EVENT_TYPES.values()), COMPONENT)


def _parts(events: tuple[type[Entry], ...], reference: str) -> dict[str, Schema]:
    _, parts = msgspec.json.schema_components(events, ref_template=reference)
    found = {name: _tidied(part) for name, part in parts.items() if name != Entry.__name__}
    if EntryCorrected.__name__ in found:
        _correction(found[EntryCorrected.__name__], reference)
    return found


def _correction(part: Schema, reference: str) -> None:
    """Say what a corrected entry says instead: an entry of its own type."""
    kinds = [event for event in EVENT_TYPES.values() if not issubclass(event, Amendment)]
    part["properties"]["now"] = {"type": "object", "description": "the entry as it is now known, whole"}
    part["properties"]["entry_type"] = {"enum": [stored_name(kind) for kind in kinds]}
    part["allOf"] = [
        {
            "if": {"properties": {"entry_type": {"const": stored_name(kind)}}},
            "then": {"properties": {"now": {"$ref": reference.format(name=kind.__name__)}}},
        }
        for kind in kinds
    ]


def _tidied(part: Schema) -> Schema:
    """Write the description as it reads; an absent field is not written, so defaults of nothing say nothing."""
    tidy: Schema = {**part, "description": cleandoc(part.get("description", ""))}
    tidy["properties"] = {
        name: {key: value for key, value in field.items() if key != "default" or value not in (None, [])}
        for name, field in part.get("properties", {}).items()
    }
    return tidy
