"""The flows of OCHA's Financial Tracking Service: pages of its API, and the same flattened to CSV.

What becomes of a flow stands in docs/reference/mapping.md, under "fts". In short: a flow is a pledge; its status says
which stages it has come to; where it crosses the boundary of the country that was asked for, the money is new there,
elsewhere it is passed on (`new_money: false`); of a flow that is shared with others the country's part is unknown.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Final

from muster.importing import parties
from muster.importing.commands import CannotImport, Command, Fault, Place, Row
from muster.importing.tables import Layout, Moved, Notice, Record, silent, table, text_of
from muster.importing.values import decimal_string
from services.commitments.http.forms import UNITS

Json = Any

PUBLISHER: Final = "OCHA Financial Tracking Service"
CAPABILITY: Final = "humanitarian"
NAME: Final = "fts"
YEAR: Final = "year"
"""The label that says in which years a flow is used."""

NOTHING: Final = "nothing"
COUNTS: Final = "fts_counts"
"""The label that says as what FTS counts a flow of a country: `funding`, `pledges`, or not at all."""

STAGES: Final = {"pledge": (), "commitment": ("commit",), "paid": ("commit", "pay")}
"""What a status says has been reached, beside the announcement: what is paid was committed."""

DAY: Final = len("2020-05-13")
LONGEST_LABEL: Final = 200
LONGEST_NOTE: Final = 4000


@dataclass(frozen=True, slots=True, kw_only=True)
class Organisation:
    """Who gives or receives: its name, its type as FTS writes it."""

    name: str
    kind: str = ""

    @property
    def state(self) -> str | None:
        """The state, where it is certain that the government itself is meant."""
        government = parties.GOVERNMENT.fullmatch(self.name.strip())
        if not government and "government" not in self.kind.casefold():
            return None
        return parties.state(self.name)

    @property
    def code(self) -> str:
        return self.state or parties.organisation(self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """A flow, however it was written; days are ISO days, amounts decimal."""

    place: Place
    id: str
    version: str | None
    usd: Decimal
    original: Decimal | None
    currency: str | None
    rate: str | None
    status: str
    boundary: str
    on_boundary: str
    donors: tuple[Organisation, ...]
    recipients: tuple[Organisation, ...]
    countries: tuple[str, ...]  # names or codes
    years: tuple[str, ...]
    in_kind: bool
    day: str
    decided: str | None
    reported: str
    note: str
    labels: Mapping[str, tuple[str, ...]]


def rows(paths: Iterable[Path], notice: Notice = silent, moved: Moved = silent) -> Iterator[Row | Fault]:
    """Give what each flow of some files becomes. Raises CannotImport for a file that is neither JSON nor CSV of FTS."""
    known: set[str] = set()
    for path in paths:
        for flow in flows(path, notice, moved):
            yield flow if isinstance(flow, Fault) else _row(flow, known)


def flows(path: Path, notice: Notice = silent, moved: Moved = silent) -> Iterator[Flow | Fault]:
    """Read the flows of a file."""
    if path.suffix.lower() == ".json":
        yield from _of_page(path, page(path), moved)
    else:
        yield from _of_table(path, notice, moved)


def page(path: Path) -> dict[str, Json]:
    """Read a page of the API. Raises CannotImport for what is none."""
    try:
        said = json.loads(path.read_bytes(), parse_float=Decimal)
        data: dict[str, Json] = said["data"]
        if not isinstance(data["flows"], list):
            raise TypeError  # noqa: TRY301  # one answer for whatever it is instead
    except OSError as error:
        raise CannotImport(f"{path.name} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError):
        raise CannotImport(f"{path.name} is no page of the FTS API: it has no data.flows") from None
    return data


# ------------------------------------------------------------------------------------------------ reading


def _of_page(path: Path, data: Mapping[str, Json], moved: Moved) -> Iterator[Flow | Fault]:
    size, count = path.stat().st_size, len(data["flows"])
    for number, said in enumerate(data["flows"], start=1):
        place = Place(path.name, number)  # a page is one line; what counts in it is the flow's place
        try:
            yield _from_json(place, said)
        except (KeyError, TypeError, ValueError, InvalidOperation, AttributeError) as wrong:
            about = said.get("id") if isinstance(said, dict) else None
            lacks = f"lacks {wrong}" if isinstance(wrong, KeyError) else str(wrong)
            yield Fault(place, f"flow {about or number} of the page {lacks}", about and f"PUT /v1/pledges/fts-{about}")
        moved(size * number // count - size * (number - 1) // count)


def _from_json(place: Place, said: Mapping[str, Json]) -> Flow:
    source, destination = said["sourceObjects"] or [], said["destinationObjects"] or []
    labels = {
        "plan": _names(destination, "Plan"),
        "emergency": _names(destination, "Emergency"),
        "cluster": _names(destination, "GlobalCluster"),
        "project": _names(destination, "Project"),
        "earmarking": tuple(said.get("grandBargainEarmarkingType") or ()),
        "keyword": tuple(said.get("keywords") or ()),
        "budget_year": (said.get("budgetYear"),),
        "flow_type": (said.get("flowType"),),
        "contribution": (said.get("contributionType"),),
        "method": (said.get("method"),),
        "parent_flow": (said.get("parentFlowId"),),
    }
    rate, version = said.get("exchangeRate"), said.get("versionId")
    return Flow(
        place=place,
        id=str(said["id"]),
        version=None if version is None else str(version),
        usd=Decimal(said["amountUSD"]),
        original=None if said.get("originalAmount") is None else Decimal(said["originalAmount"]),
        currency=said.get("originalCurrency"),
        rate=None if rate is None else decimal_string(Decimal(rate)),
        status=said["status"],
        boundary=said["boundary"],
        on_boundary=said["onBoundary"],
        donors=_organisations(source),
        recipients=_organisations(destination),
        countries=_names(destination, "Location"),
        years=_names(destination, "UsageYear"),
        in_kind=said.get("contributionType") == "in kind",
        day=said["date"][:DAY],
        decided=(said.get("decisionDate") or "")[:DAY] or None,
        reported=(said.get("firstReportedDate") or said["date"])[:DAY],
        note=(said.get("description") or "").strip(),
        labels={key: tuple(str(one) for one in values if one) for key, values in labels.items()},
    )


def _names(objects: Iterable[Mapping[str, Json]], kind: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(one["name"] for one in objects if one["type"] == kind))


def _organisations(objects: Iterable[Mapping[str, Json]]) -> tuple[Organisation, ...]:
    found = [one for one in objects if one["type"] == "Organization"]
    return tuple(Organisation(name=one["name"], kind=", ".join(one.get("organizationTypes") or ())) for one in found)


COLUMNS: Final = ("id", "amountUSD", "status", "boundary", "onBoundary", "date", "srcOrganization", "destLocations")


def _of_table(path: Path, notice: Notice, moved: Moved) -> Iterator[Flow | Fault]:
    found = table(path, Layout(), notice, moved)
    lacks = [name for name in COLUMNS if name not in found.columns]
    if lacks:
        raise CannotImport(f"{path.name} is no table of FTS flows: it has no column {', '.join(lacks)}")
    for record in found.rows:
        if isinstance(record, Fault):
            yield record
            continue
        try:
            yield _from_record(record)
        except (ValueError, InvalidOperation):
            about = text_of(record.cells["id"])
            yield Fault(record.place, f"flow {about}: an amount is no number", f"PUT /v1/pledges/fts-{about}")


def _from_record(record: Record) -> Flow:
    def said(column: str) -> str:
        return text_of(record.cells.get(column, ""))

    def several(column: str) -> tuple[str, ...]:
        return tuple(part.strip() for part in said(column).split(",") if part.strip())

    labels = {
        "plan": (said("destPlan"),),
        "emergency": (said("destEmergency"),),
        "cluster": several("destGlobalClusters"),
        "project": (said("destProject"),),
        "keyword": several("keywords"),
        "budget_year": (said("budgetYear"),),
        "flow_type": (said("flowType"),),
        "contribution": (said("contributionType"),),
        "method": (said("method"),),
    }
    begins, ends = said("destUsageYearStart"), said("destUsageYearEnd")
    return Flow(
        place=record.place,
        id=said("id"),
        version=None,
        usd=Decimal(said("amountUSD")),
        original=Decimal(said("originalAmount")) if said("originalAmount") else None,
        currency=said("originalCurrency") or None,
        rate=said("exchangeRate") or None,
        status=said("status"),
        boundary=said("boundary"),
        on_boundary=said("onBoundary"),
        # one organisation a cell: the commas in it are part of its name
        donors=_one(said("srcOrganization"), said("srcOrganizationTypes")),
        recipients=_one(said("destOrganization"), said("destOrganizationTypes")),
        countries=several("destLocations"),
        years=_through(begins, ends),
        in_kind=said("contributionType") == "in kind",
        day=said("date")[:DAY],
        decided=said("decisionDate")[:DAY] or None,
        reported=(said("firstReportedDate") or said("date"))[:DAY],
        note=said("description"),
        labels={key: tuple(one for one in values if one) for key, values in labels.items()},
    )


def _through(begins: str, ends: str) -> tuple[str, ...]:
    """Give the years from one to another."""
    first, last = begins or ends, ends or begins
    return tuple(str(year) for year in range(int(first), int(last) + 1)) if first else ()


def _one(name: str, kind: str) -> tuple[Organisation, ...]:
    return (Organisation(name=name, kind=kind),) if name else ()


# ------------------------------------------------------------------------------------------------ what it becomes


def counts(flow: Flow) -> str:
    """Give as what FTS counts a flow of the country that was asked for: only what enters it, and it alone."""
    if (flow.boundary, flow.on_boundary) != ("incoming", "single"):
        return NOTHING
    return {"commitment": "funding", "paid": "funding", "pledge": "pledges"}.get(flow.status, NOTHING)


def _row(flow: Flow, known: set[str]) -> Row | Fault:
    about = f"PUT /v1/pledges/fts-{parties.name_in_path(flow.id)}"
    if flow.status not in STAGES:
        return Fault(flow.place, f"flow {flow.id} has the status {flow.status!r}, not {', '.join(STAGES)}", about)
    unknown = [name for name in flow.countries if parties.state(name) is None]
    if unknown:
        return Fault(flow.place, f"flow {flow.id}: {unknown[0]!r} is no country that is known by this name", about)
    cited = [_source(flow)]
    registered = []
    for who in (*flow.donors, *flow.recipients):
        if who.state is None and who.code not in known:
            known.add(who.code)
            body = {"name": who.name[:LONGEST_LABEL], "kind": _kind(who), "sources": [_source()]}
            registered.append(Command(flow.place, f"PUT /v1/parties/{who.code}", body, on_the_way=True))
    path = about.removeprefix("PUT ")
    stages = [
        Command(flow.place, f"POST {path}/{stage}", {**_money(flow), "on": flow.day, "sources": cited})
        for stage in STAGES[flow.status]
    ]
    return Row((*registered, Command(flow.place, about, _pledge(flow, cited)), *stages))


def _pledge(flow: Flow, cited: list[Json]) -> dict[str, Json]:
    donors = tuple(dict.fromkeys(who.code for who in flow.donors)) or ("UNKNOWN",)
    countries = tuple(dict.fromkeys(parties.state(name) or name for name in flow.countries))
    body: dict[str, Json] = {
        "donors": [{"party": code} for code in donors],
        "capability": CAPABILITY,
        "announced_on": min(flow.decided or flow.day, flow.day),
        "reported_on": flow.reported,
        "labels": _labels(flow),
        "refs": [{"scheme": "fts", "id": flow.id} | ({"version": flow.version} if flow.version else {})],
        "sources": cited,
    }
    if len(countries) == 1:
        body["beneficiary"] = countries[0]
    elif countries:
        body["beneficiaries"] = [{"party": code} for code in countries]
    if len(flow.recipients) == 1:
        body["recipient"] = flow.recipients[0].code
    if flow.years:
        body["for_period"] = {"from": min(flow.years), "to": max(flow.years)}
    if flow.in_kind:
        body["finance_type"] = "in_kind"
    if flow.note:
        body["note"] = flow.note[:LONGEST_NOTE]
    if not STAGES[flow.status]:
        body |= _money(flow)
    if flow.boundary != "incoming":
        body["new_money"] = False  # it was counted when it came in
    if flow.usd < 0:
        body["relation"] = {"kind": "decrease"}
    elif flow.boundary == "incoming" and flow.on_boundary != "single" and len(countries) == 1:
        body["relation"] = {"kind": "unknown"}  # a part of it is for others, or for other years: [0, whole]
    return body


def _money(flow: Flow) -> dict[str, Json]:
    """Give what FTS publishes in dollars; beside it what the donor said in another currency."""
    money: dict[str, Json] = {"amount": {"unit": "USD", "exactly": decimal_string(abs(flow.usd))}}
    if flow.original is not None and flow.currency in UNITS and flow.currency != "USD":
        other = {"unit": flow.currency, "exactly": decimal_string(abs(flow.original)), "basis": "stated"}
        money["also"] = [other | ({"rate": flow.rate} if flow.rate else {})]
    return money


def _labels(flow: Flow) -> dict[str, list[str]]:
    names = {"recipient": tuple(who.name for who in flow.recipients)} if len(flow.recipients) > 1 else {}
    counted = {COUNTS: (counts(flow),)}
    own = {YEAR: flow.years, "status": (flow.status,), "boundary": (flow.boundary,), "on_boundary": (flow.on_boundary,)}
    found = {**flow.labels, **own, **counted, **names}
    return {
        key: list(dict.fromkeys(one.strip()[:LONGEST_LABEL] for one in values if one.strip()))
        for key, values in sorted(found.items())
        if any(one.strip() for one in values)
    }


def _kind(who: Organisation) -> str:
    return "fund" if "pooled fund" in who.kind.casefold() else "organisation"


def _source(flow: Flow | None = None) -> dict[str, str]:
    title = "Flows" if flow is None else f"Flow {flow.id}"
    said = {"publisher": PUBLISHER, "title": title, "kind": "dataset"}
    return said if flow is None else said | {"published_on": flow.reported}
