"""`alembic squash`: one baseline in the place of the first steps, proven equal, for old databases and new ones."""

import os
import subprocess
from pathlib import Path
from unittest import mock

import pytest

from tangga.catalogue import dump
from tangga.drift.comparison import compare
from tangga.exits import AHEAD, ALEMBIC_REFUSES, BEHIND
from tangga.verify.walk import verify
from tests import databases
from tests.databases import query, scratch_database
from tests.migrations import staircase
from tests.migrations.proving import project_of
from tests.support import in_process
from tests.support.library import HEAD, L1, L2, L3, L4, REVISIONS, alembic, migrate, plant
from tests.support.schema import catalogue, revision, rows


def _files(library: Path) -> list[str]:
    return sorted(path.name for path in (library / "migrations/versions").glob("*.py"))


def _squash(library: Path, database: str, to: str) -> str:
    done = alembic(database, "squash", to, project=library)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _drift(library: Path, database: str) -> list[str]:
    with mock.patch.dict(os.environ, databases.owner_environment(database)):
        return compare(project_of(library, database))[1]


def test_databases_at_the_baseline_past_it_and_empty_end_in_the_same_schema(library: Path, shelved: str) -> None:
    with scratch_database() as at_l3, scratch_database(shelved) as past, scratch_database() as empty:
        migrate(at_l3, "upgrade", L3)
        query(at_l3, "INSERT INTO authors (name, secret) VALUES ('ani', '')")
        query(at_l3, "INSERT INTO books (title, pages, author_id) SELECT 'x', n, 1 FROM generate_series(1, 5) n")
        kept = rows(at_l3, "books")
        (library / "migrations/HEAD").write_text("stale\n")
        said = _squash(library, at_l3, L3)
        assert f"folded: 3 steps into migrations/versions/{L3}_baseline.py" in said
        assert _files(library) == [f"{L3}_baseline.py", f"{L4}_notes.py"]
        assert (library / "migrations/HEAD").read_text() == f"{HEAD}\n"
        for database in (at_l3, past, empty):
            upgraded = alembic(database, "upgrade", "head", project=library)
            assert upgraded.returncode == 0, upgraded.stderr
            assert revision(database) == HEAD
            assert catalogue(database) == catalogue(shelved)
            # The checksums of the folded files are known, so no file counts as changed.
            assert _drift(library, database) == []
        assert rows(at_l3, "books", "note") == kept
        # What ran where: the baseline on the empty database only.
        assert query(empty, "SELECT revision FROM tangga.migration_log ORDER BY id") == [
            (name,) for name in REVISIONS[2:]
        ]
        assert query(past, "SELECT revision FROM tangga.migration_log ORDER BY id") == [(name,) for name in REVISIONS]


# Of the product, whose rules for form and lint the baseline has to meet.
def test_the_baseline_goes_down_to_nothing_is_verified_and_is_in_shape(
    project: Path, at_head: str, database: str
) -> None:
    with scratch_database(at_head) as live:
        said = in_process.alembic(live, "squash", staircase.HEAD, project=project)
    assert said.returncode == 0, said.stderr
    databases.migrate(database, "upgrade", "head", project=project)
    databases.migrate(database, "downgrade", "base", project=project)
    assert not {"posts", "users", "votes"} & {row[0] for row in catalogue(database)["relations"]}
    report = verify(project_of(project), 5)
    assert (report.findings, report.notes) == ([], [])
    for command in (["check"], ["format", "--check"]):
        shape = subprocess.run(
            ["ruff", *command, "migrations"], cwd=project, capture_output=True, text=True, check=False
        )
        assert shape.returncode == 0, shape.stdout
    linted = in_process.alembic("unused", "lint", staircase.HEAD, project=project)
    assert linted.returncode == 0, linted.stdout


def test_a_database_below_is_refused_by_squash_and_afterwards_by_upgrade(
    library: Path, shelved: str, database: str
) -> None:
    before = _files(library)
    migrate(database, "upgrade", L2)
    refused = alembic(database, "squash", L3, project=library)
    assert refused.returncode == BEHIND
    assert f"the database is at {L2}, below {L3}: it still needs the steps" in refused.stderr
    assert _files(library) == before
    _squash(library, shelved, L3)
    stranded = alembic(database, "upgrade", "head", project=library)
    assert stranded.returncode == AHEAD
    assert f"can't locate revision {L2}: the database is at it, but it was folded into" in stranded.stderr
    told = alembic(database, "drift", project=library)
    assert told.returncode == BEHIND
    assert f"the database is at {L2}, which was folded into the baseline {L3}" in told.stderr
    assert revision(database) == L2


OBJECTS = r"""
CREATE TYPE mood AS ENUM ('sad', 'it''s "ok"');
CREATE FUNCTION loans_of(book integer) RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM loans WHERE book_id = book';
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- a colon :here, a backslash \d, a percent %

    NEW.note := regexp_replace(NEW.note, '\s+', ' :x', 'g');
    RETURN NEW;
END $$;
CREATE TRIGGER touch BEFORE INSERT ON books FOR EACH ROW EXECUTE FUNCTION touch();
CREATE TABLE "Odd table" (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, "user" text DEFAULT ' :a', mood mood);
CREATE TABLE later (id serial PRIMARY KEY, odd integer REFERENCES "Odd table", at time DEFAULT '12:30');
INSERT INTO "Odd table" ("user", mood) VALUES ('two
lines; and :a semicolon', 'sad'), ('%s \n', NULL);
CREATE VIEW names AS SELECT id, title FROM books WHERE title LIKE '%:a%';
CREATE INDEX ix_loans_again ON loans (book_id) WHERE book_id > 0;
CREATE SEQUENCE tickets;
COMMENT ON COLUMN books.title IS 'full "name"';
GRANT SELECT (title) ON books TO PUBLIC;
REVOKE DELETE ON authors FROM tangga_app;
GRANT TRUNCATE ON loans TO tangga_app
"""


