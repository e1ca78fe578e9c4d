"""`muster import`, `retract` and `reconcile` from the shell, against a whole running ledger."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from typer.testing import CliRunner

from muster.cli import app

ROOT = Path(__file__).resolve().parents[2]
FTS = ROOT.parent / "shared" / "data" / "fts-2020"
EXAMPLE = ROOT / "examples" / "mappings"

Json = Any

MAPPING = """
sources: [{publisher: Example, title: A list}]
record:
  - do: PUT /v1/pledges/NAME-{ID}
    body:
      donors: [{party: {column: Donor, as: party}}]
      capability: drone
      amount: {column: Amount, as: amount, unit: piece}
      announced_on: "2024"
  - do: POST /v1/pledges/NAME-{ID}/commit
    when: {column: Firm, is: ["yes"]}
    body:
      amount: {column: Amount, as: amount, unit: piece}
      on: "2024"
"""


@dataclass(frozen=True, slots=True)
class Ledger:
    """A ledger that runs, and the shell beside it."""

    commitments: str
    projections: str
    folder: Path

    def muster(self, command: str, *arguments: str | Path, code: int = 0) -> str:
        """Run a command of `muster`; see its exit code, give what it said."""
        service = "projections" if command == "reconcile" else "commitments"
        where = [f"--{service}", getattr(self, service)]
        done = CliRunner().invoke(app, [command, *map(str, arguments), *where])
        assert done.exit_code == code, done.output + repr(done.exception)
        return done.output

    def written(self, name: str, text: str) -> Path:
        """Write a file, and give its path."""
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        return path

    def head(self) -> int:
        answer: dict[str, int] = httpx2.get(f"{self.commitments}/v1/events?limit=1").json()
        return answer["head"]

    def since(self, position: int) -> list[tuple[str, str]]:
        """(what happened, to what) after a position."""
        found = httpx2.get(f"{self.commitments}/v1/events?after={position}").json()["events"]
        return [(event["type"].removeprefix("muster.").removesuffix(".v1"), event["subject"]) for event in found]

    def pledge(self, name: str) -> Json:
        return httpx2.get(f"{self.commitments}/v1/pledges/{name}").json()


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    folder = tmp_path_factory.mktemp("import")
    command = [sys.executable, "-m", "muster", "up", "--json", "--no-example", "--home", str(folder / "home")]
    ports = ["--commitments-port", "0", "--projections-port", "0"]
    with (folder / "stderr").open("w") as stderr:
        process = subprocess.Popen([*command, *ports], stdout=subprocess.PIPE, stderr=stderr, text=True, cwd=ROOT)
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line, (folder / "stderr").read_text()
        said = json.loads(line)
        yield Ledger(said["commitments"], said["projections"], folder)
    finally:
        process.terminate()
        process.wait(timeout=60)
        process.stdout.close()


def fts(folder: str, pattern: str) -> list[Path]:
    """The files of FTS; where they are missing the test is skipped, but never in CI."""
    found = sorted((FTS / folder).glob(pattern))
    if not found:
        assert not os.environ.get("CI"), f"{FTS} is missing, and CI must not go on without it"
        pytest.skip("the flows of FTS are not beside this repository (../shared/data/fts-2020)")
    return found


def table(*rows: str) -> str:
    return "\n".join(["ID,Donor,Amount,Firm", *rows]) + "\n"


# ------------------------------------------------------------------------------------------------ once, and twice


def test_a_spreadsheet_is_recorded_once_however_often_it_is_imported(ledger: Ledger) -> None:
    file, mapping = EXAMPLE / "pledges.csv", EXAMPLE / "pledges.yaml"
    assert "6 recorded, 0 already there, 0 refused" in ledger.muster("import", file, "--mapping", mapping)
    before = ledger.head()
    assert "0 recorded, 6 already there, 0 refused" in ledger.muster("import", file, "--mapping", mapping)
    assert ledger.head() == before
    entry = ledger.pledge("example-a-3")["entry"]
    assert [donor["party"] for donor in entry["donors"]] == ["DNK", "NLD"]
    assert (entry["amount"]["unit"], entry["amount"]["low"]) == ("EUR", "45500000")


def test_the_same_rows_in_a_file_of_another_name_change_nothing(ledger: Ledger) -> None:
    mapping = ledger.written("again.yaml", MAPPING.replace("NAME", "again"))
    rows = table("1,GBR,5,yes", "2,LVA,6,no")
    ledger.muster("import", ledger.written("first.csv", rows), "--mapping", mapping)
    before = ledger.head()
    said = ledger.muster("import", ledger.written("second.csv", rows), "--mapping", mapping)
    assert "0 recorded, 3 already there, 0 refused" in said
    assert ledger.head() == before


def test_a_row_that_says_something_else_than_is_recorded_is_refused_with_all_that_follows_from_it(
    ledger: Ledger,
) -> None:
    mapping = ledger.written("other.yaml", MAPPING.replace("NAME", "other"))
    ledger.muster("import", ledger.written("other.csv", table("1,GBR,5,no")), "--mapping", mapping)
    before = ledger.head()
    rows = ledger.written("other.csv", table("1,GBR,6,yes", "2,Nowhere,1,no", "3,LVA,7,no"))
    report = ledger.folder / "report.ndjson"
    said = ledger.muster("import", rows, "--mapping", mapping, "--report", report, code=1)
    assert "1 recorded, 0 already there, 3 refused" in said
    assert ledger.since(before) == [("pledge.announced", "pledge-other-3")]
    lines = [json.loads(line) for line in report.read_text().splitlines()]
    assert [(line["line"], line["what"], line.get("code")) for line in lines[:-1]] == [
        (2, "refused", "already-recorded"),
        (2, "refused", "follows"),
        (3, "refused", "row"),
        (4, "recorded", None),
    ]
    assert lines[-1] == {"summary": {"recorded": 1, "already there": 0, "refused": 3}}


def test_commands_are_recorded_in_their_order_and_a_broken_line_stops_no_other(ledger: Ledger) -> None:
    body = {
        "donors": [{"party": "GBR"}],
        "capability": "drone",
        "announced_on": "2024",
        "sources": [{"url": "https://e.org"}],
    }
    stage = {"on": "2024", "amount": {"unit": "piece", "exactly": "5"}, "sources": [{"url": "https://e.org"}]}
    lines = [
        json.dumps({"do": "PUT /v1/pledges/line-1", "body": body}),
        json.dumps({"do": "POST /v1/pledges/line-1/commit", "body": stage}),
        "not JSON",
        json.dumps({"do": "PUT /v1/pledges/line-2", "body": {**body, "donors": [{"party": "NOWHERE"}]}}),
        json.dumps(
            {"do": "PUT /v1/pledges/line-3", "body": {**body, "relation": {"kind": "part_of", "of": ["line-1"]}}}
        ),
    ]
    before = ledger.head()
    said = ledger.muster("import", ledger.written("lines.ndjson", "\n".join(lines)), code=1)
    assert "lines.ndjson:3" in said
    assert "lines.ndjson:4 PUT /v1/pledges/line-2: there is no party NOWHERE" in said
    assert "3 recorded, 0 already there, 2 refused" in said
    assert ledger.since(before) == [
        ("pledge.announced", "pledge-line-1"),
        ("pledge.committed", "pledge-line-1"),
        ("pledge.announced", "pledge-line-3"),
    ]


def test_a_dry_run_needs_no_ledger_and_finds_what_the_api_would_refuse_by_its_form(ledger: Ledger) -> None:
    mapping = ledger.written(
        "dry.yaml", MAPPING.replace("NAME", "dry").replace("capability: drone", "capability: DRONE")
    )
    file = ledger.written("dry.csv", table("1,GBR,5,no"))
    done = CliRunner().invoke(app, ["import", str(file), "--mapping", str(mapping), "--dry-run"])
    assert done.exit_code == 1
    assert "/capability" in done.output


# ------------------------------------------------------------------------------------------------ releases


def test_a_newer_release_is_recorded_as_what_changed_what_is_gone_and_what_is_new(ledger: Ledger) -> None:
    mapping = ledger.written("series.yaml", MAPPING.replace("NAME", "rel"))
    same = ["1,GBR,5,no", "2,LVA,6,no"]
    first = ledger.written("r1.csv", table(*same, "3,NLD,7,no", "4,DNK,8,no"))
    second = ledger.written("r2.csv", table(*same, "3,NLD,70,no", "5,SWE,9,no"))
    assert "4 recorded" in ledger.muster("import", first, "--mapping", mapping, "--as", "rel")
    before = ledger.head()
    said = ledger.muster("import", second, "--mapping", mapping, "--as", "rel", code=2)
    assert "nothing was changed" in said  # nobody is there who could be asked
    assert ledger.head() == before
    said = ledger.muster("import", second, "--mapping", mapping, "--as", "rel", "--yes")
    assert "series rel: 1 new, 1 changed, 1 gone, 2 as they were" in said
    assert sorted(ledger.since(before)) == [
        ("entry.corrected", "pledge-rel-3"),
        ("entry.retracted", "pledge-rel-4"),
        ("pledge.announced", "pledge-rel-5"),
    ]
    assert ledger.pledge("rel-3")["entry"]["amount"]["low"] == "70"
    before = ledger.head()
    ledger.muster("import", second, "--mapping", mapping, "--as", "rel")  # asks nothing: nothing changed
    assert ledger.head() == before


def test_what_was_gone_and_comes_back_gets_a_name_of_its_own(ledger: Ledger) -> None:
    mapping = ledger.written("back.yaml", MAPPING.replace("NAME", "back"))
    both, one = ["1,GBR,5,no", "2,LVA,6,no", "3,NLD,6,no", "4,SWE,5,yes"], ["1,GBR,5,no", "2,LVA,6,no", "3,NLD,6,no"]
    for rows in (both, one, both, both):
        ledger.muster("import", ledger.written("b.csv", table(*rows)), "--mapping", mapping, "--as", "back", "--yes")
    assert ledger.pledge("back-4")["retracted"]
    again = ledger.pledge("back-4-r2")
    assert [event["type"] for event in again["events"]] == ["muster.pledge.announced.v1", "muster.pledge.committed.v1"]


def test_a_release_that_lacks_more_than_a_third_is_refused_and_a_broken_row_is_not_gone(ledger: Ledger) -> None:
    mapping = ledger.written("third.yaml", MAPPING.replace("NAME", "third"))
    whole = table("1,GBR,5,yes", "2,LVA,6,no", "3,NLD,7,no")
    ledger.muster("import", ledger.written("w.csv", whole), "--mapping", mapping, "--as", "third")
    before = ledger.head()
    half = ledger.written("h.csv", table("2,LVA,6,no", "3,NLD,7,no"))
    assert "is it the whole of it?" in ledger.muster("import", half, "--mapping", mapping, "--as", "third", code=2)
    broken = ledger.written("k.csv", table("1,GBR,lots,yes", "2,LVA,6,no", "3,NLD,7,no"))
    said = ledger.muster("import", broken, "--mapping", mapping, "--as", "third", "--yes", code=1)
    assert "0 gone" in said
    assert ledger.head() == before


# ------------------------------------------------------------------------------------------------ undoing


def test_an_import_is_undone_the_last_first_and_undoing_it_again_is_harmless(ledger: Ledger) -> None:
    mapping = ledger.written("undo.yaml", MAPPING.replace("NAME", "undo"))
    ledger.muster("import", ledger.written("u.csv", table("1,GBR,5,yes")), "--mapping", mapping, "--import-id", "other")
    file = ledger.written("u.csv", table("2,LVA,6,yes", "3,NLD,7,no"))
    ledger.muster("import", file, "--mapping", mapping, "--import-id", "undone")
    before = ledger.head()
    assert "3 retracted, 0 refused" in ledger.muster("retract", "--import", "undone", "--reason", "the wrong file")
    assert ledger.since(before) == [
        ("entry.retracted", "pledge-undo-2"),
        ("entry.retracted", "pledge-undo-3"),
        ("entry.retracted", "pledge-undo-2"),
    ]
    assert "nothing stands" in ledger.muster("retract", "--import", "undone")
    assert not ledger.pledge("undo-1")["retracted"]


# ------------------------------------------------------------------------------------------------ real data


def test_the_flows_of_fts_give_what_fts_publishes_to_the_dollar(ledger: Ledger) -> None:
    pages, tables = fts("api", "*.json"), fts("csv", "*.csv")
    assert "0 refused" in ledger.muster("import", *pages, "--mapping", "fts")
    before = ledger.head()
    assert "0 recorded" in ledger.muster("import", *pages, "--mapping", "fts")
    assert ledger.head() == before
    said = ledger.muster("reconcile", *pages, "--mapping", "fts")
    rows = [line.split() for line in said.splitlines()[1:-1]]
    assert rows == [
        ["AFG", "2020", "funding", "725,591,299", "725,591,299", "0"],
        ["AFG", "2020", "pledges", "0", "0", "0"],
        ["JOR", "2020", "funding", "714,246,261", "714,246,261", "0"],
        ["JOR", "2020", "pledges", "81,128", "81,128", "0"],
        ["PSE", "2020", "funding", "381,508,179", "381,508,179", "0"],
        ["PSE", "2020", "pledges", "29,621", "29,621", "0"],
    ]
    assert "6 compared, 0 differ" in ledger.muster("reconcile", *tables, "--mapping", "fts")
    for country, funding in (("AFG", 725_591_299), ("JOR", 714_246_261), ("PSE", 381_508_179)):
        answer = httpx2.get(f"{ledger.projections}/v1/beneficiaries/{country}/totals?stage=committed&unit=USD").json()
        assert sum(int(row["low"]) for row in answer["totals"] if row["capability"] == "humanitarian") == funding


def test_a_total_that_differs_is_told_and_ends_with_1(ledger: Ledger) -> None:
    head = "id,amountUSD,status,boundary,onBoundary,date,srcOrganization,destLocations,destUsageYearStart"
    flow = "1,500,paid,incoming,single,2021-05-01,,FJI,2021"
    one = ledger.written("one.csv", f"{head}\n{flow}\n")
    two = ledger.written("two.csv", f"{head}\n{flow}\n{flow.replace('1,500', '2,70')}\n")
    ledger.muster("import", one, "--mapping", "fts")
    assert "1 recorded" in ledger.muster("import", ledger.written("st.ndjson", json.dumps({
        "do": "PUT /v1/statements/fji", "body": {
            "stated_by": "FJI", "about": {"beneficiary": "FJI"}, "measure": "amount", "stage": "committed",
            "amount": {"unit": "USD", "exactly": "600"}, "stated_on": "2021-12-31",
            "sources": [{"url": "https://e.org"}]}})))  # fmt: skip
    ledger.muster("reconcile", one, "--mapping", "fts")
    said = ledger.muster("reconcile", two, "--mapping", "fts", code=1)
    assert ["FJI", "2021", "funding", "570", "500", "70"] in [line.split() for line in said.splitlines()]
    said = ledger.muster("reconcile", code=1)
    assert "fji (FJI about FJI, 2021-12-31)" in said
    assert said.splitlines()[1].split()[-4:] == ["committed", "600", "500", "100"]
