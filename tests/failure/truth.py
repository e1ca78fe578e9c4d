"""Log, stream and read models, held against each other and against what writers were told."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import asyncpg
import httpx2
import nats
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from shared.subjects import stream_name
from tests.failure.ledgers import Home, until
from tests.failure.load import Told, a_client

ANNOUNCED: Final = "muster.pledge.announced.v1"
DELIVERED: Final = "muster.pledge.delivery_reported.v1"


@dataclass(frozen=True)
class Event:
    """An event of the log, as the feed gives it."""

    position: int
    id: str
    type: str
    subject: str
    time: str
    data: dict[str, Any]

    @property
    def path(self) -> str:
        """Where it was PUT."""
        if self.type == DELIVERED:
            return f"/v1/pledges/{self.data['pledge']}/deliveries/{self.data['delivery']}"
        family, _, name = self.subject.partition("-")
        return f"/v1/{family}s/{name}"


async def log_of(commitments: str) -> list[Event]:
    """The whole log."""
    found = []
    async with (
        a_client(commitments, timeout_s=60) as client,
        client.stream("GET", "/v1/events", headers={"accept": "application/x-ndjson"}) as answer,
    ):
        assert answer.status_code == httpx2.codes.OK
        async for line in answer.aiter_lines():
            if line:
                said = json.loads(line)
                found.append(
                    Event(int(said["position"]), said["id"], said["type"], said["subject"], said["time"], said["data"])
                )
    return found


def the_log_is_what_was_told(log: Sequence[Event], told: Told) -> None:
    """Positions have no holes; what was acknowledged is there, where it was said to be; nothing is there twice."""
    assert not told.wrong, told.wrong[:5]
    assert [event.position for event in log] == list(range(1, len(log) + 1)), "holes"
    times = [event.time for event in log]
    assert times == sorted(times), "recorded_at runs backwards"
    paths = [event.path for event in log]
    assert len(set(paths)) == len(paths), "something was recorded twice"
    there = {event.path: (event.position, event.id) for event in log}
    lost = [path for path, place in told.recorded.items() if there.get(path) != place]
    assert not lost, f"{len(lost)} acknowledged entries are not in the log: {lost[:3]}"
    assert len(log) == len(told.recorded), "every command was said until it was known"


async def stream_of(nats_url: str, ledger: str) -> list[tuple[int, str]]:
    """Sequence and event id of all that the stream holds."""
    client = await nats.connect(nats_url)
    try:
        js = client.jetstream(timeout=10)
        wanted = (await js.stream_info(stream_name(ledger))).state.messages
        found: list[tuple[int, str]] = []
        config = ConsumerConfig(
            deliver_policy=DeliverPolicy.ALL, ack_policy=AckPolicy.NONE, headers_only=True, mem_storage=True
        )
        reader = await js.pull_subscribe("", stream=stream_name(ledger), config=config)
        while len(found) < wanted:
            for msg in await reader.fetch(min(1_000, wanted - len(found)), timeout=20):
                assert msg.headers
                found.append((msg.metadata.sequence.stream, msg.headers["ce-id"]))
        return found
    finally:
        await client.close()


async def the_stream_is_the_log(home: Home, log: Sequence[Event], *, within_s: float = 30.0) -> float:
    """Sequence is position and the ids agree, to the last one. Gives how long that took to be so."""
    running = home.running
    wanted = [(event.position, event.id) for event in log]

    async def caught_up() -> bool:
        client = await nats.connect(running.nats_url, connect_timeout=2, allow_reconnect=False)
        try:
            info = await client.jetstream(timeout=5).stream_info(stream_name(running.ledger))
        except nats.js.errors.NotFoundError:
            return False
        except nats.errors.Error as error:
            raise OSError(str(error)) from error
        finally:
            await client.close()
        return bool(info.state.last_seq == len(log))

    took = await until(caught_up, f"the stream reaches {len(log)}", within_s=within_s)
    assert await stream_of(running.nats_url, running.ledger) == wanted
    return took


def folded(log: Sequence[Event]) -> dict[str, dict[str, Decimal]]:
    """What was pledged and delivered in pieces, in all and by coalition (`` for none): plain addition."""
    sums: dict[str, dict[str, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
    coalition: dict[str, str] = {}
    for event in log:
        if event.type == ANNOUNCED:
            coalition[event.data["pledge"]] = event.data.get("coalition") or ""
            stage = "pledged"
        elif event.type == DELIVERED:
            stage = "delivered"
        else:
            continue
        low = Decimal(event.data["amount"]["low"])
        sums[""][stage] += low
        if place := coalition[event.data["pledge"]]:
            sums[place][stage] += low
    return {place: dict(stages) for place, stages in sums.items()}


async def shown(projections: str, position: int, coalition: str = "") -> dict[str, Decimal]:
    """What the read models say at a position, in pieces."""
    path = f"/v1/coalitions/{coalition}/totals" if coalition else "/v1/totals"
    async with a_client(projections) as client:
        answer = await client.get(path, params={"min_position": position, "unit": "piece"})
    if answer.status_code == httpx2.codes.SERVICE_UNAVAILABLE:
        raise OSError(answer.text)
    assert answer.status_code == httpx2.codes.OK, answer.text
    sums: dict[str, Decimal] = defaultdict(Decimal)
    for row in answer.json()["totals"]:
        assert row["low"] == row["high"]
        sums[row["stage"]] += Decimal(row["low"])
    return dict(sums)


async def the_read_models_are_exact(home: Home, log: Sequence[Event], *, within_s: float = 60.0) -> float:
    """Totals, in all and by coalition, are what plain addition gives. Gives how long that took to be so."""
    wanted = folded(log)

    async def applied() -> bool:
        await shown(home.projections, len(log))
        return True

    took = await until(applied, f"position {len(log)} is applied", within_s=within_s)
    for place, stages in wanted.items():
        assert await shown(home.projections, len(log), place) == stages, place or "all"
    return took


async def all_agree(home: Home, told: Told, *, within_s: float = 60.0) -> list[Event]:
    """Log, stream and read models are what the writers were told. Gives the log."""
    log = await log_of(home.commitments)
    the_log_is_what_was_told(log, told)
    await the_stream_is_the_log(home, log, within_s=within_s)
    await the_read_models_are_exact(home, log, within_s=within_s)
    return log


async def fingerprint(read_models_url: str) -> dict[str, str]:
    """A hash of every table of every read model: of its rows in their order as text."""
    connection = await asyncpg.connect(read_models_url, timeout=10)
    try:
        tables = await connection.fetch(
            "SELECT schemaname, tablename FROM pg_tables WHERE schemaname ~ '_v[0-9]+$' ORDER BY 1, 2"
        )
        found = {}
        for schema, table in tables:
            hashed = hashlib.sha256()
            async with connection.transaction():
                async for row in connection.cursor(f'SELECT t::text FROM "{schema}"."{table}" t ORDER BY 1'):  # noqa: S608  # names out of the catalogue
                    hashed.update(row[0].encode())
            found[f"{schema}.{table}"] = hashed.hexdigest()
        return found
    finally:
        await connection.close()
