"""Each way to fail: one line with the cause, one with the remedy, an exit code of its own, nothing half done."""

import re
from contextlib import closing
from pathlib import Path

import pytest

from tangga.exits import (
    LOCK_NOT_OBTAINED,
    STEP_FAILED,
    TABLE_LOCK_NOT_OBTAINED,
    UNREACHABLE,
)
from tangga.guard.lock import LOCK_KEY
from tests.databases import PROJECT, connect, query, run, scratch_database
from tests.support import in_process
from tests.support.library import HEAD, L3, alembic, migrate, plant
from tests.support.reported import assert_reported
from tests.support.schema import catalogue, revision

IMPATIENT = {"MIGRATE_LOCK_TIMEOUT": "0.3", "MIGRATE_LOCK_RETRY_FOR": "0.5"}


@pytest.mark.parametrize(
    ("body", "what"),
    [
        ("raise RuntimeError('no such luck')", "RuntimeError: no such luck"),
        ("op.execute('SELEC 1')", 'syntax error at or near "SELEC"'),
        ("op.execute('INSERT INTO books (title) VALUES (NULL)')", "violates not-null constraint DETAIL:"),
        ("op.drop_column('books', 'nothing')", 'column "nothing" of relation "books" does not exist'),
        ("op.add_column('books', nonsense)", "NameError: name 'nonsense' is not defined"),
    ],
)
def test_a_step_that_fails_is_rolled_back_whole(shelved: str, library: Path, body: str, what: str) -> None:
    plant(library, "0000000000a1", "op.create_table('first', sa.Column('id', sa.Integer()))")
    plant(
        library,
        "0000000000a2",
        f"op.create_table('second', sa.Column('id', sa.Integer())); {body}",
        after="0000000000a1",
    )
    with scratch_database(shelved) as database:
        finished = alembic(database, "upgrade", "head", project=library)
        assert_reported(finished, STEP_FAILED, what, "rolled back")
        assert "step 0000000000a2 (planted 0000000000a2) failed in upgrade at" in finished.stderr
        # The step before it stands, and nothing of this one is left.
        assert revision(database) == "0000000000a1"
        tables = {row[0] for row in catalogue(database)["relations"]}
        assert "first" in tables
        assert "second" not in tables


@pytest.mark.parametrize(
    ("body", "said", "remedy"),
    [
        (
            "op.execute('CREATE EXTENSION pg_stat_statements')",
            'create extension "pg_stat_statements" HINT: Must be superuser to create this extension.',
            "let a superuser make it before the migration",
        ),
        (
            "op.execute('CREATE EXTENSION IF NOT EXISTS file_fdw')",
            'create extension "file_fdw" HINT: Must be superuser to create this extension.',
            "let a superuser make it before the migration",
        ),
        (
            "op.execute('CREATE SCHEMA tools; CREATE EXTENSION pageinspect SCHEMA tools')",
            'create extension "pageinspect" HINT: Must be superuser to create this extension.',
            "let a superuser make it before the migration",
        ),
        (
            "op.execute('CREATE EXTENSION nosuch')",
            'extension "nosuch" is not available',
            "install it on the database's server",
        ),
        (
            "op.execute('CREATE ROLE grafana')",
            "permission denied to create role DETAIL: Only",
            "roles are the server's",
        ),
        ("op.execute('CREATE USER reader')", "permission denied to create role DETAIL: Only", "roles are the server's"),
        ("op.execute('ALTER ROLE tangga_app CREATEDB')", "permission denied to alter role", "roles are the server's"),
        ("op.execute('DROP ROLE tangga_app')", "permission denied to drop role", "roles are the server's"),
        ("op.execute('GRANT SELECT ON books TO grafana')", 'role "grafana" does not exist', "roles are the server's"),
        ("op.drop_table('authors')", "books depends on table authors; constraint fk_loans_author_id", "mend"),
        ("op.drop_table('authors')", "HINT: Use DROP ... CASCADE to drop the dependent objects too.", "mend the step"),
    ],
)
def test_what_the_server_adds_is_shown(shelved: str, library: Path, body: str, said: str, remedy: str) -> None:
    plant(library, "0000000000a1", body)
    finished = alembic(shelved, "upgrade", "head", project=library)
    assert_reported(finished, STEP_FAILED, said, remedy)
    assert len(finished.stderr.splitlines()[-2]) < 1000


@pytest.mark.parametrize(("role", "code"), [("pg_monitor", 0), ("reader", STEP_FAILED)])
def test_a_role_is_made_only_where_it_is_missing(shelved: str, library: Path, role: str, code: int) -> None:
    """The block of docs/authors.md: nothing is asked of the owner where somebody else has made the role."""
    [block] = re.findall(r"^  (DO \$\$ BEGIN\n.*?END \$\$)$", (PROJECT / "docs/authors.md").read_text(), re.M | re.S)
    plant(library, "0000000000a1", f"op.execute({block.replace('reader', role)!r})")
    with scratch_database(shelved) as database:
        finished = alembic(database, "upgrade", "head", project=library)
        assert finished.returncode == code, finished.stderr
        assert code == 0 or "permission denied to create role" in finished.stderr


