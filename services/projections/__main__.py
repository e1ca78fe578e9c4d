"""python -m services.projections worker | api."""

from __future__ import annotations

import asyncio
import sys

import uvicorn
import uvloop

from services.projections.settings import Settings


def main(arguments: list[str]) -> int:
    """Run one process of the read side; says what there is when asked for something else."""
    match arguments:
        case ["worker"]:
            from services.projections.worker import work

            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(work(Settings.model_validate({})))
        case ["api"]:
            from services.projections.http.app import create_app

            settings = Settings.model_validate({})
            uvicorn.run(
                create_app(settings),
                host=settings.host,
                port=settings.port,
                loop="uvloop",
                http="httptools",
                log_level="warning",
                server_header=False,
                timeout_graceful_shutdown=20,
            )
        case _:
            print("python -m services.projections worker | api", file=sys.stderr)  # noqa: T201  # it is what it has to say
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
