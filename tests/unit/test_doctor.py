"""What the doctor says of a log, its stream and the read models."""

from __future__ import annotations

import pytest

from muster.doctor import Copy, Log, Model, compare

LOG = Log(head=5, epoch="e1", ids={3: "id-3", 5: "id-5"})
COPY = Copy(first=1, last=5, last_id="id-5")
MODEL = Model(name="pledges", version=1, position=5, event_id="id-5", reason=None)


def test_all_is_well_when_the_three_agree() -> None:
    assert all(finding.well for finding in compare(LOG, COPY, (MODEL,)))


@pytest.mark.parametrize(
    "copy",
    [
        Copy(first=1, last=7, last_id="id-7"),
        Copy(first=1, last=5, last_id="another"),
        Copy(first=1, last=3, last_id="x"),
    ],
)
def test_a_stream_of_another_log_is_to_be_published_again(copy: Copy) -> None:
    finding = compare(LOG, copy, ())[0]
    assert (finding.well, finding.repair) == (False, "stream")


def test_a_stream_that_lags_behind_is_well() -> None:
    assert compare(LOG, Copy(first=1, last=3, last_id="id-3"), ())[0].well


def test_a_missing_stream_is_well_only_while_nothing_is_recorded() -> None:
    assert not compare(LOG, None, ())[0].well
    assert compare(Log(head=0, epoch="e1"), None, ())[0].well


@pytest.mark.parametrize(
    "model",
    [
        Model(name="pledges", version=1, position=9, event_id="id-9", reason=None),
        Model(name="pledges", version=1, position=5, event_id="another", reason=None),
    ],
)
def test_a_read_model_that_applied_what_the_log_lost_is_to_be_built_anew(model: Model) -> None:
    finding = compare(LOG, COPY, (model,))[1]
    assert (finding.well, finding.repair, finding.read_models) == (False, "read_models", (("pledges", 1),))


def test_a_stopped_read_model_says_how_it_goes_on() -> None:
    stopped = Model(name="pledges", version=1, position=3, event_id="id-3", reason="position 4: KeyError")
    finding = compare(LOG, COPY, (stopped,))[1]
    assert not finding.well
    assert "muster skip pledges 4" in finding.advice
