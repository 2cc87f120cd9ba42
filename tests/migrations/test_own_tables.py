"""The migrators' own tables: in a schema of their own, moved there; one of the application's is nobody's business."""

import re
from contextlib import closing
from pathlib import Path

import pytest

from tangga.catalogue import ours
from tangga.exits import UNPROVEN
from tests.databases import connect, query, run, scratch_database
from tests.support.library import FOLDER, HEAD, alembic, migrate, plant
from tests.support.planning import by_statement, plan_of
from tests.support.schema import catalogue, revision
from tests.support.steps import edit

STEP, NEXT = "0000000000a1", "0000000000a2"
PLACES = "SELECT oid::regclass::text FROM pg_class WHERE relname ~ '^migration_(log|backfill)$' ORDER BY 1"
OURS = [("tangga.migration_backfill",), ("tangga.migration_log",)]
# Where and how an older version left them.
AS_BEFORE = "; ".join(f"ALTER TABLE tangga.{table} SET SCHEMA public" for table in ours.TABLES)


@pytest.fixture(autouse=True)
def _schema_of_the_next_test() -> object:
    yield
    ours.use({})


def _application(name: str, columns: str) -> str:
    return f"op.execute('CREATE TABLE {name} ({columns})')"


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("migration_log", "id int PRIMARY KEY, note text"),
        ("migration_backfill", "revision text, rows int"),
        ("public.migration_log", "revision text, direction text, error text"),
    ],
)
def test_a_table_of_the_applications_own_is_like_any_other(
    database: str, library: Path, name: str, columns: str
) -> None:
    plain = name.rpartition(".")[2]
    plant(library, STEP, _application(name, columns), after=None, downgrade=f"op.drop_table('{plain}')")
    [first] = (library / "migrations/versions").glob("l1*.py")
    edit(first, "down_revision: str | None = None\n", f"down_revision: str | None = {STEP!r}\n")
    migrate(database, "upgrade", STEP, project=library)
    query(database, f"INSERT INTO public.{plain} DEFAULT VALUES") if "PRIMARY" not in columns else query(
        database, f"INSERT INTO public.{plain} VALUES (1, 'a note')"
    )
    plant(library, NEXT, f"op.execute('ALTER TABLE {plain} ADD COLUMN more int')", after=HEAD)
    # A plan shows what is done to it.
    statements = by_statement(plan_of(database, library), NEXT)
    assert plain in statements[f"ALTER TABLE {plain} ADD COLUMN more int"]
    migrate(database, "upgrade", "head", project=library)
    assert [row for row in query(database, PLACES) if row[0].startswith("tangga.")] == OURS
    drift = alembic(database, "drift", project=library)
    assert drift.returncode in (0, 9), drift.stderr
    query(database, f"ALTER TABLE public.{plain} ADD COLUMN by_hand int")
    assert f"{plain}.by_hand" in alembic(database, "drift", project=library).stdout
    query(database, f"ALTER TABLE public.{plain} DROP COLUMN by_hand")
    losses = alembic(database, "losses", "base", project=library)
    assert re.search(rf"{plain} +1 rows  dropped table", losses.stdout)


def test_they_are_moved_with_their_rows_and_rights(shelved: str, library: Path) -> None:
    with scratch_database(shelved) as database:
        query(database, AS_BEFORE)
        query(database, "DROP SCHEMA tangga")
        query(database, "REVOKE ALL ON migration_log, migration_backfill FROM PUBLIC")
        before = query(database, "SELECT * FROM migration_log ORDER BY id")
        # What only reads finds them where they are.
        log = alembic(database, "log", project=library)
        assert ("no record" in log.stdout, log.returncode) == (False, 0)
        plant(library, STEP, "pass")
        made = plan_of(database, library)
        assert (made.failed, made.steps[0].statements) == (None, [])
        migrate(database, "upgrade", "head", project=library)
        assert query(database, PLACES) == OURS
        rows = query(database, "SELECT * FROM tangga.migration_log ORDER BY id", role="app")
        assert rows[:-1] == before
        assert rows[-1][1] == STEP
        # Once more, nothing happens.
        where = catalogue(database)
        migrate(database, "upgrade", "head", project=library)
        assert catalogue(database) == where
        assert query(database, PLACES) == OURS


