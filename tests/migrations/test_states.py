"""Where a database or the steps are in no state to go on: what it is, what to do, and an exit code of its own."""

import re
from pathlib import Path

import pytest

from tangga.exits import (
    AHEAD,
    BEHIND,
    DRIFT,
    REVISION_FILES,
    SEVERAL_HEADS,
    STEP_FAILED,
    UNKNOWN_REVISION,
)
from tests.databases import alembic_process, query, scratch_database
from tests.support.library import HEAD, L1, alembic, copy_library, migrate, plant
from tests.support.reported import assert_reported
from tests.support.schema import revision
from tests.support.steps import edit


def test_two_heads_are_named(shelved: str, library: Path) -> None:
    plant(library, "0000000000a1", "pass")
    plant(library, "0000000000a2", "pass")
    finished = alembic(shelved, "upgrade", "head", project=library)
    assert_reported(finished, SEVERAL_HEADS, "0000000000a1, 0000000000a2", "alembic merge heads")
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
        assert_reported(finished, AHEAD, "ffffffffffff: the database is at it", "deploy the image")
        assert revision(database) == "ffffffffffff"


def test_an_old_image_says_what_it_lacks_and_from_which_image_to_go_down(shelved: str, library: Path) -> None:
    plant(library, "0000000000a1", "pass")
    plant(library, "0000000000a2", "pass", after="0000000000a1")
    with scratch_database(shelved) as database:
        up = alembic(database, "upgrade", "head", project=library, environment={"MIGRATE_VERSION": "1.4"})
        assert up.returncode == 0, up.stderr
        finished = alembic(database, "upgrade", "head", environment={"MIGRATE_VERSION": "1.3"})
        assert_reported(
            finished, AHEAD, f"its head is {HEAD}, it lacks 0000000000a2 (applied 2", "deploy image 1.4, or "
        )
        assert re.search(r", 0000000000a1 \(applied [\d-]+ [\d:]+ UTC by image 1\.4\)\n", finished.stderr)
        remedy = f"first go down from there: there: alembic downgrade {HEAD}\n"
        assert finished.stderr.endswith(remedy)
        # What was taken back is not lacking.
        migrate(database, "downgrade", "-1", project=library)
        finished = alembic(database, "downgrade", "-1", environment={"MIGRATE_VERSION": "1.3"})
        assert_reported(finished, AHEAD, "it lacks 0000000000a1 (applied")
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
        assert_reported(
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
        assert_reported(finished, STEP_FAILED, 'relation "authors" already exists')


def test_the_migrators_own_tables_are_no_reason_to_refuse(database: str) -> None:
    migrate(database, "upgrade", HEAD)
    migrate(database, "downgrade", "base")
    assert query(database, "SELECT count(*) > 0 FROM tangga.migration_log") == [(True,)]
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
    assert_reported(finished, UNKNOWN_REVISION, "can't locate revision ffffffffffff")
    assert revision(shelved) == HEAD


def test_a_step_after_a_missing_one_is_named(shelved: str, library: Path) -> None:
    plant(library, "0000000000a1", "pass", after="ffffffffffff")
    finished = alembic(shelved, "upgrade", "head", project=library)
    file = "migrations/versions/planted_0000000000a1.py"
    assert_reported(finished, UNKNOWN_REVISION, f"ffffffffffff, which {file} names", "bring the file")


def test_a_file_that_is_no_python_is_named(shelved: str, library: Path) -> None:
    plant(library, "0000000000a1", "pass pass")
    finished = alembic(shelved, "upgrade", "head", project=library)
    assert_reported(finished, REVISION_FILES, "invalid syntax (planted_0000000000a1.py:10)", "nothing was run")
