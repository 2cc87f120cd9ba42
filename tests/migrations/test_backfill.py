"""tangga/safe/batches.py: the rows of one UPDATE, in batches. What a kill does to it: test_lock_and_kill.py."""

import re
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tangga.project import Project
from tests.databases import (
    connect,
    eventually,
    finish,
    query,
    run,
    scratch_database,
    start_alembic,
)
from tests.support.library import HEAD, copy_library, migrate, plant
from tests.support.schema import revision
from tests.support.steps import edit

STEP = "0000000000a1"
TABLE = """
    CREATE TABLE counted (id integer PRIMARY KEY, pages integer NOT NULL, title text);
    INSERT INTO counted SELECT n, 0, 'title:' || n FROM generate_series(1, {rows}) AS n;
"""


@pytest.fixture
def copy(shelved: str) -> Iterator[str]:
    with scratch_database(shelved) as name:
        yield name


def _plant(library: Path, *calls: str, downgrade: str = "pass") -> None:
    imported = "from tangga import safe\n    "
    plant(library, STEP, imported + "\n    ".join(calls), downgrade=imported + downgrade)


def _rows(database: str, table: str = "counted") -> list[tuple[object, ...]]:
    return query(database, f"SELECT * FROM {table} ORDER BY 1")


@pytest.mark.parametrize("key", ["integer", "bigint", "uuid", "text"])
def test_it_changes_what_one_update_would(copy: str, library: Path, key: str) -> None:
    value = {"uuid": "md5(n::text)::uuid", "text": "'key ''' || n"}.get(key, "n")
    query(
        copy,
        f'CREATE TABLE "Counted" (key {key} PRIMARY KEY, pages integer, title text); '
        f"INSERT INTO \"Counted\" SELECT {value}, n, 'title:' || n FROM generate_series(1, 3000) AS n; "
        'CREATE TABLE expected AS SELECT * FROM "Counted"; '
        "UPDATE expected SET pages = pages + 1, title = '50%:x' WHERE title LIKE 'title:%7' OR pages < 10",
    )
    _plant(
        library,
        """safe.backfill("Counted", "pages = pages + 1, title = '50%:x'", key="key", batch_size=100, """
        """where="title LIKE 'title:%7' OR pages < 10")""",
    )
    migrate(copy, "upgrade", STEP, project=library)
    assert _rows(copy, '"Counted"') == _rows(copy, "expected")
    assert query(copy, "SELECT * FROM tangga.migration_backfill") == []


def test_an_empty_table_is_done(copy: str, library: Path) -> None:
    query(copy, TABLE.format(rows=0))
    _plant(library, 'safe.backfill("counted", "pages = 1")')
    migrate(copy, "upgrade", STEP, project=library)
    assert revision(copy) == STEP


def test_what_is_done_is_not_done_again_when_the_step_fails_later(copy: str, library: Path) -> None:
    query(copy, TABLE.format(rows=100))
    backfills = (
        'safe.backfill("counted", "pages = pages + 1")',
        'safe.backfill("counted", "title = title || pages", name="names")',
    )
    _plant(library, *backfills, "raise RuntimeError('no such luck')")
    with pytest.raises(SystemExit):
        migrate(copy, "upgrade", STEP, project=library)
    assert query(copy, "SELECT name, rows_changed, finished FROM tangga.migration_backfill ORDER BY name") == [
        ("counted", 100, True),
        ("names", 100, True),
    ]
    _plant(library, *backfills)
    migrate(copy, "upgrade", STEP, project=library)
    assert {(row[1], str(row[2])[-2:]) for row in _rows(copy)} >= {(1, "11")}
    assert {row[1] for row in _rows(copy)} == {1}
    assert query(copy, "SELECT * FROM tangga.migration_backfill") == []


