"""Server-sent events: each once, however often the line is cut; who does not read is let go; others do not notice."""

from __future__ import annotations

import asyncio
import json
import random
import resource
import socket
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.failure.conftest import Say
from tests.failure.ledgers import Home, a_ledger, until
from tests.failure.load import Told, Writer, a_client, a_coalition, append, say_all
from tests.failure.truth import log_of

pytestmark = pytest.mark.failure

CUTS = 100
IDLE = 1_000


@dataclass
class Reader:
    """A reader of /v1/stream on a bare socket, who takes events as a browser does: whole ones only."""

    base: str
    after: int = 0
    seen: list[tuple[int, str]] = field(default_factory=list)
    last_id: int | None = None
    times: dict[int, float] = field(default_factory=dict)

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        parts = urlsplit(self.base)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=1 << 20)
        resume = "" if self.last_id is None else f"Last-Event-ID: {self.last_id}\r\n"
        writer.write(
            f"GET /v1/stream?after={self.after} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
            f"Accept: text/event-stream\r\n{resume}\r\n".encode()
        )
        await writer.drain()
        head = await reader.readuntil(b"\r\n\r\n")
        assert b" 200 " in head.split(b"\r\n")[0], head
        return reader, writer

    async def read(self, *, bytes_at_most: int | None = None, until_position: int | None = None) -> None:
        """Connect and read until so many bytes came, or a position; then hang up, wherever that is."""
        reader, writer = await self.open()
        raw, block = b"", b""
        left = bytes_at_most if bytes_at_most is not None else 1 << 60
        try:
            while left > 0 and not (until_position is not None and (self.last_id or 0) >= until_position):
                piece = await reader.read(min(left, 65_536))
                if not piece:
                    return
                left -= len(piece)
                raw += piece
                # chunked coding: size, CR LF, data, CR LF; a piece may end anywhere in it
                while b"\r\n" in raw:
                    size = int(raw[: raw.index(b"\r\n")].split(b";")[0], 16)
                    start = raw.index(b"\r\n") + 2
                    if size == 0:
                        return
                    if len(raw) < start + size + 2:
                        break
                    block += raw[start : start + size]
                    raw = raw[start + size + 2 :]
                block = block.replace(b"\r\n", b"\n")
                while b"\n\n" in block:
                    event, _, block = block.partition(b"\n\n")
                    self._take(event)
        finally:
            writer.transport.abort()  # no farewell

    async def follow(self, position: int) -> None:
        """Read to a position, and come back after each end, as a browser does."""
        while (self.last_id or 0) < position:
            with suppress(OSError, asyncio.IncompleteReadError):
                await self.read(until_position=position)
            if (self.last_id or 0) < position:
                await asyncio.sleep(1)

    def _take(self, event: bytes) -> None:
        fields = dict(line.split(b": ", 1) for line in event.split(b"\n") if b": " in line and line[:1] != b":")
        if b"id" in fields:
            self.last_id = int(fields[b"id"])
        if b"data" in fields and fields.get(b"event") != b"caught-up":
            said = json.loads(fields[b"data"])
            self.seen.append((int(said["position"]), said["id"]))
            self.times[int(said["position"])] = time.monotonic()


@pytest.mark.timeout(180)
async def test_a_line_cut_at_random_bytes_gives_every_event_once(tmp_path: Path, seed: int, say: Say) -> None:
    chance, told = random.Random(seed), Told()
    async with a_ledger(tmp_path / "home") as home:
        await say_all(home.commitments, told, [a_coalition("drones")])
        await append(home.commitments, told, 2_000, name="before", coalition="drones")
        stop = asyncio.Event()
        writing = asyncio.create_task(
            Writer("w", home.commitments, told, seed=seed, coalition="drones").until(stop, pause_s=0.01)
        )
        reader = Reader(home.commitments)
        for _ in range(CUTS):
            with suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await reader.read(bytes_at_most=int(10 ** chance.uniform(0, 5.0)))
        stop.set()
        await writing
        log = await log_of(home.commitments)
        async with asyncio.timeout(20):
            while (reader.last_id or 0) < len(log):
                await reader.read(until_position=len(log))
    assert reader.seen == [(event.position, event.id) for event in log]
    say(f"cut {CUTS} times after 1 to 100,000 bytes while a writer went on: {len(log)} events, each exactly once")


@pytest.mark.timeout(240)
async def test_a_reader_that_stops_is_let_go_and_a_thousand_idle_ones_do_not_notice(tmp_path: Path, say: Say) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8_192), hard))
    told, stuck = Told(), socket.socket()
    try:
        async with a_ledger(tmp_path / "home") as home:
            await say_all(home.commitments, told, [a_coalition("drones")])
            await append(home.commitments, told, 15_000, name="before", coalition="drones")
            head = len(told.recorded)

            port = stuck_reader(stuck, home)

            async def let_go() -> bool:
                return port not in ports_of(home)

            letting_go = asyncio.create_task(until(let_go, "the stuck reader is let go", within_s=90, every_s=0.5))
            idle = [Reader(home.commitments, after=head) for _ in range(IDLE)]
            goal = head + 200
            reading = [asyncio.create_task(reader.follow(goal)) for reader in idle]
            live = Reader(home.commitments, after=head)
            following = asyncio.create_task(live.follow(goal))
            await until(lambda: connected(home, IDLE), "all are connected", within_s=60, every_s=0.5)

            began: dict[str, float] = {}

            async def write() -> None:
                writer = Writer("w", home.commitments, told, seed=1, coalition="drones")
                async with a_client(home.commitments) as client:
                    while len(told.recorded) < goal:
                        for command in writer.next():
                            await writer.say(client, command)
                            began[command.path] = time.monotonic()

            async with asyncio.timeout(90):
                await write()
                await asyncio.gather(*reading, following)
            late = sorted(
                live.times[position] - began[path]
                for path, (position, _) in told.recorded.items()
                if path in began and position in live.times
            )

            gone_after = await letting_go
            wanted = list(range(head + 1, goal + 1))
            for reader in (*idle, live):
                assert [position for position, _ in reader.seen if position <= goal] == wanted

            resumed = Reader(home.commitments)
            async with asyncio.timeout(30):
                await resumed.follow(len(told.recorded))
            assert [position for position, _ in resumed.seen] == list(range(1, len(told.recorded) + 1))
        assert gone_after <= 31
    finally:
        stuck.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    say(
        f"a reader that stopped was let go after {gone_after:.0f} s and resumed without a gap; {IDLE} idle readers got "
        f"every one of 200 new events once; one beside them saw an event {late[len(late) // 2] * 1e3:.0f} ms (median) "
        f"and {late[-1] * 1e3:.0f} ms (most) after its 201"
    )


def stuck_reader(stuck: socket.socket, home: Home) -> int:
    """A reader from the beginning who takes nothing; gives its local port."""
    parts = urlsplit(home.commitments)
    stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    stuck.connect((parts.hostname, parts.port))
    stuck.send(f"GET /v1/stream?after=0 HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode())
    port: int = stuck.getsockname()[1]
    return port


def ports_of(home: Home) -> set[int]:
    """The remote ports of all connections that the API's process itself still holds."""
    inodes = set()
    for entry in Path(f"/proc/{home.pids()['commitments']}/fd").iterdir():
        with suppress(OSError):
            if (link := str(entry.readlink())).startswith("socket:["):
                inodes.add(link[8:-1])
    found = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        columns = line.split()
        if columns[9] in inodes:
            found.add(int(columns[2].rpartition(":")[2], 16))
    return found


async def connected(home: Home, count: int) -> bool:
    return len(ports_of(home)) > count
