"""boats"""

import sqlalchemy as sa
from alembic import op

revision = "b0a7000001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "boats",
        sa.Column("id", sa.BigInteger, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("boats")
