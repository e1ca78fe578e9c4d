"""Bad input gets its own clear problem, and nothing is recorded."""

from __future__ import annotations

import json
from typing import Any

import pytest
from starlette.testclient import TestClient

PLEDGE: dict[str, Any] = {
    "donors": [{"party": "GBR"}],
    "capability": "drone.fpv",
    "amount": {"unit": "piece", "exactly": "500"},
    "announced_on": "2024-02-15",
    "sources": [{"url": "https://example.org/news"}],
}
JSON = {"Content-Type": "application/json"}
AGAIN = {"kind": "restates", "of": ["y"]}
MORE = {"amount": {"unit": "piece", "exactly": "6"}, "reason": "more", "on": "2024-03-01", "sources": PLEDGE["sources"]}
ENDS = {"on": "2024", "reason": "r", "sources": PLEDGE["sources"]}


def head(client: TestClient) -> int:
    position: int = client.get("/v1/events").json()["head"]
    return position


def put(client: TestClient, body: Any, *, name: str = "x", **headers: str) -> Any:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return client.put(f"/v1/pledges/{name}", content=content, headers=JSON | headers)


def amount(**said: Any) -> dict[str, Any]:
    return PLEDGE | {"amount": {"unit": "piece"} | said}


WRONG: dict[str, tuple[Any, int, str, str | None]] = {
    "not JSON": (b"{donors", 400, "not-json", None),
    "an empty body": (b"", 400, "not-json", None),
    "NaN": (b'{"amount": {"unit": "piece", "exactly": NaN}}', 400, "not-json", None),
    "a name twice": (b'{"note": "a", "note": "b"}', 400, "not-json", None),
    "no object": ([1], 422, "invalid", ""),
    "an unknown field": (PLEDGE | {"colour": "red"}, 422, "invalid", "/colour"),
    "a float": (amount(exactly=5.5), 422, "invalid", "/amount/exactly"),
    "a number, not a string": (amount(exactly=5), 422, "invalid", "/amount/exactly"),
    "a negative number": (amount(exactly="-5"), 422, "invalid", "/amount/exactly"),
    "NaN as a string": (amount(exactly="NaN"), 422, "invalid", "/amount/exactly"),
    "Infinity": (amount(exactly="Infinity"), 422, "invalid", "/amount/exactly"),
    "an exponent": (amount(exactly="1e6"), 422, "invalid", "/amount/exactly"),
    "two qualifiers": (amount(exactly="5", about="5"), 422, "invalid", "/amount"),
    "no qualifier": (amount(), 422, "invalid", "/amount"),
    "words that say no number": (amount(words="plenty"), 422, "invalid", "/amount"),
    "between upside down": (amount(between=["6", "4"]), 422, "invalid", "/amount"),
    "an unknown unit": (PLEDGE | {"amount": {"unit": "drones", "exactly": "5"}}, 422, "invalid", "/amount/unit"),
    "an unknown party": (PLEDGE | {"donors": [{"party": "GRB"}]}, 422, "unknown-name", "/donors/0/party"),
    "an unknown coalition": (PLEDGE | {"coalition": "dron"}, 422, "unknown-name", "/coalition"),
    "an unknown pledge": (
        PLEDGE | {"relation": {"kind": "restates", "of": ["y"]}},
        422,
        "unknown-name",
        "/relation/of/0",
    ),
    "NUL in a text": (PLEDGE | {"note": "a\0b"}, 422, "invalid", "/note"),
    "a day that does not exist": (PLEDGE | {"announced_on": "2023-02-29"}, 422, "invalid", "/announced_on"),
    "a day in another form": (PLEDGE | {"announced_on": "15.02.2024"}, 422, "invalid", "/announced_on"),
    "no source": (PLEDGE | {"sources": []}, 422, "invalid", "/sources"),
    "a source of nothing": (PLEDGE | {"sources": [{"quote": "thousands"}]}, 422, "invalid", "/sources/0"),
    "a javascript url": (PLEDGE | {"sources": [{"url": "javascript:alert(1)"}]}, 422, "invalid", "/sources/0/url"),
    "300 KiB": (PLEDGE | {"note": "x" * 300 * 1024}, 413, "too-large", None),
    "no donors": (PLEDGE | {"donors": []}, 422, "invalid", "/donors"),
}


@pytest.mark.parametrize("what", WRONG)
def test_bad_input_is_answered_with_its_own_problem_and_records_nothing(commands: TestClient, what: str) -> None:
    body, status, code, pointer = WRONG[what]
    answer = put(commands, body)
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (status, code), problem
    assert answer.headers["content-type"] == "application/problem+json"
    assert {"type", "title", "status", "detail", "code"} <= set(problem)
    if pointer is not None:
        assert pointer in [error["pointer"] for error in problem["errors"]], problem
    assert head(commands) == 0
    assert commands.get(problem["type"]).status_code == 200


def test_near_names_are_offered(commands: TestClient) -> None:
    assert "GBR" in put(commands, PLEDGE | {"donors": [{"party": "GBRR"}]}).json()["near"]


@pytest.mark.parametrize("name", ["a.b", "A", "-a", "a" * 65, "a%20b", "%00"])
def test_an_id_is_one_small_word(commands: TestClient, name: str) -> None:
    answer = put(commands, PLEDGE, name=name)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid-parameter")
    assert head(commands) == 0


def test_another_content_type_is_refused(commands: TestClient) -> None:
    answer = commands.put("/v1/pledges/x", content=json.dumps(PLEDGE), headers={"Content-Type": "text/plain"})
    assert (answer.status_code, answer.json()["code"]) == (415, "not-json-type")


def test_another_body_under_a_taken_name_lists_where_it_differs(commands: TestClient) -> None:
    assert put(commands, PLEDGE).status_code == 201
    answer = put(commands, PLEDGE | {"capability": "drone"})
    assert (answer.status_code, answer.json()["code"], answer.json()["fields"]) == (
        409,
        "already-recorded",
        ["capability"],
    )
    assert head(commands) == 1


def test_a_stale_if_match_is_told_the_version(commands: TestClient) -> None:
    put(commands, PLEDGE)
    revise = "/v1/pledges/x/revise"
    stale = commands.post(revise, json=MORE, headers={"If-Match": '"7"'})
    assert (stale.status_code, stale.json()["actual"]) == (412, 1)
    assert commands.post(revise, json=MORE, headers={"If-Match": 'W/"1"'}).status_code == 412
    assert commands.post(revise, json=MORE, headers={"If-Match": "one"}).status_code == 400
    assert head(commands) == 1
    assert commands.post(revise, json=MORE, headers={"If-Match": '"1"'}).status_code == 201


def test_paths_and_methods_that_are_not_there_are_problems_too(commands: TestClient) -> None:
    missing = commands.get("/v1/nothing")
    assert (missing.status_code, missing.json()["code"]) == (404, "not-found")
    other = commands.delete("/v1/pledges/x")
    assert (other.status_code, other.headers["allow"]) == (405, "GET, HEAD, PUT")
    assert commands.get("/v1/pledges/x").json()["code"] == "unknown"
    assert (
        commands.post(
            "/v1/pledges/x/withdraw", json={"on": "2024", "reason": "r", "sources": PLEDGE["sources"]}
        ).status_code
        == 404
    )
    assert commands.get("/v1/events?after=-1").status_code == 422
    assert commands.get("/v1/events?colour=red").status_code == 422
