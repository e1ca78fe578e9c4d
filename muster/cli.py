"""The command line: `muster up` and what else is done from a shell."""

import asyncio
import os
from pathlib import Path
from typing import Annotated

import typer

from muster import __version__

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
        done = asyncio.run(repair(running, findings))
        for said in done or ["there was nothing to mend"]:
            typer.echo(said)
    elif not all(finding.well for finding in findings):
        raise typer.Exit(1)


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
