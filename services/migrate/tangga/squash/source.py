"""The baseline as a file: its name, and what stands in it."""

import re
from pathlib import Path

from alembic.script import Script

from tangga.journal.writing import checksum

_LINT_REASON = "a baseline: its steps were linted when they were written, and it runs on an empty database only"


def file_name(step: Script) -> str:
    """Return the name of the baseline that takes the place of a step: with its date, if it had one."""
    before, found, _ = Path(step.path).name.partition(step.revision)
    return f"{before if found else ''}{step.revision}_baseline.py"


def content(folded: list[Script], statements: list[str], drops: list[str], rules: list[str]) -> str:
    """Return the content; `rules` are those of the linter that the baseline is excepted from."""
    last = folded[-1]
    listed = "\n".join(f"- {step.revision} {step.doc}" for step in folded).replace("\\", "\\\\").replace('"', '\\"')
    checksums = "".join(f'    "{step.revision}": "{checksum(step.path)}",\n' for step in folded)
    ignored = "".join(f'    "{rule}": REASON,\n' for rule in rules)
    lint_ignore = f'REASON = "{_LINT_REASON}"\nlint_ignore = {{\n{ignored}}}\n' if rules else ""
    body = f"{_calls(statements)}\n\ndef downgrade() -> None:\n{_calls(drops)}"
    long = "# ruff: noqa: E501\n" if any(len(line) > 120 for line in body.splitlines()) else ""
    return f'''"""baseline up to {last.revision}

Written by alembic squash, and proven equal to the steps that it folds:

{listed}
"""
{long}
from alembic import op

revision: str = "{last.revision}"
down_revision: str | None = None
branch_labels: str | None = None
depends_on: str | None = None

# What the files of the folded steps were: revision -> SHA-256. Databases have noted them.
squashed = {{
{checksums}}}
{lint_ignore}

def upgrade() -> None:
{body}'''


def _calls(statements: list[str]) -> str:
    if not statements:
        return "    pass\n"
    return "".join(f"    op.execute({_literal(statement)})\n" for statement in statements)


def _literal(statement: str) -> str:
    # For SQLAlchemy, :name is a parameter; a backslash before the colon says that it is not.
    text = re.sub(r"(?<![:\w\\]):(?=\w+(?!:))", r"\:", statement).replace("\\", "\\\\")
    if "\n" in text or '"' in text:
        return '"""\n{}\n"""'.format(text.replace('"""', '\\"\\"\\"'))
    return f'"{text}"'
