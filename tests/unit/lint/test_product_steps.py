"""The product's own steps have no finding but what they declare."""

import shutil
from pathlib import Path

from tangga.project import Project
from tests.support.linting import lint

PROJECT = Path(__file__).parents[3]


def _position(revision: str) -> int:
    """Return which step of the staircase it is, from 1."""
    return [script.revision for script in Project.from_file(PROJECT / "alembic.ini").revisions()].index(revision) + 1


def test_the_steps_have_no_finding_but_what_they_declare() -> None:
    found = lint(PROJECT)
    assert found
    assert [one for one in found if one.exception is None] == []


def test_without_their_exceptions_the_steps_have_findings(tmp_path: Path) -> None:
    for name in ("alembic.ini", "pyproject.toml"):
        shutil.copy(PROJECT / name, tmp_path)
    shutil.copytree(PROJECT / "migrations", tmp_path / "migrations")
    for file in (tmp_path / "migrations/versions").glob("*.py"):
        file.write_text(file.read_text().replace("lint_ignore =", "not_read ="))
    found = {(_position(one.revision), one.rule) for one in lint(tmp_path) if one.exception is None}
    assert found == {
        (1, "prefer-bigint-over-int"),
        (1, "prefer-identity"),
        (2, "new-required-column"),
        (3, "prefer-bigint-over-int"),
        (3, "prefer-identity"),
        # From inside its DO block.
        (4, "adding-required-field"),
        (4, "data-with-schema"),
        (4, "lock-table"),
        (4, "new-required-column"),
        (4, "prefer-bigint-over-int"),
        (5, "prefer-bigint-over-int"),
        (8, "prefer-bigint-over-int"),
        (9, "prefer-bigint-over-int"),
        (9, "prefer-bigint-over-smallint"),
    }
