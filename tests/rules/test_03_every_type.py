"""Rule 3 for each of the 31 types, over HTTP: recorded, corrected, retracted; the totals follow every time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from services.commitments.log.memory import MemoryLog
from services.projections.postings import Account, Row
from services.projections.read_models.coalition_totals import notes, post, touched
from shared.amounts import ZERO, Vector
from shared.codec import decode
from shared.events import EVENT_TYPES
from tests.acceptance.writeside import AMENDMENTS, STORY, WriteSide, problem, write_side
from tests.integration.streams import recorded


@pytest_asyncio.fixture
async def side() -> AsyncIterator[WriteSide]:
    async with write_side(MemoryLog()) as opened:
        yield opened


async def say(side: WriteSide, command: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """Send a command that is recorded, and give its event."""
    method, path = command.split(" ")
    recorded: dict[str, Any] = (await side.send(method, path, body, 201)).json()["events"][0]
    return recorded


async def rows(side: WriteSide) -> dict[Row, Vector]:
    """What all postings of the log sum to, once every day has come."""
    events = (await side.get("/v1/events?limit=1000")).json()["events"]
    log = [decode(event["type"], msgspec.json.encode(event["data"])) for event in events]
    news = notes(recorded(log))
    names = touched(news, {})
    postings = post(news, names, {name: Account(name) for name in {name for found in names for name in found}})
    sums: dict[Row, Vector] = {}
    for posting in postings:
        sums[posting.row] = sums.get(posting.row, ZERO) + posting.vector
    return {row: vector for row, vector in sums.items() if vector}


def said_otherwise(body: Mapping[str, Any]) -> dict[str, Any]:
    """The same body with another amount, or where it has none with a note."""
    if "amount" in body:
        return {**body, "amount": {"unit": body["amount"]["unit"], "about": "123"}}
    return {**body, "note": "read again"}


def test_the_story_has_every_type_that_can_be_amended() -> None:
    assert len(STORY) + len(AMENDMENTS) >= len(EVENT_TYPES) == 31


@pytest.mark.parametrize("n", range(len(STORY)), ids=[command for command, _ in STORY])
async def test_rule_3_what_is_recorded_can_be_corrected_and_the_totals_are_as_if_it_had_said_so_at_once(
    side: WriteSide, n: int
) -> None:
    for command, body in STORY[:n]:
        await say(side, command, body)
    command, body = STORY[n]
    event = await say(side, command, body)
    now = said_otherwise(body)
    await say(side, f"POST /v1/events/{event['event_id']}/correct", {"reason": "misread", **now})
    async with write_side(MemoryLog()) as at_once:
        for earlier, about in STORY[:n]:
            await say(at_once, earlier, about)
        await say(at_once, command, now)
        assert await rows(side) == await rows(at_once)


@pytest.mark.parametrize("n", range(len(STORY)), ids=[command for command, _ in STORY])
async def test_rule_3_what_is_recorded_can_be_retracted_and_the_totals_are_as_if_it_had_never_been_said(
    side: WriteSide, n: int
) -> None:
    for command, body in STORY[:n]:
        await say(side, command, body)
    before = await rows(side)
    event = await say(side, *STORY[n])
    await say(side, f"POST /v1/events/{event['event_id']}/retract", {"reason": "never happened"})
    assert await rows(side) == before


@pytest.mark.parametrize(("command", "amendment", "body"), AMENDMENTS, ids=[name for _, name, _ in AMENDMENTS])
async def test_rule_3_what_is_said_about_an_entry_is_itself_neither_corrected_nor_retracted(
    side: WriteSide, command: str, amendment: str, body: dict[str, Any]
) -> None:
    ids = {told: (await say(side, told, about))["event_id"] for told, about in STORY}
    amending = (await say(side, f"POST /v1/events/{ids[command]}/{amendment}", body))["event_id"]
    before = await rows(side)
    refused = await side.post(f"/v1/events/{amending}/retract", {"reason": "no"}, 409)
    assert problem(refused)["code"] == "not-correctable"
    assert await rows(side) == before


async def test_rule_3_over_the_whole_story_every_type_was_recorded(side: WriteSide) -> None:
    ids = {command: (await say(side, command, body))["event_id"] for command, body in STORY}
    for command, amendment, body in AMENDMENTS:
        await say(side, f"POST /v1/events/{ids[command]}/{amendment}", body)
    events = (await side.get("/v1/events?limit=1000")).json()["events"]
    assert {event["type"] for event in events} == EVENT_TYPES.keys()
