"""Several migrators at once, and migrators that die."""

import re
import subprocess
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import psycopg2.errors
import pytest
from psycopg2.extensions import connection as Connection

from tangga.guard.lock import LOCK_KEY
from tests.databases import (
    PATIENCE,
    connect,
    eventually,
    finish,
    query,
    run,
    scratch_database,
    start_alembic,
)
from tests.migrations.staircase import HEAD
from tests.support.gate import PATIENT, backends, gate, waiting_at_gate
from tests.support.library import HEAD as LIBRARY_HEAD
from tests.support.library import alembic, copy_library
from tests.support.library import migrate as migrate_library
from tests.support.library import plant as plant_in_library
from tests.support.pages import differs
from tests.support.schema import catalogue, revision
from tests.support.steps import edit

_SESSIONS = "SELECT pid FROM pg_stat_activity WHERE datname = %s AND application_name LIKE 'tangga-%%'"


def _running(database: str, statement: str) -> Callable[[], bool]:
    sees = "SELECT 1 FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid() AND query LIKE %s"
    return lambda: query(database, sees + " AND state = 'active'", database, f"%{statement}%", role="superuser") != []


def test_eight_migrators_at_once_all_succeed(database: str) -> None:
    with gate(database, "CREATE TABLE"):
        migrators = [start_alembic(database, "upgrade", "head", environment=PATIENT) for _ in range(8)]
        # Seven wait with one session each; the eighth has a second one, in which it migrates.
        assert eventually(lambda: backends(database) == 9)
    finished = [finish(migrator) for migrator in migrators]
    assert [migrator.returncode for migrator in finished] == [0] * 8, [migrator.stderr for migrator in finished]
    assert sum("waiting for the migration lock" in migrator.stderr for migrator in finished) == 7
    assert sum("Running upgrade" in migrator.stderr for migrator in finished) == 1
    assert revision(database) == HEAD


def test_without_the_lock_some_of_them_fail(database: str, library: Path) -> None:
    library = copy_library(library, with_tangga=True)
    edit(
        library / "tangga" / "environment.py",
        "wanted=command.changes_database(context.config)",
        "wanted=False",
    )
    with gate(database, "CREATE TABLE"):
        migrators = [start_alembic(database, "upgrade", "head", project=library, environment=PATIENT) for _ in range(3)]
        # All three have seen that there is no table of versions, and are about to make one.
        assert eventually(lambda: waiting_at_gate(database) == 3)
    assert sorted(finish(migrator).returncode for migrator in migrators) != [0, 0, 0]


@pytest.mark.parametrize("command", [("downgrade", "-1"), ("stamp", "head")])
def test_every_command_that_writes_waits_for_the_lock(shelved: str, command: tuple[str, str]) -> None:
    with closing(connect(shelved)) as other:
        run(other, "SELECT pg_advisory_lock(%s)", LOCK_KEY)
        assert alembic(shelved, *command, environment={"MIGRATE_LOCK_WAIT": "0"}).returncode == 4
    assert revision(shelved) == LIBRARY_HEAD


def test_who_waits_names_the_holder_in_its_own_database(shelved: str) -> None:
    # The server shows advisory locks of all its databases, and every Tangga on it takes the same one.
    with (
        scratch_database() as elsewhere,
        closing(connect(elsewhere)) as stranger,
        closing(connect(shelved)) as holder,
    ):
        for session in (stranger, holder):
            run(session, "SELECT pg_advisory_lock(%s)", LOCK_KEY)
        failed = alembic(shelved, "downgrade", "-1", environment={"MIGRATE_LOCK_WAIT": "0"})
        assert f"held by pid {holder.info.backend_pid} from" in failed.stderr
        assert failed.returncode == 4


def test_who_waits_goes_on_when_the_lock_is_free(database: str) -> None:
    with closing(connect(database)) as other:
        run(other, "SELECT pg_advisory_lock(%s)", LOCK_KEY)
        # Shorter than the wait: time-outs of a step must not end the wait for the lock.
        times = {"MIGRATE_STATEMENT_TIMEOUT": "2", "MIGRATE_LOCK_TIMEOUT": "2"}
        migrator = start_alembic(database, "upgrade", "head", environment=times)
        # The question whether there is anything to do comes first, on a connection of its own. Here, it asks for the
        # lock again when the time-outs are over.
        asked = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND query LIKE '%%pg_try_advisory%%' "
            "AND pid <> pg_backend_pid() AND query_start > backend_start + interval '2.5 s'"
        )
        assert eventually(lambda: query(database, asked, database, role="superuser") == [(1,)])
        assert migrator.poll() is None
    finished = finish(migrator)
    assert finished.returncode == 0, finished.stderr
    assert "got the migration lock after" in finished.stderr


