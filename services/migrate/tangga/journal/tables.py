"""The migrators' own tables: made by the first step that runs, in a schema of their own, and for migrators only.

migration_log       what was done (writing.py)
migration_backfill  how far a backfill has come (safe/batches.py)

Older versions made them where Alembic's own table is. From there they are moved, with their rights, in the transaction
of the next step, or at the end of an upgrade that has none to run; the migration lock keeps a second migrator away. An
application's own table of that name, known by its columns, stays where it is.
"""

from typing import Any

from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, TextClause, text

from tangga.catalogue import ours
from tangga.catalogue.ours import THE_MIGRATORS, TO_MOVE, identifier
from tangga.catalogue.sql import literal

# CREATE SCHEMA IF NOT EXISTS asks for the right to make one even where it is there.
_SCHEMA = """/* tangga */
DO $$
BEGIN
    IF to_regnamespace({schema_name}) IS NULL THEN
        CREATE SCHEMA {schema};
    END IF;
    IF EXISTS (
        SELECT FROM pg_class AS c
        WHERE relname IN ('migration_log', 'migration_backfill') AND relkind IN ('r', 'p', 'v')
          AND relnamespace = to_regnamespace({schema_name}) AND NOT {the_migrators}
    ) THEN
        RAISE EXCEPTION 'schema % holds a table of the application''s that is called as one of tangga''s', {schema_name}
        USING HINT = 'name another schema for those: schema = "..." in [tool.tangga]';
    END IF;
END
$$
"""
# Both are there if an older version has run once more since: its rows are added to the others.
_MOVE = """/* tangga */
DO $$
DECLARE
    found record;
    names text;
BEGIN
    FOR found IN
        SELECT c.oid, c.oid::regclass AS place, relname AS name FROM pg_class AS c
        WHERE c.oid IN (to_regclass('migration_log'), to_regclass('migration_backfill'))
          AND relnamespace <> to_regnamespace({schema_name}) AND {the_migrators}
    LOOP
        IF to_regclass(format('%s.%I', {schema_name}, found.name)) IS NULL THEN
            EXECUTE format('ALTER TABLE %s SET SCHEMA %s', found.place, {schema_name});
        ELSE
            SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) INTO names FROM pg_attribute AS old
            WHERE attrelid = found.oid AND attnum > 0 AND NOT attisdropped AND attname <> 'id' AND EXISTS (
                SELECT FROM pg_attribute WHERE attname = old.attname AND NOT attisdropped
                AND attrelid = to_regclass(format('%s.%I', {schema_name}, found.name))
            );
            EXECUTE format(
                'INSERT INTO %s.%I (%s) SELECT %3$s FROM %4$s ORDER BY %5$s ON CONFLICT DO NOTHING', {schema_name},
                found.name, names, found.place, CASE found.name WHEN 'migration_log' THEN 'id' ELSE 'revision' END
            );
            EXECUTE format('DROP TABLE %s', found.place);
        END IF;
    END LOOP;
END
$$
"""
_CREATE = """
CREATE TABLE IF NOT EXISTS {log} (
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
CREATE TABLE IF NOT EXISTS {backfill} (
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
"""
# The log of a database that was migrated by an older version lacks the newest column. Looked for first: ALTER TABLE
# would lock the log's readers out even where there is nothing to add.
_COMPLETE = """
DO $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM pg_attribute WHERE attrelid = '{log}'::regclass AND attname = 'breaking'
    ) THEN
        ALTER TABLE {log} ADD COLUMN breaking boolean;
    END IF;
END
$$
"""
# Default privileges may give an application every new table, these too. An app that could write the version's table
# could make the next upgrade skip a step. Reading stays, and who may read the version may read the log: readiness
# compares both with the image.
_CLOSE = """
DO $$
DECLARE
    found record;
BEGIN
    FOR found IN
        SELECT DISTINCT pg_class.oid::regclass AS name, acl.grantee::regrole AS grantee
        FROM pg_class, aclexplode(relacl) AS acl
        WHERE acl.grantee NOT IN (0, relowner) AND acl.privilege_type <> 'SELECT' AND pg_class.oid IN (
            to_regclass({version}), to_regclass('{log}'), to_regclass('{log}_id_seq'), to_regclass('{backfill}')
        )
    LOOP
        EXECUTE format('REVOKE ALL ON %s FROM %s', found.name, found.grantee);
        EXECUTE format('GRANT SELECT ON %s TO %s', found.name, found.grantee);
    END LOOP;
    FOR found IN
        SELECT DISTINCT acl.grantee::regrole AS grantee FROM pg_class, aclexplode(relacl) AS acl
        WHERE acl.grantee NOT IN (0, relowner) AND acl.privilege_type = 'SELECT'
          AND pg_class.oid = to_regclass({version})
          AND NOT (has_schema_privilege(acl.grantee, to_regnamespace({schema_name})::oid, 'USAGE')
                   AND has_table_privilege(acl.grantee, '{log}', 'SELECT')
                   AND has_table_privilege(acl.grantee, '{backfill}', 'SELECT'))
    LOOP
        EXECUTE format('GRANT USAGE ON SCHEMA %s TO %s', {schema_name}, found.grantee);
        EXECUTE format('GRANT SELECT ON {log}, {backfill} TO %s', found.grantee);
    END LOOP;
END
$$
"""
_PLACE = text(f"""
    SELECT format('%I.%I', nspname, relname)
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = relnamespace
    WHERE relname = 'migration_log' AND (nspname = :schema OR c.oid = to_regclass('migration_log')) AND {THE_MIGRATORS}
    ORDER BY nspname <> :schema LIMIT 1
""")  # noqa: S608 - a condition of ours.py


