"""What rows hold, of every kind, comes back as it was after a step down and up again."""

import subprocess
from pathlib import Path

import pytest

from tests.databases import query
from tests.support.library import migrate, plant
from tests.support.schema import rows
from tests.support.undoing import STEP, command, contents, losses, planted, there_and_back

pytestmark = pytest.mark.usefixtures("folder")


DML = """DO $$ BEGIN
UPDATE books SET title = upper(title) WHERE id <= 3; UPDATE books SET title = title || '!' WHERE id <= 2;
UPDATE books SET pages = pages; DELETE FROM authors WHERE id = 7;
DELETE FROM books WHERE id = 50; INSERT INTO books SELECT 50, 'other', 1, true, now(), 1, NULL; END $$"""


def test_rows_that_a_step_deletes_or_changes_are_saved_exactly(
    filled: str, library: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    planted(filled, library, f"op.execute({DML!r})")
    before = contents(filled)
    of_user_7 = [post for post in rows(filled, "books") if post["author_id"] == 7]
    loans = [
        vote
        for vote in rows(filled, "loans")
        if vote["author_id"] == 7 or vote["book_id"] in {p["id"] for p in of_user_7} | {50}
    ]
    assert of_user_7
    assert losses(filled, capsys, project=library) == {
        # 50 was replaced by another row; UPDATEs that change nothing do not count, nor does one row twice.
        "changed-rows public.books title,pages,added_at,author_id,note": 4,
        "deleted-rows public.books title,pages,lent,added_at,author_id,note": len(of_user_7),
        "deleted-rows public.authors name,secret": 1,
        "deleted-rows public.loans ": len(loans),
    }
    there_and_back(filled, library)
    assert contents(filled) != before
    assert command(filled, "restore-data", project=library) == 0
    assert contents(filled) | {"alembic_version": []} == before | {"alembic_version": []}


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
    planted(filled, library, f"op.execute({f'ALTER TABLE t ALTER x TYPE {narrow}'!r})", f"op.execute({up!r})")
    before = rows(filled, "t")
    assert losses(filled, capsys, project=library) == ({"changed-rows public.t x": lost} if lost else {})
    there_and_back(filled, library)
    if lost:
        assert rows(filled, "t") != before
        assert command(filled, "restore-data", project=library) == 0
    assert rows(filled, "t") == before


def test_truncate_is_seen(filled: str, library: Path, capsys: pytest.CaptureFixture[str]) -> None:
    planted(filled, library, "op.execute('TRUNCATE books CASCADE')")
    before = contents(filled)
    assert sum(losses(filled, capsys, project=library).values()) == 160
    there_and_back(filled, library)
    assert rows(filled, "books") == []
    assert command(filled, "restore-data", project=library) == 0
    assert contents(filled) == before


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
    before = contents(filled)
    there_and_back(filled, library)
    assert contents(filled) != before
    assert command(filled, "restore-data", project=library) == 0
    assert contents(filled) == before


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
    planted(filled, library, f"op.execute({down!r})", f"op.execute({up!r})")
    before = rows(filled, "p")
    there_and_back(filled, library)
    assert rows(filled, "p") != before
    assert command(filled, "restore-data", project=library) == 0
    assert rows(filled, "p") == before
    if down.startswith(("ALTER", "DROP")):
        assert len([*folder.glob("*/*.gz")]) == 1, "a row is saved once"


def test_a_table_without_a_key_is_kept_whole_and_said(
    filled: str, library: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    query(filled, "CREATE TABLE t (a integer, b text); INSERT INTO t VALUES (1, 'x'), (1, 'x'), (2, NULL)")
    planted(filled, library, "op.drop_column('t', 'b')", "op.execute('ALTER TABLE t ADD IF NOT EXISTS b text')")
    assert losses(filled, capsys, project=library) == {"dropped-columns public.t a,b": 2}
    there_and_back(filled, library)
    assert "has no key that tells its rows apart" in capsys.readouterr().err
    assert command(filled, "restore-data", project=library) == 0
    assert "the table has no key that tells its rows apart: see the file" in capsys.readouterr().out
    [file] = folder.glob("*/*.gz")
    assert subprocess.run(["gzip", "-dc", file], capture_output=True, check=True).stdout == b"1\tx\n1\tx\n"


def test_a_dropped_table_without_a_key_comes_back(filled: str, library: Path) -> None:
    query(filled, "CREATE TABLE t (a integer, b text); INSERT INTO t VALUES (1, 'x'), (1, 'x'), (2, NULL)")
    planted(filled, library, "op.drop_table('t')", "op.execute('CREATE TABLE IF NOT EXISTS t (a integer, b text)')")
    before = rows(filled, "t")
    there_and_back(filled, library)
    assert command(filled, "restore-data", project=library) == 0
    assert rows(filled, "t") == before
