"""JSON <-> events: the only file that knows the spelling.

An absent field is not written: nulls, empty lists and defaults that say nothing stay out of the log. A reader takes no
offence at fields it does not know. Old shapes are brought up to date here, by stored name, when there are any.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import msgspec

from shared.events import EVENT_TYPES, Entry, stored_name
from shared.events.amendments import EntryCorrected

ENCODER: Final = msgspec.json.Encoder()
DECODERS: Final = {
    name: msgspec.json.Decoder(event) for name, event in EVENT_TYPES.items() if event is not EntryCorrected
}
CITATION: Final = ("sources", "reported_on", "labels", "refs", "note")


class UnknownEvent(LookupError):
    """A stored name that this version does not know."""


class _Correction(msgspec.Struct):
    """Reads the corrected entry as it stands, to be decoded by its own type."""

    entry_type: str
    now: msgspec.Raw


_CORRECTION: Final = msgspec.json.Decoder(_Correction)
_CORRECTED: Final = msgspec.json.Decoder(EntryCorrected)


def encode(event: Entry) -> bytes:
    """Write an event as it is stored and published."""
    return ENCODER.encode(to_json(event))


def to_json(event: Any) -> Any:  # noqa: ANN401  # any value of the contract becomes plain JSON values
    """Turn an event, or any part of one, into plain JSON values; what comes with every entry stands last."""
    fields = _without_nothing(msgspec.to_builtins(event))
    if isinstance(event, Entry):
        for name in CITATION:
            if name in fields:
                fields[name] = fields.pop(name)
    if isinstance(event, EntryCorrected):
        fields["now"] = to_json(event.now)
    return fields


def decode(name: str, payload: bytes | str) -> Entry:
    """Read an event by its stored name. Raises UnknownEvent, or msgspec.ValidationError if the payload does not fit."""
    if name == _CORRECTED_NAME:
        correction = _CORRECTION.decode(payload)
        return replace(_CORRECTED.decode(payload), now=decode(correction.entry_type, bytes(correction.now)))
    decoder = DECODERS.get(name)
    if decoder is None:
        raise UnknownEvent(name)
    return decoder.decode(payload)


_CORRECTED_NAME: Final = stored_name(EntryCorrected)


def _without_nothing(value: Any) -> Any:  # noqa: ANN401  # plain JSON values, whatever they hold
    if isinstance(value, dict):
        return {key: _without_nothing(item) for key, item in value.items() if key == "high" or _says(item)}
    if isinstance(value, (list, tuple)):
        return [_without_nothing(item) for item in value]
    return value


def _says(value: Any) -> bool:  # noqa: ANN401  # likewise; an open high is said with its null, all other nulls say nothing
    return value is not None and value not in ({}, [], ())
