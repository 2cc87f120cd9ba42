"""Findings that were accepted, in a file: what is new is all that is spoken of; and steps that are history."""

import json
import re
from pathlib import Path

import pytest

from tangga.exits import FINDINGS, REVISION_FILES, WRONG_SETTING
from tangga.lint.checks import findings
from tangga.lint.finding import about_file
from tangga.lint.rules.files import EDITED
from tangga.lint.statements import unformatted
from tangga.project import Project
from tests.support.in_process import run
from tests.support.library import HEAD, L1, L3, copy_library, plant
from tests.support.linting import with_findings
from tests.support.steps import edit

_MINE = "0000000000a1"
_UNSAFE = "op.drop_column('books', 'title')"
_DOWN = "op.execute('SELECT 1')"
_BASELINE = ("--baseline", "accepted.txt")


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """A history whose released files have findings."""
    return with_findings(copy_library(tmp_path / "library"))


@pytest.fixture
def accepted(library: Path) -> Path:
    """The same, all of whose findings are accepted."""
    _lint(library, *_BASELINE, "--write-baseline", code=0)
    return library


def _lint(library: Path, *options: str, code: int = FINDINGS) -> str:
    finished = run(("lint", *options), library, {})
    assert finished.returncode == code, finished.stdout + finished.stderr
    return finished.stdout


def _refused(library: Path, *options: str) -> str:
    finished = run(("lint", *options), library, {})
    assert (finished.returncode, finished.stdout) == (WRONG_SETTING, "")
    assert finished.stderr.startswith("error: ")
    assert finished.stderr.count("\n") == 2
    return finished.stderr


def _new(library: Path, *options: str, code: int = FINDINGS) -> list[tuple[str, str]]:
    found = json.loads(_lint(library, "--json", *options, code=code))
    return [(one["revision"], one["rule"]) for one in found if one["exception"] is None]


def test_of_released_files_nothing_is_said_and_of_a_step_on_top_exactly_that(library: Path) -> None:
    assert len(_new(library)) == 5
    _lint(library, *_BASELINE, "--write-baseline", code=0)
    assert _new(library, *_BASELINE, code=0) == []
    plant(library, _MINE, _UNSAFE, downgrade=_DOWN)
    assert _new(library, *_BASELINE) == [(_MINE, "ban-drop-column")]
    said = _lint(library, *_BASELINE)
    assert said.startswith(f"migrations/versions/planted_{_MINE}.py:10  ban-drop-column (up)\n")
    assert "\n5 revisions: 1 finding, 0 exceptions with a reason, 5 accepted in accepted.txt\n" in said


def test_the_file_is_sorted_and_written_anew_it_is_the_same(accepted: Path) -> None:
    before = (accepted / "accepted.txt").read_text()
    lines = [line for line in before.splitlines() if not line.startswith("#")]
    assert lines == sorted(lines)
    assert all(re.fullmatch(r"l\d{11} [a-z-]+ [0-9a-f]{16}", line) for line in lines)
    assert "lint --baseline accepted.txt --write-baseline" in before
    _lint(accepted, *_BASELINE, "--write-baseline", code=0)
    assert (accepted / "accepted.txt").read_text() == before


def test_it_is_the_same_when_lines_move_and_the_file_is_formatted(library: Path) -> None:
    file = plant(library, _MINE, "op.execute('ALTER TABLE books DROP COLUMN title')")
    _lint(library, *_BASELINE, "--write-baseline", code=0)
    formatted = """

    # why
    op.execute(
        '''
        alter table  books
          -- why
        drop column title;
        '''
    )"""
    edit(file, "op.execute('ALTER TABLE books DROP COLUMN title')", formatted)
    assert _new(library, *_BASELINE, code=0) == []
    edit(file, "drop column title", "drop column author_id")
    assert _new(library, *_BASELINE) == [(_MINE, "ban-drop-column")]


def test_it_is_the_same_when_a_step_writes_what_is_new_each_time(library: Path) -> None:
    """A UUID or the time of day; any other value is another statement."""
    body = "op.drop_column('books', 'title'); import uuid, datetime as d; op.execute(\"INSERT INTO books (note)"
    body += " VALUES ('%s %s a')\" % (uuid.uuid4(), d.datetime.now()))"
    file = plant(library, _MINE, body, downgrade=_DOWN)
    _lint(library, *_BASELINE, "--write-baseline", code=0)
    assert "data-with-schema" in (library / "accepted.txt").read_text()
    assert _new(library, *_BASELINE, code=0) == []
    edit(file, "%s a", "%s b")
    assert _new(library, *_BASELINE) == [(_MINE, "data-with-schema")]


def test_the_same_once_more_is_new(library: Path) -> None:
    file = plant(library, _MINE, "op.execute('DROP TABLE loans')")
    _lint(library, *_BASELINE, "--write-baseline", code=0)
    edit(file, "op.execute('DROP TABLE loans')", "op.execute('DROP TABLE loans')\n    op.execute('DROP TABLE loans')")
    assert _new(library, *_BASELINE) == [(_MINE, "ban-drop-table")]


