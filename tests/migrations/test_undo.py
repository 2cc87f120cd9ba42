"""A step down never loses data unsaid and unsaved, and restore-data puts it back."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest
from psycopg2 import sql

from tangga import cli
from tangga.exits import BEHIND, STEP_FAILED, WOULD_LOSE_DATA
from tests.databases import (
    PROJECT,
    eventually,
    finish,
    owner_environment,
    query,
    scratch_database,
    start_alembic,
)
from tests.databases import migrate as migrate_product
from tests.migrations.staircase import V3, V4, add_posts, add_user
from tests.support.library import FOLDER, HEAD, L1, L2, L3, L4, alembic, copy_library, fill, migrate, plant
from tests.support.plain_words import plain_words
from tests.support.schema import catalogue, revision, rows
from tests.support.steps import edit

STEP = "0000000000b1"
PACKAGE = {"PYTHONPATH": str(PROJECT / "services/migrate")}
PROGRAM = f"{sys.executable} -c 'from tangga.cli import main; main()'"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the saves, for commands in this process and in others."""
    path = tmp_path / "saved"
    path.mkdir()
    monkeypatch.setenv("MIGRATE_SAVE_DIR", str(path))
    return path


@pytest.fixture(scope="session")
def stocked(shelved: str) -> Iterator[str]:
    """A library with 20 authors, 60 books and 100 loans, to make copies of."""
    with scratch_database(shelved) as database:
        fill(database)
        yield database


@pytest.fixture
def filled(stocked: str) -> Iterator[str]:
    with scratch_database(stocked) as database:
        yield database


def _command(database: str, *arguments: str, project: Path = FOLDER) -> int:
    """Run one of our commands in this process and return its exit code."""
    with mock.patch.dict(os.environ, owner_environment(database)), plain_words():
        try:
            cli.main(["--config", str(project / "alembic.ini"), *arguments])
        except SystemExit as end:
            return int(end.code or 0)
    return 0


def _losses(database: str, capsys: pytest.CaptureFixture[str], *to: str, project: Path = FOLDER) -> dict[str, int]:
    """Return what steps down would lose: rows by "kind table.columns"; checks the exit code."""
    capsys.readouterr()
    code = _command(database, "losses", "--json", *to, project=project)
    printed = capsys.readouterr()
    assert code in (0, WOULD_LOSE_DATA), printed.err
    found = {
        f"{loss['kind']} {loss['table']} {','.join(name for name in loss['columns'] if name not in loss['key'])}": loss[
            "rows"
        ]
        for step in json.loads(printed.out)
        for loss in step["losses"]
    }
    assert code == (WOULD_LOSE_DATA if found else 0)
    return {name.removeprefix("public."): count for name, count in found.items()}


def _contents(database: str) -> dict[str, list[str]]:
    """Return every value of every table, as text."""
    tables = query(
        database,
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'"
        " AND relname NOT LIKE 'migration%' ORDER BY 1",
    )
    statement = "SELECT t::text FROM {} AS t ORDER BY 1"
    return {
        name: [row for (row,) in query(database, sql.SQL(statement).format(sql.Identifier(name)))] for (name,) in tables
    }


def _there_and_back(database: str, library: Path = FOLDER, to: str = "") -> None:
    """Take back the planted step, or the last one, whose column holds something; and up again."""
    migrate(database, "downgrade", to or "-1", project=library)
    migrate(database, "upgrade", "head", project=library)


def _planted(database: str, library: Path, downgrade: str, upgrade: str = "pass") -> None:
    plant(library, STEP, upgrade, downgrade=downgrade)
    migrate(database, "upgrade", "head", project=library)


