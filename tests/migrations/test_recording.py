"""What a plan records of a statement: each lock is compared with what a second session meets while it is held."""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from tangga import connect as connecting
from tangga.plan.model import Plan
from tangga.plan.recording import Recorder
from tests.databases import connect, eventually, finish, query, run, start_alembic
from tests.migrations.proving import project_of
from tests.support.library import FOLDER, HEAD, copy_library, plant
from tests.support.locks import Kind, kept_out, refused_modes
from tests.support.planning import by_statement, plan_of

_HOLD = 4242
TABLES = ("books", "authors", "loans")


IN_TRANSACTION = [
    Kind("a column", "ALTER TABLE books ADD COLUMN city text", "ACCESS EXCLUSIVE", []),
    Kind("a column with a constant default", "ALTER TABLE books ADD COLUMN city text NOT NULL DEFAULT ''",
         "ACCESS EXCLUSIVE", []),
    Kind("a column with a volatile default", "ALTER TABLE books ADD COLUMN code uuid DEFAULT gen_random_uuid()",
         "ACCESS EXCLUSIVE", ["rewrite", "scan"]),
    Kind("a column dropped", "ALTER TABLE books DROP COLUMN note", "ACCESS EXCLUSIVE", []),
    Kind("a column renamed", "ALTER TABLE books RENAME COLUMN note TO remark", "ACCESS EXCLUSIVE", []),
    Kind("integer to bigint", "ALTER TABLE books ALTER COLUMN pages TYPE bigint", "ACCESS EXCLUSIVE",
         ["rewrite", "scan"]),
    Kind("varchar to text", "ALTER TABLE books ALTER COLUMN title TYPE text", "ACCESS EXCLUSIVE", []),
    Kind("NOT NULL", "ALTER TABLE books ALTER COLUMN note SET NOT NULL", "ACCESS EXCLUSIVE", ["scan"]),
    Kind("NOT NULL after a validated CHECK", "ALTER TABLE books ALTER COLUMN note SET NOT NULL",
         "ACCESS EXCLUSIVE", [], "ALTER TABLE books ADD CHECK (note IS NOT NULL)"),
    Kind("a CHECK", "ALTER TABLE books ADD CHECK (pages >= 0)", "ACCESS EXCLUSIVE", ["scan"]),
    Kind("a CHECK, NOT VALID", "ALTER TABLE books ADD CHECK (pages >= 0) NOT VALID", "ACCESS EXCLUSIVE", []),
    Kind("a CHECK validated", "ALTER TABLE books VALIDATE CONSTRAINT ck", "SHARE UPDATE EXCLUSIVE", ["scan"],
         "ALTER TABLE books ADD CONSTRAINT ck CHECK (pages >= 0) NOT VALID"),
    Kind("a foreign key", "ALTER TABLE books ADD CONSTRAINT fk FOREIGN KEY (pages) REFERENCES authors",
         "SHARE ROW EXCLUSIVE", ["scan"]),
    Kind("a foreign key, NOT VALID",
         "ALTER TABLE books ADD CONSTRAINT fk FOREIGN KEY (pages) REFERENCES authors NOT VALID",
         "SHARE ROW EXCLUSIVE", []),
    Kind("a foreign key validated", "ALTER TABLE books VALIDATE CONSTRAINT fk", "SHARE UPDATE EXCLUSIVE", ["scan"],
         "ALTER TABLE books ADD CONSTRAINT fk FOREIGN KEY (pages) REFERENCES authors NOT VALID"),
    Kind("an index", "CREATE INDEX ix ON books (title)", "SHARE", ["scan"]),
    Kind("a trigger", "CREATE TRIGGER t BEFORE INSERT ON books FOR EACH ROW EXECUTE FUNCTION f()",
         "SHARE ROW EXCLUSIVE", [],
         "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'"),
    Kind("a view", "CREATE VIEW names AS SELECT title FROM books", "ACCESS SHARE", []),
    Kind("a comment", "COMMENT ON TABLE books IS 'what people wrote'", "SHARE UPDATE EXCLUSIVE", []),
    Kind("an UPDATE", "UPDATE books SET pages = pages + 1", "ROW EXCLUSIVE", ["scan", "change"]),
    Kind("an UPDATE by key", "UPDATE books SET pages = pages + 1 WHERE id = 1", "ROW EXCLUSIVE", ["change"]),
    Kind("a table dropped that refers to it", "DROP TABLE loans", "ACCESS EXCLUSIVE", []),
    Kind("a LOCK", "LOCK TABLE books IN EXCLUSIVE MODE", "EXCLUSIVE", []),
]  # fmt: skip


