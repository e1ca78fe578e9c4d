"""What charts say and draw, from answers as the query routes give them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from services.projections.charts.badge import badge
from services.projections.charts.look import THEMES, Look, Spec, number, wrapped
from services.projections.charts.progress import Deadline, _rows, progress_chart
from services.projections.charts.totals import bars_of, totals_chart

OF = {"capability": "Drones", "scope": "Drone Coalition", "stated": "NATO"}


def a_point(on: str, low: str, high: str | None, unknown: int = 0) -> dict[str, Any]:
    return {"on": on, "low": low, "high": high, "unknown": unknown}


def an_answer(**changed: Any) -> dict[str, Any]:
    series = changed.pop("series", [a_point("2024-02-15", "0", "0"), a_point("2024-06-30", "5000", None)])
    last = series[-1] if series else a_point("", "0", "0")
    row = {"stage": "delivered", "counts": True, "about": False, "percent_low": "0.5", "percent_high": None}
    return {
        "position": 77,
        "on": "2024-07-01",
        "status": "open",
        "complete_to": None,
        "cite": {"url": "/v1/targets/million-drones/progress?on=2024-07-01&known=77"},
        "target": {
            "id": "million-drones",
            "amount": {"unit": "piece", "low": "1000000", "unknown": False, "said": "1,000,000"},
            "counts": "delivered",
            "starts_on": "2024-02-15",
            "due_by": "2024-12-31",
            "past_deadlines": [],
        },
        "progress": [row | {name: last[name] for name in ("low", "high", "unknown")}],
        "series": series,
        **changed,
    }


def a_row(stage: str, low: str, high: str | None, **changed: Any) -> dict[str, Any]:
    row = {"capability": "drone", "unit": "piece", "finance_type": None, "about": False, "unknown": 0}
    return row | {"stage": stage, "low": low, "high": high} | changed


def a_total(*rows: dict[str, Any]) -> dict[str, Any]:
    cite = {"url": "/v1/coalitions/x/totals?known=7"}
    return {"position": 7, "on": "2024-07-01", "complete_to": None, "cite": cite, "totals": list(rows)}


def texts(spec: Spec) -> list[str]:
    found = [layer["encoding"]["text"]["value"] for layer in spec["layer"] if layer["mark"]["type"] == "text"]
    return [text if isinstance(text, str) else " ".join(text) for text in found]


def said(spec: Spec) -> str:
    return " | ".join(texts(spec))


def areas(spec: Spec) -> Iterator[dict[str, Any]]:
    return (layer for layer in spec["layer"] if layer["mark"]["type"] == "area")


def rectangles(spec: Spec, colour: str) -> list[dict[str, Any]]:
    return [layer["encoding"] for layer in spec["layer"] if layer["mark"].get("color") == colour]


def test_the_title_says_what_is_seen_and_the_source_at_which_position() -> None:
    shown = said(progress_chart(an_answer(), Look(), of=OF))
    assert "At least 5,000 of 1 million drones delivered" in shown
    assert "As of 1 Jul 2024, position 77." in shown
    assert "Source: Muster ledger, position 77, /v1/targets/million-drones/progress" in shown


def test_what_is_open_has_no_upper_edge() -> None:
    spec = progress_chart(an_answer(), Look(), of=OF)
    (area,) = areas(spec)
    assert area["mark"]["color"]["gradient"] == "linear"
    assert area["mark"]["color"]["stops"][-1]["color"].endswith("00")
    top = next(layer["encoding"]["y"]["scale"]["domain"][1] for layer in spec["layer"] if "y" in layer["encoding"]
               and "scale" in layer["encoding"]["y"])  # fmt: skip
    assert {row["high"] for row in area["data"]["values"]} == {top}


def test_what_nobody_disclosed_leaves_it_open_though_the_rest_is_known() -> None:
    answer = an_answer(series=[a_point("2024-02-15", "0", "0"), a_point("2024-06-30", "5000", "5000", unknown=1)])
    spec = progress_chart(answer, Look(), of=OF)
    assert all(row["open"] for area in areas(spec) for row in area["data"]["values"])
    assert "Delivered: 5,000 + 1 undisclosed" in texts(spec)


def test_a_known_interval_is_drawn_from_low_to_high() -> None:
    answer = an_answer(series=[a_point("2024-02-15", "10", "20"), a_point("2024-06-30", "10", "30")])
    (area,) = areas(progress_chart(answer, Look(), of=OF))
    assert isinstance(area["mark"]["color"], str)
    assert [(row["low"], row["high"]) for row in area["data"]["values"]] == [(10, 20), (10, 20), (10, 30), (10, 30)]


def test_after_the_last_review_it_is_grey_and_says_so() -> None:
    look = Look(width=1000)
    beyond = look.colours.beyond
    reviewed = progress_chart(an_answer(complete_to="2024-04-01"), look, of=OF)
    assert "Not reviewed after 1 Apr 2024" in texts(reviewed)
    (rectangle,) = rectangles(reviewed, beyond)
    assert 0 < rectangle["x"]["value"] < rectangle["x2"]["value"]
    assert not rectangles(progress_chart(an_answer(), look, of=OF), beyond)


@pytest.mark.parametrize("width", [360, 1000])
def test_deadlines_past_and_present_say_who_said_them_and_how_they_ended(width: int) -> None:
    answer = an_answer(on="2025-01-31", status="unproven", said_by={"2024-06-30": "Bloomberg", "2024-12-31": "BBC"})
    answer["target"]["past_deadlines"] = [{"due_by": "2024-06-30", "status": "missed"}]
    shown = said(progress_chart(answer, Look(width=width), of=OF))
    for words in ("30 Jun 2024", "Bloomberg", "missed", "31 Dec 2024", "BBC", "unproven"):
        assert words in shown


def test_a_deadline_ahead_has_no_outcome_yet() -> None:
    assert "31 Dec 2024" in texts(progress_chart(an_answer(), Look(width=1000), of=OF))


def test_labels_of_deadlines_neither_meet_each_other_nor_foreign_lines() -> None:
    dues = [Deadline(x=x, now=False, said="31 Dec 2024, somebody", noted="") for x in (10.0, 40.0, 300.0, 320.0)]
    rows = _rows(dues, 900.0)
    assert rows == [1, 0, 1, 0]
    mirrored = [Deadline(x=900 - due.x, now=False, said=due.said, noted="") for due in reversed(dues)]
    assert _rows(mirrored, 900.0) == [-1, -2, -1, -2]
    assert _rows([*dues, *mirrored], 900.0) is None


def test_other_stages_are_lines_of_their_own_and_never_added() -> None:
    answer = an_answer(compare={"pledged": [a_point("2024-02-15", "2000", None), a_point("2024-06-30", "9000", None)]})
    spec = progress_chart(answer, Look(), of=OF)
    lines = [layer for layer in spec["layer"] if layer["mark"]["type"] == "line"]
    assert [[value["low"] for value in line["data"]["values"]] for line in lines] == [[2000, 9000], [0, 5000]]
    assert "Pledged: at least 9,000" in texts(spec)


def test_a_target_of_which_nothing_is_known_is_drawn_empty() -> None:
    spec = progress_chart(an_answer(series=[], progress=[]), Look(), of=OF)
    assert "Nothing was counted yet" in texts(spec)
    assert "Nothing recorded of 1 million drones delivered" in texts(spec)


@pytest.mark.parametrize("look", [Look(width=width) for width in (280, 360, 760, 1600)])
def test_a_chart_is_exactly_as_wide_as_asked(look: Look) -> None:
    for spec in (
        progress_chart(an_answer(), look, of=OF),
        totals_chart(a_total(a_row("pledged", "5", None)), look, of=OF),
    ):
        assert spec["padding"]["left"] + spec["width"] + spec["padding"]["right"] == look.width


def test_units_never_share_a_scale_and_stages_never_add_up() -> None:
    rows = [a_row("pledged", "100", "100"), a_row("delivered", "40", "40"), a_row("pledged", "7", "7", unit="EUR")]
    shown = totals_chart(a_total(*rows), Look(), of={"scope": "X"})
    boxes = [box["x2"]["value"] - box["x"]["value"] for box in rectangles(shown, Look().colours.promise)]
    assert boxes[1] > boxes[0] * 0.9, "7 euros fill their own block, whatever the pieces are"
    assert {"100", "40", "7"} <= set(texts(shown))


def test_rows_are_added_over_capabilities_only() -> None:
    bars = bars_of(
        [
            a_row("pledged", "5", "5"),
            a_row("pledged", "2", None, capability="drone.fpv", unknown=1),
            a_row("pledged", "9", "9", unit="EUR", finance_type="loan"),
            a_row("pledged", "4", "4", unit="EUR", finance_type="grant"),
        ]
    )
    assert [(bar.unit, bar.finance_type, bar.row["low"], bar.row["high"]) for bar in bars] == [
        ("piece", None, "7", None),
        ("EUR", "grant", "4", "4"),
        ("EUR", "loan", "9", "9"),
    ]
    assert bars[0].row["unknown"] == 1


def test_undisclosed_amounts_are_counted_in_words() -> None:
    spec = totals_chart(a_total(a_row("pledged", "0", "0", unknown=3)), Look(), of={"scope": "X"})
    assert "3 amounts that nobody disclosed" in texts(spec)


def test_totals_of_nothing_say_so() -> None:
    assert "X: nothing is recorded yet" in texts(totals_chart(a_total(), Look(), of={"scope": "X"}))


@pytest.mark.parametrize("theme", THEMES.values())
def test_every_colour_that_is_read_has_enough_contrast(theme: Any) -> None:
    for colour in (theme.ink, theme.soft, theme.promise, theme.arrived, theme.confirmed):
        assert contrast(colour, theme.ground) >= 4.5
    for colour in (theme.ink, theme.soft):
        assert contrast(colour, theme.beyond) >= 4.5


def contrast(one: str, other: str) -> float:
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def luminance(colour: str) -> float:
    parts = (int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5))
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return float(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2])


@pytest.mark.parametrize(
    ("value", "words"),
    [("1000000", "1 million"), ("2750000000", "2.75 billion"), ("1234567", "1,234,567"), ("0.5", "0.5"), ("0", "0")],
)
def test_numbers_are_shortened_but_never_rounded(value: str, words: str) -> None:
    assert number(Decimal(value)) == words


def test_lines_break_between_words_and_no_word_is_lost() -> None:
    lines = wrapped("a chart that says what is seen", 60, 12)
    assert " ".join(lines) == "a chart that says what is seen"
    assert len(lines) > 2


def test_a_badge_is_well_formed_whatever_it_says() -> None:
    root = ET.fromstring(badge(an_answer()))  # noqa: S314  # our own
    assert root.get("aria-label") == "million-drones: at least 0.5 % delivered, open"


def test_a_definition_is_json_and_fetches_nothing() -> None:
    spec = progress_chart(an_answer(), Look(), of=OF)
    assert all("url" not in layer.get("data", {}) for layer in spec["layer"])
    assert json.loads(json.dumps(spec)) == spec
