"""The process that draws: started when needed, shared, bounded, replaced when it dies."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.projections.charts.renderer import Busy, CannotDraw, Renderer

BARS = {"data": {"values": [{"a": 1}]}, "mark": "bar", "encoding": {"x": {"field": "a", "type": "quantitative"}}}
SLOW = """
import sys, time
for line in sys.stdin.buffer:
    what, length = line.decode().split()
    body = sys.stdin.buffer.read(int(length))
    time.sleep(float(body))
    sys.stdout.buffer.write(b"ok 4\\ndone"); sys.stdout.buffer.flush()
"""


def a_definition(height: int = 50) -> bytes:
    return json.dumps(BARS | {"height": height}).encode()


@pytest.fixture
async def renderer() -> AsyncIterator[Renderer]:
    found = Renderer(within_s=60)
    yield found
    await found.close()


@pytest.fixture
def slow(tmp_path: Path) -> tuple[str, ...]:
    """A process that draws as long as the definition says, in seconds."""
    script = tmp_path / "slow.py"
    script.write_text(SLOW)
    return sys.executable, str(script)


async def test_it_draws_svg_and_png_and_starts_only_when_asked(renderer: Renderer) -> None:
    assert renderer.pid is None
    assert (await renderer.draw("svg", a_definition())).startswith(b"<svg")
    assert (await renderer.draw("png", a_definition())).startswith(b"\x89PNG")
    assert renderer.started == 1


async def test_a_process_that_was_killed_is_replaced_and_nobody_notices(renderer: Renderer) -> None:
    await renderer.draw("svg", a_definition())
    assert renderer.pid is not None
    os.kill(renderer.pid, signal.SIGKILL)
    assert (await renderer.draw("svg", a_definition(60))).startswith(b"<svg")
    assert renderer.started == 2


async def test_a_definition_that_vega_refuses_is_said_and_the_next_one_drawn(renderer: Renderer) -> None:
    with pytest.raises(CannotDraw):
        await renderer.draw("svg", b'{"mark": 7}')
    assert (await renderer.draw("svg", a_definition())).startswith(b"<svg")
    assert renderer.started == 1


async def test_data_from_elsewhere_is_not_fetched(renderer: Renderer) -> None:
    elsewhere = BARS | {"data": {"url": "http://127.0.0.1:9/data.json"}}
    with pytest.raises(CannotDraw, match=r"(?i)access|allowed|denied"):
        await renderer.draw("svg", json.dumps(elsewhere).encode())


async def test_the_same_chart_is_drawn_once_for_all_who_ask(slow: tuple[str, ...]) -> None:
    renderer = Renderer(slow, waiting=1)
    assert await asyncio.gather(*(renderer.draw("svg", b"0.2") for _ in range(20))) == [b"done"] * 20
    before = asyncio.get_running_loop().time()
    assert await renderer.draw("svg", b"0.2") == b"done"
    assert asyncio.get_running_loop().time() - before < 0.1, "it was kept"
    await renderer.close()


async def test_who_finds_the_queue_full_is_told_to_come_back(slow: tuple[str, ...]) -> None:
    renderer = Renderer(slow, waiting=2)
    first, second = (asyncio.create_task(renderer.draw("svg", part)) for part in (b"0.3", b"0.31"))
    await asyncio.sleep(0.05)
    with pytest.raises(Busy, match="2 charts are waiting"):
        await renderer.draw("svg", b"0.32")
    assert await asyncio.gather(first, second) == [b"done", b"done"]
    await renderer.close()


async def test_what_takes_too_long_is_given_up_and_the_next_answer_is_its_own(slow: tuple[str, ...]) -> None:
    renderer = Renderer(slow, within_s=1.0)
    with pytest.raises(Busy, match="within 1 s"):
        await renderer.draw("svg", b"60")
    assert await renderer.draw("svg", b"0") == b"done"
    assert renderer.started == 2, "the stuck one was ended"
    await renderer.close()


async def until_stopped(renderer: Renderer) -> None:
    async with asyncio.timeout(5):
        while renderer.pid is not None:
            await asyncio.sleep(0.02)


async def test_it_stops_when_nobody_asked_for_a_while(slow: tuple[str, ...]) -> None:
    renderer = Renderer(slow, idle_s=0.2)
    await renderer.draw("svg", b"0")
    assert renderer.pid is not None
    await until_stopped(renderer)
    assert await renderer.draw("svg", b"0.0") == b"done"
    await renderer.close()


async def test_what_was_drawn_lately_is_kept_up_to_its_bytes(slow: tuple[str, ...]) -> None:
    renderer = Renderer(slow, kept_bytes=8)
    for body in (b"0", b"0.0", b"0.00"):
        await renderer.draw("svg", body)
    assert sum(map(len, renderer._kept.values())) == 8
    await renderer.close()
