-- The roles, what they may and how far they may go, and the extensions that need the superuser. Run at every start of the
-- database (start.sql) and after a restore; by hand against a database elsewhere: psql -f services/postgres/roles.sql, with
-- the variables below exported (docs/scaling.md), as a superuser, or as the database's owner with CREATEDB and CREATEROLE:
-- what only a superuser may is left out then. All of it or nothing; passwords of roles that are there stay as they are.
--
--   the superuser (POSTGRES_USER)   made the cluster; nobody uses it afterwards
--   the owner (DB_OWNER_USERNAME)   owns the schema and migrates it
--   the app (DB_USERNAME)           reads and writes rows; cannot create, alter or drop anything
--   others (EXTRA_ROLES)            cannot log in; steps grant them what they may
\set ON_ERROR_STOP on
-- \getenv reads the environment: as arguments, the passwords would show in the process list. In production they are files.
\getenv owner DB_OWNER_USERNAME
\getenv owner_pass DB_OWNER_PASS
\getenv app DB_USERNAME
\getenv app_pass DB_PASS
\if :{?owner_pass} \else
\set owner_pass `cat /run/secrets/db_owner_pass`
\endif
\if :{?app_pass} \else
\set app_pass `cat /run/secrets/db_pass`
\endif
\set extra_roles ''
\getenv extra_roles EXTRA_ROLES
\set extensions ''
\getenv extensions EXTENSIONS
\set statement_timeout 10
\getenv statement_timeout DB_STATEMENT_TIMEOUT
\set kept 5
\getenv kept DB_CONNECTIONS_KEPT
SELECT current_setting('is_superuser') AS superuser, current_database() AS database,
    current_setting('server_version_num')::int >= 160000 AS has_reserved_connections \gset
BEGIN;
\if :superuser
-- Nor may they show in the server's log.
SET LOCAL log_statement = 'none';
SET LOCAL log_min_error_statement = 'panic';
\endif

SELECT format('CREATE ROLE %I LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD %L', name, pass)
FROM (VALUES (:'owner', :'owner_pass'), (:'app', :'app_pass')) AS role (name, pass)
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name)
\gexec
SELECT format('CREATE ROLE %I NOLOGIN', name)
FROM regexp_split_to_table(:'extra_roles', '[,\s]+') AS role (name)
WHERE name <> '' AND NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name)
\gexec

-- A role may alter its own settings, and with them switch itself off (a search_path that leads nowhere): those go, and so do
-- the app's sessions that began with them.
SELECT coalesce(string_agg(setting::text, ' ' ORDER BY setdatabase), '') AS settings_before
FROM pg_db_role_setting AS setting JOIN pg_roles ON pg_roles.oid = setrole WHERE rolname = :'app' \gset
SELECT format('ALTER ROLE %I%s RESET ALL', rolname, ' IN DATABASE ' || quote_ident(datname))
FROM pg_db_role_setting JOIN pg_roles ON pg_roles.oid = setrole LEFT JOIN pg_database ON pg_database.oid = setdatabase
WHERE rolname IN (:'owner', :'app')
\gexec

\if :superuser
-- While a step waits for a lock, it says who holds it: the state and the age of another role's query are not everybody's.
GRANT pg_read_all_stats TO :"owner";
-- A session that waits this long for a table makes the server end an autovacuum that holds it. It must be shorter than
-- MIGRATE_LOCK_TIMEOUT (1 s), or steps would give way to every autovacuum.
ALTER ROLE :"owner" SET deadlock_timeout = '750ms';
-- What one query may write to disk beside its result: a role cannot raise this for itself.
ALTER ROLE :"app" SET temp_file_limit = '1GB';
-- Large objects are nobody's rows: no privilege on a table governs them, and one of another role stops a backup.
SELECT format('REVOKE EXECUTE ON FUNCTION %1$s FROM PUBLIC; GRANT EXECUTE ON FUNCTION %1$s TO %2$I', string_agg(oid::regprocedure::text, ', '), :'owner')
FROM pg_proc
WHERE pronamespace = 'pg_catalog'::regnamespace AND proname ~ '^lo(_.*|read|write)$' AND has_function_privilege('public', oid, 'EXECUTE')
HAVING count(*) > 0
\gexec
\if :has_reserved_connections
-- The last ones (reserved_connections; start.sh) are the owner's: for a migration, a backup, make status.
GRANT pg_use_reserved_connections TO :"owner";
\endif
\if :{?own_server}
-- On this server there is one database for them.
REVOKE ALL ON DATABASE postgres, template1 FROM PUBLIC;
\endif
\else
\warn 'not a superuser: left out pg_read_all_stats, deadlock_timeout and reserved connections of the owner, temp_file_limit of the app, and lo_* (docs/scaling.md)'
GRANT :"owner" TO CURRENT_USER;
\endif
-- Through a pooler the API cannot bound its statements itself (DB_POOLER); without one it does, by DB_STATEMENT_TIMEOUT.
SELECT format('ALTER ROLE %I SET %s = %L', :'app', name, :'statement_timeout' || 's')
FROM (VALUES ('statement_timeout'), ('lock_timeout')) AS bound (name)
\gexec
-- Whoever forgets a transaction holds its locks, and keeps vacuum from everything that is younger.
ALTER ROLE :"app" SET idle_in_transaction_session_timeout = '1min';
-- The app gets all connections but those that are kept for migrations, backups and people, so that those get in whatever it does.
SELECT format('ALTER ROLE %I CONNECTION LIMIT %s', :'app', greatest(1, current_setting('max_connections')::int
    - current_setting('superuser_reserved_connections')::int - :'kept'::int))
\gexec

ALTER DATABASE :"database" OWNER TO :"owner";
REVOKE ALL ON DATABASE :"database" FROM PUBLIC;
GRANT CONNECT ON DATABASE :"database" TO :"app";
ALTER SCHEMA public OWNER TO :"owner";
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO :"app";

-- What steps create is the app's to use, in whatever schema, without a GRANT in each step. The migrators' own tables and
-- alembic_version are the exception: the first step takes them back to SELECT (tangga/journal/tables.py).
SET LOCAL ROLE :"owner";
ALTER DEFAULT PRIVILEGES GRANT USAGE ON SCHEMAS TO :"app";
ALTER DEFAULT PRIVILEGES GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO :"app";
ALTER DEFAULT PRIVILEGES GRANT USAGE ON SEQUENCES TO :"app";
-- Older versions gave them in this schema alone.
ALTER DEFAULT PRIVILEGES IN SCHEMA public REVOKE ALL ON TABLES FROM :"app";
ALTER DEFAULT PRIVILEGES IN SCHEMA public REVOKE ALL ON SEQUENCES FROM :"app";
RESET ROLE;

SELECT format('CREATE EXTENSION IF NOT EXISTS %I CASCADE', name)
FROM regexp_split_to_table(:'extensions', '[,\s]+') AS extension (name) WHERE name <> ''
\gexec
COMMIT;

\if :superuser
SELECT count(pg_terminate_backend(pid)) AS ended FROM pg_stat_activity
WHERE usename = :'app' AND :'settings_before' <> (
    SELECT coalesce(string_agg(setting::text, ' ' ORDER BY setdatabase), '')
    FROM pg_db_role_setting AS setting JOIN pg_roles ON pg_roles.oid = setrole WHERE rolname = :'app'
) \gset
\endif
