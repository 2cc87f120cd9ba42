"""`alembic squash`: one baseline in the place of the first steps, proven equal, for old databases and new ones."""

import subprocess
from pathlib import Path

import pytest

from tangga.drift.comparison import compare
from tangga.exits import AHEAD, ALEMBIC_REFUSES, BEHIND
from tangga.verify.walk import verify
from tests.databases import alembic_process, migrate, query, scratch_database
from tests.migrations.proving import project_of
from tests.migrations.staircase import HEAD, REVISIONS, V1, V4, V5, V6, add_posts, catalogue, plant, revision, rows


def _files(project: Path) -> list[str]:
    return sorted(path.name for path in (project / "migrations/versions").glob("*.py"))


def _squash(project: Path, database: str, to: str) -> str:
    done = alembic_process(database, "squash", to, project=project)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_databases_at_the_baseline_past_it_and_empty_end_in_the_same_schema(project: Path, at_head: str) -> None:
    with scratch_database() as at_v5, scratch_database(at_head) as past, scratch_database() as empty:
        migrate(at_v5, "upgrade", V4)
        add_posts(at_v5, 5, alamat="Jalan Mawar", owner_id=_user(at_v5))
        migrate(at_v5, "upgrade", V5)
        kept = rows(at_v5, "posts")
        said = _squash(project, at_v5, V5)
        assert f"folded: 5 steps into migrations/versions/20261122_1654_{V5}_baseline.py" in said
        assert [name.split("_", 2)[2].split("_", 1) for name in _files(project)[:2]] == [
            [V5, "baseline.py"],
            [V6, "v6_tambah_kolom_no_hp.py"],
        ]
        assert len(_files(project)) == 1 + len(REVISIONS[5:])
        for database in (at_v5, past, empty):
            upgraded = alembic_process(database, "upgrade", "head", project=project)
            assert upgraded.returncode == 0, upgraded.stderr
            assert revision(database) == HEAD
            assert catalogue(database) == catalogue(at_head)
            # The checksums of the folded files are known, so no file counts as changed.
            assert compare(project_of(project, database))[1] == []
        assert rows(at_v5, "posts", "no_hp") == kept
        # What ran where: the baseline on the empty database only.
        assert query(empty, "SELECT revision FROM migration_log ORDER BY id") == [(name,) for name in REVISIONS[4:]]
        assert query(past, "SELECT revision FROM migration_log ORDER BY id") == [(name,) for name in REVISIONS]


def _user(database: str) -> int:
    [(user,)] = query(database, "INSERT INTO users (email, password) VALUES ('ani@example.org', '') RETURNING id")
    return int(user)


def test_the_baseline_goes_down_to_nothing_is_verified_and_is_in_shape(
    project: Path, at_head: str, database: str
) -> None:
    with scratch_database(at_head) as live:
        _squash(project, live, HEAD)
    migrate(database, "upgrade", "head", project=project)
    migrate(database, "downgrade", "base", project=project)
    assert not {"posts", "users", "votes"} & {row[0] for row in catalogue(database)["relations"]}
    report = verify(project_of(project), 5)
    assert (report.findings, report.notes) == ([], [])
    for command in (["check"], ["format", "--check"]):
        shape = subprocess.run(
            ["ruff", *command, "migrations"], cwd=project, capture_output=True, text=True, check=False
        )
        assert shape.returncode == 0, shape.stdout
    linted = alembic_process("unused", "lint", HEAD, project=project)
    assert linted.returncode == 0, linted.stdout


def test_a_database_below_is_refused_by_squash_and_afterwards_by_upgrade(
    project: Path, at_head: str, database: str
) -> None:
    before = _files(project)
    migrate(database, "upgrade", V4)
    refused = alembic_process(database, "squash", V5, project=project)
    assert refused.returncode == BEHIND
    assert f"the database is at {V4}, below {V5}: it still needs the steps" in refused.stderr
    assert _files(project) == before
    _squash(project, at_head, V5)
    stranded = alembic_process(database, "upgrade", "head", project=project)
    assert stranded.returncode == AHEAD
    assert f"can't locate revision {V4}: the database is at it, but it was folded into" in stranded.stderr
    told = alembic_process(database, "drift", project=project)
    assert told.returncode == BEHIND
    assert f"the database is at {V4}, which was folded into the baseline {V5}" in told.stderr
    assert revision(database) == V4


