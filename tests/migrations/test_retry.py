"""A step that finds its table in use: rolled back, tried again, and whoever is in the way is named."""

import os
import re
import threading
import time
from collections.abc import Iterator
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
    alembic_process,
    connect,
    eventually,
    finish,
    migrate,
    owner_environment,
    query,
    run,
    scratch_database,
    start_alembic,
)
from tests.migrations.staircase import HEAD, V5, V6, catalogue, plant, revision

TABLE_LOCK_NOT_OBTAINED = 10
# Short, and long enough for who looks at the blockers from half a second on to see them on a slow machine.
QUICK = {"MIGRATE_LOCK_TIMEOUT": "1.5"}
# Of the session that migrates, when it waits for a lock: a new transaction is a new try.
_WAITING = """
    SELECT xact_start FROM pg_stat_activity
    WHERE datname = %s AND application_name = 'tangga-migrate' AND wait_event_type = 'Lock'
"""


@pytest.fixture
def copy(at_head: str) -> Iterator[str]:
    with scratch_database(at_head) as name:
        yield name


def _hold(session: Connection, table: str = "posts") -> int:
    """Leave a transaction open that has read a table; return its pid."""
    run(session, "SET application_name = 'report'")
    run(session, "BEGIN")
    run(session, f"SELECT * FROM {table} LIMIT 1")
    [(pid,)] = run(session, "SELECT pg_backend_pid()")
    return int(pid)


def _tries_seen(database: str, begun: set[Any]) -> int:
    begun |= {row[0] for row in query(database, _WAITING, database, role="superuser")}
    return len(begun)


def test_a_step_is_tried_again_while_traffic_goes_on_and_completes_after_release(copy: str, project: Path) -> None:
    plant(project, "0000000000a1", "op.add_column('posts', sa.Column('kota', sa.String()))")
    slowest = 0.0
    with closing(connect(copy, "app")) as session, closing(connect(copy, "app")) as traffic:
        pid = _hold(session)
        migrator = start_alembic(copy, "upgrade", "head", project=project, environment=QUICK)
        begun: set[Any] = set()
        end = time.monotonic() + 60
        while _tries_seen(copy, begun) < 3 and time.monotonic() < end:
            start = time.monotonic()
            run(traffic, "SELECT count(*) FROM posts")
            slowest = max(slowest, time.monotonic() - start)
        assert len(begun) >= 3
        assert migrator.poll() is None
        run(session, "ROLLBACK")
    finished = finish(migrator)
    assert finished.returncode == 0, finished.stderr
    assert revision(copy) == "0000000000a1"
    # Others queue behind the step for no longer than lock_timeout.
    assert slowest < 1.5 + 0.5
    blocker = rf"blocked by pid {pid} \(tangga_app, report, idle in transaction for \d+ s\)"
    assert re.search(rf"waiting for posts \(\d s\): {blocker}", finished.stderr), finished.stderr
    rolled_back = r"posts is locked: step 0000000000a1 \(planted 0000000000a1\) was rolled back"
    tries = re.findall(rf"{rolled_back}; {blocker}; try (\d) in ([\d.]+) s, giving up in (\d+) s", finished.stderr)
    # Each pause twice as long as the one before, up to a quarter more or less.
    assert [int(number) for number, _, _ in tries][:2] == [2, 3], finished.stderr
    assert 0.7 <= float(tries[0][1]) <= 1.3
    assert 1.4 <= float(tries[1][1]) <= 2.6
    assert 285 <= int(tries[1][2]) <= 300


