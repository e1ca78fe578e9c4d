"""The log for those who have no NATS: pages, all of it as NDJSON, and live."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass

import pytest

from services.commitments.domain.commands import Record
from services.commitments.handling import Identity, Ledger, MemoryLog, Page, PostgresLog, Row
from services.commitments.log.contract import EVERYTHING, Away, Filter, Log
from tests import examples
from tests.acceptance.writeside import (
    WriteSide,
    a_coalition,
    a_delivery,
    a_pledge,
    lines,
    problem,
    served,
    write_side,
)

SOON_S = 5.0
NDJSON = "application/x-ndjson"


@pytest.fixture(params=["memory", "postgres"])
def log(request: pytest.FixtureRequest) -> Log:
    if request.param == "memory":
        return MemoryLog()
    return PostgresLog(request.getfixturevalue("commitments_url"))


@dataclass(frozen=True, slots=True)
class Sent:
    """One server-sent event."""

    id: int | None
    event: str | None
    data: str | None


def sent(block: str) -> Sent | None:
    """Read one block of a stream; None for a comment."""
    fields = dict(line.split(": ", 1) for line in block.splitlines() if line and not line.startswith(":"))
    if not fields or set(fields) == {"retry"}:
        return None
    return Sent(int(fields["id"]) if "id" in fields else None, fields.get("event"), fields.get("data"))


async def following(side: WriteSide, path: str = "/v1/stream", **headers: str) -> AsyncGenerator[Sent]:
    """Follow a stream as long as the caller wants, or until it ends."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with side.client.stream("GET", path, headers=named) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        rest = ""
        async for chunk in answer.aiter_text():
            *blocks, rest = (rest + chunk.replace("\r\n", "\n")).split("\n\n")
            for block in blocks:
                if (found := sent(block)) is not None:
                    yield found


async def take(stream: AsyncIterator[Sent], count: int) -> list[Sent]:
    async with asyncio.timeout(SOON_S):
        return [await anext(stream) for _ in range(count)]


async def pledges(side: WriteSide, *names: str, **other: object) -> None:
    for name in names:
        await side.put(f"/v1/pledges/{name}", a_pledge(**other))


# ------------------------------------------------------------------------------------------------- live


async def test_a_reader_gets_the_past_then_hears_that_it_has_caught_up_then_what_comes(log: Log) -> None:
    async with served(log) as side:
        await pledges(side, "a", "b")
        async with aclosing(following(side)) as stream:
            past = await take(stream, 3)
            assert [(one.id, one.event) for one in past] == [
                (1, "muster.pledge.announced.v1"),
                (2, "muster.pledge.announced.v1"),
                (2, "caught-up"),
            ]
            await pledges(side, "c")
            (new,) = await take(stream, 1)
            assert new.id == 3
            assert json.loads(new.data or "")["subject"] == "pledge-c"


async def test_an_empty_log_is_caught_up_with_at_once(log: Log) -> None:
    async with served(log) as side, aclosing(following(side)) as stream:
        (first,) = await take(stream, 1)
        assert (first.id, first.event, first.data) == (0, "caught-up", '{"position":0}')


async def test_the_last_event_id_wins(log: Log) -> None:
    async with served(log) as side:
        await pledges(side, "a", "b", "c")
        async with aclosing(following(side, "/v1/stream?after=0", Last_Event_ID="2")) as stream:
            assert [one.id for one in await take(stream, 2)] == [3, 3]
        async with aclosing(following(side, "/v1/stream?after=1")) as stream:
            assert [one.id for one in await take(stream, 3)] == [2, 3, 3]


async def test_a_filtered_reader_moves_on_with_bare_ids(log: Log) -> None:
    async with served(log) as side:
        await side.put("/v1/coalitions/drones", a_coalition())
        await pledges(side, "a", "b")
        async with aclosing(following(side, "/v1/stream?coalition=drones")) as stream:
            past = await take(stream, 3)
            assert [(one.id, one.event) for one in past] == [
                (1, "muster.coalition.formed.v1"),
                (3, None),
                (3, "caught-up"),
            ]
            await pledges(side, "c")
            assert await take(stream, 1) == [Sent(4, None, None)]
            await pledges(side, "d", coalition="drones")
            (new,) = await take(stream, 1)
            assert (new.id, new.event) == (5, "muster.pledge.announced.v1")


async def test_what_another_process_records_is_heard_too(log: Log) -> None:
    other = Ledger(log)
    try:
        async with served(log) as side, aclosing(following(side)) as stream:
            await take(stream, 1)
            await other.handle(Record(entry=examples.a_pledge()), Identity("a", "a", "somebody"))
            (new,) = await take(stream, 1)
            assert new.id == 1
    finally:
        await other.close()


