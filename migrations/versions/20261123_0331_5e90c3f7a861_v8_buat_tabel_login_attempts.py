"""v8 buat tabel login_attempts"""

import sqlalchemy as sa
from alembic import op

revision: str = "5e90c3f7a861"
down_revision: str | None = "d2a7b1e94c38"
branch_labels: str | None = None
depends_on: str | None = None

lint_ignore = {
    "prefer-bigint-over-int": "failures is a count that starts again with every window",
}


def upgrade() -> None:
    op.create_table(
        "login_attempts",
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_login_attempts")),
    )
    op.create_index(op.f("ix_login_attempts_expires_at"), "login_attempts", ["expires_at"])


def downgrade() -> None:
    op.drop_table("login_attempts")
