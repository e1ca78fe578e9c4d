"""The stream is the log: cut, deleted, wiped, published by two; and never under another log."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import nats
import pytest
from nats.js import JetStreamContext

from muster.embedded import Port
from shared.subjects import STREAM_SETTINGS, everything, stream_name
from tests.failure.conftest import Say
from tests.failure.ledgers import PROJECT, Home, a_ledger, all_ready, another, end, launch, status, until
from tests.failure.load import Told, Writer, a_client, a_coalition, append, say_all
from tests.failure.truth import all_agree, log_of, the_log_is_what_was_told

pytestmark = pytest.mark.failure

MEANWHILE = int(os.environ.get("MUSTER_APPENDED") or 4_000)  # entries appended while the stream is away, each time


@asynccontextmanager
async def jetstream(home: Home) -> AsyncIterator[JetStreamContext]:
    client = await nats.connect(home.running.nats_url)
    try:
        yield client.jetstream(timeout=10)
    finally:
        await client.close()


async def cut(js: JetStreamContext, name: str, *, first: int, count: int) -> None:
    """Leave only a piece of the stream, as it was: what a store that was put back from a copy looks like."""
    kept = [await js.get_msg(name, seq) for seq in range(first, first + count)]
    await js.delete_stream(name)
    client = js._nc
    settings = {"name": name, "subjects": [everything(name.lower())], "num_replicas": 1, "first_seq": first}
    await js._api_request(f"$JS.API.STREAM.CREATE.{name}", to_json(settings | STREAM_SETTINGS), timeout=10)
    for message in kept:
        assert message.subject
        headers = {name: value for name, value in (message.headers or {}).items() if name.startswith("ce-")}
        await js.publish(message.subject, message.data or b"", headers=headers)
    await client.flush()


def to_json(what: dict[str, object]) -> bytes:
    return httpx2.Request("POST", "http://x", json=what).content


@pytest.mark.timeout(300)
async def test_a_stream_that_is_cut_deleted_or_wiped_is_made_whole_from_the_log(tmp_path: Path, say: Say) -> None:
    told, took = Told(), {}
    async with a_ledger(tmp_path / "home") as home:
        await say_all(home.commitments, told, [a_coalition("drones")])
        await append(home.commitments, told, 3_000, name="first", coalition="drones")
        await all_agree(home, told)
        name = stream_name(home.running.ledger)

        async def lose(how: str) -> None:
            async with jetstream(home) as js:
                match how:
                    case "purged":
                        with pytest.raises(nats.js.errors.APIError):  # the stream itself refuses
                            await js.purge_stream(name)
                    case "end cut off":
                        await cut(js, name, first=1, count=500)
                    case "beginning cut off":
                        await cut(js, name, first=1_000, count=500)
                    case "deleted":
                        await js.delete_stream(name)
                    case "wiped":
                        home.send("nats-server", signal.SIGSTOP)
                        shutil.rmtree(home.directory / "nats" / "jetstream")
                        home.send("nats-server", signal.SIGKILL)

        for how in ("purged", "end cut off", "beginning cut off", "deleted", "wiped"):
            home.send("relay", signal.SIGSTOP)
            await lose(how)
            await append(home.commitments, told, MEANWHILE, name=how.split()[0][:4], coalition="drones")
            home.send("relay", signal.SIGCONT)
            began = time.monotonic()
            await all_agree(home, told)
            took[how] = time.monotonic() - began
            await all_ready(home)
        assert (told.unknown, told.away, told.closed) == (0, 0, 0), "commands are accepted all the while"
    say(
        f"{len(told.recorded)} entries, {MEANWHILE} of them appended during each loss, 100 % accepted; agreeing again "
        f"(all of the stream and the totals read back) after: "
        f"{', '.join(f'{how} {seconds:.1f} s' for how, seconds in took.items())}; 0 lost, 0 double"
    )


@pytest.mark.timeout(240)
async def test_two_relays_and_two_workers_that_stop_and_go_on_change_nothing(
    tmp_path: Path, seed: int, say: Say
) -> None:
    chance, told, stops = random.Random(seed), Told(), 0
    async with a_ledger(tmp_path / "home") as home:
        await say_all(home.commitments, told, [a_coalition("drones")])
        ports = Port(), Port()
        for port in ports:
            port.release()
        relay = home.environment("relay", MUSTER_RELAY_PORT=str(ports[0].number))
        worker = home.environment("worker", MUSTER_WORKER_PORT=str(ports[1].number))
        logs = home.directory / "logs"
        async with (
            another("services.commitments", "relay", relay, logs / "relay-2.log") as second_relay,
            another("services.projections", "worker", worker, logs / "worker-2.log") as second_worker,
        ):
            stop = asyncio.Event()
            writing = [
                asyncio.create_task(
                    Writer(f"w{n}", home.commitments, told, seed=seed, coalition="drones").until(
                        stop, lines=0 if n else 50, pause_s=0 if n else 0.1
                    )
                )
                for n in range(4)
            ]
            pids = [home.pids()["relay"], home.pids()["worker"], second_relay.pid, second_worker.pid]
            while stops < 30:
                await asyncio.sleep(chance.uniform(0.05, 0.5))
                pid = chance.choice(pids)
                os.kill(pid, signal.SIGSTOP)
                await asyncio.sleep(chance.choice((0.1, 0.5, 2.5)))
                os.kill(pid, signal.SIGCONT)
                stops += 1
            stop.set()
            await asyncio.gather(*writing)
            assert second_relay.poll() is None
            assert second_worker.poll() is None
            log = await all_agree(home, told)
    say(f"2 relays, 2 workers, {stops} times STOP and CONT of one of them under 4 writers; {len(log)} events, 0 double")


@pytest.mark.timeout(240)
async def test_a_backup_restored_under_a_newer_stream_stops_the_relay_until_it_is_repaired(
    tmp_path: Path, say: Say
) -> None:
    told = Told()
    place = tmp_path / "home"
    async with a_ledger(place) as home:
        await say_all(home.commitments, told, [a_coalition("drones")])
        await append(home.commitments, told, 500, name="before", coalition="drones")
        await all_agree(home, told)
    before, restored = Told(recorded=dict(told.recorded)), len(told.recorded)
    await asyncio.to_thread(copied, place / "postgres", tmp_path / "backup")
    async with a_ledger(place) as home:
        await append(home.commitments, told, 300, name="lost", coalition="drones")
        await all_agree(home, told)
    shutil.rmtree(place / "postgres")
    (tmp_path / "backup").rename(place / "postgres")

    again = await asyncio.to_thread(launch, place)
    try:

        async def refuses() -> bool:
            return await status(f"{again.running.relay}/readyz") == httpx2.codes.SERVICE_UNAVAILABLE

        await until(refuses, "the relay says that it stopped", within_s=15)
        # new facts are taken, and get positions that the stream has other events for: nothing may be published
        await append(again.commitments, before, 400, name="after", coalition="drones")
        await asyncio.sleep(6)
        assert await refuses()
        async with a_client(again.running.relay) as client:
            said = (await client.get("/readyz")).text
        assert "no copy of this log" in said
        the_log_is_what_was_told(await log_of(again.commitments), before)
        repaired = await asyncio.to_thread(doctor, place, "--repair")
        assert "the relay publishes the log again" in repaired
        began = time.monotonic()
        await all_ready(again, within_s=60)
        log = await all_agree(again, before)
        took = time.monotonic() - began
        healthy = await asyncio.to_thread(doctor, place)
    finally:
        await asyncio.to_thread(end, again)
    assert "ill" not in healthy
    say(
        f"a log of {restored} restored under a stream of {len(told.recorded)}: the relay stopped and said so, "
        f"{len(log) - restored} commands were taken meanwhile, none published; "
        f"after `muster doctor --repair` all {len(log)} agreed in {took:.1f} s"
    )


def doctor(home: Path, *options: str) -> str:
    """What `muster doctor` says."""
    command = [sys.executable, "-m", "muster", "doctor", "--home", str(home), *options]
    return subprocess.run(command, capture_output=True, text=True, cwd=PROJECT, check=False).stdout


def copied(directory: Path, to: Path) -> None:
    """A copy with owners and rights: the server asks for them."""
    subprocess.run(["/bin/cp", "-a", str(directory), str(to)], check=True)


def skip(home: Path, read_model: str, position: int, *options: str) -> None:
    """Let a stopped read model go on."""
    command = [sys.executable, "-m", "muster", "skip", read_model, str(position), "--home", str(home), *options]
    subprocess.run(command, capture_output=True, text=True, cwd=PROJECT, check=True)
