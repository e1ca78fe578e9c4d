"""What numbers, days, amounts and names of parties mean."""

from __future__ import annotations

from decimal import Decimal

import pytest

from muster.importing.parties import CODE, organisation, state
from muster.importing.seen import Seen, hashed
from muster.importing.values import Spelling, amount, day, decimal_string, number

ENGLISH = Spelling()
GERMAN = Spelling(decimal=",", thousands=".", dates=("%d.%m.%Y", "%m/%Y"))


@pytest.mark.parametrize(
    ("said", "spelling", "means"),
    [
        ("1,000,000.50", ENGLISH, "1000000.5"),
        ("1.000.000,50", GERMAN, "1000000.5"),
        ("1 000 000", ENGLISH, "1000000"),
        ("1'000", ENGLISH, "1000"),
        ("1e6", ENGLISH, "1000000"),
        ("1.5E+06", ENGLISH, "1500000"),
        ("2.5 million", ENGLISH, "2500000"),
        ("1,2 Mrd.", GERMAN, "1200000000"),
        (".5", ENGLISH, "0.5"),
        ("0", ENGLISH, "0"),
    ],
)
def test_a_number_is_read_as_the_file_writes_it(said: str, spelling: Spelling, means: str) -> None:
    assert decimal_string(number(said, spelling)) == means


@pytest.mark.parametrize("said", ["", "1,5", "1,00,000", "1.2.3", "12 apples", "abc", "--5", "1e", "५.५.५"])
def test_what_could_be_another_number_is_none(said: str) -> None:
    with pytest.raises(ValueError, match="is no number"):
        number(said, ENGLISH)


@pytest.mark.parametrize(
    ("said", "means"),
    [
        ("500", {"exactly": "500"}),
        ("€ 500", {"exactly": "500"}),
        ("500 EUR", {"exactly": "500"}),
        ("about 5,000", {"about": "5000", "words": "about 5,000"}),
        ("> 85,000", {"over": "85000", "words": "> 85,000"}),
        ("up to 1,000", {"at_most": "1000", "words": "up to 1,000"}),
        ("4 to 6 million", {"between": ["4000000", "6000000"], "words": "4 to 6 million"}),
        ("4-6", {"between": ["4", "6"], "words": "4-6"}),
        ("Thousands", {"words": "thousands"}),
        ("Undisclosed", {"undisclosed": True, "words": "Undisclosed"}),
    ],
)
def test_an_amount_keeps_how_sure_it_is_and_the_words(said: str, means: dict[str, object]) -> None:
    assert amount(said, "EUR", ENGLISH) == ({"unit": "EUR", **means}, False)


@pytest.mark.parametrize("said", ["$5", "about -5", "about", "5 to", "five"])
def test_what_is_no_amount_is_told(said: str) -> None:
    with pytest.raises(ValueError, match=r"is no number|never negative"):
        amount(said, "EUR", ENGLISH)


@pytest.mark.parametrize(
    ("said", "means"),
    [
        ("15.02.2024", "2024-02-15"),
        ("02/2024", "2024-02"),
        ("2024", "2024"),
        ("2024-02", "2024-02"),
        ("2020-05-13T00:00:00Z", "2020-05-13"),
    ],
)
def test_a_day_a_month_and_a_year_stay_what_they_are(said: str, means: str) -> None:
    assert day(said, GERMAN) == means


@pytest.mark.parametrize("said", ["15/02/2024", "2024-02-30", "24", "45337", "2024-13"])
def test_what_could_be_another_day_is_none(said: str) -> None:
    with pytest.raises(ValueError, match="is no day"):
        day(said, GERMAN)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("Korea, Republic of, Government of", "KOR"),
        ("Saudi Arabia (Kingdom of), Government of", "SAU"),
        ("occupied Palestinian territory", "PSE"),
        ("Türkiye", "TUR"),
        ("Turkey", "TUR"),
        ("Côte d'Ivoire", "CIV"),
        ("the United States of America", "USA"),
        ("Government of the United Kingdom", "GBR"),
        ("GBR", "GBR"),
        ("GB", "GBR"),
        ("It", None),
        ("King Salman Humanitarian Aid and Relief Center", None),
        ("World Food Programme", None),
    ],
)
def test_a_state_is_known_by_its_usual_names_and_nothing_else_is_one(name: str, code: str | None) -> None:
    assert state(name) == code


def test_organisations_have_codes_of_their_own() -> None:
    said = [
        "Save the Children",
        "Save the Children Fund",
        "ABW",
        "Ärzte ohne Grenzen",
        "Врачи",
        "Лекарі",
        "W" * 200,
        "X",
    ]
    codes = [organisation(name) for name in said]
    assert len(set(codes)) == len(codes)
    assert all(CODE.fullmatch(code) for code in codes)
    assert codes[0] == "SAVE-THE-CHILDREN"
    assert state(codes[2]) is None


def test_what_was_seen_is_found_again_among_very_many() -> None:
    seen = Seen()
    for n in range(20_000):
        seen.put(hashed(str(n).encode()), n, n + 1)
    assert len(seen) == 20_000
    assert all(seen.find(hashed(str(n).encode())) == (n, n + 1) for n in range(20_000))
    assert seen.find(hashed(b"other")) is None
    seen.put(hashed(b"7"), 1, 2)
    assert (seen.find(hashed(b"7")), len(seen)) == ((1, 2), 20_000)


def test_a_number_of_the_ledger_is_written_in_one_way() -> None:
    assert [decimal_string(Decimal(said)) for said in ("500", "500.0", "5E+2", "0.50")] == ["500", "500", "500", "0.5"]
