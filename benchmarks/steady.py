"""`make steady`: a ledger under a steady load, and what every process holds as time goes by; results/steady.json.

Fifty commands a second of every kind, twenty questions a second, hot and cold, a page, a download and a chart now and
then, and readers of both event streams, over a ledger of ten thousand events to begin with. Every ten seconds the
resident memory of each process is written down. At the end: memory at the beginning, on the way and at the end, the
slope over the last two thirds, errors (there must be none), and how late a command was seen.

    .venv/bin/python benchmarks/steady.py [--minutes 30] [--picture]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import platform
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from random import Random
from statistics import linear_regression
from typing import Final, TypeAlias
from urllib.parse import urlsplit

import httpx2
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.bench import ledger, log_head
from benchmarks.client import Answer, Client, due, run
from benchmarks.growth import Growing, Row, Voice, now
from benchmarks.made import COALITIONS, PARTIES, TARGETS
from benchmarks.picture import Plot, Series, chart, draw, of_minutes
from benchmarks.processes import SERVICES, resident
from benchmarks.queries import questions
from services.projections.charts.look import Look, Spec

RESULTS: Final = Path(__file__).resolve().parent / "results" / "steady.json"
FIRST_EVENTS: Final = 10_000
COMMANDS_A_SECOND: Final = 50.0
QUESTIONS_A_SECOND: Final = 20.0
LIVES: Final = 64
"""How many pledges go through their lives at once, each one command after the other."""

READERS: Final = 5  # of each of the two streams
PAGE_EVERY_S: Final = 3.0
LAG_EVERY_S: Final = 1.0
SAMPLE_EVERY_S: Final = 10.0
ON_THE_WAY: Final = (10, 20)  # minutes
KINDS_OF_ERROR: Final = 20

SOURCES: Final = [{"url": "https://example.org/news", "published_on": "2024-02-15"}]
PAGES: Final = (
    "/",
    "/coalitions/coalition-03",
    "/targets/target-3",
    "/pledges",
    "/pledges/p7",
    "/parties",
    "/parties/GBR",
    "/diff?from=1000&to=1200",
    "/v1/totals.csv?group_by=donor",
    "/v1/facts.csv?coalition=coalition-03",
    "/targets/target-3/progress.svg",
    "/coalitions/coalition-03/totals.png",
    "/metrics",
)
HOT: Final = ("/v1/totals", "/v1/targets/target-3/progress", "/v1/coalitions/coalition-03/totals", "/v1/timeline")

Say: TypeAlias = Callable[[str, Row], Awaitable[Answer]]
"""Sends a command when its turn has come: `POST /v1/...` and the body."""


@dataclass(frozen=True)
class Load:
    """Commands and questions a second, for how long; so many events of the made ledger are there to ask about."""

    commands: float
    questions: float
    seconds: float
    made: int


@dataclass
class Found:
    """What was seen so far: milliseconds from when each was due, and what went wrong how often."""

    commands: list[float] = field(default_factory=list)
    questions: list[float] = field(default_factory=list)
    lag: list[float] = field(default_factory=list)
    pages: int = 0
    streamed: int = 0
    position: int = 0  # of the last command that was acknowledged
    errors: Counter[str] = field(default_factory=Counter)

    def wrong(self, what: str) -> None:
        """Count an error."""
        self.errors[what if len(self.errors) < KINDS_OF_ERROR else "others"] += 1


# ------------------------------------------------------------------------------------------------------- lives


async def pledge_life(name: str, dice: Random, say: Say) -> None:
    """Announce a pledge, let it go through its stages, deliver, confirm, dispute, change and amend it."""
    path, donor = f"/v1/pledges/{name}", dice.choice(PARTIES)
    announced = {
        "donors": [{"party": donor}],
        "coalition": dice.choice(COALITIONS),
        "beneficiary": "UKR",
        "capability": "drone.fpv",
        "amount": pieces(dice.randrange(1_000, 9_000)),
        "announced_on": "2024-02-15",
        "sources": SOURCES,
    }
    opening = entry(await say(f"PUT {path}", announced))
    for number, stage in enumerate(("commit", "pay", "allocate", "contract")):
        so_far = {"unit": "EUR", "exactly": "5000000"} if stage == "pay" else pieces(500)
        await say(f"POST {path}/{stage}", {"amount": so_far, "on": f"2024-03-{number + 1:02}", "sources": SOURCES})
    for part in range(4):
        delivery, on = f"{path}/deliveries/d{part}", f"2024-04-{part + 1:02}"
        reported = {"amount": pieces(100), "delivered_on": on, "reported_by": donor, "sources": SOURCES}
        arrived = entry(await say(f"PUT {delivery}", reported))
        if part == 0:
            await say(
                f"POST {delivery}/dispute",
                {"by": "UKR", "on": on, "reason": "half of them came", "sources": SOURCES},
            )
        elif part == 1:
            corrected = reported | {"amount": pieces(90), "reason": "ten were counted twice"}
            await say(f"POST /v1/events/{arrived}/correct", corrected)
        else:
            confirmed = entry(await say(f"POST {delivery}/confirm", {"by": "UKR", "on": on, "sources": SOURCES}))
            if part == 2:
                await say(f"POST /v1/events/{confirmed}/retract", {"reason": "recorded for another pledge"})
            else:
                gone = {"on": "2024-04-20", "reason": "sent back as faulty", "sources": SOURCES}
                await say(f"POST {delivery}/reverse", gone)
    await say(f"POST /v1/events/{opening}/sources", {"sources": [{"url": f"https://example.org/also/{name}"}]})
    await say(
        f"POST {path}/revise",
        {"amount": pieces(10_000), "reason": "the number was named", "on": "2024-05-01", "sources": SOURCES},
    )
    elsewhere = {"coalition": dice.choice(COALITIONS), "on": "2024-05-02", "sources": SOURCES}
    await say(f"POST {path}/reallocate", elsewhere)
    ending = dice.choice(("withdraw", "lapse", "correct"))
    if ending == "correct":
        again = announced | {"amount": {"unit": "piece", "words": "thousands"}, "reason": "no number was named"}
        await say(f"POST /v1/events/{opening}/correct", again)
    else:
        await say(f"POST {path}/{ending}", {"on": "2024-06-01", "reason": "no budget", "sources": SOURCES})


async def coalition_life(name: str, dice: Random, say: Say) -> None:
    """Form a coalition with a target, let members come and go, state a total, report production, and dissolve it."""
    path, target = f"/v1/coalitions/{name}", f"/v1/targets/{name}"
    party = dice.choice(PARTIES)
    formed = {"name": name.title(), "formed_on": "2024-02-14", "capability": "drone", "sources": SOURCES}
    await say(f"PUT {path}", formed)
    joined = {"role": "member", "instrument": "mou", "on": "2024-03-01", "sources": SOURCES}
    await say(f"PUT {path}/members/{party}", joined)
    aim = {"coalition": name, "capability": "drone", "amount": pieces(10_000), "counts": "delivered"}
    await say(f"PUT {target}", aim | {"set_on": "2024-02-15", "due_by": "2024-12-31", "sources": SOURCES})
    later = {"due_by": "2025-12-31", "reason": "moved", "on": "2024-12-01", "sources": SOURCES}
    await say(f"POST {target}/revise", later)
    stated = {"stated_by": party, "about": {"coalition": name}, "measure": "amount", "stated_on": "2025-01-15"}
    await say(f"PUT /v1/statements/{name}", stated | {"amount": pieces(400), "sources": SOURCES})
    made = {"party": "UKR", "capability": "drone", "amount": pieces(70), "period": {"from": "2024", "to": "2024"}}
    await say(f"PUT /v1/production/{name}", made | {"sources": SOURCES})
    await say(f"POST {path}/rename", {"name": f"{name} renamed", "on": "2024-07-10", "sources": SOURCES})
    await say(f"POST {path}/reviewed", {"on": "2024-12-31"})
    await say(f"POST {path}/members/{party}/leave", {"on": "2025-01-31", "sources": SOURCES})
    await say(f"POST {target}/close", {"outcome": "replaced", "on": "2025-02-01", "sources": SOURCES})
    await say(f"POST {path}/dissolve", {"on": "2025-02-02", "sources": SOURCES})


def pieces(number: int) -> Row:
    """Write an exact number of pieces."""
    return {"unit": "piece", "exactly": str(number)}


def entry(answer: Answer) -> str:
    """Give the id of the event that a command recorded."""
    return str(json.loads(answer.body)["events"][0]["event_id"])


def said(answer: Answer) -> str:
    """Say what a problem is about."""
    try:
        problem = json.loads(answer.body)
        return f"{answer.status} {problem['code']}: {problem.get('detail', '')[:80]}"
    except (ValueError, KeyError, TypeError):
        return str(answer.status)


# -------------------------------------------------------------------------------------------------------- load


class Refused(Exception):
    """A command of a life was not taken: what follows it cannot be sent."""


async def live(where: dict[str, str], found: Found, load: Load) -> None:
    """Keep so many lives going, which take turns at a steady rate."""
    client, turns, stamp = Client(where["commitments"]), asyncio.Queue[float](), f"{time.time_ns():x}"
    numbers, stop = count(), asyncio.Event()

    async def say(do: str, body: Row) -> Answer:
        moment = await turns.get()
        method, _, path = do.partition(" ")
        try:
            answer = await client.send(method, path, json.dumps(body).encode())
        except ConnectionError as error:
            found.wrong(f"{do.rpartition('/')[2]}: {error!r}")
            raise Refused from error
        found.commands.append((time.perf_counter() - moment) * 1000)
        if answer.status not in (200, 201):
            found.wrong(f"{method} .../{path.rpartition('/')[2]}: {said(answer)}")
            raise Refused
        found.position = max(found.position, answer.position)
        return answer

    async def lives() -> None:
        while not stop.is_set():
            number = next(numbers)
            life, name = (coalition_life, "c") if number % 10 == 0 else (pledge_life, "s")
            with contextlib.suppress(Refused):
                await life(f"{name}-{stamp}-{number}", Random(number), say)

    living = [asyncio.create_task(lives()) for _ in range(LIVES)]
    async for moment in due(1 / load.commands, load.seconds):
        turns.put_nowait(moment)
    while turns.qsize():  # noqa: ASYNC110  # the last ones are late, not lost
        await asyncio.sleep(0.1)
    stop.set()
    for life in living:
        life.cancel()
    await asyncio.gather(*living, return_exceptions=True)
    client.close()


async def ask(where: dict[str, str], found: Found, load: Load) -> None:
    """Ask questions of every kind at a steady rate: of four, one is a hot one."""
    client, dice = Client(where["projections"]), Random(7)
    kinds = list(questions(load.made, dice).items())

    async def one(name: str, path: str, moment: float) -> None:
        try:
            answer = await client.send("GET", path)
        except ConnectionError as error:
            found.wrong(f"{name}: {error!r}")
            return
        found.questions.append((time.perf_counter() - moment) * 1000)
        if answer.status != 200:
            found.wrong(f"{name}: {said(answer)}")

    async with asyncio.TaskGroup() as group:
        async for moment in due(1 / load.questions, load.seconds):
            name, path = dice.choice(kinds)
            if dice.randrange(4) == 0:
                hot = dice.choice(HOT)
                group.create_task(one(hot, hot, moment))
            else:
                group.create_task(one(name, path(), moment))
    client.close()


async def look(where: dict[str, str], found: Found, seconds: float) -> None:
    """Open a page, a download or a chart now and then."""
    dice = Random(11)
    async with httpx2.AsyncClient(timeout=60) as client:
        async for _ in due(PAGE_EVERY_S, seconds):
            path = dice.choice(PAGES)
            try:
                answer = await client.get(where["projections"] + path)
            except httpx2.HTTPError as error:
                found.wrong(f"GET {path}: {error!r}")
                continue
            found.pages += 1
            if answer.status_code != 200:
                found.wrong(f"GET {path}: {answer.status_code}")


async def lag(where: dict[str, str], found: Found, seconds: float) -> None:
    """See every second how long it takes until the last command that was acknowledged is shown."""
    client, dice = Client(where["projections"]), Random(13)
    async for _ in due(LAG_EVERY_S, seconds):
        began = time.perf_counter()
        target = dice.randrange(TARGETS)
        answer = await client.send("GET", f"/v1/targets/target-{target}/progress?min_position={found.position}")
        found.lag.append((time.perf_counter() - began) * 1000)
        if answer.status != 200:
            found.wrong(f"lag: {said(answer)}")
    client.close()


async def read(url: str, path: str, found: Found, *, whole: bool) -> None:
    """Follow a stream of events until cancelled; `whole`: no position may be missing."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: {parts.netloc}\r\nAccept: text/event-stream\r\n\r\n".encode())
    before, position = 0, 0
    try:
        while line := await reader.readline():
            if line.startswith(b"id:") and line[3:].strip().isdigit():
                position = int(line[3:])
            elif line.startswith(b"event: caught-up"):
                position = 0  # no event of the log: its id says where the reader is
            elif line.startswith(b"data:") and position:
                if whole and before and position != before + 1:
                    found.wrong(f"{path.partition('?')[0]}: after {before} came {position}")
                before = position
                found.streamed += 1
        found.wrong(f"{path.partition('?')[0]}: the stream ended")
    finally:
        writer.close()


