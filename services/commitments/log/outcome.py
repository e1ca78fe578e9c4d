"""What a command is known by, and what its caller is answered."""

from __future__ import annotations

from typing import Any, ClassVar, Final, NamedTuple

import msgspec

from services.commitments.domain.refusals import Refused


class Identity(NamedTuple):
    """Who commands, and by what the same command is known when it comes again.

    `command_id` is the caller's Idempotency-Key (with the caller), else the hash of method, path and normalised body;
    `fingerprint` always is that hash, so a key that comes with another request is noticed.
    """

    command_id: str
    fingerprint: str
    caller: str
    traceparent: str | None = None


class Entered(msgspec.Struct, frozen=True):
    """An entry that a command made, or that said it already."""

    event_id: str
    type: str  # as stored
    position: int


class Outcome(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What came of a command: where its stream stands, and the entries that say it.

    `new` says whether something was recorded then; `replayed` that this is the answer which an earlier delivery of the
    same command was given.
    """

    stream: str
    version: int
    position: int  # of the command's last entry; for nothing new, of the stream's last
    events: tuple[Entered, ...]
    flags: tuple[str, ...] = ()
    new: bool = False
    replayed: bool = False

    def body(self) -> bytes:
        """Give the answer as JSON."""
        return ENCODER.encode(self.to_json())

    def to_json(self) -> dict[str, Any]:
        """Give the answer as a dictionary, its events as they are."""
        return {
            "stream": self.stream,
            "version": self.version,
            "position": self.position,
            "events": self.events,
            "flags": self.flags,
        }


ENCODER: Final = msgspec.json.Encoder()
_RECEIPT: Final = msgspec.json.Decoder(Outcome)


def receipt(outcome: Outcome) -> str:
    """Write down an outcome as it is kept with the command."""
    return ENCODER.encode(outcome).decode()


def replay(outcome: str, *, replayed: bool = True) -> Outcome:
    """Read an outcome back, as the answer to a repetition."""
    return msgspec.structs.replace(_RECEIPT.decode(outcome), replayed=replayed)


class Unavailable(Exception):
    """The log cannot be reached now, or did not answer in time."""

    code: ClassVar[str] = "unavailable"
    retry_after_s: ClassVar[int] = 1


class Overloaded(Unavailable):
    """More is asked for than can be recorded now."""

    code = "overloaded"


class Unpublishable(Refused):
    """An entry has to fit into one message of the event stream, without NUL characters."""

    code = "unpublishable"
