"""Read models are built anew beside the one that serves: which build serves, and how far a rebuild is."""

import os

from alembic import op

revision = "0002"
down_revision = "0001"

TABLES = (
    "ALTER TABLE checkpoints ADD COLUMN build integer NOT NULL DEFAULT 1 CHECK (build > 0)",
    "COMMENT ON COLUMN checkpoints.build IS 'raised when other tables take the place of those that were here'",
    """
    CREATE TABLE rebuilds (
        name text NOT NULL,
        version integer NOT NULL,
        stage text NOT NULL CHECK (stage IN ('filling', 'comparing', 'switching', 'switched', 'failed')),
        code text NOT NULL,
        began_at timestamptz NOT NULL DEFAULT now(),
        resumed_at timestamptz NOT NULL DEFAULT now(),
        resumed_from bigint NOT NULL DEFAULT 0 CHECK (resumed_from >= 0),
        ended_at timestamptz CHECK ((stage IN ('switched', 'failed')) = (ended_at IS NOT NULL)),
        said text,
        PRIMARY KEY (name, version)
    )
    """,
    "COMMENT ON TABLE rebuilds IS 'the rebuild that runs, was interrupted, or was the last, of each read model'",
    "COMMENT ON COLUMN rebuilds.code IS 'a fingerprint of the code that fills it: other code begins anew'",
    "COMMENT ON COLUMN rebuilds.said IS 'what the comparison found, or why it failed'",
)


def upgrade() -> None:
    quote = op.get_context().dialect.identifier_preparer.quote
    worker, reader = quote(os.environ["MUSTER_PROJECTIONS_ROLE"]), quote(os.environ["MUSTER_PROJECTIONS_READER_ROLE"])
    rights = (
        f"GRANT DELETE ON checkpoints TO {worker}",  # of a build that has taken its place
        f"GRANT SELECT, INSERT, UPDATE ON rebuilds TO {worker}",
        f"GRANT SELECT ON rebuilds TO {reader}",
    )
    for statement in (*TABLES, *rights):
        op.execute(statement)


def downgrade() -> None:
    op.execute("DROP TABLE rebuilds")
    op.execute("ALTER TABLE checkpoints DROP COLUMN build")
