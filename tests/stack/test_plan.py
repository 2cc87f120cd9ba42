"""`make plan` in a real stack: a step that is pending is tried out beside the database, which stays as it is."""

import json

from tests.migrations.staircase import HEAD
from tests.stack.conftest import Stack

COLUMN = 'op.add_column("posts", sa.Column("kota", sa.Text(), nullable=True))'
DOWN = 'op.drop_column("posts", "kota")'


def test_plan(stack: Stack) -> None:
    assert "Nothing to do: database tangga at db:5432 is at " in stack.make("plan")
    before = stack.schema()
    file = stack.plant("0000000000a1", COLUMN, DOWN, title="a town for each post")
    try:
        output = stack.make("plan")
        assert "0000000000a1  a town for each post  (can be undone; loses nothing)" in output
        assert "ACCESS EXCLUSIVE" in output
        assert "metadata only" in output
        assert "1 step, strongest lock ACCESS EXCLUSIVE on posts (0 rows, " in output
        document = json.loads(stack.ok("sh", "-c", "make plan json=1 2>/dev/null"))
        assert [step["revision"] for step in document["steps"]] == ["0000000000a1"]
        # The exit code of make is its own (2); the plan's is in what make says.
        stack.plant("0000000000a1", COLUMN.replace("posts", "nothing"), DOWN, title="a town for each post")
        failed = stack.run("make", "plan")
        assert failed.returncode != 0
        assert "error: on the scratch copy, step 0000000000a1 (a town for each post) failed in upgrade" in failed.stdout
        assert "Error 3" in failed.stdout
    finally:
        file.unlink()
    assert (stack.schema(), stack.revision()) == (before, HEAD)
    assert stack.compose("ps", "--all", "--quiet", "scratch").strip() == ""
