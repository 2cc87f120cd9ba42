"""v6 tambah kolom no_hp"""

import sqlalchemy as sa
from alembic import op

revision: str = "c1f0c6f0a5d2"
down_revision: str | None = "b25a1c6f7e13"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    op.add_column("posts", sa.Column("no_hp", sa.String(), nullable=True))


def downgrade() -> None:
    op.drop_column("posts", "no_hp")
