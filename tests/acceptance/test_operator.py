# ruff: noqa: S608 - the names that stand in this SQL are our own
"""What an operator does from the shell, where `muster up` runs: status, doctor, rebuild."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import nats
import pytest

from muster.running import Running
from shared.cloudevent import headers
from shared.recorded import Recorded
from shared.subjects import subject
from tests.acceptance.test_muster_up import Runs, Up, scalar
from tests.examples import a_pledge, pieces
from tests.integration.streams import recorded

ROOT = Path(__file__).resolve().parents[2]
PLEDGE = {
    "donors": [{"party": "GBR"}],
    "capability": "drone",
    "amount": {"unit": "piece", "exactly": "5"},
    "announced_on": "2024-02-15",
    "sources": [{"url": "https://example.org/news"}],
}


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    runs = Runs(tmp_path_factory.mktemp("operator"), {})
    try:
        yield runs.start()
    finally:
        runs.close()


def muster(up: Up, *words: str) -> tuple[int, str]:
    """Run a command, and give its exit status and all it says."""
    command = [sys.executable, "-m", "muster", *words, "--home", str(up.home)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False, timeout=240)
    return done.returncode, done.stdout + done.stderr


def pledge(up: Up, *names: str) -> int:
    """Record pledges, wait until they count, and give the head."""
    position = 0
    for name in names:
        answer = httpx2.put(f"{up.where['commitments']}/v1/pledges/{name}", json=PLEDGE, trust_env=False)
        assert answer.status_code == 201, answer.text
        position = int(answer.headers["Ledger-Position"])
    comes_to(up, position)
    return position


def comes_to(up: Up, position: int) -> None:
    said = ""
    for _ in range(30):
        answer = httpx2.get(f"{up.where['projections']}/v1/totals?min_position={position}", trust_env=False, timeout=10)
        if answer.status_code == 200:
            return
        said = answer.text
    raise AssertionError(said)


def pledged(up: Up) -> str:
    """What the tables say: an answer of before would be given from memory, so each is asked for in another form."""
    accept = {"Accept": f"application/json, text/{time.monotonic_ns()}"}
    answer = httpx2.get(f"{up.where['projections']}/v1/totals?on=2030-01-01", headers=accept, trust_env=False).json()
    return str(answer["totals"][0]["low"])


async def published(up: Up, event: Recorded) -> None:
    """Put an event into the stream that the log does not hold: as after the restore of an older backup."""
    running = Running.of(up.home)
    client = await nats.connect(running.nats_url)
    about = subject(running.ledger, event.type, event.event.coalitions, event.stream)
    ack = await client.jetstream().publish(about, event.payload, headers=headers(event, running.ledger))
    assert ack.seq == event.position
    await client.close()


def test_status_shows_every_service_and_read_model_and_ends_well(up: Up) -> None:
    pledge(up, "a", "b")
    status, said = muster(up, "status")
    assert status == 0, said
    assert "ill" not in said.split()
    for what in ("commitments", "relay", "worker", "projections", "log", "stream", "coalition_totals", "entries"):
        assert what in said


def test_status_says_which_read_model_stopped_why_and_what_to_run(up: Up) -> None:
    head = pledge(up, "c")
    database = Running.of(up.home).read_models_url
    asyncio.run(scalar(database, "UPDATE checkpoints SET status = 'stopped', reason = 'poison' WHERE name = 'pledges'"))
    status, said = muster(up, "status")
    assert status == 1
    assert "stopped: poison" in " ".join(said.split())
    assert f"muster skip pledges {head + 1} --retry" in " ".join(said.split())
    assert muster(up, "skip", "pledges", str(head + 1), "--retry")[0] == 0
    pledge(up, "d")
    assert muster(up, "status")[0] == 0


def test_a_rebuild_from_the_shell_heals_a_table_and_says_what_differed(up: Up) -> None:
    pledge(up, "e")
    before = pledged(up)
    database = Running.of(up.home).read_models_url
    schema = asyncio.run(
        scalar(database, "SELECT nspname FROM pg_namespace WHERE nspname ~ '^coalition_totals_v[0-9]+$'")
    )
    asyncio.run(scalar(database, f"UPDATE {schema}.totals SET low = low + 1000"))
    asyncio.run(scalar(database, f"UPDATE {schema}.months SET low = low + 1000"))
    assert pledged(up) != before
    status, said = muster(up, "rebuild", "coalition_totals", "--check")
    assert (status, "not switched" in said, "totals: " in said) == (1, True, True)
    assert pledged(up) != before
    status, said = muster(up, "rebuild", "coalition_totals")
    assert (status, "switched at position" in said) == (0, True)
    assert pledged(up) == before
    assert muster(up, "rebuild", "nothing")[0] == 2
    pledge(up, "f")


def test_the_doctor_mends_a_stream_and_read_models_that_went_beyond_the_log(up: Up) -> None:
    head = pledge(up, "g")
    before = pledged(up)
    asyncio.run(published(up, recorded([a_pledge("lost", pieces(777))], after=head)[0]))
    comes_to(up, head + 1)
    assert pledged(up) != before
    status, said = muster(up, "doctor")
    assert status == 1
    assert said.count("which the log does not have") >= 4
    status, said = muster(up, "doctor", "--repair")
    assert status == 0, said
    assert pledged(up) == before
    assert pledge(up, "h") == head + 1
    status, said = muster(up, "doctor")
    assert (status, "ill " in said) == (0, False), said


def test_a_home_where_nothing_runs_is_said(up: Up, tmp_path: Path) -> None:
    nowhere = Up(tmp_path, up.process, up.stderr)
    for command in (("status",), ("rebuild", "entries"), ("doctor",)):
        status, said = muster(nowhere, *command)
        assert (status, "nothing runs in" in said) == (1, True)
