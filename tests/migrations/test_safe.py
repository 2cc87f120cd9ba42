"""tangga/safe/forms.py: the same result as the naive form, whatever a run that was killed has left behind."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import psycopg2.errors
import pytest

from tangga.project import Project
from tests.databases import (
    connect,
    eventually,
    finish,
    query,
    run,
    scratch_database,
    start_alembic,
)
from tests.support.library import HEAD, alembic, fill, migrate, plant
from tests.support.schema import catalogue, revision

STEP = "0000000000a1"
CHECK = "ALTER TABLE books ADD CONSTRAINT ck_books_note_not_null CHECK (note IS NOT NULL) NOT VALID"


class Form(NamedTuple):
    """A safe form, the naive one, how it is undone, and the phases that a run may be killed between."""

    safe: str
    naive: str
    undo: str
    phases: tuple[str, ...]


# A build that fails on its duplicates leaves what a build that was killed leaves.
_INVALID = "CREATE UNIQUE INDEX CONCURRENTLY {} ON books (lent)"
FORMS = {
    "column": Form(
        """safe.add_column("books", sa.Column("kota", sa.String(20), nullable=False), fill="''")""",
        """op.add_column("books", sa.Column("kota", sa.String(20), nullable=False, server_default=""))
    op.alter_column("books", "kota", server_default=None)""",
        'op.drop_column("books", "kota")',
        ("ALTER TABLE books ADD kota varchar(20) DEFAULT '' NOT NULL; ALTER TABLE books ALTER kota DROP DEFAULT",),
    ),
    "column with its default": Form(
        """safe.add_column("books", sa.Column("since", sa.DateTime(timezone=True)), fill="now()", keep_default=True)""",
        """op.add_column("books", sa.Column("since", sa.DateTime(timezone=True), server_default=sa.text("now()")))""",
        'op.drop_column("books", "since")',
        ("ALTER TABLE books ADD COLUMN since timestamptz DEFAULT now()",),
    ),
    "foreign key": Form(
        'safe.add_foreign_key("fk_books_editor", "books", "authors", ["pages"], ["id"], ondelete="SET NULL")',
        'op.create_foreign_key("fk_books_editor", "books", "authors", ["pages"], ["id"], ondelete="SET NULL")',
        'op.drop_constraint("fk_books_editor", "books", type_="foreignkey")',
        (
            "ALTER TABLE books ADD CONSTRAINT fk_books_editor FOREIGN KEY (pages) REFERENCES authors(id) "
            "ON DELETE SET NULL NOT VALID",
            "ALTER TABLE books VALIDATE CONSTRAINT fk_books_editor",
        ),
    ),
    "check": Form(
        """safe.add_check("ck_books_pages", "books", "pages > 0 AND title <> 'a:b'")""",
        """op.create_check_constraint(op.f("ck_books_pages"), "books", "pages > 0 AND title <> 'a\\\\:b'")""",
        'op.drop_constraint(op.f("ck_books_pages"), "books", type_="check")',
        (
            "ALTER TABLE books ADD CONSTRAINT ck_books_pages CHECK (pages > 0 AND title <> 'a:b') NOT VALID",
            "ALTER TABLE books VALIDATE CONSTRAINT ck_books_pages",
        ),
    ),
    "unique": Form(
        'safe.add_unique("uq_books_title", "books", ["title", "pages"])',
        'op.create_unique_constraint("uq_books_title", "books", ["title", "pages"])',
        'op.drop_constraint("uq_books_title", "books", type_="unique")',
        (
            _INVALID.format("uq_books_title"),
            "DROP INDEX uq_books_title; CREATE UNIQUE INDEX uq_books_title ON books (title, pages)",
            "ALTER TABLE books ADD CONSTRAINT uq_books_title UNIQUE USING INDEX uq_books_title",
        ),
    ),
    "index": Form(
        """safe.create_index(
        "ix_books_title", "books", ["pages", sa.text("lower(title)")], where="lent", using="btree", include=["id"]
    )""",
        """op.create_index(
        "ix_books_title", "books", ["pages", sa.text("lower(title)")], postgresql_where="lent",
        postgresql_include=["id"]
    )""",
        'safe.drop_index("ix_books_title")',
        (
            _INVALID.format("ix_books_title"),
            "DROP INDEX ix_books_title; "
            "CREATE INDEX ix_books_title ON books (pages, lower(title)) INCLUDE (id) WHERE lent",
        ),
    ),
    "not null": Form(
        'safe.set_not_null("books", "note")',
        'op.alter_column("books", "note", nullable=False)',
        'op.alter_column("books", "note", nullable=True)',
        (
            CHECK,
            "ALTER TABLE books VALIDATE CONSTRAINT ck_books_note_not_null",
            "ALTER TABLE books ALTER note SET NOT NULL; ALTER TABLE books DROP CONSTRAINT ck_books_note_not_null",
        ),
    ),
}


@pytest.fixture(scope="session")
def filled(shelved: str) -> Iterator[str]:
    """A database at head, with rows that every form accepts."""
    with scratch_database(shelved) as name:
        fill(name, authors=50, books=50)
        query(name, "UPDATE books SET note = '0812'")
        yield name


@pytest.fixture
def copy(filled: str) -> Iterator[str]:
    with scratch_database(filled) as name:
        yield name


def _plant(library: Path, form: str, undo: str = "pass") -> None:
    imported = "from tangga import safe\n    "
    plant(library, STEP, imported + form, downgrade=imported + undo)


def _up(database: str, library: Path) -> dict[str, list[tuple[object, ...]]]:
    query(database, "UPDATE alembic_version SET version_num = %s", HEAD)
    migrate(database, "upgrade", STEP, project=library)
    assert revision(database) == STEP
    return catalogue(database)


@pytest.mark.parametrize("name", FORMS)
def test_a_safe_form_does_what_the_naive_one_does_from_wherever_it_was_killed(
    copy: str, library: Path, name: str
) -> None:
    form = FORMS[name]
    before = catalogue(copy)
    _plant(library, form.naive, form.undo)
    expected = _up(copy, library)
    assert expected != before
    migrate(copy, "downgrade", HEAD, project=library)
    assert catalogue(copy) == before
    _plant(library, form.safe, form.undo)
    for killed_after in range(len(form.phases) + 1):
        for phase in form.phases[:killed_after]:
            try:
                query(copy, phase)
            except psycopg2.errors.UniqueViolation:
                assert "CONCURRENTLY" in phase
        assert _up(copy, library) == expected, killed_after
        # And again, as if it had been killed just before its row in alembic_version.
        assert _up(copy, library) == expected
        migrate(copy, "downgrade", HEAD, project=library)
        assert catalogue(copy) == before


@pytest.mark.parametrize("name", FORMS)
def test_the_printed_form_does_the_same(copy: str, library: Path, name: str) -> None:
    _plant(library, FORMS[name].safe, FORMS[name].undo)
    runs = Project.from_file(library / "alembic.ini")
    before = catalogue(copy)
    expected = _up(copy, library)
    migrate(copy, "downgrade", HEAD, project=library)
    with closing(connect(copy)) as session:
        # One by one: CONCURRENTLY cannot stand in a string of several statements.
        for statement in runs.sql(HEAD, STEP).split(";\n\n"):
            if statement.strip():
                run(session, statement)
        assert catalogue(copy) == expected
        assert revision(copy) == STEP
        for statement in runs.sql(STEP, HEAD, down=True).split(";\n\n"):
            if statement.strip():
                run(session, statement)
        assert catalogue(copy) == before


@pytest.mark.parametrize(
    ("form", "there"),
    [
        ("column", "ALTER TABLE books ADD COLUMN kota varchar(30)"),
        ("foreign key", "ALTER TABLE books ADD CONSTRAINT fk_books_editor FOREIGN KEY (pages) REFERENCES authors(id)"),
        ("check", "ALTER TABLE books ADD CONSTRAINT ck_books_pages CHECK (pages > 0)"),
        ("unique", "ALTER TABLE books ADD CONSTRAINT uq_books_title UNIQUE (title)"),
        ("unique", "CREATE INDEX uq_books_title ON books (title, pages)"),
        ("index", "CREATE INDEX ix_books_title ON books (pages, lower(title)) INCLUDE (id)"),
        ("index", "CREATE INDEX ix_books_title ON authors (name)"),
        ("not null", "ALTER TABLE books ADD CONSTRAINT ck_books_note_not_null CHECK (note <> '')"),
    ],
)
def test_something_else_of_the_same_name_is_an_error(copy: str, library: Path, form: str, there: str) -> None:
    _plant(library, FORMS[form].safe)
    query(copy, there)
    before = catalogue(copy)
    with pytest.raises(SystemExit):
        migrate(copy, "upgrade", STEP, project=library)
    [(error,)] = query(copy, "SELECT error FROM tangga.migration_log WHERE outcome = 'failed'")
    assert "is there already, but as" in error
    assert "this step asks for" in error
    assert (catalogue(copy), revision(copy)) == (before, HEAD)


@pytest.mark.parametrize(
    ("form", "spoil"),
    [
        ("foreign key", "UPDATE books SET pages = 1000 WHERE pages = 1"),
        ("check", "UPDATE books SET pages = 0 WHERE pages = 1"),
        ("unique", "UPDATE books SET pages = 2, title = 'book 2' WHERE pages = 1"),
        ("not null", "UPDATE books SET note = NULL WHERE pages = 1"),
    ],
)
def test_rows_that_do_not_fit_fail_the_step_and_nothing_stays_behind(
    copy: str, library: Path, form: str, spoil: str
) -> None:
    _plant(library, FORMS[form].safe)
    query(copy, spoil)
    before = catalogue(copy)
    with pytest.raises(SystemExit):
        migrate(copy, "upgrade", STEP, project=library)
    assert (catalogue(copy), revision(copy)) == (before, HEAD)
    assert query(copy, "SELECT count(*) FROM pg_index WHERE NOT indisvalid") == [(0,)]


def test_filling_a_column_does_not_rewrite_the_table(copy: str, library: Path) -> None:
    _plant(library, FORMS["column"].safe)
    file = query(copy, "SELECT pg_relation_filenode('books')")
    migrate(copy, "upgrade", STEP, project=library)
    assert query(copy, "SELECT pg_relation_filenode('books')") == file


@pytest.mark.parametrize(
    "column",
    [
        'sa.Column("kota", sa.String(), nullable=False)',
        'sa.Column("kota", sa.Integer(), sa.ForeignKey("authors.id"))',
        'sa.Column("kota", sa.String(), unique=True)',
    ],
)
def test_a_column_that_would_fail_or_lock_is_refused(copy: str, library: Path, column: str) -> None:
    _plant(library, f'safe.add_column("books", {column})')
    before = catalogue(copy)
    with pytest.raises(SystemExit):
        migrate(copy, "upgrade", STEP, project=library)
    assert catalogue(copy) == before


def test_the_index_waits_for_older_transactions_longer_than_lock_timeout_and_names_them(
    copy: str, library: Path
) -> None:
    _plant(library, FORMS["index"].safe)
    with closing(connect(copy, "app")) as older, closing(connect(copy, "app")) as traffic:
        run(older, "BEGIN")
        run(older, "UPDATE books SET pages = pages WHERE pages = 1")
        [(pid,)] = run(older, "SELECT pg_backend_pid()")
        times = {"MIGRATE_LOCK_TIMEOUT": "1", "MIGRATE_STATEMENT_TIMEOUT": "2"}
        migrator = start_alembic(copy, "upgrade", STEP, project=library, environment=times)
        invalid = "SELECT 1 FROM pg_index WHERE NOT indisvalid"
        assert eventually(lambda: query(copy, invalid) != [])
        # The same statement goes on when both time-outs are over.
        waits = (
            "SELECT 1 FROM pg_stat_activity WHERE datname = %s AND query LIKE 'CREATE INDEX CONC%%' "
            "AND state = 'active' AND clock_timestamp() > query_start + interval '2.5 s'"
        )
        assert eventually(lambda: query(copy, waits, copy, role="superuser") != [])
        assert migrator.poll() is None
        # Meanwhile reads and writes go on.
        run(traffic, "SET statement_timeout = '300s'")
        run(traffic, "UPDATE books SET pages = pages WHERE pages = 2")
        run(older, "COMMIT")
    finished = finish(migrator)
    assert finished.returncode == 0, finished.stderr
    assert f"blocked by pid {pid} (tangga_app" in finished.stderr
    assert query(copy, invalid) == []


def test_past_the_limit_the_index_is_given_up_with_the_code_for_a_lock(copy: str, library: Path) -> None:
    _plant(library, FORMS["index"].safe)
    with closing(connect(copy, "app")) as older:
        run(older, "BEGIN")
        run(older, "UPDATE books SET pages = pages WHERE pages = 1")
        finished = alembic(copy, "upgrade", STEP, project=library, environment={"MIGRATE_LOCK_RETRY_FOR": "1.5"})
    assert finished.returncode == 10, finished.stderr
    assert "index ix_books_title on books was not finished; gave up after" in finished.stderr
    assert revision(copy) == HEAD


def test_an_invalid_index_of_somebody_else_is_named_after_an_upgrade(copy: str, library: Path) -> None:
    with pytest.raises(psycopg2.errors.UniqueViolation):
        query(copy, _INVALID.format("ix_left_over"))
    plant(library, STEP, "pass")
    finished = alembic(copy, "upgrade", STEP, project=library)
    assert finished.returncode == 0
    assert "index ix_left_over on books is INVALID" in finished.stderr
    assert "DROP INDEX CONCURRENTLY ix_left_over" in finished.stderr
    query(copy, "DROP INDEX ix_left_over")
    plant(library, "0000000000a2", "pass", after=STEP)
    assert "INVALID" not in alembic(copy, "upgrade", "head", project=library).stderr


# What stands in a schema of its own, and what is checked late; twice, as after a kill.
ELSEWHERE = """
safe.add_column("Lines", sa.Column("kind", sa.Text(), nullable=False), fill="''", schema="Shop")
safe.add_foreign_key("fk_lines", "Lines", "books", ["book_id"], ["id"], onupdate="CASCADE", deferrable=True,
                     initially="DEFERRED", schema="Shop")