async def test_a_reader_who_is_cut_off_anywhere_sees_every_event_once() -> None:
    async with served(MemoryLog()) as side:
        count = 300
        commands = [(f"PUT /v1/pledges/p{n}", a_pledge(note="ü" * (n % 40 + 1))) for n in range(count)]
        await imported(side, *commands)
        chance, last, cuts = random.Random(7), 0, 0
        seen: list[str] = []
        while len(seen) < count and cuts < 300:
            cuts += 1
            rest, left = b"", chance.randint(1, 6_000)
            async with side.client.stream("GET", "/v1/stream", headers={"Last-Event-ID": str(last)}) as answer:
                async for chunk in answer.aiter_raw():
                    rest, left = rest + chunk[:left], left - len(chunk)
                    if left <= 0 or b"caught-up" in rest:
                        break
            for block in rest.replace(b"\r\n", b"\n").split(b"\n\n")[:-1]:
                one = sent(block.decode())
                if one is None or one.id is None:
                    continue
                last = one.id
                if one.event == "muster.pledge.announced.v1":
                    seen.append(json.loads(one.data or "")["subject"])
        assert cuts > 50
        assert seen == [f"pledge-p{n}" for n in range(count)]


async def test_when_the_log_goes_away_the_stream_ends_and_its_reader_comes_back() -> None:
    log = Flickering()
    async with served(log) as side:
        await pledges(side, "a")
        log.away = True
        seen = [one.id async for one in following(side)]
        assert seen == []
        log.away = False
        async with aclosing(following(side)) as stream:
            assert [one.id for one in await take(stream, 2)] == [1, 1]


@pytest.mark.parametrize("last", ["-1", "x", "1" * 19, "1.5", ""])
async def test_a_last_event_id_is_a_position(last: str) -> None:
    async with write_side(MemoryLog()) as side:
        answer = await side.client.get("/v1/stream", headers={"Last-Event-ID": last})
        assert (answer.status_code, problem(answer)["errors"][0]["parameter"]) == (422, "Last-Event-ID")


# ------------------------------------------------------------------------------------------------- pages and NDJSON


async def test_a_page_says_how_far_it_looked_so_that_filtered_readers_move_on(log: Log) -> None:
    async with write_side(log) as side:
        await side.put("/v1/coalitions/drones", a_coalition())
        await pledges(side, "a", "b", "c")
        page = (await side.get("/v1/events?coalition=drones")).json()
        assert ([event["position"] for event in page["events"]], page["next_after"], page["head"]) == (["1"], 4, 4)
        page = (await side.get("/v1/events?after=1&limit=2")).json()
        assert ([event["position"] for event in page["events"]], page["next_after"], page["head"]) == (
            ["2", "3"],
            3,
            4,
        )
        page = (await side.get("/v1/events?after=4")).json()
        assert page == {"events": [], "next_after": 4, "head": 4}


async def test_filters_hold_together(log: Log) -> None:
    async with write_side(log) as side:
        await side.put("/v1/coalitions/drones", a_coalition(members=[{"party": "LVA", "role": "lead"}]))
        await pledges(side, "a", coalition="drones")
        await pledges(side, "b", coalition="drones", donors=[{"party": "DNK"}])
        await side.put("/v1/pledges/a/deliveries/d1", a_delivery())

        async def found(query: str) -> list[str]:
            page = (await side.get(f"/v1/events?{query}")).json()
            return [event["position"] for event in page["events"]]

        assert await found("coalition=drones") == ["1", "2", "3", "4"]
        assert await found("coalition=drones&party=GBR") == ["2", "4"]
        assert await found("party=LVA") == ["1"]
        assert await found("stream=pledge-a") == ["2", "4"]
        assert await found("type=muster.pledge.announced.v1&type=muster.coalition.formed.v1") == ["1", "2", "3"]
        assert await found("type=muster.pledge.announced.v1&party=DNK") == ["3"]
        stream = (await side.get("/v1/streams/pledge-a/events")).json()
        assert [event["position"] for event in stream["events"]] == ["2", "4"]


async def test_a_correction_is_found_by_whom_the_entry_was_and_is_about(log: Log) -> None:
    async with write_side(log) as side:
        first = await side.put("/v1/pledges/a", a_pledge())
        event_id = first.json()["events"][0]["event_id"]
        body = a_pledge(donors=[{"party": "DNK"}], reason="misread")
        await side.post(f"/v1/events/{event_id}/correct", body)
        for query, positions in (("party=DNK", ["2"]), ("party=GBR", ["1", "2"])):
            page = (await side.get(f"/v1/events?{query}")).json()
            assert [event["position"] for event in page["events"]] == positions


