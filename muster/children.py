"""Processes that `muster up` starts: none outlives it, and one that dies is started again."""

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
STEADY_S = 30.0  # a child that lived this long is not in a crash loop
MOST_FAILURES = 5  # in a row, each after less than STEADY_S
KEEP_LOG_BYTES = 10_000_000  # a longer log is put aside as NAME.log.1 when its program starts
LINUX = sys.platform == "linux"

_prctl = ctypes.CDLL(None).prctl if LINUX else None

T = TypeVar("T")
U = TypeVar("U")

Ready = Callable[[], Awaitable[str | None]]  # None: ready; words: why not yet


class CannotRun(Exception):
    """What a person is told when `muster up` cannot go on: its text says why, and what to do where we know."""


class DidNotStart(CannotRun):
    """A program ended, or was not ready in time, when it was started for the first time."""


class CrashLoop(CannotRun):
    """A program died again and again, each time soon after its start."""


@dataclass(frozen=True, slots=True)
class Account:
    """The user that a program runs as when the runner itself is root."""

    name: str
    uid: int
    gid: int


async def nothing() -> None:
    """What most programs need before a start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What to run and how to end it.

    `stop_signal` asks for an orderly end, which may take `stop_s` seconds; `hard_signal` follows, then SIGKILL.
    `orphan_signal` is what the kernel sends when the runner dies without a word (Linux).
    """

    name: str
    command: tuple[str, ...]
    log: Path
    cwd: Path
    env: Mapping[str, str] = field(default_factory=dict)  # beside the runner's own
    account: Account | None = None
    pass_fds: tuple[int, ...] = ()
    before: Callable[[], Awaitable[None]] = nothing  # runs before each start
    stop_signal: signal.Signals = signal.SIGTERM
    hard_signal: signal.Signals = signal.SIGKILL
    orphan_signal: signal.Signals = signal.SIGKILL
    stop_s: float = 10.0


def pause_after(failures: int) -> float:
    """Seconds to wait after so many failures in a row: 0.2, 0.6, 1.8, 5.4, then 10."""
    return min(10.0, 0.2 * 3.0 ** (failures - 1))


