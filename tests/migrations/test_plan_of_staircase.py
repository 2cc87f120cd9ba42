"""A plan of the product's own steps."""

from collections.abc import Iterator

import pytest

from tangga.plan.model import Plan, strongest_lock
from tests.databases import PROJECT, migrate, query, scratch_database
from tests.migrations.staircase import HEAD, REVISIONS, V1, V4, add_posts
from tests.support.planning import code_of, plan_of


@pytest.fixture(scope="module")
def at_v1() -> Iterator[str]:
    """A database at the first step, with rows."""
    with scratch_database() as database:
        migrate(database, "upgrade", V1)
        add_posts(database, 1000)
        query(database, "ANALYZE")
        yield database


def test_the_staircase_from_v1(at_v1: str) -> None:
    made = plan_of(at_v1, PROJECT)
    assert [step.revision for step in made.steps] == REVISIONS[1:]
    assert code_of(made) == 0
    assert made.tables["posts"].rows == 1000
    locks = [
        [(touch.table, touch.lock, touch.work) for touch in statement.touches if not touch.new]
        for step in made.steps
        for statement in step.statements
    ]
    assert locks == [
        [("posts", "ACCESS EXCLUSIVE", [])],  # v2, the column
        [("posts", "ACCESS EXCLUSIVE", [])],  # v2, without its default
        [],  # v3, a new table
        [("posts", "ACCESS EXCLUSIVE", [])],  # v4, the column: no rewrite, and no scan
        [("posts", "ACCESS EXCLUSIVE", [])],  # v4, the key, NOT VALID
        [("posts", "SHARE UPDATE EXCLUSIVE", ["scan"])],  # v4, validated
        [("posts", "SHARE ROW EXCLUSIVE", [])],  # v5, a new table that refers to it
        [("posts", "ACCESS EXCLUSIVE", [])],  # v6
        [],  # v7, an index on a table that is new as well
        *[[], []] * 2,  # v8 and v9, new tables with an index each
        [],  # v10, the extension
        [("posts", "SHARE UPDATE EXCLUSIVE", ["scan"])],  # v10, the index
    ]
    assert not any(step.destructive for step in made.steps)
    assert all(step.reversible for step in made.steps)
    assert [made.to, made.applied] == [[HEAD], [V1]]


def test_a_step_takes_the_branch_that_it_will_take(at_v1: str, database: str) -> None:
    def owner_is_made(made: Plan) -> bool:
        [step] = [step for step in made.steps if step.revision == V4]
        return "insert" in step.statements[0].touches[-1].work

    migrate(database, "upgrade", V1)
    made = plan_of(at_v1, PROJECT, to=V4)
    assert (len(made.steps), owner_is_made(made)) == (3, True)
    assert not owner_is_made(plan_of(database, PROJECT, to=V4))
    # From nothing at all.
    with scratch_database() as empty:
        made = plan_of(empty, PROJECT)
        assert ([step.revision for step in made.steps], code_of(made)) == (REVISIONS, 0)
        assert strongest_lock(made) is None


def test_it_goes_as_far_as_it_is_told(at_v1: str) -> None:
    assert len(plan_of(at_v1, PROJECT, to="+1").steps) == 1
