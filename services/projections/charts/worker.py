"""`python -m services.projections.charts.worker`: draws what it reads from stdin, one request at a time.

It is a process of its own because Vega's engine keeps some 230 MB for as long as it lives. A request is a line
`<what> <length>` and that many bytes; `what` is svg, png or bundle. The answer is `ok <length>` or `error <length>` and
that many bytes. It ends when stdin does, and so with the process that started it.
"""

from __future__ import annotations

import json
import sys
from typing import Final

import vl_convert

VEGA_LITE: Final = "6.4"
SCALE: Final = 2.0
"""Pixels of a PNG to one of the chart: sharp on today's screens."""


def drawn(what: str, body: bytes) -> bytes:
    """Give a chart in a format, or the JavaScript that draws charts in a browser. Raises ValueError."""
    match what:
        case "svg":
            svg = vl_convert.vegalite_to_svg(json.loads(body), vl_version=VEGA_LITE, allowed_base_urls=[])
            return svg.encode()
        case "png":
            return vl_convert.vegalite_to_png(json.loads(body), vl_version=VEGA_LITE, scale=SCALE, allowed_base_urls=[])
        case "bundle":
            return vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=VEGA_LITE).encode()
        case _:
            raise ValueError(f"nobody can draw {what}")


def main() -> None:
    """Serve until stdin ends."""
    asked, answers = sys.stdin.buffer, sys.stdout.buffer
    while line := asked.readline():
        what, length = line.decode().split()
        body = asked.read(int(length))
        try:
            outcome, answer = "ok", drawn(what, body)
        except Exception as error:  # noqa: BLE001  # whatever it is, the next chart may be fine
            outcome, answer = "error", str(error).encode()
        answers.write(f"{outcome} {len(answer)}\n".encode() + answer)
        answers.flush()


if __name__ == "__main__":
    main()
