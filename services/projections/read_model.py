"""What a read model is: a name, a version, its tables, and how it takes events."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from sqlalchemy import MetaData

from services.projections.transaction import Transaction
from shared.recorded import Recorded

Apply: TypeAlias = Callable[[Transaction, Sequence[Recorded]], Awaitable[None]]
"""Takes the next events in the order of their positions, in the transaction that also moves the checkpoint.

It loads what it knows of the things touched in one query, computes purely, and writes one statement a table. The
result must not depend on where one batch ends and the next begins.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadModel:
    """A view of the log in a schema of its own, `<name>_v<version>`; a changed one raises its version.

    `metadata` holds its tables, all in that schema. `remembering`, where there is one, gives an `apply` that keeps
    what it loaded from one batch to the next: the projector drops it, and asks for another, as soon as a transaction
    failed or somebody else moved the checkpoint.
    """

    name: str
    version: int
    metadata: MetaData
    apply: Apply
    remembering: Callable[[], Apply] | None = None

    @property
    def schema(self) -> str:
        """Where its tables are."""
        return schema(self.name, self.version)


def schema(name: str, version: int) -> str:
    """Give the schema of a version of a read model."""
    return f"{name}_v{version}"
