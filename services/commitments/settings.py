"""What the processes of the commitments service are told by their environment."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Each setting comes from the environment variable that its alias names."""

    model_config = SettingsConfigDict(extra="ignore", populate_by_name=True)

    ledger: str = Field(
        default="ledger",
        pattern=r"^[a-z][a-z0-9_]{0,31}$",
        validation_alias="MUSTER_LEDGER",
        description="names the ledger, its subjects, and in capitals its stream",
    )
    database_url: str = Field(
        validation_alias="MUSTER_COMMITMENTS_DATABASE_URL", description="postgresql://..., as the role of this service"
    )
    nats_url: str = Field(
        default="nats://127.0.0.1:4222",
        validation_alias="MUSTER_NATS_URL",
        description="the relay publishes there; the API only says that the log has grown",
    )
    host: str = Field(
        default="127.0.0.1", validation_alias="MUSTER_COMMITMENTS_HOST", description="where the API listens"
    )
    port: int = Field(default=8001, validation_alias="MUSTER_COMMITMENTS_PORT", description="the API's port")
    relay_host: str = Field(
        default="127.0.0.1", validation_alias="MUSTER_RELAY_HOST", description="where the relay tells how it is"
    )
    relay_port: int = Field(
        default=8011, validation_alias="MUSTER_RELAY_PORT", description="the port of its /healthz, /readyz and /metrics"
    )
    stream_replicas: int = Field(
        default=1,
        ge=1,
        le=5,
        validation_alias="MUSTER_STREAM_REPLICAS",
        description="copies of the stream: 3 in a NATS cluster",
    )
    pgbouncer: bool = Field(
        default=False,
        validation_alias="MUSTER_COMMITMENTS_PGBOUNCER",
        description="the database is reached through pgbouncer in transaction mode",
    )
