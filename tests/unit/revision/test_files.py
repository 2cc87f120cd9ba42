"""Revision files that make no chain are named before anything runs, by commands that need no database too."""

from pathlib import Path

import pytest

from tangga.exits import REVISION_FILES, UNKNOWN_REVISION, Stop
from tangga.revision import files
from tests.support.broken_files import FILES, STEP
from tests.support.in_process import run
from tests.support.library import HEAD, NOWHERE, copy_library


@pytest.fixture
def library(tmp_path: Path) -> Path:
    return copy_library(tmp_path / "library")


def _write(library: Path, text: str | bytes, name: str = "planted.py") -> Path:
    file = library / "migrations/versions" / name
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


def _refused(library: Path, *command: str, code: int = REVISION_FILES) -> tuple[str, str]:
    """Return the line with the cause and the one with the remedy."""
    finished = run(command, library, NOWHERE)
    assert finished.returncode == code, finished.stdout + finished.stderr
    what, remedy = finished.stderr.splitlines()
    assert what.startswith("error: ")
    return what, remedy


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_cannot_be_loaded_is_named(library: Path, name: str) -> None:
    """The linter looks at the other files all the same: tests/unit/lint/test_odd_files.py."""
    text, words = FILES[name]
    _write(library, text)
    what, remedy = _refused(library, "heads")
    assert "migrations/versions/planted.py" in what
    assert words in what
    assert "nothing was run" in remedy


def test_two_files_with_one_id_are_named(library: Path) -> None:
    for name in ("one.py", "two.py"):
        _write(library, STEP.format("0000000000a1", f"'{HEAD}'"), name)
    what, remedy = _refused(library, "heads")
    named = "0000000000a1 in migrations/versions/one.py and migrations/versions/two.py"
    assert what == f"error: a revision id is used twice: {named}"
    assert "keep one of the files" in remedy


def test_steps_in_a_circle_are_named(library: Path) -> None:
    _write(library, STEP.format("0000000000a1", "'0000000000a2'"), "one.py")
    _write(library, STEP.format("0000000000a2", "'0000000000a1'"), "two.py")
    assert "(migrations/versions/one.py, migrations/versions/two.py)" in _refused(library, "heads")[0]


def test_of_a_long_circle_some_are_named(library: Path) -> None:
    for number in range(9):
        _write(library, STEP.format(f"c{number}", f"'c{(number + 1) % 9}'"), f"c{number}.py")
    assert "and 3 more" in _refused(library, "heads")[0]


@pytest.mark.parametrize("which", ["down_revision", "depends_on"])
def test_a_step_that_needs_a_missing_one_is_named(library: Path, which: str) -> None:
    text = STEP.format("0000000000a1", "'ffffffffffff'" if which == "down_revision" else f"'{HEAD}'")
    _write(library, text + ("depends_on = 'ffffffffffff'\n" if which == "depends_on" else ""))
    what, remedy = _refused(library, "heads", code=UNKNOWN_REVISION)
    assert "can't locate revision ffffffffffff, which migrations/versions/planted.py names" in what
    assert "bring the file of that revision back" in remedy


def test_a_folder_that_cannot_be_read_is_refused_and_one_that_is_not_there_is_not(tmp_path: Path) -> None:
    """Alembic takes it for an empty one, so the database would be ahead of it."""
    files.strict(tmp_path / "nothing")
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(Stop) as stopped:
        files.strict(file)
    assert "cannot be read: Not a directory" in stopped.value.what


def test_an_error_from_elsewhere_is_none_of_the_files() -> None:
    def load() -> None:
        raise AssertionError("not asked for")

    assert files.explained(ValueError("no"), load) is None  # type: ignore[arg-type]
