"""How far each read model is, and what it may pass over. The read models' own tables are made by the worker."""

import os

from alembic import op

revision = "0001"
down_revision = None

TABLES = (
    """
    CREATE TABLE checkpoints (
        name text NOT NULL,
        version integer NOT NULL CHECK (version > 0),
        epoch text NOT NULL DEFAULT '',
        position bigint NOT NULL DEFAULT 0 CHECK (position >= 0),
        event_id uuid,
        recorded_at timestamptz,
        head bigint NOT NULL DEFAULT 0,
        behind_since timestamptz,
        status text NOT NULL DEFAULT 'running' CHECK (status IN ('running', 'stopped')),
        reason text CHECK ((status = 'stopped') = (reason IS NOT NULL)),
        updated_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (name, version)
    ) WITH (fillfactor = 50)
    """,
    "COMMENT ON COLUMN checkpoints.epoch IS 'of the log whose events were applied, as its stream says; or empty'",
    "COMMENT ON COLUMN checkpoints.event_id IS 'of the event at position: a restored log may hold another one there'",
    "COMMENT ON COLUMN checkpoints.head IS 'the last position of the stream, as the worker saw it last'",
    "COMMENT ON COLUMN checkpoints.behind_since IS 'when the oldest event was recorded that is not applied yet'",
    """
    CREATE TABLE skips (
        name text NOT NULL,
        version integer NOT NULL,
        position bigint NOT NULL CHECK (position > 0),
        reason text NOT NULL CHECK (reason <> ''),
        skipped_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (name, version, position)
    )
    """,
    "COMMENT ON TABLE skips IS 'events that a read model was told to pass over, and why; kept for good'",
)


def upgrade() -> None:
    quote = op.get_context().dialect.identifier_preparer.quote
    worker, reader = quote(os.environ["MUSTER_PROJECTIONS_ROLE"]), quote(os.environ["MUSTER_PROJECTIONS_READER_ROLE"])
    rights = (
        f"GRANT USAGE ON SCHEMA public TO {worker}, {reader}",
        f"GRANT SELECT, INSERT, UPDATE ON checkpoints TO {worker}",
        f"GRANT SELECT, INSERT ON skips TO {worker}",
        f"GRANT SELECT ON alembic_version TO {worker}, {reader}",
        # whoever may read the checkpoints may read what the worker makes: it looks the rights up here
        f"GRANT SELECT ON checkpoints, skips TO {reader}",
    )
    for statement in (*TABLES, *rights):
        op.execute(statement)


def downgrade() -> None:
    op.execute("DROP TABLE skips, checkpoints")
