"""Steps that a test writes, and files that it changes."""

import os
from pathlib import Path
from typing import NamedTuple


class Step(NamedTuple):
    """One step: its identifier and its message."""

    revision: str
    message: str


def plant(project: Path, revision: str, upgrade: str, *, after: str | None, downgrade: str = "pass") -> Path:
    """Write a step with this body (one line) after another step."""
    file = project / "migrations/versions" / f"planted_{revision}.py"
    file.write_text(
        f'"""planted {revision}"""\nimport time\nimport sqlalchemy as sa\nfrom alembic import op\n'
        f"revision = {revision!r}\ndown_revision = {after!r}\nbranch_labels = None\ndepends_on = None\n"
        f"def upgrade() -> None:\n    {upgrade}\ndef downgrade() -> None:\n    {downgrade}\n"
    )
    return file


def edit(file: Path, old: str, new: str) -> None:
    """Replace a piece of text that must be there; the file is of a later second than before.

    To Python what it compiled is current while the size and the second of the last change are the same, and two
    changes of a test may lie within one second.
    """
    text, changed = file.read_text(), int(file.stat().st_mtime)
    assert old in text
    file.write_text(text.replace(old, new))
    os.utime(file, (changed + 1, changed + 1))