def test_it_works_on_the_way_down_and_once_for_each_way(copy: str, library: Path) -> None:
    query(copy, TABLE.format(rows=100))
    _plant(
        library,
        'safe.backfill("counted", "pages = pages + 1")',
        downgrade='safe.backfill("counted", "pages = pages + 10")',
    )
    for expected in (1, 11, 12, 22):
        migrate(copy, *(("upgrade", STEP) if expected % 10 != expected // 10 else ("downgrade", HEAD)), project=library)
        assert {row[1] for row in _rows(copy)} == {expected}


@pytest.mark.parametrize(
    ("calls", "error"),
    [
        (['safe.backfill("counted", "pages = 1")'] * 2, "two backfills of one step are called counted"),
        (['safe.backfill("counted", "pages = 1", key="pages")'], "unique and never NULL; pages is not"),
        (['safe.backfill("counted", "pages = 1", key="nothing")'], "unique and never NULL; nothing is not"),
    ],
)
def test_what_could_miss_rows_is_refused(copy: str, library: Path, calls: list[str], error: str) -> None:
    query(copy, TABLE.format(rows=10))
    _plant(library, *calls)
    with pytest.raises(SystemExit):
        migrate(copy, "upgrade", STEP, project=library)
    assert error in query(copy, "SELECT error FROM tangga.migration_log WHERE outcome = 'failed'")[0][0]
    assert revision(copy) == HEAD


def test_another_update_does_not_go_on_where_the_first_one_stopped(copy: str, library: Path) -> None:
    query(copy, TABLE.format(rows=10))
    _plant(library, 'safe.backfill("counted", "pages = 1")', "raise RuntimeError('no such luck')")
    with pytest.raises(SystemExit):
        migrate(copy, "upgrade", STEP, project=library)
    _plant(library, 'safe.backfill("counted", "pages = 2")')
    with pytest.raises(SystemExit):
        migrate(copy, "upgrade", STEP, project=library)
    [(error,)] = query(copy, "SELECT error FROM tangga.migration_log WHERE error LIKE %s", "%another UPDATE%")
    assert "which has changed 10 rows: UPDATE counted SET pages = 1" in error
    query(copy, "DELETE FROM tangga.migration_backfill")
    migrate(copy, "upgrade", STEP, project=library)
    assert {row[1] for row in _rows(copy)} == {2}


def test_printed_it_is_one_update_with_a_remark(copy: str, library: Path) -> None:
    query(copy, TABLE.format(rows=10))
    _plant(library, """safe.backfill("counted", "title = '50%:x'", where="title LIKE 'title:%'")""")
    printed = Project.from_file(library / "alembic.ini").sql(HEAD, STEP)
    update = r"UPDATE counted SET title = '50%:x' WHERE \(title LIKE 'title:%'\);"
    assert re.search(rf"-- backfill of counted: .*\n\n{update}", printed)
    query(copy, printed)
    assert {row[2] for row in _rows(copy)} == {"50%:x"}


@pytest.mark.parametrize("waits", [True, False], ids=["waits", "without the wait"])
def test_a_row_that_an_open_transaction_has_written_is_not_passed_by(copy: str, library: Path, waits: bool) -> None:
    if not waits:
        library = copy_library(library, with_tangga=True)
        edit(library / "tangga/safe/batches.py", "            self._wait_for_writers()\n", "            pass\n")
    query(copy, TABLE.format(rows=10) + "DELETE FROM counted WHERE id = 5")
    _plant(library, 'safe.backfill("counted", "pages = 1")')
    with closing(connect(copy)) as writer:
        run(writer, "BEGIN")
        run(writer, "INSERT INTO counted VALUES (5, 0, '')")
        migrator = start_alembic(copy, "upgrade", STEP, project=library)
        if waits:
            assert eventually(lambda: query(copy, "SELECT 1 FROM tangga.migration_backfill") != [])
            threading.Event().wait(0.5)
            assert migrator.poll() is None
        else:
            assert finish(migrator).returncode == 0
        run(writer, "COMMIT")
    assert finish(migrator).returncode == 0 if waits else True
    assert query(copy, "SELECT pages FROM counted WHERE id = 5") == [(1 if waits else 0,)]


def _waits_for(database: str) -> str | None:
    """Return what the migrator's session waits for."""
    waits = "SELECT wait_event FROM pg_stat_activity WHERE datname = %s AND application_name = 'tangga-migrate'"
    found = [row[0] for row in query(database, waits + " AND state = 'active'", database, role="superuser")]
    return found[0] if found else None


def test_a_batch_whose_rows_are_locked_is_tried_again_by_itself(copy: str, library: Path) -> None:
    query(copy, TABLE.format(rows=3000))
    _plant(library, 'safe.backfill("counted", "pages = pages + 1")')
    with closing(connect(copy)) as writer:
        migrator_sees = "SELECT rows_done FROM tangga.migration_backfill"
        query(
            copy,
            "CREATE FUNCTION linger() RETURNS trigger LANGUAGE plpgsql AS $$ "
            "BEGIN IF new.id = 1 THEN PERFORM pg_sleep(3); END IF; RETURN new; END $$; "
            "CREATE TRIGGER linger BEFORE UPDATE ON counted FOR EACH ROW EXECUTE FUNCTION linger()",
        )
        migrator = start_alembic(copy, "upgrade", STEP, project=library)
        # After the start, so that it is not waited for there; while the first batch lingers.
        assert eventually(lambda: _waits_for(copy) == "PgSleep")
        run(writer, "BEGIN")
        run(writer, "UPDATE counted SET pages = pages WHERE id = 2500")
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


def test_it_makes_room_for_sessions_that_wait_for_its_rows(copy: str, library: Path) -> None:
    """How long it pauses for how many: tests/unit/safe/test_pace.py."""
    # A batch takes a while, and ends when somebody waits for its rows.
    query(
        copy,
        TABLE.format(rows=100) + "CREATE FUNCTION linger() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "IF new.pages > old.pages AND new.id = 50 THEN PERFORM pg_sleep(0.3); "
        "WHILE NOT EXISTS (SELECT FROM pg_stat_activity WHERE pg_backend_pid() = ANY (pg_blocking_pids(pid))) LOOP "
        "PERFORM pg_sleep(0.05); PERFORM pg_stat_clear_snapshot(); END LOOP; END IF; RETURN new; END $$; "
        "CREATE TRIGGER linger BEFORE UPDATE ON counted FOR EACH ROW EXECUTE FUNCTION linger()",
    )
    _plant(library, 'safe.backfill("counted", "pages = pages + 1", batch_size=100)')
    migrator = start_alembic(copy, "upgrade", STEP, project=library)
    with closing(connect(copy)) as session:
        assert eventually(lambda: _waits_for(copy) == "PgSleep")
        run(session, "UPDATE counted SET title = title WHERE id = 1")
    finished = finish(migrator)
    assert finished.returncode == 0, finished.stderr
    found = re.search(r"in ([\d.]+) s, of which ([\d.]+) s to make room", finished.stderr)
    assert found, finished.stderr
    # At least as long as the batch took, for one session that waited.
    assert float(found[2]) >= 0.3