async def watch(seconds: float, sample: Callable[[], None]) -> None:
    """Write down what every process holds, from the beginning to the end."""
    async for _ in due(SAMPLE_EVERY_S, seconds):
        await asyncio.to_thread(sample)


async def steady(where: dict[str, str], load: Load, found: Found, tell: Callable[[list[Row]], None]) -> None:
    """Put the load on, and take it off again."""
    seconds, samples, began = load.seconds, list[Row](), time.monotonic()

    def sample() -> None:
        samples.append({"minute": (time.monotonic() - began) / 60, "mb": resident(int(where["runner"]))})
        tell(samples)

    after = found.position
    readers = [
        asyncio.create_task(read(url, path, found, whole=whole))
        for url, path, whole in (
            (where["commitments"], f"/v1/stream?after={after}", True),
            (where["projections"], "/v1/changes", False),
        )
        for _ in range(READERS)
    ]
    async with asyncio.TaskGroup() as group:
        group.create_task(live(where, found, load))
        group.create_task(ask(where, found, load))
        group.create_task(look(where, found, seconds))
        group.create_task(lag(where, found, seconds))
        group.create_task(watch(seconds, sample))
    for reader in readers:
        reader.cancel()
    for ended in await asyncio.gather(*readers, return_exceptions=True):
        if isinstance(ended, Exception):
            found.wrong(f"a stream: {ended!r}")
    sample()


