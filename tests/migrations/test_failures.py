"""Each way to fail: one line with the cause, one with the remedy, an exit code of its own, nothing half done."""

import os
import re
from contextlib import closing
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tangga.guard.lock import LOCK_KEY
from tests.databases import alembic_process, connect, query, run, scratch_database
from tests.support import in_process
from tests.support.library import HEAD, L1, L3, alembic, copy_library, migrate, plant
from tests.support.schema import catalogue, revision
from tests.support.steps import edit

STEP_FAILED = 3
LOCK_NOT_OBTAINED = 4
UNREACHABLE = 5
AHEAD = 6
SEVERAL_HEADS = 7
BEHIND = 8
DRIFT = 9
TABLE_LOCK_NOT_OBTAINED = 10
UNKNOWN_REVISION = 13
REVISION_FILES = 15

IMPATIENT = {"MIGRATE_LOCK_TIMEOUT": "0.3", "MIGRATE_LOCK_RETRY_FOR": "0.5"}


def _assert_reported(finished: CompletedProcess[str], code: int, what: str, remedy: str = "") -> None:
    output = finished.stdout + finished.stderr
    assert finished.returncode == code, output
    lines = finished.stderr.splitlines()
    assert [line for line in lines if not line.startswith("migrate: ")] == lines[-2:], output
    assert lines[-2].startswith("error: ")
    assert lines[-1].startswith("   do: ")
    assert what in lines[-2]
    assert remedy in lines[-1]
    assert "Traceback" not in output
    for name in ("DB_OWNER_PASS", "DB_PASS", "POSTGRES_PASSWORD"):
        assert os.environ[name] not in output


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
        _assert_reported(finished, STEP_FAILED, what, "rolled back")
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
            "op.execute('CREATE EXTENSION nosuch')",
            'extension "nosuch" is not available',
            "install it on the database's server",
        ),
        (
            "op.execute('CREATE ROLE grafana')",
            "permission denied to create role DETAIL: Only",
            "roles are the server's",
        ),
        ("op.execute('GRANT SELECT ON books TO grafana')", 'role "grafana" does not exist', "roles are the server's"),
        ("op.drop_table('authors')", "books depends on table authors; constraint fk_loans_author_id", "mend"),
        ("op.drop_table('authors')", "HINT: Use DROP ... CASCADE to drop the dependent objects too.", "mend the step"),
    ],
)
def test_what_the_server_adds_is_shown(shelved: str, library: Path, body: str, said: str, remedy: str) -> None:
    plant(library, "0000000000a1", body)
    finished = alembic(shelved, "upgrade", "head", project=library)
    _assert_reported(finished, STEP_FAILED, said, remedy)
    assert len(finished.stderr.splitlines()[-2]) < 1000


def test_an_extension_of_the_superuser_is_not_the_steps_to_drop(shelved: str, library: Path) -> None:
    plant(
        library, "0000000000a1", "op.execute('CREATE EXTENSION IF NOT EXISTS pg_stat_statements')",
        downgrade="op.execute('DROP EXTENSION pg_stat_statements')",
    )  # fmt: skip
    with scratch_database(shelved) as database:
        query(database, "CREATE EXTENSION pg_stat_statements", role="superuser")
        migrate(database, "upgrade", "head", project=library)
        finished = alembic(database, "downgrade", "-1", project=library)
        _assert_reported(finished, STEP_FAILED, "must be owner of extension pg_stat_statements", "take its DROP")


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
        _assert_reported(finished, STEP_FAILED, said)
        [(noted,)] = query(database, "SELECT error FROM migration_log WHERE outcome = 'failed'")
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
        _assert_reported(finished, STEP_FAILED, "failed in downgrade at")
        assert (revision(database), catalogue(database)) == ("0000000000a1", before)


