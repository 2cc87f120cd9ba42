"""scripts/lint/shells.py keeps which scripts are clean: what has a finding is found, whatever was clean before."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.scripts.operations import REPOSITORY

PROGRAM = Path(sys.executable).with_name("shellcheck")
CLEAN = ["all.sh", "common.sh", "entry.sh"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An entry that reads a script, which reads another one; and a shellcheck that notes what it is asked for."""
    _write(tmp_path, "scripts/entry.sh", '. "${BASH_SOURCE%/*}/lib/all.sh"\necho "$answer"')
    _write(tmp_path, "scripts/lib/all.sh", '# shellcheck source=scripts/lib/common.sh\n. "${BASH_SOURCE%/*}/common.sh"')
    _write(tmp_path, "scripts/lib/common.sh", "export answer=42")
    (tmp_path / ".shellcheckrc").write_text("source-path=SCRIPTDIR\n")
    (tmp_path / "bin").mkdir()
    noting = tmp_path / "bin/shellcheck"
    noting.write_text(f'#!/bin/sh\necho "$*" >>asked\nexec {PROGRAM} "$@"\n')
    noting.chmod(0o755)
    assert _lint(tmp_path) == (0, "", CLEAN)
    return tmp_path


def _write(folder: Path, name: str, text: str) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(f"#!/usr/bin/env bash\n{text}\n")


def _lint(folder: Path) -> tuple[int, str, list[str]]:
    """Return the exit code, what was printed, and which scripts shellcheck was asked for."""
    (folder / "asked").write_text("")
    done = subprocess.run(
        [sys.executable, REPOSITORY / "scripts/lint/shells.py"],
        cwd=folder, env={"PATH": f"{folder}/bin:{os.environ['PATH']}"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert not done.stderr
    asked = [line.rpartition("/")[2] for line in (folder / "asked").read_text().splitlines()]
    return done.returncode, done.stdout, sorted(name for name in asked if name.endswith(".sh"))


def test_what_is_clean_is_not_asked_for_again(folder: Path) -> None:
    assert _lint(folder) == (0, "", [])
    shutil.rmtree(folder / ".cache")
    assert _lint(folder) == (0, "", CLEAN)


def test_a_finding_is_found_each_time(folder: Path) -> None:
    _write(folder, "scripts/entry.sh", "echo $1")
    for _ in range(2):
        code, printed, asked = _lint(folder)
        assert (code, asked) == (1, ["entry.sh"])
        assert "SC2086" in printed


def test_a_finding_that_comes_from_two_files_away_is_found(folder: Path) -> None:
    _write(folder, "scripts/lib/common.sh", "export another=42")
    code, printed, asked = _lint(folder)
    assert (code, asked) == (1, CLEAN)
    assert "answer is referenced but not assigned" in printed


def test_another_rule_is_asked_of_all(folder: Path) -> None:
    with (folder / ".shellcheckrc").open("a") as rules:
        rules.write("enable=require-variable-braces\n")
    code, printed, asked = _lint(folder)
    assert (code, asked) == (1, CLEAN)
    assert "SC2250" in printed


def test_another_shellcheck_is_asked_for_all(folder: Path) -> None:
    program = folder / "bin/shellcheck"
    program.write_text(program.read_text().replace("exec", '[ "$1" != --version ] || echo another\nexec'))
    assert _lint(folder) == (0, "", CLEAN)


def test_what_reads_nobody_knows_what_is_always_asked_for(folder: Path) -> None:
    _write(folder, "scripts/entry.sh", '# shellcheck disable=SC1090\nfile=$1\n. "$file"')
    for _ in range(2):
        assert _lint(folder) == (0, "", ["entry.sh"])
