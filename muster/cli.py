"""The command line: `muster up` and what else is done from a shell."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from muster import __version__

if TYPE_CHECKING:
    from rich.console import Console  # imported when a command needs it

app = typer.Typer(
    name="muster",
    help="An event-sourced ledger of what coalitions pledge, and of what arrives.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


def main() -> None:
    """What `.venv/bin/muster` and `python -m muster` call."""
    app(prog_name="muster")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def muster(
    _version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say the version and end.")
    ] = False,
) -> None:
    """Commands share nothing but the program's name."""


@app.command()
def up(
    home: Annotated[Path, typer.Option(help="Where the data stays.", file_okay=False)] = Path(".muster"),
    commitments_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of the commitments service; 0: any free one.")
    ] = 8001,
    projections_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of the projections service; 0: any free one.")
    ] = 8002,
    example: Annotated[
        bool, typer.Option("--example/--no-example", help="Load the worked example at a home's first start.")
    ] = True,
    as_json: Annotated[
        bool, typer.Option("--json", help="When ready, print one line of JSON to stdout; all else goes to stderr.")
    ] = False,
) -> None:
    """Run everything here: PostgreSQL, NATS, migrations and both services, until Ctrl-C or SIGTERM.

    The data stays in the home; a second start takes it up again. MUSTER_LEDGER (default: ledger) names the
    ledger. MUSTER_DATABASE_URL (a role that may create roles and databases) and MUSTER_NATS_URL name servers of
    yours to use instead of the embedded ones.
    """
    from muster.children import CannotRun
    from muster.up import Options, Voice
    from muster.up import up as run

    voice = Voice(to_stderr=as_json)
    options = Options(
        home=home.resolve(),
        commitments_port=commitments_port,
        projections_port=projections_port,
        example=example,
        json=as_json,
        ledger=os.environ.get("MUSTER_LEDGER") or "ledger",
        database_url=os.environ.pop("MUSTER_DATABASE_URL", None) or None,  # its rights are no child's
        nats_url=os.environ.get("MUSTER_NATS_URL") or None,
    )
    try:
        asyncio.run(run(options, voice))
    except CannotRun as error:
        typer.secho(f"muster up: {error}", fg=typer.colors.RED, err=True)
        raise typer.Exit(1) from None


Home = Annotated[Path, typer.Option(help="The home of a running `muster up`.", file_okay=False)]


@app.command()
def doctor(
    home: Home = Path(".muster"),
    mend: Annotated[bool, typer.Option("--repair", help="Mend what can be mended from the log.")] = False,
) -> None:
    """Hold the log, its stream and the read models side by side; say what is wrong and what would mend it.

    Ends with 0 when all is well, 1 when something is not. The log itself is never changed.
    """
    from muster.children import CannotRun
    from muster.doctor import examine, repair
    from muster.running import Running
    from services.projections.rebuild import CannotRebuild

    try:
        running = Running.of(home.resolve())
    except CannotRun as error:
        typer.secho(f"muster doctor: {error}", fg=typer.colors.RED, err=True)
        raise typer.Exit(1) from None
    findings = asyncio.run(examine(running))
    for finding in findings:
        mark = typer.style("ok ", fg=typer.colors.GREEN) if finding.well else typer.style("ill", fg=typer.colors.RED)
        typer.echo(f"{mark} {finding.what}: {finding.seen}")
        if finding.advice:
            typer.echo(f"      {finding.advice}")
    if mend:
        try:
            done = asyncio.run(repair(running, findings))
        except CannotRebuild as error:
            typer.secho(f"muster doctor: {error}", fg=typer.colors.RED, err=True)
            raise typer.Exit(1) from None
        for said in done or ["there was nothing to mend"]:
            typer.echo(said)
    elif not all(finding.well for finding in findings):
        raise typer.Exit(1)


@app.command()
def status(home: Home = Path(".muster")) -> None:
    """Say what runs and how far it is: services, the log, its stream, every read model.

    Ends with 0 when all is well, 1 when something is not.
    """
    from rich.console import Console

    from muster.children import CannotRun
    from muster.running import Running
    from muster.status import look, show

    try:
        found = asyncio.run(look(Running.of(home.resolve())))
    except CannotRun as error:
        typer.secho(f"muster status: {error}", fg=typer.colors.RED, err=True)
        raise typer.Exit(1) from None
    show(found, Console())
    if not found.well:
        raise typer.Exit(1)


@app.command()
def rebuild(
    read_model: Annotated[str, typer.Argument(help="The read model to build anew.")],
    home: Home = Path(".muster"),
    check: Annotated[bool, typer.Option("--check", help="Build and compare, but let the old one serve on.")] = False,
    anew: Annotated[bool, typer.Option("--anew", help="Begin anew what an interrupted rebuild left.")] = False,
) -> None:
    """Build a read model anew from the stream, beside the one that serves; compare the two; switch.

    Questions are answered throughout. Interrupted, it goes on where it was when asked again. Ends with 1 where it could
    not be built, or where --check finds a difference.
    """
    from muster.children import CannotRun
    from muster.rebuilding import build
    from muster.running import Running

    try:
        raise typer.Exit(build(Running.of(home.resolve()), read_model, switch=not check, anew=anew))
    except CannotRun as error:
        typer.secho(f"muster rebuild: {error}", fg=typer.colors.RED, err=True)
        raise typer.Exit(1) from None


