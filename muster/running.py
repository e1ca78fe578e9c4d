"""Where a running ledger is: what `muster up` leaves in its home for `muster status`, `skip` and `doctor`."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from muster.children import CannotRun

RUNNING: Final = "running.json"


class NotRunning(CannotRun):
    """Nothing runs in this home."""

    def __init__(self, home: Path) -> None:
        super().__init__(f"nothing runs in {home}: start it with `muster up --home {home}`, or name its --home")


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """The addresses of the four services, and how to reach the stream, the log and the read models."""

    commitments: str
    projections: str
    relay: str
    worker: str
    ledger: str
    nats_url: str  # of the user who may publish
    log_url: str
    log_owner_url: str
    read_models_url: str  # of the role that owns them

    @classmethod
    def of(cls, home: Path) -> "Running":
        """Read what runs in a home. Raises NotRunning."""
        try:
            return cls(**json.loads((home / RUNNING).read_text()))
        except (FileNotFoundError, NotADirectoryError, ValueError, TypeError):
            raise NotRunning(home) from None

    def write(self, home: Path) -> None:
        """Leave it in the home, for its owner's eyes: there are passwords in it."""
        making = home / f"{RUNNING}.making"
        making.unlink(missing_ok=True)
        with os.fdopen(os.open(making, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(asdict(self), file, indent=1)
        making.replace(home / RUNNING)
