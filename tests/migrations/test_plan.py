"""`alembic plan`: what it says of steps, and how it ends. Locks: test_recording.py; live rows: test_assertions.py."""

import json
import os
import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from unittest import mock

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from tangga.exits import (
    SEVERAL_HEADS,
    STEP_FAILED,
    TABLE_LOCK_NOT_OBTAINED,
    UNKNOWN_REVISION,
    UNREACHABLE,
    Stop,
)
from tangga.plan import making
from tangga.plan.model import Plan, strongest_lock
from tests.databases import (
    connect,
    eventually,
    finish,
    migrate,
    query,
    run,
    scratch_database,
    scratch_databases_of,
    start_alembic,
)
from tests.migrations.proving import project_of
from tests.migrations.staircase import HEAD, REVISIONS, V1, V4, add_posts, catalogue, plant, rows
from tests.support.in_process import alembic
from tests.support.planning import code_of, plan_of, printed


@pytest.fixture(scope="module")
def at_v1() -> Iterator[str]:
    """A database at the first step, with rows."""
    with scratch_database() as database:
        migrate(database, "upgrade", V1)
        add_posts(database, 1000)
        query(database, "ANALYZE")
        yield database


def test_it_works_where_sql_dies(live: str, project: Path) -> None:
    plant(
        project,
        "0000000000a1",
        "ids = op.get_bind().execute(sa.text('SELECT id FROM posts')).scalars().all(); "
        "op.execute(f'UPDATE posts SET umur = 1 WHERE id = {ids[0]}'); "
        "op.get_bind().connection.cursor().execute('ALTER TABLE posts ADD COLUMN kota text')",
    )
    finished = alembic(live, "upgrade", f"{HEAD}:head", "--sql", project=project)
    assert finished.returncode != 0
    made = plan_of(live, project)
    assert code_of(made) == 0
    assert [statement.sql for statement in made.steps[0].statements] == [
        "SELECT id FROM posts",
        "UPDATE posts SET umur = 1 WHERE id = 1",
        "ALTER TABLE posts ADD COLUMN kota text",
    ]


def test_the_staircase_from_v1(at_v1: str) -> None:
    made = plan_of(at_v1)
    assert [step.revision for step in made.steps] == REVISIONS[1:]
    assert code_of(made) == 0
    assert made.tables["posts"].rows == 1000
    locks = [
        [(touch.table, touch.lock, touch.work) for touch in statement.touches if not touch.new]
        for step in made.steps
        for statement in step.statements
    ]
    assert locks == [
        [("posts", "ACCESS EXCLUSIVE", [])],  # v2, the column
        [("posts", "ACCESS EXCLUSIVE", [])],  # v2, without its default
        [],  # v3, a new table
        [("posts", "ACCESS EXCLUSIVE", [])],  # v4, the column: no rewrite, and no scan
        [("posts", "ACCESS EXCLUSIVE", [])],  # v4, the key, NOT VALID
        [("posts", "SHARE UPDATE EXCLUSIVE", ["scan"])],  # v4, validated
        [("posts", "SHARE ROW EXCLUSIVE", [])],  # v5, a new table that refers to it
        [("posts", "ACCESS EXCLUSIVE", [])],  # v6
        [],  # v7, an index on a table that is new as well
        *[[], []] * 2,  # v8 and v9, new tables with an index each
        [],  # v10, the extension
        [("posts", "SHARE UPDATE EXCLUSIVE", ["scan"])],  # v10, the index
    ]
    assert not any(step.destructive for step in made.steps)
    assert all(step.reversible for step in made.steps)
    assert [made.to, made.applied] == [[HEAD], [V1]]


def test_a_step_takes_the_branch_that_it_will_take(at_v1: str, database: str) -> None:
    def owner_is_made(made: Plan) -> bool:
        [step] = [step for step in made.steps if step.revision == V4]
        return "insert" in step.statements[0].touches[-1].work

    migrate(database, "upgrade", V1)
    made = plan_of(at_v1, to=V4)
    assert (len(made.steps), owner_is_made(made)) == (3, True)
    assert not owner_is_made(plan_of(database, to=V4))
    # From nothing at all.
    with scratch_database() as empty:
        made = plan_of(empty)
        assert ([step.revision for step in made.steps], code_of(made)) == (REVISIONS, 0)
        assert strongest_lock(made) is None


def test_it_goes_as_far_as_it_is_told(at_v1: str) -> None:
    assert len(plan_of(at_v1, to="+1").steps) == 1


