"""A step that finds its table in use: rolled back, tried again, and whoever is in the way is named."""

import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from psycopg2.extensions import connection as Connection
from sqlalchemy import create_engine

from services.migrate.settings import MigrateSettings
from tangga.connect import pid_of
from tangga.guard.blockers import blockers
from tests.databases import (
    Role,
    connect,
    eventually,
    finish,
    query,
    run,
    scratch_database,
    start_alembic,
    url,
)
from tests.support.library import FOLDER, HEAD, L3, alembic, migrate, plant
from tests.support.schema import catalogue, revision

TABLE_LOCK_NOT_OBTAINED = 10
# Short, and long enough for who looks at the blockers from half a second on to see them on a slow machine.
QUICK = {"MIGRATE_LOCK_TIMEOUT": "1.5"}
# Of the session that migrates, when it waits for a lock: a new transaction is a new try.
_WAITING = """
    SELECT xact_start FROM pg_stat_activity
    WHERE datname = %s AND application_name = 'tangga-migrate' AND wait_event_type = 'Lock'
"""


@pytest.fixture
def copy(shelved: str) -> Iterator[str]:
    with scratch_database(shelved) as name:
        yield name


def _hold(session: Connection, table: str = "books") -> int:
    """Leave a transaction open that has read a table; return its pid."""
    run(session, "SET application_name = 'report'")
    run(session, "BEGIN")
    run(session, f"SELECT * FROM {table} LIMIT 1")
    [(pid,)] = run(session, "SELECT pg_backend_pid()")
    return int(pid)


def _tries_seen(database: str, begun: set[Any]) -> int:
    begun |= {row[0] for row in query(database, _WAITING, database, role="superuser")}
    return len(begun)


def test_a_step_is_tried_again_while_traffic_goes_on_and_completes_after_release(copy: str, library: Path) -> None:
    plant(library, "0000000000a1", "op.add_column('books', sa.Column('kota', sa.String()))")
    with closing(connect(copy, "app")) as session, closing(connect(copy, "app")) as traffic:
        pid = _hold(session)
        migrator = start_alembic(copy, "upgrade", "head", project=library, environment=QUICK)
        begun: set[Any] = set()
        # Others queue behind a try, and no longer: while the session above holds the table, each of them is served.
        run(traffic, "SET statement_timeout = '300s'")

        def served_and_tried() -> bool:
            # Before: when the read is served, the try that it waited for is over.
            _tries_seen(copy, begun)
            run(traffic, "SELECT count(*) FROM books")
            return len(begun) >= 3

        assert eventually(served_and_tried)
        assert migrator.poll() is None
        run(session, "ROLLBACK")
    finished = finish(migrator)
    assert finished.returncode == 0, finished.stderr
    assert revision(copy) == "0000000000a1"
    blocker = rf"blocked by pid {pid} \(tangga_app, report, idle in transaction for \d+ s\)"
    assert re.search(rf"waiting for books \(\d s\): {blocker}", finished.stderr), finished.stderr
    rolled_back = r"books is locked: step 0000000000a1 \(planted 0000000000a1\) was rolled back"
    tries = re.findall(rf"{rolled_back}; {blocker}; try (\d) in ([\d.]+) s, giving up in (\d+) s", finished.stderr)
    # Each pause twice as long as the one before, up to a quarter more or less.
    assert [int(number) for number, _, _ in tries][:2] == [2, 3], finished.stderr
    assert 0.7 <= float(tries[0][1]) <= 1.3
    assert 1.4 <= float(tries[1][1]) <= 2.6
    assert int(tries[1][2]) < int(tries[0][2]) <= 300


def test_a_step_that_waits_without_a_time_out_holds_up_all_who_come_after_it(copy: str, library: Path) -> None:
    plant(library, "0000000000a1", "op.add_column('books', sa.Column('kota', sa.String()))\nlock_timeout = '0'")
    with closing(connect(copy, "app")) as session, closing(connect(copy, "app")) as traffic:
        _hold(session)
        migrator = start_alembic(copy, "upgrade", "head", project=library, environment=QUICK)
        assert eventually(lambda: _tries_seen(copy, set()) == 1)
        with ThreadPoolExecutor(1) as beside:
            read = beside.submit(run, traffic, "SELECT count(*) FROM books")
            behind = "SELECT 1 FROM pg_stat_activity WHERE pid = ANY (pg_blocking_pids(%s)) AND application_name = %s"
            pid = traffic.info.backend_pid
            assert eventually(lambda: query(copy, behind, pid, "tangga-migrate", role="superuser") != [])
            # It is the first try still, and nobody reads, until the session above has ended.
            assert not read.done()
            run(session, "ROLLBACK")
            assert read.result()
    finished = finish(migrator)
    assert (finished.returncode, "was rolled back" in finished.stderr) == (0, False), finished.stderr