def test_time_outs_are_set_in_the_session_that_migrates(shelved: str, library: Path) -> None:
    names = ("lock_timeout", "statement_timeout", "client_connection_check_interval", "application_name")
    shown = ", ".join(f"current_setting('{name}') AS {name}" for name in names)
    plant_in_library(library, "0000000000a1", f'op.execute("CREATE TABLE shown AS SELECT {shown}")')
    with scratch_database(shelved) as database:
        times = {"MIGRATE_LOCK_TIMEOUT": "0.25", "MIGRATE_STATEMENT_TIMEOUT": "90"}
        assert alembic(database, "upgrade", "head", project=library, environment=times).returncode == 0
        assert query(database, "SELECT * FROM shown") == [("250ms", "90s", "1s", "tangga-migrate")]


# A step that takes long, in each way: reading on, waiting for an older transaction, changing rows.
_LONG_STATEMENT = "op.drop_table('loans'); op.execute('SELECT pg_sleep(1200)')"
_INDEX = "from tangga import safe; safe.create_index('ix_books_title', 'books', ['title'])"
_GUARD = '"client_connection_check_interval": "1s"'


def _kill(migrator: subprocess.Popen[str], database: str, *, guarded: bool = True) -> bool:
    """Kill a migrator; tell if its sessions give up all locks (unguarded: after three times the check's second)."""
    pids = [row[0] for row in query(database, _SESSIONS, database, role="superuser")]
    assert pids
    migrator.kill()
    migrator.wait()
    held = "SELECT 1 FROM pg_locks WHERE pid = ANY (%s)"
    return eventually(lambda: query(database, held, pids, role="superuser") == [], PATIENCE if guarded else 3)


@pytest.mark.parametrize("guarded", [True, False], ids=["guarded", "without the setting"])
def test_a_killed_migrator_leaves_a_whole_step_and_no_lock(shelved: str, library: Path, guarded: bool) -> None:
    if not guarded:
        library = copy_library(library, with_tangga=True)
        edit(library / "tangga" / "guard/steps.py", _GUARD, _GUARD.replace("1s", "0"))
    step = plant_in_library(library, "0000000000a1", _LONG_STATEMENT)
    with scratch_database(shelved) as database:
        before = catalogue(database)
        migrator = start_alembic(database, "upgrade", "head", project=library)
        assert eventually(_running(database, "pg_sleep"))
        # Without it, the server goes on with the statement, and nobody can use the table.
        assert _kill(migrator, database, guarded=guarded) is guarded
        if guarded:
            assert (revision(database), catalogue(database)) == (LIBRARY_HEAD, before)
            edit(step, "pg_sleep(1200)", "1")
            migrate_library(database, "upgrade", "head", project=library)
            assert revision(database) == "0000000000a1"


@pytest.mark.parametrize("guarded", [True, False], ids=["guarded", "without the setting"])
def test_a_migrator_killed_while_it_builds_an_index_leaves_no_lock_and_the_next_one_builds_it(
    shelved: str, library: Path, guarded: bool
) -> None:
    if not guarded:
        library = copy_library(library, with_tangga=True)
        edit(library / "tangga" / "guard/steps.py", _GUARD, _GUARD.replace("1s", "0"))
    plant_in_library(library, "0000000000a1", _INDEX)
    valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('ix_books_title')"
    with scratch_database(shelved) as database:
        with closing(connect(database)) as older:
            # The build waits for this transaction to end.
            run(older, "BEGIN")
            run(older, "LOCK TABLE books IN ROW EXCLUSIVE MODE")
            migrator = start_alembic(database, "upgrade", "head", project=library)
            assert eventually(lambda: query(database, valid) == [(False,)])
            assert eventually(_running(database, "CREATE INDEX CONCURRENTLY"))
            assert _kill(migrator, database, guarded=guarded) is guarded
            run(older, "COMMIT")
        if guarded:
            assert (revision(database), query(database, valid)) == (LIBRARY_HEAD, [(False,)])
            finished = alembic(database, "upgrade", "head", project=library)
            assert finished.returncode == 0, finished.stderr
            assert (revision(database), query(database, valid)) == ("0000000000a1", [(True,)])


