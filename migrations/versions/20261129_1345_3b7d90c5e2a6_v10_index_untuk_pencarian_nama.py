"""v10 index untuk pencarian nama

GET /posts?search= read the whole table. pg_trgm finds a part of a text by three characters in a row; it is a trusted
extension, so the owner of the database may create it.
"""

import sqlalchemy as sa
from alembic import op

from services.migrate import safe

revision: str = "3b7d90c5e2a6"
down_revision: str | None = "a84f6d1be027"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    op.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
    safe.create_index("ix_posts_nama_trgm", "posts", [sa.text("nama gin_trgm_ops")], using="gin")


def downgrade() -> None:
    safe.drop_index("ix_posts_nama_trgm")
    # It stays if somebody else has made it, or uses it.
    op.execute("""
        DO $$ BEGIN
            IF EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_trgm' AND extowner = current_user::regrole) THEN
                DROP EXTENSION pg_trgm;
            END IF;
        EXCEPTION WHEN dependent_objects_still_exist THEN NULL;
        END $$
    """)