@app.command()
def skip(
    read_model: Annotated[str, typer.Argument(help="The read model that is stopped.")],
    position: Annotated[int, typer.Argument(min=1, help="The position that it is stopped before.")],
    reason: Annotated[str, typer.Option(help="Why it is passed over; kept for good.")] = "",
    retry: Annotated[bool, typer.Option("--retry", help="Try the event again instead of passing over it.")] = False,
    home: Home = Path(".muster"),
) -> None:
    """Let a stopped read model pass over the event that it cannot take, with a reason that is recorded."""
    from muster.children import CannotRun
    from muster.running import Running
    from muster.skipping import let_go_on

    if bool(reason.strip()) == retry:
        typer.secho("muster skip: give either --reason TEXT or --retry", fg=typer.colors.RED, err=True)
        raise typer.Exit(2)
    try:
        asyncio.run(let_go_on(Running.of(home.resolve()), read_model, position, None if retry else reason.strip()))
    except CannotRun as error:
        typer.secho(f"muster skip: {error}", fg=typer.colors.RED, err=True)
        raise typer.Exit(1) from None
    typer.echo(f"{read_model} {'tries' if retry else 'passes over'} position {position}")


Commitments = Annotated[
    str | None, typer.Option(help="The commitments service; default: that of the running home.", show_default=False)
]
Projections = Annotated[
    str | None, typer.Option(help="The projections service; default: that of the running home.", show_default=False)
]
Report = Annotated[Path | None, typer.Option(help="Write what became of every line, as NDJSON.", dir_okay=False)]


@app.command("import")
def import_(  # noqa: PLR0917  # a parameter is an option; typer passes them by name
    paths: Annotated[list[Path], typer.Argument(metavar="FILE...", help="NDJSON of commands, CSV, XLSX, FTS pages.")],
    mapping: Annotated[str | None, typer.Option(help="`fts`, or a YAML file that says what the columns mean.")] = None,
    as_: Annotated[
        str | None, typer.Option("--as", metavar="SERIES", help="A release of a series: corrects and retracts.")
    ] = None,
    commitments: Commitments = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Read and check everything, send nothing.")] = False,
    report: Report = None,
    import_id: Annotated[str | None, typer.Option(help="Name this import; default: after its file.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Correct and retract without asking.")] = False,
    home: Home = Path(".muster"),
) -> None:
    """Record what files say. Twice is once; a line that is refused stops no other.

    Ends with 0 when every line was recorded or stood already, 1 when one was refused, 2 when nothing could be done.
    """
    from muster.importing.run import Options, run

    url = commitments if dry_run and as_ is None else _address(commitments, home, "commitments", "import")
    options = Options(
        paths=paths,
        mapping=mapping,
        series=as_,
        import_id=import_id,
        commitments=url,
        key=os.environ.get("MUSTER_API_KEY") or None,
        dry_run=dry_run,
        report=report,
        yes=yes,
    )
    _done("import", lambda console: run(options, console, _confirm))


@app.command()
def retract(
    imports: Annotated[list[str], typer.Option("--import", metavar="ID", help="The import to undo.")],
    reason: Annotated[str, typer.Option(help="Why; kept for good.")] = "the import was undone",
    commitments: Commitments = None,
    report: Report = None,
    home: Home = Path(".muster"),
) -> None:
    """Undo an import: retract what it recorded and still stands, the last first.

    Ends with 1 when something was refused, because something that was recorded otherwise stands on it.
    """
    from muster.importing.run import undo

    url = _address(commitments, home, "commitments", "retract")
    key = os.environ.get("MUSTER_API_KEY") or None
    _done("retract", lambda console: undo(imports, reason=reason, url=url, key=key, console=console, report=report))


@app.command()
def reconcile(
    paths: Annotated[
        list[Path] | None, typer.Argument(metavar="[FILE]...", help="Files of FTS; none: every statement.")
    ] = None,
    mapping: Annotated[str | None, typer.Option(help="How the files are read: `fts`.")] = None,
    projections: Projections = None,
    home: Home = Path(".muster"),
) -> None:
    """Hold published totals against the ledger's own: stated, ledger, difference.

    Ends with 0 when all agree, 1 when any differs, 2 when nothing could be compared.
    """
    from muster.importing.reconciling import reconcile as compare

    url = _address(projections, home, "projections", "reconcile")
    key = os.environ.get("MUSTER_API_KEY") or None
    _done("reconcile", lambda console: compare(paths or [], mapping, url, console, key=key))


def _address(said: str | None, home: Path, service: str, command: str) -> str:
    """Give the address that was said, else that of the service that runs in a home."""
    from muster.children import CannotRun
    from muster.running import Running

    try:
        return said or str(getattr(Running.of(home.resolve()), service))
    except CannotRun as error:
        typer.secho(f"muster {command}: {error}, or name --{service} URL", fg=typer.colors.RED, err=True)
        raise typer.Exit(2) from None


def _confirm(question: str) -> bool:
    """Ask, where somebody can answer."""
    return sys.stdin.isatty() and typer.confirm(question)


def _done(command: str, work: Callable[[Console], int]) -> None:
    """Do what a command asks for, and end with its code; with 2 where it cannot be done at all."""
    from rich.console import Console

    from muster.importing.commands import CannotImport

    try:
        code = work(Console(highlight=False, soft_wrap=True))
    except CannotImport as error:
        typer.secho(f"muster {command}: {error}", fg=typer.colors.RED, err=True)
        raise typer.Exit(2) from None
    raise typer.Exit(code)
