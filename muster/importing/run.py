"""`muster import` and `muster retract`: what is said to whoever runs them, and the report they leave."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

import httpx2
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from muster.importing import files, series
from muster.importing.commands import CannotImport, Fault, Row
from muster.importing.files import Mapping
from muster.importing.parties import name_in_path
from muster.importing.sending import TIMEOUT_S, Became, sent

SHOWN: Final = 20
"""How many refusals are shown; the report has them all."""

MOST_GONE: Final = 3  # more than one in three gone needs --yes

Confirm = Callable[[str], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What is to be imported, how, and where to."""

    paths: Sequence[Path]
    mapping: str | None = None
    series: str | None = None
    import_id: str | None = None
    commitments: str | None = None  # None only for a dry run
    key: str | None = None
    dry_run: bool = False
    report: Path | None = None
    yes: bool = False


@dataclass
class Tally:
    """Counts what became of lines, shows the first refusals, writes the report."""

    console: Console
    report: IO[str] | None = None
    counts: dict[str, int] = field(default_factory=lambda: {"recorded": 0, "already there": 0, "refused": 0})
    parties: int = 0  # of those recorded, registered on the way
    shown: int = 0

    def take(self, became: Became) -> None:
        """Count one line."""
        self.counts[became.what] += 1
        self.parties += became.on_the_way and became.what == "recorded"
        if self.report is not None:
            self.report.write(json.dumps(written(became), ensure_ascii=False) + "\n")
        if became.what == "refused":
            self.shown += 1
            if self.shown <= SHOWN:
                self.console.print(
                    f"[red]refused[/] {escape(str(became.place))} {escape(became.do)}: {escape(became.reason or '')}"
                )
            elif self.shown == SHOWN + 1:
                self.console.print("... and more, which the report (--report FILE) names")

    def end(self, *, dry: bool) -> int:
        """Say the sum; give the exit code."""
        said = {("would be recorded" if dry and what == "recorded" else what): n for what, n in self.counts.items()}
        way = f" (with {self.parties} parties on the way)" if self.parties else ""
        self.console.print(f"{', '.join(f'{n:,} {what}' for what, n in said.items())}{way}")
        if self.report is not None:
            self.report.write(json.dumps({"summary": self.counts}) + "\n")
        return 1 if self.counts["refused"] else 0


def written(became: Became) -> dict[str, Any]:
    """Give a line of the report."""
    found: dict[str, Any] = {"file": became.place.file, "line": became.place.line, "do": became.do, "what": became.what}
    if became.reason is not None:
        found |= {"reason": became.reason, "code": became.code}
    if became.events:
        found["events"] = list(became.events)
    return found


def client(url: str, key: str | None) -> httpx2.Client:
    """Make a client of the commitments service."""
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    return httpx2.Client(base_url=url, headers=headers, timeout=TIMEOUT_S)


