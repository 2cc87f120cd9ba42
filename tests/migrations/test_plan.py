"""`alembic plan`: what it says of steps, and how it ends. Locks: test_recording.py; live rows: test_assertions.py."""

import json
import os
import re
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
from tests.databases import (
    connect,
    eventually,
    finish,
    query,
    run,
    scratch_databases_of,
    start_alembic,
)
from tests.migrations.proving import project_of
from tests.support.library import FOLDER, HEAD, NOWHERE, alembic, plant
from tests.support.planning import code_of, plan_of, printed
from tests.support.schema import catalogue, rows


def test_it_works_where_sql_dies(live: str, library: Path) -> None:
    plant(
        library,
        "0000000000a1",
        "ids = op.get_bind().execute(sa.text('SELECT id FROM books')).scalars().all(); "
        "op.execute(f'UPDATE books SET pages = 1 WHERE id = {ids[0]}'); "
        "op.get_bind().connection.cursor().execute('ALTER TABLE books ADD COLUMN city text')",
    )
    finished = alembic(live, "upgrade", f"{HEAD}:head", "--sql", project=library)
    assert finished.returncode != 0
    made = plan_of(live, library)
    assert code_of(made) == 0
    assert [statement.sql for statement in made.steps[0].statements] == [
        "SELECT id FROM books",
        "UPDATE books SET pages = 1 WHERE id = 1",
        "ALTER TABLE books ADD COLUMN city text",
    ]


@pytest.mark.parametrize("instead", ["", "downgrade = None", "def down() -> None:\n    pass"])
def test_a_step_without_a_downgrade_is_planned_and_said_to_have_none(live: str, library: Path, instead: str) -> None:
    file = plant(library, "0000000000a1", "op.execute('ALTER TABLE books ADD COLUMN city text')")
    file.write_text(file.read_text().partition("def downgrade")[0] + instead)
    made = plan_of(live, library)
    assert code_of(made) == 0
    assert [statement.sql for statement in made.steps[0].statements] == ["ALTER TABLE books ADD COLUMN city text"]
    assert [finding["rule"] for finding in made.steps[0].findings] == ["no-downgrade"]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "latin-1"])
def test_a_file_in_another_encoding_is_planned(live: str, library: Path, encoding: str) -> None:
    file = plant(library, "0000000000a1", "op.execute(\"COMMENT ON TABLE books IS 'déjà vu'\")", downgrade="raise")
    file.write_text(f"# -*- coding: {encoding.removesuffix('-sig')} -*-\n{file.read_text()}", encoding=encoding)
    made = plan_of(live, library)
    assert made.failed is None
    assert [statement.sql for statement in made.steps[0].statements] == ["COMMENT ON TABLE books IS 'déjà vu'"]
    assert made.steps[0].irreversible == "downgrade raises"


# In this order: of a table that is empty, nothing can be changed any more, and then it goes itself.
LOSSES = [
    ("op.execute('DO $$ BEGIN DELETE FROM loans; END $$')", ["rows of loans (DO)"]),
    ("op.execute('DELETE FROM loans')", ["rows of loans (DELETE)"]),
    ("op.execute('TRUNCATE loans')", ["rows of loans (TRUNCATE)"]),
    ("op.execute('UPDATE books SET title = 1')", ["rows of books (UPDATE)"]),
    ("op.add_column('books', sa.Column('city', sa.Text()))", []),
    ("op.create_table('fresh', sa.Column('id', sa.Integer())); op.drop_table('fresh')", []),
    ("op.drop_column('books', 'note')", ["column books.note"]),
    ("op.drop_table('loans')", ["table loans"]),
]


def test_what_destroys_is_said(live: str, library: Path) -> None:
    below = HEAD
    for number, (body, _) in enumerate(LOSSES):
        plant(library, f"0000000000a{number}", body, after=below)
        below = f"0000000000a{number}"
    steps = plan_of(live, library).steps
    assert [(step.losses, step.destructive) for step in steps] == [(losses, bool(losses)) for _, losses in LOSSES]


