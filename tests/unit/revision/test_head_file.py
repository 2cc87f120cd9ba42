"""The file HEAD beside the steps: written by whoever changes the heads, checked by the linter.

That two branches conflict there is shown with git: tests/stack/test_lint_in_git.py.
"""

from pathlib import Path

import pytest

from tangga.exits import ALEMBIC_REFUSES, FINDINGS, REVISION_FILES
from tangga.project import Project
from tangga.revision import head_file
from tests.support.in_process import run
from tests.support.library import HEAD, L3, NOWHERE, copy_library, plant
from tests.support.steps import edit

MINE, THEIRS = "0000000000a1", "0000000000b1"
ASKED = "[tool.tangga]\nhead_file = true\n"


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """A history whose env.py is not run for a new step, so that no database is needed."""
    library = copy_library(tmp_path / "library")
    edit(library / "alembic.ini", "revision_environment = true\n", "")
    return library


@pytest.fixture
def kept(library: Path) -> Path:
    """The file is there, and right."""
    assert run(("lint", "--write-head"), library, {}).returncode == 0
    return library


def _file(library: Path) -> Path:
    return library / "migrations/HEAD"


def _lint(library: Path, *options: str, code: int = FINDINGS) -> str:
    finished = run(("lint", *options), library, {})
    assert finished.returncode == code, finished.stdout + finished.stderr
    return finished.stdout


def _alembic(library: Path, *command: str) -> None:
    finished = run(command, library, NOWHERE)
    assert finished.returncode == 0, finished.stderr


def test_a_project_that_does_not_ask_is_not_bothered(library: Path) -> None:
    _alembic(library, "revision", "-m", "mine")
    assert not _file(library).exists()
    assert "stale-head-file" not in _lint(library, code=0)


def test_a_new_step_and_a_merge_write_the_file(kept: Path) -> None:
    assert _file(kept).read_text() == f"{HEAD}\n"
    _alembic(kept, "revision", "-m", "mine", "--rev-id", THEIRS)
    assert _file(kept).read_text() == f"{THEIRS}\n"
    _alembic(kept, "revision", "-m", "beside it", "--rev-id", MINE, "--splice", "--head", HEAD)
    assert _file(kept).read_text() == f"{MINE}\n{THEIRS}\n"
    _alembic(kept, "merge", "heads", "-m", "both", "--rev-id", "0000000000c1")
    assert _file(kept).read_text() == "0000000000c1\n"


def test_other_commands_leave_the_file(kept: Path) -> None:
    _file(kept).write_text("mine\n")
    for command in (("heads",), ("history",), ("show", "head"), ("lint",)):
        run(command, kept, NOWHERE)
    assert _file(kept).read_text() == "mine\n"


def test_a_step_that_the_file_does_not_know_is_found(kept: Path) -> None:
    _lint(kept, code=0)
    plant(kept, MINE, "op.execute('ANALYZE books')", downgrade="op.execute('ANALYZE books')")
    said = _lint(kept)
    assert said.startswith("migrations/HEAD:1  stale-head-file\n")
    assert f"why: it says {HEAD}, but the head is {MINE}\n" in said
    assert "this writes the file: tangga lint --write-head" in said
    # Whatever was asked for, but for a deploy, which asks of the steps that run next.
    assert "stale-head-file" in _lint(kept, L3)
    _lint(kept, "--write-head", code=0)
    assert _file(kept).read_text() == f"{MINE}\n"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (f"<<<<<<< HEAD\n{MINE}\n=======\n{THEIRS}\n>>>>>>> mine\n", "it holds a conflict of git's"),
        ("", f"it says nothing, but the head is {HEAD}"),
        (f"{HEAD}\n{HEAD}\n", f"it says {HEAD}, {HEAD}, but the head is"),
        (f" {HEAD}\n", f"it says  {HEAD}, but"),
        ("\udcff", "it says \N{REPLACEMENT CHARACTER}, but"),
    ],
)
def test_a_file_that_says_something_else_is_found(kept: Path, content: str, words: str) -> None:
    _file(kept).write_bytes(content.encode(errors="surrogateescape"))
    assert words in _lint(kept)


def test_a_file_with_the_line_ends_of_windows_is_right(kept: Path) -> None:
    _file(kept).write_bytes(f"{HEAD}\r\n".encode())
    _lint(kept, code=0)


def test_a_file_that_is_asked_for_is_missed(library: Path) -> None:
    edit(library / "pyproject.toml", "[tool.tangga]\n", ASKED)
    assert f"why: the file is not there; its line would be {HEAD}\n" in _lint(library)
    _alembic(library, "revision", "-m", "mine", "--rev-id", MINE)
    assert _file(library).read_text() == f"{MINE}\n"
    assert "stale-head-file" not in _lint(library, code=0)


def test_of_what_is_not_known_nothing_is_said(kept: Path) -> None:
    (kept / "migrations/versions/odd.py").write_text("pass pass")
    assert "stale-head-file" not in _lint(kept, code=REVISION_FILES)


def test_a_file_that_cannot_be_written_is_said(library: Path) -> None:
    _file(library).mkdir()
    finished = run(("lint", "--write-head"), library, {})
    assert finished.returncode == ALEMBIC_REFUSES
    assert finished.stderr.startswith("error: migrations/HEAD cannot be written: Is a directory\n   do: ")
    assert "the file cannot be read: Is a directory" in (
        head_file.fault(Project.from_file(library / "alembic.ini")) or ""
    )
