"""The form of scripts: what is run, what is sourced, and that an entry has the name of its target."""

import os
import re
from pathlib import Path

import pytest

from tests.unit.scripts.operations import REPOSITORY

SCRIPTS = sorted((REPOSITORY / "scripts").rglob("*.sh"))
ALL = [*SCRIPTS, *sorted((REPOSITORY / "services/postgres").rglob("*.sh"))]
RUN = [path for path in SCRIPTS if path.read_text().startswith("#!")]
SOURCED = [path for path in SCRIPTS if path not in RUN]
RECIPES = dict(re.findall(r"^([a-z-]+):[^\n]*\n((?:\t[^\n]*\n)+)", (REPOSITORY / "Makefile").read_text(), re.M))
# One that several targets call is named for the first.
OTHER_TARGETS = {"downgrade": "rollback", "upgrade": "backup", "migrate": "backup", "backups": "backup"}


def _name(path: Path) -> str:
    return str(path.relative_to(REPOSITORY))


@pytest.mark.parametrize("path", RUN, ids=_name)
def test_what_is_run_is_strict_and_says_how_it_is_called(path: Path) -> None:
    text = path.read_text()
    assert text.startswith("#!/usr/bin/env bash\n# usage: ")
    assert "\nset -Eeuo pipefail\n" in text
    assert text.endswith('\n_main "$@"\n')
    assert os.access(path, os.X_OK)


@pytest.mark.parametrize("path", SOURCED, ids=_name)
def test_what_is_sourced_says_so_and_does_nothing_by_itself(path: Path) -> None:
    text = path.read_text()
    assert text.startswith("# shellcheck shell=bash\n")
    assert "Sourced" in text
    assert '_main "$@"' not in text
    assert path.parent != REPOSITORY / "scripts", "there, only entries stand"


@pytest.mark.parametrize("path", [path for path in RUN if path.parent.name == "scripts"], ids=_name)
def test_an_entry_is_called_by_the_target_of_its_name(path: Path) -> None:
    own = [recipe for target, recipe in RECIPES.items() if re.fullmatch(rf"{path.stem}(-.*)?", target)]
    assert f"scripts/{path.name}" in "".join(own) or path.stem == "test"


@pytest.mark.parametrize("target", RECIPES)
def test_a_target_calls_an_entry_of_its_own_name(target: str) -> None:
    called = re.findall(r"scripts/([a-z-]+)\.sh", RECIPES[target])
    assert all(target.startswith(name) or OTHER_TARGETS.get(target) == name for name in called), called


@pytest.mark.parametrize("path", ALL, ids=_name)
def test_a_file_has_under_300_lines_and_a_function_fits_a_screen(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") < 300
    long = {name: body.count("\n") for name, body in re.findall(r"^([a-z_]+)\(\) \{\n(.*?)^\}$", text, re.M | re.S)}
    assert {name: lines for name, lines in long.items() if lines > 40} == {}
