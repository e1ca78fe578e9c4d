"""The documents of the write side: what they promise is what it takes, answers and publishes."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import httpx2
import jsonschema_rs
import pytest
import pytest_asyncio

from services.commitments.handling import MemoryLog
from services.commitments.http import problems
from services.commitments.http.app import create_app, paths
from services.commitments.http.asyncapi import asyncapi
from services.commitments.http.commands import COMMANDS, CORRECTIONS, ROUTES, Route, checked, match
from services.commitments.http.openapi import document
from services.commitments.http.problems import Problem
from services.commitments.http.schemas import schema_of
from services.commitments.settings import Settings
from shared.cloudevent import schema
from shared.events import EVENT_TYPES
from shared.subjects import subject
from tests.acceptance.writeside import AMENDMENTS, DELIVERY, STORY, WriteSide, a_pledge, write_side

Json = Any
DOCUMENT = document()
OPERATIONS = [
    (method, path, operation) for path, methods in DOCUMENT["paths"].items() for method, operation in methods.items()
]
NAMED = [pytest.param(*found, id=found[2]["operationId"]) for found in OPERATIONS]


@cache
def of_component(name: str) -> jsonschema_rs.Draft202012Validator:
    return fitting({"$ref": f"#/components/schemas/{name}"})


def fitting(part: Json) -> jsonschema_rs.Draft202012Validator:
    """Judges by a schema of the document, with its components at hand."""
    return jsonschema_rs.Draft202012Validator(part | {"components": DOCUMENT["components"]}, validate_formats=True)


def resolved(part: Json) -> Json:
    """A part of the document, behind its reference if it is one."""
    if "$ref" not in part:
        return part
    found: Json = DOCUMENT
    for name in part["$ref"].removeprefix("#/").split("/"):
        found = found[name]
    return found


# ------------------------------------------------------------------------------------------------- the document


def test_the_document_describes_every_path_and_method_that_there_is() -> None:
    there = {(method.lower(), path) for path, handlers in paths().items() for method in handlers}
    assert {(method, path) for method, path, _ in OPERATIONS} == there


def test_it_is_the_document_that_the_application_gives() -> None:
    app = create_app(Settings.model_validate({"database_url": "postgresql://nowhere"}))
    assert app.openapi() == DOCUMENT
    assert DOCUMENT["openapi"] == "3.1.0"


def test_every_operation_has_a_name_of_its_own_and_every_reference_leads_somewhere() -> None:
    names = [operation["operationId"] for _, _, operation in OPERATIONS]
    assert len(names) == len(set(names))
    for reference in set(re.findall(r'"\$ref": "([^"]+)"', json.dumps(DOCUMENT))):
        assert resolved({"$ref": reference})


def test_links_lead_on_from_a_thing_to_all_that_can_happen_to_it() -> None:
    by_id = {operation["operationId"]: (path, operation) for _, path, operation in OPERATIONS}
    for _, _, operation in OPERATIONS:
        for link in operation["responses"].get("201", {}).get("links", {}).values():
            path, _ = by_id[link["operationId"]]
            assert set(link["parameters"]) == set(re.findall(r"{(\w+)}", path))
    announced = by_id["announcePledge"][1]["responses"]["201"]["links"]
    assert {"withdrawPledge", "commitPledge", "readPledge", "retractEntry", "readStream"} <= set(announced)
    assert "confirmDelivery" not in announced


@pytest.mark.parametrize(("method", "path", "operation"), NAMED)
def test_every_operation_says_all_that_one_has_to_know(method: str, path: str, operation: Json) -> None:
    assert operation["summary"].endswith(".")
    assert {tag["name"] for tag in DOCUMENT["tags"]} >= set(operation["tags"])
    in_path = {parameter["name"] for parameter in operation.get("parameters", []) if parameter["in"] == "path"}
    assert in_path == set(re.findall(r"{(\w+)}", path))
    for parameter in operation.get("parameters", []):
        assert "example" in parameter or parameter["in"] == "query" or parameter["name"] == "If-Match"
        if "example" in parameter:
            assert fitting(parameter["schema"]).is_valid(parameter["example"]), parameter
    assert {"500"} <= set(operation["responses"])
    for status, response in operation["responses"].items():
        told = resolved(response)
        assert told["description"]
        if int(status) >= 400:
            (content,) = told["content"].items()
            assert content[0] == "application/problem+json"
            assert content[1]["example"]["status"] == int(status)
            assert of_component("Problem").is_valid(content[1]["example"])
    if method in ("put", "post"):
        (body,) = operation["requestBody"]["content"].values()
        assert fitting(body["schema"]).is_valid(body["example"])


def test_every_status_of_a_problem_is_documented_for_commands() -> None:
    statuses = {str(int(status)) for status, _ in problems.pages().values()} - {"405", "406"}
    for route in COMMANDS:
        assert statuses <= set(DOCUMENT["paths"][route.path][route.method.lower()]["responses"])


def test_every_refusal_has_a_code_of_its_own() -> None:
    kinds = problems.every_refusal()
    assert len({kind.code for kind in kinds}) == len(kinds)
    assert not {kind.code for kind in kinds} & set(problems.FORMS)


# ------------------------------------------------------------------------------------------------- bodies


@pytest.mark.parametrize("route", [*ROUTES], ids=lambda route: route.operation)
def test_the_schema_of_a_body_takes_what_the_service_takes(route: Route) -> None:
    judge = of_component(route.body.__name__)
    said: Json = route.body.model_config["json_schema_extra"]
    for example in said["examples"]:
        judge.validate(example)
        checked(route.body, example)
    assert route.entry is not None
    correction = CORRECTIONS[route.entry]
    also: Json = correction.model_config["json_schema_extra"]
    for example in also["examples"]:
        of_component(correction.__name__).validate(example)
        of_component("Correction").validate(example)
        checked(correction, example)


@pytest.mark.parametrize(("do", "body"), STORY, ids=[do for do, _ in STORY])
def test_what_happens_in_the_story_fits_the_schemas(do: str, body: Json) -> None:
    found = match(*do.split(" "))
    assert found is not None
    of_component(found[0].body.__name__).validate(body)


AMOUNTS: list[Json] = [
    {"exactly": 5},
    {"exactly": "-5"},
    {"exactly": "1e6"},
    {"exactly": "5", "about": "5"},
    {"exactly": None},
    {"between": ["4"]},
    {"between": "4"},
    {"undisclosed": False},
    {"words": "plenty"},
    {},
    {"exactly": "5", "low": "5"},
    {"exactly": "5", "unit": "drones"},
]
WRONG: list[Json] = [
    *({"amount": {"unit": "piece"} | said} for said in AMOUNTS),
    {"colour": "red"},
    {"donors": []},
    {"donors": [{"party": "gbr"}]},
    {"announced_on": "2023-02-30"},
    {"announced_on": "2024-13"},
    {"announced_on": 2024},
    {"capability": "drone..fpv"},
    {"sources": []},
    {"sources": [{"publisher": "x"}]},
    {"sources": [{"url": "javascript:alert(1)"}]},
    {"note": ""},
    {"note": " "},
    {"note": "a\0b"},
    {"labels": {"a:b": ["x"]}},
    {"labels": {"a": []}},
    {"relation": {"kind": "cousin"}},
    {"finance_type": "gift"},
    {"new_money": "yes"},
    {"beneficiary": "UKR", "beneficiaries": [{"party": "UKR"}]},
]


@pytest.mark.parametrize("wrong", WRONG, ids=json.dumps)
async def test_the_schema_refuses_what_the_service_refuses(wrong: Json) -> None:
    body = a_pledge() | wrong
    assert not of_component("PledgeBody").is_valid(body)
    async with write_side(MemoryLog()) as side:
        await side.put("/v1/pledges/x", body, 422)


@pytest.mark.parametrize("name", ["donors", "capability", "announced_on", "sources"])
def test_a_field_that_is_needed_is_needed_in_both(name: str) -> None:
    body = {key: value for key, value in a_pledge().items() if key != name}
    assert not of_component("PledgeBody").is_valid(body)
    with pytest.raises(Problem):
        checked(ROUTES[0].body, body)


# ------------------------------------------------------------------------------------------------- answers


@dataclass
class Told:
    """The whole story as it was answered: (method, path of the document, answer), and all that was recorded."""

    side: WriteSide
    answers: list[tuple[str, str, httpx2.Response]] = field(default_factory=list)
    ids: dict[str, str] = field(default_factory=dict)  # of the first event of a command

    async def tell(self, do: str, body: Json) -> None:
        method, path = do.split(" ")
        found = match(method, path)
        assert found is not None
        answer = await self.side.send(method, path, body, 201)
        self.answers.append((method, found[0].path, answer))
        self.ids.setdefault(do, answer.json()["events"][0]["event_id"])


@pytest_asyncio.fixture
async def told() -> AsyncIterator[Told]:
    async with write_side(MemoryLog()) as side:
        story = Told(side)
        for do, body in STORY:
            await story.tell(do, body)
        for do, amendment, body in AMENDMENTS:
            await story.tell(f"POST /v1/events/{story.ids[do]}/{amendment}", body)
        yield story


def fits(method: str, path: str, answer: httpx2.Response) -> None:
    """The answer is one that the document describes."""
    described = resolved(DOCUMENT["paths"][path][method.lower()]["responses"][str(answer.status_code)])
    media = answer.headers["content-type"].partition(";")[0]
    if media in ("application/json", "application/cloudevents+json", "application/problem+json"):
        fitting(described["content"][media]["schema"]).validate(answer.json())
    else:
        assert media in described["content"]
    for header in ("etag", "ledger-position", "location"):
        named = {name.lower() for name in described.get("headers", {})}
        assert header not in answer.headers or header in named, header


async def test_every_command_is_answered_as_the_document_says(told: Told) -> None:
    assert {(method, path) for method, path, _ in told.answers} == {(route.method, route.path) for route in COMMANDS}
    for method, path, answer in told.answers:
        fits(method, path, answer)
    for do, body in STORY:
        method, path = do.split(" ")
        found = match(method, path)
        assert found is not None
        again = await told.side.send(method, path, body, 200)
        fits(method, found[0].path, again)


async def test_everything_that_is_read_is_as_the_document_says(told: Told) -> None:
    event_id = told.ids["PUT /v1/pledges/x"]
    for path, address in {
        "/v1/pledges/{pledge}": "/v1/pledges/x",
        "/v1/pledges/{pledge}/deliveries/{delivery}": DELIVERY,
        "/v1/coalitions/{coalition}": "/v1/coalitions/drones",
        "/v1/coalitions/{coalition}/members/{party}": "/v1/coalitions/drones/members/LVA",
        "/v1/targets/{target}": "/v1/targets/million",
        "/v1/parties/{party}": "/v1/parties/NATO",
        "/v1/capabilities/{capability}": "/v1/capabilities/drone.fpv",
        "/v1/production/{production}": "/v1/production/ukr-2024",
        "/v1/statements/{statement}": "/v1/statements/lva-2024",
        "/v1/events": "/v1/events",
        "/v1/events/{event_id}": f"/v1/events/{event_id}",
        "/v1/streams/{stream}/events": "/v1/streams/pledge-x/events",
        "/schemas/{type}.json": "/schemas/muster.pledge.announced.v1.json",
        "/problems/{code}": "/problems/unknown-name",
        **{path: path for path in ("/healthz", "/readyz", "/metrics", "/openapi.json", "/asyncapi.json", "/docs")},
    }.items():
        fits("GET", path, await told.side.get(address))


async def test_problems_are_as_the_document_says(told: Told) -> None:
    for address, path, body, status in (
        ("/v1/pledges/x", "/v1/pledges/{pledge}", a_pledge(capability="drone"), 409),
        ("/v1/pledges/n", "/v1/pledges/{pledge}", a_pledge(coalition="dron"), 422),
        ("/v1/pledges/n", "/v1/pledges/{pledge}", {}, 422),
        ("/v1/pledges/n.n", "/v1/pledges/{pledge}", a_pledge(), 422),
    ):
        fits("PUT", path, await told.side.put(address, body, status))
    fits("GET", "/v1/pledges/{pledge}", await told.side.get("/v1/pledges/none", 404))


# ------------------------------------------------------------------------------------------------- events


async def test_every_event_that_is_published_fits_its_schema_and_every_kind_is_in_the_story(told: Told) -> None:
    page = (await told.side.get("/v1/events")).json()
    of_component("Page").validate(page)
    for event in page["events"]:
        answer = await told.side.get(f"/schemas/{event['type']}.json")
        assert answer.json()["$id"] == event["dataschema"] == schema(event["type"])
        jsonschema_rs.Draft202012Validator(answer.json()).validate(event["data"])
    assert {event["type"] for event in page["events"]} == set(EVENT_TYPES)


async def test_a_corrected_entry_has_to_fit_the_schema_of_its_own_kind(told: Told) -> None:
    events = (await told.side.get("/v1/events?type=muster.entry.corrected.v1")).json()["events"]
    judge = jsonschema_rs.Draft202012Validator(schema_of("muster.entry.corrected.v1"))
    wrong = copy.deepcopy(events[0]["data"])
    judge.validate(wrong)
    del wrong["now"]["donors"]
    assert not judge.is_valid(wrong)


async def test_the_stream_is_described_with_every_type_and_every_subject_fits(told: Told) -> None:
    described = (await told.side.get("/asyncapi.json")).json()
    assert described == asyncapi("t_ledger")
    assert described["asyncapi"] == "3.0.0"
    assert set(described["components"]["messages"]) == set(EVENT_TYPES)
    for message in described["components"]["messages"].values():
        await told.side.get(message["payload"]["$ref"])
    channel = described["channels"]["ledger"]
    address = re.sub(r"\\{\w+\\}", r"[^.]+", re.escape(channel["address"]))
    assert set(re.findall(r"{(\w+)}", channel["address"])) == set(channel["parameters"])
    assert re.fullmatch(address, subject("t_ledger", "muster.pledge.announced.v1", ["drones"], "pledge-x"))


async def test_the_pages_list_every_operation_and_need_nothing_from_outside(told: Told) -> None:
    page = (await told.side.get("/docs")).text
    for _, path, operation in OPERATIONS:
        assert path in page
        assert operation["operationId"]
    for code in problems.pages():
        page += (await told.side.get(f"/problems/{code}")).text
    assert not re.search(r"""(src|href)=["']?(https?:)?//|@import|url\(""", page)