safe.add_foreign_key("fk_self", "Lines", "Lines", ["book_id"], ["id"], schema="Shop", referent_schema="Shop")
safe.add_check("ck_lines", "Lines", "id > 0", schema="Shop")
safe.add_unique("uq_lines", "Lines", ["book_id"], deferrable=True, schema="Shop")
safe.create_index("Ix", "Lines", [sa.text("kind text_pattern_ops")], where="id > 1", schema="Shop")
safe.set_not_null("Lines", "book_id", schema="Shop")
"""
MADE = {
    "Ix": 'CREATE INDEX "Ix" ON "Shop"."Lines" USING btree (kind text_pattern_ops) WHERE (id > 1)',
    "ck_lines": "CHECK ((id > 0))",
    "fk_lines": "FOREIGN KEY (book_id) REFERENCES books(id) ON UPDATE CASCADE DEFERRABLE INITIALLY DEFERRED",
    "fk_self": 'FOREIGN KEY (book_id) REFERENCES "Shop"."Lines"(id)',
    "pk": "PRIMARY KEY (id)",
    "uq_lines": "UNIQUE (book_id) DEFERRABLE",
}


def test_the_forms_reach_a_schema_of_its_own_and_keep_what_is_there(copy: str, library: Path) -> None:
    query(
        copy,
        'CREATE SCHEMA "Shop"; CREATE TABLE "Shop"."Lines" (id integer CONSTRAINT pk PRIMARY KEY, book_id integer)',
    )
    query(copy, 'INSERT INTO "Shop"."Lines" VALUES (1, 1), (2, 2)')
    body = "\n    ".join([line for line in (ELSEWHERE * 2).splitlines() if line])
    file = plant(library, STEP, body, downgrade='safe.drop_index("Ix", schema="Shop")')
    file.write_text(
        file.read_text().replace("from alembic import op", "from alembic import op\nfrom tangga import safe")
    )
    migrate(copy, "upgrade", "head", project=library)
    of = """SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint
            WHERE conrelid = '"Shop"."Lines"'::regclass AND convalidated AND contype <> 'n'
            UNION ALL SELECT 'Ix', pg_get_indexdef(to_regclass('"Shop"."Ix"'))"""
    assert dict(query(copy, of)) == MADE
    required = """SELECT attname FROM pg_attribute WHERE attrelid = '"Shop"."Lines"'::regclass AND attnotnull
                  AND attnum > 0 ORDER BY attname"""
    assert query(copy, required) == [("book_id",), ("id",), ("kind",)]
    migrate(copy, "downgrade", HEAD, project=library)
    assert query(copy, """SELECT to_regclass('"Shop"."Ix"')""") == [(None,)]