def test_a_traceback_is_shown_if_it_is_asked_for(shelved: str, library: Path) -> None:
    plant(library, "0000000000a1", "raise RuntimeError('no such luck')")
    finished = alembic(shelved, "upgrade", "head", project=library, environment={"MIGRATE_TRACEBACK": "true"})
    assert finished.returncode == STEP_FAILED
    assert "Traceback (most recent call last)" in finished.stderr
    assert "planted_0000000000a1.py" in finished.stderr
    assert [line[:7] for line in finished.stderr.splitlines()[-2:]] == ["error: ", "   do: "]


def test_two_heads_are_named(shelved: str, library: Path) -> None:
    plant(library, "0000000000a1", "pass")
    plant(library, "0000000000a2", "pass")
    finished = alembic(shelved, "upgrade", "head", project=library)
    _assert_reported(finished, SEVERAL_HEADS, "0000000000a1, 0000000000a2", "alembic merge heads")
    assert revision(shelved) == HEAD


def test_two_heads_can_be_merged(shelved: str, library: Path) -> None:
    plant(library, "0000000000a1", "pass")
    plant(library, "0000000000a2", "pass")
    migrate(shelved, "merge", "heads", "-m", "both", project=library)
    with scratch_database(shelved) as database:
        migrate(database, "upgrade", "head", project=library)


@pytest.mark.parametrize("command", ["upgrade", "downgrade"])
def test_a_revision_that_only_the_database_has_means_an_old_image(shelved: str, command: str) -> None:
    with scratch_database(shelved) as database:
        query(database, "UPDATE alembic_version SET version_num = 'ffffffffffff'")
        finished = alembic(database, command, "head" if command == "upgrade" else "-1")
        _assert_reported(finished, AHEAD, "ffffffffffff: the database is at it", "deploy the image")
        assert revision(database) == "ffffffffffff"


def test_an_old_image_says_what_it_lacks_and_from_which_image_to_go_down(shelved: str, library: Path) -> None:
    plant(library, "0000000000a1", "pass")
    plant(library, "0000000000a2", "pass", after="0000000000a1")
    with scratch_database(shelved) as database:
        up = alembic(database, "upgrade", "head", project=library, environment={"MIGRATE_VERSION": "1.4"})
        assert up.returncode == 0, up.stderr
        finished = alembic(database, "upgrade", "head", environment={"MIGRATE_VERSION": "1.3"})
        _assert_reported(
            finished, AHEAD, f"its head is {HEAD}, it lacks 0000000000a2 (applied 2", "deploy image 1.4, or "
        )
        assert re.search(r", 0000000000a1 \(applied [\d-]+ [\d:]+ UTC by image 1\.4\)\n", finished.stderr)
        remedy = f"first go down from there: there: alembic downgrade {HEAD}\n"
        assert finished.stderr.endswith(remedy)
        # What was taken back is not lacking.
        migrate(database, "downgrade", "-1", project=library)
        finished = alembic(database, "downgrade", "-1", environment={"MIGRATE_VERSION": "1.3"})
        _assert_reported(finished, AHEAD, "it lacks 0000000000a1 (applied")
        assert "0000000000a2" not in finished.stderr
        # The remedy works: from that image down, then this image goes on.
        migrate(database, "downgrade", HEAD, project=library)
        assert alembic(database, "upgrade", "head").returncode == 0


def _without_version(database: str, way: str) -> None:
    query(database, "DROP TABLE alembic_version" if way == "no table" else "DELETE FROM alembic_version")


@pytest.mark.parametrize("way", ["no table", "no row"])
def test_tables_without_a_revision_are_left_alone(shelved: str, way: str) -> None:
    with scratch_database(shelved) as database:
        _without_version(database, way)
        others = "SELECT * FROM information_schema.columns WHERE table_name <> 'alembic_version' ORDER BY 1, 2, 3, 4"
        before = query(database, others)
        finished = alembic(database, "upgrade", "head")
        _assert_reported(
            finished,
            DRIFT,
            "the database holds tables (authors, books, loans) but no revision",
            "alembic stamp",
        )
        assert "Running upgrade" not in finished.stderr
        assert (revision(database), query(database, others)) == (None, before)
        # The remedy works.
        migrate(database, "stamp", HEAD)
        assert alembic(database, "upgrade", "head").returncode == 0
        assert alembic(database, "check").returncode == 0


