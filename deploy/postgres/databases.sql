-- The databases and the roles of a ledger, as muster/provision.py makes them; running it again changes nothing but
-- passwords. psql runs it as a superuser, told by the environment: MUSTER_LEDGER, and a MUSTER_..._PASSWORD a role.
\set ON_ERROR_STOP on
\o /dev/null

\getenv ledger MUSTER_LEDGER
\getenv commitments_owner_password MUSTER_COMMITMENTS_OWNER_PASSWORD
\getenv commitments_password MUSTER_COMMITMENTS_PASSWORD
\getenv projections_owner_password MUSTER_PROJECTIONS_OWNER_PASSWORD
\getenv projections_password MUSTER_PROJECTIONS_PASSWORD
\getenv projections_reader_password MUSTER_PROJECTIONS_READER_PASSWORD
\getenv relay_password MUSTER_NATS_RELAY_PASSWORD
\getenv hints_password MUSTER_NATS_COMMITMENTS_PASSWORD

CREATE FUNCTION pg_temp.need(fine boolean, otherwise text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF fine IS NOT TRUE THEN
        RAISE EXCEPTION USING MESSAGE = otherwise;
    END IF;
END
$$;
SELECT pg_temp.need(:'ledger' ~ '^[a-z][a-z0-9_]{0,31}$',
    'MUSTER_LEDGER names a ledger: a-z first, then up to 31 of a-z, 0-9 and _');
-- they become parts of URLs
SELECT pg_temp.need(password ~ '^[A-Za-z0-9._~-]+$', name || ' may hold letters, digits and . _ ~ - only')
FROM (VALUES
    ('MUSTER_COMMITMENTS_OWNER_PASSWORD', :'commitments_owner_password'),
    ('MUSTER_COMMITMENTS_PASSWORD', :'commitments_password'),
    ('MUSTER_PROJECTIONS_OWNER_PASSWORD', :'projections_owner_password'),
    ('MUSTER_PROJECTIONS_PASSWORD', :'projections_password'),
    ('MUSTER_PROJECTIONS_READER_PASSWORD', :'projections_reader_password'),
    ('MUSTER_NATS_RELAY_PASSWORD', :'relay_password'),
    ('MUSTER_NATS_COMMITMENTS_PASSWORD', :'hints_password')
) AS passwords (name, password);

SELECT pg_advisory_lock(x'6D757374'::int); -- that of muster/provision.py; given back with the connection

\set commitments :ledger _commitments
\set commitments_owner :ledger _commitments_owner
\set projections :ledger _projections
\set projections_owner :ledger _projections_owner
\set projections_reader :ledger _projections_reader

SELECT format('CREATE ROLE %I', role)
FROM unnest(ARRAY[:'commitments_owner', :'commitments', :'projections_owner', :'projections', :'projections_reader']) AS role
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) \gexec
ALTER ROLE :"commitments_owner" LOGIN PASSWORD :'commitments_owner_password';
ALTER ROLE :"commitments" LOGIN PASSWORD :'commitments_password';
ALTER ROLE :"projections_owner" LOGIN PASSWORD :'projections_owner_password';
ALTER ROLE :"projections" LOGIN PASSWORD :'projections_password';
ALTER ROLE :"projections_reader" LOGIN PASSWORD :'projections_reader_password';
ALTER ROLE :"projections_reader" SET default_transaction_read_only = on;

-- text is compared the same on every machine, whatever the server was made with; before version 17 as the server does
SELECT CASE
    WHEN current_setting('server_version_num')::int >= 170000
    THEN 'LOCALE_PROVIDER builtin BUILTIN_LOCALE ''C.UTF-8'' LOCALE ''C'''
    ELSE ''
END AS locale \gset
SELECT format('CREATE DATABASE %I OWNER %I TEMPLATE template0 ENCODING ''UTF8'' %s', name, owner, :'locale')
FROM (VALUES (:'commitments', :'commitments_owner'), (:'projections', :'projections_owner')) AS wanted (name, owner)
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = name) \gexec
REVOKE ALL ON DATABASE :"commitments" FROM PUBLIC;
GRANT CONNECT, TEMPORARY ON DATABASE :"commitments" TO :"commitments";
REVOKE ALL ON DATABASE :"projections" FROM PUBLIC;
GRANT CONNECT, TEMPORARY, CREATE ON DATABASE :"projections" TO :"projections";
GRANT CONNECT ON DATABASE :"projections" TO :"projections_reader";

-- whatever the worker makes, the reader may read
\connect :"projections"
ALTER DEFAULT PRIVILEGES FOR ROLE :"projections" GRANT USAGE ON SCHEMAS TO :"projections_reader";
ALTER DEFAULT PRIVILEGES FOR ROLE :"projections" GRANT SELECT ON TABLES TO :"projections_reader";
