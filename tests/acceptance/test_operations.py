"""What whoever runs the read side can ask: how far each read model is, whether somebody moves it, its rebuild."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from services.projections.http.app import CONNECTIONS
from services.projections.http.projections import Projections
from services.projections.read_models import READ_MODELS
from tests.acceptance.readside import ReadSide, a_read_side
from tests.examples import a_pledge, pieces

SILENT = text("UPDATE checkpoints SET updated_at = now() - make_interval(secs => :seconds)")
STOPPED = text("UPDATE checkpoints SET status = 'stopped', reason = 'poison' WHERE name = 'pledges'")
BUILDING = text(
    """
    INSERT INTO rebuilds (name, version, stage, code, resumed_at, resumed_from)
    SELECT name, version, 'filling', 'x', now() - interval '10 seconds', 20 FROM checkpoints WHERE name = 'pledges'
    """
)
BESIDE = text(
    "INSERT INTO checkpoints (name, version, position) "
    "SELECT 'pledges_beside', version, 40 FROM checkpoints WHERE name = 'pledges'"
)


@pytest.fixture
async def side(projections_url: str, projections_reader_url: str) -> AsyncIterator[ReadSide]:
    async with a_read_side(projections_url, projections_reader_url) as found:
        yield found


async def run(side: ReadSide, statement: Any, **values: Any) -> None:
    async with side.worker.begin() as conn:
        await conn.execute(statement, values)


async def one(side: ReadSide, name: str) -> dict[str, Any]:
    answer = await side.get("/v1/projections")
    Projections.model_validate(answer, strict=True)
    found: dict[str, Any] = next(model for model in answer["projections"] if model["name"] == name)
    return found


async def test_every_read_model_says_where_it_is(side: ReadSide) -> None:
    await side.record(a_pledge("x", pieces(1)), a_pledge("y", pieces(1)))
    answer = await side.get("/v1/projections")
    assert (answer["head"], answer["worker"]) == (2, {"heard_of": True, "silent_seconds": 0})
    assert [model["name"] for model in answer["projections"]] == [model.name for model in READ_MODELS]
    assert {(m["position"], m["lag"], m["lag_seconds"], m["status"]) for m in answer["projections"]} == {
        (2, 0, 0, "running")
    }
    again = await side.client.get("/v1/projections")
    tag = again.headers["ETag"]
    assert (await side.client.get("/v1/projections", headers={"If-None-Match": tag})).status_code == 304
    assert (await side.get("/v1/projections", expect=422, on="2024-01-01"))["errors"][0]["pointer"] == "/query/on"


async def test_a_stopped_one_says_why_and_how_far_behind_the_others_it_is(side: ReadSide) -> None:
    await side.record(a_pledge("x", pieces(1)))
    await run(side, STOPPED)
    await run(side, text("UPDATE checkpoints SET position = 5, head = 5 WHERE name <> 'pledges'"))
    found = await one(side, "pledges")
    assert (found["status"], found["error"], found["position"], found["lag"]) == ("stopped", "poison", 1, 4)
    assert found["lag_seconds"] > 0


async def test_where_no_worker_is_heard_of_answers_say_how_long_and_readiness_is_degraded(side: ReadSide) -> None:
    await side.record(a_pledge("x", pieces(1)))
    assert (await side.client.get("/v1/totals")).headers["Lag-Seconds"] == "0"
    await run(side, SILENT, seconds=30)
    lag = (await side.client.get("/v1/totals")).headers["Lag-Seconds"]
    assert float(lag) >= 30
    assert (await one(side, "entries"))["lag_seconds"] >= 30
    answer = await side.get("/v1/projections")
    assert answer["worker"]["heard_of"] is False
    ready = await side.get("/readyz")
    assert ready["status"] == "degraded"
    assert ready["problems"][0].startswith("the worker was not heard of for ")
    await run(side, SILENT, seconds=3_000)
    assert (await side.get("/readyz", expect=503))["status"] == "not ready"


async def test_one_worker_that_is_heard_of_is_enough_for_those_that_wait(side: ReadSide) -> None:
    await side.record(a_pledge("x", pieces(1)))
    await run(side, SILENT, seconds=30)
    await run(side, text("UPDATE checkpoints SET updated_at = now() + interval '1 day' WHERE name = 'entries'"))
    assert (await side.client.get("/v1/totals")).headers["Lag-Seconds"] == "0"


async def test_a_rebuild_says_how_far_it_is_and_whether_somebody_works_at_it(side: ReadSide) -> None:
    await side.record(a_pledge("x", pieces(1)))
    assert (await one(side, "pledges"))["rebuild"] is None
    await run(side, BUILDING)
    await run(side, BESIDE)
    await run(side, text("UPDATE checkpoints SET head = 60, position = 60 WHERE name = 'pledges'"))
    found = (await one(side, "pledges"))["rebuild"]
    assert (found["stage"], found["running"], found["position"], found["percent"]) == ("filling", False, 40, 66.7)
    assert found["seconds_left"] is None
    async with side.worker.begin() as conn:
        version = next(model.version for model in READ_MODELS if model.name == "pledges")
        lock = "SELECT pg_advisory_xact_lock(hashtextextended(:key, 0))"
        await conn.execute(text(lock), {"key": f"rebuild pledges_v{version}"})
        found = (await one(side, "pledges"))["rebuild"]
        assert found["running"] is True
        assert found["seconds_left"] >= 10, "20 of 40 in 10 seconds: as long again"
        figures = (await side.client.get("/metrics")).text
    assert f'muster_rebuild_position{{read_model="pledges",version="{version}"}} 40.0' in figures


async def test_the_queries_export_how_far_the_read_models_are(side: ReadSide) -> None:
    await side.record(a_pledge("x", pieces(1)))
    await run(
        side, text("UPDATE checkpoints SET head = 4, behind_since = :at"), at=datetime.now(UTC) - timedelta(hours=1)
    )
    figures = (await side.client.get("/metrics")).text
    assert 'muster_read_model_position{read_model="entries",version="' in figures
    lines = [line for line in figures.splitlines() if line.startswith('muster_read_model_lag_positions{read_model="e')]
    assert [line.rpartition(" ")[2] for line in lines] == ["3.0"]
    assert "muster_http_requests_total" in figures


async def test_who_asks_while_every_connection_is_taken_is_told_to_come_again(
    side: ReadSide, monkeypatch: pytest.MonkeyPatch
) -> None:
    await side.record(a_pledge("x", pieces(5)))
    monkeypatch.setattr(side.reader.sync_engine.pool, "_timeout", 0.05)
    async with AsyncExitStack() as taken:
        for _ in range(CONNECTIONS):
            await taken.enter_async_context(side.reader.connect())
        answer = await side.client.get("/v1/totals")
        assert (answer.status_code, answer.json()["code"], answer.headers["Retry-After"]) == (503, "busy", "1")
    await side.get("/v1/totals")
