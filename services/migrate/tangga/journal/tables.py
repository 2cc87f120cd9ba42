"""The migrators' own tables: made by the first step that runs, and for migrators only.

migration_log       what was done (writing.py)
migration_backfill  how far a backfill has come (safe/batches.py)
"""

from typing import Any

from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, text

from tangga.catalogue.ours import TABLES

_CREATE = text("""
CREATE TABLE IF NOT EXISTS migration_log (
    id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT pk_migration_log PRIMARY KEY,
    revision text NOT NULL,
    direction text NOT NULL,
    outcome text NOT NULL,
    started_at timestamptz NOT NULL,
    seconds double precision NOT NULL,
    checksum text,
    image_version text NOT NULL,
    executed_by text NOT NULL DEFAULT session_user,
    error text,
    breaking boolean
);
CREATE TABLE IF NOT EXISTS migration_backfill (
    revision text NOT NULL,
    name text NOT NULL,
    statement text NOT NULL,
    last_key text,
    end_key text,
    rows_total bigint NOT NULL,
    rows_done bigint NOT NULL DEFAULT 0,
    rows_changed bigint NOT NULL DEFAULT 0,
    finished boolean NOT NULL DEFAULT false,
    CONSTRAINT pk_migration_backfill PRIMARY KEY (revision, name)
)
""")
# The log of a database that was migrated by an older version lacks the newest column. Looked for first: ALTER TABLE
# would lock the log's readers out even where there is nothing to add.
_COMPLETE = text("""
DO $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM pg_attribute WHERE attrelid = 'migration_log'::regclass AND attname = 'breaking'
    ) THEN
        ALTER TABLE migration_log ADD COLUMN breaking boolean;
    END IF;
END
$$
""")
# Default privileges may give an application every new table, these too. An app that could write alembic_version could
# make the next upgrade skip a step. Reading stays: readiness compares it with the image.
_CLOSE = text("""
DO $$
DECLARE
    found record;
BEGIN
    FOR found IN
        SELECT DISTINCT pg_class.oid::regclass AS name, acl.grantee::regrole AS grantee
        FROM pg_class, aclexplode(relacl) AS acl
        WHERE acl.grantee NOT IN (0, relowner) AND acl.privilege_type <> 'SELECT' AND pg_class.oid IN (
            to_regclass('alembic_version'), to_regclass('migration_log'), to_regclass('migration_log_id_seq'),
            to_regclass('migration_backfill')
        )
    LOOP
        EXECUTE format('REVOKE ALL ON %s FROM %s', found.name, found.grantee);
        EXECUTE format('GRANT SELECT ON %s TO %s', found.name, found.grantee);
    END LOOP;
END
$$
""")


def is_the_applications(name: str | None, kind: str, _parents: Any) -> bool:
    """Alembic's include_name hook: autogenerate and `check` leave the migrators' tables alone."""
    return kind != "table" or name not in TABLES


def complete(connection: Connection) -> None:
    """Give a log that is there the columns that a newer version has added."""
    connection.execute(_COMPLETE)


def prepare(ctx: MigrationContext) -> None:
    """Make the tables if they are not there, and leave all roles but the owner SELECT only; once per session."""
    session = ctx.opts if ctx.as_sql or ctx.connection is None else ctx.connection.info
    if not session.get(__name__):
        ctx.impl.execute(_CREATE)
        ctx.impl.execute(_COMPLETE)
        ctx.impl.execute(_CLOSE)
        session[__name__] = True