def test_a_column_comes_back_value_by_value(filled: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = _contents(filled)
    assert _losses(filled, capsys, L3) == {"dropped-columns public.books note": 30}
    _there_and_back(filled)
    # The harm: up again is not back again.
    assert {row["note"] for row in rows(filled, "books")} == {None}
    capsys.readouterr()
    assert _command(filled, "restore-data") == 0
    assert "books.note  dropped columns     30        30" in capsys.readouterr().out
    assert _contents(filled) == before


# Above the head, a column that is NOT NULL and has no default: rows of books go back with the values of two saves.
SHELF = """op.add_column('books', sa.Column('shelf', sa.String(), server_default='', nullable=False))
    op.alter_column('books', 'shelf', server_default=None)"""


@pytest.fixture
def with_shelves(filled: str, library: Path) -> str:
    _planted(filled, library, "op.drop_column('books', 'shelf')", SHELF)
    query(filled, "UPDATE books SET shelf = 'shelf ' || id")
    return filled


def test_all_steps_down_and_up_lose_nothing(
    with_shelves: str, library: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = _contents(with_shelves)
    where = revision(with_shelves), catalogue(with_shelves)
    assert _losses(with_shelves, capsys, "base", project=library) == {
        "dropped-columns public.books shelf": 60,
        "dropped-columns public.books note": 30,
        "dropped-table public.loans ": 100,
        "dropped-table public.books title,pages,lent,added_at,author_id": 60,
        "dropped-table public.authors name,secret": 20,
    }
    # Asking changes nothing.
    assert (_contents(with_shelves), (revision(with_shelves), catalogue(with_shelves))) == (before, where)
    _there_and_back(with_shelves, library, to="base")
    assert _contents(with_shelves) | {"alembic_version": []} == {name: [] for name in before}
    assert _command(with_shelves, "restore-data", project=library) == 0
    assert _contents(with_shelves) == before
    assert where == (revision(with_shelves), catalogue(with_shelves))
    # The sequences know what came back.
    assert _add_author(with_shelves, "new") == 21


def _add_author(database: str, name: str) -> int:
    [(author,)] = query(database, "INSERT INTO authors (name, secret) VALUES (%s, 'x') RETURNING id", name)
    return int(author)


def test_steps_that_lose_nothing_ask_nothing_save_nothing_and_run_once(
    shelved: str, library: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ran = folder.parent / "ran"
    with scratch_database(shelved) as database:
        # A column without a value, a table without a row.
        fill(database, authors=1, books=5, loans=0)
        query(database, "UPDATE books SET note = NULL")
        _planted(
            database,
            library,
            f"op.drop_column('books', 'p'); open({str(ran)!r}, 'a').write('x')",
            "op.execute('ALTER TABLE books ADD p text GENERATED ALWAYS AS (title) STORED')",
        )
        assert _losses(database, capsys, L2, project=library) == {}
        ran.unlink()
        assert _command(database, "losses", L2, project=library) == 0
        assert capsys.readouterr().out == "3 steps down: no data would be lost\n"
        ran.unlink()
        migrate(database, "downgrade", L2, project=library)
        assert ran.read_text() == "x"
    assert [*folder.iterdir()] == []


def test_the_placeholder_owner_has_another_id_after_the_next_upgrade(
    database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    migrate_product(database, "upgrade", V3)
    add_posts(database, 4, alamat="")
    ani = add_user(database, "ani@x.id")
    migrate_product(database, "upgrade", V4)
    query(database, "UPDATE posts SET owner_id = %s WHERE id <= 3", ani)
    assert _losses(database, capsys, project=PROJECT) == {
        "dropped-columns public.posts owner_id": 4,
        "deleted-rows public.users email,password,created_at": 1,
    }
    migrate_product(database, "downgrade", V3)
    migrate_product(database, "upgrade", V4)
    owners = {row["id"]: row["owner_id"] for row in rows(database, "posts")}
    placeholder = owners[4]
    assert set(owners.values()) == {placeholder}
    capsys.readouterr()
    assert _command(database, "restore-data", project=PROJECT) == 0
    assert "1 refer to rows that are gone: they keep what the upgrade gave them" in capsys.readouterr().out
    owners = {row["id"]: row["owner_id"] for row in rows(database, "posts")}
    assert owners == {1: ani, 2: ani, 3: ani, 4: placeholder}


DML = """DO $$ BEGIN
UPDATE books SET title = upper(title) WHERE id <= 3; UPDATE books SET title = title || '!' WHERE id <= 2;
UPDATE books SET pages = pages; DELETE FROM authors WHERE id = 7;
DELETE FROM books WHERE id = 50; INSERT INTO books SELECT 50, 'other', 1, true, now(), 1, NULL; END $$"""


def test_rows_that_a_step_deletes_or_changes_are_saved_exactly(
    filled: str, library: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _planted(filled, library, f"op.execute({DML!r})")
    before = _contents(filled)
    of_user_7 = [post for post in rows(filled, "books") if post["author_id"] == 7]
    loans = [
        vote
        for vote in rows(filled, "loans")
        if vote["author_id"] == 7 or vote["book_id"] in {p["id"] for p in of_user_7} | {50}
    ]
    assert of_user_7
    assert _losses(filled, capsys, project=library) == {
        # 50 was replaced by another row; UPDATEs that change nothing do not count, nor does one row twice.
        "changed-rows public.books title,pages,added_at,author_id,note": 4,
        "deleted-rows public.books title,pages,lent,added_at,author_id,note": len(of_user_7),
        "deleted-rows public.authors name,secret": 1,
        "deleted-rows public.loans ": len(loans),
    }
    _there_and_back(filled, library)
    assert _contents(filled) != before
    assert _command(filled, "restore-data", project=library) == 0
    assert _contents(filled) | {"alembic_version": []} == before | {"alembic_version": []}


@pytest.mark.parametrize(
    ("column", "values", "narrow", "wide", "lost"),
    [
        ("varchar", "('Ani'), ('Bambang'), (NULL)", "varchar(5) USING left(x, 5)", "varchar", 1),
        ("numeric", "(1.50), (2), (NULL)", "integer", "numeric", 1),
        ("timestamptz", "('2026-01-02 00:00+00'), ('2026-01-02 03:04:05.678+00')", "date", "timestamptz", 1),
        ("mood", "('sad'), ('glad')", "text", "mood USING x::mood", 0),
        ("integer", "(1), (2)", "bigint", "integer", 0),
        ("varchar(9)", "('Ani')", "text", "varchar(9)", 0),
        ("jsonb", """('{"a": [1, "b"]}'), ('[]')""", "jsonb USING x - 'a'", "jsonb", 1),
        ("text", "('1'), ('02'), ('x')", "integer USING nullif(x, 'x')::integer", "text", 2),
    ],
    ids=lambda value: str(value) if str(value).isidentifier() else "",
)
def test_values_that_a_change_of_type_alters_are_saved(
    filled: str,
    library: Path,
    capsys: pytest.CaptureFixture[str],
    column: str,
    values: str,
    narrow: str,
    wide: str,
    lost: int,
) -> None:
    query(filled, f"CREATE TYPE mood AS ENUM ('sad', 'glad'); CREATE TABLE t (id serial PRIMARY KEY, x {column})")
    query(filled, f"INSERT INTO t (x) VALUES {values}")
    up = f"ALTER TABLE t ALTER x TYPE {wide}" if lost or column == "mood" else "SELECT"
    _planted(filled, library, f"op.execute({f'ALTER TABLE t ALTER x TYPE {narrow}'!r})", f"op.execute({up!r})")
    before = rows(filled, "t")
    assert _losses(filled, capsys, project=library) == ({"changed-rows public.t x": lost} if lost else {})
    _there_and_back(filled, library)
    if lost:
        assert rows(filled, "t") != before
        assert _command(filled, "restore-data", project=library) == 0
    assert rows(filled, "t") == before


def test_truncate_is_seen(filled: str, library: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _planted(filled, library, "op.execute('TRUNCATE books CASCADE')")
    before = _contents(filled)
    assert sum(_losses(filled, capsys, project=library).values()) == 160
    _there_and_back(filled, library)
    assert rows(filled, "books") == []
    assert _command(filled, "restore-data", project=library) == 0
    assert _contents(filled) == before


HOSTILE = r'''
CREATE TYPE mood AS ENUM ('sad', 'o''k, "so"');
CREATE TYPE pair AS (a text, b integer);
CREATE TABLE "o:d%%d ""t""" ("i d" integer, "k%%" text, PRIMARY KEY ("i d", "k%%"), a mood, b jsonb, c json,
    d bytea, e text[], f double precision, g numeric, h timestamptz, i interval, j pair, k char(5),
    l boolean, m int4range, n text, "c:o""l" text);
INSERT INTO "o:d%%d ""t""" VALUES
    (1, 'a', 'sad', '{"a": "\\n\" ''"}', '{"b":1,  "b":2}', '\x00ff5c0a', '{NULL,"NULL","a\\b,{}\"",""}', 'NaN', 1.50,
     '2026-01-02 03:04:05.678901+07', '1 mon -2 days 00:00:01.5', '("a,""b)",3)', 'ab', true, '[1,5)',
     E'tab\tnew\nline\rret\\N', ''),
    (1, E'\n', 'o''k, "so"', '[]', '[]', '', '{}', '-Infinity', 'NaN', 'infinity', '0', NULL, '', false,
     'empty', E'\\.', '%%s'),
    (2, 'a', NULL, NULL, NULL, NULL, NULL, 0.1, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
    (3, 'a', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)
'''.replace("%%", "%")
NAME = '"o:d%d ""t"""'


@pytest.mark.parametrize(
    ("down", "up"),
    [
        (
            f"ALTER TABLE {NAME} "
            + ", ".join(f"DROP {c}" for c in (*"abcdefghijklmn", '"c:o""l"'))
            + "; DROP TYPE mood",
            f"CREATE TYPE mood AS ENUM ('sad', 'o''k, \"so\"'); ALTER TABLE {NAME} ADD a mood, ADD b jsonb, "
            "ADD c json, ADD d bytea, ADD e text[], ADD f double precision, ADD g numeric, ADD h timestamptz, "
            'ADD i interval, ADD j pair, ADD k char(5), ADD l boolean, ADD m int4range, ADD n text, ADD "c:o""l" text',
        ),
        (f"CREATE TABLE other (LIKE {NAME} INCLUDING ALL); DROP TABLE {NAME}", f"ALTER TABLE other RENAME TO {NAME}"),
        (f"DELETE FROM {NAME}", "SELECT"),
        (
            f"""UPDATE {NAME} SET a = NULL, b = NULL, c = '1', d = NULL, e = NULL, f = 1, g = NULL, h = NULL, i = NULL,
         j = NULL, k = 'x', l = NULL, m = NULL, n = 'x', "c:o""l" = 'x'""",
            "SELECT",
        ),
    ],
    ids=["columns", "table", "deleted", "changed"],
)
def test_values_and_names_of_every_kind_come_back(filled: str, library: Path, down: str, up: str) -> None:
    query(filled, HOSTILE)
    plant(
        library,
        STEP,
        f"op.get_bind().exec_driver_sql({up.replace('%', '%%')!r})",
        downgrade=f"op.get_bind().exec_driver_sql({down.replace('%', '%%')!r})",
    )
    migrate(filled, "stamp", STEP, project=library)
    before = _contents(filled)
    _there_and_back(filled, library)
    assert _contents(filled) != before
    assert _command(filled, "restore-data", project=library) == 0
    assert _contents(filled) == before


@pytest.mark.parametrize(
    ("down", "up"),
    [
        ("ALTER TABLE p DROP x", "ALTER TABLE p ADD IF NOT EXISTS x text"),
        ("DROP TABLE p1", "CREATE TABLE IF NOT EXISTS p1 PARTITION OF p FOR VALUES FROM (0) TO (10)"),
        ("DELETE FROM p WHERE id > 5", "SELECT"),
        ("UPDATE p SET x = 'y' WHERE id IN (2, 12)", "SELECT"),
        ("TRUNCATE p", "SELECT"),
        (
            "DROP TABLE p",
            "CREATE TABLE IF NOT EXISTS p (id integer PRIMARY KEY, x text) PARTITION BY RANGE (id);"
            " CREATE TABLE IF NOT EXISTS p1 PARTITION OF p FOR VALUES FROM (0) TO (10);"
            " CREATE TABLE IF NOT EXISTS p2 PARTITION OF p FOR VALUES FROM (10) TO (20)",
        ),
    ],
    ids=["column", "partition", "deleted", "changed", "truncated", "table"],
)
def test_partitions_come_back(filled: str, library: Path, folder: Path, down: str, up: str) -> None:
    query(filled, "CREATE TABLE p (id integer PRIMARY KEY, x text) PARTITION BY RANGE (id)")
    query(filled, "CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10)")
    query(filled, "CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (10) TO (20)")
    query(filled, "INSERT INTO p SELECT n, 'x' || n FROM generate_series(0, 19) n")
    _planted(filled, library, f"op.execute({down!r})", f"op.execute({up!r})")
    before = rows(filled, "p")
    _there_and_back(filled, library)
    assert rows(filled, "p") != before
    assert _command(filled, "restore-data", project=library) == 0
    assert rows(filled, "p") == before
    if down.startswith(("ALTER", "DROP")):
        assert len([*folder.glob("*/*.gz")]) == 1, "a row is saved once"


def test_a_table_without_a_key_is_kept_whole_and_said(
    filled: str, library: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    query(filled, "CREATE TABLE t (a integer, b text); INSERT INTO t VALUES (1, 'x'), (1, 'x'), (2, NULL)")
    _planted(filled, library, "op.drop_column('t', 'b')", "op.execute('ALTER TABLE t ADD IF NOT EXISTS b text')")
    assert _losses(filled, capsys, project=library) == {"dropped-columns public.t a,b": 2}
    _there_and_back(filled, library)
    assert "has no key that tells its rows apart" in capsys.readouterr().err
    assert _command(filled, "restore-data", project=library) == 0
    assert "the table has no key that tells its rows apart: see the file" in capsys.readouterr().out
    [file] = folder.glob("*/*.gz")
    assert subprocess.run(["gzip", "-dc", file], capture_output=True, check=True).stdout == b"1\tx\n1\tx\n"


def test_a_dropped_table_without_a_key_comes_back(filled: str, library: Path) -> None:
    query(filled, "CREATE TABLE t (a integer, b text); INSERT INTO t VALUES (1, 'x'), (1, 'x'), (2, NULL)")
    _planted(filled, library, "op.drop_table('t')", "op.execute('CREATE TABLE IF NOT EXISTS t (a integer, b text)')")
    before = rows(filled, "t")
    _there_and_back(filled, library)
    assert _command(filled, "restore-data", project=library) == 0
    assert rows(filled, "t") == before


def test_what_somebody_writes_between_the_trial_and_the_save_is_saved_too(
    filled: str, library: Path, folder: Path
) -> None:
    tried = folder.parent / "tried"
    plant(library, STEP, "op.execute('ALTER TABLE books ADD IF NOT EXISTS x text')", downgrade=f"""
    op.drop_column('books', 'x')
    op.execute("DELETE FROM authors WHERE name LIKE 'late%'")
    if not __import__('os').path.exists({str(tried)!r}):
        open({str(tried)!r}, 'w').close()
        end = time.monotonic() + 60
        waiting = sa.text("SELECT count(*) FROM pg_locks WHERE relation = 'books'::regclass AND NOT granted")
        while op.get_bind().scalar(waiting) == 0 and time.monotonic() < end:
            time.sleep(0.05)""")  # fmt: skip
    migrate(filled, "upgrade", "head", project=library)
    query(filled, "UPDATE books SET x = 'early' WHERE id = 1")

    def write() -> None:
        # Goes in at once: the trial found no such row, and holds no lock against it.
        _add_author(filled, "late")
        # Waits for the trial's end, and is there before the save.
        query(filled, "UPDATE books SET x = 'late' WHERE id = 2")

    going_down = start_alembic(filled, "downgrade", "-1", project=library)
    assert eventually(tried.exists)
    writer = threading.Thread(target=write)
    writer.start()
    finished = finish(going_down)
    writer.join()
    assert finished.returncode == 0, finished.stderr
    assert rows(filled, "authors")[-1]["name"] != "late"
    migrate(filled, "upgrade", "head", project=library)
    assert _command(filled, "restore-data", project=library) == 0
    assert [row["x"] for row in rows(filled, "books")][:3] == ["early", "late", None]
    assert "late" in {row["name"] for row in rows(filled, "authors")}


def test_a_step_that_commits_on_its_way_is_saved_before(
    filled: str, library: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plant(
        library,
        STEP,
        "op.execute('CREATE INDEX IF NOT EXISTS ix_books_note ON books (note)')",
        downgrade="from tangga import safe; safe.drop_index('ix_books_note'); "
        "op.execute('DELETE FROM loans WHERE author_id = 1')",
    )
    migrate(filled, "upgrade", "head", project=library)
    before = _contents(filled)
    loans = sum(row["author_id"] == 1 for row in rows(filled, "loans"))
    assert _losses(filled, capsys, project=library) == {"deleted-rows public.loans ": loans}
    assert query(filled, "SELECT to_regclass('ix_books_note')") == [("ix_books_note",)]
    migrate(filled, "downgrade", "-1", project=library)
    assert query(filled, "SELECT to_regclass('ix_books_note')") == [(None,)]
    assert len(rows(filled, "loans")) == 100 - loans
    migrate(filled, "upgrade", "head", project=library)
    assert _command(filled, "restore-data", project=library) == 0
    assert _contents(filled) == before


def test_the_safe_forms_can_be_tried(filled: str, library: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _planted(
        filled, library,
        "from tangga import safe; safe.create_index('ix', 'books', ['pages']); safe.add_unique('u', 'books',"
        " ['title']); safe.set_not_null('books', 'note_2');"
        " safe.backfill('books', \"title = 'x' || id\", where='id < 4')",
        "op.execute('ALTER TABLE books ADD IF NOT EXISTS note_2 text')",
    )  # fmt: skip
    query(filled, "UPDATE books SET note_2 = 'x'")
    assert _losses(filled, capsys, project=library) == {"changed-rows public.books title": 3}
    migrate(filled, "downgrade", "-1", project=library)
    assert [row["title"] for row in rows(filled, "books")][:4] == ["x1", "x2", "x3", "book 4"]
    migrate(filled, "upgrade", "head", project=library)
    assert _command(filled, "restore-data", project=library) == 0
    assert [row["title"] for row in rows(filled, "books")][:4] == ["book 1", "book 2", "book 3", "book 4"]


def test_a_step_that_cannot_be_tried_counts_as_a_loss_and_everything_is_saved(
    filled: str, library: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _planted(
        filled,
        library,
        "with op.get_context().autocommit_block():\n        op.execute('REINDEX SCHEMA public')\n"
        "    op.execute('DELETE FROM loans')",
    )
    before = _contents(filled)
    capsys.readouterr()
    assert _command(filled, "losses", L3, project=library) == WOULD_LOSE_DATA
    printed = capsys.readouterr().out
    assert "what cannot be foreseen: " in printed
    assert "REINDEX SCHEMA cannot run inside a transaction block" in printed
    assert "the step above it cannot be foreseen" in printed
    assert _contents(filled) == before
    _there_and_back(filled, library)
    assert rows(filled, "loans") == []
    [manifest] = folder.glob("*/manifest.json")
    assert {item["table"]: item["rows"] for item in json.loads(manifest.read_text())["items"]} == {
        "public.books": 60, "public.authors": 20, "public.loans": 100,
    }  # fmt: skip
    assert _command(filled, "restore-data", project=library) == 0
    assert _contents(filled) == before


@pytest.mark.parametrize("trouble", ["missing", "read-only", "full"])
def test_without_room_for_the_save_the_step_does_not_happen(filled: str, folder: Path, trouble: str) -> None:
    query(
        filled,
        "UPDATE books SET note = (SELECT string_agg(md5(n::text || books.id), '') FROM generate_series(1, 100) n)",
    )
    before = _contents(filled), catalogue(filled)
    place = {"missing": folder / "missing", "read-only": Path("/proc"), "full": folder}[trouble]
    # bash: no file may be larger than 16 KiB, which is how a full disk looks from inside.
    finished = subprocess.run(
        ["bash", "-c", f"{'ulimit -f 16;' if trouble == 'full' else ''} exec {PROGRAM} downgrade {L3}"],
        cwd=FOLDER, env=os.environ | PACKAGE | owner_environment(filled) | {"MIGRATE_SAVE_DIR": str(place)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert finished.returncode == STEP_FAILED, finished.stderr
    what, remedy = finished.stderr.splitlines()[-2:]
    assert what.startswith(f"error: step {L4} (l4 notes) would lose data, and saving it in {place} failed: ")
    assert what.endswith("; the step was not run")
    assert "MIGRATE_SAVE_DIR" in remedy
    assert (_contents(filled), catalogue(filled)) == before
    assert revision(filled) == HEAD
    assert [*folder.iterdir()] == []


def test_a_save_that_was_cut_off_never_looks_whole(
    filled: str, library: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    library = copy_library(library, with_tangga=True)
    last = "        with self._reported():\n            manifest"
    edit(library / "tangga/undo/saving.py", last, f"        __import__('time').sleep(60)\n{last}")
    going_down = start_alembic(filled, "downgrade", "-1", project=library)
    assert eventually(lambda: any(folder.glob(".*.partial/*.gz")))
    going_down.kill()
    assert finish(going_down).returncode == -9
    assert [path.name[0] for path in folder.iterdir()] == ["."]
    assert revision(filled) == HEAD
    assert _command(filled, "restore-data", "--list") == 0
    assert "holds no save" in capsys.readouterr().out
    # The next one clears it away.
    query(filled, "UPDATE books SET note = '08'")
    migrate(filled, "downgrade", "-1")
    [path] = folder.iterdir()
    assert path.name.endswith(f"Z_{HEAD}")


def test_a_save_of_a_step_that_was_not_finished_is_not_put_back(
    filled: str, library: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # The commit itself fails, when the save is whole: as if the migrator were killed just before it.
    _planted(
        filled, library,
        "op.drop_column('books', 'note');"
        " op.execute('CREATE TABLE d (n integer UNIQUE DEFERRABLE INITIALLY DEFERRED)');"
        " op.execute('INSERT INTO d VALUES (1), (1)')",
    )  # fmt: skip
    assert alembic(filled, "downgrade", "-1", project=library).returncode != 0
    assert revision(filled) == STEP
    query(filled, "UPDATE books SET note = 'newer'")
    capsys.readouterr()
    assert _command(filled, "restore-data", "--list", project=library) == 0
    assert "(the step down was not finished)" in capsys.readouterr().out
    assert _command(filled, "restore-data", project=library) == 0
    assert "nothing to put back" in capsys.readouterr().out
    assert {row["note"] for row in rows(filled, "books")} == {"newer"}


@pytest.mark.parametrize("damage", ["changed", "cut", "gone", "manifest"])
def test_a_damaged_save_is_refused_whole(
    filled: str, folder: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _there_and_back(filled, to=L2)
    [file] = folder.glob(f"*{L4}/*.gz")
    content = file.read_bytes()
    if damage == "changed":
        file.write_bytes(content[:50] + bytes([content[50] ^ 1]) + content[51:])
    elif damage == "cut":
        file.write_bytes(content[:-20])
    elif damage == "gone":
        file.unlink()
    else:
        (file.parent / "manifest.json").write_text('{"revision": ')
    before = _contents(filled)
    capsys.readouterr()
    assert _command(filled, "restore-data") == STEP_FAILED
    assert file.parent.name in capsys.readouterr().err
    assert _contents(filled) == before


def test_the_applications_triggers_do_not_see_what_comes_back(filled: str) -> None:
    query(filled, """
        CREATE FUNCTION changed() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.pages = -1; RETURN NEW; END $$;
        CREATE TRIGGER changed BEFORE UPDATE ON books FOR EACH ROW EXECUTE FUNCTION changed();
        ALTER TABLE books ENABLE ALWAYS TRIGGER changed
    """)  # fmt: skip
    before = _contents(filled), query(filled, "SELECT tgenabled FROM pg_trigger WHERE tgname = 'changed'")
    _there_and_back(filled)
    assert _command(filled, "restore-data") == 0
    assert (_contents(filled), query(filled, "SELECT tgenabled FROM pg_trigger WHERE tgname = 'changed'")) == before


def test_which_save_is_put_back_and_when(filled: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _command(filled, "restore-data") == 0
    assert "holds no save" in capsys.readouterr().out
    before = _contents(filled)
    migrate(filled, "downgrade", L2)
    names = sorted(path.name for path in folder.iterdir())
    assert [name[-12:] for name in names] == [L4, L3]

    assert _command(filled, "restore-data") == BEHIND
    assert "is not applied now\n   do: alembic upgrade head first" in capsys.readouterr().err
    assert _command(filled, "restore-data", names[0]) == BEHIND
    migrate(filled, "upgrade", L3)
    # What can be put back is; the rest waits.
    assert _command(filled, "restore-data") == 0
    assert len(rows(filled, "loans")) == 100
    migrate(filled, "upgrade", "head")
    assert _command(filled, "restore-data") == 0
    assert _contents(filled) == before

    query(filled, "UPDATE books SET note = 'newer'")
    capsys.readouterr()
    assert _command(filled, "restore-data") == 0
    assert f"{L3} was already restored on " in capsys.readouterr().out
    assert {row["note"] for row in rows(filled, "books")} == {"newer"}
    assert _command(filled, "restore-data", names[0]) == 0
    assert "note 2" in {row["note"] for row in rows(filled, "books")}
    assert _command(filled, "restore-data", "nonsense") == 255


def test_the_newest_save_of_a_step_counts(filled: str) -> None:
    _there_and_back(filled)
    query(filled, "UPDATE books SET note = 'second'")
    before = _contents(filled)
    _there_and_back(filled)
    assert _command(filled, "restore-data") == 0
    assert _contents(filled) == before
    assert _command(filled, "restore-data") == 0
    assert _contents(filled) == before


def test_rows_that_do_not_fit_are_not_put_back_by_halves(
    with_shelves: str, library: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _there_and_back(with_shelves, library, to="base")
    [books] = folder.glob(f"*{L2}")
    [authors] = folder.glob(f"*{L1}")
    assert _command(with_shelves, "restore-data", authors.name, project=library) == 0
    capsys.readouterr()
    # Books need a shelf now, which is in another save.
    assert _command(with_shelves, "restore-data", books.name, project=library) == STEP_FAILED
    assert 'null value in column "shelf"' in capsys.readouterr().err
    assert rows(with_shelves, "books") == []
    assert _command(with_shelves, "restore-data", project=library) == 0
    assert len(rows(with_shelves, "books")) == 60


def test_an_upgrade_does_not_load_any_of_this(database: str) -> None:
    code = (
        "import sys; from tangga import cli; cli.main(['upgrade', 'head']);"
        "sys.exit(any(name.startswith('tangga.undo') for name in sys.modules))"
    )
    finished = subprocess.run(
        [sys.executable, "-c", code], cwd=FOLDER, env=os.environ | PACKAGE | owner_environment(database), check=False
    )
    assert finished.returncode == 0
