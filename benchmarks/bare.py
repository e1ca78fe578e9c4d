"""The yardstick: the same framework and body model, storing nothing; and a GET that answers a small document."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from services.commitments.http.pledges import PledgeBody

app = FastAPI()
ANSWER: dict[str, Any] = {
    "position": 100_000,
    "totals": [
        {"capability": "drone", "unit": "piece", "stage": "pledged", "low": "1000000", "high": None, "pledges": 100_000}
    ],
}


@app.put("/v1/pledges/{name}", status_code=201)
async def put(name: str, body: PledgeBody) -> dict[str, str]:
    """Validate, and answer."""
    return {"name": name, "capability": body.capability}


@app.get("/v1/totals")
async def totals() -> dict[str, Any]:
    """Answer."""
    return ANSWER
