"""Reading requests: a body of bounded size that is strictly JSON, and nothing that could not be recorded."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final, NoReturn

import msgspec
from msgspec import UNSET
from starlette.requests import ClientDisconnect, Request

from services.commitments.http.problems import Problem, problem, wrong_field

MOST_BYTES: Final = 256 * 1024
"""The largest body of one command."""


def heads(request: Request) -> dict[str, str]:
    """Give the heads of a request by their small names, read once; of one that stands twice, the first."""
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in reversed(request.scope["headers"])}


async def json_body(request: Request, headers: Mapping[str, str]) -> object:
    """Read the body of a command. Raises Problem."""
    must_be("application/json", headers)
    return parsed(await bounded(request, headers))


def must_be(media_type: str, headers: Mapping[str, str]) -> None:
    """Raise the problem of a body in another form."""
    said = headers.get("content-type", "")
    if said != media_type:
        sent, _, parameters = said.partition(";")
        charset = parameters.strip().lower().replace('"', "")
        if sent.strip().lower() != media_type or (charset.startswith("charset=") and charset != "charset=utf-8"):
            shown = said[:100] or "nothing about its form"
            raise problem("not-json-type", f"the body is sent as {media_type} in UTF-8; this one says {shown}")
    encoding = headers.get("content-encoding", "identity")
    if encoding.lower() != "identity":
        raise problem("not-json-type", f"the body is sent as it is; this one says {encoding[:40]}")


def too_large(most: int = MOST_BYTES) -> Problem:
    """Make the problem of a body above a number of bytes."""
    return problem("too-large", f"a body has at most {most // 1024} KiB")


async def bounded(request: Request, headers: Mapping[str, str], most: int = MOST_BYTES) -> bytes:
    """Read a body, and no more of it than may be."""
    announced = headers.get("content-length", "")
    if announced.isdecimal() and int(announced[:20]) > most:
        raise too_large(most)
    body = b""
    more = True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        body += message.get("body", b"")
        if len(body) > most:
            raise too_large(most)
        more = message.get("more_body", False)
    return body


def parsed(body: bytes) -> object:
    """Read strict JSON: UTF-8, no NaN, no name twice, no text that the log could not hold. Raises Problem."""
    found = quickly(body)
    return slowly(body) if found is UNSET else found


def quickly(body: bytes) -> object:
    """Read what is strict JSON at first sight; UNSET for what has to be read with more care.

    Without a backslash every quote begins or ends a text. A name that stands twice is dropped by the reader; what it
    gave has fewer quotes then.
    """
    if b"\\" in body:
        return UNSET
    try:
        value: object = msgspec.json.decode(body)
        same = msgspec.json.encode(value).count(b'"') == body.count(b'"')
    except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError):
        return UNSET
    return value if same else UNSET


def slowly(body: bytes) -> object:
    """Read any strict JSON, and say what is wrong with what is not. Raises Problem."""
    if not body.strip():
        raise problem("not-json", "the body is empty")
    try:
        text = body.decode()
        value: object = _DECODER.decode(text)
    except UnicodeDecodeError as wrong:
        raise problem("not-json", f"the body is not UTF-8: byte {wrong.start}") from None
    except RecursionError:
        raise problem("not-json", "the body is nested too deeply") from None
    except ValueError as wrong:
        raise problem("not-json", f"the body is not JSON: {wrong}") from None
    if "\\u" in text:  # only an escape can bring what follows
        for where, string in _strings(value, ()):
            if "\0" in string:
                raise wrong_field(where, "a text has no NUL character")
            if not string.isascii() and any("\ud800" <= character <= "\udfff" for character in string):
                raise wrong_field(where, "a text has no half of a surrogate pair")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the name {twice[:40]!r} stands twice in one object")
    return found


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _strings(value: object, where: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    match value:
        case str():
            yield where, value
        case Mapping():
            for name, item in value.items():
                yield where, name
                yield from _strings(item, (*where, name))
        case list():
            for n, item in enumerate(value):
                yield from _strings(item, (*where, n))
        case _:
            pass


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_no_number)