def how_it_ended(code: int) -> str:
    """The words for a return code: `exit code 1`, `SIGKILL`."""
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def last_lines(log: Path, count: int = 20) -> str:
    """The end of a log, indented for a message; empty when there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 16_384))
            lines = file.read().decode(errors="replace").splitlines()[-count:]
    except FileNotFoundError:
        return ""
    return "".join(f"\n    {line}" for line in lines)


def _dies_with_parent(number: signal.Signals) -> Callable[[], None] | None:
    """What a child does between fork and exec: ask the kernel for `number` when its parent dies."""
    if _prctl is None:
        return None
    parent, prctl = os.getpid(), _prctl

    def before_exec() -> None:
        prctl(PR_SET_PDEATHSIG, int(number), 0, 0, 0)
        if os.getppid() != parent:  # it died in the meantime, and no signal will come
            os._exit(1)

    return before_exec


class Child:
    """One program, kept running until `stop`. What happens to it is said through `say(text)`."""

    def __init__(self, program: Program, say: Callable[[str], None]) -> None:
        self.program = program
        self.restarts = 0
        self._say = say
        self._process: asyncio.subprocess.Process | None = None
        self._started_at = 0.0
        self._stopping = asyncio.Event()
        self._restart_asked = False
        self._spawning = asyncio.Lock()  # a stop that comes in the middle of a start waits for it, then ends it

    @property
    def pid(self) -> int:
        """The process id of the present run; 0 when there is none."""
        return self._process.pid if self._process and self._process.returncode is None else 0

    async def start(self, ready: Ready, *, within_s: float) -> None:
        """Start it for the first time and wait until `ready` answers None.

        Raises:
            DidNotStart: It ended, or was not ready after `within_s` seconds; says why, with the end of its log.
        """
        async with self._spawning:
            process = await self._spawn()
        deadline = time.monotonic() + within_s
        pause = 0.01
        while (why := await ready()) is not None:
            if process.returncode is not None:
                raise DidNotStart(self._report(f"ended at its start ({how_it_ended(process.returncode)})"))
            if time.monotonic() > deadline:
                raise DidNotStart(self._report(f"was not ready after {within_s:.0f} s: {why}"))
            await asyncio.sleep(pause)
            pause = min(0.1, pause * 1.5)

    async def keep(self) -> None:
        """Start it again whenever it dies; return once it was stopped.

        Raises:
            CrashLoop: It died more than MOST_FAILURES times in a row within STEADY_S of its start.
        """
        failures = 0
        while (process := self._process) is not None:
            code = await process.wait()
            if self._stopping.is_set():
                return
            if self._restart_asked:
                self._restart_asked = False
            else:
                failures = failures + 1 if time.monotonic() - self._started_at < STEADY_S else 1
                if failures > MOST_FAILURES:
                    raise CrashLoop(self._report(f"died {failures} times in a row ({how_it_ended(code)})"))
                pause = pause_after(failures)
                self._say(f"{self.program.name} died ({how_it_ended(code)}); starting it again in {pause:.1f} s")
                await first_of(self._stopping.wait(), within_s=pause)
            async with self._spawning:
                if not self._stopping.is_set():
                    self.restarts += 1
                    await self._spawn()

    async def restart(self, why: str) -> None:
        """End it, so that `keep` starts it again at once."""
        self._say(f"restarting {self.program.name}: {why}")
        self._restart_asked = True
        await self._end(asyncio.Event())

    async def stop(self, hurry: asyncio.Event) -> None:
        """End it for good; once `hurry` is set, without patience."""
        self._stopping.set()
        async with self._spawning:
            await self._end(hurry)

    async def _spawn(self) -> asyncio.subprocess.Process:
        program = self.program
        await program.before()
        with contextlib.suppress(FileNotFoundError):
            if program.log.stat().st_size > KEEP_LOG_BYTES:
                program.log.replace(program.log.with_suffix(".log.1"))
        with program.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *program.command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=program.cwd,
                env={**os.environ, **program.env},
                pass_fds=program.pass_fds,
                process_group=0,  # Ctrl-C reaches the runner alone, which knows the order
                user=program.account.uid if program.account else None,
                group=program.account.gid if program.account else None,
                extra_groups=() if program.account else None,
                preexec_fn=_dies_with_parent(program.orphan_signal),
            )
        self._started_at = time.monotonic()
        return self._process

    async def _end(self, hurry: asyncio.Event) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        if not hurry.is_set():
            _send(process, self.program.stop_signal)
            await first_of(process.wait(), hurry.wait(), within_s=self.program.stop_s)
        if process.returncode is None:
            _send(process, self.program.hard_signal)
            await first_of(process.wait(), within_s=5.0)
        if process.returncode is None:
            _send(process, signal.SIGKILL)
            await process.wait()

    def _report(self, what: str) -> str:
        return f"{self.program.name} {what}; the end of {self.program.log}:{last_lines(self.program.log)}"


def _send(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):  # it may end by itself in this very moment
        process.send_signal(number)


async def first_of(*waits: Awaitable[object], within_s: float) -> None:
    """Wait until one of them is through, or the seconds are over; the others are cancelled."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()


async def both(first: Coroutine[Any, Any, T], second: Coroutine[Any, Any, U]) -> tuple[T, U]:
    """Do both at once; when one fails, drop the other and raise what it raised."""
    try:
        async with asyncio.TaskGroup() as group:
            doing = group.create_task(first), group.create_task(second)
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return doing[0].result(), doing[1].result()


async def together(*works: Coroutine[Any, Any, None]) -> None:
    """Do all at once; when one fails, drop the others and raise what it raised."""
    try:
        async with asyncio.TaskGroup() as group:
            for work in works:
                group.create_task(work)
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None
