"""What ails a ledger, and what to do about it: log, stream and read models, held side by side."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import asyncpg
import httpx2
import nats
import nats.errors
import nats.js.errors
from nats.js import JetStreamContext

from muster.running import Running
from services.projections.read_models import READ_MODELS
from services.projections.rebuild import CannotRebuild, rebuild, report
from shared.subjects import stream_name

ANSWER_S: Final = 5.0
WATCH_S: Final = 0.1
SERVICES: Final = ("commitments", "relay", "worker", "projections")

PUBLISHED_S: Final = 600.0
"""How long a repair waits for the relay to publish the log, before read models are built from the stream."""

Repair = Literal["stream", "read_models"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: what, whether it is well, what was seen, and what would mend it."""

    what: str
    well: bool
    seen: str
    advice: str = ""
    repair: Repair | None = None
    read_models: tuple[tuple[str, int], ...] = ()  # the ones that a repair begins anew


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """The log's head and epoch, and the ids of the events at the positions that were asked for."""

    head: int
    epoch: str
    ids: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """The stream: its first and last position, and the id of its last event; None for an empty one."""

    first: int
    last: int
    last_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A read model: how far it is, by which event, and why it is stopped, if it is."""

    name: str
    version: int
    position: int
    event_id: str | None
    reason: str | None


def compare(log: Log, copy: Copy | None, models: tuple[Model, ...]) -> list[Finding]:
    """Hold the three side by side. Pure: `log.ids` has the positions of `copy.last` and of every model."""
    return [_of_stream(log, copy), *(_of_model(log, model) for model in models)]


def _of_stream(log: Log, copy: Copy | None) -> Finding:
    if copy is None:
        return Finding("stream", log.head == 0, "it is not there", "the relay makes it and publishes the log again")
    if copy.last > log.head:
        seen = f"it goes to {copy.last}, the log only to {log.head}: the log was restored from an older backup"
        advice = "the stream holds events that the log has lost; `muster doctor --repair` publishes the log again"
        return Finding("stream", well=False, seen=seen, advice=advice, repair="stream")
    if copy.last and log.ids.get(copy.last) != copy.last_id:
        seen = f"at {copy.last} it holds {copy.last_id}, the log {log.ids.get(copy.last)}: it is of another log"
        advice = "`muster doctor --repair` deletes the stream and publishes the log again under a new epoch"
        return Finding("stream", well=False, seen=seen, advice=advice, repair="stream")
    if copy.last < log.head:
        return Finding("stream", well=True, seen=f"{copy.last} of {log.head}: the relay is publishing")
    return Finding("stream", well=True, seen=f"{copy.first} to {copy.last}, as the log")


def _of_model(log: Log, model: Model) -> Finding:
    what = f"read model {model.name} v{model.version}"
    if model.position > log.head or (model.event_id and log.ids.get(model.position) != model.event_id):
        seen = f"it applied {model.event_id} at {model.position}, which the log does not have"
        advice = "`muster doctor --repair` builds it anew from the log"
        which = ((model.name, model.version),)
        return Finding(what, well=False, seen=seen, advice=advice, repair="read_models", read_models=which)
    if model.reason is not None:
        advice = (
            f"mend the cause and `muster skip {model.name} {model.position + 1} --retry`, or --reason to pass over it"
        )
        return Finding(what, well=False, seen=f"stopped: {model.reason}", advice=advice)
    return Finding(what, well=True, seen=f"{model.position} of {log.head}")


async def examine(running: Running) -> list[Finding]:
    """Look at everything that runs: is each service ready, and do log, stream and read models agree?"""
    services = await asyncio.gather(*(service(name, getattr(running, name)) for name in SERVICES))
    try:
        copy = await _copy(running)
        models = await _models(running)
        positions = [*([copy.last] if copy else ()), *(model.position for model in models)]
        return [*services, *compare(await _log(running, positions), copy, models)]
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, nats.errors.Error) as away:
        seen = f"{type(away).__name__}: {away}"
        return [*services, Finding("log, stream and read models", well=False, seen=seen, advice="see home/logs")]


async def repair(running: Running, findings: list[Finding]) -> list[str]:
    """Do what the findings ask for, and say what was done. The log is never touched, but for a new epoch.

    Raises:
        CannotRebuild: A read model could not be built anew.
    """
    done = []
    if any(finding.repair == "stream" for finding in findings):
        async with _database(running.log_owner_url) as log:
            await log.execute("UPDATE ledger SET epoch = gen_random_uuid()")
        async with _jetstream(running) as js:
            await js.delete_stream(stream_name(running.ledger))
        done.append("the log has a new epoch; its stream was deleted, and the relay publishes the log again")
    anew = [key for finding in findings for key in finding.read_models]
    if anew:
        await _published(running)
        for model in READ_MODELS:
            if (model.name, model.version) in anew:
                found = await rebuild(
                    model,
                    database_url=running.read_models_url,
                    nats_url=running.nats_url,
                    ledger=running.ledger,
                    anew=True,
                )
                done.append(report(model, found))
    return done


async def _published(running: Running) -> None:
    """Wait until the stream has the whole log: a read model must not be switched to a build of half of it.

    Raises:
        CannotRebuild: The relay does not publish.
    """
    until = asyncio.get_running_loop().time() + PUBLISHED_S
    while True:
        log, stream = await head_of_log(running), await head_of_stream(running)
        if stream >= log:
            return
        if asyncio.get_running_loop().time() > until:
            raise CannotRebuild(f"the relay has not published the log: {stream} of {log}")
        await asyncio.sleep(WATCH_S)


async def head_of_log(running: Running) -> int:
    """Give the last position of the log."""
    return (await _log(running, [])).head


async def head_of_stream(running: Running) -> int:
    """Give the last position of the stream; 0 for one that is not there."""
    copy = await _copy(running)
    return copy.last if copy else 0


async def service(name: str, url: str) -> Finding:
    """Ask a service whether it is ready."""
    try:
        async with httpx2.AsyncClient(timeout=ANSWER_S) as client:
            answer = await client.get(f"{url}/readyz")
    except httpx2.HTTPError as away:
        return Finding(name, well=False, seen=f"no answer from {url}: {away}", advice=f"see home/logs/{name}.log")
    ready = answer.status_code == httpx2.codes.OK
    return Finding(name, ready, f"ready at {url}" if ready else f"not ready: {_said(answer.text)}")


def _said(text: str) -> str:
    return " ".join(text.split())[:500]


async def _log(running: Running, positions: list[int]) -> Log:
    async with _database(running.log_url) as log:
        head = await log.fetchval("SELECT coalesce(max(position), 0) FROM events")
        epoch = await log.fetchval("SELECT epoch::text FROM ledger")
        found = await log.fetch("SELECT position, event_id::text FROM events WHERE position = ANY($1)", positions)
    return Log(head=head, epoch=epoch, ids={row["position"]: row["event_id"] for row in found})


async def _models(running: Running) -> tuple[Model, ...]:
    async with _database(running.read_models_url) as database:
        rows = await database.fetch(
            "SELECT name, version, position, event_id::text, CASE status WHEN 'stopped' THEN reason END AS reason "
            "FROM checkpoints ORDER BY name, version"
        )
    ours = {(model.name, model.version) for model in READ_MODELS}  # not earlier versions, nor builds beside
    return tuple(Model(**dict(row)) for row in rows if (row["name"], row["version"]) in ours)


async def _copy(running: Running) -> Copy | None:
    async with _jetstream(running) as js:
        try:
            state = (await js.stream_info(stream_name(running.ledger))).state
        except nats.js.errors.NotFoundError:
            return None
        last_id = None
        if state.messages:
            last = await js.get_msg(stream_name(running.ledger), seq=state.last_seq)
            last_id = (last.headers or {}).get("ce-id")
        return Copy(first=state.first_seq, last=state.last_seq, last_id=last_id)


@asynccontextmanager
async def _database(url: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    connection = await asyncpg.connect(url, timeout=ANSWER_S, command_timeout=60)
    try:
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def _jetstream(running: Running) -> AsyncIterator[JetStreamContext]:
    async def quiet(_: Exception) -> None:
        """What goes wrong is raised where it is asked for."""

    options: dict[str, Any] = {"allow_reconnect": False, "connect_timeout": 3, "error_cb": quiet}
    client = await nats.connect(running.nats_url, **options)
    try:
        yield client.jetstream(timeout=ANSWER_S)
    finally:
        await client.close()
