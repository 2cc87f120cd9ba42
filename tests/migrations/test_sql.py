"""`--sql` prints what a run does: a database administrator may run it instead."""

from contextlib import closing

import pytest

from tests.databases import PROJECT, connect, migrate, run, scratch_database
from tests.migrations.staircase import HEAD, REVISIONS, V1, V3, V4, V5, add_posts
from tests.support.in_process import alembic
from tests.support.schema import catalogue, revision, rows


def _sql(*arguments: str) -> str:
    # Without a database: nothing listens on this port.
    printed = alembic("unused", *arguments, "--sql", environment={"DB_PORT": "1"})
    assert printed.returncode == 0, printed.stderr
    return printed.stdout


def _run(database: str, script: str) -> None:
    """Run a printed script as psql does, one by one: CONCURRENTLY cannot stand in a string of several statements."""
    with closing(connect(database)) as session:
        for statement in script.split(";\n\n"):
            if statement.strip():
                run(session, statement)


def test_the_printed_staircase_builds_the_same_schema(at_head: str, database: str) -> None:
    _run(database, _sql("upgrade", "head"))
    assert revision(database) == HEAD
    assert catalogue(database) == catalogue(at_head)
    _run(database, _sql("downgrade", f"{HEAD}:base"))
    assert catalogue(database)["columns"] == catalogue(at_head)["columns"][:1]
    assert revision(database) is None


def test_a_printed_range_does_with_rows_what_a_run_does(database: str) -> None:
    migrate(database, "upgrade", V1)
    add_posts(database, 10)
    with scratch_database(database) as other:
        _run(database, _sql("upgrade", f"{V1}:{V5}"))
        migrate(other, "upgrade", V5)
        assert catalogue(database) == catalogue(other)
        assert rows(database, "posts") == rows(other, "posts")
        assert rows(database, "users", "created_at") == rows(other, "users", "created_at")
        # The two ways can be mixed.
        migrate(database, "downgrade", V3)
        migrate(other, "downgrade", V3)
        assert catalogue(database) == catalogue(other)
        assert rows(database, "posts") == rows(other, "posts")


def test_the_printed_script_commits_each_step_and_validates_outside() -> None:
    lines = [line for line in _sql("upgrade", "head").splitlines() if line]
    assert lines[:3] == [
        "SET lock_timeout = '1000ms';",
        "SET statement_timeout = '900000ms';",
        "SET client_connection_check_interval = '1s';",
    ]
    at = lines.index('ALTER TABLE "posts" VALIDATE CONSTRAINT "post_users_fk";')
    assert (lines[at - 1], lines[at + 1]) == ("COMMIT;", "BEGIN;")
    before = lines[max(n for n in range(at) if lines[n] == "BEGIN;") : at]
    assert f"UPDATE alembic_version SET version_num='{V4}' WHERE alembic_version.version_num = '{V3}';" in before
    assert any(line.startswith(f"VALUES ('{V4}', 'up', 'done'") for line in before)
    # Three steps are in two halves: v4, and v7 and v10, whose indexes are built CONCURRENTLY.
    assert [line for line in lines if line in ("BEGIN;", "COMMIT;")] == ["BEGIN;", "COMMIT;"] * (len(REVISIONS) + 3)


def test_the_printed_script_stops_at_its_first_error_and_keeps_whole_steps(database: str) -> None:
    script = _sql("upgrade", "head").replace('VALIDATE CONSTRAINT "post_users_fk"', 'VALIDATE CONSTRAINT "nothing"')
    with pytest.raises(Exception, match='constraint "nothing"'):
        _run(database, script)
    assert revision(database) == V4


def test_a_percent_sign_is_printed_once() -> None:
    versions = [path.read_text() for path in (PROJECT / "migrations/versions").glob("*.py")]
    assert "format('ALTER TABLE posts ADD COLUMN owner_id integer DEFAULT %s NOT NULL', placeholder)" in "".join(
        versions
    )
    assert "%%" not in _sql("upgrade", "head")
