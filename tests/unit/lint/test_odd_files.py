"""One odd file never silences the rest: it is a finding, with its line, and the other files are looked at."""

from pathlib import Path
from unittest import mock

import pytest
from alembic.script import ScriptDirectory

from tangga.exits import FINDINGS, REVISION_FILES
from tangga.project import Project
from tangga.revision.loading import readable
from tests.support.broken_files import FILES, STEP
from tests.support.in_process import run
from tests.support.library import HEAD, L3, NOWHERE, copy_library, plant

_UNSAFE = "op.drop_column('books', 'title')"
_SAID = "planted_0000000000b1.py:10  ban-drop-column (up)"


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """A history with an unsafe step on top, which is to be found whatever the other files are."""
    library = copy_library(tmp_path / "library")
    plant(library, "0000000000b1", _UNSAFE)
    return library


def _write(library: Path, text: str | bytes, name: str = "planted.py") -> None:
    (library / "migrations/versions" / name).write_bytes(text if isinstance(text, bytes) else text.encode())


def _lint(library: Path, *options: str, code: int = REVISION_FILES) -> str:
    finished = run(("lint", *options), library, {})
    assert finished.returncode == code, finished.stdout + finished.stderr
    return finished.stdout


def _faults(library: Path) -> list[tuple[str, int, str]]:
    found = readable(Project.from_file(library / "alembic.ini").scripts)
    return [(fault.kind, fault.line, fault.path.rpartition("/")[2]) for fault in found.faults]


# What the harm is without all this, for each of them: Alembic, and whoever loads as it does, stops.
@pytest.mark.parametrize("name", FILES)
def test_a_file_that_cannot_be_loaded_is_a_finding_and_the_rest_is_looked_at(library: Path, name: str) -> None:
    text, words = FILES[name]
    _write(library, text)
    assert run(("heads",), library, NOWHERE).returncode == REVISION_FILES
    said = _lint(library)
    [finding] = [part for part in said.split("\n\n") if "/planted.py:" in part and "not looked at" not in part]
    line = int(finding.partition("planted.py:")[2].split()[0])
    assert line == {"of itself": 2, "NUL byte": 11, "a number below": 2, "ends the program": 2}.get(
        name, 11 if name == "a label that is taken" else 1
    )
    told = {"a number below": "holds 7", "a label that is taken": "the label"}.get(name, words)
    assert told in finding
    assert _SAID in said
    # That a file is odd makes no second head of the others.
    assert "several-heads" not in said


@pytest.mark.parametrize("name", ["NUL byte", "UTF-16", "no Python", "cannot import"])
def test_what_could_not_be_looked_at_is_counted(library: Path, name: str) -> None:
    _write(library, FILES[name][0])
    assert "\n1 file not looked at, or not all: migrations/versions/planted.py\n" in _lint(library)
    assert "not looked at" not in _lint(copy_library(library / "other"), code=0)


def test_an_id_that_two_files_have_is_a_finding_in_both(library: Path) -> None:
    """A copied file with another body: Alembic runs one of the two, and nobody says so."""
    _write(library, STEP.format(L3, f"'{HEAD}'"), "copied.py")
    said = _lint(library)
    for one, other in (("copied.py", f"{L3}_loans.py"), (f"{L3}_loans.py", "copied.py")):
        [finding] = [part for part in said.split("\n\n") if f"/{one}:" in part and "  id-twice" in part]
        assert f"migrations/versions/{other} has the id {L3} too" in finding
    assert _SAID in said


def test_a_step_above_a_file_that_cannot_be_loaded_has_its_place(library: Path) -> None:
    _write(library, "import nonsense\n" + STEP.format("0000000000a1", f"'{HEAD}'"))
    plant(library, "0000000000a2", _UNSAFE, after="0000000000a1")
    assert _faults(library) == [("file-not-loaded", 1, "planted.py")]
    assert _SAID.replace("b1", "a2") in _lint(library)


def test_a_step_that_needs_a_missing_one_is_named(library: Path) -> None:
    _write(library, STEP.format("0000000000a1", "('ffffffffffff', 'eeeeeeeeeeee')") + "depends_on = 'dddddddddddd'\n")
    assert _faults(library) == [("step-missing", 2, "planted.py")] * 2 + [("step-missing", 11, "planted.py")]
    said = _lint(library)
    assert "why: there is no step ffffffffffff, which down_revision names" in said
    assert "why: there is no step dddddddddddd, which depends_on names" in said
    assert _SAID in said


def test_steps_that_stand_on_each_other_are_named_and_those_above_are_not(library: Path) -> None:
    for number in range(3):
        _write(library, STEP.format(f"c{number}", f"'c{(number + 1) % 3}'"), f"c{number}.py")
    _write(library, STEP.format("d0", "'c0'"), "d0.py")
    assert _faults(library) == [("no-chain", 2, f"c{number}.py") for number in range(3)]
    assert "these steps stand on each other: c0, c1, c2" in _lint(library)


