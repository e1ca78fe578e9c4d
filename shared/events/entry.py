"""What every entry of the ledger has: where it is from, when it happened, whom it is about."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import msgspec

from shared.days import Said
from shared.sources import Reference, Source


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A fact about the world with its sources; an opening entry makes the thing it is about."""

    TYPE: ClassVar[str]  # family and what happened; the stored name is muster.<TYPE>.v1
    DAY: ClassVar[str]  # the field that says when it happened
    OPENS: ClassVar[bool] = False

    sources: tuple[Source, ...] = ()
    reported_on: Said | None = None  # default: the earliest published_on of the sources
    labels: dict[str, tuple[str, ...]] = msgspec.field(default_factory=dict)
    refs: tuple[Reference, ...] = ()
    note: str | None = None

    def having(self, **fields: Any) -> Self:  # noqa: ANN401  # of any field
        """Give the same entry with other values in these fields."""
        return msgspec.structs.replace(self, **fields)

    @property
    def stream(self) -> str:
        """The stream that this entry is written to: `<family>-<id>`."""
        raise NotImplementedError

    @property
    def happened(self) -> Said | None:
        """When it took effect in the world, as said; None for what has no day."""
        day: Said | None = getattr(self, self.DAY)
        return day

    @property
    def coalitions(self) -> tuple[str, ...]:
        """The coalitions it is about, for filters and subjects."""
        return ()

    @property
    def parties(self) -> tuple[str, ...]:
        """The parties it is about, for filters."""
        return ()

    @property
    def mentions(self) -> dict[str, str]:
        """The streams this entry names and so needs to exist, each by the pointer to its field."""
        return {}


def known(**fields: str | None) -> dict[str, str]:
    """Give the pointers of the fields that are there, as `mentions` wants them."""
    return {f"/{pointer}": stream for pointer, stream in fields.items() if stream is not None}


def party(code: str | None) -> str | None:
    """The stream of a party."""
    return None if code is None else f"party-{code}"


def coalition(name: str | None) -> str | None:
    """The stream of a coalition."""
    return None if name is None else f"coalition-{name}"
