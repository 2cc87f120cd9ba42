"""v7 tambah index votes.post_id

The primary key begins with user_id, so counting the votes of one post read the whole table; so did deleting a post.
"""

from services.migrate import safe

revision: str = "d2a7b1e94c38"
down_revision: str | None = "c1f0c6f0a5d2"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    safe.create_index("ix_votes_post_id", "votes", ["post_id"])


def downgrade() -> None:
    safe.drop_index("ix_votes_post_id")
