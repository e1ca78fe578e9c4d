"""A whole ledger in processes of its own, to be hurt: `muster up`, and the means to kill and stop its parts."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import asyncpg
import httpx2

from muster.running import Running

PROJECT: Final = Path(__file__).resolve().parents[2]
CHILDREN: Final = ("postgres", "nats-server", "commitments", "relay", "worker", "projections")

ANY_PORTS: Final = ("--no-example", "--commitments-port", "0", "--projections-port", "0")

# A runner gives up a child that dies six times within half a minute each; here we are the ones who kill it.
PATIENT: Final = "import muster.children; muster.children.STEADY_S = 0.5; from muster.cli import main; main()"


@dataclass
class Home:
    """A running `muster up`."""

    directory: Path
    process: subprocess.Popen[str]
    stderr: Path
    where: dict[str, str] = field(default_factory=dict)

    @property
    def commitments(self) -> str:
        return self.where["commitments"]

    @property
    def projections(self) -> str:
        return self.where["projections"]

    @property
    def running(self) -> Running:
        return Running.of(self.directory)

    def pids(self) -> dict[str, int]:
        """Process ids of the children, by name."""
        found = {}
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                command = (entry / "cmdline").read_text().split("\0")
                if parent == self.process.pid and command[0]:
                    found[name_of(command)] = int(entry.name)
        return found

    def send(self, name: str, number: signal.Signals) -> bool:
        """Send a signal to a child; False when it is not there just now."""
        pid = self.pids().get(name)
        with contextlib.suppress(ProcessLookupError):
            if pid is not None:
                os.kill(pid, number)
                return True
        return False

    def log(self, name: str) -> str:
        return (self.directory / "logs" / f"{name}.log").read_text(errors="replace")

    def environment(self, name: str, **other: str) -> dict[str, str]:
        """The environment of a child, for one more process like it."""
        pid = self.pids()[name]
        raw = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        found = dict(entry.decode().split("=", 1) for entry in raw if b"=" in entry)
        return found | other


def name_of(command: list[str]) -> str:
    match [Path(command[0]).name, *command[1:]]:
        case [_, "-P", "-m", module, role, *_]:
            return module.rpartition(".")[2] if role == "api" else role
        case [name, *_]:
            return name
    raise AssertionError(command)


def launch(home: Path, *options: str) -> Home:
    """Start `muster up` for a home and wait until it is ready."""
    home.mkdir(parents=True, exist_ok=True)
    stderr = home / "stderr"
    with stderr.open("a") as file:
        process = subprocess.Popen(
            [sys.executable, "-c", PATIENT, "up", "--json", "--home", str(home), *ANY_PORTS, *options],
            stdout=subprocess.PIPE,
            stderr=file,
            text=True,
            cwd=PROJECT,
            start_new_session=True,
        )
    started = Home(home, process, stderr)
    assert process.stdout
    line = process.stdout.readline()
    assert line, stderr.read_text()
    started.where = json.loads(line)
    return started


def end(home: Home) -> int:
    """Stop it as a person does, and give its exit code."""
    if home.process.poll() is None:
        for pid in home.pids().values():  # a stopped process takes no signal
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        home.process.send_signal(signal.SIGTERM)
    code = home.process.wait(timeout=60)
    assert home.process.stdout
    home.process.stdout.close()
    return code


@asynccontextmanager
async def a_ledger(home: Path, *options: str) -> AsyncIterator[Home]:
    """A whole ledger while the block runs."""
    running = await asyncio.to_thread(launch, home, *options)
    try:
        yield running
    finally:
        await asyncio.to_thread(end, running)


def started(module: str, role: str, environment: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    """Start a process of a service."""
    command = [sys.executable, "-P", "-m", module, role]
    path = {"PYTHONPATH": str(PROJECT), "PYTHONUNBUFFERED": "1"}
    with log.open("ab") as file:
        return subprocess.Popen(command, env=environment | path, cwd=PROJECT, stdout=file, stderr=file)


@asynccontextmanager
async def another(
    module: str, role: str, environment: dict[str, str], log: Path
) -> AsyncIterator[subprocess.Popen[bytes]]:
    """One more process of a service while the block runs; it ends with SIGTERM."""
    process = started(module, role, environment, log)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGCONT)
        process.terminate()
        await asyncio.to_thread(process.wait, 30)


async def scalar(url: str, statement: str, *values: object) -> object:
    """Ask a database one thing."""
    connection = await asyncpg.connect(url, timeout=10)
    try:
        return await connection.fetchval(statement, *values)
    finally:
        await connection.close()


async def until(
    holds: Callable[[], Awaitable[object]], what: str, *, within_s: float = 30.0, every_s: float = 0.05
) -> float:
    """Wait until something holds, and give how long it took; what cannot be asked just now does not hold."""
    began, last = time.monotonic(), "never asked"
    while time.monotonic() - began < within_s:
        try:
            if await holds():
                return time.monotonic() - began
            last = "it does not hold"
        except (OSError, httpx2.HTTPError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            last = f"{type(error).__name__}: {error}"
        await asyncio.sleep(every_s)
    raise AssertionError(f"{what}: not within {within_s} s ({last})")


async def status(url: str, *, timeout_s: float = 10.0) -> int:
    """The status of a GET; 0 when nobody answers."""
    try:
        async with httpx2.AsyncClient(trust_env=False, verify=False, timeout=timeout_s) as client:
            return (await client.get(url)).status_code
    except httpx2.HTTPError:
        return 0


async def is_ready(base: str) -> bool:
    return await status(f"{base}/readyz", timeout_s=5) == httpx2.codes.OK


async def all_ready(home: Home, *, within_s: float = 40.0) -> float:
    """Wait until each of the four services says that it is ready."""
    running = home.running
    began = time.monotonic()
    for base in (running.commitments, running.relay, running.worker, running.projections):

        async def ready(base: str = base) -> bool:
            return await is_ready(base)

        await until(ready, f"{base} is ready", within_s=within_s)
    return time.monotonic() - began
