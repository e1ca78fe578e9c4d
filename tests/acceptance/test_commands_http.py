"""Commands over HTTP, one by one and many at once: every kind is recorded, once, and its thing can be read."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio

from services.commitments.handling import Ledger, MemoryLog, Overloaded, PostgresLog
from services.commitments.log.contract import Away, Log
from services.commitments.log.memory import MemoryTransaction
from tests.acceptance.writeside import (
    AMENDMENTS,
    DAY,
    DELIVERY,
    ENDS,
    SOURCES,
    STORY,
    WriteSide,
    a_coalition,
    a_delivery,
    a_pledge,
    lines,
    problem,
    served,
    write_side,
)

NDJSON = {"Content-Type": "application/x-ndjson"}


@pytest.fixture(params=["memory", "postgres"])
def log(request: pytest.FixtureRequest) -> Log:
    if request.param == "memory":
        return MemoryLog()
    return PostgresLog(request.getfixturevalue("commitments_url"))


@pytest_asyncio.fixture
async def side(log: Log) -> AsyncIterator[WriteSide]:
    async with write_side(log) as opened:
        yield opened


@pytest_asyncio.fixture
async def quick() -> AsyncIterator[WriteSide]:
    async with write_side(MemoryLog()) as opened:
        yield opened


async def imported(side: WriteSide, sent: bytes) -> list[dict[str, Any]]:
    answer = await side.client.post("/v1/imports", content=sent, headers=NDJSON)
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


# ------------------------------------------------------------------------------------------------- every command


async def test_every_command_is_recorded_and_said_twice_it_is_answered_the_same(side: WriteSide) -> None:
    first = []
    for number, (do, body) in enumerate(STORY, 1):
        method, path = do.split(" ")
        answer = await side.send(method, path, body, 201)
        outcome = answer.json()
        assert outcome["position"] == number
        assert answer.headers["etag"] == f'"{outcome["version"]}"'
        assert answer.headers["ledger-position"] == str(number)
        at = answer.headers["location"]
        assert at == path if method == "PUT" else at.startswith("/v1/events/")
        assert (await side.get(at)).status_code == 200
        first.append(outcome)
    for (do, body), outcome in zip(STORY, first, strict=True):
        method, path = do.split(" ")
        assert (await side.send(method, path, body, 200)).json() == outcome
    assert await side.head() == len(STORY)


async def test_a_story_told_line_by_line_is_the_story_told_at_once(side: WriteSide) -> None:
    answers = await imported(side, lines(*STORY))
    assert [(answer["line"], answer["status"]) for answer in answers] == [(n, 201) for n in range(1, len(STORY) + 1)]
    assert [answer["outcome"]["position"] for answer in answers] == list(range(1, len(STORY) + 1))
    for (do, body), told in zip(STORY, answers, strict=True):
        method, path = do.split(" ")
        assert (await side.send(method, path, body, 200)).json() == told["outcome"]


async def test_entries_are_amended_and_carry_what_every_entry_may(side: WriteSide) -> None:
    ids = {}
    for do, body in STORY:
        method, path = do.split(" ")
        ids[do] = (await side.send(method, path, body, 201)).json()["events"][0]["event_id"]
    for do, amendment, body in AMENDMENTS:
        path = f"/v1/events/{ids[do]}/{amendment}"
        told = (await side.post(path, body)).json()
        assert (await side.post(path, body, 200)).json() == told
    events = (await side.get(f"/v1/events?after={len(STORY)}")).json()["events"]
    corrected, cited, retracted = (event["data"] for event in events)
    assert (corrected["entry"], corrected["reason"]) == (ids["PUT /v1/pledges/y"], "read wrongly")
    assert corrected["now"]["donors"] == [{"party": "GBR"}]
    assert (cited["note"], [source["url"] for source in cited["sources"]]) == ("seen", ["https://example.org/again"])
    assert (retracted["reason"], retracted["refs"]) == ("never paid", [{"scheme": "fts", "id": "2"}])
    shown = (await side.get("/v1/statements/lva-2024")).json()
    assert [source["url"] for source in shown["entry"]["sources"]] == [SOURCES[0]["url"], "https://example.org/again"]


async def test_an_event_is_found_however_its_id_is_written(quick: WriteSide) -> None:
    event_id = (await quick.put("/v1/pledges/x", a_pledge())).json()["events"][0]["event_id"]
    for written in (event_id.upper(), event_id.replace("-", ""), f"{{{event_id}}}"):
        assert (await quick.get(f"/v1/events/{written}")).json()["id"] == event_id
        body = {"sources": [{"url": f"https://example.org/{written[:9]}"}]}
        assert (await quick.post(f"/v1/events/{written}/sources", body, 201)).json()["stream"] == "pledge-x"


# ------------------------------------------------------------------------------------------------- saying it twice


async def test_fifty_equal_commands_at_once_are_recorded_once(side: WriteSide) -> None:
    answers = await asyncio.gather(*(side.client.put("/v1/pledges/x", json=a_pledge()) for _ in range(50)))
    assert sorted(answer.status_code for answer in answers) == [200] * 49 + [201]
    assert len({answer.text for answer in answers}) == 1
    assert await side.head() == 1


async def test_a_hundred_deliveries_at_once_are_all_recorded(side: WriteSide) -> None:
    await side.put("/v1/pledges/x", a_pledge())
    body = a_delivery()
    answers = await asyncio.gather(*(side.client.put(f"/v1/pledges/x/deliveries/d{n}", json=body) for n in range(100)))
    assert {answer.status_code for answer in answers} == {201}
    assert sorted(answer.json()["version"] for answer in answers) == list(range(2, 102))


async def test_a_key_is_answered_as_the_first_time_also_after_other_commands(side: WriteSide) -> None:
    first = await side.put("/v1/pledges/x", a_pledge(), Idempotency_Key="import 1/17")
    await side.post("/v1/pledges/x/withdraw", ENDS)
    again = await side.put("/v1/pledges/x", a_pledge(), 201, Idempotency_Key="import 1/17")
    assert (again.text, again.headers["etag"], again.headers["idempotent-replayed"]) == (first.text, '"1"', "true")
    assert "idempotent-replayed" not in first.headers
    already = await side.put("/v1/pledges/x", a_pledge(), 200, Idempotency_Key="another")
    replayed = await side.put("/v1/pledges/x", a_pledge(), 200, Idempotency_Key="another")
    assert (replayed.text, replayed.headers["idempotent-replayed"]) == (already.text, "true")
    other = await side.put("/v1/pledges/x", a_pledge(note="n"), 422, Idempotency_Key="another")
    assert problem(other)["code"] == "key-reused"


@pytest.mark.parametrize("key", ["", " ", "a" * 256, "a\tb", "\u00e4", " a"])
async def test_a_key_is_printable(quick: WriteSide, key: str) -> None:
    headers = {b"Idempotency-Key": key.encode("latin-1")}
    answer = await quick.client.put("/v1/pledges/x", json=a_pledge(), headers=headers)
    assert (answer.status_code, problem(answer)["errors"][0]["parameter"]) == (422, "Idempotency-Key")
    assert await quick.head() == 0


# ------------------------------------------------------------------------------------------------- If-Match


@pytest.mark.parametrize(
    ("if_match", "status"),
    [
        ('"2"', 201),
        ('"1"', 412),
        ('"1", "2"', 201),
        ('"1","3"', 412),
        ('W/"2"', 412),
        ('W/"2", "2"', 201),
        ('"x"', 412),
        ('"02"', 412),
        ("*", 201),
        ("2", 400),
        ("", 400),
        ('"2', 400),
        ('"2",', 400),
        ('"2" "3"', 400),
    ],
)
async def test_if_match_lets_through_only_the_version_that_the_caller_has_seen(
    side: WriteSide, if_match: str, status: int
) -> None:
    await side.put("/v1/pledges/x", a_pledge())
    await side.put(DELIVERY, a_delivery())
    answer = await side.post("/v1/pledges/x/withdraw", ENDS, status, If_Match=if_match)
    if status != 201:
        told = problem(answer)
        assert told["code"] == ("stale-version" if status == 412 else "malformed")
        assert status == 400 or told["actual"] == 2
        assert "-1" not in answer.text
        assert await side.head() == 2


async def test_a_thing_that_is_not_there_matches_nothing(quick: WriteSide) -> None:
    assert problem(await quick.put("/v1/pledges/x", a_pledge(), 412, If_Match="*"))["code"] == "stale-version"
    assert problem(await quick.post("/v1/pledges/x/withdraw", ENDS, 404, If_Match="*"))["code"] == "unknown"
    await quick.put("/v1/pledges/x", a_pledge(), 201, If_Match='"0"')


async def test_what_was_recorded_already_is_answered_whatever_if_match_says(quick: WriteSide) -> None:
    await quick.put("/v1/pledges/x", a_pledge())
    await quick.put(DELIVERY, a_delivery())
    await quick.put(DELIVERY, a_delivery(), 200, If_Match='"1"')


# ------------------------------------------------------------------------------------------------- refusals


async def test_a_name_that_is_not_known_is_shown_where_it_stands_in_the_body(quick: WriteSide) -> None:
    told = problem(await quick.put("/v1/pledges/x", a_pledge(beneficiary="UKRR"), 422))
    assert (told["code"], told["errors"][0]["pointer"]) == ("unknown-name", "/beneficiary")
    assert "UKR" in told["near"]
    told = problem(await quick.put("/v1/pledges/x", a_pledge(beneficiaries=[{"party": "UKRR"}]), 422))
    assert told["errors"][0]["pointer"] == "/beneficiaries/0/party"


async def test_a_rule_that_says_no_is_a_conflict_with_its_reason(side: WriteSide) -> None:
    await side.put("/v1/pledges/x", a_pledge())
    await side.put("/v1/pledges/y", a_pledge(relation={"kind": "restates", "of": ["x"]}))
    itself = {"kind": "part_of", "of": ["x"]}
    refused: Mapping[str, tuple[str, str, dict[str, Any], int]] = {
        "restates": ("PUT", "/v1/pledges/y/deliveries/d1", a_delivery(), 409),
        "already-recorded": ("PUT", "/v1/pledges/x", a_pledge(capability="drone.fpv"), 409),
        "wrong-unit": ("POST", "/v1/pledges/x/revise", ENDS | {"amount": {"unit": "EUR", "exactly": "1"}}, 422),
        "relates-to-itself": ("POST", "/v1/pledges/x/relate", DAY | {"relation": itself}, 422),
        "no-member": ("POST", "/v1/coalitions/drones/members/DNK/leave", DAY, 409),
        "unknown": ("POST", "/v1/pledges/x/deliveries/none/reverse", ENDS, 404),
    }  # fmt: skip
    await side.put("/v1/coalitions/drones", a_coalition())
    head = await side.head()
    for code, (method, path, body, status) in refused.items():
        told = problem(await side.send(method, path, body, status))
        assert (told["code"], bool(told["title"])) == (code, True)
    assert await side.head() == head


async def test_what_nobody_foresaw_is_a_problem_that_tells_no_secrets() -> None:
    async with write_side(Broken()) as side:
        answer = await side.put("/v1/pledges/x", a_pledge(), 500)
        assert problem(answer)["code"] == "internal"
        assert "secret" not in answer.text
        assert problem(await side.get("/v1/pledges/x", 500))["code"] == "internal"


async def test_too_much_at_once_is_told_to_come_again(quick: WriteSide, monkeypatch: pytest.MonkeyPatch) -> None:
    async def full(*_: object, **__: object) -> None:
        raise Overloaded("10000 commands are waiting already")

    monkeypatch.setattr(Ledger, "handle", full)
    answer = await quick.put("/v1/pledges/x", a_pledge(), 503)
    assert (problem(answer)["code"], answer.headers["retry-after"]) == ("overloaded", "1")


async def test_without_the_log_a_command_is_answered_within_five_seconds_and_not_recorded() -> None:
    async with write_side(Gone()) as side:
        begun = asyncio.get_running_loop().time()
        answer = await side.put("/v1/pledges/x", a_pledge(), 503)
        assert asyncio.get_running_loop().time() - begun < 5
        assert (problem(answer)["code"], answer.headers["retry-after"]) == ("unavailable", "1")


class Broken(MemoryLog):
    """A log with a defect."""

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[MemoryTransaction]:
        async with super().transaction() as transaction:
            yield transaction
            raise ZeroDivisionError("a secret")

    async def read_stream(self, stream: str, after: int = 0, limit: int = 1_000) -> Any:  # noqa: ARG002  # as a log is read
        raise ZeroDivisionError("a secret")


class Gone(MemoryLog):
    """A log that cannot be reached."""

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[MemoryTransaction]:
        async with super().transaction() as transaction:
            yield transaction
            raise Away("gone")


# ------------------------------------------------------------------------------------------------- things


async def test_a_founder_is_a_member_by_the_entry_that_formed_the_coalition(quick: WriteSide) -> None:
    members = [{"party": "LVA", "role": "lead"}, {"party": "GBR", "role": "member", "on": "2024-02-15"}]
    await quick.put("/v1/coalitions/drones", a_coalition(members=members))
    await quick.post("/v1/coalitions/drones/members/LVA/leave", DAY)
    lva = await quick.get("/v1/coalitions/drones/members/LVA")
    shown = lva.json()
    assert (shown["entry"]["role"], shown["entry"]["on"], lva.headers["etag"]) == ("lead", "2024-02-14", '"2"')
    assert [event["type"] for event in shown["events"]] == [
        "muster.coalition.formed.v1",
        "muster.coalition.member_left.v1",
    ]
    assert (await quick.get("/v1/coalitions/drones/members/GBR")).json()["entry"]["on"] == "2024-02-15"
    problem(await quick.get("/v1/coalitions/drones/members/FRA", 404))
    problem(await quick.get("/v1/coalitions/none/members/LVA", 404))


async def test_a_state_is_known_before_anybody_registers_it(quick: WriteSide) -> None:
    answer = await quick.get("/v1/parties/GBR")
    assert (answer.headers["etag"], answer.json()["entry"]["name"]) == ('"0"', "United Kingdom")
    problem(await quick.get("/v1/parties/XYZ", 404))
    await quick.put("/v1/parties/GBR", {"name": "Britain", "kind": "state", "sources": SOURCES}, 201, If_Match='"0"')
    assert (await quick.get("/v1/parties/GBR")).json()["entry"]["name"] == "Britain"


async def test_a_delivery_is_shown_by_itself_with_its_pledges_version(quick: WriteSide) -> None:
    await quick.put("/v1/pledges/x", a_pledge())
    await quick.put(DELIVERY, a_delivery(amount={"unit": "piece", "about": "100"}))
    await quick.put("/v1/pledges/x/deliveries/d2", a_delivery())
    answer = await quick.get(DELIVERY)
    amount = answer.json()["entry"]["amount"]
    assert amount == {
        "unit": "piece", "qualifier": "about", "low": "100", "high": "100", "about": True, "unknown": False,
    }  # fmt: skip
    assert ([event["position"] for event in answer.json()["events"]], answer.headers["etag"]) == ([2], '"3"')


async def test_the_head_of_a_thing_is_answered_without_its_body(quick: WriteSide) -> None:
    await quick.put("/v1/pledges/x", a_pledge())
    answer = await quick.client.head("/v1/pledges/x")
    assert (answer.status_code, answer.headers["etag"]) == (200, '"1"')


async def test_requests_are_counted_by_route_and_status(quick: WriteSide) -> None:
    def counted(page: str) -> float:
        name = 'muster_http_requests_total{method="PUT",route="/v1/pledges/{pledge}",status="201"}'
        return next((float(line.split()[-1]) for line in page.splitlines() if line.startswith(name)), 0.0)

    before = counted((await quick.get("/metrics")).text)
    await quick.put("/v1/pledges/x", a_pledge())
    page = (await quick.get("/metrics")).text
    assert counted(page) == before + 1
    assert {"muster_batch_commands_bucket", "muster_queue_commands"} <= {
        line.split("{")[0].split()[0] for line in page.splitlines() if line
    }


# ------------------------------------------------------------------------------------------------- over TCP


async def test_a_body_is_bounded_also_when_nobody_said_its_length() -> None:
    async def endless() -> AsyncIterator[bytes]:
        yield b'{"note": "'
        for _ in range(300):
            yield b"x" * 1024
        yield b'"}'

    async with served(MemoryLog()) as side:
        headers = {"Content-Type": "application/json"}
        for content in (endless(), b'{"note": "%b"}' % (b"x" * 300_000)):
            answer = await side.client.put("/v1/pledges/x", content=content, headers=headers)
            assert (answer.status_code, problem(answer)["code"]) == (413, "too-large")
        await side.put("/v1/pledges/x", a_pledge())


async def test_whoever_sends_all_lines_before_reading_an_answer_is_not_waited_for() -> None:
    wrong = a_pledge(**{f"unknown-{n}": 1 for n in range(40)})  # long answers: more than the sockets hold
    body = lines(*[("PUT /v1/pledges/x", wrong)] * 4_000)
    async with served(MemoryLog()) as side:
        url = side.client.base_url
        reader, writer = await asyncio.open_connection(url.host, url.port)
        headers = {"Host": "x", "Content-Length": len(body), "Connection": "close"} | NDJSON
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        writer.write(f"POST /v1/imports HTTP/1.1\r\n{head}\r\n".encode() + body)
        async with asyncio.timeout(30):
            await writer.drain()
            answer = await reader.read()
        writer.close()
        assert answer.count(b'"status":422') == 2 * 4_000  # of the line, and in its problem


# ------------------------------------------------------------------------------------------------- many at once


async def test_lines_about_one_thing_are_taken_in_their_order(side: WriteSide) -> None:
    event_id = (await side.put("/v1/pledges/old", a_pledge())).json()["events"][0]["event_id"]
    commands: list[tuple[str, dict[str, Any]]] = []
    for n in range(150):
        commands += [
            (f"PUT /v1/pledges/p{n}", a_pledge()),
            (f"PUT /v1/pledges/p{n}/deliveries/d", a_delivery()),
            (f"POST /v1/pledges/p{n}/deliveries/d/confirm", DAY | {"by": "UKR"}),
            (f"POST /v1/pledges/p{n}/withdraw", ENDS),
        ]
    cite = {"sources": [{"url": "https://example.org/old"}]}
    commands.insert(300, (f"POST /v1/events/{event_id}/sources", cite))
    answers = await imported(side, lines(*commands))
    assert {answer["status"] for answer in answers} == {201}
    assert [answer["outcome"]["position"] for answer in answers] == list(range(2, len(commands) + 2))


async def test_an_import_of_large_lines_leaves_room_in_the_queue(quick: WriteSide) -> None:
    words = ["x" * 195] * 45
    labels = {f"label-{n}": [f"{word}{n}" for n, word in enumerate(words)] for n in range(10)}
    wide = a_pledge(labels=labels)  # 90 kB a line, 40 MB in all: more than may wait for the log
    answers = await imported(quick, lines(*((f"PUT /v1/pledges/p{n}", wide) for n in range(440))))
    assert {answer["status"] for answer in answers} == {201}
    assert [answer["line"] for answer in answers] == list(range(1, 441))


async def test_every_line_is_answered_as_it_would_have_been_alone(quick: WriteSide) -> None:
    sent = b"\n".join(
        [
            *lines(("PUT /v1/pledges/x", a_pledge())).splitlines(),
            b"",
            b'{"do": "PUT /v1/pledges/y"}',
            b'{"do": "PUT /v1/pledges/y", "body": {}, "key": "k"}',
            b'{"do": 5, "body": {}}',
            b'{"do": "PUT /v1/pledges/y", "body": {"a": NaN}}',
            b'{"do": "PUT /v1/pledges/y", "body": {"a": 1, "a": 1}}',
            b'{"do": "PUT /v1/pledges/y", "body": [1]}',
            b'{"do": "PUT /v1/pledges/y", "body": {"note": "\\u0000"}}',
            b'{"do": "PUT /v1/pledges/y", "body": {"note": "\xff"}}',
            b'{"do": "PUT /v1/pledges/y", "body": {"note": "%b"}}' % (b"x" * 300_000),
            b'{"do": "GET /v1/pledges/y", "body": {}}',
            b'{"do": "PUT /v1/nothing/y", "body": {}}',
            b'{"do": "POST /v1/imports", "body": {}}',
            b'{"do": "POST /v1/events/x/retract", "body": {"reason": "r"}}',
            b'{"do": "POST /v1/pledges/none/withdraw", "body": %b}' % json.dumps(ENDS).encode(),
            *lines(("PUT /v1/pledges/x", a_pledge())).splitlines(),
        ]
    )
    answers = await imported(quick, sent)
    assert [(answer["line"], answer["status"]) for answer in answers] == [
        (1, 201), (3, 422), (4, 422), (5, 422), (6, 400), (7, 400), (8, 422), (9, 422), (10, 400), (11, 413),
        (12, 405), (13, 404), (14, 404), (15, 404), (16, 404), (17, 200),
    ]  # fmt: skip
    for answer in answers:
        assert ("outcome" in answer) != ("problem" in answer)
        assert answer["status"] in (200, 201) or answer["problem"]["status"] == answer["status"]
    assert await quick.head() == 1


async def test_an_import_is_sent_as_lines(quick: WriteSide) -> None:
    answer = await quick.client.post("/v1/imports", json={"do": "PUT /v1/pledges/x", "body": a_pledge()})
    assert (answer.status_code, problem(answer)["code"]) == (415, "not-json-type")
    assert await imported(quick, b"") == []


async def test_while_the_queue_is_crowded_an_import_waits(quick: WriteSide, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = iter([True, True, True])
    monkeypatch.setattr(Ledger, "crowded", property(lambda _: next(asked, False)))
    answers = await imported(quick, lines(*((f"PUT /v1/pledges/p{n}", a_pledge()) for n in range(250))))
    assert {answer["status"] for answer in answers} == {201}
    assert next(asked, None) is None