@pytest.mark.parametrize("kind", IN_TRANSACTION, ids=lambda kind: kind.name)
def test_the_lock_is_the_one_that_a_second_session_meets(live: str, kind: Kind) -> None:
    if kind.before:
        query(live, kind.before)
    engine = connecting.engine(project_of(FOLDER, live).settings.url, "test")
    with engine.connect() as observer:
        recorder = Recorder(engine, observer.execution_options(isolation_level="AUTOCOMMIT"))
        with recorder.engine.connect() as connection, recorder.step() as statements:
            connection.exec_driver_sql(kind.statement)
            met = {table: refused_modes(live, table) for table in TABLES}
    [statement] = statements
    touches = {touch.table: touch for touch in statement.touches}
    assert (statement.sql, statement.transaction) == (kind.statement, "step")
    assert (touches["books"].lock, touches["books"].work) == (kind.lock, kind.work)
    assert met == kept_out({table: touch.locks for table, touch in touches.items()}, *TABLES)


# In one transaction after the other: a statement, what it takes, and what it works on.
_SEQUENCE: list[tuple[str, list[str], dict[str, list[str]]]] = [
    ("LOCK TABLE loans IN SHARE MODE", ["loans"], {}),
    ("SAVEPOINT a", [], {}),
    ("ALTER TABLE books ALTER pages TYPE bigint", ["books"], {"books": ["rewrite", "scan"]}),
    ("COMMENT ON TABLE books IS 'held'", [], {}),
    ("ROLLBACK TO a", [], {}),
    ("COMMENT ON TABLE books IS 'taken anew'", ["books"], {}),
    ("CREATE TABLE copies (id int)", ["copies"], {}),
    ("COMMENT ON TABLE loans IS 'nothing of copies'", [], {}),
    ("INSERT INTO copies SELECT 1 FROM authors WHERE false", ["authors"], {"copies": ["insert"]}),
    ("INSERT INTO copies VALUES (1), (2)", [], {"copies": ["insert"]}),
    ("COMMENT ON TABLE copies IS 'nothing of it'", [], {}),
    ("UPDATE copies SET id = 3 WHERE id = 2", [], {"copies": ["scan", "change"]}),
    ("COMMIT", [], {}),
    ("COMMENT ON TABLE books IS 'taken again'", ["books"], {}),
    ("ALTER TABLE copies ADD code uuid DEFAULT gen_random_uuid()", ["copies"], {"copies": ["rewrite", "scan"]}),
    ("DROP TABLE copies", [], {}),
    ("COMMENT ON TABLE authors IS 'nothing of copies'", ["authors"], {}),
    ("ALTER TABLE books ADD x int; COMMIT; BEGIN; COMMENT ON TABLE loans IS 'in another one'", ["loans"], {}),
    ("COMMENT ON TABLE books IS 'taken in that one'", ["books"], {}),
]


def test_each_statement_is_looked_at_from_where_the_one_before_has_ended(live: str) -> None:
    engine = connecting.engine(project_of(FOLDER, live).settings.url, "test")
    with engine.connect() as observer:
        recorder = Recorder(engine, observer.execution_options(isolation_level="AUTOCOMMIT"))
        with recorder.engine.connect() as connection, recorder.step() as statements:
            for sql, taken, work in _SEQUENCE:
                before = len(statements)
                connection.commit() if sql == "COMMIT" else connection.exec_driver_sql(sql)
                for noted in statements[before:]:
                    touches = {touch.table: touch for touch in noted.touches}
                    assert sorted(name for name, touch in touches.items() if touch.taken) == taken, sql
                    assert {name: touch.work for name, touch in touches.items() if touch.work} == work, sql
                    met = {table: refused_modes(live, table) for table in TABLES}
                    assert met == kept_out({table: touch.locks for table, touch in touches.items()}, *TABLES), sql
    asked = [sql for sql, _, _ in _SEQUENCE if sql.partition(" ")[0] not in ("SAVEPOINT", "ROLLBACK", "COMMIT")]
    assert [noted.sql for noted in statements] == asked


OUTSIDE = [
    Kind("an index, CONCURRENTLY", "CREATE INDEX CONCURRENTLY ix ON books (title)", "SHARE UPDATE EXCLUSIVE", ["scan"]),
    Kind("an index dropped, CONCURRENTLY", "DROP INDEX CONCURRENTLY ix", "SHARE UPDATE EXCLUSIVE", [],
         "CREATE INDEX ix ON books (title)"),
    Kind("a REINDEX, CONCURRENTLY", "REINDEX INDEX CONCURRENTLY ix", "SHARE UPDATE EXCLUSIVE", ["scan"],
         "CREATE INDEX ix ON books (title)"),
]  # fmt: skip


def waits(database: str) -> bool:
    """Tell whether the migrator waits for somebody."""
    return bool(
        query(
            database,
            "SELECT pid FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE NOT granted "
            "AND datname = current_database() AND application_name = 'tangga-migrate'",
        )
    )


def assert_met(
    live: str, library: Path, planned: dict[str, Any], hold: Callable[[psycopg2.extensions.connection], None]
) -> None:
    """Run the steps on the live database; while the last is held open, compare what a second session meets."""
    with closing(connect(live)) as holder:
        hold(holder)
        process = start_alembic(live, "upgrade", "head", project=library, environment={"MIGRATE_LOCK_TIMEOUT": "60"})
        try:
            assert eventually(lambda: process.poll() is not None or waits(live))
            met = {table: refused_modes(live, table) for table in ("books", "authors", "loans")}
        finally:
            run(holder, "ROLLBACK")
        finished = finish(process)
        assert finished.returncode == 0, finished.stderr
    assert met == kept_out({table: touch.locks for table, touch in planned.items()}, *met)


