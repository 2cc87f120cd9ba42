"""What pages show of operations is what the scripts print, on the fake engine."""

import re
from pathlib import Path

from tests.support.pages import differs
from tests.unit.scripts.doing import do
from tests.unit.scripts.operations import says

FILE = "migrations/versions/20261122_2100_0123456789ab_v11_tambah_judul.py"
FAILED_STEP = [
    "migrate: Running upgrade 3b7d90c5e2a6 -> 0123456789ab, v11 tambah judul",
    f'error: step 0123456789ab (v11 tambah judul) failed in upgrade at {FILE}:14: relation "post" does not exist',
    "   do: mend the step, then run it again; it was rolled back, the steps before it stand",
]
# A repository with a tag, and nothing in it.
GIT = """#!/bin/bash
case "$*" in
  'describe '*) echo v0.2.0 ;;
  'archive '*) tar -c --files-from /dev/null ;;
esac
"""
TESTS_FAILED = [
    "E   psycopg2.errors.UndefinedColumn: column posts.no_hp does not exist",
    'E   psycopg2.errors.UndefinedColumn: column "no_hp" of relation "posts" does not exist',
    'E   psycopg2.errors.UndefinedColumn: column "no_hp" of relation "posts" does not exist',
    "FAILED tests/api/test_posts.py::test_creating_answers_with_the_whole_post - psycopg2.errors.UndefinedColumn",
    "FAILED tests/api/test_posts.py::test_what_was_written_is_what_is_read[given0] - psycopg2.errors.UndefinedColumn",
    "ERROR tests/api/test_votes.py::test_a_vote - psycopg2.errors.UndefinedColumn",
    "15 failed, 52 passed, 32 deselected, 5 errors in 5.94s",
]


def _git(folder: Path) -> None:
    program = folder / "bin/git"
    program.write_text(GIT)
    program.chmod(0o755)


def test_a_migration_that_fails(tmp_path: Path) -> None:
    def prepare(folder: Path) -> None:
        (folder / "migrations").mkdir()
        says(folder, "compose up * migrate", "migrate-1 exited with code 3", status=3)
        says(folder, "logs *", *FAILED_STEP)

    outcome = do("up", tmp_path, prepare=prepare)
    assert outcome.code == 1
    assert not differs("README.md", "$ make up", outcome.printed)


def test_a_deploy_and_the_way_back(tmp_path: Path) -> None:
    def pending(folder: Path) -> None:
        _git(folder)
        says(folder, "*alembic current", "3b7d90c5e2a6 (head)")

    deployed = do("deploy", tmp_path / "deploy", settings={"BACKUP_BEFORE_MIGRATE": "false"}, prepare=pending)
    assert deployed.code == 0, deployed.printed
    assert not differs("docs/production.md", "$ git pull", deployed.printed)
    back = do(
        "undeploy", tmp_path / "undeploy", prepare=lambda copy: says(copy, "*alembic heads", "3b7d90c5e2a6 (head)")
    )
    assert back.code == 0, back.printed
    assert not differs("docs/production.md", "$ make undeploy", back.printed)


def test_a_volume_of_another_version(tmp_path: Path) -> None:
    def prepare(folder: Path) -> None:
        says(folder, "compose up * db", "container project-db-1 is unhealthy", status=1)
        says(folder, "inspect --format {{.Config.Image}}*", "postgres:17-trixie")
        words = (
            "The data directory was initialized by PostgreSQL version 15, which is not compatible with this version 17"
        )
        says(folder, "logs *", f"DETAIL:  {words}.1.")

    outcome = do("up", tmp_path, prepare=prepare)
    assert outcome.code == 1
    said = outcome.printed[outcome.printed.index("error: ") :]
    assert not differs("docs/backups.md", "error: the volume", said)


def test_an_upgrade_of_postgresql(tmp_path: Path) -> None:
    outcome = do("db-upgrade", tmp_path)
    assert outcome.code == 0, outcome.printed
    assert not differs("docs/backups.md", "$ make db-upgrade", outcome.printed)


def _compat(folder: Path, printed: list[str], status: int) -> str:
    def prepare(copy: Path) -> None:
        _git(copy)
        says(copy, "*pytest tests/api *", *printed, status=status)

    outcome = do("up", folder, command=("scripts/compat.sh",), prepare=prepare)
    assert outcome.code == (12 if status else 0), outcome.printed
    return outcome.printed


def test_the_last_release_on_the_new_schema(tmp_path: Path) -> None:
    works = _compat(tmp_path / "works", ["295 passed, 32 deselected in 13.38s"], 0)
    assert not differs("docs/compat.md", "$ make compat", works)
    breaks = _compat(tmp_path / "breaks", TESTS_FAILED, 1)
    said = breaks[re.search("^    [|] tests/", breaks, re.M).start() :]  # type: ignore[union-attr]
    assert not differs("docs/compat.md", "    | tests/", said)
