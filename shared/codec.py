"""JSON <-> events: the only file that knows the spelling.

An absent field is not written: nulls, empty lists and defaults that say nothing stay out of the log. A reader takes no
offence at fields it does not know. Old shapes are brought up to date here, by stored name, when there are any.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import fields, is_dataclass, replace
from decimal import Decimal
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
    return ENCODER.encode(to_json(event))


def to_json(value: Any) -> Any:  # noqa: ANN401  # any value of the contract becomes plain JSON values
    """Turn an event, or any part of one, into plain JSON values; what comes with every entry stands last."""
    kind = type(value)
    if kind in _PLAIN:
        return value
    if kind is Decimal:
        return str(value)
    if kind is tuple or kind is list:
        return [to_json(item) for item in value]
    if kind is dict:
        items = value.items()
    else:
        fields = _FIELDS.get(kind) or _fields(kind)
        if not fields.names:
            return msgspec.to_builtins(value)
        items = zip(fields.names, fields.values(value), strict=True)
    return {
        name: item if type(item) in _PLAIN else to_json(item)
        for name, item in items
        # an open high is said with its null, all other nulls say nothing, nor does what is empty; 0 and False do
        if item or name == "high" or (item is not None and item not in _EMPTY)
    }


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


_PLAIN: Final = frozenset({str, int, float, bool, type(None)})
_EMPTY: Final[tuple[object, ...]] = ({}, [], ())


class _Fields(NamedTuple):
    """The fields of a class in the order in which they are written: their names in JSON, and what gives their values.

    No names: its values are written as msgspec does, such as days.
    """

    names: tuple[str, ...]
    values: Callable[[Any], Iterable[Any]]


def _fields(kind: type) -> _Fields:
    """Look at a class once."""
    if issubclass(kind, msgspec.Struct):
        written = {field.name: field.encode_name for field in msgspec.structs.fields(kind)}
    else:
        written = {field.name: field.name for field in fields(kind)} if is_dataclass(kind) else {}
    names = (
        sorted(written, key=CITATION.__contains__) if issubclass(kind, Entry) else list(written)
    )  # sorting is stable
    found = _FIELDS[kind] = _Fields(tuple(written[name] for name in names), _values(names))
    return found


def _values(names: list[str]) -> Callable[[Any], Iterable[Any]]:
    """Give what takes attributes of an object; attrgetter gives a lone one as it is."""
    several = attrgetter(*names) if len(names) > 1 else None
    return several or (lambda value: [getattr(value, name) for name in names])


_FIELDS: Final[dict[type, _Fields]] = {}
