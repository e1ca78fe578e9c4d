"""Answers as the OpenAPI document shows them."""

from __future__ import annotations

from typing import Any, Final

from services.commitments.domain.refusals import AlreadyRecorded, StaleVersion, Unknown, UnknownName
from services.commitments.handling import Unavailable
from services.commitments.http.problems import Told, problem, refused, too_long

EVENT_ID: Final = "019a0f6e-7c1b-7d3a-9e55-0f4c2b8a1d10"

OUTCOME: Final[dict[str, Any]] = {
    "stream": "pledge-gbr-fpv",
    "version": 1,
    "position": 7,
    "events": [{"event_id": EVENT_ID, "type": "muster.pledge.announced.v1", "position": 7}],
    "flags": ["not-a-member"],
}
CLOUD_EVENT: Final[dict[str, Any]] = {
    "specversion": "1.0",
    "id": EVENT_ID,
    "source": "/muster/ledger",
    "type": "muster.pledge.announced.v1",
    "subject": "pledge-gbr-fpv",
    "time": "2026-11-23T10:15:30.000000Z",
    "datacontenttype": "application/json",
    "dataschema": "urn:muster:pledge:announced:v1",
    "position": "7",
    "streamversion": "1",
    "happenedon": "2024-02-15",
    "reportedon": "2024-02-15",
    "recordedby": "anonymous",
    "data": {
        "pledge": "gbr-fpv",
        "donors": [{"party": "GBR"}],
        "capability": "drone.fpv",
        "announced_on": "2024-02-15",
        "amount": {"unit": "piece", "qualifier": "words", "low": "2000", "high": None, "words": "thousands"},
        "new_money": True,
        "sources": [{"url": "https://example.org/news/drones"}],
    },
}

TOLD: Final[tuple[Told, ...]] = (
    problem("not-json", "the body is not JSON: NaN is no number of JSON").told,
    refused(Unknown("pledge-gbr-fpv")),
    refused(AlreadyRecorded("pledge gbr-fpv", ["amount"])),
    refused(StaleVersion("pledge-gbr-fpv", 1, 2)),
    too_long("what is above 256 KiB").told,
    problem("not-json-type", "the body is sent as application/json in UTF-8; this one says text/plain").told,
    refused(UnknownName("party-GRB", "/donors/0/party", ["GBR"])),
    problem("internal", "the request could not be answered; what happened is in this service's log").told,
    problem("unavailable", str(Unavailable("the log cannot be read now"))).told,
)
PROBLEMS: Final = {str(told.status): told.json() for told in TOLD}
"""A problem of each status."""
