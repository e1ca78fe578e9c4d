"""`make growth`: one ledger that grows, and what everything takes at each size; results/growth.json, and a picture.

The ledger is whole: `muster up` with its own PostgreSQL (fsync on) and NATS (sync_interval always), both services,
relay and worker. It grows through POST /v1/imports while everything follows. At each size, with everything caught up:
disk and memory, the feed and every kind of question in turns with a bare FastAPI GET, a rebuild beside bare rows of the
same stream, durable commands in turns with a bare FastAPI PUT, and how fast relay and read models come up to what they
missed. What is written for the measuring comes last, so that each size is the one that is said.

    .venv/bin/python benchmarks/growth.py [--sizes 10000,100000,1000000] [--picture]

After each size the results are written: whoever interrupts keeps what was measured.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial, reduce
from itertools import islice
from pathlib import Path
from random import Random
from statistics import median
from typing import Any, Final, TypeAlias

import asyncpg
import httpx2
import nats

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.bench import Load, catching_up, import_lines, ledger, log_head, until_applied, wrk
from benchmarks.made import CAPABILITIES, Servers, command, entries
from benchmarks.picture import Axis, Plot, Series, chart, draw, of_events
from benchmarks.processes import RELAY, WORKER, bare, resident, tell, tidying
from benchmarks.queries import Asker, quantiles, timed
from benchmarks.rebuild import LEDGER, WATCH_S, bare_rows, rebuilt
from muster.provision import Names, Passwords, urls
from muster.running import Running
from services.projections.charts.look import Look, Spec

HERE: Final = Path(__file__).resolve().parent
RESULTS: Final = HERE / "results" / "growth.json"
SIZES: Final = "10000,100000,1000000"
WITHOUT_END: Final = 10**12
LINES: Final = 5_000
PAGE: Final = 1_000
TELL_EVERY_S: Final = 10.0
QUIET_S: Final = 5.0
READ_BYTES: Final = 1 << 20
SETTLED_WITHIN_S: Final = 240.0
CURVE: Final = 60
"""How many points of a rebuild's memory are kept."""

WITHIN: Final = 1.25
"""How much more, or less, the largest ledger may take than the smallest."""

SAID: Final = [{"url": "https://example.org/news"}]

Row: TypeAlias = dict[str, Any]


