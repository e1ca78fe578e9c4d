"""The client of the benchmarks: what it reads from an answer, however that arrives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from benchmarks.beside import as_wrk_counts
from benchmarks.client import Answer, Client
from benchmarks.picture import Plot, Series
from benchmarks.steady import slope

HEAD = b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nLedger-Position: 42\r\ncontent-length: 13\r\n\r\n"
ANSWER = HEAD + b'{"version":1}'


class Server:
    """Answers every request with the same parts, one after the other, and counts who connects."""

    def __init__(self, parts: Sequence[bytes], *, closes: bool) -> None:
        self.parts, self.closes = parts, closes
        self.connections = 0
        self.asked: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                self.asked.append(await reader.readuntil(b"\r\n\r\n"))
                for part in self.parts:
                    writer.write(part)
                    await writer.drain()
                    await asyncio.sleep(0)
                if self.closes:
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()


@asynccontextmanager
async def a_server(*parts: bytes, closes: bool = False) -> AsyncIterator[tuple[Client, Server]]:
    """Run a server and a client of it."""
    served = Server(parts, closes=closes)
    async with await asyncio.start_server(served.serve, "127.0.0.1", 0) as server:
        client = Client(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        try:
            yield client, served
        finally:
            client.close()


async def test_an_answer_that_comes_byte_by_byte_is_read_whole() -> None:
    async with a_server(*(bytes([byte]) for byte in ANSWER)) as (client, _):
        assert await client.send("GET", "/v1/x") == Answer(201, 42, b'{"version":1}')


async def test_one_connection_serves_questions_that_follow_each_other() -> None:
    async with a_server(ANSWER) as (client, server):
        answers = [await client.send("GET", f"/v1/{n}") for n in range(3)]
    assert [answer.status for answer in answers] == [201, 201, 201]
    assert server.connections == 1
    assert [asked.split()[1] for asked in server.asked] == [b"/v1/0", b"/v1/1", b"/v1/2"]


async def test_questions_at_once_do_not_wait_for_each_other() -> None:
    async with a_server(ANSWER) as (client, server):
        await asyncio.gather(*(client.send("GET", "/v1/x") for _ in range(3)))
    assert server.connections == 3


async def test_an_answer_that_is_cut_off_is_an_error() -> None:
    async with a_server(ANSWER[:-1], closes=True) as (client, _):
        with pytest.raises(ConnectionError):
            await client.send("GET", "/v1/x")


async def test_an_answer_without_a_length_is_an_error() -> None:
    async with a_server(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n") as (client, _):
        with pytest.raises(ConnectionError, match="without a length"):
            await client.send("GET", "/v1/x")


def test_a_slope_is_that_of_the_last_two_thirds() -> None:
    grown = [(float(minute), 100.0 + 5 * minute if minute < 10 else 150.0) for minute in range(31)]
    assert slope(grown) == pytest.approx(0)
    assert slope([(float(minute), minute / 6) for minute in range(31)]) == pytest.approx(10)
    assert slope(grown[:2]) is None


@pytest.mark.parametrize(
    ("most", "promise", "top"), [(137.0, 150.0, 150.0), (137.0, None, 150.0), (4_600.0, 40_000.0, 5_000.0)]
)
def test_a_scale_ends_above_what_is_shown(most: float, promise: float | None, top: float) -> None:
    assert Plot("x", [Series("y", [(1.0, most)])], promise).top == top


def test_who_would_have_been_sent_while_one_was_slow_counts_too() -> None:
    assert as_wrk_counts([1.0, 1.0, 11.0, *[1.0] * 7]) == [*[1.0] * 9, 3.0, 5.0, 7.0, 9.0, 11.0]
