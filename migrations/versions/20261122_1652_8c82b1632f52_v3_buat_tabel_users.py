"""v3 buat tabel users"""

import sqlalchemy as sa
from alembic import op

revision: str = "8c82b1632f52"
down_revision: str | None = "28801a7e4404"
branch_labels: str | None = None
depends_on: str | None = None

lint_ignore = {
    "prefer-bigint-over-int": "keys are 32-bit integers: the walkthrough that the stack replays fixes them",
    "prefer-identity": "SERIAL is what SQLAlchemy makes of the walkthrough's integer key",
}


def upgrade() -> None:
    op.create_table(
        "users",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("email", sa.String(), nullable=False),
        sa.Column("password", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_users")),
        sa.UniqueConstraint("email", name=op.f("uq_users_email")),
    )


def downgrade() -> None:
    op.drop_table("users")
