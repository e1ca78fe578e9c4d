"""Writers who remember what they were told, and who say again what they do not know about."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import httpx2

SOURCES: Final = [{"url": "https://example.org/news", "publisher": "Example", "published_on": "2024-02-15"}]
RECORDED: Final = (httpx2.codes.CREATED, httpx2.codes.OK)
PARTIES: Final = ("GBR", "LVA", "DNK", "NLD", "CAN", "LTU", "SWE", "NOR")
ANSWER_S: Final = 12.0  # nobody waits longer: what is slower than this hangs


class Command(NamedTuple):
    """What somebody says: the path is PUT."""

    path: str
    body: dict[str, Any]


def a_coalition(name: str) -> Command:
    return Command(f"/v1/coalitions/{name}", {"name": name, "formed_on": "2024-02-14", "sources": SOURCES})


def a_pledge(name: str, pieces: int, *, coalition: str | None = None, party: str = "GBR") -> Command:
    body = {
        "donors": [{"party": party}],
        "beneficiary": "UKR",
        "capability": "drone.fpv",
        "amount": {"unit": "piece", "exactly": str(pieces)},
        "announced_on": "2024-02-15",
        "sources": SOURCES,
    }
    return Command(f"/v1/pledges/{name}", body | ({"coalition": coalition} if coalition else {}))


def a_delivery(pledge: str, name: str, pieces: int) -> Command:
    body = {
        "amount": {"unit": "piece", "exactly": str(pieces)},
        "delivered_on": "2024-03-01",
        "reported_by": "GBR",
        "sources": SOURCES,
    }
    return Command(f"/v1/pledges/{pledge}/deliveries/{name}", body)


@dataclass
class Told:
    """What the writers were told, all together."""

    recorded: dict[str, tuple[int, str]] = field(default_factory=dict)  # path -> position, event id
    unknown: int = 0  # no answer came: the connection broke
    closed: int = 0  # nobody was there to be asked
    away: int = 0  # 503 with Retry-After
    slowest_s: float = 0.0  # of all answers, and of all failures
    wrong: list[str] = field(default_factory=list)
    last_recorded_at: float = 0.0
    gaps: list[tuple[float, float]] = field(default_factory=list)

    def note(self, path: str, outcome: dict[str, Any]) -> None:
        """Remember an acknowledgement; two that differ are wrong."""
        event = outcome["events"][0]
        now = time.monotonic()
        self.last_recorded_at = now
        before = self.recorded.setdefault(path, (event["position"], event["event_id"]))
        if before != (event["position"], event["event_id"]):
            self.wrong.append(f"{path} was told {before}, then {event}")

    @contextmanager
    def timed(self) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        finally:
            self.slowest_s = max(self.slowest_s, time.monotonic() - began)


class Writer:
    """One client. Each command is said until it is known to be recorded."""

    def __init__(self, name: str, base: str, told: Told, *, seed: int, coalition: str | None = None) -> None:
        self.name = name
        self._told = told
        self._random = random.Random(f"{seed}-{name}")
        self._base = base
        self._coalition = coalition
        self._count = 0

    def next(self) -> list[Command]:
        """What it says next: a pledge, and with it some deliveries."""
        self._count += 1
        pledge = f"{self.name}-{self._count}"
        coalition = self._coalition if self._random.random() < 0.8 else None
        first = a_pledge(
            pledge, self._random.randint(1, 9_999), coalition=coalition, party=self._random.choice(PARTIES)
        )
        return [
            first,
            *(a_delivery(pledge, f"d{n}", self._random.randint(1, 999)) for n in range(self._random.randint(0, 3))),
        ]

    async def say(self, client: httpx2.AsyncClient, command: Command) -> None:
        """Say one command until it is known to be recorded."""
        while True:
            try:
                with self._told.timed():
                    answer = await client.put(command.path, json=command.body)
            except httpx2.ConnectError:
                self._told.closed += 1
                await asyncio.sleep(0.05)
                continue
            except httpx2.HTTPError as error:
                if isinstance(error, httpx2.TimeoutException):
                    self._told.wrong.append(f"{command.path} hung for {ANSWER_S} s")
                self._told.unknown += 1
                await asyncio.sleep(0.05)
                continue
            if answer.status_code in RECORDED:
                self._told.note(command.path, answer.json())
                return
            if answer.status_code == httpx2.codes.SERVICE_UNAVAILABLE and "retry-after" in answer.headers:
                self._told.away += 1
                await asyncio.sleep(0.1)
                continue
            self._told.wrong.append(f"{command.path}: {answer.status_code} {answer.text[:300]}")
            return

    async def tell(self, client: httpx2.AsyncClient, commands: Sequence[Command]) -> None:
        """Say many at once, as NDJSON; what is not known to be recorded is said again."""
        left = list(commands)
        while left:
            lines = b"".join(
                json.dumps({"do": f"PUT {command.path}", "body": command.body}).encode() + b"\n" for command in left
            )
            done: set[str] = set()
            try:
                async with client.stream(
                    "POST", "/v1/imports", content=lines, headers={"content-type": "application/x-ndjson"}
                ) as answer:
                    if answer.status_code == httpx2.codes.OK:
                        async for line in answer.aiter_lines():
                            if line:
                                self._line(json.loads(line), done)
                    elif answer.status_code == httpx2.codes.SERVICE_UNAVAILABLE:
                        self._told.away += 1
                    else:
                        self._told.wrong.append(f"imports: {answer.status_code} {(await answer.aread())[:300]!r}")
                        return
            except httpx2.ConnectError:
                self._told.closed += 1
            except (httpx2.HTTPError, ValueError):  # cut off, perhaps in the middle of a line
                self._told.unknown += len(left) - len(done)
            left = [command for command in left if command.path not in done]
            if left:
                await asyncio.sleep(0.1)

    def _line(self, said: dict[str, Any], done: set[str]) -> None:
        path = said["do"].partition(" ")[2]
        if said["status"] in RECORDED:
            self._told.note(path, said["outcome"])
            done.add(path)
        elif said["status"] == httpx2.codes.SERVICE_UNAVAILABLE:
            self._told.away += 1
        elif said["status"] != httpx2.codes.NOT_FOUND:  # its pledge was not recorded just before
            self._told.wrong.append(f"{path}: {said}")
            done.add(path)

    async def until(self, stop: asyncio.Event, *, lines: int = 0, pause_s: float = 0.0) -> None:
        """Speak until told to stop: command by command, or so many at a time; what was begun is finished."""
        async with a_client(self._base) as client:
            while not stop.is_set():
                if lines:
                    commands: list[Command] = []
                    while len(commands) < lines:
                        commands += self.next()
                    await self.tell(client, commands)
                else:
                    for command in self.next():
                        await self.say(client, command)
                if pause_s:
                    await asyncio.sleep(pause_s)


def a_client(base: str, *, timeout_s: float = ANSWER_S) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(base_url=base, trust_env=False, verify=False, timeout=timeout_s)


async def say_all(base: str, told: Told, commands: Sequence[Command]) -> None:
    """Say some commands one after the other."""
    writer = Writer("all", base, told, seed=0)
    async with a_client(base) as client:
        for command in commands:
            await writer.say(client, command)


async def append(
    base: str, told: Told, count: int, *, name: str, at_once: int = 1_000, coalition: str | None = None
) -> None:
    """Append about so many entries, as fast as imports go."""
    writer = Writer(name, base, told, seed=count, coalition=coalition)
    async with a_client(base, timeout_s=60) as client:
        goal = len(told.recorded) + count
        while len(told.recorded) < goal and not told.wrong:
            commands: list[Command] = []
            while len(commands) < at_once:
                commands += writer.next()
            await writer.tell(client, commands)
