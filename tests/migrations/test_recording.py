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
from tests.migrations.staircase import HEAD, copy_project, plant
from tests.support.locks import Kind, kept_out, refused_modes
from tests.support.planning import by_statement, plan_of

_HOLD = 4242
TABLES = ("posts", "users", "votes")


IN_TRANSACTION = [
    Kind("a column", "ALTER TABLE posts ADD COLUMN kota text", "ACCESS EXCLUSIVE", []),
    Kind("a column with a constant default", "ALTER TABLE posts ADD COLUMN kota text NOT NULL DEFAULT ''",
         "ACCESS EXCLUSIVE", []),
    Kind("a column with a volatile default", "ALTER TABLE posts ADD COLUMN kode uuid DEFAULT gen_random_uuid()",
         "ACCESS EXCLUSIVE", ["rewrite", "scan"]),
    Kind("a column dropped", "ALTER TABLE posts DROP COLUMN no_hp", "ACCESS EXCLUSIVE", []),
    Kind("a column renamed", "ALTER TABLE posts RENAME COLUMN no_hp TO telepon", "ACCESS EXCLUSIVE", []),
    Kind("integer to bigint", "ALTER TABLE posts ALTER COLUMN umur TYPE bigint", "ACCESS EXCLUSIVE",
         ["rewrite", "scan"]),
    Kind("varchar to text", "ALTER TABLE posts ALTER COLUMN nama TYPE text", "ACCESS EXCLUSIVE", []),
    Kind("NOT NULL", "ALTER TABLE posts ALTER COLUMN no_hp SET NOT NULL", "ACCESS EXCLUSIVE", ["scan"]),
    Kind("NOT NULL after a validated CHECK", "ALTER TABLE posts ALTER COLUMN no_hp SET NOT NULL",
         "ACCESS EXCLUSIVE", [], "ALTER TABLE posts ADD CHECK (no_hp IS NOT NULL)"),
    Kind("a CHECK", "ALTER TABLE posts ADD CHECK (umur >= 0)", "ACCESS EXCLUSIVE", ["scan"]),
    Kind("a CHECK, NOT VALID", "ALTER TABLE posts ADD CHECK (umur >= 0) NOT VALID", "ACCESS EXCLUSIVE", []),
    Kind("a CHECK validated", "ALTER TABLE posts VALIDATE CONSTRAINT ck", "SHARE UPDATE EXCLUSIVE", ["scan"],
         "ALTER TABLE posts ADD CONSTRAINT ck CHECK (umur >= 0) NOT VALID"),
    Kind("a foreign key", "ALTER TABLE posts ADD CONSTRAINT fk FOREIGN KEY (umur) REFERENCES users",
         "SHARE ROW EXCLUSIVE", ["scan"]),
    Kind("a foreign key, NOT VALID",
         "ALTER TABLE posts ADD CONSTRAINT fk FOREIGN KEY (umur) REFERENCES users NOT VALID",
         "SHARE ROW EXCLUSIVE", []),
    Kind("a foreign key validated", "ALTER TABLE posts VALIDATE CONSTRAINT fk", "SHARE UPDATE EXCLUSIVE", ["scan"],
         "ALTER TABLE posts ADD CONSTRAINT fk FOREIGN KEY (umur) REFERENCES users NOT VALID"),
    Kind("an index", "CREATE INDEX ix ON posts (nama)", "SHARE", ["scan"]),
    Kind("a trigger", "CREATE TRIGGER t BEFORE INSERT ON posts FOR EACH ROW EXECUTE FUNCTION f()",
         "SHARE ROW EXCLUSIVE", [],
         "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'"),
    Kind("a view", "CREATE VIEW names AS SELECT nama FROM posts", "ACCESS SHARE", []),
    Kind("a comment", "COMMENT ON TABLE posts IS 'what people wrote'", "SHARE UPDATE EXCLUSIVE", []),
    Kind("an UPDATE", "UPDATE posts SET umur = umur + 1", "ROW EXCLUSIVE", ["scan", "change"]),
    Kind("an UPDATE by key", "UPDATE posts SET umur = umur + 1 WHERE id = 1", "ROW EXCLUSIVE", ["change"]),
    Kind("a table dropped that refers to it", "DROP TABLE votes", "ACCESS EXCLUSIVE", []),
    Kind("a LOCK", "LOCK TABLE posts IN EXCLUSIVE MODE", "EXCLUSIVE", []),
]  # fmt: skip