# In this order: of a table that is empty, nothing can be changed any more, and then it goes itself.
LOSSES = [
    ("op.execute('DO $$ BEGIN DELETE FROM votes; END $$')", ["rows of votes (DO)"]),
    ("op.execute('DELETE FROM votes')", ["rows of votes (DELETE)"]),
    ("op.execute('TRUNCATE votes')", ["rows of votes (TRUNCATE)"]),
    ("op.execute('UPDATE posts SET nama = 1')", ["rows of posts (UPDATE)"]),
    ("op.add_column('posts', sa.Column('kota', sa.Text()))", []),
    ("op.create_table('baru', sa.Column('id', sa.Integer())); op.drop_table('baru')", []),
    ("op.drop_column('posts', 'no_hp')", ["column posts.no_hp"]),
    ("op.drop_table('votes')", ["table votes"]),
]


def test_what_destroys_is_said(live: str, project: Path) -> None:
    below = HEAD
    for number, (body, _) in enumerate(LOSSES):
        plant(project, f"0000000000a{number}", body, after=below)
        below = f"0000000000a{number}"
    steps = plan_of(live, project).steps
    assert [(step.losses, step.destructive) for step in steps] == [(losses, bool(losses)) for _, losses in LOSSES]


def test_the_live_database_is_only_read(populated: str, project: Path) -> None:
    plant(project, "0000000000a1", "op.execute('ALTER TABLE posts ADD CONSTRAINT ck CHECK (umur >= 0)')")
    before = catalogue(populated), rows(populated, "posts"), rows(populated, "users")
    with closing(connect(populated)) as other:
        run(other, "BEGIN")
        # It lets nothing through but ACCESS SHARE: whatever asked for more would be kept waiting.
        run(other, "LOCK TABLE posts, users, votes, alembic_version, migration_log IN EXCLUSIVE MODE")
        made = plan_of(populated, project)
        assert [assertion.outcome for assertion in made.steps[0].assertions] == ["holds"]
        run(other, "ROLLBACK")
        run(other, "BEGIN")
        run(other, "LOCK TABLE posts IN ACCESS EXCLUSIVE MODE")
        with mock.patch.dict(os.environ, {"MIGRATE_LOCK_TIMEOUT": "0.3"}), pytest.raises(Stop) as stop:
            plan_of(populated, project)
        assert stop.value.code == TABLE_LOCK_NOT_OBTAINED
    assert (catalogue(populated), rows(populated, "posts"), rows(populated, "users")) == before
    engine = making.read_only(project_of(live=populated).settings, 60)
    with engine.connect() as session, pytest.raises(DBAPIError, match="read-only transaction"):
        session.execute(text("UPDATE posts SET umur = 0"))


def test_nothing_is_left_on_the_scratch_server(live: str, project: Path) -> None:
    plant(project, "0000000000a1", "op.execute('SELECT pg_sleep(1)'); raise RuntimeError('no such luck')")
    planning = start_alembic(live, "plan", project=project)
    assert eventually(lambda: scratch_databases_of(planning) != [])
    assert finish(planning).returncode == STEP_FAILED
    assert scratch_databases_of(planning) == []


def test_nothing_to_do(at_head: str) -> None:
    finished = alembic(at_head, "plan")
    assert (finished.returncode, finished.stderr) == (0, "")
    assert finished.stdout.startswith("Nothing to do: database ")
    assert HEAD in finished.stdout
    document = json.loads(alembic(at_head, "plan", "--json").stdout)
    assert (document["steps"], document["summary"]["steps"]) == ([], 0)


def test_a_step_that_fails_is_named_and_the_rest_is_not_tried(live: str, project: Path) -> None:
    plant(project, "0000000000a1", "op.add_column('posts', sa.Column('kota', sa.Text()))")
    plant(project, "0000000000a2", "op.drop_column('posts', 'tidak_ada')", after="0000000000a1")
    plant(project, "0000000000a3", "pass", after="0000000000a2")
    finished = alembic(live, "plan", project=project)
    assert finished.returncode == STEP_FAILED
    assert finished.stderr.splitlines()[-2].startswith("error: on the scratch copy, step 0000000000a2 (planted")
    assert 'column "tidak_ada" of relation "posts" does not exist' in finished.stderr
    assert "0000000000a3  not tried" in finished.stdout
    assert "ALTER TABLE posts ADD COLUMN kota TEXT" in finished.stdout
    assert "3 steps" in finished.stdout.splitlines()[-1]


def test_the_live_schema_is_what_is_tried_on(live: str, project: Path) -> None:
    plant(project, "0000000000a1", "op.add_column('posts', sa.Column('kota', sa.Text()))")
    assert code_of(plan_of(live, project)) == 0
    # By hand, in no revision.
    query(live, "ALTER TABLE posts ADD COLUMN kota text")
    made = plan_of(live, project)
    assert code_of(made) == STEP_FAILED
    assert 'column "kota" of relation "posts" already exists' in str(made.steps[0].error)