def test_a_backfill_that_is_killed_twice_changes_each_of_a_million_rows_once(shelved: str, library: Path) -> None:
    plant_in_library(library, "0000000000a1", "from tangga import safe; safe.backfill('counted', 'pages = pages + 1')")
    # A fast machine has done the last half within the two seconds between two reports.
    library = copy_library(library, with_tangga=True)
    edit(library / "tangga" / "safe/batches.py", "_REPORT_SECONDS = 2", "_REPORT_SECONDS = 0.1")
    done = "SELECT coalesce(max(rows_done), 0) FROM tangga.migration_backfill"
    with scratch_database(shelved) as database:
        query(
            database,
            "CREATE TABLE counted (id integer PRIMARY KEY, pages integer NOT NULL); "
            "INSERT INTO counted SELECT n, 0 FROM generate_series(1, 1000000) AS n",
        )
        for share in (100_000, 500_000):
            migrator = start_alembic(database, "upgrade", "head", project=library)
            assert eventually(lambda share=share: query(database, done)[0][0] > share)  # type: ignore[misc]
            assert _kill(migrator, database)
            assert revision(database) == LIBRARY_HEAD
            # What the cursor says is what was done.
            assert query(database, "SELECT count(*) FROM counted WHERE pages = 1") == query(database, done)
        migrator = start_alembic(database, "upgrade", "head", project=library)
        _, printed = migrator.communicate()
        assert migrator.returncode == 0, printed
        assert re.search(r"counted: goes on after \d\d\d,\d{3} of 1,000,000 rows", printed), printed
        report = re.search(r"^.*counted: [\d,]+ of 1,000,000 rows, [\d,]+ a second, \d+ s left", printed, re.M)
        assert report, printed
        assert not differs("docs/safe-operations.md", "migrate: posts: ", report[0].replace("counted", "posts"))
        assert "counted: 1,000,000 rows, 1,000,000 of them changed, in" in printed
        assert query(database, "SELECT pages, count(*) FROM counted GROUP BY pages") == [(1, 1_000_000)]
        assert query(database, "SELECT * FROM tangga.migration_backfill") == []


def test_eight_migrators_at_once_while_one_builds_an_index_concurrently(shelved: str, library: Path) -> None:
    plant_in_library(library, "0000000000a1", _INDEX)
    with scratch_database(shelved) as database:
        with closing(connect(database)) as older:
            run(older, "BEGIN")
            run(older, "LOCK TABLE books IN ROW EXCLUSIVE MODE")
            migrators = [start_alembic(database, "upgrade", "head", project=library) for _ in range(8)]
            assert eventually(_running(database, "CREATE INDEX CONCURRENTLY"))
            # The others wait meanwhile, as they would for an hour.
            assert eventually(lambda: backends(database) == 9)
            run(older, "COMMIT")
        finished = [finish(migrator) for migrator in migrators]
        assert [migrator.returncode for migrator in finished] == [0] * 8, [migrator.stderr for migrator in finished]
        assert sum("waiting for the migration lock" in migrator.stderr for migrator in finished) == 7
        assert not any("deadlock" in migrator.stderr for migrator in finished)
        assert query(database, "SELECT indisvalid FROM pg_index WHERE indexrelid = 'ix_books_title'::regclass") == [
            (True,)
        ]


def test_with_a_lock_that_blocks_instead_of_polling_they_deadlock(shelved: str) -> None:
    # Whichever of the two finds the circle first gives way.
    errors: list[type[Exception] | None] = []
    with (
        scratch_database(shelved) as database,
        closing(connect(database)) as builder,
        closing(connect(database)) as waiter,
    ):
        run(builder, "SELECT pg_advisory_lock(%s)", LOCK_KEY)
        wait = f"SELECT pg_advisory_lock({LOCK_KEY})"
        waiting = threading.Thread(target=lambda: errors.append(_error(waiter, wait)))
        waiting.start()
        assert eventually(_running(database, "pg_advisory_lock"))
        errors.append(_error(builder, "CREATE INDEX CONCURRENTLY ix_books_title ON books (title)"))
        run(builder, "SELECT pg_advisory_unlock_all()")
        waiting.join()
    assert psycopg2.errors.DeadlockDetected in errors


def _error(session: Connection, statement: str) -> type[Exception] | None:
    try:
        run(session, statement)
    except psycopg2.Error as error:
        return type(error)
    return None
