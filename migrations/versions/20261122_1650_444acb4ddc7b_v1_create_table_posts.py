"""v1 create table posts"""

import sqlalchemy as sa
from alembic import op

revision: str = "444acb4ddc7b"
down_revision: str | None = None
branch_labels: str | None = None
depends_on: str | None = None

lint_ignore = {
    "prefer-bigint-over-int": "keys are 32-bit integers: the walkthrough that the stack replays fixes them",
    "prefer-identity": "SERIAL is what SQLAlchemy makes of the walkthrough's integer key",
}


def upgrade() -> None:
    op.create_table(
        "posts",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("nama", sa.String(), nullable=False),
        sa.Column("umur", sa.Integer(), nullable=False),
        sa.Column("published", sa.Boolean(), server_default=sa.true(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_posts")),
    )


def downgrade() -> None:
    op.drop_table("posts")
