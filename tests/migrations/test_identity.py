"""The catalogue's identity: the same where pg_dump prints the same for sure, another where it prints anything else."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import Connection

from tangga.catalogue.identity import identity
from tests.migrations.proving import scratch

_MADE = """
    CREATE TABLE author (id serial PRIMARY KEY, name text DEFAULT 'x' NOT NULL, note text, CHECK (id > 0));
    CREATE TABLE book (id int PRIMARY KEY, author int REFERENCES author, title text);
    CREATE TABLE whole (id int, at date) PARTITION BY RANGE (at);
    CREATE TABLE part (id int, at date); CREATE TABLE heir () INHERITS (author);
    CREATE TYPE mood AS ENUM ('sad'); CREATE DOMAIN short AS text CHECK (length(VALUE) < 9);
    CREATE INDEX ix ON book (title); CREATE VIEW seen AS SELECT id FROM book; CREATE SEQUENCE counted;
    CREATE FUNCTION one() RETURNS int LANGUAGE sql AS 'SELECT 1';
    CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END';
    CREATE TRIGGER touch BEFORE INSERT ON book FOR EACH ROW EXECUTE FUNCTION touch();
    CREATE POLICY own ON book USING (true); CREATE RULE quiet AS ON DELETE TO part DO INSTEAD NOTHING;
    CREATE STATISTICS together ON id, author FROM book; COMMENT ON TABLE book IS 'a book';
    CREATE MATERIALIZED VIEW kept AS SELECT id FROM book; CREATE PUBLICATION news FOR TABLE book;
    CREATE EXTENSION pgcrypto; CREATE EXTENSION file_fdw; CREATE SERVER f FOREIGN DATA WRAPPER file_fdw;
    CREATE COLLATION plain (provider = libc, locale = 'C');
