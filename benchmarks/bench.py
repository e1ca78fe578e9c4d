"""`make bench`: our speeds beside something else's, in one run, in turns; one table, and results/latest.json.

Everything runs here: `muster up` with its own PostgreSQL (fsync on) and NATS (sync_interval always), a bare FastAPI
application beside it, wrk as the load. What each row proves, and does not, stands in benchmarks/README.md.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Final

import httpx2
import nats
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.beside import PIPELINED, UNNEST, Beside, as_wrk_counts, measured, writes
from benchmarks.client import Client, due, run
from benchmarks.made import Servers
from benchmarks.processes import RELAY, SERVICES, WORKER, bare, resident, tell
from benchmarks.rebuild import LEDGER, bare_rows, rebuilt
from muster.provision import Names, Passwords, urls

HERE: Final = Path(__file__).resolve().parent
ROUNDS: Final = int(os.environ.get("BENCH_ROUNDS", "3"))
SECONDS: Final = int(os.environ.get("BENCH_SECONDS", "6"))
IMPORT_LINES: Final = 20_000
LINES_A_REQUEST: Final = 5_000
VISIBLE_A_SECOND: Final = 200
QUIET_A_SECOND: Final = 50
MEGABYTE: Final = 1_000_000
LOOK_S: Final = 0.01
STANDS_STILL_S: Final = 120.0
PLEDGE: Final = {
    "donors": [{"party": "GBR"}],
    "capability": "drone.fpv",
    "amount": {"unit": "piece", "exactly": "5"},
    "announced_on": "2024-02-15",
    "sources": [{"url": "https://example.org/news"}],
}


@dataclass(frozen=True)
class Promise:
    """One row: our figure, the one beside it in the same run, and what we promise."""

    name: str
    ours: float
    beside: float | None
    unit: str
    promise: str
    met: bool
    runs: list[float]

    @property
    def ratio(self) -> float | None:
        """Ours, as a part of what stands beside it."""
        return None if not self.beside else self.ours / self.beside


@dataclass(frozen=True)
class Load:
    """What wrk saw: requests a second, latencies in ms."""

    per_second: float
    p50: float
    p99: float


def wrk(url: str, script: str, *, connections: int, run: str = "x", seconds: int = SECONDS) -> Load:
    """Put a load on a URL of this machine. Ends the benchmark if any answer was not what it should be."""
    done = subprocess.run(
        ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(HERE / script), url],
        env={**os.environ, "BENCH_RUN": run},
        capture_output=True,
        text=True,
        check=True,
    )
    found = re.search(r"BENCH (\d+) (\d+) (\d+) (\d+) (\d+)", done.stdout)
    if found is None:
        sys.exit(f"wrk said nothing of use:\n{done.stdout}")
    requests, microseconds, errors, p50, p99 = (int(group) for group in found.groups())
    if errors:
        sys.exit(f"{errors} of {requests} requests to {url} failed")
    return Load(requests / (microseconds / MEGABYTE), p50 / 1000, p99 / 1000)


def in_turns(*sides: Callable[[int], float]) -> list[list[float]]:
    """Run every side once a round, in turns, so that a machine that drifts drifts for all."""
    results: list[list[float]] = [[] for _ in sides]
    for number in range(ROUNDS):
        for result, side in zip(results, sides, strict=True):
            result.append(side(number))
    return results


@contextmanager
def ledger(home: Path) -> Iterator[dict[str, str]]:
    """A ledger of its own, while the block runs: where everything is, and the process that runs it (`runner`)."""
    command = [sys.executable, "-m", "muster", "up", "--json", "--no-example", "--home", str(home)]
    command += ["--commitments-port", "0", "--projections-port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            sys.exit("muster up did not start")
        yield json.loads(line) | {"runner": str(process.pid)}
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def of_the_disk(folder: Path) -> Load:
    """Write to the disk, one after the other, as wrk would see it."""
    took = writes(folder, SECONDS)
    seen = as_wrk_counts(took)
    return Load(len(took) / sum(took), 1000 * seen[len(seen) // 2], 1000 * seen[int(len(seen) * 0.99)])


def commands(where: dict[str, str], bare_url: str, folder: Path) -> Iterator[Promise]:
    """Durable commands over HTTP with everything running, and one alone; the readers come up after each run."""
    path = "/v1/pledges/x"
    stamp = f"{time.time_ns():x}"

    def sent(run: str, connections: int) -> Load:
        load = wrk(where["commitments"] + path, "put.lua", connections=connections, run=stamp + run)
        until_applied(where["projections"], log_head(where))
        return load

    beside, ours = in_turns(
        lambda n: wrk(bare_url + path, "put.lua", connections=32, run=f"{stamp}{n}").per_second,
        lambda n: sent(f"{n}", 32).per_second,
    )
    ratio = median(ours) / median(beside)
    yield Promise(
        "durable commands over HTTP, 32 connections, all running; beside a bare FastAPI PUT",
        median(ours), median(beside), "/s", ">= 0.5", ratio >= 0.5, ours,
    )  # fmt: skip
    disk, alone = zip(*[(of_the_disk(folder), sent(f"a{n}", 1)) for n in range(ROUNDS)], strict=True)
    beside_it = "beside a write of 8 KB and fdatasync"
    p50s, p99s = [load.p50 for load in alone], [load.p99 for load in alone]
    p50, p99 = median(p50s), median(p99s)
    disk_p50, disk_p99 = median(load.p50 for load in disk), median(load.p99 for load in disk)
    yield Promise(f"one command alone, p50; {beside_it}", p50, disk_p50, "ms", "<= 2", p50 <= 2, p50s)
    yield Promise(f"one command alone, p99; {beside_it}", p99, disk_p99, "ms", "<= 5", p99 <= 5, p99s)


def without_readers(
    where: dict[str, str], bare_url: str, folder: Path, unnest: float | None, pipelined: float | None
) -> Iterator[Promise]:
    """Durable commands and an import while relay and worker are held; how fast both come up to that; then a rebuild."""
    path, stamp, runner = "/v1/pledges/x", f"{time.time_ns():x}", int(where["runner"])
    tell(runner, signal.SIGSTOP, RELAY, WORKER)
    try:
        beside, ours = in_turns(
            lambda n: wrk(bare_url + path, "put.lua", connections=32, run=f"{stamp}{n}").per_second,
            lambda n: wrk(where["commitments"] + path, "put.lua", connections=32, run=f"{stamp}{n}").per_second,
        )
        ratio = median(ours) / median(beside)
        name = "durable commands over HTTP, 32 connections, no relay, no projections; beside a bare FastAPI PUT"
        yield Promise(name, median(ours), median(beside), "/s", ">= 0.75", ratio >= 0.75, ours)
        runs = [import_lines(where["commitments"], f"{stamp}more{n}") for n in range(ROUNDS)]
        yield of_import("bulk import, no relay, no projections", runs, unnest)
        relayed, rate = catching_up(where)
        name = "relay, catching up, sync always; beside JetStream publish pipelined"
        yield Promise(name, relayed, pipelined, "/s", ">= 35,000", relayed >= 35_000, [relayed])
    finally:
        tell(runner, signal.SIGCONT, RELAY, WORKER)
    roles = urls(where["database"], Names(LEDGER), Passwords(folder / "secrets.json"))
    there = Servers(roles, where["nats"], where["nats"], folder)
    raw = asyncio.run(bare_rows(there, log_head(where)))
    beside_them = "; beside bare rows of the same stream"
    yield Promise(f"all read models, catching up{beside_them}", rate, raw, "/s", ">= 40,000", rate >= 40_000, [rate])
    rebuilt_at, *_ = asyncio.run(rebuilt(there, "/v1/totals"))
    name = f"a rebuild of postings and totals{beside_them}"
    yield Promise(name, rebuilt_at, raw, "/s", ">= 40,000", rebuilt_at >= 40_000, [rebuilt_at])


def catching_up(where: dict[str, str]) -> tuple[float, float]:
    """Let relay and then worker, which are held, come up to the log; events a second of each."""
    runner, head = int(where["runner"]), log_head(where)
    relayed = asyncio.run(relaying(where["nats"], head, lambda: tell(runner, signal.SIGCONT, RELAY)))
    before, began = applied(where["projections"]), time.perf_counter()
    tell(runner, signal.SIGCONT, WORKER)
    until_applied(where["projections"], head)
    return relayed, (head - before) / (time.perf_counter() - began)


def log_head(where: dict[str, str]) -> int:
    """Give the last position of the log."""
    return int(httpx2.get(f"{where['commitments']}/v1/events?limit=1").json()["head"])


async def relaying(url: str, head: int, let_go: Callable[[], None]) -> float:
    """Let go of the relay, and wait until the ledger's stream holds a position; events a second."""
    client = await nats.connect(url)
    stream = client.jetstream()
    try:
        before = last = int((await stream.stream_info("LEDGER")).state.last_seq)
        began = time.perf_counter()
        let_go()
        while last < head:
            await asyncio.sleep(LOOK_S)  # the stream tells nobody that it holds a position
            last = int((await stream.stream_info("LEDGER")).state.last_seq)
        return (head - before) / (time.perf_counter() - began)
    finally:
        await client.close()


