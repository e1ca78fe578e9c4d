"""Which capabilities the ledger speaks of, on any day, as known at any position."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import date
from typing import Any

import pytest
import pytest_asyncio
from msgspec.structs import replace
from sqlalchemy.ext.asyncio import AsyncEngine

from services.projections.http.capabilities import Capabilities
from services.projections.read_models import capabilities
from services.projections.read_models.capabilities import CAPABILITIES
from shared.days import Said
from shared.events import Entry
from shared.events.parties import CapabilityNamed
from shared.recorded import Recorded
from tests.acceptance.readside import ReadSide, a_read_side
from tests.examples import a_pledge, a_target, pieces
from tests.integration.copies import apply, made, replays_are_equal
from tests.integration.random_ledgers import Dice
from tests.integration.streams import correction, recorded, retraction

END = date(2030, 1, 1)


@pytest_asyncio.fixture
async def database(projections_url: str) -> AsyncIterator[AsyncEngine]:
    async with made(projections_url, CAPABILITIES) as found:
        yield found


@pytest.fixture
async def side(projections_url: str, projections_reader_url: str) -> AsyncIterator[ReadSide]:
    async with a_read_side(projections_url, projections_reader_url) as found:
        yield found


def a_pledge_of(name: str, capability: str, on: str = "2024-02-15") -> Entry:
    return replace(a_pledge(name, pieces(1)), capability=capability, announced_on=Said(on))


async def spoken(database: AsyncEngine, *, on: date = END, known: int) -> dict[tuple[str, str], int]:
    async with database.connect() as conn:
        found = await capabilities.uses(conn, on=on, known=known)
    return {(use.code, use.family): use.entries for use in found}


async def test_a_replay_gives_equal_tables(database: AsyncEngine) -> None:
    await replays_are_equal(database, CAPABILITIES, Dice(3, pledges=8).ledger(120), {7, 40, 41, 90})


async def test_what_is_spoken_of_is_counted_as_known_and_by_its_day(database: AsyncEngine) -> None:
    first = recorded([a_pledge_of("x", "drone"), a_pledge_of("y", "drone", on="2024-06-01"), a_target("million")])
    amends = recorded([correction(first[0], a_pledge_of("x", "drone.fpv")), retraction(first[1])], after=3)
    await apply(database, CAPABILITIES, [*first, *amends], cuts=[4])
    target = first[2].event.capability  # type: ignore[attr-defined]  # a target has one
    wanted: Any = {
        (END, 2): {("drone", "pledge"): 2},
        (date(2024, 3, 1), 2): {("drone", "pledge"): 1},
        (END, 3): {("drone", "pledge"): 2, (target, "target"): 1},
        (END, 4): {("drone", "pledge"): 1, ("drone.fpv", "pledge"): 1, (target, "target"): 1},
        (END, 5): {("drone.fpv", "pledge"): 1, (target, "target"): 1},
    }
    for (on, known), expected in wanted.items():
        assert await spoken(database, on=on, known=known) == expected, (on, known)


async def test_every_random_ledger_speaks_of_what_a_look_at_each_entry_finds(database: AsyncEngine) -> None:
    events = Dice(11, pledges=10).ledger(150)
    await apply(database, CAPABILITIES, events, cuts=range(0, 150, 13))
    for known in (1, 40, 99, 150):
        assert await spoken(database, on=date.max, known=known) == counted(events[:known]), known


def counted(events: list[Recorded]) -> dict[tuple[str, str], int]:
    """By brute force: what each entry says, as amended last."""
    said: dict[int, tuple[str, set[str]]] = {}
    for event in events:
        amendment: Any = event.event
        place = getattr(amendment, "entry_position", event.position)
        match type(amendment).__name__:
            case "EntryRetracted":
                said.pop(place, None)
                continue
            case "SourcesAdded":
                continue
            case "EntryCorrected":
                amendment = amendment.now
            case _:
                pass
        measures = getattr(amendment, "also", None) or ()
        codes = {getattr(amendment, "capability", None), *(measure.capability for measure in measures)}
        said[place] = (event.family, {code for code in codes if code})
    found: dict[tuple[str, str], int] = {}
    for family, codes in said.values():
        for code in codes:
            found[code, family] = found.get((code, family), 0) + 1
    return found


async def test_capabilities_are_listed_with_their_names_and_what_they_contain(side: ReadSide) -> None:
    name = CapabilityNamed(capability="drone", name="Drones")
    await side.record(name, a_pledge_of("x", "drone.fpv"), a_pledge_of("y", "drones"), a_pledge_of("z", "drone.fpv"))
    Capabilities.model_validate_json((await side.client.get("/v1/capabilities")).content, strict=True)
    answer = await side.get("/v1/capabilities")
    drone, fpv, drones = answer["capabilities"]
    assert (drone["code"], drone["name"], drone["contains"], drone["entries"]) == ("drone", "Drones", ["drone.fpv"], {})
    assert (fpv["within"], fpv["name"], fpv["entries"], fpv["first_on"]) == ("drone", None, {"pledge": 2}, "2024-02-15")
    assert (drones["code"], drones["within"]) == ("drones", None)
    before = (await side.get("/v1/capabilities", known=1))["capabilities"]
    assert [one["code"] for one in before] == ["drone"]
    assert (await side.get(fpv["totals"]))["totals"][0]["capability"] == "drone.fpv"
