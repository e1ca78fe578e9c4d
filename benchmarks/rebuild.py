"""How fast a read model is built anew, what it holds in memory meanwhile, and what questions feel of it.

Beside it, in the same run: the same events read from the same stream and written as bare rows with a checkpoint, in
batches of the same size; that is what any reader of the stream pays. Two ledgers: `announcements` are pledges that
nothing follows, `lives` are pledges with deliveries and confirmations, each of which changes a timeline.

    .venv/bin/python benchmarks/rebuild.py --events 10000 --events 100000
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import nats

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.made import Servers, api, events, fill, servers
from benchmarks.processes import megabytes, said
from benchmarks.queries import Asker, quantiles
from services.commitments.batch_publish import MOST_IN_A_BATCH, Message, Publisher
from services.commitments.jetstream import LedgerStream
from services.projections.consumer import Place, Stream
from services.projections.database import engine
from services.projections.rebuild import BATCH
from shared.cloudevent import headers
from shared.events.coalitions import CoalitionFormed
from shared.events.pledges import PledgeAnnounced
from shared.recorded import Recorded
from shared.subjects import subject

LEDGER: Final = "ledger"
MODEL: Final = "coalition_totals"
QUESTION: Final = "/v1/coalitions/coalition-01/totals?on=2024-07-01"
WATCH_S: Final = 0.1
BEFORE_S: Final = 3.0


@dataclass(frozen=True)
class Built:
    """One rebuild: events a second, beside the bare rows; memory at its beginning, middle and end; questions."""

    ledger: str
    events: int
    per_second: float
    beside_per_second: float
    memory_mb: list[float]
    before_p95_ms: float
    during_p95_ms: float

    @property
    def ratio(self) -> float:
        """Ours, as a part of the bare rows."""
        return self.per_second / self.beside_per_second


def ledger_of(kind: str, size: int) -> Iterator[Recorded]:
    """Give so many events of a kind of ledger, numbered anew where some are left out."""
    if kind == "lives":
        yield from events(size)
        return
    chosen = (event for event in events(8 * size + 100) if isinstance(event.event, CoalitionFormed | PledgeAnnounced))
    for position, event in zip(range(1, size + 1), chosen, strict=False):
        yield Recorded(**{name: getattr(event, name) for name in Recorded.__struct_fields__} | {"position": position})


async def publish(there: Servers, found: list[Recorded]) -> None:
    """Put events into the stream as the relay does."""
    client = await nats.connect(there.relay_url)
    stream = LedgerStream(client, LEDGER, replicas=1)
    await stream.create("benchmark")
    publisher = Publisher(client, atomic=True)
    await publisher.open()
    for first in range(0, len(found), MOST_IN_A_BATCH):
        part = found[first : first + MOST_IN_A_BATCH]
        messages = [
            Message(
                subject(LEDGER, event.type, event.event.coalitions, event.stream),
                "".join(f"{name}: {value}\r\n" for name, value in headers(event, LEDGER).items()),
                event.payload,
            )
            for event in part
        ]
        await publisher.publish(messages, first)
    await publisher.close()
    await client.close()


async def bare_rows(there: Servers, size: int) -> float:
    """Read the stream and write each event as one row, with a checkpoint a batch; events a second."""
    database = engine(there.urls.projections, process="benchmark", connections=1)
    stream = Stream(there.nats_url, LEDGER, most=BATCH)
    async with database.begin() as conn:
        await conn.exec_driver_sql("CREATE SCHEMA bare")
        await conn.exec_driver_sql("CREATE TABLE bare.rows (stream text PRIMARY KEY, position bigint, payload text)")
        await conn.exec_driver_sql("CREATE TABLE bare.checkpoint AS SELECT 0::bigint AS position")
    began, position = time.perf_counter(), 0
    while position < size:
        batch = await stream.read(Place(position), BATCH)
        if not batch.events:
            continue
        rows = {event.stream: event for event in batch.events}
        position = batch.events[-1].position
        async with database.begin() as conn:
            await conn.exec_driver_sql("UPDATE bare.checkpoint SET position = $1", (position,))
            await conn.exec_driver_sql(
                "INSERT INTO bare.rows SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[]) "
                "ON CONFLICT (stream) DO UPDATE SET position = excluded.position, payload = excluded.payload",
                (list(rows), [e.position for e in rows.values()], [e.payload.decode() for e in rows.values()]),
            )
    seconds = time.perf_counter() - began
    async with database.begin() as conn:
        await conn.exec_driver_sql("DROP SCHEMA bare CASCADE")
    await stream.close()
    await database.dispose()
    return size / seconds


def asking(url: str, question: str, until: Callable[[], bool]) -> list[float]:
    """Ask one question after the other; milliseconds of each."""
    asker, took = Asker(url), []
    while not until():
        took.append(asker.get(question)[0])
        time.sleep(0.01)
    return took


async def rebuilt(there: Servers, question: str = QUESTION) -> tuple[float, list[float], list[float], list[float]]:
    """Run a rebuild as its own process; its speed, its memory over time, and questions before and during it."""
    environment = {
        "MUSTER_PROJECTIONS_DATABASE_URL": there.urls.projections,
        "MUSTER_NATS_URL": there.nats_url,
        "MUSTER_LEDGER": LEDGER,
        "PYTHONPATH": str(Path.cwd()),
    }
    with api(there.urls.projections_reader) as url:
        quiet = time.monotonic() + BEFORE_S
        before = await asyncio.to_thread(asking, url, question, lambda: time.monotonic() > quiet)
        done = threading.Event()
        during = asyncio.get_running_loop().run_in_executor(None, asking, url, question, done.is_set)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "services.projections", "rebuild", MODEL, "--anew"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=os.environ | environment,
        )
        memory: list[float] = []
        talking = asyncio.create_task(process.communicate())
        while not talking.done():
            memory.append(megabytes(said(process.pid, "status"), "VmRSS:"))  # 0 once it has ended
            await asyncio.wait((talking,), timeout=WATCH_S)
        done.set()
        out, errors = talking.result()
        if process.returncode:
            sys.exit(errors.decode())
        filling = re.search(r"([\d,]+) events in ([\d.]+) s filling", out.decode())
        if filling is None:
            sys.exit(f"the rebuild said nothing of use:\n{out.decode()}")
        return int(filling[1].replace(",", "")) / float(filling[2]), [m for m in memory if m], before, await during


async def measure(kind: str, size: int) -> Built:
    """Publish a ledger, fill what serves, and build it anew beside."""
    found = list(ledger_of(kind, size))
    with tempfile.TemporaryDirectory(prefix="muster-bench-") as folder:
        async with servers(Path(folder)) as there:
            await publish(there, found)
            await fill(there.urls.projections, found)
            beside = await bare_rows(there, size)
            speed, memory, before, during = await rebuilt(there)
    thirds = [memory[len(memory) // 3], memory[2 * len(memory) // 3], max(memory)]
    return Built(
        ledger=kind,
        events=size,
        per_second=speed,
        beside_per_second=beside,
        memory_mb=thirds,
        before_p95_ms=quantiles(before)[1],
        during_p95_ms=quantiles(during)[1],
    )


def main() -> int:
    """Measure, print, and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, action="append", help="sizes (default: 10000 and 100000)")
    parser.add_argument("--ledger", choices=("announcements", "lives"), action="append")
    asked = parser.parse_args()
    found = []
    for kind in asked.ledger or ["announcements", "lives"]:
        for size in asked.events or [10_000, 100_000]:
            one = asyncio.run(measure(kind, size))
            found.append(one)
            print(
                f"{kind}, {size:,} events: {one.per_second:,.0f}/s, {one.ratio:.2f} of bare rows "
                f"({one.beside_per_second:,.0f}/s); resident {' '.join(f'{mb:.0f}' for mb in one.memory_mb)} MB; "
                f"a question's p95 {one.before_p95_ms:.1f} ms before, {one.during_p95_ms:.1f} during",
                flush=True,
            )
    results = Path(__file__).resolve().parent / "results"
    results.mkdir(exist_ok=True)
    rows = [asdict(one) | {"ratio": one.ratio} for one in found]
    (results / "rebuild.json").write_text(json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
