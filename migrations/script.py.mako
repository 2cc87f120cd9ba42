"""${message.replace("\\", "\\\\").replace('"', '\\"')}

Revises: ${down_revision or "nothing, this is the first step" | comma,n}

Rules for this file (docs/authors.md says why):
- upgrade and downgrade both work on tables that hold rows; what cannot be undone is said in `downgrade`.
- A new NOT NULL column: add it with a constant default (metadata only), then drop the default.
- A foreign key or CHECK on a table with rows: `postgresql_not_valid=True`, and name it in `validate_after_commit`.
- An index on a table with rows: `with op.get_context().autocommit_block():`, `postgresql_concurrently=True`.
- Names of constraints: as models get them (services/api/db/base.py), wrapped in `op.f()`.
- No import of models: they change, this file must not.
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