@pytest.mark.parametrize("kind", IN_TRANSACTION, ids=lambda kind: kind.name)
def test_the_lock_is_the_one_that_a_second_session_meets(live: str, kind: Kind) -> None:
    if kind.before:
        query(live, kind.before)
    engine = connecting.engine(project_of(live=live).settings.url, "test")
    with engine.connect() as observer:
        recorder = Recorder(engine, observer.execution_options(isolation_level="AUTOCOMMIT"))
        with recorder.engine.connect() as connection, recorder.step() as statements:
            connection.exec_driver_sql(kind.statement)
            met = {table: refused_modes(live, table) for table in TABLES}
    [statement] = statements
    touches = {touch.table: touch for touch in statement.touches}
    assert (statement.sql, statement.transaction) == (kind.statement, "step")
    assert (touches["posts"].lock, touches["posts"].work) == (kind.lock, kind.work)
    assert met == kept_out({table: touch.locks for table, touch in touches.items()}, *TABLES)


OUTSIDE = [
    Kind("an index, CONCURRENTLY", "CREATE INDEX CONCURRENTLY ix ON posts (nama)", "SHARE UPDATE EXCLUSIVE", ["scan"]),
    Kind("an index dropped, CONCURRENTLY", "DROP INDEX CONCURRENTLY ix", "SHARE UPDATE EXCLUSIVE", [],
         "CREATE INDEX ix ON posts (nama)"),
    Kind("a REINDEX, CONCURRENTLY", "REINDEX INDEX CONCURRENTLY ix", "SHARE UPDATE EXCLUSIVE", ["scan"],
         "CREATE INDEX ix ON posts (nama)"),
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
    live: str, project: Path, planned: dict[str, Any], hold: Callable[[psycopg2.extensions.connection], None]
) -> None:
    """Run the steps on the live database; while the last is held open, compare what a second session meets."""
    with closing(connect(live)) as holder:
        hold(holder)
        process = start_alembic(live, "upgrade", "head", project=project, environment={"MIGRATE_LOCK_TIMEOUT": "60"})
        try:
            assert eventually(lambda: process.poll() is not None or waits(live))
            met = {table: refused_modes(live, table) for table in ("posts", "users", "votes")}
        finally:
            run(holder, "ROLLBACK")
        finished = finish(process)
        assert finished.returncode == 0, finished.stderr
    assert met == kept_out({table: touch.locks for table, touch in planned.items()}, *met)


def test_the_lock_is_the_one_that_the_migration_takes(live: str, project: Path) -> None:
    """More statements, without the way from the plan to the migration: test_recording.py."""
    statement = "ALTER TABLE posts ADD CONSTRAINT fk FOREIGN KEY (umur) REFERENCES users"
    body = f"op.execute({statement!r}); op.execute('SELECT pg_advisory_xact_lock({_HOLD})')"
    plant(project, "0000000000a1", body)
    planned = by_statement(plan_of(live, project), "0000000000a1")[statement]
    assert (planned["posts"].lock, planned["posts"].work) == ("SHARE ROW EXCLUSIVE", ["scan"])

    def hold(holder: psycopg2.extensions.connection) -> None:
        run(holder, "BEGIN")
        run(holder, "SELECT pg_advisory_xact_lock(%s)", _HOLD)

    assert_met(live, project, planned, hold)


