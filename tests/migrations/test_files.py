"""Revision files that share an id, or that cannot be loaded, are named before anything runs, whatever the command."""

import shutil
from pathlib import Path

import pytest

from tests.databases import alembic_process, query, scratch_database
from tests.migrations.staircase import HEAD, V5, V6, V7, plant

REVISION_FILES = 15
UNKNOWN_REVISION = 13

# As an author would write it, so that precheck.py can read it as text.
STEP = """revision = "{0}"
down_revision = {1}


def upgrade() -> None:
    pass


def downgrade() -> None:
    pass
"""


def _write(project: Path, text: str | bytes, name: str = "planted.py") -> Path:
    file = project / "migrations/versions" / name
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


def _refused(database: str, project: Path, *command: str, code: int = REVISION_FILES) -> str:
    finished = alembic_process(database, *command, project=project)
    assert finished.returncode == code, finished.stdout + finished.stderr
    assert "Running" not in finished.stderr
    assert "Traceback" not in finished.stderr
    assert finished.stderr.startswith("error: ")
    assert finished.stderr.count("\n") == 2, finished.stderr
    return finished.stderr


@pytest.mark.parametrize(
    "command",
    ["upgrade head", "downgrade -1", "current", "heads", "history", "lint", "plan", "drift", "log", "graph", "losses",
     "stamp head", "check", "verify", "revision -m x", "reparent", "squash head"],
)  # fmt: skip
def test_an_id_that_is_there_twice_is_named_by_every_command(at_head: str, project: Path, command: str) -> None:
    _write(project, STEP.format(V7, f"'{V6}'"), "copied.py")
    said = _refused(at_head, project, *command.split())
    assert f"a revision id is used twice: {V7} in migrations/versions/" in said
    assert f"_{V7}_v7_tambah_index_votes_post_id.py" in said
    assert "migrations/versions/copied.py" in said


def test_two_new_steps_with_one_id_are_not_two_heads(at_head: str, project: Path) -> None:
    for name in ("one.py", "two.py"):
        _write(project, STEP.format("0000000000a1", f"'{HEAD}'"), name)
    said = _refused(at_head, project, "upgrade", "head")
    assert "0000000000a1 in migrations/versions/one.py and migrations/versions/two.py" in said
    assert "heads" not in said


def test_a_copy_of_the_head_is_not_taken_for_nothing_to_do(at_head: str, project: Path) -> None:
    """With equal content the text of the files gives one head, the one that the database is at."""
    [file] = (project / "migrations/versions").glob(f"*_{HEAD}_*.py")
    shutil.copy(file, file.with_name(f"{file.stem}_copy.py"))
    assert f"{file.stem}_copy.py" in _refused(at_head, project, "upgrade", "head")


def test_what_alembic_does_not_load_is_no_second_file(at_head: str, project: Path) -> None:
    [file] = (project / "migrations/versions").glob(f"*_{HEAD}_*.py")
    for name in (f"{file.name}.orig", f"{file.name}~", f"{file.stem}.bak"):
        shutil.copy(file, file.with_name(name))
    finished = alembic_process(at_head, "upgrade", "head", project=project)
    assert (finished.returncode, finished.stderr) == (0, f"migrate: the database is at {HEAD} (head): nothing to do\n")


def test_ids_that_differ_by_case_are_two(at_head: str, project: Path) -> None:
    plant(project, "0000000000a1", "pass")
    plant(project, "0000000000A1", "pass", after="0000000000a1")
    with scratch_database(at_head) as database:
        assert alembic_process(database, "upgrade", "head", project=project).returncode == 0
        assert query(database, "SELECT version_num FROM alembic_version") == [("0000000000A1",)]