def test_types_functions_triggers_views_privileges_and_rows_are_folded_too(library: Path, database: str) -> None:
    sql = library / "objects.sql"
    sql.write_text(OBJECTS)
    plant(
        library,
        "objects00001",
        f"op.get_bind().exec_driver_sql(open({str(sql)!r}).read().replace('%', '%%'))",
        downgrade="raise NotImplementedError",
    )
    migrate(database, "upgrade", "head", project=library)
    _squash(library, database, "objects00001")
    assert _files(library) == ["planted_objects00001_baseline.py"]
    sql.unlink()
    with scratch_database() as empty:
        migrate(empty, "upgrade", "head", project=library)
        assert catalogue(empty) == catalogue(database)
        for table in ('"Odd table"', "later"):
            assert query(empty, f"SELECT * FROM {table} ORDER BY id") == query(
                database, f"SELECT * FROM {table} ORDER BY id"
            )
        # The sequence goes on where the inserted rows end.
        assert query(empty, 'INSERT INTO "Odd table" DEFAULT VALUES RETURNING id, "user"') == [(3, " :a")]
        found = _drift(library, database)
        assert [line for line in found if not line.startswith("models: ")] == []


@pytest.mark.parametrize(
    ("to", "said"),
    [
        (L1, "is the first step: there is nothing to fold"),
        ("nosuch", "nosuch"),
        ("merge0000001", "are not one straight line: see"),
        (HEAD, "are not one straight line: see"),
    ],
)
def test_what_is_not_one_straight_line_is_refused(library: Path, database: str, to: str, said: str) -> None:
    plant(library, "left00000001", "pass", after=L3)
    file = plant(library, "merge0000001", "pass", after="left00000001")
    text = file.read_text().replace("down_revision = 'left00000001'", f"down_revision = ('left00000001', '{HEAD}')")
    file.write_text(text)
    before = _files(library)
    refused = alembic(database, "squash", to, project=library)
    assert refused.returncode != 0
    assert said in refused.stderr, refused.stderr
    assert _files(library) == before


def test_below_a_fork_can_be_folded(library: Path, database: str) -> None:
    plant(library, "left00000001", "pass", after=L3)
    migrate(database, "upgrade", "heads", project=library)
    _squash(library, database, L2)
    assert len(_files(library)) == 1 + len(REVISIONS[2:]) + 1
    with scratch_database() as empty:
        migrate(empty, "upgrade", "heads", project=library)
        assert catalogue(empty) == catalogue(database)


def test_what_it_could_not_take_down_again_is_refused_before_anything_is_written(library: Path, database: str) -> None:
    plant(library, "search000001", 'op.execute("CREATE TEXT SEARCH CONFIGURATION plain (COPY = simple)")')
    migrate(database, "upgrade", "head", project=library)
    before = _files(library)
    refused = alembic(database, "squash", "search000001", project=library)
    assert refused.returncode == ALEMBIC_REFUSES
    assert "text search configuration plain: squash does not know how to drop it" in refused.stderr
    assert _files(library) == before


def test_a_baseline_that_is_not_equal_is_not_written(library: Path, database: str) -> None:
    # The step above makes something else of a schema that the folded file itself was read for.
    plant(library, "source000001", "import pathlib; files = [*pathlib.Path(__file__).parent.glob('*_authors.py')]; "
          "op.execute('CREATE TABLE found' + str(len(files)) + ' ()')")  # fmt: skip
    migrate(database, "upgrade", "head", project=library)
    before = _files(library)
    refused = alembic(database, "squash", L3, project=library)
    assert refused.returncode == ALEMBIC_REFUSES
    assert "the baseline is not equal to the steps at head: table found0: extra" in refused.stderr
    assert _files(library) == before


def test_what_is_printed_in_another_form_once_it_was_loaded_is_no_difference(library: Path, database: str) -> None:
    listed = "ALTER TABLE books ADD CONSTRAINT ck_title CHECK (title::varchar IN ('a', 'b'))"
    gone = 'op.execute("ALTER TABLE books DROP CONSTRAINT ck_title")'
    plant(library, "listed000001", f'op.execute("{listed}")', downgrade=gone)
    migrate(database, "upgrade", "head", project=library)

    def as_printed(expected: dict[str, str], found: dict[str, str], *_: object) -> list[str]:
        return dump.differences(expected, found)

    with mock.patch("tangga.squash.proof.differences", as_printed):
        refused = alembic(database, "squash", "listed000001", project=library)
    assert "not equal to the steps at the baseline: check constraint books.ck_title" in refused.stderr
    _squash(library, database, "listed000001")

    def drift() -> list[str]:
        return [line for line in _drift(library, database) if not line.startswith("models: ")]

    # The database has it as the steps made it.
    with mock.patch("tangga.drift.comparison.differences", as_printed):
        assert [line.partition(": CHECK")[0] for line in drift()] == ["check constraint books.ck_title"]
    assert drift() == []
    other = listed.replace("'b'", "'c'")
    query(database, f"ALTER TABLE books DROP CONSTRAINT ck_title; {other}")
    assert [line.partition(": CHECK")[0] for line in drift()] == ["check constraint books.ck_title"]
