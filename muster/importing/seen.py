"""What one import has said already: the same thing twice is said once, two things under one name are a fault.

A million names are kept in some 40 MB, by their hashes: three columns of numbers in an open-addressed table.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import replace
from hashlib import blake2b
from typing import Final

from muster.importing.commands import Command, Fault, Place, Row

FULL: Final = 2, 3  # it grows at two thirds
MOST_FILES: Final = 1 << 16  # a place is kept in one number: its line and its file


class Seen:
    """A table from 8-byte keys to (8-byte digest, number); both are integers."""

    def __init__(self) -> None:
        self._empty(1 << 12)

    def _empty(self, slots: int) -> None:
        self._keys, self._digests, self._numbers = (array("Q", bytes(8 * slots)) for _ in range(3))
        self._used = 0

    def __len__(self) -> int:
        return self._used

    def find(self, key: int) -> tuple[int, int] | None:
        """Give what stands under a key."""
        slot = self._slot(key)
        return (self._digests[slot], self._numbers[slot]) if self._keys[slot] else None

    def put(self, key: int, digest: int, number: int) -> None:
        """Put something under a key."""
        if self._used * FULL[1] >= len(self._keys) * FULL[0]:
            self._grow()
        slot = self._slot(key)
        self._used += not self._keys[slot]
        self._keys[slot], self._digests[slot], self._numbers[slot] = key or 1, digest, number

    def _slot(self, key: int) -> int:
        wanted, mask, keys = key or 1, len(self._keys) - 1, self._keys
        slot = wanted & mask
        while keys[slot] and keys[slot] != wanted:
            slot = (slot + 1) & mask
        return slot

    def _grow(self) -> None:
        old = self._keys, self._digests, self._numbers
        self._empty(2 * len(self._keys))
        for key, digest, number in zip(*old, strict=True):
            if key:
                self.put(key, digest, number)


def once(rows: Iterator[Row | Fault]) -> Iterator[Row | Fault]:
    """Let every command of an import pass once.

    What an earlier line said already is left out. A line that says something else under a name that is taken in this
    import is a fault which names both lines.
    """
    seen, files = Seen(), list[str]()
    for row in rows:
        if isinstance(row, Fault):
            yield row
            continue
        if row.place.file not in files:
            files.append(row.place.file)
        passed = _new(row, seen, files)
        if passed is not None:
            yield passed


def _new(row: Row, seen: Seen, files: list[str]) -> Row | Fault | None:
    """Give what of a row was not said before."""
    kept: list[Command] = []
    for command in row.commands:
        try:
            digest = command.digest()
        except ValueError as wrong:
            return Fault(command.place, f"{command.do}: {wrong}", command.do)
        key = hashed(command.do.encode() if command.opens else command.do.encode() + digest)
        said = int.from_bytes(digest)
        found = seen.find(key)
        if found is None:
            seen.put(key, said, command.place.line * MOST_FILES + files.index(command.place.file))
            kept.append(command)
        elif found[0] != said and not command.on_the_way:
            first = Place(files[found[1] % MOST_FILES], found[1] // MOST_FILES)
            reason = (
                f"{command.do} is said with another body by {first}; give its rows names of their own, or `repeats`"
            )
            return Fault(command.place, reason, command.do)
    return replace(row, commands=tuple(kept)) if kept else None


def hashed(text: bytes) -> int:
    """Give 8 bytes of a text's hash; no two names of a million share them."""
    return int.from_bytes(blake2b(text, digest_size=8).digest())