def test_past_the_limit_it_ends_with_its_own_code_at_the_last_whole_step(copy: str, library: Path) -> None:
    plant(library, "0000000000a1", "op.create_table('first', sa.Column('id', sa.Integer()))")
    plant(
        library,
        "0000000000a2",
        "op.create_table('second', sa.Column('id', sa.Integer())); op.drop_column('books', 'note')",
        after="0000000000a1",
    )
    with closing(connect(copy, "app")) as session:
        pid = _hold(session)
        finished = alembic(
            copy, "upgrade", "head", project=library, environment=QUICK | {"MIGRATE_LOCK_RETRY_FOR": "3"}
        )
    assert finished.returncode == TABLE_LOCK_NOT_OBTAINED, finished.stderr
    what, remedy = finished.stderr.splitlines()[-2:]
    assert re.match(
        r"error: books is locked: step 0000000000a2 \(planted 0000000000a2\) was rolled back; "
        r"gave up after (?:[3-9]|\d\d+) s and "
        rf"\d+ tries; blocked by pid {pid} \(tangga_app, report, idle in transaction for \d+ s\)",
        what,
    ), what
    assert f"SELECT pg_terminate_backend({pid});" in remedy
    assert "Traceback" not in finished.stderr
    # The query's text may hold data.
    assert "SELECT * FROM" not in finished.stderr
    assert revision(copy) == "0000000000a1"
    tables = {row[0] for row in catalogue(copy)["relations"]}
    assert "first" in tables
    assert "second" not in tables
    [(outcome, error)] = query(copy, "SELECT outcome, error FROM tangga.migration_log WHERE revision = '0000000000a2'")
    assert outcome == "failed"
    assert error == what.removeprefix("error: ")


def test_two_steps_up_are_two_though_the_second_is_tried_twice(copy: str, library: Path) -> None:
    plant(library, "0000000000a1", "pass")
    plant(library, "0000000000a2", "op.drop_column('books', 'note')", after="0000000000a1")
    plant(library, "0000000000a3", "pass", after="0000000000a2")
    with closing(connect(copy, "app")) as session:
        _hold(session)
        migrator = start_alembic(copy, "upgrade", "+2", project=library, environment=QUICK)
        assert eventually(lambda: _tries_seen(copy, set()) == 1)
        assert eventually(lambda: _tries_seen(copy, set()) == 0)
        run(session, "ROLLBACK")
    assert finish(migrator).returncode == 0
    assert revision(copy) == "0000000000a2"


def test_a_downgrade_is_tried_again_too(copy: str) -> None:
    with closing(connect(copy, "app")) as session:
        _hold(session)
        migrator = start_alembic(copy, "downgrade", "-1", project=FOLDER, environment=QUICK)
        assert eventually(lambda: _tries_seen(copy, set()) == 1)
        assert eventually(lambda: _tries_seen(copy, set()) == 0)
    finished = finish(migrator)
    assert finished.returncode == 0, finished.stderr
    assert "was rolled back" in finished.stderr
    assert revision(copy) == L3


def test_a_step_that_has_committed_a_part_of_itself_is_not_tried_again(copy: str, library: Path) -> None:
    body = "\n    ".join(
        (
            "with op.get_context().autocommit_block():",
            "    op.execute('CREATE TABLE half (id integer)')",
            "op.drop_column('books', 'note')",
        )
    )
    plant(library, "0000000000a1", body)
    with closing(connect(copy, "app")) as session:
        _hold(session)
        finished = alembic(copy, "upgrade", "head", project=library, environment=QUICK)
    assert finished.returncode == TABLE_LOCK_NOT_OBTAINED
    assert "not tried again, for a part of it is committed" in finished.stderr
    assert revision(copy) == HEAD


