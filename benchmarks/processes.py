"""The processes of one running ledger, what each holds resident, signals to them; and a bare application beside it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx2

COMMITMENTS: Final = "services.commitments api"
RELAY: Final = "services.commitments relay"
WORKER: Final = "services.projections worker"
QUERIES: Final = "services.projections api"
CHARTS: Final = "services.projections.charts.worker"
SERVICES: Final = {"commitments": COMMITMENTS, "relay": RELAY, "worker": WORKER, "queries": QUERIES}
PROC: Final = Path("/proc")


def below(runner: int) -> list[int]:
    """Give the processes that a `muster up` started, and those that they did."""
    parents: dict[int, int] = {}
    for process in PROC.glob("[0-9]*"):
        try:
            _, parent, *_ = (process / "stat").read_text().rpartition(")")[2].split()
        except OSError:  # it has ended meanwhile
            continue
        parents[int(process.name)] = int(parent)
    found: set[int] = set()
    new = {runner}
    while new:
        new = {pid for pid, parent in parents.items() if parent in new} - found
        found |= new
    return sorted(found)


def said(pid: int, file: str) -> str:
    """Read a file about a process; nothing when it has ended."""
    try:
        return (PROC / str(pid) / file).read_text()
    except OSError:
        return ""


def running(runner: int, arguments: str) -> list[int]:
    """Give the processes of a ledger that were started as `python -m` these arguments."""
    return [pid for pid in below(runner) if f"-m {arguments}" in said(pid, "cmdline").replace("\0", " ")]


def tidying(runner: int) -> bool:
    """Whether PostgreSQL cleans or counts tables now, as it does for a while after much was written."""
    return any("autovacuum worker" in said(pid, "cmdline") for pid in below(runner))


def tell(runner: int, which: signal.Signals, *services: str) -> None:
    """Send a signal to services of a ledger."""
    for service in services:
        for pid in running(runner, service):
            os.kill(pid, which)


def resident(runner: int) -> dict[str, float]:
    """Give what the processes of a ledger hold, in MB: each service, NATS, and all of PostgreSQL's together.

    PostgreSQL's share their memory, so of theirs each page is counted once, by its shares (Pss); where the kernel does
    not tell those, PostgreSQL is left out. `charts` is there while charts are drawn.
    """
    names = {**SERVICES, "charts": CHARTS}
    held: dict[str, float] = {}
    for pid in below(runner):
        line, program = said(pid, "cmdline").replace("\0", " "), said(pid, "comm").strip()
        name = next((name for name, arguments in names.items() if f"-m {arguments}" in line), None)
        if name is not None:
            held[name] = megabytes(said(pid, "status"), "VmRSS:")
        elif program == "nats-server":
            held["NATS"] = megabytes(said(pid, "status"), "VmRSS:")
        elif program == "postgres" and (shares := megabytes(said(pid, "smaps_rollup"), "Pss:")):
            held["PostgreSQL"] = held.get("PostgreSQL", 0.0) + shares
    return held


def megabytes(text: str, field: str) -> float:
    """Read a line such as `VmRSS:  1234 kB`; 0 where it is not there."""
    return next((int(line.split()[1]) / 1000 for line in text.splitlines() if line.startswith(field)), 0.0)


@contextmanager
def bare() -> Iterator[str]:
    """The bare FastAPI application, while the block runs."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "uvicorn", "benchmarks.bare:app", "--port", str(port), "--no-access-log"]
    process = subprocess.Popen([*command, "--loop", "uvloop", "--http", "httptools", "--log-level", "warning"])
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(100):
            try:
                httpx2.get(f"{url}/v1/totals")
                break
            except httpx2.HTTPError:
                time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait(10)
