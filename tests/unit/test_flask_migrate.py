"""Where a project of Flask-Migrate has its configuration; its application: tests/stack/test_without_stack.py."""

from pathlib import Path

import pytest
from alembic.config import Config

from tangga import flask_migrate
from tangga.project import Project


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """What `flask db init` writes, as far as it matters; in a folder whose name has what a configuration escapes."""
    folder = tmp_path / "100% shop"
    (folder / "migrations/versions").mkdir(parents=True)
    (folder / "migrations/env.py").write_text("from flask import current_app\n")
    (folder / "migrations/alembic.ini").write_text("[alembic]\n[loggers]\nkeys = root\n")
    return folder


def _config(shop: Path) -> Config:
    return Config(str(shop / "migrations/alembic.ini"))


def test_it_is_found_in_its_default_folder(shop: Path) -> None:
    assert flask_migrate.found(shop) == "migrations/alembic.ini"
    (shop / "migrations/env.py").unlink()
    assert flask_migrate.found(shop) is None
    assert flask_migrate.found(shop / "migrations") is None


def test_the_steps_are_beside_it_and_the_project_is_above(shop: Path) -> None:
    (shop / "pyproject.toml").write_text('[tool.tangga]\nlint_also = ["prefer-identity"]\n')
    (shop / "migrations/versions/b1_bins.py").write_text("revision, down_revision = 'b1', None\n")
    project = Project(_config(shop))
    assert project.folder == shop
    assert project.table == {"lint_also": ["prefer-identity"]}
    assert [project.file_of(step) for step in project.revisions()] == ["migrations/versions/b1_bins.py"]
    # A second look at the same configuration, which says where they are by now.
    assert Project(project.config).folder == shop


@pytest.mark.parametrize("where", ["alembic.ini", "pyproject.toml"])
def test_what_says_where_its_steps_are_is_left_as_it_is(shop: Path, where: str) -> None:
    config = _config(shop)
    if where == "alembic.ini":
        (shop / "migrations/alembic.ini").write_text("[alembic]\nscript_location = elsewhere\n")
    else:
        (shop / "pyproject.toml").write_text('[tool.alembic]\nscript_location = "elsewhere"\n')
        config = Config(str(shop / "migrations/alembic.ini"), toml_file=shop / "pyproject.toml")
    assert flask_migrate.complete(config) is None
    assert config.get_alembic_option("script_location") == "elsewhere"


def test_without_an_env_py_it_is_somebody_elses(shop: Path) -> None:
    (shop / "migrations/env.py").unlink()
    config = _config(shop)
    assert flask_migrate.complete(config) is None
    assert config.get_alembic_option("script_location") is None
    assert not Project(config).has_steps
