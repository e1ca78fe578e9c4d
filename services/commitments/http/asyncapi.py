"""The event stream described: a JSON Schema per type of event, and an AsyncAPI 3.0 document, made from the classes."""

from __future__ import annotations

from functools import cache
from typing import Any, Final

import msgspec

from shared.cloudevent import JSON, schema
from shared.events import EVENT_TYPES, Entry
from shared.subjects import everything, stream_name

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
ATTRIBUTES: Final = (
    "specversion", "id", "source", "type", "subject", "time", "datacontenttype", "dataschema", "position",
    "streamversion", "happenedon", "reportedon", "recordedby",
)  # fmt: skip


@cache
def schema_of(name: str) -> dict[str, Any]:
    """Give the JSON Schema of an event's data."""
    event = EVENT_TYPES[name]
    (reference,), parts = msgspec.json.schema_components([event], ref_template="#/$defs/{name}")
    described = parts.pop(event.__name__, None) or reference
    title = (event.__doc__ or "").strip().splitlines()[0]
    return {"$schema": DIALECT, "$id": schema(name), "description": title, **described, "$defs": parts}


def asyncapi(ledger: str) -> dict[str, Any]:
    """Give the AsyncAPI document of a ledger's stream."""
    messages = {
        name: {
            "name": name,
            "title": event.TYPE,
            "summary": _first_line(event),
            "contentType": JSON,
            "headers": {
                "type": "object",
                "required": [f"ce-{attribute}" for attribute in ATTRIBUTES],
                "properties": {f"ce-{attribute}": {"type": "string"} for attribute in ATTRIBUTES},
            },
            "payload": {"$ref": f"/schemas/{name}.json"},
        }
        for name, event in EVENT_TYPES.items()
    }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": f"Muster: the event stream of {ledger}",
            "version": "1",
            "description": f"CloudEvents in binary mode in JetStream's {stream_name(ledger)}; sequence == position.",
        },
        "defaultContentType": JSON,
        "channels": {
            "ledger": {
                "address": everything(ledger),
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
            }
        },
        "operations": {"follow": {"action": "receive", "channel": {"$ref": "#/channels/ledger"}}},
        "components": {"messages": messages},
    }


def _first_line(event: type[Entry]) -> str:
    return (event.__doc__ or "").strip().splitlines()[0]
