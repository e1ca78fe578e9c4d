"""What the processes of the read side are told by their environment."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Each setting is the environment variable that its alias names; the worker and the API read what they need."""

    model_config = SettingsConfigDict(extra="ignore", frozen=True, populate_by_name=True)

    ledger: str = Field(
        default="ledger",
        pattern=r"^[a-z][a-z0-9_]{0,31}$",
        alias="MUSTER_LEDGER",
        description="names the ledger, its subjects, and in capitals its stream",
    )
    database_url: str = Field(
        alias="MUSTER_PROJECTIONS_DATABASE_URL",
        description="postgresql://...: for the worker as a role that may create schemas, for the API as one that reads",
    )
    nats_url: str = Field(
        default="nats://127.0.0.1:4222",
        alias="MUSTER_NATS_URL",
        description="where the worker reads the ledger's stream, and tells the API how far it is",
    )
    host: str = Field(default="127.0.0.1", alias="MUSTER_PROJECTIONS_HOST", description="where the API listens")
    port: int = Field(default=8002, alias="MUSTER_PROJECTIONS_PORT", description="the API's port")
    worker_host: str = Field(
        default="127.0.0.1", alias="MUSTER_WORKER_HOST", description="where the worker tells how it is"
    )
    worker_port: int = Field(
        default=8012, alias="MUSTER_WORKER_PORT", description="the port of its /healthz, /readyz and /metrics"
    )
    worker_batch: int = Field(
        default=1_000,
        ge=1,
        le=10_000,
        alias="MUSTER_WORKER_BATCH",
        description="the most events that one transaction of the worker takes",
    )
    rates: Path | None = Field(
        default=None,
        alias="MUSTER_RATES",
        description="a CSV file of exchange rates beside the ECB's: currency, rate, per, day, until, source",
    )
    data_licence: str = Field(
        default="https://creativecommons.org/licenses/by/4.0/",
        alias="MUSTER_DATA_LICENCE",
        description="the licence that the data is given under, as every file of it says",
    )
    pgbouncer: bool = Field(
        default=False,
        alias="MUSTER_PROJECTIONS_PGBOUNCER",
        description="the database is reached through pgbouncer in transaction mode",
    )