def test_the_validation_is_tried_again_and_the_step_is_not(copy: str, library: Path) -> None:
    plant(
        library,
        "0000000000a1",
        "op.create_table('once', sa.Column('id', sa.Integer()))\n"
        "    op.create_check_constraint(op.f('ck_pages'), 'books', 'pages > 0', postgresql_not_valid=True)\n"
        "validate_after_commit = ('books.ck_pages',)",
    )
    locked = threading.Event()

    def hold() -> None:
        # The step has the table to itself until it commits, so this queues behind it: between commit and VALIDATE.
        with closing(connect(copy)) as session:
            run(session, "BEGIN")
            run(session, "LOCK TABLE books IN SHARE UPDATE EXCLUSIVE MODE")
            locked.set()
            eventually(lambda: len(query(copy, _WAITING, copy, role="superuser")) == 1)
            eventually(lambda: query(copy, _WAITING, copy, role="superuser") == [])
            run(session, "ROLLBACK")

    query(
        copy,
        """
        CREATE FUNCTION linger() RETURNS event_trigger LANGUAGE plpgsql AS $$
        BEGIN
          IF current_query() LIKE '%ADD CONSTRAINT ck_pages%' THEN
            WHILE NOT EXISTS (SELECT FROM pg_locks WHERE relation = 'books'::regclass AND NOT granted) LOOP
              PERFORM pg_sleep(0.05);
            END LOOP;
          END IF;
        END $$;
        CREATE EVENT TRIGGER linger ON ddl_command_end WHEN TAG IN ('ALTER TABLE') EXECUTE FUNCTION linger();
        """,
        role="superuser",
    )
    migrator = start_alembic(copy, "upgrade", "head", project=library, environment=QUICK)
    has_it = "SELECT 1 FROM pg_locks WHERE relation = 'books'::regclass AND mode = 'AccessExclusiveLock' AND granted"
    assert eventually(lambda: query(copy, has_it, role="superuser") != [])
    holder = threading.Thread(target=hold)
    holder.start()
    finished = finish(migrator)
    holder.join()
    assert locked.is_set()
    assert finished.returncode == 0, finished.stderr
    assert "books is locked: books.ck_pages could not be validated; blocked by pid" in finished.stderr
    assert finished.stderr.count("Running upgrade") == 1
    assert query(copy, "SELECT convalidated FROM pg_constraint WHERE conname = 'ck_pages'") == [(True,)]


def test_who_may_not_see_the_state_of_others_says_so(copy: str) -> None:
    with closing(connect(copy)) as holder, closing(connect(copy)) as waiting:
        run(holder, "BEGIN")
        run(holder, "LOCK TABLE books")
        [(pid,)] = run(waiting, "SELECT pg_backend_pid()")
        waiter = threading.Thread(target=lambda: _fail(waiting, "SELECT * FROM books"))
        waiter.start()
        roles: list[tuple[Role, str]] = [("owner", r"idle in transaction for \d+ s\)"), ("app", "not ours to see")]
        for role, seen in roles:
            with create_engine(url(copy, role)).connect() as connection:
                assert pid_of(connection) != pid
                assert eventually(lambda: bool(blockers(connection, pid)))
                [blocker] = blockers(connection, pid)
            assert re.search(seen, str(blocker)), blocker
            assert blocker.wanted == "books"
        query(copy, "SELECT pg_terminate_backend(%s)", pid, role="superuser")
        waiter.join()


def _fail(session: Connection, statement: str) -> None:
    with pytest.raises(psycopg2.Error):
        run(session, statement)


def _own_times(library: Path) -> None:
    names = ("lock_timeout", "statement_timeout")
    shown = ", ".join(f"current_setting('{name}') AS {name}" for name in names)
    for number, own in ((1, "lock_timeout = '77ms'\nstatement_timeout = '2h'"), (2, "")):
        step = f"0000000000a{number}"
        plant(
            library,
            step,
            f'op.execute("CREATE TABLE shown_{number} AS SELECT {shown}")\n{own}',
            after=HEAD if number == 1 else "0000000000a1",
        )


def test_a_step_overrides_the_time_outs_for_itself_only(copy: str, library: Path) -> None:
    _own_times(library)
    migrate(copy, "upgrade", "head", project=library)
    assert query(copy, "SELECT * FROM shown_1") == [("77ms", "2h")]
    assert query(copy, "SELECT * FROM shown_2") == [("1s", "15min")]


def test_the_printed_script_does_so_too(copy: str, library: Path) -> None:
    _own_times(library)
    printed = alembic(copy, "upgrade", f"{HEAD}:head", "--sql", project=library)
    query(copy, printed.stdout)
    assert query(copy, "SELECT * FROM shown_1") == [("77ms", "2h")]
    assert query(copy, "SELECT * FROM shown_2") == [("1s", "15min")]


def test_the_owner_outwaits_no_autovacuum(database: str) -> None:
    # The server ends an autovacuum that is in the way when somebody has waited for deadlock_timeout; a step that gives
    # up before that would give way to every one of them.
    milliseconds = "SELECT setting::int FROM pg_settings WHERE name = 'deadlock_timeout'"
    [(usual,)], [(owners,)] = query(database, milliseconds, role="app"), query(database, milliseconds)
    lock_timeout = 1000 * MigrateSettings.model_fields["migrate_lock_timeout"].default
    assert owners < lock_timeout <= usual
