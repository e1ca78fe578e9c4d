"""A line to a server that a test can cut: a TCP proxy on loopback."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from urllib.parse import urlsplit, urlunsplit


class Wire:
    """Passes bytes on to a server until it is cut.

    `watch` sees what the client sends; where it answers True the bytes still reach the server, and then the line is
    cut before the client hears any more.
    """

    def __init__(self, url: str) -> None:
        self.watch: Callable[[bytes], bool] = lambda _: False
        self.cuts = 0
        self._parts = urlsplit(url)
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._port = 0

    @property
    def url(self) -> str:
        """The server's URL by way of this line."""
        user, _, _ = self._parts.netloc.rpartition("@")
        return urlunsplit(self._parts._replace(netloc=f"{user}@127.0.0.1:{self._port}"))

    async def up(self) -> None:
        """Take connections (again)."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def down(self) -> None:
        """Cut every connection, take no new ones."""
        if self._server is not None:
            self._server.close()
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """Cut every connection."""
        self.cuts += 1
        for writer in self._open:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection(self._parts.hostname, self._parts.port)
        both = {writer, server_writer}
        self._open |= both
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await asyncio.gather(self._up(reader, server_writer, writer), self._down(server_reader, writer))
        finally:
            self._open -= both
            self._tasks.discard(task)
            for side in both:
                side.transport.abort()

    async def _up(
        self, client: asyncio.StreamReader, server: asyncio.StreamWriter, answers: asyncio.StreamWriter
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await client.read(65_536):
                if cut := self.watch(data):
                    answers.transport.abort()
                server.write(data)
                await server.drain()
                if cut:
                    await asyncio.sleep(0.05)  # the server does what it was told
                    self.cut()
                    return
        server.close()

    async def _down(self, server: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await server.read(65_536):
                client.write(data)
                await client.drain()
        client.close()


@asynccontextmanager
async def wire(url: str) -> AsyncIterator[Wire]:
    """A line to the server of `url` while the block runs."""
    line = Wire(url)
    await line.up()
    try:
        yield line
    finally:
        await line.down()
