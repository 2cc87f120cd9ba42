"""${message.replace("\\", "\\\\").replace('"', '\\"')}

Revises: ${down_revision or "nothing, this is the first step" | comma,n}

Rules for this file (docs/authors.md says why):
- upgrade and downgrade both work on tables that hold rows; what cannot be undone is declared: `irreversible = "why"`.
- On a table that is in use: `from tangga import safe`, then safe.add_column (NOT NULL with `fill`),
  safe.add_foreign_key, safe.add_check, safe.add_unique, safe.create_index, safe.drop_index, safe.set_not_null.
- Rows are changed by safe.backfill, in batches, in a step without changes of structure.
- What stands before such a call in the step is committed by it: let it be a call of `safe` too, or a step of its own.
- Names of constraints: as models get them (services/api/db/base.py), wrapped in `op.f()`.
- No import of models: they change, this file must not.
- What the linter finds and is right here stands in the file: `lint_ignore = {"rule": "why"}`.
- Then: make plan, make verify.
Delete these rules when the step is done.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
${imports if imports else ""}

revision: str = ${repr(up_revision)}
down_revision: str | Sequence[str] | None = ${repr(down_revision)}
branch_labels: str | Sequence[str] | None = ${repr(branch_labels)}
depends_on: str | Sequence[str] | None = ${repr(depends_on)}


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    ${downgrades if downgrades else "pass"}
