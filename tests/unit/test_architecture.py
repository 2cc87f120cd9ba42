"""The arrows between the parts point one way (pyproject.toml, [tool.importlinter]): `make lint` looks."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests import architecture

PROJECT = Path(__file__).parents[2]


def _contracts(folder: Path) -> subprocess.CompletedProcess[str]:
    path = f"{folder}:{folder}/services/migrate"
    return subprocess.run(
        ["lint-imports", "--no-cache", "--no-logo"],
        cwd=folder, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip


@pytest.fixture
def project(tmp_path: Path) -> Path:
    shutil.copytree(PROJECT / "services", tmp_path / "services", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(PROJECT / "pyproject.toml", tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("file", "line", "broken"),
    [
        ("tangga/words.py", "from services.api import settings", "tangga knows nothing of the stack around it"),
        ("tangga/safe/forms.py", "import services.migrate.backups", "tangga knows nothing of the stack around it"),
        ("tangga/words.py", "from tangga.lint import command", "inside tangga, arrows point downwards"),
        ("tangga/journal/history.py", "from tangga.guard import lock", "inside tangga, arrows point downwards"),
        ("../api/main.py", "import services.migrate.status", "the example service takes tangga, never the migrators"),
    ],
)
def test_an_import_against_the_arrows_is_found(project: Path, file: str, line: str, broken: str) -> None:
    found = _contracts(project)
    assert found.returncode == 0, found.stdout + found.stderr
    planted = project / "services/migrate" / file
    planted.write_text(f"{planted.read_text()}\n{line}\n")
    found = _contracts(project)
    assert found.returncode == 1, found.stdout + found.stderr
    assert f"{broken}" in found.stdout.partition("Broken contracts")[2]


def test_a_new_room_must_be_given_its_place(project: Path) -> None:
    (project / "services/migrate/tangga/attic").mkdir()
    (project / "services/migrate/tangga/attic/__init__.py").write_text("")
    assert "attic" in _contracts(project).stdout
    assert _contracts(project).returncode == 1


def test_the_page_and_the_picture_are_those_of_the_code() -> None:
    again = "make them anew: .venv/bin/python -m tests.architecture"
    assert architecture.PAGE.read_text() == architecture.page(architecture.PAGE.read_text()), again
    assert architecture.PICTURE.read_text() == architecture.picture(), again