# ----------------------------------------------------------------------------------------------------- results


def names_of(samples: list[Row]) -> list[str]:
    """Give the processes that were seen, the services first."""
    seen = {name for sample in samples for name in sample["mb"]}
    return [*(name for name in SERVICES if name in seen), *sorted(seen - set(SERVICES))]


def points(samples: list[Row], name: str) -> list[tuple[float, float]]:
    """Give the minutes and the MB of one process."""
    return [(sample["minute"], sample["mb"][name]) for sample in samples if name in sample["mb"]]


def slope(of: list[tuple[float, float]]) -> float | None:
    """Fit MB an hour over the last two thirds of the time; None where there are too few samples."""
    late = [(minute / 60, mb) for minute, mb in of if minute >= of[-1][0] / 3]
    if len(late) < 3:
        return None
    return linear_regression([hour for hour, _ in late], [mb for _, mb in late]).slope


def quantile(values: list[float], part: float) -> float:
    """Give a quantile of what was measured; 0 where nothing was."""
    return sorted(values)[min(len(values) - 1, int(len(values) * part))] if values else 0.0


def processes(samples: list[Row]) -> Iterator[Row]:
    """Give each process's memory at the beginning, on the way and at the end, and its slope."""
    for name in names_of(samples):
        of = points(samples, name)
        on_the_way = {f"at_{minute}_min": next((mb for at, mb in of if at >= minute), None) for minute in ON_THE_WAY}
        yield {"process": name, "first": of[0][1], **on_the_way, "end": of[-1][1], "mb_an_hour": slope(of)}


