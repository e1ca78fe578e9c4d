"""The worked example and the pages that show it, end to end: what a reader pastes is what a reader gets."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2
import pytest

from muster.example import Loaded, lines, load

ROOT = Path(__file__).resolve().parents[2]
LINES = len(list(lines()))
BLOCK = re.compile(r"^```(bash|json)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BASH = shutil.which("bash") or "bash"
ANYTHING = "..."
CATCHING_UP_S = 20

Json = Any


class Ledger:
    """A ledger that runs with the worked example in it."""

    def __init__(self, where: dict[str, str], client: httpx2.Client) -> None:
        self.commitments = where["commitments"]
        self.projections = where["projections"]
        self.client = client

    def ask(self, question: str) -> Json:
        """Ask the read side about all that is recorded by now."""
        answer = self.client.get(f"{self.projections}/v1{question}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    def head(self) -> int:
        answer: dict[str, int] = self.client.get(f"{self.commitments}/v1/events?limit=1").json()
        return answer["head"]

    def wait(self) -> None:
        """Wait until the read side has applied all that is recorded."""
        head, until = self.head(), time.monotonic() + CATCHING_UP_S
        while self.client.get(f"{self.projections}/v1/totals?min_position={head}").status_code == 503:
            assert time.monotonic() < until, "the read side does not catch up"


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    """`muster up` as `make run` starts it, on free ports."""
    home = tmp_path_factory.mktemp("example")
    command = [sys.executable, "-m", "muster", "up", "--json", "--home", str(home / "home")]
    ports = ["--commitments-port", "0", "--projections-port", "0"]
    with (home / "stderr").open("w") as stderr:
        process = subprocess.Popen([*command, *ports], stdout=subprocess.PIPE, stderr=stderr, text=True, cwd=ROOT)
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        said = (home / "stderr").read_text()
        assert line, said
        assert "the worked example is loaded" in said
        with httpx2.Client(trust_env=False, timeout=30) as client:
            running = Ledger(json.loads(line), client)
            running.wait()
            yield running
    finally:
        process.terminate()
        process.wait(timeout=60)
        process.stdout.close()


def test_every_line_of_the_story_is_recorded_and_saying_it_again_changes_nothing(ledger: Ledger) -> None:
    before = ledger.head()
    assert load(ledger.commitments) == Loaded(recorded=0, already=LINES, refused=())
    assert ledger.head() == before


def test_the_story_runs_from_the_shell_too(ledger: Ledger) -> None:
    said = subprocess.run(
        [sys.executable, "-m", "muster.example", ledger.commitments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    assert said.stdout == f"0 recorded, {LINES} recorded already, 0 refused\n"


def interval(answer: Json, **row: str | None) -> list[tuple[Decimal, Decimal | None]]:
    """The intervals of the rows that fit."""
    return [
        (Decimal(found["low"]), None if found["high"] is None else Decimal(found["high"]))
        for found in answer["totals"]
        if all(found[name] == value for name, value in row.items())
    ]


def test_what_the_minister_added_up_is_what_the_ledger_adds_up(ledger: Ledger) -> None:
    totals = ledger.ask("/coalitions/drone-coalition/totals?on=2024-04-24&unit=EUR&stage=pledged&capability=drone")
    assert interval(totals) == [(Decimal(483_000_000), None)]


def test_latvia_promised_ten_then_twenty_and_never_thirty(ledger: Ledger) -> None:
    question = "/parties/LVA/totals?unit=EUR&stage=pledged&on="
    assert interval(ledger.ask(f"{question}2024-05-30")) == [(Decimal(10_000_000), None)]
    assert interval(ledger.ask(f"{question}2024-09-30"), capability="drone") == [(Decimal(20_000_000),) * 2]


def test_latvia_delivered_five_thousand_in_2024(ledger: Ledger) -> None:
    totals = ledger.ask("/parties/LVA/totals?unit=piece&stage=delivered&on=2024-12-31")
    assert interval(totals) == [(Decimal(5_000), Decimal(5_000))]


def test_the_million_is_unproven_and_ukraines_own_is_met(ledger: Ledger) -> None:
    million = ledger.ask("/targets/million-drones/progress")
    assert million["status"] == "unproven"
    assert ledger.ask("/targets/ukraine-production-2024/progress")["status"] == "met"


@pytest.mark.parametrize("page", ["README.md", "docs/tutorial/first-ledger.md"])
def test_what_is_pasted_from_a_page_answers_what_the_page_says(ledger: Ledger, page: str, tmp_path: Path) -> None:
    blocks = BLOCK.findall((ROOT / page).read_text(encoding="utf-8"))
    script, shown = written(blocks, ledger)
    run = subprocess.run(
        [BASH, "-euo", "pipefail", "-c", script],
        capture_output=True,
        text=True,
        env={**os.environ, "no_proxy": "127.0.0.1"},
        cwd=tmp_path,  # where it leaves what it draws
        check=False,
    )
    assert run.returncode == 0, run.stderr
    answers = run.stdout.split("\0")
    assert len(answers) == len(blocks) - len(shown) + 1
    assert not [answer for answer in answers if '"code":' in answer], "no command of a page is refused"
    for place, expected in shown.items():
        assert missing(json.loads(expected), json.loads(answers[place])) == []


def written(blocks: list[tuple[str, str]], ledger: Ledger) -> tuple[str, dict[int, str]]:
    """Give the commands of a page as a script that ends each block with a NUL, and what the page shows after which."""
    script, shown, done = [], {}, 0
    settled = (
        f"until curl -sfo /dev/null '{ledger.projections}/v1/totals?min_position='$({head_of(ledger)}); do :; done"
    )
    for kind, text in blocks:
        if kind == "json":
            shown[done - 1] = text
            continue
        here = text.replace("http://127.0.0.1:8001", ledger.commitments)
        script += [settled, here.replace("http://127.0.0.1:8002", ledger.projections), "printf '\\0'"]
        done += 1
    return "\n".join(script), shown


def head_of(ledger: Ledger) -> str:
    return f"curl -s '{ledger.commitments}/v1/events?limit=1' | sed -E 's/.*\"head\":([0-9]+).*/\\1/'"


def missing(shown: Json, answer: Json, at: str = "") -> list[str]:
    """Say what a page shows that an answer has not; "..." stands for anything, and fields may be left out."""
    match shown, answer:
        case "...", _:
            return []
        case dict(), dict():
            return [
                wrong
                for key, value in shown.items()
                if key != ANYTHING
                for wrong in ([f"{at}/{key}"] if key not in answer else missing(value, answer[key], f"{at}/{key}"))
            ]
        case list(), list():
            return missing_items(shown, answer, at)
        case _:
            return [] if shown == answer else [f"{at}: {answer!r}, not {shown!r}"]


def missing_items(shown: list[Json], answer: list[Json], at: str) -> list[str]:
    """The same for a list: with "..." in it, its other items come in this order with others between them."""
    if ANYTHING not in shown:
        items = [
            wrong for n, pair in enumerate(zip(shown, answer, strict=False)) for wrong in missing(*pair, f"{at}/{n}")
        ]
        return items if len(shown) == len(answer) else [f"{at}: {len(answer)} items, not {len(shown)}", *items]
    left = iter(answer)
    kept = [value for value in shown if value != ANYTHING]
    return [f"{at}: no {value}" for value in kept if not any(not missing(value, found) for found in left)]
