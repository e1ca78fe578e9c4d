"""The write side without its process: the API over a log, and the things that a test has to say to it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
import uvicorn
from fastapi import FastAPI

from services.commitments.handling import Ledger
from services.commitments.http.app import create_app
from services.commitments.http.endpoint import Service
from services.commitments.log.contract import Log
from services.commitments.settings import Settings

NAME = "t_ledger"
SOURCES = [{"url": "https://example.org/news", "published_on": "2024-02-15"}]
PROBLEM = "application/problem+json"

Json = Any


@dataclass(frozen=True, slots=True)
class WriteSide:
    """A ledger, and a client of the API over it."""

    client: httpx2.AsyncClient
    ledger: Ledger

    async def put(self, path: str, body: Mapping[str, Any], status: int = 201, **headers: str) -> httpx2.Response:
        return await self.send("PUT", path, body, status, **headers)

    async def post(self, path: str, body: Mapping[str, Any], status: int = 201, **headers: str) -> httpx2.Response:
        return await self.send("POST", path, body, status, **headers)

    async def send(
        self, method: str, path: str, body: Mapping[str, Any], status: int, **headers: str
    ) -> httpx2.Response:
        """Send a command; headers are written with _ for -."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = await self.client.request(method, path, json=body, headers=named)
        assert answer.status_code == status, (method, path, answer.status_code, answer.text)
        return answer

    async def get(self, path: str, status: int = 200, **headers: str) -> httpx2.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = await self.client.get(path, headers=named)
        assert answer.status_code == status, (path, answer.status_code, answer.text)
        return answer

    async def head(self) -> int:
        return await self.ledger.head()


def api(ledger: Ledger) -> FastAPI:
    """The API over a ledger that is there already."""
    app = create_app(Settings.model_validate({"database_url": "postgresql://nowhere", "ledger": NAME}))
    app.state.service = Service(ledger, NAME)
    return app


@asynccontextmanager
async def write_side(log: Log) -> AsyncIterator[WriteSide]:
    """The API over a log, while the block runs; a failure inside of it is answered, not raised here."""
    ledger = Ledger(log)
    transport = httpx2.ASGITransport(app=api(ledger), raise_app_exceptions=False)
    try:
        async with httpx2.AsyncClient(transport=transport, base_url="http://ledger") as client:
            yield WriteSide(client, ledger)
    finally:
        await ledger.close()
        await log.close()


@asynccontextmanager
async def served(log: Log) -> AsyncIterator[WriteSide]:
    """The same over TCP, as the service serves it: for answers that do not end."""
    ledger = Ledger(log)
    server = uvicorn.Server(uvicorn.Config(api(ledger), port=0, lifespan="off", log_level="warning"))
    serving = asyncio.create_task(server.serve())
    try:
        while not server.started:  # uvicorn has no event for it
            await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        limits = httpx2.Limits(max_connections=None)
        async with httpx2.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=10, limits=limits
        ) as client:
            yield WriteSide(client, ledger)
    finally:
        server.should_exit = True
        server.force_exit = True
        await serving
        await ledger.close()
        await log.close()


def problem(answer: httpx2.Response) -> Json:
    """The problem document of an answer, after a look at its form."""
    assert answer.headers["content-type"] == PROBLEM, answer.text
    told = answer.json()
    assert {"type", "title", "status", "detail", "code"} <= set(told)
    assert told["status"] == answer.status_code
    assert told["type"] == f"/problems/{told['code']}"
    return told


def lines(*commands: tuple[str, Mapping[str, Any]]) -> bytes:
    """Commands as an import takes them."""
    return b"".join(json.dumps({"do": do, "body": body}).encode() + b"\n" for do, body in commands)


def a_coalition(**other: Any) -> dict[str, Any]:
    return {"name": "Drones", "formed_on": "2024-02-14", "sources": SOURCES} | other


def a_pledge(**other: Any) -> dict[str, Any]:
    amount = {"unit": "piece", "exactly": "500"}
    facts = {"donors": [{"party": "GBR"}], "capability": "drone", "amount": amount, "announced_on": "2024-02-15"}
    return facts | {"sources": SOURCES} | other


def a_delivery(**other: Any) -> dict[str, Any]:
    amount = {"unit": "piece", "exactly": "100"}
    return {"amount": amount, "delivered_on": "2024-06-01", "reported_by": "GBR", "sources": SOURCES} | other


def a_target(**other: Any) -> dict[str, Any]:
    amount = {"unit": "piece", "exactly": "1000000"}
    terms = {"coalition": "drones", "capability": "drone", "amount": amount, "counts": "delivered"}
    return terms | {"set_on": "2024-02-15", "sources": SOURCES} | other


