"""`alembic drift` sees every change by hand that is tried here; stock `alembic check` is run on the same ones."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import psycopg2
import pytest

from tangga.drift.comparison import NO_MODELS, Comparison, compare
from tangga.exits import AHEAD, DRIFT, SCRATCH_FAILED, UNKNOWN_REVISION, UNPROVEN, Stop
from tests.databases import connect, owner_environment, query, run, scratch_database
from tests.migrations.proving import project_of
from tests.support import in_process
from tests.support.drifts import DRIFTS, MODELS, STEP, TOGETHER
from tests.support.library import FOLDER, L3, alembic, copy_library, migrate, plant
from tests.support.steps import edit


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library with one step more."""
    library = copy_library(tmp_path_factory.mktemp("planted") / "library")
    plant(library, "drift0000001", f'op.execute("""{STEP}""")')
    return library


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


def _compare(library: Path, database: str) -> Comparison:
    with mock.patch.dict(os.environ, owner_environment(database)):
        return compare(project_of(library, database))


def test_an_untouched_database_has_no_drift(planted: Path, migrated: str) -> None:
    compared, found, *_ = _compare(planted, migrated)
    # The models are the library's, without what was planted.
    assert [line for line in found if not line.startswith("models: ")] == []
    assert compared > 30


@pytest.mark.parametrize("names", TOGETHER, ids=", ".join)
def test_drift_by_hand_is_found(planted: Path, migrated: str, names: list[str]) -> None:
    """Each is said in its lines, and nothing else is said."""
    with _drifted(migrated, *(DRIFTS[name][0] for name in names)) as database:
        _, found, *_ = _compare(planted, database)
    lines = [line for name in names for line in DRIFTS[name][1]]
    assert sorted(line for line in found if not line.startswith("models: ")) == sorted(lines)


# In one process of the plain Alembic, so that models and package are those of its folder.
_STOCK = """
import os, sys
from alembic.config import main
address = os.environ["DATABASE_URL"]
for database in sys.argv[1:]:
    os.environ["DATABASE_URL"] = address.replace("unused", database)
    try:
        main(["check"])
        print("verdict", database, "clean")
    except SystemExit:
        print("verdict", database, "drift")
"""


def _stock(library: Path, databases: list[str]) -> list[bool]:
    """Return, for each database, whether plain `alembic check` sees drift."""
    done = subprocess.run(
        [sys.executable, "-c", _STOCK, *databases],
        cwd=library, check=True, capture_output=True, text=True, env=_environment(library),
    )  # fmt: skip
    said = [line.split() for line in done.stdout.splitlines() if line.startswith("verdict ")]
    assert [name for _, name, _ in said] == databases, done.stdout + done.stderr
    return [verdict == "drift" for _, _, verdict in said]


def _environment(library: Path) -> dict[str, str]:
    return os.environ | owner_environment("unused") | {"PYTHONPATH": str(library)}


def test_stock_alembic_check_misses_most_of_them(migrated: str, tmp_path: Path) -> None:
    """With models that say what the planted step does."""
    library = copy_library(tmp_path / "library", with_tangga=True)
    plant(library, "drift0000001", f'op.execute("""{STEP}""")')
    edit(library / "library_models.py", "    Boolean,\n", "    Boolean,\n    CheckConstraint,\n    text,\n")
    with (library / "library_models.py").open("a") as models:
        models.write(MODELS)
    # As `alembic init` leaves it: neither defaults nor CHECKs are compared.
    compared = library / "tangga/compared.py"
    edit(compared, '"compare_server_default": True,', '"compare_server_default": False,')
    edit(compared, 'plugins.append("alembic.ext.checkconstraint_byname")', "pass")
    with contextlib.ExitStack() as stack:
        databases = [stack.enter_context(_drifted(migrated, by_hand)) for by_hand, _, _ in DRIFTS.values()]
        assert _stock(library, [migrated]) == [False]
        seen = dict(zip(DRIFTS, _stock(library, databases), strict=True))
    assert seen == {name: expected for name, (_, _, expected) in DRIFTS.items()}


def test_the_command_says_it_in_lines_and_in_json(at_head: str) -> None:
    clean = in_process.alembic(at_head, "drift")
    assert clean.returncode == 0, clean.stderr
    assert clean.stdout.startswith("no drift: ")
    with _drifted(at_head, "ALTER TABLE posts ADD COLUMN extra integer; DROP TABLE votes") as database:
        found = in_process.alembic(database, "drift")
        assert (found.returncode, found.stdout.splitlines()) == (
            DRIFT,
            ["column posts.extra: extra (integer)", "table votes: missing"],
        )  # fmt: skip
        assert found.stderr.startswith("error: drift: 2 differences between files and database\n   do: ")
        as_json = in_process.alembic(database, "drift", "--json")
        assert (as_json.returncode, json.loads(as_json.stdout)["drift"]) == (DRIFT, found.stdout.splitlines())


