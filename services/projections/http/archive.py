"""The whole public ledger as one ZIP, sent while it is made."""

from __future__ import annotations

import io
import zipfile
from collections.abc import AsyncIterator, Mapping
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse

from services.projections.http.asof import NO_BODY, AsOf, AsOfQuery, etag, matches, reader
from services.projections.http.export import About, Files
from services.projections.http.problems import responses
from services.projections.read_model import ReadModel
from services.projections.read_models import READ_MODELS, entries
from shared.cloudevent import structured

READS: Final[tuple[ReadModel, ...]] = READ_MODELS
PAGE: Final = 1_000
FILES: Final[Mapping[str, str]] = {
    "facts.csv": "everything that was recorded, one flat row a fact, as it stands; without what was retracted",
    "pledges.csv": "every pledge as it stands on the day",
    "totals.csv": "the totals of the whole ledger: disjoint rows, to be summed within a stage, unit and finance type",
}
EVENTS: Final = "events.ndjson"

router = APIRouter(prefix="/v1", tags=["files"])


@router.get("/ledger.zip", response_class=Response, responses=responses())
async def ledger_zip(request: Request, query: Annotated[AsOfQuery, Query()]) -> Response:
    """Give the whole public ledger in one file: its events, its facts, pledges and totals as tables, and a README."""
    asof = await reader(request).settled(request, query, READS)
    tag = etag(request, asof)
    name = f"ledger-{asof.ledger}-{asof.position}-{asof.on.isoformat()}.zip"
    headers = {
        "ETag": tag,
        "Ledger-Position": str(asof.applied),
        "Cache-Control": "no-cache",
        "Content-Disposition": f'attachment; filename="{name}"',
    }
    if matches(request.headers.get("If-None-Match"), tag):
        return Response(status_code=NO_BODY, headers=headers)
    return StreamingResponse(zipped(request, asof), headers=headers, media_type="application/zip")


class Pipe(io.RawIOBase):
    """What a ZIP is written into, and taken out of as it grows: a stream that cannot go back."""

    def __init__(self) -> None:
        self.written = bytearray()

    def writable(self) -> bool:
        """Say that it is for writing."""
        return True

    def write(self, chunk: Any) -> int:  # noqa: ANN401  # whatever holds bytes
        """Take what is written."""
        self.written += chunk
        return len(chunk)

    def taken(self) -> bytes:
        """Give what was written since it was asked last."""
        found = bytes(self.written)
        self.written.clear()
        return found


async def zipped(request: Request, asof: AsOf) -> AsyncIterator[bytes]:
    """Write the ZIP, part by part. Raises if a part cannot be had: then it has no directory, and is no ZIP."""
    files: Files = request.app.state.files
    pipe = Pipe()
    about: list[About] = []
    # days before 1980, and the time of day, have no place in what makes two files of one state equal
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open(zipfile.ZipInfo(EVENTS), "w", force_zip64=True) as part:
            async for chunk in events(request, asof):
                part.write(chunk)
                yield pipe.taken()
        for name in FILES:
            with archive.open(zipfile.ZipInfo(name), "w", force_zip64=True) as part:
                of, chunks = await files.opened(request.scope, f"/v1/{name.removesuffix('.csv')}", asof.pinned(), "csv")
                about.append(of)
                async for chunk in chunks:
                    part.write(chunk)
                    yield pipe.taken()
        archive.writestr(zipfile.ZipInfo("README.md"), readme(asof, files.licence, about))
    yield pipe.taken()


async def events(request: Request, asof: AsOf) -> AsyncIterator[bytes]:
    """Give every event up to the position, as it was published, one a line."""
    after = 0
    while after < asof.position:
        async with reader(request).transaction() as conn:
            page = await entries.following(conn, after=after, known=asof.position, limit=PAGE)
        if not page:
            return
        yield b"".join(structured(event, asof.ledger) + b"\n" for event in page)
        after = page[-1].position


def readme(asof: AsOf, licence: str, about: list[About]) -> str:
    """Say what the ZIP holds, of which state, under which licence, and how to cite it."""
    parts = [
        f"# Ledger {asof.ledger}, position {asof.position}, on {asof.on.isoformat()}",
        f"Licence of the data: {licence}",
        (
            f"To cite it: Muster ledger {asof.ledger!r}, position {asof.position}, on {asof.on.isoformat()}. The same "
            f"file: `/v1/ledger.zip?{asof.pinned()}`; what changed since: `/v1/diff?from={asof.position}`."
        ),
        "## Files",
        f"- `{EVENTS}`: every event from position 1 on, as a CloudEvent a line: corrections and retractions included",
        "\n".join(f"- `{name}`: {holds}" for name, holds in FILES.items()),
        (
            "Amounts are intervals from `low` to `high` (empty: open); what is not known is not zero. Text that a "
            "spreadsheet would take for a formula has a `'` before it. The tables are in UTF-8, with a line of names."
        ),
    ]
    for file in about:
        columns = "\n".join(f"- `{name}`: {holds}" for name, holds in file.dictionary.items())
        parts.append(f"## Columns of {file.rows}.csv\n\n{columns}")
    return "\n\n".join(parts) + "\n"