def test_the_lock_is_the_one_that_the_migration_takes(live: str, library: Path) -> None:
    """More statements, without the way from the plan to the migration: test_recording.py."""
    statement = "ALTER TABLE books ADD CONSTRAINT fk FOREIGN KEY (pages) REFERENCES authors"
    body = f"op.execute({statement!r}); op.execute('SELECT pg_advisory_xact_lock({_HOLD})')"
    plant(library, "0000000000a1", body)
    planned = by_statement(plan_of(live, library), "0000000000a1")[statement]
    assert (planned["books"].lock, planned["books"].work) == ("SHARE ROW EXCLUSIVE", ["scan"])

    def hold(holder: psycopg2.extensions.connection) -> None:
        run(holder, "BEGIN")
        run(holder, "SELECT pg_advisory_xact_lock(%s)", _HOLD)

    assert_met(live, library, planned, hold)


@pytest.mark.parametrize("kind", OUTSIDE, ids=lambda kind: kind.name)
def test_the_lock_of_a_statement_outside_a_transaction_is_the_one_that_is_met(
    live: str, library: Path, kind: Kind
) -> None:
    if kind.before:
        query(live, kind.before)
    plant(library, "0000000000a1", f"with op.get_context().autocommit_block(): op.execute({kind.statement!r})")
    planned = by_statement(plan_of(live, library), "0000000000a1")[kind.statement]
    assert (planned["books"].lock, planned["books"].work) == (kind.lock, kind.work)

    def hold(holder: psycopg2.extensions.connection) -> None:
        # CONCURRENTLY waits for old snapshots, or for readers of the table; ACCESS SHARE keeps out nobody else here.
        run(holder, "BEGIN ISOLATION LEVEL REPEATABLE READ")
        run(holder, "SELECT count(*) FROM books")

    assert_met(live, library, planned, hold)


def test_reading_a_table_needs_its_indexes_too(live: str, library: Path) -> None:
    query(live, "CREATE INDEX ix ON books (title)")
    plant(library, "0000000000a1", "op.execute('REINDEX INDEX ix')")
    planned = by_statement(plan_of(live, library), "0000000000a1")["REINDEX INDEX ix"]
    assert (planned["books"].lock, planned["ix"].lock) == ("SHARE", "ACCESS EXCLUSIVE")
    # SHARE alone lets readers through. The index does not.
    with closing(connect(live)) as first, closing(connect(live)) as second:
        run(first, "BEGIN")
        run(first, "REINDEX INDEX ix")
        run(second, "SET lock_timeout = '100ms'")
        with pytest.raises(psycopg2.errors.LockNotAvailable):
            run(second, "SELECT count(*) FROM books")


LATER = [
    # It waits for nobody.
    "with op.get_context().autocommit_block(): op.execute('VACUUM books')",
    "op.drop_column('books', 'note'); op.execute('CREATE INDEX ix ON loans (book_id)')",
    "op.execute('ALTER TABLE books ADD CONSTRAINT ck CHECK (pages >= 0) NOT VALID')",
]


@pytest.fixture(scope="module")
def several(populated: str, tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """A plan with the steps of LATER, one upon another; the last has a constraint validated after its commit."""
    folder = copy_library(tmp_path_factory.mktemp("several") / "library")
    files: list[Path] = []
    for number, step in enumerate(LATER, 1):
        below = f"0000000000a{number - 1}" if files else HEAD
        files.append(plant(folder, f"0000000000a{number}", step, after=below))
    files[-1].write_text(files[-1].read_text() + "validate_after_commit = ('books.ck',)\n")
    return plan_of(populated, folder)


def test_a_vacuum_is_seen_although_it_waits_for_nobody(several: Plan) -> None:
    [(statement, touches)] = by_statement(several, "0000000000a1").items()
    assert (statement, touches["books"].lock) == ("VACUUM books", "SHARE UPDATE EXCLUSIVE")


def test_a_lock_is_shown_as_long_as_it_is_held(several: Plan) -> None:
    during_index = by_statement(several, "0000000000a2")["CREATE INDEX ix ON loans (book_id)"]
    assert (during_index["loans"].lock, during_index["loans"].taken) == ("SHARE", True)
    assert (during_index["books"].lock, during_index["books"].taken) == ("ACCESS EXCLUSIVE", False)


def test_what_follows_the_commit_has_its_own_lock(several: Plan) -> None:
    [add, validate] = several.steps[2].statements
    assert (add.transaction, add.touches[0].lock, add.touches[0].work) == ("step", "ACCESS EXCLUSIVE", [])
    assert (validate.transaction, validate.touches[0].lock) == ("own", "SHARE UPDATE EXCLUSIVE")
    assert validate.touches[0].work == ["scan"]
