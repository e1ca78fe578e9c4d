"""Draws charts in a process of its own: started when the first is asked for, stopped when none was for a while."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import sys
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

What = Literal["svg", "png", "bundle"]

COMMAND: Final = (sys.executable, "-P", "-m", "services.projections.charts.worker")
ROOT: Final = Path(__file__).parents[3]

WAITING: Final = 16
"""How many requests may wait for the process; more are told to come back."""

WITHIN_S: Final = 10.0
"""How long one request may take, its waiting and the start of the process included."""

IDLE_S: Final = 300.0
KEPT_BYTES: Final = 4 * 2**20
"""How much of what was drawn is kept, in bytes: some forty images. While a ledger grows, few are asked for again."""


class Busy(Exception):
    """Too many charts are waiting, or one takes too long; later it may be better."""


class CannotDraw(Exception):
    """Vega refuses the definition: a mistake of ours."""


class Renderer:
    """The one process of this API process that draws, and what it drew lately."""

    def __init__(
        self,
        command: Sequence[str] = COMMAND,
        *,
        waiting: int = WAITING,
        within_s: float = WITHIN_S,
        idle_s: float = IDLE_S,
        kept_bytes: int = KEPT_BYTES,
    ) -> None:
        self._command = tuple(command)
        self._most_waiting, self._within_s, self._idle_s, self._kept_bytes = waiting, within_s, idle_s, kept_bytes
        self._process: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._idle: asyncio.TimerHandle | None = None
        self._kept: OrderedDict[bytes, bytes] = OrderedDict()
        self._drawing: dict[bytes, asyncio.Task[bytes]] = {}
        self._reaping: set[asyncio.Task[None]] = set()
        self.started = 0  # how often the process was, for tests and metrics

    @property
    def pid(self) -> int | None:
        """The process that draws, if it runs."""
        process = self._process
        return None if process is None or process.returncode is not None else process.pid

    async def draw(self, what: Literal["svg", "png"], definition: bytes) -> bytes:
        """Give a chart, from what is kept if it was drawn before. Raises Busy or CannotDraw.

        `definition` is a Vega-Lite specification as JSON: it holds the data, the position, the theme and the size, so
        equal definitions are equal charts. Who asks for the same one meanwhile waits for the same drawing.
        """
        key = hashlib.sha256(what.encode() + definition).digest()
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        task = self._drawing.get(key)
        if task is None:
            task = self._drawing[key] = asyncio.create_task(self.ask(what, definition))
            task.add_done_callback(lambda done: self._drawn(key, done))
        return await asyncio.shield(task)

    async def ask(self, what: What, body: bytes = b"") -> bytes:
        """Let the process do one thing, starting it if it does not run. Raises Busy or CannotDraw."""
        if self._waiting >= self._most_waiting:
            raise Busy(f"{self._waiting} charts are waiting")
        self._waiting += 1
        try:
            async with asyncio.timeout(self._within_s), self._turn:
                return await self._asked(what, body)
        except TimeoutError:
            raise Busy(f"a chart was not drawn within {self._within_s:g} s") from None
        finally:
            self._waiting -= 1

    async def close(self) -> None:
        """Stop the process and forget what was drawn."""
        for task in [*self._drawing.values()]:
            task.cancel()
        await asyncio.gather(*self._drawing.values(), return_exceptions=True)
        self._end()
        await asyncio.gather(*self._reaping)
        self._kept.clear()

    async def _asked(self, what: What, body: bytes) -> bytes:
        if self._idle is not None:
            self._idle.cancel()
        try:
            try:
                outcome, answer = await self._exchange(what, body)
            except (OSError, EOFError):  # it died, since the last time or just now: once more, in a new one
                self._end()
                outcome, answer = await self._exchange(what, body)
        except (OSError, EOFError):
            self._end()
            raise Busy("the process that draws charts died twice") from None
        except BaseException:
            self._end()  # an answer may be half read: the next one must not get the rest
            raise
        self._idle = asyncio.get_running_loop().call_later(self._idle_s, self._end)
        if outcome != "ok":
            raise CannotDraw(answer.decode(errors="replace")[:500])
        return answer

    async def _exchange(self, what: What, body: bytes) -> tuple[str, bytes]:
        process = self._process
        if process is None or process.returncode is not None:
            process = self._process = await self._start()
        assert process.stdin is not None  # noqa: S101  # `_start` opens both pipes
        assert process.stdout is not None  # noqa: S101  # likewise
        process.stdin.write(f"{what} {len(body)}\n".encode() + body)
        await process.stdin.drain()
        head = await process.stdout.readline()
        if not head:
            raise EOFError
        outcome, length = head.decode().split()
        return outcome, await process.stdout.readexactly(int(length))

    async def _start(self) -> asyncio.subprocess.Process:
        self.started += 1
        pythonpath = os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), str(ROOT))))
        return await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": pythonpath},
        )

    def _end(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()  # it holds nothing
            reaping = asyncio.create_task(_reap(process))
            self._reaping.add(reaping)
            reaping.add_done_callback(self._reaping.discard)

    def _drawn(self, key: bytes, done: asyncio.Task[bytes]) -> None:
        del self._drawing[key]
        if done.cancelled() or done.exception() is not None:
            return
        self._kept[key] = done.result()
        while len(self._kept) > 1 and sum(map(len, self._kept.values())) > self._kept_bytes:
            self._kept.popitem(last=False)


async def _reap(process: asyncio.subprocess.Process) -> None:
    """Read what a killed process still said, so that its pipes are closed, and let it go."""
    await process.communicate()
