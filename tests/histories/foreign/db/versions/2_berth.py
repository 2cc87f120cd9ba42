"""berth"""

import sqlalchemy as sa
from alembic import op

revision = "b0a7000002"
down_revision = "b0a7000001"


def upgrade() -> None:
    op.add_column("boats", sa.Column("berth", sa.Text))
    op.create_index("ix_boats_berth", "boats", ["berth"])


def downgrade() -> None:
    op.drop_index("ix_boats_berth", "boats")
    op.drop_column("boats", "berth")