def until_applied(projections: str, position: int, tell_how_far: Callable[[int], None] = lambda _: None) -> None:
    """Wait until all read models have applied a position. Ends the benchmark if they stand still."""
    before, since = -1, time.monotonic()
    with httpx2.Client(timeout=30) as client:
        while (now := applied(projections, client)) < position:
            tell_how_far(now)
            if now > before:
                before, since = now, time.monotonic()
            elif time.monotonic() - since > STANDS_STILL_S:
                sys.exit(f"the read models stand still at position {now} of {position}")
            time.sleep(LOOK_S)


def applied(projections: str, client: httpx2.Client | None = None) -> int:
    """Give the position that all read models have applied."""
    get = client.get if client else httpx2.get
    return min(int(model["position"]) for model in get(f"{projections}/v1/projections").json()["projections"])


def totals(where: dict[str, str], bare_url: str) -> Iterator[Promise]:
    """The totals of everything, beside a GET that answers a constant."""
    beside, ours = in_turns(
        lambda _: wrk(f"{bare_url}/v1/totals", "get.lua", connections=32).per_second,
        lambda _: wrk(f"{where['projections']}/v1/totals", "get.lua", connections=32).per_second,
    )
    ratio = median(ours) / median(beside)
    name = "totals query, 32 connections; beside a bare FastAPI GET"
    yield Promise(name, median(ours), median(beside), "/s", ">= 0.7", ratio >= 0.7, ours)


