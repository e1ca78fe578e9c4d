"""Disks run full, under the log and under the stream; space comes back, and so does everything."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest

from tests.failure.conftest import Say
from tests.failure.ledgers import a_ledger, all_ready, status, until
from tests.failure.load import Told, Writer, a_coalition, append, say_all
from tests.failure.truth import all_agree


def may_mount() -> bool:
    """Whether this process may mount a file system: in many containers root may not."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        return False
    command = ["/usr/bin/unshare", "-m", "/bin/mount", "-t", "tmpfs", "none", "/mnt"]
    tried = subprocess.run(command, capture_output=True, check=False)
    return tried.returncode == 0


pytestmark = [
    pytest.mark.failure,
    pytest.mark.skipif(not may_mount(), reason="a small tmpfs needs root and the right to mount"),
]


@asynccontextmanager
async def small_disk(place: Path, megabytes: int) -> AsyncIterator[None]:
    """A tmpfs of so many MB at a place, with what was there, while the block runs."""
    place.mkdir(parents=True, exist_ok=True)
    owner = place.stat()
    saved = place.with_name(f"{place.name}-saved")
    place.rename(saved)
    place.mkdir()
    await run("/bin/mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0700", "none", str(place))
    os.chown(place, owner.st_uid, owner.st_gid)
    await run("/bin/cp", "-a", f"{saved}/.", str(place))
    try:
        yield
    finally:
        await run("/bin/umount", "-l", str(place))


async def run(*command: str) -> None:
    process = await asyncio.create_subprocess_exec(*command)
    assert await process.wait() == 0, command


def fill(ballast: Path) -> int:
    """Take all the space there is; gives how many bytes that was."""
    with ballast.open("wb", buffering=0) as file:
        for size in (1 << 20, 4096):
            try:
                while file.write(b"\0" * size) == size:
                    pass
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
        return file.tell()


@pytest.mark.timeout(180)
async def test_a_full_disk_under_postgres_loses_nothing_and_is_said(tmp_path: Path, seed: int, say: Say) -> None:
    told, place = Told(), tmp_path / "home"
    async with a_ledger(place) as home:
        await say_all(home.commitments, told, [a_coalition("drones")])
    async with small_disk(place / "postgres", 400), a_ledger(place) as home:
        stop = asyncio.Event()
        writing = [
            asyncio.create_task(
                Writer(f"w{n}", home.commitments, told, seed=seed, coalition="drones").until(stop, lines=100 * (n > 1))
            )
            for n in range(4)
        ]
        await asyncio.sleep(2)
        ballast = place / "postgres" / "ballast"
        fill(ballast)

        async def refused() -> bool:
            fill(ballast.with_name("ballast-2"))  # what a crash freed
            return told.away > 0

        await until(refused, "commands are refused", within_s=30)
        full = time.monotonic()

        async def not_ready() -> bool:
            return await status(f"{home.commitments}/readyz", timeout_s=6) != httpx2.codes.OK

        said = await until(not_ready, "readiness is false", within_s=15)
        await asyncio.sleep(5)
        recorded_full = len(told.recorded)
        for file in place.glob("postgres/ballast*"):
            file.unlink()
        freed = time.monotonic()

        async def writes() -> bool:
            return told.last_recorded_at > freed + 0.2

        await until(writes, "writing again", within_s=60)
        back = told.last_recorded_at - freed
        await asyncio.sleep(1)
        stop.set()
        await asyncio.gather(*writing)
        await all_ready(home)
        log = await all_agree(home, told)
        assert home.process.poll() is None
    assert said <= 5
    assert back <= 30
    say(
        f"PostgreSQL on a full tmpfs of 400 MB for {freed - full:.0f} s under 4 writers: {recorded_full} acknowledged "
        f"before, {len(log)} in the end, 0 lost; readiness false {said:.1f} s after the first refusal, "
        f"recording {back:.1f} s after "
        f"space came back; slowest answer {told.slowest_s:.1f} s"
    )


@pytest.mark.timeout(180)
async def test_a_full_disk_under_nats_holds_up_no_command_and_is_made_good(tmp_path: Path, say: Say) -> None:
    told, place = Told(), tmp_path / "home"
    async with small_disk(place / "nats", 64), a_ledger(place) as home:
        await say_all(home.commitments, told, [a_coalition("drones")])
        await append(home.commitments, told, 500, name="before", coalition="drones")
        await all_agree(home, told)
        ballast = place / "nats" / "ballast"
        fill(ballast)
        full = time.monotonic()
        await append(home.commitments, told, 3_000, name="during", coalition="drones")
        assert (told.unknown, told.away, told.closed) == (0, 0, 0)

        async def not_ready() -> bool:
            return await status(f"{home.running.relay}/readyz", timeout_s=6) != httpx2.codes.OK

        said = await until(not_ready, "the relay says that it is not ready", within_s=20)
        await asyncio.sleep(8)
        ballast.unlink()
        freed = time.monotonic()
        await all_ready(home, within_s=60)
        log = await all_agree(home, told)
        back = time.monotonic() - freed
        assert home.process.poll() is None
    assert back <= 30
    say(
        f"NATS on a full tmpfs of 64 MB for {freed - full:.0f} s: 3,000 commands meanwhile, 100 % recorded; the relay "
        f"not ready {said:.1f} s after they were; all {len(log)} applied {back:.1f} s after space came back"
    )
