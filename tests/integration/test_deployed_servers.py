"""What deploy/ makes of real servers: NATS with its nats.conf, PostgreSQL after its databases.sql."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import nats
import nats.errors
import nats.js.errors
import pytest
import pytest_asyncio
from nats.aio.client import Client

from muster.embedded import LOOPBACK, Port, lent_account, nats_server, postgres_files, running_nats
from muster.provision import Names, Passwords, as_role, make_databases
from services.commitments.hints import Growth, hints
from services.projections.consumer import Place, Stream
from tests.conftest import Servers
from tests.examples import a_delivery, a_pledge, pieces
from tests.integration.streams import Published, recorded

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
FACT = "ledger.v1.pledge.announced.drone-coalition.gbr-fpv"

# ------------------------------------------------------------------------------------------------------- NATS


@dataclass(frozen=True, slots=True)
class Deployed:
    """NATS as deploy/nats/nats.conf has it."""

    port: int
    monitor: str

    def url(self, user: str = "") -> str:
        # passwords that look like numbers: the configuration must take them for what they are
        name = {"": "", "relay": "relay:1e3@", "commitments": "commitments:007@"}[user]
        return f"nats://{name}{LOOPBACK}:{self.port}"


@pytest_asyncio.fixture
async def deployed(tmp_path: Path) -> AsyncIterator[Deployed]:
    text = (DEPLOY / "nats" / "nats.conf").read_text()
    assert text.count('"/data"') == 1
    (tmp_path / "nats.conf").write_text(text.replace('"/data"', json.dumps(str(tmp_path / "data"))))
    port, monitor = Port(), Port()
    process = await asyncio.create_subprocess_exec(
        *(nats_server(), "-c", str(tmp_path / "nats.conf"), "-a", LOOPBACK),
        *("-p", str(port.number), "-m", str(monitor.number)),
        env={**os.environ, "NATS_RELAY_PASSWORD": '"1e3"', "NATS_COMMITMENTS_PASSWORD": '"007"'},
        stderr=asyncio.subprocess.DEVNULL,
    )
    server = Deployed(port.number, f"http://{LOOPBACK}:{monitor.number}")
    try:
        async with asyncio.timeout(20), httpx2.AsyncClient(trust_env=False) as client:
            while process.returncode is None:
                with contextlib.suppress(httpx2.HTTPError):
                    if (await client.get(f"{server.monitor}/healthz")).is_success:
                        break
                await asyncio.sleep(0.05)
        yield server
    finally:
        process.terminate()
        await process.wait()
        port.release()
        monitor.release()


@pytest_asyncio.fixture
async def published(deployed: Deployed) -> AsyncIterator[Published]:
    """The stream, as the relay makes it, with ten facts."""
    client = await nats.connect(deployed.url("relay"))
    stream = Published(client, "ledger")
    await stream.create()
    await stream.put(ten_facts())
    yield stream
    await client.close()


@pytest_asyncio.fixture
async def anyone(deployed: Deployed) -> AsyncIterator[Client]:
    async def refused(_: Exception) -> None: ...  # told by the server; what matters is what did not happen

    client = await nats.connect(deployed.url(), error_cb=refused)
    yield client
    await client.close()


def ten_facts() -> list[Any]:
    return recorded([a_pledge("x", pieces(500)), *(a_delivery(f"d{n}", pieces(n)) for n in range(1, 10))])


async def last(stream: Published) -> int:
    return (await stream.client.jetstream().stream_info(stream.name)).state.last_seq


async def test_the_deployed_server_is_set_as_the_embedded_one(deployed: Deployed, tmp_path: Path) -> None:
    async def settings(monitor: str) -> dict[str, Any]:
        async with httpx2.AsyncClient(trust_env=False) as client:
            said = (await client.get(f"{monitor}/varz")).json()
        jetstream = {key: said["jetstream"]["config"].get(key) for key in ("sync_always", "sync_interval", "strict")}
        return jetstream | {key: said[key] for key in ("server_name", "max_payload", "version")}

    async with running_nats(tmp_path) as embedded:
        there = await settings(f"http://{LOOPBACK}:{embedded.monitor_port}")
    assert await settings(deployed.monitor) == there
    assert there["sync_always"] is True


async def test_whoever_gives_no_name_reads_the_facts(deployed: Deployed, published: Published) -> None:
    reader = Stream(deployed.url(), published.ledger)
    batch = await reader.read(Place(0), 100)
    assert list(batch.events) == ten_facts_as_published(batch.events)
    assert batch.head == 10
    again = Stream(deployed.url(), published.ledger)
    there = Place(7, batch.events[6].event_id)  # it looks whether that event is there
    assert [event.position for event in (await again.read(there, 100)).events] == [8, 9, 10]
    await reader.close()
    await again.close()


def ten_facts_as_published(events: Any) -> list[Any]:
    """The same facts with the ids that were made when they were put there."""
    ids = {event.position: event.event_id for event in events}
    return [fact.__replace__(event_id=ids[fact.position]) for fact in ten_facts()]
