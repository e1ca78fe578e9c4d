"""The event stream described: an AsyncAPI 3.0 document, made from the classes of the events."""

from __future__ import annotations

from typing import Any, Final

from shared.cloudevent import JSON
from shared.events import EVENT_TYPES, Entry
from shared.subjects import MULTI, NONE, everything, stream_name

ATTRIBUTES: Final = (
    "specversion", "id", "source", "type", "subject", "time", "datacontenttype", "dataschema", "position",
    "streamversion", "happenedon", "reportedon", "recordedby",
)  # fmt: skip


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
                "address": everything(ledger).replace(">", "{family}.{what}.{coalition}.{id}"),
                "parameters": {
                    "family": {"description": "what it is about: pledge, coalition, target ..."},
                    "what": {"description": "what happened: announced, delivery_reported ..."},
                    "coalition": {"description": f"the coalition's id; {NONE} for none, {MULTI} for several"},
                    "id": {"description": "the thing's id; one with dots is several tokens"},
                },
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
            }
        },
        "operations": {"follow": {"action": "receive", "channel": {"$ref": "#/channels/ledger"}}},
        "components": {"messages": messages},
    }


def _first_line(event: type[Entry]) -> str:
    return (event.__doc__ or "").strip().splitlines()[0]