def test_what_is_no_longer_found_is_said(accepted: Path) -> None:
    file = next((accepted / "migrations/versions").glob(f"{L3}_*.py"))
    text = file.read_text()
    file.write_text(text.replace("sa.Integer()", "sa.BigInteger()"))
    assert text != file.read_text()
    said = _lint(accepted, *_BASELINE, code=0)
    assert "accepted.txt accepts 1 finding no longer there; take them out: tangga lint --baseline" in said
    assert re.search(rf"\n  {L3} prefer-bigint-over-int [0-9a-f]{{16}}\n", said)
    # Not if other steps alone were looked at; and a program's input holds nothing else.
    assert "no longer there" not in _lint(accepted, *_BASELINE, L1, code=0)
    assert _new(accepted, *_BASELINE, code=0) == []


def test_a_file_that_is_odd_is_never_accepted(accepted: Path) -> None:
    before = (accepted / "accepted.txt").read_text()
    (accepted / "migrations/versions/odd.py").write_text("pass pass")
    refused = run(("lint", *_BASELINE, "--write-baseline"), accepted, {})
    assert (refused.returncode, refused.stdout) == (REVISION_FILES, "")
    assert "would lack what is found in files that are at fault: migrations/versions/odd.py" in refused.stderr
    assert (accepted / "accepted.txt").read_text() == before
    said = _lint(accepted, *_BASELINE, code=REVISION_FILES)
    assert "odd.py:1  file-not-loaded" in said
    assert "no longer there" not in said


def test_a_baseline_that_cannot_be_used_is_refused(library: Path) -> None:
    assert "accepted.txt cannot be read: No such file" in _refused(library, *_BASELINE)
    (library / "accepted.txt").write_text("# fine\n\n<<<<<<< HEAD\n")
    assert "accepted.txt:3 is no finding: <<<<<<< HEAD" in _refused(library, *_BASELINE)
    (library / "accepted.txt").write_bytes(b"\xff\xfe")
    assert "accepted.txt cannot be read: it is no text" in _refused(library, *_BASELINE)
    assert "cannot be written: " in _refused(library, "--baseline", "no/such/folder", "--write-baseline")


@pytest.mark.parametrize("options", [("--write-baseline",), (*_BASELINE, "--write-baseline", "head")])
def test_a_baseline_is_of_all_steps_and_has_a_name(library: Path, options: tuple[str, ...]) -> None:
    assert "--write-baseline writes what is found in all steps" in _refused(library, *options)
    assert not (library / "accepted.txt").exists()


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("SELECT  1 -- one", "select\n1;", True),
        ("select 'A  b'", "SELECT 'A b'", False),
        ('select "A"', 'select "a"', False),
        ("SELECT $x$ A $x$", "SELECT $x$ a $x$", False),
        ("SELECT é(a,b)", "select É ( a , b )", True),
        ("SELEC  'unclosed", "SELEC 'unclosed", True),
    ],
)
def test_what_formatting_changes_of_a_statement(one: str, other: str, same: bool) -> None:
    assert (unformatted(one) == unformatted(other)) == same


# History --------------------------------------------------------------------------------------------------------------


def _from(library: Path, revision: str) -> None:
    edit(library / "pyproject.toml", "[tool.tangga]\n", f'[tool.tangga]\nlint_from = "{revision}"\n')


def test_steps_before_the_one_that_is_named_are_history(library: Path) -> None:
    plant(library, _MINE, _UNSAFE, downgrade=_DOWN)
    assert len(_new(library)) == 6
    _from(library, L3)
    assert _new(library) == [(L3, "prefer-bigint-over-int"), (_MINE, "ban-drop-column")]
    assert "\n3 revisions: 2 findings, " in _lint(library)
    assert f"\n2 revisions before {L3} (lint_from) not looked at\n" in _lint(library)
    # Whoever names a step means it.
    assert {revision for revision, _ in _new(library, L1)} == {L1}


def test_a_step_beside_history_is_none(library: Path) -> None:
    plant(library, _MINE, _UNSAFE, after=L1)
    _from(library, HEAD)
    assert (_MINE, "ban-drop-column") in _new(library)


def test_what_a_database_says_now_of_an_old_step_is_no_history(library: Path) -> None:
    project = Project.from_file(library / "alembic.ini")
    scripts = {script.revision: script for script in project.revisions()}
    edited = [about_file(project, scripts[name], EDITED.problem()) for name in (L1, HEAD)]
    for history, said in (((), [HEAD]), ({L1}, [L1, HEAD])):
        found = findings(project, {HEAD}, edited, history=history)
        assert [(one.revision, one.rule) for one in found] == [(name, EDITED.name) for name in said]


def test_history_that_begins_nowhere_is_refused(library: Path) -> None:
    _from(library, "ffffffffffff")
    assert "[tool.tangga] lint_from = 'ffffffffffff' is no step" in _refused(library)
