"""`alembic drift` sees every change by hand that is tried here; stock `alembic check` is run on the same ones."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest

from tangga.drift.comparison import compare
from tangga.exits import AHEAD, DRIFT, SCRATCH_FAILED, UNKNOWN_REVISION, Stop
from tests.databases import connect, migrate, owner_environment, query, run, scratch_database
from tests.migrations.proving import project_of
from tests.migrations.staircase import V4, copy_project, edit, plant
from tests.support.in_process import alembic

# What the steps do not have, so that there is something to drift from.
STEP = """
CREATE INDEX ix_posts_nama ON posts (nama);
CREATE INDEX ix_posts_no_hp ON posts (no_hp) WHERE no_hp IS NOT NULL;
ALTER TABLE posts ADD CONSTRAINT ck_posts_umur CHECK (umur >= 0);
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.alamat := trim(NEW.alamat); RETURN NEW; END $$;
CREATE TRIGGER touch BEFORE INSERT ON posts FOR EACH ROW EXECUTE FUNCTION touch();
CREATE VIEW adults AS SELECT id, nama FROM posts WHERE id > 17;
COMMENT ON COLUMN posts.nama IS 'full name'
"""
MODELS = """    __table_args__ = (
        Index("ix_posts_nama", "nama"),
        Index("ix_posts_no_hp", "no_hp", postgresql_where=text("no_hp IS NOT NULL")),
        CheckConstraint("umur >= 0", name="umur"),
"""
TOUCH = "CREATE OR REPLACE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS"
FK = "ALTER TABLE votes DROP CONSTRAINT fk_votes_post_id_posts"

# name -> (what is done by hand, the lines that say so, whether stock `alembic check` sees it)
DRIFTS: dict[str, tuple[str, list[str], bool]] = {
    "column type": (
        "ALTER TABLE posts ALTER umur TYPE bigint",
        ["column posts.umur: integer NOT NULL -> bigint NOT NULL"],
        True,
    ),
    "nullability": (
        "ALTER TABLE posts ALTER alamat DROP NOT NULL",
        ["column posts.alamat: character varying NOT NULL -> character varying"],
        True,
    ),
    "default": (
        "ALTER TABLE posts ALTER published SET DEFAULT false",
        ["column posts.published: boolean DEFAULT true NOT NULL -> boolean DEFAULT false NOT NULL"],
        False,
    ),
    "extra column": (
        "ALTER TABLE users ADD COLUMN extra integer",
        ["column users.extra: extra (integer)"],
        True,
    ),
    "missing column": (
        "ALTER TABLE users DROP COLUMN password",
        ["column users.password: missing (character varying NOT NULL)"],
        True,
    ),
    "extra index": (
        "CREATE INDEX ix_votes_again ON votes (post_id)",
        ["index votes.ix_votes_again: extra (CREATE INDEX ix_votes_again ON public.votes USING btree (post_id);)"],
        True,
    ),
    "missing index": (
        "DROP INDEX ix_posts_nama",
        ["index posts.ix_posts_nama: missing (CREATE INDEX ix_posts_nama ON public.posts USING btree (nama);)"],
        True,
    ),
    "partial-index predicate": (
        "DROP INDEX ix_posts_no_hp; CREATE INDEX ix_posts_no_hp ON posts (no_hp) WHERE no_hp <> ''",
        [
            "index posts.ix_posts_no_hp: CREATE INDEX ix_posts_no_hp ON public.posts USING btree (no_hp) "
            "WHERE (no_hp IS NOT NULL); -> CREATE INDEX ix_posts_no_hp ON public.posts USING btree (no_hp) "
            "WHERE ((no_hp)::text <> ''::text);"
        ],
        False,
    ),
    "dropped primary key": (
        "ALTER TABLE votes DROP CONSTRAINT pk_votes",
        ["constraint votes.pk_votes: missing (PRIMARY KEY (user_id, post_id))"],
        False,
    ),
    "foreign key dropped": (
        FK,
        [
            "foreign key votes.fk_votes_post_id_posts: missing "
            "(FOREIGN KEY (post_id) REFERENCES public.posts(id) ON DELETE CASCADE)"
        ],
        True,
    ),
    "foreign key's delete rule": (
        f"{FK}; ALTER TABLE votes ADD CONSTRAINT fk_votes_post_id_posts FOREIGN KEY (post_id) REFERENCES posts (id)",
        [
            "foreign key votes.fk_votes_post_id_posts: FOREIGN KEY (post_id) REFERENCES public.posts(id) "
            "ON DELETE CASCADE -> FOREIGN KEY (post_id) REFERENCES public.posts(id)"
        ],
        True,
    ),
    "unique": (
        "ALTER TABLE users DROP CONSTRAINT uq_users_email",
        ["constraint users.uq_users_email: missing (UNIQUE (email))"],
        True,
    ),
    "CHECK body": (
        "ALTER TABLE posts DROP CONSTRAINT ck_posts_umur;"
        "ALTER TABLE posts ADD CONSTRAINT ck_posts_umur CHECK (umur >= -1)",
        ["check constraint posts.ck_posts_umur: CHECK ((umur >= 0)) -> CHECK ((umur >= '-1'::integer))"],
        False,
    ),
    "CHECK missing": (
        "ALTER TABLE posts DROP CONSTRAINT ck_posts_umur",
        ["check constraint posts.ck_posts_umur: missing (CHECK ((umur >= 0)))"],
        False,
    ),
    "NOT VALID constraint": (
        "ALTER TABLE posts DROP CONSTRAINT ck_posts_umur;"
        "ALTER TABLE posts ADD CONSTRAINT ck_posts_umur CHECK (umur >= 0) NOT VALID",
        ["check constraint posts.ck_posts_umur: CHECK ((umur >= 0)) -> CHECK ((umur >= 0)) NOT VALID"],
        False,
    ),
    "invalid index": (
        "INSERT INTO users (email, password) VALUES ('a', ''), ('b', '');"
        "CREATE UNIQUE INDEX CONCURRENTLY ix_users_password ON users (password)",
        [
            "index users.ix_users_password (INVALID: its build did not finish): extra "
            "(CREATE UNIQUE INDEX ix_users_password ON public.users USING btree (password))"
        ],
        True,
    ),
    "trigger": (
        "ALTER TABLE posts DISABLE TRIGGER touch",
        ["trigger posts.touch: nothing -> ALTER TABLE public.posts DISABLE TRIGGER touch;"],
        False,
    ),
    "function": (
        f"{TOUCH} $$ BEGIN RETURN NEW; END $$",
        [
            "function touch(): AS $$ BEGIN NEW.alamat := trim(NEW.alamat); RETURN NEW; END $$; -> "
            "AS $$ BEGIN RETURN NEW; END $$;"
        ],
        False,
    ),
    "view": (
        "CREATE OR REPLACE VIEW adults AS SELECT id, nama FROM posts WHERE id > 20",
        ["view adults: WHERE (id > 17); -> WHERE (id > 20);"],
        False,
    ),
    "grant": (
        "GRANT TRUNCATE ON users TO PUBLIC",
        ["grant on table users: nothing -> GRANT TRUNCATE ON TABLE public.users TO PUBLIC;"],
        False,
    ),
    "sequence type": (
        "ALTER SEQUENCE posts_id_seq AS smallint",
        [
            "sequence posts_id_seq: AS integer -> AS smallint",
            "sequence posts_id_seq (narrower than its column posts.id): extra (smallint, the column is integer)",
        ],
        False,
    ),
    "comment": (
        "COMMENT ON COLUMN posts.nama IS 'nickname'",
        [
            "comment on column posts.nama: COMMENT ON COLUMN public.posts.nama IS 'full name'; -> "
            "COMMENT ON COLUMN public.posts.nama IS 'nickname';"
        ],
        True,
    ),
}


# Those that have to do with the same column or constraint are not on one database.
TOGETHER = [
    ["missing column", "foreign key's delete rule", "CHECK body"],
    ["CHECK missing"],
    ["NOT VALID constraint"],
]
TOGETHER.append([name for name in DRIFTS if not any(name in names for names in TOGETHER)])


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project with one step more, and models that say the same."""
    project = copy_project(tmp_path_factory.mktemp("project"))
    plant(project, "drift0000001", f'op.execute("""{STEP}""")')
    models = project / "services/api/db/models.py"
    edit(models, "from sqlalchemy import ", "from sqlalchemy import CheckConstraint, text, ")
    edit(models, "    __table_args__ = (\n", MODELS)
    edit(models, "    nama: Mapped[str]\n", '    nama: Mapped[str] = mapped_column(comment="full name")\n')
    return project


@pytest.fixture(scope="module")
def migrated(planted: Path) -> Iterator[str]:
    with scratch_database() as name:
        migrate(name, "upgrade", "head", project=planted)
        yield name


@contextlib.contextmanager
def _drifted(source: str, *by_hand: str) -> Iterator[str]:
    with scratch_database(source) as name:
        with contextlib.closing(connect(name)) as connection:
            for statements in by_hand:
                for statement in statements.split(";") if "$$" not in statements else [statements]:
                    # A concurrent index over duplicates fails, and leaves the invalid index behind.
                    with contextlib.suppress(psycopg2.errors.UniqueViolation):
                        run(connection, statement)
        yield name


def test_an_untouched_database_has_no_drift(planted: Path, migrated: str) -> None:
    compared, found, _ = compare(project_of(planted, migrated))
    # The models of this process are the repository's, without what was planted.
    assert [line for line in found if not line.startswith("models: ")] == []
    assert compared > 30


@pytest.mark.parametrize("names", TOGETHER, ids=", ".join)
def test_drift_by_hand_is_found(planted: Path, migrated: str, names: list[str]) -> None:
    """Each is said in its lines, and nothing else is said."""
    with _drifted(migrated, *(DRIFTS[name][0] for name in names)) as database:
        _, found, _ = compare(project_of(planted, database))
    lines = [line for name in names for line in DRIFTS[name][1]]
    assert sorted(line for line in found if not line.startswith("models: ")) == sorted(lines)


# In one process of the plain Alembic, so that services and models are the planted project's.
_STOCK = """
import os, sys
from alembic.config import main
for database in sys.argv[1:]:
    os.environ["DB_NAME"] = database
    try:
        main(["check"])
        print("verdict", database, "clean")
    except SystemExit:
        print("verdict", database, "drift")
"""


def _stock(project: Path, databases: list[str]) -> list[bool]:
    """Return, for each database, whether plain `alembic check` sees drift."""
    done = subprocess.run(
        [sys.executable, "-c", _STOCK, *databases],
        cwd=project, check=True, capture_output=True, text=True, env=_environment(project),
    )  # fmt: skip
    said = [line.split() for line in done.stdout.splitlines() if line.startswith("verdict ")]
    assert [name for _, name, _ in said] == databases, done.stdout + done.stderr
    return [verdict == "drift" for _, _, verdict in said]


def _environment(project: Path) -> dict[str, str]:
    return os.environ | owner_environment("unused") | {"PYTHONPATH": f"{project}:{project}/services/migrate"}


def test_stock_alembic_check_misses_most_of_them(planted: Path, migrated: str) -> None:
    file = planted / "services/migrate/tangga/compared.py"
    tuned = file.read_text()
    with contextlib.ExitStack() as stack:
        databases = [stack.enter_context(_drifted(migrated, by_hand)) for by_hand, _, _ in DRIFTS.values()]
        try:
            # As `alembic init` leaves it: neither defaults nor CHECKs are compared.
            edit(file, '"compare_server_default": True,', '"compare_server_default": False,')
            edit(file, 'plugins.append("alembic.ext.checkconstraint_byname")', "pass")
            assert _stock(planted, [migrated]) == [False]
            seen = dict(zip(DRIFTS, _stock(planted, databases), strict=True))
        finally:
            file.write_text(tuned)
    assert seen == {name: expected for name, (_, _, expected) in DRIFTS.items()}


def test_the_command_says_it_in_lines_and_in_json(at_head: str) -> None:
    clean = alembic(at_head, "drift")
    assert clean.returncode == 0, clean.stderr
    assert clean.stdout.startswith("no drift: ")
    with _drifted(at_head, "ALTER TABLE posts ADD COLUMN extra integer; DROP TABLE votes") as database:
        found = alembic(database, "drift")
        assert (found.returncode, found.stdout.splitlines()) == (
            DRIFT,
            ["column posts.extra: extra (integer)", "table votes: missing"],
        )  # fmt: skip
        assert found.stderr.startswith("error: drift: 2 differences between files and database\n   do: ")
        as_json = alembic(database, "drift", "--json")
        assert (as_json.returncode, json.loads(as_json.stdout)["drift"]) == (DRIFT, found.stdout.splitlines())


def test_a_database_behind_its_files_is_compared_where_it_is(database: str) -> None:
    migrate(database, "upgrade", V4)
    _, found, notes = compare(project_of(live=database))
    assert (found, notes) == ([], ["the database is not at head, so the models were not compared"])
    query(database, "ALTER TABLE posts DROP COLUMN alamat")
    _, found, _ = compare(project_of(live=database))
    assert found == ["column posts.alamat: missing (character varying NOT NULL)"]


def test_a_database_ahead_of_its_files_is_told_so(project: Path, database: str) -> None:
    plant(project, "ahead0000001", "pass")
    migrate(database, "upgrade", "head", project=project)
    refused = alembic(database, "drift")
    assert (refused.returncode, refused.stdout) == (AHEAD, "")
    assert "the database is at ahead0000001, which is not among the files here" in refused.stderr


def test_tables_without_a_version_are_told_how_to_go_on(database: str) -> None:
    query(database, "CREATE TABLE posts (id integer)")
    refused = alembic(database, "drift")
    assert refused.returncode == DRIFT
    assert "the database has tables (posts), but no version" in refused.stderr
    assert "make stamp" in refused.stderr


def test_a_file_changed_after_it_was_applied_is_found_and_can_be_accepted(project: Path, database: str) -> None:
    file = plant(project, "change000001", "pass")
    migrate(database, "upgrade", "head", project=project)
    runs = project_of(project, database)
    assert compare(runs)[1] == []
    file.write_text(f"{file.read_text()}# changed\n")
    assert compare(runs)[1] == [
        f"file of change000001 (planted change000001): changed after it ran: migrations/versions/{file.name}"
    ]
    accepted = alembic(database, "drift", "--accept", "change000001", project=project)
    assert (accepted.returncode, accepted.stdout) == (0, "accepted: change000001 as its file is now\n")
    assert compare(runs)[1] == []
    # Only as it is now.
    file.write_text(f"{file.read_text()}# again\n")
    assert len(compare(runs)[1]) == 1
    refused = alembic(database, "drift", "--accept", "nosuch", project=project)
    assert refused.returncode == UNKNOWN_REVISION


def test_a_step_that_was_taken_back_may_be_changed(project: Path, database: str) -> None:
    file = plant(project, "change000002", "pass")
    migrate(database, "upgrade", "head", project=project)
    migrate(database, "downgrade", "-1", project=project)
    file.write_text(f"{file.read_text()}# changed\n")
    assert compare(project_of(project, database))[1] == []


def test_models_that_differ_from_the_steps_are_drift(project: Path, database: str) -> None:
    plant(project, "model0000001", 'op.add_column("posts", sa.Column("extra", sa.Integer()))')
    plant(
        project,
        "model0000002",
        'op.drop_table("votes"); op.alter_column("posts", "umur", type_=sa.BigInteger())',
        after="model0000001",
    )
    migrate(database, "upgrade", "head", project=project)
    assert sorted(compare(project_of(project, database))[1]) == [
        "models: column posts.extra: in the schema, not in the models",
        "models: column posts.umur: type: INTEGER in the models, BIGINT in the schema",
        "models: index votes.ix_votes_post_id: in the models, not in the schema",
        "models: table votes: in the models, not in the schema",
    ]


def test_who_may_write_the_version_table_is_compared(at_head: str) -> None:
    with _drifted(at_head, "GRANT INSERT ON alembic_version TO PUBLIC") as database:
        assert compare(project_of(live=database))[1] == ["grant on table alembic_version: extra (INSERT TO PUBLIC)"]


def test_a_table_that_the_owner_may_not_read_is_named_and_what_mends_it(at_head: str) -> None:
    with _drifted(at_head, "SELECT") as database:
        query(database, "CREATE TABLE theirs (id integer)", role="superuser")
        with pytest.raises(Stop) as stopped:
            compare(project_of(live=database))
    assert ": permission denied for table theirs" in stopped.value.what
    assert "as the superuser, " in stopped.value.remedy
    assert stopped.value.code == SCRATCH_FAILED
