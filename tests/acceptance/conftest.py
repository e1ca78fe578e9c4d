"""The write side as its callers see it: the real application on a real log."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from services.commitments.http.app import create_app
from services.commitments.settings import Settings


@pytest.fixture
def commands(commitments_url: str, nats_url: str, ledger_name: str) -> Iterator[TestClient]:
    """A client of the commitments service; its log is empty."""
    settings = Settings(database_url=commitments_url, nats_url=nats_url, ledger=ledger_name)
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        yield client
