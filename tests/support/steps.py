"""Steps that a test writes, and files that it changes."""

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
    """Replace a piece of text that must be there."""
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