@pytest.mark.parametrize("extension", ["pg_stat_statements", "file_fdw", "pageinspect"])
def test_an_extension_of_the_superuser_is_not_the_steps_to_drop(shelved: str, library: Path, extension: str) -> None:
    """Nor has the scratch server what a superuser made by hand, and it is said that it failed there."""
    plant(
        library, "0000000000a1", f"op.execute('CREATE EXTENSION IF NOT EXISTS {extension}')",
        downgrade=f"op.execute('DROP EXTENSION {extension}')",
    )  # fmt: skip
    with scratch_database(shelved) as database:
        query(database, f"CREATE EXTENSION {extension}", role="superuser")
        migrate(database, "upgrade", "head", project=library)
        finished = alembic(database, "downgrade", "-1", project=library)
        assert_reported(finished, STEP_FAILED, f"must be owner of extension {extension}", "take its DROP")
        assert "it was rolled back" in finished.stderr
        for command in ("drift", "graph"):
            finished = alembic(database, command, project=library)
            remedy = "before the migration, then run it again; it was tried out on the scratch server"
            assert_reported(finished, STEP_FAILED, f'permission denied to create extension "{extension}"', remedy)
            assert "rolled back" not in finished.stderr


@pytest.mark.parametrize(
    ("constraint", "said"),
    [
        ("op.create_unique_constraint('uq_title', 'books', ['title'])", "DETAIL: Key (title)=(…)"),
        ("op.create_check_constraint('ck_pages', 'books', 'pages > 99')", 'check constraint "ck_books_ck_pages"'),
        ("op.execute(\"INSERT INTO authors (name, secret) VALUES ('ani', NULL)\")", "Failing row contains (…)."),
        ("op.execute(\"INSERT INTO authors (name, secret) VALUES ('hidden@x.org', 'x')\")", "Key (name)=(…)"),
        ("op.execute('UPDATE books SET author_id = 4711')", "DETAIL: Key (author_id)=(…)"),
    ],
    ids=["unique", "check", "not null", "key", "foreign key"],
)
def test_values_of_rows_are_not_shown(shelved: str, library: Path, constraint: str, said: str) -> None:
    """The line goes into logs and into migration_log; a row of users may hold the hash of a password."""
    plant(library, "0000000000a1", constraint)
    with scratch_database(shelved) as database:
        query(database, "INSERT INTO authors (name, secret) VALUES ('hidden@x.org', 'hash-9')")
        books = "SELECT 'hidden', 1, id FROM authors, generate_series(1, 2)"
        query(database, f"INSERT INTO books (title, pages, author_id) {books}")
        finished = alembic(database, "upgrade", "head", project=library)
        assert_reported(finished, STEP_FAILED, said)
        [(noted,)] = query(database, "SELECT error FROM tangga.migration_log WHERE outcome = 'failed'")
        for text in (finished.stderr.splitlines()[-2], noted):
            for value in ("hidden", "hash-9", "4711", "@x.org"):
                assert value not in text


def test_a_failed_downgrade_is_rolled_back_whole(shelved: str, library: Path) -> None:
    plant(library, "0000000000a1", "pass", downgrade="op.drop_table('loans'); raise RuntimeError('no such luck')")
    with scratch_database(shelved) as database:
        migrate(database, "stamp", HEAD)
        migrate(database, "upgrade", "head", project=library)
        before = catalogue(database)
        finished = alembic(database, "downgrade", "-1", project=library)
        assert_reported(finished, STEP_FAILED, "failed in downgrade at")
        assert (revision(database), catalogue(database)) == ("0000000000a1", before)


def test_a_traceback_is_shown_if_it_is_asked_for(shelved: str, library: Path) -> None:
    plant(library, "0000000000a1", "raise RuntimeError('no such luck')")
    finished = alembic(shelved, "upgrade", "head", project=library, environment={"MIGRATE_TRACEBACK": "true"})
    assert finished.returncode == STEP_FAILED
    assert "Traceback (most recent call last)" in finished.stderr
    assert "planted_0000000000a1.py" in finished.stderr
    assert [line[:7] for line in finished.stderr.splitlines()[-2:]] == ["error: ", "   do: "]