def imports(where: dict[str, str], unnest: float | None) -> Iterator[Promise]:
    """Bulk import of commands, beside raw rows that are committed a hundred at a time."""
    runs = []
    for number in range(ROUNDS):
        runs.append(import_lines(where["commitments"], f"{time.time_ns():x}{number}"))
        until_applied(where["projections"], log_head(where))
    yield of_import("bulk import of commands", runs, unnest)


def of_import(what: str, runs: list[float], unnest: float | None) -> Promise:
    """Give the row of an import."""
    ours = median(runs)
    met = ours >= 20_000 or (unnest is not None and ours >= unnest / 3)
    return Promise(f"{what}; beside raw unnest inserts of 100", ours, unnest, "/s", ">= 20,000 or 1/3", met, runs)


def import_lines(url: str, run: str, count: int = IMPORT_LINES) -> float:
    """Import NDJSON lines through POST /v1/imports; lines a second."""
    lines = [json.dumps({"do": f"PUT /v1/pledges/i-{run}-{n}", "body": PLEDGE}).encode() for n in range(count)]
    began = time.perf_counter()
    with httpx2.Client(timeout=120) as client:
        for first in range(0, count, LINES_A_REQUEST):
            part = b"\n".join(sent := lines[first : first + LINES_A_REQUEST])
            answer = client.post(f"{url}/v1/imports", content=part, headers={"Content-Type": "application/x-ndjson"})
            assert answer.content.count(b'"status":201') == len(sent)  # reading them all would be measured, too
    return count / (time.perf_counter() - began)


