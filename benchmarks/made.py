"""A ledger of any size, and the read side over it: what the benchmarks of the read side measure.

Twenty coalitions of ten of forty donors, each for one capability and what it contains, days over three years. A pledge
is announced in pieces and in euros, and delivered in three parts that are confirmed: about two postings an event.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any, Final

import httpx2
from uuid_utils import uuid7

from muster.embedded import Port, running_nats, running_postgres
from muster.provision import Names, Passwords, Urls, provision
from services.projections.database import engine
from services.projections.projector import READERS, make
from services.projections.read_models import READ_MODELS
from services.projections.transaction import transaction
from shared.amounts import Amount, amount, as_said
from shared.codec import encode
from shared.days import Said, last_day
from shared.events import Entry, stored_name
from shared.events.coalitions import CoalitionFormed
from shared.events.pledges import Also, DeliveryConfirmed, DeliveryReported, PledgeAnnounced, Share
from shared.events.targets import TargetSet
from shared.recorded import Recorded
from shared.sources import Source

SOURCES: Final = (Source(url="https://example.org/news", published_on=Said("2024-02-15")),)
COALITIONS: Final = tuple(f"coalition-{n:02}" for n in range(20))
# fmt: off
PARTIES: Final = (
    "AUS", "AUT", "BEL", "BGR", "CAN", "CHE", "CYP", "CZE", "DEU", "DNK",
    "ESP", "EST", "FIN", "FRA", "GBR", "GRC", "HRV", "HUN", "IRL", "ISL",
    "ITA", "JPN", "KOR", "LTU", "LUX", "LVA", "MDA", "MKD", "MLT", "MNE",
    "NLD", "NOR", "NZL", "POL", "PRT", "ROU", "SVK", "SVN", "SWE", "USA",
)
# fmt: on
CAPABILITIES: Final = (("drone", "drone.fpv"), ("shell", "shell.155"), ("air",), ("it",), ("drone.interceptor",))
TARGETS: Final = 10
DELIVERIES: Final = 6
FIRST: Final = date(2023, 1, 1)
DAYS: Final = 1_095
BEGAN: Final = datetime(2023, 1, 1, tzinfo=UTC)


def entries(size: int, seed: int = 1) -> Iterator[Entry]:
    """Give so many entries, always the same."""
    dice = Random(seed)

    def day(after: int = 0) -> Said:
        return Said((FIRST + timedelta(days=min(DAYS, after + dice.randrange(DAYS - after)))).isoformat())

    count = 0
    for name in COALITIONS:
        yield CoalitionFormed(coalition=name, name=name.title(), formed_on=Said("2023-01-01"), sources=SOURCES)
        count += 1
    for n in range(TARGETS):
        yield TargetSet(
            target=f"target-{n}",
            coalition=COALITIONS[n],
            capability="drone",
            amount=amount("piece", "exactly", Decimal(1_000_000)),
            counts="delivered",
            set_on=Said("2023-01-15"),
            due_by=Said("2025-12-31"),
            sources=SOURCES,
        )
        count += 1
    number = 0
    while count < size:
        number += 1
        pledge, start, coalition = f"p{number}", dice.randrange(DAYS - 200), dice.randrange(len(COALITIONS))
        donor = PARTIES[(2 * coalition + dice.randrange(10)) % len(PARTIES)]
        announced = Said((FIRST + timedelta(days=start)).isoformat())
        yield PledgeAnnounced(
            pledge=pledge,
            donors=(Share(party=donor),),
            coalition=COALITIONS[coalition],
            beneficiaries=(Share(party="UKR"),),
            capability=dice.choice(CAPABILITIES[coalition % len(CAPABILITIES)]),
            amount=amount("piece", "exactly", Decimal(dice.randrange(1, 10_000))),
            also=(Also(amount=amount("EUR", "about", Decimal(dice.randrange(1_000, 9_000_000)))),),
            announced_on=announced,
            sources=SOURCES,
        )
        count += 1
        for part in range(DELIVERIES // 2):
            said = day(start)
            yield DeliveryReported(
                pledge=pledge,
                delivery=f"d{part}",
                amount=amount("piece", "exactly", Decimal(dice.randrange(1, 2_000))),
                also=(Also(amount=amount("EUR", "exactly", Decimal(dice.randrange(1_000, 900_000)))),),
                delivered_on=said,
                reported_by=donor,
                sources=SOURCES,
            )
            yield DeliveryConfirmed(pledge=pledge, delivery=f"d{part}", on=said, by="UKR", sources=SOURCES)
            count += 2


def command(entry: Entry) -> dict[str, Any]:
    """Give the line of an import that records an entry."""
    sources = [{"url": source.url, "published_on": str(source.published_on)} for source in SOURCES]
    match entry:
        case CoalitionFormed():
            do = f"PUT /v1/coalitions/{entry.coalition}"
            body: dict[str, Any] = {"name": entry.name, "formed_on": str(entry.formed_on)}
        case TargetSet():
            do = f"PUT /v1/targets/{entry.target}"
            body = {
                "coalition": entry.coalition,
                "capability": entry.capability,
                "amount": as_said(entry.amount),
                "counts": entry.counts,
                "set_on": str(entry.set_on),
                "due_by": str(entry.due_by),
            }
        case PledgeAnnounced(amount=Amount() as promised):
            do = f"PUT /v1/pledges/{entry.pledge}"
            body = {
                "donors": [{"party": donor.party} for donor in entry.donors],
                "coalition": entry.coalition,
                "beneficiaries": [{"party": one.party} for one in entry.beneficiaries],
                "capability": entry.capability,
                "amount": as_said(promised),
                "also": [as_said(also.amount) for also in entry.also],
                "announced_on": str(entry.announced_on),
            }
        case DeliveryReported():
            do = f"PUT /v1/pledges/{entry.pledge}/deliveries/{entry.delivery}"
            body = {
                "amount": as_said(entry.amount),
                "also": [as_said(also.amount) for also in entry.also],
                "delivered_on": str(entry.delivered_on),
                "reported_by": entry.reported_by,
            }
        case DeliveryConfirmed():
            do = f"POST /v1/pledges/{entry.pledge}/deliveries/{entry.delivery}/confirm"
            body = {"by": entry.by, "on": str(entry.on)}
        case _:
            raise TypeError(f"no made ledger holds a {type(entry).__name__}")
    return {"do": do, "body": body | {"sources": sources}}


def events(size: int, seed: int = 1) -> Iterator[Recorded]:
    """Give so many events as the log would hold them, a minute apart."""
    versions: dict[str, int] = {}
    for position, entry in zip(range(1, size + 1), entries(size, seed), strict=False):
        versions[entry.stream] = version = versions.get(entry.stream, 0) + 1
        happened = last_day(entry.happened or Said("2023-01-01"))
        yield Recorded(
            position=position,
            stream=entry.stream,
            version=version,
            event_id=str(uuid7()),
            type=stored_name(entry),
            happened_on=happened,
            reported_on=happened,
            recorded_at=BEGAN + timedelta(minutes=position),
            recorded_by="benchmark",
            event=entry,
            payload=encode(entry),
        )


@dataclass(frozen=True)
class Servers:
    """PostgreSQL with the databases of a ledger, and NATS: the embedded ones, with all their durability."""

    urls: Urls
    nats_url: str
    relay_url: str
    home: Path


@asynccontextmanager
async def servers(home: Path) -> AsyncIterator[Servers]:
    """Run both while the block runs."""
    names, passwords = Names("ledger"), Passwords(home / "secrets.json")
    async with running_postgres(home) as postgres, running_nats(home) as nats:
        yield Servers(await provision(postgres.url, names, passwords), nats.url, nats.relay_url, home)


async def fill(url: str, ledger: Iterable[Recorded], batch: int = 5_000) -> float:
    """Put a ledger straight into all read models; events a second."""
    database = engine(url, process="benchmark", connections=2)
    began = time.perf_counter()
    try:
        async with database.begin() as conn:
            readers = list(await conn.scalars(READERS))
            for model in READ_MODELS:
                await make(conn, model, readers)
        applies = [model.apply if model.remembering is None else model.remembering() for model in READ_MODELS]
        size, left = 0, iter(ledger)
        while part := list(islice(left, batch)):
            last = part[-1]
            size = last.position
            async with transaction(database) as writing:
                for apply in applies:
                    await apply(writing, part)
                await writing.carry_out(
                    "UPDATE checkpoints SET position = $1, head = $1, recorded_at = $2, event_id = $3::text::uuid, "
                    "updated_at = '9999-01-01'",
                    *(size, last.recorded_at, last.event_id),
                )
        seconds = time.perf_counter() - began
        async with database.connect() as conn:
            await conn.execution_options(isolation_level="AUTOCOMMIT")
            await conn.exec_driver_sql("ANALYZE")  # as autovacuum does in the first minute
        return size / seconds
    finally:
        await database.dispose()


@contextmanager
def api(url: str) -> Iterator[str]:
    """The queries' process over these read models, while the block runs."""
    port = Port()
    environment = {"MUSTER_PROJECTIONS_DATABASE_URL": url, "MUSTER_PROJECTIONS_PORT": str(port.number)}
    command = [sys.executable, "-P", "-m", "services.projections", "api"]
    process = subprocess.Popen(command, env=os.environ | environment | {"PYTHONPATH": str(Path.cwd())})
    where = f"http://127.0.0.1:{port.number}"
    try:
        wait_for(f"{where}/healthz")
        yield where
    finally:
        process.terminate()
        process.wait(30)
        port.release()


def wait_for(url: str) -> None:
    """Wait until something answers. Raises TimeoutError."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            httpx2.get(url, trust_env=False)
        except httpx2.HTTPError:
            time.sleep(0.05)
        else:
            return
    raise TimeoutError(url)
