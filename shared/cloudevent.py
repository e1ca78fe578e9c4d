"""An event as others see it: CloudEvents 1.0, as NATS headers (binary mode) or as one JSON object (structured)."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from functools import cache, lru_cache
from typing import Any, Final, Protocol
from urllib.parse import quote, unquote

import msgspec

from shared.codec import decode
from shared.recorded import Recorded

JSON: Final = "application/json"
PLAIN: Final = " !#$&'()*+,-./:;<=>?@[]^_`{|}~"
"""What stands as it is in a header value; the CloudEvents HTTP binding percent-encodes the rest, `"` and `%` too."""

_PLAIN: Final = re.compile(f"[A-Za-z0-9{re.escape(PLAIN)}]*")


class Columns(Protocol):
    """What is told of an event beside its data: `Recorded` has it, and so has a row of the log, undecoded."""

    @property
    def position(self) -> int: ...
    @property
    def stream(self) -> str: ...
    @property
    def version(self) -> int: ...
    @property
    def event_id(self) -> str: ...
    @property
    def type(self) -> str: ...
    @property
    def happened_on(self) -> date: ...
    @property
    def reported_on(self) -> date: ...
    @property
    def recorded_at(self) -> datetime: ...
    @property
    def recorded_by(self) -> str: ...
    @property
    def payload(self) -> bytes: ...
    @property
    def traceparent(self) -> str | None: ...


def source(ledger: str) -> str:
    """Give the CloudEvents source of a ledger."""
    return f"/muster/{ledger}"


@cache
def schema(event_type: str) -> str:
    """Give the urn of an event type's JSON Schema."""
    return f"urn:{event_type.replace('.', ':')}"


@lru_cache(256)  # all events of a batch were recorded at one instant
def instant(at: datetime) -> str:
    """Write an instant as RFC 3339 in UTC, to the microsecond."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def attributes(event: Columns, ledger: str) -> dict[str, str]:
    """Give every attribute but the data; extensions are strings."""
    found = {
        "specversion": "1.0",
        "id": event.event_id,
        "source": source(ledger),
        "type": event.type,
        "subject": event.stream,
        "time": instant(event.recorded_at),
        "datacontenttype": JSON,
        "dataschema": schema(event.type),
        "position": str(event.position),
        "streamversion": str(event.version),
        "happenedon": event.happened_on.isoformat(),
        "reportedon": event.reported_on.isoformat(),
        "recordedby": event.recorded_by,
    }
    if event.traceparent is not None:
        found["traceparent"] = event.traceparent
    return found


def headers(event: Columns, ledger: str) -> dict[str, str]:
    """Give the NATS headers of binary mode: `ce-` and the attribute, percent-encoded where a header needs it."""
    return {f"ce-{name}": _written(value) for name, value in attributes(event, ledger).items()}


def header_lines(event: Columns, ledger: str) -> str:
    """Write the same headers as they stand in a message, each line with its end: for who publishes many."""
    trace = "" if event.traceparent is None else f"ce-traceparent: {_written(event.traceparent)}\r\n"
    return (
        f"ce-specversion: 1.0\r\nce-id: {event.event_id}\r\nce-source: {source(ledger)}\r\nce-type: {event.type}\r\n"
        f"ce-subject: {_written(event.stream)}\r\nce-time: {instant(event.recorded_at)}\r\n"
        f"ce-datacontenttype: {JSON}\r\nce-dataschema: {schema(event.type)}\r\n"
        f"ce-position: {event.position}\r\nce-streamversion: {event.version}\r\n"
        f"ce-happenedon: {event.happened_on}\r\nce-reportedon: {event.reported_on}\r\n"
        f"ce-recordedby: {_written(event.recorded_by)}\r\n{trace}"
    )


def _written(value: str) -> str:
    return value if _PLAIN.fullmatch(value) else quote(value, safe=PLAIN)


def structured(event: Columns, ledger: str) -> bytes:
    """Write the event as one JSON object; the data are the stored bytes."""
    return msgspec.json.encode(attributes(event, ledger) | {"data": msgspec.Raw(event.payload)})


def from_headers(found: dict[str, str], payload: bytes) -> Recorded:
    """Read an event back from its NATS message. Raises KeyError or ValueError if it is not one of ours."""
    return from_attributes(
        {name[3:]: unquote(value) for name, value in found.items() if name.startswith("ce-")}, payload
    )


def from_attributes(found: dict[str, Any], payload: bytes) -> Recorded:
    """Read an event back from its attributes and its data."""
    return Recorded(
        position=int(found["position"]),
        stream=found["subject"],
        version=int(found["streamversion"]),
        event_id=found["id"],
        type=found["type"],
        happened_on=date.fromisoformat(found["happenedon"]),
        reported_on=date.fromisoformat(found["reportedon"]),
        recorded_at=datetime.fromisoformat(found["time"]),
        recorded_by=found["recordedby"],
        event=decode(found["type"], payload),
        payload=payload,
        traceparent=found.get("traceparent"),
    )