def test_past_the_limit_it_ends_with_its_own_code_at_the_last_whole_step(copy: str, project: Path) -> None:
    plant(project, "0000000000a1", "op.create_table('first', sa.Column('id', sa.Integer()))")
    plant(
        project,
        "0000000000a2",
        "op.create_table('second', sa.Column('id', sa.Integer())); op.drop_column('posts', 'no_hp')",
        after="0000000000a1",
    )
    with closing(connect(copy, "app")) as session:
        pid = _hold(session)
        start = time.monotonic()
        finished = alembic_process(
            copy, "upgrade", "head", project=project, environment=QUICK | {"MIGRATE_LOCK_RETRY_FOR": "3"}
        )
        assert 3 < time.monotonic() - start < 12
    assert finished.returncode == TABLE_LOCK_NOT_OBTAINED, finished.stderr
    what, remedy = finished.stderr.splitlines()[-2:]
    assert re.match(
        r"error: posts is locked: step 0000000000a2 \(planted 0000000000a2\) was rolled back; gave up after \d+ s and "
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
    [(outcome, error)] = query(copy, "SELECT outcome, error FROM migration_log WHERE revision = '0000000000a2'")
    assert outcome == "failed"
    assert error == what.removeprefix("error: ")


def test_two_steps_up_are_two_though_the_second_is_tried_twice(copy: str, project: Path) -> None:
    plant(project, "0000000000a1", "pass")
    plant(project, "0000000000a2", "op.drop_column('posts', 'no_hp')", after="0000000000a1")
    plant(project, "0000000000a3", "pass", after="0000000000a2")
    with closing(connect(copy, "app")) as session:
        _hold(session)
        migrator = start_alembic(copy, "upgrade", "+2", project=project, environment=QUICK)
        assert eventually(lambda: _tries_seen(copy, set()) == 1)
        assert eventually(lambda: _tries_seen(copy, set()) == 0)
        run(session, "ROLLBACK")
    assert finish(migrator).returncode == 0
    assert revision(copy) == "0000000000a2"


def test_a_downgrade_is_tried_again_too(copy: str) -> None:
    # Of v6, which needs the table.
    migrate(copy, "downgrade", V6)
    with closing(connect(copy, "app")) as session:
        _hold(session)
        migrator = start_alembic(copy, "downgrade", "-1", environment=QUICK)
        assert eventually(lambda: _tries_seen(copy, set()) == 1)
        assert eventually(lambda: _tries_seen(copy, set()) == 0)
    finished = finish(migrator)
    assert finished.returncode == 0, finished.stderr
    assert "was rolled back" in finished.stderr
    assert revision(copy) == V5


def test_a_step_that_has_committed_a_part_of_itself_is_not_tried_again(copy: str, project: Path) -> None:
    body = "\n    ".join(
        (
            "with op.get_context().autocommit_block():",
            "    op.execute('CREATE TABLE half (id integer)')",
            "op.drop_column('posts', 'no_hp')",
        )
    )
    plant(project, "0000000000a1", body)
    with closing(connect(copy, "app")) as session:
        _hold(session)
        finished = alembic_process(copy, "upgrade", "head", project=project, environment=QUICK)
    assert finished.returncode == TABLE_LOCK_NOT_OBTAINED
    assert "not tried again, for a part of it is committed" in finished.stderr
    assert revision(copy) == HEAD


def test_the_validation_is_tried_again_and_the_step_is_not(copy: str, project: Path) -> None:
    plant(
        project,
        "0000000000a1",
        "op.create_table('once', sa.Column('id', sa.Integer()))\n"
        "    op.create_check_constraint(op.f('ck_umur'), 'posts', 'umur > 0', postgresql_not_valid=True)\n"
        "validate_after_commit = ('posts.ck_umur',)",
    )
    locked = threading.Event()

    def hold() -> None:
        # The step has the table to itself until it commits, so this queues behind it: between commit and VALIDATE.
        with closing(connect(copy)) as session:
            run(session, "BEGIN")
            run(session, "LOCK TABLE posts IN SHARE UPDATE EXCLUSIVE MODE")
            locked.set()
            eventually(lambda: len(query(copy, _WAITING, copy, role="superuser")) == 1)
            eventually(lambda: query(copy, _WAITING, copy, role="superuser") == [])
            run(session, "ROLLBACK")

    query(
        copy,
        """
        CREATE FUNCTION linger() RETURNS event_trigger LANGUAGE plpgsql AS $$
        BEGIN
          IF current_query() LIKE '%ADD CONSTRAINT ck_umur%' THEN
            WHILE NOT EXISTS (SELECT FROM pg_locks WHERE relation = 'posts'::regclass AND NOT granted) LOOP
              PERFORM pg_sleep(0.05);
            END LOOP;
          END IF;
        END $$;
        CREATE EVENT TRIGGER linger ON ddl_command_end WHEN TAG IN ('ALTER TABLE') EXECUTE FUNCTION linger();
        """,
        role="superuser",
    )
    migrator = start_alembic(copy, "upgrade", "head", project=project, environment=QUICK)
    has_it = "SELECT 1 FROM pg_locks WHERE relation = 'posts'::regclass AND mode = 'AccessExclusiveLock' AND granted"
    assert eventually(lambda: query(copy, has_it, role="superuser") != [])
    holder = threading.Thread(target=hold)
    holder.start()
    finished = finish(migrator)
    holder.join()
    assert locked.is_set()
    assert finished.returncode == 0, finished.stderr
    assert "posts is locked: posts.ck_umur could not be validated; blocked by pid" in finished.stderr
    assert finished.stderr.count("Running upgrade") == 1
    assert query(copy, "SELECT convalidated FROM pg_constraint WHERE conname = 'ck_umur'") == [(True,)]


def test_who_may_not_see_the_state_of_others_says_so(copy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(connect(copy)) as holder, closing(connect(copy)) as waiting:
        run(holder, "BEGIN")
        run(holder, "LOCK TABLE posts")
        [(pid,)] = run(waiting, "SELECT pg_backend_pid()")
        waiter = threading.Thread(target=lambda: _fail(waiting, "SELECT * FROM posts"))
        waiter.start()
        password = os.environ["DB_PASS"]  # the app's, before the owner's takes its place
        for name, value in owner_environment(copy).items():
            monkeypatch.setenv(name, value)
        owner = MigrateSettings.load().url
        for role, seen in (("tangga_owner", r"idle in transaction for \d+ s\)"), ("tangga_app", "not ours to see")):
            url = owner if role == "tangga_owner" else owner.set(username=role, password=password)
            with create_engine(url).connect() as connection:
                assert pid_of(connection) != pid
                assert eventually(lambda: bool(blockers(connection, pid)))
                [blocker] = blockers(connection, pid)
            assert re.search(seen, str(blocker)), blocker
            assert blocker.wanted == "posts"
        query(copy, "SELECT pg_terminate_backend(%s)", pid, role="superuser")
        waiter.join()


def _fail(session: Connection, statement: str) -> None:
    with pytest.raises(psycopg2.Error):
        run(session, statement)


def _own_times(project: Path) -> None:
    names = ("lock_timeout", "statement_timeout")
    shown = ", ".join(f"current_setting('{name}') AS {name}" for name in names)
    for number, own in ((1, "lock_timeout = '77ms'\nstatement_timeout = '2h'"), (2, "")):
        step = f"0000000000a{number}"
        plant(
            project,
            step,
            f'op.execute("CREATE TABLE shown_{number} AS SELECT {shown}")\n{own}',
            after=HEAD if number == 1 else "0000000000a1",
        )


def test_a_step_overrides_the_time_outs_for_itself_only(copy: str, project: Path) -> None:
    _own_times(project)
    migrate(copy, "upgrade", "head", project=project)
    assert query(copy, "SELECT * FROM shown_1") == [("77ms", "2h")]
    assert query(copy, "SELECT * FROM shown_2") == [("1s", "15min")]


def test_the_printed_script_does_so_too(copy: str, project: Path) -> None:
    _own_times(project)
    printed = alembic_process(copy, "upgrade", f"{HEAD}:head", "--sql", project=project)
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
