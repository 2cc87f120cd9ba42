"""tangga/safe/batches.py: the rows of one UPDATE, in batches. What a kill does to it: test_lock_and_kill.py."""

import re
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tangga.project import Project
from tests.databases import (
    alembic_process,
    connect,
    eventually,
    finish,
    migrate,
    query,
    run,
    scratch_database,
    start_alembic,
)
from tests.migrations.staircase import HEAD, edit, plant, revision

STEP = "0000000000a1"
TABLE = """
    CREATE TABLE counted (id integer PRIMARY KEY, umur integer NOT NULL, nama text);
    INSERT INTO counted SELECT n, 0, 'nama:' || n FROM generate_series(1, {rows}) AS n;
"""


@pytest.fixture
def copy(at_head: str) -> Iterator[str]:
    with scratch_database(at_head) as name:
        yield name


def _plant(project: Path, *calls: str, downgrade: str = "pass") -> None:
    imported = "from tangga import safe\n    "
    plant(project, STEP, imported + "\n    ".join(calls), downgrade=imported + downgrade)


def _rows(database: str, table: str = "counted") -> list[tuple[object, ...]]:
    return query(database, f"SELECT * FROM {table} ORDER BY 1")


@pytest.mark.parametrize("key", ["integer", "bigint", "uuid", "text"])
def test_it_changes_what_one_update_would(copy: str, project: Path, key: str) -> None:
    value = {"uuid": "md5(n::text)::uuid", "text": "'key ''' || n"}.get(key, "n")
    query(
        copy,
        f'CREATE TABLE "Counted" (key {key} PRIMARY KEY, umur integer, nama text); '
        f"INSERT INTO \"Counted\" SELECT {value}, n, 'nama:' || n FROM generate_series(1, 3000) AS n; "
        'CREATE TABLE expected AS SELECT * FROM "Counted"; '
        "UPDATE expected SET umur = umur + 1, nama = '50%:x' WHERE nama LIKE 'nama:%7' OR umur < 10",
    )
    _plant(
        project,
        """safe.backfill("Counted", "umur = umur + 1, nama = '50%:x'", where="nama LIKE 'nama:%7' OR umur < 10", """
        'key="key", batch_size=100)',
    )
    migrate(copy, "upgrade", STEP, project=project)
    assert _rows(copy, '"Counted"') == _rows(copy, "expected")
    assert query(copy, "SELECT * FROM migration_backfill") == []


def test_an_empty_table_is_done(copy: str, project: Path) -> None:
    query(copy, TABLE.format(rows=0))
    _plant(project, 'safe.backfill("counted", "umur = 1")')
    migrate(copy, "upgrade", STEP, project=project)
    assert revision(copy) == STEP


def test_what_is_done_is_not_done_again_when_the_step_fails_later(copy: str, project: Path) -> None:
    query(copy, TABLE.format(rows=100))
    backfills = (
        'safe.backfill("counted", "umur = umur + 1")',
        'safe.backfill("counted", "nama = nama || umur", name="names")',
    )
    _plant(project, *backfills, "raise RuntimeError('no such luck')")
    with pytest.raises(SystemExit):
        migrate(copy, "upgrade", STEP, project=project)
    assert query(copy, "SELECT name, rows_changed, finished FROM migration_backfill ORDER BY name") == [
        ("counted", 100, True),
        ("names", 100, True),
    ]
    _plant(project, *backfills)
    migrate(copy, "upgrade", STEP, project=project)
    assert {(row[1], str(row[2])[-2:]) for row in _rows(copy)} >= {(1, "11")}
    assert {row[1] for row in _rows(copy)} == {1}
    assert query(copy, "SELECT * FROM migration_backfill") == []


