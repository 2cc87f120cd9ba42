"""A step down never loses data unsaid and unsaved, and restore-data puts it back."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from unittest import mock

import pytest
from psycopg2 import sql

from tangga import cli
from tangga.exits import BEHIND, STEP_FAILED, WOULD_LOSE_DATA
from tests.databases import (
    PROJECT,
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
from tests.migrations.staircase import V1, V3, V4, V5, V6, add_posts, add_user, catalogue, edit, plant, revision, rows

STEP = "0000000000b1"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the saves, for commands in this process and in others."""
    path = tmp_path / "saved"
    path.mkdir()
    monkeypatch.setenv("MIGRATE_SAVE_DIR", str(path))
    return path


@pytest.fixture
def filled(at_head: str) -> Iterator[str]:
    """A database at head with 20 users, 60 posts and 100 votes."""
    with scratch_database(at_head) as database:
        with closing(connect(database)) as connection:
            run(
                connection, "INSERT INTO users (email, password) SELECT n || '@x.id', 'x' FROM generate_series(1, 20) n"
            )
            run(
                connection,
                "INSERT INTO posts (nama, umur, alamat, owner_id, no_hp) SELECT 'nama ' || n, n, 'Jalan ' || n,"
                " 1 + n % 20, CASE WHEN n % 2 = 0 THEN '08' || n END FROM generate_series(1, 60) n",
            )
            run(
                connection,
                "INSERT INTO votes SELECT 1 + n % 20, 1 + n % 59 FROM generate_series(1, 100) n",
            )
        yield database


def _command(database: str, *arguments: str, project: Path = PROJECT) -> int:
    """Run one of our commands in this process and return its exit code."""
    with mock.patch.dict(os.environ, owner_environment(database)):
        try:
            cli.main(["--config", str(project / "alembic.ini"), *arguments])
        except SystemExit as end:
            return int(end.code or 0)
    return 0


def _losses(database: str, capsys: pytest.CaptureFixture[str], *to: str, project: Path = PROJECT) -> dict[str, int]:
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


def _there_and_back(database: str, project: Path = PROJECT, to: str = "") -> None:
    """Take back the planted step, or v6, whose column holds something; and up again."""
    migrate(database, "downgrade", to or (V5 if project is PROJECT else "-1"), project=project)
    migrate(database, "upgrade", "head", project=project)


def _planted(database: str, project: Path, downgrade: str, upgrade: str = "pass") -> None:
    plant(project, STEP, upgrade, downgrade=downgrade)
    migrate(database, "upgrade", "head", project=project)


