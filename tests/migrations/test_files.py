"""Revision files that share an id, or that cannot be loaded, are named before anything runs, whatever the command."""

import shutil
from pathlib import Path

import pytest

from tests.databases import alembic_process, query, scratch_database
from tests.migrations import staircase
from tests.support.broken_files import FILES, STEP
from tests.support.library import HEAD, L2, L3, alembic, plant

REVISION_FILES = 15
UNKNOWN_REVISION = 13


def _write(library: Path, text: str | bytes, name: str = "planted.py") -> Path:
    file = library / "migrations/versions" / name
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


def _refused(database: str, library: Path, *command: str, code: int = REVISION_FILES) -> str:
    finished = alembic(database, *command, project=library)
    assert finished.returncode == code, finished.stdout + finished.stderr
    assert "Running" not in finished.stderr
    assert "Traceback" not in finished.stderr
    assert finished.stderr.startswith("error: ")
    assert finished.stderr.count("\n") == 2, finished.stderr
    return finished.stderr


@pytest.mark.parametrize(
    "command",
    ["upgrade head", "downgrade -1", "current", "heads", "history", "plan", "drift", "log", "graph", "losses",
     "stamp head", "check", "verify", "revision -m x", "reparent", "squash head"],
)  # fmt: skip
def test_an_id_that_is_there_twice_is_named_by_every_command(shelved: str, library: Path, command: str) -> None:
    """By the linter too, beside what it finds in the other files: tests/unit/lint/test_odd_files.py."""
    _write(library, STEP.format(L3, f"'{L2}'"), "copied.py")
    said = _refused(shelved, library, *command.split())
    assert f"a revision id is used twice: {L3} in migrations/versions/" in said
    assert f"migrations/versions/{L3}_loans.py" in said
    assert "migrations/versions/copied.py" in said


def test_two_new_steps_with_one_id_are_not_two_heads(shelved: str, library: Path) -> None:
    for name in ("one.py", "two.py"):
        _write(library, STEP.format("0000000000a1", f"'{HEAD}'"), name)
    said = _refused(shelved, library, "upgrade", "head")
    assert "0000000000a1 in migrations/versions/one.py and migrations/versions/two.py" in said
    assert "heads" not in said


def test_a_copy_of_the_head_is_not_taken_for_nothing_to_do(at_head: str, project: Path) -> None:
    """With equal content the text of the files gives one head, the one that the database is at."""
    [file] = (project / "migrations/versions").glob(f"*_{staircase.HEAD}_*.py")
    shutil.copy(file, file.with_name(f"{file.stem}_copy.py"))
    finished = alembic_process(at_head, "upgrade", "head", project=project)
    assert finished.returncode == REVISION_FILES
    assert f"{file.stem}_copy.py" in finished.stderr


def test_what_alembic_does_not_load_is_no_second_file(at_head: str, project: Path) -> None:
    [file] = (project / "migrations/versions").glob(f"*_{staircase.HEAD}_*.py")
    for name in (f"{file.name}.orig", f"{file.name}~", f"{file.stem}.bak"):
        shutil.copy(file, file.with_name(name))
    finished = alembic_process(at_head, "upgrade", "head", project=project)
    said = f"migrate: the database is at {staircase.HEAD} (head): nothing to do\n"
    assert (finished.returncode, finished.stderr) == (0, said)


def test_ids_that_differ_by_case_are_two(shelved: str, library: Path) -> None:
    plant(library, "0000000000a1", "pass")
    plant(library, "0000000000A1", "pass", after="0000000000a1")
    with scratch_database(shelved) as database:
        assert alembic(database, "upgrade", "head", project=library).returncode == 0
        assert query(database, "SELECT version_num FROM alembic_version") == [("0000000000A1",)]


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_cannot_be_loaded_is_named(shelved: str, library: Path, name: str) -> None:
    """For commands that need no database: tests/unit/revision/test_files.py."""
    text, words = FILES[name]
    _write(library, text)
    said = _refused(shelved, library, "upgrade", "head")
    what, remedy = said.splitlines()
    assert "migrations/versions/planted.py" in what
    assert words in what
    # Nothing was rolled back, for nothing was run.
    assert "nothing was run" in remedy


def test_a_folder_that_cannot_be_read_is_not_an_old_image(shelved: str, library: Path) -> None:
    """Alembic takes it for an empty one, so the database would be ahead of it."""
    folder = library / "migrations/versions"
    folder.chmod(0)
    try:
        said = _refused(shelved, library, "upgrade", "head")
    finally:
        folder.chmod(0o755)
    assert "the folder migrations/versions cannot be read: Permission denied" in said


def test_a_file_that_cannot_be_read_is_named(shelved: str, library: Path) -> None:
    _write(library, STEP.format("0000000000a1", f"'{HEAD}'")).chmod(0)
    assert "migrations/versions/planted.py cannot be loaded: PermissionError" in _refused(shelved, library, "heads")


def test_the_beginning_of_two_ids_is_not_an_unknown_one(shelved: str, library: Path) -> None:
    plant(library, "abcdef000001", "pass")
    plant(library, "abcdef000002", "pass", after="abcdef000001")
    said = _refused(shelved, library, "upgrade", "abcdef", code=UNKNOWN_REVISION)
    assert "abcdef is the beginning of more than one revision" in said
