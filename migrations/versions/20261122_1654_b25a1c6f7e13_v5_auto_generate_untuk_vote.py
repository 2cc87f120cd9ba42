"""v5 auto generate untuk vote

Written by autogenerate from the models.
"""

import sqlalchemy as sa
from alembic import op

revision: str = "b25a1c6f7e13"
down_revision: str | None = "af786b740296"
branch_labels: str | None = None
depends_on: str | None = None

lint_ignore = {
    "prefer-bigint-over-int": "they refer to users.id and posts.id, which are 32-bit integers",
}


def upgrade() -> None:
    op.create_table(
        "votes",
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("post_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["post_id"], ["posts.id"], name=op.f("fk_votes_post_id_posts"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_votes_user_id_users"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("user_id", "post_id", name=op.f("pk_votes")),
    )


def downgrade() -> None:
    op.drop_table("votes")
