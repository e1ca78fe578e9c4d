"""Bodies of commands: what they mean, what means the same, and what is said about a wrong one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.commitments.domain.commands import Correct, Record
from services.commitments.domain.history import History
from services.commitments.domain.refusals import NotCorrectable, Unknown
from services.commitments.http.commands import (
    CITE,
    COMMANDS,
    CORRECT,
    CORRECTIONS,
    NAMED,
    NAMES,
    RETRACT,
    ROUTES,
    Asked,
    Route,
    asked,
    match,
)
from services.commitments.http.forms import REMEMBERED, AmountForm, remembering
from services.commitments.http.problems import Problem
from services.commitments.http.recording import identified
from services.commitments.http.requests import parsed, quickly, slowly
from shared.amounts import Amount
from shared.codec import CITATION, decode, encode, to_json
from shared.events import EVENT_TYPES, Amendment, Entry, stored_name
from shared.events.amendments import EntryRetracted
from shared.events.coalitions import MemberChanged, MemberJoined
from shared.events.pledges import Period, PledgeAnnounced, PledgeWithdrawn, Share
from shared.events.targets import TargetRevised
from tests.examples import a_pledge, withdrawn

SOURCES = [{"url": "https://example.org/a", "published_on": "2024-02-15"}, {"publisher": "Example", "title": "Drones"}]
PLEDGE: dict[str, Any] = {
    "donors": [{"party": "GBR"}],
    "capability": "drone.fpv",
    "amount": {"unit": "piece", "exactly": "500"},
    "announced_on": "2024-02-15",
    "sources": SOURCES,
}
EVENT_ID = "019a0f6e-7c1b-7d3a-9e55-0f4c2b8a1d10"


class Log:
    """The log, with one stream in it."""

    def __init__(self, *entries: Entry) -> None:
        self.stream = entries[0].stream if entries else ""
        self.ids = [f"{EVENT_ID[:-1]}{n}" for n in range(len(entries))]
        self.kept = [(self.ids[n], n + 1, n + 1, entry) for n, entry in enumerate(entries)]

    async def place_of(self, event_id: str) -> tuple[str, str] | None:
        return (self.stream, event_id) if event_id in self.ids else None

    async def history(self, stream: str) -> History:
        return History(stream=stream).extended(self.kept)


def ask(do: str, body: object, log: Log | None = None) -> Asked:
    found = match(*do.split(" "))
    assert found is not None
    return asyncio.run(asked(*found, body, log or Log()))


def entry(do: str, body: Mapping[str, Any]) -> Any:
    """The entry that a command would record."""
    command = ask(do, body).command
    assert isinstance(command, Record)
    return command.entry


def pledge(**other: Any) -> Any:
    return entry("PUT /v1/pledges/x", PLEDGE | other)


def wrong(do: str, body: object) -> dict[str, str]:
    """What is said about each field of a wrong body."""
    with pytest.raises(Problem) as found:
        ask(do, body)
    assert found.value.told.code in ("invalid", "invalid-parameter")
    return {error.get("pointer", error.get("parameter", "")): error["detail"] for error in found.value.told.errors}


def example(route: Route) -> dict[str, Any]:
    said: Any = route.body.model_config["json_schema_extra"]
    return cast("dict[str, Any]", said["examples"][0])


def path_of(route: Route) -> str:
    return route.path.format(**{name: spelt.example for name, spelt in NAMES.items()}, event_id=EVENT_ID)


# ---------------------------------------------------------------------------------------------------- the table


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.operation)
def test_the_example_of_every_command_becomes_its_entry(route: Route) -> None:
    said = entry(f"{route.method} {path_of(route)}", example(route))
    assert type(said) is route.entry
    assert decode(stored_name(said), ask(f"{route.method} {path_of(route)}", example(route)).normal) == said


def test_every_kind_of_entry_is_recorded_by_a_command_or_said_about_one() -> None:
    recorded = {route.entry for route in ROUTES} | {MemberChanged}
    assert {kind for kind in EVENT_TYPES.values() if not issubclass(kind, Amendment)} == recorded
    assert set(CORRECTIONS) == set(NAMED) == recorded


@pytest.mark.parametrize("route", COMMANDS, ids=lambda route: route.operation)
def test_every_path_leads_to_its_command_and_to_no_other(route: Route) -> None:
    found = match(route.method, path_of(route))
    assert found is not None
    assert found[0] is route
    assert match("GET", path_of(route)) is None
    assert match(route.method, path_of(route) + "/more") is None


@pytest.mark.parametrize("name", ["a.b", "A", "-a", "a" * 65, "", "a b", "a\n", "ä"])
def test_an_id_is_one_small_word(name: str) -> None:
    assert list(wrong(f"PUT /v1/pledges/{name}".replace(" b", "\u00a0b"), PLEDGE)) == ["pledge"]


@pytest.mark.parametrize("code", ["gbr", "G", "G.B", "_GB", "A" * 65])
def test_a_party_code_is_capital(code: str) -> None:
    assert list(wrong(f"PUT /v1/parties/{code}", {"name": "x", "kind": "fund", "sources": SOURCES})) == ["party"]


@pytest.mark.parametrize("code", ["drone..fpv", ".drone", "drone.", "Drone", "d" * 101, "dröne"])
def test_a_capability_is_a_dotted_code(code: str) -> None:
    assert list(wrong("PUT /v1/pledges/x", PLEDGE | {"capability": code})) == ["/capability"]
    assert list(wrong(f"PUT /v1/capabilities/{code}", {"name": "x", "sources": SOURCES})) == ["capability"]


# ---------------------------------------------------------------------------------------------------- amounts

PIECES = {"unit": "piece"}


@pytest.mark.parametrize(
    ("said", "low", "high", "about"),
    [
        ({"exactly": "500"}, 500, 500, False),
        ({"exactly": "0"}, 0, 0, False),
        ({"about": "5000"}, 5000, 5000, True),
        ({"at_least": "85000"}, 85000, None, False),
        ({"over": "85000"}, 85000, None, False),
        ({"at_most": "1000"}, 0, 1000, False),
        ({"almost": "500"}, 450, 500, True),
        ({"between": ["4", "6"]}, 4, 6, False),
        ({"undisclosed": True}, 0, None, False),
        ({"words": "Tens of  thousands"}, 20000, None, False),
        ({"over": "2.50", "words": "some"}, Decimal("2.5"), None, False),
    ],
)
def test_an_amount_is_read_as_it_is_said(
    said: dict[str, Any], low: int | Decimal, high: int | None, about: bool
) -> None:
    amount: Amount = pledge(amount=PIECES | said).amount
    assert (amount.low, amount.high, amount.about) == (low, high, about)
    assert amount.words == said.get("words")


@pytest.mark.parametrize(
    ("said", "pointer"),
    [
        ({"exactly": 500}, "/amount/exactly"),
        ({"exactly": 5.5}, "/amount/exactly"),
        ({"exactly": True}, "/amount/exactly"),
        ({"exactly": None}, "/amount/exactly"),
        ({"exactly": "-5"}, "/amount/exactly"),
        ({"exactly": "NaN"}, "/amount/exactly"),
        ({"exactly": "Infinity"}, "/amount/exactly"),
        ({"exactly": "1e6"}, "/amount/exactly"),
        ({"exactly": "1,000"}, "/amount/exactly"),
        ({"exactly": " 5"}, "/amount/exactly"),
        ({"exactly": "٥"}, "/amount/exactly"),
        ({"exactly": "1" * 19}, "/amount/exactly"),
        ({"between": ["4"]}, "/amount/between/1"),
        ({"between": ["4", "5", "6"]}, "/amount/between"),
        ({"between": ["4", 6]}, "/amount/between/1"),
        ({"between": ["6", "4"]}, "/amount"),
        ({"exactly": "5", "about": "5"}, "/amount"),
        ({"exactly": "5", "undisclosed": True}, "/amount"),
        ({"undisclosed": False}, "/amount/undisclosed"),
        ({"words": "plenty"}, "/amount"),
        ({}, "/amount"),
        ({"exactly": "5", "low": "5"}, "/amount/low"),
        ({"exactly": "5", "unit": "drones"}, "/amount/unit"),
        ({"exactly": "5", "unit": "DEM"}, "/amount/unit"),
        ({"exactly": "5", "unit": "XXX"}, "/amount/unit"),
        ({"exactly": "5", "unit": "member"}, "/amount/unit"),
    ],
)
def test_an_amount_that_says_nothing_clear_is_refused_where_it_stands(said: dict[str, Any], pointer: str) -> None:
    assert list(wrong("PUT /v1/pledges/x", PLEDGE | {"amount": PIECES | said})) == [pointer]


def test_another_measure_never_repeats_the_amounts_own() -> None:
    also = [{"unit": "GBP", "exactly": "45000000"}, {"unit": "piece", "capability": "drone", "about": "9"}]
    assert [other.amount.unit for other in pledge(also=also).also] == ["GBP", "piece"]
    assert list(wrong("PUT /v1/pledges/x", PLEDGE | {"also": [also[0], also[0]]})) == ["/also"]
    assert list(wrong("PUT /v1/pledges/x", PLEDGE | {"also": [{"unit": "piece", "exactly": "1"}]})) == [""]


# ---------------------------------------------------------------------------------------------------- meaning

SHUFFLED = st.permutations(list((PLEDGE | {"labels": {"b": ["2"], "a": ["1"]}, "note": "n"}).items()))


@given(fields=SHUFFLED, zeros=st.integers(1, 5))
def test_what_means_the_same_is_the_same_command(fields: list[tuple[str, Any]], zeros: int) -> None:
    first = ask("PUT /v1/pledges/x", PLEDGE | {"labels": {"a": ["1"], "b": ["2"]}, "note": "n"})
    body = dict(fields) | {"amount": {"exactly": f"500.{'0' * zeros}", "unit": "piece"}, "also": [], "coalition": None}
    again = ask("PUT /v1/pledges/x", body)
    assert identified("PUT", "/v1/pledges/x", again) == identified("PUT", "/v1/pledges/x", first)


def test_what_means_something_else_is_another_command() -> None:
    ids = {
        identified("PUT", path, ask("PUT /v1/pledges/x", PLEDGE | other)).command_id
        for path, other in (
            ("/v1/pledges/x", {}),
            ("/v1/pledges/y", {}),
            ("/v1/pledges/x", {"sources": SOURCES[::-1]}),
            ("/v1/pledges/x", {"amount": {"unit": "piece", "about": "500"}}),
            ("/v1/pledges/x", {"announced_on": "2024-02"}),
            ("/v1/pledges/x", {"labels": {"a": ["2", "1"]}}),
            ("/v1/pledges/x", {"labels": {"a": ["1", "2"]}}),
        )
    }
    assert len(ids) == 7


def test_a_lone_beneficiary_is_a_list_of_one_and_errors_point_at_what_was_sent() -> None:
    said = ask("PUT /v1/pledges/x", PLEDGE | {"beneficiary": "UKR"})
    assert isinstance(said.command, Record)
    assert cast("PledgeAnnounced", said.command.entry).beneficiaries == (Share(party="UKR"),)
    assert said.pointer("/beneficiaries/0/party") == "/beneficiary"
    several = ask("PUT /v1/pledges/x", PLEDGE | {"beneficiaries": [{"party": "UKR"}]})
    assert several.pointer("/beneficiaries/0/party") == "/beneficiaries/0/party"
    assert list(
        wrong("PUT /v1/pledges/x", PLEDGE | {"beneficiary": "UKR"} | {"beneficiaries": [{"party": "UKR"}]})
    ) == [""]


def test_a_period_is_said_from_and_to() -> None:
    assert pledge(for_period={"from": "2024-07", "to": "2025"}).for_period == Period(start="2024-07", end="2025")  # type: ignore[arg-type]  # texts as they are sent
    assert list(wrong("PUT /v1/pledges/x", PLEDGE | {"for_period": {"from": "2025", "to": "2024-12"}})) == [
        "/for_period"
    ]


@pytest.mark.parametrize(
    "day", ["2023-02-29", "2024-13", "24", "15.02.2024", "2024-02-15T00:00", "", 2024, None, "２０２４"]
)
def test_a_day_is_one_of_the_calendar(day: object) -> None:
    assert list(wrong("PUT /v1/pledges/x", PLEDGE | {"announced_on": day})) == ["/announced_on"]


def test_a_deadline_of_null_is_dropped_and_one_that_is_not_there_stays() -> None:
    revision = {"on": "2024-12-01", "reason": "r", "sources": SOURCES}
    dropped: TargetRevised = entry("POST /v1/targets/x/revise", revision | {"due_by": None})
    assert (dropped.without_deadline, dropped.due_by) == (True, None)
    kept: TargetRevised = entry("POST /v1/targets/x/revise", revision | {"capability": "drone"})
    assert not kept.without_deadline
    assert list(wrong("POST /v1/targets/x/revise", revision)) == [""]
    assert list(wrong("POST /v1/pledges/x/revise", revision)) == [""]


def test_a_target_is_somebodys_and_there_is_something_to_reach() -> None:
    amount = {"unit": "piece", "exactly": "5"}
    target = {"capability": "drone", "amount": amount, "counts": "delivered", "set_on": "2024", "sources": SOURCES}
    assert list(wrong("PUT /v1/targets/x", target)) == [""]
    assert list(wrong("PUT /v1/targets/x", target | {"coalition": "c", "party": "UKR"})) == [""]
    for nothing in ({"exactly": "0"}, {"at_most": "5"}, {"undisclosed": True}):
        body = target | {"party": "UKR", "amount": PIECES | nothing}
        assert list(wrong("PUT /v1/targets/x", body)) == ["/amount"]


@pytest.mark.parametrize(
    ("measure", "unit", "counted"),
    [("amount", "EUR", True), ("amount", "piece", True), ("members", "member", True), ("percent", "percent", True),
     ("amount", "member", False), ("members", "piece", False), ("percent", "EUR", False)],
)  # fmt: skip
def test_a_statement_is_counted_in_the_unit_of_its_measure(measure: str, unit: str, counted: bool) -> None:
    body = {
        "stated_by": "LVA",
        "about": {"coalition": "drones"},
        "measure": measure,
        "amount": {"unit": unit, "exactly": "20"},
        "stage": "unspecified",
        "stated_on": "2025-01-15",
        "sources": SOURCES,
    }
    if counted:
        assert entry("PUT /v1/statements/x", body).stage is None
    else:
        assert list(wrong("PUT /v1/statements/x", body)) == [""]
    for about in ({}, {"donor": "GBR", "beneficiary": "UKR"}):
        assert list(wrong("PUT /v1/statements/x", body | {"about": about})) in (["/about"], ["/about", ""])


# ---------------------------------------------------------------------------------------------------- sources, texts


@pytest.mark.parametrize(
    "url",
    ["javascript:alert(1)", "ftp://example.org", "https://", "//example.org", "example.org", "http://a b", "http:/a",
     "https://user:secret@example.org", "https://example.org/\n", "data:text/html,x", "https://example.org:port/"],
)  # fmt: skip
def test_a_url_leads_to_a_page_of_a_host(url: str) -> None:
    assert list(wrong("PUT /v1/pledges/x", PLEDGE | {"sources": [{"url": url}]})) == ["/sources/0/url"]


@pytest.mark.parametrize("url", ["https://example.org", "HTTP://EXAMPLE.ORG:8080/a?b=c#d", "https://bücher.example/ä"])
def test_a_url_may_have_all_that_urls_have(url: str) -> None:
    assert pledge(sources=[{"url": url}]).sources[0].url == url


@pytest.mark.parametrize("sources", [[], None, "https://example.org", [{"publisher": "x"}], [{"title": "x"}], [{}]])
def test_a_fact_has_a_source(sources: object) -> None:
    assert next(iter(wrong("PUT /v1/pledges/x", PLEDGE | {"sources": sources}))).startswith("/sources")


@pytest.mark.parametrize("text", ["", " \n", 5, "x" * 4001])
def test_a_text_says_something_and_ends(text: object) -> None:
    assert list(wrong("PUT /v1/pledges/x", PLEDGE | {"note": text})) == ["/note"]


def test_the_same_party_is_not_named_twice() -> None:
    twice = [{"party": "DNK"}, {"party": "DNK"}]
    assert list(wrong("PUT /v1/pledges/x", PLEDGE | {"donors": twice})) == ["/donors"]
    members = {"members": [{"party": "DNK", "role": "lead"}, {"party": "DNK", "role": "member"}]}
    coalition = {"name": "D", "formed_on": "2024", "sources": SOURCES} | members
    assert list(wrong("PUT /v1/coalitions/x", coalition)) == ["/members"]


def test_every_wrong_field_is_told_at_once() -> None:
    found = wrong("PUT /v1/pledges/x", {"donors": [{"party": "gbr"}], "colour": "red", "capability": 5})
    assert set(found) == {"/donors/0/party", "/colour", "/capability", "/announced_on", "/sources"}
    assert "capital letters" in found["/donors/0/party"]
    assert found["/colour"] == "is no field of this body"


# ---------------------------------------------------------------------------------------------------- amendments


def test_a_correction_is_the_whole_body_anew_and_keeps_the_sources_it_does_not_say() -> None:
    log = Log(a_pledge())
    body = {key: value for key, value in PLEDGE.items() if key != "sources"} | {"reason": "misread"}
    command = ask(f"POST /v1/events/{log.ids[0]}/correct", body, log).command
    assert isinstance(command, Correct)
    now = command.now
    assert isinstance(now, PledgeAnnounced)
    assert (now.pledge, now.capability, now.sources, command.reason) == (
        "x",
        "drone.fpv",
        a_pledge().sources,
        "misread",
    )
    assert command.sources == ()


def test_a_correction_keeps_the_facts_own_reason_unless_it_gives_another() -> None:
    log = Log(a_pledge(), withdrawn(on="2024-05-01"))
    body = {"on": "2024-05-02", "reason": "a day later"}
    do = f"POST /v1/events/{log.ids[1]}/correct"
    command = ask(do, body, log).command
    assert isinstance(command, Correct)
    assert (cast("PledgeWithdrawn", command.now).reason, command.reason) == ("taken back", "a day later")
    other = ask(do, body | {"entry_reason": "no money"}, log).command
    assert isinstance(other, Correct)
    assert cast("PledgeWithdrawn", other.now).reason == "no money"


def test_a_change_of_role_is_corrected_as_it_was_sent() -> None:
    joined = MemberJoined(coalition="drones", party="DNK", on="2024", role="member")  # type: ignore[arg-type]  # a text as it is sent
    changed = MemberChanged(coalition="drones", party="DNK", on="2025", role="lead")  # type: ignore[arg-type]  # likewise
    log = Log(joined, changed)
    body = {"role": "observer", "on": "2025", "reason": "misread"}
    command = ask(f"POST /v1/events/{log.ids[1]}/correct", body, log).command
    assert isinstance(command, Correct)
    assert isinstance(command.now, MemberChanged)
    assert (command.now.party, command.now.role) == ("DNK", "observer")


def test_a_correction_says_why() -> None:
    log = Log(a_pledge())
    with pytest.raises(Problem) as found:
        ask(f"POST /v1/events/{log.ids[0]}/correct", PLEDGE, log)
    assert [error["pointer"] for error in found.value.told.errors] == ["/reason"]


@pytest.mark.parametrize("route", [CORRECT, RETRACT, CITE], ids=lambda route: route.operation)
def test_what_is_not_there_is_not_amended(route: Route) -> None:
    with pytest.raises(Unknown):
        ask(f"POST {path_of(route)}", {"reason": "r"} if route is not CITE else {"sources": SOURCES})


def test_an_amendment_is_not_corrected() -> None:
    retracted = EntryRetracted(
        thing="pledge-x",
        entry=f"{EVENT_ID[:-1]}0",
        entry_position=1,
        entry_type="muster.pledge.announced.v1",
        reason="never made",
    )
    log = Log(a_pledge(), retracted)
    with pytest.raises(NotCorrectable):
        ask(f"POST /v1/events/{log.ids[1]}/correct", PLEDGE | {"reason": "r"}, log)


# ---------------------------------------------------------------------------------------------------- JSON


@pytest.mark.parametrize(
    "text",
    [b"", b" ", b"{", b"[1,]", b"{'a': 1}", b"NaN", b"[Infinity]", b"-Infinity", b'{"a":1,"a":1}', b"\xff", b'"\xc3"',
     b"\xef\xbb\xbf{}", b"[" * 100_000, b"1" * 5_000, b'"\x01"', '{"a": 1}'.encode("utf-16"),
     b'[{"a": {"b": "c", "b": "d"}}]', b'{"a": "b", "a": "b"}', b'{"a": [], "b": [1], "a": []}'],
)  # fmt: skip
def test_what_is_not_strictly_json_is_refused(text: bytes) -> None:
    with pytest.raises(Problem) as found:
        parsed(text)
    assert (found.value.told.status, found.value.told.code) == (400, "not-json")
    json.dumps(found.value.told.json()).encode()


@pytest.mark.parametrize(
    ("text", "pointer"),
    [(rb'{"a": ["x", "\u0000"]}', "/a/1"), (rb'{"a/b": {"~": "\ud800"}}', "/a~1b/~0"), (rb'{"\u0000": 1}', "")],
)
def test_what_a_log_cannot_hold_is_refused_where_it_stands(text: bytes, pointer: str) -> None:
    with pytest.raises(Problem) as found:
        parsed(text)
    assert [error["pointer"] for error in found.value.told.errors] == [pointer]


@given(
    value=st.recursive(
        st.none() | st.booleans() | st.text(alphabet=st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
        lambda inner: st.lists(inner) | st.dictionaries(st.text("abc"), inner),
    )
)
def test_json_is_read_as_it_is_written(value: object) -> None:
    assert parsed(json.dumps(value).encode()) == value
    assert parsed(json.dumps(value, ensure_ascii=False).encode()) == value


def written(value: object) -> str:
    """JSON of lists, pairs (an object, in which a name may stand twice), and what is written already."""
    match value:
        case list():
            return f"[{', '.join(map(written, value))}]"
        case dict():
            pairs = ",".join(f'"{name}" :{written(item)}' for name, item in value["pairs"])
            return f"{{{pairs}}}"
        case _:
            return str(value)


@given(
    st.recursive(
        st.sampled_from(
            ['""', '"a"', '"é:\u007f"', '"\\\\"', '"\\""', '"', "1", "-0", "1.50", "1e999", "9" * 30, "null", "tru"]
        ),
        lambda inner: (
            st.lists(inner) | st.fixed_dictionaries({"pairs": st.lists(st.tuples(st.sampled_from("abc"), inner))})
        ),
    ).map(written)
)
def test_what_is_read_quickly_is_what_is_read_with_care(text: str) -> None:
    found = quickly(text.encode())
    assert found is msgspec.UNSET or found == slowly(text.encode())


# ------------------------------------------------------------------------------------------------ parts seen before

PARTS: tuple[Any, ...] = (
    {"unit": "piece", "exactly": "500"},
    {"unit": "piece", "exactly": "500.0"},
    {"exactly": "500", "unit": "piece"},
    {"unit": "piece", "exactly": 500},
    {"unit": "piece", "undisclosed": True},
    {"unit": "piece", "undisclosed": 1},
    {"unit": "piece", "undisclosed": "1"},
    {"unit": "piece", "words": "thousands"},
    {"unit": "piece", "words": "some"},
    {"unit": "piece", "between": ["4", "6"]},
    {"unit": "piece"},
    {},
    [],
    None,
)


def said_of(amount: object) -> object:
    """What becomes of a pledge with this amount: its entry, or what is wrong."""
    try:
        return pledge(amount=amount)
    except Problem as problem:
        return problem.told


@given(st.lists(st.sampled_from(PARTS)))
def test_what_was_checked_before_changes_nothing(parts: list[object]) -> None:
    alone = []
    for part in parts:
        remembering(AmountForm).known.clear()
        alone.append(said_of(part))
    remembering(AmountForm).known.clear()
    assert [said_of(part) for part in parts] == alone


def test_true_is_not_one_though_it_was_checked_before() -> None:
    said_of({"unit": "piece", "undisclosed": True})
    assert wrong("PUT /v1/pledges/x", PLEDGE | {"amount": {"unit": "piece", "undisclosed": 1}})


def test_only_so_many_parts_are_remembered() -> None:
    known = remembering(AmountForm).known
    for number in range(REMEMBERED + 2):
        pledge(amount={"unit": "piece", "exactly": str(number)})
    assert 0 < len(known) <= REMEMBERED


# ------------------------------------------------------------------------------------------------------- as stored


def without_nothing(value: Any) -> Any:
    """JSON without what says nothing: nulls (but an open high's) and what is empty."""
    if isinstance(value, dict):
        return {
            name: without_nothing(item)
            for name, item in value.items()
            if name == "high" or not (item is None or item in ({}, [], ()))
        }
    return [without_nothing(item) for item in value] if isinstance(value, list | tuple) else value


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_an_entry_is_stored_as_its_fields_without_what_says_nothing(route: Route) -> None:
    said = entry(f"{route.method} {path_of(route)}", example(route))
    stored = json.loads(encode(said))
    assert stored == without_nothing(msgspec.to_builtins(said))
    citation = [name for name in CITATION if name in stored]
    assert list(stored) == [name for name in stored if name not in citation] + citation


def test_zero_false_and_an_open_high_are_said_and_what_is_empty_is_not() -> None:
    said = pledge(amount={"unit": "piece", "at_least": "0"}, new_money=False, labels={"high": ["a"], "b": ["c"]})
    stored = json.loads(encode(said))
    assert stored["amount"] == {"unit": "piece", "qualifier": "at_least", "low": "0", "high": None}
    assert stored["new_money"] is False
    assert stored["labels"] == {"b": ["c"], "high": ["a"]}
    assert not {"also", "beneficiaries", "note", "relation"} & set(stored)


def test_a_value_of_one_field_is_written_as_an_object() -> None:
    @dataclass(frozen=True)
    class Lone:
        day: date

    assert to_json(Lone(date(2024, 2, 15))) == {"day": "2024-02-15"}
