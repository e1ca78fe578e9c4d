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
