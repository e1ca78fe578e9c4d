"""As of when: how moments and explanations are written and read again."""

from __future__ import annotations

from datetime import UTC, date, datetime
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as some

from services.projections.http.asof import AsOf, AsOfQuery, Reported, matches, moment
from services.projections.http.counted import Asked, at_most_of
from services.projections.http.cursors import write_cursor
from services.projections.http.postings import PostingsQuery, question
from services.projections.read_models.coalition_totals import Cursor, Filter
from shared.measures import STAGES
from tests.examples import pieces
from tests.integration.random_ledgers import CAPABILITIES

ASOF = AsOf(
    position=7,
    on=date(2024, 6, 1),
    since=None,
    today=date(2024, 6, 2),
    past=False,
    applied=7,
    head=7,
    lag_s=0,
    epoch="e",
    ledger="ledger",
)


def test_a_moment_is_a_position_an_instant_or_what_was_reported() -> None:
    assert moment("120") == 120
    assert moment("reported:2024-02") == Reported(date(2024, 2, 29))
    noon = datetime(2024, 6, 1, 12, tzinfo=UTC)
    assert moment("2024-06-01T12:00:00Z") == moment("2024-06-01T14:00:00+02:00") == noon
    assert moment("2024-06-01T14:00:00 02:00") == noon  # a plus sign that an address turned into a space


@pytest.mark.parametrize("said", ["", "-1", "1.5", "2024-06-01", "2024-06-01T12:00:00", "reported:", "now", "٣"])
def test_what_is_no_moment_is_refused(said: str) -> None:
    with pytest.raises(ValueError, match=r"is a position|is not a day"):
        moment(said)


parties = some.sampled_from(["GBR", "DNK", "NLD", "DCF_1"])
groups = some.one_of(some.none(), some.lists(parties, unique=True, max_size=3).map(tuple))
questions = some.builds(
    Asked,
    at_most=some.booleans(),
    where=some.builds(
        Filter,
        coalition=some.sampled_from([None, "", "drones"]),
        donor=some.one_of(some.none(), parties),
        donors=groups,
        beneficiary=some.one_of(some.none(), parties),
        beneficiaries=groups,
        capability=some.sampled_from(CAPABILITIES),
        exactly=some.booleans(),
        unit=some.sampled_from([None, "piece", "EUR"]),
        stage=some.sampled_from([None, *STAGES]),
        finance_type=some.sampled_from([None, "", "loan"]),
        account=some.sampled_from([None, "pledge-x", "production-UKR"]),
    ),
)


@given(asked=questions)
def test_a_link_to_an_explanation_asks_exactly_the_question_it_was_made_of(asked: Asked) -> None:
    query = urlsplit(asked.link(ASOF.between(date(2024, 2, 1), date(2024, 5, 1)))).query
    read = PostingsQuery.model_validate({name: values[0] for name, values in parse_qs(query).items()})
    assert question(read) == asked
    assert (read.on, read.since, read.known) == ("2024-05-01", "2024-02-01", "7")


@given(
    position=some.integers(0, 2**63 - 1),
    row=some.integers(0, 2**31 - 1),
    day=some.dates(),
    account=some.sampled_from(["pledge-x", "production-UKR"]),
)
def test_a_cursor_is_read_as_it_was_written(position: int, row: int, day: date, account: str) -> None:
    query = PostingsQuery.model_validate({"cursor": write_cursor(*ASOF.place, position, row, day, account)})
    assert query.after == Cursor(position, row, day, account)
    assert (query.known, query.on, query.since) == ("7", "2024-06-01", None), "of the state that it was written in"


def test_an_answer_that_the_caller_has_is_recognised() -> None:
    assert matches('"a"', '"a"')
    assert matches('"b", W/"a"', '"a"')
    assert matches("*", '"a"')
    assert not matches('"b"', '"a"')
    assert not matches(None, '"a"')


def test_what_may_be_a_part_counts_from_nothing() -> None:
    assert at_most_of(pieces(400).vector).low == 0
    assert at_most_of(pieces(400).vector).bound == 400


def test_parameters_that_are_not_there_are_refused() -> None:
    with pytest.raises(ValueError, match="extra"):
        AsOfQuery.model_validate({"colour": "red"})
