"""Histories of streams, kept in memory as long as there is room, brought up to the log's heads under its lock."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping

from services.commitments.domain.history import History
from services.commitments.log.contract import Said, Transaction
from shared.codec import decode


class Histories:
    """The histories that were used last, of at most `most` entries in all."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held: OrderedDict[str, History] = OrderedDict()
        self._entries = 0

    def __len__(self) -> int:
        """How many entries are held."""
        return self._entries

    def get(self, stream: str) -> History | None:
        """Give a history that is held."""
        history = self._held.get(stream)
        if history is not None:
            self._held.move_to_end(stream)
        return history

    def keep(self, histories: Iterable[History]) -> None:
        """Hold these, each in place of an older one, and let go of those that were not used for the longest time."""
        for history in histories:
            if history.version == 0:
                continue
            self.drop(history.stream)
            self._held[history.stream] = history
            self._entries += _size(history)
        while self._entries > self._most and len(self._held) > 1:
            _, history = self._held.popitem(last=False)
            self._entries -= _size(history)

    def drop(self, stream: str) -> None:
        """Hold this stream's history no longer."""
        history = self._held.pop(stream, None)
        if history is not None:
            self._entries -= _size(history)

    def clear(self) -> None:
        """Hold nothing."""
        self._held.clear()
        self._entries = 0


def _size(history: History) -> int:
    return len(history.placed) + len(history.amendments) + 1


async def up_to_date(held: Histories, log: Transaction, heads: Mapping[str, int]) -> dict[str, History]:
    """Give the histories of the streams in `heads`, each at that version; what is missing is read in one query."""
    found: dict[str, History] = {}
    behind: dict[str, int] = {}
    for stream, version in heads.items():
        history = held.get(stream)
        if history is None or history.version > version:  # newer than the log: of a log that was restored since
            history = History(stream=stream)
        found[stream] = history
        if history.version < version:
            behind[stream] = history.version
    if behind:
        found |= histories_of(await log.history(behind), found)
    return found


def histories_of(said: Iterable[Said], known: Mapping[str, History] | None = None) -> dict[str, History]:
    """Add events, in the order of the log, each to the history of its stream; gives the streams that have some."""
    new: dict[str, list[Said]] = {}
    for event in said:
        new.setdefault(event.stream, []).append(event)
    known = known or {}
    return {
        stream: (known.get(stream) or History(stream=stream)).extended(
            (event.event_id, event.position, event.version, decode(event.type, event.payload)) for event in events
        )
        for stream, events in new.items()
    }