def test_the_live_database_is_only_read(populated: str, library: Path) -> None:
    plant(library, "0000000000a1", "op.execute('ALTER TABLE books ADD CONSTRAINT ck CHECK (pages >= 0)')")
    before = catalogue(populated), rows(populated, "books"), rows(populated, "authors")
    with closing(connect(populated)) as other:
        run(other, "BEGIN")
        # It lets nothing through but ACCESS SHARE: whatever asked for more would be kept waiting.
        run(other, "LOCK TABLE books, authors, loans, alembic_version, tangga.migration_log IN EXCLUSIVE MODE")
        made = plan_of(populated, library)
        assert [assertion.outcome for assertion in made.steps[0].assertions] == ["holds"]
        run(other, "ROLLBACK")
        run(other, "BEGIN")
        run(other, "LOCK TABLE books IN ACCESS EXCLUSIVE MODE")
        with mock.patch.dict(os.environ, {"MIGRATE_LOCK_TIMEOUT": "0.3"}), pytest.raises(Stop) as stop:
            plan_of(populated, library)
        assert stop.value.code == TABLE_LOCK_NOT_OBTAINED
    assert (catalogue(populated), rows(populated, "books"), rows(populated, "authors")) == before
    engine = making.read_only(project_of(FOLDER, populated).settings, 60)
    with engine.connect() as session, pytest.raises(DBAPIError, match="read-only transaction"):
        session.execute(text("UPDATE books SET pages = 0"))


def test_nothing_is_left_on_the_scratch_server(live: str, library: Path) -> None:
    plant(library, "0000000000a1", "op.execute('SELECT pg_sleep(1)'); raise RuntimeError('no such luck')")
    planning = start_alembic(live, "plan", project=library)
    assert eventually(lambda: scratch_databases_of(planning) != [])
    assert finish(planning).returncode == STEP_FAILED
    assert scratch_databases_of(planning) == []


def test_nothing_to_do(shelved: str) -> None:
    finished = alembic(shelved, "plan")
    assert (finished.returncode, finished.stderr) == (0, "")
    assert finished.stdout.startswith("Nothing to do: database ")
    assert HEAD in finished.stdout
    document = json.loads(alembic(shelved, "plan", "--json").stdout)
    assert (document["steps"], document["summary"]["steps"]) == ([], 0)


def test_a_step_that_fails_is_named_and_the_rest_is_not_tried(live: str, library: Path) -> None:
    plant(library, "0000000000a1", "op.add_column('books', sa.Column('city', sa.Text()))")
    plant(library, "0000000000a2", "op.drop_column('books', 'nowhere')", after="0000000000a1")
    plant(library, "0000000000a3", "pass", after="0000000000a2")
    finished = alembic(live, "plan", project=library)
    assert finished.returncode == STEP_FAILED
    assert finished.stderr.splitlines()[-2].startswith("error: on the scratch copy, step 0000000000a2 (planted")
    assert 'column "nowhere" of relation "books" does not exist' in finished.stderr
    assert "0000000000a3  not tried" in finished.stdout
    assert "ALTER TABLE books ADD COLUMN city TEXT" in finished.stdout
    assert "3 steps" in finished.stdout.splitlines()[-1]


def test_the_live_schema_is_what_is_tried_on(live: str, library: Path) -> None:
    plant(library, "0000000000a1", "op.add_column('books', sa.Column('city', sa.Text()))")
    assert code_of(plan_of(live, library)) == 0
    # By hand, in no revision.
    query(live, "ALTER TABLE books ADD COLUMN city text")
    made = plan_of(live, library)
    assert code_of(made) == STEP_FAILED
    assert 'column "city" of relation "books" already exists' in str(made.steps[0].error)


