"""An image is built again when anything that it is made of has changed, and only then."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.scripts.operations import REPOSITORY

# Notes what it builds; its images have the ids in the file `ids`, none without that file.
DOCKER = """#!/bin/bash
case "$*" in
  *' config '*)
    names=$(sed -nE 's/^  ([A-Z_]+): .*/"\\1": "",/p' | sed '$ s/,$//')
    printf '{"name": "project", "x-settings": {%s}}\n' "$names" ;;
  'image inspect'*) cat ids ;;
  *build*)
    [[ ! -e broken ]] || exit 1
    printf '%s\n' "$*" >>builds
    [[ -e ids ]] || printf 'sha256:new\nsha256:base\n' >ids ;;
esac
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(REPOSITORY / "scripts", tmp_path / "scripts")
    for name in (".dockerignore", ".env.example", "compose.yaml", "pyproject.toml", "alembic.ini", "Dockerfile"):
        shutil.copy(REPOSITORY / name, tmp_path)
    for name in ("requirements.lock", "requirements-dev.lock", "migrations/versions/a.py", "services/api/main.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("first\n")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/docker").write_text(DOCKER)
    (tmp_path / "bin/docker").chmod(0o755)
    (tmp_path / "ids").write_text("sha256:image\nsha256:base\n")
    return tmp_path


def _builds(folder: Path) -> bool:
    """Ask for the image; return whether it was built."""
    calls = folder / "builds"
    calls.unlink(missing_ok=True)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COMPOSE_")}
    subprocess.run(
        ["bash", "-Eeuo", "pipefail", "-c", ". scripts/lib/common.sh; read_stack; build_if_changed migrate api"],
        cwd=folder, env=environment | {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}"}, check=True,
    )  # fmt: skip
    return calls.exists()


def _copied_with_its_old_time(folder: Path) -> None:
    old = folder / "old"
    old.write_text("other\n")
    os.utime(old, (1, 1))
    shutil.copy2(old, folder / "services/api/main.py")


CHANGES: dict[str, Callable[[Path], object]] = {
    "a file": lambda folder: (folder / "services/api/main.py").write_text("second\n"),
    "a file, with an older time": _copied_with_its_old_time,
    "a new file": lambda folder: (folder / "migrations/versions/b.py").touch(),
    "a file less": lambda folder: (folder / "migrations/versions/a.py").unlink(),
    "a file under another name": lambda folder: (folder / "services/api/main.py").rename(folder / "services/api/x.py"),
    "a mode": lambda folder: (folder / "services/api/main.py").chmod(0o600),
    "a file that must be there": lambda folder: (folder / "requirements.lock").unlink(),
    "the lock file": lambda folder: (folder / "requirements-dev.lock").write_text("second\n"),
    "the image": lambda folder: (folder / "ids").write_text("sha256:other\nsha256:base\n"),
    "the base": lambda folder: (folder / "ids").write_text("sha256:image\nsha256:other\n"),
    "an image that is not there": lambda folder: (folder / "ids").unlink(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_has_changed_is_built(folder: Path, change: str) -> None:
    assert _builds(folder)
    assert not _builds(folder)
    CHANGES[change](folder)
    assert _builds(folder)


def test_a_build_that_failed_is_tried_again(folder: Path) -> None:
    (folder / "broken").touch()
    with pytest.raises(subprocess.CalledProcessError):
        _builds(folder)
    (folder / "broken").unlink()
    assert _builds(folder)
    assert not _builds(folder)


def test_what_changes_during_a_build_is_built_the_next_time(folder: Path) -> None:
    docker = folder / "bin/docker"
    docker.write_text(DOCKER.replace("*build*)\n", "*build*)\nsleep 0.05; echo second >services/api/main.py\n"))
    assert _builds(folder)
    docker.write_text(DOCKER)
    assert _builds(folder)
    assert not _builds(folder)


def test_with_an_overlay_compose_finds_it_out(folder: Path) -> None:
    assert _builds(folder)
    (folder / "compose.override.yaml").write_text("services: {}\n")
    assert _builds(folder)
    assert _builds(folder)