def test_a_folder_without_a_fault_is_as_alembic_loads_it(library: Path) -> None:
    _write(library, STEP.format("0000000000c1", f"('{L3}', '0000000000b1')") + "branch_labels = 'shop'\n", "c1.py")
    _write(library, STEP.format("0000000000d1", "None") + "depends_on = ['shop']\n", "d1.py")
    project = Project.from_file(library / "alembic.ini")

    def shape(scripts: ScriptDirectory) -> list[tuple[object, ...]]:
        return [
            (each.revision, each.down_revision, each.dependencies, each.branch_labels, each.nextrev)
            for each in scripts.walk_revisions()
        ]

    before = shape(project.scripts)
    assert readable(project.scripts) == ([], set())
    assert shape(project.scripts) == before


# Steps that can be loaded, and are odd otherwise ---------------------------------------------------------------------

_A1 = """import sqlalchemy as sa
from alembic import op
revision = "a1"
down_revision = None
def upgrade():
    op.execute("CREATE TABLE thing (id serial PRIMARY KEY, name text)"); op.execute("DELETE FROM other")
def downgrade():
    op.execute("DROP TABLE thing")
"""
_A2 = """import sqlalchemy as sa
from alembic import op
revision = "a2"
down_revision = "a1"
def upgrade():
    op.add_column("thing", sa.Column("size", sa.Integer()))
"""


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A checkout with nothing but Alembic's configuration; what its env.py wants is not here."""
    (tmp_path / "db/versions").mkdir(parents=True)
    (tmp_path / "alembic.ini").write_text("[alembic]\nscript_location = %(here)s/db\npath_separator = os\n")
    (tmp_path / "db/env.py").write_text("raise RuntimeError('env.py has run')\n")
    for name, text in (("a1", _A1), ("a2", _A2)):
        (tmp_path / f"db/versions/{name}.py").write_text(text)
    return tmp_path


def test_a_step_without_a_downgrade_is_a_finding_and_the_others_are_looked_at(bare: Path) -> None:
    said = _lint(bare, code=FINDINGS)
    assert "db/versions/a2.py:3  no-downgrade (down)\n    why: downgrade is not there, so going down fails\n" in said
    assert "db/versions/a1.py:6  no-where" in said
    assert "2 revisions: " in said


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        (_A2.replace("def upgrade", "def up"), "no-upgrade (up)"),
        (_A2 + "downgrade = None\n", "no-downgrade (down)"),
        (_A2 + "def downgrade():\n    import sys; sys.exit(3)\n", "not-rendered (down)"),
        (_A2 + "from functools import partial\ndowngrade = partial(int, 'x')\n", "not-rendered (down)"),
        (_A2 + "lint_ignore = ['all']\ndef downgrade(): pass\n", "exceptions-unreadable"),
        (_A2 + "validate_after_commit = 5\ndef downgrade(): pass\n", "not-rendered (up)"),
        ("# coding: latin-1\n# \xe9\n" + _A2, "no-downgrade (down)"),
    ],
)  # fmt: skip
def test_an_odd_step_is_a_finding_and_the_others_are_looked_at(bare: Path, text: str, rule: str) -> None:
    (bare / "db/versions/a2.py").write_bytes(text.encode("latin-1"))
    said = _lint(bare, code=FINDINGS)
    assert rule in said.partition("a2.py:")[2]
    assert "db/versions/a1.py:6  no-where" in said


def test_a_step_that_never_ends_is_a_finding_and_the_others_are_looked_at(bare: Path) -> None:
    endless = _A2 + "def downgrade():\n    while True:\n        pass\n"
    (bare / "db/versions/a2.py").write_text(endless)
    with mock.patch("tangga.lint.rendering._SECONDS", 0.2):
        said = _lint(bare, code=FINDINGS)
    assert "not-rendered (down)" in said.partition("a2.py:")[2]
    assert "TimeoutError: it has not ended after 0.2 s" in said
    assert "db/versions/a1.py:6  no-where" in said


def test_what_a_step_prints_is_not_taken_for_the_report(bare: Path) -> None:
    (bare / "db/versions/a2.py").write_text("print('loaded')\n" + _A2.replace("op.add", "print('run'); op.add"))
    finished = run(("lint", "--json"), bare, {})
    assert finished.stdout.startswith("[\n  {")
    assert finished.stderr == "loaded\nrun\n"


# Without a database, without models, without settings ----------------------------------------------------------------


def test_env_py_is_not_run_and_nothing_but_the_configuration_is_needed(bare: Path) -> None:
    assert "env.py has run" in run(("upgrade", "head", "--sql"), bare, NOWHERE).stderr
    assert "2 revisions: " in _lint(bare, code=FINDINGS)


def test_the_configuration_may_be_in_pyproject(bare: Path) -> None:
    (bare / "alembic.ini").unlink()
    (bare / "pyproject.toml").write_text('[tool.alembic]\nscript_location = "%(here)s/db"\npath_separator = "os"\n')
    assert "2 revisions: " in _lint(bare, code=FINDINGS)


def test_models_and_settings_that_cannot_be_loaded_are_not_asked_for(bare: Path) -> None:
    (bare / "pyproject.toml").write_text(
        '[tool.tangga]\nmetadata = "nowhere:metadata"\nsettings = "nowhere:settings"\n'
    )
    said = _lint(bare, code=FINDINGS)
    assert "2 revisions: " in said
    assert "\nNames that the models' naming convention makes are not seen: [tool.tangga] metadata = 'nowhere" in said
