-- Three roles, made at the first start of the database (initdb folder), safe to run again, and to run by hand against
-- a database elsewhere: psql -f services/postgres/roles.sql, with the variables below exported (docs/scaling.md), as a
-- superuser, or as the database's owner with CREATEDB and CREATEROLE: what only a superuser may is left out then.
--
--   the superuser (POSTGRES_USER)   made the cluster; nobody uses it afterwards
--   the owner (DB_OWNER_USERNAME)   owns the schema and migrates it
--   the app (DB_USERNAME)           reads and writes rows; cannot create, alter or drop anything
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
SELECT current_setting('is_superuser') AS superuser, current_database() AS database \gset
\if :superuser
-- Nor may they show in the server's log.
SET log_statement = 'none';
SET log_min_error_statement = 'panic';
\endif

SELECT format('CREATE ROLE %I LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD %L', name, pass)
FROM (VALUES (:'owner', :'owner_pass'), (:'app', :'app_pass')) AS role (name, pass)
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name)
\gexec

\if :superuser
-- While a step waits for a lock, it says who holds it: the state and the age of another role's query are not everybody's.
GRANT pg_read_all_stats TO :"owner";
-- A session that waits this long for a table makes the server end an autovacuum that holds it. It must be shorter than
-- MIGRATE_LOCK_TIMEOUT (1 s), or steps would give way to every autovacuum.
ALTER ROLE :"owner" SET deadlock_timeout = '750ms';
\else
\warn 'not a superuser: left out pg_read_all_stats and deadlock_timeout of the owner (docs/scaling.md)'
GRANT :"owner" TO CURRENT_USER;
\endif
-- Through a pooler the API cannot bound its statements itself (DB_POOLER); without one it does, by DB_STATEMENT_TIMEOUT.
ALTER ROLE :"app" SET statement_timeout = '10s';
ALTER ROLE :"app" SET lock_timeout = '10s';

ALTER DATABASE :"database" OWNER TO :"owner";
REVOKE ALL ON DATABASE :"database" FROM PUBLIC;
GRANT CONNECT ON DATABASE :"database" TO :"app";
ALTER SCHEMA public OWNER TO :"owner";
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO :"app";

-- What steps create is the app's to use, without a GRANT in each step. alembic_version is the exception: the first step
-- takes it back to SELECT (services/migrate/bookkeeping.py).
SET ROLE :"owner";
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO :"app";
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT USAGE ON SEQUENCES TO :"app";
RESET ROLE;
