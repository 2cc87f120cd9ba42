"""l4 notes

Revises: l30000000003
"""

import sqlalchemy as sa
from alembic import op

revision: str = "l40000000004"
down_revision: str | None = "l30000000003"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    op.add_column("books", sa.Column("note", sa.String(), nullable=True))


def downgrade() -> None:
    op.drop_column("books", "note")
