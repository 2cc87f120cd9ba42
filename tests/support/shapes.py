"""Projects of a few steps that a test writes, in any shape: branches, merges, several bases, other schemas."""

import shutil
from pathlib import Path
from typing import NamedTuple

from tests.support.library import FOLDER


class Node(NamedTuple):
    """A step: where it stands, and the SQL that it runs, up and down; `body` and `header` are Python."""

    revision: str
    below: str | tuple[str, ...] | None
    up: str = ""
    down: str = ""
    depends_on: str | tuple[str, ...] | None = None
    header: str = ""
    body: str = ""


def table(revision: str, below: str | tuple[str, ...] | None, name: str) -> Node:
    """Return a step that makes a table, and drops it."""
    return Node(revision, below, f"CREATE TABLE {name} (id serial PRIMARY KEY, name text)", f"DROP TABLE {name}")


def write(folder: Path, *nodes: Node) -> Path:
    """Write a project of these steps, without models; return its folder."""
    shutil.copytree(FOLDER, folder, ignore=shutil.ignore_patterns("__pycache__", "versions", "library_models.py"))
    pyproject = folder / "pyproject.toml"
    kept = [line for line in pyproject.read_text().splitlines() if not line.startswith("metadata")]
    pyproject.write_text("\n".join(kept))
    versions = folder / "migrations/versions"
    versions.mkdir()
    for node in nodes:
        (versions / f"{node.revision}.py").write_text(_source(node))
    return folder


def _source(node: Node) -> str:
    up, down = (f"op.execute({sql!r})" if sql else "pass" for sql in (node.up, node.down))
    return (
        f'"""{node.revision}"""\nimport sqlalchemy as sa\nfrom alembic import op\n'
        f"revision = {node.revision!r}\ndown_revision = {node.below!r}\nbranch_labels = None\n"
        f"depends_on = {node.depends_on!r}\n{node.header}\n"
        f"def upgrade() -> None:\n    {node.body or up}\ndef downgrade() -> None:\n    {down}\n"
    )