@pytest.mark.parametrize("kind", OUTSIDE, ids=lambda kind: kind.name)
def test_the_lock_of_a_statement_outside_a_transaction_is_the_one_that_is_met(
    live: str, project: Path, kind: Kind
) -> None:
    if kind.before:
        query(live, kind.before)
    plant(project, "0000000000a1", f"with op.get_context().autocommit_block(): op.execute({kind.statement!r})")
    planned = by_statement(plan_of(live, project), "0000000000a1")[kind.statement]
    assert (planned["posts"].lock, planned["posts"].work) == (kind.lock, kind.work)

    def hold(holder: psycopg2.extensions.connection) -> None:
        # CONCURRENTLY waits for old snapshots, or for readers of the table; ACCESS SHARE keeps out nobody else here.
        run(holder, "BEGIN ISOLATION LEVEL REPEATABLE READ")
        run(holder, "SELECT count(*) FROM posts")

    assert_met(live, project, planned, hold)


def test_reading_a_table_needs_its_indexes_too(live: str, project: Path) -> None:
    query(live, "CREATE INDEX ix ON posts (nama)")
    plant(project, "0000000000a1", "op.execute('REINDEX INDEX ix')")
    planned = by_statement(plan_of(live, project), "0000000000a1")["REINDEX INDEX ix"]
    assert (planned["posts"].lock, planned["ix"].lock) == ("SHARE", "ACCESS EXCLUSIVE")
    # SHARE alone lets readers through. The index does not.
    with closing(connect(live)) as first, closing(connect(live)) as second:
        run(first, "BEGIN")
        run(first, "REINDEX INDEX ix")
        run(second, "SET lock_timeout = '100ms'")
        with pytest.raises(psycopg2.errors.LockNotAvailable):
            run(second, "SELECT count(*) FROM posts")


LATER = [
    # It waits for nobody.
    "with op.get_context().autocommit_block(): op.execute('VACUUM posts')",
    "op.drop_column('posts', 'no_hp'); op.execute('CREATE INDEX ix ON votes (post_id)')",
    "op.execute('ALTER TABLE posts ADD CONSTRAINT ck CHECK (umur >= 0) NOT VALID')",
]


@pytest.fixture(scope="module")
def several(populated: str, tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """A plan with the steps of LATER, one upon another; the last has a constraint validated after its commit."""
    folder = copy_project(tmp_path_factory.mktemp("several"))
    files: list[Path] = []
    for number, step in enumerate(LATER, 1):
        below = f"0000000000a{number - 1}" if files else HEAD
        files.append(plant(folder, f"0000000000a{number}", step, after=below))
    files[-1].write_text(files[-1].read_text() + "validate_after_commit = ('posts.ck',)\n")
    return plan_of(populated, folder)


def test_a_vacuum_is_seen_although_it_waits_for_nobody(several: Plan) -> None:
    [(statement, touches)] = by_statement(several, "0000000000a1").items()
    assert (statement, touches["posts"].lock) == ("VACUUM posts", "SHARE UPDATE EXCLUSIVE")


def test_a_lock_is_shown_as_long_as_it_is_held(several: Plan) -> None:
    during_index = by_statement(several, "0000000000a2")["CREATE INDEX ix ON votes (post_id)"]
    assert (during_index["votes"].lock, during_index["votes"].taken) == ("SHARE", True)
    assert (during_index["posts"].lock, during_index["posts"].taken) == ("ACCESS EXCLUSIVE", False)


def test_what_follows_the_commit_has_its_own_lock(several: Plan) -> None:
    [add, validate] = several.steps[2].statements
    assert (add.transaction, add.touches[0].lock, add.touches[0].work) == ("step", "ACCESS EXCLUSIVE", [])
    assert (validate.transaction, validate.touches[0].lock) == ("own", "SHARE UPDATE EXCLUSIVE")
    assert validate.touches[0].work == ["scan"]
