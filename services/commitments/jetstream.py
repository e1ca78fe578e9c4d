"""The ledger's JetStream stream, as the relay makes it and looks after it."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from nats.aio.client import Client

from shared.subjects import EPOCH, STREAM_SETTINGS, everything, stream_name

API: Final = "$JS.API.STREAM"
TIMEOUT_S: Final = 2.0
NO_STREAM: Final = 10059


class RefusedByStream(Exception):
    """JetStream said no; `code` is its error code."""

    def __init__(self, what: str, code: int, description: str) -> None:
        super().__init__(f"{what}: {description} ({code})")
        self.code = code


@dataclass(frozen=True, slots=True)
class StreamState:
    """Where the stream stands."""

    first: int  # sequence of its first message; last + 1 when there is none
    last: int  # sequence that was given last, 0 for none ever
    messages: int
    epoch: str | None
    atomic: bool  # it takes atomic batches

    @property
    def whole(self) -> bool:
        """Whether it holds all that it was ever given, from sequence 1 on."""
        return self.messages == self.last and self.first <= 1


@dataclass(frozen=True, slots=True)
class LedgerStream:
    """The stream of a ledger, and what is asked of JetStream about it.

    Everything raises RefusedByStream, or what the client raises.
    """

    client: Client
    ledger: str
    replicas: int

    @property
    def name(self) -> str:
        """Its name: the ledger's in capitals."""
        return stream_name(self.ledger)

    async def state(self) -> StreamState | None:
        """Where it stands; None when it is not there."""
        try:
            return _state(await self._ask("INFO"))
        except RefusedByStream as refusal:
            if refusal.code == NO_STREAM:
                return None
            raise

    async def create(self, epoch: str) -> StreamState:
        """Make it, empty, as a copy of the log of that epoch."""
        return _state(await self._ask("CREATE", {**self._wanted(), "metadata": {EPOCH: epoch}}))

    async def adjust(self, epoch: str) -> StreamState:
        """Give it the settings that it should have, where it has others."""
        found = await self._ask("INFO")
        config, wanted = found["config"], self._wanted()
        metadata = config.get("metadata", {})
        if metadata.get(EPOCH) != epoch or any(config.get(key) != value for key, value in wanted.items()):
            found = await self._ask("UPDATE", {**config, **wanted, "metadata": {**metadata, EPOCH: epoch}})
        return _state(found)

    def _wanted(self) -> dict[str, Any]:
        subjects = [everything(self.ledger)]
        return {"name": self.name, "subjects": subjects, "num_replicas": self.replicas, **STREAM_SETTINGS}

    async def delete(self) -> None:
        """Take it away, with all that is in it."""
        await self._ask("DELETE")

    async def event_id(self, sequence: int) -> str | None:
        """The id of the event at a sequence; None when there is no message, or one that is no event."""
        try:
            found = await self._ask("MSG.GET", {"seq": sequence})
        except RefusedByStream:
            return None
        headers = base64.b64decode(found["message"].get("hdrs", ""))
        for line in headers.split(b"\r\n"):
            name, _, value = line.partition(b":")
            if name.lower() == b"ce-id":
                return value.strip().decode(errors="replace")
        return None

    async def _ask(self, what: str, request: dict[str, Any] | None = None) -> dict[str, Any]:
        body = b"" if request is None else msgspec.json.encode(request)
        answer = await self.client.request(f"{API}.{what}.{self.name}", body, timeout=TIMEOUT_S)
        found: dict[str, Any] = msgspec.json.decode(answer.data)
        if error := found.get("error"):
            raise RefusedByStream(f"{what} {self.name}", error.get("err_code", 0), error.get("description", ""))
        return found


def _state(found: dict[str, Any]) -> StreamState:
    state, config = found["state"], found["config"]
    return StreamState(
        first=state["first_seq"],
        last=state["last_seq"],
        messages=state["messages"],
        epoch=config.get("metadata", {}).get(EPOCH),
        atomic=config.get("allow_atomic", False),
    )
