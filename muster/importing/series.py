"""Releases of the same data: what is new is recorded, what changed corrected, what is gone retracted.

Every entry of a series says so itself: a label `series: [NAME]`, and a reference `{scheme: "series:NAME", id: KEY,
version: DIGEST}`. The key is the command's path, with a number where one path is said several times; the digest tells
whether the line still says the same. So the ledger's own feed is all that has to be read to know what a series holds;
nothing is kept beside it. An entry that somebody corrected by hand stays so until its line changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Final, Literal

import httpx2
import msgspec

from muster.importing.commands import IMPORT, SERIES, CannotImport, Command, Fault, Place, Row
from muster.importing.files import labelled
from muster.importing.seen import hashed

CORRECTED: Final = "muster.entry.corrected.v1"
RETRACTED: Final = "muster.entry.retracted.v1"
FEED_S: Final = 60.0

Labels = dict[str, list[str]]


class _Ref(msgspec.Struct):
    scheme: str
    id: str
    version: str | None = None


class _Now(msgspec.Struct):
    labels: Labels = {}
    refs: list[_Ref] = []


class _Data(msgspec.Struct):
    labels: Labels = {}
    refs: list[_Ref] = []
    entry: str | None = None
    now: _Now | None = None


class Event(msgspec.Struct):
    """What of a CloudEvent tells of imports and series."""

    id: str
    type: str
    subject: str
    position: str
    data: _Data


_EVENT: Final = msgspec.json.Decoder(Event)


def feed(client: httpx2.Client) -> Iterator[Event]:
    """Read the whole log. Raises CannotImport when it is not there."""
    try:
        with client.stream("GET", "/v1/events", headers={"Accept": "application/x-ndjson"}, timeout=FEED_S) as answer:
            if answer.status_code != httpx2.codes.OK:
                answer.read()
                raise CannotImport(f"the ledger at {client.base_url} does not give its log: {answer.text[:200]}")
            for line in answer.iter_lines():
                if line.strip():
                    yield _EVENT.decode(line)
    except httpx2.HTTPError as error:
        raise CannotImport(f"the ledger at {client.base_url} does not answer: {error}") from None


# ------------------------------------------------------------------------------------------------ what a series holds


@dataclass(slots=True)
class Held:
    """An entry of a series, as its last release left it."""

    event_id: str
    position: int
    digest: str
    recorded_by: str  # the import that opened it
    live: bool = True
    generation: int = 1  # how often its name has been used


@dataclass(slots=True)
class Holding:
    """What a series holds, by key, and the imports it came by."""

    entries: dict[str, Held] = field(default_factory=dict)
    imports: set[str] = field(default_factory=set)

    @property
    def live(self) -> int:
        return sum(held.live for held in self.entries.values())


def scheme(series: str) -> str:
    """Give the scheme of a series' references."""
    return f"series:{series}"


def held(series: str, events: Iterable[Event]) -> Holding:
    """Read from a log what a series holds."""
    holding, by_event, wanted = Holding(), dict[str, Held](), scheme(series)
    for event in events:
        data = event.data
        about = by_event.get(data.entry or "")
        if about is not None and event.type == RETRACTED:
            about.live = False
        elif about is not None and event.type == CORRECTED and data.now is not None:
            for ref in data.now.refs:
                if ref.scheme == wanted:
                    about.digest = ref.version or ""
        elif data.entry is None:
            for ref in data.refs:
                if ref.scheme != wanted:
                    continue
                before = holding.entries.get(ref.id)
                of = data.labels.get(IMPORT, [""])[0]
                one = Held(event.id, int(event.position), ref.version or "", of)
                one.generation = 1 if before is None else before.generation + 1
                holding.entries[ref.id] = by_event[event.id] = one
                holding.imports.add(of)
    return holding


# ------------------------------------------------------------------------------------------------ what a release does

Change = Literal["new", "changed", "same"]