async def test_all_of_the_log_comes_as_lines(log: Log) -> None:
    async with write_side(log) as side:
        count = 1_203
        await imported(side, *((f"PUT /v1/pledges/p{n}", a_pledge()) for n in range(count)))
        answer = await side.get("/v1/events", Accept=NDJSON)
        assert answer.headers["content-type"].startswith("application/x-ndjson")
        assert [int(json.loads(line)["position"]) for line in answer.text.splitlines()] == list(range(1, count + 1))
        some = await side.get("/v1/events?after=100&limit=1050", Accept=NDJSON)
        assert len(some.text.splitlines()) == 1_050
        one = await side.get("/v1/events?stream=pledge-p1200", Accept=NDJSON)
        assert [json.loads(line)["subject"] for line in one.text.splitlines()] == ["pledge-p1200"]


async def test_an_event_is_the_same_wherever_it_is_read(log: Log) -> None:
    async with write_side(log) as side:
        await pledges(side, "a")
        (event,) = (await side.get("/v1/events")).json()["events"]
        alone = await side.get(f"/v1/events/{event['id']}")
        assert alone.json() == event
        assert alone.headers["content-type"] == "application/cloudevents+json"
        assert event["data"]["amount"] == {"unit": "piece", "qualifier": "exactly", "low": "500", "high": "500"}
        assert (event["happenedon"], event["reportedon"], event["recordedby"]) == (
            "2024-02-15",
            "2024-02-15",
            "anonymous",
        )


async def test_a_trace_context_travels_on_with_the_event() -> None:
    async with write_side(MemoryLog()) as side:
        trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        await side.put("/v1/pledges/a", a_pledge(), traceparent=trace)
        await side.put("/v1/pledges/b", a_pledge(), traceparent="nonsense")
        first, second = (await side.get("/v1/events")).json()["events"]
        assert first["traceparent"] == trace
        assert "traceparent" not in second


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("after=-1", "after"),
        ("after=x", "after"),
        ("after=9223372036854775808", "after"),
        ("after=", "after"),
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("stream=pledge", "stream"),
        ("stream=pledge-%00", "stream"),
        ("type=pledge.announced", "type"),
        ("coalition=A", "coalition"),
        ("party=gbr", "party"),
        ("colour=red", "colour"),
        ("after=1&after=2", "after"),
    ],
)
async def test_a_wrong_parameter_is_named(query: str, parameter: str) -> None:
    async with write_side(MemoryLog()) as side:
        told = problem(await side.get(f"/v1/events?{query}", 422))
        assert (told["code"], told["errors"][0]["parameter"]) == ("invalid-parameter", parameter)


@pytest.mark.parametrize(
    "path", ["/v1/events/x", "/v1/events/%00", "/v1/events/019a0f6e-7c1b-7d3a-9e55-0f4c2b8a1d10",
             "/v1/streams/pledge-x/events", "/v1/streams/%00/events", "/v1/streams/p%C3%A4/events"],
)  # fmt: skip
async def test_what_is_not_there_is_not_found(log: Log, path: str) -> None:
    async with write_side(log) as side:
        problem(await side.get(path, 404))


@pytest.mark.parametrize("path", ["/v1/events", "/v1/pledges/x", "/v1/streams/pledge-x/events", "/readyz"])
@pytest.mark.parametrize("accept", ["application/json", "application/x-ndjson"])
async def test_without_the_log_readers_are_told_to_come_again(path: str, accept: str) -> None:
    log = Flickering()
    log.away = True
    async with write_side(log) as side:
        answer = await side.get(path, 503, Accept=accept)
        assert problem(answer)["code"] == "unavailable"
        assert answer.headers["retry-after"] == "1"


class Flickering(MemoryLog):
    """A log that can be away."""

    def __init__(self) -> None:
        super().__init__()
        self.away = False

    async def read(self, after: int, limit: int, where: Filter = EVERYTHING) -> Page:
        self._there()
        return await super().read(after, limit, where)

    async def read_stream(self, stream: str, after: int = 0, limit: int = 1_000) -> list[Row]:
        self._there()
        return await super().read_stream(stream, after, limit)

    async def revision(self) -> str | None:
        self._there()
        return await super().revision()

    def _there(self) -> None:
        if self.away:
            raise Away("gone")


async def imported(side: WriteSide, *commands: tuple[str, dict[str, object]]) -> None:
    answer = await side.client.post("/v1/imports", content=lines(*commands), headers={"Content-Type": NDJSON})
    assert {json.loads(line)["status"] for line in answer.text.splitlines()} == {201}