@pytest.mark.parametrize(
    ("environment", "what"),
    [
        ({"DB_PASS": "wrong-9"}, "password authentication failed"),
        ({"DB_USERNAME": "nobody"}, "refuses nobody"),
        ({"DB_PORT": "1"}, "no database at"),
        ({"DB_HOSTNAME": "host.invalid"}, "no database at host.invalid"),
        ({"DB_NAME": "nowhere"}, 'database "nowhere" does not exist'),
    ],
    ids=str,
)
def test_a_database_that_cannot_be_used_is_named(environment: dict[str, str], what: str) -> None:
    finished = in_process.alembic("unused", "upgrade", "head", environment=environment)
    assert_reported(finished, UNREACHABLE, what)
    assert "wrong-9" not in finished.stderr


@pytest.mark.parametrize(("name", "value"), [("DB_PASS", "change-me"), ("DB_PORT", "many"), ("DB_NAME", "")])
def test_a_wrong_setting_ends_it_before_anything_is_tried(name: str, value: str) -> None:
    finished = in_process.alembic("unused", "upgrade", "head", environment={name: value})
    assert_reported(finished, 2, f"error: {name}: ", ".env")


def test_a_lock_that_is_not_obtained_in_time_names_its_holder(database: str) -> None:
    with closing(connect(database)) as other:
        run(other, "SELECT pg_advisory_lock(%s)", LOCK_KEY)
        [(pid,)] = run(other, "SELECT pg_backend_pid()")
        finished = alembic(database, "upgrade", "head", environment={"MIGRATE_LOCK_WAIT": "1"})
        assert_reported(finished, LOCK_NOT_OBTAINED, f"held by pid {pid} from ", "MIGRATE_LOCK_WAIT")
        assert "migrate: waiting for the migration lock" in finished.stderr
        # Who only looks does not wait.
        assert alembic(database, "current", environment={"MIGRATE_LOCK_WAIT": "0"}).returncode == 0
    assert revision(database) is None


def test_a_table_that_is_in_use_makes_the_step_give_up(shelved: str) -> None:
    with scratch_database(shelved) as database, closing(connect(database, "app")) as reader:
        run(reader, "BEGIN")
        run(reader, "SELECT * FROM books")
        finished = alembic(database, "downgrade", "-1", environment=IMPATIENT)
        assert_reported(finished, TABLE_LOCK_NOT_OBTAINED, HEAD)
        assert revision(database) == HEAD
        run(reader, "ROLLBACK")
        assert alembic(database, "downgrade", "-1", environment=IMPATIENT).returncode == 0
        assert revision(database) == L3


def test_a_statement_that_takes_too_long_makes_the_step_give_up(shelved: str, library: Path) -> None:
    plant(library, "0000000000a1", "op.execute('SELECT pg_sleep(30)')")
    finished = alembic(shelved, "upgrade", "head", project=library, environment={"MIGRATE_STATEMENT_TIMEOUT": "0.3"})
    assert_reported(finished, STEP_FAILED, "canceling statement due to statement timeout")


NOT_VALID = """op.create_check_constraint(op.f('ck_pages'), 'books', 'pages > 17', postgresql_not_valid=True)
validate_after_commit = ('books.ck_pages',)"""


def test_a_validation_that_cannot_get_its_lock_is_no_unreachable_database(shelved: str, library: Path) -> None:
    plant(library, "0000000000a1", NOT_VALID)
    with scratch_database(shelved) as database, closing(connect(database)) as other:
        migrate(database, "upgrade", "head", project=library)
        query(database, "UPDATE pg_constraint SET convalidated = false WHERE conname = 'ck_pages'", role="superuser")
        run(other, "BEGIN")
        run(other, "LOCK TABLE books IN SHARE UPDATE EXCLUSIVE MODE")
        finished = alembic(database, "upgrade", "head", project=library, environment=IMPATIENT)
        assert_reported(finished, TABLE_LOCK_NOT_OBTAINED, "books.ck_pages")


def test_a_constraint_that_old_rows_violate_is_named(shelved: str, library: Path) -> None:
    plant(library, "0000000000a1", NOT_VALID)
    with scratch_database(shelved) as database:
        query(database, "INSERT INTO authors (name, secret) VALUES ('ani', '!')")
        query(database, "INSERT INTO books (title, pages, author_id) VALUES ('Ani', 1, 1)")
        finished = alembic(database, "upgrade", "head", project=library)
        assert_reported(finished, STEP_FAILED, "books.ck_pages", "again")
        assert revision(database) == "0000000000a1"
        query(database, "UPDATE books SET pages = 18")
        migrate(database, "upgrade", "head", project=library)
        assert query(database, "SELECT convalidated FROM pg_constraint WHERE conname = 'ck_pages'") == [(True,)]


def test_a_container_that_cannot_write_files_says_which_can(shelved: str, library: Path) -> None:
    (library / "migrations/versions").chmod(0o555)
    finished = alembic(shelved, "revision", "-m", "anything", project=library)
    assert_reported(finished, 255, "cannot write to migrations/versions here", "")
    assert "make the folder writable" in finished.stderr