def results(at: str, load: Load, found: Found, samples: list[Row], share: float) -> Row:
    """Give all that was found, as it is written."""
    return {
        "at": at,
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "system": platform.platform()},
        "minutes": samples[-1]["minute"],
        "commands_a_second": load.commands,
        "questions_a_second": load.questions,
        "commands": len(found.commands),
        "questions": len(found.questions),
        "pages": found.pages,
        "streamed": found.streamed,
        "command_ms": {"p50": quantile(found.commands, 0.5), "p95": quantile(found.commands, 0.95)},
        "question_ms": {"p50": quantile(found.questions, 0.5), "p95": quantile(found.questions, 0.95)},
        "lag_ms": {"p50": quantile(found.lag, 0.5), "p95": quantile(found.lag, 0.95)},
        "errors": found.errors.total(),
        "kinds_of_error": dict(found.errors),
        "client_share_of_a_core": share,
        "processes": list(processes(samples)),
        "samples": samples,
    }


def show(written: Row) -> None:
    """Print the table, and what went wrong."""
    table = Table(title=f"resident, MB, over {written['minutes']:.0f} minutes")
    columns = ("process", "first", *(f"{minute} min" for minute in ON_THE_WAY), "end", "MB an hour")
    for column in columns:
        table.add_column(column, justify="left" if column == "process" else "right")
    for one in written["processes"]:
        name, *figures = one.values()
        table.add_row(name, *("" if figure is None else f"{figure:,.1f}" for figure in figures))
    console = Console(width=120)
    console.print(table)
    ms = {kind: f"p95 {written[f'{kind}_ms']['p95']:,.1f} ms" for kind in ("command", "question", "lag")}
    console.print(
        f"{written['commands']:,} commands, {ms['command']}; {written['questions']:,} questions, {ms['question']}; "
        f"{written['pages']} pages; {written['streamed']:,} events streamed; shown after {ms['lag']}; "
        f"{written['errors']} errors; the client took {written['client_share_of_a_core']:.0%} of a core"
    )
    for what, times in written["kinds_of_error"].items():
        console.print(f"{times} times: {what}", markup=False)


