"""A client that costs little beside what it measures: kept connections, and of an answer only what is needed.

It reads the status, the length and the position of an answer from its bytes, and looks at nothing else. For a load at
a steady rate, where an ordinary client would take half of the machine from the services that it measures.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Coroutine
from typing import Any, Final, NamedTuple, TypeVar, cast
from urllib.parse import urlsplit

import uvloop

LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
POSITION: Final = re.compile(rb"\r\nledger-position: *(\d+)", re.IGNORECASE)
STATUS_AT: Final = slice(9, 12)  # of `HTTP/1.1 200 OK`
IDLE_S: Final = 2.0
"""A connection that rested longer is not used again: the server may be closing it in this moment."""

T = TypeVar("T")


class Answer(NamedTuple):
    """What came back; `position` is 0 where none was told."""

    status: int
    position: int
    body: bytes


class _Connection(asyncio.Protocol):
    """One question at a time over one connection."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.rested = 0.0  # since when, by time.monotonic
        self._held = b""
        self._end = 0  # of the answer, in what is held; 0: its head is not here yet
        self._head = b""
        self._waiting: asyncio.Future[Answer] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but its class

    def ask(self, request: bytes) -> asyncio.Future[Answer]:
        """Send a request, and give what will be its answer. It raises ConnectionError."""
        assert self.transport is not None
        self._waiting = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return self._waiting

    def close(self) -> None:
        """Close it, if it is not closed yet."""
        if self.transport is not None:
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        self._held += data
        if not self._end:
            head = self._held.find(b"\r\n\r\n")
            if head < 0:
                return
            self._head = self._held[: head + 2]
            length = LENGTH.search(self._head)
            if length is None:
                self._fail(ConnectionError(f"an answer without a length: {self._head[:200]!r}"))
                return
            self._end = head + 4 + int(length[1])
        if len(self._held) < self._end:
            return
        position = POSITION.search(self._head)
        body = self._held[len(self._head) + 2 : self._end]
        answer = Answer(int(self._head[STATUS_AT]), int(position[1]) if position else 0, body)
        self._held, self._end = b"", 0
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(answer)

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self._fail(exc or ConnectionError("closed before the answer was whole"))

    def _fail(self, error: Exception) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(error)


class Client:
    """As many connections to one service as questions wait at once; each is kept and used again."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 80
        self._after_path = f" HTTP/1.1\r\nHost: {parts.netloc}\r\n"
        self._resting: list[_Connection] = []

    async def send(self, method: str, path: str, body: bytes = b"") -> Answer:
        """Send a request with a body of JSON, or none. Raises ConnectionError."""
        head = f"{method} {path}{self._after_path}"
        if method != "GET":
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        connection = await self._free()
        try:
            answer = await connection.ask(head.encode() + b"\r\n" + body)
        except BaseException:
            connection.close()  # the rest of an answer may still come
            raise
        connection.rested = time.monotonic()
        self._resting.append(connection)
        return answer

    async def _free(self) -> _Connection:
        """Give the connection that rested last, or a new one."""
        fresh = time.monotonic() - IDLE_S
        while self._resting:
            connection = self._resting.pop()
            if connection.transport is not None:
                if connection.rested > fresh:
                    return connection
                connection.close()
        _, connection = await asyncio.get_running_loop().create_connection(_Connection, self._host, self._port)
        return connection

    def close(self) -> None:
        """Close what rests."""
        for connection in self._resting:
            connection.close()
        self._resting.clear()


async def due(every_s: float, for_s: float) -> AsyncIterator[float]:
    """Give the moments of a steady load, by time.perf_counter, each when it has come; late ones follow at once."""
    began = time.perf_counter()
    for number in range(int(for_s / every_s)):
        moment = began + number * every_s
        await asyncio.sleep(max(0.0, moment - time.perf_counter()))
        yield moment


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a load in the loop that costs the least."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)
