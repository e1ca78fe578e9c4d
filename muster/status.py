"""What runs, and how far it is: for a person who looks at it."""

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import asyncpg
import nats.errors
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from sqlalchemy.exc import SQLAlchemyError

from muster.doctor import ANSWER_S, SERVICES, Finding, head_of_log, head_of_stream, service
from muster.running import Running
from services.projections import checkpoints
from services.projections.checkpoints import Checkpoint, Rebuild, silent_s
from services.projections.database import engine
from services.projections.figures import age_s
from services.projections.read_models import READ_MODELS


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table: what, whether it is well, where it is, how far behind, and what there is to say."""

    what: str
    well: bool
    position: int | None = None
    behind: str = ""
    said: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """Everything that was seen; `advice` are lines to run."""

    rows: tuple[Row, ...]
    advice: tuple[str, ...]

    @property
    def well(self) -> bool:
        """Whether nothing is wrong."""
        return all(row.well for row in self.rows)


async def look(running: Running) -> Status:
    """Look at the services, the log, its stream and the read models. What cannot be reached is said, not raised."""
    services = await asyncio.gather(*(service(name, getattr(running, name)) for name in SERVICES))
    rows = [Row(what=found.what, well=found.well, said=found.seen) for found in services]
    log = await _head("log", head_of_log(running))
    stream = await _head("stream", head_of_stream(running))
    if log.position is not None and stream.position is not None:
        stream = _behind(stream, log.position)
    rows += [log, stream]
    try:
        found, rebuilds = await asyncio.wait_for(_read_models(running), ANSWER_S)
    except (OSError, SQLAlchemyError) as error:
        away = Row(what="read models", well=False, said=f"{type(error).__name__}: {error}")
        return Status(rows=(*rows, away), advice=_advice(services, ()))
    head = max(log.position or 0, *(checkpoint.head for checkpoint in found), 0)
    rows += read_models(found, rebuilds, head, datetime.now(UTC))
    return Status(rows=tuple(rows), advice=_advice(services, found))


def read_models(found: Sequence[Checkpoint], rebuilds: Sequence[Rebuild], head: int, now: datetime) -> list[Row]:
    """Give a line for each read model. Pure."""
    by_key = {(checkpoint.name, checkpoint.version): checkpoint for checkpoint in found}
    building = {(rebuild.name, rebuild.version): rebuild for rebuild in rebuilds}
    silence_s = silent_s(found)
    rows = []
    for model in READ_MODELS:
        key = (model.name, model.version)
        at, rebuild = by_key.get(key), building.get(key)
        what = f"{model.name} v{model.version}"
        if at is None:
            rows.append(Row(what=what, well=False, said="not made yet: the worker makes it"))
            continue
        said = []
        if at.status == "stopped":
            said.append(f"stopped: {at.reason}")
        if rebuild is not None and rebuild.ended_at is None:
            said.append(_rebuilding(rebuild))
        if silence_s:
            said.append(f"no worker was heard of for {silence_s:.0f} s")
        lag, age = max(0, head - at.position), age_s(at, head, silence_s, now)
        behind = f"{lag:,} ({age:,.0f} s)" if lag else "0"
        well = at.status == "running" and not silence_s
        rows.append(Row(what=what, well=well, position=at.position, behind=behind, said="; ".join(said)))
    return rows


def _rebuilding(rebuild: Rebuild) -> str:
    place = "" if rebuild.position is None else f" at {rebuild.position:,} of {rebuild.head or 0:,}"
    if not rebuild.running:
        return f"its rebuild was interrupted{place}: `muster rebuild {rebuild.name}` goes on"
    left = "" if rebuild.seconds_left is None else f", {rebuild.seconds_left:,.0f} s left"
    return f"rebuild: {rebuild.stage}{place}{left}"


def _advice(services: Sequence[Finding], found: Sequence[Checkpoint]) -> tuple[str, ...]:
    lines = [f"{finding.what}: {finding.advice}" for finding in services if finding.advice]
    for checkpoint in found:
        if checkpoint.status == "stopped":
            command = f"muster skip {checkpoint.name} {checkpoint.position + 1}"
            lines.append(f"{checkpoint.name}: mend the cause and `{command} --retry`, or `{command} --reason TEXT`")
    return tuple(lines)


def _behind(stream: Row, head: int) -> Row:
    at = stream.position or 0
    said = stream.said
    if at > head:
        said = "it holds more than the log: ask `muster doctor`"
    return Row(what="stream", well=at <= head, position=at, behind=f"{max(0, head - at):,}", said=said)


async def _head(what: str, asked: Coroutine[None, None, int]) -> Row:
    try:
        return Row(what=what, well=True, position=await asked)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, nats.errors.Error) as error:
        return Row(what=what, well=False, said=f"{type(error).__name__}: {error}")


async def _read_models(running: Running) -> tuple[list[Checkpoint], list[Rebuild]]:
    database = engine(running.read_models_url, process="status", connections=1)
    try:
        async with database.connect() as conn:
            found = await checkpoints.load(conn, [(model.name, model.version) for model in READ_MODELS])
            return list(found.values()), list((await checkpoints.rebuilds(conn)).values())
    finally:
        await database.dispose()


def show(found: Status, console: Console) -> None:
    """Print a table, and below it what to run."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("", "", "position", "behind", ""):
        table.add_column(column, justify="right" if column else "left", overflow="fold")
    for row in found.rows:
        table.add_row(
            "[green]ok[/green]" if row.well else "[red]ill[/red]",
            row.what,
            "" if row.position is None else f"{row.position:,}",
            row.behind,
            escape(row.said),
        )
    console.print(table)
    for line in found.advice:
        console.print(f"  {escape(line)}", highlight=False)
