"""The worked example, told to a ledger: `python -m muster.example URL`.

Each line of the story is one command of the REST API, in the order in which the world learned it. Commands may be said
twice, so this may be run again at any time: what is recorded stays recorded once.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx2
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

STORY: Final = Path(__file__).resolve().parents[1] / "examples" / "drone-coalition" / "story.ndjson"
TRIES: Final = 5  # of one command, while the service says that it cannot just now
LONGEST_PAUSE_S: Final = 5.0
TIMEOUT_S: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One command of a story: `number` in the file from 1, method, path, and the body as it is sent."""

    number: int
    method: str
    path: str
    body: dict[str, Any]

    @property
    def do(self) -> str:
        """What it asks for, as the story and an import write it: `PUT /v1/pledges/x`."""
        return f"{self.method} {self.path}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A command that the ledger did not record: its HTTP status, the refusal's code and detail."""

    line: Line
    status: int
    code: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """What became of a story: how many commands were new, how many were recorded already, and which were refused."""

    recorded: int
    already: int
    refused: tuple[Refusal, ...]


def lines(story: Path = STORY) -> Iterator[Line]:
    """Read a story, a command a line. Raises ValueError for a line that is none."""
    for number, text in enumerate(story.read_text(encoding="utf-8").splitlines(), start=1):
        command = json.loads(text)
        method, _, path = command["do"].partition(" ")
        yield Line(number=number, method=method, path=path, body=command["body"])


def load(
    commitments_url: str,
    *,
    key: str | None = None,
    story: Path = STORY,
    progress: Callable[[int, int], None] | None = None,
) -> Loaded:
    """Tell the story to the commitments service at `commitments_url`, line by line, in order.

    A refusal stops nothing and is reported. `key` is the caller's API key, `progress` is called with (lines done, lines
    in all) after each. Raises httpx2.HTTPError when the service is not there.
    """
    commands = list(lines(story))
    recorded = already = 0
    refused: list[Refusal] = []
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    with httpx2.Client(base_url=commitments_url, headers=headers, timeout=TIMEOUT_S) as client:
        for done, line in enumerate(commands, start=1):
            answer = _send(client, line)
            match answer.status_code:
                case 201:
                    recorded += 1
                case 200:
                    already += 1
                case _:
                    refused.append(_refusal(line, answer))
            if progress is not None:
                progress(done, len(commands))
    return Loaded(recorded=recorded, already=already, refused=tuple(refused))


def _send(client: httpx2.Client, line: Line) -> httpx2.Response:
    """Send one command, again while the service says that it is busy; repeats are harmless."""
    answer = client.request(line.method, line.path, json=line.body)
    for _ in range(TRIES - 1):
        if answer.status_code not in (429, 503):
            break
        time.sleep(_pause(answer))
        answer = client.request(line.method, line.path, json=line.body)
    return answer


def _pause(answer: httpx2.Response) -> float:
    """Give the seconds that the service asks us to wait, at most LONGEST_PAUSE_S."""
    asked = answer.headers.get("Retry-After", "")
    return min(float(asked), LONGEST_PAUSE_S) if asked.isdecimal() else 1.0


def _refusal(line: Line, answer: httpx2.Response) -> Refusal:
    """Read a problem document; an answer that is none is reported by its first words."""
    try:
        problem = answer.json()
        code, detail = str(problem["code"]), str(problem["detail"])
        wrong = [f"{error['pointer']}: {error['detail']}" for error in problem.get("errors", ())]
    except (ValueError, KeyError, TypeError):
        return Refusal(line=line, status=answer.status_code, code="", detail=answer.text[:200])
    return Refusal(line=line, status=answer.status_code, code=code, detail="; ".join([detail, *wrong]))


def main() -> int:
    """Load the example into the service named on the command line; exit with 1 if anything was refused."""
    parser = argparse.ArgumentParser(prog="python -m muster.example", description="Tell a ledger the worked example.")
    parser.add_argument("url", help="the commitments service, for example http://127.0.0.1:8001")
    parser.add_argument("--story", type=Path, default=STORY, help="another story, NDJSON as POST /v1/imports takes it")
    said = parser.parse_args()
    console = Console(highlight=False, soft_wrap=True)
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=console
    )
    bar.disable = not console.is_terminal
    try:
        with bar:
            task = bar.add_task("recording", total=None)
            loaded = load(
                said.url,
                key=os.environ.get("MUSTER_API_KEY") or None,
                story=said.story,
                progress=lambda done, total: bar.update(task, completed=done, total=total),
            )
    except httpx2.HTTPError as error:
        console.print(f"{escape(said.url)} does not answer: {escape(str(error))}")
        return 1
    for refusal in loaded.refused:
        why = f"{refusal.status} {refusal.code}: {refusal.detail}"
        console.print(f"line {refusal.line.number}, {escape(refusal.line.do)}: {escape(why)}")
    console.print(f"{loaded.recorded} recorded, {loaded.already} recorded already, {len(loaded.refused)} refused")
    return 1 if loaded.refused else 0


if __name__ == "__main__":
    sys.exit(main())