def test_it_works_on_the_way_down_and_once_for_each_way(copy: str, project: Path) -> None:
    query(copy, TABLE.format(rows=100))
    _plant(
        project,
        'safe.backfill("counted", "umur = umur + 1")',
        downgrade='safe.backfill("counted", "umur = umur + 10")',
    )
    for expected in (1, 11, 12, 22):
        migrate(copy, *(("upgrade", STEP) if expected % 10 != expected // 10 else ("downgrade", HEAD)), project=project)
        assert {row[1] for row in _rows(copy)} == {expected}


@pytest.mark.parametrize(
    ("calls", "error"),
    [
        (['safe.backfill("counted", "umur = 1")'] * 2, "two backfills of one step are called counted"),
        (['safe.backfill("counted", "umur = 1", key="umur")'], "unique and never NULL; umur is not"),
        (['safe.backfill("counted", "umur = 1", key="nothing")'], "unique and never NULL; nothing is not"),
    ],
)
def test_what_could_miss_rows_is_refused(copy: str, project: Path, calls: list[str], error: str) -> None:
    query(copy, TABLE.format(rows=10))
    _plant(project, *calls)
    with pytest.raises(SystemExit):
        migrate(copy, "upgrade", STEP, project=project)
    assert error in query(copy, "SELECT error FROM migration_log WHERE outcome = 'failed'")[0][0]
    assert revision(copy) == HEAD


def test_another_update_does_not_go_on_where_the_first_one_stopped(copy: str, project: Path) -> None:
    query(copy, TABLE.format(rows=10))
    _plant(project, 'safe.backfill("counted", "umur = 1")', "raise RuntimeError('no such luck')")
    with pytest.raises(SystemExit):
        migrate(copy, "upgrade", STEP, project=project)
    _plant(project, 'safe.backfill("counted", "umur = 2")')
    with pytest.raises(SystemExit):
        migrate(copy, "upgrade", STEP, project=project)
    [(error,)] = query(copy, "SELECT error FROM migration_log WHERE error LIKE %s", "%another UPDATE%")
    assert "which has changed 10 rows: UPDATE counted SET umur = 1" in error
    query(copy, "DELETE FROM migration_backfill")
    migrate(copy, "upgrade", STEP, project=project)
    assert {row[1] for row in _rows(copy)} == {2}


def test_printed_it_is_one_update_with_a_remark(copy: str, project: Path) -> None:
    query(copy, TABLE.format(rows=10))
    _plant(project, """safe.backfill("counted", "nama = '50%:x'", where="nama LIKE 'nama:%'")""")
    printed = Project.from_file(project / "alembic.ini").sql(HEAD, STEP)
    update = r"UPDATE counted SET nama = '50%:x' WHERE \(nama LIKE 'nama:%'\);"
    assert re.search(rf"-- backfill of counted: .*\n\n{update}", printed)
    query(copy, printed)
    assert {row[2] for row in _rows(copy)} == {"50%:x"}


@pytest.mark.parametrize("waits", [True, False], ids=["waits", "without the wait"])
def test_a_row_that_an_open_transaction_has_written_is_not_passed_by(copy: str, project: Path, waits: bool) -> None:
    if not waits:
        edit(
            project / "services/migrate/tangga/safe/batches.py",
            "            self._wait_for_writers()\n",
            "            pass\n",
        )
    query(copy, TABLE.format(rows=10) + "DELETE FROM counted WHERE id = 5")
    _plant(project, 'safe.backfill("counted", "umur = 1")')
    with closing(connect(copy)) as writer:
        run(writer, "BEGIN")
        run(writer, "INSERT INTO counted VALUES (5, 0, '')")
        migrator = start_alembic(copy, "upgrade", STEP, project=project)
        if waits:
            assert eventually(lambda: query(copy, "SELECT 1 FROM migration_backfill") != [])
            threading.Event().wait(0.5)
            assert migrator.poll() is None
        else:
            assert finish(migrator).returncode == 0
        run(writer, "COMMIT")
    assert finish(migrator).returncode == 0 if waits else True
    assert query(copy, "SELECT umur FROM counted WHERE id = 5") == [(1 if waits else 0,)]


def _waits_for(database: str) -> str | None:
    """Return what the migrator's session waits for."""
    waits = "SELECT wait_event FROM pg_stat_activity WHERE datname = %s AND application_name = 'tangga-migrate'"
    found = [row[0] for row in query(database, waits + " AND state = 'active'", database, role="superuser")]
    return found[0] if found else None


def test_a_batch_whose_rows_are_locked_is_tried_again_by_itself(copy: str, project: Path) -> None:
    query(copy, TABLE.format(rows=3000))
    _plant(project, 'safe.backfill("counted", "umur = umur + 1")')
    with closing(connect(copy)) as writer:
        migrator_sees = "SELECT rows_done FROM migration_backfill"
        query(
            copy,
            "CREATE FUNCTION linger() RETURNS trigger LANGUAGE plpgsql AS $$ "
            "BEGIN IF new.id = 1 THEN PERFORM pg_sleep(3); END IF; RETURN new; END $$; "
            "CREATE TRIGGER linger BEFORE UPDATE ON counted FOR EACH ROW EXECUTE FUNCTION linger()",
        )
        migrator = start_alembic(copy, "upgrade", STEP, project=project)
        # After the start, so that it is not waited for there; while the first batch lingers.
        assert eventually(lambda: _waits_for(copy) == "PgSleep")
        run(writer, "BEGIN")
        run(writer, "UPDATE counted SET umur = umur WHERE id = 2500")
        [(pid,)] = run(writer, "SELECT pg_backend_pid()")
        assert eventually(lambda: query(copy, migrator_sees)[0][0] >= 1000)
        assert eventually(lambda: _waits_for(copy) == "transactionid")
        assert eventually(lambda: _waits_for(copy) != "transactionid")
        run(writer, "COMMIT")
    finished = finish(migrator)
    assert finished.returncode == 0, finished.stderr
    assert re.search(rf"a batch of [\d,]+ rows was rolled back; blocked by pid {pid} ", finished.stderr), (
        finished.stderr
    )
    assert finished.stderr.count("Running upgrade") == 1
    assert {row[1] for row in _rows(copy)} == {1}


@contextmanager
def _traffic(database: str) -> Iterator[None]:
    """Write again and again, from three sessions, to rows of the batch that is under way."""
    end = threading.Event()

    def write(number: int) -> None:
        statement = "UPDATE counted SET nama = nama WHERE id = (SELECT max(rows_done) + %s FROM migration_backfill)"
        with closing(connect(database)) as session:
            while not end.is_set():
                run(session, statement, number)

    writers = [threading.Thread(target=write, args=(number,)) for number in (1, 2, 3)]
    for writer in writers:
        writer.start()
    try:
        yield
    finally:
        end.set()
        for writer in writers:
            writer.join()


def _made_room(database: str, project: Path) -> float:
    """Return the share of a backfill's time for which it paused."""
    finished = alembic_process(database, "upgrade", STEP, project=project)
    assert finished.returncode == 0, finished.stderr
    found = re.search(r"in ([\d.]+) s, of which ([\d.]+) s to make room", finished.stderr)
    assert found, finished.stderr
    return float(found[2]) / float(found[1])


def test_it_makes_room_for_sessions_that_wait_for_its_rows(copy: str, project: Path) -> None:
    # Each row takes a millisecond, so that batches take as long on any machine.
    query(
        copy,
        TABLE.format(rows=400) + "CREATE FUNCTION linger() RETURNS trigger LANGUAGE plpgsql AS $$ "
        "BEGIN IF new.umur > old.umur THEN PERFORM pg_sleep(0.001); END IF; RETURN new; END $$; "
        "CREATE TRIGGER linger BEFORE UPDATE ON counted FOR EACH ROW EXECUTE FUNCTION linger()",
    )
    _plant(project, 'safe.backfill("counted", "umur = umur + 1", batch_size=50)')
    alone = _made_room(copy, project)
    query(copy, "UPDATE alembic_version SET version_num = %s", HEAD)
    with _traffic(copy):
        under_load = _made_room(copy, project)
    assert under_load > 0.3
    assert under_load > alone + 0.2