def picture(written: Row) -> list[Path]:
    """Draw docs/images/steady-light.svg and steady-dark.svg."""
    samples = written["samples"]
    plots = [
        Plot("Services, MB", [Series(name, points(samples, name)) for name in SERVICES], 150.0, "150 MB each"),
        Plot(
            "What they stand on, MB",
            [Series(name, points(samples, name)) for name in names_of(samples) if name not in SERVICES],
        ),
    ]
    axis = of_minutes(samples[-1]["minute"])
    load = f"{written['commands_a_second']:g} commands and {written['questions_a_second']:g} questions a second."

    def specification(look: Look) -> Spec:
        return chart(
            plots,
            axis,
            look,
            columns=1,
            title="Memory under a steady load",
            subtitle=load,
            source=f"Source: make steady, {written['at'][:10]}, {written['machine']['cores']} cores",
        )

    return draw("steady", specification)


def main() -> int:
    """Put the load on, write what was found as it comes, and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--commands", type=float, default=COMMANDS_A_SECOND, help="a second")
    parser.add_argument("--questions", type=float, default=QUESTIONS_A_SECOND, help="a second")
    parser.add_argument("--home", type=Path, help="where data and logs stay (default: nowhere)")
    parser.add_argument("--picture", action="store_true", help="only draw what was measured before")
    asked = parser.parse_args()
    if asked.picture:
        print(*picture(json.loads(RESULTS.read_text())), sep="\n")
        return 0
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # whoever ends us ends the ledger too
    RESULTS.parent.mkdir(exist_ok=True)
    voice, found, at = Voice(), Found(), now()
    written: Row = {}
    with contextlib.ExitStack() as stack:
        temporary = None if asked.home else stack.enter_context(tempfile.TemporaryDirectory(prefix="muster-steady-"))
        where = stack.enter_context(ledger(asked.home or Path(temporary or ".")))
        growing = Growing(where, voice)
        growing.to(FIRST_EVENTS)
        found.position = log_head(where)
        load = Load(asked.commands, asked.questions, asked.minutes * 60, growing.made)
        began, spent = time.perf_counter(), time.process_time()

        def tell(samples: list[Row]) -> None:
            share = (time.process_time() - spent) / max(1.0, time.perf_counter() - began)
            written.update(results(at, load, found, samples, share))
            RESULTS.write_text(json.dumps(written, indent=1) + "\n")
            held = " ".join(f"{name} {mb:.0f}" for name, mb in samples[-1]["mb"].items())
            voice.now_and_then(
                lambda: f"{written['minutes']:.1f} of {asked.minutes:g} min; MB: {held}; {written['errors']} errors"
            )

        with contextlib.suppress(KeyboardInterrupt):
            run(steady(where, load, found, tell))
    if not written:
        return 1
    show(written)
    print(*picture(written), sep="\n")
    return 1 if written["errors"] else 0


if __name__ == "__main__":
    sys.exit(main())
