"""What a file becomes: rows of commands, or the fault of a line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

import msgspec

Json = Any

IMPORT: Final = "import"
SERIES: Final = "series"
"""The labels that say by which import, and in which series, an entry was recorded."""

WHOSE: Final = re.compile(r"(?:PUT|POST) /v1/([a-z]+)/([^/]+)")

ENCODER: Final = msgspec.json.Encoder(order="deterministic")


class CannotImport(Exception):
    """The import cannot begin, or cannot go on; nothing is wrong with this program."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands: a file's name, and the line (of a sheet: the row) from 1."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class Command:
    """A command as an import sends it: `PUT /v1/pledges/x` and its body, or the body's JSON where it stays as it is.

    `on_the_way`: it registers what the row names; that it stands already, otherwise told, is no refusal.
    """

    place: Place
    do: str
    body: Mapping[str, Json] | msgspec.Raw
    on_the_way: bool = False

    @property
    def stream(self) -> str:
        """What it is about: `pledges/x`; commands about one thing are sent in their order."""
        found = WHOSE.match(self.do)
        return f"{found[1]}/{found[2]}" if found else self.do

    @property
    def opens(self) -> bool:
        """Whether it is a PUT, which makes the thing that it names."""
        return self.do.startswith("PUT ")

    @property
    def size(self) -> int:
        """About how many bytes its line has."""
        return len(bytes(self.body)) if isinstance(self.body, msgspec.Raw) else len(ENCODER.encode(self.body))

    def line(self) -> bytes:
        """Write it as a line of an import."""
        return ENCODER.encode({"do": self.do, "body": self.body}) + b"\n"

    def digest(self) -> bytes:
        """Give what tells its body from another one, in 8 bytes; the mark of an import and of a series is no part."""
        body = self.said()
        labels = {key: value for key, value in body.get("labels", {}).items() if key not in (IMPORT, SERIES)}
        said = ENCODER.encode({**body, "labels": labels})
        return blake2b(said, digest_size=8).digest()

    def said(self) -> dict[str, Json]:
        """Give the body. Raises ValueError where it is no object."""
        body = msgspec.json.decode(self.body) if isinstance(self.body, msgspec.Raw) else self.body
        if not isinstance(body, Mapping):
            raise ValueError("a body is an object")  # noqa: TRY004  # a fault of the line, told with the others
        return dict(body)


@dataclass(frozen=True, slots=True)
class Row:
    """The commands of one row: what its first one opens, the others follow; they are sent only if that was taken."""

    commands: tuple[Command, ...]

    @property
    def place(self) -> Place:
        return self.commands[0].place


@dataclass(frozen=True, slots=True)
class Fault:
    """A line that cannot be read. `about` is the thing it is about, where at least that could be read."""

    place: Place
    reason: str
    about: str | None = None