def test_the_document(live: str, library: Path) -> None:
    plant(
        library,
        "0000000000a1",
        "print('not part of the document'); op.execute('CREATE UNIQUE INDEX ux ON books (title)')",
    )
    finished = alembic(live, "plan", "--json", project=library)
    assert finished.returncode == 0, finished.stderr
    document = json.loads(finished.stdout)
    assert list(document) == [
        "database", "applied", "to", "steps", "not_tried", "tables", "without_rows", "summary",
    ]  # fmt: skip
    [step] = document["steps"]
    assert list(step) == [
        "revision", "message", "file", "reversible", "irreversible", "destructive", "losses", "statements",
        "findings", "assertions", "error", "besides",
    ]  # fmt: skip
    [statement] = step["statements"]
    assert list(statement) == ["sql", "transaction", "touches"]
    [touch] = statement["touches"]
    assert touch == {
        "table": "books", "kind": "table", "new": False, "lock": "SHARE", "locks": ["SHARE"], "taken": True,
        "blocks": "writes", "work": ["scan"],
    }  # fmt: skip
    assert step["assertions"] == [
        {
            "demand": "unique", "table": "books", "name": "ux", "columns": ["title"], "outcome": "holds", "count": 0,
            "example": None, "detail": "",
        }
    ]  # fmt: skip
    assert {*step["findings"][0]} == {
        "revision", "file", "line", "direction", "rule", "why", "remedy", "exception",
    }  # fmt: skip
    assert document["tables"].keys() == {"books"}
    assert document["tables"]["books"]["rows"] == 200
    assert document["summary"] == {
        "steps": 1,
        "strongest_lock": {"mode": "SHARE", "table": "books"},
        "findings": sum(finding["exception"] is None for finding in step["findings"]),
        "exceptions": 0,
        "destructive": [],
        "irreversible": ["0000000000a1"],
        "assertions": {"holds": 1, "violated": 0, "open": 0, "unanswered": 0, "not asked": 0},
        "failed": None,
    }


def test_what_a_person_reads(live: str, library: Path) -> None:
    file = plant(
        library,
        "0000000000a1",
        "op.execute('CREATE INDEX ix ON books (title)'); op.execute('ALTER TABLE books ADD CHECK (note IS NOT NULL)')",
        downgrade="op.execute('DROP INDEX ix')",
    )
    file.write_text(
        file.read_text() + "lint_ignore = {'require-concurrent-index-creation': 'nobody writes at night'}\n"
    )
    query(live, "UPDATE books SET note = NULL WHERE id = 1")
    lines = printed(plan_of(live, library)).splitlines()
    page = "\n".join(lines)
    assert re.search(
        r"^CREATE INDEX ix ON books \(title\) +books +SHARE +writes +scans all rows +200 +\d+ kB$", page, re.M
    )
    assert re.search(
        r"^ALTER TABLE books ADD CHECK .* +books +ACCESS EXCLUSIVE +reads, writes +scans all rows ", page, re.M
    )
    assert "all rows of books (note) meet books_note_check: does not hold: 1 rows do not" in page
    assert "excepted: nobody writes at night" in page
    assert re.fullmatch(
        r"1 step, strongest lock ACCESS EXCLUSIVE on books \(200 rows, \d+ kB\), \d+ findings?, 1 exception, "
        r"1 question to the data: 1 violated",
        lines[-1],
    )


def test_findings_do_not_change_the_exit_code(live: str, library: Path) -> None:
    plant(library, "0000000000a1", "op.execute('CREATE INDEX ix ON books (title)')")
    finished = alembic(live, "plan", project=library)
    assert "  lint: require-concurrent-index-creation planted_0000000000a1.py:" in finished.stdout
    assert (finished.returncode, finished.stderr) == (0, "")


def test_what_stops_alembic_stops_the_plan(shelved: str, library: Path) -> None:
    plant(library, "0000000000a1", "pass")
    plant(library, "0000000000a2", "pass")
    assert alembic(shelved, "plan", project=library).returncode == SEVERAL_HEADS
    assert alembic(shelved, "plan", "ffffffffffff", project=library).returncode == UNKNOWN_REVISION
    finished = alembic(shelved, "plan", project=library, environment=NOWHERE)
    assert finished.returncode == UNREACHABLE
