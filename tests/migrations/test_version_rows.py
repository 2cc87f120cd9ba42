"""alembic_version with a row too many, and a step down from a merge: what it is, and what to do."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.databases import PROJECT, owner_environment, query, scratch_database
from tests.migrations import staircase
from tests.support import in_process
from tests.support.library import HEAD, L1, L3, alembic, migrate, plant
from tests.support.schema import catalogue, revision

DRIFT = 9
REFUSED = 255
FACTS = {"project": "tangga", "tag": "v1", "services": [], "backups": [], "operations": []}


COMMANDS = (
    "upgrade head", "current", "downgrade -1", "check", "revision -m x", "drift", "plan", "losses", "lint --pending",
)  # fmt: skip


@pytest.mark.parametrize("below", [(L1,), (L3,), (L1, L3)], ids="+".join)
def test_a_row_below_another_is_explained(shelved: str, library: Path, below: tuple[str, ...]) -> None:
    with scratch_database(shelved) as database:
        for row in below:
            query(database, "INSERT INTO alembic_version VALUES (%s)", row)
        before = catalogue(database)
        names = ", ".join(f"'{row}'" for row in below)
        statement = f"DELETE FROM alembic_version WHERE version_num IN ({names})"
        for command in COMMANDS:
            finished = alembic(database, *command.split(), project=library)
            assert finished.returncode == DRIFT, (command, finished.stderr)
            assert "alembic_version has a row too many: " in finished.stderr, command
            assert all(f"{row} is below {HEAD}" in finished.stderr for row in below), command
            assert statement in finished.stderr, command
            assert catalogue(database) == before, command
        # The remedy works.
        query(database, statement)
        assert alembic(database, "upgrade", "head", project=library).returncode == 0


def test_a_row_below_a_merge_is_explained(shelved: str, library: Path) -> None:
    merge = _merged(library)
    with scratch_database(shelved) as database:
        migrate(database, "upgrade", "head", project=library)
        query(database, "INSERT INTO alembic_version VALUES ('0000000000b1')")
        for command in COMMANDS:
            finished = alembic(database, *command.split(), project=library)
            assert finished.returncode == DRIFT, (command, finished.stderr)
            assert f"has a row too many: 0000000000b1 is below {merge}" in finished.stderr, command
        query(database, "DELETE FROM alembic_version WHERE version_num IN ('0000000000b1')")
        assert alembic(database, "upgrade", "head", project=library).returncode == 0


def test_the_pages_are_made_all_the_same(at_head: str) -> None:
    with scratch_database(at_head) as database:
        query(database, "INSERT INTO alembic_version VALUES (%s)", staircase.V1)
        log = in_process.alembic(database, "log")
        said = f"a row too many: {staircase.V1} is below {staircase.HEAD}"
        assert (log.returncode, said in log.stdout) == (0, True), log.stderr
        [trouble, *_] = _status(database)["troubles"]
        assert said in trouble
        assert "DELETE FROM alembic_version" in trouble


def test_the_page_of_the_stack_is_made_with_files_that_cannot_be_loaded(at_head: str, project: Path) -> None:
    staircase.plant(project, "0000000000a1", "pass pass")
    [trouble, *_] = _status(at_head, project)["troubles"]
    assert "planted_0000000000a1.py cannot be loaded: invalid syntax" in trouble


def _status(database: str, project: Path = PROJECT) -> dict[str, list[str]]:
    finished = subprocess.run(
        [sys.executable, project / "services/migrate/bin/alembic", "status", "--json"],
        cwd=project, env=owner_environment(database) | _environment(), input=json.dumps(FACTS),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert finished.returncode == 0, finished.stderr
    page: dict[str, list[str]] = json.loads(finished.stdout)
    return page


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in ("DB_NAME", "DB_USERNAME", "DB_PASS")}


def _merged(library: Path) -> str:
    plant(library, "0000000000a1", "pass")
    plant(library, "0000000000b1", "pass")
    file = plant(library, "0000000000c1", "pass", after="0000000000a1")
    file.write_text(file.read_text().replace("'0000000000a1'", "('0000000000a1', '0000000000b1')"))
    return "0000000000c1"


@pytest.mark.parametrize("command", ["downgrade -1", "losses", "downgrade -2"])
def test_a_step_down_from_a_merge_names_the_two_to_choose_from(shelved: str, library: Path, command: str) -> None:
    merge = _merged(library)
    with scratch_database(shelved) as database:
        migrate(database, "upgrade", "head", project=library)
        finished = alembic(database, *command.split(), project=library)
        assert finished.returncode == REFUSED, finished.stderr
        assert f"{merge} (planted {merge}) is a merge of 0000000000a1 (planted 0000000000a1) and " in finished.stderr
        assert "alembic downgrade 0000000000a1, or alembic downgrade 0000000000b1" in finished.stderr
        assert revision(database) == merge
        # The remedy works, and does what it says.
        migrate(database, "downgrade", "0000000000b1", project=library)
        rows = query(database, "SELECT version_num FROM alembic_version ORDER BY 1")
        assert rows == [("0000000000a1",), ("0000000000b1",)]


def test_a_step_up_into_two_branches_names_them(shelved: str, library: Path) -> None:
    plant(library, "0000000000a1", "pass")
    plant(library, "0000000000b1", "pass")
    finished = alembic(shelved, "upgrade", "+1", project=library)
    assert finished.returncode == REFUSED
    assert "alembic upgrade 0000000000a1, or alembic upgrade 0000000000b1" in finished.stderr