def test_without_the_check_the_first_step_fails_on_tables_that_are_there(shelved: str, library: Path) -> None:
    """The harm: an error of PostgreSQL's, or worse, steps that run over what somebody else made."""
    library = copy_library(library, with_tangga=True)
    edit(library / "tangga/guard/steps.py", "            require_version(heads, ctx)\n", "")
    with scratch_database(shelved) as database:
        _without_version(database, "no row")
        finished = alembic_process(database, "upgrade", "head", project=library)
        _assert_reported(finished, STEP_FAILED, 'relation "authors" already exists')


def test_the_migrators_own_tables_are_no_reason_to_refuse(database: str) -> None:
    migrate(database, "upgrade", HEAD)
    migrate(database, "downgrade", "base")
    assert query(database, "SELECT count(*) > 0 FROM migration_log") == [(True,)]
    migrate(database, "upgrade", HEAD)


@pytest.mark.parametrize(
    ("code", "command", "state"),
    [
        (0, "upgrade head", ""),
        (BEHIND, "current --check-heads", "downgrade"),
        (BEHIND, "check", "downgrade"),
        (BEHIND, "revision --autogenerate -m x", "downgrade"),
        (BEHIND, "revision -m x", "downgrade"),
        (AHEAD, "upgrade head", "unknown"),
        (AHEAD, "downgrade -1", "unknown"),
        (AHEAD, "current", "unknown"),
        (AHEAD, "revision -m x", "unknown"),
        (DRIFT, "check", "drift"),
        (DRIFT, "upgrade head", "no version"),
        (SEVERAL_HEADS, "upgrade head", "two heads"),
        (SEVERAL_HEADS, "reparent", "two heads"),
        (UNKNOWN_REVISION, "upgrade ffffffffffff", ""),
        (UNKNOWN_REVISION, "reparent ffffffffffff", "two heads"),
        (2, "log --page 0", ""),
        (2, "nonsense", ""),
        (255, "log --page 9", ""),
        (255, f"downgrade {L1}:base", ""),
    ],
)
def test_each_state_has_its_exit_code(shelved: str, library: Path, code: int, command: str, state: str) -> None:
    with scratch_database(shelved) as database:
        if state == "downgrade":
            migrate(database, "downgrade", "-1")
        elif state == "unknown":
            query(database, "UPDATE alembic_version SET version_num = 'ffffffffffff'")
        elif state == "drift":
            query(database, "ALTER TABLE books DROP COLUMN note")
        elif state == "no version":
            _without_version(database, "no row")
        elif state == "two heads":
            plant(library, "0000000000a1", "pass")
            plant(library, "0000000000b1", "pass")
        finished = alembic(database, *command.split(), project=library)
        assert finished.returncode == code, finished.stdout + finished.stderr
        assert "Traceback" not in finished.stderr


@pytest.mark.parametrize("command", ["upgrade", "downgrade", "stamp"])
def test_a_revision_that_nobody_has_is_unknown(shelved: str, command: str) -> None:
    finished = alembic(shelved, command, "ffffffffffff")
    _assert_reported(finished, UNKNOWN_REVISION, "can't locate revision ffffffffffff")
    assert revision(shelved) == HEAD


def test_a_step_after_a_missing_one_is_named(shelved: str, library: Path) -> None:
    plant(library, "0000000000a1", "pass", after="ffffffffffff")
    finished = alembic(shelved, "upgrade", "head", project=library)
    file = "migrations/versions/planted_0000000000a1.py"
    _assert_reported(finished, UNKNOWN_REVISION, f"ffffffffffff, which {file} names", "bring the file")


