"""Bodies about entries of the ledger: retract, correct, cite."""

from __future__ import annotations

from typing import Any, cast

from pydantic import ConfigDict, create_model

from services.commitments.http.forms import Body, Fact, MoreSources, Text
from services.commitments.http.samples import SOURCES


class RetractionBody(Body):
    """It never happened: why it is known not to have."""

    model_config = ConfigDict(title="Retraction", json_schema_extra={"examples": [{"reason": "recorded twice"}]})

    reason: Text
    sources: MoreSources = ()


class CitationBody(Fact):
    """The same was said elsewhere too."""

    model_config = ConfigDict(title="Citation", json_schema_extra={"examples": [{"sources": SOURCES}]})


def correction_of(body: type[Body]) -> type[Body]:
    """Give the body of a correction: the other one anew, with a reason; without sources the old ones stay.

    `reason` says why the entry was wrong. Where a fact has a reason of its own (a withdrawal), that one stays as it was
    recorded, unless `entry_reason` gives another.
    """
    extra = dict(cast("dict[str, Any]", body.model_config["json_schema_extra"]))
    extra["examples"] = [extra["examples"][0] | {"reason": "the first report had another number"}]
    fields: dict[str, Any] = {"reason": (Text, ...), "sources": (MoreSources, ())}
    if "reason" in body.model_fields:
        fields["entry_reason"] = (Text | None, None)
    made = create_model(
        f"{body.__name__.removesuffix('Body')}Correction",
        __base__=body,
        __doc__=f"{(body.__doc__ or '').strip()} Corrected: the whole body anew, with the reason.",
        **fields,
    )
    title = f"{body.model_config['title']}Correction"
    made.model_config = made.model_config | ConfigDict(title=title, json_schema_extra=extra)
    made.model_rebuild(force=True)
    return made