def visible(where: dict[str, str], a_second: int = VISIBLE_A_SECOND) -> Iterator[Promise]:
    """From sending a command to seeing it in a query, at a steady rate; and what asking that costs itself."""
    runs = [run(seen(where, f"{time.time_ns():x}{n}", a_second)) for n in range(ROUNDS)]
    p50s = [sorted(times)[len(times) // 2] for times, _ in runs]
    p99s = [sorted(times)[int(len(times) * 0.99)] for times, _ in runs]
    p50, p99 = median(p50s), median(p99s)
    what = f"command sent to visible in a query, {a_second}/s"
    promised = f" at {VISIBLE_A_SECOND}/s" * (a_second != VISIBLE_A_SECOND)
    yield Promise(f"{what}, p50", p50, None, "ms", f"<= 6{promised}", p50 <= 6, p50s)
    yield Promise(f"{what}, p99", p99, None, "ms", f"<= 20{promised}", p99 <= 20, p99s)
    shares = [100 * share for _, share in runs]
    name = "... of a core, taken by the client that measures it"
    yield Promise(name, median(shares), None, "%", "<= 10", median(shares) <= 10, shares)


async def seen(where: dict[str, str], stamp: str, a_second: int) -> tuple[list[float], float]:
    """Send at a steady rate, and ask for each command's own position.

    Gives the milliseconds of each from when it was due to the answer that shows it, and the client's part of a core.
    """
    times: list[float] = []
    writing, asking = Client(where["commitments"]), Client(where["projections"])
    body = json.dumps(PLEDGE).encode()

    async def one(number: int, moment: float) -> None:
        told = await writing.send("PUT", f"/v1/pledges/v-{stamp}-{number}", body)
        assert told.status == 201
        found = await asking.send("GET", f"/v1/totals?min_position={told.position}")
        assert found.status == 200
        times.append((time.perf_counter() - moment) * 1000)

    began, spent = time.perf_counter(), time.process_time()
    async with asyncio.TaskGroup() as group:
        number = 0
        async for moment in due(1 / a_second, SECONDS):
            number += 1
            group.create_task(one(number, moment))
    share = (time.process_time() - spent) / (time.perf_counter() - began)
    writing.close()
    asking.close()
    return times, share


def memory(where: dict[str, str]) -> Iterator[Promise]:
    """What each service holds resident after all of the above."""
    for name, held in resident(int(where["runner"])).items():
        if name in SERVICES:
            yield Promise(f"resident: {name}", held, None, "MB", "<= 150", held <= 150, [held])


LIBRARIES: Final = ("eventsourcing", "Emmett", "message-db")
COMMANDS: Final = "durable commands over HTTP, 32 connections, no relay, no projections"


def above(promises: list[Promise], found: list[Beside]) -> Iterator[Promise]:
    """Our commands over HTTP, without relay and projections, beside what event stores append within a process."""
    ours = next((promise for promise in promises if promise.name.startswith(COMMANDS)), None)
    for row in found:
        if ours is not None and row.per_second is not None and row.name.startswith(LIBRARIES):
            name = f"durable commands over HTTP, no relay, no projections; beside appends of {row.name}"
            met = ours.ours > row.per_second
            yield Promise(name, ours.ours, row.per_second, "/s", "above it", met, ours.runs)


def show(promises: list[Promise]) -> None:
    """Print the table."""
    table = Table(title=f"{os.cpu_count()} cores, Python {platform.python_version()}, medians of {ROUNDS} runs")
    for column in ("what", "ours", "beside", "ratio", "promise", "met", "runs"):
        table.add_column(column, justify="left" if column == "what" else "right")
    for promise in promises:
        table.add_row(
            promise.name,
            f"{promise.ours:,.1f} {promise.unit}",
            "" if promise.beside is None else f"{promise.beside:,.1f}",
            "" if promise.ratio is None else f"{promise.ratio:.2f}",
            promise.promise,
            "yes" if promise.met else "NO",
            " ".join(f"{run:,.0f}" if run >= 100 else f"{run:.1f}" for run in promise.runs),
        )
    Console(width=200).print(table)


def main() -> int:
    """Measure everything, print the table, write the results."""
    if shutil.which("wrk") is None:
        sys.exit("make bench needs wrk: install Debian's package wrk")
    promises: list[Promise] = []
    found = asyncio.run(measured())
    raw = {row.name: row.per_second for row in found}
    unnest = raw.get(UNNEST)
    with tempfile.TemporaryDirectory(prefix="muster-bench-") as folder, ledger(Path(folder)) as where, bare() as beside:
        rows = (
            visible(where, QUIET_A_SECOND),
            visible(where),
            totals(where, beside),
            commands(where, beside, Path(folder)),
            imports(where, unnest),
            without_readers(where, beside, Path(folder), unnest, raw.get(PIPELINED)),
            memory(where),
        )
        for row in rows:
            for promise in row:
                promises.append(promise)
                print(f"{promise.name}: {promise.ours:,.1f} {promise.unit}", flush=True)
    promises += above(promises, found)
    show(promises)
    results = HERE / "results"
    results.mkdir(exist_ok=True)
    written = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "system": platform.platform()},
        "promises": [asdict(promise) | {"ratio": promise.ratio} for promise in promises],
        "beside": [asdict(row) for row in found],
    }
    (results / "latest.json").write_text(json.dumps(written, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
