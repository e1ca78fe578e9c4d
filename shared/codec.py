"""JSON <-> events: the only file that knows the spelling.

An absent field is not written: nulls, empty lists and defaults that say nothing stay out of the log. A reader takes no
offence at fields it does not know. Old shapes are brought up to date here, by stored name, when there are any.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any, Final, NamedTuple

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
    return ENCODER.encode(spelt(event))


def to_json(value: Any) -> Any:  # noqa: ANN401  # any value of the contract becomes plain JSON values
    """Turn an event, or any part of one, into plain JSON values, as `encode` writes them."""
    return msgspec.to_builtins(spelt(value) if isinstance(value, Entry) else value)


def spelt(event: Entry) -> msgspec.Struct:
    """Give an event as it is written: its own fields, then what comes with every entry; not what says nothing."""
    if isinstance(event, EntryCorrected):
        event = msgspec.structs.replace(event, now=spelt(event.now))
    spelling = _SPELLINGS.get(type(event)) or _spelling(type(event))
    return spelling.form(*spelling.values(event))


def decode(name: str, payload: bytes | str) -> Entry:
    """Read an event by its stored name. Raises UnknownEvent, or msgspec.ValidationError if the payload does not fit."""
    if name == _CORRECTED_NAME:
        correction = _CORRECTION.decode(payload)
        return msgspec.structs.replace(
            _CORRECTED.decode(payload), now=decode(correction.entry_type, bytes(correction.now))
        )
    decoder = DECODERS.get(name)
    if decoder is None:
        raise UnknownEvent(name)
    return decoder.decode(payload)


_CORRECTED_NAME: Final = stored_name(EntryCorrected)


class _Spelling(NamedTuple):
    """A kind of event as it is written: the form that msgspec writes, and what takes its values from an event."""

    form: type[msgspec.Struct]
    values: Callable[[Entry], tuple[Any, ...]]


def _spelling(kind: type[Entry]) -> _Spelling:
    """Look at a class once. What is None or empty by default is left out; other defaults are written all the same."""
    fields = sorted(msgspec.structs.fields(kind), key=lambda field: field.name in CITATION)  # sorting is stable
    form = msgspec.defstruct(
        kind.__name__, [(field.encode_name, Any, _left_out(field)) for field in fields], omit_defaults=True
    )
    found = _SPELLINGS[kind] = _Spelling(form, attrgetter(*(field.name for field in fields)))
    return found


def _left_out(field: msgspec.structs.FieldInfo) -> Any:  # noqa: ANN401  # a default of any type
    """Give the value with which a field is not written."""
    if field.default_factory is dict:
        return msgspec.field(default_factory=dict)
    return field.default if field.default in (None, ()) else msgspec.UNSET


_SPELLINGS: Final[dict[type[Entry], _Spelling]] = {}