@dataclass(slots=True)
class Release:
    """One reading of a release: which keys it has, and what became of its lines."""

    series: str
    mark: str
    holding: Holding
    keys: set[int] = field(default_factory=set)  # hashed, with every key of the release
    counted: dict[str, int] = field(default_factory=lambda: {"new": 0, "changed": 0, "same": 0})
    unread: list[Fault] = field(default_factory=list)  # lines of which not even the name could be read
    kept: set[str] = field(default_factory=set)  # paths of lines that are broken now, and so are not gone
    renamed: dict[str, str] = field(default_factory=dict)

    def changes(self, rows: Iterable[Row | Fault]) -> Iterator[Row | Fault]:
        """Give what of the rows has to be sent: new commands as they are, changed ones as corrections."""
        for row in rows:
            if isinstance(row, Fault):
                if row.about is None:
                    self.unread.append(row)
                else:
                    self.kept.add(path_of(row.about))
                yield row
                continue
            try:
                yield from self._row(row)
            except ValueError as wrong:
                self.kept.add(path_of(row.commands[-1].do))
                yield Fault(row.place, str(wrong), row.commands[-1].do)

    def _row(self, row: Row) -> Iterator[Row]:
        new: list[Command] = []
        corrections: list[Command] = []
        for command in row.commands:
            if command.on_the_way:
                new.append(command)
                continue
            if path_of(command.do).startswith("events/"):
                raise ValueError(f"{command.do}: a series has no corrections and retractions of its own")
            change, said = self._command(command)
            self.counted[change] += 1
            if change == "new":
                new.append(said)
            elif change == "changed":
                corrections.append(said)
        for correction in corrections:  # each on its own: none of them follows from another
            yield Row((*(command for command in new if command.on_the_way), correction))
        if any(not command.on_the_way for command in new):
            yield Row(tuple(new))

    def _command(self, command: Command) -> tuple[Change, Command]:
        key = self._key(command)
        digest = command.digest().hex()
        before = self.holding.entries.get(key)
        if before is None or not before.live:
            said = self._marked(command, key, digest, self.mark)
            return "new", self._renamed(said, before)
        if before.digest == digest:
            return "same", command
        said = self._marked(command, key, digest, before.recorded_by)
        reason = f"the release {self.mark!r} of the series {self.series!r} says otherwise"
        body = said.said()
        if "reason" in body:
            body["entry_reason"] = body["reason"]
        body["reason"] = reason
        return "changed", Command(command.place, f"POST /v1/events/{before.event_id}/correct", body)

    def _key(self, command: Command) -> str:
        """Name a line in the series: by its path, with a number where the path is said again."""
        path, number = path_of(command.do), 1
        while hashed((key := path if number == 1 else f"{path}#{number}").encode()) in self.keys:
            number += 1
        self.keys.add(hashed(key.encode()))
        return key

    def _marked(self, command: Command, key: str, digest: str, mark: str) -> Command:
        said = labelled(command, {IMPORT: mark, SERIES: self.series})
        refs = [*(said.said().get("refs") or ()), {"scheme": scheme(self.series), "id": key, "version": digest}]
        return replace(said, body={**said.said(), "refs": refs})

    def _renamed(self, command: Command, before: Held | None) -> Command:
        """Give a name anew: what was retracted keeps its name for good, so what comes back is x-r2."""
        method, _, path = command.do.partition(" ")
        if before is not None and command.opens:
            self.renamed[path] = f"{path}-r{before.generation + 1}"
        for old, new in self.renamed.items():
            if path == old or path.startswith(f"{old}/"):
                return replace(command, do=f"{method} {new}{path[len(old) :]}")
        return command

    def gone(self) -> list[tuple[str, Held]]:
        """Give what the series holds and the release does not have, the last first. To be asked when all is read."""
        found = [
            (key, one)
            for key, one in self.holding.entries.items()
            if one.live and hashed(key.encode()) not in self.keys and not self._broken(key)
        ]
        return sorted(found, key=lambda item: item[1].position, reverse=True)

    def _broken(self, key: str) -> bool:
        path = key.partition("#")[0]
        return any(path == kept or path.startswith(f"{kept}/") for kept in self.kept)


def path_of(do: str) -> str:
    """Give what stands after /v1/: `pledges/x/commit`."""
    return do.partition(" ")[2].removeprefix("/v1/")


def retractions(gone: Iterable[Held], reason: str, file: str) -> Iterator[Row]:
    """Retract entries, each a row."""
    for one in gone:
        place = Place(file, one.position)
        yield Row((Command(place, f"POST /v1/events/{one.event_id}/retract", {"reason": reason}),))


# ------------------------------------------------------------------------------------------------ undoing an import


def imported(mark: str, events: Iterable[Event]) -> list[Held]:
    """Find in a log the live entries that an import recorded, the last first."""
    found: dict[str, Held] = {}
    for event in events:
        if event.type == RETRACTED and event.data.entry in found:
            found[event.data.entry].live = False
        elif event.data.entry is None and mark in event.data.labels.get(IMPORT, ()):
            found[event.id] = Held(event.id, int(event.position), "", mark)
    return sorted((one for one in found.values() if one.live), key=lambda one: one.position, reverse=True)