OBJECTS = r"""
CREATE TYPE mood AS ENUM ('sad', 'it''s "ok"');
CREATE FUNCTION votes_of(post integer) RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM votes WHERE post_id = post';
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- a colon :here, a backslash \d, a percent %

    NEW.alamat := regexp_replace(NEW.alamat, '\s+', ' :x', 'g');
    RETURN NEW;
END $$;
CREATE TRIGGER touch BEFORE INSERT ON posts FOR EACH ROW EXECUTE FUNCTION touch();
CREATE TABLE "Odd table" (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, "user" text DEFAULT ' :a', mood mood);
CREATE TABLE later (id serial PRIMARY KEY, odd integer REFERENCES "Odd table", at time DEFAULT '12:30');
INSERT INTO "Odd table" ("user", mood) VALUES ('two
lines; and :a semicolon', 'sad'), ('%s \n', NULL);
CREATE VIEW names AS SELECT id, nama FROM posts WHERE nama LIKE '%:a%';
CREATE INDEX ix_votes_again ON votes (post_id) WHERE post_id > 0;
CREATE SEQUENCE tickets;
COMMENT ON COLUMN posts.nama IS 'full "name"';
GRANT SELECT (nama) ON posts TO PUBLIC;
REVOKE DELETE ON users FROM tangga_app;
GRANT TRUNCATE ON votes TO tangga_app
"""


def test_types_functions_triggers_views_privileges_and_rows_are_folded_too(project: Path, database: str) -> None:
    sql = project / "objects.sql"
    sql.write_text(OBJECTS)
    plant(
        project,
        "objects00001",
        f"op.get_bind().exec_driver_sql(open({str(sql)!r}).read().replace('%', '%%'))",
        downgrade="raise NotImplementedError",
    )
    migrate(database, "upgrade", "head", project=project)
    _squash(project, database, "objects00001")
    assert _files(project) == ["planted_objects00001_baseline.py"]
    sql.unlink()
    with scratch_database() as empty:
        migrate(empty, "upgrade", "head", project=project)
        assert catalogue(empty) == catalogue(database)
        for table in ('"Odd table"', "later"):
            assert query(empty, f"SELECT * FROM {table} ORDER BY id") == query(
                database, f"SELECT * FROM {table} ORDER BY id"
            )
        # The sequence goes on where the inserted rows end.
        assert query(empty, 'INSERT INTO "Odd table" DEFAULT VALUES RETURNING id, "user"') == [(3, " :a")]
        found = compare(project_of(project, database))[1]
        assert [line for line in found if not line.startswith("models: ")] == []


@pytest.mark.parametrize(
    ("to", "said"),
    [
        (V1, "is the first step: there is nothing to fold"),
        ("nosuch", "nosuch"),
        ("merge0000001", "are not one straight line: see"),
        (HEAD, "are not one straight line: see"),
    ],
)
def test_what_is_not_one_straight_line_is_refused(project: Path, database: str, to: str, said: str) -> None:
    plant(project, "left00000001", "pass", after=V5)
    file = plant(project, "merge0000001", "pass", after="left00000001")
    text = file.read_text().replace("down_revision = 'left00000001'", f"down_revision = ('left00000001', '{HEAD}')")
    file.write_text(text)
    before = _files(project)
    refused = alembic_process(database, "squash", to, project=project)
    assert refused.returncode != 0
    assert said in refused.stderr, refused.stderr
    assert _files(project) == before


def test_below_a_fork_can_be_folded(project: Path, database: str) -> None:
    plant(project, "left00000001", "pass", after=V5)
    migrate(database, "upgrade", "heads", project=project)
    _squash(project, database, V4)
    assert len(_files(project)) == 1 + len(REVISIONS[4:]) + 1
    with scratch_database() as empty:
        migrate(empty, "upgrade", "heads", project=project)
        assert catalogue(empty) == catalogue(database)


def test_what_it_could_not_take_down_again_is_refused_before_anything_is_written(project: Path, database: str) -> None:
    plant(project, "search000001", 'op.execute("CREATE TEXT SEARCH CONFIGURATION plain (COPY = simple)")')
    migrate(database, "upgrade", "head", project=project)
    before = _files(project)
    refused = alembic_process(database, "squash", "search000001", project=project)
    assert refused.returncode == ALEMBIC_REFUSES
    assert "text search configuration plain: squash does not know how to drop it" in refused.stderr
    assert _files(project) == before


def test_a_baseline_that_is_not_equal_is_not_written(project: Path, database: str) -> None:
    # The step above makes something else of a schema that the folded file itself was read for.
    plant(project, "source000001", "import pathlib; files = [*pathlib.Path(__file__).parent.glob('*v1_create*')]; "
          "op.execute('CREATE TABLE found' + str(len(files)) + ' ()')")  # fmt: skip
    migrate(database, "upgrade", "head", project=project)
    before = _files(project)
    refused = alembic_process(database, "squash", V5, project=project)
    assert refused.returncode == ALEMBIC_REFUSES
    assert "the baseline is not equal to the steps at head: table found0: extra" in refused.stderr
    assert _files(project) == before