def test_a_database_behind_its_files_is_compared_where_it_is(database: str) -> None:
    migrate(database, "upgrade", L3)
    _, found, notes, unproven = _compare(FOLDER, database)
    behind = "the database is not at head, so the models were not compared"
    assert (found, notes, unproven) == ([], [], [behind])
    said = alembic(database, "drift")
    assert (said.returncode, said.stdout.splitlines()[0]) == (UNPROVEN, f"not compared: {behind}")
    assert said.stdout.splitlines()[1].startswith("no drift between steps and database: ")
    assert said.stderr.startswith(
        "error: drift: no difference in what was compared, but 1 thing could not be compared\n"
    )
    query(database, "ALTER TABLE books DROP COLUMN title")
    _, found, *_ = _compare(FOLDER, database)
    assert found == ["column books.title: missing (character varying NOT NULL)"]


def test_a_schema_that_no_model_names_is_said(library: Path, database: str) -> None:
    step = "op.execute('CREATE SCHEMA store; CREATE TABLE store.thing (id int)')"
    plant(library, "store0000001", step, downgrade="op.execute('DROP SCHEMA store CASCADE')")
    migrate(database, "upgrade", "head", project=library)
    said = alembic(database, "drift", project=library)
    note = "note: no model names the schema store, so its tables were not compared with models"
    assert (said.returncode, said.stdout.splitlines()[0]) == (0, note)
    assert said.stdout.splitlines()[1].startswith("no drift between steps and database: ")
    # With the steps, they were.
    query(database, "ALTER TABLE store.thing ADD COLUMN extra int")
    assert _compare(library, database).differences == ["column store.thing.extra: extra (integer)"]


def test_without_models_the_steps_are_compared(library: Path, database: str) -> None:
    edit(library / "pyproject.toml", 'metadata = "library_models:metadata"', "")
    migrate(database, "upgrade", "head", project=library)
    said = alembic(database, "drift", project=library)
    assert (said.returncode, said.stdout.splitlines()[0]) == (0, f"note: {NO_MODELS}")
    assert said.stdout.splitlines()[1].startswith("no drift between steps and database: ")


def test_a_database_ahead_of_its_files_is_told_so(library: Path, database: str) -> None:
    plant(library, "ahead0000001", "pass")
    migrate(database, "upgrade", "head", project=library)
    refused = alembic(database, "drift")
    assert (refused.returncode, refused.stdout) == (AHEAD, "")
    assert "the database is at ahead0000001, which is not among the files here" in refused.stderr


def test_tables_without_a_version_are_told_how_to_go_on(database: str) -> None:
    query(database, "CREATE TABLE books (id integer)")
    refused = alembic(database, "drift")
    assert refused.returncode == DRIFT
    assert "the database has tables (books), but no version" in refused.stderr
    assert "alembic stamp" in refused.stderr


def test_a_file_changed_after_it_was_applied_is_found_and_can_be_accepted(library: Path, database: str) -> None:
    file = plant(library, "change000001", "pass")
    migrate(database, "upgrade", "head", project=library)
    assert _compare(library, database)[1] == []
    file.write_text(f"{file.read_text()}# changed\n")
    assert _compare(library, database)[1] == [
        f"file of change000001 (planted change000001): changed after it ran: migrations/versions/{file.name}"
    ]
    accepted = alembic(database, "drift", "--accept", "change000001", project=library)
    assert (accepted.returncode, accepted.stdout) == (0, "accepted: change000001 as its file is now\n")
    assert _compare(library, database)[1] == []
    # Only as it is now.
    file.write_text(f"{file.read_text()}# again\n")
    assert len(_compare(library, database)[1]) == 1
    refused = alembic(database, "drift", "--accept", "nosuch", project=library)
    assert refused.returncode == UNKNOWN_REVISION


def test_a_step_that_was_taken_back_may_be_changed(library: Path, database: str) -> None:
    file = plant(library, "change000002", "pass")
    migrate(database, "upgrade", "head", project=library)
    migrate(database, "downgrade", "-1", project=library)
    file.write_text(f"{file.read_text()}# changed\n")
    assert _compare(library, database)[1] == []


def test_models_that_differ_from_the_steps_are_drift(library: Path, database: str) -> None:
    plant(library, "model0000001", 'op.add_column("books", sa.Column("extra", sa.Integer()))')
    plant(
        library,
        "model0000002",
        'op.drop_table("loans"); op.alter_column("books", "pages", type_=sa.BigInteger())',
        after="model0000001",
    )
    migrate(database, "upgrade", "head", project=library)
    assert sorted(_compare(library, database)[1]) == [
        "models: column books.extra: in the schema, not in the models",
        "models: column books.pages: type: INTEGER in the models, BIGINT in the schema",
        "models: index loans.ix_loans_book_id: in the models, not in the schema",
        "models: table loans: in the models, not in the schema",
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