class Voice:
    """Says what happens, each line with the time since the start."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self._last = 0.0

    def say(self, what: str) -> None:
        """Say it."""
        print(f"{timedelta(seconds=int(time.monotonic() - self.began))}  {what}", flush=True)

    def now_and_then(self, what: Callable[[], str]) -> None:
        """Say it, unless something was said just now."""
        if time.monotonic() - self._last > TELL_EVERY_S:
            self._last = time.monotonic()
            self.say(what())


class Growing:
    """The made ledger, one import after the other: always the same one, however it is cut."""

    def __init__(self, where: dict[str, str], voice: Voice) -> None:
        self.made = 0
        self.seconds = 0.0
        self._where, self._voice = where, voice
        self._entries = entries(WITHOUT_END)
        self._client = httpx2.Client(timeout=300)
        codes = sorted({code for some in CAPABILITIES for code in some})
        self._send([{"do": f"PUT /v1/capabilities/{code}", "body": {"name": code, "sources": SAID}} for code in codes])

    def to(self, size: int) -> float:
        """Import until the log holds so many events, and wait until all have followed; events a second of that."""
        head, began = log_head(self._where), time.monotonic()
        missing = size - head
        for done in range(0, missing, LINES):
            part = list(islice(self._entries, min(LINES, missing - done)))
            self._send([command(entry) for entry in part])
            self.made += len(part)
            now = done + len(part)
            self._voice.now_and_then(partial(self._how_far, head + now, size, now, began))
        if missing > 0:
            self._voice.say(f"{size:,} in the log, at {missing / (time.monotonic() - began):,.0f}/s; others follow")
        until_applied(
            self._where["projections"],
            max(head, size),
            lambda now: self._voice.now_and_then(lambda: self._how_far(now, size, now - head, began)),
        )
        seconds = time.monotonic() - began
        self.seconds += seconds
        return missing / seconds if missing > 0 else 0.0

    def _send(self, lines: list[Row]) -> None:
        content = "\n".join(json.dumps(line) for line in lines)
        answer = self._client.post(
            f"{self._where['commitments']}/v1/imports",
            content=content,
            headers={"Content-Type": "application/x-ndjson"},
        )
        outcomes = [json.loads(line) for line in answer.text.splitlines()]
        refused = [outcome for outcome in outcomes if outcome["status"] not in (200, 201)]
        if refused or len(outcomes) != len(lines):
            sys.exit(f"{len(refused)} of {len(lines)} lines refused: {refused[:1]}")

    @staticmethod
    def _how_far(now: int, size: int, done: int, began: float) -> str:
        rate = max(1.0, done / (time.monotonic() - began))
        return f"{now:,} of {size:,} events, {rate:,.0f}/s, {(size - now) / rate:,.0f} s to go"


@dataclass(frozen=True)
class Measuring:
    """What is measured, what beside it, and how often and how long commands are sent to both in turns."""

    where: dict[str, str]
    home: Path
    bare_url: str
    rounds: int
    seconds: int
    voice: Voice


def measured(of: Measuring, made: int) -> Row:
    """Measure everything at the size that is there; so many of its events are of the made ledger."""
    where, voice, head = of.where, of.voice, log_head(of.where)
    asyncio.run(analyze(Running.of(of.home)))
    settle(of)
    row: Row = {"events": head, "at": now()}
    row["bytes"] = asyncio.run(on_disk(where))
    row["resident_mb"] = resident(int(where["runner"]))
    voice.say("asking")
    recall(of)
    row["feed"] = feed(where["commitments"], of.bare_url, head)
    asked = timed(where["projections"], of.bare_url, head=made, postings=0, times=60, only="")
    row["questions"] = [
        {"question": one.question, "p50": one.p50, "p95": one.p95, "bare_p50": one.bare_p50, "bare_p95": one.bare_p95}
        for one in asked
    ]
    voice.say("writing bare rows, then rebuilding coalition_totals")
    row["rebuild"] = asyncio.run(rebuild(where, of.home, head))
    settle(of)
    voice.say("durable commands, in turns with a bare PUT")
    recall(of)
    row["commands"] = commands(of)
    voice.say("catching up")
    recall(of)
    row["catching_up"] = held(where, lines=min(20_000, max(2_000, head // 5)))
    return row


def now() -> str:
    """Give this moment as results write it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def settle(of: Measuring) -> None:
    """Wait until PostgreSQL has tidied up after what was written: QUIET_S without it, at most SETTLED_WITHIN_S."""
    began = quiet = time.monotonic()
    while (moment := time.monotonic()) - quiet < QUIET_S and moment - began < SETTLED_WITHIN_S:
        if tidying(int(of.where["runner"])):
            quiet = moment
            of.voice.now_and_then(lambda: "PostgreSQL tidies up")
        time.sleep(0.2)


def recall(of: Measuring) -> None:
    """Read PostgreSQL's files, so that the system has them in memory, as those of a ledger in use.

    A rebuild pushes them out, and some machines let go of whatever was not used for a minute.
    """
    for file in filter(Path.is_file, (of.home / "postgres" / "base").rglob("*")):
        with suppress(FileNotFoundError), file.open("rb") as found:  # some are taken away meanwhile
            while found.read(READ_BYTES):
                pass


async def analyze(running: Running) -> None:
    """Let PostgreSQL count its rows, as autovacuum does in the first minute."""
    for url in (running.log_owner_url, running.read_models_url):
        connection = await asyncpg.connect(url)
        try:
            await connection.execute("ANALYZE")
        finally:
            await connection.close()


async def on_disk(where: dict[str, str]) -> dict[str, int]:
    """Give the bytes of both databases, with their indexes and without the write-ahead log, and of the stream."""
    found = {}
    for name, url in (("log", where["database"]), ("read_models", where["projections_database"])):
        connection = await asyncpg.connect(url)
        try:
            found[name] = int(await connection.fetchval("SELECT pg_database_size(current_database())"))
        finally:
            await connection.close()
    client = await nats.connect(where["nats"])
    try:
        found["stream"] = int((await client.jetstream().stream_info(LEDGER.upper())).state.bytes)
    finally:
        await client.close()
    return found


def feed(url: str, bare_url: str, head: int, times: int = 40) -> Row:
    """Read pages of the feed in the middle of the log and at its end, in turns with the bare GET; p50 and p95, ms."""
    ours, beside, dice = Asker(url), Asker(bare_url), Random(5)
    took: dict[str, list[float]] = {"middle": [], "end": [], "bare": []}
    quarter = head // 4
    for _ in range(times):
        after = quarter + dice.randrange(max(1, 2 * quarter - PAGE))
        took["middle"].append(ours.get(f"/v1/events?after={after}&limit={PAGE}")[0])
        took["end"].append(ours.get(f"/v1/events?after={max(0, head - PAGE)}&limit={PAGE}")[0])
        took["bare"].append(beside.get("/v1/totals")[0])
    return {name: dict(zip(("p50", "p95"), quantiles(values), strict=True)) for name, values in took.items()}


