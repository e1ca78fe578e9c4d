"""The log: events, the heads of their streams, the receipts of commands, and the ledger's epoch."""

import os

from alembic import op

revision = "0001"
down_revision = None

TABLES = (
    """
    CREATE TABLE ledger (
        one boolean PRIMARY KEY DEFAULT true CHECK (one),
        epoch uuid NOT NULL DEFAULT gen_random_uuid(),
        created_at timestamptz NOT NULL DEFAULT now()
    )
    """,
    "COMMENT ON TABLE ledger IS 'one row; a restore from a backup gives it another epoch'",
    "INSERT INTO ledger DEFAULT VALUES",
    """
    CREATE TABLE events (
        position bigint PRIMARY KEY CHECK (position > 0),
        recorded_at timestamptz NOT NULL,
        event_id uuid NOT NULL UNIQUE,
        version integer NOT NULL CHECK (version > 0),
        happened_on date NOT NULL,
        reported_on date NOT NULL,
        stream text COLLATE "C" NOT NULL,
        type text NOT NULL,
        recorded_by text NOT NULL,
        command_id text NOT NULL,
        traceparent text,
        coalitions text[] NOT NULL,
        about text[] NOT NULL,
        payload text NOT NULL,
        UNIQUE (stream, version)
    )
    """,
    "COMMENT ON COLUMN events.position IS '1, 2, 3 ... in the order of commits, no holes: given under the log''s lock'",
    "COMMENT ON COLUMN events.about IS 'streams the entry concerns: its own, its coalitions, parties, all it names'",
    "COMMENT ON COLUMN events.payload IS 'the exact bytes that are published'",
    # a short pending list: what it costs to empty it is paid by an insert, while everybody waits
    "CREATE INDEX events_about ON events USING gin (about) WITH (gin_pending_list_limit = 512)",
    """
    CREATE TABLE streams (
        stream text COLLATE "C" PRIMARY KEY,
        version integer NOT NULL CHECK (version > 0)
    ) WITH (fillfactor = 70)
    """,
    """
    CREATE TABLE commands (
        command_id text COLLATE "C" PRIMARY KEY,
        recorded_at timestamptz NOT NULL,
        fingerprint text NOT NULL,
        outcome text NOT NULL
    )
    """,
    "COMMENT ON TABLE commands IS 'receipts, kept for good: the same command gets the same answer, also years later'",
)

APPEND_ONLY = (
    """
    CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION '% is append-only: % is refused', TG_TABLE_NAME, TG_OP USING ERRCODE = 'restrict_violation';
    END
    $$
    """,
    *(
        f"CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
        "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
        for table in ("events", "commands")
    ),
    # also where a session says that it is a replica
    "ALTER TABLE events ENABLE ALWAYS TRIGGER append_only",
    "ALTER TABLE commands ENABLE ALWAYS TRIGGER append_only",
)


def upgrade() -> None:
    role = op.get_context().dialect.identifier_preparer.quote(os.environ["MUSTER_COMMITMENTS_ROLE"])
    rights = (
        f"GRANT USAGE ON SCHEMA public TO {role}",
        f"GRANT SELECT, INSERT ON events, commands TO {role}",
        f"GRANT SELECT, INSERT, UPDATE ON streams TO {role}",
        f"GRANT SELECT ON ledger, alembic_version TO {role}",
    )
    for statement in (*TABLES, *APPEND_ONLY, *rights):
        op.execute(statement)


def downgrade() -> None:
    op.execute("DROP TABLE ledger, events, streams, commands")
    op.execute("DROP FUNCTION refuse_change")
