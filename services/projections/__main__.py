"""python -m services.projections worker | api | rebuild NAME."""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import TextIO

import structlog
import uvicorn
import uvloop

from services.projections.settings import Settings


def log_to(out: TextIO, least: int = logging.INFO) -> None:
    """Log in lines; of an exception its traceback, never the values of its variables: facts and passwords are there."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.StackInfoRenderer(),
            structlog.processors.TimeStamper(fmt="%Y-%m-%d %H:%M:%S", utc=True),
            structlog.dev.ConsoleRenderer(
                colors=out.isatty(), exception_formatter=structlog.dev.plain_traceback, sort_keys=False
            ),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(least),
        logger_factory=structlog.PrintLoggerFactory(out),
        cache_logger_on_first_use=True,
    )


def main(arguments: list[str]) -> int:
    """Run one process of the read side; says what there is when asked for something else."""
    match arguments:
        case ["worker"]:
            log_to(sys.stdout)
            from services.projections.worker import work

            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(work(Settings.model_validate({})))
        case ["api"]:
            log_to(sys.stdout)
            from services.projections.garbage import collect_seldom, give_back

            give_back()
            from services.projections.http.app import create_app

            settings = Settings.model_validate({})
            app = create_app(settings)
            collect_seldom()
            uvicorn.run(
                app,
                host=settings.host,
                port=settings.port,
                loop="uvloop",
                http="httptools",
                log_level="warning",
                server_header=False,
                timeout_graceful_shutdown=20,
            )
        case ["rebuild", name, *flags] if set(flags) <= {"--check", "--anew"}:
            log_to(sys.stderr, logging.WARNING)
            return rebuild(name, switch="--check" not in flags, anew="--anew" in flags)
        case _:
            print("python -m services.projections worker | api | rebuild NAME [--check] [--anew]", file=sys.stderr)  # noqa: T201  # it is what it has to say
            return 2
    return 0


def rebuild(name: str, *, switch: bool, anew: bool) -> int:
    """Build a read model anew and switch to it; 1 if it could not be, or (when only checked) if it differs."""
    from services.projections import rebuild as rebuilding
    from services.projections.database import ERRORS
    from services.projections.garbage import collect_seldom
    from services.projections.projector import told
    from services.projections.read_models import READ_MODELS

    model = next((model for model in READ_MODELS if model.name == name), None)
    if model is None:
        known = ", ".join(model.name for model in READ_MODELS)
        print(f"there is no read model {name!r}: there are {known}", file=sys.stderr)  # noqa: T201  # it is what it has to say
        return 2
    settings = Settings.model_validate({})
    bar = rebuilding.Bar(sys.stderr)
    work = rebuilding.rebuild(
        model,
        database_url=settings.database_url,
        nats_url=settings.nats_url,
        ledger=settings.ledger,
        pgbouncer=settings.pgbouncer,
        switch=switch,
        anew=anew,
        tell=bar,
    )
    collect_seldom()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            found = runner.run(work)
    except (rebuilding.CannotRebuild, *ERRORS) as error:
        bar.end()
        said = str(error) if isinstance(error, rebuilding.CannotRebuild) else told(error)
        print(f"{name} was not rebuilt: {said}", file=sys.stderr)  # noqa: T201  # it is what it has to say
        return 1
    except KeyboardInterrupt:
        bar.end()
        print("interrupted; the same command goes on where it was", file=sys.stderr)  # noqa: T201  # it is what it has to say
        return 130
    bar.end()
    print(rebuilding.report(model, found))  # noqa: T201  # it is what it has to say
    return int(bool(found.differences) and not switch)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