def test_a_column_comes_back_value_by_value(filled: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = _contents(filled)
    assert _losses(filled, capsys, V5) == {"dropped-columns public.posts no_hp": 30}
    _there_and_back(filled)
    # The harm: up again is not back again.
    assert {row["no_hp"] for row in rows(filled, "posts")} == {None}
    capsys.readouterr()
    assert _command(filled, "restore-data") == 0
    assert "posts.no_hp  dropped columns     30        30" in capsys.readouterr().out
    assert _contents(filled) == before


def test_all_steps_down_and_up_lose_nothing(filled: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = _contents(filled)
    where = revision(filled), catalogue(filled)
    assert _losses(filled, capsys, "base") == {
        "dropped-columns public.posts no_hp": 30,
        "dropped-table public.votes ": 100,
        "dropped-columns public.posts owner_id": 60,
        "dropped-table public.users email,password,created_at": 20,
        "dropped-columns public.posts alamat": 60,
        "dropped-table public.posts nama,umur,published,created_at": 60,
    }
    # Asking changes nothing.
    assert (_contents(filled), (revision(filled), catalogue(filled))) == (before, where)
    _there_and_back(filled, to="base")
    assert _contents(filled) | {"alembic_version": []} == {name: [] for name in before}
    assert _command(filled, "restore-data") == 0
    assert _contents(filled) == before
    assert where == (revision(filled), catalogue(filled))
    # The sequences know what came back.
    assert add_user(filled, "new@x.id") == 21


def test_steps_that_lose_nothing_ask_nothing_save_nothing_and_run_once(
    at_head: str, project: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ran = folder.parent / "ran"
    with scratch_database(at_head) as database:
        add_posts(database, 5, alamat="", owner_id=add_user(database, "ani@x.id"))
        # v6 and v5: a column without a value, a table without a row.
        _planted(
            database,
            project,
            f"op.drop_column('posts', 'p'); open({str(ran)!r}, 'a').write('x')",
            "op.execute('ALTER TABLE posts ADD p text GENERATED ALWAYS AS (nama) STORED')",
        )
        assert _losses(database, capsys, V4, project=project) == {}
        ran.unlink()
        assert _command(database, "losses", V4, project=project) == 0
        assert capsys.readouterr().out == "7 steps down: no data would be lost\n"
        ran.unlink()
        migrate(database, "downgrade", V4, project=project)
        assert ran.read_text() == "x"
    assert [*folder.iterdir()] == []


def test_the_placeholder_owner_has_another_id_after_the_next_upgrade(
    database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    migrate(database, "upgrade", V3)
    add_posts(database, 4, alamat="")
    ani = add_user(database, "ani@x.id")
    migrate(database, "upgrade", V4)
    query(database, "UPDATE posts SET owner_id = %s WHERE id <= 3", ani)
    assert _losses(database, capsys) == {
        "dropped-columns public.posts owner_id": 4,
        "deleted-rows public.users email,password,created_at": 1,
    }
    migrate(database, "downgrade", V3)
    migrate(database, "upgrade", V4)
    owners = {row["id"]: row["owner_id"] for row in rows(database, "posts")}
    placeholder = owners[4]
    assert set(owners.values()) == {placeholder}
    capsys.readouterr()
    assert _command(database, "restore-data") == 0
    assert "1 refer to rows that are gone: they keep what the upgrade gave them" in capsys.readouterr().out
    owners = {row["id"]: row["owner_id"] for row in rows(database, "posts")}
    assert owners == {1: ani, 2: ani, 3: ani, 4: placeholder}


DML = """DO $$ BEGIN
UPDATE posts SET nama = upper(nama) WHERE id <= 3; UPDATE posts SET nama = nama || '!' WHERE id <= 2;
UPDATE posts SET umur = umur; DELETE FROM users WHERE id = 7;
DELETE FROM posts WHERE id = 50; INSERT INTO posts SELECT 50, 'other', 1, true, now(), '', 1, NULL; END $$"""


def test_rows_that_a_step_deletes_or_changes_are_saved_exactly(
    filled: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _planted(filled, project, f"op.execute({DML!r})")
    before = _contents(filled)
    of_user_7 = [post for post in rows(filled, "posts") if post["owner_id"] == 7]
    votes = [
        vote
        for vote in rows(filled, "votes")
        if vote["user_id"] == 7 or vote["post_id"] in {p["id"] for p in of_user_7} | {50}
    ]
    assert of_user_7
    assert _losses(filled, capsys, project=project) == {
        # 50 was replaced by another row; UPDATEs that change nothing do not count, nor does one row twice.
        "changed-rows public.posts nama,umur,created_at,alamat,owner_id,no_hp": 4,
        "deleted-rows public.posts nama,umur,published,created_at,alamat,owner_id,no_hp": len(of_user_7),
        "deleted-rows public.users email,password,created_at": 1,
        "deleted-rows public.votes ": len(votes),
    }
    _there_and_back(filled, project)
    assert _contents(filled) != before
    assert _command(filled, "restore-data", project=project) == 0
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
    project: Path,
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
    _planted(filled, project, f"op.execute({f'ALTER TABLE t ALTER x TYPE {narrow}'!r})", f"op.execute({up!r})")
    before = rows(filled, "t")
    assert _losses(filled, capsys, project=project) == ({"changed-rows public.t x": lost} if lost else {})
    _there_and_back(filled, project)
    if lost:
        assert rows(filled, "t") != before
        assert _command(filled, "restore-data", project=project) == 0
    assert rows(filled, "t") == before


def test_truncate_is_seen(filled: str, project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _planted(filled, project, "op.execute('TRUNCATE posts CASCADE')")
    before = _contents(filled)
    assert sum(_losses(filled, capsys, project=project).values()) == 160
    _there_and_back(filled, project)
    assert rows(filled, "posts") == []
    assert _command(filled, "restore-data", project=project) == 0
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
def test_values_and_names_of_every_kind_come_back(filled: str, project: Path, down: str, up: str) -> None:
    query(filled, HOSTILE)
    plant(
        project,
        STEP,
        f"op.get_bind().exec_driver_sql({up.replace('%', '%%')!r})",
        downgrade=f"op.get_bind().exec_driver_sql({down.replace('%', '%%')!r})",
    )
    migrate(filled, "stamp", STEP, project=project)
    before = _contents(filled)
    _there_and_back(filled, project)
    assert _contents(filled) != before
    assert _command(filled, "restore-data", project=project) == 0
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
def test_partitions_come_back(filled: str, project: Path, folder: Path, down: str, up: str) -> None:
    query(filled, "CREATE TABLE p (id integer PRIMARY KEY, x text) PARTITION BY RANGE (id)")
    query(filled, "CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10)")
    query(filled, "CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (10) TO (20)")
    query(filled, "INSERT INTO p SELECT n, 'x' || n FROM generate_series(0, 19) n")
    _planted(filled, project, f"op.execute({down!r})", f"op.execute({up!r})")
    before = rows(filled, "p")
    _there_and_back(filled, project)
    assert rows(filled, "p") != before
    assert _command(filled, "restore-data", project=project) == 0
    assert rows(filled, "p") == before
    if down.startswith(("ALTER", "DROP")):
        assert len([*folder.glob("*/*.gz")]) == 1, "a row is saved once"


def test_a_table_without_a_key_is_kept_whole_and_said(
    filled: str, project: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    query(filled, "CREATE TABLE t (a integer, b text); INSERT INTO t VALUES (1, 'x'), (1, 'x'), (2, NULL)")
    _planted(filled, project, "op.drop_column('t', 'b')", "op.execute('ALTER TABLE t ADD IF NOT EXISTS b text')")
    assert _losses(filled, capsys, project=project) == {"dropped-columns public.t a,b": 2}
    _there_and_back(filled, project)
    assert "has no key that tells its rows apart" in capsys.readouterr().err
    assert _command(filled, "restore-data", project=project) == 0
    assert "the table has no key that tells its rows apart: see the file" in capsys.readouterr().out
    [file] = folder.glob("*/*.gz")
    assert subprocess.run(["gzip", "-dc", file], capture_output=True, check=True).stdout == b"1\tx\n1\tx\n"


def test_a_dropped_table_without_a_key_comes_back(filled: str, project: Path) -> None:
    query(filled, "CREATE TABLE t (a integer, b text); INSERT INTO t VALUES (1, 'x'), (1, 'x'), (2, NULL)")
    _planted(filled, project, "op.drop_table('t')", "op.execute('CREATE TABLE IF NOT EXISTS t (a integer, b text)')")
    before = rows(filled, "t")
    _there_and_back(filled, project)
    assert _command(filled, "restore-data", project=project) == 0
    assert rows(filled, "t") == before


def test_what_somebody_writes_between_the_trial_and_the_save_is_saved_too(
    filled: str, project: Path, folder: Path
) -> None:
    tried = folder.parent / "tried"
    plant(project, STEP, "op.execute('ALTER TABLE posts ADD IF NOT EXISTS x text')", downgrade=f"""
    op.drop_column('posts', 'x')
    op.execute("DELETE FROM users WHERE email LIKE 'late%'")
    if not __import__('os').path.exists({str(tried)!r}):
        open({str(tried)!r}, 'w').close()
        end = time.monotonic() + 60
        waiting = sa.text("SELECT count(*) FROM pg_locks WHERE relation = 'posts'::regclass AND NOT granted")
        while op.get_bind().scalar(waiting) == 0 and time.monotonic() < end:
            time.sleep(0.05)""")  # fmt: skip
    migrate(filled, "upgrade", "head", project=project)
    query(filled, "UPDATE posts SET x = 'early' WHERE id = 1")

    def write() -> None:
        # Goes in at once: the trial found no such row, and holds no lock against it.
        add_user(filled, "late@x.id")
        # Waits for the trial's end, and is there before the save.
        query(filled, "UPDATE posts SET x = 'late' WHERE id = 2")

    going_down = start_alembic(filled, "downgrade", "-1", project=project)
    assert eventually(tried.exists)
    writer = threading.Thread(target=write)
    writer.start()
    finished = finish(going_down)
    writer.join()
    assert finished.returncode == 0, finished.stderr
    assert rows(filled, "users")[-1]["email"] != "late@x.id"
    migrate(filled, "upgrade", "head", project=project)
    assert _command(filled, "restore-data", project=project) == 0
    assert [row["x"] for row in rows(filled, "posts")][:3] == ["early", "late", None]
    assert "late@x.id" in {row["email"] for row in rows(filled, "users")}


def test_a_step_that_commits_on_its_way_is_saved_before(
    filled: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plant(
        project,
        STEP,
        "op.execute('CREATE INDEX IF NOT EXISTS ix_posts_no_hp ON posts (no_hp)')",
        downgrade="from tangga import safe; safe.drop_index('ix_posts_no_hp'); "
        "op.execute('DELETE FROM votes WHERE user_id = 1')",
    )
    migrate(filled, "upgrade", "head", project=project)
    before = _contents(filled)
    votes = sum(row["user_id"] == 1 for row in rows(filled, "votes"))
    assert _losses(filled, capsys, project=project) == {"deleted-rows public.votes ": votes}
    assert query(filled, "SELECT to_regclass('ix_posts_no_hp')") == [("ix_posts_no_hp",)]
    migrate(filled, "downgrade", "-1", project=project)
    assert query(filled, "SELECT to_regclass('ix_posts_no_hp')") == [(None,)]
    assert len(rows(filled, "votes")) == 100 - votes
    migrate(filled, "upgrade", "head", project=project)
    assert _command(filled, "restore-data", project=project) == 0
    assert _contents(filled) == before


def test_the_safe_forms_can_be_tried(filled: str, project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _planted(
        filled, project,
        "from tangga import safe; safe.create_index('ix', 'posts', ['umur']); safe.add_unique('u', 'posts',"
        " ['nama']); safe.set_not_null('posts', 'alamat_2');"
        " safe.backfill('posts', \"nama = 'x' || id\", where='id < 4')",
        "op.execute('ALTER TABLE posts ADD IF NOT EXISTS alamat_2 text')",
    )  # fmt: skip
    query(filled, "UPDATE posts SET alamat_2 = 'x'")
    assert _losses(filled, capsys, project=project) == {"changed-rows public.posts nama": 3}
    migrate(filled, "downgrade", "-1", project=project)
    assert [row["nama"] for row in rows(filled, "posts")][:4] == ["x1", "x2", "x3", "nama 4"]
    migrate(filled, "upgrade", "head", project=project)
    assert _command(filled, "restore-data", project=project) == 0
    assert [row["nama"] for row in rows(filled, "posts")][:4] == ["nama 1", "nama 2", "nama 3", "nama 4"]


def test_a_step_that_cannot_be_tried_counts_as_a_loss_and_everything_is_saved(
    filled: str, project: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _planted(
        filled,
        project,
        "with op.get_context().autocommit_block():\n        op.execute('REINDEX SCHEMA public')\n"
        "    op.execute('DELETE FROM votes')",
    )
    before = _contents(filled)
    capsys.readouterr()
    assert _command(filled, "losses", V5, project=project) == WOULD_LOSE_DATA
    printed = capsys.readouterr().out
    assert "what cannot be foreseen: " in printed
    assert "REINDEX SCHEMA cannot run inside a transaction block" in printed
    assert "the step above it cannot be foreseen" in printed
    assert _contents(filled) == before
    _there_and_back(filled, project)
    assert rows(filled, "votes") == []
    [manifest] = folder.glob("*/manifest.json")
    assert {item["table"]: item["rows"] for item in json.loads(manifest.read_text())["items"]} == {
        "public.posts": 60, "public.users": 20, "public.votes": 100,
    }  # fmt: skip
    assert _command(filled, "restore-data", project=project) == 0
    assert _contents(filled) == before


@pytest.mark.parametrize("trouble", ["missing", "read-only", "full"])
def test_without_room_for_the_save_the_step_does_not_happen(filled: str, folder: Path, trouble: str) -> None:
    query(
        filled,
        "UPDATE posts SET no_hp = (SELECT string_agg(md5(n::text || posts.id), '') FROM generate_series(1, 100) n)",
    )
    migrate(filled, "downgrade", V6)
    before = _contents(filled), catalogue(filled)
    place = {"missing": folder / "missing", "read-only": Path("/proc"), "full": folder}[trouble]
    # bash: no file may be larger than 16 KiB, which is how a full disk looks from inside.
    finished = subprocess.run(
        ["bash", "-c", f"{'ulimit -f 16;' if trouble == 'full' else ''} exec alembic downgrade {V5}"],
        cwd=PROJECT, env=os.environ | owner_environment(filled) | {"MIGRATE_SAVE_DIR": str(place)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert finished.returncode == STEP_FAILED, finished.stderr
    what, remedy = finished.stderr.splitlines()[-2:]
    assert what.startswith(
        f"error: step {V6} (v6 tambah kolom no_hp) would lose data, and saving it in {place} failed: "
    )
    assert what.endswith("; the step was not run")
    assert "MIGRATE_SAVE_DIR" in remedy
    assert (_contents(filled), catalogue(filled)) == before
    assert revision(filled) == V6
    assert [*folder.iterdir()] == []


def test_a_save_that_was_cut_off_never_looks_whole(
    filled: str, project: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    migrate(filled, "downgrade", V6)
    last = "        with self._reported():\n            manifest"
    edit(project / "services/migrate/tangga/undo/saving.py", last, f"        __import__('time').sleep(60)\n{last}")
    going_down = start_alembic(filled, "downgrade", "-1", project=project)
    assert eventually(lambda: any(folder.glob(".*.partial/*.gz")))
    going_down.kill()
    assert finish(going_down).returncode == -9
    assert [path.name[0] for path in folder.iterdir()] == ["."]
    assert revision(filled) == V6
    assert _command(filled, "restore-data", "--list") == 0
    assert "holds no save" in capsys.readouterr().out
    # The next one clears it away.
    query(filled, "UPDATE posts SET no_hp = '08'")
    migrate(filled, "downgrade", "-1")
    [path] = folder.iterdir()
    assert path.name.endswith(f"Z_{V6}")


def test_a_save_of_a_step_that_was_not_finished_is_not_put_back(
    filled: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # The commit itself fails, when the save is whole: as if the migrator were killed just before it.
    _planted(
        filled, project,
        "op.drop_column('posts', 'no_hp');"
        " op.execute('CREATE TABLE d (n integer UNIQUE DEFERRABLE INITIALLY DEFERRED)');"
        " op.execute('INSERT INTO d VALUES (1), (1)')",
    )  # fmt: skip
    assert alembic_process(filled, "downgrade", "-1", project=project).returncode != 0
    assert revision(filled) == STEP
    query(filled, "UPDATE posts SET no_hp = 'newer'")
    capsys.readouterr()
    assert _command(filled, "restore-data", "--list", project=project) == 0
    assert "(the step down was not finished)" in capsys.readouterr().out
    assert _command(filled, "restore-data", project=project) == 0
    assert "nothing to put back" in capsys.readouterr().out
    assert {row["no_hp"] for row in rows(filled, "posts")} == {"newer"}


@pytest.mark.parametrize("damage", ["changed", "cut", "gone", "manifest"])
def test_a_damaged_save_is_refused_whole(
    filled: str, folder: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _there_and_back(filled, to=V4)
    [file] = folder.glob(f"*{V6}/*.gz")
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
        CREATE FUNCTION changed() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.umur = -1; RETURN NEW; END $$;
        CREATE TRIGGER changed BEFORE UPDATE ON posts FOR EACH ROW EXECUTE FUNCTION changed();
        ALTER TABLE posts ENABLE ALWAYS TRIGGER changed
    """)  # fmt: skip
    before = _contents(filled), query(filled, "SELECT tgenabled FROM pg_trigger WHERE tgname = 'changed'")
    _there_and_back(filled)
    assert _command(filled, "restore-data") == 0
    assert (_contents(filled), query(filled, "SELECT tgenabled FROM pg_trigger WHERE tgname = 'changed'")) == before


def test_which_save_is_put_back_and_when(filled: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _command(filled, "restore-data") == 0
    assert "holds no save" in capsys.readouterr().out
    before = _contents(filled)
    migrate(filled, "downgrade", V4)
    names = sorted(path.name for path in folder.iterdir())
    assert [name[-12:] for name in names] == [V6, V5]

    assert _command(filled, "restore-data") == BEHIND
    assert "is not applied now\n   do: make migrate first" in capsys.readouterr().err
    assert _command(filled, "restore-data", names[0]) == BEHIND
    migrate(filled, "upgrade", V5)
    # What can be put back is; the rest waits.
    assert _command(filled, "restore-data") == 0
    assert len(rows(filled, "votes")) == 100
    migrate(filled, "upgrade", "head")
    assert _command(filled, "restore-data") == 0
    assert _contents(filled) == before

    query(filled, "UPDATE posts SET no_hp = 'newer'")
    capsys.readouterr()
    assert _command(filled, "restore-data") == 0
    assert f"{V5} was already restored on " in capsys.readouterr().out
    assert {row["no_hp"] for row in rows(filled, "posts")} == {"newer"}
    assert _command(filled, "restore-data", names[0]) == 0
    assert "08" + "2" in {row["no_hp"] for row in rows(filled, "posts")}
    assert _command(filled, "restore-data", "nonsense") == 255


def test_the_newest_save_of_a_step_counts(filled: str) -> None:
    _there_and_back(filled)
    query(filled, "UPDATE posts SET no_hp = 'second'")
    before = _contents(filled)
    _there_and_back(filled)
    assert _command(filled, "restore-data") == 0
    assert _contents(filled) == before
    assert _command(filled, "restore-data") == 0
    assert _contents(filled) == before


def test_rows_that_do_not_fit_are_not_put_back_by_halves(
    filled: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _there_and_back(filled, to="base")
    [posts] = folder.glob(f"*{V1}")
    capsys.readouterr()
    # Posts need an address now, which is in another save.
    assert _command(filled, "restore-data", posts.name) == STEP_FAILED
    assert 'null value in column "alamat"' in capsys.readouterr().err
    assert rows(filled, "posts") == []
    assert _command(filled, "restore-data") == 0
    assert len(rows(filled, "posts")) == 60


def test_an_upgrade_does_not_load_any_of_this(database: str) -> None:
    code = (
        "import sys; from tangga import cli; cli.main(['upgrade', 'head']);"
        "sys.exit(any(name.startswith('tangga.undo') for name in sys.modules))"
    )
    finished = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, env=os.environ | owner_environment(database), check=False
    )
    assert finished.returncode == 0
