"""The log for those who have no NATS: pages of CloudEvents, all of it as NDJSON, and live as server-sent events."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from sse_starlette import EventSourceResponse
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from services.commitments.domain.refusals import Unknown
from services.commitments.handling import Filter, Page, Row, Unavailable
from services.commitments.http.endpoint import Service
from services.commitments.http.problems import parameter, problem
from services.commitments.http.queries import MOST_EVENTS, Asking, asking, only_known, whole_number
from shared.cloudevent import structured

NDJSON: Final = "application/x-ndjson"
KEEP_ALIVE_S: Final = 15
SEND_S: Final = 20
"""A reader who takes nothing for so long is let go; it comes back with the last id it has."""

RETRY_MS: Final = 1_000
WAIT_S: Final = 30.0
DIGITS: Final = 18


async def events(request: Request, service: Service) -> Response:
    """Give the log from a position on: a page of it, or as NDJSON to its end."""
    wanted = asking(request)
    if NDJSON not in request.headers.get("accept", ""):
        return await answered(service, wanted)
    first = await page_of(service, wanted.after, wanted)  # before the head is sent: the log may be away
    headers = {"Ledger-Position": str(first.head)}
    return StreamingResponse(lines(service, wanted, first), headers=headers, media_type=NDJSON)


async def answered(service: Service, wanted: Asking) -> Response:
    """Answer with a page of the log."""
    limit = MOST_EVENTS if wanted.limit is None else wanted.limit
    if limit > MOST_EVENTS:
        raise parameter("limit", f"is a whole number from 1 to {MOST_EVENTS}; as {NDJSON} there is no such limit")
    page = await service.ledger.read(wanted.after, limit, wanted.where)
    return Response(
        paged(service.name, page), headers={"Ledger-Position": str(page.head)}, media_type="application/json"
    )


def paged(name: str, page: Page) -> bytes:
    """Write a page as JSON."""
    found = b",".join(structured(row, name) for row in page.rows)
    return b'{"events":[%b],"next_after":%d,"head":%d}' % (found, page.next_after, page.head)


async def page_of(service: Service, after: int, wanted: Asking, sent: int = 0) -> Page:
    """Give the next page of what is wanted, of which so many events were sent already."""
    left = MOST_EVENTS if wanted.limit is None else min(wanted.limit - sent, MOST_EVENTS)
    return await service.ledger.read(after, left, wanted.where)


async def lines(service: Service, wanted: Asking, page: Page) -> AsyncIterator[bytes]:
    """Write events as lines, from the first page to the end of the log as it is when that is reached."""
    sent = 0
    while True:
        sent += len(page.rows)
        yield b"".join(structured(row, service.name) + b"\n" for row in page.rows)
        if page.next_after >= page.head or sent == wanted.limit:
            return
        page = await page_of(service, page.next_after, wanted, sent)


async def stream_events(request: Request, service: Service) -> Response:
    """Give the entries of one stream."""
    only_known(request, ("after", "limit"))
    stream = request.path_params["stream"]
    if not stream.isascii() or "\0" in stream or not await service.ledger.read_stream(stream, 0, 1):
        raise problem("not-found", f"there is no stream {stream[:80]}")
    limit = whole_number(request, "limit", MOST_EVENTS, least=1, most=MOST_EVENTS)
    after = asking(request).after
    return await answered(service, Asking(after, limit, Filter(stream=stream)))


async def event(request: Request, service: Service) -> Response:
    """Give one event by its id."""
    row = await service.ledger.event(request.path_params["event_id"])
    if row is None:
        raise Unknown(f"event-{request.path_params['event_id'][:80]}")
    headers = {"ETag": f'"{row.event_id}"', "Ledger-Position": str(row.position)}
    return Response(structured(row, service.name), headers=headers, media_type="application/cloudevents+json")


async def stream(request: Request, service: Service) -> Response:
    """Give the log live, from a position on, for as long as the reader stays."""
    wanted = asking(request, beside=("after",))
    last = request.headers.get("last-event-id")
    if last is not None:
        if not (last.isascii() and last.isdecimal() and len(last) <= DIGITS):
            raise parameter("Last-Event-ID", f"is a position of the log, not {last[:40]!r}")
        wanted = Asking(int(last), None, wanted.where)
    return EventSourceResponse(live(service, wanted), ping=KEEP_ALIVE_S, send_timeout=SEND_S)


async def live(service: Service, wanted: Asking) -> AsyncIterator[bytes]:
    """Write server-sent events; when the log is away the stream ends, and its reader comes back by itself.

    `id` is the position. A page in which the reader wanted nothing at the end moves it on with a bare id.
    """
    after, caught_up = wanted.after, False
    yield b"retry: %d\n\n" % RETRY_MS
    while True:
        try:
            page = await service.ledger.read(after, MOST_EVENTS, wanted.where)
        except Unavailable:
            return
        written = [event_sent(row, service.name) for row in page.rows]
        if page.next_after > (page.rows[-1].position if page.rows else after):
            written.append(b"id: %d\n\n" % page.next_after)
        after = page.next_after
        if after >= page.head and not caught_up:
            caught_up = True
            written.append(b'event: caught-up\ndata: {"position":%d}\nid: %d\n\n' % (page.head, after))
        if written:
            yield b"".join(written)
        while after >= page.head and await service.ledger.beyond(after, WAIT_S) <= after:
            pass  # nothing new; the response keeps the connection alive by itself


def event_sent(row: Row, name: str) -> bytes:
    """Write one server-sent event; the JSON of an event has no line breaks."""
    return b"id: %d\nevent: %b\ndata: %b\n\n" % (row.position, row.type.encode(), structured(row, name))
