"""tangga/safe/forms.py: the same result as the naive form, whatever a run that was killed has left behind."""

import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import psycopg2.errors
import pytest

from tangga.project import Project
from tests.databases import (
    alembic_process,
    connect,
    eventually,
    finish,
    migrate,
    query,
    run,
    scratch_database,
    start_alembic,
)
from tests.migrations.staircase import HEAD, add_posts, add_user, catalogue, plant, revision

STEP = "0000000000a1"
CHECK = "ALTER TABLE posts ADD CONSTRAINT ck_posts_no_hp_not_null CHECK (no_hp IS NOT NULL) NOT VALID"


class Form(NamedTuple):
    """A safe form, the naive one, how it is undone, and the phases that a run may be killed between."""

    safe: str
    naive: str
    undo: str
    phases: tuple[str, ...]


# A build that fails on its duplicates leaves what a build that was killed leaves.
_INVALID = "CREATE UNIQUE INDEX CONCURRENTLY {} ON posts (published)"
FORMS = {
    "column": Form(
        """safe.add_column("posts", sa.Column("kota", sa.String(20), nullable=False), fill="''")""",
        """op.add_column("posts", sa.Column("kota", sa.String(20), nullable=False, server_default=""))
    op.alter_column("posts", "kota", server_default=None)""",
        'op.drop_column("posts", "kota")',
        ("ALTER TABLE posts ADD kota varchar(20) DEFAULT '' NOT NULL; ALTER TABLE posts ALTER kota DROP DEFAULT",),
    ),
    "column with its default": Form(
        """safe.add_column("posts", sa.Column("since", sa.DateTime(timezone=True)), fill="now()", keep_default=True)""",
        """op.add_column("posts", sa.Column("since", sa.DateTime(timezone=True), server_default=sa.text("now()")))""",
        'op.drop_column("posts", "since")',
        ("ALTER TABLE posts ADD COLUMN since timestamptz DEFAULT now()",),
    ),
    "foreign key": Form(
        'safe.add_foreign_key("fk_posts_editor", "posts", "users", ["umur"], ["id"], ondelete="SET NULL")',
        'op.create_foreign_key("fk_posts_editor", "posts", "users", ["umur"], ["id"], ondelete="SET NULL")',
        'op.drop_constraint("fk_posts_editor", "posts", type_="foreignkey")',
        (
            "ALTER TABLE posts ADD CONSTRAINT fk_posts_editor FOREIGN KEY (umur) REFERENCES users(id) "
            "ON DELETE SET NULL NOT VALID",
            "ALTER TABLE posts VALIDATE CONSTRAINT fk_posts_editor",
        ),
    ),
    "check": Form(
        """safe.add_check("ck_posts_umur", "posts", "umur > 0 AND nama <> 'a:b'")""",
        """op.create_check_constraint(op.f("ck_posts_umur"), "posts", "umur > 0 AND nama <> 'a\\\\:b'")""",
        'op.drop_constraint(op.f("ck_posts_umur"), "posts", type_="check")',
        (
            "ALTER TABLE posts ADD CONSTRAINT ck_posts_umur CHECK (umur > 0 AND nama <> 'a:b') NOT VALID",
            "ALTER TABLE posts VALIDATE CONSTRAINT ck_posts_umur",
        ),
    ),
    "unique": Form(
        'safe.add_unique("uq_posts_nama", "posts", ["nama", "umur"])',
        'op.create_unique_constraint("uq_posts_nama", "posts", ["nama", "umur"])',
        'op.drop_constraint("uq_posts_nama", "posts", type_="unique")',
        (
            _INVALID.format("uq_posts_nama"),
            "DROP INDEX uq_posts_nama; CREATE UNIQUE INDEX uq_posts_nama ON posts (nama, umur)",
            "ALTER TABLE posts ADD CONSTRAINT uq_posts_nama UNIQUE USING INDEX uq_posts_nama",
        ),
    ),
    "index": Form(
        """safe.create_index(
        "ix_posts_nama", "posts", ["umur", sa.text("lower(nama)")], where="published", using="btree", include=["id"]
    )""",
        """op.create_index(
        "ix_posts_nama", "posts", ["umur", sa.text("lower(nama)")], postgresql_where="published",
        postgresql_include=["id"]
    )""",
        'safe.drop_index("ix_posts_nama")',
        (
            _INVALID.format("ix_posts_nama"),
            "DROP INDEX ix_posts_nama; "
            "CREATE INDEX ix_posts_nama ON posts (umur, lower(nama)) INCLUDE (id) WHERE published",
        ),
    ),
    "not null": Form(
        'safe.set_not_null("posts", "no_hp")',
        'op.alter_column("posts", "no_hp", nullable=False)',
        'op.alter_column("posts", "no_hp", nullable=True)',
        (
            CHECK,
            "ALTER TABLE posts VALIDATE CONSTRAINT ck_posts_no_hp_not_null",
            "ALTER TABLE posts ALTER no_hp SET NOT NULL; ALTER TABLE posts DROP CONSTRAINT ck_posts_no_hp_not_null",
        ),
    ),
}