def test_without_a_step_to_run_they_are_moved_too(shelved: str) -> None:
    with scratch_database(shelved) as database:
        query(database, AS_BEFORE)
        migrate(database, "upgrade", "head", project=FOLDER)
        assert query(database, PLACES) == OURS


def test_a_step_that_fails_takes_the_move_back(shelved: str, library: Path) -> None:
    with scratch_database(shelved) as database:
        query(database, AS_BEFORE)
        plant(library, STEP, "op.execute('SELECT 1/0')")
        assert alembic(database, "upgrade", "head", project=library).returncode == 3
        assert query(database, PLACES) == [("migration_backfill",), ("migration_log",)]
        assert query(database, "SELECT outcome FROM migration_log WHERE revision = %s", STEP) == [("failed",)]


def test_where_an_older_version_has_run_once_more_its_rows_are_added(shelved: str, library: Path) -> None:
    with scratch_database(shelved) as database:
        query(database, "CREATE TABLE public.migration_log (LIKE tangga.migration_log INCLUDING ALL)")
        query(database, "ALTER TABLE public.migration_log DROP COLUMN breaking")
        query(
            database,
            "INSERT INTO public.migration_log (revision, direction, outcome, started_at, seconds, image_version)"
            " VALUES ('older', 'up', 'done', now(), 0, 'v0')",
        )
        plant(library, STEP, "pass")
        migrate(database, "upgrade", "head", project=library)
        assert query(database, PLACES) == OURS
        found = query(database, "SELECT revision FROM tangga.migration_log ORDER BY id")
        assert found[-2:] == [("older",), (STEP,)]


def test_the_schema_may_have_another_name_and_be_made_by_somebody_else(database: str, library: Path) -> None:
    pyproject = library / "pyproject.toml"
    pyproject.write_text(pyproject.read_text() + 'schema = "Own Tools"\n')
    query(database, 'CREATE SCHEMA "Own Tools"')
    finished = alembic(database, "upgrade", "head", project=library)
    assert finished.returncode == 0, finished.stderr
    assert query(database, PLACES) == [('"Own Tools".migration_backfill',), ('"Own Tools".migration_log',)]
    for command in ("log", "drift", "verify", "losses"):
        assert alembic(database, command, project=library).returncode in (0, 11), command
    assert query(database, 'SELECT count(*) FROM "Own Tools".migration_log', role="app") == [(4,)]


@pytest.mark.parametrize("table", ours.TABLES)
def test_without_a_schema_of_their_own_a_table_of_that_name_would_be_in_the_way(
    database: str, library: Path, table: str
) -> None:
    pyproject = library / "pyproject.toml"
    pyproject.write_text(pyproject.read_text() + 'schema = "public"\n')
    query(database, "CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)")
    query(database, "INSERT INTO alembic_version VALUES ('l10000000001')")
    query(database, "CREATE TABLE authors (id int PRIMARY KEY)")
    query(database, f"CREATE TABLE {table} (id int)")
    finished = alembic(database, "upgrade", "l20000000002", project=library)
    assert finished.returncode != 0
    assert "schema public holds a table of the application's that is called as one of tangga's" in finished.stderr
    assert 'schema = "..." in [tool.tangga]' in finished.stderr


@pytest.mark.parametrize("name", ["versions_of_books", "meta.alembic_version"])
def test_the_table_of_the_version_may_have_another_name(database: str, library: Path, name: str) -> None:
    schema, _, table = name.rpartition(".")
    env = library / "migrations/env.py"
    given = f"version_table={table!r}" + (f", version_table_schema={schema!r}" if schema else "")
    env.write_text(env.read_text().replace("**options)", f"{given}, **options)"))
    if schema:
        query(database, f"CREATE SCHEMA {schema}")
    assert alembic(database, "upgrade", "l30000000003", project=library).returncode == 0
    for command in ("log", "current", "plan", "lint --pending", "losses", "drift", "upgrade head", "check", "drift"):
        finished = alembic(database, *command.split(), project=library)
        assert finished.returncode in (0, 11, UNPROVEN), (command, finished.stderr)
    with closing(connect(database)) as connection:
        assert run(connection, f"SELECT version_num FROM {name}") == [(HEAD,)]
    assert query(database, "SELECT count(*) FROM tangga.migration_log WHERE direction = 'up'") == [(4,)]
    assert revision(database) == (HEAD if name.endswith("alembic_version") and not schema else None)