def test_a_file_that_is_no_python_is_named(shelved: str, library: Path) -> None:
    plant(library, "0000000000a1", "pass pass")
    finished = alembic(shelved, "upgrade", "head", project=library)
    _assert_reported(finished, REVISION_FILES, "invalid syntax (planted_0000000000a1.py:10)", "nothing was run")


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
    _assert_reported(finished, UNREACHABLE, what)
    assert "wrong-9" not in finished.stderr


@pytest.mark.parametrize(("name", "value"), [("DB_PASS", "change-me"), ("DB_PORT", "many"), ("DB_NAME", "")])
def test_a_wrong_setting_ends_it_before_anything_is_tried(name: str, value: str) -> None:
    finished = in_process.alembic("unused", "upgrade", "head", environment={name: value})
    _assert_reported(finished, 2, f"error: {name}: ", ".env")


def test_a_lock_that_is_not_obtained_in_time_names_its_holder(database: str) -> None:
    with closing(connect(database)) as other:
        run(other, "SELECT pg_advisory_lock(%s)", LOCK_KEY)
        [(pid,)] = run(other, "SELECT pg_backend_pid()")
        finished = alembic(database, "upgrade", "head", environment={"MIGRATE_LOCK_WAIT": "1"})
        _assert_reported(finished, LOCK_NOT_OBTAINED, f"held by pid {pid} from ", "MIGRATE_LOCK_WAIT")
        assert "migrate: waiting for the migration lock" in finished.stderr
        # Who only looks does not wait.
        assert alembic(database, "current", environment={"MIGRATE_LOCK_WAIT": "0"}).returncode == 0
    assert revision(database) is None


def test_a_table_that_is_in_use_makes_the_step_give_up(shelved: str) -> None:
    with scratch_database(shelved) as database, closing(connect(database, "app")) as reader:
        run(reader, "BEGIN")
        run(reader, "SELECT * FROM books")
        finished = alembic(database, "downgrade", "-1", environment=IMPATIENT)
        _assert_reported(finished, TABLE_LOCK_NOT_OBTAINED, HEAD)
        assert revision(database) == HEAD
        run(reader, "ROLLBACK")
        assert alembic(database, "downgrade", "-1", environment=IMPATIENT).returncode == 0
        assert revision(database) == L3


def test_a_statement_that_takes_too_long_makes_the_step_give_up(shelved: str, library: Path) -> None:
    plant(library, "0000000000a1", "op.execute('SELECT pg_sleep(30)')")
    finished = alembic(shelved, "upgrade", "head", project=library, environment={"MIGRATE_STATEMENT_TIMEOUT": "0.3"})
    _assert_reported(finished, STEP_FAILED, "canceling statement due to statement timeout")


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
        _assert_reported(finished, TABLE_LOCK_NOT_OBTAINED, "books.ck_pages")


def test_a_constraint_that_old_rows_violate_is_named(shelved: str, library: Path) -> None:
    plant(library, "0000000000a1", NOT_VALID)
    with scratch_database(shelved) as database:
        query(database, "INSERT INTO authors (name, secret) VALUES ('ani', '!')")
        query(database, "INSERT INTO books (title, pages, author_id) VALUES ('Ani', 1, 1)")
        finished = alembic(database, "upgrade", "head", project=library)
        _assert_reported(finished, STEP_FAILED, "books.ck_pages", "again")
        assert revision(database) == "0000000000a1"
        query(database, "UPDATE books SET pages = 18")
        migrate(database, "upgrade", "head", project=library)
        assert query(database, "SELECT convalidated FROM pg_constraint WHERE conname = 'ck_pages'") == [(True,)]


def test_a_container_that_cannot_write_files_says_which_can(shelved: str, library: Path) -> None:
    (library / "migrations/versions").chmod(0o555)
    finished = alembic(shelved, "revision", "-m", "anything", project=library)
    _assert_reported(finished, 255, "cannot write to migrations/versions here", "")
    assert "make the folder writable" in finished.stderr