async def rebuild(where: dict[str, str], home: Path, size: int) -> Row:
    """Build one read model anew from the whole stream: events a second, and its memory from beginning to end.

    Beside it, the same `size` events read from the stream and written as bare rows.
    """
    roles = urls(where["database"], Names(LEDGER), Passwords(home / "secrets.json"))
    there = Servers(roles, where["nats"], where["nats"], home)
    beside = await bare_rows(there, size)
    per_second, memory, before, during = await rebuilt(there)
    every = max(1, len(memory) // CURVE)
    return {
        "per_second": per_second,
        "bare_rows_per_second": beside,
        "most_mb": max(memory),
        "memory": [[round(n * WATCH_S, 1), mb] for n, mb in enumerate(memory)][::every],
        "question_p95_before": quantiles(before)[1],
        "question_p95_during": quantiles(during)[1],
    }


def commands(of: Measuring) -> Row:
    """Send durable commands, 32 at once in turns with the bare PUT, then one after the other."""
    ours, stamp = of.where["commitments"], f"{time.time_ns():x}"

    def sent(url: str, run: str, *, connections: int, seconds: int) -> Load:
        load = wrk(f"{url}/v1/pledges/x", "put.lua", connections=connections, run=f"{stamp}{run}", seconds=seconds)
        until_applied(of.where["projections"], log_head(of.where))
        return load

    rounds = [
        tuple(sent(url, str(number), connections=32, seconds=of.seconds).per_second for url in (of.bare_url, ours))
        for number in range(of.rounds)
    ]
    alone = sent(ours, "alone", connections=1, seconds=of.rounds * of.seconds)
    return {
        "per_second": median(mine for _, mine in rounds),
        "bare_per_second": median(beside for beside, _ in rounds),
        "runs": [mine for _, mine in rounds],
        "bare_runs": [beside for beside, _ in rounds],
        "alone_p50": alone.p50,
        "alone_p99": alone.p99,
    }


def held(where: dict[str, str], lines: int) -> Row:
    """Hold relay and worker while lines are imported, and see how fast each comes up to them."""
    runner = int(where["runner"])
    tell(runner, signal.SIGSTOP, RELAY, WORKER)
    try:
        imported = import_lines(where["commitments"], f"{time.time_ns():x}", lines)
        relay, read_models = catching_up(where)
    finally:
        tell(runner, signal.SIGCONT, RELAY, WORKER)
    return {"import": imported, "relay": relay, "read_models": read_models}


def grown(sizes: list[int], rounds: int, seconds: int, voice: Voice) -> Iterator[Row]:
    """Grow a ledger from size to size, and give what was measured at each."""
    with tempfile.TemporaryDirectory(prefix="muster-growth-") as folder:
        home = Path(folder)
        with ledger(home) as where, bare() as bare_url:
            empty = asyncio.run(on_disk(where))
            growing = Growing(where, voice)
            of = Measuring(where, home, bare_url, rounds, seconds, voice)
            for size in sizes:
                voice.say(f"growing to {size:,} events")
                rate = growing.to(size)
                began = time.monotonic()
                row = measured(of, growing.made)
                row["grown_per_second"] = rate
                row["bytes_per_event"] = {
                    name: (held - empty[name]) / row["events"] for name, held in row["bytes"].items()
                }
                yield row
                if larger := [other for other in sizes if other > size]:
                    left = (larger[-1] - log_head(where)) * growing.seconds / max(1, growing.made)
                    left += sum((time.monotonic() - began) + other / row["rebuild"]["per_second"] for other in larger)
                    ends = datetime.now().astimezone() + timedelta(seconds=left)
                    voice.say(f"{size:,} measured; the end is expected at {ends:%H:%M}")


# ----------------------------------------------------------------------------------------------------- picture


def plots(rows: list[Row]) -> list[Plot]:
    """Give what the picture shows, in its order."""

    def line(name: str, *keys: str) -> Series:
        found = [(float(row["events"]), reduce(dict.__getitem__, keys, row)) for row in rows]
        return Series(name, [(events, float(str(value))) for events, value in found])

    def question(name: str, question: str) -> Series:
        found = [
            (float(row["events"]), float(one["p95"]))
            for row in rows
            for one in row["questions"]
            if one["question"] == question
        ]
        return Series(name, found)

    def of_first(series: Series, factor: float) -> float | None:
        return series.points[0][1] * factor if series.points else None

    ours = line("ours", "commands", "per_second")
    middle = line("middle", "feed", "middle", "p95")
    totals = question("totals", "totals now")
    return [
        Plot(
            "Commands a second",
            [ours, line("a bare PUT", "commands", "bare_per_second")],
            of_first(ours, 1 / WITHIN),
            "0.8 of the first or more",
        ),
        Plot(
            "One command alone, ms",
            [line("p50", "commands", "alone_p50"), line("p99", "commands", "alone_p99")],
            5.0,
            "p50 2 ms, p99 5 ms",
        ),
        Plot(
            "Feed page, p95 ms",
            [middle, line("end", "feed", "end", "p95"), line("a bare GET", "feed", "bare", "p95")],
            of_first(middle, WITHIN),
            "1.25 of the first or less",
        ),
        Plot(
            "Asked of today, p95 ms",
            [
                totals,
                question("progress", "progress"),
                question("search", "search"),
                question("explain", "explain, first page"),
            ],
            of_first(totals, WITHIN),
            "1.25 of the first or less",
        ),
        Plot(
            "Asked of the past, p95 ms",
            [
                question("totals", "totals in the past"),
                question("coalition", "totals in the past, of a coalition"),
                question("progress", "progress in the past"),
                question("diff", "diff of a hundred events"),
            ],
            50.0,
            "50 ms",
        ),
        Plot(
            "Rebuild, events a second",
            [line("totals", "rebuild", "per_second"), line("bare rows", "rebuild", "bare_rows_per_second")],
            40_000.0,
            "40,000, at each size",
        ),
        Plot("Rebuild, most MB", [line("totals", "rebuild", "most_mb")], 150.0, "flat, below 150 MB"),
        Plot(
            "Catching up, events/s",
            [line("relay", "catching_up", "relay"), line("read models", "catching_up", "read_models")],
            35_000.0,
            "35,000 and 40,000",
        ),
        Plot(
            "Resident, MB",
            [
                line("commitments", "resident_mb", "commitments"),
                line("relay", "resident_mb", "relay"),
                line("worker", "resident_mb", "worker"),
                line("queries", "resident_mb", "queries"),
            ],
            150.0,
            "150 MB each",
        ),
        Plot(
            "Disk, bytes an event",
            [
                line("log", "bytes_per_event", "log"),
                line("read models", "bytes_per_event", "read_models"),
                line("stream", "bytes_per_event", "stream"),
            ],
        ),
    ]


def picture(found: Row) -> list[Path]:
    """Draw docs/images/growth-light.svg and growth-dark.svg from the results."""
    rows = found["sizes"]
    axis: Axis = of_events([row["events"] for row in rows])
    first, last = f"{rows[0]['events']:,}", f"{rows[-1]['events']:,}"

    def specification(look: Look) -> Spec:
        return chart(
            plots(rows),
            axis,
            look,
            columns=2,
            title="The same ledger, growing",
            subtitle=f"From {first} to {last} events, tenfold from mark to mark. Dashed: what is promised.",
            source=f"Source: make growth, {found['at'][:10]}, {found['machine']['cores']} cores",
        )

    return draw("growth", specification)


def main() -> int:
    """Grow, measure, write after each size, and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default=SIZES, help=f"by comma, in events (default: {SIZES})")
    parser.add_argument("--rounds", type=int, default=3, help="of commands, in turns with the bare PUT")
    parser.add_argument("--seconds", type=int, default=3, help="of each round")
    parser.add_argument("--picture", action="store_true", help="only draw what was measured before")
    asked = parser.parse_args()
    if asked.picture:
        print(*picture(json.loads(RESULTS.read_text())), sep="\n")
        return 0
    if shutil.which("wrk") is None:
        sys.exit("make growth needs wrk: install Debian's package wrk")
    sizes = sorted({int(size.replace("_", "")) for size in asked.sizes.split(",")})
    voice = Voice()
    found: list[Row] = []
    written: Row = {
        "at": now(),
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "system": platform.platform()},
        "sizes": found,
    }
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # whoever ends us ends the ledger too
    RESULTS.parent.mkdir(exist_ok=True)
    with suppress(KeyboardInterrupt):
        for row in grown(sizes, asked.rounds, asked.seconds, voice):
            found.append(row)
            RESULTS.write_text(json.dumps(written, indent=1) + "\n")
    if found:
        print(*picture(written), sep="\n")
    return 0 if len(found) == len(sizes) else 1


if __name__ == "__main__":
    sys.exit(main())
