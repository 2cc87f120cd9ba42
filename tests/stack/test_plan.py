"""`make plan` in a real stack: a step that is pending is tried out beside the database, which stays as it is."""

import json

from tests.stack.conftest import Stack
from tests.stack.test_failures import HEAD

STEP = f'''"""a town for each post"""

import sqlalchemy as sa
from alembic import op

revision = "0000000000a1"
down_revision = "{HEAD}"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("posts", sa.Column("kota", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("posts", "kota")
'''


def test_plan(stack: Stack) -> None:
    assert "Nothing to do: database tangga at db:5432 is at " in stack.make("plan")
    before = stack.schema()
    file = stack.folder / "migrations/versions/planted.py"
    file.write_text(STEP)
    try:
        output = stack.make("plan")
        assert "0000000000a1  a town for each post  (can be undone; loses nothing)" in output
        assert "ACCESS EXCLUSIVE" in output
        assert "metadata only" in output
        assert "1 step, strongest lock ACCESS EXCLUSIVE on posts (0 rows, " in output
        document = json.loads(stack.ok("sh", "-c", "make plan json=1 2>/dev/null"))
        assert [step["revision"] for step in document["steps"]] == ["0000000000a1"]
        # The exit code of make is its own (2); the plan's is in what make says.
        file.write_text(STEP.replace('"posts", sa', '"nothing", sa'))
        failed = stack.run("make", "plan")
        assert failed.returncode != 0
        assert "error: on the scratch copy, step 0000000000a1 (a town for each post) failed in upgrade" in failed.stdout
        assert "Error 3" in failed.stdout
    finally:
        file.unlink()
    assert (stack.schema(), stack.revision()) == (before, HEAD)
    assert stack.compose("ps", "--all", "--quiet", "scratch").strip() == ""
