"""Targets by their scopes, and what was learned of each."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import date

import pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncEngine

from services.projections.http.targets import about_targets
from services.projections.progress import terms_of
from services.projections.read_models import target_progress
from services.projections.read_models.target_progress import TARGET_PROGRESS
from shared.days import Said
from shared.events import Entry
from shared.events.targets import TargetClosed
from shared.recorded import Recorded
from tests.examples import a_coalition, a_pledge, a_target, pieces, target_revised
from tests.integration.copies import apply, made, replays_are_equal
from tests.integration.streams import correction, recorded, retraction


@pytest_asyncio.fixture
async def database(projections_url: str) -> AsyncIterator[AsyncEngine]:
    async with made(projections_url, TARGET_PROGRESS) as found:
        yield found


def ledger() -> list[Recorded]:
    said: list[Entry] = [
        a_coalition("drones"),
        a_target("million"),
        a_pledge("x", pieces(5)),
        a_target("own", coalition=None, party="UKR"),
        target_revised(on="2024-07-11", due_by=Said("2025-07-11")),
        TargetClosed(target="own", on=Said("2024-12-01"), outcome="met early"),
    ]
    events = recorded(said)
    moved = correction(events[1], a_target("million", pieces(7), coalition="fpv"))
    return [*events, *recorded([moved, retraction(events[3])], after=len(events))]


async def test_a_replay_gives_equal_tables(database: AsyncEngine) -> None:
    await replays_are_equal(database, TARGET_PROGRESS, ledger(), {2, 5})


async def test_what_was_learned_folds_as_known_at_any_position(database: AsyncEngine) -> None:
    await apply(database, TARGET_PROGRESS, ledger())
    asked: dict[int, list[tuple[str, object, object]]] = {}
    for known in (1, 2, 4, 5, 7, 8):
        async with database.connect() as conn:
            found = await target_progress.targets(conn, known)
        asked[known] = [
            (name, terms.asked, terms.due_by)
            for name, learned in sorted(found.items())
            if (terms := terms_of(about_targets(learned)).on(date(2024, 8, 1))) is not None
        ]
    old, new, own = date(2024, 12, 31), date(2025, 7, 11), date(2024, 12, 31)
    assert asked == {
        1: [],
        2: [("million", 1_000_000, old)],
        4: [("million", 1_000_000, old), ("own", 1_000_000, own)],
        5: [("million", 1_000_000, new), ("own", 1_000_000, own)],
        7: [("million", 7, new), ("own", 1_000_000, own)],
        8: [("million", 7, new)],
    }


async def test_targets_are_found_by_every_scope_they_were_ever_said_to_be_of(database: AsyncEngine) -> None:
    await apply(database, TARGET_PROGRESS, ledger())
    async with database.connect() as conn:
        assert list(await target_progress.targets(conn, 8, coalition="drones")) == ["million"]
        assert list(await target_progress.targets(conn, 8, coalition="fpv")) == ["million"]
        assert list(await target_progress.targets(conn, 6, coalition="fpv")) == []
        assert list(await target_progress.targets(conn, 8, party="UKR")) == ["own"]
        assert await target_progress.target(conn, "nothing", 8) == []