MONEY = {"unit": "EUR", "exactly": "45000000"}
DAY = {"on": "2024-05-01", "sources": SOURCES}
ENDS = DAY | {"reason": "the budget was not passed"}
DELIVERY = "/v1/pledges/x/deliveries/d1"

STORY: tuple[tuple[str, dict[str, Any]], ...] = (
    ("PUT /v1/parties/NATO", {"name": "NATO", "kind": "organisation", "sources": SOURCES}),
    ("PUT /v1/capabilities/drone.fpv", {"name": "First-person-view drones", "sources": SOURCES}),
    ("PUT /v1/coalitions/drones", a_coalition(members=[{"party": "LVA", "role": "lead"}])),
    ("PUT /v1/coalitions/others", a_coalition(name="Others")),
    ("PUT /v1/coalitions/drones/members/GBR", {"role": "member", "on": "2024-02-15", "sources": SOURCES}),
    ("PUT /v1/coalitions/drones/members/GBR", {"role": "lead", "on": "2024-03-01", "sources": SOURCES}),
    ("POST /v1/coalitions/drones/members/LVA/leave", DAY),
    ("POST /v1/coalitions/drones/rename", DAY | {"name": "Drone Coalition"}),
    ("POST /v1/coalitions/drones/reviewed", {"on": "2024-12-31"}),
    ("PUT /v1/targets/million", a_target()),
    ("POST /v1/targets/million/revise", ENDS | {"due_by": "2025-12"}),
    ("POST /v1/targets/million/close", DAY | {"outcome": "replaced"}),
    ("PUT /v1/pledges/x", a_pledge(coalition="drones", beneficiary="UKR", labels={"sector": ["air"]})),
    ("PUT /v1/pledges/y", a_pledge(amount=MONEY, also=[{"unit": "piece", "exactly": "30000"}], finance_type="grant")),
    ("PUT /v1/pledges/z", a_pledge(for_period={"from": "2024", "to": "2025"}, refs=[{"scheme": "fts", "id": "1"}])),
    ("POST /v1/pledges/x/revise", ENDS | {"amount": {"unit": "piece", "over": "85000"}}),
    ("POST /v1/pledges/x/commit", DAY | {"amount": {"unit": "piece", "exactly": "400"}}),
    ("POST /v1/pledges/x/pay", DAY | {"amount": MONEY}),
    ("POST /v1/pledges/x/allocate", DAY | {"amount": {"unit": "piece", "exactly": "300"}}),
    ("POST /v1/pledges/x/contract", DAY | {"amount": {"unit": "piece", "exactly": "200"}, "reference": "2024/118"}),
    ("POST /v1/pledges/x/reallocate", DAY | {"coalition": "others"}),
    ("POST /v1/pledges/z/relate", DAY | {"relation": {"kind": "part_of", "of": ["x"]}}),
    (f"PUT {DELIVERY}", a_delivery()),
    (f"POST {DELIVERY}/dispute", ENDS | {"by": "UKR"}),
    (f"POST {DELIVERY}/confirm", DAY | {"by": "UKR", "amount": {"unit": "piece", "exactly": "90"}}),
    (f"POST {DELIVERY}/reverse", ENDS),
    ("POST /v1/pledges/y/withdraw", ENDS),
    ("POST /v1/pledges/z/lapse", ENDS),
    ("POST /v1/coalitions/others/dissolve", DAY),
    (
        "PUT /v1/production/ukr-2024",
        {
            "party": "UKR",
            "capability": "drone",
            "amount": {"unit": "piece", "over": "1500000"},
            "covers": "so_far",
            "period": {"from": "2024", "to": "2024"},
            "sources": SOURCES,
        },
    ),
    (
        "PUT /v1/statements/lva-2024",
        {
            "stated_by": "LVA",
            "about": {"coalition": "drones"},
            "measure": "members",
            "amount": {"unit": "member", "exactly": "20"},
            "stated_on": "2025-01-15",
            "sources": SOURCES,
        },
    ),
)
"""Every command that makes an entry, in an order in which each is recorded."""

AMENDMENTS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("PUT /v1/pledges/y", "correct", a_pledge(amount=MONEY, reason="read wrongly")),
    ("PUT /v1/statements/lva-2024", "sources", {"sources": [{"url": "https://example.org/again"}], "note": "seen"}),
    ("POST /v1/pledges/x/pay", "retract", {"reason": "never paid", "refs": [{"scheme": "fts", "id": "2"}]}),
)
"""What is said about entries of the story: the entry by its command, the amendment, its body."""
