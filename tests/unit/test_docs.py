"""The pages: what the code says stands in them, and their links lead somewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from docs import generate
from services.commitments.http import commands
from services.commitments.http import problems as commitments_problems
from services.projections.http import problems as projections_problems
from shared.amounts import VAGUE_WORDS
from shared.events import EVENT_TYPES

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")],
    key=lambda page: page.relative_to(ROOT).as_posix(),
)
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^( *)```.*?^\1```", re.MULTILINE | re.DOTALL)
VARIABLE = re.compile(r"MUSTER_[A-Z][A-Z_]*[A-Z]")
ONLY_FOR_TESTS = {"MUSTER_WRITE_GOLDEN"}


def text_of(name: str) -> str:
    return (generate.REFERENCE / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", generate.PAGES)
def test_a_generated_page_says_what_the_code_says(name: str) -> None:
    assert name not in generate.stale(), "run: .venv/bin/python docs/generate.py"


def test_every_event_is_described() -> None:
    page = text_of("events.md")
    for stored, kind in EVENT_TYPES.items():
        assert f"### {kind.__name__}\n\n`{stored}`\n" in page


def test_every_refusal_is_described() -> None:
    page = text_of("refusals.md")
    codes = {*commitments_problems.pages(), *projections_problems.KINDS}
    assert {code for code in codes if f"| `{code}` |" not in page} == set()


def test_every_command_is_described() -> None:
    page = text_of("commands.md")
    assert [r.path for r in commands.COMMANDS if f"\n## {r.method} {r.path}\n" not in page] == []


def test_every_variable_that_the_code_reads_is_a_setting_on_the_page() -> None:
    page = text_of("settings.md")
    read = {
        name
        for folder in ("services", "muster", "migrations")
        for file in (ROOT / folder).rglob("*.py")
        for name in VARIABLE.findall(file.read_text(encoding="utf-8"))
    }
    assert {name for name in read - ONLY_FOR_TESTS if f"`{name}`" not in page} == set()


def test_the_words_that_are_read_as_a_number_stand_in_the_page_about_amounts() -> None:
    page = text_of("amounts.md")
    for words, low in VAGUE_WORDS.items():
        assert f'"words": "{words}"}}` | [{low}, ...)' in page


def links() -> Iterator[tuple[Path, str]]:
    for page in PAGES:
        for link in LINK.findall(FENCE.sub("", page.read_text(encoding="utf-8"))):
            if not re.match(r"https?://", link):
                yield page, link


def test_every_link_leads_to_a_page_and_a_heading_that_are_there() -> None:
    broken = []
    for page, link in links():
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(f"{page.relative_to(ROOT)}: {link}")
    assert broken == []


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as they are made of their words."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_decision_stands_in_the_list_of_them() -> None:
    folder = ROOT / "docs" / "decisions"
    listed = re.findall(r"\]\((\d{4}-[a-z-]+\.md)\)", (folder / "README.md").read_text(encoding="utf-8"))
    assert listed == sorted(page.name for page in folder.glob("[0-9]*.md"))
