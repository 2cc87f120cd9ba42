"""l3 loans

Revises: l20000000002
"""

import sqlalchemy as sa
from alembic import op

revision: str = "l30000000003"
down_revision: str | None = "l20000000002"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    op.create_table(
        "loans",
        sa.Column("author_id", sa.Integer(), nullable=False),
        sa.Column("book_id", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("author_id", "book_id", name=op.f("pk_loans")),
        sa.ForeignKeyConstraint(
            ["author_id"], ["authors.id"], name=op.f("fk_loans_author_id_authors"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["book_id"], ["books.id"], name=op.f("fk_loans_book_id_books"), ondelete="CASCADE"),
    )
    op.create_index(op.f("ix_loans_book_id"), "loans", ["book_id"])


def downgrade() -> None:
    op.drop_table("loans")
