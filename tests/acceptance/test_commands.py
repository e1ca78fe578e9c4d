"""Commands over HTTP: recorded, said twice, corrected, retracted, imported; and the log as a feed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from starlette.testclient import TestClient

from services.commitments.http.commands import COMMANDS
from shared.events import EVENT_TYPES

SOURCES = [{"url": "https://example.org/news", "published_on": "2024-02-15"}]
PLEDGE: dict[str, Any] = {
    "donors": [{"party": "GBR"}],
    "capability": "drone.fpv",
    "amount": {"unit": "piece", "words": "thousands"},
    "announced_on": "2024-02-15",
    "sources": SOURCES,
}
COALITION: dict[str, Any] = {
    "name": "Drone Coalition",
    "formed_on": "2024-02-14",
    "beneficiary": "UKR",
    "members": [{"party": "LVA", "role": "lead"}, {"party": "GBR", "role": "lead", "on": "2024-02-15"}],
    "sources": SOURCES,
}


def head(client: TestClient) -> int:
    position: int = client.get("/v1/events").json()["head"]
    return position


def imported(client: TestClient, sent: bytes) -> list[dict[str, Any]]:
    answer = client.post("/v1/imports", content=sent, headers={"Content-Type": "application/x-ndjson"})
    return [json.loads(line) for line in answer.text.splitlines()]


def test_a_recorded_command_answers_where_it_stands(commands: TestClient) -> None:
    answer = commands.put("/v1/pledges/gbr-fpv", json=PLEDGE)
    assert answer.status_code == 201
    outcome = answer.json()
    assert (outcome["stream"], outcome["version"], outcome["position"], outcome["flags"]) == (
        "pledge-gbr-fpv",
        1,
        1,
        [],
    )
    assert outcome["events"][0]["type"] == "muster.pledge.announced.v1"
    assert answer.headers["etag"] == '"1"'
    assert answer.headers["ledger-position"] == "1"
    assert answer.headers["location"] == "/v1/pledges/gbr-fpv"


def test_saying_it_twice_changes_nothing(commands: TestClient) -> None:
    first = commands.put("/v1/pledges/x", json=PLEDGE)
    body = {
        "amount": {"unit": "piece", "exactly": "10000"},
        "on": "2024-03-06",
        "reason": "counted",
        "sources": SOURCES,
    }
    revised = commands.post("/v1/pledges/x/revise", json=body)
    again = commands.put("/v1/pledges/x", json=PLEDGE)
    assert (again.status_code, again.json()) == (200, first.json())
    body["amount"] = {"unit": "piece", "exactly": "10000.0"}
    repeated = commands.post("/v1/pledges/x/revise", json=dict(reversed(list(body.items()))))
    assert (repeated.status_code, repeated.json()) == (200, revised.json())
    assert head(commands) == 2


def test_an_idempotency_key_stands_for_one_request(commands: TestClient) -> None:
    key = {"Idempotency-Key": "a key"}
    first = commands.put("/v1/pledges/x", json=PLEDGE, headers=key)
    again = commands.put("/v1/pledges/x", json=PLEDGE, headers=key)
    assert (again.status_code, again.json()) == (201, first.json())
    assert again.headers["idempotent-replayed"] == "true"
    other = commands.put("/v1/pledges/y", json=PLEDGE, headers=key)
    assert (other.status_code, other.json()["code"]) == (422, "key-reused")
    assert commands.put("/v1/pledges/x", json=PLEDGE, headers={"Idempotency-Key": "another"}).status_code == 200
    assert head(commands) == 1


def test_a_thing_shows_its_opening_entry_as_corrected(commands: TestClient) -> None:
    event = commands.put("/v1/pledges/x", json=PLEDGE).json()["events"][0]["event_id"]
    now = PLEDGE | {"amount": {"unit": "piece", "at_least": "3000"}, "reason": "misread"}
    assert commands.post(f"/v1/events/{event}/correct", json=now).status_code == 201
    thing = commands.get("/v1/pledges/x")
    assert thing.headers["etag"] == '"2"'
    shown = thing.json()["entry"]["amount"]
    assert (shown["low"], shown["high"], shown["about"]) == ("3000", None, False)
    assert commands.get("/v1/pledges/x", headers={"If-None-Match": '"2"'}).status_code == 304


def test_a_retracted_name_stays_used(commands: TestClient) -> None:
    event = commands.put("/v1/pledges/x", json=PLEDGE).json()["events"][0]["event_id"]
    assert commands.post(f"/v1/events/{event}/retract", json={"reason": "never said"}).status_code == 201
    refused = commands.put("/v1/pledges/x", json=PLEDGE, headers={"Idempotency-Key": "new"})
    assert (refused.status_code, refused.json()["code"]) == (409, "retracted")
    assert commands.get("/v1/pledges/x").json()["retracted"]


def test_what_others_name_is_not_retracted(commands: TestClient) -> None:
    event = commands.put("/v1/coalitions/drones", json=COALITION).json()["events"][0]["event_id"]
    commands.put("/v1/pledges/x", json=PLEDGE | {"coalition": "drones"})
    refused = commands.post(f"/v1/events/{event}/retract", json={"reason": "never was"})
    assert (refused.status_code, refused.json()["code"], len(refused.json()["entries"])) == (409, "still-stands", 1)


def test_members_and_deliveries_share_their_streams_version(commands: TestClient) -> None:
    commands.put("/v1/coalitions/drones", json=COALITION)
    joined = commands.put(
        "/v1/coalitions/drones/members/DNK", json={"role": "member", "on": "2024-02-14", "sources": SOURCES}
    )
    assert joined.headers["etag"] == '"2"'
    changed = commands.put(
        "/v1/coalitions/drones/members/DNK",
        json={"role": "member", "instrument": "mou", "on": "2024-07-11", "sources": SOURCES},
    )
    assert changed.json()["events"][0]["type"] == "muster.coalition.member_changed.v1"
    assert commands.get("/v1/coalitions/drones/members/DNK").headers["etag"] == '"3"'
    assert commands.get("/v1/coalitions/drones/members/LVA").status_code == 200
    assert commands.get("/v1/coalitions/drones/members/FRA").status_code == 404


def test_flags_tell_what_is_unusual(commands: TestClient) -> None:
    commands.put("/v1/coalitions/drones", json=COALITION)
    answer = commands.put("/v1/pledges/x", json=PLEDGE | {"coalition": "drones", "donors": [{"party": "FRA"}]})
    assert answer.json()["flags"] == ["not-a-member"]


def test_the_feed_gives_cloudevents_from_any_position(commands: TestClient) -> None:
    commands.put("/v1/coalitions/drones", json=COALITION)
    for name in ("a", "b", "c"):
        commands.put(f"/v1/pledges/{name}", json=PLEDGE | {"coalition": "drones"})
    page = commands.get("/v1/events?after=1&limit=2").json()
    assert ([event["position"] for event in page["events"]], page["next_after"], page["head"]) == (["2", "3"], 3, 4)
    for event in page["events"]:
        read = JSONFormat().read(CloudEvent, json.dumps(event))
        assert read.get_subject() == event["subject"]
    lines = commands.get("/v1/events", headers={"Accept": "application/x-ndjson"}).text.splitlines()
    assert [json.loads(line)["position"] for line in lines] == ["1", "2", "3", "4"]
    assert len(commands.get("/v1/events?type=muster.pledge.announced.v1&party=GBR").json()["events"]) == 3
    assert len(commands.get("/v1/events?coalition=drones").json()["events"]) == 4
    assert len(commands.get("/v1/events?stream=pledge-b").json()["events"]) == 1
    assert commands.get(f"/v1/events/{page['events'][0]['id']}").json() == page["events"][0]


def test_an_import_answers_every_line_and_one_bad_line_stops_nothing(commands: TestClient) -> None:
    wanted = [
        {"do": "PUT /v1/coalitions/drones", "body": COALITION},
        {"do": "PUT /v1/pledges/a", "body": PLEDGE | {"coalition": "drones"}},
        {"do": "PUT /v1/pledges/b", "body": PLEDGE | {"coalition": "nope"}},
        {"do": "DELETE /v1/pledges/a", "body": {}},
        {"do": "POST /v1/pledges/a/withdraw", "body": {"on": "2024-05-01", "reason": "r", "sources": SOURCES}},
    ]
    sent = b"\n".join([*(json.dumps(line).encode() for line in wanted), b"{not json", b""])
    headers = {"Content-Type": "application/x-ndjson"}
    answers = [
        json.loads(line) for line in commands.post("/v1/imports", content=sent, headers=headers).text.splitlines()
    ]
    assert [answer["status"] for answer in answers] == [201, 201, 422, 405, 201, 400]
    assert [answer["line"] for answer in answers] == [1, 2, 3, 4, 5, 6]
    again = imported(commands, sent)
    assert [answer["status"] for answer in again] == [200, 200, 422, 405, 200, 400]
    assert head(commands) == 3


def test_an_import_takes_five_thousand_lines(commands: TestClient) -> None:
    line = json.dumps(
        {"do": "PUT /v1/parties/NATO", "body": {"name": "NATO", "kind": "organisation", "sources": SOURCES}}
    )
    sent = "\n".join([line] * 5_002)
    answers = commands.post(
        "/v1/imports", content=sent, headers={"Content-Type": "application/x-ndjson"}
    ).text.splitlines()
    assert len(answers) == 5_001
    assert (json.loads(answers[-1])["line"], json.loads(answers[-1])["status"]) == (5_001, 413)
    assert head(commands) == 1


def test_the_documents_describe_every_command_and_every_event(commands: TestClient) -> None:
    document = commands.get("/openapi.json").json()
    for route in COMMANDS:
        assert document["paths"][route.path][route.method.lower()]["operationId"] == route.operation
    stream = commands.get("/asyncapi.json").json()
    assert set(stream["components"]["messages"]) == set(EVENT_TYPES)
    for name in EVENT_TYPES:
        assert commands.get(f"/schemas/{name}.json").json()["type"] == "object"
    assert commands.get("/docs").status_code == 200
    assert "muster_http_requests" in commands.get("/metrics").text


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_it_says_that_it_is_well(commands: TestClient, path: str) -> None:
    assert commands.get(path).status_code == 200