"""
# A statement a line.
_CHANGES = """
ALTER TABLE author ADD age int
ALTER TABLE author DROP note
ALTER TABLE author RENAME note TO remark
ALTER TABLE author ALTER name DROP DEFAULT
ALTER TABLE author ALTER name SET DEFAULT 'y'
ALTER TABLE author ALTER name DROP NOT NULL
ALTER TABLE author ALTER name TYPE varchar(20)
ALTER TABLE author ALTER name SET STATISTICS 9
ALTER TABLE author ALTER name SET STORAGE EXTERNAL
ALTER TABLE author ALTER name SET COMPRESSION lz4
ALTER TABLE author ALTER name SET (n_distinct = 5)
ALTER TABLE author ALTER name TYPE text COLLATE "C"
ALTER TABLE author SET (fillfactor = 70)
ALTER TABLE author SET (toast.autovacuum_enabled = false)
ALTER TABLE part SET UNLOGGED
ALTER TABLE author DROP CONSTRAINT author_id_check
ALTER TABLE author ADD CHECK (id < 99) NOT VALID
ALTER TABLE author REPLICA IDENTITY FULL
ALTER TABLE author CLUSTER ON author_pkey
ALTER TABLE author RENAME CONSTRAINT author_pkey TO pk
ALTER TABLE author OWNER TO pg_database_owner
ALTER TABLE book ENABLE ROW LEVEL SECURITY
ALTER TABLE book DROP CONSTRAINT book_author_fkey
ALTER TABLE book ALTER CONSTRAINT book_author_fkey DEFERRABLE
ALTER TABLE book DISABLE TRIGGER touch
ALTER TABLE heir NO INHERIT author
ALTER TABLE whole ATTACH PARTITION part FOR VALUES FROM ('2026-1-1') TO ('2027-1-1')
ALTER TYPE mood ADD VALUE 'glad'
ALTER TYPE mood RENAME VALUE 'sad' TO 'blue'
ALTER DOMAIN short SET NOT NULL
ALTER DOMAIN short DROP CONSTRAINT short_check
DROP INDEX ix
CREATE INDEX ON book (author) INCLUDE (title)
ALTER INDEX ix RENAME TO ixx
DROP VIEW seen
CREATE OR REPLACE VIEW seen AS SELECT id FROM book WHERE id > 1
ALTER VIEW seen SET (security_barrier = true)
ALTER SEQUENCE counted INCREMENT 2
ALTER SEQUENCE counted OWNED BY book.id
ALTER SEQUENCE author_id_seq OWNED BY NONE
CREATE OR REPLACE FUNCTION one() RETURNS int LANGUAGE sql AS 'SELECT 2'
ALTER FUNCTION one() STABLE
ALTER FUNCTION one() SET search_path = x
DROP TRIGGER touch ON book
ALTER POLICY own ON book USING (false)
DROP RULE quiet ON part
DROP STATISTICS together
COMMENT ON TABLE book IS 'another'
COMMENT ON COLUMN book.id IS 'number'
GRANT SELECT ON book TO PUBLIC
GRANT UPDATE (title) ON book TO PUBLIC
GRANT EXECUTE ON FUNCTION pg_catalog.pg_read_file(text) TO PUBLIC
ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC
CREATE SCHEMA s
ALTER SCHEMA public RENAME TO p
DROP PUBLICATION news
ALTER PUBLICATION news SET (publish = 'insert')
DROP EXTENSION pgcrypto
ALTER EXTENSION pgcrypto DROP FUNCTION digest(text, text)
ALTER EXTENSION pgcrypto ADD FUNCTION one()
ALTER SERVER f VERSION '2'
CREATE USER MAPPING FOR PUBLIC SERVER f
DROP COLLATION plain
CREATE FOREIGN TABLE lines (line text) SERVER f OPTIONS (filename '/dev/null')
CREATE CAST (text AS mood) WITH INOUT
CREATE OPERATOR === (LEFTARG = int, RIGHTARG = int, FUNCTION = int4eq)
CREATE AGGREGATE top(int) (SFUNC = int4larger, STYPE = int)
CREATE TEXT SEARCH CONFIGURATION ours (COPY = simple)
CREATE EVENT TRIGGER e ON ddl_command_end EXECUTE FUNCTION done()
CREATE TYPE pair AS (a int, b int)
CREATE TYPE span AS RANGE (SUBTYPE = int)
DROP EXTENSION plpgsql CASCADE
CREATE OPERATOR CLASS mine FOR TYPE int USING btree AS OPERATOR 1 <, FUNCTION 1 btint4cmp(int, int)
CREATE TABLE copied (LIKE author INCLUDING ALL)
DROP MATERIALIZED VIEW kept
CREATE ACCESS METHOD m TYPE TABLE HANDLER heap_tableam_handler
CREATE LANGUAGE other HANDLER plpgsql_call_handler
ALTER ROLE {role} RENAME TO {role}_2
"""


@contextmanager
def _made(isolation: str) -> Iterator[Connection]:
    server = scratch()
    with (
        server.database() as engine,
        server.seeing_all(engine).execution_options(isolation_level=isolation).connect() as connection,
    ):
        connection.exec_driver_sql(_MADE)
        connection.exec_driver_sql("CREATE FUNCTION done() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'")
        yield connection


def test_whatever_is_changed_is_seen() -> None:
    role = "identity_role"
    with _made("READ COMMITTED") as connection:
        connection.exec_driver_sql(f"CREATE ROLE {role}")
        before, unseen = identity(connection), []
        for statement in _CHANGES.strip().splitlines():
            tried = connection.begin_nested()
            connection.exec_driver_sql(statement.replace("{role}", role))
            if identity(connection) == before:
                unseen.append(statement)
            tried.rollback()
        assert unseen == []
        assert identity(connection) == before


@pytest.mark.parametrize(
    ("there", "back"),
    [
        ("CREATE TABLE new (id serial PRIMARY KEY, long text)", "DROP TABLE new"),
        ("ALTER TABLE author ADD age int DEFAULT 3", "ALTER TABLE author DROP age"),
        ("CREATE INDEX again ON book (author)", "DROP INDEX again"),
        ("ALTER TABLE book ADD CONSTRAINT c CHECK (id > 0)", "ALTER TABLE book DROP CONSTRAINT c"),
        ("ALTER TABLE part ADD CONSTRAINT f FOREIGN KEY (id) REFERENCES book", "ALTER TABLE part DROP CONSTRAINT f"),
        ("ALTER TABLE author ALTER name DROP NOT NULL", "ALTER TABLE author ALTER name SET NOT NULL"),
        ("ALTER TABLE author RENAME note TO remark", "ALTER TABLE author RENAME remark TO note"),
        ("CREATE TYPE state AS ENUM ('a'); CREATE SCHEMA s", "DROP TYPE state; DROP SCHEMA s"),
        ("INSERT INTO author SELECT FROM generate_series(1, 500)", "ANALYZE"),
        ("CREATE TEMPORARY TABLE t AS SELECT 1 AS id, 'x'::text AS long", "SELECT 1"),
        ("VACUUM FULL author", "REINDEX TABLE author"),
    ],
)
def test_what_was_made_and_taken_away_leaves_no_trace(there: str, back: str) -> None:
    with _made("AUTOCOMMIT") as connection:
        before = identity(connection)
        connection.exec_driver_sql(there)
        connection.exec_driver_sql(back)
        assert identity(connection) == before