@contextmanager
def _bar(console: Console, what: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """Show how far it is, with the time that is left; nothing where nobody looks."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda more: bar.advance(task, more)


@contextmanager
def _tally(options: Options, console: Console) -> Iterator[Tally]:
    if options.report is None:
        yield Tally(console)
        return
    try:
        report = options.report.open("w", encoding="utf-8")
    except OSError as error:
        raise CannotImport(f"the report {options.report} cannot be written: {error.strerror}") from None
    with report:
        yield Tally(console, report)


def run(options: Options, console: Console, confirm: Confirm) -> int:
    """Import files; give the exit code, 1 if anything was refused. Raises CannotImport when nothing can be done."""
    how = files.mapping(options.mapping)
    told: set[str] = set()

    def notice(said: str) -> None:
        if said not in told:  # a release is read twice
            told.add(said)
            console.print(f"[yellow]note[/] {escape(said)}")

    def read(mark: str | None, moved: Callable[[int], None]) -> Iterator[Row | Fault]:
        return files.read(options.paths, how, mark, notice, moved)

    size = sum(path.stat().st_size for path in options.paths if path.is_file())
    with _tally(options, console) as tally:
        if options.series is not None:
            return _release(options, options.series, read=read, size=size, tally=tally, confirm=confirm)
        with _bar(console, "importing", size) as moved:
            rows = read(options.import_id, moved)
            if options.dry_run:
                _count(files.looked_at(rows), tally)
            else:
                with client(options.commitments or "", options.key) as ledger:
                    _count(sent(rows, ledger), tally)
        code = tally.end(dry=options.dry_run)
        if tally.counts["recorded"] and not options.dry_run:
            _say_marks(options, how, console)
        return code


def _count(became: Iterable[Became], tally: Tally) -> None:
    for one in became:
        tally.take(one)


def _say_marks(options: Options, how: Mapping, console: Console) -> None:
    if how is None and options.import_id is None:
        return
    marks = dict.fromkeys(
        [options.import_id] if options.import_id else [files.import_id(p.name) for p in options.paths]
    )
    if len(marks) > 1:
        console.print("each file is an import of its own, named after it; `muster retract --import NAME` undoes one")
        return
    console.print(f"`muster retract --import {next(iter(marks))}` undoes it")


Read = Callable[[str | None, Callable[[int], None]], Iterator[Row | Fault]]


def _release(options: Options, name: str, *, read: Read, size: int, tally: Tally, confirm: Confirm) -> int:
    """Import a release of a series."""
    if name_in_path(name) != name:
        raise CannotImport(
            f"a series is named in small letters, digits, - and _, such as {name_in_path(name) or 'fts'!r}"
        )
    console = tally.console
    with client(options.commitments or "", options.key) as ledger:
        holding = series.held(name, series.feed(ledger))
        mark = options.import_id or f"{name}-{len(holding.imports) + 1}"
        looked, gone = series.Release(name, mark, holding), list[tuple[str, series.Held]]()
        if holding.live or options.dry_run:  # a first release changes nothing, so it need not be read twice
            with _bar(console, "comparing", size) as moved:
                faults = [row for row in looked.changes(read(mark, moved)) if isinstance(row, Fault)]
            gone = looked.gone()
            told = f"{looked.counted['new']:,} new, {looked.counted['changed']:,} changed, {len(gone):,} gone"
            console.print(f"series {name}: {told}, {looked.counted['same']:,} as they were")
            if looked.unread and gone:
                console.print(
                    "[yellow]note[/] there are lines that cannot be read at all, so nothing is taken for gone"
                )
                gone = []
            if options.dry_run:
                _count(files.looked_at(faults), tally)
                return 1 if faults else 0
            _agree(options, looked, gone, holding, confirm)
        with _bar(console, "importing", size) as moved:
            again = series.Release(name, mark, holding)
            _count(sent(again.changes(read(mark, moved)), ledger), tally)
        reason = f"the release {mark!r} of the series {name!r} does not have it"
        _count(sent(series.retractions((one for _, one in gone), reason, f"series {name}"), ledger), tally)
        tally.counts["already there"] += again.counted["same"]
    code = tally.end(dry=False)
    if again.counted["new"]:
        console.print(f"`muster retract --import {mark}` undoes what was new in it")
    return code


def _agree(
    options: Options,
    looked: series.Release,
    gone: Sequence[tuple[str, series.Held]],
    holding: series.Holding,
    confirm: Confirm,
) -> None:
    """Ask before anything is corrected or retracted. Raises CannotImport where nobody agrees."""
    changed = looked.counted["changed"]
    if options.yes or not (gone or changed):
        return
    if len(gone) * MOST_GONE > holding.live:
        share = f"{len(gone):,} of {holding.live:,} entries of the series {options.series!r} are not in this release"
        raise CannotImport(f"{share}: is it the whole of it? With --yes they are retracted; nothing was changed")
    if not confirm(f"Correct {changed:,} and retract {len(gone):,} entries?"):
        raise CannotImport("nothing was changed; --yes agrees beforehand")


def undo(
    marks: Sequence[str], *, reason: str, url: str, key: str | None, console: Console, report: Path | None = None
) -> int:
    """Retract what imports recorded, the last first; give the exit code. Doing it again is harmless."""
    options = Options(paths=(), report=report)
    with client(url, key) as ledger, _tally(options, console) as tally:
        for mark in marks:
            found = series.imported(mark, series.feed(ledger))
            if not found:
                console.print(f"nothing stands that the import {mark!r} recorded")
                continue
            with _bar(console, f"retracting {mark}", len(found)) as moved:
                for became in sent(series.retractions(found, reason, f"import {mark}"), ledger):
                    tally.take(became)
                    moved(1)
        counts = tally.counts
        console.print(f"{counts['recorded']:,} retracted, {counts['refused']:,} refused")
        return 1 if counts["refused"] else 0
