"""Adding to the log is a function, so that a batch which foresaw what the log is like takes one round trip."""

import os

from alembic import op

revision = "0002"
down_revision = "0001"

SIGNATURE = """
    append(
        -- what the log must be like: its head, and the versions of streams, 0 for one that was never used;
        -- no head: whoever asks holds the lock, and has looked
        head bigint, seen_streams text[], seen_versions integer[],
        -- rows, in columns; the lists of one row are one text, with spaces between
        at timestamptz, positions bigint[], event_ids uuid[], versions integer[], happened date[], reported date[],
        row_streams text[], types text[], callers text[], row_commands text[], traceparents text[],
        row_coalitions text[], row_about text[], payloads text[],
        -- where their streams stand then
        moved_streams text[], moved_versions integer[],
        -- receipts
        command_ids text[], fingerprints text[], outcomes text[]
    )
"""

# Scalar subselects find each name by its key, also with a plan that was made while the tables were empty.
APPEND = f"""
    CREATE FUNCTION {SIGNATURE} RETURNS boolean LANGUAGE plpgsql AS $$
    BEGIN
        -- a statement of its own: what follows sees what the last holder wrote
        PERFORM pg_advisory_xact_lock(7106407);
        IF head IS NOT NULL AND (
            head <> coalesce((SELECT e.position FROM events AS e ORDER BY e.position DESC LIMIT 1), 0)
            OR EXISTS (
                SELECT FROM unnest(seen_streams, seen_versions) AS seen (stream, version)
                WHERE seen.version <> coalesce((SELECT s.version FROM streams AS s WHERE s.stream = seen.stream), 0)
            )
            OR EXISTS (
                SELECT FROM unnest(command_ids) AS new (command_id)
                WHERE (SELECT true FROM commands AS c WHERE c.command_id = new.command_id)
            )
        ) THEN
            RETURN false;
        END IF;

        INSERT INTO events (
            position, recorded_at, event_id, version, happened_on, reported_on, stream, type, recorded_by, command_id,
            traceparent, coalitions, about, payload
        )
        SELECT
            new.position, at, new.event_id, new.version, new.happened_on, new.reported_on, new.stream, new.type,
            new.recorded_by, new.command_id, new.traceparent, string_to_array(new.coalitions, ' '),
            string_to_array(new.about, ' '), new.payload
        FROM unnest(
            positions, event_ids, versions, happened, reported, row_streams, types, callers, row_commands,
            traceparents, row_coalitions, row_about, payloads
        ) AS new (
            position, event_id, version, happened_on, reported_on, stream, type, recorded_by, command_id,
            traceparent, coalitions, about, payload
        );

        INSERT INTO streams (stream, version)
        SELECT new.stream, new.version FROM unnest(moved_streams, moved_versions) AS new (stream, version)
        ON CONFLICT (stream) DO UPDATE SET version = excluded.version;

        INSERT INTO commands (command_id, recorded_at, fingerprint, outcome)
        SELECT new.command_id, at, new.fingerprint, new.outcome
        FROM unnest(command_ids, fingerprints, outcomes) AS new (command_id, fingerprint, outcome);

        RETURN true;
    END
    $$
"""  # noqa: S608  # a constant


def upgrade() -> None:
    role = op.get_context().dialect.identifier_preparer.quote(os.environ["MUSTER_COMMITMENTS_ROLE"])
    op.execute(APPEND)
    op.execute(f"GRANT EXECUTE ON FUNCTION append TO {role}")


def downgrade() -> None:
    op.execute("DROP FUNCTION append")