FILES: dict[str, tuple[str | bytes, str]] = {
    "of itself": (STEP.format("0000000000a1", "'0000000000a1'"), "Self-loop"),
    "NUL byte": (STEP.format("0000000000a1", f"'{HEAD}'") + "\0", "null bytes"),
    "UTF-16": (STEP.format("0000000000a1", f"'{HEAD}'").encode("utf-16"), "null bytes"),
    "a number below": (STEP.format("0000000000a1", "7"), "expected str instance, int found"),
    "a number": (
        STEP.format("0000000000a1", f"'{HEAD}'").replace('"0000000000a1"', "7"),
        "'int' object is not iterable",
    ),
    "no revision": (STEP.format("0000000000a1", f"'{HEAD}'").replace("revision", "rev", 1), "revision id"),
    "nothing below": (STEP.format("0000000000a1", f"'{HEAD}'").replace("down_", "up_"), "down_revision"),
    "no Python": ("pass pass", "invalid syntax"),
    "cannot import": (f"import nonsense\n{STEP.format('0000000000a1', repr(HEAD))}", "No module named 'nonsense'"),
    "raises": ("raise RuntimeError('no such luck')", "RuntimeError: no such luck"),
    "ends the program": ("import sys\nsys.exit(4)", "SystemExit: 4"),
    "a letter that may not be": (STEP.format("a@b", f"'{HEAD}'"), "not allowed in revision identifier"),
    "a label that is taken": (f"{STEP.format('0000000000a1', repr(HEAD))}branch_labels = ('{V5}',)\n", "already used"),
}


@pytest.mark.parametrize("command", ["upgrade", "lint"])
@pytest.mark.parametrize("name", FILES)
def test_a_file_that_cannot_be_loaded_is_named(at_head: str, project: Path, name: str, command: str) -> None:
    text, words = FILES[name]
    _write(project, text)
    said = _refused(at_head, project, *([command, "head"] if command == "upgrade" else [command]))
    what, remedy = said.splitlines()
    assert "migrations/versions/planted.py" in what
    assert words in what
    # Nothing was rolled back, for nothing was run.
    assert "nothing was run" in remedy


def test_steps_in_a_circle_are_named(at_head: str, project: Path) -> None:
    _write(project, STEP.format("0000000000a1", "'0000000000a2'"), "one.py")
    _write(project, STEP.format("0000000000a2", "'0000000000a1'"), "two.py")
    said = _refused(at_head, project, "upgrade", "head")
    assert "(migrations/versions/one.py, migrations/versions/two.py)" in said


def test_a_step_that_depends_on_a_missing_one_is_named(at_head: str, project: Path) -> None:
    _write(project, f"{STEP.format('0000000000a1', repr(HEAD))}depends_on = 'ffffffffffff'\n")
    said = _refused(at_head, project, "heads", code=UNKNOWN_REVISION)
    assert "can't locate revision ffffffffffff, which migrations/versions/planted.py names" in said


def test_a_folder_that_cannot_be_read_is_not_an_old_image(at_head: str, project: Path) -> None:
    """Alembic takes it for an empty one, so the database would be ahead of it."""
    folder = project / "migrations/versions"
    folder.chmod(0)
    try:
        said = _refused(at_head, project, "upgrade", "head")
    finally:
        folder.chmod(0o755)
    assert "the folder migrations/versions cannot be read: Permission denied" in said


def test_a_file_that_cannot_be_read_is_named(at_head: str, project: Path) -> None:
    _write(project, STEP.format("0000000000a1", f"'{HEAD}'")).chmod(0)
    assert "migrations/versions/planted.py cannot be loaded: PermissionError" in _refused(at_head, project, "heads")


def test_the_beginning_of_two_ids_is_not_an_unknown_one(at_head: str, project: Path) -> None:
    plant(project, "abcdef000001", "pass")
    plant(project, "abcdef000002", "pass", after="abcdef000001")
    said = _refused(at_head, project, "upgrade", "abcdef", code=UNKNOWN_REVISION)
    assert "abcdef is the beginning of more than one revision" in said