@pytest.fixture(scope="session")
def filled(at_head: str) -> Iterator[str]:
    """A database at head, with rows that every form accepts."""
    with scratch_database(at_head) as name:
        owner = add_user(name, "ani@example.com")
        query(
            name, "INSERT INTO users (email, password) SELECT n || '@example.com', '!' FROM generate_series(1, 50) AS n"
        )
        add_posts(name, 50, alamat="", owner_id=owner, no_hp="0812")
        yield name


@pytest.fixture
def copy(filled: str) -> Iterator[str]:
    with scratch_database(filled) as name:
        yield name


def _plant(project: Path, form: str, undo: str = "pass") -> None:
    imported = "from tangga import safe\n    "
    plant(project, STEP, imported + form, downgrade=imported + undo)


def _up(database: str, project: Path) -> dict[str, list[tuple[object, ...]]]:
    query(database, "UPDATE alembic_version SET version_num = %s", HEAD)
    migrate(database, "upgrade", STEP, project=project)
    assert revision(database) == STEP
    return catalogue(database)


@pytest.mark.parametrize("name", FORMS)
def test_a_safe_form_does_what_the_naive_one_does_from_wherever_it_was_killed(
    filled: str, project: Path, name: str
) -> None:
    form = FORMS[name]
    _plant(project, form.naive)
    with scratch_database(filled) as database:
        expected = _up(database, project)
    assert expected != catalogue(filled)
    _plant(project, form.safe, form.undo)
    for killed_after in range(len(form.phases) + 1):
        with scratch_database(filled) as database:
            for phase in form.phases[:killed_after]:
                try:
                    query(database, phase)
                except psycopg2.errors.UniqueViolation:
                    assert "CONCURRENTLY" in phase
            assert _up(database, project) == expected, killed_after
            # And again, as if it had been killed just before its row in alembic_version.
            assert _up(database, project) == expected
            migrate(database, "downgrade", HEAD, project=project)
            assert catalogue(database) == catalogue(filled)


@pytest.mark.parametrize("name", FORMS)
def test_the_printed_form_does_the_same(filled: str, project: Path, name: str) -> None:
    _plant(project, FORMS[name].safe, FORMS[name].undo)
    runs = Project.from_file(project / "alembic.ini")
    with (
        scratch_database(filled) as database,
        scratch_database(filled) as printed,
        closing(connect(printed)) as session,
    ):
        expected = _up(database, project)
        # One by one: CONCURRENTLY cannot stand in a string of several statements.
        for statement in runs.sql(HEAD, STEP).split(";\n\n"):
            if statement.strip():
                run(session, statement)
        assert catalogue(printed) == expected
        assert revision(printed) == STEP
        for statement in runs.sql(STEP, HEAD, down=True).split(";\n\n"):
            if statement.strip():
                run(session, statement)
        assert catalogue(printed) == catalogue(filled)


@pytest.mark.parametrize(
    ("form", "there"),
    [
        ("column", "ALTER TABLE posts ADD COLUMN kota varchar(30)"),
        ("foreign key", "ALTER TABLE posts ADD CONSTRAINT fk_posts_editor FOREIGN KEY (umur) REFERENCES users(id)"),
        ("check", "ALTER TABLE posts ADD CONSTRAINT ck_posts_umur CHECK (umur > 0)"),
        ("unique", "ALTER TABLE posts ADD CONSTRAINT uq_posts_nama UNIQUE (nama)"),
        ("unique", "CREATE INDEX uq_posts_nama ON posts (nama, umur)"),
        ("index", "CREATE INDEX ix_posts_nama ON posts (umur, lower(nama)) INCLUDE (id)"),
        ("index", "CREATE INDEX ix_posts_nama ON users (email)"),
        ("not null", "ALTER TABLE posts ADD CONSTRAINT ck_posts_no_hp_not_null CHECK (no_hp <> '')"),
    ],
)
def test_something_else_of_the_same_name_is_an_error(copy: str, project: Path, form: str, there: str) -> None:
    _plant(project, FORMS[form].safe)
    query(copy, there)
    before = catalogue(copy)
    with pytest.raises(SystemExit):
        migrate(copy, "upgrade", STEP, project=project)
    [(error,)] = query(copy, "SELECT error FROM migration_log WHERE outcome = 'failed'")
    assert "is there already, but as" in error
    assert "this step asks for" in error
    assert (catalogue(copy), revision(copy)) == (before, HEAD)