def test_the_document(live: str, project: Path) -> None:
    plant(
        project,
        "0000000000a1",
        "print('not part of the document'); op.execute('CREATE UNIQUE INDEX ux ON posts (nama)')",
    )
    finished = alembic(live, "plan", "--json", project=project)
    assert finished.returncode == 0, finished.stderr
    document = json.loads(finished.stdout)
    assert list(document) == [
        "database", "applied", "to", "steps", "not_tried", "tables", "without_rows", "summary",
    ]  # fmt: skip
    [step] = document["steps"]
    assert list(step) == [
        "revision", "message", "file", "reversible", "irreversible", "destructive", "losses", "statements",
        "findings", "assertions", "error",
    ]  # fmt: skip
    [statement] = step["statements"]
    assert list(statement) == ["sql", "transaction", "touches"]
    [touch] = statement["touches"]
    assert touch == {
        "table": "posts", "kind": "table", "new": False, "lock": "SHARE", "locks": ["SHARE"], "taken": True,
        "blocks": "writes", "work": ["scan"],
    }  # fmt: skip
    assert step["assertions"] == [
        {
            "demand": "unique", "table": "posts", "name": "ux", "columns": ["nama"], "outcome": "holds", "count": 0,
            "example": None, "detail": "",
        }
    ]  # fmt: skip
    assert {*step["findings"][0]} == {
        "revision", "file", "line", "direction", "rule", "why", "remedy", "exception",
    }  # fmt: skip
    assert document["tables"].keys() == {"posts"}
    assert document["tables"]["posts"]["rows"] == 200
    assert document["summary"] == {
        "steps": 1,
        "strongest_lock": {"mode": "SHARE", "table": "posts"},
        "findings": sum(finding["exception"] is None for finding in step["findings"]),
        "exceptions": 0,
        "destructive": [],
        "irreversible": ["0000000000a1"],
        "assertions": {"holds": 1, "violated": 0, "open": 0, "unanswered": 0, "not asked": 0},
        "failed": None,
    }


def test_what_a_person_reads(live: str, project: Path) -> None:
    file = plant(
        project,
        "0000000000a1",
        "op.execute('CREATE INDEX ix ON posts (nama)'); op.execute('ALTER TABLE posts ADD CHECK (no_hp IS NOT NULL)')",
        downgrade="op.execute('DROP INDEX ix')",
    )
    file.write_text(
        file.read_text() + "lint_ignore = {'require-concurrent-index-creation': 'nobody writes at night'}\n"
    )
    query(live, "UPDATE posts SET no_hp = NULL WHERE id = 1")
    lines = printed(plan_of(live, project)).splitlines()
    page = "\n".join(lines)
    assert re.search(
        r"^CREATE INDEX ix ON posts \(nama\) +posts +SHARE +writes +scans all rows +200 +\d+ kB$", page, re.M
    )
    assert re.search(
        r"^ALTER TABLE posts ADD CHECK .* +posts +ACCESS EXCLUSIVE +reads, writes +scans all rows ", page, re.M
    )
    assert "all rows of posts (no_hp) meet posts_no_hp_check: does not hold: 1 rows do not" in page
    assert "excepted: nobody writes at night" in page
    assert re.fullmatch(
        r"1 step, strongest lock ACCESS EXCLUSIVE on posts \(200 rows, \d+ kB\), \d+ findings?, 1 exception, "
        r"1 question to the data: 1 violated",
        lines[-1],
    )


def test_findings_do_not_change_the_exit_code(live: str, project: Path) -> None:
    plant(project, "0000000000a1", "op.execute('CREATE INDEX ix ON posts (nama)')")
    finished = alembic(live, "plan", project=project)
    assert "  lint: require-concurrent-index-creation planted_0000000000a1.py:" in finished.stdout
    assert (finished.returncode, finished.stderr) == (0, "")


def test_what_stops_alembic_stops_the_plan(at_head: str, project: Path) -> None:
    plant(project, "0000000000a1", "pass")
    plant(project, "0000000000a2", "pass")
    assert alembic(at_head, "plan", project=project).returncode == SEVERAL_HEADS
    assert alembic(at_head, "plan", "ffffffffffff", project=project).returncode == UNKNOWN_REVISION
    finished = alembic(at_head, "plan", project=project, environment={"DB_PORT": "1"})
    assert finished.returncode == UNREACHABLE
