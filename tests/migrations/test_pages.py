"""What pages show of the product's steps is what is printed now."""

import os
import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from psycopg2.errors import UniqueViolation

from tangga.exits import UNPROVEN
from tests.databases import PROJECT, connect, finish, query, run, scratch_database, start_alembic
from tests.migrations.staircase import HEAD, V5, V6, add_posts, add_user, plant
from tests.support import in_process
from tests.support.pages import differs
from tests.support.shapes import Node, write

THEIRS, MINE = "90ce7d5bb6a2", "4a1f6f0f3c11"


@pytest.fixture
def tangga(at_head: str) -> Iterator[str]:
    """A database at head with two posts that have a phone number."""
    with scratch_database(at_head) as database:
        owner = add_user(database, "ani@example.com")
        add_posts(database, 2, alamat="Jalan Merdeka", no_hp="0812", owner_id=owner)
        query(database, "ANALYZE")
        yield database


def _printed(database: str, *arguments: str, code: int = 0, project: Path = PROJECT) -> str:
    """Run a command, and give this database and its server the names that they have in a stack."""
    finished = in_process.alembic(database, *arguments, project=project)
    assert finished.returncode == code, finished.stderr
    server = f"{os.environ['DB_HOSTNAME']}:{os.environ['DB_PORT']}"
    return (finished.stdout + finished.stderr).replace(database, "tangga").replace(server, "db:5432")


def test_down_with_what_would_be_lost_and_up_again(tangga: str, folder: Path) -> None:
    down = _printed(tangga, "losses", V5, code=11) + _printed(tangga, "downgrade", V5)
    assert not differs("docs/undo.md", "$ make rollback to=b25a1c6f7e13 yes=1", down.replace(str(folder), "/saved"))
    up = _printed(tangga, "upgrade", "head") + _printed(tangga, "restore-data")
    assert not differs("docs/undo.md", "$ make migrate", up)


def test_a_plan(tangga: str) -> None:
    _printed(tangga, "downgrade", V5)
    assert not differs("docs/plan.md", "$ make plan", _printed(tangga, "plan", V6))


def test_who_is_in_the_way(tangga: str) -> None:
    _printed(tangga, "downgrade", V5)
    with closing(connect(tangga, "app")) as session:
        run(session, "SET application_name = 'report'")
        run(session, "BEGIN")
        run(session, "SELECT * FROM posts LIMIT 1")
        migrator = start_alembic(tangga, "upgrade", V6, environment={"MIGRATE_LOCK_TIMEOUT": "1.5"})
        assert migrator.stderr
        seen = []
        for line in migrator.stderr:
            if "posts" in line:
                seen.append(line)
            if "try 2" in line:
                break
        run(session, "ROLLBACK")
    assert finish(migrator).returncode == 0
    assert not differs("docs/safe-operations.md", "migrate: waiting for posts", seen[0] + seen[-1])


def test_drift(tangga: str) -> None:
    add_user(tangga, "budi@example.com")
    with pytest.raises(UniqueViolation):
        query(tangga, "CREATE UNIQUE INDEX CONCURRENTLY ix_users_password ON users (password)")
    for change in (
        "ALTER TABLE posts ALTER published SET DEFAULT false",
        "DROP INDEX ix_posts_nama_trgm",
        "CREATE TRIGGER touch BEFORE UPDATE ON posts EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    ):
        query(tangga, change)
    printed = _printed(tangga, "drift", code=9)
    assert not differs("docs/proof.md", "column posts.published", printed)


def test_a_step_at_fault(tangga: str, project: Path) -> None:
    mood = plant(project, "3f0c8a6d1e25", "op.execute(\"CREATE TYPE mood AS ENUM ('baik')\")")
    mood.rename(mood.with_name("20261122_1700_3f0c8a6d1e25_add_mood.py"))
    index = plant(project, "7b1d5e9f2a40", "pass", after="3f0c8a6d1e25", downgrade="op.drop_index('ix_votes_post')")
    index.rename(index.with_name("20261122_1701_7b1d5e9f2a40_add_index.py"))
    printed = _printed(tangga, "verify", "--from", "3f0c8a6d1e25", project=project, code=12)
    faults = "".join(re.findall("^fault: .*\n", printed, re.M))
    assert not differs("docs/proof.md", "fault: ", faults)


def test_what_was_not_proven(tangga: str, tmp_path: Path) -> None:
    tables = """CREATE TABLE items (id serial PRIMARY KEY, owner int);
    CREATE TABLE odd (x text CONSTRAINT ck_odd CHECK (x IS NOT NULL AND md5(x) = 'no'))"""
    steps = write(
        tmp_path / "project",
        Node("4b0d7c9e6f31", None, tables, "DROP TABLE items, odd"),
        Node(
            "5c1e8d0f7a42", "4b0d7c9e6f31", "ALTER TABLE items ALTER owner SET NOT NULL",
            "ALTER TABLE items ALTER owner DROP NOT NULL",
        ),
    )  # fmt: skip
    printed = _printed(tangga, "verify", project=steps, code=UNPROVEN)
    unproven = "".join(re.findall("^not .*\n", printed, re.M))
    assert not differs("docs/proof.md", "not proven: ", unproven)


def test_a_baseline(tangga: str, project: Path) -> None:
    assert not differs("docs/proof.md", "$ make squash", _printed(tangga, "squash", V5, project=project))


def test_a_branch_is_put_on_the_other_head(tangga: str, project: Path) -> None:
    theirs, mine = (plant(project, revision, "pass") for revision in (THEIRS, MINE))
    _printed(tangga, "upgrade", THEIRS, project=project)
    mine.write_text(mine.read_text().replace(f"planted {MINE}", "v11 tambah kota"))
    mine = mine.rename(mine.with_name(f"20261122_2301_{MINE}_v11_tambah_kota.py"))
    # What a pull brings is newer.
    os.utime(mine, (mine.stat().st_atime, theirs.stat().st_mtime - 10))
    assert HEAD in mine.read_text()
    assert not differs("docs/history-and-graph.md", "$ make reparent", _printed(tangga, "reparent", project=project))