def is_the_applications(name: str | None, kind: str, parents: Any) -> bool:
    """Alembic's include_name hook: autogenerate and `check` leave the migrators' tables alone."""
    return kind != "table" or name not in ours.TABLES or parents.get("schema_name") not in (None, ours.schema())


def place(connection: Connection) -> str | None:
    """Return the log as SQL names it, where it is now; None if there is none."""
    found: str | None = connection.scalar(_PLACE, {"schema": ours.schema()})
    return found


def complete(connection: Connection, log: str) -> None:
    """Give a log that is there the columns that a newer version has added."""
    connection.execute(text(_COMPLETE.format(log=log)))


def prepare(ctx: MigrationContext) -> None:
    """Make the tables if they are not there, and leave all roles but the owner SELECT only; once per session."""
    session = ctx.opts if ctx.as_sql or ctx.connection is None else ctx.connection.info
    if not session.get(__name__):
        for statement in _statements(ctx):
            ctx.impl.execute(statement)
        session[__name__] = True


def move(ctx: MigrationContext) -> None:
    """Bring the tables to their place where no step did, because none had to run."""
    connection = ctx.connection
    assert connection is not None
    if connection.scalar(text(TO_MOVE)) and place(connection) != ours.log():
        prepare(ctx)
        connection.commit()
    connection.rollback()


def _statements(ctx: MigrationContext) -> list[TextClause]:
    values = {
        # For format('%s'): a name as SQL wants it, in quotes.
        "schema_name": literal(identifier(ours.schema())),
        "schema": identifier(ours.schema()),
        "log": ours.log(),
        "backfill": ours.backfill(),
        "version": literal(version_of(ctx)),
        "the_migrators": THE_MIGRATORS,
    }
    return [text(statement.format(**values)) for statement in (_SCHEMA, _MOVE, _CREATE, _COMPLETE, _CLOSE)]


def version_of(ctx: MigrationContext) -> str:
    """Return Alembic's own table as its statements name it."""
    return str(ctx.dialect.identifier_preparer.format_table(ctx._version))