@pytest.mark.parametrize(
    ("form", "spoil"),
    [
        ("foreign key", "UPDATE posts SET umur = 1000 WHERE umur = 1"),
        ("check", "UPDATE posts SET umur = 0 WHERE umur = 1"),
        ("unique", "UPDATE posts SET umur = 2, nama = 'nama 2' WHERE umur = 1"),
        ("not null", "UPDATE posts SET no_hp = NULL WHERE umur = 1"),
    ],
)
def test_rows_that_do_not_fit_fail_the_step_and_nothing_stays_behind(
    copy: str, project: Path, form: str, spoil: str
) -> None:
    _plant(project, FORMS[form].safe)
    query(copy, spoil)
    before = catalogue(copy)
    with pytest.raises(SystemExit):
        migrate(copy, "upgrade", STEP, project=project)
    assert (catalogue(copy), revision(copy)) == (before, HEAD)
    assert query(copy, "SELECT count(*) FROM pg_index WHERE NOT indisvalid") == [(0,)]


def test_filling_a_column_does_not_rewrite_the_table(copy: str, project: Path) -> None:
    _plant(project, FORMS["column"].safe)
    file = query(copy, "SELECT pg_relation_filenode('posts')")
    migrate(copy, "upgrade", STEP, project=project)
    assert query(copy, "SELECT pg_relation_filenode('posts')") == file


@pytest.mark.parametrize(
    "column",
    [
        'sa.Column("kota", sa.String(), nullable=False)',
        'sa.Column("kota", sa.Integer(), sa.ForeignKey("users.id"))',
        'sa.Column("kota", sa.String(), unique=True)',
    ],
)
def test_a_column_that_would_fail_or_lock_is_refused(copy: str, project: Path, column: str) -> None:
    _plant(project, f'safe.add_column("posts", {column})')
    before = catalogue(copy)
    with pytest.raises(SystemExit):
        migrate(copy, "upgrade", STEP, project=project)
    assert catalogue(copy) == before


def test_the_index_waits_for_older_transactions_longer_than_lock_timeout_and_names_them(
    copy: str, project: Path
) -> None:
    _plant(project, FORMS["index"].safe)
    with closing(connect(copy, "app")) as older, closing(connect(copy, "app")) as traffic:
        run(older, "BEGIN")
        run(older, "UPDATE posts SET umur = umur WHERE umur = 1")
        [(pid,)] = run(older, "SELECT pg_backend_pid()")
        times = {"MIGRATE_LOCK_TIMEOUT": "1", "MIGRATE_STATEMENT_TIMEOUT": "2"}
        migrator = start_alembic(copy, "upgrade", STEP, project=project, environment=times)
        invalid = "SELECT 1 FROM pg_index WHERE NOT indisvalid"
        assert eventually(lambda: query(copy, invalid) != [])
        threading.Event().wait(3)
        assert migrator.poll() is None
        # Meanwhile reads and writes go on.
        run(traffic, "SET statement_timeout = '1s'")
        run(traffic, "UPDATE posts SET umur = umur WHERE umur = 2")
        run(older, "COMMIT")
    finished = finish(migrator)
    assert finished.returncode == 0, finished.stderr
    assert f"blocked by pid {pid} (tangga_app" in finished.stderr
    assert query(copy, invalid) == []


def test_past_the_limit_the_index_is_given_up_with_the_code_for_a_lock(copy: str, project: Path) -> None:
    _plant(project, FORMS["index"].safe)
    with closing(connect(copy, "app")) as older:
        run(older, "BEGIN")
        run(older, "UPDATE posts SET umur = umur WHERE umur = 1")
        finished = alembic_process(
            copy, "upgrade", STEP, project=project, environment={"MIGRATE_LOCK_RETRY_FOR": "1.5"}
        )
    assert finished.returncode == 10, finished.stderr
    assert "index ix_posts_nama on posts was not finished; gave up after" in finished.stderr
    assert revision(copy) == HEAD


def test_an_invalid_index_of_somebody_else_is_named_after_an_upgrade(copy: str, project: Path) -> None:
    with pytest.raises(psycopg2.errors.UniqueViolation):
        query(copy, _INVALID.format("ix_left_over"))
    plant(project, STEP, "pass")
    finished = alembic_process(copy, "upgrade", STEP, project=project)
    assert finished.returncode == 0
    assert "index ix_left_over on posts is INVALID" in finished.stderr
    assert "DROP INDEX CONCURRENTLY ix_left_over" in finished.stderr
    query(copy, "DROP INDEX ix_left_over")
    plant(project, "0000000000a2", "pass", after=STEP)
    assert "INVALID" not in alembic_process(copy, "upgrade", "head", project=project).stderr
