import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from muster import children
from muster.children import Child, CrashLoop, DidNotStart, Program, last_lines, pause_after
from muster.up import watch_health

SLEEPS = "import time; time.sleep(60)"
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"


class Kept:
    """A child that is kept running, and what was said about it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.said: list[str] = []
        self.child: Child | None = None
        self.keeping: asyncio.Task[None] | None = None

    async def start(self, code: str, *, within_s: float = 5.0, stop_s: float = 5.0) -> Child:
        program = Program(
            name="it",
            command=(sys.executable, "-c", code),
            log=self.home / "it.log",
            cwd=self.home,
            stop_s=stop_s,
        )
        self.child = Child(program, self.said.append)
        await self.child.start(is_ready, within_s=within_s)
        self.keeping = asyncio.create_task(self.child.keep())
        return self.child


async def is_ready() -> str | None:
    return None


async def is_ill() -> str | None:
    return "503 unavailable"


@pytest.fixture
async def kept(tmp_path: Path) -> AsyncIterator[Kept]:
    it = Kept(tmp_path)
    yield it
    if it.child:
        await it.child.stop(asyncio.Event())
    if it.keeping:
        await asyncio.gather(it.keeping, return_exceptions=True)


async def until_restarted(child: Child, times: int = 1) -> None:
    async with asyncio.timeout(10):
        while child.restarts < times or not child.pid:
            await asyncio.sleep(0.01)


def test_pauses_grow_to_ten_seconds() -> None:
    assert [round(pause_after(n), 1) for n in range(1, 7)] == [0.2, 0.6, 1.8, 5.4, 10.0, 10.0]


async def test_a_child_that_dies_is_started_again(kept: Kept) -> None:
    child = await kept.start(SLEEPS)
    first = child.pid
    os.kill(first, signal.SIGKILL)
    await until_restarted(child)
    assert child.pid != first
    assert kept.said == ["it died (SIGKILL); starting it again in 0.2 s"]


async def test_a_crash_loop_ends_with_the_end_of_the_log(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "pause_after", lambda _: 0.01)
    await kept.start("print('no such table: events'); raise SystemExit(3)")
    assert kept.keeping
    with pytest.raises(CrashLoop, match=r"it died 6 times in a row \(exit code 3\)[^$]*no such table: events"):
        await kept.keeping


async def test_what_ends_at_its_start_shows_why(kept: Kept) -> None:
    async def never() -> str | None:
        return "connection refused"

    program = Program(
        name="it",
        command=(sys.executable, "-c", "raise SystemExit('no licence')"),
        log=kept.home / "it.log",
        cwd=kept.home,
    )
    with pytest.raises(DidNotStart, match=r"it ended at its start \(exit code 1\)[^$]*no licence"):
        await Child(program, kept.said.append).start(never, within_s=5)


async def test_what_is_not_ready_in_time_says_what_was_missing(kept: Kept) -> None:
    program = Program(name="it", command=(sys.executable, "-c", SLEEPS), log=kept.home / "it.log", cwd=kept.home)
    kept.child = Child(program, kept.said.append)
    with pytest.raises(DidNotStart, match=r"it was not ready after 0 s: 503 unavailable"):
        await kept.child.start(is_ill, within_s=0.05)


async def test_a_stubborn_child_is_killed_in_the_end(kept: Kept) -> None:
    child = await kept.start(STUBBORN, stop_s=0.3)
    await log_says(kept.home / "it.log", "up")
    began = time.monotonic()
    await child.stop(asyncio.Event())
    assert not child.pid
    assert 0.2 < time.monotonic() - began < 5


async def test_a_second_signal_ends_the_patience(kept: Kept) -> None:
    child = await kept.start(STUBBORN, stop_s=60)
    await log_says(kept.home / "it.log", "up")
    hurry = asyncio.Event()
    asyncio.get_running_loop().call_later(0.2, hurry.set)
    async with asyncio.timeout(5):
        await child.stop(hurry)
    assert not child.pid


async def test_a_stop_during_the_pause_does_not_wait_for_it(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "pause_after", lambda _: 60.0)
    child = await kept.start("pass")
    while not kept.said:
        await asyncio.sleep(0.01)
    await child.stop(asyncio.Event())
    assert kept.keeping
    async with asyncio.timeout(2):
        await kept.keeping
    assert child.restarts == 0


async def test_a_server_that_says_it_is_ill_is_started_again(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("muster.up.MENDING_S", 0.0)
    child = await kept.start(SLEEPS)
    watching = asyncio.create_task(watch_health(child, is_ill, every_s=0.01))
    await until_restarted(child, times=8)  # more often than a crash loop would be allowed to
    watching.cancel()
    assert kept.said[0] == "restarting it: it says it is not well (503 unavailable)"


@pytest.mark.skipif(not children.LINUX, reason="only Linux tells a child that its parent died")
def test_a_child_dies_with_a_killed_runner(tmp_path: Path) -> None:
    runner = """
import asyncio, sys
from pathlib import Path
from muster.children import Child, Program

async def ready():
    return None

async def main():
    program = Program(name="it", command=("sleep", "60"), log=Path("it.log"), cwd=Path("."))
    child = Child(program, print)
    await child.start(ready, within_s=5)
    Path("pid.making").write_text(str(child.pid))
    Path("pid.making").rename("pid")
    await child.keep()

asyncio.run(main())
"""
    runs = os.posix_spawn("/bin/sh", ["sh", "-c", f"cd {tmp_path} && exec {sys.executable} -c '{runner}'"], os.environ)
    deadline = time.monotonic() + 10
    while not (tmp_path / "pid").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    child = int((tmp_path / "pid").read_text())
    os.kill(runs, signal.SIGKILL)
    os.waitpid(runs, 0)
    while is_alive(child):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_last_lines_of_a_missing_log_are_none(tmp_path: Path) -> None:
    assert last_lines(tmp_path / "none.log") == ""


def is_alive(pid: int) -> bool:
    """Whether it runs: what is dead may wait for its parent to notice."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def log_says(log: Path, word: str) -> None:
    async with asyncio.timeout(5):
        while word not in log.read_text():
            await asyncio.sleep(0.01)
