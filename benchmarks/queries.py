"""The read side's questions, one after the other on one connection, over ledgers of 10,000 and a million postings.

Beside each stands a bare FastAPI GET asked in the same way, in turns with it. `--events` chooses the sizes; a million
postings are about 520,000 events, and are filled in in some minutes first.

    .venv/bin/python benchmarks/queries.py --events 5200 --events 520000
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any, Final
from urllib.parse import urlsplit

import asyncpg
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.made import COALITIONS, DAYS, FIRST, PARTIES, TARGETS, api, events, fill, servers
from benchmarks.processes import bare
from services.projections.read_models.coalition_totals import SCHEMA

TIMES: Final = 60
PAST_MS: Final = 50.0
ALL_SET: Final = 60  # days after the first: by then every target is set
END: Final = "2026-01-01"


@dataclass(frozen=True)
class Timed:
    """What one kind of question took over one ledger, in ms, and the bare GET between its askings."""

    question: str
    postings: int
    p50: float
    p95: float
    bare_p50: float
    bare_p95: float


class Asker:
    """One connection that is kept."""

    def __init__(self, url: str) -> None:
        self.connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)

    def get(self, path: str) -> tuple[float, bytes]:
        """Ask, and give the milliseconds and the body. Raises RuntimeError for any status but 200."""
        began = time.perf_counter()
        self.connection.request("GET", path)
        answer = self.connection.getresponse()
        body = answer.read()
        took = (time.perf_counter() - began) * 1000
        if answer.status != http.client.OK:
            raise RuntimeError(f"{path}: {answer.status} {body[:300]!r}")
        return took, body


def questions(head: int, dice: Random) -> dict[str, Callable[[], str]]:
    """Give, by their names, what makes the path of the next question of that kind."""

    def day(from_: int = 0) -> str:
        return (FIRST + timedelta(days=dice.randrange(from_, DAYS))).isoformat()

    def known() -> int:
        return dice.randrange(head // 20, head)

    def diff(to: int) -> str:
        return f"/v1/diff?from={max(0, to - 100)}&to={to}"

    return {
        "totals now": lambda: f"/v1/totals?on={END}",
        "totals now, of a donor": lambda: f"/v1/totals?on={END}&donor={dice.choice(PARTIES)}",
        "totals in the past": lambda: f"/v1/totals?on={day()}&known={known()}",
        "totals in the past, of a coalition": lambda: (
            f"/v1/coalitions/{dice.choice(COALITIONS)}/totals?on={day()}&known={known()}"
        ),
        "totals in the past, by donor": lambda: f"/v1/totals?group_by=donor&on={day()}&known={known()}",
        "progress": lambda: f"/v1/targets/target-{dice.randrange(TARGETS)}/progress?on={END}",
        "progress in the past": lambda: (
            f"/v1/targets/target-{dice.randrange(TARGETS)}/progress?on={day(ALL_SET)}&known={known()}"
        ),
        "explain, first page": lambda: (
            f"/v1/postings?on={END}&coalition={dice.choice(COALITIONS)}&stage=delivered&unit=piece&limit=100"
        ),
        "search": lambda: f"/v1/pledges?on={END}&donor={dice.choice(PARTIES)}&coalition={dice.choice(COALITIONS)}",
        "one pledge": lambda: f"/v1/pledges/p{dice.randrange(1, head // 10)}",
        "diff of a hundred events": lambda: diff(known()),
    }


def timed(url: str, bare_url: str, *, head: int, postings: int, times: int, only: str) -> Iterator[Timed]:
    """Ask every question, in turns with the bare GET."""
    ours, beside = Asker(url), Asker(bare_url)
    for name, path in questions(head, Random(5)).items():
        if only not in name:
            continue
        ours.get(path())  # the first asking prepares statements
        took, took_bare = [], []
        for _ in range(times):
            took.append(ours.get(path())[0])
            took_bare.append(beside.get("/v1/totals")[0])
        yield Timed(name, postings, *quantiles(took), *quantiles(took_bare))


def quantiles(values: list[float]) -> tuple[float, float]:
    """Give the median and the 95th percentile."""
    ordered = sorted(values)
    return ordered[len(ordered) // 2], ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))]


async def postings_of(url: str) -> int:
    """Count the journal."""
    connection = await asyncpg.connect(url)
    try:
        return int(await connection.fetchval(f"SELECT count(*) FROM {SCHEMA}.postings"))  # noqa: S608  # a name of ours
    finally:
        await connection.close()


async def measure(size: int, times: int, only: str) -> list[Timed]:
    """Fill a ledger of so many events, and ask."""
    with tempfile.TemporaryDirectory(prefix="muster-bench-") as folder:
        async with servers(Path(folder)) as there:
            speed = await fill(there.urls.projections, events(size))
            postings = await postings_of(there.urls.projections_reader)
            print(f"{size:,} events, {postings:,} postings: filled in at {speed:,.0f} events/s", flush=True)

            def ask() -> list[Timed]:
                with api(there.urls.projections_reader) as url, bare() as bare_url:
                    return list(timed(url, bare_url, head=size, postings=postings, times=times, only=only))

            return await asyncio.to_thread(ask)


def show(found: list[Timed]) -> None:
    """Print the table."""
    table = Table(title="one connection, one question after the other; ms")
    for column in ("question", "postings", "p50", "p95", "bare p50", "bare p95"):
        table.add_column(column, justify="left" if column == "question" else "right")
    for one in found:
        figures = (one.p50, one.p95, one.bare_p50, one.bare_p95)
        table.add_row(one.question, f"{one.postings:,}", *(f"{figure:.1f}" for figure in figures))
    Console(width=140).print(table)


def promises(found: list[Timed]) -> list[dict[str, Any]]:
    """Give the rows for results/latest.json: what is promised of a million postings, if so many were asked about."""
    largest = max(one.postings for one in found)
    return [
        {
            "name": f"{one.question}, {one.postings:,} postings, p95",
            "ours": one.p95,
            "beside": one.bare_p95,
            "ratio": one.p95 / one.bare_p95,
            "promise": f"<= {PAST_MS:.0f} ms",
            "met": one.p95 <= PAST_MS,
        }
        for one in found
        if one.postings == largest and "past" in one.question
    ]


def main() -> int:
    """Measure, print, and add what was found to the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, action="append", help="sizes (default: 5200 and 520000)")
    parser.add_argument("--times", type=int, default=TIMES, help="how often each question is asked")
    parser.add_argument("--only", default="", help="questions with these words in their names")
    asked = parser.parse_args()
    found = [
        one for size in asked.events or [5_200, 520_000] for one in asyncio.run(measure(size, asked.times, asked.only))
    ]
    show(found)
    results = Path(__file__).resolve().parent / "results"
    results.mkdir(exist_ok=True)
    written = {"questions": [asdict(one) for one in found], "promises": promises(found)}
    (results / "queries.json").write_text(json.dumps(written, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
